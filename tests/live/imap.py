# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""A small IMAP client that shows what the server really sent.

imaplib knows neither MULTIAPPEND, non-synchronising literals, IDLE nor the
untagged responses that a test wants to see (or not to see), so the tests talk
IMAP themselves: every response is parsed into atoms (bytes), strings (bytes)
and lists, and nothing is thrown away.
"""

import socket
import time

TIMEOUT_SECS = 60


class ImapError(Exception):
    """The server answered NO or BAD, or closed the connection."""


class Result:
    """The tagged answer and the untagged responses before it."""

    def __init__(self, status, text, untagged):
        self.status = status
        self.text = text
        self.untagged = untagged

    def fetches(self):
        """FETCH responses, merged by UID (by sequence number without UID)."""
        merged = {}
        for kind, number, data in self.untagged:
            if kind == "FETCH":
                key = int(data["UID"]) if "UID" in data else number
                merged.setdefault(key, {}).update(data)
        return merged

    def of(self, kind):
        return [data for got, _, data in self.untagged if got == kind]


def parse(buf, pos=0):
    """Parse one value at pos; returns (value, position after it)."""
    first = buf[pos:pos + 1]
    if first == b"(":
        return _parse_list(buf, pos + 1)
    if first == b'"':
        return _parse_quoted(buf, pos + 1)
    if first == b"{" or buf[pos:pos + 2] == b"~{":
        start = buf.index(b"{", pos) + 1
        end = buf.index(b"}", start)
        size = int(buf[start:end].rstrip(b"+"))
        data = end + 3
        return buf[data:data + size], data + size
    return _parse_atom(buf, pos)


def _parse_list(buf, pos):
    values = []
    while buf[pos:pos + 1] != b")":
        if buf[pos:pos + 1] == b" ":
            pos += 1
            continue
        value, pos = parse(buf, pos)
        values.append(value)
    return values, pos + 1


def _parse_quoted(buf, pos):
    out = bytearray()
    while buf[pos:pos + 1] != b'"':
        if buf[pos:pos + 1] == b"\\":
            pos += 1
        out += buf[pos:pos + 1]
        pos += 1
    return bytes(out), pos + 1


def _parse_atom(buf, pos):
    start = pos
    brackets = 0
    while pos < len(buf):
        char = buf[pos:pos + 1]
        if char == b"[":
            brackets += 1
        elif char == b"]":
            brackets -= 1
        elif char in b"\r\n" or (brackets <= 0 and char in b" )"):
            break
        pos += 1
    atom = buf[start:pos]
    return (None if atom == b"NIL" else atom), pos


def parse_all(buf):
    values = []
    pos = 0
    end = len(buf)
    while pos < end:
        if buf[pos:pos + 1] in (b" ", b"\r", b"\n"):
            pos += 1
            continue
        value, pos = parse(buf, pos)
        values.append(value)
    return values


def _pairs(values):
    return {values[i].decode().upper(): values[i + 1]
            for i in range(0, len(values) - 1, 2)}


def quote(name):
    """A mailbox name or other string as a quoted string."""
    if isinstance(name, str):
        name = encode_mailbox(name)
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def encode_mailbox(name):
    """Modified UTF-7 (RFC 3501, 5.1.3)."""
    out = []
    pending = ""

    def flush():
        nonlocal pending
        if pending != "":
            coded = pending.encode("utf-16-be")
            import binascii
            b64 = binascii.b2a_base64(coded).rstrip(b"\n=")
            out.append(b"&" + b64.replace(b"/", b",") + b"-")
            pending = ""

    for char in name:
        if 0x20 <= ord(char) <= 0x7e:
            flush()
            out.append(b"&-" if char == "&" else char.encode())
        else:
            pending += char
    flush()
    return b"".join(out)


class Imap:
    def __init__(self, port, user="alice", password="test", login=True):
        self.sock = socket.create_connection(("127.0.0.1", port),
                                             timeout=TIMEOUT_SECS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()
        self.tag = 0
        self.idle_tag = None
        self.greeting = self._read_response()
        if login:
            self.command(b"LOGIN", quote(user), quote(password))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def logout(self):
        self.command(b"LOGOUT")
        self.close()

    # -- reading

    def _fill(self):
        data = self.sock.recv(1 << 18)
        if data == b"":
            raise ImapError("connection closed; read so far: %r" %
                            bytes(self.buf[-200:]))
        self.buf += data

    def _take(self, size):
        while len(self.buf) < size:
            self._fill()
        data = bytes(self.buf[:size])
        del self.buf[:size]
        return data

    def _readline(self):
        start = 0
        while True:
            end = self.buf.find(b"\n", start)
            if end >= 0:
                return self._take(end + 1)
            start = len(self.buf)
            self._fill()

    def _read_response(self):
        """One whole response with its literals, as raw bytes."""
        parts = []
        while True:
            line = self._readline()
            parts.append(line)
            stripped = line.rstrip(b"\r\n")
            if not stripped.endswith(b"}"):
                return b"".join(parts)
            size = stripped[stripped.rfind(b"{") + 1:-1]
            if not size.isdigit():
                return b"".join(parts)
            parts.append(self._take(int(size)))

    @staticmethod
    def _parse_untagged(raw):
        rest = raw[2:]
        word, _, tail = rest.partition(b" ")
        word = word.strip()
        if word.isdigit():
            kind, _, data = tail.partition(b" ")
            kind = kind.strip().decode().upper()
            if kind == "FETCH":
                return kind, int(word), _pairs(parse(data)[0])
            return kind, int(word), None
        kind = word.decode().upper()
        if kind in ("OK", "NO", "BAD", "BYE", "PREAUTH"):
            return kind, None, tail.strip().decode("utf-8", "replace")
        return kind, None, parse_all(tail)

    def read_untagged(self):
        """Wait for one untagged response."""
        return self._parse_untagged(self._read_response())

    # -- commands

    def send(self, *args):
        """Send a command; bytes go out as they are, Literal as a literal."""
        self.tag += 1
        tag = b"t%d" % self.tag
        out = [tag]
        for arg in args:
            out.append(b" ")
            out.append(arg)
        out.append(b"\r\n")
        self.sock.sendall(b"".join(out))
        return tag

    def wait(self, tag, check=True):
        untagged = []
        while True:
            raw = self._read_response()
            if raw.startswith(b"* "):
                untagged.append(self._parse_untagged(raw))
            elif raw.startswith(tag + b" "):
                status, _, text = raw[len(tag) + 1:].partition(b" ")
                result = Result(status.decode(),
                                text.strip().decode("utf-8", "replace"),
                                untagged)
                if check and result.status != "OK":
                    raise ImapError("%s %s" % (result.status, result.text))
                return result
            elif not raw.startswith(b"+"):
                raise ImapError("unexpected response: %r" % raw[:200])

    def command(self, *args, check=True):
        return self.wait(self.send(*args), check=check)

    def select(self, mailbox, params=b"", check=True):
        args = [b"SELECT", quote(mailbox)]
        if params != b"":
            args.append(params)
        return self.command(*args, check=check)

    def create(self, mailbox):
        return self.command(b"CREATE", quote(mailbox))

    def fetch(self, uids, items, check=True):
        """UID FETCH; returns {uid: {item: value}}."""
        return self.command(b"UID FETCH", to_set(uids), items,
                            check=check).fetches()

    def search(self, query=b"ALL"):
        result = self.command(b"UID SEARCH", query)
        return [int(uid) for data in result.of("SEARCH") for uid in data]

    def status(self, mailbox, items):
        data = self.command(b"STATUS", quote(mailbox), items).of("STATUS")
        return _pairs(data[0][1])

    def append(self, mailbox, body, flags=b"()", date=None, check=True):
        return self.append_many(mailbox, [(body, flags, date)], check=check)

    def append_many(self, mailbox, messages, check=True):
        """MULTIAPPEND (RFC 3502) of (body, flags, date or None)."""
        args = [b"APPEND", quote(mailbox)]
        for body, flags, date in messages:
            args.append(flags)
            if date is not None:
                args.append(b'"' + internaldate(date) + b'"')
            args.append(literal(body))
        return self.command(*args, check=check)

    # -- IDLE (RFC 2177)

    def idle(self):
        self.idle_tag = self.send(b"IDLE")
        raw = self._read_response()
        while raw.startswith(b"* "):
            raw = self._read_response()
        if not raw.startswith(b"+"):
            raise ImapError("IDLE: %r" % raw)

    def done(self):
        """End IDLE; returns what the server had said meanwhile."""
        self.sock.sendall(b"DONE\r\n")
        return self.wait(self.idle_tag).untagged


def literal(data):
    """A non-synchronising literal (RFC 7888), binary if there are NULs."""
    if b"\0" in data:
        return b"~{%d+}\r\n" % len(data) + data
    return b"{%d+}\r\n" % len(data) + data


def internaldate(stamp):
    """Seconds since 1970 as an IMAP date-time in UTC."""
    months = ("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()
    tm = time.gmtime(stamp)
    return ("%02d-%s-%04d %02d:%02d:%02d +0000" %
            (tm.tm_mday, months[tm.tm_mon - 1], tm.tm_year, tm.tm_hour,
             tm.tm_min, tm.tm_sec)).encode()


def to_set(uids):
    if isinstance(uids, bytes):
        return uids
    if isinstance(uids, int):
        return b"%d" % uids
    return b",".join(b"%d" % uid for uid in uids)
