// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update, the side of the old kernel: hand translation over
 */

/**
 * DOC: VT-d hand-over
 *
 * From the jump into the next kernel until that has set up its own tables, the
 * hardware goes on reading memory of this one. So that it finds the devices
 * that were preserved, and nobody else, it is given other tables for that time:
 *
 * - Each unit with preserved devices has a hand-over root. That is a root table
 *   and context tables which hold value copies of the context entries of those
 *   devices, under all their DMA aliases, and nothing else. They are allocated
 *   and preserved with KHO when a device is preserved, so that freezing cannot
 *   fail for want of memory.
 * - In scalable mode a context entry leads to the PASID table of its device, which
 *   is preserved in place, see liveupdate_pasid.c.
 * - From then on the live entries of a preserved device may not change: every
 *   attach is refused. Freezing compares the copies with the live entries.
 * - Last in the shutdown, when all drivers are done, each unit is switched over
 *   with translation and interrupt remapping on: to its hand-over root, or to a
 *   page of zeroes, which blocks everything, if it has none; and to a page of
 *   zeroes as interrupt-remapping table.
 *
 * The live tables are never edited for this. iommu->root_entry keeps pointing to
 * them, so whatever userspace that still runs makes the driver do after the
 * switch-over changes memory that no hardware reads any more. To take a
 * preservation back only the copies have to go.
 *
 * Unpreserving cannot fail and allocates nothing.
 */

#define pr_fmt(fmt)	"DMAR: live update: " fmt
#define dev_fmt(fmt)	pr_fmt(fmt)

#include <linux/dmar.h>
#include <linux/iommu.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kho/abi/iommu.h>
#include <linux/pci.h>

#include "iommu.h"
#include "liveupdate.h"
#include "pasid.h"
#include "../iommu-pages.h"

static int refuse(struct device *dev, const char *why)
{
	dev_err(dev, "cannot be preserved: %s\n", why);
	return -EOPNOTSUPP;
}

static void *handover_table_alloc(struct intel_iommu *iommu)
{
	void *table;

	table = iommu_alloc_pages_node_sz(iommu->node, GFP_KERNEL, SZ_4K);
	if (!table)
		return ERR_PTR(-ENOMEM);

	if (iommu_preserve_pages(table)) {
		iommu_free_pages(table);
		return ERR_PTR(-ENOMEM);
	}
	__iommu_flush_cache(iommu, table, SZ_4K);
	return table;
}

static void handover_table_free(void *table)
{
	iommu_unpreserve_pages(table);
	iommu_free_pages(table);
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

/*
 * All units are switched over, or blocked. One that this kernel ignores but could not
 * turn off, which a quirk of graphics devices keeps it from, has no way to flush. One
 * that is not in the table of the firmware, where the next kernel looks, would be
 * blocked for good.
 */
static bool all_can_switch_over(void)
{
	struct dmar_drhd_unit *drhd;
	struct intel_iommu *iommu;

	guard(rcu)();
	for_each_iommu(iommu, drhd) {
		if (iommu->flags & VTD_FLAG_HOT_ADDED) {
			pr_err("%s: was added while the system ran\n", iommu->name);
			return false;
		}
		if (!iommu->flush.flush_context &&
		    (readl(iommu->reg + DMAR_GSTS_REG) & DMA_GSTS_TES)) {
			pr_err("%s: translates, but is not used\n", iommu->name);
			return false;
		}
	}
	return true;
}

/**
 * intel_iommu_preserve_unit - Give a unit a hand-over root
 * @iommu_dev: the unit
 * @ser: filled with what identifies the unit and where the root is
 *
 * Context: May sleep. Serialised by the caller.
 * Return: 0, -EOPNOTSUPP if the unit does not translate, or if there is one that
 * could not be blocked or was added while the system ran, or -ENOMEM.
 */
int intel_iommu_preserve_unit(struct iommu_device *iommu_dev,
			      struct iommu_liveupdate_unit_ser *ser)
{
	struct intel_iommu *iommu =
		container_of(iommu_dev, struct intel_iommu, iommu);
	struct root_entry *root;

	if (iommu->drhd->ignored || !(iommu->gcmd & DMA_GCMD_TE)) {
		pr_err("%s: cannot be preserved without translation\n",
		       iommu->name);
		return -EOPNOTSUPP;
	}

	if (!all_can_switch_over())
		return -EOPNOTSUPP;

	if (WARN_ON(iommu->handover_root))
		return -EBUSY;

	root = handover_table_alloc(iommu);
	if (IS_ERR(root))
		return PTR_ERR(root);

	*ser = (struct iommu_liveupdate_unit_ser) {
		.type = IOMMU_LIVEUPDATE_UNIT_VTD,
		.flags = sm_supported(iommu) ?
			 IOMMU_LIVEUPDATE_UNIT_SCALABLE : 0,
		.reg_phys = iommu->reg_phys,
		.cap = iommu->cap,
		.ecap = iommu->ecap,
		.root_pa = virt_to_phys(root),
		.segment = iommu->segment,
	};
	iommu->handover_root = root;
	return 0;
}

/**
 * intel_iommu_unpreserve_unit - Undo intel_iommu_preserve_unit()
 * @iommu_dev: the unit; none of its devices is preserved any more
 * @ser: unused
 *
 * Context: May sleep. Serialised by the caller. Cannot fail.
 */
void intel_iommu_unpreserve_unit(struct iommu_device *iommu_dev,
				 struct iommu_liveupdate_unit_ser *ser)
{
	struct intel_iommu *iommu =
		container_of(iommu_dev, struct intel_iommu, iommu);
	struct root_entry *root = iommu->handover_root;
	unsigned int bus;

	iommu->handover_root = NULL;
	for (bus = 0; bus < VTD_PAGE_SIZE / sizeof(*root); bus++) {
		if (root[bus].lo & 1)
			handover_table_free(phys_to_virt(root[bus].lo &
							 VTD_PAGE_MASK));
		if (root[bus].hi & 1)
			handover_table_free(phys_to_virt(root[bus].hi &
							 VTD_PAGE_MASK));
	}
	handover_table_free(root);
}

/**
 * intel_iommu_preserve_domain - Preserve the page table of a domain
 * @domain: an unmanaged paging domain with a device attached to it
 * @ser: filled except for the key
 *
 * Context: May sleep. The caller keeps map and unmap out until
 * intel_iommu_unpreserve_domain().
 * Return: 0; -EOPNOTSUPP for kinds of domains the next kernel cannot restore;
 * -ENODEV if no device is attached, so that the next kernel could not know which
 * unit the table is for; or an error from preserving the pages.
 */
int intel_iommu_preserve_domain(struct iommu_domain *domain,
				struct iommu_liveupdate_domain_ser *ser)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct pt_iommu *pt = &dmar_domain->iommu;
	struct device_domain_info *info;
	unsigned long flags;
	int ret;

	if (domain->type != IOMMU_DOMAIN_UNMANAGED ||
	    !(intel_domain_is_fs_paging(dmar_domain) ||
	      intel_domain_is_ss_paging(dmar_domain)) ||
	    domain->dirty_ops || dmar_domain->nested_parent) {
		pr_err("domain cannot be preserved: not a plain paging domain\n");
		return -EOPNOTSUPP;
	}

	memset(ser, 0, sizeof(*ser));

	spin_lock_irqsave(&dmar_domain->lock, flags);
	info = list_first_entry_or_null(&dmar_domain->devices,
					struct device_domain_info, link);
	if (!info) {
		ret = -ENODEV;
	} else if (!list_empty(&dmar_domain->dev_pasids)) {
		ret = -EOPNOTSUPP;
	} else if (dmar_domain->preserved) {
		ret = -EBUSY;
	} else {
		ret = 0;
		dmar_domain->preserved = true;
		ser->unit = info->iommu->reg_phys;
		if (dmar_domain->force_snooping)
			ser->flags |= IOMMU_LIVEUPDATE_DOMAIN_FORCE_SNOOP;
	}
	spin_unlock_irqrestore(&dmar_domain->lock, flags);
	if (ret == -EOPNOTSUPP)
		pr_err("domain cannot be preserved: attached with a PASID\n");
	if (ret)
		return ret;

	ser->aperture_start = domain->geometry.aperture_start;
	ser->aperture_end = domain->geometry.aperture_end;
	ser->pgsize_bitmap = domain->pgsize_bitmap;

	ret = pt->ops->preserve(pt, &ser->pt);
	if (ret)
		dmar_domain->preserved = false;
	return ret;
}

/**
 * intel_iommu_unpreserve_domain - Undo intel_iommu_preserve_domain()
 * @domain: the domain; no device attached to it is preserved any more
 * @ser: unused
 *
 * Context: May sleep. Cannot fail.
 */
void intel_iommu_unpreserve_domain(struct iommu_domain *domain,
				   struct iommu_liveupdate_domain_ser *ser)
{
	struct dmar_domain *dmar_domain = to_dmar_domain(domain);
	struct pt_iommu *pt = &dmar_domain->iommu;

	pt->ops->unpreserve(pt);
	dmar_domain->preserved = false;
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

	table = handover_table_alloc(iommu);
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
