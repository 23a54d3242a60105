// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd: its devices, as vfio drives them.
 *
 * To preserve a device is to preserve its attachment: to which HWPT it is
 * attached, and that the hardware entries which say so go over to the next
 * kernel. There the device is bound to the retrieved iommufd while it goes on
 * using the very same domain, which nobody may free before it was attached
 * again or unbound: iommufd_device::liveupdate_hwpt.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/iommu-liveupdate.h>
#include <linux/iommufd.h>

#include "liveupdate.h"

static int iommufd_liveupdate_count_device(struct device *dev, void *data)
{
	(*(unsigned int *)data)++;
	return 0;
}

static struct iommufd_liveupdate_out_hwpt *
iommufd_liveupdate_find_out(struct iommufd_liveupdate_out *out,
			    struct iommufd_hw_pagetable *hwpt)
{
	u32 i;

	for (i = 0; i < out->nr_hwpts; i++)
		if (&out->hwpt[i].hwpt_paging->common == hwpt)
			return &out->hwpt[i];
	return NULL;
}

/* Without PASID, to a preserved HWPT, and nothing else attached */
static struct iommufd_liveupdate_out_hwpt *
iommufd_liveupdate_check_device(struct iommufd_device *idev,
				struct iommufd_liveupdate_out *out)
{
	struct iommufd_group *igroup = idev->igroup;
	unsigned long pasid = IOMMU_NO_PASID;
	struct iommufd_liveupdate_out_hwpt *hwpt;
	struct iommufd_attach *attach;
	unsigned int nr_devices = 0;

	lockdep_assert_held(&igroup->lock);

	if (!igroup->group) {
		dev_warn(idev->dev, "live update: not behind an IOMMU\n");
		return ERR_PTR(-EOPNOTSUPP);
	}
	iommu_group_for_each_dev(igroup->group, &nr_devices,
				 iommufd_liveupdate_count_device);
	if (nr_devices != 1) {
		dev_warn(idev->dev, "live update: shares its IOMMU group\n");
		return ERR_PTR(-EOPNOTSUPP);
	}
	if (idev->vdev || igroup->sw_msi_start != PHYS_ADDR_MAX) {
		dev_warn(idev->dev,
			 "live update: vDEVICE or software mapped MSIs\n");
		return ERR_PTR(-EOPNOTSUPP);
	}
	if (xa_find_after(&igroup->pasid_attach, &pasid, UINT_MAX,
			  XA_PRESENT)) {
		dev_warn(idev->dev, "live update: PASID %lu is attached\n",
			 pasid);
		return ERR_PTR(-EOPNOTSUPP);
	}

	attach = xa_load(&igroup->pasid_attach, IOMMU_NO_PASID);
	if (!attach || !xa_load(&attach->device_array, idev->obj.id)) {
		dev_warn(idev->dev, "live update: not attached\n");
		return ERR_PTR(-EINVAL);
	}
	hwpt = iommufd_liveupdate_find_out(out, attach->hwpt);
	if (!hwpt) {
		dev_warn(idev->dev,
			 "live update: HWPT %u is not marked to be preserved\n",
			 attach->hwpt->obj.id);
		return ERR_PTR(-EINVAL);
	}
	return hwpt;
}

/**
 * iommufd_device_liveupdate_preserve() - Preserve the attachment of a device
 * @idev:    Device, bound and attached
 * @session: Session the device file is being preserved in
 *
 * From here to iommufd_device_liveupdate_unpreserve() attach and replace of the
 * device are -EBUSY; the caller refuses detach, which cannot fail here.
 *
 * Context: LUO session mutex held, and what keeps @idev bound and attached.
 * Return: 0 on success;
 *   -EINVAL: the iommufd of the device is not preserved yet in @session, or the
 *   device is not attached to a marked HWPT;
 *   -EOPNOTSUPP: on the list of what is not supported;
 *   -EBUSY: preserved already;
 *   -EINTR: interrupted by a signal;
 *   or what the IOMMU core says.
 */
int iommufd_device_liveupdate_preserve(struct iommufd_device *idev,
				       struct liveupdate_session *session)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_ctx *ictx = idev->ictx;
	struct iommufd_liveupdate_out_hwpt *hwpt;
	int rc;

	/* Who holds these may have to wait for his own memory */
	ACQUIRE(mutex_intr, lock)(&ictx->liveupdate_lock);
	rc = ACQUIRE_ERR(mutex_intr, &lock);
	if (rc)
		return rc;

	if (!ictx->liveupdate_out || ictx->liveupdate_out->session != session) {
		dev_warn(idev->dev,
			 "live update: preserve the iommufd first, in the same session\n");
		return -EINVAL;
	}

	ACQUIRE(mutex_intr, igroup_lock)(&igroup->lock);
	rc = ACQUIRE_ERR(mutex_intr, &igroup_lock);
	if (rc)
		return rc;

	if (idev->liveupdate_preserved)
		return -EBUSY;

	hwpt = iommufd_liveupdate_check_device(idev, ictx->liveupdate_out);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);

	rc = iommu_liveupdate_preserve_device(idev->dev,
					      hwpt->hwpt_paging->common.domain);
	if (rc)
		return rc;

	hwpt->nr_devices++;
	igroup->liveupdate_preserved++;
	idev->liveupdate_preserved = true;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_liveupdate_preserve, "IOMMUFD");

/**
 * iommufd_device_liveupdate_unpreserve() - Undo the preserving of a device
 * @idev: Device given to iommufd_device_liveupdate_preserve()
 *
 * Context: As iommufd_device_liveupdate_preserve(), and before the iommufd is
 * unpreserved.
 */
void iommufd_device_liveupdate_unpreserve(struct iommufd_device *idev)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_ctx *ictx = idev->ictx;
	struct iommufd_liveupdate_out_hwpt *hwpt;
	struct iommufd_attach *attach;

	guard(mutex)(&ictx->liveupdate_lock);
	guard(mutex)(&igroup->lock);

	if (WARN_ON(!idev->liveupdate_preserved || !ictx->liveupdate_out))
		return;

	iommu_liveupdate_unpreserve_device(idev->dev);
	idev->liveupdate_preserved = false;
	igroup->liveupdate_preserved--;
	/* It could not be attached to anything else meanwhile */
	attach = xa_load(&igroup->pasid_attach, IOMMU_NO_PASID);
	hwpt = iommufd_liveupdate_find_out(ictx->liveupdate_out, attach->hwpt);
	if (!WARN_ON(!hwpt))
		hwpt->nr_devices--;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_liveupdate_unpreserve, "IOMMUFD");

/**
 * iommufd_device_liveupdate_confirm() - The device of the last kernel is open
 * @idev: Device bound to a retrieved iommufd
 *
 * Until this is called, unbinding leaves the device as it was found, to be
 * bound again. Afterwards unbinding is what it always is, and the caller has
 * to quiesce the device before it. Harmless for other devices.
 *
 * Context: May sleep. Takes iommufd_ctx::liveupdate_lock.
 */
void iommufd_device_liveupdate_confirm(struct iommufd_device *idev)
{
	guard(mutex)(&idev->ictx->liveupdate_lock);

	iommu_liveupdate_claim_confirm(idev->dev);
	idev->liveupdate_confirmed = true;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_liveupdate_confirm, "IOMMUFD");
