// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of IOMMU state: the old kernel's side and the FLB object
 */

/**
 * DOC: IOMMU live update
 *
 * A device that is attached to a domain of iommufd goes on doing DMA while the
 * kernel underneath is replaced by kexec. For that the IOMMU must find the same
 * tables at the same place, before, during and after the jump, and the new
 * kernel must learn what they are.
 *
 * What is preserved is an *attachment*: a device, the domain it is attached to
 * with the I/O page table, and the entries of the IOMMU unit that lead from the
 * device to the table. The memory the table points to is not ours: it belongs
 * to memfds which the iommufd handler makes sure are preserved before.
 *
 * Old kernel
 *   - iommufd is preserved: each marked domain goes through
 *     iommu_liveupdate_preserve_domain(); from here its table is not written.
 *   - a device is preserved: iommu_liveupdate_preserve_device(). The driver puts
 *     copies of the device's entries into a *hand-over root* that holds nothing
 *     else. The live tables are not edited, so unpreserve only frees copies.
 *   - reboot(2) freezes: iommu_liveupdate_freeze() verifies the copies and
 *     writes the records below the FLB object. Nothing allocates here.
 *   - syscore shutdown, all drivers silent: the driver makes the hand-over root
 *     the root in one register write. Whatever is not in it can no longer do
 *     DMA. Translation stays on from here to the end of time.
 *
 * New kernel (liveupdate-adopt.c)
 *   - the driver adopts the hand-over root in place and adds to it.
 *   - at probe the core restores the domain around the live table and adopts
 *     the attachment: software state only. A sentinel owns the group, so no
 *     driver can bind and no other domain can be attached.
 *   - the retrieved iommufd claims the group from the sentinel, RESTORE takes
 *     the domain, ATTACH of that very domain completes the circle.
 *   - what nobody claims is discarded when the session finishes.
 *
 * Failure before the jump undoes everything. Failure after it blocks the
 * device: never the default domain, never translation off.
 *
 * Locks: see iommu_liveupdate_lock in liveupdate-priv.h.
 */

#define pr_fmt(fmt) "iommu: liveupdate: " fmt

#include <linux/iommu.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/iommu.h>
#include <linux/kho_block.h>
#include <linux/liveupdate.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "iommu-priv.h"
#include "liveupdate-priv.h"

/* Guards outgoing and incoming records, order in liveupdate-priv.h */
DEFINE_MUTEX(iommu_liveupdate_lock);

struct outgoing_unit {
	struct list_head list;
	struct iommu_device *iommu;
	unsigned int devices;
	struct iommu_liveupdate_unit_ser ser;
};

struct outgoing_domain {
	struct list_head list;
	struct iommu_domain *domain;
	unsigned int devices;
	struct iommu_liveupdate_domain_ser ser;
};

struct outgoing_device {
	struct list_head list;
	struct device *dev;
	struct outgoing_unit *unit;
	struct outgoing_domain *domain;
	struct iommu_liveupdate_device_ser ser;
};

/**
 * struct outgoing - Records of this kernel for the next
 * @ser:        KHO memory whose address is the FLB data; filled by freeze.
 * @unit_set:   KHO blocks, always just large enough for @units.
 * @domain_set: The same for @domains.
 * @device_set: The same for @devices.
 * @units:      List of &struct outgoing_unit.
 * @domains:    List of &struct outgoing_domain.
 * @devices:    List of &struct outgoing_device.
 * @next_key:   Next &struct iommu_liveupdate_domain_ser.key.
 * @frozen:     Number of files that called iommu_liveupdate_freeze().
 *
 * Exists from the first preserved iommufd to the last unpreserved one.
 */
struct outgoing {
	struct iommu_liveupdate_ser *ser;
	struct kho_block_set unit_set;
	struct kho_block_set domain_set;
	struct kho_block_set device_set;
	struct list_head units;
	struct list_head domains;
	struct list_head devices;
	u64 next_key;
	unsigned int frozen;
};

static struct outgoing *outgoing;

/*
 * The page of zeroes of the hand-over. Never freed but used again for the next
 * update: a unit that this kernel did not set up still reads the one it got.
 */
static struct folio *zero_page;

/**
 * iommu_liveupdate_keep_zero_page() - Take over the page of zeroes
 * @pa: Where the previous kernel had it.
 *
 * Context: May sleep; boot, before anything is preserved.
 */
void iommu_liveupdate_keep_zero_page(phys_addr_t pa)
{
	struct folio *folio = kho_restore_folio(pa);

	/* It becomes a root table again: anything in it would be let through */
	if (!folio || folio_order(folio) ||
	    memchr_inv(folio_address(folio), 0, PAGE_SIZE)) {
		pr_warn("page of zeroes was not handed over\n");
		return;
	}
	zero_page = folio;
}

static int outgoing_create(struct liveupdate_flb_op_args *args)
{
	struct outgoing *out;
	int ret;

	out = kzalloc_obj(*out);
	if (!out)
		return -ENOMEM;

	out->ser = kho_alloc_preserve(sizeof(*out->ser));
	if (IS_ERR(out->ser)) {
		ret = PTR_ERR(out->ser);
		goto err_free;
	}

	if (!zero_page)
		zero_page = folio_alloc(GFP_KERNEL | __GFP_ZERO, 0);
	ret = zero_page ? kho_preserve_folio(zero_page) : -ENOMEM;
	if (ret)
		goto err_free_ser;

	/* Readable as "nothing preserved" until freeze says otherwise */
	out->ser->version = IOMMU_LIVEUPDATE_ABI_VERSION;
	out->ser->zero_pa = PFN_PHYS(folio_pfn(zero_page));
	kho_block_set_init(&out->unit_set,
			   sizeof(struct iommu_liveupdate_unit_ser));
	kho_block_set_init(&out->domain_set,
			   sizeof(struct iommu_liveupdate_domain_ser));
	kho_block_set_init(&out->device_set,
			   sizeof(struct iommu_liveupdate_device_ser));
	INIT_LIST_HEAD(&out->units);
	INIT_LIST_HEAD(&out->domains);
	INIT_LIST_HEAD(&out->devices);
	out->next_key = 1;

	scoped_guard(mutex, &iommu_liveupdate_lock)
		WRITE_ONCE(outgoing, out);
	args->data = virt_to_phys(out->ser);
	args->obj = out;
	return 0;

err_free_ser:
	kho_unpreserve_free(out->ser);
err_free:
	kfree(out);
	return ret;
}

static void outgoing_destroy(struct liveupdate_flb_op_args *args)
{
	struct outgoing *out = args->obj;

	scoped_guard(mutex, &iommu_liveupdate_lock)
		WRITE_ONCE(outgoing, NULL);

	/* The files that filled the lists are gone, and have emptied them */
	WARN_ON(!list_empty(&out->units) || !list_empty(&out->domains) ||
		!list_empty(&out->devices));
	kho_block_set_destroy(&out->device_set);
	kho_block_set_destroy(&out->domain_set);
	kho_block_set_destroy(&out->unit_set);
	kho_unpreserve_folio(zero_page);
	kho_unpreserve_free(out->ser);
	kfree(out);
}

static int incoming_retrieve(struct liveupdate_flb_op_args *args)
{
	return iommu_liveupdate_incoming_load(args->data, &args->obj);
}

static void incoming_finish(struct liveupdate_flb_op_args *args)
{
	iommu_liveupdate_incoming_finish(args->obj);
}

static const struct liveupdate_flb_ops iommu_liveupdate_flb_ops = {
	.preserve = outgoing_create,
	.unpreserve = outgoing_destroy,
	.retrieve = incoming_retrieve,
	.finish = incoming_finish,
	.owner = THIS_MODULE,
};

struct liveupdate_flb iommu_liveupdate_flb = {
	.ops = &iommu_liveupdate_flb_ops,
	.compatible = IOMMU_LIVEUPDATE_FLB_COMPATIBLE,
};

/**
 * iommu_liveupdate_register_flb() - Tie the IOMMU FLB to a file handler
 * @fh: The iommufd file handler; no other may carry this FLB (the link between
 *      handler and FLB is part of the ABI: the next kernel counts files).
 *
 * Context: May sleep; takes LUO's registration lock.
 * Return: As liveupdate_register_flb().
 */
int iommu_liveupdate_register_flb(struct liveupdate_file_handler *fh)
{
	return liveupdate_register_flb(fh, &iommu_liveupdate_flb);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_register_flb, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_unregister_flb() - Undo iommu_liveupdate_register_flb()
 * @fh: The iommufd file handler.
 *
 * Context: May sleep; takes LUO's registration lock.
 */
void iommu_liveupdate_unregister_flb(struct liveupdate_file_handler *fh)
{
	liveupdate_unregister_flb(fh, &iommu_liveupdate_flb);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_unregister_flb, "IOMMUFD_INTERNAL");

static struct outgoing_domain *find_domain(struct iommu_domain *domain)
{
	struct outgoing_domain *it;

	list_for_each_entry(it, &outgoing->domains, list)
		if (it->domain == domain)
			return it;
	return NULL;
}

/**
 * iommu_liveupdate_preserve_domain() - Preserve the page table of a domain
 * @domain: A paging domain. The caller keeps everything that changes its table
 *          out until iommu_liveupdate_unpreserve_domain().
 * @key:    Set to the number of the domain in this hand-over, never 0.
 *
 * Context: May sleep; from the preserve callback of a handler that carries the
 *          FLB.
 * Return: 0, or
 *         -EOPNOTSUPP if the domain or its driver cannot be preserved,
 *         -EBUSY if it is preserved already,
 *         -ENODEV outside of a preserve callback,
 *         -ENOMEM and errors of KHO.
 */
int iommu_liveupdate_preserve_domain(struct iommu_domain *domain, u64 *key)
{
	const struct iommu_ops *ops = domain->owner;
	struct outgoing_domain *rec;
	int ret;

	if (!(domain->type & __IOMMU_DOMAIN_PAGING) || domain->iopf_handler ||
	    !ops || !ops->liveupdate)
		return -EOPNOTSUPP;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!outgoing)
		return -ENODEV;
	if (find_domain(domain))
		return -EBUSY;

	rec = kzalloc_obj(*rec);
	if (!rec)
		return -ENOMEM;

	ret = kho_block_set_grow(&outgoing->domain_set,
				 list_count_nodes(&outgoing->domains) + 1);
	if (ret)
		goto err_free;

	ret = ops->liveupdate->preserve_domain(domain, &rec->ser);
	if (ret)
		goto err_shrink;

	rec->domain = domain;
	rec->ser.key = outgoing->next_key++;
	list_add_tail(&rec->list, &outgoing->domains);
	*key = rec->ser.key;
	return 0;

err_shrink:
	kho_block_set_shrink(&outgoing->domain_set,
			     list_count_nodes(&outgoing->domains));
err_free:
	kfree(rec);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_preserve_domain, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_unpreserve_domain() - Undo iommu_liveupdate_preserve_domain()
 * @key: The number it gave. All devices attached to the domain have been
 *       unpreserved.
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_unpreserve_domain(u64 key)
{
	struct outgoing_domain *rec;

	guard(mutex)(&iommu_liveupdate_lock);
	if (WARN_ON(!outgoing))
		return;

	list_for_each_entry(rec, &outgoing->domains, list) {
		if (rec->ser.key != key)
			continue;
		WARN_ON(rec->devices);
		list_del(&rec->list);
		rec->domain->owner->liveupdate->unpreserve_domain(rec->domain,
								  &rec->ser);
		kho_block_set_shrink(&outgoing->domain_set,
				     list_count_nodes(&outgoing->domains));
		kfree(rec);
		return;
	}
	WARN_ON(1);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_unpreserve_domain, "IOMMUFD_INTERNAL");

static struct outgoing_unit *unit_get(struct iommu_device *iommu,
				      const struct iommu_liveupdate_ops *ops)
{
	struct outgoing_unit *unit;
	int ret;

	list_for_each_entry(unit, &outgoing->units, list) {
		if (unit->iommu == iommu) {
			unit->devices++;
			return unit;
		}
	}

	unit = kzalloc_obj(*unit);
	if (!unit)
		return ERR_PTR(-ENOMEM);

	ret = kho_block_set_grow(&outgoing->unit_set,
				 list_count_nodes(&outgoing->units) + 1);
	if (ret)
		goto err_free;

	ret = ops->preserve_unit(iommu, &unit->ser);
	if (ret)
		goto err_shrink;

	unit->iommu = iommu;
	unit->devices = 1;
	list_add_tail(&unit->list, &outgoing->units);
	return unit;

err_shrink:
	kho_block_set_shrink(&outgoing->unit_set,
			     list_count_nodes(&outgoing->units));
err_free:
	kfree(unit);
	return ERR_PTR(ret);
}

static void unit_put(struct outgoing_unit *unit)
{
	if (--unit->devices)
		return;

	list_del(&unit->list);
	unit->iommu->ops->liveupdate->unpreserve_unit(unit->iommu, &unit->ser);
	kho_block_set_shrink(&outgoing->unit_set,
			     list_count_nodes(&outgoing->units));
	kfree(unit);
}

static int preserve_device(struct device *dev, struct iommu_domain *domain)
{
	const struct iommu_liveupdate_ops *ops = dev_iommu_ops(dev)->liveupdate;
	struct pci_dev *pdev = to_pci_dev(dev);
	struct outgoing_device *rec;
	int ret;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!outgoing)
		return -ENODEV;

	rec = kzalloc_obj(*rec);
	if (!rec)
		return -ENOMEM;

	rec->domain = find_domain(domain);
	if (!rec->domain) {
		ret = -EINVAL;
		goto err_free;
	}

	ret = kho_block_set_grow(&outgoing->device_set,
				 list_count_nodes(&outgoing->devices) + 1);
	if (ret)
		goto err_free;

	rec->unit = unit_get(dev->iommu->iommu_dev, ops);
	if (IS_ERR(rec->unit)) {
		ret = PTR_ERR(rec->unit);
		goto err_shrink;
	}

	rec->dev = dev;
	rec->ser.unit = rec->unit->ser.reg_phys;
	rec->ser.domain = rec->domain->ser.key;
	rec->ser.segment = pci_domain_nr(pdev->bus);
	rec->ser.rid = pci_dev_id(pdev);
	ret = ops->preserve_device(dev, domain, &rec->ser);
	if (ret)
		goto err_unit;

	rec->domain->devices++;
	list_add_tail(&rec->list, &outgoing->devices);
	return 0;

err_unit:
	unit_put(rec->unit);
err_shrink:
	kho_block_set_shrink(&outgoing->device_set,
			     list_count_nodes(&outgoing->devices));
err_free:
	kfree(rec);
	return ret;
}

/**
 * iommu_liveupdate_preserve_device() - Preserve the attachment of a device
 * @dev:    A PCI device alone in its group, owned by userspace.
 * @domain: The domain it is attached to, preserved before.
 *
 * From here to iommu_liveupdate_unpreserve_device() the attachment cannot be
 * changed: attach, replace and PASID attach give -EBUSY.
 *
 * Context: May sleep; takes the group mutex.
 * Return: 0, or
 *         -EOPNOTSUPP for what is on the refuse list (not a PCI device, several
 *         devices in the group, PASIDs, firmware-requested direct mappings, or
 *         refused by the driver),
 *         -EINVAL if @dev is not attached to @domain or @domain not preserved,
 *         -EBUSY if it is preserved already or being reset,
 *         -ENODEV outside of a preserve callback,
 *         -ENOMEM and errors of KHO.
 */
int iommu_liveupdate_preserve_device(struct device *dev,
				     struct iommu_domain *domain)
{
	int ret;

	if (!dev_is_pci(dev) || !dev->iommu || !dev->iommu->iommu_dev ||
	    !dev_iommu_ops(dev)->liveupdate) {
		dev_warn(dev, "liveupdate: IOMMU driver cannot preserve this device\n");
		return -EOPNOTSUPP;
	}

	/* The group first: its state keeps the attachment as it is */
	ret = iommu_group_liveupdate_preserve(dev, domain);
	if (ret)
		return ret;

	ret = preserve_device(dev, domain);
	if (ret)
		iommu_group_liveupdate_unpreserve(dev);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_preserve_device, "IOMMUFD_INTERNAL");

static struct outgoing_device *find_device(struct device *dev)
{
	struct outgoing_device *it;

	lockdep_assert_held(&iommu_liveupdate_lock);
	if (!outgoing)
		return NULL;
	list_for_each_entry(it, &outgoing->devices, list)
		if (it->dev == dev)
			return it;
	return NULL;
}

/**
 * iommu_liveupdate_unpreserve_device() - Undo iommu_liveupdate_preserve_device()
 * @dev: The device.
 *
 * Context: May sleep; takes the group mutex. Cannot fail.
 */
void iommu_liveupdate_unpreserve_device(struct device *dev)
{
	scoped_guard(mutex, &iommu_liveupdate_lock) {
		struct outgoing_device *rec = find_device(dev);

		if (WARN_ON(!rec))
			return;
		list_del(&rec->list);
		dev_iommu_ops(dev)->liveupdate->unpreserve_device(dev, &rec->ser);
		rec->domain->devices--;
		unit_put(rec->unit);
		kho_block_set_shrink(&outgoing->device_set,
				     list_count_nodes(&outgoing->devices));
		kfree(rec);
	}
	iommu_group_liveupdate_unpreserve(dev);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_unpreserve_device, "IOMMUFD_INTERNAL");

/**
 * iommu_liveupdate_device_is_preserved() - Is the attachment of @dev preserved?
 * @dev: Any device.
 *
 * Context: May sleep. The answer is stable only while the caller keeps LUO's
 *          preserve and unpreserve out.
 * Return: true between preserve and unpreserve.
 */
bool iommu_liveupdate_device_is_preserved(struct device *dev)
{
	guard(mutex)(&iommu_liveupdate_lock);
	return find_device(dev);
}
EXPORT_SYMBOL_GPL(iommu_liveupdate_device_is_preserved);

static int write_records(void)
{
	struct iommu_liveupdate_ser *ser = outgoing->ser;
	struct kho_block_set_it it;
	struct outgoing_domain *domain;
	struct outgoing_device *device;
	struct outgoing_unit *unit;
	void *entry;

	kho_block_set_it_init(&it, &outgoing->unit_set);
	list_for_each_entry(unit, &outgoing->units, list) {
		entry = kho_block_set_it_reserve_entry(&it);
		if (WARN_ON(!entry))
			return -ENOSPC;
		memcpy(entry, &unit->ser, sizeof(unit->ser));
	}

	kho_block_set_it_init(&it, &outgoing->domain_set);
	list_for_each_entry(domain, &outgoing->domains, list) {
		entry = kho_block_set_it_reserve_entry(&it);
		if (WARN_ON(!entry))
			return -ENOSPC;
		memcpy(entry, &domain->ser, sizeof(domain->ser));
	}

	kho_block_set_it_init(&it, &outgoing->device_set);
	list_for_each_entry(device, &outgoing->devices, list) {
		entry = kho_block_set_it_reserve_entry(&it);
		if (WARN_ON(!entry))
			return -ENOSPC;
		memcpy(entry, &device->ser, sizeof(device->ser));
	}

	ser->nr_units = list_count_nodes(&outgoing->units);
	ser->nr_domains = list_count_nodes(&outgoing->domains);
	ser->nr_devices = list_count_nodes(&outgoing->devices);
	ser->units = kho_block_set_head_pa(&outgoing->unit_set);
	ser->domains = kho_block_set_head_pa(&outgoing->domain_set);
	ser->devices = kho_block_set_head_pa(&outgoing->device_set);
	return 0;
}

static void clear_records(void)
{
	struct iommu_liveupdate_ser *ser = outgoing->ser;

	kho_block_set_clear(&outgoing->unit_set);
	kho_block_set_clear(&outgoing->domain_set);
	kho_block_set_clear(&outgoing->device_set);
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
	if (WARN_ON(!outgoing))
		return -ENODEV;
	if (outgoing->frozen) {
		outgoing->frozen++;
		return 0;
	}

	list_for_each_entry(rec, &outgoing->devices, list) {
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
	outgoing->frozen = 1;
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
	if (WARN_ON(!outgoing || !outgoing->frozen))
		return;
	if (!--outgoing->frozen)
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
 *         and from boot until the last incoming one is finished.
 */
bool iommu_liveupdate_busy(void)
{
	return READ_ONCE(outgoing) || iommu_liveupdate_incoming_pending();
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
	return outgoing && outgoing->frozen && !list_empty(&outgoing->devices);
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
	return outgoing ? outgoing->ser->zero_pa : 0;
}
