# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Messages of any size are worked on within little memory, and memory is used
as it should be."""

import hashlib
import glob
import os
import random
import re
import shutil
import subprocess
import time

import pytest

import common
import dovecot
import mails
import quota
from test_quota_refuse import body, lmtp_answer
from test_quota_warning import notices

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


# -- valgrind

VALGRIND = shutil.which("valgrind")
PROGRAMS = "/usr/lib/dovecot/"


def valgrind_argv(one):
    """Addresses are to be told also of modules that are unloaded already."""
    return [VALGRIND, "-q", "--trace-children=yes", "--keep-debuginfo=yes",
            "--leak-check=full", "--show-leak-kinds=definite",
            "--num-callers=30", "--log-file=" + one.path("valgrind", "%p")]


def valgrind_services(one, names):
    """Text for the configuration: the services run under valgrind."""
    return "".join("service %s {\n  executable = %s\n  vsz_limit = 4G\n}\n" %
                   (name, " ".join(valgrind_argv(one) + [PROGRAMS + name]))
                   for name in names)


def valgrind_doveadm(one, *args):
    done = subprocess.run(valgrind_argv(one) + one.doveadm_argv(*args),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def valgrind_errors(one):
    """(number of processes, what valgrind says of our code in them)"""
    found = []
    paths = glob.glob(one.path("valgrind", "*"))
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = re.sub(r"(?m)^==\d+== ?", "", file.read())
        found += [part for part in text.split("\n\n") if "retention" in part]
    return len(paths), found


@pytest.mark.skipif(VALGRIND is None, reason="valgrind is not installed")
def test_valgrind_quota(server, driver):
    """doveadm quota get and recalc, LMTP, GETQUOTAROOT and an APPEND with
    relief, two notices and a template: neither a leak nor a use of memory
    that is not ours."""
    one = quota.make(server, driver, start=False)
    os.mkdir(one.path("valgrind"))
    os.chmod(one.path("valgrind"), 0o777)
    with open(one.path("notice"), "w", encoding="utf-8") as file:
        file.write("Subject: {percent} %\r\n\r\n{user}: {usage}\r\n")
    os.chmod(one.path("notice"), 0o644)
    one.settings = {
        "retention_quota_relief": "yes",
        "retention_quota_relief_time": "60s",
        "retention_quota_on_error": "tempfail",
        "retention_quota_warning": "50 90",
        "retention_quota_warning_template": one.path("notice"),
    }
    one.extra = (quota.config(storage="1M", ignore=("Trash",)) +
                 valgrind_services(one, ("imap", "lmtp")))
    one.write_config()
    one.start()
    old = [common.letter(400, index=index) for index in range(40)]
    for message in old:
        message.body = message.body[:2000] + (b"x" * 70 + b"\r\n") * 200
    one.fill(old)
    assert lmtp_answer(one, body(200))[0] == 250
    with one.imap() as client:
        quota.quotaroot(client)
        client.append("INBOX", body(300))
        quota.quotaroot(client)
        client.append("INBOX", body(900), check=False)
        client.logout()
    one.wait_sessions()
    assert "relief: root=" in one.log()
    assert len(notices(one)) == 1
    valgrind_doveadm(one, "quota", "get", "-u", "alice")
    valgrind_doveadm(one, "quota", "recalc", "-u", "alice")
    valgrind_doveadm(one, "retention", "run", "-u", "alice")
    quota.assert_exact(one, ignore=("Trash",))
    one.stop()
    processes, errors = valgrind_errors(one)
    assert processes >= 5
    assert errors == []
    one.expect_error("retention_quota_warning_template=|Quota exceeded")
