/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Records of what this kernel is going to hand over, shared by liveupdate.c,
 * which makes them, and liveupdate-freeze.c, which writes them down.
 */
#ifndef __IOMMU_LIVEUPDATE_OUTGOING_H
#define __IOMMU_LIVEUPDATE_OUTGOING_H

#include <linux/kho/abi/iommu.h>
#include <linux/kho_block.h>
#include <linux/list.h>

#include "liveupdate-priv.h"

struct outgoing_unit {
	struct list_head list;
	struct iommu_device *iommu;
	unsigned int devices;
	struct iommu_liveupdate_unit_ser ser;
};

struct outgoing_domain {
	struct list_head list;
	struct iommu_domain *domain;
	unsigned int devices;
	struct iommu_liveupdate_domain_ser ser;
};

struct outgoing_device {
	struct list_head list;
	struct device *dev;
	struct outgoing_unit *unit;
	struct outgoing_domain *domain;
	struct iommu_liveupdate_device_ser ser;
};

/**
 * struct outgoing - Records of this kernel for the next
 * @ser:        KHO memory whose address is the FLB data; filled by freeze.
 * @unit_set:   KHO blocks, always just large enough for @units.
 * @domain_set: The same for @domains.
 * @device_set: The same for @devices.
 * @units:      List of &struct outgoing_unit.
 * @domains:    List of &struct outgoing_domain.
 * @devices:    List of &struct outgoing_device.
 * @next_key:   Next &struct iommu_liveupdate_domain_ser.key.
 * @frozen:     Number of files that called iommu_liveupdate_freeze().
 *
 * Exists from the first preserved iommufd to the last unpreserved one.
 */
struct outgoing {
	struct iommu_liveupdate_ser *ser;
	struct kho_block_set unit_set;
	struct kho_block_set domain_set;
	struct kho_block_set device_set;
	struct list_head units;
	struct list_head domains;
	struct list_head devices;
	u64 next_key;
	unsigned int frozen;
};

/* NULL when nothing is preserved; iommu_liveupdate_lock */
extern struct outgoing *iommu_outgoing;

#endif /* __IOMMU_LIVEUPDATE_OUTGOING_H */
