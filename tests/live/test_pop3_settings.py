# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Dovecot's own POP3 settings beside ours, and nothing configured."""

import re

import pytest

import common
import dovecot
import mails
import pop3
import pop3_steps as steps

KEEP = {"retention_pop3_delete": "keep"}


def extra(**settings):
    return "".join("%s = %s\n" % (
        name, value if re.fullmatch(r"\w+", value) else '"%s"' % value)
        for name, value in settings.items())


def uidl_format(name):
    """One that both series know, in the words of the series at hand."""
    names = {"uid": ("%u%v", "%{uid}%{uidvalidity}"),
             "guid": ("%g", "%{guid}")}
    return extra(pop3_uidl_format=names[name][dovecot.IS_24])


def filled(server, driver, text, count=4, settings=None):
    one = server(driver, settings=KEEP if settings is None else settings,
                 extra=text)
    one.fill(mails.small_corpus(count))
    return one


def refused(one, user="alice"):
    """What the log says of a login that is refused."""
    with pop3.Pop3(one.pop3_port, user, login=False) as client:
        client.command("USER", user)
        answer = client.ask("PASS", "test")
        # On some servers the session is refused after the login.
        rest = b"" if not answer.ok else client.read_to_end()
        assert not answer.ok or rest.startswith(b"-ERR")
    pattern = re.compile(r"pop3.*(Error|Fatal): .*contradicts.*")
    found = dovecot.poll(lambda: pattern.search(one.log()), 10)
    one.expect_error("contradicts")
    return found.group(0)


# -- settings of Dovecot's

@pytest.mark.parametrize("delete", ("keep", "archive"))
def test_flag_of_the_administrator(server, driver, delete):
    """pop3_deleted_flag for other reasons: what has it is hidden, as ever;
    DELE hides by our own keyword, and does not set the other."""
    one = filled(server, driver, extra(pop3_deleted_flag="$Spam"),
                 settings={"retention_pop3_delete": delete})
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"UID STORE 2 +FLAGS ($Spam)")
        client.logout()
    assert len(steps.session(one, delete=(1,), retr=False)) == 3
    assert steps.having(one, b"$Spam") == [2]
    if delete == "keep":
        assert steps.hidden(one) == [1]
    else:
        assert sorted(steps.flags(one)) == [2, 3, 4]
    assert len(steps.uidls(one)) == 2
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"UID STORE 2 -FLAGS ($Spam)")
        client.logout()
    assert len(steps.uidls(one)) == 3


def test_flag_of_the_administrator_and_expunge(server, driver):
    """With retention_pop3_delete = expunge, DELE is Dovecot's own: it sets
    the administrator's flag. What was hidden before stays hidden."""
    one = filled(server, driver, "")
    steps.session(one, delete=(1,), retr=False)
    one.extra = extra(pop3_deleted_flag="$Spam")
    one.settings = {}
    one.reload()
    assert len(steps.session(one, delete=(1,), retr=False)) == 3
    assert steps.having(one, b"$Spam") == [2]
    assert steps.hidden(one) == [1]
    assert len(steps.uidls(one)) == 2


def test_flag_updates(server, driver):
    """Without pop3_no_flag_updates RETR sets \\Seen, also of a message that
    is then deleted: it stays for IMAP."""
    one = server(driver, settings=KEEP, extra=extra(pop3_no_flag_updates="no"))
    one.fill([common.letter(0, b"()", index) for index in range(4)])
    with steps.connect(one) as client:
        client.retr(1)
        client.retr(2)
        client.dele(2)
        client.dele(3)
        client.quit()
    pop3.wait_until_idle(one)
    assert steps.flags(one) == {
        1: {b"\\Seen", steps.DOWNLOADED},
        2: {b"\\Seen", steps.DOWNLOADED, steps.HIDDEN},
        3: {steps.HIDDEN}, 4: set()}


def test_saved_uidls(server):
    """pop3_save_uidl: the UIDL that a client was told once stays, also when
    the format changes."""
    one = filled(server, "maildir", extra(pop3_save_uidl="yes") +
                 uidl_format("uid"))
    told = steps.session(one, delete=(2,))
    one.extra = extra(pop3_save_uidl="yes") + uidl_format("guid")
    one.reload()
    assert steps.uidls(one) == [list(told)[index] for index in (0, 2, 3)]


def test_reused_xuidl(server, driver):
    """pop3_reuse_xuidl: the UIDL is the header's, whoever is hidden."""
    one = server(driver, settings=KEEP, extra=extra(pop3_reuse_xuidl="yes"))
    one.fill([mails.Message(b"X-UIDL: old-%d\r\nSubject: %d\r\n\r\nbody\r\n" %
                            (index, index), mails.TODAY, b"()", None)
              for index in range(4)])
    assert list(steps.session(one, delete=(2,))) == [
        b"old-%d" % index for index in range(4)]
    assert steps.uidls(one) == [b"old-0", b"old-2", b"old-3"]


def test_renamed_duplicates(server, driver):
    """pop3_uidl_duplicates = rename counts what is visible."""
    one = server(driver, settings=KEEP, extra=extra(
        pop3_reuse_xuidl="yes", pop3_uidl_duplicates="rename"))
    one.fill([mails.Message(b"X-UIDL: same\r\nSubject: %d\r\n\r\nbody\r\n" %
                            index, mails.TODAY, b"()", None)
              for index in range(3)])
    first = steps.uidls(one)
    assert len(set(first)) == 3
    steps.session(one, delete=(3,))
    assert steps.uidls(one) == first[:2]


def test_last(server, driver):
    """pop3_enable_last: LAST and RSET, which clears \\Seen and commits, work
    on what is visible and neither hide nor confirm anything."""
    one = server(driver, settings=KEEP, extra=extra(
        pop3_enable_last="yes", pop3_no_flag_updates="no"))
    one.fill([common.letter(0, b"()", index) for index in range(4)])
    steps.session(one, delete=(1,), retr=False)
    with steps.connect(one) as client:
        assert client.command("LAST").line.split()[1] == b"0"
        client.retr(2)
        client.dele(3)
        assert client.command("LAST").line.split()[1] == b"2"
        client.command("RSET")
        assert client.command("LAST").line.split()[1] == b"0"
        client.drop()
    pop3.wait_until_idle(one)
    assert steps.flags(one) == {1: {steps.HIDDEN}, 2: set(), 3: set(),
                                4: set()}


# -- contradictions

CONTRADICTIONS = {
    "keep-expunge": ({"retention_pop3_delete": "keep"},
                     {"pop3_delete_type": "expunge"},
                     ("retention_pop3_delete=keep",
                      "pop3_delete_type=expunge")),
    "archive-expunge": ({"retention_pop3_delete": "archive"},
                        {"pop3_delete_type": "expunge"},
                        ("retention_pop3_delete=archive",
                         "pop3_delete_type=expunge")),
    "archive-flag": ({"retention_pop3_delete": "archive"},
                     {"pop3_delete_type": "flag",
                      "pop3_deleted_flag": "$Spam"},
                     ("retention_pop3_delete=archive",
                      "pop3_delete_type=flag")),
    "leave-flag": ({"retention_pop3_leave_time": "14d"},
                   {"pop3_deleted_flag": "$Spam"},
                   ("retention_pop3_leave_time=", "pop3_deleted_flag=$Spam")),
    "same-keyword": ({"retention_pop3_delete": "keep"},
                     {"pop3_deleted_flag": "$RetentionPOP3Retrieved"},
                     ("retention_pop3_delete=keep",
                      "pop3_deleted_flag=$RetentionPOP3Retrieved")),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions(server, name):
    """Settings that contradict each other are refused at POP3's login, by an
    error that names both; IMAP goes on."""
    settings, theirs, named = CONTRADICTIONS[name]
    one = filled(server, "maildir", extra(**theirs), settings=settings)
    error = refused(one)
    for word in named:
        assert word in error
    assert len(steps.flags(one)) == 4


@pytest.mark.parametrize("settings, theirs", (
    (KEEP, {"pop3_delete_type": "flag", "pop3_deleted_flag": "$Spam"}),
    (KEEP, {"pop3_deleted_flag": "$RetentionPOP3Deleted"}),
    ({"retention_pop3_leave_time": "14d"}, {"pop3_delete_type": "expunge"}),
))
def test_no_contradiction(server, settings, theirs):
    """What goes together is not refused, and DELE hides, or expunges."""
    one = filled(server, "maildir", extra(**theirs), settings=settings)
    steps.session(one, delete=(1,))
    assert len(steps.uidls(one)) == 3


# -- nothing configured

def dialogue(port, user="alice"):
    """Every byte of a session with all commands, good and bad ones."""
    with pop3.Pop3(port, user) as client:
        for line in ("CAPA", "STAT", "LIST", "UIDL", "LAST", "NOOP", "LIST 2",
                     "UIDL 3", "LIST 99", "UIDL 0", "RETR 1", "RETR 99",
                     "TOP 2 0", "TOP 3 5", "TOP 2", "TOP x y", "DELE 2",
                     "DELE 2", "RETR 2", "LIST", "UIDL", "STAT", "RSET",
                     "STAT", "DELE 4", "DELE 99", "XYZZY", "", "retr 3",
                     "capa", "DELE 1"):
            client.ask(line)
        client.pipeline(["STAT", "UIDL", "RETR 2", "CAPA", "LIST"])
        client.quit()
        return client.received()


def test_dialogue_is_the_same(server, driver):
    """Without settings of ours a session is byte for byte the same with the
    plugin and without it; and leaves nothing behind but what Dovecot does."""
    theirs = extra(pop3_no_flag_updates="no")
    stock = server(driver, plugins=(), extra=theirs)
    stock.fill(mails.small_corpus(6))
    one = server(driver, extra=theirs, start=False)
    common.copy_tree(stock.home(), one.home())
    one.start()
    for _ in range(2):
        told = []
        for which in (stock, one):
            told.append(dialogue(which.pop3_port))
            pop3.wait_until_idle(which)
        # The greeting may tell a time.
        begin = [text.index(b"\r\n") for text in told]
        assert told[0][begin[0]:] == told[1][begin[1]:]
    assert steps.flags(stock) == steps.flags(one)
    assert not steps.OURS & set().union(*steps.flags(one).values())
    assert steps.remove_files(one, lambda name: name == steps.LOG or
                              "retention" in name) == 0


# -- UIDLs of messages that are moved away and back

# Which formats keep a message's UIDL on the way to the archive and back.
SURVIVES = {
    ("uid", "maildir"): False, ("uid", "sdbox"): False,
    ("uid", "mdbox"): False,
    ("guid", "maildir"): True, ("guid", "sdbox"): True,
    ("guid", "mdbox"): True,
}


@pytest.mark.parametrize("name, driver", SURVIVES)
def test_uidl_after_archive_and_back(server, driver, name):
    """A message that was archived, compressed and moved back to INBOX has
    the UIDL that it had, if the format makes that possible: then no client
    that remembers UIDLs downloads it again."""
    one = server(driver, rules={"inbox": common.ARCHIVE},
                 extra=uidl_format(name))
    one.fill([common.letter(days, index=days) for days in (100, 0, 200)])
    uidls = steps.uidls(one)
    before = steps.session(one)
    one.retention("run")
    assert steps.uidls(one) == [uidls[1]]
    assert common.compressed_count(one) == 2
    for days in (100, 200):
        mailbox = "Archive/" + common.year(days)
        one.doveadm("move", "-u", "alice", "INBOX", "mailbox", mailbox, "all")
    after = steps.session(one)
    assert sorted(after.values()) == sorted(before.values())
    assert after[uidls[1]] == before[uidls[1]]
    assert (after == before) == SURVIVES[name, driver]
