# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Notices about the quota in the user's INBOX: retention_quota_warning."""

import contextlib
import email
import email.header
import fcntl
import os
import re
import smtplib
import time

import pytest

import common
import dovecot
import mails
import pop3
import quota
from test_quota_refuse import body, fill_up, lmtp_answer

WARN = {"retention_quota_warning": "80 90"}
HEADER = "X-Retention-Quota-Notice"


def notices(one, user="alice"):
    """[(subject, body)] of the notices in INBOX."""
    found = []
    with one.imap(user) as client:
        client.command(b"EXAMINE INBOX")
        for uid in client.search(b"HEADER %s \"\"" % HEADER.encode()):
            data = client.fetch(uid, b"BODY.PEEK[]")[uid]["BODY[]"]
            message = email.message_from_bytes(data)
            subject = str(email.header.make_header(
                email.header.decode_header(message["Subject"])))
            found.append((subject,
                          message.get_payload(decode=True).decode()))
        client.logout()
    return found


def sent(one):
    """The log's lines about notices that were sent."""
    return [re.search(r"percent=\d+, level=(\d+)", line).group(1)
            for line in one.log().splitlines() if "quota notice: " in line]


def use(one, kilos, mailbox="Work"):
    """Have that much in the mailbox, and nothing else but notices."""
    with one.imap() as client:
        client.command(b"CREATE " + mailbox.encode(), check=False)
        client.select(mailbox)
        have = len(client.search())
        if have > kilos // 10:
            client.command(b"STORE %d:%d +FLAGS (\\Deleted)" %
                           (kilos // 10 + 1, have))
            client.command(b"EXPUNGE")
        for index in range(have, kilos // 10):
            client.append(mailbox, b"a: b\r\n\r\n" + b"x" * 10230 + b"\r\n")
        client.logout()
    settle(one)


def settle(one):
    """Notices come at the end of a session, a moment after its client's. So
    wait for that, and for one more session's, which has nothing to add."""
    one.wait_sessions()
    with one.imap() as client:
        client.logout()
    one.wait_sessions()


# (kilobytes that are used of 1000, levels told of so far, last notice)
SEQUENCES = {
    "up": ((500, [], None), (820, ["80"], "full"), (840, ["80"], "full"),
           (920, ["80", "90"], "full"), (940, ["80", "90"], "full")),
    "down": ((920, ["90"], "full"), (850, ["90"], "full"),
             (700, ["90", "0"], "room"), (600, ["90", "0"], "room")),
    "hover": ((820, ["80"], "full"), (790, ["80"], "full"),
              (820, ["80"], "full"), (770, ["80"], "full"),
              (830, ["80"], "full")),
    "again": ((820, ["80"], "full"), (600, ["80", "0"], "room"),
              (820, ["80", "0"], "room"), (920, ["80", "0", "90"], "full")),
}


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_sequences(server, driver, name):
    """A table of usages against the notices that come, each in place of the
    former one."""
    one = quota.make(server, driver, WARN, storage="1000k")
    for kilos, levels, last in SEQUENCES[name]:
        use(one, kilos)
        assert sent(one) == levels
        found = notices(one)
        assert len(found) == (0 if last is None else 1)
        assert last is None or last in found[0][0]
    quota.assert_exact(one)


def test_limit_lowered(server, driver):
    """Who is above a level because the limit was lowered is told as well."""
    one = quota.make(server, driver, WARN, storage="10M")
    use(one, 900)
    assert sent(one) == []
    one.extra = one.extra.replace("10M", "1000k")
    one.reload()
    settle(one)
    (subject, _), = notices(one)
    assert "9" in subject and "full" in subject
    one.extra = one.extra.replace("1000k", "10M")
    one.reload()
    one.doveadm("quota", "recalc", "-u", "alice")
    (subject, _), = notices(one)
    assert "room" in subject


def test_interval(server, driver):
    """Within the interval a level is told of once, after it anew."""
    one = quota.make(server, driver, dict(
        WARN, retention_quota_warning_interval="2d"), storage="1000k")
    use(one, 820)
    use(one, 500)
    use(one, 820)
    assert sent(one) == ["80", "0"]
    common.later(one, 1, "quota", "get", "-u", "alice")
    assert sent(one) == ["80", "0"]
    common.later(one, 3, "quota", "get", "-u", "alice")
    assert len(notices(one)) == 1 and "full" in notices(one)[0][0]


@pytest.mark.parametrize("storage", (True, False))
def test_full(server, driver, storage):
    """The notice comes even if nothing else fits, also by LMTP alone."""
    if storage:
        one = quota.make(server, driver, WARN, storage="1000k")
        fill_up(one, step=20)
    else:
        one = quota.make(server, driver, WARN, storage=None, messages=10)
        fill_up(one, step=1)
    assert lmtp_answer(one, body(20))[0] == 552
    dovecot.poll(lambda: sent(one) == ["90"])
    assert len(notices(one)) == 1
    one.expect_error("Quota exceeded")


TEMPLATE = """Subject: Postfach {percent} % belegt – Grüße
X: y

Hallo {user}, {usage} von {limit} ({archive} im Archiv), {unknown}.
===
Subject: Wieder Platz für {user}

Danke: {messages} von {messages_limit}.
"""


def test_template(server, driver):
    """Subject and text in UTF-8 from a file, with variables."""
    one = quota.make(server, driver, start=False)
    path = one.path("notice")
    one.settings = dict(WARN, retention_quota_warning_template=path)
    one.extra = quota.config(storage="1000k")
    with open(path, "w", encoding="utf-8") as file:
        file.write(TEMPLATE.replace("X: y\n", ""))
    os.chmod(path, 0o644)
    one.write_config()
    one.start()
    use(one, 900)
    (subject, text), = notices(one)
    assert re.match(r"Postfach 9\d % belegt – Grüße$", subject)
    assert re.match(r"Hallo alice, 9?\d\d\.\d KB von 1000\.0 KB \(0 B im "
                    r"Archiv\), \{unknown\}\.", text)
    use(one, 100)
    (subject, text), = notices(one)
    assert subject == "Wieder Platz für alice"
    assert re.match(r"Danke: \d+ von unlimited\.", text)


def test_template_missing(server):
    """Without its template the notice has the built-in text; the setting is
    named in the log."""
    one = quota.make(server, "sdbox", dict(
        WARN, retention_quota_warning_template="/nonexistent/notice"),
        storage="1000k")
    use(one, 900)
    assert "full" in notices(one)[0][0]
    one.expect_error("retention_quota_warning_template=/nonexistent/notice "
                     "can.t be used: open.. failed: No such file")


def test_moved_notice_stays(server, driver):
    """A notice that the user has moved is the user's; only the one in its old
    place is replaced."""
    one = quota.make(server, driver, WARN, storage="1000k")
    use(one, 820)
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"UID MOVE 1 Work")
        client.append("INBOX", mails.make(mails.plain, 1).body)
        client.logout()
    use(one, 930)
    assert len(notices(one)) == 1
    with one.imap() as client:
        client.command(b"EXAMINE INBOX")
        assert len(client.search()) == 2
        client.logout()


def test_archive_root_warns_too(server, driver):
    one = quota.make(server, driver, dict(
        WARN, retention_quota_archive_root="Archive quota"),
        storage="10M", archive_storage="1000k")
    use(one, 850, "Archive")
    assert sent(one) == ["80"] and len(notices(one)) == 1


# -- with others at the same time

@pytest.mark.parametrize("rules", (None, {}))
def test_pop3_session_keeps_its_notice(server, driver, rules):
    """A POP3 session keeps the messages that it has listed (RFC 1939, 3): the
    notice that it shows is replaced when it ends, and by then only one is
    there. Another user's session keeps nobody from anything."""
    one = quota.make(server, driver, WARN, rules=rules, storage="1000k",
                     users=("alice", "bob"))
    use(one, 820)
    with one.pop3_raw() as client, one.pop3_raw("bob"):
        assert client.count() == 1
        use(one, 930)
        assert sent(one) == ["80"]
        assert b"82%" in client.retr(1)
        client.quit()
    pop3.wait_until_idle(one)
    dovecot.poll(lambda: sent(one) == ["80", "90"])
    settle(one)
    (subject, _), = notices(one)
    assert "9" in subject
    assert sent(one) == ["80", "90"]


def test_first_notice_during_pop3_session(server, driver):
    """There is nothing to replace: the first notice does not wait."""
    one = quota.make(server, driver, WARN, storage="1000k")
    with one.pop3_raw() as client:
        use(one, 820)
        assert sent(one) == ["80"]
        assert client.count() == 0
        client.quit()
    assert len(notices(one)) == 1


def test_deleted_by_pop3(server, driver):
    """A notice that POP3 has hidden is replaced by one that is seen."""
    one = quota.make(server, driver, dict(
        WARN, retention_pop3_delete="keep"), storage="1000k")
    use(one, 820)
    with one.pop3_raw() as client:
        client.dele(1)
        client.quit()
    pop3.wait_until_idle(one)
    with one.pop3_raw() as client:
        assert client.count() == 0
        client.quit()
    use(one, 930)
    assert len(notices(one)) == 1
    with one.pop3_raw() as client:
        assert client.count() == 1
        client.quit()


def test_sessions_that_end_at_once(server, driver):
    """However many sessions end at the same time, there is one notice."""
    one = quota.make(server, driver, WARN, storage="1000k")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(one.imap()) for _ in range(8)]
        for index, client in enumerate(clients):
            client.create("Box %d" % index)
            client.append("Box %d" % index, body(115, index))
        tags = [client.send(b"LOGOUT") for client in clients]
        for client, tag in zip(clients, tags):
            client.wait(tag)
    one.wait_sessions()
    settle(one)
    assert sorted(sent(one)) == ["90"]
    assert len(notices(one)) == 1


def test_run_in_progress(server, driver):
    """A run of the user keeps no notice back, however long it takes."""
    one = quota.make(server, driver, WARN, storage="1000k")
    path = os.path.join(one.home(), "dovecot.retention.lock")
    with open(path, "w", encoding="ascii") as file:
        os.chown(path, 5000, 5000)
        fcntl.lockf(file, fcntl.LOCK_EX)
        done = one.retention("run", check=False)
        use(one, 820)
        assert sent(one) == ["80"] and len(notices(one)) == 1
    assert done.status == 0 or "in progress" in done.err


def test_several_recipients(server, driver):
    """Each recipient of one LMTP transaction has levels of their own."""
    users = ["u%d" % index for index in range(5)]
    one = quota.make(server, driver, WARN, storage="1000k", users=users)
    for user in users[1:4]:
        one.lmtp([body(500)], user)
    with smtplib.LMTP("127.0.0.1", one.lmtp_port, timeout=60) as client:
        client.mail("a@example.org")
        for user in users:
            assert client.rcpt(user)[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(body(350) + b".\r\n")
        for user in users:
            assert client.getreply()[0] == 250
    dovecot.poll(lambda: len(sent(one)) == 3)
    for user in users:
        assert len(notices(one, user)) == (1 if user in users[1:4] else 0)
    one.doveadm("quota", "recalc", "-A")
    assert len(sent(one)) == 3


# -- what is odd

def test_notice_reaches_a_level_itself(server, driver):
    """The notice counts as any message does; that it is over the next level
    by itself is told once, and that is the end of it."""
    one = quota.make(server, driver, dict(
        WARN, retention_quota_warning_interval="0s",
        retention_quota_warning_hysteresis="0"), storage=None, messages=10)
    with one.imap() as client:
        for index in range(8):
            client.append("INBOX", body(1, index))
        client.logout()
    for _ in range(5):
        settle(one)
    assert sent(one) == ["80", "90"]
    assert len(notices(one)) == 1
    assert quota.reported(one)[1] == 9


def test_inbox_cannot_be_opened(server):
    """No INBOX, no notice: logged once by each session, and made up for."""
    one = quota.make(server, "sdbox", WARN, storage="1000k")
    use(one, 500)
    inbox = os.path.join(one.mail_dir(), "mailboxes", "INBOX")
    os.makedirs(os.path.join(inbox, "dbox-Mails"), exist_ok=True)
    os.chmod(inbox, 0)
    with one.imap() as client:
        client.append("Work", body(350))
        client.logout()
    one.wait_sessions()
    lines = [line for line in one.log().splitlines()
             if "Warning about the quota failed" in line]
    assert len(lines) == 1
    one.expect_error("INBOX")
    os.chmod(inbox, 0o700)
    os.chown(inbox, 5000, 5000)
    os.chown(os.path.join(inbox, "dbox-Mails"), 5000, 5000)
    settle(one)
    assert sent(one) == ["80"] and len(notices(one)) == 1


def test_no_home(server):
    """Without a home directory there is no place to remember anything."""
    one = quota.make(server, "sdbox", WARN, start=False, storage="1000k")
    mail = one.path("mail")
    os.mkdir(mail)
    os.chown(mail, 5000, 5000)
    one.write_config()
    with open(one.config, "r+", encoding="utf-8") as file:
        text = file.read().replace("~/mail", mail)
        file.seek(0)
        file.write(text)
        file.truncate()
    with open(one.path("passwd"), "w", encoding="ascii") as file:
        file.write("alice:{PLAIN}test:5000:5000::::\n")
    one.start()
    with one.imap() as client:
        client.append("INBOX", body(850))
        assert quota.quotaroot(client)[quota.ROOT]["STORAGE"][0] > 850
        client.logout()
    one.wait_sessions()
    assert "Warning about the quota failed: The user has no home" in one.log()
    one.expect_error("home")


def test_unlimited(server):
    """No limit, or one that nobody reaches: nothing to tell."""
    for storage in (None, "8388607T"):
        one = quota.make(server, "sdbox", WARN, storage=storage,
                         messages=None if storage else 1000000)
        one.lmtp([body(800)])
        settle(one)
        assert sent(one) == [] and notices(one) == []
