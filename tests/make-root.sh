#!/usr/bin/env bash
# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
#
# make-root.sh SUITE DIRECTORY: make a Debian root with what the build and the
# tests need, from the archive that this machine's own apt uses. Runs in a
# private mount namespace (tests/run.sh), so that nothing stays mounted.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

suite=$1 root=$2
archive=$(apt_archive)
[ -n "$archive" ] || die "apt knows no archive for $(host_suite)"
security=$(apt_archive security)

# A debootstrap older than the suite has no script of its name; all newer
# suites are made like sid.
script=""
[ -e "/usr/share/debootstrap/scripts/$suite" ] ||
	script=/usr/share/debootstrap/scripts/sid

# Under another name until it is complete.
rm -rf "$root.partial"
debootstrap --variant=minbase --include=ca-certificates "$suite" \
	"$root.partial" "$archive" $script

list="$root.partial/etc/apt/sources.list"
printf 'deb %s %s main\n' "$archive" "$suite" > "$list"
case $suite in
bookworm|trixie)
	[ -z "$security" ] ||
		printf 'deb %s %s-security main\n' "$security" "$suite" >> "$list"
	;;
esac
cp /etc/resolv.conf "$root.partial/etc/resolv.conf"
mount -t proc proc "$root.partial/proc"
mount --rbind /dev "$root.partial/dev"
cp "$here/lib.sh" "$root.partial/tmp/lib.sh"
chroot "$root.partial" bash -c '. /tmp/lib.sh && install_packages \
	$BUILD_PACKAGES $SERVER_PACKAGES $TEST_PACKAGES && apt-get clean'
rm -f "$root.partial/tmp/lib.sh"
umount -l "$root.partial/proc" "$root.partial/dev"
mv "$root.partial" "$root"
