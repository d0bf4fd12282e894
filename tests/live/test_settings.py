# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Settings: per-user overrides, and what happens to broken ones."""

import smtplib

import pytest

import common
import dovecot
import dump
import imap
import mails
import pop3
import pop3_steps as steps

ARCHIVE = dict(common.ARCHIVE, age="90d")
OLD = mails.TODAY - 400 * mails.DAY


def field(rule, name, value):
    """The userdb field that sets one field of a rule."""
    if dovecot.IS_24:
        return "retention_rule/%s/retention_rule_%s=%s" % (rule, name, value)
    return "retention_rule_%s.%s=%s" % (rule, name, value)


def new_rule(all_names, name, **fields):
    """The userdb fields that add a rule for one user. all_names: the names
    of all rules that the user is to have."""
    out = [field(name, key, value) for key, value in fields.items()]
    if dovecot.IS_24:
        out.insert(0, "retention_rule=" + ",".join(all_names))
    return out


def mailboxes(one, user):
    """{mailbox: number of messages} of those that have some."""
    return {name: len(rows) for name, rows in
            dump.account(one, user).items()}


USERS = {
    "global": [],
    "adds": new_rule(["inbox", "own"], "own", mailbox="Lists",
                     action="archive", age="60d", age_from="received",
                     into="Kept/{mailbox}"),
    "changes": [field("inbox", "age", "36500d")],
    "off": [field("inbox", "age", "unlimited")],
    "elsewhere": ["retention_archive_mailbox=Old"],
    "flagged": [field("inbox", "keep_flagged", "yes")],
}


@pytest.mark.parametrize("userdb", ("passwd-file", "sql"))
def test_userdb_overrides(server, userdb):
    """From a passwd-file and from SQL alike, userdb can add a rule, change a
    field of a rule, switch a rule off and change a setting, for one user."""
    one = server("maildir", rules={"inbox": ARCHIVE}, users=USERS,
                 userdb=userdb)
    for user in USERS:
        with one.imap(user) as client:
            client.create("Lists")
        one.fill([mails.make(mails.plain, 1, received=OLD)], user=user)
        one.fill([mails.make(mails.plain, 2, received=OLD)], "Lists", user)
        with one.imap(user) as client:
            client.append("INBOX", mails.make(mails.plain, 3).body,
                          flags=b"(\\Flagged)", date=OLD)
    one.retention("run", "-A", user=None)
    archive = imap.internaldate(OLD).split(b"-")[2][:4].decode()
    archived = "Archive/" + archive
    assert mailboxes(one, "adds") == {archived: 2, "Kept/Lists": 1}
    wanted = {
        "global": {archived: 2, "Lists": 1},
        "changes": {"INBOX": 2, "Lists": 1},
        "off": {"INBOX": 2, "Lists": 1},
        "elsewhere": {"Old": 2, "Lists": 1},
    }
    for user, boxes in wanted.items():
        assert (user, mailboxes(one, user)) == (user, boxes)
    flagged = mailboxes(one, "flagged")
    # One of the two may be flagged by the generator; what was appended
    # with \Flagged stays.
    assert flagged["INBOX"] >= 1 and flagged["Lists"] == 1


@pytest.mark.skipif(dovecot.IS_24, reason="2.4 has no rules in one string")
def test_userdb_rule_in_one_string(server):
    """Dovecot 2.3: SQL, which can return spaces, may give a whole rule in one
    field."""
    text = dovecot.rule_23(dict(ARCHIVE, mailbox="Lists"))
    one = server("maildir", userdb="sql",
                 users={"alice": ["retention_rule_own=" + text]})
    with one.imap() as client:
        client.create("Lists")
    one.fill([mails.make(mails.plain, 2, received=OLD)], "Lists")
    one.retention("run")
    assert list(mailboxes(one, "alice")) != ["Lists"]


# Messages that a POP3 client has deleted, and has downloaded and left; nobody
# knows when, so that only what waits for nothing is due. What is then left in
# INBOX, and in the archive.
HIDDEN = "$RetentionPOP3Deleted"
DOWNLOADED = "$RetentionPOP3Retrieved"
# {user: (userdb fields, what is known of the messages left in INBOX after one
# was deleted and one downloaded, how many are in the archive)}
POP3_USERS = {
    "stock": ([], [""], 0),
    "keeps": (["retention_pop3_delete=keep",
               "retention_pop3_keep_time=infinite"],
              [HIDDEN, DOWNLOADED], 0),
    "archives": (["retention_pop3_delete=archive"], [DOWNLOADED], 1),
    "archives-all": (["retention_pop3_delete=archive",
                      "retention_pop3_leave_time=0"], [], 2),
    "archives-kept": (["retention_pop3_delete=keep",
                       "retention_pop3_keep_time=0"], [DOWNLOADED], 1),
    "hides": (["retention_pop3_delete=keep",
               "retention_pop3_leave_time=0"],
              [HIDDEN, HIDDEN + DOWNLOADED], 0),
    "expunges-left": (["retention_pop3_leave_time=0"], [], 0),
    "expunges-kept": (["retention_pop3_delete=keep",
                       "retention_pop3_keep_time=0",
                       "retention_pop3_keep_action=expunge",
                       "retention_minimum_age=0"], [DOWNLOADED], 0),
}
# The argument of EXPIRE (RFC 2449, 6.7), None if CAPA has none.
POP3_EXPIRE = {
    "none": ([], None),
    "never": (["retention_pop3_delete=keep"], "NEVER"),
    "left": (["retention_pop3_leave_time=30d"], "30"),
    "hours": (["retention_pop3_leave_time=36h",
               "retention_pop3_delete=archive"], "1"),
    "at-once": (["retention_pop3_leave_time=0"], "0"),
    "kept": (["retention_pop3_delete=keep", "retention_pop3_leave_time=2w",
              "retention_pop3_keep_time=10d",
              "retention_pop3_keep_action=expunge"], "10"),
}


def pop3_keywords(one, user):
    """What POP3 has done with the messages of INBOX, sorted."""
    with one.imap(user) as client:
        client.select("INBOX")
        rows = client.fetch(b"1:*", b"FLAGS").values()
    flags = [[str(flag, "ascii") for flag in row["FLAGS"]] for row in rows]
    return sorted("".join(word for word in (HIDDEN, DOWNLOADED)
                          if word in words) for words in flags)


@pytest.mark.parametrize("userdb", ("passwd-file", "sql"))
def test_userdb_overrides_pop3(server, userdb):
    """Every POP3 setting can be given for one user from a passwd-file and
    from SQL alike, unlimited in both of Dovecot's words. For users without any
    it is as ever."""
    one = server("maildir", userdb=userdb, users={
        user: fields for user, (fields, _, _) in POP3_USERS.items()})
    for user in POP3_USERS:
        one.fill([mails.make(mails.plain, index) for index in range(2)],
                 user=user)
        with steps.connect(one, user) as client:
            client.dele(1)
            client.retr(2)
            client.quit()
    pop3.wait_until_idle(one)
    one.retention("run", "-A", user=None)
    for user, (_, words, archived) in POP3_USERS.items():
        assert (user, pop3_keywords(one, user)) == (user, words)
        boxes = mailboxes(one, user)
        boxes.pop("INBOX", None)
        assert (user, sum(boxes.values())) == (user, archived)


@pytest.mark.parametrize("userdb", ("passwd-file", "sql"))
def test_userdb_overrides_are_announced(server, userdb):
    """CAPA tells each user's own EXPIRE, and none if nothing is set."""
    one = server("maildir", userdb=userdb, users={
        user: fields for user, (fields, _) in POP3_EXPIRE.items()})
    for user, (_, wanted) in POP3_EXPIRE.items():
        with one.pop3_raw(user) as client:
            told = [line.split()[1:] for line in client.capa()
                    if line.split()[0] == b"EXPIRE"]
            client.quit()
        assert (user, told) == (user, [] if wanted is None else
                                [[wanted.encode()]])


def bad_cases():
    """(userdb fields, words that the error must have)."""
    cases = [
        ([field("inbox", "age", "soon")], ["age", "soon"]),
        ([field("inbox", "action", "shred")], ["action", "shred",
                                               "archive"]),
        ([field("inbox", "age", "0")], ["age", "0"]),
        ([field("inbox", "mailbox", "\\Nosuch")], ["mailbox", "\\Nosuch"]),
        (["retention_archive_format=tar"],
         ["retention_archive_format", "tar", "dovecot"]),
        (["retention_archive_mailbox=Archive/{week}"],
         ["retention_archive_mailbox", "{week}"]),
        (["retention_compression_level=13"],
         ["retention_compression_level", "13", "12"]),
        (["retention_run_limit=101"], ["retention_run_limit", "101", "100"]),
        (["retention_minimum_age=banana"],
         ["retention_minimum_age", "banana"]),
        (new_rule(["inbox", "trash"], "trash", mailbox="Trash",
                  action="expunge", age="1h"), ["trash", "age", "1h"]),
        (["retention_pop3_delete=hide"],
         ["retention_pop3_delete=hide", "expunge, keep, archive"]),
        (["retention_pop3_keep_action=keep"],
         ["retention_pop3_keep_action=keep", "archive, expunge"]),
        (["retention_pop3_keep_time=ever"],
         ["retention_pop3_keep_time=ever", "30d", "unlimited"]),
        (["retention_pop3_leave_time=30"],
         ["retention_pop3_leave_time=30", "30d", "unlimited"]),
        (["retention_pop3_leave_time=-1d"],
         ["retention_pop3_leave_time=-1d", "30d", "unlimited"]),
        (["retention_pop3_leave_time=12h"],
         ["retention_pop3_leave_time=12h", "retention_pop3_delete=expunge",
          "retention_minimum_age = 1d"]),
        (["retention_pop3_delete=keep", "retention_pop3_keep_time=0",
          "retention_pop3_keep_action=expunge"],
         ["retention_pop3_keep_time=0", "retention_pop3_keep_action=expunge",
          "retention_minimum_age = 1d"]),
        (["retention_pop3_leave=30d"],
         ["retention_pop3_leave=30d", "retention_pop3_leave_time"]),
    ]
    if not dovecot.IS_24:
        # 2.4 ignores userdb fields that it does not know.
        cases += [
            (["retention_archve_mailbox=X"], ["retention_archve_mailbox"]),
            (["retention_rule_inbox.agee=1d"], ["agee", "age_from"]),
            (["retention_rule_inbox=mailbox"], ["retention_rule_inbox"]),
            (["retention_rule_empty="], ["retention_rule_empty",
                                         "mailbox"]),
        ]
    return cases


def can_use_imap(one, user):
    try:
        with one.imap(user) as client:
            return client.command(b"NOOP", check=False).status == "OK"
    except (imap.ImapError, OSError):
        return False


def can_use_pop3(one, user):
    try:
        with one.pop3_raw(user) as client:
            client.stat()
            return True
    except (pop3.Pop3Error, OSError):
        return False


def test_broken_override_is_refused_loudly(server):
    """A setting that is malformed or out of range for one user fails at that
    user's login and in doveadm, with an error that names the setting, its
    value and what is allowed. It does not stop delivery, and no rule is
    applied."""
    cases = bad_cases()
    users = {"user%d" % index: fields
             for index, (fields, _) in enumerate(cases)}
    users["good"] = []
    one = server("maildir", rules={"inbox": ARCHIVE}, users=users)
    one.expect_error("etention")
    body = mails.make(mails.plain, 1).body
    problems = []
    for index, (fields, words) in enumerate(cases):
        user = "user%d" % index
        seen = len(one.log())
        ran = one.retention("run", user=user, check=False)
        if ran.status == 0 or not all(word in ran.err for word in words):
            problems.append("doveadm, %s: %d %s" %
                            (fields, ran.status, ran.err))
        if can_use_imap(one, user):
            problems.append("IMAP login worked with %s" % fields)
        if can_use_pop3(one, user):
            problems.append("POP3 login worked with %s" % fields)
        try:
            dovecot.poll(lambda: any(
                all(word in line for word in words) and "Error:" in line
                for line in one.log()[seen:].splitlines()), 10)
        except AssertionError:
            problems.append("IMAP, %s: %s" % (fields, one.log()[seen:]))
        try:
            with smtplib.LMTP("127.0.0.1", one.lmtp_port,
                              timeout=60) as lmtp:
                lmtp.sendmail("a@example.org", [user], body)
        except smtplib.SMTPException as error:
            problems.append("LMTP, %s: %r" % (fields, error))
        if len(one.mail_files(user)) != 1:
            problems.append("LMTP, %s: nothing was delivered" % fields)
    assert problems == [], "\n".join(problems)
    one.lmtp([body], user="good")


def test_lda_delivers_with_a_broken_setting(server):
    """dovecot-lda delivers as well."""
    one = server("maildir", rules={"inbox": ARCHIVE},
                 users={"alice": ["retention_compression_level=99"]})
    one.expect_error("etention")
    one.lda(mails.make(mails.plain, 1).body)
    assert len(one.mail_files()) == 1


@pytest.mark.skipif(not dovecot.IS_24, reason="2.3 has no settings modules")
def test_doveconf_knows_the_settings(server):
    """Dovecot 2.4: doveconf lists our settings."""
    one = server("maildir", start=False, rules={"inbox": ARCHIVE},
                 settings={"retention_run_limit": "20"})
    printed = one.doveconf("-n").out
    for line in ("retention_rule inbox {", "action = archive", "age = 90d",
                 "mailbox = INBOX", "retention_run_limit = 20"):
        assert line in printed
    defaults = one.doveconf("-d").out
    for line in ("retention_archive_mailbox = Archive/{year}",
                 "retention_archive_format = dovecot",
                 "retention_compression_level =",
                 "retention_minimum_age = 1",
                 "retention_pop3_delete = expunge",
                 "retention_pop3_keep_time = unlimited",
                 "retention_pop3_keep_action = archive",
                 "retention_pop3_leave_time = unlimited",
                 "retention_run_limit = 0"):
        assert line in defaults


@pytest.mark.skipif(not dovecot.IS_24, reason="2.3 checks no settings")
@pytest.mark.parametrize("bad, words", (
    ("retention_rule x {\n  mailbox = A\n  action = shred\n  age = 1d\n}",
     ["action", "shred"]),
    ("retention_rule x {\n  mailbox = A\n  action = archive\n  age = 5\n}",
     ["age", "5"]),
    ("retention_rule x {\n  mailbox = A\n  action = archive\n  agee = 5d\n}",
     ["agee"]),
    ("retention_minimum_age = banana", ["retention_minimum_age", "banana"]),
    ("retention_compression_level = high", ["retention_compression_level",
                                            "high"]),
    ("retention_archve_mailbox = X", ["retention_archve_mailbox"]),
))
def test_doveconf_refuses_with_line_number(server, bad, words):
    """Dovecot 2.4: a value that cannot be parsed and an unknown setting are
    refused with file and line."""
    one = server("maildir", start=False, extra=bad)
    done = one.doveconf("-n", check=False)
    assert done.status != 0
    assert "line " in done.err
    for word in words:
        assert word in done.err


@pytest.mark.skipif(not dovecot.IS_24, reason="2.3 checks no settings")
@pytest.mark.parametrize("bad, words", (
    ("retention_rule x {\n  mailbox = A\n  action = expunge\n  age = 1h\n}",
     ["x", "age", "1h", "retention_minimum_age"]),
    ("retention_rule x {\n  action = archive\n  age = 1d\n}",
     ["x", "mailbox"]),
    ("retention_archive_format = tar", ["retention_archive_format", "tar",
                                        "dovecot"]),
    ("retention_compression_level = 13", ["retention_compression_level",
                                          "13", "12"]),
    ("retention_archive_mailbox = {year}", ["retention_archive_mailbox",
                                            "{year}"]),
    ("retention_run_limit = 101", ["retention_run_limit", "101"]),
    ("retention_pop3_delete = hide", ["retention_pop3_delete=hide",
                                      "expunge, keep, archive"]),
    ("retention_pop3_keep_action = none", ["retention_pop3_keep_action=none",
                                           "archive, expunge"]),
    ("retention_pop3_keep_time = ever", ["retention_pop3_keep_time=ever",
                                         "30d", "unlimited"]),
    ("retention_pop3_leave_time = 30", ["retention_pop3_leave_time=30",
                                        "30d", "unlimited"]),
    ("retention_pop3_leave_time = 1h", ["retention_pop3_leave_time=1h",
                                        "retention_minimum_age = 1d"]),
    ("retention_minimum_age = 60d\nretention_pop3_leave_time = 30d",
     ["retention_pop3_leave_time=30d", "retention_minimum_age = 60d"]),
    ("protocol pop3 {\n  retention_pop3_keep_time = 1h\n}\n"
     "retention_pop3_keep_action = expunge",
     ["retention_pop3_keep_time=1h", "retention_pop3_keep_action=expunge"]),
))
def test_doveconf_refuses_out_of_range(server, bad, words):
    """Dovecot 2.4: values that parse but are not allowed are refused, too."""
    one = server("maildir", start=False, extra=bad)
    done = one.doveconf("-n", check=False)
    assert done.status != 0
    for word in words:
        assert word in done.err


@pytest.mark.skipif(not dovecot.IS_24, reason="2.3 checks no settings")
@pytest.mark.parametrize("good", (
    "retention_pop3_delete = keep\n"
    "protocol pop3 {\n  retention_pop3_leave_time = 1h\n}",
    "retention_minimum_age = 0\nretention_pop3_leave_time = 1h",
    "retention_pop3_delete = %{user}\nretention_pop3_leave_time = 1h",
    "retention_pop3_keep_action = EXPUNGE\n"
    "retention_pop3_keep_time = %{user | length}d",
    "retention_pop3_leave_time = infinite",
    "retention_pop3_leave_time = 2 weeks",
))
def test_doveconf_checks_what_it_can_know(server, good):
    """Dovecot 2.4: a setting inside a block is checked with those around it,
    and one with variables is left until a user logs in."""
    one = server("maildir", start=False, extra=good)
    one.doveconf("-n")


@pytest.mark.skipif(dovecot.IS_24, reason="2.4 has no plugin section")
@pytest.mark.parametrize("settings, words", (
    ({"retention_rule_x": "mailbox=A action=archive"}, ["retention_rule_x",
                                                        "age"]),
    ({"retention_rule_x": "mailbox=A action=archive age=1d colour=red"},
     ["retention_rule_x", "colour", "min_size"]),
    ({"retention_rule_x": "mailbox=\"A action=archive age=1d"},
     ["retention_rule_x", "quote"]),
    ({"retention_archive": "X"}, ["retention_archive",
                                  "retention_archive_mailbox"]),
    ({"retention_compression_level": "0"},
     ["retention_compression_level", "0", "1", "12"]),
    ({"retention_archive_format": "dense"},
     ["retention_archive_format", "dense", "dovecot"]),
    ({"retention_pop3_delete": "hide"},
     ["retention_pop3_delete=hide", "expunge, keep, archive"]),
    ({"retention_pop3_keep_time": "ever"},
     ["retention_pop3_keep_time=ever", "30d", "unlimited"]),
    ({"retention_pop3_leave_time": "1h"},
     ["retention_pop3_leave_time=1h", "retention_minimum_age = 1d"]),
))
def test_broken_configuration_23(server, settings, words):
    """Dovecot 2.3, which checks nothing itself: a broken global setting fails
    at login and in doveadm, mail is still delivered."""
    one = server("maildir", settings=settings)
    one.expect_error("etention")
    ran = one.retention("status", check=False)
    assert ran.status != 0
    for word in words:
        assert word in ran.err
    assert not can_use_imap(one, "alice")
    with smtplib.LMTP("127.0.0.1", one.lmtp_port, timeout=60) as lmtp:
        lmtp.sendmail("a@example.org", ["alice"],
                      mails.make(mails.plain, 1).body)
    assert len(one.mail_files()) == 1


def test_nothing_configured_nothing_done(server, driver):
    """Without rules a run changes nothing and succeeds."""
    one = server(driver)
    one.fill(mails.small_corpus(10))
    before = dump.mailbox(one)
    one.retention("run")
    assert common.compressed_count(one) == 0
    dump.assert_same(before, dump.mailbox(one))
