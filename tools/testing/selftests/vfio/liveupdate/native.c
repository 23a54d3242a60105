// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device that nobody came for, given to the driver the kernel has for it: it gets
 * a network interface, comes up and receives, in a domain of the kernel's own.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/if.h>
#include <linux/limits.h>

#include "vmm.h"

#define DEVICES		"/sys/bus/pci/devices"
#define FRAMES_NATIVE	200
#define PATIENCE_MS	10000

static void probe(struct nic *nic, const char *driver)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), DEVICES "/%s/driver/unbind", nic->bdf);
	sysfs_write(path, nic->bdf);
	snprintf_assert(path, sizeof(path), DEVICES "/%s/driver_override", nic->bdf);
	must(sysfs_write(path, driver), "override driver of NIC %u", nic->id);
	must(sysfs_write("/sys/bus/pci/drivers_probe", nic->bdf), "probe NIC %u", nic->id);
}

/* The name of its network interface */
static void find_interface(struct nic *nic, char *name)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf_assert(path, sizeof(path), DEVICES "/%s/net", nic->bdf);
	dir = opendir(path);
	control_step("look for the interface of NIC %u", nic->id);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		strncpy(name, entry->d_name, IFNAMSIZ - 1);
		closedir(dir);
		return;
	}
	control_fail(-errno, "it has none");
}

static void bring_up(const char *name)
{
	struct ifreq req = {};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	control_step("bring %s up", name);
	memcpy(req.ifr_name, name, IFNAMSIZ);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &req))
		control_fail(-errno, "failed");
	req.ifr_flags |= IFF_UP | IFF_PROMISC;
	if (ioctl(fd, SIOCSIFFLAGS, &req))
		control_fail(-errno, "failed");
	close(fd);
}

static unsigned long received(const char *name)
{
	unsigned long n = 0;
	char path[PATH_MAX];
	FILE *f;

	snprintf_assert(path, sizeof(path), "/sys/class/net/%s/statistics/rx_packets",
			name);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%lu", &n) != 1)
		control_fail(-errno, "%s", path);
	fclose(f);
	return n;
}

void nic_use_native(struct nic *nic)
{
	char name[IFNAMSIZ] = {}, path[PATH_MAX], driver[PATH_MAX];
	unsigned long n = 0;
	long long start;
	ssize_t len;

	control_mark("native-begin");
	probe(nic, "\n");
	snprintf_assert(path, sizeof(path), DEVICES "/%s/driver", nic->bdf);
	len = readlink(path, driver, sizeof(driver) - 1);
	driver[max_t(ssize_t, len, 0)] = 0;
	control_info("native_driver=%s", strrchr(driver, '/') ?: "none");

	find_interface(nic, name);
	bring_up(name);
	/* Frames that count for nothing: nobody looks where they are put. */
	control_resume(nic->id, STAGE_PROVOKED);
	start = now_ms();
	while (n < FRAMES_NATIVE && now_ms() - start < PATIENCE_MS) {
		usleep(10000);
		n = received(name);
	}
	control_pause(nic->id);
	control_info("native_frames=%lu", n);
	control_step("receive on %s", name);
	if (n < FRAMES_NATIVE)
		control_fail(0, "%lu frames", n);

	probe(nic, "vfio-pci");
	control_mark("native");
}
