// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, old kernel: preserve, and undo it.
 *
 * In the order of iommufd_liveupdate_preserve(): take the marked HWPTs, freeze
 * their IOASes, write down what is mapped in them (liveupdate_record.c), and give
 * the page tables to the IOMMU core.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/io.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kexec_handover.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "liveupdate.h"

static void
iommufd_liveupdate_array_write(struct iommufd_liveupdate_array *array,
			       struct iommufd_liveupdate_array_ser *ser)
{
	ser->nr = array->nr;
	ser->head = kho_block_set_head_pa(&array->set);
}

/**
 * iommufd_liveupdate_refused_type() - Could the next kernel not make it again?
 * @type: Type of an object, anywhere in the iommufd
 *
 * Return: true if an iommufd with such an object is not preserved.
 */
bool iommufd_liveupdate_refused_type(enum iommufd_object_type type)
{
	switch (type) {
	case IOMMUFD_OBJ_HWPT_NESTED:
	case IOMMUFD_OBJ_FAULT:
	case IOMMUFD_OBJ_VIOMMU:
	case IOMMUFD_OBJ_VDEVICE:
	case IOMMUFD_OBJ_VEVENTQ:
	case IOMMUFD_OBJ_HW_QUEUE:
		return true;
	default:
		return false;
	}
}

/* What is refused wherever in the iommufd it is, used or not */
static int iommufd_liveupdate_check_objects(struct iommufd_ctx *ictx)
{
	struct iommufd_object *obj;
	unsigned long index;
	u32 refused = 0;
	bool compat;

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj)
		if (iommufd_liveupdate_refused_type(obj->type))
			refused = obj->id;
	compat = ictx->no_iommu_mode || ictx->vfio_ioas;
	xa_unlock(&ictx->objects);

	if (compat) {
		pr_warn("VFIO container compatibility and noiommu are not supported\n");
		return -EOPNOTSUPP;
	}
	if (refused) {
		pr_warn("object %u: nested HWPTs, vIOMMUs and fault, event and hardware queues are not supported\n",
			refused);
		return -EOPNOTSUPP;
	}
	return 0;
}

/*
 * Take a users reference of each marked HWPT, which makes destroying it -EBUSY
 * and so keeps its IOAS as well. The marks cannot change meanwhile.
 */
static int iommufd_liveupdate_get_hwpts(struct iommufd_ctx *ictx,
					struct iommufd_liveupdate_out *out)
{
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommufd_object *obj;
	unsigned long index;
	u32 nr = 0;
	int rc;

	lockdep_assert_held(&ictx->liveupdate_lock);

	rc = iommufd_liveupdate_check_objects(ictx);
	if (rc)
		return rc;

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		if (obj->type != IOMMUFD_OBJ_HWPT_PAGING)
			continue;
		hwpt_paging = container_of(obj, struct iommufd_hwpt_paging,
					   common.obj);
		nr += hwpt_paging->liveupdate_marked;
	}
	xa_unlock(&ictx->objects);

	if (!nr) {
		pr_warn("no HWPT is marked\n");
		return -EINVAL;
	}
	if (nr > IOMMUFD_LIVEUPDATE_MAX_HWPTS) {
		pr_warn("more than %u HWPTs are marked\n",
			IOMMUFD_LIVEUPDATE_MAX_HWPTS);
		return -EOPNOTSUPP;
	}

	out->hwpt = kvzalloc_objs(*out->hwpt, nr);
	out->ioas = kvzalloc_objs(*out->ioas, nr);
	if (!out->hwpt || !out->ioas) {
		kvfree(out->ioas);
		kvfree(out->hwpt);
		return -ENOMEM;
	}

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		if (obj->type != IOMMUFD_OBJ_HWPT_PAGING)
			continue;
		hwpt_paging = container_of(obj, struct iommufd_hwpt_paging,
					   common.obj);
		/* No new marks are possible, but HWPTs may go away */
		if (!hwpt_paging->liveupdate_marked || out->nr_hwpts == nr ||
		    !refcount_inc_not_zero(&obj->users))
			continue;
		out->hwpt[out->nr_hwpts++].hwpt_paging = hwpt_paging;
	}
	xa_unlock(&ictx->objects);

	/* The next kernel takes an iommufd without HWPTs for garbage */
	if (!out->nr_hwpts) {
		kvfree(out->ioas);
		kvfree(out->hwpt);
		return -EINVAL;
	}
	return 0;
}

static void iommufd_liveupdate_put_hwpts(struct iommufd_liveupdate_out *out)
{
	while (out->nr_hwpts) {
		struct iommufd_hwpt_paging *hwpt_paging =
			out->hwpt[--out->nr_hwpts].hwpt_paging;

		refcount_dec(&hwpt_paging->common.obj.users);
	}
	kvfree(out->ioas);
	kvfree(out->hwpt);
}

/*
 * Removing any domain moves the pages of the IOAS to another one, so keep those
 * that are not marked as well.
 *
 * To release them cannot fail, so it does not wait for the mutex of the IOAS,
 * which is held while user memory is accessed. What is held can be found.
 */
static void iommufd_liveupdate_release_siblings(struct iommufd_ctx *ictx,
						struct iommufd_ioas *ioas)
{
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommufd_object *obj;
	unsigned long index;

	lockdep_assert_held(&ictx->liveupdate_lock);

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		if (obj->type != IOMMUFD_OBJ_HWPT_PAGING)
			continue;
		hwpt_paging = container_of(obj, struct iommufd_hwpt_paging,
					   common.obj);
		if ((ioas && hwpt_paging->ioas != ioas) ||
		    !hwpt_paging->liveupdate_held)
			continue;
		hwpt_paging->liveupdate_held = false;
		refcount_dec(&obj->users);
	}
	xa_unlock(&ictx->objects);
}

static int iommufd_liveupdate_hold_siblings(struct iommufd_ctx *ictx,
					    struct iommufd_ioas *ioas)
{
	struct iommufd_hwpt_paging *hwpt_paging;

	lockdep_assert_held(&ioas->mutex);

	list_for_each_entry(hwpt_paging, &ioas->hwpt_list, hwpt_item) {
		if (hwpt_paging->auto_domain) {
			pr_warn("IOAS %u: devices attached to the IOAS and not to an HWPT are not supported\n",
				ioas->obj.id);
			iommufd_liveupdate_release_siblings(ictx, ioas);
			return -EOPNOTSUPP;
		}
		/* It is being destroyed, and will take the mutex for it */
		if (!refcount_inc_not_zero(&hwpt_paging->common.obj.users)) {
			iommufd_liveupdate_release_siblings(ictx, ioas);
			return -EBUSY;
		}
		hwpt_paging->liveupdate_held = true;
	}
	return 0;
}

static int iommufd_liveupdate_freeze_ioas(struct iommufd_ctx *ictx,
					  struct iommufd_ioas *ioas)
{
	struct io_pagetable *iopt = &ioas->iopt;
	int rc;

	/* Nobody adds or removes an HWPT between the two */
	ACQUIRE(mutex_intr, lock)(&ioas->mutex);
	rc = ACQUIRE_ERR(mutex_intr, &lock);
	if (rc)
		return rc;

	rc = iommufd_liveupdate_hold_siblings(ictx, ioas);
	if (rc)
		return rc;

	rc = iopt_freeze(iopt);
	if (rc == -EOPNOTSUPP)
		pr_warn("IOAS %u: used by an emulated device\n", ioas->obj.id);
	if (rc)
		goto err_release;

	/* Now that it is frozen this does not change either */
	if (iopt->disable_large_pages) {
		pr_warn("IOAS %u: large pages are disabled\n", ioas->obj.id);
		rc = -EOPNOTSUPP;
		goto err_thaw;
	}
	return 0;

err_thaw:
	iopt_thaw(iopt);
err_release:
	iommufd_liveupdate_release_siblings(ictx, ioas);
	return rc;
}

static void iommufd_liveupdate_thaw_ioases(struct iommufd_ctx *ictx,
					   struct iommufd_liveupdate_out *out)
{
	while (out->nr_ioases)
		iopt_thaw(&out->ioas[--out->nr_ioases]->iopt);
	iommufd_liveupdate_release_siblings(ictx, NULL);
}

static int iommufd_liveupdate_freeze_ioases(struct iommufd_ctx *ictx,
					    struct iommufd_liveupdate_out *out)
{
	u32 i, j;
	int rc;

	for (i = 0; i < out->nr_hwpts; i++) {
		struct iommufd_ioas *ioas = out->hwpt[i].hwpt_paging->ioas;

		/* No device is needed to make one: there can be thousands */
		cond_resched();
		if (fatal_signal_pending(current)) {
			iommufd_liveupdate_thaw_ioases(ictx, out);
			return -EINTR;
		}
		for (j = 0; j < out->nr_ioases; j++)
			if (out->ioas[j] == ioas)
				break;
		if (j == out->nr_ioases) {
			rc = iommufd_liveupdate_freeze_ioas(ictx, ioas);
			if (rc) {
				iommufd_liveupdate_thaw_ioases(ictx, out);
				return rc;
			}
			out->ioas[out->nr_ioases++] = ioas;
		}
		out->hwpt[i].ioas = j;
	}
	return 0;
}

static int
iommufd_liveupdate_preserve_hwpt(struct iommufd_liveupdate_out *out,
				 struct iommufd_liveupdate_out_hwpt *hwpt)
{
	struct iommufd_hwpt_paging *hwpt_paging = hwpt->hwpt_paging;
	struct iommufd_liveupdate_hwpt_ser *ser;
	int rc;

	if (hwpt_paging->dirty_tracking) {
		pr_warn("HWPT %u: dirty tracking is on\n",
			hwpt_paging->common.obj.id);
		return -EOPNOTSUPP;
	}
	if (hwpt_paging->nest_parent) {
		pr_warn("HWPT %u: a parent for nested HWPTs is not supported\n",
			hwpt_paging->common.obj.id);
		return -EOPNOTSUPP;
	}
	/* MSI pages are mapped behind the back of the IOAS */
	if (!bitmap_empty(hwpt_paging->present_sw_msi.bitmap,
			  BITS_PER_TYPE(hwpt_paging->present_sw_msi.bitmap))) {
		pr_warn("HWPT %u: software mapped MSIs are not supported\n",
			hwpt_paging->common.obj.id);
		return -EOPNOTSUPP;
	}

	ser = iommufd_liveupdate_array_add(&out->hwpts);
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	ser->token = hwpt_paging->liveupdate_token;
	ser->ioas = hwpt->ioas;
	if (hwpt_paging->enforce_cache_coherency)
		ser->flags |= IOMMUFD_LIVEUPDATE_HWPT_ENFORCE_CC;
	if (hwpt_paging->common.pasid_compat)
		ser->flags |= IOMMUFD_LIVEUPDATE_HWPT_PASID;

	rc = iommu_liveupdate_preserve_domain(hwpt_paging->common.domain,
					      virt_to_phys(out->ser),
					      &hwpt->key);
	if (rc) {
		pr_warn("HWPT %u: %s: %pe\n", hwpt_paging->common.obj.id,
			rc == -ENODEV ? "no device is attached" :
					"its domain cannot be preserved",
			ERR_PTR(rc));
		return rc;
	}
	ser->key = hwpt->key;
	return 0;
}

/**
 * iommufd_liveupdate_preserve() - LUO preserve of an iommufd
 * @args: @session and @file are used, @serialized_data is set
 *
 * Context: LUO session mutex held. Takes iommufd_ctx::liveupdate_lock.
 * Return: 0 on success;
 *   -EINVAL: nothing is marked, a mapped memfd is not preserved in this session
 *   yet, or a mapping is not what its memfd holds;
 *   -EOPNOTSUPP: on the list of what is not supported;
 *   -EBUSY: a mapping or an HWPT is being changed;
 *   -EINTR: interrupted by a signal;
 *   or what the IOMMU core says.
 */
int iommufd_liveupdate_preserve(struct liveupdate_file_op_args *args)
{
	struct iommufd_ctx *ictx = args->file->private_data;
	struct iommufd_liveupdate_out *out;
	u32 done;
	u32 i;
	int rc;

	/*
	 * Whoever uses the iommufd can hold this and the locks below for long,
	 * with a fault on memory of his own, and is not the agent that waits.
	 */
	ACQUIRE(mutex_intr, lock)(&ictx->liveupdate_lock);
	rc = ACQUIRE_ERR(mutex_intr, &lock);
	if (rc)
		return rc;

	if (ictx->liveupdate_out)
		return -EBUSY;

	out = kzalloc_obj(*out);
	if (!out)
		return -ENOMEM;
	out->session = args->session;
	xa_init(&out->pages_index);
	iommufd_liveupdate_init_arrays(out);

	out->ser = kho_alloc_preserve(sizeof(*out->ser));
	if (IS_ERR(out->ser)) {
		rc = PTR_ERR(out->ser);
		goto err_free;
	}

	rc = iommufd_liveupdate_get_hwpts(ictx, out);
	if (rc)
		goto err_free_ser;

	rc = iommufd_liveupdate_freeze_ioases(ictx, out);
	if (rc)
		goto err_put_hwpts;

	for (i = 0; i < out->nr_ioases; i++) {
		rc = iommufd_liveupdate_record_ioas(out, i);
		if (rc)
			goto err_forget_files;
	}

	for (done = 0; done < out->nr_hwpts; done++) {
		rc = iommufd_liveupdate_preserve_hwpt(out, &out->hwpt[done]);
		if (rc)
			goto err_unpreserve;
	}

	*out->ser = (struct iommufd_liveupdate_ser){
		.version = IOMMUFD_LIVEUPDATE_ABI_VERSION,
		.flags = ictx->account_mode == IOPT_PAGES_ACCOUNT_MM ?
				 IOMMUFD_LIVEUPDATE_ACCOUNT_MM : 0,
	};
	iommufd_liveupdate_array_write(&out->hwpts, &out->ser->hwpts);
	iommufd_liveupdate_array_write(&out->ioases, &out->ser->ioases);
	iommufd_liveupdate_array_write(&out->allowed, &out->ser->allowed);
	iommufd_liveupdate_array_write(&out->files, &out->ser->files);
	iommufd_liveupdate_array_write(&out->pages, &out->ser->pages);
	iommufd_liveupdate_array_write(&out->areas, &out->ser->areas);

	WRITE_ONCE(ictx->liveupdate_out, out);
	args->serialized_data = virt_to_phys(out->ser);
	return 0;

err_unpreserve:
	while (done--)
		iommu_liveupdate_unpreserve_domain(out->hwpt[done].key);
err_forget_files:
	iommufd_liveupdate_forget_files(out);
	iommufd_liveupdate_thaw_ioases(ictx, out);
err_put_hwpts:
	iommufd_liveupdate_put_hwpts(out);
err_free_ser:
	iommufd_liveupdate_destroy_arrays(out);
	kho_unpreserve_free(out->ser);
err_free:
	kfree(out);
	return rc;
}

/**
 * iommufd_liveupdate_unpreserve() - LUO unpreserve of an iommufd
 * @args: @file is used
 *
 * Everything is as before preserve. The devices were unpreserved before, as
 * they were preserved after.
 *
 * Context: LUO session mutex held. Takes iommufd_ctx::liveupdate_lock.
 */
void iommufd_liveupdate_unpreserve(struct liveupdate_file_op_args *args)
{
	struct iommufd_ctx *ictx = args->file->private_data;
	struct iommufd_liveupdate_out *out;
	u32 i;

	guard(mutex)(&ictx->liveupdate_lock);

	out = ictx->liveupdate_out;
	if (WARN_ON(!out))
		return;
	WRITE_ONCE(ictx->liveupdate_out, NULL);

	for (i = out->nr_hwpts; i--;) {
		WARN_ON(out->hwpt[i].nr_devices);
		iommu_liveupdate_unpreserve_domain(out->hwpt[i].key);
	}
	iommufd_liveupdate_forget_files(out);
	iommufd_liveupdate_thaw_ioases(ictx, out);
	iommufd_liveupdate_put_hwpts(out);
	iommufd_liveupdate_destroy_arrays(out);
	kho_unpreserve_free(out->ser);
	kfree(out);
}

/**
 * iommufd_liveupdate_freeze() - LUO freeze of an iommufd
 * @args: @file is used
 *
 * Everything has been read-only since preserve, except that devices may have
 * been unpreserved, and that objects may have been made. An HWPT without a device
 * would never appear in the next kernel, as a domain is restored with the first
 * device that uses it. Of new objects most kinds are refused when they are made,
 * but not while the iommufd is just being preserved.
 *
 * Userspace still runs and can make those wait who hold liveupdate_lock, so it is
 * not taken. What is read here is only changed by preserve and unpreserve, of this
 * iommufd and of devices in the same session, whose mutex is held.
 *
 * Context: reboot(2), LUO locks held. Takes xa_lock of the objects.
 * Return: 0, -EINVAL if a marked HWPT has no preserved device, -EOPNOTSUPP if
 * there is something by now that cannot be preserved, or what the IOMMU core says.
 */
int iommufd_liveupdate_freeze(struct liveupdate_file_op_args *args)
{
	struct iommufd_ctx *ictx = args->file->private_data;
	struct iommufd_liveupdate_out *out;
	u32 i;
	int rc;

	out = ictx->liveupdate_out;
	if (WARN_ON(!out))
		return -EINVAL;

	rc = iommufd_liveupdate_check_objects(ictx);
	if (rc)
		return rc;

	for (i = 0; i < out->nr_hwpts; i++) {
		if (out->hwpt[i].nr_devices)
			continue;
		pr_warn("HWPT %u: no device attached to it is preserved\n",
			out->hwpt[i].hwpt_paging->common.obj.id);
		return -EINVAL;
	}
	return iommu_liveupdate_freeze();
}

/**
 * iommufd_liveupdate_unfreeze() - LUO unfreeze of an iommufd
 * @args: Not used
 */
void iommufd_liveupdate_unfreeze(struct liveupdate_file_op_args *args)
{
	iommu_liveupdate_unfreeze();
}
