# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Messages such as mailboxes have them, the same for the same seed."""

import base64
import email.utils
import quopri
import random
import re
import time

CHUNK = 64 * 1024
DAY = 24 * 60 * 60
# The last midnight in UTC: messages are so and so many days older.
TODAY = int(time.time()) // DAY * DAY

WORDS = (
    "archive mailbox message server storage quota report meeting invoice "
    "please find attached the minutes of our last call and let me know "
    "whether tomorrow at ten works for you regards thanks again budget "
    "figures second quarter draft contract review comments delivery order "
    "number customer address change password reset newsletter holiday"
).split()
NON_ASCII = ("Grüße aus Köln", "Ćao, šta ima?", "Привет, как дела", "日本語の件名",
             "Ελληνικά γράμματα", "naïve café", "مرحبا بالعالم")


def text(rng, size):
    """Lines of words, at least size bytes of them."""
    out = []
    total = 0
    while total < size:
        line = " ".join(rng.choices(WORDS, k=rng.randint(4, 14)))
        out.append(line)
        total += len(line) + 2
    return "\r\n".join(out).encode() + b"\r\n"


def random_base64(rng, size):
    """An attachment that no codec makes smaller."""
    return base64.encodebytes(rng.randbytes(size)).replace(b"\n", b"\r\n")


def compressible_base64(rng, size):
    rows = b"".join(b"%08d;%08d;0.00;ok\n" % (i, rng.randint(0, 99))
                    for i in range(size // 26 + 1))
    return base64.encodebytes(rows[:size]).replace(b"\n", b"\r\n")


def _header(rng, index, date, subject, more=b""):
    sender = rng.choice(WORDS)
    lines = [
        "Return-Path: <%s@example.org>" % sender,
        "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])" %
        (index % 9, index % 9, index % 250),
        "\tby mail.example.org with ESMTPS id %08x" % rng.getrandbits(32),
        "\tfor <alice@example.org>; %s" % email.utils.formatdate(date),
        "Date: %s" % email.utils.formatdate(date),
        "From: %s <%s@example.org>" % (sender.title(), sender),
        "To: Alice <alice@example.org>",
        "Message-ID: <%d.%08x@example.org>" % (index, rng.getrandbits(32)),
        "Subject: %s" % subject,
    ]
    return "\r\n".join(lines).encode() + b"\r\n" + more


def _subject(rng):
    return " ".join(rng.choices(WORDS, k=rng.randint(2, 7)))


def plain(rng, index, date):
    return (_header(rng, index, date, _subject(rng)) + b"\r\n" +
            text(rng, rng.choice((60, 400, 2500, 9000))))


def html(rng, index, date):
    rows = b"".join(
        b"<tr><td style=\"padding:4px;font:12px sans-serif\">%s</td>"
        b"<td>%d</td></tr>\r\n" % (rng.choice(WORDS).encode(), i)
        for i in range(rng.randint(20, 300)))
    return (_header(rng, index, date, _subject(rng),
                    b"MIME-Version: 1.0\r\n"
                    b"Content-Type: text/html; charset=utf-8\r\n") +
            b"\r\n<html><body><table>\r\n" + rows +
            b"</table></body></html>\r\n")


def alternative(rng, index, date):
    mark = b"=_alt_%d" % index
    body = rng.choice(NON_ASCII) * 20
    encoded = quopri.encodestring(body.encode()).replace(b"\n", b"\r\n")
    return (_header(rng, index, date, _subject(rng),
                    b"MIME-Version: 1.0\r\nContent-Type: "
                    b"multipart/alternative;\r\n\tboundary=\"" + mark +
                    b"\"\r\n") +
            b"\r\nThis is a multi-part message.\r\n--" + mark +
            b"\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded +
            b"\r\n--" + mark + b"\r\nContent-Type: text/html\r\n\r\n<p>" +
            text(rng, 900) + b"</p>\r\n--" + mark + b"--\r\n")


def _attached(rng, index, date, data):
    mark = b"=_mix_%d" % index
    return (_header(rng, index, date, _subject(rng),
                    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; "
                    b"boundary=\"" + mark + b"\"\r\n") +
            b"\r\n--" + mark + b"\r\nContent-Type: text/plain\r\n\r\n" +
            text(rng, 300) + b"\r\n--" + mark +
            b"\r\nContent-Type: application/octet-stream; name=\"a.bin\"\r\n"
            b"Content-Transfer-Encoding: base64\r\nContent-Disposition: "
            b"attachment; filename=\"a.bin\"\r\n\r\n" + data + b"\r\n--" +
            mark + b"--\r\n")


def attachment(rng, index, date):
    size = rng.choice((3000, 40000, 150000))
    return _attached(rng, index, date, compressible_base64(rng, size))


def attachment_random(rng, index, date):
    size = rng.choice((3000, 30000, 90000))
    return _attached(rng, index, date, random_base64(rng, size))


def headers_8bit(rng, index, date):
    """Raw UTF-8 and Latin-1 where RFC 5322 wants ASCII."""
    subject = rng.choice(NON_ASCII)
    body = ("\r\n".join(rng.choices(NON_ASCII, k=30))).encode()
    return (_header(rng, index, date, subject,
                    b"X-Latin: " + "Überraschung".encode("latin-1") +
                    b"\r\n") + b"\r\n" + body + b"\r\n" +
            bytes(range(0x80, 0x100)) + b"\r\n")


def encoded_headers(rng, index, date):
    word = base64.b64encode(rng.choice(NON_ASCII).encode()).decode()
    return (_header(rng, index, date, "=?utf-8?B?%s?=" % word) + b"\r\n" +
            text(rng, 500))


def long_lines(rng, index, date):
    line = " ".join(rng.choices(WORDS, k=3000)).encode()
    return (_header(rng, index, date, _subject(rng)) + b"\r\n" + line +
            b"\r\n" + b"x" * rng.choice((998, 70000, 140001)) + b"\r\n")


def bare_lf(rng, index, date):
    """Line ends without CR, in the body and in the header."""
    return (_header(rng, index, date, _subject(rng)) + b"\r\n" +
            text(rng, 800)).replace(b"\r\n", b"\n")


def odd_line_ends(rng, index, date):
    """CR without LF, mixed ends and no end at all."""
    return (_header(rng, index, date, _subject(rng)) + b"\r\n" +
            b"one\rtwo\r\nthree\nfour\r\n\r\n\n" + text(rng, 700) +
            b"last \rline without an end")


def empty_body(rng, index, date):
    return _header(rng, index, date, _subject(rng)) + b"\r\n"


def no_header(rng, index, date):
    return b"\r\n" + text(rng, 500)


def header_only(rng, index, date):
    """No empty line after the header."""
    return _header(rng, index, date, _subject(rng))


def nested(rng, index, date):
    inner = alternative(rng, index + 100000, date)
    mark = b"=_fwd_%d" % index
    return (_header(rng, index, date, "Fwd: " + _subject(rng),
                    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; "
                    b"boundary=\"" + mark + b"\"\r\n") + b"\r\n--" + mark +
            b"\r\nContent-Type: message/rfc822\r\n\r\n" + inner +
            b"\r\n--" + mark + b"\r\nContent-Type: message/rfc822\r\n\r\n" +
            plain(rng, index + 200000, date) + b"\r\n--" + mark + b"--\r\n")


def broken_mime(rng, index, date):
    """A boundary that is never closed, and an unknown encoding."""
    return (_header(rng, index, date, _subject(rng),
                    b"Content-Type: multipart/mixed; boundary=\"b\"\r\n") +
            b"\r\n--b\r\nContent-Transfer-Encoding: x-unknown\r\n\r\n" +
            text(rng, 1500))


def tiny(rng, index, date):
    return rng.choice((b"a: b\r\n\r\nc\r\n", b"\r\n", b"x"))


def filled(rng, index, date, size):
    """A message of exactly size bytes with LF line ends."""
    head = (_header(rng, index, date, _subject(rng)) + b"\r\n").replace(
        b"\r\n", b"\n")
    body = text(rng, 2 * size).replace(b"\r\n", b"\n")
    out = (head + body)[:size - 1] + b"\n"
    assert len(out) == size
    return out


def chunk_edge(rng, index, date):
    """As long as one or more chunks of the stored stream, give or take."""
    size = rng.choice((1, 2, 3)) * CHUNK + rng.choice((-1, 0, 1))
    return filled(rng, index, date, size)


def big(rng, index, date):
    data = (random_base64(rng, 1 << 20) + compressible_base64(rng, 1 << 21))
    return _attached(rng, index, date, data)


KINDS = (
    (plain, 30), (html, 14), (alternative, 12), (attachment, 6),
    (attachment_random, 5), (headers_8bit, 4), (encoded_headers, 6),
    (long_lines, 2), (bare_lf, 4), (odd_line_ends, 3), (empty_body, 3),
    (no_header, 2), (header_only, 1), (nested, 3), (broken_mime, 2),
    (tiny, 2), (chunk_edge, 2),
)
# What can be delivered through LMTP without being changed on the way:
# smtplib ends lines with CRLF.
LMTP_KINDS = (plain, html, alternative, attachment, encoded_headers, nested)


class Message:
    """body: bytes; received: INTERNALDATE in seconds; flags: as in APPEND."""

    def __init__(self, body, received, flags, kind):
        self.body = body
        self.received = received
        self.flags = flags
        self.kind = kind

    def stored(self):
        """The bytes as IMAP shows them: Dovecot stores LF for CRLF and gives
        CR to each LF that has none."""
        return re.sub(rb"(?<!\r)\n", b"\r\n",
                      self.body.replace(b"\r\n", b"\n"))


def make(kind, index, seed=1, received=None):
    rng = random.Random("%s-%d-%d" % (kind.__name__, index, seed))
    if received is None:
        age = rng.choice((1, 20, 80, 100, 200, 400, 900, 2000))
        received = TODAY - age * DAY - rng.randint(0, DAY)
    flags = rng.choice((b"()", b"(\\Seen)", b"(\\Seen \\Answered)",
                        b"(\\Flagged)", b"(\\Seen $Forwarded)",
                        b"(\\Draft \\Seen)"))
    return Message(kind(rng, index, received), received, flags, kind)


def corpus(count, seed=1, with_big=2):
    """count messages of mixed kinds; with_big of them of some megabytes."""
    rng = random.Random(seed)
    kinds = [kind for kind, _ in KINDS]
    weights = [weight for _, weight in KINDS]
    out = []
    for index in range(count - with_big):
        # Each kind at least once, then by weight.
        kind = (kinds[index] if index < len(kinds)
                else rng.choices(kinds, weights)[0])
        out.append(make(kind, index, seed))
    out += [make(big, count + index, seed) for index in range(with_big)]
    rng.shuffle(out)
    return out


def small_corpus(count, seed=1):
    """Quick to store: nothing above some ten kilobytes."""
    kinds = (plain, html, alternative, nested, headers_8bit, bare_lf)
    return [make(kinds[index % len(kinds)], index, seed)
            for index in range(count)]
