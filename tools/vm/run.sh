#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Take one machine through a live update under a stream of frames and judge it.
set -eu
. "$(dirname "$0")/common.sh"
. "$vm_dir/shape.sh"

usage()
{
	cat <<EOF
usage: run.sh [--kernel FILE] [--kernel2 FILE] [--initrd FILE] [--out DIR]
              [--no-plot]
Variables:
  CASE=main         preserve, kexec, restore, all with the NIC running (default)
       base         the unpatched kernel: shows what is lost and why
       unpreserved  two NICs, only the first preserved
       aborted      preserved, then the session is closed again
       twice        main, and from the new kernel into a third one, or JUMPS=N
                    of them in all
       discard      preserved, but finished without being taken back
       vmms         several VMMs, one of which is back at once
       refused      not preserved, for REASON, and undisturbed
       partly       preserved, but only the devices BACK=N[,N] can be taken
                    back; the others stop at STOPPED=boot, retrieve, unplug
                    or finish
  DAMAGE=           what is damaged in the hand-over, between the two kernels, with
                    commas between (build/vm/dmawatch --damages lists what there is)
  REASON=           for CASE=refused: what the kernel log has to say
  DEVICES=igb       what streams: igb, e1000e, virtio (virtio-net, ATS behind ports),
                    virtio-noats and nvme, up to 32, with commas between;
                    igb*8 is eight of them
  PLACE=root        where they sit: on the root bus, port (each behind a root
                    port), slot (same, hot-pluggable), spare (and one more
                    slot, empty), switch (two switches deep), pci-bridge
                    (behind one PCIe-to-PCI bridge)
  GUEST=            more options of the guest program, like --share iommufd
  RATE=500          frames per second and NIC (partly: 250); a tenth of it for virtio, a fifth
                    for nvme
  ACCEL=ACCEL       QEMU accelerator (default: tcg,thread=single; kvm is only
                    used when asked for, and only if it can run the kernel)
  MODE=legacy       mode of VT-d: legacy, second-stage (scalable), first-stage
                    (scalable)
  IOMMU=            more properties of the intel-iommu device, like
                    aw-bits=48,caching-mode=on
  INTREMAP=on       interrupt remapping: on or off
  APPEND=           more words for the command line of the first kernel; those
                    after it inherit them
  APPEND2=          more words for the command line of the second kernel (and
                    those after it); -WORD takes WORD of the first one's away
  DMAR2=            no-ioapic: the second kernel finds a DMAR table by which it
                    cannot remap interrupts (PLACE=root only)
  LOG1=, LOG2=      what the log of the first and of the second kernel has to say,
                    with " & " between (LOG1: partly only)
  KERNEL1=NAME      the first kernel, by the name build.sh has for it (default:
                    the one for CASE and DEBUG)
  KERNEL2=FILE      image of the second kernel, or the name of one that build.sh
                    has built, like other (default: that of the first)
  MEMORY=MB         of the machine (default: 2048; debug kernel: 3072)
  DEBUG=1           use the debug kernel
  BUILD=DIR         where the kernels are (default: build)
Results: build/run (report.json, dma.svg, logs). The exit status is the verdict. What there
is of a run that cannot be judged stays in build/run.failed.
EOF
}

CASE=${CASE:-main}
# One that is blocked keeps QEMU from others while it looks for a buffer.
if [ "$CASE" = partly ]; then RATE=${RATE:-250}; else RATE=${RATE:-500}; fi
ACCEL=${ACCEL:-tcg,thread=single}
DEBUG=${DEBUG:-}
[ "$DEBUG" != 0 ] || DEBUG=
MODE=${MODE:-legacy} IOMMU=${IOMMU:-} INTREMAP=${INTREMAP:-on}
APPEND=${APPEND:-} APPEND2=${APPEND2:-}
LOG1=${LOG1:-} LOG2=${LOG2:-} KERNEL1=${KERNEL1:-} DMAR2=${DMAR2:-}
JUMPS=${JUMPS:-2} DAMAGE=${DAMAGE:-} BACK=${BACK:-none} STOPPED=${STOPPED:-boot}
kernel= kernel2=${KERNEL2:-} initrd= out=$BUILD/run plot=1
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--kernel)	has_value "$@"; kernel=$2; shift 2 ;;
	--kernel2)	has_value "$@"; kernel2=$2; shift 2 ;;
	--initrd)	has_value "$@"; initrd=$2; shift 2 ;;
	--out)		has_value "$@"; out=$2; shift 2 ;;
	--no-plot)	plot=; shift ;;
	*)		usage >&2; exit 2 ;;
	esac
done

DEVICES=${DEVICES:-} PLACE=${PLACE:-root} GUEST=${GUEST:-} REASON=${REASON:-}
jumps=1 guest_case=$CASE
case $CASE in
main|aborted|vmms|partly) config=series ;;
twice)		config=series jumps=${JUMPS:-2} ;;
discard)	config=series ;;
base)		config=base ;;
unpreserved)	config=series DEVICES=${DEVICES:-igb,igb} ;;
refused)	config=series guest_case=main ;;
*)		die "CASE=$CASE: there is main, base, unpreserved, aborted, twice, discard, vmms, partly and refused" ;;
esac
DEVICES=$(shape_expand "${DEVICES:-igb}")
case $JUMPS in
[1-9]|[1-9][0-9])	;;
*)		die "JUMPS=$JUMPS is not a number from 1 to 99" ;;
esac
case $RATE in
''|0*|*[!0-9]*)	die "RATE=$RATE is not a number of frames per second" ;;
esac
case $MODE in
legacy)		iommu=intel-iommu sm=sm_off ;;
second-stage)	iommu=intel-iommu,x-scalable-mode=on sm=sm_on ;;
first-stage)	iommu=intel-iommu,x-scalable-mode=on,x-flts=on sm=sm_on ;;
*)		die "MODE=$MODE: there is legacy, second-stage and first-stage" ;;
esac
case $INTREMAP in
on)		unsafe= ;;
# Else iommufd does not let a device be bound at all.
off)		unsafe=iommufd.allow_unsafe_interrupts=1 ;;
*)		die "INTREMAP=$INTREMAP: there is on and off" ;;
esac

# KASAN needs more memory, and its shadow would make the default scratch area
# of KHO bigger than the machine. A run takes half a minute, or many times that on a
# host that has other things to do.
memory_mb=${MEMORY:-2048} scratch= timeout=$((600 * jumps))
if [ -n "$DEBUG" ]; then
	if [ $config = base ]; then config=base-debug; else config=debug; fi
	memory_mb=${MEMORY:-3072} timeout=$((900 * jumps))
	scratch="kho_scratch=128M,768M,64M page_poison=1"
fi
# q35 puts at most 2 GiB below the hole when there is more than 2.75 GiB.
low_mb=$memory_mb
[ $memory_mb -lt 2816 ] || low_mb=2048

# See quirks.patch
aliases=0
[ "$KERNEL1" != quirks ] || aliases=$(echo "$DEVICES" | tr ',' '\n' | grep -c e1000e) || :

kernel=${kernel:-$BUILD/obj-${KERNEL1:-$config}/arch/x86/boot/bzImage}
case $kernel2 in
'')	kernel2=$kernel ;;
*/*)	;;
*)	[ -f "$BUILD/obj-$kernel2/arch/x86/boot/bzImage" ] ||
		die "KERNEL2=$kernel2: run 'tools/vm/build.sh $kernel2' first"
	kernel2=$BUILD/obj-$kernel2/arch/x86/boot/bzImage ;;
esac
initrd=${initrd:-$BUILD/initramfs.gz}
for image in "$kernel" "$kernel2"; do
	[ -f "$image" ] || die "$image is missing: run 'make kernel' first"
done
[ -f "$initrd" ] || die "$initrd is missing: run 'make initramfs' first"

need_qemu
need gnuplot gnuplot-nox
mkdir -p "$BUILD"
need_space "$BUILD" 300
need_space /dev/shm $((memory_mb + 200))
need_space /tmp 300

new=$BUILD/run.new.$$ old=$out.old.$$
sockets=$(mktemp -d /tmp/liveupdate-run.$$.XXXXXX)
ram=/dev/shm/liveupdate-run.$$
# In memory, too: QEMU must not wait for a disk.
trace=$ram.trace
pids=
# Our child still? The shell may have taken note of its end, and the number be
# somebody else's by now.
ours()
{
	grep -qs "^PPid:[[:space:]]*$$\$" "/proc/$1/status"
}

# ends PID TENTHS: does it end in that time?
ends()
{
	n=0
	while ours "$1"; do
		[ $n -lt "$2" ] || return 1
		sleep 0.1
		n=$((n + 1))
	done
}

# End $pids. QEMU may not listen: it can hang in the cancellation of a read.
end_all()
{
	for pid in $pids; do
		! ours "$pid" || kill "$pid" 2>/dev/null || :
	done
	for pid in $pids; do
		ends "$pid" 50 || kill -KILL "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
}

cleanup()
{
	trap '' INT TERM HUP
	end_all
	rm -rf "$sockets" "$ram" "$trace" "$new"
	# Between two names
	[ -e "$out" ] || [ ! -e "$old" ] || mv "$old" "$out"
	rm -rf "$old"
}
trap cleanup EXIT
# On ctrl-C, who reads this may be gone already
trap 'trap "" PIPE; echo >&2 || :; exit 130' INT
trap 'trap "" PIPE; exit 143' TERM HUP

# What there is of the results stays, to be looked at.
fails()
{
	end_all
	for file in "$sockets"/*.tsv; do
		[ ! -f "$file" ] || cp "$file" "$new/" || :
	done
	[ ! -f "$trace" ] || cp "$trace" "$new/trace.log" || :
	rm -rf "$out.failed"
	mv "$new" "$out.failed"
	die "$*, see $out.failed"
}

mkdir -p "$new"

case $ACCEL in
kvm*)
	[ -w /dev/kvm ] || die "ACCEL=kvm: /dev/kvm is missing or not ours to write"
	say "checking that /dev/kvm can run this kernel"
	timeout -k 2 20 qemu-system-x86_64 -accel "$ACCEL" -machine q35 -cpu max \
		-m 1G -nodefaults -display none -no-reboot \
		-serial "file:$new/kvm.log" -kernel "$kernel" -initrd "$initrd" \
		-append "$common_append job=hello" \
		>"$new/kvm.err" 2>&1 || :
	grep -q 'init: hello' "$new/kvm.log" 2>/dev/null ||
		die "ACCEL=kvm: /dev/kvm cannot run this kernel: leave ACCEL out to use TCG"
	;;
esac

host_tools
# The second kernel has its modules in its initramfs, if it has any. For each
# kernel to jump from, a layer with the one to jump to; who goes on from there takes
# it along. Discard tries what must not work.
modules=${kernel2%/arch/x86/boot/bzImage}/modules.gz
[ ! -f "$modules" ] || {
	cat "$initrd" "$modules" >"$sockets/initrd3"
	initrd=$sockets/initrd3
}
[ $CASE != discard ] || {
	"$vm_dir/initramfs.sh" --outer "$initrd" "$kernel2" --out "$sockets/initrd2"
	initrd=$sockets/initrd2
}
shape "$DEVICES" "$PLACE" "$RATE" "$sockets"
set --
case $DMAR2/$PLACE in
/*)	;;
no-ioapic/root)
	"$vm_dir/dmar.sh" --out "$sockets/dmar2" --rmrr 3 --no-ioapic \
		$(echo $paths | tr ',' ' ' | sed 's/\.0//g')
	set -- --before2 "$sockets/dmar2" ;;
*)	die "DMAR2=$DMAR2: there is no-ioapic, with PLACE=root" ;;
esac
"$vm_dir/initramfs.sh" --outer "$initrd" "$kernel2" --append2 "$APPEND2" "$@" --out "$sockets/initrd"
# Ports and devices by the dozen take their time to be found, twice.
[ $count -le 8 ] || timeout=$((timeout * 2))
# Rings for all that time, but not more than fits.
ring=32768
[ $count -le 4 ] || ring=16384
[ $count -le 8 ] || ring=4096
iommu=$iommu$shape_iommu,intremap=$INTREMAP${IOMMU:+,$IOMMU}
# Above all memory, but not above what the IOMMU can do.
iova=0x10000000000
case $IOMMU in
*aw-bits=39*)	iova=0x4000000000 ;;
esac
run_id=$(($$ * 1000 + $(date +%s) % 1000))
append="$common_append earlyprintk=serial,ttyS0,115200
 kho=on liveupdate=on $scratch intel_iommu=on,$sm $unsafe
 job=run case=$guest_case nics=$paths ring=$ring iova=$iova run_id=$run_id
 guest=$(echo $GUEST --jumps $JUMPS | tr ' ' ,) $APPEND"
append=$(echo $append)

set -- -accel "$ACCEL" -machine q35,memory-backend=ram -cpu max -smp 2 \
	-m ${memory_mb}M -nodefaults -display none -no-reboot \
	-object memory-backend-file,id=ram,size=${memory_mb}M,mem-path="$ram",share=on \
	-chardev socket,id=console,path="$sockets/console" -serial chardev:console \
	-chardev socket,id=control,path="$sockets/control" -serial chardev:control \
	-chardev socket,id=monitor,path="$sockets/monitor" -mon chardev=monitor,mode=control \
	-kernel "$kernel" -initrd "$sockets/initrd" -append "$append" \
	-device "$iommu" -D "$trace" -msg timestamp=on
while read -r arg; do
	set -- "$@" "$arg"
done <"$sockets/shape"
while read -r event; do
	case $event in ''|\#*) continue ;; esac
	set -- "$@" -trace "$event"
done <"$vm_dir/trace-events"
case " $GUEST " in
*" --forge "*)	set -- "$@" -trace vtd_ir_remap_msi_req -trace vtd_ir_remap_msi ;;
esac

say "CASE=$CASE MODE=$MODE DEVICES=$DEVICES PLACE=$PLACE${DEBUG:+ DEBUG=1} RATE=$RATE ACCEL=$ACCEL, QEMU $qemu_version"

# In a network namespace of its own QEMU gets a longer queue from the sender,
# so that a host that starves it for a moment does not look like a dead NIC.
set -- qemu-system-x86_64 "$@"
if unshare -n true 2>/dev/null; then
	set -- unshare -n sh -c \
		'echo 512 >/proc/sys/net/unix/max_dgram_qlen; exec "$@"' sh "$@"
fi

: >"$trace"
"$BUILD/vm/dmawatch" --dir "$sockets" --ram "$ram" \
	--ram-size $((memory_mb << 20)) --low-ram $((low_mb << 20)) \
	--trace "$trace" --devices "$DEVICES" --rate "$RATE" \
	--run-id $run_id --timeout $timeout ${DAMAGE:+--damage $DAMAGE} &
watch=$!
pids=$watch
n=0
while [ ! -S "$sockets/console" ]; do
	kill -0 $watch 2>/dev/null || die "the watcher did not start"
	[ $n -lt 500 ] || die "the watcher does not listen"
	sleep 0.01
	n=$((n + 1))
done

"$@" 2>"$new/qemu.err" &
qemu=$!
pids="$watch $qemu"

status=0
wait $watch || status=$?
pids=$qemu qemu_status=0
if [ $status != 0 ]; then
	end_all
elif ends $qemu 300; then
	wait $qemu 2>/dev/null || qemu_status=$?
else
	# The machine has gone all the way: it can be judged.
	say "QEMU does not end by itself"
	end_all
fi
pids=

# 3 is the time-out: there is something to judge all the same.
if [ $status != 3 ] && [ $((status + qemu_status)) != 0 ]; then
	cat "$new/qemu.err" >&2
	fails "the machine did not run: QEMU exit status $qemu_status," \
		"watcher exit status $status"
fi

# A trace that ends early would hide what it does not show.
need_space "$BUILD" 50
need_space /dev/shm 50
mv "$sockets"/*.tsv "$new/"
mv "$trace" "$new/trace.log"
cut -f2- "$new/console.tsv" >"$new/console.log"
printf '%s\t%s\n' case "$CASE" devices "$DEVICES" place "$PLACE" mode "$MODE" \
	iommu "$iommu" intremap "$INTREMAP" guest "$GUEST" append "$APPEND" append2 "$APPEND2" \
	reason "$REASON" log1 "$LOG1" log2 "$LOG2" damage "$DAMAGE" jumps "$JUMPS" back "$BACK" stopped "$STOPPED" rate "$RATE" accel "$ACCEL" kernel "$kernel" \
	aliases "$aliases" kernel2 "$kernel2" debug "${DEBUG:-0}" qemu "$qemu_version" >"$new/run.tsv"

verdict=0
"$BUILD/vm/judge" "$new" >"$new/report.txt" || verdict=$?
[ -s "$new/report.json" ] || fails "the judge gave no verdict (exit status $verdict)"
[ -z "$plot" ] || "$vm_dir/plot.sh" "$new" || verdict=1

rm -rf "$old"
[ ! -e "$out" ] || mv "$out" "$old"
mv "$new" "$out"
rm -rf "$old" "$out.failed"
cat "$out/report.txt"
exit $verdict
