# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""bench.py PARTS [quick]: the measurements of bench.sh."""

import os
import random
import shutil
import statistics
import subprocess
import sys
import time

from measure import (QUICK, STOCK, Lmtp, complain, copy, in_turns, machine,
                     median_ratio, result, results, say, serving, timed, twin)
import dovecot
import imap
import mails
import pop3_parts
import quota_parts

MESSAGES = 400 if QUICK else 4000
USERS = 50 if QUICK else 1000
BIG_MESSAGE_BYTES = (5 if QUICK else 50) * 1000 * 1000
LEVEL = 9
# 200 days ago: all of one year, so that there is one archive mailbox.
RECEIVED = mails.TODAY - 200 * mails.DAY
ARCHIVE_YEAR = time.localtime(RECEIVED).tm_year
ARCHIVE = "Archive/%d" % ARCHIVE_YEAR
ARCHIVE_RULES = {"inbox": {"mailbox": "INBOX", "action": "archive",
                           "age": "90d", "age_from": "received"},
                 "big": {"mailbox": "Big", "action": "compress", "age": "0"}}
COMPRESS_RULES = {"inbox": {"mailbox": "INBOX", "action": "compress",
                            "age": "0"}}
IDLE_RULES = {"inbox": {"mailbox": "INBOX", "action": "archive",
                        "age": "90d"},
              "trash": {"mailbox": "\\Trash", "action": "expunge",
                        "age": "30d"}}


# -- messages

def large(rng, index):
    """A message with an attachment, one half of which does not compress."""
    size = rng.choice((30000, 60000, 120000, 250000, 1000000))
    data = (mails.random_base64(rng, size // 2) if index % 2 == 0 else
            mails.random_base64(rng, size // 4) +
            mails.compressible_base64(rng, size // 4))
    head = mails.plain(rng, index, RECEIVED).partition(b"\r\n\r\n")[0]
    return (head + b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; "
            b"boundary=\"=_bench\"\r\n\r\n--=_bench\r\n\r\n" +
            mails.text(rng, 300) + b"\r\n--=_bench\r\nContent-Type: "
            b"application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
            data + b"\r\n--=_bench--\r\n")


def messages():
    """Mixed sizes, one in seven with a large attachment."""
    rng = random.Random(1)
    kinds = (mails.plain, mails.html, mails.alternative, mails.nested)
    for index in range(MESSAGES):
        if index % 7 == 0:
            body = large(rng, index)
        else:
            body = rng.choice(kinds)(rng, index, RECEIVED)
        yield mails.Message(body, RECEIVED, b"(\\Seen)", None)


class Mailbox:
    """A server with one user's INBOX of plain messages, to start from."""

    def __init__(self, driver):
        self.server = dovecot.Dovecot(driver, rules=ARCHIVE_RULES,
                                      users=("anna", "plain", "big"))
        self.saved = self.server.path("saved")
        with serving(self.server):
            self.server.fill(list(messages()), user="anna")
        copy(self.server.home("anna"), self.saved)
        self.size = self.server.stored_bytes("anna")

    def restore(self):
        copy(self.saved, self.server.home("anna"))

    def export(self, target):
        """The messages as files of their own, from a Maildir."""
        os.makedirs(target)
        for index, path in enumerate(self.server.mail_files("anna")):
            shutil.copyfile(path, os.path.join(target, "%06d" % index))


# -- (a)

class Loop:
    """The bare loop over the same messages."""

    def __init__(self, base):
        self.saved = os.path.join(base, "loop-saved")
        self.dir = os.path.join(base, "loop")

    def run(self):
        copy(self.saved, self.dir)
        out = subprocess.run(["/tmp/loop", str(LEVEL), self.dir], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        self.files, self.before, self.after = map(int, out.split()[1:])
        return float(out.split()[0])


def run_once(mailbox):
    mailbox.restore()
    return timed(mailbox.server.doveadm, "retention", "run", "-u", "anna")


def part_a(mailbox, loop):
    server = mailbox.server
    count = 2 if QUICK else 3
    for rules, words in ((COMPRESS_RULES, "compress"),
                         (ARCHIVE_RULES, "archive")):
        server.rules = rules
        server.write_config()
        with serving(server):
            run, bare = in_turns(count, lambda: run_once(mailbox), loop.run)
        say("  %s, %s: run %.2f s, bare loop %.2f s, %d messages of %.1f MB" %
            (server.driver, words, statistics.median(run),
             statistics.median(bare), loop.files, loop.before / 1e6))
        result("(a) run, %s, %s: time to bare loop's" % (words,
                                                         server.driver),
               median_ratio(run, bare), 1.5)
    say("  on disk: %.1f MB before, %.1f MB after" %
        (mailbox.size / 1e6, server.stored_bytes("anna") / 1e6))


# -- (b), (c)

def fetch(server, user, mailbox, *commands):
    """[(bytes, seconds)] for each command."""
    out = subprocess.run(["/tmp/fetch", str(server.imap_port), user, mailbox] +
                         list(commands), check=True, stdout=subprocess.PIPE,
                         text=True).stdout
    return [(int(line.split()[0]), float(line.split()[1]))
            for line in out.splitlines()]


def fetch_speed(server, user, mailbox):
    size, seconds = fetch(server, user, mailbox, "FETCH 1:* BODY.PEEK[]")[0]
    return size / seconds / 1e6


def fetch_header(server):
    """Milliseconds until the header came, and until the session ended."""
    times = fetch(server, "big", "Big", "FETCH 1 BODY.PEEK[HEADER]", "LOGOUT")
    return times[0][1] * 1e3, (times[0][1] + times[1][1]) * 1e3


def part_b(own, stock, none):
    def plain():
        return fetch_speed(none, "plain", "INBOX")

    def archived(server):
        return lambda: fetch_speed(server, "anna", ARCHIVE)

    in_turns(1, archived(own), archived(stock), plain)
    speed = in_turns(3 if QUICK else 15, archived(own), archived(stock), plain)
    say("  %s: %.0f MB/s archived, %.0f MB/s with %s, %.0f MB/s plain" %
        ((own.driver,) + tuple(map(statistics.median, speed[:2])) +
         (STOCK, statistics.median(speed[2]))))
    result("(b) FETCH of a mailbox, %s: MB/s to %s's" % (own.driver, STOCK),
           median_ratio(speed[0], speed[1]), 1.3, at_most=False)
    result("(b) FETCH of a mailbox, %s: MB/s to plain" % own.driver,
           median_ratio(speed[0], speed[2]), 0.9, at_most=False)


def make_big(server):
    rng = random.Random(3)
    size = BIG_MESSAGE_BYTES * 3 // 4 // 2
    body = (mails.plain(rng, 1, RECEIVED) + mails.random_base64(rng, size) +
            mails.compressible_base64(rng, size))
    with server.imap("big") as client:
        client.create("Big")
        client.append("Big", body, date=RECEIVED)
        client.logout()
    server.doveadm("retention", "run", "-u", "big")


def part_c(own, stock):
    in_turns(1, lambda: fetch_header(own), lambda: fetch_header(stock))
    ours, theirs = in_turns(5 if QUICK else 21, lambda: fetch_header(own),
                            lambda: fetch_header(stock))
    say("  %s: %.2f ms, with %s %.2f ms; with the end of the session %.2f ms "
        "and %.2f ms" % (own.driver, statistics.median(one[0] for one in ours),
                         STOCK, statistics.median(one[0] for one in theirs),
                         statistics.median(one[1] for one in ours),
                         statistics.median(one[1] for one in theirs)))
    result("(c) header of a %d MB message, %s: times as fast as %s" %
           (BIG_MESSAGE_BYTES // 1000000, own.driver, STOCK),
           median_ratio([one[1] for one in theirs], [one[1] for one in ours]),
           20, at_most=False)


def reading(mailbox, parts):
    server = mailbox.server
    server.rules = ARCHIVE_RULES
    server.write_config()
    mailbox.restore()
    copy(mailbox.saved, server.home("plain"))
    stock, none = twin(server, (STOCK,)), twin(server, ())
    with serving(server, stock, none):
        server.doveadm("retention", "run", "-u", "anna")
        if "b" in parts:
            part_b(server, stock, none)
        if "c" in parts:
            make_big(server)
            part_c(server, stock)
    complain(stock, none)
    stock.destroy()
    none.destroy()


# -- (d)

def part_d(driver, extra, words):
    rng = random.Random(4)
    data = mails.plain(rng, 1, RECEIVED) + mails.text(rng, 3000) + b".\r\n"
    servers = [dovecot.Dovecot(driver, rules=IDLE_RULES, users=("anna",),
                               extra=extra),
               dovecot.Dovecot(driver, plugins=(), users=("anna",),
                               extra=extra)]
    servers[1].rules = {}
    servers[1].write_config()
    with serving(*servers):
        clients = [Lmtp(server) for server in servers]
        functions = [lambda one=one: one.deliver(data) for one in clients]
        in_turns(50, *functions)
        loaded, bare = in_turns(150 if QUICK else 1000, *functions)
        for client in clients:
            client.close()
    complain(*servers)
    for server in servers:
        server.destroy()
    say("  %s, %s: %.3f ms a delivery, %.3f ms without the plugin" %
        (driver, words, statistics.median(loaded) * 1e3,
         statistics.median(bare) * 1e3))
    result("(d) LMTP, %s, %s: time to that without" % (driver, words),
           median_ratio(loaded, bare), 1.03)


# -- (e)

def make_users(server):
    """The same mailboxes for everybody: nothing in them is due."""
    names = sorted(server.users)
    small = mails.small_corpus(30)
    for message in small:
        message.received = mails.TODAY
    server.fill(small, user=names[0])
    for folder in ("Sent", "Trash", "Work", "Archive/2024", "Archive/2025"):
        with server.imap(names[0]) as client:
            client.command(b"CREATE", imap.quote(folder), check=False)
            client.logout()
        server.fill(small[:5], folder, names[0])
    server.doveadm("retention", "run", "-u", names[0])
    for name in names[1:]:
        copy_user(server, names[0], name)
    os.sync()


def copy_user(server, source, target):
    subprocess.run(["cp", "-aT", server.home(source), server.home(target)],
                   check=True)


def part_e(driver):
    server = dovecot.Dovecot(
        driver, rules=IDLE_RULES,
        users=["user%04d" % number for number in range(USERS)])
    with serving(server):
        make_users(server)

        def run():
            return timed(server.doveadm, "retention", "run", "-A")

        def search():
            return timed(server.doveadm, "search", "-A", "uid", "4294967295")

        in_turns(1, run, search)
        ours, theirs = in_turns(2 if QUICK else 7, run, search)
    complain(server)
    server.destroy()
    say("  %s: %.3f ms a user, search %.3f ms" %
        (driver, statistics.median(ours) * 1e3 / USERS,
         statistics.median(theirs) * 1e3 / USERS))
    result("(e) run -A with nothing due, %s: time to search -A's" % driver,
           median_ratio(ours, theirs), 1.2)


# --

def measure_mailboxes(parts):
    base = None
    for driver in dovecot.DRIVERS:
        say("== %s" % driver)
        mailbox = Mailbox(driver)
        if base is None:
            # Maildir comes first; its files are the loop's.
            base = os.path.join(dovecot.temp_root(), "bench")
            os.makedirs(base)
            mailbox.export(os.path.join(base, "loop-saved"))
        if "a" in parts:
            part_a(mailbox, Loop(base))
        if "b" in parts or "c" in parts:
            reading(mailbox, parts)
        if "g" in parts:
            pop3_parts.part_retr(mailbox, COMPRESS_RULES)
        complain(mailbox.server)
        mailbox.server.destroy()


def main(parts):
    start = time.monotonic()
    say("== %s" % machine())
    if set(parts) & set("abcg"):
        measure_mailboxes(parts)
    if "d" in parts:
        say("== LMTP")
        for driver in dovecot.DRIVERS:
            part_d(driver, "", "synced")
            part_d(driver, "mail_fsync = never", "unsynced")
    if "e" in parts:
        say("== all users")
        for driver in dovecot.DRIVERS:
            part_e(driver)
    if "f" in parts:
        for driver in dovecot.DRIVERS:
            say("== POP3 login, %s" % driver)
            pop3_parts.part_login(driver)
    if "h" in parts:
        say("== POP3 QUIT")
        for driver in dovecot.DRIVERS:
            pop3_parts.part_quit(driver)
    if "i" in parts:
        say("== quota")
        for driver in dovecot.DRIVERS:
            quota_parts.part_mailboxes(driver, 1000)
        if not QUICK:
            quota_parts.part_mailboxes("sdbox", 10000)
    if "j" in parts:
        say("== quota and archived mail")
        quota_parts.part_archive()
    say()
    say("== %s; medians, %d s in all" % (machine(),
                                         time.monotonic() - start))
    for row in results:
        say("%-64s %-10s target %-8s %s" % row)


if __name__ == "__main__":
    main(sys.argv[1])
