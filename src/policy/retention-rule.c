/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "crc32.h"
#include "array.h"
#include "str.h"
#include "strfuncs.h"
#include "retention-compat.h"
#include "retention-pattern.h"
#include "retention-template.h"
#include "retention-rule.h"

#define RETENTION_TIMES "a time such as 90d, 12h or 0, or unlimited"

enum retention_rule_field {
	RETENTION_RULE_MAILBOX = 0,
	RETENTION_RULE_ACTION,
	RETENTION_RULE_AGE,
	RETENTION_RULE_AGE_FROM,
	RETENTION_RULE_KEEP_FLAGGED,
	RETENTION_RULE_KEEP_UNSEEN,
	RETENTION_RULE_MIN_SIZE,
	RETENTION_RULE_INTO,
};

/* in the order of the enums */
static const char *const retention_rule_fields[] = {
	"mailbox", "action", "age", "age_from", "keep_flagged", "keep_unseen",
	"min_size", "into", NULL
};
static const char *const retention_action_names[] = {
	"none", "compress", "archive", "expunge", "keep", NULL
};
static const char *const retention_age_from_names[] = {
	"saved", "received", "sent", NULL
};

const char *retention_action_name(enum retention_action action)
{
	i_assert((unsigned int)action < N_ELEMENTS(retention_action_names) - 1);
	return retention_action_names[action];
}

const char *retention_age_from_name(enum retention_age_from age_from)
{
	i_assert((unsigned int)age_from <
		 N_ELEMENTS(retention_age_from_names) - 1);
	return retention_age_from_names[age_from];
}

/* Returns the index of the word in the list, or -1. */
static int retention_word_find(const char *const *words, const char *word)
{
	int i;

	for (i = 0; words[i] != NULL; i++) {
		if (strcasecmp(words[i], word) == 0)
			return i;
	}
	return -1;
}

void retention_rule_init(struct retention_rule *rule, pool_t pool,
			 const char *name)
{
	i_zero(rule);
	rule->name = p_strdup(pool, name);
	rule->mailbox = "";
}

static int
retention_rule_set_action(struct retention_rule *rule, const char *value,
			  const char **error_r)
{
	const char *const *allowed = retention_action_names + 1;
	int action = retention_word_find(allowed, value);

	if (action < 0) {
		*error_r = t_strdup_printf(
			"action=%s is not an action (allowed are %s)",
			value, t_strarray_join(allowed, ", "));
		return -1;
	}
	rule->action = action + 1;
	rule->have_action = TRUE;
	return 0;
}

static int
retention_rule_set_age(struct retention_rule *rule, const char *value,
		       const char **error_r)
{
	const char *error;

	if (retention_parse_time(value, &rule->age, &error) < 0) {
		*error_r = t_strdup_printf("age=%s: %s; allowed is "
					   RETENTION_TIMES, value, error);
		return -1;
	}
	rule->have_age = TRUE;
	return 0;
}

static int
retention_rule_set_age_from(struct retention_rule *rule, const char *value,
			    const char **error_r)
{
	int age_from = retention_word_find(retention_age_from_names, value);

	if (age_from < 0) {
		*error_r = t_strdup_printf(
			"age_from=%s is not a date (allowed are %s)", value,
			t_strarray_join(retention_age_from_names, ", "));
		return -1;
	}
	rule->age_from = age_from;
	return 0;
}

static int
retention_rule_set_bool(bool *set, const char *field, const char *value,
			const char **error_r)
{
	if (strcasecmp(value, "yes") == 0)
		*set = TRUE;
	else if (strcasecmp(value, "no") == 0)
		*set = FALSE;
	else {
		*error_r = t_strdup_printf("%s=%s (allowed are yes, no)",
					   field, value);
		return -1;
	}
	return 0;
}

static int
retention_rule_set_min_size(struct retention_rule *rule, const char *value,
			    const char **error_r)
{
	const char *error;

	if (retention_parse_size(value, &rule->min_size, &error) < 0) {
		*error_r = t_strdup_printf("min_size=%s: %s; allowed is a size "
			"such as 0, 4096 or 100k", value, error);
		return -1;
	}
	return 0;
}

static int
retention_rule_set_field(struct retention_rule *rule, pool_t pool,
			 enum retention_rule_field field, const char *value,
			 const char **error_r)
{
	switch (field) {
	case RETENTION_RULE_MAILBOX:
		rule->mailbox = p_strdup(pool, value);
		rule->have_mailbox = TRUE;
		return 0;
	case RETENTION_RULE_ACTION:
		return retention_rule_set_action(rule, value, error_r);
	case RETENTION_RULE_AGE:
		return retention_rule_set_age(rule, value, error_r);
	case RETENTION_RULE_AGE_FROM:
		return retention_rule_set_age_from(rule, value, error_r);
	case RETENTION_RULE_KEEP_FLAGGED:
	case RETENTION_RULE_KEEP_UNSEEN:
		return retention_rule_set_bool(
			field == RETENTION_RULE_KEEP_FLAGGED ?
			&rule->keep_flagged : &rule->keep_unseen,
			retention_rule_fields[field], value, error_r);
	case RETENTION_RULE_MIN_SIZE:
		return retention_rule_set_min_size(rule, value, error_r);
	case RETENTION_RULE_INTO:
		rule->into = p_strdup_empty(pool, value);
		return 0;
	}
	i_unreached();
}

static int
retention_rule_find_field(const char *name, enum retention_rule_field *field_r,
			  const char **error_r)
{
	int field = retention_word_find(retention_rule_fields, name);

	if (field < 0) {
		*error_r = t_strdup_printf(
			"unknown field '%s' (allowed are %s)", name,
			t_strarray_join(retention_rule_fields, ", "));
		return -1;
	}
	*field_r = field;
	return 0;
}

int retention_rule_set(struct retention_rule *rule, pool_t pool,
		       const char *field, const char *value,
		       const char **error_r)
{
	enum retention_rule_field rule_field;

	if (retention_rule_find_field(field, &rule_field, error_r) < 0)
		return -1;
	return retention_rule_set_field(rule, pool, rule_field, value, error_r);
}

/* Read a value that begins with a double quote at *p. Returns 0 with *p after
   the closing one, -1 if it is never closed. */
static int retention_rule_read_quoted(const char **p, string_t *value)
{
	const char *str;

	for (str = *p + 1; *str != '"'; str++) {
		if (*str == '\\' && (str[1] == '"' || str[1] == '\\'))
			str++;
		if (*str == '\0')
			return -1;
		str_append_c(value, *str);
	}
	*p = str + 1;
	return 0;
}

/* Read the field=value at *p, which is not white space. Returns 0 with *p
   after it, -1 with error_r set. */
static int
retention_rule_read_word(const char **p, const char **field_r, string_t *value,
			 const char **error_r)
{
	const char *word = *p, *begin;
	size_t len;

	len = strcspn(word, "= \t\r\n");
	if (word[len] != '=') {
		*error_r = t_strdup_printf("'%s' is not field=value (a value "
			"with spaces is put in double quotes, and there are "
			"none around '=')", t_strdup_until(word, word + len));
		return -1;
	}
	*field_r = t_strdup_until(word, word + len);
	*p = begin = word + len + 1;

	if (*begin == '"') {
		if (retention_rule_read_quoted(p, value) < 0) {
			*error_r = t_strdup_printf(
				"%s=%s has no closing double quote",
				*field_r, begin);
			return -1;
		}
	} else {
		len = strcspn(begin, " \t\r\n\"");
		str_append_data(value, begin, len);
		*p = begin + len;
	}
	if (**p != '\0' && strchr(" \t\r\n", **p) == NULL) {
		*error_r = t_strdup_printf("%s=%s has a double quote inside "
			"(allowed are double quotes around the whole value)",
			*field_r, begin);
		return -1;
	}
	return 0;
}

int retention_rule_parse(struct retention_rule *rule, pool_t pool,
			 const char *str, const char **error_r)
{
	string_t *value = t_str_new(64);
	enum retention_rule_field field;
	unsigned int seen = 0;
	const char *name, *p = str;

	for (p += strspn(p, " \t\r\n"); *p != '\0';
	     p += strspn(p, " \t\r\n")) {
		str_truncate(value, 0);
		if (retention_rule_read_word(&p, &name, value, error_r) < 0 ||
		    retention_rule_find_field(name, &field, error_r) < 0)
			return -1;
		if ((seen & (1U << field)) != 0) {
			*error_r = t_strdup_printf("%s=%s: the field is given "
				"twice (allowed is once)", name, str_c(value));
			return -1;
		}
		seen |= 1U << field;
		if (retention_rule_set_field(rule, pool, field, str_c(value),
					     error_r) < 0)
			return -1;
	}
	return 0;
}

const char *retention_age_text(unsigned int secs)
{
	static const struct {
		unsigned int secs;
		char unit;
	} units[] = {
		{ 60 * 60 * 24, 'd' }, { 60 * 60, 'h' }, { 60, 'm' },
	};
	unsigned int i;

	if (secs == RETENTION_AGE_UNLIMITED)
		return "unlimited";
	if (secs == 0)
		return "0";
	for (i = 0; i < N_ELEMENTS(units); i++) {
		if (secs % units[i].secs == 0) {
			return t_strdup_printf("%u%c", secs / units[i].secs,
					       units[i].unit);
		}
	}
	return t_strdup_printf("%us", secs);
}

static int
retention_rule_check_required(const struct retention_rule *rule,
			      const char **error_r)
{
	const char *missing = !rule->have_mailbox ? "mailbox" :
		!rule->have_action ? "action" : !rule->have_age ? "age" : NULL;

	if (missing == NULL)
		return 0;
	*error_r = t_strdup_printf("%s is missing (required are mailbox, "
				   "action and age)", missing);
	return -1;
}

static int
retention_rule_check_age(const struct retention_rule *rule,
			 unsigned int minimum_age, const char **error_r)
{
	if (rule->action == RETENTION_ACTION_EXPUNGE &&
	    rule->age < minimum_age) {
		*error_r = t_strdup_printf("age=%s is too low for "
			"action=expunge (allowed is retention_minimum_age = %s "
			"and above, or unlimited to switch the rule off)",
			retention_age_text(rule->age),
			retention_age_text(minimum_age));
		return -1;
	}
	if (rule->age == 0 && rule->action != RETENTION_ACTION_COMPRESS &&
	    rule->action != RETENTION_ACTION_KEEP) {
		*error_r = t_strdup_printf("age=0 with action=%s (allowed is "
			"age=0 with action=compress and action=keep only; "
			"age=unlimited switches a rule off)",
			retention_action_name(rule->action));
		return -1;
	}
	return 0;
}

static int
retention_rule_check_size(const struct retention_rule *rule,
			  const char **error_r)
{
	/* what "unlimited" is to Dovecot's own parser of sizes */
	if (rule->min_size < UOFF_T_MAX)
		return 0;
	*error_r = "min_size=unlimited would leave every message alone "
		"(allowed is a size such as 0, 4096 or 100k; age=unlimited "
		"switches a rule off)";
	return -1;
}

static int
retention_rule_check_into(const struct retention_rule *rule,
			  const char **error_r)
{
	const char *error;

	if (rule->into == NULL)
		return 0;
	if (rule->action != RETENTION_ACTION_ARCHIVE) {
		*error_r = t_strdup_printf("into=%s with action=%s (allowed is "
			"into with action=archive only)", rule->into,
			retention_action_name(rule->action));
		return -1;
	}
	if (retention_template_check(rule->into, &error) < 0) {
		*error_r = t_strdup_printf("into=%s %s", rule->into, error);
		return -1;
	}
	return 0;
}

int retention_rule_check(const struct retention_rule *rule,
			 unsigned int minimum_age, const char **error_r)
{
	const char *error;

	if (retention_rule_check_required(rule, error_r) < 0)
		return -1;
	if (retention_pattern_check(rule->mailbox, &error) < 0) {
		*error_r = t_strdup_printf("mailbox=%s %s", rule->mailbox,
					   error);
		return -1;
	}
	if (retention_rule_check_age(rule, minimum_age, error_r) < 0 ||
	    retention_rule_check_size(rule, error_r) < 0)
		return -1;
	return retention_rule_check_into(rule, error_r);
}

uint32_t retention_rules_hash(const struct retention_rule *const *rules,
			      unsigned int count)
{
	uint32_t hash = 0;

	for (unsigned int i = 0; i < count; i++) T_BEGIN {
		const struct retention_rule *rule = rules[i];
		const char *text = t_strdup_printf(
			"%s\n%s\n%d %u %d %d %d %"PRIuUOFF_T"\n%s\n",
			rule->name, rule->mailbox, rule->action, rule->age,
			rule->age_from, rule->keep_flagged ? 1 : 0,
			rule->keep_unseen ? 1 : 0, rule->min_size,
			rule->into == NULL ? "" : rule->into);

		hash = crc32_str_more(hash, text);
	} T_END;
	return hash;
}
