// SPDX-License-Identifier: GPL-2.0-only
/*
 * The line to whoever watches from outside the machine.
 *
 * Time stands still in a kernel that is being replaced, so what has to be timed
 * or counted across a live update is measured outside. The test tells how far it
 * has come and asks for what only the outside can do, a line each:
 *
 *   @mark NAME [key=value...]	this point has been reached now
 *   @info key=value		worth reporting
 *   @fail TEXT			the test gives up
 *   @ask QUESTION		answered by one line "ok [key=value...]"
 *
 * Without such a line marks go to stdout and nobody is asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "control.h"

#define ANSWER_MS 20000

static int control_fd = -1;
static char current_step[128] = "start";
static char mark_prefix[32];
static bool settled;

static void send_line(const char *kind, const char *fmt, va_list ap)
{
	char line[512];
	size_t len, sent;
	ssize_t ret;
	int n;

	n = snprintf(line, sizeof(line) - 1, "@%s %s", kind,
		     strcmp(kind, "mark") ? "" : mark_prefix);
	n += vsnprintf(line + n, sizeof(line) - 1 - n, fmt, ap);
	len = n < sizeof(line) - 1 ? n : sizeof(line) - 2;
	line[len++] = '\n';

	if (control_fd < 0) {
		fwrite(line, 1, len, stdout);
		fflush(stdout);
		return;
	}

	for (sent = 0; sent < len; sent += ret) {
		ret = write(control_fd, line + sent, len - sent);
		if (ret <= 0)
			break;
	}

	/* A mark may be the last thing this kernel says. */
	tcdrain(control_fd);
}

static __printf(2, 3) void send_linef(const char *kind, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	send_line(kind, fmt, ap);
	va_end(ap);
}

/* The library's assertions exit as well: that must not go unnoticed. */
static void at_exit(void)
{
	if (!settled)
		send_linef("fail", "%s: assertion failed, see the console",
			   current_step);
}

void control_open(const char *path)
{
	struct termios tio;

	setvbuf(stdout, NULL, _IOLBF, 0);
	atexit(at_exit);

	if (!path)
		return;

	control_fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (control_fd < 0) {
		ksft_print_msg("%s: %s: marks go to stdout\n", path,
			       strerror(errno));
		return;
	}

	/* A port that is not there can be opened, but no more than that. */
	if (tcgetattr(control_fd, &tio)) {
		if (errno == EIO) {
			ksft_print_msg("%s: no such port: marks go to stdout\n", path);
			close(control_fd);
			control_fd = -1;
		}
	} else {
		cfmakeraw(&tio);
		cfsetspeed(&tio, B115200);
		tio.c_cflag |= CLOCAL;
		tcsetattr(control_fd, TCSAFLUSH, &tio);
	}
}

/* What the names of marks start with from now on. */
void control_prefix(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(mark_prefix, sizeof(mark_prefix), fmt, ap);
	va_end(ap);
}

/* The test has come to its end: leaving is no failure from now on. */
void control_done(void)
{
	settled = true;
}

void control_mark(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	send_line("mark", fmt, ap);
	va_end(ap);
}

void control_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	send_line("info", fmt, ap);
	va_end(ap);
}

/* Name what is being done, for the message if it fails. */
void control_step(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(current_step, sizeof(current_step), fmt, ap);
	va_end(ap);
}

/**
 * control_fail() - Say which step failed and why, and exit.
 * @err: negative error code, 0 if the failure has none
 * @fmt: what was found
 */
void control_fail(int err, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	settled = true;
	if (err)
		send_linef("fail", "%s: %s: %s (errno %d)", current_step, text,
			   strerror(-err), -err);
	else
		send_linef("fail", "%s: %s", current_step, text);

	if (control_fd >= 0)
		printf("Bail out! %s: %s: %s\n", current_step, text,
		       err ? strerror(-err) : "");
	exit(KSFT_FAIL);
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Ask, and return the answer without its "ok", or NULL if nobody is there. */
static __printf(1, 2) const char *ask(const char *fmt, ...)
{
	static char answer[256];
	struct pollfd pfd = { .fd = control_fd, .events = POLLIN };
	long long deadline = now_ms() + ANSWER_MS;
	size_t len = 0;
	va_list ap;

	if (control_fd < 0)
		return NULL;

	va_start(ap, fmt);
	send_line("ask", fmt, ap);
	vsnprintf(current_step, sizeof(current_step), fmt, ap);
	va_end(ap);

	for (;;) {
		long long left = deadline - now_ms();
		char c;

		if (left <= 0)
			control_fail(-ETIMEDOUT, "no answer");
		if (poll(&pfd, 1, left) <= 0 || read(control_fd, &c, 1) != 1)
			continue;
		if (c == '\r')
			continue;
		if (c != '\n') {
			if (len < sizeof(answer) - 1)
				answer[len++] = c;
			continue;
		}

		answer[len] = 0;
		if (!strncmp(answer, "ok", 2))
			return answer + 2;
		if (len)
			control_fail(0, "answer was '%s'", answer);
	}
}

/* Have the sender stop; it has when this returns. */
void control_pause(unsigned int nic)
{
	ask("pause nic=%u", nic);
}

/* Have the sender go on, with frames that belong to @stage of the test. */
void control_resume(unsigned int nic, unsigned int stage)
{
	ask("resume nic=%u stage=%u", nic, stage);
}

/* Have who watches look for memory that has been mapped. */
void control_scan(void)
{
	ask("scan");
}

/* Have the button of its slot pressed. */
void control_unplug(unsigned int nic)
{
	ask("unplug nic=%u", nic);
}

/* Have it pulled out of the slot of a port; @at is where that has slot control. */
void control_pull(unsigned int nic, unsigned int port, unsigned int at)
{
	ask("pull nic=%u port=%#x at=%#x", nic, port, at);
}

/* Have one put into the slot that is empty. */
void control_plug(void)
{
	ask("plug");
}

/**
 * control_sent() - What has been sent up to now?
 * @nic: which network card
 * @seq: set to the number of the last frame
 * @accepted: set to how many frames the network card took, or will take
 *
 * Return: false if nobody knows.
 */
bool control_sent(unsigned int nic, __u64 *seq, __u64 *accepted)
{
	const char *answer = ask("sent nic=%u", nic);
	const char *s, *a;

	if (!answer)
		return false;

	s = strstr(answer, "seq=");
	a = strstr(answer, "accepted=");
	if (!s || !a)
		control_fail(0, "answer was '%s'", answer);

	*seq = strtoull(s + 4, NULL, 0);
	*accepted = strtoull(a + 9, NULL, 0);
	return true;
}
