# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""What the quota keeps for itself, damaged, lost, restored or hostile."""

import email
import fcntl
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
from test_quota_count import fill, index_files
from test_quota_warning import WARN, notices, sent, settle, use


def opened(one):
    """How many mailboxes a count has to open."""
    err = one.doveadm("-D", "quota", "get", "-u", "alice").err
    return int(re.search(r"Counted .* messages, (\d+) mailboxes opened",
                         err).group(1))


def test_opened_once(server, driver):
    """A mailbox that is not up to date is opened once, also if nothing but
    INBOX and the archive has ever had a message."""
    one = quota.make(server, driver)
    with one.imap() as client:
        for name in ("Archive/2001", "Empty"):
            client.create(name)
        client.logout()
    one.fill([common.letter(400, index=index, kind=mails.html)
              for index in range(10)], "Archive/2001")
    quota.assert_exact(one)
    assert opened(one) <= 1
    one.retention("run")
    quota.assert_exact(one)
    assert opened(one) <= 1


def test_nothing_kept_during_a_run(server, driver):
    """What is counted while a run holds its lock is not kept."""
    one = quota.make(server, driver)
    one.fill([common.letter(400)])
    one.retention("run")
    with open(os.path.join(one.home(), "dovecot.retention.lock"), "w",
              encoding="ascii") as file:
        os.chown(file.name, 5000, 5000)
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert opened(one) == opened(one) == 2
        quota.assert_exact(one)
    opened(one)
    assert opened(one) == 1
    quota.assert_exact(one)


def test_recalc_after_restored_files(server):
    """A compressed message whose file was restored from a backup, plain: recalc
    finds its size."""
    one = quota.make(server, "maildir")
    fill(one)
    backup = one.path("backup")
    shutil.copytree(one.mail_dir(), backup)
    one.retention("run")
    quota.assert_exact(one)
    old = {os.path.basename(p).split(":")[0].split(",")[0]: os.path.join(d, p)
           for d, _, ps in os.walk(backup) for p in ps}
    count = 0
    for path in one.mail_files():
        key = os.path.basename(path).split(":")[0].split(",")[0]
        with open(path, "rb") as file:
            if not file.read(20).startswith(common.LZ4_MAGIC):
                continue
        shutil.copyfile(old[key], path)
        count += 1
    assert count > 5
    one.doveadm("quota", "recalc", "-u", "alice")
    quota.assert_exact(one)


def test_restored_home(server, driver):
    """A home directory that was restored from a backup, indexes and all."""
    one = quota.make(server, driver)
    fill(one)
    one.retention("run")
    quota.assert_exact(one)
    one.wait_sessions()
    backup = one.path("backup")
    shutil.copytree(one.home(), backup)
    one.fill([common.letter(400, index=77)], "Archive/2001")
    one.fill([common.letter(400, index=78)], "INBOX")
    one.retention("run")
    quota.assert_exact(one)
    one.wait_sessions()
    shutil.rmtree(one.home())
    shutil.copytree(backup, one.home())
    subprocess.run(["chown", "-R", "5000:5000", one.home()], check=True)
    quota.assert_exact(one)


def test_killed_runs(server, driver):
    """Runs that are killed anywhere, while others count: no sum is ever
    believed that is from before a run, or from the midst of it."""
    rounds = int(os.environ.get("RETENTION_KILL_ROUNDS") or 8)
    one = quota.make(server, driver)
    rng = random.Random(driver)
    with one.imap() as client:
        client.create("Archive/2001")
        client.logout()
    for number in range(rounds):
        one.fill([common.letter(400, index=100 * number + i, kind=mails.html)
                  for i in range(30)], "Archive/2001")
        quota.assert_exact(one)
        with one.popen_doveadm("retention", "run", "-u", "alice") as run:
            counts = []
            for _ in range(3):
                time.sleep(rng.random() * 0.05)
                counts.append(one.popen_doveadm("quota", "get", "-u",
                                                "alice"))
            time.sleep(rng.random() * 0.1)
            run.kill()
            run.communicate()
        for process in counts:
            process.communicate(timeout=60)
            assert process.returncode == 0
        common.remove_locks(one)
        quota.assert_exact(one)
    one.retention("run")
    quota.assert_exact(one)


def test_compressed_by_others(server, driver):
    """Mail in the archive that Dovecot's own plugin has compressed counts by
    what it takes, before a run has looked at it and after."""
    name = "mail_compress" if dovecot.IS_24 else "zlib"
    text = ("mail_compress_write_method = lz4\n" if dovecot.IS_24 else
            "plugin {\n  zlib_save = lz4\n}\n")
    one = quota.make(server, driver)
    one.plugins += (name,)
    one.extra += text
    one.reload()
    fill(one)
    assert common.compressed_count(one) > 20
    before = quota.assert_exact(one)
    one.retention("run")
    after = quota.assert_exact(one)
    assert after["archive"][1] > before["archive"][1]
    one.doveadm("quota", "recalc", "-u", "alice")
    assert quota.assert_exact(one) == after


def test_renamed_over(server, driver):
    """Archive mailboxes that are renamed, deleted and made anew under each
    other's names, with the same number of messages and UIDNEXT."""
    one = quota.make(server, driver)
    with one.imap() as client:
        for name in ("Archive/a", "Archive/b"):
            client.create(name)
        client.logout()
    one.fill([common.letter(400, index=1)], "Archive/a")
    one.fill([common.letter(400, index=2, kind=mails.attachment)],
             "Archive/b")
    one.retention("run")
    quota.assert_exact(one)
    with one.imap() as client:
        client.command(b"RENAME Archive/a Archive/c")
        client.command(b"RENAME Archive/b Archive/a")
        client.command(b"RENAME Archive/c Archive/b")
        client.logout()
    quota.assert_exact(one)
    with one.imap() as client:
        client.command(b"DELETE Archive/a")
        client.command(b"RENAME Archive/b Archive/a")
        client.create("Archive/b")
        client.append("Archive/b", common.letter(400, index=3).body)
        client.logout()
    quota.assert_exact(one)
    with one.imap() as client:
        client.select("Archive/a")
        client.command(b"STORE 1 +FLAGS (\\Deleted)")
        client.append("Archive/a", common.letter(
            400, index=4, kind=mails.html).body)
        client.command(b"EXPUNGE")
        client.logout()
    quota.assert_exact(one)


PLACES = {
    "own": (":INDEX=~/index", "mail_index_path = ~/index\n"),
    "prefix": (":LISTINDEX=ours", "mailbox_list_index_prefix = ours\n"),
}


@pytest.mark.parametrize("where", sorted(PLACES))
def test_index_places(server, driver, where):
    """Indexes in a directory of their own, and a list index with another
    name: also a session that has counted before sees what a run does."""
    text_23, text_24 = PLACES[where]
    one = quota.make(server, driver, start=False, more={"2.4": text_24})
    one.mail_location_23 = text_23
    one.write_config()
    one.start()
    fill(one)
    with one.imap() as reader:
        reader.select("INBOX")
        quota.quotaroot(reader)
        one.retention("run")
        sums = quota.assert_exact(one)
        told = quota.quotaroot(reader)[quota.ROOT]["STORAGE"][0]
        assert told == quota.kilobytes(sum(part[0] for part in
                                           sums.values()))
    one.fill([common.letter(400, index=77)], "Archive/2001")
    one.retention("run")
    quota.assert_exact(one)


def test_read_only(server, driver):
    """A store that can't be written to is counted as long as what is kept is
    up to date; else Dovecot itself would have to write."""
    one = quota.make(server, driver)
    fill(one)
    one.retention("run")
    quota.assert_exact(one)
    one.wait_sessions()
    subprocess.run(["chmod", "-R", "a-w", one.home()], check=True)
    try:
        answers = [quota.reported(one) for _ in range(2)]
    finally:
        subprocess.run(["chmod", "-R", "u+w", one.home()], check=True)
    assert answers[0] == answers[1] == quota.reported(one)
    quota.assert_exact(one)
    one.expect_error("read-only|Permission denied")


STATES = {
    "empty": b"",
    "garbage": bytes(range(256)) * 100,
    "numbers": b"User quota\t4294967295\t4294967295\t"
               b"9223372036854775807\t4294967295\t4294967295\n",
    "negative": b"User quota\t-1\t-1\t-1\t-1\t-1\n",
    "overflow": b"User quota\t99999999999999999999\t0\t0\t0\t0\n",
    "fields": b"User quota\t80\n\t\t\t\t\t\nUser quota\n" * 10,
    "long": b"x" * 60000,
    "lines": b"\n" * 60000,
    "escapes": b"\x01User\x01quota\t80\t80\t1\t1\t1\x01",
}
ODD_FILES = ("fifo", "directory", "large", "loop", "unreadable")


def put_odd_file(path, what):
    if what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        os.mkdir(path)
    elif what == "loop":
        os.symlink(os.path.basename(path), path)
    else:
        with open(path, "wb") as file:
            file.truncate(1 << 34 if what == "large" else 10)
    os.chmod(path, 0 if what == "unreadable" else 0o755,
             follow_symlinks=False) if what != "loop" else None
    os.chown(path, 5000, 5000, follow_symlinks=False)


@pytest.mark.parametrize("name", sorted(STATES))
def test_state_damaged(server, name):
    """A damaged dovecot.retention.quota is an empty one: a notice comes, and
    it is remembered."""
    one = quota.make(server, "sdbox", WARN, storage="1000k")
    path = os.path.join(one.home(), "dovecot.retention.quota")
    with open(path, "wb") as file:
        file.write(STATES[name])
    os.chown(path, 5000, 5000)
    use(one, 850)
    assert sent(one) == ["80"] and len(notices(one)) == 1
    settle(one)
    assert sent(one) == ["80"]


@pytest.mark.parametrize("name", ODD_FILES)
def test_state_odd_file(server, name):
    """What is no readable file of that name is an error at once, logged once
    for each session, and keeps nobody from working."""
    one = quota.make(server, "sdbox", WARN, storage="1000k")
    path = os.path.join(one.home(), "dovecot.retention.quota")
    put_odd_file(path, name)
    started = time.monotonic()
    use(one, 850)
    assert time.monotonic() - started < 20
    assert sent(one) == []
    with one.imap() as client:
        client.logout()
    one.wait_sessions()
    assert path in one.log()
    assert len(re.findall("imap.*Warning about the quota failed",
                          one.log())) == 3
    one.expect_error("Warning about the quota failed")


@pytest.mark.parametrize("name", ODD_FILES)
def test_template_odd_file(server, name):
    """Likewise the template: the notice has the built-in text then."""
    one = quota.make(server, "sdbox", start=False)
    path = one.path("notice")
    put_odd_file(path, name)
    one.settings = dict(WARN, retention_quota_warning_template=path)
    one.extra = quota.config(storage="1000k")
    one.write_config()
    one.start()
    use(one, 850)
    (subject, _), = notices(one)
    assert "full" in subject
    one.expect_error("retention_quota_warning_template=%s " % path)


ODD_USERS = ("o'connor", 'a"b', "a b", "grüße", "a<b>", "x" * 200, "{limit}")


def test_odd_user_names(server):
    """User names as they come: the notice's header stays one that can be
    read."""
    one = quota.make(server, "sdbox", WARN, start=False, users={},
                     storage="1000k")
    for user in ODD_USERS:
        home = one.home(user)
        os.makedirs(home)
        os.chown(home, 5000, 5000)
    static = (("userdb static {\n  fields {\n    home = %s\n  }\n"
               "  allow_all_users = yes\n}\n"
               % one.home("%{user}")) if dovecot.IS_24 else
              ("userdb {\n  driver = static\n  args = home=%s "
               "allow_all_users=yes\n}\n" % one.home("%u")))
    one.extra += static + "auth_username_chars =\n"
    one.write_config()
    one.start()
    message = one.path("message")
    with open(message, "wb") as file:
        file.write(b"a: b\n\n" + b"x" * 900 * 1024)
    for user in ODD_USERS:
        one.doveadm("save", "-u", user, message)
        rows = one.doveadm("-f", "json", "fetch", "-u", user, "hdr body",
                           "header", "X-Retention-Quota-Notice", "User quota")
        row, = rows.json()
        parsed = email.message_from_string(row["hdr"])
        assert sorted(parsed.keys()) == sorted(
            ["From", "Date", "Message-ID", "Auto-Submitted",
             "X-Retention-Quota-Notice", "Subject", "MIME-Version",
             "Content-Type", "Content-Transfer-Encoding"] +
            (["To"] if user in ("o'connor", "x" * 200, "{limit}") else []))
        assert "Hello %s," % user in row["body"]


def list_index_files(one):
    return [os.path.join(folder, name) for folder, name in index_files(one)
            if name.startswith("dovecot.list.index")]


def damage(path, rng):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    how = rng.randrange(4)
    if how == 0:
        del data[rng.randrange(len(data) + 1):]
    elif how == 1:
        start = rng.randrange(len(data))
        for index in range(start, min(start + 64, len(data))):
            data[index] = rng.randrange(256)
    else:
        for _ in range(1 + rng.randrange(8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    with open(path, "r+b") as file:
        file.truncate()
        file.write(data)


def test_damaged_list_index(server, driver):
    """Whatever is in the mailbox list index: counting ends, with a number or
    an error, and not in our code by a crash; without the index the number is
    right again."""
    rounds = int(os.environ.get("RETENTION_DAMAGE_ROUNDS") or 25)
    one = quota.make(server, driver)
    one.expect_error(".")
    fill(one)
    one.retention("run")
    sums = quota.assert_exact(one)
    one.wait_sessions()
    good = one.path("good")
    subprocess.run(["cp", "-a", one.home(), good], check=True)
    rng = random.Random(driver)
    crashed = []
    for number in range(rounds):
        subprocess.run(["rm", "-rf", one.home()], check=True)
        subprocess.run(["cp", "-a", good, one.home()], check=True)
        for path in list_index_files(one):
            damage(path, rng)
        with one.popen_doveadm("quota", "get", "-u", "alice") as process:
            _, err = process.communicate(timeout=60)
        if process.returncode < 0:
            crashed.append((number, process.returncode, err))
            assert process.returncode == -6 and "Panic: file " in err
    for path in list_index_files(one):
        os.unlink(path)
    assert quota.assert_exact(one) == sums
    # Dovecot has assertions of its own about its indexes.
    assert len(crashed) <= rounds // 4, crashed
