/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serialised form of an iommufd for live update
 */

/**
 * DOC: iommufd live update ABI
 *
 * What the iommufd file handler hands to the next kernel: the marked HWPTs,
 * the IOASes they belong to, and what is mapped there. The I/O page tables
 * themselves are not here but in the hand-over of the IOMMU core (see
 * include/linux/kho/abi/iommu.h), to which an HWPT refers by key::
 *
 *   file data --> struct iommufd_liveupdate_ser
 *                   |-- hwpts   --> struct iommufd_liveupdate_hwpt_ser ...
 *                   |-- ioases  --> struct iommufd_liveupdate_ioas_ser ...
 *                   |-- allowed --> struct iommufd_liveupdate_allowed_ser ...
 *                   |-- files   --> struct iommufd_liveupdate_file_ser ...
 *                   |-- pages   --> struct iommufd_liveupdate_pages_ser ...
 *                   '-- areas   --> struct iommufd_liveupdate_area_ser ...
 *
 * Each array is a KHO block set; entries refer to entries of another array by
 * index. Areas are sorted by IOAS, then by IOVA, and do not overlap within one
 * IOAS. The memory is not described: it belongs to the memfds, which are files
 * of the same session and are named by their token in it.
 *
 * This layout is a contract between two kernels. A change of layout or meaning
 * is a new IOMMUFD_LIVEUPDATE_ABI_VERSION. All fields are fixed width, naturally
 * aligned and explicitly padded; reserved fields and unused flags are written
 * as 0 and checked to be 0. All offsets and lengths are in bytes. The validators
 * in drivers/iommu/iommufd/liveupdate_parse.c check each entry before it is
 * used.
 */

#ifndef _LINUX_KHO_ABI_IOMMUFD_H
#define _LINUX_KHO_ABI_IOMMUFD_H

#ifndef __ASSEMBLER__
#include <linux/bits.h>
#include <linux/types.h>
#endif

/* Name of the file handler; the layout version is in the object itself. */
#define IOMMUFD_LIVEUPDATE_COMPATIBLE	"iommufd-v100"

#define IOMMUFD_LIVEUPDATE_ABI_VERSION	0x101

/* Each has devices of its own. More are not preserved, and are not believed. */
#define IOMMUFD_LIVEUPDATE_MAX_HWPTS	65536

#ifndef __ASSEMBLER__

/**
 * struct iommufd_liveupdate_array_ser - An array of the hand-over
 * @nr:   Number of entries.
 * @head: Physical address of the first block of the KHO block set, 0 if empty.
 */
struct iommufd_liveupdate_array_ser {
	__u64 nr;
	__u64 head;
};

/* &struct iommufd_liveupdate_ser.flags */
/* Pages are charged to the process as VFIO type1 does, not to the user. */
#define IOMMUFD_LIVEUPDATE_ACCOUNT_MM	BIT(0)
#define IOMMUFD_LIVEUPDATE_FLAGS	IOMMUFD_LIVEUPDATE_ACCOUNT_MM

/**
 * struct iommufd_liveupdate_ser - Top of the hand-over of one iommufd
 * @version: IOMMUFD_LIVEUPDATE_ABI_VERSION. Anything else is not readable.
 * @flags:   IOMMUFD_LIVEUPDATE_* flags.
 * @hwpts:   Array of &struct iommufd_liveupdate_hwpt_ser.
 * @ioases:  Array of &struct iommufd_liveupdate_ioas_ser.
 * @allowed: Array of &struct iommufd_liveupdate_allowed_ser.
 * @files:   Array of &struct iommufd_liveupdate_file_ser.
 * @pages:   Array of &struct iommufd_liveupdate_pages_ser.
 * @areas:   Array of &struct iommufd_liveupdate_area_ser.
 */
struct iommufd_liveupdate_ser {
	__u32 version;
	__u32 flags;
	struct iommufd_liveupdate_array_ser hwpts;
	struct iommufd_liveupdate_array_ser ioases;
	struct iommufd_liveupdate_array_ser allowed;
	struct iommufd_liveupdate_array_ser files;
	struct iommufd_liveupdate_array_ser pages;
	struct iommufd_liveupdate_array_ser areas;
};

/* &struct iommufd_liveupdate_hwpt_ser.flags */
#define IOMMUFD_LIVEUPDATE_HWPT_ENFORCE_CC	BIT(0)
/* BIT(1) is for a parent of nested HWPTs, which is not preserved so far */
#define IOMMUFD_LIVEUPDATE_HWPT_PASID		BIT(2)
#define IOMMUFD_LIVEUPDATE_HWPT_FLAGS				\
	(IOMMUFD_LIVEUPDATE_HWPT_ENFORCE_CC |			\
	 IOMMUFD_LIVEUPDATE_HWPT_PASID)

/**
 * struct iommufd_liveupdate_hwpt_ser - A marked HWPT
 * @token: Userspace's name for it, unique within the iommufd.
 * @key:   &struct iommu_liveupdate_domain_ser.key of its page table.
 * @ioas:  Index into the IOASes.
 * @flags: IOMMUFD_LIVEUPDATE_HWPT_* flags.
 */
struct iommufd_liveupdate_hwpt_ser {
	__u64 token;
	__u64 key;
	__u32 ioas;
	__u32 flags;
};

/**
 * struct iommufd_liveupdate_ioas_ser - An IOAS with marked HWPTs
 * @nr_areas: Number of areas mapped in it.
 * @reserved: 0.
 */
struct iommufd_liveupdate_ioas_ser {
	__u64 nr_areas;
	__u64 reserved;
};

/**
 * struct iommufd_liveupdate_allowed_ser - A range set with IOAS_ALLOW_IOVAS
 * @ioas:     Index into the IOASes.
 * @reserved: 0.
 * @start:    First IOVA.
 * @last:     Last IOVA, inclusive.
 */
struct iommufd_liveupdate_allowed_ser {
	__u32 ioas;
	__u32 reserved;
	__u64 start;
	__u64 last;
};

/**
 * struct iommufd_liveupdate_file_ser - A memfd that is mapped
 * @token: Token of the memfd in the session this iommufd is in.
 * @size:  Size of the file.
 */
struct iommufd_liveupdate_file_ser {
	__u64 token;
	__u64 size;
};

/* &struct iommufd_liveupdate_pages_ser.flags */
#define IOMMUFD_LIVEUPDATE_PAGES_WRITABLE	BIT(0)
#define IOMMUFD_LIVEUPDATE_PAGES_FLAGS		IOMMUFD_LIVEUPDATE_PAGES_WRITABLE

/**
 * struct iommufd_liveupdate_pages_ser - A range of a memfd that areas share
 * @file:   Index into the files.
 * @flags:  IOMMUFD_LIVEUPDATE_PAGES_* flags.
 * @start:  Offset in the file.
 * @length: Length of the range.
 *
 * Areas with the same index pin and charge each page once between them.
 */
struct iommufd_liveupdate_pages_ser {
	__u32 file;
	__u32 flags;
	__u64 start;
	__u64 length;
};

/* &struct iommufd_liveupdate_area_ser.prot */
#define IOMMUFD_LIVEUPDATE_AREA_READ	BIT(0)
#define IOMMUFD_LIVEUPDATE_AREA_WRITE	BIT(1)
#define IOMMUFD_LIVEUPDATE_AREA_PROT				\
	(IOMMUFD_LIVEUPDATE_AREA_READ | IOMMUFD_LIVEUPDATE_AREA_WRITE)

/**
 * struct iommufd_liveupdate_area_ser - A mapping
 * @ioas:     Index into the IOASes.
 * @pages:    Index into the pages.
 * @iova:     First IOVA.
 * @length:   Length.
 * @offset:   Where in the pages @iova begins.
 * @prot:     IOMMUFD_LIVEUPDATE_AREA_READ and WRITE.
 * @reserved: 0.
 */
struct iommufd_liveupdate_area_ser {
	__u32 ioas;
	__u32 pages;
	__u64 iova;
	__u64 length;
	__u64 offset;
	__u32 prot;
	__u32 reserved;
};

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_IOMMUFD_H */
