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

#include <linux/dmar.h>
#include <linux/iommu.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kho/abi/iommu.h>

#include "iommu.h"
#include "liveupdate.h"
#include "../iommu-pages.h"

/**
 * intel_iommu_handover_table_alloc - Allocate a table of a hand-over root
 * @iommu: the unit
 *
 * Context: May sleep. Serialised by the caller.
 * Return: A page of zeroes that is preserved, or ERR_PTR(-ENOMEM).
 */
void *intel_iommu_handover_table_alloc(struct intel_iommu *iommu)
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

	root = intel_iommu_handover_table_alloc(iommu);
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
