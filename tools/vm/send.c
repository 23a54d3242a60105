// SPDX-License-Identifier: GPL-2.0
/*
 * The sender: one datagram is one Ethernet frame. A frame the backend does not take
 * waits, with those after it, and is tried again at each tick: QEMU may be starved by
 * others on the host. One that has waited too long is refused: its number stays on the
 * list as such.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dmawatch.h"

#define PATIENCE_NS	2000000000ULL

enum outcome { WAITING, ACCEPTED, REFUSED };

struct sent {
	uint64_t seq;
	uint64_t time;
	uint8_t nic;
	uint8_t stage;
	uint8_t outcome;
};

struct port {
	int sock;
	struct sockaddr_un peer;
	int active;
	int started;
	int deaf;		/* has not taken anything since one was refused */
	unsigned int stage;
	uint64_t seq;
	uint64_t accepted;
	size_t first, waiting;	/* on the list, and how many from there */
};

static struct port ports[MAX_NICS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t thread;
static volatile int stopping;

static struct sent *list;
static size_t list_len, list_room;

static void port_open(struct port *p, unsigned int nic)
{
	struct sockaddr_un self = { .sun_family = AF_UNIX };

	snprintf(self.sun_path, sizeof(self.sun_path), "%s/host%u", opt.dir,
		 nic);
	p->peer.sun_family = AF_UNIX;
	snprintf(p->peer.sun_path, sizeof(p->peer.sun_path), "%s/qemu%u",
		 opt.dir, nic);

	p->sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (p->sock < 0 ||
	    bind(p->sock, (struct sockaddr *)&self, sizeof(self)))
		die("cannot bind %s: %m", self.sun_path);
	/* Room for a whole queue at the other end; without the right to, for some 90. */
	setsockopt(p->sock, SOL_SOCKET, SO_SNDBUFFORCE, &(int){ 4 << 20 },
		   sizeof(int));
}

static int backend_takes(struct port *p, const struct sent *s)
{
	uint8_t frame[FRAME_MAX];

	frame_build(frame, opt.len, opt.run_id, s->nic, s->stage, s->seq, s->time);
	return sendto(p->sock, frame, opt.len, MSG_DONTWAIT,
		      (struct sockaddr *)&p->peer, sizeof(p->peer)) == opt.len;
}

/* Those that wait, in turn; the list has the frames of all ports. */
static void send_waiting(struct port *p, unsigned int nic, uint64_t patience)
{
	for (; p->waiting; p->first++) {
		struct sent *s = &list[p->first];

		if (s->nic != nic)
			continue;
		if (backend_takes(p, s)) {
			s->outcome = ACCEPTED;
			p->accepted++;
			p->deaf = 0;
		} else if (mono_ns() - s->time >= patience) {
			s->outcome = REFUSED;
			p->deaf = 1;
		} else {
			return;
		}
		p->waiting--;
	}
}

static void send_one(struct port *p, unsigned int nic)
{
	struct sent *s;

	if (list_len == list_room) {
		list_room = list_room ? list_room * 2 : 16384;
		list = realloc(list, list_room * sizeof(*list));
		if (!list)
			die("out of memory");
	}
	if (!p->waiting++)
		p->first = list_len;
	s = &list[list_len++];
	s->seq = ++p->seq;
	s->time = mono_ns();
	s->nic = nic;
	s->stage = p->stage;
	s->outcome = WAITING;
}

static void *send_loop(void *unused)
{
	uint64_t period = 1000000000ULL / opt.rate;
	uint64_t next = mono_ns(), tick;
	unsigned int nic;

	for (tick = 0; !stopping; tick++) {
		struct timespec ts;
		uint64_t now;

		next += period;
		now = mono_ns();
		/* The host starved us: a burst would not be the rate. */
		if (now > next + 5 * period)
			next = now;
		ts.tv_sec = next / 1000000000ULL;
		ts.tv_nsec = next % 1000000000ULL;
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts,
				       NULL) == EINTR)
			;
		pthread_mutex_lock(&lock);
		for (nic = 0; nic < opt.nics; nic++) {
			if (ports[nic].active &&
			    !(tick % (opt.kind[nic] == KIND_VIRTIO ? VIRTIO_EVERY : 1)))
				send_one(&ports[nic], nic);
			send_waiting(&ports[nic], nic, PATIENCE_NS);
		}
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

void send_start(void)
{
	unsigned int nic;

	for (nic = 0; nic < opt.nics; nic++)
		if (opt.kind[nic] != KIND_NVME)
			port_open(&ports[nic], nic);
	if (pthread_create(&thread, NULL, send_loop, NULL))
		die("cannot start the sender");
}

void send_stop(void)
{
	unsigned int nic;

	stopping = 1;
	pthread_join(thread, NULL);
	for (nic = 0; nic < opt.nics; nic++)
		send_waiting(&ports[nic], nic, 0);
}

/* Who pauses wants to know how many were taken: none may be waiting after this. */
void send_pause(unsigned int nic)
{
	struct port *p = &ports[nic];

	pthread_mutex_lock(&lock);
	p->active = 0;
	while (p->waiting && !p->deaf) {
		pthread_mutex_unlock(&lock);
		usleep(1000);
		pthread_mutex_lock(&lock);
	}
	send_waiting(p, nic, 0);
	pthread_mutex_unlock(&lock);
}

void send_resume(unsigned int nic, unsigned int stage)
{
	pthread_mutex_lock(&lock);
	ports[nic].stage = stage;
	ports[nic].active = opt.kind[nic] != KIND_NVME;
	ports[nic].started = 1;
	pthread_mutex_unlock(&lock);
}

int send_started(unsigned int nic)
{
	return ports[nic].started;
}

void send_count(unsigned int nic, uint64_t *last_seq, uint64_t *accepted)
{
	pthread_mutex_lock(&lock);
	*last_seq = ports[nic].seq;
	*accepted = ports[nic].accepted;
	pthread_mutex_unlock(&lock);
}

void send_write(void)
{
	FILE *f = result_open("sends.tsv");
	size_t i;

	for (i = 0; i < list_len; i++)
		fprintf(f, "%lu\t%u\t%u\t%lu\t%s\n", list[i].time, list[i].nic,
			list[i].stage, list[i].seq,
			list[i].outcome == ACCEPTED ? "accepted" : "refused");
	result_close(f);
}
