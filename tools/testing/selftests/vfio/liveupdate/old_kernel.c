// SPDX-License-Identifier: GPL-2.0-only
/*
 * Before the live update: start receiving, preserve, load the next kernel, jump.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/reboot.h>
#include <sys/syscall.h>

#include <linux/kernel.h>
#include <linux/reboot.h>
#include <linux/sizes.h>

#include <libliveupdate.h>

#include "uapi.h"
#include "vmm.h"

#define FRAMES_ABORTED	1000

/* The iommufd and the IOAS of a NIC, its own or those of another. */
static void nic_open_iommu(struct nic *nic)
{
	struct iommu *iommu;
	u32 ioas_id;

	if (nic->iommufd_of == nic) {
		nic->iommu = iommu_init(MODE_IOMMUFD);
	} else {
		iommu = nic->ioas_of->iommu;
		ioas_id = nic->ioas_of == nic ?
			  iommufd_ioas_alloc(nic->iommufd_of->iommu->iommufd) :
			  iommu->ioas_id;
		nic->iommu = iommu_init_fd(nic->iommufd_of->iommu->iommufd, ioas_id);
	}
	nic->ioas_id = nic->iommu->ioas_id;
}

/* Open the device and give it a page table. */
void nic_open(struct nic *nic)
{
	nic_open_iommu(nic);
	nic->device = vfio_pci_device_alloc(nic->bdf, nic->iommu);

	control_step("open NIC %u", nic->id);
	vfio_pci_cdev_open(nic->device, nic->bdf);
	must(__vfio_device_bind_iommufd_id(nic->device->fd, nic->iommu->iommufd,
					   &nic->dev_id), "bind NIC %u", nic->id);
	if (nic->hwpt_of == nic)
		must(__iommu_hwpt_alloc(nic->iommu, nic->dev_id, &nic->hwpt_id),
		     "allocate HWPT of NIC %u", nic->id);
	else
		nic->hwpt_id = nic->hwpt_of->hwpt_id;
	must(__vfio_device_attach_iommufd_pt(nic->device->fd, nic->hwpt_id),
	     "attach NIC %u", nic->id);

	control_step("set up NIC %u", nic->id);
	vfio_pci_device_setup(nic->device);
	must(nic->ops->reset(nic->device), "reset NIC %u", nic->id);
	nic_irq_setup(nic);
}

/* Give the device memory, at an address that is nobody's physical one. */
void nic_map(struct nic *nic)
{
	struct dma_region *region = calloc_assert(1, sizeof(*region));

	must(stream_memory_create(&nic->first, nic->id, 1, vmm.run_id,
				  nic->ops->ring_bytes(nic->ring), nic->ring),
	     "create memory of NIC %u", nic->id);

	region->vaddr = nic->first.vaddr;
	region->iova = nic->iova;
	region->size = nic->first.size;
	must(__iommu_map_file(nic->iommu, region, nic->first.fd, 0),
	     "map memory of NIC %u", nic->id);
}

static void nic_start(struct nic *nic)
{
	nic_queue_init(nic);
	if (nic->ops->opaque)
		control_scan();
	must(nic->ops->start(&nic->rx), "start receiving on NIC %u", nic->id);
	nic->running = true;
	nic_go_on(nic, STAGE_STREAM);
}

void session_create(struct vmm_session *session)
{
	liveupdate_open();
	session->fd = must(luo_create_session(vmm.luo, session->name),
			   "create session");
}

int preserve_fd(const char *what, struct nic *nic, int fd, u64 token)
{
	control_step("preserve %s of NIC %u", what, nic->id);
	return luo_session_preserve_fd(nic->session->fd, fd, token);
}

static int preserve_memfd(struct nic *nic)
{
	return preserve_fd("memfd", nic, nic->first.fd, TOKEN_MEMFD(nic));
}

/* If this kernel has mapped one. */
static int preserve_second(struct nic *nic)
{
	if (!nic->second.size)
		return 0;
	return preserve_fd("second memfd", nic, nic->second.fd,
			   TOKEN_SECOND(nic));
}

static int preserve_iommufd(struct nic *nic)
{
	return preserve_fd("iommufd", nic, nic->iommu->iommufd,
			   TOKEN_IOMMUFD(nic));
}

static int preserve_cdev(struct nic *nic)
{
	return preserve_fd("cdev", nic, nic->device->fd, TOKEN_CDEV(nic));
}

static int mark_hwpt(struct nic *nic)
{
	control_step("mark HWPT of NIC %u", nic->id);
	return hwpt_mark_preserve(nic->iommu->iommufd, nic->hwpt_id,
				  TOKEN_HWPT(nic));
}

/*
 * Mark the page tables and put memory, iommufds and devices into the session, in
 * this order: what another needs comes before it. Of a NIC that is not preserved
 * only the memory is, to be looked at in the new kernel.
 */
int preserve_all(struct vmm_session *session)
{
	struct nic *nic = NULL;
	int ret = 0;

	while (session_nic_next(session, &nic)) {
		if (!ret && nic->hwpt_of == nic)
			ret = mark_hwpt(nic);
	}

	while (nic_next(&nic)) {
		if (ret || nic->session != session)
			continue;
		ret = preserve_memfd(nic);
		if (!ret)
			ret = preserve_second(nic);
		if (!ret && nic == vmm.nics)
			ret = bulk_preserve(nic);
		if (!ret && nic == vmm.nics)
			ret = images_preserve(nic);
	}

	while (session_nic_next(session, &nic)) {
		if (!ret && nic->iommufd_of == nic)
			ret = preserve_iommufd(nic);
	}

	while (session_nic_next(session, &nic)) {
		if (!ret)
			ret = preserve_cdev(nic);
	}

	return ret;
}

/* Preserving failed: with the session gone the device must just go on. */
static void __noreturn preserve_failed(struct nic *nic, int err)
{
	__u64 frames;

	control_info("preserve_errno=%d", -err);

	close(nic->session->fd);
	nic_take(nic);
	frames = nic->stream.frames;
	nic_receive(nic, 100);
	control_info("frames_after_failed_preserve=%llu",
		     nic->stream.frames - frames);

	control_fail(err, "failed; the device goes on receiving");
}

/* What a kernel without IOMMU live update says; memory is all it can keep. */
static void preserve_base(struct nic *nic)
{
	int ret;

	ret = mark_hwpt(nic);
	control_info("mark_errno=%d", -ret);
	if (!ret)
		control_fail(0, "worked: this is not a base kernel");

	ret = preserve_memfd(nic);
	if (ret)
		control_fail(ret, "failed");

	ret = preserve_iommufd(nic);
	control_info("preserve_iommufd_errno=%d", -ret);
	if (!ret)
		control_fail(0, "worked: this is not a base kernel");

	ret = preserve_cdev(nic);
	control_info("preserve_cdev_errno=%d", -ret);
	if (!ret)
		control_fail(0, "worked: this is not a base kernel");
}

/*
 * Change of mind: close the session. Nothing may be lost, and mappings can be
 * changed again. Then only the memory is preserved.
 */
static void abort_and_check(struct nic *nic)
{
	int ret;

	control_step("close session");
	if (close(nic->session->fd))
		control_fail(-errno, "failed");
	control_mark("aborted");

	control_step("receive after closing the session");
	nic_receive(nic, FRAMES_ABORTED);
	nic_drain(nic);
	nic_go_on(nic, STAGE_STREAM);

	nic_second_create(nic);
	must(__iommu_map_file(nic->iommu, &nic->second_region, nic->second.fd, 0),
	     "map second memory");
	must(__iommu_unmap(nic->iommu, &nic->second_region, NULL),
	     "unmap second memory");
	stream_memory_close(&nic->second);
	control_mark("remapped");

	session_create(nic->session);
	ret = preserve_memfd(nic);
	if (ret)
		control_fail(ret, "failed");
}

/*
 * Have a card write what it receives to where interrupts are asked for: by address
 * in remappable format, as far as four bytes at a time are, and for a CPU that does
 * not exist where they are not. It is up to the IOMMU to stop that.
 */
static void nic_forge(struct nic *nic)
{
	struct {
		__le64 address;
		__le64 rest;
	} *ring = nic->first.vaddr;
	u32 i;

	control_step("have NIC %u forge interrupts", nic->id);
	if (strcmp(nic->ops->name, "igb"))
		control_fail(0, "only an igb can");
	for (i = 0; i < nic->ring; i++)
		ring[i].address = cpu_to_le64(0xfeee0010);
	control_mark("forging");
}

static int kexec_load(void)
{
	int kernel, initrd, ret = 0;

	kernel = open(vmm.kernel, O_RDONLY | O_CLOEXEC);
	if (kernel < 0)
		return -errno;

	initrd = open(vmm.initrd, O_RDONLY | O_CLOEXEC);
	if (initrd < 0) {
		ret = -errno;
	} else {
		if (syscall(SYS_kexec_file_load, kernel, initrd,
			    strlen(vmm.append) + 1, vmm.append, 0UL))
			ret = -errno;
		close(initrd);
	}

	close(kernel);
	return ret;
}

/* What a kexec that is refused says; an accepted one has no answer. */
int kexec_try(void)
{
	int ret = kexec_load();

	if (ret)
		return ret;
	reboot(LINUX_REBOOT_CMD_KEXEC);
	return -errno;
}

void __noreturn kexec_jump(void)
{
	must(kexec_load(), "load %s, %s", vmm.kernel, vmm.initrd);
	control_mark("image-loaded");

	control_step("reboot");
	control_mark("vmm-last");
	reboot(LINUX_REBOOT_CMD_KEXEC);
	control_fail(-errno, "failed");
}

void __noreturn old_kernel(void)
{
	struct vmm_session *session = NULL;
	struct nic *nic = NULL;
	int ret = 0;

	agent_start();
	control_mark("vmm-start");
	if (vmm.scenario == CASE_BENCH)
		bench_old_kernel(&vmm.sessions[0]);
	while (nic_next(&nic))
		nic_open(nic);
	control_mark("nic-up");

	while (nic_next(&nic))
		nic_map(nic);
	bulk_create(vmm.nics);
	control_mark("mapped");

	while (nic_next(&nic))
		nic_start(nic);
	control_step("receive");
	while (nic_next(&nic))
		nic_receive_up_to(nic, nic_few(nic, FRAMES_BEFORE));
	while (nic_next(&nic))
		nic_irq_check(nic, nic->stream.frames);
	control_mark("streaming frames=%llu", vmm.nics[0].stream.frames);

	control_mark("preserve-begin");
	while (session_next(&session)) {
		session_create(session);
		if (vmm.scenario == CASE_BASE)
			preserve_base(session->first);
		else
			ret = preserve_all(session);
		if (ret)
			preserve_failed(session->first, ret);
	}
	control_mark("preserve-end");
	nic_unplug("preserved");

	if (vmm.scenario == CASE_ABORTED)
		abort_and_check(&vmm.nics[0]);
	if (vmm.forge)
		nic_forge(&vmm.nics[vmm.nr_nics - 1]);
	freeze_failures();
	agent_hand_over();

	too_late();
	kexec_jump();
}
