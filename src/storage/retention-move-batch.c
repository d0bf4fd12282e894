/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* One batch of messages, in one transaction on the mailbox that they leave and,
   to archive them, one on the mailbox that they go to. */

#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "mail-cache.h"
#include "mail-index.h"
#include "mail-storage-private.h"
#include "retention-box.h"
#include "retention-driver.h"
#include "retention-event.h"
#include "retention-pop3-state.h"
#include "retention-target.h"
#include "retention-move-private.h"

/* Dovecot's. */
#define RETENTION_MOVE_VSIZE_LOCK_FNAME "dovecot-vsize.lock"

/* The plan may be hours old: judge the message again. Returns 1 if the rule is
   still the one to act, 0 if not, -1 on error. */
static int
retention_move_is_due(struct retention_move_batch *batch, struct mail *mail,
		      const struct retention_move_item *item,
		      const char **error_r)
{
	struct retention_pop3_facts pop3;
	struct retention_judgement judgement;
	struct retention_mail_facts facts;
	bool have_pop3;
	int ret;

	have_pop3 = batch->pop3 != NULL &&
		retention_pop3_reader_get(batch->pop3, mail->seq, &pop3);
	ret = retention_box_judge(batch->rbox, mail, have_pop3 ? &pop3 : NULL,
				  batch->mover->now, &facts, &judgement,
				  error_r);
	if (ret <= 0)
		return ret;
	return judgement.verdict.rule == item->rule &&
		judgement.verdict.reason == RETENTION_REASON_DUE ? 1 : 0;
}

/* Put the message into the target, or find it there already. Returns 0 if ok,
   -1 on error. */
static int
retention_move_copy(struct retention_move_batch *batch, struct mail *mail,
		    struct mailbox_transaction_context *dest_t,
		    struct retention_moved *moved, const char **error_r)
{
	struct mail_save_context *save_ctx;
	const char *guid;
	int ret;

	if (mail_get_save_date(mail, &moved->save_date) < 0)
		moved->save_date = 0;
	ret = retention_target_find_copy(batch->target, batch->dest, mail,
					 &batch->taken, &moved->copy_uid,
					 error_r);
	if (ret < 0)
		return -1;
	if (ret > 0) {
		array_push_back(&batch->taken, &moved->copy_uid);
		if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) == 0)
			moved->guid = p_strdup(batch->pool, guid);
		mail_expunge(mail);
		return retention_target_update_copy(batch->dest,
			moved->copy_uid, mail, error_r);
	}
	moved->copy_uid = 0;
	save_ctx = mailbox_save_alloc(dest_t);
	mailbox_save_copy_flags(save_ctx, mail);
	if (moved->save_date > 0)
		mailbox_save_set_save_date(save_ctx, moved->save_date);
	if (mailbox_move(&save_ctx, mail) < 0) {
		*error_r = retention_box_error(batch->dest);
		return -1;
	}
	retention_target_mark(dest_t, moved->save_date);
	return 0;
}

static void
retention_move_note_pop3(struct retention_move_batch *batch, struct mail *mail)
{
	struct retention_pop3_facts facts;
	const char *guid;

	if (batch->pop3 == NULL || batch->target == NULL ||
	    !retention_pop3_reader_get(batch->pop3, mail->seq, &facts) ||
	    mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0)
		return;
	guid = p_strdup(batch->pool, guid);
	array_push_back(&batch->pop3_guids, &guid);
}

/* Returns 0 if the message was added to the transactions, or is not to be
   touched any more, -1 on error. */
static int
retention_move_one(struct retention_move_batch *batch, struct mail *mail,
		   struct mailbox_transaction_context *dest_t,
		   const struct retention_move_item *item,
		   const char **error_r)
{
	struct retention_moved moved = { .item = item };
	const char *message_id;
	int ret;

	ret = retention_move_is_due(batch, mail, item, error_r);
	if (ret <= 0)
		return ret;
	if (mail_get_first_header(mail, "Message-ID", &message_id) > 0) {
		moved.message_id = p_strndup(batch->pool, message_id,
					     RETENTION_MESSAGE_ID_MAX_LEN);
	}
	retention_move_note_pop3(batch, mail);
	if (batch->target == NULL)
		mail_expunge(mail);
	else if (retention_move_copy(batch, mail, dest_t, &moved, error_r) < 0)
		return mail->expunged ? 0 : -1;
	array_push_back(&batch->moved, &moved);
	return 0;
}

/* Put the batch's messages into the transactions. Returns 0 if ok, -1 on
   error. */
static int
retention_move_fill(struct retention_move_batch *batch,
		    struct mailbox_transaction_context *src_t,
		    struct mailbox_transaction_context *dest_t,
		    const char **error_r)
{
	unsigned int decision = 0;
	struct mail *mail;
	int ret = 0;

	if (batch->dest != NULL) {
		/* A copy gets the current time as its save date in the cache
		   file, where it can't be changed afterwards. */
		decision = retention_record_cache_save_dates(batch->dest,
			MAIL_CACHE_DECISION_NO | MAIL_CACHE_DECISION_FORCED);
	}
	if (batch->rbox->pop3 != NULL)
		batch->pop3 = retention_pop3_reader_init(batch->src,
							 src_t->view);
	mail = mail_alloc(src_t, 0, NULL);
	for (unsigned int i = 0; i < batch->count && ret == 0; i++) T_BEGIN {
		if (mail_set_uid(mail, batch->items[i].uid)) {
			ret = retention_move_one(batch, mail, dest_t,
						 &batch->items[i], error_r);
		}
	} T_END_PASS_STR_IF(ret < 0, error_r);
	mail_free(&mail);
	retention_pop3_reader_deinit(&batch->pop3);
	if (batch->dest != NULL) {
		(void)retention_record_cache_save_dates(batch->dest,
			decision | MAIL_CACHE_DECISION_FORCED);
	}
	return ret;
}

/* See what other sessions have done. The fast way does not wait for locks. */
static int retention_move_refresh(struct mailbox *box)
{
	return mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) < 0 ?
		mailbox_sync(box, 0) : 0;
}

/* Count the messages of the batch that are in their mailbox, by what the index
   on disk says now. Returns 0 on success, -1 on error. */
static int
retention_move_count_there(struct retention_move_batch *batch,
			   unsigned int *count_r)
{
	const struct retention_moved *moved;
	struct mail_index_view *view;
	uint32_t seq;

	*count_r = 0;
	if (mail_index_refresh(batch->src->index) < 0)
		return -1;
	view = mail_index_view_open(batch->src->index);
	array_foreach(&batch->moved, moved) {
		if (mail_index_lookup_seq(view, moved->item->uid, &seq))
			*count_r += 1;
	}
	mail_index_view_close(&view);
	return 0;
}

/* Let the storage carry out the expunges. Returns TRUE if it did, or will when
   somebody else gives up a lock. That it can't remove a file is an error which
   some drivers only log. */
static bool retention_move_try_sync_src(struct retention_move_batch *batch)
{
	struct mail_storage *storage = batch->src->storage;
	int ret;

	mail_storage_clear_error(storage);
	ret = mailbox_sync(batch->src, 0);
	if (storage->error_string == NULL)
		return ret == 0;
	return storage->error == MAIL_ERROR_INUSE ||
		strcmp(storage->error_string, MAIL_ERRSTR_LOCK_TIMEOUT) == 0;
}

/* Returns 1 if the expunges were carried out, 0 if messages are there again, as
   a storage may do that finds itself damaged and rebuilds its indexes, and -1
   with late_error if something else went wrong. */
static int retention_move_sync_src(struct retention_move_batch *batch)
{
	const char *error = NULL;
	unsigned int count;

	if (!retention_move_try_sync_src(batch)) {
		error = retention_box_error(batch->src);
		/* what was found damaged is repaired now */
		(void)retention_move_try_sync_src(batch);
	}
	if (retention_move_count_there(batch, &count) < 0 || count > 0)
		return 0;
	if (error == NULL)
		return 1;
	batch->late_error = p_strdup(batch->pool, error);
	batch->src_broken = TRUE;
	/* The next run is to recognise them when they appear again. */
	if (batch->target != NULL)
		batch->target->failed = TRUE;
	return -1;
}

/* The origins are gone: settle the messages in the target, and give them the
   save dates they had. */
static int
retention_move_settle(struct retention_move_batch *batch,
		      const ARRAY_TYPE(seq_range) *saved_uids)
{
	const struct retention_driver *driver =
		retention_driver_find(batch->dest->storage);
	struct mailbox_transaction_context *t;
	const struct retention_moved *moved;
	struct seq_range_iter iter;
	struct mail *mail;
	unsigned int n = 0;
	uint32_t uid;

	/* the messages are in the index already */
	if (retention_move_refresh(batch->dest) < 0)
		return -1;
	t = mailbox_transaction_begin(batch->dest,
		MAILBOX_TRANSACTION_FLAG_EXTERNAL, "retention: settle");
	mail = mail_alloc(t, 0, NULL);
	seq_range_array_iter_init(&iter, saved_uids);
	array_foreach(&batch->moved, moved) {
		uid = moved->copy_uid;
		if (uid == 0 && !seq_range_array_iter_nth(&iter, n++, &uid))
			break;
		if (!mail_set_uid(mail, uid))
			continue;
		if (driver != NULL && moved->save_date > 0)
			driver->set_save_date(mail, moved->save_date);
		retention_target_unmark(batch->target, mail, moved->guid);
	}
	mail_free(&mail);
	retention_target_set_settled(batch->target, t);
	return mailbox_transaction_commit(&t);
}

static enum retention_move_result
retention_move_commit_src(struct retention_move_batch *batch,
			  struct mailbox_transaction_context **src_t,
			  const ARRAY_TYPE(seq_range) *saved_uids,
			  const char **error_r)
{
	int ret;

	if (mailbox_transaction_commit(src_t) < 0) {
		*error_r = retention_box_error(batch->src);
		batch->src_broken = TRUE;
		return RETENTION_MOVE_BROKEN;
	}
	ret = retention_move_sync_src(batch);
	if (ret < 0)
		return RETENTION_MOVE_DONE;
	if (ret == 0) {
		*error_r = "Expunged messages came back";
		return RETENTION_MOVE_UNCLEAR;
	}
	if (batch->target != NULL &&
	    retention_move_settle(batch, saved_uids) < 0) {
		batch->target->failed = TRUE;
		batch->late_error = p_strdup(batch->pool,
			mailbox_get_last_internal_error(batch->dest, NULL));
	}
	return RETENTION_MOVE_DONE;
}

/* Have the storage take care of the messages that are copied within it.
   Returns 0 if ok, with hold_r NULL if there is nothing to be done, -1 on
   error. */
static int
retention_move_hold(struct retention_move_batch *batch,
		    const struct retention_driver *driver,
		    struct retention_hold **hold_r, const char **error_r)
{
	const struct retention_moved *moved;
	ARRAY_TYPE(uint32_t) uids;

	*hold_r = NULL;
	if (driver == NULL || driver->hold == NULL ||
	    batch->dest->storage != batch->src->storage)
		return 0;
	t_array_init(&uids, array_count(&batch->moved));
	array_foreach(&batch->moved, moved) {
		if (moved->copy_uid == 0)
			array_push_back(&uids, &moved->item->uid);
	}
	if (array_is_empty(&uids))
		return 0;
	return driver->hold(batch->src, &uids, hold_r, error_r);
}

static enum retention_move_result
retention_move_commit_dest(struct retention_move_batch *batch,
			   struct mailbox_transaction_context **dest_t,
			   struct mail_transaction_commit_changes *changes_r,
			   const char **error_r)
{
	const struct retention_driver *driver =
		retention_driver_find(batch->src->storage);
	enum retention_move_result result = RETENTION_MOVE_DONE;
	struct retention_hold *hold;
	const char *error;

	if (retention_move_hold(batch, driver, &hold, error_r) < 0)
		return RETENTION_MOVE_FAILED;
	if (mailbox_transaction_commit_get_changes(dest_t, changes_r) < 0) {
		*error_r = retention_box_error(batch->dest);
		result = RETENTION_MOVE_UNCLEAR;
	}
	if (hold != NULL && driver->release(&hold, &error) < 0)
		batch->late_error = p_strdup(batch->pool, error);
	return result;
}

/* Where Dovecot keeps the sum of the sizes of a mailbox's messages, as a quota
   has it do, it does not finish expunging without locking that, and tries
   again for ever if there is no space for the lock file. Returns 0 if there is,
   -1 with error_r. */
static int retention_move_can_expunge(struct mailbox *box, const char **error_r)
{
	struct mailbox_index_vsize hdr;
	struct file_lock *lock;
	const void *data;
	size_t size;
	int ret;

	mail_index_get_header_ext(box->view, box->vsize_hdr_ext_id,
				  &data, &size);
	if (size != sizeof(hdr))
		return 0;
	memcpy(&hdr, data, sizeof(hdr));
	if (hdr.highest_uid == 0)
		return 0;
	if (mail_index_is_in_memory(box->index)) {
		*error_r = "The index can't be written to";
		return -1;
	}
	ret = mailbox_lock_file_create(box, RETENTION_MOVE_VSIZE_LOCK_FNAME, 0,
				       &lock, error_r);
	if (ret > 0)
		file_lock_free(&lock);
	return ret < 0 ? -1 : 0;
}

static enum retention_move_result
retention_move_commit(struct retention_move_batch *batch,
		      struct mailbox_transaction_context **src_t,
		      struct mailbox_transaction_context **dest_t,
		      const char **error_r)
{
	struct mail_transaction_commit_changes changes;
	enum retention_move_result result;
	unsigned int count;

	if (retention_move_can_expunge(batch->src, error_r) < 0) {
		batch->src_broken = TRUE;
		return RETENTION_MOVE_BROKEN;
	}
	if (*dest_t == NULL)
		return retention_move_commit_src(batch, src_t, NULL, error_r);
	/* What a client has expunged or moved away in the meantime must not
	   come back in the archive. */
	if (retention_move_count_there(batch, &count) < 0 ||
	    count < array_count(&batch->moved)) {
		*error_r = "messages keep being expunged by others";
		return RETENTION_MOVE_AGAIN;
	}
	result = retention_move_commit_dest(batch, dest_t, &changes, error_r);
	if (result != RETENTION_MOVE_DONE)
		return result;
	result = retention_move_commit_src(batch, src_t, &changes.saved_uids,
					   error_r);
	pool_unref(&changes.pool);
	return result;
}

enum retention_move_result
retention_move_batch_try(struct retention_move_batch *batch,
			 const char **error_r)
{
	struct mailbox_transaction_context *src_t, *dest_t = NULL;
	enum retention_move_result result = RETENTION_MOVE_FAILED;

	p_clear(batch->pool);
	p_array_init(&batch->moved, batch->pool, batch->count);
	p_array_init(&batch->taken, batch->pool, 8);
	p_array_init(&batch->pop3_guids, batch->pool, 8);
	batch->late_error = NULL;
	if (retention_move_refresh(batch->src) < 0) {
		*error_r = retention_box_error(batch->src);
		batch->src_broken = TRUE;
		return RETENTION_MOVE_BROKEN;
	}
	if (batch->target != NULL &&
	    retention_target_begin_batch(batch->target, batch->dest,
					 error_r) < 0)
		return RETENTION_MOVE_FAILED;
	src_t = mailbox_transaction_begin(batch->src, 0, "retention");
	if (batch->dest != NULL) {
		dest_t = mailbox_transaction_begin(batch->dest,
			MAILBOX_TRANSACTION_FLAG_EXTERNAL |
			MAILBOX_TRANSACTION_FLAG_ASSIGN_UIDS, "retention");
	}
	if (retention_move_fill(batch, src_t, dest_t, error_r) == 0) {
		result = retention_move_commit(batch, &src_t, &dest_t,
					       error_r);
	}
	if (dest_t != NULL)
		mailbox_transaction_rollback(&dest_t);
	if (src_t != NULL)
		mailbox_transaction_rollback(&src_t);
	return result;
}
