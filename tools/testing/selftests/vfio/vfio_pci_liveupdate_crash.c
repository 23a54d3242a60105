// SPDX-License-Identifier: GPL-2.0-only
/*
 * For a machine that crashes in the middle of a live update: load the kernel that is
 * there for that, preserve a device that does DMA, say so by making a file, and go on
 * until somebody ends this, or the kernel.
 *
 * The kernel is LIVEUPDATE_KERNEL (default: /boot/vmlinuz), with the initramfs and the
 * command line of the arguments.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <linux/kexec.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/files.h"
#include "liveupdate/image.h"
#include "liveupdate/streaming.h"

static const char *device_bdf, *crash_initrd, *crash_cmdline, *ready;

TEST(crash)
{
	struct streaming streaming;
	struct refuse refuse;

	ASSERT_EQ(0, kernel_load(crash_initrd, crash_cmdline, KEXEC_FILE_ON_CRASH));
	ASSERT_EQ(0, refuse_init(&refuse, device_bdf, "crash"));
	streaming_start(&streaming, &refuse);
	ASSERT_EQ(0, vm_preserve_all(&refuse.vm));
	ASSERT_TRUE(streaming_goes_on(&streaming));
	ASSERT_EQ(0, streaming.bad);
	ASSERT_LE(0, creat(ready, 0600));
	while (!streaming.bad)
		usleep(100000);
	ASSERT_TRUE(false);
}

int main(int argc, char *argv[])
{
	if (argc != 5) {
		fprintf(stderr, "usage: %s BDF INITRD CMDLINE READY\n", argv[0]);
		return KSFT_SKIP;
	}

	device_bdf = argv[1];
	crash_initrd = argv[2];
	crash_cmdline = argv[3];
	ready = argv[4];
	return test_harness_run(1, argv);
}
