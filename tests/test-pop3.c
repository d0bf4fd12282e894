/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "test-common.h"
#include "retention-verdict.h"
#include "retention-pop3.h"

#define HOUR (60 * 60)
#define DAY (60 * 60 * 24)
#define UNLIMITED RETENTION_AGE_UNLIMITED
/* 2026-06-15 12:00:00 UTC */
#define NOW ((time_t)1781524800)

/* Shorter names, for the tables. */
#define DELETE(what) RETENTION_POP3_DELETE_##what
#define TO(what) RETENTION_ACTION_##what
#define DO(what) RETENTION_POP3_##what

static struct retention_pop3_settings
test_settings(enum retention_pop3_delete delete, unsigned int keep_time,
	      enum retention_action keep_action, unsigned int leave_time)
{
	return (struct retention_pop3_settings){
		.delete = delete, .keep_time = keep_time,
		.keep_action = keep_action, .leave_time = leave_time,
	};
}

static struct retention_rule
test_rule(enum retention_action action, unsigned int age)
{
	return (struct retention_rule){
		.name = "r", .mailbox = "*", .action = action, .age = age,
		.have_mailbox = TRUE, .have_action = TRUE, .have_age = TRUE,
	};
}

static void test_pop3_defaults(void)
{
	struct retention_pop3_settings set;
	const char *error;

	test_begin("pop3: by default everything is as without us");
	memset(&set, 0xff, sizeof(set));
	retention_pop3_settings_init(&set);
	test_assert(set.delete == DELETE(EXPUNGE));
	test_assert(set.keep_action == TO(ARCHIVE));
	test_assert(set.keep_time == UNLIMITED);
	test_assert(set.leave_time == UNLIMITED);
	test_assert(!retention_pop3_is_set(&set));
	test_assert(!retention_pop3_is_timed(&set));
	test_assert(!retention_pop3_archives(&set));
	test_assert(retention_pop3_settings_hash(&set) == 0);
	test_assert(retention_pop3_settings_check(&set, UNLIMITED - 1,
						  &error) == 0);
	test_assert(retention_pop3_expire_days(&set, NULL, 0) ==
		    RETENTION_POP3_EXPIRE_NEVER);
	test_end();
}

static void test_pop3_questions(void)
{
	static const struct {
		struct retention_pop3_settings set;
		bool timed, archives;
	} tests[] = {
		{ { DELETE(KEEP), TO(ARCHIVE), UNLIMITED, UNLIMITED },
		  FALSE, FALSE },
		{ { DELETE(EXPUNGE), TO(EXPUNGE), UNLIMITED, UNLIMITED },
		  FALSE, FALSE },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, UNLIMITED },
		  TRUE, TRUE },
		{ { DELETE(ARCHIVE), TO(EXPUNGE), 9 * DAY, 9 * DAY },
		  TRUE, TRUE },
		{ { DELETE(KEEP), TO(ARCHIVE), 9 * DAY, UNLIMITED },
		  TRUE, TRUE },
		{ { DELETE(KEEP), TO(ARCHIVE), 0, UNLIMITED }, TRUE, TRUE },
		{ { DELETE(KEEP), TO(EXPUNGE), 9 * DAY, UNLIMITED },
		  TRUE, FALSE },
		{ { DELETE(KEEP), TO(ARCHIVE), UNLIMITED, 9 * DAY },
		  TRUE, FALSE },
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, 0 },
		  TRUE, FALSE },
		/* for what was hidden before DELE expunged */
		{ { DELETE(EXPUNGE), TO(ARCHIVE), 9 * DAY, UNLIMITED },
		  TRUE, TRUE },
	};
	unsigned int i;

	test_begin("pop3: what the settings can lead to");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_pop3_is_set(&tests[i].set), i);
		test_assert_idx(retention_pop3_is_timed(&tests[i].set) ==
				tests[i].timed, i);
		test_assert_idx(retention_pop3_archives(&tests[i].set) ==
				tests[i].archives, i);
	}
	test_end();
}

static void test_pop3_parse_words(void)
{
	static const char *const bad[] = {
		"", "yes", "delete", "keepp", " keep", "compress", "none",
	};
	enum retention_pop3_delete delete;
	enum retention_action action;
	const char *error;
	unsigned int i;

	test_begin("pop3: words of retention_pop3_delete and _keep_action");
	for (i = 0; i <= DELETE(ARCHIVE); i++) {
		test_assert_idx(retention_pop3_delete_parse(
			retention_pop3_delete_name(i), &delete, &error) == 0 &&
			delete == i, i);
	}
	test_assert(retention_pop3_delete_parse("Keep", &delete, &error) == 0 &&
		    delete == DELETE(KEEP));
	test_assert(retention_pop3_keep_action_parse("archive", &action,
						     &error) == 0 &&
		    action == TO(ARCHIVE));
	test_assert(retention_pop3_keep_action_parse("EXPUNGE", &action,
						     &error) == 0 &&
		    action == TO(EXPUNGE));
	test_assert(retention_pop3_keep_action_parse("keep", &action,
						     &error) < 0);
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		error = "";
		test_assert_idx(retention_pop3_delete_parse(bad[i], &delete,
							    &error) < 0, i);
		test_assert_idx(strstr(error, "allowed are expunge, keep, "
				       "archive") != NULL, i);
		error = "";
		test_assert_idx(retention_pop3_keep_action_parse(
			bad[i], &action, &error) < 0, i);
		test_assert_idx(strstr(error, "allowed are archive, "
				       "expunge") != NULL, i);
	}
	for (i = 0; i <= DO(EXPUNGE); i++)
		test_assert_idx(*retention_pop3_action_name(i) != '\0', i);
	test_assert_strcmp(retention_pop3_action_name(DO(HIDE)), "hide");
	test_end();
}

static void test_pop3_parse_times(void)
{
	static const struct {
		const char *value;
		unsigned int secs;
	} tests[] = {
		{ "0", 0 }, { "0d", 0 }, { "1s", 1 }, { "12h", 12 * HOUR },
		{ "30d", 30 * DAY }, { "30 days", 30 * DAY },
		{ "2w", 14 * DAY }, { "unlimited", UNLIMITED },
		{ "infinite", UNLIMITED },
	};
	static const char *const bad[] = {
		"", "30", "-1d", "soon", "never", "1y", "500ms", "50000d",
		"30d.",
	};
	const char *error;
	unsigned int i, secs;

	test_begin("pop3: times");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_pop3_time_parse(tests[i].value, &secs,
							  &error) == 0 &&
				secs == tests[i].secs, i);
	}
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		error = "";
		test_assert_idx(retention_pop3_time_parse(bad[i], &secs,
							  &error) < 0, i);
		test_assert_idx(strstr(error, "allowed is a time such as "
				       "30d") != NULL, i);
	}
	test_end();
}

static void test_pop3_check(void)
{
	static const struct {
		struct retention_pop3_settings set;
		unsigned int minimum_age;
		/* NULL if the settings are fine */
		const char *error;
	} tests[] = {
		{ { DELETE(KEEP), TO(EXPUNGE), DAY, UNLIMITED }, DAY, NULL },
		{ { DELETE(KEEP), TO(EXPUNGE), DAY - 1, UNLIMITED }, DAY,
		  "retention_pop3_keep_time=86399s is too low for "
		  "retention_pop3_keep_action=expunge (allowed is "
		  "retention_minimum_age = 1d and above, or unlimited)" },
		{ { DELETE(KEEP), TO(EXPUNGE), 0, UNLIMITED }, DAY,
		  "retention_pop3_keep_time=0 is too low for "
		  "retention_pop3_keep_action=expunge (allowed is "
		  "retention_minimum_age = 1d and above, or unlimited)" },
		{ { DELETE(KEEP), TO(EXPUNGE), 0, UNLIMITED }, 0, NULL },
		{ { DELETE(KEEP), TO(ARCHIVE), 0, UNLIMITED }, DAY, NULL },
		/* it is for what was hidden before as well */
		{ { DELETE(EXPUNGE), TO(EXPUNGE), HOUR, UNLIMITED }, DAY,
		  "retention_pop3_keep_time=1h is too low for "
		  "retention_pop3_keep_action=expunge (allowed is "
		  "retention_minimum_age = 1d and above, or unlimited)" },
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, DAY }, DAY, NULL },
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, DAY - 1 }, DAY,
		  "retention_pop3_leave_time=86399s is too low for "
		  "retention_pop3_delete=expunge (allowed is 0, "
		  "retention_minimum_age = 1d and above, or unlimited)" },
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, 1 }, 0, NULL },
		/* at the download itself: no typing error for days */
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, 0 }, DAY, NULL },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, HOUR }, DAY,
		  NULL },
		{ { DELETE(KEEP), TO(ARCHIVE), UNLIMITED, HOUR }, DAY, NULL },
		/* keep_time comes after it */
		{ { DELETE(KEEP), TO(EXPUNGE), DAY, HOUR }, DAY, NULL },
		{ { DELETE(KEEP), TO(EXPUNGE), UNLIMITED, HOUR }, DAY, NULL },
	};
	const char *error;
	unsigned int i;
	int ret;

	test_begin("pop3: an expunge too soon is refused");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		ret = retention_pop3_settings_check(&tests[i].set,
						    tests[i].minimum_age,
						    &error);
		test_assert_idx(ret == (tests[i].error == NULL ? 0 : -1), i);
		test_assert_strcmp_idx(error, tests[i].error, i);
	}
	test_end();
}

static void test_pop3_hash(void)
{
	static const unsigned int times[] = { 0, 1, DAY, UNLIMITED };
	struct retention_pop3_settings set;
	uint32_t hashes[3 * 2 * 4 * 4];
	unsigned int i, j, count = 0;

	test_begin("pop3: other settings, another hash");
	for (i = 0; i < N_ELEMENTS(hashes); i++) {
		set = test_settings(i % 3,
				    i / 3 % 2 == 0 ? times[i / 6 % 4] :
				    times[3 - i / 6 % 4],
				    i / 3 % 2 == 0 ? TO(ARCHIVE) : TO(EXPUNGE),
				    times[i / 24]);
		hashes[i] = retention_pop3_settings_hash(&set);
		test_assert_idx((hashes[i] == 0) ==
				!retention_pop3_is_set(&set), i);
		test_assert_idx(hashes[i] ==
				retention_pop3_settings_hash(&set), i);
		for (j = 0; j < i; j++) {
			if (hashes[i] == hashes[j])
				count++;
		}
	}
	test_assert(count == 0);
	test_end();
}

/* What is done with a message, in two clocks: the one of a message that is
   hidden, and the one of a message that was downloaded and left. */
struct test_case {
	struct retention_pop3_settings set;
	/* seconds before NOW, or one of the following */
	time_t since, saved;
	enum retention_pop3_action action;
	/* seconds after NOW */
	time_t due;
};
/* not known */
#define LOST ((time_t)-10000000)
/* what has no due date */
#define NO_DUE (-NOW)

static time_t test_date(time_t before_now)
{
	return before_now == LOST ? 0 : NOW - before_now;
}

static void
test_pop3_cases(const struct test_case *tests, unsigned int count, bool hidden)
{
	struct retention_pop3_verdict verdict;
	struct retention_pop3_facts facts;
	time_t since, saved;
	unsigned int i;

	for (i = 0; i < count; i++) {
		since = test_date(tests[i].since);
		saved = test_date(tests[i].saved);
		facts = (struct retention_pop3_facts){
			.hidden = hidden, .downloaded = TRUE,
			.hidden_time = hidden ? since : 0,
			.downloaded_time = hidden ? NOW - 999 * DAY : since,
			.saved = saved,
		};
		memset(&verdict, 0xff, sizeof(verdict));
		retention_pop3_judge(&tests[i].set, &facts, NOW, &verdict);
		test_assert_idx(verdict.action == tests[i].action, i);
		test_assert_idx(verdict.due == NOW + tests[i].due, i);
		test_assert_idx(verdict.base ==
				(since == 0 ? 0 : I_MAX(since, saved)), i);
		test_assert_idx(verdict.why != NULL && *verdict.why != '\0', i);
	}
}

static void test_pop3_judge_hidden(void)
{
	static const struct test_case tests[] = {
#define KEPT(action, time) { DELETE(KEEP), TO(action), time, UNLIMITED }
#define OLD (800 * DAY)
		/* not a second early */
		{ KEPT(ARCHIVE, 9 * DAY), 9 * DAY - 1, OLD, DO(ARCHIVE), 1 },
		{ KEPT(ARCHIVE, 9 * DAY), 9 * DAY, OLD, DO(ARCHIVE), 0 },
		{ KEPT(ARCHIVE, 9 * DAY), 9 * DAY + 1, OLD, DO(ARCHIVE), -1 },
		{ KEPT(EXPUNGE, 9 * DAY), 9 * DAY - 1, OLD, DO(EXPUNGE), 1 },
		{ KEPT(EXPUNGE, 9 * DAY), 9 * DAY, OLD, DO(EXPUNGE), 0 },
		{ KEPT(ARCHIVE, 0), 0, OLD, DO(ARCHIVE), 0 },
		{ KEPT(ARCHIVE, 1), 0, OLD, DO(ARCHIVE), 1 },
		/* for ever */
		{ KEPT(ARCHIVE, UNLIMITED), OLD, OLD, DO(NOTHING), NO_DUE },
		{ KEPT(EXPUNGE, UNLIMITED), OLD, OLD, DO(NOTHING), NO_DUE },
		{ KEPT(EXPUNGE, UNLIMITED), LOST, OLD, DO(NOTHING), NO_DUE },
		/* a date in the future is due later, never sooner */
		{ KEPT(EXPUNGE, DAY), -DAY, OLD, DO(EXPUNGE), 2 * DAY },
		/* moved out and back after the DELE */
		{ KEPT(EXPUNGE, 9 * DAY), 90 * DAY, 9 * DAY - 1,
		  DO(EXPUNGE), 1 },
		{ KEPT(EXPUNGE, 9 * DAY), 90 * DAY, 9 * DAY, DO(EXPUNGE), 0 },
		{ KEPT(EXPUNGE, 9 * DAY), 9 * DAY, 9 * DAY, DO(EXPUNGE), 0 },
		/* it is not known when it came */
		{ KEPT(EXPUNGE, 9 * DAY), 9 * DAY, LOST, DO(EXPUNGE), 0 },
		/* a lost stamp: the clock starts now, whatever else is known */
		{ KEPT(EXPUNGE, 9 * DAY), LOST, OLD, DO(STAMP), NO_DUE },
		{ KEPT(EXPUNGE, 1), LOST, OLD, DO(STAMP), NO_DUE },
		{ KEPT(ARCHIVE, 9 * DAY), LOST, LOST, DO(STAMP), NO_DUE },
		{ KEPT(ARCHIVE, 0), LOST, OLD, DO(STAMP), NO_DUE },
		/* archive: at once, whatever the other settings are */
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, UNLIMITED },
		  0, OLD, DO(ARCHIVE), 0 },
		{ { DELETE(ARCHIVE), TO(EXPUNGE), 9 * DAY, 9 * DAY },
		  99 * DAY, OLD, DO(ARCHIVE), -99 * DAY },
		{ { DELETE(ARCHIVE), TO(EXPUNGE), 9 * DAY, 9 * DAY },
		  99 * DAY, 5, DO(ARCHIVE), -99 * DAY },
		/* but what was brought back from the archive stays */
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, UNLIMITED },
		  LOST, 5, DO(NOTHING), NO_DUE },
		/* hidden when the setting was another one: nothing is expunged
		   that was to be kept */
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, UNLIMITED },
		  OLD, OLD, DO(NOTHING), NO_DUE },
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, 0 },
		  OLD, OLD, DO(NOTHING), NO_DUE },
		{ { DELETE(EXPUNGE), TO(ARCHIVE), 9 * DAY, 2 * DAY },
		  8 * DAY, OLD, DO(ARCHIVE), DAY },
		{ { DELETE(EXPUNGE), TO(EXPUNGE), 9 * DAY, UNLIMITED },
		  9 * DAY, OLD, DO(EXPUNGE), 0 },
#undef KEPT
	};

	test_begin("pop3: hidden messages");
	test_pop3_cases(tests, N_ELEMENTS(tests), TRUE);
	test_end();
}

static void test_pop3_judge_left(void)
{
	static const struct test_case tests[] = {
#define LEFT(delete, time) { DELETE(delete), TO(ARCHIVE), UNLIMITED, time }
		/* not a second early */
		{ LEFT(EXPUNGE, 9 * DAY), 9 * DAY - 1, OLD, DO(EXPUNGE), 1 },
		{ LEFT(EXPUNGE, 9 * DAY), 9 * DAY, OLD, DO(EXPUNGE), 0 },
		{ LEFT(EXPUNGE, 9 * DAY), 9 * DAY + 1, OLD, DO(EXPUNGE), -1 },
		{ LEFT(KEEP, 9 * DAY), 9 * DAY - 1, OLD, DO(HIDE), 1 },
		{ LEFT(KEEP, 9 * DAY), 9 * DAY, OLD, DO(HIDE), 0 },
		{ LEFT(KEEP, 9 * DAY), OLD, OLD, DO(HIDE), 9 * DAY - OLD },
		{ LEFT(ARCHIVE, 9 * DAY), 9 * DAY - 1, OLD, DO(ARCHIVE), 1 },
		{ LEFT(ARCHIVE, 9 * DAY), 9 * DAY, OLD, DO(ARCHIVE), 0 },
		/* for ever */
		{ LEFT(EXPUNGE, UNLIMITED), OLD, OLD, DO(NOTHING), NO_DUE },
		{ LEFT(KEEP, UNLIMITED), OLD, OLD, DO(NOTHING), NO_DUE },
		{ LEFT(ARCHIVE, UNLIMITED), LOST, OLD, DO(NOTHING), NO_DUE },
		/* at once, unless it was brought back from somewhere */
		{ LEFT(EXPUNGE, 0), 7, OLD, DO(EXPUNGE), -7 },
		{ LEFT(KEEP, 0), 7, OLD, DO(HIDE), -7 },
		{ LEFT(ARCHIVE, 0), 7, OLD, DO(ARCHIVE), -7 },
		{ LEFT(KEEP, 0), LOST, OLD, DO(NOTHING), NO_DUE },
		{ LEFT(EXPUNGE, 0), LOST, 5, DO(NOTHING), NO_DUE },
		/* moved out and back after the download */
		{ LEFT(EXPUNGE, 9 * DAY), 90 * DAY, 9 * DAY - 1,
		  DO(EXPUNGE), 1 },
		{ LEFT(EXPUNGE, 9 * DAY), 90 * DAY, 9 * DAY, DO(EXPUNGE), 0 },
		{ LEFT(KEEP, 9 * DAY), 9 * DAY, LOST, DO(HIDE), 0 },
		/* a lost stamp: the clock starts now */
		{ LEFT(EXPUNGE, 9 * DAY), LOST, OLD, DO(STAMP), NO_DUE },
		{ LEFT(KEEP, 1), LOST, OLD, DO(STAMP), NO_DUE },
		{ LEFT(ARCHIVE, 9 * DAY), LOST, LOST, DO(STAMP), NO_DUE },
		/* a date in the future */
		{ LEFT(EXPUNGE, DAY), -DAY, OLD, DO(EXPUNGE), 2 * DAY },
		/* keep_time is of no account to expunge and archive */
		{ { DELETE(EXPUNGE), TO(ARCHIVE), 20 * DAY, 9 * DAY },
		  8 * DAY, OLD, DO(EXPUNGE), DAY },
		{ { DELETE(ARCHIVE), TO(EXPUNGE), 20 * DAY, 9 * DAY },
		  40 * DAY, OLD, DO(ARCHIVE), -31 * DAY },
#undef LEFT
	};

	test_begin("pop3: messages left on the server");
	test_pop3_cases(tests, N_ELEMENTS(tests), FALSE);
	test_end();
}

static void test_pop3_judge_left_then_kept(void)
{
	static const struct test_case tests[] = {
#define BOTH(action, keep, leave) { DELETE(KEEP), TO(action), keep, leave }
		{ BOTH(ARCHIVE, 9 * DAY, 5 * DAY), 5 * DAY - 1, OLD,
		  DO(HIDE), 1 },
		{ BOTH(ARCHIVE, 9 * DAY, 5 * DAY), 5 * DAY, OLD, DO(HIDE), 0 },
		{ BOTH(ARCHIVE, 9 * DAY, 5 * DAY), 14 * DAY - 1, OLD,
		  DO(HIDE), 1 - 9 * DAY },
		{ BOTH(ARCHIVE, 9 * DAY, 5 * DAY), 14 * DAY, OLD,
		  DO(ARCHIVE), 0 },
		{ BOTH(EXPUNGE, 9 * DAY, 5 * DAY), 14 * DAY - 1, OLD,
		  DO(HIDE), 1 - 9 * DAY },
		{ BOTH(EXPUNGE, 9 * DAY, 5 * DAY), 14 * DAY, OLD,
		  DO(EXPUNGE), 0 },
		{ BOTH(EXPUNGE, 9 * DAY, 5 * DAY), 14 * DAY + 1, OLD,
		  DO(EXPUNGE), -1 },
		{ BOTH(EXPUNGE, UNLIMITED, 5 * DAY), OLD, OLD, DO(HIDE),
		  5 * DAY - OLD },
		/* it came back in between */
		{ BOTH(EXPUNGE, 9 * DAY, 5 * DAY), 90 * DAY, 14 * DAY - 1,
		  DO(HIDE), 1 - 9 * DAY },
		{ BOTH(EXPUNGE, 9 * DAY, 5 * DAY), 90 * DAY, 14 * DAY,
		  DO(EXPUNGE), 0 },
		/* no step in between */
		{ BOTH(ARCHIVE, 0, 5 * DAY), 5 * DAY - 1, OLD, DO(ARCHIVE), 1 },
		{ BOTH(ARCHIVE, 0, 5 * DAY), 5 * DAY, OLD, DO(ARCHIVE), 0 },
		{ BOTH(ARCHIVE, 0, 0), 0, OLD, DO(ARCHIVE), 0 },
		{ BOTH(ARCHIVE, 0, 0), LOST, OLD, DO(NOTHING), NO_DUE },
		{ BOTH(ARCHIVE, 9 * DAY, 0), 9 * DAY - 1, OLD, DO(HIDE),
		  1 - 9 * DAY },
		{ BOTH(ARCHIVE, 9 * DAY, 0), 9 * DAY, OLD, DO(ARCHIVE), 0 },
		{ BOTH(EXPUNGE, 9 * DAY, 0), LOST, OLD, DO(NOTHING), NO_DUE },
		{ BOTH(EXPUNGE, 9 * DAY, 5 * DAY), LOST, OLD, DO(STAMP),
		  NO_DUE },
#undef BOTH
	};

	test_begin("pop3: keep_time follows leave_time");
	test_pop3_cases(tests, N_ELEMENTS(tests), FALSE);
	test_end();
}

/* Whether the run that hides came on the day or much later, or never, the
   message goes in the same second. */
static void test_pop3_judge_chain(void)
{
	static const unsigned int run_days[] = { 5, 6, 13 };
	const struct retention_pop3_settings set =
		test_settings(DELETE(KEEP), 9 * DAY, TO(EXPUNGE), 5 * DAY);
	const struct retention_pop3_facts left = {
		.downloaded = TRUE, .downloaded_time = NOW, .saved = NOW - 1,
	};
	struct retention_pop3_facts facts;
	struct retention_pop3_verdict verdict;
	unsigned int i;

	test_begin("pop3: the day of the run does not move what follows");
	for (i = 0; i < N_ELEMENTS(run_days); i++) {
		retention_pop3_judge(&set, &left, NOW + run_days[i] * DAY,
				     &verdict);
		test_assert_idx(verdict.action == DO(HIDE), i);
		facts = left;
		facts.hidden = TRUE;
		facts.hidden_time = verdict.due;
		retention_pop3_judge(&set, &facts, NOW, &verdict);
		test_assert_idx(verdict.action == DO(EXPUNGE), i);
		test_assert_idx(verdict.due == NOW + 14 * DAY, i);
	}
	retention_pop3_judge(&set, &left, NOW + 14 * DAY, &verdict);
	test_assert(verdict.action == DO(EXPUNGE));
	test_assert(verdict.due == NOW + 14 * DAY);
	test_end();
}

/* Every choice of delete and keep_action, after 1 to 3 of its steps. */
static void test_pop3_judge_all(void)
{
	static const struct {
		enum retention_pop3_delete delete;
		enum retention_action keep_action;
		/* downloaded 5 days ago, 8 days ago; deleted now, 5 days ago */
		enum retention_pop3_action left5, left8, hidden0, hidden5;
	} tests[] = {
		{ DELETE(EXPUNGE), TO(ARCHIVE),
		  DO(EXPUNGE), DO(EXPUNGE), DO(NOTHING), DO(ARCHIVE) },
		{ DELETE(EXPUNGE), TO(EXPUNGE),
		  DO(EXPUNGE), DO(EXPUNGE), DO(NOTHING), DO(EXPUNGE) },
		{ DELETE(KEEP), TO(ARCHIVE),
		  DO(HIDE), DO(ARCHIVE), DO(NOTHING), DO(ARCHIVE) },
		{ DELETE(KEEP), TO(EXPUNGE),
		  DO(HIDE), DO(EXPUNGE), DO(NOTHING), DO(EXPUNGE) },
		{ DELETE(ARCHIVE), TO(ARCHIVE),
		  DO(ARCHIVE), DO(ARCHIVE), DO(ARCHIVE), DO(ARCHIVE) },
		{ DELETE(ARCHIVE), TO(EXPUNGE),
		  DO(ARCHIVE), DO(ARCHIVE), DO(ARCHIVE), DO(ARCHIVE) },
	};
	struct retention_pop3_settings set;
	struct retention_pop3_verdict verdict;
	enum retention_pop3_action due, wanted;
	unsigned int i, j;

	test_begin("pop3: every delete with every keep_action");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		set = test_settings(tests[i].delete, 5 * DAY,
				    tests[i].keep_action, 3 * DAY);
		for (j = 0; j < 4; j++) {
			const time_t date = NOW - (j == 2 ? 0 :
				(j == 1 ? 8 : 5) * DAY);
			const struct retention_pop3_facts facts = {
				.hidden = j >= 2, .downloaded = j < 2,
				.hidden_time = j >= 2 ? date : 0,
				.downloaded_time = j < 2 ? date : 0,
				.saved = NOW - OLD,
			};

			wanted = j == 0 ? tests[i].left5 :
				j == 1 ? tests[i].left8 :
				j == 2 ? tests[i].hidden0 : tests[i].hidden5;
			retention_pop3_judge(&set, &facts, NOW, &verdict);
			due = verdict.due <= NOW ? verdict.action : DO(NOTHING);
			test_assert_idx(due == wanted, i * 10 + j);
		}
	}
	test_end();
}

static void test_pop3_judge_neither(void)
{
	const struct retention_pop3_facts facts = {
		/* stamps without the facts do not count */
		.hidden_time = NOW - OLD, .downloaded_time = NOW - OLD,
		.saved = NOW - OLD,
	};
	struct retention_pop3_settings set;
	struct retention_pop3_verdict verdict;
	unsigned int i;

	test_begin("pop3: a message that no client has downloaded stays");
	for (i = 0; i <= DELETE(ARCHIVE); i++) {
		set = test_settings(i, 0, TO(EXPUNGE), 0);
		retention_pop3_judge(&set, &facts, NOW, &verdict);
		test_assert_idx(verdict.action == DO(NOTHING), i);
		test_assert_idx(verdict.base == 0 && verdict.due == 0, i);
		test_assert_idx(verdict.why != NULL, i);
	}
	test_end();
}

static void test_pop3_judge_end_of_time(void)
{
	const struct retention_pop3_facts facts = {
		.downloaded = TRUE, .downloaded_time = RETENTION_TIME_MAX - DAY,
	};
	struct retention_pop3_settings set;
	struct retention_pop3_verdict verdict;

	test_begin("pop3: no date after the last one");
	set = test_settings(DELETE(KEEP), UNLIMITED - 1, TO(EXPUNGE),
			    UNLIMITED - 1);
	retention_pop3_judge(&set, &facts, NOW, &verdict);
	test_assert(verdict.action == DO(HIDE));
	test_assert(verdict.due == RETENTION_TIME_MAX);
	test_end();
}

static void test_pop3_expire_settings(void)
{
	static const struct {
		struct retention_pop3_settings set;
		unsigned int days;
	} tests[] = {
#define NEVER RETENTION_POP3_EXPIRE_NEVER
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, UNLIMITED },
		  NEVER },
		{ { DELETE(KEEP), TO(ARCHIVE), UNLIMITED, UNLIMITED }, NEVER },
		{ { DELETE(ARCHIVE), TO(EXPUNGE), UNLIMITED, UNLIMITED },
		  NEVER },
		/* leave_time, whatever it leads to */
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, 30 * DAY }, 30 },
		{ { DELETE(KEEP), TO(ARCHIVE), UNLIMITED, 30 * DAY }, 30 },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, 30 * DAY }, 30 },
		{ { DELETE(EXPUNGE), TO(ARCHIVE), UNLIMITED, 0 }, 0 },
		{ { DELETE(KEEP), TO(ARCHIVE), UNLIMITED, 0 }, 0 },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, 0 }, 0 },
		/* rounded down, but not to 0 */
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, 1 }, 1 },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, 12 * HOUR }, 1 },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, DAY }, 1 },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, 2 * DAY - 1 }, 1 },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, 2 * DAY }, 2 },
		{ { DELETE(ARCHIVE), TO(ARCHIVE), UNLIMITED, UNLIMITED - 1 },
		  (UNLIMITED - 1) / DAY },
		/* keep_time */
		{ { DELETE(KEEP), TO(EXPUNGE), 20 * DAY, UNLIMITED }, 20 },
		{ { DELETE(KEEP), TO(EXPUNGE), 20 * DAY, 30 * DAY }, 20 },
		{ { DELETE(KEEP), TO(EXPUNGE), 40 * DAY, 30 * DAY }, 30 },
		{ { DELETE(KEEP), TO(EXPUNGE), 0, UNLIMITED }, 1 },
		{ { DELETE(KEEP), TO(EXPUNGE), 12 * HOUR, 0 }, 0 },
		{ { DELETE(KEEP), TO(ARCHIVE), 20 * DAY, UNLIMITED }, NEVER },
		{ { DELETE(KEEP), TO(ARCHIVE), 20 * DAY, 30 * DAY }, 30 },
		/* it is for what DELE hides, which it does not */
		{ { DELETE(EXPUNGE), TO(EXPUNGE), 20 * DAY, UNLIMITED },
		  NEVER },
		{ { DELETE(ARCHIVE), TO(EXPUNGE), 20 * DAY, UNLIMITED },
		  NEVER },
	};
	unsigned int i;

	test_begin("pop3: EXPIRE by the POP3 settings");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_pop3_expire_days(&tests[i].set, NULL,
							   0) ==
				tests[i].days, i);
	}
	test_end();
}

static void test_pop3_expire_rules(void)
{
	static const struct {
		enum retention_action action;
		unsigned int age;
		/* of leave_time */
		unsigned int leave_time;
		unsigned int days;
	} tests[] = {
		{ TO(ARCHIVE), 90 * DAY, UNLIMITED, 90 },
		{ TO(EXPUNGE), 90 * DAY, UNLIMITED, 90 },
		{ TO(ARCHIVE), 90 * DAY - 1, UNLIMITED, 89 },
		{ TO(ARCHIVE), 12 * HOUR, UNLIMITED, 1 },
		{ TO(ARCHIVE), 90 * DAY, 30 * DAY, 30 },
		{ TO(ARCHIVE), 90 * DAY, 91 * DAY, 90 },
		{ TO(ARCHIVE), 90 * DAY, 0, 0 },
		{ TO(ARCHIVE), UNLIMITED, UNLIMITED, NEVER },
		{ TO(COMPRESS), 90 * DAY, UNLIMITED, NEVER },
		{ TO(COMPRESS), 0, UNLIMITED, NEVER },
	};
	struct retention_pop3_settings set;
	struct retention_rule rule, other;
	const struct retention_rule *rules[2] = { &other, &rule };
	unsigned int i;

	test_begin("pop3: EXPIRE by rules");
	other = test_rule(TO(ARCHIVE), 1000 * DAY);
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		rule = test_rule(tests[i].action, tests[i].age);
		set = test_settings(DELETE(EXPUNGE), UNLIMITED, TO(ARCHIVE),
				    tests[i].leave_time);
		test_assert_idx(retention_pop3_expire_days(&set, rules + 1,
							   1) ==
				tests[i].days, i);
		test_assert_idx(retention_pop3_expire_days(&set, rules, 2) ==
				I_MIN(tests[i].days, 1000), i);
	}
	test_end();
}

static void test_pop3_expire_sent(void)
{
	const struct retention_pop3_settings set =
		test_settings(DELETE(KEEP), UNLIMITED, TO(ARCHIVE), UNLIMITED);
	struct retention_rule rule = test_rule(TO(ARCHIVE), 90 * DAY);
	const struct retention_rule *rules[] = { &rule };

	test_begin("pop3: EXPIRE promises nothing by the sender's date");
	rule.age_from = RETENTION_AGE_FROM_SENT;
	test_assert(retention_pop3_expire_days(&set, rules, 1) == 1);
	rule.age = UNLIMITED;
	test_assert(retention_pop3_expire_days(&set, rules, 1) == NEVER);
	test_end();
}

static void test_pop3_expire_keep(void)
{
	struct retention_pop3_settings set;
	struct retention_rule keep = test_rule(TO(KEEP), 0);
	struct retention_rule archive = test_rule(TO(ARCHIVE), 90 * DAY);
	const struct retention_rule *rules[] = { &archive, &keep };

	test_begin("pop3: EXPIRE with a rule that keeps all of INBOX");
	retention_pop3_settings_init(&set);
	test_assert(retention_pop3_expire_days(&set, rules, 2) == NEVER);

	/* a rule that spares some messages only */
	keep.age = 1;
	test_assert(retention_pop3_expire_days(&set, rules, 2) == 90);
	keep.age = 0;
	keep.keep_flagged = TRUE;
	test_assert(retention_pop3_expire_days(&set, rules, 2) == 90);
	keep.keep_flagged = FALSE;
	keep.keep_unseen = TRUE;
	test_assert(retention_pop3_expire_days(&set, rules, 2) == 90);
	keep.keep_unseen = FALSE;
	keep.min_size = 1;
	test_assert(retention_pop3_expire_days(&set, rules, 2) == 90);
	keep.min_size = 0;

	/* What a run would do about left mail it does not either, but it may
	   hide; and a session asks no rules. */
	set.leave_time = 30 * DAY;
	test_assert(retention_pop3_expire_days(&set, rules, 2) == NEVER);
	set.delete = DELETE(ARCHIVE);
	test_assert(retention_pop3_expire_days(&set, rules, 2) == NEVER);
	set.delete = DELETE(KEEP);
	test_assert(retention_pop3_expire_days(&set, rules, 2) == 30);
	set.keep_time = 20 * DAY;
	set.keep_action = TO(EXPUNGE);
	test_assert(retention_pop3_expire_days(&set, rules, 2) == 30);
	set.leave_time = 0;
	test_assert(retention_pop3_expire_days(&set, rules, 2) == 0);
	set.delete = DELETE(EXPUNGE);
	test_assert(retention_pop3_expire_days(&set, rules, 2) == 0);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pop3_defaults,
		test_pop3_questions,
		test_pop3_parse_words,
		test_pop3_parse_times,
		test_pop3_check,
		test_pop3_hash,
		test_pop3_judge_hidden,
		test_pop3_judge_left,
		test_pop3_judge_left_then_kept,
		test_pop3_judge_chain,
		test_pop3_judge_all,
		test_pop3_judge_neither,
		test_pop3_judge_end_of_time,
		test_pop3_expire_settings,
		test_pop3_expire_rules,
		test_pop3_expire_sent,
		test_pop3_expire_keep,
		NULL
	};
	return test_run(test_functions);
}
