#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Live updates and stress in turn, for as long as one likes.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: soak.sh [--seconds N] [--updates N] [--debug]
Runs live updates in a row (CASE=twice, JUMPS=10: each kernel adopts from the one
before), then threads that race with preserving and freezing, then a thousand
preserves that are taken back, and starts again, until N seconds are over (default:
3600) or N updates are done. DEVICES= is what streams (default: igb,e1000e).
--debug: all of it on the debug kernel. Prints a line for each part, and at the end
what there was in all; results of a part that failed stay in build/soak. The exit
status is 0 if nothing was lost and nothing failed. Ctrl-C stops it, and sums up.
EOF
}

seconds= updates= DEBUG=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--seconds)	has_value "$@"; seconds=$2; shift 2 ;;
	--updates)	has_value "$@"; updates=$2; shift 2 ;;
	--debug)	DEBUG=1; shift ;;
	*)		usage >&2; exit 2 ;;
	esac
done
case $seconds$updates in
*[!0-9]*)	die "--seconds and --updates take a number" ;;
esac
# Who asks for updates only gets as many seconds as they take.
[ -n "$seconds" ] || seconds=${updates:+1000000}
seconds=${seconds:-3600}
updates=${updates:-1000000}
DEVICES=${DEVICES:-igb,e1000e}

# What make exports for make run is not meant.
unset CASE MODE IOMMU INTREMAP APPEND APPEND2 KERNEL1 KERNEL2 LOG1 LOG2
unset PLACE GUEST REASON MEMORY DAMAGE BACK STOPPED JUMPS DMAR2
export DEBUG

"$vm_dir/build.sh" ${DEBUG:+debug}
"$vm_dir/guest.sh"
out=$BUILD/soak
rm -rf "$out"
mkdir -p "$out"

begin=$(date +%s)
done=0 sent=0 lost=0 faults=0 rounds=0 stressed=0 failed=0 since=0 part=0 child=

left()
{
	echo $((seconds - $(date +%s) + begin))
}

sum_up()
{
	echo "soak: $(($(date +%s) - begin)) s: $done updates, $sent frames sent, $lost lost," \
		"$faults IOMMU faults; $rounds preserves taken back, $stressed s of stress;" \
		"$failed parts failed${1:+ ($1)}"
}

stop()
{
	trap '' INT TERM HUP PIPE
	[ -z "$child" ] || kill "$child" 2>/dev/null || :
	[ -z "$child" ] || wait "$child" 2>/dev/null || :
	sum_up "stopped" || :
	exit "$1"
}
trap 'trap "" PIPE; echo >&2 || :; stop 130' INT
trap 'stop 143' TERM HUP

# run NAME COMMAND...: in the background, so that a signal is heard at once.
run()
{
	part=$((part + 1))
	log=$out/$part-$1.log
	shift
	status=0
	"$@" >"$log" 2>&1 &
	child=$!
	wait $child || status=$?
	child=
	[ $status = 0 ] || failed=$((failed + 1)) since=$((since + 1))
}

value()
{
	v=$(sed -n "s/^.*\"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" "$2" 2>/dev/null | head -1)
	echo "${v:-0}"
}

# What is kept of a part that went well is its line here. If three have failed since the
# last updates that went well, there is no end to it: none may be counted any more.
settled()
{
	echo "soak: part $part, $1: $([ $status = 0 ] && echo ok || echo "FAILED, see $log")"
	[ $status != 0 ] || rm -rf "$log" "$out/run-$part"
	[ $since -lt 3 ] || {
		sum_up "$since since the last update"
		exit 1
	}
}

do_updates()
{
	jumps=10
	[ $((updates - done)) -ge $jumps ] || jumps=$((updates - done))
	# Ten take about three minutes; a run has two at least.
	[ "$(left)" -ge 240 ] || [ $jumps -lt 3 ] || jumps=3
	[ $jumps -ge 2 ] || jumps=2
	dir=$out/run-$((part + 1))
	run updates env CASE=twice JUMPS=$jumps DEVICES="$DEVICES" \
		"$vm_dir/run.sh" --no-plot --out "$dir"
	report=$dir/report.json
	n=$jumps
	[ $status != 0 ] || since=0
	# Of those that went wrong, what was taken back
	[ $status = 0 ] || n=$(cut -f2- "$dir/marks.tsv" 2>/dev/null | grep -cx 'mark	attached' || :)
	done=$((done + ${n:-0}))
	sent=$((sent + $(value frames_sent "$report")))
	lost=$((lost + $(value frames_lost "$report")))
	faults=$((faults + $(value iommu_faults "$report")))
	settled "${n:-0} updates, $(value frames_sent "$report") frames, $(value frames_lost "$report") lost"
}

do_stress()
{
	time=120
	[ "$(left)" -ge $time ] || time=$(left)
	[ "$time" -ge 10 ] || time=10
	seed=$(($(date +%s) * 1000 + part))
	run stress env TESTS=stress_ STRESS=$time SEED=$seed "$vm_dir/uapi.sh"
	# As the guest says, if it came to its end
	n=$(sed -n 's/^# .*LIVEUPDATE_SEED=[0-9]*, \([0-9]*\) s.*/\1/p' "$log" | tail -1)
	[ $status = 0 ] || n=0
	stressed=$((stressed + ${n:-0}))
	settled "${n:-0} s of stress, seed $seed"
}

do_aborts()
{
	run aborts env TESTS=abort_ ROUNDS=1000 "$vm_dir/uapi.sh"
	n=$(sed -n 's/^# .*:\([0-9]*\) rounds, .*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	rounds=$((rounds + n))
	settled "$n preserves taken back"
}

while :; do
	do_updates
	[ "$(left)" -gt 0 ] && [ $done -lt "$updates" ] || break
	do_stress
	[ "$(left)" -gt 0 ] || break
	# Once in a while is enough
	[ $((part % 9)) != 2 ] || [ "$(left)" -lt 120 ] || do_aborts
	[ "$(left)" -gt 0 ] || break
done
sum_up
[ $failed = 0 ] && [ $lost = 0 ]
