/* SPDX-License-Identifier: GPL-2.0-only */
/* KUnit for iommu_pt_liveupdate.h, with a KHO that needs no kexec */
#include <linux/kho/abi/iommu_pt.h>
#include <linux/prandom.h>

#include "kunit_fake_kho.h"

#ifndef pt_iommu_ser_fmt
#define pt_iommu_ser_fmt 0
#endif

#define pt_iommu_restore CONCATENATE(CONCATENATE(pt_iommu_, PTPFX), restore)
int pt_iommu_restore(struct pt_iommu_table *fmt_table,
		     const struct iommu_pt_ser *ser);

static int __count_tables(struct pt_range *range, void *arg, unsigned int level,
			  struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	unsigned int *count = arg;

	for_each_pt_level_entry(&pts) {
		if (pts.type == PT_ENTRY_TABLE) {
			(*count)++;
			pt_descend(&pts, arg, __count_tables);
		}
	}
	return 0;
}

/*
 * Iterate over the leaves of map_all_sizes(), from pgsz_lg2 = 0. There is a hole
 * in front of each.
 */
static bool next_size(struct kunit_iommu_priv *priv, unsigned int *pgsz_lg2,
		      pt_vaddr_t *va)
{
	if (!*pgsz_lg2)
		*va = pt_top_range(priv->common).va + priv->smallest_pgsz * 256;
	else
		*va += log2_to_int(*pgsz_lg2);

	while (++*pgsz_lg2 != PT_VADDR_MAX_LG2) {
		pt_vaddr_t len = log2_to_int(*pgsz_lg2);

		if (!(priv->safe_pgsize_bitmap & len))
			continue;
		*va = ALIGN(*va + priv->smallest_pgsz, len);
		return true;
	}
	return false;
}

static pt_oaddr_t size_oa(struct kunit_iommu_priv *priv, unsigned int pgsz_lg2)
{
	return log2_set_mod(priv->test_oa, 0, pgsz_lg2);
}

/* One leaf of each size, and a table that is empty */
static void map_all_sizes(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct pt_range range = pt_top_range(priv->common);
	unsigned int pgsz_lg2 = 0;
	pt_vaddr_t va;

	do_map(test, range.va, 0, priv->smallest_pgsz);
	do_unmap(test, range.va, priv->smallest_pgsz);

	while (next_size(priv, &pgsz_lg2, &va)) {
		do_map(test, va, size_oa(priv, pgsz_lg2),
		       log2_to_int(pgsz_lg2));
	}
}

static int check_within(struct kunit *test, pt_vaddr_t va, pt_oaddr_t oa,
			pt_vaddr_t len, pt_vaddr_t first, pt_vaddr_t last,
			unsigned int prot)
{
	struct kunit_iommu_priv *priv = test->priv;

	return priv->iommu->ops->check_range(priv->iommu, va, oa, len, prot,
					     first, last);
}

static int check(struct kunit *test, pt_vaddr_t va, pt_oaddr_t oa,
		 pt_vaddr_t len, unsigned int prot)
{
	return check_within(test, va, oa, len, 0, PT_VADDR_MAX, prot);
}

#define KUNIT_RW (IOMMU_READ | IOMMU_WRITE)

static void test_check_range_sizes(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	pt_vaddr_t pgsz = priv->smallest_pgsz;
	unsigned int pgsz_lg2 = 0;
	pt_vaddr_t va;

	map_all_sizes(test);
	while (next_size(priv, &pgsz_lg2, &va)) {
		pt_oaddr_t oa = size_oa(priv, pgsz_lg2);
		pt_vaddr_t len = log2_to_int(pgsz_lg2);

		KUNIT_ASSERT_EQ(test, check(test, va, oa, len, KUNIT_RW), 0);

		/* Other address, other permission */
		KUNIT_ASSERT_EQ(test,
				check(test, va, oa ^ pgsz, len, KUNIT_RW),
				-EINVAL);
		KUNIT_ASSERT_EQ(test, check(test, va, oa, len, IOMMU_READ),
				-EINVAL);

		/* Holes before and behind */
		KUNIT_ASSERT_EQ(test,
				check(test, va - pgsz, oa - pgsz, len + pgsz,
				      KUNIT_RW),
				-EINVAL);
		KUNIT_ASSERT_EQ(test,
				check(test, va, oa, len + pgsz, KUNIT_RW),
				-EINVAL);

		if (len > pgsz) {
			/* Part of a leaf: start, end */
			KUNIT_ASSERT_EQ(test,
					check(test, va, oa, pgsz, KUNIT_RW), 0);
			KUNIT_ASSERT_EQ(test,
					check(test, va + len - pgsz,
					      oa + len - pgsz, pgsz, KUNIT_RW),
					0);
			KUNIT_ASSERT_EQ(test,
					check(test, va + len - pgsz, oa, pgsz,
					      KUNIT_RW),
					-EINVAL);

			/* A mapping that is the leaf; that begins, ends in it */
			KUNIT_ASSERT_EQ(test,
					check_within(test, va, oa, pgsz, va,
						     va + len - 1, KUNIT_RW),
					0);
			KUNIT_ASSERT_EQ(test,
					check_within(test, va + len - pgsz,
						     oa + len - pgsz, pgsz,
						     va + pgsz, va + len - 1,
						     KUNIT_RW),
					-EINVAL);
			KUNIT_ASSERT_EQ(test,
					check_within(test, va, oa, pgsz, va,
						     va + len - pgsz - 1,
						     KUNIT_RW),
					-EINVAL);
		}
	}
}

static void test_check_range(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct pt_range range = pt_top_range(priv->common);
	pt_vaddr_t pgsz = priv->smallest_pgsz;
	pt_vaddr_t va = range.va + pgsz * 256;
	pt_oaddr_t oa = pgsz * 512;
	unsigned int i;
	int ret;

	/* Four leaves in a row, the last one elsewhere */
	for (i = 0; i != 3; i++)
		do_map(test, va + pgsz * i, oa + pgsz * i, pgsz);
	do_map(test, va + pgsz * 3, oa + pgsz * 16, pgsz);
	KUNIT_ASSERT_EQ(test, check(test, va, oa, pgsz * 3, KUNIT_RW), 0);
	KUNIT_ASSERT_EQ(test, check(test, va, oa, pgsz * 4, KUNIT_RW), -EINVAL);
	KUNIT_ASSERT_EQ(test,
			check(test, va + pgsz, oa + pgsz, pgsz * 2, KUNIT_RW),
			0);
	KUNIT_ASSERT_EQ(test,
			check(test, va + pgsz, oa, pgsz * 2, KUNIT_RW),
			-EINVAL);

	/* A hole in the middle */
	do_unmap(test, va + pgsz, pgsz);
	KUNIT_ASSERT_EQ(test, check(test, va, oa, pgsz * 3, KUNIT_RW), -EINVAL);
	KUNIT_ASSERT_EQ(test, check(test, va, oa, pgsz, KUNIT_RW), 0);
	KUNIT_ASSERT_EQ(test,
			check(test, va + pgsz * 2, oa + pgsz * 2, pgsz,
			      KUNIT_RW),
			0);

	/* Not a range, not a permission */
	KUNIT_ASSERT_EQ(test, check(test, va, oa, 0, KUNIT_RW), -EINVAL);
	if (priv->common->max_vasz_lg2 < PT_VADDR_MAX_LG2 && !IS_32BIT)
		KUNIT_ASSERT_EQ(test,
				check(test, range.last_va + 1, oa, pgsz,
				      KUNIT_RW),
				-EINVAL);

	/* A read-only leaf */
	ret = iommu_map(&priv->domain, va + pgsz * 8, oa, pgsz, IOMMU_READ,
			GFP_KERNEL);
	if (ret)
		return;
	KUNIT_ASSERT_EQ(test,
			check(test, va + pgsz * 8, oa, pgsz, IOMMU_READ), 0);
	KUNIT_ASSERT_EQ(test, check(test, va + pgsz * 8, oa, pgsz, KUNIT_RW),
			-EINVAL);
}

static void do_preserve(struct kunit *test, struct iommu_pt_ser *ser)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct pt_iommu_table *other;
	int ret;

	fake_kho_init(test);
	memset(ser, 0xff, sizeof(*ser));
	ret = priv->iommu->ops->preserve(priv->iommu, ser);
	if (!pt_iommu_ser_fmt) {
		KUNIT_ASSERT_EQ(test, ret, -EOPNOTSUPP);
		KUNIT_ASSERT_EQ(test, NS(fake_kho).calls, 0);
		other = kunit_kzalloc(test, sizeof(*other), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, other);
		KUNIT_ASSERT_EQ(test, pt_iommu_restore(other, ser), -EOPNOTSUPP);
		KUNIT_ASSERT_NULL(test, other->iommu.ops);
		kunit_skip(test, "Format takes no part in live update");
	}
	KUNIT_ASSERT_NO_ERRNO(test, ret);
}

static void test_preserve(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct iommu_pt_ser ser;
	struct pt_range range;
	unsigned int nr_tables = 1;
	unsigned int i;

	map_all_sizes(test);
	do_preserve(test, &ser);

	range = pt_all_range(priv->common);
	pt_walk_range(&range, __count_tables, &nr_tables);
	KUNIT_ASSERT_GT(test, nr_tables, 2);

	range = pt_top_range(priv->common);
	KUNIT_ASSERT_EQ(test, ser.top_pa, virt_to_phys(range.top_table));
	KUNIT_ASSERT_EQ(test, ser.nr_tables, nr_tables);
	KUNIT_ASSERT_EQ(test, NS(fake_kho).nr_pages, nr_tables);
	KUNIT_ASSERT_EQ(test, ser.format, pt_iommu_ser_fmt);
	KUNIT_ASSERT_EQ(test, ser.features, priv->common->features);
	KUNIT_ASSERT_EQ(test, ser.top_level, range.top_level);
	KUNIT_ASSERT_EQ(test, ser.max_vasz_lg2, priv->common->max_vasz_lg2);
	KUNIT_ASSERT_EQ(test, ser.max_oasz_lg2, priv->common->max_oasz_lg2);
	KUNIT_ASSERT_NULL(test,
			  memchr_inv(ser.reserved, 0, sizeof(ser.reserved)));

	priv->iommu->ops->unpreserve(priv->iommu);
	KUNIT_ASSERT_EQ(test, NS(fake_kho).nr_pages, 0);

	/* Wherever it fails nothing stays preserved */
	for (i = 1; i <= nr_tables; i++) {
		fake_kho_reset(i);
		KUNIT_ASSERT_EQ(test,
				priv->iommu->ops->preserve(priv->iommu, &ser),
				-ENOMEM);
		KUNIT_ASSERT_EQ(test, NS(fake_kho).calls, i);
		KUNIT_ASSERT_EQ(test, NS(fake_kho).nr_pages, 0);
	}
	xa_destroy(&NS(fake_kho).pages);
}

/* Forget the table as a kexec does and restore it from ser */
static int do_restore(struct kunit *test, const struct iommu_pt_ser *ser)
{
	struct kunit_iommu_priv *priv = test->priv;

	memset(&priv->fmt_table, 0xff, sizeof(priv->fmt_table));
	memset(&priv->domain, 0, sizeof(priv->domain));
	priv->fmt_table.iommu.nid = NUMA_NO_NODE;
	priv->fmt_table.iommu.driver_ops = &pt_kunit_driver_ops;
	priv->fmt_table.iommu.iommu_device = priv->dummy_dev;
	priv->domain.ops = &kunit_pt_ops;
	return pt_iommu_restore(&priv->fmt_table, ser);
}

static void refuse(struct kunit *test, const struct iommu_pt_ser *ser,
		   const char *what)
{
	struct kunit_iommu_priv *priv = test->priv;

	KUNIT_EXPECT_EQ_MSG(test, do_restore(test, ser), -EINVAL, "%s", what);
	KUNIT_EXPECT_NULL_MSG(test, priv->iommu->ops, "%s", what);
}

static void test_restore(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct pt_range range;
	struct pt_common old_common;
	struct iommu_domain old;
	struct iommu_pt_ser ser;
	unsigned int pgsz_lg2 = 0;
	pt_vaddr_t va;

	map_all_sizes(test);
	do_preserve(test, &ser);
	old = priv->domain;
	old_common = *priv->common;

	fake_kho_reset(0);
	KUNIT_ASSERT_NO_ERRNO(test, do_restore(test, &ser));
	KUNIT_ASSERT_EQ(test, fake_kho_reset(0), ser.nr_tables);
	xa_destroy(&NS(fake_kho).pages);

	KUNIT_ASSERT_EQ(test, priv->common->top_of_table,
			old_common.top_of_table);
	KUNIT_ASSERT_EQ(test, priv->common->features, old_common.features);
	KUNIT_ASSERT_EQ(test, priv->common->max_vasz_lg2,
			old_common.max_vasz_lg2);
	KUNIT_ASSERT_EQ(test, priv->common->max_oasz_lg2,
			old_common.max_oasz_lg2);
	KUNIT_ASSERT_EQ(test, priv->domain.type, old.type);
	KUNIT_ASSERT_TRUE(test, priv->domain.is_iommupt);
	KUNIT_ASSERT_EQ(test, priv->domain.pgsize_bitmap, old.pgsize_bitmap);
	KUNIT_ASSERT_EQ(test, priv->domain.geometry.aperture_start,
			old.geometry.aperture_start);
	KUNIT_ASSERT_EQ(test, priv->domain.geometry.aperture_end,
			old.geometry.aperture_end);

	range = pt_top_range(priv->common);
	KUNIT_ASSERT_EQ(test,
			folio_ioptdesc(virt_to_folio(range.top_table))
				->incoherent,
			pt_feature(priv->common, PT_FEAT_DMA_INCOHERENT));

	/* What was mapped is mapped, and can be unmapped and mapped again */
	while (next_size(priv, &pgsz_lg2, &va)) {
		pt_oaddr_t oa = size_oa(priv, pgsz_lg2);
		pt_vaddr_t len = log2_to_int(pgsz_lg2);

		KUNIT_ASSERT_EQ(test, check(test, va, oa, len, KUNIT_RW), 0);
		do_unmap(test, va, len);
		KUNIT_ASSERT_EQ(test,
				check(test, va, oa, priv->smallest_pgsz,
				      KUNIT_RW),
				-EINVAL);
		do_map(test, va, oa, len);
	}

	/* The table that was empty takes a mapping; exit frees everything */
	do_map(test, range.va, priv->smallest_pgsz, priv->smallest_pgsz);
	check_iova(test, range.va, priv->smallest_pgsz, priv->smallest_pgsz);
}

/* Fields that cannot be right are refused before a page is touched */
static void test_restore_fields(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct iommu_pt_ser ser;
	struct iommu_pt_ser bad;

	map_all_sizes(test);
	do_preserve(test, &ser);
	fake_kho_reset(0);

#define REFUSE(field, val)                                     \
	do {                                                   \
		bad = ser;                                     \
		bad.field = val;                               \
		refuse(test, &bad, #field " = " #val);         \
		KUNIT_EXPECT_EQ(test, NS(fake_kho).calls, 0);       \
	} while (0)

	REFUSE(format, 0);
	REFUSE(format, ser.format + 1);
	REFUSE(format, U32_MAX);
	REFUSE(reserved[0], 1);
	REFUSE(reserved[4], 0x80);
	if (~(unsigned int)PT_SUPPORTED_FEATURES)
		REFUSE(features,
		       ser.features | ~(unsigned int)PT_SUPPORTED_FEATURES);
	REFUSE(top_level, PT_MAX_TOP_LEVEL + 1);
	REFUSE(top_level, U8_MAX);
	REFUSE(max_vasz_lg2, 0);
	REFUSE(max_vasz_lg2, PT_GRANULE_LG2SZ);
	REFUSE(max_vasz_lg2, PT_MAX_VA_ADDRESS_LG2 + 1);
	REFUSE(max_vasz_lg2, U8_MAX);
	REFUSE(max_oasz_lg2, 0);
	REFUSE(max_oasz_lg2, PT_GRANULE_LG2SZ - 1);
	REFUSE(max_oasz_lg2, pt_max_oa_lg2(NULL) + 1);
	REFUSE(top_pa, 0);
	REFUSE(top_pa, ser.top_pa + 8);
	REFUSE(top_pa, ser.top_pa + SZ_2K);
	REFUSE(nr_tables, 0);
	/* More VA than the top table has entries for */
	if (ser.top_level != PT_MAX_TOP_LEVEL &&
	    !(ser.features & BIT(PT_FEAT_DYNAMIC_TOP)))
		REFUSE(max_vasz_lg2, PT_MAX_VA_ADDRESS_LG2);
#undef REFUSE

	/* It was not refused for another reason */
	KUNIT_ASSERT_NO_ERRNO(test, do_restore(test, &ser));
	KUNIT_ASSERT_NOT_NULL(test, priv->iommu->ops);
	xa_destroy(&NS(fake_kho).pages);
}

/* Where the tree is not what ser says nothing is freed and nothing usable */
#define KUNIT_MUTATIONS 100000

/*
 * Random changes of all that is judged before a page is touched, where to start and
 * how many there are apart. What passes restores this table, all of it.
 */
static void test_restore_mutations(struct kunit *test)
{
	const size_t at = offsetof(struct iommu_pt_ser, format);
	unsigned int i, n, refused = 0, restored = 0;
	struct kunit_iommu_priv *priv = test->priv;
	struct iommu_pt_ser ser, bad;
	struct rnd_state rnd;

	map_all_sizes(test);
	do_preserve(test, &ser);
	prandom_seed_state(&rnd, 0x97);
	for (i = 0; i < KUNIT_MUTATIONS; i++) {
		bad = ser;
		for (n = 1 + prandom_u32_state(&rnd) % 4; n; n--)
			((u8 *)&bad)[at + prandom_u32_state(&rnd) % (sizeof(bad) - at)] ^=
				BIT(prandom_u32_state(&rnd) % 8);
		if (do_restore(test, &bad)) {
			KUNIT_ASSERT_NULL(test, priv->iommu->ops);
			refused++;
		} else {
			KUNIT_ASSERT_NOT_NULL(test, priv->iommu->ops);
			KUNIT_ASSERT_EQ(test, bad.format, ser.format);
			KUNIT_ASSERT_EQ(test, fake_kho_reset(0), ser.nr_tables);
			restored++;
		}
		if (NS(fake_kho).calls)
			fake_kho_reset(0);
	}
	KUNIT_EXPECT_GT(test, refused, KUNIT_MUTATIONS / 2);
	kunit_info(test, "%u refused, %u restored\n", refused, restored);

	/* Exit frees everything */
	KUNIT_ASSERT_NO_ERRNO(test, do_restore(test, &ser));
	xa_destroy(&NS(fake_kho).pages);
}

static void test_restore_tree(struct kunit *test)
{
	struct kunit_iommu_priv *priv = test->priv;
	struct pt_write_attrs attrs = {};
	struct iommu_pt_ser ser;
	struct iommu_pt_ser bad;
	struct pt_range range;
	struct pt_state pts;
	phys_addr_t stray_pa;
	void *stray;
	u64 i;

	map_all_sizes(test);
	do_preserve(test, &ser);

	/* KHO does not know one of the pages */
	for (i = 1; i <= ser.nr_tables; i++) {
		fake_kho_reset(i);
		refuse(test, &ser, "page not preserved");
		KUNIT_ASSERT_EQ(test, NS(fake_kho).calls, i);
	}
	fake_kho_reset(0);
	bad = ser;
	bad.top_pa += PAGE_SIZE << 4;
	if (!xa_load(&NS(fake_kho).pages, bad.top_pa >> PAGE_SHIFT))
		refuse(test, &bad, "top not preserved");

	/* Pages too many, pages missing */
	fake_kho_reset(0);
	bad = ser;
	bad.nr_tables--;
	refuse(test, &bad, "too many tables");
	KUNIT_ASSERT_EQ(test, NS(fake_kho).calls, bad.nr_tables);
	fake_kho_reset(0);
	bad.nr_tables = ser.nr_tables + 1;
	refuse(test, &bad, "too few tables");

	/* Take it over to get at its entries */
	fake_kho_reset(0);
	KUNIT_ASSERT_NO_ERRNO(test, do_restore(test, &ser));
	stray = iommu_alloc_pages_sz(GFP_KERNEL, SZ_4K);
	KUNIT_ASSERT_NOT_NULL(test, stray);
	stray_pa = virt_to_phys(stray);

	range = pt_all_range(priv->common);
	pts = pt_init_top(&range);
	KUNIT_ASSERT_NO_ERRNO(test,
			      pt_iommu_set_prot(priv->common, &attrs, KUNIT_RW));
	for_each_pt_level_entry(&pts)
		if (pts.type == PT_ENTRY_EMPTY)
			break;
	if (pts.index >= pts.end_index) {
		iommu_free_pages(stray);
		xa_destroy(&NS(fake_kho).pages);
		kunit_skip(test, "Top table is full");
	}

	/* An entry leads to memory that was not handed over */
	bad = ser;
	bad.nr_tables = U64_MAX;
	pt_install_table(&pts, stray_pa, &attrs);
	fake_kho_reset(0);
	refuse(test, &bad, "stray table");

	/* An entry leads to where the walk has been: it ends all the same */
	pt_clear_entries(&pts, ilog2(1));
	pt_load_entry(&pts);
	pt_install_table(&pts, ser.top_pa, &attrs);
	fake_kho_reset(0);
	refuse(test, &bad, "loop");
	KUNIT_ASSERT_LE(test, NS(fake_kho).calls, ser.nr_tables + 1);

	pt_clear_entries(&pts, ilog2(1));
	fake_kho_reset(0);
	KUNIT_ASSERT_NO_ERRNO(test, do_restore(test, &ser));
	iommu_free_pages(stray);
	xa_destroy(&NS(fake_kho).pages);
}

static struct kunit_case iommu_liveupdate_test_cases[] = {
	KUNIT_CASE_FMT(test_check_range_sizes),
	KUNIT_CASE_FMT(test_check_range),
	KUNIT_CASE_FMT(test_preserve),
	KUNIT_CASE_FMT(test_restore),
	KUNIT_CASE_FMT(test_restore_fields),
	KUNIT_CASE_FMT(test_restore_mutations),
	KUNIT_CASE_FMT(test_restore_tree),
	{},
};

static struct kunit_suite NS(iommu_liveupdate_suite) = {
	.name = __stringify(NS(iommu_liveupdate_test)),
	.init = pt_kunit_iommu_init,
	.exit = pt_kunit_iommu_exit,
	.test_cases = iommu_liveupdate_test_cases,
};

kunit_test_suites(&NS(iommu_liveupdate_suite));

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
