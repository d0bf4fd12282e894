#!/usr/bin/env bash
# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
#
# Show what the plugin does, on this machine: build it, start a private Dovecot
# on loopback, deliver a few hundred messages, archive the old ones, and read
# all of them again through IMAP and POP3. To be run as root on Debian 12 or 13;
# installs the packages that are missing. Exits non-zero if a single byte is
# not as it was delivered.
#
# Everything happens in a private mount and PID namespace with a /tmp of its
# own, where the plugin is mounted over Dovecot's module directory: the
# machine's own Dovecot and its mail are not touched, and nothing that was
# started survives the end.

set -u
here=$(cd "$(dirname "$0")" && pwd)
modules=/usr/lib/dovecot/modules

usage() {
	cat <<-USAGE
	usage: tests/demo.sh [-d driver] [-n messages]
	  -d  maildir (the default), sdbox or mdbox
	  -n  how many messages to append (default 300)
	USAGE
	exit "$1"
}

driver=maildir messages=300
while getopts d:n:h option; do
	case $option in
	d) driver=$OPTARG ;;
	n) messages=$OPTARG ;;
	h) usage 0 ;;
	*) usage 2 ;;
	esac
done
case $driver in
maildir|sdbox|mdbox) ;;
*) usage 2 ;;
esac
[[ $messages =~ ^[1-9][0-9]{1,4}$ ]] || usage 2

# The second half: in the namespaces, with the work directory as /tmp.
if [ -n "${RETENTION_INSIDE:-}" ]; then
	mount -t proc proc /proc && mount --bind "$RETENTION_INSIDE" /tmp &&
		cd /tmp/source || exit 1
	. tests/lib.sh
	export TMPDIR=/tmp HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
	export PATH=/usr/sbin:/usr/bin:/sbin:/bin
	say "building the plugin for Dovecot $(dovecot --version)"
	{ ./autogen.sh && ./configure --with-dovecot=/usr/lib/dovecot &&
	  make -j2 && make install DESTDIR=/tmp/stage; } > /tmp/build.log 2>&1 ||
		{ tail -n 40 /tmp/build.log; die "the build failed"; }
	(cd /tmp/stage && find ".$modules" -name '*.so' | sed 's|^\.|   |')
	cp -a "$modules" /tmp/modules &&
	cp -a "/tmp/stage$modules/." /tmp/modules/ &&
	mount --bind /tmp/modules "$modules" || die "mounting the modules failed"
	exec /usr/bin/python3 tests/demo.py "$driver" "$messages"
fi

. "$here/lib.sh"
[ "$(id -u)" = 0 ] || die "must be run as root"
# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $SERVER_PACKAGES python3 ||
	die "the packages could not be installed"

work=$(mktemp -d "${TMPDIR:-/tmp}/retention-demo-XXXXXX") || exit 1
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
RETENTION_INSIDE=$work unshare --mount --pid --fork --kill-child \
	--propagation private -- bash "$work/source/tests/demo.sh" \
	-d "$driver" -n "$messages" </dev/null &
child=$!
wait "$child"
status=$?
child=""
exit $status
