/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The raw results of one run, as the judge reads them. All times are
 * nanoseconds of the host's CLOCK_MONOTONIC; 0 is "never".
 */
#ifndef LIVEUPDATE_JUDGE_H
#define LIVEUPDATE_JUDGE_H

#include <stddef.h>
#include <stdint.h>

#include "frame.h"

#define NEVER	0
#define FOREVER	INT64_MAX

struct mark {
	int64_t time;
	char kind[8];		/* mark, ask, info, fail */
	char *text;
};

struct send {
	int64_t time;
	int64_t arrival;	/* first seen in memory, NEVER if not */
	uint64_t seq;
	unsigned int nic, stage;
	int accepted;
};

struct console_line {
	int64_t time;
	char *text;
};

/* One present context entry of a root table the guest set. */
struct root {
	int64_t time;
	uint64_t addr, table;
	uint64_t inside, outside;	/* pages it reaches in and not in the memfds */
	char kind[12];			/* legacy, scalable, empty */
	char bdf[12];
	unsigned int did;
};

/* Events of a device that do not say which one it is name its kind. */
enum device_kind { DEV_E1000, DEV_VIRTIO, DEV_NVME };

/* A device that streams. */
struct device {
	char name[24];			/* as in DEVICES= */
	enum device_kind kind;
	int bdf;			/* bus, device, function; -1 unknown */
	int rid;			/* by which the IOMMU knows it */
	unsigned int moved;		/* how often it was somewhere else later */
	unsigned int pm, exp, ats;	/* its capabilities, 0 if it has none */
	int no_reset;			/* no way to, or one by D3 that QEMU takes for nothing */
};

enum event_kind {
	EV_DMAR_ENABLE,		/* a = 0 or 1 */
	EV_IR_ENABLE,		/* a = 0 or 1 */
	EV_ROOT,		/* a = address */
	EV_FAULT,		/* bdf, a = address, b = reason */
	EV_IRQ_ASKED,		/* a = address of a forged interrupt */
	EV_IRQ_REMAPPED,	/* a = the same, it was let through */
	EV_TRANSLATE,		/* bdf, a = iova, b = gpa */
	EV_DEV_TLB,		/* bdf, what it has cached is invalid; a = address and size */
	EV_CONFIG,		/* bdf, a = offset, b = value */
	EV_BRIDGE,		/* the same of a port or bridge */
	EV_SW_RESET,		/* by a register of the device; a = its kind */
	EV_RESET,		/* any other way; likewise */
	EV_NVME_DONE,		/* a = status */
	EV_NVME_ERROR,		/* a completion that could not be written, and worse */
};

struct event {
	int64_t time;
	uint64_t a, b;
	enum event_kind kind;
	unsigned int bdf;
};

struct results {
	struct mark *marks;
	struct send *sends;
	struct console_line *console;
	struct root *roots;
	struct event *events;
	uint64_t *pages;		/* sorted */
	size_t nr_marks, nr_sends, nr_console, nr_roots, nr_events, nr_pages;
	uint64_t misplaced;		/* frames in another NIC's buffer */
	struct device dev[MAX_NICS];
	unsigned int nics;
	char scenario[16];
};

struct results *results_load(const char *dir);

/* Values of counters.tsv and run.tsv. -1 and "" when there is none. */
int64_t counter(const char *key);
const char *setting(const char *key);

/* Marks before that time are passed over. */
extern int64_t since;

/* Time of the first mark of that name, and its KEY=N argument. */
int64_t mark_time(const struct results *r, const char *name);
int64_t mark_arg(const struct results *r, const char *name, const char *key,
		 int64_t missing);

/* Time of the first console line after @from that contains @text. */
int64_t console_time(const struct results *r, const char *text, int64_t from);

int page_known(const struct results *r, uint64_t gpa);

/* What the traces say about one NIC between two points in time. */
struct device_log {
	unsigned int master_clears, decode_clears, flrs, d3s, resets;
	unsigned int faults, translations, strays;
	int master;		/* as last written */
	uint64_t first_fault, first_stray;
};

/* All ports of the machine: there are none but those above devices that stream. */
struct port_log {
	unsigned int ports, off;	/* off: at the end without bus mastering */
	unsigned int master_clears, resets;
};

/* Config writes to one device, but for those that nothing comes of. */
struct config_log {
	unsigned int writes, harmless;
	unsigned int first;	/* register */
};

/* ATS of one device. A flush is one of all that it has cached. */
struct ats_log {
	int on;			/* at the end */
	unsigned int cleared, flushes;
};

struct nvme_log {
	unsigned int done, failed, errors;
};

struct iommu_log {
	unsigned int translation_off, remapping_off, roots;
};

struct frame_log {
	unsigned int sent, refused, before, blackout, after, lost, late;
	double longest_gap, longest_latency;
};

#define MS(ns)	((ns) / 1e6)

/* The run that is judged, and the points in time that matter; NEVER if not. */
extern struct results *r;
extern int64_t streaming, vmm_last, starting, new_linux, init_mark, attached;
extern int64_t finish_begin, finish_end, retrieve_begin;

/* Those of the first live update after @from. */
void times_load(int64_t from);

static inline int within(int64_t time, int64_t from, int64_t to)
{
	return time >= from && time < to;
}

/* All over [from, to). */
struct device_log device_log(unsigned int nic, int64_t from, int64_t to);
struct iommu_log iommu_log(int64_t from, int64_t to);
struct port_log port_log(int64_t from, int64_t to);
struct config_log config_log(unsigned int nic, int64_t from, int64_t to);
struct ats_log ats_log(unsigned int nic, int64_t from, int64_t to);
struct nvme_log nvme_log(int64_t from, int64_t to);
struct frame_log frame_log(unsigned int nic, int64_t from, int64_t to);

unsigned int frame_holes(unsigned int nic, int64_t to);
unsigned int frames_arrived(unsigned int nic, int64_t from, int64_t to);
void count_stage3(unsigned int nic, unsigned int *sent, unsigned int *found);
int64_t bus_master_on(unsigned int nic, int64_t from);
const char *splat(void);
const char *guest_failure(void);
int64_t failure_time(void);
int64_t info_number(const char *key, int64_t *when);
const char *info(const char *key);
const char *count_of(uint64_t n);
const char *bdf_text(unsigned int nic);
unsigned int preserved(void);
unsigned int reads_taken(void);

/* judge.c: a line of the report */
void check(int ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* jump.c */
void judge_cross_check(unsigned int nic);
void judge_preserved(const struct device_log *d, const struct iommu_log *l,
		     const struct frame_log *f);
void judge_one_of(unsigned int nic, int64_t from, int64_t to,
		  unsigned int frames);
void judge_main(void);
void judge_vmms(void);
void judge_twice(void);
int updates_wanted(void);
int64_t next_update(void);
void judge_log(const char *who, const char *texts, int64_t from, int64_t to);
void judge_jump(int64_t from, unsigned int frames);
void judge_end(void);

/* contain.c */
int came_back(unsigned int nic);
void judge_partly(void);

/* report.c */
const char *span_missing(void);
void report(const char *dir, const char *verdict, const char *listing);

#endif /* LIVEUPDATE_JUDGE_H */
