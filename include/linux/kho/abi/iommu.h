/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serialised state of the IOMMU subsystem for live update
 */

/**
 * DOC: IOMMU live update ABI
 *
 * Over a kexec the IOMMU keeps reading memory of the old kernel: root and
 * context tables, PASID tables and I/O page tables. The old kernel hands the
 * new one a description of that memory in one file-lifecycle-bound (FLB)
 * object, so that the new kernel can adopt it in place instead of replacing it::
 *
 *   FLB data --> struct iommu_liveupdate_ser
 *                  |-- units   --> struct iommu_liveupdate_unit_ser ...
 *                  |-- domains --> struct iommu_liveupdate_domain_ser ...
 *                  |-- devices --> struct iommu_liveupdate_device_ser ...
 *                  '-- zero_pa --> a page of zeroes (root table of units
 *                                  without preserved devices, empty
 *                                  interrupt-remapping table)
 *
 * The three arrays are KHO block sets, written when the old kernel freezes.
 * Entries refer to each other by key, never by address or position: a unit by
 * its register base, a domain by a number unique within the hand-over, a device
 * by PCI segment and routing id.
 *
 * This layout is a contract between two kernels. A change of layout or meaning
 * is a new IOMMU_LIVEUPDATE_ABI_VERSION. All fields are fixed width, naturally
 * aligned and explicitly padded; reserved fields are written as 0 and checked
 * to be 0. None of it is trusted: the validators in drivers/iommu/liveupdate-abi.c
 * check each entry before it is used.
 */

#ifndef _LINUX_KHO_ABI_IOMMU_H
#define _LINUX_KHO_ABI_IOMMU_H

#ifndef __ASSEMBLER__
#include <linux/bits.h>
#include <linux/types.h>

#include <linux/kho/abi/iommu_pt.h>
#endif

/* Name of the FLB object; the layout version is in the object itself. */
#define IOMMU_LIVEUPDATE_FLB_COMPATIBLE	"iommu-liveupdate"

#define IOMMU_LIVEUPDATE_ABI_VERSION	0x103

#ifndef __ASSEMBLER__

/**
 * struct iommu_liveupdate_ser - Top of the hand-over
 * @version:    IOMMU_LIVEUPDATE_ABI_VERSION. Anything else is not readable.
 * @reserved:   0.
 * @nr_units:   Number of entries in @units.
 * @nr_domains: Number of entries in @domains.
 * @nr_devices: Number of entries in @devices.
 * @units:      Physical address of the first block of
 *              &struct iommu_liveupdate_unit_ser, 0 if none.
 * @domains:    The same for &struct iommu_liveupdate_domain_ser.
 * @devices:    The same for &struct iommu_liveupdate_device_ser.
 * @zero_pa:    Physical address of one preserved page of zeroes.
 */
struct iommu_liveupdate_ser {
	__u32 version;
	__u32 reserved;
	__u64 nr_units;
	__u64 nr_domains;
	__u64 nr_devices;
	__u64 units;
	__u64 domains;
	__u64 devices;
	__u64 zero_pa;
};

/* &struct iommu_liveupdate_unit_ser.type */
#define IOMMU_LIVEUPDATE_UNIT_VTD	1

/* &struct iommu_liveupdate_unit_ser.flags */
/* Translation is in scalable mode (RTADDR_REG.TTM = 01b); legacy otherwise. */
#define IOMMU_LIVEUPDATE_UNIT_SCALABLE	BIT(0)
#define IOMMU_LIVEUPDATE_UNIT_FLAGS	IOMMU_LIVEUPDATE_UNIT_SCALABLE

/**
 * struct iommu_liveupdate_unit_ser - An IOMMU unit with preserved devices
 * @type:     IOMMU_LIVEUPDATE_UNIT_*.
 * @flags:    IOMMU_LIVEUPDATE_UNIT_* flags.
 * @reg_phys: Physical address of the register base; the key of the unit.
 * @cap:      Capability register as the old kernel read it (VT-d: CAP_REG).
 * @ecap:     Extended capability register (VT-d: ECAP_REG).
 * @root_pa:  Physical address of the hand-over root table (4 KiB). It holds
 *            entries of preserved devices only; context tables it points to
 *            are 4 KiB, too. Each is a KHO-preserved folio.
 * @segment:  PCI segment of the unit.
 * @reserved: 0.
 */
struct iommu_liveupdate_unit_ser {
	__u32 type;
	__u32 flags;
	__u64 reg_phys;
	__u64 cap;
	__u64 ecap;
	__u64 root_pa;
	__u32 segment;
	__u32 reserved;
};

/* &struct iommu_liveupdate_domain_ser.flags */
/* Snooping is forced for every mapping (iommu_domain::enforce_cache_coherency). */
#define IOMMU_LIVEUPDATE_DOMAIN_FORCE_SNOOP	BIT(0)
#define IOMMU_LIVEUPDATE_DOMAIN_FLAGS		IOMMU_LIVEUPDATE_DOMAIN_FORCE_SNOOP

/**
 * struct iommu_liveupdate_domain_ser - A preserved paging domain
 * @key:            Number of the domain, unique in this hand-over, not 0.
 * @file:           What LUO was given for the iommufd file the domain belongs to
 *                  (physical address of its description). The domain ends with
 *                  that file, whether its description can be read or not.
 * @unit:           &struct iommu_liveupdate_unit_ser.reg_phys of the unit the
 *                  table was made for (and whose coherency it follows).
 * @aperture_start: First IOVA of the domain's geometry, bytes.
 * @aperture_end:   Last IOVA of the domain's geometry, bytes, inclusive.
 * @pgsize_bitmap:  Page sizes the domain may map, &iommu_domain.pgsize_bitmap.
 * @flags:          IOMMU_LIVEUPDATE_DOMAIN_* flags.
 * @reserved:       0.
 * @pt:             The I/O page table.
 */
struct iommu_liveupdate_domain_ser {
	__u64 key;
	__u64 file;
	__u64 unit;
	__u64 aperture_start;
	__u64 aperture_end;
	__u64 pgsize_bitmap;
	__u32 flags;
	__u32 reserved;
	struct iommu_pt_ser pt;
};

/* 8 bytes in the PASID directory stand for 64 PASIDs; it is a page at least */
#define IOMMU_LIVEUPDATE_PASIDS_MIN	BIT(15)
#define IOMMU_LIVEUPDATE_PASIDS_MAX	BIT(20)

/**
 * struct iommu_liveupdate_device_ser - A preserved attachment
 * @unit:      &struct iommu_liveupdate_unit_ser.reg_phys translating for it.
 * @domain:    &struct iommu_liveupdate_domain_ser.key it is attached to.
 * @segment:   PCI segment.
 * @rid:       PCI routing id: bus << 8 | devfn.
 * @did:       Domain id in the hardware entry; reserved in the new kernel
 *             before anything can allocate one.
 * @max_pasid: Scalable mode: number of PASIDs the directory covers, a power of
 *             two that IOMMU_LIVEUPDATE_PASIDS_MIN and _MAX limit; else 0.
 * @pasid_dir: Scalable mode: physical address of the PASID directory, a folio of
 *             @max_pasid / 8 bytes, else 0. The PASID tables it points to are
 *             4 KiB. Entry 0 of the first, for requests without PASID, is the
 *             only one that is not all zeroes. Each is KHO-preserved.
 * @reserved:  0.
 */
struct iommu_liveupdate_device_ser {
	__u64 unit;
	__u64 domain;
	__u32 segment;
	__u32 rid;
	__u32 did;
	__u32 max_pasid;
	__u64 pasid_dir;
	__u64 reserved;
};

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_IOMMU_H */
