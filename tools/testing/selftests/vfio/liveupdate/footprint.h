/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_FOOTPRINT_H
#define SELFTESTS_VFIO_LIVEUPDATE_FOOTPRINT_H

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include <linux/sizes.h>

#include <libvfio.h>

#include "files.h"
#include "kselftest_harness.h"

/*
 * What the kernel has of whom it has been busy for. What is counted exactly must be
 * exactly the same once nothing is preserved any more, the rest must not grow.
 */

#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
#define IOMMU_DEBUGFS	"/sys/kernel/debug/iommu/liveupdate"

/* Nothing compared to what the smallest leak adds up to over many attempts */
#define FOOTPRINT_SLAB_NOISE	SZ_256K
#define FOOTPRINT_FREE_NOISE	SZ_16M

struct footprint {
	/* Exact */
	long iommu_pages;		/* page tables and records, in pages */
	long pinned;			/* by this process, in KiB */
	long locked;
	/* Allocators keep some for themselves */
	long slab;			/* in bytes */
	long free;			/* in bytes, with the lists of the CPUs */
};

/*
 * Free pages in the lists of the CPUs, which nr_free_pages leaves out: tens of MiB once
 * a kexec image was freed, as these lists grow with what is freed, and decay slowly.
 */
static inline long pages_in_cpu_lists(void)
{
	long count, sum = -1;
	char line[256];
	FILE *f;

	f = fopen("/proc/zoneinfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " count: %ld", &count) == 1)
			sum = count + (sum < 0 ? 0 : sum);
	}
	if (f)
		fclose(f);
	return sum;
}

static inline struct footprint footprint_take(void)
{
	struct footprint fp;
	long listed;

	/* Each CPU counts for itself */
	file_takes("/proc/sys/vm/stat_refresh", "1");
	fp.iommu_pages = number_of("/proc/vmstat", "nr_iommu_pages ");
	fp.slab = number_of("/proc/vmstat", "nr_slab_unreclaimable ") * getpagesize();
	listed = pages_in_cpu_lists();
	VFIO_ASSERT_GE(listed, 0);
	fp.free = (number_of("/proc/vmstat", "nr_free_pages ") + listed) * getpagesize();
	fp.pinned = number_of("/proc/self/status", "VmPin:");
	fp.locked = number_of("/proc/self/status", "VmLck:");
	/* What is not there is equal at any time. */
	VFIO_ASSERT_GE(fp.iommu_pages, 0);
	VFIO_ASSERT_GE(fp.slab, 0);
	VFIO_ASSERT_GE(fp.free, 0);
	VFIO_ASSERT_GE(fp.pinned, 0);
	VFIO_ASSERT_GE(fp.locked, 0);
	return fp;
}

static inline bool footprint_is_exact(const struct footprint *a,
				      const struct footprint *b)
{
	return a->iommu_pages == b->iommu_pages && a->pinned == b->pinned &&
	       a->locked == b->locked;
}

/* What is freed later has had its time, too. */
static inline struct footprint footprint_settle(const struct footprint *before)
{
	struct footprint now = footprint_take();
	int i;

	for (i = 0; i < 100 && (!footprint_is_exact(before, &now) ||
				now.slab > before->slab + FOOTPRINT_SLAB_NOISE); i++) {
		usleep(20000);
		now = footprint_take();
	}
	return now;
}

/*
 * KASAN keeps what is freed for a while, and kmemleak knows better. If it is off, or has
 * switched itself off, it does not scan.
 */
static inline bool kmemleak_start(void)
{
	return file_takes(KMEMLEAK, "clear") && file_takes(KMEMLEAK, "scan");
}

static inline void kmemleak_show(void)
{
	char line[256];
	int lines = 0;
	FILE *f;

	f = fopen(KMEMLEAK, "r");
	while (f && fgets(line, sizeof(line), f) && lines++ < 40)
		fprintf(stderr, "# %s", line);
	if (f)
		fclose(f);
}

/* Only what nobody has looked for twice, and is some seconds old, counts. */
static inline bool kmemleak_clean(void)
{
	sleep(6);
	VFIO_ASSERT_TRUE(file_takes(KMEMLEAK, "scan"));
	sleep(1);
	VFIO_ASSERT_TRUE(file_takes(KMEMLEAK, "scan"));
	if (file_is_empty(KMEMLEAK))
		return true;
	kmemleak_show();
	return false;
}

static inline void expect_same_footprint(struct __test_metadata *_metadata,
					 const struct footprint *before, bool kmemleak)
{
	struct footprint now = footprint_settle(before);

	TH_LOG("IOMMU pages %ld -> %ld, pinned %ld -> %ld KiB, locked %ld -> %ld KiB",
	       before->iommu_pages, now.iommu_pages, before->pinned, now.pinned,
	       before->locked, now.locked);
	TH_LOG("slab %+ld KiB, free %+ld KiB", (now.slab - before->slab) / SZ_1K,
	       (now.free - before->free) / SZ_1K);
	EXPECT_EQ(before->iommu_pages, now.iommu_pages);
	EXPECT_EQ(before->pinned, now.pinned);
	EXPECT_EQ(before->locked, now.locked);
	EXPECT_TRUE(file_is_empty(IOMMU_DEBUGFS));
	if (kmemleak) {
		EXPECT_TRUE(kmemleak_clean());
		return;
	}
	EXPECT_LT(now.slab - before->slab, FOOTPRINT_SLAB_NOISE);
	EXPECT_LT(before->free - now.free, FOOTPRINT_FREE_NOISE);
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_FOOTPRINT_H */
