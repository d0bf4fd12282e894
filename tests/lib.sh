# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
# shellcheck shell=bash disable=SC2034,SC2016
# Shell functions that the test scripts share; to be sourced by bash.

# What the build and the tests need, the same names in Debian 12 and 13.
BUILD_PACKAGES="gcc libc6-dev make autoconf automake libtool pkg-config
 dovecot-dev liblz4-dev libssl-dev"
SERVER_PACKAGES="dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd
 dovecot-sqlite"
TEST_PACKAGES="python3 python3-pytest faketime xz-utils fetchmail getmail6 mpop
 curl postfix"

say() {
	printf '== %s\n' "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# The code name of the Debian release we run on.
host_suite() {
	(. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-unknown}")
}

# Install the packages that are missing, without starting their services.
install_packages() {
	local name missing="" policy=/usr/sbin/policy-rc.d status=0
	for name in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null |
			grep -qx installed || missing="$missing $name"
	done
	[ -n "$missing" ] || return 0
	say "installing$missing"
	if [ -e "$policy" ]; then
		policy=""
	else
		printf '#!/bin/sh\nexit 101\n' > "$policy"
		chmod 755 "$policy"
	fi
	# shellcheck disable=SC2086
	{ apt-get update -q &&
	  DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
		--no-install-recommends $missing; } </dev/null || status=1
	[ -z "$policy" ] || rm -f "$policy"
	return $status
}

# The base address of the archive that this machine's apt uses for its main
# suite, or for the security updates of it ($1 = security).
apt_archive() {
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' |
	awk -v want="${1:-main}" -v suite="$(host_suite)" '
		$2 != "main" { next }
		want == "main" && $1 == suite { print $3; exit }
		want == "security" && $1 == suite "-security" { print $3; exit }'
}

# Copy the source, without what a build leaves, to a new directory.
copy_source() {
	local from=$1 to=$2
	mkdir -p "$to"
	(
		cd "$from" || exit 1
		if git -c safe.directory='*' rev-parse --git-dir \
				>/dev/null 2>&1; then
			git -c safe.directory='*' ls-files -z --cached \
				--others --exclude-standard
		else
			find . -type f ! -path './.git/*' ! -name '*.o' \
				! -name '*.lo' ! -name '*.la' \
				! -path '*/.libs/*' ! -path '*/.deps/*' \
				! -path './build-aux/*' \
				! -path './autom4te.cache/*' \
				! -name Makefile ! -name Makefile.in \
				! -path '*/__pycache__/*' -print0
		fi | while IFS= read -r -d '' file; do
			[ ! -e "$file" ] || printf '%s\0' "$file"
		done | tar -c --null -T - -f -
	) | tar -x -C "$to" -f -
}
