/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Live update of vfio-pci device files: interface between vfio_pci_liveupdate.c
 * (old kernel) and vfio_pci_liveupdate_incoming.c (new kernel)
 */
#ifndef VFIO_PCI_LIVEUPDATE_H
#define VFIO_PCI_LIVEUPDATE_H

#include <linux/container_of.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>

struct liveupdate_file_op_args;

/* Only for files vfio_pci_liveupdate_preserve() or retrieve() accepted */
static inline struct vfio_pci_core_device *vfio_pci_file_vdev(struct file *file)
{
	return container_of(vfio_cdev_file_device(file),
			    struct vfio_pci_core_device, vdev);
}

int vfio_pci_liveupdate_retrieve(struct liveupdate_file_op_args *args);
bool vfio_pci_liveupdate_can_finish(struct liveupdate_file_op_args *args);
void vfio_pci_liveupdate_finish(struct liveupdate_file_op_args *args);

#endif /* VFIO_PCI_LIVEUPDATE_H */
