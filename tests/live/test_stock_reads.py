# Copyright (c) 2026 dovecot-retention authors, see the included COPYING file
"""Nothing is lost when the plugin is taken out again."""

import common
import dovecot
import dump
import mails

STOCK = "mail_compress" if dovecot.IS_24 else "zlib"


def test_stock_dovecot_reads_the_archive(server, driver):
    """With the plugin out and Dovecot's own zlib (2.3) or mail_compress (2.4)
    in, everything that was archived and compressed reads the same."""
    rules = {"inbox": dict(common.ARCHIVE, age="90d"),
             "rest": common.COMPRESS}
    one = server(driver, rules=rules)
    one.fill(mails.corpus(200, with_big=1))
    # Tomorrow, so that a save date that is not kept is seen.
    common.run_later(one, 1)
    assert common.compressed_count(one) > 100
    names = [name for name in dump.account(one) if name != "INBOX"]
    assert len(names) > 1
    before = {name: dump.mailbox(one, name) for name in ["INBOX"] + names}
    pop3 = dump.pop3(one)

    one.plugins = (STOCK,)
    one.rules = {}
    one.reload()
    for name, dumped in before.items():
        dump.assert_same(dumped, dump.mailbox(one, name))
    dump.assert_same(pop3, dump.pop3(one))


def test_works_beside_stock_compression(server, driver):
    """Loaded together with zlib or mail_compress, which compress what is
    saved, both kinds of stored messages are read, and what Dovecot has
    compressed is left as it is."""
    level = {"2.3": "plugin {\n  zlib_save = gz\n}",
             "2.4": "mail_compress_write_method = gz"}
    one = server(driver, rules={"all": common.COMPRESS},
                 plugins=("retention", STOCK))
    one.fill(mails.small_corpus(20))
    one.extra = level
    one.reload()
    one.fill(mails.small_corpus(20, seed=2))
    before = dump.mailbox(one), dump.pop3(one)
    stored = {path: open(path, "rb").read() for path in one.mail_files()}
    one.retention("run")
    assert common.compressed_count(one) == 20
    if driver == "maildir":
        for path, data in stored.items():
            if data.startswith(b"\x1f\x8b"):
                assert open(path, "rb").read() == data
    dump.assert_same(before[0], dump.mailbox(one))
    dump.assert_same(before[1], dump.pop3(one))
