#ifndef RETENTION_RUN_H
#define RETENTION_RUN_H

#include "retention-rule.h"

struct mail_user;
struct retention_box;
struct retention_plan;

struct retention_run_progress {
	/* The mailbox in hand, as clients see its name. */
	const char *mailbox;
	/* Messages to compress, and those of them that are done. */
	unsigned int done, total;
	/* Bytes of the messages that are done. */
	uoff_t bytes;
};

/* What is still missing until there is room enough. */
struct retention_relief_need {
	/* Bytes and messages that the quota must count less. */
	uint64_t bytes, messages;
};

/* Archive early instead of applying the rules: messages for which an archive
   rule is not due yet, oldest first, as few as are needed. Exemptions hold,
   messages younger than retention_minimum_age stay, nothing is expunged, and no
   more of a mailbox than retention_run_limit is touched. INBOX is left alone
   while a POP3 session is open. */
struct retention_relief {
	/* Ask what is needed; called anew after each round. Returns FALSE if
	   nothing is. */
	bool (*need)(void *context, struct retention_relief_need *need_r);
	/* Returns TRUE when it is time to go on with the messages that were
	   found so far. */
	bool (*stop_look)(void *context);
	/* Called at the end, the user being locked still, if something is
	   needed and the next try would not get any further: all that may be
	   archived is, or all of the time was not enough to find something. */
	void (*give_up)(void *context);
	/* The quota counts archived mail by its stored size: compressing it
	   makes room. */
	bool compress;
};

struct retention_run_options {
	/* Tell what would be done and change nothing. */
	bool dry_run;
	/* Do only what POP3 has in store for INBOX. */
	bool pop3_only;
	/* IMAP LIST pattern of the mailboxes whose rules are applied, NULL for
	   all. What is archived from them is compressed as well. */
	const char *mask;
	/* Returns TRUE when the run is to end after the message in hand. */
	bool (*stop)(void *context);
	/* Called now and then. May be NULL. */
	void (*progress)(void *context,
			 const struct retention_run_progress *progress);
	/* Called for each mailbox of a dry run. */
	void (*plan)(void *context, const struct retention_box *rbox,
		     const struct retention_plan *plan);
	/* Make room only. NULL to apply the rules. */
	const struct retention_relief *relief;
	void *context;
};

/* What a run has done. Sizes are in bytes. */
struct retention_run_stats {
	unsigned int archived, compressed, expunged, hidden;
	/* Message sizes. */
	uoff_t archived_bytes, compressed_bytes, expunged_bytes;
	/* What the compressed messages take now. */
	uoff_t stored_bytes;
	/* Messages, or whole mailboxes, for which something failed. */
	unsigned int errors;
};

/* Apply the user's rules once. Failures are logged and counted in stats_r; the
   rest is done nevertheless where that is safe. Returns 0 if the run went to
   its end, stopped or not, -1 with error_r if it could not begin: when another
   run of the same user is in progress, or mailboxes can't be listed. */
int retention_run(struct mail_user *user,
		  const struct retention_run_options *options,
		  struct retention_run_stats *stats_r, const char **error_r);

/* Carry out what is due in INBOX by the POP3 settings, at the end of a POP3
   session, whose lock must have been given up. Failures are logged. If a run is
   in progress, or another session is open, it is left to the next run. */
void retention_run_pop3(struct mail_user *user);

#endif
