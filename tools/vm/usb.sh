#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Take a USB controller through a live update: the kernel must not halt it.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: usb.sh
Builds build/obj-series (DEBUG=1: build/obj-debug) and the initramfs if need be, boots
a machine with two USB controllers that run, preserves one, jumps, and prints TAP:
whether that one runs on and is given back, and the other was halted.
EOF
}

DEBUG=${DEBUG:-}
[ "$DEBUG" != 0 ] || DEBUG=
config=series memory=2048 scratch=
[ -z "$DEBUG" ] || config=debug memory=3072 scratch=" kho_scratch=128M,768M,64M page_poison=1"
case $#/${1:-} in
0/)	;;
*/-h|*/--help) usage; exit 0 ;;
*)	usage >&2; exit 2 ;;
esac
need_qemu
"$vm_dir/build.sh" $config
kernel=$BUILD/obj-$config/arch/x86/boot/bzImage
"$vm_dir/guest.sh"

tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
"$vm_dir/initramfs.sh" --outer "$BUILD/initramfs.gz" "$kernel" --out "$tmp/initrd"
log=$BUILD/usb${DEBUG:+-debug}.log
say "a USB controller through a live update, $config kernel (log: $log)"
vm_boot "$tmp/log" 300 $memory "$kernel" "$tmp/initrd" \
	"$common_append kho=on liveupdate=on$scratch intel_iommu=on,sm_off job=usb nics=04.0,05.0" \
	-device intel-iommu -device qemu-xhci,addr=4.0 -device qemu-xhci,addr=5.0
mv "$tmp/log" "$log"

sed '1,/events before the jump/d' "$log" | sed '1,/Linux version/d' >"$tmp/after"
log_has "usb the machine jumped" 'Command line: .*stage=2' "$tmp/after"
log_has "usb the controller runs on, is given back, and the other was halted" \
	'^ok [0-9]+ .*after_the_jump' "$tmp/after"
log_has "usb the machine ended by itself" 'reboot: Power down' "$tmp/after"
log_lacks "usb both kernels are healthy" "$splats" "$log"
grep -E '^# [a-z_/]*[.][ch]:[0-9]+:' "$log" || :
log_end
