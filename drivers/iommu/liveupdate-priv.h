/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Live update inside the IOMMU core: what iommu.c and the liveupdate*.c files
 * share. The story is in liveupdate.c.
 */
#ifndef __IOMMU_LIVEUPDATE_PRIV_H
#define __IOMMU_LIVEUPDATE_PRIV_H

#include <linux/iommu-liveupdate.h>

/**
 * enum iommu_liveupdate_state - Who holds a preserved attachment
 * @IOMMU_LIVEUPDATE_NONE:      Nothing to do with a live update (any more).
 * @IOMMU_LIVEUPDATE_PRESERVED: Old kernel: attachment must not change.
 * @IOMMU_LIVEUPDATE_HELD:      New kernel: adopted (or blocked when adoption
 *                              failed), owned by the core's sentinel.
 * @IOMMU_LIVEUPDATE_CLAIMED:   New kernel: its iommufd owns it, but the open of
 *                              the device may still fail.
 * @IOMMU_LIVEUPDATE_CONFIRMED: New kernel: the device is open; attach of the
 *                              adopted domain comes next.
 *
 * Kept per group and changed under its mutex; the incoming record mirrors it
 * under iommu_liveupdate_lock for walks over all devices of a domain.
 */
enum iommu_liveupdate_state {
	IOMMU_LIVEUPDATE_NONE,
	IOMMU_LIVEUPDATE_PRESERVED,
	IOMMU_LIVEUPDATE_HELD,
	IOMMU_LIVEUPDATE_CLAIMED,
	IOMMU_LIVEUPDATE_CONFIRMED,
};

#ifdef CONFIG_IOMMU_LIVEUPDATE

/*
 * Guards outgoing and incoming records. Innermost of the core's sleeping
 * locks: iommu_probe_device_lock -> group->mutex -> iommu_liveupdate_lock.
 * LUO's FLB lock is taken before all of them, never inside. So are the locks of
 * iommufd, from iommufd_ctx::liveupdate_lock to iommufd_group::lock, and at boot
 * those of the IOMMU driver under which it adopts its units. Inside of it are those
 * that its callbacks take.
 */
extern struct mutex iommu_liveupdate_lock;

/* iommu.c: state of a group */
int iommu_group_liveupdate_preserve(struct device *dev,
				    struct iommu_domain *domain);
void iommu_group_liveupdate_unpreserve(struct device *dev);
void iommu_group_liveupdate_discard(struct iommu_group *group,
				    struct device *dev);

/* liveupdate-adopt.c: called by iommu.c without the group mutex */
struct iommu_group *iommu_liveupdate_get_group(struct device *dev);

/* liveupdate-adopt.c: called by iommu.c with the group mutex held or without */
bool iommu_liveupdate_is_incoming(struct device *dev);

/* liveupdate-adopt.c: called by iommu.c with the group mutex held */
struct iommu_domain *iommu_liveupdate_adopt(struct device *dev);
void iommu_liveupdate_refuse(struct device *dev);
int iommu_liveupdate_may_claim(struct device *dev, void *owner);
void iommu_liveupdate_set_state(struct device *dev,
				enum iommu_liveupdate_state state);
void iommu_liveupdate_finish(struct device *dev);
void iommu_liveupdate_removed(struct device *dev);

/* liveupdate-load.c: called by the FLB callbacks in liveupdate.c, and back */
void iommu_liveupdate_keep_zero_page(phys_addr_t pa);
int iommu_liveupdate_incoming_load(u64 data, void **obj);
void iommu_liveupdate_incoming_finish(void *obj);
bool iommu_liveupdate_incoming_pending(void);

extern struct liveupdate_flb iommu_liveupdate_flb;

/* liveupdate-test.c: called by the selftest of iommufd */
bool iommu_liveupdate_test_possible(void);
int iommu_liveupdate_test_hand_over(struct iommu_domain *domain, u64 file,
				    u64 *key);
int iommu_liveupdate_test_add_device(u64 key);
void iommu_liveupdate_test_remove_devices(u64 key);
void iommu_liveupdate_test_end(u64 key);

#else

static inline bool iommu_liveupdate_is_incoming(struct device *dev)
{
	return false;
}

static inline struct iommu_domain *iommu_liveupdate_adopt(struct device *dev)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void iommu_liveupdate_refuse(struct device *dev)
{
}

static inline int iommu_liveupdate_may_claim(struct device *dev, void *owner)
{
	return -EPERM;
}

static inline void iommu_liveupdate_set_state(struct device *dev,
					      enum iommu_liveupdate_state state)
{
}

static inline void iommu_liveupdate_finish(struct device *dev)
{
}

static inline void iommu_liveupdate_removed(struct device *dev)
{
}

#endif /* CONFIG_IOMMU_LIVEUPDATE */
#endif /* __IOMMU_LIVEUPDATE_PRIV_H */
