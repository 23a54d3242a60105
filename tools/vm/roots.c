// SPDX-License-Identifier: GPL-2.0
/*
 * Follow QEMU's trace log. Each time the guest gives the IOMMU a new root
 * table, walk that table in the machine's memory: which devices can do DMA
 * through it, and does every page they reach belong to a memfd of the test?
 *
 * In scalable mode there is a PASID table between a device and its page table,
 * and that can be of the first or of the second stage.
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
	uint64_t table;		/* page table, 0 if none */
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
static int current_scalable;
static pthread_t thread;
static volatile int stopping;

/* Bits of which one makes an entry present: first stage P, second R or W. */
#define FIRST_STAGE	1
#define SECOND_STAGE	3

/* Count the pages, or with @owner tell the watcher whose they are. */
static void walk_table(struct row *r, uint64_t table, unsigned int level,
		       unsigned int present, int owner)
{
	const uint64_t *pte = (const uint64_t *)watch_gpa(table);
	unsigned int i;

	if (!pte) {
		r->outside++;
		return;
	}
	for (i = 0; i < 512; i++) {
		uint64_t e = pte[i], page, end;

		if (!(e & present))
			continue;
		if (level > 1 && !(e & (1 << 7))) {
			walk_table(r, e & ADDR_MASK, level - 1, present, owner);
			continue;
		}
		page = e & ADDR_MASK;
		end = page + (4096ULL << (9 * (level - 1)));
		/* Nobody has that much memory. */
		if (level > 3) {
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

static const uint64_t *context_of(uint64_t root, unsigned int bus,
				  unsigned int devfn, int scalable)
{
	const uint64_t *re = (const uint64_t *)watch_gpa(root);
	const uint64_t *ce;
	uint64_t e;

	if (!re)
		return NULL;
	e = re[bus * 2 + (scalable && devfn >= 0x80)];
	if (!(e & 1))
		return NULL;
	ce = (const uint64_t *)watch_gpa(e & ADDR_MASK);
	if (!ce)
		return NULL;
	ce += scalable ? (devfn & 0x7f) * 4 : devfn * 2;
	return ce[0] & 1 ? ce : NULL;
}

/* Where an entry leads to; counts what cannot be judged as outside. */
static void walk_legacy(struct row *r, const uint64_t *ce, int owner)
{
	r->did = (ce[1] >> 8) & 0xffff;
	r->table = ce[0] & ADDR_MASK;
	if (((ce[0] >> 2) & 3) == 2)
		r->outside++;		/* pass-through */
	else
		walk_table(r, r->table, (ce[1] & 7) + 2, SECOND_STAGE, owner);
}

static void walk_pasid_entry(struct row *r, const uint64_t *pe, int owner)
{
	r->did = pe[1] & 0xffff;
	switch ((pe[0] >> 6) & 7) {
	case 1:
		r->table = pe[2] & ADDR_MASK;
		walk_table(r, r->table, 4 + ((pe[2] >> 2) & 3), FIRST_STAGE,
			   owner);
		break;
	case 2:
		r->table = pe[0] & ADDR_MASK;
		walk_table(r, r->table, ((pe[0] >> 2) & 7) + 2, SECOND_STAGE,
			   owner);
		break;
	default:			/* pass-through, nested */
		r->outside++;
	}
}

/* PASID 0 is that of requests without; the use of another one is outside. */
static void walk_scalable(struct row *r, const uint64_t *ce, int owner)
{
	const uint64_t *dir = (const uint64_t *)watch_gpa(ce[0] & ADDR_MASK);
	unsigned int nr = 1u << (((ce[0] >> 9) & 7) + 7), i, n;
	uint64_t rid_pasid = ce[1] & 0xfffff;

	for (i = 0; i < nr; i++) {
		const uint64_t *pe;

		if (i % 512 == 0)
			dir = (const uint64_t *)watch_gpa((ce[0] & ADDR_MASK) +
							  i * 8);
		if (!dir) {
			r->outside++;
			return;
		}
		if (!(dir[i % 512] & 1))
			continue;
		pe = (const uint64_t *)watch_gpa(dir[i % 512] & ADDR_MASK);
		for (n = 0; pe && n < 64; n++, pe += 8) {
			if (!(pe[0] & 1))
				continue;
			if (i * 64 + n == rid_pasid)
				walk_pasid_entry(r, pe, owner);
			else
				r->outside++;
		}
		if (!pe)
			r->outside++;
	}
}

static void walk_context(struct row *r, const uint64_t *ce, int scalable,
			 int owner)
{
	if (scalable)
		walk_scalable(r, ce, owner);
	else
		walk_legacy(r, ce, owner);
}

static void walk_root(uint64_t root, int scalable)
{
	unsigned int bus, devfn, found = 0;
	uint64_t time = mono_ns();	/* one for all rows of one walk */
	const uint64_t *ce;
	struct row *r;

	for (bus = 0; bus < 256; bus++) {
		for (devfn = 0; devfn < 256; devfn++) {
			ce = context_of(root, bus, devfn, scalable);
			if (!ce)
				continue;
			r = row_add(root, scalable, time);
			if (!r)
				return;
			found++;
			r->bus = bus;
			r->devfn = devfn;
			walk_context(r, ce, scalable, -1);
		}
	}
	if (!found) {
		r = row_add(root, scalable, time);
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
	const uint64_t *ce;
	unsigned int nic;
	struct row dummy;

	for (nic = 0; current_root && nic < opt.nics; nic++) {
		ce = rids[nic] < 0 ? NULL :
			context_of(current_root, rids[nic] >> 8, rids[nic] & 255,
				   current_scalable);
		if (ce)
			walk_context(&dummy, ce, current_scalable, nic);
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
		current_root = root;
		current_scalable = scalable;
		walk_root(root, scalable);
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
			r->remapping ? "interrupts" : r->empty ? "empty" :
			r->scalable ? "scalable" : "legacy");
		fprintf(f, "\t%02x:%02x.%x\t%u\t0x%lx\t%lu\t%lu\n", r->bus,
			r->devfn >> 3, r->devfn & 7, r->did, r->table,
			r->inside, r->outside);
	}
	result_close(f);
}
