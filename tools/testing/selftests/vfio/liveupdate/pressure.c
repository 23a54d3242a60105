// SPDX-License-Identifier: GPL-2.0-only
/*
 * Between retrieve and FINISH the pages of a memfd are where the device writes to.
 * With --pressure everything is done that moves or frees pages of other memfds:
 * compaction, reclaim to swap, a machine that runs out of memory, and requests of
 * the owner to free a part. A second memfd that no device knows of goes through the
 * same, and has to move, be swapped out and be freed: else nothing was tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/wait.h>

#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/sizes.h>

#include "vmm.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define SWAP_DISK	"/dev/ram0"
#define OTHER_SIZE	((size_t)SZ_64M)
#define PFN_MASK	((1ULL << 55) - 1)
#define PRESENT		BIT_ULL(63)

/* Where each page is, 0 if nowhere. Pages are mapped first; reading does no harm. */
u64 *pfns_read(void *vaddr, size_t size, bool touch)
{
	size_t i, nr = size / SZ_4K;
	u64 *pfns = malloc_assert(nr * sizeof(*pfns));
	char *p = vaddr;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	for (i = 0; touch && i < nr; i++)
		(void)READ_ONCE(p[i * SZ_4K]);
	control_step("read /proc/self/pagemap");
	if (fd < 0 || pread(fd, pfns, nr * sizeof(*pfns),
			    (uintptr_t)vaddr / SZ_4K * sizeof(*pfns)) !=
		      nr * sizeof(*pfns))
		control_fail(-errno, "failed");
	close(fd);
	for (i = 0; i < nr; i++)
		pfns[i] = pfns[i] & PRESENT ? pfns[i] & PFN_MASK : 0;
	return pfns;
}

static size_t pfns_changed(const u64 *before, const u64 *after, size_t size)
{
	size_t i, n = 0;

	for (i = 0; i < size / SZ_4K; i++)
		n += before[i] != after[i];
	return n;
}

static void write_sysctl(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	control_step("write %s", path);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		control_fail(-errno, "failed");
	close(fd);
}

/* What mkswap writes: the number of pages, and that it is swap space. */
static void swap_on(void)
{
	static bool on;
	char head[SZ_4K] = {};
	u32 version = 1, last;
	int fd;
	off_t size, at;

	if (on)
		return;
	on = true;
	control_step("swap on " SWAP_DISK);
	fd = open(SWAP_DISK, O_RDWR | O_CLOEXEC);
	size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (size <= 0)
		control_fail(-errno, "failed");
	/* A disk in memory takes it when it is written to: now, not in need. */
	for (at = 0; at < size; at += sizeof(head))
		if (pwrite(fd, head, sizeof(head), at) != sizeof(head))
			control_fail(-errno, "failed");
	last = size / SZ_4K - 1;
	memcpy(head + 1024, &version, 4);
	memcpy(head + 1028, &last, 4);
	memcpy(head + SZ_4K - 10, "SWAPSPACE2", 10);
	if (pwrite(fd, head, sizeof(head), 0) != sizeof(head) || fsync(fd))
		control_fail(-errno, "failed");
	close(fd);
	if (swapon(SWAP_DISK, 0))
		control_fail(-errno, "failed");
}

/*
 * Use up what is free, and more: the kernel has to find the rest. Should it not, then
 * a child is what it kills.
 */
static void hog(void)
{
	u64 size = mem_free() + SZ_32M, done;
	int status = 0;
	pid_t pid;
	char *p;

	control_step("use up memory");
	pid = fork();
	if (pid < 0)
		control_fail(-errno, "fork");
	if (!pid) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		for (done = 0; p != MAP_FAILED && done < size; done += SZ_4K)
			p[done] = 1;
		_exit(p == MAP_FAILED);
	}
	waitpid(pid, &status, 0);
	control_info("hogged_mib=%lu status=%#x", size / SZ_1M, status);
	if (status && !WIFSIGNALED(status))
		control_fail(0, "no address space");
}

/* All that the owner of a memfd can ask for; sums up what was allowed. */
static unsigned int ask_to_free(struct nic *nic, const char *whose, int fd,
				void *vaddr, size_t size)
{
	const size_t part = SZ_1M;
	int punch, shrink, grow, madv;

	punch = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  size - 2 * part, part) ? errno : 0;
	madv = madvise(vaddr + size - 3 * part, part, MADV_REMOVE) ? errno : 0;
	shrink = ftruncate(fd, size - part) ? errno : 0;
	grow = ftruncate(fd, size + part) ? errno : 0;
	control_info("nic%u_%s punch_errno=%d remove_errno=%d shrink_errno=%d grow_errno=%d",
		     nic->id, whose, punch, madv, shrink, grow);
	return !punch + !madv + !shrink + !grow;
}

static void squeeze(void *vaddr, size_t size)
{
	/* Not a promise, and not refused either. */
	madvise(vaddr, size, MADV_PAGEOUT);
	write_sysctl("/proc/sys/vm/drop_caches", "3");
	write_sysctl("/proc/sys/vm/compact_memory", "1");
}

struct other {
	int fd;
	void *vaddr;
	size_t size;
};

/* Every other page of twice as much, so that compaction has work to do */
static void other_create(struct other *other)
{
	size_t i;

	other->size = OTHER_SIZE;
	other->fd = memfd_create("other", MFD_CLOEXEC);
	control_step("create a memfd that no device knows of");
	if (other->fd < 0 || ftruncate(other->fd, other->size))
		control_fail(-errno, "failed");
	other->vaddr = mmap(NULL, other->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    other->fd, 0);
	if (other->vaddr == MAP_FAILED)
		control_fail(-errno, "failed");
	memset(other->vaddr, 0x5a, other->size);
	for (i = 0; i < other->size / 2; i += 2 * SZ_4K)
		fallocate(other->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, i,
			  SZ_4K);
}

/* The negative: compaction and reclaim do what they are for. */
static void other_check(struct nic *nic, struct other *other)
{
	void *half = other->vaddr + other->size / 2;
	u64 *before, *after;
	size_t moved;

	before = pfns_read(half, other->size / 2, true);
	squeeze(half, other->size / 2);
	after = pfns_read(half, other->size / 2, true);
	moved = pfns_changed(before, after, other->size / 2);
	control_info("other_moved=%zu", moved);
	control_step("move a memfd that no device knows of");
	if (!moved)
		control_fail(0, "no page of it has moved");
	if (ask_to_free(nic, "other", other->fd, other->vaddr, other->size) != 4)
		control_fail(0, "it could not be freed in part");
	free(before);
	free(after);
	munmap(other->vaddr, other->size);
	close(other->fd);
}

void pressure_apply(struct vmm_session *session, const char *when)
{
	u64 *before[MAX_NICS], *after;
	struct nic *nic = NULL;
	struct other other;
	size_t moved;

	if (!vmm.pressure)
		return;

	swap_on();
	other_create(&other);
	while (session_nic_next(session, &nic))
		before[nic->id] = pfns_read(nic->first.vaddr, nic->first.size, true);

	while (session_nic_next(session, &nic)) {
		squeeze(nic->first.vaddr, nic->first.size);
		if (ask_to_free(nic, when, nic->first.fd, nic->first.vaddr,
				nic->first.size))
			control_fail(0, "%s: memory of NIC %u could be freed in part",
				     when, nic->id);
	}
	hog();
	squeeze(session->first->first.vaddr, session->first->first.size);

	while (session_nic_next(session, &nic)) {
		after = pfns_read(nic->first.vaddr, nic->first.size, true);
		moved = pfns_changed(before[nic->id], after, nic->first.size);
		control_info("nic%u_moved=%zu %s", nic->id, moved, when);
		control_step("%s: keep memory of NIC %u in place", when, nic->id);
		if (moved)
			control_fail(0, "%zu pages have moved", moved);
		free(before[nic->id]);
		free(after);
	}
	other_check(session->first, &other);
	control_mark("pressed %s", when);
}
