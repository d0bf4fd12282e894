# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Postfix asks quota-status before it takes a message (check_policy_service),
and delivers over LMTP what it has taken."""

import os
import shutil
import smtplib
import subprocess

import pytest

import dovecot
import mails
import quota
from test_quota_refuse import body

MAIN = """
compatibility_level = 3.6
queue_directory = %(base)s/queue
data_directory = %(base)s/data
maillog_file = %(base)s/maillog
maillog_file_prefixes = %(base)s
meta_directory = /etc/postfix
myhostname = mx.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:there
virtual_transport = lmtp:inet:127.0.0.1:%(lmtp)d
lmtp_destination_recipient_limit = 1
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
  check_policy_service inet:127.0.0.1:%(policy)d
smtpd_end_of_data_restrictions =
message_size_limit = 50000000
alias_maps =
alias_database =
local_recipient_maps =
"""
MASTER = """
127.0.0.1:%(smtp)d inet n - n - - smtpd
postlog   unix-dgram n - n - 1 postlogd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
proxymap  unix  - - n - - proxymap
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
error     unix  - - n - - error
retry     unix  - - n - - error
lmtp      unix  - - n - - lmtp
"""


class Postfix:
    def __init__(self, one, policy):
        self.base = one.path("postfix")
        self.config = os.path.join(self.base, "etc")
        self.port = dovecot.free_ports(1)[0]
        values = {"base": self.base, "lmtp": one.lmtp_port, "policy": policy,
                  "smtp": self.port}
        for name in ("etc", "queue", "data"):
            os.makedirs(os.path.join(self.base, name))
        shutil.chown(os.path.join(self.base, "data"), "postfix")
        for name, text in (("main.cf", MAIN), ("master.cf", MASTER)):
            with open(os.path.join(self.config, name), "w",
                      encoding="ascii") as file:
                file.write(text % values)

    def command(self, name):
        done = subprocess.run(["postfix", "-c", self.config, name],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout

    def __enter__(self):
        self.command("start")
        return self

    def __exit__(self, *exc):
        self.command("stop")

    def send(self, data):
        """(code, text) of the answer to RCPT, or to the message."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            client.ehlo()
            client.mail("sender@example.net", ["SIZE=%d" % len(data)])
            code, text = client.rcpt("alice@example.org")
            if code == 250:
                code, text = client.data(data)
            return code, text.decode()


def delivered(one):
    with one.imap() as client:
        client.command(b"EXAMINE INBOX")
        found = client.search(b"SUBJECT 7777")
        client.logout()
    return found


@pytest.mark.skipif(shutil.which("postfix") is None,
                    reason="Postfix is not installed")
@pytest.mark.parametrize("relief", (False, True))
def test_postfix(server, driver, relief):
    """Refused at RCPT when the mailbox is full, accepted and delivered after a
    run made room; with retention_quota_relief that needs no run."""
    policy = dovecot.free_ports(1)[0]
    rule = {"mailbox": "INBOX", "action": "archive", "age": "30d",
            "age_from": "received"}
    one = quota.make(server, driver,
                     {"retention_quota_relief": "yes"} if relief else {},
                     rules={"inbox": rule}, start=False, storage="1M",
                     port=policy, more={
                         "2.3": "auth_username_format = %Ln\n",
                         "2.4": "auth_username_format = "
                                "%{user | username | lower}\n"})
    one.start()
    with one.imap() as client:
        for index in range(60):
            answer = client.append("INBOX", body(50, index),
                                   date=mails.TODAY - 90 * mails.DAY,
                                   check=False)
            if answer.status != "OK" or (relief and index == 17):
                break
        client.logout()
    message = body(100, 7777)
    with Postfix(one, policy) as postfix:
        dovecot.poll(lambda: _is_open(postfix.port) and _is_open(policy))
        if relief:
            # filled up by a copy, for which no room was made
            one.extra = one.extra.replace("1M", "800k")
            one.reload()
            dovecot.poll(lambda: _is_open(policy))
        else:
            code, text = postfix.send(message)
            assert code == 552 and text.startswith("5.2.2"), text
            one.retention("run")
        code, text = postfix.send(message)
        assert code == 250, text
        dovecot.poll(lambda: delivered(one))
    quota.assert_exact(one)


def _is_open(port):
    import socket
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
