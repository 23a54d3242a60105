#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Every commit of the series builds, with each of several configurations. TAP: a
# line per commit and configuration.
. "$(dirname "$0")/lib.sh"

usage() {
	cat <<EOF
usage: $0 [--sample N] [--from COMMIT] [--link] [--list] [CONFIG]...
Checks the commits of build/linux out one after the other, in a work tree of its own,
and builds what the series touches (all of kernel/, mm/, lib/, drivers/iommu/,
drivers/pci/, drivers/vfio/ and more) with each CONFIG, in one object directory each:
only what a commit changes is compiled again. Without a CONFIG, with all but arm64:
$(config_list)
  --sample N     only N commits, evenly spread, the last one among them
  --from COMMIT  not those before this one
  --link         vmlinux as well, to find what is missing only then
The figures are on stderr. KEEP=1 leaves the object directories, build/obj-bisect-*,
for the next run. arm64 installs a cross compiler (as root).
EOF
}

# name | what | what to begin with | fragments of tools/vm | more lines
configs() {
	cat <<EOF
on|IOMMU_LIVEUPDATE, iommufd and vfio built in|tinyconfig|kernel series|
off|LIVEUPDATE without IOMMU_LIVEUPDATE|tinyconfig|kernel|CONFIG_IOMMU_LIVEUPDATE=n
none|no LIVEUPDATE, no KHO|tinyconfig|kernel|CONFIG_LIVEUPDATE=n CONFIG_KEXEC_HANDOVER=n
modules|iommufd and vfio are modules|tinyconfig|kernel series other modules|
defconfig|x86_64_defconfig with IOMMU_LIVEUPDATE|x86_64_defconfig|kernel series|CONFIG_MODULES=y
arm64|defconfig of arm64, only compiled|defconfig||CONFIG_KEXEC_HANDOVER=y CONFIG_LIVEUPDATE=y CONFIG_LIVEUPDATE_MEMFD=y CONFIG_IOMMUFD=y CONFIG_IOMMU_PT=y CONFIG_IOMMU_LIVEUPDATE=y
EOF
}

config_list() {
	local name what rest
	configs | while IFS='|' read -r name what rest; do
		printf '  %-12s   %s\n' "$name" "$what"
	done
}

sample=0 from='' link='' wanted=()
while (( $# )); do
	case $1 in
	-h|--help) usage; exit 0 ;;
	--list) config_list; exit 0 ;;
	--sample) has_value "$@"; sample=$2; shift ;;
	--from) has_value "$@"; from=$2; shift ;;
	--link) link=1 ;;
	-*) usage >&2; exit 2 ;;
	*)
		configs | grep "^$1|" >/dev/null || { echo "error: no configuration is called $1 (see $0 --list)" >&2; exit 2; }
		wanted+=("$1") ;;
	esac
	shift
done
(( ${#wanted[@]} )) || mapfile -t wanted < <(configs | cut -d'|' -f1 | grep -v '^arm64$')
[[ $sample =~ ^[0-9]+$ ]] || { usage >&2; exit 2; }

series_tmp
linux_open
if linux_dirty; then die "$LINUX has changes that are not committed"; fi
fragments=$TOP/tools/vm
work=$BUILD/bisect
for name in "${wanted[@]}"; do
	[[ $name != arm64 ]] || "$TOP/tools/setup/packages.sh" --with gcc-aarch64-linux-gnu
done

cc="gcc" hostcc="gcc"
if command -v ccache >/dev/null; then
	export CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache}
	cc="$fragments/cc.sh $work gcc" hostcc="ccache gcc"
fi
export KBUILD_BUILD_TIMESTAMP=1970-01-01 KBUILD_BUILD_USER=liveupdate
export KBUILD_BUILD_HOST=workshop

# The commits, oldest first
[[ -z $from ]] || base=$(g rev-parse -q --verify "$from^{commit}^") || die "no commit $from"
mapfile -t commits < <(g rev-list --reverse "$base..$head")
total=${#commits[@]}
(( total )) || die "there are no commits to build"
if (( sample && sample < total )); then
	picked=()
	for (( i = 1; i <= sample; i++ )); do
		picked+=("${commits[i * total / sample - 1]}")
	done
	commits=("${picked[@]}")
fi

cleanup_work() {
	g worktree remove --force "$work" >/dev/null 2>&1 || true
	[[ -n ${KEEP-} ]] || rm -rf "$BUILD"/obj-bisect-*/
	series_cleanup
}
trap cleanup_work EXIT
g worktree prune
rm -rf "$work"
g worktree add --quiet --detach "$work" "${commits[0]}"
# Files of the same content keep their time stamp from here on

mk() {
	if [[ $name == arm64 ]]; then
		make -s -C "$work" O="$obj" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- \
			CC="${cc/%gcc/aarch64-linux-gnu-gcc}" HOSTCC="$hostcc" "$@"
	else
		make -s -C "$work" O="$obj" CC="$cc" HOSTCC="$hostcc" "$@"
	fi
}

# The configuration of this commit: symbols come and go. The file is new only if it
# says something else.
configure() {
	local start frags more f

	IFS='|' read -r _ _ start frags more < <(configs | grep "^$name|")
	mkdir -p "$obj"
	if [[ ! -f $obj/seed ]]; then
		mk "$start" || return
		cp "$obj/.config" "$obj/seed"
		for f in $frags; do cat "$fragments/$f.config" >>"$obj/seed"; done
		printf '%s\n' $more >>"$obj/seed"
		rm "$obj/.config"
	fi
	cp "$obj/seed" "$obj/new.config"
	KCONFIG_CONFIG=new.config mk olddefconfig || return
	cmp -s "$obj/new.config" "$obj/.config" || cp "$obj/new.config" "$obj/.config"
}

# What the series touches, as kbuild's targets: directories with a makefile
targets() {
	local d all=()
	for d in kernel mm lib drivers/iommu drivers/pci drivers/vfio virt/lib; do
		[[ ! -f $work/$d/Makefile ]] || all+=("$d/")
	done
	[[ $name == arm64 ]] || all+=(arch/x86/kernel/)
	[[ -z $link || $name == arm64 ]] || all=(vmlinux)
	printf '%s\n' "${all[@]}"
}

echo "TAP version 13"
echo "1..$((${#commits[@]} * ${#wanted[@]}))"
n=0 failed=0 i=0
kconfig=1 before=${commits[0]}
for c in "${commits[@]}"; do
	i=$((i + 1))
	g -C "$work" checkout --quiet --detach "$c"
	# Reading Kconfig takes longer than most commits
	[[ -z $(g diff --name-only "$before" "$c" -- '*Kconfig*') ]] || kconfig=1
	for name in "${wanted[@]}"; do
		n=$((n + 1))
		obj=$BUILD/obj-bisect-$name
		log=$BUILD/obj-bisect-$name.log
		start=$SECONDS
		rc=0
		{ { [[ -z $kconfig && -f $obj/.config ]] || configure; } &&
			mapfile -t what < <(targets) &&
			mk -j"${JOBS:-$(nproc)}" "${what[@]}"; } >"$log" 2>&1 || rc=$?
		subject=$(g show -s --format=%s "$c")
		echo "bisect: $i/${#commits[@]} $name: $subject: $((SECONDS - start)) s" >&2
		if (( rc )); then
			grep -aE '(error|Error |undefined reference|No space)' "$log" | head -n 5 | sed 's/^/# /' || true
			echo "not ok $n - $name: ${c:0:12} $subject"
			failed=1
		else
			echo "ok $n - $name: ${c:0:12} $subject"
		fi
	done
	kconfig='' before=$c
done
exit "$failed"
