# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""SIGKILL at random points of a run."""

import os
import random
import time

import pytest

import common
import dump
import mails

# For each driver, both actions together.
KILLS = int(os.environ.get("RETENTION_KILLS") or 200)
MESSAGES = 40


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
    one = server(driver, rules={"inbox": rule})
    # Dovecot's caches and, in mdbox, what the killed process had appended to a
    # file, which the next one that appends to it finds and has the indexes
    # rebuilt.
    one.expect_error("Deleting corrupted cache")
    if driver == "mdbox":
        one.expect_error("Inconsistency in map index|rebuilding indexes|"
                         "fscking index file|view is now inconsistent|"
                         "refcount too low")
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
        for _ in range(rng.choice((1, 1, 2))):
            process = one.popen_doveadm("retention", "run", "-u", "alice")
            # Starting up takes a part of the time and does nothing yet.
            time.sleep(rng.uniform(0.1, 1.0) * whole)
            process.kill()
            process.communicate()
            killed += process.returncode == -9
            assert process.returncode in (-9, 0)
            common.remove_locks(one)
            assert snapshot.lost() == {}
        one.retention("run")
        assert common.layout(snapshot.assert_exactly_once()) == places
        # A file that a killed run has linked but not given to a message, or not
        # taken away any more, makes the message look like a shared one. And
        # mdbox gives messages new numbers when it repairs itself during a run,
        # which leaves them to the run after.
        if driver != "mdbox":
            assert common.compressed_count(one) + linked(one) >= done
