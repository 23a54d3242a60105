# SPDX-License-Identifier: GPL-2.0
# Sourced by judge-test.sh: cases in which something does not come back, or comes late.

# partly BACK STOPPED 0|1: what should come back, when the rest stops, did it?
partly()
{
	good; edit 's/main/partly/' run.tsv
	printf 'back\t%s\nstopped\t%s\n' "$1" "$2" >>"$tmp/run/run.tsv"
	printf '1005900000000\tinfo\tnic0_back=%s step m: errno 5\n' "$3" >>"$tmp/run/marks.tsv"
}
partly 0 boot 1
expect 0 "contained as expected" "what should come back did"
partly none boot 1
expect 1 "FAIL: device 0 came back" "what should not come back did"
partly 0 boot 0
expect 1 "FAIL: device 0 did not come back: step m: errno 5" "what should come back did not"
partly none boot 0
expect 1 "FAIL: device 0: from then on" "what did not come back is not blocked"
partly 0 boot 1; edit '1200d' arrivals.tsv
expect 1 "FAIL: device 0, igb" "what came back has lost a frame"
partly 0 boot 1; mark 6050 info nic0_cut=1
expect 1 "FAIL: device 0: 1 frames reported that it could not write" "what came back has reported one that is not there"

# What does not come back is blocked at 5.0 s, before user space is up
blocked()
{
	partly none boot 0
	edit '2000,$d' arrivals.tsv
	edit '/@50100[5-9][.0-9]*:vtd_dmar_translate/d; /@50101[.0-9]*:vtd_dmar_translate/d' trace.log
	mark 15050 mark quiet
}
fault="vtd_dmar_fault sid 0x20 fault 2 addr 0x10000000000 write 1"
blocked; trace 6 "$fault"
expect 0 "device 0: blocked, bus mastering on, 1 faults" "its DMA is blocked and reported"
blocked; trace 5 "pci_cfg_write igb 00:04.0 @0x4 <- 0x103"
expect 0 "device 0: blocked, bus mastering off, 0 faults" "its bus mastering is off"
blocked; trace 6 "$fault"; edit '/@0x4 <- 0x103/d' trace.log
expect 1 "FAIL: device 0: bus mastering still on after FINISH" "its bus mastering stays on"
blocked; trace 6 "$fault"; edit '/@0x4 <- 0x103/d' trace.log; printf 'guest\t--forgotten\n' >>"$tmp/run/run.tsv"
expect 0 "device 0: bus mastering still on after FINISH" "as nobody knows of it any more"
blocked
expect 1 "FAIL: device 0: blocked, bus mastering on, 0 faults" "it has died by itself"
blocked; trace 6 "pci_cfg_write igb 00:04.0 @0x4 <- 0x103"
expect 1 "FAIL: device 0: blocked, bus mastering on, 0 faults" "it is stopped after user space is up"
blocked; trace 6 "$fault"; mark 6050 info nic0_cut=33
expect 0 "device 0: 33 frames reported that it could not write, 33 faults" "frames reported that it could not write"
blocked; trace 6 "$fault"; mark 6050 info nic0_cut=34
expect 1 "FAIL: device 0: 34 frames reported that it could not write, 33 faults" "more of them than faults"
finished()
{
	partly none finish 0
	edit 's/\t0\t3\t/\t0\t2\t/' sends.tsv
	mark 15050 mark quiet
}
finished
expect 0 "contained as expected" "it is stopped by FINISH"
finished; mark 6050 info nic0_cut=1
expect 1 "FAIL: device 0: 1 frames reported that it could not write" "one that runs up to FINISH has reported a frame that is not there"
# By who comes for it, who is done at 6.0 s
blocked; edit 's/boot/retrieve/' run.tsv; trace 7 "$fault"
expect 0 "device 0: blocked, bus mastering on, 1 faults" "its DMA is blocked when it is retrieved"
blocked; edit 's/boot/retrieve/' run.tsv; trace 5 "pci_cfg_write igb 00:04.0 @0x4 <- 0x103"
expect 0 "device 0: blocked, bus mastering off, 0 faults" "its bus mastering is off when it is retrieved"
blocked; edit 's/boot/retrieve/' run.tsv; trace 6 "pci_cfg_write igb 00:04.0 @0x4 <- 0x103"
expect 1 "FAIL: device 0: blocked, bus mastering on, 0 faults" "it is stopped later"
partly none retrieve 0
expect 1 "FAIL: device 0: from then on" "it is not blocked when it is retrieved"
partly 0 boot 1; printf 'damage\tx\nlog2\tLinux\n' >>"$tmp/run/run.tsv"
expect 1 "FAIL: damage done: unknown" "nothing was damaged"
partly 0 boot 1; printf 'guest\t--forge\n' >>"$tmp/run/run.tsv"
expect 1 "FAIL: 0 interrupts forged" "no interrupt was forged"
echo "42@501004.500000:vtd_ir_remap_msi_req addr 0xfeee0010 data 0x1" >>"$tmp/run/trace.log"
sort -o "$tmp/run/trace.log" "$tmp/run/trace.log"
expect 0 "1 of them with no kernel running, 0 let through" "a forged interrupt that was stopped"
echo "42@501004.500000:vtd_ir_remap_msi (addr 0xfeee0010, data 0x1) -> (addr 0xfee00000, data 0x31)" >>"$tmp/run/trace.log"
sort -o "$tmp/run/trace.log" "$tmp/run/trace.log"
expect 1 "1 of them with no kernel running, 1 let through" "a forged interrupt that was let through"

# The only device is taken out of its slot, after the session: no frame comes then
unplugged()
{
	partly none unplug 0
	edit 's/\t0\t3\t/\t0\t2\t/' sends.tsv
	printf 'guest\t%s\n' "$1" >>"$tmp/run/run.tsv"
	printf '%s\n' '1013900000000	mark	unplug nic=0' '1013980000000	info	deleted0=1' \
		'1014000000000	mark	unplugged nic=0' >>"$tmp/run/marks.tsv"
}
unplugged --pull
expect 0 "contained as expected" "a device that was pulled out"
unplugged --button
expect 1 "FAIL: device 0: bus mastering on before it went" "one that runs when its slot is switched off"
unplugged --button; trace 13 "pci_cfg_write igb 00:04.0 @0x4 <- 0x103"
expect 0 "the button of its slot pressed, gone" "one that is stopped first"
unplugged --pull; edit '/deleted0/d' marks.tsv
expect 1 "FAIL: device 0: pulled out of its slot, it is still there" "one that QEMU still has"
unplugged --pull; edit '/unplugged/d' marks.tsv
expect 1 "FAIL: device 0 was not unplugged" "one that the kernel still has"
unplugged --pull; edit 's/1014000000000/1013000000000/' marks.tsv
expect 1 "FAIL: device 0: from then on" "one that receives all the same"
unplugged --pull; printf 'log1\tbutton\n' >>"$tmp/run/run.tsv"
expect 1 "FAIL: the first kernel says: button" "a line missing in the first kernel's log"

# When all is frozen its driver is unbound, or somebody tries to
unbound()
{
	good; printf 'guest\t--unbind\n' >>"$tmp/run/run.tsv"
}
unbound; mark 4005 mark unbind
expect 0 "ok    too late to be unbound: the machine has jumped" "a driver that is unbound when it is too late"
unbound
expect 1 "FAIL: too late to be unbound: nobody has tried to" "nobody has tried to"
unbound; mark 3900 mark unbind
expect 1 "FAIL: too late to be unbound: it was not" "a driver that is unbound in time"
unbound; mark 4009 mark unbind
expect 1 "FAIL: too late to be unbound: it was not" "when nobody waits for the device any more"
unbound; mark 4005 mark unbind; mark 4008 mark unbound
expect 1 "FAIL: too late to be unbound: it was all the same" "a driver that lets go"

# A device that comes after FINISH
plugged()
{
	finished; printf 'guest\t--plug x\n' >>"$tmp/run/run.tsv"
	mark 13750 mark plug
	mark 13800 info "late_command=$1"
	mark 13850 mark plugged
}
plugged 0x3
expect 0 "a device plugged in after FINISH: command register 0x3, it can be opened" "a device that is plugged in late"
plugged 0x7
expect 1 "FAIL: a device plugged in after FINISH: command register 0x7" "its bus mastering is on"
plugged 0x3; edit '/plugged/d' marks.tsv
expect 1 "it cannot be opened" "it cannot be opened"
plugged 0x3; edit '/late_command/d' marks.tsv
expect 1 "FAIL: a device plugged in after FINISH: command register unknown" "nobody has seen it"

# One more kernel, given nothing, from 15.0 s on
cold()
{
	finished; printf 'guest\t--cold\n' >>"$tmp/run/run.tsv"
	printf '%s\n' '1015060000000	kexec: Starting new kernel' \
		'1015090000000	Linux version 7' >>"$tmp/run/console.tsv"
}
cold; echo "42@501015.070000:vtd_dmar_enable enable 0" >>"$tmp/run/trace.log"
expect 0 "ok    the next kernel is given nothing: it is up, translation switched off 1 times before" "translation is off for a kernel that is given nothing"
cold
expect 1 "FAIL: the next kernel is given nothing: it is up, translation switched off 0 times" "translation stays on"
cold; edit '$d' console.tsv
expect 1 "FAIL: the next kernel is given nothing: it never was" "the next kernel never was"
