// SPDX-License-Identifier: GPL-2.0
/* What the judge asks of the raw results: counts over spans of time. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "judge.h"

#define PCI_COMMAND_MEMORY	2
#define PCI_COMMAND_MASTER	4

/* Where QEMU's igb has its capabilities. */
#define IGB_PMCSR		0x44
#define IGB_DEVCTL		0xa8
#define DEVCTL_FLR		0x8000

struct results *r;
int64_t streaming, vmm_last, starting, new_linux, init_mark, attached;
int64_t finish_begin, finish_end, retrieve_begin;

void times_load(int64_t from)
{
	since = from;
	streaming = mark_time(r, "streaming");
	vmm_last = mark_time(r, "vmm-last");
	starting = vmm_last ? console_time(r, "Starting new kernel", vmm_last) : NEVER;
	new_linux = starting ? console_time(r, "Linux version", starting) : NEVER;
	init_mark = mark_time(r, "init");
	retrieve_begin = mark_time(r, "retrieve-begin");
	attached = mark_time(r, "attached");
	finish_begin = mark_time(r, "finish-begin");
	finish_end = mark_time(r, "finish-end");
}

struct device_log device_log(unsigned int nic, int64_t from, int64_t to)
{
	struct device_log d = { .master = -1 };
	unsigned int command = 0, others = 0, resets = 0;
	size_t i;

	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];
		int in = within(e->time, from, to);

		if (e->kind == EV_SW_RESET || e->kind == EV_RESET) {
			resets += in;
			continue;
		}
		if (e->bdf != r->bdf[nic]) {
			/* Reset events do not say of which NIC. */
			if (in && e->kind == EV_CONFIG && r->nics > 1 &&
			    e->bdf == r->bdf[!nic] && e->a == IGB_DEVCTL &&
			    (e->b & DEVCTL_FLR))
				others++;
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
		if (e->kind == EV_CONFIG && e->a == IGB_DEVCTL)
			d.flrs += !!(e->b & DEVCTL_FLR);
		if (e->kind == EV_CONFIG && e->a == IGB_PMCSR)
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
			if (starting && s->arrival > starting)
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

void count_stage3(unsigned int *sent, unsigned int *found)
{
	size_t i;

	*sent = *found = 0;
	for (i = 0; i < r->nr_sends; i++) {
		if (r->sends[i].stage != STAGE_PROVOKED)
			continue;
		*sent += r->sends[i].accepted;
		*found += !!r->sends[i].arrival;
	}
}

/* The first console line that a healthy kernel does not print. */
const char *splat(void)
{
	static const char * const signs[] = {
		"WARNING:", "BUG:", "Oops", "Kernel panic", "KASAN",
		"KFENCE", "UBSAN", "general protection", "INFO: possible",
		"INFO: task", "INFO: rcu", "INFO: trying to register",
		"suspicious RCU", "sleeping function called",
		"possible circular locking", "possible recursive locking",
		"inconsistent lock state", "bad unlock balance",
		"held lock freed", "lock held when returning", "Call Trace:",
		"unable to handle", "use-after-free", "pagealloc: memory corruption",
		"double free", "refcount_t:", "list_add corruption",
		"list_del corruption", "ODEBUG", "scheduling while atomic",
		"unreferenced object", "stack-out-of-bounds", "Bad page state",
		"Modules linked in:",
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

		if (e->kind == EV_CONFIG && e->bdf == r->bdf[nic] && e->a == 4 &&
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

/* Frames of any stage that were first seen in memory in [from, to). */
unsigned int frames_arrived(unsigned int nic, int64_t from, int64_t to)
{
	unsigned int n = 0;
	size_t i;

	for (i = 0; i < r->nr_sends; i++)
		n += r->sends[i].nic == nic && r->sends[i].arrival &&
		     within(r->sends[i].arrival, from, to);
	return n;
}
