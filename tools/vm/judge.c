// SPDX-License-Identifier: GPL-2.0
/*
 * judge - was anything lost, and was it for the right reasons?
 *
 * Reads the raw results of a run from DIR, prints the report, writes it to
 * DIR/report.json. The exit status is the verdict: 0 as it should be, 1 not.
 *
 * The guest's own word counts for nothing but a cross-check.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"

static char reason[512];
static char listing[32768];

/* One line of the report; the first one that fails is the verdict's reason. */
static void check(int ok, const char *fmt, ...)
{
	size_t n = strlen(listing);
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(listing + n, sizeof(listing) - n, "  %-4s  %s\n",
		 ok ? "ok" : "FAIL", text);
	if (!ok && !*reason)
		snprintf(reason, sizeof(reason), "%s", text);
}

const char *count_of(uint64_t n)
{
	static char bufs[8][32];
	static unsigned int next;
	char digits[24], *out = bufs[next++ % 8];
	int i, len = snprintf(digits, sizeof(digits), "%" PRIu64, n), at = 0;

	for (i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = 0;
	return out;
}

/* What must hold in every case. */
static void judge_common(void)
{
	int refused = !strcmp(r->scenario, "refused");
	const char *text = refused ? NULL : guest_failure();
	unsigned int n, unknown = 0, moved = 0, blind = 0;
	char key[32];

	check(!text, "guest program: %s", text ? text : "no failure reported");
	check(counter("timed_out") == 0, "the run ended by itself%s",
	      counter("timed_out") ? ": it hangs, see console.log" : "");
	text = splat();
	check(!text, "kernel log: %s", text ? text : "no warning, no bug");
	if (!refused)
		check(starting && new_linux && mark_time(r, "done"),
		      "the machine went through kexec and the guest program to its end%s",
		      !starting ? ": kexec never started" : !new_linux ?
		      ": the new kernel never said a word" : "");
	for (n = 0; n < r->nics; n++) {
		unknown += r->dev[n].bdf < 0;
		moved += r->dev[n].moved > 0;
		snprintf(key, sizeof(key), "buffers_nic%u_gen1", n);
		blind += counter(key) <= 0;
	}
	check(r->nics && !unknown && !moved, "%u devices in place, %u missing, "
	      "%u moved", r->nics - unknown - moved, unknown, moved);
	check(r->nr_pages > 0 && !blind,
	      "the watcher knows the guest's buffers: %s pages%s",
	      count_of(r->nr_pages), blind ? ", not those of all devices" : "");
	check(r->misplaced == 0, "%s frames in another NIC's buffers",
	      count_of(r->misplaced));
}

/*
 * The guest's count of what it found must agree with what was seen outside: no
 * less than had been seen before, no more than had been sent by then.
 */
static void judge_cross_check(unsigned int nic)
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

/* The roots the guest set between two points: what can be reached from them? */
static void judge_roots(void)
{
	unsigned int handover = 0, strangers = 0, missing = 0, outside = 0;
	unsigned int checked = 0, interrupts = 0, walks = 0, n;
	int64_t first = NEVER, first_ir = NEVER, walk = NEVER;
	uint64_t table[MAX_NICS] = { 0 };
	size_t i;
	int nic;

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
		if (nic < 0)
			continue;
		checked++;
		outside += t->outside > 0;
		if (!table[nic])
			table[nic] = t->table;
		missing += t->table != table[nic] || !t->inside;
	}
	/* A device that is not in a root at all is without its table, too. */
	n = walks * preserved();
	missing += n > checked ? n - checked : 0;
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
static void judge_one_of(unsigned int nic, int64_t from, int64_t to,
			 unsigned int frames)
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
static void judge_preserved(const struct device_log *d, const struct iommu_log *l,
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

/* One live update that takes everything back; @from is when to start looking. */
static void judge_jump(int64_t from, unsigned int frames)
{
	int64_t to = finish_end ? finish_end : FOREVER;
	struct device_log d = device_log(0, from, to);
	struct iommu_log l = iommu_log(from, to);
	struct frame_log f = frame_log(0, 0, FOREVER);
	const char *log2 = setting("log2");
	unsigned int n;

	if (preserved() > 1) {
		for (n = 0; n < preserved(); n++)
			judge_one_of(n, from, to, 1);
		judge_iommu(&l);
		judge_roots();
	} else {
		judge_preserved(&d, &l, &f);
	}
	judge_drives(from, to);
	if (*log2)
		check(console_time(r, log2, new_linux) != NEVER,
		      "the new kernel says: %s", log2);
	check(attached != NEVER, "the new VMM holds the attached device");
	check(f.after >= frames, "%s frames after the blackout", count_of(f.after));
	for (n = 0; n < preserved(); n++)
		judge_cross_check(n);
	check(finish_end != NEVER, "the session was finished");
}

/* What comes back is good for everything, and goes when it is closed. */
static void judge_end(void)
{
	struct device_log late = device_log(0, finish_end, FOREVER);
	unsigned int sent, found;

	check(mark_arg(r, "second-received", "frames", 0) > 0 &&
	      counter("buffers_nic0_gen2") > 0,
	      "a second memfd was mapped and received into");
	count_stage3(&sent, &found);
	check(sent > 0 && found == 0,
	      "after its unmap: %u frames accepted, %u reached memory", sent, found);
	check(finish_end && late.faults > 0, "the IOMMU blocked and reported it: %u faults",
	      finish_end ? late.faults : 0);
	check(late.resets > 0 && late.master == 0,
	      "closed: device reset, bus mastering %s",
	      late.master ? "still on" : "off");
}

static void judge_main(void)
{
	judge_jump(streaming, 2000);
	judge_end();
}

/* The second live update starts where the first one was finished. */
static int64_t second_from(void)
{
	return finish_end ? finish_end + 1 : FOREVER;
}

static void judge_twice(void)
{
	int64_t from;

	judge_jump(streaming, 2000);
	from = second_from();
	times_load(from);
	check(starting && new_linux, "a second kexec, from the new kernel");
	if (starting && new_linux) {
		judge_jump(from, 1000);
		judge_end();
	}
	times_load(0);
}

/*
 * A frame that is under way when FINISH stops the device may be lost, but none
 * before one that arrives, and none that was sent well before.
 */
#define UNDER_WAY	250000000
/* The watcher may take that long to notice what it did not expect. */
#define NOTICE		200000000

static void judge_discard(void)
{
	int64_t reopen = mark_time(r, "reopen");
	int64_t settled = finish_begin - UNDER_WAY;
	struct device_log d = device_log(0, streaming, finish_begin);
	struct device_log at = device_log(0, finish_begin, finish_end);
	struct device_log off = device_log(0, finish_end, reopen);
	struct iommu_log l = iommu_log(streaming, mark_time(r, "closed"));
	struct frame_log f = frame_log(0, 0, settled);
	struct frame_log anew = frame_log(0, reopen, FOREVER);
	struct frame_log ignored = frame_log(0, finish_end, reopen);
	unsigned int holes = frame_holes(0, finish_begin);
	unsigned int arrived = frames_arrived(0, finish_end + NOTICE, reopen);

	check(mark_time(r, "refused") && atoi(info("bind_errno")) == 16 &&
	      atoi(info("bind_again_errno")) == 16 &&
	      atoi(info("reset_errno")) == 16,
	      "before FINISH: binding it to another iommufd is errno %s, after "
	      "unbind and bind of the driver errno %s, reset errno %s",
	      info("bind_errno"), info("bind_again_errno"), info("reset_errno"));
	check(atoi(info("other_driver_errno")) == 16, "another driver is errno %s",
	      info("other_driver_errno"));
	check(atoi(info("kexec_errno")) == 16, "and kexec is errno %s",
	      info("kexec_errno"));
	check(finish_begin && finish_end && reopen && mark_time(r, "closed"),
	      "the session was finished with nothing retrieved");
	if (!finish_begin || !finish_end || !reopen)
		return;

	judge_preserved(&d, &l, &f);
	check(holes == 0, "up to FINISH: %u frames lost before one that arrived",
	      holes);
	check(at.resets > 0 && off.master == 0, "FINISH: %u device resets, bus "
	      "mastering %s", at.resets, off.master ? "still on" : "off");
	check(ignored.sent + ignored.refused > 0 && arrived == 0 &&
	      off.translations == 0,
	      "from then on: %s frames sent to it, %u arrived, %u translations",
	      count_of(ignored.sent + ignored.refused), arrived, off.translations);
	check(at.faults + off.faults < 100, "%u faults while it was stopped, %u after",
	      at.faults, off.faults);
	check(atoi(info("freed_kib")) >= 60000, "%s KiB became free",
	      info("freed_kib"));
	check(mark_time(r, "reopened") && anew.sent > 0 && anew.lost == 0,
	      "opened anew: %s frames accepted, %s lost", count_of(anew.sent),
	      count_of(anew.lost));
}

/* After a kexec with nothing preserved but memory: gone, and why. */
static void judge_loss(void)
{
	struct device_log d = device_log(0, streaming, FOREVER);
	struct iommu_log l = iommu_log(streaming, FOREVER);
	struct frame_log f = frame_log(0, 0, FOREVER);
	struct frame_log early = frame_log(0, 0, vmm_last ? vmm_last : FOREVER);

	check(early.sent > 0 && early.lost == 0 && early.refused == 0,
	      "up to kexec: %s frames accepted, %s lost, %s refused",
	      count_of(early.sent), count_of(early.lost), count_of(early.refused));
	check(f.lost + f.refused > early.lost + early.refused && f.late == 0,
	      "from then on: %s frames lost, %s refused, %s arrived after the old "
	      "kernel's shutdown", count_of(f.lost - early.lost),
	      count_of(f.refused - early.refused), count_of(f.late));
	check(d.master_clears > 0, "reason: bus mastering cleared %u times",
	      d.master_clears);
	check(l.translation_off > 0, "reason: translation switched off %u times",
	      l.translation_off);
	judge_cross_check(0);
}

static void judge_base(void)
{
	judge_loss();
	check(atoi(info("mark_errno")) > 0 && atoi(info("preserve_iommufd_errno")) > 0 &&
	      atoi(info("preserve_cdev_errno")) > 0,
	      "the base kernel refuses: mark errno %s, iommufd errno %s, cdev errno %s",
	      info("mark_errno"), info("preserve_iommufd_errno"),
	      info("preserve_cdev_errno"));
}

static void judge_aborted(void)
{
	int64_t aborted = mark_time(r, "aborted");
	struct frame_log f = frame_log(0, aborted, vmm_last);
	struct device_log d = device_log(0, streaming, vmm_last);
	struct iommu_log l = iommu_log(streaming, vmm_last);

	check(aborted && mark_time(r, "remapped"),
	      "the session was closed, map and unmap worked again");
	check(f.sent >= 1000 && f.lost == 0,
	      "from then to kexec: %s frames accepted, %s lost",
	      count_of(f.sent), count_of(f.lost));
	check(d.faults + d.resets + d.master_clears + l.translation_off == 0,
	      "up to kexec: %u faults, %u resets, bus mastering cleared %u times, "
	      "translation off %u times", d.faults, d.resets, d.master_clears,
	      l.translation_off);
	judge_loss();
}

static void judge_unpreserved(void)
{
	int64_t end = finish_end ? finish_end : FOREVER;
	int64_t bm_on = bus_master_on(1, new_linux);
	struct device_log d = device_log(0, streaming, end);
	struct iommu_log l = iommu_log(streaming, end);
	struct frame_log f = frame_log(0, 0, finish_begin ? finish_begin : FOREVER);
	struct frame_log f1 = frame_log(1, 0, FOREVER);
	struct device_log d1 = device_log(1, vmm_last, starting);
	struct device_log on = device_log(1, bm_on, retrieve_begin);
	struct frame_log probe = frame_log(1, bm_on, retrieve_begin);
	char text[64];

	judge_preserved(&d, &l, &f);
	check(attached != NEVER, "the new VMM holds the attached device");
	check(f.after > 0, "%s frames after the blackout", count_of(f.after));
	judge_cross_check(0);
	check(finish_end != NEVER, "the session was finished");

	check(f1.before > 0 && d1.master_clears > 0,
	      "NIC 1 received %s frames, then lost bus mastering at shutdown",
	      count_of(f1.before));
	check(starting && f1.late == 0,
	      "NIC 1: %s frames in memory after the old kernel's shutdown",
	      count_of(f1.late));
	check(counter("changed_buffers_nic1") == 0 &&
	      counter("changed_ring_pages_nic1") == 0 &&
	      counter("ring_pages_nic1") > 0,
	      "NIC 1: %s buffers and %s of %s ring pages changed in that time",
	      counter("changed_buffers_nic1") < 0 ? "(not compared)" :
	      count_of(counter("changed_buffers_nic1")),
	      counter("changed_ring_pages_nic1") < 0 ? "(not compared)" :
	      count_of(counter("changed_ring_pages_nic1")),
	      count_of(counter("ring_pages_nic1")));
	check(bm_on && mark_time(r, "bm-on") > bm_on &&
	      mark_time(r, "bm-on") < retrieve_begin &&
	      retrieve_begin - bm_on >= 300000000 && on.master == 1 &&
	      probe.sent + probe.refused > 0,
	      "NIC 1: bus mastering on again for %.0f ms, %s frames sent to it",
	      MS(retrieve_begin - bm_on), count_of(probe.sent + probe.refused));
	check(on.faults > 0 && on.translations == 0,
	      "NIC 1: %u DMAs blocked, %u let through", on.faults,
	      on.translations);
	snprintf(text, sizeof(text), "Request device [0000:%s]", bdf_text(1));
	check(new_linux && console_time(r, text, new_linux),
	      "NIC 1: the new kernel's log names it");
}

/*
 * Preserving fails for a reason that the log gives, and with the session closed
 * the device just goes on. REASON= of run.sh is what the log has to say.
 */
static void judge_refused(void)
{
	static const char say[] = "failed; the device goes on receiving";
	const char *text = guest_failure();
	int64_t end = failure_time();
	struct device_log d = device_log(0, streaming, end);
	struct iommu_log l = iommu_log(streaming, end);
	struct frame_log f = frame_log(0, 0, end);
	const char *why = setting("reason");
	int64_t begin = mark_time(r, "preserve-begin");

	check(begin && text && strstr(text, say) &&
	      atoi(info("preserve_errno")) == 95, "refused: %s",
	      text ? text : "no, it worked");
	check(*why && begin && console_time(r, why, begin), "the log says why: %s",
	      *why ? why : "(no REASON= given)");
	check(atoi(info("frames_after_failed_preserve")) >= 100 && f.lost == 0 &&
	      f.refused == 0,
	      "the device goes on: %s frames received since, %s lost of %s",
	      info("frames_after_failed_preserve"), count_of(f.lost),
	      count_of(f.sent));
	check(d.faults + d.resets + d.master_clears + l.translation_off == 0,
	      "undisturbed: %u faults, %u resets, bus mastering cleared %u times, "
	      "translation off %u times", d.faults, d.resets, d.master_clears,
	      l.translation_off);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name, *good;
		void (*judge)(void);
	} cases[] = {
		{ "main", "pass", judge_main },
		{ "base", "lost as expected", judge_base },
		{ "unpreserved", "blocked as expected", judge_unpreserved },
		{ "aborted", "undisturbed, then lost as expected", judge_aborted },
		{ "twice", "pass", judge_twice },
		{ "discard", "stopped as expected", judge_discard },
		{ "refused", "refused as expected", judge_refused },
	};
	char verdict[600] = "";
	unsigned int i;
	int went;

	if (argc != 2 || argv[1][0] == '-') {
		fprintf(stderr, "usage: judge DIR\n");
		return argc == 2 && !strncmp(argv[1], "-h", 2) ? 0 : 2;
	}
	r = results_load(argv[1]);
	times_load(0);

	judge_common();
	went = (starting && new_linux) || !strcmp(r->scenario, "refused");
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (strcmp(cases[i].name, r->scenario))
			continue;
		if (went)	/* else there is nothing else to see */
			cases[i].judge();
		if (*reason)
			snprintf(verdict, sizeof(verdict), "FAIL: %s", reason);
		else
			snprintf(verdict, sizeof(verdict), "%s", cases[i].good);
	}
	if (!*verdict) {
		fprintf(stderr, "judge: unknown case %s\n", r->scenario);
		return 2;
	}
	report(argv[1], verdict, listing);
	return *reason ? 1 : 0;
}
