/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What becomes of IOMMU state in a live update, from preserve in the old kernel
 * to finish in the new one. A domain is named by its key in the hand-over, as in
 * /sys/kernel/debug/iommu/liveupdate.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iommu_liveupdate

#if !defined(_TRACE_IOMMU_LIVEUPDATE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_IOMMU_LIVEUPDATE_H

#include <linux/device.h>
#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(iommu_liveupdate_domain,

	TP_PROTO(u64 key, u64 tables),

	TP_ARGS(key, tables),

	TP_STRUCT__entry(
		__field(u64, key)
		__field(u64, tables)
	),

	TP_fast_assign(
		__entry->key = key;
		__entry->tables = tables;
	),

	TP_printk("domain=%llu tables=%llu", __entry->key, __entry->tables)
);

DEFINE_EVENT(iommu_liveupdate_domain, liveupdate_preserve_domain,
	TP_PROTO(u64 key, u64 tables),
	TP_ARGS(key, tables)
);

DEFINE_EVENT(iommu_liveupdate_domain, liveupdate_unpreserve_domain,
	TP_PROTO(u64 key, u64 tables),
	TP_ARGS(key, tables)
);

DEFINE_EVENT(iommu_liveupdate_domain, liveupdate_restore_domain,
	TP_PROTO(u64 key, u64 tables),
	TP_ARGS(key, tables)
);

DEFINE_EVENT(iommu_liveupdate_domain, liveupdate_discard_domain,
	TP_PROTO(u64 key, u64 tables),
	TP_ARGS(key, tables)
);

DECLARE_EVENT_CLASS(iommu_liveupdate_device,

	TP_PROTO(struct device *dev, u64 key),

	TP_ARGS(dev, key),

	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(u64, key)
	),

	TP_fast_assign(
		__assign_str(device);
		__entry->key = key;
	),

	TP_printk("device=%s domain=%llu", __get_str(device), __entry->key)
);

DEFINE_EVENT(iommu_liveupdate_device, liveupdate_preserve_device,
	TP_PROTO(struct device *dev, u64 key),
	TP_ARGS(dev, key)
);

DEFINE_EVENT(iommu_liveupdate_device, liveupdate_unpreserve_device,
	TP_PROTO(struct device *dev, u64 key),
	TP_ARGS(dev, key)
);

DEFINE_EVENT(iommu_liveupdate_device, liveupdate_finish_device,
	TP_PROTO(struct device *dev, u64 key),
	TP_ARGS(dev, key)
);

/* The new kernel finds a device running, and takes its attachment over or not */
TRACE_EVENT(liveupdate_adopt_device,

	TP_PROTO(struct device *dev, u64 key, int ret),

	TP_ARGS(dev, key, ret),

	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(u64, key)
		__field(int, ret)
	),

	TP_fast_assign(
		__assign_str(device);
		__entry->key = key;
		__entry->ret = ret;
	),

	TP_printk("device=%s domain=%llu ret=%d", __get_str(device),
		  __entry->key, __entry->ret)
);

/* reboot(2) has written down what goes over */
TRACE_EVENT(liveupdate_freeze,

	TP_PROTO(u64 units, u64 domains, u64 devices),

	TP_ARGS(units, domains, devices),

	TP_STRUCT__entry(
		__field(u64, units)
		__field(u64, domains)
		__field(u64, devices)
	),

	TP_fast_assign(
		__entry->units = units;
		__entry->domains = domains;
		__entry->devices = devices;
	),

	TP_printk("units=%llu domains=%llu devices=%llu", __entry->units,
		  __entry->domains, __entry->devices)
);

/* A unit is pointed to its hand-over root, to a page of zeroes, or stays off: 0 */
TRACE_EVENT(liveupdate_switch_over,

	TP_PROTO(u64 reg_phys, u64 root),

	TP_ARGS(reg_phys, root),

	TP_STRUCT__entry(
		__field(u64, reg_phys)
		__field(u64, root)
	),

	TP_fast_assign(
		__entry->reg_phys = reg_phys;
		__entry->root = root;
	),

	TP_printk("unit=%#llx root=%#llx", __entry->reg_phys, __entry->root)
);

#endif /* _TRACE_IOMMU_LIVEUPDATE_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
