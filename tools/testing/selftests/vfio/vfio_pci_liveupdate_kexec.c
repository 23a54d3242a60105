// SPDX-License-Identifier: GPL-2.0-only
/*
 * Take devices that do DMA all the time through a live update.
 *
 * This is what a VMM does, with the guest's drivers for the devices built in: the
 * program hands a network card a memfd to receive into, has the kernel replaced
 * while frames keep coming, and goes on where it was. A drive is taken for one that
 * receives what is read. It runs twice, before the kexec
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
 *   vmms		several VMMs, of which only the first comes back at once
 *   partly		preserved, but not all of it can be taken back
 *   bench	what each step costs, without DMA
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

static const char * const scenarios[] = {
	[CASE_MAIN] = "main",
	[CASE_BASE] = "base",
	[CASE_UNPRESERVED] = "unpreserved",
	[CASE_ABORTED] = "aborted",
	[CASE_TWICE] = "twice",
	[CASE_DISCARD] = "discard",
	[CASE_VMMS] = "vmms",
	[CASE_PARTLY] = "partly",
	[CASE_BENCH] = "bench",
};

static const char * const shares[] = {
	[SHARE_SESSION] = "session",
	[SHARE_IOMMUFD] = "iommufd",
	[SHARE_IOAS] = "ioas",
	[SHARE_HWPT] = "hwpt",
	[SHARE_NOTHING] = "nothing",
};

static const char * const others[] = {
	[OTHERS_LATE] = "late",
	[OTHERS_DISCARD] = "discard",
	[OTHERS_LEFT] = "left",
};

static const char * const irqs[] = {
	[VFIO_PCI_INTX_IRQ_INDEX] = "intx",
	[VFIO_PCI_MSI_IRQ_INDEX] = "msi",
	[VFIO_PCI_MSIX_IRQ_INDEX] = "msix",
};

struct vmm vmm = {
	.stage = 1,
	.ring = RX_MAX_RING,
	.iova = 1ULL << 40,	/* above all RAM */
	.append = "",
	.irq = RX_NO_IRQ,
	.late = 1,
	.jumps = 2,
	.luo = -1,
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
		"	[--share session|iommufd|ioas|hwpt|nothing] [--interrupts msix|msi|intx]\n"
		"	[--attempts] [--others late|discard|left] [--late SECONDS]\n"
		"	[--pressure] [--order mic] [--skip NIC] [--until s|m|i|c|b|r|a] [--finish] [--native]\n"
		"	[--forge] [--memlock] [--forgotten] [--again|--cold] [--jumps N]\n"
		"	[--unplug preserved|frozen|booted|attached|finishing [--pull]] [--unbind]\n"
		"	[--plug BDF] [--idle] [--errors] [--killed] [--freeze-fails] [--faults]\n"
		"	[--strangers] [--limits] [--memcg] [--memory MB [--areas N] [--huge] [--giant] [--lost]]\n"
		"	[--ring N] [--iova IOVA] [--run-id N] [--control TTY]\n"
		"	[--kernel IMAGE --initrd INITRD --append CMDLINE]\n"
		"\n"
		"CASE is main, base, unpreserved, aborted, twice, discard, vmms, partly or bench.\n"
		"Stage 1 loads and starts IMAGE; stage 2 is for the kernel that this starts, with the same\n"
		"options, and the stages from 3 on of twice for the next --jumps. The devices are bound to\n"
		"vfio-pci; --share is what several of them have in common.\n"
		"For partly, --order is that of memfd, iommufd and cdev, --skip leaves one out,\n"
		"--until kills a first VMM after that step (session, memfd, iommufd, cdev, bind,\n"
		"restore, attach), --finish has nobody come, --native uses a discarded NIC with\n"
		"the driver the kernel has for it, --cold starts one more kernel with nothing.\n"
		"--killed kills the VMM before the jump, --freeze-fails has freezing fail first,\n"
		"--faults has each allocation fail once when devices and page tables are taken\n"
		"back, --strangers lets others try to get them, --limits has no room for memfds,\n"
		"--memcg has none in the memory cgroup of the VMM.\n"
		"--forgotten says that the kernel knows of no device that runs.\n"
		"--unbind unbinds the driver of a NIC when all is frozen. --plug has another device\n"
		"come after FINISH.\n"
		"With --lost the kernel unmaps the read-only memory, as it is not what the memfd\n"
		"holds.\n", self);
	exit(KSFT_SKIP);
}

static int pick(const char *word, const char * const *words, int nr,
		const char *self)
{
	int i;

	for (i = 0; i < nr; i++) {
		if (!strcmp(word, words[i]))
			return i;
	}

	show_usage(self);
}

/* Only some cases are for any number of devices. */
static bool nr_nics_fits(void)
{
	switch (vmm.scenario) {
	case CASE_MAIN:
	case CASE_PARTLY:
	case CASE_BENCH:
	case CASE_TWICE:
		return vmm.nr_nics;
	case CASE_UNPRESERVED:
		return vmm.nr_nics == 2;
	case CASE_VMMS:
		return vmm.nr_nics >= 2 && vmm.share == SHARE_NOTHING;
	default:
		return vmm.nr_nics == 1;
	}
}

static int last_stage(void)
{
	if (vmm.cold)
		return 3;
	return vmm.scenario == CASE_TWICE || vmm.again ? vmm.jumps + 1 : 2;
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
		{ "share", required_argument, NULL, 'S' },
		{ "interrupts", required_argument, NULL, 'q' },
		{ "attempts", no_argument, NULL, 'A' },
		{ "order", required_argument, NULL, 'O' },
		{ "skip", required_argument, NULL, 'K' },
		{ "until", required_argument, NULL, 'U' },
		{ "finish", no_argument, NULL, 'F' },
		{ "native", no_argument, NULL, 'N' },
		{ "pressure", no_argument, NULL, 'P' },
		{ "again", no_argument, NULL, 'E' },
		{ "cold", no_argument, NULL, 'f' },
		{ "memlock", no_argument, NULL, 'M' },
		{ "forgotten", no_argument, NULL, 'Q' },
		{ "forge", no_argument, NULL, 'G' },
		{ "killed", no_argument, NULL, 'X' },
		{ "freeze-fails", no_argument, NULL, 'Z' },
		{ "faults", no_argument, NULL, 'Y' },
		{ "strangers", no_argument, NULL, 'T' },
		{ "limits", no_argument, NULL, 'w' },
		{ "memcg", no_argument, NULL, 'W' },
		{ "unplug", required_argument, NULL, 'u' },
		{ "pull", no_argument, NULL, 'p' },
		{ "unbind", no_argument, NULL, 'b' },
		{ "plug", required_argument, NULL, 'x' },
		{ "idle", no_argument, NULL, 'D' },
		{ "errors", no_argument, NULL, 'e' },
		{ "jumps", required_argument, NULL, 'J' },
		{ "others", required_argument, NULL, 'o' },
		{ "late", required_argument, NULL, 'l' },
		{ "memory", required_argument, NULL, 'm' },
		{ "areas", required_argument, NULL, 'n' },
		{ "huge", no_argument, NULL, 'H' },
		{ "lost", no_argument, NULL, 'L' },
		{ "giant", no_argument, NULL, 'g' },
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'I' },
		{ "append", required_argument, NULL, 'a' },
		{ "control", required_argument, NULL, 'C' },
		{}
	};
	int opt;

	vmm.run_id = cmdline_run_id();

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			vmm.scenario = pick(optarg, scenarios,
					    ARRAY_SIZE(scenarios), argv[0]);
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
		case 'S':
			vmm.share = pick(optarg, shares, ARRAY_SIZE(shares), argv[0]);
			break;
		case 'q':
			vmm.irq = pick(optarg, irqs, ARRAY_SIZE(irqs), argv[0]);
			break;
		case 'A':
			vmm.attempts = true;
			break;
		case 'O':
			vmm.order = optarg;
			break;
		case 'K':
			vmm.skip |= BIT(strtoul(optarg, NULL, 0) % MAX_NICS);
			break;
		case 'U':
			vmm.until = *optarg;
			break;
		case 'F':
			vmm.finish = true;
			break;
		case 'N':
			vmm.native = true;
			break;
		case 'P':
			vmm.pressure = true;
			break;
		case 'E':
			vmm.again = true;
			break;
		case 'f':
			vmm.cold = true;
			break;
		case 'M':
			vmm.memlock = true;
			break;
		case 'Q':
			vmm.forgotten = true;
			break;
		case 'G':
			vmm.forge = true;
			break;
		case 'X':
			vmm.killed = true;
			break;
		case 'Z':
			vmm.freeze_fails = true;
			break;
		case 'Y':
			vmm.faults = true;
			break;
		case 'T':
			vmm.strangers = true;
			break;
		case 'w':
			vmm.limits = true;
			break;
		case 'W':
			vmm.memcg = true;
			break;
		case 'u':
			vmm.unplug = optarg;
			break;
		case 'p':
			vmm.pull = true;
			break;
		case 'b':
			vmm.unbind = true;
			break;
		case 'x':
			vmm.plug = optarg;
			break;
		case 'D':
			vmm.idle = true;
			break;
		case 'e':
			vmm.errors = true;
			break;
		case 'J':
			vmm.jumps = atoi(optarg);
			break;
		case 'o':
			vmm.others = pick(optarg, others, ARRAY_SIZE(others),
					  argv[0]);
			break;
		case 'l':
			vmm.late = strtoul(optarg, NULL, 0);
			break;
		case 'm':
			vmm.memory_mb = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			vmm.areas = strtoul(optarg, NULL, 0);
			break;
		case 'H':
			vmm.huge = true;
			break;
		case 'L':
			vmm.lost = true;
			break;
		case 'g':
			vmm.huge = true;
			vmm.giant = true;
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

	if (vmm.scenario == CASE_VMMS)
		vmm.share = SHARE_NOTHING;
	if (vmm.scenario == CASE_BENCH) {
		vmm.share = SHARE_HWPT;
		vmm.memory_mb = vmm.memory_mb ?: 64;
	}

	if (vmm.again && vmm.nr_nics != 1)
		show_usage(argv[0]);
	if (!nr_nics_fits() ||
	    vmm.stage < 1 || vmm.stage > last_stage() ||
	    optind != argc ||
	    vmm.ring < SECOND_BUFFERS || vmm.ring > RX_MAX_RING || vmm.ring % 8 ||
	    (vmm.stage == 1 && (!vmm.kernel || !vmm.initrd)))
		show_usage(argv[0]);
}

int main(int argc, char *argv[])
{
	parse_options(argc, argv);

	ksft_print_header();
	ksft_print_msg("case %s, stage %d\n", scenarios[vmm.scenario], vmm.stage);
	control_open(vmm.control);
	nics_arrange();

	if (vmm.stage == 1)
		old_kernel();
	new_kernel();
}
