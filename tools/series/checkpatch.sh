#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# checkpatch --strict over every patch of the series as it would be mailed.
# TAP: one test per patch, failed by any ERROR, WARNING or CHECK; one for SPDX lines.
. "$(dirname "$0")/lib.sh"

# Messages that say nothing about this series, as regular expressions. Each with its
# reason.
ignore=(
	# MAINTAINERS entries come in one commit, the last.
	'WARNING:FILE_PATH_CHANGES: '
	# kernel_kexec() has that label in the base.
	'CHECK:CAMELCASE: Avoid CamelCase: <Unlock>'
	# The macros of every header of trace events look like that.
	'include/trace/events/iommu_liveupdate\.h:[0-9]+: CHECK:(OPEN_ENDED_LINE|PARENTHESIS_ALIGNMENT): '
)
# spdxcheck.py needs modules of Debian's python
PATH=/usr/bin:/bin:$PATH

case ${1-} in
-h|--help)
	echo "usage: $0: the base's checkpatch.pl --strict over the series, as TAP"
	exit 0 ;;
"") ;;
*) echo "usage: $0 [-h]" >&2; exit 2 ;;
esac

series_tmp
linux_open
patches=$TMP/patches
# The exporter's name is not what is checked; CI has none.
"$SERIES_SCRIPTS/export.sh" --output "$patches" \
	--as "The Exporter <exporter@kernel.org>" >"$TMP/log" 2>&1 ||
	{ cat "$TMP/log" >&2; exit 1; }

mapfile -t files < <(find "$patches" -name '*.patch' ! -name '*0000-cover-letter.patch' | sort)
printf '%s\n' "${ignore[@]}" >"$TMP/ignore"

# Where it finds python3, checkpatch starts it for each SPDX line: half of its time.
# They are looked at all at once instead, below.
mkdir "$TMP/bin"
for tool in env perl git sh cat grep; do
	ln -s "$(command -v "$tool")" "$TMP/bin"
done

# Leaves what checkpatch says of patch $1 in $1.out. Its --git data (commit ids in
# messages) and its tree are build/linux.
check() {
	local rc=0

	(cd "$LINUX" && PATH=$TMP/bin ./scripts/checkpatch.pl --strict --terse --showfile --show-types \
		--no-summary --color=never "$1") >"$1.all" 2>&1 || rc=$?
	grep -vE -f "$TMP/ignore" "$1.all" >"$1.new" || true
	# It exits with 1 for what is ignored here, too; with others if it broke.
	(( rc <= 1 )) || echo "checkpatch.pl: exit status $rc" >>"$1.new"
	mv "$1.new" "$1.out"
}
export -f check
export LINUX TMP

printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'check "$1"' check

echo "TAP version 13"
echo "1..$((${#files[@]} + 1))"
n=0 failed=0
for f in "${files[@]}"; do
	n=$((n + 1))
	name=$(basename "$f" .patch)
	if [[ -e $f.out && ! -s $f.out ]]; then
		echo "ok $n - checkpatch ${name#*-}"
	else
		[[ ! -e $f.out ]] || sed "s|^$patches/||; s|^|# |" "$f.out"
		echo "not ok $n - checkpatch ${name#*-}"
		failed=1
	fi
done

# That there is one is said by checkpatch.
n=$((n + 1))
mapfile -t added < <(cd "$LINUX" && git diff --name-only --diff-filter=A refs/series/base)
if (( ! ${#added[@]} )) ||
   (cd "$LINUX" && PYTHONDONTWRITEBYTECODE=1 ./scripts/spdxcheck.py "${added[@]}") >"$TMP/spdx" 2>&1 &&
   [[ ! -s $TMP/spdx ]]; then
	echo "ok $n - SPDX lines of ${#added[@]} new files"
else
	sed 's/^/# /' "$TMP/spdx"
	echo "not ok $n - SPDX lines of new files"
	failed=1
fi
exit "$failed"
