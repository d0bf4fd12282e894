# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Rules, numbers and steps that several tests share."""

import datetime
import glob
import os
import subprocess

import dump
import imap
import mails

LZ4_MAGIC = b"Dovecot-LZ4\x0d\x2a\x9b\xc5"

COMPRESS = {"mailbox": "INBOX", "action": "compress", "age": "0"}
# Counting from the received date, which APPEND sets, so that a message is as
# old as the test wants it to be.
ARCHIVE = {"mailbox": "INBOX", "action": "archive", "age": "1d",
           "age_from": "received"}


def compressed_count(one, user="alice", below="mail"):
    """How many stored messages are compressed."""
    count = 0
    for path in one.mail_files(user, below):
        with open(path, "rb") as file:
            data = file.read()
        if one.driver == "maildir":
            count += data.startswith(LZ4_MAGIC)
        else:
            count += data.count(b"\n" + LZ4_MAGIC)
    return count


def is_damaged(text):
    """Is this the trace of a crash?"""
    return any(word in text for word in ("Panic:", "Fatal:", "backtrace",
                                         "assertion failed"))


def copy_tree(source, target):
    subprocess.run(["rm", "-rf", target], check=True)
    subprocess.run(["cp", "-a", source, target], check=True)


def remove_locks(one):
    """Dovecot waits two minutes before it takes away the lock file of a
    process that was killed, or could not remove it; the tests do not."""
    for folder, _, names in os.walk(one.home()):
        for name in names:
            if (name in ("dovecot-uidlist.lock", "subscriptions.lock") or
                    name.endswith(".newlock")):
                os.unlink(os.path.join(folder, name))


class Snapshot:
    """A user's home as it was, to start from again and again."""

    def __init__(self, one, user="alice"):
        self.one = one
        self.user = user
        self.saved = one.path("snapshot-" + user)
        one.wait_sessions()
        copy_tree(one.home(user), self.saved)
        self.bodies = dump.count_bodies(dump.account(one, user))

    def restore(self):
        self.one.wait_sessions()
        copy_tree(self.saved, self.one.home(self.user))

    def account(self):
        """dump.account(); the client comes back when Dovecot has closed its
        connection because an index was rebuilt under it."""
        for _ in range(2):
            try:
                return dump.account(self.one, self.user)
            except imap.ImapError:
                pass
        return dump.account(self.one, self.user)

    def lost(self, places=None):
        """Bodies that are no longer there."""
        found = dump.count_bodies(places or self.account())
        return {body: count for body, count in self.bodies.items()
                if found.get(body, 0) < count}

    def assert_exactly_once(self):
        """Returns the account."""
        places = self.account()
        assert self.lost(places) == {}
        more = {body: [(name, uid) for name, rows in places.items()
                       for uid, other in rows if other == body]
                for body, count in dump.count_bodies(places).items()
                if count > self.bodies.get(body, 0)}
        assert more == {}, "more than once: %s" % more
        return places


def layout(places):
    """What is in which mailbox, whatever its UIDs."""
    return {name: sorted(body for _, body in rows)
            for name, rows in places.items()}


# SAVEDATE is when a message came into its mailbox, which a test can't set;
# so the clock of the process that works is put forward.
FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")


def later(one, days, *args, **kwargs):
    """doveadm, so many days later."""
    assert FAKETIME != [], "the Debian package faketime is not installed"
    return one.doveadm(*args, env={"FAKETIME": "+%dd" % days,
                                   "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
                       preload=FAKETIME[0], **kwargs)


def run_later(one, days, *args, **kwargs):
    return later(one, days, "retention", "run", "-u", "alice", *args,
                 **kwargs)


def letter(days, flags=b"(\\Seen)", index=0, kind=mails.plain):
    """A message received so many days ago."""
    message = mails.make(kind, index, received=mails.TODAY - days * mails.DAY
                         + mails.DAY // 2)
    message.flags = flags
    return message


def year(days):
    stamp = mails.TODAY - days * mails.DAY + mails.DAY // 2
    return str(datetime.datetime.fromtimestamp(stamp).year)


def counts(one, user="alice"):
    """{mailbox: number of messages} of those that have some."""
    return {name: len(rows) for name, rows in dump.account(one, user).items()}


def uids(one, mailbox="INBOX", query=b"ALL"):
    with one.imap() as client:
        client.command(b"EXAMINE", imap.quote(mailbox))
        return client.search(query)


def by_age(ages, **fields):
    rule = {"mailbox": "INBOX", "age_from": "received"}
    rule.update(fields)
    return rule, [letter(days, index=index)
                  for index, days in enumerate(ages)]
