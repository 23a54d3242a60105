/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_AER_H
#define SELFTESTS_VFIO_LIVEUPDATE_AER_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/types.h>

/* Of CONFIG_PCIEAER_INJECT: the device has not noticed anything */
#define AER_INJECT	"/dev/aer_inject"

/* What drivers/pci/pcie/aer_inject.c reads */
struct aer_error_inj {
	__u8 bus;
	__u8 dev;
	__u8 fn;
	__u32 uncor_status;
	__u32 cor_status;
	__u32 header_log[4];
	__u32 domain;
};

/* Has the port above @bdf, or @bdf, report an error, and recover from it. */
static inline int aer_inject(const char *bdf, __u32 uncorrectable, __u32 correctable)
{
	struct aer_error_inj error = {
		.uncor_status = uncorrectable,
		.cor_status = correctable,
	};
	unsigned int segment, bus, slot, function;
	int ret = 0;
	int fd;

	if (sscanf(bdf, "%x:%x:%x.%x", &segment, &bus, &slot, &function) != 4)
		return -EINVAL;
	error.domain = segment;
	error.bus = bus;
	error.dev = slot;
	error.fn = function;

	fd = open(AER_INJECT, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, &error, sizeof(error)) != sizeof(error))
		ret = -errno;
	close(fd);
	return ret;
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_AER_H */
