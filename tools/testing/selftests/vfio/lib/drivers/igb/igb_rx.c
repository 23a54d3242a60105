// SPDX-License-Identifier: GPL-2.0-only
/*
 * Streaming receive on an igb (82576): one queue of one run of descriptors.
 *
 * The memcpy driver next door sends frames to itself through the loopback; this
 * one takes what comes in from the wire, for tests that need a device to do DMA
 * for as long as somebody outside sends.
 *
 * Buffers need not be given back in time: the ring is long.
 */
#include <errno.h>
#include <stdint.h>
#include <unistd.h>
#include <linux/compiler.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mii.h>
#include <linux/pci_ids.h>
#include <linux/pci_regs.h>
#include <asm/barrier.h>

#include <libvfio/rx.h>
#include <libvfio/vfio_pci_device.h>

#include "e1000_regs.h"
#include "e1000_defines.h"
#include "e1000_82575.h"

#define PCI_DEVICE_ID_INTEL_82576 0x10C9

#define DESC_SIZE	16
#define MAX_RING	32768	/* RDLEN has 20 bits */
#define VECTOR_BIT	1

static void rx_write(struct vfio_pci_device *device, u32 reg, u32 val)
{
	writel(val, device->bars[0].vaddr + reg);
}

static u32 rx_read(struct vfio_pci_device *device, u32 reg)
{
	return readl(device->bars[0].vaddr + reg);
}

/* Wait up to @ms for @reg to read @val under @mask. */
static int rx_wait(struct vfio_pci_device *device, u32 reg, u32 mask, u32 val,
		   int ms)
{
	while ((rx_read(device, reg) & mask) != val) {
		if (!ms--)
			return -ETIMEDOUT;
		usleep(1000);
	}

	return 0;
}

static union e1000_adv_rx_desc *rx_desc(struct rx *rx, u32 i)
{
	return (union e1000_adv_rx_desc *)rx->ring + i;
}

/*
 * Point descriptor @i to its buffer. The write-back of the device overlays the
 * address, so this is needed each time, and hdr_addr covers the done bit.
 */
static void rx_post(struct rx *rx, u32 i)
{
	u64 addr = rx->buffers + (u64)i * RX_BUFFER_SIZE;

	WRITE_ONCE(rx_desc(rx, i)->read.hdr_addr, 0);
	WRITE_ONCE(rx_desc(rx, i)->read.pkt_addr, cpu_to_le64(addr));
}

/* The emulated device only reports link after an autonegotiation. */
static int igb_rx_reset(struct vfio_pci_device *device)
{
	int ret;

	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);

	rx_write(device, E1000_CTRL, rx_read(device, E1000_CTRL) | E1000_CTRL_RST);
	/* 82576 datasheet 4.2.1.6.1: leave it alone for a millisecond. */
	usleep(1000);
	ret = rx_wait(device, E1000_CTRL, E1000_CTRL_RST, 0, 100);
	if (ret)
		return ret;

	rx_write(device, E1000_IMC, ~0U);
	rx_write(device, E1000_EIMC, ~0U);
	rx_write(device, E1000_CTRL_EXT,
		 rx_read(device, E1000_CTRL_EXT) | E1000_CTRL_EXT_DRV_LOAD);
	rx_write(device, E1000_CTRL, rx_read(device, E1000_CTRL) | E1000_CTRL_SLU);

	rx_write(device, E1000_MDIC,
		 BMCR_ANENABLE | BMCR_ANRESTART |
		 MII_BMCR << E1000_MDIC_REG_SHIFT |
		 1 << E1000_MDIC_PHY_SHIFT | E1000_MDIC_OP_WRITE);
	ret = rx_wait(device, E1000_MDIC, E1000_MDIC_READY, E1000_MDIC_READY, 100);
	if (ret)
		return ret;

	return rx_wait(device, E1000_STATUS, E1000_STATUS_LU, E1000_STATUS_LU,
		       10000);
}

/* Without moderation: an interrupt for each frame. */
static void rx_irq_enable(struct rx *rx)
{
	struct vfio_pci_device *device = rx->device;

	if (rx->irq == VFIO_PCI_MSIX_IRQ_INDEX) {
		rx_write(device, E1000_GPIE, E1000_GPIE_MSIX_MODE);
		rx_write(device, E1000_EIAC, VECTOR_BIT);
		rx_write(device, E1000_IVAR0, E1000_IVAR_VALID);
		rx_write(device, E1000_EIMS, VECTOR_BIT);
	} else if (rx->irq != RX_NO_IRQ) {
		rx_write(device, E1000_GPIE, 0);
		rx_write(device, E1000_IMS, E1000_IMS_RXT0);
	}
}

/* All but one, as a full ring would look like an empty one. Any address. */
static int igb_rx_start(struct rx *rx)
{
	struct vfio_pci_device *device = rx->device;
	int ret;
	u32 i;

	VFIO_ASSERT_LE(rx->size, MAX_RING);
	VFIO_ASSERT_EQ(rx->size & 7, 0);

	rx->next = 0;
	rx->clean = 0;
	for (i = 0; i < rx->size; i++)
		rx_post(rx, i);

	rx_write(device, E1000_RDBAL(0), (u32)rx->ring_iova);
	rx_write(device, E1000_RDBAH(0), rx->ring_iova >> 32);
	rx_write(device, E1000_RDLEN(0), rx->size * DESC_SIZE);
	rx_write(device, E1000_SRRCTL(0),
		 E1000_SRRCTL_DESCTYPE_ADV_ONEBUF |
		 RX_BUFFER_SIZE >> E1000_SRRCTL_BSIZEPKT_SHIFT);
	rx_write(device, E1000_RDH(0), 0);
	rx_write(device, E1000_RDT(0), 0);
	rx_write(device, E1000_RXDCTL(0), E1000_RXDCTL_QUEUE_ENABLE);
	rx_write(device, E1000_RCTL,
		 E1000_RCTL_EN | E1000_RCTL_UPE | E1000_RCTL_MPE |
		 E1000_RCTL_BAM | E1000_RCTL_SECRC);

	/* The queue's enable bit reads back once the receiver is on as well. */
	ret = rx_wait(device, E1000_RXDCTL(0), E1000_RXDCTL_QUEUE_ENABLE,
		      E1000_RXDCTL_QUEUE_ENABLE, 100);
	if (ret)
		return ret;

	rx_irq_enable(rx);
	wmb(); /* descriptors before the tail that hands them over */
	rx_write(device, E1000_RDT(0), rx->size - 1);

	return 0;
}

/* The link stays up. */
static int igb_rx_stop(struct rx *rx)
{
	struct vfio_pci_device *device = rx->device;

	rx_write(device, E1000_RXDCTL(0), 0);
	return rx_wait(device, E1000_RXDCTL(0), E1000_RXDCTL_QUEUE_ENABLE, 0, 100);
}

/*
 * That the device is done says nothing about the buffer: a frame whose write the
 * IOMMU refused is reported like any other.
 */
static int igb_rx_poll(struct rx *rx, u32 *len)
{
	union e1000_adv_rx_desc *desc = rx_desc(rx, rx->next);
	u32 i = rx->next;
	u32 status;

	status = le32_to_cpu(READ_ONCE(desc->wb.upper.status_error));
	if (!(status & E1000_RXD_STAT_DD))
		return -EAGAIN;
	rmb(); /* done bit before the length and the buffer */

	*len = le16_to_cpu(READ_ONCE(desc->wb.upper.length));
	rx->next = (i + 1) % rx->size;
	return i;
}

static u32 igb_rx_refill(struct rx *rx)
{
	u32 count = 0;

	while (rx->clean != rx->next) {
		rx_post(rx, rx->clean);
		rx->clean = (rx->clean + 1) % rx->size;
		count++;
	}

	if (count) {
		wmb(); /* descriptors before the tail that hands them over */
		rx_write(rx->device, E1000_RDT(0),
			 (rx->next + rx->size - 1) % rx->size);
	}

	return count;
}

static u64 igb_rx_ring_bytes(u32 size)
{
	return (u64)size * DESC_SIZE;
}

/* MSI-X clears its cause by itself. */
static void igb_rx_irq_ack(struct rx *rx)
{
	if (rx->irq != VFIO_PCI_MSIX_IRQ_INDEX)
		rx_write(rx->device, E1000_ICR, ~0U);
}

const struct rx_ops igb_rx_ops = {
	.name = "igb",
	.vendor = PCI_VENDOR_ID_INTEL,
	.device = PCI_DEVICE_ID_INTEL_82576,
	.max_ring = MAX_RING,
	.irqs = BIT(VFIO_PCI_MSIX_IRQ_INDEX) | BIT(VFIO_PCI_MSI_IRQ_INDEX) |
		BIT(VFIO_PCI_INTX_IRQ_INDEX),
	.ring_bytes = igb_rx_ring_bytes,
	.reset = igb_rx_reset,
	.start = igb_rx_start,
	.stop = igb_rx_stop,
	.poll = igb_rx_poll,
	.refill = igb_rx_refill,
	.irq_ack = igb_rx_irq_ack,
};
