#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run the series' own test of its uAPI, without a kexec, as TAP.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: uapi.sh [--kernel FILE]
Builds build/obj-series (DEBUG=1: build/obj-debug) and the initramfs if need be,
boots it with VT-d in MODE (legacy, second-stage, first-stage; legacy if it is not
set) and runs vfio_pci_liveupdate_test and _refuse*_test on an igb there (with
--kernel: takes FILE, and the initramfs as it is). Beside it are devices to be
refused: two that share a group, a virtio-net that has a variant driver, a USB
controller with an RMRR, an igb to enable virtual functions of, one that no IOMMU
translates for, and another virtio-net, with ATS; an igb behind a root port that
errors are injected into; and an edu that has a second function in its group. A
skipped test counts as failed: the machine has all it needs.

  TESTS=*    only those tests: refuse*_ is those of what is refused. With DEBUG=1 the one
             that injects errors is left out.
  ROUNDS=100 how often abort_ aborts
  STRESS=20  how many seconds stress_ runs, with SEED= if it is to be the same again
EOF
}

DEBUG=${DEBUG:-}
[ "$DEBUG" != 0 ] || DEBUG=
case ${MODE:=legacy} in
legacy)		unit=intel-iommu,device-iotlb=on sm=sm_off ;;
second-stage)	unit=intel-iommu,device-iotlb=on,x-scalable-mode=on sm=sm_on ;;
first-stage)	unit=intel-iommu,device-iotlb=on,x-scalable-mode=on,x-flts=on sm=sm_on ;;
*)		die "MODE=$MODE: there is legacy, second-stage and first-stage" ;;
esac
config=series memory=2048 limit=600 scratch=
# aer_inject takes a spinlock inside of the raw one of config space: lockdep says so, and
# no more from there on.
[ -z "$DEBUG" ] || config=debug memory=3072 limit=2400 scratch=" kmemleak=on kho_scratch=128M,768M,64M page_poison=1 without=error"
limit=$((limit + ${STRESS:-0} + ${ROUNDS:-0} * 2))
more="${TESTS:+ tests=$TESTS}${ROUNDS:+ rounds=$ROUNDS}${STRESS:+ seconds=$STRESS}${SEED:+ seed=$SEED}"
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
	"$vm_dir/build.sh" $config
	kernel=$BUILD/obj-$config/arch/x86/boot/bzImage
	"$vm_dir/guest.sh"
fi
[ -f "$kernel" ] || die "$kernel is missing: run 'make kernel' first"
[ -f "$BUILD/initramfs.gz" ] || die "$BUILD/initramfs.gz is missing: run 'make initramfs' first"

tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# The good one first
devices=04.0,05.0/01.0,05.0/02.0,06.0,07.0,08.0,09.0,0a.0/00.0,0b.0/00.0,0c.0,0c.1
"$vm_dir/dmar.sh" --out "$tmp/initrd" --rmrr 7 4 5/bridge 6 7 8 a/bridge b/bridge c c.1
cat "$BUILD/initramfs.gz" >>"$tmp/initrd"
# The kernel itself, for the tests of what must not be started
cp "$kernel" "$tmp/image"
(cd "$tmp" && echo image | cpio -o -H newc -R 0:0 --quiet) | gzip -1 >>"$tmp/initrd"
log=$BUILD/uapi${DEBUG:+-debug}-$MODE.log
say "uAPI test in the $config kernel, $MODE mode (log: $log)"
vm_boot "$tmp/log" $limit $memory "$kernel" "$tmp/initrd" \
	"$common_append kho=on liveupdate=on$scratch intel_iommu=on,$sm hugepages=2 vfio_pci.enable_sriov=1 vfio.enable_unsafe_noiommu_mode=1 job=uapi nics=$devices$more" \
	-device $unit -device igb,addr=4.0 \
	-device pcie-pci-bridge,id=bridge,addr=5.0 \
	-device edu,bus=bridge,addr=1.0,dma_mask=0xffffffffffffffff \
	-device edu,bus=bridge,addr=2.0,dma_mask=0xffffffffffffffff \
	-device virtio-net-pci,addr=6.0,disable-legacy=on,iommu_platform=on \
	-device qemu-xhci,addr=7.0 -device igb,addr=8.0 -device edu,addr=9.0 \
	-device pcie-root-port,id=rp,addr=a.0,chassis=1 \
	-device virtio-net-pci,bus=rp,disable-legacy=on,iommu_platform=on,ats=on \
	-device pcie-root-port,id=rp2,addr=b.0,chassis=2 -device igb,bus=rp2 \
	-device edu,addr=c.0,multifunction=on,dma_mask=0xffffffffffffffff \
	-device edu,addr=c.1,multifunction=on,dma_mask=0xffffffffffffffff
mv "$tmp/log" "$log"

bad=
[ $vm_status = 0 ] || bad="the machine did not end by itself (status $vm_status)"
grep -q 'init: uapi done' "$log" || bad="the test did not come to its end"
# Allocations that were made to fail say so, with a trace of no more than that many
# lines. What else goes wrong in the middle of it is not a part of it.
awk '
	/WARNING:|BUG:|KASAN/	{ quiet = 0 }
	/vmalloc error: |page allocation failure: / { quiet = 150 }
	!quiet			{ print; next }
				{ quiet-- }
	/<\/TASK>/		{ quiet = 0 }' "$log" >"$tmp/log.healthy"
splat=$(vm_splat "$tmp/log.healthy") && bad="kernel log: $splat"
# A program that ends early has fewer results than it has planned. Lines can be torn by
# those of the kernel: its totals count as well.
sed 's/^\[ *[0-9.]*\] //' "$log" | awk -v bad="$bad" '
	function result(ok, text) {
		if (!ok) failed++
		printf "%sok %d - uapi %s\n", ok ? "" : "not ", ++n, text
	}
	function program_ends() {
		if (program != "" && (plan == "" || (got != plan && passed != plan)))
			result(0, program ": " got + 0 " results of " (plan == "" ? "an unknown number" : plan))
		program = plan = ""
		got = passed = 0
	}
	/^# vfio_pci_[a-z_]*_test(\[|$)/ {
		program_ends()
		program = $2
		sub(/\[.*/, "", program)
	}
	/^1\.\.[0-9]+(\[|$)/ {
		if (plan != "") { program_ends(); program = "(one more)" }
		plan = substr($0, 4) + 0
	}
	/^(not )?ok [0-9]+ / {
		ok = $1 == "ok" && !/# SKIP/
		sub(/^(not )?ok [0-9]+ (- )?/, "")
		result(ok, $0)
		got++
	}
	/^# Totals: pass:/ { passed = substr($3, 6) + 0 }
	/^# Totals:|^Bail out/ { print "# " $0 }
	/^# [a-z_/]*[.][ch]:[0-9]+:/ { print }
	END {
		program_ends()
		if (!bad && !n) bad = "no test was run"
		if (bad) result(0, "(all): " bad)
		printf "1..%d\n", n
		exit failed ? 1 : 0
	}'
