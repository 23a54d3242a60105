// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd: is the memory a page table leads to the memory the
 * memfd holds?
 *
 * A page that was punched out of a memfd after it was mapped stays pinned and
 * mapped, but the memfd has another one there now, and only that one goes over
 * to the next kernel. So what the domains map is compared with the page cache:
 * before it is handed over, and again after it was taken back, while the session is
 * not finished. Both times the memfd is frozen and its folios pinned, which keeps
 * the answer true.
 */
#include <linux/generic_pt/iommu.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sizes.h>

#include "liveupdate.h"

/**
 * iommufd_liveupdate_next_run() - Find contiguous pages in a file
 * @pages: Pages of type IOPT_ADDRESS_FILE
 * @index: First page, in units of PAGE_SIZE from the start of @pages
 * @last:  Last page of interest
 * @run:   Filled with the pages from @index on that are one folio's
 *
 * One step per folio, not per page. The calls with one @run go forward without a
 * gap. Its folio stays until the next call or iommufd_liveupdate_run_end().
 *
 * Context: May sleep.
 * Return: 0, or -EINVAL if the page is not in the page cache.
 */
int iommufd_liveupdate_next_run(struct iopt_pages *pages, unsigned long index,
				unsigned long last,
				struct iommufd_liveupdate_run *run)
{
	pgoff_t pgoff = pages->start / PAGE_SIZE + index;
	pgoff_t end = pages->start / PAGE_SIZE + last;
	pgoff_t next = pgoff;
	struct folio *folio;

	if (run->nr_seen == folio_batch_count(&run->folios)) {
		iommufd_liveupdate_run_end(run);
		cond_resched();
		if (!filemap_get_folios_contig(pages->file->f_mapping, &next,
					       end, &run->folios))
			return -EINVAL;
	}
	folio = run->folios.folios[run->nr_seen++];

	run->folio = folio;
	run->page = folio_file_page(folio, pgoff);
	run->npages = min(folio_next_index(folio) - pgoff, last - index + 1);
	return 0;
}

/* Whether @domain maps @npages at @iova of @area to @pa, and as the area says */
static int check_mapped(struct iopt_area *area, struct iommu_domain *domain,
			unsigned long iova, phys_addr_t pa,
			unsigned long npages)
{
	struct pt_iommu *pt = iommupt_from_domain(domain);

	if (!pt || !pt->ops->check_range)
		return -EOPNOTSUPP;
	return pt->ops->check_range(pt, iova, pa, npages * PAGE_SIZE,
				    area->iommu_prot & (IOMMU_READ | IOMMU_WRITE),
				    iopt_area_iova(area),
				    iopt_area_last_iova(area));
}

/* The IOVA of a page of @area, which is page aligned, by its place in the pages */
static unsigned long index_to_iova(struct iopt_area *area, unsigned long index)
{
	return iopt_area_iova(area) +
	       (index - iopt_area_index(area)) * PAGE_SIZE;
}

/**
 * iommufd_liveupdate_check_range() - Compare a domain with the page cache
 * @area:   Area to check, page aligned
 * @pages:  Its pages, of type IOPT_ADDRESS_FILE
 * @domain: Domain it is mapped in, with a page table of generic_pt
 * @index:  First page to check, in units of PAGE_SIZE from the start of @pages
 * @last:   Last page to check
 *
 * Context: May sleep. Mappings and file must be kept from changing.
 * Return: 0 if all these pages are mapped to where the file has them and with
 * the permissions of the area, -EINVAL if not; -EOPNOTSUPP if it cannot be told.
 */
int iommufd_liveupdate_check_range(struct iopt_area *area,
				   struct iopt_pages *pages,
				   struct iommu_domain *domain,
				   unsigned long index, unsigned long last)
{
	unsigned long iova = index_to_iova(area, index);
	struct iommufd_liveupdate_run run;
	unsigned long npages = 0;
	phys_addr_t pa = 0;
	int rc = 0;

	/* One look at the table for all that is contiguous in memory, up to 1 GiB */
	iommufd_liveupdate_run_init(&run);
	for (; index <= last; index += run.npages) {
		rc = iommufd_liveupdate_next_run(pages, index, last, &run);
		if (rc)
			break;
		if (npages && (page_to_phys(run.page) != pa + npages * PAGE_SIZE ||
			       npages >= SZ_1G / PAGE_SIZE)) {
			rc = check_mapped(area, domain, iova, pa, npages);
			if (rc)
				break;
			iova += npages * PAGE_SIZE;
			npages = 0;
		}
		if (!npages)
			pa = page_to_phys(run.page);
		npages += run.npages;
	}
	iommufd_liveupdate_run_end(&run);
	if (rc)
		return rc;
	return check_mapped(area, domain, iova, pa, npages);
}

/**
 * iommufd_liveupdate_check_domains() - Compare all domains with the page cache
 * @area:  Area to check, mapped in all domains of its table
 * @pages: Its pages, of type IOPT_ADDRESS_FILE
 * @index: First page to check, in units of PAGE_SIZE from the start of @pages
 * @last:  Last page to check
 *
 * Context: As iommufd_liveupdate_check_range(), with domains_rwsem held.
 * Return: 0, or the first error of iommufd_liveupdate_check_range().
 */
int iommufd_liveupdate_check_domains(struct iopt_area *area,
				     struct iopt_pages *pages,
				     unsigned long index, unsigned long last)
{
	struct iommu_domain *domain;
	unsigned long i;
	int rc;

	/* Not up to the end of a node of the xarray that has one domain in it */
	xa_for_each_range(&area->iopt->domains, i, domain, 0,
			  area->iopt->next_domain_id - 1) {
		rc = iommufd_liveupdate_check_range(area, pages, domain, index,
						    last);
		if (rc)
			return rc;
	}
	return 0;
}

/**
 * iommufd_liveupdate_check_page() - Compare all domains with one held page
 * @area:  Area to check, mapped in all domains of its table
 * @pages: Its pages, of type IOPT_ADDRESS_FILE
 * @index: Page to check, in units of PAGE_SIZE from the start of @pages
 *
 * Context: As iommufd_liveupdate_check_range(), with domains_rwsem held.
 * Return: 0 if the file has the page, somebody has pinned it for DMA, and all
 * domains map it with the permissions of the area; -EINVAL if not.
 */
int iommufd_liveupdate_check_page(struct iopt_area *area,
				  struct iopt_pages *pages, unsigned long index)
{
	struct iommufd_liveupdate_run run;
	struct iommu_domain *domain;
	unsigned long i;
	int rc;

	iommufd_liveupdate_run_init(&run);
	rc = iommufd_liveupdate_next_run(pages, index, index, &run);
	if (rc)
		goto out_end;
	if (!folio_maybe_dma_pinned(run.folio)) {
		rc = -EINVAL;
		goto out_end;
	}
	/* As in iommufd_liveupdate_check_domains() */
	xa_for_each_range(&area->iopt->domains, i, domain, 0,
			  area->iopt->next_domain_id - 1) {
		rc = check_mapped(area, domain, index_to_iova(area, index),
				  page_to_phys(run.page), 1);
		if (rc)
			break;
	}

out_end:
	iommufd_liveupdate_run_end(&run);
	return rc;
}
