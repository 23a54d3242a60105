#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of tree.sh, sync.sh and export.sh on a base of a few files. TAP.
set -euo pipefail

case ${1-} in
-h|--help) echo "usage: $0: tests of tools/series on a small synthetic base, as TAP"; exit 0 ;;
esac

here=$(realpath "$(dirname "$0")")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
unset BUILD SERIES_TOP GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

# The settings of whoever runs this must not matter: the worst of them.
export HOME=$T/home
mkdir "$HOME"
cat >"$HOME/.gitconfig" <<'EOF'
[user]
	name = A Developer
	email = dev@example.org
[diff]
	noprefix = true
	context = 9
	renames = copies
	algorithm = patience
	external = false
	mnemonicPrefix = true
[color]
	ui = always
[core]
	abbrev = 5
	autocrlf = input
[commit]
	gpgSign = true
[apply]
	whitespace = fix
[init]
	defaultBranch = other
EOF

n=0 failed=0
ok() {
	n=$((n + 1))
	echo "ok $n - $1"
}

not_ok() {
	n=$((n + 1))
	failed=1
	if [[ -f $T/log ]]; then sed 's/^/# /' "$T/log"; fi
	echo "not ok $n - $1"
}

# is NAME COMMAND...: passes if the command does
is() {
	local name=$1
	shift
	if "$@" >"$T/log" 2>&1; then ok "$name"; else not_ok "$name"; fi
}

# refused NAME PATTERN COMMAND...: passes if it fails with one line "error: ..."
# that matches
refused() {
	local name=$1 pattern=$2
	shift 2
	if "$@" >"$T/log" 2>&1; then
		not_ok "$name"
	elif [[ $(grep -c '^error: ' "$T/log") == 1 ]] && grep -qE "^error: .*$pattern" "$T/log"; then
		ok "$name"
	else
		not_ok "$name"
	fi
}

top=$T/top
linux=$top/build/linux

# A base of three files, and an empty overlay
new_base() {
	local b=$1/build/base

	rm -rf "$1"
	mkdir -p "$1/tools/series" "$b/mm" "$b/drivers/x" "$b/scripts"
	printf 'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n' >"$b/Makefile"
	seq -f 'line %g' 40 >"$b/mm/a.c"
	seq -f 'row %g' 20 >"$b/mm/gone.c"
	printf 'obj-y += a.o\n' >"$b/mm/Makefile"
	printf '#!/bin/sh\n' >"$b/scripts/run"
	printf '*.o\n#\n# Debian packaging: ignore\n#\n/*\n!/debian/\n' >"$b/.gitignore"
	printf 'version 7.3.4\nsource debian\npackage 1\nsha256 %064d\n' 0 >"$1/build/base.info"
}

tree() { SERIES_TOP=$top "$here/tree.sh" "$@"; }
sync() { SERIES_TOP=$top "$here/sync.sh" "$@"; }
export_series() { SERIES_TOP=$top "$here/export.sh" "$@"; }
lg() { git -C "$linux" -c commit.gpgSign=false -c color.ui=never "$@"; }

# commit SLUG [SUBJECT]: everything in the work tree
commit() {
	lg add -A -f .
	lg commit -q -m "${2:-mm: $1}

Because of $1.
${3-}
Series-Id: $1" >/dev/null 2>&1
}

tree_id() { lg rev-parse 'HEAD^{tree}'; }
trees() { lg log --format=%T refs/series/base..HEAD; }
commits() { lg rev-list refs/series/base..HEAD; }
entries() { (cd "$top/tools/series" && echo [0-9]*); }
overlay() { (cd "$top" && find . -path ./build -prune -o ! -type d -printf '%P %m %l ' \
	-exec sh -c '[ -L "$1" ] && echo || sha256sum <"$1"' sh {} \; | sort); }

# Overlay to a fresh tree, which must be the same commit by commit, and back
# to the same overlay.
round_trip() {
	local before t
	before=$(overlay)
	t=$(trees)
	rm -rf "$linux"
	tree || return 1
	[[ $(trees) == "$t" ]] || { echo "trees differ"; return 1; }
	sync || return 1
	[[ $(overlay) == "$before" ]] || { diff <(echo "$before") <(overlay); return 1; }
	[[ -z $(lg status --porcelain) ]] || { echo "not clean"; return 1; }
}

has() { [[ $(cat "$1") == "$2" ]]; }

echo "TAP version 13"

#
new_base "$top"
refused "sync without a tree" "make tree" sync
is "tree with no entries" tree
is "base's packaging section of .gitignore is cut" has "$linux/.gitignore" "*.o"
is "sync with no entries" sync
is "sync records the base" grep -qx 'version 7.3.4' "$top/tools/series/base"
is "round trip with no entries" round_trip

# An edit, a new file, a script, a link, a deletion
sed -i 's/line 5$/line five/; s/line 30$/line thirty/' "$linux/mm/a.c"
commit edit
mkdir -p "$linux/drivers/y"
echo "int y;" >"$linux/drivers/y/y.c"
printf '#!/bin/sh\necho hi\n' >"$linux/drivers/y/run.sh"
chmod 755 "$linux/drivers/y/run.sh"
ln -s y.c "$linux/drivers/y/z.c"
: >"$linux/drivers/y/empty.h"
echo 'obj-y += b.o' >>"$linux/mm/Makefile"
commit add "drivers: y: New" "
Fixes: 123456789012 (\"x\")
Signed-off-by: A Developer <dev@example.org>"
rm "$linux/mm/gone.c"
chmod 755 "$linux/mm/a.c"
commit delete
before=$(tree_id)
is "sync of three commits" sync
is "entries are numbered in tens" [ "$(entries)" = "010-edit 020-add 030-delete" ]
is "tree is the same after sync" [ "$(tree_id)" = "$before" ]
is "work tree is clean after sync" [ -z "$(lg status --porcelain)" ]
is "an edit is a patch beside the file" grep -qx -e '+line five' "$top/mm/a.c.edit.patch"
is "patches have no index line" [ "$(grep -rlE '^index ' "$top/mm" | wc -l)" = 0 ]
is "patches have context 3" [ "$(grep -c '^ ' "$top/mm/a.c.edit.patch")" = 12 ]
is "a new file is in the overlay" has "$top/drivers/y/y.c" "int y;"
is "a script stays executable" [ -x "$top/drivers/y/run.sh" ]
is "a link stays a link" [ "$(readlink "$top/drivers/y/z.c")" = y.c ]
is "a deletion leaves no text" [ ! -e "$top/mm/gone.c.delete.patch" ]
is "a change of mode is a patch" grep -qx 'new mode 100755' "$top/mm/a.c.delete.patch"
is "Signed-off-by is not kept" [ "$(grep -c Signed-off-by "$top/tools/series/020-add")" = 0 ]
is "other trailers are" grep -q ^Fixes: "$top/tools/series/020-add"
is "round trip" round_trip
is "tree is up to date after that" grep -q 'up to date' <(tree)
ids=$(commits)
is "commit ids are the same in another directory" bash -c "
	cp -a '$top' '$T/other' && rm -rf '$T/other/build/linux' &&
	SERIES_TOP='$T/other' '$here/tree.sh' &&
	[ \"\$(git -C '$T/other/build/linux' rev-list refs/series/base..HEAD)\" = '$ids' ]"
is "commits carry Series-Id" [ "$(lg log -1 --format='%(trailers:key=Series-Id,valueonly)' | head -1)" = delete ]
touch -d '2001-01-01' "$linux/mm/Makefile" "$linux/drivers/y/y.c"
echo "int y = 1;" >"$top/drivers/y/y.c"
is "tree after a change of the overlay" tree
is "the change is there" has "$linux/drivers/y/y.c" "int y = 1;"
is "files that stay the same are not written again" [ "$(stat -c %Y "$linux/mm/Makefile")" = "$(date -d 2001-01-01 +%s)" ]

# A file that grows
printf 'one\n\n\n\n\n\n\n' >"$linux/mm/grow.c"
commit grow1
sed -i '$a two' "$linux/mm/grow.c"
echo "x" >>"$linux/drivers/y/empty.h"
commit grow2
sed -i '1i zero' "$linux/mm/grow.c"
chmod 755 "$linux/mm/grow.c"
sed -i 's/line five/line 5 again/' "$linux/mm/a.c"
commit grow3
is "sync of a file that grows" sync
is "the overlay has its final text" cmp "$top/mm/grow.c" "$linux/mm/grow.c"
is "and its instalments" [ -f "$top/mm/grow.c.grow2.patch" -a -f "$top/mm/grow.c.grow3.patch" -a ! -e "$top/mm/grow.c.grow1.patch" ]
is "the first commit has the first text" [ "$(lg show HEAD~2:mm/grow.c | tail -c +1 | head -1)" = one ]
is "an edit of an edited file is a second patch" [ -f "$top/mm/a.c.grow3.patch" ]
is "round trip" round_trip

# Order, insertion, removal
reorder() {
	GIT_SEQUENCE_EDITOR=$1 lg rebase -q -i refs/series/base
}
before=$(tree_id)
is "rebase in the tree" reorder "sed -i '/grow2/{h;d};/grow3/{G}'"
is "sync of another order" sync
is "only what moved gets another number" [ "$(entries)" = "010-edit 020-add 030-delete 040-grow1 060-grow3 070-grow2" ]
is "final tree is the same" [ "$(tree_id)" = "$before" ]
is "round trip" round_trip
lg checkout -q HEAD~4
echo 'int w;' >"$linux/drivers/y/w.c"
commit between
lg rebase -q --onto HEAD HEAD~1 "series" >/dev/null 2>&1
is "sync of an entry put in between" sync
is "it gets a number in between" [ "$(entries)" = "010-edit 020-add 025-between 030-delete 040-grow1 060-grow3 070-grow2" ]
is "round trip" round_trip
is "drop commits" reorder "sed -i '/grow2/d;/between/d'"
is "sync of fewer commits" sync
is "their entries and files are gone" [ ! -e "$top/tools/series/070-grow2" -a ! -e "$top/mm/grow.c.grow2.patch" -a ! -e "$top/drivers/y/w.c" ]
is "round trip" round_trip

# What is refused
snapshot() { rm -rf "$T/snap"; cp -a "$top" "$T/snap"; }
restore() { rm -rf "$top"; cp -a "$T/snap" "$top"; }
snapshot
before=$(overlay)

echo dirt >>"$linux/mm/Makefile"
refused "sync: uncommitted changes" "not committed" sync
is "tree: uncommitted changes are left" grep -q 'left as it is' <(tree)
echo "int q;" >>"$top/drivers/y/y.c"
refused "tree: both moved" "both moved" tree
is "tree --force drops them" tree --force
is "and takes the overlay's" grep -qx 'int q;' "$linux/drivers/y/y.c"
restore

echo more >>"$linux/mm/Makefile"
lg commit -q -a -m "mm: no id"
refused "sync: no Series-Id" 'no id.*no Series-Id' sync
lg commit -q --amend -m "fixup! mm: grow1"
refused "sync: fixup not squashed" 'not squashed' sync
lg commit -q --amend -m "mm: x

Series-Id: grow1"
refused "sync: Series-Id twice" 'both have Series-Id grow1' sync
lg commit -q --amend -m "mm: x

Series-Id: Bad Slug"
refused "sync: Series-Id not a slug" 'must be one slug' sync
lg commit -q --amend -m "mm: x

---
Series-Id: x"
refused "sync: '---' in a message" "'---'" sync
lg commit -q --amend -m "mm: x

Series-Id: x"
echo "int q;" >>"$top/drivers/y/y.c"
refused "sync: both moved" 'both moved' sync
restore

echo "int q;" >>"$top/drivers/y/y.c"
refused "sync: only the overlay moved" 'make tree' sync
restore

lg commit -q --allow-empty -m "mm: x

Series-Id: x"
refused "sync: empty commit" 'changes nothing' sync
restore

rm "$linux/mm/grow.c"
commit dropgrow
refused "sync: deletes what the series adds" 'an earlier commit of the series adds' sync
restore

rm "$linux/scripts/run"
ln -s ../mm/a.c "$linux/scripts/run"
commit totype
refused "sync: file becomes link" 'from file to link' sync
restore

mkdir -p "$linux/tools/vm"
echo x >"$linux/tools/vm/x"
commit own
refused "sync: a path of the repository's own" "overlay repository's own" sync
restore

echo x >"$linux/mm/x.patch"
commit patch
refused "sync: adds a .patch file" 'cannot add one' sync
restore

lg checkout -q -b side HEAD~1
echo side >>"$linux/mm/Makefile"
commit side
lg merge -q -m "merge" series >/dev/null 2>&1
refused "sync: merge commit" 'merge commit' sync
restore

sed -i 's/^tree .*/tree 0123456789012345678901234567890123456789/' "$top/tools/series/base"
refused "sync: not the recorded base" 'not on the recorded base' sync
is "sync --new-base records it" sync --new-base
is "base is the one recorded before" cmp "$top/tools/series/base" "$T/snap/tools/series/base"
restore

is "nothing of all that touched the overlay" [ "$(overlay)" = "$before" ]

rm "$top/mm/a.c.edit.patch"
refused "tree: a patch is missing" 'has no mm/a.c.edit.patch' tree
restore
echo x >"$top/mm/stray.c"
echo y >>"$top/drivers/y/y.c"
refused "tree: a file no entry brings" 'mm/stray.c: no entry' tree
restore
sed -i '2d' "$top/tools/series/010-edit"
refused "tree: entry without an empty second line" 'then an empty line' tree
restore
echo "A mm/Makefile" >>"$top/tools/series/010-edit"
echo x >"$top/mm/Makefile"
refused "tree: adds a file the base has" 'has already' tree
restore
echo "M mm/none.c" >>"$top/tools/series/010-edit"
echo x >"$top/mm/none.c.edit.patch"
refused "tree: edits a file nobody has" 'neither Linux 7.3.4 nor' tree
restore
sed -i 's/^+zero/+null/' "$top/mm/grow.c.grow3.patch"
refused "tree: an instalment does not fit the final text" 'mm/grow.c: hunk 1 .*taking entry grow3 off' tree
restore
cp "$top/tools/series/010-edit" "$top/tools/series/015-edit"
refused "tree: slug twice" 'slug is taken' tree
restore
cp "$top/tools/series/010-edit" "$top/tools/series/010-edit2"
refused "tree: number twice" 'number is taken' tree
restore

# Another release of the base: offsets are fine, fuzz is not
later() {
	sed -i 's/SUBLEVEL = 4/SUBLEVEL = 5/' "$top/build/base/Makefile"
	sed -i 's/version 7.3.4/version 7.3.5/' "$top/build/base.info"
}
later
sed -i '1i new first line' "$top/build/base/mm/a.c"
is "tree on a later base, at an offset" tree
is "the edit is there" grep -qx 'line thirty' "$linux/mm/a.c"
refused "sync there is refused" 'not on the recorded base' sync
is "sync --new-base moves the series" sync --new-base
is "the hunk has moved" grep -q '^@@ -3,' "$top/mm/a.c.edit.patch"
is "round trip" round_trip
restore
later
echo "int r;" >>"$linux/drivers/y/y.c"
commit newer
refused "tree on another base would drop commits" 'the base has changed, and .* has work' tree
restore
later
sed -i 's/line 29$/another 29/' "$top/build/base/mm/a.c"
refused "tree with fuzz names file and hunk" 'mm/a.c: hunk 2 \(@@ -27,7 \+27,7 @@\) of mm/a.c.edit.patch does not apply to Linux 7.3.5' tree
is "and leaves no temporary files" [ -z "$(find "$top/build" -maxdepth 1 -name 'series.tmp*')" ]
restore

mkdir -p "$linux/.git/rebase-merge"
refused "tree in the middle of a rebase" 'rebase, merge or cherry-pick' tree
refused "sync in the middle of a rebase" 'rebase, merge or cherry-pick' sync
restore
is "tree --synced" tree --synced
echo x >>"$linux/mm/Makefile"
is "tree --synced sees an edit" bash -c "! SERIES_TOP='$top' '$here/tree.sh' --synced"
restore

# Export
is "export" export_series
p=$top/build/series
is "cover letter and a patch per entry" [ "$(cd "$p" && echo *.patch | wc -w)" = 6 ]
is "no Series-Id in it" [ "$(grep -l Series-Id "$p"/* | wc -l)" = 0 ]
is "signed off by the exporter" [ "$(grep -l '^Signed-off-by: A Developer <dev@example.org>$' "$p"/* | wc -l)" = 5 ]
is "patches apply with git am and give the same tree" bash -c "
	cd '$T' && rm -rf am && git clone -q '$linux' am && cd am &&
	git reset -q --hard $(lg rev-parse refs/series/base) &&
	git -c commit.gpgSign=false -c apply.whitespace=nowarn -c core.autocrlf=false am -q '$p'/000[1-9]-*.patch 2>&1 &&
	[ \$(git rev-parse HEAD^{tree}) = $(tree_id) ]"
refused "export: nobody to sign off" 'user.name' env HOME=/nonexistent \
	SERIES_TOP="$top" "$here/export.sh"

# Findings of reviewers, in a file of the tree and in one of the overlay only
mkdir -p "$top/tools/vm"
echo "case one" >"$top/tools/vm/cases"
cat >"$top/tools/series/findings" <<'END'
# A comment

## The first section
1 | a finding | handled | mm/a.c: line thirty, line 1; tools/vm/cases: one - what there is to say; and more
2 | another finding, so long that it takes more than a line of a mail to say what it was | open | not done
## The second section
3 | a third | not applicable | there is nothing like it here
END
findings() { SERIES_TOP=$top "$here/findings.sh" --count 3 "$@"; }
# wrong NAME PATTERN SCRIPT: the table is edited by sed SCRIPT; passes if it is not
# good any more, and the reason given matches
wrong() {
	cp "$top/tools/series/findings" "$T/findings"
	sed -i "$3" "$top/tools/series/findings"
	if ! findings >"$T/log" 2>&1 && grep -q '^not ok' "$T/log" &&
	   grep -qE "^# .*$2" "$T/log"; then ok "$1"; else not_ok "$1"; fi
	cp "$T/findings" "$top/tools/series/findings"
}
is "findings" findings
is "findings are counted" grep -qx '# 1 handled, 1 not applicable, 1 open' <(findings)
wrong "findings: one is missing" 'missing: 2' '/^2 /d'
wrong "findings: a number twice" 'twice.*: 3' '/^3 /p'
wrong "findings: no such status" "2: status 'later'" 's/| open |/| later |/'
wrong "findings: no reason" '3: where, or why' 's/there is nothing.*//'
wrong "findings: no such file" 'no mm/b.c' 's|mm/a.c|mm/b.c|'
wrong "findings: no such name" "mm/a.c has no 'line thirt'" 's/thirty/thirt/'
wrong "findings: handled, and no place" "'done' is not" 's/handled | .*/handled | done/'
wrong "findings: a field too many" 'not .number . finding' 's/^2 |/2 | x |/'
printf 'mm: a subject\n\nWhat it is for.\n' >"$top/tools/series/cover"
is "export with a cover letter and findings" export_series
letter=$p/0000-cover-letter.patch
is "its subject" grep -qx 'Subject: \[PATCH 0/5\] mm: a subject' "$letter"
is "it counts the findings" grep -q ' 3 findings, 1 handled, 1 not applicable, 1 open (2)\.' <(tr '\n' ' ' <"$letter")
is "it has the findings, folded" bash -c "
	grep -qx '  1. a finding' '$letter' &&
	grep -qx '     Handled: mm/a.c: line thirty, line 1; tools/vm/cases: one - what' '$letter' &&
	grep -qx '     Not applicable: there is nothing like it here' '$letter'"
is "no line of it is too long" [ -z "$(awk 'length > 75' "$letter")" ]
rm "$top/tools/series/findings"
is "a cover letter without findings" export_series
is "ends with the base" bash -c "
	grep -A1 '^Made on Linux 7.3.4' '$letter' | tail -n 1 | grep -qx ''"
is "and has none" [ "$(grep -c 'inding' "$letter")" = 0 ]

# Every commit builds, with a make that only says so
mkdir -p "$T/bin"
cat >"$T/bin/make" <<'END'
#!/bin/bash
while (( $# )); do
	case $1 in
	-C)		src=$2; shift ;;
	O=*)		obj=${1#O=} ;;
	tinyconfig)	: >"$obj/.config" ;;
	mm/)		echo "$src" >>"$obj/built"
			[[ $(git -C "$src" rev-parse HEAD) != "${BROKEN-}" ]] || exit 2 ;;
	esac
	shift
done
END
chmod +x "$T/bin/make"
for f in kernel series; do echo "CONFIG_X=y" >"$top/tools/vm/$f.config"; done
bisect() { SERIES_TOP=$top PATH=$T/bin:$PATH "$here/bisect.sh" "$@"; }
is "bisect: every commit builds" bisect on off
export BROKEN
BROKEN=$(lg rev-parse HEAD~2)
bisect on off >"$T/bisect" 2>/dev/null || true
is "bisect: the one that does not" [ "$(grep -E '^(not )?ok' "$T/bisect" |
	grep -n '^not' | cut -d: -f1 | xargs)" = "5 6" ]
is "bisect: not among a sample" bisect --sample 2 on
is "bisect: not after it" bisect --from HEAD~1 on
unset BROKEN
refused "bisect: no such configuration" 'no configuration is called nix' bisect nix
refused "bisect: no such commit" 'no commit nix' bisect --from nix on
is "bisect leaves nothing" [ -z "$(ls -d "$top"/build/bisect "$top"/build/obj-bisect-*/ 2>/dev/null)" ]

echo "1..$n"
exit "$failed"
