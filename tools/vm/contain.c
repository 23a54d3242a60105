// SPDX-License-Identifier: GPL-2.0
/*
 * Not all came back, CASE=partly: what did goes on, what did not has stopped in
 * time, wrote nowhere else, and can be used anew.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"

static const char *device_info(unsigned int nic, const char *key)
{
	char name[32];

	snprintf(name, sizeof(name), "nic%u_%s", nic, key);
	return info(name);
}

/* BACK= of run.sh: numbers with commas between, or none */
static int should_be_back(unsigned int nic)
{
	const char *p = setting("back");

	while (*p) {
		if (*p >= '0' && *p <= '9' && (unsigned int)atoi(p) == nic)
			return 1;
		p += strcspn(p, ",");
		p += *p == ',';
	}
	return 0;
}

int came_back(unsigned int nic)
{
	return strcmp(r->scenario, "partly") || *device_info(nic, "back") == '1';
}

/* QEMU says that it is gone; the one with the button is stopped before that. */
static void judge_unplugged(unsigned int nic, int64_t stop)
{
	int pulled = !!strstr(setting("guest"), "--pull");
	struct device_log d = device_log(nic, streaming, stop);
	char key[32];

	snprintf(key, sizeof(key), "deleted%u", nic);
	check(mark_time(r, "unplug") && *info(key) == '1', "device %u: %s, %s", nic,
	      pulled ? "pulled out of its slot" : "the button of its slot pressed",
	      *info(key) == '1' ? "gone" : "it is still there");
	check(pulled || !d.master, "device %u: bus mastering %s before it went", nic,
	      d.master ? "on" : "off");
}

/*
 * Blocked at @stop, by itself or by who comes for it: it may not do DMA, or tries to
 * and is reported. One that has died by itself is neither.
 *
 * The IOTLB is flushed after the device is gone from the tables. In between, a ring
 * that it still knows can be written to, while a buffer that it does not know cannot:
 * the device reports frames that it could not write. The guest has counted those, and
 * seen that nothing is in their buffers; none of them is there without a fault.
 */
static void judge_blocked(unsigned int nic, int64_t stop, int64_t reopen)
{
	struct device_log before = device_log(nic, starting, stop);
	struct device_log waits = device_log(nic, starting, finish_begin);
	struct device_log all = device_log(nic, starting, reopen);
	int cut = atoi(device_info(nic, "cut"));

	check(!before.master || waits.faults > 0,
	      "device %u: blocked, bus mastering %s, %u faults up to FINISH", nic,
	      before.master ? "on" : "off", waits.faults);
	check(cut >= 0 && (unsigned int)cut <= all.faults,
	      "device %u: %d frames reported that it could not write, %u faults", nic,
	      cut, all.faults);
}

/* Its memory is in reach as long as it runs: no frame is missing. */
static void judge_not_cut(unsigned int nic)
{
	int cut = atoi(device_info(nic, "cut"));

	check(!cut, "device %u: %d frames reported that it could not write", nic, cut);
}

static void judge_stopped(unsigned int nic)
{
	int boot = !strcmp(setting("stopped"), "boot");
	int retrieve = !strcmp(setting("stopped"), "retrieve");
	int unplug = !strcmp(setting("stopped"), "unplug");
	int64_t stop = boot ? init_mark : retrieve ? attached : finish_end;
	int64_t reopen = FOREVER;
	struct device_log early, late;
	struct frame_log f;
	unsigned int arrived;

	if (unplug)
		stop = mark_time(r, "unplugged");
	if (!stop) {
		check(!unplug, "device %u was not unplugged", nic);
		return;		/* else said elsewhere */
	}
	if (*info("anew") != 'u' && (unsigned int)atoi(info("anew")) == nic)
		reopen = mark_time(r, mark_time(r, "native-begin") ? "native-begin" :
				   "reopen");
	early = device_log(nic, streaming, stop);
	late = device_log(nic, stop, reopen);
	arrived = frames_arrived(nic, stop, reopen);
	f = frame_log(nic, stop, reopen);

	check(!early.strays && early.translations > 0, "device %u: up to %s %s "
	      "translations, %u outside the memfds' pages", nic, boot ? "user space" :
	      retrieve ? "the end of retrieving" : unplug ? "its end" : "FINISH",
	      count_of(early.translations), early.strays);
	check(f.sent + f.refused > 0 && !arrived && !late.translations,
	      "device %u: from then on %u frames sent to it, %u refused, %u arrived, "
	      "%u translations, %u faults", nic, f.sent, f.refused, arrived,
	      late.translations, late.faults);
	if (boot || retrieve)
		judge_blocked(nic, stop, reopen);
	else
		judge_not_cut(nic);
	if (unplug) {
		judge_unplugged(nic, stop);
		return;
	}
	late = device_log(nic, streaming, mark_time(r, "quiet"));
	/* Nobody turns it off if all records are lost; judge_blocked() is what counts. */
	check(!late.master || (boot && strstr(setting("guest"), "--forgotten")),
	      "device %u: bus mastering %s after FINISH", nic,
	      late.master ? "still on" : "off");
}

/*
 * With --forge the last device writes to addresses of interrupts, from before the
 * jump on. Those in remappable format are for the IOMMU to judge: it must have been
 * asked in the time without a kernel, and let none through. QEMU passes the others
 * on unseen; they are for a CPU that is not there.
 */
#define FORGED(a)	(((a) & ~0xffffULL) == 0xfeee0000)
#define REMAPPABLE(a)	((a) & 0x10)

static void judge_forged(void)
{
	static const char * const signs[] = {
		"Spurious interrupt (vector", "No irq handler for vector",
	};
	unsigned int asked = 0, window = 0, through = 0, stray = 0;
	size_t i;

	for (i = 0; i < r->nr_events; i++) {
		const struct event *e = &r->events[i];

		if ((e->kind != EV_IRQ_ASKED && e->kind != EV_IRQ_REMAPPED) ||
		    !FORGED(e->a) || !REMAPPABLE(e->a))
			continue;
		if (e->kind == EV_IRQ_REMAPPED) {
			through++;
			continue;
		}
		asked++;
		window += within(e->time, starting, new_linux);
	}
	for (i = 0; i < sizeof(signs) / sizeof(*signs); i++)
		stray += console_time(r, signs[i], 0) != NEVER;
	check(window > 0 && !through, "%s interrupts forged, %s of them with no kernel "
	      "running, %u let through", count_of(asked), count_of(window), through);
	check(!stray, "kernel logs: %s", stray ? "an interrupt of nobody" :
	      "no interrupt of nobody");
}

/* With --plug one is put into an empty slot that the record tells of. */
static void judge_plugged(void)
{
	const char *command = info("late_command");

	check(within(mark_time(r, "plug"), finish_end, FOREVER) && *command == '0' &&
	      !(strtoul(command, NULL, 0) & 4) && mark_time(r, "plugged"),
	      "a device plugged in after FINISH: command register %s, %s", command,
	      mark_time(r, "plugged") ? "it can be opened" : "it cannot be opened");
}

/*
 * With --cold the kernel after that is started with nothing handed over, and so
 * without translation. That it finds the device in order is judged as of any that is
 * used anew.
 */
static void judge_cold(void)
{
	int64_t jump = finish_end ? console_time(r, "Starting new kernel", finish_end) : NEVER;
	int64_t third = jump ? console_time(r, "Linux version", jump) : NEVER;
	struct iommu_log l = iommu_log(finish_end, third);

	check(third && l.translation_off > 0, "the next kernel is given nothing: it %s, "
	      "translation switched off %u times before", third ? "is up" : "never was",
	      third ? l.translation_off : 0);
}

void judge_partly(void)
{
	struct iommu_log l = iommu_log(streaming, finish_end ? finish_end : FOREVER);
	const char *log1 = setting("log1"), *log2 = setting("log2"), *anew = info("anew");
	unsigned int n, nic;
	struct frame_log f;

	if (*setting("damage"))
		check(strcmp(info("damaged"), "unknown"), "damage done: %s",
		      info("damaged"));
	check(init_mark != NEVER, "the new kernel is up");
	check(l.translation_off + l.remapping_off == 0, "translation switched off %u "
	      "times, interrupt remapping %u", l.translation_off, l.remapping_off);
	if (*log1)
		judge_log("the first kernel", log1, 0, starting);
	if (*log2 || *setting("damage"))
		judge_log("the new kernel", *log2 ? log2 : "(no LOG2= given)",
			  new_linux, FOREVER);
	for (n = 0; n < r->nics; n++) {
		check(came_back(n) == should_be_back(n), "device %u %s%s", n,
		      came_back(n) ? "came back" : "did not come back: ",
		      came_back(n) ? "" : device_info(n, "back") + 2);
		if (came_back(n)) {
			judge_one_of(n, streaming, finish_end, 1000);
			judge_not_cut(n);
		} else {
			judge_stopped(n);
		}
	}
	check(finish_begin && finish_end, "the session was finished");
	if (strstr(setting("guest"), "--forge"))
		judge_forged();
	if (strstr(setting("guest"), "--plug"))
		judge_plugged();
	if (strstr(setting("guest"), "--cold"))
		judge_cold();
	if (*anew != 'u') {
		nic = atoi(anew);
		f = frame_log(nic, mark_time(r, "reopen"), FOREVER);
		check(mark_time(r, "reopened") && f.sent > 0 && !f.lost,
		      "device %u opened anew: %u frames accepted, %u lost", nic,
		      f.sent, f.lost);
	}
	if (strstr(setting("guest"), "--native"))
		check(mark_time(r, "native") && strcmp(info("native_driver"), "/vfio-pci"),
		      "then its own driver had it, %s: %s frames received",
		      info("native_driver"), info("native_frames"));
	if (strstr(setting("guest"), "--again")) {
		int64_t from = mark_time(r, "reopened");

		times_load(from ? from : FOREVER);
		check(starting && new_linux, "the next live update, from the new kernel");
		if (starting && new_linux) {
			judge_jump(from, 1000);
			judge_end();
		}
		times_load(0);
	}
}
