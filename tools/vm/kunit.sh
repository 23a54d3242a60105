#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run the KUnit tests that are in the kernel of the series, as TAP.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: kunit.sh [--kernel FILE] [SUITE-GLOB]
Builds build/obj-kunit if need be, boots it and prints one TAP line per test
case. SUITE-GLOB goes to kunit.filter_glob. The exit status is 0 if all passed
and there was at least one.
EOF
}

kernel=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--kernel)	kernel=$2; shift 2 ;;
	-*)		usage >&2; exit 2 ;;
	*)		break ;;
	esac
done
[ $# -le 1 ] || { usage >&2; exit 2; }
need_qemu
if [ -z "$kernel" ]; then
	"$vm_dir/build.sh" kunit
	kernel=$BUILD/obj-kunit/arch/x86/boot/bzImage
fi
[ -f "$kernel" ] || die "$kernel is missing"

tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

log=$BUILD/kunit.log
say "booting $kernel (log: $log)"
vm_boot "$tmp/log" 600 2048 "$kernel" "" \
	"$common_append kho=on kho_scratch=64M,256M,64M kunit.enable=1 kunit_shutdown=reboot${1:+ kunit.filter_glob=$1}"
mv "$tmp/log" "$log"

bad=
[ $vm_status = 0 ] || bad="the machine did not end by itself (status $vm_status)"
splat=$(vm_splat "$log") && bad="kernel log: $splat"

# KTAP nests by four spaces: suites are outermost, cases one deeper, the
# parameters of a case yet one deeper. Count cases.
sed 's/^\[ *[0-9.]*\] //' "$log" | awk -v bad="$bad" '
	/^    # Subtest: /	{ suite = $3 }
	/^    (not )?ok [0-9]+ /	{
		ok = $1 == "ok"; name = ok ? $3 : $4; skip = /# SKIP/
		n++
		if (skip) skipped++; else if (ok) passed++; else failed++
		printf "%sok %d - kunit %s.%s%s\n", ok ? "" : "not ", n, suite, name, skip ? " # SKIP" : ""
	}
	/^(not )?ok [0-9]+ /	{ suites++; if ($1 == "not") bad_suites++ }
	END {
		if (!bad && n == 0) bad = "no test was run"
		if (!bad && bad_suites && !failed) bad = "a suite failed"
		if (bad) {
			printf "not ok %d - kunit: %s\n", ++n, bad; failed++
		}
		printf "1..%d\n", n
		printf "# %d suites: %d passed, %d failed, %d skipped\n", suites, passed, failed, skipped
		exit failed ? 1 : 0
	}'
