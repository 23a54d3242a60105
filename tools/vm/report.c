// SPDX-License-Identifier: GPL-2.0
/* The report of a run: DIR/report.json, and the same to read on stdout. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"

static void put_ms(FILE *f, const char *key, int64_t from, int64_t to, int last)
{
	if (from && to)
		fprintf(f, "\"%s\": %.3f%s", key, MS(to - from), last ? "" : ", ");
	else
		fprintf(f, "\"%s\": null%s", key, last ? "" : ", ");
}

static void put_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		if ((unsigned char)*s >= ' ')
			fputc(*s, f);
	}
	fputc('"', f);
}

struct span {
	const char *name;
	int64_t from, to;
};

#define NR_SPANS	8

/* The phases of the live update whose times are loaded. */
static void spans_load(struct span *spans)
{
	int64_t retrieve_end = mark_time(r, "retrieve-end");
	int64_t restore_end = mark_time(r, "restore-end");
	const struct span all[NR_SPANS] = {
		{ "preserve", mark_time(r, "preserve-begin"), mark_time(r, "preserve-end") },
		{ "freeze", vmm_last, starting },
		{ "jump", starting, new_linux },
		{ "boot", new_linux, init_mark },
		{ "retrieve", retrieve_begin, retrieve_end },
		{ "restore", retrieve_end, restore_end },
		{ "attach", restore_end, attached },
		{ "finish", finish_begin, finish_end },
	};

	memcpy(spans, all, sizeof(all));
}

/* The first one that is not there, or ends before it begins; NULL if there is none. */
const char *span_missing(void)
{
	struct span spans[NR_SPANS];
	unsigned int i;

	spans_load(spans);
	for (i = 0; i < NR_SPANS; i++)
		if (!spans[i].from || spans[i].to < spans[i].from)
			return spans[i].name;
	return NULL;
}

static void put_times(FILE *f)
{
	struct span spans[NR_SPANS];
	unsigned int i;

	spans_load(spans);
	put_ms(f, "blackout_ms", vmm_last, attached, 1);
	fprintf(f, ",\n  \"phase_ms\": { ");
	for (i = 0; i < NR_SPANS; i++)
		put_ms(f, spans[i].name, spans[i].from, spans[i].to,
		       i == NR_SPANS - 1);
	fprintf(f, " }");
}

static void print_times(void)
{
	struct span spans[NR_SPANS];
	unsigned int i;

	spans_load(spans);
	if (attached)
		printf("  blackout   %.0f ms\n", MS(attached - vmm_last));
	printf("  phases ms ");
	for (i = 0; i < NR_SPANS; i++)
		if (spans[i].from && spans[i].to)
			printf(" %s %.1f", spans[i].name,
			       MS(spans[i].to - spans[i].from));
	printf("\n");
}

/* Of all preserved devices together; the longest gap is that of any. */
static struct frame_log frames_all(int64_t from, int64_t to)
{
	struct frame_log all = { 0 }, f;
	unsigned int n;

	for (n = 0; n < preserved(); n++) {
		if (!came_back(n))
			continue;
		f = frame_log(n, from, to);
		all.sent += f.sent;
		all.refused += f.refused;
		all.before += f.before;
		all.blackout += f.blackout;
		all.after += f.after;
		all.lost += f.lost;
		if (f.longest_gap > all.longest_gap)
			all.longest_gap = f.longest_gap;
		/* A read waits for those before it. */
		if (r->dev[n].kind != DEV_NVME &&
		    f.longest_latency > all.longest_latency)
			all.longest_latency = f.longest_latency;
	}
	return all;
}

static struct device_log devices_all(int64_t from, int64_t to)
{
	struct device_log all = { 0 }, d;
	unsigned int n;

	for (n = 0; n < preserved(); n++) {
		if (!came_back(n))
			continue;
		d = device_log(n, from, to);
		all.faults += d.faults;
		all.resets += d.resets;
		all.master_clears += d.master_clears;
		all.decode_clears += d.decode_clears;
		all.d3s += d.d3s;
		all.translations += d.translations;
		all.strays += d.strays;
	}
	return all;
}

static void put_devices(FILE *j)
{
	unsigned int n;

	fprintf(j, ",\n  \"devices\": [");
	for (n = 0; n < r->nics; n++) {
		struct frame_log f = frame_log(n, 0, FOREVER);

		fprintf(j, "%s\n    { \"kind\": ", n ? "," : "");
		put_string(j, r->dev[n].name);
		fprintf(j, ", \"bdf\": \"%s\", \"sent\": %u, \"in_blackout\": %u, "
			"\"lost\": %u }", bdf_text(n), f.sent, f.blackout, f.lost);
	}
	fprintf(j, " ]");
}

/* @listing is what was checked. The times of the first live update are loaded. */
void report(const char *dir, const char *verdict, const char *listing)
{
	int twice = !strcmp(r->scenario, "twice");
	int unpreserved = !strcmp(r->scenario, "unpreserved");
	int discard = !strcmp(r->scenario, "discard");
	int refused = !strcmp(r->scenario, "refused");
	int jumps = twice ? updates_wanted() : 1, i;
	struct frame_log f = frames_all(0, (unpreserved || discard) && finish_begin ?
					finish_begin : refused ? failure_time() :
					FOREVER);
	struct frame_log f2;
	struct device_log d, late;
	struct iommu_log l;
	static const char * const settings[] = {
		"mode", "iommu", "place", "guest", "append", "append2", "kernel2",
	};
	unsigned int provoked, n;
	char path[1024], tmp[1040];
	int64_t begin = streaming, end;
	FILE *j;

	/* Up to the last FINISH, however many there were. */
	for (i = 1; i < jumps && finish_end; i++)
		times_load(next_update());
	end = finish_end ? finish_end : FOREVER;
	times_load(0);
	if (discard && finish_begin)
		end = finish_begin;
	if (refused)
		end = failure_time();
	d = devices_all(begin, end);
	late = devices_all(end, FOREVER);
	l = iommu_log(begin, end);

	/* There the faults of the NIC that was not preserved are the provoked ones. */
	provoked = late.faults;
	if (unpreserved)
		provoked = device_log(1, starting ? starting : FOREVER, FOREVER).faults;

	snprintf(path, sizeof(path), "%s/report.json", dir);
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	j = fopen(tmp, "w");
	if (!j) {
		fprintf(stderr, "judge: cannot write %s\n", tmp);
		exit(2);
	}
	fprintf(j, "{\n  \"case\": \"%s\",\n  \"debug\": %s,\n  \"rate\": %s,\n"
		"  \"accel\": \"%s\",\n  \"qemu\": \"%s\",\n", r->scenario,
		counter("debug") > 0 ? "true" : "false", setting("rate"),
		setting("accel"), setting("qemu"));
	for (n = 0; n < sizeof(settings) / sizeof(*settings); n++) {
		fprintf(j, "  \"%s\": ", settings[n]);
		put_string(j, setting(settings[n]));
		fprintf(j, ",\n");
	}
	fprintf(j, "  \"frames_sent\": %u,\n  \"frames_refused\": %u,\n"
		"  \"frames_before\": %u,\n  \"frames_in_blackout\": %u,\n"
		"  \"frames_after\": %u,\n  \"frames_lost\": %u,\n"
		"  \"longest_gap_ms\": %.3f,\n  \"longest_latency_ms\": %.3f,\n  ",
		f.sent, f.refused, f.before, f.blackout, f.after, f.lost,
		f.longest_gap, f.longest_latency);
	put_times(j);
	if (twice) {
		fprintf(j, ",\n  \"then\": [");
		for (i = 1; i < jumps; i++) {
			times_load(next_update());
			f2 = frames_all(0, FOREVER);
			fprintf(j, "%s\n  { \"frames_in_blackout\": %u, "
				"\"frames_after\": %u,\n  ", i > 1 ? "," : "",
				f2.blackout, f2.after);
			put_times(j);
			fprintf(j, " }");
		}
		fprintf(j, " ]");
		times_load(0);
	}
	fprintf(j, ",\n  \"iommu_faults\": %u,\n  \"provoked_faults\": %u,\n"
		"  \"device_resets\": %u,\n  \"bus_master_clears\": %u,\n"
		"  \"decode_clears\": %u,\n  \"d3_entries\": %u,\n"
		"  \"translation_off\": %u,\n  \"remapping_off\": %u,\n"
		"  \"translations\": %u,\n  \"translations_outside\": %u",
		d.faults, provoked, d.resets, d.master_clears,
		d.decode_clears, d.d3s, l.translation_off, l.remapping_off,
		d.translations, d.strays);
	put_devices(j);
	fprintf(j, ",\n  \"verdict\": ");
	put_string(j, verdict);
	fprintf(j, "\n}\n");
	if (ferror(j) | fclose(j) || rename(tmp, path)) {
		fprintf(stderr, "judge: writing %s failed: no space left?\n", path);
		exit(2);
	}

	printf("\nLive update, case %s, %s, %s%s: %s\n\n", r->scenario,
	       setting("mode"), setting("devices"),
	       counter("debug") > 0 ? " (debug kernel)" : "", verdict);
	printf("  frames     %s sent = %s before + %s in the blackout + %s after, %s lost\n",
	       count_of(f.sent), count_of(f.before), count_of(f.blackout),
	       count_of(f.after), count_of(f.lost));
	printf("             longest gap %.1f ms, longest latency %.1f ms, %s refused\n",
	       f.longest_gap, f.longest_latency, count_of(f.refused));
	print_times();
	for (i = 1; i < jumps && finish_end; i++) {
		times_load(next_update());
		f2 = frames_all(0, FOREVER);
		printf("  then       %s before + %s in blackout %d + %s after\n",
		       count_of(f2.before), count_of(f2.blackout), i + 1,
		       count_of(f2.after));
		print_times();
	}
	times_load(0);
	printf("\n%s\n", listing);
}
