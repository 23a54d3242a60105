// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fatal error below a port is no reason to reset a device that runs through a
 * live update: it goes on, and the log says that it was not reset.
 *
 * Errors are injected with CONFIG_PCIEAER_INJECT, into the first of the devices
 * given that is an Intel NIC behind a root port, and into that port. As the error
 * is not a real one, the device has no reason to stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/pci_ids.h>
#include <linux/pci_regs.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/aer.h"
#include "liveupdate/refuse.h"
#include "liveupdate/sysfs.h"

#define TIMEOUT		120

static char port_bdf[16];
static const char *device_bdf;

/* One that is fatal by default */
static int inject_fatal(const char *bdf)
{
	return aer_inject(bdf, PCI_ERR_UNC_MALF_TLP, 0);
}

/* Recovery is for a thread of the kernel. */
static bool logged_soon(struct refuse *refuse, const char *what)
{
	int ms;

	for (ms = 0; ms < 25000; ms += 10) {
		if (refuse_logged(refuse, what))
			return true;
		usleep(10000);
	}
	return false;
}

static u32 bar_read(void)
{
	u32 bar = 0;

	VFIO_ASSERT_EQ(config_access(device_bdf, PCI_BASE_ADDRESS_0, &bar, sizeof(bar),
				     false), 0);
	return bar;
}

FIXTURE(error) {
	struct refuse refuse;
	u32 bar;
};

FIXTURE_VARIANT(error) {
	bool at_port;
};

FIXTURE_VARIANT_ADD(error, at_device) {};

FIXTURE_VARIANT_ADD(error, at_port) {
	.at_port = true,
};

FIXTURE_SETUP(error)
{
	int ret;

	if (!device_bdf || access(AER_INJECT, F_OK))
		SKIP(return, "no NIC behind a root port, or no " AER_INJECT);

	ret = refuse_init(&self->refuse, device_bdf, _metadata->name);
	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
	self->bar = bar_read();
	ASSERT_NE(0, self->bar);
	ASSERT_EQ(0, refuse_dma(&self->refuse));
}

FIXTURE_TEARDOWN(error)
{
	refuse_cleanup(&self->refuse);
}

TEST_F_TIMEOUT(error, does_not_reset_what_is_preserved, TIMEOUT)
{
	struct refuse *refuse = &self->refuse;

	ASSERT_EQ(0, vm_preserve_all(&refuse->vm));
	ASSERT_EQ(0, inject_fatal(variant->at_port ? port_bdf : device_bdf));
	EXPECT_TRUE(logged_soon(refuse, "device recovery failed"));
	EXPECT_EQ(self->bar, bar_read());
	EXPECT_EQ(0, refuse_dma(refuse));

	/* Nor was anything else done to it */
	EXPECT_LE(0, refuse_new_session(refuse));
	EXPECT_EQ(0, vm_preserve_all(&refuse->vm));
	EXPECT_EQ(0, refuse_dma(refuse));
}

/* It would have been reset. */
TEST_F_TIMEOUT(error, resets_what_is_not, TIMEOUT)
{
	struct refuse *refuse = &self->refuse;
	u32 bars[PCI_STD_NUM_BARS];
	u16 command;

	ASSERT_EQ(0, config_access(device_bdf, PCI_BASE_ADDRESS_0, bars, sizeof(bars),
				   false));
	ASSERT_EQ(0, config_access(device_bdf, PCI_COMMAND, &command, sizeof(command),
				   false));
	ASSERT_EQ(0, inject_fatal(variant->at_port ? port_bdf : device_bdf));
	EXPECT_TRUE(logged_soon(refuse, "Port link has been reset"));
	EXPECT_EQ(0, bar_read());

	/* Its driver wants to stop it, and closing it does the rest */
	EXPECT_EQ(0, config_access(device_bdf, PCI_BASE_ADDRESS_0, bars, sizeof(bars),
				   true));
	EXPECT_EQ(0, config_access(device_bdf, PCI_COMMAND, &command, sizeof(command),
				   true));
}

/* The port above a device, if it is on a bus of its own. */
static bool find_port(const char *bdf)
{
	char path[PATH_MAX], vendor[16];
	char *end, *start;

	if (file_read(device_path(bdf, "vendor"), vendor, sizeof(vendor)) ||
	    strtoul(vendor, NULL, 16) != PCI_VENDOR_ID_INTEL ||
	    !realpath(device_path(bdf, ""), path))
		return false;
	end = strrchr(path, '/');
	*end = 0;
	start = strrchr(path, '/') + 1;
	if (strlen(start) != strlen("0000:00:00.0"))
		return false;
	snprintf_assert(port_bdf, sizeof(port_bdf), "%s", start);
	return true;
}

int main(int argc, char *argv[])
{
	char **bdfs;
	int nr, i;

	bdfs = vfio_selftests_get_bdfs(&argc, argv, &nr);
	for (i = 0; i < nr && !device_bdf; i++)
		if (find_port(bdfs[i]))
			device_bdf = bdfs[i];
	return test_harness_run(argc, argv);
}
