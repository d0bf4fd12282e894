# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""What each rule does to the messages that it is due for, and to no others."""

import datetime
import random
import re

import pytest

import common
import dump
import imap
import mails


@pytest.mark.parametrize("separator", ("/", "."))
def test_archive_moves_by_age(server, driver, separator):
    """Messages older than the rule's age are moved, each to the archive
    mailbox of its year, which is made when it is needed; they keep GUID,
    dates, flags, keywords and body, and are compressed there."""
    rule, messages = common.by_age((5, 89, 91, 400, 800), action="archive",
                                   age="90d")
    messages[3].flags = b"(\\Seen \\Answered $Forwarded)"
    one = server(driver, rules={"inbox": rule}, separator=separator)
    one.fill(messages)
    fields = "guid date.received flags size.virtual"
    before = one.doveadm("-f", "json", "fetch", "-u", "alice", fields,
                         "mailbox", "*", "all").json()
    sums = sorted(body for _, body in dump.account(one)["INBOX"])
    one.retention("run")

    wanted = {"INBOX": 2}
    for days in (91, 400, 800):
        name = "Archive" + separator + common.year(days)
        wanted[name] = wanted.get(name, 0) + 1
    assert common.counts(one) == wanted
    after = one.doveadm("-f", "json", "fetch", "-u", "alice", fields,
                        "mailbox", "*", "all").json()

    def key(row):
        return row["guid"]

    for row in before + after:
        row["flags"] = sorted(row["flags"].replace("\\Recent", "").split())
    assert sorted(after, key=key) == sorted(before, key=key)
    assert sorted(body for rows in dump.account(one).values()
                  for _, body in rows) == sums
    assert common.compressed_count(one) == 3


def test_into_and_variables(server):
    """A rule's own target, with {year}, {month} and the origin's name; a
    mailbox with a name that is not ASCII."""
    rules = {
        "lists": {"mailbox": "Lists/*", "action": "archive", "age": "90d",
                  "age_from": "received", "into": "Old/{mailbox}/{year}"},
        "inbox": {"mailbox": "INBOX", "action": "archive", "age": "90d",
                  "age_from": "received", "into": "Old/{year}-{month}"},
    }
    one = server("maildir", rules=rules)
    with one.imap() as client:
        client.create("Lists/Grüße")
    one.fill([common.letter(400)], "Lists/Grüße")
    one.fill([common.letter(400)])
    one.retention("run")
    stamp = mails.TODAY - 400 * mails.DAY + mails.DAY // 2
    month = datetime.datetime.fromtimestamp(stamp).strftime("%Y-%m")
    assert common.counts(one) == {
        imap.encode_mailbox("Old/Lists/Grüße/" + common.year(400)).decode(): 1,
        "Old/" + month: 1}


def test_whatever_is_in_an_archive_gets_compressed(server, driver):
    """Messages that came into an archive mailbox by other ways are
    compressed by the next run, once some rule archives."""
    rule, _ = common.by_age((), action="archive", age="90d")
    one = server(driver, rules={"inbox": rule})
    with one.imap() as client:
        client.create("Archive/Old")
    one.fill(mails.small_corpus(6), "Archive/Old")
    before = dump.mailbox(one, "Archive/Old")
    one.retention("run")
    assert common.compressed_count(one) == 6
    dump.assert_same(before, dump.mailbox(one, "Archive/Old"))


def test_run_twice_changes_nothing_more(server, driver):
    """The second run finds nothing to do."""
    rule, messages = common.by_age((5, 100, 200), action="archive", age="90d")
    one = server(driver, rules={"inbox": rule})
    one.fill(messages)
    one.retention("run")
    names = [name for name in common.counts(one)]
    before = {name: dump.mailbox(one, name) for name in names}
    one.retention("run")
    for name in names:
        dump.assert_same(before[name], dump.mailbox(one, name))


def test_copies_of_a_crash_are_finished(server, driver):
    """A message that stands in the archive already, as a run leaves it that
    died between copying and expunging, is not archived a second time; one
    that only has the same text is."""
    rule, messages = common.by_age((100, 101), action="archive", age="90d")
    one = server(driver, rules={"inbox": rule})
    one.fill(messages)
    target = "Archive/" + common.year(100)
    one.doveadm("mailbox", "create", "-u", "alice", target)
    one.doveadm("copy", "-u", "alice", target, "mailbox", "INBOX", "uid", "1")
    one.fill([messages[1]], target)
    one.retention("run")
    found = dump.count_bodies(dump.account(one))
    assert sorted(found.values()) == [1, 2]
    assert "INBOX" not in common.counts(one)


def test_expunge(server, driver):
    """Expunge removes what is older, and nothing else."""
    rule, messages = common.by_age((1, 29, 31, 90), action="expunge", age="30d",
                                   mailbox="Trash")
    one = server(driver, rules={"trash": rule})
    one.fill(messages, "Trash")
    one.fill(messages)
    one.retention("run")
    assert common.counts(one) == {"INBOX": 4, "Trash": 2}


def test_special_use(server):
    """A special use as the pattern names whatever mailbox has it, and a
    mailbox that merely has such a name is left alone."""
    rule, messages = common.by_age((31, 90), action="expunge", age="30d",
                                   mailbox="\\Junk")
    one = server("maildir", rules={"junk": rule})
    with one.imap() as client:
        client.create("Work/Junk")
    one.fill(messages, "Junk")
    one.fill(messages, "Work/Junk")
    one.retention("run")
    assert common.counts(one) == {"Work/Junk": 2}


def test_keep_beats_expunge_beats_archive(server):
    """Of several rules that are due, keep wins over expunge, and expunge
    over archive, in whatever order they stand."""
    archive, messages = common.by_age((100, 200, 300), action="archive", age="90d")
    rules = {
        "a": archive,
        "b": dict(archive, action="expunge", age="150d"),
        "c": dict(archive, action="keep", age="250d"),
    }
    one = server("maildir", rules=rules)
    one.fill(messages)
    one.retention("run")
    assert common.counts(one) == {"INBOX": 1, "Archive/" + common.year(100): 1}
    assert common.uids(one) == [3]


@pytest.mark.parametrize("field, value, kept", (
    ("keep_flagged", "yes", [2, 4]), ("keep_unseen", "yes", [3, 4]),
    ("min_size", "20k", [1, 2, 3])))
def test_conditions(server, field, value, kept):
    """keep_flagged, keep_unseen and min_size exempt messages."""
    rule, _ = common.by_age((), action="archive", age="90d", **{field: value})
    one = server("maildir", rules={"inbox": rule})
    large = common.letter(100, b"(\\Flagged)", 3)
    large.body = mails.filled(random.Random(1), 3,
                              large.received, 30000)
    one.fill([common.letter(100, b"(\\Seen)", 0), common.letter(100, b"(\\Flagged \\Seen)",
                                                  1),
              common.letter(100, b"()", 2), large])
    one.retention("run")
    assert common.uids(one) == kept


def test_age_from_saved_is_the_default(server, driver):
    """Without age_from the age counts from when a message came into its
    mailbox, however old its own dates are."""
    rule = {"mailbox": "INBOX", "action": "archive", "age": "90d"}
    one = server(driver, rules={"inbox": rule})
    one.fill([common.letter(1000)])
    one.retention("run")
    common.run_later(one, 89)
    assert common.counts(one) == {"INBOX": 1}
    common.run_later(one, 91)
    assert common.counts(one) == {"Archive/" + common.year(1000): 1}


def test_age_from_sent(server):
    """age_from=sent counts from the Date: field, but a date after the
    received date is not believed."""
    rule = {"mailbox": "INBOX", "action": "archive", "age": "90d",
            "age_from": "sent"}
    one = server("maildir", rules={"inbox": rule})
    old = common.letter(10)
    old.body = re.sub(rb"\r\nDate: [^\r]*",
                      b"\r\nDate: Mon, 06 Jan 2020 10:00:00 +0000", old.body)
    future = common.letter(100, index=1)
    future.body = re.sub(rb"\r\nDate: [^\r]*",
                         b"\r\nDate: Sat, 02 Jan 2100 10:00:00 +0000",
                         future.body)
    one.fill([old, future, common.letter(10, index=2)])
    one.retention("run")
    assert common.uids(one) == [3]


def test_mailbox_mask(server):
    """-m limits a run to mailboxes that match."""
    rule, messages = common.by_age((100,), action="archive", age="90d", mailbox="*")
    one = server("maildir", rules={"all": rule})
    for name in ("Work/A", "Work/B", "Play"):
        with one.imap() as client:
            client.create(name)
        one.fill(messages, name)
    one.retention("run", "-m", "Work/*")
    assert common.counts(one) == {"Play": 1, "Archive/" + common.year(100): 2}


def test_all_users_and_file(server):
    """-A runs for every user, -F for those that a file lists."""
    rule, messages = common.by_age((100,), action="archive", age="90d")
    users = ("alice", "bob", "carol")
    one = server("maildir", rules={"inbox": rule}, users=users)
    for user in users:
        one.fill(messages, user=user)
    with open(one.path("list"), "w", encoding="utf-8") as file:
        file.write("bob\n")
    one.retention("run", "-F", one.path("list"), user=None)
    assert [list(common.counts(one, user)) for user in users] == [
        ["INBOX"], ["Archive/" + common.year(100)], ["INBOX"]]
    one.retention("run", "-A", user=None)
    for user in users:
        assert list(common.counts(one, user)) == ["Archive/" + common.year(100)]


def savedates(one):
    found = {}
    for name in common.counts(one):
        with one.imap() as client:
            client.command(b"EXAMINE", imap.quote(name))
            got = client.command(b"UID FETCH 1:* (SAVEDATE BODY.PEEK[])")
            for fetch in got.fetches().values():
                found[dump.digest(fetch["BODY[]"])] = fetch["SAVEDATE"]
    return found


@pytest.mark.parametrize("action", ("compress", "archive"))
def test_savedate_survives(server, driver, action):
    """The save date stays what it was when a run works months later, also
    after Dovecot has purged its cache, which drops the save dates of old
    messages."""
    rule = dict(mailbox="INBOX", action=action, age="90d")
    one = server(driver, rules={"inbox": rule})
    one.fill(mails.small_corpus(6))
    before = savedates(one)
    common.run_later(one, 100)
    assert common.compressed_count(one) == 6
    assert savedates(one) == before
    for name in common.counts(one):
        common.later(one, 200, "mailbox", "cache", "purge", "-u", "alice", name)
    assert savedates(one) == before
