# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""What happens when: each process's clock is put where the test wants it, and
stands still there."""

import time

import pytest

import common
import dovecot
import dump
import mails
import pop3
import pop3_steps as steps
import test_settings

DAY = mails.DAY
# Some time after the messages came into INBOX.
START = int(time.time()) + 3600


def filled(server, driver, count=4, **settings):
    one = server(driver, settings={
        "retention_pop3_" + name: value for name, value in settings.items()})
    one.fill(mails.small_corpus(count))
    return one


def places(one):
    """(UIDs in INBOX, number of archived messages)"""
    counts = common.counts(one)
    counts.pop("INBOX", None)
    assert all(name.startswith("Archive/") for name in counts)
    return sorted(steps.flags(one)), sum(counts.values())


def run(one, days, secs=0):
    steps.run_at(one, START + days * DAY + secs)


def move_back(one, stamp):
    """As a user does who wants a message in INBOX again."""
    for name in common.counts(one):
        if name != "INBOX":
            steps.doveadm_at(one, stamp, "move", "-u", "alice", "INBOX",
                             "mailbox", name, "all")


@pytest.mark.parametrize("action", ("archive", "expunge"))
def test_keep_time(server, driver, action):
    """What a client deleted goes once keep_time has passed since then, each
    message on its own day and not a second earlier; and nothing else."""
    one = filled(server, driver, delete="keep", keep_time="30d",
                 keep_action=action)
    archives = action == "archive"
    steps.session(one, delete=(1,), stamp=START)
    # Message 2 is now the first of the view.
    steps.session(one, delete=(1,), stamp=START + 5 * DAY)
    assert steps.hidden(one) == [1, 2]
    run(one, 30, -1)
    assert places(one) == ([1, 2, 3, 4], 0)
    run(one, 30)
    assert places(one) == ([2, 3, 4], archives)
    run(one, 35, -1)
    assert places(one) == ([2, 3, 4], archives)
    run(one, 35)
    assert places(one) == ([3, 4], 2 * archives)
    run(one, 3650)
    assert places(one) == ([3, 4], 2 * archives)
    assert len(steps.uidls(one)) == 2


@pytest.mark.parametrize("delete", ("expunge", "keep", "archive"))
def test_leave_time(server, driver, delete):
    """What was downloaded and left is treated as deleted once leave_time has
    passed since the first download."""
    one = filled(server, driver, delete=delete, leave_time="14d")
    with steps.SessionAt(one, START) as client:
        client.retr(1)
        client.retr(2)
        client.top(4, 10)
        client.quit()
    with steps.SessionAt(one, START + 3 * DAY) as client:
        client.retr(1)
        client.retr(3)
        client.quit()
    run(one, 14, -1)
    assert len(steps.uidls(one)) == 4
    run(one, 14)
    gone = {"expunge": ([3, 4], 0), "keep": ([1, 2, 3, 4], 0),
            "archive": ([3, 4], 2)}
    assert places(one) == gone[delete]
    assert len(steps.uidls(one)) == 2
    run(one, 17, -1)
    assert len(steps.uidls(one)) == 2
    run(one, 17)
    assert len(steps.uidls(one)) == 1
    run(one, 3650)
    gone = {"expunge": ([4], 0), "keep": ([1, 2, 3, 4], 0),
            "archive": ([4], 3)}
    assert places(one) == gone[delete]
    assert len(steps.uidls(one)) == 1


@pytest.mark.parametrize("driver, runs", zip(
    dovecot.DRIVERS, ((14, 24), (20, 24), (24,))))
def test_leave_time_then_keep_time(server, driver, runs):
    """keep_time counts from the day on which leave_time was over, whenever
    the run came by."""
    one = filled(server, driver, delete="keep", keep_time="10d",
                 leave_time="14d")
    with steps.SessionAt(one, START) as client:
        client.retr(2)
        client.quit()
    for days in runs[:-1]:
        run(one, days)
        assert steps.hidden(one) == [2]
    run(one, 24, -1)
    assert places(one) == ([1, 2, 3, 4], 0)
    assert steps.hidden(one) == [2]
    run(one, 24)
    assert places(one) == ([1, 3, 4], 1)


@pytest.mark.parametrize("delete", ("expunge", "keep", "archive"))
def test_leave_time_0(server, driver, delete):
    """A confirmed download counts as deleted at once, without any run; what
    was not downloaded, or not confirmed, stays."""
    one = filled(server, driver, delete=delete, leave_time="0")
    with steps.connect(one) as client:
        steps.download(client)
        client.drop()
    pop3.wait_until_idle(one)
    assert places(one) == ([1, 2, 3, 4], 0)
    with steps.connect(one) as client:
        assert client.count() == 4
        client.retr(1)
        client.retr(3)
        client.top(4, 99999)
        client.quit()
    pop3.wait_until_idle(one)
    gone = {"expunge": ([2, 4], 0), "keep": ([1, 2, 3, 4], 0),
            "archive": ([2, 4], 2)}
    assert places(one) == gone[delete]
    assert len(steps.uidls(one)) == 2
    if delete == "keep":
        assert steps.hidden(one) == [1, 3]


def test_archive_at_once(server, driver):
    """The session's end moves to the archive, bit by bit; the next run has
    it compressed there."""
    one = filled(server, driver, 6, delete="archive")
    before = dict(dump.account(one)["INBOX"])
    steps.session(one, delete=(1, 3, 4))
    assert places(one) == ([2, 5, 6], 3)
    one.retention("run")
    assert places(one) == ([2, 5, 6], 3)
    assert common.compressed_count(one) >= 3
    found = dump.count_bodies(dump.account(one), "Archive/")
    assert found == {before[uid]: 1 for uid in (1, 3, 4)}


def test_both_keep_actions_with_0(server, driver):
    """keep_time = 0 archives at once as well."""
    one = filled(server, driver, delete="keep", keep_time="0")
    steps.session(one, delete=(2,))
    one.retention("run")
    assert places(one) == ([1, 3, 4], 1)


def hidden_bodies(one):
    """mdbox without any index puts archived messages into INBOX."""
    inbox = dict(dump.account(one)["INBOX"])
    return {inbox[uid] for uid in steps.hidden(one)}


def test_clock_survives_index_loss(server, driver):
    """The log knows since when, also on the drivers that have the keywords
    nowhere else."""
    one = filled(server, driver, delete="keep", keep_time="30d",
                 leave_time="60d")
    bodies = dict(dump.account(one)["INBOX"])
    with steps.SessionAt(one, START) as client:
        client.dele(1)
        client.retr(2)
        client.quit()
    steps.lose_index(one)
    one.doveadm("force-resync", "-u", "alice", "INBOX")
    run(one, 30, -1)
    assert common.counts(one) == {"INBOX": 4}
    run(one, 30)
    inbox = {body for _, body in dump.account(one)["INBOX"]}
    assert inbox == set(bodies.values()) - {bodies[1]}
    steps.lose_index(one)
    one.doveadm("force-resync", "-u", "alice", "INBOX")
    run(one, 60, -1)
    assert bodies[2] not in hidden_bodies(one)
    run(one, 60)
    assert bodies[2] in hidden_bodies(one)


def test_lost_clock_starts_again(server, driver):
    """Index and log are lost: where the keyword is left, its time counts from
    the run that noticed, and where it is not, the message is as new. Never
    does anything go early."""
    one = filled(server, driver, delete="keep", keep_time="30d",
                 leave_time="60d")
    with steps.SessionAt(one, START) as client:
        client.dele(1)
        client.retr(2)
        client.quit()
    steps.lose_log(one)
    steps.lose_index(one)
    one.doveadm("force-resync", "-u", "alice", "INBOX")
    run(one, 100)
    assert common.counts(one) == {"INBOX": 4}
    if driver != "maildir":
        assert len(steps.uidls(one)) == 4
        run(one, 3650)
        assert common.counts(one) == {"INBOX": 4}
        return
    assert len(steps.uidls(one)) == 3
    run(one, 130, -1)
    assert places(one) == ([1, 2, 3, 4], 0)
    run(one, 130)
    assert places(one) == ([2, 3, 4], 1)
    run(one, 160, -1)
    assert steps.hidden(one) == []
    run(one, 160)
    assert steps.hidden(one) == [2]


def test_restored_message_starts_anew(server, driver):
    """A message that the user moves back to INBOX is not archived by the
    next run because of what POP3 did with it long ago."""
    one = filled(server, driver, delete="keep", keep_time="30d")
    steps.session(one, delete=(1,), stamp=START)
    run(one, 30)
    assert places(one) == ([2, 3, 4], 1)
    move_back(one, START + 40 * DAY)
    run(one, 40, 1)
    assert common.counts(one) == {"INBOX": 4}
    # Hidden as before: no POP3 client gets it twice.
    assert len(steps.uidls(one)) == 3
    run(one, 70, 0)
    assert common.counts(one) == {"INBOX": 4}
    run(one, 70, 1)
    assert common.counts(one)["INBOX"] == 3


@pytest.mark.parametrize("lost", (False, True))
@pytest.mark.parametrize("settings", (
    {"delete": "archive"}, {"delete": "archive", "leave_time": "0"}))
def test_restored_after_archive_at_once(server, driver, settings, lost):
    """What acts at once does not act again on what the user moved back, nor
    when the index is lost afterwards."""
    one = filled(server, driver, **settings)
    with steps.connect(one) as client:
        client.retr(1)
        client.dele(1)
        client.quit()
    pop3.wait_until_idle(one)
    assert places(one) == ([2, 3, 4], 1)
    move_back(one, START)
    if lost:
        steps.lose_index(one)
        one.doveadm("force-resync", "-u", "alice", "INBOX")
    run(one, 1)
    assert common.counts(one) == {"INBOX": 4}
    steps.session(one, retr=False)
    run(one, 50)
    assert common.counts(one) == {"INBOX": 4}


def test_keep_rule_beats_pop3(server, driver):
    """Flagged mail that a rule keeps is hidden, but neither archived nor
    expunged by what POP3 did."""
    one = server(driver, rules={
        "all": {"mailbox": "INBOX", "action": "keep", "age": "0"}},
        settings={"retention_pop3_delete": "keep",
                  "retention_pop3_keep_time": "10d"})
    one.fill(mails.small_corpus(2))
    steps.session(one, delete=(1,), stamp=START)
    run(one, 3650)
    assert places(one) == ([1, 2], 0)
    assert steps.hidden(one) == [1]


# -- EXPIRE

def pop3_fields(**settings):
    return ["retention_pop3_%s=%s" % item for item in settings.items()]


def rule_fields(**fields):
    return [test_settings.field("inbox", name, value)
            for name, value in fields.items()]


# What a user has, and what EXPIRE is to say.
EXPIRE = {
    "off": ([], b"NEVER"),
    "keep": (pop3_fields(delete="keep"), b"NEVER"),
    "archive": (pop3_fields(delete="archive"), b"NEVER"),
    "keepthenarchive": (pop3_fields(delete="keep", keep_time="30d"),
                        b"NEVER"),
    "keepthenexpunge": (pop3_fields(delete="keep", keep_time="30d",
                                    keep_action="expunge"), b"30"),
    "leave": (pop3_fields(delete="keep", leave_time="14d"), b"14"),
    "leavearchive": (pop3_fields(delete="archive", leave_time="7d"), b"7"),
    "leaveexpunge": (pop3_fields(leave_time="3d"), b"3"),
    "roundeddown": (pop3_fields(delete="keep", leave_time="47h"), b"1"),
    "notto0": (pop3_fields(delete="keep", leave_time="12h"), b"1"),
    "atonce": (pop3_fields(delete="keep", leave_time="0"), b"0"),
    "both": (pop3_fields(delete="keep", leave_time="40d", keep_time="30d",
                         keep_action="expunge"), b"30"),
    "rule": (rule_fields(age="90d"), b"90"),
    "rulefirst": (pop3_fields(delete="keep", leave_time="200d") +
                  rule_fields(age="90d"), b"90"),
    "leavefirst": (pop3_fields(delete="keep", leave_time="14d") +
                   rule_fields(age="90d"), b"14"),
    "expungerule": (rule_fields(age="60d", action="expunge"), b"60"),
    "compressrule": (rule_fields(age="1d", action="compress"), b"NEVER"),
    "keeprule": (rule_fields(age="0", action="keep"), b"NEVER"),
    "elsewhere": (rule_fields(age="5d", mailbox="Trash"), b"NEVER"),
    "everywhere": (rule_fields(age="5d", mailbox="*"), b"5"),
}


def test_capa_expire(server):
    """CAPA tells each user truly after how many days mail may go (RFC 2449,
    6.7), without changing anything else of the answer."""
    rule = {"mailbox": "INBOX", "action": "archive", "age": "unlimited"}
    one = server("maildir", rules={"inbox": rule},
                 users={name: fields for name, (fields, _) in EXPIRE.items()})
    stock = server("maildir", plugins=())
    with steps.connect(stock) as client:
        wanted = client.capa()
    assert not any(line.startswith(b"EXPIRE") for line in wanted)
    told = {}
    for name in EXPIRE:
        with steps.connect(one, name) as client:
            lines = client.capa()
            told[name] = [line for line in lines if line not in wanted]
            assert [line for line in lines if line in wanted] == wanted
            client.quit()
    assert told == {name: [b"EXPIRE " + days]
                    for name, (_, days) in EXPIRE.items()}
