// SPDX-License-Identifier: GPL-2.0-or-later
#include "bulk_api.h"

#define NR_SLOTS	4096
#define SLOT_SIZE	SZ_8K
/* Below it are the ranges of the tests, above it dummy physical memory */
#define FAKE_END	((phys_addr_t)(NR_SLOTS + 1) * SLOT_SIZE)

static struct memblock_region *orig_regions;

/* ASSERT_EQ() evaluates its arguments twice */
static void expect(int expected, int err)
{
	ASSERT_EQ(expected, err);
}

static void bulk_setup(phys_addr_t memory)
{
	reset_memblock_regions();
	orig_regions = memblock.reserved.regions;
	memblock_allow_resize();
	dummy_physical_memory_init();
	ASSERT_LE(FAKE_END, dummy_physical_memory_base());
	memblock_add(dummy_physical_memory_base(), memory);
}

static void bulk_cleanup(void)
{
	dummy_physical_memory_cleanup();
	/* The array was in there */
	memblock.reserved.regions = orig_regions;
	memblock.reserved.max = INIT_MEMBLOCK_RESERVED_REGIONS;
	memblock.reserved.cnt = 0;
}

typedef void (*range_fn)(phys_addr_t base, phys_addr_t size, void *data);

/* The ranges of slots with a mark, first those of one size, then the others */
static void walk_runs(const unsigned char *slots, range_fn fn, void *data)
{
	for (int kind = 2; kind > 0; kind--)
		for (int i = 0; i < NR_SLOTS; i++)
			if (slots[i] == kind)
				fn((phys_addr_t)i * SLOT_SIZE,
				   SLOT_SIZE / 2 * kind, data);
}

static void reserve_one(phys_addr_t base, phys_addr_t size, void *data)
{
	expect(0, memblock_reserve(base, size));
	expect(0, memblock_reserved_mark_noinit(base, size));
}

static void reserve_bulk(phys_addr_t base, phys_addr_t size, void *data)
{
	expect(0, memblock_bulk_add(data, base, size));
}

static void reserve_before(const unsigned char *slots)
{
	for (int i = 0; i < NR_SLOTS; i++)
		if (slots[i] == 3)
			memblock_reserve_kern((phys_addr_t)i * SLOT_SIZE,
					      SLOT_SIZE);
}

static int copy_fake_regions(struct memblock_region *copy)
{
	int n = 0;

	for (int i = 0; i < memblock.reserved.cnt; i++)
		if (memblock.reserved.regions[i].base < FAKE_END)
			copy[n++] = memblock.reserved.regions[i];
	return n;
}

/*
 * A test of many ranges in two runs, some of them next to each other and to
 * regions that were reserved before. Expect the regions that adding one range
 * after the other makes.
 */
static int memblock_bulk_same_check(void)
{
	static struct memblock_region one[NR_SLOTS], bulk[NR_SLOTS];
	unsigned char slots[NR_SLOTS] = {};
	struct memblock_bulk state;
	phys_addr_t sum = 0;
	int nr = 0, nr_one;

	PREFIX_PUSH();

	for (int seed = 1; seed <= 20; seed++) {
		srand(seed);
		nr = 0;
		for (int i = 0; i < NR_SLOTS; i++) {
			slots[i] = rand() % 100 < 4 * seed ? 1 + rand() % 3 : 0;
			nr += slots[i] == 1 || slots[i] == 2;
		}

		bulk_setup(PHYS_MEM_SIZE);
		reserve_before(slots);
		walk_runs(slots, reserve_one, NULL);
		nr_one = copy_fake_regions(one);
		bulk_cleanup();

		bulk_setup(PHYS_MEM_SIZE);
		reserve_before(slots);
		expect(0, memblock_bulk_begin(&state, nr,
					      MEMBLOCK_RSRV_NOINIT));
		walk_runs(slots, reserve_bulk, &state);
		memblock_bulk_end(&state);

		expect(nr_one, copy_fake_regions(bulk));
		for (int i = 0; i < nr_one; i++) {
			ASSERT_EQ(one[i].base, bulk[i].base);
			ASSERT_EQ(one[i].size, bulk[i].size);
			ASSERT_EQ(one[i].flags, bulk[i].flags);
		}

		sum = 0;
		for (int i = 0; i < memblock.reserved.cnt; i++)
			sum += memblock.reserved.regions[i].size;
		ASSERT_EQ(sum, memblock.reserved.total_size);
		bulk_cleanup();
	}

	test_pass_pop();

	return 0;
}

/*
 * A test of ranges which cannot be added: one that starts in a reserved region,
 * one that ends in it, one around it, and things that are not ranges. Expect
 * errors, and the others to be added all the same.
 */
static int memblock_bulk_overlap_check(void)
{
	struct memblock_region *rgn;
	struct memblock_bulk state;

	PREFIX_PUSH();

	bulk_setup(PHYS_MEM_SIZE);
	memblock_reserve(SZ_64K, SZ_16K);
	expect(0, memblock_bulk_begin(&state, 2, MEMBLOCK_RSRV_NOINIT));
	expect(0, memblock_bulk_add(&state, SZ_32K, SZ_4K));
	expect(-EEXIST, memblock_bulk_add(&state, SZ_64K - SZ_4K, SZ_8K));
	expect(-EEXIST, memblock_bulk_add(&state, SZ_64K - SZ_4K, SZ_128K));
	expect(-EEXIST, memblock_bulk_add(&state, SZ_64K + SZ_8K, SZ_16K));
	expect(-EINVAL, memblock_bulk_add(&state, SZ_64K + SZ_16K, 0));
	expect(-EINVAL, memblock_bulk_add(&state, PHYS_ADDR_MAX - SZ_4K,
					  SZ_8K));
	expect(0, memblock_bulk_add(&state, SZ_64K + SZ_16K, SZ_4K));
	memblock_bulk_end(&state);

	rgn = memblock.reserved.regions;
	ASSERT_EQ(SZ_32K, rgn[0].base);
	ASSERT_EQ(SZ_4K, rgn[0].size);
	ASSERT_EQ(MEMBLOCK_RSRV_NOINIT, rgn[0].flags);
	ASSERT_EQ(SZ_64K, rgn[1].base);
	ASSERT_EQ(SZ_16K, rgn[1].size);
	ASSERT_EQ(0, rgn[1].flags);
	ASSERT_EQ(SZ_64K + SZ_16K, rgn[2].base);
	ASSERT_EQ(SZ_4K, rgn[2].size);
	ASSERT_EQ(MEMBLOCK_RSRV_NOINIT, rgn[2].flags);
	bulk_cleanup();

	test_pass_pop();

	return 0;
}

/*
 * A test of more ranges than there is memory for. Expect an error before
 * anything has changed.
 */
static int memblock_bulk_no_memory_check(void)
{
	struct memblock_bulk state;

	PREFIX_PUSH();

	bulk_setup(MEM_SIZE);
	memblock_reserve(SZ_64K, SZ_16K);
	expect(-ENOMEM, memblock_bulk_begin(&state, NR_SLOTS, 0));
	ASSERT_EQ(1, memblock.reserved.cnt);
	ASSERT_EQ(SZ_64K, memblock.reserved.regions[0].base);
	ASSERT_EQ(SZ_16K, memblock.reserved.regions[0].size);
	ASSERT_EQ(SZ_16K, memblock.reserved.total_size);
	ASSERT_EQ(orig_regions, memblock.reserved.regions);
	expect(-ENOMEM, memblock_bulk_begin(&state, ~0UL, 0));
	bulk_cleanup();

	test_pass_pop();

	return 0;
}

/*
 * A test of more ranges than were announced. Expect an error rather than that
 * regions are overwritten which wait to be merged.
 */
static int memblock_bulk_too_many_check(void)
{
	struct memblock_bulk state;
	phys_addr_t base = 0;
	int err = 0;

	PREFIX_PUSH();

	bulk_setup(PHYS_MEM_SIZE);
	memblock_reserve(FAKE_END - SZ_4K, SZ_4K);
	expect(0, memblock_bulk_begin(&state, 1, 0));
	for (int i = 0; i < NR_SLOTS && !err; i++, base += SLOT_SIZE)
		err = memblock_bulk_add(&state, base, SZ_4K);
	ASSERT_EQ(-ENOSPC, err);
	memblock_bulk_end(&state);
	ASSERT_LE(memblock.reserved.cnt, memblock.reserved.max);
	ASSERT_TRUE(memblock_is_region_reserved(FAKE_END - SZ_4K, SZ_4K));
	bulk_cleanup();

	test_pass_pop();

	return 0;
}

int memblock_bulk_checks(void)
{
	prefix_reset();
	prefix_push("memblock_bulk");
	test_print("Running memblock_bulk tests...\n");

	memblock_bulk_same_check();
	memblock_bulk_overlap_check();
	memblock_bulk_no_memory_check();
	memblock_bulk_too_many_check();

	prefix_pop();

	return 0;
}
