# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""What the measurements of bench.sh share.

What is compared is measured in turns, A B B A A B ..., so that a machine that
gets slower or faster meanwhile does so for both. Ratios are medians of the
ratios of such pairs.
"""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

# The live tests' server and messages serve here as well.
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TESTS, "live"))

import dovecot  # noqa: E402

QUICK = "quick" in sys.argv[2:]
STOCK = "mail_compress" if dovecot.IS_24 else "zlib"

results = []


def say(text=""):
    print(text, flush=True)


def result(what, reached, target, unit="x", at_most=True):
    good = reached <= target if at_most else reached >= target
    results.append((what, "%.2f %s" % (reached, unit),
                    "%s %.2f" % ("<=" if at_most else ">=", target),
                    "reached" if good else "MISSED"))
    say("  %-60s %8.2f %s  (target %s %.2f): %s" % (
        what, reached, unit, "at most" if at_most else "at least", target,
        results[-1][3]))


def median_ratio(first, second):
    return statistics.median(one / two for one, two in zip(first, second))


def timed(function, *args):
    start = time.monotonic()
    function(*args)
    return time.monotonic() - start


def in_turns(count, *functions):
    """Call the functions count times each, in turns; returns their values."""
    values = [[] for _ in functions]
    for i in range(count):
        order = list(enumerate(functions))
        for index, function in order if i % 2 == 0 else reversed(order):
            values[index].append(function())
    return values


def copy(source, target):
    subprocess.run(["rm", "-rf", target], check=True)
    subprocess.run(["cp", "-a", source, target], check=True)
    # what the kernel writes late is not to be paid by what comes next
    os.sync()


@contextlib.contextmanager
def serving(*servers):
    try:
        for one in servers:
            one.start()
        yield
    finally:
        for one in servers:
            one.stop()


def twin(one, plugins, **kwargs):
    """A server with other plugins for the same mail."""
    other = dovecot.Dovecot(one.driver, plugins=plugins, users=one.users,
                            **kwargs)
    shutil.rmtree(other.path("home"))
    os.symlink(one.path("home"), other.path("home"))
    return other


def complain(*servers):
    for one in servers:
        for line in one.errors()[:5]:
            say("  in the log: " + line)


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    kind = subprocess.run(["stat", "-f", "-c", "%T", "/tmp"], check=False,
                          stdout=subprocess.PIPE, text=True).stdout.strip()
    version = subprocess.run(["dovecot", "--version"], check=True,
                             stdout=subprocess.PIPE, text=True).stdout.strip()
    return "Dovecot %s, %d x %s, %s" % (version, os.cpu_count(), model, kind)


class Lmtp:
    """One connection, through which message after message is delivered."""

    def __init__(self, server):
        self.sock = socket.create_connection(("127.0.0.1", server.lmtp_port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")
        self.answer(b"220")
        self.sock.sendall(b"LHLO bench\r\n")
        self.answer(b"250")

    def answer(self, code):
        line = self.file.readline()
        while line[3:4] == b"-":
            line = self.file.readline()
        assert line.startswith(code), line

    def deliver(self, data):
        start = time.monotonic()
        for command, code in ((b"MAIL FROM:<a@example.org>\r\n", b"250"),
                              (b"RCPT TO:<anna>\r\n", b"250"),
                              (b"DATA\r\n", b"354"), (data, b"250")):
            self.sock.sendall(command)
            self.answer(code)
        return time.monotonic() - start

    def close(self):
        self.sock.close()
