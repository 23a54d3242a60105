// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update, the side of the new kernel: domains and devices. See adopt.c for
 * the units.
 */

#define pr_fmt(fmt)	"DMAR: live update: " fmt
#define dev_fmt(fmt)	pr_fmt(fmt)

#include <linux/bitmap.h>
#include <linux/iommu.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kho/abi/iommu.h>
#include <linux/pci.h>
#include <linux/pci-ats.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "iommu.h"
#include "liveupdate.h"
#include "pasid.h"

/* What a table has to look like to be of use to hardware and driver */
static int check_domain(struct intel_iommu *iommu,
			const struct iommu_liveupdate_domain_ser *ser)
{
	bool force_snoop = ser->flags & IOMMU_LIVEUPDATE_DOMAIN_FORCE_SNOOP;
	u32 features = BIT(PT_FEAT_FLUSH_RANGE);

	switch (ser->pt.format) {
	case IOMMU_PT_SER_FMT_VTDSS:
		/* Snooping is forced by the page table entries */
		if (force_snoop)
			features |= BIT(PT_FEAT_VTDSS_FORCE_COHERENCE);
		/* Three levels to five */
		if (ser->pt.top_level < 2 || ser->pt.top_level > 4)
			return -EINVAL;
		break;
	case IOMMU_PT_SER_FMT_X86_64:
		/* Snooping is forced by the PASID entry */
		features |= BIT(PT_FEAT_SIGN_EXTEND);
		if (!sm_supported(iommu))
			return -EOPNOTSUPP;
		/* Four levels, or five */
		if (ser->pt.top_level != 3 &&
		    !(ser->pt.top_level == 4 && cap_fl5lp_support(iommu->cap)))
			return -EINVAL;
		if (ser->pt.max_vasz_lg2 > cap_mgaw(iommu->cap))
			return -EINVAL;
		break;
	default:
		return -EOPNOTSUPP;
	}

	if ((ser->pt.features & ~(u32)BIT(PT_FEAT_DMA_INCOHERENT)) != features)
		return -EINVAL;

	if (force_snoop && !ecap_sc_support(iommu->ecap))
		return -EINVAL;

	if (!(ser->pgsize_bitmap & SZ_4K))
		return -EINVAL;

	return 0;
}

/**
 * intel_iommu_restore_domain - Make a domain around a page table in use
 * @dev: a device that uses it; nobody else does so without @dev being told
 * @ser: what the previous kernel said of it
 *
 * Context: May sleep. Software only.
 * Return: the domain, not attached to anything; an ERR_PTR if it cannot be used.
 * Pages claimed from KHO up to then are leaked as hardware is using them.
 */
static struct iommu_domain *
intel_iommu_restore_domain(struct device *dev,
			   const struct iommu_liveupdate_domain_ser *ser)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct intel_iommu *iommu = info->iommu;
	struct dmar_domain *dmar_domain;
	struct iommu_domain *domain;
	int ret;

	ret = check_domain(iommu, ser);
	if (ret)
		return ERR_PTR(ret);

	if (ser->pt.format == IOMMU_PT_SER_FMT_X86_64)
		dmar_domain = intel_iommu_fs_domain_alloc(dev, iommu);
	else
		dmar_domain = intel_iommu_ss_domain_alloc(dev, iommu);
	if (IS_ERR(dmar_domain))
		return ERR_CAST(dmar_domain);

	/*
	 * The unit that is probed first need not be the one that asks for it. It
	 * costs next to nothing where it is not needed.
	 */
	dmar_domain->iotlb_sync_map = true;

	if (ser->pt.format == IOMMU_PT_SER_FMT_X86_64)
		ret = pt_iommu_x86_64_restore(&dmar_domain->fspt, &ser->pt);
	else
		ret = pt_iommu_vtdss_restore(&dmar_domain->sspt, &ser->pt);
	if (ret)
		goto err_free;

	domain = &dmar_domain->domain;
	if (ser->aperture_start != domain->geometry.aperture_start ||
	    ser->aperture_end != domain->geometry.aperture_end ||
	    (ser->pgsize_bitmap & ~(u64)domain->pgsize_bitmap)) {
		ret = -EINVAL;
		goto err_free;
	}
	domain->pgsize_bitmap = ser->pgsize_bitmap;
	dmar_domain->force_snooping =
		!!(ser->flags & IOMMU_LIVEUPDATE_DOMAIN_FORCE_SNOOP);

	/* Widths, levels, page sizes, coherency */
	ret = paging_domain_compatible(domain, dev);
	if (ret)
		goto err_free;

	if (!intel_iommu_superpage && ser->pgsize_bitmap != SZ_4K)
		dev_info(dev, "large pages stay in use, whatever intel_iommu= says\n");

	return domain;

err_free:
	dev_err(dev, "page table at %#llx cannot be used (%d)\n",
		ser->pt.top_pa, ret);
	/* Not the table */
	kfree(dmar_domain);
	return ERR_PTR(ret);
}

struct adopt_walk {
	struct device *dev;
	struct intel_iommu *iommu;
	struct dmar_domain *domain;
	u16 did;
	unsigned int nr_aliases;
};

static int check_alias(struct pci_dev *pdev, u16 alias, void *data)
{
	struct adopt_walk *walk = data;
	struct intel_iommu *iommu = walk->iommu;
	struct context_entry want, entry = {}, *live;

	if (!intel_iommu_rid_is_unclaimed(iommu, alias)) {
		dev_err(walk->dev, "%02x:%02x.%d was not handed over\n",
			PCI_BUS_NUM(alias), PCI_SLOT(alias), PCI_FUNC(alias));
		return -EINVAL;
	}

	spin_lock(&iommu->lock);
	live = iommu_context_addr(iommu, PCI_BUS_NUM(alias), alias & 0xff, 0);
	if (live)
		entry = *live;
	spin_unlock(&iommu->lock);

	/*
	 * Legacy mode: present, translation type, fault processing and table in
	 * the low half, address width and domain id in the high half. Scalable
	 * mode: present, fault processing, what the device may do and PASID
	 * directory in the low half, PASID of requests without one in the high
	 * half. The rest is reserved.
	 */
	intel_iommu_handover_entry(walk->dev, walk->domain, walk->did, alias,
				   &want);
	if (entry.lo != want.lo || entry.hi != want.hi) {
		dev_err(walk->dev, "%02x:%02x.%d: context entry is %016llx:%016llx, not %016llx:%016llx\n",
			PCI_BUS_NUM(alias), PCI_SLOT(alias), PCI_FUNC(alias),
			entry.hi, entry.lo, want.hi, want.lo);
		return -EINVAL;
	}

	if (test_bit(alias, iommu->adopted->alias))
		walk->nr_aliases++;
	return 0;
}

static int claim_alias(struct pci_dev *pdev, u16 alias, void *data)
{
	struct adopt_walk *walk = data;

	intel_iommu_entry_forget(walk->iommu, alias, walk->did);
	return 0;
}

/*
 * ATS is taken as it was found when the device was probed. A device TLB that
 * nobody invalidates, or in units nobody knows of, must not stay in use.
 *
 * Returns why ATS cannot be kept, NULL if it can.
 */
static const char *ats_mismatch(struct device_domain_info *info)
{
	struct pci_dev *pdev = to_pci_dev(info->dev);

	if (info->ats_supported && !pci_ats_supported(pdev))
		return "ATS was handed over and is not supported";
	if (!info->ats_enabled)
		return NULL;
	if (!info->ats_supported)
		return "ATS is on, but was not handed over";
	if (pdev->ats_stu != VTD_PAGE_SHIFT)
		return "ATS is on, with another translation unit";
	return NULL;
}

/* Aliases on the bus that lead to the same table under the same domain id */
static unsigned int nr_same_aliases(struct intel_iommu *iommu, u16 rid,
				    const struct context_entry *same)
{
	unsigned int alias = rid & 0xff00, end = alias + 0x100, n = 0;
	struct context_entry *entry;

	guard(spinlock)(&iommu->lock);
	for_each_set_bit_from(alias, iommu->adopted->alias, end) {
		entry = iommu_context_addr(iommu, PCI_BUS_NUM(alias),
					   alias & 0xff, 0);
		if (entry && context_entry_same(entry, same))
			n++;
	}
	return n;
}

/* All of it is compared; hardware uses one entry, and it has to be that */
static int check_pasid_entry(struct device *dev, struct dmar_domain *domain,
			     u16 did)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct pasid_entry want, *entry;
	int ret;

	ret = intel_pasid_entry_paging(info->iommu, domain, did, &want);
	if (ret)
		return ret;

	entry = get_pasid_table_from_pde(info->pasid_table->table);
	if (memcmp(&entry[IOMMU_NO_PASID], &want, sizeof(want))) {
		dev_err(dev, "PASID entry is %016llx:%016llx:%016llx, not %016llx:%016llx:%016llx\n",
			entry->val[2], entry->val[1], entry->val[0],
			want.val[2], want.val[1], want.val[0]);
		return -EINVAL;
	}
	return 0;
}

/**
 * intel_iommu_adopt_device - Make a device that runs an attached one
 * @dev: the device, probed, with nothing attached
 * @domain: from intel_iommu_restore_domain()
 * @ser: what the previous kernel said of it
 *
 * Does all that attaching does except for touching hardware. Fails rather than
 * leave an entry of the device, under any alias, that its first detach would not
 * clear.
 *
 * Context: May sleep; group mutex held.
 * Return: 0; -EINVAL if hardware does not do what @domain and @ser say;
 * -EOPNOTSUPP, -EBUSY, -ENOMEM. On failure the entry stays as it is.
 */
static int intel_iommu_adopt_device(struct device *dev,
				    struct iommu_domain *domain,
				    const struct iommu_liveupdate_device_ser *ser)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct intel_iommu *iommu = info->iommu;
	struct adopt_walk walk = {
		.dev = dev, .iommu = iommu,
		.domain = dmar_domain, .did = ser->did,
	};
	struct context_entry entry;
	const char *why;
	unsigned long flags;
	int ret;

	if (!dev_is_pci(dev) || dev_is_real_dma_subdevice(dev))
		return -EOPNOTSUPP;

	if (!iommu->adopted || ser->unit != iommu->reg_phys ||
	    ser->rid != pci_dev_id(to_pci_dev(dev)) ||
	    ser->did >= iommu->max_domain_id)
		return -EINVAL;

	if (info->domain_attached)
		return -EBUSY;

	/* The domain may have been restored for a device of another unit */
	ret = paging_domain_compatible(domain, dev);
	if (ret)
		return ret;

	if (!intel_iommu_device_is_unclaimed(iommu, ser->rid))
		return -EINVAL;

	why = ats_mismatch(info);
	if (why) {
		dev_err(dev, "%s\n", why);
		return -EINVAL;
	}

	if (sm_supported(iommu)) {
		ret = check_pasid_entry(dev, dmar_domain, ser->did);
		if (ret)
			return ret;
	}
	ret = pci_for_each_dma_alias(to_pci_dev(dev), check_alias, &walk);
	if (ret)
		return ret;

	/*
	 * The previous kernel knew of an alias this one does not know of. With
	 * several such devices in one domain on one bus nobody can tell whose
	 * it is; that is refused, too.
	 */
	intel_iommu_handover_entry(dev, dmar_domain, ser->did, ser->rid, &entry);
	if (nr_same_aliases(iommu, ser->rid, &entry) != walk.nr_aliases) {
		dev_err(dev, "has lost a DMA alias\n");
		return -EINVAL;
	}

	ret = domain_attach_iommu_did(dmar_domain, iommu, ser->did);
	if (ret)
		return ret;

	info->domain = dmar_domain;
	info->domain_attached = true;
	spin_lock_irqsave(&dmar_domain->lock, flags);
	list_add(&info->link, &dmar_domain->devices);
	spin_unlock_irqrestore(&dmar_domain->lock, flags);

	ret = cache_tag_assign_domain(dmar_domain, dev, IOMMU_NO_PASID);
	if (ret)
		goto err_detach;

	pci_for_each_dma_alias(to_pci_dev(dev), claim_alias, &walk);
	return 0;

err_detach:
	spin_lock_irqsave(&dmar_domain->lock, flags);
	list_del(&info->link);
	spin_unlock_irqrestore(&dmar_domain->lock, flags);
	info->domain_attached = false;
	info->domain = NULL;
	domain_detach_iommu(dmar_domain, iommu);
	return ret;
}

static struct context_entry read_entry(struct intel_iommu *iommu, u16 rid)
{
	struct context_entry *entry;

	guard(spinlock)(&iommu->lock);
	entry = iommu_context_addr(iommu, PCI_BUS_NUM(rid), rid & 0xff, 0);
	return *entry;
}

/* As domain_context_clear_one() does; there may be no device */
static void clear_entry(struct intel_iommu *iommu, u16 rid, u16 did)
{
	struct context_entry *entry;

	spin_lock(&iommu->lock);
	entry = iommu_context_addr(iommu, PCI_BUS_NUM(rid), rid & 0xff, 0);
	context_clear_present(entry);
	__iommu_flush_cache(iommu, entry, sizeof(*entry));
	spin_unlock(&iommu->lock);

	iommu->flush.flush_context(iommu, did, rid, DMA_CCMD_MASK_NOBIT,
				   DMA_CCMD_DEVICE_INVL);
	/* In scalable mode nothing behind it was present any more */
	if (!sm_supported(iommu))
		iommu->flush.flush_iotlb(iommu, did, 0, 0, DMA_TLB_DSI_FLUSH);

	context_clear_entry(entry);
	__iommu_flush_cache(iommu, entry, sizeof(*entry));
}

/* Unclaimed aliases on the same bus that lead to the same table */
static void clear_aliases(struct intel_iommu *iommu, u16 rid,
			  const struct context_entry *same, u16 did)
{
	unsigned int alias = rid & 0xff00, end = alias + 0x100;

	for_each_set_bit_from(alias, iommu->adopted->alias, end) {
		struct context_entry entry = read_entry(iommu, alias);

		if (!context_entry_same(&entry, same))
			continue;
		clear_entry(iommu, alias, did);
		intel_iommu_entry_forget(iommu, alias, did);
	}
}

/* The entries of the device are not present any more */
static void end_dev_tlb(struct device_domain_info *info)
{
	/* Without the permission in its entry it could not use what it has cached */
	if (info->ats_supported)
		intel_context_flush_dev_iotlb(info);

	if (!ats_mismatch(info))
		return;

	pci_drop_ats(to_pci_dev(info->dev));
	info->ats_supported = 0;
	info->ats_enabled = 0;
}

/**
 * intel_iommu_block_rid - Make an unclaimed entry non-present
 * @iommu_dev: the unit
 * @segment: PCI segment
 * @rid: routing id of a device that did not show up or cannot be adopted
 *
 * Takes DMA aliases along: unclaimed entries on the same bus which lead to the
 * same table and are no device's own. Does nothing for an entry that is claimed,
 * as that belongs to an attached device.
 *
 * In scalable mode it is the PASID entry that is made non-present. The context
 * entry goes, too. A device that has taken over the PASID table gets a new one,
 * the PASID table is freed otherwise.
 *
 * If ATS of the device cannot be kept it is turned off for good: nobody would
 * invalidate what the device caches.
 *
 * Context: May sleep. Serialised with adoption of the same device by the caller.
 */
void intel_iommu_block_rid(struct iommu_device *iommu_dev, u32 segment, u16 rid)
{
	struct intel_iommu *iommu =
		container_of(iommu_dev, struct intel_iommu, iommu);
	struct device_domain_info *info = NULL;
	struct pasid_table *table = NULL;
	struct context_entry was;
	struct pci_dev *pdev;
	u16 did;

	if (segment != iommu->segment ||
	    !intel_iommu_rid_is_unclaimed(iommu, rid))
		return;

	pdev = pci_get_domain_bus_and_slot(segment, PCI_BUS_NUM(rid), rid & 0xff);
	/* Not if it turned out to be behind another unit */
	if (pdev && pdev->dev.iommu && pdev->dev.iommu->iommu_dev == iommu_dev)
		info = dev_iommu_priv_get(&pdev->dev);

	was = read_entry(iommu, rid);
	if (sm_supported(iommu)) {
		did = intel_iommu_block_no_pasid(iommu, &was);
		table = intel_iommu_take_pasid_table(iommu, rid);
	} else {
		did = context_domain_id(&was);
	}

	clear_entry(iommu, rid, did);
	clear_aliases(iommu, rid, &was, did);
	if (info)
		end_dev_tlb(info);
	if (table)
		intel_pasid_table_free(table);

	intel_iommu_entry_forget(iommu, rid, did);
	/* The device and the aliases this kernel knows of lead to nothing now */
	if (info && info->pasid_table)
		intel_pasid_setup_sm_context(&pdev->dev);
	pci_dev_put(pdev);

	pr_info("%s: %02x:%02x.%d is blocked\n", iommu->name, PCI_BUS_NUM(rid),
		PCI_SLOT(rid), PCI_FUNC(rid));
}

/**
 * intel_iommu_finish_device - The hand-over of an adopted device is over
 * @dev: the device, attached to the domain it was adopted with
 *
 * What the device has cached is still true, as its page table was not written.
 * Its device TLB is flushed once all the same: from here on nothing depends on
 * what the previous kernel has invalidated, or did not.
 *
 * Context: May sleep; group mutex held.
 */
static void intel_iommu_finish_device(struct device *dev)
{
	intel_context_flush_dev_iotlb(dev_iommu_priv_get(dev));
}

const struct iommu_liveupdate_ops intel_iommu_liveupdate_ops = {
	.preserve_unit = intel_iommu_preserve_unit,
	.unpreserve_unit = intel_iommu_unpreserve_unit,
	.preserve_domain = intel_iommu_preserve_domain,
	.unpreserve_domain = intel_iommu_unpreserve_domain,
	.preserve_device = intel_iommu_preserve_device,
	.unpreserve_device = intel_iommu_unpreserve_device,
	.freeze_device = intel_iommu_freeze_device,
	.restore_domain = intel_iommu_restore_domain,
	.adopt_device = intel_iommu_adopt_device,
	.finish_device = intel_iommu_finish_device,
	.block_rid = intel_iommu_block_rid,
};
