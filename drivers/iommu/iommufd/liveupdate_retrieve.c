// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update of an iommufd, new kernel: from the file data of the previous
 * kernel to an iommufd that may claim its devices, and the end of it.
 *
 * The serialised form is read once, checked, and copied to ordinary memory
 * (liveupdate_parse.c); from then on struct iommufd_liveupdate_in is what is
 * left of it, until finish.
 */
#define pr_fmt(fmt) "iommufd: liveupdate: " fmt

#include <linux/cleanup.h>
#include <linux/file.h>
#include <linux/iommu-liveupdate.h>
#include <linux/memfd.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "liveupdate.h"

/*
 * The list, and the link between a struct iommufd_liveupdate_in_hwpt and its
 * HWPT, which either of the two can outlive.
 */
DEFINE_MUTEX(iommufd_liveupdate_incoming_lock);
static LIST_HEAD(iommufd_liveupdate_incoming_list);

/* An error is final, but what there was no memory for can still be read */
static void iommufd_liveupdate_read(struct iommufd_liveupdate_in *in)
{
	in->error = iommufd_liveupdate_parse(in);
	if (in->error == -ENOMEM)
		pr_warn("no memory to read the hand-over of the previous kernel\n");
	else if (in->error)
		pr_err("hand-over of the previous kernel is not usable: %pe\n",
		       ERR_PTR(in->error));
}

/* What was handed over as @data, read now if it was not read yet */
static struct iommufd_liveupdate_in *iommufd_liveupdate_incoming(u64 data)
{
	struct iommufd_liveupdate_in *in;

	guard(mutex)(&iommufd_liveupdate_incoming_lock);

	list_for_each_entry(in, &iommufd_liveupdate_incoming_list, list) {
		if (in->data != data)
			continue;
		if (in->error == -ENOMEM)
			iommufd_liveupdate_read(in);
		return in;
	}

	in = kzalloc_obj(*in);
	if (!in)
		return NULL;
	in->data = data;
	iommufd_liveupdate_read(in);
	list_add(&in->list, &iommufd_liveupdate_incoming_list);
	return in;
}

/**
 * iommufd_liveupdate_add_incoming() - Make it known what a hand-over is about
 * @in: What was read from @in->data; iommufd_liveupdate_finish() frees it
 */
void iommufd_liveupdate_add_incoming(struct iommufd_liveupdate_in *in)
{
	guard(mutex)(&iommufd_liveupdate_incoming_lock);

	list_add(&in->list, &iommufd_liveupdate_incoming_list);
}

static void iommufd_liveupdate_free_incoming(struct iommufd_liveupdate_in *in)
{
	scoped_guard(mutex, &iommufd_liveupdate_incoming_lock)
		list_del(&in->list);
	kvfree(in->pages_ser);
	kvfree(in->hwpt_ser);
	kvfree(in->area);
	kvfree(in->pages);
	kvfree(in->file);
	kvfree(in->file_ser);
	kvfree(in->allowed);
	kvfree(in->ioas);
	kvfree(in->hwpt);
	kfree(in);
}

static void iommufd_liveupdate_put_files(struct iommufd_liveupdate_in *in)
{
	u32 i;

	for (i = 0; i < in->nr_files; i++) {
		if (!in->file || !in->file[i])
			continue;
		fput(in->file[i]);
		in->file[i] = NULL;
	}
}

static int iommufd_liveupdate_get_file(struct iommufd_liveupdate_in *in, u32 i,
				       struct liveupdate_session *session)
{
	const struct iommufd_liveupdate_file_ser *ser = &in->file_ser[i];
	struct file *file;
	int rc;

	rc = liveupdate_get_file_incoming(session, ser->token, &file);
	if (rc)
		return rc;
	in->file[i] = file;

	/* It may have been moved or freed by now: the devices must stop */
	if (!memfd_liveupdate_dma_held(file)) {
		iommu_liveupdate_give_up_file(in->data,
					      "its memory was not held in place");
		return -EINVAL;
	}
	if (!shmem_mapping(file->f_mapping) ||
	    i_size_read(file_inode(file)) != ser->size)
		return -EINVAL;
	return 0;
}

/*
 * Hold the memfds, so that the memory does not depend on who retrieves or
 * closes what, and in which order. Look at all of them even if one is bad: others
 * may be a reason to stop the devices.
 */
static int iommufd_liveupdate_get_files(struct iommufd_liveupdate_in *in,
					struct liveupdate_session *session)
{
	int error = 0;
	u32 i;
	int rc;

	for (i = 0; i < in->nr_files; i++) {
		rc = iommufd_liveupdate_get_file(in, i, session);
		if (!rc)
			continue;
		pr_err("memfd with token %llu: %pe\n", in->file_ser[i].token,
		       ERR_PTR(rc));
		error = error ?: rc;
	}
	if (error)
		iommufd_liveupdate_put_files(in);
	return error;
}

/**
 * iommufd_liveupdate_take() - Give an iommufd what the previous one had
 * @ictx: New, without objects
 * @in:   What was handed over; the memfds are held
 *
 * Return: 0, or why the IOMMU core does not let it have a domain.
 */
int iommufd_liveupdate_take(struct iommufd_ctx *ictx,
			    struct iommufd_liveupdate_in *in)
{
	u32 i;
	int rc;

	for (i = 0; i < in->nr_hwpts; i++) {
		rc = iommu_liveupdate_set_owner(in->hwpt[i].key, in->data, ictx);
		if (rc) {
			pr_err("page table of the HWPT with token %llu: %pe\n",
			       in->hwpt[i].token, ERR_PTR(rc));
			goto err_clear_owner;
		}
	}

	if (in->flags & IOMMUFD_LIVEUPDATE_ACCOUNT_MM)
		ictx->account_mode = IOPT_PAGES_ACCOUNT_MM;
	scoped_guard(mutex, &ictx->liveupdate_lock)
		ictx->liveupdate_in = in;
	return 0;

err_clear_owner:
	while (i--)
		iommu_liveupdate_clear_owner(in->hwpt[i].key, ictx);
	return rc;
}

/**
 * iommufd_liveupdate_retrieve() - LUO retrieve of an iommufd
 * @args: @session and @serialized_data are used, @file is set
 *
 * The new iommufd has no objects yet. It, and nobody else, may claim the
 * devices of its HWPTs, which are made by IOMMU_HWPT_LIVEUPDATE_RESTORE.
 *
 * Context: LUO session mutex held.
 * Return: 0; -EINVAL or -EOPNOTSUPP if what was handed over cannot be used;
 * -EPROBE_DEFER if something is not there yet or there is no memory; or what
 * retrieving a memfd says.
 */
int iommufd_liveupdate_retrieve(struct liveupdate_file_op_args *args)
{
	struct iommufd_liveupdate_in *in;
	struct file *file;
	int rc;

	in = iommufd_liveupdate_incoming(args->serialized_data);
	/* LUO keeps an error for good, apart from this one */
	if (!in || in->error == -ENOMEM)
		return -EPROBE_DEFER;
	if (in->error)
		return in->error;

	file = iommufd_ctx_create_file();
	if (IS_ERR(file))
		return -EPROBE_DEFER;

	rc = iommufd_liveupdate_get_files(in, args->session);
	if (rc)
		goto err_fput;

	rc = iommufd_liveupdate_take(file->private_data, in);
	if (rc)
		goto err_put_files;
	args->file = file;
	return 0;

err_put_files:
	iommufd_liveupdate_put_files(in);
err_fput:
	fput(file);
	return rc;
}

/**
 * iommufd_liveupdate_can_finish() - LUO can_finish of an iommufd
 * @args: @file and @retrieve_status are used, @error is set
 *
 * Pins for what is restored have to be there before the first memfd lets go of
 * its folios, wherever that is in the session.
 *
 * To finish is to say that the VM has come over. If it lost a mapping since RESTORE
 * that is refused once, whoever found out about it. Who asks again knows.
 *
 * After this nothing can be restored, and so nothing is left to settle or can get
 * lost, until the session is finished or iommufd_liveupdate_cancel_finish() says
 * that it is not.
 *
 * Whoever uses the iommufd can hold the locks for long, with a fault on memory of
 * his own. He is not who waits here, and has the host wait for him in reboot(2).
 *
 * Context: LUO session mutex held. Takes iommufd_ctx::liveupdate_lock.
 * Return: true, or false and @error is -EIO, or -EINTR after a signal.
 */
bool iommufd_liveupdate_can_finish(struct liveupdate_file_op_args *args)
{
	struct iommufd_ctx *ictx;

	if (args->retrieve_status <= 0)
		return true;

	ictx = args->file->private_data;
	ACQUIRE(mutex_intr, lock)(&ictx->liveupdate_lock);
	args->error = ACQUIRE_ERR(mutex_intr, &lock);
	if (args->error)
		return false;
	args->error = iommufd_liveupdate_settle_all(ictx, true);
	if (args->error)
		return false;

	scoped_guard(mutex, &iommufd_liveupdate_incoming_lock) {
		if (ictx->liveupdate_lost)
			args->error = -EIO;
		ictx->liveupdate_lost = false;
	}
	if (args->error)
		return false;
	WRITE_ONCE(ictx->liveupdate_finishing, true);
	return true;
}

/**
 * iommufd_liveupdate_cancel_finish() - LUO cancel_finish of an iommufd
 * @args: @file and @retrieve_status are used
 *
 * What is missing can be restored again, and FINISH asked for after that.
 *
 * Context: LUO session mutex held.
 */
void iommufd_liveupdate_cancel_finish(struct liveupdate_file_op_args *args)
{
	struct iommufd_ctx *ictx;

	if (args->retrieve_status <= 0)
		return;

	ictx = args->file->private_data;
	WRITE_ONCE(ictx->liveupdate_finishing, false);
}

/**
 * iommufd_liveupdate_finish() - LUO finish of an iommufd
 * @args: @file, @serialized_data and @retrieve_status are used
 *
 * For what is attached this is bookkeeping. What was not taken back is ended:
 * the device was quiesced when its own file finished, the core blocks it and
 * frees the domain, and the memfds finish after us. Whether a device that is
 * bound and not attached is waited for is decided by its own file, which knows
 * if it still has a user.
 *
 * Context: LUO session mutex held. Takes iommufd_ctx::liveupdate_lock, which is
 * not held for long: there is no RESTORE since can_finish.
 */
void iommufd_liveupdate_finish(struct liveupdate_file_op_args *args)
{
	struct iommufd_liveupdate_in *in;
	struct iommufd_ctx *ictx = NULL;
	u32 i;

	in = iommufd_liveupdate_incoming(args->serialized_data);
	if (!in) {
		/* The description is leaked */
		pr_err("no memory to read what the previous kernel handed over\n");
		iommu_liveupdate_discard_file(args->serialized_data);
		return;
	}

	if (args->retrieve_status > 0) {
		ictx = args->file->private_data;
		mutex_lock(&ictx->liveupdate_lock);
		/* Only a selftest comes without can_finish, and finds any */
		iommufd_liveupdate_settle_all(ictx, false);
		ictx->liveupdate_in = NULL;
		WRITE_ONCE(ictx->liveupdate_finishing, false);
	}

	for (i = 0; i < in->nr_hwpts; i++) {
		struct iommufd_liveupdate_in_hwpt *hwpt = &in->hwpt[i];

		scoped_guard(mutex, &iommufd_liveupdate_incoming_lock)
			if (hwpt->state == IOMMUFD_LIVEUPDATE_RESTORED)
				hwpt->hwpt_paging->liveupdate_in = NULL;
		if (ictx)
			iommu_liveupdate_clear_owner(hwpt->key, ictx);
	}
	/*
	 * Before the memfds go. Also what was restored: one of several devices may
	 * have failed. The domain itself is the HWPT's then.
	 */
	iommu_liveupdate_discard_file(args->serialized_data);

	for (i = 0; i < in->nr_pages; i++)
		if (in->pages[i].pages)
			iopt_put_pages(in->pages[i].pages);
	iommufd_liveupdate_put_files(in);
	if (ictx)
		mutex_unlock(&ictx->liveupdate_lock);
	iommufd_liveupdate_free_incoming(in);
}

/**
 * iommufd_liveupdate_hwpt_destroyed() - A restored HWPT is being destroyed
 * @hwpt_paging: HWPT nobody uses any more
 *
 * Its token is not restored again.
 *
 * Context: Takes iommufd_liveupdate_incoming_lock.
 */
void iommufd_liveupdate_hwpt_destroyed(struct iommufd_hwpt_paging *hwpt_paging)
{
	guard(mutex)(&iommufd_liveupdate_incoming_lock);

	if (!hwpt_paging->liveupdate_in)
		return;
	hwpt_paging->liveupdate_in->state = IOMMUFD_LIVEUPDATE_GONE;
	hwpt_paging->liveupdate_in->hwpt_paging = NULL;
	hwpt_paging->liveupdate_in = NULL;
}
