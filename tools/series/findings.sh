#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The table of review findings of the public series, tools/series/findings: is
# it whole, and is everything where it says? As TAP, or as text for a mail.
. "$(dirname "$0")/lib.sh"

usage() {
	cat <<EOF
usage: $0 [--text] [--count N] [-h]
Checks that tools/series/findings has each finding from 1 to N once, that each
status is one of three, and that what is handled names files that are there
(build/linux or the overlay) and names that are in them. Needs make tree.
  --text     print the table as text instead, in lines for a mail
  --count N  how many findings there are, if not 144
EOF
}

text=0 count=144
while (( $# )); do
	case $1 in
	-h|--help) usage; exit 0 ;;
	--text) text=1 ;;
	--count) has_value "$@"; count=$2; shift ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

table=$TOP/$ENTRIES/findings
[[ -f $table ]] || die "there is no $table"

# Lines of 72; what is longer is one word, a path. Twice over the table: the
# numbers come first.
as_text() {
	awk -F' *\\| *' '
	function wrap(text, first, rest,	n, i, line, words) {
		n = split(text, words, " ")
		line = first
		for (i = 1; i <= n; i++) {
			if (line != first && line != rest &&
			    length(line) + length(words[i]) > 71) {
				print line
				line = rest
			}
			line = line (line == "" || line ~ / $/ ? "" : " ") words[i]
		}
		print line
	}
	NR == FNR {
		if (/^[0-9]/) {
			total[$3]++
			all++
			if ($3 == "open")
				open = open (open ? ", " : "") $1
		}
		next
	}
	FNR == 1 {
		wrap("What reviewers and readers found in the public series (v1 to " \
		     "v5, and the RFCs before it), and what became of it here: " \
		     all " findings, " total["handled"] + 0 " handled, " \
		     total["not applicable"] + 0 " not applicable, " \
		     total["open"] + 0 " open" (open ? " (" open ")" : "") ".",
		     "", "")
	}
	/^## / {
		print ""
		wrap(substr($0, 4) ":", "", "")
	}
	/^[0-9]/ {
		print ""
		wrap($2, sprintf("%3d. ", $1), "     ")
		wrap(toupper(substr($3, 1, 1)) substr($3, 2) ": " $4, "     ",
		     "     ")
	}' "$table" "$table"
}

if (( text )); then
	as_text
	exit
fi

[[ -d $LINUX ]] || die "there is no $LINUX yet: make tree"
series_tmp

n=0 failed=0
# Passes if $TMP/log is empty
result() {
	n=$((n + 1))
	if [[ -s $TMP/log ]]; then
		sed 's/^/# /' "$TMP/log"
		echo "not ok $n - $1"
		failed=1
	else
		echo "ok $n - $1"
	fi
	: >"$TMP/log"
}

trim() {
	local s=$1

	s=${s#"${s%%[![:space:]]*}"}
	printf '%s' "${s%"${s##*[![:space:]]}"}"
}

numbers=() findings=() statuses=() wheres=()
: >"$TMP/log"
while IFS= read -r line; do
	[[ -n $line && $line != '#'* ]] || continue
	if [[ ! $line =~ ^([0-9]+)\ \|\ ([^|]*)\ \|\ ([^|]*)\ \|\ ([^|]*)$ ]]; then
		echo "not 'number | finding | status | where': $line" >>"$TMP/log"
		continue
	fi
	numbers+=("${BASH_REMATCH[1]}")
	findings+=("${BASH_REMATCH[2]}")
	statuses+=("${BASH_REMATCH[3]}")
	wheres+=("${BASH_REMATCH[4]}")
done <"$table"

echo "TAP version 13"
result "each line of the table has four fields"

printf '%s\n' "${numbers[@]}" | sort -n >"$TMP/numbers"
seq "$count" | diff - "$TMP/numbers" |
	sed -n 's/^< /missing: /p; s/^> /twice, or too many: /p' >"$TMP/log" || true
result "$count findings, each number once"

declare -A total=([handled]=0 ["not applicable"]=0 [open]=0)
for i in "${!numbers[@]}"; do
	status=${statuses[i]}
	case $status in
	handled|"not applicable"|open) total[$status]=$((total[$status] + 1)) ;;
	*) echo "${numbers[i]}: status '$status'" >>"$TMP/log" ;;
	esac
done
result "each is handled, not applicable or open"

for i in "${!numbers[@]}"; do
	[[ -n $(trim "${findings[i]}") ]] || echo "${numbers[i]}: finding?" >>"$TMP/log"
	[[ -n $(trim "${wheres[i]}") ]] || echo "${numbers[i]}: where, or why?" >>"$TMP/log"
done
result "none without a finding, and a place or reason"

# FILE: NAME, NAME; FILE: NAME - what there is to say
: >"$TMP/names"
files=0 names=0
for i in "${!numbers[@]}"; do
	[[ ${statuses[i]} == handled ]] || continue
	IFS=';' read -ra places <<<"${wheres[i]%% - *}"
	for place in "${places[@]}"; do
		path=$(trim "${place%%: *}")
		if [[ $place != *": "* ]]; then
			echo "${numbers[i]}: '$path' is not 'FILE: NAME, NAME'" >>"$TMP/log"
			continue
		fi
		files=$((files + 1))
		file=$LINUX/$path
		[[ -f $file ]] || file=$TOP/$path
		if [[ ! -f $file ]]; then
			echo "${numbers[i]}: there is no $path" >>"$TMP/log"
			continue
		fi
		IFS=',' read -ra list <<<"${place#*: }"
		for name in "${list[@]}"; do
			name=$(trim "$name")
			names=$((names + 1))
			if [[ -z $name ]] || ! grep -qwFe "$name" "$file"; then
				echo "${numbers[i]}: $path has no '$name'" >>"$TMP/names"
			fi
		done
	done
done
result "what is handled is in $files places, the files of all are there"
mv "$TMP/names" "$TMP/log"
result "and so are the $names names in them"

echo "# ${total[handled]} handled, ${total["not applicable"]} not applicable, ${total[open]} open"
echo "1..$n"
exit "$failed"
