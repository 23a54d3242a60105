// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of PCI devices: take in those that came running
 *
 * The story is told in liveupdate.c.
 */

#define pr_fmt(fmt) "PCI: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/pci.h>
#include <linux/kho_block.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/pm_runtime.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <kunit/visibility.h>

#include "pci.h"

/* The one driver an incoming device may get */
#define PCI_LU_DRIVER	"vfio-pci"

/**
 * struct pci_lu_incoming - A device or bridge the previous kernel recorded
 * @list:  Entry in pci_lu_in.entries.
 * @found: The device showed up. If it shows up once more it was unplugged in
 *         between and is a device like any other.
 * @ser:   The record, validated.
 */
struct pci_lu_incoming {
	struct list_head list;
	bool found;
	struct pci_liveupdate_dev_ser ser;
};

/* Written by retrieve before PCI is scanned and by finish */
static struct {
	struct mutex lock; /* protects all here */
	struct list_head entries;
	struct kho_block_set blocks;
	struct pci_liveupdate_ser *ser;
} pci_lu_in = {
	.lock = __MUTEX_INITIALIZER(pci_lu_in.lock),
	.entries = LIST_HEAD_INIT(pci_lu_in.entries),
};

static struct pci_lu_incoming *pci_lu_in_find(u32 segment, u16 rid)
{
	struct pci_lu_incoming *entry;

	lockdep_assert_held(&pci_lu_in.lock);
	list_for_each_entry(entry, &pci_lu_in.entries, list)
		if (entry->ser.segment == segment && entry->ser.rid == rid)
			return entry;
	return NULL;
}

static struct pci_lu_incoming *pci_lu_in_find_dev(struct pci_dev *dev)
{
	return pci_lu_in_find(pci_domain_nr(dev->bus), pci_dev_id(dev));
}

static bool pci_lu_page_pa_valid(u64 pa)
{
	return pa && PAGE_ALIGNED(pa) && pa >> 52 == 0;
}

/* Only what the first @len bytes say; where they lead is not looked at */
VISIBLE_IF_KUNIT bool pci_lu_ser_valid(const struct pci_liveupdate_ser *ser,
				       size_t len)
{
	return len >= sizeof(*ser) &&
	       ser->version == PCI_LIVEUPDATE_ABI_VERSION && !ser->reserved &&
	       ser->nr_devices && pci_lu_page_pa_valid(ser->devices);
}

/* Sizes are powers of two: ones from some bit on, or nothing */
static bool pci_lu_mask_valid(u32 mask)
{
	return !(~mask & (~mask + 1));
}

VISIBLE_IF_KUNIT bool
pci_lu_dev_ser_valid(const struct pci_liveupdate_dev_ser *ser)
{
	bool bridge = ser->flags & PCI_LIVEUPDATE_DEV_BRIDGE;
	int i;

	if (ser->flags & ~PCI_LIVEUPDATE_DEV_FLAGS ||
	    memchr_inv(ser->reserved, 0, sizeof(ser->reserved)))
		return false;

	if (!ser->vendor || ser->vendor == U16_MAX)
		return false;

	for (i = 0; i < PCI_LIVEUPDATE_NUM_BARS; i++) {
		if (!pci_lu_mask_valid(ser->bar_mask[i]) ||
		    !pci_lu_mask_valid(ser->vf_bar_mask[i]))
			return false;
		if (bridge && (ser->vf_bar_mask[i] ||
			       (i >= 2 && (ser->bar_mask[i] || ser->bar[i]))))
			return false;
	}
	if (!pci_lu_mask_valid(ser->rom_mask))
		return false;

	if (!bridge)
		return !ser->secondary && !ser->subordinate;
	return ser->secondary > PCI_BUS_NUM(ser->rid) &&
	       ser->subordinate >= ser->secondary;
}

static void pci_lu_in_free(struct list_head *entries)
{
	struct pci_lu_incoming *entry, *next;

	list_for_each_entry_safe(entry, next, entries, list) {
		list_del(&entry->list);
		kfree(entry);
	}
}

int pci_liveupdate_flb_retrieve(struct liveupdate_flb_op_args *args)
{
	struct pci_liveupdate_dev_ser *dev_ser;
	struct pci_liveupdate_ser *ser;
	struct pci_lu_incoming *entry;
	struct kho_block_set_it it;
	u64 nr = 0;
	int ret;

	if (!pci_lu_page_pa_valid(args->data) ||
	    !pfn_valid(PHYS_PFN(args->data)))
		return -EINVAL;
	ser = phys_to_virt(args->data);
	if (!pci_lu_ser_valid(ser, PAGE_SIZE)) {
		pr_err("record has version %#x, this kernel reads %#x\n",
		       ser->version, PCI_LIVEUPDATE_ABI_VERSION);
		return -EINVAL;
	}
	/* The block set library follows the address it is given */
	if (!pfn_valid(PHYS_PFN(ser->devices)))
		return -EINVAL;

	guard(mutex)(&pci_lu_in.lock);
	kho_block_set_init(&pci_lu_in.blocks, sizeof(*dev_ser));
	ret = kho_block_set_restore(&pci_lu_in.blocks, ser->devices);
	if (ret)
		return ret;

	kho_block_set_it_init(&it, &pci_lu_in.blocks);
	while ((dev_ser = kho_block_set_it_read_entry(&it))) {
		ret = -EINVAL;
		if (++nr > ser->nr_devices || !pci_lu_dev_ser_valid(dev_ser) ||
		    pci_lu_in_find(dev_ser->segment, dev_ser->rid))
			goto err_free;
		ret = -ENOMEM;
		entry = kzalloc_obj(*entry);
		if (!entry)
			goto err_free;
		entry->ser = *dev_ser;
		list_add_tail(&entry->list, &pci_lu_in.entries);
	}
	ret = -EINVAL;
	if (nr != ser->nr_devices)
		goto err_free;

	pr_info("%llu devices and bridges came running\n", nr);
	pci_lu_in.ser = ser;
	args->obj = ser;
	return 0;

err_free:
	pci_lu_in_free(&pci_lu_in.entries);
	kho_block_set_destroy(&pci_lu_in.blocks);
	return ret;
}

void pci_liveupdate_flb_finish(struct liveupdate_flb_op_args *args)
{
	struct pci_lu_incoming *entry;
	LIST_HEAD(entries);

	scoped_guard(mutex, &pci_lu_in.lock) {
		list_splice_init(&pci_lu_in.entries, &entries);
		kho_block_set_destroy(&pci_lu_in.blocks);
		kho_restore_free(pci_lu_in.ser);
		pci_lu_in.ser = NULL;
	}

	/* What no driver has taken care of, such as what was blocked */
	list_for_each_entry(entry, &entries, list) {
		struct pci_dev *dev __free(pci_dev_put) =
			pci_get_domain_bus_and_slot(entry->ser.segment,
						    PCI_BUS_NUM(entry->ser.rid),
						    entry->ser.rid & 0xff);

		if (!dev || !pci_liveupdate_incoming(dev))
			continue;
		pci_info(dev, "nobody took it back, bus mastering is off\n");
		clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
		pci_clear_master(dev);
		pci_liveupdate_done(dev);
	}
	pci_lu_in_free(&entries);
}

/*
 * Keep a device whose user cannot get it back from doing harm. It stays
 * incoming, so that nobody else gets it before its memory is released.
 */
static void pci_lu_block(struct pci_dev *dev, const char *why)
{
	pr_err("%04x:%02x:%02x.%d: %s, blocked\n", pci_domain_nr(dev->bus),
	       dev->bus->number, PCI_SLOT(dev->devfn), PCI_FUNC(dev->devfn),
	       why);
	set_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags);
	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	pci_clear_master(dev);
}

/* Is it the device of the record, and has it run all the time? */
static const char *pci_lu_mismatch(struct pci_dev *dev,
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

/**
 * pci_liveupdate_setup_device - Look a new device up in the record
 * @dev: Device of which only bus, devfn, vendor and device are set
 *
 * Before the first config write to @dev.
 */
void pci_liveupdate_setup_device(struct pci_dev *dev)
{
	struct pci_lu_incoming *entry;
	const char *why;

	if (dev->is_virtfn)
		return;

	guard(mutex)(&pci_lu_in.lock);
	entry = pci_lu_in_find_dev(dev);
	if (!entry || entry->found)
		return;
	entry->found = true;

	why = pci_lu_mismatch(dev, &entry->ser);
	if (entry->ser.flags & PCI_LIVEUPDATE_DEV_BRIDGE) {
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
		pci_lu_block(dev, why);
	else
		set_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
}

/**
 * pci_liveupdate_intx_mask_broken - What writing INTx Disable would have told
 * @dev: Quiet device
 *
 * Return: whether INTx Disable is not writable.
 */
bool pci_liveupdate_intx_mask_broken(struct pci_dev *dev)
{
	struct pci_lu_incoming *entry;

	guard(mutex)(&pci_lu_in.lock);
	entry = pci_lu_in_find_dev(dev);
	return entry && entry->ser.flags & PCI_LIVEUPDATE_DEV_NO_INTX_MASK;
}

/**
 * pci_liveupdate_size_bars - What writing all ones to BARs would have told
 * @dev: Quiet device
 * @count: Number of registers
 * @pos: Config space offset of the first one
 * @sizes: Filled with a mask for each
 */
void pci_liveupdate_size_bars(struct pci_dev *dev, int count, unsigned int pos,
			      u32 *sizes)
{
	struct pci_lu_incoming *entry;
	const u32 *mask;
	int nr;

	memset(sizes, 0, count * sizeof(*sizes));

	guard(mutex)(&pci_lu_in.lock);
	entry = pci_lu_in_find_dev(dev);
	if (!entry)
		return;

	if (pos == PCI_ROM_ADDRESS || pos == PCI_ROM_ADDRESS1) {
		mask = &entry->ser.rom_mask;
		nr = 1;
	} else if (pos == PCI_BASE_ADDRESS_0) {
		mask = entry->ser.bar_mask;
		nr = PCI_LIVEUPDATE_NUM_BARS;
	} else {
		mask = entry->ser.vf_bar_mask;
		nr = PCI_LIVEUPDATE_NUM_BARS;
	}
	memcpy(sizes, mask, min(count, nr) * sizeof(*sizes));
}

static void pci_lu_fix_resources(struct pci_dev *dev, unsigned long flag)
{
	struct resource *res;
	int i;

	pci_dev_for_each_resource(dev, res, i) {
		/* Enhanced Allocation is fixed anyway */
		if (!res->flags || res->flags & IORESOURCE_PCI_EA_BEI ||
		    i == PCI_ROM_RESOURCE)
			continue;
		res->flags = (res->flags & ~IORESOURCE_PCI_FIXED) | flag;
	}
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
	if (device_set_driver_override(&dev->dev, PCI_LU_DRIVER))
		pci_warn(dev, "cannot set driver_override\n");
	if (!test_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags))
		pci_lu_fix_resources(dev, IORESOURCE_PCI_FIXED);
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
	if (!pci_liveupdate_incoming(dev))
		clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
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

	if (!pci_liveupdate_incoming(dev))
		return 0;

	if (strcmp(drv->name, PCI_LU_DRIVER)) {
		pci_err(dev, "runs for its user of the previous kernel, not for %s\n",
			drv->name);
		return -EBUSY;
	}

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		res = &dev->resource[i];
		if (!test_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags) &&
		    res->flags && !res->parent)
			pci_lu_block(dev, "BARs cannot be claimed where they are");
	}
	if (test_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags))
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

	pci_lu_fix_resources(dev, 0);
	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	clear_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags);
	if (test_and_clear_bit(PCI_DEV_LIVEUPDATE_INCOMING, &dev->priv_flags))
		pm_runtime_put(&dev->dev);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_done);
