#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The series as mails: git format-patch of build/linux, Series-Id stripped,
# signed off by whoever exports.
. "$(dirname "$0")/lib.sh"

usage() {
	cat <<EOF
usage: $0 [--output DIR] [--as "NAME <MAIL>"] [-v N] [-h]
Writes the patches and the cover letter (text from tools/series/cover,
and the table tools/series/findings, if there is one) to
build/series. From: and Signed-off-by: are git's user.name and user.email.
  --output DIR        write there instead (emptied of *.patch first)
  --as "NAME <MAIL>"  who exports, if not git's user
  -v N                mark as version N, [PATCH vN n/m]
EOF
}

out=$BUILD/series
version=
name=$(git -C "$TOP" config user.name || true)
mail=$(git -C "$TOP" config user.email || true)
while (( $# )); do
	case $1 in
	-h|--help) usage; exit 0 ;;
	--output) has_value "$@"; out=$2; shift ;;
	--as)
		has_value "$@"
		name=${2%% <*} mail=${2##*<}
		mail=${mail%>}
		shift ;;
	-v) has_value "$@"; version=$2; shift ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

series_lock
series_tmp
linux_open

[[ -n $name && -n $mail ]] ||
	die "who signs off? set git config user.name and user.email"
export GIT_AUTHOR_NAME=$name GIT_AUTHOR_EMAIL=$mail
export GIT_COMMITTER_NAME=$name GIT_COMMITTER_EMAIL=$mail

if linux_dirty; then die "$LINUX has changes that are not committed"; fi
parent=$base
count=0
while read -r c; do
	[[ -n $c ]] || continue
	g show -s --format=%B "$c" |
		sed -e '/^Series-Id:/d' -e '/^Signed-off-by:/d' >"$TMP/msg.in"
	g interpret-trailers --no-divider --trailer "Signed-off-by: $name <$mail>" \
		"$TMP/msg.in" >"$TMP/msg"
	parent=$(g commit-tree "$(g rev-parse "$c^{tree}")" -p "$parent" -F "$TMP/msg")
	count=$((count + 1))
done < <(g rev-list --reverse "$base..$head")
mkdir -p "$out"
find "$out" -maxdepth 1 -name '*.patch' -delete
if (( ! count )); then
	echo "series: no entries, nothing to export"
	exit 0
fi

opts=(--cover-letter --no-color --no-renames --no-signature
      --output-directory "$(realpath "$out")" --quiet)
[[ -z $version ]] || opts+=(-v "$version")
g format-patch "${opts[@]}" "$base..$parent"
cover=$(find "$out" -name '*0000-cover-letter.patch')
if [[ -f $TOP/$ENTRIES/cover ]]; then
	[[ ! -f $TOP/$ENTRIES/findings ]] ||
		"$SERIES_SCRIPTS/findings.sh" --text >"$TMP/findings"
	awk -v text="$TOP/$ENTRIES/cover" \
	    -v on="Made on Linux $(info "$STATE/base.info" version)." -v table="$TMP/findings" '
	BEGIN { getline subject < text; getline < text
		while ((getline l < text) > 0) body = body (body ? "\n" : "") l
		body = body "\n\n" on
		while ((getline l < table) > 0) body = body (n++ ? "\n" : "\n\n") l }
	/^Subject: / { sub(/\*\*\* SUBJECT HERE \*\*\*/, subject) }
	/^\*\*\* BLURB HERE \*\*\*$/ { print body; next }
	{ print }' "$cover" >"$TMP/cover"
	mv "$TMP/cover" "$cover"
fi
echo "series: $count patches and the cover letter in $out"
