/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-verdict.h"

/* in the order of the enum */
static const char *const retention_reason_texts[] = {
	"due",
	"not yet due",
	"the rule is switched off",
	"is flagged",
	"is unseen",
	"is too small",
	"has no known date",
	"is in the archive already",
};

const char *retention_reason_text(enum retention_reason reason)
{
	i_assert((unsigned int)reason < N_ELEMENTS(retention_reason_texts));
	return retention_reason_texts[reason];
}

enum retention_fact
retention_rules_need(const struct retention_rule *const *rules,
		     unsigned int count)
{
	enum retention_fact need = 0;
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (rules[i]->age == RETENTION_AGE_UNLIMITED)
			continue;
		/* One stands in for the other. */
		need |= RETENTION_FACT_SAVED | RETENTION_FACT_RECEIVED;
		if (rules[i]->age_from == RETENTION_AGE_FROM_SENT)
			need |= RETENTION_FACT_SENT;
		if (rules[i]->min_size > 0)
			need |= RETENTION_FACT_SIZE;
		if (rules[i]->keep_flagged || rules[i]->keep_unseen)
			need |= RETENTION_FACT_FLAGS;
	}
	return need;
}

static void
retention_verdict_set_base(struct retention_rule_verdict *verdict,
			   const struct retention_mail_facts *facts)
{
	enum retention_age_from from = verdict->rule->age_from;
	bool have_server_date = facts->saved > 0 || facts->received > 0;
	time_t server_date;

	server_date = facts->received > 0 ? facts->received : facts->saved;
	if (from == RETENTION_AGE_FROM_SENT &&
	    (facts->sent <= 0 ||
	     (have_server_date && facts->sent > server_date)))
		from = RETENTION_AGE_FROM_RECEIVED;
	if (from == RETENTION_AGE_FROM_RECEIVED && facts->received <= 0)
		from = RETENTION_AGE_FROM_SAVED;
	else if (from == RETENTION_AGE_FROM_SAVED && facts->saved <= 0 &&
		 facts->received > 0)
		from = RETENTION_AGE_FROM_RECEIVED;

	switch (from) {
	case RETENTION_AGE_FROM_SAVED:
		verdict->base = facts->saved;
		break;
	case RETENTION_AGE_FROM_RECEIVED:
		verdict->base = facts->received;
		break;
	case RETENTION_AGE_FROM_SENT:
		verdict->base = facts->sent;
		break;
	}
	if (verdict->base < 0)
		verdict->base = 0;
	verdict->base_from = from;
}

time_t retention_due_date(time_t base, unsigned int age)
{
	if ((uintmax_t)age > (uintmax_t)(RETENTION_TIME_MAX - base))
		return RETENTION_TIME_MAX;
	return base + (time_t)age;
}

static enum retention_reason
retention_rule_reason(const struct retention_rule *rule,
		      const struct retention_mail_facts *facts, time_t now,
		      const struct retention_rule_verdict *verdict)
{
	if (rule->age == RETENTION_AGE_UNLIMITED)
		return RETENTION_REASON_OFF;
	if (rule->action == RETENTION_ACTION_ARCHIVE && facts->archived)
		return RETENTION_REASON_ARCHIVED;
	if (rule->keep_flagged && facts->flagged)
		return RETENTION_REASON_FLAGGED;
	if (rule->keep_unseen && !facts->seen)
		return RETENTION_REASON_UNSEEN;
	if (facts->size < rule->min_size)
		return RETENTION_REASON_TOO_SMALL;
	/* No date is needed to know that this time is over. */
	if (rule->age == 0)
		return RETENTION_REASON_DUE;
	if (verdict->base == 0)
		return RETENTION_REASON_NO_DATE;
	return now < verdict->due ?
		RETENTION_REASON_NOT_YET : RETENTION_REASON_DUE;
}

void retention_rule_judge(const struct retention_rule *rule,
			  const struct retention_mail_facts *facts, time_t now,
			  struct retention_rule_verdict *verdict_r)
{
	i_zero(verdict_r);
	verdict_r->rule = rule;
	retention_verdict_set_base(verdict_r, facts);
	if (verdict_r->base > 0 && rule->age != RETENTION_AGE_UNLIMITED) {
		verdict_r->due = retention_due_date(verdict_r->base,
						    rule->age);
	}
	verdict_r->reason = retention_rule_reason(rule, facts, now, verdict_r);
}

/* Returns TRUE if a wins over b, which are both due. */
static bool
retention_verdict_wins(const struct retention_rule_verdict *a,
		       const struct retention_rule_verdict *b)
{
	if (a->rule->action != b->rule->action)
		return a->rule->action > b->rule->action;
	if (a->due != b->due)
		return a->due < b->due;
	return strcmp(a->rule->name, b->rule->name) < 0;
}

/* Returns TRUE if a is due before b, which both are not yet due. */
static bool
retention_verdict_is_earlier(const struct retention_rule_verdict *a,
			     const struct retention_rule_verdict *b)
{
	return a->due != b->due ? a->due < b->due :
		retention_verdict_wins(a, b);
}

enum retention_action
retention_rules_judge(const struct retention_rule *const *rules,
		      unsigned int count,
		      const struct retention_mail_facts *facts, time_t now,
		      struct retention_rule_verdict *verdict_r)
{
	struct retention_rule_verdict verdict, due, next;
	unsigned int i;

	i_zero(&due);
	i_zero(&next);
	next.reason = RETENTION_REASON_NOT_YET;
	for (i = 0; i < count; i++) {
		retention_rule_judge(rules[i], facts, now, &verdict);
		if (verdict.reason == RETENTION_REASON_DUE) {
			if (due.rule == NULL ||
			    retention_verdict_wins(&verdict, &due))
				due = verdict;
		} else if (verdict.reason == RETENTION_REASON_NOT_YET) {
			if (next.rule == NULL ||
			    retention_verdict_is_earlier(&verdict, &next))
				next = verdict;
		}
	}
	*verdict_r = due.rule != NULL ? due : next;
	return due.rule != NULL ? due.rule->action : RETENTION_ACTION_NONE;
}

static time_t
retention_rule_quiet_until(const struct retention_rule_verdict *verdict)
{
	const struct retention_rule *rule = verdict->rule;

	switch (verdict->reason) {
	case RETENTION_REASON_NOT_YET:
		return verdict->due;
	case RETENTION_REASON_FLAGGED:
	case RETENTION_REASON_UNSEEN:
		/* It may lose the exemption at any time. */
		if (rule->age == 0)
			return 0;
		return verdict->base == 0 ? RETENTION_TIME_MAX : verdict->due;
	case RETENTION_REASON_DUE:
		/* What a keep rule holds back by flags may become free. */
		if (rule->action == RETENTION_ACTION_KEEP &&
		    (rule->keep_flagged || rule->keep_unseen))
			return 0;
		break;
	case RETENTION_REASON_OFF:
	case RETENTION_REASON_TOO_SMALL:
	case RETENTION_REASON_NO_DATE:
	case RETENTION_REASON_ARCHIVED:
		break;
	}
	return RETENTION_TIME_MAX;
}

time_t retention_rules_quiet_until(const struct retention_rule *const *rules,
				   unsigned int count,
				   const struct retention_mail_facts *facts,
				   time_t now)
{
	struct retention_rule_verdict verdict;
	time_t until, earliest = RETENTION_TIME_MAX;
	unsigned int i;

	for (i = 0; i < count; i++) {
		retention_rule_judge(rules[i], facts, now, &verdict);
		until = retention_rule_quiet_until(&verdict);
		if (until < earliest)
			earliest = until;
	}
	return earliest;
}
