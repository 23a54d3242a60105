/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_TEST_VM_H
#define SELFTESTS_VFIO_LIVEUPDATE_TEST_VM_H

#include <errno.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/bits.h>
#include <linux/iommufd.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "uapi.h"

/*
 * All that a VMM has, for a VM with one device: for the tests of live update
 * that do without a kexec. The device is attached to an HWPT of its own, which
 * is marked with token 0, and one memfd is mapped.
 */

#define VM_MEMORY_SIZE	SZ_2M
#define VM_MEMORY_IOVA	BIT_ULL(40)

enum { TOKEN_MEMFD, TOKEN_IOMMUFD, TOKEN_CDEV, TOKEN_OTHER };

struct vm {
	struct iommu *iommu;
	struct vfio_pci_device *device;
	struct dma_region region;
	u32 dev_id;
	u32 hwpt_id;
	int memfd;
	int luo;
	int session;
};

static inline int vm_memory_create(void)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, VM_MEMORY_SIZE)) {
		close(fd);
		fd = -1;
	}

	return fd;
}

static inline int iommufd_destroy(int iommufd, u32 id)
{
	struct iommu_destroy args = { .size = sizeof(args), .id = id };

	return ioctl(iommufd, IOMMU_DESTROY, &args) ? -errno : 0;
}

static inline int device_detach(int fd)
{
	struct vfio_device_detach_iommufd_pt args = { .argsz = sizeof(args) };

	return ioctl(fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &args) ? -errno : 0;
}

static inline int vm_mark(struct vm *vm, u32 hwpt_id, u64 token)
{
	return hwpt_mark_preserve(vm->iommu->iommufd, hwpt_id, token);
}

static inline int vm_preserve(struct vm *vm, int fd, u64 token)
{
	return luo_session_preserve_fd(vm->session, fd, token);
}

static inline int vm_preserve_memfd(struct vm *vm)
{
	return vm_preserve(vm, vm->memfd, TOKEN_MEMFD);
}

static inline int vm_preserve_iommufd(struct vm *vm)
{
	return vm_preserve(vm, vm->iommu->iommufd, TOKEN_IOMMUFD);
}

static inline int vm_preserve_cdev(struct vm *vm)
{
	return vm_preserve(vm, vm->device->fd, TOKEN_CDEV);
}

static inline int vm_preserve_all(struct vm *vm)
{
	int ret;

	ret = vm_preserve_memfd(vm);
	if (!ret)
		ret = vm_preserve_iommufd(vm);
	if (!ret)
		ret = vm_preserve_cdev(vm);

	return ret;
}

/**
 * vm_init() - Make a VM whose device can be preserved.
 * @vm:   The VM.
 * @bdf:  Its device.
 * @name: Name of its session.
 *
 * What a base kernel cannot do is asserted, what needs live update is returned.
 *
 * Return: 0; -ENODEV without /dev/liveupdate, -ENOTTY without IOMMU live
 * update, or what else went wrong.
 */
static inline int vm_init(struct vm *vm, const char *bdf, const char *name)
{
	int ret;

	vm->luo = luo_open_device();
	if (vm->luo < 0)
		return -ENODEV;

	vm->session = luo_create_session(vm->luo, name);
	if (vm->session < 0)
		return vm->session;

	vm->iommu = iommu_init(MODE_IOMMUFD);
	vm->device = vfio_pci_device_alloc(bdf, vm->iommu);
	vfio_pci_cdev_open(vm->device, bdf);
	VFIO_ASSERT_EQ(__vfio_device_bind_iommufd_id(vm->device->fd,
						     vm->iommu->iommufd,
						     &vm->dev_id), 0);
	VFIO_ASSERT_EQ(__iommu_hwpt_alloc(vm->iommu, vm->dev_id, &vm->hwpt_id), 0);

	ret = vm_mark(vm, vm->hwpt_id, 0);
	if (ret)
		return ret;

	VFIO_ASSERT_EQ(__vfio_device_attach_iommufd_pt(vm->device->fd,
						       vm->hwpt_id), 0);

	vm->memfd = vm_memory_create();
	VFIO_ASSERT_GE(vm->memfd, 0);
	vm->region = (struct dma_region){
		.iova = VM_MEMORY_IOVA,
		.size = VM_MEMORY_SIZE,
	};
	VFIO_ASSERT_EQ(__iommu_map_file(vm->iommu, &vm->region, vm->memfd, 0), 0);
	return 0;
}

static inline void vm_cleanup(struct vm *vm)
{
	if (vm->session >= 0)
		close(vm->session);
	close(vm->luo);
	close(vm->device->fd);
	vfio_pci_device_free(vm->device);
	iommu_cleanup(vm->iommu);
	close(vm->memfd);
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_TEST_VM_H */
