// SPDX-License-Identifier: GPL-2.0-only
/*
 * Not all comes back, or not at the first attempt. The VMM takes back what it can,
 * step after step, and says how far it came with each device. Those that came back
 * are good for everything. The others are quiet, at the latest when the session is
 * finished; then each is a device like any other, or is one for the next kernel, which
 * --cold starts with nothing handed over.
 *
 * Why something does not come back: somebody has damaged what the old kernel handed
 * over; --skip names devices that nobody asks for; --until is the step after which
 * a first VMM is killed, and --finish has nobody come after it.
 *
 * Which should come back is for who has set this up to say: nothing here fails for
 * the lack of one.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/align.h>
#include <linux/capability.h>
#include <linux/sizes.h>

#include <libliveupdate.h>

#include "kselftest.h"
#include "uapi.h"
#include "vmm.h"

/* The steps after the session has been retrieved; each for all devices */
#define STEPS_FILES	"mic"	/* memfd, iommufd, cdev: in any order */
#define STEPS_AFTER	"bra"	/* bind, restore, attach */

#define MAX_CUT		256	/* descriptors in a page */

static struct {
	int iommufd;
	int cdev;
	bool lost;
} parts[MAX_NICS];

static bool first_is_dead;		/* with --until: now it is the second VMM */

/* Whether a VMM before this one has done @step, of those that come last. */
static bool was_done(char step)
{
	static const char steps[] = STEPS_AFTER;
	const char *last = strchr(steps, vmm.until);

	return first_is_dead && last && last >= strchr(steps, step);
}

/*
 * A device that is cut off from memory in the middle of it may still have a page of
 * descriptors translated, and not the buffers these lead to: it says that it is done
 * with frames that went nowhere. Whether that many were blocked is for who watches.
 */
static bool nic_was_cut(struct nic *nic)
{
	return parts[nic->id].lost && nic->stream.bad == nic->stream.cut &&
	       nic->stream.cut <= MAX_CUT;
}

/* Every frame in memory is whole, however many there are. */
static void nic_check_memory(struct nic *nic)
{
	if (!nic->first.vaddr)
		return;
	nic_queue_init(nic);
	nic_take(nic);
	control_info("nic%u_checked=%llu", nic->id, nic->stream.frames);
	control_step("check memory of NIC %u", nic->id);
	if (nic->stream.bad && !nic_was_cut(nic))
		control_fail(0, "%llu good frames, %llu bad", nic->stream.frames,
			     nic->stream.bad);
	control_info("nic%u_cut=%llu", nic->id, nic->stream.cut);
	nic->stream.bad = 0;
	nic->stream.cut = 0;
}

static int take_memory(struct nic *nic)
{
	int fd;

	limits_set();
	fd = luo_session_retrieve_fd(nic->session->fd, TOKEN_MEMFD(nic));
	limits_lift();
	if (fd < 0)
		return fd;
	return stream_memory_adopt(&nic->first, fd, nic->ops->ring_bytes(nic->ring),
				   nic->ring);
}

/* Somebody may have got as far before, whose files these are as well. */
static int bind_device(struct nic *nic)
{
	int ret = __vfio_device_bind_iommufd_id(parts[nic->id].cdev,
						parts[nic->id].iommufd, &nic->dev_id);

	if (vmm.until)
		control_info("nic%u_bind_errno=%d", nic->id, -ret);
	return was_done('b') && ret == -EINVAL ? 0 : ret;
}

/*
 * Who may not lock that much memory cannot take over what is locked; once he may, it
 * works.
 */
static void restore_short_of_memory(struct nic *nic)
{
	struct rlimit few = { SZ_64K, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	int ret;

	control_step("restore HWPT of NIC %u with 64 KiB of locked memory", nic->id);
	if (syscall(SYS_capget, &head, caps))
		control_fail(-errno, "capget");
	caps[0].effective &= ~BIT(CAP_IPC_LOCK);
	caps[0].permitted &= ~BIT(CAP_IPC_LOCK);
	if (syscall(SYS_capset, &head, caps) || setrlimit(RLIMIT_MEMLOCK, &few))
		control_fail(-errno, "capset");
	ret = hwpt_restore(parts[nic->id].iommufd, TOKEN_HWPT(nic), &nic->hwpt_id,
			   &nic->ioas_id);
	control_info("nic%u_memlock_errno=%d", nic->id, -ret);
	if (ret != -ENOMEM)
		control_fail(ret, "should have been refused");
	if (setrlimit(RLIMIT_MEMLOCK, &all))
		control_fail(-errno, "setrlimit");
}

static int restore_table(struct nic *nic)
{
	int ret;

	if (vmm.memlock)
		restore_short_of_memory(nic);
	ret = hwpt_restore(parts[nic->id].iommufd, TOKEN_HWPT(nic->hwpt_of),
			   &nic->hwpt_id, &nic->ioas_id);

	if (vmm.until)
		control_info("nic%u_restore_errno=%d", nic->id, -ret);
	/* Restored for another NIC, or with the IOAS of another */
	if (ret == -EEXIST && (was_done('r') || nic->hwpt_of != nic))
		return 0;
	return ret;
}

static int take_step(struct nic *nic, char step)
{
	int session = nic->session->fd;
	int *iommufd = &parts[nic->id].iommufd;
	int *cdev = &parts[nic->id].cdev;

	switch (step) {
	case 'm':
		return take_memory(nic);
	case 'i':
		*iommufd = luo_session_retrieve_fd(session,
						   TOKEN_IOMMUFD(nic->iommufd_of));
		return *iommufd;
	case 'c':
		*cdev = luo_session_retrieve_fd(session, TOKEN_CDEV(nic));
		return *cdev;
	case 'b':
		return bind_device(nic);
	case 'r':
		return restore_table(nic);
	default:
		return __vfio_device_attach_iommufd_pt(*cdev, nic->hwpt_id);
	}
}

/* As far as it goes; what has been opened is closed again if that is not far. */
static void lose(struct nic *nic, char step, int err)
{
	control_info("nic%u_back=0 step %c: errno %d", nic->id, step, -err);
	parts[nic->id].lost = true;
	if (parts[nic->id].cdev >= 0)
		close(parts[nic->id].cdev);
	if (parts[nic->id].iommufd >= 0)
		close(parts[nic->id].iommufd);
}

static void take_back(struct vmm_session *session, char until)
{
	struct nic *nic = NULL;
	const char *step;
	char steps[8];
	int ret;

	session_retrieve(session);
	while (session_nic_next(session, &nic)) {
		parts[nic->id].iommufd = -1;
		parts[nic->id].cdev = -1;
		if (vmm.skip & BIT(nic->id))
			lose(nic, 's', 0);
	}

	snprintf_assert(steps, sizeof(steps), "%s" STEPS_AFTER,
			vmm.order ?: STEPS_FILES);
	for (step = steps; *step && until != 's'; step++) {
		while (session_nic_next(session, &nic)) {
			if (parts[nic->id].lost)
				continue;
			ret = take_step(nic, *step);
			if (ret < 0)
				lose(nic, *step, ret);
		}
		if (*step == until)
			break;
	}
}

/* Somebody who gets that far, and no further */
static void die_at(struct vmm_session *session, char until)
{
	struct nic *nic = NULL;
	int status;
	pid_t pid;

	control_step("first VMM");
	pid = fork();
	if (pid < 0)
		control_fail(-errno, "fork");
	if (!pid) {
		take_back(session, until);
		while (session_nic_next(session, &nic))
			if (parts[nic->id].lost && !(vmm.skip & BIT(nic->id)))
				control_fail(0, "did not come to step %c with NIC %u", until,
					     nic->id);
		kill(getpid(), SIGKILL);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		control_fail(0, "was not killed, status %#x", status);
	first_is_dead = true;
	control_mark("killed");
	/* Long enough to see whether the devices go on. */
	usleep(300000);
}

static void nic_set_up_back(struct nic *nic)
{
	if (parts[nic->id].lost)
		return;
	/* That it has come this far counts for nothing if it goes again. */
	if (!nic_unplugs(nic, "attached") && !nic_unplugs(nic, "finishing"))
		control_info("nic%u_back=1", nic->id);
	nic->iommu = iommu_init_fd(parts[nic->id].iommufd, nic->ioas_id);
	nic_set_up(nic, parts[nic->id].cdev);
}

static void nic_go_on_after(struct nic *nic)
{
	nic_check_memory(nic);
	if (!nic->device)
		return;
	nic->ops->refill(&nic->rx);
	nic->running = true;
}

/* What is in an IOAS that is shared stays as long as one of those who share it. */
static void nic_leave_memory(struct nic *lost)
{
	struct nic *nic = NULL, *heir = NULL;

	while (session_nic_next(lost->session, &nic))
		if (nic->device && nic->ioas_of == lost->ioas_of)
			heir = nic;
	if (heir)
		heir->left += ALIGN(lost->ops->ring_bytes(lost->ring), SZ_4K) +
			      (u64)lost->ring * RX_BUFFER_SIZE;
}

/* One that did not come back, once nobody holds it any more */
static void nic_end_lost(struct nic *nic)
{
	u16 command;

	if (nic->first.vaddr)
		stream_memory_close(&nic->first);
	if (nic_unplugs(nic, NULL) && !nic_is_there(nic))
		return;

	command = nic_command_read(nic);
	control_info("nic%u_command_after_finish=%#x", nic->id, command);
	control_step("finish session");
	/* If the record of all devices is lost, only the IOMMU blocks them */
	if ((command & PCI_COMMAND_MASTER) && !vmm.forgotten)
		control_fail(0, "bus mastering of NIC %u is still on", nic->id);
}

/* Nobody takes anything back. */
static void take_nothing(struct vmm_session *session)
{
	struct nic *nic = NULL;

	session_retrieve(session);
	while (session_nic_next(session, &nic)) {
		control_info("nic%u_back=0 not asked for", nic->id);
		parts[nic->id].lost = true;
	}
}

/* What was lost once is good for the next live update. */
static void __noreturn next_update(struct nic *nic)
{
	__u64 seq, accepted;

	test_pass("what did not come back can be used anew");
	nic_take(nic);
	/* What it accepted and could not write is not missing from now on. */
	if (control_sent(nic->id, &seq, &accepted))
		nic->stream.frames = accepted;
	nic->stream.stage = STAGE_STREAM;
	nic_go_on(nic, STAGE_STREAM);
	update_again(nic->session);
}

static void nic_end_anew(struct nic *nic)
{
	/* Those it shared these with are gone. */
	nic->iommufd_of = nic;
	nic->ioas_of = nic;
	nic->hwpt_of = nic;
	control_info("anew=%u", nic->id);
	if (vmm.native)
		nic_use_native(nic);
	nic_use_anew(nic);
	control_mark("reopened");
	if (vmm.again)
		next_update(nic);
	nic_close(nic);
}

/* No session, no file: what ran has stopped, and is not blocked any more. */
static void new_kernel_cold(void)
{
	test_plan(1);
	nic_end_anew(vmm.nics);
	test_pass("the next kernel finds devices as if none had run");
	control_mark("closed");
}

void new_kernel_partly(struct vmm_session *session)
{
	struct nic *nic = NULL, *lost = NULL;
	struct nic *last = &vmm.nics[vmm.nr_nics - 1];
	bool leaving;

	if (vmm.stage > 2) {
		if (vmm.cold)
			new_kernel_cold();
		else
			new_kernel_last(session);
		return;
	}
	test_plan(3);

	nic_unplug("booted");
	control_mark("retrieve-begin");
	if (vmm.again || vmm.cold) {
		session_retrieve(session);
		images_retrieve(session->first);
		session_close(session);
	}
	if (vmm.until)
		die_at(session, vmm.until);
	if (vmm.finish)
		take_nothing(session);
	else
		take_back(session, 0);
	control_mark("attached");
	while (session_nic_next(session, &nic))
		nic_set_up_back(nic);
	while (session_nic_next(session, &nic))
		nic_go_on_after(nic);

	leaving = nic_unplug("attached");
	if (nic_unplugs(last, "attached"))
		control_info("nic%u_back=%s", last->id, leaving ? "0 unplugged" : "1");
	control_step("receive in the new kernel");
	while (session_nic_next(session, &nic))
		if (nic->device)
			nic_receive_up_to(nic, nic->stream.frames + FRAMES_AFTER);
	/* Frames keep coming for those that are not back, too. */
	sleep(1);
	control_mark("settled");
	test_pass("what came back goes on");

	leaving |= session_finish_unplug(session);
	if (leaving)
		nic_unplug_end(last);
	device_plug();

	while (session_nic_next(session, &nic)) {
		if (nic->device)
			continue;
		nic_leave_memory(nic);
		nic_end_lost(nic);
		if (nic_is_there(nic))
			lost = lost ?: nic;
	}
	sleep(1);
	control_mark("quiet");

	while (session_nic_next(session, &nic)) {
		control_pause(nic->id);
		if (nic->device)
			nic_close(nic);
	}
	session_close(session);

	if (vmm.cold)
		kexec_jump();
	if (lost)
		nic_end_anew(lost);
	test_pass("what did not come back can be used anew");
	control_mark("closed");
}
