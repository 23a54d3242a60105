#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# README's map of files is true: every file of the repository is on it, and all
# that is on it is there. TAP.
set -euo pipefail
set -f		# names of the map are patterns for the files, not for the shell

top=${MAP_TOP:-$(realpath "$(dirname "$0")/../..")}

usage() {
	cat <<EOF
usage: $0 [-h]
Reads the section "What is where" of README. The first column of a line names files
or, with a slash at the end, directories with all that is in them; * is any part of a
name. Indented names are relative to the entry above, or to the top. Prints the files
that no name covers, and the names that cover none.
EOF
}

case ${1-} in
-h|--help) usage; exit 0 ;;
"") ;;
*) usage >&2; exit 2 ;;
esac

T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$top"
# What is new and not committed counts as well
git ls-files --cached --others --exclude-standard | while IFS= read -r f; do
	[[ ! -e $f ]] || printf '%s\n' "$f"
done >"$T/files"

# "PARENT NAME" for each name in the first column; PARENT is - for those that are not
# indented. What covers everything by "..." says nothing and is left out, and so is
# what is made.
awk '
	/^What is where$/	{ on = 1; next }
	on && /^-+$/ && ++rules == 2	{ exit }
	on && /^\t[^\t]/ {
		sub(/^\t/, "")
		nested = sub(/^ +/, "")
		names = $0
		sub(/(\t|  ).*/, "", names)
		gsub(/,/, " ", names)
		n = split(names, name, " ")
		if (!nested) parent = "-"
		if (names ~ /\.\.\./) next
		for (i = 1; i <= n; i++)
			if (name[i] != "build/") print (nested ? parent : "-"), name[i]
		if (!nested && n == 1 && name[1] ~ /\/$/) parent = name[1]
	}' README >"$T/names"

# The name as a regular expression of paths
pattern() {
	local p
	p=$(sed 's/[.+^$()[\]/\\&/g; s/\*/[^\/]*/g' <<<"$1")
	case $p in
	*/)	printf '^%s' "$p" ;;
	*)	printf '^%s(\\.[a-z0-9-]+\\.patch)?$' "$p" ;;
	esac
}

: >"$T/patterns"
: >"$T/gone"
while read -r parent name; do
	found=
	for try in ${parent#-}$name $name; do
		p=$(pattern "$try")
		if grep -qE -e "$p" "$T/files"; then
			printf '%s\n' "$p" >>"$T/patterns"
			found=1
			break
		fi
	done
	[[ -n $found ]] || printf '%s\n' "$name" >>"$T/gone"
done <"$T/names"

echo "TAP version 13"
echo "1..2"
failed=0
# report N WHAT FILE
report() {
	if [[ ! -s $3 ]]; then
		echo "ok $1 - $2"
	else
		sed 's/^/# /' "$3"
		echo "not ok $1 - $2"
		failed=1
	fi
}
if [[ -s $T/patterns ]]; then
	grep -vE -f "$T/patterns" "$T/files" >"$T/off" || true
else
	cp "$T/files" "$T/off"
fi
report 1 "every file is on README's map" "$T/off"
report 2 "what is on README's map is there" "$T/gone"
exit "$failed"
