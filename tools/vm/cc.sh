#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# cc.sh TREE COMPILER ARGUMENT...: run a compiler of a kernel build with TREE
# called by the name of the link that kbuild makes to it in the build directory.
# So the compiler cache finds what was built from another tree, and the base
# and the series share what is the same in both.
tree=$1
shift
if [[ source -ef $tree ]]; then
	# kbuild has resolved it
	[[ ! -L $tree ]] || tree=$(readlink -f "$tree")
	exec ccache "${@//"$tree/"/source/}"
fi
exec ccache "$@"
