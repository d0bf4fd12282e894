# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Messages of any size are worked on within little memory."""

import hashlib
import os
import random
import time

import common
import mails

LIMIT = 64 * 1024 * 1024
SIZE = int(os.environ.get("RETENTION_HUGE_MB") or 1024) * 1024 * 1024


def write_huge(path):
    """Returns the SHA-256 of the message as IMAP shows it."""
    digest = hashlib.sha256()
    rng = random.Random(1)
    block = mails.text(rng, 4000) * 256
    total = 0
    with open(path, "wb") as file:
        data = b"Subject: huge\r\n\r\n"
        while True:
            file.write(data)
            digest.update(data)
            total += len(data)
            if total >= SIZE:
                return digest.hexdigest()
            # Not the same again, or it would be too easy.
            data = b"%d\r\n" % total + block


def fetch_digest(client, item):
    """SHA-256 of one FETCH item's literal, without keeping it."""
    digest = hashlib.sha256()
    tag = client.send(b"UID FETCH 1 (" + item + b")")
    line = client._readline()
    size = int(line[line.rindex(b"{") + 1:line.rindex(b"}")])
    while size > 0:
        if len(client.buf) == 0:
            client._fill()
        data = client._take(min(size, len(client.buf)))
        digest.update(data)
        size -= len(data)
    client._readline()
    client.wait(tag)
    return digest.hexdigest()


def peak_of(pid):
    """The most memory that the program in the process has had; 0 if it is
    just ending, or is not Dovecot yet."""
    with open("/proc/%d/comm" % pid, encoding="ascii") as file:
        if file.read().strip() not in ("doveadm", "imap"):
            return 0
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def imap_pid(one):
    """The one imap process of the server that has a client."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/cmdline" % name, "rb") as file:
                command = file.read()
            with open("/proc/%s/stat" % name, encoding="ascii") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if command.startswith(b"dovecot/imap\0") and \
                parent == one.process.pid:
            found.append(int(name))
    assert len(found) == 1
    return found[0]


def test_huge_message(server, driver):
    """A message of a gibibyte is archived and read within 64 MiB."""
    one = server(driver, rules={"inbox": common.COMPRESS})
    path = one.path("huge")
    wanted = write_huge(path)
    one.doveadm("save", "-u", "alice", path)
    os.unlink(path)
    before = one.stored_bytes()
    process = one.popen_doveadm("retention", "run", "-u", "alice")
    peak = 0
    while process.poll() is None:
        # Not from wait4(): that counts what Python had before it executed
        # doveadm.
        peak = max(peak, peak_of(process.pid))
        time.sleep(0.01)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert 0 < peak <= LIMIT
    assert common.compressed_count(one) == 1
    assert one.stored_bytes() < before
    with one.imap() as client:
        client.select("INBOX")
        assert fetch_digest(client, b"BODY.PEEK[]") == wanted
        assert 0 < peak_of(imap_pid(one)) <= LIMIT
