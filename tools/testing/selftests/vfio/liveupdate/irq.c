// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts, if --interrupts asks for them. Then nobody looks at the ring unless
 * one has come, so one that is lost for good shows as frames that never arrive.
 *
 * Those of the way over are lost: no kernel is there to take them, and eventfds
 * do not come along. The new VMM sets them up again, then triggers each once to
 * look at what it may have missed.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <linux/kernel.h>
#include <linux/vfio.h>

#include "vmm.h"

static int irq_set(struct nic *nic, u32 action, int fd)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} args = {
		.set.argsz = sizeof(args.set),
		.set.flags = action | VFIO_IRQ_SET_DATA_NONE,
		.set.index = vmm.irq,
		.set.count = 1,
	};

	if (fd >= 0) {
		args.set.argsz = sizeof(args.set) + sizeof(args.fd);
		args.set.flags = action | VFIO_IRQ_SET_DATA_EVENTFD;
		memcpy(args.set.data, &fd, sizeof(fd));
	}

	return ioctl(nic->device->fd, VFIO_DEVICE_SET_IRQS, &args) ? -errno : 0;
}

/* Have the interrupts of the device end in an eventfd. */
void nic_irq_setup(struct nic *nic)
{
	if (vmm.irq == RX_NO_IRQ)
		return;

	control_step("set up interrupts of NIC %u", nic->id);
	if (!(nic->ops->irqs & BIT(vmm.irq)))
		control_fail(-EOPNOTSUPP, "%s has no driver for those",
			     nic->ops->name);

	nic->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (nic->irq_fd < 0)
		control_fail(-errno, "eventfd");
	must(irq_set(nic, VFIO_IRQ_SET_ACTION_TRIGGER, nic->irq_fd),
	     "set up interrupts of NIC %u", nic->id);
	nic->irqs = 0;
}

/* Look, whether there was one or not. */
void nic_irq_kick(struct nic *nic)
{
	if (vmm.irq == RX_NO_IRQ)
		return;

	control_info("nic%u_irqs_before_kick=%llu", nic->id,
		     nic_irq_take(nic) ? nic->irqs : 0);
	must(irq_set(nic, VFIO_IRQ_SET_ACTION_TRIGGER, -1),
	     "trigger interrupt of NIC %u", nic->id);
}

/* True if the ring has to be looked at. */
bool nic_irq_take(struct nic *nic)
{
	__u64 count;

	if (vmm.irq == RX_NO_IRQ)
		return true;
	if (read(nic->irq_fd, &count, sizeof(count)) != sizeof(count))
		return false;

	nic->irqs += count;
	nic->ops->irq_ack(&nic->rx);

	/* VFIO masks a line that is asserted, and one that was triggered. */
	if (vmm.irq == VFIO_PCI_INTX_IRQ_INDEX)
		must(irq_set(nic, VFIO_IRQ_SET_ACTION_UNMASK, -1),
		     "unmask interrupt of NIC %u", nic->id);
	return true;
}

/* As many as there were frames, or somewhat less: some come at once. */
void nic_irq_check(struct nic *nic, __u64 frames)
{
	if (vmm.irq == RX_NO_IRQ)
		return;

	control_info("nic%u_irqs=%llu", nic->id, nic->irqs);
	control_info("nic%u_irq_frames=%llu", nic->id, frames);
	control_step("count interrupts of NIC %u", nic->id);
	if (nic->irqs < frames / 4)
		control_fail(0, "%llu interrupts for %llu frames", nic->irqs,
			     frames);
}

void nic_irq_close(struct nic *nic)
{
	if (vmm.irq != RX_NO_IRQ)
		close(nic->irq_fd);
}

/* None may have come to a vector that nobody has, or is not the device's. */
void irq_check_log(void)
{
	static const char * const signs[] = {
		"Spurious interrupt (vector",
		"No irq handler for vector",
		"DMAR: [INTR-REMAP]",
	};
	char line[2048];
	u32 found = 0;
	ssize_t len;
	int fd, i;

	if (vmm.irq == RX_NO_IRQ)
		return;

	control_step("look for stray interrupts");
	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		control_fail(-errno, "/dev/kmsg");
	for (;;) {
		len = read(fd, line, sizeof(line) - 1);
		if (len < 0 && errno == EPIPE)
			continue;	/* some have been overwritten */
		if (len <= 0)
			break;
		line[len] = 0;
		for (i = 0; i < ARRAY_SIZE(signs); i++)
			found += !!strstr(line, signs[i]);
	}
	close(fd);

	control_info("stray_interrupts=%u", found);
	if (found)
		control_fail(0, "%u in the kernel log", found);
}
