# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts of tools/vm: places, messages, small helpers.

vm_dir=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$vm_dir/../.." && pwd)
BUILD=${BUILD:-$top/build}

# For every kernel. The timer check panics when the host is too busy to deliver
# ten ticks in time, which says nothing about the kernel.
common_append="console=ttyS0 panic=-1 oops=panic no_timer_check"

say()
{
	printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
}

die()
{
	printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# has_value "$@": an option that needs a value is not the last word.
has_value()
{
	[ $# -gt 1 ] || { usage >&2; exit 2; }
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
		   [ ! "$BUILD/vm/$tool" -nt "$vm_dir/splats.h" ] ||
		   [ ! "$BUILD/vm/$tool" -nt "$vm_dir/$tool.h" ]; then
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
	host_tool dmawatch dmawatch.c damage.c image.c monitor.c send.c watch.c roots.c
	host_tool judge judge.c contain.c jump.c measure.c report.c results.c
}

# vm_boot LOG SECONDS MEGABYTES KERNEL INITRD APPEND [QEMU-OPTION...]: run a
# machine to its end. Sets vm_status to that of QEMU, 124 after a time-out.
vm_boot()
{
	vm_log=$1 vm_limit=$2 vm_memory=$3 vm_kernel=$4 vm_initrd=$5 vm_append=$6
	shift 6
	: >"$vm_log"
	timeout --foreground -k 5 "$vm_limit" qemu-system-x86_64 \
		-accel "${ACCEL:-tcg,thread=single}" -machine q35 -cpu max \
		-smp 2 -m "${vm_memory}M" -nodefaults -display none -no-reboot \
		-serial "file:$vm_log" -kernel "$vm_kernel" \
		${vm_initrd:+-initrd "$vm_initrd"} -append "$vm_append" "$@" \
		2>"$vm_log.err" &
	vm_pid=$!
	vm_status=0
	wait $vm_pid || vm_status=$?
	vm_pid=
	[ $vm_status = 0 ] || [ $vm_status = 124 ] ||
		die "QEMU: exit status $vm_status: $(tail -1 "$vm_log.err")"
	rm -f "$vm_log.err"
	tr -d '\r' <"$vm_log" >"$vm_log.$$" && mv "$vm_log.$$" "$vm_log"
}

# For an EXIT trap: the machine that is running, if any.
vm_kill()
{
	[ -z "${vm_pid:-}" ] || kill "$vm_pid" 2>/dev/null || :
	[ -z "${vm_pid:-}" ] || wait "$vm_pid" 2>/dev/null || :
}

# What a healthy kernel does not print
splats=$(sed -n 's/^"\(.*\)",$/\1/p' "$vm_dir/splats.h" | paste -sd '|' -)

vm_splat()
{
	grep -m1 -E "$splats" "$1"
}

# What decides if something has to be built again: FILE or git TREE, as text.
tree_state()
{
	if [ -e "$1/.git" ]; then
		git -C "$1" rev-parse HEAD
		git -C "$1" diff HEAD | cksum
		git -C "$1" ls-files --others --exclude-standard | cksum
	elif [ -f "$1.info" ]; then
		cat "$1.info"
	else
		date +%s.%N
	fi
}

# build_lock FILE WHAT: nobody else with FILE builds WHAT, until build_unlock or the end
# of the script. Steps of make check that run side by side build the same things.
build_lock()
{
	exec 9>"$1"
	flock -n 9 || {
		say "waiting: somebody else builds $2"
		flock 9
	}
}

build_unlock()
{
	exec 9>&-
}

# selftest TREE OUT NAME TARGET...: what the selftests' own makefiles would do,
# but away from the source tree, and static.
selftest()
{
	st_tree=$1 st_out=$2 st_name=$3
	shift 3
	mkdir -p "$st_out/$st_name"
	make -C "$st_tree" O="$st_out/headers" headers >>"$log" 2>&1 ||
		die "installing the headers failed, see $log"
	make -C "$st_tree/tools/testing/selftests/$st_name" \
		OUTPUT="$st_out/$st_name" \
		KHDR_INCLUDES="-isystem $st_out/headers/usr/include" \
		LDFLAGS="-static -pthread" "$@" >>"$log" 2>&1 || {
		grep -E '(error|Error )' "$log" | head -10 >&2
		die "building the $st_name selftests failed, see $log"
	}
}

# log_has WHAT REGEX FILE: a line of TAP, whether FILE has REGEX; log_lacks: has not, and
# has something, as else nothing has been looked at.
log_n=0 log_failed=0
log_result()
{
	log_n=$((log_n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $log_n - $2"
	else
		echo "not ok $log_n - $2"
		log_failed=$((log_failed + 1))
	fi
}

log_has()
{
	log_rc=0
	grep -qE "$2" "$3" || log_rc=1
	log_result $log_rc "$1"
}

log_lacks()
{
	log_line=$(grep -m1 -E "$2" "$3") || :
	[ -s "$3" ] || log_line="there is no log"
	log_rc=0
	[ -z "$log_line" ] || log_rc=1
	log_result $log_rc "$1${log_line:+: $log_line}"
}

# The end of these: the plan, and whether all is well
log_end()
{
	echo "1..$log_n"
	[ $log_failed = 0 ]
}
