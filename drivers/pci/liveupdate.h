/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Live update of PCI devices: between the files that do it. What the rest of
 * the PCI core calls is in pci.h.
 */
#ifndef DRIVERS_PCI_LIVEUPDATE_H
#define DRIVERS_PCI_LIVEUPDATE_H

#include <linux/mutex.h>
#include <linux/types.h>

struct liveupdate_flb_op_args;
struct pci_dev;
struct pci_liveupdate_dev_ser;

extern struct mutex pci_liveupdate_mutex;

int pci_liveupdate_record_get(struct pci_dev *dev);
void pci_liveupdate_record_put(struct pci_dev *dev);
int pci_liveupdate_record_write(void);
bool pci_liveupdate_record_has(struct pci_dev *dev);
bool pci_liveupdate_record_holds(struct pci_dev *dev);
bool pci_liveupdate_record_used(void);

int pci_liveupdate_flb_preserve(struct liveupdate_flb_op_args *args);
void pci_liveupdate_flb_unpreserve(struct liveupdate_flb_op_args *args);
int pci_liveupdate_flb_retrieve(struct liveupdate_flb_op_args *args);
void pci_liveupdate_flb_finish(struct liveupdate_flb_op_args *args);
void pci_liveupdate_record_lost(void);
bool pci_liveupdate_record_came(void);
int pci_liveupdate_record_take(struct pci_dev *dev,
			       struct pci_liveupdate_dev_ser *ser);
bool pci_liveupdate_record_over(struct pci_dev *dev);
void pci_liveupdate_record_gone(struct pci_dev *dev);

void pci_liveupdate_end_device(struct pci_dev *dev);

#if IS_ENABLED(CONFIG_KUNIT)
struct pci_liveupdate_ser;

bool pci_liveupdate_ser_valid(const struct pci_liveupdate_ser *ser, size_t len);
bool pci_liveupdate_dev_ser_valid(const struct pci_liveupdate_dev_ser *ser);
#endif

#endif /* DRIVERS_PCI_LIVEUPDATE_H */
