// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, old kernel: preserve, and undo it.
 *
 * In the order of iommufd_liveupdate_preserve(): take the marked HWPTs, freeze
 * their IOASes, write down what is mapped in them, compare it with the page
 * tables, and give the page tables to the IOMMU core.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/io.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kexec_handover.h>
#include <linux/memfd.h>
#include <linux/slab.h>

#include "liveupdate.h"

static void
iommufd_liveupdate_array_init(struct iommufd_liveupdate_array *array,
			      size_t entry_size)
{
	kho_block_set_init(&array->set, entry_size);
	array->nr = 0;
}

/* Returns a zeroed entry or an ERR_PTR */
static void *
iommufd_liveupdate_array_add(struct iommufd_liveupdate_array *array)
{
	void *entry;
	int rc;

	rc = kho_block_set_grow(&array->set, array->nr + 1);
	if (rc)
		return ERR_PTR(rc);
	/* An iterator of an empty set has no block to start with */
	if (!array->nr)
		kho_block_set_it_init(&array->it, &array->set);
	entry = kho_block_set_it_reserve_entry(&array->it);
	if (WARN_ON(!entry))
		return ERR_PTR(-ENOSPC);
	memset(entry, 0, array->set.entry_size);
	array->nr++;
	return entry;
}

static void
iommufd_liveupdate_array_write(struct iommufd_liveupdate_array *array,
			       struct iommufd_liveupdate_array_ser *ser)
{
	ser->nr = array->nr;
	ser->head = kho_block_set_head_pa(&array->set);
}

static void iommufd_liveupdate_init_arrays(struct iommufd_liveupdate_out *out)
{
	iommufd_liveupdate_array_init(&out->hwpts,
				      sizeof(struct iommufd_liveupdate_hwpt_ser));
	iommufd_liveupdate_array_init(&out->ioases,
				      sizeof(struct iommufd_liveupdate_ioas_ser));
	iommufd_liveupdate_array_init(&out->allowed,
				      sizeof(struct iommufd_liveupdate_allowed_ser));
	iommufd_liveupdate_array_init(&out->files,
				      sizeof(struct iommufd_liveupdate_file_ser));
	iommufd_liveupdate_array_init(&out->pages,
				      sizeof(struct iommufd_liveupdate_pages_ser));
	iommufd_liveupdate_array_init(&out->areas,
				      sizeof(struct iommufd_liveupdate_area_ser));
}

static void
iommufd_liveupdate_destroy_arrays(struct iommufd_liveupdate_out *out)
{
	kho_block_set_destroy(&out->areas.set);
	kho_block_set_destroy(&out->pages.set);
	kho_block_set_destroy(&out->files.set);
	kho_block_set_destroy(&out->allowed.set);
	kho_block_set_destroy(&out->ioases.set);
	kho_block_set_destroy(&out->hwpts.set);
}

/* Objects the next kernel could not make again; anywhere in the iommufd */
static bool iommufd_liveupdate_refused_type(enum iommufd_object_type type)
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
	bool compat;
	u32 refused = 0;
	u32 nr = 0;

	lockdep_assert_held(&ictx->liveupdate_lock);

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		if (iommufd_liveupdate_refused_type(obj->type))
			refused = obj->id;
		if (obj->type != IOMMUFD_OBJ_HWPT_PAGING)
			continue;
		hwpt_paging = container_of(obj, struct iommufd_hwpt_paging,
					   common.obj);
		nr += hwpt_paging->liveupdate_marked;
	}
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
	if (!nr) {
		pr_warn("no HWPT is marked\n");
		return -EINVAL;
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
 */
static void iommufd_liveupdate_release_siblings(struct iommufd_ioas *ioas)
{
	struct iommufd_hwpt_paging *hwpt_paging;

	lockdep_assert_held(&ioas->mutex);

	list_for_each_entry(hwpt_paging, &ioas->hwpt_list, hwpt_item) {
		if (!hwpt_paging->liveupdate_held)
			continue;
		hwpt_paging->liveupdate_held = false;
		refcount_dec(&hwpt_paging->common.obj.users);
	}
}

static int iommufd_liveupdate_hold_siblings(struct iommufd_ioas *ioas)
{
	struct iommufd_hwpt_paging *hwpt_paging;

	lockdep_assert_held(&ioas->mutex);

	list_for_each_entry(hwpt_paging, &ioas->hwpt_list, hwpt_item) {
		if (hwpt_paging->auto_domain) {
			pr_warn("IOAS %u: devices attached to the IOAS and not to an HWPT are not supported\n",
				ioas->obj.id);
			iommufd_liveupdate_release_siblings(ioas);
			return -EOPNOTSUPP;
		}
		/* It is being destroyed, and will take the mutex for it */
		if (!refcount_inc_not_zero(&hwpt_paging->common.obj.users)) {
			iommufd_liveupdate_release_siblings(ioas);
			return -EBUSY;
		}
		hwpt_paging->liveupdate_held = true;
	}
	return 0;
}

static int iommufd_liveupdate_freeze_ioas(struct iommufd_ioas *ioas)
{
	struct io_pagetable *iopt = &ioas->iopt;
	int rc;

	/* Nobody adds or removes an HWPT between the two */
	guard(mutex)(&ioas->mutex);

	rc = iommufd_liveupdate_hold_siblings(ioas);
	if (rc)
		return rc;

	rc = iopt_freeze(iopt);
	if (rc)
		goto err_release;

	/* Now that it is frozen these do not change either */
	if (!xa_empty(&iopt->access_list)) {
		pr_warn("IOAS %u: used by an emulated device\n", ioas->obj.id);
		rc = -EOPNOTSUPP;
		goto err_thaw;
	}
	if (iopt->disable_large_pages) {
		pr_warn("IOAS %u: large pages are disabled\n", ioas->obj.id);
		rc = -EOPNOTSUPP;
		goto err_thaw;
	}
	return 0;

err_thaw:
	iopt_thaw(iopt);
err_release:
	iommufd_liveupdate_release_siblings(ioas);
	return rc;
}

static void iommufd_liveupdate_thaw_ioases(struct iommufd_liveupdate_out *out)
{
	while (out->nr_ioases) {
		struct iommufd_ioas *ioas = out->ioas[--out->nr_ioases];

		guard(mutex)(&ioas->mutex);
		iopt_thaw(&ioas->iopt);
		iommufd_liveupdate_release_siblings(ioas);
	}
}

static int iommufd_liveupdate_freeze_ioases(struct iommufd_liveupdate_out *out)
{
	u32 i, j;
	int rc;

	for (i = 0; i < out->nr_hwpts; i++) {
		struct iommufd_ioas *ioas = out->hwpt[i].hwpt_paging->ioas;

		for (j = 0; j < out->nr_ioases; j++)
			if (out->ioas[j] == ioas)
				break;
		if (j == out->nr_ioases) {
			rc = iommufd_liveupdate_freeze_ioas(ioas);
			if (rc) {
				iommufd_liveupdate_thaw_ioases(out);
				return rc;
			}
			out->ioas[out->nr_ioases++] = ioas;
		}
		out->hwpt[i].ioas = j;
	}
	return 0;
}

/*
 * The memory of a file goes over with the file, so it has to be preserved, and
 * before this iommufd, as LUO ends things in reverse order.
 */
static int iommufd_liveupdate_record_file(struct iommufd_liveupdate_out *out,
					  struct file *file, u32 *index)
{
	struct iommufd_liveupdate_file_ser *ser;
	struct file **files;
	u64 token;
	int rc;

	for (*index = 0; *index < out->nr_files; (*index)++)
		if (file_inode(out->file[*index]) == file_inode(file))
			return 0;

	if (is_file_hugepages(file)) {
		pr_warn("mappings of hugetlb files are not supported\n");
		return -EOPNOTSUPP;
	}

	files = krealloc_array(out->file, out->nr_files + 1, sizeof(*files),
			       GFP_KERNEL);
	if (!files)
		return -ENOMEM;
	out->file = files;

	rc = memfd_liveupdate_dma_get(out->session, file, &token);
	if (rc == -ENOENT) {
		pr_warn("a mapped file is not preserved yet: preserve memfds first, in the same session\n");
		return -EINVAL;
	}
	if (rc)
		return rc;

	ser = iommufd_liveupdate_array_add(&out->files);
	if (IS_ERR(ser)) {
		memfd_liveupdate_dma_put(out->session, file);
		return PTR_ERR(ser);
	}
	ser->token = token;
	ser->size = i_size_read(file_inode(file));
	out->file[out->nr_files++] = get_file(file);
	return 0;
}

static void iommufd_liveupdate_forget_files(struct iommufd_liveupdate_out *out)
{
	while (out->nr_files) {
		struct file *file = out->file[--out->nr_files];

		memfd_liveupdate_dma_put(out->session, file);
		fput(file);
	}
	kfree(out->file);
	xa_destroy(&out->pages_index);
}

static int iommufd_liveupdate_record_pages(struct iommufd_liveupdate_out *out,
					   struct iopt_pages *pages, u32 *index)
{
	struct iommufd_liveupdate_pages_ser *ser;
	void *entry;
	u32 file;
	int rc;

	entry = xa_load(&out->pages_index, (unsigned long)pages);
	if (entry) {
		*index = xa_to_value(entry);
		return 0;
	}

	rc = iommufd_liveupdate_record_file(out, pages->file, &file);
	if (rc)
		return rc;

	*index = out->pages.nr;
	ser = iommufd_liveupdate_array_add(&out->pages);
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	ser->file = file;
	ser->flags = pages->writable ? IOMMUFD_LIVEUPDATE_PAGES_WRITABLE : 0;
	ser->start = pages->start;
	ser->length = (u64)pages->npages * PAGE_SIZE;
	return xa_err(xa_store(&out->pages_index, (unsigned long)pages,
			       xa_mk_value(*index), GFP_KERNEL));
}

static int iommufd_liveupdate_record_area(struct iommufd_liveupdate_out *out,
					  u32 ioas, struct iopt_area *area)
{
	unsigned long offset = iopt_area_index(area) * PAGE_SIZE;
	unsigned long length = iopt_area_length(area);
	unsigned long iova = iopt_area_iova(area);
	struct iopt_pages *pages = area->pages;
	struct iommufd_liveupdate_area_ser *ser;
	u32 index;
	int rc;

	if (pages->type != IOPT_ADDRESS_FILE) {
		pr_warn("IOVA %#lx: only mappings of memfds are supported, see IOMMU_IOAS_MAP_FILE\n",
			iova);
		return -EOPNOTSUPP;
	}
	if (!PAGE_ALIGNED(iova) || !PAGE_ALIGNED(length) || area->page_offset) {
		pr_warn("IOVA %#lx: mapping is not made of whole pages\n", iova);
		return -EOPNOTSUPP;
	}

	rc = iommufd_liveupdate_record_pages(out, pages, &index);
	if (rc)
		return rc;

	/* Beyond the end of the file no page is the memfd's */
	if (pages->start + offset + length >
	    PAGE_ALIGN(i_size_read(file_inode(pages->file)))) {
		pr_warn("IOVA %#lx: mapping goes beyond the end of the file\n",
			iova);
		return -EINVAL;
	}

	ser = iommufd_liveupdate_array_add(&out->areas);
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	ser->ioas = ioas;
	ser->pages = index;
	ser->iova = iova;
	ser->length = length;
	ser->offset = offset;
	if (area->iommu_prot & IOMMU_READ)
		ser->prot |= IOMMUFD_LIVEUPDATE_AREA_READ;
	if (area->iommu_prot & IOMMU_WRITE)
		ser->prot |= IOMMUFD_LIVEUPDATE_AREA_WRITE;
	return 0;
}

static int iommufd_liveupdate_check_hwpts(struct iommufd_liveupdate_out *out,
					  u32 ioas, struct iopt_area *area)
{
	u32 i;
	int rc;

	for (i = 0; i < out->nr_hwpts; i++) {
		struct iommufd_hwpt_paging *hwpt = out->hwpt[i].hwpt_paging;

		if (out->hwpt[i].ioas != ioas)
			continue;
		rc = iommufd_liveupdate_check_area(area, area->pages,
						   hwpt->common.domain);
		if (rc) {
			pr_warn("IOVA %#lx: HWPT %u maps other pages than the file has now\n",
				iopt_area_iova(area), hwpt->common.obj.id);
			return rc;
		}
	}
	return 0;
}

static int iommufd_liveupdate_record_ioas(struct iommufd_liveupdate_out *out,
					  u32 index)
{
	struct io_pagetable *iopt = &out->ioas[index]->iopt;
	struct iommufd_liveupdate_allowed_ser *allowed_ser;
	struct iommufd_liveupdate_ioas_ser *ioas_ser;
	struct iopt_allowed *allowed;
	struct iopt_area *area;
	int rc;

	ioas_ser = iommufd_liveupdate_array_add(&out->ioases);
	if (IS_ERR(ioas_ser))
		return PTR_ERR(ioas_ser);

	/* It is frozen; the lock is for those who only look */
	guard(rwsem_read)(&iopt->iova_rwsem);

	for (allowed = iopt_allowed_iter_first(iopt, 0, ULONG_MAX); allowed;
	     allowed = iopt_allowed_iter_next(allowed, 0, ULONG_MAX)) {
		allowed_ser = iommufd_liveupdate_array_add(&out->allowed);
		if (IS_ERR(allowed_ser))
			return PTR_ERR(allowed_ser);
		allowed_ser->ioas = index;
		allowed_ser->start = allowed->node.start;
		allowed_ser->last = allowed->node.last;
	}

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		rc = iommufd_liveupdate_record_area(out, index, area);
		if (rc)
			return rc;
		rc = iommufd_liveupdate_check_hwpts(out, index, area);
		if (rc)
			return rc;
		ioas_ser->nr_areas++;
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
	if (hwpt_paging->nest_parent)
		ser->flags |= IOMMUFD_LIVEUPDATE_HWPT_NEST_PARENT;
	if (hwpt_paging->common.pasid_compat)
		ser->flags |= IOMMUFD_LIVEUPDATE_HWPT_PASID;

	rc = iommu_liveupdate_preserve_domain(hwpt_paging->common.domain,
					      &hwpt->key);
	if (rc)
		return rc;
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
 *   or what the IOMMU core says.
 */
int iommufd_liveupdate_preserve(struct liveupdate_file_op_args *args)
{
	struct iommufd_ctx *ictx = args->file->private_data;
	struct iommufd_liveupdate_out *out;
	u32 done;
	u32 i;
	int rc;

	guard(mutex)(&ictx->liveupdate_lock);

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

	rc = iommufd_liveupdate_freeze_ioases(out);
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

	ictx->liveupdate_out = out;
	args->serialized_data = virt_to_phys(out->ser);
	return 0;

err_unpreserve:
	while (done--)
		iommu_liveupdate_unpreserve_domain(out->hwpt[done].key);
err_forget_files:
	iommufd_liveupdate_forget_files(out);
	iommufd_liveupdate_thaw_ioases(out);
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
	ictx->liveupdate_out = NULL;

	for (i = out->nr_hwpts; i--;) {
		WARN_ON(out->hwpt[i].nr_devices);
		iommu_liveupdate_unpreserve_domain(out->hwpt[i].key);
	}
	iommufd_liveupdate_forget_files(out);
	iommufd_liveupdate_thaw_ioases(out);
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
 * been unpreserved. An HWPT without a device would never appear in the next
 * kernel, as a domain is restored with the first device that uses it.
 *
 * Context: reboot(2), LUO locks held. Takes iommufd_ctx::liveupdate_lock.
 * Return: 0, -EINVAL if a marked HWPT has no preserved device, or what the
 * IOMMU core says.
 */
int iommufd_liveupdate_freeze(struct liveupdate_file_op_args *args)
{
	struct iommufd_ctx *ictx = args->file->private_data;
	struct iommufd_liveupdate_out *out;
	u32 i;

	guard(mutex)(&ictx->liveupdate_lock);

	out = ictx->liveupdate_out;
	if (WARN_ON(!out))
		return -EINVAL;

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
