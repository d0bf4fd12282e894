/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* A run goes first through the mailboxes whose messages may be archived or
   expunged, then through the archive mailboxes, where everything that is still
   plain is compressed, however it came there. So nothing has to be handed over
   from one to the other, and what one run did not finish the next one finds.

   Most nightly runs find nothing to do for most users. So that these cost no
   more than a look at each mailbox, the lock that keeps runs of the same user
   apart is taken only when there is something to do, and the look repeated. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "master-service.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "retention-box.h"
#include "retention-driver.h"
#include "retention-event.h"
#include "retention-move.h"
#include "retention-plan.h"
#include "retention-pop3-run.h"
#include "retention-stored.h"
#include "retention-user.h"
#include "retention-run-private.h"

#include <time.h>

/* Runs of the same user that are started one after another do not meet. */
#define RETENTION_LOCK_TIMEOUT_SECS 5

bool retention_run_stop(void *context)
{
	struct retention_run *run = context;

	return run->lock_error != NULL ||
		run->options->stop(run->options->context);
}

static void retention_run_progress(void *context, uoff_t size)
{
	struct retention_run *run = context;

	run->progress.done++;
	run->progress.bytes += size;
	if (run->options->progress != NULL)
		run->options->progress(run->options->context, &run->progress);
}

void retention_run_failed(struct retention_run *run, const char *vname,
			  const char *error)
{
	run->stats->errors++;
	e_error(run->event, "Mailbox %s: %s", retention_name_sanitize(vname),
		error);
}

static struct retention_compressor *
retention_run_get_compressor(struct retention_run *run,
			     struct mail_storage *storage)
{
	const struct retention_driver *driver = retention_driver_find(storage);
	struct retention_compressor *compressor;

	array_foreach_elem(&run->compressors, compressor) {
		if (compressor->storage == storage)
			return compressor;
	}
	if (driver == NULL)
		return NULL;
	compressor = driver->alloc(run->pool);
	compressor->driver = driver;
	compressor->storage = storage;
	compressor->event = run->event;
	compressor->pool = run->pool;
	compressor->level = run->set->compression_level;
	compressor->stop = retention_run_stop;
	compressor->progress = retention_run_progress;
	compressor->context = run;
	array_push_back(&run->compressors, &compressor);
	return compressor;
}

static void
retention_run_log_compressed(struct retention_run *run, struct mail *mail,
			     const struct retention_compress_item *item)
{
	struct retention_event_mail event_mail = {
		.rule = item->rule == NULL ? NULL : item->rule->name,
		.mailbox = mailbox_get_vname(mail->box),
		.uid = item->uid,
		.size = item->plain_size,
		.stored_size = item->stored_size,
	};
	const char *message_id;

	if (mail_get_first_header(mail, "Message-ID", &message_id) > 0) {
		event_mail.message_id = t_strndup(message_id,
			RETENTION_MESSAGE_ID_MAX_LEN);
	}
	retention_event_mail_send(run->event, RETENTION_ACTION_COMPRESS,
				  &event_mail);
	run->stats->compressed++;
	run->stats->compressed_bytes += item->plain_size;
	run->stats->stored_bytes += item->stored_size;
}

static void
retention_run_settle_item(struct retention_run *run, struct mail *mail,
			  const struct retention_compress_item *item)
{
	switch (item->result) {
	case RETENTION_COMPRESS_PENDING:
	case RETENTION_COMPRESS_LATER:
	case RETENTION_COMPRESS_GONE:
		break;
	case RETENTION_COMPRESS_FAILED:
		run->stats->errors++;
		break;
	case RETENTION_COMPRESS_DONE:
		retention_run_log_compressed(run, mail, item);
		retention_record_set_state(mail, RETENTION_RECORD_COMPRESSED);
		retention_stored_set(mail, item->stored_size);
		break;
	case RETENTION_COMPRESS_ALREADY:
		retention_record_set_state(mail, RETENTION_RECORD_COMPRESSED);
		retention_stored_set_looked(mail);
		break;
	case RETENTION_COMPRESS_NOT_COMPRESSIBLE:
		retention_record_set_state(mail,
					   RETENTION_RECORD_NOT_COMPRESSIBLE);
		retention_stored_set_looked(mail);
		break;
	}
}

/* Log, count and remember the items that have a result. Returns TRUE if some
   have none yet. */
static bool
retention_run_settle(struct retention_run *run,
		     struct mailbox_transaction_context *t,
		     struct retention_compress_job *job)
{
	struct retention_compress_item *item;
	struct mail *mail;
	bool pending = FALSE;

	mail = mail_alloc(t, 0, NULL);
	array_foreach_modifiable(&job->items, item) T_BEGIN {
		if (item->result == RETENTION_COMPRESS_PENDING)
			pending = TRUE;
		else if (!item->settled) {
			item->settled = TRUE;
			if (mail_set_uid(mail, item->uid) ||
			    item->result == RETENTION_COMPRESS_FAILED)
				retention_run_settle_item(run, mail, item);
		}
	} T_END;
	mail_free(&mail);
	return pending;
}

/* Returns TRUE if stored sizes may change now. */
static bool retention_run_begin_changes(struct retention_run *run,
					const struct retention_box *rbox)
{
	const char *error;

	if (!run->changing) {
		if (retention_stored_begin_changes(run->user, &error) < 0) {
			retention_run_failed(run, rbox->vname, error);
			return FALSE;
		}
		run->changing = TRUE;
	}
	return TRUE;
}

static void
retention_run_compress(struct retention_run *run,
		       const struct retention_box *rbox, struct mailbox *box,
		       const struct retention_plan *plan)
{
	struct mailbox_transaction_context *t;
	struct retention_compressor *compressor;
	struct retention_compress_job *job;

	if (array_is_empty(&plan->compress))
		return;
	compressor = retention_run_get_compressor(run, box->storage);
	if (compressor == NULL) {
		retention_run_failed(run, rbox->vname, t_strdup_printf(
			"%u messages are left as they are: mail of the storage "
			"driver %s can be archived but not compressed, only "
			"that of maildir, sdbox and mdbox",
			array_count(&plan->compress), box->storage->name));
		return;
	}
	if (retention_compressor_must_stop(compressor) ||
	    !retention_run_begin_changes(run, rbox))
		return;
	run->progress.mailbox = rbox->vname;
	run->progress.done = 0;
	run->progress.total = array_count(&plan->compress);

	job = p_new(run->pool, struct retention_compress_job, 1);
	job->ns = rbox->ns;
	job->vname = p_strdup(run->pool, rbox->vname);
	p_array_init(&job->items, run->pool, array_count(&plan->compress));
	array_append_array(&job->items, &plan->compress);

	t = mailbox_transaction_begin(box, MAILBOX_TRANSACTION_FLAG_EXTERNAL,
				      "retention: compress");
	compressor->driver->compress(compressor, t, job);
	if (retention_run_settle(run, t, job))
		array_push_back(&run->jobs, &job);
	if (mailbox_transaction_commit(&t) < 0) {
		retention_run_failed(run, rbox->vname,
			mailbox_get_last_internal_error(box, NULL));
	}
}

static bool
retention_run_is_within_limit(struct retention_run *run,
			      const struct retention_box *rbox,
			      const struct retention_plan *plan)
{
	unsigned int limit = run->set->run_limit;
	unsigned int changed = plan->ruled_count;

	if (limit == 0 ||
	    (uint64_t)changed * 100 <= (uint64_t)plan->messages * limit)
		return TRUE;
	retention_run_failed(run, rbox->vname, t_strdup_printf(
		"Nothing was done: the run would archive or expunge %u of %u "
		"messages, more than retention_run_limit = %u%%",
		changed, plan->messages, limit));
	return FALSE;
}

static void
retention_run_carry_out(struct retention_run *run,
			const struct retention_box *rbox, struct mailbox *box,
			struct retention_plan *plan)
{
	struct retention_move_stats stats;
	struct retention_plan_target *target;
	const char *error;
	bool go_on;

	i_zero(&stats);
	if (retention_pop3_run_changes(run->event, box, plan,
				       &run->stats->hidden, &error) < 0)
		retention_run_failed(run, rbox->vname, error);
	go_on = retention_mover_expunge(run->mover, rbox, box, &plan->expunge,
					&stats);
	array_foreach_elem(&plan->targets, target) {
		go_on = go_on &&
			retention_mover_archive(run->mover, rbox, box,
						target->ns, target->vname,
						&target->items, &stats);
	}
	run->stats->archived += stats.archived;
	run->stats->archived_bytes += stats.archived_bytes;
	run->stats->expunged += stats.expunged;
	run->stats->expunged_bytes += stats.expunged_bytes;
	run->stats->errors += stats.failed;
	if (go_on)
		retention_run_compress(run, rbox, box, plan);
}

bool retention_run_lock(struct retention_run *run)
{
	const char *error;
	int ret;

	ret = retention_user_lock(run->user, RETENTION_LOCK_TIMEOUT_SECS,
				  &error);
	if (ret > 0) {
		run->locked = TRUE;
		return TRUE;
	}
	run->lock_error = ret == 0 ?
		"Another run is in progress for this user" :
		p_strdup_printf(run->pool, "Locking failed: %s", error);
	return FALSE;
}

void retention_run_recover(struct retention_run *run)
{
	const struct retention_driver *driver;
	struct mail_namespace *ns;
	struct mail_storage *storage;

	for (ns = run->user->namespaces; ns != NULL; ns = ns->next) {
		if (!retention_namespace_is_own(ns, run->user))
			continue;
		storage = mail_namespace_get_default_storage(ns);
		driver = retention_driver_find(storage);
		if (driver != NULL && driver->recover != NULL)
			driver->recover(storage);
	}
}

/* Returns FALSE if there is something to do for which the run must be locked
   first. */
static bool
retention_run_open_box(struct retention_run *run,
		       const struct retention_box *rbox, struct mailbox *box,
		       pool_t pool)
{
	enum retention_plan_flags flags =
		(run->options->dry_run ? RETENTION_PLAN_FLAG_EXACT : 0) |
		(run->options->pop3_only ? RETENTION_PLAN_FLAG_POP3_ONLY : 0);
	struct retention_plan *plan;
	const char *error;

	if (retention_plan_make(rbox, box, run->set, run->now, flags, pool,
				&plan, &error) < 0) {
		retention_run_failed(run, rbox->vname, error);
		return TRUE;
	}
	if (!run->options->dry_run && !plan->quiet && !run->locked)
		return FALSE;
	if (!retention_run_is_within_limit(run, rbox, plan))
		return TRUE;
	if (run->options->dry_run)
		run->options->plan(run->options->context, rbox, plan);
	else if (!plan->quiet)
		retention_run_carry_out(run, rbox, box, plan);
	else if (!run->options->pop3_only && run->options->relief == NULL &&
		 retention_plan_remember(box, plan) < 0) {
		retention_run_failed(run, rbox->vname,
			mailbox_get_last_internal_error(box, NULL));
	}
	return TRUE;
}

/* Returns as retention_run_open_box(). */
static bool retention_run_box(struct retention_run *run,
			      const struct retention_box *rbox)
{
	struct mailbox *box;
	const char *error;
	pool_t pool;
	bool done;
	int ret;

	if ((ret = retention_box_open(rbox, &box, &error)) <= 0) {
		if (ret < 0)
			retention_run_failed(run, rbox->vname, error);
		return TRUE;
	}
	if (rbox->pop3 != NULL && !run->options->dry_run &&
	    retention_pop3_run_restore(run->event, box, &error) < 0)
		retention_run_failed(run, rbox->vname, error);
	pool = pool_alloconly_create("retention plan", 8192);
	done = retention_run_open_box(run, rbox, box, pool);
	if (done && rbox->pop3 != NULL && !run->options->dry_run &&
	    retention_pop3_run_compact(rbox, box, &error) < 0)
		retention_run_failed(run, rbox->vname, error);
	mailbox_free(&box);
	pool_unref(&pool);
	return done;
}

static void
retention_run_box_locked(struct retention_run *run,
			 const struct retention_box *rbox)
{
	T_BEGIN {
		if (!retention_run_box(run, rbox) && retention_run_lock(run)) {
			retention_run_recover(run);
			(void)retention_run_box(run, rbox);
		}
	} T_END;
}

void retention_run_boxes(struct retention_run *run,
			 const ARRAY_TYPE(retention_box) *boxes, bool archive)
{
	struct retention_box *rbox;

	array_foreach_elem(boxes, rbox) {
		if (retention_run_stop(run))
			break;
		if (rbox->archive != archive ||
		    (!retention_box_matches(rbox, run->options->mask) &&
		     !retention_mover_has_target(run->mover, rbox->vname)))
			continue;
		retention_run_box_locked(run, rbox);
	}
}

static int
retention_run_all_boxes(struct retention_run *run, const char **error_r)
{
	ARRAY_TYPE(retention_box) boxes;

	if (run->options->pop3_only) {
		retention_run_box_locked(run,
			retention_box_inbox(run->user, run->set, run->pool));
		return 0;
	}
	if (retention_boxes_list(run->user, run->set, FALSE, run->pool,
				 &boxes, error_r) < 0)
		return -1;
	retention_run_boxes(run, &boxes, FALSE);
	/* The archive mailboxes that this run has created are to be seen. */
	if (run->stats->archived > 0 &&
	    retention_boxes_list(run->user, run->set, FALSE, run->pool,
				 &boxes, error_r) < 0)
		return -1;
	retention_run_boxes(run, &boxes, TRUE);
	return 0;
}

/* Settle a job whose messages have waited for the end of the run. */
static void
retention_run_settle_job(struct retention_run *run,
			 struct retention_compress_job *job)
{
	struct mailbox_transaction_context *t;
	struct mailbox *box;

	box = mailbox_alloc(job->ns->list, job->vname, 0);
	if (mailbox_open(box) < 0 || mailbox_sync(box, 0) < 0) {
		retention_run_failed(run, job->vname,
			mailbox_get_last_internal_error(box, NULL));
		mailbox_free(&box);
		return;
	}
	t = mailbox_transaction_begin(box, MAILBOX_TRANSACTION_FLAG_EXTERNAL,
				      "retention: compress");
	(void)retention_run_settle(run, t, job);
	if (mailbox_transaction_commit(&t) < 0) {
		retention_run_failed(run, job->vname,
			mailbox_get_last_internal_error(box, NULL));
	}
	mailbox_free(&box);
}

void retention_run_finish(struct retention_run *run)
{
	struct retention_compressor *compressor;
	struct retention_compress_job *job;

	run->progress.mailbox = "";
	run->progress.done = run->progress.total = 0;
	array_foreach_elem(&run->jobs, job)
		run->progress.total += array_count(&job->items);
	array_foreach_elem(&run->compressors, compressor) {
		compressor->driver->finish(compressor);
		compressor->driver->deinit(compressor);
	}
	array_foreach_elem(&run->jobs, job) T_BEGIN {
		retention_run_settle_job(run, job);
	} T_END;
	array_clear(&run->compressors);
	array_clear(&run->jobs);
}

static int retention_run_go(struct retention_run *run, const char **error_r)
{
	bool complete;
	int ret;

	p_array_init(&run->compressors, run->pool, 2);
	p_array_init(&run->jobs, run->pool, 16);
	run->mover = retention_mover_init(run->event, run->now,
					  retention_run_stop, run);
	if (run->options->relief != NULL)
		ret = retention_run_relief(run, error_r);
	else {
		if (!run->options->dry_run)
			retention_run_recover(run);
		ret = retention_run_all_boxes(run, error_r);
	}
	retention_run_finish(run);
	complete = ret == 0 && run->stats->errors == 0 &&
		!run->options->pop3_only && run->options->mask == NULL &&
		run->options->relief == NULL && !retention_run_stop(run);
	retention_mover_deinit(&run->mover, complete);
	if (ret == 0 && run->lock_error != NULL) {
		*error_r = run->lock_error;
		ret = -1;
	}
	return ret;
}

int retention_run(struct mail_user *user,
		  const struct retention_run_options *options,
		  struct retention_run_stats *stats_r, const char **error_r)
{
	struct retention_user *ruser = retention_user_get(user);
	struct retention_run run = {
		.user = user, .set = ruser->set, .event = ruser->event,
		.options = options, .stats = stats_r, .now = time(NULL),
	};
	int ret;

	i_zero(stats_r);
	if (array_is_empty(&ruser->set->rules) &&
	    !retention_pop3_is_set(&ruser->set->pop3))
		return 0;
	run.pool = pool_alloconly_create("retention run", 4096);
	ret = retention_run_go(&run, error_r);
	if (ret < 0)
		*error_r = t_strdup(*error_r);
	pool_unref(&run.pool);
	if (run.locked)
		retention_user_unlock(user);
	return ret;
}

static bool retention_run_pop3_stop(void *context ATTR_UNUSED)
{
	return master_service_is_killed(master_service) ||
		master_service_is_master_stopped(master_service);
}

void retention_run_pop3(struct mail_user *user)
{
	const struct retention_run_options options = {
		.pop3_only = TRUE,
		.stop = retention_run_pop3_stop,
	};
	struct retention_run_stats stats;
	const char *error;

	if (retention_run(user, &options, &stats, &error) < 0) {
		e_info(retention_user_get(user)->event,
		       "INBOX is left to the next run: %s", error);
	}
}
