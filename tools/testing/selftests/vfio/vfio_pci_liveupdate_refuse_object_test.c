// SPDX-License-Identifier: GPL-2.0-only
/*
 * Objects of an iommufd that the next kernel could not make again: nested HWPTs,
 * vIOMMUs and what belongs to them. One of them anywhere in the iommufd is
 * enough for it to be refused; that a VMM has one and does not use it is nothing
 * it would expect to have to think of.
 *
 * Only hardware with nested translation has them, so they are made with the mock
 * device of CONFIG_IOMMUFD_TEST, in the iommufd of the real device. See
 * vfio_pci_liveupdate_refuse_test for how, and for what is refused otherwise.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include <linux/iommufd.h>
#include <linux/sizes.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "../../../../drivers/iommu/iommufd/iommufd_test.h"

#include "kselftest_harness.h"
#include "liveupdate/refuse.h"

static const char *device_bdf;

static void expect_object_refused(struct __test_metadata *_metadata,
				  struct refuse *refuse, u32 id)
{
	char why[32];

	snprintf(why, sizeof(why), "object %u: nested HWPTs", id);
	expect_refused(_metadata, refuse, vm_preserve_iommufd(&refuse->vm), why);
}

/* A mock device with an IOAS of its own, and an HWPT that can be nested upon. */
struct mock {
	u32 ioas_id;
	u32 stdev_id;
	u32 dev_id;
	u32 hwpt_id;
};

static int mock_hwpt_alloc(struct vm *vm, struct mock *mock, u32 pt_id, u32 flags,
			   u32 *hwpt_id)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct iommu_hwpt_alloc args = {
		.size = sizeof(args),
		.flags = flags,
		.dev_id = mock->dev_id,
		.pt_id = pt_id,
	};

	/* Without flags: nested */
	if (!flags) {
		args.data_type = IOMMU_HWPT_DATA_SELFTEST;
		args.data_len = sizeof(data);
		args.data_uptr = (uintptr_t)&data;
	}
	if (ioctl(vm->iommu->iommufd, IOMMU_HWPT_ALLOC, &args))
		return -errno;
	*hwpt_id = args.out_hwpt_id;
	return 0;
}

static int mock_create(struct vm *vm, struct mock *mock)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
	};

	if (ioctl(vm->iommu->iommufd, IOMMU_IOAS_ALLOC, &ioas))
		return -errno;
	mock->ioas_id = ioas.out_ioas_id;

	cmd.id = mock->ioas_id;
	if (ioctl(vm->iommu->iommufd, IOMMU_TEST_CMD, &cmd))
		return -errno;
	mock->stdev_id = cmd.mock_domain.out_stdev_id;
	mock->dev_id = cmd.mock_domain.out_idev_id;

	return mock_hwpt_alloc(vm, mock, mock->ioas_id,
			       IOMMU_HWPT_ALLOC_NEST_PARENT, &mock->hwpt_id);
}

static int mock_destroy(struct vm *vm, struct mock *mock)
{
	int ret;

	ret = iommufd_destroy(vm->iommu->iommufd, mock->hwpt_id);
	if (!ret)
		ret = iommufd_destroy(vm->iommu->iommufd, mock->stdev_id);
	if (!ret)
		ret = iommufd_destroy(vm->iommu->iommufd, mock->ioas_id);
	return ret;
}

FIXTURE(mock) {
	struct refuse refuse;
	struct mock mock;
};

static int mock_init(struct refuse *refuse, struct mock *mock, const char *name)
{
	int ret = refuse_init(refuse, device_bdf, name);

	return ret ?: mock_create(&refuse->vm, mock);
}

FIXTURE_SETUP(mock)
{
	int ret = mock_init(&self->refuse, &self->mock, _metadata->name);

	if (ret == -ENODEV || ret == -ENOTTY)
		SKIP(return, "no IOMMU live update, or no CONFIG_IOMMUFD_TEST");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vm_preserve_memfd(&self->refuse.vm));
}

FIXTURE_TEARDOWN(mock)
{
	refuse_cleanup(&self->refuse);
}

TEST_F(mock, nested_hwpt)
{
	struct vm *vm = &self->refuse.vm;
	u32 id;

	ASSERT_EQ(0, mock_hwpt_alloc(vm, &self->mock, self->mock.hwpt_id, 0, &id));

	/* It is no paging HWPT, so it cannot be marked either */
	EXPECT_EQ(-ENOENT, vm_mark(vm, id, 1));
	expect_object_refused(_metadata, &self->refuse, id);

	ASSERT_EQ(0, iommufd_destroy(vm->iommu->iommufd, id));
	expect_allowed(_metadata, &self->refuse);
	EXPECT_LE(0, refuse_new_session(&self->refuse));
	EXPECT_EQ(0, mock_destroy(vm, &self->mock));
}

static int fault_queue_alloc(struct vm *vm, struct iommu_fault_alloc *args)
{
	args->size = sizeof(*args);
	return ioctl(vm->iommu->iommufd, IOMMU_FAULT_QUEUE_ALLOC, args) ? -errno : 0;
}

static int mock_viommu_alloc(struct vm *vm, struct mock *mock, u32 *viommu_id)
{
	struct iommu_viommu_selftest data = {};
	struct iommu_viommu_alloc args = {
		.size = sizeof(args),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = mock->dev_id,
		.hwpt_id = mock->hwpt_id,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};

	if (ioctl(vm->iommu->iommufd, IOMMU_VIOMMU_ALLOC, &args))
		return -errno;
	*viommu_id = args.out_viommu_id;
	return 0;
}

/* None of them can be made when the iommufd has been preserved. */
TEST_F(mock, made_when_preserved)
{
	struct vm *vm = &self->refuse.vm;
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_fault_alloc fault = {};
	u32 id;

	expect_allowed(_metadata, &self->refuse);
	EXPECT_EQ(-EBUSY, fault_queue_alloc(vm, &fault));
	EXPECT_EQ(-EBUSY, mock_viommu_alloc(vm, &self->mock, &id));
	EXPECT_EQ(-EBUSY, mock_hwpt_alloc(vm, &self->mock, self->mock.hwpt_id, 0,
					  &id));

	/* What has nothing to do with what is preserved may come and go */
	EXPECT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_IOAS_ALLOC, &ioas));
	EXPECT_EQ(0, iommufd_destroy(vm->iommu->iommufd, ioas.out_ioas_id));
	EXPECT_EQ(0, refuse_dma(&self->refuse));

	EXPECT_LE(0, refuse_new_session(&self->refuse));
	EXPECT_EQ(0, fault_queue_alloc(vm, &fault));
	EXPECT_EQ(0, mock_viommu_alloc(vm, &self->mock, &id));
	EXPECT_EQ(0, iommufd_destroy(vm->iommu->iommufd, id));
	close(fault.out_fault_fd);
	EXPECT_EQ(0, iommufd_destroy(vm->iommu->iommufd, fault.out_fault_id));
	EXPECT_EQ(0, mock_destroy(vm, &self->mock));
}

FIXTURE(viommu) {
	struct refuse refuse;
	struct mock mock;
	u32 viommu_id;
};

FIXTURE_SETUP(viommu)
{
	struct vm *vm = &self->refuse.vm;
	int ret;

	ret = mock_init(&self->refuse, &self->mock, _metadata->name);
	if (ret == -ENODEV || ret == -ENOTTY)
		SKIP(return, "no IOMMU live update, or no CONFIG_IOMMUFD_TEST");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, mock_viommu_alloc(vm, &self->mock, &self->viommu_id));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
}

FIXTURE_TEARDOWN(viommu)
{
	refuse_cleanup(&self->refuse);
}

static void viommu_gone(struct __test_metadata *_metadata, struct refuse *refuse,
			struct mock *mock, u32 viommu_id)
{
	EXPECT_EQ(0, iommufd_destroy(refuse->vm.iommu->iommufd, viommu_id));
	expect_allowed(_metadata, refuse);
	EXPECT_LE(0, refuse_new_session(refuse));
	EXPECT_EQ(0, mock_destroy(&refuse->vm, mock));
}

TEST_F(viommu, viommu)
{
	expect_object_refused(_metadata, &self->refuse, self->viommu_id);
	viommu_gone(_metadata, &self->refuse, &self->mock, self->viommu_id);
}

/*
 * These need a vIOMMU, which is reason enough. The log names the last object
 * that cannot be preserved, so it tells that their kind is one of them.
 */
TEST_F(viommu, vdevice)
{
	struct vm *vm = &self->refuse.vm;
	struct iommu_vdevice_alloc args = {
		.size = sizeof(args),
		.viommu_id = self->viommu_id,
		.dev_id = self->mock.dev_id,
		.virt_id = 1,
	};

	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_VDEVICE_ALLOC, &args));
	expect_object_refused(_metadata, &self->refuse, args.out_vdevice_id);

	EXPECT_EQ(0, iommufd_destroy(vm->iommu->iommufd, args.out_vdevice_id));
	viommu_gone(_metadata, &self->refuse, &self->mock, self->viommu_id);
}

TEST_F(viommu, event_queue)
{
	struct vm *vm = &self->refuse.vm;
	struct iommu_veventq_alloc args = {
		.size = sizeof(args),
		.viommu_id = self->viommu_id,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 2,
	};

	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_VEVENTQ_ALLOC, &args));
	expect_object_refused(_metadata, &self->refuse, args.out_veventq_id);

	close(args.out_veventq_fd);
	EXPECT_EQ(0, iommufd_destroy(vm->iommu->iommufd, args.out_veventq_id));
	viommu_gone(_metadata, &self->refuse, &self->mock, self->viommu_id);
}

TEST_F(viommu, hardware_queue)
{
	struct vm *vm = &self->refuse.vm;
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = self->mock.ioas_id,
		.length = SZ_4K,
		.iova = MOCK_APERTURE_START,
	};
	struct iommu_hw_queue_alloc args = {
		.size = sizeof(args),
		.viommu_id = self->viommu_id,
		.type = IOMMU_HW_QUEUE_TYPE_SELFTEST,
		.nesting_parent_iova = MOCK_APERTURE_START,
		.length = SZ_4K,
	};
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = self->mock.ioas_id,
		.iova = MOCK_APERTURE_START,
		.length = SZ_4K,
	};

	map.fd = vm_memory_create();
	ASSERT_LE(0, map.fd);
	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_IOAS_MAP_FILE, &map));
	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_HW_QUEUE_ALLOC, &args));
	expect_object_refused(_metadata, &self->refuse, args.out_hw_queue_id);

	EXPECT_EQ(0, iommufd_destroy(vm->iommu->iommufd, args.out_hw_queue_id));
	EXPECT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_IOAS_UNMAP, &unmap));
	close(map.fd);
	viommu_gone(_metadata, &self->refuse, &self->mock, self->viommu_id);
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
