// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the IOMMU hand-over validators: what the old kernel writes
 * passes, and mutations of every byte are refused or harmless.
 */
#include <kunit/test.h>
#include <linux/prandom.h>
#include <linux/sizes.h>

#include "liveupdate-abi.h"

#define MUTATIONS	100000

static const struct iommu_liveupdate_ser good_ser = {
	.version = IOMMU_LIVEUPDATE_ABI_VERSION,
	.nr_units = 1,
	.nr_domains = 2,
	.nr_devices = 3,
	.units = SZ_1M,
	.domains = SZ_2M,
	.devices = SZ_4M,
	.zero_pa = SZ_8M,
};

static const struct iommu_liveupdate_unit_ser good_unit = {
	.type = IOMMU_LIVEUPDATE_UNIT_VTD,
	.reg_phys = 0xfed90000,
	.cap = 0xd2008c222f0606,
	.ecap = 0xf00f4a,
	.root_pa = SZ_16M,
};

static const struct iommu_liveupdate_domain_ser good_domain = {
	.key = 1,
	.file = SZ_64K,
	.unit = 0xfed90000,
	.aperture_end = SZ_1T - 1,
	.pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G,
	.pt = {
		.top_pa = SZ_32M,
		.nr_tables = 5,
		.format = IOMMU_PT_SER_FMT_VTDSS,
		.top_level = 3,
		.max_vasz_lg2 = 48,
		.max_oasz_lg2 = 52,
	},
};

static const struct iommu_liveupdate_device_ser good_device = {
	.unit = 0xfed90000,
	.domain = 1,
	.rid = 0x10,
	.did = 5,
};

/* Scalable mode, a directory of more than one page */
static const struct iommu_liveupdate_device_ser good_pasid_device = {
	.unit = 0xfed90000,
	.domain = 1,
	.rid = 0x10,
	.did = 5,
	.max_pasid = IOMMU_LIVEUPDATE_PASIDS_MIN * 4,
	.pasid_dir = SZ_64M,
};

static bool addr_ok(u64 pa)
{
	return pa && !(pa & (PAGE_SIZE - 1)) && pa < BIT_ULL(52);
}

static void test_good(struct kunit *test)
{
	KUNIT_EXPECT_TRUE(test, iommu_liveupdate_ser_valid(&good_ser,
							   sizeof(good_ser)));
	KUNIT_EXPECT_TRUE(test, iommu_liveupdate_unit_valid(&good_unit));
	KUNIT_EXPECT_TRUE(test, iommu_liveupdate_domain_valid(&good_domain));
	KUNIT_EXPECT_TRUE(test, iommu_liveupdate_device_valid(&good_device));
	KUNIT_EXPECT_TRUE(test,
			  iommu_liveupdate_device_valid(&good_pasid_device));
}

static void test_short(struct kunit *test)
{
	for (size_t len = 0; len < sizeof(good_ser); len++)
		KUNIT_EXPECT_FALSE(test,
				   iommu_liveupdate_ser_valid(&good_ser, len));
}

static void test_empty(struct kunit *test)
{
	struct iommu_liveupdate_ser ser = {
		.version = IOMMU_LIVEUPDATE_ABI_VERSION,
		.zero_pa = SZ_8M,
	};

	KUNIT_EXPECT_TRUE(test, iommu_liveupdate_ser_valid(&ser, sizeof(ser)));
	/* A device without unit or domain leads nowhere */
	ser.nr_devices = 1;
	ser.devices = SZ_4M;
	KUNIT_EXPECT_FALSE(test, iommu_liveupdate_ser_valid(&ser, sizeof(ser)));
}

static void test_version(struct kunit *test)
{
	struct iommu_liveupdate_ser ser = good_ser;

	ser.version++;
	KUNIT_EXPECT_FALSE(test, iommu_liveupdate_ser_valid(&ser, sizeof(ser)));
	ser.version = 1;
	KUNIT_EXPECT_FALSE(test, iommu_liveupdate_ser_valid(&ser, sizeof(ser)));
}

static void test_pasid_dir(struct kunit *test)
{
	static const struct {
		u64 dir;
		u32 max_pasid;
		bool valid;
	} cases[] = {
		{ SZ_64M, IOMMU_LIVEUPDATE_PASIDS_MIN, true },
		{ SZ_64M, IOMMU_LIVEUPDATE_PASIDS_MAX, true },
		{ SZ_64M + SZ_4K, IOMMU_LIVEUPDATE_PASIDS_MIN, true },
		/* One without the other */
		{ SZ_64M, 0, false },
		{ 0, IOMMU_LIVEUPDATE_PASIDS_MIN, false },
		/* Out of range, not a power of two */
		{ SZ_64M, IOMMU_LIVEUPDATE_PASIDS_MIN / 2, false },
		{ SZ_64M, IOMMU_LIVEUPDATE_PASIDS_MAX * 2, false },
		{ SZ_64M, IOMMU_LIVEUPDATE_PASIDS_MIN * 3, false },
		/* A folio is aligned to its size */
		{ SZ_64M + SZ_4K, IOMMU_LIVEUPDATE_PASIDS_MIN * 2, false },
		{ SZ_64M + 8, IOMMU_LIVEUPDATE_PASIDS_MIN, false },
		{ BIT_ULL(52), IOMMU_LIVEUPDATE_PASIDS_MIN, false },
	};

	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct iommu_liveupdate_device_ser device = good_device;

		device.pasid_dir = cases[i].dir;
		device.max_pasid = cases[i].max_pasid;
		KUNIT_EXPECT_EQ_MSG(test, iommu_liveupdate_device_valid(&device),
				    cases[i].valid, "case %d", i);
	}
}

static void mutate(struct rnd_state *rnd, void *buf, size_t len)
{
	u8 *byte = buf;

	for (int n = 1 + prandom_u32_state(rnd) % 4; n; n--)
		byte[prandom_u32_state(rnd) % len] ^=
			BIT(prandom_u32_state(rnd) % 8);
}

/* What still passes must be safe to follow: every address a page address */
static void test_mutations(struct kunit *test)
{
	struct iommu_liveupdate_device_ser device;
	struct iommu_liveupdate_domain_ser domain;
	struct iommu_liveupdate_unit_ser unit;
	struct iommu_liveupdate_ser ser;
	unsigned int refused = 0;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 0x11fe);
	for (int i = 0; i < MUTATIONS; i++) {
		ser = good_ser;
		mutate(&rnd, &ser, sizeof(ser));
		if (!iommu_liveupdate_ser_valid(&ser, sizeof(ser))) {
			refused++;
		} else {
			KUNIT_ASSERT_TRUE(test, !ser.nr_units || addr_ok(ser.units));
			KUNIT_ASSERT_TRUE(test, !ser.nr_domains || addr_ok(ser.domains));
			KUNIT_ASSERT_TRUE(test, !ser.nr_devices || addr_ok(ser.devices));
			KUNIT_ASSERT_TRUE(test, addr_ok(ser.zero_pa));
			KUNIT_ASSERT_LE(test, ser.nr_devices, BIT(20));
		}

		unit = good_unit;
		mutate(&rnd, &unit, sizeof(unit));
		if (!iommu_liveupdate_unit_valid(&unit)) {
			refused++;
		} else {
			KUNIT_ASSERT_TRUE(test, addr_ok(unit.root_pa));
			KUNIT_ASSERT_EQ(test, unit.type, IOMMU_LIVEUPDATE_UNIT_VTD);
			KUNIT_ASSERT_EQ(test, unit.flags & ~IOMMU_LIVEUPDATE_UNIT_FLAGS, 0);
		}

		domain = good_domain;
		mutate(&rnd, &domain, sizeof(domain));
		if (!iommu_liveupdate_domain_valid(&domain)) {
			refused++;
		} else {
			KUNIT_ASSERT_TRUE(test, addr_ok(domain.pt.top_pa));
			KUNIT_ASSERT_TRUE(test, addr_ok(domain.file));
			KUNIT_ASSERT_NE(test, domain.key, 0);
			KUNIT_ASSERT_LT(test, domain.aperture_start,
					domain.aperture_end);
		}

		device = i & 1 ? good_device : good_pasid_device;
		mutate(&rnd, &device, sizeof(device));
		if (!iommu_liveupdate_device_valid(&device)) {
			refused++;
		} else {
			KUNIT_ASSERT_LE(test, device.rid, U16_MAX);
			KUNIT_ASSERT_LE(test, device.did, U16_MAX);
			KUNIT_ASSERT_NE(test, device.did, 0);
			KUNIT_ASSERT_EQ(test, !device.pasid_dir,
					!device.max_pasid);
			KUNIT_ASSERT_TRUE(test, !device.pasid_dir ||
					  addr_ok(device.pasid_dir));
			KUNIT_ASSERT_LE(test, device.max_pasid,
					IOMMU_LIVEUPDATE_PASIDS_MAX);
		}
	}
	/* The mutator works: most of what it does must have been noticed */
	KUNIT_EXPECT_GT(test, refused, MUTATIONS);
}

static struct kunit_case iommu_liveupdate_cases[] = {
	KUNIT_CASE(test_good),
	KUNIT_CASE(test_short),
	KUNIT_CASE(test_empty),
	KUNIT_CASE(test_version),
	KUNIT_CASE(test_pasid_dir),
	KUNIT_CASE_SLOW(test_mutations),
	{}
};

static struct kunit_suite iommu_liveupdate_suite = {
	.name = "iommu-liveupdate-abi",
	.test_cases = iommu_liveupdate_cases,
};

kunit_test_suite(iommu_liveupdate_suite);

MODULE_DESCRIPTION("KUnit tests of the IOMMU live update ABI");
MODULE_LICENSE("GPL");
