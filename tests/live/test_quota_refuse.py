# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Where mail is refused, and with which codes: as Dovecot does itself."""

import os
import random
import re
import smtplib
import threading
import time

import pytest

import common
import dovecot
import imap
import mails
import quota

KILO = b"x" * 62 + b"\r\n"


def body(kilos, index=0):
    """A message of a little more than so many kilobytes."""
    return (b"From: a@example.org\r\nSubject: %d\r\nMessage-ID: <%d@x>\r\n\r\n"
            % (index, index)) + KILO * 16 * kilos


def fill_up(one, user="alice", step=50, mailbox="INBOX"):
    """APPEND until it is refused; returns the answer and how many fit."""
    count = 0
    with one.imap(user) as client:
        while True:
            answer = client.append(mailbox, body(step, count), check=False)
            if answer.status != "OK":
                client.logout()
                return answer, count
            count += 1


def lmtp_answer(one, data, user="alice"):
    """(code, text) for one message: at RCPT or after DATA."""
    with smtplib.LMTP("127.0.0.1", one.lmtp_port, timeout=60) as client:
        client.mail("a@example.org")
        code, text = client.rcpt(user)
        if code != 250:
            return code, text.decode()
        code, text = client.data(data)
        return code, text.decode()


def test_imap_append_and_copy(server, driver):
    """APPEND and COPY: NO [OVERQUOTA] (RFC 9208, 4.3); the usage stays below
    the limit."""
    one = quota.make(server, driver, storage="1M")
    answer, count = fill_up(one)
    assert answer.text.startswith("[OVERQUOTA]")
    assert 15 <= count <= 20
    assert quota.reported(one)[0] <= 1024
    with one.imap() as client:
        client.create("Work")
        client.select("INBOX")
        answer = client.command(b"UID COPY 1:2 Work", check=False)
        assert answer.status == "NO"
        assert answer.text.startswith("[OVERQUOTA]")
        client.logout()
    quota.assert_exact(one)


def test_message_limit(server, driver):
    one = quota.make(server, driver, storage=None, messages=10)
    answer, count = fill_up(one, step=1)
    assert (count, answer.text[:11]) == (10, "[OVERQUOTA]")
    with one.imap() as client:
        assert quota.quotaroot(client)[quota.ROOT]["MESSAGE"] == (10, 10)
        client.logout()


@pytest.mark.parametrize("rcpt_check", (False, True))
def test_lmtp(server, driver, rcpt_check):
    """LMTP: 552 5.2.2, or 452 4.2.2 with quota_full_tempfail."""
    one = quota.make(server, driver, storage="1M", rcpt_check=rcpt_check)
    fill_up(one)
    code, text = lmtp_answer(one, body(100))
    assert (code, text[:5]) == (552, "5.2.2")
    one.extra += "quota_full_tempfail = yes\n"
    one.reload()
    code, text = lmtp_answer(one, body(100))
    assert (code, text[:5]) == (452, "4.2.2")
    quota.assert_exact(one)
    one.expect_error("Quota exceeded|anvil")


def test_lda(server, driver):
    """dovecot-lda leaves the message to the MTA (sysexits.h, EX_TEMPFAIL)."""
    one = quota.make(server, driver, storage="1M", more={
        series: "quota_full_tempfail = yes\n" for series in ("2.3", "2.4")})
    one.lda(body(10))
    assert quota.reported(one)[1] == 1
    fill_up(one)
    with pytest.raises(dovecot.Failed) as failed:
        one.lda(body(100))
    assert failed.value.status == 75
    quota.assert_exact(one)
    one.expect_error("Quota exceeded")


def test_more_for_one_mailbox(server, driver):
    """Limits of single mailboxes are the quota plugin's own: Trash may have
    something more."""
    one = quota.make(server, driver, storage="1M",
                     extra_storage={"Trash": "500k"})
    fill_up(one)
    with one.imap() as client:
        assert client.append("Trash", body(300)).status == "OK"
        answer = client.append("Trash", body(300), check=False)
        assert answer.text.startswith("[OVERQUOTA]")
        client.logout()
    quota.assert_exact(one)


def test_not_enforced(server):
    """A root that is not enforced is told of, and refuses nothing."""
    one = quota.make(server, "sdbox", storage="100k", more={
        "2.4": "quota_enforce = no\n"})
    one.extra = one.extra.replace(":User quota\n",
                                  ":User quota:noenforcing\n")
    one.reload()
    with one.imap() as client:
        for index in range(3):
            client.append("INBOX", body(60, index))
        assert quota.quotaroot(client)[quota.ROOT]["STORAGE"][1] == 100
        client.logout()
    assert quota.assert_exact(one)["live"][1] == 3


def test_quota_status(server, driver):
    """quota-status: DUNNO while there is room, else the text that is set."""
    port = dovecot.free_ports(1)[0]
    one = quota.make(server, driver, storage="1M", port=port)
    dovecot.poll(lambda: _is_open(port))
    assert quota.ask_status(port) == "action=DUNNO"
    fill_up(one)
    assert quota.ask_status(port, size=100000) == (
        "action=552 5.2.2 Mailbox is full")
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"UID STORE 1:5 +FLAGS (\\Deleted)")
        client.command(b"EXPUNGE")
        client.logout()
    assert quota.ask_status(port, size=100000) == "action=DUNNO"


def _is_open(port):
    import socket
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("archive", ("stored", "none"))
def test_what_stays_possible(server, driver, archive):
    """In a full mailbox, moving to Trash, archiving and deleting are possible,
    and so is a run."""
    one = quota.make(server, driver, {"retention_quota_archive": archive},
                     storage="1M")
    fill_up(one)
    one.fill([], "INBOX")
    with one.imap() as client:
        client.create("Archive/2001")
        client.select("INBOX")
        client.command(b"UID MOVE 1:2 Trash")
        client.command(b"UID MOVE 3:4 Archive/2001")
        assert quota.assert_exact(one, archive=archive)["live"][1] > 0
        if archive == "none":
            # not counted, so there is room for more
            assert client.append("Archive/2001", body(2000)).status == "OK"
        client.select("Trash")
        client.command(b"UID STORE 1 +FLAGS (\\Deleted)")
        client.command(b"EXPUNGE")
        client.logout()
    quota.assert_exact(one, archive=archive)


def test_run_in_a_full_mailbox(server, driver):
    one = quota.make(server, driver, storage="1M")
    with one.imap() as client:
        for index in range(40):
            answer = client.append("INBOX", body(50, index), date=mails.TODAY -
                                   9 * mails.DAY, check=False)
        assert answer.text.startswith("[OVERQUOTA]")
        client.logout()
    before = quota.reported(one)
    one.retention("run")
    after = quota.assert_exact(one)
    assert after["live"][1] == 0
    assert quota.reported(one)[0] < before[0] // 2


def test_moving_beyond_the_limit(server, driver):
    """The limit was lowered far below what is there: moving and archiving are
    possible nevertheless, saving is not."""
    one = quota.make(server, driver, storage="1M")
    with one.imap() as client:
        client.create("Archive/2001")
        client.logout()
    fill_up(one)
    one.extra = one.extra.replace("1M", "300k")
    one.reload()
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"UID MOVE 1:2 Trash")
        client.command(b"UID MOVE 3:4 Archive/2001")
        assert client.append("INBOX", body(1), check=False).status == "NO"
        client.logout()
    quota.assert_exact(one)


def test_archive_with_its_own_limit(server, driver):
    """A full archive does not keep mail out of INBOX, nor the other way."""
    one = quota.make(server, driver,
                     {"retention_quota_archive_root": "Archive quota"},
                     storage="1M", archive_storage="1M")
    with one.imap() as client:
        client.create("Archive/2001")
        client.logout()
    answer, count = fill_up(one, mailbox="Archive/2001")
    assert answer.text.startswith("[OVERQUOTA]") and count > 10
    answer, count = fill_up(one)
    assert answer.text.startswith("[OVERQUOTA]") and count > 10
    quota.assert_exact(one, split=True)


def break_count(one):
    """A mailbox that can't be opened, and whose size is not known."""
    with one.imap() as client:
        client.create("Broken")
        client.append("Broken", body(1))
        client.logout()
    folder = os.path.join(one.mail_dir(), ".Broken" if one.driver == "maildir"
                          else "mailboxes/Broken/dbox-Mails")
    for name in os.listdir(one.mail_dir()):
        if name.startswith("dovecot.list.index"):
            os.unlink(os.path.join(one.mail_dir(), name))
    os.chmod(folder, 0)
    one.expect_error("Broken|dovecot.list.index|quota|Quota|Permission")
    return folder


@pytest.mark.parametrize("on_error", ("accept", "tempfail"))
def test_count_that_fails(server, on_error):
    """retention_quota_on_error: mail is taken nevertheless, or refused for
    now; the reason is logged once."""
    one = quota.make(server, "maildir",
                     {"retention_quota_on_error": on_error})
    folder = break_count(one)
    code, _ = lmtp_answer(one, body(1))
    assert code == (250 if on_error == "accept" else 451)
    with one.imap() as client:
        answer = client.append("INBOX", body(1), check=False)
        client.append("INBOX", body(1), check=False)
        client.logout()
    assert answer.status == ("OK" if on_error == "accept" else "NO")
    assert "OVERQUOTA" not in answer.text
    if on_error == "tempfail":
        lines = [line for line in one.log().splitlines()
                 if "refusing mail for now" in line]
        assert len(lines) == 2
    os.chmod(folder, 0o700)
    assert lmtp_answer(one, body(1))[0] == 250


def test_concurrent_deliveries(server, driver):
    """Deliveries at the same time do not take more than one message each
    beyond the limit, as with Dovecot's own count."""
    one = quota.make(server, driver, storage="1M")
    fill_up(one, step=100)
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"UID STORE 1 +FLAGS (\\Deleted)")
        client.command(b"EXPUNGE")
        client.logout()
    codes = []

    def deliver(index):
        codes.append(lmtp_answer(one, body(60, index))[0])

    threads = [threading.Thread(target=deliver, args=(index,))
               for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {250, 552} and codes.count(250) >= 1
    assert quota.reported(one)[0] <= 1024 + 5 * 62
    quota.assert_exact(one)


# -- many clients

class Worker(threading.Thread):
    """One client that does something at random, again and again."""

    BOXES = ("INBOX", "Work", "Archive/2001", "Archive/2002", "Trash")

    def __init__(self, one, seed, steps):
        super().__init__()
        self.one = one
        self.rng = random.Random(seed)
        self.steps = steps
        self.errors = []
        self.done = {}

    def run(self):
        try:
            with self.one.imap() as client:
                for _ in range(self.steps):
                    self.step(client)
                client.logout()
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(repr(error))

    def step(self, client):
        what = self.rng.choice(("append", "append", "copy", "move", "expunge",
                                "flags", "flags", "quota", "lmtp", "select"))
        self.done[what] = self.done.get(what, 0) + 1
        box = self.rng.choice(self.BOXES)
        if what == "lmtp":
            code, _ = lmtp_answer(self.one, self.message())
            assert code == 250
        elif what == "append":
            days = self.rng.choice((0, 5, 400, 900))
            client.append(box, self.message(),
                          date=mails.TODAY - days * mails.DAY)
        elif what == "quota":
            quota.quotaroot(client)
        elif what == "select":
            client.select(box)
        else:
            client.select(box)
            uids = client.search()
            if uids == []:
                return
            uid = b"%d" % self.rng.choice(uids)
            if what == "copy":
                client.command(b"UID COPY", uid, imap.quote(
                    self.rng.choice(self.BOXES)), check=False)
            elif what == "move":
                client.command(b"UID MOVE", uid, imap.quote(
                    self.rng.choice(self.BOXES)), check=False)
            elif what == "flags":
                client.command(b"UID STORE", uid, b"+FLAGS (\\Answered)")
            else:
                client.command(b"UID STORE", uid, b"+FLAGS (\\Deleted)",
                               check=False)
                client.command(b"UID EXPUNGE", uid, check=False)

    def message(self):
        index = self.rng.randint(0, 1 << 30)
        return mails.make(self.rng.choice(mails.LMTP_KINDS), index).body


STEPS = int(os.environ.get("RETENTION_QUOTA_STEPS", "1250"))


def test_random_operations(server, driver):
    """5000 operations by four clients with runs between: afterwards the
    numbers are those of the files, at once and after a run."""
    one = quota.make(server, driver, storage="10G")
    with one.imap() as client:
        for name in ("Work", "Archive/2001", "Archive/2002"):
            client.create(name)
        client.logout()
    workers = [Worker(one, seed, STEPS) for seed in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        one.retention("run", check=False)
        time.sleep(0.5)
    for worker in workers:
        worker.join()
        assert worker.errors == []
    quota.assert_exact(one)
    one.retention("run")
    sums = quota.assert_exact(one)
    assert sums["archive"][1] > 0 and common.compressed_count(one) > 0
    # what Maildir itself tells of many clients at the same time
    one.expect_error("Duplicate file entry|Expunged message reappeared")


def test_killed_runs(server, driver):
    """A run that is killed leaves no wrong number behind."""
    one = quota.make(server, driver, storage="10G")
    one.fill([common.letter(400, index=index, kind=mails.html)
              for index in range(120)])
    quota.assert_exact(one)
    for round_number in range(6):
        with one.popen_doveadm("retention", "run", "-u", "alice") as process:
            time.sleep(0.03 + 0.03 * round_number)
            process.kill()
            process.communicate()
        common.remove_locks(one)
        quota.assert_exact(one, killed=True)
    one.retention("run")
    sums = quota.assert_exact(one, killed=True)
    assert sums["live"][1] == 0
    # mdbox's repair may bring back what was moved, which is moved once more
    assert sums["archive"][1] == 120 or (driver == "mdbox" and
                                         sums["archive"][1] > 120)
    one.expect_error("rebuil|Rebuil|map|stale|lock|Log synchronization|"
                     "Corrupt|corrupt|fscking|mdbox|dbox")


def test_status_column(server, driver):
    """doveadm retention status tells what the quota counts."""
    one = quota.make(server, driver, ignore=("Trash",))
    one.fill([common.letter(400, index=index, kind=mails.html)
              for index in range(5)])
    one.fill([common.letter(1, index=7)], "Trash")
    one.retention("run")
    one.fill([common.letter(0, index=9)])
    rows = one.retention("status", fmt="json").json()
    total = 0
    for row in rows:
        if row["mailbox"].startswith("Archive"):
            assert row["quota"] == row["stored"] != row["size"]
        elif row["mailbox"] == "Trash":
            assert row["quota"] == "0" != row["size"]
        else:
            assert row["quota"] == row["size"]
        total += int(row["quota"])
    assert quota.reported(one)[0] == quota.kilobytes(total)
    assert re.match(r"\d", rows[0]["quota"])
