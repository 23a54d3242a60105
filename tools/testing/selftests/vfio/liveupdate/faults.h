/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_FAULTS_H
#define SELFTESTS_VFIO_LIVEUPDATE_FAULTS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <libvfio.h>

#include "files.h"

/*
 * Fault injection (Documentation/fault-injection/): the n-th allocation of this
 * thread fails, or the n-th call of a function of the kernel that is marked for that.
 */

#define FAULTS			"/sys/kernel/debug/"
#define FAULT_FUNCTION		FAULTS "fail_function/"
#define FAULT_ALLOC		FAULTS "failslab/"
#define FAULT_PAGE		FAULTS "fail_page_alloc/"
/* Of iommufd itself, where its mock devices are built in; fail-nth is for these, too */
#define FAULT_IOMMUFD		FAULTS "fail_iommufd/"

/* The last of all functions that are called to freeze, or preserve, something */
#define FAULT_FREEZE		"luo_file_freeze_one"
#define FAULT_KHO		"kho_preserve_range"

#define FAULT_TIMES		"1000000"

/* Opening anything while it is set would be counted, and may fail. */
static int fault_alloc_fd = -1;

/* Any allocation may fail, and none does yet. Returns false without the config. */
static inline bool fault_alloc_init(void)
{
	file_takes(FAULT_IOMMUFD "verbose", "0");
	fault_alloc_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return fault_alloc_fd >= 0 &&
	       file_takes(FAULT_ALLOC "ignore-gfp-wait", "N") &&
	       file_takes(FAULT_PAGE "ignore-gfp-wait", "N") &&
	       file_takes(FAULT_PAGE "ignore-gfp-highmem", "N") &&
	       file_takes(FAULT_PAGE "min-order", "0") &&
	       file_takes(FAULT_ALLOC "verbose", "0") &&
	       file_takes(FAULT_PAGE "verbose", "0");
}

static inline void fault_alloc_set(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	VFIO_ASSERT_EQ(pwrite(fault_alloc_fd, text, len, 0), len);
}

/* Stop it. Returns whether an allocation has failed. */
static inline bool fault_alloc_fired(void)
{
	char text[16] = {};

	VFIO_ASSERT_GT(pread(fault_alloc_fd, text, sizeof(text) - 1, 0), 0);
	fault_alloc_set(0);
	return !atoi(text);
}

static inline void fault_function_end(const char *function)
{
	char text[64];

	file_takes(FAULT_FUNCTION "probability", "0");
	snprintf_assert(text, sizeof(text), "!%s", function);
	file_takes(FAULT_FUNCTION "inject", text);
}

/* Returns false if the kernel cannot do that. */
static inline bool fault_function_init(const char *function, int err)
{
	char path[128], value[32];

	fault_function_end(function);
	if (!file_takes(FAULT_FUNCTION "inject", function))
		return false;
	snprintf_assert(path, sizeof(path), FAULT_FUNCTION "%s/retval", function);
	snprintf_assert(value, sizeof(value), "%#llx", (unsigned long long)err);
	return file_takes(path, value) && file_takes(FAULT_FUNCTION "verbose", "0") &&
	       file_takes(FAULT_FUNCTION "interval", "1");
}

/* Have the @nth call from now on fail, and those after it. */
static inline void fault_function_set(unsigned int nth)
{
	char text[16];

	snprintf_assert(text, sizeof(text), "%u", nth);
	VFIO_ASSERT_TRUE(file_takes(FAULT_FUNCTION "times", FAULT_TIMES));
	VFIO_ASSERT_TRUE(file_takes(FAULT_FUNCTION "space", text));
	VFIO_ASSERT_TRUE(file_takes(FAULT_FUNCTION "probability", "100"));
}

/* Stop it. Returns whether there have been that many calls. */
static inline bool fault_function_fired(void)
{
	VFIO_ASSERT_TRUE(file_takes(FAULT_FUNCTION "probability", "0"));
	return number_of(FAULT_FUNCTION "times", "") < atoi(FAULT_TIMES);
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_FAULTS_H */
