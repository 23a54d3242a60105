/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a kernel image says about live update
 */

/**
 * DOC: What a kernel image says about live update
 *
 * A device that is kept running over a kexec is lost if the next kernel does not
 * understand what it is handed, and then it is too late to do anything about it.
 * So the image of a kernel says what it understands, in a note that the kernel
 * before reads when it loads the image::
 *
 *   struct luo_image_note
 *   the command line that is built in, NUL-terminated, mostly empty
 *   for each thing it can take over:
 *     __u32 version
 *     its name, NUL-terminated
 *
 * There is no padding. A name is the compatibility string of KHO, of LUO, of a
 * file handler or of an FLB object; the version is that of the handler or object
 * if it has one besides its name, else 0.
 *
 * On x86 the note is a chunk of the variable data of the kernel_info, see
 * Documentation/arch/x86/boot.rst.
 */

#ifndef _LINUX_KHO_ABI_LUO_IMAGE_H
#define _LINUX_KHO_ABI_LUO_IMAGE_H

#define LUO_IMAGE_NOTE_MAGIC	"LUpd"

/* &struct luo_image_note.flags */
/* KHO is on if the command line says nothing. */
#define LUO_IMAGE_NOTE_KHO_ON		0x1
/* The command line that is built in is used instead of the one given. */
#define LUO_IMAGE_NOTE_OVERRIDE		0x2
#define LUO_IMAGE_NOTE_FLAGS		0x3

#ifndef __ASSEMBLER__

#include <linux/types.h>

/**
 * struct luo_image_note - Head of the note
 * @magic: LUO_IMAGE_NOTE_MAGIC, without its NUL.
 * @size:  Size of the note in bytes, head included.
 * @flags: LUO_IMAGE_NOTE_* flags. With one that is not known the note cannot be
 *         read.
 * @data:  Command line and entries.
 */
struct luo_image_note {
	char magic[4];
	__u32 size;
	__u32 flags;
	char data[];
} __packed;

#endif /* !__ASSEMBLER__ */

#endif /* _LINUX_KHO_ABI_LUO_IMAGE_H */
