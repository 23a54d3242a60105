// SPDX-License-Identifier: GPL-2.0
/* What a live update must not do, and what must work after it. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"

/*
 * The guest's count of what it found must agree with what was seen outside: no
 * less than had been seen before, no more than had been sent by then.
 */
void judge_cross_check(unsigned int nic)
{
	int64_t bad = mark_arg(r, "checked", "bad", -1);
	int64_t frames, when, low = 0, high = 0;
	char who[16] = "", key[32];
	size_t i;

	snprintf(key, sizeof(key), "nic%u_checked", nic);
	frames = info_number(key, &when);
	if (frames < 0 && !nic) {
		when = mark_time(r, "checked");
		frames = mark_arg(r, "checked", "frames", -1);
	}
	for (i = 0; i < r->nr_sends; i++) {
		const struct send *s = &r->sends[i];

		if (s->nic != nic || !s->arrival)
			continue;
		low += s->arrival < retrieve_begin;
		high += s->time < when;
	}
	if (preserved() > 1)
		snprintf(who, sizeof(who), "device %u: ", nic);
	check(when && bad == 0 && frames >= low && frames <= high,
	      "%scross-check: the guest found %s frames (%s bad), seen from "
	      "outside: %s to %s", who, frames < 0 ? "no" : count_of(frames),
	      bad < 0 ? "unknown" : count_of(bad), count_of(low), count_of(high));
}

/* Which of the preserved devices this is, -1 if none. */
static int preserved_device(const char *bdf)
{
	unsigned int n;

	for (n = 0; n < preserved(); n++)
		if (!strcmp(bdf_text(n), bdf))
			return n;
	return -1;
}

/* The device as whose function 1 this is, see quirks.patch; -1 if of none. */
static int alias_of(const char *bdf)
{
	char device[sizeof(((struct root *)NULL)->bdf)];
	char *function;

	snprintf(device, sizeof(device), "%s", bdf);
	function = strchr(device, '.');
	if (!function || strcmp(function, ".1"))
		return -1;
	function[1] = '0';
	return preserved_device(device);
}

/* The roots the guest set between two points: what can be reached from them? */
static void judge_roots(void)
{
	unsigned int handover = 0, strangers = 0, missing = 0, outside = 0;
	unsigned int checked = 0, interrupts = 0, walks = 0, aliases = 0, n;
	unsigned int with_alias = strtoul(setting("aliases"), NULL, 10);
	int64_t first = NEVER, first_ir = NEVER, walk = NEVER;
	uint64_t table[MAX_NICS] = { 0 };
	size_t i;
	int nic, of;

	for (i = 0; i < r->nr_roots; i++) {
		const struct root *t = &r->roots[i];

		if (!within(t->time, vmm_last, finish_end ? finish_end : FOREVER))
			continue;
		if (!strcmp(t->kind, "interrupts")) {
			if (!first_ir) {
				first_ir = t->time;
				interrupts = t->inside;
			}
			continue;
		}
		/* The first walk is that of the handover root. */
		if (!first)
			first = t->time;
		walks += t->time != walk;
		walk = t->time;
		nic = strcmp(t->kind, "empty") ? preserved_device(t->bdf) : -1;
		if (t->time == first) {
			handover += nic >= 0;
			strangers += nic < 0 && strcmp(t->kind, "empty");
		}
		if (nic < 0) {
			of = with_alias ? alias_of(t->bdf) : -1;
			/* It comes after its device, and leads where that does */
			if (t->time == first && of >= 0 && t->table == table[of])
				aliases++;
			continue;
		}
		checked++;
		outside += t->outside > 0;
		if (!table[nic])
			table[nic] = t->table;
		missing += t->table != table[nic] || !t->inside;
	}
	/* A device that is not in a root at all is without its table, too. */
	n = walks * preserved();
	missing += n > checked ? n - checked : 0;
	if (with_alias) {
		strangers -= aliases;
		check(aliases == with_alias, "handover root: %u of %u DMA aliases, with the table of their device",
		      aliases, with_alias);
	}
	check(handover == preserved() && !strangers && (!new_linux || first < new_linux),
	      "handover root: %u devices in it that were not preserved, %u of %u "
	      "that were%s", strangers, handover, preserved(),
	      !first ? "; none was ever set" :
	      new_linux && first >= new_linux ? "; set by the new kernel" : "");
	if (!strcmp(setting("intremap"), "off"))
		check(!first_ir, "no table of interrupts was set, the machine has none");
	else
		check(first_ir && !interrupts && (!new_linux || first_ir < new_linux),
		      "handover interrupt table: %u entries present%s", interrupts,
		      !first_ir ? "; none was ever set" :
		      new_linux && first_ir >= new_linux ? "; set by the new kernel" : "");
	check(checked && !missing && !outside,
	      "roots set since: %u, with %u entries of preserved devices, %u without "
	      "their table, %u that reach beyond the memfds", walks, checked,
	      missing, outside);
}

static void judge_iommu(const struct iommu_log *l)
{
	check(l->translation_off == 0, "translation switched off %u times",
	      l->translation_off);
	check(l->remapping_off == 0, "interrupt remapping switched off %u times",
	      l->remapping_off);
}

/* Reads that were taken, completions that came of them. */
static void judge_drives(int64_t from, int64_t to)
{
	unsigned int taken = reads_taken(), n, drives = 0;
	struct nvme_log l = nvme_log(from, to), all = nvme_log(0, FOREVER);

	for (n = 0; n < preserved(); n++)
		drives += r->dev[n].kind == DEV_NVME;
	if (drives)
		check(taken && all.done >= taken && l.failed + l.errors == 0,
		      "drives: %s reads taken, %s completed, %u failed, %u completions "
		      "not written", count_of(taken), count_of(all.done), l.failed,
		      l.errors);
}

/* The same for one of several devices, in one line. */
void judge_one_of(unsigned int nic, int64_t from, int64_t to, unsigned int frames)
{
	struct device_log d = device_log(nic, from, to);
	struct frame_log f = frame_log(nic, 0, FOREVER);

	check(f.blackout > 0 && !f.lost && !f.refused && f.after >= frames &&
	      !d.faults && !d.resets && !d.master_clears && !d.decode_clears &&
	      !d.d3s && d.translations > 0 && !d.strays,
	      "device %u, %s at %s: %u frames sent, %u in the blackout, %u after, %u lost, "
	      "%u refused; %u faults, %u resets, bus mastering cleared %u times, "
	      "decoding %u, D3 %u; %s translations, %u outside", nic,
	      r->dev[nic].name, bdf_text(nic), f.sent, f.blackout, f.after,
	      f.lost, f.refused, d.faults, d.resets, d.master_clears,
	      d.decode_clears, d.d3s, count_of(d.translations), d.strays);
}

/* What the preserved NIC must have been spared between streaming and finish. */
void judge_preserved(const struct device_log *d, const struct iommu_log *l,
			    const struct frame_log *f)
{
	check(f->blackout > 0, "%s frames arrived in the blackout",
	      count_of(f->blackout));
	check(f->lost == 0, "%s frames lost of %s accepted", count_of(f->lost),
	      count_of(f->sent));
	check(f->refused == 0, "%s frames refused by the NIC", count_of(f->refused));
	check(d->faults == 0, "%u IOMMU faults", d->faults);
	check(d->resets == 0, "%u device resets", d->resets);
	check(d->master_clears == 0, "bus mastering cleared %u times",
	      d->master_clears);
	check(d->decode_clears == 0, "memory decoding cleared %u times",
	      d->decode_clears);
	check(d->d3s == 0, "sent to D3 %u times", d->d3s);
	judge_iommu(l);
	check(d->translations > 0 && d->strays == 0,
	      "%s translations, %s outside the memfds' pages",
	      count_of(d->translations), count_of(d->strays));
	judge_roots();
}

/* The mark of the VMM that device @nic belongs to, in the case "vmms". */
static int64_t vmm_mark(unsigned int nic, const char *what)
{
	char name[48];

	if (strcmp(r->scenario, "vmms") || !nic)
		return mark_time(r, what);
	snprintf(name, sizeof(name), "vmm%u-%s", nic, what);
	return mark_time(r, name);
}

/*
 * ATS stays as it was. What the device has cached is dropped once, by the time its
 * user has it back: no sooner than it has been taken back.
 */
static void judge_ats(unsigned int nic, int64_t to)
{
	struct ats_log l = ats_log(nic, starting, to);
	struct ats_log early = ats_log(nic, starting, vmm_mark(nic, "retrieve-end"));
	const char *place = setting("place");
	int wanted = !strcmp(r->dev[nic].name, "virtio") && *place &&
		     strcmp(place, "root") && strcmp(place, "pci-bridge");

	if (!wanted && !l.on && !l.flushes)
		return;
	check(l.on && !l.cleared && l.flushes == 1 && !early.flushes,
	      "device %u: ATS is %s, turned off %u times since the jump; device TLB flushed "
	      "%u times, %u of them before it was taken back", nic, l.on ? "on" : "off",
	      l.cleared, l.flushes, early.flushes);
}

/* DMA has to come through the ports above, too. */
static void judge_ports(int64_t from, int64_t to)
{
	struct port_log l = port_log(from, to);
	const char *place = setting("place");
	int wanted = *place && strcmp(place, "root");

	if (!wanted && !l.ports)
		return;
	check(l.ports && !l.off && !l.master_clears && !l.resets,
	      "%u ports: bus mastering cleared %u times, off at %u of them at the end; "
	      "%u resets of the bus below", l.ports, l.master_clears, l.off, l.resets);
}

/* Whoever enumerates a device that runs must not try out its registers. */
static void judge_quiet(void)
{
	unsigned int n, writes = 0, harmless = 0, first = 0;
	char where[32] = "";

	if (!starting || !retrieve_begin)
		return;		/* said elsewhere */
	for (n = 0; n < preserved(); n++) {
		struct config_log l = config_log(n, starting, retrieve_begin);

		if (!writes)
			first = l.first;
		writes += l.writes;
		harmless += l.harmless;
	}
	if (writes)
		snprintf(where, sizeof(where), ", the first one to %#x", first);
	check(!writes, "enumerated quietly: %u config writes up to retrieving%s, and %u "
	      "to status and extended capabilities", writes, where, harmless);
}

/* Up to when the live update must not be noticed by a device. */
static int64_t undisturbed_to(unsigned int nic)
{
	int64_t to = finish_end;

	if (!strcmp(r->scenario, "vmms") && nic)
		to = vmm_mark(nic, vmm_mark(nic, "attached") ? "finish-end" :
						"finish-begin");
	return to ? to : FOREVER;
}

/* What the log of a kernel has to say between two points: texts with " & " between */
void judge_log(const char *who, const char *texts, int64_t from, int64_t to)
{
	const char *end;
	char text[256];
	int64_t when;

	do {
		end = strstr(texts, " & ");
		snprintf(text, sizeof(text), "%.*s",
			 (int)(end ? end - texts : (long)strlen(texts)), texts);
		when = console_time(r, text, from);
		check(when && when < to, "%s says: %s", who, text);
		if (end)
			texts = end + 3;
	} while (end);
}

/* With --unbind somebody has tried to, before the IOMMU has been switched over. */
static void judge_unbind(void)
{
	int64_t over = vmm_last ? console_time(r, "handed over", vmm_last) : NEVER;
	int64_t unbind = mark_time(r, "unbind");

	check(within(unbind, vmm_last, over) && !mark_time(r, "unbound"),
	      "too late to be unbound: %s", !unbind ? "nobody has tried to" :
	      !within(unbind, vmm_last, over) ? "it was not at that time" :
	      mark_time(r, "unbound") ? "it was all the same" : "the machine has jumped");
}

/* One live update that takes everything back; @from is when to start looking. */
void judge_jump(int64_t from, unsigned int frames)
{
	int64_t to = undisturbed_to(0), last = to;
	struct device_log d = device_log(0, from, to);
	struct iommu_log l = iommu_log(from, to);
	/* What was lost for good reason before does not count. */
	int partly = !strcmp(r->scenario, "partly");
	struct frame_log f = frame_log(0, partly ? from : 0, FOREVER);
	const char *log2 = setting("log2");
	unsigned int n;

	if (preserved() > 1) {
		for (n = 0; n < preserved(); n++) {
			judge_one_of(n, from, undisturbed_to(n), 1);
			if (undisturbed_to(n) > last)
				last = undisturbed_to(n);
		}
		l = iommu_log(from, last);
		judge_iommu(&l);
		judge_roots();
	} else {
		judge_preserved(&d, &l, &f);
	}
	judge_ports(from, to);
	judge_quiet();
	judge_drives(from, to);
	for (n = 0; n < preserved(); n++)
		if (vmm_mark(n, "attached"))
			judge_ats(n, undisturbed_to(n));
	if (*log2 && !partly)
		judge_log("the new kernel", log2, new_linux, FOREVER);
	if (strstr(setting("guest"), "--unbind"))
		judge_unbind();
	check(attached != NEVER, "the new VMM holds the attached device");
	/* The others are slower. */
	if (r->dev[0].kind != DEV_E1000)
		frames /= 20;
	check(f.after >= frames, "%s frames after the blackout", count_of(f.after));
	for (n = 0; n < preserved(); n++)
		if (vmm_mark(n, "attached") && !partly)
			judge_cross_check(n);
	check(finish_end != NEVER, "the session was finished");
	check(!span_missing(), "each phase has a beginning and an end%s%s",
	      span_missing() ? ", but for " : "", span_missing() ?: "");
}

static void judge_end_of(unsigned int nic, const char *who)
{
	struct device_log late = device_log(nic, finish_end, FOREVER);
	unsigned int sent, found;
	char key[32];

	snprintf(key, sizeof(key), "buffers_nic%u_gen2", nic);
	check(mark_arg(r, "second-received", "frames", 0) > 0 && counter(key) > 0,
	      "%sa second memfd was mapped and received into", who);
	count_stage3(nic, &sent, &found);
	check(sent > 0 && found == 0,
	      "%safter its unmap: %u frames accepted, %u reached memory", who, sent, found);
	check(finish_end && late.faults > 0,
	      "%sthe IOMMU blocked and reported it: %u faults", who,
	      finish_end ? late.faults : 0);
	check((late.resets > 0 || r->dev[nic].no_reset) && late.master == 0,
	      "%sclosed: device %sreset, bus mastering %s", who, late.resets ? "" :
	      r->dev[nic].no_reset ? "without a way to " : "not ",
	      late.master ? "still on" : "off");
}

/*
 * What comes back is good for everything, and goes when it is closed. Of several VMMs
 * this is the first.
 */
void judge_end(void)
{
	unsigned int n, count = strcmp(r->scenario, "vmms") ? preserved() : 1;
	int64_t written = counter("written_when_unmapped");
	char who[24] = "";

	for (n = 0; n < count; n++) {
		if (count > 1)
			snprintf(who, sizeof(who), "device %u: ", n);
		judge_end_of(n, who);
	}
	check(counter("unmapped_buffers") > 0 && written == 0,
	      "%s of %s buffers written to, in part or in full, after their unmap",
	      written < 0 ? "(not compared)" : count_of(written),
	      count_of(counter("unmapped_buffers") > 0 ? counter("unmapped_buffers") : 0));
}

void judge_main(void)
{
	judge_jump(streaming, 2000);
	judge_end();
}

/*
 * Several VMMs with a device and a session each. The first one goes all the way;
 * its end is nothing to the devices of the others, which are taken back late, or
 * stopped by an operator, or left as they are.
 */
void judge_vmms(void)
{
	unsigned int n;

	judge_main();
	for (n = 1; n < r->nics; n++) {
		int64_t begin = vmm_mark(n, "finish-begin");
		int64_t left = vmm_mark(n, "left");
		struct device_log d = device_log(n, begin ? begin : left, FOREVER);

		if (left)
			check(d.master == 1 && !d.resets && !d.faults,
			      "VMM %u never came: bus mastering %s, %u resets, %u faults",
			      n, d.master ? "on" : "off", d.resets, d.faults);
		else
			check(begin && (d.resets || r->dev[n].no_reset) && !d.master,
			      "VMM %u %s: %u device resets, bus mastering %s", n,
			      vmm_mark(n, "attached") ? "came late and went" :
			      "never came, its session was finished", d.resets,
			      d.master ? "still on" : "off");
	}
}

/* The next live update starts where the one before was finished. */
int64_t next_update(void)
{
	return finish_end ? finish_end + 1 : FOREVER;
}

/* JUMPS= of run.sh, for the case "twice" */
int updates_wanted(void)
{
	return *setting("jumps") ? atoi(setting("jumps")) : 2;
}

void judge_twice(void)
{
	int jumps = updates_wanted(), i;
	int64_t from = streaming;

	for (i = 1; i <= jumps; i++) {
		if (i > 1) {
			from = next_update();
			times_load(from);
			check(starting && new_linux, "kexec number %d, from the new kernel", i);
			if (!starting || !new_linux)
				break;
		}
		judge_jump(from, i == jumps && jumps > 1 ? 1000 : 2000);
	}
	if (i > jumps)
		judge_end();
	times_load(0);
}

