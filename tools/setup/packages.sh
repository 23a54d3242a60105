#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Install what the workshop needs, by package name. Does nothing, and needs no
# network, when everything is there.
set -euo pipefail

usage() {
	cat <<EOF
usage: $0 [--list] [--with PACKAGE]... [-h]
Installs what is missing on a Debian 12 (or later) machine; needs root for
that. QEMU must be 10 or later; on bookworm it comes from bookworm-backports,
named to apt for this one call only: the machine's own sources stay as they
are and no other package is taken from there.
  --list          print the packages that are missing and exit
  --with PACKAGE  this one as well
EOF
}

top=$(realpath "$(dirname "$0")/../..")
build=${BUILD:-$top/build}

# Compiler and kernel build, image, checks, report
packages=(gcc g++ libc6-dev make git ccache flex bison bc perl libelf-dev
	  libssl-dev xz-utils kmod procps patch
	  busybox-static cpio uuid-dev libcap-dev
	  python3 python3-ply python3-git	# checkpatch, kernel-doc
	  gnuplot-nox)
qemu_min=10
qemu_with_it=(qemu-system-x86 qemu-system-common qemu-system-data seabios
	      ipxe-qemu libslirp0)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
	echo "error: $*" >&2
	exit 1
}

installed() {
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

qemu_version() {
	qemu-system-x86_64 --version 2>/dev/null |
		sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p' || true
}

qemu_ok() {
	local v
	v=$(qemu_version)
	[[ -n $v ]] && (( ${v%%.*} >= qemu_min ))
}

missing=()
find_missing() {
	local p

	missing=()
	for p in "${packages[@]}"; do
		installed "$p" || missing+=("$p")
	done
}

# Which error it was, in one line: apt says it in many.
explain() {
	local log=$1 what=$2

	if grep -qE 'No space left|enough free space' "$log"; then
		die "$what: no space left (apt's log: $log); free some on / and run again"
	elif grep -qE 'Could not (resolve|connect)|Failed to fetch|Connection (failed|timed out)|Unable to connect|404  Not Found|50[0-9] ' "$log"; then
		die "$what: the Debian package registry cannot be reached (apt's log: $log); check the network or apt's proxy and run again"
	elif grep -qE 'Could not get lock|Unable to acquire' "$log"; then
		die "$what: another package manager is running; run again when it is done"
	fi
	die "$what: $(grep -m1 '^E:' "$log" || echo 'apt failed') (apt's log: $log)"
}

aptdir=$build/apt/machine
apt_opts=(-o APT::Update::Error-Mode=any -o Acquire::Retries=2
	  -o Acquire::http::Timeout=30 -o Dpkg::Use-Pty=0)

# $1: what it is for in an error message; rest: apt-get's arguments
apt_run() {
	local what=$1 log=$build/apt/setup.log
	shift

	DEBIAN_FRONTEND=noninteractive apt-get "${apt_opts[@]}" "$@" \
		</dev/null >"$log" 2>&1 || explain "$log" "$what"
	grep '^Setting up ' "$log" >>"$build/apt/installed" || :
}

# The machine's own sources, lists and pins are left alone: for this call apt
# sees copies of them, and for QEMU one more suite and one more pin.
private_apt() {
	local uri f

	rm -rf "$aptdir"
	mkdir -p "$aptdir"/{lists/partial,sources.list.d,preferences.d}
	for f in /etc/apt/sources.list.d/*.{list,sources} /etc/apt/sources.list; do
		if [[ -f $f ]]; then cp "$f" "$aptdir/sources.list.d/"; fi
	done
	for f in /etc/apt/preferences.d/*; do
		if [[ -f $f ]]; then cp "$f" "$aptdir/preferences.d/"; fi
	done
	if [[ -f $aptdir/sources.list.d/sources.list ]]; then
		mv "$aptdir/sources.list.d/sources.list" "$aptdir/sources.list.d/machine.list"
	fi
	if [[ ${1-} == backports ]] &&
	   ! grep -qs bookworm-backports -r "$aptdir/sources.list.d"; then
		uri=$(debian_mirror)
		echo "deb [signed-by=$keyring] $uri bookworm-backports main" \
			>"$aptdir/sources.list.d/liveupdate-backports.list"
	fi
	if [[ ${1-} == backports ]]; then
		cat >"$aptdir/preferences.d/00-liveupdate" <<EOF
Package: ${qemu_with_it[*]}
Pin: release n=bookworm-backports
Pin-Priority: 600

Package: *
Pin: release n=bookworm-backports
Pin-Priority: 50
EOF
	fi
	apt_opts+=(-o "Dir::State::lists=$aptdir/lists"
		   -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
		   -o "Dir::Etc::sourcelist=/dev/null"
		   -o "Dir::Etc::sourceparts=$aptdir/sources.list.d"
		   -o "Dir::Etc::preferencesparts=$aptdir/preferences.d"
		   -o APT::Sandbox::User=root)
}

debian_mirror() {
	"$top/tools/setup/mirror.sh"
}

list=
while (( $# )); do
	case $1 in
	-h|--help) usage; exit 0 ;;
	--list) list=1 ;;
	--with)
		[[ -n ${2-} ]] || { usage >&2; exit 2; }
		packages+=("$2")
		shift ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

find_missing
want_qemu=0
qemu_ok || want_qemu=1

if [[ -n $list ]]; then
	for p in "${missing[@]}"; do echo "$p"; done
	(( want_qemu )) && echo "qemu-system-x86 >= $qemu_min"
	exit 0
fi

if (( ! ${#missing[@]} && ! want_qemu )); then
	exit 0
fi

if (( want_qemu )); then
	have=$(qemu_version)
	all="${missing[*]}${missing:+ }qemu-system-x86 >= $qemu_min${have:+ (QEMU $have here is too old)}"
else
	all="${missing[*]}"
fi
command -v apt-get >/dev/null ||
	die "missing: $all; this is not a Debian machine, install them by hand"
(( EUID == 0 )) ||
	die "missing: $all; run 'make setup' as root once to install them"

mkdir -p "$build/apt"
free=$(df -Pm /usr 2>/dev/null | awk 'END { print $4 }')
(( ${free:-9999} > 1500 )) ||
	die "no space: / has ${free} MiB left, the packages need 1500; free some and run again"

# shellcheck disable=SC1091
codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
echo "setup: installing $all"
if (( want_qemu )) && [[ $codename == bookworm ]]; then
	private_apt backports
else
	private_apt
fi
apt_run "apt-get update" update
if (( ${#missing[@]} )); then
	apt_run "installing ${missing[*]}" install -y --no-install-recommends "${missing[@]}"
fi
if (( want_qemu )); then
	have=$(qemu_version)
	apt_run "installing qemu-system-x86" install -y --no-install-recommends \
		"${qemu_with_it[@]}"
	qemu_ok ||
		die "QEMU is too old: $(qemu_version || true)${have:+ (was $have)}, needed is $qemu_min or later; on Debian 12 it is in bookworm-backports, else put a newer qemu-system-x86_64 first in PATH"
fi
find_missing
(( ! ${#missing[@]} )) || die "still missing after the installation: ${missing[*]}"
echo "setup: done (QEMU $(qemu_version))"
