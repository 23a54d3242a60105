/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_STREAM_H
#define SELFTESTS_VFIO_LIVEUPDATE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#include <libvfio.h>

/* What a frame was sent for. */
enum stream_stage {
	STAGE_STREAM = 1,
	STAGE_SECOND = 2,	/* into the second memfd */
	STAGE_PROVOKED = 3,	/* must not reach memory */
};

/*
 * A memfd that a network card receives into: the ring, if it holds one, then
 * the buffers.
 */
struct stream_memory {
	int fd;
	void *vaddr;
	u64 size;
	u64 ring_bytes;
	u32 nr_buffers;
};

/* What has been received from one network card, over all of its memfds. */
struct stream {
	u32 nic;
	u32 run_id;
	enum stream_stage stage;
	__u64 last_seq;
	__u64 frames;		/* good ones */
	__u64 bad;
	__u64 gaps;		/* numbers left out; the sender may have, too */
};

int stream_memory_create(struct stream_memory *mem, u32 nic, u32 gen,
			 u32 run_id, u32 ring, u32 nr_buffers);
int stream_memory_adopt(struct stream_memory *mem, int fd, u32 ring,
			u32 nr_buffers);
void stream_memory_close(struct stream_memory *mem);

static inline void *stream_buffer(struct stream_memory *mem, u32 index)
{
	return mem->vaddr + mem->ring_bytes + (u64)index * IGB_RX_BUFFER_SIZE;
}

bool stream_check(struct stream *stream, const void *frame, u32 len);

#endif /* SELFTESTS_VFIO_LIVEUPDATE_STREAM_H */
