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
	__u64 cut;		/* of these since the last good one: nothing was written */
	__u64 gaps;		/* numbers left out; the sender may have, too */

	/* Of a drive, see stream_ask(). */
	__u64 *seen;		/* last number by buffer */
	__u64 first;
	u32 size;
	bool taken_over;
};

int stream_memory_create(struct stream_memory *mem, u32 nic, u32 gen,
			 u32 run_id, u64 ring_bytes, u32 nr_buffers);
int stream_memory_adopt(struct stream_memory *mem, int fd, u64 ring_bytes,
			u32 nr_buffers);
u32 stream_memory_check_marks(struct stream_memory *mem, u32 nic, u32 gen,
			      u32 run_id);
void stream_memory_close(struct stream_memory *mem);

static inline void *stream_buffer(struct stream_memory *mem, u32 index)
{
	return mem->vaddr + mem->ring_bytes + (u64)index * RX_BUFFER_SIZE;
}

bool stream_check(struct stream *stream, u32 index, const void *frame, u32 len);
void stream_ask(struct stream *stream, __u64 first, u32 size, bool taken_over);

#endif /* SELFTESTS_VFIO_LIVEUPDATE_STREAM_H */
