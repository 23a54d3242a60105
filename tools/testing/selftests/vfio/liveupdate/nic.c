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

/* Of a ring that is short, see a part only: the rest is for the way over. */
u32 nic_few(struct nic *nic, u32 count)
{
	return min(count, nic->ring / 8);
}

/*
 * A drive is asked for frames: those of its NIC, as it were, come after those of
 * the ones before, and of these some at the end are for each later stage.
 */
static __u64 nic_first_frame(struct nic *nic)
{
	switch (nic->stream.stage) {
	case STAGE_SECOND:
		return NVME_FRAMES - NVME_FRAMES_PROVOKED - NVME_FRAMES_SECOND;
	case STAGE_PROVOKED:
		return NVME_FRAMES - NVME_FRAMES_PROVOKED;
	default:
		return 0;
	}
}

/* Ask for those of the current stage, after  reads for others. */
void nic_ask(struct nic *nic, u64 done)
{
	__u64 first = nic_first_frame(nic);

	if (!nic->ops->asked)
		return;

	nic->rx.few = FRAMES_FEW;
	nic->rx.first = nic->id * NVME_FRAMES + first - done;
	stream_ask(&nic->stream, first, nic->rx.size, nic->state.frames);
}

/* The queue as it is at the start, and as the old kernel leaves it. */
void nic_queue_init(struct nic *nic)
{
	nic->buffers = &nic->first;
	nic->rx = (struct rx){
		.ops = nic->ops,
		.device = nic->device,
		.ring = nic->first.vaddr,
		.ring_iova = nic->iova,
		.buffers = nic->iova + nic->first.ring_bytes,
		.irq = vmm.irq,
		.size = nic->ring,
	};
	nic_ask(nic, 0);
}

/* Take in whatever has arrived. Returns the number of frames, bad or not. */
u32 nic_take(struct nic *nic)
{
	u32 count = 0, len;
	int i;

	if (!nic_irq_take(nic))
		return 0;

	while ((i = nic->ops->poll(&nic->rx, &len)) >= 0) {
		stream_check(&nic->stream, i,
			     stream_buffer(nic->buffers, i), len);
		count++;
	}

	return count;
}

/*
 * Take in what has arrived anywhere: no NIC may starve while another is waited
 * for. The buffers are given back on the way, but not by a kernel that is about
 * to be replaced: so all of them can be looked at once more in the next one.
 *
 * Returns the number of frames on @nic.
 */
static u32 nics_take(struct nic *nic)
{
	u32 count = 0, taken;
	struct nic *cur = NULL;

	while (nic_next(&cur)) {
		if (!cur->running)
			continue;

		taken = nic_take(cur);
		if (cur == nic)
			count = taken;
		if (cur->stream.bad)
			control_fail(0, "NIC %u: bad frame after frame %llu",
				     cur->id, cur->stream.last_seq);
		if (vmm.refill && !cur->paused)
			cur->ops->refill(&cur->rx);
	}

	usleep(1000);
	return count;
}

void nic_receive_up_to(struct nic *nic, __u64 goal)
{
	long long last = now_ms();

	while (nic->stream.frames < goal) {
		if (nics_take(nic))
			last = now_ms();
		if (now_ms() - last > SILENCE_MS)
			control_fail(0, "NIC %u: no frame for %d ms, %llu to go",
				     nic->id, SILENCE_MS,
				     goal - nic->stream.frames);
	}
}

/* Receive @count good frames. */
void nic_receive(struct nic *nic, u32 count)
{
	nic_receive_up_to(nic, nic->stream.frames + count);
}

/* Receive @count good frames on each, all at the same time. */
void nics_receive(struct vmm_session *session, u32 count)
{
	__u64 goal[MAX_NICS];
	struct nic *nic = NULL;

	while (session_nic_next(session, &nic))
		goal[nic->id] = nic->stream.frames + nic_few(nic, count);
	while (session_nic_next(session, &nic))
		nic_receive_up_to(nic, goal[nic->id]);
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

	nic->paused = true;
	control_pause(nic->id);
	if (nic->ops->asked) {
		accepted = nic->asked + nic->ops->asked(&nic->rx);
		known = true;
	} else {
		known = control_sent(nic->id, &seq, &accepted);
	}

	control_step("drain NIC %u", nic->id);
	last = now_ms();
	while (now_ms() - last < DRAIN_MS &&
	       !(known && nic->stream.frames >= accepted)) {
		if (nics_take(nic))
			last = now_ms();
	}

	if (known && nic->stream.frames != accepted)
		control_fail(0, "%llu frames accepted, %llu received",
			     accepted, nic->stream.frames);
	if (nic->ops->asked)
		nic->asked = accepted;
}

/* Have the sender go on, for another stage of the test. */
void nic_go_on(struct nic *nic, enum stream_stage stage)
{
	nic->paused = false;
	control_resume(nic->id, stage);
}

static void nic_second_place(struct nic *nic)
{
	nic->second_region = (struct dma_region){
		.vaddr = nic->second.vaddr,
		.iova = nic->iova + SECOND_IOVA,
		.size = nic->second.size,
	};
	INIT_LIST_HEAD(&nic->second_region.link);
}

/* Memory to map and to unmap, next to what is mapped all the time. */
void nic_second_create(struct nic *nic)
{
	must(stream_memory_create(&nic->second, nic->id, 2, vmm.run_id,
				  nic->ops->headroom, SECOND_BUFFERS),
	     "create second memory of NIC %u", nic->id);
	nic_second_place(nic);
}

/* The same, where the kernel before has mapped it. */
void nic_second_adopt(struct nic *nic, int fd)
{
	must(stream_memory_adopt(&nic->second, fd, nic->ops->headroom,
				 SECOND_BUFFERS),
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

/* Try to bind the device to another iommufd. */
int nic_bind_new(struct nic *nic)
{
	struct iommu *iommu = iommu_init(MODE_IOMMUFD);
	struct vfio_pci_device *device = vfio_pci_device_alloc(nic->bdf, iommu);
	u32 dev_id;
	int ret;

	vfio_pci_cdev_open(device, nic->bdf);
	ret = __vfio_device_bind_iommufd_id(device->fd, iommu->iommufd, &dev_id);
	close(device->fd);
	vfio_pci_device_free(device);
	iommu_cleanup(iommu);

	return ret;
}
