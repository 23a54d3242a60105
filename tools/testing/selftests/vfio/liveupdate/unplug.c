// SPDX-License-Identifier: GPL-2.0-only
/*
 * A preserved device leaves the machine: the last NIC is taken out of its slot, by the
 * button or, with --pull, without asking. --unplug says when: "preserved", before the
 * jump, "booted", before anybody has come for it, or "attached", before the session is
 * finished; or "frozen", see too_late.c; or "finishing", while the session is
 * being finished.
 *
 * A VMM lets go of a device when it is asked to; one that is preserved for the next
 * kernel has to be given up together with its session. The others go on, and the
 * update comes to its end without it.
 *
 * With --plug one comes, too, into a slot that was empty.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "uapi.h"
#include "vmm.h"

#define DEVICES		"/sys/bus/pci/devices"

/* About how long it takes to ask for a device to be pulled out, and to notice */
#define RACE_US		20000

/* A button is waited for: it may be pressed again for 5 seconds. */
#define PATIENCE_MS	9000

/* From the first that can be seen of a device until all of it is there */
#define ADDED_MS	200

static struct nic *unplugged_nic(void)
{
	return &vmm.nics[vmm.nr_nics - 1];
}

/* Whether this is the NIC that goes, at @when or at any time. */
bool nic_unplugs(struct nic *nic, const char *when)
{
	return vmm.unplug && nic->id == unplugged_nic()->id &&
	       (!when || !strcmp(vmm.unplug, when));
}

bool nic_is_there(struct nic *nic)
{
	char path[PATH_MAX];

	snprintf_assert(path, sizeof(path), DEVICES "/%s", nic->bdf);
	return !access(path, F_OK);
}

/* The port above, and its slot control register: whoever pulls has to know. */
static u32 slot_control(struct nic *nic, u32 *rid)
{
	char path[PATH_MAX], real[PATH_MAX];
	u32 bus, dev, fn;
	u8 config[256], at;
	int fd;

	control_step("find the slot of NIC %u", nic->id);
	snprintf_assert(path, sizeof(path), DEVICES "/%s/..", nic->bdf);
	if (!realpath(path, real) ||
	    sscanf(strrchr(real, '/'), "/%*x:%x:%x.%x", &bus, &dev, &fn) != 3)
		control_fail(0, "it has none");
	*rid = bus << 8 | dev << 3 | fn;

	snprintf_assert(path, sizeof(path), "%s/config", real);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, config, sizeof(config)) != sizeof(config))
		control_fail(-errno, "read config space");
	close(fd);
	for (at = config[PCI_CAPABILITY_LIST]; at; at = config[at + 1])
		if (config[at] == PCI_CAP_ID_EXP)
			return at + PCI_EXP_SLTCTL;
	control_fail(0, "it has no slot");
	return 0;
}

/* Have VFIO say so when the device should be let go of. */
static int request_eventfd(struct nic *nic)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} args = {
		.set.argsz = sizeof(args.set) + sizeof(args.fd),
		.set.flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD,
		.set.index = VFIO_PCI_REQ_IRQ_INDEX,
		.set.count = 1,
	};
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	control_step("have removal of NIC %u reported", nic->id);
	memcpy(args.set.data, &fd, sizeof(fd));
	if (fd < 0 || ioctl(nic->device->fd, VFIO_DEVICE_SET_IRQS, &args))
		control_fail(-errno, "failed");
	return fd;
}

enum departure { STAYS, GOES, ASKED };

static enum departure wait_gone(struct nic *nic, int request)
{
	long long start = now_ms();
	u64 count;

	while (now_ms() - start < PATIENCE_MS) {
		if (!nic_is_there(nic))
			return GOES;
		if (request >= 0 && read(request, &count, sizeof(count)) > 0)
			return ASKED;
		usleep(10000);
	}
	return STAYS;
}

/* Nobody is left who could use it: all of its files go. */
static void nic_let_go(struct nic *nic)
{
	nic->running = false;
	vfio_pci_device_cleanup(nic->device);
	nic->device = NULL;
	nic_irq_close(nic);
	iommu_cleanup(nic->iommu);
	nic->iommu = NULL;
	stream_memory_close(&nic->first);
	nic->first.vaddr = NULL;
}

/* What was in the way is gone. */
void nic_unplug_end(struct nic *nic)
{
	enum departure departure = wait_gone(nic, -1);

	control_step("unplug NIC %u", nic->id);
	if (departure != GOES)
		control_fail(0, "it is still there");
	control_mark("unplugged nic=%u", nic->id);
}

/*
 * In the old kernel the session holds the device. Without it, the others are
 * preserved again.
 */
static void give_up(struct nic *nic)
{
	struct vmm_session *session = nic->session;
	int ret;

	ret = kexec_try();
	control_info("kexec_errno=%d", -ret);
	control_step("close session");
	if (close(session->fd))
		control_fail(-errno, "failed");
	nic_let_go(nic);
	nic_unplug_end(nic);

	control_info("nic%u_back=0 unplugged", nic->id);
	session->nr--;
	vmm.nr_nics--;
	session_create(session);
	ret = preserve_all(session);
	if (ret)
		control_fail(ret, "failed");
	control_mark("preserved-again");
}

/* Have it unplugged: the button is pressed, or it is pulled out. */
void nic_leaves(struct nic *nic)
{
	u32 rid, at = slot_control(nic, &rid);

	control_mark("unplug nic=%u", nic->id);
	if (vmm.pull)
		control_pull(nic->id, rid, at);
	else
		control_unplug(nic->id);
}

/* Have it unplugged, if it is time to; true if it was let go of. */
bool nic_unplug(const char *when)
{
	struct nic *nic = unplugged_nic();
	enum departure departure;
	int request = -1;

	if (!nic_unplugs(nic, when))
		return false;
	if (nic->device)
		request = request_eventfd(nic);
	nic_leaves(nic);

	departure = wait_gone(nic, request);
	if (request >= 0)
		close(request);
	switch (departure) {
	case STAYS:
		control_mark("kept nic=%u", nic->id);
		return false;
	case GOES:
		control_mark("unplugged nic=%u", nic->id);
		return true;
	case ASKED:
		break;
	}

	control_mark("asked nic=%u", nic->id);
	if (vmm.stage == 1)
		give_up(nic);
	else
		nic_let_go(nic);
	return true;
}

/*
 * Finish the session, and have the NIC unplugged meanwhile, if that is when it goes:
 * somewhere on the way, another time elsewhere. Returns true if it was let go of.
 */
bool session_finish_unplug(struct vmm_session *session)
{
	u32 delay = vmm.run_id % RACE_US;
	int status;
	bool left;
	pid_t pid;

	if (!nic_unplugs(unplugged_nic(), "finishing")) {
		session_finish(session);
		return false;
	}

	control_info("finish_delay_us=%u", delay);
	pid = fork();
	if (pid < 0)
		control_fail(-errno, "fork");
	if (!pid) {
		usleep(delay);
		session_finish(session);
		_exit(0);
	}
	left = nic_unplug("finishing");
	control_info("nic%u_back=%s", unplugged_nic()->id, left ? "0 unplugged" : "1");
	control_step("finish session while NIC %u leaves", unplugged_nic()->id);
	if (waitpid(pid, &status, 0) != pid || status)
		control_fail(0, "status %#x", status);
	test_pass("the session can be finished");
	return left;
}

/*
 * By a damaged record a device has been running in that slot, where FINISH did not see
 * any. What is found there now has to be stopped, and is a device like any other then.
 */
void device_plug(void)
{
	struct nic nic = { .bdf = vmm.plug };
	long long start = now_ms();

	if (!vmm.plug)
		return;
	control_step("plug a device in at %s", vmm.plug);
	if (nic_is_there(&nic))
		control_fail(0, "there is one");
	control_mark("plug");
	control_plug();
	while (!nic_is_there(&nic)) {
		if (now_ms() - start > PATIENCE_MS)
			control_fail(0, "there is none");
		usleep(10000);
	}
	usleep(ADDED_MS * 1000);
	control_info("late_command=%#x", nic_command_read(&nic));
	nic_drive(&nic);
	must(nic_bind_new(&nic), "open what was plugged in at %s", vmm.plug);
	control_mark("plugged");
}
