#ifndef RETENTION_MOVE_PRIVATE_H
#define RETENTION_MOVE_PRIVATE_H

#include "retention-move.h"

/* For retention-move.c and retention-move-batch.c only. */

enum retention_move_result {
	RETENTION_MOVE_DONE,
	/* A client has expunged a message of the batch meanwhile; nothing was
	   changed. */
	RETENTION_MOVE_AGAIN,
	/* A message can't be moved; nothing was changed. */
	RETENTION_MOVE_FAILED,
	/* The target could not be committed, and may have messages or not, or
	   the origin has them again. */
	RETENTION_MOVE_UNCLEAR,
	/* The origin could not be committed: messages may be in both. */
	RETENTION_MOVE_BROKEN,
};

struct retention_mover {
	struct event *event;
	time_t now;
	bool (*stop)(void *context);
	void *context;
	ARRAY(struct retention_target *) targets;
};

/* A message of the batch in hand. */
struct retention_moved {
	const struct retention_move_item *item;
	const char *message_id;
	time_t save_date;
	/* The copy that an interrupted run has left in the target, 0 if there
	   was none, and the GUID of both. */
	uint32_t copy_uid;
	const char *guid;
};

struct retention_move_batch {
	struct retention_mover *mover;
	const struct retention_box *rbox;
	struct mailbox *src;
	/* NULL when the messages are expunged. */
	struct retention_target *target;
	struct mailbox *dest;
	/* NULL unless src is INBOX. */
	struct retention_pop3_reader *pop3;
	const struct retention_move_item *items;
	unsigned int count;
	pool_t pool;
	ARRAY(struct retention_moved) moved;
	/* The copies that were recognised. */
	ARRAY_TYPE(uint32_t) taken;
	/* GUIDs of the messages with which POP3 has done something. */
	ARRAY_TYPE(const_string) pop3_guids;
	/* The messages are moved, but this went wrong afterwards. NULL if
	   nothing did. */
	const char *late_error;
	/* The origin has failed and is to be left alone in this run. */
	bool src_broken;
};

/* Archive or expunge the batch's messages, with moved and late_error set for
   them. Anything else than DONE comes with error_r. */
enum retention_move_result
retention_move_batch_try(struct retention_move_batch *batch,
			 const char **error_r);

#endif
