# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""What the commands tell of POP3, and how they show messages to it again."""

import fcntl
import os
import time

import common
import dovecot
import mails
import pop3
import pytest

HIDDEN = b"$RetentionPOP3Deleted"
DOWNLOADED = b"$RetentionPOP3Retrieved"
KEEP = {"retention_pop3_delete": "keep", "retention_pop3_keep_time": "30d",
        "retention_pop3_leave_time": "60d"}


def letters(count):
    return [common.letter(10, index=index) for index in range(count)]


def filled(server, driver, count=4, settings=None, **kwargs):
    one = server(driver, settings=KEEP if settings is None else settings,
                 **kwargs)
    for user in one.users:
        one.fill(letters(count), user=user)
    return one


def session(one, retr=(), dele=(), user="alice"):
    """One POP3 session that downloads and deletes messages by number."""
    with one.pop3_raw(user) as client:
        for number in retr:
            client.retr(number)
        for number in dele:
            client.dele(number)
        client.quit()
    pop3.wait_until_idle(one)


def uidls(one, user="alice"):
    with one.pop3_raw(user) as client:
        found = list(client.uidl().values())
        client.quit()
    return found


def keywords(one, user="alice", mailbox="INBOX"):
    """{uid: the keywords that are ours}"""
    with one.imap(user) as client:
        client.select(mailbox)
        rows = client.fetch(b"1:*", b"FLAGS")
    return {uid: {flag for flag in row["FLAGS"]
                  if flag in (HIDDEN, DOWNLOADED)}
            for uid, row in rows.items()}


def store(one, uids, what, user="alice"):
    with one.imap(user) as client:
        client.select("INBOX")
        client.command(b"UID STORE", b",".join(b"%d" % uid for uid in uids),
                       what)


def lose_index(one, user="alice"):
    """Take away all that Dovecot can build anew from the mail."""
    one.stop()
    for folder, _, names in os.walk(one.mail_dir(user)):
        for name in names:
            if name.startswith("dovecot.index"):
                os.unlink(os.path.join(folder, name))
    one.expect_error("rebuil|index|Index|dbox")
    one.start()
    # dbox does not look for its mail by itself
    one.doveadm("force-resync", "-u", user, "INBOX")


def reset(one, *query, user="alice", options=(), **kwargs):
    """What doveadm retention pop3 reset has printed; with fmt="json", rows."""
    argv = ["-f", "json", "retention", "pop3", "reset"]
    if user is not None:
        argv += ["-u", user]
    return one.doveadm(*argv, *options, *query, **kwargs)


def numbers(ran):
    row, = ran.json()
    return int(row["matched"]), int(row["reset"]), int(row["shown"])


def explain(one, uid, days=0, mailbox="INBOX"):
    """{rule: row}, so many days later."""
    rows = common.later(one, days, "-f", "json", "retention", "explain",
                        "-u", "alice", mailbox, uid).json()
    return {row["rule"]: row for row in rows}


def seconds(date):
    return time.mktime(time.strptime(date, "%Y-%m-%d %H:%M:%S"))


# -- reset

def test_reset_shows_again(server, driver):
    """Hidden messages come back to the POP3 view with the UIDLs that they
    had, and their downloads are forgotten; what the query does not match, and
    all other flags, stay as they are."""
    one = filled(server, driver)
    before = uidls(one)
    store(one, [1], b"+FLAGS (\\Answered $Mine)")
    session(one, retr=(1, 2), dele=(1, 3))
    assert uidls(one) == [before[1], before[3]]

    ran = reset(one, "uid", "1")
    assert numbers(ran) == (1, 1, 1) and ran.err == ""
    assert uidls(one) == [before[0], before[1], before[3]]
    assert keywords(one) == {1: set(), 2: {DOWNLOADED}, 3: {HIDDEN}, 4: set()}
    with one.imap() as client:
        client.select("INBOX")
        flags = client.fetch(1, b"FLAGS")[1]["FLAGS"]
    assert {b"\\Answered", b"$Mine"} <= set(flags)

    assert numbers(reset(one, "all")) == (4, 2, 1)
    assert uidls(one) == before
    assert set().union(*keywords(one).values()) == set()
    assert numbers(reset(one, "all")) == (4, 0, 0)


def test_reset_starts_anew(server):
    """What was reset has no dates: when it is downloaded or deleted again, it
    counts from then."""
    one = filled(server, "sdbox")
    session(one, retr=(1,), dele=(2,))
    reset(one, "all")
    for uid in (1, 2):
        row = explain(one, uid, 100)["pop3"]
        assert (row["action"], row["due_now"], row["base"]) == ("-", "no", "-")
    start = int(time.time())
    session(one, dele=(1,))
    assert seconds(explain(one, 1)["pop3"]["base"]) >= start


def test_reset_outlives_the_index(server, driver):
    """What was reset is not hidden again when the index is lost, although the
    log of POP3 tells of the DELE as well."""
    one = filled(server, driver)
    session(one, dele=(1, 2, 3))
    assert numbers(reset(one, "uid", "1:2")) == (2, 2, 2)
    lose_index(one)
    assert len(uidls(one)) == 3


def test_reset_after_loss_of_the_index(server, driver):
    """The index is lost before the reset: all that POP3 has done is known
    again, and only what the query matches is reset."""
    one = filled(server, driver)
    session(one, dele=(1, 2, 3))
    lose_index(one)
    assert numbers(reset(one, "keyword", HIDDEN.decode(), "uid", "1")) == (
        1, 1, 1)
    assert len(uidls(one)) == 2
    assert sorted(keywords(one).values(), key=len) == [
        set(), set(), {HIDDEN}, {HIDDEN}]


def test_reset_queries(server):
    """The query is that of all doveadm commands. One that matches nothing says
    so; errors exit non-zero and name what is wrong."""
    one = filled(server, "maildir")
    session(one, dele=(1, 2, 3, 4))
    for query, expected in ((("uid", "1", "or", "uid", "2"), (2, 2, 2)),
                            (("not", "keyword", HIDDEN.decode()), (2, 0, 0)),
                            (("seen", "uid", "3"), (1, 1, 1)),
                            (("1:*", "sentbefore", "2000-01-01"), (0, 0, 0)),
                            (("mailbox", "INBOX", "uid", "4"), (1, 1, 1))):
        assert numbers(reset(one, *query)) == expected, query
    ran = reset(one, "uid", "99")
    assert "No message matches" in ran.err and "INBOX" in ran.err
    for options, query, words in (
            ((), ("nosuchkey",), ("nosuchkey",)),
            ((), (), ("retention pop3 reset",)),
            (("-m", "Nowhere"), ("all",), ("Nowhere",))):
        ran = reset(one, *query, options=options, check=False)
        assert ran.status != 0, query
        for word in words:
            assert word.lower() in (ran.err + ran.out).lower()
    assert reset(one, "all", user="nobody", check=False).status == 67


def test_reset_elsewhere(server, driver):
    """-m: messages that people have moved out of INBOX are reset where they
    are, and are visible when they come back."""
    one = filled(server, driver)
    with one.imap() as client:
        client.create("Work")
    session(one, dele=(1, 2, 3))
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"UID MOVE", b"1:2", b"Work")
    assert numbers(reset(one, "1", options=("-m", "Work"))) == (1, 1, 1)
    with one.imap() as client:
        client.select("Work")
        client.command(b"UID MOVE", b"1:2", b"INBOX")
    assert len(uidls(one)) == 2
    lose_index(one)
    assert len(uidls(one)) == 2


@pytest.mark.parametrize("extra", ["", "doveadm_worker_count = 2\n"])
def test_reset_for_many(server, extra):
    """-A, -F and wildcards; by doveadm itself, by doveadm-server and by its
    workers."""
    one = filled(server, "sdbox", users=("alice", "bob"), extra=extra)
    listed = one.path("users.txt")
    with open(listed, "w", encoding="ascii") as file:
        file.write("alice\nbob\n")
    socket = one.path("run", "doveadm-server")
    ways = [("-A",), ("-u", "*"), ("-S", socket, "-A")]
    if extra == "":
        # 2.3 does not pass the file on to its workers
        ways.append(("-F", listed))
    for options in ways:
        for user in one.users:
            session(one, dele=(1, 2), user=user)
        rows = reset(one, "all", user=None, options=options).json()
        assert {row["username"]: row["shown"] for row in rows} == {
            "alice": "2", "bob": "2"}, options
    session(one, dele=(1, 2))
    assert numbers(reset(one, "all", options=("-S", socket))) == (4, 2, 2)
    ran = reset(one, "uid", "99", options=("-S", socket))
    assert numbers(ran) == (0, 0, 0) and "No message matches" in ran.err
    table = one.doveadm("-f", "table", "retention", "pop3", "reset", "-u",
                        "alice", "all").out.splitlines()
    assert table[0].split() == ["mailbox", "matched", "reset", "shown"]


def test_reset_during_sessions(server):
    """A session that is open sees no change before its end; what it deletes is
    hidden after it."""
    one = filled(server, "maildir")
    session(one, dele=(1, 2))
    with one.pop3_raw() as client:
        assert client.count() == 2
        client.dele(1)
        assert numbers(reset(one, "all")) == (4, 2, 2)
        assert client.count() == 1
        client.quit()
    pop3.wait_until_idle(one)
    assert keywords(one) == {1: set(), 2: set(), 3: {HIDDEN}, 4: set()}


def test_reset_without_the_log(server):
    """The log can't be written: nothing is reset, and the same command does it
    all when the log can be written again."""
    one = filled(server, "maildir")
    session(one, dele=(1, 2))
    path = os.path.join(one.mail_dir(), "dovecot-retention-pop3")
    os.rename(path, path + ".old")
    os.mkdir(path)
    ran = reset(one, "all", check=False)
    assert ran.status == 75 and "dovecot-retention-pop3" in ran.err
    assert len(uidls(one)) == 2
    os.rmdir(path)
    os.rename(path + ".old", path)
    assert numbers(reset(one, "all")) == (4, 2, 2)


def test_reset_beside_a_run(server):
    """A run that is taking messages out of INBOX is waited for, but not for
    ever."""
    one = filled(server, "maildir")
    session(one, dele=(1, 2))
    with open(os.path.join(one.home(), "dovecot.retention.pop3.lock"),
              "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ran = reset(one, "all", check=False)
        assert ran.status == 75 and "run is in progress" in ran.err
        process = one.popen_doveadm("retention", "pop3", "reset", "-u",
                                    "alice", "all")
        time.sleep(0.3)
        assert process.poll() is None
    out, _ = process.communicate(timeout=dovecot.DEADLINE_SECS)
    assert process.returncode == 0 and "shown=2" in out


# -- status

def status(one, days=0):
    rows = common.later(one, days, "-f", "json", "retention", "status", "-u",
                        "alice").json()
    return {row["mailbox"]: row for row in rows}


def test_status_counts(server, driver):
    """Status tells how many messages POP3 clients have downloaded, and how
    many are hidden from POP3, at the end of what it has told before."""
    one = filled(server, driver)
    one.fill(letters(1), "Trash")
    session(one, retr=(1, 2), dele=(2, 3, 4))
    rows = status(one)
    inbox = rows["INBOX"]
    assert (inbox["messages"], inbox["downloaded"], inbox["hidden"]) == (
        "4", "2", "3")
    assert rows["Trash"]["downloaded"] == rows["Trash"]["hidden"] == "-"
    assert list(inbox)[-3:] == ["rule", "downloaded", "hidden"]


def test_status_next_due(server):
    """What is next may be due by the POP3 settings, or by a rule."""
    rule = dict(common.ARCHIVE, age="400d")
    one = filled(server, "maildir", rules={"old": rule})
    young = mails.TODAY - 10 * mails.DAY + mails.DAY // 2

    def next_due():
        row = status(one)["INBOX"]
        return row["rule"], seconds(row["next_due"])

    assert next_due() == ("old", young + 400 * mails.DAY)
    start = int(time.time())
    session(one, retr=(1,))
    name, due = next_due()
    end = int(time.time())
    assert name == "pop3"
    assert start <= due - 60 * mails.DAY <= end
    session(one, dele=(2,))
    name, due = next_due()
    assert name == "pop3"
    assert start <= due - 30 * mails.DAY <= int(time.time())


# -- explain

def test_explain_downloaded(server, driver):
    """A message that was downloaded and left on the server: since when, and
    when it is going to be hidden, to the second."""
    one = filled(server, driver)
    row = explain(one, 1)["pop3"]
    assert (row["action"], row["due_now"], row["from"], row["base"],
            row["due"]) == ("-", "no", "-", "-", "-")
    assert "not downloaded" in row["why"]
    start = int(time.time())
    session(one, retr=(1,))
    row = explain(one, 1)["pop3"]
    assert (row["action"], row["due_now"], row["from"]) == (
        "hide", "no", "downloaded")
    base = seconds(row["base"])
    assert start <= base <= time.time()
    assert seconds(row["due"]) == base + 60 * mails.DAY
    assert "left on the server" in row["why"] and row["base"] in row["why"]
    assert "not yet due" in row["why"]
    row = explain(one, 1, 61)["pop3"]
    assert (row["action"], row["due_now"]) == ("hide", "yes")
    assert "decides" in row["why"]
    assert explain(one, 2, 61)["pop3"]["due_now"] == "no"


def test_explain_hidden(server, driver):
    """A message that the client has deleted: hidden since when, and when what
    will happen."""
    one = filled(server, driver)
    start = int(time.time())
    session(one, retr=(1,), dele=(1,))
    row = explain(one, 1)["pop3"]
    assert (row["action"], row["due_now"], row["from"]) == (
        "archive", "no", "deleted")
    base = seconds(row["base"])
    assert start <= base <= time.time()
    assert seconds(row["due"]) == base + 30 * mails.DAY
    for words in ("hidden since " + row["base"], "downloaded"):
        assert words in row["why"]
    row = explain(one, 1, 31)["pop3"]
    assert (row["action"], row["due_now"]) == ("archive", "yes")
    assert "decides" in row["why"]


def test_explain_unknown_time(server):
    """Where the time is not known, the next run starts it."""
    one = filled(server, "sdbox")
    store(one, [1], b"+FLAGS (" + HIDDEN + b")")
    row = explain(one, 1, 100)["pop3"]
    assert (row["action"], row["due_now"], row["base"], row["due"]) == (
        "stamp", "yes", "-", "-")
    assert "next run" in row["why"]
    one.retention("run")
    row = explain(one, 1)["pop3"]
    assert (row["action"], row["due_now"]) == ("archive", "no")
    assert time.time() - seconds(row["base"]) < 600
    assert explain(one, 1, 31)["pop3"]["due_now"] == "yes"


def test_explain_beside_rules(server):
    """A keep rule beats what POP3 has in store; POP3 beats an archive rule
    that is due if it expunges; and the rows tell who decides."""
    rules = {"kept": {"mailbox": "INBOX", "action": "keep", "age": "0",
                      "keep_flagged": "yes"},
             "old": dict(common.ARCHIVE, age="20d")}
    settings = dict(KEEP, retention_pop3_keep_action="expunge")
    # Maildir takes the dates from files, whose clock is put forward as well
    one = server("sdbox", rules=rules, settings=settings)
    one.fill([common.letter(1, b"()", 1), common.letter(1, b"(\\Flagged)", 2)])
    session(one, dele=(1, 2))

    def told(uid, days):
        return {name: (row["due_now"], "decides" in row["why"])
                for name, row in explain(one, uid, days).items()}

    # the keep rule leaves flagged messages alone
    assert told(1, 31) == {"kept": ("yes", True), "old": ("yes", False),
                           "pop3": ("yes", False)}
    assert told(2, 31) == {"kept": ("no", False), "old": ("yes", False),
                           "pop3": ("yes", True)}
    assert told(2, 25) == {"kept": ("no", False), "old": ("yes", True),
                           "pop3": ("no", False)}
    assert explain(one, 2, 31)["pop3"]["action"] == "expunge"


def test_explain_without_settings(server):
    """Nothing is said of POP3 where it has nothing to do: without settings,
    and in other mailboxes."""
    one = filled(server, "maildir", settings={},
                 rules={"old": common.ARCHIVE})
    one.fill(letters(1), "Trash")
    assert set(explain(one, 1)) == {"old"}
    # it was set once, and the message is hidden still
    store(one, [1], b"+FLAGS (" + HIDDEN + b")")
    row = explain(one, 1)["pop3"]
    assert row["action"] == "-" and "kept for ever" in row["why"]
    assert set(explain(one, 1, mailbox="Trash")) == {"old"}


# -- run

@pytest.mark.parametrize("delete", ["keep", "archive", "expunge"])
def test_run_tells_of_pop3(server, delete):
    """-n tells what a run would do because of POP3, under the rule pop3; and
    the run tells how many messages it has hidden."""
    settings = dict(KEEP, retention_pop3_delete=delete)
    one = filled(server, "maildir", settings=settings)
    session(one, retr=(1, 2))
    action = {"keep": "hide"}.get(delete, delete)

    def planned(days):
        rows = common.run_later(one, days, "-n").out
        return rows

    assert "rule=pop3" not in planned(59)
    assert "mailbox=INBOX rule=pop3 action=%s messages=2" % action in \
        planned(61)
    out = common.run_later(one, 61).out
    assert out.rstrip().endswith("hidden=%d" % (2 * (delete == "keep")))
    if delete == "keep":
        assert len(uidls(one)) == 2 and common.counts(one) == {"INBOX": 4}
