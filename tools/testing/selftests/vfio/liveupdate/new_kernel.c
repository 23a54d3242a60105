// SPDX-License-Identifier: GPL-2.0-only
/*
 * After the live update: get everything back, look at what arrived in between,
 * go on, and show that what came back can be used like anything else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kernel.h>
#include <linux/sizes.h>

#include <libliveupdate.h>

#include "uapi.h"
#include "vmm.h"

#define FRAMES_SECOND	500
#define FRAMES_PROVOKED	32

/* The harness counts per source file: all of it is here. */
void test_plan(unsigned int count)
{
	ksft_set_plan(count);
}

void test_pass(const char *what)
{
	ksft_test_result_pass("%s\n", what);
}

void session_retrieve(void)
{
	liveupdate_open();
	vmm.session = must(luo_retrieve_session(vmm.luo, SESSION),
			   "retrieve session");
}

void session_finish(void)
{
	control_mark("finish-begin");
	must(luo_session_finish(vmm.session), "finish session");
	control_mark("finish-end");
	ksft_test_result_pass("the session can be finished\n");
}

void session_close(void)
{
	close(vmm.session);
	close(vmm.luo);
	vmm.luo = -1;
}

int retrieve_fd(const char *what, struct nic *nic, u64 token)
{
	return must(luo_session_retrieve_fd(vmm.session, token),
		    "take %s of NIC %u back", what, nic->id);
}

static void nic_retrieve_memory(struct nic *nic)
{
	int fd = retrieve_fd("memfd", nic, TOKEN_MEMFD(nic->id));

	must(stream_memory_adopt(&nic->first, fd, nic->ring, nic->ring),
	     "map retrieved memfd of NIC %u", nic->id);
}

/* Get everything back. The device is receiving all the while. */
void nic_retrieve(struct nic *nic)
{
	int iommufd, cdev;
	u32 ioas_id;

	control_mark("retrieve-begin");
	session_retrieve();
	nic_retrieve_memory(nic);
	iommufd = retrieve_fd("iommufd", nic, TOKEN_IOMMUFD(nic->id));
	cdev = retrieve_fd("cdev", nic, TOKEN_CDEV(nic->id));
	control_mark("retrieve-end");

	must(__vfio_device_bind_iommufd_id(cdev, iommufd, &nic->dev_id),
	     "bind retrieved NIC %u", nic->id);
	control_mark("bind-end");

	must(hwpt_restore(iommufd, TOKEN_HWPT(nic->id), &nic->hwpt_id, &ioas_id),
	     "restore HWPT of NIC %u", nic->id);
	control_mark("restore-end");

	must(__vfio_device_attach_iommufd_pt(cdev, nic->hwpt_id),
	     "attach retrieved NIC %u", nic->id);
	control_mark("attached");

	nic->iommu = iommu_init_fd(iommufd, ioas_id);
	nic->device = vfio_pci_device_alloc(nic->bdf, nic->iommu);
	nic->device->fd = cdev;
	control_step("set up retrieved NIC %u", nic->id);
	vfio_pci_device_setup(nic->device);
	if (!igb_rx_match(nic->device))
		control_fail(-ENODEV, "%s is not an 82576", nic->bdf);
}

/*
 * Look at everything received since the queue was started, and go on: give the
 * descriptors back, and receive @count frames more.
 */
void nic_resume(struct nic *nic, u32 count)
{
	control_step("check memory of NIC %u", nic->id);
	nic_queue_init(nic);
	nic->rx.next = nic->state.next;
	nic->rx.clean = nic->state.next;
	nic->stream.frames = nic->state.frames;
	nic->stream.last_seq = nic->state.last_seq;
	nic_take(nic);
	control_mark("checked frames=%llu bad=%llu", nic->stream.frames,
		     nic->stream.bad);
	if (nic->stream.bad ||
	    nic->stream.frames < nic->state.frames + FRAMES_BEFORE)
		control_fail(0, "%llu good frames, %llu bad, the old kernel saw %llu and more",
			     nic->stream.frames, nic->stream.bad,
			     nic->state.frames + FRAMES_BEFORE);
	ksft_test_result_pass("every frame is in memory\n");

	control_info("given_back=%u", igb_rx_refill(&nic->rx));
	control_mark("refilled");

	control_step("receive in the new kernel");
	nic_receive(nic, count);
	control_mark("resumed frames=%u", count);
	ksft_test_result_pass("receiving goes on\n");
}

/* Mappings can be added: memory the old kernel never saw. */
void nic_second_map(struct nic *nic)
{
	struct dma_region *region = &nic->second_region;
	int ret;

	nic_second_create(nic);

	/* The IOAS knows what is mapped in it already. */
	control_step("map second memory over the first");
	region->iova -= SECOND_IOVA;
	ret = __iommu_map_file(nic->iommu, region, nic->second.fd, 0);
	if (ret != -EEXIST)
		control_fail(ret, "should have been refused as in use");
	region->iova += SECOND_IOVA;

	must(__iommu_map_file(nic->iommu, region, nic->second.fd, 0),
	     "map second memory");
	control_mark("second-mapped");
}

static void nic_receive_second(struct nic *nic)
{
	nic_drain(nic);
	must(igb_rx_stop(&nic->rx), "stop receiving");

	if (!nic->second.size)
		nic_second_map(nic);

	nic->rx.buffers = nic->second_region.iova;
	nic->rx.size = SECOND_BUFFERS;
	nic->buffers = &nic->second;
	nic->stream.stage = STAGE_SECOND;
	must(igb_rx_start(&nic->rx), "start receiving into second memory");
	control_resume(nic->id, STAGE_SECOND);

	control_step("receive into second memory");
	nic_receive(nic, FRAMES_SECOND);
	nic_drain(nic);
	control_mark("second-received frames=%u", FRAMES_SECOND);
	ksft_test_result_pass("a second memfd can be mapped and received into\n");
}

/* Mappings can be taken away: the device is left pointing at one that is gone. */
static void nic_provoke(struct nic *nic)
{
	void *before = malloc_assert(nic->second.size);
	u32 len, done = 0;
	long long start;

	must(__iommu_unmap(nic->iommu, &nic->second_region, NULL),
	     "unmap second memory");
	control_mark("unmapped");

	memcpy(before, nic->second.vaddr, nic->second.size);
	control_resume(nic->id, STAGE_PROVOKED);

	/* The device does not notice, and reports what it could not write. */
	start = now_ms();
	while (done < FRAMES_PROVOKED && now_ms() - start < 5000) {
		while (igb_rx_poll(&nic->rx, &len) >= 0)
			done++;
		usleep(1000);
	}
	control_pause(nic->id);

	control_step("receive into unmapped memory");
	if (memcmp(before, nic->second.vaddr, nic->second.size))
		control_fail(0, "memory was written to after the unmap");
	if (!done)
		control_fail(0, "the device did not even try");
	free(before);
	control_mark("blocked frames=%u", done);
	ksft_test_result_pass("unmapped memory is out of reach\n");
}

/* What the old kernel mapped can be unmapped like anything else. */
static void nic_unmap_first(struct nic *nic)
{
	struct dma_region region = {
		.iova = vmm.iova,
		.size = nic->first.size,
	};
	u64 unmapped = 0;

	must(igb_rx_stop(&nic->rx), "stop receiving");

	INIT_LIST_HEAD(&region.link);
	must(__iommu_unmap(nic->iommu, &region, &unmapped),
	     "unmap memory of NIC %u", nic->id);
	if (unmapped != region.size)
		control_fail(0, "%#lx of %#lx bytes unmapped", unmapped,
			     region.size);
}

/* What the allocator has to give, with the lists of each CPU. */
u64 mem_free(void)
{
	unsigned long pages = 0, n;
	char line[128];
	FILE *f;

	control_step("read /proc/zoneinfo");
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		control_fail(-errno, "failed");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " pages free %lu", &n) == 1 ||
		    sscanf(line, " count: %lu", &n) == 1)
			pages += n;
	}
	fclose(f);

	return (u64)pages * getpagesize();
}

/*
 * With the last of its files the device goes quiet, and the memory it was
 * writing to becomes free: nothing may hold on to it once nobody can write.
 */
void nic_close(struct nic *nic)
{
	u16 before = nic_command_read(nic), after;
	u64 free_before = mem_free(), enough = nic->first.size * 15 / 16;
	long long start;
	s64 freed;

	vfio_pci_device_cleanup(nic->device);
	iommu_cleanup(nic->iommu);
	stream_memory_close(&nic->first);

	after = nic_command_read(nic);

	start = now_ms();
	do {
		usleep(10000);
		freed = mem_free() - free_before;
	} while (freed < (s64)enough && now_ms() - start < 2000);
	control_info("freed_kib=%ld", freed / 1024);

	control_step("close NIC %u", nic->id);
	if (!(before & PCI_COMMAND_MASTER) || (after & PCI_COMMAND_MASTER))
		control_fail(0, "command register %#x before, %#x after",
			     before, after);
	if (freed < (s64)enough)
		control_fail(0, "only %ld of %lu KiB became free", freed / 1024,
			     nic->first.size / 1024);
}

/* What comes back has to be good for everything: memory is added and taken away. */
void nic_end_main(struct nic *nic)
{
	nic_receive_second(nic);
	session_finish();
	nic_provoke(nic);
	nic_unmap_first(nic);

	nic_close(nic);
	stream_memory_close(&nic->second);
	session_close();
	control_mark("closed");
	ksft_test_result_pass("a closed device does no more DMA\n");
}

static void new_kernel_main(struct nic *nic)
{
	ksft_set_plan(6);

	nic_retrieve(nic);
	nic_resume(nic, FRAMES_AFTER);
	nic_end_main(nic);
}

static void new_kernel_unpreserved(struct nic *nic, struct nic *other)
{
	u16 command = nic_command_read(other);

	ksft_set_plan(4);

	/* Nobody has touched the card: its queue still runs, if it may. */
	control_info("nic1_command=%#x", command);
	nic_command_write(other, command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	control_mark("bm-on nic=1");
	usleep(500000);
	control_info("nic1_command_after=%#x", nic_command_read(other));

	nic_retrieve(nic);
	nic_resume(nic, FRAMES_SECOND);

	/* The judge knows what may be in here, and when it came. */
	nic_retrieve_memory(other);
	nic_queue_init(other);
	nic_take(other);
	control_info("nic1_frames=%llu", other->stream.frames);
	control_info("nic1_bad=%llu", other->stream.bad);

	nic_command_write(other, command);
	session_finish();
	nic_close(nic);
	stream_memory_close(&other->first);
	session_close();
	control_mark("closed");
	ksft_test_result_pass("a closed device does no more DMA\n");
}

/* Only the memory is there. */
static void new_kernel_base(struct nic *nic)
{
	__u64 frames;
	u16 command;

	ksft_set_plan(3);

	control_mark("retrieve-begin");
	session_retrieve();
	nic_retrieve_memory(nic);
	control_mark("retrieve-end");

	command = nic_command_read(nic);
	control_info("command=%#x", command);
	control_info("bus_master=%d", !!(command & PCI_COMMAND_MASTER));

	control_step("check memory of NIC %u", nic->id);
	nic_queue_init(nic);
	nic_take(nic);
	frames = nic->stream.frames;
	if (nic->stream.bad || frames < FRAMES_BEFORE)
		control_fail(0, "%llu good frames, %llu bad", frames,
			     nic->stream.bad);
	ksft_test_result_pass("what was received before is in memory\n");

	/* The device, if it did anything, would carry on in this ring. */
	sleep(1);
	nic_take(nic);
	control_info("arrived_after=%llu", nic->stream.frames - frames);
	control_mark("checked frames=%llu bad=%llu", nic->stream.frames,
		     nic->stream.bad);
	if (nic->stream.frames != frames)
		control_fail(0, "the device still receives");
	ksft_test_result_pass("nothing is received any more\n");

	session_finish();
	stream_memory_close(&nic->first);
	session_close();
	control_mark("closed");
}

void new_kernel(void)
{
	vmm.refill = true;

	switch (vmm.scenario) {
	case CASE_MAIN:
		new_kernel_main(&vmm.nics[0]);
		break;
	case CASE_UNPRESERVED:
		new_kernel_unpreserved(&vmm.nics[0], &vmm.nics[1]);
		break;
	case CASE_TWICE:
		new_kernel_twice(&vmm.nics[0]);
		break;
	case CASE_DISCARD:
		new_kernel_discard(&vmm.nics[0]);
		break;
	case CASE_BASE:
	case CASE_ABORTED:
		new_kernel_base(&vmm.nics[0]);
		break;
	}

	control_mark("done");
	control_done();
	ksft_finished();
}
