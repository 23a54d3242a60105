// SPDX-License-Identifier: GPL-2.0-only
/*
 * Somebody resets a device through sysfs, over and over, while its user preserves it.
 * Whoever comes first, a device that is preserved is not reset any more: one that was
 * asked for before is over by then, or does not happen.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <linux/io.h>

#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/refuse.h"
#include "liveupdate/sysfs.h"

/* Of igb: a filter for multicast, that a reset clears and nobody else cares for */
#define E1000_MTA	0x5200

#define ROUNDS		40
#define PATIENCE_MS	5000
#define TIMEOUT		600

static const char *device_bdf;

/* A function level reset takes 100 ms and more; one that was late would show by then. */
#define REST_US		5000
#define PRESERVED_US	150000

struct resetter {
	pthread_t thread;
	char path[128];
	bool stop;
	unsigned long done;
	unsigned long refused;
	int error;
};

FIXTURE(reset) {
	struct refuse refuse;
	struct resetter resetter;
};

static void *resetter_run(void *arg)
{
	struct resetter *r = arg;
	u32 n = 0;
	int ret;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		ret = file_write(r->path, "1");
		if (!ret)
			__atomic_add_fetch(&r->done, 1, __ATOMIC_RELAXED);
		else if (ret == -EBUSY)
			r->refused++;
		else
			r->error = ret;
		/* Not in step with the other one */
		usleep(REST_US * (n++ % 7));
	}
	return NULL;
}

/* Wait for a reset that was not refused. */
static bool reset_again(struct resetter *r)
{
	unsigned long done = __atomic_load_n(&r->done, __ATOMIC_RELAXED);
	int ms;

	for (ms = 0; ms < PATIENCE_MS; ms++) {
		if (__atomic_load_n(&r->done, __ATOMIC_RELAXED) != done)
			return true;
		usleep(1000);
	}
	return false;
}

FIXTURE_SETUP(reset)
{
	int ret = refuse_init(&self->refuse, device_bdf, _metadata->name);

	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
	if (strcmp(self->refuse.vm.device->driver.ops->name, "igb"))
		SKIP(return, "not an igb");
	snprintf_assert(self->resetter.path, sizeof(self->resetter.path), "%s",
			device_path(device_bdf, "reset"));
	if (access(self->resetter.path, W_OK))
		SKIP(return, "cannot be reset");
	ASSERT_EQ(0, pthread_create(&self->resetter.thread, NULL, resetter_run,
				    &self->resetter));
}

FIXTURE_TEARDOWN(reset)
{
	struct resetter *r = &self->resetter;

	__atomic_store_n(&r->stop, true, __ATOMIC_RELAXED);
	pthread_join(r->thread, NULL);
	refuse_cleanup(&self->refuse);
}

TEST_F_TIMEOUT(reset, at_that_moment, TIMEOUT)
{
	struct refuse *refuse = &self->refuse;
	void *mta = refuse->vm.device->bars[0].vaddr + E1000_MTA;
	unsigned long preserved = 0, refused = 0;
	u32 i;

	for (i = 1; i <= ROUNDS; i++) {
		int ret = vm_preserve_all(&refuse->vm);

		/* The other one was first */
		if (ret == -EBUSY) {
			refused++;
		} else {
			ASSERT_EQ(0, ret);
			preserved++;
			writel(i, mta);
			ASSERT_EQ(i, readl(mta));
			usleep(PRESERVED_US);
			EXPECT_EQ(i, readl(mta)) {
				TH_LOG("reset while it was preserved, round %u", i);
			}
		}
		ASSERT_LE(0, refuse_new_session(refuse));
		ASSERT_TRUE(reset_again(&self->resetter));
		usleep(REST_US * (i % 5));
	}

	TH_LOG("preserved %lu times, %lu times a reset came first; %lu resets, %lu refused",
	       preserved, refused, self->resetter.done, self->resetter.refused);
	EXPECT_LT(0, preserved);
	EXPECT_LT(0, self->resetter.refused);
	EXPECT_EQ(0, self->resetter.error);
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
