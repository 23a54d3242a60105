/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The frame the sender puts on the wire and the pattern the guest puts into
 * an empty buffer. The guest program checks the same two formats.
 *
 * Everything is little endian, as is every machine this runs on.
 */
#ifndef LIVEUPDATE_FRAME_H
#define LIVEUPDATE_FRAME_H

#include <stdint.h>
#include <string.h>

#define BUF_MAGIC	0x4c56554246303031ULL
#define QUEUE_MAGIC	0x4c56554251303031ULL
#define BUF_SIZE	2048u
#define FRAME_MAGIC	0x4c564652u
#define FRAME_ETHERTYPE	0x88b5u

#define MAX_NICS	32	/* streams: NICs, and NVMe drives alike */
#define MAX_GENS	4	/* memfds per NIC over a run, numbered from 1 */
#define GEN_SECOND	2	/* that is mapped, and unmapped, in the new kernel */
#define GEN_BULK	3	/* of memory that is mapped, but not for frames */
#define MAX_RING	32768u
#define VIRTIO_EVERY	10u	/* that part of the rate: its ring has 1024 entries */

/*
 * What the guest writes at the start of a buffer it hands to the device. A page
 * of the memfd that is no buffer, but one the device gets at all the same (a
 * ring, a queue, a list of addresses), starts with QUEUE_MAGIC, its index being
 * the number of the page in the memfd. "@ask scan", or a resume, makes the
 * watcher look for both: that has to be after mapping, and before the first
 * frame or the first use of the queue.
 */
struct buf_head {
	uint64_t magic;
	uint32_t nic;
	uint32_t gen;
	uint32_t index;
	uint32_t run_id;
} __attribute__((packed));

/* Sent for what: only the first two count for loss. */
enum stage {
	STAGE_STREAM = 1,
	STAGE_SECOND = 2,	/* into the second memfd */
	STAGE_PROVOKED = 3,	/* after the unmap: must not arrive */
};

struct frame_head {
	uint8_t dst[6];
	uint8_t src[6];
	uint16_t ethertype;	/* big endian */
	uint32_t magic;
	uint32_t run_id;
	uint32_t nic;
	uint32_t stage;
	uint64_t seq;
	uint64_t send_ns;
} __attribute__((packed));

/*
 * An NVMe drive streams by reading. Its image holds a frame in every BUF_SIZE
 * bytes (NVME_BLOCKS blocks of 512 bytes; zero after the frame), send_ns 0, so
 * what a read puts into a buffer is what a NIC would have put there. Frame SEQ
 * (from 1) of stream NIC is at block nvme_lba(NIC, SEQ) of the only namespace;
 * there is nothing before those of its own stream. So the block number alone
 * tells the drive and the frame, in QEMU's trace, too.
 *
 * The guest reads NVME_BLOCKS blocks a command, each frame once and in order. A
 * frame counts as sent, and as accepted, when QEMU takes the read from the
 * submission queue. It must be in the buffer, and its completion in the queue.
 * QEMU lets a number of reads a second happen, so those that have been queued
 * are in flight for as long as the jump takes.
 *
 * A device that puts a header of its own before the frame (virtio-net) gets a
 * descriptor of its own for that: the frame is at the start of the buffer.
 */
#define NVME_BLOCKS		(BUF_SIZE / 512)
#define NVME_FRAMES		32768u
#define NVME_FRAMES_SECOND	1024u	/* for the second memfd */
#define NVME_FRAMES_PROVOKED	1024u	/* after the unmap: the last ones */

static inline uint64_t nvme_lba(uint32_t nic, uint64_t seq)
{
	return ((uint64_t)nic * NVME_FRAMES + seq - 1) * NVME_BLOCKS;
}

/* What frame SEQ of a drive is there for. */
static inline enum stage nvme_stage(uint64_t seq)
{
	if (seq > NVME_FRAMES - NVME_FRAMES_PROVOKED)
		return STAGE_PROVOKED;
	if (seq > NVME_FRAMES - NVME_FRAMES_PROVOKED - NVME_FRAMES_SECOND)
		return STAGE_SECOND;
	return STAGE_STREAM;
}

#define FRAME_MIN	(sizeof(struct frame_head) + 14)
#define FRAME_MAX	1514u

/* Byte @i after the header of frame @seq. */
static inline uint8_t frame_byte(uint64_t seq, unsigned int i)
{
	return (uint8_t)(seq * 31 + i);
}

static inline void frame_build(uint8_t *buf, unsigned int len, uint32_t run_id,
			       uint32_t nic, uint32_t stage, uint64_t seq,
			       uint64_t now_ns)
{
	struct frame_head h = {
		.dst = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
		.src = { 0x02, 0, 0, 0, 0, (uint8_t)nic },
		.ethertype = __builtin_bswap16(FRAME_ETHERTYPE),
		.magic = FRAME_MAGIC,
		.run_id = run_id,
		.nic = nic,
		.stage = stage,
		.seq = seq,
		.send_ns = now_ns,
	};
	unsigned int i;

	memcpy(buf, &h, sizeof(h));
	for (i = 0; i < len - sizeof(h); i++)
		buf[sizeof(h) + i] = frame_byte(seq, i);
}

/* True if @buf holds a whole, correct frame of this run; its header in @h. */
static inline int frame_valid(const uint8_t *buf, unsigned int len,
			      uint32_t run_id, struct frame_head *h)
{
	unsigned int i;

	memcpy(h, buf, sizeof(*h));
	if (h->magic != FRAME_MAGIC || h->run_id != run_id ||
	    h->ethertype != __builtin_bswap16(FRAME_ETHERTYPE))
		return 0;
	for (i = 0; i < len - sizeof(*h); i++)
		if (buf[sizeof(*h) + i] != frame_byte(h->seq, i))
			return 0;
	return 1;
}

#endif /* LIVEUPDATE_FRAME_H */
