# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""All that a client can learn about a mailbox, to be compared with later."""

import hashlib
import random

import imap

STATUS_ITEMS = (b"(MESSAGES UIDNEXT UIDVALIDITY UNSEEN RECENT SIZE "
                b"HIGHESTMODSEQ)")
META_ITEMS = (b"(UID FLAGS INTERNALDATE SAVEDATE RFC822.SIZE ENVELOPE "
              b"BODYSTRUCTURE MODSEQ)")
# Around the edges of the stored stream's chunks.
EDGES = ((0, 1), (65535, 2), (65536, 65536), (131071, 100))


def digest(value):
    if not isinstance(value, bytes):
        return value
    return "%d:%s" % (len(value), hashlib.sha256(value).hexdigest())


def part_numbers(structure, prefix=""):
    """[(number, is a message/rfc822)] of all parts of a BODYSTRUCTURE."""
    if isinstance(structure[0], list):
        found = []
        children = [part for part in structure if isinstance(part, list)]
        for index, child in enumerate(structure):
            if not isinstance(child, list):
                break
            number = prefix + str(index + 1)
            found += _leaf(child, number)
        assert len(children) > 0
        return found
    return _leaf(structure, prefix + "1")


def _leaf(part, number):
    if isinstance(part[0], list):
        return [(number, False)] + part_numbers(part, number + ".")
    if part[0].lower() == b"message" and part[1].lower() == b"rfc822":
        return [(number, True)] + part_numbers(part[8], number + ".")
    return [(number, False)]


def items_of(uid, meta, seed):
    """The FETCH items to ask a message for: whole, by part, partial."""
    rng = random.Random("%d-%d" % (seed, uid))
    size = int(meta["RFC822.SIZE"])
    items = ["BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]",
             "BODY.PEEK[HEADER.FIELDS (SUBJECT DATE X-NOT-THERE)]"]
    for number, is_message in part_numbers(meta["BODYSTRUCTURE"]):
        items += ["BODY.PEEK[%s]" % number, "BODY.PEEK[%s.MIME]" % number]
        if is_message:
            items += ["BODY.PEEK[%s.HEADER]" % number,
                      "BODY.PEEK[%s.TEXT]<3.50>" % number]
    spans = [(rng.randint(0, size + 10), rng.randint(1, size + 1))
             for _ in range(3)]
    spans += [span for span in EDGES if span[0] <= size]
    spans.append((max(size - 1, 0), 10))
    items += ["BODY.PEEK[]<%d.%d>" % span for span in spans]
    items.append("BODY.PEEK[TEXT]<%d.%d>" % spans[0])
    return " ".join(items).encode()


def messages(client, seed=1, binary_every=10):
    """{uid: {item: value or digest}} of the selected mailbox."""
    metas = client.command(b"UID FETCH 1:*", META_ITEMS).fetches()
    pending = []
    for uid, meta in sorted(metas.items()):
        items = items_of(uid, meta, seed)
        pending.append((uid, client.send(b"UID FETCH", b"%d" % uid,
                                         b"(" + items + b")")))
        if len(pending) == 20:
            _collect(client, pending, metas)
    _collect(client, pending, metas)
    for uid in sorted(metas)[::binary_every]:
        result = client.command(b"UID FETCH", b"%d" % uid,
                                b"(BINARY.SIZE[1] BINARY.PEEK[1])",
                                check=False)
        metas[uid]["BINARY"] = (result.status, [
            digest(value) for fetch in result.fetches().values()
            for key, value in fetch.items() if key.startswith("BINARY")])
    return metas


def _collect(client, pending, metas):
    # Answers to pipelined commands may come before another one's tag.
    for _, tag in pending:
        for uid, fetched in client.wait(tag).fetches().items():
            for key, value in fetched.items():
                metas[uid][key] = digest(value) if key != "UID" else value
    pending.clear()


def mailbox(server, name="INBOX", user="alice", seed=1):
    """The whole dump of a mailbox through IMAP and doveadm."""
    with server.imap(user) as client:
        status = client.status(name, STATUS_ITEMS)
        client.command(b"EXAMINE", imap.quote(name), b"(CONDSTORE)")
        found = messages(client, seed)
        client.command(b"LOGOUT")
    rows = server.doveadm(
        "-f", "json", "fetch", "-u", user,
        "uid guid date.received date.saved size.virtual size.physical",
        "mailbox", name, "all").json()
    for row in rows:
        found[int(row["uid"])]["doveadm"] = row
    return {"status": status, "messages": found}


def pop3(server, user="alice", top_every=7):
    """LIST, UIDL, RETR of every message and TOP of some."""
    client = server.pop3(user)
    lines = client.list()[1]
    out = {"LIST": lines, "UIDL": client.uidl()[1], "RETR": {}, "TOP": {}}
    for number in range(1, len(lines) + 1):
        body = b"\r\n".join(client.retr(number)[1])
        out["RETR"][number] = digest(body)
        if number % top_every == 0:
            out["TOP"][number] = digest(b"\r\n".join(client.top(number, 3)[1]))
    client.quit()
    return out


def differences(before, after, path=""):
    """Where two dumps differ, as text; empty when they are the same."""
    if isinstance(before, dict) and isinstance(after, dict):
        out = []
        for key in sorted(set(before) | set(after), key=str):
            where = "%s/%s" % (path, key)
            if key not in after:
                out.append("%s is gone (was %.200r)" % (where, before[key]))
            elif key not in before:
                out.append("%s is new: %.200r" % (where, after[key]))
            else:
                out += differences(before[key], after[key], where)
        return out
    if before != after:
        return ["%s: %.200r became %.200r" % (path, before, after)]
    return []


def assert_same(before, after):
    found = differences(before, after)
    assert found == [], "%d differences:\n%s" % (
        len(found), "\n".join(found[:20]))


def bodies(client, name, select=True):
    """[(uid, digest of BODY[])] of a mailbox."""
    if select:
        client.command(b"EXAMINE", imap.quote(name))
    found = client.command(b"UID FETCH 1:* (UID BODY.PEEK[])").fetches()
    return [(uid, digest(found[uid]["BODY[]"])) for uid in sorted(found)]


def account(server, user="alice", skip=()):
    """{mailbox: [(uid, digest)]} of all of a user's mailboxes."""
    out = {}
    with server.imap(user) as client:
        for data in client.command(b'LIST "" "*"').of("LIST"):
            name = data[2]
            if (b"\\Noselect" in data[0] or b"\\NonExistent" in data[0] or
                    name.decode() in skip):
                continue
            found = bodies(client, name)
            if len(found) > 0:
                out[name.decode()] = found
        client.command(b"LOGOUT")
    return out


def without(dumped, *keys):
    """A dump less some keys, at any depth."""
    if isinstance(dumped, dict):
        return {key: without(value, *keys) for key, value in dumped.items()
                if key not in keys}
    return dumped


def count_bodies(found, only=None):
    """{digest: how often} over all mailboxes of account(), or those whose
    name begins with only."""
    counts = {}
    for name, rows in found.items():
        if only is None or name.startswith(only):
            for _, body in rows:
                counts[body] = counts.get(body, 0) + 1
    return counts
