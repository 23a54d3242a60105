// SPDX-License-Identifier: GPL-2.0-only
/*
 * Streaming receive on a virtio-net device: the first receive queue, a split
 * ring, through the modern PCI interface with addresses that an IOMMU translates.
 *
 * Each frame comes with a header in front. A buffer holds the frame only: the
 * header goes to the end of the buffer before, which no frame is long enough to
 * reach.
 */
#include <errno.h>
#include <stdint.h>
#include <unistd.h>
#include <linux/align.h>
#include <linux/compiler.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <asm/barrier.h>

#include <libvfio/rx.h>
#include <libvfio/vfio_pci_device.h>

#define PCI_VENDOR_ID_VIRTIO	0x1AF4
#define PCI_DEVICE_ID_VIRTIO_NET 0x1041

#define MAX_QUEUE		1024	/* the number of buffers */
#define RX_QUEUE		0
#define HEADER			sizeof(struct virtio_net_hdr_v1)

struct split_ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
};

static u64 avail_offset(u32 size)
{
	return size * sizeof(struct vring_desc);
}

/*
 * Elements start 4 bytes into it: it is placed so that none crosses a page, which
 * the device of QEMU 10 gets wrong behind an IOMMU.
 */
static u64 used_offset(u32 size)
{
	return ALIGN(avail_offset(size) + sizeof(struct vring_avail) +
		     size * sizeof(__virtio16), SZ_4K) + 4;
}

static struct split_ring ring_of(struct rx *rx)
{
	return (struct split_ring){
		.desc = rx->ring,
		.avail = rx->ring + avail_offset(rx->size),
		.used = rx->ring + used_offset(rx->size),
	};
}

/* With room for the header of the first frame. */
static u64 virtio_rx_ring_bytes(u32 size)
{
	return used_offset(size) + sizeof(struct vring_used) +
	       size * sizeof(struct vring_used_elem) + HEADER;
}

/* Where the device has a structure: the first capability of that type. */
static void *find_structure(struct vfio_pci_device *device, u8 type, u8 *where)
{
	u8 at = vfio_pci_config_readb(device, PCI_CAPABILITY_LIST);

	for (; at; at = vfio_pci_config_readb(device, at + PCI_CAP_LIST_NEXT)) {
		u8 bar = vfio_pci_config_readb(device, at + VIRTIO_PCI_CAP_BAR);

		if (vfio_pci_config_readb(device, at) != PCI_CAP_ID_VNDR ||
		    vfio_pci_config_readb(device, at + VIRTIO_PCI_CAP_CFG_TYPE) != type)
			continue;
		VFIO_ASSERT_LT(bar, PCI_STD_NUM_BARS);
		VFIO_ASSERT_NOT_NULL(device->bars[bar].vaddr);
		*where = at;
		return device->bars[bar].vaddr +
		       vfio_pci_config_readl(device, at + VIRTIO_PCI_CAP_OFFSET);
	}

	VFIO_FAIL("%s: no virtio structure %u\n", device->bdf, type);
}

static void *common_cfg(struct vfio_pci_device *device)
{
	u8 where;

	return find_structure(device, VIRTIO_PCI_CAP_COMMON_CFG, &where);
}

static void *notify_addr(struct vfio_pci_device *device, void *common)
{
	void *base;
	u8 where;

	base = find_structure(device, VIRTIO_PCI_CAP_NOTIFY_CFG, &where);
	writew(RX_QUEUE, common + VIRTIO_PCI_COMMON_Q_SELECT);
	return base + readw(common + VIRTIO_PCI_COMMON_Q_NOFF) *
		      vfio_pci_config_readl(device, where + VIRTIO_PCI_NOTIFY_CAP_MULT);
}

static void set_status(void *common, u8 status)
{
	writeb(status, common + VIRTIO_PCI_COMMON_STATUS);
}

static int status_reset(void *common)
{
	int ms = 100;

	set_status(common, 0);
	while (readb(common + VIRTIO_PCI_COMMON_STATUS)) {
		if (!ms--)
			return -ETIMEDOUT;
		usleep(1000);
	}

	return 0;
}

/* All it takes is a modern device, and one queue that can be stopped. */
static int negotiate(void *common)
{
	u32 features = 1 << (VIRTIO_F_VERSION_1 - 32) |
		       1 << (VIRTIO_F_ACCESS_PLATFORM - 32) |
		       1 << (VIRTIO_F_RING_RESET - 32);
	u8 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	set_status(common, status);

	writel(1, common + VIRTIO_PCI_COMMON_DFSELECT);
	if ((readl(common + VIRTIO_PCI_COMMON_DF) & features) != features)
		return -EOPNOTSUPP;

	writel(0, common + VIRTIO_PCI_COMMON_GFSELECT);
	writel(0, common + VIRTIO_PCI_COMMON_GF);
	writel(1, common + VIRTIO_PCI_COMMON_GFSELECT);
	writel(features, common + VIRTIO_PCI_COMMON_GF);

	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	set_status(common, status);
	return readb(common + VIRTIO_PCI_COMMON_STATUS) == status ? 0 : -EOPNOTSUPP;
}

static void write_addr(void *lo, u64 addr)
{
	writel((u32)addr, lo);
	writel(addr >> 32, lo + 4);
}

static int virtio_rx_reset(struct vfio_pci_device *device)
{
	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	return status_reset(common_cfg(device));
}

static void virtio_rx_post(struct rx *rx, struct split_ring *ring, u16 at, u16 i)
{
	u64 addr = rx->buffers + (u64)i * RX_BUFFER_SIZE - HEADER;

	ring->desc[i].addr = cpu_to_le64(addr);
	ring->desc[i].len = cpu_to_le32(RX_BUFFER_SIZE);
	ring->desc[i].flags = cpu_to_le16(VRING_DESC_F_WRITE);
	ring->avail->ring[at % rx->size] = cpu_to_le16(i);
}

static int virtio_rx_start(struct rx *rx)
{
	struct split_ring ring = ring_of(rx);
	void *common = common_cfg(rx->device);
	u16 vector = VIRTIO_MSI_NO_VECTOR;
	int ret;
	u32 i;

	VFIO_ASSERT_LE(rx->size, MAX_QUEUE);

	if (!readb(common + VIRTIO_PCI_COMMON_STATUS)) {
		ret = negotiate(common);
		if (ret)
			return ret;
	}

	rx->next = 0;
	rx->clean = 0;
	for (i = 0; i < rx->size; i++)
		virtio_rx_post(rx, &ring, i, i);
	ring.avail->idx = cpu_to_le16(rx->size);
	ring.avail->flags = 0;
	ring.used->idx = 0;

	writew(RX_QUEUE, common + VIRTIO_PCI_COMMON_Q_SELECT);
	if (readw(common + VIRTIO_PCI_COMMON_Q_SIZE) < rx->size)
		return -ENOSPC;
	writew(rx->size, common + VIRTIO_PCI_COMMON_Q_SIZE);

	if (rx->irq == VFIO_PCI_MSIX_IRQ_INDEX)
		vector = 0;
	else
		ring.avail->flags = cpu_to_le16(VRING_AVAIL_F_NO_INTERRUPT);
	writew(vector, common + VIRTIO_PCI_COMMON_Q_MSIX);
	if (readw(common + VIRTIO_PCI_COMMON_Q_MSIX) != vector)
		return -EBUSY;

	write_addr(common + VIRTIO_PCI_COMMON_Q_DESCLO, rx->ring_iova);
	write_addr(common + VIRTIO_PCI_COMMON_Q_AVAILLO,
		   rx->ring_iova + avail_offset(rx->size));
	write_addr(common + VIRTIO_PCI_COMMON_Q_USEDLO,
		   rx->ring_iova + used_offset(rx->size));

	wmb(); /* ring before the device looks at it */
	writew(1, common + VIRTIO_PCI_COMMON_Q_ENABLE);
	set_status(common, readb(common + VIRTIO_PCI_COMMON_STATUS) |
			   VIRTIO_CONFIG_S_DRIVER_OK);
	writew(RX_QUEUE, notify_addr(rx->device, common));

	return 0;
}

/* It has found something that it cannot write to, or read. */
static bool gave_up(struct vfio_pci_device *device)
{
	return readb(common_cfg(device) + VIRTIO_PCI_COMMON_STATUS) &
	       VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* A device that gave up is past that. */
static int virtio_rx_stop(struct rx *rx)
{
	void *common = common_cfg(rx->device);
	int ms = 100;

	if (gave_up(rx->device))
		return status_reset(common);

	writew(RX_QUEUE, common + VIRTIO_PCI_COMMON_Q_SELECT);
	writew(1, common + VIRTIO_PCI_COMMON_Q_RESET);
	while (readw(common + VIRTIO_PCI_COMMON_Q_RESET)) {
		if (!ms--)
			return -ETIMEDOUT;
		usleep(1000);
	}

	return 0;
}

/* @next and @clean count on, as the indices of the ring do. */
static int virtio_rx_poll(struct rx *rx, u32 *len)
{
	struct split_ring ring = ring_of(rx);
	struct vring_used_elem *elem = &ring.used->ring[rx->next % rx->size];
	u32 id;

	if ((u16)rx->next == le16_to_cpu(READ_ONCE(ring.used->idx)))
		return gave_up(rx->device) ? -EIO : -EAGAIN;
	rmb(); /* index before the element and the buffer */

	id = le32_to_cpu(READ_ONCE(elem->id));
	*len = le32_to_cpu(READ_ONCE(elem->len));
	VFIO_ASSERT_LT(id, rx->size);
	VFIO_ASSERT_GE(*len, HEADER, "buffer %u at %u, up to %u are used\n",
		       id, rx->next, le16_to_cpu(READ_ONCE(ring.used->idx)));
	*len -= HEADER;
	rx->next++;
	return id;
}

/* The used ring still tells which buffers these were. */
static u32 virtio_rx_refill(struct rx *rx)
{
	struct split_ring ring = ring_of(rx);
	u32 count = 0, id;

	while (rx->clean != rx->next) {
		id = le32_to_cpu(ring.used->ring[rx->clean % rx->size].id);
		virtio_rx_post(rx, &ring, rx->clean, id);
		rx->clean++;
		count++;
	}

	if (count) {
		wmb(); /* descriptors before the index that hands them over */
		WRITE_ONCE(ring.avail->idx, cpu_to_le16(rx->clean + rx->size));
		mb(); /* index before the device is told */
		writew(RX_QUEUE, notify_addr(rx->device, common_cfg(rx->device)));
	}

	return count;
}

static void virtio_rx_irq_ack(struct rx *rx)
{
}

const struct rx_ops virtio_net_rx_ops = {
	.name = "virtio-net",
	.vendor = PCI_VENDOR_ID_VIRTIO,
	.device = PCI_DEVICE_ID_VIRTIO_NET,
	.max_ring = MAX_QUEUE,
	.headroom = SZ_4K,
	.opaque = true,
	.irqs = BIT(VFIO_PCI_MSIX_IRQ_INDEX),
	.ring_bytes = virtio_rx_ring_bytes,
	.reset = virtio_rx_reset,
	.start = virtio_rx_start,
	.stop = virtio_rx_stop,
	.poll = virtio_rx_poll,
	.refill = virtio_rx_refill,
	.irq_ack = virtio_rx_irq_ack,
};
