/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Live update of an iommufd: state shared between the liveupdate*.c files. The
 * story is told in liveupdate.c.
 */
#ifndef __IOMMUFD_LIVEUPDATE_H
#define __IOMMUFD_LIVEUPDATE_H

#include <linux/folio_batch.h>
#include <linux/kho_block.h>
#include <linux/kho/abi/iommufd.h>
#include <linux/liveupdate.h>
#include <linux/mm.h>
#include <linux/xarray.h>

#include "io_pagetable.h"

/* An array of the serialised form that grows by one entry at a time */
struct iommufd_liveupdate_array {
	struct kho_block_set set;
	struct kho_block_set_it it;
	u64 nr;
};

/*
 * A marked HWPT of a preserved iommufd. Holds a users reference of the HWPT,
 * which is what makes destroying it -EBUSY.
 */
struct iommufd_liveupdate_out_hwpt {
	struct iommufd_hwpt_paging *hwpt_paging;
	u64 key;
	u32 ioas;
	unsigned int nr_devices;
};

/*
 * Old kernel: a preserved iommufd, from preserve to unpreserve. Changed with the
 * mutex of the LUO session and iommufd_ctx::liveupdate_lock, read with either.
 */
struct iommufd_liveupdate_out {
	struct liveupdate_session *session;
	struct iommufd_liveupdate_ser *ser;
	struct iommufd_liveupdate_array hwpts;
	struct iommufd_liveupdate_array ioases;
	struct iommufd_liveupdate_array allowed;
	struct iommufd_liveupdate_array files;
	struct iommufd_liveupdate_array pages;
	struct iommufd_liveupdate_array areas;

	u32 nr_hwpts;
	struct iommufd_liveupdate_out_hwpt *hwpt;
	u32 nr_ioases;
	struct iommufd_ioas **ioas;
	u32 nr_files;
	struct file **file;
	/* struct iopt_pages to index in @pages */
	struct xarray pages_index;
};

enum iommufd_liveupdate_state {
	/* The IOMMU core holds the domain */
	IOMMUFD_LIVEUPDATE_PENDING,
	/* The HWPT exists and owns the domain */
	IOMMUFD_LIVEUPDATE_RESTORED,
	/* It was destroyed again */
	IOMMUFD_LIVEUPDATE_GONE,
};

/*
 * @state is protected by iommufd_liveupdate_incoming_lock, and so is @hwpt_paging
 * once @state is RESTORED; before that by iommufd_ctx::liveupdate_lock.
 */
struct iommufd_liveupdate_in_hwpt {
	u64 token;
	u64 key;
	u32 ioas;
	u32 flags;
	enum iommufd_liveupdate_state state;
	/* Userspace was told the id, or could not be told */
	bool reported;
	struct iommufd_hwpt_paging *hwpt_paging;
};

struct iommufd_liveupdate_in_pages {
	u32 file;
	bool writable;
	u64 start;
	u64 length;
	struct iopt_pages *pages;
};

/*
 * New kernel: what the previous kernel said about an iommufd, from first use
 * to finish. Protected by iommufd_ctx::liveupdate_lock once retrieved.
 */
struct iommufd_liveupdate_in {
	/* Entry of the list of all of them, found by @data */
	struct list_head list;
	u64 data;
	/* Why it cannot be used, or 0 */
	int error;
	u32 flags;

	u32 nr_hwpts;
	struct iommufd_liveupdate_in_hwpt *hwpt;
	u32 nr_ioases;
	struct iommufd_liveupdate_ioas_ser *ioas;
	u32 nr_allowed;
	struct iommufd_liveupdate_allowed_ser *allowed;
	u32 nr_files;
	struct iommufd_liveupdate_file_ser *file_ser;
	struct file **file;
	u32 nr_pages;
	struct iommufd_liveupdate_in_pages *pages;
	u32 nr_areas;
	struct iommufd_liveupdate_area_ser *area;

	/* Until there is memory for @hwpt and @pages */
	u32 nr_hwpts_ser;
	struct iommufd_liveupdate_hwpt_ser *hwpt_ser;
	u32 nr_pages_ser;
	struct iommufd_liveupdate_pages_ser *pages_ser;
};

/*
 * A walk through the pages of a file: those that are contiguous in memory because
 * they are of one folio. Starts out empty, see iommufd_liveupdate_run_init().
 */
struct iommufd_liveupdate_run {
	struct folio *folio;
	struct page *page;
	unsigned long npages;
	/* Looked up, and how many of them have been walked through */
	struct folio_batch folios;
	unsigned int nr_seen;
};

static inline void iommufd_liveupdate_run_init(struct iommufd_liveupdate_run *run)
{
	folio_batch_init(&run->folios);
	run->nr_seen = 0;
}

static inline void iommufd_liveupdate_run_end(struct iommufd_liveupdate_run *run)
{
	folios_put(&run->folios);
	run->nr_seen = 0;
}

/* Innermost lock of iommufd, see iommufd_ctx::liveupdate_lock */
extern struct mutex iommufd_liveupdate_incoming_lock;

int iommufd_liveupdate_preserve(struct liveupdate_file_op_args *args);
void iommufd_liveupdate_unpreserve(struct liveupdate_file_op_args *args);
int iommufd_liveupdate_freeze(struct liveupdate_file_op_args *args);
void iommufd_liveupdate_unfreeze(struct liveupdate_file_op_args *args);

void *iommufd_liveupdate_array_add(struct iommufd_liveupdate_array *array);
void iommufd_liveupdate_init_arrays(struct iommufd_liveupdate_out *out);
void iommufd_liveupdate_destroy_arrays(struct iommufd_liveupdate_out *out);
int iommufd_liveupdate_record_ioas(struct iommufd_liveupdate_out *out, u32 index);
void iommufd_liveupdate_forget_files(struct iommufd_liveupdate_out *out);

int iommufd_liveupdate_retrieve(struct liveupdate_file_op_args *args);
bool iommufd_liveupdate_can_finish(struct liveupdate_file_op_args *args);
void iommufd_liveupdate_cancel_finish(struct liveupdate_file_op_args *args);
void iommufd_liveupdate_finish(struct liveupdate_file_op_args *args);

int iommufd_liveupdate_take(struct iommufd_ctx *ictx,
			    struct iommufd_liveupdate_in *in);
void iommufd_liveupdate_add_incoming(struct iommufd_liveupdate_in *in);

/* The selftest reads what is preserved and does not free it */
typedef void *(*iommufd_liveupdate_load_fn)(const struct iommufd_liveupdate_array_ser *array,
					    size_t size);

int iommufd_liveupdate_parse(struct iommufd_liveupdate_in *in);
int iommufd_liveupdate_parse_ser(struct iommufd_liveupdate_in *in,
				 const struct iommufd_liveupdate_ser *ser,
				 iommufd_liveupdate_load_fn load);
int iommufd_liveupdate_validate(const struct iommufd_liveupdate_in *in);
bool iommufd_liveupdate_top_valid(const struct iommufd_liveupdate_ser *ser);

int iommufd_liveupdate_next_run(struct iopt_pages *pages, unsigned long index,
				unsigned long last,
				struct iommufd_liveupdate_run *run);
int iommufd_liveupdate_check_range(struct iopt_area *area,
				   struct iopt_pages *pages,
				   struct iommu_domain *domain,
				   unsigned long index, unsigned long last);
int iommufd_liveupdate_check_domains(struct iopt_area *area,
				     struct iopt_pages *pages,
				     unsigned long index, unsigned long last);
int iommufd_liveupdate_check_page(struct iopt_area *area,
				  struct iopt_pages *pages, unsigned long index);
long iommufd_liveupdate_pin_run(struct iopt_pages *pages, unsigned long index,
				unsigned long last,
				struct iommufd_liveupdate_run *run);
int iommufd_liveupdate_adopt_area(struct io_pagetable *iopt,
				  struct iopt_pages *pages, unsigned long iova,
				  unsigned long offset, unsigned long length,
				  int iommu_prot);
void iommufd_liveupdate_release_area(struct io_pagetable *iopt,
				     struct iopt_area *area, bool unmap);
void iommufd_liveupdate_abandon_areas(struct io_pagetable *iopt);

void iommufd_liveupdate_settle_later(struct iommufd_ctx *ictx,
				     struct io_pagetable *iopt);
int iommufd_liveupdate_settle_all(struct iommufd_ctx *ictx, bool killable);

#endif
