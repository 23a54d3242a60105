# SPDX-License-Identifier: GPL-2.0
# Sourced, after common.sh: run suites of the kernel's selftests in a machine,
# and compare the results of two kernels. The caller has set tmp.

# What tests print has the console to itself: the kernel's log follows at the end.
suite_append="$common_append kho=on liveupdate=on loglevel=1 log_buf_len=4M job=selftests"

# suite_build TREE OUT NAME PROGRAM...: what of the selftests in TREE is to be run,
# to OUT/NAME. Again only if TREE is another.
suite_build()
{
	sb_tree=$1 sb_out=$2 sb_name=$3
	shift 3
	log=$sb_out.log
	need make make
	need gcc gcc
	mkdir -p "$sb_out"
	build_lock "$sb_out.lock" "selftests of $sb_tree"
	sb_now=$(tree_state "$sb_tree")
	if [ "$(cat "$sb_out/$sb_name.from" 2>/dev/null)" != "$sb_now" ]; then
		rm -rf "${sb_out:?}/$sb_name.from" "${sb_out:?}/$sb_name"
		say "the $sb_name selftests of $sb_tree (log: $log)"
		selftest "$sb_tree" "$sb_out" "$sb_name" $(for sb_p; do echo "$sb_out/$sb_name/$sb_p"; done)
		printf '%s\n' "$sb_now" >"$sb_out/$sb_name.from"
	fi
	build_unlock
}

# suite_initrd OUT PROGRAM...: each PROGRAM is run by /init; NAME=FILE: as NAME
suite_initrd()
{
	si_out=$1
	shift
	si_adds=
	for si_p; do
		case $si_p in
		*=*)	si_adds="$si_adds --add ${si_p#*=}=tests/${si_p%%=*}" ;;
		*)	si_adds="$si_adds --add $si_p=tests/$(basename "$si_p")" ;;
		esac
	done
	"$vm_dir/initramfs.sh" --out "$si_out" $si_adds || die "packing $si_out failed"
}

# suite_results LOG: a line per result, "[not ]ok - PROGRAM: TEST". What else goes wrong
# with a program is one that is "not ok": fewer results, or more, than it has planned,
# and its exit status, which with most says that a test has failed.
suite_results()
{
	awk '
		function program_ends() {
			if (name != "" && (plan == "" || got != plan))
				print "not ok - " name ": all that was planned # " \
					got + 0 " results of " (plan == "" ? "an unknown number" : plan)
			plan = ""; got = 0
		}
		/^# suite /	{ program_ends(); name = $3 }
		/^init: /	{ program_ends(); exit }
		/^1\.\.[0-9]+/	{ plan = substr($1, 4) + 0 }
		/^(not )?ok [0-9]+ / {
			sub(/ok [0-9]+ +(- )?/, "ok - " name ": ")
			print
			got++
		}
		/^# exit status [0-9]+/ { print "not ok - " name ": exit status " $4 }' "$1"
}

# suite_run RESULTS SECONDS KERNEL INITRD APPEND [QEMU-OPTION...]: run them all. What
# suite_results finds in RESULTS; the log in RESULTS.log.
suite_run()
{
	sr_file=$1 sr_limit=$2 sr_kernel=$3 sr_initrd=$4 sr_append=$5
	shift 5
	mkdir -p "$(dirname "$sr_file")"
	vm_boot "$tmp/log" "$sr_limit" ${suite_memory:-2048} "$sr_kernel" "$sr_initrd" \
		"$suite_append $sr_append" "$@"
	suite_results "$tmp/log" >"$sr_file.tmp"
	grep -q '^init: selftests done' "$tmp/log" ||
		echo "not ok - (all): did not come to its end" >>"$sr_file.tmp"
	sr_splat=$(vm_splat "$tmp/log") &&
		echo "not ok - (all): kernel log: $sr_splat" >>"$sr_file.tmp"
	mv "$tmp/log" "$sr_file.log"
	mv "$sr_file.tmp" "$sr_file"
}

# suite_compare BASE SERIES [new]: TAP, a line per result of SERIES, "not ok" if
# BASE has another. A test that fails on both is no failure of the series; one that
# is gone is, and one that is new, unless "new" says that there are some: those have
# to pass.
suite_compare()
{
	awk -v basefile="$1" -v new="${3-}" '
		function key(s) { sub(/^(not )?ok - /, "", s); sub(/ +# .*/, "", s); return s }
		function verdict(s) {
			return s ~ /^not/ ? "fails" : s ~ /# *SKIP/ ? "is skipped" : "passes"
		}
		function result(ok, text) {
			n++
			if (!ok) failed++
			printf "%sok %d - selftest %s\n", ok ? "" : "not ", n, text
		}
		BEGIN {
			while ((getline line < basefile) > 0) {
				order[++m] = key(line)
				want[key(line)] = verdict(line)
			}
		}
		{
			k = key($0); got = verdict($0); seen[k] = 1
			# What is wrong with the machine
			if (k ~ /^(kunit )?\(all\)/)
				result(0, k)
			else if (k in want)
				result(got == want[k], k (got != want[k] ? \
					": " got ", " want[k] " on the base" : \
					got == "passes" ? "" : ": " got " on the base as well"))
			else if (new)
				result(got == "passes", k (got == "passes" ? "" : ": " got))
			else
				result(0, k ": not there on the base")
		}
		END {
			for (i = 1; i <= m; i++)
				if (!seen[order[i]]) result(0, order[i] ": not there on the series")
			if (!n) result(0, "(all): no results")
			printf "1..%d\n", n
			exit failed ? 1 : 0
		}' "$2"
}
