/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Live update of IOMMU state: interface between the IOMMU core, IOMMU drivers
 * and iommufd. The story is told in drivers/iommu/liveupdate.c.
 */
#ifndef _LINUX_IOMMU_LIVEUPDATE_H
#define _LINUX_IOMMU_LIVEUPDATE_H

#include <linux/err.h>
#include <linux/types.h>

struct device;
struct iommu_device;
struct iommu_domain;
struct iommu_group;
struct iommu_liveupdate_device_ser;
struct iommu_liveupdate_domain_ser;
struct iommu_liveupdate_unit_ser;
struct liveupdate_file_handler;

/**
 * struct iommu_liveupdate_ops - What an IOMMU driver does for a live update
 * @preserve_unit:     Old kernel. First device of @iommu is being preserved:
 *                     allocate and KHO-preserve the hand-over root, fill @ser.
 * @unpreserve_unit:   Old kernel. Undo @preserve_unit; cannot fail.
 * @preserve_domain:   Old kernel. KHO-preserve the page table of @domain and
 *                     fill @ser except its key. -EOPNOTSUPP for what is on the
 *                     refuse list.
 * @unpreserve_domain: Old kernel. Undo @preserve_domain; cannot fail.
 * @preserve_device:   Old kernel. Put copies of the hardware entries of @dev
 *                     (all its DMA aliases) into the hand-over root of its unit
 *                     and fill did, pasid_dir, max_pasid of @ser. From here on
 *                     the driver refuses every change of the live entries.
 * @unpreserve_device: Old kernel. Undo @preserve_device; cannot fail.
 * @freeze_device:     Old kernel, reboot(2). Check that the hand-over entries of
 *                     @dev equal the live ones. Allocates nothing.
 * @restore_domain:    New kernel, probe of @dev. Return a domain around the live
 *                     page table @ser describes, or an ERR_PTR. Software only.
 * @adopt_device:      New kernel, probe of @dev, group mutex held. Compare the
 *                     live hardware entry with what @domain and @ser say and
 *                     set all software state of an attached device without
 *                     touching the entry. The counterpart of attach_dev.
 * @finish_device:     New kernel, group mutex held. The owner of @dev has attached
 *                     the adopted domain, the hand-over of @dev is over. Drop
 *                     what it has cached. Optional; cannot fail.
 * @block_rid:         New kernel. Make the hardware entry of @rid on @iommu
 *                     non-present and flush: the device never showed up or its
 *                     hand-over is unusable.
 *
 * All may sleep. Callers serialise preserve/unpreserve/freeze.
 */
struct iommu_liveupdate_ops {
	int (*preserve_unit)(struct iommu_device *iommu,
			     struct iommu_liveupdate_unit_ser *ser);
	void (*unpreserve_unit)(struct iommu_device *iommu,
				struct iommu_liveupdate_unit_ser *ser);
	int (*preserve_domain)(struct iommu_domain *domain,
			       struct iommu_liveupdate_domain_ser *ser);
	void (*unpreserve_domain)(struct iommu_domain *domain,
				  struct iommu_liveupdate_domain_ser *ser);
	int (*preserve_device)(struct device *dev, struct iommu_domain *domain,
			       struct iommu_liveupdate_device_ser *ser);
	void (*unpreserve_device)(struct device *dev,
				  struct iommu_liveupdate_device_ser *ser);
	int (*freeze_device)(struct device *dev,
			     const struct iommu_liveupdate_device_ser *ser);

	struct iommu_domain *
	(*restore_domain)(struct device *dev,
			  const struct iommu_liveupdate_domain_ser *ser);
	int (*adopt_device)(struct device *dev, struct iommu_domain *domain,
			    const struct iommu_liveupdate_device_ser *ser);
	void (*finish_device)(struct device *dev);
	void (*block_rid)(struct iommu_device *iommu, u32 segment, u16 rid);
};

/* What the hand-over says at boot, see iommu_liveupdate_boot_state() */
enum iommu_liveupdate_boot {
	IOMMU_LIVEUPDATE_COLD,		/* nothing was handed over */
	IOMMU_LIVEUPDATE_LIVE,		/* hand-over read and validated */
	IOMMU_LIVEUPDATE_UNREADABLE,	/* there is one, but block everything */
};

/* Non-zero ends the walk, see iommu_liveupdate_walk_devices() */
typedef int (*iommu_liveupdate_device_fn)(const struct iommu_liveupdate_device_ser *ser,
					  void *data);

#ifdef CONFIG_IOMMU_LIVEUPDATE

/* iommufd's LUO handler carries the IOMMU FLB */
int iommu_liveupdate_register_flb(struct liveupdate_file_handler *fh);
void iommu_liveupdate_unregister_flb(struct liveupdate_file_handler *fh);

/* Old kernel: called by iommufd; all return a key or act on one */
int iommu_liveupdate_preserve_domain(struct iommu_domain *domain, u64 file,
				     u64 *key);
void iommu_liveupdate_unpreserve_domain(u64 key);
int iommu_liveupdate_preserve_device(struct device *dev,
				     struct iommu_domain *domain);
void iommu_liveupdate_unpreserve_device(struct device *dev);
int iommu_liveupdate_freeze(void);
void iommu_liveupdate_unfreeze(void);

/*
 * Something is preserved, or was handed over and is not finished. Neither sleeps
 * nor locks.
 */
bool iommu_liveupdate_busy(void);

/* For who is about to change what would be handed over */
int iommu_liveupdate_hold_off(void);
void iommu_liveupdate_hold_off_end(void);

/* Old kernel: called by IOMMU drivers */
bool iommu_liveupdate_frozen(void);
phys_addr_t iommu_liveupdate_zero_page(void);

/* New kernel: called by IOMMU drivers at boot */
enum iommu_liveupdate_boot iommu_liveupdate_boot_state(void);
const struct iommu_liveupdate_unit_ser *
iommu_liveupdate_find_unit(u32 type, u64 reg_phys);
void iommu_liveupdate_unit_adopted(u64 reg_phys, struct iommu_device *iommu);
int iommu_liveupdate_walk_devices(u64 unit, iommu_liveupdate_device_fn fn,
				  void *data);

/* New kernel: called by the PCI core */
void iommu_liveupdate_give_up(struct device *dev);

/* New kernel: called by iommufd */
int iommu_liveupdate_set_owner(u64 key, u64 file, void *owner);
void iommu_liveupdate_clear_owner(u64 key, void *owner);
struct iommu_domain *iommu_liveupdate_take_domain(u64 key, void *owner);
void iommu_liveupdate_return_domain(u64 key, void *owner,
				    struct iommu_domain *domain);
bool iommu_liveupdate_domain_unclaimed(u64 key);
bool iommu_liveupdate_forget_domain(u64 key);
void iommu_liveupdate_remember_domain(u64 key);
void iommu_liveupdate_end_absent(u64 key);
void iommu_liveupdate_give_up_file(u64 file, const char *why);
bool iommu_liveupdate_device_uses(struct device *dev,
				  struct iommu_domain *domain);
void iommu_liveupdate_claim_confirm(struct device *dev);
void iommu_liveupdate_discard_file(u64 file);

#else /* !CONFIG_IOMMU_LIVEUPDATE */

static inline bool iommu_liveupdate_busy(void)
{
	return false;
}

static inline int iommu_liveupdate_hold_off(void)
{
	return 0;
}

static inline void iommu_liveupdate_hold_off_end(void)
{
}

static inline enum iommu_liveupdate_boot iommu_liveupdate_boot_state(void)
{
	return IOMMU_LIVEUPDATE_COLD;
}

#endif /* CONFIG_IOMMU_LIVEUPDATE */
#endif /* _LINUX_IOMMU_LIVEUPDATE_H */
