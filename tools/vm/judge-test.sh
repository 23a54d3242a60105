#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Does the judge see it? A made-up run in which everything is right must pass;
# the same run with one thing wrong must fail, for that reason.
set -eu
. "$(dirname "$0")/common.sh"

case ${1:-} in
-h|--help)	echo "usage: judge-test.sh: prints TAP"; exit 0 ;;
esac

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
host_tools >&2

. "$vm_dir/judge-fixtures.sh"

n=0 failed=0
# expect STATUS REASON WHAT: judge $tmp/run, made from the good one.
expect()
{
	n=$((n + 1))
	status=0
	"$BUILD/vm/judge" "$tmp/run" >"$tmp/report" 2>&1 || status=$?
	if [ $status = "$1" ] && grep -qF "$2" "$tmp/report"; then
		echo "ok $n - judge: $3"
	else
		failed=$((failed + 1))
		echo "not ok $n - judge: $3"
		sed 's/^/# /' "$tmp/report"
	fi
}

# lacks TEXT WHAT: in the report of the run that was judged last
lacks()
{
	n=$((n + 1))
	if grep -qF "$1" "$tmp/report"; then
		failed=$((failed + 1))
		echo "not ok $n - judge: $2"
	else
		echo "ok $n - judge: $2"
	fi
}

# figure KEY VALUE WHAT: in the report.json of the run that was judged last
figure()
{
	n=$((n + 1))
	if grep -qF "\"$1\": $2," "$tmp/run/report.json"; then
		echo "ok $n - judge: $3"
	else
		failed=$((failed + 1))
		echo "not ok $n - judge: $3: $(grep -F "\"$1\": " "$tmp/run/report.json")"
	fi
}

good()
{
	rm -rf "$tmp/run"
	cp -r "$tmp/${1:-good}" "$tmp/run"
}

# trace SECONDS TEXT: a line of the trace, in order of time.
trace()
{
	echo "42@$((501000 + $1)).000001:$2" >>"$tmp/run/trace.log"
	sort -s -o "$tmp/run/trace.log" "$tmp/run/trace.log"
}

# mark MILLISECONDS KIND TEXT: what the guest program says. In order of time.
mark()
{
	printf '%d000000\t%s\t%s\n' $((1000000 + $1)) "$2" "$3" >>"$tmp/run/marks.tsv"
	sort -s -n -k 1,1 -o "$tmp/run/marks.tsv" "$tmp/run/marks.tsv"
}

edit()
{
	sed -i "$1" "$tmp/run/$2"
}

good
expect 0 "igb: pass" "everything right"
good; edit '1200d' arrivals.tsv
expect 1 "FAIL: 1 frames lost" "one frame lost before the kexec"
good; edit '2000d' arrivals.tsv
expect 1 "FAIL: 1 frames lost" "one frame lost in the blackout"
good; edit '2000s/accepted/refused/' sends.tsv; edit '2000d' arrivals.tsv
expect 1 "FAIL: 1 frames refused" "one frame refused"
good; edit '1499,2502d' arrivals.tsv; edit '1499,2502d' sends.tsv
expect 1 "FAIL: 0 frames arrived in the blackout" "nothing sent in the blackout"
good; edit '2600s/\t0\t0\t/\t1\t0\t/' arrivals.tsv
expect 1 "frames in another NIC" "a frame in another NIC's buffer"
good; trace 5 "vtd_dmar_fault sid 0x20 fault 6 addr 0x10000000000 write 1"
expect 1 "FAIL: 1 IOMMU faults" "a fault in the blackout"
good; trace 5 "vtd_dmar_fault sid 0x28 fault 6 addr 0x10000000000 write 1"
expect 0 "igb: pass" "a fault of another device"
good; trace 5 "pci_cfg_write igb 00:04.0 @0x4 <- 0x103"
expect 1 "FAIL: bus mastering cleared 1" "bus mastering cleared"
good; trace 5 "pci_cfg_write igb 00:04.0 @0x4 <- 0x105"
expect 1 "FAIL: memory decoding cleared 1" "memory decoding cleared"
good; trace 5 "pci_cfg_write igb 00:04.0 @0x44 <- 0x3"
expect 1 "FAIL: sent to D3 1" "sent to D3"
good; trace 5 "pci_cfg_write igb 00:04.0 @0xa8 <- 0x8000"
expect 1 "FAIL: 1 device resets" "a function-level reset"
good; trace 5 "e1000e_core_ctrl_sw_reset Doing SW reset"
expect 1 "FAIL: 1 device resets" "a reset by register"
good; trace 5 "pci_cfg_write igb 00:04.0 @0x10 <- 0xffffffff"
expect 1 "FAIL: enumerated quietly: 1 config writes up to retrieving, the first one to 0x10" "a BAR was sized"
good; trace 5 "pci_cfg_write igb 00:04.0 @0xaa <- 0xf"; trace 5 "pci_cfg_write igb 00:04.0 @0x110 <- 0x1"
expect 0 "0 config writes up to retrieving, and 2 to status" "status that was cleared"
good; trace 5 "vtd_dmar_enable enable 0"
expect 1 "FAIL: translation switched off 1" "translation off"
good; trace 5 "vtd_ir_enable enable 0"
expect 1 "FAIL: interrupt remapping switched off 1" "interrupt remapping off"
good; trace 5 "vtd_dmar_translate dev 00:04.00 iova 0x10000000000 -> gpa 0x77000 mask 0xfff"
expect 1 "1 outside the memfds" "a translation beyond the memfds"
good; edit '1s/00:04.0/00:1f.0/' roots.tsv
expect 1 "FAIL: handover root: 1 devices" "a stranger in the handover root"
alias()
{
	good; printf 'aliases\t%d\n' "$1" >>"$tmp/run/run.tsv"
	sed -i '1{p;s/00:04.0/00:04.1/}' "$tmp/run/roots.tsv"
}
alias 1
expect 0 "ok    handover root: 1 of 1 DMA aliases" "a device that has a DMA alias"
alias 0
expect 1 "FAIL: handover root: 1 devices" "a device that should have no DMA alias"
alias 2
expect 1 "FAIL: handover root: 1 of 2 DMA aliases" "a DMA alias that is not there"
alias 1; edit '2s/0x5000/0x7000/' roots.tsv
expect 1 "FAIL: handover root: 0 of 1 DMA aliases" "a DMA alias with another table"
good; edit '3s/\t0$/\t9/' roots.tsv
expect 1 "1 that reach beyond the memfds" "a page table that reaches beyond the memfds"
good; edit '3s/0x5000/0x6000/' roots.tsv
expect 1 "1 without their table" "a root with another page table"
good; edit '2s/\t0\t0$/\t3\t0/' roots.tsv
expect 1 "FAIL: handover interrupt table: 3" "interrupts left in the handover table"
good; edit '2d' roots.tsv
expect 1 "FAIL: handover interrupt table" "no handover table of interrupts"
good; edit '1d' roots.tsv
expect 1 "FAIL: handover root" "no handover root before the new kernel"
good; : >"$tmp/run/roots.tsv"
expect 1 "FAIL: handover root" "no handover root"
good; edit '/attached/d' marks.tsv
expect 1 "FAIL  the new VMM holds the attached device" "never attached"
good; edit '/finish-end/d' marks.tsv
expect 1 "FAIL  the session was finished" "never finished"
good; edit '/restore-end/d' marks.tsv
expect 1 "FAIL: each phase has a beginning and an end, but for restore" "the end of a phase is not there"
good; edit '/mark\tdone/d' marks.tsv
expect 1 "FAIL: the machine went" "the guest program did not end"
good; edit 's/bad=0/bad=1/' marks.tsv
expect 1 "FAIL: cross-check" "the guest found a bad frame"
good; edit 's/frames=2549/frames=2400/' marks.tsv
expect 1 "FAIL: cross-check" "the guest found fewer frames"
good; printf '1005000000000\tfail\trestore: Invalid argument\n' >>"$tmp/run/marks.tsv"
expect 1 "FAIL: guest program: restore" "the guest program gave up"
good; printf '1005000000000\t[ 1.0] WARNING: CPU: 0 PID: 1 at x\n' >>"$tmp/run/console.tsv"
expect 1 "FAIL: kernel log" "a warning in the log"
good; edit 's/^timed_out.*/timed_out\t1/' counters.tsv
expect 1 "FAIL: the run ended" "a time-out"
# By 4 and 6 ms
good; edit '/begin_ns/s/.........$/004000000/' counters.tsv
expect 0 "set by -4.0 ms during the run" "the host's clock was set by less than matters"
good; edit '/begin_ns/s/.........$/006000000/' counters.tsv
expect 1 "FAIL: the host's time of day was set by -6.0 ms" "the host's clock was set"
good; edit '/begin_ns/s/\t.*/\t500006000000000/' counters.tsv
expect 1 "FAIL: the host's time of day was set by -6000.0 ms" "the host's clock was set by seconds"
good; edit '/begin_ns/d' counters.tsv
expect 1 "during the run: not known" "nobody has looked at the host's clock at the start"
good; edit '/vtd_dmar_fault/d' trace.log
expect 1 "FAIL: the IOMMU blocked" "nothing was blocked after the unmap"
good; printf '1014100000000\t0\t0\t2\t3\t5510\t5\t0x200000\n' >>"$tmp/run/arrivals.tsv"
expect 1 "FAIL: after its unmap" "a frame that arrived after the unmap"
good; edit '/written_when_unmapped/s/0$/1/' counters.tsv
expect 1 "FAIL: 1 of 1,024 buffers written to" "a buffer written to in part after the unmap"
good; edit '/written_when_unmapped/d' counters.tsv
expect 1 "FAIL: (not compared) of 1,024 buffers" "nobody has looked at the buffers after the unmap"
good; edit '/^unmapped_buffers/s/1024/0/' counters.tsv
expect 1 "FAIL: 0 of 0 buffers" "the watcher has no buffers that were unmapped"
good; edit '/qdev_reset_hold/d; /@0xa8/d' trace.log
expect 1 "FAIL: closed" "no reset on close"
good; edit '/<- 0x103/d' trace.log
expect 1 "FAIL: closed" "bus mastering left on"
good; edit "s/main/twice/" run.tsv
expect 1 "FAIL: kexec number 2" "twice: only one kexec"

# Two more live updates, from 6.5 and 8.0 s on: the good one's end is the third one's.
# jump MILLISECONDS: one that takes a second
jump()
{
	for step in 0:preserve-begin 10:preserve-end 100:vmm-last 600:init 700:retrieve-begin \
			710:retrieve-end 720:restore-end 800:attached \
			"810:checked frames=$((($1 - 300) / 2)) bad=0"; do
		mark $(($1 + ${step%%:*})) mark "${step#*:}"
	done
	printf '%d000000\t0x2000\tlegacy\t00:04.0\t7\t0x5000\t2000\t0\n' \
		$((1000110 + $1)) $((1000310 + $1)) >>"$tmp/run/roots.tsv"
	printf '%d000000\t0x9000\tinterrupts\t00:00.0\t0\t0x0\t0\t0\n' \
		$((1000110 + $1)) >>"$tmp/run/roots.tsv"
	printf '%d000000\t%s\n' $((1000120 + $1)) "Starting new kernel" \
		$((1000300 + $1)) "Linux version 7" >>"$tmp/run/console.tsv"
	sort -n -o "$tmp/run/roots.tsv" "$tmp/run/roots.tsv"
	sort -n -o "$tmp/run/console.tsv" "$tmp/run/console.tsv"
}
thrice()
{
	good; edit 's/main/twice/; $a jumps\t3' run.tsv
	for end in 6300 7700; do
		mark $end mark finish-begin
		mark $((end + 10)) mark finish-end
	done
	jump 6500
	jump 8000
}
thrice
expect 0 "igb: pass" "three live updates in a row"
figure iommu_faults 0 "the report has no faults of theirs"
thrice; trace 9 "vtd_dmar_fault sid 0x20 fault 6 addr 0x10000000000 write 1"
expect 1 "FAIL: 1 IOMMU faults" "a fault after the third jump"
figure iommu_faults 1 "the report has it"
thrice; trace 9 "vtd_dmar_enable enable 0"
expect 1 "FAIL: translation switched off 1" "translation off after the third jump"
figure translation_off 1 "the report has that"
thrice; edit '$d' console.tsv
expect 1 "FAIL: kexec number 3" "only two of three live updates"
# 31 of them are nowhere, and every line says so
thrice; edit "s/^devices.*/devices\t$(printf 'igb,%.0s' $(seq 31))igb/" run.tsv
expect 1 "FAIL  device 31: closed" "a report that is longer than 32 KiB has its end"

# From the shutdown of the old kernel on nothing arrives; only memory is taken back.
loses()
{
	good; edit "s/main/$1/" run.tsv
	edit '1500,$d' arrivals.tsv
	edit '/attached/d; /restore-end/d; /finish-/d; s/frames=2549/frames=1499/' marks.tsv
	trace 4 "pci_cfg_write igb 00:04.0 @0x4 <- 0x103"
	trace 4 "vtd_dmar_enable enable 0"
	sort -o "$tmp/run/trace.log" "$tmp/run/trace.log"
}
base()
{
	loses base
	mark 3500 info mark_errno=25
	mark 3510 info preserve_iommufd_errno=95
	mark 3520 info preserve_cdev_errno=95
}
base
expect 0 "lost as expected" "base: what it loses, and why"
base; edit '/mark_errno/d' marks.tsv
expect 1 "FAIL: the base kernel refuses: mark errno unknown" "base: it does not refuse"
base; edit '/<- 0x103/d' trace.log
expect 1 "FAIL: reason: bus mastering cleared 0" "base: bus mastering was not cleared"
base; edit '/enable 0/d' trace.log
expect 1 "FAIL: reason: translation switched off 0" "base: translation was not switched off"
base; edit '100d' arrivals.tsv
expect 1 "FAIL: up to kexec: 1,499 frames accepted, 1 lost" "base: a frame lost before"
good; edit 's/main/base/' run.tsv
expect 1 "FAIL: from then on: 0 frames lost" "base: nothing was lost"

aborted()
{
	loses aborted
	mark 1900 mark aborted
	mark 1950 mark remapped
}
aborted
expect 0 "undisturbed, then lost as expected" "aborted: undisturbed up to the jump"
aborted; edit '/aborted/d' marks.tsv
expect 1 "FAIL: the session was closed, map and unmap worked again" "aborted: never aborted"
aborted; edit '1200d' arrivals.tsv
expect 1 "FAIL: from then to kexec" "aborted: a frame lost after that"
aborted; trace 3 "e1000e_core_ctrl_sw_reset Doing SW reset"
expect 1 "FAIL: up to kexec: 0 faults, 1 resets" "aborted: the device was reset"

# NIC 1 receives until the old kernel has shut down, and is let loose from 5.2 s on.
unpreserved()
{
	good; edit 's/main/unpreserved/; s/igb/igb,igb/' run.tsv
	mark 500 info "dev=1 bdf=0000:00:06.0 pm=0x40 exp=0xa0"
	mark 5210 mark "bm-on nic=1"
	seq 2700 | awk -v dir="$tmp/run" '{
		t = 1000000000 + $1 * 2000
		printf "%.0f000\t1\t1\t%d\taccepted\n", t, $1 >>(dir "/sends.tsv")
		if ($1 < 1500)
			printf "%.0f000\t1\t1\t1\t1\t%d\t%d\t0x%x\n", t + 300, $1, $1, 268435456 + $1 * 2048 >>(dir "/arrivals.tsv")
	}'
	{
		echo "42@501000.500000:pci_cfg_write igb 00:06.0 @0x4 <- 0x107"
		echo "42@501004.005000:pci_cfg_write igb 00:06.0 @0x4 <- 0x103"
		echo "42@501005.200000:pci_cfg_write igb 00:06.0 @0x4 <- 0x107"
		echo "42@501005.300000:vtd_dmar_fault sid 0x30 fault 2 addr 0x10000000000 write 1"
	} >>"$tmp/run/trace.log"
	sort -o "$tmp/run/trace.log" "$tmp/run/trace.log"
	printf '1004900000000\tRequest device [0000:00:06.0] fault addr 0x1\n' >>"$tmp/run/console.tsv"
	printf '%s\t%d\n' buffers_nic1_gen1 32768 changed_buffers_nic1 0 \
		changed_ring_pages_nic1 0 ring_pages_nic1 128 >>"$tmp/run/counters.tsv"
}
unpreserved
expect 0 "blocked as expected" "unpreserved: one goes on, one is blocked"
unpreserved; edit '/dev=1/d' marks.tsv
expect 1 "FAIL: 1 devices in place, 1 missing" "unpreserved: no second NIC"
unpreserved; edit 's/buffers_nic1\t0/buffers_nic1\t1/' counters.tsv
expect 1 "FAIL: NIC 1: 1 buffers" "unpreserved: a buffer changed in the meantime"
unpreserved; edit '/sid 0x30/d' trace.log
expect 1 "FAIL: NIC 1: 0 DMAs blocked, 0 let through" "unpreserved: no DMA was blocked"
unpreserved; trace 5 "vtd_dmar_translate dev 00:06.00 iova 0x10000000000 -> gpa 0x100000 mask 0xfff"
edit 's/@501005.000001/@501005.400000/' trace.log
expect 1 "FAIL: NIC 1: 1 DMAs blocked, 1 let through" "unpreserved: a DMA was let through"
unpreserved; edit '/00:06.0 @0x4 <- 0x103/d' trace.log
expect 1 "FAIL: NIC 1 received 1,499 frames, then lost bus" "unpreserved: bus mastering was not cleared"
unpreserved; printf '1005000000000\t1\t1\t1\t1\t1501\t1501\t0x102ee800\n' >>"$tmp/run/arrivals.tsv"
expect 1 "FAIL: NIC 1: 1 frames in memory after" "unpreserved: a frame came after the shutdown"
unpreserved; printf '1004060000000\t1\t1\t1\t1\t1500\t1500\t0x102ee000\n' >>"$tmp/run/arrivals.tsv"
expect 0 "blocked as expected" "unpreserved: one sent before is seen late"
unpreserved; edit '/Request device/d' console.tsv
expect 1 "FAIL: NIC 1: the new kernel's log names it" "unpreserved: the log does not say so"

# The session is finished with nothing taken back, from 13.6 to 13.7 s; what is sent
# after that is for nobody, and from 14.5 s on the device is used anew.
discard()
{
	good; edit 's/main/discard/' run.tsv
	edit '/attached/d; /restore-end/d; /checked/d' marks.tsv
	edit 's/\t0\t3\t/\t0\t2\t/' sends.tsv
	edit 's/@501015.000000/@501013.650000/' trace.log
	for e in bind bind_again reset other_driver kexec; do
		mark 5930 info "${e}_errno=16"
	done
	mark 5940 mark refused
	mark 13900 info freed_kib=65600
	mark 14500 mark reopen
	mark 14900 mark "reopened frames=500"
	echo "42@501014.550000:pci_cfg_write igb 00:04.0 @0x4 <- 0x107" >>"$tmp/run/trace.log"
	seq 5533 5632 | awk -v dir="$tmp/run" '{
		t = 1014600000 + ($1 - 5533) * 2000
		printf "%.0f000\t0\t2\t%d\taccepted\n", t, $1 >>(dir "/sends.tsv")
		printf "%.0f000\t0\t0\t1\t2\t%d\t%d\t0x%x\n", t + 300, $1, $1, 1048576 + $1 * 1024 >>(dir "/arrivals.tsv")
	}'
	sort -o "$tmp/run/trace.log" "$tmp/run/trace.log"
}
discard
expect 0 "stopped as expected" "discard: stopped by FINISH, and used anew"
discard; edit '/refused/d' marks.tsv
expect 1 "FAIL: before FINISH" "discard: nothing was tried before FINISH"
discard; edit 's/kexec_errno=16/kexec_errno=0/' marks.tsv
expect 1 "FAIL: and kexec is errno 0" "discard: kexec was not refused"
discard; edit '/qdev_reset_hold/d; /@0xa8/d' trace.log
expect 1 "FAIL: FINISH: 0 device resets" "discard: FINISH does not reset it"
discard; edit '/<- 0x103/d' trace.log
expect 1 "FAIL: FINISH: 1 device resets, bus mastering still on" "discard: FINISH does not stop it"
discard; printf '1014100000000\t0\t0\t1\t2\t5510\t5\t0x200000\n' >>"$tmp/run/arrivals.tsv"
expect 1 "FAIL: from then on: 32 frames sent to it, 1 arrived" "discard: a frame sent after FINISH arrived"
discard; edit '5500s/^[0-9]*/1013950000000/' arrivals.tsv
expect 0 "stopped as expected" "discard: one sent before is seen late"
discard; printf '1014560000000\t0\t0\t1\t2\t5510\t5\t0x200000\n' >>"$tmp/run/arrivals.tsv"
expect 0 "stopped as expected" "discard: one that has waited goes to the device that is used anew"
discard; edit 's/freed_kib=65600/freed_kib=100/' marks.tsv
expect 1 "FAIL: 100 KiB became free" "discard: its memory does not become free"
discard; edit '$d' arrivals.tsv
expect 1 "FAIL: opened anew: 100 frames accepted, 1 lost" "discard: a frame lost when used anew"

# Several devices, each at its own place
good two
expect 0 "second-stage, igb,nvme: pass" "a card and a drive"
good two; edit '6200d' arrivals.tsv
expect 1 "FAIL: device 1, nvme at 00:06.0: 2500 frames sent, 500 in the blackout, 1251 after, 1 lost" "a read of the second device lost"
good two; edit '2000d' arrivals.tsv
expect 1 "FAIL: device 0, igb at 00:04.0: 5500 frames sent, 999 in the blackout, 3001 after, 1 lost" "a frame of the first device lost"
good two; edit '/completion cid 1000 /d' trace.log
expect 1 "FAIL: drives: 2,500 reads taken, 2,499 completed" "a read without its completion"
good two; edit '/completion cid 1000 /s/status 0x0/status 0x4/' trace.log
expect 1 "2,499 completed, 1 failed" "a read that failed"
good two; trace 5 "pci_nvme_err_addr_write addr 0x10200000000"
expect 1 "1 completions not written" "a completion that could not be written"
good two; trace 5 "pci_nvme_pci_reset PCI Function Level Reset"
expect 1 "FAIL: device 1, nvme" "the drive was reset"
good two; trace 5 "pci_nvme_mmio_stopped cleared controller enable bit"
expect 1 "FAIL: device 1, nvme" "the drive was stopped by register"
good two; trace 5 "e1000e_cb_qdev_reset_hold E1000E qdev reset hold"
expect 1 "FAIL: device 0, igb" "the card was reset"
good two; trace 5 "vtd_dmar_fault sid 0x30 fault 6 addr 0x10000000000 write 1"
expect 1 "FAIL: device 1, nvme" "a fault of the second device"
good two; trace 5 "pci_cfg_write nvme 00:06.0 @0x4 <- 0x103"
expect 1 "bus mastering cleared 1 times" "bus mastering of the second device cleared"
good two; trace 5 "pci_cfg_write nvme 00:06.0 @0x64 <- 0x3"
expect 1 "D3 1" "the second device sent to D3"
good two; edit 's/00:06.0\t8/01:06.0\t8/' roots.tsv
expect 1 "FAIL: handover root: 1 devices in it that were not preserved, 1 of 2" "a wrong requester id in the handover root"
good two; edit '/00:06.0/d' roots.tsv
expect 1 "FAIL: handover root: 0 devices in it that were not preserved, 1 of 2" "the second device is not in the handover root"
good two; edit '/00:06.0/{x;s/^/x/;/^xx$/{x;d};x}' roots.tsv
expect 1 "1 without their table" "a later root without the second device"
good two; edit '/dev=1/d' marks.tsv
expect 1 "FAIL: 1 devices in place, 1 missing" "a device nobody has reported"
good two; printf '1005800000000\tinfo\tdev=1 bdf=0000:01:06.0 pm=0x60 exp=0x80\n' >>"$tmp/run/marks.tsv"
expect 1 "FAIL: 1 devices in place, 0 missing, 1 moved" "a device that is elsewhere in the new kernel"
good two; edit '/nic1_checked/d' marks.tsv
expect 1 "FAIL: device 1: cross-check" "the guest did not look at the second device's memory"
good two; edit 's/nic1_checked=1250/nic1_checked=1200/' marks.tsv
expect 1 "FAIL: device 1: cross-check" "the guest found less of the second device"
good two; edit '/buffers_nic1/d' counters.tsv
expect 1 "not those of all devices" "the watcher did not find the second device's buffers"
good two; edit '/buffers_nic1_gen2/d' counters.tsv
expect 1 "FAIL: device 1: a second memfd" "no second memfd of the second device"
good two; edit '/sid 0x30/d' trace.log
expect 1 "FAIL: device 1: the IOMMU blocked and reported it: 0" "the second device was not blocked after its unmap"
good two; edit '/pci_nvme_pci_reset/d' trace.log
expect 1 "FAIL: device 1: closed: device not reset, bus mastering off" "the second device was not reset on close"
good two; edit '/pci_nvme_pci_reset/d' trace.log; edit 's/dev=1.*/& reset=flr,bus/' marks.tsv
expect 1 "FAIL: device 1: closed: device not reset, bus mastering off" "the second device, which has FLR, was not reset"
good two; edit '/pci_nvme_pci_reset/d' trace.log; edit 's/dev=1.*/& reset=pm,bus/' marks.tsv
expect 0 "device 1: closed: device without a way to reset, bus mastering off" "the kernel resets it by D3 first, which QEMU takes for nothing"
good two; edit '/nvme 00:06.0 @0x4 <- 0x103/d' trace.log
expect 1 "FAIL: device 1: closed: device reset, bus mastering still on" "bus mastering of the second device left on"

# The second device is another VMM's, which has it from 14.2 to 14.3 s, or never.
vmms()
{
	good two; edit 's/main/vmms/' run.tsv
	case $1 in
	late)	mark 14100 mark vmm1-retrieve-begin
		mark 14120 mark vmm1-retrieve-end
		mark 14150 mark vmm1-attached ;;
	esac
	case $1 in
	late|discard)
		mark 14200 mark vmm1-finish-begin
		mark 14300 mark vmm1-finish-end ;;
	left)	mark 14300 mark vmm1-left
		edit '/00:06.0 @0x4 <- 0x103/d; /pci_nvme_pci_reset/d; /sid 0x30/d' trace.log ;;
	esac
}
for others in late discard left; do
	vmms $others
	expect 0 "second-stage, igb,nvme: pass" "two VMMs, the other one: $others"
done
vmms discard; edit '/nvme 00:06.0 @0x4 <- 0x103/d' trace.log
expect 1 "FAIL: VMM 1 never came, its session was finished: 1 device resets, bus mastering still on" "its device was not stopped"
vmms late; edit '/pci_nvme_pci_reset/d' trace.log
expect 1 "FAIL: VMM 1 came late and went: 0 device resets" "its device was not reset"
vmms left; trace 14 "pci_nvme_pci_reset PCI Function Level Reset"; edit 's/14.000001:pci_nvme/14.400001:pci_nvme/' trace.log
expect 1 "FAIL  VMM 1 never came: bus mastering on, 1 resets" "its device was reset although nobody came"
vmms late; trace 13 "vtd_dmar_fault sid 0x30 fault 6 addr 0x10000000000 write 1"; edit 's/13.000001:vtd/13.900001:vtd/' trace.log
expect 1 "FAIL: device 1, nvme" "the end of the first VMM disturbs the other one's device"
vmms late; edit '/\tattached/d' marks.tsv
expect 1 "FAIL  the new VMM holds the attached device" "the first VMM never attached"

# The first one is a card with ATS, at bus 1 behind a port
ats()
{
	good
	edit 's/igb/virtio/; $a place\tport' run.tsv
	edit 's/00:04\.0/01:00.0/; s/exp=0xa0/& ats=0x100/' marks.tsv
	edit 's/00:04\.0/01:00.0/' roots.tsv
	edit 's/00:04\.0/01:00.0/; s/sid 0x20/sid 0x100/' trace.log
	echo "42@501000.500000:pci_cfg_write pcie-root-port 00:04.0 @0x4 <- 0x107" >>"$tmp/run/trace.log"
	echo "42@501000.600000:pci_cfg_write virtio-net-pci 01:00.0 @0x106 <- 0x8000" >>"$tmp/run/trace.log"
	echo "42@501014.990000:virtio_set_status vdev 0x1 val 0" >>"$tmp/run/trace.log"
	[ "$1" = none ] || echo "42@50100$1:vtd_inv_desc invalidate desc type device high 0x7ffffffffffff001 low 0x10000000003" >>"$tmp/run/trace.log"
	sort -o "$tmp/run/trace.log" "$tmp/run/trace.log"
}
ats 5.990000
expect 0 "device TLB flushed 1 times, 0 of them before" "ATS on, its TLB flushed once at the end"
ats none
expect 1 "FAIL: device 0: ATS is on, turned off 0 times since the jump; device TLB flushed 0" "the device TLB was not flushed"
ats 5.500000
expect 1 "flushed 1 times, 1 of them before it was taken back" "the device TLB was flushed too early"
ats 5.990000; edit '/vtd_inv_desc/p' trace.log
expect 1 "device TLB flushed 2 times" "the device TLB was flushed twice"
ats 5.990000; edit '/vtd_inv_desc/s/0x10000000003/0x20000000003/' trace.log
expect 1 "device TLB flushed 0 times" "the TLB of another device was flushed"
ats 5.990000; edit '/vtd_inv_desc/s/0x7ffffffffffff001/0x10000000000/' trace.log
expect 1 "device TLB flushed 0 times" "a page of the device TLB was flushed"
ats 5.990000; trace 5 "pci_cfg_write virtio-net-pci 01:00.0 @0x106 <- 0x0"
expect 1 "FAIL: device 0: ATS is off, turned off 1 times" "ATS was turned off"
ats 5.990000; edit '/@0x106/d; /vtd_inv_desc/d' trace.log
expect 1 "FAIL: device 0: ATS is off, turned off 0 times" "ATS was never on"

# The card is behind a port, which has to let its DMA through
port()
{
	good; printf 'place\tport\n' >>"$tmp/run/run.tsv"
	[ "$1" = none ] || trace 0 "pci_cfg_write pcie-root-port 00:1c.0 @0x4 <- 0x$1"
}
port 107
expect 0 "1 ports: bus mastering cleared 0 times, off at 0 of them" "a port that stays as it is"
port 107; trace 4 "pci_cfg_write pcie-root-port 00:1c.0 @0x4 <- 0x103"; trace 5 "pci_cfg_write pcie-root-port 00:1c.0 @0x4 <- 0x107"
expect 1 "FAIL: 1 ports: bus mastering cleared 1 times, off at 0" "bus mastering of a port cleared for a while"
port 103
expect 1 "FAIL: 1 ports: bus mastering cleared 0 times, off at 1" "bus mastering of a port never on"
port 107; trace 5 "pci_cfg_write pcie-root-port 00:1c.0 @0x3e <- 0x43"
expect 1 "1 resets of the bus below" "a reset of the bus below a port"
port none
expect 1 "FAIL: 0 ports" "a port that is not there"

# What the log has to say
good; printf 'log2\tthe hardware wins\n' >>"$tmp/run/run.tsv"
expect 1 "FAIL: the new kernel says: the hardware wins" "a line missing in the new kernel's log"
good; printf 'log2\tthe hardware wins\n' >>"$tmp/run/run.tsv"; printf '1005000000000\tDMAR: the hardware wins\n' >>"$tmp/run/console.tsv"
expect 0 "pass" "the line is there"
good; printf 'log2\tthe hardware wins\n' >>"$tmp/run/run.tsv"; edit '1s/^/1000100000000\tDMAR: the hardware wins\n/' console.tsv
expect 1 "FAIL: the new kernel says" "only the old kernel says it"
good; printf 'log2\tigb & Linux version\n' >>"$tmp/run/run.tsv"
expect 1 "FAIL: the new kernel says: igb" "the first of two lines is missing"
good; printf 'log2\tLinux version & wins\n' >>"$tmp/run/run.tsv"
expect 1 "FAIL: the new kernel says: wins" "the second of two lines is missing"
good; printf 'log2\tLinux & version\n' >>"$tmp/run/run.tsv"
expect 0 "ok    the new kernel says: version" "both of them are there"
good; printf 'intremap\toff\n' >>"$tmp/run/run.tsv"
expect 1 "FAIL: no table of interrupts" "a table of interrupts without remapping"

# A refusal: made of the run up to preserve
refused()
{
	good
	sed -i 's/main/refused/' "$tmp/run/run.tsv"
	printf 'reason\tshares its group\n' >>"$tmp/run/run.tsv"
	sed -i '/preserve-end/,$d' "$tmp/run/marks.tsv"
	printf '%s\n' '1003600000000	info	preserve_errno=95' '1003700000000	info	frames_after_failed_preserve=100' \
		'1003800000000	fail	preserve cdev of NIC 0: failed; the device goes on receiving: Operation not supported (errno 95)' >>"$tmp/run/marks.tsv"
	printf '1003600000000\tvfio-pci: shares its group\n' >>"$tmp/run/console.tsv"
}
refused
expect 0 "refused as expected" "a refusal with its reason"
lacks "no failure reported" "and its report does not say that nothing failed"
refused; edit '/shares its group/d' console.tsv
expect 1 "FAIL: the log says why" "a refusal without a reason"
refused; edit 's/preserve_errno=95/preserve_errno=16/' marks.tsv
expect 1 "FAIL: refused" "a refusal with another errno"
refused; edit 's/failed; the device goes on/no frame/' marks.tsv
expect 1 "FAIL: refused" "a failure that is no refusal"
refused; edit '/\tfail\t/d' marks.tsv
expect 1 "FAIL: refused: no, it worked" "it was not refused"
refused; edit '1200d' arrivals.tsv
expect 1 "FAIL: the device goes on" "a frame lost around the refusal"
refused; edit '/vtd_dmar_translate/d' trace.log
expect 1 "FAIL: 0 translations up to then" "the device did no DMA at all"
refused; edit 's/preserve=100/preserve=9/' marks.tsv
expect 1 "FAIL: the device goes on" "the device stops after the refusal"
refused; trace 3 "e1000e_core_ctrl_sw_reset Doing SW reset"
expect 1 "FAIL: undisturbed: 0 faults, 1 resets" "the device was reset on the way"

. "$vm_dir/judge-partly-cases.sh"

echo "1..$n"
[ $failed = 0 ]
