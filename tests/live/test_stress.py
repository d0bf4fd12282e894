# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Clients at full speed while the plugin works on their mailbox."""

import hashlib
import random
import re
import threading
import time

import pytest

import common
import imap
import mails

SECONDS = 12
CLIENTS = 4
MESSAGES = 240


class Account:
    """What the clients did, and so what must be there in the end."""

    def __init__(self):
        self.lock = threading.Lock()
        self.bodies = {}
        self.wanted = {"INBOX": {}, "Other": {}}
        self.errors = []
        self.stop = threading.Event()
        self.done = {}

    def new_body(self, due):
        """A message that can be told from all others; if it is due, its date
        is old enough for the rule."""
        with self.lock:
            number = len(self.bodies)
            kind = (mails.plain, mails.html, mails.attachment,
                    mails.alternative)[number % 4]
            received = None if due else int(time.time())
            message = mails.make(kind, number, received=received)
            body = b"X-Number: %d\r\n" % number + message.stored()
            self.bodies[number] = hashlib.sha256(body).digest()
        return number, body, message.received

    def add(self, mailbox, number, count=1):
        with self.lock:
            counts = self.wanted[mailbox]
            counts[number] = counts.get(number, 0) + count

    def did(self, what):
        with self.lock:
            self.done[what] = self.done.get(what, 0) + 1


def number_of(body):
    return int(re.match(rb"X-Number: (\d+)\r\n", body).group(1))


class Client(threading.Thread):
    """Owns some messages: only it expunges them."""

    def __init__(self, one, account, seed, owned, all_due):
        super().__init__()
        self.one = one
        self.account = account
        self.rng = random.Random(seed)
        # {uid: message number}
        self.owned = owned
        # Expunge only what no rule moves: a message that is moved while
        # it is being expunged may rightly be found at its new place.
        self.may_expunge = not all_due

    def run(self):
        try:
            with self.one.imap() as client:
                client.select("INBOX")
                while not self.account.stop.is_set():
                    self.step(client)
                client.command(b"LOGOUT")
        except Exception as error:  # pylint: disable=broad-except
            self.account.errors.append(repr(error))
            self.account.stop.set()

    def step(self, client):
        steps = [self.flags] * 6 + [self.fetch] * 5 + [self.copy] * 2
        steps += [self.append] * 2
        if self.may_expunge:
            steps.append(self.expunge)
        self.rng.choice(steps)(client)

    def pick(self):
        return self.rng.choice(sorted(self.owned)) if self.owned else None

    def flags(self, client):
        first = self.rng.randint(1, MESSAGES)
        flag = self.rng.choice((b"\\Flagged", b"\\Answered", b"\\Seen",
                                b"$Label1"))
        client.command(b"UID STORE %d:%d %sFLAGS.SILENT (%s)" %
                       (first, first + 5, self.rng.choice((b"+", b"-")),
                        flag))
        self.account.did("flags")

    def fetch(self, client):
        uid = self.pick()
        if uid is None:
            return
        got = client.fetch(uid, b"(BODY.PEEK[] BODY.PEEK[]<100.3000>)",
                           check=self.may_expunge)
        if got.get(uid, {}).get("BODY[]") is None:
            # Moved to the archive meanwhile.
            assert not self.may_expunge, "message %d is gone" % uid
            del self.owned[uid]
            return
        body = got[uid]["BODY[]"]
        number = number_of(body)
        assert number == self.owned[uid]
        assert hashlib.sha256(body).digest() == self.account.bodies[number]
        assert got[uid]["BODY[]<100>"] == body[100:3100]
        self.account.did("fetch")

    def copy(self, client):
        uid = self.pick()
        if uid is None:
            return
        answer = client.command(b"UID COPY %d Other" % uid,
                                check=self.may_expunge)
        if "COPYUID" in answer.text:
            self.account.add("Other", self.owned[uid])
            self.account.did("copy")
        else:
            assert not self.may_expunge, "message %d is gone" % uid

    def append(self, client):
        number, body, received = self.account.new_body(not self.may_expunge)
        answer = client.append("INBOX", body, date=received)
        uid = int(re.search(r"APPENDUID \d+ (\d+)", answer.text).group(1))
        self.account.add("INBOX", number)
        self.owned[uid] = number
        self.account.did("append")

    def expunge(self, client):
        uid = self.pick()
        if uid is None:
            return
        client.command(b"UID STORE %d +FLAGS.SILENT (\\Deleted)" % uid)
        client.command(b"UID EXPUNGE %d" % uid)
        self.account.add("INBOX", self.owned.pop(uid), -1)
        self.account.did("expunge")


def numbers_in(one):
    """{message number: count} of INBOX with all archives, and of Other."""
    found = {"INBOX": {}, "Other": {}}
    wrong = []
    with one.imap() as client:
        for data in client.command(b'LIST "" "*"').of("LIST"):
            name = data[2].decode()
            if b"\\Noselect" in data[0] or b"\\NonExistent" in data[0]:
                continue
            client.command(b"EXAMINE", imap.quote(name))
            got = client.command(b"UID FETCH 1:* (UID BODY.PEEK[])")
            counts = found["Other" if name == "Other" else "INBOX"]
            for fetch in got.fetches().values():
                number = number_of(fetch["BODY[]"])
                counts[number] = counts.get(number, 0) + 1
                wrong.append((number, fetch["BODY[]"]))
    return found, wrong


@pytest.mark.parametrize("action", ("compress", "archive"))
def test_clients_during_runs(server, driver, action):
    """Four clients change flags, append, copy, expunge and fetch at full
    speed during repeated runs: no message is lost or doubled, every body is
    right, and nobody meets an error."""
    rule = common.COMPRESS if action == "compress" else common.ARCHIVE
    rules = {"inbox": rule, "other": dict(common.COMPRESS, mailbox="Other")}
    one = server(driver, rules=rules)
    account = Account()
    with one.imap() as client:
        client.create("Other")
    messages = [account.new_body(True) for _ in range(MESSAGES)]
    with one.imap() as client:
        client.append_many("INBOX", [(body, b"()", received)
                                     for _, body, received in messages])
    for number, _, _ in messages:
        account.add("INBOX", number)

    clients = []
    for index in range(CLIENTS):
        owned = {number + 1: number for number, _, _ in messages
                 if number % CLIENTS == index}
        clients.append(Client(one, account, index, owned,
                              action == "archive"))
    for client in clients:
        client.start()
    runs = 0
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline and not account.stop.is_set():
            one.retention("run")
            runs += 1
    finally:
        account.stop.set()
        for client in clients:
            client.join()
    assert account.errors == []
    assert runs > 1 and account.done.get("append", 0) > 0, account.done

    one.retention("run")
    found, bodies = numbers_in(one)
    for mailbox, counts in account.wanted.items():
        wanted = {number: count for number, count in counts.items()
                  if count > 0}
        assert found[mailbox] == wanted
    for number, body in bodies:
        assert hashlib.sha256(body).digest() == account.bodies[number]
    assert common.compressed_count(one) > 0
