/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_IMAGE_H
#define SELFTESTS_VFIO_LIVEUPDATE_IMAGE_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/kexec.h>
#include <linux/sizes.h>

#include <libvfio.h>

/*
 * A kernel image to be loaded: the kernel that is running, in LIVEUPDATE_KERNEL
 * (default: /boot/vmlinuz).
 */

#define CMDLINE_GOOD	"console=ttyS0 panic=-1 kho=on liveupdate=on"

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
static inline int image_open(struct image *image)
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

static inline void image_close(struct image *image)
{
	munmap(image->data, image->size);
	close(image->fd);
}

static inline int image_load(struct image *image, const char *cmdline)
{
	return syscall(SYS_kexec_file_load, image->fd, -1, strlen(cmdline) + 1,
		       cmdline, KEXEC_FILE_NO_INITRAMFS) ? -errno : 0;
}

/* The kernel as it is, with an initramfs; @flags as kexec_file_load() has them */
static inline int kernel_load(const char *initrd, const char *cmdline, unsigned long flags)
{
	const char *path = getenv("LIVEUPDATE_KERNEL") ?: "/boot/vmlinuz";
	int kernel = open(path, O_RDONLY | O_CLOEXEC);
	int fd = open(initrd, O_RDONLY | O_CLOEXEC);
	int ret;

	VFIO_ASSERT_GE(kernel, 0, "%s\n", path);
	VFIO_ASSERT_GE(fd, 0, "%s\n", initrd);
	ret = syscall(SYS_kexec_file_load, kernel, fd, strlen(cmdline) + 1, cmdline,
		      flags) ? -errno : 0;
	close(kernel);
	close(fd);
	return ret;
}

static inline int image_unload(void)
{
	return syscall(SYS_kexec_file_load, -1, -1, 0, NULL,
		       KEXEC_FILE_UNLOAD) ? -errno : 0;
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_IMAGE_H */
