// SPDX-License-Identifier: GPL-2.0-only
/*
 * Before anybody has come for a device that runs: try to take it away, by all the
 * ways there are for root. None may have an effect, and each says so where it can.
 * DMA goes on all the while, which the outside watches.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/pci_regs.h>

#include "sysfs.h"
#include "vmm.h"

#define DRIVERS		"/sys/bus/pci/drivers"
#define DEVICES		"/sys/bus/pci/devices"
#define SLOTS		"/sys/bus/pci/slots"

static int attr_write(const char *path, const void *data, size_t len, off_t at)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (pwrite(fd, data, len, at) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int text_write(const char *path, const char *text)
{
	return attr_write(path, text, strlen(text), 0);
}

static void say(struct nic *nic, const char *name, int ret)
{
	control_info("attempt=%s nic=%u errno=%d", name, nic->id, -ret);
}

static void must_refuse(struct nic *nic, const char *name, int ret)
{
	say(nic, name, ret);
	if (ret != -EBUSY && ret != -EPERM)
		control_fail(ret, "NIC %u: %s should have been refused",
			     nic->id, name);
}

static char *driver_of(struct nic *nic)
{
	char *name = sysfs_driver_get(nic->bdf);

	return name ?: strdup("none");
}

/* Whatever an attempt returned: nobody else has the device now. */
static void still_ours(struct nic *nic, const char *name)
{
	char *driver = driver_of(nic);
	int ms;

	/* One that probes asynchronously is seen until it has been refused */
	for (ms = 0; ms < 1000 && strcmp(driver, "vfio-pci") && strcmp(driver, "none");
	     ms += 10) {
		usleep(10000);
		free(driver);
		driver = driver_of(nic);
	}
	if (strcmp(driver, "vfio-pci") && strcmp(driver, "none"))
		control_fail(0, "NIC %u: %s gave it to %s", nic->id, name, driver);
	if (!(nic_command_read(nic) & PCI_COMMAND_MASTER))
		control_fail(0, "NIC %u: bus mastering is off after %s", nic->id,
			     name);
	free(driver);
}

static void attempt_file(struct nic *nic, const char *name, const char *path,
			 const char *text)
{
	must_refuse(nic, name, text_write(path, text));
	still_ours(nic, name);
}

/* A file that is not there offers no way. */
static void attempt_if_there(struct nic *nic, const char *name, const char *path,
			     const char *text)
{
	if (access(path, F_OK))
		say(nic, name, -errno);
	else
		attempt_file(nic, name, path, text);
}

static void attempt_attr(struct nic *nic, const char *attr, const char *text)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), DEVICES "/%s/%s", nic->bdf, attr);
	attempt_file(nic, attr, path, text);
}

/* Only some have them, and vfio-pci has to be told to allow it. */
static void attempt_vfs(struct nic *nic)
{
	char path[PATH_MAX];
	int ret;

	snprintf_assert(path, sizeof(path), DEVICES "/%s/sriov_numvfs", nic->bdf);
	ret = text_write(path, "1");
	if (ret == -ENOENT)
		say(nic, "sriov_numvfs", ret);
	else
		must_refuse(nic, "sriov_numvfs", ret);
	still_ours(nic, "sriov_numvfs");
}

/* Writes to config space; what is there has to stay as it is. */
static void attempt_config(struct nic *nic, const char *name, u32 at,
			   const void *data, size_t len)
{
	u8 before[4], after[4];
	char path[PATH_MAX];
	int fd;

	snprintf_assert(path, sizeof(path), DEVICES "/%s/config", nic->bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, before, len, at) != len)
		control_fail(-errno, "read config space");
	must_refuse(nic, name, attr_write(path, data, len, at));
	if (pread(fd, after, len, at) != len)
		control_fail(-errno, "read config space");
	close(fd);
	if (memcmp(before, after, len))
		control_fail(0, "NIC %u: %s changed config space", nic->id, name);
	still_ours(nic, name);
}

static void attempt_config_all(struct nic *nic)
{
	__le32 all = cpu_to_le32(~0U);
	u8 config[256] = {}, at;
	char path[PATH_MAX];
	__le16 word = 0;
	int fd;

	snprintf_assert(path, sizeof(path), DEVICES "/%s/config", nic->bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, config, sizeof(config), 0) != sizeof(config))
		control_fail(-errno, "read config space");
	close(fd);

	attempt_config(nic, "command", PCI_COMMAND, &word, sizeof(word));
	attempt_config(nic, "bar0", PCI_BASE_ADDRESS_0, &all, sizeof(all));

	for (at = config[PCI_CAPABILITY_LIST]; at; at = config[at + 1]) {
		switch (config[at]) {
		case PCI_CAP_ID_PM:
			word = cpu_to_le16(3);
			attempt_config(nic, "d3hot", at + PCI_PM_CTRL, &word,
				       sizeof(word));
			break;
		case PCI_CAP_ID_EXP:
			word = cpu_to_le16(PCI_EXP_DEVCTL_BCR_FLR);
			attempt_config(nic, "flr", at + PCI_EXP_DEVCTL, &word,
				       sizeof(word));
			break;
		case PCI_CAP_ID_MSIX:
			word = 0;
			attempt_config(nic, "msix", at + PCI_MSIX_FLAGS, &word,
				       sizeof(word));
			break;
		}
	}
}

/* It does not want the device if it is for others. */
static void attempt_bind(struct nic *nic, const char *driver)
{
	bool wants = !strcmp(driver, nic->ops->name);
	char path[PATH_MAX], name[64];
	int ret;

	snprintf_assert(name, sizeof(name), "bind:%.40s", driver);
	snprintf_assert(path, sizeof(path), DRIVERS "/%s/bind", driver);
	ret = text_write(path, nic->bdf);
	if (!wants && (ret == -ENODEV || (ret == -ENOENT && access(path, F_OK))))
		say(nic, name, ret);
	else
		must_refuse(nic, name, ret);
	still_ours(nic, name);
}

/* Each driver that is there, by its name and by telling it of the device. */
static void attempt_driver(struct nic *nic, const char *driver)
{
	char path[PATH_MAX], name[64], ids[32];
	int ret;

	attempt_bind(nic, driver);

	/* This only adds to a list, and then tries all devices. */
	snprintf_assert(name, sizeof(name), "new_id:%.40s", driver);
	snprintf_assert(path, sizeof(path), DRIVERS "/%s/new_id", driver);
	snprintf_assert(ids, sizeof(ids), "%04x %04x", nic->ops->vendor,
			nic->ops->device);
	ret = text_write(path, ids);
	say(nic, name, ret);
	still_ours(nic, name);
	if (!ret) {
		snprintf_assert(path, sizeof(path), DRIVERS "/%s/remove_id", driver);
		text_write(path, ids);
	}

	/* As does this, with one device. */
	snprintf_assert(name, sizeof(name), "override:%.40s", driver);
	snprintf_assert(path, sizeof(path), DEVICES "/%s/driver_override", nic->bdf);
	ret = text_write(path, driver);
	say(nic, name, ret);
	if (!ret) {
		snprintf_assert(name, sizeof(name), "override+probe:%.40s", driver);
		ret = text_write("/sys/bus/pci/drivers_probe", nic->bdf);
		say(nic, name, ret);
		snprintf_assert(name, sizeof(name), "override+bind:%.40s", driver);
		snprintf_assert(path, sizeof(path), DRIVERS "/%s/bind", driver);
		attempt_if_there(nic, name, path, nic->bdf);
		snprintf_assert(path, sizeof(path), DEVICES "/%s/driver_override",
				nic->bdf);
		must(text_write(path, "vfio-pci"), "set driver override back");
	}
	still_ours(nic, name);
}

static void attempt_drivers(struct nic *nic)
{
	struct dirent *entry;
	DIR *dir = opendir(DRIVERS);

	if (!dir)
		control_fail(-errno, DRIVERS);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "vfio-pci"))
			attempt_driver(nic, entry->d_name);
	}
	closedir(dir);
}

/* The bridges above, if there are any. */
static void attempt_parents(struct nic *nic)
{
	char path[PATH_MAX], real[PATH_MAX], name[64], *bdf;

	snprintf_assert(path, sizeof(path), DEVICES "/%s", nic->bdf);
	if (!realpath(path, real))
		control_fail(-errno, path);

	for (;;) {
		*strrchr(real, '/') = 0;
		bdf = strrchr(real, '/') + 1;
		if (!strchr(bdf, '.'))
			return;
		snprintf_assert(name, sizeof(name), "remove:%.20s", bdf);
		snprintf_assert(path, sizeof(path), DEVICES "/%s/remove", bdf);
		attempt_file(nic, name, path, "1");

		snprintf_assert(name, sizeof(name), "reset_subordinate:%.20s", bdf);
		snprintf_assert(path, sizeof(path), DEVICES "/%s/reset_subordinate",
				bdf);
		attempt_file(nic, name, path, "1");

		snprintf_assert(name, sizeof(name), "reset:%.20s", bdf);
		snprintf_assert(path, sizeof(path), DEVICES "/%s/reset", bdf);
		attempt_if_there(nic, name, path, "1");
	}
}

/* Switch the slot off, if it is in one. */
static void attempt_slot(struct nic *nic)
{
	char path[PATH_MAX], address[32];
	struct dirent *entry;
	DIR *dir = opendir(SLOTS);
	FILE *f;

	while (dir && (entry = readdir(dir))) {
		snprintf_assert(path, sizeof(path), SLOTS "/%.64s/address", entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%31s", address) == 1 &&
		    !strncmp(address, nic->bdf, strlen(address))) {
			snprintf_assert(path, sizeof(path), SLOTS "/%.64s/power",
					entry->d_name);
			attempt_if_there(nic, "slot_power", path, "0");
		}
		fclose(f);
	}
	if (dir)
		closedir(dir);
}

/* Drivers cannot refuse to go: then nobody has the device, and it runs on. */
static void attempt_unbind(struct nic *nic)
{
	int ret = text_write(DRIVERS "/vfio-pci/unbind", nic->bdf);
	char *driver = driver_of(nic);

	say(nic, "unbind", ret);
	still_ours(nic, "unbind");
	if (!strcmp(driver, "none")) {
		control_info("unbound=%u", nic->id);
		attempt_drivers(nic);
		say(nic, "probe", text_write("/sys/bus/pci/drivers_probe", nic->bdf));
		free(driver);
		driver = driver_of(nic);
		if (!strcmp(driver, "none"))
			must(text_write(DRIVERS "/vfio-pci/bind", nic->bdf),
			     "bind vfio-pci again");
	}
	free(driver);
}

static void attempt_all(struct nic *nic)
{
	char path[PATH_MAX];

	control_step("take NIC %u away", nic->id);
	still_ours(nic, "the jump");

	attempt_attr(nic, "remove", "1");
	attempt_attr(nic, "reset", "1");
	attempt_attr(nic, "enable", "0");
	attempt_vfs(nic);
	attempt_config_all(nic);
	attempt_parents(nic);
	attempt_slot(nic);
	attempt_drivers(nic);
	attempt_unbind(nic);

	snprintf_assert(path, sizeof(path), DEVICES "/%s/rescan", nic->bdf);
	say(nic, "rescan_device", text_write(path, "1"));
	still_ours(nic, "rescan_device");
	say(nic, "rescan", text_write("/sys/bus/pci/rescan", "1"));
	still_ours(nic, "rescan");
}

/* Whole machines sleep, too. */
static void attempt_sleep(struct nic *nic)
{
	static const char * const states[] = { "freeze", "mem", "disk" };
	char name[32], known[128];
	size_t i;
	int ret;

	/* Not every kernel has them all */
	if (file_read("/sys/power/state", known, sizeof(known)))
		return;
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		if (!strstr(known, states[i]))
			continue;
		ret = text_write("/sys/power/state", states[i]);
		snprintf_assert(name, sizeof(name), "sleep:%s", states[i]);
		must_refuse(nic, name, ret);
		still_ours(nic, name);
	}
}

/* Try to take away every device that has not been retrieved yet. */
void attempt_everything(struct vmm_session *session)
{
	struct nic *nic = NULL;

	while (session_nic_next(session, &nic))
		attempt_all(nic);
	attempt_sleep(session->first);
	control_mark("refused");
}
