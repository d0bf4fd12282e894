/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* A message of INBOX goes through two clocks. Once a client has downloaded it,
   leave_time runs; when that is over, the message is treated as if the client
   had deleted it on that day. Once it is deleted, and hidden for that reason,
   keep_time runs. A time stamp that was lost starts its clock anew, so that no
   message goes early.

   What acts at once, a DELE that archives and a leave_time of 0, has no clock
   to start. There a message without a time stamp is left alone: most likely the
   user has brought it back from the archive, where it got its keywords, and it
   would be gone again with the next run. */

#include "lib.h"
#include "crc32.h"
#include "strfuncs.h"
#include "retention-compat.h"
#include "retention-verdict.h"
#include "retention-pop3.h"

#define DAY_SECS (60 * 60 * 24)

/* in the order of the enums */
static const char *const retention_pop3_delete_names[] = {
	"expunge", "keep", "archive",
};
static const char *const retention_pop3_action_names[] = {
	"nothing", "stamp", "hide", "archive", "expunge",
};

const char *retention_pop3_delete_name(enum retention_pop3_delete delete)
{
	i_assert((unsigned int)delete <
		 N_ELEMENTS(retention_pop3_delete_names));
	return retention_pop3_delete_names[delete];
}

const char *retention_pop3_action_name(enum retention_pop3_action action)
{
	i_assert((unsigned int)action <
		 N_ELEMENTS(retention_pop3_action_names));
	return retention_pop3_action_names[action];
}

void retention_pop3_settings_init(struct retention_pop3_settings *set_r)
{
	i_zero(set_r);
	set_r->delete = RETENTION_POP3_DELETE_EXPUNGE;
	set_r->keep_action = RETENTION_ACTION_ARCHIVE;
	set_r->keep_time = RETENTION_AGE_UNLIMITED;
	set_r->leave_time = RETENTION_AGE_UNLIMITED;
}

bool retention_pop3_is_set(const struct retention_pop3_settings *set)
{
	struct retention_pop3_settings def;

	retention_pop3_settings_init(&def);
	return set->delete != def.delete ||
		set->keep_action != def.keep_action ||
		set->keep_time != def.keep_time ||
		set->leave_time != def.leave_time;
}

bool retention_pop3_is_timed(const struct retention_pop3_settings *set)
{
	return set->delete == RETENTION_POP3_DELETE_ARCHIVE ||
		set->keep_time != RETENTION_AGE_UNLIMITED ||
		set->leave_time != RETENTION_AGE_UNLIMITED;
}

bool retention_pop3_archives(const struct retention_pop3_settings *set)
{
	/* With delete = expunge there may be messages that were hidden before
	   the setting was changed. */
	return set->delete == RETENTION_POP3_DELETE_ARCHIVE ||
		(set->keep_time != RETENTION_AGE_UNLIMITED &&
		 set->keep_action == RETENTION_ACTION_ARCHIVE);
}

int retention_pop3_delete_parse(const char *value,
				enum retention_pop3_delete *delete_r,
				const char **error_r)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(retention_pop3_delete_names); i++) {
		if (strcasecmp(retention_pop3_delete_names[i], value) == 0) {
			*delete_r = i;
			return 0;
		}
	}
	*error_r = "is not a way to delete (allowed are expunge, keep, "
		"archive)";
	return -1;
}

int retention_pop3_keep_action_parse(const char *value,
				     enum retention_action *action_r,
				     const char **error_r)
{
	static const enum retention_action allowed[] = {
		RETENTION_ACTION_ARCHIVE, RETENTION_ACTION_EXPUNGE,
	};
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(allowed); i++) {
		if (strcasecmp(retention_action_name(allowed[i]), value) == 0) {
			*action_r = allowed[i];
			return 0;
		}
	}
	*error_r = "is not an action for kept mail (allowed are archive, "
		"expunge)";
	return -1;
}

int retention_pop3_time_parse(const char *value, unsigned int *secs_r,
			      const char **error_r)
{
	const char *error;

	if (retention_parse_time(value, secs_r, &error) < 0) {
		*error_r = t_strdup_printf("is not a time: %s; allowed is "
			"a time such as 30d, 12h or 0, or unlimited", error);
		return -1;
	}
	return 0;
}

int retention_pop3_settings_check(const struct retention_pop3_settings *set,
				  unsigned int minimum_age,
				  const char **error_r)
{
	const char *minimum = retention_age_text(minimum_age);

	if (set->keep_action == RETENTION_ACTION_EXPUNGE &&
	    set->keep_time < minimum_age) {
		*error_r = t_strdup_printf("retention_pop3_keep_time=%s is too "
			"low for retention_pop3_keep_action=expunge (allowed "
			"is retention_minimum_age = %s and above, or "
			"unlimited)", retention_age_text(set->keep_time),
			minimum);
		return -1;
	}
	/* 0 is the choice to have nothing left on the server. */
	if (set->delete == RETENTION_POP3_DELETE_EXPUNGE &&
	    set->leave_time > 0 && set->leave_time < minimum_age) {
		*error_r = t_strdup_printf("retention_pop3_leave_time=%s is "
			"too low for retention_pop3_delete=expunge (allowed "
			"is 0, retention_minimum_age = %s and above, or "
			"unlimited)", retention_age_text(set->leave_time),
			minimum);
		return -1;
	}
	return 0;
}

uint32_t
retention_pop3_settings_hash(const struct retention_pop3_settings *set)
{
	uint32_t hash;

	if (!retention_pop3_is_set(set))
		return 0;
	T_BEGIN {
		hash = crc32_str(t_strdup_printf("%d %d %u %u", set->delete,
			set->keep_action, set->keep_time, set->leave_time));
	} T_END;
	return hash == 0 ? 1 : hash;
}

/* Returns the date from which a message counts with which something was done at
   the given time, 0 if it is not known. */
static time_t
retention_pop3_base(const struct retention_pop3_facts *facts, time_t done)
{
	return done <= 0 ? 0 : I_MAX(done, facts->saved);
}

static enum retention_pop3_action
retention_pop3_keep_action(const struct retention_pop3_settings *set)
{
	return set->keep_action == RETENTION_ACTION_EXPUNGE ?
		RETENTION_POP3_EXPUNGE : RETENTION_POP3_ARCHIVE;
}

static void
retention_pop3_judge_hidden(const struct retention_pop3_settings *set,
			    const struct retention_pop3_facts *facts,
			    struct retention_pop3_verdict *verdict)
{
	verdict->base = retention_pop3_base(facts, facts->hidden_time);
	if (set->delete == RETENTION_POP3_DELETE_ARCHIVE) {
		if (verdict->base == 0) {
			verdict->why = "hidden from POP3 and moved back to "
				"INBOX, or not known since when";
			return;
		}
		verdict->action = RETENTION_POP3_ARCHIVE;
		verdict->due = facts->hidden_time;
		verdict->why = "hidden from POP3";
	} else if (set->keep_time == RETENTION_AGE_UNLIMITED) {
		verdict->why = "hidden from POP3 and kept for ever";
	} else if (verdict->base == 0) {
		verdict->action = RETENTION_POP3_STAMP;
		verdict->why = "hidden from POP3, not known since when";
	} else {
		verdict->action = retention_pop3_keep_action(set);
		verdict->due = retention_due_date(verdict->base,
						  set->keep_time);
		verdict->why = "hidden from POP3";
	}
}

/* The message is treated as deleted from the due date on, and where that means
   to keep it, the second clock may have run out since. */
static void
retention_pop3_judge_kept(const struct retention_pop3_settings *set, time_t now,
			  struct retention_pop3_verdict *verdict)
{
	time_t keep_due;

	verdict->action = RETENTION_POP3_HIDE;
	if (set->keep_time == RETENTION_AGE_UNLIMITED)
		return;
	keep_due = retention_due_date(verdict->due, set->keep_time);
	if (set->keep_time == 0 || now >= keep_due) {
		verdict->action = retention_pop3_keep_action(set);
		verdict->due = keep_due;
	}
}

static void
retention_pop3_judge_left(const struct retention_pop3_settings *set,
			  const struct retention_pop3_facts *facts,
			  time_t now, struct retention_pop3_verdict *verdict)
{
	verdict->base = retention_pop3_base(facts, facts->downloaded_time);
	if (set->leave_time == RETENTION_AGE_UNLIMITED) {
		verdict->why = "downloaded, and may be left on the server for "
			"ever";
		return;
	}
	if (verdict->base == 0 && set->leave_time == 0) {
		verdict->why = "downloaded and moved back to INBOX, or not "
			"known since when: left for its next download";
		return;
	}
	if (verdict->base == 0) {
		verdict->action = RETENTION_POP3_STAMP;
		verdict->why = "downloaded and left on the server, not known "
			"since when";
		return;
	}
	verdict->due = retention_due_date(verdict->base, set->leave_time);
	verdict->why = "downloaded and left on the server";
	switch (set->delete) {
	case RETENTION_POP3_DELETE_EXPUNGE:
		verdict->action = RETENTION_POP3_EXPUNGE;
		break;
	case RETENTION_POP3_DELETE_KEEP:
		retention_pop3_judge_kept(set, now, verdict);
		break;
	case RETENTION_POP3_DELETE_ARCHIVE:
		verdict->action = RETENTION_POP3_ARCHIVE;
		break;
	}
}

void retention_pop3_judge(const struct retention_pop3_settings *set,
			  const struct retention_pop3_facts *facts, time_t now,
			  struct retention_pop3_verdict *verdict_r)
{
	i_zero(verdict_r);
	if (facts->hidden)
		retention_pop3_judge_hidden(set, facts, verdict_r);
	else if (facts->downloaded)
		retention_pop3_judge_left(set, facts, now, verdict_r);
	else
		verdict_r->why = "not downloaded by POP3";
}

static bool
retention_rules_keep_all(const struct retention_rule *const *rules,
			 unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		if (rules[i]->action == RETENTION_ACTION_KEEP &&
		    rules[i]->age == 0 && !rules[i]->keep_flagged &&
		    !rules[i]->keep_unseen && rules[i]->min_size == 0)
			return TRUE;
	}
	return FALSE;
}

/* Returns the shortest time after which the settings can take a message out of
   the POP3 view that the client has not deleted. kept: a rule keeps every
   message in INBOX, where it can only be hidden. */
static unsigned int
retention_pop3_shortest(const struct retention_pop3_settings *set, bool kept)
{
	unsigned int age = RETENTION_AGE_UNLIMITED;

	/* With 0 it is the session that acts: it asks no rules. */
	if (!kept || set->delete == RETENTION_POP3_DELETE_KEEP ||
	    set->leave_time == 0)
		age = set->leave_time;
	if (!kept && set->delete == RETENTION_POP3_DELETE_KEEP &&
	    set->keep_action == RETENTION_ACTION_EXPUNGE)
		age = I_MIN(age, set->keep_time);
	return age;
}

/* Returns the time that a message stays at least because of the rule. Where the
   sender's date counts, a message may come with any age. */
static unsigned int retention_rule_shortest(const struct retention_rule *rule)
{
	if (rule->action != RETENTION_ACTION_ARCHIVE &&
	    rule->action != RETENTION_ACTION_EXPUNGE)
		return RETENTION_AGE_UNLIMITED;
	return rule->age_from == RETENTION_AGE_FROM_SENT &&
		rule->age != RETENTION_AGE_UNLIMITED ? 0 : rule->age;
}

unsigned int
retention_pop3_expire_days(const struct retention_pop3_settings *set,
			   const struct retention_rule *const *rules,
			   unsigned int count)
{
	bool kept = retention_rules_keep_all(rules, count);
	unsigned int age = retention_pop3_shortest(set, kept);

	for (unsigned int i = 0; i < count && !kept; i++)
		age = I_MIN(age, retention_rule_shortest(rules[i]));
	if (age == RETENTION_AGE_UNLIMITED)
		return RETENTION_POP3_EXPIRE_NEVER;
	if (set->leave_time == 0)
		return 0;
	return I_MAX(age / DAY_SECS, 1);
}
