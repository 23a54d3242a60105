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
static FILE *lines;

/* One line of the report; the first one that fails is the verdict's reason. */
void check(int ok, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(lines, "  %-4s  %s\n", ok ? "ok" : "FAIL", text);
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

/*
 * Traces have the time of day. If that is set in the meantime, what came before is put
 * between the wrong marks.
 */
#define CLOCK_SLACK	5000000

static void judge_clock(void)
{
	int64_t begin = counter("realtime_minus_monotonic_begin_ns");
	int64_t set = counter("realtime_minus_monotonic_ns") - begin;

	check(begin > 0 && llabs(set) <= CLOCK_SLACK,
	      "the host's time of day was set by %.1f ms during the run%s",
	      begin > 0 ? MS(set) : 0, begin > 0 ? "" : ": not known");
}

/* What must hold in every case. */
static void judge_common(void)
{
	int refused = !strcmp(r->scenario, "refused");
	const char *text = guest_failure();
	unsigned int n, unknown = 0, moved = 0, blind = 0;
	char key[32];

	/* Who is refused says so: that is judged there. */
	if (!refused)
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
	judge_clock();
	check(r->misplaced == 0, "%s frames in another NIC's buffers",
	      count_of(r->misplaced));
}

/*
 * A frame that is under way when FINISH stops the device may be lost, but none
 * before one that arrives, and none that was sent well before.
 */
#define UNDER_WAY	250000000

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
	unsigned int arrived = frames_arrived(0, finish_end, reopen);

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
	check(d.translations > 0, "%s translations up to then",
	      count_of(d.translations));
	check(d.faults + d.resets + d.master_clears + l.translation_off == 0,
	      "undisturbed: %u faults, %u resets, bus mastering cleared %u times, "
	      "translation off %u times", d.faults, d.resets, d.master_clears,
	      l.translation_off);
}

static const char usage[] =
"usage: judge DIR\n"
"Reads the raw results of a run from DIR, as run.sh leaves them in build/run, prints\n"
"the report and writes DIR/report.json. Exit status: 0 all is as it should be, 1 it is\n"
"not, 2 it cannot be judged: something is missing, or cannot be read.\n";

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
		{ "vmms", "pass", judge_vmms },
		{ "partly", "contained as expected", judge_partly },
		{ "refused", "refused as expected", judge_refused },
	};
	char verdict[600] = "", *listing;
	unsigned int i;
	size_t size;
	int went, help = argc == 2 && (!strcmp(argv[1], "-h") ||
				     !strcmp(argv[1], "--help"));

	if (help || argc != 2 || argv[1][0] == '-') {
		fputs(usage, help ? stdout : stderr);
		return help ? 0 : 2;
	}
	r = results_load(argv[1]);
	times_load(0);
	lines = open_memstream(&listing, &size);
	if (!lines) {
		fprintf(stderr, "judge: out of memory\n");
		return 2;
	}

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
	if (ferror(lines) | fclose(lines)) {
		fprintf(stderr, "judge: out of memory\n");
		return 2;
	}
	report(argv[1], verdict, listing);
	return *reason ? 1 : 0;
}
