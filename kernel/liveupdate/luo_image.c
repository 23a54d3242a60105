// SPDX-License-Identifier: GPL-2.0
/*
 * Whether a kernel image can take over what keeps running
 */

/**
 * DOC: LUO image check
 *
 * A file that keeps hardware running (&liveupdate_file_ops.live) has no second
 * chance: if the next kernel does not understand what it is handed, its memory
 * is free for anything while DMA to it goes on. The image says what it
 * understands (include/linux/kho/abi/luo_image.h). That is read when the image is
 * loaded, together with what its command line says about KHO, live update and
 * the end of memory, and compared when reboot(2) is about to start it, as only
 * then it is known what is preserved.
 *
 * An image is trusted as much as any kernel that root may start: the note
 * prevents accidents. But it is read from a file, so its form is checked.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/kexec.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/kho/abi/luo.h>
#include <linux/kho/abi/luo_image.h>
#include <linux/kstrtox.h>
#include <linux/memblock.h>
#include <linux/minmax.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/unaligned.h>

#include "luo_internal.h"

/* Only what early_param() functions would make of it. */
static int luo_image_param(char *param, char *val, const char *unused, void *arg)
{
	struct luo_image *image = arg;
	u64 size;

	/* A value that is none changes nothing, there as here. */
	if (parameq(param, "kho")) {
		(void)!kstrtobool(val, &image->kho);
	} else if (parameq(param, "liveupdate")) {
		(void)!kstrtobool(val, &image->liveupdate);
	} else if (parameq(param, "mem") && val) {
		/* An address on x86, and no other image says what it knows */
		size = memparse(val, NULL);
		if (size)
			image->memory = min(image->memory, size);
	}

	return 0;
}

static int luo_image_cmdline(struct luo_image *image, const char *cmdline)
{
	/* It is taken apart in place. */
	char *copy __free(kfree) = kstrdup(cmdline, GFP_KERNEL);

	if (!copy)
		return -ENOMEM;

	parse_args("command line of the image", copy, NULL, 0, 0, 0, image,
		   luo_image_param);
	return 0;
}

/* Every entry has to be whole; as the last byte is a NUL each name ends. */
static bool luo_image_entries_valid(const char *entries, size_t len)
{
	size_t at = 0;

	while (at < len) {
		if (len - at <= sizeof(u32))
			return false;
		at += sizeof(u32);
		at += strlen(entries + at) + 1;
	}

	return true;
}

/**
 * luo_image_parse() - Read the note of a kernel image
 * @buf:     The note, at any alignment.
 * @len:     Its size in bytes.
 * @cmdline: The command line the image is loaded with, or NULL.
 *
 * Context: May sleep.
 * Return: What the image says, to be freed with kfree();
 *         ERR_PTR(-EINVAL) if the note is malformed or newer than this kernel,
 *         ERR_PTR(-ENOMEM).
 */
struct luo_image *luo_image_parse(const void *buf, size_t len, const char *cmdline)
{
	const struct luo_image_note *note = buf;
	size_t data_len, builtin_len;
	const char *builtin;
	u32 flags;
	int err;

	if (len <= sizeof(*note))
		return ERR_PTR(-EINVAL);

	data_len = len - sizeof(*note);
	flags = get_unaligned(&note->flags);
	if (memcmp(note->magic, LUO_IMAGE_NOTE_MAGIC, sizeof(note->magic)) ||
	    get_unaligned(&note->size) != len || flags & ~LUO_IMAGE_NOTE_FLAGS ||
	    note->data[data_len - 1])
		return ERR_PTR(-EINVAL);

	builtin = note->data;
	builtin_len = strlen(builtin) + 1;
	if (!luo_image_entries_valid(builtin + builtin_len, data_len - builtin_len))
		return ERR_PTR(-EINVAL);

	struct luo_image *image __free(kfree) =
		kzalloc_flex(*image, entries, data_len - builtin_len);
	if (!image)
		return ERR_PTR(-ENOMEM);

	image->len = data_len - builtin_len;
	memcpy(image->entries, builtin + builtin_len, image->len);

	image->kho = flags & LUO_IMAGE_NOTE_KHO_ON;
	image->memory = U64_MAX;
	err = luo_image_cmdline(image, builtin);
	if (!err && cmdline && !(flags & LUO_IMAGE_NOTE_OVERRIDE))
		err = luo_image_cmdline(image, cmdline);
	if (err)
		return ERR_PTR(err);

	return_ptr(image);
}

/**
 * luo_image_knows() - Can an image take something over?
 * @image:   What it says.
 * @name:    Compatibility string.
 * @version: Version besides that, or 0.
 *
 * Context: Any.
 * Return: true if the image names exactly that.
 */
bool luo_image_knows(const struct luo_image *image, const char *name, u32 version)
{
	const char *entry = image->entries;

	while (entry < image->entries + image->len) {
		const char *entry_name = entry + sizeof(u32);

		if (get_unaligned((const u32 *)entry) == version &&
		    !strcmp(entry_name, name))
			return true;
		entry = entry_name + strlen(entry_name) + 1;
	}

	return false;
}

/**
 * liveupdate_image_load() - Find out what a kernel image can take over
 * @image: Being loaded by kexec_file_load(2), the file and the command line
 *         are still there.
 *
 * An image that says nothing, or something unreadable, is no error: it can be
 * started as long as nothing keeps hardware running.
 *
 * Context: May sleep.
 * Return: 0 or -ENOMEM.
 */
int liveupdate_image_load(struct kimage *image)
{
	struct luo_image *parsed;
	const void *note;
	size_t len;

	if (!liveupdate_enabled() || image->type == KEXEC_TYPE_CRASH ||
	    !image->fops || !image->fops->find_note)
		return 0;

	note = image->fops->find_note(image->kernel_buf, image->kernel_buf_len,
				      LUO_IMAGE_NOTE_MAGIC, &len);
	if (!note)
		return 0;

	parsed = luo_image_parse(note, len, image->cmdline_buf);
	if (IS_ERR(parsed)) {
		if (PTR_ERR(parsed) == -ENOMEM)
			return -ENOMEM;
		pr_warn("what the kernel image says about live update is unreadable\n");
		return 0;
	}

	image->liveupdate = parsed;
	return 0;
}

/**
 * liveupdate_image_free() - Undo liveupdate_image_load()
 * @image: The image.
 *
 * Context: Any.
 */
void liveupdate_image_free(struct kimage *image)
{
	kfree(image->liveupdate);
	image->liveupdate = NULL;
}

/**
 * luo_image_refusal() - Why an image cannot take over anything
 * @image: The image that is about to be started.
 *
 * Context: Any.
 * Return: The reason, to come after "but", or NULL if there is none.
 */
const char *luo_image_refusal(const struct kimage *image)
{
	const struct luo_image *says = image->liveupdate;

	if (image->preserve_context)
		return "the image is to return to this kernel";
	if (!image->file_mode)
		return "the image was loaded by kexec_load(2), without kexec handover";
	if (!image->kho.fdt || !image->kho.scratch)
		return "the image was loaded without kexec handover";
	if (!says)
		return "the image does not say that it can take them over";
	if (!says->kho)
		return "the command line of the image leaves kexec handover off";
	if (!says->liveupdate)
		return "the command line of the image leaves live update off";
	if (says->memory < (u64)max_pfn << PAGE_SHIFT)
		return "the command line of the image leaves out memory";
	if (!luo_image_knows(says, KHO_FDT_COMPATIBLE, 0))
		return "the image has another version of kexec handover";
	if (!luo_image_knows(says, LUO_ABI_COMPATIBLE, 0))
		return "the image has another version of live update";

	return NULL;
}
