/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "test-common.h"
#include "retention-template.h"

#include <stdlib.h>
#include <time.h>

/* 2026-06-15 12:00:00 UTC */
#define TEST_SUMMER_2026 1781524800
/* 2025-12-31 23:30:00 UTC */
#define TEST_NEW_YEAR_2026 1767223800

static void test_use_zone(const char *zone)
{
	if (setenv("TZ", zone, 1) < 0)
		i_fatal("setenv() failed: %m");
	tzset();
}

static void test_template_check(void)
{
	static const struct {
		const char *template, *error;
	} tests[] = {
		{ "Archive/{year}", NULL },
		{ "Archive", NULL },
		{ "Archive/{year}/{month}", NULL },
		{ "Archive/{year}-{month}", NULL },
		{ "Archive/y{year}", NULL },
		{ "Archive/{mailbox}/{year}", NULL },
		{ "INBOX/Archive", NULL },
		{ "INBOX/Archive/{year}", NULL },
		{ "INBOXES/{year}", NULL },
		{ "\xc3\x84lteres/{year}", NULL },

		{ "", "is empty" },
		{ "\xc4lteres/{year}", "UTF-8" },
		{ "Archive\t/{year}", "control character" },
		{ "/Archive", "empty part" },
		{ "Archive/", "empty part" },
		{ "Archive//{year}", "empty part" },
		{ "Archive/%Y", "wildcard" },
		{ "Archive/*", "wildcard" },
		{ "Archive/{day}", "{day}" },
		{ "Archive/{Year}", "{Year}" },
		{ "Archive/{}", "{}" },
		{ "Archive/{ year}", "{ year}" },
		{ "Archive/{yea", "brace" },
		{ "Archive/{year", "brace" },
		{ "Archive/{year}/{", "brace" },
		{ "Archive/year}", "brace" },
		{ "Archive/}{year}", "brace" },
		{ "Archive/{year}}", "brace" },
		{ "Archive/{{year}}", "{{year}" },
		{ "{year}", "of its own" },
		{ "{mailbox}/Archive", "of its own" },
		{ "Archive-{year}", "of its own" },
		{ "Archive{year}/x", "of its own" },
		{ "INBOX", "of its own" },
		{ "inbox", "of its own" },
		{ "INBOX/{year}", "of its own" },
		{ "Inbox/y{year}", "of its own" },
	};
	const char *error;
	unsigned int i;
	int ret;

	test_begin("template: what cannot be an archive is refused");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		ret = retention_template_check(tests[i].template, &error);
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

static void test_template_root(void)
{
	static const struct {
		const char *template, *root;
	} tests[] = {
		{ "Archive/{year}", "Archive" },
		{ "Archive", "Archive" },
		{ "Archive/Mail", "Archive/Mail" },
		{ "Archive/Mail/{year}/x", "Archive/Mail" },
		{ "Archive/Mail-{year}/x", "Archive" },
		{ "inbox/Archive/{year}", "INBOX/Archive" },
	};
	unsigned int i;

	test_begin("template: the fixed part ends before the first variable");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_strcmp_idx(
			retention_template_root(tests[i].template),
			tests[i].root, i);
	}
	test_end();
}

static void test_template_contains(void)
{
	static const struct {
		const char *template, *vname;
		char sep;
		bool contains;
	} tests[] = {
		{ "Archive/{year}", "Archive", '/', TRUE },
		{ "Archive/{year}", "Archive/2026", '/', TRUE },
		{ "Archive/{year}", "Archive/Taxes/2026", '/', TRUE },
		{ "Archive/{year}", "Archives", '/', FALSE },
		{ "Archive/{year}", "Archives/2026", '/', FALSE },
		{ "Archive/{year}", "archive/2026", '/', FALSE },
		{ "Archive/{year}", "Old/Archive/2026", '/', FALSE },
		{ "Archive/{year}", "INBOX", '/', FALSE },
		{ "Archive/{year}", "", '/', FALSE },
		{ "Archive/{year}", "Archive.2026", '.', TRUE },
		{ "Archive/{year}", "Archive.2026", '/', FALSE },
		{ "Archive/{year}", "Archive/2026", '.', FALSE },
		{ "Old/Mail/{year}", "Old.Mail.2026", '.', TRUE },
		{ "Old/Mail/{year}", "Old", '.', FALSE },
		{ "Inbox/Old/{year}", "INBOX/Old", '/', TRUE },
		{ "Inbox/Old/{year}", "INBOX", '/', FALSE },
		{ "\xc3\x84lteres/{year}", "\xc3\x84lteres/2026", '/', TRUE },
	};
	unsigned int i;

	test_begin("template: what is in the archive");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_template_contains(tests[i].template,
							    tests[i].vname,
							    tests[i].sep) ==
				tests[i].contains, i);
	}
	test_end();
}

static void test_template_expand(void)
{
	static const struct {
		const char *template, *origin;
		char sep;
		const char *result;
	} tests[] = {
		{ "Archive/{year}", "INBOX", '/', "Archive/2026" },
		{ "Archive/{year}/{month}", "INBOX", '/', "Archive/2026/06" },
		{ "Archive/{year}-{month}", "INBOX", '.', "Archive.2026-06" },
		{ "Archive/{mailbox}", "INBOX", '/', "Archive/INBOX" },
		{ "Archive/{mailbox}/{year}", "Work/x", '/',
		  "Archive/Work/x/2026" },
		{ "Archive/{mailbox}/{year}", "Work.x/y", '.',
		  "Archive.Work.x/y.2026" },
		{ "Archive/{mailbox}", "{year}", '/', "Archive/{year}" },
		{ "Archive/{year}{year}x", "INBOX", '/', "Archive/20262026x" },
		{ "Archive", "INBOX", '/', "Archive" },
		{ "inbox/Old/{year}", "INBOX", '.', "INBOX.Old.2026" },
		{ "\xc3\x84lteres/{mailbox}", "\xe4\xb8\xad", '/',
		  "\xc3\x84lteres/\xe4\xb8\xad" },
	};
	unsigned int i;

	test_begin("template: variables and separators");
	test_use_zone("UTC");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_strcmp_idx(
			retention_template_expand(tests[i].template,
						  TEST_SUMMER_2026,
						  tests[i].origin,
						  tests[i].sep),
			tests[i].result, i);
	}
	test_end();
}

static void test_template_expand_dates(void)
{
	static const struct {
		const char *zone;
		time_t received;
		const char *result;
	} tests[] = {
		/* new year comes at midnight of the process's zone */
		{ "UTC", TEST_NEW_YEAR_2026, "A/2025/12" },
		{ "UTC", TEST_NEW_YEAR_2026 + 1799, "A/2025/12" },
		{ "UTC", TEST_NEW_YEAR_2026 + 1800, "A/2026/01" },
		{ "CET-1", TEST_NEW_YEAR_2026, "A/2026/01" },
		{ "CET-1", TEST_NEW_YEAR_2026 - 1801, "A/2025/12" },
		{ "CET-1", TEST_NEW_YEAR_2026 - 1800, "A/2026/01" },
		{ "EST5", TEST_NEW_YEAR_2026 + 1800, "A/2025/12" },
		{ "EST5", TEST_NEW_YEAR_2026 + 1800 + 5 * 3600, "A/2026/01" },
		{ "<+14>-14", TEST_NEW_YEAR_2026, "A/2026/01" },
		/* 2026-06-30 22:30 UTC: summer time moves a month's edge */
		{ "CET-1CEST,M3.5.0,M10.5.0/3", 1782858600, "A/2026/07" },
		{ "CET-1", 1782858600, "A/2026/06" },
		/* 29 February */
		{ "UTC", 1709164800, "A/2024/02" },
		/* before and at the beginning of time */
		{ "UTC", 0, "A/1970/01" },
		{ "UTC", -1, "A/1969/12" },
		/* the last second of 32 bits, and the one after it */
		{ "UTC", 2147483647, "A/2038/01" },
		{ "UTC", (time_t)2147483648LL, "A/2038/01" },
		{ "UTC", (time_t)253402300800LL, "A/10000/01" },
		/* dates that have no year */
		{ "UTC", (time_t)INT64_MAX, "A/1970/01" },
		{ "UTC", (time_t)INT64_MIN, "A/1970/01" },
	};
	unsigned int i;

	test_begin("template: year and month are those of the local time");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_use_zone(tests[i].zone);
		test_assert_strcmp_idx(
			retention_template_expand("A/{year}/{month}",
						  tests[i].received, "INBOX",
						  '/'),
			tests[i].result, i);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_template_check,
		test_template_root,
		test_template_contains,
		test_template_expand,
		test_template_expand_dates,
		NULL
	};
	return test_run(test_functions);
}
