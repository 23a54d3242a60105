/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Live update of PCI devices: interface between the PCI core and the driver
 * that keeps a device running. The story is told in drivers/pci/liveupdate.c.
 */
#ifndef _LINUX_PCI_LIVEUPDATE_H
#define _LINUX_PCI_LIVEUPDATE_H

#include <linux/types.h>

struct liveupdate_file_handler;
struct pci_dev;

#if defined(CONFIG_PCI) && defined(CONFIG_IOMMU_LIVEUPDATE)

/* The driver's LUO file handler carries the PCI FLB */
int pci_liveupdate_register_flb(struct liveupdate_file_handler *fh);
void pci_liveupdate_unregister_flb(struct liveupdate_file_handler *fh);

/* Old kernel */
int pci_liveupdate_preserve(struct pci_dev *dev);
void pci_liveupdate_unpreserve(struct pci_dev *dev);
int pci_liveupdate_freeze(struct pci_dev *dev);
void pci_liveupdate_unfreeze(struct pci_dev *dev);
bool pci_liveupdate_preserved(struct pci_dev *dev);

/* New kernel */
bool pci_liveupdate_incoming(struct pci_dev *dev);
bool pci_liveupdate_blocked(struct pci_dev *dev);
bool pci_liveupdate_gone(u32 segment, u16 rid);
struct pci_dev *pci_liveupdate_finish(u32 segment, u16 rid);
void pci_liveupdate_done(struct pci_dev *dev);
void pci_liveupdate_block(struct pci_dev *dev);
void pci_liveupdate_give_up(struct pci_dev *dev, const char *why);

#else

static inline bool pci_liveupdate_preserved(struct pci_dev *dev)
{
	return false;
}

static inline bool pci_liveupdate_incoming(struct pci_dev *dev)
{
	return false;
}

static inline bool pci_liveupdate_blocked(struct pci_dev *dev)
{
	return false;
}

static inline void pci_liveupdate_block(struct pci_dev *dev)
{
}

static inline void pci_liveupdate_give_up(struct pci_dev *dev, const char *why)
{
}

#endif /* CONFIG_PCI && CONFIG_IOMMU_LIVEUPDATE */
#endif /* _LINUX_PCI_LIVEUPDATE_H */
