/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_EDU_H
#define SELFTESTS_VFIO_LIVEUPDATE_EDU_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <linux/io.h>

#include "refuse.h"

/*
 * The "edu" device of QEMU copies by DMA into a buffer of its own, or out of it.
 * It takes 100 ms each way.
 */
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_COMMAND	0x98
#define EDU_DMA_RUN	BIT(0)
#define EDU_DMA_TO_RAM	BIT(1)
#define EDU_BUFFER	0x40000
#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

static inline int edu_dma_one(void *bar, u64 src, u64 dst, u32 command)
{
	int ms;

	writeq(src, bar + EDU_DMA_SRC);
	writeq(dst, bar + EDU_DMA_DST);
	writeq(REFUSE_DMA_SIZE, bar + EDU_DMA_COUNT);
	writeq(command | EDU_DMA_RUN, bar + EDU_DMA_COMMAND);
	for (ms = 0; ms < 5000; ms++) {
		if (!(readq(bar + EDU_DMA_COMMAND) & EDU_DMA_RUN))
			return 0;
		usleep(1000);
	}
	return -ETIMEDOUT;
}

static inline int edu_dma(struct refuse *refuse, struct vfio_pci_device *edu)
{
	u8 *src = refuse->vm.region.vaddr + REFUSE_DMA_SRC;
	u8 *dst = refuse->vm.region.vaddr + REFUSE_DMA_DST;
	void *bar = edu->bars[0].vaddr;
	int ret;

	vfio_pci_cmd_set(edu, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	memset(src, ++refuse->pattern, REFUSE_DMA_SIZE);
	memset(dst, 0, REFUSE_DMA_SIZE);
	ret = edu_dma_one(bar, VM_MEMORY_IOVA + REFUSE_DMA_SRC, EDU_BUFFER, 0);
	if (!ret)
		ret = edu_dma_one(bar, EDU_BUFFER, VM_MEMORY_IOVA + REFUSE_DMA_DST,
				  EDU_DMA_TO_RAM);
	if (ret)
		return ret;
	return memcmp(src, dst, REFUSE_DMA_SIZE) ? -EIO : 0;
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_EDU_H */
