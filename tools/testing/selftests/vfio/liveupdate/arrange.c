// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who has what: which NICs make up a VMM, which iommufd, IOAS and HWPT they use,
 * and at which addresses. Both kernels have to come to the same result.
 */
#include <stdio.h>

#include <linux/kernel.h>

#include "vmm.h"

/*
 * A card that is kept from its ring reads every descriptor as empty and goes
 * round once for each frame: it gets a shorter ring.
 */
#define MAX_UNPRESERVED_RING	4096

static struct vmm_session *session_add(struct nic *first)
{
	struct vmm_session *session = &vmm.sessions[vmm.nr_sessions];

	session->fd = -1;
	session->first = first;
	if (vmm.nr_sessions)
		snprintf_assert(session->name, sizeof(session->name), "vmm%u",
				vmm.nr_sessions);
	else
		snprintf_assert(session->name, sizeof(session->name), "vmm");
	vmm.nr_sessions++;

	return session;
}

static void nic_arrange(struct nic *nic)
{
	struct nic *first = vmm.nics;

	nic->ops = rx_find(nic->bdf);
	if (!nic->ops)
		control_fail(0, "%s: no driver for this device", nic->bdf);

	nic->ring = min(vmm.ring, nic->ops->max_ring);
	if (vmm.scenario == CASE_UNPRESERVED && nic != first)
		nic->ring = min_t(u32, nic->ring, MAX_UNPRESERVED_RING);
	if (vmm.scenario == CASE_PARTLY)
		nic->ring = min_t(u32, nic->ring, 2 * MAX_UNPRESERVED_RING);
	nic->iova = vmm.iova + nic->id * NIC_IOVA;

	nic->stream.nic = nic->id;
	nic->stream.run_id = vmm.run_id;
	nic->stream.stage = STAGE_STREAM;

	nic->iommufd_of = nic;
	nic->ioas_of = nic;
	nic->hwpt_of = nic;
	switch (vmm.share) {
	case SHARE_HWPT:
		nic->hwpt_of = first;
		fallthrough;
	case SHARE_IOAS:
		nic->ioas_of = first;
		fallthrough;
	case SHARE_IOMMUFD:
		nic->iommufd_of = first;
		break;
	case SHARE_SESSION:
	case SHARE_NOTHING:
		break;
	}

	if (nic == first || vmm.share == SHARE_NOTHING)
		nic->session = session_add(nic);
	else
		nic->session = first->session;
	nic->slot = nic - nic->session->first;

	if (vmm.scenario != CASE_UNPRESERVED || nic == first)
		nic->session->nr++;
}

/* Arrange what the command line asked for. */
void nics_arrange(void)
{
	struct nic *nic = NULL;

	control_step("look at the devices");
	while (nic_next(&nic))
		nic_arrange(nic);
}

bool nic_next(struct nic **nic)
{
	*nic = *nic ? *nic + 1 : vmm.nics;
	if (*nic == vmm.nics + vmm.nr_nics)
		*nic = NULL;
	return *nic;
}

bool session_next(struct vmm_session **session)
{
	*session = *session ? *session + 1 : vmm.sessions;
	if (*session == vmm.sessions + vmm.nr_sessions)
		*session = NULL;
	return *session;
}

bool session_nic_next(struct vmm_session *session, struct nic **nic)
{
	*nic = *nic ? *nic + 1 : session->first;
	if (*nic == session->first + session->nr)
		*nic = NULL;
	return *nic;
}
