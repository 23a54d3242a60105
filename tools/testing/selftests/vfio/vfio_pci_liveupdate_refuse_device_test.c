// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that cannot be preserved.
 *
 * The first device given is one that can. Among the others, all bound to vfio-pci,
 * the tests look for one that shares its IOMMU group, one that firmware wants
 * memory mapped for, one with virtual functions, one with a variant driver, one
 * with ATS, and one without an IOMMU.
 *
 * Each test attaches such a device to the same HWPT, sees -EOPNOTSUPP and the
 * reason in the log, has the good device do DMA, and preserves that one in the
 * same session, with the bad one still attached, and in a new one.
 *
 * Not here:
 *
 *   real-DMA subdevices   only devices behind a VMD are, which is not emulated.
 *                         pci_lu_check() and intel_iommu_preserve_device()
 *                         both refuse them.
 *   units that firmware   no device behind such a unit has an IOMMU group that
 *   has marked ignored    vfio-pci could be attached through, so there is none to
 *                         preserve. intel_iommu_preserve_unit() refuses them.
 *   direct mappings that  vfio-pci cannot be attached to such a device, only to
 *   are not relaxable     one whose mappings are "direct-relaxable".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include <linux/iommufd.h>
#include <linux/pci_ids.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/edu.h"
#include "liveupdate/refuse.h"
#include "liveupdate/sysfs.h"

#define VF_TOKEN	"52ac9bff-3a88-4fbd-901a-0d767c3b6c97"
#define MDEV_UUID	"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
#define MDEV_TYPE	"/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1"
#define MDEV_DEVICE	"/sys/bus/mdev/devices/" MDEV_UUID
#define VARIANT_DRIVER	"virtio_vfio_pci"

static const char *device_bdf;
static char **other_bdfs;
static int nr_others;

static int numvfs_set(const char *bdf, const char *numvfs)
{
	return file_write(device_path(bdf, "sriov_numvfs"), numvfs);
}

/* Have @driver drive the device. */
static int device_bind(const char *bdf, const char *driver)
{
	char *bound;
	int ret;

	file_write(device_path(bdf, "driver/unbind"), bdf);
	ret = file_write(device_path(bdf, "driver_override"), driver);
	if (!ret)
		ret = file_write("/sys/bus/pci/drivers_probe", bdf);
	if (ret)
		return ret;

	bound = sysfs_driver_get(bdf);
	if (!bound || strcmp(bound, driver))
		ret = -ENODEV;
	free(bound);
	return ret;
}

static bool has_direct_mappings(const char *bdf)
{
	char regions[4096];

	return !file_read(device_path(bdf, "iommu_group/reserved_regions"),
			  regions, sizeof(regions)) &&
	       strstr(regions, "direct");
}

static bool is_virtio(const char *bdf)
{
	char vendor[16];

	return !file_read(device_path(bdf, "vendor"), vendor, sizeof(vendor)) &&
	       strtoul(vendor, NULL, 16) == PCI_VENDOR_ID_REDHAT_QUMRANET;
}

/* Where the ATS capability is, 0 if there is none. */
static u16 ats_find(const char *bdf)
{
	u16 pos = PCI_CFG_SPACE_SIZE;
	u32 header;
	int n;

	for (n = 0; pos >= PCI_CFG_SPACE_SIZE && n < 64; n++) {
		if (config_access(bdf, pos, &header, sizeof(header), false))
			return 0;
		if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_ATS)
			return pos;
		pos = PCI_EXT_CAP_NEXT(header);
	}
	return 0;
}

static bool has_ats(const char *bdf)
{
	return ats_find(bdf);
}

static bool has_sriov(const char *bdf)
{
	return !access(device_path(bdf, "sriov_totalvfs"), F_OK);
}

/* The device cdev whose name begins with @prefix, if @dir tells of one. */
static int cdev_path(char *path, const char *dir, const char *prefix)
{
	int ret = -ENOENT;
	struct dirent *entry;
	DIR *d = opendir(dir);

	if (!d)
		return -errno;
	while (ret && (entry = readdir(d))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)))
			continue;
		snprintf_assert(path, PATH_MAX, "/dev/vfio/devices/%s", entry->d_name);
		ret = 0;
	}
	closedir(d);
	return ret;
}

static bool has_no_iommu(const char *bdf)
{
	char path[PATH_MAX];

	return !cdev_path(path, device_path(bdf, "vfio-dev"), "noiommu-vfio");
}

/* As the others are there to be refused, one of them is likely its companion. */
static bool shares_group(const char *bdf)
{
	int i;

	for (i = 0; i < nr_others; i++)
		if (strcmp(other_bdfs[i], bdf) &&
		    sysfs_iommu_group_get(other_bdfs[i]) == sysfs_iommu_group_get(bdf))
			return true;
	return false;
}

static const char *find_other(bool (*match)(const char *bdf))
{
	int i;

	for (i = 0; i < nr_others; i++)
		if (match(other_bdfs[i]))
			return other_bdfs[i];
	return NULL;
}

FIXTURE(refuse_device) {
	struct refuse refuse;
};

FIXTURE_SETUP(refuse_device)
{
	int ret = refuse_init(&self->refuse, device_bdf, _metadata->name);

	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(refuse_device)
{
	refuse_cleanup(&self->refuse);
}

/* Another device in the same iommufd, attached to the HWPT that is marked. */
static struct vfio_pci_device *other_open(struct vm *vm, const char *bdf,
					  const char *vf_token)
{
	struct vfio_pci_device *other = vfio_pci_device_alloc(bdf, vm->iommu);

	vfio_pci_cdev_open(other, bdf);
	VFIO_ASSERT_EQ(__vfio_device_bind_iommufd(other->fd, vm->iommu->iommufd,
						  vf_token), 0);
	VFIO_ASSERT_EQ(__vfio_device_attach_iommufd_pt(other->fd, vm->hwpt_id), 0);
	vfio_pci_device_setup(other);
	return other;
}

/*
 * Refuse @other, which is the last obstacle to go, then preserve the good one
 * without and with it out of the way.
 */
static void expect_other_refused(struct __test_metadata *_metadata,
				 struct refuse *refuse,
				 struct vfio_pci_device *other, const char *why)
{
	struct vm *vm = &refuse->vm;

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	expect_refused(_metadata, refuse, vm_preserve(vm, other->fd, TOKEN_OTHER), why);
	EXPECT_EQ(0, vm_preserve_cdev(vm));
	EXPECT_EQ(0, refuse_dma(refuse));

	EXPECT_LE(0, refuse_new_session(refuse));
	EXPECT_EQ(0, device_detach(other->fd));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_allowed(_metadata, refuse);
	EXPECT_LE(0, refuse_new_session(refuse));
}

/* Nobody can tell whose DMA the entry of a group lets through. */
TEST_F(refuse_device, shares_its_group)
{
	struct refuse *refuse = &self->refuse;
	struct vm *vm = &refuse->vm;
	struct vfio_pci_device *other;
	const char *bdf;
	int before = 0;
	bool edu;

	bdf = find_other(shares_group);
	if (!bdf)
		SKIP(return, "no device that shares its IOMMU group");

	other = other_open(vm, bdf, NULL);
	edu = vfio_pci_device_match(other, EDU_VENDOR, EDU_DEVICE);
	/*
	 * In scalable mode VT-d has no entry for the address a PCIe-to-PCI bridge
	 * gives to what is behind it, so there it cannot do any DMA at all.
	 */
	if (edu)
		before = edu_dma(refuse, other);
	if (before)
		TH_LOG("DMA of %s does not arrive, live update or not", bdf);

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	expect_refused(_metadata, refuse, vm_preserve(vm, other->fd, TOKEN_OTHER),
		       "live update: shares its IOMMU group");
	if (edu)
		EXPECT_EQ(before, edu_dma(refuse, other));

	EXPECT_LE(0, refuse_new_session(refuse));
	expect_other_refused(_metadata, refuse, other,
			     "live update: shares its IOMMU group");
	vfio_pci_device_cleanup(other);
}

TEST_F(refuse_device, has_direct_mappings)
{
	struct vfio_pci_device *other;
	const char *bdf;

	bdf = find_other(has_direct_mappings);
	if (!bdf)
		SKIP(return, "no device with direct mappings");

	other = other_open(&self->refuse.vm, bdf, NULL);
	expect_other_refused(_metadata, &self->refuse, other,
			     "firmware requires memory mapped for it");
	vfio_pci_device_cleanup(other);
}

/* It may keep state that vfio-pci knows nothing of. */
TEST_F(refuse_device, has_a_variant_driver)
{
	struct vfio_pci_device *other;
	const char *bdf;

	bdf = find_other(is_virtio);
	if (!bdf)
		SKIP(return, "no device of virtio");
	if (device_bind(bdf, VARIANT_DRIVER)) {
		EXPECT_EQ(0, device_bind(bdf, "vfio-pci"));
		SKIP(return, VARIANT_DRIVER " does not drive it");
	}

	other = other_open(&self->refuse.vm, bdf, NULL);
	expect_other_refused(_metadata, &self->refuse, other,
			     "cannot preserve: driver is not vfio-pci");
	vfio_pci_device_cleanup(other);
	EXPECT_EQ(0, device_bind(bdf, "vfio-pci"));
}

/* What the next kernel finds is what it has to go on with, and it cannot. */
TEST_F(refuse_device, has_ats_set_up_by_another)
{
	struct vfio_pci_device *other;
	const char *bdf;
	u16 pos, good;
	u16 bad[2];
	int i;

	bdf = find_other(has_ats);
	if (!bdf)
		SKIP(return, "no device with ATS");

	other = other_open(&self->refuse.vm, bdf, NULL);
	pos = ats_find(bdf) + PCI_ATS_CTRL;
	ASSERT_EQ(0, config_access(bdf, pos, &good, sizeof(good), false));
	ASSERT_EQ(PCI_ATS_CTRL_ENABLE, good);

	/* Another translation unit; off while the driver has it on */
	bad[0] = good | PCI_ATS_CTRL_STU(1);
	bad[1] = 0;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ASSERT_EQ(0, config_access(bdf, pos, &bad[i], sizeof(bad[i]), true));
		expect_other_refused(_metadata, &self->refuse, other,
				     "ATS is not as the driver has set it up");
		ASSERT_EQ(0, config_access(bdf, pos, &good, sizeof(good), true));
		ASSERT_EQ(0, __vfio_device_attach_iommufd_pt(other->fd, self->refuse.vm.hwpt_id));
	}

	/* As it was, it is like any other */
	EXPECT_EQ(0, vm_preserve_all(&self->refuse.vm));
	EXPECT_EQ(0, vm_preserve(&self->refuse.vm, other->fd, TOKEN_OTHER));
	EXPECT_NE(0, config_access(bdf, pos, &bad[0], sizeof(bad[0]), true));

	EXPECT_LE(0, refuse_new_session(&self->refuse));
	vfio_pci_device_cleanup(other);
}

TEST_F(refuse_device, has_virtual_functions)
{
	struct refuse *refuse = &self->refuse;
	struct vm *vm = &refuse->vm;
	struct vfio_pci_device *pf;
	const char *bdf;
	int ret;

	bdf = find_other(has_sriov);
	if (!bdf)
		SKIP(return, "no device with virtual functions");

	pf = other_open(vm, bdf, NULL);
	ret = numvfs_set(bdf, "1");
	if (ret == -ENOENT)
		SKIP(return, "vfio_pci.enable_sriov is not set");
	ASSERT_EQ(0, ret);

	expect_other_refused(_metadata, refuse, pf,
			     "cannot preserve: has virtual functions");

	/* Without, it is like any other */
	EXPECT_EQ(0, numvfs_set(bdf, "0"));
	EXPECT_EQ(0, __vfio_device_attach_iommufd_pt(pf->fd, vm->hwpt_id));
	EXPECT_EQ(0, vm_preserve_all(vm));
	EXPECT_EQ(0, vm_preserve(vm, pf->fd, TOKEN_OTHER));
	EXPECT_EQ(-EBUSY, numvfs_set(bdf, "1"));
	EXPECT_EQ(0, refuse_dma(refuse));

	EXPECT_LE(0, refuse_new_session(refuse));
	vfio_pci_device_cleanup(pf);
}

TEST_F(refuse_device, is_a_virtual_function)
{
	struct refuse *refuse = &self->refuse;
	struct vm *vm = &refuse->vm;
	struct vfio_pci_device *pf, *vf;
	const char *bdf;
	char *vf_bdf;
	int ret;

	bdf = find_other(has_sriov);
	if (!bdf)
		SKIP(return, "no device with virtual functions");

	pf = other_open(vm, bdf, NULL);
	ret = numvfs_set(bdf, "1");
	if (ret == -ENOENT)
		SKIP(return, "vfio_pci.enable_sriov is not set");
	ASSERT_EQ(0, ret);

	vfio_device_set_vf_token(pf->fd, VF_TOKEN);
	vf_bdf = sysfs_sriov_vf_bdf_get(bdf, 0);
	vf = other_open(vm, vf_bdf, VF_TOKEN);
	expect_other_refused(_metadata, refuse, vf,
			     "cannot preserve: virtual function");

	vfio_pci_device_cleanup(vf);
	free(vf_bdf);
	EXPECT_EQ(0, numvfs_set(bdf, "0"));
	vfio_pci_device_cleanup(pf);
}

/* Nothing translates for it, so there is nothing to hand over. */
TEST_F(refuse_device, has_no_iommu)
{
	struct refuse *refuse = &self->refuse;
	struct vm *vm = &refuse->vm;
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_hwpt_alloc hwpt = { .size = sizeof(hwpt) };
	char path[PATH_MAX];
	const char *bdf;
	u32 dev_id;
	int fd;

	bdf = find_other(has_no_iommu);
	if (!bdf)
		SKIP(return, "no noiommu device");

	cdev_path(path, device_path(bdf, "vfio-dev"), "noiommu-vfio");
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, __vfio_device_bind_iommufd_id(fd, vm->iommu->iommufd, &dev_id));
	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_IOAS_ALLOC, &ioas));
	hwpt.dev_id = dev_id;
	hwpt.pt_id = ioas.out_ioas_id;
	ASSERT_EQ(0, ioctl(vm->iommu->iommufd, IOMMU_HWPT_ALLOC, &hwpt));
	expect_refused(_metadata, refuse, vm_mark(vm, hwpt.out_hwpt_id, 1),
		       "not supported by the IOMMU driver");

	ASSERT_EQ(0, __vfio_device_attach_iommufd_pt(fd, hwpt.out_hwpt_id));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	expect_refused(_metadata, refuse, vm_preserve(vm, fd, TOKEN_OTHER),
		       "cannot preserve: no IOMMU");
	EXPECT_EQ(0, vm_preserve_cdev(vm));
	EXPECT_EQ(0, refuse_dma(refuse));

	close(fd);
	EXPECT_LE(0, refuse_new_session(refuse));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_allowed(_metadata, refuse);
}

/* Group and container belong to an IOMMU interface that knows of no session. */
TEST_F(refuse_device, is_open_through_its_group)
{
	struct refuse *refuse = &self->refuse;
	struct vm *vm = &refuse->vm;
	struct vfio_pci_device *other;
	struct iommu *container;
	const char *bdf;

	bdf = find_other(is_virtio);
	if (!bdf || access("/dev/vfio/vfio", F_OK))
		SKIP(return, "no device to open through its group");

	container = iommu_init(MODE_VFIO_TYPE1V2_IOMMU);
	other = vfio_pci_device_init(bdf, container);

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	expect_refused(_metadata, refuse, vm_preserve(vm, container->container_fd, TOKEN_OTHER),
		       "a container file cannot be preserved");
	expect_refused(_metadata, refuse, vm_preserve(vm, other->group_fd, TOKEN_OTHER),
		       "a group file cannot be preserved");
	expect_refused(_metadata, refuse, vm_preserve(vm, other->fd, TOKEN_OTHER),
		       "a device file of a group cannot be preserved");
	EXPECT_EQ(0, vm_preserve_cdev(vm));
	EXPECT_EQ(0, refuse_dma(refuse));

	vfio_pci_device_cleanup(other);
	iommu_cleanup(container);
	EXPECT_LE(0, refuse_new_session(refuse));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_allowed(_metadata, refuse);
}

/* An emulated device: not PCI, and a user of the IOAS that is no domain. */
TEST_F(refuse_device, is_mediated)
{
	struct refuse *refuse = &self->refuse;
	struct vm *vm = &refuse->vm;
	struct vfio_device_attach_iommufd_pt args = {
		.argsz = sizeof(args),
		.pt_id = vm->iommu->ioas_id,
	};
	char path[PATH_MAX];
	u32 dev_id;
	int fd;

	if (file_write(MDEV_TYPE "/create", MDEV_UUID))
		SKIP(return, "no sample mtty device");

	ASSERT_EQ(0, cdev_path(path, MDEV_DEVICE "/vfio-dev", "vfio"));
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, __vfio_device_bind_iommufd_id(fd, vm->iommu->iommufd, &dev_id));
	ASSERT_EQ(0, ioctl(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &args));

	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_refused(_metadata, refuse, vm_preserve_iommufd(vm),
		       "used by an emulated device");
	ASSERT_EQ(0, device_detach(fd));
	ASSERT_EQ(0, vm_preserve_iommufd(vm));
	expect_refused(_metadata, refuse, vm_preserve(vm, fd, TOKEN_OTHER),
		       "cannot preserve: driver is not vfio-pci");
	EXPECT_EQ(0, vm_preserve_cdev(vm));
	EXPECT_EQ(0, refuse_dma(refuse));

	close(fd);
	EXPECT_EQ(0, file_write(MDEV_DEVICE "/remove", "1"));
	EXPECT_LE(0, refuse_new_session(refuse));
	ASSERT_EQ(0, vm_preserve_memfd(vm));
	expect_allowed(_metadata, refuse);
}

int main(int argc, char *argv[])
{
	char **bdfs;

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr_others);
	device_bdf = bdfs[0];
	other_bdfs = bdfs + 1;
	nr_others--;
	return test_harness_run(argc, argv);
}
