// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, new kernel: from the file data of the previous
 * kernel to an iommufd that may claim its devices, and the end of it.
 *
 * The serialised form is read once, checked, and copied to ordinary memory;
 * from then on struct iommufd_liveupdate_in is what is left of it, until finish.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/file.h>
#include <linux/io.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kexec_handover.h>
#include <linux/overflow.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "liveupdate.h"

/*
 * The list, and the link between a struct iommufd_liveupdate_in_hwpt and its
 * HWPT, which either of the two can outlive.
 */
DEFINE_MUTEX(iommufd_liveupdate_incoming_lock);
static LIST_HEAD(iommufd_liveupdate_incoming_list);

/*
 * The validators: nothing but the entry, and what was validated before it.
 */

static bool iommufd_liveupdate_top_valid(const struct iommufd_liveupdate_ser *ser)
{
	return !(ser->flags & ~IOMMUFD_LIVEUPDATE_FLAGS) && ser->hwpts.nr &&
	       ser->ioases.nr;
}

static bool iommufd_liveupdate_hwpt_valid(const struct iommufd_liveupdate_in *in,
					  u32 i)
{
	const struct iommufd_liveupdate_in_hwpt *hwpt = &in->hwpt[i];
	u32 j;

	if (!hwpt->key || hwpt->ioas >= in->nr_ioases ||
	    (hwpt->flags & ~IOMMUFD_LIVEUPDATE_HWPT_FLAGS))
		return false;
	for (j = 0; j < i; j++)
		if (in->hwpt[j].token == hwpt->token ||
		    in->hwpt[j].key == hwpt->key)
			return false;
	return true;
}

static bool
iommufd_liveupdate_allowed_valid(const struct iommufd_liveupdate_in *in, u32 i)
{
	const struct iommufd_liveupdate_allowed_ser *allowed = &in->allowed[i];

	return allowed->ioas < in->nr_ioases && !allowed->reserved &&
	       allowed->start < allowed->last;
}

static bool iommufd_liveupdate_file_valid(const struct iommufd_liveupdate_in *in,
					  u32 i)
{
	return in->file_ser[i].size <= MAX_LFS_FILESIZE;
}

static bool
iommufd_liveupdate_pages_valid(const struct iommufd_liveupdate_in *in, u32 i)
{
	const struct iommufd_liveupdate_in_pages *pages = &in->pages[i];
	u64 end;

	return pages->file < in->nr_files && pages->length &&
	       PAGE_ALIGNED(pages->start) && PAGE_ALIGNED(pages->length) &&
	       !check_add_overflow(pages->start, pages->length, &end) &&
	       end <= MAX_LFS_FILESIZE;
}

static bool iommufd_liveupdate_area_valid(const struct iommufd_liveupdate_in *in,
					  u32 i)
{
	const struct iommufd_liveupdate_area_ser *area = &in->area[i];
	const struct iommufd_liveupdate_area_ser *prev;
	const struct iommufd_liveupdate_in_pages *pages;
	u64 last;
	u64 end;

	if (area->ioas >= in->nr_ioases || area->pages >= in->nr_pages ||
	    area->reserved || !area->prot ||
	    (area->prot & ~IOMMUFD_LIVEUPDATE_AREA_PROT))
		return false;
	if (!area->length || !PAGE_ALIGNED(area->iova) ||
	    !PAGE_ALIGNED(area->length) || !PAGE_ALIGNED(area->offset) ||
	    check_add_overflow(area->iova, area->length - 1, &last) ||
	    check_add_overflow(area->offset, area->length, &end))
		return false;

	/* Within the pages, and within the file */
	pages = &in->pages[area->pages];
	if (end > pages->length ||
	    pages->start + end > PAGE_ALIGN(in->file_ser[pages->file].size))
		return false;
	if ((area->prot & IOMMUFD_LIVEUPDATE_AREA_WRITE) && !pages->writable)
		return false;

	if (!i)
		return true;
	prev = area - 1;
	return prev->ioas < area->ioas ||
	       (prev->ioas == area->ioas &&
		prev->iova + (prev->length - 1) < area->iova);
}

static bool iommufd_liveupdate_ioas_valid(const struct iommufd_liveupdate_in *in,
					  u32 i)
{
	u64 nr_areas = 0;
	u32 j;

	for (j = 0; j < in->nr_areas; j++)
		nr_areas += in->area[j].ioas == i;
	return in->ioas[i].nr_areas == nr_areas && !in->ioas[i].reserved;
}

static int iommufd_liveupdate_validate(const struct iommufd_liveupdate_in *in)
{
	u32 i;

	for (i = 0; i < in->nr_hwpts; i++)
		if (!iommufd_liveupdate_hwpt_valid(in, i))
			return -EINVAL;
	for (i = 0; i < in->nr_allowed; i++)
		if (!iommufd_liveupdate_allowed_valid(in, i))
			return -EINVAL;
	for (i = 0; i < in->nr_files; i++)
		if (!iommufd_liveupdate_file_valid(in, i))
			return -EINVAL;
	for (i = 0; i < in->nr_pages; i++)
		if (!iommufd_liveupdate_pages_valid(in, i))
			return -EINVAL;
	for (i = 0; i < in->nr_areas; i++)
		if (!iommufd_liveupdate_area_valid(in, i))
			return -EINVAL;
	for (i = 0; i < in->nr_ioases; i++)
		if (!iommufd_liveupdate_ioas_valid(in, i))
			return -EINVAL;
	return 0;
}

/*
 * Copy an array out of KHO memory to *@copyp and free it there. The set cannot
 * be read twice, so an error here is for ever.
 */
static int
iommufd_liveupdate_load(const struct iommufd_liveupdate_array_ser *array,
			size_t size, void *copyp, u32 *nr)
{
	struct kho_block_set_it it;
	struct kho_block_set set;
	void *entry;
	void *copy;
	u64 count = 0;
	int rc;

	if (!array->nr != !array->head || !PAGE_ALIGNED(array->head) ||
	    array->nr > INT_MAX / size ||
	    (array->head && !pfn_valid(PHYS_PFN(array->head))))
		return -EINVAL;

	kho_block_set_init(&set, size);
	rc = kho_block_set_restore(&set, array->head);
	if (rc)
		return rc;

	copy = kvcalloc(array->nr, size, GFP_KERNEL_ACCOUNT);
	if (!copy) {
		kho_block_set_destroy(&set);
		return -ENOMEM;
	}

	kho_block_set_it_init(&it, &set);
	while ((entry = kho_block_set_it_read_entry(&it))) {
		if (count == array->nr) {
			count++;
			break;
		}
		memcpy(copy + count * size, entry, size);
		count++;
	}
	kho_block_set_destroy(&set);
	if (count != array->nr) {
		kvfree(copy);
		return -EINVAL;
	}
	*nr = count;
	*(void **)copyp = copy;
	return 0;
}

static int
iommufd_liveupdate_load_hwpts(struct iommufd_liveupdate_in *in,
			      const struct iommufd_liveupdate_array_ser *array)
{
	struct iommufd_liveupdate_hwpt_ser *ser;
	u32 nr;
	u32 i;
	int rc;

	rc = iommufd_liveupdate_load(array, sizeof(*ser), &ser, &nr);
	if (rc)
		return rc;
	in->hwpt = kvzalloc_objs(*in->hwpt, nr, GFP_KERNEL_ACCOUNT);
	if (!in->hwpt) {
		kvfree(ser);
		return -ENOMEM;
	}
	in->nr_hwpts = nr;
	for (i = 0; i < nr; i++) {
		in->hwpt[i].token = ser[i].token;
		in->hwpt[i].key = ser[i].key;
		in->hwpt[i].ioas = ser[i].ioas;
		in->hwpt[i].flags = ser[i].flags;
	}
	kvfree(ser);
	return 0;
}

static int
iommufd_liveupdate_load_pages(struct iommufd_liveupdate_in *in,
			      const struct iommufd_liveupdate_array_ser *array)
{
	struct iommufd_liveupdate_pages_ser *ser;
	u32 nr;
	u32 i;
	int rc;

	rc = iommufd_liveupdate_load(array, sizeof(*ser), &ser, &nr);
	if (rc)
		return rc;
	in->pages = kvzalloc_objs(*in->pages, nr, GFP_KERNEL_ACCOUNT);
	if (!in->pages) {
		kvfree(ser);
		return -ENOMEM;
	}
	in->nr_pages = nr;
	for (i = 0; i < nr; i++) {
		if (ser[i].flags & ~IOMMUFD_LIVEUPDATE_PAGES_FLAGS)
			rc = -EINVAL;
		in->pages[i].file = ser[i].file;
		in->pages[i].writable =
			ser[i].flags & IOMMUFD_LIVEUPDATE_PAGES_WRITABLE;
		in->pages[i].start = ser[i].start;
		in->pages[i].length = ser[i].length;
	}
	kvfree(ser);
	return rc;
}

/* Sets what could be read even if it fails: finish needs the keys */
static int iommufd_liveupdate_parse(struct iommufd_liveupdate_in *in)
{
	struct iommufd_liveupdate_ser *ser;
	int rc;

	if (!in->data || !PAGE_ALIGNED(in->data) ||
	    !pfn_valid(PHYS_PFN(in->data)))
		return -EINVAL;
	ser = phys_to_virt(in->data);

	if (ser->version != IOMMUFD_LIVEUPDATE_ABI_VERSION) {
		pr_err("version %#x of the previous kernel is not known\n",
		       ser->version);
		return -EOPNOTSUPP;
	}

	/* The order is such that most can be ended when a later one is bad */
	rc = iommufd_liveupdate_load_hwpts(in, &ser->hwpts);
	if (rc)
		return rc;
	if (!iommufd_liveupdate_top_valid(ser))
		return -EINVAL;
	in->flags = ser->flags;
	rc = iommufd_liveupdate_load_pages(in, &ser->pages);
	if (rc)
		return rc;
	rc = iommufd_liveupdate_load(&ser->ioases, sizeof(*in->ioas),
				     &in->ioas, &in->nr_ioases);
	if (rc)
		return rc;
	rc = iommufd_liveupdate_load(&ser->allowed, sizeof(*in->allowed),
				     &in->allowed, &in->nr_allowed);
	if (rc)
		return rc;
	rc = iommufd_liveupdate_load(&ser->files, sizeof(*in->file_ser),
				     &in->file_ser, &in->nr_files);
	if (rc)
		return rc;
	rc = iommufd_liveupdate_load(&ser->areas, sizeof(*in->area),
				     &in->area, &in->nr_areas);
	if (rc)
		return rc;

	in->file = kvzalloc_objs(*in->file, in->nr_files, GFP_KERNEL_ACCOUNT);
	if (!in->file)
		return -ENOMEM;
	kho_restore_free(ser);
	return iommufd_liveupdate_validate(in);
}

/* What was handed over as @data, read now if this is the first use of it */
static struct iommufd_liveupdate_in *iommufd_liveupdate_incoming(u64 data)
{
	struct iommufd_liveupdate_in *in;

	guard(mutex)(&iommufd_liveupdate_incoming_lock);

	list_for_each_entry(in, &iommufd_liveupdate_incoming_list, list)
		if (in->data == data)
			return in;

	in = kzalloc_obj(*in);
	if (!in)
		return NULL;
	in->data = data;
	in->error = iommufd_liveupdate_parse(in);
	if (in->error)
		pr_err("hand-over of the previous kernel is not usable: %pe\n",
		       ERR_PTR(in->error));
	list_add(&in->list, &iommufd_liveupdate_incoming_list);
	return in;
}

static void iommufd_liveupdate_free_incoming(struct iommufd_liveupdate_in *in)
{
	scoped_guard(mutex, &iommufd_liveupdate_incoming_lock)
		list_del(&in->list);
	kvfree(in->area);
	kvfree(in->pages);
	kvfree(in->file);
	kvfree(in->file_ser);
	kvfree(in->allowed);
	kvfree(in->ioas);
	kvfree(in->hwpt);
	kfree(in);
}

static void iommufd_liveupdate_put_files(struct iommufd_liveupdate_in *in)
{
	u32 i;

	for (i = 0; i < in->nr_files; i++) {
		if (!in->file || !in->file[i])
			continue;
		fput(in->file[i]);
		in->file[i] = NULL;
	}
}

/*
 * Hold the memfds, so that the memory does not depend on who retrieves or
 * closes what, and in which order.
 */
static int iommufd_liveupdate_get_files(struct iommufd_liveupdate_in *in,
					struct liveupdate_session *session)
{
	u32 i;
	int rc;

	for (i = 0; i < in->nr_files; i++) {
		struct file *file;

		rc = liveupdate_get_file_incoming(session,
						  in->file_ser[i].token, &file);
		if (rc)
			goto err_put;
		in->file[i] = file;
		if (!shmem_mapping(file->f_mapping) ||
		    i_size_read(file_inode(file)) != in->file_ser[i].size) {
			rc = -EINVAL;
			goto err_put;
		}
	}
	return 0;

err_put:
	pr_err("memfd with token %llu: %pe\n", in->file_ser[i].token,
	       ERR_PTR(rc));
	iommufd_liveupdate_put_files(in);
	return rc;
}

/**
 * iommufd_liveupdate_retrieve() - LUO retrieve of an iommufd
 * @args: @session and @serialized_data are used, @file is set
 *
 * The new iommufd has no objects yet. It, and nobody else, may claim the
 * devices of its HWPTs, which are made by IOMMU_HWPT_LIVEUPDATE_RESTORE.
 *
 * Context: LUO session mutex held.
 * Return: 0; -EINVAL or -EOPNOTSUPP if what was handed over cannot be used;
 * -EAGAIN if something is not there yet; -ENOMEM.
 */
int iommufd_liveupdate_retrieve(struct liveupdate_file_op_args *args)
{
	struct iommufd_liveupdate_in *in;
	struct iommufd_ctx *ictx;
	struct file *file;
	u32 i;
	int rc;

	in = iommufd_liveupdate_incoming(args->serialized_data);
	if (!in)
		return -ENOMEM;
	if (in->error)
		return in->error;

	file = iommufd_ctx_create_file();
	if (IS_ERR(file))
		return PTR_ERR(file);
	ictx = file->private_data;

	rc = iommufd_liveupdate_get_files(in, args->session);
	if (rc)
		goto err_fput;

	for (i = 0; i < in->nr_hwpts; i++) {
		rc = iommu_liveupdate_set_owner(in->hwpt[i].key, ictx);
		if (rc)
			goto err_clear_owner;
	}

	if (in->flags & IOMMUFD_LIVEUPDATE_ACCOUNT_MM)
		ictx->account_mode = IOPT_PAGES_ACCOUNT_MM;
	scoped_guard(mutex, &ictx->liveupdate_lock)
		ictx->liveupdate_in = in;
	args->file = file;
	return 0;

err_clear_owner:
	while (i--)
		iommu_liveupdate_clear_owner(in->hwpt[i].key, ictx);
	iommufd_liveupdate_put_files(in);
err_fput:
	fput(file);
	return rc;
}

/**
 * iommufd_liveupdate_can_finish() - LUO can_finish of an iommufd
 * @args: @file and @retrieve_status are used
 *
 * Context: LUO session mutex held. Takes iommufd_ctx::liveupdate_lock.
 * Return: false while a device is bound and not attached, whether its HWPT was
 * restored or not.
 */
bool iommufd_liveupdate_can_finish(struct liveupdate_file_op_args *args)
{
	struct iommufd_liveupdate_in *in;
	struct iommufd_ctx *ictx;
	u32 i;

	/* Nobody could claim anything */
	if (args->retrieve_status <= 0)
		return true;

	ictx = args->file->private_data;
	guard(mutex)(&ictx->liveupdate_lock);
	in = ictx->liveupdate_in;
	for (i = 0; i < in->nr_hwpts; i++)
		if (!iommu_liveupdate_domain_attached(in->hwpt[i].key))
			return false;
	return true;
}

/**
 * iommufd_liveupdate_finish() - LUO finish of an iommufd
 * @args: @file, @serialized_data and @retrieve_status are used
 *
 * For what is attached this is bookkeeping. What was not taken back is ended:
 * the device was quiesced when its own file finished, the core blocks it and
 * frees the domain, and the memfds finish after us.
 *
 * Context: LUO session mutex held. Takes iommufd_ctx::liveupdate_lock.
 */
void iommufd_liveupdate_finish(struct liveupdate_file_op_args *args)
{
	struct iommufd_liveupdate_in *in;
	struct iommufd_ctx *ictx = NULL;
	u32 i;

	in = iommufd_liveupdate_incoming(args->serialized_data);
	if (!in) {
		/* The core ends the devices, the description is leaked */
		pr_err("no memory to read what the previous kernel handed over\n");
		return;
	}

	if (args->retrieve_status > 0) {
		ictx = args->file->private_data;
		mutex_lock(&ictx->liveupdate_lock);
		ictx->liveupdate_in = NULL;
	}

	for (i = 0; i < in->nr_hwpts; i++) {
		struct iommufd_liveupdate_in_hwpt *hwpt = &in->hwpt[i];

		scoped_guard(mutex, &iommufd_liveupdate_incoming_lock)
			if (hwpt->state == IOMMUFD_LIVEUPDATE_RESTORED)
				hwpt->hwpt_paging->liveupdate_in = NULL;
		if (ictx)
			iommu_liveupdate_clear_owner(hwpt->key, ictx);
		/*
		 * Also if it was restored: one of several devices may have
		 * failed. The domain itself is the HWPT's then.
		 */
		iommu_liveupdate_discard_domain(hwpt->key);
	}

	for (i = 0; i < in->nr_pages; i++)
		if (in->pages[i].pages)
			iopt_put_pages(in->pages[i].pages);
	iommufd_liveupdate_put_files(in);
	if (ictx)
		mutex_unlock(&ictx->liveupdate_lock);
	iommufd_liveupdate_free_incoming(in);
}

/**
 * iommufd_liveupdate_hwpt_destroyed() - A restored HWPT is being destroyed
 * @hwpt_paging: HWPT nobody uses any more
 *
 * Its token is not restored again.
 *
 * Context: Takes iommufd_liveupdate_incoming_lock.
 */
void iommufd_liveupdate_hwpt_destroyed(struct iommufd_hwpt_paging *hwpt_paging)
{
	guard(mutex)(&iommufd_liveupdate_incoming_lock);

	if (!hwpt_paging->liveupdate_in)
		return;
	hwpt_paging->liveupdate_in->state = IOMMUFD_LIVEUPDATE_GONE;
	hwpt_paging->liveupdate_in->hwpt_paging = NULL;
	hwpt_paging->liveupdate_in = NULL;
}
