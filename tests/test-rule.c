/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "test-common.h"
#include "retention-compat.h"
#include "retention-rule.h"

#define DAY (60 * 60 * 24)

/* an error's beginning, and something that it must have as well */
static void test_error(const char *error, const char *has, unsigned int i)
{
	test_assert_idx(error != NULL && strstr(error, has) != NULL, i);
	if (error != NULL && strstr(error, has) == NULL)
		i_error("'%s' lacks '%s'", error, has);
	/* how our error texts end */
	test_assert_idx(error != NULL && error[0] != '\0' &&
			error[strlen(error) - 1] != '.', i);
}

static void test_parse_time(void)
{
	static const struct {
		const char *str;
		unsigned int secs;
	} tests[] = {
		{ "0", 0 }, { "1s", 1 }, { "90d", 90 * DAY },
		{ "90 days", 90 * DAY }, { "2w", 14 * DAY }, { "5m", 300 },
		{ "12h", 12 * 3600 }, { "1 HOUR", 3600 },
		{ "49710d", 49710U * DAY },
		{ "unlimited", UINT_MAX }, { "infinite", UINT_MAX },
	};
	static const char *const bad[] = {
		"", "90", "-1d", "1.5d", "1y", "3 months", "d", "90dd",
		"49711d", "99999999999999999999d", "forever", "yes",
	};
	const char *error;
	unsigned int i, secs;

	test_begin("time: units are required, and more than fits is refused");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_parse_time(tests[i].str, &secs,
						     &error) == 0 &&
				secs == tests[i].secs, i);
	}
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		error = NULL;
		test_assert_idx(retention_parse_time(bad[i], &secs,
						     &error) < 0, i);
		test_assert_idx(error != NULL, i);
	}
	test_end();
}

static void test_parse_size(void)
{
	static const struct {
		const char *str;
		uoff_t size;
	} tests[] = {
		{ "0", 0 }, { "1", 1 }, { "1B", 1 }, { "100k", 102400 },
		{ "1M", 1048576 }, { "2 GiB", 2147483648ULL },
		{ "18446744073709551615", UOFF_T_MAX },
	};
	static const char *const bad[] = {
		"", "-1", "k", "1x", "1.5M", "18446744073709551616",
		"17179869184G", "unlimited",
	};
	const char *error;
	unsigned int i;
	uoff_t size;

	test_begin("size: more than fits is refused");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_parse_size(tests[i].str, &size,
						     &error) == 0 &&
				size == tests[i].size, i);
	}
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		error = NULL;
		test_assert_idx(retention_parse_size(bad[i], &size,
						     &error) < 0, i);
		test_assert_idx(error != NULL, i);
	}
	test_end();
}

static void test_rule_defaults(void)
{
	struct retention_rule rule;
	const char *error;
	pool_t pool;

	test_begin("rule: optional fields have their defaults");
	pool = pool_alloconly_create("rule", 256);
	retention_rule_init(&rule, pool, "inbox");
	test_assert(retention_rule_parse(&rule, pool, "mailbox=INBOX "
		"action=archive age=90d", &error) == 0);
	test_assert_strcmp(rule.name, "inbox");
	test_assert_strcmp(rule.mailbox, "INBOX");
	test_assert(rule.action == RETENTION_ACTION_ARCHIVE);
	test_assert(rule.age == 90 * DAY);
	test_assert(rule.age_from == RETENTION_AGE_FROM_SAVED);
	test_assert(!rule.keep_flagged);
	test_assert(!rule.keep_unseen);
	test_assert(rule.min_size == 0);
	test_assert(rule.into == NULL);
	test_assert(retention_rule_check(&rule, DAY, &error) == 0);
	pool_unref(&pool);
	test_end();
}

static void test_rule_all_fields(void)
{
	struct retention_rule rule;
	const char *error;
	pool_t pool;

	test_begin("rule: every field, in any order");
	pool = pool_alloconly_create("rule", 256);
	retention_rule_init(&rule, pool, "r");
	test_assert(retention_rule_parse(&rule, pool, " \tinto=Old/{year} "
		"min_size=10k keep_unseen=YES keep_flagged=no age_from=Sent "
		"age=unlimited action=Archive mailbox=*\r\n", &error) == 0);
	test_assert_strcmp(rule.mailbox, "*");
	test_assert(rule.action == RETENTION_ACTION_ARCHIVE);
	test_assert(rule.age == RETENTION_AGE_UNLIMITED);
	test_assert(rule.age_from == RETENTION_AGE_FROM_SENT);
	test_assert(!rule.keep_flagged);
	test_assert(rule.keep_unseen);
	test_assert(rule.min_size == 10240);
	test_assert_strcmp(rule.into, "Old/{year}");
	test_assert(retention_rule_check(&rule, DAY, &error) == 0);
	pool_unref(&pool);
	test_end();
}

static void test_rule_quotes(void)
{
	static const struct {
		const char *str, *mailbox;
	} tests[] = {
		{ "mailbox=Sent", "Sent" },
		{ "mailbox=\"Sent Items\"", "Sent Items" },
		{ "mailbox=\"Sent\tItems\" age=1d", "Sent\tItems" },
		{ "age=1d mailbox=\"a=b c\"", "a=b c" },
		{ "mailbox=a=b", "a=b" },
		{ "mailbox=\\Trash", "\\Trash" },
		{ "mailbox=\"\\Trash\"", "\\Trash" },
		{ "mailbox=\"\\\\Trash\"", "\\Trash" },
		{ "mailbox=\"say \\\"hi\\\"\"", "say \"hi\"" },
		{ "mailbox=\"a\\\\\"", "a\\" },
		{ "mailbox='a'", "'a'" },
		{ "mailbox=", "" },
		{ "mailbox=\"\"", "" },
		{ "mailbox=Gr\xc3\xb6\xc3\x9f""e", "Gr\xc3\xb6\xc3\x9f""e" },
	};
	struct retention_rule rule;
	const char *error;
	unsigned int i;
	pool_t pool;

	test_begin("rule: double quotes round a value with spaces");
	pool = pool_alloconly_create("rule", 256);
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		retention_rule_init(&rule, pool, "r");
		test_assert_idx(retention_rule_parse(&rule, pool, tests[i].str,
						     &error) == 0, i);
		test_assert_strcmp_idx(rule.mailbox, tests[i].mailbox, i);
	}
	pool_unref(&pool);
	test_end();
}

static void test_rule_parse_errors(void)
{
	static const struct {
		const char *str, *error;
	} tests[] = {
		{ "INBOX", "'INBOX' is not field=value" },
		{ "mailbox = INBOX", "'mailbox' is not field=value" },
		{ "mailbox =INBOX", "'mailbox' is not field=value" },
		{ "mailbox= INBOX", "'INBOX' is not field=value" },
		{ "=INBOX", "unknown field ''" },
		{ "malbox=INBOX", "unknown field 'malbox'" },
		{ "malbox=INBOX", "allowed are mailbox, action, age, age_from, "
		  "keep_flagged, keep_unseen, min_size, into" },
		{ "mailbox=Sent Items", "'Items' is not field=value" },
		{ "mailbox=\"Sent Items", "no closing double quote" },
		{ "mailbox=\"", "no closing double quote" },
		{ "mailbox=\"a\\\"", "no closing double quote" },
		{ "mailbox=\"a\\", "no closing double quote" },
		{ "mailbox=\"a\"b", "double quote inside" },
		{ "mailbox=a\"b\"", "double quote inside" },
		{ "mailbox=\"a\"age=1d", "double quote inside" },
		{ "mailbox=a mailbox=b",
		  "mailbox=b: the field is given twice" },
		{ "age=1d mailbox=a AGE=2d",
		  "AGE=2d: the field is given twice" },
		{ "action=move", "action=move is not an action (allowed are "
		  "compress, archive, expunge, keep)" },
		{ "action=none", "action=none is not an action" },
		{ "action=", "action= is not an action" },
		{ "age=90", "age=90: " },
		{ "age=90", "allowed is a time such as 90d" },
		{ "age=soon", "age=soon: " },
		{ "age=", "age=: " },
		{ "age=49711d", "age=49711d: " },
		{ "age_from=date", "age_from=date is not a date (allowed are "
		  "saved, received, sent)" },
		{ "keep_flagged=maybe", "keep_flagged=maybe (allowed are yes" },
		{ "keep_unseen=1", "keep_unseen=1 (allowed are yes, no)" },
		{ "min_size=big", "min_size=big: " },
		{ "min_size=big", "allowed is a size" },
	};
	struct retention_rule rule;
	const char *error;
	unsigned int i;
	pool_t pool;

	test_begin("rule: what cannot be parsed is named");
	pool = pool_alloconly_create("rule", 256);
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		retention_rule_init(&rule, pool, "r");
		error = NULL;
		test_assert_idx(retention_rule_parse(&rule, pool, tests[i].str,
						     &error) < 0, i);
		test_error(error, tests[i].error, i);
	}
	pool_unref(&pool);
	test_end();
}

static void test_rule_check(void)
{
	static const struct {
		const char *str;
		unsigned int minimum_age;
		const char *error;
	} tests[] = {
		/* required fields */
		{ "", DAY, "mailbox is missing (required are mailbox, action "
		  "and age)" },
		{ "action=keep age=0", DAY, "mailbox is missing" },
		{ "mailbox=a age=1d", DAY, "action is missing" },
		{ "mailbox=a action=keep", DAY, "age is missing" },
		/* also when the rule is off: its name may be misspelt */
		{ "age=unlimited", DAY, "mailbox is missing" },

		{ "mailbox= action=keep age=0", DAY, "mailbox= is empty" },
		{ "mailbox=\\Bin action=keep age=0", DAY,
		  "mailbox=\\Bin is not a special use" },

		/* the floor, to the second */
		{ "mailbox=a action=expunge age=1d", DAY, NULL },
		{ "mailbox=a action=expunge age=86399s", DAY,
		  "age=86399s is too low for action=expunge (allowed is "
		  "retention_minimum_age = 1d" },
		{ "mailbox=a action=expunge age=2h", DAY, "age=2h is too low" },
		{ "mailbox=a action=expunge age=2h", 2 * 3600, NULL },
		{ "mailbox=a action=expunge age=90m", 2 * 3600,
		  "retention_minimum_age = 2h" },
		{ "mailbox=a action=expunge age=1s", 0, NULL },
		{ "mailbox=a action=expunge age=100d", RETENTION_AGE_UNLIMITED,
		  "retention_minimum_age = unlimited" },
		{ "mailbox=a action=expunge age=unlimited",
		  RETENTION_AGE_UNLIMITED, NULL },
		{ "mailbox=a action=archive age=1s", DAY, NULL },
		{ "mailbox=a action=compress age=1s", DAY, NULL },
		{ "mailbox=a action=keep age=1s", DAY, NULL },

		/* age 0 */
		{ "mailbox=a action=keep age=0", DAY, NULL },
		{ "mailbox=a action=compress age=0", DAY, NULL },
		{ "mailbox=a action=archive age=0", DAY,
		  "age=0 with action=archive" },
		{ "mailbox=a action=expunge age=0", DAY, "age=0 is too low" },
		{ "mailbox=a action=expunge age=0", 0,
		  "age=0 with action=expunge" },
		{ "mailbox=a action=archive age=0s", 0,
		  "age=0 with action=archive" },

		{ "mailbox=a action=keep age=0 min_size=18446744073709551615",
		  DAY, "min_size=unlimited" },

		/* the archive mailbox */
		{ "mailbox=a action=archive age=1d into=Old", DAY, NULL },
		{ "mailbox=a action=archive age=1d into=", DAY, NULL },
		{ "mailbox=a action=compress age=1d into=Old", DAY,
		  "into=Old with action=compress" },
		{ "mailbox=a action=archive age=1d into={year}", DAY,
		  "into={year} does not begin" },
		{ "mailbox=a action=archive age=unlimited into={yr}", DAY,
		  "into={yr} has the unknown variable" },
	};
	struct retention_rule rule;
	const char *error;
	unsigned int i;
	pool_t pool;
	int ret;

	test_begin("rule: a finished rule is checked as a whole");
	pool = pool_alloconly_create("rule", 256);
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		retention_rule_init(&rule, pool, "r");
		test_assert_idx(retention_rule_parse(&rule, pool, tests[i].str,
						     &error) == 0, i);
		error = NULL;
		ret = retention_rule_check(&rule, tests[i].minimum_age, &error);
		test_assert_idx((ret == 0) == (tests[i].error == NULL), i);
		if (tests[i].error != NULL)
			test_error(error, tests[i].error, i);
	}
	pool_unref(&pool);
	test_end();
}

static void test_rule_set(void)
{
	struct retention_rule rule;
	const char *error;
	pool_t pool;

	test_begin("rule: a single field counts over what was parsed");
	pool = pool_alloconly_create("rule", 256);
	retention_rule_init(&rule, pool, "r");
	test_assert(retention_rule_parse(&rule, pool, "mailbox=INBOX "
		"action=archive age=90d keep_flagged=yes into=Old",
		&error) == 0);
	test_assert(retention_rule_set(&rule, pool, "age", "7d", &error) == 0);
	test_assert(rule.age == 7 * DAY);
	test_assert(retention_rule_set(&rule, pool, "keep_flagged", "no",
				       &error) == 0);
	test_assert(!rule.keep_flagged);
	test_assert(retention_rule_set(&rule, pool, "into", "", &error) == 0);
	test_assert(rule.into == NULL);
	test_assert(retention_rule_set(&rule, pool, "mailbox", "Sent Items",
				       &error) == 0);
	test_assert_strcmp(rule.mailbox, "Sent Items");
	test_assert(retention_rule_set(&rule, pool, "agee", "7d", &error) < 0);
	test_error(error, "unknown field 'agee'", 0);
	test_assert(retention_rule_set(&rule, pool, "age", "7", &error) < 0);
	test_error(error, "age=7: ", 0);
	/* a value that is refused changes nothing */
	test_assert(rule.age == 7 * DAY);
	test_assert(retention_rule_check(&rule, DAY, &error) == 0);
	pool_unref(&pool);
	test_end();
}

static void test_rule_build(void)
{
	struct retention_rule rule;
	const char *error;
	pool_t pool;

	test_begin("rule: a rule can be built of single fields");
	pool = pool_alloconly_create("rule", 256);
	retention_rule_init(&rule, pool, "r");
	test_assert(retention_rule_parse(&rule, pool, "", &error) == 0);
	test_assert(retention_rule_set(&rule, pool, "age", "unlimited",
				       &error) == 0);
	test_assert(retention_rule_check(&rule, DAY, &error) < 0);
	test_assert(retention_rule_set(&rule, pool, "action", "expunge",
				       &error) == 0);
	test_assert(retention_rule_check(&rule, DAY, &error) < 0);
	test_assert(retention_rule_set(&rule, pool, "mailbox", "\\Junk",
				       &error) == 0);
	test_assert(retention_rule_check(&rule, DAY, &error) == 0);
	pool_unref(&pool);
	test_end();
}

static void test_rule_names(void)
{
	test_begin("rule: words for actions and dates");
	test_assert_strcmp(retention_action_name(RETENTION_ACTION_NONE),
			   "none");
	test_assert_strcmp(retention_action_name(RETENTION_ACTION_COMPRESS),
			   "compress");
	test_assert_strcmp(retention_action_name(RETENTION_ACTION_ARCHIVE),
			   "archive");
	test_assert_strcmp(retention_action_name(RETENTION_ACTION_EXPUNGE),
			   "expunge");
	test_assert_strcmp(retention_action_name(RETENTION_ACTION_KEEP),
			   "keep");
	test_assert_strcmp(retention_age_from_name(RETENTION_AGE_FROM_SAVED),
			   "saved");
	test_assert_strcmp(retention_age_from_name(RETENTION_AGE_FROM_RECEIVED),
			   "received");
	test_assert_strcmp(retention_age_from_name(RETENTION_AGE_FROM_SENT),
			   "sent");
	test_end();
}

static void test_rules_hash(void)
{
	static const char *const texts[] = {
		"mailbox=INBOX action=archive age=90d",
		"mailbox=INBOX action=archive age=91d",
		"mailbox=INBOX action=expunge age=90d",
		"mailbox=INBOX/* action=archive age=90d",
		"mailbox=INBOX action=archive age=90d age_from=sent",
		"mailbox=INBOX action=archive age=90d keep_flagged=yes",
		"mailbox=INBOX action=archive age=90d keep_unseen=yes",
		"mailbox=INBOX action=archive age=90d min_size=1k",
		"mailbox=INBOX action=archive age=90d into=Old/{year}",
	};
	struct retention_rule rules[N_ELEMENTS(texts)];
	const struct retention_rule *rulep;
	uint32_t hashes[N_ELEMENTS(texts)];
	const char *error;
	unsigned int i, j;

	test_begin("rule: rules that differ in any field have other hashes");
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		retention_rule_init(&rules[i], pool_datastack_create(), "a");
		test_assert_idx(retention_rule_parse(&rules[i],
			pool_datastack_create(), texts[i], &error) == 0, i);
		rulep = &rules[i];
		hashes[i] = retention_rules_hash(&rulep, 1);
		test_assert_idx(hashes[i] == retention_rules_hash(&rulep, 1),
				i);
		for (j = 0; j < i; j++)
			test_assert_idx(hashes[i] != hashes[j], i);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_parse_time,
		test_parse_size,
		test_rule_defaults,
		test_rule_all_fields,
		test_rule_quotes,
		test_rule_parse_errors,
		test_rule_check,
		test_rule_set,
		test_rule_build,
		test_rule_names,
		test_rules_hash,
		NULL
	};
	return test_run(test_functions);
}
