# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""A small POP3 client that shows what the server really sent.

poplib can neither pipeline commands nor be cut off in the middle of an answer,
and hides the bytes; so the tests talk POP3 themselves. Every byte received is
kept in transcript, together with what was sent.
"""

import socket
import struct
import time

TIMEOUT_SECS = 60

# Commands whose positive answer has many lines (RFC 1939, 5; RFC 2449, 5).
# LIST and UIDL have them only without an argument.
ALWAYS_MULTI = (b"CAPA", b"RETR", b"TOP")
MULTI_WITHOUT_ARGUMENT = (b"LIST", b"UIDL")


class Pop3Error(Exception):
    """The server answered -ERR, or closed the connection."""


def as_bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def is_multi(line):
    words = line.split()
    name = words[0].upper() if words else b""
    return (name in ALWAYS_MULTI or
            (name in MULTI_WITHOUT_ARGUMENT and len(words) == 1))


class Answer:
    """line: the status line without CRLF. data: what followed it up to the
    terminating dot, unstuffed, None if the answer has a single line."""

    def __init__(self, line, data=None):
        self.line = line
        self.data = data

    @property
    def ok(self):
        return self.line.startswith(b"+OK")

    def lines(self):
        return self.data.split(b"\r\n")[:-1]


class Pop3:
    """Connects, reads the greeting and logs in unless login=False."""

    def __init__(self, port, user="alice", password="test", login=True,
                 host="127.0.0.1"):
        self.sock = socket.create_connection((host, port),
                                             timeout=TIMEOUT_SECS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()
        # (b"C" or b"S", bytes) in the order of sending and receiving
        self.transcript = []
        self.greeting = self.read_line()
        if login:
            self.command("USER", user)
            self.command("PASS", password)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # -- bytes

    def send(self, data):
        self.transcript.append((b"C", bytes(data)))
        self.sock.sendall(data)

    def _receive(self):
        data = self.sock.recv(1 << 16)
        if data == b"":
            raise Pop3Error("connection closed")
        self.transcript.append((b"S", data))
        self.buf += data

    def read_line(self):
        """One line, without its CRLF."""
        start = 0
        while True:
            end = self.buf.find(b"\r\n", start)
            if end >= 0:
                line = bytes(self.buf[:end])
                del self.buf[:end + 2]
                return line
            start = max(len(self.buf) - 1, 0)
            self._receive()

    def read_multi(self):
        """The lines up to the terminating dot, joined, dots unstuffed."""
        start = 0
        while not self.buf.startswith(b".\r\n"):
            end = self.buf.find(b"\r\n.\r\n", start)
            if end >= 0:
                data = bytes(self.buf[:end + 2])
                del self.buf[:end + 5]
                break
            start = max(len(self.buf) - 4, 0)
            self._receive()
        else:
            data = b""
            del self.buf[:3]
        if data.startswith(b".."):
            data = data[1:]
        return data.replace(b"\r\n..", b"\r\n.")

    def read_to_end(self):
        """Everything until the server closes the connection."""
        try:
            while True:
                self._receive()
        except (Pop3Error, ConnectionResetError):
            pass
        rest = bytes(self.buf)
        self.buf.clear()
        return rest

    def received(self):
        """All bytes that the server has sent."""
        return b"".join(data for who, data in self.transcript if who == b"S")

    # -- commands

    @staticmethod
    def join(*words):
        return b" ".join(as_bytes(str(word) if isinstance(word, int)
                                  else word) for word in words)

    def read_answer(self, line):
        """The answer to a command line, -ERR or not."""
        status = self.read_line()
        if status.startswith(b"+OK") and is_multi(line):
            return Answer(status, self.read_multi())
        return Answer(status)

    def ask(self, *words):
        """Send a command and return its Answer, -ERR or not."""
        line = self.join(*words)
        self.send(line + b"\r\n")
        return self.read_answer(line)

    def command(self, *words):
        """As ask(), but -ERR raises Pop3Error."""
        answer = self.ask(*words)
        if not answer.ok:
            raise Pop3Error("%r: %r" % (self.join(*words), answer.line))
        return answer

    def pipeline(self, lines):
        """Send all the lines in one go, then read all answers."""
        lines = [as_bytes(line) for line in lines]
        self.send(b"".join(line + b"\r\n" for line in lines))
        return [self.read_answer(line) for line in lines]

    # -- what tests ask for

    def stat(self):
        """(number of messages, bytes)"""
        words = self.command("STAT").line.split()
        return int(words[1]), int(words[2])

    def count(self):
        return self.stat()[0]

    def list(self):
        """{message number: size}"""
        return {int(line.split()[0]): int(line.split()[1])
                for line in self.command("LIST").lines()}

    def uidl(self):
        """{message number: unique id}"""
        rows = (line.split(b" ", 1) for line in self.command("UIDL").lines())
        return {int(number): uidl for number, uidl in rows}

    def retr(self, number):
        return self.command("RETR", number).data

    def top(self, number, lines=0):
        return self.command("TOP", number, lines).data

    def dele(self, number):
        self.command("DELE", number)

    def capa(self):
        return self.command("CAPA").lines()

    def quit(self):
        """Returns the answer's line after the server closed the connection."""
        line = self.command("QUIT").line
        self.read_to_end()
        self.close()
        return line

    # -- ends

    def close(self):
        self.sock.close()

    def drop(self):
        """End the connection without QUIT: the server sees it at once."""
        self.sock.close()

    def reset(self):
        """End the connection with RST, whatever is under way."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()


def wait_until_idle(one, seconds=TIMEOUT_SECS):
    """Wait until the server has no pop3 process left that serves somebody: a
    session's work goes on when its client is gone already."""
    deadline = time.monotonic() + seconds
    while sessions(one):
        if time.monotonic() > deadline:
            raise AssertionError("a pop3 session does not end")
        time.sleep(0.01)


def sessions(one):
    """Process ids of the server's pop3 processes (not of the logins)."""
    import dovecot
    found = []
    for pid in dovecot.children(one.process.pid):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                name = file.read().split(b"\0")[0]
        except OSError:
            continue
        if name in (b"dovecot/pop3", b"pop3"):
            found.append(pid)
    return found
