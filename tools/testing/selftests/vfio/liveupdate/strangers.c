// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is not meant to have a device that came through a live update, and tries: any
 * user, a VMM with another iommufd, one that has heard of the tokens, somebody who
 * opened the device before its VMM came back. Each attempt has an errno, and none an
 * effect: DMA goes on all the while, which the outside watches.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <linux/iommufd.h>
#include <linux/sizes.h>
#include <linux/vfio.h>

#include <libliveupdate.h>

#include "uapi.h"
#include "vmm.h"

#define NOBODY	65534

static int early = -1;		/* the device, opened by somebody else */
static int stranger = -1;	/* and an iommufd of his */

static void must_be(const char *what, int ret, int expected)
{
	control_info("stranger=%s errno=%d", what, -ret);
	if (ret != expected)
		control_fail(ret, "%s should have failed with errno %d", what, -expected);
}

static int result(int ret)
{
	return ret < 0 ? -errno : 0;
}

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Any user: there is nothing he can open. Runs in a process of its own. */
static int as_nobody(const char *cdev, const char *bdf)
{
	char config[64];
	int ret;

	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
		return -EPROTO;
	ret = try_open(LUO_DEVICE, O_RDWR);
	if (ret == -EACCES)
		ret = try_open(cdev, O_RDWR);
	if (ret == -EACCES)
		ret = try_open("/dev/iommu", O_RDWR);
	snprintf_assert(config, sizeof(config), "/sys/bus/pci/devices/%s/config", bdf);
	if (ret == -EACCES)
		ret = try_open(config, O_RDWR);
	if (ret == -EACCES)
		ret = try_open("/sys/bus/pci/drivers/vfio-pci/unbind", O_WRONLY);
	if (ret == -EACCES)
		ret = try_open("/sys/kernel/debug/iommu/liveupdate", O_RDONLY);
	return ret;
}

static void nobody_tries(struct nic *nic, const char *cdev)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		control_fail(-errno, "fork");
	if (!pid)
		_exit(-as_nobody(cdev, nic->bdf));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		control_fail(0, "the process of another user died");
	must_be("any-user", -WEXITSTATUS(status), -EACCES);
}

static int bind_to(int cdev, int iommufd)
{
	struct vfio_device_bind_iommufd args = {
		.argsz = sizeof(args),
		.iommufd = iommufd,
	};

	return result(ioctl(cdev, VFIO_DEVICE_BIND_IOMMUFD, &args));
}

static void use_unbound(int cdev)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	char byte;

	must_be("info", result(ioctl(cdev, VFIO_DEVICE_GET_INFO, &info)), -EINVAL);
	must_be("reset", result(ioctl(cdev, VFIO_DEVICE_RESET, NULL)), -EINVAL);
	must_be("read", result(pread(cdev, &byte, 1, 0)), -EINVAL);
	must_be("mmap", mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED, cdev, 0) ==
		MAP_FAILED ? -errno : 0, -EINVAL);
}

/* Nobody has come for the device yet, but somebody else is there. */
void strangers_come(struct vmm_session *session)
{
	struct nic *nic = session->first;
	u32 hwpt_id, ioas_id;
	const char *cdev;

	if (!vmm.strangers)
		return;

	control_step("let strangers in");
	cdev = vfio_pci_get_cdev_path(nic->bdf);
	nobody_tries(nic, cdev);

	early = open(cdev, O_RDWR | O_CLOEXEC);
	stranger = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (early < 0 || stranger < 0)
		control_fail(-errno, "open");
	must_be("bind", bind_to(early, stranger), -EBUSY);
	use_unbound(early);
	must_be("token", hwpt_restore(stranger, TOKEN_HWPT(nic), &hwpt_id, &ioas_id),
		-ENOTTY);

	liveupdate_open();
	must_be("second-agent", try_open(LUO_DEVICE, O_RDWR), -EBUSY);
	must_be("other-name", luo_retrieve_session(vmm.luo, "nobody's"), -ENOENT);
	control_mark("strangers");
}

/* The VMM has its files, and has bound the device. */
void strangers_meet(struct vmm_session *session)
{
	struct nic *nic = session->first;
	u32 hwpt_id, ioas_id;

	if (!vmm.strangers)
		return;

	control_step("let strangers try again");
	must_be("session-twice", luo_retrieve_session(vmm.luo, session->name), -EINVAL);
	must_be("bind-late", bind_to(early, stranger), -EINVAL);
	must_be("bind-ours", bind_to(early, nic->iommu->iommufd), -EINVAL);
	use_unbound(early);
	must_be("token-late", hwpt_restore(stranger, TOKEN_HWPT(nic), &hwpt_id, &ioas_id),
		-ENOTTY);
	must_be("other-token", hwpt_restore(nic->iommu->iommufd, 4711, &hwpt_id, &ioas_id),
		-ENOENT);
	control_mark("strangers-late");
}

static u64 *vmm_pfns;		/* sorted */
static size_t nr_vmm_pfns;

static int pfn_cmp(const void *a, const void *b)
{
	const u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void remember(struct stream_memory *mem)
{
	size_t i, nr = mem->size / SZ_4K;
	u64 *pfns = pfns_read(mem->vaddr, mem->size, true);

	vmm_pfns = realloc(vmm_pfns, (nr_vmm_pfns + nr) * sizeof(*vmm_pfns));
	VFIO_ASSERT_NOT_NULL(vmm_pfns);
	for (i = 0; i < nr; i++) {
		if (pfns[i])
			vmm_pfns[nr_vmm_pfns++] = pfns[i];
	}
	free(pfns);
}

/* Where the memory of the VMM is, as long as it has some */
void strangers_remember(struct vmm_session *session)
{
	struct nic *nic = NULL;

	if (!vmm.strangers)
		return;
	while (session_nic_next(session, &nic)) {
		remember(&nic->first);
		remember(&nic->second);
	}
	qsort(vmm_pfns, nr_vmm_pfns, sizeof(*vmm_pfns), pfn_cmp);
}

/* How many of the pages here were the VMM's. */
static size_t count_vmm_pages(void *memory, size_t size)
{
	u64 *pfns = pfns_read(memory, size, false);
	size_t i, n = 0;

	for (i = 0; i < size / SZ_4K; i++)
		n += !!bsearch(&pfns[i], vmm_pfns, nr_vmm_pfns, sizeof(*pfns), pfn_cmp);
	free(pfns);
	return n;
}

/* All is closed: memory that is free has nothing in it, and nobody can ask for it. */
void strangers_stay(struct vmm_session *session)
{
	u64 left = mem_free(), size = 0, at;
	u64 *memory;
	size_t found;

	if (!vmm.strangers)
		return;

	control_step("look for what the VMM had");
	close(early);
	close(stranger);
	liveupdate_open();
	must_be("session-after", luo_retrieve_session(vmm.luo, session->name), -ENOENT);

	/* Most of what is free, to be sure to get what has just become so */
	size = left / 10 * 8 / getpagesize() * getpagesize();
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		control_fail(-errno, "mmap of %lu bytes", size);
	if (madvise(memory, size, MADV_POPULATE_WRITE))
		control_fail(-errno, "populate %lu bytes", size);
	/* All memory is zero that comes this way: it has to be what the VMM had. */
	found = count_vmm_pages(memory, size);
	control_info("vmm_pages=%zu found=%zu", nr_vmm_pfns, found);
	control_step("look for what the VMM had");
	if (!found || found < nr_vmm_pfns / 2)
		control_fail(0, "only %zu of its %zu pages turned up", found, nr_vmm_pfns);
	for (at = 0; at < size / sizeof(*memory); at++) {
		if (memory[at])
			control_fail(0, "memory has %#lx in it", memory[at]);
	}
	munmap(memory, size);
	control_info("looked_at_mib=%lu", size >> 20);
}
