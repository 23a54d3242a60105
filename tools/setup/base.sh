#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Fetch the base kernel's source into build/base: Debian's linux-source-7.3,
# checked by apt against the archive's signature, or a tree or tarball of the
# user's own. Apt works in directories of its own under build/apt; the
# machine's sources and lists are neither read nor written.
set -euo pipefail

usage() {
	cat <<EOF
usage: $0 [-h]
Unpacks the base kernel into build/base and says in build/base.info what it is.
  KERNEL=  a 7.3.y source tree or tarball to take instead of Debian's package
  BUILD=   where to work (default: build)
EOF
}

top=$(realpath "$(dirname "$0")/../..")
build=${BUILD:-$top/build}
kernel=${KERNEL-}
series=7.3
package=linux-source-$series
suites=(trixie-backports sid forky experimental)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
need_mb=4500

case ${1-} in
-h|--help) usage; exit 0 ;;
"") ;;
*) usage >&2; exit 2 ;;
esac

die() {
	echo "error: $*" >&2
	exit 1
}

tmp=
cleanup() {
	local rc=$?
	trap '' INT TERM
	if [[ -n $tmp ]]; then rm -rf "$tmp"; fi
	return "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

tree_version() {
	awk -F ' *= *' '
		$1 == "VERSION" { v = $2 } $1 == "PATCHLEVEL" { p = $2 }
		$1 == "SUBLEVEL" { s = $2 } $1 == "EXTRAVERSION" { e = $2; exit }
		END { if (v != "") print v "." p "." s e }' "$1/Makefile" 2>/dev/null || true
}

check_version() {
	local v
	v=$(tree_version "$1")
	case $v in
	"$series".*) echo "$v" ;;
	"") die "$2 is not a kernel source tree; a $series.y tree or tarball is needed" ;;
	*) die "$2 is Linux $v; a $series.y tree or tarball is needed" ;;
	esac
}

check_space() {
	local free
	free=$(df -Pm "$build" 2>/dev/null | awk 'END { print $4 }')
	(( ${free:-99999} > need_mb )) ||
		die "no space: $build has ${free} MiB left, the base needs $need_mb; free some or set BUILD= to a larger file system"
}

# apt with state of its own; only the keyring, the machine's apt.conf.d (a
# proxy may be set there) and the address of its mirror are the machine's.
apt_private() {
	apt-get -o "Dir::State=$aptdir" -o "Dir::State::lists=$aptdir/lists" \
		-o "Dir::State::status=$aptdir/status" -o "Dir::Cache=$aptdir/cache" \
		-o "Dir::Etc::sourcelist=$aptdir/sources.list" \
		-o "Dir::Etc::sourceparts=/dev/null" \
		-o "Dir::Etc::preferences=/dev/null" \
		-o "Dir::Etc::preferencesparts=/dev/null" \
		-o "Dir::Etc::trustedparts=/dev/null" \
		-o APT::Update::Error-Mode=any -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false \
		-o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@" \
		</dev/null >>"$aptdir/log" 2>&1
}

# Leaves the .deb in $build/dl and its name in $deb
fetch_debian() {
	local suite mirror reached=0

	command -v apt-get >/dev/null ||
		die "there is no apt-get here to fetch $package with; give a $series.y tree or tarball as KERNEL="
	[[ -f $keyring ]] ||
		die "$keyring is missing; install debian-archive-keyring"
	mirror=$("$top/tools/setup/mirror.sh")
	aptdir=$build/apt/base
	for suite in "${suites[@]}"; do
		rm -rf "$aptdir"
		mkdir -p "$aptdir"/{lists/partial,cache/archives/partial} "$build/dl"
		: >"$aptdir/status"
		echo "deb [signed-by=$keyring] $mirror $suite main" >"$aptdir/sources.list"
		echo "base: looking for $package in $suite"
		apt_private update || continue
		reached=1
		mkdir -p "$tmp/dl"
		# apt-get checks the package against the signed index
		(cd "$tmp/dl" && apt_private download "$package") || {
			! grep -q 'No space left' "$aptdir/log" ||
				die "no space left in $build for $package; free some and run again"
			continue
		}
		deb=$(basename "$tmp"/dl/"$package"_*.deb)
		mv "$tmp/dl/$deb" "$build/dl/$deb"
		return
	done
	(( reached )) ||
		die "the Debian package registry ($mirror) cannot be reached (apt's log: $aptdir/log); check the network, or give a $series.y tree or tarball as KERNEL="
	die "$package is in none of ${suites[*]} (apt's log: $aptdir/log); give a $series.y tree or tarball as KERNEL="
}

from_debian() {
	fetch_debian
	echo "base: unpacking $deb"
	dpkg-deb -x "$build/dl/$deb" "$tmp/deb" || die "cannot unpack $build/dl/$deb: no space, or a damaged file; remove it and run again"
	from_tarball "$tmp/deb/usr/src/$package.tar.xz" "$package"
	package_version=$(dpkg-deb -f "$build/dl/$deb" Version)
	rm -rf "$tmp/deb"
}

from_tarball() {
	sha256=$(sha256sum "$1" | cut -d' ' -f1)
	mkdir "$tmp/x"
	tar -C "$tmp/x" -xf "$1" 2>"$tmp/tar.log" ||
		die "cannot unpack $2: $(head -1 "$tmp/tar.log")"
	# a tarball holds one directory, or the tree itself
	if [[ -f $tmp/x/Makefile ]]; then
		mv "$tmp/x" "$tmp/base"
	else
		local d
		d=$(find "$tmp/x" -mindepth 1 -maxdepth 1)
		[[ -d $d ]] || die "$2 is not a kernel tarball: it does not hold one directory"
		mv "$d" "$tmp/base"
		rmdir "$tmp/x"
	fi
	version=$(check_version "$tmp/base" "$2")
}

from_tree() {
	version=$(check_version "$1" "KERNEL=$1")
	sha256=-
	mkdir "$tmp/base"
	if git -C "$1" rev-parse --show-prefix >/dev/null 2>&1 &&
	   [[ -z $(git -C "$1" rev-parse --show-prefix) ]]; then
		# as it stands, but tracked files only
		git -C "$1" ls-files -z |
			tar -C "$1" --null --no-recursion -T - -cf - |
			tar -C "$tmp/base" -xf - || die "cannot copy $1"
	else
		[[ ! -e $1/.config && ! -d $1/include/config ]] ||
			die "KERNEL=$1 has been built in; 'make mrproper' it, or give a clean copy"
		tar -C "$1" --exclude=./.git -cf - . | tar -C "$tmp/base" -xf - ||
			die "cannot copy $1"
	fi
}

mkdir -p "$build"
want=debian
if [[ -n $kernel ]]; then
	[[ -e $kernel ]] || die "KERNEL=$kernel does not exist"
	kernel=$(realpath "$kernel")
	want=$kernel
fi
if [[ -f $build/base.info && -d $build/base ]] &&
   grep -qxF "source $want" "$build/base.info"; then
	[[ $want == debian ]] ||
		echo "base: using the copy of $want made before (remove $build/base.info to copy again)"
	exit 0
fi

check_space
tmp=$(mktemp -d "$build/base.tmp.XXXXXX")
package_version=-
if [[ -z $kernel ]]; then
	from_debian
elif [[ -d $kernel ]]; then
	from_tree "$kernel"
else
	from_tarball "$kernel" "KERNEL=$kernel"
fi
cat >"$tmp/info" <<EOF
version $version
source $want
package $package_version
sha256 $sha256
EOF
rm -f "$build/base.info"
if [[ -e $build/base ]]; then mv "$build/base" "$tmp/old"; fi
mv "$tmp/base" "$build/base"
mv "$tmp/info" "$build/base.info"
echo "base: Linux $version in $build/base"
