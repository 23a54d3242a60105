/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Live update of I/O page tables: hand a table to the next kernel and take one
 * over. "Templated C code", included by iommu_pt.h once per format.
 *
 * A table is never copied and never rebuilt. The previous kernel has KHO keep
 * each table page and writes down what cannot be read from the pages (struct
 * iommu_pt_ser); the next kernel walks the tree from the top, claims each page
 * from KHO and from then on owns the table as if it had allocated it. Hardware
 * may be walking the tree all the time, so neither side writes to it.
 *
 * What the previous kernel wrote down and the table entries are not trusted: a
 * page is only looked into after KHO confirmed that it was preserved, which it
 * does once per page. So a walk ends whatever the entries say.
 */
#ifndef __GENERIC_PT_IOMMU_PT_LIVEUPDATE_H
#define __GENERIC_PT_IOMMU_PT_LIVEUPDATE_H

#include <linux/kho/abi/iommu_pt.h>
#include <linux/sched.h>
#include <linux/string.h>

/* A format defines its number to become part of the ABI */
#ifndef pt_iommu_ser_fmt
#define pt_iommu_ser_fmt 0
#endif

/* &struct iommu_pt_ser.features: the ABI is the numbering, not the names */
static_assert(PT_FEAT_DMA_INCOHERENT == 0);
static_assert(PT_FEAT_FULL_VA == 1);
static_assert(PT_FEAT_DYNAMIC_TOP == 2);
static_assert(PT_FEAT_SIGN_EXTEND == 3);
static_assert(PT_FEAT_FLUSH_RANGE == 4);
static_assert(PT_FEAT_FLUSH_RANGE_NO_GAPS == 5);
static_assert(PT_FEAT_DETAILED_GATHER == 6);
static_assert(PT_FEAT_FMT_START == 7);

struct pt_iommu_check_args {
	pt_oaddr_t oa;
	/* What is mapped together, as seen from where the walk is */
	pt_vaddr_t before;
	pt_vaddr_t after;
	struct pt_write_attrs attrs;
};

static int __check_range(struct pt_range *range, void *arg, unsigned int level,
			 struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct pt_iommu_check_args *check = arg;
	struct pt_write_attrs attrs;
	unsigned int lg2sz;
	pt_vaddr_t before;
	pt_vaddr_t step;
	int ret;

	for_each_pt_level_entry(&pts) {
		switch (pts.type) {
		case PT_ENTRY_EMPTY:
			return -EINVAL;
		case PT_ENTRY_TABLE:
			ret = pt_descend(&pts, arg, __check_range);
			if (ret)
				return ret;
			continue;
		case PT_ENTRY_OA:
			break;
		}

		if (pt_entry_oa_exact(&pts) != check->oa)
			return -EINVAL;

		pt_attr_from_entry(&pts, &attrs);
		if (attrs.descriptor_bits != check->attrs.descriptor_bits)
			return -EINVAL;

		/*
		 * The first and the last leaf can reach beyond the range, but
		 * not to what is mapped on its own.
		 */
		lg2sz = pt_entry_oa_lg2sz(&pts);
		before = log2_mod(range->va, lg2sz);
		if (before > check->before ||
		    log2_to_max_int(lg2sz) - before > check->after)
			return -EINVAL;

		step = min(log2_set_mod_max(range->va, lg2sz), range->last_va) -
		       range->va + 1;
		check->before += step;
		check->after -= step;
		check->oa += step;
	}
	return 0;
}

static int NS(check_range)(struct pt_iommu *iommu_table, dma_addr_t iova,
			   phys_addr_t paddr, dma_addr_t len, unsigned int prot,
			   dma_addr_t first, dma_addr_t last)
{
	struct pt_common *common = common_from_iommu(iommu_table);
	struct pt_iommu_check_args check = {
		.oa = paddr,
		.before = iova - first,
		.after = last - iova,
	};
	struct pt_range range;
	struct pt_state want;
	int ret;

	ret = make_range(common, &range, iova, len);
	if (ret)
		return -EINVAL;

	ret = pt_iommu_set_prot(common, &check.attrs, prot);
	if (ret)
		return -EINVAL;

	/* Reduce prot to those bits that can be read back from an entry */
	want = pt_init_top(&range);
	want.entry = check.attrs.descriptor_bits;
	pt_attr_from_entry(&want, &check.attrs);

	return pt_walk_range(&range, __check_range, &check);
}

struct pt_iommu_preserve_args {
	/* Tables preserved, or tables left to unpreserve */
	u64 nr_tables;
};

static int __preserve_tables(struct pt_range *range, void *arg,
			     unsigned int level, struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct pt_iommu_preserve_args *preserve = arg;
	int ret;

	ret = iommu_preserve_pages(table);
	if (ret)
		return ret;
	preserve->nr_tables++;

	if (!pt_can_have_table(&pts))
		return 0;

	for_each_pt_level_entry(&pts) {
		if (pts.type != PT_ENTRY_TABLE)
			continue;
		ret = pt_descend(&pts, arg, __preserve_tables);
		if (ret)
			return ret;
	}
	cond_resched();
	return 0;
}

/* The same walk in the same order, so that it can stop where a preserve did */
static int __unpreserve_tables(struct pt_range *range, void *arg,
			       unsigned int level, struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct pt_iommu_preserve_args *preserve = arg;
	int ret;

	if (!preserve->nr_tables)
		return -ECANCELED;
	iommu_unpreserve_pages(table);
	preserve->nr_tables--;

	if (!pt_can_have_table(&pts))
		return 0;

	for_each_pt_level_entry(&pts) {
		if (pts.type != PT_ENTRY_TABLE)
			continue;
		ret = pt_descend(&pts, arg, __unpreserve_tables);
		if (ret)
			return ret;
	}
	cond_resched();
	return 0;
}

static int NS(preserve)(struct pt_iommu *iommu_table, struct iommu_pt_ser *ser)
{
	struct pt_common *common = common_from_iommu(iommu_table);
	struct pt_range range = pt_all_range(common);
	struct pt_iommu_preserve_args preserve = {};
	int ret;

	if (!pt_iommu_ser_fmt)
		return -EOPNOTSUPP;

	ret = pt_walk_range(&range, __preserve_tables, &preserve);
	if (ret) {
		range = pt_all_range(common);
		pt_walk_range(&range, __unpreserve_tables, &preserve);
		return ret;
	}

	memset(ser, 0, sizeof(*ser));
	ser->top_pa = virt_to_phys(range.top_table);
	ser->nr_tables = preserve.nr_tables;
	ser->format = pt_iommu_ser_fmt;
	ser->features = common->features;
	ser->top_level = range.top_level;
	ser->max_vasz_lg2 = common->max_vasz_lg2;
	ser->max_oasz_lg2 = common->max_oasz_lg2;
	return 0;
}

static void NS(unpreserve)(struct pt_iommu *iommu_table)
{
	struct pt_range range = pt_all_range(common_from_iommu(iommu_table));
	struct pt_iommu_preserve_args preserve = { .nr_tables = U64_MAX };

	pt_walk_range(&range, __unpreserve_tables, &preserve);
}

/*
 * Everything in ser that can be judged without looking at a table. top_pa and
 * nr_tables are judged by the walk.
 */
static int NS(check_ser)(const struct iommu_pt_ser *ser)
{
	struct pt_common common = { .features = ser->features,
				    .max_vasz_lg2 = ser->max_vasz_lg2 };
	struct pt_range range = { .common = &common,
				  .top_level = ser->top_level,
				  .max_vasz_lg2 = ser->max_vasz_lg2 };
	struct pt_state pts = { .range = &range, .level = ser->top_level };

	if (!pt_iommu_ser_fmt)
		return -EOPNOTSUPP;

	if (ser->format != pt_iommu_ser_fmt ||
	    memchr_inv(ser->reserved, 0, sizeof(ser->reserved)))
		return -EINVAL;

	/* Also keeps out what this kernel knows but was not built for */
	if (ser->features & ~(unsigned int)PT_SUPPORTED_FEATURES)
		return -EINVAL;

	if (ser->top_level > PT_MAX_TOP_LEVEL ||
	    ser->max_vasz_lg2 > PT_MAX_VA_ADDRESS_LG2 ||
	    ser->max_oasz_lg2 > pt_max_oa_lg2(&common) ||
	    ser->max_oasz_lg2 < PT_GRANULE_LG2SZ)
		return -EINVAL;

	/* The VA ends within the top table, DYNAMIC_TOP is yet to grow to it */
	if (ser->max_vasz_lg2 < pt_table_item_lg2sz(&pts))
		return -EINVAL;
	if (ser->top_level != PT_MAX_TOP_LEVEL &&
	    !pt_feature(&common, PT_FEAT_DYNAMIC_TOP) &&
	    ser->max_vasz_lg2 >
		    pt_num_items_lg2(&pts) + pt_table_item_lg2sz(&pts))
		return -EINVAL;

	if (!ser->top_pa || ser->top_pa & ~(u64)PT_TOP_PHYS_MASK ||
	    ser->top_pa != (phys_addr_t)ser->top_pa || !ser->nr_tables)
		return -EINVAL;
	return 0;
}

struct pt_iommu_restore_args {
	struct device *incoherent_dev;
	/* Tables KHO gave out, and how many there may be */
	u64 nr_tables;
	u64 max_tables;
};

static struct pt_table_p *restore_table(struct pt_iommu_restore_args *restore,
					phys_addr_t pa, unsigned int lg2sz)
{
	struct pt_table_p *table;

	if (restore->nr_tables == restore->max_tables)
		return NULL;

	table = iommu_restore_pages(pa, log2_to_int(lg2sz),
				    restore->incoherent_dev);
	if (table)
		restore->nr_tables++;
	return table;
}

/* Claim all tables below this one, which was claimed by the caller */
static int __restore_tables(struct pt_range *range, void *arg,
			    unsigned int level, struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct pt_iommu_restore_args *restore = arg;
	struct pt_state child_pts;
	int ret;

	if (!pt_can_have_table(&pts))
		return 0;

	child_pts = pt_init(range, level - 1, NULL);
	for_each_pt_level_entry(&pts) {
		if (pts.type != PT_ENTRY_TABLE)
			continue;

		/* Until then table_lower is only a number */
		if (!restore_table(restore, pt_table_pa(&pts),
				   pt_num_items_lg2(&child_pts) +
					   ilog2(PT_ITEM_WORD_SIZE)))
			return -EINVAL;

		ret = pt_descend(&pts, arg, __restore_tables);
		if (ret)
			return ret;
	}
	cond_resched();
	return 0;
}

#define pt_iommu_restore CONCATENATE(CONCATENATE(pt_iommu_, PTPFX), restore)

int pt_iommu_restore(struct pt_iommu_table *fmt_table,
		     const struct iommu_pt_ser *ser);

/**
 * pt_iommu_restore() - Take over a page table from the previous kernel
 * @fmt_table: Table to initialize
 * @ser: What pt_iommu_ops->preserve() wrote down
 *
 * The counterpart of pt_iommu_init() with which it shares what the caller has
 * to set in struct pt_iommu beforehand (iommu_device, driver_ops, nid).
 * Afterwards all ops work as on a table this kernel built. Geometry and
 * pgsize_bitmap of the domain are those the format permits at the given widths;
 * a driver that had restricted them has to do so again. Whether the hardware
 * can use (and does use) such a table is for the driver to check.
 *
 * If @ser is not usable nothing was touched. If the tree is not what @ser says
 * the pages claimed so far are leaked, as hardware may still be walking them.
 * In both cases ops stays NULL, so that pt_iommu_deinit() does nothing.
 *
 * Context: May sleep.
 *
 * Return: 0, -EOPNOTSUPP if the format takes no part in live update, -EINVAL if
 * @ser or the tree is not usable, or an error pt_iommu_init() returns.
 */
int pt_iommu_restore(struct pt_iommu_table *fmt_table,
		     const struct iommu_pt_ser *ser)
{
	struct pt_iommu *iommu_table = &fmt_table->iommu;
	struct pt_common *common = common_from_iommu(iommu_table);
	struct pt_iommu_restore_args restore = {};
	struct pt_table_p *table_mem;
	struct pt_range range;
	int ret;

	pt_iommu_zero(fmt_table);
	ret = NS(check_ser)(ser);
	if (ret)
		return ret;

	common->features = ser->features;
	common->max_vasz_lg2 = ser->max_vasz_lg2;
	common->max_oasz_lg2 = ser->max_oasz_lg2;
	pt_top_set_level(common, ser->top_level);
	ret = pt_iommu_init_table(iommu_table);
	if (ret)
		return ret;

	restore.max_tables = ser->nr_tables;
	if (pt_feature(common, PT_FEAT_DMA_INCOHERENT))
		restore.incoherent_dev = iommu_table->iommu_device;
	table_mem = restore_table(&restore, ser->top_pa,
				  pt_top_memsize_lg2(common,
						     common->top_of_table));
	if (!table_mem) {
		ret = -EINVAL;
		goto err_leak;
	}
	pt_top_set(common, table_mem, ser->top_level);

	range = pt_all_range(common);
	ret = pt_walk_range(&range, __restore_tables, &restore);
	if (!ret && restore.nr_tables != ser->nr_tables)
		ret = -EINVAL;
	if (ret)
		goto err_leak;

	/* Must be last, see pt_iommu_deinit() */
	iommu_table->ops = &NS(ops);
	return 0;

err_leak:
	pr_err("iommu: %s table at %#llx is not as handed over, leaking %llu of %llu pages\n",
	       __stringify(PTPFX_RAW), ser->top_pa, restore.nr_tables, ser->nr_tables);
	pt_top_set_level(common, ser->top_level);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(pt_iommu_restore, "GENERIC_PT_IOMMU");

#endif
