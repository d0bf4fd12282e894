# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""SIGKILL of the pop3 process at random points: in the middle of RETR, while
QUIT is being carried out, and while messages go to the archive afterwards."""

import os
import random
import time

import pytest

import common
import dovecot
import dump
import mails
import pop3_steps as steps

# Over all drivers and ways to delete.
KILLS = int(os.environ.get("RETENTION_KILLS") or 200)
MESSAGES = 24
SETTINGS = {
    "keep": {"retention_pop3_delete": "keep"},
    "archive": {"retention_pop3_delete": "archive"},
    "expunge": {"retention_pop3_leave_time": "0"},
}


class Round:
    """Sessions on one copy of the mailbox, one after the other, and what may
    and what must have come of them."""

    def __init__(self, one, delete, rng):
        self.one = one
        self.delete = delete
        self.rng = rng
        # UIDLs
        self.view = self.look()
        self.retr = set()
        self.confirmed = set()
        # Those that the client wanted to be rid of, at any time.
        self.asked = set()

    def look(self):
        with steps.SessionNow(self.one) as client:
            found = list(client.uidl().values())
            client.quit()
        return found

    def session(self, seconds=None):
        """A session that is killed after so many seconds, counted from its
        last commands; returns how long it took if it was not."""
        with steps.SessionNow(self.one) as client:
            numbers = {uidl: number for number, uidl in
                       client.uidl().items()}
            assert list(numbers) == self.view
            retr = self.rng.sample(self.view, min(4, len(self.view)))
            dele = self.rng.sample(self.view, min(3, len(self.view)))
            lines = (["RETR %d" % numbers[uidl] for uidl in retr] +
                     ["DELE %d" % numbers[uidl] for uidl in dele] + ["QUIT"])
            client.send("".join(line + "\r\n" for line in lines).encode())
            begin = time.monotonic()
            if seconds is not None:
                time.sleep(seconds)
                client.process.kill()
            # What the client has got counts, also of a dead process.
            ended = b"+OK Logging out" in client.read_to_end()
            client.process.wait()
            taken = time.monotonic() - begin
            killed = client.process.returncode == -9
            assert killed or client.process.returncode == 0
        self.remove_locks()
        self.check(retr, dele, ended)
        return killed if seconds is not None else taken

    def remove_locks(self):
        """Nor does Dovecot look whether the owner of its session lock is
        still alive until the lock is some seconds old."""
        common.remove_locks(self.one)
        for path in steps.session_locks(self.one):
            os.unlink(path)

    def check(self, retr, dele, ended):
        gone = set(dele)
        if self.delete == "expunge":
            gone |= set(retr)
        now = self.look()
        # Nothing is hidden or gone that was not asked for, ...
        assert set(self.view) - set(now) <= gone
        assert set(now) <= set(self.view)
        # ... and what was answered is done.
        if ended:
            assert not set(now) & gone
            self.confirmed |= set(retr)
        self.view = now
        self.retr |= set(retr)
        self.asked |= gone

    def finish(self, snapshot, uid_of, body_of):
        """All that was not expunged is there, once, and knows what it should. A
        killed process leaves the rest of its work to the next run. mdbox, when
        it repairs itself, brings back what was moved away."""
        self.one.retention("run")
        places = snapshot.account()
        found = dump.count_bodies(places)
        asked = {body_of[uid_of[uidl]] for uidl in self.asked}
        for body, count in snapshot.bodies.items():
            if self.delete != "expunge" or body not in asked:
                assert (found[body] == count or
                        found[body] > count and self.one.driver == "mdbox")
        assert set(found) <= set(snapshot.bodies)
        if self.delete == "expunge":
            return
        downloaded = self.bodies_with(places, steps.DOWNLOADED)
        assert downloaded <= {body_of[uid_of[uidl]] for uidl in self.retr}
        assert downloaded >= {body_of[uid_of[uidl]]
                              for uidl in self.confirmed}
        hidden = self.bodies_with(places, steps.HIDDEN)
        assert hidden == {body_of[uid] for uidl, uid in uid_of.items()
                          if uidl not in self.view}

    def bodies_with(self, places, keyword):
        having = {name: steps.having(self.one, keyword, name)
                  for name in places}
        return {body for name, rows in places.items() for uid, body in rows
                if uid in having[name]}


# mdbox looks for its messages after a crash, and finds expunged ones as well,
# with and without us.
CASES = [(driver, delete) for driver in dovecot.DRIVERS for delete in SETTINGS
         if (driver, delete) != ("mdbox", "expunge")]


@pytest.mark.parametrize("driver, delete", CASES)
def test_killed_session(server, driver, delete):
    """No message is lost; what the client had deleted, or downloaded, with an
    answer to its QUIT never comes down again; and nothing is hidden that was
    not deleted."""
    one = server(driver, settings=SETTINGS[delete])
    one.expect_error("Deleting corrupted cache")
    if driver == "mdbox":
        one.expect_error("Inconsistency in map index|rebuilding indexes|"
                         "fscking index file|view is now inconsistent|"
                         "refcount too low|corrupted")
    # Short ones, so that all the answers fit into a pipe.
    one.fill([mails.make(kind, index) for index, kind in enumerate(
        [mails.plain, mails.alternative, mails.empty_body] *
        (MESSAGES // 3))])
    body_of = dict(dump.account(one)["INBOX"])
    with steps.SessionNow(one) as client:
        uid_of = dict(zip(client.uidl().values(), sorted(body_of)))
        client.quit()
    snapshot = common.Snapshot(one)

    rng = random.Random(driver + delete)
    undisturbed = Round(one, delete, rng)
    whole = min(undisturbed.session() for _ in range(3))
    killed = 0
    while killed * len(CASES) < KILLS:
        snapshot.restore()
        turn = Round(one, delete, rng)
        while len(turn.view) > 6:
            killed += turn.session(rng.uniform(0, whole))
        turn.finish(snapshot, uid_of, body_of)
