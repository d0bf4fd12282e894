/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "test-common.h"
#include "retention-pattern.h"

static void test_pattern_check(void)
{
	static const struct {
		const char *pattern, *error;
	} tests[] = {
		{ "INBOX", NULL },
		{ "*", NULL },
		{ "Lists/%", NULL },
		{ "Sent Items", NULL },
		{ "Entw\xc3\xbcrfe/\xe4\xb8\xad\xe6\x96\x87", NULL },
		{ "\\Trash", NULL },
		{ "\\tRASH", NULL },
		{ "\\Important", NULL },
		{ "a\\b", NULL },

		{ "", "is empty" },
		{ "Entw\xfcrfe", "UTF-8" },
		{ "\xc3", "UTF-8" },
		{ "In\tbox", "control character" },
		{ "Inbox\n", "control character" },
		{ "In\x7f""box", "control character" },
		{ "/Lists", "empty part" },
		{ "Lists/", "empty part" },
		{ "Lists//x", "empty part" },
		{ "/", "empty part" },
		{ "\\Trsh", "special use" },
		{ "\\", "special use" },
		{ "\\Trash ", "special use" },
		{ "\\Noselect", "special use" },
	};
	const char *error;
	unsigned int i;
	int ret;

	test_begin("pattern: names that no mailbox can have are refused");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		ret = retention_pattern_check(tests[i].pattern, &error);
		test_assert_idx((ret == 0) == (tests[i].error == NULL), i);
		test_assert_idx((error == NULL) == (tests[i].error == NULL), i);
		if (tests[i].error != NULL && error != NULL) {
			test_assert_idx(strstr(error, tests[i].error) != NULL,
					i);
			test_assert_idx(strstr(error, "allowed") != NULL, i);
		}
	}
	test_end();
}

static void test_pattern_match_names(void)
{
	static const struct {
		const char *pattern, *vname;
		char sep;
		bool match;
	} tests[] = {
		/* exactly, no more and no less */
		{ "Work", "Work", '/', TRUE },
		{ "Work", "Work/x", '/', FALSE },
		{ "Work/x", "Work", '/', FALSE },
		{ "Work", "Works", '/', FALSE },
		{ "Work", "xWork", '/', FALSE },
		{ "Work", "work", '/', FALSE },
		{ "Work", "", '/', FALSE },
		{ "Sent Items", "Sent Items", '/', TRUE },

		/* INBOX in any case, other names not: RFC 3501, 5.1 */
		{ "INBOX", "INBOX", '/', TRUE },
		{ "inbox", "INBOX", '/', TRUE },
		{ "InBox", "inbox", '/', TRUE },
		{ "INBOX", "INBOXES", '/', FALSE },
		{ "inboxes", "INBOXES", '/', FALSE },
		{ "INBOX", "INBOX/x", '/', FALSE },
		{ "inbox/x", "INBOX/x", '/', TRUE },
		{ "inbox/x", "INBOX/X", '/', FALSE },
		{ "inbox/x", "INBOX.x", '.', TRUE },
		{ "Lists/inbox", "Lists/INBOX", '/', FALSE },

		/* wildcards: RFC 3501, 6.3.8 */
		{ "*", "INBOX", '/', TRUE },
		{ "*", "a/b/c", '/', TRUE },
		{ "%", "INBOX", '/', TRUE },
		{ "%", "a/b", '/', FALSE },
		{ "%/%", "a/b", '/', TRUE },
		{ "%/%", "a/b/c", '/', FALSE },
		{ "Lists/*", "Lists/a/b", '/', TRUE },
		{ "Lists/*", "Lists", '/', FALSE },
		{ "Lists*", "Lists", '/', TRUE },
		{ "Lists/%", "Lists/a", '/', TRUE },
		{ "Lists/%", "Lists/a/b", '/', FALSE },
		{ "Lists/%/b", "Lists/a/b", '/', TRUE },
		{ "*/b", "a/a/b", '/', TRUE },
		{ "*b*", "abc", '/', TRUE },
		{ "*foo", "foofoo", '/', TRUE },
		{ "%a%", "bab", '/', TRUE },
		{ "%a%", "b/a", '/', FALSE },
		{ "**", "a/b", '/', TRUE },
		{ "%%", "a/b", '/', FALSE },

		/* '/' stands for the separator, whatever it is */
		{ "Lists/a", "Lists.a", '.', TRUE },
		{ "Lists.a", "Lists.a", '.', TRUE },
		{ "Lists/a", "Lists/a", '.', FALSE },
		{ "Lists.a", "Lists/a", '/', FALSE },
		{ "Lists/%", "Lists.a.b", '.', FALSE },
		{ "Lists/%", "Lists.a/b", '.', TRUE },
		{ "Lists/*", "Lists.a.b", '.', TRUE },
		{ "INBOX/%", "INBOX.Trash", '.', TRUE },
		{ "a/b", "a\\b", '\\', TRUE },
		{ "%", "a\\b", '\\', FALSE },

		/* beyond ASCII: byte for byte */
		{ "Gel\xc3\xb6scht", "Gel\xc3\xb6scht", '/', TRUE },
		{ "Gel\xc3\xb6scht", "Gel\xc3\x96scht", '/', FALSE },
		{ "Gel\xc3\xb6scht", "Gelo\xcc\x88scht", '/', FALSE },
		{ "Gel*scht", "Gel\xc3\xb6scht", '/', TRUE },
		{ "\xe4\xb8\xad\xe6\x96\x87/%", "\xe4\xb8\xad\xe6\x96\x87/x",
		  '/', TRUE },
	};
	unsigned int i;

	test_begin("pattern: wildcards, separators and INBOX");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_pattern_match(tests[i].pattern,
							tests[i].vname,
							tests[i].sep, NULL) ==
				tests[i].match, i);
		/* a mailbox's special use does not matter to a name */
		test_assert_idx(retention_pattern_match(tests[i].pattern,
							tests[i].vname,
							tests[i].sep,
							"\\Trash") ==
				tests[i].match, i);
	}
	test_end();
}

static void test_pattern_match_special_use(void)
{
	static const struct {
		const char *pattern, *special_use;
		bool match;
	} tests[] = {
		{ "\\Trash", "\\Trash", TRUE },
		{ "\\trash", "\\Trash", TRUE },
		{ "\\Trash", "\\Junk \\Trash", TRUE },
		{ "\\Junk", "\\Junk \\Trash", TRUE },
		{ "\\Sent", "\\Junk \\Trash", FALSE },
		{ "\\Trash", "\\TrashCan", FALSE },
		{ "\\Trash", "", FALSE },
		{ "\\Trash", NULL, FALSE },
	};
	unsigned int i;

	test_begin("pattern: a special use matches by attribute, not by name");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_pattern_match(tests[i].pattern,
							"\\Trash", '/',
							tests[i].special_use) ==
				tests[i].match, i);
	}
	test_assert(retention_pattern_is_special_use("\\Trash"));
	test_assert(!retention_pattern_is_special_use("Trash"));
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pattern_check,
		test_pattern_match_names,
		test_pattern_match_special_use,
		NULL
	};
	return test_run(test_functions);
}
