# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Mail that a run must leave alone, and what it must not take from it."""

import os
import random

import pytest

import common
import dovecot
import dump
import mails


def test_hard_linked_copies_take_no_more_space(server, driver):
    """Copies that share one file keep sharing it, or stay plain: whether one
    of their mailboxes is due or both, the user never has more on disk than
    before."""
    one = server(driver, rules={"inbox": common.COMPRESS})
    with one.imap() as client:
        client.create("Copy")
    one.fill(mails.small_corpus(20) + [mails.make(mails.attachment, 77)])
    one.doveadm("copy", "-u", "alice", "Copy", "mailbox", "INBOX", "all")
    before = one.stored_bytes()
    sums = dump.account(one)
    one.retention("run")
    assert one.stored_bytes() <= before
    assert dump.account(one) == sums
    one.rules["copy"] = dict(common.COMPRESS, mailbox="Copy")
    one.reload()
    one.retention("run")
    assert one.stored_bytes() < before * 0.8
    assert dump.account(one) == sums


@pytest.mark.parametrize("dbox", ("sdbox", "mdbox"))
def test_alt_storage_stays(server, dbox):
    """Messages in ALT storage are compressed there, and stay there."""
    one = server(dbox, rules={"inbox": common.COMPRESS}, alt=True)
    one.fill(mails.small_corpus(20))
    one.doveadm("altmove", "-u", "alice", "mailbox", "INBOX", "uid", "1:12")
    if dbox == "mdbox":
        one.doveadm("purge", "-u", "alice")
    before = dump.mailbox(one)

    def places():
        return [len(one.mail_files(below=below)) for below in ("mail", "alt")]

    files = places()
    assert files[1] > 0
    alt_bytes = one.stored_bytes(below="alt")
    one.retention("run")
    assert common.compressed_count(one, below="alt") == 12
    assert common.compressed_count(one) == 8
    assert one.stored_bytes(below="alt") < alt_bytes
    if dbox == "sdbox":
        assert places() == files
    dump.assert_same(before, dump.mailbox(one))


@pytest.mark.parametrize("dbox", ("sdbox", "mdbox"))
def test_external_attachments_are_left_alone(server, dbox):
    """A message whose attachments Dovecot has stored outside of it is not
    compressed, and reads the same; others in the mailbox are."""
    one = server(dbox, rules={"inbox": common.COMPRESS}, attachments=True)
    messages = [mails.make(mails.attachment, index) for index in range(4)]
    one.fill(messages + mails.small_corpus(4))
    outside = one.path("home", "alice", "attachments")
    files = sorted(os.walk(outside))
    assert len(files) > 1
    before = dump.mailbox(one)
    one.retention("run")
    dump.assert_same(before, dump.mailbox(one))
    assert sorted(os.walk(outside)) == files
    assert 0 < common.compressed_count(one) <= 4


MAGICS = (b"\x1f\x8b\x08\x00 gzip?", b"BZh91AY bzip2?",
          b"\xfd7zXZ\x00 xz?", b"\x28\xb5\x2f\xfd zstd?",
          b"CRYPTED\x03\x07 mail_crypt?")


def test_mail_with_a_magic_is_left_alone(server, driver):
    """A message whose own text begins like a compressed or an encrypted one
    stays as it is: were it compressed, what reads it could not tell whether
    to decode it twice."""
    one = server(driver, rules={"inbox": common.COMPRESS})
    for magic in MAGICS:
        body = magic + b": x\r\n\r\n" + b"compressible " * 400 + b"\r\n"
        with one.imap() as client:
            client.append("INBOX", body)
            client.select("INBOX")
    before = dump.mailbox(one)
    stored = [open(path, "rb").read() for path in one.mail_files()]
    one.retention("run")
    assert common.compressed_count(one) == 0
    assert [open(path, "rb").read() for path in one.mail_files()] == stored
    dump.assert_same(before, dump.mailbox(one))


def test_mail_that_does_not_shrink_stays_plain(server, driver):
    """Random data stays plain, and the next run does not even read it: its
    file's access time stays."""
    one = server(driver, rules={"inbox": common.COMPRESS})
    bodies = [mails.make(mails.attachment_random, index).body.replace(
        b"base64", b"7bit") for index in range(2)]
    rng = random.Random(1)
    bodies = [b"a: b\r\n\r\n" + bytes(rng.choices(range(33, 127), k=120000)) +
              b"\r\n" for _ in bodies]
    with one.imap() as client:
        # 94 characters in 8 bits: only entropy coding could save anything,
        # and LZ4 has none.
        for body in bodies:
            client.append("INBOX", body)
    one.retention("run")
    assert common.compressed_count(one) == 0
    for path in one.mail_files():
        stat = os.stat(path)
        os.utime(path, (stat.st_mtime - 1000, stat.st_mtime))
    times = [os.stat(path).st_atime for path in one.mail_files()]
    one.retention("run")
    assert [os.stat(path).st_atime for path in one.mail_files()] == times


def namespaces(driver):
    """The user's own, another user's (shared), a public and a virtual one."""
    old = {
        "inbox": "namespace inbox {\n inbox = yes\n separator = /\n}\n",
        "shared": "namespace {\n type = shared\n separator = /\n"
                  " prefix = shared/%%u/\n"
                  " location = {driver}:%%h/mail\n"
                  " subscriptions = no\n list = children\n}\n",
        "public": "namespace {\n type = public\n separator = /\n"
                  " prefix = Public/\n"
                  " location = {driver}:{base}/public\n"
                  " subscriptions = no\n}\n",
        "virtual": "namespace {\n separator = /\n prefix = Virtual/\n"
                   " location = virtual:~/virtual\n subscriptions = no\n}\n",
    }
    new = {
        "inbox": "namespace inbox {\n inbox = yes\n separator = /\n}\n",
        "shared": "namespace shared {\n type = shared\n separator = /\n"
                  " prefix = shared/$user/\n mail_driver = {driver}\n"
                  " mail_path = %{owner_home}/mail\n"
                  " subscriptions = no\n list = children\n}\n",
        "public": "namespace public {\n type = public\n separator = /\n"
                  " prefix = Public/\n mail_driver = {driver}\n"
                  " mail_path = {base}/public\n subscriptions = no\n}\n",
        "virtual": "namespace virtual {\n separator = /\n"
                   " prefix = Virtual/\n mail_driver = virtual\n"
                   " mail_path = ~/virtual\n subscriptions = no\n}\n",
    }
    text = "".join((new if dovecot.IS_24 else old).values())
    return text.replace("{driver}", driver)


def test_other_namespaces_are_left_alone(server, driver):
    """Rules apply to the user's own mailboxes alone: not to a public
    namespace, not to other users' mailboxes, not to virtual ones."""
    rules = {"all": dict(common.COMPRESS, mailbox="*"),
             "old": dict(common.ARCHIVE, mailbox="Virtual/*"),
             "trash": dict(common.ARCHIVE, mailbox="Public/*",
                           action="expunge", age="1d")}
    one = server(driver, start=False, rules=rules, users=("alice", "bob"),
                 plugins=("virtual",))
    one.namespaces = namespaces(driver).replace("{base}", one.base)
    acl = {"2.3": "plugin {\n acl = vfile\n"
                  " acl_shared_dict = file:%s\n}\n" % one.path("dict", "acl"),
           "2.4": "acl_driver = vfile\nacl_sharing_map {\n dict file {\n"
                  "  path = %s\n }\n}\n" % one.path("dict", "acl")}
    for name in ("public", "dict"):
        os.makedirs(one.path(name))
        os.chown(one.path(name), dovecot.MAIL_UID, dovecot.MAIL_UID)
    virtual = one.path("home", "alice", "virtual", "All")
    os.makedirs(virtual)
    with open(os.path.join(virtual, "dovecot-virtual"), "w",
              encoding="utf-8") as file:
        file.write("INBOX\n  all\n")
    for folder in (os.path.dirname(virtual), virtual):
        os.chown(folder, dovecot.MAIL_UID, dovecot.MAIL_UID)
    one.rules = {}
    one.write_config()
    one.start()
    # Made before there are ACLs, which would forbid it.
    one.doveadm("mailbox", "create", "-u", "alice", "Public/Board")
    one.plugins = ("retention", "virtual", "acl")
    one.extra = acl
    one.rules = rules
    one.reload()
    for rights in ("lookup read insert write expunge",):
        one.doveadm("acl", "set", "-u", "alice", "Public/Board", "anyone",
                    *rights.split())
        one.doveadm("acl", "set", "-u", "bob", "INBOX", "user=alice",
                    *rights.split())
    messages = [common.letter(100, index=index) for index in range(3)]
    one.fill(messages, "Public/Board")
    one.fill(messages, user="bob")
    one.fill(messages)
    names = set(common.counts(one))
    assert {"Public/Board", "Virtual/All", "shared/bob/INBOX"} <= names or \
        {"Public/Board", "Virtual/All", "shared/bob"} <= names
    before = dump.account(one)
    one.retention("run")
    assert dump.account(one) == before
    assert common.compressed_count(one) == 3
    assert common.compressed_count(one, "bob") == 0
    with open(one.path("found"), "wb") as found:
        for folder, _, files in os.walk(one.path("public")):
            for name in files:
                with open(os.path.join(folder, name), "rb") as file:
                    found.write(file.read())
    with open(one.path("found"), "rb") as found:
        assert common.LZ4_MAGIC not in found.read()


def test_mbox_is_refused(server):
    """In mbox, moving works; compressing is refused with a clear message."""
    location = {"2.3": "", "2.4": "mail_inbox_path = ~/inbox"}
    one = server("mbox", rules={"inbox": common.COMPRESS}, extra=location,
                 special_use=False,
                 mail_location_23=":INBOX=~/inbox")
    one.fill([common.letter(100)])
    before = dump.mailbox(one)
    ran = one.retention("run", check=False)
    assert ran.status != 0
    assert "mbox" in ran.err and "compress" in ran.err
    assert "Panic" not in ran.err
    dump.assert_same(before, dump.mailbox(one))
