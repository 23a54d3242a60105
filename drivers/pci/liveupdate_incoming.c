// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of PCI devices: take in those that came running
 *
 * The story is told in liveupdate.c.
 */

#define pr_fmt(fmt) "PCI: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kexec_handover.h>
#include <linux/kernel.h>
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

#include "liveupdate.h"
#include "pci.h"

/* The one driver an incoming device may get */
#define PCI_LIVEUPDATE_DRIVER	"vfio-pci"

/**
 * struct incoming_dev - A device or bridge the previous kernel recorded
 * @list:  Entry in incoming.entries.
 * @found: The device showed up. If it shows up once more it was unplugged in
 *         between and is a device like any other.
 * @gone:  The device was removed.
 * @over:  FINISH came before the device could be seen. It is stopped as soon as it
 *         is.
 * @ser:   The record, validated.
 */
struct incoming_dev {
	struct list_head list;
	bool found;
	bool gone;
	bool over;
	struct pci_liveupdate_dev_ser ser;
};

/* Written by retrieve before PCI is scanned and by finish */
static struct {
	struct mutex lock; /* protects all here */
	bool lost; /* there is a record and it cannot be read */
	struct list_head entries;
	struct kho_block_set blocks;
	struct pci_liveupdate_ser *ser;
} incoming = {
	.lock = __MUTEX_INITIALIZER(incoming.lock),
	.entries = LIST_HEAD_INIT(incoming.entries),
};

static struct incoming_dev *find_incoming(u32 segment, u16 rid)
{
	struct incoming_dev *entry;

	lockdep_assert_held(&incoming.lock);
	list_for_each_entry(entry, &incoming.entries, list)
		if (entry->ser.segment == segment && entry->ser.rid == rid)
			return entry;
	return NULL;
}

static struct incoming_dev *find_incoming_dev(struct pci_dev *dev)
{
	return find_incoming(pci_domain_nr(dev->bus), pci_dev_id(dev));
}

static struct pci_dev *get_dev(u32 segment, u16 rid)
{
	return pci_get_domain_bus_and_slot(segment, PCI_BUS_NUM(rid),
					   rid & 0xff);
}

static void drop_entry(struct incoming_dev *entry)
{
	list_del(&entry->list);
	kfree(entry);
}

static bool page_pa_valid(u64 pa)
{
	return pa && PAGE_ALIGNED(pa) && pa >> 52 == 0;
}

/* Only what the first @len bytes say; where they lead is not looked at */
VISIBLE_IF_KUNIT bool
pci_liveupdate_ser_valid(const struct pci_liveupdate_ser *ser, size_t len)
{
	return len >= sizeof(*ser) &&
	       ser->version == PCI_LIVEUPDATE_ABI_VERSION && !ser->reserved &&
	       ser->nr_devices && page_pa_valid(ser->devices);
}

/* Sizes are powers of two: ones from some bit on, or nothing */
static bool mask_valid(u32 mask)
{
	return !(~mask & (~mask + 1));
}

VISIBLE_IF_KUNIT bool
pci_liveupdate_dev_ser_valid(const struct pci_liveupdate_dev_ser *ser)
{
	bool bridge = ser->flags & PCI_LIVEUPDATE_DEV_BRIDGE;
	int i;

	if (ser->flags & ~PCI_LIVEUPDATE_DEV_FLAGS ||
	    memchr_inv(ser->reserved, 0, sizeof(ser->reserved)))
		return false;

	if (!ser->vendor || ser->vendor == U16_MAX)
		return false;

	for (i = 0; i < PCI_LIVEUPDATE_NUM_BARS; i++) {
		if (!mask_valid(ser->bar_mask[i]) ||
		    !mask_valid(ser->vf_bar_mask[i]))
			return false;
		if (bridge && (ser->vf_bar_mask[i] ||
			       (i >= 2 && (ser->bar_mask[i] || ser->bar[i]))))
			return false;
	}
	if (!mask_valid(ser->rom_mask))
		return false;

	if (!bridge)
		return !ser->secondary && !ser->subordinate;
	return ser->secondary > PCI_BUS_NUM(ser->rid) &&
	       ser->subordinate >= ser->secondary;
}

static void free_incoming(struct list_head *entries)
{
	struct incoming_dev *entry, *next;

	list_for_each_entry_safe(entry, next, entries, list)
		drop_entry(entry);
}

int pci_liveupdate_flb_retrieve(struct liveupdate_flb_op_args *args)
{
	struct pci_liveupdate_dev_ser *dev_ser;
	struct pci_liveupdate_ser *ser;
	struct incoming_dev *entry;
	struct kho_block_set_it it;
	u64 nr = 0;
	int ret;

	if (!kho_is_handed_over(args->data))
		return -EINVAL;
	ser = phys_to_virt(args->data);
	if (!pci_liveupdate_ser_valid(ser, PAGE_SIZE)) {
		if (ser->version != PCI_LIVEUPDATE_ABI_VERSION)
			pr_err("record has version %#x, this kernel reads %#x\n",
			       ser->version, PCI_LIVEUPDATE_ABI_VERSION);
		return -EINVAL;
	}

	guard(mutex)(&incoming.lock);
	kho_block_set_init(&incoming.blocks, sizeof(*dev_ser));
	ret = kho_block_set_restore(&incoming.blocks, ser->devices);
	if (ret)
		return ret;

	kho_block_set_it_init(&it, &incoming.blocks);
	while ((dev_ser = kho_block_set_it_read_entry(&it))) {
		ret = -EINVAL;
		if (++nr > ser->nr_devices ||
		    !pci_liveupdate_dev_ser_valid(dev_ser) ||
		    find_incoming(dev_ser->segment, dev_ser->rid))
			goto err_free;
		ret = -ENOMEM;
		entry = kzalloc_obj(*entry);
		if (!entry)
			goto err_free;
		entry->ser = *dev_ser;
		list_add_tail(&entry->list, &incoming.entries);
	}
	ret = -EINVAL;
	if (nr != ser->nr_devices)
		goto err_free;

	pr_info("%llu devices and bridges came running\n", nr);
	incoming.ser = ser;
	args->obj = ser;
	return 0;

err_free:
	free_incoming(&incoming.entries);
	kho_block_set_forget(&incoming.blocks);
	return ret;
}

/* The record cannot be read, before PCI is scanned */
void __init pci_liveupdate_record_lost(void)
{
	guard(mutex)(&incoming.lock);
	WRITE_ONCE(incoming.lost, true);
}

/* Without a lock: false if no device is incoming */
bool pci_liveupdate_record_came(void)
{
	return READ_ONCE(incoming.lost) || !list_empty(&incoming.entries);
}

/**
 * pci_liveupdate_finish - The live update of a device is over, there or not
 * @segment: PCI segment
 * @rid:     Routing ID
 *
 * One that is not there yet is stopped when it is found, as the page table and the
 * memory that it uses are about to go. It is looked for under the lock, and looks
 * at its entry under the lock once it can be found: either we see the device, or
 * the device sees that its live update is over.
 *
 * Context: Process context, may sleep.
 * Return: The device with a reference, which the caller brings to rest if it is
 * incoming; or NULL.
 */
struct pci_dev *pci_liveupdate_finish(u32 segment, u16 rid)
{
	struct incoming_dev *entry;
	struct pci_dev *dev;

	guard(mutex)(&incoming.lock);
	dev = get_dev(segment, rid);
	entry = find_incoming(segment, rid);
	if (!dev && entry)
		entry->over = true;
	return dev;
}
EXPORT_SYMBOL_GPL(pci_liveupdate_finish);

/* What no driver has taken care of, such as what was blocked */
static void end_device(struct pci_dev *dev)
{
	pci_info(dev, "nobody took it back, bus mastering is off\n");
	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	pci_clear_master(dev);
	pci_liveupdate_done(dev);
}

void pci_liveupdate_flb_finish(struct liveupdate_flb_op_args *args)
{
	struct incoming_dev *entry, *next;
	struct pci_dev *dev;
	LIST_HEAD(entries);

	/* As pci_liveupdate_finish() does; what is not there yet keeps its entry */
	scoped_guard(mutex, &incoming.lock) {
		list_for_each_entry_safe(entry, next, &incoming.entries, list) {
			dev = get_dev(entry->ser.segment, entry->ser.rid);
			if (dev || entry->gone)
				list_move_tail(&entry->list, &entries);
			else
				entry->over = true;
			pci_dev_put(dev);
		}
		kho_block_set_destroy(&incoming.blocks);
		kho_restore_free(incoming.ser);
		incoming.ser = NULL;
	}

	list_for_each_entry(entry, &entries, list) {
		dev = get_dev(entry->ser.segment, entry->ser.rid);
		if (dev && pci_liveupdate_incoming(dev))
			end_device(dev);
		pci_dev_put(dev);
	}
	free_incoming(&entries);
}

/* Whether FINISH came while a device was enumerated. Asked once. */
static bool finished_meanwhile(struct pci_dev *dev)
{
	struct incoming_dev *entry;

	guard(mutex)(&incoming.lock);
	entry = find_incoming_dev(dev);
	if (!entry || !entry->over)
		return false;
	drop_entry(entry);
	return true;
}

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

/*
 * Look a new device up in the record. Returns 1 and what it says the first time,
 * 0 if nothing; -ESTALE if FINISH was there before, -ENODATA if the record is lost.
 */
static int record_take(struct pci_dev *dev, struct pci_liveupdate_dev_ser *ser)
{
	struct incoming_dev *entry;

	guard(mutex)(&incoming.lock);
	if (incoming.lost)
		return -ENODATA;
	entry = find_incoming_dev(dev);
	if (!entry || entry->found)
		return 0;
	entry->found = true;
	*ser = entry->ser;
	if (!entry->over)
		return 1;
	drop_entry(entry);
	return ser->flags & PCI_LIVEUPDATE_DEV_BRIDGE ? 0 : -ESTALE;
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

	switch (record_take(dev, &ser)) {
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

/* A device is being removed: what comes after it is not what the record means */
static void set_gone(struct pci_dev *dev)
{
	struct incoming_dev *entry;

	guard(mutex)(&incoming.lock);
	entry = find_incoming_dev(dev);
	if (entry)
		entry->gone = true;
}

/**
 * pci_liveupdate_gone - Is a device that is not there one that cannot come back?
 * @segment: PCI segment
 * @rid:     Routing ID
 *
 * One that has not been found may be, when the driver of its host bridge comes.
 * One that was removed has stopped: what is plugged in there now is a device like
 * any other.
 *
 * Context: Process context, may sleep.
 * Return: true if the device was removed, or if nothing is known of it.
 */
bool pci_liveupdate_gone(u32 segment, u16 rid)
{
	struct incoming_dev *entry;

	guard(mutex)(&incoming.lock);
	entry = find_incoming(segment, rid);
	return !entry || entry->gone;
}
EXPORT_SYMBOL_GPL(pci_liveupdate_gone);

/* Whether all buses must keep their numbers: something came running */
bool pci_liveupdate_keep_busses(void)
{
	guard(mutex)(&incoming.lock);
	return incoming.ser;
}

/**
 * pci_liveupdate_intx_mask_broken - What writing INTx Disable would have told
 * @dev: Quiet device
 *
 * Return: whether INTx Disable is not writable.
 */
bool pci_liveupdate_intx_mask_broken(struct pci_dev *dev)
{
	struct incoming_dev *entry;

	guard(mutex)(&incoming.lock);
	entry = find_incoming_dev(dev);
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
	struct incoming_dev *entry;
	const u32 *mask;
	int nr;

	memset(sizes, 0, count * sizeof(*sizes));

	guard(mutex)(&incoming.lock);
	entry = find_incoming_dev(dev);
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

static void fix_resources(struct pci_dev *dev, unsigned long flag)
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
	if (device_set_driver_override(&dev->dev, PCI_LIVEUPDATE_DRIVER))
		pci_warn(dev, "cannot set driver_override\n");
	if (!test_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags))
		fix_resources(dev, IORESOURCE_PCI_FIXED);
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
	bool over = pci_liveupdate_record_came() && finished_meanwhile(dev);

	if (!pci_liveupdate_incoming(dev))
		clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	else if (over)
		end_device(dev);
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

	set_gone(dev);
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

	fix_resources(dev, 0);
	clear_bit(PCI_DEV_LIVEUPDATE_QUIET, &dev->priv_flags);
	clear_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags);
	if (test_and_clear_bit(PCI_DEV_LIVEUPDATE_INCOMING, &dev->priv_flags))
		pm_runtime_put(&dev->dev);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_done);
