#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Draw DIR/dma.svg: frames against time, blackout shaded, one mark per phase.
set -eu
. "$(dirname "$0")/common.sh"

case ${1:--h} in
-h|--help)	echo "usage: plot.sh DIR"; exit 0 ;;
esac
dir=$1
need gnuplot gnuplot-nox

# Time zero is the last instruction of the old VMM, or else the first frame.
zero=$(awk -F'\t' '$2 == "mark" && $3 == "vmm-last" { print $1; exit }' "$dir/marks.tsv")
[ -n "$zero" ] || zero=$(awk -F'\t' 'NR == 1 { print $1 }' "$dir/sends.tsv")
[ -n "$zero" ] || { say "nothing was sent: no picture"; exit 0; }

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Nanoseconds exceed what awk's numbers hold exactly: cut both to microseconds.
seconds='function s(t) { return (substr(t, 1, length(t) - 3) - substr(zero, 1, length(zero) - 3)) / 1e6 }'
for nic in 0 1; do
	awk -F'\t' -v zero="$zero" -v nic=$nic "$seconds"'
		$2 == nic && $3 < 3 { printf "%.6f\n", s($1) }' \
		"$dir/sends.tsv" | awk '{ print $1, NR }' >"$tmp/sent$nic"
	awk -F'\t' -v zero="$zero" -v nic=$nic "$seconds"'
		$3 == nic && $5 < 3 && !seen[$6]++ { printf "%.6f\n", s($1) }' \
		"$dir/arrivals.tsv" | sort -n | awk '{ print $1, NR }' >"$tmp/arrived$nic"
done
awk -F'\t' -v zero="$zero" "$seconds"'
	$2 == "mark" { split($3, w, " "); printf "%.6f %s\n", s($1), w[1] }' \
	"$dir/marks.tsv" >"$tmp/marks"
awk -F'\t' -v zero="$zero" "$seconds"'
	/Starting new kernel/ { printf "%.6f kexec\n", s($1); k = 1 }
	k && /Linux version/ { printf "%.6f new-kernel\n", s($1); k = 0 }' \
	"$dir/console.tsv" >>"$tmp/marks"
last=$(cat "$tmp/marks" "$tmp"/sent* | sort -n | awk 'END { print $1 + 0.5 }')
# Each kexec has its blackout, which lasts to the end if nothing is taken back.
blackouts=$(sort -n "$tmp/marks" | awk -v last="$last" '
	$2 == "vmm-last" { from = $1; open = 1 }
	open && $2 == "attached" { print from, $1; open = 0 }
	END { if (open) print from, last }')
[ -n "$blackouts" ] || blackouts="0 $last"

{
	cat <<EOF
set terminal svg size 1200,640 font "sans,13" background rgb "white"
set output "$tmp/dma.svg"
set title "$(sed -n 's/^case\t//p' "$dir/run.tsv"): $(sed -n 's/^  "verdict": "\(.*\)"$/\1/p' "$dir/report.json" | cut -c1-110 | tr -d '"\\\\' | sed 's/_/\\\\_/g')"
set xlabel "seconds since the last instruction of the old VMM"
set ylabel "frames"
set key top left
set grid ytics
set rmargin 3
set xrange [:$last]
set style line 1 lc rgb "#999999" lw 5
set style line 2 lc rgb "#1f5fa8" lw 2
set style line 3 lc rgb "#d0b080" lw 5
set style line 4 lc rgb "#b04010" lw 2
$(echo "$blackouts" | awk '{ printf "set object rectangle from %s, graph 0 to %s, graph 1 behind fillcolor rgb \"#dde6f5\" fillstyle solid noborder\n", $1, $2 }')
EOF
	# Names of marks that stand close together go to different heights.
	sort -n "$tmp/marks" | awk -v last="$last" '
		{ name = $2; x = $1
		  near = last > 0 ? (last + 4) / 60 : 0.1
		  level = (NR > 1 && x - prev < near) ? (level + 1) % 12 : 0
		  prev = x
		  printf "set arrow from %s, graph 0 to %s, graph 1 nohead lc rgb \"#c0c0c0\" dt 2\n", x, x
		  printf "set label \"%s\" at %s, graph %.3f font \"sans,9\" offset 0.3,0\n", name, x, 0.03 + level * 0.038 }'
	printf 'plot "%s/sent0" using 1:2 with lines ls 1 title "sent to NIC 0"' "$tmp"
	[ ! -s "$tmp/arrived0" ] || printf ', "%s/arrived0" using 1:2 with lines ls 2 title "in memory"' "$tmp"
	[ ! -s "$tmp/sent1" ] || printf ', "%s/sent1" using 1:2 with lines ls 3 title "sent to NIC 1"' "$tmp"
	[ ! -s "$tmp/arrived1" ] || printf ', "%s/arrived1" using 1:2 with lines ls 4 title "in memory (NIC 1)"' "$tmp"
	echo
} >"$tmp/plot"
[ -s "$tmp/sent0" ] || { say "nothing was sent: no picture"; exit 0; }
gnuplot "$tmp/plot" || die "gnuplot failed"
mv "$tmp/dma.svg" "$dir/dma.svg"
