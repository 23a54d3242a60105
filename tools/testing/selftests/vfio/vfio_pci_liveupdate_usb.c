// SPDX-License-Identifier: GPL-2.0-only
/*
 * Take a USB controller through a live update. The kernel takes those that firmware has
 * left running away from it when they are found, and halts them: not one that is its
 * user's. There are two of them, both running, of which the first is preserved.
 *
 * It runs twice, before the kexec (1) and after it (2), with the same arguments. An
 * xHCI controller counts microframes, and writes an event into memory each time the
 * counter starts again, after 2 s: it needs no USB device for that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/reboot.h>

#include <linux/compiler.h>
#include <linux/io.h>
#include <linux/pci_regs.h>
#include <linux/sizes.h>
#include <asm/barrier.h>

#include <libliveupdate.h>
#include <libvfio.h>

#include "kselftest_harness.h"
#include "liveupdate/image.h"
#include "liveupdate/sysfs.h"
#include "liveupdate/test_vm.h"

#define SESSION		"usb"

/* xHCI 1.2, 5.3 to 5.5: the operational and runtime registers are at an offset each */
#define CAPLENGTH	0x00
#define RTSOFF		0x18
#define USBCMD		0x00
#define  CMD_RUN	BIT(0)
#define  CMD_RESET	BIT(1)
#define  CMD_WRAP_EVENT	BIT(10)
#define USBSTS		0x04
#define  STS_HALTED	BIT(0)
#define  STS_NOT_READY	BIT(11)
#define CRCR		0x18
#define DCBAAP		0x30
#define ERSTSZ		0x28
#define ERSTBA		0x30
#define ERDP		0x38

#define TRB_CYCLE	BIT(0)
#define TRB_MFINDEX_WRAP	39

#define NR_EVENTS	256
#define WRAP_MS		2048
#define PATIENCE_MS	(5 * WRAP_MS)

struct trb {
	__le64 parameter;
	__le32 status;
	__le32 control;
};

/* In the memory of the VM, each in a page of its own */
struct usb_memory {
	u8 contexts[SZ_4K];
	struct trb commands[SZ_4K / sizeof(struct trb)];
	struct trb events[NR_EVENTS];
	struct {
		__le64 base;
		__le32 size;
		__le32 reserved;
	} segment __aligned(SZ_4K);
	u32 seen __aligned(SZ_4K);	/* events before the jump */
};

static const char *preserved_bdf, *other_bdf, *initrd, *cmdline;

static u32 usb_read(void *bar, u32 reg)
{
	return readl(bar + readb(bar + CAPLENGTH) + reg);
}

static void usb_write(void *bar, u32 reg, u64 value, bool wide)
{
	void *at = bar + readb(bar + CAPLENGTH) + reg;

	writel((u32)value, at);
	if (wide)
		writel(value >> 32, at + 4);
}

static void runtime_write(void *bar, u32 reg, u64 value, bool wide)
{
	void *at = bar + readl(bar + RTSOFF) + reg;

	writel((u32)value, at);
	if (wide)
		writel(value >> 32, at + 4);
}

static bool usb_runs(void *bar)
{
	return (usb_read(bar, USBCMD) & CMD_RUN) &&
	       !(usb_read(bar, USBSTS) & STS_HALTED);
}

static bool usb_wait(void *bar, u32 reg, u32 mask, u32 value)
{
	int ms;

	for (ms = 0; ms < 1000; ms++) {
		if ((usb_read(bar, reg) & mask) == value)
			return true;
		usleep(1000);
	}
	return false;
}

static bool usb_start(struct vfio_pci_device *device, struct usb_memory *mem, u64 iova)
{
	void *bar = device->bars[0].vaddr;

	vfio_pci_cmd_set(device, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	usb_write(bar, USBCMD, CMD_RESET, false);
	if (!usb_wait(bar, USBCMD, CMD_RESET, 0) ||
	    !usb_wait(bar, USBSTS, STS_NOT_READY, 0))
		return false;

	memset(mem, 0, sizeof(*mem));
	mem->segment.base = cpu_to_le64(iova + offsetof(struct usb_memory, events));
	mem->segment.size = cpu_to_le32(NR_EVENTS);
	usb_write(bar, DCBAAP, iova + offsetof(struct usb_memory, contexts), true);
	usb_write(bar, CRCR, iova + offsetof(struct usb_memory, commands) + 1, true);
	runtime_write(bar, ERSTSZ, 1, false);
	runtime_write(bar, ERDP, iova + offsetof(struct usb_memory, events), true);
	runtime_write(bar, ERSTBA, iova + offsetof(struct usb_memory, segment), true);
	usb_write(bar, USBCMD, CMD_RUN | CMD_WRAP_EVENT, false);
	return usb_wait(bar, USBSTS, STS_HALTED, 0);
}

/* How many there are; they are written from the start on, and never given back. */
static u32 usb_events(struct usb_memory *mem)
{
	u32 i;

	for (i = 0; i < NR_EVENTS; i++) {
		u32 control = le32_to_cpu(READ_ONCE(mem->events[i].control));

		if (!(control & TRB_CYCLE))
			break;
		if (control >> 10 != TRB_MFINDEX_WRAP)
			return 0;
	}
	return i;
}

static bool usb_goes_on(struct usb_memory *mem)
{
	u32 before = usb_events(mem);
	int ms;

	for (ms = 0; ms < PATIENCE_MS; ms += 10) {
		if (usb_events(mem) > before)
			return true;
		usleep(10000);
	}
	return false;
}

static void *map_memory(int fd)
{
	void *vaddr = mmap(NULL, VM_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   fd, 0);

	VFIO_ASSERT_NE(vaddr, MAP_FAILED);
	return vaddr;
}

TEST(before_the_jump)
{
	struct usb_memory *mem, *other_mem;
	struct vfio_pci_device *other;
	struct dma_region region = {};
	struct iommu *iommu;
	struct vm vm;

	ASSERT_EQ(0, vm_init(&vm, preserved_bdf, SESSION));
	vfio_pci_device_setup(vm.device);
	mem = map_memory(vm.memfd);
	ASSERT_TRUE(usb_start(vm.device, mem, VM_MEMORY_IOVA));

	iommu = iommu_init(MODE_IOMMUFD);
	other = vfio_pci_device_init(other_bdf, iommu);
	other_mem = map_memory(vm_memory_create());
	region.vaddr = other_mem;
	region.iova = VM_MEMORY_IOVA;
	region.size = VM_MEMORY_SIZE;
	iommu_map(iommu, &region);
	ASSERT_TRUE(usb_start(other, other_mem, VM_MEMORY_IOVA));

	ASSERT_TRUE(usb_goes_on(other_mem));
	ASSERT_TRUE(usb_goes_on(mem));
	ASSERT_EQ(0, vm_preserve_all(&vm));
	ASSERT_TRUE(usb_goes_on(mem));

	ASSERT_EQ(0, kernel_load(initrd, cmdline, 0));
	mem->seen = usb_events(mem);
	TH_LOG("%u events before the jump", mem->seen);
	reboot(RB_KEXEC);
	ASSERT_TRUE(false) {
		TH_LOG("kexec refused: %s", strerror(errno));
	}
}

/* Before anybody comes for it */
static bool runs_unattended(const char *bdf)
{
	int fd = open(device_path(bdf, "resource0"), O_RDWR | O_CLOEXEC);
	bool runs;
	void *bar;

	VFIO_ASSERT_GE(fd, 0);
	bar = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	VFIO_ASSERT_NE(bar, MAP_FAILED);
	close(fd);
	VFIO_ASSERT_NE(readl(bar), UINT32_MAX, "%s does not answer\n", bdf);
	runs = usb_runs(bar);
	munmap(bar, SZ_4K);
	return runs;
}

TEST(after_the_jump)
{
	struct usb_memory *mem;
	int cdev, iommufd;
	struct vm vm = {};
	u32 ioas_id, now;
	__le16 command;

	EXPECT_TRUE(runs_unattended(preserved_bdf));
	EXPECT_FALSE(runs_unattended(other_bdf));

	vm.luo = luo_open_device();
	ASSERT_LE(0, vm.luo);
	vm.session = luo_retrieve_session(vm.luo, SESSION);
	ASSERT_LE(0, vm.session);
	vm.memfd = luo_session_retrieve_fd(vm.session, TOKEN_MEMFD);
	ASSERT_LE(0, vm.memfd);
	mem = map_memory(vm.memfd);
	iommufd = luo_session_retrieve_fd(vm.session, TOKEN_IOMMUFD);
	ASSERT_LE(0, iommufd);
	cdev = luo_session_retrieve_fd(vm.session, TOKEN_CDEV);
	ASSERT_LE(0, cdev);

	vm.iommu = iommu_init_fd(iommufd, 0);
	ASSERT_EQ(0, __vfio_device_bind_iommufd_id(cdev, iommufd, &vm.dev_id));
	ASSERT_EQ(0, hwpt_restore(iommufd, 0, &vm.hwpt_id, &ioas_id));
	ASSERT_EQ(0, __vfio_device_attach_iommufd_pt(cdev, vm.hwpt_id));
	vm.iommu->ioas_id = ioas_id;
	vm.device = vfio_pci_device_alloc(preserved_bdf, vm.iommu);
	vm.device->fd = cdev;
	vfio_pci_device_setup(vm.device);

	now = usb_events(mem);
	TH_LOG("%u events before the jump, %u after it", mem->seen, now);
	EXPECT_LE(mem->seen, now);
	EXPECT_LT(0, mem->seen);
	EXPECT_TRUE(usb_runs(vm.device->bars[0].vaddr));
	EXPECT_TRUE(usb_goes_on(mem));
	ASSERT_EQ(0, luo_session_finish(vm.session));
	EXPECT_TRUE(usb_goes_on(mem));
	EXPECT_TRUE(usb_runs(vm.device->bars[0].vaddr));

	vfio_pci_device_cleanup(vm.device);
	iommu_cleanup(vm.iommu);
	ASSERT_EQ(0, config_access(preserved_bdf, PCI_COMMAND, &command,
				   sizeof(command), false));
	EXPECT_FALSE(le16_to_cpu(command) & PCI_COMMAND_MASTER);
}

int main(int argc, char *argv[])
{
	bool before;

	if (argc != 6) {
		fprintf(stderr, "usage: %s 1|2 BDF BDF INITRD CMDLINE\n", argv[0]);
		return KSFT_SKIP;
	}

	before = strcmp(argv[1], "2");
	preserved_bdf = argv[2];
	other_bdf = argv[3];
	initrd = argv[4];
	cmdline = argv[5];
	argv[1] = "-t";
	argv[2] = before ? "before_the_jump" : "after_the_jump";
	argv[3] = NULL;
	return test_harness_run(3, argv);
}
