// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, new kernel: from the bytes the previous kernel left
 * to struct iommufd_liveupdate_in.
 *
 * Everything is copied out of KHO memory, then checked. The validators are pure:
 * they look at nothing but what was copied, and at each entry only after those
 * it refers to. What the memfds and the page tables say is compared later, see
 * liveupdate_check.c.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "liveupdate.h"

bool iommufd_liveupdate_top_valid(const struct iommufd_liveupdate_ser *ser)
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

/* The areas are in the order of their IOASes, @area is the first one not seen yet */
static bool iommufd_liveupdate_ioas_valid(const struct iommufd_liveupdate_in *in,
					  u32 i, u32 *area)
{
	u64 nr_areas = 0;

	for (; *area < in->nr_areas && in->area[*area].ioas == i; (*area)++)
		nr_areas++;
	return in->ioas[i].nr_areas == nr_areas && !in->ioas[i].reserved;
}

/**
 * iommufd_liveupdate_validate() - Check everything that was copied
 * @in: All its arrays are filled
 *
 * Return: 0 if every index is in range and every range fits in what it is a part
 * of, -EINVAL otherwise.
 */
int iommufd_liveupdate_validate(const struct iommufd_liveupdate_in *in)
{
	u32 area = 0;
	u32 i;

	/* Each HWPT is compared with all others, and each IOAS has one */
	if (in->nr_hwpts > IOMMUFD_LIVEUPDATE_MAX_HWPTS ||
	    in->nr_ioases > in->nr_hwpts)
		return -EINVAL;

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
		if (!iommufd_liveupdate_ioas_valid(in, i, &area))
			return -EINVAL;
	return 0;
}

/* Copy an array out of KHO memory and free it there */
static void *
iommufd_liveupdate_load_kho(const struct iommufd_liveupdate_array_ser *array,
			    size_t size)
{
	return kho_block_array_restore(array->head, array->nr, size,
				       GFP_KERNEL);
}

/* What was loaded before there was no memory for the rest is not there any more */
static int
iommufd_liveupdate_load(iommufd_liveupdate_load_fn load,
			const struct iommufd_liveupdate_array_ser *array,
			size_t size, void *copyp, u32 *nr)
{
	void *copy;

	if (*(void **)copyp)
		return 0;

	copy = load(array, size);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	*nr = array->nr;
	*(void **)copyp = copy;
	return 0;
}

static int
iommufd_liveupdate_load_hwpts(struct iommufd_liveupdate_in *in,
			      iommufd_liveupdate_load_fn load,
			      const struct iommufd_liveupdate_array_ser *array)
{
	struct iommufd_liveupdate_hwpt_ser *ser;
	u32 i;
	int rc;

	if (in->hwpt)
		return 0;
	rc = iommufd_liveupdate_load(load, array, sizeof(*ser), &in->hwpt_ser,
				     &in->nr_hwpts_ser);
	if (rc)
		return rc;
	in->hwpt = kvzalloc_objs(*in->hwpt, in->nr_hwpts_ser);
	if (!in->hwpt)
		return -ENOMEM;
	in->nr_hwpts = in->nr_hwpts_ser;
	ser = in->hwpt_ser;
	for (i = 0; i < in->nr_hwpts; i++) {
		in->hwpt[i].token = ser[i].token;
		in->hwpt[i].key = ser[i].key;
		in->hwpt[i].ioas = ser[i].ioas;
		in->hwpt[i].flags = ser[i].flags;
	}
	kvfree(ser);
	in->hwpt_ser = NULL;
	return 0;
}

static int
iommufd_liveupdate_load_pages(struct iommufd_liveupdate_in *in,
			      iommufd_liveupdate_load_fn load,
			      const struct iommufd_liveupdate_array_ser *array)
{
	struct iommufd_liveupdate_pages_ser *ser;
	u32 i;
	int rc;

	if (in->pages)
		return 0;
	rc = iommufd_liveupdate_load(load, array, sizeof(*ser), &in->pages_ser,
				     &in->nr_pages_ser);
	if (rc)
		return rc;
	in->pages = kvzalloc_objs(*in->pages, in->nr_pages_ser);
	if (!in->pages)
		return -ENOMEM;
	in->nr_pages = in->nr_pages_ser;
	ser = in->pages_ser;
	for (i = 0; i < in->nr_pages; i++) {
		if (ser[i].flags & ~IOMMUFD_LIVEUPDATE_PAGES_FLAGS)
			rc = -EINVAL;
		in->pages[i].file = ser[i].file;
		in->pages[i].writable =
			ser[i].flags & IOMMUFD_LIVEUPDATE_PAGES_WRITABLE;
		in->pages[i].start = ser[i].start;
		in->pages[i].length = ser[i].length;
	}
	kvfree(ser);
	in->pages_ser = NULL;
	return rc;
}

/**
 * iommufd_liveupdate_parse_ser() - Copy and check what was handed over
 * @in:   All but list, data and error is filled
 * @ser:  What it is read from
 * @load: How to get a copy of an array of it, to be freed with kvfree()
 *
 * What could be read is set even if it fails, as finish needs the keys. After
 * -ENOMEM it can be called again and goes on from there.
 *
 * Return: 0; -EINVAL if malformed; or an error of @load.
 */
int iommufd_liveupdate_parse_ser(struct iommufd_liveupdate_in *in,
				 const struct iommufd_liveupdate_ser *ser,
				 iommufd_liveupdate_load_fn load)
{
	int rc;

	/* The order is such that most can be ended when a later one is bad */
	rc = iommufd_liveupdate_load_hwpts(in, load, &ser->hwpts);
	if (rc)
		return rc;
	if (!iommufd_liveupdate_top_valid(ser))
		return -EINVAL;
	in->flags = ser->flags;
	rc = iommufd_liveupdate_load_pages(in, load, &ser->pages);
	if (rc)
		return rc;
	rc = iommufd_liveupdate_load(load, &ser->ioases, sizeof(*in->ioas),
				     &in->ioas, &in->nr_ioases);
	if (rc)
		return rc;
	rc = iommufd_liveupdate_load(load, &ser->allowed, sizeof(*in->allowed),
				     &in->allowed, &in->nr_allowed);
	if (rc)
		return rc;
	rc = iommufd_liveupdate_load(load, &ser->files, sizeof(*in->file_ser),
				     &in->file_ser, &in->nr_files);
	if (rc)
		return rc;
	rc = iommufd_liveupdate_load(load, &ser->areas, sizeof(*in->area),
				     &in->area, &in->nr_areas);
	if (rc)
		return rc;

	in->file = kvzalloc_objs(*in->file, in->nr_files);
	if (!in->file)
		return -ENOMEM;
	return iommufd_liveupdate_validate(in);
}

/**
 * iommufd_liveupdate_parse() - Read what the previous kernel handed over
 * @in: @data says where it is; the rest is filled
 *
 * KHO memory is freed as it is read, so this can be done only once, but again
 * after -ENOMEM. What it is copied to is charged to nobody: that whoever happens
 * to read it has reached a limit must not be what loses it.
 *
 * Return: 0; -EOPNOTSUPP for an unknown version, -EINVAL if malformed, -ENOMEM.
 */
int iommufd_liveupdate_parse(struct iommufd_liveupdate_in *in)
{
	struct iommufd_liveupdate_ser *ser;
	int rc;

	if (!kho_is_handed_over(in->data))
		return -EINVAL;
	ser = phys_to_virt(in->data);

	if (ser->version != IOMMUFD_LIVEUPDATE_ABI_VERSION) {
		pr_err("version %#x of the previous kernel is not known\n",
		       ser->version);
		return -EOPNOTSUPP;
	}

	rc = iommufd_liveupdate_parse_ser(in, ser, iommufd_liveupdate_load_kho);
	/* Only if all of the arrays it leads to have been freed */
	if (in->file)
		kho_restore_free(ser);
	return rc;
}
