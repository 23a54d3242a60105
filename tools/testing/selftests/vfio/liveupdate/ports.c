// SPDX-License-Identifier: GPL-2.0-only
/*
 * What goes on around a device that runs, above all in the ports it is behind.
 *
 * --idle: before anybody has come for a device, without a driver even, it counts as
 * unused. All the same neither it nor a port above may be sent to sleep, however much
 * they are allowed to. When it is closed in the end it does go to sleep. (So would a
 * port then, but not every machine has some that can.)
 *
 * --errors: it reports errors that are not fatal, before and after somebody has come
 * for it, and goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kernel.h>
#include <linux/limits.h>

#include "aer.h"
#include "vmm.h"

#define DEVICES		"/sys/bus/pci/devices"
#define VFIO_PCI	"/sys/bus/pci/drivers/vfio-pci"

/* A port goes to sleep 100 ms after what is behind it. */
#define IDLE_MS		2000
#define PATIENCE_MS	5000

static void attr_read(const char *dir, const char *attr, char *text, int size)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf_assert(path, sizeof(path), "%s/%s", dir, attr);
	f = fopen(path, "r");
	if (!f || !fgets(text, size, f))
		control_fail(-errno, "%s", path);
	fclose(f);
	text[strcspn(text, "\n")] = 0;
}

static bool awake(const char *dir)
{
	char state[32];

	attr_read(dir, "power_state", state, sizeof(state));
	return !strcmp(state, "D0");
}

/* Goes from @dir of a device to the one of what is above it, if that is a port. */
static bool port_above(char *dir)
{
	*strrchr(dir, '/') = 0;
	return strchr(strrchr(dir, '/'), '.');
}

static void nic_dir(struct nic *nic, char *dir)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), DEVICES "/%s", nic->bdf);
	if (!realpath(path, dir))
		control_fail(-errno, "%s", path);
}

/* Let it go to sleep, and all that is above it. */
static void allow(struct nic *nic)
{
	char dir[PATH_MAX], path[PATH_MAX];

	nic_dir(nic, dir);
	do {
		snprintf_assert(path, sizeof(path), "%.4000s/power/control", dir);
		control_info("may_sleep=%s errno=%d", strrchr(dir, '/') + 1,
			     -sysfs_write(path, "auto"));
	} while (port_above(dir));
}

static void must_be_awake(struct nic *nic)
{
	char dir[PATH_MAX];

	nic_dir(nic, dir);
	do {
		control_step("look at %s while NIC %u is idle", strrchr(dir, '/') + 1,
			     nic->id);
		if (!awake(dir))
			control_fail(0, "it was sent to sleep");
	} while (port_above(dir));
	if (!(nic_command_read(nic) & PCI_COMMAND_MASTER))
		control_fail(0, "bus mastering of NIC %u is off", nic->id);
}

/* Before anybody has come for them, with their driver and without */
void ports_idle(struct vmm_session *session)
{
	struct nic *nic = NULL;

	if (!vmm.idle)
		return;

	while (session_nic_next(session, &nic))
		allow(nic);
	usleep(IDLE_MS * 1000);
	while (session_nic_next(session, &nic))
		must_be_awake(nic);

	while (session_nic_next(session, &nic))
		must(sysfs_write(VFIO_PCI "/unbind", nic->bdf), "unbind NIC %u", nic->id);
	usleep(IDLE_MS * 1000);
	while (session_nic_next(session, &nic))
		must_be_awake(nic);

	while (session_nic_next(session, &nic)) {
		must(sysfs_write(VFIO_PCI "/bind", nic->bdf), "bind NIC %u", nic->id);
		allow(nic);
	}
	usleep(IDLE_MS * 1000);
	while (session_nic_next(session, &nic))
		must_be_awake(nic);
	control_mark("awake");
}

/* Closed, they are like any others: else nothing of the above was ever at stake. */
void ports_asleep(struct vmm_session *session)
{
	struct nic *nic = NULL;
	char dir[PATH_MAX];
	long long start;

	if (!vmm.idle)
		return;

	while (session_nic_next(session, &nic)) {
		nic_dir(nic, dir);
		control_step("see NIC %u go to sleep", nic->id);
		start = now_ms();
		while (awake(dir) && now_ms() - start < PATIENCE_MS)
			usleep(10000);
		if (awake(dir))
			control_fail(0, "it does not");
	}
	control_mark("asleep");
}

/* The last line of a file of counters is their sum. */
static int errors_seen(struct nic *nic, const char *kind)
{
	char path[PATH_MAX], line[128];
	int n = -1;
	FILE *f;

	snprintf_assert(path, sizeof(path), DEVICES "/%s/aer_dev_%s", nic->bdf, kind);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "TOTAL_ERR_%*s %d", &n);
	if (f)
		fclose(f);
	return n;
}

static void report_error(struct nic *nic, const char *kind, u32 uncorrectable,
			 u32 correctable)
{
	int before = errors_seen(nic, kind);
	long long start = now_ms();

	must(aer_inject(nic->bdf, uncorrectable, correctable), "inject into NIC %u",
	     nic->id);
	while (errors_seen(nic, kind) == before && now_ms() - start < PATIENCE_MS)
		usleep(10000);
	control_info("nic%u_%s_errors=%d", nic->id, kind, errors_seen(nic, kind) - before);
	control_step("have NIC %u report a %s error", nic->id, kind);
	if (before < 0 || errors_seen(nic, kind) != before + 1)
		control_fail(0, "%d errors before, %d after", before, errors_seen(nic, kind));
	/* Long enough for what is done about it */
	usleep(300000);
	if (!(nic_command_read(nic) & PCI_COMMAND_MASTER))
		control_fail(0, "bus mastering is off");
}

void ports_errors(struct vmm_session *session)
{
	struct nic *nic = NULL;

	if (!vmm.errors)
		return;
	while (session_nic_next(session, &nic)) {
		report_error(nic, "correctable", 0, PCI_ERR_COR_BAD_TLP);
		report_error(nic, "nonfatal", PCI_ERR_UNC_COMP_TIME, 0);
	}
	control_mark("reported");
}
