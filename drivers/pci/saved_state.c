// SPDX-License-Identifier: GPL-2.0
/*
 * The saved state of a PCI function, in a form another kernel can read
 *
 * struct pci_saved_state is private to one kernel: its entries are packed
 * without alignment and hold a bool. Live update hands the state on to the next
 * kernel, which must be able to put a device back as the first driver found it.
 */

#include <linux/align.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/kho/abi/pci_saved_state.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "pci.h"

static const struct pci_cap_saved_data *
pci_saved_cap_next(const struct pci_cap_saved_data *cap)
{
	return (const void *)cap->data + cap->size;
}

/**
 * pci_saved_state_pack - Write a saved state in its serialised form
 * @state: What pci_store_saved_state() returned
 * @buf:   Where to write, aligned to 4 bytes; NULL to learn the size only
 * @size:  Size of @buf in bytes
 *
 * Context: Any.
 * Return: Size of the serialised form in bytes, -ENOSPC if @buf is too small.
 */
ssize_t pci_saved_state_pack(const struct pci_saved_state *state, void *buf,
			     size_t size)
{
	const struct pci_cap_saved_data *cap;
	struct pci_saved_state_ser *ser = buf;
	struct pci_saved_cap_ser *cap_ser;
	size_t need = sizeof(*ser);

	for (cap = state->cap; cap->size; cap = pci_saved_cap_next(cap))
		need += sizeof(*cap_ser) + ALIGN(cap->size, 4);

	if (!buf)
		return need;
	if (size < need)
		return -ENOSPC;

	memset(buf, 0, need);
	memcpy(ser->config_space, state->config_space,
	       sizeof(ser->config_space));

	cap_ser = buf + sizeof(*ser);
	for (cap = state->cap; cap->size; cap = pci_saved_cap_next(cap)) {
		cap_ser->cap = cap->cap_nr;
		cap_ser->extended = cap->cap_extended;
		cap_ser->size = cap->size;
		memcpy(cap_ser->data, cap->data, cap->size);
		cap_ser = (void *)cap_ser->data + ALIGN(cap->size, 4);
		ser->nr_caps++;
	}

	return need;
}
EXPORT_SYMBOL_GPL(pci_saved_state_pack);

/* Entry at @pos of @buf, or NULL if it does not lie within @size bytes */
static const struct pci_saved_cap_ser *
pci_saved_cap_ser_at(const void *buf, size_t size, size_t pos)
{
	const struct pci_saved_cap_ser *cap_ser = buf + pos;

	if (size - pos < sizeof(*cap_ser))
		return NULL;
	if (!cap_ser->size || cap_ser->size > U16_MAX ||
	    cap_ser->extended > 1 || cap_ser->reserved)
		return NULL;
	if (size - pos - sizeof(*cap_ser) < ALIGN(cap_ser->size, 4))
		return NULL;
	return cap_ser;
}

/**
 * pci_saved_state_unpack - Read a saved state back
 * @buf:  What pci_saved_state_pack() of some kernel wrote, aligned to 4 bytes
 * @size: Size of @buf in bytes
 *
 * Nothing in @buf is trusted. Whether the state fits a device is checked by
 * pci_load_saved_state().
 *
 * Context: May sleep.
 * Return: A state for pci_load_saved_state(), to be freed with kfree();
 * ERR_PTR(-EINVAL) if @buf is malformed, ERR_PTR(-ENOMEM).
 */
struct pci_saved_state *pci_saved_state_unpack(const void *buf, size_t size)
{
	const struct pci_saved_state_ser *ser = buf;
	const struct pci_saved_cap_ser *cap_ser;
	struct pci_cap_saved_data *cap;
	struct pci_saved_state *state;
	size_t pos, len;
	u32 i;

	if (size < sizeof(*ser) || ser->reserved)
		return ERR_PTR(-EINVAL);

	/* An entry of size 0 ends the list */
	len = sizeof(*state) + sizeof(*cap);
	for (i = 0, pos = sizeof(*ser); i < ser->nr_caps; i++) {
		cap_ser = pci_saved_cap_ser_at(buf, size, pos);
		if (!cap_ser)
			return ERR_PTR(-EINVAL);
		pos += sizeof(*cap_ser) + ALIGN(cap_ser->size, 4);
		len += sizeof(*cap) + cap_ser->size;
	}
	if (pos != size)
		return ERR_PTR(-EINVAL);

	state = kzalloc(len, GFP_KERNEL);
	if (!state)
		return ERR_PTR(-ENOMEM);

	memcpy(state->config_space, ser->config_space,
	       sizeof(state->config_space));

	cap = state->cap;
	for (i = 0, pos = sizeof(*ser); i < ser->nr_caps; i++) {
		cap_ser = buf + pos;
		cap->cap_nr = cap_ser->cap;
		cap->cap_extended = cap_ser->extended;
		cap->size = cap_ser->size;
		memcpy(cap->data, cap_ser->data, cap_ser->size);
		cap = (void *)cap->data + cap_ser->size;
		pos += sizeof(*cap_ser) + ALIGN(cap_ser->size, 4);
	}

	return state;
}
EXPORT_SYMBOL_GPL(pci_saved_state_unpack);
