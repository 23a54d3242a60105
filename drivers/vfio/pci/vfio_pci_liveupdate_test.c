// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what the previous kernel hands over for a vfio-pci device
 */

#include <kunit/test.h>
#include <linux/err.h>
#include <linux/kho/abi/pci_saved_state.h>
#include <linux/kho/abi/vfio_pci.h>
#include <linux/pci.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "vfio_pci_priv.h"

/* The whole buffer, and where its parts start */
#define TEST_VCONFIG	((u32)sizeof(struct vfio_pci_ser))
#define TEST_STATE	(TEST_VCONFIG + PCI_CFG_SPACE_EXP_SIZE)
#define TEST_STATE_SIZE	128
#define TEST_SIZE	(TEST_STATE + TEST_STATE_SIZE)

#define MUTATIONS	100000

static struct vfio_pci_ser *good_ser(struct kunit *test)
{
	struct vfio_pci_ser *ser;

	ser = kunit_kzalloc(test, TEST_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ser);

	ser->version = VFIO_PCI_SER_VERSION;
	ser->size = TEST_SIZE;
	ser->rid = U16_MAX;
	ser->flags = VFIO_PCI_SER_FLAGS;
	ser->vconfig_offset = TEST_VCONFIG;
	ser->vconfig_size = PCI_CFG_SPACE_EXP_SIZE;
	ser->state_offset = TEST_STATE;
	ser->state_size = TEST_STATE_SIZE;
	ser->msi_qmax = 5;
	return ser;
}

static void ser_good_test(struct kunit *test)
{
	struct vfio_pci_ser *ser = good_ser(test);

	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, ser->size), 0);
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, 2 * PAGE_SIZE), 0);

	/* No saved state, conventional config space */
	ser->state_size = 0;
	ser->vconfig_size = PCI_CFG_SPACE_SIZE;
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, ser->size), 0);
}

static void ser_length_test(struct kunit *test)
{
	struct vfio_pci_ser *ser = good_ser(test);
	u32 size = ser->size;

	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, sizeof(*ser) - 1),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, size - 1), -EINVAL);

	ser->size = size - 1;
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, size), -EINVAL);
	ser->size = 0;
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, size), -EINVAL);
	ser->size = U32_MAX;
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, SIZE_MAX), -EINVAL);
}

static void ser_version_test(struct kunit *test)
{
	struct vfio_pci_ser *ser = good_ser(test);

	/* Never frozen */
	ser->version = 0;
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, ser->size),
			-EOPNOTSUPP);
	ser->version = VFIO_PCI_SER_VERSION + 1;
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, ser->size),
			-EOPNOTSUPP);
}

/* One field wrong, everything else as in good_ser() */
static const struct {
	size_t field;
	u32 value;
} bad_fields[] = {
	{ offsetof(struct vfio_pci_ser, segment), U32_MAX },
	{ offsetof(struct vfio_pci_ser, rid), U16_MAX + 1 },
	{ offsetof(struct vfio_pci_ser, flags), VFIO_PCI_SER_FLAGS + 1 },
	{ offsetof(struct vfio_pci_ser, vconfig_offset), 0 },
	{ offsetof(struct vfio_pci_ser, vconfig_offset), TEST_VCONFIG + 1 },
	{ offsetof(struct vfio_pci_ser, vconfig_offset), TEST_SIZE },
	{ offsetof(struct vfio_pci_ser, vconfig_offset), U32_MAX - 3 },
	{ offsetof(struct vfio_pci_ser, vconfig_size), 0 },
	{ offsetof(struct vfio_pci_ser, vconfig_size),
	  PCI_CFG_SPACE_EXP_SIZE + 4 },
	{ offsetof(struct vfio_pci_ser, state_offset), 0 },
	{ offsetof(struct vfio_pci_ser, state_offset), TEST_STATE + 1 },
	{ offsetof(struct vfio_pci_ser, state_offset), TEST_STATE + 4 },
	{ offsetof(struct vfio_pci_ser, state_offset), U32_MAX - 3 },
	{ offsetof(struct vfio_pci_ser, state_size), TEST_STATE_SIZE + 1 },
	{ offsetof(struct vfio_pci_ser, state_size), U32_MAX },
};

static void ser_fields_test(struct kunit *test)
{
	struct vfio_pci_ser *ser;
	int i;

	for (i = 0; i < ARRAY_SIZE(bad_fields); i++) {
		ser = good_ser(test);
		*(u32 *)((void *)ser + bad_fields[i].field) =
			bad_fields[i].value;
		KUNIT_EXPECT_EQ_MSG(test,
				    vfio_pci_ser_validate(ser, 2 * PAGE_SIZE),
				    -EINVAL, "value %#x at %zu",
				    bad_fields[i].value, bad_fields[i].field);
	}

	ser = good_ser(test);
	ser->msi_qmax = 6;
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, ser->size), -EINVAL);

	ser = good_ser(test);
	ser->reserved[2] = 1;
	KUNIT_EXPECT_EQ(test, vfio_pci_ser_validate(ser, ser->size), -EINVAL);
}

/* A saved state with two capabilities, one of a size that needs padding */
struct test_state {
	struct pci_saved_state_ser head;
	struct {
		__u16 cap;
		__u8 extended;
		__u8 reserved;
		__u32 size;
		__u8 data[16];
	} exp;
	struct {
		__u16 cap;
		__u8 extended;
		__u8 reserved;
		__u32 size;
		__u8 data[4];
	} ltr;
};

static struct test_state *good_state(struct kunit *test)
{
	struct test_state *state;

	state = kunit_kzalloc(test, sizeof(*state), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, state);

	memset(state->head.config_space, 0xa5,
	       sizeof(state->head.config_space));
	state->head.nr_caps = 2;
	state->exp.cap = PCI_CAP_ID_EXP;
	state->exp.size = 14;
	memset(state->exp.data, 0x5a, 14);
	state->ltr.cap = PCI_EXT_CAP_ID_LTR;
	state->ltr.extended = 1;
	state->ltr.size = 4;
	memset(state->ltr.data, 0x3c, 4);
	return state;
}

static void state_round_trip_test(struct kunit *test)
{
	struct test_state *state = good_state(test);
	struct pci_saved_state *unpacked;
	struct test_state *again;

	again = kunit_kzalloc(test, sizeof(*again), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, again);

	unpacked = pci_saved_state_unpack(state, sizeof(*state));
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, unpacked);

	KUNIT_EXPECT_EQ(test, pci_saved_state_pack(unpacked, NULL, 0),
			sizeof(*state));
	KUNIT_EXPECT_EQ(test,
			pci_saved_state_pack(unpacked, again,
					     sizeof(*again) - 1), -ENOSPC);
	KUNIT_EXPECT_EQ(test,
			pci_saved_state_pack(unpacked, again, sizeof(*again)),
			sizeof(*state));
	KUNIT_EXPECT_MEMEQ(test, again, state, sizeof(*state));
	kfree(unpacked);
}

static void expect_state_rejected(struct kunit *test,
				  const struct test_state *state, size_t size)
{
	struct pci_saved_state *unpacked = pci_saved_state_unpack(state, size);

	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(unpacked), -EINVAL);
	if (!IS_ERR(unpacked))
		kfree(unpacked);
}

static void state_malformed_test(struct kunit *test)
{
	struct test_state *state = good_state(test);
	size_t size = sizeof(*state);
	size_t len;

	/* Every other length */
	for (len = 0; len < size; len++)
		expect_state_rejected(test, state, len);

	state->head.nr_caps = 1;
	expect_state_rejected(test, state, size);
	state->head.nr_caps = 3;
	expect_state_rejected(test, state, size);
	state->head.nr_caps = U32_MAX;
	expect_state_rejected(test, state, size);
	state->head.nr_caps = 2;

	state->head.reserved = 1;
	expect_state_rejected(test, state, size);
	state->head.reserved = 0;

	state->exp.size = 0;
	expect_state_rejected(test, state, size);
	state->exp.size = 17;
	expect_state_rejected(test, state, size);
	state->exp.size = U32_MAX;
	expect_state_rejected(test, state, size);
	state->exp.size = 14;

	state->ltr.extended = 2;
	expect_state_rejected(test, state, size);
	state->ltr.extended = 1;
	state->ltr.reserved = 1;
	expect_state_rejected(test, state, size);
}

static void mutate(struct rnd_state *rnd, void *buf, size_t len)
{
	u8 *byte = buf;

	for (int n = 1 + prandom_u32_state(rnd) % 4; n; n--)
		byte[prandom_u32_state(rnd) % len] ^=
			BIT(prandom_u32_state(rnd) % 8);
}

/* Of what passes, each part is in the buffer and after the head */
static bool part_ok(const struct vfio_pci_ser *ser, u64 start, u64 size)
{
	return !size || (start >= sizeof(*ser) && start + size <= TEST_SIZE);
}

static void ser_mutations_test(struct kunit *test)
{
	struct vfio_pci_ser *good = good_ser(test), ser;
	unsigned int refused = 0;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 0xf10);
	for (int i = 0; i < MUTATIONS; i++) {
		ser = *good;
		mutate(&rnd, &ser, sizeof(ser));
		if (vfio_pci_ser_validate(&ser, TEST_SIZE)) {
			refused++;
			continue;
		}
		KUNIT_ASSERT_TRUE(test, part_ok(&ser, ser.vconfig_offset, ser.vconfig_size));
		KUNIT_ASSERT_TRUE(test, part_ok(&ser, ser.state_offset, ser.state_size));
		KUNIT_ASSERT_LE(test, ser.size, TEST_SIZE);
		KUNIT_ASSERT_LE(test, ser.rid, U16_MAX);
		KUNIT_ASSERT_LE(test, ser.msi_qmax, 5);
	}
	KUNIT_EXPECT_GT(test, refused, MUTATIONS / 4);
	KUNIT_EXPECT_LT(test, refused, MUTATIONS);
}

/* What is unpacked packs to what it was made from: nothing was read beyond it */
static void state_mutations_test(struct kunit *test)
{
	struct test_state *good = good_state(test), *state, *again;
	struct pci_saved_state *unpacked;
	unsigned int refused = 0;
	struct rnd_state rnd;

	state = kunit_kzalloc(test, sizeof(*state), GFP_KERNEL);
	again = kunit_kzalloc(test, sizeof(*again), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, state);
	KUNIT_ASSERT_NOT_NULL(test, again);

	prandom_seed_state(&rnd, 0xf11);
	for (int i = 0; i < MUTATIONS; i++) {
		*state = *good;
		mutate(&rnd, state, sizeof(*state));
		unpacked = pci_saved_state_unpack(state, sizeof(*state));
		if (IS_ERR(unpacked)) {
			refused++;
			continue;
		}
		memset(again, 0, sizeof(*again));
		if (pci_saved_state_pack(unpacked, again, sizeof(*again)) != sizeof(*again) ||
		    memcmp(again, state, offsetof(struct test_state, exp) +
					 offsetof(struct pci_saved_cap_ser, data)))
			KUNIT_FAIL(test, "mutation %d comes back otherwise", i);
		kfree(unpacked);
	}
	KUNIT_EXPECT_GT(test, refused, 0);
	KUNIT_EXPECT_LT(test, refused, MUTATIONS);
}

static struct kunit_case vfio_pci_liveupdate_cases[] = {
	KUNIT_CASE(ser_good_test),
	KUNIT_CASE(ser_length_test),
	KUNIT_CASE(ser_version_test),
	KUNIT_CASE(ser_fields_test),
	KUNIT_CASE(state_round_trip_test),
	KUNIT_CASE(state_malformed_test),
	KUNIT_CASE_SLOW(ser_mutations_test),
	KUNIT_CASE_SLOW(state_mutations_test),
	{}
};

static struct kunit_suite vfio_pci_liveupdate_suite = {
	.name = "vfio_pci_liveupdate",
	.test_cases = vfio_pci_liveupdate_cases,
};

kunit_test_suite(vfio_pci_liveupdate_suite);

MODULE_DESCRIPTION("KUnit tests for live update of vfio-pci");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
