// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what is read from a kernel image: what an image says is
 * understood, and no mutation of it leads out of it.
 */
#include <kunit/test.h>
#include <linux/err.h>
#include <linux/kho/abi/luo_image.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "luo_internal.h"

#define MUTATIONS	100000

#define NOTE_DATA	"\1\1\0\0iommufd\0\0\0\0\0memfd"
#define NOTE_HEAD	(sizeof(struct luo_image_note))

struct test_note {
	struct luo_image_note head;
	char data[128];
} __packed;

/* Returns the size of the note. */
static size_t note_fill(struct test_note *note, u32 flags, const char *builtin,
			const char *data, size_t len)
{
	size_t builtin_len = strlen(builtin) + 1;
	size_t size = NOTE_HEAD + builtin_len + len;

	memcpy(note->head.magic, LUO_IMAGE_NOTE_MAGIC, sizeof(note->head.magic));
	note->head.size = size;
	note->head.flags = flags;
	memcpy(note->data, builtin, builtin_len);
	memcpy(note->data + builtin_len, data, len);
	return size;
}

static struct luo_image *note_parse(struct kunit *test, u32 flags,
				    const char *builtin, const char *cmdline)
{
	struct luo_image *image;
	struct test_note note;
	size_t size;

	size = note_fill(&note, flags, builtin, NOTE_DATA, sizeof(NOTE_DATA));
	image = luo_image_parse(&note, size, cmdline);
	KUNIT_ASSERT_FALSE(test, IS_ERR(image));
	return image;
}

static void test_names(struct kunit *test)
{
	struct luo_image *image = note_parse(test, 0, "", NULL);

	KUNIT_EXPECT_TRUE(test, luo_image_knows(image, "iommufd", 0x101));
	KUNIT_EXPECT_TRUE(test, luo_image_knows(image, "memfd", 0));
	KUNIT_EXPECT_FALSE(test, luo_image_knows(image, "iommufd", 0x100));
	KUNIT_EXPECT_FALSE(test, luo_image_knows(image, "iommufd", 0));
	KUNIT_EXPECT_FALSE(test, luo_image_knows(image, "iommu", 0x101));
	KUNIT_EXPECT_FALSE(test, luo_image_knows(image, "memfd-v2", 0));
	KUNIT_EXPECT_FALSE(test, luo_image_knows(image, "", 0));
	kfree(image);
}

static const struct {
	u32 flags;
	const char *builtin;
	const char *cmdline;
	bool kho;
	bool liveupdate;
	u64 memory;	/* if not all of it */
} cmdlines[] = {
	{ 0, "", NULL, false, false },
	{ LUO_IMAGE_NOTE_KHO_ON, "", NULL, true, false },
	{ LUO_IMAGE_NOTE_KHO_ON, "", "console=ttyS0 liveupdate=on", true, true },
	{ LUO_IMAGE_NOTE_KHO_ON, "", "kho=off liveupdate=on", false, true },
	{ 0, "", "kho=on liveupdate=1", true, true },
	{ 0, "", "kho=on liveupdate=on kho=off", false, true },
	{ 0, "", "kho=off liveupdate=off kho=y liveupdate=y", true, true },
	{ 0, "", "kho=on liveupdate=\"on\"", true, true },
	/* What is no value changes nothing, and what follows -- is init's. */
	{ 0, "", "kho=on liveupdate=on kho liveupdate=maybe", true, true },
	{ 0, "", "kho=on liveupdate=on -- kho=off liveupdate=off", true, true },
	{ 0, "", "nokho=on xliveupdate=on", false, false },
	/* The one that is built in comes first, or is the only one. */
	{ 0, "kho=on liveupdate=on", NULL, true, true },
	{ 0, "kho=on liveupdate=on", "kho=off", false, true },
	{ 0, "kho=off liveupdate=off", "kho=on liveupdate=on", true, true },
	{ LUO_IMAGE_NOTE_OVERRIDE, "kho=on liveupdate=off", "liveupdate=on", true, false },
	{ LUO_IMAGE_NOTE_OVERRIDE, "kho=on liveupdate=on", "kho=off", true, true },
	/* The smallest of them cuts off the most. */
	{ 0, "mem=2G", "kho=on liveupdate=on mem=1536M mem=4G", true, true, 1536ULL << 20 },
	{ 0, "", "kho=on liveupdate=on mem mem=nopentium mem=0", true, true },
};

static void test_cmdline(struct kunit *test)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(cmdlines); i++) {
		struct luo_image *image = note_parse(test, cmdlines[i].flags,
						     cmdlines[i].builtin,
						     cmdlines[i].cmdline);

		KUNIT_EXPECT_EQ_MSG(test, cmdlines[i].kho, image->kho, "case %d", i);
		KUNIT_EXPECT_EQ_MSG(test, cmdlines[i].liveupdate, image->liveupdate,
				    "case %d", i);
		KUNIT_EXPECT_EQ_MSG(test, cmdlines[i].memory ?: U64_MAX, image->memory,
				    "case %d", i);
		kfree(image);
	}
}

static void expect_malformed(struct kunit *test, const struct test_note *note,
			     size_t size)
{
	struct luo_image *image = luo_image_parse(note, size, NULL);

	KUNIT_EXPECT_TRUE(test, image == ERR_PTR(-EINVAL));
	if (!IS_ERR(image))
		kfree(image);
}

static void test_malformed(struct kunit *test)
{
	struct test_note note;
	size_t size;

	size = note_fill(&note, 0, "", NOTE_DATA, sizeof(NOTE_DATA));
	expect_malformed(test, &note, size - 1);
	expect_malformed(test, &note, size + 1);
	expect_malformed(test, &note, NOTE_HEAD);
	expect_malformed(test, &note, 0);

	note.head.magic[0] ^= 1;
	expect_malformed(test, &note, size);

	size = note_fill(&note, LUO_IMAGE_NOTE_FLAGS + 1, "", NOTE_DATA, sizeof(NOTE_DATA));
	expect_malformed(test, &note, size);

	/* No NUL at the end; a version without a name; half a version. */
	size = note_fill(&note, 0, "", NOTE_DATA, sizeof(NOTE_DATA) - 1);
	expect_malformed(test, &note, size);
	size = note_fill(&note, 0, "", "\0\0\0\0", 4);
	expect_malformed(test, &note, size);
	size = note_fill(&note, 0, "", "\0", 1);
	expect_malformed(test, &note, size);
}

/* With a buffer of exactly the size KASAN sees what leads out of it. */
static void test_mutations(struct kunit *test)
{
	struct rnd_state rnd;
	struct test_note note;
	int i, readable = 0;
	size_t size;
	u8 *copy;

	size = note_fill(&note, LUO_IMAGE_NOTE_KHO_ON, "kho=on", NOTE_DATA,
			 sizeof(NOTE_DATA));
	copy = kunit_kmalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, copy);

	prandom_seed_state(&rnd, 1);
	for (i = 0; i < MUTATIONS; i++) {
		u32 at = prandom_u32_state(&rnd) % size;
		u32 bytes = 1 + prandom_u32_state(&rnd) % 3;
		struct luo_image *image;

		memcpy(copy, &note, size);
		while (bytes-- && at < size)
			copy[at++] = prandom_u32_state(&rnd);

		image = luo_image_parse(copy, size, NULL);
		if (IS_ERR(image))
			continue;
		luo_image_knows(image, "nothing", 0);
		KUNIT_EXPECT_LT(test, image->len, size);
		kfree(image);
		readable++;
	}

	/* A mutated version is as good as another, a broken head is not. */
	KUNIT_EXPECT_GT(test, readable, 0);
	KUNIT_EXPECT_LT(test, readable, MUTATIONS);
}

static struct kunit_case luo_image_cases[] = {
	KUNIT_CASE(test_names),
	KUNIT_CASE(test_cmdline),
	KUNIT_CASE(test_malformed),
	KUNIT_CASE(test_mutations),
	{}
};

static struct kunit_suite luo_image_suite = {
	.name = "luo_image",
	.test_cases = luo_image_cases,
};

kunit_test_suite(luo_image_suite);

MODULE_DESCRIPTION("KUnit tests of the live update image check");
MODULE_LICENSE("GPL");
