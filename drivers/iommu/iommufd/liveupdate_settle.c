// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, new kernel: what RESTORE leaves for later.
 *
 * The VMM stands still while it calls RESTORE. To compare every leaf with the
 * page cache and to pin every folio takes time for all of the memory, and there
 * is no hurry: the retrieved memfd holds its folios until it is finished. So
 * RESTORE makes the areas, charges for their pages, and looks at both ends of
 * each. The rest, called settling, is done by a worker a while later, or by
 * whoever is about to rely on it: before an area is unmapped, cut or copied,
 * before a domain or an access comes or goes, before the IOAS is preserved
 * again, and at the latest by FINISH, after which the memfd lets go.
 *
 * Once an IOAS can be seen no area of it becomes unsettled. So whoever needs
 * settled areas settles them first and takes its locks then.
 *
 * An area that is not what the memfd holds comes from a damaged hand-over. It is
 * unmapped, which blocks the device there, and a line in the log says so.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>

#include "liveupdate.h"

/* How long the locks are held at a time, in pages */
#define SETTLE_PAGES (SZ_32M / PAGE_SIZE)

/* Let the VMM take its devices back first */
#define SETTLE_DELAY HZ

/*
 * Pin some of what the areas of @pages cover. pages->liveupdate_next is where to
 * go on, or where it failed.
 */
static int iommufd_liveupdate_pin_some(struct iopt_pages *pages)
{
	struct interval_tree_span_iter span;
	unsigned long left = SETTLE_PAGES;
	unsigned long next;
	long rc;

	interval_tree_for_each_span(&span, &pages->domains_itree,
				    pages->liveupdate_next, pages->npages - 1) {
		if (span.is_hole) {
			pages->liveupdate_next = span.last_hole + 1;
			continue;
		}
		while (pages->liveupdate_next <= span.last_used) {
			next = pages->liveupdate_next;
			if (!left)
				return 0;
			rc = iommufd_liveupdate_pin_run(pages, next,
							min(span.last_used,
							    next + left - 1));
			if (rc < 0)
				return rc;
			pages->liveupdate_next += rc;
			left -= rc;
		}
	}
	pages->liveupdate_unpinned = NULL;
	return 0;
}

/**
 * iommufd_liveupdate_pin_all() - Pin what RESTORE of another IOAS left unpinned
 * @pages: Pages to pin, with the mutex held
 *
 * Return: 0, or -EINVAL if it is not what the memfd holds.
 */
int iommufd_liveupdate_pin_all(struct iopt_pages *pages)
{
	int rc = 0;

	lockdep_assert_held(&pages->mutex);

	while (!rc && pages->liveupdate_unpinned) {
		rc = iommufd_liveupdate_pin_some(pages);
		cond_resched();
	}
	return rc;
}

static void iommufd_liveupdate_lose_area(struct io_pagetable *iopt,
					 struct iopt_area *area, int error)
{
	pr_err("IOVA %#lx to %#lx is not what its memfd holds, unmapped: %pe\n",
	       iopt_area_iova(area), iopt_area_last_iova(area),
	       ERR_PTR(error));
	iommufd_liveupdate_release_area(iopt, area, true);
}

/* A page cannot be pinned. It is not the page of @area alone. */
static void iommufd_liveupdate_lose_page(struct io_pagetable *iopt,
					 struct iopt_area *area, int error)
{
	unsigned long index = area->pages->liveupdate_next;
	struct iopt_pages *pages = area->pages;
	struct interval_tree_node *node;

	/* While some are not pinned all areas of the pages are of this iopt */
	kref_get(&pages->kref);
	for (;;) {
		scoped_guard(mutex, &pages->mutex)
			node = interval_tree_iter_first(&pages->domains_itree,
							index, index);
		if (!node)
			break;
		area = container_of(node, struct iopt_area, pages_node);
		iommufd_liveupdate_lose_area(iopt, area, error);
	}
	iopt_put_pages(pages);
}

/* Do some of what is left to do for @area, which can end it */
static void iommufd_liveupdate_settle_some(struct io_pagetable *iopt,
					   struct iopt_area *area)
{
	struct iopt_pages *pages = area->pages;
	struct iommu_domain *domain;
	unsigned long index, last;
	int rc = 0;

	lockdep_assert_held(&iopt->domains_rwsem);
	lockdep_assert_held_write(&iopt->iova_rwsem);

	mutex_lock(&pages->mutex);
	if (pages->liveupdate_unpinned) {
		rc = iommufd_liveupdate_pin_some(pages);
		mutex_unlock(&pages->mutex);
		if (rc)
			iommufd_liveupdate_lose_page(iopt, area, rc);
		return;
	}

	last = min(iopt_area_last_index(area),
		   area->liveupdate_next + SETTLE_PAGES - 1);
	xa_for_each(&iopt->domains, index, domain) {
		rc = iommufd_liveupdate_check_range(area, pages, domain,
						    area->liveupdate_next,
						    last);
		if (rc)
			break;
	}
	mutex_unlock(&pages->mutex);

	if (rc) {
		iommufd_liveupdate_lose_area(iopt, area, rc);
	} else if (last == iopt_area_last_index(area)) {
		area->liveupdate_unsettled = false;
		iopt->liveupdate_unsettled--;
	} else {
		area->liveupdate_next = last + 1;
	}
}

/**
 * iommufd_liveupdate_settle_areas() - Compare and pin what RESTORE did not
 * @iopt:  Table that userspace can see, or could
 * @start: First IOVA
 * @last:  Last IOVA
 *
 * Afterwards the areas of the range are like all others, or gone. Use
 * iopt_settle(), which costs nothing when there is nothing to do.
 *
 * Context: Takes domains_rwsem and iova_rwsem of @iopt. May sleep.
 */
void iommufd_liveupdate_settle_areas(struct io_pagetable *iopt,
				     unsigned long start, unsigned long last)
{
	struct iopt_area *area;

	do {
		down_read(&iopt->domains_rwsem);
		down_write(&iopt->iova_rwsem);
		area = iopt_area_iter_first(iopt, start, last);
		while (area && !area->liveupdate_unsettled)
			area = iopt_area_iter_next(area, start, last);
		if (area) {
			/* Those below are settled */
			start = max(start, iopt_area_iova(area));
			iommufd_liveupdate_settle_some(iopt, area);
		}
		up_write(&iopt->iova_rwsem);
		up_read(&iopt->domains_rwsem);
		cond_resched();
	} while (area);
}

static void iommufd_liveupdate_settle_work(struct work_struct *work)
{
	struct io_pagetable *iopt =
		container_of(to_delayed_work(work), struct io_pagetable,
			     liveupdate_work);

	iopt_settle(iopt, 0, ULONG_MAX);
}

/**
 * iommufd_liveupdate_init_iopt() - Prepare a table for iopt_settle()
 * @iopt: New table
 */
void iommufd_liveupdate_init_iopt(struct io_pagetable *iopt)
{
	INIT_DELAYED_WORK(&iopt->liveupdate_work,
			  iommufd_liveupdate_settle_work);
}

/**
 * iommufd_liveupdate_settle_later() - Start the worker
 * @iopt: Table that was restored
 */
void iommufd_liveupdate_settle_later(struct io_pagetable *iopt)
{
	queue_delayed_work(system_dfl_long_wq, &iopt->liveupdate_work,
			   SETTLE_DELAY);
}

/**
 * iommufd_liveupdate_settle_all() - Settle every IOAS of an iommufd
 * @ictx: iommufd whose session is being finished
 *
 * An IOAS that is being destroyed settles its areas itself, and no device uses
 * it any more.
 *
 * Context: May sleep.
 */
void iommufd_liveupdate_settle_all(struct iommufd_ctx *ictx)
{
	struct iommufd_object *obj;
	unsigned long index;

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		if (obj->type != IOMMUFD_OBJ_IOAS || !iommufd_lock_obj(obj))
			continue;
		xa_unlock(&ictx->objects);

		iopt_settle(&container_of(obj, struct iommufd_ioas, obj)->iopt,
			    0, ULONG_MAX);

		iommufd_put_object(ictx, obj);
		xa_lock(&ictx->objects);
	}
	xa_unlock(&ictx->objects);
}
