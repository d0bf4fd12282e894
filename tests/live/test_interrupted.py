# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Runs that are interrupted at one certain step, and clients that do something
between two steps. stop-shim.c stops a run there."""

import os
import random
import re
import signal
import subprocess

import pytest

import common
import dovecot
import dump
import imap
import mails

SHIM = os.path.join(os.path.dirname(__file__), "stop-shim.c")
# More than the messages that are moved in one transaction.
TWO_BATCHES = 103
AGE = 400
BOX = "Archive/" + common.year(AGE)
KEEP_FLAGGED = dict(common.ARCHIVE, keep_flagged="yes")


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stop")
    for path in (folder, folder.parent, folder.parent.parent):
        os.chmod(path, 0o755)
    path = str(folder / "stop-shim.so")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", path, SHIM],
                   check=True)
    return path


def letters(count, first=0):
    """Due messages, all of the same year."""
    return [common.letter(AGE, index=first + index) for index in range(count)]


# What the archive mailbox is when the run begins that is killed: made by that
# run, of an earlier run, or of the user, so that nothing is known of it.
ARCHIVES = ("new", "settled", "unknown")


def prepare_archive(one, archive):
    """Returns how many messages are in it."""
    if archive == "settled":
        one.fill(letters(1, 50))
        one.retention("run")
    elif archive == "unknown":
        with one.imap() as client:
            client.create(BOX)
        one.fill(letters(1, 50), BOX)
    return 0 if archive == "new" else 1


def exempt(one):
    """Flag the first message of INBOX, which the rule leaves alone then."""
    store(one, "INBOX", b"1", b"+FLAGS (\\Flagged)")


def store(one, mailbox, sequence, what):
    with one.imap() as client:
        client.select(mailbox)
        client.command(b"STORE", sequence, what)
        client.logout()


def expunge(one, mailbox):
    with one.imap() as client:
        client.select(mailbox)
        client.command(b"EXPUNGE")
        client.logout()


class Stopping:
    """Runs that get a signal at a certain step."""

    def __init__(self, one, shim):
        self.one = one
        self.shim = shim
        mail = re.escape(one.home()) + "/mail/"
        inbox = ("" if one.driver == "maildir" else
                 "mailboxes/INBOX/dbox-Mails/")
        self.inbox_log = mail + inbox + "dovecot\\.index\\.log$"
        self.archive_log = mail + ".*Archive.*/dovecot\\.index\\.log$"
        # What a run has done it tells in Dovecot's log, after each
        # transaction.
        self.told = re.escape(one.log_path) + "$"

    def start(self, number, at, after=None, days=0):
        env = {"RETENTION_STOP_AT": at,
               "RETENTION_STOP_SIGNAL": str(int(number))}
        preload = self.shim
        if after is not None:
            env["RETENTION_STOP_AFTER"] = after
        if days > 0:
            env["FAKETIME"] = "+%dd" % days
            env["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
            preload += ":" + common.FAKETIME[0]
        return self.one.popen_doveadm("retention", "run", "-u", "alice",
                                      env=env, preload=preload)

    def run(self, number, at, after=None, days=0):
        with self.start(number, at, after, days) as process:
            out, err = process.communicate(timeout=60)
        return dovecot.Ran(process.returncode, out, err)

    def kill_between_commits(self, days=0):
        """Killed after the archive's commit, before the origin's: the
        messages are in both."""
        before = common.counts(self.one)
        ran = self.run(signal.SIGKILL, self.inbox_log, self.archive_log, days)
        assert ran.status == -signal.SIGKILL, ran.err
        common.remove_locks(self.one)
        moved = before["INBOX"]
        assert common.counts(self.one) == {
            "INBOX": moved, BOX: before.get(BOX, 0) + moved}


class Stopped:
    """A run that stands still at a certain step in the with block, and then
    goes on to its end."""

    def __init__(self, process):
        self.process = process
        self.ran = None

    def __enter__(self):
        # Without taking the exit status away from the Popen object.
        info = os.waitid(os.P_PID, self.process.pid,
                         os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert info.si_code == os.CLD_STOPPED, self.process.communicate()
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGCONT)
        out, err = self.process.communicate(timeout=60)
        self.ran = dovecot.Ran(self.process.returncode, out, err)


@pytest.mark.parametrize("archive", ARCHIVES)
def test_copies_stay_known(server, driver, archive, shim):
    """A run was killed when its messages were in the archive and not yet gone
    from INBOX. One of them no rule asks for in the next run, but again in the
    one after that: it is not archived a second time, whatever was known of
    the archive mailbox."""
    one = server(driver, rules={"inbox": KEEP_FLAGGED})
    others = prepare_archive(one, archive)
    one.fill(letters(4))
    snapshot = common.Snapshot(one)
    Stopping(one, shim).kill_between_commits()
    exempt(one)
    one.retention("run")
    assert common.counts(one) == {"INBOX": 1, BOX: 4 + others}
    assert snapshot.lost() == {}
    store(one, "INBOX", b"1", b"-FLAGS (\\Flagged)")
    one.retention("run")
    assert common.counts(one) == {BOX: 4 + others}
    snapshot.assert_exactly_once()


@pytest.mark.parametrize("archive", ARCHIVES)
def test_copies_of_the_same_message(server, driver, archive, shim):
    """INBOX has a message and its copy, which have the same GUID. Both were in
    the archive when a run was killed: the next run takes each for one of
    them."""
    one = server(driver, rules={"inbox": common.ARCHIVE})
    others = prepare_archive(one, archive)
    one.fill(letters(2))
    one.doveadm("copy", "-u", "alice", "INBOX", "mailbox", "INBOX", "1")
    snapshot = common.Snapshot(one)
    Stopping(one, shim).kill_between_commits()
    one.retention("run")
    assert common.counts(one) == {BOX: 3 + others}
    snapshot.assert_exactly_once()


@pytest.mark.parametrize("whose", ("run's", "user's"))
def test_deleted_copy_is_no_copy(server, driver, whose, shim):
    """A message in the archive that has \\Deleted is about to be expunged, and
    not taken for the copy of one that is due, whether a killed run has made it
    or the user: nothing is lost when it is expunged."""
    one = server(driver, rules={"inbox": common.ARCHIVE})
    one.fill(letters(2))
    snapshot = common.Snapshot(one)
    if whose == "run's":
        Stopping(one, shim).kill_between_commits()
    else:
        with one.imap() as client:
            client.create(BOX)
            client.select("INBOX")
            client.command(b"COPY 1:2", imap.quote(BOX))
            client.logout()
    store(one, BOX, b"1", b"+FLAGS (\\Deleted)")
    one.retention("run")
    assert common.counts(one) == {BOX: 3}
    assert snapshot.lost() == {}
    expunge(one, BOX)
    assert common.counts(one) == {BOX: 2}
    snapshot.assert_exactly_once()


def flags_by_body(one, mailbox):
    with one.imap() as client:
        client.command(b"EXAMINE", imap.quote(mailbox))
        got = client.command(b"UID FETCH 1:* (FLAGS BODY.PEEK[])").fetches()
    return {dump.digest(fetch["BODY[]"]):
            {flag for flag in fetch["FLAGS"] if flag != b"\\Recent"}
            for fetch in got.values()}


def test_flags_of_the_origin_win(server, driver, shim):
    """Flags and keywords that were set and removed in INBOX after a run was
    killed are those of the message in the archive after the next run."""
    one = server(driver, rules={"inbox": common.ARCHIVE})
    messages = letters(3)
    messages[1].flags = b"(\\Seen $Old)"
    one.fill(messages)
    snapshot = common.Snapshot(one)
    Stopping(one, shim).kill_between_commits()
    store(one, "INBOX", b"1", b"FLAGS (\\Answered \\Flagged $Later)")
    store(one, "INBOX", b"2", b"FLAGS ()")
    wanted = flags_by_body(one, "INBOX")
    assert sorted(map(len, wanted.values())) == [0, 1, 3]
    one.retention("run")
    assert flags_by_body(one, BOX) == wanted
    assert common.counts(one) == {BOX: 3}
    snapshot.assert_exactly_once()


def savedates(one, mailbox):
    with one.imap() as client:
        client.command(b"EXAMINE", imap.quote(mailbox))
        got = client.command(b"UID FETCH 1:* (SAVEDATE BODY.PEEK[])").fetches()
    return {dump.digest(fetch["BODY[]"]): fetch["SAVEDATE"]
            for fetch in got.values()}


def test_savedate_of_the_origin_stays(server, driver, shim):
    """A message that a killed run has copied ten days later, and the next run
    recognised another ten days later, has the save date that it had in
    INBOX."""
    one = server(driver, rules={"inbox": common.ARCHIVE})
    one.fill(letters(3))
    before = savedates(one, "INBOX")
    Stopping(one, shim).kill_between_commits(days=10)
    common.run_later(one, 20)
    assert common.counts(one) == {BOX: 3}
    assert savedates(one, BOX) == before
    common.later(one, 200, "mailbox", "cache", "purge", "-u", "alice", BOX)
    assert savedates(one, BOX) == before


@pytest.mark.parametrize("action", ("archive", "expunge"))
def test_flagged_during_the_run(server, driver, action, shim):
    """The rule is asked once more before a message is touched: one that a
    client flags after the run has decided what to do stays where it is, and
    its flag with it."""
    one = server(driver, rules={"inbox": dict(KEEP_FLAGGED, action=action)})
    one.fill(letters(TWO_BATCHES))
    stopping = Stopping(one, shim)
    with Stopped(stopping.start(signal.SIGSTOP, stopping.told)) as stopped:
        left = common.counts(one)["INBOX"]
        assert 1 < left < TWO_BATCHES
        with one.imap() as client:
            client.select("INBOX")
            client.command(b"STORE * +FLAGS.SILENT (\\Flagged)")
            kept = dump.bodies(client, "INBOX")[-1:]
            client.logout()
    assert stopped.ran.status == 0, stopped.ran.err
    found = dump.account(one)
    assert found["INBOX"] == kept
    assert common.uids(one, query=b"FLAGGED") == [kept[0][0]]
    assert len(found.get(BOX, ())) == (TWO_BATCHES - 1 if action == "archive"
                                       else 0)


@pytest.mark.parametrize("settled", (False, True))
def test_users_own_copy(server, driver, settled):
    """The user has copied a message to the archive mailbox before it became
    due. While nothing is known of the mailbox the copy is taken for the one of
    a killed run, which it can't be told from: there is one then. Once a run
    has finished there both are kept. The text is never lost."""
    one = server(driver, rules={"inbox": common.ARCHIVE})
    with one.imap() as client:
        client.create(BOX)
    if settled:
        one.fill(letters(1, 50))
        one.retention("run")
    one.fill(letters(1))
    (_, body), = dump.account(one)["INBOX"]
    one.doveadm("copy", "-u", "alice", BOX, "mailbox", "INBOX", "all")
    one.retention("run")
    found = dump.account(one)
    assert list(found) == [BOX]
    assert dump.count_bodies(found)[body] == (2 if settled else 1)


@pytest.mark.parametrize("action", ("archive", "compress"))
def test_interrupt(server, driver, action, shim):
    """SIGINT, as Ctrl-C sends it, in the middle of a run: doveadm exits
    non-zero with a part of the work done and nothing lost; the next run does
    the rest."""
    rule = common.ARCHIVE if action == "archive" else common.COMPRESS
    one = server(driver, rules={"inbox": rule})
    one.fill(letters(TWO_BATCHES))
    snapshot = common.Snapshot(one)
    stopping = Stopping(one, shim)
    # Compressed messages are told of when the mailbox is done.
    at = (stopping.told if action == "archive" else
          re.escape(one.home()) + "/mail(/.*)?/(\\.temp\\.|tmp/|m\\.)")
    ran = stopping.run(signal.SIGINT, at)
    assert ran.status > 0 or ran.status == -signal.SIGINT, ran.err
    assert not common.is_damaged(ran.err), ran.err
    assert one.temp_files() == []
    left = common.counts(one)
    assert sum(left.values()) == TWO_BATCHES
    assert snapshot.lost() == {}
    if action == "archive":
        assert 0 < left["INBOX"] < TWO_BATCHES
    assert common.compressed_count(one) < TWO_BATCHES
    one.retention("run")
    snapshot.assert_exactly_once()
    name = BOX if action == "archive" else "INBOX"
    assert common.counts(one) == {name: TWO_BATCHES}
    assert common.compressed_count(one) == TWO_BATCHES


def test_second_run_at_once(server, shim):
    """While one run works on a user's mailboxes another one waits some
    seconds, does nothing, says why and exits non-zero; the first one finishes
    its work.
    (The lock is one of the user, whatever the driver.)"""
    one = server("maildir", rules={"inbox": common.ARCHIVE})
    one.fill(letters(TWO_BATCHES))
    snapshot = common.Snapshot(one)
    stopping = Stopping(one, shim)
    with Stopped(stopping.start(signal.SIGSTOP, stopping.told)) as stopped:
        before = dump.account(one)
        second = one.retention("run", check=False)
        assert dump.account(one) == before
    assert second.status > 0
    assert "Another run is in progress" in second.err
    assert stopped.ran.status == 0, stopped.ran.err
    assert common.counts(one) == {BOX: TWO_BATCHES}
    snapshot.assert_exactly_once()


def test_second_run_waits_a_little(server, driver, shim):
    """Of two runs that are started at the same time both do well, and each
    message is archived once."""
    one = server(driver, rules={"inbox": common.ARCHIVE})
    one.fill(letters(TWO_BATCHES))
    snapshot = common.Snapshot(one)
    stopping = Stopping(one, shim)
    with Stopped(stopping.start(signal.SIGSTOP, stopping.told)) as stopped:
        second = one.popen_doveadm("retention", "run", "-u", "alice")
    _, err = second.communicate(timeout=60)
    assert stopped.ran.status == 0, stopped.ran.err
    assert second.returncode == 0, err
    assert common.counts(one) == {BOX: TWO_BATCHES}
    snapshot.assert_exactly_once()


def test_copies_are_counted(server, shim):
    """mdbox adds a copy to the archive mailbox first, and to the map's count of
    references afterwards. A run was killed in between: what the next run takes
    for archived, and expunges from INBOX, does not count as unused and is not
    purged."""
    one = server("mdbox", rules={"inbox": common.ARCHIVE})
    others = prepare_archive(one, "settled")
    one.fill(letters(4))
    snapshot = common.Snapshot(one)
    stopping = Stopping(one, shim)
    map_log = "/dovecot\\.map\\.index\\.log$"
    # The archive is told that a batch begins, the map that the messages are
    # needed; then the archive gets the copies, and the map is to count them.
    ran = stopping.run(signal.SIGKILL, map_log, "\n".join(
        (stopping.archive_log, map_log, stopping.archive_log)))
    assert ran.status == -signal.SIGKILL, ran.err
    assert common.counts(one) == {"INBOX": 4, BOX: 4 + others}
    one.retention("run")
    assert common.counts(one) == {BOX: 4 + others}
    one.doveadm("purge", "-u", "alice")
    snapshot.assert_exactly_once()
    assert common.compressed_count(one) == 4 + others


def test_killed_while_repaired(server, shim):
    """A run was killed when mdbox's map no longer counted the origins, and
    INBOX still had them. The next one was killed as well, while the storage was
    being repaired: the one after that still finds that it needs repair, and
    nothing is purged that is in the archive."""
    one = server("mdbox", rules={"inbox": common.ARCHIVE})
    one.expect_error("Inconsistency in map index|rebuilding indexes|"
                     "fscking index file|view is now inconsistent")
    others = prepare_archive(one, "settled")
    one.fill(letters(4))
    snapshot = common.Snapshot(one)
    stopping = Stopping(one, shim)
    map_log = "/dovecot\\.map\\.index\\.log$"
    ran = stopping.run(signal.SIGKILL, stopping.inbox_log, "\n".join(
        (stopping.archive_log, stopping.inbox_log, map_log)))
    assert ran.status == -signal.SIGKILL, ran.err
    ran = stopping.run(signal.SIGKILL, stopping.archive_log)
    assert ran.status == -signal.SIGKILL, ran.err
    assert "rebuilding indexes" in ran.err
    one.retention("run")
    one.doveadm("purge", "-u", "alice")
    snapshot.assert_exactly_once()
    assert common.counts(one) == {BOX: 4 + others}


@pytest.mark.parametrize("driver", ("sdbox", "mdbox"))
def test_removed_while_created(server, driver, shim):
    """A process that lists mailboxes, as any client may have it do, removes
    directories that are empty and no mailboxes (mailbox_list_drop_noselect).
    When it comes upon the archive mailbox that is just being created, that is
    created once more."""
    one = server(driver, rules={"inbox": common.ARCHIVE})
    one.fill(letters(3))
    snapshot = common.Snapshot(one)
    folder = os.path.join(one.mail_dir(), "mailboxes", BOX)
    stopping = Stopping(one, shim)
    with Stopped(stopping.start(signal.SIGSTOP,
                                re.escape(folder) + "/dbox-Mails$",
                                re.escape(folder) + "$")) as stopped:
        os.rmdir(folder)
    assert stopped.ran.status == 0, stopped.ran.err
    assert common.counts(one) == {BOX: 3}
    snapshot.assert_exactly_once()


def shared_file(one):
    """stat() of the one file that all messages are in, and its bytes."""
    paths = one.mail_files()
    stats = [os.stat(path) for path in paths]
    assert len({stat.st_ino for stat in stats}) == 1, paths
    assert {stat.st_nlink for stat in stats} == {len(paths)}
    with open(paths[0], "rb") as file:
        return stats[0], file.read()


@pytest.mark.parametrize("linking", ("maildir", "sdbox"))
@pytest.mark.parametrize("due", (1, 2, 3))
def test_hard_linked_copies(server, linking, due):
    """A message and its copies in other mailboxes share one file. When they
    are all due, they share one compressed file afterwards; when one of them is
    not, the file stays as it is."""
    names = ("INBOX", "Copy", "Other")
    rules = {"rule%d" % index: dict(common.COMPRESS, mailbox=name)
             for index, name in enumerate(names[:due])}
    one = server(linking, rules=rules)
    with one.imap() as client:
        for name in names[1:]:
            client.create(name)
        client.append("INBOX", b"Subject: a\r\n\r\n" + mails.text(
            random.Random(1), 40000))
        client.select("INBOX")
        for name in names[1:]:
            client.command(b"COPY 1", imap.quote(name))
        client.logout()
    places = dump.account(one)
    before, plain = shared_file(one)
    assert before.st_nlink == 3
    one.retention("run")
    after, stored = shared_file(one)
    assert after.st_nlink == 3
    if due == 3:
        assert common.LZ4_MAGIC in stored
        assert after.st_blocks < before.st_blocks
    else:
        assert stored == plain
        assert (after.st_ino, after.st_blocks) == (before.st_ino,
                                                   before.st_blocks)
    assert dump.account(one) == places
