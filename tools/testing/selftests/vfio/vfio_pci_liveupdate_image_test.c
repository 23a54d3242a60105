// SPDX-License-Identifier: GPL-2.0-only
/*
 * reboot(2) must not start a kernel image that cannot take over a device that
 * keeps running: it fails, the log says why, and the device has not noticed.
 *
 * The image is one that could take over, changed in one place: the kernel that is
 * running, in LIVEUPDATE_KERNEL (default: /boot/vmlinuz). A test that fails may start
 * it, without an initramfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/kexec.h>
#include <linux/sizes.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/refuse.h"

#define CMDLINE_GOOD	"console=ttyS0 panic=-1 kho=on liveupdate=on"

static const char *device_bdf;

/* include/linux/kho/abi/luo_image.h is not for user space; it is an ABI all the same. */
#define NOTE_MAGIC	"LUpd"
#define NOTE_SIZE	4
#define NOTE_FLAGS	8

struct image {
	int fd;
	size_t size;
	u8 *data;
	u8 *note;
	u32 note_size;
};

/* A copy in a memfd, to be changed. Returns -ENOENT if there is no kernel. */
static int image_open(struct image *image)
{
	const char *path = getenv("LIVEUPDATE_KERNEL") ?: "/boot/vmlinuz";
	struct stat st;
	u8 *info;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	VFIO_ASSERT_EQ(fstat(fd, &st), 0);

	image->size = st.st_size;
	image->fd = memfd_create("kernel", MFD_CLOEXEC);
	VFIO_ASSERT_GE(image->fd, 0);
	VFIO_ASSERT_EQ(ftruncate(image->fd, image->size), 0);
	image->data = mmap(NULL, image->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   image->fd, 0);
	VFIO_ASSERT_NE(image->data, MAP_FAILED);
	VFIO_ASSERT_EQ(read(fd, image->data, image->size), (ssize_t)image->size);
	close(fd);

	info = memmem(image->data, image->size, "LToP", 4);
	VFIO_ASSERT_NOT_NULL(info, "%s has no kernel_info\n", path);
	image->note = memmem(info, SZ_4K, NOTE_MAGIC, 4);
	VFIO_ASSERT_NOT_NULL(image->note, "%s says nothing about live update\n", path);
	memcpy(&image->note_size, image->note + NOTE_SIZE, sizeof(u32));
	VFIO_ASSERT_LT(image->note_size, SZ_4K);
	return 0;
}

static void image_close(struct image *image)
{
	munmap(image->data, image->size);
	close(image->fd);
}

static int image_load(struct image *image, const char *cmdline)
{
	return syscall(SYS_kexec_file_load, image->fd, -1, strlen(cmdline) + 1,
		       cmdline, KEXEC_FILE_NO_INITRAMFS) ? -errno : 0;
}

static int image_unload(void)
{
	return syscall(SYS_kexec_file_load, -1, -1, 0, NULL,
		       KEXEC_FILE_UNLOAD) ? -errno : 0;
}

/* The old way to load: one page of nothing. */
static int image_load_segments(unsigned long flags)
{
	static u8 page[SZ_4K];
	struct kexec_segment segment = {
		.buf = page,
		.bufsz = sizeof(page),
		.mem = (void *)(uintptr_t)SZ_16M,
		.memsz = sizeof(page),
	};

	return syscall(SYS_kexec_load, SZ_16M, 1, &segment,
		       KEXEC_ARCH_DEFAULT | flags) ? -errno : 0;
}

FIXTURE(image) {
	struct refuse refuse;
	struct image image;
};

FIXTURE_SETUP(image)
{
	int ret;

	ret = image_open(&self->image);
	if (ret)
		SKIP(return, "no kernel in LIVEUPDATE_KERNEL (%s)", strerror(-ret));

	ret = refuse_init(&self->refuse, device_bdf, _metadata->name);
	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vm_preserve_all(&self->refuse.vm));
	ASSERT_EQ(0, refuse_dma(&self->refuse));
}

FIXTURE_TEARDOWN(image)
{
	image_unload();
	refuse_cleanup(&self->refuse);
	image_close(&self->image);
}

/* What is loaded cannot be started, and preserving goes on as if nobody had tried. */
static void expect_not_started(struct __test_metadata *_metadata,
			       struct refuse *refuse, const char *why)
{
	int ret = reboot(RB_KEXEC);

	ASSERT_EQ(-1, ret);
	expect_refused(_metadata, refuse, -errno, why);

	/* Still preserved, until the session is closed */
	EXPECT_EQ(-EBUSY, __iommu_unmap(refuse->vm.iommu, &refuse->vm.region, NULL));
	ASSERT_LE(0, refuse_new_session(refuse));
	EXPECT_EQ(0, vm_preserve_all(&refuse->vm));
	EXPECT_EQ(0, refuse_dma(refuse));
}

TEST_F(image, says_nothing)
{
	memset(self->image.note, 'x', 4);
	ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));
	expect_not_started(_metadata, &self->refuse,
			   "the image does not say that it can take them over");
}

TEST_F(image, says_it_in_a_later_format)
{
	self->image.note[NOTE_FLAGS + 3] |= 0x80;
	ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));
	EXPECT_TRUE(refuse_logged(&self->refuse, "is unreadable"));
	expect_not_started(_metadata, &self->refuse,
			   "the image does not say that it can take them over");
}

TEST_F(image, says_more_than_there_is)
{
	memset(self->image.note + NOTE_SIZE, 0x7f, sizeof(u32));
	ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));
	expect_not_started(_metadata, &self->refuse,
			   "the image does not say that it can take them over");
}

TEST_F(image, loaded_without_file)
{
	ASSERT_EQ(0, image_load_segments(0));
	expect_not_started(_metadata, &self->refuse, "loaded by kexec_load(2)");
	ASSERT_EQ(0, syscall(SYS_kexec_load, 0, 0, NULL, KEXEC_ARCH_DEFAULT));
}

TEST_F(image, returns)
{
	int ret = image_load_segments(KEXEC_PRESERVE_CONTEXT);

	if (ret == -EINVAL)
		SKIP(return, "no CONFIG_KEXEC_JUMP");
	ASSERT_EQ(0, ret);
	expect_not_started(_metadata, &self->refuse, "the image is to return");
	ASSERT_EQ(0, syscall(SYS_kexec_load, 0, 0, NULL, KEXEC_ARCH_DEFAULT));
}

TEST_F(image, has_a_command_line)
{
	static const struct {
		const char *cmdline;
		const char *why;
	} cmdlines[] = {
		{ CMDLINE_GOOD " kho=off", "leaves kexec handover off" },
		{ "liveupdate=off kho=on", "leaves live update off" },
		{ CMDLINE_GOOD " liveupdate=0", "leaves live update off" },
		{ "kho=on console=ttyS0", "leaves live update off" },
		{ "kho=on -- liveupdate=on", "leaves live update off" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cmdlines); i++) {
		ASSERT_EQ(0, image_load(&self->image, cmdlines[i].cmdline));
		expect_not_started(_metadata, &self->refuse, cmdlines[i].why);
	}
}

/* Each thing that is handed over has to be known, in this version. */
TEST_F(image, does_not_know_it_all)
{
	static const struct {
		const char *name;
		const char *why;
	} entries[] = {
		{ "kho-v4", "another version of kexec handover" },
		{ "luo-v5", "another version of live update" },
		{ "memfd-v2", "does not know this version of memfd-v2" },
		{ "iommufd-v100", "does not know this version of iommufd-v100" },
		{ "iommu-liveupdate", "does not know this version of iommu-liveupdate" },
		{ "vfio-pci-v100", "does not know this version of vfio-pci-v100" },
		{ "pci-liveupdate", "does not know this version of pci-liveupdate" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		/* The version is in front of the name. */
		u8 *name = memmem(self->image.note, self->image.note_size,
				  entries[i].name, strlen(entries[i].name) + 1);

		ASSERT_NE(NULL, name);
		TH_LOG("%s", entries[i].name);

		name[0] ^= 1;
		ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));
		expect_not_started(_metadata, &self->refuse, entries[i].why);
		name[0] ^= 1;

		name[-4] ^= 1;
		ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));
		expect_not_started(_metadata, &self->refuse, entries[i].why);
		name[-4] ^= 1;
	}
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
