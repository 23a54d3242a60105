/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KHO for KUnit, played by a set of page frames: the real one gives pages out only
 * after a kexec.
 */
#include <kunit/static_stub.h>
#include <linux/mmzone.h>
#include <linux/vmstat.h>
#include <linux/xarray.h>

enum { KHO_PRESERVED = 1, KHO_RESTORED };

/* Tests run one at a time */
static struct {
	struct kunit *test;
	/* KHO_* by page frame number */
	struct xarray pages;
	unsigned int nr_pages;
	/* Calls since fake_kho_reset(), and the one that is to fail */
	unsigned int calls;
	unsigned int fail_at;
} NS(fake_kho);

static int fake_kho_preserve(void *virt)
{
	struct kunit *test = NS(fake_kho).test;
	unsigned long pfn = virt_to_phys(virt) >> PAGE_SHIFT;
	int ret;

	if (++NS(fake_kho).calls == NS(fake_kho).fail_at)
		return -ENOMEM;
	ret = xa_insert(&NS(fake_kho).pages, pfn, xa_mk_value(KHO_PRESERVED),
			GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, ret, 0);
	NS(fake_kho).nr_pages++;
	return ret;
}

static void fake_kho_unpreserve(void *virt)
{
	struct kunit *test = NS(fake_kho).test;
	unsigned long pfn = virt_to_phys(virt) >> PAGE_SHIFT;

	KUNIT_EXPECT_NOT_NULL(test, xa_erase(&NS(fake_kho).pages, pfn));
	NS(fake_kho).nr_pages--;
}

/*
 * In a new kernel the page would not be in the statistics and its descriptor
 * would hold nothing in particular.
 */
static struct folio *fake_kho_restore(phys_addr_t phys)
{
	unsigned long pfn = phys >> PAGE_SHIFT;
	struct folio *folio;
	long nr;

	if (++NS(fake_kho).calls == NS(fake_kho).fail_at)
		return NULL;
	if (xa_load(&NS(fake_kho).pages, pfn) != xa_mk_value(KHO_PRESERVED))
		return NULL;
	xa_store(&NS(fake_kho).pages, pfn, xa_mk_value(KHO_RESTORED), GFP_KERNEL);

	folio = virt_to_folio(phys_to_virt(phys));
	folio_ioptdesc(folio)->incoherent = 0xff;
	nr = folio_nr_pages(folio);
	mod_node_page_state(folio_pgdat(folio), NR_IOMMU_PAGES, -nr);
	lruvec_stat_mod_folio(folio, NR_SECONDARY_PAGETABLE, -nr);
	return folio;
}

static void fake_kho_init(struct kunit *test)
{
	memset(&NS(fake_kho), 0, sizeof(NS(fake_kho)));
	NS(fake_kho).test = test;
	xa_init(&NS(fake_kho).pages);
	kunit_activate_static_stub(test, iommu_preserve_pages, fake_kho_preserve);
	kunit_activate_static_stub(test, iommu_unpreserve_pages,
				   fake_kho_unpreserve);
	kunit_activate_static_stub(test, iommu_pages_restore_folio,
				   fake_kho_restore);
}

/* As if the kernel had just been booted again; returns pages given out */
static unsigned int fake_kho_reset(unsigned int fail_at)
{
	unsigned int restored = 0;
	unsigned long pfn;
	void *entry;

	xa_for_each(&NS(fake_kho).pages, pfn, entry) {
		if (entry != xa_mk_value(KHO_RESTORED))
			continue;
		xa_store(&NS(fake_kho).pages, pfn, xa_mk_value(KHO_PRESERVED),
			 GFP_KERNEL);
		restored++;
	}
	NS(fake_kho).calls = 0;
	NS(fake_kho).fail_at = fail_at;
	return restored;
}
