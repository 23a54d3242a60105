// SPDX-License-Identifier: GPL-2.0-only
/*
 * PCI devices that run through a live update
 *
 * The principle: the hardware is the state. The previous kernel hands over only
 * what cannot be read from the device, and neither kernel writes to it on the
 * way. Closing the device afterwards is an ordinary close, which stops and
 * resets it.
 *
 * Old kernel: from preserve on, whatever would stop, reset or reconfigure the
 * device is -EBUSY. From freeze on, so is every write to config space and every
 * change of interrupts; loads and stores through BAR mappings work until the
 * jump. New kernel: the device is opened around its running state.
 *
 * Undoing cannot fail and allocates nothing.
 *
 * Lock order: dev_set->lock, liveupdate.lock, igate, memory_lock, irqlock.
 */

#include <linux/align.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/idr.h>
#include <linux/kho/abi/vfio_pci.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/pm_runtime.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "vfio_pci_priv.h"

/* Why a device cannot be handed over, or NULL */
static const char *
vfio_pci_liveupdate_refuse(struct vfio_pci_core_device *vdev)
{
	struct pci_dev *pdev = vdev->pdev;

	if (pdev->is_virtfn)
		return "virtual function";
	if (vdev->sriov_active || pci_num_vf(pdev))
		return "has virtual functions";
	if (vdev->vdev.noiommu)
		return "no IOMMU";
	if (vdev->vdev.mig_ops || vdev->vdev.log_ops)
		return "migration or dirty tracking";
	if (!ida_is_empty(&vdev->vdev.pasids))
		return "attached PASIDs";
	if (vfio_pci_is_vga(pdev))
		return "legacy VGA";
	if (vdev->num_regions)
		return "device specific regions";
	if (pdev->pin && !vdev->nointx && !vdev->pci_2_3)
		return "INTx cannot be masked";
	if (!list_empty(&vdev->dmabufs))
		return "exported dma-bufs";
	if (pdev->cfg_size != PCI_CFG_SPACE_SIZE &&
	    pdev->cfg_size != PCI_CFG_SPACE_EXP_SIZE)
		return "odd config space size";
	return NULL;
}

/**
 * vfio_pci_core_liveupdate_preserve - Keep a device from being stopped
 * @vdev: An open device
 *
 * From here to vfio_pci_core_liveupdate_unpreserve() requests that stop, reset
 * or reconfigure the device, or detach it, are refused with -EBUSY.
 *
 * Context: May sleep. The caller holds the dev_set lock.
 * Return: 0; -EOPNOTSUPP if the device cannot be handed over; -EBUSY if it is
 * preserved already or in low power.
 */
int vfio_pci_core_liveupdate_preserve(struct vfio_pci_core_device *vdev)
{
	const char *why;

	lockdep_assert_held(&vdev->vdev.dev_set->lock);

	guard(rwsem_write)(&vdev->liveupdate.lock);
	guard(rwsem_write)(&vdev->memory_lock);

	if (vdev->vdev.liveupdate_preserved)
		return -EBUSY;

	why = vfio_pci_liveupdate_refuse(vdev);
	if (why) {
		pci_warn(vdev->pdev, "live update: cannot preserve: %s\n", why);
		return -EOPNOTSUPP;
	}

	if (vdev->pm_runtime_engaged || vdev->pdev->current_state != PCI_D0) {
		pci_warn(vdev->pdev, "live update: device is in low power\n");
		return -EBUSY;
	}

	WRITE_ONCE(vdev->vdev.liveupdate_preserved, true);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_pci_core_liveupdate_preserve);

/**
 * vfio_pci_core_liveupdate_unpreserve - Undo vfio_pci_core_liveupdate_preserve()
 * @vdev: A preserved device that is not frozen
 *
 * Context: May sleep. With or without the dev_set lock, as the device is not closed.
 */
void vfio_pci_core_liveupdate_unpreserve(struct vfio_pci_core_device *vdev)
{
	guard(rwsem_write)(&vdev->liveupdate.lock);
	guard(rwsem_write)(&vdev->memory_lock);

	WRITE_ONCE(vdev->vdev.liveupdate_preserved, false);
}
EXPORT_SYMBOL_GPL(vfio_pci_core_liveupdate_unpreserve);

/**
 * vfio_pci_core_liveupdate_size - Size of what freezing writes
 * @vdev: An open device
 *
 * Context: Any; the size does not change while the device is open.
 * Return: Size in bytes.
 */
size_t vfio_pci_core_liveupdate_size(struct vfio_pci_core_device *vdev)
{
	size_t size = sizeof(struct vfio_pci_ser) + vdev->pdev->cfg_size;

	if (vdev->pci_saved_state)
		size += pci_saved_state_pack(vdev->pci_saved_state, NULL, 0);
	return size;
}
EXPORT_SYMBOL_GPL(vfio_pci_core_liveupdate_size);

static int vfio_pci_liveupdate_save(struct vfio_pci_core_device *vdev,
				    struct vfio_pci_ser *ser, size_t size)
{
	struct pci_dev *pdev = vdev->pdev;
	void *buf = ser;
	ssize_t len;

	if (size < vfio_pci_core_liveupdate_size(vdev))
		return -ENOSPC;

	memset(ser, 0, sizeof(*ser));
	ser->segment = pci_domain_nr(pdev->bus);
	ser->rid = pci_dev_id(pdev);
	ser->vendor = pdev->vendor;
	ser->device = pdev->device;
	if (vdev->reset_works)
		ser->flags |= VFIO_PCI_SER_RESET_WORKS;
	if (vdev->pci_2_3)
		ser->flags |= VFIO_PCI_SER_PCI_2_3;
	if (vdev->nointx)
		ser->flags |= VFIO_PCI_SER_NOINTX;
	if (vdev->virq_disabled)
		ser->flags |= VFIO_PCI_SER_VIRQ_DISABLED;
	memcpy(ser->bar, vdev->rbar, sizeof(ser->bar));
	ser->msi_qmax = vdev->msi_qmax;

	ser->vconfig_offset = sizeof(*ser);
	ser->vconfig_size = pdev->cfg_size;
	memcpy(buf + ser->vconfig_offset, vdev->vconfig, ser->vconfig_size);

	ser->state_offset = ser->vconfig_offset + ser->vconfig_size;
	if (vdev->pci_saved_state) {
		len = pci_saved_state_pack(vdev->pci_saved_state,
					   buf + ser->state_offset,
					   size - ser->state_offset);
		if (len < 0)
			return len;
		ser->state_size = len;
	}

	ser->size = ser->state_offset + ser->state_size;
	ser->version = VFIO_PCI_SER_VERSION;
	return 0;
}

/**
 * vfio_pci_core_liveupdate_freeze - Bring a device into its state for the jump
 * @vdev: A preserved device
 * @ser:  Where to write what the next kernel needs
 * @size: Size of @ser in bytes, vfio_pci_core_liveupdate_size() or more
 *
 * DMA goes on, interrupts stop.
 *
 * Context: May sleep. Allocates nothing.
 * Return: 0; -EBUSY if the device is not running; -ENOSPC.
 */
int vfio_pci_core_liveupdate_freeze(struct vfio_pci_core_device *vdev,
				    struct vfio_pci_ser *ser, size_t size)
{
	int ret;

	guard(rwsem_write)(&vdev->liveupdate.lock);
	guard(mutex)(&vdev->igate);

	scoped_guard(rwsem_write, &vdev->memory_lock) {
		if (WARN_ON(!vfio_pci_liveupdate_preserved(vdev)))
			return -EINVAL;

		if (vdev->pdev->current_state != PCI_D0)
			return -EBUSY;

		ret = vfio_pci_liveupdate_save(vdev, ser, size);
		if (ret)
			return ret;

		scoped_guard(spinlock_irq, &vdev->irqlock) {
			vdev->liveupdate.intx_unmask = false;
			WRITE_ONCE(vdev->liveupdate.frozen, true);
		}
	}

	vfio_pci_irqs_freeze(vdev);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_pci_core_liveupdate_freeze);

/**
 * vfio_pci_core_liveupdate_unfreeze - Undo vfio_pci_core_liveupdate_freeze()
 * @vdev: A frozen device
 * @ser:  What freezing wrote; made invalid
 *
 * Context: May sleep.
 */
void vfio_pci_core_liveupdate_unfreeze(struct vfio_pci_core_device *vdev,
				       struct vfio_pci_ser *ser)
{
	guard(rwsem_write)(&vdev->liveupdate.lock);
	guard(mutex)(&vdev->igate);

	scoped_guard(rwsem_write, &vdev->memory_lock) {
		scoped_guard(spinlock_irq, &vdev->irqlock)
			WRITE_ONCE(vdev->liveupdate.frozen, false);
	}

	vfio_pci_irqs_unfreeze(vdev);
	ser->version = 0;
}
EXPORT_SYMBOL_GPL(vfio_pci_core_liveupdate_unfreeze);

/*
 * Whether a reset of the whole set would hit a device that runs for somebody
 * without showing in an open count, or must not be reset by its owner either.
 */
bool vfio_pci_liveupdate_set_running(struct vfio_device_set *dev_set)
{
	struct vfio_pci_core_device *cur;

	lockdep_assert_held(&dev_set->lock);

	list_for_each_entry(cur, &dev_set->device_list, vdev.dev_set_list) {
		if (vfio_pci_liveupdate_preserved(cur))
			return true;
		if (pci_liveupdate_incoming(cur->pdev) &&
		    !cur->liveupdate.opened)
			return true;
	}

	return false;
}

/* New kernel */

/* BARs are where the previous kernel and its user knew them */
static int vfio_pci_liveupdate_check_bars(struct vfio_pci_core_device *vdev,
					  const struct vfio_pci_ser *ser)
{
	int i;

	/* Reading the ROM switches its enable bit, leave it out */
	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (vdev->rbar[i] == ser->bar[i])
			continue;
		pci_err(vdev->pdev, "live update: BAR %d is %#x, was %#x\n", i,
			vdev->rbar[i], ser->bar[i]);
		return -EIO;
	}

	return 0;
}

/**
 * vfio_pci_core_liveupdate_enable - Open a device around its running state
 * @vdev: A device that came running from the previous kernel
 * @ser:  Validated description of it
 *
 * Takes the place of vfio_pci_core_enable(). Only reads from the device; on
 * failure it runs on as before, and the call may be repeated. The opposite is
 * vfio_pci_core_disable(), which stops and resets it.
 *
 * Context: May sleep. The caller holds the dev_set lock.
 * Return: 0; -EINVAL if the saved state is malformed, -EIO if the device is not
 * as it was, -ENOMEM, or an error of enabling it.
 */
int vfio_pci_core_liveupdate_enable(struct vfio_pci_core_device *vdev,
				    const struct vfio_pci_ser *ser)
{
	struct pci_saved_state *state = NULL;
	struct pci_dev *pdev = vdev->pdev;
	const void *buf = ser;
	int ret;

	lockdep_assert_held(&vdev->vdev.dev_set->lock);

	if (ser->vconfig_size != pdev->cfg_size)
		return -EIO;

	if (!vdev->disable_idle_d3) {
		ret = pm_runtime_resume_and_get(&pdev->dev);
		if (ret < 0)
			return ret;
	}

	/* What the device is put back to when it is closed */
	if (ser->state_size) {
		state = pci_saved_state_unpack(buf + ser->state_offset,
					       ser->state_size);
		if (IS_ERR(state)) {
			ret = PTR_ERR(state);
			goto out_power;
		}
	}

	ret = vfio_pci_zdev_open_device(vdev);
	if (ret)
		goto out_free_state;

	ret = vfio_config_init(vdev);
	if (ret)
		goto out_free_zdev;

	ret = vfio_pci_liveupdate_check_bars(vdev, ser);
	if (ret)
		goto out_free_config;

	/*
	 * Last thing that may fail: its opposite clears bus mastering, so there
	 * is no way back from here. For this device it does not write to it.
	 */
	ret = pci_enable_device(pdev);
	if (ret)
		goto out_free_config;

	memcpy(vdev->vconfig, buf + ser->vconfig_offset, ser->vconfig_size);
	vdev->msi_qmax = ser->msi_qmax;
	vdev->reset_works = ser->flags & VFIO_PCI_SER_RESET_WORKS;
	vdev->pci_2_3 = ser->flags & VFIO_PCI_SER_PCI_2_3;
	vdev->nointx = ser->flags & VFIO_PCI_SER_NOINTX;
	vdev->virq_disabled = ser->flags & VFIO_PCI_SER_VIRQ_DISABLED;
	vdev->pci_saved_state = state;
	vdev->liveupdate.adopted = true;

	vfio_pci_core_probe_layout(vdev);
	vfio_pci_core_map_bars(vdev);

	return 0;

out_free_config:
	vfio_config_free(vdev);
out_free_zdev:
	vfio_pci_zdev_close_device(vdev);
out_free_state:
	kfree(state);
out_power:
	if (!vdev->disable_idle_d3)
		pm_runtime_put(&pdev->dev);
	return ret;
}
EXPORT_SYMBOL_GPL(vfio_pci_core_liveupdate_enable);

/* MSI-X that the previous kernel enabled and this one knows nothing of */
static void vfio_pci_liveupdate_clear_msix(struct pci_dev *pdev)
{
	u16 flags;

	if (!pdev->msix_cap || pdev->msix_enabled)
		return;

	pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS,
			     &flags);
	flags &= ~(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_write_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS,
			      flags);
}

static void vfio_pci_liveupdate_clear_msi(struct pci_dev *pdev)
{
	u16 flags;

	if (!pdev->msi_cap || pdev->msi_enabled)
		return;

	pci_read_config_word(pdev, pdev->msi_cap + PCI_MSI_FLAGS,
			     &flags);
	flags &= ~PCI_MSI_FLAGS_ENABLE;
	pci_write_config_word(pdev, pdev->msi_cap + PCI_MSI_FLAGS,
			      flags);
}

/**
 * vfio_pci_liveupdate_rearm - Before the user sets up interrupts
 * @vdev:  An open device
 * @index: VFIO_PCI_*_IRQ_INDEX of what is set up
 *
 * Only one of MSI and MSI-X may be enabled, and with neither of them INTx is
 * used. What is set up stays enabled and masked until PCI core has done that, so
 * that nothing which is pending is lost.
 *
 * Context: May sleep. igate held.
 */
void vfio_pci_liveupdate_rearm(struct vfio_pci_core_device *vdev,
			       unsigned int index)
{
	lockdep_assert_held(&vdev->igate);

	if (!vdev->liveupdate.adopted)
		return;

	if (index != VFIO_PCI_MSIX_IRQ_INDEX)
		vfio_pci_liveupdate_clear_msix(vdev->pdev);
	if (index != VFIO_PCI_MSI_IRQ_INDEX)
		vfio_pci_liveupdate_clear_msi(vdev->pdev);
}

/* Part of the close of a device whose user may never have set up interrupts */
void vfio_pci_liveupdate_disable_msi(struct vfio_pci_core_device *vdev)
{
	if (!vdev->liveupdate.adopted)
		return;

	vfio_pci_liveupdate_clear_msix(vdev->pdev);
	vfio_pci_liveupdate_clear_msi(vdev->pdev);
	vdev->liveupdate.adopted = false;
}

/**
 * vfio_pci_core_liveupdate_stop - Stop the DMA of a device
 * @pdev: A device that came running from the previous kernel
 *
 * Context: May sleep. The IOMMU still translates for the device.
 */
void vfio_pci_core_liveupdate_stop(struct pci_dev *pdev)
{
	pci_clear_master(pdev);
	if (!pci_wait_for_pending_transaction(pdev))
		pci_warn(pdev, "live update: transactions are still pending\n");
}
EXPORT_SYMBOL_GPL(vfio_pci_core_liveupdate_stop);

/*
 * Who unbinds the driver holds the device lock and waits for us, so that there is
 * no waiting for it. Others hold it for a moment, such as readers of sriov_numvfs.
 */
static int vfio_pci_liveupdate_reset(struct pci_dev *pdev)
{
	int ret, i;

	for (i = 0; i < 10; i++) {
		ret = pci_try_reset_function(pdev);
		if (ret != -EAGAIN)
			break;
		fsleep(10 * USEC_PER_MSEC);
	}
	return ret;
}

/**
 * vfio_pci_core_liveupdate_quiesce - Stop a device nobody came for
 * @pdev: A device that came running from the previous kernel and is not open
 *
 * Context: May sleep. The IOMMU still translates for the device.
 */
void vfio_pci_core_liveupdate_quiesce(struct pci_dev *pdev)
{
	int ret;

	vfio_pci_core_liveupdate_stop(pdev);
	pci_intx(pdev, 0);
	vfio_pci_liveupdate_clear_msix(pdev);
	vfio_pci_liveupdate_clear_msi(pdev);

	ret = vfio_pci_liveupdate_reset(pdev);
	if (ret)
		pci_warn(pdev, "live update: stopped, not reset: %pe\n",
			 ERR_PTR(ret));
	else
		pci_info(pdev, "live update: stopped and reset\n");
}
EXPORT_SYMBOL_GPL(vfio_pci_core_liveupdate_quiesce);
