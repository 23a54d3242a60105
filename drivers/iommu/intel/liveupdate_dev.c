// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update, the side of the old kernel: devices. See liveupdate.c for the units
 * and domains.
 */

#define pr_fmt(fmt)	"DMAR: live update: " fmt
#define dev_fmt(fmt)	pr_fmt(fmt)

#include <linux/iommu.h>
#include <linux/kho/abi/iommu.h>
#include <linux/pci.h>

#include "iommu.h"
#include "liveupdate.h"
#include "pasid.h"

static int refuse(struct device *dev, const char *why)
{
	dev_err(dev, "cannot be preserved: %s\n", why);
	return -EOPNOTSUPP;
}

static struct context_entry *
handover_entry(struct intel_iommu *iommu, u8 bus, u8 devfn)
{
	u64 *slot = root_entry_slot(iommu, iommu->handover_root, bus, devfn);
	struct context_entry *table;

	if (!(*slot & 1))
		return NULL;

	table = phys_to_virt(*slot & VTD_PAGE_MASK);
	return &table[context_index(iommu, devfn)];
}

/**
 * intel_iommu_handover_entry - The context entry that is handed over
 * @dev: a device
 * @domain: the domain it is attached to
 * @did: the domain id it is attached with
 * @alias: the routing id the entry is for, that of @dev or a DMA alias
 * @entry: set to the entry
 *
 * The entry to allow translated requests, if @dev can make any, is only its own.
 */
void intel_iommu_handover_entry(struct device *dev, struct dmar_domain *domain,
				u16 did, u16 alias,
				struct context_entry *entry)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	unsigned long translation = CONTEXT_TT_MULTI_LEVEL;

	if (sm_supported(info->iommu)) {
		context_entry_pasid_table(dev, entry);
		context_clear_sm_pre(entry);
		return;
	}

	if (info->ats_supported && alias == PCI_DEVID(info->bus, info->devfn))
		translation = CONTEXT_TT_DEV_IOTLB;
	context_entry_paging(domain, did, translation, entry);
}

struct handover_walk {
	struct device *dev;
	struct intel_iommu *iommu;
	struct dmar_domain *domain;
	u16 did;
};

/*
 * Requests under an alias that other devices share would be let through or
 * blocked for all of them.
 */
static int handover_check_alias(struct pci_dev *pdev, u16 alias, void *data)
{
	struct handover_walk *walk = data;
	struct pci_dev *other;

	if (&pdev->dev != walk->dev)
		return refuse(walk->dev, "a bridge is its DMA alias");

	if (alias == pci_dev_id(pdev))
		return 0;

	other = pci_get_domain_bus_and_slot(pci_domain_nr(pdev->bus),
					    PCI_BUS_NUM(alias), alias & 0xff);
	if (other) {
		pci_dev_put(other);
		return refuse(walk->dev, "another device is its DMA alias");
	}
	return 0;
}

/*
 * The next kernel counts the aliases on a bus that lead to the table of a device
 * under the domain id of that. If others are attached to it, too, it could not tell
 * whose they are: a device with aliases has to be the only one there. Nothing of
 * this one is in the hand-over yet.
 */
static int handover_check_domain(struct pci_dev *pdev, u16 alias, void *data)
{
	struct handover_walk *walk = data;
	struct context_entry entry, *other;
	unsigned int devfn;
	struct pci_dev *own;

	intel_iommu_handover_entry(walk->dev, walk->domain, walk->did, alias,
				   &entry);
	for (devfn = 0; devfn < 256; devfn++) {
		other = handover_entry(walk->iommu, PCI_BUS_NUM(alias), devfn);
		if (!other || !context_present(other) ||
		    !context_entry_same(other, &entry))
			continue;

		own = pci_get_domain_bus_and_slot(pci_domain_nr(pdev->bus),
						  PCI_BUS_NUM(alias), devfn);
		pci_dev_put(own);
		if (!own || alias != pci_dev_id(pdev))
			return refuse(walk->dev, "shares its domain, and one has DMA aliases");
	}
	return 0;
}

static int handover_alloc_alias(struct pci_dev *pdev, u16 alias, void *data)
{
	struct handover_walk *walk = data;
	struct intel_iommu *iommu = walk->iommu;
	struct context_entry *entry;
	void *table;
	u64 *slot;

	entry = handover_entry(iommu, PCI_BUS_NUM(alias), alias & 0xff);
	if (entry)
		return context_present(entry) ? -EBUSY : 0;

	table = intel_iommu_handover_table_alloc(iommu);
	if (IS_ERR(table))
		return PTR_ERR(table);

	slot = root_entry_slot(iommu, iommu->handover_root, PCI_BUS_NUM(alias),
			       alias & 0xff);
	*slot = virt_to_phys(table) | 1;
	__iommu_flush_cache(iommu, slot, sizeof(*slot));
	return 0;
}

/*
 * Page requests are not for a device that is handed over: the copy of its entry
 * does not allow them, whether it could make them or not.
 */
static bool live_entry_is(struct intel_iommu *iommu, u16 alias,
			  const struct context_entry *want)
{
	struct context_entry *live, entry = {};

	spin_lock(&iommu->lock);
	live = iommu_context_addr(iommu, PCI_BUS_NUM(alias), alias & 0xff, 0);
	if (live)
		entry = *live;
	spin_unlock(&iommu->lock);

	if (sm_supported(iommu))
		context_clear_sm_pre(&entry);
	return entry.lo == want->lo && entry.hi == want->hi;
}

static int handover_fill_alias(struct pci_dev *pdev, u16 alias, void *data)
{
	struct handover_walk *walk = data;
	struct intel_iommu *iommu = walk->iommu;
	struct context_entry entry;

	intel_iommu_handover_entry(walk->dev, walk->domain, walk->did, alias,
				   &entry);
	if (!live_entry_is(iommu, alias, &entry)) {
		dev_err(walk->dev, "context entry of %02x:%02x.%d is not that of its domain\n",
			PCI_BUS_NUM(alias), PCI_SLOT(alias), PCI_FUNC(alias));
		return -EINVAL;
	}

	context_entry_store(iommu,
			    handover_entry(iommu, PCI_BUS_NUM(alias),
					   alias & 0xff),
			    &entry);
	return 0;
}

static int handover_clear_alias(struct pci_dev *pdev, u16 alias, void *data)
{
	struct handover_walk *walk = data;
	struct context_entry *entry;

	entry = handover_entry(walk->iommu, PCI_BUS_NUM(alias), alias & 0xff);
	if (entry) {
		context_clear_entry(entry);
		__iommu_flush_cache(walk->iommu, entry, sizeof(*entry));
	}
	return 0;
}

static int handover_verify_alias(struct pci_dev *pdev, u16 alias, void *data)
{
	struct handover_walk *walk = data;
	struct context_entry *entry;

	entry = handover_entry(walk->iommu, PCI_BUS_NUM(alias), alias & 0xff);
	if (entry && context_present(entry) &&
	    live_entry_is(walk->iommu, alias, entry))
		return 0;

	dev_err(walk->dev, "context entry of %02x:%02x.%d changed after it was preserved\n",
		PCI_BUS_NUM(alias), PCI_SLOT(alias), PCI_FUNC(alias));
	return -EINVAL;
}

/*
 * The next kernel takes ATS as it finds it, and refuses what it cannot keep up,
 * when it is too late. Writing to the register behind the driver is what a user
 * with access to config space can do.
 */
static bool ats_is_as_set_up(struct device_domain_info *info)
{
	struct pci_dev *pdev = to_pci_dev(info->dev);
	u16 ctrl = 0;

	if (pdev->ats_cap)
		pci_read_config_word(pdev, pdev->ats_cap + PCI_ATS_CTRL, &ctrl);
	if (!(ctrl & PCI_ATS_CTRL_ENABLE))
		return !info->ats_enabled;

	return info->ats_enabled && info->ats_supported &&
	       PCI_ATS_CTRL_STU(ctrl) == VTD_PAGE_SHIFT - PCI_ATS_MIN_STU;
}

/*
 * The same for PASIDs. That they are turned on, which the driver does for all
 * devices that can, is not to say that they are in use.
 */
static bool pasid_is_as_set_up(struct device_domain_info *info)
{
	struct pci_dev *pdev = to_pci_dev(info->dev);
	u16 ctrl = 0;

	if (pdev->pasid_cap)
		pci_read_config_word(pdev, pdev->pasid_cap + PCI_PASID_CTRL,
				     &ctrl);
	return !!(ctrl & PCI_PASID_CTRL_ENABLE) == !!info->pasid_enabled;
}

static bool device_has_direct_mappings(struct device *dev)
{
	struct iommu_resv_region *region;
	LIST_HEAD(regions);
	bool found = false;

	iommu_get_resv_regions(dev, &regions);
	list_for_each_entry(region, &regions, list)
		if (region->type == IOMMU_RESV_DIRECT ||
		    region->type == IOMMU_RESV_DIRECT_RELAXABLE)
			found = true;
	iommu_put_resv_regions(dev, &regions);

	return found;
}

/**
 * intel_iommu_preserve_device - Put the entries of a device into the hand-over
 * @dev: the device; its unit has a hand-over root
 * @domain: the domain it is attached to
 * @ser: the domain id is filled in, and the PASID table, 0 in legacy mode
 *
 * Context: May sleep. The caller keeps the attachment as it is until
 * intel_iommu_unpreserve_device(); attaching is refused here as well.
 * Return: 0; -EOPNOTSUPP, with the reason in the log, for devices that cannot be
 * handed over; -EINVAL if the device is not attached to @domain; -EBUSY if it is
 * preserved; or -ENOMEM.
 */
int intel_iommu_preserve_device(struct device *dev, struct iommu_domain *domain,
				struct iommu_liveupdate_device_ser *ser)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct intel_iommu *iommu = info->iommu;
	struct handover_walk walk = { .dev = dev, .iommu = iommu };
	int ret;

	if (!dev_is_pci(dev))
		return refuse(dev, "not a PCI device");
	if (dev_is_real_dma_subdevice(dev))
		return refuse(dev, "another device does its DMA");
	if (info->pri_enabled || info->iopf_refcount)
		return refuse(dev, "page requests are turned on");
	if (!pasid_is_as_set_up(info))
		return refuse(dev, "PASIDs are not as the driver has set them up");
	if (!ats_is_as_set_up(info))
		return refuse(dev, "ATS is not as the driver has set it up");
	if (device_has_direct_mappings(dev))
		return refuse(dev, "firmware requires memory mapped for it");

	if (!iommu->handover_root || !info->domain_attached ||
	    info->domain != dmar_domain)
		return -EINVAL;
	if (info->preserved)
		return -EBUSY;

	ret = pci_for_each_dma_alias(to_pci_dev(dev), handover_check_alias,
				     &walk);
	if (ret)
		return ret;

	ret = pci_for_each_dma_alias(to_pci_dev(dev), handover_alloc_alias,
				     &walk);
	if (ret)
		return ret;

	/* First refuse changes of the live entries, then rely on what they are */
	WRITE_ONCE(info->preserved, true);
	ser->did = domain_id_iommu(dmar_domain, iommu);
	walk.domain = dmar_domain;
	walk.did = ser->did;
	ser->pasid_dir = 0;
	ser->max_pasid = 0;
	if (sm_supported(iommu)) {
		ret = intel_iommu_preserve_pasid_table(dev, dmar_domain, ser);
		if (ret)
			goto err_preserved;
	}

	ret = pci_for_each_dma_alias(to_pci_dev(dev), handover_check_domain,
				     &walk);
	if (ret)
		goto err_pasid_table;

	ret = pci_for_each_dma_alias(to_pci_dev(dev), handover_fill_alias,
				     &walk);
	if (ret)
		goto err_entries;
	return 0;

err_entries:
	pci_for_each_dma_alias(to_pci_dev(dev), handover_clear_alias, &walk);
err_pasid_table:
	if (sm_supported(iommu))
		intel_iommu_unpreserve_pasid_table(dev);
err_preserved:
	WRITE_ONCE(info->preserved, false);
	return ret;
}

/**
 * intel_iommu_unpreserve_device - Undo intel_iommu_preserve_device()
 * @dev: the device
 * @ser: unused
 *
 * Context: May sleep. Cannot fail.
 */
void intel_iommu_unpreserve_device(struct device *dev,
				   struct iommu_liveupdate_device_ser *ser)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct handover_walk walk = { .dev = dev, .iommu = info->iommu };

	pci_for_each_dma_alias(to_pci_dev(dev), handover_clear_alias, &walk);
	if (sm_supported(info->iommu))
		intel_iommu_unpreserve_pasid_table(dev);
	WRITE_ONCE(info->preserved, false);
}

/**
 * intel_iommu_freeze_device - Check that a device is in the hand-over as it is
 * @dev: the device
 * @ser: as filled by intel_iommu_preserve_device()
 *
 * Context: Allocates nothing.
 * Return: 0, or an error, with a line in the log, if it is not.
 */
int intel_iommu_freeze_device(struct device *dev,
			      const struct iommu_liveupdate_device_ser *ser)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct handover_walk walk = { .dev = dev, .iommu = info->iommu };
	int ret;

	if (!info->preserved || !info->domain_attached || !info->domain ||
	    domain_id_iommu(info->domain, info->iommu) != ser->did)
		return -EINVAL;

	if (sm_supported(info->iommu)) {
		ret = intel_iommu_verify_pasid_table(dev, info->domain,
						     ser->did);
		if (ret)
			return ret;
	}

	return pci_for_each_dma_alias(to_pci_dev(dev), handover_verify_alias,
				      &walk);
}
