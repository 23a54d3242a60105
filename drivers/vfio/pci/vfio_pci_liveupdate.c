// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of vfio-pci device files: the file handler, and the side of the old
 * kernel. See vfio_pci_liveupdate_incoming.c for that of the new one.
 */

/**
 * DOC: vfio-pci device files
 *
 * A vfio-pci device whose cdev file is preserved keeps running while the kernel
 * is replaced: it is not reset, keeps its bus mastering and its BARs, and its DMA
 * goes on through the I/O page table that iommufd preserves.
 *
 * Before the kexec, the device must be bound to an iommufd and attached, and that
 * iommufd preserved earlier in the same session. From then on the device cannot
 * be reset, detached, stopped through config space or put into low power: such
 * requests return -EBUSY. Interrupts may still be changed. When the kernel
 * freezes the session, interrupts stop too; loads and stores through BAR
 * mappings work until the jump.
 *
 * After the kexec, the retrieved file behaves like one freshly opened: bind it to
 * the retrieved iommufd, attach it, map its BARs, set up its interrupts, and
 * trigger each of them once as some may have been lost. Config space reads as
 * the user left it. No other file of the device can be bound, and no driver
 * other than vfio-pci gets it, until the session is finished. Finishing needs
 * the device to be attached; a device that was never retrieved or bound, or whose
 * user has gone before attaching it, is stopped and reset by it.
 *
 * What is preserved
 *   virtual config space, the state the device is put back to when closed,
 *   whether it can be reset.
 *
 * What is not preserved
 *   eventfds and irqfds, ioeventfds, BAR mappings, the KVM association.
 *
 * What is refused
 *   see Documentation/userspace-api/iommufd_liveupdate.rst.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": live update: " fmt

#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/io.h>
#include <linux/iommufd.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/vfio_pci.h>
#include <linux/liveupdate.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/vfio_pci_core.h>

#include "vfio_pci_liveupdate.h"
#include "vfio_pci_priv.h"

/* All files of VFIO, so that those which cannot be preserved get a reason */
static bool
vfio_pci_liveupdate_can_preserve(struct liveupdate_file_handler *handler,
				 struct file *file)
{
	return vfio_file_kind(file);
}

static bool vfio_pci_liveupdate_refused(struct file *file)
{
	struct vfio_device *device = vfio_cdev_file_device(file);

	if (!device)
		pr_warn("a %s cannot be preserved, use the device cdev\n",
			vfio_file_kind(file));
	else if (device->ops != &vfio_pci_ops)
		dev_warn(device->dev, "live update: cannot preserve: driver is not vfio-pci\n");
	else
		return false;
	return true;
}

/* A device can be open more than once, but it exists only once */
static unsigned long vfio_pci_liveupdate_get_id(struct file *file)
{
	struct vfio_device *device = vfio_cdev_file_device(file);

	return device ? (unsigned long)device : (unsigned long)file;
}

static int vfio_pci_liveupdate_preserve(struct liveupdate_file_op_args *args)
{
	struct vfio_pci_core_device *vdev;
	struct vfio_device *device;
	struct vfio_pci_ser *ser;
	struct pci_dev *pdev;
	size_t size;
	int ret;

	if (vfio_pci_liveupdate_refused(args->file))
		return -EOPNOTSUPP;

	vdev = vfio_pci_file_vdev(args->file);
	device = &vdev->vdev;
	pdev = vdev->pdev;

	/* Its user can hold the lock for long, with a fault on its own memory */
	ACQUIRE(mutex_intr, lock)(&device->dev_set->lock);
	ret = ACQUIRE_ERR(mutex_intr, &lock);
	if (ret)
		return ret;

	if (!vfio_cdev_file_bound(args->file) || !device->iommufd_attached) {
		pci_warn(pdev, "live update: device is not attached\n");
		return -EINVAL;
	}

	if (pci_liveupdate_incoming(pdev))
		return -EBUSY;

	ret = vfio_pci_core_liveupdate_preserve(vdev);
	if (ret)
		return ret;

	size = vfio_pci_core_liveupdate_size(vdev);
	if (size > VFIO_PCI_SER_MAX) {
		pci_warn(pdev, "live update: %zu bytes of config space are too much\n",
			 size);
		ret = -EOPNOTSUPP;
		goto err_unpreserve_core;
	}

	/* Stays version 0 until it is frozen */
	ser = kho_alloc_preserve(size);
	if (IS_ERR(ser)) {
		ret = PTR_ERR(ser);
		goto err_unpreserve_core;
	}

	ret = iommufd_device_liveupdate_preserve(device->iommufd_device,
						 args->session);
	if (ret)
		goto err_free_ser;

	ret = pci_liveupdate_preserve(pdev);
	if (ret)
		goto err_unpreserve_iommufd;

	args->serialized_data = virt_to_phys(ser);
	return 0;

err_unpreserve_iommufd:
	iommufd_device_liveupdate_unpreserve(device->iommufd_device);
err_free_ser:
	kho_unpreserve_free(ser);
err_unpreserve_core:
	vfio_pci_core_liveupdate_unpreserve(vdev);
	return ret;
}

static void vfio_pci_liveupdate_unpreserve(struct liveupdate_file_op_args *args)
{
	struct vfio_pci_core_device *vdev = vfio_pci_file_vdev(args->file);

	/*
	 * Its user can hold dev_set->lock for as long as he likes. The session has
	 * the file, so nothing is closed, and all is undone when ioctls can tell.
	 */
	pci_liveupdate_unpreserve(vdev->pdev);
	iommufd_device_liveupdate_unpreserve(vdev->vdev.iommufd_device);
	kho_unpreserve_free(phys_to_virt(args->serialized_data));
	vfio_pci_core_liveupdate_unpreserve(vdev);
}

static int vfio_pci_liveupdate_freeze(struct liveupdate_file_op_args *args)
{
	struct vfio_pci_core_device *vdev = vfio_pci_file_vdev(args->file);
	struct vfio_pci_ser *ser = phys_to_virt(args->serialized_data);
	size_t size = vfio_pci_core_liveupdate_size(vdev);
	int ret;

	ret = vfio_pci_core_liveupdate_freeze(vdev, ser, size);
	if (ret)
		return ret;

	ret = pci_liveupdate_freeze(vdev->pdev);
	if (ret)
		vfio_pci_core_liveupdate_unfreeze(vdev, ser);
	return ret;
}

static void vfio_pci_liveupdate_unfreeze(struct liveupdate_file_op_args *args)
{
	struct vfio_pci_core_device *vdev = vfio_pci_file_vdev(args->file);

	pci_liveupdate_unfreeze(vdev->pdev);
	vfio_pci_core_liveupdate_unfreeze(vdev,
					  phys_to_virt(args->serialized_data));
}

static const struct liveupdate_file_ops vfio_pci_liveupdate_ops = {
	.can_preserve	= vfio_pci_liveupdate_can_preserve,
	.preserve	= vfio_pci_liveupdate_preserve,
	.unpreserve	= vfio_pci_liveupdate_unpreserve,
	.freeze		= vfio_pci_liveupdate_freeze,
	.unfreeze	= vfio_pci_liveupdate_unfreeze,
	.retrieve	= vfio_pci_liveupdate_retrieve,
	.can_finish	= vfio_pci_liveupdate_can_finish,
	.finish		= vfio_pci_liveupdate_finish,
	.get_id		= vfio_pci_liveupdate_get_id,
	.owner		= THIS_MODULE,
	.live		= true,
};

static struct liveupdate_file_handler vfio_pci_liveupdate_handler = {
	.ops		= &vfio_pci_liveupdate_ops,
	.compatible	= VFIO_PCI_LIVEUPDATE_COMPATIBLE,
	.version	= VFIO_PCI_SER_VERSION,
};

/**
 * vfio_pci_liveupdate_register - Register the file handler
 *
 * Context: Module init.
 * Return: 0, also if the kernel was booted without live update; or an error of
 * LUO.
 */
int __init vfio_pci_liveupdate_register(void)
{
	int ret;

	ret = liveupdate_register_file_handler(&vfio_pci_liveupdate_handler);
	if (ret == -EOPNOTSUPP)
		return 0;
	if (ret)
		return ret;

	ret = pci_liveupdate_register_flb(&vfio_pci_liveupdate_handler);
	if (ret)
		liveupdate_unregister_file_handler(&vfio_pci_liveupdate_handler);
	return ret;
}

/**
 * vfio_pci_liveupdate_unregister - Undo vfio_pci_liveupdate_register()
 *
 * Context: Module init or exit.
 */
void vfio_pci_liveupdate_unregister(void)
{
	if (!liveupdate_enabled())
		return;

	pci_liveupdate_unregister_flb(&vfio_pci_liveupdate_handler);
	liveupdate_unregister_file_handler(&vfio_pci_liveupdate_handler);
}

MODULE_IMPORT_NS("IOMMUFD");
