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
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __x86_64__
#include <sys/io.h>
#endif
#include <sys/reboot.h>
#include <sys/syscall.h>

#include <linux/kexec.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/image.h"
#include "liveupdate/refuse.h"
#include "liveupdate/sysfs.h"

/* The whole of an image is read, and its checksum made, each time it is loaded. */
#define TIMEOUT	300

static const char *device_bdf;

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

TEST_F_TIMEOUT(image, says_nothing, TIMEOUT)
{
	memset(self->image.note, 'x', 4);
	ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));
	expect_not_started(_metadata, &self->refuse,
			   "the image does not say that it can take them over");
}

TEST_F_TIMEOUT(image, says_it_in_a_later_format, TIMEOUT)
{
	self->image.note[NOTE_FLAGS + 3] |= 0x80;
	ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));
	EXPECT_TRUE(refuse_logged(&self->refuse, "is unreadable"));
	expect_not_started(_metadata, &self->refuse,
			   "the image does not say that it can take them over");
}

TEST_F_TIMEOUT(image, says_more_than_there_is, TIMEOUT)
{
	memset(self->image.note + NOTE_SIZE, 0x7f, sizeof(u32));
	ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));
	expect_not_started(_metadata, &self->refuse,
			   "the image does not say that it can take them over");
}

TEST_F_TIMEOUT(image, loaded_without_file, TIMEOUT)
{
	ASSERT_EQ(0, image_load_segments(0));
	expect_not_started(_metadata, &self->refuse, "loaded by kexec_load(2)");
	ASSERT_EQ(0, syscall(SYS_kexec_load, 0, 0, NULL, KEXEC_ARCH_DEFAULT));
}

TEST_F_TIMEOUT(image, returns, TIMEOUT)
{
	int ret = image_load_segments(KEXEC_PRESERVE_CONTEXT);

	if (ret == -EINVAL)
		SKIP(return, "no CONFIG_KEXEC_JUMP");
	ASSERT_EQ(0, ret);
	expect_not_started(_metadata, &self->refuse, "the image is to return");
	ASSERT_EQ(0, syscall(SYS_kexec_load, 0, 0, NULL, KEXEC_ARCH_DEFAULT));
}

TEST_F_TIMEOUT(image, has_a_command_line, TIMEOUT)
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
		{ CMDLINE_GOOD " mem=64M", "leaves out memory" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cmdlines); i++) {
		ASSERT_EQ(0, image_load(&self->image, cmdlines[i].cmdline));
		expect_not_started(_metadata, &self->refuse, cmdlines[i].why);
	}
}

#ifdef __x86_64__
/*
 * Without the kernel, as a reset by hardware would do it; nobody else may access
 * config space meanwhile.
 */
static void bar_poke(u32 bar)
{
	unsigned int segment, bus, slot, function;
	int n;

	n = sscanf(device_bdf, "%x:%x:%x.%x", &segment, &bus, &slot, &function);
	VFIO_ASSERT_EQ(n, 4);
	outl(BIT(31) | bus << 16 | slot << 11 | function << 8 | PCI_BASE_ADDRESS_0,
	     0xcf8);
	outl(bar, 0xcfc);
}

/* Nothing is wrong with the image, but with what has been done to the device. */
TEST_F_TIMEOUT(image, comes_after_a_reset, TIMEOUT)
{
	u32 bar;

	if (ioperm(0xcf8, 8, 1))
		SKIP(return, "no CONFIG_X86_IOPL_IOPERM");
	ASSERT_EQ(0, config_access(device_bdf, PCI_BASE_ADDRESS_0, &bar, sizeof(bar),
				   false));
	ASSERT_EQ(0, image_load(&self->image, CMDLINE_GOOD));

	bar_poke(0);
	EXPECT_EQ(-1, reboot(RB_KEXEC));
	EXPECT_EQ(EIO, errno);
	EXPECT_TRUE(refuse_logged(&self->refuse, "was reset since it was preserved"));
	bar_poke(bar);

	EXPECT_EQ(0, refuse_dma(&self->refuse));
	EXPECT_LE(0, refuse_new_session(&self->refuse));
	EXPECT_EQ(0, vm_preserve_all(&self->refuse.vm));
}
#endif

/* Each thing that is handed over has to be known, in this version. */
TEST_F_TIMEOUT(image, does_not_know_it_all, TIMEOUT)
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
