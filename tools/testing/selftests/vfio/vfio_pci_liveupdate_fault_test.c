// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything that can fail before the jump fails once: each allocation, each attempt
 * to hand memory over, and each file that is frozen. It is said with the right errno,
 * nothing is lost, the device has not noticed, and the same works right after.
 *
 * reboot(2) of a kernel where one file cannot be frozen comes back. A test that fails
 * may start the image, see vfio_pci_liveupdate_image_test.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/reboot.h>

#include <linux/pci_regs.h>
#include <linux/sizes.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/faults.h"
#include "liveupdate/footprint.h"
#include "liveupdate/image.h"
#include "liveupdate/streaming.h"

#define TIMEOUT	1800	/* with KASAN */

/* A limit, for when an attempt does not come to its end */
#define MAX_NTH	2000

static const char *device_bdf;

struct run {
	struct refuse refuse;
	struct streaming streaming;
	bool kmemleak;
};

FIXTURE(fault) {
	struct run run;
};

FIXTURE_SETUP(fault)
{
	int ret = refuse_init(&self->run.refuse, device_bdf, _metadata->name);

	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
	streaming_start(&self->run.streaming, &self->run.refuse);
}

FIXTURE_TEARDOWN(fault)
{
	streaming_stop(&self->run.streaming);
	EXPECT_EQ(0, self->run.streaming.bad);
	refuse_cleanup(&self->run.refuse);
}

/* One step of preserving, and those before it */
enum step { OP_SESSION, OP_MARK, OP_MEMFD, OP_IOMMUFD, OP_CDEV, NR_OPS };

static const char * const op_names[] = {
	"create session", "mark", "preserve memfd", "preserve iommufd", "preserve cdev",
};

static int do_op(struct vm *vm, enum step op)
{
	switch (op) {
	case OP_SESSION:
		vm->session = luo_create_session(vm->luo, "fault");
		return vm->session < 0 ? vm->session : 0;
	case OP_MARK:
		return vm_mark(vm, vm->hwpt_id, 1);
	case OP_MEMFD:
		return vm_preserve_memfd(vm);
	case OP_IOMMUFD:
		return vm_preserve_iommufd(vm);
	default:
		return vm_preserve_cdev(vm);
	}
}

static int do_ops_before(struct vm *vm, enum step op)
{
	enum step i;
	int ret = 0;

	if (vm->session >= 0)
		close(vm->session);
	vm->session = -1;
	for (i = 0; i < op && !ret; i++)
		ret = do_op(vm, i);
	return ret;
}

struct way {
	void (*set)(unsigned int nth);
	bool (*fired)(void);
	int err;
};

/*
 * Have the first, second, ... fail until there is none left. What fails does so
 * with the errno that was injected, or that of who cannot know it: -ENOMEM, or -ENOENT
 * of a lookup of iommufd. What works all the same is fine, too.
 */
static unsigned int sweep(struct __test_metadata *_metadata, struct vm *vm, enum step op,
			  const struct way *way)
{
	unsigned int nth, failed = 0;
	bool fired = true;
	int ret;

	for (nth = 1; fired && nth < MAX_NTH; nth++) {
		ASSERT_EQ(0, do_ops_before(vm, op));
		way->set(nth);
		ret = do_op(vm, op);
		fired = way->fired();
		if (!ret)
			continue;
		ASSERT_TRUE(fired);
		EXPECT_TRUE(ret == way->err || ret == -ENOMEM ||
			    (op == OP_MARK && ret == -ENOENT)) {
			TH_LOG("%s, number %u: %d", op_names[op], nth, ret);
		}
		failed++;
		ASSERT_EQ(0, do_op(vm, op)) {
			TH_LOG("%s after number %u failed", op_names[op], nth);
		}
	}
	ASSERT_FALSE(fired);
	TH_LOG("%s: %u of %u failed", op_names[op], failed, nth - 2);
	return failed;
}

/* All but marking, which allocates nothing, have something to fail. */
static void sweep_ops(struct __test_metadata *_metadata, struct vm *vm,
		      const struct way *way)
{
	unsigned int failed;
	enum step op;

	for (op = 0; op < NR_OPS; op++) {
		failed = sweep(_metadata, vm, op, way);
		EXPECT_TRUE(failed || op == OP_MARK) {
			TH_LOG("%s: nothing failed", op_names[op]);
		}
	}
	ASSERT_EQ(0, do_ops_before(vm, OP_SESSION));
}

static void sweep_all(struct __test_metadata *_metadata, struct run *run,
		      const struct way *way)
{
	struct vm *vm = &run->refuse.vm;
	struct footprint before;

	/* Once for the caches */
	sweep_ops(_metadata, vm, way);

	run->kmemleak = kmemleak_start();
	before = footprint_take();
	sweep_ops(_metadata, vm, way);
	ASSERT_TRUE(streaming_goes_on(&run->streaming));
	expect_same_footprint(_metadata, &before, run->kmemleak);
}

TEST_F_TIMEOUT(fault, allocations, TIMEOUT)
{
	static const struct way way = { fault_alloc_set, fault_alloc_fired, -ENOMEM };

	if (!fault_alloc_init())
		SKIP(return, "no fault injection of allocations");
	sweep_all(_metadata, &self->run, &way);
}

TEST_F_TIMEOUT(fault, handing_memory_over, TIMEOUT)
{
	static const struct way way = { fault_function_set, fault_function_fired, -ENOSPC };

	if (!fault_function_init(FAULT_KHO, -ENOSPC))
		SKIP(return, "no CONFIG_FAIL_FUNCTION");
	sweep_all(_metadata, &self->run, &way);
	fault_function_end(FAULT_KHO);
}

/* Freezing: other sessions before and after that of the VM, which are only memory. */
struct freezing {
	struct refuse refuse;
	struct streaming streaming;
	struct image image;
	int first, last;
	int first_memfd, last_memfd;
};

FIXTURE(freeze) {
	struct freezing run;
};

#define NR_FILES	5
#define RB_KEXEC_ERR	-EIO

FIXTURE_SETUP(freeze)
{
	struct vm *vm = &self->run.refuse.vm;
	int ret;

	ret = image_open(&self->run.image);
	if (ret)
		SKIP(return, "no kernel in LIVEUPDATE_KERNEL (%s)", strerror(-ret));

	ret = refuse_init(&self->run.refuse, device_bdf, _metadata->name);
	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
	if (!fault_function_init(FAULT_FREEZE, RB_KEXEC_ERR))
		SKIP(return, "no CONFIG_FAIL_FUNCTION");

	/* That of the VM is to be in the middle */
	close(vm->session);
	self->run.first = luo_create_session(vm->luo, "first");
	vm->session = luo_create_session(vm->luo, "middle");
	self->run.last = luo_create_session(vm->luo, "last");
	ASSERT_LE(0, self->run.first);
	ASSERT_LE(0, vm->session);
	ASSERT_LE(0, self->run.last);
	self->run.first_memfd = vm_memory_create();
	self->run.last_memfd = vm_memory_create();
	ASSERT_EQ(0, luo_session_preserve_fd(self->run.first, self->run.first_memfd, 0));
	ASSERT_EQ(0, luo_session_preserve_fd(self->run.last, self->run.last_memfd, 0));
	ASSERT_EQ(0, vm_preserve_all(vm));
	ASSERT_EQ(0, image_load(&self->run.image, CMDLINE_GOOD));
	streaming_start(&self->run.streaming, &self->run.refuse);
}

FIXTURE_TEARDOWN(freeze)
{
	streaming_stop(&self->run.streaming);
	EXPECT_EQ(0, self->run.streaming.bad);
	fault_function_end(FAULT_FREEZE);
	image_unload();
	close(self->run.first);
	close(self->run.last);
	refuse_cleanup(&self->run.refuse);
	close(self->run.first_memfd);
	close(self->run.last_memfd);
	image_close(&self->run.image);
}

/* Config space and interrupts, which freezing shuts */
static int device_change(struct vfio_pci_device *device)
{
	u8 line = vfio_pci_config_readb(device, PCI_INTERRUPT_LINE), got;

	vfio_pci_config_writeb(device, PCI_INTERRUPT_LINE, line ^ 1);
	got = vfio_pci_config_readb(device, PCI_INTERRUPT_LINE);
	vfio_pci_config_writeb(device, PCI_INTERRUPT_LINE, line);
	return got == (line ^ 1) ? 0 : -EIO;
}

static void expect_thawed(struct __test_metadata *_metadata, struct freezing *run)
{
	struct refuse *refuse = &run->refuse;
	struct vm *vm = &refuse->vm;

	/* Preserved as before */
	EXPECT_EQ(0, device_change(vm->device));
	EXPECT_EQ(-EBUSY, __iommu_unmap(vm->iommu, &vm->region, NULL));
	EXPECT_EQ(-EBUSY, device_detach(vm->device->fd));
	ASSERT_TRUE(streaming_goes_on(&run->streaming));
}

TEST_F_TIMEOUT(freeze, fails_at_each_file, TIMEOUT)
{
	struct refuse *refuse = &self->run.refuse;
	struct vm *vm = &refuse->vm;
	unsigned int nth;
	int ret;

	for (nth = 1; nth <= NR_FILES; nth++) {
		fault_function_set(nth);
		ret = reboot(RB_KEXEC);
		ASSERT_EQ(-1, ret);
		EXPECT_EQ(-RB_KEXEC_ERR, errno);
		EXPECT_TRUE(fault_function_fired());
		EXPECT_TRUE(refuse_logged(refuse, "Freeze failed for token"));
		expect_thawed(_metadata, &self->run);

		/* The others go on without that of the VM */
		close(vm->session);
		ASSERT_EQ(0, vm_map_and_unmap(vm));
		vm->session = luo_create_session(vm->luo, "middle");
		ASSERT_LE(0, vm->session);
		ASSERT_EQ(0, vm_preserve_all(vm));
		/* Last in line now: make it the middle again */
		close(self->run.last);
		self->run.last = luo_create_session(vm->luo, "last");
		ASSERT_LE(0, self->run.last);
		ASSERT_EQ(0, luo_session_preserve_fd(self->run.last, self->run.last_memfd, 0));
	}
}

/* The last file fails each time, so that there is no jump. */
TEST_F_TIMEOUT(freeze, allocations, TIMEOUT)
{
	struct vm *vm = &self->run.refuse.vm;
	unsigned int nth, failed = 0;
	bool fired = true;

	if (!fault_alloc_init())
		SKIP(return, "no fault injection of allocations");

	for (nth = 1; fired && nth < MAX_NTH; nth++) {
		int ret, err;

		fault_function_set(NR_FILES);
		fault_alloc_set(nth);
		ret = reboot(RB_KEXEC);
		err = errno;
		fired = fault_alloc_fired();
		ASSERT_EQ(-1, ret);
		if (err == ENOMEM && fired)
			failed++;
		else
			EXPECT_EQ(-RB_KEXEC_ERR, err);
		expect_thawed(_metadata, &self->run);
	}
	ASSERT_FALSE(fired);
	TH_LOG("%u of %u failed", failed, nth - 2);
	ASSERT_LE(0, refuse_new_session(&self->run.refuse));
	ASSERT_EQ(0, vm_preserve_all(vm));
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
