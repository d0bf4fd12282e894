# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Compressing in place changes nothing that a client can see."""

import os

import common
import dump
import imap
import mails

MESSAGES = 1000
BY_LMTP = 24


def fill(one, count=MESSAGES):
    one.fill(mails.corpus(count - BY_LMTP))
    one.lmtp([mails.make(mails.LMTP_KINDS[index % len(mails.LMTP_KINDS)],
                         90000 + index).body for index in range(BY_LMTP)])


def remove_caches(one):
    for folder, _, names in os.walk(one.home()):
        for name in names:
            if name == "dovecot.index.cache":
                os.unlink(os.path.join(folder, name))


def test_compress_is_invisible(server, driver):
    """1000 messages look the same over IMAP, POP3 and doveadm after their
    stored bytes were compressed; a client in IDLE and one that asks for
    changes since a MODSEQ (RFC 7162) hear nothing; dropping Dovecot's cache
    or rebuilding the indexes does not change that."""
    one = server(driver, rules={"all": common.COMPRESS})
    fill(one)
    before = dump.mailbox(one), dump.pop3(one)
    assert len(before[0]["messages"]) == MESSAGES
    plain_bytes = one.stored_bytes()
    modseq = before[0]["status"]["HIGHESTMODSEQ"]

    with one.imap() as idler, one.imap() as asker:
        idler.select("INBOX", b"(CONDSTORE)")
        asker.command(b"ENABLE QRESYNC")
        asker.select("INBOX")
        idler.idle()
        one.retention("run")
        assert idler.done() == []
        assert idler.command(b"NOOP").untagged == []
        assert asker.command(b"NOOP").untagged == []
        changed = asker.command(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE " +
                                modseq + b" VANISHED)")
        assert changed.untagged == []

    # Most messages got smaller; those of random data were left alone.
    assert common.compressed_count(one) > MESSAGES * 0.7
    assert one.stored_bytes() < plain_bytes * 0.8
    assert one.temp_files() == []
    dump.assert_same(before[0], dump.mailbox(one))
    dump.assert_same(before[1], dump.pop3(one))

    # Without the cache, the save date of a message that was left alone is
    # its file's ctime, as ever; that of one that was compressed is kept.
    remove_caches(one)
    after = dump.mailbox(one)
    dump.assert_same(dump.without(before[0], "SAVEDATE", "date.saved"),
                     dump.without(after, "SAVEDATE", "date.saved"))
    kept = [uid for uid, message in before[0]["messages"].items()
            if after["messages"][uid]["SAVEDATE"] == message["SAVEDATE"]]
    assert len(kept) >= common.compressed_count(one)
    dump.assert_same(before[1], dump.pop3(one))

    # Rebuilding the index counts MODSEQ on, with and without the plugin.
    one.expect_error("Rebuilding|rebuil|Recreat")
    one.doveadm("force-resync", "-u", "alice", "INBOX")
    loose = ("SAVEDATE", "date.saved", "MODSEQ", "HIGHESTMODSEQ")
    dump.assert_same(dump.without(before[0], *loose),
                     dump.without(dump.mailbox(one), *loose))
    assert dump.pop3(one)["RETR"] == before[1]["RETR"]


def test_second_run_does_nothing(server, driver):
    """A run over a mailbox that was compressed already writes no message
    again, the ones that do not shrink included."""
    one = server(driver, rules={"all": common.COMPRESS})
    one.fill(mails.corpus(120, with_big=1))
    one.retention("run")
    files = {path: (os.stat(path).st_ino, os.stat(path).st_mtime_ns)
             for path in one.mail_files()}
    one.retention("run")
    assert files == {path: (os.stat(path).st_ino, os.stat(path).st_mtime_ns)
                     for path in one.mail_files()}


def test_search_and_sort_read_compressed(server, driver):
    """SEARCH BODY, SEARCH TEXT, SORT and THREAD give the same answers; COPY
    out of a compressed mailbox gives a message that is the same."""
    one = server(driver, rules={"all": common.COMPRESS})
    one.fill(mails.corpus(150, with_big=0))
    queries = (b'UID SEARCH BODY "invoice"', b'UID SEARCH TEXT "holiday"',
               'UID SEARCH CHARSET UTF-8 BODY {%d+}\r\nGrüße'.encode()
               .replace(b"%d", b"%d" % len("Grüße".encode())),
               b"UID SORT (SUBJECT SIZE) UTF-8 ALL",
               b"UID SORT (FROM REVERSE DATE) UTF-8 LARGER 3000",
               b"UID THREAD REFERENCES UTF-8 ALL")

    def answers():
        remove_caches(one)
        with one.imap() as client:
            client.select("INBOX")
            return [client.command(query).untagged for query in queries]

    before = answers()
    assert any(len(data) > 0 for _, _, data in before[0])
    one.retention("run")
    assert answers() == before

    with one.imap() as client:
        client.create("Copies")
        original = dump.bodies(client, "INBOX")
        client.select("INBOX")
        client.command(b"UID COPY 1:*", imap.quote("Copies"))
        copied = dump.bodies(client, "Copies")
    assert [body for _, body in copied] == [body for _, body in original]
