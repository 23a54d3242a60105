// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the iommufd hand-over: what a kernel writes passes, each rule
 * of the layout is enforced on its own, and what passes after random mutations
 * is safe to use.
 */
#include <kunit/test.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "liveupdate.h"

#define MUTATIONS	100000

/* Two IOASes with two HWPTs in the first, two files, a pages shared by areas */
struct handover {
	struct iommufd_liveupdate_in in;
	struct iommufd_liveupdate_in_hwpt hwpt[3];
	struct iommufd_liveupdate_ioas_ser ioas[2];
	struct iommufd_liveupdate_allowed_ser allowed[1];
	struct iommufd_liveupdate_file_ser file[2];
	struct iommufd_liveupdate_in_pages pages[2];
	struct iommufd_liveupdate_area_ser area[4];
};

static const struct handover good = {
	.hwpt = {
		{ .token = 0, .key = 1, .ioas = 0 },
		{ .token = U64_MAX, .key = 2, .ioas = 0,
		  .flags = IOMMUFD_LIVEUPDATE_HWPT_ENFORCE_CC },
		{ .token = 7, .key = 9, .ioas = 1 },
	},
	.ioas = { { .nr_areas = 3 }, { .nr_areas = 1 } },
	.allowed = { { .ioas = 1, .start = SZ_1M, .last = SZ_1G - 1 } },
	.file = {
		{ .token = 1, .size = SZ_16M },
		/* The last page is only partly in the file */
		{ .token = 2, .size = SZ_64K - 5 },
	},
	.pages = {
		{ .file = 0, .writable = true, .start = SZ_1M,
		  .length = SZ_8M },
		{ .file = 1, .start = 0, .length = SZ_64K },
	},
	.area = {
		{ .ioas = 0, .pages = 0, .iova = SZ_1G, .length = SZ_4M,
		  .prot = IOMMUFD_LIVEUPDATE_AREA_PROT },
		{ .ioas = 0, .pages = 0, .iova = SZ_1G + SZ_4M,
		  .length = SZ_4M, .offset = SZ_4M,
		  .prot = IOMMUFD_LIVEUPDATE_AREA_WRITE },
		{ .ioas = 0, .pages = 1, .iova = SZ_2G, .length = SZ_64K,
		  .prot = IOMMUFD_LIVEUPDATE_AREA_READ },
		{ .ioas = 1, .pages = 0, .iova = SZ_2M, .length = SZ_8M,
		  .prot = IOMMUFD_LIVEUPDATE_AREA_READ },
	},
};

static void handover_init(struct handover *h)
{
	*h = good;
	h->in.nr_hwpts = ARRAY_SIZE(h->hwpt);
	h->in.hwpt = h->hwpt;
	h->in.nr_ioases = ARRAY_SIZE(h->ioas);
	h->in.ioas = h->ioas;
	h->in.nr_allowed = ARRAY_SIZE(h->allowed);
	h->in.allowed = h->allowed;
	h->in.nr_files = ARRAY_SIZE(h->file);
	h->in.file_ser = h->file;
	h->in.nr_pages = ARRAY_SIZE(h->pages);
	h->in.pages = h->pages;
	h->in.nr_areas = ARRAY_SIZE(h->area);
	h->in.area = h->area;
}

static struct handover *handover_alloc(struct kunit *test)
{
	struct handover *h = kunit_kzalloc(test, sizeof(*h), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, h);
	handover_init(h);
	return h;
}

static void test_good(struct kunit *test)
{
	struct handover *h = handover_alloc(test);

	KUNIT_EXPECT_EQ(test, iommufd_liveupdate_validate(&h->in), 0);

	/* An IOAS without mappings */
	h->in.nr_areas = 3;
	h->ioas[1].nr_areas = 0;
	KUNIT_EXPECT_EQ(test, iommufd_liveupdate_validate(&h->in), 0);
}

static void test_top(struct kunit *test)
{
	struct iommufd_liveupdate_ser ser = {
		.version = IOMMUFD_LIVEUPDATE_ABI_VERSION,
		.flags = IOMMUFD_LIVEUPDATE_FLAGS,
		.hwpts = { .nr = 1, .head = SZ_1M },
		.ioases = { .nr = 1, .head = SZ_2M },
	};

	KUNIT_EXPECT_TRUE(test, iommufd_liveupdate_top_valid(&ser));
	ser.flags++;
	KUNIT_EXPECT_FALSE(test, iommufd_liveupdate_top_valid(&ser));
	ser.flags = 0;
	ser.hwpts.nr = 0;
	KUNIT_EXPECT_FALSE(test, iommufd_liveupdate_top_valid(&ser));
	ser.hwpts.nr = 1;
	ser.ioases.nr = 0;
	KUNIT_EXPECT_FALSE(test, iommufd_liveupdate_top_valid(&ser));
}

/* One field set to something wrong, all else as it should be */
#define EXPECT_REFUSED(test, h, field, value)				\
	do {								\
		struct handover *_h = (h);				\
									\
		handover_init(_h);					\
		(field) = (value);					\
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,			\
				    iommufd_liveupdate_validate(&_h->in), \
				    #field " = " #value);		\
	} while (0)

static void test_hwpt(struct kunit *test)
{
	struct handover *h = handover_alloc(test);

	EXPECT_REFUSED(test, h, h->hwpt[0].key, 0);
	EXPECT_REFUSED(test, h, h->hwpt[2].key, 1);
	EXPECT_REFUSED(test, h, h->hwpt[2].token, 0);
	EXPECT_REFUSED(test, h, h->hwpt[1].ioas, 2);
	EXPECT_REFUSED(test, h, h->hwpt[1].flags, IOMMUFD_LIVEUPDATE_HWPT_FLAGS + 1);
	/* What would take for ever to look at is not looked at */
	EXPECT_REFUSED(test, h, h->in.nr_hwpts, IOMMUFD_LIVEUPDATE_MAX_HWPTS + 1);
	EXPECT_REFUSED(test, h, h->in.nr_ioases, ARRAY_SIZE(h->hwpt) + 1);
}

static void test_ioas(struct kunit *test)
{
	struct handover *h = handover_alloc(test);

	EXPECT_REFUSED(test, h, h->ioas[0].nr_areas, 2);
	EXPECT_REFUSED(test, h, h->ioas[1].nr_areas, BIT_ULL(32) + 1);
	EXPECT_REFUSED(test, h, h->ioas[1].reserved, 1);
	EXPECT_REFUSED(test, h, h->allowed[0].ioas, 2);
	EXPECT_REFUSED(test, h, h->allowed[0].reserved, 1);
	EXPECT_REFUSED(test, h, h->allowed[0].last, SZ_1M);
}

static void test_pages(struct kunit *test)
{
	struct handover *h = handover_alloc(test);

	EXPECT_REFUSED(test, h, h->file[1].size, (u64)MAX_LFS_FILESIZE + 1);
	EXPECT_REFUSED(test, h, h->pages[0].file, 2);
	EXPECT_REFUSED(test, h, h->pages[0].length, 0);
	EXPECT_REFUSED(test, h, h->pages[0].start, SZ_1M + 1);
	EXPECT_REFUSED(test, h, h->pages[0].length, SZ_8M + 512);
	EXPECT_REFUSED(test, h, h->pages[1].start, -(u64)SZ_64K);
	EXPECT_REFUSED(test, h, h->pages[1].start, -(u64)SZ_32K);
}

static void test_area(struct kunit *test)
{
	struct handover *h = handover_alloc(test);

	EXPECT_REFUSED(test, h, h->area[3].ioas, 2);
	EXPECT_REFUSED(test, h, h->area[0].pages, 2);
	EXPECT_REFUSED(test, h, h->area[0].reserved, 1);
	EXPECT_REFUSED(test, h, h->area[0].prot, 0);
	EXPECT_REFUSED(test, h, h->area[0].prot, IOMMUFD_LIVEUPDATE_AREA_PROT + 1);
	/* Its pages are read only */
	EXPECT_REFUSED(test, h, h->area[2].prot, IOMMUFD_LIVEUPDATE_AREA_WRITE);
	EXPECT_REFUSED(test, h, h->area[0].length, 0);
	EXPECT_REFUSED(test, h, h->area[0].length, SZ_4M - 1);
	EXPECT_REFUSED(test, h, h->area[0].iova, SZ_1G - 1);
	EXPECT_REFUSED(test, h, h->area[0].offset, 1);
	/* Beyond the pages, and wrapping around to within them */
	EXPECT_REFUSED(test, h, h->area[1].offset, SZ_4M + PAGE_SIZE);
	EXPECT_REFUSED(test, h, h->area[1].offset, -(u64)SZ_2M);
	/* Beyond the last IOVA */
	EXPECT_REFUSED(test, h, h->area[3].iova, -(u64)SZ_4M);
	/* Overlapping, or out of order */
	EXPECT_REFUSED(test, h, h->area[1].iova, SZ_1G + SZ_4M - PAGE_SIZE);
	EXPECT_REFUSED(test, h, h->area[2].iova, SZ_1M);
	EXPECT_REFUSED(test, h, h->area[2].ioas, 1);
	/* Pages the file does not have */
	EXPECT_REFUSED(test, h, h->file[0].size, SZ_8M);
	EXPECT_REFUSED(test, h, h->file[1].size, SZ_64K - PAGE_SIZE);
}

/* What another rule would catch, had this not been the only thing wrong */
static void test_hidden(struct kunit *test)
{
	struct handover *h = handover_alloc(test);

	/* Pages without areas */
	h->in.nr_areas = 2;
	h->ioas[0].nr_areas = 2;
	h->ioas[1].nr_areas = 0;
	KUNIT_EXPECT_EQ(test, iommufd_liveupdate_validate(&h->in), 0);
	h->pages[1].length = 0;
	KUNIT_EXPECT_EQ(test, iommufd_liveupdate_validate(&h->in), -EINVAL);
	h->pages[1].length = SZ_64K;
	h->pages[1].start = BIT_ULL(63);
	KUNIT_EXPECT_EQ(test, iommufd_liveupdate_validate(&h->in), -EINVAL);

	/* An area nobody counts */
	handover_init(h);
	h->area[3].ioas = 2;
	h->ioas[1].nr_areas = 0;
	KUNIT_EXPECT_EQ(test, iommufd_liveupdate_validate(&h->in), -EINVAL);

	/* Nothing at 0 does not wrap */
	handover_init(h);
	h->area[3].iova = 0;
	h->area[3].length = 0;
	KUNIT_EXPECT_EQ(test, iommufd_liveupdate_validate(&h->in), -EINVAL);
}

static void mutate(struct rnd_state *rnd, void *buf, size_t len)
{
	u8 *byte = buf;

	for (int n = 1 + prandom_u32_state(rnd) % 4; n; n--)
		byte[prandom_u32_state(rnd) % len] ^=
			BIT(prandom_u32_state(rnd) % 8);
}

/* What restoring relies on, written down a second time and differently */
static bool is_safe(const struct handover *h)
{
	for (int i = 0; i < ARRAY_SIZE(h->hwpt); i++)
		if (h->hwpt[i].ioas > 1 || !h->hwpt[i].key)
			return false;

	for (int i = 0; i < ARRAY_SIZE(h->area); i++) {
		const struct iommufd_liveupdate_area_ser *area = &h->area[i];
		const struct iommufd_liveupdate_in_pages *pages;
		u64 first, last;

		if (area->ioas > 1 || area->pages > 1)
			return false;
		pages = &h->pages[area->pages];
		if (pages->file > 1)
			return false;

		/* In pages, where nothing can wrap any more */
		if (!area->length || (area->iova | area->length | area->offset |
				      pages->start | pages->length) & ~PAGE_MASK)
			return false;
		first = (pages->start >> PAGE_SHIFT) +
			(area->offset >> PAGE_SHIFT);
		last = first + (area->length >> PAGE_SHIFT) - 1;
		if (last >= (pages->start >> PAGE_SHIFT) +
				    (pages->length >> PAGE_SHIFT) ||
		    last >= PAGE_ALIGN(h->file[pages->file].size) >> PAGE_SHIFT)
			return false;
		if ((area->iova >> PAGE_SHIFT) + (area->length >> PAGE_SHIFT) >
		    BIT_ULL(64 - PAGE_SHIFT))
			return false;

		for (int j = 0; j < i; j++)
			if (h->area[j].ioas == area->ioas &&
			    h->area[j].iova <= area->iova + (area->length - 1) &&
			    area->iova <= h->area[j].iova +
						  (h->area[j].length - 1))
				return false;
	}
	return true;
}

static void test_mutations(struct kunit *test)
{
	static const struct {
		const char *name;
		size_t at, len;
	} kinds[] = {
		{ "hwpt", offsetof(struct handover, hwpt), sizeof(good.hwpt) },
		{ "ioas", offsetof(struct handover, ioas), sizeof(good.ioas) },
		{ "allowed", offsetof(struct handover, allowed), sizeof(good.allowed) },
		{ "file", offsetof(struct handover, file), sizeof(good.file) },
		{ "pages", offsetof(struct handover, pages), sizeof(good.pages) },
		{ "area", offsetof(struct handover, area), sizeof(good.area) },
	};
	struct handover *h = handover_alloc(test);
	struct rnd_state rnd;

	KUNIT_ASSERT_TRUE(test, is_safe(h));

	prandom_seed_state(&rnd, 0x10fd);
	for (int kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		unsigned int refused = 0;

		for (int i = 0; i < MUTATIONS; i++) {
			handover_init(h);
			mutate(&rnd, (u8 *)h + kinds[kind].at, kinds[kind].len);
			/* A bool is made from a flag, it has no other bits */
			for (int j = 0; j < ARRAY_SIZE(h->pages); j++)
				h->pages[j].writable = *(u8 *)&h->pages[j].writable & 1;

			if (iommufd_liveupdate_validate(&h->in)) {
				refused++;
				continue;
			}
			if (!is_safe(h)) {
				KUNIT_FAIL(test, "%s: mutation %d passes and is not safe",
					   kinds[kind].name, i);
				return;
			}
		}
		/* Tokens are free, and who is to say that a file is not longer? */
		KUNIT_EXPECT_GT_MSG(test, refused, MUTATIONS / 32, "%s", kinds[kind].name);
		KUNIT_EXPECT_LT_MSG(test, refused, MUTATIONS, "%s", kinds[kind].name);
	}
}

/* What is copied next: a flag that nobody knows, or nothing to restore */
static void test_top_mutations(struct kunit *test)
{
	static const struct iommufd_liveupdate_ser good_ser = {
		.version = IOMMUFD_LIVEUPDATE_ABI_VERSION,
		.hwpts = { .nr = 1, .head = SZ_1M },
		.ioases = { .nr = 1, .head = SZ_2M },
	};
	struct iommufd_liveupdate_ser ser;
	unsigned int refused = 0;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 0x10fe);
	for (int i = 0; i < MUTATIONS; i++) {
		ser = good_ser;
		mutate(&rnd, &ser, sizeof(ser));
		if (!iommufd_liveupdate_top_valid(&ser)) {
			refused++;
			continue;
		}
		KUNIT_ASSERT_EQ(test, ser.flags & ~IOMMUFD_LIVEUPDATE_FLAGS, 0);
		KUNIT_ASSERT_NE(test, ser.hwpts.nr, 0);
		KUNIT_ASSERT_NE(test, ser.ioases.nr, 0);
	}
	KUNIT_EXPECT_GT(test, refused, 0);
}

static struct kunit_case iommufd_liveupdate_cases[] = {
	KUNIT_CASE(test_good),
	KUNIT_CASE(test_top),
	KUNIT_CASE(test_hwpt),
	KUNIT_CASE(test_ioas),
	KUNIT_CASE(test_pages),
	KUNIT_CASE(test_area),
	KUNIT_CASE(test_hidden),
	KUNIT_CASE_SLOW(test_mutations),
	KUNIT_CASE(test_top_mutations),
	{}
};

static struct kunit_suite iommufd_liveupdate_suite = {
	.name = "iommufd-liveupdate",
	.test_cases = iommufd_liveupdate_cases,
};

kunit_test_suite(iommufd_liveupdate_suite);
