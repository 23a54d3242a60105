// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memfd that could not be retrieved is lost for good, and memory under DMA is in use
 * whether there is a limit to it or not. With --limits the kernel commits to no more
 * than a little, less than a memfd, while one is taken back; with --memcg the memory
 * cgroup of the VMM has room for no more.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <linux/sizes.h>

#include "files.h"
#include "vmm.h"

#define SYSCTL_VM	"/proc/sys/vm/"
#define NEVER		"2"
#define HEURISTIC	"0"

#define CGROUPS		"/sys/fs/cgroup/"
#define MEMCG		CGROUPS "liveupdate-vmm/"

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

static void commit_limit(void)
{
	char text[24];
	long kib;

	kib = number_of("/proc/meminfo", "Committed_AS:");
	snprintf_assert(text, sizeof(text), "%ld", kib + LITTLE_KIB);
	sysctl_write(SYSCTL_VM "overcommit_kbytes", text);
	sysctl_write(SYSCTL_VM "overcommit_memory", NEVER);
	expect_limited();
}

/* Of a group with no room left: even to open a file would have somebody killed */
static struct {
	int max_fd;
	long limit;
	long times;			/* it has been full before */
} memcg;

static void memcg_max(const char *text)
{
	if (write(memcg.max_fd, text, strlen(text)) != (ssize_t)strlen(text))
		control_fail(-errno, "write %s to memory.max", text);
}

static void memcg_limit(void)
{
	char text[24];

	control_step("go into a memory cgroup with little room");
	if (mount("cgroup2", CGROUPS, "cgroup2", 0, NULL) && errno != EBUSY)
		control_fail(-errno, "mount cgroup2 at " CGROUPS);
	if (mkdir(MEMCG, 0755) && errno != EEXIST)
		control_fail(-errno, "make " MEMCG);
	sysctl_write(CGROUPS "cgroup.subtree_control", "+memory");
	sysctl_write(MEMCG "cgroup.procs", "0");
	memcg.max_fd = open(MEMCG "memory.max", O_WRONLY | O_CLOEXEC);
	if (memcg.max_fd < 0)
		control_fail(-errno, "open " MEMCG "memory.max");
	memcg.times = number_of(MEMCG "memory.events", "max ");
	memcg.limit = number_of(MEMCG "memory.current", "") + LITTLE_KIB * 1024;
	snprintf_assert(text, sizeof(text), "%ld", memcg.limit);
	memcg_max(text);
}

/* It has been full, and has taken no more: the rest is charged to the root group. */
static void memcg_lift(void)
{
	long times, killed, bytes;

	memcg_max("max");
	close(memcg.max_fd);
	times = number_of(MEMCG "memory.events", "max ") - memcg.times;
	killed = number_of(MEMCG "memory.events", "oom_kill ");
	bytes = number_of(MEMCG "memory.current", "");
	control_info("memcg_full=%ld", times);
	/* What it took to look is charged to it by now, too */
	if (times <= 0 || killed || bytes > memcg.limit + SZ_1M)
		control_fail(0, "full %ld times, %ld killed, %ld of %ld bytes",
			     times, killed, bytes, memcg.limit);
	sysctl_write(CGROUPS "cgroup.procs", "0");
}

void limits_set(void)
{
	if (vmm.limits)
		commit_limit();
	if (vmm.memcg)
		memcg_limit();
}

/* What has been taken back may be beyond them by now. */
void limits_lift(void)
{
	if (vmm.limits)
		sysctl_write(SYSCTL_VM "overcommit_memory", HEURISTIC);
	if (vmm.memcg)
		memcg_lift();
}
