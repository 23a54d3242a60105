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
	};

	control_step("save state of NIC %u", nic->id);
	if (fd < 0 || ftruncate(fd, SZ_4K) ||
	    pwrite(fd, &nic->state, sizeof(nic->state), 0) != sizeof(nic->state))
		control_fail(-errno, "failed");

	return fd;
}

static void state_restore(struct nic *nic)
{
	int fd = retrieve_fd("state", nic, TOKEN_STATE(nic->id));

	control_step("restore state of NIC %u", nic->id);
	if (pread(fd, &nic->state, sizeof(nic->state), 0) != sizeof(nic->state))
		control_fail(-errno, "failed");
	close(fd);

	if (nic->state.next >= nic->ring || !nic->state.frames)
		control_fail(0, "state makes no sense: descriptor %u, %llu frames",
			     nic->state.next, nic->state.frames);
}

static void __noreturn preserve_again(struct nic *nic)
{
	int state;

	test_plan(3);

	nic_retrieve(nic);
	nic_resume(nic, FRAMES_BEFORE);
	session_finish();
	session_close();

	/* Mapped while the device runs, and left to the third kernel */
	nic_second_map(nic);
	control_resume(nic->id, STAGE_STREAM);

	state = state_save(nic);
	vmm.refill = false;
	control_step("receive before the next live update");
	nic_receive(nic, FRAMES_BEFORE);
	control_mark("streaming frames=%llu", nic->stream.frames);

	control_mark("preserve-begin");
	session_create();
	must(preserve_all(), "preserve once more");
	must(preserve_fd("state", nic, state, TOKEN_STATE(nic->id)),
	     "preserve state");
	control_mark("preserve-end");

	kexec_jump();
}

void new_kernel_twice(struct nic *nic)
{
	if (vmm.stage == 2)
		preserve_again(nic);

	test_plan(6);

	nic_retrieve(nic);
	nic_second_adopt(nic, retrieve_fd("second memfd", nic,
					  TOKEN_SECOND(nic->id)));
	state_restore(nic);
	nic_resume(nic, FRAMES_AFTER);
	nic_end_main(nic);
}
