// SPDX-License-Identifier: GPL-2.0-only
/*
 * Once all is frozen and kexec goes on it is too late to take a device away. Its user
 * cannot let go of it any more, and whoever waits for that must not keep the machine
 * from jumping. It happens to the last NIC, by a process of its own: reboot(2) does not
 * return.
 *
 *   --unbind			its driver is unbound
 *   --unplug frozen --pull	it is pulled out of its slot
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm.h"

#define STATE		"/sys/kernel/debug/iommu/liveupdate"
#define UNBIND		"/sys/bus/pci/drivers/vfio-pci/unbind"

/* The file of the device is frozen after that of its iommufd; then it is a matter of ms. */
#define DEVICE_US	500

static bool all_frozen(void)
{
	char text[256] = {};
	int fd = open(STATE, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		control_fail(-errno, STATE);
	close(fd);
	return strstr(text, "frozen=yes");
}

static void wait_frozen(void)
{
	while (!all_frozen())
		usleep(50);
	usleep(DEVICE_US);
}

static void nic_unbind(struct nic *nic)
{
	sysfs_write(UNBIND, nic->bdf);
	control_mark("unbound");
}

/* While that is under way: who would say so first would have let the time pass. */
static void say_unbind(struct nic *nic)
{
	control_mark("unbind");
}

static void nic_pull(struct nic *nic)
{
	control_info("nic%u_back=0 unplugged", nic->id);
	nic_leaves(nic);
	control_mark("unplugged nic=%u", nic->id);
}

static void when_frozen(struct nic *nic, void (*act)(struct nic *nic))
{
	pid_t pid;

	control_step("wait until it is too late");
	pid = fork();
	if (pid < 0)
		control_fail(-errno, "fork");
	if (pid)
		return;
	wait_frozen();
	act(nic);
	for (;;)
		pause();
}

void too_late(void)
{
	struct nic *nic = &vmm.nics[vmm.nr_nics - 1];

	if (vmm.unbind) {
		when_frozen(nic, nic_unbind);
		when_frozen(nic, say_unbind);
	}
	if (nic_unplugs(nic, "frozen"))
		when_frozen(nic, nic_pull);
}
