// SPDX-License-Identifier: GPL-2.0
/*
 * phases - how many instructions the kernels of a machine execute in certain
 * functions. A plugin for QEMU's TCG: the machine does not notice.
 *
 *	-plugin phases.so,map=SYSTEM.MAP,out=FILE,profile=FILE,phase=SPEC...
 *
 * SPEC is NAME:FUNCTION for a phase from the first instruction of the function to
 * its return, NAME@FUNCTION for its first instruction only. Written is a line for
 * each: name, the number of instructions executed before and when it was over, and
 * how many of these were other tasks' of the kernel, or interrupts': on another stack.
 * The profile says how many instructions of which function were executed in phases.
 *
 * A block of instructions counts as a whole when it is entered. There is nothing
 * but functions of a kernel to be looked for, at the addresses in the map: it must
 * not be moved (nokaslr). For one CPU.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Of the interface of QEMU 10, as its header is in no package. Pointers to what is
 * not looked into here are void.
 */
typedef struct {
	void *score;
	size_t offset;
} qemu_plugin_u64;

typedef struct {
	void *handle;
	const char *name;
	const char *feature;
} qemu_plugin_reg_descriptor;

struct bytes {			/* GByteArray; of a GArray the same is seen */
	uint8_t *data;
	unsigned int len;
};

enum { CB_NO_REGS, CB_R_REGS };
enum { COND_NE = 3 };
enum { INLINE_ADD_U64 };

typedef void (*tb_fn)(uint64_t id, void *tb);
typedef void (*exec_fn)(unsigned int cpu, void *data);
typedef void (*cpu_fn)(uint64_t id, unsigned int cpu);
typedef void (*exit_fn)(uint64_t id, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, tb_fn fn);
void qemu_plugin_register_vcpu_init_cb(uint64_t id, cpu_fn fn);
void qemu_plugin_register_atexit_cb(uint64_t id, exit_fn fn, void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(void *tb, exec_fn fn, int flags, void *data);
void qemu_plugin_register_vcpu_tb_exec_cond_cb(void *tb, exec_fn fn, int flags,
					       int cond, qemu_plugin_u64 entry,
					       uint64_t imm, void *data);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(void *tb, int op,
						       qemu_plugin_u64 entry,
						       uint64_t imm);
size_t qemu_plugin_tb_n_insns(const void *tb);
uint64_t qemu_plugin_tb_vaddr(const void *tb);
void *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_get(qemu_plugin_u64 entry, unsigned int cpu);
void qemu_plugin_u64_set(qemu_plugin_u64 entry, unsigned int cpu, uint64_t value);
struct bytes *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(void *handle, struct bytes *buf);
_Bool qemu_plugin_read_memory_vaddr(uint64_t addr, struct bytes *data, size_t len);
struct bytes *g_byte_array_new(void);
struct bytes *g_byte_array_set_size(struct bytes *array, unsigned int length);

#define EXPORT		__attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 4;

#define MAX_PHASES	32
#define MAX_SYMBOLS	262144
#define STACK_SIZE	16384	/* and its alignment */

static struct symbol {
	uint64_t address;
	const char *name;
	uint64_t count;
} symbols[MAX_SYMBOLS];
static int nr_symbols;

/* A function that is looked for; inside it, where it goes back to, and since when */
static struct phase {
	const char *name;
	uint64_t entry;
	int span;
	int inside;
	uint64_t from;
	uint64_t others;
	uint64_t stack;
	uint64_t back;
} phases[MAX_PHASES];
static int nr_phases, nr_inside;

/* What a callback has to know of a block */
struct block {
	uint64_t address;
	size_t size;
};

static qemu_plugin_u64 executed, inside;
static void *rsp;
static FILE *out;
static const char *profile;

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static int by_count(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

static int symbols_load(const char *path)
{
	char line[512], name[256], type;
	FILE *f = fopen(path, "r");
	uint64_t address;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %c %255s", &address, &type, name) != 3 ||
		    !strchr("tTwW", type) || nr_symbols == MAX_SYMBOLS)
			continue;
		symbols[nr_symbols].address = address;
		symbols[nr_symbols++].name = strdup(name);
	}
	fclose(f);
	qsort(symbols, nr_symbols, sizeof(*symbols), by_address);
	return 0;
}

static struct symbol *symbol_at(uint64_t address)
{
	int low = 0, high = nr_symbols;

	while (low < high) {
		int middle = (low + high) / 2;

		if (symbols[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &symbols[low - 1] : NULL;
}

static int bad(const char *what, const char *why)
{
	fprintf(stderr, "phases: %s: %s\n", what, why);
	return -1;
}

static int phase_add(char *spec)
{
	struct phase *p = &phases[nr_phases];
	char *sep = strpbrk(spec, ":@");
	int i;

	if (!sep || nr_phases == MAX_PHASES)
		return bad(spec, sep ? "one phase too many" : "neither : nor @");
	p->span = *sep == ':';
	*sep = 0;
	p->name = strdup(spec);
	for (i = 0; i < nr_symbols && !p->entry; i++)
		if (!strcmp(symbols[i].name, sep + 1))
			p->entry = symbols[i].address;
	if (!p->entry)
		return bad(sep + 1, "no such function in this kernel");
	nr_phases++;
	return 0;
}

static uint64_t read_u64(struct bytes *b)
{
	uint64_t value = 0;

	if (b->len >= sizeof(value))
		memcpy(&value, b->data, sizeof(value));
	return value;
}

static uint64_t stack_pointer(void)
{
	static struct bytes *buf;

	if (!buf)
		buf = g_byte_array_new();
	g_byte_array_set_size(buf, 0);
	qemu_plugin_read_register(rsp, buf);
	return read_u64(buf);
}

static uint64_t memory(uint64_t address)
{
	static struct bytes *buf;

	if (!buf)
		buf = g_byte_array_new();
	g_byte_array_set_size(buf, 0);
	qemu_plugin_read_memory_vaddr(address, buf, sizeof(uint64_t));
	return read_u64(buf);
}

/* Before the block that is entered now, which has been counted */
static uint64_t count_before(unsigned int cpu, const struct block *b)
{
	return qemu_plugin_u64_get(executed, cpu) - b->size;
}

static void inside_add(unsigned int cpu, int n)
{
	nr_inside += n;
	qemu_plugin_u64_set(inside, cpu, nr_inside);
}

static void at_entry(unsigned int cpu, void *data)
{
	const struct block *b = data;
	uint64_t now = count_before(cpu, b);
	int i;

	for (i = 0; i < nr_phases; i++) {
		struct phase *p = &phases[i];

		if (p->entry != b->address || p->inside)
			continue;
		if (!p->span) {
			fprintf(out, "%s\t%lu\t%lu\t0\n", p->name, now, now);
			fflush(out);
			continue;
		}
		p->from = now;
		p->others = 0;
		p->stack = stack_pointer();
		p->back = memory(p->stack);
		p->inside = 1;
		inside_add(cpu, 1);
	}
}

/* For every block while inside a phase */
static void at_block(unsigned int cpu, void *data)
{
	const struct block *b = data;
	uint64_t stack = stack_pointer();
	int i, mine = 0;

	for (i = 0; i < nr_phases; i++) {
		struct phase *p = &phases[i];

		if (!p->inside)
			continue;
		if ((stack ^ p->stack) & ~(STACK_SIZE - 1ULL)) {
			p->others += b->size;
			continue;
		}
		if (p->back != b->address || stack <= p->stack) {
			mine = 1;
			continue;
		}
		fprintf(out, "%s\t%lu\t%lu\t%lu\n", p->name, p->from,
			count_before(cpu, b), p->others);
		fflush(out);
		p->inside = 0;
		inside_add(cpu, -1);
	}
	if (profile && mine) {
		struct symbol *s = symbol_at(b->address);

		if (s)
			s->count += b->size;
	}
}

static void translated(uint64_t id, void *tb)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	struct block *b;
	int i;

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, INLINE_ADD_U64, executed,
							  qemu_plugin_tb_n_insns(tb));
	if (!(address >> 63))
		return;

	/* As long as the block, which nobody tells the end of */
	b = malloc(sizeof(*b));
	b->address = address;
	b->size = qemu_plugin_tb_n_insns(tb);
	qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, at_block, CB_R_REGS, COND_NE,
						  inside, 0, b);
	for (i = 0; i < nr_phases; i++) {
		if (phases[i].entry == address) {
			qemu_plugin_register_vcpu_tb_exec_cb(tb, at_entry,
							     CB_R_REGS, b);
			break;
		}
	}
}

static void cpu_init(uint64_t id, unsigned int cpu)
{
	struct bytes *array = qemu_plugin_get_registers();
	qemu_plugin_reg_descriptor *reg = (void *)array->data;
	unsigned int i;

	(void)id;
	(void)cpu;
	for (i = 0; i < array->len; i++)
		if (!strcmp(reg[i].name, "rsp"))
			rsp = reg[i].handle;
}

static void at_exit(uint64_t id, void *data)
{
	FILE *f = profile ? fopen(profile, "w") : NULL;
	int i;

	(void)id;
	(void)data;
	fclose(out);
	if (!f)
		return;
	qsort(symbols, nr_symbols, sizeof(*symbols), by_count);
	for (i = 0; i < nr_symbols && symbols[i].count; i++)
		fprintf(f, "%12lu %s\n", symbols[i].count, symbols[i].name);
	fclose(f);
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "map=", 4)) {
			if (symbols_load(argv[i] + 4))
				return bad(argv[i], strerror(errno));
		} else if (!strncmp(argv[i], "out=", 4)) {
			out = fopen(argv[i] + 4, "w");
			if (!out)
				return bad(argv[i], strerror(errno));
		} else if (!strncmp(argv[i], "profile=", 8)) {
			profile = strdup(argv[i] + 8);
		} else if (strncmp(argv[i], "phase=", 6)) {
			return bad(argv[i], "not map=, out=, profile= or phase=");
		} else if (phase_add(argv[i] + 6)) {
			return -1;
		}
	}
	if (!out)
		return bad("out=", "not given");
	executed.score = qemu_plugin_scoreboard_new(2 * sizeof(uint64_t));
	inside.score = executed.score;
	inside.offset = sizeof(uint64_t);
	qemu_plugin_register_vcpu_init_cb(id, cpu_init);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}
