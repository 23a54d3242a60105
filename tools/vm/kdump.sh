#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Crash a machine in the middle of a live update: the crash kernel has to come up.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: kdump.sh [--kernel FILE]
Builds build/obj-series if need be, boots it (or FILE) with VT-d in MODE and an igb
that does DMA, has a crash kernel loaded, preserves the igb, crashes, and prints TAP:
whether the crash kernel came up, has the dump, and did not take over anything.
EOF
}

case ${MODE:=legacy} in
legacy)		unit=intel-iommu sm=sm_off ;;
second-stage)	unit=intel-iommu,x-scalable-mode=on sm=sm_on ;;
first-stage)	unit=intel-iommu,x-scalable-mode=on,x-flts=on sm=sm_on ;;
*)		die "MODE=$MODE: there is legacy, second-stage and first-stage" ;;
esac
kernel=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--kernel)	has_value "$@"; kernel=$2; shift 2 ;;
	*)		usage >&2; exit 2 ;;
	esac
done
need_qemu
if [ -z "$kernel" ]; then
	"$vm_dir/build.sh" series
	kernel=$BUILD/obj-series/arch/x86/boot/bzImage
	"$vm_dir/guest.sh"
fi
for image in "$kernel" "$BUILD/initramfs.gz"; do
	[ -f "$image" ] || die "$image is missing: run 'make initramfs' first"
done

tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# For the crash kernel the same initramfs, inside of it
"$vm_dir/initramfs.sh" --outer "$BUILD/initramfs.gz" "$kernel" --out "$tmp/initrd"
log=$BUILD/kdump-$MODE.log
# The default scratch memory of KHO does not fit beside that of the crash kernel.
say "crash in a live update, $MODE mode (log: $log)"
vm_boot "$tmp/log" 240 3072 "$kernel" "$tmp/initrd" \
	"$common_append kho=on liveupdate=on crashkernel=384M kho_scratch=128M,512M,64M intel_iommu=on,$sm job=crash nics=04.0" \
	-device $unit -device igb,addr=4.0
mv "$tmp/log" "$log"

sed '1,/Attempted to kill init/d' "$log" | sed '1,/Linux version/d' >"$tmp/after"
log_has "kdump the device was preserved, and did DMA" 'init: preserved, and doing DMA' "$log"
log_has "kdump the machine crashed" 'Attempted to kill init' "$log"
log_has "kdump the crash kernel came up and has the dump" 'init: dump of [1-9][0-9]* bytes' "$log"
log_has "kdump the machine ended by itself" 'reboot: Power down' "$log"
log_lacks "kdump the crash kernel takes nothing over" 'liveupdate: .*adopt|preserved ranges reserved' "$tmp/after"
log_lacks "kdump the crash kernel is healthy" "$splats" "$tmp/after"
log_end
