#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Run the cases of matrix.cases and print one table, a row a case.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<END
usage: matrix.sh [--cases LIST] [--core] [--tap] [--list] [--jobs N] [NAME...]
Runs the cases of tools/vm/matrix.cases, or LIST.cases (or those named; --core:
those marked as core) in one machine each, N at a time (default: 1: a machine takes
two CPUs). Builds what is missing. Prints a table, and writes it to
build/matrix/table.tsv (build/LIST/table.tsv); the report of a case and its raw
results are in NAME beside it. With --tap prints a TAP line a case instead. The exit
status is 0 if every case came out as the list says.

Columns: streaming devices; frames sent, in the blackout and lost; IOMMU faults,
device resets, bus-master clears and translation switched off, all between
streaming and the end of the session; length of the blackout in ms; seconds that
the case took; verdict.
END
}

core= tap= list= jobs= cases=matrix
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--cases)	has_value "$@"; cases=$2; shift 2 ;;
	--core)		core=1; shift ;;
	--tap)		tap=1; shift ;;
	--list)		list=1; shift ;;
	--jobs)		has_value "$@"; jobs=$2; shift 2 ;;
	-*)		usage >&2; exit 2 ;;
	*)		break ;;
	esac
done
[ -f "$vm_dir/$cases.cases" ] || die "there is no list $cases"
# Two on two CPUs take turns, and a NIC that has to wait refuses frames.
jobs=${jobs:-1}
case $jobs in
[1-9]*)	;;
*)	die "--jobs $jobs is not a number" ;;
esac

tmp=$(mktemp -d)
running=
cleanup()
{
	trap "" INT TERM HUP
	for pair in $running; do
		kill "${pair%:*}" 2>/dev/null || :
	done
	for pair in $running; do
		wait "${pair%:*}" 2>/dev/null || :
	done
	rm -rf "$tmp"
}
trap cleanup EXIT
# Whoever reads this may be gone before.
trap 'trap "" PIPE; echo >&2 || :; exit 130' INT
trap 'trap "" PIPE; exit 143' TERM HUP

# Name, core, variables, expectation, without the blanks around them.
sed -e '/^#/d; /^[[:space:]]*$/d' -e 's/[[:space:]]*|[[:space:]]*/|/g' \
	-e 's/[[:space:]]*$//' "$vm_dir/$cases.cases" >"$tmp/all"
bad=$(awk -F'|' 'NF != 4 || $1 == "" || $4 == "" || seen[$1]++' "$tmp/all")
[ -z "$bad" ] || die "$cases.cases: not a case, or there twice: $bad"
if [ $# != 0 ]; then
	: >"$tmp/cases"
	for name; do
		grep "^$name|" "$tmp/all" >>"$tmp/cases" ||
			die "there is no case $name (see --list)"
	done
elif [ -n "$core" ]; then
	grep '^[^|]*|core|' "$tmp/all" >"$tmp/cases"
else
	cp "$tmp/all" "$tmp/cases"
fi
if [ -n "$list" ]; then
	awk -F'|' '{ printf "%-20s %-5s %-60s %s\n", $1, $2, $3, $4 }' "$tmp/cases"
	exit 0
fi

# What make exports for make run would change every case.
unset CASE DEBUG MODE IOMMU INTREMAP APPEND APPEND2 KERNEL1 KERNEL2 LOG1 LOG2
unset DEVICES PLACE GUEST REASON MEMORY DAMAGE BACK STOPPED JUMPS DMAR2

need_qemu
kernels=series
for word in $(cut -d'|' -f3 "$tmp/cases"); do
	case $word in
	KERNEL[12]=*)	kernels="$kernels ${word#*=}" ;;
	esac
done
kernels=$(printf '%s\n' $kernels | sort -u)
"$vm_dir/build.sh" $kernels
"$vm_dir/guest.sh"
host_tools

# "name", "vars" and "want" of the case $1
case_load()
{
	line=$(grep "^$1|" "$tmp/cases")
	name=$1
	vars=$(printf '%s\n' "$line" | cut -d'|' -f3)
	want=$(printf '%s\n' "$line" | cut -d'|' -f4)
}

value()
{
	[ ! -s "$report" ] || sed -n "s/^.*\"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" "$report" | head -1
}

# One case, in a process of its own: ends as a row in $tmp/NAME.row.
run_case()
{
	case_load "$1"
	expect=$want
	case $want in
	refused:*)
		CASE=refused REASON=${want#refused: } expect="refused as expected"
		export CASE REASON
		;;
	esac
	set -f	# igb*2 is no file name
	eval "export $vars"
	start=$(date +%s) status=0 child=
	trap '[ -z "$child" ] || { kill $child; wait $child; }; exit 143' TERM
	"$vm_dir/run.sh" --no-plot --out "$out/$name" >"$out/$name.log" 2>&1 &
	child=$!
	wait $child || status=$?
	child=

	report=$out/$name/report.json
	verdict=$(sed -n 's/^  "verdict": "\(.*\)"$/\1/p' "$report" 2>/dev/null || :)
	result=ok
	[ "$verdict" = "$expect" ] && [ $status = 0 ] || result=FAIL
	[ $result != ok ] || verdict=$want
	[ -n "$verdict" ] || verdict="no verdict: $(tail -1 "$out/$name.log")"
	black=$(value blackout_ms)
	{
		printf '%s\t%s\t%s' $result "$name" "${DEVICES:-igb}"
		for key in frames_sent frames_in_blackout frames_lost iommu_faults \
			   device_resets bus_master_clears translation_off; do
			v=$(value $key)
			printf '\t%s' "${v:--}"
		done
		printf '\t%s\t%s\t%s\n' "${black%.*}" $(($(date +%s) - start)) "$verdict"
	} >"$tmp/$name.tmp"
	mv "$tmp/$name.tmp" "$tmp/$name.row"
}

# Take in a case that has ended.
collect()
{
	done=$((done + 1))
	result=$(cut -f1 "$tmp/$1.row")
	[ "$result" = ok ] || failed=$((failed + 1))
	text=$(awk -F'\t' '{ printf "%s (%s): %s sent, %s in the blackout, %s lost; %s faults, %s resets, %s bus-master clears, translation off %s times; %s ms, %s s: %s",
		$2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 }' "$tmp/$1.row")
	if [ -z "$tap" ]; then
		[ ! -t 2 ] || printf '\r\033[K' >&2
		printf '[%d/%d] %-4s %s\n' $done "$total" "$result" "$text" >&2
	elif [ "$result" = ok ]; then
		echo "ok $done - $cases $text"
	else
		echo "not ok $done - $cases $text"
		sed -n 's/^  FAIL/#/p' "$out/$1/report.txt" 2>/dev/null || :
	fi
}

# Wait until fewer than $1 cases run. running is a list of PID:NAME.
settle()
{
	while :; do
		still= names= n=0
		for pair in $running; do
			if [ -f "$tmp/${pair#*:}.row" ]; then
				wait "${pair%:*}" || :
				collect "${pair#*:}"
			elif kill -0 "${pair%:*}" 2>/dev/null; then
				still="$still $pair" names="$names ${pair#*:}" n=$((n + 1))
			elif [ ! -f "$tmp/${pair#*:}.row" ]; then
				die "case ${pair#*:} ended without a result, see $out/${pair#*:}.log"
			fi
		done
		running=$still
		[ $n -ge "$1" ] || return 0
		if [ -t 2 ] && [ -z "$tap" ]; then
			printf '\r\033[K[%d/%d] %d s, running:%s' $done "$total" \
				$(($(date +%s) - begin)) "$names" >&2
		fi
		sleep 0.3
	done
}

out=$BUILD/$cases
rm -rf "$out"
mkdir -p "$out"
total=$(wc -l <"$tmp/cases")
begin=$(date +%s)
done=0 failed=0
for name in $(cut -d'|' -f1 "$tmp/cases"); do
	settle "$jobs"
	run_case "$name" &
	running="$running $!:$name"
done
settle 1

{
	printf 'result\tcase\tdevices\tsent\tblackout\tlost\tfaults\tresets\tbm_clears\tte_off\tblackout_ms\tseconds\tverdict\n'
	for name in $(cut -d'|' -f1 "$tmp/cases"); do
		cat "$tmp/$name.row"
	done
} >"$tmp/table"
mv "$tmp/table" "$out/table.tsv"
if [ -n "$tap" ]; then
	echo "1..$total"
else
	awk -F'\t' '
		{ for (i = 1; i <= NF; i++) { c[NR, i] = $i; if (length($i) > w[i]) w[i] = length($i) } }
		END {
			for (r = 1; r <= NR; r++)
				for (i = 1; i <= 13; i++)
					printf(i == 13 ? "%s%s\n" : i < 4 ? "%-*s  " : "%*s  ", \
					       i == 13 ? c[r, i] : w[i], i == 13 ? "" : c[r, i])
		}' "$out/table.tsv"
	echo "$((total - failed)) of $total as expected, $(($(date +%s) - begin)) s; reports in $out"
fi
[ $failed = 0 ] && [ "$total" != 0 ] && [ $done = "$total" ]
