/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_VMM_H
#define SELFTESTS_VFIO_LIVEUPDATE_VMM_H

#include <libvfio.h>

#include "control.h"
#include "stream.h"

#define SESSION		"vmm"
#define MAX_NICS	2

/* Tokens are the caller's to choose; these are the ones of a NIC. */
#define TOKEN_MEMFD(_id)	((_id) * 10 + 1)
#define TOKEN_IOMMUFD(_id)	((_id) * 10 + 2)
#define TOKEN_CDEV(_id)		((_id) * 10 + 3)
#define TOKEN_HWPT(_id)		((_id) * 10 + 4)
#define TOKEN_STATE(_id)	((_id) * 10 + 5)
#define TOKEN_SECOND(_id)	((_id) * 10 + 6)

/* How many frames to see before moving on. */
#define FRAMES_BEFORE	1000
#define FRAMES_AFTER	2000

#define SECOND_BUFFERS	1024
#define SECOND_IOVA	SZ_4G	/* after the first mapping */

enum scenario {
	CASE_MAIN,
	CASE_BASE,
	CASE_UNPRESERVED,
	CASE_ABORTED,
	CASE_TWICE,
	CASE_DISCARD,
};

/* What the driver of a NIC has to know to go on where another one stopped. */
struct nic_state {
	__u64 frames;
	__u64 last_seq;
	u32 next;
};

struct nic {
	u32 id;
	u32 ring;			/* in descriptors */
	const char *bdf;

	struct iommu *iommu;
	struct vfio_pci_device *device;
	u32 dev_id;
	u32 hwpt_id;

	struct stream_memory first;	/* the ring, and its buffers */
	struct stream_memory second;	/* more buffers, mapped later */
	struct dma_region second_region;

	struct igb_rx rx;
	struct stream_memory *buffers;	/* that the queue receives into */
	struct stream stream;
	struct nic_state state;		/* where the kernel before stopped */
};

struct vmm {
	enum scenario scenario;
	int stage;
	u32 ring;
	iova_t iova;
	u32 run_id;
	const char *kernel;
	const char *initrd;
	const char *append;
	const char *control;
	struct nic nics[MAX_NICS];
	u32 nr_nics;
	bool refill;			/* give buffers back as they are taken */
	int luo;
	int session;
};

extern struct vmm vmm;

long long now_ms(void);
void liveupdate_open(void);

void session_create(void);
void session_retrieve(void);
void session_finish(void);
void session_close(void);
int preserve_fd(const char *what, struct nic *nic, int fd, u64 token);
int preserve_all(void);
void __noreturn kexec_jump(void);
int kexec_try(void);

void nic_open(struct nic *nic);
void nic_map(struct nic *nic);
int retrieve_fd(const char *what, struct nic *nic, u64 token);
void nic_retrieve(struct nic *nic);
void nic_resume(struct nic *nic, u32 count);
void nic_end_main(struct nic *nic);
void nic_close(struct nic *nic);
void nic_queue_init(struct nic *nic);
u32 nic_take(struct nic *nic);
void nic_receive(struct nic *nic, u32 count);
void nic_drain(struct nic *nic);
void nic_second_create(struct nic *nic);
void nic_second_map(struct nic *nic);
void nic_second_adopt(struct nic *nic, int fd);

u16 nic_command_read(struct nic *nic);
void nic_command_write(struct nic *nic, u16 value);

void test_plan(unsigned int count);
void test_pass(const char *what);

void __noreturn old_kernel(void);
void new_kernel(void);
void new_kernel_twice(struct nic *nic);
void new_kernel_discard(struct nic *nic);
u64 mem_free(void);

#endif /* SELFTESTS_VFIO_LIVEUPDATE_VMM_H */
