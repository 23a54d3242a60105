// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd: the LUO file handler.
 */

/**
 * DOC: iommufd live update
 *
 * An iommufd goes over to the next kernel with the HWPTs userspace marked, so
 * that the devices attached to them go on with DMA all the way, and with the
 * IOASes they belong to, so that the mappings can be changed there.
 *
 * In the old kernel userspace marks HWPTs (liveupdate_mark.c), then preserves
 * first its memfds, then the iommufd, then its devices in one session
 * (liveupdate_preserve.c, liveupdate_device.c). From then on the IOASes are
 * frozen: a page table that two kernels know must not change. The IOMMU core
 * (drivers/iommu/liveupdate.c) preserves the page tables themselves and the
 * hardware entries that lead to them.
 *
 * In the new kernel the IOMMU core finds the devices with their domains when it
 * probes them, and lets nobody have them. Retrieving the file makes an empty
 * iommufd which is allowed to claim them (liveupdate_retrieve.c); binding a
 * device does that. IOMMU_HWPT_LIVEUPDATE_RESTORE then rebuilds IOAS and HWPT
 * around the live table (liveupdate_restore.c): the page table is what it is,
 * and the rest is made to match (liveupdate_area.c). That it is the memory of the
 * memfds is found out afterwards (liveupdate_settle.c, liveupdate_check.c).
 * Attaching the device to the restored HWPT touches no hardware. After FINISH
 * nothing is special about any of it, and it can all be done again.
 *
 * Whatever was not restored when the session is finished is ended there: the
 * devices, which have been stopped by then, are taken off their tables, then the
 * tables and the memory freed.
 */

#include <linux/iommu-liveupdate.h>
#include <linux/module.h>

#include "liveupdate.h"

static bool
iommufd_liveupdate_can_preserve(struct liveupdate_file_handler *handler,
				struct file *file)
{
	return iommufd_is_iommufd_file(file);
}

/* The same iommufd can be reached through several files */
static unsigned long iommufd_liveupdate_get_id(struct file *file)
{
	return (unsigned long)file->private_data;
}

static const struct liveupdate_file_ops iommufd_liveupdate_ops = {
	.can_preserve = iommufd_liveupdate_can_preserve,
	.preserve = iommufd_liveupdate_preserve,
	.unpreserve = iommufd_liveupdate_unpreserve,
	.freeze = iommufd_liveupdate_freeze,
	.unfreeze = iommufd_liveupdate_unfreeze,
	.retrieve = iommufd_liveupdate_retrieve,
	.can_finish = iommufd_liveupdate_can_finish,
	.cancel_finish = iommufd_liveupdate_cancel_finish,
	.finish = iommufd_liveupdate_finish,
	.get_id = iommufd_liveupdate_get_id,
	.owner = THIS_MODULE,
	.live = true,
};

static struct liveupdate_file_handler iommufd_liveupdate_handler = {
	.ops = &iommufd_liveupdate_ops,
	.compatible = IOMMUFD_LIVEUPDATE_COMPATIBLE,
	.version = IOMMUFD_LIVEUPDATE_ABI_VERSION,
};

/* Live update can be off on the command line */
static bool iommufd_liveupdate_registered;

/**
 * iommufd_liveupdate_init() - Register the file handler
 *
 * Return: 0, also if live update is disabled, or -ERRNO.
 */
int __init iommufd_liveupdate_init(void)
{
	int rc;

	rc = liveupdate_register_file_handler(&iommufd_liveupdate_handler);
	if (rc == -EOPNOTSUPP)
		return 0;
	if (rc)
		return rc;

	rc = iommu_liveupdate_register_flb(&iommufd_liveupdate_handler);
	if (rc) {
		liveupdate_unregister_file_handler(&iommufd_liveupdate_handler);
		return rc;
	}
	iommufd_liveupdate_registered = true;
	return 0;
}

/**
 * iommufd_liveupdate_exit() - Undo iommufd_liveupdate_init()
 */
void iommufd_liveupdate_exit(void)
{
	if (!iommufd_liveupdate_registered)
		return;
	iommu_liveupdate_unregister_flb(&iommufd_liveupdate_handler);
	liveupdate_unregister_file_handler(&iommufd_liveupdate_handler);
}
