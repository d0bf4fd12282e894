#!/usr/bin/env bash
# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
#
# run-series.sh all|load WORK [ROOT]: the part of tests/run.sh that runs in
# namespaces of its own, as their first process. WORK, with the source in
# WORK/source, becomes /tmp; everything happens there. Leaves the numbers in
# WORK/results, and WORK/finished if it came to its end.

set -u
what=$1

if [ "${RETENTION_INSIDE:-}" = "" ]; then
	work=$2 root=${3:-}
	if [ -n "$root" ]; then
		mount --rbind /dev "$root/dev" || exit 1
	fi
	mount -t proc proc "$root/proc" &&
	mount --bind "$work" "$root/tmp" || exit 1
	export RETENTION_INSIDE=1 TMPDIR=/tmp HOME=/root LC_ALL=C.UTF-8
	export PATH=/usr/sbin:/usr/bin:/sbin:/bin
	cd "$root/tmp" || exit 1
	# Started anew from the private /tmp, for the root may not see the
	# original.
	if [ -n "$root" ]; then
		exec chroot "$root" bash /tmp/source/tests/run-series.sh "$what"
	fi
	exec bash /tmp/source/tests/run-series.sh "$what"
fi

cd /tmp/source || exit 1
. tests/lib.sh
modules=/usr/lib/dovecot/modules

result() {
	printf '%s %s\n' "$1" "$2" >> /tmp/results
}

# Run one step of the build as a test of its own.
step() {
	local name=$1
	shift
	if "$@" > "/tmp/$name.log" 2>&1; then
		result passed 1
		return 0
	fi
	tail -n 60 "/tmp/$name.log"
	say "FAILED: $name: $*"
	result failed 1
	return 1
}

build() {
	step autogen ./autogen.sh &&
	step configure ./configure --with-dovecot=/usr/lib/dovecot \
		--enable-werror &&
	step make make -j2
}

# The unit programs, each test in them counted by Dovecot's test library.
unit_tests() {
	local log status=0 seen
	make check > /tmp/check.log 2>&1 || status=1
	for log in tests/*.log; do
		[ "$log" != tests/test-suite.log ] && [ -e "$log" ] || continue
		seen=$(sed -n 's/^\([0-9]*\) \/ \([0-9]*\) tests failed$/\1 \2/p' \
			"$log" | tail -n 1)
		if [ -n "$seen" ]; then
			result failed "${seen% *}"
			result passed $((${seen#* } - ${seen% *}))
			[ "${seen% *}" = 0 ] || status=1
		else
			result failed 1
			status=1
		fi
	done
	[ $status != 0 ] || return 0
	# It failed before any test ran: at compiling or linking one.
	grep -q '^failed [1-9]' /tmp/results || result failed 1
	tail -n 40 /tmp/check.log
	tail -n 60 tests/test-suite.log 2>/dev/null
	say "FAILED: make check"
}

# Mount a copy of Dovecot's modules, with ours among them, over the original.
install_modules() {
	cp -a "$modules" /tmp/modules &&
	cp -a "/tmp/stage$modules/." /tmp/modules/ &&
	mount --bind /tmp/modules "$modules"
}

live_tests() {
	local args=()
	[ -z "${RETENTION_SELECT:-}" ] || args=(-k "$RETENTION_SELECT")
	PYTHONDONTWRITEBYTECODE=1 timeout -k 10 3000 /usr/bin/python3 -m pytest \
		-p no:cacheprovider -q -rs --tb=short --durations=15 \
		--junitxml=/tmp/live.xml ${args[@]+"${args[@]}"} tests/live
	/usr/bin/python3 - >> /tmp/results <<-'PYTHON'
	import collections
	import xml.etree.ElementTree
	# A test may be there twice: for itself and for its end.
	rank = {"passed": 0, "skipped": 1, "failed": 2}
	tests = {}
	failures = open("/tmp/failures", "w")
	try:
	    root = xml.etree.ElementTree.parse("/tmp/live.xml").getroot()
	    for case in root.iter("testcase"):
	        kinds = {child.tag for child in case}
	        verdict = ("failed" if kinds & {"failure", "error"} else
	                   "skipped" if "skipped" in kinds else "passed")
	        key = case.get("classname"), case.get("name")
	        tests[key] = max(verdict, tests.get(key, "passed"),
	                         key=rank.get)
	        for child in case:
	            if child.tag in ("failure", "error"):
	                print(*key, child.get("message", "")[:1500],
	                      sep="\n  ", file=failures)
	except (OSError, xml.etree.ElementTree.ParseError):
	    tests[""] = "failed"
	for verdict, count in collections.Counter(tests.values()).items():
	    print(verdict, count)
	PYTHON
}

# Does a Dovecot with the plugin in it read its configuration and know our
# commands?
load_only() {
	cat > /tmp/load.conf <<-CONF
	dovecot_config_version = 2.4.0
	dovecot_storage_version = 2.4.0
	log_path = /dev/stderr
	mail_driver = maildir
	mail_home = /tmp/load-home
	mail_path = ~/mail
	mail_uid = 5000
	mail_gid = 5000
	mail_plugins {
	  retention = yes
	}
	retention_rule inbox {
	  mailbox = INBOX
	  action = archive
	  age = 90d
	}
	CONF
	step doveconf sh -c 'doveconf -n -c /tmp/load.conf | tee /dev/stderr |
		grep retention_rule'
	# Needs no running server, and has the plugin loaded all the same.
	mkdir -p /tmp/load-home && chown 5000:5000 /tmp/load-home
	step doveadm env USER=alice doveadm -c /tmp/load.conf \
		retention status --no-userdb-lookup
}

rm -f /tmp/results
# A root that was made long ago may lack what is needed by now.
needed="$BUILD_PACKAGES $SERVER_PACKAGES"
[ "$what" = load ] || needed="$needed $TEST_PACKAGES"
# shellcheck disable=SC2086
if ! step packages install_packages $needed; then
	:
elif build; then
	if [ "$what" = all ] && [ -z "${RETENTION_SELECT:-}" ]; then
		unit_tests
		step distcheck make distcheck
	fi
	if step install make install DESTDIR=/tmp/stage &&
	   step overlay install_modules; then
		if [ "$what" = all ]; then
			live_tests
		else
			load_only
		fi
	fi
fi
: > /tmp/finished
