// SPDX-License-Identifier: GPL-2.0-only
/*
 * Much memory, if --memory asks for it, and many areas, if --areas does: next to
 * what the first NIC receives into, in its IOAS. One memfd is mapped as a whole,
 * then page by page at as many addresses as asked for, every other of them for
 * reading only, and a part of it once more for reading only, where the NIC is made
 * to write in the end.
 *
 * In the new kernel all of it has to hold what it held, each area can be unmapped
 * once and is gone then, and what was for reading only still is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <linux/kernel.h>
#include <linux/sizes.h>

#include "kselftest.h"
#include "uapi.h"
#include "vmm.h"

#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/* After those of all NICs; then read-only memory, then the areas. */
#define BULK_FIRST	(vmm.iova + MAX_NICS * NIC_IOVA)
#define BULK_IOVA	(BULK_FIRST + bulk_shift)
#define READONLY_IOVA	(BULK_FIRST + 16 * SZ_4G)
#define AREA_IOVA(_i)	(READONLY_IOVA + SZ_4G + 2ULL * (_i) * SZ_4K)

/* From the start of the memory on; in front, room for the header of a frame */
#define READONLY_BYTES	SZ_4M

/* In every page: what the watcher knows as memory of the device, and its number */
static struct stream_memory bulk;

/* With --giant: how far from its place it is, so as to have leaves of 1 GiB */
static u64 bulk_shift;

static u64 bulk_size(void)
{
	return (u64)vmm.memory_mb * SZ_1M;
}

int map_at(struct nic *nic, int fd, iova_t iova, u64 offset, u64 length, u32 flags)
{
	struct iommu_ioas_map_file args = {
		.size = sizeof(args),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | flags,
		.ioas_id = nic->iommu->ioas_id,
		.fd = fd,
		.start = offset,
		.length = length,
		.iova = iova,
	};

	return ioctl(nic->iommu->iommufd, IOMMU_IOAS_MAP_FILE, &args) ? -errno : 0;
}

int unmap_at(struct nic *nic, iova_t iova, u64 length)
{
	struct iommu_ioas_unmap args = {
		.size = sizeof(args),
		.ioas_id = nic->iommu->ioas_id,
		.iova = iova,
		.length = length,
	};

	if (ioctl(nic->iommu->iommufd, IOMMU_IOAS_UNMAP, &args))
		return -errno;
	return args.length == length ? 0 : -EIO;
}

/* Whether a memfd made from now on has huge pages; the kernel may not have any. */
void set_huge(void)
{
	const char *mode = vmm.huge ? "always" : "never";
	int fd = open(SHMEM_HUGE, O_WRONLY | O_CLOEXEC);

	control_step("set " SHMEM_HUGE);
	if (fd < 0 || write(fd, mode, strlen(mode)) < 0)
		control_fail(-errno, "failed");
	close(fd);
}

/* How much of the memory is mapped by huge pages, as the kernel counts. */
u64 huge_kib(void)
{
	unsigned long kib = 0, n;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "ShmemHugePages: %lu kB", &n) == 1)
			kib = n;
	}
	fclose(f);
	return kib;
}

/*
 * What the page table of the device is made of: debugfs prints a line for each
 * entry that maps something, after its address those on the way there, from the
 * top of five levels down.
 */
static FILE *leaves_open(struct nic *nic)
{
	char path[128];

	snprintf_assert(path, sizeof(path),
			"/sys/kernel/debug/iommu/intel/%s/domain_translation_struct",
			nic->bdf);
	return fopen(path, "r");
}

struct leaf {
	iova_t iova;
	u64 phys;
	u64 size;
};

static bool leaf_next(FILE *f, struct leaf *leaf)
{
	unsigned long long pfn, e[5];
	char line[256];
	int fields;

	while (fgets(line, sizeof(line), f)) {
		fields = sscanf(line, "%llx | %llx %llx %llx %llx %llx", &pfn, &e[0],
				&e[1], &e[2], &e[3], &e[4]);
		if (fields < 4)
			continue;
		leaf->iova = pfn * SZ_4K;
		leaf->size = fields == 4 ? SZ_1G : fields == 5 ? SZ_2M : SZ_4K;
		leaf->phys = e[fields - 2] & GENMASK_ULL(51, 12) & ~(leaf->size - 1);
		return true;
	}
	return false;
}

u64 count_leaves(struct nic *nic)
{
	u64 small = 0, large = 0, huge = 0;
	struct leaf leaf;
	FILE *f;

	if (!vmm.huge)
		return 0;

	f = leaves_open(nic);
	if (!f) {
		control_info("leaves=unknown");
		return 0;
	}
	while (leaf_next(f, &leaf)) {
		small += leaf.size == SZ_4K;
		large += leaf.size == SZ_2M;
		huge += leaf.size == SZ_1G;
	}
	fclose(f);

	control_info("leaves_4k=%lu", small);
	control_info("leaves_2m=%lu", large);
	control_info("leaves_1g=%lu", huge);
	return huge;
}

/*
 * A leaf is as large as what follows each other in memory and starts at a multiple
 * of its size, there as here. Pages of 2 MiB from an allocator that has not been used
 * much do follow each other. How far has memory to be moved for the longest run of
 * them to have its multiples of 1 GiB at those of its address?
 */
static u64 best_shift(struct nic *nic)
{
	u64 from = 0, bytes = 0, most = 0, shift = 0;
	struct leaf leaf, last = {};
	FILE *f = leaves_open(nic);

	control_step("look for memory in one piece");
	if (!f)
		control_fail(-errno, "there are no page tables to see");
	while (leaf_next(f, &leaf)) {
		if (leaf.iova < BULK_FIRST || leaf.iova >= BULK_FIRST + bulk.size)
			continue;
		if (last.iova + last.size != leaf.iova || last.phys + last.size != leaf.phys) {
			from = leaf.phys - leaf.iova;
			bytes = 0;
		}
		bytes += leaf.size;
		if (bytes > most) {
			most = bytes;
			shift = from % SZ_1G;
		}
		last = leaf;
	}
	fclose(f);
	control_info("bulk_run_mib=%lu", most / SZ_1M);
	control_info("bulk_shift=%#lx", shift);
	return shift;
}

/* In the new kernel the place is where its first leaf is. */
static void bulk_find(struct nic *nic)
{
	struct leaf leaf;
	FILE *f;

	if (!vmm.giant)
		return;
	f = leaves_open(nic);
	control_step("find memory in the page table");
	while (f && leaf_next(f, &leaf)) {
		if (leaf.iova < BULK_FIRST)
			continue;
		fclose(f);
		bulk_shift = leaf.iova - BULK_FIRST;
		return;
	}
	control_fail(0, "it is not there");
}

static void map_bulk(struct nic *nic)
{
	must(map_at(nic, bulk.fd, BULK_IOVA, 0, bulk.size,
		    IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE),
	     "map %u MiB of memory", vmm.memory_mb);
}

static void must_have_giant(struct nic *nic)
{
	u64 giant = count_leaves(nic);

	control_step("look for leaves of 1 GiB");
	if (vmm.giant && !giant)
		control_fail(0, "there is none");
}

/* In the old kernel: make the memory, and map it. */
void bulk_create(struct nic *nic)
{
	u64 pages = bulk_size() / SZ_4K;
	long long start = now_ms();
	u32 i;

	if (!vmm.memory_mb)
		return;

	set_huge();
	must(stream_memory_create(&bulk, nic->id, 3, vmm.run_id, bulk_size(), 0),
	     "create %u MiB of memory", vmm.memory_mb);
	control_info("bulk_huge_kib=%lu", huge_kib());

	map_bulk(nic);
	if (vmm.giant) {
		bulk_shift = best_shift(nic);
		must(unmap_at(nic, BULK_FIRST, bulk.size), "unmap memory");
		map_bulk(nic);
	}
	must(map_at(nic, bulk.fd, READONLY_IOVA, 0, READONLY_BYTES,
		    IOMMU_IOAS_MAP_READABLE),
	     "map memory for reading");
	for (i = 0; i < vmm.areas; i++)
		must(map_at(nic, bulk.fd, AREA_IOVA(i), i % pages * SZ_4K, SZ_4K,
			    IOMMU_IOAS_MAP_READABLE |
			    (i % 2 ? 0 : IOMMU_IOAS_MAP_WRITEABLE)),
		     "map area %u", i);
	control_info("bulk_create_ms=%lld", now_ms() - start);
	must_have_giant(nic);
}

int bulk_preserve(struct nic *nic)
{
	if (!vmm.memory_mb)
		return 0;
	return preserve_fd("bulk memfd", nic, bulk.fd, TOKEN_BULK(nic));
}

/* In the new kernel: it is all there. Has to be mapped before the session ends. */
void bulk_retrieve(struct nic *nic)
{
	if (!vmm.memory_mb)
		return;

	must(stream_memory_adopt(&bulk, retrieve_fd("bulk memfd", nic,
						    TOKEN_BULK(nic)),
				 bulk_size(), 0), "map retrieved bulk memfd");
}

void bulk_check(struct nic *nic)
{
	u32 page;

	if (!vmm.memory_mb)
		return;

	bulk_find(nic);
	must_have_giant(nic);
	control_info("bulk_huge_kib=%lu", huge_kib());
	control_step("check %u MiB of memory", vmm.memory_mb);
	page = stream_memory_check_marks(&bulk, nic->id, 3, vmm.run_id);
	if (page != bulk.size / SZ_4K)
		control_fail(0, "page %u is not as it was", page);
	control_info("bulk_pages=%u", page);

	must(map_at(nic, bulk.fd, AREA_IOVA(0), 0, SZ_4K, IOMMU_IOAS_MAP_READABLE) ==
	     (vmm.areas ? -EEXIST : 0) ? 0 : -EINVAL,
	     "map over an area");
}

/* The device must not be able to write here: nobody looks for what it tries. */
iova_t bulk_readonly(struct nic *nic)
{
	return vmm.memory_mb ? READONLY_IOVA + SZ_4K : 0;
}

/* Nothing of it was written to, and each area can be unmapped, but once. */
void bulk_unmap(struct nic *nic)
{
	long long start = now_ms();
	u32 page, i;
	int ret;

	if (!vmm.memory_mb)
		return;

	control_step("check %u MiB of memory once more", vmm.memory_mb);
	page = stream_memory_check_marks(&bulk, nic->id, 3, vmm.run_id);
	if (page != bulk.size / SZ_4K)
		control_fail(0, "page %u was written to", page);

	for (i = 0; i < max(vmm.areas, 1u); i++)
		must(unmap_at(nic, AREA_IOVA(i), SZ_4K), "unmap area %u", i);
	for (i = 0; i < vmm.areas; i++) {
		ret = unmap_at(nic, AREA_IOVA(i), SZ_4K);
		if (ret != -ENOENT)
			control_fail(ret, "area %u was still there", i);
	}
	ret = unmap_at(nic, READONLY_IOVA, READONLY_BYTES);
	if (ret != (vmm.lost ? -ENOENT : 0))
		control_fail(ret, "unmap read-only memory");
	must(unmap_at(nic, BULK_IOVA, bulk.size), "unmap bulk memory");
	control_info("areas_unmapped=%u", vmm.areas);
	control_info("bulk_unmap_ms=%lld", now_ms() - start);
	count_leaves(nic);
	stream_memory_close(&bulk);
}
