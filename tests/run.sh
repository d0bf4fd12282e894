#!/usr/bin/env bash
# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
#
# Build the plugin and run every test, for both Dovecot series: the one that
# this machine has natively, the other in a Debian root of its own, which is
# made with debootstrap and kept for the next time. To be run as root on Debian
# 12 or 13; installs the packages that are missing.
#
# The tests run in a private mount and PID namespace with a /tmp of their own:
# the plugin is mounted over Dovecot's module directory there, so that the
# machine's own Dovecot never sees it, and whatever they start or mount is gone
# with the namespace.
#
# RETENTION_ROOTS          where the roots are kept, each as root-<suite> or
#                          <suite> (default /var/cache/dovecot-retention)
# RETENTION_EXTRA_SUITES   further suites (forky, sid) for which the plugin is
#                          built, and loaded once
# RETENTION_KILLS          how often test_kill kills, for each driver
# RETENTION_KEEP_TMP       not empty: keep the work directory

set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
. "$here/lib.sh"

usage() {
	cat <<-USAGE
	usage: tests/run.sh [-s series] [-k expression]
	  -s  2.3 or 2.4: only this Dovecot series
	  -k  only the live tests that pytest's -k expression selects, and
	      neither unit tests nor distcheck
	USAGE
	exit "$1"
}

only="" select=""
while getopts s:k:h option; do
	case $option in
	s) only=$OPTARG ;;
	k) select=$OPTARG ;;
	h) usage 0 ;;
	*) usage 2 ;;
	esac
done
case $only in
''|2.3|2.4) ;;
*) usage 2 ;;
esac

[ "$(id -u)" = 0 ] || die "must be run as root"
suite=$(host_suite)
case $suite in
bookworm) native=2.3 other=2.4 other_suite=trixie ;;
*) native=2.4 other=2.3 other_suite=bookworm ;;
esac
roots=${RETENTION_ROOTS:-/var/cache/dovecot-retention}

work=$(mktemp -d "${TMPDIR:-/tmp}/retention-run-XXXXXX") || exit 1
chmod 755 "$work"
children=()

# A namespace's first process dies with its unshare, and all others with it.
end() {
	local child
	trap "" INT TERM HUP
	trap - EXIT
	for child in ${children[@]+"${children[@]}"}; do
		kill -KILL "$child" 2>/dev/null && wait "$child" 2>/dev/null
	done
	[ -n "${RETENTION_KEEP_TMP:-}" ] || rm -rf "$work"
	exit "$1"
}
trap 'end 130' INT TERM HUP
trap 'end $?' EXIT

passed=0 failed=0 skipped=0 started=""

count() {
	case $1 in
	passed) passed=$((passed + $2)) ;;
	failed) failed=$((failed + $2)) ;;
	skipped) skipped=$((skipped + $2)) ;;
	esac
}

skip() {
	say "skipped: $*"
	count skipped 1
}

fail() {
	say "FAILED: $*"
	count failed 1
}

# Start a command in a namespace of its own, in the background, so that waiting
# for it can be interrupted; each line that it prints begins with $1.
isolated() {
	local name=$1
	shift
	unshare --mount --pid --fork --kill-child --propagation private \
		-- "$@" </dev/null > >(sed -u "s/^/$name: /") 2>&1 &
	children+=($!)
}

# Print the directory of a suite's root, if it was made before.
find_root() {
	local dir
	for dir in "$roots/root-$1" "$roots/$1"; do
		if [ -x "$dir/usr/bin/apt-get" ]; then
			printf '%s\n' "$dir"
			return 0
		fi
	done
	return 1
}

# Make a suite's root unless there is one; sets root, or why on failure.
need_root() {
	why=""
	if root=$(find_root "$1"); then
		return 0
	fi
	root=$roots/root-$1
	say "making a root for $1 in $root"
	if ! install_packages debootstrap; then
		why="debootstrap could not be installed"
		return 1
	fi
	if mkdir -p "$roots"; then
		isolated "$1" bash "$here/make-root.sh" "$1" "$root"
		wait $! && return 0
	fi
	why="no root for $1 could be made in $roots (see above)"
	return 1
}

# Start to build and test one series. $1 = its name, $2 = its root, empty for
# natively, $3 = all, or load for a build that is loaded only.
start_series() {
	local name=$1 dir=$work/$1
	say "Dovecot $name: ${2:-this machine}"
	mkdir -p "$dir" && chmod 1777 "$dir"
	copy_source "$top" "$dir/source" ||
		{ fail "$name: copying the source"; return; }
	isolated "$name" env RETENTION_SELECT="$select" \
		RETENTION_KILLS="${RETENTION_KILLS:-}" \
		RETENTION_KEEP_TMP="${RETENTION_KEEP_TMP:-}" \
		bash "$here/run-series.sh" "$3" "$dir" "$2"
	started="$started $name"
}

# Wait for the started ones and count what they found. What failed is named
# once more at the end, where it is not lost among other lines.
finish_series() {
	local name verdict number
	wait
	for name in $started; do
		[ -e "$work/$name/finished" ] ||
			fail "$name: the tests ended before their end"
		[ ! -s "$work/$name/failures" ] ||
			sed "s/^/FAILED: $name: /" "$work/$name/failures"
		[ ! -e "$work/$name/results" ] ||
		while read -r verdict number; do
			count "$verdict" "$number"
		done < "$work/$name/results"
	done
}

wanted() {
	[ -z "$only" ] || [ "$only" = "$1" ]
}

if wanted "$native"; then
	# shellcheck disable=SC2086
	if install_packages $BUILD_PACKAGES $SERVER_PACKAGES $TEST_PACKAGES; then
		start_series "$native" "" all
	else
		fail "$native: the packages could not be installed"
	fi
fi
if wanted "$other"; then
	if need_root "$other_suite"; then
		start_series "$other" "$root" all
	else
		skip "Dovecot $other: $why"
	fi
fi
if [ -z "$only$select" ]; then
	for extra in ${RETENTION_EXTRA_SUITES:-}; do
		if need_root "$extra"; then
			start_series "$extra" "$root" load
		else
			skip "$extra: $why"
		fi
	done
fi

finish_series
summary="$passed passed, $failed failed"
[ "$skipped" = 0 ] || summary="$summary, $skipped skipped"
printf '%s\n' "$summary"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
