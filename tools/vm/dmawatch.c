// SPDX-License-Identifier: GPL-2.0
/*
 * dmawatch - the world outside the machine: answers the guest program on its
 * control line, reads the console, and writes down what was sent, what came
 * and when. It judges nothing.
 *
 * Listens on DIR/console, DIR/control and DIR/monitor before QEMU is started; ends when
 * QEMU closes the first two.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dmawatch.h"

#define CONNECT_NS	20000000000ULL

struct options opt = {
	.rate = 500,
	.len = 1024,
	.timeout = 60,
	.run_id = 1,
};

/* One of the two serial lines of the machine. */
struct line {
	const char *name;
	int listener;
	int fd;
	int closed;
	char buf[4096];
	size_t len;
	void (*handle)(struct line *l, char *text);
};

int rids[MAX_NICS];

static FILE *marks, *console;
static char step[64] = "starting QEMU";
static uint64_t started;
static int fancy;
static volatile sig_atomic_t killed;

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "dmawatch: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	watch_unlink();
	exit(1);
}

FILE *result_open(const char *name)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", opt.dir, name);
	f = fopen(path, "we");
	if (!f)
		die("cannot write %s: %m", path);
	return f;
}

void result_close(FILE *f)
{
	if (ferror(f) | fclose(f))
		die("writing the results failed: no space left?");
}

/* One line that says where it is; without a terminal, one line per mark. */
static void progress(int new_step)
{
	uint64_t sent = 0, last, accepted, tenths = (mono_ns() - started) / 100000000;
	unsigned int nic;

	if (!fancy && !new_step)
		return;
	for (nic = 0; nic < opt.nics; nic++) {
		send_count(nic, &last, &accepted);
		sent += accepted;
	}
	fprintf(stderr, "%s%4lu.%lu s  %-18.18s %6lu frames sent %6lu arrived%s",
		fancy ? "\r" : "    ", tenths / 10, tenths % 10, step, sent,
		watch_found(), fancy ? "" : "\n");
}

/* Work that takes longer than a time stamp may wait. */
static void *snapshot_task(void *unused)
{
	watch_snapshot();
	return NULL;
}

static void *compare_task(void *unused)
{
	watch_compare();
	return NULL;
}

static void in_background(void *(*task)(void *))
{
	static pthread_t last;
	static int any;

	if (any)
		pthread_join(last, NULL);
	any = !pthread_create(&last, NULL, task, NULL);
	if (!any)
		die("cannot start a thread");
}

static void reply(struct line *l, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (write(l->fd, text, n) != n)
		fprintf(marks, "%lu\tfail\tcontrol line: short write\n",
			mono_ns());
}

static unsigned int ask_arg(const char *text, const char *key, unsigned int dfl)
{
	char pattern[32];
	const char *p;

	snprintf(pattern, sizeof(pattern), " %s=", key);
	p = strstr(text, pattern);
	return p ? strtoul(p + strlen(pattern), NULL, 0) : dfl;
}

static void reply_done(struct line *l, int done)
{
	reply(l, done ? "ok\n" : "err QEMU did not\n");
}

static void answer(struct line *l, char *text)
{
	unsigned int nic = ask_arg(text, "nic", 0);
	uint64_t last, accepted;

	if (nic >= opt.nics) {
		reply(l, "err no such nic\n");
	} else if (!strncmp(text, "scan", 4)) {
		watch_scan();
		reply(l, "ok\n");
	} else if (!strncmp(text, "sent", 4) && opt.kind[nic] == KIND_NVME) {
		reply(l, "err nobody sends to a drive\n");
	} else if (!strncmp(text, "pause", 5)) {
		send_pause(nic);
		reply(l, "ok\n");
	} else if (!strncmp(text, "resume", 6)) {
		watch_scan();	/* know the buffers before they are written */
		send_resume(nic, ask_arg(text, "stage", STAGE_STREAM));
		reply(l, "ok\n");
	} else if (!strncmp(text, "sent", 4)) {
		send_count(nic, &last, &accepted);
		reply(l, "ok seq=%lu accepted=%lu\n", last, accepted);
	} else if (!strncmp(text, "unplug", 6)) {
		reply_done(l, monitor_unplug(marks, nic));
	} else if (!strncmp(text, "pull", 4)) {
		reply_done(l, monitor_pull(marks, ask_arg(text, "port", 0),
					   ask_arg(text, "at", 0)));
	} else if (!strncmp(text, "plug", 4)) {
		reply_done(l, monitor_plug(marks));
	} else {
		reply(l, "err unknown question\n");
	}
	fprintf(marks, "%lu\task\t%s\n", mono_ns(), text);
}

/* "dev=N bdf=DDDD:BB:DD.F ...", from /init of each kernel. */
static void learn_rid(const char *text)
{
	unsigned int nic, bus, dev, fn;

	if (sscanf(text, "dev=%u bdf=%*x:%x:%x.%x", &nic, &bus, &dev, &fn) == 4 &&
	    nic < opt.nics)
		rids[nic] = (bus & 255) << 8 | (dev & 31) << 3 | (fn & 7);
}

static void handle_control(struct line *l, char *text)
{
	uint64_t now = mono_ns();

	if (!strncmp(text, "@mark ", 6)) {
		fprintf(marks, "%lu\tmark\t%s\n", now, text + 6);
		snprintf(step, sizeof(step), "%s", text + 6);
		progress(1);
		if (!strncmp(text + 6, "retrieve-begin", 14))
			in_background(compare_task);
		if (!strncmp(text + 6, "unmapped", 8))
			watch_unmapped();
		if (!strncmp(text + 6, "blocked", 7))
			watch_blocked();
		if (!strncmp(text + 6, "streaming", 9) ||
		    strstr(text + 6, "finish-begin"))
			roots_owners();
	} else if (!strncmp(text, "@ask ", 5)) {
		answer(l, text + 5);
	} else if (!strncmp(text, "@info ", 6)) {
		fprintf(marks, "%lu\tinfo\t%s\n", now, text + 6);
		learn_rid(text + 6);
	} else if (!strncmp(text, "@fail ", 6)) {
		fprintf(marks, "%lu\tfail\t%s\n", now, text + 6);
	}
	/* Anything else is the guest's terminal echoing our answers. */
}

static void handle_console(struct line *l, char *text)
{
	uint64_t now = mono_ns();

	fprintf(console, "%lu\t%s\n", now, text);
	if (strstr(text, "Starting new kernel")) {
		if (opt.damage)
			damage_do(marks);
		opt.damage = NULL;
		in_background(snapshot_task);
		snprintf(step, sizeof(step), "kexec");
		progress(1);
	} else if (strstr(text, "Linux version ")) {
		snprintf(step, sizeof(step), "kernel boot");
		progress(1);
	}
	watch_unlink();
}

static void line_listen(struct line *l)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", opt.dir, l->name);
	l->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	l->fd = -1;
	if (l->listener < 0 ||
	    bind(l->listener, (struct sockaddr *)&a, sizeof(a)) ||
	    listen(l->listener, 1))
		die("cannot listen on %s: %m", a.sun_path);
}

static void line_read(struct line *l)
{
	ssize_t n;
	char *nl;

	if (l->fd < 0) {
		l->fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
		return;
	}
	n = read(l->fd, l->buf + l->len, sizeof(l->buf) - 1 - l->len);
	if (n <= 0) {
		l->closed = 1;
		return;
	}
	l->len += n;
	l->buf[l->len] = 0;
	while ((nl = memchr(l->buf, '\n', l->len))) {
		size_t used = nl + 1 - l->buf;

		*nl = 0;
		if (nl > l->buf && nl[-1] == '\r')
			nl[-1] = 0;
		l->handle(l, l->buf);
		l->len -= used;
		memmove(l->buf, l->buf + used, l->len + 1);
	}
	if (l->len == sizeof(l->buf) - 1)
		l->len = 0;
}

/*
 * What CLOCK_REALTIME, of the traces, is ahead by; of several readings the one with the
 * least in between.
 */
static uint64_t clock_offset(void)
{
	uint64_t offset = 0, least = -1;
	int i;

	for (i = 0; i < 16; i++) {
		uint64_t before = mono_ns(), real = now_ns(CLOCK_REALTIME);
		uint64_t took = mono_ns() - before;

		if (took < least) {
			least = took;
			offset = real - before;
		}
	}
	return offset;
}

static void on_signal(int sig)
{
	killed = sig;
}

/* 0 when the machine is gone, 1 on time-out. */
static int serve(struct line *lines)
{
	uint64_t deadline = started + opt.timeout * 1000000000ULL;

	while (!killed) {
		struct pollfd p[3];
		int i;

		for (i = 0; i < 2; i++) {
			p[i].fd = lines[i].closed ? -1 :
				  lines[i].fd < 0 ? lines[i].listener :
						    lines[i].fd;
			p[i].events = POLLIN;
			p[i].revents = 0;
		}
		p[2].fd = monitor_fd();
		p[2].events = POLLIN;
		p[2].revents = 0;
		if (p[0].fd < 0 && p[1].fd < 0)
			return 0;
		if (mono_ns() > deadline)
			return 1;
		if (lines[0].fd < 0 && lines[1].fd < 0 &&
		    mono_ns() > started + CONNECT_NS)
			die("QEMU did not connect");
		poll(p, 3, 200);
		for (i = 0; i < 2; i++)
			if (p[i].revents)
				line_read(&lines[i]);
		if (p[2].revents)
			monitor_read(marks);
		progress(0);
	}
	return 1;
}

static const char usage[] =
"usage: dmawatch --dir DIR --ram FILE --ram-size BYTES --trace FILE [options]\n"
"  --low-ram BYTES   memory below 4 GiB (default: all)\n"
"  --devices KIND,.. what streams: igb, e1000e, virtio, nvme (default igb)\n"
"  --rate N          frames per second and NIC (default 500; to a virtio a\n"
"                    tenth of it, whose ring is short)\n"
"  --len BYTES       per frame (default 1024)\n"
"  --run-id N        number that marks the frames of this run\n"
"  --timeout SECONDS give up after that (default 60)\n"
"  --damage NAME,..  change that in the hand-over; --damages lists them\n"
"Writes an image for each nvme, and marks.tsv, sends.tsv, arrivals.tsv,\n"
"pages.tsv, roots.tsv, console.tsv and counters.tsv to DIR. Exit status: 0 the machine\n"
"ended, 3 time-out.\n";

/* Up to a comma or the end; what is after a dash is a variety of the same. */
static void parse_devices(const char *list)
{
	for (;; list++) {
		if (opt.nics == MAX_NICS) {
			fputs(usage, stderr);
			exit(2);
		}
		opt.kind[opt.nics++] = !strncmp(list, "nvme", 4) ? KIND_NVME :
			!strncmp(list, "virtio", 6) ? KIND_VIRTIO : KIND_NIC;
		list += strcspn(list, ",");
		if (!*list)
			return;
	}
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "dir", 1, NULL, 'd' }, { "ram", 1, NULL, 'm' },
		{ "ram-size", 1, NULL, 's' }, { "low-ram", 1, NULL, 'l' },
		{ "trace", 1, NULL, 't' }, { "devices", 1, NULL, 'n' },
		{ "rate", 1, NULL, 'r' }, { "len", 1, NULL, 'b' },
		{ "run-id", 1, NULL, 'i' }, { "timeout", 1, NULL, 'T' },
		{ "damage", 1, NULL, 'D' }, { "damages", 0, NULL, 'L' },
		{ "help", 0, NULL, 'h' }, { }
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'd': opt.dir = optarg; break;
		case 'm': opt.ram = optarg; break;
		case 't': opt.trace = optarg; break;
		case 's': opt.ram_size = strtoull(optarg, NULL, 0); break;
		case 'l': opt.low_ram = strtoull(optarg, NULL, 0); break;
		case 'n': parse_devices(optarg); break;
		case 'r': opt.rate = strtoul(optarg, NULL, 0); break;
		case 'b': opt.len = strtoul(optarg, NULL, 0); break;
		case 'i': opt.run_id = strtoul(optarg, NULL, 0); break;
		case 'T': opt.timeout = strtoul(optarg, NULL, 0); break;
		case 'D': opt.damage = optarg; break;
		case 'L': exit(damage_known(NULL));
		case 'h': fputs(usage, stdout); exit(0);
		default: fputs(usage, stderr); exit(2);
		}
	}
	if (!opt.nics)
		parse_devices("igb");
	if (!opt.low_ram)
		opt.low_ram = opt.ram_size;
	if (!opt.dir || !opt.ram || !opt.ram_size || !opt.trace ||
	    !opt.rate || opt.rate > 100000 ||
	    opt.len < FRAME_MIN || opt.len > FRAME_MAX ||
	    (opt.damage && !damage_known(opt.damage))) {
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct line lines[2] = {
		{ .name = "control", .handle = handle_control },
		{ .name = "console", .handle = handle_console },
	};
	struct sigaction sa = { .sa_handler = on_signal };
	uint64_t offset;
	int timed_out;
	FILE *f;

	parse(argc, argv);
	/*
	 * What comes from the machine is stamped when it is read: be there at
	 * once on a busy host, too. Without the right to, it is less exact.
	 */
	sched_setscheduler(0, SCHED_RR, &(struct sched_param){
		.sched_priority = 1 });
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	started = mono_ns();
	offset = clock_offset();
	fancy = isatty(2);

	memset(rids, 0xff, sizeof(rids));
	watch_open();
	images_write();
	marks = result_open("marks.tsv");
	console = result_open("console.tsv");
	send_start();
	watch_start();
	roots_start();
	line_listen(&lines[0]);
	line_listen(&lines[1]);
	monitor_listen();

	timed_out = serve(lines);
	watch_unlink();
	if (fancy)
		fputs("\n", stderr);
	if (killed)
		_exit(128 + killed);

	send_stop();
	watch_stop();
	roots_stop();
	result_close(marks);
	result_close(console);
	send_write();
	watch_write();
	roots_write();

	f = result_open("counters.tsv");
	fprintf(f, "realtime_minus_monotonic_begin_ns\t%lu\n", offset);
	fprintf(f, "realtime_minus_monotonic_ns\t%lu\n", clock_offset());
	fprintf(f, "timed_out\t%d\n", timed_out);
	fprintf(f, "rate\t%u\nframe_bytes\t%u\nnics\t%u\n", opt.rate, opt.len,
		opt.nics);
	watch_counters(f);
	result_close(f);
	return timed_out ? 3 : 0;
}
