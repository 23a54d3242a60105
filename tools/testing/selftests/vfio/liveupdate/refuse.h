/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_REFUSE_H
#define SELFTESTS_VFIO_LIVEUPDATE_REFUSE_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kselftest_harness.h"
#include "test_vm.h"

/*
 * What a refusal owes to the user: an errno, the reason in the log, a device that
 * has not noticed, and a session that takes what is allowed.
 */

#define REFUSE_DRIVER_SIZE	SZ_1M
#define REFUSE_DMA_SRC		SZ_1M
#define REFUSE_DMA_DST		(SZ_1M + SZ_64K)
#define REFUSE_DMA_SIZE		1024

struct refuse {
	struct vm vm;
	int log;
	u8 pattern;
};

/**
 * refuse_init_any() - A VM with any device, and the log from here on.
 * @refuse: Filled.
 * @bdf:    The device.
 * @name:   Name of the session.
 *
 * Return: as vm_init().
 */
static inline int refuse_init_any(struct refuse *refuse, const char *bdf,
				  const char *name)
{
	struct vm *vm = &refuse->vm;
	int ret;

	refuse->log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	VFIO_ASSERT_GE(refuse->log, 0);
	VFIO_ASSERT_EQ(lseek(refuse->log, 0, SEEK_END), 0);

	ret = vm_init(vm, bdf, name);
	if (ret)
		return ret;

	vm->region.vaddr = mmap(NULL, VM_MEMORY_SIZE, PROT_READ | PROT_WRITE,
				MAP_SHARED, vm->memfd, 0);
	VFIO_ASSERT_NE(vm->region.vaddr, MAP_FAILED);
	vfio_pci_device_setup(vm->device);
	return 0;
}

/* The same with a device that does DMA, one there is a driver for in the library */
static inline int refuse_init(struct refuse *refuse, const char *bdf,
			      const char *name)
{
	struct vm *vm = &refuse->vm;
	struct vfio_pci_device *device;
	int ret;

	ret = refuse_init_any(refuse, bdf, name);
	if (ret)
		return ret;

	device = vm->device;
	vfio_pci_driver_probe(device);
	VFIO_ASSERT_NOT_NULL(device->driver.ops, "no driver for %s\n", bdf);
	device->driver.region = (struct dma_region){
		.vaddr = vm->region.vaddr,
		.iova = vm->region.iova,
		.size = REFUSE_DRIVER_SIZE,
	};
	vfio_pci_driver_init(device);
	return 0;
}

static inline void refuse_cleanup(struct refuse *refuse)
{
	struct vm *vm = &refuse->vm;

	close(vm->session);
	close(vm->luo);
	vfio_pci_device_cleanup(vm->device);
	munmap(vm->region.vaddr, VM_MEMORY_SIZE);
	iommu_cleanup(vm->iommu);
	close(vm->memfd);
	close(refuse->log);
}

/* Have the device read and write memory. Returns 0 if it did. */
static inline int refuse_dma(struct refuse *refuse)
{
	u8 *src = refuse->vm.region.vaddr + REFUSE_DMA_SRC;
	u8 *dst = refuse->vm.region.vaddr + REFUSE_DMA_DST;
	int ret;

	memset(src, ++refuse->pattern, REFUSE_DMA_SIZE);
	memset(dst, 0, REFUSE_DMA_SIZE);
	ret = vfio_pci_driver_memcpy(refuse->vm.device,
				     VM_MEMORY_IOVA + REFUSE_DMA_SRC,
				     VM_MEMORY_IOVA + REFUSE_DMA_DST,
				     REFUSE_DMA_SIZE);
	if (ret)
		return ret;
	return memcmp(src, dst, REFUSE_DMA_SIZE) ? -EIO : 0;
}

/* Whether @why was logged since the last time somebody asked. */
static inline bool refuse_logged(struct refuse *refuse, const char *why)
{
	char record[1024];
	bool found = false;
	ssize_t len;

	/* One record per read; EPIPE is a record that was overwritten */
	while ((len = read(refuse->log, record, sizeof(record) - 1)) > 0 ||
	       (len < 0 && errno == EPIPE)) {
		if (len < 0)
			continue;
		record[len] = 0;
		if (strstr(record, why))
			found = true;
	}

	return found;
}

static inline int refuse_new_session(struct refuse *refuse)
{
	struct vm *vm = &refuse->vm;

	close(vm->session);
	vm->session = luo_create_session(vm->luo, "again");
	return vm->session;
}

/* @ret is what refusing gave; whoever is refused, the device goes on. */
static inline void expect_refused(struct __test_metadata *_metadata,
				  struct refuse *refuse, int ret, const char *why)
{
	EXPECT_EQ(-EOPNOTSUPP, ret) {
		TH_LOG("refused with another errno: %s", why);
	}
	EXPECT_TRUE(refuse_logged(refuse, why)) {
		TH_LOG("not in the log: %s", why);
	}
	EXPECT_EQ(0, refuse_dma(refuse)) {
		TH_LOG("no DMA after it was refused: %s", why);
	}
}

/*
 * The obstacle is gone, and the memfd is preserved already: the rest goes into
 * the same session, and all of it into a new one, with the device running.
 */
static inline void expect_allowed(struct __test_metadata *_metadata,
				  struct refuse *refuse)
{
	EXPECT_EQ(0, vm_preserve_iommufd(&refuse->vm));
	EXPECT_EQ(0, vm_preserve_cdev(&refuse->vm));
	EXPECT_EQ(0, refuse_dma(refuse));
	EXPECT_LE(0, refuse_new_session(refuse));
	EXPECT_EQ(0, vm_preserve_all(&refuse->vm));
	EXPECT_EQ(0, refuse_dma(refuse));
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_REFUSE_H */
