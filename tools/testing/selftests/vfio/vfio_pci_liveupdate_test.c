// SPDX-License-Identifier: GPL-2.0-only
/*
 * What marking and preserving promise before there is any kexec: which errors
 * the ioctls give, the order of files in a session, what is refused, that a
 * preserved device cannot be changed, and that all is as before once the session
 * is closed.
 *
 * The device is bound and attached, and never does any DMA. The other half, with
 * a device that does, is vfio_pci_liveupdate_kexec.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/bits.h>
#include <linux/iommufd.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/uapi.h"

#define MEMORY_SIZE	SZ_2M
#define MEMORY_IOVA	BIT_ULL(40)

enum { TOKEN_MEMFD, TOKEN_IOMMUFD, TOKEN_CDEV, TOKEN_OTHER };

static const char *device_bdf;

static int memory_create(void)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, MEMORY_SIZE)) {
		close(fd);
		fd = -1;
	}

	return fd;
}

static int iommufd_destroy(int iommufd, u32 id)
{
	struct iommu_destroy args = { .size = sizeof(args), .id = id };

	return ioctl(iommufd, IOMMU_DESTROY, &args) ? -errno : 0;
}

static int device_detach(int fd)
{
	struct vfio_device_detach_iommufd_pt args = { .argsz = sizeof(args) };

	return ioctl(fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &args) ? -errno : 0;
}

/* All that a VMM has, for a VM with one device. */
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

FIXTURE(liveupdate) {
	struct vm vm;
};

FIXTURE_SETUP(liveupdate)
{
	struct vm *vm = &self->vm;

	vm->luo = luo_open_device();
	if (vm->luo < 0)
		SKIP(return, "no " LUO_DEVICE);

	vm->session = luo_create_session(vm->luo, _metadata->name);
	ASSERT_LE(0, vm->session);

	vm->iommu = iommu_init(MODE_IOMMUFD);
	vm->device = vfio_pci_device_alloc(device_bdf, vm->iommu);
	vfio_pci_cdev_open(vm->device, device_bdf);
	ASSERT_EQ(0, __vfio_device_bind_iommufd_id(vm->device->fd,
						   vm->iommu->iommufd,
						   &vm->dev_id));
	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &vm->hwpt_id));

	if (hwpt_mark_preserve(vm->iommu->iommufd, vm->hwpt_id, 0) == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");

	ASSERT_EQ(0, __vfio_device_attach_iommufd_pt(vm->device->fd, vm->hwpt_id));

	vm->memfd = memory_create();
	ASSERT_LE(0, vm->memfd);
	vm->region = (struct dma_region){
		.iova = MEMORY_IOVA,
		.size = MEMORY_SIZE,
	};
	ASSERT_EQ(0, __iommu_map_file(vm->iommu, &vm->region, vm->memfd, 0));
}

FIXTURE_TEARDOWN(liveupdate)
{
	struct vm *vm = &self->vm;

	if (vm->session >= 0)
		close(vm->session);
	close(vm->luo);
	close(vm->device->fd);
	vfio_pci_device_free(vm->device);
	iommu_cleanup(vm->iommu);
	close(vm->memfd);
}

static int mark(struct vm *vm, u32 hwpt_id, u64 token)
{
	return hwpt_mark_preserve(vm->iommu->iommufd, hwpt_id, token);
}

static int preserve(struct vm *vm, int fd, u64 token)
{
	return luo_session_preserve_fd(vm->session, fd, token);
}

static int preserve_memfd(struct vm *vm)
{
	return preserve(vm, vm->memfd, TOKEN_MEMFD);
}

static int preserve_iommufd(struct vm *vm)
{
	return preserve(vm, vm->iommu->iommufd, TOKEN_IOMMUFD);
}

static int preserve_cdev(struct vm *vm)
{
	return preserve(vm, vm->device->fd, TOKEN_CDEV);
}

static int preserve_all(struct vm *vm)
{
	int ret;

	ret = preserve_memfd(vm);
	if (!ret)
		ret = preserve_iommufd(vm);
	if (!ret)
		ret = preserve_cdev(vm);

	return ret;
}

/* The fixture has marked the HWPT already, with token 0. */
TEST_F(liveupdate, mark_again)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, mark(vm, vm->hwpt_id, 0));
	ASSERT_EQ(0, mark(vm, vm->hwpt_id, 7));
	ASSERT_EQ(0, mark(vm, vm->hwpt_id, 7));
	ASSERT_EQ(0, mark(vm, vm->hwpt_id, UINT64_MAX));
}

TEST_F(liveupdate, mark_what_is_no_hwpt)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(-ENOENT, mark(vm, UINT32_MAX, 1));
	ASSERT_EQ(-ENOENT, mark(vm, vm->iommu->ioas_id, 1));
	ASSERT_EQ(-ENOENT, mark(vm, vm->dev_id, 1));
}

TEST_F(liveupdate, mark_with_a_token_in_use)
{
	struct vm *vm = &self->vm;
	u32 other;

	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &other));
	ASSERT_EQ(-EADDRINUSE, mark(vm, other, 0));

	/* A token that was replaced is free again. */
	ASSERT_EQ(0, mark(vm, vm->hwpt_id, 1));
	ASSERT_EQ(0, mark(vm, other, 0));
	ASSERT_EQ(-EADDRINUSE, mark(vm, vm->hwpt_id, 0));

	/* The mark goes with the HWPT. */
	ASSERT_EQ(0, iommufd_destroy(vm->iommu->iommufd, other));
	ASSERT_EQ(-ENOENT, mark(vm, other, 0));
	ASSERT_EQ(0, mark(vm, vm->hwpt_id, 0));
}

TEST_F(liveupdate, mark_argument_size)
{
	struct vm *vm = &self->vm;
	struct {
		struct iommu_hwpt_liveupdate_mark_preserve args;
		__u64 more;
	} big = {
		.args.size = sizeof(big),
		.args.hwpt_id = vm->hwpt_id,
	};
	int iommufd = vm->iommu->iommufd;

	ASSERT_EQ(0, ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &big));

	big.more = 1;
	ASSERT_EQ(-1, ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &big));
	ASSERT_EQ(E2BIG, errno);

	big.args.size = sizeof(big.args) - 1;
	ASSERT_EQ(-1, ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &big));
	ASSERT_EQ(EINVAL, errno);
}

TEST_F(liveupdate, mark_when_preserved)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, preserve_memfd(vm));
	ASSERT_EQ(0, mark(vm, vm->hwpt_id, 1));
	ASSERT_EQ(0, preserve_iommufd(vm));
	ASSERT_EQ(-EBUSY, mark(vm, vm->hwpt_id, 2));
}

/* The HWPT that attaching to an IOAS makes is not the user's to preserve. */
TEST_F(liveupdate, mark_auto_hwpt)
{
	struct vm *vm = &self->vm;
	struct vfio_device_attach_iommufd_pt args = {
		.argsz = sizeof(args),
		.pt_id = vm->iommu->ioas_id,
	};

	ASSERT_EQ(0, device_detach(vm->device->fd));
	ASSERT_EQ(0, iommufd_destroy(vm->iommu->iommufd, vm->hwpt_id));
	ASSERT_EQ(0, ioctl(vm->device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &args));
	ASSERT_NE(vm->iommu->ioas_id, args.pt_id);
	ASSERT_EQ(-EOPNOTSUPP, mark(vm, args.pt_id, 1));
}

TEST_F(liveupdate, restore_in_old_kernel)
{
	struct vm *vm = &self->vm;
	u32 hwpt_id, ioas_id;

	ASSERT_EQ(-ENOTTY, hwpt_restore(vm->iommu->iommufd, 0, &hwpt_id, &ioas_id));
	ASSERT_EQ(0, preserve_all(vm));
	ASSERT_EQ(-ENOTTY, hwpt_restore(vm->iommu->iommufd, 0, &hwpt_id, &ioas_id));
}

/* A refusal does no harm to the session. */
TEST_F(liveupdate, preserve_in_wrong_order)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(-EINVAL, preserve_iommufd(vm));
	ASSERT_EQ(-EINVAL, preserve_cdev(vm));
	ASSERT_EQ(0, preserve_memfd(vm));
	ASSERT_EQ(-EINVAL, preserve_cdev(vm));
	ASSERT_EQ(0, preserve_iommufd(vm));
	ASSERT_EQ(0, preserve_cdev(vm));
}

/* What belongs together has to be in one session. */
TEST_F(liveupdate, preserve_in_two_sessions)
{
	struct vm *vm = &self->vm;
	int session = luo_create_session(vm->luo, "memory");

	ASSERT_LE(0, session);
	ASSERT_EQ(0, luo_session_preserve_fd(session, vm->memfd, TOKEN_MEMFD));
	ASSERT_EQ(-EINVAL, preserve_iommufd(vm));

	ASSERT_EQ(0, close(session));
	ASSERT_EQ(0, preserve_all(vm));
}

TEST_F(liveupdate, preserve_twice)
{
	struct vm *vm = &self->vm;
	int session = luo_create_session(vm->luo, "other");

	ASSERT_LE(0, session);
	ASSERT_EQ(0, preserve_all(vm));

	ASSERT_EQ(-EBUSY, preserve(vm, vm->memfd, TOKEN_OTHER));
	ASSERT_EQ(-EBUSY, preserve(vm, vm->iommu->iommufd, TOKEN_OTHER));
	ASSERT_EQ(-EBUSY, preserve(vm, vm->device->fd, TOKEN_OTHER));
	ASSERT_EQ(-EEXIST, preserve(vm, vm->device->fd, TOKEN_CDEV));
	ASSERT_EQ(-EBUSY, luo_session_preserve_fd(session, vm->iommu->iommufd, 0));
	ASSERT_EQ(-EBUSY, luo_session_preserve_fd(session, vm->device->fd, 0));

	ASSERT_EQ(0, close(session));
}

/* The device uses an HWPT that is not marked, the marked one has no device. */
TEST_F(liveupdate, preserve_unmarked)
{
	struct vm *vm = &self->vm;
	u32 other;

	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &other));
	ASSERT_EQ(0, __vfio_device_attach_iommufd_pt(vm->device->fd, other));

	ASSERT_EQ(0, preserve_memfd(vm));
	ASSERT_EQ(-ENODEV, preserve_iommufd(vm));
	ASSERT_GT(0, preserve_cdev(vm));
}

/* Memory that no file holds has nobody to carry it over. */
TEST_F(liveupdate, preserve_anonymous_memory)
{
	struct vm *vm = &self->vm;
	struct dma_region region = {
		.iova = MEMORY_IOVA + SZ_4G,
		.size = SZ_64K,
	};

	region.vaddr = mmap(NULL, region.size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, region.vaddr);
	ASSERT_EQ(0, __iommu_map(vm->iommu, &region));

	ASSERT_EQ(0, preserve_memfd(vm));
	ASSERT_EQ(-EOPNOTSUPP, preserve_iommufd(vm));

	ASSERT_EQ(0, __iommu_unmap(vm->iommu, &region, NULL));
	ASSERT_EQ(0, preserve_iommufd(vm));
	ASSERT_EQ(0, preserve_cdev(vm));
}

/* Everything that would change what is preserved. */
static void expect_frozen(struct __test_metadata *_metadata,
			  struct vm *vm, u32 other_hwpt)
{
	struct dma_region second = {
		.iova = MEMORY_IOVA + SZ_4G,
		.size = MEMORY_SIZE,
	};
	int memfd = memory_create();

	ASSERT_LE(0, memfd);
	EXPECT_EQ(-EBUSY, __iommu_map_file(vm->iommu, &second, memfd, 0));
	EXPECT_EQ(-EBUSY, __iommu_unmap(vm->iommu, &vm->region, NULL));
	EXPECT_EQ(-EBUSY, __iommu_unmap_all(vm->iommu, NULL));
	EXPECT_EQ(-EBUSY, __vfio_device_attach_iommufd_pt(vm->device->fd, other_hwpt));
	EXPECT_EQ(-EBUSY, device_detach(vm->device->fd));
	EXPECT_EQ(-EBUSY, __vfio_pci_device_reset(vm->device));
	EXPECT_EQ(0, close(memfd));

	EXPECT_EQ(-1, ftruncate(vm->memfd, MEMORY_SIZE / 2));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, fallocate(vm->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				0, SZ_4K));
	EXPECT_EQ(EPERM, errno);
}

/* The same calls, where nothing is in their way. */
static void expect_free(struct __test_metadata *_metadata,
			struct vm *vm, u32 other_hwpt)
{
	struct dma_region second = {
		.iova = MEMORY_IOVA + SZ_4G,
		.size = MEMORY_SIZE,
	};
	int memfd = memory_create();

	ASSERT_LE(0, memfd);
	EXPECT_EQ(0, __iommu_map_file(vm->iommu, &second, memfd, 0));
	EXPECT_EQ(0, __iommu_unmap(vm->iommu, &second, NULL));
	EXPECT_EQ(0, __iommu_unmap(vm->iommu, &vm->region, NULL));
	EXPECT_EQ(0, __iommu_map_file(vm->iommu, &vm->region, vm->memfd, 0));
	EXPECT_EQ(0, __vfio_pci_device_reset(vm->device));
	EXPECT_EQ(0, __vfio_device_attach_iommufd_pt(vm->device->fd, other_hwpt));
	EXPECT_EQ(0, device_detach(vm->device->fd));
	EXPECT_EQ(0, __vfio_device_attach_iommufd_pt(vm->device->fd, vm->hwpt_id));
	EXPECT_EQ(0, iommufd_destroy(vm->iommu->iommufd, other_hwpt));
	EXPECT_EQ(0, mark(vm, vm->hwpt_id, 0));
	EXPECT_EQ(0, close(memfd));

	EXPECT_EQ(0, fallocate(vm->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, SZ_4K));
}

TEST_F(liveupdate, preserved_is_frozen)
{
	struct vm *vm = &self->vm;
	u32 other;

	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &other));
	ASSERT_EQ(0, preserve_all(vm));
	expect_frozen(_metadata, vm, other);
}

TEST_F(liveupdate, closed_session_frees)
{
	struct vm *vm = &self->vm;
	u32 other;

	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &other));
	ASSERT_EQ(0, preserve_all(vm));
	ASSERT_EQ(0, close(vm->session));
	vm->session = -1;

	expect_free(_metadata, vm, other);
}

/* Preserving can be tried as often as one likes. */
TEST_F(liveupdate, preserve_after_closed_session)
{
	struct vm *vm = &self->vm;
	int i;

	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, preserve_all(vm));
		ASSERT_EQ(0, close(vm->session));
		vm->session = luo_create_session(vm->luo, "again");
		ASSERT_LE(0, vm->session);
	}
}

/* There is nothing to preserve of a device without translation. */
TEST_F(liveupdate, preserve_detached)
{
	struct vm *vm = &self->vm;
	u32 other;

	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &other));
	ASSERT_EQ(0, device_detach(vm->device->fd));

	ASSERT_EQ(0, preserve_memfd(vm));
	ASSERT_EQ(-ENODEV, preserve_iommufd(vm));
	ASSERT_GT(0, preserve_cdev(vm));

	/* Nothing is left of the attempt: the same session takes it once attached. */
	ASSERT_EQ(0, __vfio_device_attach_iommufd_pt(vm->device->fd, vm->hwpt_id));
	ASSERT_EQ(0, preserve_iommufd(vm));
	ASSERT_EQ(0, preserve_cdev(vm));
	EXPECT_EQ(-EBUSY, iommufd_destroy(vm->iommu->iommufd, vm->hwpt_id));

	ASSERT_EQ(0, close(vm->session));
	vm->session = -1;
	expect_free(_metadata, vm, other);
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
