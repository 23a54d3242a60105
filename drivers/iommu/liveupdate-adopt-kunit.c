// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the new kernel's records: who gets a restored domain, which
 * devices are blocked when, and what ends with whom. The records are made up, and
 * so is the unit that blocks.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/limits.h>
#include <linux/sizes.h>

#include "liveupdate-incoming.h"

/* Two iommufds with a domain each */
#define FILE_A		SZ_64K
#define FILE_B		SZ_128K
#define KEY_A		1
#define KEY_B		2
#define UNIT		0xfed90000

struct records {
	struct incoming in;
	struct iommu_device iommu;
	struct incoming_unit unit;
	struct incoming_domain domain_a, domain_b;
	struct incoming_device device[3];
	struct iommu_domain restored_a, restored_b;
	/* Stands for a device that has been probed */
	struct device dev;
};

/* How often, by routing id */
static unsigned int blocked[ARRAY_SIZE(((struct records *)NULL)->device)];
static struct iommu_domain *freed;

static void count_block(struct iommu_device *iommu, u32 segment, u16 rid)
{
	blocked[rid]++;
}

static void note_free(struct iommu_domain *domain)
{
	freed = domain;
}

static const struct iommu_liveupdate_ops liveupdate_ops = {
	.block_rid = count_block,
};

static const struct iommu_ops iommu_ops = {
	.liveupdate = &liveupdate_ops,
};

static const struct iommu_domain_ops domain_ops = {
	.free = note_free,
};

static void add_domain(struct records *r, struct incoming_domain *domain,
		       struct iommu_domain *restored, u64 key, u64 file)
{
	restored->ops = &domain_ops;
	domain->domain = restored;
	domain->ser.key = key;
	domain->ser.file = file;
	list_add_tail(&domain->list, &r->in.domains);
}

/* Device 0 and 1 are of domain A, device 2 of domain B; none has been probed */
static int records_init(struct kunit *test)
{
	struct records *r;
	int i;

	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	if (!r)
		return -ENOMEM;

	INIT_LIST_HEAD(&r->in.units);
	INIT_LIST_HEAD(&r->in.domains);
	INIT_LIST_HEAD(&r->in.devices);
	r->in.readable = true;

	r->iommu.ops = &iommu_ops;
	r->unit.iommu = &r->iommu;
	r->unit.ser.reg_phys = UNIT;
	list_add_tail(&r->unit.list, &r->in.units);

	add_domain(r, &r->domain_a, &r->restored_a, KEY_A, FILE_A);
	add_domain(r, &r->domain_b, &r->restored_b, KEY_B, FILE_B);
	for (i = 0; i < ARRAY_SIZE(r->device); i++) {
		struct incoming_device *rec = &r->device[i];

		rec->domain = i < 2 ? &r->domain_a : &r->domain_b;
		rec->ser.domain = rec->domain->ser.key;
		rec->ser.unit = UNIT;
		/* Not where a PCI device can be */
		rec->ser.segment = U32_MAX;
		rec->ser.rid = i;
		list_add_tail(&rec->list, &r->in.devices);
	}

	memset(blocked, 0, sizeof(blocked));
	freed = NULL;
	test->priv = r;

	scoped_guard(mutex, &iommu_liveupdate_lock)
		if (!iommu_incoming)
			iommu_incoming = &r->in;
	if (iommu_incoming != &r->in)
		kunit_skip(test, "there are real ones");
	return 0;
}

static void records_exit(struct kunit *test)
{
	struct records *r = test->priv;

	guard(mutex)(&iommu_liveupdate_lock);
	if (r && iommu_incoming == &r->in)
		iommu_incoming = NULL;
}

static void expect_blocked(struct kunit *test, unsigned int first,
			   unsigned int second, unsigned int third)
{
	KUNIT_EXPECT_EQ(test, blocked[0], first);
	KUNIT_EXPECT_EQ(test, blocked[1], second);
	KUNIT_EXPECT_EQ(test, blocked[2], third);
}

/* A key is good only together with the file it belongs to */
static void test_owner(struct kunit *test)
{
	struct records *r = test->priv;

	KUNIT_EXPECT_EQ(test, iommu_liveupdate_set_owner(KEY_B, FILE_A, r),
			-ENOENT);
	KUNIT_EXPECT_EQ(test, iommu_liveupdate_set_owner(99, FILE_A, r),
			-ENOENT);
	KUNIT_EXPECT_EQ(test, iommu_liveupdate_set_owner(KEY_A, FILE_A, r), 0);
	KUNIT_EXPECT_EQ(test, iommu_liveupdate_set_owner(KEY_A, FILE_A, r),
			-EBUSY);
	KUNIT_EXPECT_EQ(test, iommu_liveupdate_set_owner(KEY_B, FILE_B, &r->domain_b),
			0);
	iommu_liveupdate_clear_owner(KEY_A, &r->domain_b);
	KUNIT_EXPECT_PTR_EQ(test, r->domain_a.owner, (void *)r);
	iommu_liveupdate_clear_owner(KEY_A, r);
	KUNIT_EXPECT_NULL(test, r->domain_a.owner);
}

/* Not while a device that has adopted it is not bound */
static void test_take(struct kunit *test)
{
	struct records *r = test->priv;
	struct iommu_domain *domain;

	r->device[0].dev = &r->dev;
	r->device[0].state = IOMMU_LIVEUPDATE_CLAIMED;
	KUNIT_ASSERT_EQ(test, iommu_liveupdate_set_owner(KEY_A, FILE_A, r), 0);
	domain = iommu_liveupdate_take_domain(KEY_A, &r->domain_b);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -EPERM);

	/* One more shows up after RESTORE has asked */
	KUNIT_EXPECT_FALSE(test, iommu_liveupdate_domain_unclaimed(KEY_A));
	r->device[1].dev = &r->dev;
	r->device[1].state = IOMMU_LIVEUPDATE_HELD;
	KUNIT_EXPECT_TRUE(test, iommu_liveupdate_domain_unclaimed(KEY_A));
	domain = iommu_liveupdate_take_domain(KEY_A, r);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -ENODEV);

	r->device[1].state = IOMMU_LIVEUPDATE_CONFIRMED;
	domain = iommu_liveupdate_take_domain(KEY_A, r);
	KUNIT_EXPECT_PTR_EQ(test, domain, &r->restored_a);
	KUNIT_EXPECT_EQ(test, r->domain_a.state, INCOMING_TAKEN);
	iommu_liveupdate_return_domain(KEY_A, r, domain);
	KUNIT_EXPECT_EQ(test, r->domain_a.state, INCOMING_WAITS);
	KUNIT_EXPECT_PTR_EQ(test, r->domain_a.domain, &r->restored_a);
	expect_blocked(test, 0, 0, 0);
}

/* A device that is not there is not waited for, and does not go on */
static void test_absent(struct kunit *test)
{
	struct records *r = test->priv;
	struct iommu_domain *domain;

	r->device[0].dev = &r->dev;
	r->device[0].state = IOMMU_LIVEUPDATE_CONFIRMED;
	KUNIT_ASSERT_EQ(test, iommu_liveupdate_set_owner(KEY_A, FILE_A, r), 0);
	KUNIT_EXPECT_FALSE(test, iommu_liveupdate_domain_unclaimed(KEY_A));
	domain = iommu_liveupdate_take_domain(KEY_A, r);
	KUNIT_EXPECT_PTR_EQ(test, domain, &r->restored_a);
	expect_blocked(test, 0, 0, 0);

	iommu_liveupdate_end_absent(KEY_A);
	expect_blocked(test, 0, 1, 0);
	KUNIT_EXPECT_FALSE(test, r->device[0].failed);
	KUNIT_EXPECT_TRUE(test, r->device[1].failed);
	/* With an end it would get its default domain when it shows up */
	KUNIT_EXPECT_FALSE(test, r->device[1].ended);
}

/* RESTORE that fails leaves nothing behind */
static void test_left_out(struct kunit *test)
{
	struct records *r = test->priv;

	KUNIT_EXPECT_FALSE(test, iommu_liveupdate_forget_domain(KEY_A));
	KUNIT_EXPECT_EQ(test, r->domain_a.state, INCOMING_WAITS);

	r->domain_a.domain = NULL;
	KUNIT_EXPECT_TRUE(test, iommu_liveupdate_forget_domain(KEY_A));
	KUNIT_EXPECT_EQ(test, r->domain_a.state, INCOMING_LEFT_OUT);
	iommu_liveupdate_remember_domain(KEY_B);
	KUNIT_EXPECT_EQ(test, r->domain_b.state, INCOMING_WAITS);
	iommu_liveupdate_remember_domain(KEY_A);
	KUNIT_EXPECT_EQ(test, r->domain_a.state, INCOMING_WAITS);
}

/* FINISH ends what is of one iommufd, and nothing else */
static void test_discard(struct kunit *test)
{
	struct records *r = test->priv;

	iommu_liveupdate_discard_file(FILE_A);
	expect_blocked(test, 1, 1, 0);
	KUNIT_EXPECT_TRUE(test, r->device[0].ended);
	KUNIT_EXPECT_TRUE(test, r->device[1].ended);
	KUNIT_EXPECT_FALSE(test, r->device[2].ended);
	KUNIT_EXPECT_PTR_EQ(test, freed, &r->restored_a);
	KUNIT_EXPECT_NULL(test, r->domain_a.domain);
	KUNIT_EXPECT_EQ(test, r->domain_b.state, INCOMING_WAITS);
	KUNIT_EXPECT_PTR_EQ(test, r->domain_b.domain, &r->restored_b);

	/* Once */
	freed = NULL;
	iommu_liveupdate_discard_file(FILE_A);
	expect_blocked(test, 1, 1, 0);
	KUNIT_EXPECT_NULL(test, freed);
}

/* Nobody gets a domain that was given up, or goes on using it */
static void test_give_up(struct kunit *test)
{
	struct records *r = test->priv;
	struct iommu_domain *domain;

	r->device[1].failed = true;
	iommu_liveupdate_give_up_file(FILE_A, "of a test");
	expect_blocked(test, 1, 0, 0);
	KUNIT_EXPECT_TRUE(test, r->device[0].failed);
	KUNIT_EXPECT_FALSE(test, r->device[0].ended);
	KUNIT_EXPECT_EQ(test, r->domain_a.state, INCOMING_GIVEN_UP);
	KUNIT_EXPECT_EQ(test, r->domain_b.state, INCOMING_WAITS);

	KUNIT_EXPECT_EQ(test, iommu_liveupdate_set_owner(KEY_A, FILE_A, r),
			-ENOENT);
	domain = iommu_liveupdate_take_domain(KEY_A, NULL);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -EIO);

	iommu_liveupdate_discard_file(FILE_A);
	KUNIT_EXPECT_TRUE(test, r->device[0].ended);
	KUNIT_EXPECT_PTR_EQ(test, freed, &r->restored_a);
}

/* A device takes its record along, and whoever has found it has its group */
static void test_removed(struct kunit *test)
{
	struct records *r = test->priv;
	struct iommu_group *group;
	struct device *dev;

	dev = kunit_device_register(test, "iommu-liveupdate-removed");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	group = iommu_group_alloc();
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, group);

	KUNIT_EXPECT_NULL(test, iommu_liveupdate_get_group(dev));
	r->device[2].dev = dev;
	r->device[2].group = group;
	r->device[2].state = IOMMU_LIVEUPDATE_HELD;
	KUNIT_EXPECT_PTR_EQ(test, iommu_liveupdate_get_group(dev), group);
	iommu_group_put(group);

	iommu_liveupdate_removed(dev);
	KUNIT_EXPECT_TRUE(test, r->device[2].ended);
	KUNIT_EXPECT_NULL(test, iommu_liveupdate_get_group(dev));
	KUNIT_EXPECT_FALSE(test, r->device[0].ended);
	iommu_group_put(group);

	/* There is nothing left to block */
	iommu_liveupdate_discard_file(FILE_B);
	expect_blocked(test, 0, 0, 0);
	KUNIT_EXPECT_PTR_EQ(test, freed, &r->restored_b);
}

static struct kunit_case records_cases[] = {
	KUNIT_CASE(test_owner),
	KUNIT_CASE(test_take),
	KUNIT_CASE(test_absent),
	KUNIT_CASE(test_left_out),
	KUNIT_CASE(test_discard),
	KUNIT_CASE(test_give_up),
	KUNIT_CASE(test_removed),
	{}
};

static struct kunit_suite records_suite = {
	.name = "iommu-liveupdate-records",
	.init = records_init,
	.exit = records_exit,
	.test_cases = records_cases,
};

kunit_test_suite(records_suite);

MODULE_DESCRIPTION("KUnit tests of the IOMMU live update records");
MODULE_LICENSE("GPL");
