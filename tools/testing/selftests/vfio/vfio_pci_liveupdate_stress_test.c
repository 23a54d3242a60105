// SPDX-License-Identifier: GPL-2.0-only
/*
 * One VMM, many threads that do not know of each other: they map, unmap, mark,
 * destroy, attach, detach, close and bind, set up interrupts, write to config space,
 * reset, truncate, punch, seal and fork, while all of it is preserved, unpreserved,
 * frozen and thawed. Whatever an operation says, the kernel has to survive it, nobody
 * may hang, and nothing may be left over.
 *
 * It runs for LIVEUPDATE_SECONDS (default: 20). What each thread does follows from
 * LIVEUPDATE_SEED, which is printed; who comes first does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/reboot.h>
#include <sys/wait.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/faults.h"
#include "liveupdate/footprint.h"
#include "liveupdate/image.h"
#include "liveupdate/refuse.h"

#define NR_THREADS	6
#define NR_SLOTS	4	/* of memory, the first is mapped most of the time */
#define NR_HWPTS	3
#define NR_SESSIONS	2
#define MAX_ID		64	/* of objects, the lowest that is free is taken */
#define NR_SENTINELS	12	/* files in a session of their own, one of which fails to freeze */
#define HANG_SECONDS	120
#define TIMEOUT		(24 * 60 * 60)

static const char *device_bdf;

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

static int session_renew(u32 i)
{
	char name[16];
	int fd;

	pthread_mutex_lock(&stress.reboot_lock);
	close(swap(&stress.session[i], -1));
	snprintf(name, sizeof(name), "stress%u", i);
	fd = luo_create_session(stress.vm->luo, name);
	if (fd >= 0)
		close(swap(&stress.session[i], fd));
	pthread_mutex_unlock(&stress.reboot_lock);
	return fd < 0 ? fd : 0;
}

static int op_session(struct thread *t)
{
	return session_renew(random_below(t, NR_SESSIONS));
}

static int preserve(struct thread *t, int session, int fd, u32 token)
{
	return luo_session_preserve_fd(stress.session[session], fd,
				       random_below(t, 16) ? token : 0);
}

static int op_preserve_memfd(struct thread *t)
{
	u32 slot = random_below(t, NR_SLOTS);

	return preserve(t, random_below(t, NR_SESSIONS), stress.memfd[slot], slot);
}

static int op_preserve_iommufd(struct thread *t)
{
	return preserve(t, random_below(t, NR_SESSIONS), stress.vm->iommu->iommufd,
			NR_SLOTS);
}

static int op_preserve_cdev(struct thread *t)
{
	return preserve(t, random_below(t, NR_SESSIONS), stress.cdev, NR_SLOTS + 1);
}

/* All that is needed, so that some of them come to their end */
static int op_preserve_all(struct thread *t)
{
	u32 session = random_below(t, NR_SESSIONS), slot, i, hwpt;
	int ret;

	for (i = 0; i < NR_SESSIONS; i++)
		session_renew(i);
	unmap(0, UINT64_MAX);
	for (slot = 0; slot < NR_SLOTS; slot++)
		ftruncate(stress.memfd[slot], VM_MEMORY_SIZE);
	op_map(t);
	bind_device(stress.cdev);
	if (!hwpt_alloc(&hwpt))
		__vfio_device_attach_iommufd_pt(stress.cdev, hwpt);
	for (i = 0; i < NR_HWPTS; i++)
		swap_hwpt(i, hwpt);
	/* One that has a mark and no device is in the way, also if it got lost. */
	for (i = 1; i < MAX_ID; i++) {
		if (i != hwpt && i != stress.vm->iommu->ioas_id)
			iommufd_destroy(stress.vm->iommu->iommufd, i);
	}
	vm_mark(stress.vm, hwpt, hwpt);
	for (slot = 0; slot < NR_SLOTS; slot++)
		preserve(t, session, stress.memfd[slot], slot);
	ret = preserve(t, session, stress.vm->iommu->iommufd, NR_SLOTS);
	return ret ?: preserve(t, session, stress.cdev, NR_SLOTS + 1);
}

static int op_finish(struct thread *t)
{
	return luo_session_finish(stress.session[random_below(t, NR_SESSIONS)]);
}

static int op_look(struct thread *t)
{
	char text[4096];
	int fd = open(IOMMU_DEBUGFS, O_RDONLY | O_CLOEXEC);
	int ret = result(read(fd, text, sizeof(text)));

	close(fd);
	return ret;
}

/*
 * Freeze everything up to one of the sentinels, which are in the last session. No
 * session is added meanwhile, and those that go have none of them.
 */
static int op_freeze(struct thread *t)
{
	int session, memfd[NR_SENTINELS], i, ret;

	if (!stress.reboot)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&stress.reboot_lock);
	session = luo_create_session(stress.vm->luo, "sentinels");
	/* A fork can still have the last one */
	if (session == -EEXIST) {
		pthread_mutex_unlock(&stress.reboot_lock);
		return session;
	}
	VFIO_ASSERT_GE(session, 0);
	for (i = 0; i < NR_SENTINELS; i++) {
		memfd[i] = memfd_create("sentinel", MFD_CLOEXEC);
		VFIO_ASSERT_GE(memfd[i], 0);
		VFIO_ASSERT_EQ(luo_session_preserve_fd(session, memfd[i], i), 0);
	}
	fault_function_set(1 + random_below(t, NR_SENTINELS));
	ret = result(reboot(RB_KEXEC));
	fault_function_fired();
	close(session);
	for (i = 0; i < NR_SENTINELS; i++)
		close(memfd[i]);
	pthread_mutex_unlock(&stress.reboot_lock);
	return ret == -EIO ? 0 : ret;
}

static struct op {
	const char *name;
	int (*run)(struct thread *t);
	u32 weight;
	bool must_work;			/* now and then */
	unsigned long done, ok;
} ops[] = {
	{ "map", op_map, 4, true },
	{ "unmap", op_unmap, 1, true },
	{ "unmap all", op_unmap_all, 1, true },
	{ "mark", op_mark, 1, true },
	{ "allocate HWPT", op_hwpt_alloc, 2, true },
	{ "destroy HWPT", op_destroy, 1 },
	{ "detach", op_detach, 1, true },
	{ "attach", op_attach, 3, true },
	{ "bind", op_bind, 1 },
	{ "close", op_close, 1 },
	{ "interrupts", op_set_irqs, 2, true },
	{ "config space", op_config, 2, true },
	{ "reset", op_reset, 1, true },
	{ "truncate", op_truncate, 1, true },
	{ "punch", op_punch, 1, true },
	{ "seal", op_seal, 1 },
	{ "fork", op_fork, 1, true },
	{ "look", op_look, 1, true },
	{ "finish", op_finish, 1 },
	{ "session", op_session, 1, true },
	{ "preserve memfd", op_preserve_memfd, 1, true },
	{ "preserve iommufd", op_preserve_iommufd, 1 },
	{ "preserve cdev", op_preserve_cdev, 1 },
	{ "preserve all", op_preserve_all, 6, true },
	{ "freeze", op_freeze, 2, true },
};

static struct op *pick(struct thread *t)
{
	u32 sum = 0, at, i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	at = random_below(t, sum);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	return &ops[i];
}

static void *thread_run(void *arg)
{
	struct thread *t = arg;

	while (!__atomic_load_n(&stress.stop, __ATOMIC_RELAXED)) {
		struct op *op = pick(t);
		int ret;

		t->since = time(NULL);
		t->doing = op->name;
		if (op->run == op_preserve_all && random_below(t, 2))
			pthread_rwlock_wrlock(&stress.calm);
		else
			pthread_rwlock_rdlock(&stress.calm);
		ret = op->run(t);
		pthread_rwlock_unlock(&stress.calm);
		t->doing = NULL;
		__atomic_add_fetch(&op->done, 1, __ATOMIC_RELAXED);
		if (!ret)
			__atomic_add_fetch(&op->ok, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

FIXTURE(stress) {
	struct vm vm;
	struct thread threads[NR_THREADS];
};

FIXTURE_SETUP(stress)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	pthread_rwlockattr_t attr;
	struct vm *vm = &self->vm;
	int ret = vm_init(vm, device_bdf, _metadata->name);
	int i;

	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);

	/* No BAR is mapped: that would keep the device open. */
	ASSERT_EQ(0, ioctl(vm->device->fd, VFIO_DEVICE_GET_REGION_INFO, &config));
	stress.config_offset = config.offset;
	stress.vm = vm;
	stress.cdev_path = vfio_pci_get_cdev_path(device_bdf);
	stress.cdev = vm->device->fd;
	stress.memfd[0] = vm->memfd;
	stress.hwpt[0] = vm->hwpt_id;
	stress.eventfd = eventfd(0, EFD_CLOEXEC);
	for (i = 1; i < NR_SLOTS; i++)
		stress.memfd[i] = vm_memory_create();
	for (i = 0; i < NR_SESSIONS; i++)
		stress.session[i] = -1;
	pthread_mutex_init(&stress.reboot_lock, NULL);
	/* Else the one who wants calm waits for ever */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&stress.calm, &attr);
	stress.reboot = fault_function_init(FAULT_FREEZE, -EIO) &&
			!image_open(&stress.image) &&
			!image_load(&stress.image, CMDLINE_GOOD);
}

FIXTURE_TEARDOWN(stress)
{
	if (!stress.reboot)
		return;
	fault_function_end(FAULT_FREEZE);
	image_unload();
}

static void end_all(struct vm *vm)
{
	int i;

	for (i = 0; i < NR_SESSIONS; i++)
		close(stress.session[i]);
	close(stress.cdev);
	for (i = 0; i < NR_SLOTS; i++)
		close(stress.memfd[i]);
	close(stress.eventfd);
	close(vm->session);
	close(vm->luo);
	iommu_cleanup(vm->iommu);
}

/* Wait, and see whether all of them get somewhere. Returns what hangs. */
static const char *watch(struct thread *threads, int seconds)
{
	time_t end = time(NULL) + seconds;
	int i;

	while (time(NULL) < end) {
		usleep(100000);
		for (i = 0; i < NR_THREADS; i++) {
			const char *doing = threads[i].doing;

			if (doing && time(NULL) - threads[i].since > HANG_SECONDS)
				return doing;
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(stress, threads, TIMEOUT)
{
	int seconds = atoi(getenv("LIVEUPDATE_SECONDS") ?: "20");
	u64 seed = strtoull(getenv("LIVEUPDATE_SEED") ?: "0", NULL, 0) ?: time(NULL);
	struct footprint before, after;
	const char *hangs;
	struct refuse next;
	bool kmemleak;
	int i;

	TH_LOG("LIVEUPDATE_SEED=%llu, %d s", (unsigned long long)seed, seconds);
	kmemleak = kmemleak_start();
	before = footprint_take();
	for (i = 0; i < NR_THREADS; i++) {
		struct thread *t = &self->threads[i];

		t->random = (seed + i) * 0x9e3779b97f4a7c15ULL ?: 1;
		ASSERT_EQ(0, pthread_create(&t->pthread, NULL, thread_run, t));
	}

	hangs = watch(self->threads, seconds);
	__atomic_store_n(&stress.stop, true, __ATOMIC_RELAXED);
	if (!hangs)
		hangs = watch(self->threads, 1);
	ASSERT_EQ(NULL, hangs) {
		TH_LOG("hangs: %s", hangs);
	}
	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_join(self->threads[i].pthread, NULL));

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		TH_LOG("%-16s %6lu times, %6lu worked", ops[i].name, ops[i].done,
		       ops[i].ok);
		if (ops[i].must_work && (stress.reboot || ops[i].run != op_freeze))
			EXPECT_LT(0, ops[i].ok);
	}

	/* Nothing is left of it, and the device is good for the next one. */
	end_all(&self->vm);
	after = footprint_settle(&before);
	EXPECT_GE(before.iommu_pages, after.iommu_pages);
	EXPECT_GE(before.pinned, after.pinned);
	EXPECT_TRUE(file_is_empty(IOMMU_DEBUGFS));
	if (kmemleak)
		EXPECT_TRUE(kmemleak_clean());
	ASSERT_EQ(0, refuse_init(&next, device_bdf, "next"));
	EXPECT_EQ(0, refuse_dma(&next));
	EXPECT_EQ(0, vm_preserve_all(&next.vm));
	EXPECT_EQ(0, refuse_dma(&next));
	refuse_cleanup(&next);
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
