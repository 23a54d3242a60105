// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of IOMMU state: the new kernel takes attachments over
 *
 * What becomes of the records of liveupdate-load.c: adoption at probe, the claim
 * of the retrieved iommufd, RESTORE, and at FINISH the end of whatever nobody
 * claimed.
 */

#define pr_fmt(fmt) "iommu: liveupdate: " fmt

#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/slab.h>

#include <trace/events/iommu_liveupdate.h>

#include "iommu-priv.h"
#include "liveupdate-incoming.h"

static struct incoming_device *find_incoming(struct device *dev)
{
	struct incoming_device *rec;
	struct pci_dev *pdev;

	lockdep_assert_held(&iommu_liveupdate_lock);
	if (!iommu_incoming || !dev_is_pci(dev))
		return NULL;
	pdev = to_pci_dev(dev);
	rec = iommu_incoming_rid(iommu_incoming, pci_domain_nr(pdev->bus),
				 pci_dev_id(pdev));
	return rec && !rec->ended ? rec : NULL;
}

/*
 * It runs, but nobody can tell what it was attached to: there is no hand-over that
 * could be read, or none that tells of this device. Its unit blocks it now; with a
 * default domain it would write to wherever that takes its addresses.
 */
static bool runs_unrecorded(struct device *dev)
{
	struct pci_dev *pdev;

	lockdep_assert_held(&iommu_liveupdate_lock);
	if (!dev_is_pci(dev) || !(iommu_liveupdate_is_lost() || iommu_incoming))
		return false;
	pdev = to_pci_dev(dev);
	return pci_liveupdate_incoming(pdev) &&
	       !(iommu_incoming &&
		 iommu_incoming_rid(iommu_incoming, pci_domain_nr(pdev->bus),
				    pci_dev_id(pdev)));
}

/*
 * So that iommu_liveupdate_incoming_finish() finds it. If nothing was read at all
 * there is no such end: the device stays blocked as long as it is there.
 */
static struct incoming_device *record_unrecorded(struct device *dev)
{
	struct incoming_device *rec;

	if (!iommu_incoming && !iommu_liveupdate_incoming_create())
		return NULL;
	rec = kzalloc_obj(*rec);
	if (!rec)
		return NULL;
	rec->ser.segment = pci_domain_nr(to_pci_dev(dev)->bus);
	rec->ser.rid = pci_dev_id(to_pci_dev(dev));
	list_add_tail(&rec->list, &iommu_incoming->devices);
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
	struct incoming_unit *unit = iommu_incoming_unit(iommu_incoming, rec->ser.unit);
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
 * iommu_liveupdate_refuse() - Block a device that cannot be given back
 * @dev: A device for which iommu_liveupdate_is_incoming() is true. If it was
 *       adopted the caller has attached it to another domain.
 *
 * Context: May sleep; group mutex held.
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

	trace_liveupdate_adopt_device(dev, rec->ser.domain, 0);
	dev_info(dev, "liveupdate: attachment adopted\n");
	return domain->domain;

err_block:
	refuse(rec, dev);
	trace_liveupdate_adopt_device(dev, rec->ser.domain, ret);
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
		trace_liveupdate_finish_device(dev, rec->ser.domain);
		rec->dev = NULL;
		rec->ended = true;
	}
}

/**
 * iommu_liveupdate_finish() - The owner attached the adopted domain
 * @dev: The device, its hand-over is over.
 *
 * Context: May sleep; group mutex held.
 */
void iommu_liveupdate_finish(struct device *dev)
{
	const struct iommu_liveupdate_ops *ops = dev_iommu_ops(dev)->liveupdate;

	if (ops->finish_device)
		ops->finish_device(dev);
	iommu_liveupdate_set_state(dev, IOMMU_LIVEUPDATE_NONE);
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
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
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
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (domain && domain->owner == owner)
		domain->owner = NULL;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_clear_owner, "IOMMUFD_INTERNAL");

static bool has_failed(struct incoming_domain *domain)
{
	struct incoming_device *rec;

	lockdep_assert_held(&iommu_liveupdate_lock);
	list_for_each_entry(rec, &iommu_incoming->devices, list)
		if (rec->domain == domain && rec->failed)
			return true;
	return false;
}

/**
 * iommu_liveupdate_take_domain() - RESTORE: the HWPT becomes the domain's owner
 * @key:   Domain.
 * @owner: The iommufd that owns it.
 *
 * The caller keeps the domain alive as long as a device uses it, see
 * iommu_liveupdate_device_uses(), and frees it with iommu_domain_free().
 *
 * Context: May sleep.
 * Return: The domain, or -EPERM for another iommufd, -EIO if its devices are
 *         blocked because none of them could be adopted, -ENODEV if none showed
 *         up or it was taken before.
 */
struct iommu_domain *iommu_liveupdate_take_domain(u64 key, void *owner)
{
	struct iommu_domain *restored;
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (!domain || !domain->domain || domain->gone)
		return ERR_PTR(domain && has_failed(domain) ? -EIO : -ENODEV);
	if (domain->owner != owner)
		return ERR_PTR(-EPERM);
	restored = domain->domain;
	domain->domain = NULL;
	domain->gone = true;
	trace_liveupdate_restore_domain(key, domain->ser.pt.nr_tables);
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
	rec = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
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
 * A device that never showed up or is blocked is not waited for.
 *
 * Context: May sleep.
 * Return: true while the sentinel holds an adopted device of the domain.
 */
bool iommu_liveupdate_domain_unclaimed(u64 key)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!iommu_incoming)
		return false;
	list_for_each_entry(rec, &iommu_incoming->devices, list)
		if (rec->ser.domain == key && !rec->ended && !rec->failed &&
		    rec->state == IOMMU_LIVEUPDATE_HELD)
			return true;
	return false;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_domain_unclaimed, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_forget_domain() - RESTORE goes on without a domain
 * @key: Domain.
 *
 * Context: May sleep.
 * Return: true if no device has adopted the domain. One that shows up later will
 *         not either, as what is mapped may have changed by then.
 */
bool iommu_liveupdate_forget_domain(u64 key)
{
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (!domain)
		return true;
	if (domain->domain)
		return false;
	domain->gone = true;
	return true;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_forget_domain, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_give_up_domain() - Nobody can use a domain any more
 * @key: Domain.
 * @why: Reason, for the log.
 *
 * Blocks all its devices that are held. They and the domain end with FINISH.
 *
 * Context: May sleep; takes group mutexes. From a callback of a handler that
 *          carries the FLB.
 */
void iommu_liveupdate_give_up_domain(u64 key, const char *why)
{
	struct incoming_device *rec;
	struct incoming *in;
	struct device *dev;

	/* The caller's part in the FLB keeps the records */
	scoped_guard(mutex, &iommu_liveupdate_lock)
		in = iommu_incoming;
	if (!in)
		return;

	list_for_each_entry(rec, &in->devices, list) {
		if (rec->ser.domain != key)
			continue;
		scoped_guard(mutex, &iommu_liveupdate_lock)
			dev = rec->ended || rec->failed ? NULL : get_device(rec->dev);
		if (dev)
			pci_liveupdate_give_up(to_pci_dev(dev), why);
		put_device(dev);
	}
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_give_up_domain, "IOMMUFD_INTERNAL");

/*
 * The next record of a domain that has not ended, with a reference to its device.
 * There is none, and the record has ended, if the device never showed up: one
 * that is plugged in now has either got as far as its record, or the driver has
 * not begun to take over what block() takes away.
 */
static struct incoming_device *next_record(u64 key, struct device **dev)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_probe_device_lock);
	guard(mutex)(&iommu_liveupdate_lock);
	list_for_each_entry(rec, &iommu_incoming->devices, list) {
		if (rec->ser.domain != key || rec->ended)
			continue;
		*dev = get_device(rec->dev);
		if (!rec->dev) {
			block(rec);
			rec->ended = true;
		}
		return rec;
	}
	return NULL;
}

/*
 * Ends one record of a device that was not attached; returns false when there is
 * none left. Drops the lock for the group mutex, which is taken before it.
 */
static bool discard_one(u64 key)
{
	struct incoming_device *rec;
	struct device *dev;

	rec = next_record(key, &dev);
	if (!rec)
		return false;
	if (!dev)
		return true;

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
		domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
		if (!domain)
			return;
		/* No device probed from here on adopts it */
		restored = domain->domain;
		domain->domain = NULL;
		domain->gone = true;
		domain->owner = NULL;
		trace_liveupdate_discard_domain(key, domain->ser.pt.nr_tables);
	}

	while (discard_one(key))
		;
	if (restored)
		iommu_domain_free(restored);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_discard_domain, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_discard_file() - FINISH: end what nobody has attached
 * @file: The iommufd, see &struct iommu_liveupdate_domain_ser.file.
 *
 * Discards all domains of an iommufd, also those of one that cannot tell which
 * they are: the memory they map is freed next, whatever other sessions there
 * are.
 *
 * Context: May sleep; takes group mutexes. From the finish callback of a handler
 *          that carries the FLB. Cannot fail.
 */
void iommu_liveupdate_discard_file(u64 file)
{
	struct incoming_domain *domain;
	struct incoming *in;

	/* The caller's part in the FLB keeps the records */
	scoped_guard(mutex, &iommu_liveupdate_lock)
		in = iommu_incoming;
	if (!in)
		return;

	list_for_each_entry(domain, &in->domains, list)
		if (domain->ser.file == file)
			iommu_liveupdate_discard_domain(domain->ser.key);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_discard_file, "IOMMUFD_INTERNAL");
