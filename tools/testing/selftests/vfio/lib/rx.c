// SPDX-License-Identifier: GPL-2.0-only
/* Which devices can be used to receive a stream, see struct rx_ops. */
#include <libvfio.h>

static const struct rx_ops * const rx_drivers[] = {
	&e1000e_rx_ops,
	&igb_rx_ops,
	&nvme_rx_ops,
	&virtio_net_rx_ops,
};

/**
 * rx_find() - Find the driver for a device.
 * @bdf: The device, need not be open.
 *
 * What the driver offers:
 *
 * ring_bytes: how much memory @size buffers need next to them
 * reset: reset the device, bring its link up; no DMA before start
 * start: start from the first buffer, with all of them (or all but one) given
 *	to the device, and with an interrupt (vector 0) for each if @irq says so;
 *	VFIO has been set up for it
 * stop: stop; start begins anew
 * poll: take the next buffer that the device is done with. Returns its number
 *	and sets @len to the length of what is in it, 0 if that failed and the
 *	device knows; -EAGAIN when there is none, -EIO when the device has given up
 * refill: give back every buffer that was polled, returns how many
 * asked: of a device that only gives what it is asked for, a drive: how many buffers
 *	that was since the start
 * irq_ack: allow the next interrupt, before buffers are polled
 *
 * Those that return int return 0 or a negative error code. Carrying on with a
 * queue that runs already takes no access to the device at all: fill in struct
 * rx and poll.
 *
 * Return: the driver, or NULL if there is none.
 */
const struct rx_ops *rx_find(const char *bdf)
{
	int vendor = sysfs_vendor_get(bdf), device = sysfs_device_get(bdf);

	for (int i = 0; i < ARRAY_SIZE(rx_drivers); i++) {
		if (rx_drivers[i]->vendor == vendor &&
		    rx_drivers[i]->device == device)
			return rx_drivers[i];
	}

	return NULL;
}
