/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_STRESS_H
#define SELFTESTS_VFIO_LIVEUPDATE_STRESS_H

/*
 * What the VMM of the stress test does to its objects: mappings, HWPTs, the device
 * and the memory. Each operation returns 0 or a negative errno, whatever the others
 * are doing; see vfio_pci_liveupdate_stress_test.c for who calls them.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "image.h"
#include "test_vm.h"

#define NR_SLOTS	4	/* of memory, the first is mapped most of the time */
#define NR_HWPTS	3
#define NR_SESSIONS	2

/* All of them are replaced under those who use them. */
static struct {
	struct vm *vm;
	const char *cdev_path;
	int memfd[NR_SLOTS];
	int session[NR_SESSIONS];
	int cdev;
	int eventfd;
	u32 hwpt[NR_HWPTS];
	u64 config_offset;

	pthread_rwlock_t calm;		/* held to preserve without anybody racing */
	pthread_mutex_t reboot_lock;	/* sentinels are the last session */
	bool reboot;
	struct image image;
	bool stop;
} stress;

struct thread {
	pthread_t pthread;
	u64 random;
	const char *doing;
	time_t since;
};

static u32 random_below(struct thread *t, u32 limit)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return (t->random >> 20) % limit;
}

static int swap(int *where, int fd)
{
	return __atomic_exchange_n(where, fd, __ATOMIC_SEQ_CST);
}

static int result(int ret)
{
	return ret < 0 ? -errno : 0;
}

static int ictx_ioctl(unsigned long request, void *arg)
{
	return result(ioctl(stress.vm->iommu->iommufd, request, arg));
}

static int op_map(struct thread *t)
{
	u32 slot = random_below(t, NR_SLOTS);
	struct iommu_ioas_map_file args = {
		.size = sizeof(args),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = stress.vm->iommu->ioas_id,
		.fd = stress.memfd[slot],
		.length = SZ_64K << random_below(t, 6),
		.iova = VM_MEMORY_IOVA + slot * SZ_4G,
	};

	return ictx_ioctl(IOMMU_IOAS_MAP_FILE, &args);
}

static int unmap(u64 iova, u64 length)
{
	struct iommu_ioas_unmap args = {
		.size = sizeof(args),
		.ioas_id = stress.vm->iommu->ioas_id,
		.iova = iova,
		.length = length,
	};

	return ictx_ioctl(IOMMU_IOAS_UNMAP, &args);
}

static int op_unmap(struct thread *t)
{
	return unmap(VM_MEMORY_IOVA + random_below(t, NR_SLOTS) * SZ_4G, SZ_4G);
}

static int op_unmap_all(struct thread *t)
{
	return random_below(t, 8) ? op_unmap(t) : unmap(0, UINT64_MAX);
}

static u32 some_hwpt(struct thread *t)
{
	return stress.hwpt[random_below(t, NR_HWPTS)];
}

static int op_mark(struct thread *t)
{
	return vm_mark(stress.vm, some_hwpt(t), random_below(t, 4));
}

static int hwpt_alloc(u32 *hwpt)
{
	struct iommu_hwpt_alloc args = {
		.size = sizeof(args),
		.dev_id = stress.vm->dev_id,
		.pt_id = stress.vm->iommu->ioas_id,
	};
	int ret = ictx_ioctl(IOMMU_HWPT_ALLOC, &args);

	*hwpt = args.out_hwpt_id;
	return ret;
}

static u32 swap_hwpt(u32 i, u32 hwpt)
{
	return __atomic_exchange_n(&stress.hwpt[i], hwpt, __ATOMIC_SEQ_CST);
}

static int op_hwpt_alloc(struct thread *t)
{
	u32 i = random_below(t, NR_HWPTS), hwpt;
	int ret = hwpt_alloc(&hwpt);

	if (!ret)
		iommufd_destroy(stress.vm->iommu->iommufd, swap_hwpt(i, hwpt));
	return ret;
}

static int op_destroy(struct thread *t)
{
	return iommufd_destroy(stress.vm->iommu->iommufd, some_hwpt(t));
}

static int op_detach(struct thread *t)
{
	return device_detach(stress.cdev);
}

/* Attach, or replace */
static int op_attach(struct thread *t)
{
	struct vfio_device_attach_iommufd_pt args = {
		.argsz = sizeof(args),
		.pt_id = random_below(t, 16) ? some_hwpt(t) : stress.vm->iommu->ioas_id,
	};

	return result(ioctl(stress.cdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &args));
}

static int bind_device(int cdev)
{
	struct vfio_device_bind_iommufd args = {
		.argsz = sizeof(args),
		.iommufd = stress.vm->iommu->iommufd,
	};
	int ret = result(ioctl(cdev, VFIO_DEVICE_BIND_IOMMUFD, &args));

	if (!ret)
		stress.vm->dev_id = args.out_devid;
	return ret;
}

/* Somebody else tries to have the device, too */
static int op_bind(struct thread *t)
{
	int cdev = open(stress.cdev_path, O_RDWR | O_CLOEXEC);
	int ret = bind_device(cdev);

	close(cdev);
	return ret;
}

/* The device is closed, and opened by the next one */
static int op_close(struct thread *t)
{
	int cdev, ret;

	if (random_below(t, 4))
		return op_bind(t);
	close(swap(&stress.cdev, -1));
	cdev = open(stress.cdev_path, O_RDWR | O_CLOEXEC);
	ret = bind_device(cdev);
	close(swap(&stress.cdev, cdev));
	return ret;
}

static int op_set_irqs(struct thread *t)
{
	struct {
		struct vfio_irq_set set;
		s32 fd;
	} args = {
		.set = {
			.argsz = sizeof(args),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = random_below(t, 3),	/* INTx, MSI, MSI-X */
			.count = 1,
		},
		.fd = stress.eventfd,
	};

	if (random_below(t, 2)) {
		args.set.argsz = sizeof(args.set);
		args.set.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
		args.set.count = 0;
	}
	return result(ioctl(stress.cdev, VFIO_DEVICE_SET_IRQS, &args));
}

static int op_config(struct thread *t)
{
	static const u8 where[] = {
		PCI_COMMAND, PCI_CACHE_LINE_SIZE, PCI_INTERRUPT_LINE, PCI_BASE_ADDRESS_0,
		0x44, 0x54, 0x74, 0xa8,		/* in capabilities, as an igb has them */
	};
	u16 value = random_below(t, 0x10000);

	return result(pwrite(stress.cdev, &value, sizeof(value), stress.config_offset +
			     where[random_below(t, ARRAY_SIZE(where))]));
}

static int op_reset(struct thread *t)
{
	return result(ioctl(stress.cdev, VFIO_DEVICE_RESET, NULL));
}

static int op_truncate(struct thread *t)
{
	return result(ftruncate(stress.memfd[random_below(t, NR_SLOTS)],
				random_below(t, 4) ? VM_MEMORY_SIZE :
				random_below(t, VM_MEMORY_SIZE)));
}

static int op_punch(struct thread *t)
{
	return result(fallocate(stress.memfd[random_below(t, NR_SLOTS)],
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				random_below(t, VM_MEMORY_SIZE), SZ_64K));
}

/* A file that can be sealed, and is; the one before may still be mapped. */
static int op_seal(struct thread *t)
{
	int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	u32 slot = random_below(t, NR_SLOTS);

	if (fd < 0 || ftruncate(fd, VM_MEMORY_SIZE))
		return -errno;
	close(swap(&stress.memfd[slot], fd));
	return result(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
}

static int op_fork(struct thread *t)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return result(waitpid(pid, NULL, 0));
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_STRESS_H */
