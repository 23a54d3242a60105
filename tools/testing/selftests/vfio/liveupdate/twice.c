// SPDX-License-Identifier: GPL-2.0-only
/*
 * After a live update comes the next one: what was restored is preserved again,
 * and a mapping of the second kernel with it, while the device goes on receiving
 * into the memory that the first kernel mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>

#include <linux/sizes.h>

#include "kselftest.h"
#include "vmm.h"

/*
 * What the driver knows goes along in a memfd that is no business of the
 * device. It is that of the last buffer given back: frames received since then
 * are still in memory, for the next kernel to look at.
 */
static int state_save(struct nic *nic)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	nic->state = (struct nic_state){
		.frames = nic->stream.frames,
		.last_seq = nic->stream.last_seq,
		.next = nic->rx.next,
		.clean = nic->rx.clean,
	};

	control_step("save state of NIC %u", nic->id);
	if (fd < 0 || ftruncate(fd, SZ_4K) ||
	    pwrite(fd, &nic->state, sizeof(nic->state), 0) != sizeof(nic->state))
		control_fail(-errno, "failed");

	return fd;
}

static void state_restore(struct nic *nic)
{
	int fd = retrieve_fd("state", nic, TOKEN_STATE(nic));

	control_step("restore state of NIC %u", nic->id);
	if (pread(fd, &nic->state, sizeof(nic->state), 0) != sizeof(nic->state))
		control_fail(-errno, "failed");
	close(fd);

	if (!nic->state.frames)
		control_fail(0, "state makes no sense: no frames");
}

static void __noreturn preserve_again(struct vmm_session *session)
{
	int state[MAX_NICS];
	struct nic *nic = NULL;

	test_plan(3);

	nics_retrieve(session);
	nics_resume(session, FRAMES_BEFORE);
	session_finish(session);
	session_close(session);

	/* Mapped while the device runs, and left to the third kernel */
	while (session_nic_next(session, &nic)) {
		nic_second_map(nic);
		nic_go_on(nic, STAGE_STREAM);
	}

	while (session_nic_next(session, &nic)) {
		nic->rx.few = nic->ring;	/* enough for the way over */
		nic->ops->refill(&nic->rx);
		state[nic->id] = state_save(nic);
	}
	vmm.refill = false;
	control_step("receive before the next live update");
	nics_receive(session, FRAMES_BEFORE);
	control_mark("streaming frames=%llu", session->first->stream.frames);

	control_mark("preserve-begin");
	session_create(session);
	must(preserve_all(session), "preserve once more");
	while (session_nic_next(session, &nic))
		must(preserve_fd("state", nic, state[nic->id], TOKEN_STATE(nic)),
		     "preserve state");
	control_mark("preserve-end");

	kexec_jump();
}

static void new_kernel_again(struct vmm_session *session)
{
	struct nic *nic = NULL;

	test_plan(6);

	nics_retrieve(session);
	while (session_nic_next(session, &nic)) {
		nic_second_adopt(nic, retrieve_fd("second memfd", nic,
						  TOKEN_SECOND(nic)));
		state_restore(nic);
	}
	nics_resume(session, FRAMES_AFTER);
	nics_end_main(session);
}

void new_kernel_twice(struct vmm_session *session)
{
	if (vmm.stage == 2)
		preserve_again(session);
	new_kernel_again(session);
}
