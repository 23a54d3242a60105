// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update, the side of the new kernel: adopt what was handed over
 */

/**
 * DOC: VT-d adoption
 *
 * The hand-over root of the previous kernel becomes iommu->root_entry as it is,
 * where it is: hardware has been using it all along and is not told anything.
 * The driver adds the entries of its own devices to it.
 *
 * An entry found in it is unclaimed until its device shows up.
 * intel_iommu_adopt_device() compares it with what the restored domain says
 * hardware should be using and, if that is so, sets the software state of an
 * attached device; the entry is an ordinary one from then on, with an ordinary
 * first detach. Entries which nobody claims are made non-present with
 * intel_iommu_block_rid().
 *
 * In scalable mode a context entry leads to the PASID table of its device, which
 * is adopted in place as well, see adopt_pasid.c.
 *
 * The domain ids in the entries are reserved before anything can allocate one.
 * Several entries and the restored domain may use the same. It is given back
 * when the last of them is gone.
 *
 * Nothing of this is trusted. A unit whose hand-over cannot be used gets an
 * empty root, with translation on. An entry that is not valid, is not what the
 * record of its device says, or has no device is made non-present; the others
 * stay. Pages that have been claimed from KHO up to then are leaked.
 */

#define pr_fmt(fmt)	"DMAR: live update: " fmt
#define dev_fmt(fmt)	pr_fmt(fmt)

#include <linux/bitmap.h>
#include <linux/dmar.h>
#include <linux/iommu.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kho/abi/iommu.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "iommu.h"
#include "liveupdate.h"
#include "../iommu-pages.h"

/*
 * Users of a domain id that the previous kernel chose: the unclaimed entries
 * that hold it and, if it is restored and attached, their domain.
 */
#define DID_DOMAIN	BIT(0)
#define DID_ENTRY	BIT(1)

static unsigned long did_users(struct intel_iommu_adopted *adopted, u16 did)
{
	void *entry = xa_load(&adopted->dids, did);

	return entry ? xa_to_value(entry) : 0;
}

static int did_set_users(struct intel_iommu_adopted *adopted, u16 did,
			 unsigned long users)
{
	if (!users) {
		xa_erase(&adopted->dids, did);
		return 0;
	}
	return xa_err(xa_store(&adopted->dids, did, xa_mk_value(users),
			       GFP_KERNEL));
}

/**
 * intel_iommu_adopted_did_get - Let a restored domain use its domain id
 * @iommu: the unit
 * @did: the domain id in the entries of devices attached to the domain
 *
 * Context: did_lock held.
 * Return: 0, or -EINVAL if no unclaimed entry uses @did or another domain does.
 */
int intel_iommu_adopted_did_get(struct intel_iommu *iommu, u16 did)
{
	struct intel_iommu_adopted *adopted = iommu->adopted;
	unsigned long users;

	lockdep_assert_held(&iommu->did_lock);

	if (!adopted)
		return -EINVAL;

	users = did_users(adopted, did);
	if (!users || (users & DID_DOMAIN))
		return -EINVAL;
	return did_set_users(adopted, did, users | DID_DOMAIN);
}

/**
 * intel_iommu_adopted_did_put - A domain does not use its domain id any more
 * @iommu: the unit
 * @did: the domain id, whoever chose it
 *
 * Context: did_lock held.
 * Return: true if the id stays reserved because unclaimed entries use it.
 */
bool intel_iommu_adopted_did_put(struct intel_iommu *iommu, u16 did)
{
	struct intel_iommu_adopted *adopted = iommu->adopted;
	unsigned long users;

	lockdep_assert_held(&iommu->did_lock);

	if (!adopted)
		return false;

	/* Replacing a value does not allocate */
	users = did_users(adopted, did) & ~DID_DOMAIN;
	did_set_users(adopted, did, users);
	return users;
}

/**
 * intel_iommu_entry_forget - An unclaimed entry is ordinary from now on or gone
 * @iommu: the unit
 * @rid: the routing id of the entry, unclaimed or not
 * @did: the domain id it holds, or held until hardware was made to forget it
 *
 * Context: May sleep.
 */
void intel_iommu_entry_forget(struct intel_iommu *iommu, u16 rid, u16 did)
{
	struct intel_iommu_adopted *adopted = iommu->adopted;
	unsigned long users;

	if (!adopted || !test_and_clear_bit(rid, adopted->unclaimed))
		return;
	clear_bit(rid, adopted->alias);

	guard(mutex)(&iommu->did_lock);
	users = did_users(adopted, did);
	if (WARN_ON(users < DID_ENTRY))
		return;

	users -= DID_ENTRY;
	did_set_users(adopted, did, users);
	if (!users)
		ida_free(&iommu->domain_ida, did);
}

/**
 * intel_iommu_rid_is_unclaimed - Is an entry as the previous kernel left it?
 * @iommu: the unit
 * @rid: the routing id
 *
 * Return: true from adoption of the unit until the device is adopted or blocked.
 */
bool intel_iommu_rid_is_unclaimed(struct intel_iommu *iommu, u16 rid)
{
	return iommu->adopted && test_bit(rid, iommu->adopted->unclaimed);
}

/**
 * intel_iommu_device_is_unclaimed - Does a device run as the previous kernel left it?
 * @iommu: the unit
 * @rid: the routing id of the device
 *
 * Return: the same, but false for a routing id that is the DMA alias of another.
 */
bool intel_iommu_device_is_unclaimed(struct intel_iommu *iommu, u16 rid)
{
	return intel_iommu_rid_is_unclaimed(iommu, rid) &&
	       !test_bit(rid, iommu->adopted->alias);
}

/**
 * intel_iommu_entry_has_dev_tlb - May the device of an unclaimed entry cache?
 * @iommu: the unit
 * @rid: the routing id, unclaimed
 *
 * Return: true if the entry allows translated and translation requests.
 */
bool intel_iommu_entry_has_dev_tlb(struct intel_iommu *iommu, u16 rid)
{
	struct context_entry *entry;

	guard(spinlock)(&iommu->lock);
	entry = iommu_context_addr(iommu, PCI_BUS_NUM(rid), rid & 0xff, 0);
	return entry->lo & CONTEXT_DEV_TLB;
}

static int __init check_unit(struct intel_iommu *iommu,
			     const struct iommu_liveupdate_unit_ser *ser)
{
	u64 rtaddr = readq(iommu->reg + DMAR_RTADDR_REG);
	bool scalable = rtaddr & DMA_RTADDR_SMT;

	if (ser->segment != iommu->segment || ser->cap != iommu->cap ||
	    ser->ecap != iommu->ecap) {
		pr_err("%s: not the unit that was handed over\n", iommu->name);
		return -EINVAL;
	}

	if (!!(ser->flags & IOMMU_LIVEUPDATE_UNIT_SCALABLE) != scalable ||
	    !!sm_supported(iommu) != scalable) {
		pr_err("%s: handed over in another mode\n", iommu->name);
		return -EINVAL;
	}

	if ((rtaddr & VTD_PAGE_MASK) != ser->root_pa) {
		pr_err("%s: hardware does not use the root table that was handed over\n",
		       iommu->name);
		return -EINVAL;
	}

	return 0;
}

/* The only kind of entry intel_iommu_preserve_device() hands over */
static bool __init entry_is_valid(struct intel_iommu *iommu,
				  struct context_entry *entry)
{
	int did = context_domain_id(entry);
	u64 flags = BIT_ULL(0);

	if (sm_supported(iommu))
		return intel_iommu_sm_context_valid(iommu, entry);

	if (ecap_dev_iotlb_support(iommu->ecap))
		flags |= entry->lo & CONTEXT_DEV_TLB;

	return (entry->lo & ~VTD_PAGE_MASK) == flags &&
	       !(entry->hi & ~(GENMASK_ULL(23, 8) | GENMASK_ULL(2, 0))) &&
	       (cap_sagaw(iommu->cap) & BIT(entry->hi & 7)) &&
	       did >= IDA_START_DID && did < iommu->max_domain_id;
}

/*
 * Let nothing through an entry that cannot be relied on. Hardware is made to
 * forget it when the rest of the unit has been looked at.
 */
static void __init drop_entry(struct intel_iommu *iommu, u16 rid)
{
	struct intel_iommu_adopted *adopted = iommu->adopted;
	struct context_entry *entry;

	spin_lock(&iommu->lock);
	entry = iommu_context_addr(iommu, PCI_BUS_NUM(rid), rid & 0xff, 0);
	context_clear_present(entry);
	__iommu_flush_cache(iommu, entry, sizeof(*entry));
	memset(entry, 0, context_size(iommu));
	__iommu_flush_cache(iommu, entry, context_size(iommu));
	spin_unlock(&iommu->lock);

	clear_bit(rid, adopted->unclaimed);
	clear_bit(rid, adopted->alias);
	adopted->nr_dropped++;
}

static void __init adopt_entries(struct intel_iommu *iommu, u8 bus,
				 unsigned int devfn, struct context_entry *table)
{
	struct intel_iommu_adopted *adopted = iommu->adopted;
	unsigned int nr = VTD_PAGE_SIZE / context_size(iommu);

	for (; nr; nr--, devfn++) {
		struct context_entry *entry =
			&table[context_index(iommu, devfn)];
		u16 rid = PCI_DEVID(bus, devfn);

		if (!memchr_inv(entry, 0, context_size(iommu)))
			continue;

		if (!entry_is_valid(iommu, entry)) {
			pr_err("%s: %02x:%02x.%d: context entry %016llx:%016llx is not valid\n",
			       iommu->name, bus, PCI_SLOT(devfn),
			       PCI_FUNC(devfn), entry->hi, entry->lo);
			drop_entry(iommu, rid);
			continue;
		}

		/* An alias until a device turns out to have it */
		set_bit(rid, adopted->unclaimed);
		set_bit(rid, adopted->alias);
	}
}

static int __init adopt_bus(struct intel_iommu *iommu, u8 bus,
			    unsigned int devfn)
{
	u64 slot = *root_entry_slot(iommu, iommu->root_entry, bus, devfn);
	struct context_entry *table = NULL;

	if (!slot)
		return 0;

	if ((slot & ~VTD_PAGE_MASK) == 1)
		table = iommu_restore_pages(slot & VTD_PAGE_MASK, SZ_4K, NULL);
	if (!table) {
		pr_err("%s: bus %02x: root entry %016llx is not valid\n",
		       iommu->name, bus, slot);
		return -EINVAL;
	}

	adopt_entries(iommu, bus, devfn, table);
	return 0;
}

static int __init adopt_tables(struct intel_iommu *iommu)
{
	unsigned int bus;
	int ret;

	for (bus = 0; bus < 256; bus++) {
		ret = adopt_bus(iommu, bus, 0);
		if (!ret && sm_supported(iommu))
			ret = adopt_bus(iommu, bus, 0x80);
		else if (!ret && iommu->root_entry[bus].hi)
			ret = -EINVAL;
		if (ret)
			return ret;
	}
	return 0;
}

/* Nothing else has allocated a domain id yet */
static int __init adopt_did(struct intel_iommu *iommu, u16 did)
{
	struct intel_iommu_adopted *adopted = iommu->adopted;
	unsigned long users;
	int ret;

	guard(mutex)(&iommu->did_lock);
	users = did_users(adopted, did);
	if (!users) {
		ret = ida_alloc_range(&iommu->domain_ida, did, did, GFP_KERNEL);
		if (ret < 0)
			return ret;
	}

	ret = did_set_users(adopted, did, users + DID_ENTRY);
	if (ret && !users)
		ida_free(&iommu->domain_ida, did);
	return ret;
}

static int __init adopt_record(const struct iommu_liveupdate_device_ser *ser,
			       void *data)
{
	struct intel_iommu *iommu = data;
	struct context_entry *entry;
	int ret;

	/* It has no entry, or one that was dropped */
	if (ser->segment != iommu->segment || ser->rid >= NR_RIDS ||
	    !test_and_clear_bit(ser->rid, iommu->adopted->alias))
		goto err_record;

	if (!ser->pasid_dir == !!sm_supported(iommu))
		goto err_entry;

	entry = iommu_context_addr(iommu, PCI_BUS_NUM(ser->rid),
				   ser->rid & 0xff, 0);
	if (sm_supported(iommu)) {
		ret = intel_iommu_restore_pasid_table(iommu, ser, entry);
		if (ret == -ENOMEM)
			return ret;
		if (ret)
			goto err_entry;
	}
	if (intel_iommu_entry_did(iommu, entry) != ser->did)
		goto err_entry;

	return adopt_did(iommu, ser->did);

err_entry:
	/* Not the pages, hardware may still read them */
	kfree(intel_iommu_take_pasid_table(iommu, ser->rid));
	drop_entry(iommu, ser->rid);
err_record:
	pr_err("%s: record of device %04x:%02x:%02x.%d does not match its entry, it is blocked\n",
	       iommu->name, ser->segment, PCI_BUS_NUM(ser->rid),
	       PCI_SLOT(ser->rid), PCI_FUNC(ser->rid));
	return 0;
}

/*
 * A device is nobody's alias, see intel_iommu_preserve_device(): the entry is its
 * own, and the record of it is lost. A neighbour attached to the same domain can
 * have the same entry.
 */
static bool __init rid_has_device(struct intel_iommu *iommu, u16 rid)
{
	struct pci_dev *pdev;

	pdev = pci_get_domain_bus_and_slot(iommu->segment, PCI_BUS_NUM(rid),
					   rid & 0xff);
	pci_dev_put(pdev);
	return pdev;
}

/*
 * An alias has the entry of its device. Any other would stay when the device is
 * detached or blocked, and lead to a table that is freed then.
 */
static bool __init alias_has_device(struct intel_iommu *iommu, u16 rid,
				    const struct context_entry *alias)
{
	struct intel_iommu_adopted *adopted = iommu->adopted;
	unsigned int other = rid & 0xff00, end = other + 0x100;
	struct context_entry *entry;

	for_each_set_bit_from(other, adopted->unclaimed, end) {
		if (test_bit(other, adopted->alias))
			continue;
		entry = iommu_context_addr(iommu, PCI_BUS_NUM(other),
					   other & 0xff, 0);
		if (context_entry_same(entry, alias))
			return true;
	}
	return false;
}

static int __init adopt_aliases(struct intel_iommu *iommu)
{
	struct intel_iommu_adopted *adopted = iommu->adopted;
	struct context_entry *entry;
	unsigned int rid;
	int ret;

	for_each_set_bit(rid, adopted->alias, NR_RIDS) {
		entry = iommu_context_addr(iommu, PCI_BUS_NUM(rid), rid & 0xff,
					   0);
		if (rid_has_device(iommu, rid) ||
		    !alias_has_device(iommu, rid, entry)) {
			pr_err("%s: %02x:%02x.%d: entry without a record\n",
			       iommu->name, PCI_BUS_NUM(rid), PCI_SLOT(rid),
			       PCI_FUNC(rid));
			drop_entry(iommu, rid);
			continue;
		}
		ret = adopt_did(iommu, intel_iommu_entry_did(iommu, entry));
		if (ret)
			return ret;
	}
	return 0;
}

static void free_adopted(struct intel_iommu_adopted *adopted)
{
	intel_iommu_drop_pasid_tables(adopted);
	xa_destroy(&adopted->dids);
	kvfree(adopted);
}

/**
 * intel_iommu_forget_adopted - A unit goes, and what is left of its hand-over
 * @iommu: the unit, adopted or not; none of its devices is there any more
 *
 * Context: May sleep.
 */
void intel_iommu_forget_adopted(struct intel_iommu *iommu)
{
	if (!iommu->adopted)
		return;
	free_adopted(iommu->adopted);
	iommu->adopted = NULL;
}

/**
 * intel_iommu_adopt_unit - Go on with the root table of the previous kernel
 * @iommu: a unit that translates; nothing has allocated a domain id of it
 *
 * On success iommu->root_entry is the table hardware is using and the domain
 * ids in it are reserved.
 *
 * Context: May sleep.
 * Return: 0, or an error, logged, if the unit needs a new root table: -ENOENT if
 * nothing was handed over or it is unreadable, -EINVAL or -ENOSPC if it cannot be
 * used, -ENOMEM.
 */
int __init intel_iommu_adopt_unit(struct intel_iommu *iommu)
{
	const struct iommu_liveupdate_unit_ser *ser = NULL;
	struct intel_iommu_adopted *adopted;
	enum iommu_liveupdate_boot state;
	struct root_entry *root;
	int ret;

	state = iommu_liveupdate_boot_state();
	if (state == IOMMU_LIVEUPDATE_LIVE)
		ser = iommu_liveupdate_find_unit(IOMMU_LIVEUPDATE_UNIT_VTD,
						 iommu->reg_phys);
	if (!ser) {
		if (state == IOMMU_LIVEUPDATE_UNREADABLE)
			pr_err("%s: cannot use the hand-over, starting with all blocked\n",
			       iommu->name);
		else
			pr_info("%s: no preserved devices, starting with all blocked\n",
				iommu->name);
		return -ENOENT;
	}

	ret = check_unit(iommu, ser);
	if (ret)
		goto err;

	adopted = kvzalloc_obj(*adopted);
	if (!adopted) {
		ret = -ENOMEM;
		goto err;
	}
	xa_init(&adopted->dids);
	xa_init(&adopted->pasid_tables);

	root = iommu_restore_pages(ser->root_pa, SZ_4K, NULL);
	if (!root) {
		ret = -EINVAL;
		goto err_free;
	}

	iommu->adopted = adopted;
	iommu->root_entry = root;

	ret = adopt_tables(iommu);
	if (ret)
		goto err_leak;

	ret = iommu_liveupdate_walk_devices(iommu->reg_phys, adopt_record,
					    iommu);
	if (ret)
		goto err_leak;

	ret = adopt_aliases(iommu);
	if (ret)
		goto err_leak;

	if (adopted->nr_dropped) {
		iommu_flush_write_buffer(iommu);
		iommu_forget_all(iommu);
	}

	pr_info("%s: adopted %u context entries\n", iommu->name,
		bitmap_weight(adopted->unclaimed, NR_RIDS));
	return 0;

err_leak:
	/* Hardware reads the tables until it has got another root */
	iommu->root_entry = NULL;
	iommu->adopted = NULL;
	ida_destroy(&iommu->domain_ida);
err_free:
	free_adopted(adopted);
err:
	pr_err("%s: cannot be adopted (%d), blocking all devices\n",
	       iommu->name, ret);
	return ret;
}

/**
 * intel_iommu_adopt_ready - Let the core block what it cannot adopt
 * @iommu: a unit about to be registered, adopted or not
 *
 * Not earlier: when initialisation fails the unit is never registered.
 *
 * Context: May sleep.
 */
void __init intel_iommu_adopt_ready(struct intel_iommu *iommu)
{
	if (iommu->adopted)
		iommu_liveupdate_unit_adopted(iommu->reg_phys, &iommu->iommu);
}
