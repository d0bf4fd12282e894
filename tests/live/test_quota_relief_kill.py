# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""SIGKILL and a full disk in the midst of making room."""

import collections
import contextlib
import errno
import os
import random
import re
import signal
import smtplib
import subprocess
import time

import pytest

import common
import dovecot
import dump
import imap
import mails
import quota
from test_faults import is_dovecots_crash, shim  # noqa: F401
from test_kill import linked
from test_quota_refuse import body, lmtp_answer
from test_quota_relief import RELIEF, subjects

# For each driver and each way, few: test_kill.py is there for many.
KILLS = int(os.environ.get("RETENTION_KILLS") or 200) // 20
# For each driver.
FAULTS = 12
# How long Dovecot may try again, see FaultyDelivery.
LOOP_SECS = 4
MESSAGES = 40


# sdbox comes upon the file of a message whose delivery was killed. It finds
# those of expunged messages as well that were not removed any more.
REBUILT = "already exists, rebuilding index|: Rebuilding index"


def prepare(server, driver):
    """A user whose limit is far below what there is, so that most of it has to
    be archived. It is also due in a run, which finishes the work."""
    one = quota.make(server, driver, RELIEF, rules={"inbox": common.ARCHIVE},
                     storage="1M", more={
                         series: "quota_full_tempfail = yes\n"
                         for series in ("2.3", "2.4")})
    with one.imap() as client:
        client.append_many("INBOX", [
            (body(20, index), b"(\\Seen)", mails.TODAY - 200 * mails.DAY)
            for index in range(MESSAGES)])
        client.select("INBOX")
        client.logout()
    one.extra = one.extra.replace("1M", "400k")
    one.reload()
    one.expect_error("Quota exceeded|Deleting corrupted cache|"
                     "killed with signal 9|"
                     # those that talked to it
                     "Connection lost|EOF|disconnected unexpectedly|"
                     "[Bb]roken pipe|reset by peer")
    if driver == "mdbox":
        one.expect_error("Inconsistency in map index|[Rr]ebuilding indexes|"
                         "Corrupted dbox file|Copy of the broken file|"
                         "fscking index file|view is now inconsistent")
    elif driver == "sdbox":
        one.expect_error(REBUILT)
    return one


class Deliver:
    """A message by LMTP."""

    program = "lmtp"

    def __init__(self, one):
        self.one = one
        self.client = smtplib.LMTP("127.0.0.1", one.lmtp_port, timeout=60)
        self.client.mail("a@example.org")
        self.client.rcpt("alice")

    def send(self, data):
        self.client.putcmd("data")
        self.client.getreply()
        self.client.send(data + b".\r\n")

    def answer(self):
        """Whether it was taken; None if the server has gone."""
        try:
            return self.client.getreply()[0] == 250
        except (smtplib.SMTPException, OSError):
            return None
        finally:
            self.client.close()


class Append:
    """A message by IMAP."""

    program = "imap"

    def __init__(self, one):
        self.one = one
        self.client = one.imap()

    def send(self, data):
        self.client.sock.sendall(b"x APPEND INBOX {%d+}\r\n%s\r\n" %
                                 (len(data), data))

    def answer(self):
        received = b""
        try:
            while not (b"\nx " in b"\n" + received and
                       received.endswith(b"\r\n")):
                data = self.client.sock.recv(4096)
                if data == b"":
                    return None
                received += data
            return b"x OK" in received
        except OSError:
            return None
        finally:
            self.client.sock.close()


def processes(one, program):
    return [pid for pid in dovecot.children(one.process.pid)
            if dovecot.command_of(pid) == program]


def kill(one, program):
    """All of the server's processes of that name."""
    for pid in processes(one, program):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def restore(one, snapshot):
    """What still works for a client that has gone would work on."""
    for program in ("lmtp", "imap"):
        before = processes(one, program)
        kill(one, program)
        dovecot.poll(lambda: not set(before) & set(processes(one, program)))
    snapshot.restore()


def send(way, one, data, seconds=None):
    """Returns (whether it was taken, how long that took). Killed after so
    many seconds."""
    delivery = way(one)
    begin = time.monotonic()
    delivery.send(data)
    if seconds is not None:
        time.sleep(seconds)
        kill(one, way.program)
    good = delivery.answer()
    return good, time.monotonic() - begin


def assert_counted(one):
    """What is counted is what there is. (Not by the files: sdbox removes those
    of expunged messages last.)"""
    counted = quota.reported(one)
    one.doveadm("quota", "recalc", "-u", "alice")
    assert quota.reported(one) == counted


def deliver_next(one):
    """Whether the next message was taken: if not, there must be a reason."""
    code, _ = lmtp_answer(one, body(30, 1001))
    if code == 451:
        # Dovecot has found something to repair first.
        code, _ = lmtp_answer(one, body(30, 1001))
    # What a killed process has linked twice is left plain.
    assert code == 250 or (code == 452 and linked(one) > 0)
    return code == 250


def assert_complete(one, snapshot, new, since):
    """After the next run each message is there once; new: {subject: the
    numbers of messages with it that there may be}; since: where this turn
    begins in the log."""
    if (one.retention("run", check=False).status != 0 and
            one.driver == "mdbox"):
        # A killed delivery has left a message that mdbox's map does not know;
        # the log tells what to do.
        one.doveadm("force-resync", "-u", "alice", "INBOX")
    one.retention("run")
    if one.driver == "mdbox":
        one.doveadm("purge", "-u", "alice")
    places = snapshot.account()
    found = dump.count_bodies(places)
    rebuilt = re.search(REBUILT, one.log()[since:]) is not None
    for digest, count in snapshot.bodies.items():
        numbers = found.pop(digest)
        assert numbers == count or (rebuilt and numbers > count)
    # Delivery adds headers to these.
    known = collections.Counter(number for name in places
                                for number in subjects(one, name))
    for number, allowed in new.items():
        assert known[number] in allowed
    assert sum(found.values()) == sum(known[number] for number in new)
    assert_counted(one)


@pytest.mark.parametrize("way", (Deliver, Append))
def test_killed_while_making_room(server, driver, way):
    """Whenever the process is killed that makes room, no message is lost, none
    is altered, the next one is taken, what is counted is what there is, and
    after the next run none is there twice."""
    one = prepare(server, driver)
    snapshot = common.Snapshot(one)
    first = body(30, 1000)
    good, whole = send(way, one, first)
    assert good
    rng = random.Random(driver + way.program)
    for _ in range(KILLS):
        restore(one, snapshot)
        since = len(one.log())
        good, taken = send(way, one, first, rng.uniform(0, 1.1) * whole)
        if good:
            whole = taken
        common.remove_locks(one)
        if rng.choice((True, False)):
            assert snapshot.lost() == {}
        taken = deliver_next(one)
        assert snapshot.lost() == {}
        assert_counted(one)
        assert_complete(one, snapshot, {
            1000: (1,) if good else (0, 1), 1001: (taken,)}, since)


class FaultyDelivery:
    """dovecot-lda with fault-shim.c in it. When space runs out between the
    commit of an expunge and the sync that carries it out, Dovecot tries again
    without end to lock the sum of sizes that a quota has it keep
    (index_storage_expunged_sync_begin() in both series). It is killed
    then."""

    def __init__(self, one, library):
        self.one = one
        self.library = library
        self.log_path = one.path("faults")

    def run(self, at, data):
        """Returns (what it printed and told the log, all calls, those that
        failed)."""
        with open(self.log_path, "w", encoding="utf-8"):
            pass
        os.chmod(self.log_path, 0o666)
        extra = {"LD_PRELOAD": self.library,
                 "RETENTION_FAULT_BELOW": self.one.home(),
                 "RETENTION_FAULT_AT": str(at),
                 "RETENTION_FAULT_ERRNO": str(errno.ENOSPC),
                 "RETENTION_FAULT_LASTS": "1",
                 "RETENTION_FAULT_LOG": self.log_path}
        env = dict(os.environ, **extra)
        env["DOVECOT_PRESERVE_ENVS"] = " ".join(["TZ"] + list(extra))
        told = len(self.one.log())
        with subprocess.Popen(
                ["/usr/lib/dovecot/dovecot-lda", "-c", self.one.config, "-d",
                 "alice"], env=env, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                process.stdin.write(data)
                process.stdin.close()
            except BrokenPipeError:
                pass
            end = time.monotonic() + LOOP_SECS
            while process.poll() is None:
                if time.monotonic() > end:
                    process.kill()
                try:
                    process.wait(0.5)
                except subprocess.TimeoutExpired:
                    # It waits for a lock file that it could not remove.
                    common.remove_locks(self.one)
            err = process.stderr.read().decode()
        with open(self.log_path, encoding="utf-8") as file:
            calls = [line.strip() for line in file]
        return (dovecot.Ran(process.returncode, "",
                            err + self.one.log()[told:]), calls,
                [line for line in calls if line.startswith("!")])


def test_full_disk_while_making_room(server, driver, shim):  # noqa: F811
    """The disk becomes full at some call while room is made: the message is
    taken or left to the MTA (sysexits.h, EX_TEMPFAIL), and nothing is lost.
    Once there is space again the next message is taken, and after the next run
    each is there once."""
    one = prepare(server, driver)
    # Dovecot finds and repairs what a failed write has left in its indexes.
    one.expect_error("(Error|Warning): |Panic: Leaked view|"
                     "killed with signal|Raw backtrace")
    snapshot = common.Snapshot(one)
    faulty = FaultyDelivery(one, shim)
    first = body(30, 1000)
    ran, calls, _ = faulty.run(0, first)
    assert ran.status == 0, ran.err
    assert len(calls) > FAULTS
    rng = random.Random(driver)
    for at in sorted(rng.sample(range(1, len(calls) + 1), FAULTS)):
        restore(one, snapshot)
        since = len(one.log())
        ran, _, failed = faulty.run(at, first)
        where = "%s\nexit status %d\n%s" % (failed[:1], ran.status, ran.err)
        if (failed == [] or ran.status != -signal.SIGKILL and
                not is_dovecots_crash(ran, failed)):
            assert not common.is_damaged(ran.err), where
            assert ran.status in (0, 75), where
        common.remove_locks(one)
        assert snapshot.lost() == {}, where
        # A message that could not be saved may be found when it is repaired.
        assert_complete(one, snapshot, {
            1000: (1,) if ran.status == 0 else (0, 1),
            1001: (deliver_next(one),)}, since)
