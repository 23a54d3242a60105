#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The base tree's own suites, in the machine, on a base kernel and on one of the
# series: the results must be the same, line by line.
set -eu
. "$(dirname "$0")/common.sh"
. "$vm_dir/suites.sh"

usage()
{
	cat <<EOF
usage: selftests.sh [--base FILE] [--series FILE] [SUITE...]
Builds the selftests of build/base, runs them on both kernels and prints TAP: a line
per result on the kernel of the series, "not ok" where it differs from the base. The
results stay in build/selftests. SUITE is all, or some of
  liveupdate  LUO, with its kexecs (the default)
  vfio        with an igb
  memfd       with and without huge pages, not with FUSE
  kho         over a kexec
  iommu       iommufd and iommufd_fail_nth, see iommufd.sh
  kunit       of page tables and all that the series adds, see kunit.sh
The kernels are build/obj-base and obj-series, or those given; with DEBUG=1, and for
kho always, obj-base-debug and obj-debug. They are built if need be. What only the
series has must pass.
EOF
}

base= series=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--base)		has_value "$@"; base=$2; shift 2 ;;
	--series)	has_value "$@"; series=$2; shift 2 ;;
	-*)		usage >&2; exit 2 ;;
	*)		break ;;
	esac
done
[ $# -gt 0 ] || set -- liveupdate
[ "$*" != all ] || set -- liveupdate vfio memfd kho iommu kunit
for suite; do
	case $suite in
	liveupdate|vfio|memfd|kho|iommu|kunit)	;;
	*)	usage >&2; exit 2 ;;
	esac
done
tree=$BUILD/base
[ -f "$tree/Makefile" ] || die "build/base is not there: run 'make base' first"
need_qemu
BUILD=$(cd "$BUILD" && pwd)
tree=$BUILD/base
tests=$tree/tools/testing/selftests
out=$BUILD/guest-base
results=$BUILD/selftests

tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$results"

# pick_kernel SUITE base|series: sets kernel
pick_kernel()
{
	eval "kernel=\$$2"
	[ -z "$kernel" ] || return 0
	config=$2
	case $1/${DEBUG:-0}/$2 in
	kho/*/base|*/1/base)	config=base-debug ;;
	kho/*|*/1/*)		config=debug ;;
	esac
	"$vm_dir/build.sh" $config || die "the $config kernel does not build"
	kernel=$BUILD/obj-$config/arch/x86/boot/bzImage
}

# init SUITE: build the init of a suite that kexecs, to $out/SUITE-init
init()
{
	build_lock "$out.lock" "selftests of $tree"
	make -C "$tree" O="$out/headers" headers >>"$out.log" 2>&1 &&
	gcc -static -O2 -isystem "$out/headers/usr/include" -o "$out/$1-init" \
		"$tests/$1/init.c" >>"$out.log" 2>&1 || die "building $1/init.c failed, see $out.log"
	build_unlock
}

# Such an init is PID 1; names and places are its own.
# pack_init SUITE KERNEL [PROGRAM]: to $tmp/outer
pack_init()
{
	rm -rf "$tmp/root"
	mkdir -p "$tmp/root/dev" "$tmp/root/proc" "$tmp/root/debugfs"
	cp "$out/$1-init" "$tmp/root/init"
	[ -z "${3-}" ] || cp "$3" "$tmp/root/test_binary"
	mknod "$tmp/root/dev/console" c 5 1 2>/dev/null ||
		die "cannot make a device node: run as root"
	(cd "$tmp/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$tmp/inner"
	cp "$tmp/inner" "$tmp/root/initrd.img"
	cp "$2" "$tmp/root/kernel"
	(cd "$tmp/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$tmp/outer"
}

# over_kexec FILE NAME KERNEL SUCCESS APPEND [QEMU-OPTION...]: boot $tmp/outer; ok if
# the console has SUCCESS
over_kexec()
{
	ok_file=$1 ok_name=$2 ok_kernel=$3 ok_success=$4 ok_append=$5
	shift 5
	vm_boot "$tmp/log" 120 2048 "$ok_kernel" "$tmp/outer" \
		"$common_append kho=on liveupdate=on $ok_append" "$@"
	# What comes after it may be a panic: not all inits take a root along
	sed "/$ok_success/q" "$tmp/log" >"$tmp/until"
	if grep -q "$ok_success" "$tmp/until" && ! vm_splat "$tmp/until" >/dev/null; then
		echo "ok - $ok_name" >>"$ok_file"
	else
		echo "not ok - $ok_name" >>"$ok_file"
	fi
	mv "$tmp/log" "$ok_file-$ok_name.log"
}

# The suites: run_SUITE NAME KERNEL FILE, the results of one kernel to FILE

kexec_tests="luo_kexec_simple luo_multi_session luo_stress_sessions luo_stress_files"
run_liveupdate()
{
	suite_build "$tree" "$out" liveupdate liveupdate $kexec_tests
	init liveupdate
	suite_initrd "$tmp/initrd" "$out/liveupdate/liveupdate"
	suite_run "$3" 120 "$2" "$tmp/initrd" "" -device intel-iommu
	for t in $kexec_tests; do
		pack_init liveupdate "$2" "$out/liveupdate/$t"
		over_kexec "$3" "$t" "$2" 'TEST PASSED' loglevel=5 -device intel-iommu
	done
}

vfio_tests="vfio_dma_mapping_test vfio_dma_mapping_mmio_test vfio_iommufd_setup_test
	vfio_pci_device_test vfio_pci_device_init_perf_test vfio_pci_driver_test"
run_vfio()
{
	suite_build "$tree" "$out" vfio $vfio_tests
	suite_initrd "$tmp/initrd" $(for t in $vfio_tests; do echo "$out/vfio/$t"; done)
	suite_run "$3" 300 "$2" "$tmp/initrd" "nics=04.0 hugepages=32 intel_iommu=on,sm_off vfio.enable_unsafe_noiommu_mode=1" \
		-device intel-iommu -device igb,addr=4.0
}

# Prints no TAP
run_memfd()
{
	suite_build "$tree" "$out" memfd memfd_test
	for t in memfd_test hugetlbfs; do
		printf '#!/bin/sh\necho 1..1\nif /tests/prog/memfd_test %s; then echo ok 1 %s; else echo not ok 1 %s; fi\n' \
			"${t#memfd_test}" "$t" "$t" >"$tmp/$t"
		chmod +x "$tmp/$t"
	done
	suite_initrd "$tmp/initrd" "prog/memfd_test=$out/memfd/memfd_test" \
		"memfd=$tmp/memfd_test" "memfd-huge=$tmp/hugetlbfs"
	suite_run "$3" 300 "$2" "$tmp/initrd" hugepages=32
}

run_kho()
{
	init kho
	pack_init kho "$2"
	over_kexec "$3" kho "$2" 'KHO restore succeeded' ""
}

run_kunit()
{
	"$vm_dir/kunit.sh" --kernel "$2" >"$tmp/kunit" || :
	grep -E '^(not )?ok ' "$tmp/kunit" | sed 's/ok [0-9]* - /ok - /' >"$3"
	[ -s "$3" ] || echo "not ok - (all): kunit did not run" >"$3"
}

# run SUITE. Its status is looked at: in here set -e is off, failures have to die.
run()
{
	for name in base series; do
		pick_kernel "$1" $name
		say "$1 on the $name kernel (log: $results/$name-$1*.log)"
		: >"$results/$name-$1"
		"run_$1" $name "$kernel" "$results/$name-$1"
	done
	case $1 in
	kunit)	suite_compare "$results/base-$1" "$results/series-$1" new ;;
	*)	suite_compare "$results/base-$1" "$results/series-$1" ;;
	esac
}

: >"$tmp/tap"
for suite; do
	case $suite in
	iommu)	rc=0
		"$vm_dir/iommufd.sh" >"$tmp/iommu" || rc=$?
		cat "$tmp/iommu" >>"$tmp/tap"
		# Else it is not seen that it did not run
		[ $rc = 0 ] && grep -q '^ok ' "$tmp/iommu" || grep -q '^not ok ' "$tmp/iommu" ||
			echo "not ok 0 - selftest iommu: no results, exit status $rc" >>"$tmp/tap" ;;
	*)	run $suite >>"$tmp/tap" || : ;;
	esac
done
# One plan for all
awk '/^(not )?ok / { sub(/ok [0-9]+/, "ok " ++n); print; if (/^not/) failed = 1 }
	END { print "1.." n + 0; exit !n || failed }' "$tmp/tap"
