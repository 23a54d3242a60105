#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What is missing or full is one clear line, and ctrl-C leaves nothing behind.
set -euo pipefail

case ${1:-} in
-h|--help)	echo "usage: errors-test.sh: prints TAP; needs the series kernel and the initramfs"; exit 0 ;;
esac

dir=$(cd "$(dirname "$0")" && pwd)
export BUILD=${BUILD:-$(cd "$dir/../.." && pwd)/build}
kernel=$BUILD/obj-series/arch/x86/boot/bzImage
initrd=$BUILD/initramfs.gz
tmp=$(mktemp -d)
n=0 failed=0 group=
# The machine has a process group of its own.
cleanup() {
	trap '' INT TERM HUP
	if [[ -n $group ]]; then
		kill -- "-$group" 2>/dev/null || :
		wait "$group" 2>/dev/null || :
	fi
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

result() {
	n=$((n + 1))
	[[ $1 == ok ]] || failed=$((failed + 1))
	echo "$1 $n - errors: $2"
	[[ $1 == ok ]] || sed 's/^/# /' "$tmp/out"
}

# one_line TEXT WHAT COMMAND...: fails, saying TEXT in its only line, but for those that
# say how far it is.
one_line() {
	local text=$1 what=$2 rc=0
	shift 2
	"$@" >/dev/null 2>"$tmp/out" </dev/null || rc=$?
	if (( rc )) && [[ $(grep -vcE '^(run|build|guest|setup|base): ' "$tmp/out") == 1 ]] &&
	   tail -n 1 "$tmp/out" | grep -qF "$text"; then
		result ok "$what"
	else
		result "not ok" "$what (exit status $rc)"
	fi
}

# small PLACE SIZE COMMAND...: with a file system of SIZE there.
small() {
	unshare -m sh -c 'mount -t tmpfs -o size="$2" small "$1" && shift 2 && exec "$@"' sh "$@"
}

skipped() {
	n=$((n + 1))
	echo "ok $n - errors: $1 # SKIP $2"
}

# with_kvm COMMAND...: /dev/kvm is there, and is none.
with_kvm() {
	unshare -m sh -c 'mkdir -p "$1/shm" && touch "$1/kvm" &&
		for d in null zero full random urandom; do
			touch "$1/$d" && mount --bind "/dev/$d" "$1/$d" || exit 1
		done && mount --rbind /dev/shm "$1/shm" && mount --rbind "$1" /dev &&
		shift && exec "$@"' sh "$tmp/dev" "$@"
}

setup=$dir/../setup
# In a user namespace of its own nobody is root, and can read what is ours all the same.
one_line "missing: liveupdate-none; run 'make setup' as root" "a package that is missing, not root" \
	unshare -U "$setup/packages.sh" --with liveupdate-none
if (( EUID == 0 )); then
	one_line "the Debian package registry cannot be reached" "packages without the registry" \
		env BUILD="$tmp/setup" unshare -n "$setup/packages.sh" --with liveupdate-none
	one_line "cannot be reached" "the base without the registry" \
		env -u KERNEL BUILD="$tmp/setup" unshare -n "$setup/base.sh"
else
	skipped "packages without the registry" "not root"
	skipped "the base without the registry" "not root"
fi
mkdir -p "$tmp/old/tree"
printf 'VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 0\nEXTRAVERSION =\n' >"$tmp/old/tree/Makefile"
tar -C "$tmp/old" -czf "$tmp/old.tar.gz" tree
one_line "KERNEL=$tmp/old/tree is Linux 6.1.0; a 7.3.y tree or tarball is needed" "another kernel's tree" \
	env BUILD="$tmp/setup" KERNEL="$tmp/old/tree" "$setup/base.sh"
one_line "KERNEL=$tmp/old.tar.gz is Linux 6.1.0; a 7.3.y tree or tarball is needed" "another kernel's tarball" \
	env BUILD="$tmp/setup" KERNEL="$tmp/old.tar.gz" "$setup/base.sh"
one_line "KERNEL=$tmp/none does not exist" "a KERNEL= that is not there" \
	env BUILD="$tmp/setup" KERNEL="$tmp/none" "$setup/base.sh"

# What a machine has of backports by its own choice is not ours to judge.
what="setup took nothing but QEMU from backports"
if [[ -s $BUILD/apt/installed ]]; then
	grep '~bpo' "$BUILD/apt/installed" |
		grep -vE '^Setting up (qemu-system-[a-z0-9]*|seabios|ipxe-qemu|libslirp0)[: ]' >"$tmp/out" || :
	if [[ -s $tmp/out ]]; then
		result "not ok" "$what"
	else
		result ok "$what"
	fi
else
	skipped "$what" "setup had nothing to install for $BUILD"
fi

mkdir "$tmp/bin" "$tmp/build"
printf '#!/bin/sh\necho "QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u15)"\n' >"$tmp/bin/qemu-system-x86_64"
chmod +x "$tmp/bin/qemu-system-x86_64"
one_line "QEMU 7.2.17 is too old" "an old QEMU" \
	env PATH="$tmp/bin:$PATH" "$dir/run.sh" --kernel "$kernel" --initrd "$initrd"
one_line "run 'make kernel' first" "no kernel" "$dir/run.sh" --kernel "$tmp/none"
one_line "MODE=third" "a mode that is not there" env MODE=third "$dir/run.sh"
one_line "DEVICES=igb,ne2k" "a device that is not there" env DEVICES=igb,ne2k "$dir/run.sh"
one_line "KERNEL2=none" "another kernel that is not there" env KERNEL2=none "$dir/run.sh"

if unshare -m true 2>/dev/null; then
	one_line "no space: $tmp/build" "no space to work in" \
		small "$tmp/build" 50m env BUILD="$tmp/build" "$dir/run.sh" --kernel "$kernel" --initrd "$initrd"
	one_line "no space: /dev/shm" "no space for the machine's memory" \
		small /dev/shm 1g "$dir/run.sh" --kernel "$kernel" --initrd "$initrd"
	ln -s "$BUILD/linux" "$tmp/linux"
	one_line "no space: $tmp/build" "no space for a kernel" \
		small "$tmp/build" 50m env BUILD="$tmp/build" "$dir/build.sh" --tree "$BUILD/linux" series
	one_line "/dev/kvm cannot run this kernel: leave ACCEL out" "a /dev/kvm that does not work" \
		with_kvm env ACCEL=kvm BUILD="$tmp/build" "$dir/run.sh" --kernel "$kernel" --initrd "$initrd"
else
	for what in "no space to work in" "no space for the machine's memory" "no space for a kernel" \
		"a /dev/kvm that does not work"; do
		skipped "$what" "cannot mount"
	done
fi

# What a run has made; others may be going on.
left() {
	ls -d "$BUILD/run.new.$1" /dev/shm/liveupdate-run."$1"{,.*} /tmp/liveupdate-run."$1".* 2>/dev/null || :
}
# As from a terminal: to all of a process group that does not ignore it.
set -m
# Whoever started this in the background may have it ignored
DEVICES=igb,nvme env --default-signal=INT "$dir/run.sh" --out "$tmp/run" >"$tmp/out" 2>&1 </dev/null &
group=$!
set +m
for (( i = 0; i < 600; i++ )); do
	! grep -q 'kernel boot' "$tmp/out" || break
	sleep 0.1
done
before=$(left "$group")
kill -INT -- "-$group" || :
rc=0
wait "$group" || rc=$?
pids=$(ps -e -o pid=,pgid=,args= | awk -v g="$group" '$2 == g')
after=$(left "$group")
if (( i < 600 && rc == 130 )) && [[ -n $before && -z $pids$after && ! -e $tmp/run ]]; then
	result ok "ctrl-C leaves no process and no file"
else
	printf '%s\n' "exit status $rc, processes: $pids" "files before: $before" \
		"files after: $after" >>"$tmp/out"
	result "not ok" "ctrl-C leaves no process and no file"
fi
[[ -n $pids ]] || group=
echo "1..$n"
(( ! failed ))
