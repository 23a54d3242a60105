/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Records of what the old kernel handed over, shared by liveupdate-load.c, which
 * makes and frees them, and liveupdate-adopt.c, which goes by them.
 */
#ifndef __IOMMU_LIVEUPDATE_INCOMING_H
#define __IOMMU_LIVEUPDATE_INCOMING_H

#include <linux/kho/abi/iommu.h>
#include <linux/list.h>

#include "liveupdate-priv.h"

struct incoming_unit {
	struct list_head list;
	/* Set once the driver has adopted it */
	struct iommu_device *iommu;
	struct iommu_liveupdate_unit_ser ser;
};

struct incoming_domain {
	struct list_head list;
	/* NULL before the first device is probed, and once RESTORE took it */
	struct iommu_domain *domain;
	/* RESTORE took it, or it was discarded: nothing to adopt any more */
	bool gone;
	void *owner;
	struct iommu_liveupdate_domain_ser ser;
};

struct incoming_device {
	struct list_head list;
	/* NULL if the hand-over is not readable */
	struct incoming_domain *domain;
	/* NULL before its probe and after it was removed or ended */
	struct device *dev;
	enum iommu_liveupdate_state state;
	/* Adoption was tried and failed: the device is blocked */
	bool failed;
	/* Attached, discarded or removed: the record has no further meaning */
	bool ended;
	struct iommu_liveupdate_device_ser ser;
};

/**
 * struct incoming - What the old kernel handed over
 * @readable: False if there is a hand-over that cannot be trusted. The lists are
 *            empty then, except that devices which PCI knows to have come
 *            running get a record when they are probed.
 * @units:    List of &struct incoming_unit.
 * @domains:  List of &struct incoming_domain.
 * @devices:  List of &struct incoming_device.
 */
struct incoming {
	bool readable;
	struct list_head units;
	struct list_head domains;
	struct list_head devices;
};

/*
 * Set by the FLB's retrieve, or by the first device that runs if there is no such
 * FLB, cleared by its finish; iommu_liveupdate_lock
 */
extern struct incoming *iommu_incoming;

struct incoming *iommu_liveupdate_incoming_create(void);
bool iommu_liveupdate_is_lost(void);
struct incoming_domain *iommu_incoming_domain(struct incoming *in, u64 key);
struct incoming_unit *iommu_incoming_unit(struct incoming *in, u64 reg_phys);
struct incoming_device *iommu_incoming_rid(struct incoming *in, u32 segment,
					   u32 rid);

#endif /* __IOMMU_LIVEUPDATE_INCOMING_H */
