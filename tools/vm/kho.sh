#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What handing over many ranges of memory costs, in executed instructions, and
# that none is lost, as TAP.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: kho.sh [--base] [--quick]
Boots the kernel of the series with many ranges of memory to preserve which do not
touch each other, lets it kexec itself, and counts the instructions of the
new kernel (QEMU -icount: one instruction is one nanosecond of its clock).
  --quick  at most 150,000 ranges, no other numbers (what make check runs)
  --base   the base with the test added, beside it: what it costs and loses there
Results: build/kho/table.tsv, and a log for each run.
EOF
}

quick= base=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--quick)	quick=1; shift ;;
	--base)		base=1; shift ;;
	*)		usage >&2; exit 2 ;;
	esac
done

need_qemu
need gcc gcc
need cpio cpio
mkdir -p "$BUILD/kho"
tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The base does not have the test: it gets the commit of the series that adds it.
base_with_test()
{
	need patch patch
	if [ ! -f "$BUILD/base-kho/.done" ] ||
	   [ "$BUILD/base-kho/.done" -ot "$top/lib/test_kho_ranges.c" ]; then
		rm -rf "$BUILD/base-kho"
		cp -al "$(readlink -f "$BUILD/base")" "$BUILD/base-kho"
		for file in lib/Kconfig.debug lib/Makefile; do
			cp "$BUILD/base/$file" "$BUILD/base-kho/$file.new"
			patch -s "$BUILD/base-kho/$file.new" \
				"$top/$file.kho-test-ranges.patch"
			mv "$BUILD/base-kho/$file.new" "$BUILD/base-kho/$file"
		done
		cp "$top/lib/test_kho_ranges.c" "$BUILD/base-kho/lib/"
		: >"$BUILD/base-kho/.done"
	fi
	"$vm_dir/build.sh" base-kho
}

# The selftest's init loads /kernel and jumps. The kernel it jumps to has no
# initramfs: there is nothing more to see than what it prints.
initramfs()
{
	[ -x "$tmp/stage/init" ] || {
		mkdir -p "$tmp/stage/proc" "$tmp/stage/debugfs"
		gcc -O2 -static -o "$tmp/stage/init" \
			"$BUILD/linux/tools/testing/selftests/kho/init.c"
	}
	cp "$1" "$tmp/stage/kernel"
	(cd "$tmp/stage" && find . | cpio -o -H newc --quiet) >"$tmp/initrd"
}

# stamp TEXT: when the new kernel printed it first, in microseconds.
stamp()
{
	awk -v text="$1" '
		/ KHO: found kexec handover data/ { new = 1 }
		new && index($0, text) && match($0, /\[ *[0-9.]+\]/) {
			t = substr($0, RSTART + 1, RLENGTH - 2)
			printf "%d\n", t * 1000000
			exit
		}' "$log"
}

# handover NAME KERNEL KERNEL2 RANGES MIXED MEGABYTES [WORDS]
handover()
{
	log=$BUILD/kho/$1.log
	say "$1"
	initramfs "$3"
	ACCEL=tcg,thread=single vm_boot "$log" 600 "$6" "$2" "$tmp/initrd" \
		"$common_append nokaslr kho=on test_kho_ranges.nr=$4 test_kho_ranges.mixed=$5 ${7:-}" \
		-smp 1 -icount shift=0,sleep=off
	intact=$(sed -n 's/.*test_kho_ranges: \([0-9]*\) ranges intact.*/\1/p' "$log" | tail -1)
	lost=$(sed -n 's/.*ranges intact, \([0-9]*\) lost.*/\1/p' "$log" | tail -1)
	before=$(stamp "mem auto-init")
	reserved=$(stamp "preserved ranges reserved")
	init=$(stamp "Freeing unused kernel image")
	restore_from=$(stamp "restoring")
	restore_to=$(stamp "restored")
	per_range=
	if [ -n "$intact" ] && [ -n "$reserved" ] && [ -n "$before" ]; then
		per_range=$(((reserved - before) * 1000 / $4))
	fi
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$4" "${intact:--}" "${lost:--}" \
		"${per_range:--}" "$((${restore_to:-0} - ${restore_from:-0}))" \
		"${init:--}" >>"$BUILD/kho/table.new"
}

n=0 failed=0
result()
{
	n=$((n + 1))
	[ "$1" = ok ] || failed=$((failed + 1))
	echo "$1 $n - kho: $2"
}

# expect TEXT COMMAND...
expect()
{
	text=$1
	shift
	if "$@"; then result ok "$text"; else result "not ok" "$text"; fi
}

"$vm_dir/build.sh" series || {
	echo "not ok 1 - kho: the kernel does not build"
	echo 1..1
	exit 1
}
kernel=$BUILD/obj-series/arch/x86/boot/bzImage
printf 'run\tranges\tintact\tlost\tinstructions per range\trestore us\tto init us\n' \
	>"$BUILD/kho/table.new"

small=5000 large=150000 memory=3072 others=
[ -n "$quick" ] || large=512000 memory=8192 others="1000 20000 150000"

for mixed in 0 1; do
	kind=$([ $mixed = 0 ] && echo one || echo mixed)
	for ranges in $others $small $large; do
		m=3072
		[ $ranges != $large ] || m=$memory
		handover "$kind-$ranges" "$kernel" "$kernel" $ranges $mixed $m
		expect "$kind, $ranges ranges: all intact in the new kernel" \
			test "${intact:-0}" = $ranges
		[ $ranges != $small ] || reference=$per_range
	done
	expect "$kind: ${per_range:-?} instructions for each of $large ranges, at most 1.5 times the ${reference:-?} at $small" \
		test $((${per_range:-1000000} * 10)) -le $((${reference:-0} * 15))
done

# Scratch memory too small: refused when there is still somebody to ask.
handover tight "$kernel" "$kernel" 400000 0 5120 kho_scratch=16M,48M,8M
expect "400,000 ranges and little scratch memory: refused by the old kernel" \
	grep -q 'cannot be preserved: -28' "$log"

# In between there is room for some numbers and not for others: all or nothing.
if [ -z "$quick" ]; then
	for mixed in 0 1; do
		kind=$([ $mixed = 0 ] && echo one || echo mixed)
		for ranges in 20000 150000 $large; do
			handover tight-$kind-$ranges "$kernel" "$kernel" $ranges $mixed $memory \
				kho_scratch=16M,32M,8M
			if [ "${intact:-0}" = $ranges ]; then
				result ok "$kind, $ranges ranges, little scratch memory: all intact"
			else
				expect "$kind, $ranges ranges, little scratch memory: refused by the old kernel" \
					grep -q 'cannot be preserved: -28' "$log"
			fi
		done
	done
fi

if [ -n "$base" ]; then
	base_with_test
	old=$BUILD/obj-base-kho/arch/x86/boot/bzImage
	for ranges in 1000 5000 20000; do
		handover "base-$ranges" "$old" "$old" $ranges 0 3072
		base_init=$init
		handover "one-$ranges" "$kernel" "$kernel" $ranges 0 3072
		echo "# $ranges ranges, start to init: $init us, the base: $base_init us"
	done
	# A kernel that does not refuse, and one that does not notice
	handover base-tight "$old" "$old" 36000 0 1024 kho_scratch=8M,20M,4M
	expect "the base with little scratch memory: ${lost:-an unknown number} of 36,000 ranges lost" \
		test "${intact:-36000}" -lt 36000
	stopped=
	for ranges in 36000 100000 400000; do
		handover stop-$ranges "$old" "$kernel" $ranges 0 $((1024 + ranges / 100)) \
			kho_scratch=8M,20M,4M
		if [ "${intact:-0}" = $ranges ]; then
			result ok "$ranges of the base into the series: there is room for all"
		else
			expect "$ranges of the base into the series: stops with the reason" \
				grep -q 'cannot reserve [0-9]* preserved ranges' "$log"
			stopped=1
		fi
	done
	expect "too many ranges of a kernel that does not refuse stop the new one" test -n "$stopped"
fi

mv "$BUILD/kho/table.new" "$BUILD/kho/table.tsv"
sed 's/^/# /' "$BUILD/kho/table.tsv"
echo "1..$n"
[ $failed = 0 ]
