// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is not meant to have a preserved device, before the jump: each attempt has an
 * errno and no effect. After it, see liveupdate/strangers.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <linux/iommufd.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/streaming.h"

#define NOBODY	65534

static const char *device_bdf;

FIXTURE(access) {
	struct refuse refuse;
	struct streaming streaming;
	const char *cdev_path;
	int early;			/* the device, opened before it was preserved */
	struct iommu *other;		/* somebody else's */
};

FIXTURE_SETUP(access)
{
	int ret;

	self->cdev_path = vfio_pci_get_cdev_path(device_bdf);
	self->early = open(self->cdev_path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->early);

	ret = refuse_init(&self->refuse, device_bdf, _metadata->name);
	if (ret == -ENODEV)
		SKIP(return, "no " LUO_DEVICE);
	if (ret == -ENOTTY)
		SKIP(return, "no IOMMU live update in this kernel");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, vm_preserve_all(&self->refuse.vm));
	self->other = iommu_init(MODE_IOMMUFD);
	streaming_start(&self->streaming, &self->refuse);
}

/* Whatever it was, it had no effect. */
FIXTURE_TEARDOWN(access)
{
	struct vm *vm = &self->refuse.vm;

	EXPECT_TRUE(streaming_goes_on(&self->streaming));
	EXPECT_EQ(-EBUSY, vm_map_and_unmap(vm));
	streaming_stop(&self->streaming);
	EXPECT_EQ(0, self->streaming.bad);

	close(self->early);
	iommu_cleanup(self->other);
	ASSERT_LE(0, refuse_new_session(&self->refuse));
	EXPECT_EQ(0, vm_map_and_unmap(vm));
	EXPECT_EQ(0, vm_preserve_all(vm));
	refuse_cleanup(&self->refuse);
}

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* As another user, in a process of its own */
static int nobody_opens(const char *path, int flags)
{
	int status;
	pid_t pid = fork();

	VFIO_ASSERT_GE(pid, 0);
	if (!pid) {
		if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
			_exit(EPROTO);
		_exit(-try_open(path, flags));
	}
	VFIO_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	VFIO_ASSERT_TRUE(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

TEST_F(access, any_user)
{
	char path[128];

	EXPECT_EQ(-EACCES, nobody_opens(LUO_DEVICE, O_RDWR));
	EXPECT_EQ(-EACCES, nobody_opens(self->cdev_path, O_RDWR));
	EXPECT_EQ(-EACCES, nobody_opens("/dev/iommu", O_RDWR));
	EXPECT_EQ(-EACCES, nobody_opens("/sys/kernel/debug/iommu/liveupdate", O_RDONLY));
	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/config", device_bdf);
	EXPECT_EQ(-EACCES, nobody_opens(path, O_RDWR));
	snprintf_assert(path, sizeof(path), "/sys/bus/pci/devices/%s/reset", device_bdf);
	EXPECT_EQ(-EACCES, nobody_opens(path, O_WRONLY));
	EXPECT_EQ(-EACCES, nobody_opens("/sys/bus/pci/drivers/vfio-pci/unbind", O_WRONLY));
}

TEST_F(access, second_agent)
{
	EXPECT_EQ(-EBUSY, try_open(LUO_DEVICE, O_RDWR));
	EXPECT_EQ(-EEXIST, luo_create_session(self->refuse.vm.luo, _metadata->name));
	EXPECT_GT(0, luo_retrieve_session(self->refuse.vm.luo, _metadata->name));
}

static int bind_to(int cdev, int iommufd)
{
	struct vfio_device_bind_iommufd args = {
		.argsz = sizeof(args),
		.iommufd = iommufd,
	};

	return ioctl(cdev, VFIO_DEVICE_BIND_IOMMUFD, &args) ? -errno : 0;
}

/* Whoever has opened the device before is no further for that. */
TEST_F(access, opened_early)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vm *vm = &self->refuse.vm;
	char byte;

	EXPECT_EQ(-EINVAL, bind_to(self->early, self->other->iommufd));
	EXPECT_EQ(-EINVAL, bind_to(self->early, vm->iommu->iommufd));
	EXPECT_EQ(-1, ioctl(self->early, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->early, VFIO_DEVICE_RESET, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EINVAL, __vfio_device_attach_iommufd_pt(self->early, vm->hwpt_id));
	EXPECT_EQ(-EINVAL, device_detach(self->early));
	EXPECT_EQ(-1, pread(self->early, &byte, 1, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pwrite(self->early, &byte, 1, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, SZ_4K, PROT_READ, MAP_SHARED, self->early, 0));
	EXPECT_EQ(EINVAL, errno);
	/* It is not the file that has been bound */
	EXPECT_GT(0, vm_preserve(vm, self->early, TOKEN_OTHER));
}

/* With the iommufd of another VMM, and the number and token of ours */
TEST_F(access, other_iommufd)
{
	struct vm *vm = &self->refuse.vm;
	int other = self->other->iommufd;
	u32 hwpt_id, ioas_id;

	EXPECT_EQ(-ENOENT, hwpt_mark_preserve(other, vm->hwpt_id, 0));
	EXPECT_EQ(-ENOTTY, hwpt_restore(other, 0, &hwpt_id, &ioas_id));
	EXPECT_EQ(-ENOENT, iommufd_destroy(other, vm->hwpt_id));
	EXPECT_EQ(-ENOENT, iommufd_destroy(other, vm->dev_id));
	EXPECT_GT(0, bind_to(vm->device->fd, other));
	/* Nothing in it is marked */
	EXPECT_EQ(-EINVAL, vm_preserve(vm, other, TOKEN_OTHER));
}

/* The token of a file names it in its session only. */
TEST_F(access, other_session)
{
	struct vm *vm = &self->refuse.vm;
	int session = luo_create_session(vm->luo, "stranger");

	ASSERT_LE(0, session);
	EXPECT_GT(0, luo_session_retrieve_fd(session, TOKEN_IOMMUFD));
	EXPECT_GT(0, luo_session_retrieve_fd(vm->session, TOKEN_IOMMUFD));
	EXPECT_GT(0, luo_session_finish(session));
	EXPECT_GT(0, luo_session_finish(vm->session));
	EXPECT_EQ(-EBUSY, luo_session_preserve_fd(session, vm->iommu->iommufd, 0));
	EXPECT_EQ(-EBUSY, luo_session_preserve_fd(session, vm->device->fd, 1));
	EXPECT_EQ(-EBUSY, luo_session_preserve_fd(session, vm->memfd, 2));
	ASSERT_EQ(0, close(session));
}

static int state_write(const char *state)
{
	int fd = open("/sys/power/state", O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, state, strlen(state)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* Nor may the machine sleep: devices would lose what they do. */
TEST_F(access, sleep)
{
	char states[128] = {};
	int fd = open("/sys/power/state", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no CONFIG_PM_SLEEP");
	ASSERT_LT(0, read(fd, states, sizeof(states) - 1));
	close(fd);

	if (strstr(states, "freeze"))
		EXPECT_EQ(-EBUSY, state_write("freeze"));
	if (strstr(states, "mem"))
		EXPECT_EQ(-EBUSY, state_write("mem"));
	if (strstr(states, "disk"))
		EXPECT_EQ(-EBUSY, state_write("disk"));
	TH_LOG("refused: %s", strtok(states, "\n"));
	EXPECT_TRUE(refuse_logged(&self->refuse, "in a live update, not suspending"));
}

int main(int argc, char *argv[])
{
	device_bdf = vfio_selftests_get_bdf(&argc, argv);
	return test_harness_run(argc, argv);
}
