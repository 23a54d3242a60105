// SPDX-License-Identifier: GPL-2.0
/* The images of the NVMe drives that stream: see frame.h. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "dmawatch.h"

#define CHUNK	512u		/* frames a write */

static void image_write(unsigned int nic)
{
	uint8_t *buf = calloc(CHUNK, BUF_SIZE);
	char path[512];
	uint64_t seq;
	int fd;

	if (!buf)
		die("out of memory");
	snprintf(path, sizeof(path), "%s/nvme%u", opt.dir, nic);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		die("cannot create %s: %m", path);
	for (seq = 1; seq <= NVME_FRAMES; seq++) {
		uint64_t in = (seq - 1) % CHUNK;

		frame_build(buf + in * BUF_SIZE, opt.len, opt.run_id, nic,
			    nvme_stage(seq), seq, 0);
		if (in == CHUNK - 1 &&
		    pwrite(fd, buf, CHUNK * BUF_SIZE,
			   nvme_lba(nic, seq - in) * 512) != CHUNK * BUF_SIZE)
			die("cannot write %s: %m", path);
	}
	if (close(fd))
		die("cannot write %s: %m", path);
	free(buf);
}

void images_write(void)
{
	unsigned int nic;

	for (nic = 0; nic < opt.nics; nic++)
		if (opt.kind[nic] == KIND_NVME)
			image_write(nic);
}
