# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""The test tools themselves, on Dovecot without the plugin."""

import dump
import mails


def test_dump_is_stable(server, driver):
    """Two dumps of an untouched mailbox are the same, and what was delivered
    through APPEND and LMTP comes back byte by byte."""
    one = server(driver, plugins=())
    messages = mails.corpus(120, with_big=1)
    one.fill(messages)
    letters = [mails.make(kind, 5000 + index)
               for index, kind in enumerate(mails.LMTP_KINDS)]
    one.lmtp([letter.body for letter in letters])
    before = dump.mailbox(one), dump.pop3(one)
    after = dump.mailbox(one), dump.pop3(one)
    assert dump.differences(before[0], after[0]) == []
    assert dump.differences(before[1], after[1]) == []
    found = before[0]["messages"]
    assert len(found) == 126
    wanted = [dump.digest(message.stored()) for message in messages]
    assert [found[uid]["BODY[]"] for uid in sorted(found)][:120] == wanted
