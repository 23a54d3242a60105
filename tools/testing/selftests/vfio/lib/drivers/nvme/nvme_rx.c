// SPDX-License-Identifier: GPL-2.0-only
/*
 * Streaming reads from an NVMe drive: one I/O queue, full of reads that the drive
 * takes its time for. Each fills one buffer with what follows on the drive.
 *
 * The emulated drive looks up where a buffer is when it takes a read, and where the
 * completion goes when it has the data.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <linux/align.h>
#include <linux/compiler.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <asm/barrier.h>

#include <libvfio/rx.h>
#include <libvfio/vfio_pci_device.h>

#define PCI_VENDOR_ID_REDHAT	0x1B36
#define PCI_DEVICE_ID_NVME	0x0010

#define NVME_CAP		0x00
#define NVME_CC			0x14
#define   CC_ENABLE		(BIT(0) | 6 << 16 | 4 << 20)	/* entries of 64, 16 bytes */
#define NVME_CSTS		0x1c
#define   CSTS_RDY		1
#define   CSTS_CFS		2
#define NVME_AQA		0x24
#define NVME_ASQ		0x28
#define NVME_ACQ		0x30
#define NVME_DOORBELLS		0x1000

#define ADMIN_DELETE_SQ		0x00
#define ADMIN_CREATE_SQ		0x01
#define ADMIN_DELETE_CQ		0x04
#define ADMIN_CREATE_CQ		0x05
#define ADMIN_IDENTIFY		0x06
#define NVM_READ		0x02

#define NSID			1
#define IO_QUEUE		1
#define ADMIN_ENTRIES		32
#define MAX_QUEUE		2048	/* what drives have, and QEMU by default */

/* Reads to give at a time */
#define BATCH			64
#define STOP_MS		20000

struct nvme_sqe {
	__le32 opcode;		/* and the command's number in the upper half */
	__le32 nsid;
	__le64 reserved;
	__le64 metadata;
	__le64 prp1;
	__le64 prp2;
	__le32 cdw10[6];
};

struct nvme_cqe {
	__le32 result;
	__le32 reserved;
	__le16 sq_head;
	__le16 sq_id;
	__le16 cid;
	__le16 status;		/* bit 0 is the phase */
};

/* Also for whoever takes over: it lies in the memory of the queue. */
struct nvme_memory {
	struct {
		u8 mark[32];	/* the caller's */
		u32 admin;	/* commands issued, less than ADMIN_ENTRIES * N */
		u32 blocks;	/* to a buffer */
	} state __aligned(SZ_4K);
	struct nvme_sqe admin_sq[ADMIN_ENTRIES] __aligned(SZ_4K);
	struct nvme_cqe admin_cq[ADMIN_ENTRIES] __aligned(SZ_4K);
	u8 identify[SZ_4K] __aligned(SZ_4K);
	struct nvme_cqe cq[MAX_QUEUE] __aligned(SZ_4K);
	struct nvme_sqe sq[MAX_QUEUE] __aligned(SZ_4K);
};

static void *nvme_regs(struct vfio_pci_device *device)
{
	return device->bars[0].vaddr;
}

static iova_t nvme_iova(struct rx *rx, void *vaddr)
{
	return rx->ring_iova + (vaddr - rx->ring);
}

/* Doorbell stride 0 is assumed, and checked at the start. */
static void *doorbell(struct rx *rx, u32 queue, bool completion)
{
	return nvme_regs(rx->device) + NVME_DOORBELLS +
	       (2 * queue + completion) * sizeof(u32);
}

static int wait_ready(struct vfio_pci_device *device, u32 ready)
{
	int ms = 1000;
	u32 csts;

	for (;;) {
		csts = readl(nvme_regs(device) + NVME_CSTS);
		if (csts & CSTS_CFS)
			return -EIO;
		if ((csts & CSTS_RDY) == ready)
			return 0;
		if (!ms--)
			return -ETIMEDOUT;
		usleep(1000);
	}
}

static int nvme_rx_reset(struct vfio_pci_device *device)
{
	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	writel(0, nvme_regs(device) + NVME_CC);
	return wait_ready(device, 0);
}

/* One at a time, so the place of its completion is known, too. */
static int admin(struct rx *rx, struct nvme_sqe sqe)
{
	struct nvme_memory *mem = rx->ring;
	u32 i = mem->state.admin % ADMIN_ENTRIES;
	u16 phase = !(mem->state.admin / ADMIN_ENTRIES % 2), status;
	int ms = 1000;

	mem->admin_sq[i] = sqe;
	mem->state.admin++;
	wmb(); /* command before the doorbell */
	writel((i + 1) % ADMIN_ENTRIES, doorbell(rx, 0, false));

	do {
		status = le16_to_cpu(READ_ONCE(mem->admin_cq[i].status));
		if ((status & 1) == phase) {
			writel((i + 1) % ADMIN_ENTRIES, doorbell(rx, 0, true));
			return status >> 1 ? -EIO : 0;
		}
		usleep(1000);
	} while (ms--);

	return -ETIMEDOUT;
}

static int enable(struct rx *rx)
{
	void *regs = nvme_regs(rx->device);
	struct nvme_memory *mem = rx->ring;
	u32 ret;

	VFIO_ASSERT_EQ(readl(regs + NVME_CAP + 4) & 0xf, 0);

	memset(mem->admin_cq, 0, sizeof(mem->admin_cq));
	mem->state.admin = 0;
	writel((ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1), regs + NVME_AQA);
	writel((u32)nvme_iova(rx, mem->admin_sq), regs + NVME_ASQ);
	writel(nvme_iova(rx, mem->admin_sq) >> 32, regs + NVME_ASQ + 4);
	writel((u32)nvme_iova(rx, mem->admin_cq), regs + NVME_ACQ);
	writel(nvme_iova(rx, mem->admin_cq) >> 32, regs + NVME_ACQ + 4);
	writel(CC_ENABLE, regs + NVME_CC);
	ret = wait_ready(rx->device, CSTS_RDY);
	if (ret)
		return ret;

	return admin(rx, (struct nvme_sqe){
		.opcode = cpu_to_le32(ADMIN_IDENTIFY),
		.nsid = cpu_to_le32(NSID),
		.prp1 = cpu_to_le64(nvme_iova(rx, mem->identify)),
	});
}

/* How large a block is; there must be nothing but data in it. */
static void look_at_format(struct nvme_memory *mem)
{
	const u8 *id = mem->identify;
	const u8 *format = id + 128 + 4 * (id[26] & 0xf);
	u32 shift = format[2];

	VFIO_ASSERT_GE(shift, 9);
	VFIO_ASSERT_LE(1 << shift, RX_BUFFER_SIZE);
	mem->state.blocks = RX_BUFFER_SIZE >> shift;
	VFIO_ASSERT_EQ(format[0] | format[1], 0);
}

/* Which buffer the read number @i since the start is for: the same as its cid. */
static void nvme_rx_post(struct rx *rx, u32 i)
{
	struct nvme_memory *mem = rx->ring;
	u64 lba = (rx->first + i) * mem->state.blocks;
	u32 at = i % rx->size;

	mem->sq[at] = (struct nvme_sqe){
		.opcode = cpu_to_le32(NVM_READ | at << 16),
		.nsid = cpu_to_le32(NSID),
		.prp1 = cpu_to_le64(rx->buffers + (u64)at * RX_BUFFER_SIZE),
		.cdw10 = {
			cpu_to_le32((u32)lba),
			cpu_to_le32(lba >> 32),
			cpu_to_le32(mem->state.blocks - 1),
		},
	};
}

static void ring_sq(struct rx *rx)
{
	wmb(); /* commands before the doorbell */
	writel((rx->clean + rx->size - 1) % rx->size, doorbell(rx, IO_QUEUE, false));
}

/* All but one, as a full queue would look like an empty one. */
static int nvme_rx_start(struct rx *rx)
{
	void *regs = nvme_regs(rx->device);
	struct nvme_memory *mem = rx->ring;
	int ret = 0;
	u32 i;

	VFIO_ASSERT_LE(rx->size, MAX_QUEUE);
	if ((readl(regs + NVME_CAP) & 0xffff) + 1 < rx->size)
		return -ENOSPC;

	if (!(readl(regs + NVME_CSTS) & CSTS_RDY)) {
		ret = enable(rx);
		if (ret)
			return ret;
		look_at_format(mem);
	}

	rx->next = 0;
	rx->clean = 0;
	memset(mem->cq, 0, sizeof(mem->cq));
	for (i = 0; i < rx->size - 1; i++)
		nvme_rx_post(rx, i);

	ret = admin(rx, (struct nvme_sqe){
		.opcode = cpu_to_le32(ADMIN_CREATE_CQ),
		.prp1 = cpu_to_le64(nvme_iova(rx, mem->cq)),
		.cdw10 = {
			cpu_to_le32((rx->size - 1) << 16 | IO_QUEUE),
			/* contiguous, vector 0 */
			cpu_to_le32(1 | (rx->irq == RX_NO_IRQ ? 0 : 2)),
		},
	});
	if (ret)
		return ret;

	ret = admin(rx, (struct nvme_sqe){
		.opcode = cpu_to_le32(ADMIN_CREATE_SQ),
		.prp1 = cpu_to_le64(nvme_iova(rx, mem->sq)),
		.cdw10 = {
			cpu_to_le32((rx->size - 1) << 16 | IO_QUEUE),
			cpu_to_le32(1 | IO_QUEUE << 16),
		},
	});
	if (ret)
		return ret;

	ring_sq(rx);
	return 0;
}

/* @next and @clean count on. Reads may be done in another order. */
static int nvme_rx_poll(struct rx *rx, u32 *len)
{
	struct nvme_memory *mem = rx->ring;
	struct nvme_cqe *cqe = &mem->cq[rx->next % rx->size];
	u16 phase = !(rx->next / rx->size % 2);
	u16 status = le16_to_cpu(READ_ONCE(cqe->status));
	u32 cid;

	if ((status & 1) != phase)
		return -EAGAIN;
	rmb(); /* phase before the rest and the buffer */

	cid = le16_to_cpu(READ_ONCE(cqe->cid));
	VFIO_ASSERT_LT(cid, rx->size);
	*len = status >> 1 ? 0 : RX_BUFFER_SIZE;
	rx->next++;
	return cid;
}

/* Not more than are wanted under way, so that it can be brought to rest soon. */
static u32 nvme_rx_refill(struct rx *rx)
{
	u32 under_way = rx->clean + rx->size - 1 - rx->next;
	u32 count = 0;

	if (rx->clean == rx->next || under_way >= rx->few)
		return 0;

	writel(rx->next % rx->size, doorbell(rx, IO_QUEUE, true));
	for (; count < max_t(u32, rx->few, BATCH) && rx->clean != rx->next;
	     count++)
		nvme_rx_post(rx, rx->clean++ + rx->size - 1);
	ring_sq(rx);

	return count;
}

static u64 nvme_rx_ring_bytes(u32 size)
{
	return sizeof(struct nvme_memory);
}

static u64 nvme_rx_asked(struct rx *rx)
{
	return (u64)rx->clean + rx->size - 1;
}

/*
 * What is under way comes to its end first: QEMU can hang when it has to cancel
 * a read that has no access to its buffer.
 */
static int nvme_rx_stop(struct rx *rx)
{
	struct nvme_sqe sqe = {
		.opcode = cpu_to_le32(ADMIN_DELETE_SQ),
		.cdw10 = { cpu_to_le32(IO_QUEUE) },
	};
	int ret, ms = STOP_MS;
	u32 len;

	while (rx->next != (u32)nvme_rx_asked(rx) && ms--) {
		if (nvme_rx_poll(rx, &len) < 0)
			usleep(1000);
	}

	ret = admin(rx, sqe);
	if (ret)
		return ret;
	sqe.opcode = cpu_to_le32(ADMIN_DELETE_CQ);
	return admin(rx, sqe);
}

static void nvme_rx_irq_ack(struct rx *rx)
{
}

const struct rx_ops nvme_rx_ops = {
	.name = "nvme",
	.vendor = PCI_VENDOR_ID_REDHAT,
	.device = PCI_DEVICE_ID_NVME,
	.max_ring = MAX_QUEUE,
	.opaque = true,
	.irqs = BIT(VFIO_PCI_MSIX_IRQ_INDEX),
	.ring_bytes = nvme_rx_ring_bytes,
	.reset = nvme_rx_reset,
	.start = nvme_rx_start,
	.stop = nvme_rx_stop,
	.poll = nvme_rx_poll,
	.refill = nvme_rx_refill,
	.asked = nvme_rx_asked,
	.irq_ack = nvme_rx_irq_ack,
};
