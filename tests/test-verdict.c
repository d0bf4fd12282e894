/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "test-common.h"
#include "retention-verdict.h"

#include <stdlib.h>
#include <time.h>

#define DAY (60 * 60 * 24)
/* 2026-06-15 12:00:00 UTC */
#define NOW ((time_t)1781524800)
#define TEST_TIME_MAX \
	((time_t)((UINTMAX_C(1) << (sizeof(time_t) * CHAR_BIT - 1)) - 1))

static struct retention_rule
test_rule(const char *name, enum retention_action action, unsigned int age)
{
	return (struct retention_rule){
		.name = name, .mailbox = "*", .action = action, .age = age,
		.have_mailbox = TRUE, .have_action = TRUE, .have_age = TRUE,
	};
}

/* a message that came days ago, seen and not flagged */
static struct retention_mail_facts test_mail(unsigned int days)
{
	const time_t date = NOW - (time_t)days * DAY;

	return (struct retention_mail_facts){
		.saved = date, .received = date, .sent = date,
		.size = 1000, .seen = TRUE,
	};
}

static void test_judge_age_edges(void)
{
	static const struct {
		unsigned int age;
		time_t base, now;
		enum retention_reason reason;
		time_t due;
	} tests[] = {
		{ 90 * DAY, NOW - 90 * DAY - 1, NOW, RETENTION_REASON_DUE,
		  NOW - 1 },
		{ 90 * DAY, NOW - 90 * DAY, NOW, RETENTION_REASON_DUE, NOW },
		{ 90 * DAY, NOW - 90 * DAY + 1, NOW, RETENTION_REASON_NOT_YET,
		  NOW + 1 },
		{ 1, NOW, NOW, RETENTION_REASON_NOT_YET, NOW + 1 },
		{ 1, NOW - 1, NOW, RETENTION_REASON_DUE, NOW },
		{ 0, NOW, NOW, RETENTION_REASON_DUE, NOW },
		/* dates in the future */
		{ 1, NOW + 1, NOW, RETENTION_REASON_NOT_YET, NOW + 2 },
		{ 90 * DAY, NOW + DAY, NOW, RETENTION_REASON_NOT_YET,
		  NOW + 91 * DAY },
		/* the oldest date that is a date */
		{ 1, 1, NOW, RETENTION_REASON_DUE, 2 },
		/* no date */
		{ 1, 0, NOW, RETENTION_REASON_NO_DATE, 0 },
		{ 1, -1, NOW, RETENTION_REASON_NO_DATE, 0 },
		{ 90 * DAY, -NOW, NOW, RETENTION_REASON_NO_DATE, 0 },
		{ 0, 0, NOW, RETENTION_REASON_DUE, 0 },
		/* age 0 asks for no date, so neither for one in the past */
		{ 0, NOW + DAY, NOW, RETENTION_REASON_DUE, NOW + DAY },
		/* no overflow */
		{ UINT_MAX - 1, NOW, NOW, RETENTION_REASON_NOT_YET,
		  NOW + (time_t)(UINT_MAX - 1) },
		{ UINT_MAX - 1, TEST_TIME_MAX - 1, NOW,
		  RETENTION_REASON_NOT_YET, TEST_TIME_MAX },
		{ 1, TEST_TIME_MAX, NOW, RETENTION_REASON_NOT_YET,
		  TEST_TIME_MAX },
		{ 1, TEST_TIME_MAX - 1, NOW, RETENTION_REASON_NOT_YET,
		  TEST_TIME_MAX },
		/* off */
		{ RETENTION_AGE_UNLIMITED, NOW - 90 * DAY, NOW,
		  RETENTION_REASON_OFF, 0 },
		{ RETENTION_AGE_UNLIMITED, 1, TEST_TIME_MAX,
		  RETENTION_REASON_OFF, 0 },
		/* a clock that was never set */
		{ 1, NOW, 0, RETENTION_REASON_NOT_YET, NOW + 1 },
	};
	struct retention_mail_facts facts;
	struct retention_rule rule;
	struct retention_rule_verdict verdict;
	unsigned int i;

	test_begin("verdict: due from the second that base + age names");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		facts = (struct retention_mail_facts){
			.saved = tests[i].base, .received = tests[i].base,
			.sent = tests[i].base, .seen = TRUE,
		};
		rule = test_rule("r", RETENTION_ACTION_COMPRESS, tests[i].age);
		retention_rule_judge(&rule, &facts, tests[i].now, &verdict);
		test_assert_idx(verdict.rule == &rule, i);
		test_assert_idx(verdict.reason == tests[i].reason, i);
		test_assert_idx(verdict.due == tests[i].due, i);
		test_assert_idx(verdict.base == I_MAX(tests[i].base, 0), i);
	}
	test_end();
}

static void test_judge_base(void)
{
	enum {
		SAVED = RETENTION_AGE_FROM_SAVED,
		RECEIVED = RETENTION_AGE_FROM_RECEIVED,
		SENT = RETENTION_AGE_FROM_SENT,
	};
	static const struct {
		unsigned int age_from;
		time_t saved, received, sent;
		time_t base;
		unsigned int base_from;
	} tests[] = {
		{ SAVED, 300, 200, 100, 300, SAVED },
		{ RECEIVED, 300, 200, 100, 200, RECEIVED },
		{ SENT, 300, 200, 100, 100, SENT },
		/* saved and received stand in for each other */
		{ SAVED, 0, 200, 100, 200, RECEIVED },
		{ RECEIVED, 300, 0, 100, 300, SAVED },
		{ SAVED, -5, 200, 100, 200, RECEIVED },
		{ RECEIVED, 300, -5, 100, 300, SAVED },
		/* the sent date never does */
		{ SAVED, 0, 0, 100, 0, SAVED },
		{ RECEIVED, 0, 0, 100, 0, SAVED },
		/* a missing Date: field, or one that is 0 or before 1970 */
		{ SENT, 300, 200, 0, 200, RECEIVED },
		{ SENT, 300, 200, -1, 200, RECEIVED },
		{ SENT, 300, 0, 0, 300, SAVED },
		/* no mail is received before it was sent */
		{ SENT, 300, 200, 200, 200, SENT },
		{ SENT, 300, 200, 201, 200, RECEIVED },
		{ SENT, 300, 0, 300, 300, SENT },
		{ SENT, 300, 0, 301, 300, SAVED },
		/* nothing to hold it against */
		{ SENT, 0, 0, 100, 100, SENT },
		{ SENT, 0, 0, 0, 0, SAVED },
		{ SENT, -1, -1, -1, 0, SAVED },
	};
	struct retention_mail_facts facts;
	struct retention_rule rule;
	struct retention_rule_verdict verdict;
	unsigned int i;

	test_begin("verdict: the date that the age counts from");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		facts = (struct retention_mail_facts){
			.saved = tests[i].saved, .received = tests[i].received,
			.sent = tests[i].sent,
		};
		rule = test_rule("r", RETENTION_ACTION_ARCHIVE, 10);
		rule.age_from = tests[i].age_from;
		retention_rule_judge(&rule, &facts, 10000, &verdict);
		test_assert_idx(verdict.base == tests[i].base, i);
		test_assert_idx(verdict.base_from == tests[i].base_from, i);
		test_assert_idx(verdict.reason == (tests[i].base == 0 ?
						   RETENTION_REASON_NO_DATE :
						   RETENTION_REASON_DUE), i);
		test_assert_idx(verdict.due == (tests[i].base == 0 ? 0 :
						tests[i].base + 10), i);
	}
	test_end();
}

static void test_judge_zones(void)
{
	static const char *const zones[] = {
		"UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT", "<+14>-14",
	};
	/* 2026-03-29 00:30 UTC, half an hour before summer time begins */
	const time_t saved = 1774744200;
	const struct retention_mail_facts facts = {
		.saved = saved, .received = saved, .seen = TRUE,
	};
	struct retention_rule rule;
	struct retention_rule_verdict verdict;
	unsigned int i;

	test_begin("verdict: a day has 86400 seconds in every time zone");
	rule = test_rule("r", RETENTION_ACTION_EXPUNGE, DAY);
	for (i = 0; i < N_ELEMENTS(zones); i++) {
		if (setenv("TZ", zones[i], 1) < 0)
			i_fatal("setenv() failed: %m");
		tzset();
		retention_rule_judge(&rule, &facts, saved + DAY - 1, &verdict);
		test_assert_idx(verdict.reason == RETENTION_REASON_NOT_YET, i);
		retention_rule_judge(&rule, &facts, saved + DAY, &verdict);
		test_assert_idx(verdict.reason == RETENTION_REASON_DUE, i);
	}
	test_end();
}

static void test_judge_exemptions(void)
{
	static const struct {
		enum retention_action action;
		bool keep_flagged, keep_unseen;
		uoff_t min_size;
		bool flagged, seen, archived;
		uoff_t size;
		enum retention_reason reason;
	} tests[] = {
#define ARCHIVE RETENTION_ACTION_ARCHIVE
#define DUE RETENTION_REASON_DUE
		{ ARCHIVE, FALSE, FALSE, 0, TRUE, FALSE, FALSE, 0, DUE },
		{ ARCHIVE, TRUE, FALSE, 0, TRUE, TRUE, FALSE, 0,
		  RETENTION_REASON_FLAGGED },
		{ ARCHIVE, TRUE, FALSE, 0, FALSE, TRUE, FALSE, 0, DUE },
		{ ARCHIVE, TRUE, FALSE, 0, FALSE, FALSE, FALSE, 0, DUE },
		{ ARCHIVE, FALSE, TRUE, 0, TRUE, FALSE, FALSE, 0,
		  RETENTION_REASON_UNSEEN },
		{ ARCHIVE, FALSE, TRUE, 0, TRUE, TRUE, FALSE, 0, DUE },
		{ ARCHIVE, TRUE, TRUE, 0, TRUE, FALSE, FALSE, 0,
		  RETENTION_REASON_FLAGGED },
		{ ARCHIVE, FALSE, FALSE, 100, FALSE, TRUE, FALSE, 99,
		  RETENTION_REASON_TOO_SMALL },
		{ ARCHIVE, FALSE, FALSE, 100, FALSE, TRUE, FALSE, 100, DUE },
		{ ARCHIVE, FALSE, FALSE, 0, FALSE, TRUE, TRUE, 0,
		  RETENTION_REASON_ARCHIVED },
		{ ARCHIVE, TRUE, TRUE, 9, TRUE, FALSE, TRUE, 0,
		  RETENTION_REASON_ARCHIVED },
		/* only archiving ends in the archive */
		{ RETENTION_ACTION_EXPUNGE, FALSE, FALSE, 0, FALSE, TRUE, TRUE,
		  0, DUE },
		{ RETENTION_ACTION_COMPRESS, FALSE, FALSE, 0, FALSE, TRUE,
		  TRUE, 0, DUE },
		{ RETENTION_ACTION_KEEP, FALSE, FALSE, 0, FALSE, TRUE, TRUE,
		  0, DUE },
		{ RETENTION_ACTION_EXPUNGE, TRUE, FALSE, 0, TRUE, TRUE, TRUE,
		  0, RETENTION_REASON_FLAGGED },
#undef ARCHIVE
#undef DUE
	};
	struct retention_mail_facts facts;
	struct retention_rule rule;
	struct retention_rule_verdict verdict;
	unsigned int i;

	test_begin("verdict: what exempts a message from a rule");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		facts = test_mail(30);
		facts.flagged = tests[i].flagged;
		facts.seen = tests[i].seen;
		facts.archived = tests[i].archived;
		facts.size = tests[i].size;
		rule = test_rule("r", tests[i].action, 7 * DAY);
		rule.keep_flagged = tests[i].keep_flagged;
		rule.keep_unseen = tests[i].keep_unseen;
		rule.min_size = tests[i].min_size;
		retention_rule_judge(&rule, &facts, NOW, &verdict);
		test_assert_idx(verdict.reason == tests[i].reason, i);
		/* told for an exempt message as well */
		test_assert_idx(verdict.due == NOW - 23 * DAY, i);

		rule.age = RETENTION_AGE_UNLIMITED;
		retention_rule_judge(&rule, &facts, NOW, &verdict);
		test_assert_idx(verdict.reason == RETENTION_REASON_OFF, i);
	}
	test_end();
}

/* Judge by all rules in both orders, which must not matter. */
static void
test_judge_all(const struct retention_rule *rules, unsigned int count,
	       const struct retention_mail_facts *facts,
	       enum retention_action action, const char *name)
{
	const struct retention_rule *ptrs[8], *reversed[8];
	struct retention_rule_verdict verdict;
	unsigned int i;

	i_assert(count <= N_ELEMENTS(ptrs));
	for (i = 0; i < count; i++)
		ptrs[i] = reversed[count - 1 - i] = &rules[i];

	test_assert(retention_rules_judge(ptrs, count, facts, NOW,
					  &verdict) == action);
	test_assert_strcmp(verdict.rule == NULL ? NULL : verdict.rule->name,
			   name);
	test_assert((verdict.reason == RETENTION_REASON_DUE) ==
		    (action != RETENTION_ACTION_NONE));
	test_assert(retention_rules_judge(reversed, count, facts, NOW,
					  &verdict) == action);
	test_assert_strcmp(verdict.rule == NULL ? NULL : verdict.rule->name,
			   name);
}

static void test_judge_rank(void)
{
	const struct retention_mail_facts facts = test_mail(30);
	struct retention_rule rules[] = {
		test_rule("k", RETENTION_ACTION_KEEP, 20 * DAY),
		test_rule("e", RETENTION_ACTION_EXPUNGE, 10 * DAY),
		test_rule("a", RETENTION_ACTION_ARCHIVE, 5 * DAY),
		test_rule("c", RETENTION_ACTION_COMPRESS, 0),
	};

	test_begin("verdicts: keep beats expunge beats archive beats compress");
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_KEEP, "k");
	test_judge_all(rules + 1, 3, &facts, RETENTION_ACTION_EXPUNGE, "e");
	test_judge_all(rules + 2, 2, &facts, RETENTION_ACTION_ARCHIVE, "a");
	test_judge_all(rules + 3, 1, &facts, RETENTION_ACTION_COMPRESS, "c");
	test_judge_all(rules, 0, &facts, RETENTION_ACTION_NONE, NULL);

	/* A rule that is not due or does not apply has no say. */
	rules[0].age = RETENTION_AGE_UNLIMITED;
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_EXPUNGE, "e");
	rules[1].age = 31 * DAY;
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_ARCHIVE, "a");
	rules[2].keep_unseen = TRUE;
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_ARCHIVE, "a");
	rules[2].min_size = 1001;
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_COMPRESS, "c");
	test_end();
}

static void test_judge_ties(void)
{
	const struct retention_mail_facts facts = test_mail(30);
	struct retention_rule rules[] = {
		test_rule("b", RETENTION_ACTION_ARCHIVE, 10 * DAY),
		test_rule("a", RETENTION_ACTION_ARCHIVE, 10 * DAY),
		test_rule("z", RETENTION_ACTION_ARCHIVE, 10 * DAY - 1),
	};

	test_begin("verdicts: the first due wins, then the first name");
	test_judge_all(rules, 2, &facts, RETENTION_ACTION_ARCHIVE, "a");
	test_judge_all(rules, 3, &facts, RETENTION_ACTION_ARCHIVE, "z");

	/* the ages differ, the due dates do not */
	rules[2].age = 9 * DAY;
	rules[2].age_from = RETENTION_AGE_FROM_SENT;
	rules[0].age = 11 * DAY;
	test_judge_all(rules, 3, &facts, RETENTION_ACTION_ARCHIVE, "z");
	test_end();
}

static void test_judge_next(void)
{
	struct retention_mail_facts facts = test_mail(30);
	struct retention_rule rules[] = {
		test_rule("far", RETENTION_ACTION_EXPUNGE, 365 * DAY),
		test_rule("near", RETENTION_ACTION_ARCHIVE, 31 * DAY),
		test_rule("off", RETENTION_ACTION_EXPUNGE,
			  RETENTION_AGE_UNLIMITED),
		test_rule("flagged", RETENTION_ACTION_EXPUNGE, 31 * DAY),
	};
	const struct retention_rule *ptrs[] = {
		&rules[0], &rules[1], &rules[2], &rules[3],
	};
	struct retention_rule_verdict verdict;

	test_begin("verdicts: none is due, the next one is told");
	rules[3].keep_flagged = TRUE;
	facts.flagged = TRUE;
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_NONE, "near");
	test_assert(retention_rules_judge(ptrs, 4, &facts, NOW, &verdict) ==
		    RETENTION_ACTION_NONE);
	test_assert(verdict.reason == RETENTION_REASON_NOT_YET);
	test_assert(verdict.due == NOW + DAY);
	test_assert(verdict.base == NOW - 30 * DAY);

	/* of two at the same second the one that would win */
	facts.flagged = FALSE;
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_NONE, "flagged");

	/* what is in the archive is not archived again */
	facts.flagged = TRUE;
	facts.archived = TRUE;
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_NONE, "far");

	/* without a date nothing will ever be due */
	facts.saved = facts.received = 0;
	test_judge_all(rules, 4, &facts, RETENTION_ACTION_NONE, NULL);
	test_end();
}

static void test_rules_need(void)
{
	const enum retention_fact dates =
		RETENTION_FACT_SAVED | RETENTION_FACT_RECEIVED;
	struct retention_rule rules[] = {
		test_rule("a", RETENTION_ACTION_ARCHIVE, DAY),
		test_rule("b", RETENTION_ACTION_ARCHIVE, DAY),
	};
	const struct retention_rule *ptrs[] = { &rules[0], &rules[1] };

	test_begin("verdicts: no more facts than the rules ask for");
	test_assert(retention_rules_need(ptrs, 0) == 0);
	test_assert(retention_rules_need(ptrs, 2) == dates);
	rules[0].age_from = RETENTION_AGE_FROM_SENT;
	test_assert(retention_rules_need(ptrs, 2) ==
		    (dates | RETENTION_FACT_SENT));
	rules[1].min_size = 1;
	test_assert(retention_rules_need(ptrs, 2) ==
		    (dates | RETENTION_FACT_SENT | RETENTION_FACT_SIZE));
	rules[0].age = RETENTION_AGE_UNLIMITED;
	test_assert(retention_rules_need(ptrs, 2) ==
		    (dates | RETENTION_FACT_SIZE));
	rules[1].min_size = 0;
	rules[1].keep_flagged = TRUE;
	test_assert(retention_rules_need(ptrs, 2) ==
		    (dates | RETENTION_FACT_FLAGS));
	rules[1].keep_flagged = FALSE;
	rules[1].keep_unseen = TRUE;
	test_assert(retention_rules_need(ptrs, 2) ==
		    (dates | RETENTION_FACT_FLAGS));
	rules[1].age = RETENTION_AGE_UNLIMITED;
	test_assert(retention_rules_need(ptrs, 2) == 0);
	test_end();
}

/* What a single rule leaves to do with a message of 100 days. */
static void test_quiet_until(void)
{
	static const struct {
		enum retention_action action;
		unsigned int age;
		bool keep_flagged, keep_unseen, flagged, seen, no_date;
		time_t until;
	} tests[] = {
		{ RETENTION_ACTION_ARCHIVE, 101 * DAY, FALSE, FALSE, FALSE,
		  TRUE, FALSE, NOW + DAY },
		/* it is done when the rule is due */
		{ RETENTION_ACTION_COMPRESS, 1 * DAY, FALSE, FALSE, FALSE,
		  TRUE, FALSE, RETENTION_TIME_MAX },
		{ RETENTION_ACTION_EXPUNGE, RETENTION_AGE_UNLIMITED, FALSE,
		  FALSE, FALSE, TRUE, FALSE, RETENTION_TIME_MAX },
		/* the flag may go at any time, and \Seen come */
		{ RETENTION_ACTION_ARCHIVE, 101 * DAY, TRUE, FALSE, TRUE,
		  TRUE, FALSE, NOW + DAY },
		{ RETENTION_ACTION_ARCHIVE, 90 * DAY, TRUE, FALSE, TRUE,
		  TRUE, FALSE, NOW - 10 * DAY },
		{ RETENTION_ACTION_ARCHIVE, 90 * DAY, FALSE, TRUE, FALSE,
		  FALSE, FALSE, NOW - 10 * DAY },
		{ RETENTION_ACTION_COMPRESS, 0, FALSE, TRUE, FALSE,
		  FALSE, TRUE, 0 },
		{ RETENTION_ACTION_ARCHIVE, 90 * DAY, FALSE, TRUE, FALSE,
		  FALSE, TRUE, RETENTION_TIME_MAX },
		/* what keeps a message may come to an end, or not */
		{ RETENTION_ACTION_KEEP, 0, FALSE, FALSE, FALSE,
		  TRUE, FALSE, RETENTION_TIME_MAX },
		{ RETENTION_ACTION_KEEP, 0, TRUE, FALSE, FALSE,
		  TRUE, FALSE, 0 },
	};
	struct retention_mail_facts facts;
	struct retention_rule rule;
	const struct retention_rule *rulep = &rule;
	unsigned int i;

	test_begin("verdict: how long nothing is to be done");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		rule = test_rule("a", tests[i].action, tests[i].age);
		rule.keep_flagged = tests[i].keep_flagged;
		rule.keep_unseen = tests[i].keep_unseen;
		facts = test_mail(100);
		facts.flagged = tests[i].flagged;
		facts.seen = tests[i].seen;
		if (tests[i].no_date)
			facts.saved = facts.received = facts.sent = 0;
		test_assert_idx(retention_rules_quiet_until(&rulep, 1, &facts,
				NOW) == tests[i].until, i);
	}
	test_end();

	test_begin("verdict: the first of several rules ends the quiet");
	const struct retention_rule late =
		test_rule("late", RETENTION_ACTION_EXPUNGE, 200 * DAY);
	const struct retention_rule soon =
		test_rule("soon", RETENTION_ACTION_ARCHIVE, 120 * DAY);
	const struct retention_rule *rules[] = { &late, &soon };
	facts = test_mail(100);
	test_assert(retention_rules_quiet_until(rules, 2, &facts, NOW) ==
		    NOW + 20 * DAY);
	test_assert(retention_rules_quiet_until(rules, 0, &facts, NOW) ==
		    RETENTION_TIME_MAX);
	test_end();
}

static void test_reason_texts(void)
{
	unsigned int i;

	test_begin("verdict: every reason has a text");
	for (i = RETENTION_REASON_DUE; i <= RETENTION_REASON_ARCHIVED; i++)
		test_assert_idx(*retention_reason_text(i) != '\0', i);
	test_assert_strcmp(retention_reason_text(RETENTION_REASON_NOT_YET),
			   "not yet due");
	test_assert_strcmp(retention_reason_text(RETENTION_REASON_ARCHIVED),
			   "is in the archive already");
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_judge_age_edges,
		test_judge_base,
		test_judge_zones,
		test_judge_exemptions,
		test_judge_rank,
		test_judge_ties,
		test_judge_next,
		test_rules_need,
		test_quiet_until,
		test_reason_texts,
		NULL
	};
	return test_run(test_functions);
}
