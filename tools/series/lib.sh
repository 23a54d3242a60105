# SPDX-License-Identifier: GPL-2.0
#
# Shared by tree.sh, sync.sh, export.sh and checkpatch.sh; not run by itself.
#
# Words: the overlay is the kernel paths of this repository. An entry is one
# commit of the series: tools/series/NNN-<slug>, its message, a line "---",
# then one line per path the commit touches:
#
#	A path	a new file. Its text in the overlay at that path is the final
#		one, after all entries.
#	M path	an edit, in the overlay as path.<slug>.patch: of a file of the
#		base, or of a file that an earlier entry added.
#	D path	a file of the base goes away.
#
# build/linux is a git repository: the base, then a commit per entry with the
# trailer "Series-Id: <slug>". Commits are made with git's plumbing in an index
# of their own, so that a work tree file that stays the same keeps its time
# stamp and is not compiled again.
#
# All of git's and the user's settings that could change a diff are kept out
# by g().

set -euo pipefail

SERIES_SCRIPTS=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
# The overlay's root; the tests of these scripts set it.
TOP=$(realpath "${SERIES_TOP:-$SERIES_SCRIPTS/../..}")
BUILD=$(realpath -m "${BUILD:-$TOP/build}")
BASE=$BUILD/base
LINUX=$BUILD/linux
STATE=$LINUX/.git/series
ENTRIES=tools/series
BRANCH=series

# Paths of this repository that are not overlay. Patterns of find -path.
OWN=(./.git ./build ./.ci ./.gitignore ./README ./Makefile
     ./tools/check.sh ./tools/series ./tools/setup ./tools/vm)

DIFF=(diff --no-color --no-ext-diff --no-textconv --no-renames --no-relative
      --full-index --unified=3 --inter-hunk-context=0 --diff-algorithm=myers
      -O/dev/null --indent-heuristic --no-function-context --src-prefix=a/ --dst-prefix=b/
      --submodule=short --ws-error-highlight=none)

unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY \
      GIT_EXTERNAL_DIFF GIT_DIFF_OPTS GIT_NAMESPACE GIT_CONFIG_PARAMETERS \
      GIT_CONFIG_COUNT GIT_CEILING_DIRECTORIES
export LC_ALL=C

# has_value "$@": an option that needs a value has one.
has_value() {
	[[ -n ${2-} ]] || { usage >&2; exit 2; }
}

die() {
	echo "error: $*" >&2
	exit 1
}

TMP=
series_cleanup() {
	local rc=$?
	trap '' INT TERM
	if [[ -n $TMP ]]; then rm -rf "$TMP"; fi
	return "$rc"
}

# A directory of this run's own, gone with it. In build/, so that mv out of it
# is a rename.
series_tmp() {
	mkdir -p "$BUILD"
	TMP=$(mktemp -d "$BUILD/series.tmp.XXXXXX") || die "cannot write in $BUILD"
	trap series_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

g() {
	GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 \
		git -C "$LINUX" -c core.attributesFile=/dev/null -c core.quotePath=false \
		-c core.autocrlf=false -c core.hooksPath=/dev/null -c commit.gpgSign=false \
		-c diff.suppressBlankEmpty=false -c gc.auto=0 \
		-c core.safecrlf=false -c core.excludesFile=/dev/null -c apply.whitespace=nowarn \
		-c apply.ignoreWhitespace=no "$@"
}

# Ids of the commits depend on nothing but the base and the overlay.
FIXED="IOMMU live update series <series@localhost> 1767225600 +0000"

# One field of a "key value" file
info() {
	sed -n "s/^$2 //p" "$1" 2>/dev/null || true
}

#
# Reading the overlay
#

SLUGS=()		# in order
declare -A ENTRY=()	# slug -> file name under tools/series
declare -A OPS=()	# slug -> "A path" lines
declare -A OWNED=()	# path -> slug of the entry that adds it
FILES=()		# what the overlay must hold: new files and .patch files

# The name pattern keeps scripts and records of tools/series out
entry_files() {
	(cd "$1/$ENTRIES" 2>/dev/null && find . -maxdepth 1 -name '[0-9]*' -printf '%f\n' |
		sort -t- -k1,1n -k1,1) || true
}

# $1: an overlay root
series_read() {
	local top=$1 f slug line op path n last=-1

	SLUGS=() ENTRY=() OPS=() OWNED=() FILES=()
	while read -r f; do
		[[ -n $f ]] || continue
		[[ $f =~ ^([0-9]{3,})-([a-z0-9][a-z0-9-]*)$ ]] ||
			die "$ENTRIES/$f: an entry is named NNN-<slug>, slug of a-z, 0-9 and -"
		n=$((10#${BASH_REMATCH[1]}))
		slug=${BASH_REMATCH[2]}
		(( n != last )) ||
			die "$ENTRIES/$f: the number is taken by $ENTRIES/${ENTRY[${SLUGS[-1]}]}"
		last=$n
		[[ ! -v ENTRY[$slug] ]] ||
			die "$ENTRIES/$f: the slug is taken by $ENTRIES/${ENTRY[$slug]}"
		ENTRY[$slug]=$f
		SLUGS+=("$slug")
		OPS[$slug]=$(awk 'p && NF { print } $0 == "---" { p = 1 }' "$top/$ENTRIES/$f")
		[[ -n ${OPS[$slug]} ]] ||
			die "$ENTRIES/$f: no paths (a line '---', then lines 'A path', 'M path' or 'D path')"
		[[ -n $(sed -n '1{/^---$/d;p}' "$top/$ENTRIES/$f") &&
		   -z $(sed -n '2{/^---$/d;p}' "$top/$ENTRIES/$f") ]] ||
			die "$ENTRIES/$f: needs a subject, then an empty line"
		while read -r op path; do
			[[ $op == [AMD] && $path =~ ^[A-Za-z0-9._+,@=~/-]+$ &&
			   $path != /* && /$path/ != */../* && /$path/ != */./* ]] ||
				die "$ENTRIES/$f: '$op $path' is not 'A path', 'M path' or 'D path'"
			case $op in
			A)
				[[ ! -v OWNED[$path] ]] ||
					die "$ENTRIES/$f: $path is added already by $ENTRIES/${ENTRY[${OWNED[$path]}]}"
				is_own "$path" &&
					die "$ENTRIES/$f: $path is a path of this repository, the series cannot use it"
				OWNED[$path]=$slug
				FILES+=("$path")
				;;
			M)	FILES+=("$path.$slug.patch") ;;
			esac
		done <<<"${OPS[$slug]}"
	done < <(entry_files "$top")
}

is_own() {
	local o
	for o in "${OWN[@]}"; do
		[[ ./$1 != "$o" && ./$1 != "$o"/* ]] || return 0
	done
	return 1
}

# Changes when, and only when, something of the overlay does
overlay_hash() {
	local top=$1 f

	{
		for f in "${SLUGS[@]}"; do
			printf '%s ' "$f"
			sha256sum <"$top/$ENTRIES/${ENTRY[$f]}"
		done
		for f in "${FILES[@]}"; do
			if [[ -L $top/$f ]]; then
				printf '%s link %s\n' "$f" "$(readlink "$top/$f")"
			elif [[ -f $top/$f ]]; then
				printf '%s %s ' "$f" "$(file_mode "$top/$f")"
				sha256sum <"$top/$f"
			else
				echo "$f -"
			fi
		done
	} | sha256sum | cut -d' ' -f1
}

file_mode() {
	if [[ -L $1 ]]; then
		echo 120000
	elif [[ -x $1 ]]; then
		echo 100755
	else
		echo 100644
	fi
}

# A file that lies where the kernel's are and that no entry brings would be
# forgotten in silence.
check_strays() {
	local top=$1 f t o prune=()
	declare -A want=() intop=()

	for f in "${FILES[@]}"; do want[$f]=1; done
	while read -r f; do intop[$f]=1; done < <(g ls-tree --name-only "$base")
	for o in "${OWN[@]}"; do prune+=(-path "$o" -o); done
	while read -r f; do
		f=${f#./}
		[[ ! -v want[$f] ]] || continue
		t=${f%%/*}
		[[ $f == */* ]] || t=${t%.*.patch}
		[[ ! -v intop[$t] ]] ||
			die "$f: no entry in $ENTRIES brings this file; list it in one, or remove it"
	done < <(cd "$top" && find . \( "${prune[@]}" -false \) -prune -o ! -type d -print)
}

#
# Making commits out of it
#

# $1: an entry's file; prints the commit message
entry_message() {
	sed '/^---$/,$d' "$1"
}

# Says which hunk of which file, where git apply gives a line number.
# $1: slug, $2: git's stderr, $3: top, $4: what it was applied to
apply_error() {
	local slug=$1 err=$2 top=$3 to=$4 at f line n hunk

	at=$(sed -n 's/^error: patch failed: \(.*:[0-9]*\)$/\1/p' "$err" | sed -n 1p)
	if [[ -n $at ]]; then
		f=${at%:*} line=${at##*:}
		n=$(grep '^@@' "$top/$f.$slug.patch" |
			grep -nm1 -E "^@@ -([0-9]+,[0-9]+ \+)?$line[, ]" | cut -d: -f1 || true)
		hunk=$(grep '^@@' "$top/$f.$slug.patch" | sed -n "${n:-1}p" |
			sed 's/^\(@@ [^@]* @@\).*/\1/')
		die "$f: hunk ${n:-1} ($hunk) of $f.$slug.patch does not apply to $to: the lines around it differ"
	fi
	die "entry $slug does not apply to $to: $(grep -m1 '^error:' "$err" | sed 's/^error: //' || head -1 "$err")"
}

# Builds the chain of commits on $base from the overlay in $1. Sets HEAD_NEW;
# writes "slug commit tree" lines to $TMP/chain.
series_build() {
	local top=$1 slug op path tree commit new i f blob name
	local -A exists=() first=() grown=()
	local -a patches touched paths=() links=()
	local baseName scratch=$TMP/scratch.index index=$TMP/build.index

	baseName="Linux $(info "$STATE/base.info" version)"
	: >"$TMP/chain"
	: >"$TMP/import"
	rm -f "$scratch" "$index"
	HEAD_NEW=$base
	# What of the series' paths does the base have?
	for slug in "${SLUGS[@]}"; do
		while read -r op path; do paths+=("$path"); done <<<"${OPS[$slug]}"
	done
	if (( ! ${#paths[@]} )); then
		check_strays "$top"
		return
	fi
	while read -r path; do
		exists[$path]=base
	done < <(g ls-tree -r --name-only "$base" -- "${paths[@]}")

	# The life of each path through the entries must make sense.
	for slug in "${SLUGS[@]}"; do
		name=$ENTRIES/${ENTRY[$slug]}
		while read -r op path; do
			case $op in
			A)
				[[ ! -v exists[$path] ]] ||
					die "$name adds $path, which $baseName has already"
				[[ -f $top/$path || -L $top/$path ]] ||
					die "$name adds $path, but the overlay has no such file"
				exists[$path]=$slug
				;;
			M)
				[[ -v exists[$path] ]] ||
					die "$path: $name edits it, but neither $baseName nor an earlier entry has it"
				[[ -f $top/$path.$slug.patch ]] ||
					die "$name edits $path, but the overlay has no $path.$slug.patch"
				[[ ${exists[$path]} == base ]] || grown[$slug]+=" $path"
				;;
			D)
				[[ ${exists[$path]-} == base ]] ||
					die "$path: $name deletes it, but $baseName does not have it (what an entry adds, a later one cannot delete)"
				unset "exists[$path]"
				;;
			esac
		done <<<"${OPS[$slug]}"
	done
	check_strays "$top"

	# Final texts of the new files into a small index; the later instalments
	# off again in reverse, to have each as its first entry brings it.
	: >"$TMP/finals"
	for path in "${!OWNED[@]}"; do
		if [[ -L $top/$path ]]; then
			blob=$(readlink -n "$top/$path" | g hash-object -w --stdin)
			printf '120000 %s\t%s\n' "$blob" "$path" >>"$TMP/finals"
		else
			links+=("$path")
		fi
	done
	if (( ${#links[@]} )); then
		printf '%s\n' "${links[@]/#/$top/}" |
			g hash-object -w --no-filters --stdin-paths >"$TMP/blobs"
		for f in "${links[@]}"; do
			read -r blob
			printf '%s %s\t%s\n' "$(file_mode "$top/$f")" "$blob" "$f"
		done <"$TMP/blobs" >>"$TMP/finals"
	fi
	GIT_INDEX_FILE=$scratch g update-index --index-info <"$TMP/finals"
	for (( i = ${#SLUGS[@]} - 1; i >= 0; i-- )); do
		slug=${SLUGS[i]}
		# shellcheck disable=SC2086
		if [[ -n ${grown[$slug]-} ]]; then
			patches=()
			for path in ${grown[$slug]}; do
				patches+=("$top/$path.$slug.patch")
			done
			GIT_INDEX_FILE=$scratch g apply --cached -R "${patches[@]}" 2>"$TMP/err" ||
				apply_error "$slug" "$TMP/err" "$top" "the final text (taking entry $slug off again)"
		fi
		while read -r op path; do
			[[ $op == A ]] || continue
			first[$path]=$(GIT_INDEX_FILE=$scratch g ls-files -s -- "$path" | sed 's/ 0\t/\t/')
		done <<<"${OPS[$slug]}"
	done

	# Forward: one commit per entry. The index holds the series' paths only;
	# fast-import puts them into the base's tree.
	g ls-tree -r "$base" -- "${paths[@]}" | sed 's/^\([0-9]*\) blob /\1 /' |
		GIT_INDEX_FILE=$index g update-index --index-info
	: >"$TMP/offsets"
	for slug in "${SLUGS[@]}"; do
		patches=() touched=()
		: >"$TMP/infos"
		while read -r op path; do
			touched+=("$path")
			case $op in
			A)	printf '%s\n' "${first[$path]}" >>"$TMP/infos" ;;
			D)	printf '0 %040d\t%s\n' 0 "$path" >>"$TMP/infos" ;;
			M)	patches+=("$top/$path.$slug.patch") ;;
			esac
		done <<<"${OPS[$slug]}"
		if [[ -s $TMP/infos ]]; then
			GIT_INDEX_FILE=$index g update-index --index-info <"$TMP/infos"
		fi
		if (( ${#patches[@]} )); then
			GIT_INDEX_FILE=$index g apply --cached -v "${patches[@]}" 2>"$TMP/err" ||
				apply_error "$slug" "$TMP/err" "$top" "$baseName"
			grep '^Hunk.*offset' "$TMP/err" >>"$TMP/offsets" || true
		fi
		entry_message "$top/$ENTRIES/${ENTRY[$slug]}" |
			g interpret-trailers --no-divider --if-exists replace \
				--trailer "Series-Id: $slug" >"$TMP/msg"
		printf 'commit refs/series/build\nauthor %s\ncommitter %s\ndata %d\n' \
			"$FIXED" "$FIXED" "$(wc -c <"$TMP/msg")" >>"$TMP/import"
		cat "$TMP/msg" >>"$TMP/import"
		[[ $slug != "${SLUGS[0]}" ]] || echo "from $base" >>"$TMP/import"
		# Before additions, as a file may become a directory
		for path in "${touched[@]}"; do echo "D $path"; done >>"$TMP/import"
		GIT_INDEX_FILE=$index g ls-files -s -- "${touched[@]}" |
			sed 's/^\([0-9]*\) \([0-9a-f]*\) 0\t/M \1 \2 /' >>"$TMP/import"
	done
	g update-ref -d refs/series/build
	g fast-import --quiet --force <"$TMP/import" >"$TMP/log" 2>&1 ||
		die "git fast-import: $(head -n 1 "$TMP/log")"
	tree=$(g rev-parse "$base^{tree}")
	i=0
	while read -r commit new; do
		slug=${SLUGS[i++]}
		[[ $new != "$tree" ]] || die "$ENTRIES/${ENTRY[$slug]} changes nothing"
		tree=$new
		echo "$slug $commit $tree" >>"$TMP/chain"
		HEAD_NEW=$commit
	done < <(g log --reverse --format='%H %T' "$base..refs/series/build")
	g update-ref -d refs/series/build
	# Going forward must arrive where going back began.
	GIT_INDEX_FILE=$index g ls-files -s -- "${!OWNED[@]}" >"$TMP/forward"
	sed 's/ 0\t/\t/' "$TMP/forward" | sort >"$TMP/forward.sorted"
	path=$(sort "$TMP/finals" | comm -3 - "$TMP/forward.sorted" | sed -n '1s/.*\t//p')
	[[ -z $path ]] || die "$path: its instalments do not add up to its final text"
}

#
# build/linux
#

# The function names in hunk headers come from git's attributes, and those from
# the work tree of the moment. Here they are the same always.
fix_attributes() {
	cat >"$STATE/attributes" <<EOF
* !diff
*.[ch] diff=cpp
*.dts diff=dts
*.dts[io] diff=dts
*.rs diff=rust
EOF
	mkdir -p "$LINUX/.git/info"
	cmp -s "$STATE/attributes" "$LINUX/.git/info/attributes" ||
		cp "$STATE/attributes" "$LINUX/.git/info/attributes"
}

# Sets base, head; refuses to go on in the middle of something.
linux_open() {
	[[ -f $STATE/base.info ]] || die "there is no $LINUX yet: make tree"
	base=$(g rev-parse -q --verify refs/series/base) ||
		die "$LINUX has lost its base commit (refs/series/base): remove it and make tree"
	head=$(g rev-parse -q --verify HEAD) || die "$LINUX has no commit checked out"
	local d
	for d in rebase-merge rebase-apply CHERRY_PICK_HEAD MERGE_HEAD; do
		[[ ! -e $LINUX/.git/$d ]] ||
			die "a rebase, merge or cherry-pick is going on in $LINUX: finish it first"
	done
	fix_attributes
}

linux_dirty() {
	[[ -n $(g status --porcelain --untracked-files=no) ]]
}

# $1: head, $2: overlay hash. Both as they were when overlay and tree agreed.
state_write() {
	printf 'head %s\noverlay %s\n' "$1" "$2" >"$STATE/state.tmp"
	mv "$STATE/state.tmp" "$STATE/state"
}

# Only one of tree, sync at a time
series_lock() {
	mkdir -p "$BUILD"
	exec {lockfd}>"$BUILD/.series.lock"
	flock -n "$lockfd" || die "another make tree or make sync is running in $BUILD"
}
