/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_RX_H
#define SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_RX_H

#include <linux/bits.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include <libvfio/iommu.h>

struct vfio_pci_device;

#define RX_BUFFER_SIZE	2048
#define RX_MAX_RING	32768
#define RX_NO_IRQ	VFIO_PCI_NUM_IRQS

struct rx;

/*
 * A device that fills buffers, for as long as somebody outside has something for
 * it. See rx_find() for what each of these does.
 */
struct rx_ops {
	const char *name;
	u16 vendor;
	u16 device;
	u32 max_ring;		/* in buffers */
	u32 headroom;		/* in bytes, to be mapped before the buffers */
	u32 irqs;		/* bits by index of VFIO: what it can raise */
	bool opaque;		/* what it has in memory does not look like a ring */

	u64 (*ring_bytes)(u32 size);
	int (*reset)(struct vfio_pci_device *device);
	int (*start)(struct rx *rx);
	int (*stop)(struct rx *rx);
	int (*poll)(struct rx *rx, u32 *len);
	u32 (*refill)(struct rx *rx);
	u64 (*asked)(struct rx *rx);
	void (*irq_ack)(struct rx *rx);
};

/*
 * One queue of such a device. It has buffers of RX_BUFFER_SIZE bytes side by
 * side, numbered from 0, and memory for descriptors and the like.
 *
 * Buffers from @clean up to @next have been looked at by the caller but not been
 * given back to the device; those from @next on belong to the device until it
 * says that it is done. Whoever takes over a queue that is running has to know
 * these two; they are 0 if nothing was ever given back.
 */
struct rx {
	const struct rx_ops *ops;
	struct vfio_pci_device *device;
	void *ring;		/* CPU address of the descriptors */
	iova_t ring_iova;
	iova_t buffers;		/* IOVA of the first buffer */
	u32 irq;		/* index of VFIO, or RX_NO_IRQ */
	u32 size;		/* in buffers, a multiple of 8 */
	u32 few;		/* of a device that is asked: how much while going on */
	u64 first;		/* likewise: the number of what is read first */
	u32 next;
	u32 clean;
};

extern const struct rx_ops e1000e_rx_ops;
extern const struct rx_ops igb_rx_ops;
extern const struct rx_ops nvme_rx_ops;
extern const struct rx_ops virtio_net_rx_ops;

const struct rx_ops *rx_find(const char *bdf);

#endif /* SELFTESTS_VFIO_LIB_INCLUDE_LIBVFIO_RX_H */
