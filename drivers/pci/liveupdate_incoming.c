// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of PCI devices: what the previous kernel tells of those that came
 * running
 *
 * The story is told in liveupdate.c.
 */

#define pr_fmt(fmt) "PCI: liveupdate: " fmt

#include <linux/cleanup.h>
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
#include <linux/slab.h>
#include <linux/string.h>

#include <kunit/visibility.h>

#include "liveupdate.h"
#include "pci.h"

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

/*
 * Without a lock: false if no device is incoming. It may be true for good if none
 * is, as the entry of a device that is never found stays.
 */
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
			pci_liveupdate_end_device(dev);
		pci_dev_put(dev);
	}
	free_incoming(&entries);
}

/*
 * Look a new device up in the record. Returns 1 and what it says the first time,
 * 0 if nothing; -ESTALE if FINISH was there before, -ENODATA if the record is lost.
 */
int pci_liveupdate_record_take(struct pci_dev *dev,
			       struct pci_liveupdate_dev_ser *ser)
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

/* Whether FINISH came while a device was enumerated. Asked once. */
bool pci_liveupdate_record_over(struct pci_dev *dev)
{
	struct incoming_dev *entry;

	guard(mutex)(&incoming.lock);
	entry = find_incoming_dev(dev);
	if (!entry || !entry->over)
		return false;
	drop_entry(entry);
	return true;
}

/* A device is being removed: what comes after it is not what the record means */
void pci_liveupdate_record_gone(struct pci_dev *dev)
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
