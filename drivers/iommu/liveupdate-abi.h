/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Validators of the IOMMU hand-over, see liveupdate-abi.c
 */
#ifndef __IOMMU_LIVEUPDATE_ABI_H
#define __IOMMU_LIVEUPDATE_ABI_H

#include <linux/kho/abi/iommu.h>

bool iommu_liveupdate_ser_valid(const struct iommu_liveupdate_ser *ser,
				size_t len);
bool iommu_liveupdate_unit_valid(const struct iommu_liveupdate_unit_ser *ser);
bool iommu_liveupdate_domain_valid(const struct iommu_liveupdate_domain_ser *ser);
bool iommu_liveupdate_device_valid(const struct iommu_liveupdate_device_ser *ser);

#endif
