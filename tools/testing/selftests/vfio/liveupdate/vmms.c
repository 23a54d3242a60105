// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several VMMs, with a session each and the same tokens in all of them. The first
 * one comes back at once and goes all the way; what it does is no business of the
 * others, whose devices run on. Then
 *
 *   late	they come back, as late as --late says
 *   discard	nobody comes: the operator finishes their sessions unseen
 *   left	nobody comes, and nobody cleans up: all stays as it is
 */
#include <errno.h>
#include <unistd.h>

#include <linux/kernel.h>

#include "kselftest.h"
#include "vmm.h"

#define SETTLE_MS	500

/* The sender has stopped, and what it sent has arrived. */
static void others_pause(void)
{
	struct nic *nic = NULL;

	for (nic = vmm.sessions[1].first; nic < vmm.nics + vmm.nr_nics; nic++)
		control_pause(nic->id);
	usleep(SETTLE_MS * 1000);
}

static void come_late(struct vmm_session *session)
{
	nics_retrieve(session);
	nics_resume(session, FRAMES_AFTER);
	nics_end_main(session);
}

/* FINISH with nothing retrieved stops the devices and frees their memory. */
static void finish_unseen(struct vmm_session *session)
{
	struct nic *nic = NULL;

	control_mark("retrieve-begin");
	session_retrieve(session);
	control_mark("retrieve-end");
	session_finish(session);

	while (session_nic_next(session, &nic)) {
		u16 command = nic_command_read(nic);

		control_info("nic%u_command_after_finish=%#x", nic->id, command);
		control_step("finish session %s", session->name);
		if (command & PCI_COMMAND_MASTER)
			control_fail(0, "bus mastering of NIC %u is still on",
				     nic->id);
	}
	session_close(session);
	control_mark("closed");
	test_pass("a session nobody came for can be finished");
}

/* The devices are still theirs, and another live update has to wait. */
static void leave(struct vmm_session *session)
{
	struct nic *nic = NULL;
	int ret;

	while (session_nic_next(session, &nic)) {
		control_step("take NIC %u, which somebody left", nic->id);
		ret = nic_bind_new(nic);
		control_info("nic%u_bind_errno=%d", nic->id, -ret);
		if (ret != -EBUSY)
			control_fail(ret, "should have been refused");
		if (!(nic_command_read(nic) & PCI_COMMAND_MASTER))
			control_fail(0, "bus mastering is off");
	}

	control_step("kexec with an unfinished session");
	if (!access(vmm.kernel, R_OK)) {
		ret = kexec_try();
		control_info("kexec_errno=%d", -ret);
		if (ret != -EBUSY)
			control_fail(ret, "should have been refused");
	}
	control_mark("left");
	test_pass("a session nobody came for stays");
}

void new_kernel_vmms(void)
{
	struct vmm_session *session = vmm.sessions;
	static const u32 each[] = {
		[OTHERS_LATE] = 6,
		[OTHERS_DISCARD] = 2,
		[OTHERS_LEFT] = 1,
	};

	test_plan(6 + (vmm.nr_sessions - 1) * each[vmm.others]);

	nics_retrieve(session);
	nics_resume(session, FRAMES_AFTER);
	nics_end_main(session);

	control_info("late_seconds=%u", vmm.late);
	sleep(vmm.late);
	if (vmm.others == OTHERS_DISCARD)
		others_pause();

	while (++session < vmm.sessions + vmm.nr_sessions) {
		control_prefix("%s-", session->name);
		switch (vmm.others) {
		case OTHERS_LATE:
			come_late(session);
			break;
		case OTHERS_DISCARD:
			finish_unseen(session);
			break;
		case OTHERS_LEFT:
			leave(session);
			break;
		}
	}
	control_prefix("%s", "");

	if (vmm.others == OTHERS_LEFT)
		others_pause();
}
