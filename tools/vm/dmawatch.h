/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dmawatch - stand outside a virtual machine, send frames to its NICs and
 * see in its memory when each of them arrives.
 */
#ifndef LIVEUPDATE_DMAWATCH_H
#define LIVEUPDATE_DMAWATCH_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "frame.h"

enum kind { KIND_NIC, KIND_VIRTIO, KIND_NVME };

/* What the command line said. */
struct options {
	const char *dir;	/* sockets, and the results at the end */
	const char *ram;	/* memory backend file of the machine */
	const char *trace;	/* QEMU's trace log */
	const char *damage;	/* names of what to damage in the hand-over, NULL nothing */
	uint64_t ram_size;	/* bytes */
	uint64_t low_ram;	/* bytes of it below 4 GiB */
	unsigned int nics;	/* streams */
	enum kind kind[MAX_NICS];
	unsigned int rate;	/* frames per second and NIC */
	unsigned int len;	/* bytes per frame */
	unsigned int timeout;	/* seconds until the run is given up */
	uint32_t run_id;
};

extern struct options opt;

/* Bus and devfn of each, as the machine has said last; -1 before that. */
extern int rids[MAX_NICS];

static inline uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline uint64_t mono_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
FILE *result_open(const char *name);
void result_close(FILE *f);

/* image.c */
void images_write(void);

/* send.c */
void send_start(void);
void send_stop(void);
void send_pause(unsigned int nic);
void send_resume(unsigned int nic, unsigned int stage);
int send_started(unsigned int nic);
void send_count(unsigned int nic, uint64_t *last_seq, uint64_t *accepted);
void send_write(void);

/* watch.c */
void watch_open(void);
void watch_unlink(void);
void watch_start(void);
void watch_stop(void);
int watch_touched(uint64_t *off, uint64_t *end);
void watch_scan(void);
void watch_snapshot(void);
void watch_compare(void);
void watch_unmapped(void);
void watch_blocked(void);
uint64_t watch_found(void);
const uint8_t *watch_gpa(uint64_t gpa);
const uint8_t *watch_off(uint64_t off);
int watch_gpa_is_dma(uint64_t gpa);
void watch_own(uint64_t gpa, unsigned int nic);
void watch_write(void);
void watch_counters(FILE *f);

/* monitor.c */
void monitor_listen(void);
int monitor_fd(void);
void monitor_read(FILE *marks);
int monitor_unplug(FILE *marks, unsigned int nic);
int monitor_pull(FILE *marks, unsigned int rid, unsigned int at);
int monitor_plug(FILE *marks);

/* damage.c */
int damage_known(const char *list);
void damage_do(FILE *marks);

/* roots.c */
void roots_start(void);
void roots_stop(void);
void roots_owners(void);
void roots_write(void);

#endif /* LIVEUPDATE_DMAWATCH_H */
