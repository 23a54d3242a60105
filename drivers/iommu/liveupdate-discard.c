// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of IOMMU state: the new kernel ends what nobody takes over
 *
 * The opposite of liveupdate-adopt.c for the records of liveupdate-load.c: an
 * iommufd that cannot have its memory back gives its devices up, and FINISH ends
 * the devices nobody has attached, and then their domains.
 */

#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>

#include <trace/events/iommu_liveupdate.h>

#include "iommu-priv.h"
#include "liveupdate-incoming.h"

/*
 * The first record, or the next after @rec, of a device of @file that may run,
 * with a reference to the device. Those that are not there are blocked on the way.
 * As long as the caller keeps the records they stay on the list.
 */
static struct incoming_device *next_running(u64 file,
					    struct incoming_device *rec,
					    struct device **dev)
{
	guard(mutex)(&iommu_probe_device_lock);
	guard(mutex)(&iommu_liveupdate_lock);
	rec = list_prepare_entry(rec, &iommu_incoming->devices, list);
	list_for_each_entry_continue(rec, &iommu_incoming->devices, list) {
		if (!rec->domain || rec->domain->ser.file != file ||
		    rec->ended || rec->failed)
			continue;
		if (!rec->dev) {
			iommu_incoming_end_absent(rec);
			continue;
		}
		*dev = get_device(rec->dev);
		return rec;
	}
	return NULL;
}

/**
 * iommu_liveupdate_give_up_file() - Nobody can use the domains of an iommufd
 * @file: The iommufd, see &struct iommu_liveupdate_domain_ser.file.
 * @why:  Reason, for the log.
 *
 * Blocks all devices of its domains, whether they have been probed or not. They
 * and the domains end with FINISH.
 *
 * Context: May sleep; takes group mutexes. From a callback of a handler that
 *          carries the FLB, which keeps the records; before the iommufd has the
 *          domains.
 */
void iommu_liveupdate_give_up_file(u64 file, const char *why)
{
	struct incoming_device *rec = NULL;
	struct incoming_domain *domain;
	struct device *dev;

	/* No device probed from here on adopts them */
	scoped_guard(mutex, &iommu_liveupdate_lock) {
		if (!iommu_incoming)
			return;
		list_for_each_entry(domain, &iommu_incoming->domains, list)
			if (domain->ser.file == file &&
			    domain->state == INCOMING_WAITS)
				domain->state = INCOMING_GIVEN_UP;
	}

	while ((rec = next_running(file, rec, &dev))) {
		pci_liveupdate_give_up(to_pci_dev(dev), why);
		/* That is for devices of which PCI knows that they came running */
		if (!pci_liveupdate_incoming(to_pci_dev(dev)))
			dev_err(dev, "liveupdate: %s, blocked\n", why);
		/* Again, or because PCI has stopped it without a word to us */
		iommu_liveupdate_give_up(dev);
		put_device(dev);
	}
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_give_up_file, "IOMMUFD_INTERNAL");

/*
 * The next record of a domain that has not ended, with a reference to its device
 * and another to the group. There are none, and the record has ended, if the
 * device never showed up: one that is plugged in now has either got as far as its
 * record, or the driver has not begun to take over what blocking takes away.
 */
static struct incoming_device *next_record(struct incoming_domain *domain,
					   struct device **dev,
					   struct iommu_group **group)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_probe_device_lock);
	guard(mutex)(&iommu_liveupdate_lock);
	list_for_each_entry(rec, &iommu_incoming->devices, list) {
		if (rec->domain != domain || rec->ended)
			continue;
		*dev = get_device(rec->dev);
		if (rec->dev) {
			*group = iommu_group_ref_get(rec->group);
		} else {
			iommu_incoming_block(rec);
			iommu_incoming_end(rec);
		}
		return rec;
	}
	return NULL;
}

/*
 * Ends one record of a device that was not attached; returns false when there is
 * none left. Drops the lock for the group mutex, which is taken before it. The
 * device may be unplugged in between: who holds the group mutex first ends the
 * record.
 */
static bool discard_one(struct incoming_domain *domain)
{
	struct incoming_device *rec;
	struct iommu_group *group;
	struct device *dev;

	rec = next_record(domain, &dev, &group);
	if (!rec)
		return false;
	if (!dev)
		return true;

	iommu_group_liveupdate_discard(group, dev);
	iommu_group_put(group);
	scoped_guard(mutex, &iommu_liveupdate_lock)
		if (WARN_ON(!rec->ended))
			iommu_incoming_end(rec);
	put_device(dev);
	return true;
}

/**
 * iommu_incoming_discard_devices() - End the devices nobody has attached
 * @domain: Of this domain; NULL for those without a readable record.
 *
 * Context: May sleep; takes group mutexes. Cannot fail.
 */
void iommu_incoming_discard_devices(struct incoming_domain *domain)
{
	while (discard_one(domain))
		;
}

/**
 * iommu_incoming_discard_domain() - FINISH: end a domain and its devices
 * @domain: Domain; no-op if it has been ended.
 *
 * Context: May sleep; takes group mutexes. The caller keeps the records. Cannot
 *          fail.
 */
void iommu_incoming_discard_domain(struct incoming_domain *domain)
{
	struct iommu_domain *restored;

	scoped_guard(mutex, &iommu_liveupdate_lock) {
		if (domain->state == INCOMING_DISCARDED)
			return;
		/* No device probed from here on adopts it */
		restored = domain->domain;
		domain->domain = NULL;
		domain->state = INCOMING_DISCARDED;
		domain->owner = NULL;
		trace_liveupdate_discard_domain(domain->ser.key,
						domain->ser.pt.nr_tables);
	}

	iommu_incoming_discard_devices(domain);
	if (restored)
		iommu_domain_free(restored);
}

static struct incoming_domain *next_domain(u64 file)
{
	struct incoming_domain *domain;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!iommu_incoming)
		return NULL;
	list_for_each_entry(domain, &iommu_incoming->domains, list)
		if (domain->ser.file == file &&
		    domain->state != INCOMING_DISCARDED)
			return domain;
	return NULL;
}

/**
 * iommu_liveupdate_discard_file() - FINISH: end what nobody has attached
 * @file: The iommufd, see &struct iommu_liveupdate_domain_ser.file.
 *
 * Devices still held go to their default domain, which they must be quiesced
 * for; one that was claimed in the last moment is blocked; entries of devices
 * that never showed up are cleared; then each domain is freed unless RESTORE took
 * it.
 *
 * These are all domains of the iommufd, as the memory they map is freed next, and
 * none of another one. What its description says does not count: it may not be
 * readable, or be damaged.
 *
 * Context: May sleep; takes group mutexes. From the finish callback of a handler
 *          that carries the FLB, which keeps the records. Cannot fail.
 */
void iommu_liveupdate_discard_file(u64 file)
{
	struct incoming_domain *domain;

	while ((domain = next_domain(file)))
		iommu_incoming_discard_domain(domain);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_discard_file, "IOMMUFD_INTERNAL");
