#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A DMAR table for the machine of the tests with what QEMU's lacks: an RMRR, and
# devices that no unit translates for.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOT
usage: dmar.sh --out FILE --rmrr SLOT [--no-ioapic] DEVICE...
Writes FILE, an uncompressed initramfs to go before the real one. It replaces
the DMAR table of QEMU (CONFIG_ACPI_TABLE_UPGRADE) by one with the same single
unit, but for the DEVICEs only: slots of the root bus, or SLOT/bridge for all
that is behind a bridge; in hexadecimal, function 0 or SLOT.FUNCTION. Firmware wants a page mapped
for the device of --rmrr. With --no-ioapic interrupts of the IO-APIC cannot be
remapped, and so none are.
EOT
}

out= rmrr= ioapic=1
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--out)		has_value "$@"; out=$2; shift 2 ;;
	--rmrr)		has_value "$@"; rmrr=$2; shift 2 ;;
	--no-ioapic)	ioapic=0; shift ;;
	-*)		usage >&2; exit 2 ;;
	*)		break ;;
	esac
done
[ -n "$out" ] && [ -n "$rmrr" ] && [ $# -gt 0 ] || { usage >&2; exit 2; }
need cpio cpio

# le BYTES VALUE: little endian, as two hexadecimal digits a byte
le()
{
	le_i=0 le_v=$(($2))
	while [ $le_i -lt "$1" ]; do
		printf '%02x ' $((le_v & 255))
		le_v=$((le_v >> 8)) le_i=$((le_i + 1))
	done
}

text()
{
	printf %s "$1" | od -An -v -tx1 | tr -d '\n'
	printf ' '
}

# scope TYPE ID BUS SLOT[.FUNCTION]: a device scope of 8 bytes
scope()
{
	scope_fn=0
	case $4 in *.*) scope_fn=${4#*.} ;; esac
	le 1 "$1"; le 1 8; le 2 0; le 1 "$2"; le 1 "$3"; le 1 "${4%.*}"; le 1 $scope_fn
}

# dmar CHECKSUM DEVICE...: as QEMU builds it, but for the devices, the RMRR, and
# the revision, which has to be higher. The page is one the BIOS has reserved.
dmar()
{
	drhd=$((8 + 8 * ioapic + 8 * $#))
	text DMAR; le 4 $((48 + drhd + 32 + 8)); le 1 1; le 1 "$1"
	text 'BOCHS '; text 'BXPC    '; le 4 2; text BXPC; le 4 1
	le 1 38; le 1 1; le 10 0	# 39 address bits, interrupt remapping
	shift

	le 2 0; le 2 $drhd; le 4 0; le 8 0xfed90000
	[ $ioapic = 0 ] || scope 3 0 0xff 0
	for device; do
		case $device in
		*/bridge)	scope 2 0 0 "0x${device%/*}" ;;
		*)		scope 1 0 0 "0x$device" ;;
		esac
	done

	le 2 1; le 2 32; le 4 0; le 8 0xfffff000; le 8 0xffffffff
	scope 1 0 0 "0x$rmrr"

	le 2 2; le 2 8; le 1 1; le 1 0; le 2 0	# ATS behind all root ports
}

sum=0
for byte in $(dmar 0 "$@"); do
	sum=$(((sum + 0x$byte) & 255))
done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$dir/kernel/firmware/acpi"
for byte in $(dmar $(((256 - sum) & 255)) "$@"); do
	printf "\\$(printf %o 0x$byte)"
done >"$dir/kernel/firmware/acpi/dmar.aml"
(cd "$dir" && find kernel | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$out"
