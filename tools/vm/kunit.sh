#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run the KUnit tests that are in the kernel of the series, as TAP.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: kunit.sh [--kernel FILE] [SUITE-GLOB[.TEST-GLOB]]
Builds build/obj-series (DEBUG=1: build/obj-debug) if need be, boots it and prints one
TAP line per test case. SUITE-GLOB, like '*_fmt_test' or '*.test_random_map', goes to
kunit.filter_glob. The exit status is 0 if all passed and there was at least one.
EOF
}

kernel=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--kernel)	has_value "$@"; kernel=$2; shift 2 ;;
	-*)		usage >&2; exit 2 ;;
	*)		break ;;
	esac
done
[ $# -le 1 ] || { usage >&2; exit 2; }
need_qemu
if [ -z "$kernel" ]; then
	config=series
	[ "${DEBUG:-0}" = 0 ] || config=debug
	"$vm_dir/build.sh" $config
	kernel=$BUILD/obj-$config/arch/x86/boot/bzImage
fi
[ -f "$kernel" ] || die "$kernel is missing"

tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# test_random_map walks up to 4 GiB page by page a thousand times, for each
# geometry: half an hour under TCG. Name it to run it. Globs cannot exclude a
# name, so what is left is several boots, and a list to see that it is complete.
if [ $# = 0 ]; then
	set -- '*.test_[!r]*' '*.test_r[!a]*' '*.[!t]*'
	slow=test_random_map
else
	slow=
fi

boot()
{
	vm_boot "$tmp/log" 600 2048 "$kernel" "" \
		"$common_append kho=on kho_scratch=64M,256M,64M kunit.enable=1 kunit_shutdown=reboot kasan_multi_shot intel_iommu=off $1" \
		-smp 1
	sed 's/^\[ *[0-9.]*\] //' "$tmp/log" >"$tmp/out"
	cat "$tmp/log" >>"$tmp/all"
	[ $vm_status = 0 ] || bad="the machine did not end by itself (status $vm_status)"
	# Only what comes with the tests is about them: an early timer interrupt
	# was once seen to make KASAN complain on a kernel without SMP.
	sed -n '1,/KTAP version 1/p' "$tmp/out" >"$tmp/early"
	sed '1,/KTAP version 1/d' "$tmp/out" >"$tmp/late"
	splat=$(vm_splat "$tmp/early") && echo "# before the tests: $splat"
	splat=$(vm_splat "$tmp/late") && bad="kernel log: $splat"
	return 0
}

log=$BUILD/kunit.log
say "booting $kernel (log: $log)"
bad=
: >"$tmp/ktap"
boot kunit.action=list
sed -n 's/^\([A-Za-z0-9_-]*\.[A-Za-z0-9_]*\)$/\1/p' "$tmp/out" >"$tmp/list"
for glob; do
	boot "kunit.filter_glob=$glob"
	cat "$tmp/out" >>"$tmp/ktap"
done
mv "$tmp/all" "$log"

# KTAP nests by four spaces: suites are outermost, cases one deeper, the
# parameters of a case yet one deeper. Count cases.
awk -v bad="$bad" -v slow="$slow" -v list="$tmp/list" '
	function result(ok, name, skip) {
		n++
		if (skip) skipped++; else if (ok) passed++; else failed++
		printf "%sok %d - kunit %s%s\n", ok ? "" : "not ", n, name, skip ? " # SKIP " skip : ""
	}
	/^    # Subtest: /	{ suite = $3 }
	/^    (not )?ok [0-9]+ / {
		name = suite "." ($1 == "ok" ? $3 : $4)
		skip = ""
		if (/# SKIP/) { skip = $0; sub(/.*# SKIP */, "", skip); if (skip == "") skip = "not for this format" }
		seen[name] = 1
		result($1 == "ok", name, skip)
	}
	/^not ok [0-9]+ /	{ bad_suites++ }
	END {
		if (!n && !bad) bad = "no test was run"
		if (slow != "")
			while ((getline name < list) > 0) {
				listed++
				if (seen[name]) continue
				if (name ~ "\\." slow "$") result(1, name, "too slow under TCG")
				else result(0, name " was not run")
			}
		if (slow != "" && !listed && !bad) bad = "the kernel lists no tests"
		if (bad_suites && !failed && !bad) bad = "a suite failed"
		if (bad) result(0, "(all): " bad)
		printf "1..%d\n", n
		printf "# %d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed ? 1 : 0
	}' "$tmp/ktap"
