// SPDX-License-Identifier: GPL-2.0-only
/*
 * What else can happen before the jump, with the devices running on:
 *
 *   --killed		the VMM is killed once all is preserved, as a service manager
 *			does; somebody else has the sessions, and does the jump
 *   --freeze-fails	freezing fails, at each of the files in turn; then it works
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <libliveupdate.h>

#include "faults.h"
#include "vmm.h"

#define FRAMES_BETWEEN	100

static int agent_sock = -1;

/*
 * Return as the VMM, which goes on to agent_hand_over(). Its parent is the agent: it
 * waits for the sessions, kills the VMM and jumps.
 */
void agent_start(void)
{
	int sockets[2], status;
	struct vmm_session *session = NULL;
	pid_t pid;

	if (!vmm.killed)
		return;

	control_step("start the VMM");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		control_fail(-errno, "socketpair");
	pid = fork();
	if (pid < 0)
		control_fail(-errno, "fork");
	if (!pid) {
		close(sockets[0]);
		agent_sock = sockets[1];
		return;
	}

	close(sockets[1]);
	while (session_next(&session)) {
		session->fd = fd_receive(sockets[0]);
		/* The VMM has said why */
		if (session->fd < 0) {
			control_done();
			exit(KSFT_FAIL);
		}
	}

	control_step("kill the VMM");
	if (kill(pid, SIGKILL) || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		control_fail(0, "was not killed, status %#x", status);
	control_mark("killed");
	/* Long enough to see whether the devices go on. */
	usleep(500000);
	kexec_jump();
}

/* All that the agent needs; the rest goes with the VMM. */
void agent_hand_over(void)
{
	struct vmm_session *session = NULL;

	if (agent_sock < 0)
		return;
	while (session_next(&session))
		fd_send(agent_sock, session->fd);
	for (;;)
		pause();
}

/* Of one session, in the order of preserve_all() */
static unsigned int nr_files(void)
{
	struct nic *nic = NULL;
	unsigned int nr = 0;

	while (nic_next(&nic))
		nr += 2 + (nic->iommufd_of == nic);
	return nr;
}

static void nics_receive_between(void)
{
	struct nic *nic = NULL;

	while (nic_next(&nic))
		nic_receive_up_to(nic, nic->stream.frames + nic_few(nic, FRAMES_BETWEEN));
}

/* Nothing is held any more: add and take away memory under the running device. */
static void nics_remap(void)
{
	struct nic *nic = NULL;

	while (nic_next(&nic)) {
		nic_second_create(nic);
		must(__iommu_map_file(nic->iommu, &nic->second_region, nic->second.fd, 0),
		     "map second memory of NIC %u", nic->id);
		must(__iommu_unmap(nic->iommu, &nic->second_region, NULL),
		     "unmap second memory of NIC %u", nic->id);
		stream_memory_close(&nic->second);
		nic->second.size = 0;
	}
}

void freeze_failures(void)
{
	unsigned int nth, nr = nr_files();
	struct vmm_session *session = NULL;
	struct nic *nic = NULL;
	int ret;

	if (!vmm.freeze_fails)
		return;

	control_step("have freezing fail");
	if (!fault_function_init(FAULT_FREEZE, -EIO))
		control_fail(0, "this kernel cannot do that");
	for (nth = 1; nth <= nr; nth++) {
		control_step("have file %u of %u fail to freeze", nth, nr);
		fault_function_set(nth);
		ret = kexec_try();
		if (!fault_function_fired() || ret != -EIO)
			control_fail(ret, "reboot should have failed with EIO");
		control_info("freeze_failed=%u", nth);
		nics_receive_between();

		/* Preserved as before */
		while (nic_next(&nic)) {
			nic_second_create(nic);
			ret = __iommu_map_file(nic->iommu, &nic->second_region,
					       nic->second.fd, 0);
			if (ret != -EBUSY)
				control_fail(ret, "map of NIC %u should be busy", nic->id);
			stream_memory_close(&nic->second);
			nic->second.size = 0;
		}
	}
	fault_function_end(FAULT_FREEZE);

	/* And the way back is open */
	while (session_next(&session))
		close(session->fd);
	nics_remap();
	nics_receive_between();
	close(vmm.luo);
	vmm.luo = -1;
	while (session_next(&session)) {
		session_create(session);
		must(preserve_all(session), "preserve after freezing failed");
	}
	control_mark("preserved-again");
}
