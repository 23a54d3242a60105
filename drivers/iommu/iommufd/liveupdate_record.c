// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, old kernel: write down what is mapped in a frozen
 * IOAS, and compare it with the page tables while at it.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/memfd.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "liveupdate.h"

static void
iommufd_liveupdate_array_init(struct iommufd_liveupdate_array *array,
			      size_t entry_size)
{
	kho_block_set_init(&array->set, entry_size);
	array->nr = 0;
}

/**
 * iommufd_liveupdate_array_add() - Add an entry to an array of the hand-over
 * @array: The array
 *
 * Return: The entry, zeroed, or an ERR_PTR.
 */
void *iommufd_liveupdate_array_add(struct iommufd_liveupdate_array *array)
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

/**
 * iommufd_liveupdate_init_arrays() - Make all arrays empty
 * @out: What is being preserved
 */
void iommufd_liveupdate_init_arrays(struct iommufd_liveupdate_out *out)
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

/**
 * iommufd_liveupdate_destroy_arrays() - Free all arrays
 * @out: What is preserved no longer
 */
void iommufd_liveupdate_destroy_arrays(struct iommufd_liveupdate_out *out)
{
	kho_block_set_destroy(&out->areas.set);
	kho_block_set_destroy(&out->pages.set);
	kho_block_set_destroy(&out->files.set);
	kho_block_set_destroy(&out->allowed.set);
	kho_block_set_destroy(&out->ioases.set);
	kho_block_set_destroy(&out->hwpts.set);
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

/**
 * iommufd_liveupdate_forget_files() - Let go of the memfds that were recorded
 * @out: What is preserved no longer
 *
 * Context: LUO session mutex held.
 */
void iommufd_liveupdate_forget_files(struct iommufd_liveupdate_out *out)
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
		rc = iommufd_liveupdate_check_range(area, area->pages,
						    hwpt->common.domain,
						    iopt_area_index(area),
						    iopt_area_last_index(area));
		if (rc) {
			pr_warn("IOVA %#lx: HWPT %u maps other pages than the file has now\n",
				iopt_area_iova(area), hwpt->common.obj.id);
			return rc;
		}
	}
	return 0;
}

/**
 * iommufd_liveupdate_record_ioas() - Write down an IOAS
 * @out:   What is being preserved, with its HWPTs and IOASes
 * @index: Which IOAS; frozen
 *
 * After a failure the caller forgets the files and destroys the arrays.
 *
 * Context: LUO session mutex held. Takes iova_rwsem.
 * Return: 0 or the errnos of iommufd_liveupdate_preserve().
 */
int iommufd_liveupdate_record_ioas(struct iommufd_liveupdate_out *out, u32 index)
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
	ACQUIRE(rwsem_read_intr, lock)(&iopt->iova_rwsem);
	rc = ACQUIRE_ERR(rwsem_read_intr, &lock);
	if (rc)
		return rc;

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
		if (fatal_signal_pending(current))
			return -EINTR;
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
