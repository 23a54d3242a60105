/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Serialised form of the saved configuration of a PCI function
 */

#ifndef _LINUX_KHO_ABI_PCI_SAVED_STATE_H
#define _LINUX_KHO_ABI_PCI_SAVED_STATE_H

#include <linux/types.h>

/**
 * struct pci_saved_cap_ser - Saved registers of one capability
 * @cap:      Capability ID, PCI_CAP_ID_* or PCI_EXT_CAP_ID_*.
 * @extended: 1 if @cap is an extended capability, else 0.
 * @reserved: 0.
 * @size:     Bytes of @data that are used, not 0.
 * @data:     The registers, as pci_save_state() orders them for this
 *            capability; padded with zeroes to a multiple of 4 bytes.
 *
 * Which registers are saved is up to the kernel. A reader that keeps another
 * number of bytes for a capability does not use the state.
 */
struct pci_saved_cap_ser {
	__u16 cap;
	__u8 extended;
	__u8 reserved;
	__u32 size;
	__u8 data[];
};

/**
 * struct pci_saved_state_ser - Saved configuration of a PCI function
 * @config_space: The header, dword by dword.
 * @nr_caps:      Number of &struct pci_saved_cap_ser that follow.
 * @reserved:     0.
 *
 * The entries follow back to back and end with the buffer.
 */
struct pci_saved_state_ser {
	__u32 config_space[16];
	__u32 nr_caps;
	__u32 reserved;
};

#endif /* _LINUX_KHO_ABI_PCI_SAVED_STATE_H */
