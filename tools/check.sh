#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All tests, in order, each as TAP; what they printed is in build/check.
# The last line is "N passed, N failed, N skipped".
set -euo pipefail

top=$(realpath "$(dirname "$0")/..")
build=${BUILD:-$top/build}
cd "$top"

usage() {
	cat <<EOF
usage: $0 [--list] [-h] [STEP...]
Runs the steps (all but debug*, or those named) and sums up. make check calls it after
make tree.
EOF
}

# name | command | what it shows. What fails early is cheap. A step whose script
# cannot be run fails.
steps() {
	cat <<EOF
series|tools/series/test.sh|tree, sync and export on a synthetic base
judge|tools/vm/judge-test.sh|the judge sees what is wrong with a made-up run
identity|tools/series/identity.sh|tree then sync of the overlay changes nothing
findings|tools/series/findings.sh|what became of each review finding of the public series is where the table says
map|tools/series/map.sh|README's map has every file
checkpatch|tools/series/checkpatch.sh|checkpatch --strict on every patch
build|tools/check.sh --kernels series base|the kernels and the guest programs build
warnings|tools/series/warnings.sh|no new warning with W=1, no new kernel-doc warning
kunit|tools/vm/kunit.sh|KUnit: page tables, hand-overs, images
iommufd|tools/vm/iommufd.sh|the selftests of iommufd with its mock IOMMU, and those the base has, same result there
kho|tools/vm/kho.sh --quick|many preserved ranges: none lost, a constant cost for each
uapi|tools/vm/uapi.sh|the uAPI of the series, without a kexec
main|tools/vm/scenario.sh main twice|a live update with the NIC running, and one after it
matrix|tools/vm/matrix.sh --core --tap|other modes of VT-d, other devices, places and kernels
failures|tools/vm/matrix.sh --cases failures --core --tap|a damaged hand-over, a VMM that dies, memory under pressure: contained
errors|tools/vm/errors-test.sh|what is missing or full is said in one line, ctrl-C leaves nothing
negatives|tools/vm/scenario.sh base unpreserved aborted discard|the same judge on what must lose, be blocked or be stopped
selftests|tools/vm/selftests.sh|the base's liveupdate selftests, same result on both kernels
debug|env DEBUG=1 tools/vm/scenario.sh main unpreserved aborted discard|the scenarios on a debug kernel, no report in the log (only when named: 10 minutes)
debug-uapi|env DEBUG=1 tools/vm/uapi.sh|the uAPI there, with kmemleak (only when named)
EOF
}

# Kernels and guest programs as TAP
kernels() {
	local k n=0 rc=0
	echo "1..$(($# + 1))"
	for k; do
		n=$((n + 1))
		if tools/vm/build.sh "$k"; then
			echo "ok $n - the $k kernel builds"
		else
			echo "not ok $n - the $k kernel builds"
			rc=1
		fi
	done
	n=$((n + 1))
	if tools/vm/guest.sh; then
		echo "ok $n - the guest programs build"
	else
		echo "not ok $n - the guest programs build"
		rc=1
	fi
	exit "$rc"
}

case ${1-} in
-h|--help) usage; exit 0 ;;
--list)
	steps | while IFS='|' read -r name cmd what; do
		printf '%-12s %s\n' "$name" "$what"
	done
	exit 0 ;;
--kernels)
	shift
	kernels "$@" ;;
esac

# What make exports for make run says nothing here.
unset CASE RATE DEBUG MODE IOMMU INTREMAP APPEND APPEND2 KERNEL1 KERNEL2 LOG2
unset DEVICES PLACE GUEST REASON MEMORY DAMAGE BACK STOPPED JUMPS DMAR2 LOG1
unset TESTS ROUNDS STRESS SEED

wanted=("$@")
for w in "${wanted[@]}"; do
	steps | grep "^$w|" >/dev/null || { echo "error: there is no step $w (see $0 --list)" >&2; exit 2; }
done

want() {
	local w
	# All of it has to take less than 45 minutes
	(( ${#wanted[@]} )) || { [[ $1 != debug* ]]; return; }
	for w in "${wanted[@]}"; do
		[[ $w != "$1" ]] || return 0
	done
	return 1
}

mkdir -p "$build/check"
# One CPU is enough for these, and they need no kernel: they run beside what comes first.
beside="series identity"

# Each step is a process group of its own, which is ended as a whole. What it prints goes
# to a file: nothing that cleans up after itself dies because nobody reads it any more.
declare -A child begun
start() {
	begun[$1]=$SECONDS
	: >"$build/check/$1.log"
	setsid env --default-signal=INT,QUIT $2 </dev/null >"$build/check/$1.log" 2>&1 &
	child[$1]=$!
}

stop() {
	local pid

	trap '' INT TERM HUP PIPE
	for pid in "${child[@]}"; do
		kill -- "-$pid" 2>/dev/null || :
	done
	[[ -z $reader ]] || kill "$reader" 2>/dev/null || :
	wait 2>/dev/null
	exit "$1"
}
reader=
trap 'stop 130' INT
trap 'stop 143' TERM HUP
trap 'stop 141' PIPE

while IFS='|' read -r name cmd what; do
	[[ " $beside " != *" $name "* ]] || ! want "$name" || start "$name" "$cmd"
done < <(steps)

passed=0 failed=0 skipped=0
bad=()
begin=$SECONDS
total=$(steps | wc -l)
i=0
# Results are counted at the left margin only: subtests are indented.
while IFS='|' read -r name cmd what <&3; do
	i=$((i + 1))
	want "$name" || continue
	log=$build/check/$name.log
	echo "# [$i/$total] $name: $what"
	rc=0
	if [[ -n ${child[$name]-} ]]; then
		wait "${child[$name]}" || rc=$?
		cat "$log"
	else
		start "$name" "$cmd"
		tail -n +1 -s 0.2 -f --pid="${child[$name]}" "$log" &
		reader=$!
		wait "${child[$name]}" || rc=$?
		wait "$reader" || :
		reader=
	fi
	unset "child[$name]"
	p=$(grep -cE '^ok .*' "$log" || true)
	s=$(grep -ciE '^ok .*# *skip' "$log" || true)
	f=$(grep -cE '^not ok ' "$log" || true)
	p=$((p - s))
	# A step that ends early, or badly without saying so, has not passed.
	plan=$(sed -nE 's/^1\.\.([0-9]+).*/\1/p' "$log" | tail -n 1)
	if [[ -z $plan ]] || (( plan != p + s + f )); then
		echo "not ok - $name: $((p + s + f)) results of ${plan:-an unknown number}, exit status $rc"
		f=$((f + 1))
	elif (( rc && ! f )); then
		echo "not ok - $name: exit status $rc"
		f=$((f + 1))
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	(( ! f )) || bad+=("$name")
	echo "# [$i/$total] $name: $p passed, $f failed, $s skipped, $((SECONDS - begun[$name])) s"
done 3< <(steps)

echo "# $((SECONDS - begin)) s in all; logs in $build/check${bad:+; failed: ${bad[*]}}"
echo "$passed passed, $failed failed, $skipped skipped"
(( ! failed && passed ))
