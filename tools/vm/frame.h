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
#define BUF_SIZE	2048u
#define FRAME_MAGIC	0x4c564652u
#define FRAME_ETHERTYPE	0x88b5u

#define MAX_NICS	2
#define MAX_GENS	4	/* memfds per NIC over a run, numbered from 1 */
#define MAX_RING	32768u

/* What the guest writes at the start of a buffer it hands to the NIC. */
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
