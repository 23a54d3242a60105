/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_SYSFS_H
#define SELFTESTS_VFIO_LIVEUPDATE_SYSFS_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <libvfio.h>

static inline int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static inline int file_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, text, size - 1);
	close(fd);
	if (len < 0)
		return -EIO;
	text[len] = 0;
	return 0;
}

/* Of a PCI device; valid until the next call. */
static inline const char *device_path(const char *bdf, const char *file)
{
	static char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, file);
	return path;
}

/* Config space as root sees it, behind the back of whoever drives the device. */
static inline int config_access(const char *bdf, off_t pos, void *buf, size_t len,
				bool write)
{
	int fd = open(device_path(bdf, "config"), O_RDWR | O_CLOEXEC);
	ssize_t ret;

	if (fd < 0)
		return -errno;
	ret = write ? pwrite(fd, buf, len, pos) : pread(fd, buf, len, pos);
	close(fd);
	return ret == len ? 0 : -EIO;
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_SYSFS_H */
