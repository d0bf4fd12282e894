# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Notices about the quota in the user's INBOX: retention_quota_warning."""

import email
import email.header
import os
import re
import time

import pytest

import common
import dovecot
import mails
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
    """The end of a session comes a moment after the client's: its process
    locks the user then, so that of doveadm, which ends before the command
    does, might leave it to that one. The second one does not."""
    for _ in range(2):
        one.doveadm("quota", "get", "-u", "alice")
        time.sleep(0.1)


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
                     "open.. failed: No such file")


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
