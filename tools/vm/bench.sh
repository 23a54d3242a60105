#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a live update costs, in executed instructions, and how that grows, as TAP.
set -eu
. "$(dirname "$0")/common.sh"
. "$vm_dir/shape.sh"

usage()
{
	cat <<EOF
usage: bench.sh [--quick] [--report] [--profile STEP] [NAME...]
Takes one machine after the other through a live update, each with other memory,
other leaves of its page table, other numbers of devices or mappings, and counts
the instructions of each step (QEMU -icount: one instruction is one nanosecond of
its clock, and one tick of the CPU's counter; a loop of known length shows it).
Waiting counts as well; other tasks do not from freeze to adopt. Next to it, in the
same run: what it takes to unmap all of the memory and to map it again.
  --quick         four of them, at most 1 GiB at 4 KiB leaves (two minutes)
  --profile STEP  where the time goes in STEP: restore, preserve, retrieve, map,
                  unmap, finish or adopt, of the machines that are named
  --list          the machines
  --report        run nothing, look at what earlier runs have left
  NAME            only these machines
Results: build/bench/table.tsv, bench.json, cost.svg, and the logs. The exit status
says whether all bounds are kept.
EOF
}

# name, MiB mapped, size of leaves, devices, areas of a page (0: as few as possible)
machines()
{
	cat <<EOF
4k-64M 64 4k 1 0
4k-1G 1024 4k 1 0
4k-8G 8192 4k 1 0
4k-64G 65536 4k 1 0
2m-64M 64 2m 1 0
2m-1G 1024 2m 1 0
2m-8G 8192 2m 1 0
2m-64G 65536 2m 1 0
1g-1G 1024 1g 1 0
1g-8G 8192 1g 1 0
1g-64G 65536 1g 1 0
devices-4 64 2m 4 0
devices-8 64 2m 8 0
devices-16 64 2m 16 0
devices-32 64 2m 32 0
areas-1 64 4k 1 1
areas-10 64 4k 1 10
areas-100 64 4k 1 100
areas-1000 64 4k 1 1000
areas-10000 64 4k 1 10000
EOF
}
quick_machines="4k-64M 4k-1G 2m-64M 2m-64G"

quick= profile= report= wanted=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--list)		machines; exit 0 ;;
	--quick)	quick=1; shift ;;
	--profile)	has_value "$@"; profile=$2; shift 2 ;;
	--report)	report=1; shift ;;
	-*)		usage >&2; exit 2 ;;
	*)		wanted="$wanted $1"; shift ;;
	esac
done
[ -z "$quick" ] || wanted=${wanted:-$quick_machines}

# What is counted from outside: phases, and marks
phases="kexec@kernel_kexec freeze:liveupdate_reboot shutdown:device_shutdown
	switch-over:intel_iommu_switch_over jump@machine_kexec start@start_kernel
	kho:kho_memory_init adopt-unit:intel_iommu_adopt_unit
	adopt:iommu_liveupdate_adopt init@run_init_process"
case $profile in
'')		;;
restore)	phases=restore:iommufd_hwpt_liveupdate_restore ;;
preserve)	phases=preserve:iommufd_liveupdate_preserve ;;
retrieve)	phases=retrieve:memfd_luo_retrieve ;;
finish)		phases=finish:luo_file_finish ;;
adopt)		phases=adopt:iommu_liveupdate_adopt ;;
map)		phases=map:iommufd_ioas_map_file ;;
unmap)		phases=unmap:iommufd_ioas_unmap ;;
*)		die "--profile $profile: see --help" ;;
esac

need_qemu
need gcc gcc
need gnuplot gnuplot-nox
[ -n "$report" ] || {
	"$vm_dir/build.sh" series
	"$vm_dir/guest.sh"
}
[ "$BUILD/vm/phases.so" -nt "$vm_dir/phases.c" ] || {
	mkdir -p "$BUILD/vm"
	gcc -O2 -Wall -Wextra -shared -fPIC -o "$BUILD/vm/phases.so" "$vm_dir/phases.c"
}
out=$BUILD/bench${profile:+/profile-$profile}
mkdir -p "$out"
need_space "$out" 300
tmp=$(mktemp -d)
trap 'vm_kill; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

kernel=$BUILD/obj-series/arch/x86/boot/bzImage
map=$BUILD/obj-series/System.map
[ -n "$report" ] ||
	"$vm_dir/initramfs.sh" --outer "$BUILD/initramfs.gz" "$kernel" --out "$tmp/initrd"

phase_specs=
for phase in $phases; do
	phase_specs="$phase_specs,phase=$phase"
done

# machine NAME MEGABYTES LEAF DEVICES AREAS
machine()
{
	name=$1
	specs=$phase_specs
	options="--memory,$2"
	memory=3072
	case $3 in
	2m)	options="$options,--huge" ;;
	1g)	options="$options,--giant" memory=8192 ;;
	esac
	[ $5 = 0 ] || options="$options,--areas,$5"
	[ -z "$profile" ] || specs=$phase_specs,profile=$out/$name.profile
	model=igb
	# There are I/O ports for fifteen igb behind ports, and these have none.
	[ $4 = 1 ] || model=virtio-net-pci,iommu_platform=on,disable-legacy=on,rx_queue_size=1024
	place=port paths= i=0
	: >"$tmp/shape"
	while [ $i -lt $4 ]; do
		shape_place $i >>"$tmp/shape"
		printf '%s\n' -device "$model,bus=$bus,addr=$addr,romfile=" >>"$tmp/shape"
		i=$((i + 1))
	done
	append="$common_append nokaslr quiet kho=on liveupdate=on intel_iommu=on,sm_off
		job=run case=bench nics=$paths ring=4096 guest=$options"

	set --
	while read -r arg; do
		set -- "$@" "$arg"
	done <"$tmp/shape"
	ACCEL=tcg,thread=single vm_boot "$out/$name.log" 900 $memory "$kernel" \
		"$tmp/initrd" "$(echo $append)" -smp 1 -icount shift=0,sleep=off \
		-serial "file:$tmp/control" -device intel-iommu \
		-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off \
		-plugin "$BUILD/vm/phases.so,map=$map,out=$out/$name.phases$specs" "$@"
	tr -d '\r' <"$tmp/control" >"$out/$name.control"
}

# What the machine said and what was seen from outside, as "name value" lines.
costs()
{
	awk '
		FILENAME ~ /phases$/ {
			if ($1 == "kexec") kexec = $2
			else if ($1 == "jump") jump = $2
			else if ($1 == "start") start = $2
			else if ($1 == "init") init = $2
			else sum[$1] += $3 - $2 - $4
			next
		}
		/^@info cost=/ {
			split($0, w, /[ =]/)
			sum[w[3]] += w[7] - w[5]
			next
		}
		/^@info [a-z0-9_]*=[0-9]*$/ {
			split($0, w, /[ =]/)
			sum[w[2]] = w[3]
		}
		END {
			if (jump && kexec) sum["freeze-to-jump"] = jump - kexec
			if (init && jump) sum["jump-to-init"] = init - jump
			for (name in sum) printf "%s %.0f\n", name, sum[name]
		}' "$out/$1.phases" "$out/$1.control"
}

results=0 failed=0
result()
{
	results=$((results + 1))
	[ "$1" = ok ] || failed=$((failed + 1))
	echo "$1 $results - bench: $2"
}

# get NAME COST: empty if it was not measured
get()
{
	[ ! -f "$tmp/$1" ] || awk -v cost="$2" '$1 == cost { print $2 }' "$tmp/$1"
}

columns="preserve-memfd preserve-iommufd preserve-cdev freeze switch-over
	freeze-to-jump jump-to-init kho adopt retrieve-memfd retrieve-iommufd
	retrieve-cdev bind restore attach finish unmap map-again"
columns=$(echo $columns)

machines >"$tmp/machines"
echo "machine MiB leaf devices areas $columns held_bytes table_bytes" |
	tr ' ' '\t' >"$out/table.new"
total=$(wc -l <"$tmp/machines") count=0 first=
[ -z "$wanted" ] || total=$(echo $wanted | wc -w)
while read -r name mib leaf devices areas <&3; do
	case " ${wanted:-$name} " in
	*" $name "*)	;;
	*)		continue ;;
	esac
	count=$((count + 1))
	begin=$(date +%s)
	if [ -z "$report" ]; then
		machine $name $mib $leaf $devices $areas
	elif [ ! -f "$out/$name.control" ]; then
		continue
	fi
	first=${first:-$name}
	costs $name >"$tmp/$name"
	fail=$(sed -n 's/^@fail //p' "$out/$name.control" | head -1)
	if [ -z "$fail" ] && grep -q '^@mark done' "$out/$name.control"; then
		result ok "$name: through a live update, and mapped again"
	else
		result "not ok" "$name: ${fail:-did not come to its end}"
	fi
	[ -n "$report" ] || say "$count of $total, $name: $(($(date +%s) - begin)) s"
	if [ -n "$profile" ]; then
		echo "# $name, $profile: samples by function"
		head -25 "$out/$name.profile" | sed 's/^/# /'
		continue
	fi
	row="$name $mib $leaf $devices $(get $name areas)"
	for c in $columns held_bytes table_bytes; do
		v=$(get $name $c)
		row="$row ${v:--}"
	done
	echo "$row" | tr ' ' '\t' >>"$out/table.new"
done 3<"$tmp/machines"
[ $count != 0 ] || die "none of these machines is there: $wanted"

if [ -n "$profile" ]; then
	echo "1..$results"
	[ $failed = 0 ]
	exit
fi
mv "$out/table.new" "$out/table.tsv"

# 1234567 as 1,234,567
count_of()
{
	echo "${1:-nothing}" |
		sed -e ':a' -e 's/^\([0-9][0-9]*\)\([0-9]\{3\}\)/\1,\2/' -e 'ta'
}

# at_most NAME COST PERCENT NAME COST TEXT: the first is that much of the second
at_most()
{
	[ -f "$tmp/$1" ] && [ -f "$tmp/$4" ] || return 0
	a=$(get $1 $2) b=$(get $4 $5)
	text="$6: $(count_of $a) to $(count_of $b)"
	if [ -n "$a" ] && [ -n "$b" ] && [ $((a * 100)) -le $((b * $3)) ]; then
		result ok "$text"
	else
		result "not ok" "$text"
	fi
}

# adopt_per_table NAME NAME INSTRUCTIONS: it should not depend on the memory, but KHO has to
# be asked for each page of a table before anybody may look into it, and each entry of those
# that are not at the bottom, whether it leads to another one.
adopt_per_table()
{
	[ -f "$tmp/$1" ] && [ -f "$tmp/$2" ] || return 0
	a=$(get $1 adopt) b=$(get $2 adopt)
	a_bytes=$(get $1 table_bytes) b_bytes=$(get $2 table_bytes)
	if [ -z "$a" ] || [ -z "$b" ] || [ -z "$a_bytes" ] || [ -z "$b_bytes" ]; then
		result "not ok" "adopt at boot, $1 to $2: its cost or the size of the tables was not seen"
		return
	fi
	tables=$(((a_bytes - b_bytes) / 4096))
	if [ $((a * 100)) -le $((b * 110)) ]; then
		result ok "adopt at boot, $1, at most 1.1 times that of $2: $(count_of $a) to $(count_of $b)"
		return
	fi
	echo "# out of reach: adopt at boot independent of mapped memory, $1 to $2: $(count_of $a) to $(count_of $b)"
	each=$(((a - b) / (tables + 1)))
	text="adopt at boot, $1: $(count_of $each) instructions for each of $(count_of $tables) tables more than $2, at most $(count_of $3)"
	if [ $each -le $3 ]; then
		result ok "$text"
	else
		result "not ok" "$text"
	fi
}

one=$(get $first loop_1) two=$(get $first loop_2)
if [ $((${two:-0} - ${one:-0})) = 200000 ]; then
	result ok "a loop of two instructions, 100,000 times more: 200,000 ticks more"
else
	result "not ok" "a loop of two instructions, 100,000 times more: $((${two:-0} - ${one:-0})) ticks more"
fi
for leaf in 4k 2m; do
	[ $leaf = 4k ] && limit=1000 || limit=16000
	for size in 1G 8G 64G; do
		at_most $leaf-$size freeze-to-jump 110 $leaf-64M freeze-to-jump \
			"freeze to jump, $size at $leaf leaves, at most 1.1 times that of 64M"
		adopt_per_table $leaf-$size $leaf-64M $limit
	done
done
for size in 1G 8G 64G; do
	at_most 4k-$size restore 33 4k-$size map-again \
		"RESTORE of $size at 4k leaves, at most a third of mapping it again"
	at_most 2m-$size restore 10 2m-$size map-again \
		"RESTORE of $size at 2m leaves, at most a tenth of mapping it again"
done
at_most 4k-64G held_bytes 1 4k-64G table_bytes \
	"bytes held for the update, 64G at 4k leaves, at most 1% of the tables"

# The table, turned over for reading
awk -F'\t' '
	{ for (i = 1; i <= NF; i++) cell[i, NR] = $i; if (NF > rows) rows = NF }
	END {
		for (i = 1; i <= rows; i++) {
			printf "# %-17s", cell[i, 1]
			for (j = 2; j <= NR; j++) printf " %13s", cell[i, j]
			printf "\n"
		}
	}' "$out/table.tsv"

awk -F'\t' '
	NR == 1 {
		split($0, name)
		print "{\n  \"unit\": \"instructions\",\n  \"machines\": ["
		next
	}
	{
		printf "%s    {", (NR > 2 ? ",\n" : "")
		for (i = 1; i <= NF; i++)
			if ($i != "-")
				printf "%s\"%s\": %s", (i > 1 ? ", " : ""), name[i],
					($i ~ /^[0-9]+$/ ? $i : "\"" $i "\"")
		printf "}"
	}
	END { print "\n  ]\n}" }' "$out/table.tsv" >"$out/bench.json"

# plot FILTER COLUMN TITLE LABEL COST...: a panel, cost against a column
plot()
{
	filter=$1 x=$2 title=$3 label=$4
	shift 4
	awk -F'\t' -v filter="$filter" '$1 ~ filter' "$out/table.tsv" >"$tmp/panel$panel"
	[ "$(wc -l <"$tmp/panel$panel")" -gt 1 ] || return 0
	echo "set title \"$title\""
	echo "set xlabel \"$label\""
	sep="plot "
	for c; do
		col=$(head -1 "$out/table.tsv" | tr '\t' '\n' | grep -nx -e "$c" | cut -d: -f1)
		printf '%s"%s" using %d:%d with linespoints title "%s"' "$sep" \
			"$tmp/panel$panel" $x $col "$c"
		sep=", "
	done
	echo
	panel=$((panel + 1))
}

panel=0
{
	cat <<EOF
set terminal svg size 1400,1000 font "sans,12" background rgb "white"
set output "$tmp/cost.svg"
set logscale xy
set grid
set key outside right
set ylabel "instructions"
set datafile separator "\t"
set multiplot layout 2,2
EOF
	all="preserve-iommufd freeze-to-jump switch-over adopt retrieve-iommufd bind restore attach finish unmap map-again"
	plot '^4k' 2 "4 KiB leaves, one device" "MiB mapped" $all
	plot '^2m' 2 "2 MiB leaves, one device" "MiB mapped" $all
	plot '^(2m-64M|devices)' 4 "64 MiB at 2 MiB leaves" "devices" preserve-cdev retrieve-cdev $all
	plot '^areas' 5 "areas of 4 KiB, one device" "areas" $all
	echo "unset multiplot"
} >"$tmp/plot"
if grep -q '^plot' "$tmp/plot"; then
	gnuplot "$tmp/plot" || die "gnuplot failed"
	mv "$tmp/cost.svg" "$out/cost.svg"
fi

say "results: $out/table.tsv, bench.json, cost.svg"
echo "1..$results"
[ $failed = 0 ]
