// SPDX-License-Identifier: GPL-2.0
/*
 * Validation of the IOMMU hand-over
 *
 * Pure functions over (buffer, length): no side effects, no dereference of
 * what a field points to. Whatever passes here still has to match the
 * hardware; that is for the driver that adopts it.
 */
#include <linux/align.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/mm.h>

#include "liveupdate-abi.h"

/* Far more than a machine has; keeps sums and loops bounded. */
#define MAX_ENTRIES	BIT(20)

static bool page_pa_valid(u64 pa)
{
	return pa && IS_ALIGNED(pa, PAGE_SIZE) && pa >> 52 == 0;
}

static bool array_valid(u64 head, u64 nr)
{
	if (!nr)
		return !head;
	return nr <= MAX_ENTRIES && page_pa_valid(head);
}

/**
 * iommu_liveupdate_ser_valid() - Check the top of a hand-over
 * @ser: Copy of, or pointer to, the top structure.
 * @len: Number of bytes that may be read at @ser.
 *
 * Context: Any.
 * Return: true if version and layout are what this kernel understands.
 */
bool iommu_liveupdate_ser_valid(const struct iommu_liveupdate_ser *ser,
				size_t len)
{
	if (len < sizeof(*ser) ||
	    ser->version != IOMMU_LIVEUPDATE_ABI_VERSION || ser->reserved)
		return false;
	/* A device needs a unit and a domain */
	if (ser->nr_devices && (!ser->nr_units || !ser->nr_domains))
		return false;
	return array_valid(ser->units, ser->nr_units) &&
	       array_valid(ser->domains, ser->nr_domains) &&
	       array_valid(ser->devices, ser->nr_devices) &&
	       page_pa_valid(ser->zero_pa);
}

/**
 * iommu_liveupdate_unit_valid() - Check the record of a unit on its own
 * @ser: The record.
 *
 * Context: Any.
 * Return: true if each field is within its range.
 */
bool iommu_liveupdate_unit_valid(const struct iommu_liveupdate_unit_ser *ser)
{
	return ser->type == IOMMU_LIVEUPDATE_UNIT_VTD &&
	       !(ser->flags & ~IOMMU_LIVEUPDATE_UNIT_FLAGS) &&
	       page_pa_valid(ser->reg_phys) && page_pa_valid(ser->root_pa) &&
	       ser->segment <= U16_MAX && !ser->reserved;
}

/**
 * iommu_liveupdate_domain_valid() - Check the record of a domain on its own
 * @ser: The record.
 *
 * The page table in it is checked by the format that restores it.
 *
 * Context: Any.
 * Return: true if each field is within its range.
 */
bool iommu_liveupdate_domain_valid(const struct iommu_liveupdate_domain_ser *ser)
{
	return ser->key && page_pa_valid(ser->file) &&
	       page_pa_valid(ser->unit) &&
	       ser->aperture_start < ser->aperture_end &&
	       (ser->pgsize_bitmap & PAGE_SIZE) &&
	       !(ser->flags & ~IOMMU_LIVEUPDATE_DOMAIN_FLAGS) &&
	       !ser->reserved && page_pa_valid(ser->pt.top_pa) &&
	       ser->pt.nr_tables;
}

static bool pasid_dir_valid(u64 pasid_dir, u32 max_pasid)
{
	if (!max_pasid)
		return !pasid_dir;
	return is_power_of_2(max_pasid) &&
	       max_pasid >= IOMMU_LIVEUPDATE_PASIDS_MIN &&
	       max_pasid <= IOMMU_LIVEUPDATE_PASIDS_MAX &&
	       page_pa_valid(pasid_dir) &&
	       IS_ALIGNED(pasid_dir, max_pasid / 8);
}

/**
 * iommu_liveupdate_device_valid() - Check the record of a device on its own
 * @ser: The record.
 *
 * Context: Any.
 * Return: true if each field is within its range.
 */
bool iommu_liveupdate_device_valid(const struct iommu_liveupdate_device_ser *ser)
{
	return page_pa_valid(ser->unit) && ser->domain &&
	       ser->segment <= U16_MAX && ser->rid <= U16_MAX &&
	       ser->did && ser->did <= U16_MAX && !ser->reserved &&
	       pasid_dir_valid(ser->pasid_dir, ser->max_pasid);
}
