#ifndef RETENTION_POP3_H
#define RETENTION_POP3_H

#include "retention-rule.h"

/* What a POP3 client's DELE does, and what happens to what clients leave on the
   server: pure logic, for one message at a time. */

/* retention_pop3_delete */
enum retention_pop3_delete {
	/* as Dovecot without us */
	RETENTION_POP3_DELETE_EXPUNGE = 0,
	/* hide from POP3 for good, leave in INBOX */
	RETENTION_POP3_DELETE_KEEP,
	/* hide from POP3 for good, move to the archive */
	RETENTION_POP3_DELETE_ARCHIVE,
};

struct retention_pop3_settings {
	enum retention_pop3_delete delete;
	/* RETENTION_ACTION_ARCHIVE or RETENTION_ACTION_EXPUNGE */
	enum retention_action keep_action;
	/* Seconds, or RETENTION_AGE_UNLIMITED. */
	unsigned int keep_time, leave_time;
};

/* What POP3 has done with a message. */
struct retention_pop3_facts {
	/* It is hidden from POP3. */
	bool hidden;
	/* A client has downloaded it: RETR sent completely, and QUIT seen. */
	bool downloaded;
	/* When that was, in seconds since 1970; 0 if it is not known. */
	time_t hidden_time, downloaded_time;
	/* When the message came into INBOX, 0 if it is not known. What POP3 did
	   with it before does not count: it was moved away and back. */
	time_t saved;
};

/* What is to be done with a message. */
enum retention_pop3_action {
	RETENTION_POP3_NOTHING = 0,
	/* Its time is not known: the clock starts now. */
	RETENTION_POP3_STAMP,
	/* Hide it from POP3, as if the client had deleted it at the verdict's
	   due date. */
	RETENTION_POP3_HIDE,
	RETENTION_POP3_ARCHIVE,
	RETENTION_POP3_EXPUNGE,
};

struct retention_pop3_verdict {
	/* What the settings have in store for the message, whether it is due or
	   not; NOTHING if they have nothing. */
	enum retention_pop3_action action;
	/* The date from which it counts: of the DELE if the message is hidden,
	   else of the download. 0 if it is not known. */
	time_t base;
	/* When the action is due, from that second on. With STAMP and NOTHING
	   0. */
	time_t due;
	/* Why, for people: "downloaded and left on the server", ... */
	const char *why;
};

/* The defaults: everything as Dovecot without us. */
void retention_pop3_settings_init(struct retention_pop3_settings *set_r);
/* Returns TRUE if any of the settings differs from its default. */
bool retention_pop3_is_set(const struct retention_pop3_settings *set);
/* Returns TRUE if a run may have something to do in INBOX because of these
   settings. */
bool retention_pop3_is_timed(const struct retention_pop3_settings *set);
/* Returns TRUE if the settings can have messages archived. */
bool retention_pop3_archives(const struct retention_pop3_settings *set);

/* Parse retention_pop3_delete (expunge, keep, archive) and
   retention_pop3_keep_action (archive, expunge). They return 0, or -1 with
   error_r that continues a sentence which begins with the setting and its
   value, and tells what is allowed. */
int retention_pop3_delete_parse(const char *value,
				enum retention_pop3_delete *delete_r,
				const char **error_r);
int retention_pop3_keep_action_parse(const char *value,
				     enum retention_action *action_r,
				     const char **error_r);
/* Parse retention_pop3_keep_time and retention_pop3_leave_time into seconds or
   RETENTION_AGE_UNLIMITED. Returns as above. */
int retention_pop3_time_parse(const char *value, unsigned int *secs_r,
			      const char **error_r);
/* The setting's word: "expunge", ... */
const char *retention_pop3_delete_name(enum retention_pop3_delete delete);

/* Check the settings together: a keep_time with keep_action = expunge, and a
   leave_time other than 0 that ends in an expunge, may not be below minimum_age
   seconds. Returns 0, or -1 with error_r naming the settings, their values and
   what is allowed. */
int retention_pop3_settings_check(const struct retention_pop3_settings *set,
				  unsigned int minimum_age,
				  const char **error_r);
/* Returns a number that differs, as good as certainly, between settings that do
   not ask for the same; 0 for the defaults. */
uint32_t
retention_pop3_settings_hash(const struct retention_pop3_settings *set);

/* Judge a message of INBOX. A hidden message counts from the DELE, or if it
   came into INBOX later from then, and likewise one that was downloaded.
   Without a time stamp the clock starts (STAMP); but what would be done at once
   (delete = archive, leave_time = 0) is not done then: the message was brought
   back from where it went.
   keep_time runs out for a message that is to be hidden for its leave_time as
   if it had been hidden on the day. */
void retention_pop3_judge(const struct retention_pop3_settings *set,
			  const struct retention_pop3_facts *facts, time_t now,
			  struct retention_pop3_verdict *verdict_r);
/* Returns the word for what is in store: "hide", "archive", "expunge", ... */
const char *retention_pop3_action_name(enum retention_pop3_action action);

/* The argument of EXPIRE (RFC 2449, 6.7). */
#define RETENTION_POP3_EXPIRE_NEVER UINT_MAX
/* Returns the smallest number of whole days after which a message can leave the
   POP3 view without the client having deleted it: by leave_time, by keep_time
   with keep_action = expunge, or by a rule (of those whose pattern matches
   INBOX) that archives or expunges; for one that counts from the date the
   sender gave, at any time. Rounded down, but 0 only for leave_time =
   0, which is what RFC 2449 means by it. Rules are void if one of them keeps
   every message in any case, and so is what a run would archive or expunge
   because of the settings. */
unsigned int
retention_pop3_expire_days(const struct retention_pop3_settings *set,
			   const struct retention_rule *const *rules,
			   unsigned int count);

#endif
