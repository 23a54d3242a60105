// SPDX-License-Identifier: GPL-2.0-only
/*
 * Take a network card that is receiving all the time through a live update.
 *
 * This is what a VMM does, with the guest's driver for the device built in: the
 * program hands the card a memfd to receive into, has the kernel replaced while
 * frames keep coming, and goes on where it was. It runs twice, before the kexec
 * (--stage 1, liveupdate/old_kernel.c) and after it (--stage 2,
 * liveupdate/new_kernel.c). Somebody outside of the machine sends the frames,
 * and keeps the time (see liveupdate/control.c).
 *
 * --case picks what is shown:
 *
 *   main		preserved: nothing is lost, all of it can be used again
 *   base		a kernel without IOMMU live update: the stream ends
 *   unpreserved	a second card that is not preserved is kept out of memory
 *   aborted		preserved and given up again: all as if never asked for
 *   twice		preserved again by the kernel that got it back, for a third one
 *   discard		preserved, and nobody takes it back: FINISH brings it to rest
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kernel.h>
#include <linux/sizes.h>

#include "kselftest.h"
#include "liveupdate/vmm.h"

/*
 * A card that is kept from its ring reads every descriptor as empty and goes
 * round once for each frame: the second one gets a shorter ring.
 */
#define MAX_SECOND_RING	4096

static const char * const scenarios[] = {
	[CASE_MAIN] = "main",
	[CASE_BASE] = "base",
	[CASE_UNPRESERVED] = "unpreserved",
	[CASE_ABORTED] = "aborted",
	[CASE_TWICE] = "twice",
	[CASE_DISCARD] = "discard",
};

struct vmm vmm = {
	.stage = 1,
	.ring = IGB_RX_MAX_RING,
	.iova = 1ULL << 40,	/* above all RAM */
	.append = "",
	.luo = -1,
	.session = -1,
};

/* run_id=N on the kernel command line, 0 if there is none */
static u32 cmdline_run_id(void)
{
	char cmdline[4096] = {};
	int fd = open("/proc/cmdline", O_RDONLY);
	char *s;

	if (fd < 0)
		return 0;
	if (read(fd, cmdline, sizeof(cmdline) - 1) < 0)
		cmdline[0] = 0;
	close(fd);

	s = strstr(cmdline, "run_id=");
	return s ? strtoul(s + strlen("run_id="), NULL, 0) : 0;
}

static void __noreturn show_usage(const char *self)
{
	fprintf(stderr,
		"usage: %s --case CASE --stage N --device BDF [--device BDF]\n"
		"	[--ring N] [--iova IOVA] [--run-id N] [--control TTY]\n"
		"	[--kernel IMAGE --initrd INITRD --append CMDLINE]\n"
		"\n"
		"CASE is main, base, unpreserved, aborted, twice or discard. Stage 1 loads and\n"
		"starts IMAGE; stage 2 is for the kernel that this starts, with the same\n"
		"options, and stage 3 of twice for the next. The devices are 82576 bound to\n"
		"vfio-pci.\n", self);
	exit(KSFT_SKIP);
}

static void parse_options(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "case", required_argument, NULL, 'c' },
		{ "stage", required_argument, NULL, 's' },
		{ "ring", required_argument, NULL, 'r' },
		{ "iova", required_argument, NULL, 'i' },
		{ "run-id", required_argument, NULL, 'R' },
		{ "device", required_argument, NULL, 'd' },
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'I' },
		{ "append", required_argument, NULL, 'a' },
		{ "control", required_argument, NULL, 'C' },
		{}
	};
	int opt, i;

	vmm.run_id = cmdline_run_id();

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			for (i = 0; i < ARRAY_SIZE(scenarios); i++) {
				if (!strcmp(optarg, scenarios[i]))
					break;
			}
			if (i == ARRAY_SIZE(scenarios))
				show_usage(argv[0]);
			vmm.scenario = i;
			break;
		case 's':
			vmm.stage = atoi(optarg);
			break;
		case 'r':
			vmm.ring = strtoul(optarg, NULL, 0);
			break;
		case 'i':
			vmm.iova = strtoull(optarg, NULL, 0);
			break;
		case 'R':
			vmm.run_id = strtoul(optarg, NULL, 0);
			break;
		case 'd':
			if (vmm.nr_nics == MAX_NICS)
				show_usage(argv[0]);
			vmm.nics[vmm.nr_nics].bdf = optarg;
			vmm.nics[vmm.nr_nics].id = vmm.nr_nics;
			vmm.nr_nics++;
			break;
		case 'k':
			vmm.kernel = optarg;
			break;
		case 'I':
			vmm.initrd = optarg;
			break;
		case 'a':
			vmm.append = optarg;
			break;
		case 'C':
			vmm.control = optarg;
			break;
		default:
			show_usage(argv[0]);
		}
	}

	if (vmm.nr_nics != (vmm.scenario == CASE_UNPRESERVED ? 2 : 1) ||
	    vmm.stage < 1 || vmm.stage > (vmm.scenario == CASE_TWICE ? 3 : 2) ||
	    optind != argc ||
	    vmm.ring < SECOND_BUFFERS || vmm.ring > IGB_RX_MAX_RING || vmm.ring % 8 ||
	    (vmm.stage == 1 && (!vmm.kernel || !vmm.initrd)))
		show_usage(argv[0]);

	for (i = 0; i < vmm.nr_nics; i++) {
		struct nic *nic = &vmm.nics[i];

		nic->ring = vmm.ring;
		if (nic->id && nic->ring > MAX_SECOND_RING)
			nic->ring = MAX_SECOND_RING;
		nic->stream.nic = nic->id;
		nic->stream.run_id = vmm.run_id;
		nic->stream.stage = STAGE_STREAM;
	}
}

int main(int argc, char *argv[])
{
	parse_options(argc, argv);

	ksft_print_header();
	ksft_print_msg("case %s, stage %d\n", scenarios[vmm.scenario], vmm.stage);
	control_open(vmm.control);

	if (vmm.stage == 1)
		old_kernel();
	new_kernel();
}
