// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nobody takes the device back. Until the session is finished it belongs to the
 * VMM that did not come, whoever else asks; FINISH stops it, then frees its
 * memory, and then it is a device like any other.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <libliveupdate.h>

#include "kselftest.h"
#include "vmm.h"

#define DRIVERS		"/sys/bus/pci/drivers/"
#define OTHER		"pcieport"	/* is in every kernel with PCI Express */
#define DEVICE		"/sys/bus/pci/devices/%s/"
#define FRAMES_NEW	500
#define LEFTOVER_MS	300

int sysfs_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int write_attr(struct nic *nic, const char *attr, const char *text)
{
	char path[128];

	snprintf_assert(path, sizeof(path), DEVICE "%s", nic->bdf, attr);
	return sysfs_write(path, text);
}

static bool has_driver(struct nic *nic)
{
	char path[128];

	snprintf_assert(path, sizeof(path), DEVICE "driver", nic->bdf);
	return !access(path, F_OK);
}

static void must_fail(const char *key, int ret, int expected)
{
	control_info("%s_errno=%d", key, -ret);
	if (ret != expected)
		control_fail(ret, "%s should have been refused", key);
}

/* The device goes on receiving through all of this, which the outside watches. */
static void try_everything(struct nic *nic)
{
	control_step("take the device from its user");
	must_fail("bind", nic_bind_new(nic), -EBUSY);
	must_fail("reset", write_attr(nic, "reset", "1"), -EBUSY);

	/*
	 * Drivers cannot refuse to go, but the device runs on without one, and
	 * no other driver may have it.
	 */
	control_info("unbind_errno=%d", -sysfs_write(DRIVERS "vfio-pci/unbind", nic->bdf));
	if (!has_driver(nic)) {
		control_info("command_unbound=%#x", nic_command_read(nic));
		must(write_attr(nic, "driver_override", OTHER), "override driver");
		must_fail("other_driver", sysfs_write(DRIVERS OTHER "/bind", nic->bdf), -EBUSY);
		must(write_attr(nic, "driver_override", "vfio-pci"), "override driver");
		must(sysfs_write(DRIVERS "vfio-pci/bind", nic->bdf), "bind vfio-pci again");
	}
	must_fail("bind_again", nic_bind_new(nic), -EBUSY);

	control_step("kexec with an unfinished session");
	must_fail("kexec", kexec_try(), -EBUSY);

	/* An agent that goes away ends nothing. */
	session_close(nic->session);
	session_retrieve(nic->session);
}

/* Have vfio-pci drive it. */
void nic_drive(struct nic *nic)
{
	if (has_driver(nic))
		return;
	must(write_attr(nic, "driver_override", "vfio-pci"), "override driver");
	must(sysfs_write(DRIVERS "vfio-pci/bind", nic->bdf), "bind vfio-pci");
}

/* What was under way when the device stopped comes first, and does not count. */
void nic_use_anew(struct nic *nic)
{
	long long start;

	control_mark("reopen");
	control_step("use the device anew");
	nic_drive(nic);
	nic_open(nic);
	nic_map(nic);
	nic_queue_init(nic);
	/* Its memory may have been that of another device. */
	control_scan();
	must(nic->ops->start(&nic->rx), "start receiving on NIC %u", nic->id);

	start = now_ms();
	while (now_ms() - start < LEFTOVER_MS) {
		nic_take(nic);
		usleep(1000);
	}
	nic->running = true;
	control_info("leftover=%llu", nic->stream.frames);

	nic->stream.stage = STAGE_SECOND;
	nic_go_on(nic, STAGE_SECOND);
	control_step("receive with the device opened anew");
	nic_receive(nic, FRAMES_NEW);
	control_pause(nic->id);

	/* Where frames of before were, who watches needs a moment to see new ones. */
	usleep(LEFTOVER_MS * 1000);
}

void new_kernel_discard(struct nic *nic)
{
	u64 size = nic->ops->ring_bytes(nic->ring) +
		   (u64)nic->ring * RX_BUFFER_SIZE;
	u64 enough = size * 15 / 16;
	long long start;
	u64 free_before;
	u16 command;
	s64 freed;

	test_plan(3);

	control_mark("retrieve-begin");
	session_retrieve(nic->session);
	control_mark("retrieve-end");

	try_everything(nic);
	control_mark("refused");
	test_pass("nobody else gets the device");

	free_before = mem_free();
	session_finish(nic->session);

	command = nic_command_read(nic);
	control_info("command_after_finish=%#x", command);
	if (command & PCI_COMMAND_MASTER)
		control_fail(0, "bus mastering is still on");

	start = now_ms();
	do {
		usleep(10000);
		freed = mem_free() - free_before;
	} while (freed < (s64)enough && now_ms() - start < FREE_MS);
	control_info("freed_kib=%ld", freed / 1024);
	if (freed < (s64)enough)
		control_fail(0, "only %ld of %lu KiB became free", freed / 1024,
			     size / 1024);
	session_close(nic->session);

	/* Frames keep coming: none may get anywhere. */
	sleep(1);
	control_pause(nic->id);
	control_mark("quiet");

	nic_use_anew(nic);
	control_mark("reopened frames=%u", FRAMES_NEW);
	test_pass("the device can be used anew");

	nic_close(nic);
	control_mark("closed");
}
