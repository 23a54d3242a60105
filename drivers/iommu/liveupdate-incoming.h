/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Records of what the old kernel handed over, shared by liveupdate-load.c, which
 * makes and frees them, and by liveupdate-adopt.c and liveupdate-discard.c, which
 * go by them.
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

/* What has become of a domain. Devices adopt it only while it waits. */
enum incoming_domain_state {
	/* For its devices and for RESTORE */
	INCOMING_WAITS,
	/* RESTORE took it for an HWPT */
	INCOMING_TAKEN,
	/* RESTORE took the others of its IOAS: it was restored for no device */
	INCOMING_LEFT_OUT,
	/* Its iommufd cannot have it: the memory it maps may be somebody else's */
	INCOMING_GIVEN_UP,
	/* FINISH ended it */
	INCOMING_DISCARDED,
};

struct incoming_domain {
	struct list_head list;
	/* NULL before the first device is probed, and once it was taken or ended */
	struct iommu_domain *domain;
	enum incoming_domain_state state;
	void *owner;
	struct iommu_liveupdate_domain_ser ser;
};

struct incoming_device {
	struct list_head list;
	/* NULL if the hand-over is not readable */
	struct incoming_domain *domain;
	/*
	 * NULL before its probe and after it was removed or ended. Removal ends
	 * the record before @dev lets go of its group: as long as they are here
	 * both can be referenced.
	 */
	struct device *dev;
	struct iommu_group *group;
	enum iommu_liveupdate_state state;
	/*
	 * Blocked and not to be given back: adoption failed, its user cannot have
	 * it, or RESTORE went on without it before it showed up.
	 */
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
void iommu_incoming_block(struct incoming_device *rec);
void iommu_incoming_end(struct incoming_device *rec);
void iommu_incoming_end_absent(struct incoming_device *rec);
void iommu_incoming_discard_devices(struct incoming_domain *domain);
void iommu_incoming_discard_domain(struct incoming_domain *domain);

#endif /* __IOMMU_LIVEUPDATE_INCOMING_H */
