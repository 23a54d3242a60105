// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of PCI devices: one that came running, from its enumeration until
 * its live update is over
 *
 * The story is told in liveupdate.c.
 */

#define pr_fmt(fmt) "PCI: liveupdate: " fmt

#include <linux/iommu-liveupdate.h>
#include <linux/kho/abi/pci.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/pm_runtime.h>
#include <linux/string.h>

#include "liveupdate.h"
#include "pci.h"

/* The one driver an incoming device may get */
#define PCI_LIVEUPDATE_DRIVER	"vfio-pci"

/*
 * Keep a device whose user cannot get it back from doing harm. It stays
 * incoming, so that nobody else gets it before its memory is released.
 */
static void block_dev(struct pci_dev *dev, const char *why)
{
	pr_err("%04x:%02x:%02x.%d: %s, blocked\n", pci_domain_nr(dev->bus),
	       dev->bus->number, PCI_SLOT(dev->devfn), PCI_FUNC(dev->devfn),
	       why);
	set_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags);
	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	pci_clear_master(dev);
}

/**
 * pci_liveupdate_block - Stop a device that its driver has not brought to rest
 * @dev: Any device
 *
 * For who is about to let go of the page table of @dev. Does nothing unless @dev
 * came running and nobody has seen to it. It goes on being incoming, without bus
 * mastering, until the record is done with.
 *
 * Context: Process context, may sleep. Cannot fail.
 */
void pci_liveupdate_block(struct pci_dev *dev)
{
	if (pci_liveupdate_incoming(dev) &&
	    !test_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags))
		block_dev(dev, "its user cannot get it back");
}

/**
 * pci_liveupdate_give_up - The user of a device cannot get it back, whatever it does
 * @dev: Any device
 * @why: Reason, for the log
 *
 * Stops @dev and takes it off its page table, so that other devices which use
 * that do not have to wait for this one. Does nothing unless @dev came running.
 *
 * Context: Process context, may sleep; takes the group mutex of the IOMMU core.
 * Cannot fail.
 */
void pci_liveupdate_give_up(struct pci_dev *dev, const char *why)
{
	if (!pci_liveupdate_incoming(dev) || pci_liveupdate_blocked(dev))
		return;
	block_dev(dev, why);
	iommu_liveupdate_give_up(&dev->dev);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_give_up);

/* Is it the device of the record, and has it run all the time? */
static const char *find_mismatch(struct pci_dev *dev,
				 const struct pci_liveupdate_dev_ser *ser)
{
	bool bridge = ser->flags & PCI_LIVEUPDATE_DEV_BRIDGE;
	int nr = bridge ? 2 : PCI_LIVEUPDATE_NUM_BARS;
	u8 hdr_type, secondary, subordinate;
	u32 class_rev, bar;
	int i;

	pci_read_config_dword(dev, PCI_CLASS_REVISION, &class_rev);
	pci_read_config_byte(dev, PCI_HEADER_TYPE, &hdr_type);
	if (dev->vendor != ser->vendor || dev->device != ser->device ||
	    class_rev != ser->class_rev ||
	    (hdr_type & PCI_HEADER_TYPE_MASK) !=
		    (bridge ? PCI_HEADER_TYPE_BRIDGE : PCI_HEADER_TYPE_NORMAL))
		return "not the device the previous kernel preserved";

	/* A reset would have cleared them */
	for (i = 0; i < nr; i++) {
		pci_read_config_dword(dev, PCI_BASE_ADDRESS_0 + i * 4, &bar);
		if (bar != ser->bar[i])
			return "BARs are not where the previous kernel left them";
	}

	/* The same for a bridge, which rarely has a BAR */
	if (bridge) {
		pci_read_config_byte(dev, PCI_SECONDARY_BUS, &secondary);
		pci_read_config_byte(dev, PCI_SUBORDINATE_BUS, &subordinate);
		if (secondary != ser->secondary ||
		    subordinate != ser->subordinate)
			return "bus numbers are not what the previous kernel left";
	}
	return NULL;
}

/*
 * The previous kernel took bus mastering away from all that was not to run. One
 * that has it runs, and its user cannot get it back: the record is lost. Bridges
 * do no DMA of their own, and some devices have the bit hardwired.
 */
static void block_unrecorded(struct pci_dev *dev)
{
	u8 hdr_type, class;
	u16 cmd;

	pci_read_config_byte(dev, PCI_HEADER_TYPE, &hdr_type);
	pci_read_config_byte(dev, PCI_CLASS_DEVICE + 1, &class);
	pci_read_config_word(dev, PCI_COMMAND, &cmd);
	if ((hdr_type & PCI_HEADER_TYPE_MASK) != PCI_HEADER_TYPE_NORMAL ||
	    class == PCI_BASE_CLASS_BRIDGE || !(cmd & PCI_COMMAND_MASTER))
		return;

	pci_clear_master(dev);
	pci_read_config_word(dev, PCI_COMMAND, &cmd);
	if (cmd & PCI_COMMAND_MASTER)
		return;

	set_bit(PCI_DEV_LIVEUPDATE_INCOMING, &dev->priv_flags);
	block_dev(dev, "runs and nothing is known of it");
}

/**
 * pci_liveupdate_setup_device - Look a new device up in the record
 * @dev: Device of which only bus, devfn, vendor and device are set
 *
 * Before the first config write to @dev.
 */
void pci_liveupdate_setup_device(struct pci_dev *dev)
{
	struct pci_liveupdate_dev_ser ser;
	const char *why;

	if (dev->is_virtfn)
		return;

	switch (pci_liveupdate_record_take(dev, &ser)) {
	case 1:
		break;
	case -ENODATA:
		if (system_state < SYSTEM_RUNNING)
			block_unrecorded(dev);
		return;
	case -ESTALE:
		pr_info("%04x:%02x:%02x.%d: found after its live update, bus mastering is off\n",
			pci_domain_nr(dev->bus), dev->bus->number,
			PCI_SLOT(dev->devfn), PCI_FUNC(dev->devfn));
		pci_clear_master(dev);
		return;
	default:
		return;
	}

	why = find_mismatch(dev, &ser);
	if (ser.flags & PCI_LIVEUPDATE_DEV_BRIDGE) {
		if (why)
			pr_err("bridge %04x:%02x:%02x.%d: %s\n",
			       pci_domain_nr(dev->bus), dev->bus->number,
			       PCI_SLOT(dev->devfn), PCI_FUNC(dev->devfn), why);
		else
			set_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
		return;
	}

	set_bit(PCI_DEV_LIVEUPDATE_INCOMING, &dev->priv_flags);
	if (why)
		block_dev(dev, why);
	else
		set_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
}

static void fix_resources(struct pci_dev *dev)
{
	struct resource *res;
	int i;

	static_assert(BITS_PER_TYPE(dev->liveupdate_fixed) >= PCI_NUM_RESOURCES);
	pci_dev_for_each_resource(dev, res, i) {
		/* Enhanced Allocation is fixed anyway */
		if (!res->flags || i == PCI_ROM_RESOURCE ||
		    res->flags & (IORESOURCE_PCI_EA_BEI | IORESOURCE_PCI_FIXED))
			continue;
		res->flags |= IORESOURCE_PCI_FIXED;
		dev->liveupdate_fixed |= BIT(i);
	}
}

static void unfix_resources(struct pci_dev *dev)
{
	struct resource *res;
	int i;

	pci_dev_for_each_resource(dev, res, i)
		if (dev->liveupdate_fixed & BIT(i))
			res->flags &= ~IORESOURCE_PCI_FIXED;
	dev->liveupdate_fixed = 0;
}

/**
 * pci_liveupdate_add_device - Before anybody else can get at the device
 * @dev: Device whose struct device is initialized and not yet added
 */
void pci_liveupdate_add_device(struct pci_dev *dev)
{
	if (!pci_liveupdate_incoming(dev))
		return;

	pm_runtime_get_noresume(&dev->dev);
	/* If that fails pci_liveupdate_probe() still refuses other drivers */
	if (device_set_driver_override(&dev->dev, PCI_LIVEUPDATE_DRIVER))
		pci_warn(dev, "cannot set driver_override\n");
	if (!test_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags))
		fix_resources(dev);
}

/**
 * pci_liveupdate_bus_add_device - Enumeration of the device is over
 * @dev: Device whose resources and those of all below are known
 *
 * A bridge is an ordinary one from here on: it may have windows to set up for
 * others. A device stays quiet until its driver comes.
 */
void pci_liveupdate_bus_add_device(struct pci_dev *dev)
{
	bool over = pci_liveupdate_record_came() && pci_liveupdate_record_over(dev);

	if (!pci_liveupdate_incoming(dev))
		clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	else if (over)
		pci_liveupdate_end_device(dev);
}

/**
 * pci_liveupdate_stop_device - A device is being removed
 * @dev: Device that has no driver any more
 *
 * Its slot is being emptied, or switched off. Stop its DMA before the IOMMU core
 * lets go of it.
 */
void pci_liveupdate_stop_device(struct pci_dev *dev)
{
	if (!pci_liveupdate_record_came())
		return;

	pci_liveupdate_record_gone(dev);
	if (!pci_liveupdate_incoming(dev))
		return;

	pci_err(dev, "removed while it runs for its user of the previous kernel, bus mastering is off\n");
	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	pci_clear_master(dev);
}

/**
 * pci_liveupdate_refuse - Is this not the driver the device may have?
 * @dev: Device about to be probed, locked
 * @drv: Driver
 *
 * Who probes must not claim the DMA of @dev: the IOMMU core would refuse, and
 * the driver core take that for a reason not to try any other driver.
 *
 * Return: true if pci_liveupdate_probe() fails; pci_liveupdate_refused() after it.
 */
bool pci_liveupdate_refuse(struct pci_dev *dev, const struct pci_driver *drv)
{
	if (!pci_liveupdate_incoming(dev) ||
	    !strcmp(drv->name, PCI_LIVEUPDATE_DRIVER))
		return false;
	set_bit(PCI_DEV_LIVEUPDATE_REFUSED, &dev->priv_flags);
	return true;
}

/* After the probe of a driver, which is when to forget that it was refused */
bool pci_liveupdate_refused(struct pci_dev *dev)
{
	return test_and_clear_bit(PCI_DEV_LIVEUPDATE_REFUSED, &dev->priv_flags);
}

/**
 * pci_liveupdate_probe - May this driver have the device?
 * @dev: Device about to be probed
 * @drv: Driver
 *
 * Return: 0, or -EBUSY.
 */
int pci_liveupdate_probe(struct pci_dev *dev, const struct pci_driver *drv)
{
	struct resource *res;
	int i;

	/* Also if the live update has ended since */
	if (test_bit(PCI_DEV_LIVEUPDATE_REFUSED, &dev->priv_flags)) {
		pci_err(dev, "runs for its user of the previous kernel, not for %s\n",
			drv->name);
		return -EBUSY;
	}

	if (!pci_liveupdate_incoming(dev))
		return 0;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		res = &dev->resource[i];
		if (res->flags && !res->parent)
			pci_liveupdate_give_up(dev, "BARs cannot be claimed where they are");
	}
	if (pci_liveupdate_blocked(dev))
		return -EBUSY;

	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	return 0;
}

/**
 * pci_liveupdate_incoming - Does a device run for a user of the last kernel?
 * @dev: Device
 *
 * Context: Any.
 * Return: true from its enumeration to pci_liveupdate_done().
 */
bool pci_liveupdate_incoming(struct pci_dev *dev)
{
	return test_bit(PCI_DEV_LIVEUPDATE_INCOMING, &dev->priv_flags);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_incoming);

/**
 * pci_liveupdate_blocked - Can the user of a device not get it back any more?
 * @dev: Device
 *
 * Context: Any.
 * Return: true if @dev came running and was blocked, until pci_liveupdate_done().
 */
bool pci_liveupdate_blocked(struct pci_dev *dev)
{
	return test_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_blocked);

/**
 * pci_liveupdate_done - The live update of a device is over
 * @dev: Incoming device that its driver has back, or has brought to rest. Any
 *       other device is left alone.
 *
 * From here on @dev is a device like any other: it may suspend, be reset and
 * removed, have its resources moved, and take any driver (its driver_override
 * stays as it is).
 *
 * Context: Process context, may sleep. Cannot fail.
 */
void pci_liveupdate_done(struct pci_dev *dev)
{
	if (!pci_liveupdate_incoming(dev))
		return;

	unfix_resources(dev);
	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	clear_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags);
	if (test_and_clear_bit(PCI_DEV_LIVEUPDATE_INCOMING, &dev->priv_flags))
		pm_runtime_put(&dev->dev);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_done);

/* What no driver has taken care of, such as what was blocked */
void pci_liveupdate_end_device(struct pci_dev *dev)
{
	pci_info(dev, "nobody took it back, bus mastering is off\n");
	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	pci_clear_master(dev);
	pci_liveupdate_done(dev);
}
