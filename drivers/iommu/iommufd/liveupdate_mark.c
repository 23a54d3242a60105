// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd: the marks by which userspace says which HWPTs the
 * next kernel is to have, and what it will call them.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/iommu.h>
#include <uapi/linux/iommufd.h>

#include "iommufd_private.h"

/* What can be said of an HWPT without looking at its IOAS or devices */
static int
iommufd_hwpt_liveupdate_supported(struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommu_domain *domain = hwpt_paging->common.domain;

	/* None of this changes once the HWPT can be looked up */
	if (hwpt_paging->common.fault) {
		pr_warn_ratelimited("HWPT %u: fault queues are not supported\n",
				    hwpt_paging->common.obj.id);
		return -EOPNOTSUPP;
	}
	if (hwpt_paging->auto_domain) {
		pr_warn_ratelimited("HWPT %u: made by attaching to an IOAS, not with HWPT_ALLOC\n",
				    hwpt_paging->common.obj.id);
		return -EOPNOTSUPP;
	}
	if (!domain->is_iommupt || !domain->owner ||
	    !domain->owner->liveupdate) {
		pr_warn_ratelimited("HWPT %u: not supported by the IOMMU driver\n",
				    hwpt_paging->common.obj.id);
		return -EOPNOTSUPP;
	}
	return 0;
}

static bool iommufd_liveupdate_token_used(struct iommufd_ctx *ictx, u64 token,
					  struct iommufd_hwpt_paging *except)
{
	struct iommufd_object *obj;
	unsigned long index;
	bool used = false;

	lockdep_assert_held(&ictx->liveupdate_lock);

	/* xa_lock keeps the objects from being freed */
	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		struct iommufd_hwpt_paging *hwpt_paging;

		if (obj->type != IOMMUFD_OBJ_HWPT_PAGING)
			continue;
		hwpt_paging = container_of(obj, struct iommufd_hwpt_paging,
					   common.obj);
		if (hwpt_paging != except && hwpt_paging->liveupdate_marked &&
		    hwpt_paging->liveupdate_token == token)
			used = true;
	}
	xa_unlock(&ictx->objects);
	return used;
}

/**
 * iommufd_hwpt_liveupdate_mark_preserve() - IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE
 * @ucmd: The command, &struct iommu_hwpt_liveupdate_mark_preserve
 *
 * Context: Takes iommufd_ctx::liveupdate_lock.
 * Return: 0 or the errnos of &struct iommu_hwpt_liveupdate_mark_preserve.
 */
int iommufd_hwpt_liveupdate_mark_preserve(struct iommufd_ucmd *ucmd)
{
	struct iommu_hwpt_liveupdate_mark_preserve *cmd = ucmd->cmd;
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommufd_ctx *ictx = ucmd->ictx;
	int rc;

	hwpt_paging = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);
	if (IS_ERR(hwpt_paging))
		return PTR_ERR(hwpt_paging);

	rc = iommufd_hwpt_liveupdate_supported(hwpt_paging);
	if (rc)
		goto out_put;

	iommufd_liveupdate_lock(ictx);
	if (ictx->liveupdate_out) {
		rc = -EBUSY;
	} else if (iommufd_liveupdate_token_used(ictx, cmd->hwpt_token,
						 hwpt_paging)) {
		rc = -EADDRINUSE;
	} else {
		hwpt_paging->liveupdate_marked = true;
		hwpt_paging->liveupdate_token = cmd->hwpt_token;
	}
	iommufd_liveupdate_unlock(ictx);

out_put:
	iommufd_put_object(ictx, &hwpt_paging->common.obj);
	return rc;
}
