// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test and measure KHO with many preserved ranges that do not touch each other
 *
 * Booted for the first time, it preserves as many ranges as test_kho_ranges.nr
 * says, each page of them with its own address in it. Booted after a kexec from
 * there, it restores them and looks whether all is as it was. The time stamps
 * of its messages and of "preserved ranges reserved" say what that took.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#define TEST_NAME	"test_kho_ranges"
/* Ranges are taken from blocks of this order, see fill_block() */
#define BLOCK_ORDER	3

static ulong nr;
module_param(nr, ulong, 0);
MODULE_PARM_DESC(nr, "number of ranges to preserve, 0 for none");

static bool mixed;
module_param(mixed, bool, 0);
MODULE_PARM_DESC(mixed, "ranges of one and of two pages instead of one only");

/* What one kernel tells the next */
struct test_ser {
	u64 nr;
	struct kho_vmalloc ranges;
};

/* Physical address and, in the low bits, number of pages */
static u64 range(struct page *page, unsigned int nr_pages)
{
	return page_to_phys(page) | nr_pages;
}

static void write_range(u64 range)
{
	phys_addr_t phys = range & PAGE_MASK;

	for (unsigned int i = 0; i < (range & ~PAGE_MASK); i++, phys += PAGE_SIZE)
		memset64(phys_to_virt(phys), phys, PAGE_SIZE / sizeof(u64));
}

static bool range_is_intact(u64 range)
{
	phys_addr_t phys = range & PAGE_MASK;

	for (unsigned int i = 0; i < (range & ~PAGE_MASK); i++, phys += PAGE_SIZE) {
		u64 *word = phys_to_virt(phys);

		for (unsigned int j = 0; j < PAGE_SIZE / sizeof(u64); j++)
			if (word[j] != phys)
				return false;
	}
	return true;
}

/* Never two that touch, wherever the next block is */
static unsigned int fill_block(struct page *page, u64 *ranges, unsigned long max)
{
	unsigned int n = 0;

	if (mixed) {
		ranges[n++] = range(page, 1);
		if (n < max)
			ranges[n++] = range(page + 2, 2);
		if (n < max)
			ranges[n++] = range(page + 5, 1);
	} else {
		for (unsigned int i = 0; i < BIT(BLOCK_ORDER) && n < max; i += 2)
			ranges[n++] = range(page + i, 1);
	}
	return n;
}

static int preserve_range(u64 range)
{
	write_range(range);
	return kho_preserve_pages(phys_to_page(range & PAGE_MASK),
				  range & ~PAGE_MASK);
}

/* Pages are never given back: the machine is there for this test */
static int __init test_save(void)
{
	struct test_ser *ser;
	unsigned long i, done;
	u64 *ranges;
	int err;

	ranges = vmalloc_array(nr, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;

	for (i = 0; i < nr;) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_NOWARN,
						BLOCK_ORDER);

		if (!page) {
			pr_err("no memory for more than %lu ranges\n", i);
			return -ENOMEM;
		}
		split_page(page, BLOCK_ORDER);
		i += fill_block(page, ranges + i, nr - i);
	}

	pr_info("preserving %lu ranges\n", nr);
	for (done = 0; done < nr; done++) {
		err = preserve_range(ranges[done]);
		if (err) {
			pr_err("range %lu of %lu cannot be preserved: %d\n",
			       done + 1, nr, err);
			return err;
		}
	}
	pr_info("preserved %lu ranges\n", nr);

	ser = kho_alloc_preserve(sizeof(*ser));
	if (IS_ERR(ser))
		return PTR_ERR(ser);

	ser->nr = nr;
	err = kho_preserve_vmalloc(ranges, &ser->ranges);
	if (err)
		return err;
	return kho_add_subtree(TEST_NAME, ser, sizeof(*ser));
}

static int __init test_restore(struct test_ser *ser)
{
	u64 *ranges = kho_restore_vmalloc(&ser->ranges);
	unsigned long i, bad = 0;

	if (!ranges) {
		pr_err("the list of ranges is lost\n");
		return -EINVAL;
	}

	pr_info("restoring %llu ranges\n", ser->nr);
	for (i = 0; i < ser->nr; i++)
		if (!kho_restore_pages(ranges[i] & PAGE_MASK,
				       ranges[i] & ~PAGE_MASK))
			bad++;
	pr_info("restored %lu ranges, %lu failed\n", i, bad);

	for (i = 0, bad = 0; i < ser->nr; i++)
		if (!range_is_intact(ranges[i]))
			bad++;
	pr_info("%lu ranges intact, %lu lost\n", i - bad, bad);
	return bad ? -EIO : 0;
}

static int __init test_kho_ranges_init(void)
{
	phys_addr_t phys;
	size_t size;

	if (!kho_is_enabled())
		return 0;
	if (!kho_retrieve_subtree(TEST_NAME, &phys, &size) &&
	    size == sizeof(struct test_ser))
		return test_restore(phys_to_virt(phys));
	return nr ? test_save() : 0;
}
late_initcall(test_kho_ranges_init);
