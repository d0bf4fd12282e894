# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""SIGKILL at random points of a run."""

import os
import random
import subprocess
import time

import pytest

import common
import dump
import mails

# For each driver, both actions together.
KILLS = int(os.environ.get("RETENTION_KILLS") or 200)
MESSAGES = 40


def adapt(whole, moment, taken, status):
    """How long the next run is likely to take: the machine may be busier when
    it is measured than later, or less busy, and a run that ends before it is
    to be killed proves nothing."""
    return taken if status == 0 else max(whole, moment)


def linked(one):
    """How many files have other names."""
    return len({os.stat(path).st_ino for path in one.mail_files()
                if os.stat(path).st_nlink > 1})


@pytest.mark.parametrize("action", ("archive", "compress"))
def test_killed_run_loses_nothing(server, driver, action):
    """Whenever a run is killed, every message is still there and readable;
    the next run finishes the work, after which every message is there exactly
    once, bit by bit the same, and compressed."""
    rule = common.ARCHIVE if action == "archive" else common.COMPRESS
    # Each mailbox takes its time to dump.
    one = server(driver, rules={"inbox": rule}, special_use=False)
    # Dovecot's caches and, in mdbox, what the killed process had appended to a
    # file, which the next one that appends to it finds and has the indexes
    # rebuilt.
    one.expect_error("Deleting corrupted cache")
    if driver == "mdbox":
        one.expect_error("Inconsistency in map index|rebuilding indexes|"
                         "fscking index file|view is now inconsistent")
    one.fill(mails.small_corpus(MESSAGES - 2) +
             [mails.make(mails.attachment, 1000),
              mails.make(mails.attachment_random, 1001)])
    snapshot = common.Snapshot(one)

    # How long the work takes, and what it comes to when nobody interferes.
    begin = time.monotonic()
    one.retention("run")
    whole = time.monotonic() - begin
    done = common.compressed_count(one)
    places = common.layout(dump.account(one))
    assert done > MESSAGES // 2

    rng = random.Random(action + driver)
    killed = 0
    while killed < KILLS // 2:
        snapshot.restore()
        # Twice in a row now and then: the second run meets what the first
        # one left.
        for again in (False, True)[:rng.choice((1, 1, 2))]:
            process = one.popen_doveadm("retention", "run", "-u", "alice")
            begin = time.monotonic()
            # Starting up takes a part of the time and does nothing yet.
            moment = rng.uniform(0.1, 1.1) * whole
            try:
                _, err = process.communicate(timeout=moment)
            except subprocess.TimeoutExpired:
                process.kill()
                _, err = process.communicate()
            if not again:
                whole = adapt(whole, moment, time.monotonic() - begin,
                              process.returncode)
            killed += process.returncode == -9
            assert process.returncode in (-9, 0), err
            common.remove_locks(one)
            # A client that looks has Dovecot repair something, maybe.
            if again or rng.choice((True, False)):
                assert snapshot.lost() == {}
        one.retention("run")
        if driver == "mdbox":
            # Removes what nobody refers to any more, by the map's word.
            one.doveadm("purge", "-u", "alice")
        assert common.layout(snapshot.assert_exactly_once()) == places
        # A file that a killed run has linked but not given to a message, or not
        # taken away any more, makes the message look like a shared one.
        assert common.compressed_count(one) + linked(one) >= done
