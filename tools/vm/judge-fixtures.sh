# SPDX-License-Identifier: GPL-2.0
# Sourced by judge-test.sh: made-up runs in which everything is right, $tmp/good and
# $tmp/two.

# Times are microseconds, the last three digits of the files' nanoseconds are 0.
# Frames 1 to 3000 go into the first memfd, 3001 to 3500 into the second, the
# rest is sent after the unmap. The blackout is from 4.0 s to 6.0 s.
mkdir "$tmp/good"
awk -v dir="$tmp/good" -v realtime=500000000000 '
	function at(s) { return 1000000000 + s * 1000000 }
	function mark(s, kind, text) { printf "%.0f000\t%s\t%s\n", at(s), kind, text >(dir "/marks.tsv") }
	function console(s, text) { printf "%.0f000\t%s\n", at(s), text >(dir "/console.tsv") }
	function trace(s, text,  t) {
		t = at(s) + realtime
		printf "42@%d.%06d:%s\n", int(t / 1000000), t % 1000000, text >(dir "/trace.log")
	}
	function config(s, nic, reg, val) { trace(s, "pci_cfg_write igb 00:0" nic ".0 @0x" reg " <- 0x" val) }
	function root(s, addr) {
		trace(s, "vtd_reg_dmar_root addr 0x" addr " scalable 0")
		printf "%.0f000\t0x%s\tlegacy\t00:04.0\t7\t0x5000\t2000\t0\n", at(s + 0.001), addr >(dir "/roots.tsv")
	}
	function send(s, stage, seq, arrives) {
		printf "%.0f000\t0\t%d\t%d\taccepted\n", at(s), stage, seq >(dir "/sends.tsv")
		if (!arrives) {
			trace(s + 0.0002, "vtd_dmar_fault sid 0x20 fault 6 addr 0x10000000000 write 1")
			return
		}
		printf "%.0f000\t0\t0\t%d\t%d\t%d\t%d\t0x%x\n", at(s + 0.0003), stage, stage, seq, seq, 1048576 + seq * 2048 >(dir "/arrivals.tsv")
		trace(s + 0.0002, sprintf("vtd_dmar_translate dev 00:04.00 iova 0x%x -> gpa 0x%x mask 0xfff", 1099511627776 + seq * 2048, 1048576 + seq * 2048))
	}
	function interrupts(s, n) { printf "%.0f000\t0x9000\tinterrupts\t00:00.0\t0\t0x0\t%d\t0\n", at(s), n >(dir "/roots.tsv") }
	BEGIN {
		trace(0.1, "vtd_dmar_enable enable 1"); trace(0.1, "vtd_ir_enable enable 1")
		trace(0.1, "vtd_reg_dmar_root addr 0x1000 scalable 0")
		config(0.5, 4, "4", "107"); mark(0.6, "mark", "vmm-start")
		mark(0.5, "info", "dev=0 bdf=0000:00:04.0 pm=0x40 exp=0xa0")
		mark(3.0, "mark", "streaming"); mark(3.5, "mark", "preserve-begin"); mark(3.6, "mark", "preserve-end")
		mark(4.0, "mark", "vmm-last"); root(4.005, "2000"); interrupts(4.006, 0)
		console(0.2, "Linux version 7"); console(4.008, "DMAR: live update: dmar0: handed over"); console(4.01, "Starting new kernel"); console(4.8, "Linux version 7")
		root(5.0, "2000"); interrupts(5.1, 4)
		mark(5.8, "mark", "init"); mark(5.8, "info", "dev=0 bdf=0000:00:04.0 pm=0x40 exp=0xa0")
		 mark(5.9, "mark", "retrieve-begin"); mark(5.95, "mark", "retrieve-end")
		mark(5.98, "mark", "restore-end"); mark(6.0, "mark", "attached")
		mark(6.1, "mark", "checked frames=2549 bad=0")
		for (i = 1; i <= 5000; i++) send(1 + i * 0.002, 1, i, 1)
		for (; i <= 5500; i++) send(2 + i * 0.002, 2, i, 1)
		mark(13.5, "mark", "second-received frames=500")
		mark(13.6, "mark", "finish-begin"); mark(13.7, "mark", "finish-end"); mark(13.8, "mark", "unmapped")
		for (; i <= 5532; i++) send(3 + i * 0.002, 3, i, 0)
		config(15.0, 4, "4", "103"); config(15.0, 4, "a8", "8000"); trace(15.0, "e1000e_cb_qdev_reset_hold E1000E qdev reset hold")
		mark(15.1, "mark", "closed"); mark(15.2, "mark", "done")
		for (i = 0; i < 2800; i++) printf "0x%x\tbuffer\t0\t1\t%d\n", 1048576 + i * 4096, i >(dir "/pages.tsv")
		printf "case\tmain\nmode\tlegacy\ndevices\tigb\nrate\t500\naccel\ttcg\nkernel\tx\ndebug\t0\nqemu\t10\n" >(dir "/run.tsv")
		printf "realtime_minus_monotonic_begin_ns\t%.0f000\nrealtime_minus_monotonic_ns\t%.0f000\ntimed_out\t0\nbuffers_nic0_gen1\t32768\nbuffers_nic0_gen2\t1024\nunmapped_buffers\t1024\nwritten_when_unmapped\t0\n", realtime, realtime >(dir "/counters.tsv")
	}'

# The same with a second device: a drive, whose reads 1 to 2500 QEMU takes one by
# one. Its stream number is 1.
cp -r "$tmp/good" "$tmp/two"
awk -v dir="$tmp/two" -v realtime=500000000000 '
	function at(s) { return 1000000000 + s * 1000000 }
	function trace(s, text,  t) {
		t = at(s) + realtime
		printf "42@%d.%06d:%s\n", int(t / 1000000), t % 1000000, text >>(dir "/trace.log")
	}
	function root(s, addr) { printf "%.0f000\t0x%s\tscalable\t00:06.0\t8\t0x6000\t2000\t0\n", at(s + 0.001), addr >>(dir "/roots.tsv") }
	BEGIN {
		printf "%.0f000\tinfo\tdev=1 bdf=0000:00:06.0 pm=0x60 exp=0x80\n", at(0.5) >>(dir "/marks.tsv")
		printf "%.0f000\tinfo\tnic1_checked=1250\n", at(6.05) >>(dir "/marks.tsv")
		trace(0.5, "pci_cfg_write nvme 00:06.0 @0x4 <- 0x107")
		for (i = 1; i <= 2500; i++) {
			gpa = 268435456 + i * 2048
			trace(1 + i * 0.004, sprintf("pci_nvme_read cid %d nsid 1 nlb 4 count 2048 lba 0x%x", i, (32768 + i - 1) * 4))
			trace(1 + i * 0.004, sprintf("vtd_dmar_translate dev 00:06.00 iova 0x%x -> gpa 0x%x mask 0xfff", 1108101562368 + i * 2048, gpa))
			trace(1.0005 + i * 0.004, "pci_nvme_enqueue_req_completion cid " i " cqid 1 dw0 0x0 dw1 0x0 status 0x0")
			printf "%.0f000\t1\t1\t1\t1\t%d\t%d\t0x%x\n", at(1.0003 + i * 0.004), i, i, gpa >>(dir "/arrivals.tsv")
		}
		for (i = 0; i < 1400; i++) printf "0x%x\tbuffer\t1\t1\t%d\n", 268435456 + i * 4096, i >>(dir "/pages.tsv")
		root(4.005, "2000"); root(5.0, "2000")
		# After the end of the session, into what is not mapped any more
		for (i = 31745; i <= 31748; i++) {
			trace(14.5 + i * 0.000002, sprintf("pci_nvme_read cid %d nsid 1 nlb 4 count 2048 lba 0x%x", i, (32768 + i - 1) * 4))
			trace(14.5 + i * 0.000002, "vtd_dmar_fault sid 0x30 fault 6 addr 0x10200000000 write 1")
		}
		trace(15.05, "pci_cfg_write nvme 00:06.0 @0x4 <- 0x103"); trace(15.05, "pci_nvme_pci_reset PCI Function Level Reset")
		printf "buffers_nic1_gen1\t32768\nbuffers_nic1_gen2\t1024\n" >>(dir "/counters.tsv")
	}'
sed -i 's/igb/igb,nvme/; s/legacy/second-stage/' "$tmp/two/run.tsv"
for f in trace.log roots.tsv; do sort -o "$tmp/two/$f" "$tmp/two/$f"; done
