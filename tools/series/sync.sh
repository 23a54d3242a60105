#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tree to overlay: the commits of build/linux become entries of tools/series
# and files of the overlay. Everything is written beside the overlay first,
# built again from there, and taken over only if that gives the same trees.
. "$(dirname "$0")/lib.sh"

usage() {
	cat <<EOF
usage: $0 [--new-base] [-h]
Writes the commits of build/linux, base to HEAD, back into the overlay. Each
needs a trailer "Series-Id: <slug>" (a new slug makes a new entry); fixup!
commits have to be squashed first. Refuses when the overlay moved as well.
  --new-base  the series is meant to move to the base in build/base: record it
              in tools/series/base
EOF
}

new_base=0
for arg; do
	case $arg in
	-h|--help) usage; exit 0 ;;
	--new-base) new_base=1 ;;
	*) usage >&2; exit 2 ;;
	esac
done

# Sets IDS (commits in order), SLUG_OF, and refuses what cannot be an entry.
declare -a IDS=()
declare -A SLUG_OF=()
read_commits() {
	local c subject slug body
	local -A seen=()

	g merge-base --is-ancestor "$base" "$head" ||
		die "HEAD of $LINUX is not built on its base commit ${base:0:12} (refs/series/base): rebase it there"
	[[ -z $(g rev-list --merges "$base..$head") ]] ||
		die "there is a merge commit in $LINUX: rebase to a straight line first"
	while read -r c; do
		[[ -n $c ]] || continue
		body=$(g show -s --format=%B "$c")
		subject=${body%%$'\n'*}
		case $subject in
		fixup!*|squash!*|amend!*)
			die "commit ${c:0:12} \"$subject\" is not squashed: git rebase -i --autosquash refs/series/base first" ;;
		"")	die "commit ${c:0:12} has no subject" ;;
		esac
		slug=$(sed -n 's/^Series-Id: *//p' <<<"$body")
		[[ -n $slug ]] ||
			die "commit ${c:0:12} \"$subject\" has no Series-Id: add a line 'Series-Id: <slug>' to its message"
		[[ $slug =~ ^[a-z0-9][a-z0-9-]*$ ]] ||
			die "commit ${c:0:12} \"$subject\": Series-Id must be one slug of a-z, 0-9 and -"
		[[ ! -v seen[$slug] ]] ||
			die "commits ${seen[$slug]:0:12} and ${c:0:12} both have Series-Id $slug"
		! grep -qx -e '---' <<<"$body" ||
			die "commit ${c:0:12} \"$subject\": a line '---' ends the message in a mail, leave it out"
		seen[$slug]=$c
		SLUG_OF[$c]=$slug
		IDS+=("$c")
	done < <(g rev-list --reverse "$base..$head")
}

# Numbers for the entries: as many as possible keep the one they have (the
# longest increasing run of them), the others go in between, in tens where
# there is room. Prints a number per commit.
number_entries() {
	local c slug f
	for c in "${IDS[@]}"; do
		slug=${SLUG_OF[$c]}
		f=${OLD_ENTRY[$slug]-}
		echo "${f%%-*}"
	done | awk '
	{ have[NR] = $1 == "" ? -1 : $1 + 0 }
	END {
		for (i = 1; i <= NR; i++) {
			if (have[i] < 0)
				continue
			len[i] = 1
			for (j = 1; j < i; j++)
				if (have[j] >= 0 && have[j] < have[i] && len[j] >= len[i]) {
					len[i] = len[j] + 1
					from[i] = j
				}
			if (len[i] > len[best])
				best = i
		}
		for (i = best; i; i = from[i])
			keep[i] = 1
		prev = 0
		for (i = 1; i <= NR; i++) {
			if (keep[i]) {
				n[i] = have[i]
			} else {
				for (k = i; k <= NR && !keep[k]; k++)
					;
				if (k > NR) {
					n[i] = (int(prev / 10) + 1) * 10
				} else {
					step = int((have[k] - prev) / (k - i + 1))
					n[i] = prev + (step > 10 ? 10 : step)
					if (step < 1)
						full = 1
				}
			}
			prev = n[i]
		}
		for (i = 1; i <= NR; i++)
			printf "%03d\n", full ? i * 10 : n[i]
	}'
}

# Commits to the overlay in $1
write_stage() {
	local stage=$1 c slug entry op path mode meta f i
	local -A own=()
	local -a numbers

	mapfile -t numbers < <(number_entries)
	mkdir -p "$stage/$ENTRIES"
	for i in "${!IDS[@]}"; do
		c=${IDS[i]}
		slug=${SLUG_OF[$c]}
		entry=$stage/$ENTRIES/${numbers[i]}-$slug
		# The exporter signs off, see export.sh
		g show -s --format=%B "$c" |
			sed -e '/^Series-Id:/d' -e '/^Signed-off-by:/d' -e 's/[ \t]*$//' |
			sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$entry"
		echo --- >>"$entry"
		g diff-tree -r -O/dev/null --no-renames --raw --no-abbrev --no-commit-id "$c" >"$TMP/raw"
		[[ -s $TMP/raw ]] ||
			die "commit ${c:0:12} ($slug) changes nothing: drop it"
		# One diff, cut where a file begins; lines of hunks never begin so.
		rm -rf "$TMP/diff"
		mkdir "$TMP/diff"
		g "${DIFF[@]}" --diff-filter=M "$c^" "$c" |
			awk -v to="$TMP/diff/" '
			/^diff --git a\// {
				close(f)
				p = substr($0, 14)
				p = substr(p, 1, (length(p) - 3) / 2)
				gsub("/", "%", p)
				f = to p
			}
			!/^index / { print >f }'
		while IFS=$'\t' read -r meta path; do
			# :old-mode new-mode old-blob new-blob op
			read -r _ mode _ blob op <<<"$meta"
			[[ $path =~ ^[A-Za-z0-9._+,@=~/-]+$ ]] ||
				die "$path (in $slug): a path with characters the series cannot take"
			[[ $path != *.patch ]] ||
				die "$path (in $slug): the overlay keeps its edits in .patch files, the series cannot add one"
			[[ $mode != 160000 ]] || die "$path (in $slug): submodules are not supported"
			case $op in
			A)
				! is_own "$path" ||
					die "$path (in $slug): a path of the overlay repository's own, the series cannot add it"
				own[$path]=1
				;;
			M)
				f=$path.$slug.patch
				mkdir -p "$stage/$(dirname "$f")"
				mv "$TMP/diff/${path//\//%}" "$stage/$f"
				! grep -q '^Binary files ' "$stage/$f" ||
					die "$path (in $slug): an edit of a binary file cannot be kept as a patch"
				;;
			D)
				[[ ! -v own[$path] ]] ||
					die "$path: $slug deletes what an earlier commit of the series adds: squash or split so that it is never added"
				;;
			T)	die "$path (in $slug): changes from file to link or back; delete it in one commit and add it in another" ;;
			*)	die "$path (in $slug): git says $op, the series knows A, M and D" ;;
			esac
			echo "$op $path" >>"$entry"
		done <"$TMP/raw"
	done
	if (( ${#own[@]} )); then
		g ls-tree -r "$head" -- "${!own[@]}" | sed 's/^\([0-9]*\) blob /\1 /' |
			GIT_INDEX_FILE=$TMP/own.index g update-index --index-info
		GIT_INDEX_FILE=$TMP/own.index g checkout-index -q -a --prefix="$stage/"
	fi
}

same_file() {
	[[ ( -e $2 || -L $2 ) && $(file_mode "$1") == "$(file_mode "$2")" ]] || return 1
	if [[ -L $1 ]]; then
		[[ $(readlink "$1") == "$(readlink "$2")" ]]
	else
		cmp -s "$1" "$2"
	fi
}

series_lock
series_tmp
linux_open
series_read "$TOP"
hash=$(overlay_hash "$TOP")

# Who moved since overlay and tree were the same?
if linux_dirty; then
	die "$LINUX has changes that are not committed: commit them (or git commit --fixup and autosquash)"
fi
moved=0
[[ $head == "$(info "$STATE/state" head)" ]] || moved=1
changed=0
[[ $hash == "$(info "$STATE/state" overlay)" ]] || changed=1
(( ! changed || ! moved )) ||
	die "both moved since the last tree or sync: the overlay and $LINUX; put one of them back (git stash in the overlay), then sync"
(( ! changed )) ||
	die "the overlay has changed and $LINUX has not: make tree, not make sync"

# The patches are exact for one base only.
record=$TOP/$ENTRIES/base
if [[ -f $record && $(info "$record" tree) != "$(info "$STATE/base.info" tree)" ]] && (( ! new_base )); then
	die "$LINUX is on Linux $(info "$STATE/base.info" version) ($(info "$STATE/base.info" source)), not on the recorded base, $(info "$record" version) package $(info "$record" package): use that, or move the series with make sync NEW_BASE=1"
fi

read_commits
declare -A OLD_ENTRY=()
OLD_FILES=("${FILES[@]}")
for slug in "${SLUGS[@]}"; do
	OLD_ENTRY[$slug]=${ENTRY[$slug]}
	OLD_FILES+=("$ENTRIES/${ENTRY[$slug]}")
done

stage=$TMP/overlay
write_stage "$stage"

# Build it again from what was written: same trees, or nothing is taken over.
series_read "$stage"
series_build "$stage"
g log --reverse --format=%T "$base..$head" >"$TMP/trees"
slug=$(cut -d' ' -f3 "$TMP/chain" | paste - "$TMP/trees" -d' ' |
	awk '$1 != $2 { print NR; exit }')
[[ -z $slug ]] ||
	die "${SLUGS[slug - 1]} does not come out of the overlay as it went in; this is a bug in $0"
[[ $(g rev-parse "$HEAD_NEW^{tree}") == "$(g rev-parse "$head^{tree}")" ]] ||
	die "the tree does not come out of the overlay as it went in; this is a bug in $0"

# What lies in the way of a new file and is none of ours stays.
declare -A old=() new=()
for f in "${OLD_FILES[@]}"; do old[$f]=1; done
written=0 gone=0
NEW_FILES=("${FILES[@]}")
for slug in "${SLUGS[@]}"; do NEW_FILES+=("$ENTRIES/${ENTRY[$slug]}"); done
for f in "${NEW_FILES[@]}"; do
	new[$f]=1
	if [[ ! -v old[$f] && ( -e $TOP/$f || -L $TOP/$f ) ]] && ! same_file "$stage/$f" "$TOP/$f"; then
		die "$f exists in the overlay, but no entry brings it: move it away"
	fi
done
for f in "${NEW_FILES[@]}"; do
	same_file "$stage/$f" "$TOP/$f" && continue
	mkdir -p "$TOP/$(dirname "$f")"
	mv -T "$stage/$f" "$TOP/$f"
	written=$((written + 1))
done
for f in "${OLD_FILES[@]}"; do
	[[ ! -v new[$f] ]] || continue
	[[ -e $TOP/$f || -L $TOP/$f ]] || continue
	rm -f "$TOP/$f"
	(cd "$TOP" && rmdir -p --ignore-fail-on-non-empty "$(dirname "$f")" 2>/dev/null) || true
	gone=$((gone + 1))
done
if [[ ! -f $record ]] || (( new_base )); then
	{
		echo "# The base the patches of the overlay were made on. Written by sync.sh."
		grep -v '^source ' "$STATE/base.info"
	} >"$TMP/base"
	cmp -s "$TMP/base" "$record" || mv "$TMP/base" "$record"
fi

# The commits as make tree would make them; same trees, so no file changes.
if [[ $HEAD_NEW != "$head" ]]; then
	g update-ref -m "series: sync" HEAD "$HEAD_NEW"
fi
state_write "$HEAD_NEW" "$(overlay_hash "$TOP")"
echo "sync: ${#SLUGS[@]} entries, $written files written, $gone removed"
