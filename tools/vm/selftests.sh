#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The base tree's own live update selftests, in the machine, on the base kernel
# and on that of the series: the results must be the same, line by line.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: selftests.sh [--base FILE] [--series FILE]
Builds the liveupdate selftests of build/base, runs them on both kernels
(default: build/obj-base and build/obj-series) and prints TAP: one line per
result on the kernel of the series, "not ok" where it differs from the base.
The results stay in build/selftests.
EOF
}

base=$BUILD/obj-base/arch/x86/boot/bzImage
series=$BUILD/obj-series/arch/x86/boot/bzImage
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--base)		base=$2; shift 2 ;;
	--series)	series=$2; shift 2 ;;
	*)		usage >&2; exit 2 ;;
	esac
done
for image in "$base" "$series"; do
	[ -f "$image" ] || die "$image is missing: run 'make kernel' first (CASE=base for the base kernel)"
done
[ -f "$BUILD/base/Makefile" ] || die "build/base is not there: run 'make base' first"
need_qemu
BUILD=$(cd "$BUILD" && pwd)
tree=$BUILD/base
src=$tree/tools/testing/selftests/liveupdate
out=$BUILD/guest-base
log=$BUILD/guest-base.log
kexec_tests="luo_kexec_simple luo_multi_session luo_stress_sessions luo_stress_files"

tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$out"

now=$(tree_state "$tree")
if [ ! -f "$out/built-from" ] || [ "$(cat "$out/built-from")" != "$now" ]; then
	rm -f "$out/built-from"
	: >"$log"
	say "building the base tree's selftests (log: $log)"
	selftest "$tree" "$out" liveupdate $(for t in liveupdate $kexec_tests; do
		echo "$out/liveupdate/$t"; done)
	gcc -static -O2 -I "$out/headers/usr/include" -o "$out/init" \
		"$src/init.c" >>"$log" 2>&1 || die "building init.c failed, see $log"
	printf '%s\n' "$now" >"$out/built-from"
fi

# Their init is PID 1 and does the kexec; names and places are its own.
pack_kexec_test()
{
	rm -rf "$tmp/root"
	mkdir -p "$tmp/root/dev" "$tmp/root/proc" "$tmp/root/debugfs"
	cp "$out/init" "$tmp/root/init"
	cp "$out/liveupdate/$1" "$tmp/root/test_binary"
	mknod "$tmp/root/dev/console" c 5 1 2>/dev/null ||
		die "cannot make a device node: run as root"
	(cd "$tmp/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$tmp/inner"
	cp "$tmp/inner" "$tmp/root/initrd.img"
	cp "$2" "$tmp/root/kernel"
	(cd "$tmp/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$tmp/outer"
}

# Result lines of one kernel to FILE.
run_all()
{
	name=$1 kernel=$2 file=$3
	# Results and kernel log share the console: below warnings it is silent
	append="$common_append kho=on liveupdate=on loglevel=5"
	: >"$file.tmp"

	say "$name kernel: liveupdate"
	vm_boot "$tmp/log" 120 2048 "$kernel" "$tmp/initrd" "$append job=selftests" \
		-device intel-iommu
	sed 's/^\[ *[0-9.]*\] //' "$tmp/log" | awk '
		/^(not )?ok [0-9]+ / { sub(/ok [0-9]+ +/, "&liveupdate: "); print }' >>"$file.tmp"
	grep -q 'init: selftests done' "$tmp/log" ||
		echo "not ok - liveupdate: did not come to its end" >>"$file.tmp"
	splat=$(vm_splat "$tmp/log") &&
		echo "not ok - liveupdate: kernel log: $splat" >>"$file.tmp"
	mv "$tmp/log" "$BUILD/selftests/$name-liveupdate.log"

	for t in $kexec_tests; do
		say "$name kernel: $t"
		pack_kexec_test "$t" "$kernel"
		vm_boot "$tmp/log" 60 2048 "$kernel" "$tmp/outer" "$append" \
			-device intel-iommu
		if grep -q 'TEST PASSED' "$tmp/log" && ! vm_splat "$tmp/log" >/dev/null; then
			echo "ok - $t" >>"$file.tmp"
		else
			echo "not ok - $t" >>"$file.tmp"
		fi
		mv "$tmp/log" "$BUILD/selftests/$name-$t.log"
	done
	mv "$file.tmp" "$file"
}

mkdir -p "$BUILD/selftests"
"$vm_dir/initramfs.sh" --out "$tmp/initrd" "$out/liveupdate/liveupdate"
run_all base "$base" "$BUILD/selftests/base.results"
run_all series "$series" "$BUILD/selftests/series.results"

# The same lines in the same order. A test that fails on both is no failure of
# the series; one that is gone or new is.
awk -v basefile="$BUILD/selftests/base.results" '
	function key(s) { sub(/^(not )?ok [0-9]* *(- )?/, "", s); sub(/ # .*/, "", s); return s }
	BEGIN {
		while ((getline line < basefile) > 0)
			want[++m] = line
	}
	{ got[++n] = $0 }
	END {
		max = n > m ? n : m
		for (i = 1; i <= max; i++) {
			same = want[i] == got[i]
			if (!same) failed++
			printf "%sok %d - selftest %s%s\n", same ? "" : "not ", i,
				key(i <= n ? got[i] : want[i]),
				same ? (got[i] ~ /^not/ ? " (fails on the base as well)" : "") : \
				" (base: " (i <= m ? want[i] : "no such result") ")"
		}
		if (!max) { print "not ok 1 - selftest: no results"; failed++; max = 1 }
		printf "1..%d\n", max
		exit failed ? 1 : 0
	}' "$BUILD/selftests/series.results"
