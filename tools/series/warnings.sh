#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# No new compiler warning with W=1, no new kernel-doc warning, in what the
# series adds. TAP: one test per file of the series that the kernel of the
# tests compiles, one for headers and the kernel-doc of all of them.
. "$(dirname "$0")/lib.sh"

usage() {
	cat <<EOF
usage: $0 [-h]
Compiles the objects of the series again with W=1, with the configuration of
build/obj-series but beside it. A warning counts if it names a line that the series
adds. Needs that kernel (tools/vm/build.sh).
EOF
}

case ${1-} in
-h|--help) usage; exit 0 ;;
"") ;;
*) usage >&2; exit 2 ;;
esac

series_tmp
linux_open
objs=$BUILD/obj-series out=$BUILD/obj-w1
[[ -f $objs/vmlinux ]] || die "$objs is missing: tools/vm/build.sh series first"

cc=gcc
if command -v ccache >/dev/null; then
	export CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache} CCACHE_BASEDIR=${CCACHE_BASEDIR:-$BUILD}
	cc="ccache gcc"
fi
mk() { make -s -C "$LINUX" O="$out" CC="$cc" HOSTCC="$cc" "$@"; }

# Lines the series adds, as "path line". The work tree counts: that is what
# was built.
g "${DIFF[@]}" --unified=0 "$base" -- '*.c' '*.h' >"$TMP/diff"
awk '/^\+\+\+ / { p = $2; sub(/^b\//, "", p) }
     /^@@ / { split(substr($3, 2), a, ","); n = a[2] == "" ? 1 : a[2]
	      for (i = 0; i < n; i++) print p, a[1] + i }' "$TMP/diff" >"$TMP/added"
mapfile -t files < <(g diff --name-only --no-renames --diff-filter=AM "$base" -- '*.c' '*.h' |
	grep -vE '^(tools|samples|Documentation)/' || true)

# What to compile with one of the configurations: the .c files it has, and
# whatever includes a header of the series that is not for the whole kernel.
# Headers under include/ come with those.
find_objects() {
	local f

	for f in "${files[@]}"; do
		case $f in
		*.c)	if [[ -f $objs/${f%.c}.o ]]; then echo "${f%.c}.o"; fi ;;
		include/*) ;;
		*)	(cd "$objs" && find "$(cut -d/ -f1-2 <<<"$f")" -name '.*.o.cmd' -exec grep -lF "/$f " {} + 2>/dev/null || true) |
				sed 's,/\.\([^/]*\)\.cmd$,/\1,' ;;
		esac
	done | sort -u
}

# Prints the warnings in $1 that name an added line
new_warnings() {
	sed -E "s,^(\.\./)*$LINUX/,,; s,^(\.\./)+linux/,,; s,^(Warning|Error): $LINUX/,\1: ,; s,^(Warning|Error): (\.\./)+linux/,\1: ," "$1" |
	awk -v added="$TMP/added" '
		BEGIN { while ((getline l < added) > 0) { split(l, a, " "); new[a[1] ":" a[2]] = 1 } }
		/^[^ ]*:[0-9]+:([0-9]+:)? *(warning|error)/ { split($1, a, ":"); if ((a[1] ":" a[2]) in new) print; next }
		/^(Warning|Error): / { split($2, a, ":"); if ((a[1] ":" a[2]) in new) print }'
}

echo "TAP version 13"
n=0 failed=0
mapfile -t objects < <(find_objects)
mkdir -p "$out"
cmp -s "$objs/.config" "$out/.config" || cp "$objs/.config" "$out/.config"
{ mk olddefconfig && mk prepare; } >"$TMP/log" 2>&1 ||
	{ tail -n 5 "$TMP/log" >&2; die "cannot prepare $out"; }
# make does not say a warning twice: an object is made anew each time, which
# ccache makes cheap
(cd "$out" && rm -f "${objects[@]}")
mk W=1 -k -j"${JOBS:-$(nproc)}" "${objects[@]}" >"$TMP/log" 2>&1 || true
# One log for all: a warning goes to the test of the file it is in; one in a
# header to the last test.
new_warnings "$TMP/log" | sort -u >"$TMP/new"
for o in "${objects[@]}"; do
	n=$((n + 1))
	c=${o%.o}.c
	if [[ ! -f $out/$o ]]; then
		grep -m 3 -e "$c" -e "${o##*/}" "$TMP/log" | sed 's/^/# /' || true
		echo "not ok $n - W=1 $c: does not compile"
		failed=1
	elif grep -qF "$c:" "$TMP/new"; then
		grep -F "$c:" "$TMP/new" | sed 's/^/# /'
		echo "not ok $n - W=1 $c"
		failed=1
	else
		echo "ok $n - W=1 $c"
	fi
done

# kernel-doc of all files of the series, headers too, and warnings of the
# compiler that are in headers.
: >"$TMP/doc"
n=$((n + 1))
if (( ${#files[@]} )); then
	(cd "$LINUX" && PYTHONDONTWRITEBYTECODE=1 ./scripts/kernel-doc -none "${files[@]}") >"$TMP/kdoc" 2>&1 || true
	# It says at least which of them have none, and cannot run without python
	if grep -qE 'python3.*No such file|not found|Traceback' "$TMP/kdoc"; then
		cp "$TMP/kdoc" "$TMP/doc"
	else
		new_warnings "$TMP/kdoc" >"$TMP/doc"
	fi
fi
grep -E '^[^ ]*\.h:' "$TMP/new" | sort -u >>"$TMP/doc" || true
if [[ -s $TMP/doc ]]; then
	sed 's/^/# /' "$TMP/doc"
	echo "not ok $n - kernel-doc, and W=1 in headers"
	failed=1
else
	echo "ok $n - kernel-doc, and W=1 in headers, ${#files[@]} files"
fi
echo "1..$n"
exit "$failed"
