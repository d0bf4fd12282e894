# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Real POP3 programs, with their option to leave mail on the server and with
the one to delete it."""

import pytest

import common
import dovecot
import dump
import mails
import pop3
import pop3_programs as programs
import pop3_steps as steps

# One user for each way to delete.
USERS = {
    "alice": ["retention_pop3_delete=keep"],
    "bob": ["retention_pop3_delete=archive"],
    "carol": [],
}
NEW = 3


ALL = [(driver, name) for name in programs.NAMES
       for driver in dovecot.DRIVERS]


def in_turn(shift):
    """What does not depend on the driver is tested with one of them for each
    program."""
    return [(dovecot.DRIVERS[(index + shift) % len(dovecot.DRIVERS)], name)
            for index, name in enumerate(programs.NAMES)]


def skip_if_missing(program):
    why = programs.missing(program)
    if why is not None:
        pytest.skip(why)


def messages_for(program):
    return [mails.make(kind, index) for index, (kind, _) in
            enumerate(mails.KINDS)
            if kind.__name__ not in programs.CHANGES.get(program, ())]


def normalised(messages):
    return sorted(programs.normalise(message.stored())
                  for message in messages)


def shows(one, user, messages):
    """All the messages are there over IMAP, in any mailbox."""
    return (sorted(body for rows in dump.account(one, user).values()
                   for _, body in rows) ==
            sorted(dump.digest(message.stored()) for message in messages))


@pytest.mark.parametrize("driver, program, user", [
    (*pair, "alice") for pair in ALL] + [
    (*pair, "bob") for pair in in_turn(0)] + [
    (*pair, "carol") for pair in in_turn(1)])
def test_leave_then_delete(server, driver, program, user):
    """A device that leaves mail on the server gets every message, bit by bit,
    and none of them twice; then one that deletes gets the same; after that no
    device gets them any more. With keep they stay in INBOX for IMAP, with
    their flags, with archive they are in the archive, and both go on working
    with new mail."""
    skip_if_missing(program)
    one = server(driver, users=USERS)
    messages = messages_for(program)
    one.fill(messages, user=user)
    before = steps.flags(one, user=user)

    leaves = programs.device(one, program, True, user)
    assert leaves.fetch() == normalised(messages)
    assert leaves.fetch() == []
    pop3.wait_until_idle(one)
    # \Seen is not touched, and nothing that can be seen over IMAP but ours.
    assert {uid: has - steps.OURS
            for uid, has in steps.flags(one, user=user).items()} == before
    known = (len(messages) if program not in programs.USES_TOP and
             user != "carol" else 0)
    assert len(steps.downloaded(one, user=user)) == known
    assert steps.hidden(one, user=user) == []

    deletes = programs.device(one, program, False, user)
    assert deletes.fetch() == normalised(messages)
    assert deletes.fetch() == []
    assert leaves.fetch() == []
    assert programs.device(one, program, True, user).fetch() == []
    pop3.wait_until_idle(one)

    if user == "bob":
        # The last device was there before the session before it had archived
        # all, which leaves the rest to the next run.
        one.retention("run", user=user)
    after = steps.flags(one, user=user)
    if user == "alice":
        assert {uid: has - steps.OURS for uid, has in after.items()} == before
        assert steps.hidden(one, user=user) == sorted(before)
    else:
        assert after == {}
    if user != "carol":
        assert shows(one, user, messages)

    # Two devices, one after the other, and new mail.
    new = [mails.make(mails.plain, 100 + index) for index in range(NEW)]
    one.fill(new, user=user)
    assert leaves.fetch() == normalised(new)
    assert deletes.fetch() == normalised(new)
    assert leaves.fetch() == []
    assert deletes.fetch() == []


@pytest.mark.parametrize("driver, program", in_turn(2))
def test_compressed_mail(server, driver, program):
    """What a run has compressed comes down bit by bit the same."""
    skip_if_missing(program)
    one = server(driver, rules={"inbox": common.COMPRESS},
                 settings={"retention_pop3_delete": "keep"})
    messages = messages_for(program)
    one.fill(messages)
    one.retention("run")
    assert common.compressed_count(one) > len(messages) // 2
    device = programs.device(one, program, False)
    assert device.fetch() == normalised(messages)
    assert device.fetch() == []
    assert len(steps.hidden(one)) == len(messages)


def test_all_in_one_go(server, driver):
    """Commands that do not wait for the answers (RFC 2449, 6.8)."""
    one = server(driver, settings={"retention_pop3_delete": "keep"})
    messages = mails.small_corpus(12)
    one.fill(messages)
    numbers = range(1, len(messages) + 1)
    with steps.connect(one) as client:
        answers = client.pipeline(
            ["CAPA", "UIDL"] + ["RETR %d" % number for number in numbers] +
            ["DELE %d" % number for number in numbers if number % 2 == 0] +
            ["QUIT"])
        client.read_to_end()
    assert all(answer.ok for answer in answers)
    assert (sorted(programs.normalise(answer.data)
                   for answer in answers[2:2 + len(messages)]) ==
            normalised(messages))
    pop3.wait_until_idle(one)
    assert steps.downloaded(one) == list(numbers)
    assert steps.hidden(one) == [number for number in numbers
                                 if number % 2 == 0]
    assert len(steps.uidls(one)) == len(messages) // 2
