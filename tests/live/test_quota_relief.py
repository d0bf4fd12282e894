# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Making room before mail is refused: retention_quota_relief."""

import os
import random
import re
import subprocess
import threading
import time

import pytest

import common
import imap
import mails
import pop3
import pop3_steps as steps
import quota
from test_quota_refuse import body, lmtp_answer

RELIEF = {"retention_quota_relief": "yes", "retention_quota_relief_target":
          "80"}
# Not due for a year, so that a normal run does nothing.
RULE = {"mailbox": "INBOX", "action": "archive", "age": "365d",
        "age_from": "received"}


def letter(index, days, flags=b"(\\Seen)"):
    """A message of some 20 kB that compresses well."""
    text = body(20, index)
    return text, flags, mails.TODAY - days * mails.DAY


def fill(one, ages, flags=b"(\\Seen)", start=0, mailbox="INBOX"):
    with one.imap() as client:
        for index, days in enumerate(ages):
            text, _, date = letter(start + index, days)
            client.append(mailbox, text, flags, date)
        client.logout()


def relief_lines(one):
    return [line for line in one.log().splitlines() if "relief: root=" in line]


def subjects(one, mailbox):
    with one.imap() as client:
        client.command(b"EXAMINE", imap.quote(mailbox))
        got = client.command(
            b"UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        client.logout()
    return sorted(int(re.search(rb"Subject: (\d+)", value).group(1))
                  for fetch in got.fetches().values()
                  for value in fetch.values()
                  if isinstance(value, bytes) and b"Subject" in value)


def archived(one):
    with one.imap() as client:
        names = [data[2].decode() for data in
                 client.command(b'LIST "" "Archive/*"').of("LIST")]
        client.logout()
    return sorted(number for name in names for number in subjects(one, name))


@pytest.mark.parametrize("relief", (False, True))
@pytest.mark.parametrize("way", ("lmtp", "append", "rcpt"))
def test_old_mail_makes_room(server, driver, relief, way):
    """A user at 99 % with old mail gets the message that Dovecot's own quota
    refuses. The oldest messages go first, no more than are needed, and nothing
    is expunged. rcpt: the mailbox is full, and RCPT already asks."""
    one = quota.make(server, driver, RELIEF if relief else {},
                     rules={"inbox": RULE}, storage="1M",
                     rcpt_check=way == "rcpt")
    ages = list(range(200, 151, -1))
    fill(one, ages)
    if way == "rcpt":
        fill(one, [3] * 2, start=100)
        one.extra = one.extra.replace("1M", "900k")
        one.reload()
    count = quota.reported(one)[1]
    if way == "append":
        with one.imap() as client:
            answer = client.append("INBOX", body(50, 1000), check=False)
            client.logout()
        good, refused = answer.status == "OK", answer.text[:11]
        assert good or refused == "[OVERQUOTA]"
    else:
        code, text = lmtp_answer(one, body(50, 1000))
        good = code == 250
        assert good or (code, text[:5]) == (552, "5.2.2")
    assert good == relief
    # Dovecot 2.4.1 with lmtp_rcpt_check_quota, whatever the quota
    one.expect_error("anvil")
    if not relief:
        one.expect_error("Quota exceeded")
        assert archived(one) == []
        return
    sums = quota.assert_exact(one)
    assert quota.reported(one)[1] == count + 1
    moved = archived(one)
    assert moved == list(range(len(moved))) and 0 < len(moved) < 49
    # down to the target, and not much further; at RCPT the size of the message
    # that comes then is not known
    limit, more = (900, 64) if way == "rcpt" else (1024, 1)
    assert limit * 0.7 < quota.reported(one)[0] <= limit * 0.8 + more
    assert sums["archive"][1] == len(moved)
    lines = relief_lines(one)
    assert len(lines) == 1 and "archived=%d" % len(moved) in lines[0]
    assert common.compressed_count(one) == len(moved)


def test_exemptions(server, driver):
    """Flagged, unseen and kept messages stay, and what is younger than
    retention_minimum_age; mailboxes without a rule are left alone."""
    rules = {"inbox": dict(RULE, keep_flagged="yes", keep_unseen="yes"),
             "work": {"mailbox": "Work", "action": "keep", "age": "0"},
             "works": dict(RULE, mailbox="Work"),
             "trash": {"mailbox": "Trash", "action": "expunge", "age": "11d",
                       "age_from": "received"}}
    one = quota.make(server, driver, dict(
        RELIEF, retention_minimum_age="10d"), rules=rules, storage="1M")
    with one.imap() as client:
        client.create("Work")
        client.create("Other")
        client.logout()
    fill(one, [300] * 6, b"(\\Flagged \\Seen)", 100)
    fill(one, [300] * 6, b"()", 200)
    fill(one, [8] * 6, start=300)
    fill(one, [300] * 6, start=400, mailbox="Work")
    fill(one, [300] * 6, start=500, mailbox="Other")
    fill(one, [300] * 3, start=600, mailbox="Trash")
    fill(one, [300] * 10, start=0)
    assert lmtp_answer(one, body(200, 1000))[0] == 250
    assert archived(one) == list(range(10))
    assert len(subjects(one, "Trash")) == 3
    assert len(subjects(one, "Work")) == 6
    assert len(subjects(one, "Other")) == 6
    quota.assert_exact(one)


def test_nothing_to_archive(server, driver):
    """With nothing to archive the refusal is Dovecot's own."""
    one = quota.make(server, driver, RELIEF, rules={"inbox": RULE},
                     storage="1M")
    fill(one, [0] * 49)
    code, text = lmtp_answer(one, body(100))
    assert (code, text[:5]) == (552, "5.2.2")
    with one.imap() as client:
        answer = client.append("INBOX", body(100), check=False)
        client.logout()
    assert answer.text.startswith("[OVERQUOTA]")
    assert archived(one) == [] and relief_lines(one) == []
    one.expect_error("Quota exceeded")


def test_not_enough(server, driver):
    """What can be archived is, but the message does not fit nevertheless."""
    one = quota.make(server, driver, RELIEF, rules={"inbox": RULE},
                     storage="1M")
    fill(one, [0] * 46)
    fill(one, [200] * 3, start=100)
    code, _ = lmtp_answer(one, body(400))
    assert code == 552
    assert len(archived(one)) == 3
    quota.assert_exact(one)
    one.expect_error("Quota exceeded")


@pytest.mark.parametrize("archive", ("none", "full", "root"))
def test_ways_to_count(server, driver, archive):
    """Where the archive does not count, or in a root of its own, archiving
    makes room, also for messages; where it counts in full it can't help."""
    settings = dict(RELIEF)
    if archive == "root":
        settings["retention_quota_archive_root"] = "Archive quota"
    else:
        settings["retention_quota_archive"] = archive
    one = quota.make(server, driver, settings, rules={"inbox": RULE},
                     storage="1M", messages=30,
                     archive_storage="50M" if archive == "root" else None)
    fill(one, range(260, 230, -1))
    code, _ = lmtp_answer(one, body(1, 1000))
    if archive == "full":
        assert code == 552 and archived(one) == []
        one.expect_error("Quota exceeded")
        return
    assert code == 250
    moved = archived(one)
    assert moved == list(range(len(moved))) and 7 <= len(moved) <= 9
    quota.assert_exact(one, archive="none" if archive == "none" else "stored",
                       split=archive == "root")


def test_run_limit(server, driver):
    """retention_run_limit holds: no more of a mailbox is archived."""
    one = quota.make(server, driver, dict(RELIEF, retention_run_limit="10"),
                     rules={"inbox": RULE}, storage="1M")
    fill(one, range(260, 211, -1))
    assert lmtp_answer(one, body(50, 1000))[0] == 250
    assert archived(one) == [0, 1, 2, 3]


def test_time_bound(server, driver):
    """retention_quota_relief_time ends it; what was done stays done."""
    one = quota.make(server, driver, dict(RELIEF,
                     retention_quota_relief_time="0"), rules={"inbox": RULE},
                     storage="1M")
    fill(one, range(260, 211, -1))
    assert lmtp_answer(one, body(50, 1000))[0] == 552
    assert len(archived(one)) < 49
    quota.assert_exact(one)
    one.expect_error("Quota exceeded")


def test_many_messages_in_one_append(server, driver):
    """MULTIAPPEND (RFC 3502): room is made in the middle of a transaction."""
    one = quota.make(server, driver, RELIEF, rules={"inbox": RULE},
                     storage="1M")
    fill(one, range(260, 222, -1))
    with one.imap() as client:
        answer = client.append_many("INBOX", [
            (body(30, 1000 + index), b"()", None) for index in range(12)],
            check=False)
        client.select("INBOX")
        client.logout()
    sums = quota.assert_exact(one)
    messages = sums["live"][1] + sums["archive"][1]
    if driver == "mdbox":
        # No file of its storage is rewritten while one is being written to;
        # the next message comes at a better time.
        assert (answer.status, messages) in (("NO", 38), ("OK", 50))
    else:
        assert (answer.status, messages) == ("OK", 50)
    assert quota.reported(one)[0] <= 1024


def test_selected_mailbox(server, driver):
    """The client that appends has the mailbox selected that messages are taken
    from, and is told of it."""
    one = quota.make(server, driver, RELIEF, rules={"inbox": RULE},
                     storage="1M")
    fill(one, range(260, 211, -1))
    with one.imap() as client:
        client.select("INBOX")
        answer = client.append("INBOX", body(50, 1000), check=False)
        assert answer.status == "OK", answer.text
        gone = 49 - len(archived(one))
        client.command(b"NOOP")
        assert len(client.search()) == gone + 1
        client.logout()
    quota.assert_exact(one)


def test_concurrent_deliveries(server, driver):
    """Of several deliveries at the same time one makes room, and the others
    wait for it."""
    one = quota.make(server, driver, RELIEF, rules={"inbox": RULE},
                     storage="1M")
    fill(one, range(260, 211, -1))
    codes = []

    def deliver(index):
        codes.append(lmtp_answer(one, body(30, 1000 + index))[0])

    threads = [threading.Thread(target=deliver, args=(index,))
               for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [250] * 6
    assert quota.reported(one)[1] == 49 + 6
    quota.assert_exact(one)
    # Dovecot may tell so while another process looks at a new mailbox
    one.expect_error("Opening or creating failed: Not found")


@pytest.mark.parametrize("what", ("storage", "messages"))
def test_far_over_the_limit(server, driver, what):
    """The limit was lowered far below what is there: room is made from there,
    for bytes and for messages."""
    limits = ({"storage": "1M"} if what == "storage" else
              {"storage": None, "messages": 50})
    one = quota.make(server, driver, dict(
        RELIEF, retention_quota_archive="none"), rules={"inbox": RULE},
        **limits)
    fill(one, range(260, 211, -1))
    one.extra = (one.extra.replace("1M", "300k") if what == "storage" else
                 re.sub(r"(messages=|message_count = )50", r"\g<1>20",
                        one.extra))
    one.reload()
    assert lmtp_answer(one, body(20, 1000))[0] == 250
    kilos, messages = quota.reported(one)
    if what == "storage":
        assert 200 <= kilos <= 240
    else:
        assert messages == 16
    moved = archived(one)
    assert moved == list(range(50 - messages))
    quota.assert_exact(one, archive="none")


def test_time_is_kept(server, driver):
    """With far more to do than there is time for, the answer comes soon after
    the time that is set. What is left to do goes on next time."""
    count = 3000
    one = quota.make(server, driver, dict(
        RELIEF, retention_quota_relief_time="1s",
        retention_compression_level="12"), rules={"inbox": RULE},
        storage="1G")
    text = mails.text(random.Random(1), 20000)
    with one.imap() as client:
        for start in range(0, count, 500):
            client.append_many("INBOX", [
                (body(0, start + index) + text, b"(\\Seen)",
                 mails.TODAY - 200 * mails.DAY) for index in range(500)])
        client.logout()
    one.extra = one.extra.replace("1G", "1M")
    one.reload()
    done = [0]
    for _ in range(2):
        begin = time.monotonic()
        assert lmtp_answer(one, body(20, 5000))[0] == 552
        assert time.monotonic() - begin < 8
        done.append(len(archived(one)) + common.compressed_count(one))
    assert 0 < done[1] < done[2] < 2 * count
    lines = relief_lines(one)
    assert len(lines) == 2
    assert all("stopped by retention_quota_relief_time" in line
               for line in lines)
    assert sum(common.counts(one).values()) == count
    one.expect_error("Quota exceeded")


# -- no second look

MEMORY = "dovecot.retention.relief"


def memory(one):
    return os.path.join(one.home(), MEMORY)


def refused(one):
    """A delivery that is refused; whether a look was taken, and remembered to
    have come to nothing."""
    before = os.stat(memory(one)) if os.path.exists(memory(one)) else None
    assert lmtp_answer(one, body(100))[0] == 552
    if not os.path.exists(memory(one)):
        return False
    after = os.stat(memory(one))
    return before is None or after.st_mtime_ns != before.st_mtime_ns


def full_of_flagged(server, driver, more=None, **fields):
    one = quota.make(server, driver, dict(RELIEF, **(more or {})),
                     rules={"inbox": dict(RULE, keep_flagged="yes", **fields)},
                     storage="1M")
    fill(one, [200] * 49, b"(\\Flagged \\Seen)")
    one.expect_error("Quota exceeded")
    return one


def unflag(one):
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"STORE 1:* -FLAGS.SILENT (\\Flagged)")
        client.logout()


def remember_earlier(one, seconds):
    with open(memory(one), "r+", encoding="ascii") as file:
        begun, rest = file.read().split("\t", 1)
        file.seek(0)
        file.write("%d\t%s" % (int(begun) - seconds, rest))


def test_no_second_look(server, driver):
    """When all that may be archived is, and it was not enough, the next
    messages are refused without a look for a minute. Then it is taken
    again."""
    one = full_of_flagged(server, driver)
    assert refused(one)
    unflag(one)
    remember_earlier(one, 50)
    assert not refused(one)
    assert not refused(one)
    assert archived(one) == []
    remember_earlier(one, 10)
    assert lmtp_answer(one, body(100, 1000))[0] == 250
    assert archived(one) != []
    quota.assert_exact(one)


@pytest.mark.parametrize("damage", ("gone", "cut", "future", "text"))
def test_memory_may_be_lost(server, damage):
    """What is remembered of a look does no harm, whatever becomes of it."""
    one = full_of_flagged(server, "sdbox")
    assert refused(one)
    unflag(one)
    if damage == "gone":
        os.unlink(memory(one))
    elif damage == "future":
        remember_earlier(one, -1000)
    else:
        with open(memory(one), "r+", encoding="ascii") as file:
            text = file.read()
            file.seek(0)
            file.truncate()
            file.write(text[:-1] if damage == "cut" else "\t\n\0" * 100)
    assert lmtp_answer(one, body(100))[0] == 250


@pytest.mark.parametrize("what", ("rule", "limit", "deleted", "recalc"))
def test_look_is_worthwhile(server, what):
    """A look is taken before the minute is over when settings or limits have
    changed, or the quota counts less than it did."""
    one = full_of_flagged(server, "maildir")
    with one.imap() as client:
        client.create("Other")
        client.logout()
    one.extra = one.extra.replace("1M", "1060k")
    one.reload()
    fill(one, [0], start=100, mailbox="Other")
    assert refused(one)
    assert not refused(one)
    if what == "rule":
        one.rules["inbox"]["keep_flagged"] = "no"
        one.reload()
    else:
        unflag(one)
    if what == "limit":
        one.extra = one.extra.replace("1060k", "1050k")
        one.reload()
    elif what == "deleted":
        with one.imap() as client:
            client.select("Other")
            client.command(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
            client.command(b"EXPUNGE")
            client.logout()
    elif what == "recalc":
        # Removed behind Dovecot's back, and therefore counted still.
        for path in one.mail_files():
            if "/.Other/" in path:
                os.unlink(path)
        assert not refused(one)
        one.doveadm("quota", "recalc", "-u", "alice")
    assert lmtp_answer(one, body(100, 1000))[0] == 250
    assert archived(one) != []


def test_run_in_a_pause(server, driver):
    """A run is a run, whatever making room has come to."""
    one = full_of_flagged(server, driver, age="100d")
    assert refused(one)
    unflag(one)
    one.retention("run")
    assert archived(one) == list(range(49))
    assert lmtp_answer(one, body(100))[0] == 250
    quota.assert_exact(one)


@pytest.mark.parametrize("rules", ({}, {"inbox": dict(
    RULE, action="keep")}, {"inbox": dict(RULE, age="unlimited")}))
def test_nothing_to_look_for(server, rules):
    """Without a rule that archives there is nothing to look for, and nothing
    to remember."""
    one = quota.make(server, "sdbox", RELIEF, rules=rules, storage="1M")
    fill(one, [200] * 49)
    assert not refused(one)
    one.expect_error("Quota exceeded")


@pytest.mark.parametrize("relief", (False, True))
def test_nothing_to_remember(server, relief):
    """Nothing is written while making room works, or is switched off."""
    one = quota.make(server, "sdbox", RELIEF if relief else {},
                     rules={"inbox": RULE}, storage="1M")
    fill(one, range(260, 211, -1))
    code, _ = lmtp_answer(one, body(100, 1000))
    assert code == (250 if relief else 552)
    assert not os.path.exists(memory(one))
    one.expect_error("Quota exceeded")


# -- what would not be archived anyway

@pytest.mark.parametrize("age, archives", (("30d", False), ("365d", False),
                                           ("366d", True)))
def test_expunged_first(server, driver, age, archives):
    """What a rule expunges before another one archives it is not archived
    early: it would stay for ever."""
    one = quota.make(server, driver, RELIEF, rules={
        "all": dict(RULE, mailbox="*"),
        "trash": dict(RULE, mailbox="Trash", action="expunge", age=age,
                      min_size="10k")}, storage="1M")
    fill(one, [20] * 48, mailbox="Trash")
    with one.imap() as client:
        client.append("Trash", body(1, 100), b"(\\Seen)",
                      mails.TODAY - 20 * mails.DAY)
        client.logout()
    code, _ = lmtp_answer(one, body(100, 1000))
    assert code == (250 if archives else 552)
    # the small one is none of the rule's
    assert archives or archived(one) == [100]
    one.expect_error("Quota exceeded")


@pytest.mark.parametrize("archive", ("stored", "full", "none"))
def test_compress_rules_free_nothing(server, archive):
    """Outside the archive mail counts by its message size: what a compress
    rule would do is no way to make room."""
    one = quota.make(server, "sdbox", dict(
        RELIEF, retention_quota_archive=archive), rules={
            "inbox": common.COMPRESS, "sent": dict(RULE, mailbox="Sent")},
        storage="1M")
    fill(one, [200] * 45)
    before = quota.reported(one)
    assert lmtp_answer(one, body(200))[0] == 552
    assert common.compressed_count(one) == 0
    one.retention("run")
    assert common.compressed_count(one) == 45
    assert quota.reported(one) == before
    one.expect_error("Quota exceeded")


# -- POP3

def pop3_user(server, driver, rules=None, more=None, count=49, **settings):
    """A user who is full, with mail of today and quota_full_tempfail."""
    one = quota.make(server, driver, dict(RELIEF, **(more or {}), **{
        "retention_pop3_" + name: value for name, value in settings.items()}),
        rules=rules or {}, storage="1M", more={
            series: "quota_full_tempfail = yes\n"
            for series in ("2.3", "2.4")})
    fill(one, [0] * count)
    one.expect_error("Quota exceeded|Created dotlock file")
    return one


def deliver_later(one, hours):
    """dovecot-lda at another time: whether it took the message."""
    extra = dict(steps.clock(int(time.time()) + hours * 3600),
                 LD_PRELOAD=common.FAKETIME[0])
    env = dict(os.environ, **extra)
    env["DOVECOT_PRESERVE_ENVS"] = " ".join(["TZ"] + list(extra))
    done = subprocess.run(
        ["/usr/lib/dovecot/dovecot-lda", "-c", one.config, "-d", "alice"],
        input=body(100, 1000), env=env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, check=False)
    assert done.returncode in (0, 75), done.stderr
    return done.returncode == 0


def keywords(one):
    """{UID: keywords} of INBOX."""
    return {uid: has & steps.OURS for uid, has in steps.flags(one).items()}


@pytest.mark.parametrize("delete", ("keep", "archive"))
def test_hidden_mail_makes_room(server, driver, delete):
    """What POP3 has hidden, and would archive some day, is archived from
    retention_minimum_age after it was hidden. Nothing else becomes hidden or
    is archived."""
    one = pop3_user(server, driver, delete="keep", keep_time="90d")
    steps.session(one, delete=range(11, 31))
    if delete == "archive":
        one.settings["retention_pop3_delete"] = "archive"
        del one.settings["retention_pop3_keep_time"]
        one.reload()
    before = keywords(one)
    assert steps.hidden(one) == list(range(11, 31))
    assert not deliver_later(one, 23)
    assert archived(one) == []
    assert deliver_later(one, 25)
    moved = archived(one)
    assert moved == list(range(10, 10 + len(moved))) and 10 <= len(moved) < 20
    after = keywords(one)
    assert after.pop(50) == set()
    assert after == {uid: has for uid, has in before.items()
                     if uid - 1 not in moved}
    quota.assert_exact(one)


@pytest.mark.parametrize("settings", (
    {"keep_time": "30d", "keep_action": "expunge"}, {}))
def test_hidden_mail_that_is_not_archived(server, driver, settings):
    """Hidden mail that is to be expunged some day, or kept for ever, is
    neither expunged nor archived."""
    one = pop3_user(server, driver, delete="keep", **settings)
    steps.session(one, delete=True)
    before = keywords(one)
    assert not deliver_later(one, 24 * 60)
    assert keywords(one) == before
    assert archived(one) == []


@pytest.mark.parametrize("leave_time", ("30d", "60d", "unlimited"))
def test_downloaded_mail(server, driver, leave_time):
    """Downloaded mail is left to the rules, unless it would be expunged before
    they archive it; it is neither expunged nor hidden early."""
    one = pop3_user(server, driver, {"inbox": dict(
        RULE, age="45d", age_from="saved")}, leave_time=leave_time,
        delete="expunge" if leave_time != "unlimited" else "keep")
    with steps.connect(one) as client:
        for number in range(1, 41):
            client.retr(number)
        client.quit()
    pop3.wait_until_idle(one)
    before = keywords(one)
    assert deliver_later(one, 24 * 5)
    moved = archived(one)
    first = 40 if leave_time == "30d" else 0
    assert moved == list(range(first, first + len(moved))) and len(moved) >= 9
    after = keywords(one)
    assert after.pop(50) == set()
    assert after == {uid: has for uid, has in before.items()
                     if uid - 1 not in moved}


def test_keep_rule_holds_for_hidden_mail(server, driver):
    one = pop3_user(server, driver, {"inbox": {
        "mailbox": "INBOX", "action": "keep", "age": "0"}},
        delete="keep", keep_time="2d")
    steps.session(one, delete=True)
    assert not deliver_later(one, 25)
    assert archived(one) == []


@pytest.mark.parametrize("others", (False, True))
def test_open_pop3_session(server, driver, others):
    """INBOX is left alone while a POP3 session is open. If other mailboxes
    make no room either, the refusal comes without waiting; and the message
    after the session's end is taken at once."""
    one = quota.make(server, driver, RELIEF, rules={"all": dict(
        RULE, mailbox="*")}, storage="1M")
    with one.imap() as client:
        client.create("Work")
        client.logout()
    fill(one, [200] * 20)
    fill(one, [200 if others else 0] * 29, start=100, mailbox="Work")
    with steps.connect(one) as client:
        begin = time.monotonic()
        code, _ = lmtp_answer(one, body(100, 1000))
        assert time.monotonic() - begin < 5
        assert client.stat()[0] == 20
        assert len(client.retr(20)) > 20000
        assert "a POP3 session is open" in one.log()
        assert all(number >= 100 for number in archived(one))
        client.quit()
    pop3.wait_until_idle(one)
    if not others:
        assert code == 552
        assert archived(one) == []
        assert lmtp_answer(one, body(100, 1000))[0] == 250
        assert archived(one) != []
        one.expect_error("Quota exceeded")
    else:
        assert code == 250
    quota.assert_exact(one)
