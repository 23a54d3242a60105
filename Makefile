# SPDX-License-Identifier: GPL-2.0
#
# The workshop of the series. Everything happens in scripts under tools/, each
# with --help; what they make is in build/.

BUILD   ?= $(CURDIR)/build
KERNEL  ?=
CASE    ?= main
RATE    ?=
ACCEL   ?=
DEBUG   ?=
MODE    ?= legacy
IOMMU   ?=
INTREMAP ?= on
APPEND  ?=
APPEND2 ?=
KERNEL2 ?=
LOG2    ?=
DEVICES ?=
PLACE   ?= root
GUEST   ?=
REASON  ?=
MEMORY  ?=
CASES   ?=
QUICK   ?=
SECONDS ?=
UPDATES ?=
FORCE   ?=
NEW_BASE ?=
V       ?=
SAMPLE  ?=
CONFIGS ?=
SUITES  ?= all
export BUILD KERNEL CASE RATE ACCEL DEBUG MODE IOMMU INTREMAP APPEND APPEND2 KERNEL2 LOG2
export DEVICES PLACE GUEST REASON MEMORY
# Empty is not the same as not given
ifeq ($(ACCEL),)
unexport ACCEL
endif

.DEFAULT_GOAL := help
.PHONY: help setup base tree sync series kernel initramfs run matrix failures soak bench check suites \
	checkpatch docs bisect-check bloat clean distclean

help:
	@echo 'Show it:'
	@echo '  make run         from nothing to a live update with the NIC running, and its report:'
	@echo '                   setup, base, tree, kernel, initramfs, then QEMU and the judge'
	@echo '    CASE=main        preserve, kexec, restore (the default)'
	@echo '    CASE=base        the unpatched kernel: what is lost, and why'
	@echo '    CASE=unpreserved two NICs, only the first preserved'
	@echo '    CASE=aborted     preserved, then taken back, then kexec'
	@echo '    CASE=twice       two updates in a row'
	@echo '    CASE=discard     the new kernel ends the session without taking anything back'
	@echo '    RATE=500         frames per second and NIC'
	@echo '    ACCEL=           QEMU accelerator (default: tcg,thread=single)'
	@echo '    DEBUG=1          the debug kernel (KASAN, lockdep, ...)'
	@echo '    DEVICES=igb      what streams: igb, e1000e, virtio, nvme, up to 32 with commas between'
	@echo '    PLACE=root       where: root, port, slot, switch, pci-bridge'
	@echo '    GUEST=           options of the guest program, like "--share hwpt"'
	@echo '    MODE=legacy      mode of VT-d: legacy, second-stage, first-stage (both scalable)'
	@echo '    IOMMU=           more properties of intel-iommu, like aw-bits=48,caching-mode=on'
	@echo '    INTREMAP=on      interrupt remapping: on or off'
	@echo '    APPEND=          more words for the command lines'
	@echo '    APPEND2=         more words for that of the new kernel; -WORD takes one away'
	@echo '    KERNEL2=other    another kernel to jump to: a file, or what tools/vm/build.sh has built'
	@echo '    MEMORY=2048      MB of the machine; the rest of it: tools/vm/run.sh --help'
	@echo '  make matrix      all kinds of machines, modes and kernels, one table, a row a case'
	@echo '    CASES="a b"      only these (tools/vm/matrix.sh --list)'
	@echo '  make failures    what goes wrong, likewise: damaged hand-overs, VMMs that die'
	@echo '  make soak        live updates in a row and stress in turn, for SECONDS=3600, or UPDATES= of them'
	@echo '  make bench       what each step costs, in instructions, and how that grows'
	@echo '    QUICK=1          in two minutes instead of fifteen'
	@echo '  make check       all tests, as TAP; the last line is N passed, N failed, N skipped'
	@echo '    STEPS="a b"      only these steps (tools/check.sh --list)'
	@echo "  make suites      the base tree's own tests on the base and on the series, compared"
	@echo '    SUITES="a b"     only these (tools/vm/selftests.sh --help)'
	@echo
	@echo 'Work on the series:'
	@echo '  make tree        build/linux: a git repository, the base and a commit per entry'
	@echo '    FORCE=1          drop what is in build/linux and not in the overlay'
	@echo '  make sync        the commits of build/linux back into the overlay'
	@echo '    NEW_BASE=1       move the series to the base in build/base'
	@echo '  make series      git format-patch with cover letter, to build/series'
	@echo '    V=2              as version 2'
	@echo '  make checkpatch  checkpatch --strict over the series'
	@echo '  make docs        the pages the series touches, with Sphinx'
	@echo '  make bisect-check  every commit builds, in several configurations (an hour or more)'
	@echo '    SAMPLE=N         N of the commits'
	@echo '    CONFIGS="a b"    only these (tools/series/bisect.sh --list)'
	@echo '  make bloat       what the series costs with IOMMU_LIVEUPDATE off'
	@echo
	@echo 'Parts of make run:'
	@echo '  make setup       install what is missing (as root; Debian 12 or later)'
	@echo '  make base        fetch and unpack the base, linux-source-7.3, to build/base'
	@echo '    KERNEL=          a 7.3.y tree or tarball to take instead'
	@echo '  make kernel      build the kernel of CASE and DEBUG, in build/obj-*'
	@echo '  make initramfs   build the guest programs and the initramfs'
	@echo
	@echo '  make clean       remove what was built; linux, base, downloads and ccache stay'
	@echo '  make distclean   remove build/'
	@echo
	@echo 'For all: BUILD=    where to work (default: build)'

setup:
	@tools/setup/packages.sh

base: setup
	@tools/setup/base.sh

tree: base
	@tools/series/tree.sh $(if $(filter-out 0,$(FORCE)),--force)

sync:
	@tools/series/sync.sh $(if $(filter-out 0,$(NEW_BASE)),--new-base)

series:
	@tools/series/export.sh $(if $(V),-v $(V))

checkpatch:
	@tools/series/checkpatch.sh

docs: tree
	@tools/series/docs.sh

bisect-check: tree
	@tools/series/bisect.sh $(if $(SAMPLE),--sample $(SAMPLE)) $(CONFIGS)

bloat: tree
	@tools/series/bloat.sh

kernel: tree
	@tools/vm/build.sh

initramfs: kernel
	@tools/vm/guest.sh

run: initramfs
	@tools/vm/run.sh

matrix: tree
	@tools/vm/matrix.sh $(CASES)

failures: tree
	@tools/vm/matrix.sh --cases failures $(CASES)

bench: tree
	@tools/vm/bench.sh $(if $(filter-out 0,$(QUICK)),--quick)

soak: tree
	@tools/vm/soak.sh $(if $(SECONDS),--seconds $(SECONDS)) $(if $(UPDATES),--updates $(UPDATES)) $(if $(filter-out 0,$(DEBUG)),--debug)

check: tree
	@tools/check.sh $(STEPS)

suites: tree
	@tools/vm/build.sh base series
	@tools/vm/selftests.sh $(SUITES)

# What these remove is named by the shell's $BUILD: blanks in it divide nothing, and an
# empty one is an error.
clean:
	@[ ! -d "$${BUILD:?}" ] || { cd "$$BUILD" && set -x && \
	  rm -rf obj-* linux-quirks* base-kho guest* selftests vm run* check \
		matrix failures soak bench kho bisect docs series initramfs* \
		series.tmp.* base.tmp.* *.log; }

# build/linux may hold commits that are nowhere else
distclean:
	@if [ -d "$${BUILD:?}/linux" ] && [ -z '$(filter-out 0,$(FORCE))' ] && ! tools/series/tree.sh --synced; then \
		echo "error: $$BUILD/linux has work that is not in the overlay: make sync, or FORCE=1" >&2; exit 1; fi
	rm -rf -- "$${BUILD:?}"
