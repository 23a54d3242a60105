// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of PCI devices: keep them running until the next kernel
 */

/**
 * DOC: PCI devices that run through a live update
 *
 * The driver of a device (vfio-pci) decides that the device goes on doing DMA
 * while the kernel is replaced. The PCI core sees to it that nothing between
 * here and there stops it:
 *
 * Old kernel: pci_liveupdate_preserve() records the device and the bridges
 * above it. From there to pci_liveupdate_unpreserve() user space cannot reset,
 * remove or reconfigure it behind its driver, and the machine does not suspend.
 * pci_liveupdate_freeze() writes the record for the next kernel and marks the
 * device for this kexec: pci_device_shutdown() leaves bus mastering on for it
 * and for each bridge above it, and for nothing else.
 *
 * New kernel: the record is read before PCI is enumerated. A device in it is
 * incoming from pci_setup_device() on. Until a driver is probed it is quiet as
 * well: config writes of the kernel to it are dropped. Enumeration has some
 * dozens of places that write (BAR sizing, INTx, MSI, power state, MPS, ASPM,
 * ACS, AER, SR-IOV, quirks, and more with each release), none of which a running
 * device needs since the previous kernel had done it all. What is learned by
 * writing is taken from the record. Resources stay where they are. Nobody drops
 * what is written to BARs: the quirks that take a device from firmware that way
 * (USB host controllers, e100, Intel graphics) leave an incoming one alone.
 *
 * An incoming device takes no driver but vfio-pci and does not leave D0.
 * pci_liveupdate_done() ends all that, when the driver has the device back
 * under control or has brought it to rest.
 *
 * A device that is not what the record says, or that does not get its
 * resources, cannot be given back to its user. It is blocked: bus mastering off
 * and no driver, until the record is done with. So is each device that is found
 * doing DMA when there is a record and it cannot be read.
 *
 * The old kernel's side is in liveupdate.c and liveupdate_record.c, the new
 * kernel's in liveupdate_incoming.c, which has the record, and
 * liveupdate_device.c. Both have others ask liveupdate_held.c before they disturb
 * a device.
 *
 * Lock order: pci_rescan_remove_lock -> device lock -> pci_liveupdate_mutex and
 * FLB lock -> pci_liveupdate_mutex; pci_rescan_remove_lock -> incoming.lock and
 * FLB lock -> incoming.lock. Neither of the two is held when another lock of PCI
 * is taken. Who preserves or freezes a device only tries for its lock: who unbinds
 * it holds that until its user has closed it, which takes dev_set->lock of VFIO or
 * the session. While something is preserved or incoming, pci_bus_sem is taken inside
 * of the device lock of a bridge and of pciehp's ctrl->state_lock. Giving a device
 * up takes the group mutex of the IOMMU core inside of the device lock or of
 * dev_set->lock of VFIO.
 */

#define pr_fmt(fmt) "PCI: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/kexec.h>
#include <linux/kexec_handover.h>
#include <linux/kho/abi/pci.h>
#include <linux/liveupdate.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>
#include <linux/pm_runtime.h>
#include <linux/sched.h>
#include <linux/suspend.h>

#include "liveupdate.h"
#include "pci.h"

/* Protects what is preserved and frozen, and the record of it */
DEFINE_MUTEX(pci_liveupdate_mutex);
static unsigned int nr_frozen;

/* The refuse list of the PCI core */
static int check_preservable(struct pci_dev *dev)
{
	struct pci_dev *bridge;

	if (dev->is_virtfn) {
		pci_err(dev, "cannot be preserved: a virtual function\n");
		return -EOPNOTSUPP;
	}
	if (pci_num_vf(dev)) {
		pci_err(dev, "cannot be preserved: has virtual functions\n");
		return -EOPNOTSUPP;
	}
	if (dev->hdr_type != PCI_HEADER_TYPE_NORMAL) {
		pci_err(dev, "cannot be preserved: not an endpoint\n");
		return -EOPNOTSUPP;
	}
	if (pci_real_dma_dev(dev) != dev) {
		pci_err(dev, "cannot be preserved: DMA goes through %s\n",
			pci_name(pci_real_dma_dev(dev)));
		return -EOPNOTSUPP;
	}
	for (bridge = pci_upstream_bridge(dev); bridge;
	     bridge = pci_upstream_bridge(bridge)) {
		if (bridge->hdr_type != PCI_HEADER_TYPE_BRIDGE) {
			pci_err(dev, "cannot be preserved: behind %s which is no PCI bridge\n",
				pci_name(bridge));
			return -EOPNOTSUPP;
		}
	}
	if (pci_liveupdate_incoming(dev)) {
		pci_err(dev, "cannot be preserved: last live update not finished\n");
		return -EBUSY;
	}
	if (dev->current_state != PCI_D0) {
		pci_err(dev, "cannot be preserved: in %s\n",
			pci_power_name(dev->current_state));
		return -EBUSY;
	}
	return 0;
}

static int preserve_locked(struct pci_dev *dev)
{
	struct pci_dev *bridge;
	int ret;

	guard(mutex)(&pci_liveupdate_mutex);
	if (pci_liveupdate_preserved(dev))
		return -EBUSY;
	ret = check_preservable(dev);
	if (ret)
		return ret;

	ret = pci_liveupdate_record_get(dev);
	if (ret)
		return ret;
	for (bridge = pci_upstream_bridge(dev); bridge;
	     bridge = pci_upstream_bridge(bridge)) {
		ret = pci_liveupdate_record_get(bridge);
		if (ret)
			goto err_bridges;
	}

	set_bit(PCI_DEV_LIVEUPDATE_PRESERVED, &dev->priv_flags);
	return 0;

err_bridges:
	for (struct pci_dev *undo = pci_upstream_bridge(dev); undo != bridge;
	     undo = pci_upstream_bridge(undo))
		pci_liveupdate_record_put(undo);
	pci_liveupdate_record_put(dev);
	return ret;
}

/* There are holders for a moment, such as readers of sriov_numvfs */
static bool trylock_device(struct pci_dev *dev)
{
	int i;

	for (i = 0; i < 10; i++) {
		if (device_trylock(&dev->dev))
			return true;
		fsleep(10 * USEC_PER_MSEC);
	}
	return false;
}

/**
 * pci_liveupdate_preserve - Have a device run through the next live update
 * @dev: Device, bound to the calling driver
 *
 * Records @dev and the bridges above it and holds @dev in D0. Until
 * pci_liveupdate_unpreserve() ways around the driver to reset, remove or
 * configure @dev from user space fail. The device lock is taken for that, so that
 * a reset which was asked for before is either over or has not begun.
 *
 * Context: Process context, may sleep. From the preserve callback of a file
 *          handler that has the PCI FLB. Locks that closing the device takes may
 *          be held, but not the device lock.
 * Return: 0, -EOPNOTSUPP (logged) for a kind of device that cannot be
 * preserved, -EBUSY if it is preserved, not in D0, not yet done with the last live
 * update, or being reset, unbound or removed, -ENODEV without the PCI FLB, -ENOMEM
 * or an error from KHO.
 */
int pci_liveupdate_preserve(struct pci_dev *dev)
{
	int ret;

	ret = pm_runtime_resume_and_get(&dev->dev);
	if (ret)
		return ret;

	if (!trylock_device(dev)) {
		pci_err(dev, "cannot be preserved: is being reset, unbound or removed\n");
		ret = -EBUSY;
		goto err_pm;
	}
	ret = preserve_locked(dev);
	device_unlock(&dev->dev);
	if (ret)
		goto err_pm;
	return 0;

err_pm:
	pm_runtime_put(&dev->dev);
	return ret;
}
EXPORT_SYMBOL_GPL(pci_liveupdate_preserve);

/**
 * pci_liveupdate_unpreserve - Undo pci_liveupdate_preserve()
 * @dev: Preserved device, not frozen
 *
 * Context: Process context, may sleep. Cannot fail.
 */
void pci_liveupdate_unpreserve(struct pci_dev *dev)
{
	struct pci_dev *bridge;

	scoped_guard(mutex, &pci_liveupdate_mutex) {
		if (WARN_ON(!test_and_clear_bit(PCI_DEV_LIVEUPDATE_PRESERVED,
						&dev->priv_flags)))
			return;
		if (WARN_ON(test_and_clear_bit(PCI_DEV_LIVEUPDATE_FROZEN,
					       &dev->priv_flags)))
			nr_frozen--;

		for (bridge = pci_upstream_bridge(dev); bridge;
		     bridge = pci_upstream_bridge(bridge))
			pci_liveupdate_record_put(bridge);
		pci_liveupdate_record_put(dev);
	}
	pm_runtime_put(&dev->dev);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_unpreserve);

/*
 * Who unbinds a driver or removes a device holds the device lock until the user
 * has closed the device, which a preserved one never sees, and who removes it has
 * taken the rescan lock before. device_shutdown() takes the device lock when there
 * is no way back any more. Returns what is in the way, or NULL with both held.
 */
static const char *lock_removal(struct pci_dev *dev)
{
	const char *why;
	int i;

	/* There are holders for a moment, such as readers of sriov_numvfs */
	for (i = 0; i < 10; i++) {
		why = "is being unbound or removed";
		if (device_trylock(&dev->dev)) {
			if (mutex_trylock(&pci_rescan_remove_lock))
				return NULL;
			device_unlock(&dev->dev);
			why = "devices are being added or removed";
		}
		fsleep(10 * USEC_PER_MSEC);
	}
	return why;
}

static void unlock_removal(struct pci_dev *dev)
{
	mutex_unlock(&pci_rescan_remove_lock);
	device_unlock(&dev->dev);
}

static int freeze_locked(struct pci_dev *dev)
{
	int ret;

	guard(mutex)(&pci_liveupdate_mutex);
	if (WARN_ON(!pci_liveupdate_preserved(dev)))
		return -EINVAL;
	if (test_bit(PCI_DEV_LIVEUPDATE_FROZEN, &dev->priv_flags))
		return 0;
	/* There is hardware that resets, see pci_liveupdate_contained() */
	if (!pci_liveupdate_record_holds(dev)) {
		pci_err(dev, "cannot be frozen: was reset since it was preserved\n");
		return -EIO;
	}

	if (!nr_frozen) {
		ret = pci_liveupdate_record_write();
		if (ret)
			return ret;
	}

	set_bit(PCI_DEV_LIVEUPDATE_FROZEN, &dev->priv_flags);
	nr_frozen++;
	return 0;
}

/**
 * pci_liveupdate_freeze - Let a device keep running over this kexec
 * @dev: Preserved device
 *
 * From here on pci_device_shutdown() leaves bus mastering of @dev and of each
 * bridge above it alone, and @dev is not removed any more, see
 * pci_liveupdate_too_late(). The first device that is frozen also writes the
 * record for the next kernel. Allocates nothing.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EINVAL if @dev is not preserved, -EBUSY if it is being removed or
 * unbound, or if other devices are being added or removed, -EIO if it was reset
 * since it was preserved, or if the record does not fit what was reserved for it
 * (a bug).
 */
int pci_liveupdate_freeze(struct pci_dev *dev)
{
	const char *why;
	int ret;

	why = lock_removal(dev);
	if (why) {
		pci_err(dev, "cannot be frozen: %s\n", why);
		return -EBUSY;
	}

	ret = freeze_locked(dev);
	unlock_removal(dev);
	return ret;
}
EXPORT_SYMBOL_GPL(pci_liveupdate_freeze);

/**
 * pci_liveupdate_unfreeze - Undo pci_liveupdate_freeze(): the kexec is off
 * @dev: Preserved device
 *
 * Context: Process context, may sleep. Cannot fail.
 */
void pci_liveupdate_unfreeze(struct pci_dev *dev)
{
	guard(mutex)(&pci_liveupdate_mutex);
	if (test_and_clear_bit(PCI_DEV_LIVEUPDATE_FROZEN, &dev->priv_flags))
		nr_frozen--;
}
EXPORT_SYMBOL_GPL(pci_liveupdate_unfreeze);

/**
 * pci_liveupdate_preserved - Is a device preserved for the next live update?
 * @dev: Device
 *
 * Context: Any.
 * Return: true from pci_liveupdate_preserve() to pci_liveupdate_unpreserve().
 */
bool pci_liveupdate_preserved(struct pci_dev *dev)
{
	return test_bit(PCI_DEV_LIVEUPDATE_PRESERVED, &dev->priv_flags);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_preserved);

/*
 * Whether bus mastering has to survive this kexec. A property of this kexec:
 * that a device came running from the last one does not count. LUO freezes all
 * that is preserved or nothing, so that the record tells, without a walk.
 */
bool pci_liveupdate_keep_master(struct pci_dev *dev)
{
	guard(mutex)(&pci_liveupdate_mutex);
	return nr_frozen && pci_liveupdate_record_has(dev);
}

/**
 * pci_liveupdate_too_late - Must a device not be removed any more?
 * @dev: Device or bridge
 *
 * The user of a frozen device cannot close it, and once kexec goes on nobody can
 * undo that: who waited for it would hold the device lock, or
 * pci_rescan_remove_lock, while device_shutdown() waits for either. What happens
 * to @dev from here on the next kernel finds out. While it is not known whether
 * kexec goes on this waits. Freezing waits for no lock that a removal holds, but
 * fails.
 *
 * Context: Process context, may sleep. To be asked with pci_rescan_remove_lock or
 *          the lock of @dev held for the answer to stay true.
 * Return: true if this kernel ends, and @dev or a device below it runs on.
 */
bool pci_liveupdate_too_late(struct pci_dev *dev)
{
	while (pci_liveupdate_keep_master(dev)) {
		if (kexec_in_progress)
			return true;
		fsleep(10 * USEC_PER_MSEC);
	}
	return false;
}

static void wait_for_end(void)
{
	for (;;)
		schedule_timeout_uninterruptible(MAX_SCHEDULE_TIMEOUT);
}

/**
 * pci_liveupdate_remove - The driver of a device is about to let go of it
 * @dev: Device, locked
 *
 * The session of a preserved device holds a file of it, which its driver waits
 * for. If it is too late for that give the lock back, for device_shutdown(), and
 * wait for the end of this kernel.
 *
 * Context: Process context, may sleep.
 */
void pci_liveupdate_remove(struct pci_dev *dev)
{
	if (!pci_liveupdate_preserved(dev))
		return;

	if (!pci_liveupdate_too_late(dev)) {
		pci_warn(dev, "is preserved, it is unbound or removed when its session has been closed\n");
		return;
	}

	device_unlock(&dev->dev);
	wait_for_end();
}

/**
 * pci_liveupdate_stop_root_bus - A host bridge is about to be removed
 * @bus: Its root bus
 *
 * To say that it is too late would not help: who removes a host bridge goes on
 * whatever happens to the devices below. So give the rescan lock back, which
 * hotplug threads want that device_shutdown() waits for, and wait for the end of
 * this kernel.
 *
 * Context: Process context, may sleep. pci_rescan_remove_lock held. Drivers of some
 *          host bridges do not have it, whose devices cannot be preserved: their
 *          DMA is that of another device, or their IOMMU cannot be handed over.
 */
void pci_liveupdate_stop_root_bus(struct pci_bus *bus)
{
	struct pci_dev *dev;

	list_for_each_entry(dev, &bus->devices, bus_list) {
		if (!pci_liveupdate_too_late(dev))
			continue;
		lockdep_assert_held(&pci_rescan_remove_lock);
		pci_unlock_rescan_remove();
		wait_for_end();
	}
}

/*
 * Early, before anything has been stopped. A device that is preserved after this
 * has looked is found by pci_pm_prepare().
 */
static int pm_notify(struct notifier_block *nb, unsigned long action,
		     void *data)
{
	struct pci_dev *dev = NULL;

	switch (action) {
	case PM_HIBERNATION_PREPARE:
	case PM_SUSPEND_PREPARE:
	case PM_RESTORE_PREPARE:
		break;
	default:
		return NOTIFY_DONE;
	}

	for_each_pci_dev(dev) {
		if (!pci_liveupdate_held(dev))
			continue;
		pci_info(dev, "in a live update, not suspending\n");
		pci_dev_put(dev);
		return notifier_from_errno(-EBUSY);
	}
	return NOTIFY_DONE;
}

static struct notifier_block pm_nb = {
	.notifier_call = pm_notify,
};

static const struct liveupdate_flb_ops pci_liveupdate_flb_ops = {
	.preserve = pci_liveupdate_flb_preserve,
	.unpreserve = pci_liveupdate_flb_unpreserve,
	.retrieve = pci_liveupdate_flb_retrieve,
	.finish = pci_liveupdate_flb_finish,
	.owner = THIS_MODULE,
};

static struct liveupdate_flb pci_liveupdate_flb = {
	.ops = &pci_liveupdate_flb_ops,
	.compatible = PCI_LIVEUPDATE_FLB_COMPATIBLE,
	.version = PCI_LIVEUPDATE_ABI_VERSION,
};

/**
 * pci_liveupdate_register_flb - Have the files of a handler carry the record
 * @fh: File handler of the driver that preserves PCI devices
 *
 * Which handlers have the PCI FLB is part of the ABI.
 *
 * Context: Process context, may sleep.
 * Return: 0 or an error of liveupdate_register_flb(); -EOPNOTSUPP if live update
 * is off.
 */
int pci_liveupdate_register_flb(struct liveupdate_file_handler *fh)
{
	return liveupdate_register_flb(fh, &pci_liveupdate_flb);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_register_flb);

/**
 * pci_liveupdate_unregister_flb - Undo pci_liveupdate_register_flb()
 * @fh: File handler
 *
 * Context: Process context, may sleep.
 */
void pci_liveupdate_unregister_flb(struct liveupdate_file_handler *fh)
{
	liveupdate_unregister_flb(fh, &pci_liveupdate_flb);
}
EXPORT_SYMBOL_GPL(pci_liveupdate_unregister_flb);

/* Read the record before PCI is scanned, which is from subsys_initcall on */
static int __init pci_liveupdate_init(void)
{
	void *obj;
	int ret;

	register_pm_notifier(&pm_nb);

	ret = liveupdate_flb_get_incoming(&pci_liveupdate_flb, &obj);
	switch (ret) {
	case 0:
		liveupdate_flb_put_incoming(&pci_liveupdate_flb);
		break;
	case -ENODATA:
	case -ENOENT:
		break;
	case -EOPNOTSUPP:
		/* live update is off now; the previous kernel may have had it on */
		if (!is_kho_boot())
			break;
		pci_liveupdate_record_lost();
		break;
	default:
		pr_err("record of the previous kernel is not usable (%pe), what runs is blocked\n",
		       ERR_PTR(ret));
		pci_liveupdate_record_lost();
	}
	return 0;
}
core_initcall(pci_liveupdate_init);
