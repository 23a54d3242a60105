// SPDX-License-Identifier: GPL-2.0-only
/*
 * Somebody changes his mind, or dies, before the jump: all is as if live update had
 * never been asked for, as often as one likes. The device does DMA all the while,
 * memory can be mapped and unmapped afterwards, everything can be preserved again,
 * and the kernel has no more memory in use than before.
 *
 * How often is in LIVEUPDATE_ROUNDS (default: 100).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/pci_regs.h>
#include <linux/sizes.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/files.h"
#include "liveupdate/footprint.h"
#include "liveupdate/image.h"
#include "liveupdate/streaming.h"

#define WARM_UP		20
#define IMAGE_EVERY	40	/* rounds: checksums take their time */
#define TIMEOUT		1800

static const char *device_bdf;

static int rounds(void)
{
	return atoi(getenv("LIVEUPDATE_ROUNDS") ?: "100");
}

struct run {
	struct refuse refuse;
	struct streaming streaming;
	struct footprint before;
	bool kmemleak;
};

FIXTURE(abort) {
	struct run run;
};

FIXTURE_SETUP(abort)
{
	int ret = refuse_init(&self->run.refuse, device_bdf, _metadata->name);

	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
	streaming_start(&self->run.streaming, &self->run.refuse);
}

FIXTURE_TEARDOWN(abort)
{
	refuse_cleanup(&self->run.refuse);
}

/* Punch a hole that is none. */
static int memory_change(struct vm *vm)
{
	return fallocate(vm->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 VM_MEMORY_SIZE, SZ_4K) ? -errno : 0;
}

static void expect_preserved(struct __test_metadata *_metadata, struct refuse *refuse)
{
	ASSERT_EQ(-EBUSY, vm_map_and_unmap(&refuse->vm));
	ASSERT_EQ(-EPERM, memory_change(&refuse->vm));
}

static void expect_as_before(struct __test_metadata *_metadata, struct refuse *refuse)
{
	ASSERT_EQ(0, vm_map_and_unmap(&refuse->vm));
	ASSERT_EQ(0, memory_change(&refuse->vm));
	ASSERT_EQ(0, vm_mark(&refuse->vm, refuse->vm.hwpt_id, 0));
}

/* The first rounds fill caches, those after them must be free of charge. */
static void round_begins(struct run *run, int i)
{
	if (i != WARM_UP)
		return;
	run->kmemleak = kmemleak_start();
	run->before = footprint_take();
}

static void rounds_end(struct __test_metadata *_metadata, struct run *run)
{
	EXPECT_TRUE(streaming_goes_on(&run->streaming));
	streaming_stop(&run->streaming);
	TH_LOG("%d rounds, %lu copies by the device, %lu bad", rounds(),
	       run->streaming.copies, run->streaming.bad);
	EXPECT_EQ(0, run->streaming.bad);
	expect_same_footprint(_metadata, &run->before, run->kmemleak);
}

TEST_F_TIMEOUT(abort, session_closed, TIMEOUT)
{
	struct refuse *refuse = &self->run.refuse;
	int i;

	for (i = 0; i < WARM_UP + rounds(); i++) {
		round_begins(&self->run, i);
		ASSERT_EQ(0, vm_preserve_all(&refuse->vm));
		expect_preserved(_metadata, refuse);
		ASSERT_TRUE(streaming_goes_on(&self->run.streaming));
		ASSERT_LE(0, refuse_new_session(refuse));
		expect_as_before(_metadata, refuse);
	}
	rounds_end(_metadata, &self->run);
}

/* The agent, up to where it dies */
enum step { STEP_SESSION, STEP_MARK, STEP_MEMFD, STEP_IOMMUFD, STEP_CDEV, STEP_IMAGE, NR_STEPS };

static int agent_steps(struct vm *vm, enum step last)
{
	struct image image = {};
	int ret = 0;

	vm->session = luo_create_session(vm->luo, "agent");
	if (vm->session < 0)
		return vm->session;
	if (last >= STEP_MARK)
		ret = vm_mark(vm, vm->hwpt_id, 1);
	if (!ret && last >= STEP_MEMFD)
		ret = vm_preserve_memfd(vm);
	if (!ret && last >= STEP_IOMMUFD)
		ret = vm_preserve_iommufd(vm);
	if (!ret && last >= STEP_CDEV)
		ret = vm_preserve_cdev(vm);
	if (!ret && last >= STEP_IMAGE)
		ret = image_open(&image) ?: image_load(&image, CMDLINE_GOOD);
	return ret;
}

/*
 * Run @steps in a process of its own, and kill it once they are done. Returns what
 * they returned.
 */
static int run_and_kill(int (*steps)(void *arg), void *arg, void (*meanwhile)(void *arg))
{
	int pipefd[2], status, ret = -EPIPE;
	pid_t pid;

	VFIO_ASSERT_EQ(pipe2(pipefd, O_CLOEXEC), 0);
	pid = fork();
	VFIO_ASSERT_GE(pid, 0);
	if (!pid) {
		ret = steps(arg);
		VFIO_ASSERT_EQ(write(pipefd[1], &ret, sizeof(ret)), (ssize_t)sizeof(ret));
		for (;;)
			pause();
	}

	close(pipefd[1]);
	if (read(pipefd[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -EPIPE;
	close(pipefd[0]);
	if (meanwhile)
		meanwhile(arg);
	kill(pid, SIGKILL);
	VFIO_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	VFIO_ASSERT_TRUE(WIFSIGNALED(status));
	return ret;
}

struct agent {
	struct vm vm;
	enum step last;
};

static int agent_run(void *arg)
{
	struct agent *agent = arg;

	return agent_steps(&agent->vm, agent->last);
}

TEST_F_TIMEOUT(abort, agent_killed, TIMEOUT)
{
	struct refuse *refuse = &self->run.refuse;
	struct agent agent = { .vm = refuse->vm };
	int i, images = 0;

	for (i = 0; i < WARM_UP + rounds(); i++) {
		round_begins(&self->run, i);
		agent.last = i % IMAGE_EVERY == WARM_UP + 1 ? STEP_IMAGE : i % STEP_IMAGE;
		ASSERT_EQ(0, run_and_kill(agent_run, &agent, NULL)) {
			TH_LOG("step %d", agent.last);
		}
		if (agent.last == STEP_IMAGE) {
			EXPECT_FALSE(number_of("/sys/kernel/kexec/loaded", "") != 1 &&
				     number_of("/sys/kernel/kexec_loaded", "") != 1);
			ASSERT_EQ(0, image_unload());
			images++;
		}
		ASSERT_TRUE(streaming_goes_on(&self->run.streaming));
		expect_as_before(_metadata, refuse);

		ASSERT_EQ(0, vm_preserve_all(&refuse->vm));
		expect_preserved(_metadata, refuse);
		ASSERT_LE(0, refuse_new_session(refuse));
	}
	EXPECT_LT(0, images);
	rounds_end(_metadata, &self->run);
}

/*
 * A VMM that is killed, as a service manager does before a reboot; the test itself
 * has nothing open.
 */
FIXTURE(killed) {
	int sockets[2];
};

FIXTURE_SETUP(killed)
{
	int luo = luo_open_device();

	if (luo < 0)
		SKIP(return, "no " LUO_DEVICE);
	close(luo);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, self->sockets));
}

FIXTURE_TEARDOWN(killed)
{
	close(self->sockets[0]);
	close(self->sockets[1]);
}

static bool bus_master(void)
{
	char path[128];
	__le16 command;
	int fd;

	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/config", device_bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	VFIO_ASSERT_GE(fd, 0);
	VFIO_ASSERT_EQ(pread(fd, &command, sizeof(command), PCI_COMMAND), 2);
	close(fd);
	return le16_to_cpu(command) & PCI_COMMAND_MASTER;
}

/* Open the device, have it do DMA, preserve all, and pass the session on if asked to. */
struct whole_vmm {
	const char *name;
	int sock;
};

static int vmm_run(void *arg)
{
	struct whole_vmm *vmm = arg;
	struct refuse refuse;
	int ret;

	ret = refuse_init(&refuse, device_bdf, vmm->name) ?: vm_preserve_all(&refuse.vm);
	if (ret)
		return ret;
	if (vmm->sock >= 0)
		fd_send(vmm->sock, refuse.vm.session);
	return refuse_dma(&refuse);
}

static void vmm_meanwhile(void *arg)
{
	VFIO_ASSERT_TRUE(bus_master());
	VFIO_ASSERT_FALSE(file_is_empty(IOMMU_DEBUGFS));
}

static bool soon_quiet(void)
{
	int i;

	for (i = 0; i < 1000 && bus_master(); i++)
		usleep(10000);
	return !bus_master();
}

/* With nobody left the device is reset, and good for the next one. */
TEST_F_TIMEOUT(killed, holding_everything, TIMEOUT)
{
	struct whole_vmm vmm = { _metadata->name, -1 };
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, run_and_kill(vmm_run, &vmm, vmm_meanwhile));
		EXPECT_TRUE(soon_quiet());
		EXPECT_TRUE(file_is_empty(IOMMU_DEBUGFS));
	}
}

/* The agent has the session: to it the death of the VMM makes no difference. */
TEST_F_TIMEOUT(killed, agent_has_session, TIMEOUT)
{
	struct whole_vmm vmm = { _metadata->name, self->sockets[1] };
	struct refuse refuse;
	int session;

	ASSERT_EQ(0, run_and_kill(vmm_run, &vmm, vmm_meanwhile));
	session = fd_receive(self->sockets[0]);
	ASSERT_LE(0, session);
	usleep(200000);
	EXPECT_TRUE(bus_master());
	EXPECT_FALSE(file_is_empty(IOMMU_DEBUGFS));

	/* It is nobody else's */
	ASSERT_EQ(0, close(session));
	EXPECT_TRUE(soon_quiet());
	EXPECT_TRUE(file_is_empty(IOMMU_DEBUGFS));

	ASSERT_EQ(0, refuse_init(&refuse, device_bdf, "next"));
	EXPECT_EQ(0, vm_preserve_all(&refuse.vm));
	EXPECT_EQ(0, refuse_dma(&refuse));
	refuse_cleanup(&refuse);
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
