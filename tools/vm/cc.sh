#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# cc.sh TREE COMPILER ARGUMENT...: run a compiler of a kernel build with TREE
# called by the name of the link that kbuild makes to it in the build directory.
# So the compiler cache finds what was built from another tree, and the base
# and the series share what is the same in both.
usage() {
	sed -n '/^# cc.sh/,/^[^#]/s/^# //p' "$0"
}

case ${1-} in
-h|--help) usage; exit 0 ;;
"") usage >&2; exit 2 ;;
esac
tree=$1
shift
if [[ source -ef $tree ]]; then
	# kbuild has resolved it
	[[ ! -L $tree ]] || tree=$(readlink -f "$tree")
	exec ccache "${@//"$tree/"/source/}"
fi
exec ccache "$@"
