// SPDX-License-Identifier: GPL-2.0-only
/*
 * Streaming receive on an e1000e (82574): one queue of extended descriptors,
 * which have the done bit where those of its successors have it.
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

#include "../igb/e1000_regs.h"
#include "../igb/e1000_defines.h"

#define PCI_DEVICE_ID_INTEL_82574L 0x10D3

#define MAX_RING		32768	/* RDLEN has 20 bits */

/* 82574 only, or other than on its successors */
#define E1000E_IVAR		0x000E4
#define   E1000E_IVAR_RXQ0(_v)	((_v) | 0x8)
#define E1000E_RFCTL_EXSTEN	0x00008000
#define E1000E_IMS_RXQ0		0x00100000

union rx_desc {
	struct {
		__le64 addr;
		__le64 zero;
	} read;
	struct {
		__le32 mrq;
		__le32 rss;
		__le32 status;
		__le16 length;
		__le16 vlan;
	} done;
};

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

static union rx_desc *rx_desc(struct rx *rx, u32 i)
{
	return (union rx_desc *)rx->ring + i;
}

/* What the device writes back overlays the address. */
static void rx_post(struct rx *rx, u32 i)
{
	u64 addr = rx->buffers + (u64)i * RX_BUFFER_SIZE;

	WRITE_ONCE(rx_desc(rx, i)->read.zero, 0);
	WRITE_ONCE(rx_desc(rx, i)->read.addr, cpu_to_le64(addr));
}

/* The emulated device only reports link after an autonegotiation. */
static int e1000e_rx_reset(struct vfio_pci_device *device)
{
	int ret;

	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);

	rx_write(device, E1000_IMC, ~0U);
	rx_write(device, E1000_CTRL, rx_read(device, E1000_CTRL) | E1000_CTRL_RST);
	usleep(1000);
	ret = rx_wait(device, E1000_CTRL, E1000_CTRL_RST, 0, 100);
	if (ret)
		return ret;

	rx_write(device, E1000_IMC, ~0U);
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
	if (rx->irq == VFIO_PCI_MSIX_IRQ_INDEX) {
		rx_write(rx->device, E1000E_IVAR, E1000E_IVAR_RXQ0(0));
		rx_write(rx->device, E1000_IMS, E1000E_IMS_RXQ0);
	} else if (rx->irq != RX_NO_IRQ) {
		rx_write(rx->device, E1000_IMS, E1000_IMS_RXT0);
	}
}

/*
 * All but one, as a full ring would look like an empty one. Any address; and the
 * reset default of 2048 bytes for a buffer.
 */
static int e1000e_rx_start(struct rx *rx)
{
	struct vfio_pci_device *device = rx->device;
	u32 i;

	VFIO_ASSERT_LE(rx->size, MAX_RING);
	VFIO_ASSERT_EQ(rx->size & 7, 0);

	rx->next = 0;
	rx->clean = 0;
	for (i = 0; i < rx->size; i++)
		rx_post(rx, i);

	rx_write(device, E1000_RFCTL, E1000E_RFCTL_EXSTEN);
	rx_write(device, E1000_RDBAL(0), (u32)rx->ring_iova);
	rx_write(device, E1000_RDBAH(0), rx->ring_iova >> 32);
	rx_write(device, E1000_RDLEN(0), rx->size * sizeof(union rx_desc));
	rx_write(device, E1000_RDH(0), 0);
	rx_write(device, E1000_RDT(0), 0);
	rx_write(device, E1000_RCTL,
		 E1000_RCTL_EN | E1000_RCTL_UPE | E1000_RCTL_MPE |
		 E1000_RCTL_BAM | E1000_RCTL_SECRC);

	rx_irq_enable(rx);
	wmb(); /* descriptors before the tail that hands them over */
	rx_write(device, E1000_RDT(0), rx->size - 1);

	return 0;
}

/* The link stays up. A frame that is being written is done in no time. */
static int e1000e_rx_stop(struct rx *rx)
{
	rx_write(rx->device, E1000_RCTL, 0);
	rx_read(rx->device, E1000_STATUS);
	usleep(10000);
	return 0;
}

/*
 * That the device is done says nothing about the buffer: a frame whose write the
 * IOMMU refused is reported like any other.
 */
static int e1000e_rx_poll(struct rx *rx, u32 *len)
{
	union rx_desc *desc = rx_desc(rx, rx->next);
	u32 i = rx->next;

	if (!(le32_to_cpu(READ_ONCE(desc->done.status)) & E1000_RXD_STAT_DD))
		return -EAGAIN;
	rmb(); /* done bit before the length and the buffer */

	*len = le16_to_cpu(READ_ONCE(desc->done.length));
	rx->next = (i + 1) % rx->size;
	return i;
}

static u32 e1000e_rx_refill(struct rx *rx)
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

static u64 e1000e_rx_ring_bytes(u32 size)
{
	return (u64)size * sizeof(union rx_desc);
}

/* Causes are cleared by writing ones. */
static void e1000e_rx_irq_ack(struct rx *rx)
{
	rx_write(rx->device, E1000_ICR, ~0U);
}

const struct rx_ops e1000e_rx_ops = {
	.name = "e1000e",
	.vendor = PCI_VENDOR_ID_INTEL,
	.device = PCI_DEVICE_ID_INTEL_82574L,
	.max_ring = MAX_RING,
	.irqs = BIT(VFIO_PCI_MSIX_IRQ_INDEX) | BIT(VFIO_PCI_MSI_IRQ_INDEX) |
		BIT(VFIO_PCI_INTX_IRQ_INDEX),
	.ring_bytes = e1000e_rx_ring_bytes,
	.reset = e1000e_rx_reset,
	.start = e1000e_rx_start,
	.stop = e1000e_rx_stop,
	.poll = e1000e_rx_poll,
	.refill = e1000e_rx_refill,
	.irq_ack = e1000e_rx_irq_ack,
};
