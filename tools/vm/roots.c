// SPDX-License-Identifier: GPL-2.0
/*
 * Follow QEMU's trace log. Each time the guest gives the IOMMU a new root
 * table, walk that table in the machine's memory: which devices can do DMA
 * through it, and does every page they reach belong to a memfd of the test?
 *
 * Legacy mode. Of a scalable-mode root only the pointer is noted.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dmawatch.h"

#define ADDR_MASK	0x000ffffffffff000ULL
#define MAX_ROWS	8192

struct row {
	uint64_t time;		/* of the walk */
	uint64_t root;
	uint64_t table;		/* second-stage table */
	uint64_t inside, outside;
	uint32_t bus, devfn;
	uint32_t did;
	uint8_t scalable;
	uint8_t empty;		/* no device in it at all */
	uint8_t remapping;	/* a table of interrupts, inside: those present */
};

static struct row *rows;
static unsigned int nr_rows;
static uint64_t current_root;
static pthread_t thread;
static volatile int stopping;

/* Count the pages, or with @owner tell the watcher whose they are. */
static void walk_table(struct row *r, uint64_t table, unsigned int level,
		       int owner)
{
	const uint64_t *pte = (const uint64_t *)watch_gpa(table);
	unsigned int i;

	if (!pte) {
		r->outside++;
		return;
	}
	for (i = 0; i < 512; i++) {
		uint64_t e = pte[i], page, end;

		if (!(e & 3))
			continue;
		if (level > 1 && !(e & (1 << 7))) {
			walk_table(r, e & ADDR_MASK, level - 1, owner);
			continue;
		}
		page = e & ADDR_MASK;
		end = page + (4096ULL << (9 * (level - 1)));
		/* The identity map of a whole machine need not be counted. */
		if (level > 2) {
			r->outside++;
			continue;
		}
		for (; page < end; page += 4096) {
			if (owner >= 0)
				watch_own(page, owner);
			else if (watch_gpa_is_dma(page))
				r->inside++;
			else
				r->outside++;
		}
	}
}

static struct row *row_add(uint64_t root, int scalable, uint64_t time)
{
	struct row *r;

	if (nr_rows == MAX_ROWS)
		return NULL;
	r = &rows[nr_rows++];
	memset(r, 0, sizeof(*r));
	r->time = time;
	r->root = root;
	r->scalable = scalable;
	return r;
}

static void walk_root(uint64_t root)
{
	const uint64_t *re = (const uint64_t *)watch_gpa(root);
	unsigned int bus, devfn, found = 0;
	uint64_t time = mono_ns();	/* one for all rows of one walk */
	struct row *r;

	for (bus = 0; re && bus < 256; bus++) {
		const uint64_t *ce;

		if (!(re[bus * 2] & 1))
			continue;
		ce = (const uint64_t *)watch_gpa(re[bus * 2] & ADDR_MASK);
		for (devfn = 0; ce && devfn < 256; devfn++) {
			uint64_t lo = ce[devfn * 2], hi = ce[devfn * 2 + 1];

			if (!(lo & 1))
				continue;
			r = row_add(root, 0, time);
			if (!r)
				return;
			found++;
			r->bus = bus;
			r->devfn = devfn;
			r->did = (hi >> 8) & 0xffff;
			r->table = lo & ADDR_MASK;
			if (((lo >> 2) & 3) == 2)
				r->outside = 1;		/* pass-through */
			else
				walk_table(r, r->table, (hi & 7) + 2, -1);
		}
	}
	if (!found) {
		r = row_add(root, 0, time);
		if (r)
			r->empty = 1;
	}
}

/* A new table of interrupts: how many could be raised through it? */
static void walk_remapping(uint64_t root, unsigned int entries)
{
	const uint64_t *irte = (const uint64_t *)watch_gpa(root);
	struct row *r = row_add(root, 0, mono_ns());
	unsigned int i;

	if (!r)
		return;
	r->remapping = 1;
	for (i = 0; irte && i < entries; i++)
		r->inside += irte[2 * i] & 1;
}

/* Whose page is which, by the page tables that are in use now. */
void roots_owners(void)
{
	const uint64_t *re = (const uint64_t *)watch_gpa(current_root);
	unsigned int nic;
	struct row dummy;

	if (!current_root || !re)
		return;
	for (nic = 0; nic < opt.nics; nic++) {
		uint64_t bus = rids[nic] < 0 ? 0 : re[(rids[nic] >> 8) * 2];
		const uint64_t *ce = bus & 1 ? (const uint64_t *)
			watch_gpa(bus & ADDR_MASK) : NULL;
		uint64_t lo = ce ? ce[(rids[nic] & 255) * 2] : 0;
		uint64_t hi = ce ? ce[(rids[nic] & 255) * 2 + 1] : 0;

		if ((lo & 1) && ((lo >> 2) & 3) != 2)
			walk_table(&dummy, lo & ADDR_MASK, (hi & 7) + 2, nic);
	}
}

static void *roots_loop(void *unused)
{
	char line[512];
	FILE *f = NULL;
	char *p;

	while (!stopping) {
		unsigned long root;
		unsigned int entries;
		int scalable;

		if (!f)
			f = fopen(opt.trace, "re");
		if (!f || !fgets(line, sizeof(line), f)) {
			if (f)
				clearerr(f);
			usleep(2000);
			continue;
		}
		if (!strchr(line, '\n')) {	/* half a line: wait for it */
			fseek(f, -(long)strlen(line), SEEK_CUR);
			continue;
		}
		p = strstr(line, "vtd_reg_ir_root addr ");
		if (p && sscanf(p, "vtd_reg_ir_root addr %lx size %x", &root,
				&entries) == 2)
			walk_remapping(root & ADDR_MASK, entries);
		p = strstr(line, "vtd_reg_dmar_root addr ");
		if (!p ||
		    sscanf(p, "vtd_reg_dmar_root addr %lx scalable %d",
			   &root, &scalable) != 2)
			continue;
		root &= ADDR_MASK;
		current_root = scalable ? 0 : root;
		if (scalable)
			row_add(root, 1, mono_ns());
		else
			walk_root(root);
	}
	if (f)
		fclose(f);
	return NULL;
}

void roots_start(void)
{
	rows = calloc(MAX_ROWS, sizeof(*rows));
	if (!rows || pthread_create(&thread, NULL, roots_loop, NULL))
		die("cannot start following %s", opt.trace);
}

void roots_stop(void)
{
	stopping = 1;
	pthread_join(thread, NULL);
}

void roots_write(void)
{
	FILE *f = result_open("roots.tsv");
	unsigned int i;

	for (i = 0; i < nr_rows; i++) {
		const struct row *r = &rows[i];

		fprintf(f, "%lu\t0x%lx\t%s", r->time, r->root,
			r->scalable ? "scalable" : r->empty ? "empty" :
			r->remapping ? "interrupts" : "legacy");
		fprintf(f, "\t%02x:%02x.%x\t%u\t0x%lx\t%lu\t%lu\n", r->bus,
			r->devfn >> 3, r->devfn & 7, r->did, r->table,
			r->inside, r->outside);
	}
	result_close(f);
}
