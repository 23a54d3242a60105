// SPDX-License-Identifier: GPL-2.0-only
/*
 * What cannot be preserved, as far as it is a matter of the iommufd: memory that
 * is mapped in it, options of its IOASes, ways to make an HWPT. Objects of an
 * iommufd are in vfio_pci_liveupdate_refuse_object_test, devices in
 * vfio_pci_liveupdate_refuse_device_test.
 *
 * Each test gives the reason, sees -EOPNOTSUPP and a line in the log, has the
 * device do DMA, takes the reason away, and preserves everything in the same
 * session and in a new one.
 *
 * Not here, because an emulated VT-d cannot have it:
 *
 *   dirty tracking     neither emulated stage has it, so IOMMU_HWPT_ALLOC gives
 *                      no such HWPT. An HWPT of the mock device, which has it,
 *                      cannot even be marked.
 *   PASIDs, SVA        no emulated device has the capability; attaching one to a
 *                      PASID is refused before anything is preserved.
 *   page requests      the same. An HWPT can have a fault queue, see mark_fault.
 *   vDEVICE of the     needs a viommu, which is refused before.
 *   device itself
 *   software mapped    ARM only.
 *   MSIs
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/refuse.h"

#define SECOND_IOVA	(VM_MEMORY_IOVA + SZ_4G)

static const char *device_bdf;

FIXTURE(refuse) {
	struct refuse refuse;
};

FIXTURE_SETUP(refuse)
{
	int ret = refuse_init(&self->refuse, device_bdf, _metadata->name);

	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(refuse)
{
	refuse_cleanup(&self->refuse);
}

/* Memory */

/* Memory that no file holds has nobody to carry it over. */
TEST_F(refuse, anonymous_memory)
{
	struct vm *vm = &self->refuse.vm;
	struct dma_region region = {
		.iova = SECOND_IOVA,
		.size = SZ_64K,
	};

	region.vaddr = mmap(NULL, region.size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, region.vaddr);
	ASSERT_EQ(0, __iommu_map(vm->iommu, &region));

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_refused(_metadata, &self->refuse, vm_preserve_iommufd(vm),
		       "only mappings of memfds are supported");

	ASSERT_EQ(0, __iommu_unmap(vm->iommu, &region, NULL));
	expect_allowed(_metadata, &self->refuse);
}

TEST_F(refuse, hugetlb_memory)
{
	struct vm *vm = &self->refuse.vm;
	struct dma_region region = {
		.iova = SECOND_IOVA,
		.size = SZ_2M,
	};
	int fd;

	fd = memfd_create("hugetlb", MFD_CLOEXEC | MFD_HUGETLB);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, region.size));
	if (fallocate(fd, 0, 0, region.size))
		SKIP(goto out, "no huge page");
	ASSERT_EQ(0, __iommu_map_file(vm->iommu, &region, fd, 0));

	/* LUO has no handler for it */
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	EXPECT_EQ(-ENOENT, vm_preserve(vm, fd, TOKEN_OTHER));
	expect_refused(_metadata, &self->refuse, vm_preserve_iommufd(vm),
		       "mappings of hugetlb files are not supported");

	ASSERT_EQ(0, __iommu_unmap(vm->iommu, &region, NULL));
	expect_allowed(_metadata, &self->refuse);
out:
	close(fd);
}

/* The first pages of BAR 0 as a dma-buf. */
static int dmabuf_create(struct vm *vm)
{
	struct vfio_device_feature_dma_buf *dma_buf;
	u8 buffer[sizeof(struct vfio_device_feature) + sizeof(*dma_buf) +
		  sizeof(*dma_buf->dma_ranges)] __aligned(8) = {};
	struct vfio_device_feature *feature = (void *)buffer;
	int fd;

	feature->argsz = sizeof(buffer);
	feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF;
	dma_buf = (void *)feature->data;
	dma_buf->region_index = VFIO_PCI_BAR0_REGION_INDEX;
	dma_buf->open_flags = O_RDWR | O_CLOEXEC;
	dma_buf->nr_ranges = 1;
	dma_buf->dma_ranges[0].length = SZ_64K;

	fd = ioctl(vm->device->fd, VFIO_DEVICE_FEATURE, feature);
	return fd < 0 ? -errno : fd;
}

/* A mapped dma-buf is memory of no memfd; the exporter is looked at later. */
TEST_F(refuse, dmabuf_mapping)
{
	struct vm *vm = &self->refuse.vm;
	struct dma_region region = {
		.iova = SECOND_IOVA,
		.size = SZ_64K,
	};
	int fd = dmabuf_create(vm);

	if (fd == -ENOTTY)
		SKIP(return, "vfio-pci cannot export dma-bufs");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, __iommu_map_file(vm->iommu, &region, fd, 0));

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_refused(_metadata, &self->refuse, vm_preserve_iommufd(vm),
		       "only mappings of memfds are supported");

	ASSERT_EQ(0, __iommu_unmap(vm->iommu, &region, NULL));
	close(fd);
	expect_allowed(_metadata, &self->refuse);
}

TEST_F(refuse, dmabuf_exported)
{
	struct vm *vm = &self->refuse.vm;
	int fd = dmabuf_create(vm);

	if (fd == -ENOTTY)
		SKIP(return, "vfio-pci cannot export dma-bufs");
	ASSERT_LE(0, fd);

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	expect_refused(_metadata, &self->refuse, vm_preserve_cdev(vm),
		       "cannot preserve: exported dma-bufs");

	close(fd);
	EXPECT_EQ(0, vm_preserve_cdev(vm));
	EXPECT_LE(0, refuse_new_session(&self->refuse));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_allowed(_metadata, &self->refuse);
}

/* Not on the list, but wrong: memory that the file does not have any more. */
TEST_F(refuse, punched_memory)
{
	struct vm *vm = &self->refuse.vm;

	ASSERT_EQ(0, fallocate(vm->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       VM_MEMORY_SIZE - SZ_4K, SZ_4K));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	EXPECT_EQ(-EINVAL, vm_preserve_iommufd(vm));
	EXPECT_TRUE(refuse_logged(&self->refuse, "maps other pages than the file has now"));
	EXPECT_EQ(0, refuse_dma(&self->refuse));
}

TEST_F(refuse, truncated_memory)
{
	struct vm *vm = &self->refuse.vm;

	ASSERT_EQ(0, ftruncate(vm->memfd, VM_MEMORY_SIZE - SZ_4K));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	EXPECT_EQ(-EINVAL, vm_preserve_iommufd(vm));
	EXPECT_TRUE(refuse_logged(&self->refuse, "goes beyond the end of the file"));
	EXPECT_EQ(0, refuse_dma(&self->refuse));
}

/* The IOAS */

TEST_F(refuse, large_pages_disabled)
{
	struct vm *vm = &self->refuse.vm;
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = vm->iommu->ioas_id,
		.val64 = 0,
	};

	/* It cannot be changed with something mapped */
	ASSERT_EQ(0, __iommu_unmap(vm->iommu, &vm->region, NULL));
	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_OPTION, &option));
	ASSERT_EQ(0, __iommu_map_file(vm->iommu, &vm->region, vm->memfd, 0));

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_refused(_metadata, &self->refuse, vm_preserve_iommufd(vm),
		       "large pages are disabled");

	ASSERT_EQ(0, __iommu_unmap(vm->iommu, &vm->region, NULL));
	option.val64 = 1;
	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_OPTION, &option));
	ASSERT_EQ(0, __iommu_map_file(vm->iommu, &vm->region, vm->memfd, 0));
	EXPECT_LE(0, refuse_new_session(&self->refuse));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_allowed(_metadata, &self->refuse);
}

/* With it the iommufd can stand for a VFIO container. */
TEST_F(refuse, container_compatibility)
{
	struct vm *vm = &self->refuse.vm;
	struct iommu_vfio_ioas args = {
		.size = sizeof(args),
		.ioas_id = vm->iommu->ioas_id,
		.op = IOMMU_VFIO_IOAS_SET,
	};

	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_VFIO_IOAS, &args));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_refused(_metadata, &self->refuse, vm_preserve_iommufd(vm),
		       "VFIO container compatibility and noiommu are not supported");

	args.op = IOMMU_VFIO_IOAS_CLEAR;
	args.ioas_id = 0;
	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_VFIO_IOAS, &args));
	expect_allowed(_metadata, &self->refuse);
}

/* HWPTs */

/* The HWPT that attaching to an IOAS makes is not the user's to preserve. */
TEST_F(refuse, mark_auto_hwpt)
{
	struct vm *vm = &self->refuse.vm;
	struct vfio_device_attach_iommufd_pt args = {
		.argsz = sizeof(args),
		.pt_id = vm->iommu->ioas_id,
	};
	u32 hwpt_id;

	ASSERT_EQ(0, ioctl(vm->device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &args));
	ASSERT_NE(vm->iommu->ioas_id, args.pt_id);
	expect_refused(_metadata, &self->refuse, vm_mark(vm, args.pt_id, 1),
		       "made by attaching to an IOAS");

	/* Nor one that is marked, as long as the IOAS has such a one */
	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &hwpt_id));
	ASSERT_EQ(0, vm_mark(vm, hwpt_id, 1));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_refused(_metadata, &self->refuse, vm_preserve_iommufd(vm),
		       "devices attached to the IOAS and not to an HWPT");
	ASSERT_EQ(0, iommufd_destroy(vm->iommu->iommufd, hwpt_id));

	ASSERT_EQ(0, __vfio_device_attach_iommufd_pt(vm->device->fd, vm->hwpt_id));
	expect_allowed(_metadata, &self->refuse);
}

static int fault_queue_alloc(struct vm *vm, u32 *id)
{
	struct iommu_fault_alloc args = { .size = sizeof(args) };

	if (ioctl(vm->iommu->iommufd, IOMMU_FAULT_QUEUE_ALLOC, &args))
		return -errno;
	*id = args.out_fault_id;
	return args.out_fault_fd;
}

TEST_F(refuse, mark_fault)
{
	struct vm *vm = &self->refuse.vm;
	struct iommu_hwpt_alloc args = {
		.size = sizeof(args),
		.flags = IOMMU_HWPT_FAULT_ID_VALID,
		.dev_id = vm->dev_id,
		.pt_id = vm->iommu->ioas_id,
		.data_type = IOMMU_HWPT_DATA_NONE,
	};
	int fd;

	fd = fault_queue_alloc(vm, &args.fault_id);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_HWPT_ALLOC, &args));
	expect_refused(_metadata, &self->refuse, vm_mark(vm, args.out_hwpt_id, 1),
		       "fault queues are not supported");

	ASSERT_EQ(0, iommufd_destroy(vm->iommu->iommufd, args.out_hwpt_id));
	close(fd);
	ASSERT_EQ(0, iommufd_destroy(vm->iommu->iommufd, args.fault_id));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_allowed(_metadata, &self->refuse);
}

/* It stays behind, even if no HWPT that is marked uses it. */
TEST_F(refuse, fault_queue)
{
	struct vm *vm = &self->refuse.vm;
	u32 id;
	int fd;

	fd = fault_queue_alloc(vm, &id);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_refused(_metadata, &self->refuse, vm_preserve_iommufd(vm),
		       "fault, event and hardware queues are not supported");

	close(fd);
	ASSERT_EQ(0, iommufd_destroy(vm->iommu->iommufd, id));
	expect_allowed(_metadata, &self->refuse);
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
