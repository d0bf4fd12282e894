# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Real POP3 programs from Debian, each as an object that remembers between
two calls what it has seen, as it does for its user."""

import os
import re
import shutil
import subprocess

NAMES = ("fetchmail", "getmail", "mpop", "curl")
TIMEOUT_SECS = 60
# What a program does not hand on as it came: fetchmail and getmail write
# headers anew that are none or that they can't read, and fetchmail cuts lines
# of 64 KiB and more.
CHANGES = {
    "fetchmail": ("tiny", "no_header", "header_only", "odd_line_ends",
                  "long_lines"),
    "getmail": ("tiny", "no_header", "header_only", "odd_line_ends",
                "broken_mime"),
}
# fetchmail without "fetchall" asks for TOP with more lines than there are,
# where others use RETR.
USES_TOP = ("fetchmail",)


def missing(name):
    """Why the program can't be used here, or None."""
    if shutil.which(name) is None:
        package = "getmail6" if name == "getmail" else name
        return "the Debian package %s is not installed" % package
    return None


def normalise(body):
    """A message as all of the protocol's ends have it: the line ends are the
    receiver's own, and the last line has one (RFC 1939, 3 and 5)."""
    body = body.replace(b"\r\n", b"\n")
    return body if body.endswith(b"\n") else body + b"\n"


class Program:
    """One device: keep = True leaves the messages on the server."""

    def __init__(self, one, name, keep, user="alice"):
        self.one = one
        self.name = name
        self.keep = keep
        self.user = user
        self.calls = 0
        self.home = one.path("device-%s-%d" % (
            name, len([entry for entry in os.listdir(one.base)
                       if entry.startswith("device-")])))
        os.mkdir(self.home)
        self.inbox = os.path.join(self.home, "inbox")
        for leaf in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(self.inbox, leaf))
        self.setup()

    def setup(self):
        """Write the program's configuration."""

    def run(self, argv, good=(0,)):
        environ = dict(os.environ, HOME=self.home, FETCHMAILHOME=self.home,
                       TZ="UTC", LC_ALL="C.UTF-8")
        done = subprocess.run(argv, cwd=self.home, env=environ,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TIMEOUT_SECS, check=False)
        assert done.returncode in good, "%s: exit status %d\n%s" % (
            " ".join(argv), done.returncode, done.stdout.decode())
        return done.stdout

    def write(self, name, text):
        path = os.path.join(self.home, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def take(self):
        """The messages that the last call brought, normalised and sorted."""
        found = []
        for leaf in ("cur", "new"):
            folder = os.path.join(self.inbox, leaf)
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found.append(normalise(file.read()))
                os.unlink(path)
        return sorted(found)

    def fetch(self):
        self.call()
        return self.take()

    def call(self):
        raise NotImplementedError


class Fetchmail(Program):
    def setup(self):
        # invisible: no Received line; no rewrite: addresses stay as they are.
        self.config = self.write(
            "fetchmailrc",
            'set no bouncemail\nset idfile "%s/ids"\nset pidfile "%s/pid"\n'
            'set invisible\n'
            'poll 127.0.0.1 protocol pop3 port %d uidl no dns\n'
            '  user "%s" password "test" is "root" here %s\n'
            '  no rewrite pass8bits sslproto ""\n'
            '  mda "cat > $(mktemp %s/new/XXXXXXXX)"\n' %
            (self.home, self.home, self.one.pop3_port, self.user,
             "keep" if self.keep else "no keep", self.inbox))

    def call(self):
        # 1: there was no mail.
        self.run(["fetchmail", "-f", self.config, "--nodetach", "-v"],
                 good=(0, 1))


class Getmail(Program):
    # getmail does not notice the end of a program that has ended before it
    # waits for it, so this one ends when getmail sleeps.
    DELIVER = """#!/bin/sh
cat > "$(mktemp "$1/new/XXXXXXXX")" || exit 1
state=
while [ "$state" != S ]; do
    while read -r name word rest; do
        [ "$name" != State: ] || state=$word
    done < "/proc/$PPID/status"
done
"""

    def setup(self):
        script = self.write("deliver", self.DELIVER)
        os.chmod(script, 0o700)
        self.config = self.write(
            "getmailrc",
            "[retriever]\ntype = SimplePOP3Retriever\nserver = 127.0.0.1\n"
            "port = %d\nusername = %s\npassword = test\n"
            "[destination]\ntype = MDA_external\npath = %s\n"
            "arguments = (\"%s\",)\nallow_root_commands = true\n"
            "[options]\nread_all = false\ndelete = %s\ndelivered_to = false\n"
            "received = false\nverbose = 2\n" %
            (self.one.pop3_port, self.user, script, self.inbox,
             "false" if self.keep else "true"))

    def call(self):
        self.run(["getmail", "--getmaildir", self.home, "--rcfile",
                  self.config])


class Mpop(Program):
    def setup(self):
        self.config = self.write(
            "mpoprc",
            "account default\nhost 127.0.0.1\nport %d\nuser %s\n"
            "password test\nauth user\ntls off\nreceived_header off\n"
            "delivery maildir %s\nuidls_file %s/uidls\nkeep %s\n" %
            (self.one.pop3_port, self.user, self.inbox, self.home,
             "on" if self.keep else "off"))

    def call(self):
        self.run(["mpop", "-C", self.config, "--pipelining=on"])


class Curl(Program):
    """curl is a tool for one message: the UIDLs that have been fetched are
    remembered here, as its users' scripts do."""

    def setup(self):
        self.seen = set()

    def call(self):
        url = "pop3://%s:test@127.0.0.1:%d/" % (self.user, self.one.pop3_port)
        listing = self.run(["curl", "-sS", "-X", "UIDL", url]).split()
        uidls = dict(zip(map(int, listing[0::2]), listing[1::2]))
        wanted = [number for number, uidl in sorted(uidls.items())
                  if uidl not in self.seen]
        if not wanted:
            return
        # All in one connection, which curl ends with QUIT.
        argv = ["curl", "-sS", "--no-progress-meter"]
        for number in wanted:
            argv += [url + str(number), "-o",
                     "%s/new/%d" % (self.inbox, number)]
        if not self.keep:
            argv += ["--next", "-sS", "-l", "-X", "DELE"]
            argv += [url + str(number) for number in wanted]
        before = self.logins()
        self.run(argv)
        assert self.logins() == before + 1
        self.seen |= {uidls[number] for number in wanted}


    def logins(self):
        return len(re.findall(r"pop3-login.*Log(in|ged in): ",
                              self.one.log()))


PROGRAMS = {"fetchmail": Fetchmail, "getmail": Getmail, "mpop": Mpop,
            "curl": Curl}


def device(one, name, keep, user="alice"):
    return PROGRAMS[name](one, name, keep, user)
