// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of IOMMU state: the new kernel's side
 *
 * Records of what was handed over live here from boot to the last FINISH. A
 * device record says who holds the attachment now; a domain record owns the
 * restored domain until RESTORE takes it or FINISH discards it.
 */

#define pr_fmt(fmt) "iommu: liveupdate: " fmt

#include <linux/iommu.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/iommu.h>
#include <linux/kho_block.h>
#include <linux/liveupdate.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/slab.h>

#include "iommu-priv.h"
#include "liveupdate-abi.h"
#include "liveupdate-priv.h"

struct incoming_unit {
	struct list_head list;
	/* Set once the driver has adopted it */
	struct iommu_device *iommu;
	struct iommu_liveupdate_unit_ser ser;
};

struct incoming_domain {
	struct list_head list;
	/* NULL before the first device is probed, and once RESTORE took it */
	struct iommu_domain *domain;
	/* RESTORE took it, or it was discarded: nothing to adopt any more */
	bool gone;
	void *owner;
	struct iommu_liveupdate_domain_ser ser;
};

struct incoming_device {
	struct list_head list;
	/* NULL if the hand-over is not readable */
	struct incoming_domain *domain;
	/* NULL before its probe and after it was removed or ended */
	struct device *dev;
	enum iommu_liveupdate_state state;
	/* Adoption was tried and failed: the device is blocked */
	bool failed;
	/* Attached, discarded or removed: the record has no further meaning */
	bool ended;
	struct iommu_liveupdate_device_ser ser;
};

/**
 * struct incoming - What the old kernel handed over
 * @readable: False if there is a hand-over that cannot be trusted. The lists are
 *            empty then, except that devices which PCI knows to have come
 *            running get a record when they are probed.
 * @units:    List of &struct incoming_unit.
 * @domains:  List of &struct incoming_domain.
 * @devices:  List of &struct incoming_device.
 */
struct incoming {
	bool readable;
	struct list_head units;
	struct list_head domains;
	struct list_head devices;
};

/* Set by the FLB's retrieve, cleared by its finish */
static struct incoming *incoming;

static struct incoming_domain *find_domain(struct incoming *in, u64 key)
{
	struct incoming_domain *it;

	list_for_each_entry(it, &in->domains, list)
		if (it->ser.key == key)
			return it;
	return NULL;
}

static struct incoming_unit *find_unit(struct incoming *in, u64 reg_phys)
{
	struct incoming_unit *it;

	list_for_each_entry(it, &in->units, list)
		if (it->ser.reg_phys == reg_phys)
			return it;
	return NULL;
}

static struct incoming_device *find_rid(struct incoming *in, u32 segment,
					u32 rid)
{
	struct incoming_device *it;

	list_for_each_entry(it, &in->devices, list)
		if (it->ser.segment == segment && it->ser.rid == rid)
			return it;
	return NULL;
}

static int load_units(struct incoming *in, struct kho_block_set *set, u64 nr)
{
	struct iommu_liveupdate_unit_ser *ser;
	struct kho_block_set_it it;
	struct incoming_unit *rec;

	kho_block_set_it_init(&it, set);
	while ((ser = kho_block_set_it_read_entry(&it))) {
		if (!nr-- || !iommu_liveupdate_unit_valid(ser) ||
		    find_unit(in, ser->reg_phys))
			return -EINVAL;
		rec = kzalloc_obj(*rec);
		if (!rec)
			return -ENOMEM;
		rec->ser = *ser;
		list_add_tail(&rec->list, &in->units);
	}
	return nr ? -EINVAL : 0;
}

static int load_domains(struct incoming *in, struct kho_block_set *set, u64 nr)
{
	struct iommu_liveupdate_domain_ser *ser;
	struct kho_block_set_it it;
	struct incoming_domain *rec;

	kho_block_set_it_init(&it, set);
	while ((ser = kho_block_set_it_read_entry(&it))) {
		if (!nr-- || !iommu_liveupdate_domain_valid(ser) ||
		    find_domain(in, ser->key))
			return -EINVAL;
		rec = kzalloc_obj(*rec);
		if (!rec)
			return -ENOMEM;
		rec->ser = *ser;
		list_add_tail(&rec->list, &in->domains);
	}
	return nr ? -EINVAL : 0;
}

static int load_devices(struct incoming *in, struct kho_block_set *set, u64 nr)
{
	struct iommu_liveupdate_device_ser *ser;
	struct kho_block_set_it it;
	struct incoming_device *rec;
	struct incoming_domain *domain;

	kho_block_set_it_init(&it, set);
	while ((ser = kho_block_set_it_read_entry(&it))) {
		if (!nr-- || !iommu_liveupdate_device_valid(ser) ||
		    find_rid(in, ser->segment, ser->rid) ||
		    !find_unit(in, ser->unit))
			return -EINVAL;
		domain = find_domain(in, ser->domain);
		if (!domain)
			return -EINVAL;
		rec = kzalloc_obj(*rec);
		if (!rec)
			return -ENOMEM;
		rec->ser = *ser;
		rec->domain = domain;
		list_add_tail(&rec->list, &in->devices);
	}
	return nr ? -EINVAL : 0;
}

static void free_records(struct incoming *in)
{
	struct incoming_device *device, *ndevice;
	struct incoming_domain *domain, *ndomain;
	struct incoming_unit *unit, *nunit;

	list_for_each_entry_safe(device, ndevice, &in->devices, list) {
		list_del(&device->list);
		kfree(device);
	}
	list_for_each_entry_safe(domain, ndomain, &in->domains, list) {
		list_del(&domain->list);
		kfree(domain);
	}
	list_for_each_entry_safe(unit, nunit, &in->units, list) {
		list_del(&unit->list);
		kfree(unit);
	}
}

/* The block set library follows the address it is given */
static int restore_set(struct kho_block_set *set, size_t entry_size, u64 head)
{
	kho_block_set_init(set, entry_size);
	if (head && !pfn_valid(PHYS_PFN(head)))
		return -EINVAL;
	return kho_block_set_restore(set, head);
}

static int load_records(struct incoming *in,
			const struct iommu_liveupdate_ser *ser)
{
	struct kho_block_set units, domains, devices;
	int ret;

	ret = restore_set(&units, sizeof(struct iommu_liveupdate_unit_ser),
			  ser->units);
	if (ret)
		return ret;
	ret = restore_set(&domains, sizeof(struct iommu_liveupdate_domain_ser),
			  ser->domains);
	if (ret)
		goto out_units;
	ret = restore_set(&devices, sizeof(struct iommu_liveupdate_device_ser),
			  ser->devices);
	if (ret)
		goto out_domains;

	ret = load_units(in, &units, ser->nr_units);
	if (!ret)
		ret = load_domains(in, &domains, ser->nr_domains);
	if (!ret)
		ret = load_devices(in, &devices, ser->nr_devices);
	if (ret)
		free_records(in);

	/* Everything has been copied */
	kho_block_set_destroy(&devices);
out_domains:
	kho_block_set_destroy(&domains);
out_units:
	kho_block_set_destroy(&units);
	return ret;
}

/**
 * iommu_liveupdate_incoming_load() - FLB retrieve: read the hand-over
 * @data: Physical address the old kernel gave to LUO.
 * @obj:  Set to the incoming records.
 *
 * What cannot be read is kept reserved, and remembered as unreadable so that
 * drivers block instead of booting cold.
 *
 * Context: May sleep; under the FLB's lock.
 * Return: 0 or -ENOMEM.
 */
int iommu_liveupdate_incoming_load(u64 data, void **obj)
{
	struct iommu_liveupdate_ser *ser;
	struct incoming *in;
	int ret = -EINVAL;

	in = kzalloc_obj(*in);
	if (!in)
		return -ENOMEM;
	INIT_LIST_HEAD(&in->units);
	INIT_LIST_HEAD(&in->domains);
	INIT_LIST_HEAD(&in->devices);

	if (data && IS_ALIGNED(data, PAGE_SIZE) && pfn_valid(PHYS_PFN(data))) {
		ser = phys_to_virt(data);
		if (iommu_liveupdate_ser_valid(ser, PAGE_SIZE))
			ret = load_records(in, ser);
		else
			pr_err("hand-over version %#x cannot be read, this kernel knows %#x\n",
			       ser->version, IOMMU_LIVEUPDATE_ABI_VERSION);
		if (!ret) {
			in->readable = true;
			iommu_liveupdate_keep_zero_page(ser->zero_pa);
			kho_restore_free(ser);
		}
	}
	if (ret)
		pr_err("hand-over is not usable (%pe): all preserved devices stay blocked\n",
		       ERR_PTR(ret));

	scoped_guard(mutex, &iommu_liveupdate_lock)
		WRITE_ONCE(incoming, in);
	*obj = in;
	return 0;
}

/* A device that goes with no domain's FINISH; the caller puts it */
static struct device *get_unrecorded(struct incoming *in)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	list_for_each_entry(rec, &in->devices, list)
		if (!rec->domain && !rec->ended)
			return get_device(rec->dev);
	return NULL;
}

/**
 * iommu_liveupdate_incoming_finish() - FLB finish: the last iommufd is finished
 * @obj: What iommu_liveupdate_incoming_load() made.
 *
 * Every device record has ended by now, attached or discarded, except those of an
 * iommufd that could not be read (nobody had the keys of its domains) and those
 * without a readable record. The devices have been quiesced; they end here, as
 * the memory is freed next.
 *
 * Context: May sleep; under the FLB's lock; takes group mutexes.
 */
void iommu_liveupdate_incoming_finish(void *obj)
{
	struct incoming_domain *domain;
	struct incoming_device *rec;
	struct incoming *in = obj;
	struct device *dev;

	while ((dev = get_unrecorded(in))) {
		iommu_group_liveupdate_discard(dev);
		put_device(dev);
	}

	list_for_each_entry(domain, &in->domains, list)
		iommu_liveupdate_discard_domain(domain->ser.key);

	guard(mutex)(&iommu_liveupdate_lock);
	WRITE_ONCE(incoming, NULL);
	list_for_each_entry(rec, &in->devices, list)
		WARN_ON(!rec->ended);
	free_records(in);
	kfree(in);
}

/* Lockless, see iommu_liveupdate_busy() */
bool iommu_liveupdate_incoming_pending(void)
{
	return READ_ONCE(incoming);
}

/**
 * iommu_liveupdate_boot_state() - Was translation handed over to this kernel?
 *
 * The first call reads the hand-over. An IOMMU driver makes it before it touches
 * a unit and without a lock, so that LUO's FLB lock is never taken inside of its
 * own; later calls repeat the answer.
 *
 * Context: May sleep; boot.
 * Return: &enum iommu_liveupdate_boot. A driver that finds translation on in a
 *         KHO boot never turns it off, whatever this says: without a record it
 *         blocks.
 */
enum iommu_liveupdate_boot iommu_liveupdate_boot_state(void)
{
	static enum iommu_liveupdate_boot state;
	static bool known;
	struct incoming *in;
	void *obj;
	int ret;

	if (known)
		return state;

	ret = liveupdate_flb_get_incoming(&iommu_liveupdate_flb, &obj);
	if (!ret) {
		in = obj;
		state = in->readable ? IOMMU_LIVEUPDATE_LIVE :
				       IOMMU_LIVEUPDATE_UNREADABLE;
		liveupdate_flb_put_incoming(&iommu_liveupdate_flb);
	} else if (ret == -ENODATA || ret == -ENOENT || ret == -EOPNOTSUPP) {
		state = IOMMU_LIVEUPDATE_COLD;
	} else {
		state = IOMMU_LIVEUPDATE_UNREADABLE;
	}
	known = true;
	return state;
}

/**
 * iommu_liveupdate_find_unit() - Record of an IOMMU unit
 * @type:     IOMMU_LIVEUPDATE_UNIT_*.
 * @reg_phys: Physical address of its register base.
 *
 * Context: May sleep; boot only, the record stays valid until FINISH.
 * Return: The record, or NULL if no device behind the unit was preserved.
 */
const struct iommu_liveupdate_unit_ser *
iommu_liveupdate_find_unit(u32 type, u64 reg_phys)
{
	struct incoming_unit *unit;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!incoming)
		return NULL;
	unit = find_unit(incoming, reg_phys);
	return unit && unit->ser.type == type ? &unit->ser : NULL;
}

/**
 * iommu_liveupdate_unit_adopted() - The driver has taken over a unit's root
 * @reg_phys: Physical address of its register base.
 * @iommu:    The unit, from here on able to block a routing id.
 *
 * Context: May sleep; boot only.
 */
void iommu_liveupdate_unit_adopted(u64 reg_phys, struct iommu_device *iommu)
{
	struct incoming_unit *unit;

	guard(mutex)(&iommu_liveupdate_lock);
	unit = incoming ? find_unit(incoming, reg_phys) : NULL;
	if (!WARN_ON(!unit))
		unit->iommu = iommu;
}

/**
 * iommu_liveupdate_walk_devices() - Visit the device records of a unit
 * @unit: Register base of the unit.
 * @fn:   Called for each record; non-zero stops the walk.
 * @data: Passed to @fn.
 *
 * Context: May sleep; @fn runs under iommu_liveupdate_lock.
 * Return: 0 or what @fn returned.
 */
int iommu_liveupdate_walk_devices(u64 unit, iommu_liveupdate_device_fn fn,
				  void *data)
{
	struct incoming_device *rec;
	int ret;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!incoming)
		return 0;
	list_for_each_entry(rec, &incoming->devices, list) {
		if (rec->ser.unit != unit)
			continue;
		ret = fn(&rec->ser, data);
		if (ret)
			return ret;
	}
	return 0;
}

static struct incoming_device *find_incoming(struct device *dev)
{
	struct incoming_device *rec;
	struct pci_dev *pdev;

	lockdep_assert_held(&iommu_liveupdate_lock);
	if (!incoming || !dev_is_pci(dev))
		return NULL;
	pdev = to_pci_dev(dev);
	rec = find_rid(incoming, pci_domain_nr(pdev->bus), pci_dev_id(pdev));
	return rec && !rec->ended ? rec : NULL;
}

/*
 * It runs, but nobody can tell what it was attached to. Its unit blocks it now;
 * with a default domain it would write to wherever that takes its addresses.
 */
static bool runs_unrecorded(struct device *dev)
{
	struct pci_dev *pdev;

	if (!incoming || incoming->readable || !dev_is_pci(dev))
		return false;
	pdev = to_pci_dev(dev);
	return pci_liveupdate_incoming(pdev) &&
	       !find_rid(incoming, pci_domain_nr(pdev->bus), pci_dev_id(pdev));
}

/* So that incoming_finish() finds it */
static struct incoming_device *record_unrecorded(struct device *dev)
{
	struct incoming_device *rec;

	rec = kzalloc_obj(*rec);
	if (!rec)
		return NULL;
	rec->ser.segment = pci_domain_nr(to_pci_dev(dev)->bus);
	rec->ser.rid = pci_dev_id(to_pci_dev(dev));
	list_add_tail(&rec->list, &incoming->devices);
	return rec;
}

/**
 * iommu_liveupdate_is_incoming() - Was the attachment of this device preserved?
 * @dev: Any device.
 *
 * Context: May sleep.
 * Return: true until the device was attached again, discarded or removed.
 */
bool iommu_liveupdate_is_incoming(struct device *dev)
{
	guard(mutex)(&iommu_liveupdate_lock);
	return find_incoming(dev) || runs_unrecorded(dev);
}

static void block(struct incoming_device *rec)
{
	struct incoming_unit *unit = find_unit(incoming, rec->ser.unit);
	const struct iommu_liveupdate_ops *ops;

	/* A unit nobody adopted has a root that blocks already */
	if (!unit || !unit->iommu)
		return;
	ops = unit->iommu->ops->liveupdate;
	ops->block_rid(unit->iommu, rec->ser.segment, rec->ser.rid);
}

/* The core holds the device, but its attachment is over */
static void refuse(struct incoming_device *rec, struct device *dev)
{
	rec->dev = dev;
	rec->state = IOMMU_LIVEUPDATE_HELD;
	rec->failed = true;
	block(rec);
}

/**
 * iommu_liveupdate_refuse() - Block a device whose attachment cannot be adopted
 * @dev: A device for which iommu_liveupdate_is_incoming() is true.
 *
 * Context: May sleep; group mutex held, at the probe of @dev.
 */
void iommu_liveupdate_refuse(struct device *dev)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	rec = find_incoming(dev);
	if (!rec && runs_unrecorded(dev))
		rec = record_unrecorded(dev);
	if (rec)
		refuse(rec, dev);
}

/**
 * iommu_liveupdate_adopt() - Take over the live attachment of a device
 * @dev: A device for which iommu_liveupdate_is_incoming() is true.
 *
 * On failure the hardware entry of @dev has been made non-present.
 *
 * Context: May sleep; group mutex held, at the probe of @dev.
 * Return: The restored domain, owned by the core; or
 *         -ENODEV if its domain was given away or discarded before @dev showed
 *         up, or if the hand-over is not readable, -EINVAL if the hardware
 *         disagrees with the record, -ENOMEM.
 */
struct iommu_domain *iommu_liveupdate_adopt(struct device *dev)
{
	const struct iommu_liveupdate_ops *ops = dev_iommu_ops(dev)->liveupdate;
	struct incoming_domain *domain;
	struct incoming_device *rec;
	int ret;

	guard(mutex)(&iommu_liveupdate_lock);
	rec = find_incoming(dev);
	if (!rec && runs_unrecorded(dev))
		rec = record_unrecorded(dev);
	if (!rec)
		return ERR_PTR(-ENOMEM);
	rec->dev = dev;
	rec->state = IOMMU_LIVEUPDATE_HELD;

	domain = rec->domain;
	if (!ops || !domain || domain->gone) {
		ret = -ENODEV;
		goto err_block;
	}

	if (!domain->domain) {
		struct iommu_domain *restored;

		restored = ops->restore_domain(dev, &domain->ser);
		if (IS_ERR(restored)) {
			ret = PTR_ERR(restored);
			goto err_block;
		}
		restored->type = IOMMU_DOMAIN_UNMANAGED;
		restored->owner = dev_iommu_ops(dev);
		if (!restored->ops)
			restored->ops = restored->owner->default_domain_ops;
		domain->domain = restored;
	}

	ret = ops->adopt_device(dev, domain->domain, &rec->ser);
	if (ret)
		goto err_block;

	dev_info(dev, "liveupdate: attachment adopted\n");
	return domain->domain;

err_block:
	refuse(rec, dev);
	dev_err(dev, "liveupdate: attachment cannot be adopted (%pe), device is blocked\n",
		ERR_PTR(ret));
	return ERR_PTR(ret);
}

/**
 * iommu_liveupdate_may_claim() - May @owner take a held device?
 * @dev:   A device held by the sentinel.
 * @owner: The iommufd that asks.
 *
 * Context: May sleep; group mutex held.
 * Return: 0, -EPERM if @owner is not the retrieved iommufd the device was bound
 *         to, -EIO if the device is blocked because adoption failed.
 */
int iommu_liveupdate_may_claim(struct device *dev, void *owner)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	rec = find_incoming(dev);
	if (!rec || !rec->domain || !rec->domain->owner ||
	    rec->domain->owner != owner)
		return -EPERM;
	return rec->failed ? -EIO : 0;
}

/**
 * iommu_liveupdate_set_state() - Record who holds the attachment of a device
 * @dev:   The device.
 * @state: New state; IOMMU_LIVEUPDATE_NONE ends the record.
 *
 * Context: May sleep; group mutex held.
 */
void iommu_liveupdate_set_state(struct device *dev,
				enum iommu_liveupdate_state state)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	rec = find_incoming(dev);
	if (WARN_ON(!rec))
		return;
	rec->state = state;
	if (state == IOMMU_LIVEUPDATE_NONE) {
		rec->dev = NULL;
		rec->ended = true;
	}
}

/**
 * iommu_liveupdate_set_owner() - Name the iommufd that may claim
 * @key:   Domain.
 * @owner: The retrieved iommufd.
 *
 * Context: May sleep.
 * Return: 0, -ENOENT if there is no such domain (or the hand-over is not
 *         readable), -EBUSY if it has an owner.
 */
int iommu_liveupdate_set_owner(u64 key, void *owner)
{
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = incoming ? find_domain(incoming, key) : NULL;
	if (!domain || domain->gone)
		return -ENOENT;
	if (domain->owner)
		return -EBUSY;
	domain->owner = owner;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_set_owner, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_clear_owner() - Undo iommu_liveupdate_set_owner()
 * @key:   Domain.
 * @owner: The iommufd that goes away.
 *
 * Devices it has claimed must have been released.
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_clear_owner(u64 key, void *owner)
{
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = incoming ? find_domain(incoming, key) : NULL;
	if (domain && domain->owner == owner)
		domain->owner = NULL;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_clear_owner, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_take_domain() - RESTORE: the HWPT becomes the domain's owner
 * @key:   Domain.
 * @owner: The iommufd that owns it.
 *
 * The caller keeps the domain alive as long as a device uses it, see
 * iommu_liveupdate_device_uses(), and frees it with iommu_domain_free().
 *
 * Context: May sleep.
 * Return: The domain, or -EPERM for another iommufd, -ENODEV if none of its
 *         devices could be adopted or it was taken before.
 */
struct iommu_domain *iommu_liveupdate_take_domain(u64 key, void *owner)
{
	struct iommu_domain *restored;
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = incoming ? find_domain(incoming, key) : NULL;
	if (!domain || !domain->domain || domain->gone)
		return ERR_PTR(-ENODEV);
	if (domain->owner != owner)
		return ERR_PTR(-EPERM);
	restored = domain->domain;
	domain->domain = NULL;
	domain->gone = true;
	return restored;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_take_domain, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_return_domain() - RESTORE failed: undo the take
 * @key:    Domain.
 * @owner:  The iommufd that took it.
 * @domain: What iommu_liveupdate_take_domain() gave, unchanged.
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_return_domain(u64 key, void *owner,
				    struct iommu_domain *domain)
{
	struct incoming_domain *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	rec = incoming ? find_domain(incoming, key) : NULL;
	if (WARN_ON(!rec || !rec->gone || rec->owner != owner))
		return;
	rec->domain = domain;
	rec->gone = false;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_return_domain, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_domain_unclaimed() - Is a device of a domain not bound yet?
 * @key: Domain.
 *
 * A device that never showed up or could not be adopted is not waited for.
 *
 * Context: May sleep.
 * Return: true while the sentinel holds an adopted device of the domain.
 */
bool iommu_liveupdate_domain_unclaimed(u64 key)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!incoming)
		return false;
	list_for_each_entry(rec, &incoming->devices, list)
		if (rec->ser.domain == key && !rec->ended && !rec->failed &&
		    rec->state == IOMMU_LIVEUPDATE_HELD)
			return true;
	return false;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_domain_unclaimed, "IOMMUFD_INTERNAL");

/*
 * Ends one record of a device that was not attached; returns false when there is
 * none left. Drops the lock for the group mutex, which is taken before it.
 */
static bool discard_one(u64 key)
{
	struct incoming_device *rec;
	struct device *dev = NULL;

	scoped_guard(mutex, &iommu_liveupdate_lock) {
		list_for_each_entry(rec, &incoming->devices, list) {
			if (rec->ser.domain != key || rec->ended)
				continue;
			if (!rec->dev) {
				/* Never showed up */
				block(rec);
				rec->ended = true;
				return true;
			}
			dev = get_device(rec->dev);
			break;
		}
	}
	if (!dev)
		return false;

	iommu_group_liveupdate_discard(dev);
	put_device(dev);
	scoped_guard(mutex, &iommu_liveupdate_lock) {
		WARN_ON(!rec->ended);
		rec->ended = true;
	}
	return true;
}

/**
 * iommu_liveupdate_discard_domain() - FINISH: end what nobody has attached
 * @key: Domain.
 *
 * Devices still held go to their default domain, which they must be quiesced
 * for; one that was claimed in the last moment is blocked; entries of devices
 * that never showed up are cleared; then the domain is freed unless RESTORE took
 * it.
 *
 * Context: May sleep; takes group mutexes. Cannot fail.
 */
void iommu_liveupdate_discard_domain(u64 key)
{
	struct iommu_domain *restored = NULL;
	struct incoming_domain *domain;

	scoped_guard(mutex, &iommu_liveupdate_lock) {
		domain = incoming ? find_domain(incoming, key) : NULL;
		if (!domain)
			return;
		/* No device probed from here on adopts it */
		restored = domain->domain;
		domain->domain = NULL;
		domain->gone = true;
		domain->owner = NULL;
	}

	while (discard_one(key))
		;
	if (restored)
		iommu_domain_free(restored);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_discard_domain, "IOMMUFD_INTERNAL");
