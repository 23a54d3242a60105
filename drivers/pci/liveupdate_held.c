// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of PCI devices: ask before disturbing one
 *
 * Whoever is about to reset, remove or reconfigure a device or bridge, or to power
 * off its slot, learns here whether something that runs stands in the way: what is
 * preserved, or came running and has not been given back.
 *
 * The story is told in liveupdate.c.
 */

#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/pci.h>
#include <linux/pci-liveupdate.h>

#include "liveupdate.h"
#include "pci.h"

/* False if no device can be preserved or incoming: no need to look at each */
static bool anything_held(void)
{
	return pci_liveupdate_record_used() || pci_liveupdate_record_came();
}

static int find_held(struct pci_dev *dev, void *found)
{
	if (!pci_liveupdate_preserved(dev) && !pci_liveupdate_incoming(dev))
		return 0;
	*(bool *)found = true;
	return 1;
}

/*
 * Whether user space has to keep its hands off the device, which may be a
 * bridge above one that runs.
 */
bool pci_liveupdate_held(struct pci_dev *dev)
{
	bool found = false;

	if (!anything_held())
		return false;
	if (!find_held(dev, &found) && dev->subordinate)
		pci_walk_bus(dev->subordinate, find_held, &found);
	return found;
}

/* The same with pci_bus_sem held */
bool pci_liveupdate_held_locked(struct pci_dev *dev)
{
	bool found = false;

	lockdep_assert_held(&pci_bus_sem);

	if (!anything_held())
		return false;
	if (!find_held(dev, &found) && dev->subordinate)
		pci_walk_bus_locked(dev->subordinate, find_held, &found);
	return found;
}

/*
 * The same for who sets up bridges. No device comes or goes meanwhile: some hold
 * pci_bus_sem for that, others do not need to.
 */
static bool find_stable(struct pci_dev *dev, int (*find)(struct pci_dev *, void *))
{
	struct pci_dev *child;
	bool found = false;

	if (!anything_held())
		return false;
	if (find(dev, &found))
		return true;
	if (!dev->subordinate)
		return false;

	list_for_each_entry(child, &dev->subordinate->devices, bus_list)
		if (find_stable(child, find))
			return true;
	return false;
}

bool pci_liveupdate_held_stable(struct pci_dev *dev)
{
	return find_stable(dev, find_held);
}

static int find_running(struct pci_dev *dev, void *found)
{
	if (test_bit(PCI_DEV_LIVEUPDATE_BLOCKED, &dev->priv_flags))
		return 0;
	return find_held(dev, found);
}

/*
 * Whether a reset, or loss of power, would stop the device or one below it. One
 * that is blocked has stopped, and that may be just what it needs.
 */
bool pci_liveupdate_running(struct pci_dev *dev)
{
	bool found = false;

	if (!anything_held())
		return false;
	if (!find_running(dev, &found) && dev->subordinate)
		pci_walk_bus(dev->subordinate, find_running, &found);
	return found;
}

/* The same for who has the devices locked, or sees to it that none comes or goes */
bool pci_liveupdate_running_stable(struct pci_dev *dev)
{
	return find_stable(dev, find_running);
}

static bool slot_running(struct pci_slot *slot, bool (*running)(struct pci_dev *))
{
	struct pci_dev *dev;

	list_for_each_entry(dev, &slot->bus->devices, bus_list)
		if (dev->slot == slot && running(dev))
			return true;

	return false;
}

/* The same for all that a reset of a slot would hit */
bool pci_liveupdate_slot_running(struct pci_slot *slot)
{
	return slot_running(slot, pci_liveupdate_running);
}

/* The same for who has them locked */
bool pci_liveupdate_slot_running_stable(struct pci_slot *slot)
{
	return slot_running(slot, pci_liveupdate_running_stable);
}

/* The same for who has no lock that keeps the devices of the slot there */
bool pci_liveupdate_keep_slot(struct pci_slot *slot)
{
	if (!anything_held())
		return false;
	guard(mutex)(&pci_rescan_remove_lock);
	return pci_liveupdate_slot_running(slot);
}

struct disturbance {
	bool held;
	bool disturbed;
};

static int find_disturbed(struct pci_dev *dev, void *data)
{
	struct disturbance *found = data;
	u16 cmd;

	if (!find_running(dev, &found->held))
		return 0;

	/* Gone, or powered off or reset since */
	pci_read_config_word(dev, PCI_COMMAND, &cmd);
	if (!PCI_POSSIBLE_ERROR(cmd) &&
	    cmd & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER))
		return 0;
	found->disturbed = true;
	return 1;
}

/**
 * pci_liveupdate_undisturbed - Do devices below a port run on after an event?
 * @port: Port whose slot or link reports a change
 *
 * A device whose link was down has been reset. That is a removal like any other,
 * which pci_liveupdate_remove() or pci_liveupdate_stop_device() reports.
 *
 * Return: true if devices below @port run through a live update, and none of them
 * has stopped.
 */
bool pci_liveupdate_undisturbed(struct pci_dev *port)
{
	struct disturbance found = {};

	if (anything_held() && port->subordinate)
		pci_walk_bus(port->subordinate, find_disturbed, &found);
	return found.held && !found.disturbed;
}

static int report_contained(struct pci_dev *dev, void *unused)
{
	bool found;

	if (find_running(dev, &found))
		pci_err(dev, "was reset while it runs through a live update, its user cannot have it back\n");
	return 0;
}

/**
 * pci_liveupdate_contained - A port has taken its link down by itself
 * @port: Port whose link is up again
 *
 * The devices below have been reset by that. One that is preserved cannot be
 * frozen any more, and one that came running cannot be opened. Says so in the
 * log.
 *
 * Context: May sleep.
 */
void pci_liveupdate_contained(struct pci_dev *port)
{
	if (anything_held() && port->subordinate)
		pci_walk_bus(port->subordinate, report_contained, NULL);
}
