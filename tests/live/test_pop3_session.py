# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""What a POP3 session does, command by command, and what it leaves behind."""

import fcntl
import os
import re
import signal
import time

import pytest

import common
import dovecot
import mails
import pop3
import pop3_steps as steps

KEEP = {"retention_pop3_delete": "keep"}
ARCHIVE = {"retention_pop3_delete": "archive"}
# Dovecot's own options, for those tests that need \Seen to be set.
SEEN = "pop3_no_flag_updates = no\n"


def letters(count):
    return [common.letter(3, flags=b"()", index=index)
            for index in range(count)]


def visible(one):
    return len(steps.uidls(one))


def lose_index(one):
    """dbox shows nothing without an index, until it is resynced."""
    steps.lose_index(one)
    if one.driver in ("sdbox", "mdbox"):
        one.expect_error("missing|[Rr]ebuild|[Cc]orrupted")
        assert visible(one) == 0
        one.doveadm("force-resync", "-u", "alice", "INBOX")


def quit_session(client):
    line = client.quit()
    assert line.startswith(b"+OK")
    return line


# -- nothing configured

DIALOGUE = (
    b"CAPA", b"STAT", b"LIST", b"LIST 2", b"LIST 99", b"UIDL", b"UIDL 3",
    b"NOOP", b"RETR 1", b"TOP 2 3", b"RETR 2", b"DELE 2", b"STAT", b"LIST 2",
    b"RETR 2", b"UIDL", b"LIST", b"RSET", b"STAT", b"LAST", b"NOSUCH x", b"",
    b"RETR 7", b"DELE 0", b"RETR", b"DELE 4", b"DELE 5", b"DELE 5", b"CAPA",
    b"capa", b"TOP 1 0", b"QUIT")


def dialogue(one, pipelined):
    """All bytes that the server sends from the login on."""
    with one.pop3_raw() as client:
        if pipelined:
            client.send(b"\r\n".join(DIALOGUE) + b"\r\n")
        else:
            for line in DIALOGUE:
                client.send(line + b"\r\n")
                client.read_answer(line)
        client.read_to_end()
        pop3.wait_until_idle(one)
        return client.received()


@pytest.mark.parametrize("pipelined", (False, True))
@pytest.mark.parametrize("extra", (
    "", "pop3_deleted_flag = \"$POP3Deleted\"\n",
    "pop3_enable_last = yes\npop3_save_uidl = yes\n" + SEEN))
def test_nothing_configured(server, driver, extra, pipelined):
    """Without rules and POP3 settings, the server's side of a session is byte
    for byte that of a Dovecot without the plugin, and nothing of ours is
    written: no file, no keyword, no extension of the index."""
    one = server(driver, plugins=(), extra=extra)
    one.fill(letters(5))
    # what Dovecot's own first session leaves behind is there in both cases
    with one.pop3_raw() as client:
        client.command("UIDL")
        quit_session(client)
    pop3.wait_until_idle(one)
    home = common.Snapshot(one)
    stock = dialogue(one, pipelined)
    left = sorted(os.listdir(one.home()))
    one.plugins = ("retention",)
    one.reload()
    home.restore()
    assert dialogue(one, pipelined) == stock
    assert sorted(os.listdir(one.home())) == left
    for folder, _, names in os.walk(one.home()):
        for name in names:
            assert "retention" not in name
            if name.startswith("dovecot"):
                with open(os.path.join(folder, name), "rb") as file:
                    data = file.read()
                assert b"retention-pop3" not in data
                assert b"RetentionPOP3" not in data


# -- DELE

def test_keep_hides(server, driver):
    """A deleted message is gone for POP3 from the next session on, and stays
    in INBOX for IMAP under its UID; the others keep their unique ids."""
    one = server(driver, settings=KEEP)
    one.fill(letters(5))
    before = steps.uidls(one)
    with one.pop3_raw() as client:
        client.dele(2)
        client.dele(5)
        assert client.count() == 3
        line = client.quit()
    assert line == b"+OK Logging out, messages deleted."
    assert steps.uidls(one) == [before[0], before[2], before[3]]
    assert steps.hidden(one) == [2, 5]
    assert steps.downloaded(one) == []
    assert sorted(steps.flags(one)) == [1, 2, 3, 4, 5]


def test_all_hidden(server, driver):
    """A mailbox in which everything is hidden is empty for POP3, and shows
    what comes later."""
    one = server(driver, settings=KEEP)
    one.fill(letters(3))
    steps.session(one, delete=True)
    with one.pop3_raw() as client:
        assert client.stat() == (0, 0)
        assert client.list() == {}
        assert client.uidl() == {}
        assert not client.ask("RETR", 1).ok
        quit_session(client)
    one.fill(letters(1))
    assert visible(one) == 1


def test_rset(server, driver):
    """RSET takes back every DELE of the session."""
    one = server(driver, settings=KEEP)
    one.fill(letters(4))
    with one.pop3_raw() as client:
        client.dele(1)
        client.dele(2)
        client.command("RSET")
        client.dele(3)
        quit_session(client)
    assert steps.hidden(one) == [3]
    with one.pop3_raw() as client:
        client.dele(1)
        client.command("RSET")
        quit_session(client)
    assert steps.hidden(one) == [3]
    assert visible(one) == 3


@pytest.mark.parametrize("settings", (KEEP, ARCHIVE, dict(
    KEEP, retention_pop3_leave_time="0")))
def test_no_quit(server, driver, settings):
    """RFC 1939, 6: 'If a session terminates for some reason other than a
    client-issued QUIT command, the POP3 session does NOT enter the UPDATE
    state and MUST not remove any messages from the maildrop.'"""
    one = server(driver, settings=settings, extra=SEEN)
    one.fill(letters(4))
    for end in ("drop", "reset", "kill", "stop"):
        client = one.pop3_raw()
        client.retr(1)
        client.dele(2)
        if end == "kill":
            one.expect_error("killed with signal 9")
            for pid in pop3.sessions(one):
                os.kill(pid, signal.SIGKILL)
        elif end == "stop":
            one.reload()
            client.close()
        else:
            getattr(client, end)()
        pop3.wait_until_idle(one)
        assert steps.hidden(one) == [], end
        assert steps.downloaded(one) == [], end
        assert visible(one) == 4, end
    assert not os.path.exists(os.path.join(one.home(), "mail", steps.LOG))


def test_pipelined(server, driver):
    """RFC 2449, 6.6: a client may send all its commands at once."""
    one = server(driver, settings=KEEP)
    one.fill(letters(8))
    with one.pop3_raw() as client:
        answers = client.pipeline(
            ["RETR 1", "DELE 1", "TOP 2 0", "DELE 3", "CAPA", "RSET",
             "DELE 4", "RETR 5", "DELE 5", "STAT", "QUIT"])
        assert all(answer.ok for answer in answers)
        assert answers[9].line.startswith(b"+OK 6 ")
        client.read_to_end()
    pop3.wait_until_idle(one)
    assert steps.hidden(one) == [4, 5]
    assert steps.downloaded(one) == [1, 5]


def test_archive_at_once(server, driver):
    """What is deleted is in the archive when the session is over, and the
    client does not wait for it."""
    one = server(driver, settings=ARCHIVE)
    one.fill(letters(4))
    sums = common.Snapshot(one)
    before = steps.uidls(one)
    with one.pop3_raw() as client:
        client.dele(1)
        client.dele(3)
        quit_session(client)
    pop3.wait_until_idle(one)
    assert common.counts(one) == {"INBOX": 2,
                                  "Archive/" + common.year(3): 2}
    assert steps.uidls(one) == [before[1], before[3]]
    sums.assert_exactly_once()


def test_archive_waits_for_another_session(server, driver):
    """Nothing is taken out of an INBOX that another session has open: its
    messages keep their numbers and can be fetched."""
    one = server(driver, settings=ARCHIVE)
    one.fill(letters(4))
    other = one.pop3_raw()
    bodies = {number: other.retr(number) for number in range(1, 5)}
    other.command("NOOP")
    with one.pop3_raw() as client:
        client.dele(1)
        client.dele(3)
        quit_session(client)
    dovecot.poll(lambda: len(pop3.sessions(one)) == 1)
    assert common.counts(one) == {"INBOX": 4}
    for number in range(1, 5):
        assert other.retr(number) == bodies[number]
    other.dele(2)
    quit_session(other)
    pop3.wait_until_idle(one)
    assert common.counts(one) == {"INBOX": 1,
                                  "Archive/" + common.year(3): 3}


def test_seen(server, driver):
    """What was downloaded and then deleted is read for IMAP, as what was only
    downloaded is; what was deleted unread is not."""
    one = server(driver, settings=KEEP, extra=SEEN)
    one.fill(letters(3))
    with one.pop3_raw() as client:
        client.retr(1)
        client.retr(2)
        client.dele(2)
        client.dele(3)
        quit_session(client)
    flags = steps.flags(one)
    assert flags == {1: {b"\\Seen", steps.DOWNLOADED},
                     2: {b"\\Seen", steps.DOWNLOADED, steps.HIDDEN},
                     3: {steps.HIDDEN}}


# -- RETR

def test_what_is_a_download(server, driver):
    """Only RETR to its end with QUIT is; TOP of everything is not."""
    one = server(driver, settings=dict(retention_pop3_leave_time="1d"))
    one.fill(letters(4))
    with one.pop3_raw() as client:
        client.retr(1)
        client.top(2, 100000)
        client.retr(4)
        client.command("RSET")
        quit_session(client)
    assert steps.downloaded(one) == [1, 4]
    assert steps.hidden(one) == []
    assert visible(one) == 4


@pytest.mark.parametrize("delete,counts", (
    ("expunge", {"INBOX": 2}),
    ("keep", {"INBOX": 4}),
    ("archive", {"INBOX": 2, "Archive/" + common.year(3): 2})))
def test_leave_time_0(server, driver, delete, counts):
    """A message is treated as deleted by its download."""
    one = server(driver, settings={"retention_pop3_delete": delete,
                                   "retention_pop3_leave_time": "0"})
    one.fill(letters(4))
    before = steps.uidls(one)
    with one.pop3_raw() as client:
        client.retr(1)
        client.retr(3)
        client.dele(3)
        client.top(2, 100000)
        quit_session(client)
    pop3.wait_until_idle(one)
    assert steps.uidls(one) == [before[1], before[3]]
    assert common.counts(one) == counts


def test_cut_in_the_middle(server, driver):
    """RETR that the client has not read is no download, even if it sent QUIT
    with it and went away."""
    one = server(driver, settings=dict(retention_pop3_leave_time="0"))
    one.fill(letters(2) + [mails.make(mails.big, 1)])
    client = one.pop3_raw()
    size = client.list()[3]
    client.sock.setsockopt(pop3.socket.SOL_SOCKET, pop3.socket.SO_RCVBUF,
                           4096)
    client.send(b"RETR 1\r\nRETR 3\r\nQUIT\r\n")
    client.read_line()
    assert size > 1 << 20
    client.reset()
    pop3.wait_until_idle(one)
    assert visible(one) == 3
    assert common.counts(one) == {"INBOX": 3}


def test_expunged_meanwhile(server, driver):
    """IMAP expunges a message that a session has listed: it can't be fetched,
    or still can, and the session goes on."""
    one = server(driver, settings=dict(KEEP, retention_pop3_leave_time="1d"))
    one.fill(letters(4))
    client = one.pop3_raw()
    client.command("NOOP")
    with one.imap() as other:
        other.select("INBOX")
        other.command(b"STORE 1:2 +FLAGS (\\Deleted)")
        other.command(b"EXPUNGE")
    client.ask("RETR", 1)
    client.ask("DELE", 2)
    client.retr(3)
    client.dele(4)
    quit_session(client)
    assert steps.hidden(one) == [4]
    assert steps.downloaded(one) == [3]


def test_idle(server):
    """Dovecot commits what a client has done so far when it is idle for 10
    seconds; for the client nothing has been deleted by that."""
    one = server("maildir", settings=KEEP, extra=SEEN)
    one.fill(letters(3))
    client = one.pop3_raw()
    client.retr(1)
    client.dele(2)
    time.sleep(11)
    assert steps.flags(one)[2] == set()
    assert steps.downloaded(one) == []
    client.retr(3)
    quit_session(client)
    assert steps.hidden(one) == [2]
    assert steps.downloaded(one) == [1, 3]


# -- durability

def test_index_lost(server, driver):
    """The index is lost: what was hidden is hidden, and known by its date, in
    the very next session; Maildir keeps UIDs, and with them unique ids."""
    one = server(driver, settings=KEEP)
    one.fill(letters(5))
    steps.session(one, delete=(2, 3))
    before = steps.uidls(one)
    for _ in range(2):
        lose_index(one)
        with one.pop3_raw() as client:
            assert client.count() == 3
            if driver == "maildir":
                assert list(client.uidl().values()) == before
            quit_session(client)
        pop3.wait_until_idle(one)
        assert len(steps.hidden(one)) == 2
        assert len(steps.downloaded(one)) == 5
    one.doveadm("force-resync", "-u", "alice", "INBOX")
    assert visible(one) == 3


def test_switched_off_again(server, driver):
    """With the settings gone, what is hidden stays hidden, and DELE expunges
    as ever."""
    one = server(driver, settings=KEEP)
    one.fill(letters(5))
    steps.session(one, delete=(2, 3))
    before = steps.uidls(one)
    one.settings = {}
    one.reload()
    assert steps.uidls(one) == before
    steps.session(one, delete=(1,))
    assert steps.uidls(one) == before[1:]
    assert sorted(steps.flags(one)) == [2, 3, 4, 5]
    # without its index, mdbox would find the expunged message again
    one.doveadm("purge", "-u", "alice")
    lose_index(one)
    assert visible(one) == 2


@pytest.mark.skipif("not common.FAKETIME")
def test_times(server, driver):
    """keep_time counts from the second of QUIT."""
    one = server(driver, settings=dict(KEEP, retention_pop3_keep_time="10d"))
    one.fill(letters(3))
    now = int(time.time()) + 5 * mails.DAY
    steps.session(one, delete=(2,), stamp=now)
    steps.run_at(one, now + 10 * mails.DAY - 1)
    assert common.counts(one) == {"INBOX": 3}
    steps.run_at(one, now + 10 * mails.DAY)
    assert common.counts(one) == {"INBOX": 2,
                                  "Archive/" + common.year(3): 1}


# -- CAPA

INBOX_RULE = {"mailbox": "INBOX", "action": "archive", "age": "90d"}


@pytest.mark.parametrize("settings,rules,line", (
    ({}, {}, None),
    (KEEP, {}, b"EXPIRE NEVER"),
    (dict(KEEP, retention_pop3_leave_time="30d"), {}, b"EXPIRE 30"),
    (dict(retention_pop3_leave_time="0"), {}, b"EXPIRE 0"),
    ({}, {"inbox": INBOX_RULE}, b"EXPIRE 90"),
    ({}, {"other": dict(INBOX_RULE, mailbox="Sent")}, b"EXPIRE NEVER"),
))
def test_capa(server, settings, rules, line):
    """RFC 2449, 6.7: EXPIRE tells after how many days messages can go without
    the client's doing. All else stays as it is."""
    one = server("maildir", settings=settings, rules=rules)
    one.fill(letters(1))
    # what CAPA would have to be mistaken for in a message
    fake = (b"Subject: x\r\n\r\n+OK\r\nCAPA\r\nTOP\r\n.\r\nnot the end\r\n")
    one.lmtp([fake])
    with one.pop3_raw() as client:
        capa = client.capa()
        stock = [item for item in capa if not item.startswith(b"EXPIRE")]
        assert stock[:3] == [b"CAPA", b"TOP", b"UIDL"]
        assert capa[len(stock):] == ([] if line is None else [line])
        assert b"not the end" in client.retr(2)
        answers = client.pipeline(["CAPA", "RETR 1", "CAPA", "NOOP", "CAPA"])
        assert [answer.lines() for answer in answers[::2]] == [capa] * 3
        quit_session(client)


# -- Dovecot's own settings

@pytest.mark.parametrize("hides", (False, True))
def test_own_deleted_flag(server, driver, hides):
    """The administrator uses a pop3_deleted_flag himself: both keywords hide,
    and with our settings DELE sets ours."""
    one = server(driver, settings=KEEP if hides else {},
                 extra="pop3_deleted_flag = \"$Mine\"\n")
    one.fill(letters(5))
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"STORE 1 +FLAGS ($Mine)")
        client.command(b"STORE 2 +FLAGS ($RetentionPOP3Deleted)")
    with one.pop3_raw() as client:
        assert client.count() == 3
        client.dele(1)
        quit_session(client)
    flags = steps.flags(one)
    assert flags[3] == {steps.HIDDEN if hides else b"$Mine"}
    assert visible(one) == 2


@pytest.mark.parametrize("settings,extra,names", (
    (KEEP, "pop3_delete_type = expunge",
     ("retention_pop3_delete=keep", "pop3_delete_type=expunge")),
    (ARCHIVE, "pop3_deleted_flag = \"$Mine\"\npop3_delete_type = flag",
     ("retention_pop3_delete=archive", "pop3_delete_type=flag")),
    ({"retention_pop3_leave_time": "30d"}, "pop3_deleted_flag = \"$Mine\"",
     ("retention_pop3_leave_time=30d", "pop3_deleted_flag=$Mine")),
    (KEEP, "pop3_deleted_flag = \"$retentionpop3retrieved\"",
     ("retention_pop3_delete=keep",
      "pop3_deleted_flag=$retentionpop3retrieved")),
))
def test_contradictions(server, settings, extra, names):
    """Two settings that can't both be followed refuse the login, and the log
    names both. IMAP is not affected."""
    one = server("maildir", settings=settings, extra=extra + "\n")
    one.expect_error("retention: |Failed to initialize user|"
                     "Internal auth failure|User .* doesn't exist")
    one.fill(letters(1))
    with one.pop3_raw(login=False) as client:
        client.command("USER", "alice")
        assert not client.ask("PASS", "test").ok
    lines = dovecot.poll(lambda: [line for line in one.log().splitlines()
                                  if "contradicts" in line])
    for name in names:
        assert name in lines[0]


@pytest.mark.parametrize("extra", (
    "pop3_deleted_flag = \"$RetentionPOP3Deleted\"\n",
    "pop3_deleted_flag = \"$Mine\"\npop3_delete_type = flag\n",
    "pop3_lock_session = yes\n",
    "pop3_enable_last = yes\npop3_reuse_xuidl = yes\n",
    "pop3_save_uidl = yes\npop3_uidl_duplicates = rename\n",
    "pop3_fast_size_lookups = yes\nmail_max_keyword_length = 25\n",
))
def test_with_options(server, driver, extra):
    """Together with Dovecot's other POP3 settings."""
    one = server(driver, settings=KEEP, extra=extra + SEEN)
    one.fill(letters(4))
    before = steps.uidls(one)
    steps.session(one, delete=(2,))
    assert steps.uidls(one) == before[:1] + before[2:]
    assert steps.HIDDEN in steps.flags(one)[2]
    with one.pop3_raw() as client:
        client.command("RSET")
        client.dele(1)
        quit_session(client)
    assert steps.uidls(one) == before[2:]


def test_keyword_too_long(server):
    """Where there can't be our keyword, a session is refused that would have
    to set it, and one that would not is not."""
    one = server("maildir", settings=KEEP,
                 extra="mail_max_keyword_length = 10\n")
    one.expect_error("Invalid keyword|Disconnected")
    one.fill(letters(2))
    client = one.pop3_raw()
    client.send(b"STAT\r\n")
    assert b"+OK 2" not in client.read_to_end()
    client.close()
    pop3.wait_until_idle(one)
    assert re.search("Invalid keyword '.RetentionPOP3Deleted'", one.log())
    one.settings = {"retention_pop3_keep_time": "1d"}
    one.reload()
    assert visible(one) == 2


# -- other mailboxes than a user's own

def test_virtual_inbox(server):
    """A virtual INBOX: hidden by keyword, in the mailboxes behind it."""
    namespaces = {
        "2.3": "namespace real {\n  prefix = Real/\n  separator = /\n"
               "  location = maildir:~/mail\n}\n"
               "namespace inbox {\n  inbox = yes\n  separator = /\n"
               "  location = virtual:~/virtual\n}\n",
        "2.4": "namespace real {\n  prefix = Real/\n  separator = /\n"
               "  mail_driver = maildir\n  mail_path = ~/mail\n}\n"
               "namespace inbox {\n  inbox = yes\n  separator = /\n"
               "  mail_driver = virtual\n  mail_path = ~/virtual\n}\n",
    }
    one = server("maildir", settings=KEEP, namespaces=namespaces,
                 plugins=("virtual", "retention"), start=False)
    for path in ("mail", "virtual", "virtual/INBOX"):
        folder = os.path.join(one.home(), path)
        os.makedirs(folder, exist_ok=True)
        os.chown(folder, dovecot.MAIL_UID, dovecot.MAIL_UID)
    with open(os.path.join(one.home(), "virtual/INBOX/dovecot-virtual"), "w",
              encoding="ascii") as file:
        file.write("Real/Box\n  all\n")
    one.start()
    with one.imap() as client:
        client.create("Real/Box")
    one.fill(letters(4), "Real/Box")
    steps.session(one, delete=(2,))
    assert visible(one) == 3
    assert steps.hidden(one, "Real/Box") == [2]
    assert len(steps.flags(one, "Real/Box")) == 4
    with one.pop3_raw() as client:
        assert client.capa()[-1] == b"EXPIRE NEVER"
        quit_session(client)


def test_mbox(server):
    """An mbox INBOX."""
    one = server("mbox", settings=KEEP)
    one.fill(letters(4))
    before = steps.uidls(one)
    steps.session(one, delete=(2,))
    assert steps.uidls(one) == before[:1] + before[2:]
    assert len(steps.flags(one)) == 4
    steps.lose_index(one)
    assert visible(one) == 3


def test_no_home_for_the_lock(server):
    """The lock can't be taken: the session goes on, and the log tells."""
    one = server("maildir", settings=KEEP)
    one.fill(letters(2))
    lock = os.path.join(one.home(), "dovecot.retention.pop3.lock")
    os.makedirs(lock)
    one.expect_error("retention: .*dovecot.retention.pop3.lock")
    steps.session(one, delete=(1,))
    assert visible(one) == 1


@pytest.mark.parametrize("extra", ("", "pop3_lock_session = yes\n"))
def test_locked_by_a_run(server, extra):
    """A run that holds the lock for longer than a batch of messages takes:
    the session is refused after a while, and the next one is not."""
    one = server("maildir", settings=KEEP, extra=extra)
    one.expect_error("Couldn't open INBOX: Messages are being archived")
    one.fill(letters(2))
    assert visible(one) == 2
    lock = os.open(os.path.join(one.home(), "dovecot.retention.pop3.lock"),
                   os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    client = one.pop3_raw()
    assert client.read_to_end() == (
        b"-ERR [SYS/TEMP] Messages are being archived, try again\r\n")
    client.close()
    pop3.wait_until_idle(one)
    os.close(lock)
    assert visible(one) == 2


def test_imap_client_shows_it_again(server, driver):
    """A user removes the keyword by IMAP: POP3 shows the message again."""
    one = server(driver, settings=KEEP)
    one.fill(letters(3))
    before = steps.uidls(one)
    steps.session(one, delete=(2,))
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"STORE 2 -FLAGS ($RetentionPOP3Deleted)")
    assert steps.uidls(one) == before
