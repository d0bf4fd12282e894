# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""The quota plugin's own configuration means with our backend what it means
with Dovecot's count: the same steps get the same answers from both."""

import json
import os
import re
import smtplib
import struct

import pytest

import common
import dovecot
import imap
import mails
import quota
from test_quota_refuse import _is_open as is_open, body, break_count

ARCHIVE_RULE = {"inbox": common.ARCHIVE}
BOXES = ("Trash", "Work", "Work/deep", "Junk", "Archive/2001", "Wörk")
TIMING = re.compile(r" \([0-9.]+ \+ [0-9.]+ .*secs\)\.?$")


def namespaces(more_23="", more_24=""):
    """The namespace that has INBOX, and more of them."""
    names = ("Sent", "Trash", "Junk", "Drafts")
    first = "namespace inbox {\n  inbox = yes\n  separator = /\n%s}\n"
    boxes_23 = "".join("  mailbox %s {\n    special_use = \\%s\n"
                       "    auto = create\n  }\n" % (name, name)
                       for name in names)
    boxes_24 = "".join("  mailbox %s {\n    special_use = \"\\\\%s\"\n"
                       "    auto = create\n  }\n" % (name, name)
                       for name in names)
    return {"2.3": first % boxes_23 + more_23,
            "2.4": first % boxes_24 + more_24}


def make(server, driver, backend, text, users=("alice",), settings=None,
         plugins=(), **kwargs):
    """A server with that configuration; BACKEND and DRIVER are replaced."""
    def fill_in(what):
        return {series: value.replace("BACKEND", backend)
                .replace("DRIVER", driver) for series, value in what.items()}

    if "namespaces" in kwargs:
        kwargs["namespaces"] = fill_in(kwargs["namespaces"])
    loaded = ("quota", "retention") + tuple(plugins)
    if backend == "retention":
        loaded += ("retention_quota",)
    one = server(driver, plugins=loaded, login_plugins=quota.LOGIN,
                 rules=ARCHIVE_RULE, users=users, extra=fill_in(text),
                 settings={"retention_quota_archive": "full"}
                 if settings is None else settings,
                 **kwargs)
    one.expect_error("Quota exceeded|quota-status.*killed with signal 15|"
                     "Namespace is|exceeds max mail size")
    return one


def said(result):
    """What of an answer does not depend on the day: of a command that was
    done, only that it was."""
    text = TIMING.sub("", result.text) if result.status != "OK" else ""
    return result.status, text


def told(client, boxes):
    """All that GETQUOTAROOT says of the mailboxes."""
    answers = []
    for name in boxes:
        result = client.command(b"GETQUOTAROOT", imap.quote(name),
                                check=False)
        answers.append((name, result.status, TIMING.sub("", result.text),
                        result.of("QUOTAROOT"), result.of("QUOTA")))
    return answers


def got(one, user="alice"):
    """All that doveadm quota get says."""
    return json.loads(one.doveadm("-f", "json", "quota", "get", "-u",
                                  user).out)


def deliver(one, sizes, user="alice"):
    """What LMTP says of messages of so many kilobytes."""
    answers = []
    with smtplib.LMTP("127.0.0.1", one.lmtp_port, timeout=60) as client:
        for index, kilos in enumerate(sizes):
            client.mail("a@example.org")
            code, text = client.rcpt(user)
            if code == 250:
                code, text = client.data(body(kilos, 1000 + index))
            answers.append((code, b"" if code == 250 else text))
    return answers


def fill(client, boxes, rounds, kilos):
    answers = []
    for index in range(rounds):
        for name in boxes:
            answers.append((name, said(client.append(
                name, body(kilos, index), check=False))))
    return answers


def walk(one, boxes=BOXES, user="alice", rounds=4, kilos=40,
         sizes=(5, 60, 300, 5)):
    """Fill mailboxes until they are full, copy, deliver, delete: everything
    that is answered meanwhile."""
    answers = []
    with one.imap(user) as client:
        for name in boxes:
            client.command(b"CREATE", imap.quote(name), check=False)
        boxes = ("INBOX",) + tuple(boxes)
        answers += told(client, boxes)
        answers += fill(client, boxes, rounds, kilos)
        answers += told(client, boxes)
        client.select("INBOX")
        for name in boxes:
            answers.append(said(client.command(
                b"UID COPY 1", imap.quote(name), check=False)))
        answers.append(got(one, user))
        client.logout()
    answers += deliver(one, sizes, user)
    answers.append(got(one, user))
    with one.imap(user) as client:
        for name in boxes:
            if client.select(name, check=False).status == "OK":
                client.command(b"STORE 1:2 +FLAGS.SILENT (\\Deleted)",
                               check=False)
                client.command(b"EXPUNGE")
        answers += told(client, boxes)
        answers += fill(client, boxes, 1, kilos)
        client.logout()
    one.doveadm("quota", "recalc", "-u", user)
    answers.append(got(one, user))
    return answers


def compare(server, driver, text, steps=walk, **kwargs):
    """The answers of both backends, which are the same; returns them."""
    answers = []
    for backend in ("count", "retention"):
        one = make(server, driver, backend, text, **kwargs)
        answers.append(steps(one))
        one.stop()
    assert answers[1] == answers[0]
    return answers[1]


# Everything here is refused somewhere, and does not fit by much.
PLAIN_24 = 'quota_driver = BACKEND\nquota "User quota" {\n}\n'


def text_23(*lines, root="BACKEND:User quota"):
    return ("plugin {\n  quota = %s\n  quota_vsizes = yes\n  %s\n}\n" %
            (root, "\n  ".join(lines)))


def mailboxes_24(**boxes):
    return "namespace inbox {\n%s}\n" % "".join(
        '  mailbox "%s" {\n    %s\n  }\n' % (name, value)
        for name, value in boxes.items())


CONFIGS = {
    "storage": {
        "2.3": text_23("quota_rule = *:storage=1M", "quota_grace = 0"),
        "2.4": PLAIN_24 + "quota_storage_size = 1M\n"
               "quota_storage_grace = 0\n"},
    "bytes": {
        "2.3": text_23("quota_rule = *:bytes=600000"),
        "2.4": PLAIN_24 + "quota_storage_size = 600000B\n"
               "quota_storage_grace = 60000B\n"},
    "messages": {
        "2.3": text_23("quota_rule = *:messages=20"),
        "2.4": PLAIN_24 + "quota_message_count = 20\n"},
    "both": {
        "2.3": text_23("quota_rule = *:storage=2M:messages=12"),
        "2.4": PLAIN_24 + "quota_message_count = 12\n"
               "quota_storage_size = 2M\n"},
    "unlimited": {
        "2.3": text_23("quota_rule = *:storage=0"),
        "2.4": PLAIN_24},
    "percent": {
        "2.3": text_23("quota_rule = *:storage=1M:messages=20",
                       "quota_rule2 = Trash:storage=+10%%:messages=+50%%",
                       "quota_rule3 = Junk:storage=-50%%",
                       "quota_rule4 = Work*:messages=-40%%"),
        "2.4": PLAIN_24 + "quota_storage_size = 1M\n"
               "quota_message_count = 20\nquota_storage_grace = 0\n" +
               mailboxes_24(**{
                   "Trash": "quota_storage_percentage = 110\n"
                            "    quota_message_percentage = 150",
                   "Junk": "quota_storage_percentage = 50",
                   "Work*": "quota_message_percentage = 60"})},
    "per mailbox": {
        "2.3": text_23("quota_rule = *:storage=600k",
                       "quota_rule2 = Trash:storage=+200k",
                       "quota_rule3 = Archive/*:storage=+1M",
                       "quota_rule4 = Junk:storage=-300k"),
        "2.4": PLAIN_24 + "quota_storage_size = 600k\n"
               "quota_storage_grace = 0\n" + mailboxes_24(**{
                   "Trash": "quota_storage_extra = 200k",
                   "Archive/*": "quota_storage_extra = 1M",
                   "Junk": "quota_storage_size = 300k"})},
    "ignore": {
        "2.3": text_23("quota_rule = *:storage=600k",
                       "quota_rule2 = Trash:ignore",
                       "quota_rule3 = W*k:ignore",
                       "quota_rule4 = */d??p:ignore"),
        "2.4": PLAIN_24 + "quota_storage_size = 600k\n"
               "quota_storage_grace = 0\n" + mailboxes_24(**{
                   "Trash": "quota_ignore = yes",
                   "W*k": "quota_ignore = yes",
                   "*/d??p": "quota_ignore = yes"})},
    "ignore archive": {
        "2.3": text_23("quota_rule = *:storage=600k",
                       "quota_rule2 = Archive:ignore",
                       "quota_rule3 = Archive/*:ignore",
                       "quota_rule4 = INBOX:ignore"),
        "2.4": PLAIN_24 + "quota_storage_size = 600k\n" + mailboxes_24(**{
            "Archive": "quota_ignore = yes",
            "Archive/*": "quota_ignore = yes",
            "INBOX": "quota_ignore = yes"})},
    "ignore most": {
        "2.3": text_23("quota_rule = *:storage=300k",
                       "quota_rule2 = Work/deep:storage=+1k",
                       "quota_rule3 = Wo*:ignore",
                       "quota_rule4 = Junk:storage=+1k",
                       "quota_rule5 = ?unk:ignore"),
        "2.4": PLAIN_24 + "quota_storage_size = 300k\nnamespace inbox {\n"
               "  quota_ignore = yes\n}\n" + mailboxes_24(**{
                   "Work/deep": "quota_ignore = no",
                   "Wörk": "quota_ignore = no",
                   "INBOX": "quota_ignore = no"})},
    "not enforced": {
        "2.3": text_23("quota_rule = *:storage=300k",
                       root="BACKEND:User quota:noenforcing"),
        "2.4": PLAIN_24 + "quota_storage_size = 300k\n"
               "quota_enforce = no\n"},
    "hidden": {
        "2.3": text_23("quota_rule = *:storage=300k",
                       root="BACKEND:User quota:hidden"),
        "2.4": PLAIN_24 + "quota_storage_size = 300k\n"
               "quota_hidden = yes\n"},
    "hidden and not enforced": {
        "2.3": text_23("quota_rule = *:storage=300k",
                       root="BACKEND:User quota:hidden:noenforcing"),
        "2.4": PLAIN_24 + "quota_storage_size = 300k\n"
               "quota_hidden = yes\nquota_enforce = no\n"},
    "ignore unlimited": {
        "2.3": text_23(root="BACKEND:User quota:ignoreunlimited"),
        "2.4": PLAIN_24 + "quota_ignore_unlimited = yes\n"},
    "two roots": {
        "2.3": text_23("quota_rule = *:storage=2M",
                       "quota2 = BACKEND:Count quota",
                       "quota2_rule = *:messages=15",
                       "quota2_rule2 = Trash:ignore",
                       "quota3 = BACKEND:Soft:hidden:noenforcing",
                       "quota3_rule = *:storage=1k"),
        "2.4": "quota_driver = BACKEND\nquota \"User quota\" {\n"
               "  quota_storage_size = 2M\n}\nquota \"Count quota\" {\n"
               "  quota_message_count = 15\n}\nquota Soft {\n"
               "  quota_storage_size = 1k\n  quota_hidden = yes\n"
               "  quota_enforce = no\n}\nnamespace inbox {\n"
               "  mailbox Trash {\n    quota \"Count quota\" {\n"
               "      quota_ignore = yes\n    }\n  }\n}\n"},
    "grace": {
        "2.3": text_23("quota_rule = *:storage=1M", "quota_grace = 20%%"),
        "2.4": PLAIN_24 + "quota_storage_size = 1M\n"
               "quota_storage_grace = 200k\n"},
    "default grace": {
        "2.3": text_23("quota_rule = *:storage=1100k"),
        "2.4": PLAIN_24 + "quota_storage_size = 1100k\n"},
    "largest message": {
        "2.3": text_23("quota_rule = *:storage=5M",
                       "quota_max_mail_size = 50k"),
        "2.4": PLAIN_24 + "quota_storage_size = 5M\n"
               "quota_mail_size = 50k\n"},
    "own words": {
        "2.3": text_23("quota_rule = *:storage=300k",
                       "quota_exceeded_message = Zu voll."),
        "2.4": PLAIN_24 + "quota_storage_size = 300k\n"
               "quota_exceeded_message = Zu voll.\n"},
}
if dovecot.IS_24:
    CONFIGS["mailboxes"] = {
        "2.4": PLAIN_24 + "quota_storage_size = 5M\n"
               "quota_mailbox_count = 8\nquota_mailbox_message_count = 3\n"}


@pytest.mark.parametrize("name", CONFIGS)
def test_as_with_count(server, name):
    """Every setting of the quota plugin does what it does with count."""
    answers = compare(server, "sdbox", CONFIGS[name])
    if name in ("storage", "bytes", "messages", "both", "percent",
                "per mailbox", "two roots", "own words", "hidden"):
        assert "OVERQUOTA" in repr(answers)
    if name.startswith("hidden"):
        assert "QUOTA ['User quota'" not in repr(answers)
        assert "No quota" in repr(answers)
    if name == "own words":
        assert "Zu voll." in repr(answers)


@pytest.mark.parametrize("name", ("percent", "ignore", "two roots"))
def test_drivers(server, driver, name):
    compare(server, driver, CONFIGS[name])


SPACES = {
    "second private": namespaces(
        "namespace other {\n  prefix = Other/\n  separator = /\n"
        "  location = DRIVER:~/other\n}\n",
        "namespace other {\n  prefix = Other/\n  separator = /\n"
        "  mail_driver = DRIVER\n  mail_path = ~/other\n}\n"),
    "alias": namespaces(
        "namespace alias {\n  prefix = Other/\n  separator = /\n"
        "  location = DRIVER:~/mail\n  alias_for =\n  hidden = yes\n"
        "  list = no\n}\n",
        "namespace alias {\n  prefix = Other/\n  separator = /\n"
        "  mail_driver = DRIVER\n  mail_path = ~/mail\n"
        "  alias_for = inbox\n  hidden = yes\n  list = no\n}\n"),
    "same place": namespaces(
        "namespace same {\n  prefix = Other/\n  separator = /\n"
        "  location = DRIVER:~/mail\n  hidden = yes\n  list = no\n}\n",
        "namespace same {\n  prefix = Other/\n  separator = /\n"
        "  mail_driver = DRIVER\n  mail_path = ~/mail\n"
        "  hidden = yes\n  list = no\n}\n"),
    "public": namespaces(
        "namespace public {\n  type = public\n  prefix = Other/\n"
        "  separator = /\n  location = DRIVER:~/public\n}\n",
        "namespace public {\n  type = public\n  prefix = Other/\n"
        "  separator = /\n  mail_driver = DRIVER\n"
        "  mail_path = ~/public\n}\n"),
    "public with a root": namespaces(
        "namespace public {\n  type = public\n  prefix = Other/\n"
        "  separator = /\n  location = DRIVER:~/public\n}\nplugin {\n"
        "  quota2 = BACKEND:Public quota:ns=Other/\n"
        "  quota2_rule = *:storage=200k\n}\n",
        "namespace public {\n  type = public\n  prefix = Other/\n"
        "  separator = /\n  mail_driver = DRIVER\n"
        "  mail_path = ~/public\n  quota \"Public quota\" {\n"
        "    quota_storage_size = 200k\n  }\n}\n"),
    "second private with a root": namespaces(
        "namespace other {\n  prefix = Other/\n  separator = /\n"
        "  location = DRIVER:~/other\n}\nplugin {\n"
        "  quota2 = BACKEND:Other quota:ns=Other/\n"
        "  quota2_rule = *:storage=200k\n}\n",
        "namespace other {\n  prefix = Other/\n  separator = /\n"
        "  mail_driver = DRIVER\n  mail_path = ~/other\n"
        "  quota \"Other quota\" {\n    quota_storage_size = 200k\n"
        "  }\n}\n"),
    "prefix": {
        "2.3": "namespace inbox {\n  inbox = yes\n  separator = .\n"
               "  prefix = INBOX.\n}\n",
        "2.4": "namespace inbox {\n  inbox = yes\n  separator = .\n"
               "  prefix = INBOX.\n}\n"},
}
SPACES["prefix of INBOX's"] = {
    series: "namespace inbox {\n  inbox = yes\n  separator = /\n"
            "  prefix = Other/\n}\n" for series in ("2.3", "2.4")}
SPACE_BOXES = {"prefix": ("INBOX.Trash", "INBOX.Archive.2001")}
SPACE_QUOTA = {
    "2.3": text_23("quota_rule = *:storage=700k", "quota_grace = 0"),
    "2.4": PLAIN_24 + "quota_storage_size = 700k\nquota_storage_grace = 0\n"}


SPACE_NAMES = ("Work", "Other", "Other/Work", "Other/Trash")


@pytest.mark.parametrize("name", [name for name in SPACES if name not in
                                  ("alias", "same place",
                                   "prefix of INBOX's")])
def test_namespaces(server, driver, name):
    """Which namespaces a root counts: as with count. The mailbox that has the
    name of a namespace's prefix counts, too."""
    boxes = SPACE_BOXES.get(name, SPACE_NAMES)
    compare(server, driver, SPACE_QUOTA, namespaces=SPACES[name],
            steps=lambda one: walk(one, boxes))


@pytest.mark.parametrize("name", ("alias", "same place"))
def test_aliases(server, driver, name):
    """What is seen in two namespaces counts once. (While a session changes it
    by both names, Dovecot's count may be wrong, until it is recalculated.)"""
    def steps(one):
        answers = walk(one, ("Work", "Other/Work", "Other/Trash"))
        if "retention_quota" in one.plugins:
            quota.assert_exact(one, archive="full")
        return answers[-1]

    compare(server, driver, SPACE_QUOTA, namespaces=SPACES[name], steps=steps)


def test_prefix_of_inbox(server, driver):
    """A mailbox called like the prefix of the namespace that INBOX is in: with
    Maildir it is INBOX, which counts once (with count, twice)."""
    one = quota.make(server, driver, start=False)
    one.namespaces = SPACES["prefix of INBOX's"]
    one.write_config()
    one.start()
    one.fill([mails.make(mails.plain, index) for index in range(3)])
    with one.imap() as client:
        client.command(b"CREATE Other", check=False)
        client.append("Other", body(1))
        client.logout()
    assert quota.reported(one)[1] == 4
    rows = one.retention("status", fmt="json").json()
    assert sum(int(row["messages"]) for row in rows) == 4


SHARED = namespaces(
    "namespace shared {\n  type = shared\n  prefix = shared/%%u/\n"
    "  separator = /\n  location = DRIVER:%%h/mail\n"
    "  subscriptions = no\n  list = children\n}\n",
    "namespace shared {\n  type = shared\n  prefix = shared/$user/\n"
    "  separator = /\n  mail_driver = DRIVER\n"
    "  mail_path = %{owner_home}/mail\n  subscriptions = no\n"
    "  list = children\n}\n")


@pytest.mark.parametrize("driver", ("maildir", "sdbox"))
def test_shared(server, driver):
    """Mail that somebody saves in a shared mailbox counts for its owner, who
    may be full meanwhile: as with count."""
    def steps(one):
        answers = []
        one.fill([mails.make(mails.plain, 1)], "Work", "alice")
        with one.imap("bob") as client:
            answers += told(client, ("INBOX", "shared/alice/Work"))
            answers += fill(client, ("shared/alice/Work", "INBOX"), 12, 40)
            client.select("INBOX")
            answers.append(said(client.command(
                b"UID COPY 1:2 shared/alice/Work", check=False)))
            client.select("shared/alice/Work")
            client.command(b"STORE 1:9 +FLAGS.SILENT (\\Deleted)")
            client.command(b"EXPUNGE")
            answers.append(said(client.command(
                b"UID MOVE 10:12 INBOX", check=False)))
            client.logout()
        return answers + [got(one, "alice"), got(one, "bob")]

    def create(one):
        with one.imap("alice") as client:
            client.create("Work")
            client.logout()
        return steps(one)

    answers = compare(server, driver, {
        "2.3": text_23("quota_rule = *:storage=400k", "quota_grace = 0"),
        "2.4": PLAIN_24 + "quota_storage_size = 400k\n"
               "quota_storage_grace = 0\n"},
        users=("alice", "bob"), namespaces=SHARED, steps=create)
    assert "Not showing other users" in repr(answers)
    assert "OVERQUOTA" in repr(answers)


# -- userdb

USER_QUOTAS = {
    "storage": {"2.3": ["quota_rule=*:storage=300k"],
                "2.4": ["quota_storage_size=300k"]},
    "messages": {"2.3": ["quota_rule=*:messages=7"],
                 "2.4": ["quota_message_count=7"]},
    "unlimited": {"2.3": ["quota_rule=*:storage=0"],
                  "2.4": ["quota_storage_size=0"]},
    "Trash": {"2.3": ["quota_rule2=Trash:storage=+500k",
                      "quota_rule3=Work:ignore"],
              "2.4": ["namespace/inbox/mailbox/Trash/quota_storage_extra="
                      "500k", "namespace/inbox/mailbox/Work/quota_ignore="
                      "yes"]},
    "grace": {"2.3": ["quota_grace=300k"],
              "2.4": ["quota_storage_grace=300k"]},
    "hidden": {"2.3": ["quota=BACKEND:Other:hidden"],
               "2.4": ["quota_hidden=yes"]},
    "not enforced": {"2.3": ["quota=BACKEND:Other:noenforcing"],
                     "2.4": ["quota_enforce=no"]},
}


@pytest.mark.parametrize("name", USER_QUOTAS)
def test_userdb_quota(server, name):
    """What userdb says about a user's quota does what it does with count."""
    answers = []
    for backend in ("count", "retention"):
        fields = [field.replace("BACKEND", backend)
                  for field in USER_QUOTAS[name][dovecot.SERIES]]
        one = make(server, "sdbox", backend, {
            "2.3": text_23("quota_rule = *:storage=600k", "quota_grace = 0"),
            "2.4": PLAIN_24 + "quota_storage_size = 600k\n"
                   "quota_storage_grace = 0\nnamespace inbox {\n"
                   "  mailbox Work {\n  }\n}\n"},
            users={"alice": [], "bob": fields})
        answers.append(([walk(one), walk(one, user="bob")]))
        one.stop()
    assert answers[1] == answers[0]
    alice, bob = answers[1]
    assert alice != bob


# {setting: (a value, one that is refused)}
USER_SETTINGS = {
    "retention_quota_archive": ("none", "some"),
    "retention_quota_archive_root": ("Archive", "Nowhere"),
    "retention_quota_on_error": ("tempfail", "perhaps"),
    "retention_quota_relief": ("yes", None),
    "retention_quota_relief_target": ("50", "0"),
    "retention_quota_relief_time": ("5s", "soon"),
    "retention_quota_warning": ("20,40", "40,20"),
    "retention_quota_warning_hysteresis": ("7", "70"),
    "retention_quota_warning_interval": ("2h", "often"),
    "retention_quota_warning_template": ("/tmp/x", "here"),
}


def refused(one, user):
    done = one.doveadm("quota", "get", "-u", user, check=False)
    return done.status != 0 and done.err


def test_userdb_settings(server):
    """userdb may give each of our settings, for that user alone: a good value
    is taken, a wrong one is refused by its name."""
    users = {"plain": []}
    for index, (key, (good, bad)) in enumerate(USER_SETTINGS.items()):
        users["good%d" % index] = ["%s=%s" % (key, good)]
        if bad is not None:
            users["bad%d" % index] = ["%s=%s" % (key, bad)]
    one = make(server, "sdbox", "retention", {
        "2.3": text_23("quota_rule = *:storage=1M", "quota2 = "
                       "retention:Archive", "quota2_rule = *:storage=1M"),
        "2.4": "quota_driver = retention\nquota_storage_size = 1M\n"
               'quota "User quota" {\n}\nquota Archive {\n}\n'},
        users=users, settings={})
    for index, (key, (_, bad)) in enumerate(USER_SETTINGS.items()):
        assert not refused(one, "good%d" % index), key
        if bad is not None:
            text = refused(one, "bad%d" % index)
            assert text and key in text and bad.split(",")[0] in text
    assert not refused(one, "plain")
    one.expect_error("retention: ")


def test_userdb_effects(server, driver):
    """... and does there what it says, and nothing to others."""
    users = {
        "alice": [],
        "free": ["retention_quota_archive=none"],
        "full": ["retention_quota_archive=full"],
        "own": ["retention_quota_archive_root=Archive"],
        "relieved": ["retention_quota_relief=yes",
                     "retention_quota_relief_target=50"],
        "warned": ["retention_quota_warning=1"],
    }
    one = make(server, driver, "retention", {
        "2.3": text_23("quota_rule = *:storage=400k", "quota_grace = 0",
                       "quota2 = retention:Archive",
                       "quota2_rule = *:storage=10M"),
        "2.4": "quota_driver = retention\nquota_storage_grace = 0\n"
               "quota \"User quota\" {\n  quota_storage_size = 400k\n}\n"
               "quota Archive {\n  quota_storage_size = 10M\n}\n"},
        users=users, settings={"retention_quota_archive": "stored"})
    values = {}
    for user in users:
        one.fill([common.letter(400, index=i, kind=mails.html)
                  for i in range(20)], user=user)
        if user != "relieved":
            one.doveadm("retention", "run", "-u", user)
        values[user] = {row["root"]: int(row["value"])
                        for row in got(one, user) if row["type"] == "STORAGE"}
    assert values["free"]["User quota"] == 0
    assert values["own"]["User quota"] == 0
    assert values["own"]["Archive"] == values["alice"]["User quota"]
    assert 0 < values["alice"]["User quota"] < values["full"]["User quota"]
    used = values["relieved"]["User quota"]
    assert deliver(one, (402 - used,), "relieved")[0][0] == 250
    assert deliver(one, (402 - values["alice"]["User quota"],))[0][0] == 552
    (value,) = [int(row["value"]) for row in got(one, "relieved")
                if row["type"] == "STORAGE" and row["root"] == "User quota"]
    assert value < 400
    assert one.log().count("quota notice: ") == 2
    assert one.log().count("relief: ") == 1


# -- what else belongs to the quota plugin

@pytest.mark.parametrize("backend", ("count", "retention"))
def test_clone(server, driver, backend):
    """quota_clone writes to its dict what is counted."""
    one = make(server, driver, backend, {
        "2.3": text_23("quota_rule = *:storage=10M",
                       "quota_clone_dict = file:%h/clone"),
        "2.4": PLAIN_24 + "quota_storage_size = 10M\nquota_clone {\n"
               "  dict file {\n    path = %{home}/clone\n  }\n}\n"},
        plugins=("quota_clone",), settings={})

    def cloned():
        with open(os.path.join(one.home(), "clone"), encoding="ascii") as file:
            lines = file.read().split()
        return (int(lines[lines.index("priv/quota/storage") + 1]),
                int(lines[lines.index("priv/quota/messages") + 1]))

    archive = "stored" if backend == "retention" else "full"
    for step in range(4):
        if step == 0:
            one.fill([common.letter(400, index=i, kind=mails.html)
                      for i in range(8)])
        elif step == 1:
            one.retention("run")
            # Dovecot does not learn of what is compressed in place
            one.fill([common.letter(0)])
        elif step == 2:
            one.lmtp([body(5)])
        else:
            with one.imap() as client:
                client.select("INBOX")
                client.command(b"STORE 1 +FLAGS (\\Deleted)")
                client.command(b"EXPUNGE")
                client.logout()
        one.wait_sessions()
        sums = quota.recount(one, archive=archive)
        assert cloned() == tuple(map(sum, zip(*sums.values())))


WARNING_23 = ("quota_rule = *:storage=1000k:messages=30",
              "quota_warning = storage=80%% quota-warning 80 %u",
              "quota_warning2 = storage=50%% quota-warning 50 %u",
              "quota_warning3 = -storage=50%% quota-warning below %u",
              "quota_warning4 = messages=90%% quota-warning many %u")
WARNING_24 = PLAIN_24.replace("}\n", "") + """
  quota_storage_size = 1000k
  quota_message_count = 30
  quota_warning over-80 {
    quota_storage_percentage = 80
    quota_warning_resource = storage
    execute quota-warning {
      args = 80 %{user}
    }
  }
  quota_warning over-50 {
    quota_storage_percentage = 50
    execute quota-warning {
      args = 50 %{user}
    }
  }
  quota_warning below-50 {
    quota_storage_percentage = 50
    quota_warning_threshold = under
    execute quota-warning {
      args = below %{user}
    }
  }
  quota_warning many {
    quota_message_percentage = 90
    quota_warning_resource = message
    execute quota-warning {
      args = many %{user}
    }
  }
}
"""


@pytest.mark.parametrize("backend", ("count", "retention"))
def test_script_warnings(server, driver, backend):
    """Dovecot's own quota_warning runs its script when a level is crossed:
    upwards, downwards, by size and by number, by IMAP and by LMTP."""
    service = ("service quota-warning {\n  executable = script %s\n"
               "  user = root\n  unix_listener quota-warning {\n"
               "    mode = 0666\n  }\n}\n")
    one = make(server, driver, backend, {
        "2.3": text_23(*WARNING_23), "2.4": WARNING_24}, start=False)
    script = one.path("script")
    with open(script, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\necho \"$@\" >> %s\n" % one.path("warned"))
    os.chmod(script, 0o755)
    one.extra = {dovecot.SERIES: one.extra[dovecot.SERIES] + service % script}
    one.write_config()
    one.start()

    def warned():
        try:
            with open(one.path("warned"), encoding="ascii") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    wanted = []

    def expect(*more):
        wanted.extend("%s alice" % word for word in more)
        dovecot.poll(lambda: len(warned()) >= len(wanted))
        assert warned() == wanted

    with one.imap() as client:
        for _ in range(4):
            client.append("INBOX", body(100))
        expect()
        client.append("INBOX", body(110))
        expect("50")
        client.append("INBOX", body(100))
        client.logout()
    assert deliver(one, (100, 100)) == [(250, b"")] * 2
    expect("80")
    with one.imap() as client:
        client.select("INBOX")
        client.command(b"STORE 1:5 +FLAGS.SILENT (\\Deleted)")
        client.command(b"EXPUNGE")
        expect("below")
        client.append_many("INBOX", [(body(1, index), b"()", None)
                                     for index in range(23)])
        expect()
        client.append("INBOX", body(1))
        expect("many")
        client.logout()
    one.wait_sessions()
    assert warned() == wanted


# -- the README's examples

README = os.path.join(os.path.dirname(__file__), "..", "..", "README.md")


def readme(after):
    """The block for this series that follows these words in the chapter."""
    with open(README, encoding="utf-8") as file:
        chapter = re.split(r"^## ", file.read(), flags=re.M)
    text = next(part for part in chapter if part.startswith("Quota\n"))
    assert text.count(after) == 1, after
    for block in re.findall(r"^```\n(.*?)^```\n", text.split(after)[1],
                            re.M | re.S):
        if block.startswith("# %s\n" % dovecot.SERIES):
            return block
    raise AssertionError(after)


def example(server, driver, title, fields=(), start=True):
    """A server with the README's configuration, and for bob userdb fields
    that make the limits so small that they can be reached."""
    text = readme("It needs three plugins") + readme("**%s" % title)
    one = server(driver, plugins=(), rules=ARCHIVE_RULE, userdb="sql",
                 users={"alice": [], "bob": list(fields)}, extra=text,
                 start=start)
    one.expect_error("Quota exceeded")
    return one


def limits(one, mailbox, user="alice"):
    with one.imap(user) as client:
        answer = quota.quotaroot(client, mailbox)
        client.logout()
    return {root: {name: value[1] for name, value in resources.items()}
            for root, resources in answer.items()}


def refusal(one, mailbox, user="bob", kilos=50):
    """How many messages of so many kilobytes fit."""
    with one.imap(user) as client:
        client.command(b"CREATE", imap.quote(mailbox), check=False)
        for count in range(40):
            result = client.append(mailbox, body(kilos, count), check=False)
            if result.status != "OK":
                assert result.text.startswith("[OVERQUOTA]")
                client.logout()
                return count
        client.logout()
        return None


def old(one, user, count=20):
    one.fill([common.letter(400, index=index, kind=mails.html)
              for index in range(count)], user=user)


def archived(one, user="bob"):
    old(one, user)
    one.doveadm("retention", "run", "-u", user)
    rows = json.loads(one.doveadm("-f", "json", "retention", "status", "-u",
                                  user, "-m", "Archive/*").out)
    assert sum(int(row["messages"]) for row in rows) == 20
    return (sum(int(row["stored"]) for row in rows),
            sum(int(row["size"]) for row in rows))


def by_series(old_one, new):
    return new if dovecot.IS_24 else old_one


def test_example_one_limit(server, driver):
    one = example(server, driver, "One limit for all", by_series(
        ["quota_rule=*:storage=1M", "quota_rule2=Trash:storage=+200k"],
        ["quota_storage_size=1M",
         "namespace/inbox/mailbox/Trash/quota_storage_extra=200k"]))
    assert limits(one, "INBOX") == {"User quota": {"STORAGE": 10 << 20}}
    stored, size = archived(one)
    assert stored < size
    assert quota.reported(one, "bob")[0] == quota.kilobytes(stored)
    room = (1 << 20) - stored
    assert refusal(one, "INBOX") == room // len(body(50))
    assert refusal(one, "Trash", kilos=100) in (1, 2)
    # what is in Trash is above the limit of all others
    assert deliver(one, (1,), "bob")[0][0] == 552


def test_example_free_archive(server, driver):
    one = example(server, driver, "The archive is free", by_series(
        ["quota_rule=*:storage=1M"], ["quota_storage_size=1M"]))
    assert limits(one, "INBOX") == {"User quota": {"STORAGE": 2 << 20}}
    archived(one)
    assert quota.reported(one, "bob") == (0, 0)
    assert refusal(one, "INBOX") == (1 << 20) // len(body(50))
    assert refusal(one, "Archive/2001") is None


def test_example_archive_root(server, driver):
    one = example(server, driver, "The archive has its own", by_series(
        ["quota_rule=*:storage=300k", "quota2_rule=*:storage=1M"],
        ["quota/User quota/quota_storage_size=300k",
         "quota/Archive quota/quota_storage_size=1M"]))
    assert limits(one, "INBOX") == {"User quota": {"STORAGE": 2 << 20}}
    with one.imap() as client:
        client.create("Archive/2001")
        client.logout()
    assert limits(one, "Archive/2001") == {
        "Archive quota": {"STORAGE": 20 << 20}}
    stored, _ = archived(one)
    assert quota.reported(one, "bob") == (0, 0)
    assert quota.reported(one, "bob", "Archive quota") == (
        quota.kilobytes(stored), 20)
    assert refusal(one, "INBOX") == (300 << 10) // len(body(50))
    # on disk lines end with LF alone
    size = len(body(50).replace(b"\r\n", b"\n"))
    assert refusal(one, "Archive/2001") == ((1 << 20) - stored) // size


def test_example_messages(server, driver):
    one = example(server, driver, "Message limits", by_series(
        ["quota_rule=*:storage=10M:messages=25"],
        ["quota_message_count=25"]))
    assert limits(one, "INBOX") == {"User quota": {
        "STORAGE": 10 << 20, "MESSAGE": 100000}}
    archived(one)
    assert quota.reported(one, "bob")[1] == 20
    assert refusal(one, "INBOX", kilos=1) == 5


# -- wrong values

def spoil(one, user="alice"):
    """Make wrong, in all index files, what Dovecot and we have added up: the
    mailboxes' sizes and the archive's stored sizes. The server is stopped by
    this. Returns how many mailboxes have a wrong size now, and how many a
    wrong stored size."""
    boxes = json.loads(one.doveadm(
        "-f", "json", "mailbox", "status", "-u", user,
        "messages uidnext vsize", "*").out)
    rows = json.loads(one.doveadm("-f", "json", "retention", "status", "-u",
                                  user).out)
    stored = {row["mailbox"]: int(row["stored"]) for row in rows}
    one.stop()
    found = set(), set()
    for folder, _, names in os.walk(one.mail_dir(user)):
        for name in names:
            if "index" not in name or "cache" in name:
                continue
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                data = file.read()
            changed = data
            for box in boxes:
                messages = int(box["messages"])
                if messages == 0:
                    continue
                # struct mailbox_index_vsize
                changed = replace(changed, box["mailbox"], found[0], re.escape(
                    struct.pack("=Q", int(box["vsize"]))) + re.escape(
                        struct.pack("=II", int(box["uidnext"]) - 1, messages)))
                # struct retention_stored_sum
                changed = replace(changed, box["mailbox"], found[1], re.escape(
                    struct.pack("=Q", stored[box["mailbox"]])) + b".{8}" +
                        re.escape(struct.pack("=II", messages,
                                              int(box["uidnext"]))))
            if changed != data:
                with open(path, "r+b") as file:
                    file.write(changed)
    return len(found[0]), len(found[1])


WRONG = 1 << 20


def replace(data, name, found, pattern):
    def more(match):
        found.add(name)
        value, = struct.unpack("=Q", match.group()[:8])
        return struct.pack("=Q", value + WRONG) + match.group()[8:]

    return re.sub(pattern, more, data, flags=re.S)


def test_recalc_mends(server, driver):
    """doveadm quota recalc mends the sums that Dovecot and we keep."""
    one = quota.make(server, driver)
    old(one, "alice", 10)
    one.retention("run")
    with one.imap() as client:
        client.create("Work")
        client.logout()
    one.fill([common.letter(0, index=i) for i in range(3)], "Work")
    one.fill([common.letter(0, index=i) for i in range(3)])
    right = quota.assert_exact(one)
    boxes, archives = spoil(one)
    assert (boxes, archives) == (3, 1)
    one.start()
    wrong = quota.reported(one)[0]
    total = sum(part[0] for part in right.values())
    assert wrong > quota.kilobytes(total) + 2 * 1000
    one.doveadm("quota", "recalc", "-u", "alice")
    assert quota.assert_exact(one) == right


@pytest.mark.parametrize("driver", ("maildir", "sdbox"))
def test_recalc_of_restored_files(server, driver):
    """Somebody restores archived files as they were before they were
    compressed: recalc looks at them anew."""
    one = quota.make(server, driver)
    with one.imap() as client:
        client.create("Archive/2001")
        client.logout()
    one.fill([common.letter(400, index=i, kind=mails.html)
              for i in range(5)], "Archive/2001")
    before = quota.assert_exact(one)
    one.wait_sessions()
    plain = {}
    for path in one.mail_files():
        with open(path, "rb") as file:
            plain[path] = file.read()
    one.retention("run")
    after = quota.assert_exact(one)
    assert after["archive"][0] < before["archive"][0]
    one.stop()
    for path, data in plain.items():
        with open(path, "wb") as file:
            file.write(data)
    one.start()
    assert quota.reported(one)[0] == quota.kilobytes(after["archive"][0])
    one.doveadm("quota", "recalc", "-u", "alice")
    assert quota.assert_exact(one) == before


def test_old_list_index(server, driver):
    """The mailbox list index is put back to an older state: what changed since
    is noticed as the mailboxes are opened, at the latest by recalc."""
    one = quota.make(server, driver)
    with one.imap() as client:
        client.create("Work")
        client.logout()
    one.fill([common.letter(0, index=i) for i in range(3)], "Work")
    old(one, "alice", 10)
    quota.assert_exact(one)
    one.stop()
    saved = {}
    for name in os.listdir(one.mail_dir()):
        if name.startswith("dovecot.list.index"):
            path = os.path.join(one.mail_dir(), name)
            with open(path, "rb") as file:
                saved[path] = file.read()
    assert saved != {}
    one.start()
    one.fill([common.letter(0, index=9)], "Work")
    one.retention("run")
    right = quota.assert_exact(one)
    one.stop()
    for name in os.listdir(one.mail_dir()):
        if name.startswith("dovecot.list.index"):
            os.unlink(os.path.join(one.mail_dir(), name))
    for path, data in saved.items():
        with open(path, "wb") as file:
            file.write(data)
        os.chown(path, dovecot.MAIL_UID, dovecot.MAIL_UID)
    one.start()
    one.doveadm("quota", "recalc", "-u", "alice")
    assert quota.assert_exact(one) == right


# -- doveadm retention status

def status_rows(one, *args, user="alice"):
    argv = ["-f", "json", "retention", "status"]
    argv += ["-A"] if user is None else ["-u", user]
    return json.loads(one.doveadm(*argv, *args).out)


TOTALS = {
    "stored": ({}, {}),
    "full": ({"retention_quota_archive": "full"}, {}),
    "none": ({"retention_quota_archive": "none"}, {}),
    "own root": ({"retention_quota_archive_root": "Archive quota"},
                 {"archive_storage": "80M"}),
    "ignored": ({}, {"ignore": ("Work*", "Archive/2001")}),
    "ignored archive": ({}, {"ignore": ("Archive/*",)}),
}


@pytest.mark.parametrize("name", TOTALS)
def test_status_total(server, driver, name):
    """status -t: one row for a user, whose sums are those of the rows without
    it, and whose quota is what doveadm quota get tells."""
    settings, kwargs = TOTALS[name]
    one = quota.make(server, driver, settings, users=("alice", "bob"),
                     **kwargs)
    old(one, "alice")
    with one.imap() as client:
        client.create("Work/deep")
        client.create("Archive/2001")
        client.logout()
    one.fill([common.letter(0, index=i) for i in range(3)], "Work/deep")
    one.fill([common.letter(0, index=i) for i in range(3)], "Archive/2001")
    one.retention("run")
    one.fill([common.letter(0, index=i) for i in range(4)])
    rows = status_rows(one)
    total, = status_rows(one, "-t")
    for key in ("messages", "size", "stored", "quota", "compressed", "plain",
                "not_compressible"):
        assert int(total[key]) == sum(int(row[key]) for row in rows), key
    assert int(total["mailboxes"]) == len(rows)
    assert total["oldest"] == min(row["oldest"] for row in rows
                                  if row["oldest"] != "-")
    assert total["next_due"] == min(row["next_due"] for row in rows
                                    if row["next_due"] != "-")
    assert total["rule"] == "inbox"
    assert (total["downloaded"], total["hidden"]) == ("0", "0")
    kilos = sum(quota.reported(one, root=root)[0]
                for root in {row["root"] for row in got(one)})
    assert abs(kilos - quota.kilobytes(int(total["quota"]))) <= (
        1 if name == "own root" else 0)
    assert int(total["stored"]) < int(total["size"])
    # its own option, and two users
    part, = status_rows(one, "-t", "-m", "Work*")
    assert int(part["messages"]) == 3
    assert (part["downloaded"], part["hidden"]) == ("-", "-")
    both = {row["username"]: row for row in status_rows(one, "-t", user=None)}
    assert both["alice"] == {"username": "alice", **total}
    assert (both["bob"]["messages"], both["bob"]["quota"]) == ("0", "0")


def test_status_total_namespaces(server, driver):
    """Mailboxes of other private namespaces count as well, that with the name
    of the prefix, too; a namespace that the root does not count does not."""
    one = make(server, driver, "retention", SPACE_QUOTA,
               namespaces=SPACES["second private"])
    with one.imap() as client:
        client.command(b"CREATE Other", check=False)
        client.create("Other/Work")
        fill(client, ("INBOX", "Other", "Other/Work"), 2, 10)
        client.logout()
    total, = status_rows(one, "-t")
    assert total["messages"] == "6"
    assert quota.kilobytes(int(total["quota"])) == quota.reported(one)[0]
    assert {row["mailbox"] for row in status_rows(one)} >= {
        "INBOX", "Other", "Other/Work"}


def test_status_of_one_namespace(server):
    """A root that is for one namespace counts no other."""
    one = make(server, "sdbox", "retention", {
        "2.3": text_23("quota_rule = *:storage=1M",
                       root="retention:Other quota:ns=Other/"),
        "2.4": "quota_driver = retention\n"}, namespaces={
            "2.3": SPACES["second private"]["2.3"],
            "2.4": SPACES["second private"]["2.4"].replace(
                "mail_path = ~/other\n", "mail_path = ~/other\n"
                "  quota \"Other quota\" {\n"
                "    quota_storage_size = 1M\n  }\n")})
    with one.imap() as client:
        client.create("Other/Work")
        fill(client, ("INBOX", "Other/Work"), 2, 10)
        client.logout()
    counted = {row["mailbox"]: row["quota"] for row in status_rows(one)
               if row["messages"] != "0"}
    assert counted["INBOX"] == "0" != counted["Other/Work"]
    total, = status_rows(one, "-t")
    assert (quota.kilobytes(int(total["quota"])) ==
            quota.reported(one, root="Other quota")[0])


def test_status_without_our_quota(server):
    """With another backend there is nothing of ours to tell."""
    one = make(server, "sdbox", "count", CONFIGS["storage"])
    one.fill([common.letter(0)])
    assert {row["quota"] for row in status_rows(one)} == {"-"}
    total, = status_rows(one, "-t")
    assert (total["quota"], total["messages"]) == ("-", "1")


@pytest.mark.skipif(not dovecot.IS_24, reason="2.3 has no such roots")
def test_roots_of_namespaces(server):
    """2.4: a root may stand in a namespace. It can be the archive's, and has
    all that other roots have: relief, notices."""
    one = server("sdbox", plugins=quota.PLUGINS, login_plugins=quota.LOGIN,
                 rules=ARCHIVE_RULE, settings={
                     "retention_quota_archive_root": "Archive",
                     "retention_quota_relief": "yes",
                     "retention_quota_warning": "10"},
                 extra="quota_driver = retention\nquota_storage_grace = 0\n"
                 "namespace inbox {\n  quota Live {\n"
                 "    quota_storage_size = 300k\n  }\n  quota Archive {\n"
                 "    quota_storage_size = 3M\n  }\n}\n")
    one.fill([common.letter(400, index=i, kind=mails.html)
              for i in range(15)])
    # and the notice that came meanwhile
    assert quota.reported(one, root="Live")[1] == 16
    used = quota.reported(one, root="Live")[0]
    assert deliver(one, (301 - used,)) == [(250, b"")]
    assert quota.reported(one, root="Archive")[1] > 0
    assert "relief: root=Live" in one.log()
    assert "quota notice: root=Live" in one.log()
    one.settings["retention_quota_archive_root"] = "Nowhere"
    one.reload()
    text = refused(one, "alice")
    assert "Nowhere" in text and "Live, Archive" in text
    one.expect_error("retention: ")


def test_example_quota_status(server):
    """The README's configuration for Postfix; a count that fails defers."""
    port = dovecot.free_ports(1)[0]
    one = example(server, "maildir", "One limit for all", by_series(
        ["quota_rule=*:storage=100k", "quota_grace=0"],
        ["quota_storage_size=100k", "quota_storage_grace=0"]), start=False)
    block = readme("**Postfix** can")
    assert block.count("12340") == 1
    one.extra += block.replace("12340", str(port))
    one.write_config()
    one.start()
    dovecot.poll(lambda: is_open(port))
    assert quota.ask_status(port, "alice", 90000) == "action=DUNNO"
    assert quota.ask_status(port, "nobody") == "action=DUNNO"
    assert quota.ask_status(port, "bob", 90000) == "action=DUNNO"
    refusal(one, "INBOX", kilos=20)
    assert quota.ask_status(port, "bob", 90000) == (
        "action=552 5.2.2 Mailbox is full")
    # Dovecot 2.4.1 looks at the setting, but not at what it says
    assert quota.ask_status(port, "bob", 110000) == "action=552 " + by_series(
        "5.2.3 Message is too large", "5.2.2 Mailbox is full")
    folder = break_count(one)
    assert quota.ask_status(port).startswith("action=DEFER_IF_PERMIT ")
    os.chmod(folder, 0o700)
    one.expect_error(r"quota-status\)?: .*killed with signal 15")


def test_example_warning(server):
    """The README's quota_warning."""
    one = example(server, "sdbox", "One limit for all", by_series(
        ["quota_rule=*:storage=100k"], ["quota_storage_size=100k"]),
        start=False)
    path = one.path("warned")
    with open(path, "w", encoding="ascii"):
        os.chmod(path, 0o666)
    with open(one.path("script"), "w", encoding="ascii") as file:
        file.write("#!/bin/sh\necho \"$@\" >> %s\n" % path)
    os.chmod(one.path("script"), 0o755)
    one.extra += readme("there are two kinds of").replace(
        "/usr/local/bin/quota-warning", one.path("script"))
    one.write_config()
    one.start()
    refusal(one, "INBOX", kilos=9)
    dovecot.poll(lambda: os.path.getsize(path) > 0)
    with open(path, encoding="ascii") as file:
        assert file.read() == "90 bob\n"


@pytest.mark.parametrize("missing", ("retention", "retention_quota"))
def test_missing_plugin(server, missing):
    """Without one of the plugins nothing is counted wrongly: the session does
    not start, and says why."""
    one = quota.make(server, "sdbox", start=False)
    one.plugins = tuple(name for name in one.plugins if name != missing)
    if missing == "retention":
        one.rules = {}
    one.write_config()
    one.start()
    done = one.doveadm("quota", "get", "-u", "alice", check=False)
    assert done.status != 0
    assert "retention" in done.err
    assert deliver_code(one) in (421, 451)
    one.expect_error("retention")


def deliver_code(one):
    try:
        return deliver(one, (1,))[0][0]
    except smtplib.SMTPException as error:
        return getattr(error, "smtp_code", 421)
