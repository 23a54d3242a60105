// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update, the side of the new kernel: PASID tables of scalable mode. See
 * adopt.c for what leads to them.
 *
 * A PASID table that was handed over is claimed from KHO and checked together
 * with the unit, before anything looks into it. It belongs to the unit until its
 * device shows up. From then on it is the PASID table of that device, which has
 * none allocated, and is freed with it like any other.
 */

#define pr_fmt(fmt)	"DMAR: live update: " fmt

#include <linux/iommu.h>
#include <linux/kho/abi/iommu.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/xarray.h>

#include "iommu.h"
#include "liveupdate.h"
#include "pasid.h"
#include "../iommu-pages.h"

/* Where physical addresses are in entries of all kinds */
#define ENTRY_ADDR	GENMASK_ULL(51, 12)

/* Number of PASIDs that the directory an entry leads to covers */
static u32 context_max_pasid(const struct context_entry *context)
{
	return BIT(((context->lo >> 9) & 7) + 7 + PASID_PDE_SHIFT);
}

static struct pasid_entry *no_pasid_entry(const struct context_entry *context)
{
	struct pasid_dir_entry *dir = phys_to_virt(context->lo & ENTRY_ADDR);

	return get_pasid_table_from_pde(dir) + IOMMU_NO_PASID;
}

/**
 * intel_iommu_entry_did - Domain id that hardware uses for an adopted entry
 * @iommu: the unit
 * @context: the context entry, with the PASID table behind it checked in
 *           scalable mode
 *
 * Return: the domain id.
 */
u16 intel_iommu_entry_did(struct intel_iommu *iommu,
			  struct context_entry *context)
{
	if (sm_supported(iommu))
		return pasid_get_domain_id(no_pasid_entry(context));
	return context_domain_id(context);
}

/**
 * intel_iommu_sm_context_valid - Check a context entry for its structure
 * @iommu: a unit in scalable mode
 * @context: the first of the two halves of an entry; the second is not in use
 *
 * Return: true if it is what intel_iommu_preserve_device() hands over. Where it
 * leads to is not looked at.
 */
bool __init intel_iommu_sm_context_valid(struct intel_iommu *iommu,
					 const struct context_entry *context)
{
	/* Page requests (PRE, bit 4) are not handed over, faults are reported */
	u64 allowed = ENTRY_ADDR | GENMASK_ULL(11, 9) | BIT(0);

	if (ecap_dev_iotlb_support(iommu->ecap))
		allowed |= CONTEXT_DEV_TLB;
	if (pasid_supported(iommu))
		allowed |= CONTEXT_PASIDE;

	return context_present((struct context_entry *)context) &&
	       !(context->lo & ~allowed) && !context->hi &&
	       !context[1].lo && !context[1].hi;
}

static bool __init pasid_entry_valid(struct intel_iommu *iommu,
				     const struct pasid_entry *entry, u32 did)
{
	struct pasid_entry rest = *entry;

	/* Domain id, page walk snoop, page snoop */
	if ((rest.val[1] & GENMASK_ULL(15, 0)) != did)
		return false;
	rest.val[1] &= ~(GENMASK_ULL(15, 0) | BIT_ULL(23) | BIT_ULL(24));

	/* Present, translation type, address width, and the table */
	switch (rest.val[0] & (GENMASK_ULL(8, 6) | GENMASK_ULL(1, 0))) {
	case PASID_ENTRY_PGTT_FL_ONLY << 6 | PASID_PTE_PRESENT:
		rest.val[0] &= ~(GENMASK_ULL(8, 6) | GENMASK_ULL(4, 2) |
				 PASID_PTE_PRESENT);
		rest.val[2] &= ~(ENTRY_ADDR | GENMASK_ULL(3, 2));
		break;
	case PASID_ENTRY_PGTT_SL_ONLY << 6 | PASID_PTE_PRESENT:
		rest.val[0] &= ~(GENMASK_ULL(8, 6) | GENMASK_ULL(4, 2) |
				 PASID_PTE_PRESENT | ENTRY_ADDR);
		break;
	default:
		return false;
	}

	return !memchr_inv(&rest, 0, sizeof(rest)) &&
	       did >= IDA_START_DID && did < iommu->max_domain_id;
}

static int __init restore_entries(struct intel_iommu *iommu, u64 pde,
				  bool first, u32 did)
{
	struct pasid_entry *entries;
	unsigned int skip = 0;

	if ((pde & ~ENTRY_ADDR) != PASID_PTE_PRESENT)
		return -EINVAL;

	entries = iommu_restore_pages(pde & ENTRY_ADDR, SZ_4K, NULL);
	if (!entries)
		return -EINVAL;

	if (first) {
		if (!pasid_entry_valid(iommu, &entries[IOMMU_NO_PASID], did))
			return -EINVAL;
		skip = 1;
	}

	/* A second PASID in use would be out of reach for everybody */
	if (memchr_inv(entries + skip, 0,
		       (PASID_TBL_ENTRIES - skip) * sizeof(*entries)))
		return -EINVAL;
	return 0;
}

/**
 * intel_iommu_restore_pasid_table - Claim and check the PASID table of a device
 * @iommu: a unit in scalable mode that is being adopted
 * @ser: the record of the device
 * @context: its context entry, structurally valid
 *
 * Context: May sleep.
 * Return: 0; -EINVAL if the table is not what @ser and @context say, or is not
 * valid; -ENOMEM. Pages claimed up to then are leaked, as hardware uses them.
 */
int __init
intel_iommu_restore_pasid_table(struct intel_iommu *iommu,
				const struct iommu_liveupdate_device_ser *ser,
				const struct context_entry *context)
{
	struct pasid_table *table;
	struct pasid_dir_entry *dir;
	unsigned int i;
	int ret;

	/* What a directory of our own has, as intel_pasid_free_table() frees it */
	if (ser->pasid_dir != (context->lo & ENTRY_ADDR) ||
	    ser->max_pasid != context_max_pasid(context) ||
	    ser->max_pasid < IOMMU_LIVEUPDATE_PASIDS_MIN ||
	    ser->max_pasid > IOMMU_LIVEUPDATE_PASIDS_MAX)
		return -EINVAL;

	table = kzalloc_obj(*table);
	if (!table)
		return -ENOMEM;

	dir = iommu_restore_pages(ser->pasid_dir,
				  ser->max_pasid >> (PASID_PDE_SHIFT - 3),
				  NULL);
	ret = -EINVAL;
	if (!dir || !pasid_pde_is_present(dir))
		goto err_free;

	for (i = 0; i < ser->max_pasid >> PASID_PDE_SHIFT; i++) {
		if (!dir[i].val)
			continue;
		ret = restore_entries(iommu, dir[i].val, !i, ser->did);
		if (ret)
			goto err_free;
	}

	table->table = dir;
	table->max_pasid = ser->max_pasid;
	ret = xa_err(xa_store(&iommu->adopted->pasid_tables, ser->rid, table,
			      GFP_KERNEL));
	if (ret)
		goto err_free;
	return 0;

err_free:
	/* Not what it describes */
	kfree(table);
	return ret;
}

/**
 * intel_iommu_take_pasid_table - The PASID table that was handed over for a device
 * @iommu: the unit
 * @rid: the routing id of the device
 *
 * Context: Any.
 * Return: the table, which belongs to the caller from here on, or NULL if there is
 * none or it has been taken.
 */
struct pasid_table *intel_iommu_take_pasid_table(struct intel_iommu *iommu,
						 u16 rid)
{
	if (!iommu->adopted)
		return NULL;
	return xa_erase(&iommu->adopted->pasid_tables, rid);
}

/**
 * intel_iommu_drop_pasid_tables - Forget PASID tables that no device has taken
 * @adopted: what was gathered until adoption of the unit failed, or the unit goes
 *
 * The tables stay where they are: hardware uses them until it gets another root.
 * When the unit goes there are none left, as each of its devices has been ended.
 *
 * Context: May sleep.
 */
void intel_iommu_drop_pasid_tables(struct intel_iommu_adopted *adopted)
{
	struct pasid_table *table;
	unsigned long rid;

	xa_for_each(&adopted->pasid_tables, rid, table)
		kfree(table);
	xa_destroy(&adopted->pasid_tables);
}

/**
 * intel_iommu_block_no_pasid - Make the PASID entry of an unclaimed rid non-present
 * @iommu: a unit in scalable mode
 * @context: the context entry
 *
 * As intel_pasid_tear_down_entry() does, but there may be no device. There are no
 * entries but that for requests without PASID.
 *
 * Context: May sleep.
 * Return: the domain id that was in use.
 */
u16 intel_iommu_block_no_pasid(struct intel_iommu *iommu,
			       const struct context_entry *context)
{
	struct pasid_entry *entry = no_pasid_entry(context);
	u16 did, pgtt;

	spin_lock(&iommu->lock);
	did = pasid_get_domain_id(entry);
	pgtt = pasid_pte_get_pgtt(entry);
	pasid_clear_present(entry);
	__iommu_flush_cache(iommu, entry, sizeof(*entry));
	spin_unlock(&iommu->lock);

	qi_flush_pasid_cache(iommu, did, QI_PC_PASID_SEL, IOMMU_NO_PASID);
	if (pgtt == PASID_ENTRY_PGTT_FL_ONLY)
		qi_flush_piotlb_all(iommu, did, IOMMU_NO_PASID);
	else
		iommu->flush.flush_iotlb(iommu, did, 0, 0, DMA_TLB_DSI_FLUSH);

	pasid_clear_entry(entry);
	__iommu_flush_cache(iommu, entry, sizeof(*entry));
	return did;
}
