// SPDX-License-Identifier: GPL-2.0
/*
 * The watcher: finds the guest's receive buffers in the machine's memory file
 * and notes when a frame appears in one of them. No guest CPU is involved, so
 * it sees what the NIC writes while no kernel is running.
 *
 * A buffer can be found at two places: when its page was migrated between
 * being filled and being mapped, the old page keeps a stale copy. Both are
 * watched; the judge counts a frame number once.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dmawatch.h"

#define MAX_SLOTS	(1u << 19)
#define MAX_RING_PAGES	32768u
#define POLL_NS		500000
#define SWEEP_NS	100000000ULL	/* or ten times what it takes */
#define LOOK_AHEAD	8

struct slot {
	uint64_t off;
	uint64_t seq;		/* of the frame in it, 0 while empty */
	uint32_t index;
	uint32_t next;		/* slot with the same index, plus one */
	uint8_t nic;
	uint8_t gen;
	uint8_t gone;		/* the memory is another buffer's now */
};

/* What is known of each 2 KiB of memory. */
enum { KNOWN_BUFFER = 1, KNOWN_RING = 2, KNOWN_MAPPED = 4, KNOWN_BULK = 8 };

/* All buffers of one memfd of one NIC. */
struct group {
	uint32_t first[MAX_RING];	/* slot of an index, plus one */
	uint32_t count;			/* highest index, plus one */
	uint32_t head;			/* where the next frame is expected */
};

struct arrival {
	uint64_t time;
	uint64_t seq;
	uint64_t off;
	uint32_t index;
	uint8_t nic;			/* whose buffer it is in */
	uint8_t to;			/* whom it was sent to */
	uint8_t gen;
	uint8_t stage;
};

struct ring_page {
	uint64_t off;
	uint64_t iova;
	int nic;		/* -1 as long as no page table says whose */
};

static uint8_t *ram;
static int ram_fd = -1;
static int ram_linked;
static uint8_t *known;			/* one byte per 2 KiB of memory */
static uint32_t *slot_of;		/* likewise: its slot, plus one */
static int any_mapped;

static struct slot *slots;
static uint32_t nr_slots;
static struct group groups[MAX_NICS][MAX_GENS];
static struct ring_page ring_pages[MAX_RING_PAGES];	/* queues, too */
static uint32_t nr_ring_pages;

static struct arrival *arrivals;
static size_t nr_arrivals, room_arrivals;

static uint8_t *snapshot;
static uint32_t snapshot_slots, snapshot_rings;
static uint64_t snapshot_time, compare_time;
static int64_t changed[MAX_NICS], changed_rings[MAX_NICS];	/* -1: not looked */

/* The second memfds' buffers when they are mapped no more */
static uint32_t *unmapped_slot;
static uint8_t *unmapped;
static int64_t nr_unmapped = -1, nr_written = -1;		/* -1: not looked */

/* Slots and arrivals. Writers are the scanner and the watching thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t scan_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t thread;
static volatile int stopping;

void watch_open(void)
{
	memset(changed, 0xff, sizeof(changed));
	memset(changed_rings, 0xff, sizeof(changed_rings));
	ram_fd = open(opt.ram, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (ram_fd < 0)
		die("cannot create %s: %m", opt.ram);
	ram_linked = 1;
	if (ftruncate(ram_fd, opt.ram_size))
		die("cannot size %s: %m", opt.ram);
	ram = mmap(NULL, opt.ram_size, PROT_READ | (opt.damage ? PROT_WRITE : 0),
		   MAP_SHARED, ram_fd, 0);
	known = calloc(opt.ram_size / BUF_SIZE, 1);
	slot_of = calloc(opt.ram_size / BUF_SIZE, sizeof(*slot_of));
	slots = calloc(MAX_SLOTS, sizeof(*slots));
	if (ram == MAP_FAILED || !known || !slot_of || !slots)
		die("cannot map %s: %m", opt.ram);
}

/* QEMU has it open: from here on nothing of it can be left behind. */
void watch_unlink(void)
{
	if (ram_linked)
		unlink(opt.ram);
	ram_linked = 0;
}

/* Memory file to guest-physical and back: q35 has one hole below 4 GiB. */
static uint64_t off_to_gpa(uint64_t off)
{
	return off < opt.low_ram ? off : off - opt.low_ram + (4ULL << 30);
}

const uint8_t *watch_gpa(uint64_t gpa)
{
	uint64_t off = gpa;

	if (gpa >= 4ULL << 30)
		off = gpa - (4ULL << 30) + opt.low_ram;
	else if (gpa >= opt.low_ram)
		return NULL;
	return off < opt.ram_size ? ram + off : NULL;
}

const uint8_t *watch_off(uint64_t off)
{
	return ram + off;
}

/* Is this page one of those the guest's memfds consist of? */
int watch_gpa_is_dma(uint64_t gpa)
{
	const uint8_t *p = watch_gpa(gpa & ~4095ULL);

	return p && (known[(p - ram) / BUF_SIZE] & (KNOWN_BUFFER | KNOWN_RING | KNOWN_BULK));
}

/*
 * The page table of @nic maps this page. That tells a stale copy from the page
 * in use, and whose ring it is.
 */
void watch_own(uint64_t gpa, unsigned int nic)
{
	const uint8_t *p = watch_gpa(gpa & ~4095ULL);
	uint32_t i;

	if (!p || !known[(p - ram) / BUF_SIZE])
		return;
	known[(p - ram) / BUF_SIZE] |= KNOWN_MAPPED;
	any_mapped = 1;
	if (!(known[(p - ram) / BUF_SIZE] & KNOWN_RING))
		return;
	for (i = 0; i < nr_ring_pages; i++)
		if (ring_pages[i].off == (uint64_t)(p - ram))
			ring_pages[i].nic = nic;
}

static int page_counts(uint64_t off)
{
	return !any_mapped || (known[off / BUF_SIZE] & KNOWN_MAPPED);
}

static void slot_add(uint64_t off, const struct buf_head *h)
{
	struct group *g = &groups[h->nic][h->gen - 1];
	struct slot *s;

	if (nr_slots == MAX_SLOTS)
		die("more receive buffers than expected");
	s = &slots[nr_slots++];
	s->off = off;
	s->index = h->index;
	s->nic = h->nic;
	s->gen = h->gen;
	s->next = g->first[h->index];
	g->first[h->index] = nr_slots;
	if (h->index >= g->count)
		g->count = h->index + 1;
	slot_of[off / BUF_SIZE] = nr_slots;
	known[off / BUF_SIZE] |= KNOWN_BUFFER;
}

/* A page of descriptors that name consecutive 2 KiB buffers. */
static int is_ring_page(const uint64_t *q)
{
	unsigned int i;

	if (!q[0] || q[0] % BUF_SIZE)
		return 0;
	for (i = 2; i < 512; i += 2)
		if (q[i] != q[0] + i / 2 * BUF_SIZE)
			return 0;
	return 1;
}

/* Memory that one VMM gave back may have become another one's. */
static int slot_still(uint64_t off, const struct buf_head *h)
{
	struct slot *s = &slots[slot_of[off / BUF_SIZE] - 1];

	if (s->nic == h->nic && s->gen == h->gen && s->index == h->index)
		return 1;
	pthread_mutex_lock(&lock);
	s->gone = 1;
	pthread_mutex_unlock(&lock);
	return 0;
}

/* A ring that is no more may have become buffers. */
static void scan_page(uint64_t off)
{
	struct buf_head h;
	unsigned int i;
	unsigned int nic = 0, gen = 0;
	int queue = 0;

	for (i = 0; i < 4096; i += BUF_SIZE) {
		memcpy(&h, ram + off + i, sizeof(h));
		if (!i && h.magic == QUEUE_MAGIC && h.run_id == opt.run_id &&
		    h.nic < opt.nics) {
			queue = 1;
			nic = h.nic;
			gen = h.gen;
		}
		if (h.magic != BUF_MAGIC || h.run_id != opt.run_id ||
		    h.nic >= opt.nics || !h.gen || h.gen > MAX_GENS ||
		    h.index >= MAX_RING ||
		    ((known[(off + i) / BUF_SIZE] & KNOWN_BUFFER) &&
		     slot_still(off + i, &h)))
			continue;
		pthread_mutex_lock(&lock);
		slot_add(off + i, &h);
		pthread_mutex_unlock(&lock);
	}

	/* Memory that is only there to be much of it: nothing is written to it. */
	if (queue && gen == GEN_BULK) {
		known[off / BUF_SIZE] |= KNOWN_BULK;
		return;
	}

	if ((queue || is_ring_page((const uint64_t *)(ram + off))) &&
	    nr_ring_pages < MAX_RING_PAGES && !known[off / BUF_SIZE]) {
		pthread_mutex_lock(&lock);
		known[off / BUF_SIZE] = KNOWN_RING;
		ring_pages[nr_ring_pages].nic = queue ? (int)nic : -1;
		ring_pages[nr_ring_pages].off = off;
		ring_pages[nr_ring_pages++].iova =
			*(const uint64_t *)(ram + off);
		pthread_mutex_unlock(&lock);
	}
}

/* The next piece of memory after @end that the machine has ever touched */
int watch_touched(uint64_t *off, uint64_t *end)
{
	off_t data = lseek(ram_fd, *end, SEEK_DATA);

	if (data < 0)
		return 0;
	*off = data & ~4095L;
	*end = lseek(ram_fd, data, SEEK_HOLE);
	return 1;
}

/* Look for new buffers. */
void watch_scan(void)
{
	uint64_t off, end = 0;

	pthread_mutex_lock(&scan_lock);
	while (watch_touched(&off, &end))
		for (; off < end; off += 4096)
			scan_page(off);
	pthread_mutex_unlock(&scan_lock);
}

static void arrival_add(const struct slot *s, const struct frame_head *h,
			uint64_t time)
{
	struct arrival *a;

	if (nr_arrivals == room_arrivals) {
		room_arrivals = room_arrivals ? room_arrivals * 2 : 16384;
		arrivals = realloc(arrivals, room_arrivals * sizeof(*arrivals));
		if (!arrivals)
			die("out of memory");
	}
	a = &arrivals[nr_arrivals++];
	a->time = time;
	a->seq = h->seq;
	a->off = s->off;
	a->index = s->index;
	a->nic = s->nic;
	a->to = h->nic;
	a->gen = s->gen;
	a->stage = h->stage;
}

/* True if a frame was found that was not there before. Lock held. */
static int slot_check(struct slot *s)
{
	const uint8_t *p = ram + s->off;
	struct frame_head h;
	uint64_t magic;

	if (s->gone)
		return 0;
	memcpy(&magic, p, sizeof(magic));
	if (magic == BUF_MAGIC) {
		s->seq = 0;
		return 0;
	}
	memcpy(&h, p, sizeof(h));
	if (s->seq && h.magic == FRAME_MAGIC && h.seq == s->seq)
		return 0;
	if (!frame_valid(p, opt.len, opt.run_id, &h))
		return 0;	/* QEMU may still be writing it */
	s->seq = h.seq;
	arrival_add(s, &h, mono_ns());
	return 1;
}

static int index_check(struct group *g, uint32_t index)
{
	uint32_t i;
	int found = 0;

	for (i = g->first[index]; i; i = slots[i - 1].next)
		found |= slot_check(&slots[i - 1]);
	return found;
}

static void group_poll(struct group *g)
{
	uint32_t ahead = 0, index;

	while (ahead < LOOK_AHEAD && ahead < g->count) {
		index = (g->head + ahead) % g->count;
		if (index_check(g, index)) {
			g->head = (index + 1) % g->count;
			ahead = 0;
		} else {
			ahead++;
		}
	}
}

static void sweep(void)
{
	uint32_t i;

	for (i = 0; i < nr_slots; i++)
		slot_check(&slots[i]);
}

static void *watch_loop(void *unused)
{
	uint64_t swept = mono_ns(), pause = SWEEP_NS, now;
	unsigned int n, g;

	while (!stopping) {
		struct timespec ts = { .tv_nsec = POLL_NS };

		nanosleep(&ts, NULL);
		pthread_mutex_lock(&lock);
		for (n = 0; n < opt.nics; n++)
			for (g = 0; g < MAX_GENS; g++)
				if (groups[n][g].count)
					group_poll(&groups[n][g]);
		/* What came out of order. */
		now = mono_ns();
		if (now - swept > pause) {
			sweep();
			swept = mono_ns();
			pause = 10 * (swept - now);
			if (pause < SWEEP_NS)
				pause = SWEEP_NS;
		}
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

void watch_start(void)
{
	if (pthread_create(&thread, NULL, watch_loop, NULL))
		die("cannot start the watcher");
}

void watch_stop(void)
{
	stopping = 1;
	pthread_join(thread, NULL);
	sweep();
}

uint64_t watch_found(void)
{
	return nr_arrivals;
}

/*
 * Keep what the buffers and descriptor rings hold now. Takes tens of
 * milliseconds; a write that falls into them is seen as an arrival.
 */
void watch_snapshot(void)
{
	uint32_t i;

	snapshot_time = mono_ns();
	snapshot_slots = nr_slots;
	snapshot_rings = nr_ring_pages;
	free(snapshot);
	snapshot = malloc((size_t)snapshot_slots * BUF_SIZE +
			  (size_t)snapshot_rings * 4096);
	if (!snapshot)
		die("out of memory");
	for (i = 0; i < snapshot_slots; i++)
		memcpy(snapshot + (size_t)i * BUF_SIZE, ram + slots[i].off,
		       BUF_SIZE);
	for (i = 0; i < snapshot_rings; i++)
		memcpy(snapshot + (size_t)snapshot_slots * BUF_SIZE + i * 4096,
		       ram + ring_pages[i].off, 4096);
}

/* How many of them changed since. */
void watch_compare(void)
{
	uint32_t i;

	if (!snapshot)
		return;
	compare_time = mono_ns();
	memset(changed, 0, sizeof(changed));
	memset(changed_rings, 0, sizeof(changed_rings));
	for (i = 0; i < snapshot_slots; i++)
		if (memcmp(snapshot + (size_t)i * BUF_SIZE, ram + slots[i].off,
			   BUF_SIZE))
			changed[slots[i].nic]++;
	for (i = 0; i < snapshot_rings; i++)
		if (ring_pages[i].nic >= 0 &&
		    memcmp(snapshot + (size_t)snapshot_slots * BUF_SIZE +
			   i * 4096, ram + ring_pages[i].off, 4096))
			changed_rings[ring_pages[i].nic]++;
}

/*
 * A frame that is written in part is no arrival: keep what the buffers hold that were
 * unmapped. Nothing is sent before this is done, as the guest asks for that after its
 * mark.
 */
void watch_unmapped(void)
{
	uint32_t i, n = 0;

	for (i = 0; i < nr_slots; i++)
		n += slots[i].gen == GEN_SECOND;
	free(unmapped);
	free(unmapped_slot);
	unmapped = malloc((size_t)n * BUF_SIZE);
	unmapped_slot = malloc(n * sizeof(*unmapped_slot));
	if (n && (!unmapped || !unmapped_slot))
		die("out of memory");
	nr_unmapped = 0;
	for (i = 0; i < nr_slots && nr_unmapped < n; i++) {
		if (slots[i].gen != GEN_SECOND || slots[i].gone ||
		    !page_counts(slots[i].off & ~4095ULL))
			continue;
		memcpy(unmapped + nr_unmapped * BUF_SIZE, ram + slots[i].off, BUF_SIZE);
		unmapped_slot[nr_unmapped++] = i;
	}
}

/* Has any byte of them been written since? */
void watch_blocked(void)
{
	int64_t i;

	if (nr_unmapped < 0)
		return;
	if (nr_written < 0)
		nr_written = 0;
	for (i = 0; i < nr_unmapped; i++)
		nr_written += !!memcmp(unmapped + i * BUF_SIZE,
				       ram + slots[unmapped_slot[i]].off, BUF_SIZE);
}

void watch_write(void)
{
	FILE *f = result_open("arrivals.tsv");
	uint64_t off;
	size_t i;

	for (i = 0; i < nr_arrivals; i++)
		fprintf(f, "%lu\t%u\t%u\t%u\t%u\t%lu\t%u\t0x%lx\n",
			arrivals[i].time, arrivals[i].nic, arrivals[i].to,
			arrivals[i].gen, arrivals[i].stage, arrivals[i].seq,
			arrivals[i].index, off_to_gpa(arrivals[i].off));
	result_close(f);

	/* The pages of the memfds: buffers, then rings. */
	f = result_open("pages.tsv");
	for (i = 0; i < nr_slots; i++)
		if (!(slots[i].off & 4095) && page_counts(slots[i].off))
			fprintf(f, "0x%lx\tbuffer\t%u\t%u\t%u\n",
				off_to_gpa(slots[i].off), slots[i].nic,
				slots[i].gen, slots[i].index);
	for (i = 0; i < nr_ring_pages; i++)
		if (page_counts(ring_pages[i].off))
			fprintf(f, "0x%lx\tring\t%d\t0x%lx\n",
				off_to_gpa(ring_pages[i].off),
				ring_pages[i].nic, ring_pages[i].iova);
	for (off = 0; off < opt.ram_size; off += 4096)
		if ((known[off / BUF_SIZE] & KNOWN_BULK) && page_counts(off))
			fprintf(f, "0x%lx\tbulk\n", off_to_gpa(off));
	result_close(f);
}

void watch_counters(FILE *f)
{
	unsigned int n, g;

	for (n = 0; n < opt.nics; n++)
		for (g = 0; g < MAX_GENS; g++)
			fprintf(f, "buffers_nic%u_gen%u\t%u\n", n, g + 1,
				groups[n][g].count);
	fprintf(f, "buffers_found\t%u\n", nr_slots);
	fprintf(f, "ring_pages\t%u\n", nr_ring_pages);
	fprintf(f, "unmapped_buffers\t%ld\n", nr_unmapped);
	fprintf(f, "written_when_unmapped\t%ld\n", nr_written);
	fprintf(f, "snapshot_ns\t%lu\n", snapshot_time);
	fprintf(f, "compare_ns\t%lu\n", compare_time);
	for (n = 0; n < opt.nics; n++) {
		unsigned int i, rings = 0;

		for (i = 0; i < nr_ring_pages; i++)
			rings += ring_pages[i].nic == (int)n;
		fprintf(f, "ring_pages_nic%u\t%u\n", n, rings);
		fprintf(f, "changed_buffers_nic%u\t%ld\n", n, changed[n]);
		fprintf(f, "changed_ring_pages_nic%u\t%ld\n", n,
			changed_rings[n]);
	}
}
