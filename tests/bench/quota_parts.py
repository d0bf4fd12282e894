# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""The measurements of bench.sh that are about the quota."""

import glob
import os
import random
import shutil
import socket
import statistics
import subprocess
import time

from measure import (QUICK, Lmtp, complain, copy, in_turns, median_ratio, result,
                     say, serving, timed)
import dovecot
import imap
import mails
import quota

RULES = {"inbox": {"mailbox": "INBOX", "action": "archive", "age": "90d"},
         "trash": {"mailbox": "\\Trash", "action": "expunge", "age": "30d"}}
RECEIVED = mails.TODAY - 200 * mails.DAY
QUOTA_LIMIT = "100G"


def quota_servers(driver, users):
    """Without a quota, with ours, and with Dovecot's own."""
    ports = dovecot.free_ports(2)
    none = dovecot.Dovecot(driver, plugins=(), users=users)
    own = dovecot.Dovecot(
        driver, rules=RULES, plugins=quota.PLUGINS, users=users,
        login_plugins=quota.LOGIN,
        extra=quota.config(QUOTA_LIMIT, port=ports[0], ignore=("Trash",)))
    stock = dovecot.Dovecot(
        driver, plugins=("quota",), users=users, login_plugins=quota.LOGIN,
        extra=quota.config(QUOTA_LIMIT, port=ports[1], backend="count",
                           ignore=("Trash",)))
    return none, own, stock, ports


def make_mailboxes(server, count):
    """So many mailboxes with three messages each: a hundred are made, and
    copied, as each takes longer to make than the one before."""
    rng = random.Random(6)
    with server.imap("anna") as client:
        client.append_many("INBOX", [
            (mails.plain(rng, index, RECEIVED), b"()", RECEIVED)
            for index in range(3)])
        client.select("INBOX")
        for number in range(min(count, 100)):
            name = imap.quote("Lists/000/%02d" % number)
            client.command(b"CREATE", name)
            client.command(b"UID COPY 1:3", name)
        client.logout()
    server.wait_sessions()
    for number in range(1, count // 100):
        copy_mailboxes(server, "%03d" % number)
    for path in glob.glob(os.path.join(server.mail_dir("anna"),
                                       "dovecot.list.index*")):
        os.unlink(path)
    # once for the list index to have them, once for their sizes
    for _ in range(2):
        server.doveadm("mailbox", "status", "-u", "anna", "messages vsize",
                       "*")


def copy_mailboxes(server, name):
    folder = server.mail_dir("anna")
    if server.driver == "maildir":
        pairs = [(path, path.replace("Lists.000.", "Lists.%s." % name))
                 for path in glob.glob(os.path.join(folder, ".Lists.000.*"))]
    else:
        pairs = [(os.path.join(folder, "mailboxes/Lists/000"),
                  os.path.join(folder, "mailboxes/Lists", name))]
    for source, target in pairs:
        subprocess.run(["cp", "-a", source, target], check=True)


def quotaroot_times(server):
    """Milliseconds of the first GETQUOTAROOT in a session and of another."""
    with server.imap("anna") as client:
        client.select("INBOX")
        times = []
        for _ in range(6):
            times.append(timed(client.command, b"GETQUOTAROOT INBOX") * 1e3)
        client.logout()
    return times[0], statistics.median(times[1:])


class Policy:
    """A connection to quota-status, kept open as Postfix does."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self):
        """Milliseconds of one answer."""
        start = time.monotonic()
        self.sock.sendall(b"request=smtpd_access_policy\nprotocol_state=RCPT\n"
                          b"recipient=anna\nsize=0\n\n")
        answer = b""
        while not answer.endswith(b"\n\n"):
            answer += self.sock.recv(4096)
        assert answer == b"action=DUNNO\n\n", answer
        return (time.monotonic() - start) * 1e3


def compare_quota(what, own, stock):
    say("  %s: %.2f ms, with count %.2f ms" % (
        what, statistics.median(own), statistics.median(stock)))
    result("(i) " + what + ": times as fast as count",
           median_ratio(stock, own), 10, at_most=False)


def part_mailboxes(driver, count):
    none, own, stock, ports = quota_servers(driver, ("anna",))
    rng = random.Random(4)
    data = mails.plain(rng, 1, RECEIVED) + mails.text(rng, 3000) + b".\r\n"
    repeats = 10 if QUICK else 40 if count > 1000 else 200
    with serving(none):
        make_mailboxes(none, count)
    for one in (own, stock):
        copy(none.path("home"), one.path("home"))
    with serving(none, own, stock):
        clients = [Lmtp(server) for server in (none, own, stock)]
        functions = [lambda one=one: one.deliver(data) for one in clients]
        in_turns(3, *functions)
        bare, ours, theirs = in_turns(repeats, *functions)
        for client in clients:
            client.close()
        say("  %s, %d mailboxes: LMTP %.2f ms, %.2f ms without a quota, "
            "%.2f ms with count" % ((driver, count) + tuple(
                statistics.median(times) * 1e3
                for times in (ours, bare, theirs))))
        result("(i) LMTP, %s, %d mailboxes: time to that without" %
               (driver, count), median_ratio(ours, bare), 1.1)
        repeats = min(repeats, 20)
        ours, theirs = in_turns(repeats, lambda: quotaroot_times(own),
                                lambda: quotaroot_times(stock))
        for index, words in enumerate(("first GETQUOTAROOT",
                                       "further GETQUOTAROOT")):
            compare_quota("%s, %s, %d mailboxes" % (words, driver, count),
                          [one[index] for one in ours],
                          [one[index] for one in theirs])
        ours, theirs = in_turns(5 * repeats,
                                *[Policy(port).ask for port in ports])
        compare_quota("quota-status, %s, %d mailboxes" % (driver, count),
                      ours, theirs)
    complain(none, own, stock)
    for one in (own, stock, none):
        one.destroy()


# --

# A file can have about 65000 names in ext4.
LINKS = 60000


def add_archived(server, have, count):
    """So many messages in a Maildir archive mailbox, as names of few files."""
    folder = os.path.join(server.mail_dir("anna"), ".Archive.2001", "cur")
    data = b"From: a@example.org\n\n" + b"x" * 99 + b"\n"
    for number in range(have, count):
        name = os.path.join(folder, "1000000000.M%07dP1.bench,S=%d,W=%d:2,S" %
                            (number, len(data), len(data) + 3))
        if number % LINKS == 0:
            with open(name, "wb") as file:
                file.write(data)
            os.chown(name, dovecot.MAIL_UID, dovecot.MAIL_UID)
            first = name
        elif number == have:
            shutil.copyfile(os.path.join(folder, sorted(
                os.listdir(folder))[0]), name)
            os.chown(name, dovecot.MAIL_UID, dovecot.MAIL_UID)
            first = name
        else:
            os.link(first, name)


def part_archive():
    """Look-ups with an archive that gets ten times as large each time."""
    counts = [1000, 10000, 100000] + ([] if QUICK else [1000000])
    none, own, stock, _ = quota_servers("maildir", ("anna",))
    none.destroy()
    stock.destroy()
    medians = []
    with serving(own):
        make_mailboxes(own, 10)
        with own.imap("anna") as client:
            client.create("Archive/2001")
            client.logout()
        have = 0
        for count in counts:
            add_archived(own, have, count)
            have = count
            # anew, as nothing else tells that another program was here
            own.doveadm("mailbox", "status", "-u", "anna", "messages",
                        "Archive/2001")
            first = timed(quota.reported, own, "anna")
            times, = in_turns(20, lambda: quotaroot_times(own))
            medians.append(statistics.median(one[0] for one in times))
            assert quota.reported(own, "anna")[1] >= count
            say("  %7d archived messages: %.2f ms; %.1f s once, when they "
                "were new" % (count, medians[-1], first))
    complain(own)
    own.destroy()
    result("(j) GETQUOTAROOT, %d archived messages: time to that with %d" %
           (counts[-1], counts[0]), medians[-1] / medians[0], 1.2)
