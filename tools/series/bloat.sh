#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the series costs a kernel that has it and is built without IOMMU_LIVEUPDATE.
. "$(dirname "$0")/lib.sh"

usage() {
	cat <<EOF
usage: $0 [--all] [-h]
Builds the base kernel and that of the series with the same configuration, which has
LIVEUPDATE and leaves IOMMU_LIVEUPDATE off, and prints what the base's own
scripts/bloat-o-meter says about the two: the total of each kind, and by how much each
file of the series has grown; with --all each symbol.
EOF
}

all=
case ${1-} in
-h|--help) usage; exit 0 ;;
--all) all=1 ;;
"") ;;
*) usage >&2; exit 2 ;;
esac

linux_open
"$TOP/tools/vm/build.sh" base off
meter() {
	PYTHONDONTWRITEBYTECODE=1 python3 "$BASE/scripts/bloat-o-meter" "$@"
}
old=$BUILD/obj-base new=$BUILD/obj-off
if [[ -n $all ]]; then
	meter -c "$old/vmlinux" "$new/vmlinux"
	exit
fi
meter -c "$old/vmlinux" "$new/vmlinux" | grep -E '^(add|Total)'
echo
while read -r o; do
	[[ -f $old/$o && -f $new/$o ]] || continue
	line=$(meter "$old/$o" "$new/$o" | sed -n 's/^Total: Before=.* chg.*//; s/^add.*grow.*: \([0-9-]*\)\/\([0-9-]*\) (\(.*\))$/\3/p')
	[[ -z $line || $line == 0 ]] || printf '%-44s %6s\n' "${o%.o}.c" "$line"
done < <(g diff --name-only --no-renames --diff-filter=M "$base" -- '*.c' | sed 's/c$/o/')
