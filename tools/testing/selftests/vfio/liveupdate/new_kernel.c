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

void session_retrieve(struct vmm_session *session)
{
	liveupdate_open();
	session->fd = must(luo_retrieve_session(vmm.luo, session->name),
			   "retrieve session");
}

/* A mapping was lost: whoever finishes the session has to learn it, once. */
static void session_finish_lost(struct vmm_session *session)
{
	int ret;

	control_step("finish session that has lost a mapping");
	ret = luo_session_finish(session->fd);
	if (ret != -EIO)
		control_fail(ret, "should have failed with -EIO");
}

void session_finish(struct vmm_session *session)
{
	control_mark("finish-begin");
	if (vmm.lost)
		session_finish_lost(session);
	must(luo_session_finish(session->fd), "finish session");
	control_mark("finish-end");
	ksft_test_result_pass("the session can be finished\n");
}

void session_close(struct vmm_session *session)
{
	close(session->fd);
	close(vmm.luo);
	vmm.luo = -1;
}

int retrieve_fd(const char *what, struct nic *nic, u64 token)
{
	return must(luo_session_retrieve_fd(nic->session->fd, token),
		    "take %s of NIC %u back", what, nic->id);
}

static void nic_retrieve_memory(struct nic *nic)
{
	int fd;

	limits_set();
	fd = retrieve_fd("memfd", nic, TOKEN_MEMFD(nic));
	limits_lift();
	must(stream_memory_adopt(&nic->first, fd,
				 nic->ops->ring_bytes(nic->ring), nic->ring),
	     "map retrieved memfd of NIC %u", nic->id);
}

static int cdevs[MAX_NICS];

/* Allocations: two objects of iommufd, the saved state, config space twice; not BARs */
#define BIND_NEEDS	5

static int nic_call_bind(struct nic *nic)
{
	return __vfio_device_bind_iommufd_id(cdevs[nic->id], nic->iommu->iommufd,
					     &nic->dev_id);
}

static int nic_call_restore(struct nic *nic)
{
	return hwpt_restore(nic->iommu->iommufd, TOKEN_HWPT(nic), &nic->hwpt_id,
			    &nic->ioas_id);
}

static int nic_call_attach(struct nic *nic)
{
	return __vfio_device_attach_iommufd_pt(cdevs[nic->id], nic->hwpt_id);
}

/* Page tables are restored once all of their devices are bound. */
static void nic_restore(struct nic *nic)
{
	if (nic->hwpt_of != nic) {
		nic->hwpt_id = nic->hwpt_of->hwpt_id;
		nic->ioas_id = nic->hwpt_of->ioas_id;
		return;
	}

	call_with_faults("restore HWPT", nic, nic_call_restore, 0);
	if (nic->ioas_of->ioas_id != nic->ioas_id)
		control_fail(0, "not in the IOAS of NIC %u", nic->ioas_of->id);
	if (nic->ioas_of == nic && nic->iommufd_of != nic &&
	    nic->iommufd_of->ioas_id == nic->ioas_id)
		control_fail(0, "in the IOAS of NIC %u", nic->iommufd_of->id);
}

/* The device is attached: use it as any other. */
void nic_set_up(struct nic *nic, int cdev)
{
	nic->device = vfio_pci_device_alloc(nic->bdf, nic->iommu);
	nic->device->fd = cdev;
	control_step("set up retrieved NIC %u", nic->id);
	vfio_pci_device_setup(nic->device);
	nic_irq_setup(nic);
}

/* Get everything back. The devices are receiving all the while. */
void nics_retrieve(struct vmm_session *session)
{
	struct nic *nic = NULL;
	int iommufd = -1;

	control_mark("retrieve-begin");
	strangers_come(session);
	session_retrieve(session);
	while (session_nic_next(session, &nic))
		nic_retrieve_memory(nic);
	if (session->first == vmm.nics)
		bulk_retrieve(vmm.nics);
	while (session_nic_next(session, &nic)) {
		if (nic->iommufd_of == nic)
			iommufd = retrieve_fd("iommufd", nic, TOKEN_IOMMUFD(nic));
		nic->iommu = iommu_init_fd(iommufd, 0);
	}
	while (session_nic_next(session, &nic))
		cdevs[nic->id] = retrieve_fd("cdev", nic, TOKEN_CDEV(nic));
	control_mark("retrieve-end");

	pressure_apply(session, "retrieved");
	while (session_nic_next(session, &nic))
		call_with_faults("bind retrieved", nic, nic_call_bind, BIND_NEEDS);
	control_mark("bind-end");
	strangers_meet(session);

	while (session_nic_next(session, &nic))
		nic_restore(nic);
	control_mark("restore-end");

	while (session_nic_next(session, &nic))
		call_with_faults("attach retrieved", nic, nic_call_attach, 0);
	control_mark("attached");

	while (session_nic_next(session, &nic)) {
		nic->iommu->ioas_id = nic->ioas_id;
		nic_set_up(nic, cdevs[nic->id]);
	}
}

/*
 * Look at everything received since the queues were started, and go on: give the
 * descriptors back, and receive @count frames more on each.
 */
void nics_resume(struct vmm_session *session, u32 count)
{
	struct nic *first = session->first, *nic = NULL;
	__u64 frames[MAX_NICS];

	while (session_nic_next(session, &nic)) {
		control_step("check memory of NIC %u", nic->id);
		nic_queue_init(nic);
		nic->rx.next = nic->state.next;
		nic->rx.clean = nic->state.clean;
		nic->stream.frames = nic->state.frames;
		nic->stream.last_seq = nic->state.last_seq;
		nic_irq_kick(nic);
		nic_take(nic);
		frames[nic->id] = nic->stream.frames;
		control_info("nic%u_checked=%llu", nic->id, nic->stream.frames);
		if (nic->stream.bad || nic->stream.frames <
		    nic->state.frames + nic_few(nic, FRAMES_BEFORE))
			control_fail(0, "%llu good frames, %llu bad, %llu and more before",
				     nic->stream.frames, nic->stream.bad,
				     nic->state.frames + nic_few(nic, FRAMES_BEFORE));
	}
	control_mark("checked frames=%llu bad=%llu", first->stream.frames,
		     first->stream.bad);
	ksft_test_result_pass("every frame is in memory\n");

	while (session_nic_next(session, &nic)) {
		control_info("given_back=%u", nic->ops->refill(&nic->rx));
		nic->running = true;
	}
	control_mark("refilled");

	if (session->first == vmm.nics)
		bulk_check(vmm.nics);

	control_step("receive in the new kernel");
	nics_receive(session, count);
	while (session_nic_next(session, &nic))
		nic_irq_check(nic, nic->stream.frames - frames[nic->id]);
	irq_check_log();
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

static void nic_start_second(struct nic *nic)
{
	nic_drain(nic);
	nic->running = false;
	must(nic->ops->stop(&nic->rx), "stop receiving");

	if (!nic->second.size)
		nic_second_map(nic);
	if (nic->ops->opaque)
		control_scan();

	nic->rx.buffers = nic->second_region.iova + nic->second.ring_bytes;
	nic->rx.size = min_t(u32, nic->ring, SECOND_BUFFERS);
	if (nic->ops->asked)
		nic->rx.size = 4 * FRAMES_FEW;
	nic->buffers = &nic->second;
	nic->stream.stage = STAGE_SECOND;
	nic_ask(nic, 0);
	must(nic->ops->start(&nic->rx), "start receiving into second memory");
	nic->running = true;
	nic_go_on(nic, STAGE_SECOND);
}

static void nics_receive_second(struct vmm_session *session)
{
	struct nic *nic = NULL;

	while (session_nic_next(session, &nic))
		nic_start_second(nic);

	control_step("receive into second memory");
	nics_receive(session, FRAMES_SECOND);
	while (session_nic_next(session, &nic))
		nic_drain(nic);
	control_mark("second-received frames=%u", FRAMES_SECOND);
	ksft_test_result_pass("a second memfd can be mapped and received into\n");
}

/*
 * The device does not notice that it cannot write, and reports what it should
 * have written, or notices and stops.
 */
static u32 nic_try_to_write(struct nic *nic)
{
	int last = -EAGAIN;
	u32 len, done = 0;
	long long start;

	nic_go_on(nic, STAGE_PROVOKED);
	nic->stream.stage = STAGE_PROVOKED;
	if (nic->ops->asked) {
		nic_ask(nic, nic->ops->asked(&nic->rx));
		nic->ops->refill(&nic->rx);
	}

	start = now_ms();
	while (done < nic_few(nic, FRAMES_PROVOKED) && last != -EIO &&
	       now_ms() - start < 5000) {
		while ((last = nic->ops->poll(&nic->rx, &len)) >= 0)
			done++;
		usleep(1000);
	}
	control_pause(nic->id);

	control_step("receive into memory that is out of reach");
	if (!done && last != -EIO)
		control_fail(0, "the device did not even try");
	must(nic->ops->stop(&nic->rx), "stop receiving");

	return done;
}

/* Mappings can be taken away: the device is left pointing at one that is gone. */
static u32 nic_provoke(struct nic *nic)
{
	void *before = malloc_assert(nic->second.size);
	u32 done;

	nic->running = false;
	must(__iommu_unmap(nic->iommu, &nic->second_region, NULL),
	     "unmap second memory");
	if (nic == nic->session->first)
		control_mark("unmapped");

	memcpy(before, nic->second.vaddr, nic->second.size);
	done = nic_try_to_write(nic);
	if (memcmp(before, nic->second.vaddr, nic->second.size))
		control_fail(0, "memory was written to after the unmap");
	free(before);

	return done;
}

/* What was mapped for reading only before the live update still is. */
static u32 nic_provoke_readonly(struct nic *nic)
{
	iova_t readonly = bulk_readonly(nic);

	if (!readonly)
		return 0;

	nic->rx.buffers = readonly;
	must(nic->ops->start(&nic->rx), "start receiving into read-only memory");
	return nic_try_to_write(nic);
}

/* What the old kernel mapped can be unmapped like anything else. */
static void nic_unmap_first(struct nic *nic)
{
	struct dma_region region = {
		.iova = nic->iova,
		.size = nic->first.size,
	};
	u64 unmapped = 0;

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

/* An iommufd that is shared is closed with the last of those who do. */
static void nic_close_iommu(struct nic *nic)
{
	struct nic *next = nic + 1;

	if (next < vmm.nics + vmm.nr_nics && next->iommu &&
	    next->iommu->iommufd == nic->iommu->iommufd)
		free(nic->iommu);
	else
		iommu_cleanup(nic->iommu);
	nic->iommu = NULL;
}

/*
 * With the last of its files the device goes quiet, and the memory it was
 * writing to becomes free: nothing may hold on to it once nobody can write.
 */
void nic_close(struct nic *nic)
{
	u16 before = nic_command_read(nic), after;
	u64 memory = nic->first.size + nic->left, enough = memory * 15 / 16;
	u64 free_before = mem_free();
	long long start;
	s64 freed;

	nic->running = false;
	vfio_pci_device_cleanup(nic->device);
	nic_irq_close(nic);
	nic_close_iommu(nic);
	stream_memory_close(&nic->first);

	after = nic_command_read(nic);

	start = now_ms();
	do {
		usleep(10000);
		freed = mem_free() - free_before;
	} while (freed < (s64)enough && now_ms() - start < FREE_MS);
	control_info("freed_kib=%ld", freed / 1024);

	control_step("close NIC %u", nic->id);
	if (!(before & PCI_COMMAND_MASTER) || (after & PCI_COMMAND_MASTER))
		control_fail(0, "command register %#x before, %#x after",
			     before, after);
	if (freed < (s64)enough)
		control_fail(0, "only %ld of %lu KiB became free", freed / 1024,
			     memory / 1024);
}

/* What comes back has to be good for everything: memory is added and taken away. */
void nics_end_main(struct vmm_session *session)
{
	struct nic *nic = NULL;
	u32 done = 0;

	nics_receive_second(session);
	pressure_apply(session, "attached");
	session_finish(session);

	while (session_nic_next(session, &nic))
		done += nic_provoke(nic);
	if (session->first == vmm.nics)
		done += nic_provoke_readonly(vmm.nics);
	control_mark("blocked frames=%u", done);
	ksft_test_result_pass("unmapped memory is out of reach\n");

	strangers_remember(session);
	if (session->first == vmm.nics)
		bulk_unmap(vmm.nics);
	while (session_nic_next(session, &nic)) {
		nic_unmap_first(nic);
		nic_close(nic);
		stream_memory_close(&nic->second);
	}
	ports_asleep(session);
	session_close(session);
	strangers_stay(session);
	control_mark("closed");
	ksft_test_result_pass("a closed device does no more DMA\n");
}

static void new_kernel_main(struct vmm_session *session)
{
	ksft_set_plan(6);

	if (vmm.attempts)
		attempt_everything(session);
	ports_idle(session);
	ports_errors(session);
	nics_retrieve(session);
	nics_resume(session, FRAMES_AFTER);
	ports_errors(session);
	nics_end_main(session);
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

	nics_retrieve(nic->session);
	nics_resume(nic->session, FRAMES_SECOND);

	/* The judge knows what may be in here, and when it came. */
	nic_retrieve_memory(other);
	nic_queue_init(other);
	nic_take(other);
	control_info("nic1_frames=%llu", other->stream.frames);
	control_info("nic1_bad=%llu", other->stream.bad);

	nic_command_write(other, command);
	session_finish(nic->session);
	nic_close(nic);
	stream_memory_close(&other->first);
	session_close(nic->session);
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
	session_retrieve(nic->session);
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

	session_finish(nic->session);
	stream_memory_close(&nic->first);
	session_close(nic->session);
	control_mark("closed");
}

void new_kernel(void)
{
	vmm.refill = true;

	switch (vmm.scenario) {
	case CASE_MAIN:
		new_kernel_main(&vmm.sessions[0]);
		break;
	case CASE_UNPRESERVED:
		new_kernel_unpreserved(&vmm.nics[0], &vmm.nics[1]);
		break;
	case CASE_TWICE:
		new_kernel_twice(&vmm.sessions[0]);
		break;
	case CASE_VMMS:
		new_kernel_vmms();
		break;
	case CASE_DISCARD:
		new_kernel_discard(&vmm.nics[0]);
		break;
	case CASE_PARTLY:
		new_kernel_partly(&vmm.sessions[0]);
		break;
	case CASE_BENCH:
		bench_new_kernel(&vmm.sessions[0]);
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
