#!/bin/sh
# Make configure and its helpers from configure.ac, with the autotools and the
# dovecot.m4 that the system has installed.
set -e
cd "$(dirname "$0")"

mkdir -p build-aux
# dovecot.m4 of Dovecot 2.4 configures this file and insists that it exists.
[ -f build-aux/run-test.sh.in ] || : > build-aux/run-test.sh.in

autoreconf --force --install --warnings=no-obsolete
