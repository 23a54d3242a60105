// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done with a network card in either kernel: receive, account for what
 * was sent, look at its command register.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <linux/kernel.h>
#include <linux/sizes.h>

#include <libliveupdate.h>

#include "vmm.h"

#define SILENCE_MS	10000
#define DRAIN_MS	2000

long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

void liveupdate_open(void)
{
	if (vmm.luo >= 0)
		return;

	control_step("open %s", LUO_DEVICE);
	vmm.luo = luo_open_device();
	if (vmm.luo < 0)
		control_fail(-errno, "failed");
}

/* The queue as it is at the start, and as the old kernel leaves it. */
void nic_queue_init(struct nic *nic)
{
	nic->buffers = &nic->first;
	nic->rx = (struct igb_rx){
		.device = nic->device,
		.ring = nic->first.vaddr,
		.ring_iova = vmm.iova,
		.buffers = vmm.iova + nic->first.ring_bytes,
		.size = nic->ring,
	};
}

/* Take in whatever has arrived. Returns the number of frames, bad or not. */
u32 nic_take(struct nic *nic)
{
	u32 count = 0, len;
	int i;

	while ((i = igb_rx_poll(&nic->rx, &len)) >= 0) {
		stream_check(&nic->stream, stream_buffer(nic->buffers, i), len);
		count++;
	}

	return count;
}

/*
 * Receive @count good frames. The buffers are given back on the way, but not by
 * a kernel that is about to be replaced: so all of them can be looked at once
 * more in the next one.
 */
void nic_receive(struct nic *nic, u32 count)
{
	__u64 goal = nic->stream.frames + count;
	long long last = now_ms();

	while (nic->stream.frames < goal) {
		if (nic_take(nic))
			last = now_ms();
		if (nic->stream.bad)
			control_fail(0, "NIC %u: bad frame after frame %llu",
				     nic->id, nic->stream.last_seq);
		if (now_ms() - last > SILENCE_MS)
			control_fail(0, "NIC %u: no frame for %d ms, %llu of %u to go",
				     nic->id, SILENCE_MS,
				     goal - nic->stream.frames, count);
		if (vmm.refill)
			igb_rx_refill(&nic->rx);
		usleep(1000);
	}
}

/*
 * Have the sender pause and take in what is still under way: the card must have
 * written to memory all that it accepted, from the first frame on.
 */
void nic_drain(struct nic *nic)
{
	__u64 seq, accepted;
	long long last;
	bool known;

	control_pause(nic->id);
	known = control_sent(nic->id, &seq, &accepted);

	control_step("drain NIC %u", nic->id);
	last = now_ms();
	while (now_ms() - last < DRAIN_MS &&
	       !(known && nic->stream.frames >= accepted)) {
		if (nic_take(nic))
			last = now_ms();
		if (vmm.refill)
			igb_rx_refill(&nic->rx);
		usleep(1000);
	}

	if (nic->stream.bad)
		control_fail(0, "%llu bad frames", nic->stream.bad);
	if (known && nic->stream.frames != accepted)
		control_fail(0, "%llu frames accepted, %llu received",
			     accepted, nic->stream.frames);
}

static void nic_second_place(struct nic *nic)
{
	nic->second_region = (struct dma_region){
		.vaddr = nic->second.vaddr,
		.iova = vmm.iova + SECOND_IOVA,
		.size = nic->second.size,
	};
	INIT_LIST_HEAD(&nic->second_region.link);
}

/* Memory to map and to unmap, next to what is mapped all the time. */
void nic_second_create(struct nic *nic)
{
	must(stream_memory_create(&nic->second, nic->id, 2, vmm.run_id, 0,
				  SECOND_BUFFERS),
	     "create second memory of NIC %u", nic->id);
	nic_second_place(nic);
}

/* The same, where the kernel before has mapped it. */
void nic_second_adopt(struct nic *nic, int fd)
{
	must(stream_memory_adopt(&nic->second, fd, 0, SECOND_BUFFERS),
	     "map retrieved second memfd of NIC %u", nic->id);
	nic_second_place(nic);
}

/* The config space as sysfs shows it: no need for the device to be open. */
static int config_open(struct nic *nic)
{
	char path[64];
	int fd;

	control_step("access config space of NIC %u", nic->id);
	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/config",
			nic->bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		control_fail(-errno, "open failed");
	return fd;
}

u16 nic_command_read(struct nic *nic)
{
	int fd = config_open(nic);
	__le16 command;

	if (pread(fd, &command, 2, PCI_COMMAND) != 2)
		control_fail(-errno, "read failed");
	close(fd);
	return le16_to_cpu(command);
}

void nic_command_write(struct nic *nic, u16 value)
{
	__le16 command = cpu_to_le16(value);
	int fd = config_open(nic);

	if (pwrite(fd, &command, 2, PCI_COMMAND) != 2)
		control_fail(-errno, "write failed");
	close(fd);
}
