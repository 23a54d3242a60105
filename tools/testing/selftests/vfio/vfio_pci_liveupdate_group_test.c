// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device turns up in the IOMMU group of one that is preserved, before the jump: what
 * the group is attached to is handed over for one device, and the group is not opened
 * for another. It stays without DMA until the preserved one has been given up.
 *
 * Of the devices given two have to be functions of one slot that share a group, each
 * an "edu" of QEMU. The second is removed before, and found again by a rescan, as a
 * hotplug driver would.
 */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/edu.h"
#include "liveupdate/streaming.h"
#include "liveupdate/sysfs.h"

#define JOINS_IN_VAIN \
	"its group is in a live update, no DMA before it is removed and rescanned"

static const char *first_bdf, *second_bdf;

static bool has_group(const char *bdf)
{
	return !access(device_path(bdf, "iommu_group"), F_OK);
}

static int remove_device(const char *bdf)
{
	int ret = file_write(device_path(bdf, "remove"), "1");

	if (!ret && !access(device_path(bdf, "config"), F_OK))
		ret = -EBUSY;
	return ret;
}

static int find_device(const char *bdf)
{
	int ret = file_write("/sys/bus/pci/rescan", "1");

	if (!ret && access(device_path(bdf, "config"), F_OK))
		ret = -ENODEV;
	return ret;
}

TEST(found_in_preserved_group)
{
	struct refuse refuse;
	struct vm *vm = &refuse.vm;
	int ret;

	if (!second_bdf)
		SKIP(return, "no two functions that share an IOMMU group");

	ASSERT_EQ(0, remove_device(second_bdf));
	ret = refuse_init_any(&refuse, first_bdf, "group");
	if (ret == -ENODEV || ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, edu_dma(&refuse, vm->device));
	ASSERT_EQ(0, vm_preserve_all(vm));

	EXPECT_EQ(0, find_device(second_bdf));
	EXPECT_TRUE(refuse_logged(&refuse, JOINS_IN_VAIN));
	EXPECT_FALSE(has_group(second_bdf));
	EXPECT_EQ(0, edu_dma(&refuse, vm->device));
	EXPECT_EQ(-EBUSY, vm_map_and_unmap(vm));

	/* Nothing has changed for the preserved one: it is given up, and preserved anew */
	ASSERT_LE(0, refuse_new_session(&refuse));
	EXPECT_EQ(0, vm_map_and_unmap(vm));
	EXPECT_EQ(0, vm_preserve_all(vm));
	ASSERT_LE(0, refuse_new_session(&refuse));
	EXPECT_EQ(0, edu_dma(&refuse, vm->device));

	/* Now there is room for it, and no live update for both */
	EXPECT_EQ(0, remove_device(second_bdf));
	EXPECT_EQ(0, find_device(second_bdf));
	ASSERT_TRUE(has_group(second_bdf));
	EXPECT_EQ(sysfs_iommu_group_get(first_bdf), sysfs_iommu_group_get(second_bdf));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	EXPECT_EQ(-EOPNOTSUPP, vm_preserve_cdev(vm));
	EXPECT_TRUE(refuse_logged(&refuse, "live update: shares its IOMMU group"));
	EXPECT_EQ(0, edu_dma(&refuse, vm->device));
	refuse_cleanup(&refuse);

	/* As it was */
	EXPECT_EQ(0, file_write(device_path(second_bdf, "driver_override"), "vfio-pci"));
	EXPECT_EQ(0, file_write("/sys/bus/pci/drivers_probe", second_bdf));
}

static bool same_slot(const char *a, const char *b)
{
	return !strncmp(a, b, strcspn(a, ".") + 1);
}

int main(int argc, char *argv[])
{
	char **bdfs;
	int nr, i;

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr);
	for (i = 1; i < nr; i++) {
		if (!same_slot(bdfs[i - 1], bdfs[i]) ||
		    sysfs_iommu_group_get(bdfs[i - 1]) != sysfs_iommu_group_get(bdfs[i]))
			continue;
		first_bdf = bdfs[i - 1];
		second_bdf = bdfs[i];
	}
	return test_harness_run(argc, argv);
}
