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
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/test_vm.h"

static const char *device_bdf;

FIXTURE(liveupdate) {
	struct vm vm;
};

FIXTURE_SETUP(liveupdate)
{
	int ret = vm_init(&self->vm, device_bdf, _metadata->name);

	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(liveupdate)
{
	vm_cleanup(&self->vm);
}

/* The fixture has marked the HWPT already, with token 0. */
TEST_F(liveupdate, mark_again)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, vm_mark(vm, vm->hwpt_id, 0));
	ASSERT_EQ(0, vm_mark(vm, vm->hwpt_id, 7));
	ASSERT_EQ(0, vm_mark(vm, vm->hwpt_id, 7));
	ASSERT_EQ(0, vm_mark(vm, vm->hwpt_id, UINT64_MAX));
}

TEST_F(liveupdate, mark_what_is_no_hwpt)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(-ENOENT, vm_mark(vm, UINT32_MAX, 1));
	ASSERT_EQ(-ENOENT, vm_mark(vm, vm->iommu->ioas_id, 1));
	ASSERT_EQ(-ENOENT, vm_mark(vm, vm->dev_id, 1));
}

TEST_F(liveupdate, mark_with_a_token_in_use)
{
	struct vm *vm = &self->vm;
	u32 other;

	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &other));
	ASSERT_EQ(-EADDRINUSE, vm_mark(vm, other, 0));

	/* A token that was replaced is free again. */
	ASSERT_EQ(0, vm_mark(vm, vm->hwpt_id, 1));
	ASSERT_EQ(0, vm_mark(vm, other, 0));
	ASSERT_EQ(-EADDRINUSE, vm_mark(vm, vm->hwpt_id, 0));

	/* The mark goes with the HWPT. */
	ASSERT_EQ(0, iommufd_destroy(vm->iommu->iommufd, other));
	ASSERT_EQ(-ENOENT, vm_mark(vm, other, 0));
	ASSERT_EQ(0, vm_mark(vm, vm->hwpt_id, 0));
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

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(0, vm_mark(vm, vm->hwpt_id, 1));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	ASSERT_EQ(-EBUSY, vm_mark(vm, vm->hwpt_id, 2));
}

TEST_F(liveupdate, restore_in_old_kernel)
{
	struct vm *vm = &self->vm;
	u32 hwpt_id, ioas_id;

	ASSERT_EQ(-ENOTTY, hwpt_restore(vm->iommu->iommufd, 0, &hwpt_id, &ioas_id));
	ASSERT_EQ(0, vm_preserve_all(vm));
	ASSERT_EQ(-ENOTTY, hwpt_restore(vm->iommu->iommufd, 0, &hwpt_id, &ioas_id));
}

/* A refusal does no harm to the session. */
TEST_F(liveupdate, preserve_in_wrong_order)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(-EINVAL, vm_preserve_iommufd(vm));
	ASSERT_EQ(-EINVAL, vm_preserve_cdev(vm));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(-EINVAL, vm_preserve_cdev(vm));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	ASSERT_EQ(0, vm_preserve_cdev(vm));
}

/* What belongs together has to be in one session. */
TEST_F(liveupdate, preserve_in_two_sessions)
{
	struct vm *vm = &self->vm;
	int session = luo_create_session(vm->luo, "memory");

	ASSERT_LE(0, session);
	ASSERT_EQ(0, luo_session_preserve_fd(session, vm->memfd, TOKEN_MEMFD));
	ASSERT_EQ(-EINVAL, vm_preserve_iommufd(vm));

	ASSERT_EQ(0, close(session));
	ASSERT_EQ(0, vm_preserve_all(vm));
}

TEST_F(liveupdate, preserve_twice)
{
	struct vm *vm = &self->vm;
	int session = luo_create_session(vm->luo, "other");

	ASSERT_LE(0, session);
	ASSERT_EQ(0, vm_preserve_all(vm));

	ASSERT_EQ(-EBUSY, vm_preserve(vm, vm->memfd, TOKEN_OTHER));
	ASSERT_EQ(-EBUSY, vm_preserve(vm, vm->iommu->iommufd, TOKEN_OTHER));
	ASSERT_EQ(-EBUSY, vm_preserve(vm, vm->device->fd, TOKEN_OTHER));
	ASSERT_EQ(-EEXIST, vm_preserve(vm, vm->device->fd, TOKEN_CDEV));
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

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(-ENODEV, vm_preserve_iommufd(vm));
	ASSERT_GT(0, vm_preserve_cdev(vm));
}

/* Everything that would change what is preserved. */
static void expect_frozen(struct __test_metadata *_metadata,
			  struct vm *vm, u32 other_hwpt)
{
	struct dma_region second = {
		.iova = VM_MEMORY_IOVA + SZ_4G,
		.size = VM_MEMORY_SIZE,
	};
	int memfd = vm_memory_create();

	ASSERT_LE(0, memfd);
	EXPECT_EQ(-EBUSY, __iommu_map_file(vm->iommu, &second, memfd, 0));
	EXPECT_EQ(-EBUSY, __iommu_unmap(vm->iommu, &vm->region, NULL));
	EXPECT_EQ(-EBUSY, __iommu_unmap_all(vm->iommu, NULL));
	EXPECT_EQ(-EBUSY, __vfio_device_attach_iommufd_pt(vm->device->fd, other_hwpt));
	EXPECT_EQ(-EBUSY, device_detach(vm->device->fd));
	EXPECT_EQ(-EBUSY, __vfio_pci_device_reset(vm->device));
	EXPECT_EQ(0, close(memfd));

	EXPECT_EQ(-1, ftruncate(vm->memfd, VM_MEMORY_SIZE / 2));
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
		.iova = VM_MEMORY_IOVA + SZ_4G,
		.size = VM_MEMORY_SIZE,
	};
	int memfd = vm_memory_create();

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
	EXPECT_EQ(0, vm_mark(vm, vm->hwpt_id, 0));
	EXPECT_EQ(0, close(memfd));

	EXPECT_EQ(0, fallocate(vm->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, SZ_4K));
}

TEST_F(liveupdate, preserved_is_frozen)
{
	struct vm *vm = &self->vm;
	u32 other;

	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &other));
	ASSERT_EQ(0, vm_preserve_all(vm));
	expect_frozen(_metadata, vm, other);
}

TEST_F(liveupdate, closed_session_frees)
{
	struct vm *vm = &self->vm;
	u32 other;

	ASSERT_EQ(0, __iommu_hwpt_alloc(vm->iommu, vm->dev_id, &other));
	ASSERT_EQ(0, vm_preserve_all(vm));
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
		ASSERT_EQ(0, vm_preserve_all(vm));
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

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(-ENODEV, vm_preserve_iommufd(vm));
	ASSERT_GT(0, vm_preserve_cdev(vm));

	/* Nothing is left of the attempt: the same session takes it once attached. */
	ASSERT_EQ(0, __vfio_device_attach_iommufd_pt(vm->device->fd, vm->hwpt_id));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	ASSERT_EQ(0, vm_preserve_cdev(vm));
	EXPECT_EQ(-EBUSY, iommufd_destroy(vm->iommu->iommufd, vm->hwpt_id));

	ASSERT_EQ(0, close(vm->session));
	vm->session = -1;
	expect_free(_metadata, vm, other);
}

#define DEBUGFS	"/sys/kernel/debug/iommu/liveupdate"
#define TRACING	"/sys/kernel/debug/tracing"
#define EVENTS	TRACING "/events/iommu_liveupdate/enable"

static bool file_says(const char *path, const char *text)
{
	static char content[SZ_64K];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = 0, ret = -1;

	VFIO_ASSERT_GE(fd, 0);
	while (len < SZ_64K - 1 &&
	       (ret = read(fd, content + len, SZ_64K - 1 - len)) > 0)
		len += ret;
	VFIO_ASSERT_EQ(ret, 0);
	close(fd);

	content[len] = 0;
	return strstr(content, text);
}

static void file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* What is preserved, while it is. */
TEST_F(liveupdate, seen_in_debugfs)
{
	struct vm *vm = &self->vm;
	char device[64];

	if (access(DEBUGFS, R_OK))
		SKIP(return, "no " DEBUGFS);

	snprintf_assert(device, sizeof(device), "device %s domain=", device_bdf);
	EXPECT_FALSE(file_says(DEBUGFS, "outgoing"));
	ASSERT_EQ(0, vm_preserve_all(vm));
	EXPECT_TRUE(file_says(DEBUGFS, "outgoing frozen=no"));
	EXPECT_TRUE(file_says(DEBUGFS, device));
	EXPECT_TRUE(file_says(DEBUGFS, " tables="));
	ASSERT_EQ(0, close(vm->session));
	vm->session = -1;
	EXPECT_FALSE(file_says(DEBUGFS, "outgoing"));
}

TEST_F(liveupdate, traced)
{
	struct vm *vm = &self->vm;
	char device[64];

	if (access(EVENTS, W_OK))
		SKIP(return, "no " EVENTS);

	snprintf_assert(device, sizeof(device),
			"liveupdate_preserve_device: device=%s", device_bdf);
	file_write(TRACING "/trace", "");
	file_write(EVENTS, "1");
	EXPECT_FALSE(file_says(TRACING "/trace", device));
	EXPECT_EQ(0, vm_preserve_all(vm));
	EXPECT_EQ(0, close(vm->session));
	vm->session = -1;
	file_write(EVENTS, "0");

	EXPECT_TRUE(file_says(TRACING "/trace", "liveupdate_preserve_domain: domain="));
	EXPECT_TRUE(file_says(TRACING "/trace", device));
	EXPECT_TRUE(file_says(TRACING "/trace", "liveupdate_unpreserve_device: "));
	EXPECT_TRUE(file_says(TRACING "/trace", "liveupdate_unpreserve_domain: "));
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
