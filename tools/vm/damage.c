// SPDX-License-Identifier: GPL-2.0
/*
 * Damage of a hand-over, from outside: the old kernel has written its last word
 * and said so on the console, the new one has not read it yet. In between one
 * field of one structure, or of each of several, is changed in the machine's memory.
 *
 * From LUO's page, which says what it is, every other one is found by following
 * pointers as the new kernel does. Offsets are those of include/linux/kho/abi, in
 * the versions that stand here: with another one nothing is changed, and the case
 * fails.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dmawatch.h"

#define ADDR_MASK	0x000ffffffffff000ULL
#define NAME_LEN	48
#define NO_RAM		0x0000123456789000ULL	/* a page where there is none */

#define IOMMU_NAME	"iommu-liveupdate"
#define PCI_NAME	"pci-liveupdate"

#define IOMMU_VERSION	0x103
#define IOMMUFD_VERSION	0x101
#define PCI_VERSION	0x100
#define VFIO_VERSION	1

/* Structures: the first of their kind, unless it says otherwise. */
enum place {
	IOMMU, UNITS, DOMAINS, DEVICES,		/* of the IOMMU core; blocks */
	ROOT, CONTEXT, PASID_TABLE, TABLE, LEAF, INNER_LEAF, ZERO_PAGE,
	PCI, PCI_DEVICES,
	IOMMUFD, HWPTS, IOASES, ALLOWED, FILES, PAGES, AREAS,
	VFIO, MEMFD, IOMMUFD_ENTRY, LAST_VFIO_ENTRY,
	IOMMU_FLB, PCI_FLB, FLBS,
};

/* LEAD: to the page that an entry of a page table maps, the value is its place */
enum how { SET, FLIP, ADD, LEAD };

/* Entries of a KHO block come after its header. */
#define BLOCK		16
/* Of struct iommu_liveupdate_domain_ser: where its struct iommu_pt_ser is */
#define PT		(BLOCK + 56)

static const struct damage {
	const char *name;
	enum place place;
	unsigned int at, bytes;
	enum how how;
	uint64_t value;
} damages[] = {
	/* struct iommu_liveupdate_ser, and what it leads to */
	{ "iommu-version", IOMMU, 0, 4, SET, 0x7fff },
	{ "iommu-reserved", IOMMU, 4, 4, SET, 1 },
	{ "iommu-count", IOMMU, 24, 8, ADD, 1 },
	{ "iommu-units", IOMMU, 32, 8, SET, NO_RAM },
	{ "iommu-devices", IOMMU, 48, 8, SET, 0 },
	{ "block-next", DOMAINS, 0, 8, SET, NO_RAM },
	{ "block-count", DEVICES, 8, 8, SET, 0 },
	{ "unit-cap", UNITS, BLOCK + 16, 8, FLIP, 1 },
	{ "unit-root", UNITS, BLOCK + 32, 8, ADD, 4096 },
	{ "unit-mode", UNITS, BLOCK + 4, 4, FLIP, 1 },
	{ "domain-key", DOMAINS, BLOCK, 8, SET, 0 },
	{ "domain-top", DOMAINS, PT, 8, SET, 0x100000 },
	{ "domain-tables", DOMAINS, PT + 8, 8, ADD, 1 },
	{ "domain-format", DOMAINS, PT + 16, 4, SET, 3 },
	{ "domain-width", DOMAINS, PT + 25, 1, SET, 64 },
	{ "device-domain", DEVICES, BLOCK + 8, 8, SET, 77 },
	{ "device-rid", DEVICES, BLOCK + 20, 4, FLIP, 1 },
	{ "device-did", DEVICES, BLOCK + 24, 4, ADD, 1 },
	{ "device-pasid-dir", DEVICES, BLOCK + 32, 8, ADD, 0x100000 },
	/* What hardware reads */
	{ "root-entry", ROOT, 0, 8, FLIP, 1 << 1 },
	{ "root-stranger", ROOT, 16 * 200, 8, SET, 0x100001 },
	{ "context-gone", CONTEXT, 0, 8, SET, 0 },
	{ "context-reserved", CONTEXT, 8, 8, FLIP, 1ULL << 63 },
	{ "pasid-second", PASID_TABLE, 64, 8, SET, 0x81 },
	{ "table-stranger", TABLE, 511 * 8, 8, SET, 0x100003 },
	{ "leaf", LEAF, 0, 8, FLIP, 4096 },
	{ "leaf-inside", INNER_LEAF, 0, 8, FLIP, 4096 },
	{ "zero-page", ZERO_PAGE, 8, 8, SET, 1 },
	/* struct pci_liveupdate_ser and struct pci_liveupdate_dev_ser */
	{ "pci-version", PCI, 0, 4, SET, 0x7fff },
	{ "pci-count", PCI, 8, 8, ADD, 1 },
	{ "pci-rid", PCI_DEVICES, BLOCK + 4, 2, FLIP, 1 },
	{ "pci-spare", PCI_DEVICES, BLOCK + 4, 2, SET, 0x300 },	/* of PLACE=spare */
	{ "pci-vendor", PCI_DEVICES, BLOCK + 8, 2, FLIP, 1 },
	{ "pci-bar", PCI_DEVICES, BLOCK + 16, 4, FLIP, 0x100000 },
	{ "pci-mask", PCI_DEVICES, BLOCK + 40, 4, FLIP, 0x80000000 },
	/* struct iommufd_liveupdate_ser, and what it leads to */
	{ "iommufd-version", IOMMUFD, 0, 4, SET, 0x7fff },
	{ "iommufd-areas", IOMMUFD, 8 + 5 * 16 + 8, 8, SET, NO_RAM },
	{ "hwpt-key", HWPTS, BLOCK + 8, 8, SET, 99 },
	{ "hwpt-other-key", HWPTS, BLOCK + 8, 8, SET, 2 },	/* of the next iommufd */
	{ "ioas-count", IOASES, BLOCK, 8, ADD, 1 },
	{ "file-token", FILES, BLOCK, 8, SET, 12345 },
	{ "file-size", FILES, BLOCK + 8, 8, ADD, 4096 },
	{ "pages-start", PAGES, BLOCK + 8, 8, ADD, 4096 },
	{ "area-iova", AREAS, BLOCK + 8, 8, ADD, 4096 },
	{ "area-prot", AREAS, BLOCK + 32, 4, SET, 0x80 },
	/* struct vfio_pci_ser, struct memfd_luo_ser, struct luo_file_ser */
	{ "vfio-version", VFIO, 0, 4, SET, 0x7fff },
	{ "vfio-size", VFIO, 4, 4, SET, 0xfffff000 },
	{ "vfio-bar", VFIO, 40, 4, FLIP, 0x100000 },
	{ "memfd-flags", MEMFD, 20, 4, FLIP, 0x80 },
	{ "memfd-dma", MEMFD, 20, 4, FLIP, 1 },
	{ "memfd-folios", MEMFD, 24, 8, ADD, 1 },
	{ "memfd-pages", MEMFD, 40, 4, SET, 0xffffffff },
	{ "memfd-order", MEMFD, 46, 2, SET, 40 },
	{ "memfd-other-order", MEMFD, 46, 2, SET, 1 },
	{ "entry-data", IOMMUFD_ENTRY, NAME_LEN, 8, SET, NO_RAM },
	{ "vfio-data", LAST_VFIO_ENTRY, NAME_LEN, 8, LEAD, LEAF },	/* of the first one */
	/* struct luo_flb_ser */
	{ "iommu-name", IOMMU_FLB, 0, 1, FLIP, 1 },
	{ "pci-name", PCI_FLB, 0, 1, FLIP, 1 },
	/* struct luo_flb_header_ser */
	{ "flb-count", FLBS, 8, 8, SET, 0 },
};

static const char *wrong;	/* why it cannot be done */

static uint8_t *at(uint64_t pa)
{
	static uint8_t nowhere[4096];
	const uint8_t *p = pa ? watch_gpa(pa) : NULL;

	if (!p) {
		wrong = "a pointer leads out of memory";
		memset(nowhere, 0, sizeof(nowhere));
		return nowhere;
	}
	return (uint8_t *)p;
}

static uint64_t u64_at(const uint8_t *p, unsigned int off)
{
	uint64_t v;

	memcpy(&v, p + off, sizeof(v));
	return v;
}

/* What starts with its version, if it is the one this file knows */
static uint8_t *versioned(uint8_t *p, uint32_t version)
{
	if ((uint32_t)u64_at(p, 0) != version && !wrong)
		wrong = "a structure has another version than damage.c";
	return p;
}

/* struct luo_ser: its name, the number of the update, sessions, FLBs. */
static uint8_t *find_luo(void)
{
	uint64_t off, end = 0;
	uint8_t *best = NULL;

	while (watch_touched(&off, &end)) {
		for (; off < end; off += 4096) {
			uint8_t *p = (uint8_t *)watch_off(off);

			if (memcmp(p, "luo-v5\0", 8) || !u64_at(p, 16) ||
			    !u64_at(p, 24) || u64_at(p, 16) % 4096 ||
			    u64_at(p, 24) % 4096)
				continue;
			/* That of the kernel before may still be there. */
			if (!best || u64_at(p, 8) > u64_at(best, 8))
				best = p;
		}
	}
	return best;
}

/* The entry of that name in an array of them, the first one or the last */
static uint8_t *find_entry(uint8_t *array, const char *name, int last)
{
	uint64_t i, nr = u64_at(array, 8);
	uint8_t *p, *found = NULL;

	for (i = 0; i < nr && i < 63; i++) {
		p = array + BLOCK + i * 64;
		if ((last || !found) && !strncmp((char *)p, name, NAME_LEN))
			found = p;
	}
	if (found)
		return found;
	wrong = "no such file or object";
	return at(0);
}

/* An object that belongs to several files. */
static uint8_t *find_flb(const uint8_t *luo, const char *name)
{
	return find_entry(at(u64_at(luo, 24)), name, 0);
}

/* Of a kind, of the first session. */
static uint8_t *find_file(const uint8_t *luo, const char *kind, int last)
{
	uint8_t *sessions = at(u64_at(luo, 16));

	return find_entry(at(u64_at(sessions, BLOCK + 64)), kind, last);
}

/* What an entry leads to */
static uint8_t *data_of(uint8_t *entry)
{
	return at(u64_at(entry, NAME_LEN));
}

/* The context entry of the first device in a root table, or its place. */
static uint8_t *find_context(uint8_t *root, uint32_t rid, int scalable)
{
	unsigned int bus = rid >> 8, devfn = rid & 255;
	uint8_t *table;

	table = at(u64_at(root, bus * 16 + (scalable && devfn >= 128 ? 8 : 0)) &
		   ADDR_MASK);
	return scalable ? table + (devfn & 127) * 32 : table + devfn * 16;
}

/*
 * The last entry of a page table that maps something, or, counting from it, an entry
 * of the same table that is further inside
 */
static uint8_t *last_leaf(uint64_t table, unsigned int level, int inside)
{
	uint8_t *p = at(table);
	int i;

	for (i = 511; i >= 0; i--) {
		uint64_t e = u64_at(p, i * 8);

		if (!(e & 3))
			continue;
		if (level && !(e & 0x80))
			return last_leaf(e & ADDR_MASK, level - 1, inside);
		if (i < inside || (inside && level))
			break;
		return p + (i - inside) * 8;
	}
	wrong = "the page table maps nothing there";
	return p;
}

static uint8_t *find_iommu(const uint8_t *luo, enum place place)
{
	uint8_t *top = versioned(data_of(find_flb(luo, IOMMU_NAME)), IOMMU_VERSION);
	uint8_t *units = at(u64_at(top, 32)), *domains = at(u64_at(top, 40));
	uint8_t *devices = at(u64_at(top, 48)), *root, *context;
	int scalable = u64_at(units, BLOCK) >> 32 & 1;

	root = at(u64_at(units, BLOCK + 32));
	context = find_context(root, u64_at(devices, BLOCK + 16) >> 32, scalable);
	switch (place) {
	case IOMMU:	return top;
	case UNITS:	return units;
	case DOMAINS:	return domains;
	case DEVICES:	return devices;
	case ROOT:	return root;
	case CONTEXT:	return context;
	case ZERO_PAGE:	return at(u64_at(top, 56));
	case TABLE:	return at(u64_at(domains, PT));
	case LEAF:
	case INNER_LEAF:
		return last_leaf(u64_at(domains, PT), domains[PT + 24],
				 place == LEAF ? 0 : 8);
	default:
		if (!scalable)
			wrong = "there are no PASIDs in this mode";
		return at(u64_at(at(u64_at(context, 0) & ADDR_MASK), 0) & ADDR_MASK);
	}
}

static uint8_t *find_iommufd(const uint8_t *luo, enum place place)
{
	uint8_t *top = versioned(data_of(find_file(luo, "iommufd-v100", 0)),
				 IOMMUFD_VERSION);

	if (place == IOMMUFD)
		return top;
	/* nr, head */
	return at(u64_at(top, 8 + (place - HWPTS) * 16 + 8));
}

/* The new kernel is on its way: look through its memory only once. */
static uint8_t *luo;

static uint8_t *find(enum place place)
{
	uint8_t *pci;

	if (!luo) {
		wrong = "no hand-over";
		return NULL;
	}
	switch (place) {
	case PCI:
	case PCI_DEVICES:
		pci = versioned(data_of(find_flb(luo, PCI_NAME)), PCI_VERSION);
		return place == PCI ? pci : at(u64_at(pci, 16));
	case IOMMUFD ... AREAS:
		return find_iommufd(luo, place);
	case VFIO:
		return versioned(data_of(find_file(luo, "vfio-pci-v100", 0)),
				 VFIO_VERSION);
	case MEMFD:
		return data_of(find_file(luo, "memfd-v2", 0));
	case IOMMUFD_ENTRY:
		return find_file(luo, "iommufd-v100", 0);
	case LAST_VFIO_ENTRY:
		return find_file(luo, "vfio-pci-v100", 1);
	case IOMMU_FLB:
		return find_flb(luo, IOMMU_NAME);
	case PCI_FLB:
		return find_flb(luo, PCI_NAME);
	case FLBS:
		return at(u64_at(luo, 24));
	default:
		return find_iommu(luo, place);
	}
}

/* By the first name of a list */
static const struct damage *damage_of(const char *list)
{
	size_t len = strcspn(list, ",");
	unsigned int i;

	for (i = 0; i < sizeof(damages) / sizeof(*damages); i++)
		if (!strncmp(damages[i].name, list, len) && !damages[i].name[len])
			return &damages[i];
	return NULL;
}

/* The rest of a list, NULL if there is none */
static const char *rest_of(const char *list)
{
	list = strchr(list, ',');
	return list ? list + 1 : NULL;
}

/* What there is, one a line; or is there all of a list of names? */
int damage_known(const char *list)
{
	unsigned int i;

	if (list) {
		while (list && damage_of(list))
			list = rest_of(list);
		return !list;
	}
	for (i = 0; i < sizeof(damages) / sizeof(*damages); i++)
		puts(damages[i].name);
	return 0;
}

static void damage_one(FILE *marks, const struct damage *d, uint64_t start)
{
	uint64_t old = 0, new = d->value;
	uint8_t *p;

	wrong = NULL;
	p = find(d->place);
	if (d->how == LEAD)
		new = u64_at(find(d->value) ?: at(0), 0) & ADDR_MASK;
	if (wrong || !p) {
		fprintf(marks, "%lu\tfail\tdamage %s: %s\n", mono_ns(), d->name,
			wrong ? wrong : "nothing found");
		return;
	}
	memcpy(&old, p + d->at, d->bytes);
	if (d->how == FLIP)
		new ^= old;
	if (d->how == ADD)
		new += old;
	memcpy(p + d->at, &new, d->bytes);
	fprintf(marks, "%lu\tinfo\tdamaged=%s: %#lx is %#lx now, after %lu us\n",
		mono_ns(), d->name, old, new, (mono_ns() - start) / 1000);
}

/* Do it, and write down what was done as @info for the judge. */
void damage_do(FILE *marks)
{
	uint64_t start = mono_ns();
	const char *list;

	luo = find_luo();
	for (list = opt.damage; list; list = rest_of(list))
		damage_one(marks, damage_of(list), start);
}
