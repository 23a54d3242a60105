// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device files of devices that run through a live update
 *
 * A driver with a LUO file handler finds out here whether a file is a device
 * file it can preserve, and makes the file anew in the next kernel. Until the
 * live update is finished that file is the only way to the device: binding it
 * takes the normal path, binding any other file of the device is -EBUSY, see
 * vfio_df_open().
 */

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/vfio.h>

#include "vfio.h"

/**
 * vfio_cdev_file_device - Device of a file opened through the device cdev
 * @file: Any file
 *
 * Context: Any. The device lives as long as the caller holds @file.
 * Return: The device, or NULL if @file is no VFIO device file or came from a
 * group.
 */
struct vfio_device *vfio_cdev_file_device(struct file *file)
{
	struct vfio_device_file *df = file->private_data;

	if (file->f_op != &vfio_device_fops || df->group)
		return NULL;
	return df->device;
}
EXPORT_SYMBOL_GPL(vfio_cdev_file_device);

/**
 * vfio_file_kind - What sort of file of VFIO a file is
 * @file: Any file
 *
 * For a driver to say why it cannot preserve it.
 *
 * Context: Any.
 * Return: A noun for the log, or NULL if the file is not one of VFIO.
 */
const char *vfio_file_kind(struct file *file)
{
	if (vfio_cdev_file_device(file))
		return "device file";
	if (vfio_container_from_file(file))
		return "container file";
	if (vfio_file_is_group(file))
		return "group file";
	if (vfio_file_is_valid(file))
		return "device file of a group";
	return NULL;
}
EXPORT_SYMBOL_GPL(vfio_file_kind);

/**
 * vfio_cdev_file_bound - Whether the device is bound to an iommufd by this file
 * @file: A file vfio_cdev_file_device() returned a device for
 *
 * Context: The caller holds the dev_set lock of the device.
 * Return: True after VFIO_DEVICE_BIND_IOMMUFD of @file succeeded.
 */
bool vfio_cdev_file_bound(struct file *file)
{
	struct vfio_device_file *df = file->private_data;

	lockdep_assert_held(&df->device->dev_set->lock);

	return df->access_granted;
}
EXPORT_SYMBOL_GPL(vfio_cdev_file_bound);

struct vfio_cdev_match {
	struct device *dev;
	const struct vfio_device_ops *ops;
};

static int vfio_cdev_match(struct device *dev, const void *data)
{
	struct vfio_device *device =
		container_of(dev, struct vfio_device, device);
	const struct vfio_cdev_match *match = data;

	return device->dev == match->dev && device->ops == match->ops;
}

/**
 * vfio_cdev_retrieve - Make the file of a device that came running
 * @dev: The physical device
 * @ops: What the driver that preserved it registers it with
 *
 * The file is what open() of the device cdev would give: nothing works on it
 * until VFIO_DEVICE_BIND_IOMMUFD.
 *
 * Context: May sleep.
 * Return: The file; ERR_PTR(-EPROBE_DEFER) if the driver is not bound to @dev,
 * or an error of making the file.
 */
struct file *vfio_cdev_retrieve(struct device *dev,
				const struct vfio_device_ops *ops)
{
	struct vfio_cdev_match match = { .dev = dev, .ops = ops };
	struct vfio_device_file *df;
	struct vfio_device *device;
	struct device *class_dev;
	struct file *file;

	class_dev = class_find_device(&vfio_device_class, NULL, &match,
				      vfio_cdev_match);
	if (!class_dev)
		return ERR_PTR(-EPROBE_DEFER);

	/* The registration is what keeps the driver from going away */
	device = container_of(class_dev, struct vfio_device, device);
	if (!vfio_device_try_get_registration(device)) {
		put_device(class_dev);
		return ERR_PTR(-EPROBE_DEFER);
	}
	put_device(class_dev);

	df = vfio_allocate_device_file(device);
	if (IS_ERR(df)) {
		file = ERR_CAST(df);
		goto err_put_registration;
	}
	df->retrieved = true;

	file = anon_inode_getfile_fmode("[vfio-device]", &vfio_device_fops, df,
					O_RDWR, FMODE_PREAD | FMODE_PWRITE);
	if (IS_ERR(file))
		goto err_free;

	/* As in vfio_device_fops_cdev_open() */
	file->f_mapping = device->inode->i_mapping;

	/* vfio_device_fops_release() puts the registration and frees df */
	return file;

err_free:
	kfree(df);
err_put_registration:
	vfio_device_put_registration(device);
	return file;
}
EXPORT_SYMBOL_GPL(vfio_cdev_retrieve);
