#ifndef RETENTION_PLAN_H
#define RETENTION_PLAN_H

#include "retention-box.h"
#include "retention-driver.h"
#include "retention-move.h"
#include "retention-pop3-state.h"

/* Messages for one archive mailbox. */
struct retention_plan_target {
	struct mail_namespace *ns;
	const char *vname;
	ARRAY_TYPE(retention_move_item) items;
};

/* What a rule would do in the mailbox. */
struct retention_plan_tally {
	/* NULL for the compression of an archive mailbox. */
	const struct retention_rule *rule;
	/* "archive", "hide", ... */
	const char *action;
	unsigned int messages;
	/* Message sizes in bytes. */
	uoff_t bytes;
};

/* What is to be done with the messages of one mailbox. */
struct retention_plan {
	pool_t pool;
	/* Messages in the mailbox. */
	unsigned int messages;
	/* All sorted by UID. */
	ARRAY_TYPE(retention_move_item) expunge;
	ARRAY(struct retention_plan_target *) targets;
	ARRAY_TYPE(retention_compress_item) compress;
	/* Messages to be hidden from POP3, and others whose clock starts. */
	ARRAY_TYPE(retention_pop3_change) hide, stamp;
	/* Messages that rules, not POP3, archive or expunge. */
	unsigned int ruled_count;
	ARRAY(struct retention_plan_tally) tallies;
	/* There is nothing to do, and what is known about when there will be. */
	bool quiet;
	/* Not all messages were judged, only the first ones. */
	bool stopped;
	struct retention_quiet next;
};

enum retention_plan_flags {
	/* See retention_plan_make(). */
	RETENTION_PLAN_FLAG_EXACT = 0x01,
	/* Only the messages for which POP3 has something to do. */
	RETENTION_PLAN_FLAG_POP3_ONLY = 0x02,
};

/* Judge the messages of the opened mailbox, without those of which a former
   run knew that there is nothing to do with them yet. The plan is allocated
   from the pool. With EXACT, messages to be compressed are looked at, so that the
   tallies leave out those that turn out not to be plain; this takes the time
   to open each message that no run has seen yet. Returns 0 on success, -1 with
   error_r if a message can't be judged; nothing should be done then. */
int retention_plan_make(const struct retention_box *rbox, struct mailbox *box,
			const struct retention_settings *set, time_t now,
			enum retention_plan_flags flags, pool_t pool,
			struct retention_plan **plan_r,
			const char **error_r);
/* The same without flags, for which nobody wants to wait: stop() is asked
   before each message, and ends it when it returns TRUE. */
int retention_plan_make_quickly(const struct retention_box *rbox,
				struct mailbox *box,
				const struct retention_settings *set,
				time_t now, bool (*stop)(void *context),
				void *context, pool_t pool,
				struct retention_plan **plan_r,
				const char **error_r);

/* Remember for the next run what was learnt from a plan with nothing to do.
   Returns 0 on success, -1 with the mailbox's error set. */
int retention_plan_remember(struct mailbox *box,
			    const struct retention_plan *plan);

#endif
