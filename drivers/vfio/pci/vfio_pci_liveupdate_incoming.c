// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of vfio-pci device files, the side of the new kernel. See
 * vfio_pci_liveupdate.c for the old one and for what this is about.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": live update: " fmt

#include <linux/align.h>
#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/iommufd.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/vfio_pci.h>
#include <linux/list.h>
#include <linux/liveupdate.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vfio_pci_core.h>

#include <kunit/visibility.h>

#include "vfio_pci_liveupdate.h"
#include "vfio_pci_priv.h"

/**
 * struct vfio_pci_incoming - A device the previous kernel handed over
 * @list:  Entry of vfio_pci_incoming_list.
 * @data:  Key: what LUO carried over, physical address of @ser.
 * @ser:   Validated description; NULL if it is unusable.
 * @error: Why @ser is NULL.
 * @taken: Its file was retrieved.
 *
 * Exists from the first use to finish. Memory can be taken from KHO only once,
 * but LUO may ask more than once.
 */
struct vfio_pci_incoming {
	struct list_head list;
	u64 data;
	struct vfio_pci_ser *ser;
	int error;
	bool taken;
};

static LIST_HEAD(vfio_pci_incoming_list);
/* Protects the list, and @taken; an entry is used under the lock of its LUO file */
static DEFINE_MUTEX(vfio_pci_incoming_lock);

/* Whether @size bytes at @offset lie behind the header and within the buffer */
static bool vfio_pci_ser_has_range(const struct vfio_pci_ser *ser, u32 offset,
				   u32 size)
{
	return offset >= sizeof(*ser) && IS_ALIGNED(offset, sizeof(u32)) &&
	       offset <= ser->size && size <= ser->size - offset;
}

/**
 * vfio_pci_ser_validate - Check what the previous kernel wrote
 * @buf: Start of the buffer
 * @len: Length of the memory at @buf in bytes
 *
 * The saved PCI state is checked by pci_saved_state_unpack().
 *
 * Return: 0; -EOPNOTSUPP for another version, -EINVAL if malformed.
 */
VISIBLE_IF_KUNIT int vfio_pci_ser_validate(const void *buf, size_t len)
{
	const struct vfio_pci_ser *ser = buf;

	if (len < sizeof(*ser))
		return -EINVAL;
	if (ser->version != VFIO_PCI_SER_VERSION)
		return -EOPNOTSUPP;
	if (ser->size < sizeof(*ser) || ser->size > len ||
	    ser->size > VFIO_PCI_SER_MAX)
		return -EINVAL;
	if (ser->segment > INT_MAX || ser->rid > U16_MAX)
		return -EINVAL;
	if (ser->flags & ~VFIO_PCI_SER_FLAGS)
		return -EINVAL;
	if (ser->vconfig_size != PCI_CFG_SPACE_SIZE &&
	    ser->vconfig_size != PCI_CFG_SPACE_EXP_SIZE)
		return -EINVAL;
	if (!vfio_pci_ser_has_range(ser, ser->vconfig_offset,
				    ser->vconfig_size) ||
	    !vfio_pci_ser_has_range(ser, ser->state_offset, ser->state_size))
		return -EINVAL;
	/* There are at most 32 MSI vectors */
	if (ser->msi_qmax > 5)
		return -EINVAL;
	if (memchr_inv(ser->reserved, 0, sizeof(ser->reserved)))
		return -EINVAL;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vfio_pci_ser_validate);

/*
 * It is read where it is, and taken from KHO only when it is known for what it
 * should be: a damaged address can lead to memory of a user, which a device writes
 * to and which is not ours to free. What is no description stays as it is.
 */
static void vfio_pci_incoming_restore(struct vfio_pci_incoming *incoming)
{
	struct folio *folio;

	incoming->error = -EINVAL;
	if (!kho_is_handed_over(incoming->data))
		return;

	/* How much memory there is shows when it is taken */
	incoming->error = vfio_pci_ser_validate(phys_to_virt(incoming->data),
						VFIO_PCI_SER_MAX);
	if (incoming->error)
		return;

	incoming->error = -EINVAL;
	folio = kho_restore_folio(incoming->data);
	if (!folio)
		return;

	incoming->error = vfio_pci_ser_validate(folio_address(folio),
						folio_size(folio));
	if (!incoming->error)
		incoming->ser = folio_address(folio);
}

static struct vfio_pci_incoming *vfio_pci_incoming_get(u64 data)
{
	struct vfio_pci_incoming *incoming;

	guard(mutex)(&vfio_pci_incoming_lock);

	list_for_each_entry(incoming, &vfio_pci_incoming_list, list)
		if (incoming->data == data)
			return incoming;

	incoming = kzalloc_obj(*incoming);
	if (!incoming)
		return NULL;

	incoming->data = data;
	vfio_pci_incoming_restore(incoming);
	if (!incoming->ser)
		pr_err("cannot use the description of a device: %pe\n",
		       ERR_PTR(incoming->error));
	list_add_tail(&incoming->list, &vfio_pci_incoming_list);
	return incoming;
}

/*
 * A damaged description can name the device of somebody else. If that one has got it
 * by now it is not for us to stop.
 */
static bool vfio_pci_incoming_is_anothers(const struct vfio_pci_incoming *incoming)
{
	struct vfio_pci_incoming *cur;

	guard(mutex)(&vfio_pci_incoming_lock);

	list_for_each_entry(cur, &vfio_pci_incoming_list, list)
		if (cur != incoming && cur->taken &&
		    cur->ser->segment == incoming->ser->segment &&
		    cur->ser->rid == incoming->ser->rid)
			return true;
	return false;
}

static void vfio_pci_incoming_free(struct vfio_pci_incoming *incoming)
{
	scoped_guard(mutex, &vfio_pci_incoming_lock)
		list_del(&incoming->list);

	if (incoming->ser)
		folio_put(virt_to_folio(incoming->ser));
	kfree(incoming);
}

static struct pci_dev *vfio_pci_ser_get_dev(const struct vfio_pci_ser *ser)
{
	return pci_get_domain_bus_and_slot(ser->segment, PCI_BUS_NUM(ser->rid),
					   ser->rid & 0xff);
}

DEFINE_FREE(vfio_pci_dev_put, struct pci_dev *, pci_dev_put(_T))

/*
 * LUO keeps an error for good, apart from -EPROBE_DEFER. What may be over the
 * next time must be that.
 */
int vfio_pci_liveupdate_retrieve(struct liveupdate_file_op_args *args)
{
	struct pci_dev *pdev __free(vfio_pci_dev_put) = NULL;
	struct vfio_pci_incoming *incoming;
	struct vfio_pci_core_device *vdev;
	struct vfio_pci_ser *ser;
	struct file *file;

	incoming = vfio_pci_incoming_get(args->serialized_data);
	if (!incoming)
		return -EPROBE_DEFER;
	if (incoming->error)
		return incoming->error;
	ser = incoming->ser;

	pdev = vfio_pci_ser_get_dev(ser);
	if (!pdev && pci_liveupdate_gone(ser->segment, ser->rid)) {
		pr_err("%04x:%02x:%02x.%d cannot be retrieved, it is gone\n",
		       ser->segment, PCI_BUS_NUM(ser->rid), PCI_SLOT(ser->rid),
		       PCI_FUNC(ser->rid));
		return -ENODEV;
	}
	if (!pdev)
		return -EPROBE_DEFER;

	if (!pci_liveupdate_incoming(pdev) || pdev->vendor != ser->vendor ||
	    pdev->device != ser->device) {
		pci_err(pdev, "live update: is not the device that was preserved\n");
		return -ENODEV;
	}

	/* The log says since when and why */
	if (pci_liveupdate_blocked(pdev)) {
		pci_err(pdev, "live update: cannot be retrieved, it is blocked\n");
		return -EIO;
	}

	file = vfio_cdev_retrieve(&pdev->dev, &vfio_pci_ops);
	if (IS_ERR(file))
		return -EPROBE_DEFER;

	vdev = vfio_pci_file_vdev(file);
	scoped_guard(mutex, &vdev->vdev.dev_set->lock) {
		if (!vdev->liveupdate.retrieved) {
			vdev->liveupdate.retrieved = ser;
			args->file = file;
		}
	}

	if (!args->file) {
		pci_err(pdev, "live update: was preserved twice\n");
		fput(file);
		return -EEXIST;
	}

	scoped_guard(mutex, &vfio_pci_incoming_lock)
		incoming->taken = true;
	return 0;
}

/* True if the device is to be opened around its running state */
bool vfio_pci_liveupdate_retrieved(struct vfio_pci_core_device *vdev)
{
	lockdep_assert_held(&vdev->vdev.dev_set->lock);

	return vdev->liveupdate.retrieved;
}

/**
 * vfio_pci_liveupdate_open - Open a device that came running
 * @vdev: A device vfio_pci_liveupdate_retrieved() is true for, bound to iommufd
 *
 * On failure iommufd gives the ownership of the device back to the IOMMU core. It
 * runs on, and binding it may be tried again; unless it is not the device it was,
 * so that no attempt can succeed: then it is blocked.
 *
 * Context: May sleep. The caller holds the dev_set lock.
 * Return: 0; -EBUSY if it was opened before and stopped when it was closed; or
 * an error of vfio_pci_core_liveupdate_enable().
 */
int vfio_pci_liveupdate_open(struct vfio_pci_core_device *vdev)
{
	int ret;

	lockdep_assert_held(&vdev->vdev.dev_set->lock);

	if (vdev->liveupdate.opened)
		return -EBUSY;

	ret = vfio_pci_core_liveupdate_enable(vdev, vdev->liveupdate.retrieved);
	if (ret == -EIO || ret == -EINVAL)
		pci_liveupdate_give_up(vdev->pdev, "cannot be opened as it is");
	if (ret)
		return ret;

	vfio_pci_core_finish_enable(vdev);

	/* From here on giving the device up stops it first */
	iommufd_device_liveupdate_confirm(vdev->vdev.iommufd_device);
	vdev->liveupdate.opened = true;
	return 0;
}

bool vfio_pci_liveupdate_can_finish(struct liveupdate_file_op_args *args)
{
	struct vfio_pci_core_device *vdev;

	if (!args->file)
		return true;

	vdev = vfio_pci_file_vdev(args->file);
	ACQUIRE(mutex_intr, lock)(&vdev->vdev.dev_set->lock);
	args->error = ACQUIRE_ERR(mutex_intr, &lock);
	if (args->error)
		return false;

	if (!vfio_cdev_file_bound(args->file) || vdev->vdev.iommufd_attached)
		return true;

	/*
	 * Only the session holds the file: its user has gone, and nobody can
	 * attach the device while the session is busy with us.
	 */
	return file_count(args->file) == 1;
}

/*
 * PCI core shields a device that has had no driver yet from config writes, and
 * only lets go of it as a whole. That is safe before it is stopped: as long as
 * iommufd has not finished, the IOMMU core gives the device to nobody.
 */
static void vfio_pci_liveupdate_discard(struct pci_dev *pdev)
{
	bool bound = pci_dev_driver(pdev);

	if (!bound)
		pci_liveupdate_done(pdev);
	vfio_pci_core_liveupdate_quiesce(pdev);
	if (bound)
		pci_liveupdate_done(pdev);
}

/*
 * This cannot fail, so it waits for the dev_set lock without being interrupted. Its
 * user can take that again after can_finish, and keep it with a fault on memory of
 * his own, as when he binds the device. The agent, and a reboot, wait until the
 * fault is resolved or the user is killed.
 */
void vfio_pci_liveupdate_finish(struct liveupdate_file_op_args *args)
{
	struct pci_dev *pdev __free(vfio_pci_dev_put) = NULL;
	struct vfio_pci_incoming *incoming;
	struct vfio_pci_core_device *vdev;

	incoming = vfio_pci_incoming_get(args->serialized_data);

	if (args->file) {
		vdev = vfio_pci_file_vdev(args->file);
		guard(mutex)(&vdev->vdev.dev_set->lock);

		/*
		 * Bound and not attached: its user has gone, and the close that
		 * follows resets it, but the domain goes before that. Or its
		 * user binds it while finishing the session.
		 */
		if (!vfio_cdev_file_bound(args->file))
			vfio_pci_core_liveupdate_quiesce(vdev->pdev);
		else if (!vdev->vdev.iommufd_attached)
			vfio_pci_core_liveupdate_stop(vdev->pdev);
		vdev->liveupdate.retrieved = NULL;
		vdev->liveupdate.opened = false;
		pci_liveupdate_done(vdev->pdev);
	} else if (incoming && incoming->ser &&
		   !vfio_pci_incoming_is_anothers(incoming)) {
		pdev = pci_liveupdate_finish(incoming->ser->segment,
					     incoming->ser->rid);
		if (pdev && pci_liveupdate_incoming(pdev))
			vfio_pci_liveupdate_discard(pdev);
	}

	if (incoming)
		vfio_pci_incoming_free(incoming);
}
