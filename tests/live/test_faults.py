# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""A disk that is full or broken, at every single write, sync and rename."""

import errno
import os
import re
import signal
import subprocess

import pytest

import common
import dovecot
import dump
import mails

SHIM = os.path.join(os.path.dirname(__file__), "fault-shim.c")
# Enough to have a batch; few enough to try every call.
MESSAGES = 3


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shim")
    for path in (folder, folder.parent, folder.parent.parent):
        os.chmod(path, 0o755)
    path = str(folder / "fault-shim.so")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", path, SHIM,
                    "-ldl"], check=True)
    return path


class Faulty:
    """Runs of doveadm with the shim in it."""

    def __init__(self, one, shim):
        self.one = one
        self.shim = shim
        self.log_path = one.path("faults")

    def run(self, at, number, lasts):
        """Returns (what the run printed, the calls that failed)."""
        with open(self.log_path, "w", encoding="utf-8"):
            pass
        os.chmod(self.log_path, 0o666)
        env = {"RETENTION_FAULT_BELOW": self.one.home(),
               "RETENTION_FAULT_AT": str(at),
               "RETENTION_FAULT_ERRNO": str(number),
               "RETENTION_FAULT_LASTS": "1" if lasts else "0",
               "RETENTION_FAULT_LOG": self.log_path}
        with self.one.popen_doveadm("retention", "run", "-u", "alice",
                                    env=env, preload=self.shim) as process:
            while True:
                try:
                    out, err = process.communicate(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    # It waits for a lock file that it could not remove.
                    common.remove_locks(self.one)
        ran = dovecot.Ran(process.returncode, out, err)
        with open(self.log_path, encoding="utf-8") as file:
            failed = [line.strip() for line in file if line.startswith("!")]
        return ran, failed


def is_dovecots_crash(ran, failed):
    """Dovecot's sdbox and mdbox, in both series, report that a mailbox's
    directory could not be synced by way of a mail that is freed already. And
    it leaks a view when the index log can't be written, and complains of it at
    its end; "doveadm expunge" does the same. And mdbox's rebuilding of its
    storage does not expect that the map can't be opened."""
    first = failed[0]
    if ran.status == -signal.SIGSEGV:
        return ((" fdatasync " in first and first.endswith("/dbox-Mails")) or
                first.endswith("/dovecot.map.index.log"))
    # Where space stays short this may be a later one than the first.
    return (ran.status == -signal.SIGABRT and
            any(call.endswith("/dovecot.index.log") for call in failed) and
            re.search(r"Panic: Leaked view for index \S+: "
                      r"Opened in \S*mail-index-sync\.c:", ran.err) is not None)


@pytest.mark.parametrize("action", ("archive", "compress"))
@pytest.mark.parametrize("fault", ("full", "broken"))
def test_every_call_fails_in_turn(server, driver, action, fault, shim):
    """The N-th write, sync, rename, link, unlink or creation of a file fails,
    for each N that a run has: with ENOSPC, which then lasts for all that need
    space, or once with EIO. No message is lost; the run tells of it and exits
    non-zero unless it did its work all the same; the next run completes it
    (with mdbox's map damaged: the one after), after which every message is
    there exactly once."""
    rule = common.ARCHIVE if action == "archive" else common.COMPRESS
    # Each mailbox takes its time to dump.
    one = server(driver, rules={"inbox": rule}, special_use=False)
    # Dovecot finds and repairs what a failed write has left in its indexes.
    one.expect_error("(Error|Warning): ")
    one.fill(mails.small_corpus(MESSAGES))
    snapshot = common.Snapshot(one)
    faulty = Faulty(one, shim)
    ran, _ = faulty.run(0, 0, False)
    assert ran.status == 0, ran.err
    done = common.compressed_count(one)
    assert done > 0
    places = common.layout(dump.account(one))

    number = errno.ENOSPC if fault == "full" else errno.EIO
    at = 0
    while True:
        at += 1
        snapshot.restore()
        ran, failed = faulty.run(at, number, fault == "full")
        if failed == []:
            break
        call = failed[0]
        where = "%s\nexit status %d\n%s" % (call, ran.status, ran.err)
        crashed = is_dovecots_crash(ran, failed)
        if not crashed:
            assert not common.is_damaged(ran.err), where
            assert ran.status >= 0, where
        common.remove_locks(one)
        found = snapshot.account()
        assert snapshot.lost(found) == {}, where
        if ran.status == 0:
            assert common.layout(found) == places, where
        elif not crashed:
            assert os.strerror(number) in ran.err, where
        again = one.retention("run", check=False)
        if driver == "mdbox" and call.endswith("/dovecot.map.index.log"):
            # Dovecot finds its map inconsistent and rebuilds it in the middle
            # of this run, which may tell so and leave the rest to another.
            assert not common.is_damaged(again.err), where + again.err
            assert snapshot.lost() == {}, where + again.err
            again = one.retention("run", check=False)
        where += "\nnext run: %d\n%s" % (again.status, again.err)
        assert again.status == 0, where
        assert not common.is_damaged(again.err), where
        try:
            assert common.layout(snapshot.assert_exactly_once()) == places
            # What sdbox could not remove, or did not get to, stays linked to
            # the archive's file, which is left plain then.
            if driver == "maildir" or (driver == "sdbox" and not crashed and
                                       " unlink " not in call):
                assert common.compressed_count(one) == done
        except AssertionError as error:
            raise AssertionError(where) from error
    assert at > 10


def test_without_rename_exchange(server, driver, shim):
    """On file systems that cannot exchange two names, a run does the same
    work."""
    one = server(driver, rules={"inbox": common.COMPRESS})
    one.fill(mails.small_corpus(30))
    before = dump.mailbox(one)
    one.retention("run", env={"RETENTION_NO_EXCHANGE": "1"}, preload=shim)
    assert common.compressed_count(one) == 30
    assert one.temp_files() == []
    dump.assert_same(before, dump.mailbox(one))
