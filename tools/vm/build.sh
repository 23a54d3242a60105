#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Build a kernel for the machine of the tests, out of tree.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: build.sh [--tree DIR] [CONFIG]...
Builds build/obj-CONFIG/arch/x86/boot/bzImage:
  series      build/linux, the base with the series (default)
  base        build/base, the unpatched kernel (default for CASE=base)
  off         build/linux with the configuration of base
  debug       build/linux with KASAN, lockdep and the like (default for DEBUG=1)
  base-debug  build/base likewise
  other       build/linux, with another configuration, to jump to
  modules     the same with iommufd and vfio as modules
  quirks      as series, but the ports of QEMU's switch count as isolated, and an e1000e
              has a DMA alias
--tree takes another tree. A kernel whose tree did not change is not built
again. JOBS=N sets the number of jobs, CCACHE_DIR the compiler cache
(default: build/ccache; used if ccache is installed).
EOF
}

tree=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--tree)		has_value "$@"; tree=$(cd "$2" && pwd) || exit 1; shift 2 ;;
	-*)		usage >&2; exit 2 ;;
	*)		break ;;
	esac
done

if [ $# = 0 ]; then
	case ${CASE:-main}/${DEBUG:-0} in
	base/0)	set -- base ;;
	base/*)	set -- base-debug ;;
	*/0)	set -- series ;;
	*)	set -- debug ;;
	esac
fi

need make make
need gcc gcc
need flex flex
need bison bison
need bc bc
mkdir -p "$BUILD"
BUILD=$(cd "$BUILD" && pwd)

export KBUILD_BUILD_TIMESTAMP=1970-01-01 KBUILD_BUILD_USER=liveupdate
export KBUILD_BUILD_HOST=workshop
if command -v ccache >/dev/null; then
	export CCACHE_DIR="${CCACHE_DIR:-$BUILD/ccache}"
	# What it has preprocessed to look for is what gcc compiles: a tenth less to do.
	export CCACHE_NOCPP2=1
fi

# One line that moves on a terminal; else one now and then.
progress()
{
	if [ -t 2 ]; then fancy=1; else fancy=0; fi
	awk -v name="$1" -v fancy=$fancy '
		/^  (CC|AS|LD|AR|HOSTCC|OBJCOPY|GEN|ZOFFSET|BUILD) / {
			n++
			if (fancy)
				printf "\rbuild: %s kernel, step %d: %-50.50s", name, n, $0 >"/dev/stderr"
			else if (n % 250 == 0)
				printf "build: %s kernel, step %d\n", name, n >"/dev/stderr"
		}
		END { if (fancy && n) printf "\n" >"/dev/stderr" }'
}

# All modules, flat, for the initramfs of this kernel.
pack_modules()
{
	# If this is killed the next one takes it away
	pm=$obj.modules
	rm -rf "$pm"
	mkdir -p "$pm/lib/modules"
	find "$obj" -name '*.ko' -exec cp {} "$pm/lib/modules" \;
	(cd "$pm" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) |
		gzip -1 >"$obj/modules.gz"
	rm -rf "$pm"
}

# build/linux with a patch that only the machine of the tests needs
patched_tree()
{
	state=$(tree_state "$BUILD/linux"; cksum <"$2")
	[ "$(cat "$1.info" 2>/dev/null)" != "$state" ] || return 0
	need patch patch
	say "a copy of $BUILD/linux with $(basename "$2")"
	rm -rf "$1" "$1.info"
	# The copies are links: what is patched gets a file of its own first.
	cp -al "$BUILD/linux" "$1" && rm -rf "$1/.git" || die "copying the tree failed"
	for file in $(sed -n 's|^+++ b/||p' "$2"); do
		cp "$1/$file" "$1/$file.new" && mv "$1/$file.new" "$1/$file"
	done
	patch -s -p1 -d "$1" <"$2" || die "$2 does not apply"
	printf '%s\n' "$state" >"$1.info"
}

build()
{
	config=$1
	case $config in
	quirks)	src=$BUILD/linux-quirks hint="make tree"
		[ ! -d "$BUILD/linux" ] || patched_tree "$src" "$vm_dir/quirks.patch" ;;
	base-kho)	src=${tree:-$BUILD/base-kho} hint="tools/vm/kho.sh --base" ;;
	base*)	src=${tree:-$BUILD/base} hint="make base" ;;
	*)	src=${tree:-$BUILD/linux} hint="make tree" ;;
	esac
	case $config in
	base|off)	fragments="kernel" ;;
	series|quirks)	fragments="kernel series kho" ;;
	base-debug)	fragments="kernel debug" ;;
	debug)		fragments="kernel series debug" ;;
	other)		fragments="kernel series other" ;;
	modules)	fragments="kernel series other modules" ;;
	base-kho)	fragments="kernel kho" ;;
	*)		die "no such kernel: $config (see --help)" ;;
	esac
	fragments=$(for f in $fragments; do echo "$vm_dir/$f.config"; done)
	[ -f "$src/Makefile" ] || die "$src is not there: run '$hint' first"

	obj=$BUILD/obj-$config
	log=$BUILD/obj-$config.log
	build_lock "$obj.lock" "the $config kernel"
	now=$(tree_state "$src"; cat $fragments | cksum; gcc --version | head -1)
	if [ -f "$obj/arch/x86/boot/bzImage" ] && [ -f "$obj/built-from" ] &&
	   [ "$(cat "$obj/built-from")" = "$now" ]; then
		return
	fi

	cc=gcc hostcc=gcc
	if command -v ccache >/dev/null; then
		cc="$vm_dir/cc.sh $src gcc" hostcc="ccache gcc"
	fi

	mkdir -p "$obj"
	need_space "$obj" 1500
	# "done" as well: a build that was killed may have left it to one that fails
	rm -f "$obj/built-from" "$obj/done"
	make -s -C "$src" O="$obj" CC="$cc" HOSTCC="$hostcc" tinyconfig >"$log" 2>&1 &&
	cat $fragments >>"$obj/.config" &&
	make -s -C "$src" O="$obj" CC="$cc" HOSTCC="$hostcc" olddefconfig >"$log" 2>&1 ||
		die "configuring the $config kernel failed, see $log: $(tail -1 "$log")"

	# A later fragment may change an earlier one; nothing else may.
	cat $fragments | awk -F= '/^CONFIG_/ { v[$1] = $2 }
		END { for (s in v) print s "=" v[s] }' | sort | while IFS= read -r want; do
		symbol=${want%%=*}
		case $want in
		*=n)	! grep -q "^$symbol=" "$obj/.config" ;;
		*)	grep -qxF "$want" "$obj/.config" ;;
		esac || echo "$want"
	done >"$obj/unmet"
	[ ! -s "$obj/unmet" ] ||
		die "$src does not take: $(tr '\n' ' ' <"$obj/unmet")"

	targets=bzImage
	! grep -q '^CONFIG_MODULES=y' "$obj/.config" || targets="bzImage modules"
	say "the $config kernel, from $src (log: $log)"
	{ make -C "$src" O="$obj" CC="$cc" HOSTCC="$hostcc" -j"${JOBS:-$(nproc)}" $targets 2>&1 &&
		echo done >"$obj/done"; } | tee "$log" | progress "$config"
	if [ ! -f "$obj/done" ]; then
		grep -a -E "(error|Error |undefined reference|No space)" "$log" | head -20 >&2
		die "building the $config kernel failed, see $log"
	fi
	rm -f "$obj/done" "$obj/modules.gz"
	[ "$targets" = bzImage ] || pack_modules
	printf '%s\n' "$now" >"$obj/built-from"
}

for config; do
	build "$config"
done
