// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocations that fail while a device that runs is taken back: the call says so and
 * can be made again, and the device has not noticed.
 */
#include <errno.h>

#include "faults.h"
#include "vmm.h"

/* More than there are in any of the calls */
#define MAX_NTH	1000

/* Have the first, second, ... allocation of @call fail, until there is none left. */
int call_with_faults(const char *what, struct nic *nic, int (*call)(struct nic *nic))
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

	if (!fault_alloc_init())
		control_fail(0, "this kernel cannot have allocations fail");
	for (nth = 1; nth < MAX_NTH; nth++) {
		fault_alloc_set(nth);
		ret = call(nic);
		fired = fault_alloc_fired();
		if (ret >= 0)
			break;
		if (!fired || ret != -ENOMEM)
			control_fail(ret, "failed with allocation %u", nth);
	}
	control_info("faults in %s=%u", what, nth - 1);
	return ret;
}
