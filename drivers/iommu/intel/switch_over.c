// SPDX-License-Identifier: GPL-2.0-only
/*
 * Live update, the side of the old kernel: switch hardware over to what
 * liveupdate*.c has prepared for the next kernel
 */

#define pr_fmt(fmt)	"DMAR: live update: " fmt
#define dev_fmt(fmt)	pr_fmt(fmt)

#include <linux/dmar.h>
#include <linux/iommu.h>
#include <linux/iommu-liveupdate.h>
#include <linux/log2.h>
#include <linux/suspend.h>
#include <linux/syscore_ops.h>

#include <trace/events/iommu_liveupdate.h>

#include "iommu.h"
#include "liveupdate.h"

/* RTADDR_REG.TTM: may only change while translation is off */
#define RTADDR_TTM		GENMASK_ULL(11, 10)
/* IRTA_REG.EIME; and S for a table of one page: it has 2^(S + 1) entries of 16 */
#define IRTA_EIME		BIT_ULL(11)
#define IRTA_SIZE_ONE_PAGE	(ilog2(VTD_PAGE_SIZE / 16) - 1)

bool intel_iommu_switched_over __read_mostly;

/*
 * What a unit would send by itself: an event message is not remapped and would
 * be taken by the next kernel for an interrupt of its own.
 */
static void mask_events(struct intel_iommu *iommu)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&iommu->register_lock, flags);
	writel(DMA_FECTL_IM, iommu->reg + DMAR_FECTL_REG);
	if (ecap_prs(iommu->ecap))
		writel(DMA_FECTL_IM, iommu->reg + DMAR_PECTL_REG);
	if (iommu->pmu)
		writel(DMA_FECTL_IM, iommu->reg + DMAR_PERFINTRCTL_REG);
	readl(iommu->reg + DMAR_FECTL_REG);
	raw_spin_unlock_irqrestore(&iommu->register_lock, flags);
}

static void switch_over_unit(struct intel_iommu *iommu, phys_addr_t zero_page)
{
	phys_addr_t root = zero_page;
	u32 gsts;

	mask_events(iommu);

	/* A unit that does not snoop reads the zeroes from memory */
	__iommu_flush_cache(iommu, phys_to_virt(zero_page), VTD_PAGE_SIZE);
	iommu_flush_write_buffer(iommu);

	gsts = readl(iommu->reg + DMAR_GSTS_REG);
	if (gsts & DMA_GSTS_TES) {
		if (iommu->handover_root)
			root = virt_to_phys(iommu->handover_root);

		iommu_set_root_table(iommu, root |
				     (readq(iommu->reg + DMAR_RTADDR_REG) &
				      RTADDR_TTM));
		/*
		 * Hardware with ESRTPS has invalidated by itself, but only an
		 * explicit invalidation waits for DMA that is under way.
		 */
		if (cap_esrtps(iommu->cap))
			iommu->flush.flush_iotlb(iommu, 0, 0, 0,
						 DMA_TLB_GLOBAL_FLUSH);
		pr_info("%s: %s\n", iommu->name,
			iommu->handover_root ? "handed over" : "blocked");
	} else {
		root = 0;
		pr_warn("%s: does not translate, its devices are not blocked\n",
			iommu->name);
	}

	/* Nothing can make a page request any more. There is no other way off */
	if (iommu->prq) {
		writeq(0ULL, iommu->reg + DMAR_PQH_REG);
		writeq(0ULL, iommu->reg + DMAR_PQT_REG);
		writeq(0ULL, iommu->reg + DMAR_PQA_REG);
	}

	/*
	 * A device that stays in the hands of userspace can be told to write
	 * to the interrupt address range at any time.
	 */
	if (gsts & DMA_GSTS_IRES)
		iommu_set_irq_table(iommu, zero_page | IRTA_SIZE_ONE_PAGE |
				    (readq(iommu->reg + DMAR_IRTA_REG) &
				     IRTA_EIME));

	qi_stop(iommu);

	trace_liveupdate_switch_over(iommu->reg_phys, root);
}

static void report_blocked_rmrr(struct device *dev, u64 start, u64 end)
{
	struct device_domain_info *info = dev_iommu_priv_get(dev);

	if (info && info->preserved)
		return;
	dev_warn(dev, "not preserved, DMA to its firmware memory [%#llx-%#llx] is blocked for now\n",
		 start, end);
}

/*
 * All CPUs and interrupts are still up, device_shutdown() is over. Nothing here
 * can fail: what could was done when devices were preserved and frozen.
 */
static void intel_iommu_switch_over(void *data)
{
	struct dmar_drhd_unit *drhd;
	struct intel_iommu *iommu;
	phys_addr_t zero_page;

	if (!iommu_liveupdate_frozen())
		return;

	zero_page = iommu_liveupdate_zero_page();
	intel_iommu_walk_rmrr_devices(report_blocked_rmrr);

	guard(rcu)();
	for_each_iommu(iommu, drhd)
		switch_over_unit(iommu, zero_page);

	/*
	 * For intel_iommu_shutdown(), which runs on the last CPU when the others
	 * may have been stopped with any lock held.
	 */
	WRITE_ONCE(intel_iommu_switched_over, true);
}

/*
 * Suspend turns translation off, and the page tables in the hand-over are not
 * those of a resumed system. The notifier is what refuses; the syscore hook is
 * there in case something gets preserved after that was asked.
 */
static int intel_iommu_liveupdate_suspend(void *data)
{
	return iommu_liveupdate_busy() ? -EBUSY : 0;
}

static int intel_iommu_liveupdate_pm(struct notifier_block *nb,
				     unsigned long action, void *data)
{
	switch (action) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		if (!iommu_liveupdate_busy())
			return NOTIFY_DONE;
		pr_err("no suspend before all devices are given back\n");
		return notifier_from_errno(-EBUSY);
	}
	return NOTIFY_DONE;
}

static const struct syscore_ops intel_iommu_liveupdate_syscore_ops = {
	.suspend = intel_iommu_liveupdate_suspend,
	.shutdown = intel_iommu_switch_over,
};

static struct syscore intel_iommu_liveupdate_syscore = {
	.ops = &intel_iommu_liveupdate_syscore_ops,
};

static struct notifier_block intel_iommu_liveupdate_pm_nb = {
	.notifier_call = intel_iommu_liveupdate_pm,
};

/* After the syscore ops that suspend the units: the last one is asked first */
void __init intel_iommu_liveupdate_init(void)
{
	register_syscore(&intel_iommu_liveupdate_syscore);
	register_pm_notifier(&intel_iommu_liveupdate_pm_nb);
}
