// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, new kernel: IOMMU_HWPT_LIVEUPDATE_RESTORE.
 *
 * An IOAS is rebuilt whole, with all its HWPTs, when the first of them is asked
 * for: domains can only be added without being filled while there is no area,
 * and an area counts on all of them. The other HWPTs are there from then on and
 * only wait to be asked for.
 *
 * All that can fail comes before anybody can see the objects. When it does, the
 * domains go back to the IOMMU core as they came, and userspace may try again.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/interval_tree.h>
#include <linux/iommu-liveupdate.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "liveupdate.h"

/* Put the core's domain back. The HWPT was not seen by anybody. */
static void
iommufd_liveupdate_abort_hwpt(struct iommufd_ctx *ictx,
			      struct iommufd_liveupdate_in_hwpt *hwpt)
{
	struct iommufd_hwpt_paging *hwpt_paging = hwpt->hwpt_paging;
	struct iommu_domain *domain = hwpt_paging->common.domain;

	list_del_init(&hwpt_paging->hwpt_item);
	/* There are no areas any more, so this unmaps nothing */
	iopt_table_remove_domain(&hwpt_paging->ioas->iopt, domain);
	domain->iommufd_hwpt = NULL;
	domain->cookie_type = IOMMU_COOKIE_NONE;
	hwpt_paging->common.domain = NULL;
	iommu_liveupdate_return_domain(hwpt->key, ictx, domain);
	iommufd_object_abort_and_destroy(ictx, &hwpt_paging->common.obj);
	hwpt->hwpt_paging = NULL;
}

static int
iommufd_liveupdate_build_hwpt(struct iommufd_ctx *ictx,
			      struct iommufd_ioas *ioas,
			      struct iommufd_liveupdate_in_hwpt *hwpt)
{
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommu_domain *domain;
	int rc;

	hwpt_paging = __iommufd_object_alloc(ictx, hwpt_paging,
					     IOMMUFD_OBJ_HWPT_PAGING,
					     common.obj);
	if (IS_ERR(hwpt_paging))
		return PTR_ERR(hwpt_paging);

	INIT_LIST_HEAD(&hwpt_paging->hwpt_item);
	/* Pairs with iommufd_hwpt_paging_destroy() */
	refcount_inc(&ioas->obj.users);
	hwpt_paging->ioas = ioas;
	/*
	 * The table has these properties. Asking the driver for them, as for a
	 * new HWPT, could rewrite entries the device is using.
	 */
	hwpt_paging->enforce_cache_coherency =
		hwpt->flags & IOMMUFD_LIVEUPDATE_HWPT_ENFORCE_CC;
	hwpt_paging->common.pasid_compat =
		hwpt->flags & IOMMUFD_LIVEUPDATE_HWPT_PASID;

	domain = iommu_liveupdate_take_domain(hwpt->key, ictx);
	if (IS_ERR(domain)) {
		rc = PTR_ERR(domain);
		goto err_abort;
	}

	rc = iopt_table_add_domain(&ioas->iopt, domain);
	if (rc)
		goto err_return;

	domain->iommufd_hwpt = &hwpt_paging->common;
	domain->cookie_type = IOMMU_COOKIE_IOMMUFD;
	hwpt_paging->common.domain = domain;
	list_add_tail(&hwpt_paging->hwpt_item, &ioas->hwpt_list);
	hwpt->hwpt_paging = hwpt_paging;
	return 0;

err_return:
	iommu_liveupdate_return_domain(hwpt->key, ictx, domain);
err_abort:
	iommufd_object_abort_and_destroy(ictx, &hwpt_paging->common.obj);
	return rc;
}

static int iommufd_liveupdate_allow_iovas(struct iommufd_liveupdate_in *in,
					  u32 index, struct io_pagetable *iopt)
{
	u32 i;

	lockdep_assert_held_write(&iopt->iova_rwsem);

	for (i = 0; i < in->nr_allowed; i++) {
		struct iommufd_liveupdate_allowed_ser *ser = &in->allowed[i];
		struct iopt_allowed *allowed;

		if (ser->ioas != index)
			continue;
		if (iopt_reserved_iter_first(iopt, ser->start, ser->last))
			return -EADDRINUSE;
		if (iopt_allowed_iter_first(iopt, ser->start, ser->last))
			return -EINVAL;
		allowed = kzalloc_obj(*allowed, GFP_KERNEL_ACCOUNT);
		if (!allowed)
			return -ENOMEM;
		allowed->node.start = ser->start;
		allowed->node.last = ser->last;
		interval_tree_insert(&allowed->node, &iopt->allowed_itree);
	}
	return 0;
}

/* Pages can be shared with areas of another IOAS, restored before or after */
static struct iopt_pages *
iommufd_liveupdate_get_pages(struct iommufd_ctx *ictx,
			     struct iommufd_liveupdate_in *in, u32 index)
{
	struct iommufd_liveupdate_in_pages *ser = &in->pages[index];
	struct iopt_pages *pages;

	if (ser->pages)
		return ser->pages;

	pages = iopt_alloc_file_pages(in->file[ser->file], 0, ser->start,
				      ser->length, ser->writable);
	if (IS_ERR(pages))
		return pages;
	if (ictx->account_mode == IOPT_PAGES_ACCOUNT_MM &&
	    pages->account_mode == IOPT_PAGES_ACCOUNT_USER)
		pages->account_mode = IOPT_PAGES_ACCOUNT_MM;
	ser->pages = pages;
	return pages;
}

/*
 * Who restores is charged for the pages. Forget those that nobody is charged
 * for, as the next attempt can be by somebody else.
 */
static void iommufd_liveupdate_put_unused_pages(struct iommufd_liveupdate_in *in)
{
	u32 i;

	for (i = 0; i < in->nr_pages; i++) {
		struct iopt_pages *pages = in->pages[i].pages;
		bool used;

		if (!pages)
			continue;
		mutex_lock(&pages->mutex);
		used = !RB_EMPTY_ROOT(&pages->domains_itree.rb_root) ||
		       !RB_EMPTY_ROOT(&pages->access_itree.rb_root);
		mutex_unlock(&pages->mutex);
		if (used)
			continue;
		in->pages[i].pages = NULL;
		iopt_put_pages(pages);
	}
}

static int iommufd_liveupdate_build_areas(struct iommufd_ctx *ictx,
					  struct iommufd_liveupdate_in *in,
					  u32 index, struct iommufd_ioas *ioas)
{
	struct io_pagetable *iopt = &ioas->iopt;
	u32 i;
	int rc;

	guard(rwsem_write)(&iopt->domains_rwsem);
	guard(rwsem_write)(&iopt->iova_rwsem);

	rc = iommufd_liveupdate_allow_iovas(in, index, iopt);
	if (rc)
		return rc;

	for (i = 0; i < in->nr_areas; i++) {
		struct iommufd_liveupdate_area_ser *ser = &in->area[i];
		struct iopt_pages *pages;
		int prot = IOMMU_CACHE;

		if (ser->ioas != index)
			continue;
		if (ser->prot & IOMMUFD_LIVEUPDATE_AREA_READ)
			prot |= IOMMU_READ;
		if (ser->prot & IOMMUFD_LIVEUPDATE_AREA_WRITE)
			prot |= IOMMU_WRITE;

		pages = iommufd_liveupdate_get_pages(ictx, in, ser->pages);
		if (IS_ERR(pages)) {
			rc = PTR_ERR(pages);
			goto err_abandon;
		}
		rc = iommufd_liveupdate_adopt_area(iopt, pages, ser->iova,
						   ser->offset, ser->length,
						   prot);
		if (rc) {
			pr_warn("IOVA %#llx: cannot take back the mapping: %pe\n",
				ser->iova, ERR_PTR(rc));
			goto err_abandon;
		}
	}
	return 0;

err_abandon:
	iommufd_liveupdate_abandon_areas(iopt);
	iommufd_liveupdate_put_unused_pages(in);
	return rc;
}

/*
 * The devices that use the domain and are not attached to it yet keep the HWPT.
 * With hold false only look whether they are all there to stay: while a device
 * is being opened it can still go back to the core, domain and all.
 *
 * A device whose unbind has begun is as good as any: its object stays until that
 * gets the lock. It may not be usable for iommufd_lock_obj() any more.
 */
static int iommufd_liveupdate_hold_devices(struct iommufd_ctx *ictx,
					   struct iommufd_hwpt_paging *hwpt_paging,
					   bool hold)
{
	struct iommufd_hw_pagetable *hwpt = &hwpt_paging->common;
	struct iommufd_object *obj;
	unsigned long index;
	int rc = 0;

	lockdep_assert_held(&ictx->liveupdate_lock);

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		struct iommufd_device *idev;

		if (obj->type != IOMMUFD_OBJ_DEVICE ||
		    !refcount_inc_not_zero(&obj->users))
			continue;
		xa_unlock(&ictx->objects);

		idev = container_of(obj, struct iommufd_device, obj);
		scoped_guard(mutex, &idev->igroup->lock) {
			if (!iommu_liveupdate_device_uses(idev->dev,
							  hwpt->domain))
				break;
			if (!idev->liveupdate_confirmed) {
				rc = -ENODEV;
			} else if (hold && !WARN_ON(idev->liveupdate_hwpt)) {
				refcount_inc(&hwpt->obj.users);
				idev->liveupdate_hwpt = hwpt;
			}
		}

		refcount_dec(&obj->users);
		xa_lock(&ictx->objects);
	}
	xa_unlock(&ictx->objects);
	return rc;
}

/* Has an IOAS that was restored before pages of this one? */
static bool
iommufd_liveupdate_shares_pages(const struct iommufd_liveupdate_in *in,
				u32 index)
{
	u32 i;

	for (i = 0; i < in->nr_areas; i++)
		if (in->area[i].ioas == index &&
		    in->pages[in->area[i].pages].pages)
			return true;
	return false;
}

/* Restore the IOAS of @wanted with all its HWPTs */
static int iommufd_liveupdate_build_ioas(struct iommufd_ctx *ictx,
					 struct iommufd_liveupdate_in *in,
					 struct iommufd_liveupdate_in_hwpt *wanted)
{
	struct iommufd_liveupdate_in_hwpt *end = in->hwpt + in->nr_hwpts;
	struct iommufd_liveupdate_in_hwpt *hwpt;
	struct iommufd_ioas *ioas;
	int rc;

	/*
	 * IOMMU_IOAS_CHANGE_PROCESS charges somebody else for the pages of the
	 * IOASes it can see. Ours can share pages with them.
	 */
	lockdep_assert_held(&ictx->ioas_creation_lock);

	for (hwpt = in->hwpt; hwpt != end; hwpt++)
		if (hwpt->ioas == wanted->ioas &&
		    iommu_liveupdate_domain_unclaimed(hwpt->key))
			return -ENODEV;

	/* Nothing of the pages may be left for later, on either side */
	if (iommufd_liveupdate_shares_pages(in, wanted->ioas)) {
		rc = iommufd_liveupdate_settle_all(ictx, true);
		if (rc)
			return rc;
	}

	ioas = iommufd_ioas_alloc(ictx);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	mutex_lock(&ioas->mutex);
	rc = iommufd_liveupdate_build_hwpt(ictx, ioas, wanted);
	if (rc)
		goto err_ioas;
	for (hwpt = in->hwpt; hwpt != end; hwpt++) {
		if (hwpt == wanted || hwpt->ioas != wanted->ioas)
			continue;
		/* Without devices it is nobody's; the others do not wait for it */
		if (iommu_liveupdate_forget_domain(hwpt->key))
			continue;
		rc = iommufd_liveupdate_build_hwpt(ictx, ioas, hwpt);
		if (rc)
			goto err_hwpts;
	}
	for (hwpt = in->hwpt; hwpt != end; hwpt++) {
		if (hwpt->ioas != wanted->ioas || !hwpt->hwpt_paging)
			continue;
		rc = iommufd_liveupdate_hold_devices(ictx, hwpt->hwpt_paging,
						     false);
		if (rc)
			goto err_hwpts;
	}

	rc = iommufd_liveupdate_build_areas(ictx, in, wanted->ioas, ioas);
	if (rc)
		goto err_hwpts;

	/* Nothing fails from here on */
	iommufd_liveupdate_settle_later(ictx, &ioas->iopt);
	for (hwpt = in->hwpt; hwpt != end; hwpt++) {
		if (hwpt->ioas != wanted->ioas)
			continue;
		/* Before userspace can unmap anything, or destroy the HWPT */
		iommu_liveupdate_end_absent(hwpt->key);
		if (!hwpt->hwpt_paging)
			continue;
		iommufd_liveupdate_hold_devices(ictx, hwpt->hwpt_paging, true);
		scoped_guard(mutex, &iommufd_liveupdate_incoming_lock) {
			hwpt->state = IOMMUFD_LIVEUPDATE_RESTORED;
			hwpt->hwpt_paging->liveupdate_in = hwpt;
		}
		iommufd_object_finalize(ictx, &hwpt->hwpt_paging->common.obj);
	}
	mutex_unlock(&ioas->mutex);

	iommufd_object_finalize(ictx, &ioas->obj);
	return 0;

err_hwpts:
	hwpt = end;
	while (hwpt != in->hwpt) {
		hwpt--;
		if (hwpt->ioas != wanted->ioas)
			continue;
		if (hwpt->hwpt_paging)
			iommufd_liveupdate_abort_hwpt(ictx, hwpt);
		else
			iommu_liveupdate_remember_domain(hwpt->key);
	}
err_ioas:
	mutex_unlock(&ioas->mutex);
	iommufd_object_abort_and_destroy(ictx, &ioas->obj);
	return rc;
}

static int
iommufd_liveupdate_restore_hwpt(struct iommufd_ctx *ictx,
				struct iommu_hwpt_liveupdate_restore *cmd)
{
	struct iommufd_liveupdate_in *in = ictx->liveupdate_in;
	struct iommufd_liveupdate_in_hwpt *hwpt;
	bool pending;
	u32 i;
	int rc;

	lockdep_assert_held(&ictx->liveupdate_lock);

	if (!in)
		return -ENOTTY;

	for (i = 0; i < in->nr_hwpts; i++)
		if (in->hwpt[i].token == cmd->hwpt_token)
			break;
	if (i == in->nr_hwpts)
		return -ENOENT;
	hwpt = &in->hwpt[i];

	scoped_guard(mutex, &iommufd_liveupdate_incoming_lock)
		pending = hwpt->state == IOMMUFD_LIVEUPDATE_PENDING;
	if (pending) {
		/* FINISH must hear of all that is lost, and wait for nobody */
		if (READ_ONCE(ictx->liveupdate_finishing))
			return -EBUSY;
		rc = iommufd_liveupdate_build_ioas(ictx, in, hwpt);
		if (rc)
			return rc;
	}

	scoped_guard(mutex, &iommufd_liveupdate_incoming_lock) {
		/* As soon as it can be seen it can be destroyed */
		if (hwpt->state == IOMMUFD_LIVEUPDATE_GONE)
			return -ENOENT;
		cmd->out_hwpt_id = hwpt->hwpt_paging->common.obj.id;
		cmd->out_ioas_id = hwpt->hwpt_paging->ioas->obj.id;
	}
	if (hwpt->reported)
		return -EEXIST;
	hwpt->reported = true;
	return 0;
}

/**
 * iommufd_hwpt_liveupdate_restore() - IOMMU_HWPT_LIVEUPDATE_RESTORE
 * @ucmd: The command, &struct iommu_hwpt_liveupdate_restore
 *
 * Unlike other commands this one answers when the objects can be seen: whoever
 * is behind the memory of the answer can take as long as he likes, and FINISH of
 * the session waits for the lock. If it cannot be answered nothing is undone, it
 * can be asked for again.
 *
 * Context: Takes iommufd_ctx::ioas_creation_lock and liveupdate_lock.
 * Return: 0 or the errnos of &struct iommu_hwpt_liveupdate_restore.
 */
int iommufd_hwpt_liveupdate_restore(struct iommufd_ucmd *ucmd)
{
	struct iommu_hwpt_liveupdate_restore *cmd = ucmd->cmd;
	struct iommufd_ctx *ictx = ucmd->ictx;
	int err;
	int rc;

	if (cmd->flags)
		return -EOPNOTSUPP;

	/*
	 * IOMMU_IOAS_CHANGE_PROCESS has the first while it waits for all who use
	 * an IOAS. FINISH, which needs the second, must not wait for them.
	 */
	down_read(&ictx->ioas_creation_lock);
	scoped_guard(mutex, &ictx->liveupdate_lock)
		rc = iommufd_liveupdate_restore_hwpt(ictx, cmd);
	up_read(&ictx->ioas_creation_lock);
	if (rc && rc != -EEXIST)
		return rc;

	err = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	return err ?: rc;
}
