// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocations that fail while a device that runs is taken back: the call says so and
 * can be made again, and the device has not noticed.
 */
#include <errno.h>

#include <linux/kernel.h>

#include "faults.h"
#include "vmm.h"

/* More than there are in any of the calls */
#define MAX_NTH	1000

/* Not all the rest: in between, user space can need a page as well. */
#define REST	"16"

static int make_it_fail = -1;

/* Besides the n-th allocation those after it can fail, once that is switched on. */
static void faults_init(void)
{
	static const char * const attrs[] = { FAULT_ALLOC, FAULT_PAGE };
	char path[64];
	size_t i;

	if (make_it_fail >= 0)
		return;
	if (!fault_alloc_init())
		control_fail(0, "this kernel cannot have allocations fail");

	make_it_fail = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC);
	if (make_it_fail < 0)
		control_fail(-errno, "open make-it-fail");
	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		snprintf_assert(path, sizeof(path), "%stask-filter", attrs[i]);
		VFIO_ASSERT_TRUE(file_takes(path, "Y"));
		snprintf_assert(path, sizeof(path), "%sprobability", attrs[i]);
		VFIO_ASSERT_TRUE(file_takes(path, "100"));
	}
}

static void rest_fails(bool on)
{
	VFIO_ASSERT_EQ(pwrite(make_it_fail, on ? "1" : "0", 1, 0), 1);
}

/* Make @call with the @nth allocation failing, and what follows it if @rest. */
static int call_with_fault(struct nic *nic, int (*call)(struct nic *nic), unsigned int nth,
			   bool rest, bool *fired)
{
	int ret;

	VFIO_ASSERT_TRUE(file_takes(FAULT_ALLOC "times", REST));
	VFIO_ASSERT_TRUE(file_takes(FAULT_PAGE "times", REST));
	fault_alloc_set(nth);
	rest_fails(rest);
	ret = call(nic);
	rest_fails(false);
	*fired = fault_alloc_fired();
	return ret;
}

/*
 * Have the first, second, ... allocation of @call fail, until there is none left that
 * matters. A call that works cannot be made again, and many make up for one failure, with
 * other flags or by doing without: so those that follow fail as well. Where that could
 * leave a device of no use, only up to @least, as many as the call needs in any case.
 */
int call_with_faults(const char *what, struct nic *nic, int (*call)(struct nic *nic),
		     unsigned int least)
{
	unsigned int nth;
	bool fired;
	int ret;

	control_step("%s of NIC %u", what, nic->id);
	if (!vmm.faults) {
		ret = call(nic);
		if (ret < 0)
			control_fail(ret, "failed");
		return ret;
	}

	faults_init();
	for (nth = 1; nth < MAX_NTH; nth++) {
		ret = call_with_fault(nic, call, nth, !least || nth <= least, &fired);
		if (ret >= 0)
			break;
		/* Some are not allocations: iommufd has points of its own, with their errnos. */
		if (!fired || (ret != -ENOMEM && ret != -ENOENT && ret != -EINVAL))
			control_fail(ret, "failed with allocation %u", nth);
	}
	control_info("faults in %s=%u", what, nth - 1);
	if (ret < 0)
		control_fail(ret, "still fails with allocation %u", nth - 1);
	if (nth <= max(least, 1U))
		control_fail(0, "only %u allocations failed", nth - 1);
	return ret;
}
