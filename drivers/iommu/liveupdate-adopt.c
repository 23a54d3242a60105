// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of IOMMU state: the new kernel takes attachments over
 *
 * What becomes of the records of liveupdate-load.c: adoption at probe, the claim
 * of the retrieved iommufd, and RESTORE. What nobody claims comes to its end in
 * liveupdate-discard.c.
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

/* On the unit that the record names */
void iommu_incoming_block(struct incoming_device *rec)
{
	struct incoming_unit *unit = iommu_incoming_unit(iommu_incoming, rec->ser.unit);
	const struct iommu_liveupdate_ops *ops;

	/*
	 * A unit nobody adopted has a root that blocks already. Should its driver not
	 * have come up at all, there is only bus mastering left to be turned off.
	 */
	if (!unit || !unit->iommu)
		return;
	ops = unit->iommu->ops->liveupdate;
	ops->block_rid(unit->iommu, rec->ser.segment, rec->ser.rid);
}

/* Not as ended: a device whose record has ended gets its default domain */
void iommu_incoming_end_absent(struct incoming_device *rec)
{
	iommu_incoming_block(rec);
	rec->failed = true;
}

/* The core holds the device */
static void hold(struct incoming_device *rec, struct device *dev)
{
	rec->dev = dev;
	rec->group = dev->iommu_group;
	rec->state = IOMMU_LIVEUPDATE_HELD;
}

/* On the unit that translates for it, whatever a record says */
static void block_present(struct device *dev)
{
	const struct iommu_liveupdate_ops *ops = dev_iommu_ops(dev)->liveupdate;
	struct pci_dev *pdev = to_pci_dev(dev);

	if (ops)
		ops->block_rid(dev->iommu->iommu_dev, pci_domain_nr(pdev->bus),
			       pci_dev_id(pdev));
}

/*
 * But its attachment is over. Should the record name another unit, the entry there
 * goes as well, as it leads to a table that is about to be freed.
 */
static void refuse(struct incoming_device *rec, struct device *dev)
{
	hold(rec, dev);
	rec->failed = true;
	block_present(dev);
	iommu_incoming_block(rec);
}

/* The record has no further meaning; iommu_liveupdate_lock is held */
void iommu_incoming_end(struct incoming_device *rec)
{
	if (rec->dev)
		trace_liveupdate_finish_device(rec->dev, rec->ser.domain);
	rec->dev = NULL;
	rec->group = NULL;
	rec->ended = true;
}

/**
 * iommu_liveupdate_get_group() - The group of a device the core holds
 * @dev: A device the caller has a reference to. It may be being removed.
 *
 * Context: May sleep.
 * Return: The group, for the caller to put; or NULL if @dev is not held, or has
 *         been removed.
 */
struct iommu_group *iommu_liveupdate_get_group(struct device *dev)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!iommu_incoming)
		return NULL;
	list_for_each_entry(rec, &iommu_incoming->devices, list)
		if (rec->dev == dev)
			return iommu_group_ref_get(rec->group);
	return NULL;
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
	else
		block_present(dev);
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
	if (!rec) {
		block_present(dev);
		return ERR_PTR(-ENOMEM);
	}
	hold(rec, dev);

	domain = rec->domain;
	if (!ops || !domain || domain->state != INCOMING_WAITS) {
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
		restored->is_restored = true;
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
	if (state == IOMMU_LIVEUPDATE_NONE)
		iommu_incoming_end(rec);
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
 * iommu_liveupdate_removed() - A device is gone
 * @dev: Any device, taken off the domain it was attached to. Its reference to
 *       its group has not been put.
 *
 * The record, if there is one, ends here and not earlier: who finds none left of
 * a domain frees the domain.
 *
 * Context: May sleep; group mutex held.
 */
void iommu_liveupdate_removed(struct device *dev)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!iommu_incoming)
		return;
	list_for_each_entry(rec, &iommu_incoming->devices, list) {
		if (rec->dev != dev)
			continue;
		iommu_incoming_end(rec);
		return;
	}
}

/**
 * iommu_liveupdate_set_owner() - Name the iommufd that may claim
 * @key:   Domain.
 * @file:  The iommufd in the hand-over, see
 *         &struct iommu_liveupdate_domain_ser.file.
 * @owner: The retrieved iommufd.
 *
 * Context: May sleep.
 * Return: 0, -ENOENT if @file had no such domain (or the hand-over is not
 *         readable), -EBUSY if it has an owner.
 */
int iommu_liveupdate_set_owner(u64 key, u64 file, void *owner)
{
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (!domain || domain->ser.file != file ||
	    domain->state != INCOMING_WAITS)
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

/* Neither a device that is not there nor one that is blocked is waited for */
static bool is_unclaimed(struct incoming_domain *domain)
{
	struct incoming_device *rec;

	lockdep_assert_held(&iommu_liveupdate_lock);
	list_for_each_entry(rec, &iommu_incoming->devices, list)
		if (rec->domain == domain && !rec->ended && !rec->failed &&
		    rec->state == IOMMU_LIVEUPDATE_HELD)
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
 * Return: The domain, even if none of its devices could adopt it: they are
 *         blocked then, and it has no users. Or -EPERM for another iommufd, -EIO
 *         if it could not be restored and a device is blocked for that, -ENODEV if
 *         no device showed up, one of them is not bound, or it was taken before.
 */
struct iommu_domain *iommu_liveupdate_take_domain(u64 key, void *owner)
{
	struct iommu_domain *restored;
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (!domain || !domain->domain || domain->state != INCOMING_WAITS)
		return ERR_PTR(domain && has_failed(domain) ? -EIO : -ENODEV);
	if (domain->owner != owner)
		return ERR_PTR(-EPERM);
	/* One may have shown up since iommu_liveupdate_domain_unclaimed() */
	if (is_unclaimed(domain))
		return ERR_PTR(-ENODEV);
	restored = domain->domain;
	domain->domain = NULL;
	domain->state = INCOMING_TAKEN;
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
 * A device that has shown up in between stays blocked.
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_return_domain(u64 key, void *owner,
				    struct iommu_domain *domain)
{
	struct incoming_domain *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	rec = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (WARN_ON(!rec || rec->state != INCOMING_TAKEN || rec->owner != owner))
		return;
	rec->domain = domain;
	rec->state = INCOMING_WAITS;
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
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	return domain && is_unclaimed(domain);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_domain_unclaimed, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_forget_domain() - RESTORE goes on without a domain
 * @key: Domain.
 *
 * Context: May sleep.
 * Return: true if it was restored for no device: none has shown up, or its page
 *         table cannot be used. A device that shows up later will not adopt it
 *         either, as what is mapped may have changed by then. false if it is
 *         there to be taken, whether a device could adopt it or not.
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
	if (domain->state == INCOMING_WAITS)
		domain->state = INCOMING_LEFT_OUT;
	return true;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_forget_domain, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_remember_domain() - RESTORE failed: wait for devices again
 * @key: Domain; no-op unless iommu_liveupdate_forget_domain() has left it out.
 *
 * A device that has shown up in between stays blocked.
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_remember_domain(u64 key)
{
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (domain && domain->state == INCOMING_LEFT_OUT)
		domain->state = INCOMING_WAITS;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_remember_domain, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_end_absent() - RESTORE does not wait for devices
 * @key: Domain that was taken or left out.
 *
 * A device of the domain that has not been probed may do DMA all the same. Takes
 * it off the page table, before mappings change or the table is freed. It cannot
 * be given back then: should it show up it stays blocked until FINISH.
 *
 * Context: May sleep; takes iommu_probe_device_lock. Cannot fail.
 */
void iommu_liveupdate_end_absent(u64 key)
{
	struct incoming_domain *domain;
	struct incoming_device *rec;

	/* The driver is not in the middle of a probe, see next_record() */
	guard(mutex)(&iommu_probe_device_lock);
	guard(mutex)(&iommu_liveupdate_lock);
	domain = iommu_incoming ? iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (!domain)
		return;
	list_for_each_entry(rec, &iommu_incoming->devices, list)
		if (rec->domain == domain && !rec->ended && !rec->dev)
			iommu_incoming_end_absent(rec);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_end_absent, "IOMMUFD_INTERNAL");
