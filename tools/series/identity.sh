#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# TAP: from the overlay to a tree made anew, and back to an overlay: the same
# one. Works on copies; the overlay and build/linux are not touched.
. "$(dirname "$0")/lib.sh"

case ${1-} in
-h|--help) echo "usage: $0: tree then sync of the overlay, on copies, as TAP"; exit 0 ;;
"") ;;
*) echo "usage: $0 [-h]" >&2; exit 2 ;;
esac

series_tmp
linux_open
copy=$TMP/copy
mkdir -p "$copy/build" "$copy/$ENTRIES"

n=0 failed=0
result() {
	n=$((n + 1))
	if (( $1 )); then
		sed 's/^/# /' "$TMP/log"
		echo "not ok $n - $2"
		failed=1
	else
		echo "ok $n - $2"
	fi
}

# The overlay alone, and the base as build/linux has it: objects shared, work
# tree not there (nothing here reads one).
copy_overlay() {
	local f

	series_read "$TOP"
	for f in "${FILES[@]}" "${ENTRY[@]/#/$ENTRIES/}" "$ENTRIES/base"; do
		if [[ -e $TOP/$f || -L $TOP/$f ]]; then
			mkdir -p "$copy/$(dirname "$f")"
			cp -P --preserve=mode "$TOP/$f" "$copy/$f"
		fi
	done
}

copy_base() {
	git clone -q --shared --bare "$LINUX" "$copy/build/linux/.git" &&
	git -C "$copy/build/linux" config core.bare false &&
	git -C "$copy/build/linux" update-ref refs/series/base "$base" &&
	git -C "$copy/build/linux" update-ref refs/heads/series "$base" &&
	git -C "$copy/build/linux" symbolic-ref HEAD refs/heads/series &&
	git -C "$copy/build/linux" config core.sparseCheckout true &&
	mkdir -p "$copy/build/linux/.git/info" "$copy/build/base" "$copy/build/linux/.git/series" &&
	echo '/Makefile' >"$copy/build/linux/.git/info/sparse-checkout" &&
	git -C "$copy/build/linux" read-tree -m -u "$base" &&
	cp "$BUILD/base.info" "$copy/build/base.info" &&
	cp "$STATE/base.info" "$copy/build/linux/.git/series/base.info" &&
	printf 'head %s\noverlay none\n' "$base" >"$copy/build/linux/.git/series/state"
}

echo "TAP version 13"
rc=0
{ copy_overlay && copy_base; } >"$TMP/log" 2>&1 || rc=$?
(( ! rc )) || { result 1 "copy of overlay and base"; echo "1..$n"; exit 1; }
run() { SERIES_TOP=$copy BUILD=$copy/build "$SERIES_SCRIPTS/$1" "${@:2}"; }

rc=0; run tree.sh >"$TMP/log" 2>&1 || rc=1
result "$rc" "overlay to tree, ${#SLUGS[@]} entries"
tree1=$(git -C "$copy/build/linux" log --format=%T refs/series/base..HEAD)

# Sync must do the work, not find that there is nothing to do.
opts=() recorded=1
if [[ $(info "$TOP/$ENTRIES/base" tree) != "$(info "$STATE/base.info" tree)" ]]; then
	recorded=0
	opts=(--new-base)
fi
rc=0; run sync.sh "${opts[@]}" >"$TMP/log" 2>&1 || rc=1
result "$rc" "tree to overlay"

if (( recorded )); then
	rc=0
	for f in "${FILES[@]}" "${ENTRY[@]/#/$ENTRIES/}"; do
		if [[ -L $TOP/$f ]]; then
			[[ $(readlink "$TOP/$f") == "$(readlink "$copy/$f")" ]] || { echo "$f"; rc=1; }
		else
			[[ $(file_mode "$TOP/$f") == "$(file_mode "$copy/$f")" ]] &&
				diff -u "$TOP/$f" "$copy/$f" || { echo "$f"; rc=1; }
		fi
	done >"$TMP/log" 2>&1
	here=$(printf '%s\n' "${FILES[@]}" "${ENTRY[@]/#/$ENTRIES/}" | sort -u)
	there=$(cd "$copy" && find . -path ./build -prune -o ! -type d ! -path "./$ENTRIES/base" -printf '%P\n' | sort)
	[[ $(sort -u <<<"$here" | sed '/^$/d') == "$there" ]] ||
		{ diff <(echo "$here") <(echo "$there") >>"$TMP/log" || true; rc=1; }
	result "$rc" "it is the same overlay"
else
	n=$((n + 1))
	echo "ok $n - it is the same overlay # SKIP the base is $(info "$STATE/base.info" version), not the recorded one"
fi

rm -rf "$copy/build/linux"
rc=0
{ copy_base && run tree.sh; } >"$TMP/log" 2>&1 || rc=1
tree2=$(git -C "$copy/build/linux" log --format=%T refs/series/base..HEAD)
[[ $tree1 == "$tree2" ]] || { echo "trees differ" >>"$TMP/log"; rc=1; }
result "$rc" "and gives the same trees again"
echo "1..$n"
exit "$failed"
