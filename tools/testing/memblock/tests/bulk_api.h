/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _MEMBLOCK_BULK_H
#define _MEMBLOCK_BULK_H

#include "common.h"

int memblock_bulk_checks(void);

#endif
