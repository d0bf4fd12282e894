#ifndef RETENTION_MOVE_H
#define RETENTION_MOVE_H

#include "retention-rule.h"

struct event;
struct mail_namespace;
struct mailbox;
struct retention_box;
struct retention_mover;

/* A message to be archived or expunged. */
struct retention_move_item {
	uint32_t uid;
	const struct retention_rule *rule;
	/* Message size in bytes. */
	uoff_t size;
	/* The date that the rule's age counts from. */
	time_t date;
};
ARRAY_DEFINE_TYPE(retention_move_item, struct retention_move_item);

struct retention_move_stats {
	unsigned int archived, expunged, failed;
	uoff_t archived_bytes, expunged_bytes;
};

/* Moves messages to archive mailboxes, and expunges them, in batches. Whether
   its rule is still due for a message is asked once more before it is touched.
   Copies that an interrupted run has left in an archive mailbox are recognised
   (retention-target.c), and only the origin is expunged then. */
struct retention_mover *
retention_mover_init(struct event *event, time_t now,
		     bool (*stop)(void *context), void *context);
/* Free the mover. With complete, the run has gone through all of the user's
   mailboxes without an error. */
void retention_mover_deinit(struct retention_mover **mover, bool complete);

/* Returns TRUE if messages were moved, or tried to, to the mailbox. */
bool retention_mover_has_target(struct retention_mover *mover,
				const char *vname);

/* Move the messages, sorted by UID, from rbox, opened as src, to the archive
   mailbox, which is created and subscribed if it does not exist. Failures are
   logged, counted, and leave the messages where they are. Returns FALSE if src
   has failed and should be left alone. */
bool retention_mover_archive(struct retention_mover *mover,
			     const struct retention_box *rbox,
			     struct mailbox *src,
			     struct mail_namespace *target_ns,
			     const char *target_vname,
			     const ARRAY_TYPE(retention_move_item) *items,
			     struct retention_move_stats *stats);
/* Expunge the messages, sorted by UID, from rbox, opened as src. Returns as
   retention_mover_archive(). */
bool retention_mover_expunge(struct retention_mover *mover,
			     const struct retention_box *rbox,
			     struct mailbox *src,
			     const ARRAY_TYPE(retention_move_item) *items,
			     struct retention_move_stats *stats);

#endif
