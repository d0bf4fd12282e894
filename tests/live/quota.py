# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Quotas: configurations, what the server tells, and a recount from the
files."""

import base64
import json
import os
import re
import socket

import common
import dovecot

PLUGINS = ("quota", "retention", "retention_quota")
LOGIN = {"imap": ("imap_quota",)}
ROOT = "User quota"


def size_text(size):
    return "unlimited" if size is None else "%dB" % size


def config(storage="100M", messages=None, ignore=(), archive_storage=None,
           backend="retention", port=None, more=None, grace="0",
           rcpt_check=False, extra_storage=None):
    """The quota part of a configuration, for Dovecot's extra text. port: of
    quota-status. more: {series: text}. extra_storage: {mailbox: size}."""
    text = (config_24 if dovecot.IS_24 else config_23)(
        storage, messages, ignore, archive_storage, backend, grace,
        extra_storage or {})
    if rcpt_check:
        text += "lmtp_rcpt_check_quota = yes\n"
    if port is not None:
        text += ("service quota-status {\n  executable = quota-status -p "
                 "postfix\n  inet_listener quota-status {\n"
                 "    port = %d\n    %s = 127.0.0.1\n  }\n"
                 "  client_limit = 1\n}\n" %
                 (port, "listen" if dovecot.IS_24 else "address"))
    return text + (more or {}).get(dovecot.SERIES, "")


def config_23(storage, messages, ignore, archive_storage, backend, grace,
              extra_storage):
    rules = ["storage=%s" % storage] if storage is not None else []
    if messages is not None:
        rules.append("messages=%d" % messages)
    lines = ["plugin {", "  quota = %s:%s" % (backend, ROOT),
             "  quota_vsizes = yes", "  quota_grace = %s" % grace]
    lines.append("  quota_rule = *:%s" % ":".join(rules))
    number = 2
    for name in ignore:
        lines.append("  quota_rule%d = %s:ignore" % (number, name))
        number += 1
    for name, size in extra_storage.items():
        lines.append("  quota_rule%d = %s:storage=+%s" % (number, name, size))
        number += 1
    if archive_storage is not None:
        lines += ["  quota2 = %s:Archive quota" % backend,
                  "  quota2_rule = *:storage=%s" % archive_storage,
                  "  quota2_grace = %s" % grace]
    lines += ["  quota_status_success = DUNNO",
              "  quota_status_overquota = 552 5.2.2 Mailbox is full", "}"]
    return "\n".join(lines) + "\n"


def config_24(storage, messages, ignore, archive_storage, backend, grace,
              extra_storage):
    lines = ["quota_driver = %s" % backend,
             "quota_storage_grace = %s" % grace]
    if storage is not None:
        lines.append("quota_storage_size = %s" % storage)
    if messages is not None:
        lines.append("quota_message_count = %d" % messages)
    lines += ['quota "%s" {' % ROOT, "}"]
    if archive_storage is not None:
        lines += ['quota "Archive quota" {',
                  "  quota_storage_size = %s" % archive_storage, "}"]
    boxes = [(name, "quota_ignore = yes") for name in ignore]
    boxes += [(name, "quota_storage_extra = %s" % size)
              for name, size in extra_storage.items()]
    if boxes:
        lines.append("namespace inbox {")
        for name, text in boxes:
            lines += ['  mailbox "%s" {' % name, "    " + text, "  }"]
        lines.append("}")
    lines += ["quota_status_success = DUNNO",
              "quota_status_overquota = 552 5.2.2 Mailbox is full"]
    return "\n".join(lines) + "\n"


def make(server, driver, settings=None, rules=None, start=True, users=("alice",),
         **kwargs):
    """A server with a quota; kwargs as for config()."""
    one = server(driver, start=start, plugins=PLUGINS, login_plugins=LOGIN,
                 rules={"inbox": common.ARCHIVE} if rules is None else rules,
                 settings=settings or {}, users=users, extra=config(**kwargs))
    # it may not have installed its signal handlers yet
    one.expect_error(r"quota-status\)?: .*killed with signal 15")
    return one


# -- what the server tells

def quotaroot(client, mailbox="INBOX"):
    """{root: {resource: (usage, limit)}} by GETQUOTAROOT."""
    import imap
    result = client.command(b"GETQUOTAROOT", imap.quote(mailbox))
    found = {}
    for data in result.of("QUOTA"):
        values = data[1]
        found[data[0].decode()] = {
            values[i].decode(): (int(values[i + 1]), int(values[i + 2]))
            for i in range(0, len(values), 3)}
    return found


def reported(one, user="alice", root=ROOT):
    """(kilobytes, messages) as doveadm quota get tells."""
    rows = json.loads(one.doveadm("-f", "json", "quota", "get", "-u",
                                  user).out)
    values = {row["type"]: int(row["value"]) for row in rows
              if row["root"] == root}
    return values["STORAGE"], values["MESSAGE"]


def ask_status(port, recipient="alice", size=0):
    """What quota-status answers to Postfix."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(b"request=smtpd_access_policy\n"
                     b"protocol_state=RCPT\nrecipient=%s\nsize=%d\n\n" %
                     (recipient.encode(), size))
        answer = b""
        while not answer.endswith(b"\n\n"):
            data = sock.recv(4096)
            assert data != b"", answer
            answer += data
    return answer.decode().strip()


# -- the recount

DBOX_MESSAGE = re.compile(rb"\x01\x02N [ 0-9a-fA-F]{8} ([0-9a-fA-F]{16})\n")


def dbox_messages(path):
    """[(GUID, body)] of a dbox file."""
    with open(path, "rb") as file:
        data = file.read()
    found = []
    pos = 0
    while True:
        match = DBOX_MESSAGE.search(data, pos)
        if match is None:
            return found
        start = match.end()
        end = start + int(match.group(1), 16)
        meta = re.match(rb"\n?\x01\x03\n((?:[^\n]+\n)*)\n", data[end:])
        assert meta is not None, path
        guid = re.search(rb"^G(\w+)$", meta.group(1), re.M).group(1).decode()
        found.append((guid, data[start:end]))
        pos = end


def decode_name(name):
    """A mailbox's name from modified UTF-7 (RFC 3501, 5.1.3)."""
    return re.sub("&([^-]*)-", lambda match: "&" if match.group(1) == "" else
                  base64.b64decode(match.group(1).replace(",", "/") + "===")
                  .decode("utf-16-be"), name)


def bodies_of(one, user):
    """{mailbox: [(GUID or None, stored bytes)]}; for mdbox {None: {GUID:
    stored bytes}}."""
    found = {}
    for path in one.mail_files(user):
        if one.driver == "maildir":
            folder = os.path.relpath(os.path.dirname(os.path.dirname(path)),
                                     one.mail_dir(user))
            name = "INBOX" if folder == "." else folder[1:].replace(".", "/")
            with open(path, "rb") as file:
                found.setdefault(decode_name(name), []).append(
                    (None, file.read()))
        elif one.driver == "sdbox":
            name = os.path.relpath(
                os.path.dirname(os.path.dirname(path)),
                os.path.join(one.mail_dir(user), "mailboxes"))
            found.setdefault(decode_name(name), []).extend(
                dbox_messages(path))
        else:
            found.setdefault(None, {}).update(dbox_messages(path))
    return found


def lz4_block(data):
    """Decode one LZ4 block (lz4_Block_format.md)."""
    out = bytearray()
    pos = 0

    def length(nibble):
        nonlocal pos
        count = nibble
        while nibble == 15:
            nibble = data[pos]
            pos += 1
            count += nibble
            nibble = 15 if nibble == 255 else 0
        return count

    while pos < len(data):
        token = data[pos]
        pos += 1
        count = length(token >> 4)
        out += data[pos:pos + count]
        pos += count
        if pos >= len(data):
            break
        offset = int.from_bytes(data[pos:pos + 2], "little")
        pos += 2
        count = length(token & 15) + 4
        start = len(out) - offset
        for index in range(count):
            out.append(out[start + index])
    return bytes(out)


def plain(body):
    """The message of a stored body (doc/formats.md)."""
    if not body.startswith(common.LZ4_MAGIC):
        return body
    out = []
    pos = len(common.LZ4_MAGIC) + 4
    while pos < len(body):
        size = int.from_bytes(body[pos:pos + 4], "big")
        out.append(lz4_block(body[pos + 4:pos + 4 + size]))
        pos += 4 + size
    return b"".join(out)


def virtual_size(body):
    body = plain(body)
    return len(body) + len(re.findall(rb"(?<!\r)\n", body))


def without_leftovers(files, guids):
    """The files whose GUIDs messages have: a process that was killed may leave
    a file of dbox that never became a message."""
    left = list(guids)
    found = []
    for guid, body in files:
        if guid is None or guid in left:
            found.append((guid, body))
        if guid in left:
            left.remove(guid)
    return found


def recount(one, user="alice", archive="stored", ignore=(), root="Archive",
            killed=False):
    """What the files say: {"live": (bytes, messages), "archive": ...}. killed:
    there may be files that are no messages."""
    rows = json.loads(one.doveadm(
        "-f", "json", "fetch", "-u", user, "mailbox guid size.virtual",
        "ALL").out)
    bodies = bodies_of(one, user)
    sums = {"live": [0, 0], "archive": [0, 0]}
    seen = {}
    for row in rows:
        name = row["mailbox"]
        seen.setdefault(name, []).append(row["guid"])
        if name in ignore:
            continue
        archived = name == root or name.startswith(root + "/")
        if archived and archive == "none":
            continue
        total = sums["archive" if archived else "live"]
        total[1] += 1
        if one.driver == "mdbox":
            body = bodies[None][row["guid"]]
            if archived and archive == "stored":
                total[0] += len(body)
            else:
                total[0] += virtual_size(body)
    if one.driver == "mdbox":
        return {key: tuple(value) for key, value in sums.items()}
    for name, files in bodies.items():
        if killed:
            files = without_leftovers(files, seen.get(name, ()))
        assert len(files) == len(seen.get(name, ())), (name, len(files), seen)
        archived = name == root or name.startswith(root + "/")
        if name in ignore or (archived and archive == "none"):
            continue
        total = sums["archive" if archived else "live"]
        for _, body in files:
            total[0] += (len(body) if archived and archive == "stored"
                         else virtual_size(body))
    return {key: tuple(value) for key, value in sums.items()}


def kilobytes(count):
    return (count + 1023) // 1024


def assert_exact(one, user="alice", archive="stored", ignore=(), split=False,
                 killed=False):
    """GETQUOTAROOT and doveadm quota get are what the files say. Returns the
    recount."""
    sums = recount(one, user, archive, ignore, killed=killed)
    with one.imap(user) as client:
        told = {}
        for mailbox in ("INBOX", "Archive"):
            told.update(quotaroot(client, mailbox))
    wanted = {}
    if split:
        wanted["Archive quota"] = sums["archive"]
        wanted[ROOT] = sums["live"]
    else:
        wanted[ROOT] = tuple(map(sum, zip(*sums.values())))
    for name, (count, messages) in wanted.items():
        assert reported(one, user, name) == (kilobytes(count), messages)
        resources = told[name]
        if "STORAGE" in resources:
            assert resources["STORAGE"][0] == kilobytes(count)
        if "MESSAGE" in resources:
            assert resources["MESSAGE"][0] == messages
    return sums
