/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serialised form of a generic_pt I/O page table for live update
 */

#ifndef _LINUX_KHO_ABI_IOMMU_PT_H
#define _LINUX_KHO_ABI_IOMMU_PT_H

#include <linux/bits.h>
#include <linux/types.h>

/* &struct iommu_pt_ser.format: which encoding the table entries have */
#define IOMMU_PT_SER_FMT_VTDSS		1	/* VT-d second stage */
#define IOMMU_PT_SER_FMT_X86_64		2	/* VT-d first stage */
#define IOMMU_PT_SER_FMT_AMDV1		3

/**
 * struct iommu_pt_ser - An I/O page table handed to the next kernel
 * @top_pa:        Physical address of the top table.
 * @nr_tables:     Number of table pages, top included; each is a KHO-preserved
 *                 folio.
 * @format:        IOMMU_PT_SER_FMT_*.
 * @features:      enum pt_features as of this ABI (PT_FEAT_* bit numbers are part
 *                 of the ABI).
 * @top_level:     Level of the top table; 0 is the level of the smallest leaf.
 * @max_vasz_lg2:  log2 of the input address range in bytes.
 * @max_oasz_lg2:  log2 of the output address range in bytes.
 * @reserved:      0.
 *
 * The geometry is taken from here and checked against the hardware, never
 * recomputed from what the next kernel would choose.
 */
struct iommu_pt_ser {
	__u64 top_pa;
	__u64 nr_tables;
	__u32 format;
	__u32 features;
	__u8 top_level;
	__u8 max_vasz_lg2;
	__u8 max_oasz_lg2;
	__u8 reserved[5];
};

#endif /* _LINUX_KHO_ABI_IOMMU_PT_H */
