// SPDX-License-Identifier: GPL-2.0-only
/*
 * After a live update comes the next one, or --jumps of them: what was restored is preserved again,
 * and a mapping of the second kernel with it, while the device goes on receiving
 * into the memory that the first kernel mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

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

/*
 * The next kernel and its initramfs go along, too: who comes last has got them from
 * the first.
 */
static int file_to_memfd(const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC);
	int fd = memfd_create("image", MFD_CLOEXEC);
	off_t size;

	control_step("carry %s over", path);
	size = from < 0 ? -1 : lseek(from, 0, SEEK_END);
	if (fd < 0 || size <= 0 || ftruncate(fd, size))
		control_fail(-errno, "failed");
	lseek(from, 0, SEEK_SET);
	while (size) {
		ssize_t n = sendfile(fd, from, NULL, size);

		if (n <= 0)
			control_fail(-errno, "failed");
		size -= n;
	}
	close(from);
	return fd;
}

static void memfd_to_file(int from, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	off_t size = lseek(from, 0, SEEK_END);

	control_step("take %s over", path);
	lseek(from, 0, SEEK_SET);
	if (fd < 0 || size <= 0)
		control_fail(-errno, "failed");
	while (size) {
		ssize_t n = sendfile(fd, from, NULL, size);

		if (n <= 0)
			control_fail(-errno, "failed");
		size -= n;
	}
	close(fd);
	close(from);
}

static bool more_to_come(void)
{
	if (vmm.again || vmm.cold)
		return vmm.stage == 1;
	return vmm.scenario == CASE_TWICE && vmm.stage < vmm.jumps;
}

int images_preserve(struct nic *nic)
{
	int ret;

	if (!more_to_come())
		return 0;
	ret = preserve_fd("kernel", nic, file_to_memfd(vmm.kernel), TOKEN_KERNEL);
	if (ret)
		return ret;
	return preserve_fd("initrd", nic, file_to_memfd(vmm.initrd), TOKEN_INITRD);
}

void images_retrieve(struct nic *nic)
{
	if (vmm.stage > vmm.jumps)
		return;
	memfd_to_file(retrieve_fd("kernel", nic, TOKEN_KERNEL), vmm.kernel);
	memfd_to_file(retrieve_fd("initrd", nic, TOKEN_INITRD), vmm.initrd);
}

/* What the kernel before has mapped, if it has not been the first. */
static void go_on(struct vmm_session *session, u32 count)
{
	struct nic *nic = NULL;

	nics_retrieve(session);
	images_retrieve(session->first);
	while (vmm.stage > 2 && session_nic_next(session, &nic)) {
		if (vmm.again) {
			state_restore(nic);
			continue;
		}
		nic_second_adopt(nic, retrieve_fd("second memfd", nic,
						  TOKEN_SECOND(nic)));
		state_restore(nic);
	}
	nics_resume(session, count);
}

/* Hand all of it on, devices that receive with buffers enough for the way over */
void __noreturn update_again(struct vmm_session *session)
{
	int state[MAX_NICS];
	struct nic *nic = NULL;

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
	/* Marks and all, as often as this has been done before */
	must(preserve_all(session), "preserve once more");
	while (session_nic_next(session, &nic))
		must(preserve_fd("state", nic, state[nic->id], TOKEN_STATE(nic)),
		     "preserve state");
	control_mark("preserve-end");

	kexec_jump();
}

static void __noreturn preserve_again(struct vmm_session *session)
{
	struct nic *nic = NULL;

	test_plan(3);

	go_on(session, FRAMES_BEFORE);
	session_finish(session);
	session_close(session);

	/* Mapped while the device runs, and left to the next kernels */
	while (vmm.stage == 2 && session_nic_next(session, &nic)) {
		nic_second_map(nic);
		nic_go_on(nic, STAGE_STREAM);
	}

	update_again(session);
}

/* The last of them */
void new_kernel_last(struct vmm_session *session)
{
	test_plan(6);
	go_on(session, FRAMES_AFTER);
	nics_end_main(session);
}

void new_kernel_twice(struct vmm_session *session)
{
	if (vmm.stage <= vmm.jumps)
		preserve_again(session);

	new_kernel_last(session);
}
