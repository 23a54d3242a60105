// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of PCI devices: keep them running until the next kernel
 */

/**
 * DOC: PCI devices that run through a live update
 *
 * The driver of a device (vfio-pci) decides that the device goes on doing DMA
 * while the kernel is replaced. The PCI core sees to it that nothing between
 * here and there stops it:
 *
 * Old kernel: pci_liveupdate_preserve() records the device and the bridges
 * above it. From there to pci_liveupdate_unpreserve() user space cannot reset,
 * remove or reconfigure it behind its driver, and the machine does not suspend.
 * pci_liveupdate_freeze() writes the record for the next kernel and marks the
 * device for this kexec: pci_device_shutdown() leaves bus mastering on for it
 * and for each bridge above it, and for nothing else.
 *
 * New kernel: the record is read before PCI is enumerated. A device in it is
 * incoming from pci_setup_device() on. Until a driver is probed it is quiet as
 * well: config writes of the kernel to it are dropped. Enumeration has some
 * dozens of places that write (BAR sizing, INTx, MSI, power state, MPS, ASPM,
 * ACS, AER, SR-IOV, quirks, and more with each release), none of which a running
 * device needs since the previous kernel had done it all. What is learned by
 * writing is taken from the record. Resources stay where they are.
 *
 * An incoming device takes no driver but vfio-pci and does not leave D0.
 * pci_liveupdate_done() ends all that, when the driver has the device back
 * under control or has brought it to rest.
 *
 * A device that is not what the record says, or that does not get its
 * resources, cannot be given back to its user. It is blocked: bus mastering off
 * and no driver, until the record is done with.
 *
 * The old kernel's side is in liveupdate.c, the new kernel's in
 * liveupdate_incoming.c.
 *
 * Lock order: FLB lock -> pci_lu_mutex -> pci_bus_sem.
 */

#define pr_fmt(fmt) "PCI: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/pci.h>
#include <linux/kho_block.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/pm_runtime.h>
#include <linux/slab.h>
#include <linux/suspend.h>

#include "pci.h"

/**
 * struct pci_lu_entry - A device or bridge in the record
 * @list:  Entry in pci_lu.entries.
 * @dev:   The device, with a reference.
 * @users: Preserved devices that need the entry: one, more for a bridge.
 * @ser:   What is written for the next kernel.
 */
struct pci_lu_entry {
	struct list_head list;
	struct pci_dev *dev;
	unsigned int users;
	struct pci_liveupdate_dev_ser ser;
};

static DEFINE_MUTEX(pci_lu_mutex);

/* All protected by pci_lu_mutex */
static struct {
	struct list_head entries;
	u64 nr_entries;
	unsigned int nr_frozen;
	struct kho_block_set blocks;
	struct pci_liveupdate_ser *ser;
} pci_lu = {
	.entries = LIST_HEAD_INIT(pci_lu.entries),
};

static struct pci_lu_entry *pci_lu_find(struct pci_dev *dev)
{
	struct pci_lu_entry *entry;

	list_for_each_entry(entry, &pci_lu.entries, list)
		if (entry->dev == dev)
			return entry;
	return NULL;
}

/* The address bits of a BAR of that size; a 64-bit BAR takes two registers */
static int pci_lu_mask(u32 *mask, int left, const struct resource *res,
		       resource_size_t size)
{
	u64 bits = ~((u64)size - 1);

	mask[0] = lower_32_bits(bits);
	if (!(res->flags & IORESOURCE_MEM_64) || left < 2)
		return 1;
	mask[1] = upper_32_bits(bits);
	return 2;
}

static int pci_lu_record_bars(struct pci_dev *dev,
			      struct pci_liveupdate_dev_ser *ser)
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
		i += pci_lu_mask(&ser->bar_mask[i], nr - i, res,
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
		i += pci_lu_mask(&ser->vf_bar_mask[i], PCI_SRIOV_NUM_BARS - i,
				 res, dev->sriov->barsz[i]);
	}
#endif
	return 0;
}

static int pci_lu_record(struct pci_dev *dev,
			 struct pci_liveupdate_dev_ser *ser)
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
	return pci_lu_record_bars(dev, ser);
}

static void pci_lu_put_entry(struct pci_dev *dev)
{
	struct pci_lu_entry *entry = pci_lu_find(dev);

	if (WARN_ON(!entry) || --entry->users)
		return;
	list_del(&entry->list);
	pci_lu.nr_entries--;
	/* Nothing is in the blocks before freeze, so any may go */
	kho_block_set_shrink(&pci_lu.blocks, pci_lu.nr_entries);
	pci_dev_put(entry->dev);
	kfree(entry);
}

static int pci_lu_get_entry(struct pci_dev *dev)
{
	struct pci_lu_entry *entry = pci_lu_find(dev);
	int ret;

	if (entry) {
		entry->users++;
		return 0;
	}

	entry = kzalloc_obj(*entry);
	if (!entry)
		return -ENOMEM;

	ret = pci_lu_record(dev, &entry->ser);
	if (ret)
		goto err_free;

	ret = kho_block_set_grow(&pci_lu.blocks, pci_lu.nr_entries + 1);
	if (ret)
		goto err_free;

	entry->dev = pci_dev_get(dev);
	entry->users = 1;
	list_add_tail(&entry->list, &pci_lu.entries);
	pci_lu.nr_entries++;
	return 0;

err_free:
	kfree(entry);
	return ret;
}

/* The refuse list of the PCI core */
static int pci_lu_check(struct pci_dev *dev)
{
	struct pci_dev *bridge;

	if (dev->is_virtfn) {
		pci_err(dev, "cannot be preserved: a virtual function\n");
		return -EOPNOTSUPP;
	}
	if (pci_num_vf(dev)) {
		pci_err(dev, "cannot be preserved: has virtual functions\n");
		return -EOPNOTSUPP;
	}
	if (dev->hdr_type != PCI_HEADER_TYPE_NORMAL) {
		pci_err(dev, "cannot be preserved: not an endpoint\n");
		return -EOPNOTSUPP;
	}
	if (pci_real_dma_dev(dev) != dev) {
		pci_err(dev, "cannot be preserved: DMA goes through %s\n",
			pci_name(pci_real_dma_dev(dev)));
		return -EOPNOTSUPP;
	}
	for (bridge = pci_upstream_bridge(dev); bridge;
	     bridge = pci_upstream_bridge(bridge)) {
		if (bridge->hdr_type != PCI_HEADER_TYPE_BRIDGE) {
			pci_err(dev, "cannot be preserved: behind %s which is no PCI bridge\n",
				pci_name(bridge));
			return -EOPNOTSUPP;
		}
	}
	if (pci_liveupdate_incoming(dev)) {
		pci_err(dev, "cannot be preserved: last live update not finished\n");
		return -EBUSY;
	}
	if (dev->current_state != PCI_D0) {
		pci_err(dev, "cannot be preserved: in %s\n",
			pci_power_name(dev->current_state));
		return -EBUSY;
	}
	return 0;
}

/**
 * pci_liveupdate_preserve - Have a device run through the next live update
 * @dev: Device, bound to the calling driver
 *
 * Records @dev and the bridges above it and holds @dev in D0. Until
 * pci_liveupdate_unpreserve() ways around the driver to reset, remove or
 * configure @dev from user space fail.
 *
 * Context: Process context, may sleep. From the preserve callback of a file
 *          handler that has the PCI FLB.
 * Return: 0, -EOPNOTSUPP (logged) for a kind of device that cannot be
 * preserved, -EBUSY if it is preserved, not in D0, or not yet done with the
 * last live update, -ENODEV without the PCI FLB, -ENOMEM or an error from KHO.
 */
int pci_liveupdate_preserve(struct pci_dev *dev)
{
	struct pci_dev *bridge;
	int ret;

	ret = pm_runtime_resume_and_get(&dev->dev);
	if (ret)
		return ret;

	guard(mutex)(&pci_lu_mutex);
	if (!pci_lu.ser) {
		ret = -ENODEV;
		goto err_pm;
	}
	if (pci_liveupdate_preserved(dev)) {
		ret = -EBUSY;
		goto err_pm;
	}
	ret = pci_lu_check(dev);
	if (ret)
		goto err_pm;

	ret = pci_lu_get_entry(dev);
	if (ret)
		goto err_pm;
	for (bridge = pci_upstream_bridge(dev); bridge;
	     bridge = pci_upstream_bridge(bridge)) {
		ret = pci_lu_get_entry(bridge);
		if (ret)
			goto err_bridges;
	}

	set_bit(PCI_DEV_LIVEUPDATE_PRESERVED, &dev->priv_flags);
	return 0;

err_bridges:
	for (struct pci_dev *undo = pci_upstream_bridge(dev); undo != bridge;
	     undo = pci_upstream_bridge(undo))
		pci_lu_put_entry(undo);
	pci_lu_put_entry(dev);
err_pm:
	pm_runtime_put(&dev->dev);
	return ret;
}
EXPORT_SYMBOL_GPL(pci_liveupdate_preserve);

/**
 * pci_liveupdate_unpreserve - Undo pci_liveupdate_preserve()
 * @dev: Preserved device, not frozen
 *
 * Context: Process context, may sleep. Cannot fail.
 */
void pci_liveupdate_unpreserve(struct pci_dev *dev)
{
	struct pci_dev *bridge;

	scoped_guard(mutex, &pci_lu_mutex) {
		if (WARN_ON(!test_and_clear_bit(PCI_DEV_LIVEUPDATE_PRESERVED,
						&dev->priv_flags)))
			return;
		if (WARN_ON(test_and_clear_bit(PCI_DEV_LIVEUPDATE_FROZEN,
					       &dev->priv_flags)))
			pci_lu.nr_frozen--;

		for (bridge = pci_upstream_bridge(dev); bridge;
		     bridge = pci_upstream_bridge(bridge))
			pci_lu_put_entry(bridge);
		pci_lu_put_entry(dev);
	}
	pm_runtime_put(&dev->dev);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_unpreserve);

/*
 * Who unbinds a driver or removes a device holds the device lock until the user
 * has closed the device, which a preserved one never sees. device_shutdown()
 * takes that lock when there is no way back any more.
 */
static bool pci_lu_being_removed(struct pci_dev *dev)
{
	int i;

	/* There are holders for a moment, such as readers of sriov_numvfs */
	for (i = 0; i < 10; i++) {
		if (device_trylock(&dev->dev)) {
			device_unlock(&dev->dev);
			return false;
		}
		fsleep(10 * USEC_PER_MSEC);
	}
	return true;
}

/**
 * pci_liveupdate_freeze - Let a device keep running over this kexec
 * @dev: Preserved device
 *
 * From here on pci_device_shutdown() leaves bus mastering of @dev and of each
 * bridge above it alone. The first device that is frozen also writes the record
 * for the next kernel. Allocates nothing.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EINVAL if @dev is not preserved, -EBUSY if it is being removed or
 * unbound, -EIO if the record does not fit what was reserved for it (a bug).
 */
int pci_liveupdate_freeze(struct pci_dev *dev)
{
	struct pci_liveupdate_dev_ser *ser;
	struct kho_block_set_it it;
	struct pci_lu_entry *entry;

	if (pci_lu_being_removed(dev)) {
		pci_err(dev, "cannot be frozen: is being unbound or removed\n");
		return -EBUSY;
	}

	guard(mutex)(&pci_lu_mutex);
	if (WARN_ON(!pci_liveupdate_preserved(dev)))
		return -EINVAL;
	if (test_bit(PCI_DEV_LIVEUPDATE_FROZEN, &dev->priv_flags))
		return 0;

	if (!pci_lu.nr_frozen) {
		kho_block_set_clear(&pci_lu.blocks);
		kho_block_set_it_init(&it, &pci_lu.blocks);
		list_for_each_entry(entry, &pci_lu.entries, list) {
			ser = kho_block_set_it_reserve_entry(&it);
			if (WARN_ON(!ser))
				return -EIO;
			*ser = entry->ser;
		}
		pci_lu.ser->nr_devices = pci_lu.nr_entries;
		pci_lu.ser->devices = kho_block_set_head_pa(&pci_lu.blocks);
	}

	set_bit(PCI_DEV_LIVEUPDATE_FROZEN, &dev->priv_flags);
	pci_lu.nr_frozen++;
	return 0;
}
EXPORT_SYMBOL_GPL(pci_liveupdate_freeze);

/**
 * pci_liveupdate_unfreeze - Undo pci_liveupdate_freeze(): the kexec is off
 * @dev: Preserved device
 *
 * Context: Process context, may sleep. Cannot fail.
 */
void pci_liveupdate_unfreeze(struct pci_dev *dev)
{
	guard(mutex)(&pci_lu_mutex);
	if (test_and_clear_bit(PCI_DEV_LIVEUPDATE_FROZEN, &dev->priv_flags))
		pci_lu.nr_frozen--;
}
EXPORT_SYMBOL_GPL(pci_liveupdate_unfreeze);

/**
 * pci_liveupdate_preserved - Is a device preserved for the next live update?
 * @dev: Device
 *
 * Context: Any.
 * Return: true from pci_liveupdate_preserve() to pci_liveupdate_unpreserve().
 */
bool pci_liveupdate_preserved(struct pci_dev *dev)
{
	return test_bit(PCI_DEV_LIVEUPDATE_PRESERVED, &dev->priv_flags);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_preserved);

static int pci_lu_find_frozen(struct pci_dev *dev, void *found)
{
	if (!test_bit(PCI_DEV_LIVEUPDATE_FROZEN, &dev->priv_flags))
		return 0;
	*(bool *)found = true;
	return 1;
}

/*
 * Whether bus mastering has to survive this kexec. A property of this kexec:
 * that a device came running from the last one does not count.
 */
bool pci_liveupdate_keep_master(struct pci_dev *dev)
{
	bool found = false;

	if (!pci_lu_find_frozen(dev, &found) && dev->subordinate)
		pci_walk_bus(dev->subordinate, pci_lu_find_frozen, &found);
	return found;
}

static int pci_lu_find_held(struct pci_dev *dev, void *found)
{
	if (!pci_liveupdate_preserved(dev) && !pci_liveupdate_incoming(dev))
		return 0;
	*(bool *)found = true;
	return 1;
}

/*
 * Whether user space has to keep its hands off the device, which may be a
 * bridge above one that runs.
 */
bool pci_liveupdate_held(struct pci_dev *dev)
{
	bool found = false;

	if (!pci_lu_find_held(dev, &found) && dev->subordinate)
		pci_walk_bus(dev->subordinate, pci_lu_find_held, &found);
	return found;
}

/* The same for all that a reset of a slot would hit */
bool pci_liveupdate_slot_held(struct pci_slot *slot)
{
	struct pci_dev *dev;

	list_for_each_entry(dev, &slot->bus->devices, bus_list)
		if (dev->slot == slot && pci_liveupdate_held(dev))
			return true;

	return false;
}

static int pci_lu_pm_notify(struct notifier_block *nb, unsigned long action,
			    void *data)
{
	struct pci_dev *dev = NULL;

	switch (action) {
	case PM_HIBERNATION_PREPARE:
	case PM_SUSPEND_PREPARE:
	case PM_RESTORE_PREPARE:
		break;
	default:
		return NOTIFY_DONE;
	}

	for_each_pci_dev(dev) {
		if (!pci_liveupdate_held(dev))
			continue;
		pci_info(dev, "in a live update, not suspending\n");
		pci_dev_put(dev);
		return notifier_from_errno(-EBUSY);
	}
	return NOTIFY_DONE;
}

static struct notifier_block pci_lu_pm_nb = {
	.notifier_call = pci_lu_pm_notify,
};

static int pci_lu_flb_preserve(struct liveupdate_flb_op_args *args)
{
	struct pci_liveupdate_ser *ser;

	ser = kho_alloc_preserve(sizeof(*ser));
	if (IS_ERR(ser))
		return PTR_ERR(ser);
	memset(ser, 0, sizeof(*ser));
	ser->version = PCI_LIVEUPDATE_ABI_VERSION;

	guard(mutex)(&pci_lu_mutex);
	kho_block_set_init(&pci_lu.blocks,
			   sizeof(struct pci_liveupdate_dev_ser));
	pci_lu.ser = ser;
	args->data = virt_to_phys(ser);
	args->obj = ser;
	return 0;
}

static void pci_lu_flb_unpreserve(struct liveupdate_flb_op_args *args)
{
	guard(mutex)(&pci_lu_mutex);
	WARN_ON(pci_lu.nr_entries);
	kho_block_set_destroy(&pci_lu.blocks);
	kho_unpreserve_free(pci_lu.ser);
	pci_lu.ser = NULL;
}

static const struct liveupdate_flb_ops pci_lu_flb_ops = {
	.preserve = pci_lu_flb_preserve,
	.unpreserve = pci_lu_flb_unpreserve,
	.retrieve = pci_liveupdate_flb_retrieve,
	.finish = pci_liveupdate_flb_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_flb pci_lu_flb = {
	.ops = &pci_lu_flb_ops,
	.compatible = PCI_LIVEUPDATE_FLB_COMPATIBLE,
};

/**
 * pci_liveupdate_register_flb - Have the files of a handler carry the record
 * @fh: File handler of the driver that preserves PCI devices
 *
 * Which handlers have the PCI FLB is part of the ABI.
 *
 * Context: Process context, may sleep.
 * Return: 0 or an error of liveupdate_register_flb(); -EOPNOTSUPP if live update
 * is off.
 */
int pci_liveupdate_register_flb(struct liveupdate_file_handler *fh)
{
	return liveupdate_register_flb(fh, &pci_lu_flb);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_register_flb);

/**
 * pci_liveupdate_unregister_flb - Undo pci_liveupdate_register_flb()
 * @fh: File handler
 *
 * Context: Process context, may sleep.
 */
void pci_liveupdate_unregister_flb(struct liveupdate_file_handler *fh)
{
	liveupdate_unregister_flb(fh, &pci_lu_flb);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_unregister_flb);

/* Read the record before PCI is scanned, which is from subsys_initcall on */
static int __init pci_liveupdate_init(void)
{
	void *obj;
	int ret;

	register_pm_notifier(&pci_lu_pm_nb);

	ret = liveupdate_flb_get_incoming(&pci_lu_flb, &obj);
	switch (ret) {
	case 0:
		liveupdate_flb_put_incoming(&pci_lu_flb);
		break;
	case -ENODATA:
	case -ENOENT:
	case -EOPNOTSUPP:
		break;
	default:
		pr_err("record of the previous kernel is not usable (%pe), its devices are left to the IOMMU to block\n",
		       ERR_PTR(ret));
	}
	return 0;
}
core_initcall(pci_liveupdate_init);
