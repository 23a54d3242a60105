// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, new kernel: areas for what is mapped already.
 *
 * The ordinary way to make an area reads the pages from the file and maps them.
 * Here they are mapped, and a device is using them. What is left to do is to
 * make everything around the page table what the ordinary way would have made
 * it, so that unmapping later finds what it expects: one pin and one charge for
 * each page of an iopt_pages, however many of its areas cover it, and a domain
 * to read the pages back from. The charge comes
 * first, the pins and most of the comparing can wait, see liveupdate_settle.c.
 *
 * The pins are taken in place, on the folios the page cache has. Not by
 * memfd_pin_folios(), which may migrate them first, or fill holes.
 */
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "double_span.h"
#include "liveupdate.h"

static void iommufd_liveupdate_unpin(struct iopt_pages *pages,
				     unsigned long index, unsigned long last)
{
	struct iommufd_liveupdate_run run;

	iommufd_liveupdate_run_init(&run);
	while (index <= last) {
		/* A pinned folio does not leave the page cache of this file */
		if (WARN_ON(iommufd_liveupdate_next_run(pages, index, last,
							&run)))
			break;
		unpin_user_page_range_dirty_lock(run.page, run.npages, false);
		pages->npinned -= run.npages;
		index += run.npages;
	}
	iommufd_liveupdate_run_end(&run);
}

/**
 * iommufd_liveupdate_pin_run() - Pin pages of one folio
 * @pages: Pages of type IOPT_ADDRESS_FILE
 * @index: First page, in units of PAGE_SIZE from the start of @pages
 * @last:  Last page of interest
 * @run:   Walk through the pages, see iommufd_liveupdate_next_run()
 *
 * Return: Number of pages pinned; -EINVAL if the file has no page there, or one
 * that nobody held; -ENOMEM if it has too many pins.
 */
long iommufd_liveupdate_pin_run(struct iopt_pages *pages, unsigned long index,
				unsigned long last,
				struct iommufd_liveupdate_run *run)
{
	int rc;

	rc = iommufd_liveupdate_next_run(pages, index, last, run);
	if (rc)
		return rc;
	/*
	 * The memfd has them pinned from retrieve to finish. Without that they
	 * could have moved before we got here.
	 */
	if (folio_maybe_dma_pinned(run->folio))
		rc = folio_add_pins(run->folio, run->npages);
	else
		rc = -EINVAL;
	return rc ?: run->npages;
}

static int iommufd_liveupdate_pin(struct iopt_pages *pages,
				  unsigned long start, unsigned long last)
{
	struct iommufd_liveupdate_run run;
	unsigned long index = start;
	long rc = 0;

	iommufd_liveupdate_run_init(&run);
	while (index <= last) {
		rc = iommufd_liveupdate_pin_run(pages, index, last, &run);
		if (rc < 0)
			break;
		pages->npinned += rc;
		index += rc;
	}
	iommufd_liveupdate_run_end(&run);
	if (rc >= 0)
		return 0;
	if (index != start)
		iommufd_liveupdate_unpin(pages, start, index - 1);
	return rc;
}

/* Unpin what no other area covers. The area is not in the domains_itree. */
static void iommufd_liveupdate_unpin_area(struct iopt_pages *pages,
					  unsigned long start,
					  unsigned long last)
{
	struct interval_tree_double_span_iter span;

	lockdep_assert_held(&pages->mutex);

	interval_tree_for_each_double_span(&span, &pages->access_itree,
					   &pages->domains_itree, start, last) {
		unsigned long end = span.last_hole + 1;

		if (span.is_used)
			continue;
		if (pages->liveupdate_unpinned)
			end = clamp(pages->liveupdate_next, span.start_hole,
				    end);
		if (end != span.start_hole)
			iommufd_liveupdate_unpin(pages, span.start_hole,
						 end - 1);
		/* These only counted as pinned */
		pages->npinned -= span.last_hole + 1 - end;
	}
}

/* Pin what no other area covers, or leave that for later, and charge for it */
static int iommufd_liveupdate_pin_area(struct iopt_pages *pages,
				       unsigned long start, unsigned long last)
{
	struct interval_tree_double_span_iter span;
	unsigned long done = start;
	unsigned long added;
	int rc;

	lockdep_assert_held(&pages->mutex);

	interval_tree_for_each_double_span(&span, &pages->access_itree,
					   &pages->domains_itree, start, last) {
		if (span.is_used)
			continue;
		if (pages->liveupdate_unpinned) {
			pages->npinned += span.last_hole - span.start_hole + 1;
			continue;
		}
		rc = iommufd_liveupdate_pin(pages, span.start_hole,
					    span.last_hole);
		if (rc) {
			done = span.start_hole;
			goto err_unpin;
		}
	}
	done = last + 1;

	added = pages->npinned - pages->last_npinned;
	if (added) {
		rc = iopt_pages_update_pinned(pages, added, true, NULL);
		/* Shared with an IOAS whose process is gone, see the uAPI */
		if (rc == -EINVAL)
			rc = -ENOMEM;
		if (rc)
			goto err_unpin;
	}
	return 0;

err_unpin:
	if (done != start)
		iommufd_liveupdate_unpin_area(pages, start, done - 1);
	return rc;
}

/*
 * The pins of the pages can wait if nobody but this RESTORE knows them: who is
 * pinned and who is not is known for all areas of them at once, so they have to
 * be of one iopt. Who is not in the trees yet has a reference all the same.
 *
 * Nor can comparing wait for others: they could read PFNs from the area, and
 * settle their own iopt before, not this one.
 */
static bool iommufd_liveupdate_leave_for_later(struct io_pagetable *iopt,
					       struct iopt_pages *pages)
{
	guard(mutex)(&pages->mutex);

	if (kref_read(&pages->kref) == 1) {
		pages->liveupdate_unpinned = iopt;
		pages->liveupdate_next = 0;
	}
	return pages->liveupdate_unpinned == iopt;
}

/* What can be seen at once of a memfd or a table that is another one */
static int iommufd_liveupdate_check_ends(struct iopt_area *area,
					 struct iopt_pages *pages)
{
	unsigned long ends[] = { iopt_area_index(area),
				 iopt_area_last_index(area) };
	unsigned int nr = ends[0] == ends[1] ? 1 : 2;
	unsigned int i;
	int rc;

	for (i = 0; i != nr; i++) {
		rc = iommufd_liveupdate_check_page(area, pages, ends[i]);
		if (rc)
			return rc;
	}
	return 0;
}

/**
 * iommufd_liveupdate_adopt_area() - Make an area for what is mapped already
 * @iopt:       Table that has all its domains
 * @pages:      Pages of type IOPT_ADDRESS_FILE; the area takes a reference
 * @iova:       Where it is mapped
 * @offset:     Where in @pages the area begins, in bytes
 * @length:     Length in bytes
 * @iommu_prot: Permissions
 *
 * If the pages are known to others all of it is compared with the page cache
 * before anything is changed. Else both ends are, the rest has to be settled.
 * Nothing is mapped or unmapped, also if it fails.
 *
 * Context: domains_rwsem and iova_rwsem of @iopt are held for writing.
 * Return: 0; -EINVAL if a domain maps something else; -ENOMEM, also when the
 * limit of locked memory is reached; or an errno of mapping.
 */
int iommufd_liveupdate_adopt_area(struct io_pagetable *iopt,
				  struct iopt_pages *pages, unsigned long iova,
				  unsigned long offset, unsigned long length,
				  int iommu_prot)
{
	struct iopt_area *area;
	bool later;
	int rc;

	lockdep_assert_held_write(&iopt->domains_rwsem);
	lockdep_assert_held_write(&iopt->iova_rwsem);

	area = iopt_area_alloc();
	if (!area)
		return -ENOMEM;

	rc = iopt_check_iova(iopt, iova, length);
	if (rc)
		goto err_free;
	rc = iopt_insert_area(iopt, area, pages, iova, offset, length,
			      iommu_prot);
	if (rc)
		goto err_free;

	/* Without the mutex: others of the pages would have to wait for it */
	later = iommufd_liveupdate_leave_for_later(iopt, pages);
	if (later)
		rc = iommufd_liveupdate_check_ends(area, pages);
	else
		rc = iommufd_liveupdate_check_domains(area, pages,
						      iopt_area_index(area),
						      iopt_area_last_index(area));
	mutex_lock(&pages->mutex);
	if (rc)
		goto err_unlock;
	rc = iommufd_liveupdate_pin_area(pages, iopt_area_index(area),
					 iopt_area_last_index(area));
	if (rc)
		goto err_unlock;

	area->storage_domain = xa_load(&iopt->domains, 0);
	interval_tree_insert(&area->pages_node, &pages->domains_itree);
	mutex_unlock(&pages->mutex);

	if (later) {
		area->liveupdate_unsettled = true;
		area->liveupdate_next = iopt_area_index(area);
		WRITE_ONCE(iopt->liveupdate_unsettled,
			   iopt->liveupdate_unsettled + 1);
	}
	kref_get(&pages->kref);
	area->pages = pages;
	return 0;

err_unlock:
	if (RB_EMPTY_ROOT(&pages->domains_itree.rb_root))
		pages->liveupdate_unpinned = NULL;
	mutex_unlock(&pages->mutex);
	interval_tree_remove(&area->node, &iopt->area_itree);
err_free:
	kfree(area);
	return rc;
}

/* Also of what is not mapped */
static void iommufd_liveupdate_unmap(struct iommu_domain *domain,
				     unsigned long iova, size_t length)
{
	while (length) {
		size_t unmapped = iommu_unmap(domain, iova, length);

		if (!unmapped)
			unmapped = PAGE_SIZE;
		unmapped = min(unmapped, length);
		iova += unmapped;
		length -= unmapped;
		cond_resched();
	}
}

/**
 * iommufd_liveupdate_release_area() - Undo iommufd_liveupdate_adopt_area()
 * @iopt:  Table of the area
 * @area:  Area that was adopted, and is freed
 * @unmap: Unmap it. Else what is mapped stays mapped, and the memfd goes on
 *         holding the memory.
 *
 * Context: domains_rwsem of @iopt is held, and iova_rwsem for writing.
 */
void iommufd_liveupdate_release_area(struct io_pagetable *iopt,
				     struct iopt_area *area, bool unmap)
{
	struct iopt_pages *pages = area->pages;
	struct iommu_domain *domain;
	unsigned long removed;
	unsigned long index;

	lockdep_assert_held(&iopt->domains_rwsem);
	lockdep_assert_held_write(&iopt->iova_rwsem);

	mutex_lock(&pages->mutex);
	interval_tree_remove(&area->pages_node, &pages->domains_itree);
	/* Before the pins go */
	if (unmap)
		xa_for_each(&iopt->domains, index, domain)
			iommufd_liveupdate_unmap(domain, iopt_area_iova(area),
						 iopt_area_length(area));
	iommufd_liveupdate_unpin_area(pages, iopt_area_index(area),
				      iopt_area_last_index(area));
	removed = pages->last_npinned - pages->npinned;
	if (removed)
		iopt_pages_update_pinned(pages, removed, false, NULL);
	if (RB_EMPTY_ROOT(&pages->domains_itree.rb_root))
		pages->liveupdate_unpinned = NULL;
	mutex_unlock(&pages->mutex);

	if (area->liveupdate_unsettled)
		WRITE_ONCE(iopt->liveupdate_unsettled,
			   iopt->liveupdate_unsettled - 1);
	interval_tree_remove(&area->node, &iopt->area_itree);
	kfree(area);
	iopt_put_pages(pages);
}

/**
 * iommufd_liveupdate_abandon_areas() - Undo iommufd_liveupdate_adopt_area()
 * @iopt: Table whose areas were all adopted
 *
 * What is mapped stays mapped.
 *
 * Context: domains_rwsem and iova_rwsem of @iopt are held for writing.
 */
void iommufd_liveupdate_abandon_areas(struct io_pagetable *iopt)
{
	struct iopt_area *area;

	while ((area = iopt_area_iter_first(iopt, 0, ULONG_MAX)))
		iommufd_liveupdate_release_area(iopt, area, false);
}
