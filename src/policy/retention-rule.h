#ifndef RETENTION_RULE_H
#define RETENTION_RULE_H

/* An age that is never reached: the rule is switched off. */
#define RETENTION_AGE_UNLIMITED UINT_MAX

/* What a rule does with a message that it is due for, in the order in which
   one wins over another that is due at the same time. */
enum retention_action {
	RETENTION_ACTION_NONE = 0,
	RETENTION_ACTION_COMPRESS,
	RETENTION_ACTION_ARCHIVE,
	RETENTION_ACTION_EXPUNGE,
	RETENTION_ACTION_KEEP,
};

/* The date from which a message's age counts. */
enum retention_age_from {
	/* when it came into its mailbox (SAVEDATE, RFC 8514) */
	RETENTION_AGE_FROM_SAVED = 0,
	/* INTERNALDATE (RFC 3501, 2.3.3) */
	RETENTION_AGE_FROM_RECEIVED,
	/* the Date: header field (RFC 5322, 3.6.1) */
	RETENTION_AGE_FROM_SENT,
};

struct retention_rule {
	/* The NAME of retention_rule_NAME or of retention_rule NAME { }. */
	const char *name;
	/* Pattern with IMAP LIST wildcards (RFC 3501, 6.3.8), in UTF-8 with '/'
	   as the hierarchy separator, or a special-use name such as "\Trash"
	   (RFC 6154). */
	const char *mailbox;
	enum retention_action action;
	/* Seconds, or RETENTION_AGE_UNLIMITED. */
	unsigned int age;
	enum retention_age_from age_from;
	/* Messages with \Flagged, or without \Seen, are left alone. */
	bool keep_flagged, keep_unseen;
	/* Bytes; smaller messages are left alone. */
	uoff_t min_size;
	/* Template of the archive mailbox, NULL for
	   retention_archive_mailbox. */
	const char *into;

	/* Which of the required fields were given. */
	bool have_mailbox, have_action, have_age;
};
ARRAY_DEFINE_TYPE(retention_rule, struct retention_rule);

/* The setting's word for the action: "archive", ... */
const char *retention_action_name(enum retention_action action);
/* The setting's word for the date: "saved", ... */
const char *retention_age_from_name(enum retention_age_from age_from);
/* Returns the seconds as a setting has them: "90d", "unlimited", ... */
const char *retention_age_text(unsigned int secs);

/* Fill the rule with the defaults of the optional fields. The name is copied
   to the pool. */
void retention_rule_init(struct retention_rule *rule, pool_t pool,
			 const char *name);
/* Set one field ("mailbox", "action", "age", "age_from", "keep_flagged",
   "keep_unseen", "min_size", "into") from its text. Strings are copied to the
   pool. Returns 0 on success, -1 with error_r naming the field, the value and
   what is allowed. error_r does not name the rule. */
int retention_rule_set(struct retention_rule *rule, pool_t pool,
		       const char *field, const char *value,
		       const char **error_r);
/* Set fields from "mailbox=INBOX action=archive age=90d": words separated by
   white space; a value with white space is put in double quotes, in which a
   backslash quotes a double quote or a backslash. Returns and error_r as
   retention_rule_set(); a field given twice is an error. */
int retention_rule_parse(struct retention_rule *rule, pool_t pool,
			 const char *str, const char **error_r);
/* Check the finished rule: required fields, the age that the action allows
   (an expunge rule with an age below minimum_age seconds is refused; age 0
   only with keep and compress), "into" only with archive and a valid template
   (retention-template.h), a valid pattern (retention-pattern.h), a limited
   min_size. All this of rules that are switched off as well: with a misspelt
   name the rule that was meant stays on. Returns 0 if the rule can be used, -1
   with error_r naming field, value and what is allowed. error_r does not name
   the rule. */
int retention_rule_check(const struct retention_rule *rule,
			 unsigned int minimum_age, const char **error_r);

/* Returns a number that differs, as good as certainly, between rules that do
   not ask for the same. */
uint32_t retention_rules_hash(const struct retention_rule *const *rules,
			      unsigned int count);

#endif
