// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each step of a live update costs the VMM, and next to it what mapping all
 * of its memory again would. No device does anything here.
 *
 * One memfd, which a small machine can hold, is mapped side by side until there is
 * as much as --memory asks for; or, with --areas, a page of it at as many
 * addresses. With --giant it is that part of it which is contiguous in memory and can
 * have leaves of 1 GiB, if there is one. All devices have one page table.
 *
 * Told are readings of the CPU's counter, which goes on over a kexec. Whoever looks
 * from outside can put what the kernels do in between on the same axis. What the
 * counter counts is his business, too: under QEMU's -icount it is instructions, if
 * the loop below takes as many as it has.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include <linux/kernel.h>
#include <linux/sizes.h>

#include <libliveupdate.h>

#include "uapi.h"
#include "vmm.h"

/* Large enough for any leaf that is made of huge pages of tmpfs */
#define BENCH_MEMFD	SZ_256M
#define GIANT_MEMFD	(SZ_2G + SZ_1G)
#define BENCH_LOOP	100000

static struct {
	int fd;
	u64 start;			/* of what is mapped, in the memfd */
	u64 size;
	u32 nr_areas;
	u64 length;
	u64 stride;
} bench;

static u64 counter(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	u64 count;

	asm volatile("isb; mrs %0, cntvct_el0" : "=r" (count));
	return count;
#endif
}

/* Two instructions each time round, on any machine that has a bench */
static void loop(unsigned long n)
{
#ifdef __x86_64__
	asm volatile("1: dec %0; jnz 1b" : "+r" (n));
#else
	asm volatile("1: subs %0, %0, #1; b.ne 1b" : "+r" (n));
#endif
}

/* Evaluates to what the call returned. */
#define cost(_name, _call) ({						\
	u64 __from = counter();						\
	int __ret = (_call);						\
	u64 __to = counter();						\
									\
	control_info("cost=%s from=%lu to=%lu", _name, __from, __to);	\
	__ret;								\
})

/* The smallest of several: now and then there is an interrupt. */
static u64 loop_cost(unsigned long n)
{
	u64 from, best = ~0ULL;
	int i;

	for (i = 0; i < 8; i++) {
		from = counter();
		loop(n);
		best = min(best, counter() - from);
	}
	return best;
}

static void counter_check(void)
{
	control_info("loop_1=%lu", loop_cost(BENCH_LOOP));
	control_info("loop_2=%lu", loop_cost(2 * BENCH_LOOP));
}

static void bench_arrange(void)
{
	u64 memory = (u64)vmm.memory_mb * SZ_1M;

	bench.size = vmm.giant ? SZ_1G : min_t(u64, memory, BENCH_MEMFD);
	if (vmm.areas) {
		bench.nr_areas = vmm.areas;
		bench.length = SZ_4K;
		bench.stride = 2 * SZ_4K;
	} else {
		bench.nr_areas = memory / bench.size;
		bench.length = bench.size;
		bench.stride = bench.size;
	}
}

static int map_all(struct nic *nic)
{
	int ret = 0;
	u32 i;

	for (i = 0; i < bench.nr_areas && !ret; i++)
		ret = map_at(nic, bench.fd, vmm.iova + i * bench.stride,
			     bench.start + i * bench.length % bench.size,
			     bench.length,
			     IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE);
	return ret;
}

static int unmap_all(struct nic *nic)
{
	int ret = 0;
	u32 i;

	for (i = 0; i < bench.nr_areas && !ret; i++)
		ret = unmap_at(nic, vmm.iova + i * bench.stride, bench.length);
	return ret;
}

static int bind_all(struct vmm_session *session, const int *cdevs)
{
	struct nic *nic = NULL;
	int ret = 0;

	while (session_nic_next(session, &nic)) {
		if (!ret)
			ret = __vfio_device_bind_iommufd_id(cdevs[nic->id],
							    nic->iommu->iommufd,
							    &nic->dev_id);
	}
	return ret;
}

static int attach_all(struct vmm_session *session, const int *cdevs, u32 hwpt_id)
{
	struct nic *nic = NULL;
	int ret = 0;

	while (session_nic_next(session, &nic)) {
		if (!ret)
			ret = __vfio_device_attach_iommufd_pt(cdevs[nic->id],
							      hwpt_id);
	}
	return ret;
}

static int preserve_cdevs(struct vmm_session *session)
{
	struct nic *nic = NULL;
	int ret = 0;

	while (session_nic_next(session, &nic)) {
		if (!ret)
			ret = luo_session_preserve_fd(session->fd, nic->device->fd,
						      TOKEN_CDEV(nic));
	}
	return ret;
}

static int retrieve_cdevs(struct vmm_session *session, int *cdevs)
{
	struct nic *nic = NULL;
	int ret = 0;

	while (session_nic_next(session, &nic)) {
		if (ret < 0)
			continue;
		ret = luo_session_retrieve_fd(session->fd, TOKEN_CDEV(nic));
		cdevs[nic->id] = ret;
	}
	return ret;
}

/* Where 1 GiB of the memfd has an address in memory that is a multiple of that */
static u64 giant_start(char *vaddr, u64 size)
{
	u64 entry, pfn = 0, run = 0, at;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	control_step("find 1 GiB of contiguous memory");
	for (at = 0; at < size; at += SZ_2M) {
		if (pread(fd, &entry, sizeof(entry), (uintptr_t)(vaddr + at) / SZ_4K *
			  sizeof(entry)) != sizeof(entry))
			control_fail(-errno, "pagemap");
		entry &= (1ULL << 55) - 1;
		if (entry % (SZ_1G / SZ_4K) == 0)
			run = SZ_2M;
		else if (run && entry == pfn + SZ_2M / SZ_4K)
			run += SZ_2M;
		else
			run = 0;
		pfn = entry;
		if (run == SZ_1G)
			break;
	}
	close(fd);
	if (run != SZ_1G)
		control_fail(0, "there is none");
	return at + SZ_2M - SZ_1G;
}

static void memory_find(void)
{
	u64 size = vmm.giant ? GIANT_MEMFD : bench.size;
	char *vaddr;

	vaddr = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, bench.fd, 0);
	if (vaddr == MAP_FAILED)
		control_fail(-errno, "map memfd");
	if (vmm.giant)
		bench.start = giant_start(vaddr, size);
	munmap(vaddr, size);
}

static void memory_create(void)
{
	set_huge();
	bench.fd = must(memfd_create("bench", MFD_CLOEXEC), "create memfd");
	must(ftruncate(bench.fd, vmm.giant ? GIANT_MEMFD : bench.size) ? -errno : 0,
	     "resize memfd");
	memory_find();
	control_info("huge_kib=%lu", huge_kib());
}

/* What the kernel says is preserved of page tables. */
static u64 table_bytes(void)
{
	FILE *f = fopen("/sys/kernel/debug/iommu/liveupdate", "r");
	char line[256], *bytes;
	u64 sum = 0;

	control_step("read debugfs");
	if (!f)
		control_fail(-errno, "failed");
	while (fgets(line, sizeof(line), f)) {
		bytes = strstr(line, " bytes=");
		if (bytes)
			sum += strtoull(bytes + 7, NULL, 0);
	}
	fclose(f);
	return sum;
}

void __noreturn bench_old_kernel(struct vmm_session *session)
{
	struct nic *first = session->first, *nic = NULL;
	u64 before, held;

	counter_check();
	while (nic_next(&nic))
		nic_open(nic);

	bench_arrange();
	memory_create();
	must(cost("map", map_all(first)), "map");
	count_leaves(first);

	session_create(session);
	must(hwpt_mark_preserve(first->iommu->iommufd, first->hwpt_id,
				TOKEN_HWPT(first)), "mark HWPT");
	must(cost("preserve-memfd",
		  luo_session_preserve_fd(session->fd, bench.fd,
					  TOKEN_BULK(first))), "preserve memfd");
	before = mem_free();
	must(cost("preserve-iommufd",
		  luo_session_preserve_fd(session->fd, first->iommu->iommufd,
					  TOKEN_IOMMUFD(first))),
	     "preserve iommufd");
	must(cost("preserve-cdev", preserve_cdevs(session)), "preserve cdevs");
	held = before - mem_free();
	control_info("held_bytes=%lu", held);
	control_info("table_bytes=%lu", table_bytes());
	control_info("areas=%u", bench.nr_areas);

	kexec_jump();
}

void bench_new_kernel(struct vmm_session *session)
{
	struct nic *first = session->first, *nic = NULL;
	int cdevs[MAX_NICS], iommufd;

	test_plan(1);
	bench_arrange();

	session_retrieve(session);
	bench.fd = must(cost("retrieve-memfd",
			     luo_session_retrieve_fd(session->fd,
						     TOKEN_BULK(first))),
			"retrieve memfd");
	memory_find();
	iommufd = must(cost("retrieve-iommufd",
			    luo_session_retrieve_fd(session->fd,
						    TOKEN_IOMMUFD(first))),
		       "retrieve iommufd");
	while (nic_next(&nic))
		nic->iommu = iommu_init_fd(iommufd, 0);
	must(cost("retrieve-cdev", retrieve_cdevs(session, cdevs)),
	     "retrieve cdevs");

	must(cost("bind", bind_all(session, cdevs)), "bind");
	must(cost("restore", hwpt_restore(iommufd, TOKEN_HWPT(first),
					  &first->hwpt_id, &first->ioas_id)),
	     "restore");
	must(cost("attach", attach_all(session, cdevs, first->hwpt_id)), "attach");
	must(cost("finish", luo_session_finish(session->fd)), "finish");

	/* What there is without a live update of the IOMMU */
	first->iommu->ioas_id = first->ioas_id;
	must(cost("unmap", unmap_all(first)), "unmap");
	must(cost("map-again", map_all(first)), "map again");
	session_close(session);
	test_pass("measured");
}
