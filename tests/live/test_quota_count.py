# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""What the quota backend counts is what the files say."""

import os

import pytest

import common
import imap
import mails
import quota

OLD_DAYS = 400


def fill(one, user="alice"):
    """Old and new mail in INBOX, and some mailboxes of all kinds."""
    old = [common.letter(OLD_DAYS, index=index, kind=kind) for index, kind in
           enumerate([mails.plain, mails.html, mails.attachment] * 6)]
    new = mails.small_corpus(12)
    for message in new:
        message.received = mails.TODAY
    one.fill(old + new, user=user)
    with one.imap(user) as client:
        for name in ("Work", "Work/deep/er", "Empty", "Grüße", "Archive/2001"):
            client.create(name)
        client.logout()
    one.fill(new[:5], "Work/deep/er", user)
    one.fill(new[:2], "Grüße", user)
    one.fill(new[2:4], "Trash", user)
    one.fill(old[:4], "Archive/2001", user)


@pytest.mark.parametrize("archive", ("stored", "full", "none"))
def test_archive_counts_as_set(server, driver, archive):
    """retention_quota_archive: archived mail counts by its stored size, by its
    message size or not at all, before a run and after."""
    one = quota.make(server, driver, {"retention_quota_archive": archive})
    fill(one)
    before = quota.assert_exact(one, archive=archive)
    one.retention("run")
    after = quota.assert_exact(one, archive=archive)
    assert after["live"][1] == before["live"][1] - 18
    assert common.compressed_count(one) > 0
    if archive == "none":
        assert after["archive"] == (0, 0)
    else:
        assert after["archive"][1] == before["archive"][1] + 18


def test_archive_root(server, driver):
    """A second root holds the archive alone, with a limit of its own, and the
    first does not count it."""
    one = quota.make(server, driver,
                     {"retention_quota_archive_root": "Archive quota"},
                     storage="50M", archive_storage="80M")
    fill(one)
    one.retention("run")
    sums = quota.assert_exact(one, split=True)
    assert sums["archive"][1] == 22
    with one.imap() as client:
        assert list(quota.quotaroot(client, "INBOX")) == [quota.ROOT]
        told = quota.quotaroot(client, "Archive/2001")
        assert told["Archive quota"]["STORAGE"][1] == 80 * 1024
        assert list(told) == ["Archive quota"]
        client.logout()


def test_ignored_mailboxes(server, driver):
    """Ignored mailboxes do not count, named or by wildcards."""
    one = quota.make(server, driver, ignore=("Trash", "Work*"))
    fill(one)
    one.retention("run")
    quota.assert_exact(one, ignore=("Trash", "Work", "Work/deep/er"))


def test_no_list_index(server, driver):
    """Without a mailbox list index the numbers are the same."""
    one = quota.make(server, driver, more={
        "2.3": "mailbox_list_index = no\n",
        "2.4": "mailbox_list_index = no\n"}, ignore=("Trash",))
    fill(one)
    one.retention("run")
    quota.assert_exact(one, ignore=("Trash",))


def test_inbox_in_list_index(server, driver):
    one = quota.make(server, driver, more={
        "2.3": "mailbox_list_index_include_inbox = yes\n",
        "2.4": "mailbox_list_index_include_inbox = yes\n"})
    fill(one)
    one.retention("run")
    quota.assert_exact(one)
    one.lmtp([mails.make(mails.plain, 900).body])
    quota.assert_exact(one)


def test_every_change_counts(server, driver):
    """APPEND, COPY, MOVE, EXPUNGE, flags, LMTP, renaming and deleting of
    mailboxes: exact after each."""
    one = quota.make(server, driver)
    fill(one)
    one.retention("run")
    quota.assert_exact(one)
    with one.imap() as client:
        client.select("INBOX")
        for what in (b"UID COPY 19:21 Archive/2001", b"UID COPY 20 Work",
                     b"UID MOVE 21 Work", b"UID MOVE 22 Archive/2001",
                     b"UID STORE 19:30 +FLAGS (\\Flagged)",
                     b"UID STORE 23 +FLAGS (\\Deleted)", b"EXPUNGE",
                     b"RENAME Work Archive/Work", b"DELETE Empty",
                     b"RENAME Archive/Work Work"):
            client.command(what)
            quota.assert_exact(one)
        client.select("Archive/2001")
        client.command(b"UID STORE 2:3 +FLAGS (\\Deleted)")
        client.command(b"EXPUNGE")
        quota.assert_exact(one)
        client.append("Archive/2001", mails.make(mails.html, 7).body)
        quota.assert_exact(one)
        client.logout()
    one.lmtp([mails.make(mails.plain, 901).body])
    quota.assert_exact(one)
    one.retention("run")
    quota.assert_exact(one)


def index_files(one):
    for folder, _, names in os.walk(one.mail_dir()):
        for name in names:
            if name.startswith(("dovecot.index", "dovecot.list.index")):
                yield folder, name


@pytest.mark.parametrize("prefix", ("dovecot.list.index", "dovecot.index.cache",
                                    "dovecot.index"))
def test_lost_indexes(server, driver, prefix):
    """Lost index files: the numbers are found out anew. mdbox keeps in them
    which mailbox a message is in, so its messages go back to where they came
    from."""
    one = quota.make(server, driver)
    fill(one)
    one.retention("run")
    before = quota.assert_exact(one)
    for folder, name in list(index_files(one)):
        if name.startswith(prefix):
            os.unlink(os.path.join(folder, name))
    if prefix == "dovecot.index":
        one.doveadm("force-resync", "-u", "alice", "*", check=False)
        one.doveadm("force-resync", "-u", "alice", "*")
        one.expect_error(".*")
    after = quota.assert_exact(one)
    assert after == before or (driver, prefix) == ("mdbox", "dovecot.index")


def test_force_resync(server, driver):
    one = quota.make(server, driver)
    fill(one)
    one.retention("run")
    before = quota.assert_exact(one)
    one.doveadm("force-resync", "-u", "alice", "*")
    assert quota.assert_exact(one) == before
    one.expect_error("rebuil|Rebuil")


def test_recalc(server, driver):
    """doveadm quota recalc mends what is wrong, also what Dovecot keeps."""
    one = quota.make(server, driver)
    fill(one)
    one.retention("run")
    quota.assert_exact(one)
    one.doveadm("quota", "recalc", "-u", "alice")
    quota.assert_exact(one)


def test_foreign_mail_in_maildir(server):
    """A message that another program puts into a Maildir is noticed when the
    mailbox is opened, and by recalc; in INBOX at once."""
    one = quota.make(server, "maildir")
    fill(one)
    before = quota.assert_exact(one)
    with open(os.path.join(one.mail_dir(), "new", "1.2.host"), "wb") as file:
        file.write(b"From: x\n\nbody\n")
    os.chown(file.name, 5000, 5000)
    with open(os.path.join(one.mail_dir(), ".Work", "new", "1.3.host"),
              "wb") as file:
        file.write(b"From: x\n\nbody\n")
    os.chown(file.name, 5000, 5000)
    messages = sum(part[1] for part in before.values())
    assert quota.reported(one)[1] == messages + 1
    one.doveadm("quota", "recalc", "-u", "alice")
    assert quota.reported(one)[1] == messages + 2
    quota.assert_exact(one)


def test_userdb_limits(server, driver):
    """A user's own limit from userdb counts."""
    fields = ["quota_storage_size=7M"] if quota.dovecot.IS_24 else [
        "quota_rule=*:storage=7M"]
    one = quota.make(server, driver, users={"alice": [], "bob": fields})
    with one.imap("bob") as client:
        assert quota.quotaroot(client)[quota.ROOT]["STORAGE"][1] == 7 * 1024
        client.logout()
    with one.imap("alice") as client:
        assert quota.quotaroot(client)[quota.ROOT]["STORAGE"][1] == 100 * 1024
        client.logout()


def test_mailbox_made_anew(server, driver):
    """A mailbox that was deleted and made anew under its old name."""
    one = quota.make(server, driver)
    fill(one)
    quota.assert_exact(one)
    with one.imap() as client:
        client.command(b"DELETE", imap.quote("Archive/2001"))
        client.create("Archive/2001")
        client.logout()
    quota.assert_exact(one)
    one.fill([common.letter(OLD_DAYS, index=90 + i) for i in range(4)],
             "Archive/2001")
    quota.assert_exact(one)


BAD = (
    ("retention_quota_archive", "all", "stored, full, none"),
    ("retention_quota_on_error", "maybe", "accept, tempfail"),
    ("retention_quota_relief_target", "101", "1% to 100%"),
    ("retention_quota_relief_time", "soon", "time"),
    ("retention_quota_warning", "90 80", "ascending"),
    ("retention_quota_warning_hysteresis", "70", "0% to 50%"),
    ("retention_quota_warning_template", "here", "absolute path"),
    ("retention_quota_archive_root", "Nowhere", "User quota"),
)


@pytest.mark.parametrize("key,value,allowed", BAD)
def test_broken_settings(server, key, value, allowed):
    """A broken setting is refused by name and value, with what is allowed."""
    if quota.dovecot.IS_24 and key != "retention_quota_archive_root":
        one = quota.make(server, "sdbox", {key: value}, start=False)
        done = one.doveconf("-n", check=False)
        text = done.err
        assert done.status != 0
    else:
        one = quota.make(server, "sdbox", {key: value})
        done = one.doveadm("quota", "get", "-u", "alice", check=False)
        text = done.err
        assert done.status != 0
        one.expect_error("retention: ")
    assert key in text and value in text and allowed in text
