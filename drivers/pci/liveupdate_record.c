// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of PCI devices: what the next kernel is told of them
 *
 * An entry is made of what the device says when it is preserved, and stays in
 * memory of this kernel until freeze writes it out: whoever takes devices out
 * again need not move what others have written. The room in the memory that is
 * handed over is made with the entry, so that writing allocates nothing.
 *
 * The story is told in liveupdate.c.
 */

#include <linux/cleanup.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/pci.h>
#include <linux/kho_block.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "liveupdate.h"
#include "pci.h"

/**
 * struct record_entry - A device or bridge in the record
 * @list:  Entry in record.entries.
 * @dev:   The device, with a reference.
 * @users: Preserved devices that need the entry: one, more for a bridge.
 * @ser:   What is written for the next kernel.
 */
struct record_entry {
	struct list_head list;
	struct pci_dev *dev;
	unsigned int users;
	struct pci_liveupdate_dev_ser ser;
};

/* All protected by pci_liveupdate_mutex */
static struct {
	struct list_head entries;
	u64 nr_entries;
	struct kho_block_set blocks;
	struct pci_liveupdate_ser *ser;
} record = {
	.entries = LIST_HEAD_INIT(record.entries),
};

static struct record_entry *find_entry(struct pci_dev *dev)
{
	struct record_entry *entry;

	list_for_each_entry(entry, &record.entries, list)
		if (entry->dev == dev)
			return entry;
	return NULL;
}

/* The address bits of a BAR of that size; a 64-bit BAR takes two registers */
static int bar_mask(u32 *mask, int left, const struct resource *res,
		    resource_size_t size)
{
	u64 bits = ~((u64)size - 1);

	mask[0] = lower_32_bits(bits);
	if (!(res->flags & IORESOURCE_MEM_64) || left < 2)
		return 1;
	mask[1] = upper_32_bits(bits);
	return 2;
}

static int record_bars(struct pci_dev *dev, struct pci_liveupdate_dev_ser *ser)
{
	bool bridge = ser->flags & PCI_LIVEUPDATE_DEV_BRIDGE;
	int nr = bridge ? 2 : PCI_STD_NUM_BARS;
	struct resource *res;
	int i;

	static_assert(PCI_STD_NUM_BARS == PCI_LIVEUPDATE_NUM_BARS);

	for (i = 0; i < nr; i++)
		pci_read_config_dword(dev, PCI_BASE_ADDRESS_0 + i * 4,
				      &ser->bar[i]);

	for (i = 0; i < nr;) {
		res = &dev->resource[i];
		if (!res->flags || !resource_size(res)) {
			i++;
			continue;
		}
		/* The next kernel must be able to claim it where it is */
		if (!bridge && (!res->parent || res->flags & IORESOURCE_UNSET)) {
			pci_err(dev, "BAR %d %pR is not claimed, cannot be preserved\n",
				i, res);
			return -EOPNOTSUPP;
		}
		i += bar_mask(&ser->bar_mask[i], nr - i, res,
			      resource_size(res));
	}

	res = &dev->resource[PCI_ROM_RESOURCE];
	if (resource_size(res) && res->flags && dev->rom_base_reg &&
	    !(res->flags & IORESOURCE_ROM_SHADOW))
		ser->rom_mask = ~((u32)resource_size(res) - 1);

#ifdef CONFIG_PCI_IOV
	for (i = 0; !bridge && dev->is_physfn && i < PCI_SRIOV_NUM_BARS;) {
		res = &dev->resource[PCI_IOV_RESOURCES + i];
		if (!res->flags || !dev->sriov->barsz[i]) {
			i++;
			continue;
		}
		i += bar_mask(&ser->vf_bar_mask[i], PCI_SRIOV_NUM_BARS - i,
			      res, dev->sriov->barsz[i]);
	}
#endif
	return 0;
}

static int record_dev(struct pci_dev *dev, struct pci_liveupdate_dev_ser *ser)
{
	ser->segment = pci_domain_nr(dev->bus);
	ser->rid = pci_dev_id(dev);
	ser->vendor = dev->vendor;
	ser->device = dev->device;
	pci_read_config_dword(dev, PCI_CLASS_REVISION, &ser->class_rev);
	if (dev->broken_intx_masking)
		ser->flags |= PCI_LIVEUPDATE_DEV_NO_INTX_MASK;
	if (dev->hdr_type == PCI_HEADER_TYPE_BRIDGE) {
		ser->flags |= PCI_LIVEUPDATE_DEV_BRIDGE;
		pci_read_config_byte(dev, PCI_SECONDARY_BUS, &ser->secondary);
		pci_read_config_byte(dev, PCI_SUBORDINATE_BUS,
				     &ser->subordinate);
	}
	return record_bars(dev, ser);
}

/* Undo pci_liveupdate_record_get(); not while anything is frozen */
void pci_liveupdate_record_put(struct pci_dev *dev)
{
	struct record_entry *entry = find_entry(dev);

	lockdep_assert_held(&pci_liveupdate_mutex);

	if (WARN_ON(!entry) || --entry->users)
		return;
	list_del(&entry->list);
	record.nr_entries--;
	/* Nothing is in the blocks before freeze, so any may go */
	kho_block_set_shrink(&record.blocks, record.nr_entries);
	pci_dev_put(entry->dev);
	kfree(entry);
}

/* Have the record tell of a device or bridge; counted */
int pci_liveupdate_record_get(struct pci_dev *dev)
{
	struct record_entry *entry = find_entry(dev);
	int ret;

	lockdep_assert_held(&pci_liveupdate_mutex);

	if (!record.ser)
		return -ENODEV;
	if (entry) {
		entry->users++;
		return 0;
	}

	entry = kzalloc_obj(*entry);
	if (!entry)
		return -ENOMEM;

	ret = record_dev(dev, &entry->ser);
	if (ret)
		goto err_free;

	ret = kho_block_set_grow(&record.blocks, record.nr_entries + 1);
	if (ret)
		goto err_free;

	entry->dev = pci_dev_get(dev);
	entry->users = 1;
	list_add_tail(&entry->list, &record.entries);
	record.nr_entries++;
	return 0;

err_free:
	kfree(entry);
	return ret;
}

bool pci_liveupdate_record_has(struct pci_dev *dev)
{
	lockdep_assert_held(&pci_liveupdate_mutex);

	return find_entry(dev);
}

/* Is a device as the record says? A reset has cleared its BARs. */
bool pci_liveupdate_record_holds(struct pci_dev *dev)
{
	struct record_entry *entry = find_entry(dev);
	u32 bar;
	int i;

	lockdep_assert_held(&pci_liveupdate_mutex);

	if (!entry)
		return false;
	for (i = 0; i < PCI_LIVEUPDATE_NUM_BARS; i++) {
		pci_read_config_dword(dev, PCI_BASE_ADDRESS_0 + i * 4, &bar);
		if (bar != entry->ser.bar[i])
			return false;
	}
	return true;
}

/* Write the record out, allocating nothing. -EIO if it does not fit: a bug. */
int pci_liveupdate_record_write(void)
{
	struct pci_liveupdate_dev_ser *ser;
	struct kho_block_set_it it;
	struct record_entry *entry;

	lockdep_assert_held(&pci_liveupdate_mutex);

	kho_block_set_clear(&record.blocks);
	kho_block_set_it_init(&it, &record.blocks);
	list_for_each_entry(entry, &record.entries, list) {
		ser = kho_block_set_it_reserve_entry(&it);
		if (WARN_ON(!ser))
			return -EIO;
		*ser = entry->ser;
	}
	record.ser->nr_devices = record.nr_entries;
	record.ser->devices = kho_block_set_head_pa(&record.blocks);
	return 0;
}

int pci_liveupdate_flb_preserve(struct liveupdate_flb_op_args *args)
{
	struct pci_liveupdate_ser *ser;

	ser = kho_alloc_preserve(sizeof(*ser));
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	memset(ser, 0, sizeof(*ser));
	ser->version = PCI_LIVEUPDATE_ABI_VERSION;

	guard(mutex)(&pci_liveupdate_mutex);
	kho_block_set_init(&record.blocks,
			   sizeof(struct pci_liveupdate_dev_ser));
	WRITE_ONCE(record.ser, ser);
	args->data = virt_to_phys(ser);
	args->obj = ser;
	return 0;
}

void pci_liveupdate_flb_unpreserve(struct liveupdate_flb_op_args *args)
{
	guard(mutex)(&pci_liveupdate_mutex);
	WARN_ON(record.nr_entries);
	kho_block_set_destroy(&record.blocks);
	kho_unpreserve_free(record.ser);
	WRITE_ONCE(record.ser, NULL);
}

/* Without a lock: false if no device is preserved */
bool pci_liveupdate_record_used(void)
{
	return READ_ONCE(record.ser);
}
