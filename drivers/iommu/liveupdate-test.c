// SPDX-License-Identifier: GPL-2.0
/*
 * A hand-over without a kexec, for the selftest of iommufd
 *
 * The records are what liveupdate-load.c makes of the hand-over of another
 * kernel, with the domain there as if the probe of a device had restored it.
 * They go the same way from there on, through liveupdate-adopt.c. The devices
 * are made up: the core hands over PCI devices, and the selftest has none.
 */

#include <linux/cleanup.h>
#include <linux/iommu.h>
#include <linux/limits.h>
#include <linux/slab.h>

#include "liveupdate-incoming.h"

/* Last key given out; iommu_liveupdate_lock */
static u64 last_key;

/**
 * iommu_liveupdate_test_possible() - Can this kernel hand over to itself?
 *
 * Context: May sleep, without locks.
 * Return: false if another kernel did hand something over.
 */
bool iommu_liveupdate_test_possible(void)
{
	return iommu_liveupdate_boot_state() == IOMMU_LIVEUPDATE_COLD;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_test_possible, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_test_hand_over() - Have the core hold a domain
 * @domain: A domain; the core's until it is taken or discarded.
 * @file:   The iommufd it belongs to.
 * @key:    Set to its number in the hand-over.
 *
 * Context: May sleep. Only if iommu_liveupdate_test_possible().
 * Return: 0 or -ENOMEM. On success iommu_liveupdate_test_end() has to follow.
 */
int iommu_liveupdate_test_hand_over(struct iommu_domain *domain, u64 file,
				    u64 *key)
{
	struct incoming_domain *rec;

	rec = kzalloc_obj(*rec);
	if (!rec)
		return -ENOMEM;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!iommu_incoming && !iommu_liveupdate_incoming_create()) {
		kfree(rec);
		return -ENOMEM;
	}
	iommu_incoming->readable = true;
	rec->domain = domain;
	rec->ser.key = ++last_key;
	rec->ser.file = file;
	list_add_tail(&rec->list, &iommu_incoming->domains);
	*key = rec->ser.key;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_test_hand_over, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_test_add_device() - Make up a device of a domain
 * @key: What iommu_liveupdate_test_hand_over() gave.
 *
 * It was adopted, and nobody has bound it.
 *
 * Context: May sleep.
 * Return: 0, -ENOENT if there is no such domain, or -ENOMEM.
 */
int iommu_liveupdate_test_add_device(u64 key)
{
	struct incoming_device *rec;

	rec = kzalloc_obj(*rec);
	if (!rec)
		return -ENOMEM;

	guard(mutex)(&iommu_liveupdate_lock);
	rec->domain = iommu_incoming ?
		iommu_incoming_domain(iommu_incoming, key) : NULL;
	if (!rec->domain) {
		kfree(rec);
		return -ENOENT;
	}
	rec->state = IOMMU_LIVEUPDATE_HELD;
	rec->ser.domain = key;
	/* Not where a PCI device can be */
	rec->ser.segment = U32_MAX;
	rec->ser.rid = U32_MAX;
	list_add_tail(&rec->list, &iommu_incoming->devices);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_test_add_device, "IOMMUFD_INTERNAL");

static void remove_devices(u64 key)
{
	struct incoming_device *rec, *next;

	list_for_each_entry_safe(rec, next, &iommu_incoming->devices, list) {
		if (rec->ser.domain != key)
			continue;
		list_del(&rec->list);
		kfree(rec);
	}
}

/**
 * iommu_liveupdate_test_remove_devices() - The devices of a domain were bound
 * @key: What iommu_liveupdate_test_hand_over() gave.
 *
 * As they are no devices there is nothing to attach after it.
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_test_remove_devices(u64 key)
{
	guard(mutex)(&iommu_liveupdate_lock);
	if (iommu_incoming)
		remove_devices(key);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_test_remove_devices, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_test_end() - Undo iommu_liveupdate_test_hand_over()
 * @key: What it gave. The domain has been taken or discarded.
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_test_end(u64 key)
{
	struct incoming *in;
	struct incoming_domain *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	in = iommu_incoming;
	rec = in ? iommu_incoming_domain(in, key) : NULL;
	if (WARN_ON(!rec || rec->domain))
		return;

	remove_devices(key);
	list_del(&rec->list);
	kfree(rec);
	if (list_empty(&in->domains)) {
		iommu_incoming = NULL;
		kfree(in);
	}
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_test_end, "IOMMUFD_INTERNAL");
