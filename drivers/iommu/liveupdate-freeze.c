// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of IOMMU state: the last things the old kernel does
 *
 * Freeze writes the records of liveupdate.c to where the next kernel reads them,
 * without allocating anything. From there to the jump IOMMU drivers ask whether
 * there is a device that has to be kept running.
 */

#include <linux/iommu.h>
#include <linux/string.h>

#include <trace/events/iommu_liveupdate.h>

#include "iommu-priv.h"
#include "liveupdate-outgoing.h"

static int write_records(void)
{
	struct iommu_liveupdate_ser *ser = iommu_outgoing->ser;
	struct kho_block_set_it it;
	struct outgoing_domain *domain;
	struct outgoing_device *device;
	struct outgoing_unit *unit;
	void *entry;

	kho_block_set_it_init(&it, &iommu_outgoing->unit_set);
	list_for_each_entry(unit, &iommu_outgoing->units, list) {
		entry = kho_block_set_it_reserve_entry(&it);
		if (WARN_ON(!entry))
			return -ENOSPC;
		memcpy(entry, &unit->ser, sizeof(unit->ser));
	}

	kho_block_set_it_init(&it, &iommu_outgoing->domain_set);
	list_for_each_entry(domain, &iommu_outgoing->domains, list) {
		entry = kho_block_set_it_reserve_entry(&it);
		if (WARN_ON(!entry))
			return -ENOSPC;
		memcpy(entry, &domain->ser, sizeof(domain->ser));
	}

	kho_block_set_it_init(&it, &iommu_outgoing->device_set);
	list_for_each_entry(device, &iommu_outgoing->devices, list) {
		entry = kho_block_set_it_reserve_entry(&it);
		if (WARN_ON(!entry))
			return -ENOSPC;
		memcpy(entry, &device->ser, sizeof(device->ser));
	}

	ser->nr_units = list_count_nodes(&iommu_outgoing->units);
	ser->nr_domains = list_count_nodes(&iommu_outgoing->domains);
	ser->nr_devices = list_count_nodes(&iommu_outgoing->devices);
	ser->units = kho_block_set_head_pa(&iommu_outgoing->unit_set);
	ser->domains = kho_block_set_head_pa(&iommu_outgoing->domain_set);
	ser->devices = kho_block_set_head_pa(&iommu_outgoing->device_set);
	return 0;
}

static void clear_records(void)
{
	struct iommu_liveupdate_ser *ser = iommu_outgoing->ser;

	kho_block_set_clear(&iommu_outgoing->unit_set);
	kho_block_set_clear(&iommu_outgoing->domain_set);
	kho_block_set_clear(&iommu_outgoing->device_set);
	ser->nr_units = 0;
	ser->nr_domains = 0;
	ser->nr_devices = 0;
	ser->units = 0;
	ser->domains = 0;
	ser->devices = 0;
}

/**
 * iommu_liveupdate_freeze() - Last check and write-out before the jump
 *
 * Called once for each preserved iommufd; the first call does the work. LUO
 * keeps preserve and unpreserve out from here to unfreeze or the jump.
 *
 * Context: May sleep; reboot(2) only. Allocates nothing.
 * Return: 0, or -EINVAL if the hand-over entries of a device differ from the
 *         live ones; then nothing is frozen.
 */
int iommu_liveupdate_freeze(void)
{
	const struct iommu_liveupdate_ops *ops;
	struct outgoing_device *rec;
	int ret;

	guard(mutex)(&iommu_liveupdate_lock);
	if (WARN_ON(!iommu_outgoing))
		return -ENODEV;
	if (iommu_outgoing->frozen) {
		iommu_outgoing->frozen++;
		return 0;
	}

	list_for_each_entry(rec, &iommu_outgoing->devices, list) {
		ops = dev_iommu_ops(rec->dev)->liveupdate;
		ret = ops->freeze_device(rec->dev, &rec->ser);
		if (ret) {
			dev_err(rec->dev, "liveupdate: hand-over entry differs from the live one\n");
			return ret;
		}
	}

	ret = write_records();
	if (ret) {
		clear_records();
		return ret;
	}
	trace_liveupdate_freeze(iommu_outgoing->ser->nr_units,
				iommu_outgoing->ser->nr_domains,
				iommu_outgoing->ser->nr_devices);
	iommu_outgoing->frozen = 1;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_freeze, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_unfreeze() - Undo one iommu_liveupdate_freeze()
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_unfreeze(void)
{
	guard(mutex)(&iommu_liveupdate_lock);
	if (WARN_ON(!iommu_outgoing || !iommu_outgoing->frozen))
		return;
	if (!--iommu_outgoing->frozen)
		clear_records();
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_unfreeze, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_busy() - Is any IOMMU state preserved or handed over?
 *
 * For whoever is about to do what no preserved or adopted unit survives, such
 * as suspend or hot-plug of a unit.
 *
 * Context: Any; takes no lock. The answer may be outdated at once.
 * Return: true from the first preserved iommufd until the last is unpreserved,
 *         and from boot until the last incoming one is finished. Devices that came
 *         running without a hand-over do not count: they stay blocked.
 */
bool iommu_liveupdate_busy(void)
{
	return READ_ONCE(iommu_outgoing) || iommu_liveupdate_incoming_pending();
}

/**
 * iommu_liveupdate_frozen() - Is there a device that must outlive this kernel?
 *
 * Context: May sleep; the answer cannot change from a successful freeze to the
 *          jump. For syscore shutdown, not for later (take a flag there).
 * Return: true if DMA of at least one device goes on over the coming jump.
 */
bool iommu_liveupdate_frozen(void)
{
	guard(mutex)(&iommu_liveupdate_lock);
	return iommu_outgoing && iommu_outgoing->frozen && !list_empty(&iommu_outgoing->devices);
}

/**
 * iommu_liveupdate_zero_page() - The preserved page of zeroes
 *
 * A root table without entries and an interrupt-remapping table without
 * entries at once; read only. One page serves all units.
 *
 * Context: May sleep; only between freeze and the jump.
 * Return: Its physical address, 0 when nothing is preserved.
 */
phys_addr_t iommu_liveupdate_zero_page(void)
{
	guard(mutex)(&iommu_liveupdate_lock);
	return iommu_outgoing ? iommu_outgoing->ser->zero_pa : 0;
}
