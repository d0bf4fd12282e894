# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""The commands, what they print and log, and the plugin beside others."""

import os
import random
import re
import signal
import time

import common
import dump
import mails


def test_beside_other_plugins(server, driver):
    """Together with quota, notify and mail_log: quota counts what the client
    sees, before and after, and archived mail is logged."""
    extra = {"2.3": "plugin {\n quota = count:User quota\n"
                    " quota_vsizes = yes\n quota_rule = *:storage=1G\n"
                    " mail_log_events = delete expunge copy save\n}\n",
             "2.4": "quota \"User quota\" {\n}\nquota_driver = count\n"
                    "quota_storage_size = 1G\n"
                    "mail_log_events = delete expunge copy save\n"}
    rule, messages = common.by_age((5, 100, 200, 300), action="archive", age="90d")
    one = server(driver, rules={"inbox": rule}, extra=extra,
                 plugins=("retention", "quota", "notify", "mail_log"))
    one.fill(messages + mails.small_corpus(5))
    with one.imap() as client:
        client.create("Archive/Old")
    before = one.doveadm("-f", "json", "quota", "get", "-u", "alice").json()
    sums = dump.count_bodies(dump.account(one))
    one.retention("run")
    assert one.doveadm("-f", "json", "quota", "get", "-u",
                       "alice").json() == before
    assert dump.count_bodies(dump.account(one)) == sums


def test_dsync_out(server, driver):
    """doveadm backup reads archived mail and writes it whole elsewhere."""
    one = server(driver, rules={"inbox": common.COMPRESS})
    one.fill(mails.small_corpus(12))
    one.retention("run")
    sums = dump.account(one)
    target = one.path("home", "alice", "elsewhere")
    one.doveadm("backup", "-u", "alice", "sdbox:" + target)
    one.stop()
    one.driver = "sdbox"
    os.rename(one.mail_dir(), one.mail_dir() + ".old")
    os.rename(target, one.mail_dir())
    one.write_config()
    one.start()
    after = dump.account(one)
    assert {name: [body for _, body in rows] for name, rows in after.items()
            } == {name: [body for _, body in rows]
                  for name, rows in sums.items()}


def test_through_doveadm_server(server):
    """All commands work through doveadm-server: over its socket, and with
    worker processes."""
    rule, messages = common.by_age((100,), action="archive", age="90d")
    one = server("maildir", rules={"inbox": rule},
                 users=("alice", "bob"),
                 extra="doveadm_worker_count = 2\n")
    for user in ("alice", "bob"):
        one.fill(messages, user=user)
    socket = one.path("run", "doveadm-server")
    one.doveadm("retention", "status", "-u", "alice", "-S", socket)
    one.doveadm("retention", "explain", "-u", "alice", "-S", socket, "INBOX",
                "1")
    one.doveadm("retention", "run", "-u", "alice", "-S", socket)
    assert list(common.counts(one)) == ["Archive/" + common.year(100)]
    one.doveadm("retention", "run", "-A")
    assert list(common.counts(one, "bob")) == ["Archive/" + common.year(100)]


def test_interrupted_run(server, driver):
    """A run that gets SIGINT finishes the message in hand and ends by itself;
    nothing is lost, and the next run does the rest."""
    one = server(driver, rules={"inbox": common.COMPRESS})
    one.fill(mails.corpus(300, with_big=0))
    snapshot = common.Snapshot(one)
    begin = time.monotonic()
    one.retention("run")
    whole = time.monotonic() - begin
    done = common.compressed_count(one)
    for part in (0.2, 0.4, 0.6):
        snapshot.restore()
        process = one.popen_doveadm("retention", "run", "-u", "alice")
        time.sleep(whole * part)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode >= 0 or process.returncode == -2, err
        assert not common.is_damaged(err)
        assert snapshot.lost() == {}
        one.retention("run")
        snapshot.assert_exactly_once()
        if driver != "mdbox":
            assert common.compressed_count(one) == done


def test_actions_are_logged(server, driver):
    """Each action is one log line with rule, mailbox, UID, Message-ID and
    size, in the manner of mail_log."""
    archive, messages = common.by_age((100, 200), action="archive", age="90d")
    rules = {"old": archive,
             "junk": dict(archive, action="expunge", mailbox="Junk"),
             "work": dict(common.COMPRESS, mailbox="Work")}
    one = server(driver, rules=rules, users=("alice",))
    with one.imap() as client:
        client.create("Work")
    one.fill(messages)
    one.fill(messages[:1], "Junk")
    one.fill(messages[:1], "Work")
    ident = re.search(rb"Message-ID: (<[^>]*>)", messages[0].body).group(1)
    ran = one.retention("run")
    assert "rule=" not in ran.err
    lines = one.log().splitlines()
    for action, rule, mailbox in (("archive", "old", "INBOX"),
                                  ("expunge", "junk", "Junk"),
                                  ("compress", "work", "Work")):
        wanted = [action + ": ", "rule=" + rule, "box=" + mailbox, "uid=1",
                  "msgid=" + ident.decode(), "size="]
        found = [line for line in lines
                 if all(word in line for word in wanted)]
        assert len(found) == 1, (wanted, lines)


# -- what is printed

def tree(one):
    """Names, sizes and times of all files that hold messages."""
    return {path: (os.stat(path).st_ino, os.stat(path).st_mtime_ns,
                   os.stat(path).st_size) for path in one.mail_files()}


def test_dry_run(server, driver):
    """-n tells for each mailbox and rule how many messages and bytes would be
    archived, compressed and expunged, and changes nothing."""
    rules = {
        "old": dict(common.ARCHIVE, age="90d"),
        "junk": {"mailbox": "\\Junk", "action": "expunge", "age": "30d",
                 "age_from": "received"},
        "work": dict(common.COMPRESS, mailbox="Work"),
    }
    one = server(driver, rules=rules)
    with one.imap() as client:
        client.create("Work")
    due = [common.letter(100, index=1), common.letter(400, index=2)]
    one.fill(due + [common.letter(10)])
    one.fill([common.letter(31), common.letter(29)], "Junk")
    one.fill(mails.small_corpus(4), "Work")
    files = tree(one)
    accounts = dump.account(one)
    with one.imap() as client:
        before = client.command(b'LIST "" "*"').untagged
    rows = one.retention("run", "-n", fmt="json").json()
    found = {(row["mailbox"], row["rule"], row["action"]):
             (int(row["messages"]), int(row["bytes"])) for row in rows}
    size = sum(len(message.stored()) for message in due)
    assert found[("INBOX", "old", "archive")] == (2, size)
    assert found[("Junk", "junk", "expunge")][0] == 1
    assert found[("Work", "work", "compress")][0] == 4
    assert len(found) == 3
    assert tree(one) == files and dump.account(one) == accounts
    with one.imap() as client:
        assert client.command(b'LIST "" "*"').untagged == before


def test_run_tells_what_it_did(server, driver):
    """One line for each user: messages and bytes for each action, what was
    saved, errors, seconds; nothing on stderr."""
    rules = {"old": dict(common.ARCHIVE, age="90d"),
             "junk": {"mailbox": "Junk", "action": "expunge", "age": "30d",
                      "age_from": "received"}}
    one = server(driver, rules=rules)
    due = [common.letter(100, index=1), common.letter(400, index=2)]
    one.fill(due + [common.letter(10)])
    one.fill([common.letter(31)], "Junk")
    before = one.stored_bytes()
    ran = one.retention("run", fmt="json")
    assert ran.err == ""
    row, = ran.json()
    assert (row["archived"], row["expunged"], row["errors"]) == (
        "2", "1", "0")
    assert int(row["archived_bytes"]) == sum(len(message.stored())
                                             for message in due)
    assert row["compressed"] == "2"
    assert 0 < int(row["saved_bytes"]) < before
    float(row["seconds"])
    assert one.retention("run").out.count("\n") == 1


def test_status(server, driver):
    """Status tells of each mailbox how many messages it has and how they are
    stored, the oldest one, and when which rule is due next."""
    rules = {"old": dict(common.ARCHIVE, age="90d"),
             "work": dict(common.COMPRESS, mailbox="Work")}
    one = server(driver, rules=rules)
    with one.imap() as client:
        client.create("Work")
        rng = random.Random(1)
        client.append("Work", b"a: b\r\n\r\n" + bytes(
            rng.choices(range(33, 127), k=30000)) + b"\r\n")
    one.fill(mails.small_corpus(6), "Work")
    young = common.letter(10)
    one.fill([young])

    def rows():
        return {row["mailbox"]: row for row in
                one.retention("status", fmt="json").json()}

    def numbers(row):
        return [int(row[key]) for key in ("messages", "compressed", "plain",
                                          "not_compressible")]

    before = rows()
    assert numbers(before["Work"]) == [7, 0, 7, 0]
    one.retention("run")
    after = rows()
    assert numbers(after["Work"]) == [7, 6, 0, 1]
    assert after["Work"]["size"] == before["Work"]["size"]
    assert int(after["Work"]["stored"]) < int(before["Work"]["stored"])
    assert float(after["Work"]["saved_percent"]) > 5
    assert float(before["Work"]["saved_percent"]) == 0
    inbox = after["INBOX"]
    assert numbers(inbox) == [1, 0, 1, 0]

    def date(stamp):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp))

    assert inbox["oldest"] == date(young.received)
    assert inbox["next_due"] == date(young.received + 90 * mails.DAY)
    assert inbox["rule"] == "old"
    masked = one.retention("status", "-m", "Wo*", fmt="json").json()
    assert [row["mailbox"] for row in masked] == ["Work"]


def test_explain(server):
    """Explain tells of every rule whether it applies to a message, from which
    date, when it is due and what exempts the message."""
    rules = {
        "old": dict(common.ARCHIVE, age="90d"),
        "older": dict(common.ARCHIVE, age="500d"),
        "starred": dict(common.ARCHIVE, age="1d", keep_flagged="yes"),
        "tiny": dict(common.ARCHIVE, age="1d", min_size="1M"),
        "off": dict(common.ARCHIVE, age="unlimited"),
        "other": dict(common.ARCHIVE, mailbox="Junk"),
    }
    one = server("maildir", rules=rules)
    message = common.letter(100, b"(\\Flagged \\Seen)")
    one.fill([message])
    rows = {row["rule"]: row for row in
            one.retention("explain", "INBOX", "1", fmt="json").json()}
    assert set(rules) <= set(rows)
    assert {name for name, row in rows.items()
            if row["due_now"] == "yes"} == {"old"}
    old = rows["old"]
    date = time.strftime("%Y-%m-%d %H:%M:%S",
                         time.localtime(message.received))
    assert (old["action"], old["from"], old["base"]) == (
        "archive", "received", date)
    assert "decides" in old["why"]
    for name, word in (("older", "not yet"), ("starred", "flagged"),
                       ("tiny", "small"), ("off", "off"),
                       ("other", "Junk")):
        assert word in rows[name]["why"], rows[name]
    for args in (("INBOX", "99"), ("Nowhere", "1")):
        ran = one.retention("explain", *args, check=False)
        assert ran.status != 0 and args[0] in ran.err


def test_run_limit(server, driver):
    """A run that would archive or expunge more than retention_run_limit per
    cent of a mailbox leaves that mailbox alone, says so and exits non-zero;
    other mailboxes are done."""
    rules = {"all": dict(common.ARCHIVE, mailbox="*", age="90d")}
    one = server(driver, rules=rules,
                 settings={"retention_run_limit": "50"})
    with one.imap() as client:
        client.create("Work")
    one.fill([common.letter(days, index=days) for days in (100, 200, 10)])
    one.fill([common.letter(days, index=days) for days in (100, 10)], "Work")
    ran = one.retention("run", check=False)
    assert ran.status != 0
    for word in ("INBOX", "2 of 3", "retention_run_limit", "50"):
        assert word in ran.err
    assert common.counts(one) == {"INBOX": 3, "Work": 1,
                                  "Archive/" + common.year(100): 1}
    ran = one.retention("run", "-n", check=False)
    assert "retention_run_limit" in ran.err
