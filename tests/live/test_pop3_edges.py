# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""The edges of the protocol, other sessions and runs meanwhile, and what
survives the loss of an index."""

import os
import re

import pytest

import common
import dovecot
import dump
import imap
import mails
import pop3
import pop3_steps as steps

KEEP = {"retention_pop3_delete": "keep"}
# So that every message that can be hidden or downloaded matters to a run.
TIMED = dict(KEEP, retention_pop3_keep_time="30d",
             retention_pop3_leave_time="60d")


def filled(server, driver, count=4, **kwargs):
    kwargs.setdefault("settings", KEEP)
    one = server(driver, **kwargs)
    one.fill(mails.small_corpus(count))
    return one


def changes(one):
    """What POP3 has done: (hidden, downloaded)."""
    pop3.wait_until_idle(one)
    return steps.hidden(one), steps.downloaded(one)


# -- the protocol

@pytest.mark.parametrize("end", ("drop", "reset"))
def test_without_quit_nothing_happens(server, driver, end):
    """"If a session terminates for some reason other than a client-issued
    QUIT command, the POP3 session does NOT enter the UPDATE state and MUST
    not remove any messages" (RFC 1939, 6): nothing is hidden then, and
    nothing counts as downloaded."""
    one = filled(server, driver)
    client = steps.connect(one)
    steps.download(client, delete=True)
    getattr(client, end)()
    assert changes(one) == ([], [])
    assert len(steps.session(one)) == 4


def test_cut_in_the_middle_of_retr(server, driver):
    """What was sent in part is no download, nor is what came before it."""
    one = server(driver, settings=KEEP)
    one.fill(mails.small_corpus(1) + [mails.make(mails.big, 1)])
    client = steps.connect(one)
    client.retr(1)
    client.dele(1)
    # The server reads QUIT only when it is rid of the message.
    client.send(b"RETR 2\r\nQUIT\r\n")
    assert client.read_line().startswith(b"+OK")
    for _ in range(50):
        client.read_line()
    client.reset()
    assert changes(one) == ([], [])
    assert len(steps.uidls(one)) == 2


def test_quit_without_reading_the_answers(server, driver):
    """A client that sends everything in one go and does not read on: only
    what has left the server can count."""
    one = server(driver, settings=KEEP)
    one.fill([mails.make(mails.big, 1)])
    client = steps.connect(one)
    client.send(b"RETR 1\r\nQUIT\r\n")
    client.read_line()
    client.reset()
    assert changes(one) == ([], [])


def test_dele_then_rset(server, driver):
    """RSET takes DELE back, not the download."""
    one = filled(server, driver)
    with steps.connect(one) as client:
        client.retr(1)
        client.dele(1)
        client.dele(2)
        client.command("RSET")
        assert client.count() == 4
        client.dele(3)
        client.quit()
    assert changes(one) == ([3], [1])
    assert len(steps.uidls(one)) == 3


def test_what_is_no_download(server, driver):
    """TOP, even of everything, LIST and UIDL are none, nor is \\Seen that
    IMAP sets."""
    one = filled(server, driver)
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"UID FETCH 1:2 BODY[]")
        client.logout()
    with steps.connect(one) as client:
        client.list()
        client.uidl()
        client.top(3, 0)
        client.top(4, 99999999)
        client.quit()
    assert changes(one) == ([], [])


@pytest.mark.parametrize("delete", ("expunge", "keep", "archive"))
def test_expunged_by_imap_meanwhile(server, driver, delete):
    """RETR of a message that IMAP has expunged is refused, or still answered
    where the driver has it; QUIT works all the same."""
    one = filled(server, driver, settings={
        "retention_pop3_delete": delete, "retention_pop3_keep_time": "30d"})
    with steps.connect(one) as client:
        uidls = client.uidl()
        assert len(uidls) == 4
        client.retr(1)
        with one.imap() as other:
            other.select("INBOX")
            other.command(b"UID STORE 2,3 +FLAGS.SILENT (\\Deleted)")
            other.command(b"UID EXPUNGE 2,3")
            other.logout()
        client.ask("RETR", 2)
        for number in (1, 2):
            client.dele(number)
        assert client.uidl()[4] == uidls[4]
        client.retr(4)
        client.quit()
    pop3.wait_until_idle(one)
    if delete == "keep":
        assert changes(one) == ([1], [1, 4])
    else:
        assert steps.flags(one).keys() == {4}
    assert steps.uidls(one) == [uidls[4]]


def test_hidden_messages_leave_no_gaps(server, driver):
    """Message numbers go from 1 to what STAT says, and every command knows
    the same messages."""
    one = filled(server, driver, 7)
    first = steps.session(one, delete=(1, 3, 4, 7), retr=False)
    left = [uidl for number, uidl in enumerate(first, 1)
            if number in (2, 5, 6)]
    with one.imap() as client:
        client.command(b"EXAMINE INBOX")
        bodies = client.fetch([2, 5, 6], b"(BODY.PEEK[])")
    with steps.connect(one) as client:
        assert list(client.uidl().values()) == left
        sizes = client.list()
        assert list(sizes) == [1, 2, 3]
        assert client.stat() == (3, sum(sizes.values()))
        for number, uid in enumerate((2, 5, 6), 1):
            body = bodies[uid]["BODY[]"]
            assert client.retr(number) == body
            assert client.command("LIST", number).line.split()[2] == \
                b"%d" % sizes[number]
            assert client.command("UIDL", number).line.split()[2] == \
                left[number - 1]
        assert not client.ask("RETR", 4).ok
        client.dele(2)
        client.quit()
    assert changes(one) == ([1, 3, 4, 5, 7], [2, 5, 6])


def test_everything_hidden(server, driver):
    """An empty view is an empty mailbox, not an error."""
    one = filled(server, driver)
    steps.session(one, delete=True)
    with steps.connect(one) as client:
        assert client.stat() == (0, 0)
        assert client.uidl() == {}
        assert client.list() == {}
        assert not client.ask("RETR", 1).ok
        client.quit()


def test_reset_shows_them_again(server, driver):
    """doveadm retention pop3 reset: all comes down once more."""
    one = filled(server, driver)
    first = steps.session(one, delete=True)
    one.doveadm("retention", "pop3", "reset", "-u", "alice", "uid", "2,3")
    assert changes(one) == ([1, 4], [1, 4])
    assert steps.uidls(one) == list(first)[1:3]
    one.doveadm("retention", "pop3", "reset", "-u", "alice", "all")
    assert changes(one) == ([], [])
    # Nor does the log bring it back.
    steps.lose_index(one)
    one.doveadm("force-resync", "-u", "alice", "INBOX")
    assert len(steps.session(one)) == 4


# -- other sessions, and runs

def test_two_sessions(server, driver):
    """Two at once: each keeps its view to its end, and both can delete."""
    one = filled(server, driver)
    with steps.connect(one) as first, steps.connect(one) as second:
        assert first.count() == second.count() == 4
        body = first.retr(1)
        for number in (1, 2):
            first.dele(number)
        first.quit()
        assert second.count() == 4
        assert second.retr(1) == body
        for number in (2, 3):
            second.dele(number)
        second.quit()
    assert changes(one) == ([1, 2, 3], [1])
    assert len(steps.uidls(one)) == 1


def test_run_during_a_session(server, driver):
    """A run leaves INBOX alone as long as there is a POP3 session, whatever
    is due there, and does the other mailboxes; the session notices nothing.
    The next run does the rest."""
    everywhere = dict(common.ARCHIVE, mailbox="*")
    one = server(driver, rules={"all": everywhere}, settings=TIMED)
    old = [common.letter(days, index=days) for days in (100, 200)]
    one.fill(old + [common.letter(0, index=9)])
    one.doveadm("mailbox", "create", "-u", "alice", "Lists")
    one.fill([common.letter(300)], "Lists")
    with steps.connect(one) as client:
        uidls = client.uidl()
        assert len(uidls) == 3
        one.retention("run")
        assert common.counts(one) == {
            "INBOX": 3, "Archive/" + common.year(300): 1}
        assert "INBOX is left to the next run" in one.log()
        assert client.uidl() == uidls
        for number, message in enumerate(old, 1):
            assert client.retr(number) == message.stored()
        client.dele(1)
        client.quit()
    pop3.wait_until_idle(one)
    one.retention("run")
    assert common.counts(one)["INBOX"] == 1
    assert steps.uidls(one) == [uidls[3]]


def test_several_sessions_and_a_run(server, driver):
    """The run waits for the last of them."""
    one = server(driver, rules={"inbox": common.ARCHIVE}, settings=TIMED)
    one.fill([common.letter(100)])
    with steps.connect(one) as first, steps.connect(one) as second:
        assert first.count() == second.count() == 1
        first.quit()
        one.retention("run")
        assert common.counts(one) == {"INBOX": 1}
        second.drop()
    pop3.wait_until_idle(one)
    one.retention("run")
    assert "INBOX" not in common.counts(one)


def test_pop3_lock_session(server, driver):
    """Dovecot's own lock: the second session is refused as ever, and a run
    respects it, also when another host's session holds it."""
    one = server(driver, rules={"inbox": common.ARCHIVE}, settings=TIMED,
                 extra="pop3_lock_session = yes\n")
    one.fill([common.letter(100), common.letter(0)])
    with steps.connect(one) as client:
        assert client.count() == 2
        path, = steps.session_locks(one)
        one.retention("run")
        assert common.counts(one) == {"INBOX": 2}
        client.quit()
    pop3.wait_until_idle(one)
    assert steps.session_locks(one) == []

    with open(path, "w", encoding="ascii") as file:
        file.write("%d:elsewhere.example.org" % os.getpid())
    os.chown(path, dovecot.MAIL_UID, dovecot.MAIL_UID)
    one.retention("run")
    assert common.counts(one) == {"INBOX": 2}
    os.unlink(path)
    one.retention("run")
    assert common.counts(one)["INBOX"] == 1
    assert steps.session_locks(one) == []
    assert len(steps.session(one)) == 1


# -- UIDLs, and what survives

def test_uidls_never_change(server, driver):
    """Neither by a run that archives and stamps, nor by loss of the caches,
    force-resync or other settings of ours."""
    one = server(driver, rules={"inbox": common.ARCHIVE}, settings=TIMED)
    one.fill([common.letter(days, index=days)
              for days in (100, 0, 200, 0, 0)])
    uidls = steps.uidls(one)
    assert len(set(uidls)) == 5
    wanted = [uidls[1], uidls[3], uidls[4]]
    one.retention("run")
    assert steps.uidls(one) == wanted
    steps.session(one, delete=(2,))
    wanted = [uidls[1], uidls[4]]
    one.retention("run")
    assert steps.uidls(one) == wanted
    assert steps.remove_files(one, re.compile(
        r"dovecot(\.map)?\.index\.cache").match) > 0
    assert steps.uidls(one) == wanted
    one.doveadm("force-resync", "-u", "alice", "INBOX")
    assert steps.uidls(one) == wanted
    one.settings = dict(TIMED, retention_pop3_delete="expunge")
    one.reload()
    assert steps.uidls(one) == wanted
    one.settings = {"retention_pop3_delete": "archive"}
    one.reload()
    assert steps.uidls(one) == wanted
    # Even without any setting, what is hidden stays hidden.
    one.settings = {}
    one.reload()
    assert steps.uidls(one) == wanted


def lost_by_dbox(one):
    """dbox does not look for its messages by itself."""
    if one.driver != "maildir":
        one.doveadm("force-resync", "-u", "alice", "INBOX")


def by_pop3(one):
    steps.session(one, retr=False)
    lost_by_dbox(one)


def by_imap(one):
    lost_by_dbox(one)
    steps.flags(one)


def by_run(one):
    lost_by_dbox(one)
    one.retention("run")


def by_resync(one):
    one.doveadm("force-resync", "-u", "alice", "INBOX")


def by_delivery(one):
    """In dbox the first one fails, as it finds a file in its way, and that
    makes Dovecot look for its messages."""
    one.expect_error("already exists, rebuilding index|rebuilding indexes|"
                     "Rebuilding index|fscking index file")
    try:
        one.fill([mails.make(mails.plain, 77)])
    except imap.ImapError:
        assert one.driver != "maildir"
        one.fill([mails.make(mails.plain, 77)])


@pytest.mark.parametrize("first", (by_pop3, by_imap, by_run, by_resync,
                                   by_delivery))
def test_index_lost(server, driver, first):
    """Whoever opens INBOX first after its index was lost: what was hidden
    is hidden in the very next session, what was downloaded is known, and
    nothing else is."""
    one = filled(server, driver, 6, settings=TIMED)
    bodies = {uid: body for uid, body in dump.account(one)["INBOX"]}
    with steps.connect(one) as client:
        for number in (1, 2, 5):
            client.retr(number)
        for number in (2, 3):
            client.dele(number)
        client.quit()
    assert changes(one) == ([2, 3], [1, 2, 5])
    hidden = {bodies[uid] for uid in (2, 3)}
    downloaded = {bodies[uid] for uid in (1, 2, 5)}

    steps.lose_index(one)
    first(one)
    seen = {dump.digest(body) for body in steps.session(one).values()}
    assert not seen & hidden
    assert seen >= set(bodies.values()) - hidden
    again = {uid: body for uid, body in dump.account(one)["INBOX"]}
    assert {again[uid] for uid in steps.hidden(one)} == hidden
    # This session has downloaded all that is visible.
    assert {again[uid] for uid in steps.downloaded(one)} >= downloaded


def test_index_lost_twice(server, driver):
    """The log that restores is itself kept up, also by what was restored."""
    one = filled(server, driver, 5, settings=TIMED)
    steps.session(one, delete=(1,), retr=False)
    for left in (4, 3, 2):
        steps.lose_index(one)
        by_resync(one)
        assert len(steps.session(one, delete=(1,), retr=False)) == left
    assert len(steps.hidden(one)) == 4


def test_log_lost(server, driver):
    """Without the log the keywords say it all."""
    one = filled(server, driver, settings=TIMED)
    steps.session(one, delete=(1, 2))
    steps.lose_log(one)
    assert len(steps.uidls(one)) == 2
    one.retention("run")
    steps.session(one, delete=(1,))
    assert len(steps.uidls(one)) == 1
    assert changes(one) == ([1, 2, 3], [1, 2, 3, 4])
