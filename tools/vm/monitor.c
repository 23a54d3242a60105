// SPDX-License-Identifier: GPL-2.0
/*
 * QEMU's monitor: what happens to the machine from outside and is more than frames.
 * A device is taken out of its slot, by the button or without, or put into one. The
 * guest program asks for it when it is ready.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dmawatch.h"

#define ANSWER_MS	5000

/* Slot control: power off, power indicator off */
#define SLOT_OFF	0x700

static int listener = -1, fd = -1;
static char buf[16384], result[256];
static size_t filled;
static int answer;		/* 1 done, -1 refused, 0 not yet */

void monitor_listen(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/monitor", opt.dir);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) ||
	    listen(listener, 1))
		die("cannot listen on %s: %m", a.sun_path);
}

/* What to wait for, -1 when QEMU is gone */
int monitor_fd(void)
{
	return fd >= 0 ? fd : listener;
}

static int say(const char *text)
{
	return fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text);
}

/* Of each line that matters: an answer, or a device that is gone. */
static void handle(const char *line, FILE *marks)
{
	const char *p;

	if (!strncmp(line, "{\"return\":", 10)) {
		snprintf(result, sizeof(result), "%.255s", line + 10);
		answer = 1;
	} else if (!strncmp(line, "{\"error\":", 9)) {
		fprintf(marks, "%lu\tfail\tQEMU: %.200s\n", mono_ns(), line);
		answer = -1;
	} else if (strstr(line, "\"DEVICE_DELETED\"")) {
		p = strstr(line, "\"device\": \"dev");
		if (p)
			fprintf(marks, "%lu\tinfo\tdeleted%d=1\n", mono_ns(), atoi(p + 14));
	}
}

void monitor_read(FILE *marks)
{
	ssize_t n;
	char *nl;

	if (fd < 0) {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		say("{\"execute\":\"qmp_capabilities\"}\n");
		return;
	}
	n = read(fd, buf + filled, sizeof(buf) - 1 - filled);
	if (n <= 0) {
		close(fd);
		fd = listener = -1;
		return;
	}
	filled += n;
	buf[filled] = 0;
	while ((nl = strchr(buf, '\n'))) {
		*nl++ = 0;
		handle(buf, marks);
		filled -= nl - buf;
		memmove(buf, nl, filled + 1);
	}
	if (filled == sizeof(buf) - 1)
		filled = 0;
}

/* True if it was done. The answer comes at once: who asks can wait. */
static __attribute__((format(printf, 2, 3))) int command(FILE *marks, const char *fmt, ...)
{
	struct pollfd p = { .events = POLLIN };
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	answer = 0;
	if (say(text))
		return 0;
	while (!answer) {
		p.fd = fd;
		if (fd < 0 || poll(&p, 1, ANSWER_MS) != 1)
			return 0;
		monitor_read(marks);
	}
	return answer > 0;
}

#define HMP	"{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}\n"

static int human(FILE *marks, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	return command(marks, HMP, line);
}

/* "portw[0x0cf8] = 0x80002004" */
static int port_read(FILE *marks, const char *what, unsigned int *value)
{
	const char *p;

	if (!human(marks, "i %s", what))
		return 0;
	p = strchr(result, '=');
	return p && sscanf(p + 1, "%x", value) == 1;
}

/* Press the button: the kernel decides. */
int monitor_unplug(FILE *marks, unsigned int nic)
{
	return command(marks, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"dev%u\"}}\n", nic);
}

/*
 * Pull it out: QEMU lets go of a device when its slot is switched off, and does not
 * ask who did it. The kernel finds the slot as it was, with nothing in it.
 */
int monitor_pull(FILE *marks, unsigned int rid, unsigned int at)
{
	unsigned int latched, control;
	int done;

	if (!rid || rid > 0xff || !at || at > 0xfc ||
	    !command(marks, "{\"execute\":\"stop\"}\n"))
		return 0;
	done = port_read(marks, "/w 0xcf8", &latched) &&
	       human(marks, "o /w 0xcf8 0x%x", 0x80000000 | rid << 8 | at) &&
	       port_read(marks, "/h 0xcfc", &control) &&
	       human(marks, "o /h 0xcfc 0x%x", control | SLOT_OFF) &&
	       human(marks, "o /h 0xcfc 0x%x", control) &&
	       human(marks, "o /w 0xcf8 0x%x", latched);
	return command(marks, "{\"execute\":\"cont\"}\n") && done;
}

/* Put one into the slot after those of all others, where nobody streams. */
int monitor_plug(FILE *marks)
{
	return command(marks, "{\"execute\":\"device_add\",\"arguments\":{\"driver\":"
		       "\"igb\",\"id\":\"late\",\"bus\":\"port%u\",\"romfile\":\"\"}}\n",
		       opt.nics);
}
