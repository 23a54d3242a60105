#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Build the guest programs and build/initramfs.gz with them.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: guest.sh [--tree DIR]
Builds the VMM-like program and the uAPI test from the selftests of build/linux
(or DIR), static, and packs them into build/initramfs.gz. Does nothing if nothing has changed.
EOF
}

tree=$BUILD/linux
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--tree)		has_value "$@"; tree=$2; shift 2 ;;
	*)		usage >&2; exit 2 ;;
	esac
done

need make make
need gcc gcc
mkdir -p "$BUILD"
BUILD=$(cd "$BUILD" && pwd)
tree=$(cd "$tree" 2>/dev/null && pwd) || die "build/linux is not there: run 'make tree' first"
tests=$tree/tools/testing/selftests
[ -f "$tests/vfio/vfio_pci_liveupdate_kexec.c" ] ||
	die "$tests/vfio/vfio_pci_liveupdate_kexec.c is missing: the series in $tree is not complete"
out=$BUILD/guest
log=$BUILD/guest.log
need_space "$BUILD" 200
mkdir -p "$out"
build_lock "$out.lock" "the guest programs"

now=$(tree_state "$tree"; cat "$vm_dir/init" "$vm_dir/initramfs.sh" | cksum)
if [ -f "$BUILD/initramfs.gz" ] && [ -f "$out/built-from" ] &&
   [ "$(cat "$out/built-from")" = "$now" ]; then
	exit 0
fi
# Dependencies of an older tree may name files that are no more
rm -rf "$out/built-from" "$out/vfio"

say "guest programs, from $tests (log: $log)"
: >"$log"
programs=
for source in "$tests"/vfio/vfio_pci_liveupdate_*.c; do
	name=$(basename "$source" .c)
	programs="$programs $out/vfio/$name"
done
selftest "$tree" "$out" vfio $programs
"$vm_dir/initramfs.sh" --out "$BUILD/initramfs.gz" $programs
printf '%s\n' "$now" >"$out/built-from"
