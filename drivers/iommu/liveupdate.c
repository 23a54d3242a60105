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
 * New kernel (liveupdate-load.c, liveupdate-adopt.c, liveupdate-discard.c)
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
#include <linux/kho_block.h>
#include <linux/liveupdate.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "iommu-priv.h"
#include "liveupdate-outgoing.h"

#define CREATE_TRACE_POINTS
#include <trace/events/iommu_liveupdate.h>

/* Guards outgoing and incoming records, order in liveupdate-priv.h */
DEFINE_MUTEX(iommu_liveupdate_lock);

struct outgoing *iommu_outgoing;

/* Callers of iommu_liveupdate_hold_off(); iommu_liveupdate_lock */
static unsigned int held_off;

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
	struct folio *folio = NULL;

	if (kho_is_handed_over(pa))
		folio = kho_restore_folio(pa);

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

	scoped_guard(mutex, &iommu_liveupdate_lock) {
		if (held_off)
			ret = -EBUSY;
		else
			WRITE_ONCE(iommu_outgoing, out);
	}
	if (ret)
		goto err_unpreserve;
	args->data = virt_to_phys(out->ser);
	args->obj = out;
	return 0;

err_unpreserve:
	kho_unpreserve_folio(zero_page);
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
		WRITE_ONCE(iommu_outgoing, NULL);

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
	.version = IOMMU_LIVEUPDATE_ABI_VERSION,
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

/**
 * iommu_liveupdate_hold_off() - Have nothing preserved for a while
 *
 * For hot-plug of an IOMMU unit, which changes what is handed over.
 *
 * Context: May sleep.
 * Return: 0, or -EBUSY if anything is preserved, or was handed over and is not
 *         finished. On success, until iommu_liveupdate_hold_off_end(), preserving
 *         gives -EBUSY.
 */
int iommu_liveupdate_hold_off(void)
{
	guard(mutex)(&iommu_liveupdate_lock);
	if (iommu_liveupdate_busy())
		return -EBUSY;
	held_off++;
	return 0;
}

/**
 * iommu_liveupdate_hold_off_end() - Undo iommu_liveupdate_hold_off()
 *
 * Context: May sleep. Cannot fail.
 */
void iommu_liveupdate_hold_off_end(void)
{
	guard(mutex)(&iommu_liveupdate_lock);
	held_off--;
}

static struct outgoing_domain *find_domain(struct iommu_domain *domain)
{
	struct outgoing_domain *it;

	list_for_each_entry(it, &iommu_outgoing->domains, list)
		if (it->domain == domain)
			return it;
	return NULL;
}

/**
 * iommu_liveupdate_preserve_domain() - Preserve the page table of a domain
 * @domain: A paging domain. The caller keeps everything that changes its table
 *          out until iommu_liveupdate_unpreserve_domain().
 * @file:   What LUO is given for the iommufd file the domain belongs to.
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
int iommu_liveupdate_preserve_domain(struct iommu_domain *domain, u64 file,
				     u64 *key)
{
	const struct iommu_ops *ops = domain->owner;
	struct outgoing_domain *rec;
	int ret;

	if (!(domain->type & __IOMMU_DOMAIN_PAGING) || domain->iopf_handler ||
	    !ops || !ops->liveupdate)
		return -EOPNOTSUPP;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!iommu_outgoing)
		return -ENODEV;
	if (find_domain(domain))
		return -EBUSY;

	rec = kzalloc_obj(*rec);
	if (!rec)
		return -ENOMEM;

	ret = kho_block_set_grow(&iommu_outgoing->domain_set,
				 list_count_nodes(&iommu_outgoing->domains) + 1);
	if (ret)
		goto err_free;

	ret = ops->liveupdate->preserve_domain(domain, &rec->ser);
	if (ret)
		goto err_shrink;

	rec->domain = domain;
	rec->ser.key = iommu_outgoing->next_key++;
	rec->ser.file = file;
	list_add_tail(&rec->list, &iommu_outgoing->domains);
	trace_liveupdate_preserve_domain(rec->ser.key, rec->ser.pt.nr_tables);
	*key = rec->ser.key;
	return 0;

err_shrink:
	kho_block_set_shrink(&iommu_outgoing->domain_set,
			     list_count_nodes(&iommu_outgoing->domains));
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
	if (WARN_ON(!iommu_outgoing))
		return;

	list_for_each_entry(rec, &iommu_outgoing->domains, list) {
		if (rec->ser.key != key)
			continue;
		WARN_ON(rec->devices);
		list_del(&rec->list);
		trace_liveupdate_unpreserve_domain(key, rec->ser.pt.nr_tables);
		rec->domain->owner->liveupdate->unpreserve_domain(rec->domain,
								  &rec->ser);
		kho_block_set_shrink(&iommu_outgoing->domain_set,
				     list_count_nodes(&iommu_outgoing->domains));
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

	list_for_each_entry(unit, &iommu_outgoing->units, list) {
		if (unit->iommu == iommu) {
			unit->devices++;
			return unit;
		}
	}

	unit = kzalloc_obj(*unit);
	if (!unit)
		return ERR_PTR(-ENOMEM);

	ret = kho_block_set_grow(&iommu_outgoing->unit_set,
				 list_count_nodes(&iommu_outgoing->units) + 1);
	if (ret)
		goto err_free;

	ret = ops->preserve_unit(iommu, &unit->ser);
	if (ret)
		goto err_shrink;

	unit->iommu = iommu;
	unit->devices = 1;
	list_add_tail(&unit->list, &iommu_outgoing->units);
	return unit;

err_shrink:
	kho_block_set_shrink(&iommu_outgoing->unit_set,
			     list_count_nodes(&iommu_outgoing->units));
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
	kho_block_set_shrink(&iommu_outgoing->unit_set,
			     list_count_nodes(&iommu_outgoing->units));
	kfree(unit);
}

static int preserve_device(struct device *dev, struct iommu_domain *domain)
{
	const struct iommu_liveupdate_ops *ops = dev_iommu_ops(dev)->liveupdate;
	struct pci_dev *pdev = to_pci_dev(dev);
	struct outgoing_device *rec;
	int ret;

	guard(mutex)(&iommu_liveupdate_lock);
	if (!iommu_outgoing)
		return -ENODEV;

	rec = kzalloc_obj(*rec);
	if (!rec)
		return -ENOMEM;

	rec->domain = find_domain(domain);
	if (!rec->domain) {
		ret = -EINVAL;
		goto err_free;
	}

	ret = kho_block_set_grow(&iommu_outgoing->device_set,
				 list_count_nodes(&iommu_outgoing->devices) + 1);
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
	list_add_tail(&rec->list, &iommu_outgoing->devices);
	trace_liveupdate_preserve_device(dev, rec->ser.domain);
	return 0;

err_unit:
	unit_put(rec->unit);
err_shrink:
	kho_block_set_shrink(&iommu_outgoing->device_set,
			     list_count_nodes(&iommu_outgoing->devices));
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
	if (!iommu_outgoing)
		return NULL;
	list_for_each_entry(it, &iommu_outgoing->devices, list)
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
		trace_liveupdate_unpreserve_device(dev, rec->ser.domain);
		dev_iommu_ops(dev)->liveupdate->unpreserve_device(dev, &rec->ser);
		rec->domain->devices--;
		unit_put(rec->unit);
		kho_block_set_shrink(&iommu_outgoing->device_set,
				     list_count_nodes(&iommu_outgoing->devices));
		kfree(rec);
	}
	iommu_group_liveupdate_unpreserve(dev);
}
EXPORT_SYMBOL_NS_GPL(iommu_liveupdate_unpreserve_device, "IOMMUFD_INTERNAL");
