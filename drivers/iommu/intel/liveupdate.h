/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Live update: interface between liveupdate*.c (old kernel), adopt*.c (new
 * kernel) and the rest of the driver
 */
#ifndef _INTEL_LIVEUPDATE_H_
#define _INTEL_LIVEUPDATE_H_

#include <linux/bitmap.h>
#include <linux/xarray.h>

#include "iommu.h"

struct iommu_liveupdate_device_ser;
struct iommu_liveupdate_domain_ser;
struct iommu_liveupdate_unit_ser;
struct pasid_table;

int intel_iommu_preserve_unit(struct iommu_device *iommu_dev,
			      struct iommu_liveupdate_unit_ser *ser);
void intel_iommu_unpreserve_unit(struct iommu_device *iommu_dev,
				 struct iommu_liveupdate_unit_ser *ser);
int intel_iommu_preserve_domain(struct iommu_domain *domain,
				struct iommu_liveupdate_domain_ser *ser);
void intel_iommu_unpreserve_domain(struct iommu_domain *domain,
				   struct iommu_liveupdate_domain_ser *ser);
int intel_iommu_preserve_device(struct device *dev, struct iommu_domain *domain,
				struct iommu_liveupdate_device_ser *ser);
void intel_iommu_unpreserve_device(struct device *dev,
				   struct iommu_liveupdate_device_ser *ser);
int intel_iommu_freeze_device(struct device *dev,
			      const struct iommu_liveupdate_device_ser *ser);

void *intel_iommu_handover_table_alloc(struct intel_iommu *iommu);
void intel_iommu_handover_entry(struct device *dev, struct dmar_domain *domain,
				u16 did, u16 alias,
				struct context_entry *entry);
int intel_iommu_verify_pasid_table(struct device *dev,
				   struct dmar_domain *domain, u16 did);
int intel_iommu_preserve_pasid_table(struct device *dev,
				     struct dmar_domain *domain,
				     struct iommu_liveupdate_device_ser *ser);
void intel_iommu_unpreserve_pasid_table(struct device *dev);

typedef void (*intel_iommu_rmrr_fn)(struct device *dev, u64 start, u64 end);
void intel_iommu_walk_rmrr_devices(intel_iommu_rmrr_fn fn);

/* The live entries of a preserved device may not change */
static inline bool device_is_preserved(struct device_domain_info *info)
{
	return IS_ENABLED(CONFIG_IOMMU_LIVEUPDATE) &&
	       READ_ONCE(info->preserved);
}

#define NR_RIDS		BIT(16)

/* Translated requests are allowed: TT 01b in legacy, DTE in scalable mode */
#define CONTEXT_DEV_TLB	BIT_ULL(2)

/* Do two entries lead to the same table, whether the device may cache or not? */
static inline bool context_entry_same(const struct context_entry *a,
				      const struct context_entry *b)
{
	return a->hi == b->hi &&
	       (a->lo | CONTEXT_DEV_TLB) == (b->lo | CONTEXT_DEV_TLB);
}

/**
 * struct intel_iommu_adopted - What is left of the hand-over of a unit
 * @unclaimed: Routing ids whose entry is as the previous kernel left it.
 * @alias:     Those of @unclaimed which no device has for its own: DMA aliases.
 * @dids:      Domain id -> users, see DID_DOMAIN and DID_ENTRY in adopt.c. Protected
 *             by did_lock.
 * @pasid_tables: Routing id -> struct pasid_table that no device has taken yet;
 *             scalable mode only.
 * @nr_dropped: Entries that were made non-present when the unit was adopted.
 */
struct intel_iommu_adopted {
	DECLARE_BITMAP(unclaimed, NR_RIDS);
	DECLARE_BITMAP(alias, NR_RIDS);
	struct xarray dids;
	struct xarray pasid_tables;
	unsigned int nr_dropped;
};

extern const struct iommu_liveupdate_ops intel_iommu_liveupdate_ops;

#ifdef CONFIG_IOMMU_LIVEUPDATE

extern bool intel_iommu_switched_over;
void intel_iommu_liveupdate_init(void);

int intel_iommu_adopt_unit(struct intel_iommu *iommu);
void intel_iommu_adopt_ready(struct intel_iommu *iommu);
void intel_iommu_forget_adopted(struct intel_iommu *iommu);
bool intel_iommu_rid_is_unclaimed(struct intel_iommu *iommu, u16 rid);
bool intel_iommu_device_is_unclaimed(struct intel_iommu *iommu, u16 rid);
bool intel_iommu_entry_has_dev_tlb(struct intel_iommu *iommu, u16 rid);
void intel_iommu_entry_forget(struct intel_iommu *iommu, u16 rid, u16 did);
int intel_iommu_adopted_did_get(struct intel_iommu *iommu, u16 did);
bool intel_iommu_adopted_did_put(struct intel_iommu *iommu, u16 did);

u16 intel_iommu_entry_did(struct intel_iommu *iommu,
			  struct context_entry *context);
bool intel_iommu_sm_context_valid(struct intel_iommu *iommu,
				  const struct context_entry *context);
int intel_iommu_restore_pasid_table(struct intel_iommu *iommu,
				    const struct iommu_liveupdate_device_ser *ser,
				    const struct context_entry *context);
struct pasid_table *intel_iommu_take_pasid_table(struct intel_iommu *iommu,
						 u16 rid);
void intel_iommu_drop_pasid_tables(struct intel_iommu_adopted *adopted);
u16 intel_iommu_block_no_pasid(struct intel_iommu *iommu,
			       const struct context_entry *context);
void intel_iommu_block_rid(struct iommu_device *iommu_dev, u32 segment,
			   u16 rid);

#else /* !CONFIG_IOMMU_LIVEUPDATE */

#define intel_iommu_switched_over false
static inline void intel_iommu_liveupdate_init(void) { }

static inline int intel_iommu_adopt_unit(struct intel_iommu *iommu)
{
	return -EOPNOTSUPP;
}

static inline void intel_iommu_adopt_ready(struct intel_iommu *iommu) { }

static inline void intel_iommu_forget_adopted(struct intel_iommu *iommu) { }

static inline bool intel_iommu_rid_is_unclaimed(struct intel_iommu *iommu,
						u16 rid)
{
	return false;
}

static inline bool intel_iommu_device_is_unclaimed(struct intel_iommu *iommu,
						   u16 rid)
{
	return false;
}

static inline bool intel_iommu_entry_has_dev_tlb(struct intel_iommu *iommu,
						 u16 rid)
{
	return false;
}

static inline struct pasid_table *
intel_iommu_take_pasid_table(struct intel_iommu *iommu, u16 rid)
{
	return NULL;
}

static inline void intel_iommu_block_rid(struct iommu_device *iommu_dev,
					 u32 segment, u16 rid)
{
}

static inline void intel_iommu_entry_forget(struct intel_iommu *iommu, u16 rid,
					    u16 did)
{
}

static inline int intel_iommu_adopted_did_get(struct intel_iommu *iommu,
					      u16 did)
{
	return -EINVAL;
}

static inline bool intel_iommu_adopted_did_put(struct intel_iommu *iommu,
					       u16 did)
{
	return false;
}

#endif /* CONFIG_IOMMU_LIVEUPDATE */

#endif /* _INTEL_LIVEUPDATE_H_ */
