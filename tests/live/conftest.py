# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import dovecot  # noqa: E402


@pytest.fixture(params=dovecot.DRIVERS)
def driver(request):
    return request.param


@pytest.fixture
def server(request):
    """Makes servers: server("maildir", rules=...). They are started unless
    start=False is given. At the end they are stopped, and their logs must
    tell of no error that the test did not expect."""
    made = []

    def make(driver, start=True, **kwargs):
        one = dovecot.Dovecot(driver, **kwargs)
        made.append(one)
        return one.start() if start else one

    make.made = made
    yield make
    errors = []
    for one in made:
        one.stop()
        errors += one.errors()
        one.destroy()
    assert errors == [], "in the log:\n" + "\n".join(errors[:30])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the servers' logs of a failed test."""
    report = (yield).get_result()
    make = item.funcargs.get("server") if report.failed else None
    for one in make.made if make is not None else ():
        report.sections.append(("log of %s" % one.base, one.log()[-4000:]))
