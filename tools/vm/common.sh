# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts of tools/vm: places, messages, small helpers.

vm_dir=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$vm_dir/../.." && pwd)
BUILD=${BUILD:-$top/build}

say()
{
	printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
}

die()
{
	printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# need COMMAND PACKAGE: one clear line when it is missing.
need()
{
	command -v "$1" >/dev/null 2>&1 ||
		die "$1 is missing: run 'make setup' as root, or install package $2"
}

# need_space DIR MEGABYTES
need_space()
{
	free_mb=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free_mb" -ge "$2" ] ||
		die "no space: $1 has $free_mb MB free, $2 MB are needed"
}

# The dgram netdev and the trace formats the judge reads are those of QEMU 10.
need_qemu()
{
	need qemu-system-x86_64 qemu-system-x86
	qemu_version=$(qemu-system-x86_64 --version |
		sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
	[ "${qemu_version%%.*}" -ge 10 ] 2>/dev/null ||
		die "QEMU $qemu_version is too old, 10.0 or later is needed:" \
			"run 'make setup' as root (bookworm-backports has it)"
}

# Host tools are built into build/vm when their sources are newer.
host_tool()
{
	tool=$1
	shift
	need gcc gcc
	mkdir -p "$BUILD/vm"
	for src; do
		if [ ! "$BUILD/vm/$tool" -nt "$vm_dir/$src" ] ||
		   [ ! "$BUILD/vm/$tool" -nt "$vm_dir/frame.h" ] ||
		   [ ! "$BUILD/vm/$tool" -nt "$vm_dir/dmawatch.h" ]; then
			(cd "$vm_dir" && gcc -O2 -Wall -Wextra \
				-Wno-unused-parameter \
				-o "$BUILD/vm/$tool.$$" "$@" -lpthread) ||
				die "building $tool failed"
			mv "$BUILD/vm/$tool.$$" "$BUILD/vm/$tool"
			return
		fi
	done
}

host_tools()
{
	host_tool dmawatch dmawatch.c send.c watch.c roots.c
	host_tool judge judge.c results.c
}
