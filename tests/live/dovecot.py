# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""A private Dovecot: own configuration, sockets, ports, users and log.

One configuration is described once, in Python, and written in the syntax of
the Dovecot series that is installed (2.3 or 2.4).
"""

import contextlib
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time

import imap
import pop3

DEADLINE_SECS = 60
MAIL_UID = 5000
DRIVERS = ("maildir", "sdbox", "mdbox")


def series():
    """"2.3" or "2.4"."""
    version = subprocess.run(["dovecot", "--version"], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
    return "2.3" if version.startswith("2.3.") else "2.4"


SERIES = series()
IS_24 = SERIES == "2.4"


def temp_root():
    return os.environ.get("RETENTION_TMP") or tempfile.gettempdir()


def poll(what, seconds=DEADLINE_SECS, step=0.01):
    """Call what() until it is true; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("still not true after %d s" % seconds)
        time.sleep(step)


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid),
              encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def command_of(pid):
    """The name of the program, "" if it has ended."""
    try:
        with open("/proc/%d/comm" % pid, encoding="ascii") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            ports.append(sock.getsockname()[1])
        return ports


def quote_23(value):
    """A value of a 2.3 rule: quoted when it has white space."""
    value = str(value)
    if re.search(r'[\s"]', value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return value


def rule_23(fields):
    """A rule's fields as the text of a 2.3 plugin setting."""
    return " ".join("%s=%s" % (key, quote_23(value))
                    for key, value in fields.items())


def quote_24(value):
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Failed(Exception):
    """A command exited non-zero. args: its name, status and output."""

    def __init__(self, argv, status, out, err):
        super().__init__("%s: exit status %d\n%s%s" %
                         (" ".join(argv), status, out, err))
        self.status = status
        self.out = out
        self.err = err


class Ran:
    """What a command printed."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    def json(self):
        return json.loads(self.out)


class Dovecot:
    """See the members that __init__ sets for what can be configured.

    rules: {name: {field: value}}; settings: {retention setting: value};
    users: {user: [userdb field text, ...]}, the fields in the words of the
    series at hand; userdb: "passwd-file" or "sql"; extra: text put at the
    end of the configuration, or {series: text}; namespaces: likewise, in
    place of the one namespace that has INBOX.
    """

    def __init__(self, driver, rules=None, settings=None,
                 plugins=("retention",), users=("alice",),
                 userdb="passwd-file", extra="", namespaces=None, alt=False,
                 attachments=False, separator="/", special_use=True,
                 login_plugins=None, mail_location_23=""):
        self.driver = driver
        self.rules = dict(rules or {})
        self.settings = dict(settings or {})
        self.plugins = tuple(plugins)
        self.users = (dict(users) if isinstance(users, dict)
                      else {user: [] for user in users})
        self.userdb = userdb
        self.extra = extra
        self.namespaces = namespaces
        self.alt = alt
        self.attachments = attachments
        self.separator = separator
        self.special_use = special_use
        self.login_plugins = login_plugins or {}
        self.mail_location_23 = mail_location_23

        self.base = tempfile.mkdtemp(prefix="retention-", dir=temp_root())
        os.chmod(self.base, 0o755)
        for name in ("home", "run", "state"):
            os.mkdir(os.path.join(self.base, name))
        for user in self.users:
            self.make_home(user)
        self.config = os.path.join(self.base, "dovecot.conf")
        self.log_path = os.path.join(self.base, "log")
        ports = free_ports(3)
        self.imap_port, self.pop3_port, self.lmtp_port = ports
        self.process = None
        self.expected_errors = []
        # Number of log lines when the server was told to stop.
        self.stopped_at = []
        self.write_config()

    # -- files

    def path(self, *names):
        return os.path.join(self.base, *names)

    def home(self, user="alice"):
        return self.path("home", user)

    def mail_dir(self, user="alice"):
        return os.path.join(self.home(user), "mail")

    def make_home(self, user):
        os.makedirs(self.home(user), exist_ok=True)
        os.chown(self.home(user), MAIL_UID, MAIL_UID)

    def mail_files(self, user="alice", below="mail"):
        """All files that hold messages, of any of the drivers."""
        found = []
        for folder, _, names in os.walk(os.path.join(self.home(user), below)):
            leaf = os.path.basename(folder)
            for name in names:
                if (leaf in ("cur", "new") or
                        re.fullmatch(r"[um]\.[0-9a-f]+", name)):
                    found.append(os.path.join(folder, name))
        return sorted(found)

    def stored_bytes(self, user="alice", below="mail"):
        """Bytes on disk of all messages; a file with several names once."""
        inodes = {}
        for path in self.mail_files(user, below):
            stat = os.stat(path)
            inodes[stat.st_dev, stat.st_ino] = stat.st_size
        return sum(inodes.values())

    def temp_files(self, user="alice"):
        """Files of unfinished work, which a crash or an error may leave."""
        found = []
        for folder, _, names in os.walk(self.home(user)):
            for name in names:
                if (os.path.basename(folder) == "tmp" or
                        name.startswith(".temp.")):
                    found.append(os.path.join(folder, name))
        return found

    # -- configuration

    def _by_series(self, text):
        return text.get(SERIES, "") if isinstance(text, dict) else text

    def write_config(self):
        """Write the configuration anew; a running server needs reload()."""
        if self.userdb == "sql":
            self._write_database()
        self._write_passwd()
        text = self._config_24() if IS_24 else self._config_23()
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)

    def _write_passwd(self):
        with open(self.path("passwd"), "w", encoding="utf-8") as file:
            for user, fields in self.users.items():
                extra = []
                if self.userdb == "passwd-file":
                    extra = ["userdb_" + field for field in fields]
                file.write("%s:{PLAIN}test:%d:%d::%s::%s\n" %
                           (user, MAIL_UID, MAIL_UID, self.home(user),
                            " ".join(extra)))

    def _write_database(self):
        """One column for each userdb field that any user has."""
        import sqlite3
        names = sorted({field.partition("=")[0]
                        for fields in self.users.values()
                        for field in fields})
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("users.sqlite"))
        base = sqlite3.connect(self.path("users.sqlite"))
        base.execute("CREATE TABLE users (%s)" % ", ".join(
            ["user", "home"] + ["f%d" % i for i in range(len(names))]))
        for user, fields in self.users.items():
            values = dict(field.split("=", 1) for field in fields)
            row = [user, self.home(user)]
            row += [values.get(name) for name in names]
            base.execute("INSERT INTO users VALUES (%s)" %
                         ", ".join("?" * len(row)), row)
        base.commit()
        base.close()
        os.chmod(self.path("users.sqlite"), 0o644)
        self.sql_names = names

    def _sql_query(self, var):
        columns = ["home", "%d AS uid" % MAIL_UID, "%d AS gid" % MAIL_UID]
        columns += ['f%d AS "%s"' % (i, name)
                    for i, name in enumerate(self.sql_names)]
        return "SELECT %s FROM users WHERE user = '%s'" % (
            ", ".join(columns), var)

    def _config_23(self):
        lines = [
            "base_dir = %s" % self.path("run"),
            "state_dir = %s" % self.path("state"),
            "log_path = %s" % self.log_path,
            "log_timestamp = \"\"",
            "protocols = imap pop3 lmtp",
            "listen = 127.0.0.1",
            "ssl = no",
            "disable_plaintext_auth = no",
            "auth_mechanisms = plain",
            "first_valid_uid = %d" % MAIL_UID,
            "mail_uid = %d" % MAIL_UID,
            "mail_gid = %d" % MAIL_UID,
            "mail_location = %s:~/mail%s%s" % (
                self.driver, ":ALT=~/alt" if self.alt else "",
                self.mail_location_23),
            "mail_plugins = %s" % " ".join(self.plugins),
            "pop3_no_flag_updates = yes",
            "passdb {",
            "  driver = passwd-file",
            "  args = %s" % self.path("passwd"),
            "}",
        ]
        if self.attachments:
            lines += ["mail_attachment_dir = %s/attachments" % "~",
                      "mail_attachment_min_size = 1k"]
        for protocol, names in self.login_plugins.items():
            lines += ["protocol %s {" % protocol,
                      "  mail_plugins = $mail_plugins %s" % " ".join(names),
                      "}"]
        if self.userdb == "sql":
            with open(self.path("sql.conf"), "w", encoding="utf-8") as file:
                file.write("driver = sqlite\nconnect = %s\n"
                           "user_query = %s\niterate_query = "
                           "SELECT user AS username FROM users\n" %
                           (self.path("users.sqlite"),
                            self._sql_query("%u")))
            lines += ["userdb {", "  driver = sql",
                      "  args = %s" % self.path("sql.conf"), "}"]
        else:
            lines += ["userdb {", "  driver = passwd-file",
                      "  args = %s" % self.path("passwd"), "}"]
        lines += self._services()
        lines += self._namespace_lines()
        lines.append("plugin {")
        for name, fields in self.rules.items():
            text = fields if isinstance(fields, str) else rule_23(fields)
            lines.append("  retention_rule_%s = %s" % (name, text))
        for name, value in self.settings.items():
            lines.append("  %s = %s" % (name, value))
        lines.append("}")
        lines.append(self._by_series(self.extra))
        return "\n".join(lines) + "\n"

    def _config_24(self):
        lines = [
            "dovecot_config_version = 2.4.0",
            "dovecot_storage_version = 2.4.0",
            "base_dir = %s" % self.path("run"),
            "state_dir = %s" % self.path("state"),
            "log_path = %s" % self.log_path,
            "log_timestamp = \"\"",
            "protocols {", "  imap = yes", "  pop3 = yes", "  lmtp = yes",
            "}",
            "listen = 127.0.0.1",
            "ssl = no",
            "auth_allow_cleartext = yes",
            "auth_mechanisms {", "  plain = yes", "}",
            "first_valid_uid = %d" % MAIL_UID,
            "mail_uid = %d" % MAIL_UID,
            "mail_gid = %d" % MAIL_UID,
            "mail_driver = %s" % self.driver,
            "mail_path = ~/mail",
            "pop3_no_flag_updates = yes",
            "mail_plugins {",
        ]
        lines += ["  %s = yes" % name for name in self.plugins]
        lines += ["}", "passdb passwd-file {",
                  "  passwd_file_path = %s" % self.path("passwd"), "}"]
        if self.alt:
            lines.append("mail_alt_path = ~/alt")
        if self.attachments:
            lines += ["mail_ext_attachment_path = ~/attachments",
                      "mail_ext_attachment_min_size = 1k",
                      "mail_ext_attachment {", "  fs posix {", "  }", "}"]
        for protocol, names in self.login_plugins.items():
            lines += ["protocol %s {" % protocol, "  mail_plugins {"]
            lines += ["    %s = yes" % name for name in names]
            lines += ["  }", "}"]
        if self.userdb == "sql":
            lines += ["sql_driver = sqlite",
                      "sqlite_path = %s" % self.path("users.sqlite"),
                      "userdb sql {",
                      "  query = %s" % self._sql_query("%{user}"),
                      "  iterate_query = SELECT user FROM users", "}"]
        else:
            lines += ["userdb passwd-file {",
                      "  passwd_file_path = %s" % self.path("passwd"), "}"]
        lines += self._services()
        lines += self._namespace_lines()
        for name, fields in self.rules.items():
            if isinstance(fields, str):
                lines += ["retention_rule %s {" % name, fields, "}"]
                continue
            lines.append("retention_rule %s {" % name)
            for field, value in fields.items():
                lines.append("  %s = %s" % (field, quote_24(value)))
            lines.append("}")
        for name, value in self.settings.items():
            lines.append("%s = %s" % (name, value))
        lines.append(self._by_series(self.extra))
        return "\n".join(lines) + "\n"

    def _services(self):
        lines = []
        for name, port in (("imap", self.imap_port),
                           ("pop3", self.pop3_port)):
            lines += ["service %s-login {" % name,
                      "  inet_listener %s {" % name, "    port = %d" % port,
                      "  }", "  inet_listener %ss {" % name, "    port = 0",
                      "  }", "}"]
        lines += ["service lmtp {", "  inet_listener lmtp {",
                  "    port = %d" % self.lmtp_port, "  }", "}"]
        return lines

    def _namespace_lines(self):
        if self.namespaces is not None:
            return [self._by_series(self.namespaces)]
        lines = ["namespace inbox {", "  inbox = yes",
                 "  separator = %s" % self.separator]
        if self.special_use:
            for name in ("Sent", "Trash", "Junk", "Drafts"):
                value = quote_24("\\" + name) if IS_24 else "\\" + name
                lines += ["  mailbox %s {" % name,
                          "    special_use = %s" % value,
                          "    auto = create", "  }"]
        lines.append("}")
        return lines

    # -- running

    def start(self):
        assert self.process is None
        with open(self.path("stderr"), "ab") as err:
            self.process = subprocess.Popen(
                ["dovecot", "-F", "-c", self.config],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        poll(self._is_up, 30)
        return self

    def _is_up(self):
        if self.process.poll() is not None:
            with open(self.path("stderr"), encoding="utf-8") as file:
                raise AssertionError("dovecot did not start: %s%s" %
                                     (file.read(), self.log()))
        for port in (self.imap_port, self.pop3_port, self.lmtp_port):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        return True

    def stop(self):
        """Ends once no process of the server is left. The processes that
        would stay until the last are told as well: Dovecot 2.3's master
        sleeps for a second if there are any."""
        if self.process is None:
            return
        below = children(self.process.pid)
        self.stopped_at.append(len(self.log().splitlines()))
        self.process.terminate()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def reload(self):
        """Have the running server read its (rewritten) configuration."""
        self.write_config()
        self.stop()
        self.start()

    def destroy(self):
        self.stop()
        if os.environ.get("RETENTION_KEEP_TMP", "") == "":
            shutil.rmtree(self.base, ignore_errors=True)

    def wait_sessions(self):
        """Until no process works for a client any more. It goes on for a while
        when the client has logged out, and looks at the user's files."""
        poll(lambda: self.process is None or not any(
            command_of(pid) == "imap" for pid in children(self.process.pid)))

    # -- log

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8",
                      errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def expect_error(self, pattern):
        """Lines that match are no failure at the end of the test."""
        self.expected_errors.append(re.compile(pattern))

    def errors(self):
        """Log lines that tell of something wrong and were not expected."""
        bad = re.compile(r"(Error|Panic|Fatal|Warning): |killed with signal|"
                         r"Raw backtrace")
        # Stopping a server under its clients is reported as a warning. On a
        # busy machine processes may find the one for statistics asleep.
        harmless = re.compile(r"Warning: Killed with signal 15|"
                              r"Warning: .*shutting down|"
                              r"Warning: Time moved|"
                              r"stats-writer.*: Timeout waiting for handshake|"
                              r"Warning: service\(.*process_limit")
        # Processes that serve the others complain when those stop first, and
        # one that was just started may not know yet how to stop.
        stopping = re.compile(r"(auth|auth-worker|anvil|log|stats|config|"
                              r"master)(\(|:)|"
                              r".*: child \d+ killed with signal 15")
        first_stop = min(self.stopped_at, default=1 << 60)
        return [line for index, line in enumerate(self.log().splitlines())
                if bad.search(line) and not harmless.search(line) and
                not (index >= first_stop and stopping.match(line)) and
                not any(expected.search(line)
                        for expected in self.expected_errors)]

    # -- commands

    def doveadm_argv(self, *args):
        return ["doveadm", "-c", self.config] + [str(arg) for arg in args]

    def popen_doveadm(self, *args, env=None, preload=None, **kwargs):
        """Start doveadm. env gets through to the process that does the work:
        doveadm executes itself again through doveconf, with an environment
        cleared of all but what DOVECOT_PRESERVE_ENVS names."""
        environ = dict(os.environ)
        extra = dict(env or {})
        if preload is not None:
            extra["LD_PRELOAD"] = preload
        environ.update(extra)
        environ["DOVECOT_PRESERVE_ENVS"] = " ".join(list(extra) + ["TZ"])
        return subprocess.Popen(self.doveadm_argv(*args), env=environ,
                                stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, **kwargs)

    def doveadm(self, *args, check=True, env=None, preload=None):
        """Run doveadm to its end. check: raise Failed on non-zero exit."""
        with self.popen_doveadm(*args, env=env, preload=preload) as process:
            out, err = process.communicate(timeout=600)
        if check and process.returncode != 0:
            raise Failed(["doveadm"] + [str(arg) for arg in args],
                         process.returncode, out, err)
        return Ran(process.returncode, out, err)

    def retention(self, *args, user="alice", check=True, env=None,
                  preload=None, fmt=None):
        """doveadm retention run|status|explain for one user."""
        command, rest = args[0], args[1:]
        argv = [] if fmt is None else ["-f", fmt]
        argv += ["retention", command]
        if user is not None:
            argv += ["-u", user]
        return self.doveadm(*argv, *rest, check=check, env=env,
                            preload=preload)

    def doveconf(self, *args, check=True):
        argv = ["doveconf", "-c", self.config] + list(args)
        done = subprocess.run(argv, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if check and done.returncode != 0:
            raise Failed(argv, done.returncode, done.stdout, done.stderr)
        return Ran(done.returncode, done.stdout, done.stderr)

    # -- clients

    def imap(self, user="alice", login=True):
        return imap.Imap(self.imap_port, user, login=login)

    def pop3_raw(self, user="alice", login=True):
        """A pop3.Pop3, which shows what is sent."""
        return pop3.Pop3(self.pop3_port, user, login=login)

    def pop3(self, user="alice"):
        import poplib
        # Real mail has longer lines than RFC 1939 wants.
        poplib._MAXLINE = 1 << 26
        client = poplib.POP3("127.0.0.1", self.pop3_port, timeout=60)
        client.user(user)
        client.pass_("test")
        return client

    def fill(self, messages, mailbox="INBOX", user="alice"):
        """APPEND messages (mails.Message) and clear their \\Recent."""
        with self.imap(user) as client:
            for start in range(0, len(messages), 100):
                client.append_many(mailbox, [
                    (message.body, message.flags, message.received)
                    for message in messages[start:start + 100]])
            client.select(mailbox)
            client.logout()

    def lmtp(self, messages, user="alice"):
        """Deliver; returns nothing, raises smtplib.SMTPException."""
        with smtplib.LMTP("127.0.0.1", self.lmtp_port, timeout=60) as client:
            for body in messages:
                client.sendmail("sender@example.org", [user], body)
        with self.imap(user) as client:
            client.select("INBOX")
            client.logout()

    def lda(self, body, user="alice"):
        argv = ["/usr/lib/dovecot/dovecot-lda", "-c", self.config, "-d", user]
        done = subprocess.run(argv, input=body, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise Failed(argv, done.returncode, done.stdout.decode(),
                         done.stderr.decode())
