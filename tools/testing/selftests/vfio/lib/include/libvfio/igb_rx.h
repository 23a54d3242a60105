/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IGB_RX_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IGB_RX_H

#include <linux/types.h>

#include <libvfio/iommu.h>

struct vfio_pci_device;

#define IGB_RX_DESC_SIZE	16
#define IGB_RX_BUFFER_SIZE	2048
#define IGB_RX_MAX_RING		32768	/* RDLEN has 20 bits */

/*
 * One receive queue of an 82576. The ring is one run of descriptors, each of
 * which points to a buffer of IGB_RX_BUFFER_SIZE bytes: descriptor i to the
 * i-th buffer from @buffers on.
 *
 * Descriptors from @clean up to @next have been looked at by the caller but not
 * been given back to the device; those from @next on belong to the device until
 * it sets their "descriptor done" bit. Whoever takes over a queue that is
 * running has to know these two; they are 0 if nothing was ever given back.
 */
struct igb_rx {
	struct vfio_pci_device *device;
	void *ring;		/* CPU address of the descriptors */
	iova_t ring_iova;
	iova_t buffers;		/* IOVA of the first buffer */
	u32 size;		/* in descriptors, a multiple of 8 */
	u32 next;
	u32 clean;
};

bool igb_rx_match(struct vfio_pci_device *device);
int igb_rx_reset(struct vfio_pci_device *device);
int igb_rx_start(struct igb_rx *rx);
int igb_rx_stop(struct igb_rx *rx);
int igb_rx_poll(struct igb_rx *rx, u32 *len);
u32 igb_rx_refill(struct igb_rx *rx);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_IGB_RX_H */
