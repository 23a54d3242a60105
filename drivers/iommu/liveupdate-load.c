// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of IOMMU state: the new kernel's records
 *
 * From the bytes the old kernel left to lists, which live from boot to the last
 * FINISH, and what an IOMMU driver asks of them at boot. A device record says
 * who holds the attachment now; a domain record owns the restored domain until
 * RESTORE takes it or FINISH discards it, see liveupdate-adopt.c and
 * liveupdate-discard.c.
 */

#define pr_fmt(fmt) "iommu: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/iommu.h>
#include <linux/kexec_handover.h>
#include <linux/kho_block.h>
#include <linux/liveupdate.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "liveupdate-abi.h"
#include "liveupdate-incoming.h"

struct incoming *iommu_incoming;

/* There is an FLB whose finish is still to come; written under its lock */
static bool pending;

/* See iommu_liveupdate_boot_state() */
static enum iommu_liveupdate_boot boot_state;
static bool boot_state_known;

struct incoming_domain *iommu_incoming_domain(struct incoming *in, u64 key)
{
	struct incoming_domain *it;

	list_for_each_entry(it, &in->domains, list)
		if (it->ser.key == key)
			return it;
	return NULL;
}

struct incoming_unit *iommu_incoming_unit(struct incoming *in, u64 reg_phys)
{
	struct incoming_unit *it;

	list_for_each_entry(it, &in->units, list)
		if (it->ser.reg_phys == reg_phys)
			return it;
	return NULL;
}

struct incoming_device *iommu_incoming_rid(struct incoming *in, u32 segment,
					   u32 rid)
{
	struct incoming_device *it;

	list_for_each_entry(it, &in->devices, list)
		if (it->ser.segment == segment && it->ser.rid == rid)
			return it;
	return NULL;
}

static int load_units(struct incoming *in, u64 head, u64 nr)
{
	struct iommu_liveupdate_unit_ser *sers __free(kvfree) =
		kho_block_array_restore(head, nr, sizeof(*sers), GFP_KERNEL);
	struct iommu_liveupdate_unit_ser *ser;
	struct incoming_unit *rec;

	if (IS_ERR(sers))
		return PTR_ERR(sers);

	for (ser = sers; ser < sers + nr; ser++) {
		if (!iommu_liveupdate_unit_valid(ser) ||
		    iommu_incoming_unit(in, ser->reg_phys))
			return -EINVAL;
		rec = kzalloc_obj(*rec);
		if (!rec)
			return -ENOMEM;
		rec->ser = *ser;
		list_add_tail(&rec->list, &in->units);
	}
	return 0;
}

static int load_domains(struct incoming *in, u64 head, u64 nr)
{
	struct iommu_liveupdate_domain_ser *sers __free(kvfree) =
		kho_block_array_restore(head, nr, sizeof(*sers), GFP_KERNEL);
	struct iommu_liveupdate_domain_ser *ser;
	struct incoming_domain *rec;

	if (IS_ERR(sers))
		return PTR_ERR(sers);

	for (ser = sers; ser < sers + nr; ser++) {
		if (!iommu_liveupdate_domain_valid(ser) ||
		    iommu_incoming_domain(in, ser->key))
			return -EINVAL;
		rec = kzalloc_obj(*rec);
		if (!rec)
			return -ENOMEM;
		rec->ser = *ser;
		list_add_tail(&rec->list, &in->domains);
	}
	return 0;
}

static int load_devices(struct incoming *in, u64 head, u64 nr)
{
	struct iommu_liveupdate_device_ser *sers __free(kvfree) =
		kho_block_array_restore(head, nr, sizeof(*sers), GFP_KERNEL);
	struct iommu_liveupdate_device_ser *ser;
	struct incoming_domain *domain;
	struct incoming_device *rec;

	if (IS_ERR(sers))
		return PTR_ERR(sers);

	for (ser = sers; ser < sers + nr; ser++) {
		if (!iommu_liveupdate_device_valid(ser) ||
		    iommu_incoming_rid(in, ser->segment, ser->rid) ||
		    !iommu_incoming_unit(in, ser->unit))
			return -EINVAL;
		domain = iommu_incoming_domain(in, ser->domain);
		if (!domain)
			return -EINVAL;
		rec = kzalloc_obj(*rec);
		if (!rec)
			return -ENOMEM;
		rec->ser = *ser;
		rec->domain = domain;
		list_add_tail(&rec->list, &in->devices);
	}
	return 0;
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

static int load_records(struct incoming *in,
			const struct iommu_liveupdate_ser *ser)
{
	int ret;

	ret = load_units(in, ser->units, ser->nr_units);
	if (!ret)
		ret = load_domains(in, ser->domains, ser->nr_domains);
	if (!ret)
		ret = load_devices(in, ser->devices, ser->nr_devices);
	if (ret)
		free_records(in);
	return ret;
}

/**
 * iommu_liveupdate_incoming_create() - Make room for records
 *
 * Context: May sleep; iommu_liveupdate_lock held.
 * Return: The empty records, not readable; NULL if there is no memory.
 */
struct incoming *iommu_liveupdate_incoming_create(void)
{
	struct incoming *in;

	lockdep_assert_held(&iommu_liveupdate_lock);
	in = kzalloc_obj(*in);
	if (!in)
		return NULL;
	INIT_LIST_HEAD(&in->units);
	INIT_LIST_HEAD(&in->domains);
	INIT_LIST_HEAD(&in->devices);
	iommu_incoming = in;
	return in;
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

	guard(mutex)(&iommu_liveupdate_lock);
	in = iommu_liveupdate_incoming_create();
	if (!in)
		return -ENOMEM;

	if (kho_is_handed_over(data)) {
		ser = phys_to_virt(data);
		if (iommu_liveupdate_ser_valid(ser, PAGE_SIZE))
			ret = load_records(in, ser);
		else if (ser->version != IOMMU_LIVEUPDATE_ABI_VERSION)
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

	WRITE_ONCE(pending, true);
	*obj = in;
	return 0;
}

/*
 * Ends the records, and returns true, unless a device has been recorded meanwhile.
 * No device is in the middle of its probe: it has found the records and is in
 * them, or it will find none.
 */
static bool end_incoming(struct incoming *in)
{
	struct incoming_device *rec;

	guard(mutex)(&iommu_probe_device_lock);
	guard(mutex)(&iommu_liveupdate_lock);
	list_for_each_entry(rec, &in->devices, list)
		if (!rec->ended && !rec->domain)
			return false;

	WRITE_ONCE(pending, false);
	iommu_incoming = NULL;
	list_for_each_entry(rec, &in->devices, list)
		WARN_ON(!rec->ended);
	free_records(in);
	kfree(in);
	return true;
}

/**
 * iommu_liveupdate_incoming_finish() - FLB finish: the last iommufd is finished
 * @obj: What iommu_liveupdate_incoming_load() made.
 *
 * Every device record has ended by now, attached or discarded, except those that
 * are not readable, or are of a domain that no iommufd has had. The devices have
 * been quiesced; they end here, as the memory is freed next.
 *
 * Context: May sleep; under the FLB's lock; takes iommu_probe_device_lock and
 *          group mutexes.
 */
void iommu_liveupdate_incoming_finish(void *obj)
{
	struct incoming_domain *domain;
	struct incoming *in = obj;

	list_for_each_entry(domain, &in->domains, list)
		iommu_incoming_discard_domain(domain);
	do
		iommu_incoming_discard_devices(NULL);
	while (!end_incoming(in));
}

/*
 * Lockless, see iommu_liveupdate_busy(). Records that were made because there was
 * no FLB to read do not count, as nothing would ever end them. Their devices are
 * blocked, and the PCI core has its own reasons not to suspend.
 */
bool iommu_liveupdate_incoming_pending(void)
{
	return READ_ONCE(pending);
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
	enum iommu_liveupdate_boot state;
	struct incoming *in;
	void *obj;
	int ret;

	if (boot_state_known)
		return boot_state;

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
	boot_state = state;
	boot_state_known = true;
	return state;
}

/**
 * iommu_liveupdate_is_lost() - Is a device that runs one nobody knows of?
 *
 * There is nothing to read in an ordinary boot, where no device runs. If one does
 * all the same, that was lost; for one, live update may be turned off on the
 * command line of this kernel.
 *
 * Context: Any.
 * Return: true if the hand-over was looked for and has not been read.
 */
bool iommu_liveupdate_is_lost(void)
{
	return boot_state_known && boot_state != IOMMU_LIVEUPDATE_LIVE;
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
	if (!iommu_incoming)
		return NULL;
	unit = iommu_incoming_unit(iommu_incoming, reg_phys);
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
	unit = iommu_incoming ? iommu_incoming_unit(iommu_incoming, reg_phys) : NULL;
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
	if (!iommu_incoming)
		return 0;
	list_for_each_entry(rec, &iommu_incoming->devices, list) {
		if (rec->ser.unit != unit)
			continue;
		ret = fn(&rec->ser, data);
		if (ret)
			return ret;
	}
	return 0;
}
