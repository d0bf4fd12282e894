#ifndef RETENTION_VERDICT_H
#define RETENTION_VERDICT_H

#include "retention-rule.h"

/* The last date there is. */
#define RETENTION_TIME_MAX \
	((time_t)((UINTMAX_C(1) << (sizeof(time_t) * CHAR_BIT - 1)) - 1))

/* What policy must know about a message. */
struct retention_mail_facts {
	/* Dates in seconds since 1970; 0 or less means that it is not known. */
	time_t saved, received, sent;
	/* Message size in bytes. */
	uoff_t size;
	bool flagged, seen;
	/* The message is in an archive mailbox already. */
	bool archived;
};

/* Which members of the facts a set of rules asks for. */
enum retention_fact {
	RETENTION_FACT_SAVED = 0x01,
	RETENTION_FACT_RECEIVED = 0x02,
	RETENTION_FACT_SENT = 0x04,
	RETENTION_FACT_SIZE = 0x08,
	RETENTION_FACT_FLAGS = 0x10,
};

/* Why a rule is not due for a message, or that it is. */
enum retention_reason {
	RETENTION_REASON_DUE = 0,
	RETENTION_REASON_NOT_YET,
	/* its age is unlimited */
	RETENTION_REASON_OFF,
	RETENTION_REASON_FLAGGED,
	RETENTION_REASON_UNSEEN,
	RETENTION_REASON_TOO_SMALL,
	/* none of the dates that it could count from is known */
	RETENTION_REASON_NO_DATE,
	/* an archive rule, and the message is in the archive */
	RETENTION_REASON_ARCHIVED,
};

struct retention_rule_verdict {
	const struct retention_rule *rule;
	enum retention_reason reason;
	/* The date that the age counts from, 0 if none is known, and which one
	   it is: rules that ask for the sent date get the received date when
	   the Date: field is missing, 0, or later than the received date (it
	   is the sender's word), and the saved date stands in for a received
	   date that is not known and the other way round. Dates in the future
	   are taken as they are: due later, never sooner. */
	time_t base;
	enum retention_age_from base_from;
	/* base + age, or the last second there is if that is later; 0 if there
	   is no base or the rule is off. The rule is due from this second on,
	   unless the message is exempt; with age 0 it always is. */
	time_t due;
};

/* Returns base + age, or the last second there is if that is later. */
time_t retention_due_date(time_t base, unsigned int age);
/* The text of the reason, for people: "not yet due", "is flagged", ... */
const char *retention_reason_text(enum retention_reason reason);

/* Returns the facts (enum retention_fact) that judging by these rules needs.
   */
enum retention_fact
retention_rules_need(const struct retention_rule *const *rules,
		     unsigned int count);

/* Judge a message by one rule whose pattern matches its mailbox. */
void retention_rule_judge(const struct retention_rule *rule,
			  const struct retention_mail_facts *facts, time_t now,
			  struct retention_rule_verdict *verdict_r);

/* Judge a message by all the rules that match its mailbox. Returns the action
   to take, and in verdict_r the rule that decided: of the rules that are due,
   keep beats expunge beats archive beats compress, and of two of the same
   action the one that was due first, then the one whose name sorts first.
   Returns RETENTION_ACTION_NONE if none is due; verdict_r then tells of the
   rule that will be due next (smallest due date in the future, not exempt; of
   two with the same one the one that would win), with rule == NULL if there is
   none. */
enum retention_action
retention_rules_judge(const struct retention_rule *const *rules,
		      unsigned int count,
		      const struct retention_mail_facts *facts, time_t now,
		      struct retention_rule_verdict *verdict_r);

/* Returns the date before which the rules have nothing more to do with the
   message than they have now, even if its flags change: RETENTION_TIME_MAX if
   never, 0 if that can't be told. */
time_t retention_rules_quiet_until(const struct retention_rule *const *rules,
				   unsigned int count,
				   const struct retention_mail_facts *facts,
				   time_t now);

#endif
