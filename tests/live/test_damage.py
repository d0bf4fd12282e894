# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Stored bytes that are damaged."""

import os
import random
import re

import pytest

import common
import dump
import imap
import mails


def damage(path, how):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if how == "flipped":
        for offset in range(len(data) // 2, len(data) // 2 + 16):
            data[offset] ^= 0xff
    elif how == "cut at a chunk":
        # Behind the first chunk, where the codec sees no error.
        offset = data.index(common.LZ4_MAGIC) + 19
        del data[offset + 4 + int.from_bytes(data[offset:offset + 4],
                                             "big"):]
    elif how == "cut":
        del data[len(data) - 3000:]
    elif how == "huge chunk":
        offset = data.index(common.LZ4_MAGIC) + 19
        data[offset:offset + 4] = b"\x7f\xff\xff\xff"
    with open(path, "r+b") as file:
        file.truncate()
        file.write(data)


@pytest.mark.parametrize("how", ("flipped", "cut at a chunk", "cut",
                                 "huge chunk"))
def test_damaged_bytes(server, how):
    """A message whose stored bytes are damaged gives the client an error, and
    never a wrong body; the log names mailbox, UID and file; the other
    messages are read as before."""
    one = server("maildir", rules={"inbox": common.COMPRESS})
    big = common.letter(1, index=9)
    big.body = mails.text(random.Random(2), 300000)
    one.fill([common.letter(1), big, common.letter(1, index=2)])
    one.retention("run")
    assert common.compressed_count(one) == 3
    path = max(one.mail_files(), key=os.path.getsize)
    with one.imap() as client:
        good = dict(dump.bodies(client, "INBOX"))
    damage(path, how)
    one.expect_error("INBOX")
    one.expect_error(re.escape(os.path.basename(path)))
    seen = len(one.log())
    for _ in range(2):
        with one.imap() as client:
            client.command(b"EXAMINE INBOX")
            try:
                answer = client.command(b"UID FETCH 2 BODY.PEEK[]",
                                        check=False)
                assert answer.status != "OK" or (
                    dump.digest(answer.fetches()[2]["BODY[]"]) == good[2])
                assert answer.status != "OK"
            except imap.ImapError:
                # Closing the connection in the middle of a literal is the
                # only way to tell of an error there.
                pass
        with one.imap() as client:
            client.command(b"EXAMINE INBOX")
            got = client.fetch(b"1,3", b"(BODY.PEEK[])")
            assert {uid: dump.digest(fetch["BODY[]"])
                    for uid, fetch in got.items()} == {
                        uid: good[uid] for uid in (1, 3)}
    lines = [line for line in one.log()[seen:].splitlines()
             if "Error:" in line]
    assert any("INBOX" in line and "UID 2" in line.replace("=", " ") and
               os.path.basename(path) in line or
               "INBOX" in line and re.search(r"(?i)uid.?2\b", line) and
               os.path.basename(path) in line for line in lines), lines
    assert not common.is_damaged(one.log())


@pytest.mark.parametrize("dbox", ("sdbox", "mdbox"))
def test_damaged_dbox(server, dbox):
    """Flipped bytes in a dbox file likewise: an error for that message, with
    mailbox, UID and file in the log, and the others are still there."""
    one = server(dbox, rules={"inbox": common.COMPRESS})
    big = common.letter(1, index=9)
    big.body = mails.text(random.Random(2), 300000)
    one.fill([common.letter(1), common.letter(1, index=2), big])
    one.retention("run")
    path = max(one.mail_files(), key=os.path.getsize)
    with one.imap() as client:
        good = dict(dump.bodies(client, "INBOX"))
    damage(path, "flipped")
    one.expect_error("INBOX|" + re.escape(path) + "|dbox|storage")
    seen = len(one.log())
    with one.imap() as client:
        client.command(b"EXAMINE INBOX")
        try:
            answer = client.command(b"UID FETCH 3 BODY.PEEK[]", check=False)
            assert answer.status != "OK"
        except imap.ImapError:
            pass
    with one.imap() as client:
        client.command(b"EXAMINE INBOX")
        got = client.fetch(b"1,2", b"(BODY.PEEK[])")
        assert {uid: dump.digest(fetch["BODY[]"])
                for uid, fetch in got.items()} == {
                    uid: good[uid] for uid in (1, 2)}
    lines = [line for line in one.log()[seen:].splitlines()
             if "Error:" in line]
    assert any("INBOX" in line and re.search(r"(?i)uid.?3\b", line) and
               os.path.basename(path) in line for line in lines), lines
    assert not common.is_damaged(one.log())
