#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run the selftests of iommufd, with its mock IOMMU, as TAP.
set -eu
. "$(dirname "$0")/common.sh"
. "$vm_dir/suites.sh"

usage()
{
	cat <<EOF
usage: iommufd.sh [--no-base] [--kernel FILE]
Runs tools/testing/selftests/iommu of build/linux in build/obj-series (DEBUG=1:
obj-debug), and those of build/base in obj-base (obj-base-debug); the kernels are built
if need be. What both have must have the same result, what only the series has must
pass. --no-base runs only the series, where all have to pass.
EOF
}

base=1 kernel=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--no-base)	base=; shift ;;
	--kernel)	has_value "$@"; kernel=$2; shift 2 ;;
	*)		usage >&2; exit 2 ;;
	esac
done
need_qemu
BUILD=$(cd "$BUILD" && pwd)
programs="iommufd iommufd_fail_nth"
results=$BUILD/selftests

tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# run NAME TREE CONFIG KERNEL
run()
{
	suite_build "$2" "$BUILD/guest-$1" iommu $programs
	suite_initrd "$tmp/initrd" $(for p in $programs; do echo "$BUILD/guest-$1/iommu/$p"; done)
	[ -n "$4" ] || "$vm_dir/build.sh" "$3"
	say "$1: the selftests of iommufd (log: $results/$1-iommu.log)"
	suite_run "$results/$1-iommu" 1200 "${4:-$BUILD/obj-$3/arch/x86/boot/bzImage}" \
		"$tmp/initrd" "hugepages=32$scratch"
}

scratch=
case ${DEBUG:-0} in
0)	ours=series theirs=base ;;
*)	ours=debug theirs=base-debug suite_memory=3072 scratch=" kho_scratch=128M,768M,64M" ;;
esac
run series "$BUILD/linux" $ours "$kernel"
# Those that the series adds are nowhere else
grep -q '^ok - iommufd: iommufd_liveupdate[.]' "$results/series-iommu" ||
	echo "not ok - iommufd: iommufd_liveupdate: none has passed" >>"$results/series-iommu"
if [ -n "$base" ]; then
	run base "$BUILD/base" $theirs ""
	suite_compare "$results/base-iommu" "$results/series-iommu" new
else
	suite_compare /dev/null "$results/series-iommu" new
fi
