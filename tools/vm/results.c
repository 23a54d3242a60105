// SPDX-License-Identifier: GPL-2.0
/* Reading the raw results of a run. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"

struct pair {
	char *key, *value;
};

static struct pair *pairs;
static size_t nr_pairs;
static char path[1024];

static void *grow(void *list, size_t n, size_t size)
{
	if (n & (n - 1))	/* room doubles at each power of two */
		return list;
	list = realloc(list, (n ? 2 * n : 1) * size);
	if (!list) {
		fprintf(stderr, "judge: out of memory\n");
		exit(2);
	}
	return list;
}

#define ADD(list, n) ((list) = grow(list, n, sizeof(*(list))), \
		      memset(&(list)[n], 0, sizeof(*(list))), &(list)[(n)++])

static FILE *open_file(const char *dir, const char *name)
{
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	if (!f) {
		fprintf(stderr, "judge: cannot read %s\n", path);
		exit(2);
	}
	return f;
}

static void bad_line(const char *line)
{
	fprintf(stderr, "judge: %s: cannot parse: %s\n", path, line);
	exit(2);
}

static int next_line(FILE *f, char *line, size_t size)
{
	if (!fgets(line, size, f)) {
		fclose(f);
		return 0;
	}
	line[strcspn(line, "\n")] = 0;
	return 1;
}

static void load_pairs(const char *dir, const char *name)
{
	FILE *f = open_file(dir, name);
	char line[1024], *tab;
	struct pair *p;

	while (next_line(f, line, sizeof(line))) {
		tab = strchr(line, '\t');
		if (!tab)
			bad_line(line);
		*tab = 0;
		p = ADD(pairs, nr_pairs);
		p->key = strdup(line);
		p->value = strdup(tab + 1);
	}
}

const char *setting(const char *key)
{
	size_t i;

	for (i = 0; i < nr_pairs; i++)
		if (!strcmp(pairs[i].key, key))
			return pairs[i].value;
	return "";
}

int64_t counter(const char *key)
{
	const char *v = setting(key);

	return *v ? strtoll(v, NULL, 10) : -1;
}

static void load_marks(struct results *r, const char *dir)
{
	FILE *f = open_file(dir, "marks.tsv");
	char line[1024];
	struct mark *m;
	int at;

	while (next_line(f, line, sizeof(line))) {
		m = ADD(r->marks, r->nr_marks);
		if (sscanf(line, "%ld\t%7[a-z]\t%n", &m->time, m->kind, &at) != 2)
			bad_line(line);
		m->text = strdup(line + at);
	}
}

static void load_console(struct results *r, const char *dir)
{
	FILE *f = open_file(dir, "console.tsv");
	struct console_line *c;
	char line[8192], *tab;

	while (next_line(f, line, sizeof(line))) {
		c = ADD(r->console, r->nr_console);
		c->time = strtoll(line, &tab, 10);
		c->text = strdup(*tab ? tab + 1 : tab);
	}
}

static void load_sends(struct results *r, const char *dir)
{
	FILE *f = open_file(dir, "sends.tsv");
	char line[256], outcome[16];
	struct send *s;

	while (next_line(f, line, sizeof(line))) {
		s = ADD(r->sends, r->nr_sends);
		if (sscanf(line, "%ld\t%u\t%u\t%lu\t%15s", &s->time, &s->nic,
			   &s->stage, &s->seq, outcome) != 5)
			bad_line(line);
		s->accepted = !strcmp(outcome, "accepted");
	}
}

static int by_frame(const void *a, const void *b)
{
	const struct send *x = a, *y = b;

	if (x->nic != y->nic)
		return x->nic < y->nic ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/*
 * A read that QEMU took from a drive's queue is a frame sent. The events are
 * there already.
 */
static void read_add(struct results *r, const struct event *e, uint64_t lba)
{
	uint64_t nr = lba / NVME_BLOCKS;
	struct send *s;

	if (nr / NVME_FRAMES >= MAX_NICS)
		return;
	s = ADD(r->sends, r->nr_sends);
	s->time = e->time;
	s->nic = nr / NVME_FRAMES;
	s->seq = nr % NVME_FRAMES + 1;
	s->stage = nvme_stage(s->seq);
	s->accepted = 1;
}

/* Puts each arrival with the frame that was sent. */
static void load_arrivals(struct results *r, const char *dir)
{
	FILE *f = open_file(dir, "arrivals.tsv");
	unsigned int in, to, gen, stage;
	struct send key, *s;
	char line[256];
	int64_t time;

	qsort(r->sends, r->nr_sends, sizeof(*r->sends), by_frame);
	while (next_line(f, line, sizeof(line))) {
		if (sscanf(line, "%ld\t%u\t%u\t%u\t%u\t%lu", &time, &in, &to,
			   &gen, &stage, &key.seq) != 6)
			bad_line(line);
		if (in != to)
			r->misplaced++;
		key.nic = to;
		s = bsearch(&key, r->sends, r->nr_sends, sizeof(key), by_frame);
		if (!s) {
			fprintf(stderr, "judge: frame %lu arrived, was never sent\n",
				key.seq);
			exit(2);
		}
		if (!s->arrival || time < s->arrival)
			s->arrival = time;
	}
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void load_pages(struct results *r, const char *dir)
{
	FILE *f = open_file(dir, "pages.tsv");
	char line[256];

	while (next_line(f, line, sizeof(line)))
		*ADD(r->pages, r->nr_pages) = strtoull(line, NULL, 16) & ~4095ULL;
	qsort(r->pages, r->nr_pages, sizeof(*r->pages), by_number);
}

int page_known(const struct results *r, uint64_t gpa)
{
	gpa &= ~4095ULL;
	return !!bsearch(&gpa, r->pages, r->nr_pages, sizeof(gpa), by_number);
}

static void load_roots(struct results *r, const char *dir)
{
	FILE *f = open_file(dir, "roots.tsv");
	struct root *t;
	char line[256];

	while (next_line(f, line, sizeof(line))) {
		t = ADD(r->roots, r->nr_roots);
		if (sscanf(line, "%ld\t%lx\t%11s\t%11s\t%u\t%lx\t%lu\t%lu",
			   &t->time, &t->addr, t->kind, t->bdf, &t->did,
			   &t->table, &t->inside, &t->outside) != 8)
			bad_line(line);
	}
}

static unsigned int bdf_pack(unsigned int bus, unsigned int dev, unsigned int fn)
{
	return bus << 8 | dev << 3 | fn;
}

/* What shape.sh puts above a device */
static int is_bridge(const char *name)
{
	static const char * const names[] = {
		"pcie-root-port", "x3130-upstream", "xio3130-downstream", "pcie-pci-bridge",
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(names[i], name))
			return 1;
	return 0;
}

/* "PID@SECONDS.MICROSECONDS:EVENT ARGUMENTS" */
static int parse_event(const char *line, struct event *e, int64_t offset)
{
	unsigned int bus, dev, fn, reason;
	unsigned long s, us, a, b;
	char name[32];
	const char *p;
	int at;

	if (sscanf(line, "%*u@%lu.%lu:%n", &s, &us, &at) != 2)
		return 0;
	e->time = (int64_t)(s * 1000000 + us) * 1000 - offset;
	p = line + at;

	if (sscanf(p, "vtd_dmar_translate dev %x:%x.%x iova %lx -> gpa %lx",
		   &bus, &dev, &fn, &a, &b) == 5) {
		e->kind = EV_TRANSLATE;
		e->bdf = bdf_pack(bus, dev, fn);
		e->b = b;
	} else if (sscanf(p, "pci_cfg_write %31s %x:%x.%x @%lx <- %lx", name, &bus,
			  &dev, &fn, &a, &b) == 6) {
		e->kind = is_bridge(name) ? EV_BRIDGE : EV_CONFIG;
		e->bdf = bdf_pack(bus, dev, fn);
		e->b = b;
	} else if (sscanf(p, "vtd_dmar_fault sid %x fault %u addr %lx", &bus,
			  &reason, &a) == 3) {
		e->kind = EV_FAULT;
		e->bdf = bus;
		e->b = reason;
	} else if (sscanf(p, "vtd_inv_desc invalidate desc type device high %lx low %lx",
			  &a, &b) == 2) {
		e->kind = EV_DEV_TLB;
		e->bdf = b >> 32 & 0xffff;
	} else if (sscanf(p, "vtd_ir_remap_msi_req addr %lx", &a) == 1) {
		e->kind = EV_IRQ_ASKED;
	} else if (sscanf(p, "vtd_ir_remap_msi (addr %lx,", &a) == 1) {
		e->kind = EV_IRQ_REMAPPED;
	} else if (sscanf(p, "vtd_dmar_enable enable %lu", &a) == 1) {
		e->kind = EV_DMAR_ENABLE;
	} else if (sscanf(p, "vtd_ir_enable enable %lu", &a) == 1) {
		e->kind = EV_IR_ENABLE;
	} else if (sscanf(p, "vtd_reg_dmar_root addr %lx", &a) == 1) {
		e->kind = EV_ROOT;
	} else if (!strncmp(p, "e1000e_core_ctrl_sw_reset", 25)) {
		e->kind = EV_SW_RESET;
		a = DEV_E1000;
	} else if (!strncmp(p, "e1000e_cb_qdev_reset_hold", 25)) {
		e->kind = EV_RESET;
		a = DEV_E1000;
	} else if (sscanf(p, "virtio_set_status vdev %*s val %lu", &a) == 1) {
		if (a)
			return 0;
		e->kind = EV_RESET;
		a = DEV_VIRTIO;
	} else if (!strncmp(p, "pci_nvme_mmio_stopped", 21)) {
		e->kind = EV_SW_RESET;
		a = DEV_NVME;
	} else if (!strncmp(p, "pci_nvme_pci_reset", 18)) {
		e->kind = EV_RESET;
		a = DEV_NVME;
	} else if (sscanf(p, "pci_nvme_enqueue_req_completion cid %*u cqid %u dw0 %*s dw1 %*s status %lx",
			  &bus, &a) == 2) {
		if (!bus)	/* of an admin command */
			return 0;
		e->kind = EV_NVME_DONE;
	} else if (!strncmp(p, "pci_nvme_err_addr_write", 23) ||
		   !strncmp(p, "pci_nvme_err_cfs", 16)) {
		e->kind = EV_NVME_ERROR;
		a = 0;
	} else {
		return 0;
	}
	e->a = a;
	return 1;
}

static void load_events(struct results *r, const char *dir)
{
	int64_t offset = counter("realtime_minus_monotonic_ns");
	FILE *f = open_file(dir, "trace.log");
	char line[512];
	struct event e;
	uint64_t lba;
	const char *p;

	while (next_line(f, line, sizeof(line))) {
		memset(&e, 0, sizeof(e));
		if (parse_event(line, &e, offset)) {
			*ADD(r->events, r->nr_events) = e;
			continue;
		}
		p = strstr(line, ":pci_nvme_read ");
		if (p && sscanf(p, ":pci_nvme_read cid %*u nsid %*u nlb %*u count %*u lba %lx",
				&lba) == 1)
			read_add(r, &e, lba);
	}
}

int64_t since;

int64_t mark_time(const struct results *r, const char *name)
{
	size_t i, n = strlen(name);

	for (i = 0; i < r->nr_marks; i++)
		if (r->marks[i].time >= since &&
		    !strcmp(r->marks[i].kind, "mark") &&
		    !strncmp(r->marks[i].text, name, n) &&
		    (!r->marks[i].text[n] || r->marks[i].text[n] == ' '))
			return r->marks[i].time;
	return NEVER;
}

int64_t mark_arg(const struct results *r, const char *name, const char *key,
		 int64_t missing)
{
	int64_t t = mark_time(r, name);
	char pattern[32];
	const char *p;
	size_t i;

	snprintf(pattern, sizeof(pattern), " %s=", key);
	for (i = 0; t && i < r->nr_marks; i++) {
		if (r->marks[i].time != t)
			continue;
		p = strstr(r->marks[i].text, pattern);
		if (p)
			return strtoll(p + strlen(pattern), NULL, 0);
	}
	return missing;
}

int64_t console_time(const struct results *r, const char *text, int64_t from)
{
	size_t i;

	for (i = 0; i < r->nr_console; i++)
		if (r->console[i].time >= from && strstr(r->console[i].text, text))
			return r->console[i].time;
	return NEVER;
}

static void parse_devices(struct results *r)
{
	const char *p = setting("devices");

	while (r->nics < MAX_NICS && *p) {
		struct device *d = &r->dev[r->nics++];

		snprintf(d->name, sizeof(d->name), "%.*s",
			 (int)strcspn(p, ","), p);
		d->kind = !strncmp(p, "nvme", 4) ? DEV_NVME :
			  !strncmp(p, "virtio", 6) ? DEV_VIRTIO : DEV_E1000;
		d->bdf = d->rid = -1;
		p += strcspn(p, ",");
		p += *p == ',';
	}
}

/* Where they are, as /init of each kernel found them. */
static void parse_places(struct results *r)
{
	unsigned int nic, bus, dev, fn, pm, exp;
	const char *p;
	size_t i;

	for (i = 0; i < r->nr_marks; i++) {
		struct device *d;

		if (strcmp(r->marks[i].kind, "info") ||
		    sscanf(r->marks[i].text, "dev=%u bdf=%*x:%x:%x.%x pm=%x exp=%x",
			   &nic, &bus, &dev, &fn, &pm, &exp) != 6 ||
		    nic >= r->nics)
			continue;
		d = &r->dev[nic];
		if (d->bdf < 0) {
			d->bdf = bdf_pack(bus, dev, fn);
			/* A PCIe-to-PCI bridge asks in its own name. */
			d->rid = strcmp(setting("place"), "pci-bridge") ? d->bdf :
									  d->bdf & 0xff00;
			d->pm = pm;
			d->exp = exp;
			p = strstr(r->marks[i].text, " ats=");
			d->ats = p ? strtoul(p + 5, NULL, 0) : 0;
			p = strstr(r->marks[i].text, " reset=");
			/* The kernel takes the first */
			d->no_reset = p && strncmp(p + 7, "flr", 3) && strncmp(p + 7, "bus", 3);
		}
		d->moved += d->bdf != (int)bdf_pack(bus, dev, fn);
	}
}

struct results *results_load(const char *dir)
{
	struct results *r = calloc(1, sizeof(*r));

	load_pairs(dir, "run.tsv");
	load_pairs(dir, "counters.tsv");
	snprintf(r->scenario, sizeof(r->scenario), "%s", setting("case"));
	parse_devices(r);
	load_marks(r, dir);
	parse_places(r);
	load_console(r, dir);
	load_sends(r, dir);
	load_events(r, dir);
	load_arrivals(r, dir);
	load_pages(r, dir);
	load_roots(r, dir);
	return r;
}
