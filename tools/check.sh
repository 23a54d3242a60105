#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All tests, in order, each as TAP; what they printed is in build/check.
# The last line is "N passed, N failed, N skipped".
set -euo pipefail

top=$(realpath "$(dirname "$0")/..")
build=${BUILD:-$top/build}
cd "$top"

# All of it has to take less than 45 minutes. A kernel with KASAN takes twice as long to
# build as one without, and to run: it comes last, if the others took less seconds.
late=${LATE:-1260}

usage() {
	cat <<EOF
usage: $0 [--list] [-h] [STEP...]
Runs the steps that are named, or else all but debug-uapi, and debug only if the others
took less than $late s (LATE=), and sums up. make check calls it after make tree.
EOF
}

# name | lane | command | what it shows. What fails early is cheap. A step whose script
# cannot be run fails. Steps of the lane "beside" run one after the other beside those of
# "main": they judge no stream of frames, which suffers where a CPU is not there in time,
# and are over when the longest of those that do come. What comes after build waits for it.
steps() {
	cat <<EOF
judge|main|tools/vm/judge-test.sh|the judge sees what is wrong with a made-up run
findings|main|tools/series/findings.sh|what became of each review finding of the public series is where the table says
map|main|tools/series/map.sh|README's map has every file
series|beside|tools/series/test.sh|tree, sync and export on a synthetic base
identity|beside|tools/series/identity.sh|tree then sync of the overlay changes nothing
checkpatch|beside|tools/series/checkpatch.sh|checkpatch --strict on every patch
build|main|tools/check.sh --kernels series base|the kernels and the guest programs build
main|main|tools/vm/scenario.sh main twice|a live update with the NIC running, and one after it
negatives|main|tools/vm/scenario.sh base unpreserved aborted discard|the same judge on what must lose, be blocked or be stopped
uapi|main|tools/vm/uapi.sh|the uAPI of the series, without a kexec
usb|main|tools/vm/usb.sh|a USB controller runs on that the kernel would halt
kdump|main|tools/vm/kdump.sh|a crash in the middle of a live update
selftests|main|tools/vm/selftests.sh|the base's liveupdate selftests, same result on both kernels
matrix|main|tools/vm/matrix.sh --core --tap|other modes of VT-d, other devices, places and kernels
failures|main|tools/vm/matrix.sh --cases failures --core --tap|a damaged hand-over, a VMM that dies, memory under pressure: contained
errors|main|tools/vm/errors-test.sh|what is missing or full is said in one line, ctrl-C leaves nothing
warnings|beside|env JOBS=1 tools/series/warnings.sh|no new warning with W=1, no new kernel-doc warning
kunit|beside|tools/vm/kunit.sh|KUnit: page tables, hand-overs, images
iommufd|beside|tools/vm/iommufd.sh|the selftests of iommufd with its mock IOMMU, and those the base has, same result there
kho|beside|tools/vm/kho.sh --quick|many preserved ranges: none lost, a constant cost for each
debug|main|env DEBUG=1 tools/vm/scenario.sh main unpreserved aborted discard|the scenarios on a debug kernel, no report in the log (when named, or last if the others took less than $late s)
debug-uapi|main|env DEBUG=1 tools/vm/uapi.sh|the uAPI there, with kmemleak (only when named)
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
	steps | while IFS='|' read -r name _ _ what; do
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
	(( ${#wanted[@]} )) || { [[ $1 != debug* ]]; return; }
	for w in "${wanted[@]}"; do
		[[ $w != "$1" ]] || return 0
	done
	return 1
}

logs=$build/check
mkdir -p "$logs"
rm -f "$logs"/*.{log,pid,rc}

# Runs the steps of lane $1. Each is a process group of its own, which is ended as a whole. What
# it prints goes to NAME.log: nothing that cleans up after itself dies because nobody reads
# it any more. NAME.pid is who it is, NAME.rc how it ended and the seconds it took.
run_lane() {
	local name lane cmd begun rc child= built=

	trap 'trap "" INT TERM; [[ -z $child ]] || kill -- "-$child" 2>/dev/null; wait; exit 143' INT TERM
	while IFS='|' read -r name lane cmd _ <&3; do
		want "$name" || continue
		[[ $name != build ]] || built=$logs/build.rc
		[[ $lane == "$1" ]] || continue
		while [[ -n $built && $name != build && ! -e $built ]]; do
			sleep 0.5 & wait $!
		done
		begun=$SECONDS rc=0
		setsid env --default-signal=INT,QUIT $cmd </dev/null >"$logs/$name.log" 2>&1 &
		child=$!
		echo "$child" >"$logs/$name.new"
		mv "$logs/$name.new" "$logs/$name.pid"
		wait "$child" || rc=$?
		child=
		echo "$rc $((SECONDS - begun))" >"$logs/$name.new"
		mv "$logs/$name.new" "$logs/$name.rc"
	done 3< <(steps)
}

declare -A lanes=()
reader=
stop() {
	trap '' INT TERM HUP PIPE
	kill ${reader:+"$reader"} "${lanes[@]}" 2>/dev/null || :
	wait 2>/dev/null
	exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM HUP
trap 'stop 141' PIPE

passed=0 failed=0 skipped=0 shown=0
bad=()
declare -A seen=()
total=$(steps | while IFS='|' read -r name _; do ! want "$name" || echo; done | wc -l)

# Wait for file $1 of lane $2
until_there() {
	while [[ ! -e $1 ]] && kill -0 "${lanes[$2]}" 2>/dev/null; do
		sleep 0.2
	done
	[[ -e $1 ]]
}

# Print what a step prints, while it does, and count its results: those at the left margin
# only, as subtests are indented.
show() {
	local name=$1 lane=$2 what=$3 log=$logs/$1.log rc=1 took=0 plan p s f

	shown=$((shown + 1)) seen[$name]=1
	echo "# [$shown/$total] $name: $what"
	if until_there "$logs/$name.pid" "$lane"; then
		tail -n +1 -s 0.2 -f --pid="$(<"$logs/$name.pid")" "$log" &
		reader=$!
		wait "$reader" || :
		reader=
		! until_there "$logs/$name.rc" "$lane" || read -r rc took <"$logs/$name.rc"
	else
		: >"$log"
	fi
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
	echo "# [$shown/$total] $name: $p passed, $f failed, $s skipped, $took s"
}

# What is wanted and has not been shown yet
run_steps() {
	local name l what

	for l in main beside; do
		run_lane "$l" &
		lanes[$l]=$!
	done
	while IFS='|' read -r name l _ what <&3; do
		[[ $l == main ]] && want "$name" || continue
		show "$name" "$l" "$what"
		# What has ended beside it
		while IFS='|' read -r name l _ what <&4; do
			[[ $l == main || -v seen[$name] || ! -e $logs/$name.rc ]] || show "$name" "$l" "$what"
		done 4< <(steps)
	done 3< <(steps)
	while IFS='|' read -r name l _ what <&3; do
		[[ -v seen[$name] ]] || ! want "$name" || show "$name" "$l" "$what"
	done 3< <(steps)
}

begin=$SECONDS
run_steps
if (( ! ${#wanted[@]} )); then
	if (( SECONDS - begin < late )); then
		wanted=(debug) total=$((total + 1))
		run_steps
	else
		echo "# debug: not run, $((SECONDS - begin)) s have passed; make check STEPS=debug"
	fi
fi

echo "# $((SECONDS - begin)) s in all; logs in $logs${bad:+; failed: ${bad[*]}}"
echo "$passed passed, $failed failed, $skipped skipped"
(( ! failed && passed ))
