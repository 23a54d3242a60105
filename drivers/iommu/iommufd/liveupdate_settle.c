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
 * PFNs of pages are read from whichever area of them is found first. So while an
 * area is not settled, all areas of its pages are of one IOAS, and who reads PFNs
 * has all of the IOAS settled: RESTORE of an IOAS that shares pages with others
 * settles those first, and leaves nothing of these pages for later.
 *
 * Once an IOAS can be seen no area of it becomes unsettled. So whoever needs
 * settled areas settles them first and takes its locks then.
 *
 * An area that is not what the memfd holds comes from a damaged hand-over. It is
 * unmapped, which blocks the device there, and a line in the log says so. Whoever
 * finishes the session learns it as well: FINISH fails, once.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
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
	unsigned long left = SETTLE_PAGES;
	struct iommufd_liveupdate_run run;
	struct interval_tree_node *node;
	unsigned long index;
	long rc = 0;

	lockdep_assert_held(&pages->mutex);

	iommufd_liveupdate_run_init(&run);
	while ((node = interval_tree_iter_first(&pages->domains_itree,
						pages->liveupdate_next,
						ULONG_MAX))) {
		index = max(pages->liveupdate_next, node->start);
		for (; index <= node->last; index += rc, left -= rc) {
			pages->liveupdate_next = index;
			if (!left)
				goto out_end;
			rc = iommufd_liveupdate_pin_run(pages, index,
							min(node->last,
							    index + left - 1),
							&run);
			if (rc < 0)
				goto out_end;
		}
		pages->liveupdate_next = index;
		iommufd_liveupdate_run_end(&run);
	}
	pages->liveupdate_unpinned = NULL;
out_end:
	iommufd_liveupdate_run_end(&run);
	return rc < 0 ? rc : 0;
}

static void iommufd_liveupdate_lose_area(struct io_pagetable *iopt,
					 struct iopt_area *area, int error)
{
	struct iommufd_ioas *ioas = container_of(iopt, struct iommufd_ioas, iopt);

	pr_err_ratelimited("IOAS %u: IOVA %#lx to %#lx is not what its memfd holds, unmapped: %pe\n",
			   ioas->obj.id, iopt_area_iova(area),
			   iopt_area_last_iova(area), ERR_PTR(error));
	scoped_guard(mutex, &iommufd_liveupdate_incoming_lock)
		iopt->liveupdate_ictx->liveupdate_lost = true;
	iommufd_liveupdate_release_area(iopt, area, true);
}

/* Page @index cannot be pinned. All areas it is in go. */
static void iommufd_liveupdate_lose_page(struct io_pagetable *iopt,
					 struct iopt_pages *pages,
					 unsigned long index, int error)
{
	struct interval_tree_node *node;
	struct iopt_area *area;

	/* Which also keeps others from starting anew with the pages */
	kref_get(&pages->kref);
	for (;;) {
		scoped_guard(mutex, &pages->mutex)
			node = interval_tree_iter_first(&pages->domains_itree,
							index, index);
		if (!node)
			break;
		area = container_of(node, struct iopt_area, pages_node);
		/* While some are not pinned all areas are of this iopt */
		if (WARN_ON_ONCE(area->iopt != iopt))
			break;
		iommufd_liveupdate_lose_area(iopt, area, error);
	}
	iopt_put_pages(pages);
}

/* Do some of what is left to do for @area, which can end it */
static void iommufd_liveupdate_settle_some(struct io_pagetable *iopt,
					   struct iopt_area *area)
{
	struct iopt_pages *pages = area->pages;
	unsigned long index, last;
	int rc;

	lockdep_assert_held(&iopt->domains_rwsem);
	lockdep_assert_held_write(&iopt->iova_rwsem);

	mutex_lock(&pages->mutex);
	if (pages->liveupdate_unpinned) {
		rc = iommufd_liveupdate_pin_some(pages);
		index = pages->liveupdate_next;
		mutex_unlock(&pages->mutex);
		if (rc)
			iommufd_liveupdate_lose_page(iopt, pages, index, rc);
		return;
	}

	last = min(iopt_area_last_index(area),
		   area->liveupdate_next + SETTLE_PAGES - 1);
	rc = iommufd_liveupdate_check_domains(area, pages,
					      area->liveupdate_next, last);
	mutex_unlock(&pages->mutex);

	if (rc) {
		iommufd_liveupdate_lose_area(iopt, area, rc);
	} else if (last == iopt_area_last_index(area)) {
		area->liveupdate_unsettled = false;
		WRITE_ONCE(iopt->liveupdate_unsettled,
			   iopt->liveupdate_unsettled - 1);
	} else {
		area->liveupdate_next = last + 1;
	}
}

static int iommufd_liveupdate_lock_iopt(struct io_pagetable *iopt,
					bool killable)
{
	if (!killable) {
		down_read(&iopt->domains_rwsem);
		down_write(&iopt->iova_rwsem);
		return 0;
	}

	if (fatal_signal_pending(current) ||
	    down_read_killable(&iopt->domains_rwsem))
		return -EINTR;
	if (down_write_killable(&iopt->iova_rwsem)) {
		up_read(&iopt->domains_rwsem);
		return -EINTR;
	}
	return 0;
}

/**
 * iommufd_liveupdate_settle_areas() - Compare and pin what RESTORE did not
 * @iopt:     Table that userspace can see, or could
 * @start:    First IOVA
 * @last:     Last IOVA
 * @killable: Give up when the caller is killed, who may not be who maps memory
 *            that takes long to fault in, and holds the locks meanwhile
 *
 * Afterwards the areas of the range are like all others, or gone. Use
 * iopt_settle() or iopt_settle_killable(), which cost nothing when there is
 * nothing to do.
 *
 * Context: Takes domains_rwsem and iova_rwsem of @iopt. May sleep.
 * Return: 0, or if @killable -EINTR; what is settled by then stays so.
 */
int iommufd_liveupdate_settle_areas(struct io_pagetable *iopt,
				    unsigned long start, unsigned long last,
				    bool killable)
{
	struct iopt_area *area;
	int rc;

	do {
		rc = iommufd_liveupdate_lock_iopt(iopt, killable);
		if (rc)
			return rc;
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
	return 0;
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
 * @ictx: iommufd of the table
 * @iopt: Table that was restored, not to be seen yet
 */
void iommufd_liveupdate_settle_later(struct iommufd_ctx *ictx,
				     struct io_pagetable *iopt)
{
	iopt->liveupdate_ictx = ictx;
	queue_delayed_work(system_dfl_long_wq, &iopt->liveupdate_work,
			   SETTLE_DELAY);
}

/**
 * iommufd_liveupdate_settle_all() - Settle every IOAS of an iommufd
 * @ictx:     iommufd whose session is not finished
 * @killable: As for iommufd_liveupdate_settle_areas()
 *
 * An IOAS that is being destroyed has lost its last HWPT, and was settled then.
 *
 * IOMMU_DESTROY of an IOAS is -EBUSY while it is being settled.
 *
 * Context: iommufd_ctx::liveupdate_lock is held, which keeps RESTORE from making
 * more to settle. May sleep.
 * Return: 0, or if @killable -EINTR.
 */
int iommufd_liveupdate_settle_all(struct iommufd_ctx *ictx, bool killable)
{
	struct iommufd_object *obj;
	unsigned long index;
	int rc;

	lockdep_assert_held(&ictx->liveupdate_lock);

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, index, obj) {
		struct io_pagetable *iopt;

		if (obj->type != IOMMUFD_OBJ_IOAS || !iommufd_lock_obj(obj))
			continue;
		xa_unlock(&ictx->objects);

		rc = 0;
		iopt = &container_of(obj, struct iommufd_ioas, obj)->iopt;
		if (killable)
			rc = iopt_settle_killable(iopt, 0, ULONG_MAX);
		else
			iopt_settle(iopt, 0, ULONG_MAX);

		iommufd_put_object(ictx, obj);
		if (rc)
			return rc;
		xa_lock(&ictx->objects);
	}
	xa_unlock(&ictx->objects);
	return 0;
}
