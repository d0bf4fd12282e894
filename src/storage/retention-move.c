/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "retention-box.h"
#include "retention-event.h"
#include "retention-pop3-log.h"
#include "retention-session.h"
#include "retention-target.h"
#include "retention-move-private.h"

/* Messages in one transaction: enough to share its cost, and few enough that
   clients do not wait, and that a crash leaves little to do again. */
#define RETENTION_MOVE_BATCH_SIZE 100
/* How often a batch is begun anew because a client expunged a message of it. */
#define RETENTION_MOVE_MAX_TRIES 3
/* After so many messages in a row that could not be moved it is not them. */
#define RETENTION_MOVE_MAX_FAILURES 5

struct retention_mover *
retention_mover_init(struct event *event, time_t now,
		     bool (*stop)(void *context), void *context)
{
	struct retention_mover *mover = i_new(struct retention_mover, 1);

	mover->event = event;
	mover->now = now;
	mover->stop = stop;
	mover->context = context;
	i_array_init(&mover->targets, 8);
	return mover;
}

void retention_mover_deinit(struct retention_mover **_mover, bool complete)
{
	struct retention_mover *mover = *_mover;
	struct retention_target *target;
	const char *error;

	if (mover == NULL)
		return;
	*_mover = NULL;
	array_foreach_elem(&mover->targets, target) {
		if (complete && retention_target_complete(target, &error) < 0) {
			/* the next run looks again */
			e_error(mover->event, "Mailbox %s: %s",
				retention_name_sanitize(target->vname), error);
		}
		retention_target_deinit(&target);
	}
	array_free(&mover->targets);
	i_free(mover);
}

static struct retention_target *
retention_mover_find_target(struct retention_mover *mover, const char *vname)
{
	struct retention_target *target;

	array_foreach_elem(&mover->targets, target) {
		if (strcmp(target->vname, vname) == 0)
			return target;
	}
	return NULL;
}

bool retention_mover_has_target(struct retention_mover *mover,
				const char *vname)
{
	return retention_mover_find_target(mover, vname) != NULL;
}

static struct retention_target *
retention_mover_get_target(struct retention_mover *mover,
			   struct mail_namespace *ns, const char *vname)
{
	struct retention_target *target;

	target = retention_mover_find_target(mover, vname);
	if (target == NULL) {
		target = retention_target_init(ns, vname);
		array_push_back(&mover->targets, &target);
	}
	return target;
}

static void
retention_move_batch_log(struct retention_move_batch *batch,
			 struct retention_move_stats *stats)
{
	bool archive = batch->target != NULL;
	const struct retention_moved *moved;

	array_foreach(&batch->moved, moved) T_BEGIN {
		struct retention_event_mail event_mail = {
			.rule = moved->item->rule->name,
			.mailbox = mailbox_get_vname(batch->src),
			.uid = moved->item->uid,
			.message_id = moved->message_id,
			.size = moved->item->size,
			.target = archive ? batch->target->vname : NULL,
		};

		retention_event_mail_send(batch->mover->event,
			archive ? RETENTION_ACTION_ARCHIVE :
			RETENTION_ACTION_EXPUNGE, &event_mail);
		if (archive) {
			stats->archived++;
			stats->archived_bytes += moved->item->size;
		} else {
			stats->expunged++;
			stats->expunged_bytes += moved->item->size;
		}
	} T_END;

	if (batch->late_error != NULL) {
		e_error(batch->mover->event, "Mailbox %s: Finishing to %s "
			"messages failed: %s",
			retention_name_sanitize(mailbox_get_vname(batch->src)),
			archive ? "archive" : "expunge", batch->late_error);
		stats->failed++;
	}
}

/* What POP3 has done with the messages is over, unless they come back. */
static void
retention_move_batch_log_pop3(struct retention_move_batch *batch,
			      struct retention_move_stats *stats)
{
	const char *error;

	if (array_is_empty(&batch->pop3_guids) ||
	    retention_pop3_log_append_moved(batch->src, &batch->pop3_guids,
					    &error) == 0)
		return;
	e_error(batch->mover->event, "Mailbox %s: %s",
		retention_name_sanitize(mailbox_get_vname(batch->src)), error);
	stats->failed++;
}

static enum retention_move_result
retention_move_batch_run(struct retention_move_batch *batch,
			 struct retention_move_stats *stats,
			 const char **error_r)
{
	enum retention_move_result result = RETENTION_MOVE_AGAIN;
	bool unclear = FALSE;

	for (unsigned int i = 0; i < RETENTION_MOVE_MAX_TRIES; i++) {
		result = retention_move_batch_try(batch, error_r);
		if (result == RETENTION_MOVE_AGAIN)
			continue;
		if (result != RETENTION_MOVE_UNCLEAR || unclear ||
		    (batch->target != NULL &&
		     retention_target_rescan(batch->target, batch->dest,
					     error_r) < 0))
			break;
		unclear = TRUE;
	}
	if (result == RETENTION_MOVE_DONE) {
		retention_move_batch_log(batch, stats);
		retention_move_batch_log_pop3(batch, stats);
	}
	return result;
}

static void
retention_move_batch_failed(struct retention_move_batch *batch,
			    struct retention_move_stats *stats,
			    const char *error)
{
	const struct retention_move_item *last =
		&batch->items[batch->count - 1];

	e_error(batch->mover->event, "Mailbox %s: UIDs %u..%u: %s failed, "
		"the messages are kept: %s",
		retention_name_sanitize(mailbox_get_vname(batch->src)),
		batch->items->uid, last->uid,
		batch->target != NULL ? "Archiving" : "Expunging", error);
	stats->failed += batch->count;
	if (batch->target != NULL)
		batch->target->failed = TRUE;
}

/* The batch failed: find out by which message, so that it does not keep the
   others from being moved. Returns FALSE if it is no use to go on. */
static bool
retention_move_batch_run_singly(struct retention_move_batch *batch,
				struct retention_move_stats *stats)
{
	struct retention_move_batch single = *batch;
	enum retention_move_result result;
	unsigned int failures = 0;
	const char *error;

	single.count = 1;
	for (unsigned int i = 0; i < batch->count; i++) {
		single.items = &batch->items[i];
		result = retention_move_batch_run(&single, stats, &error);
		if (result == RETENTION_MOVE_DONE && !single.src_broken) {
			failures = 0;
			continue;
		}
		retention_move_batch_failed(&single, stats, error);
		batch->src_broken = single.src_broken;
		if (result == RETENTION_MOVE_UNCLEAR ||
		    result == RETENTION_MOVE_BROKEN ||
		    ++failures == RETENTION_MOVE_MAX_FAILURES)
			return FALSE;
	}
	return TRUE;
}

/* Returns FALSE if it is no use to go on. */
static bool
retention_move_batch_do(struct retention_move_batch *batch,
			struct retention_move_stats *stats)
{
	const char *error;

	switch (retention_move_batch_run(batch, stats, &error)) {
	case RETENTION_MOVE_DONE:
		return !batch->src_broken;
	case RETENTION_MOVE_AGAIN:
	case RETENTION_MOVE_FAILED:
		return retention_move_batch_run_singly(batch, stats);
	case RETENTION_MOVE_UNCLEAR:
	case RETENTION_MOVE_BROKEN:
		retention_move_batch_failed(batch, stats, error);
		return FALSE;
	}
	i_unreached();
}

/* What a POP3 session has told its client stays as it is until the session's
   end. Returns FALSE if the batch has to wait for that, until the next run. */
static bool
retention_move_lock(struct retention_move_batch *batch,
		    struct retention_session_lock **lock_r,
		    struct retention_move_stats *stats)
{
	struct event *event = batch->mover->event;
	const char *error;
	int ret;

	*lock_r = NULL;
	if (batch->rbox->pop3 == NULL)
		return TRUE;
	ret = retention_session_lock_exclusive(batch->rbox->ns, lock_r, &error);
	if (ret == 0) {
		e_info(event, "INBOX is left to the next run: "
		       "a POP3 session is open");
	} else if (ret < 0) {
		e_error(event, "INBOX is left as it is: Locking out POP3 "
			"sessions failed: %s", error);
		stats->failed++;
	}
	return ret > 0;
}

static bool
retention_move_batch_do_locked(struct retention_move_batch *batch,
			       struct retention_move_stats *stats)
{
	struct retention_session_lock *lock;
	bool go_on;

	if (!retention_move_lock(batch, &lock, stats))
		return FALSE;
	go_on = retention_move_batch_do(batch, stats);
	retention_session_unlock(&lock);
	return go_on;
}

static void
retention_move_batches(struct retention_move_batch *batch,
		       const ARRAY_TYPE(retention_move_item) *items,
		       struct retention_move_stats *stats)
{
	struct retention_mover *mover = batch->mover;
	const struct retention_move_item *all;
	unsigned int i, count;
	bool go_on = TRUE;

	all = array_get(items, &count);
	batch->pool = pool_alloconly_create("retention move batch", 8192);
	for (i = 0; i < count && go_on && !mover->stop(mover->context);
	     i += batch->count) T_BEGIN {
		batch->items = &all[i];
		batch->count = I_MIN(count - i, RETENTION_MOVE_BATCH_SIZE);
		go_on = retention_move_batch_do_locked(batch, stats);
	} T_END;
	pool_unref(&batch->pool);
}

bool retention_mover_archive(struct retention_mover *mover,
			     const struct retention_box *rbox,
			     struct mailbox *src,
			     struct mail_namespace *target_ns,
			     const char *target_vname,
			     const ARRAY_TYPE(retention_move_item) *items,
			     struct retention_move_stats *stats)
{
	struct retention_move_batch batch = {
		.mover = mover, .rbox = rbox, .src = src,
		.target = retention_mover_get_target(mover, target_ns,
						     target_vname),
	};
	const char *error;

	if (retention_target_open(batch.target, TRUE, &batch.dest,
				  &error) < 0) {
		e_error(mover->event, "Archive mailbox %s: Opening or creating "
			"failed: %s", retention_name_sanitize(target_vname),
			error);
		stats->failed += array_count(items);
		return TRUE;
	}
	if (retention_target_scan(batch.target, batch.dest, &error) < 0) {
		e_error(mover->event, "Archive mailbox %s: Looking for copies "
			"of an interrupted run failed: %s",
			retention_name_sanitize(target_vname), error);
		stats->failed += array_count(items);
	} else {
		retention_move_batches(&batch, items, stats);
	}
	mailbox_free(&batch.dest);
	return !batch.src_broken;
}

bool retention_mover_expunge(struct retention_mover *mover,
			     const struct retention_box *rbox,
			     struct mailbox *src,
			     const ARRAY_TYPE(retention_move_item) *items,
			     struct retention_move_stats *stats)
{
	struct retention_move_batch batch = {
		.mover = mover, .rbox = rbox, .src = src,
	};

	retention_move_batches(&batch, items, stats);
	return !batch.src_broken;
}
