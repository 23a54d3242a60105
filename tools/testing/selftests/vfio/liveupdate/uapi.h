/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_UAPI_H
#define SELFTESTS_VFIO_LIVEUPDATE_UAPI_H

#include <errno.h>
#include <sys/ioctl.h>

#include <linux/iommufd.h>

/*
 * The tests also run on kernels without IOMMU live update, to show what is lost
 * there, and so have to build against the headers of such a kernel.
 */
#ifndef IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE
struct iommu_hwpt_liveupdate_mark_preserve {
	__u32 size;
	__u32 hwpt_id;
	__aligned_u64 hwpt_token;
};

#define IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE _IO(IOMMUFD_TYPE, 0x96)
#endif

#ifndef IOMMU_HWPT_LIVEUPDATE_RESTORE
struct iommu_hwpt_liveupdate_restore {
	__u32 size;
	__u32 flags;
	__aligned_u64 hwpt_token;
	__u32 out_hwpt_id;
	__u32 out_ioas_id;
};

#define IOMMU_HWPT_LIVEUPDATE_RESTORE _IO(IOMMUFD_TYPE, 0x97)
#endif

static inline int hwpt_mark_preserve(int iommufd, __u32 hwpt_id, __u64 token)
{
	struct iommu_hwpt_liveupdate_mark_preserve args = {
		.size = sizeof(args),
		.hwpt_id = hwpt_id,
		.hwpt_token = token,
	};

	return ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_MARK_PRESERVE, &args) ?
	       -errno : 0;
}

static inline int hwpt_restore(int iommufd, __u64 token, __u32 *hwpt_id,
			       __u32 *ioas_id)
{
	struct iommu_hwpt_liveupdate_restore args = {
		.size = sizeof(args),
		.hwpt_token = token,
	};
	int ret = 0;

	if (ioctl(iommufd, IOMMU_HWPT_LIVEUPDATE_RESTORE, &args))
		ret = -errno;
	if (ret && ret != -EEXIST)
		return ret;

	*hwpt_id = args.out_hwpt_id;
	*ioas_id = args.out_ioas_id;
	return ret;
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_UAPI_H */
