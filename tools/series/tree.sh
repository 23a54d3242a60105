#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Overlay to tree: build/linux becomes the base plus one commit per entry of
# tools/series.
. "$(dirname "$0")/lib.sh"

usage() {
	cat <<EOF
usage: $0 [--force | --synced] [-h]
Writes build/linux from build/base and the overlay. Work there that make sync
has not brought back is kept: if only the tree moved it is left as it is, if
the overlay moved too this refuses.
  --force  drop what is in build/linux and not in the overlay
  --synced do nothing; succeeds if build/linux has nothing that make sync has
           not brought back
EOF
}

force=0 query=0
for arg; do
	case $arg in
	-h|--help) usage; exit 0 ;;
	--force) force=1 ;;
	--synced) query=1 ;;
	*) usage >&2; exit 2 ;;
	esac
done

# The base as one commit, in a directory that becomes build/linux when whole.
linux_create() {
	local new=$TMP/linux need free tree id

	need=$(( $(du -sm "$BASE" | cut -f1) * 2 ))
	free=$(df -Pm "$BUILD" 2>/dev/null | awk 'END { print $4 }')
	(( ${free:-99999} > need )) ||
		die "no space: $BUILD has $free MiB left, the tree needs $need; free some and run again"
	echo "tree: making a git repository of $(info "$BUILD/base.info" version) (once per base)"
	cp -a --reflink=auto "$BASE" "$new"
	rm -rf "$new/.git"
	# Debian's tarball ends .gitignore with a section that ignores the
	# whole tree, for its own packaging.
	if [[ -f $new/.gitignore ]]; then
		awk '{ l[NR] = $0 } /^# Debian packaging/ { cut = NR - 1; exit }
		     END { n = cut ? cut - 1 : NR; for (i = 1; i <= n; i++) print l[i] }' \
			"$BASE/.gitignore" >"$TMP/gitignore"
		cat "$TMP/gitignore" >"$new/.gitignore"
	fi
	(
		LINUX=$new
		g init -q -b "$BRANCH"
		g config gc.auto 0
		g config index.version 4
		# The threshold makes git stream everything into one pack
		# instead of writing a file per object.
		g -c core.bigFileThreshold=1 -c core.compression=1 add -A -f .
		tree=$(g write-tree)
		id=$(printf 'tree %s\nauthor %s\ncommitter %s\n\nLinux %s\n' "$tree" "$FIXED" \
			"$FIXED" "$(info "$BUILD/base.info" version)" | g hash-object -t commit -w --stdin)
		g update-ref refs/series/base "$id"
		g update-ref "refs/heads/$BRANCH" "$id"
		mkdir "$new/.git/series"
		cp "$BUILD/base.info" "$new/.git/series/base.info"
		echo "tree $tree" >>"$new/.git/series/base.info"
	) || die "cannot make a git repository in $new"
	if [[ -e $LINUX ]]; then mv "$LINUX" "$TMP/linux.old"; fi
	mv "$new" "$LINUX"
}

# Is what is in build/linux the base that build/base holds?
same_base() {
	[[ "$(grep -v '^tree ' "$STATE/base.info")" == "$(cat "$BUILD/base.info")" ]]
}

series_lock
series_tmp
if (( query )); then
	linux_open
	[[ $head == "$(info "$STATE/state" head)" ]] && ! linux_dirty
	exit
fi
[[ -d $BASE && -f $BUILD/base.info ]] || die "there is no $BASE yet: make base"

series_read "$TOP"
hash=$(overlay_hash "$TOP")
created=0
if [[ ! -d $LINUX ]]; then
	linux_create
	created=1
fi
linux_open
if (( ! created )); then
	moved=0
	[[ $head == "$(info "$STATE/state" head)" ]] || moved=1
	if linux_dirty; then moved=1; fi
	changed=0
	[[ $hash == "$(info "$STATE/state" overlay)" ]] || changed=1
	if ! same_base; then
		(( ! moved || force )) ||
			die "the base has changed, and $LINUX has work that is not in the overlay: make sync with the old base first, or make tree FORCE=1 to drop it"
		linux_create
		linux_open
		created=1
	elif (( moved && ! force )); then
		(( ! changed )) ||
			die "both moved since the last tree or sync: the overlay and $LINUX; save one of them (git branch, git stash), then make tree FORCE=1 drops what is in $LINUX"
		echo "tree: $LINUX has work that is not in the overlay yet (make sync); left as it is"
		exit 0
	elif (( ! changed && ! moved )); then
		echo "tree: up to date (${#SLUGS[@]} entries on Linux $(info "$STATE/base.info" version))"
		exit 0
	fi
fi

series_build "$TOP"
if [[ -s $TMP/offsets ]]; then
	echo "tree: $(wc -l <"$TMP/offsets") hunks apply at an offset (the base is not the recorded one)"
fi
if (( force )); then
	g reset -q --hard
fi
# Only files that differ are written.
if (( created )) || (( force )); then
	g checkout -q -B "$BRANCH" "$base"
	g reset -q --hard "$HEAD_NEW"
else
	g checkout -q -B "$BRANCH"
	g reset -q --keep "$HEAD_NEW" ||
		die "$LINUX: untracked files are in the way (see above)"
fi
state_write "$HEAD_NEW" "$hash"
echo "tree: ${#SLUGS[@]} entries on Linux $(info "$STATE/base.info" version), tree $(g rev-parse "HEAD^{tree}")"
