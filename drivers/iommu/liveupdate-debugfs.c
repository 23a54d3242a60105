// SPDX-License-Identifier: GPL-2.0
/*
 * Live update of IOMMU state: what an operator can see of it
 *
 * /sys/kernel/debug/iommu/liveupdate lists what is preserved for the next kernel
 * and what came from the one before and is not finished, a line each:
 *
 *   outgoing frozen=no
 *     unit BASE segment=SEGMENT mode=legacy|scalable devices=N
 *     domain KEY unit=BASE format=vtdss|x86_64 levels=N tables=N bytes=N devices=N
 *     device BDF domain=KEY did=N
 *   incoming readable=yes
 *     ... and instead of the number of devices
 *     unit ... adopted=yes|no
 *     domain ... state=no-device-yet|held|given-back|left-out|given-up|ended
 *     device ... state=not-there-yet|held|claimed|bound|done|blocked
 *
 * Bytes are those of the page table, which is all that a domain holds here: the
 * memory it maps belongs to memfds.
 */

#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/string_choices.h>

#include "liveupdate-incoming.h"
#include "liveupdate-outgoing.h"

static const char *format_name(u32 format)
{
	switch (format) {
	case IOMMU_PT_SER_FMT_VTDSS:
		return "vtdss";
	case IOMMU_PT_SER_FMT_X86_64:
		return "x86_64";
	case IOMMU_PT_SER_FMT_AMDV1:
		return "amdv1";
	}
	return "unknown";
}

static void show_unit(struct seq_file *m,
		      const struct iommu_liveupdate_unit_ser *ser)
{
	seq_printf(m, "  unit %#llx segment=%04x mode=%s", ser->reg_phys,
		   ser->segment, ser->flags & IOMMU_LIVEUPDATE_UNIT_SCALABLE ?
		   "scalable" : "legacy");
}

static void show_domain(struct seq_file *m,
			const struct iommu_liveupdate_domain_ser *ser)
{
	seq_printf(m, "  domain %llu unit=%#llx format=%s levels=%u tables=%llu bytes=%llu",
		   ser->key, ser->unit, format_name(ser->pt.format),
		   ser->pt.top_level + 1, ser->pt.nr_tables,
		   ser->pt.nr_tables * SZ_4K);
}

static void show_device(struct seq_file *m,
			const struct iommu_liveupdate_device_ser *ser)
{
	seq_printf(m, "  device %04x:%02x:%02x.%d domain=%llu did=%u",
		   ser->segment, PCI_BUS_NUM(ser->rid), PCI_SLOT(ser->rid),
		   PCI_FUNC(ser->rid), ser->domain, ser->did);
}

static void show_outgoing(struct seq_file *m, const struct outgoing *out)
{
	const struct outgoing_domain *domain;
	const struct outgoing_device *device;
	const struct outgoing_unit *unit;

	seq_printf(m, "outgoing frozen=%s\n", str_yes_no(out->frozen));
	list_for_each_entry(unit, &out->units, list) {
		show_unit(m, &unit->ser);
		seq_printf(m, " devices=%u\n", unit->devices);
	}
	list_for_each_entry(domain, &out->domains, list) {
		show_domain(m, &domain->ser);
		seq_printf(m, " devices=%u\n", domain->devices);
	}
	list_for_each_entry(device, &out->devices, list) {
		show_device(m, &device->ser);
		seq_putc(m, '\n');
	}
}

static const char *domain_state(const struct incoming_domain *rec)
{
	static const char * const names[] = {
		[INCOMING_WAITS] = "no-device-yet",
		[INCOMING_TAKEN] = "given-back",
		[INCOMING_LEFT_OUT] = "left-out",
		[INCOMING_GIVEN_UP] = "given-up",
		[INCOMING_DISCARDED] = "ended",
	};

	if (rec->state == INCOMING_WAITS && rec->domain)
		return "held";
	return names[rec->state];
}

static const char *device_state(const struct incoming_device *rec)
{
	static const char * const names[] = {
		[IOMMU_LIVEUPDATE_NONE] = "not-there-yet",
		[IOMMU_LIVEUPDATE_HELD] = "held",
		[IOMMU_LIVEUPDATE_CLAIMED] = "claimed",
		[IOMMU_LIVEUPDATE_CONFIRMED] = "bound",
	};

	if (rec->ended)
		return "done";
	if (rec->failed)
		return "blocked";
	return names[rec->state] ?: "unknown";
}

static void show_incoming(struct seq_file *m, const struct incoming *in)
{
	const struct incoming_domain *domain;
	const struct incoming_device *device;
	const struct incoming_unit *unit;

	seq_printf(m, "incoming readable=%s\n", str_yes_no(in->readable));
	list_for_each_entry(unit, &in->units, list) {
		show_unit(m, &unit->ser);
		seq_printf(m, " adopted=%s\n", str_yes_no(unit->iommu));
	}
	list_for_each_entry(domain, &in->domains, list) {
		show_domain(m, &domain->ser);
		seq_printf(m, " state=%s\n", domain_state(domain));
	}
	list_for_each_entry(device, &in->devices, list) {
		show_device(m, &device->ser);
		seq_printf(m, " state=%s\n", device_state(device));
	}
}

static int liveupdate_show(struct seq_file *m, void *unused)
{
	guard(mutex)(&iommu_liveupdate_lock);
	if (iommu_outgoing)
		show_outgoing(m, iommu_outgoing);
	if (iommu_incoming)
		show_incoming(m, iommu_incoming);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(liveupdate);

/* Late: iommu_init() has made the directory */
static int __init iommu_liveupdate_debugfs_init(void)
{
	debugfs_create_file("liveupdate", 0400, iommu_debugfs_dir, NULL,
			    &liveupdate_fops);
	return 0;
}
late_initcall(iommu_liveupdate_debugfs_init);
