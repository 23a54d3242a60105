#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Make the initramfs: busybox, /init, and guest programs.
set -eu
. "$(dirname "$0")/common.sh"

usage()
{
	cat <<EOF
usage: initramfs.sh [--out FILE] [--add FILE[=NAME]]... [PROGRAM...]
       initramfs.sh --outer INNER KERNEL [--append2 WORDS] [--before2 FILE]
                    --out FILE
The first form packs busybox, tools/vm/init as /init and each PROGRAM (static)
as /bin/NAME; --add puts FILE at /NAME. The second adds the kernel to jump to
as /kernel, what is to change in its command line as /append2, and INNER as
/initrd2, with FILE before it, to a copy of INNER.
EOF
}

pack()
{
	(cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet)
}

out=$BUILD/initramfs.gz
inner= kernel= append2= before2= adds=
while [ $# -gt 0 ]; do
	case $1 in
	-h|--help)	usage; exit 0 ;;
	--out)		has_value "$@"; out=$2; shift 2 ;;
	--add)		has_value "$@"; adds="$adds $2"; shift 2 ;;
	--outer)	[ $# -gt 2 ] || { usage >&2; exit 2; }
			inner=$2 kernel=$3; shift 3 ;;
	--append2)	has_value "$@"; append2=$2; shift 2 ;;
	--before2)	has_value "$@"; before2=$2; shift 2 ;;
	-*)		usage >&2; exit 2 ;;
	*)		break ;;
	esac
done

need cpio cpio
need busybox busybox-static
mkdir -p "$(dirname "$out")"
stage=$(mktemp -d)
trap 'rm -rf "$stage" "$out.$$"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -n "$inner" ]; then
	cat ${before2:+"$before2"} "$inner" >"$stage/initrd2"
	cp "$kernel" "$stage/kernel"
	printf '%s\n' "$append2" >"$stage/append2"
	{ cat "$inner"; pack "$stage" | gzip -1; } >"$out.$$"
	mv "$out.$$" "$out"
	exit 0
fi

mkdir -p "$stage/bin" "$stage/dev" "$stage/proc" "$stage/sys" "$stage/tmp"
cp "$(command -v busybox)" "$stage/bin/busybox"
if ! file -L "$stage/bin/busybox" 2>/dev/null | grep -q static &&
   ldd "$stage/bin/busybox" >/dev/null 2>&1; then
	die "busybox is not static: run 'make setup' as root, or install package busybox-static"
fi
for applet in $(busybox --list); do
	[ "$applet" = busybox ] || ln -s busybox "$stage/bin/$applet"
done
install -m 755 "$vm_dir/init" "$stage/init"
for program; do
	install -m 755 "$program" "$stage/bin/$(basename "$program")"
done
for add in $adds; do
	mkdir -p "$stage/$(dirname "${add#*=}")"
	cp "${add%%=*}" "$stage/${add#*=}"
done
pack "$stage" | gzip -1 >"$out.$$"
mv "$out.$$" "$out"
