#!/usr/bin/env bash
# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
#
# Measure what the plugin costs and saves in time, against Dovecot without it,
# on this machine and in one run. Prints medians, ratios and the targets that
# the project has set itself; never fails for being slow. To be run as root on
# Debian 12 or 13; installs the packages that are missing. Takes about twenty
# minutes; nothing else should be running meanwhile.
#
# Everything happens in a private mount and PID namespace, as in demo.sh.

set -u
here=$(cd "$(dirname "$0")" && pwd)
modules=/usr/lib/dovecot/modules

usage() {
	cat <<-USAGE
	usage: tests/bench.sh [-p parts] [-q] [-r root]
	  -p  only these parts, of abcdefghij: (a) run, (b) FETCH of a mailbox,
	      (c) FETCH of a large message's header, (d) LMTP, (e) run -A,
	      (f) POP3 login to a mailbox with hidden messages, (g) RETR of a
	      mailbox, (h) QUIT after DELE, (i) the quota with many
	      mailboxes, (j) with much archived mail
	  -q  quick: a tenth of the messages and fewer repeats, to see that it
	      works
	  -r  measure in this Debian root, with the Dovecot that is in it
	USAGE
	exit "$1"
}

parts=abcdefghij quick="" root=""
while getopts p:qr:h option; do
	case $option in
	p) parts=$OPTARG ;;
	q) quick=1 ;;
	r) root=$OPTARG ;;
	h) usage 0 ;;
	*) usage 2 ;;
	esac
done
[[ $parts =~ ^[a-j]+$ ]] || usage 2

# The second half: in the namespaces, with the work directory as /tmp.
if [ "${RETENTION_INSIDE:-}" = mount ]; then
	if [ -n "$root" ]; then
		mount --rbind /dev "$root/dev" || exit 1
	fi
	mount -t proc proc "$root/proc" &&
	mount --bind "$RETENTION_WORK" "$root/tmp" || exit 1
	export RETENTION_INSIDE=run TMPDIR=/tmp HOME=/root LC_ALL=C.UTF-8
	export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
	args=(bash /tmp/source/tests/bench.sh -p "$parts")
	[ -z "$quick" ] || args+=(-q)
	cd "$root/tmp" || exit 1
	if [ -n "$root" ]; then
		exec chroot "$root" "${args[@]}"
	fi
	exec "${args[@]}"
fi

if [ "${RETENTION_INSIDE:-}" = run ]; then
	cd /tmp/source || exit 1
	. tests/lib.sh
	say "building the plugin for Dovecot $(dovecot --version)"
	{ ./autogen.sh && ./configure --with-dovecot=/usr/lib/dovecot &&
	  make -j2 && make install DESTDIR=/tmp/stage &&
	  gcc -O2 -o /tmp/loop tests/bench/loop.c -llz4 &&
	  gcc -O2 -o /tmp/fetch tests/bench/fetch.c; } > /tmp/build.log 2>&1 ||
		{ tail -n 40 /tmp/build.log; die "the build failed"; }
	cp -a "$modules" /tmp/modules &&
	cp -a "/tmp/stage$modules/." /tmp/modules/ &&
	mount --bind /tmp/modules "$modules" || die "mounting the modules failed"
	exec /usr/bin/python3 tests/bench/bench.py "$parts" ${quick:+quick}
fi

. "$here/lib.sh"
[ "$(id -u)" = 0 ] || die "must be run as root"
if [ -z "$root" ]; then
	# shellcheck disable=SC2086
	install_packages $BUILD_PACKAGES $SERVER_PACKAGES python3 ||
		die "the packages could not be installed"
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/retention-bench-XXXXXX") || exit 1
chmod 1777 "$work"
child=""
# The namespace's first process dies with unshare, and all others with it.
end() {
	trap - INT TERM HUP EXIT
	if [ -n "$child" ]; then
		kill -KILL "$child" 2>/dev/null
		wait "$child" 2>/dev/null
	fi
	rm -rf "$work"
	exit "$1"
}
trap 'end 130' INT TERM HUP
trap 'end $?' EXIT

copy_source "$(dirname "$here")" "$work/source" || die "copying failed"
RETENTION_INSIDE=mount RETENTION_WORK=$work unshare --mount --pid --fork \
	--kill-child --propagation private -- \
	bash "$work/source/tests/bench.sh" -p "$parts" ${quick:+-q} \
	${root:+-r "$root"} </dev/null &
child=$!
wait "$child"
status=$?
child=""
exit $status
