# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Steps that the POP3 tests share: sessions, also at another time, and what
they have done to INBOX."""

import os
import re
import subprocess
import time

import common
import imap
import pop3

HIDDEN = b"$RetentionPOP3Deleted"
DOWNLOADED = b"$RetentionPOP3Retrieved"
OURS = {HIDDEN, DOWNLOADED}
# The caches of INBOX, and the log of what POP3 did.
INDEX = re.compile(r"dovecot(\.map)?\.index(\.|$)|dovecot\.list\.index")
LOG = "dovecot-retention-pop3"


# -- time

def clock(stamp):
    """The environment in which a process's clock stands still."""
    assert common.FAKETIME != [], "the Debian package faketime is not there"
    return {"FAKETIME": time.strftime("%Y-%m-%d %H:%M:%S",
                                      time.localtime(stamp)),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # The dates of files stay as they are.
            "NO_FAKE_STAT": "1"}


def doveadm_at(one, stamp, *args, **kwargs):
    return one.doveadm(*args, env=clock(stamp), preload=common.FAKETIME[0],
                       **kwargs)


def run_at(one, stamp, *args, user="alice", **kwargs):
    return doveadm_at(one, stamp, "retention", "run", "-u", user, *args,
                      **kwargs)


class _Pipes:
    """What pop3.Pop3 needs of a socket, over two pipes."""

    def __init__(self, process):
        self.process = process

    def sendall(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def recv(self, size):
        return os.read(self.process.stdout.fileno(), size)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()


class SessionNow(pop3.Pop3):
    """A session of a pop3 process of our own, without a login before it, so
    that we know the process. Its end is waited for."""

    def __init__(self, one, user="alice", env=None):
        environ = dict(os.environ, **(env or {}))
        environ["DOVECOT_PRESERVE_ENVS"] = " ".join(["TZ"] + list(env or {}))
        self.process = subprocess.Popen(
            ["/usr/lib/dovecot/pop3", "-c", one.config, "-u", user],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.sock = _Pipes(self.process)
        self.buf = bytearray()
        self.transcript = []
        # Such a process sends no greeting.

    def close(self):
        self.sock.close()
        self.process.wait(pop3.TIMEOUT_SECS)


class SessionAt(SessionNow):
    """Likewise, and the process's clock stands still."""

    def __init__(self, one, stamp, user="alice"):
        super().__init__(one, user, dict(
            clock(stamp), LD_PRELOAD=common.FAKETIME[0]))


# -- sessions

def connect(one, user="alice"):
    return pop3.Pop3(one.pop3_port, user)


def download(client, delete=()):
    """RETR of all messages and DELE of those whose numbers are in delete
    (True: of all); returns {UIDL: body}. Does not QUIT."""
    uidls = client.uidl()
    found = {uidl: client.retr(number) for number, uidl in uidls.items()}
    for number in uidls:
        if delete is True or number in delete:
            client.dele(number)
    return found


def session(one, delete=(), user="alice", retr=True, stamp=None):
    """A whole session; returns {UIDL: body (None without retr)}."""
    client = (connect(one, user) if stamp is None
              else SessionAt(one, stamp, user))
    with client:
        if retr:
            found = download(client, delete)
        else:
            found = dict.fromkeys(client.uidl().values())
            for number in range(1, len(found) + 1):
                if delete is True or number in delete:
                    client.dele(number)
        client.quit()
    pop3.wait_until_idle(one)
    return found


def uidls(one, user="alice"):
    """[UIDL] of the POP view, in its order."""
    with connect(one, user) as client:
        found = list(client.uidl().values())
        client.quit()
    pop3.wait_until_idle(one)
    return found


# -- what became of it

def flags(one, mailbox="INBOX", user="alice"):
    """{UID: set of flags}"""
    with one.imap(user) as client:
        client.command(b"EXAMINE", imap.quote(mailbox))
        found = client.command(b"UID FETCH 1:* (UID FLAGS)").fetches()
        client.command(b"LOGOUT")
    return {uid: {flag for flag in data["FLAGS"] if flag != b"\\Recent"}
            for uid, data in found.items()}


def having(one, keyword, mailbox="INBOX", user="alice"):
    """[UID] of the messages with the keyword."""
    return sorted(uid for uid, has in flags(one, mailbox, user).items()
                  if keyword in has)


def hidden(one, mailbox="INBOX", user="alice"):
    return having(one, HIDDEN, mailbox, user)


def downloaded(one, mailbox="INBOX", user="alice"):
    return having(one, DOWNLOADED, mailbox, user)


def remove_files(one, matches, user="alice"):
    """Remove the files whose name matches; returns how many."""
    count = 0
    for folder, _, names in os.walk(one.home(user)):
        for name in names:
            if matches(name):
                os.unlink(os.path.join(folder, name))
                count += 1
    return count


def session_locks(one):
    """Those of pop3_lock_session."""
    return [os.path.join(folder, name)
            for folder, _, names in os.walk(one.home()) for name in names
            if name == "dovecot-pop3-session.lock"]


def lose_index(one, user="alice"):
    """As if the indexes had never been there, and no process knew of them:
    the mail itself, and on Maildir the list of UIDs, stay."""
    pop3.wait_until_idle(one)
    assert remove_files(one, INDEX.match, user) > 0


def lose_log(one, user="alice"):
    assert remove_files(one, lambda name: name == LOG, user) == 1
