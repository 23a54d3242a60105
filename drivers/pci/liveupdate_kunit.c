// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the validators of the PCI live update record: what a kernel
 * writes passes, and of what does not come from one no more than is harmless.
 */
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/kho/abi/pci.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "liveupdate.h"
#include "pci.h"

#define MUTATIONS	100000

static const struct pci_liveupdate_ser good_ser = {
	.version = PCI_LIVEUPDATE_ABI_VERSION,
	.nr_devices = 3,
	.devices = SZ_1M,
};

/* A NIC: 32-bit memory, I/O and 64-bit memory BARs, a ROM, SR-IOV */
static const struct pci_liveupdate_dev_ser good_dev = {
	.segment = 1,
	.rid = 0x0108,
	.flags = PCI_LIVEUPDATE_DEV_NO_INTX_MASK,
	.vendor = 0x8086,
	.device = 0x10c9,
	.class_rev = 0x02000001,
	.bar = { 0xfe800000, 0xfe820000, 0xc001, 0, 0xc, 0x80 },
	.bar_mask = { 0xfffe0000, 0xfffe0000, 0xffffffe0, 0, 0xffffc000,
		      0xffffffff },
	.rom_mask = 0xfffc0000,
	.vf_bar_mask = { 0xffffc000, 0xffffffff, 0, 0xffffc000, 0xffffffff },
};

static const struct pci_liveupdate_dev_ser good_bridge = {
	.rid = 0x0018,
	.flags = PCI_LIVEUPDATE_DEV_BRIDGE,
	.vendor = 0x1b36,
	.device = 0x000c,
	.class_rev = 0x06040000,
	.bar = { 0xfebd4000 },
	.bar_mask = { 0xfffff000 },
	.secondary = 1,
	.subordinate = 4,
};

static void expect_dev_refused(struct kunit *test,
			       const struct pci_liveupdate_dev_ser *ser)
{
	KUNIT_EXPECT_FALSE(test, pci_liveupdate_dev_ser_valid(ser));
}

static void test_good(struct kunit *test)
{
	struct pci_liveupdate_dev_ser dev = good_dev;

	KUNIT_EXPECT_TRUE(test, pci_liveupdate_ser_valid(&good_ser,
							 sizeof(good_ser)));
	KUNIT_EXPECT_TRUE(test, pci_liveupdate_ser_valid(&good_ser, PAGE_SIZE));
	KUNIT_EXPECT_TRUE(test, pci_liveupdate_dev_ser_valid(&good_dev));
	KUNIT_EXPECT_TRUE(test, pci_liveupdate_dev_ser_valid(&good_bridge));

	/* A device may have no BAR at all */
	memset(dev.bar_mask, 0, sizeof(dev.bar_mask));
	memset(dev.vf_bar_mask, 0, sizeof(dev.vf_bar_mask));
	dev.rom_mask = 0;
	KUNIT_EXPECT_TRUE(test, pci_liveupdate_dev_ser_valid(&dev));
}

static void test_top(struct kunit *test)
{
	struct pci_liveupdate_ser ser;

	for (size_t len = 0; len < sizeof(good_ser); len++)
		KUNIT_EXPECT_FALSE(test,
				   pci_liveupdate_ser_valid(&good_ser, len));

	for (int bit = 0; bit < 32; bit++) {
		ser = good_ser;
		ser.version ^= BIT(bit);
		KUNIT_EXPECT_FALSE(test,
				   pci_liveupdate_ser_valid(&ser, sizeof(ser)));
		ser = good_ser;
		ser.reserved ^= BIT(bit);
		KUNIT_EXPECT_FALSE(test,
				   pci_liveupdate_ser_valid(&ser, sizeof(ser)));
	}

	/* It is written when a device is frozen, so there is one */
	ser = good_ser;
	ser.nr_devices = 0;
	KUNIT_EXPECT_FALSE(test, pci_liveupdate_ser_valid(&ser, sizeof(ser)));

	ser = good_ser;
	ser.devices = 0;
	KUNIT_EXPECT_FALSE(test, pci_liveupdate_ser_valid(&ser, sizeof(ser)));
	ser.devices = SZ_1M + 8;
	KUNIT_EXPECT_FALSE(test, pci_liveupdate_ser_valid(&ser, sizeof(ser)));
	ser.devices = BIT_ULL(52);
	KUNIT_EXPECT_FALSE(test, pci_liveupdate_ser_valid(&ser, sizeof(ser)));
}

/* Each mask in turn, with each power of two and with each of them broken */
static void test_masks(struct kunit *test)
{
	const int nr = 2 * PCI_LIVEUPDATE_NUM_BARS + 1;

	for (int i = 0; i < nr; i++) {
		struct pci_liveupdate_dev_ser dev = good_dev;
		u32 *mask = i < PCI_LIVEUPDATE_NUM_BARS ? &dev.bar_mask[i] :
			    i < nr - 1 ?
			    &dev.vf_bar_mask[i - PCI_LIVEUPDATE_NUM_BARS] :
			    &dev.rom_mask;

		for (int bit = 0; bit < 32; bit++) {
			*mask = ~0U << bit;
			KUNIT_EXPECT_TRUE(test,
					  pci_liveupdate_dev_ser_valid(&dev));
			if (bit == 31)
				continue;

			/* A hole above the lowest one */
			*mask &= ~BIT(31);
			expect_dev_refused(test, &dev);
			/* More below it */
			if (bit < 2)
				continue;
			*mask = (~0U << bit) | 1;
			expect_dev_refused(test, &dev);
		}
	}
}

static void test_fields(struct kunit *test)
{
	struct pci_liveupdate_dev_ser dev;

	for (int bit = 0; bit < 16; bit++) {
		dev = good_dev;
		dev.flags = BIT(bit);
		if (dev.flags & ~PCI_LIVEUPDATE_DEV_FLAGS)
			expect_dev_refused(test, &dev);
		dev = good_dev;
		dev.reserved[bit / 8] = BIT(bit % 8);
		expect_dev_refused(test, &dev);
	}

	/* What a slot reads like when nothing is there */
	dev = good_dev;
	dev.vendor = 0;
	expect_dev_refused(test, &dev);
	dev.vendor = U16_MAX;
	expect_dev_refused(test, &dev);
}

static void test_bridge(struct kunit *test)
{
	struct pci_liveupdate_dev_ser dev;

	/* Only bridges have buses below */
	dev = good_dev;
	dev.secondary = 2;
	expect_dev_refused(test, &dev);
	dev = good_dev;
	dev.subordinate = 2;
	expect_dev_refused(test, &dev);

	/* They count up */
	dev = good_bridge;
	dev.rid = 0x0118;
	expect_dev_refused(test, &dev);
	dev = good_bridge;
	dev.subordinate = 0;
	expect_dev_refused(test, &dev);
	dev = good_bridge;
	dev.secondary = 0;
	expect_dev_refused(test, &dev);
	dev = good_bridge;
	dev.subordinate = dev.secondary;
	KUNIT_EXPECT_TRUE(test, pci_liveupdate_dev_ser_valid(&dev));

	/* Where an endpoint has BARs 2 to 5, a bridge has its windows */
	for (int i = 0; i < PCI_LIVEUPDATE_NUM_BARS; i++) {
		dev = good_bridge;
		dev.bar[i] = 0xfe000000;
		KUNIT_EXPECT_EQ(test,
				pci_liveupdate_dev_ser_valid(&dev), i < 2);
		dev = good_bridge;
		dev.bar_mask[i] = 0xffff0000;
		KUNIT_EXPECT_EQ(test,
				pci_liveupdate_dev_ser_valid(&dev), i < 2);
		dev = good_bridge;
		dev.vf_bar_mask[i] = 0xffff0000;
		expect_dev_refused(test, &dev);
	}
}

static void mutate(struct rnd_state *rnd, void *buf, size_t len)
{
	u8 *byte = buf;

	for (int n = 1 + prandom_u32_state(rnd) % 4; n; n--)
		byte[prandom_u32_state(rnd) % len] ^=
			BIT(prandom_u32_state(rnd) % 8);
}

/* Said in another way than the validator does */
static bool mask_ok(u32 mask)
{
	while (mask & BIT(31))
		mask <<= 1;
	return !mask;
}

static bool dev_ok(const struct pci_liveupdate_dev_ser *dev)
{
	if (dev->flags & ~PCI_LIVEUPDATE_DEV_FLAGS || !mask_ok(dev->rom_mask))
		return false;
	for (int i = 0; i < PCI_LIVEUPDATE_NUM_BARS; i++)
		if (!mask_ok(dev->bar_mask[i]) || !mask_ok(dev->vf_bar_mask[i]))
			return false;
	if (dev->flags & PCI_LIVEUPDATE_DEV_BRIDGE)
		return dev->rid >> 8 < dev->secondary &&
		       dev->secondary <= dev->subordinate;
	return !dev->secondary && !dev->subordinate;
}

/*
 * Most of an entry is compared with the device and harmless; what sizes and
 * numbers are made of has to be right in all that still passes.
 */
static void test_mutations(struct kunit *test)
{
	unsigned int refused_ser = 0, refused_dev = 0, refused_bridge = 0;
	struct pci_liveupdate_dev_ser dev;
	struct pci_liveupdate_ser ser;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 0x9c1);
	for (int i = 0; i < MUTATIONS; i++) {
		ser = good_ser;
		mutate(&rnd, &ser, sizeof(ser));
		if (!pci_liveupdate_ser_valid(&ser, sizeof(ser))) {
			refused_ser++;
		} else {
			KUNIT_ASSERT_NE(test, ser.devices, 0);
			KUNIT_ASSERT_EQ(test, ser.devices & (PAGE_SIZE - 1), 0);
			KUNIT_ASSERT_LT(test, ser.devices, BIT_ULL(52));
		}

		dev = good_dev;
		mutate(&rnd, &dev, sizeof(dev));
		if (!pci_liveupdate_dev_ser_valid(&dev))
			refused_dev++;
		else
			KUNIT_ASSERT_TRUE(test, dev_ok(&dev));

		dev = good_bridge;
		mutate(&rnd, &dev, sizeof(dev));
		if (!pci_liveupdate_dev_ser_valid(&dev))
			refused_bridge++;
		else
			KUNIT_ASSERT_TRUE(test, dev_ok(&dev));
	}

	/* The mutator works: it hits something that matters more often than not */
	KUNIT_EXPECT_GT(test, refused_ser, MUTATIONS / 2);
	KUNIT_EXPECT_GT(test, refused_dev, MUTATIONS / 2);
	KUNIT_EXPECT_GT(test, refused_bridge, MUTATIONS / 2);
}

static struct kunit_case pci_liveupdate_cases[] = {
	KUNIT_CASE(test_good),
	KUNIT_CASE(test_top),
	KUNIT_CASE(test_masks),
	KUNIT_CASE(test_fields),
	KUNIT_CASE(test_bridge),
	KUNIT_CASE_SLOW(test_mutations),
	{}
};

static struct kunit_suite pci_liveupdate_suite = {
	.name = "pci-liveupdate-abi",
	.test_cases = pci_liveupdate_cases,
};

kunit_test_suite(pci_liveupdate_suite);

MODULE_DESCRIPTION("KUnit tests of the PCI live update record");
MODULE_LICENSE("GPL");
