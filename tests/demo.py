# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""demo.py DRIVER MESSAGES: the part of demo.sh that talks to Dovecot."""

import collections
import os
import random
import re
import smtplib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "live"))

import dovecot  # noqa: E402
import dump  # noqa: E402
import imap  # noqa: E402
import mails  # noqa: E402

LMTP_MESSAGES = 60
# In the demonstration messages come with the dates that APPEND gives them, so
# that is what ages count from.
RULES = {
    "inbox": {"mailbox": "INBOX", "action": "archive", "age": "90d",
              "age_from": "received", "keep_flagged": "yes"},
    "sent": {"mailbox": "\\Sent", "action": "archive", "age": "180d",
             "age_from": "sent", "into": "Archive/Sent/{year}"},
    "projects": {"mailbox": "Projects", "action": "compress", "age": "0"},
    "trash": {"mailbox": "\\Trash", "action": "expunge", "age": "30d",
              "age_from": "received"},
}
# Paul's mail program speaks POP3, which knows one mailbox only: his old mail
# has to stay there.
PAUL = ("retention_rule/inbox/action=compress" if dovecot.IS_24 else
        "retention_rule_inbox.action=compress")


def say(text=""):
    print(text, flush=True)


def title(text):
    say()
    say("== " + text)


def show(ran):
    """Print what a command said, set off from our own words."""
    for line in (ran.out + ran.err).splitlines():
        say("    " + line)


def millions(number):
    return "%.1f MB" % (number / 1e6)


class Demo:
    def __init__(self, driver, count):
        self.failures = []
        self.server = dovecot.Dovecot(
            driver, rules=RULES, users={"anna": [], "paul": [PAUL]})
        self.corpus = mails.corpus(count)

    def check(self, text, wrong):
        """Report one comparison; wrong: what is not as it should be."""
        say("  %-4s %s" % ("ok" if len(wrong) == 0 else "BAD", text))
        for line in wrong[:10]:
            say("       %.200s" % line)
        if len(wrong) > 0:
            self.failures.append(text)

    def run(self, *args, user=None, fmt=None):
        argv = (["-f", fmt] if fmt is not None else []) + ["retention"]
        argv += list(args[:1]) + (["-u", user] if user else ["-A"])
        argv += list(args[1:])
        say("  # doveadm " + " ".join(argv))
        ran = self.server.doveadm(*argv)
        show(ran)
        return ran

    # -- delivering

    def append(self):
        """All kinds of messages, new and old, into three mailboxes."""
        third = len(self.corpus) // 6
        with self.server.imap("anna") as client:
            client.create("Projects")
            client.logout()
        for user in self.server.users:
            self.server.fill(self.corpus, user=user)
        self.server.fill(self.corpus[:third], "Sent", "anna")
        self.server.fill(self.corpus[third:2 * third], "Projects", "anna")
        self.server.fill(self.corpus[2 * third:3 * third], "Trash", "anna")
        kinds = collections.Counter(message.kind.__name__
                                    for message in self.corpus)
        say("  %d messages, %s, by IMAP APPEND into each INBOX, some of them "
            "into\n  anna's Sent, Projects and Trash as well:" % (
                len(self.corpus),
                millions(sum(len(one.body) for one in self.corpus))))
        say("    " + ", ".join("%d %s" % (number, name.replace("_", " "))
                               for name, number in kinds.most_common(9)))
        say("    " + ", ".join("%d %s" % (number, name.replace("_", " "))
                               for name, number in kinds.most_common()[9:]))

    def deliver(self):
        rng = random.Random(2)
        bodies = [mails.make(rng.choice(mails.LMTP_KINDS), 5000 + i).body
                  for i in range(LMTP_MESSAGES)]
        with smtplib.LMTP("127.0.0.1", self.server.lmtp_port) as client:
            for body in bodies:
                # smtplib waits for one answer only, LMTP has one for each
                # recipient.
                for user in self.server.users:
                    client.sendmail("sender@example.org", [user], body)
        say("  %d messages through LMTP for anna and paul" % len(bodies))
        return bodies

    # -- reading

    def read(self, user):
        """{(digest, received, saved, size, flags): number} over all
        mailboxes but the trash, and the bodies."""
        found, bodies = collections.Counter(), {}
        with self.server.imap(user) as client:
            for data in client.command(b'LIST "" "*"').of("LIST"):
                name = data[2].decode()
                if name == "Trash" or b"\\Noselect" in data[0]:
                    continue
                client.command(b"EXAMINE", imap.quote(name))
                fetched = client.command(
                    b"UID FETCH 1:* (UID FLAGS INTERNALDATE SAVEDATE "
                    b"RFC822.SIZE BODY.PEEK[])").fetches()
                for item in fetched.values():
                    body = item["BODY[]"]
                    digest = dump.digest(body)
                    bodies[digest] = body
                    flags = tuple(sorted(flag for flag in item["FLAGS"]
                                         if flag != b"\\Recent"))
                    found[digest, item["INTERNALDATE"], item["SAVEDATE"],
                          item["RFC822.SIZE"], flags] += 1
            client.logout()
        return found, bodies

    def check_delivered(self, found, bodies, delivered, user):
        """Is what IMAP shows what was sent? Dovecot itself makes CRLF of
        every line end, and LMTP puts trace fields before a message."""
        missing = [message.kind.__name__ for message in self.corpus
                   if dump.digest(message.stored()) not in bodies]
        self.check("%s: every appended message reads as it was sent" % user,
                   missing)
        ends = [body for body in bodies.values()
                if body.startswith((b"Return-Path:", b"Delivered-To:"))]
        missing = [body[:80] for body in delivered
                   if not any(end.endswith(body) for end in ends)]
        self.check("%s: every message delivered through LMTP reads as it was "
                   "sent" % user, missing)
        say("       (%d messages, %s)" % (
            sum(found.values()),
            millions(sum(int(key[3]) * number
                         for key, number in found.items()))))

    def compare(self, before, after, text):
        wrong = ["gone: %r" % (key,) for key in (before - after)]
        wrong += ["new: %r" % (key,) for key in (after - before)]
        self.check(text, wrong)

    def disk(self, user):
        return self.server.stored_bytes(user)


def main(driver, count):
    demo = Demo(driver, count)
    server = demo.server
    title("a private Dovecot %s with %s storage" % (dovecot.SERIES, driver))
    say("  IMAP, POP3 and LMTP on 127.0.0.1, ports %d, %d and %d; files in %s"
        % (server.imap_port, server.pop3_port, server.lmtp_port, server.base))
    with open(server.config, encoding="utf-8") as file:
        lines = [line.rstrip() for line in file]
    say("  Its retention settings:")
    start = next(i for i, line in enumerate(lines)
                 if "retention_rule" in line)
    for line in lines[start:]:
        if re.search(r"\S", line) and line != "}" or dovecot.IS_24:
            say("    " + line)
    say("  and in userdb, for paul, who reads his mail through POP3: " + PAUL)
    server.start()
    try:
        demonstrate(demo)
    finally:
        server.stop()
        errors = server.errors()
        server.destroy()
    demo.check("no error in Dovecot's log", errors)
    title("the server is stopped and its files are removed")
    if len(demo.failures) > 0:
        say("FAILED: " + "; ".join(demo.failures))
        return 1
    say("Every byte is the same.")
    return 0


def demonstrate(demo):
    server = demo.server
    title("mail arrives")
    demo.append()
    delivered = demo.deliver()

    title("what clients see before")
    before, bodies = {}, {}
    for user in server.users:
        before[user], bodies[user] = demo.read(user)
        demo.check_delivered(before[user], bodies[user], delivered, user)
    pop3 = dump.pop3(server, "paul")
    say("       (%d of paul's messages through POP3 as well)" %
        len(pop3["RETR"]))
    disk = {user: demo.disk(user) for user in server.users}

    title("dry run: what would be done")
    demo.run("run", "-n", user="anna")
    demo.run("run", "-n", user="paul")

    title("run")
    demo.run("run", fmt="table")
    with open(server.log_path, encoding="utf-8") as file:
        logged = [line.rstrip() for line in file if ": retention: " in line]
    say("  %d lines in Dovecot's log, one for each message and action:" %
        len(logged))
    for action in ("archive", "compress", "expunge"):
        for line in [line for line in logged
                     if ": retention: %s: " % action in line][:2]:
            say("    %.150s" % line)

    title("status")
    demo.run("status", user="anna")
    demo.run("status", user="paul")

    title("explain one message")
    with server.imap("anna") as client:
        client.select("INBOX")
        day = imap.internaldate(mails.TODAY - 120 * mails.DAY).split()[0]
        flagged = client.search(b"FLAGGED BEFORE " + day)
        uid = (flagged or client.search(b"ALL"))[0]
        client.logout()
    demo.run("explain", "INBOX", str(uid), user="anna")

    title("what clients see after")
    for user in server.users:
        after, after_bodies = demo.read(user)
        demo.compare(before[user], after,
                     "%s: the same bytes, dates, sizes and flags of all %d "
                     "messages through IMAP" % (user,
                                                sum(before[user].values())))
        demo.check("%s: byte for byte, not by digest alone" % user,
                   [key for key, body in bodies[user].items()
                    if after_bodies.get(key) != body])
    demo.check("paul: the same UIDL, LIST, RETR and TOP of all %d messages "
               "through POP3" % len(pop3["RETR"]),
               dump.differences(pop3, dump.pop3(server, "paul")))

    title("what was saved")
    for user in server.users:
        now = demo.disk(user)
        say("  %s: messages took %s on disk and take %s now: %.0f %% less" % (
            user, millions(disk[user]), millions(now),
            100.0 * (disk[user] - now) / disk[user]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
