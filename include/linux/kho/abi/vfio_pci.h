/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serialised state of a vfio-pci device for live update
 */

/**
 * DOC: vfio-pci live update ABI
 *
 * The LUO file handler of vfio-pci hands one buffer per preserved device to the
 * next kernel, allocated when the file is preserved and written when it is
 * frozen::
 *
 *   struct vfio_pci_ser | virtual config space | saved PCI state
 *
 * It holds what the next kernel cannot read from the running device: the
 * virtualised part of config space, and the state to put the device back to
 * when its user closes it (&struct pci_saved_state_ser). It is not the device's
 * state: that stays in the device.
 *
 * The layout is a contract between two kernels. A change of layout or meaning
 * is a new VFIO_PCI_SER_VERSION. All fields are fixed width, naturally aligned
 * and explicitly padded; reserved fields are written as 0 and checked to be 0.
 */

#ifndef _LINUX_KHO_ABI_VFIO_PCI_H
#define _LINUX_KHO_ABI_VFIO_PCI_H

#ifndef __ASSEMBLER__
#include <linux/bits.h>
#include <linux/types.h>
#endif

/* Compatibility string of the file handler */
#define VFIO_PCI_LIVEUPDATE_COMPATIBLE	"vfio-pci-v100"

/* 0 is a buffer that was never frozen */
#define VFIO_PCI_SER_VERSION	1

#ifndef __ASSEMBLER__

/* Upper limit of &struct vfio_pci_ser.size, bytes */
#define VFIO_PCI_SER_MAX	65536

/* &struct vfio_pci_ser.flags */
/* The function can be reset alone. */
#define VFIO_PCI_SER_RESET_WORKS	BIT(0)
/* INTx can be masked through the COMMAND register. */
#define VFIO_PCI_SER_PCI_2_3		BIT(1)
/* INTx is broken and hidden from the user. */
#define VFIO_PCI_SER_NOINTX		BIT(2)
/* The user has set INTx Disable in the virtual COMMAND register. */
#define VFIO_PCI_SER_VIRQ_DISABLED	BIT(3)
#define VFIO_PCI_SER_FLAGS		GENMASK(3, 0)

/**
 * struct vfio_pci_ser - A preserved vfio-pci device
 * @version:        VFIO_PCI_SER_VERSION.
 * @size:           Size of everything in bytes, this structure included.
 * @segment:        PCI segment.
 * @rid:            PCI routing id: bus << 8 | devfn.
 * @vendor:         Vendor ID of the function.
 * @device:         Device ID of the function.
 * @flags:          VFIO_PCI_SER_* flags.
 * @vconfig_offset: Where in the buffer the virtual config space is, bytes.
 * @vconfig_size:   Its size in bytes: 256, or 4096 with extended config space.
 * @state_offset:   Where in the buffer the saved PCI state is, bytes.
 * @state_size:     Its size in bytes, 0 if there is none.
 * @bar:            BAR 0 to 5 and the expansion ROM BAR as in hardware.
 * @msi_qmax:       log2 of the number of MSI vectors the user may enable.
 * @reserved:       0.
 */
struct vfio_pci_ser {
	__u32 version;
	__u32 size;
	__u32 segment;
	__u32 rid;
	__u16 vendor;
	__u16 device;
	__u32 flags;
	__u32 vconfig_offset;
	__u32 vconfig_size;
	__u32 state_offset;
	__u32 state_size;
	__u32 bar[7];
	__u8 msi_qmax;
	__u8 reserved[3];
};

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_VFIO_PCI_H */
