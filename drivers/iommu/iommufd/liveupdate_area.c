// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, new kernel: areas for what is mapped already.
 *
 * The ordinary way to make an area reads the pages from the file and maps them.
 * Here they are mapped, and a device is using them. What is left to do is to
 * make everything around the page table what the ordinary way would have made
 * it, so that unmapping later finds what it expects: one pin and one charge for
 * each page of an iopt_pages, however many of its areas cover it, and a domain
 * to read the pages back from.
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

	while (index <= last) {
		/* A pinned folio does not leave the page cache of this file */
		if (WARN_ON(iommufd_liveupdate_next_run(pages, index, last,
							&run)))
			return;
		unpin_user_page_range_dirty_lock(run.page, run.npages, false);
		folio_put(run.folio);
		pages->npinned -= run.npages;
		index += run.npages;
	}
}

static int iommufd_liveupdate_pin(struct iopt_pages *pages,
				  unsigned long start, unsigned long last)
{
	struct iommufd_liveupdate_run run;
	unsigned long index = start;
	int rc;

	while (index <= last) {
		rc = iommufd_liveupdate_next_run(pages, index, last, &run);
		if (rc)
			goto err_unpin;
		/*
		 * The memfd has them pinned from retrieve to finish. Without
		 * that they could have moved before we got here.
		 */
		if (folio_maybe_dma_pinned(run.folio))
			rc = folio_add_pins(run.folio, run.npages);
		else
			rc = -EINVAL;
		folio_put(run.folio);
		if (rc)
			goto err_unpin;
		pages->npinned += run.npages;
		index += run.npages;
		cond_resched();
	}
	return 0;

err_unpin:
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
					   &pages->domains_itree, start, last)
		if (!span.is_used)
			iommufd_liveupdate_unpin(pages, span.start_hole,
						 span.last_hole);
}

/* Pin what no other area covers, and charge for it */
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
		if (rc)
			goto err_unpin;
	}
	return 0;

err_unpin:
	if (done != start)
		iommufd_liveupdate_unpin_area(pages, start, done - 1);
	return rc;
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
 * Every domain is compared with the page cache before anything is changed.
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
	struct iommu_domain *domain;
	struct iopt_area *area;
	unsigned long index;
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

	mutex_lock(&pages->mutex);
	xa_for_each(&iopt->domains, index, domain) {
		rc = iommufd_liveupdate_check_area(area, pages, domain);
		if (rc)
			goto err_unlock;
	}
	rc = iommufd_liveupdate_pin_area(pages, iopt_area_index(area),
					 iopt_area_last_index(area));
	if (rc)
		goto err_unlock;

	area->storage_domain = xa_load(&iopt->domains, 0);
	interval_tree_insert(&area->pages_node, &pages->domains_itree);
	mutex_unlock(&pages->mutex);

	kref_get(&pages->kref);
	area->pages = pages;
	return 0;

err_unlock:
	mutex_unlock(&pages->mutex);
	interval_tree_remove(&area->node, &iopt->area_itree);
err_free:
	kfree(area);
	return rc;
}

/**
 * iommufd_liveupdate_abandon_areas() - Undo iommufd_liveupdate_adopt_area()
 * @iopt: Table whose areas were all adopted
 *
 * What is mapped stays mapped; only our pins and charges are taken back. The
 * memfds go on holding the memory.
 *
 * Context: domains_rwsem and iova_rwsem of @iopt are held for writing.
 */
void iommufd_liveupdate_abandon_areas(struct io_pagetable *iopt)
{
	struct iopt_area *area;

	lockdep_assert_held_write(&iopt->domains_rwsem);
	lockdep_assert_held_write(&iopt->iova_rwsem);

	while ((area = iopt_area_iter_first(iopt, 0, ULONG_MAX))) {
		struct iopt_pages *pages = area->pages;
		unsigned long removed;

		mutex_lock(&pages->mutex);
		interval_tree_remove(&area->pages_node, &pages->domains_itree);
		iommufd_liveupdate_unpin_area(pages, iopt_area_index(area),
					      iopt_area_last_index(area));
		removed = pages->last_npinned - pages->npinned;
		if (removed)
			iopt_pages_update_pinned(pages, removed, false, NULL);
		mutex_unlock(&pages->mutex);

		interval_tree_remove(&area->node, &iopt->area_itree);
		kfree(area);
		iopt_put_pages(pages);
	}
}
