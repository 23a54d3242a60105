#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build the pages of Documentation/ that the series touches with Sphinx. TAP: one test
# per page, failed by any warning in it or in the kernel-doc it takes in.
. "$(dirname "$0")/lib.sh"

case ${1-} in
-h|--help)
	echo "usage: $0: make htmldocs of what the series touches, in build/docs, as TAP; installs Sphinx"
	exit 0 ;;
"") ;;
*) echo "usage: $0 [-h]" >&2; exit 2 ;;
esac

# Sphinx is for Debian's python
PATH=/usr/bin:/bin:$PATH
"$SERIES_SCRIPTS/../setup/packages.sh" --with python3-sphinx --with python3-yaml >&2
linux_open
series_tmp
mapfile -t pages < <(g diff --name-only --no-renames --diff-filter=AM "$base" -- 'Documentation/*.rst' |
	sed 's,^Documentation/,,; s,\.rst$,,')
(( ${#pages[@]} )) || die "the series touches no page of Documentation/"
mapfile -t dirs < <(printf '%s\n' "${pages[@]}" | cut -d/ -f1 | sort -u)

# A page that has not changed would not warn again.
out=$BUILD/docs log=$BUILD/docs.log
rm -rf "$out"
mkdir -p "$out"
echo "docs: htmldocs of ${dirs[*]}, some minutes (log: $log)" >&2
rc=0
make -s -C "$LINUX" O="$out" SPHINXOPTS="-q -j$(nproc)" SPHINXDIRS="${dirs[*]}" htmldocs >"$log" 2>&1 || rc=$?

# A link to a page of a directory that is not built here, or to a label there, is no mistake.
grep -E 'WARNING|ERROR' "$log" | while IFS= read -r line; do
	to=$(sed -nE "s,.*(unknown document: |nonexisting document )'/?([^']*)'.*,\2,p" <<<"$line")
	label=$(sed -nE "s,.*undefined label: '([^']*)'.*,\1,p" <<<"$line")
	[[ -n $to && -f $LINUX/Documentation/$to.rst ]] ||
		{ [[ -n $label ]] && grep -rqiF ".. _$label:" "$LINUX/Documentation" --include='*.rst'; } ||
		printf '%s\n' "$line"
done >"$TMP/warnings" || true

echo "TAP version 13"
echo "1..$((${#pages[@]} + 1))"
n=1 failed=0
if (( rc )); then
	tail -n 5 "$log" | sed 's/^/# /'
	echo "not ok 1 - docs: htmldocs"
	failed=1
else
	echo "ok 1 - docs: htmldocs"
fi
for page in "${pages[@]}"; do
	n=$((n + 1))
	html=$(find "$out" -path "*/${page#*/}.html" -print -quit)
	if [[ -n $html ]] && ! grep -E "Documentation/$page(\.rst)?:" "$TMP/warnings" >"$TMP/page"; then
		echo "ok $n - docs: $page"
	else
		sed "s,$LINUX/,,g; s/^/# /" "$TMP/page" 2>/dev/null || true
		echo "not ok $n - docs: $page"
		failed=1
	fi
done
exit "$failed"
