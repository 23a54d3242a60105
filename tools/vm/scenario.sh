#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run scenarios for the test command: what the judge checked, as TAP.
set -u
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: scenario.sh CASE...
Builds what is missing, runs each CASE (main, base, unpreserved, aborted,
twice, discard) with
run.sh and prints one TAP line per thing the judge looked at. DEBUG=1 takes the
debug kernel. Results stay in build/check/run-CASE.
EOF
}

case ${1:--h} in
-h|--help)	usage; exit 0 ;;
esac

DEBUG=${DEBUG:-}
[ "$DEBUG" != 0 ] || DEBUG=
export DEBUG
n=0 failed=0 child=
figures="frames_sent frames_refused frames_before frames_in_blackout frames_after
	frames_lost longest_gap_ms longest_latency_ms blackout_ms preserve freeze jump
	boot retrieve restore attach finish iommu_faults provoked_faults device_resets
	bus_master_clears decode_clears d3_entries translation_off remapping_off
	translations translations_outside"

# The machine goes with us. In the background it does not hear of ctrl-C.
end()
{
	trap '' INT TERM HUP PIPE
	[ -z "$child" ] || kill "$child" 2>/dev/null || :
	[ -z "$child" ] || wait "$child" || :
	exit "$1"
}
trap 'end 130' INT
trap 'end 143' TERM HUP

result()
{
	n=$((n + 1))
	[ "$1" = ok ] || failed=$((failed + 1))
	echo "$1 $n - $2"
}

mkdir -p "$BUILD/check"
"$vm_dir/guest.sh" || result "not ok" "guest programs do not build"
for CASE; do
	export CASE
	name=$CASE${DEBUG:+-debug}
	out=$BUILD/check/run-$name
	rm -rf "$out"
	if ! "$vm_dir/build.sh"; then
		result "not ok" "$name: the kernel does not build"
		continue
	fi
	status=0
	"$vm_dir/run.sh" --out "$out" >/dev/null &
	child=$!
	wait $child || status=$?
	child=
	[ $status -lt 128 ] || exit $status
	if [ ! -s "$out/report.txt" ]; then
		result "not ok" "$name: the machine did not run"
		continue
	fi
	bad=0
	while read -r word text; do
		case $word in
		ok)	result ok "$name: $text" ;;
		FAIL)	result "not ok" "$name: $text"; bad=1 ;;
		esac
	done <<EOF
$(grep -E '^  (ok|FAIL)  ' "$out/report.txt")
EOF
	# What has all phases has a figure for each, and so on
	case $CASE in
	main|twice)
		missing=$(grep -o '"[a-z0-9_]*": null' "$out/report.json" | tr '\n' ' ')
		for key in $figures; do
			grep -q "\"$key\": [0-9]" "$out/report.json" ||
				missing="$missing$key "
		done
		if [ -z "$missing" ]; then
			result ok "$name: the report has all figures"
		else
			result "not ok" "$name: the report lacks $missing"
		fi ;;
	esac
	# The exit status and the lines must say the same.
	[ $((status != 0)) = $bad ] || result "not ok" "$name: exit status $status"
done
echo "1..$n"
[ $failed = 0 ] && [ $n != 0 ]
