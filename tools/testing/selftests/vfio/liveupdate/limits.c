// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memfd that could not be retrieved is lost for good, and memory under DMA is in use
 * whether there is a limit to it or not. With --limits the kernel commits to no more
 * than a little, less than a memfd, while one is taken back.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>

#include "files.h"
#include "vmm.h"

#define SYSCTL_VM	"/proc/sys/vm/"
#define NEVER		"2"
#define HEURISTIC	"0"

#define LITTLE_KIB	4096L

static void sysctl_write(const char *path, const char *text)
{
	must(sysfs_write(path, text), "write %s to %s", text, path);
}

/* Who is not under DMA does not get more. */
static void expect_limited(void)
{
	int fd = memfd_create("new", MFD_CLOEXEC);

	control_step("have a new memfd refused");
	if (fd < 0)
		control_fail(-errno, "memfd_create");
	if (!fallocate(fd, 0, 0, 2 * LITTLE_KIB * 1024))
		control_fail(0, "there is no limit");
	control_info("limit_errno=%d", errno);
	close(fd);
}

void limits_set(void)
{
	char text[24];
	long kib;

	if (!vmm.limits)
		return;
	kib = number_of("/proc/meminfo", "Committed_AS:");
	snprintf_assert(text, sizeof(text), "%ld", kib + LITTLE_KIB);
	sysctl_write(SYSCTL_VM "overcommit_kbytes", text);
	sysctl_write(SYSCTL_VM "overcommit_memory", NEVER);
	expect_limited();
}

/* What has been taken back may be beyond it by now. */
void limits_lift(void)
{
	if (vmm.limits)
		sysctl_write(SYSCTL_VM "overcommit_memory", HEURISTIC);
}
