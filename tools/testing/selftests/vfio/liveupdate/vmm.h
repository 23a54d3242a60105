/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_VMM_H
#define SELFTESTS_VFIO_LIVEUPDATE_VMM_H

#include <linux/sizes.h>

#include <libvfio.h>

#include "control.h"
#include "stream.h"

#define MAX_NICS	32

/* Tokens are the caller's to choose; these are the ones of a NIC. */
#define TOKEN_MEMFD(_nic)	((_nic)->slot * 10 + 1)
#define TOKEN_IOMMUFD(_nic)	((_nic)->slot * 10 + 2)
#define TOKEN_CDEV(_nic)	((_nic)->slot * 10 + 3)
#define TOKEN_HWPT(_nic)	((_nic)->slot * 10 + 4)
#define TOKEN_STATE(_nic)	((_nic)->slot * 10 + 5)
#define TOKEN_SECOND(_nic)	((_nic)->slot * 10 + 6)
#define TOKEN_BULK(_nic)	((_nic)->slot * 10 + 7)

/* Of the session */
#define TOKEN_KERNEL	10001
#define TOKEN_INITRD	10002

/* How many frames to see before moving on; less with a short ring. */
#define FRAMES_BEFORE	1000
#define FRAMES_AFTER	2000
#define FRAMES_SECOND	500

#define FRAMES_FEW	64	/* of a drive: under way while reading goes on */

/* What is only waited for: a busy machine takes its time. */
#define FREE_MS		10000

/* What is on a drive, by stage; the rest of it is for the first one. */
#define NVME_FRAMES		32768ULL
#define NVME_FRAMES_SECOND	1024
#define NVME_FRAMES_PROVOKED	1024

#define SECOND_BUFFERS	1024
#define SECOND_IOVA	SZ_4G	/* after the first mapping */
#define NIC_IOVA	(2 * SZ_4G)	/* between those of two NICs */

enum scenario {
	CASE_MAIN,
	CASE_BASE,
	CASE_UNPRESERVED,
	CASE_ABORTED,
	CASE_TWICE,
	CASE_DISCARD,
	CASE_VMMS,
	CASE_PARTLY,
	CASE_BENCH,
};

/* What several NICs have in common. */
enum share {
	SHARE_SESSION,		/* an iommufd for each, all in one session */
	SHARE_IOMMUFD,		/* an IOAS for each */
	SHARE_IOAS,		/* an HWPT for each */
	SHARE_HWPT,
	SHARE_NOTHING,		/* a session for each: as many VMMs */
};

/* What becomes of all VMMs but the first. */
enum others {
	OTHERS_LATE,
	OTHERS_DISCARD,
	OTHERS_LEFT,
};

/* What the driver of a NIC has to know to go on where another one stopped. */
struct nic_state {
	__u64 frames;
	__u64 last_seq;
	u32 next;
	u32 clean;
};

struct nic {
	u32 id;
	u32 slot;			/* within its session */
	u32 ring;			/* in buffers */
	const char *bdf;
	const struct rx_ops *ops;

	/* Whose these are: its own, or those of a NIC before it. */
	struct vmm_session *session;
	struct nic *iommufd_of;
	struct nic *ioas_of;
	struct nic *hwpt_of;

	iova_t iova;
	struct iommu *iommu;
	struct vfio_pci_device *device;
	u32 dev_id;
	u32 hwpt_id;
	u32 ioas_id;
	u64 left;			/* of memory in its IOAS, by others who are lost */

	struct stream_memory first;	/* the ring, and its buffers */
	struct stream_memory second;	/* more buffers, mapped later */
	struct dma_region second_region;

	struct rx rx;
	int irq_fd;
	__u64 irqs;			/* how many there were */
	bool running;			/* buffers may be taken */
	bool paused;			/* the sender is */
	__u64 asked;			/* of a drive, up to the last pause */
	struct stream_memory *buffers;	/* that the queue receives into */
	struct stream stream;
	struct nic_state state;		/* where the kernel before stopped */
};

/* What belongs to one VMM; @nr NICs from @first on. */
struct vmm_session {
	char name[16];
	int fd;
	struct nic *first;
	u32 nr;
};

struct vmm {
	enum scenario scenario;
	enum share share;
	enum others others;
	u32 late;			/* in seconds */
	int stage;
	u32 ring;
	u32 irq;			/* index of VFIO, or RX_NO_IRQ */
	iova_t iova;
	u32 run_id;
	const char *kernel;
	const char *initrd;
	const char *append;
	const char *control;
	struct nic nics[MAX_NICS];
	u32 nr_nics;
	struct vmm_session sessions[MAX_NICS];
	u32 nr_sessions;
	const char *order;		/* of files, see partly.c */
	u32 skip;			/* NICs nobody asks for, a bit each */
	char until;			/* step after which a first VMM dies */
	bool finish;			/* and nobody comes after it */
	bool native;			/* use a discarded NIC with its own driver */
	bool pressure;			/* on memory, see pressure.c */
	bool again;			/* the next update after a lost one */
	bool cold;			/* the next kernel after a lost one gets nothing */
	bool memlock;			/* is short at first */
	bool forgotten;			/* by PCI and the IOMMU, all devices */
	bool forge;			/* interrupts, by the last NIC */
	bool killed;			/* and somebody else jumps, see before.c */
	bool freeze_fails;		/* at first, see before.c */
	bool faults;			/* of allocations, see faults.c */
	bool strangers;			/* try to get in, see strangers.c */
	int jumps;			/* of twice */
	bool unbind;			/* when it is too late, see too_late.c */
	const char *unplug;		/* when the last NIC goes, see unplug.c */
	bool pull;			/* without asking */
	const char *plug;		/* where one comes after FINISH */
	bool idle;			/* allow all to sleep, see ports.c */
	bool errors;			/* have them report some */
	bool limits;			/* to memory, when it is retrieved, see limits.c */
	bool memcg;			/* likewise, of its cgroup */
	bool attempts;			/* try to take devices away */
	u32 memory_mb;			/* more memory, see bulk.c */
	u32 areas;
	bool huge;
	bool lost;			/* read-only memory, a damaged mapping */
	bool giant;			/* have leaves of 1 GiB, too */
	bool refill;			/* give buffers back as they are taken */
	int luo;
};

extern struct vmm vmm;

/*
 * Iterators: pass the address of a pointer that is NULL at the start, and is NULL
 * again when these return false.
 */
bool nic_next(struct nic **nic);
bool session_next(struct vmm_session **session);
bool session_nic_next(struct vmm_session *session, struct nic **nic);

long long now_ms(void);
void liveupdate_open(void);
void nics_arrange(void);

void session_create(struct vmm_session *session);
void session_retrieve(struct vmm_session *session);
void session_finish(struct vmm_session *session);
void session_close(struct vmm_session *session);
int preserve_fd(const char *what, struct nic *nic, int fd, u64 token);
int preserve_all(struct vmm_session *session);
int images_preserve(struct nic *nic);
void images_retrieve(struct nic *nic);
void __noreturn update_again(struct vmm_session *session);
void __noreturn kexec_jump(void);
int kexec_try(void);

void nic_open(struct nic *nic);
void nic_map(struct nic *nic);
int retrieve_fd(const char *what, struct nic *nic, u64 token);
void nic_set_up(struct nic *nic, int cdev);
void nics_retrieve(struct vmm_session *session);
void nics_resume(struct vmm_session *session, u32 count);
void nics_end_main(struct vmm_session *session);
void nic_close(struct nic *nic);
void nic_queue_init(struct nic *nic);
u32 nic_few(struct nic *nic, u32 count);
u32 nic_take(struct nic *nic);
void nic_receive(struct nic *nic, u32 count);
void nic_receive_up_to(struct nic *nic, __u64 goal);
void nics_receive(struct vmm_session *session, u32 count);
void nic_drain(struct nic *nic);
void nic_go_on(struct nic *nic, enum stream_stage stage);
void nic_ask(struct nic *nic, u64 done);
void nic_second_create(struct nic *nic);
void nic_second_map(struct nic *nic);
void nic_second_adopt(struct nic *nic, int fd);

void attempt_everything(struct vmm_session *session);

bool nic_unplugs(struct nic *nic, const char *when);
bool nic_is_there(struct nic *nic);
void nic_leaves(struct nic *nic);
bool nic_unplug(const char *when);
void nic_unplug_end(struct nic *nic);
bool session_finish_unplug(struct vmm_session *session);
void device_plug(void);

void ports_idle(struct vmm_session *session);
void ports_asleep(struct vmm_session *session);
void ports_errors(struct vmm_session *session);

void bulk_create(struct nic *nic);
int bulk_preserve(struct nic *nic);
void bulk_retrieve(struct nic *nic);
void bulk_check(struct nic *nic);
iova_t bulk_readonly(struct nic *nic);
void bulk_unmap(struct nic *nic);
int map_at(struct nic *nic, int fd, iova_t iova, u64 offset, u64 length, u32 flags);
int unmap_at(struct nic *nic, iova_t iova, u64 length);
void set_huge(void);
u64 huge_kib(void);
u64 count_leaves(struct nic *nic);

void nic_irq_setup(struct nic *nic);
void nic_irq_kick(struct nic *nic);
bool nic_irq_take(struct nic *nic);
void nic_irq_check(struct nic *nic, __u64 frames);
void irq_check_log(void);
void nic_irq_close(struct nic *nic);

int nic_bind_new(struct nic *nic);
u16 nic_command_read(struct nic *nic);
void nic_command_write(struct nic *nic, u16 value);

void test_plan(unsigned int count);
void test_pass(const char *what);

void __noreturn old_kernel(void);
void new_kernel(void);
void new_kernel_twice(struct vmm_session *session);
void new_kernel_last(struct vmm_session *session);
void new_kernel_vmms(void);
void new_kernel_partly(struct vmm_session *session);
int sysfs_write(const char *path, const char *text);
void new_kernel_discard(struct nic *nic);
void __noreturn bench_old_kernel(struct vmm_session *session);
void bench_new_kernel(struct vmm_session *session);
void nic_drive(struct nic *nic);
void nic_use_anew(struct nic *nic);
void nic_use_native(struct nic *nic);
void pressure_apply(struct vmm_session *session, const char *when);
u64 mem_free(void);
void agent_start(void);
void agent_hand_over(void);
void freeze_failures(void);
void too_late(void);
int call_with_faults(const char *what, struct nic *nic, int (*call)(struct nic *nic),
		     unsigned int least);
void limits_set(void);
void limits_lift(void);
void strangers_come(struct vmm_session *session);
void strangers_meet(struct vmm_session *session);
void strangers_remember(struct vmm_session *session);
void strangers_stay(struct vmm_session *session);
u64 *pfns_read(void *vaddr, size_t size, bool touch);

#endif /* SELFTESTS_VFIO_LIVEUPDATE_VMM_H */
