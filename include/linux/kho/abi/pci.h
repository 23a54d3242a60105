/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serialised state of the PCI core for live update
 */

/**
 * DOC: PCI live update ABI
 *
 * A preserved device keeps running while the kernel is replaced. The next
 * kernel must not do to it what enumeration usually does to a device: size its
 * BARs, toggle bits to see whether they stick, bring it to a known state. What
 * it would have learned that way it is told instead, in one
 * file-lifecycle-bound (FLB) object::
 *
 *   FLB data --> struct pci_liveupdate_ser
 *                  '-- devices --> struct pci_liveupdate_dev_ser ...
 *
 * The array is a KHO block set, written when the previous kernel freezes. It
 * has an entry for each preserved device and one for each bridge above one, as
 * those have to keep forwarding. An entry is found by PCI segment and routing
 * id.
 *
 * This layout is a contract between two kernels. A change of layout or meaning
 * is a new PCI_LIVEUPDATE_ABI_VERSION. All fields are fixed width, naturally
 * aligned and explicitly padded; reserved fields are written as 0 and checked
 * to be 0. None of it is trusted: drivers/pci/liveupdate_incoming.c checks each entry
 * before it is used.
 */

#ifndef _LINUX_KHO_ABI_PCI_H
#define _LINUX_KHO_ABI_PCI_H

#ifndef __ASSEMBLER__
#include <linux/bits.h>
#include <linux/types.h>
#endif

/* Name of the FLB object; the layout version is in the object itself. */
#define PCI_LIVEUPDATE_FLB_COMPATIBLE	"pci-liveupdate"

#define PCI_LIVEUPDATE_ABI_VERSION	0x100

#ifndef __ASSEMBLER__

/**
 * struct pci_liveupdate_ser - Top of the hand-over
 * @version:    PCI_LIVEUPDATE_ABI_VERSION. Anything else is not readable.
 * @reserved:   0.
 * @nr_devices: Number of entries in @devices.
 * @devices:    Physical address of the first block of
 *              &struct pci_liveupdate_dev_ser.
 */
struct pci_liveupdate_ser {
	__u32 version;
	__u32 reserved;
	__u64 nr_devices;
	__u64 devices;
};

/* &struct pci_liveupdate_dev_ser.flags */
/* A bridge above a preserved device, not itself preserved. */
#define PCI_LIVEUPDATE_DEV_BRIDGE	BIT(0)
/* INTx Disable in the Command register is not writable. */
#define PCI_LIVEUPDATE_DEV_NO_INTX_MASK	BIT(1)
#define PCI_LIVEUPDATE_DEV_FLAGS	(PCI_LIVEUPDATE_DEV_BRIDGE | \
					 PCI_LIVEUPDATE_DEV_NO_INTX_MASK)

#define PCI_LIVEUPDATE_NUM_BARS		6

/**
 * struct pci_liveupdate_dev_ser - A device that runs through the live update
 * @segment:     PCI segment.
 * @rid:         PCI routing id: bus << 8 | devfn.
 * @flags:       PCI_LIVEUPDATE_DEV_* flags.
 * @vendor:      Vendor id.
 * @device:      Device id.
 * @class_rev:   Class code and revision id, the dword at PCI_CLASS_REVISION.
 * @bar:         Base address registers as they read. Bridges have two.
 * @bar_mask:    What each would read after all ones were written to it, address
 *               bits only; 0 for a BAR that is not implemented.
 * @rom_mask:    The same for the expansion ROM.
 * @vf_bar_mask: The same for the BARs in the SR-IOV capability.
 * @secondary:   Secondary bus number of a bridge, else 0.
 * @subordinate: Subordinate bus number of a bridge, else 0.
 * @reserved:    0.
 */
struct pci_liveupdate_dev_ser {
	__u32 segment;
	__u16 rid;
	__u16 flags;
	__u16 vendor;
	__u16 device;
	__u32 class_rev;
	__u32 bar[PCI_LIVEUPDATE_NUM_BARS];
	__u32 bar_mask[PCI_LIVEUPDATE_NUM_BARS];
	__u32 rom_mask;
	__u32 vf_bar_mask[PCI_LIVEUPDATE_NUM_BARS];
	__u8 secondary;
	__u8 subordinate;
	__u8 reserved[2];
};

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_PCI_H */
