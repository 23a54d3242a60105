// SPDX-License-Identifier: GPL-2.0-only
/*
 * The frames, and the memory they are received into.
 *
 * Every frame carries a number and a payload computed from it, so that one look
 * at a buffer tells whether all of the frame is there. Numbers go up by one;
 * each must turn up once and in order. Buffers that nothing was received into
 * yet carry a mark, so that an observer who sees no more than the physical
 * memory of the machine can find them, and watch them without any help from the
 * CPUs of that machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <linux/align.h>
#include <linux/kernel.h>
#include <linux/sizes.h>

#include "kselftest.h"
#include "stream.h"

#define BUFFER_MAGIC	0x4c56554246303031ULL
#define QUEUE_MAGIC	0x4c56554251303031ULL
#define FRAME_MAGIC	0x4c564652
#define FRAME_ETHERTYPE	0x88b5
#define FRAME_MIN	14	/* payload */

/* All little endian but for the type. */
struct stream_buffer_mark {
	__le64 magic;
	__le32 nic;
	__le32 gen;
	__le32 index;
	__le32 run_id;
} __packed;

struct stream_frame {
	u8 dst[6];
	u8 src[6];
	__be16 ethertype;
	__le32 magic;
	__le32 run_id;
	__le32 nic;
	__le32 stage;
	__le64 seq;
	__le64 send_ns;
	u8 payload[];
} __packed;

static void memory_layout(struct stream_memory *mem, u64 ring_bytes,
			  u32 nr_buffers)
{
	mem->ring_bytes = ALIGN(ring_bytes, SZ_4K);
	mem->nr_buffers = nr_buffers;
	mem->size = mem->ring_bytes + (u64)nr_buffers * RX_BUFFER_SIZE;
}

static int memory_map(struct stream_memory *mem)
{
	mem->vaddr = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  mem->fd, 0);
	return mem->vaddr == MAP_FAILED ? -errno : 0;
}

/**
 * stream_memory_create() - Make a memfd of fixed size to receive into.
 * @mem: filled in
 * @nic: which network card it is for
 * @gen: which memfd of that network card this is, from 1
 * @run_id: tells this run's memory from what an earlier one left in RAM
 * @ring_bytes: what the queue needs at its start, may be 0
 * @nr_buffers: number of buffers after these
 *
 * Return: 0 or a negative error code.
 */
int stream_memory_create(struct stream_memory *mem, u32 nic, u32 gen,
			 u32 run_id, u64 ring_bytes, u32 nr_buffers)
{
	struct stream_buffer_mark mark = {
		.nic = cpu_to_le32(nic),
		.gen = cpu_to_le32(gen),
		.run_id = cpu_to_le32(run_id),
	};
	int ret;
	u32 i;

	memory_layout(mem, ring_bytes, nr_buffers);

	mem->fd = memfd_create("rx", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (mem->fd < 0)
		return -errno;

	if (ftruncate(mem->fd, mem->size) ||
	    fcntl(mem->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		ret = -errno;
		goto err_close;
	}

	ret = memory_map(mem);
	if (ret)
		goto err_close;

	/* What is no buffer is marked by page, for what the device does not. */
	mark.magic = cpu_to_le64(QUEUE_MAGIC);
	for (i = 0; i < mem->ring_bytes / SZ_4K; i++) {
		mark.index = cpu_to_le32(i);
		memcpy(mem->vaddr + (u64)i * SZ_4K, &mark, sizeof(mark));
	}

	mark.magic = cpu_to_le64(BUFFER_MAGIC);
	for (i = 0; i < nr_buffers; i++) {
		mark.index = cpu_to_le32(i);
		memcpy(stream_buffer(mem, i), &mark, sizeof(mark));
	}

	return 0;

err_close:
	close(mem->fd);
	return ret;
}

/**
 * stream_memory_adopt() - Map a memfd that came through a live update.
 * @mem: filled in; takes over @fd
 * @fd: the memfd
 * @ring_bytes: as given to stream_memory_create()
 * @nr_buffers: as given to stream_memory_create()
 *
 * Return: 0, -ESTALE if the memfd is not of the size that these make, or
 * another negative error code.
 */
int stream_memory_adopt(struct stream_memory *mem, int fd, u64 ring_bytes,
			u32 nr_buffers)
{
	struct stat st;

	memory_layout(mem, ring_bytes, nr_buffers);
	mem->fd = fd;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_size != mem->size)
		return -ESTALE;

	return memory_map(mem);
}

void stream_memory_close(struct stream_memory *mem)
{
	munmap(mem->vaddr, mem->size);
	close(mem->fd);
}

/* A drive has whole blocks, with nothing after the frame. */
static bool padding(const struct stream_frame *frame, u32 i, u32 len)
{
	if (i < FRAME_MIN)
		return false;
	for (; i < len - sizeof(*frame); i++) {
		if (frame->payload[i])
			return false;
	}
	return true;
}

/*
 * What comes in any order is what has been asked for: numbers in turn, buffer by
 * buffer. What a kernel before has seen is not known.
 */
static __u64 expected(struct stream *stream, u32 index, __u64 seq)
{
	if (stream->seen[index])
		return stream->seen[index] + stream->size;
	if (stream->taken_over && seq > stream->first &&
	    (seq - stream->first - 1) % stream->size == index)
		return seq;
	return stream->first + index + 1;
}

static const char *frame_fault(struct stream *stream, u32 index,
			       const struct stream_frame *frame, u32 len)
{
	__u64 seq = le64_to_cpu(frame->seq);
	u32 i;

	if (len <= sizeof(*frame) || len > RX_BUFFER_SIZE)
		return "length";
	if (frame->ethertype != cpu_to_be16(FRAME_ETHERTYPE) ||
	    le32_to_cpu(frame->magic) != FRAME_MAGIC)
		return "no frame";
	if (le32_to_cpu(frame->run_id) != stream->run_id)
		return "frame of another run";
	if (le32_to_cpu(frame->nic) != stream->nic)
		return "frame for another NIC";
	if (le32_to_cpu(frame->stage) != stream->stage)
		return "frame of another stage";

	for (i = 0; i < len - sizeof(*frame); i++) {
		if (frame->payload[i] != (u8)(seq * 31 + i))
			break;
	}
	if (i < len - sizeof(*frame) && !(stream->seen && padding(frame, i, len)))
		return "payload";

	if (stream->seen ? seq != expected(stream, index, seq) :
	    seq <= stream->last_seq)
		return "seen before or out of order";

	return NULL;
}

/* Nothing was ever received into the buffer: it still has its mark. */
static bool untouched(const struct stream *stream, u32 index, const void *buffer)
{
	const struct stream_buffer_mark *mark = buffer;

	return le64_to_cpu(mark->magic) == BUFFER_MAGIC &&
	       le32_to_cpu(mark->nic) == stream->nic &&
	       le32_to_cpu(mark->index) == index &&
	       le32_to_cpu(mark->run_id) == stream->run_id;
}

/**
 * stream_check() - Look at what should be the next frame.
 * @stream: what there was up to now; updated
 * @index: number of the buffer
 * @frame: start of the buffer
 * @len: length the device reported, in bytes
 *
 * Return: true if the frame is a good one.
 */
bool stream_check(struct stream *stream, u32 index, const void *frame, u32 len)
{
	const struct stream_frame *f = frame;
	const char *fault = frame_fault(stream, index, f, len);
	__u64 seq = le64_to_cpu(f->seq);

	if (fault) {
		stream->cut += untouched(stream, index, frame);
		if (stream->bad++ < 5)
			ksft_print_msg("NIC %u: bad frame after %llu: %s (%u bytes, number %llu)\n",
				       stream->nic, stream->last_seq, fault, len, seq);
		return false;
	}

	stream->cut = 0;
	stream->frames++;
	if (stream->seen) {
		stream->seen[index] = seq;
		return true;
	}

	stream->gaps += seq - stream->last_seq - 1;
	stream->last_seq = seq;
	return true;
}

/**
 * stream_ask() - From now on frames come as asked for, maybe in another order.
 * @stream: what there was up to now
 * @first: how many frames are passed over
 * @size: number of buffers, which are used in turn
 * @taken_over: whether somebody else has been given frames before
 */
void stream_ask(struct stream *stream, __u64 first, u32 size, bool taken_over)
{
	free(stream->seen);
	stream->seen = calloc_assert(size, sizeof(*stream->seen));
	stream->first = first;
	stream->size = size;
	stream->taken_over = taken_over;
}

/**
 * stream_memory_check_marks() - See if what is no buffer is as it was created.
 * @mem: memory that no device has been writing to
 * @nic: as given to stream_memory_create()
 * @gen: as given to stream_memory_create()
 * @run_id: as given to stream_memory_create()
 *
 * Return: number of the first page that is not, or of pages.
 */
u32 stream_memory_check_marks(struct stream_memory *mem, u32 nic, u32 gen,
			      u32 run_id)
{
	const struct stream_buffer_mark *mark;
	u32 i;

	for (i = 0; i < mem->ring_bytes / SZ_4K; i++) {
		mark = mem->vaddr + (u64)i * SZ_4K;
		if (le64_to_cpu(mark->magic) != QUEUE_MAGIC ||
		    le32_to_cpu(mark->nic) != nic ||
		    le32_to_cpu(mark->gen) != gen ||
		    le32_to_cpu(mark->index) != i ||
		    le32_to_cpu(mark->run_id) != run_id)
			break;
	}

	return i;
}
