# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""The measurements of bench.sh that go through POP3.

The mailbox of a user whose POP3 client has deleted 100,000 messages that are
kept: hidden by the keyword that retention_pop3_delete = keep sets. For stock
Dovecot the very same mailbox is one with pop3_deleted_flag.
"""

import os
import random
import socket
import statistics
import time

from measure import (QUICK, STOCK, complain, copy, in_turns, median_ratio,
                     result, say, serving, timed, twin)
import dovecot
import mails

HIDDEN = 4000 if QUICK else 100000
VISIBLE = 100 if QUICK else 1000
COPIED = min(VISIBLE, HIDDEN)
ROUNDS = 5 if QUICK else 31
DELETED = 20 if QUICK else 100
FLAG = "$RetentionPOP3Deleted"
# 2.3 would take a $ without quotes for the name of a setting.
STOCK_FLAG = 'pop3_deleted_flag = "%s"' % FLAG
KEEP = {"retention_pop3_delete": "keep", "retention_pop3_keep_time": "3650d",
        "retention_pop3_leave_time": "3650d"}
# The mailbox is opened after the answer to PASS, so that STAT waits for it.
PHASES = ("login", "STAT", "UIDL", "QUIT")
RECEIVED = mails.TODAY - 100 * mails.DAY


class Pop3:
    """A client that is no bottleneck: it looks at nothing but the ends."""

    def __init__(self, server, user):
        self.sock = socket.create_connection(("127.0.0.1", server.pop3_port),
                                             timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(1 << 20)
        self.read(b"\r\n")
        self.command(b"USER %s" % user.encode())
        self.command(b"PASS test")

    @staticmethod
    def ok(answer):
        if not answer.startswith(b"+OK"):
            raise AssertionError(bytes(answer[:200]))
        return answer

    def read(self, end):
        """Read until the end; returns all of it."""
        data = b""
        while not data.endswith(end):
            size = self.sock.recv_into(self.buffer)
            if size == 0:
                raise AssertionError("closed after %r" % data[-200:])
            data += self.buffer[:size]
        return data

    def command(self, line, end=b"\r\n"):
        self.sock.sendall(line + b"\r\n")
        return self.ok(self.read(end))

    def pipeline(self, lines):
        """Send all at once, QUIT at the end; returns the bytes that came."""
        self.sock.sendall(b"\r\n".join(lines) + b"\r\nQUIT\r\n")
        total, tail = 0, b""
        while True:
            size = self.sock.recv_into(self.buffer)
            if size == 0:
                break
            total += size
            tail = (tail + self.buffer[max(0, size - 100):size])[-100:]
        self.ok(tail.splitlines()[-1])
        return total

    def close(self):
        self.sock.close()


# -- login

def text_of(index):
    rng = random.Random(index)
    return mails._header(rng, index, RECEIVED, "a message") + b"\r\n" + \
        mails.text(rng, 300)


def fill_maildir(server, user, hidden):
    """The files as Dovecot would have them, without asking it."""
    path = server.mail_dir(user)
    for name in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(path, name))
    with open(os.path.join(path, "dovecot-keywords"), "wb") as file:
        file.write(b"0 %s\n" % FLAG.encode())
    for index in range(hidden + VISIBLE):
        body = text_of(index % 500).replace(b"\r\n", b"\n")
        name = "%d.M%06dP1.bench,S=%d,W=%d:2,%s" % (
            RECEIVED + index, index, len(body), len(body) + body.count(b"\n"),
            "Sa" if index < hidden else "S")
        with open(os.path.join(path, "cur", name), "wb") as file:
            file.write(body)
        os.utime(file.name, (RECEIVED, RECEIVED))
    for folder, _, names in os.walk(server.home(user)):
        for name in [""] + names:
            os.chown(os.path.join(folder, name), dovecot.MAIL_UID,
                     dovecot.MAIL_UID)


def fill_dbox(server, user, hidden):
    """Copies share their files, which makes it quick."""
    corpus = [mails.Message(text_of(index), RECEIVED, b"(\\Seen)", None)
              for index in range(VISIBLE)]
    if hidden > 0:
        server.fill(corpus[:COPIED], user=user)
        with server.imap(user) as client:
            client.select("INBOX")
            for _ in range(hidden // COPIED - 1):
                client.command(b"COPY 1:%d INBOX" % COPIED)
            client.command(b"STORE 1:* +FLAGS.SILENT (%s)" % FLAG.encode())
            client.logout()
    server.fill(corpus, user=user)


def fill(server, user, hidden):
    if server.driver == "maildir":
        fill_maildir(server, user, hidden)
    else:
        fill_dbox(server, user, hidden)
    # Have Dovecot index them.
    with server.imap(user) as client:
        client.select("INBOX")
        status = client.status("INBOX", b"(MESSAGES)")
        client.logout()
    assert int(status["MESSAGES"]) == hidden + VISIBLE, status


def login(server, user):
    """Seconds for each of PHASES."""
    times = [time.monotonic()]
    client = Pop3(server, user)
    times.append(time.monotonic())
    stat = client.command(b"STAT")
    times.append(time.monotonic())
    uidl = client.command(b"UIDL", b"\r\n.\r\n")
    times.append(time.monotonic())
    client.command(b"QUIT")
    times.append(time.monotonic())
    client.close()
    count = int(stat.split()[1])
    assert count == VISIBLE and uidl.count(b"\r\n") == VISIBLE + 2, stat
    return [end - start for start, end in zip(times, times[1:])]


def until_uidl(phases):
    return sum(phases[:3])


def show_phases(words, rounds):
    say("  %-34s %8.1f ms: %s" % (
        words, statistics.median(map(until_uidl, rounds)) * 1e3,
        ", ".join("%s %.1f" % (phase, statistics.median(one) * 1e3)
                  for phase, one in zip(PHASES, zip(*rounds)))))


def part_login(driver):
    server = dovecot.Dovecot(driver, settings=KEEP, users=("many", "few"),
                             extra="mail_fsync = never")
    start = time.monotonic()
    with serving(server):
        fill(server, "many", HIDDEN)
        fill(server, "few", 0)
        # Sets the times, which are not in the files.
        ran = timed(server.doveadm, "retention", "run", "-u", "many")
    say("  made in %.0f s, and a run over it took %.2f s" %
        (time.monotonic() - start - ran, ran))
    flag = twin(server, (), extra=STOCK_FLAG)
    plain = twin(server, ())
    with serving(server, flag, plain):
        functions = [lambda one=one, user=user: login(one, user)
                     for one, user in ((server, "many"), (flag, "many"),
                                       (plain, "few"), (server, "few"))]
        in_turns(3, *functions)
        rounds = in_turns(ROUNDS, *functions)
    complain(server, flag, plain)
    for one in (server, flag, plain):
        one.destroy()
    for words, values in zip((
            "%d hidden" % HIDDEN, "%d hidden, stock" % HIDDEN,
            "none hidden, stock", "none hidden"), rounds):
        show_phases(words, values)
    ours, flagged, bare, few = ([until_uidl(one) for one in values]
                                for values in rounds)
    result("(f) POP3 login, STAT, UIDL, %s: time to pop3_deleted_flag's" %
           driver, median_ratio(ours, flagged), 1.1)
    say("  and to that without the hidden messages, stock: %.2f x; "
        "pop3_deleted_flag's to that: %.2f x" %
        (median_ratio(ours, bare), median_ratio(flagged, bare)))
    result("(f) the same, nothing hidden, %s: time to stock's" % driver,
           median_ratio(few, bare), 1.1)


# -- RETR

def retr_speed(server, user):
    """MB/s of all messages, and the bytes."""
    client = Pop3(server, user)
    count = int(client.command(b"STAT").split()[1])
    start = time.monotonic()
    size = client.pipeline([b"RETR %d" % (num + 1) for num in range(count)])
    seconds = time.monotonic() - start
    client.close()
    return size / seconds / 1e6, size


def part_retr(mailbox, rules):
    """RETR of a whole INBOX, compressed or not."""
    server = mailbox.server
    server.rules = rules
    server.settings = dict(KEEP)
    server.write_config()
    mailbox.restore()
    copy(mailbox.saved, server.home("plain"))
    stock, none = twin(server, (STOCK,)), twin(server, ())
    with serving(server, stock, none):
        server.doveadm("retention", "run", "-m", "INBOX", "-u", "anna")
        functions = [lambda one=one, user=user: retr_speed(one, user)
                     for one, user in ((server, "anna"), (stock, "anna"),
                                       (none, "plain"), (server, "plain"))]
        in_turns(1, *functions)
        rounds = in_turns(3 if QUICK else 15, *functions)
    complain(stock, none)
    stock.destroy()
    none.destroy()
    server.settings = {}
    assert len({size for values in rounds for _, size in values}) == 1
    packed, zlib, bare, loaded = ([speed for speed, _ in values]
                                  for values in rounds)
    say("  %s: RETR of compressed mail %.0f MB/s, with %s %.0f MB/s; of plain "
        "mail %.0f MB/s, without the plugin %.0f MB/s" %
        (server.driver, statistics.median(packed), STOCK,
         statistics.median(zlib), statistics.median(loaded),
         statistics.median(bare)))
    result("(g) RETR of compressed mail, %s: MB/s to %s's" %
           (server.driver, STOCK), median_ratio(packed, zlib), 1.0,
           at_most=False)
    result("(g) RETR of compressed mail, %s: MB/s to plain, stock" %
           server.driver, median_ratio(packed, bare), 0.9, at_most=False)
    result("(g) RETR of plain mail, %s: MB/s to stock's" % server.driver,
           median_ratio(loaded, bare), 0.95, at_most=False)


# -- QUIT

def quit_time(server, saved=None):
    """Seconds of a QUIT after some RETR and DELE of new mail."""
    if saved is not None:
        copy(saved, server.home("anna"))
    client = Pop3(server, "anna")
    for num in range(1, DELETED + 1):
        client.command(b"RETR %d" % num, b"\r\n.\r\n")
        client.command(b"DELE %d" % num)
    start = time.monotonic()
    client.command(b"QUIT")
    seconds = time.monotonic() - start
    client.close()
    return seconds


def part_quit(driver):
    server = dovecot.Dovecot(driver, settings=KEEP, users=("anna",))
    flag = twin(server, (), extra=STOCK_FLAG)
    saved = server.path("saved")
    with serving(server, flag):
        fill(server, "anna", 0)
        # Some things are written only once for a mailbox.
        quit_time(flag)
        quit_time(server)
        copy(server.home("anna"), saved)
        functions = [lambda one=one: quit_time(one, saved)
                     for one in (server, flag)]
        in_turns(2, *functions)
        ours, theirs = in_turns(ROUNDS, *functions)
    complain(server, flag)
    flag.destroy()
    server.destroy()
    say("  %s: QUIT after %d DELE %.2f ms, with pop3_deleted_flag %.2f ms" %
        (driver, DELETED, statistics.median(ours) * 1e3,
         statistics.median(theirs) * 1e3))
    result("(h) QUIT after %d RETR and DELE, %s: time to pop3_deleted_flag's" %
           (DELETED, driver), median_ratio(ours, theirs), 1.1)
