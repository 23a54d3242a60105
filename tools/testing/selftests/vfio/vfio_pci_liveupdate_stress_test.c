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

#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/faults.h"
#include "liveupdate/footprint.h"
#include "liveupdate/image.h"
#include "liveupdate/refuse.h"
#include "liveupdate/stress.h"

#define NR_THREADS	6
#define MAX_ID		64	/* of objects, the lowest that is free is taken */
#define NR_SENTINELS	12	/* files in a session of their own, one of which fails to freeze */
#define HANG_SECONDS	120
#define TIMEOUT		(24 * 60 * 60)

/* Of so many attempts one works, however much the others are in the way. */
#define ENOUGH		50

static const char *device_bdf;

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
	struct footprint before;	/* with nothing open */
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
	/* Once for what is only allocated the first time, and not freed or late */
	ASSERT_EQ(0, vm_preserve_all(vm));
	vm_cleanup(vm);
	sleep(1);
	self->before = footprint_take();
	ASSERT_EQ(0, vm_init(vm, device_bdf, _metadata->name));

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
	unsigned long worked = 0;
	struct footprint after;
	const char *hangs;
	struct refuse next;
	bool kmemleak;
	int i;

	TH_LOG("LIVEUPDATE_SEED=%llu, %d s", (unsigned long long)seed, seconds);
	kmemleak = kmemleak_start();
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
		worked += ops[i].ok;
		if (ops[i].must_work && ops[i].done >= ENOUGH &&
		    (stress.reboot || ops[i].run != op_freeze))
			EXPECT_LT(0, ops[i].ok);
	}
	EXPECT_LT(0, worked);

	/* Nothing is left of it, and the device is good for the next one. */
	end_all(&self->vm);
	after = footprint_settle(&self->before);
	EXPECT_EQ(self->before.iommu_pages, after.iommu_pages);
	EXPECT_EQ(self->before.pinned, after.pinned);
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
