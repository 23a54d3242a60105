/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_CONTROL_H
#define SELFTESTS_VFIO_LIVEUPDATE_CONTROL_H

#include <stdbool.h>
#include <linux/types.h>

#include "kselftest.h"

void control_open(const char *path);
void control_done(void);

__printf(1, 2) void control_prefix(const char *fmt, ...);
__printf(1, 2) void control_mark(const char *fmt, ...);
__printf(1, 2) void control_info(const char *fmt, ...);
__printf(1, 2) void control_step(const char *fmt, ...);
__printf(2, 3) __noreturn void control_fail(int err, const char *fmt, ...);

void control_scan(void);
void control_unplug(unsigned int nic);
void control_pull(unsigned int nic, unsigned int port, unsigned int at);
void control_plug(void);
void control_pause(unsigned int nic);
void control_resume(unsigned int nic, unsigned int stage);
bool control_sent(unsigned int nic, __u64 *seq, __u64 *accepted);

/*
 * Make a call that returns a negative error code, as part of the step that the
 * format names; give up if it fails. Evaluates to what the call returned.
 */
#define must(_call, _fmt, ...) ({			\
	int __must_ret;					\
							\
	control_step(_fmt, ##__VA_ARGS__);		\
	__must_ret = (_call);				\
	if (__must_ret < 0)				\
		control_fail(__must_ret, "failed");	\
	__must_ret;					\
})

#endif /* SELFTESTS_VFIO_LIVEUPDATE_CONTROL_H */
