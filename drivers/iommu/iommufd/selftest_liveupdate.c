// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update for tools/testing/selftests/iommu: a mock IOMMU that can preserve
 * its domains, and what the next kernel would do with a preserved iommufd, done
 * by the kernel that preserved it.
 *
 * There is no jump, so both iommufds are there at once and share the memory of
 * the memfds, but not the page tables: KHO gives none back to the kernel that
 * preserved it. The new iommufd gets copies.
 */
#include <linux/anon_inodes.h>
#include <linux/cleanup.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/generic_pt/iommu.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/iommu-liveupdate.h>
#include <linux/kho/abi/block.h>
#include <linux/kho/abi/iommu.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "../liveupdate-priv.h"
#include "iommufd_test.h"
#include "liveupdate.h"

static int mock_preserve_domain(struct iommu_domain *domain,
				struct iommu_liveupdate_domain_ser *ser)
{
	struct pt_iommu *pt = iommupt_from_domain(domain);

	/* As VT-d does */
	if (!pt || domain->dirty_ops)
		return -EOPNOTSUPP;
	if (iommufd_should_fail())
		return -ENOMEM;

	memset(ser, 0, sizeof(*ser));
	ser->aperture_start = domain->geometry.aperture_start;
	ser->aperture_end = domain->geometry.aperture_end;
	ser->pgsize_bitmap = domain->pgsize_bitmap;
	return pt->ops->preserve(pt, &ser->pt);
}

static void mock_unpreserve_domain(struct iommu_domain *domain,
				   struct iommu_liveupdate_domain_ser *ser)
{
	struct pt_iommu *pt = iommupt_from_domain(domain);

	pt->ops->unpreserve(pt);
}

/* Mock devices are not PCI devices, the core preserves no other */
const struct iommu_liveupdate_ops iommufd_test_liveupdate_ops = {
	.preserve_domain = mock_preserve_domain,
	.unpreserve_domain = mock_unpreserve_domain,
};

/**
 * struct mock_session - The part of a session of the new kernel
 * @file: The retrieved iommufd; NULL until then
 * @in:   What it was made of
 * @nr:   Number of domains the IOMMU core was given
 * @key:  What the core calls them
 */
struct mock_session {
	struct file *file;
	struct iommufd_liveupdate_in *in;
	u32 nr;
	u64 key[] __counted_by(nr);
};

/* What kho_block_array_restore() would give, with the blocks left alone */
static void *mock_load_array(const struct iommufd_liveupdate_array_ser *array,
			     size_t size)
{
	struct kho_block_header_ser *block;
	void *copy, *to;
	u64 pa;

	copy = kvcalloc(array->nr, size, GFP_KERNEL_ACCOUNT);
	if (!copy)
		return ERR_PTR(-ENOMEM);

	to = copy;
	for (pa = array->head; pa; pa = block->next) {
		block = phys_to_virt(pa);
		memcpy(to, block + 1, block->count * size);
		to += block->count * size;
	}
	return copy;
}

/* Where another page of the area is to be mapped, or no address of a page */
static unsigned long mock_mismatch(const struct iommu_test_cmd *cmd,
				   struct iommufd_hwpt_paging *hwpt_paging,
				   struct iopt_area *area)
{
	u32 flags = cmd->liveupdate_retrieve.flags;

	if (flags & MOCK_FLAGS_LIVEUPDATE_MISMATCH)
		return iopt_area_iova(area);
	if ((flags & MOCK_FLAGS_LIVEUPDATE_MISMATCH_AT) &&
	    cmd->liveupdate_retrieve.mismatch_hwpt_id ==
		    hwpt_paging->common.obj.id)
		return cmd->liveupdate_retrieve.mismatch_iova;
	return ULONG_MAX;
}

/* Map in @to what @from maps in the area, but the last page of it at @mismatch */
static int mock_copy_area(struct iommu_domain *to, struct iommu_domain *from,
			  struct iopt_area *area, unsigned long mismatch)
{
	unsigned long last = iopt_area_last_iova(area);
	unsigned long iova = iopt_area_iova(area);
	int rc;

	for (; iova < last; iova += PAGE_SIZE) {
		unsigned long source = iova == mismatch ?
					       last - PAGE_SIZE + 1 : iova;

		rc = iommu_map(to, iova, iommu_iova_to_phys(from, source),
			       PAGE_SIZE, area->iommu_prot, GFP_KERNEL_ACCOUNT);
		if (rc)
			return rc;
	}
	return 0;
}

/* What the core of the new kernel would find at the end of the hardware's tables */
static struct iommu_domain *
mock_copy_domain(struct iommufd_hwpt_paging *hwpt_paging,
		 const struct iommu_test_cmd *cmd)
{
	struct io_pagetable *iopt = &hwpt_paging->ioas->iopt;
	struct iommu_domain *domain;
	struct iopt_area *area;
	int rc;

	domain = iommufd_test_alloc_domain();
	if (IS_ERR(domain))
		return domain;

	guard(rwsem_read)(&iopt->iova_rwsem);

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		rc = mock_copy_area(domain, hwpt_paging->common.domain, area,
				    mock_mismatch(cmd, hwpt_paging, area));
		if (rc) {
			iommu_domain_free(domain);
			return ERR_PTR(rc);
		}
	}
	return domain;
}

/* Give the domains to the IOMMU core, as if the devices had been probed */
static int mock_hand_over_domains(struct mock_session *session,
				  struct iommufd_liveupdate_out *out,
				  const struct iommu_test_cmd *cmd)
{
	u32 i;
	int rc;

	for (i = 0; i < out->nr_hwpts; i++) {
		struct iommu_domain *domain;

		domain = mock_copy_domain(out->hwpt[i].hwpt_paging, cmd);
		if (IS_ERR(domain))
			return PTR_ERR(domain);
		rc = iommu_liveupdate_test_hand_over(domain, session->in->data,
						     &session->key[i]);
		if (rc) {
			iommu_domain_free(domain);
			return rc;
		}
		session->in->hwpt[i].key = session->key[i];
		if (!(cmd->liveupdate_retrieve.flags &
		      MOCK_FLAGS_LIVEUPDATE_UNBOUND))
			continue;
		rc = iommu_liveupdate_test_add_device(session->key[i]);
		if (rc)
			return rc;
	}
	return 0;
}

/* As the jump, with the memfds that are still there */
static int mock_jump(struct mock_session *session,
		     struct iommufd_liveupdate_out *out,
		     const struct iommu_test_cmd *cmd)
{
	struct iommufd_liveupdate_in *in = session->in;
	u32 i;
	int rc;

	rc = iommufd_liveupdate_parse_ser(in, out->ser, mock_load_array);
	/* They are the core's of this kernel, which still has them */
	for (i = 0; i < in->nr_hwpts; i++)
		in->hwpt[i].key = 0;
	if (rc)
		return rc;

	for (i = 0; i < in->nr_files; i++)
		in->file[i] = get_file(out->file[i]);

	return mock_hand_over_domains(session, out, cmd);
}

/* As LUO retrieve does */
static int mock_retrieve(struct mock_session *session)
{
	struct file *file;
	int rc;

	file = iommufd_ctx_create_file();
	if (IS_ERR(file))
		return PTR_ERR(file);
	rc = iommufd_liveupdate_take(file->private_data, session->in);
	if (rc) {
		fput(file);
		return rc;
	}
	session->file = file;
	return 0;
}

static struct mock_session *mock_session_alloc(u32 nr)
{
	struct mock_session *session;

	session = kzalloc_flex(*session, key, nr);
	if (!session)
		return ERR_PTR(-ENOMEM);
	session->nr = nr;
	session->in = kzalloc_obj(*session->in);
	if (!session->in) {
		kfree(session);
		return ERR_PTR(-ENOMEM);
	}
	/* Nothing was handed over at the physical address of the same number */
	session->in->data = (uintptr_t)session->in;
	iommufd_liveupdate_add_incoming(session->in);
	return session;
}

static void mock_session_finish(struct mock_session *session)
{
	struct liveupdate_file_op_args args = {
		.file = session->file,
		.serialized_data = session->in->data,
		.retrieve_status = session->file ? 1 : 0,
	};
	u32 i;

	iommufd_liveupdate_finish(&args);
	for (i = 0; i < session->nr; i++)
		if (session->key[i])
			iommu_liveupdate_test_end(session->key[i]);
	if (session->file)
		fput(session->file);
	kfree(session);
}

static int mock_session_release(struct inode *inode, struct file *filp)
{
	mock_session_finish(filp->private_data);
	return 0;
}

static const struct file_operations mock_session_fops = {
	.release = mock_session_release,
};

/**
 * iommufd_test_liveupdate_retrieve() - IOMMU_TEST_OP_LIVEUPDATE_RETRIEVE
 * @ucmd: The command, to a preserved iommufd
 *
 * Return: 0, -EINVAL if the iommufd is not preserved, -EBUSY if this kernel itself
 * came out of a live update, or what retrieving says.
 */
int iommufd_test_liveupdate_retrieve(struct iommufd_ucmd *ucmd)
{
	const u32 valid_flags = MOCK_FLAGS_LIVEUPDATE_UNBOUND |
				MOCK_FLAGS_LIVEUPDATE_MISMATCH |
				MOCK_FLAGS_LIVEUPDATE_MISMATCH_AT;
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct mock_session *session;
	struct file *file;
	int session_fd;
	int fd;
	int rc;

	if (cmd->liveupdate_retrieve.flags & ~valid_flags)
		return -EOPNOTSUPP;
	if (!iommu_liveupdate_test_possible())
		return -EBUSY;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	session_fd = get_unused_fd_flags(O_CLOEXEC);
	if (session_fd < 0) {
		rc = session_fd;
		goto err_put_fd;
	}

	scoped_guard(mutex, &ucmd->ictx->liveupdate_lock) {
		struct iommufd_liveupdate_out *out = ucmd->ictx->liveupdate_out;

		session = out ? mock_session_alloc(out->nr_hwpts) :
				ERR_PTR(-EINVAL);
		rc = IS_ERR(session) ? PTR_ERR(session) :
				       mock_jump(session, out, cmd);
	}
	if (IS_ERR(session))
		goto err_put_session_fd;
	if (!rc)
		rc = mock_retrieve(session);
	if (rc)
		goto err_finish;

	file = anon_inode_getfile("[iommufd_mock_session]", &mock_session_fops,
				  session, O_RDWR);
	if (IS_ERR(file)) {
		rc = PTR_ERR(file);
		goto err_finish;
	}

	cmd->liveupdate_retrieve.out_fd = fd;
	cmd->liveupdate_retrieve.out_session_fd = session_fd;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc) {
		fput(file);
		goto err_put_session_fd;
	}
	fd_install(fd, get_file(session->file));
	fd_install(session_fd, file);
	return 0;

err_finish:
	mock_session_finish(session);
err_put_session_fd:
	put_unused_fd(session_fd);
err_put_fd:
	put_unused_fd(fd);
	return rc;
}

/**
 * iommufd_test_liveupdate_bind() - IOMMU_TEST_OP_LIVEUPDATE_BIND
 * @ucmd: The command, to a retrieved iommufd
 *
 * The devices of its HWPTs are bound to it.
 *
 * Return: 0, or -EINVAL if the iommufd was not retrieved.
 */
int iommufd_test_liveupdate_bind(struct iommufd_ucmd *ucmd)
{
	struct iommufd_liveupdate_in *in;
	u32 i;

	guard(mutex)(&ucmd->ictx->liveupdate_lock);

	in = ucmd->ictx->liveupdate_in;
	if (!in)
		return -EINVAL;
	for (i = 0; i < in->nr_hwpts; i++)
		iommu_liveupdate_test_remove_devices(in->hwpt[i].key);
	return 0;
}

/**
 * iommufd_test_liveupdate_can_finish() - IOMMU_TEST_OP_LIVEUPDATE_CAN_FINISH
 * @ucmd: The command, to a retrieved iommufd
 *
 * Return: 0, or what finishing its session would fail with.
 */
int iommufd_test_liveupdate_can_finish(struct iommufd_ucmd *ucmd)
{
	struct liveupdate_file_op_args args = {
		.file = ucmd->ictx->file,
		.retrieve_status = 1,
	};

	if (!iommufd_liveupdate_can_finish(&args))
		return args.error;
	iommufd_liveupdate_cancel_finish(&args);
	return 0;
}
