// SPDX-License-Identifier: GPL-2.0
/* What the judge asks of the raw results: counts over spans of time. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"

#define PCI_COMMAND_MEMORY	2
#define PCI_COMMAND_MASTER	4

#define PCI_BRIDGE_CONTROL	0x3e
#define BRIDGE_RESET		0x40
#define PCI_EXTENDED		0x100	/* from there on */

#define PCI_PM_CTRL		4
#define PCI_EXP_DEVCTL		8
#define DEVCTL_FLR		0x8000
#define PCI_EXP_DEVSTA		10
#define PCI_ATS_CTRL		6
#define ATS_ENABLE		0x8000

/* Address and size of a device-TLB invalidation: everything */
#define DEV_TLB_ALL		0x7ffffffffffff001ULL

struct results *r;
int64_t streaming, vmm_last, starting, new_linux, init_mark, attached;
int64_t finish_begin, finish_end, retrieve_begin;

/* The last mark of that name in the live update that starts at @since. */
static int64_t mark_last(const char *name)
{
	int64_t jump = mark_time(r, "vmm-last"), last = NEVER;
	size_t i, n = strlen(name);

	for (i = 0; i < r->nr_marks; i++) {
		const struct mark *m = &r->marks[i];

		if (m->time < since || strcmp(m->kind, "mark"))
			continue;
		if (jump && m->time > jump && !strncmp(m->text, "vmm-last", 8))
			break;
		if (!strncmp(m->text, name, n) && (!m->text[n] || m->text[n] == ' '))
			last = m->time;
	}
	return last;
}

void times_load(int64_t from)
{
	since = from;
	streaming = mark_time(r, "streaming");
	vmm_last = mark_time(r, "vmm-last");
	starting = vmm_last ? console_time(r, "Starting new kernel", vmm_last) : NEVER;
	new_linux = starting ? console_time(r, "Linux version", starting) : NEVER;
	init_mark = mark_time(r, "init");
	retrieve_begin = mark_time(r, "retrieve-begin");
	/* Of several sessions the last one ends the blackout. */
	attached = mark_last("attached");
	finish_begin = mark_last("finish-begin");
	finish_end = mark_last("finish-end");
}

struct device_log device_log(unsigned int nic, int64_t from, int64_t to)
{
	struct device_log d = { .master = -1 };
	unsigned int command = 0, others = 0, resets = 0, other;
	const struct device *dev = &r->dev[nic];
	size_t i;

	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];
		int in = within(e->time, from, to);
		int id = e->kind == EV_CONFIG ? dev->bdf : dev->rid;

		if (e->kind == EV_SW_RESET || e->kind == EV_RESET) {
			resets += in && e->a == dev->kind;
			continue;
		}
		if ((int)e->bdf != id) {
			/* Reset events do not say of which device. */
			if (!in || e->kind != EV_CONFIG || !(e->b & DEVCTL_FLR))
				continue;
			for (other = 0; other < r->nics; other++)
				others += (int)e->bdf == r->dev[other].bdf &&
					  dev->kind == r->dev[other].kind &&
					  e->a == r->dev[other].exp + PCI_EXP_DEVCTL;
			continue;
		}
		if (e->kind == EV_CONFIG && e->a == 4) {
			if (in && (command & PCI_COMMAND_MASTER) &&
			    !(e->b & PCI_COMMAND_MASTER))
				d.master_clears++;
			if (in && (command & PCI_COMMAND_MEMORY) &&
			    !(e->b & PCI_COMMAND_MEMORY))
				d.decode_clears++;
			command = e->b;
			if (e->time < to)
				d.master = !!(command & PCI_COMMAND_MASTER);
		}
		if (!in)
			continue;
		if (e->kind == EV_CONFIG && dev->exp &&
		    e->a == dev->exp + PCI_EXP_DEVCTL)
			d.flrs += !!(e->b & DEVCTL_FLR);
		if (e->kind == EV_CONFIG && dev->pm && e->a == dev->pm + PCI_PM_CTRL)
			d.d3s += (e->b & 3) == 3;
		if (e->kind == EV_FAULT && !d.faults++)
			d.first_fault = e->a;
		if (e->kind == EV_TRANSLATE) {
			d.translations++;
			if (!page_known(r, e->b) && !d.strays++)
				d.first_stray = e->b;
		}
	}
	d.resets = resets > others ? resets - others : 0;
	if (d.flrs > d.resets)
		d.resets = d.flrs;
	return d;
}

/*
 * QEMU does not ask whether a port lets DMA through. They have no power management
 * in QEMU 10: there is no D3 to be seen.
 */
struct port_log port_log(int64_t from, int64_t to)
{
	static uint16_t command[65536];
	static uint8_t seen[65536];
	struct port_log l = { 0 };
	size_t i;

	memset(command, 0, sizeof(command));
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];
		uint32_t control = 0;

		if (e->kind != EV_BRIDGE || e->time >= to)
			continue;
		if (e->a == PCI_BRIDGE_CONTROL)
			control = e->b;
		else if (e->a == PCI_BRIDGE_CONTROL - 2)	/* both at once */
			control = e->b >> 16;
		l.resets += e->time >= from && (control & BRIDGE_RESET);
		if (e->a != 4)
			continue;
		l.master_clears += e->time >= from && !(e->b & PCI_COMMAND_MASTER) &&
				   (command[e->bdf] & PCI_COMMAND_MASTER);
		command[e->bdf] = e->b;
		seen[e->bdf] = 1;
	}
	for (i = 0; i < sizeof(seen); i++) {
		l.ports += seen[i];
		l.off += seen[i] && !(command[i] & PCI_COMMAND_MASTER);
	}
	return l;
}

/* Nothing comes of status that is cleared; ATS has a log of its own. */
struct config_log config_log(unsigned int nic, int64_t from, int64_t to)
{
	const struct device *dev = &r->dev[nic];
	struct config_log l = { 0 };
	size_t i;

	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];

		if (e->kind != EV_CONFIG || (int)e->bdf != dev->bdf ||
		    !within(e->time, from, to))
			continue;
		if (e->a >= PCI_EXTENDED ||
		    (dev->exp && e->a == dev->exp + PCI_EXP_DEVSTA))
			l.harmless++;
		else if (!l.writes++)
			l.first = e->a;
	}
	return l;
}

struct ats_log ats_log(unsigned int nic, int64_t from, int64_t to)
{
	const struct device *dev = &r->dev[nic];
	struct ats_log l = { 0 };
	size_t i;
	int on;

	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];

		if ((int)e->bdf != dev->bdf || e->time >= to)
			continue;
		l.flushes += e->kind == EV_DEV_TLB && e->time >= from &&
			     e->a == DEV_TLB_ALL;
		if (e->kind != EV_CONFIG || !dev->ats || e->a != dev->ats + PCI_ATS_CTRL)
			continue;
		on = !!(e->b & ATS_ENABLE);
		l.cleared += l.on && !on && e->time >= from;
		l.on = on;
	}
	return l;
}

struct nvme_log nvme_log(int64_t from, int64_t to)
{
	struct nvme_log l = { 0 };
	size_t i;

	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];

		if (!within(e->time, from, to))
			continue;
		l.done += e->kind == EV_NVME_DONE && !e->a;
		l.failed += e->kind == EV_NVME_DONE && e->a;
		l.errors += e->kind == EV_NVME_ERROR;
	}
	return l;
}

/* Reads that count for loss. */
unsigned int reads_taken(void)
{
	unsigned int n = 0;
	size_t i;

	for (i = 0; i < r->nr_sends; i++)
		n += r->dev[r->sends[i].nic].kind == DEV_NVME &&
		     r->sends[i].stage <= STAGE_SECOND;
	return n;
}

const char *bdf_text(unsigned int nic)
{
	static char text[16];
	int bdf = r->dev[nic].bdf;

	if (bdf < 0)
		return "unknown";
	snprintf(text, sizeof(text), "%02x:%02x.%x", bdf >> 8, (bdf >> 3) & 31,
		 bdf & 7);
	return text;
}

/* How many of the devices are preserved: the first ones. */
unsigned int preserved(void)
{
	return strcmp(r->scenario, "unpreserved") ? r->nics : 1;
}

struct iommu_log iommu_log(int64_t from, int64_t to)
{
	struct iommu_log l = { 0 };
	size_t i;

	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];

		if (!within(e->time, from, to))
			continue;
		l.translation_off += e->kind == EV_DMAR_ENABLE && !e->a;
		l.remapping_off += e->kind == EV_IR_ENABLE && !e->a;
		l.roots += e->kind == EV_ROOT;
	}
	return l;
}

/* On a host that is busy the watcher may notice a frame that much after it came, in ns. */
#define NOTICED		200000000

/*
 * Frames sent to a NIC in [from, to) that count for loss. Blackout is from the
 * last instruction of the old VMM to the new one holding the attached device.
 */
struct frame_log frame_log(unsigned int nic, int64_t from, int64_t to)
{
	int64_t period = 1000000000 / counter("rate"), gap_end;
	int64_t end = attached ? attached : FOREVER, last_arrival = NEVER;
	int64_t last_send = NEVER;
	struct frame_log f = { 0 };
	size_t i;

	if (r->dev[nic].kind == DEV_VIRTIO)
		period *= VIRTIO_EVERY;
	for (i = 0; i < r->nr_sends; i++) {
		const struct send *s = &r->sends[i];

		if (s->nic != nic || s->stage > STAGE_SECOND ||
		    !within(s->time, from, to))
			continue;
		f.sent += s->accepted;
		f.refused += !s->accepted;
		if (s->accepted && !s->arrival)
			f.lost++;
		if (s->arrival) {
			if (s->arrival <= vmm_last || !vmm_last)
				f.before++;
			else if (s->arrival <= end)
				f.blackout++;
			else
				f.after++;
			if (starting && (s->time > starting ||
					 s->arrival > starting + NOTICED))
				f.late++;
			if (MS(s->arrival - s->time) > f.longest_latency)
				f.longest_latency = MS(s->arrival - s->time);
		}
		/* A gap the sender made by pausing is not the NIC's. */
		gap_end = s->arrival ? s->arrival : s->time;
		if (last_send && s->time - last_send > 20 * period)
			last_arrival = NEVER;
		if (last_arrival && MS(gap_end - last_arrival) > f.longest_gap)
			f.longest_gap = MS(gap_end - last_arrival);
		if (s->arrival)
			last_arrival = s->arrival;
		else if (!last_arrival)
			last_arrival = s->time;
		last_send = s->time;
	}
	return f;
}

void count_stage3(unsigned int nic, unsigned int *sent, unsigned int *found)
{
	size_t i;

	*sent = *found = 0;
	for (i = 0; i < r->nr_sends; i++) {
		if (r->sends[i].nic != nic || r->sends[i].stage != STAGE_PROVOKED)
			continue;
		*sent += r->sends[i].accepted;
		*found += !!r->sends[i].arrival;
	}
}

/* The first console line that a healthy kernel does not print. */
const char *splat(void)
{
	static const char * const signs[] = {
#include "splats.h"
	};
	size_t i, s;

	for (i = 0; i < r->nr_console; i++)
		for (s = 0; s < sizeof(signs) / sizeof(*signs); s++)
			if (strstr(r->console[i].text, signs[s]))
				return r->console[i].text;
	return NULL;
}

const char *guest_failure(void)
{
	size_t i;

	for (i = 0; i < r->nr_marks; i++)
		if (!strcmp(r->marks[i].kind, "fail"))
			return r->marks[i].text;
	return NULL;
}

int64_t failure_time(void)
{
	size_t i;

	for (i = 0; i < r->nr_marks; i++)
		if (!strcmp(r->marks[i].kind, "fail"))
			return r->marks[i].time;
	return NEVER;
}

/* What KEY=N says since the start of this live update, and when; -1 if nothing. */
int64_t info_number(const char *key, int64_t *when)
{
	size_t i, n = strlen(key);

	for (i = 0; i < r->nr_marks; i++) {
		const struct mark *m = &r->marks[i];

		if (m->time < since || strcmp(m->kind, "info") ||
		    strncmp(m->text, key, n) || m->text[n] != '=')
			continue;
		*when = m->time;
		return strtoll(m->text + n + 1, NULL, 0);
	}
	*when = NEVER;
	return -1;
}

const char *info(const char *key)
{
	size_t i, n = strlen(key);

	for (i = 0; i < r->nr_marks; i++)
		if (!strcmp(r->marks[i].kind, "info") &&
		    !strncmp(r->marks[i].text, key, n) &&
		    r->marks[i].text[n] == '=')
			return r->marks[i].text + n + 1;
	return "unknown";
}

/* When the test turned bus mastering on again; its mark comes after the fact. */
int64_t bus_master_on(unsigned int nic, int64_t from)
{
	size_t i;

	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];

		if (e->kind == EV_CONFIG && (int)e->bdf == r->dev[nic].bdf && e->a == 4 &&
		    (e->b & PCI_COMMAND_MASTER) && e->time >= from)
			return e->time;
	}
	return NEVER;
}

/* Frames that did not arrive although later ones did, sent in [0, to). */
unsigned int frame_holes(unsigned int nic, int64_t to)
{
	unsigned int holes = 0, missing = 0;
	size_t i;

	for (i = 0; i < r->nr_sends; i++) {	/* in the order of numbers */
		const struct send *s = &r->sends[i];

		if (s->nic != nic || s->time >= to)
			continue;
		missing += s->accepted && !s->arrival;
		if (s->arrival)
			holes = missing;
	}
	return holes;
}

/*
 * Frames of any stage that were sent, and first seen in memory, in [from, to). The
 * watcher may notice late what came just before.
 */
unsigned int frames_arrived(unsigned int nic, int64_t from, int64_t to)
{
	unsigned int n = 0;
	size_t i;

	for (i = 0; i < r->nr_sends; i++)
		n += r->sends[i].nic == nic && r->sends[i].arrival &&
		     r->sends[i].time >= from && within(r->sends[i].arrival, from, to);
	return n;
}
