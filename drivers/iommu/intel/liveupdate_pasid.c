// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update, the side of the old kernel: PASID tables of scalable mode. See
 * liveupdate.c for what leads to them.
 *
 * The PASID table of a device, a directory and the tables it points to, is only
 * reachable through the context entries of that device. So it is handed over as
 * it is, where it is: nothing in it belongs to anybody else. Of its entries only
 * the one for requests without PASID may be in use; whatever else would write
 * to the table is refused while the device is preserved.
 */

#define pr_fmt(fmt)	"DMAR: live update: " fmt
#define dev_fmt(fmt)	pr_fmt(fmt)

#include <linux/iommu.h>
#include <linux/kho/abi/iommu.h>
#include <linux/string.h>

#include "iommu.h"
#include "liveupdate.h"
#include "pasid.h"
#include "../iommu-pages.h"

static unsigned int nr_pdes(const struct pasid_table *table)
{
	return table->max_pasid >> PASID_PDE_SHIFT;
}

/* Not just present ones: an entry that only disables fault reports is in use */
static bool other_pasids_in_use(const struct pasid_table *table)
{
	struct pasid_dir_entry *dir = table->table;
	unsigned int i, skip = 1;

	for (i = 0; i < nr_pdes(table); i++, skip = 0) {
		struct pasid_entry *entries = get_pasid_table_from_pde(&dir[i]);

		if (entries && memchr_inv(entries + skip, 0,
					  (PASID_TBL_ENTRIES - skip) *
					  sizeof(*entries)))
			return true;
	}
	return false;
}

/**
 * intel_iommu_verify_pasid_table - Check that a PASID table can be handed over
 * @dev: a preserved device of a unit in scalable mode
 * @domain: the domain it is attached to
 * @did: the domain id it is attached with
 *
 * Context: Allocates nothing.
 * Return: 0; -EINVAL, with a line in the log, if the entry for requests without
 * PASID is not that of @domain; -EOPNOTSUPP if another one is in use.
 */
int intel_iommu_verify_pasid_table(struct device *dev,
				   struct dmar_domain *domain, u16 did)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct pasid_entry want, *entries;
	int ret;

	ret = intel_pasid_entry_paging(info->iommu, domain, did, &want);
	if (ret)
		return ret;

	entries = get_pasid_table_from_pde(info->pasid_table->table);
	if (!entries || memcmp(&entries[IOMMU_NO_PASID], &want, sizeof(want))) {
		dev_err(dev, "PASID entry is not that of its domain\n");
		return -EINVAL;
	}

	if (other_pasids_in_use(info->pasid_table)) {
		dev_err(dev, "cannot be preserved: PASIDs are in use\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Undo for the directory and its first @nr entries */
static void unpreserve_pages(const struct pasid_table *table, unsigned int nr)
{
	struct pasid_dir_entry *dir = table->table;

	while (nr--) {
		struct pasid_entry *entries =
			get_pasid_table_from_pde(&dir[nr]);

		if (entries)
			iommu_unpreserve_pages(entries);
	}
	iommu_unpreserve_pages(dir);
}

/**
 * intel_iommu_preserve_pasid_table - Have the next kernel find a PASID table
 * @dev: a device of a unit in scalable mode that is marked as preserved, so that
 *       its table does not change
 * @domain: the domain it is attached to
 * @ser: the fields of the PASID table are filled in; the domain id has been
 *
 * Context: May sleep.
 * Return: 0, an error of intel_iommu_verify_pasid_table(), or one of KHO.
 */
int intel_iommu_preserve_pasid_table(struct device *dev,
				     struct dmar_domain *domain,
				     struct iommu_liveupdate_device_ser *ser)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);
	struct pasid_table *table = info->pasid_table;
	struct pasid_dir_entry *dir = table->table;
	unsigned int i;
	int ret;

	ret = intel_iommu_verify_pasid_table(dev, domain, ser->did);
	if (ret)
		return ret;

	ret = iommu_preserve_pages(dir);
	if (ret)
		return ret;

	for (i = 0; i < nr_pdes(table); i++) {
		struct pasid_entry *entries = get_pasid_table_from_pde(&dir[i]);

		ret = entries ? iommu_preserve_pages(entries) : 0;
		if (ret) {
			unpreserve_pages(table, i);
			return ret;
		}
	}

	ser->pasid_dir = virt_to_phys(dir);
	ser->max_pasid = table->max_pasid;
	return 0;
}

/**
 * intel_iommu_unpreserve_pasid_table - Undo intel_iommu_preserve_pasid_table()
 * @dev: the device, still marked as preserved
 *
 * Context: May sleep. Cannot fail.
 */
void intel_iommu_unpreserve_pasid_table(struct device *dev)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);

	unpreserve_pages(info->pasid_table, nr_pdes(info->pasid_table));
}
