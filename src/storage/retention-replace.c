/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "retention-event.h"
#include "retention-batch.h"
#include "retention-shared.h"
#include "retention-replace.h"

#include <unistd.h>

struct retention_replace_compressor {
	struct retention_compressor compressor;
	const struct retention_replace_driver *driver;
	struct retention_shared *shared;
};

/* The mailboxes that are open while the shared files are compressed. */
struct retention_open_box {
	const struct retention_compress_job *job;
	struct mailbox *box;
};
ARRAY_DEFINE_TYPE(retention_open_box, struct retention_open_box);

struct retention_compressor *
retention_replace_alloc(pool_t pool,
			const struct retention_replace_driver *driver)
{
	struct retention_replace_compressor *rc;

	rc = p_new(pool, struct retention_replace_compressor, 1);
	rc->driver = driver;
	rc->shared = retention_shared_init(pool);
	return &rc->compressor;
}

void retention_replace_deinit(struct retention_compressor *compressor)
{
	struct retention_replace_compressor *rc =
		container_of(compressor, struct retention_replace_compressor,
			     compressor);

	retention_shared_deinit(&rc->shared);
}

static void
retention_replace_failed(struct retention_compressor *compressor,
			 struct mailbox *box,
			 struct retention_compress_item *item,
			 const char *error)
{
	item->result = RETENTION_COMPRESS_FAILED;
	e_error(compressor->event, "Mailbox %s: UID=%u: %s",
		retention_name_sanitize(mailbox_get_vname(box)), item->uid,
		error);
}

/* Open the item's file if it may be rewritten. Returns TRUE if it is open,
   FALSE with the item's result set otherwise. */
static bool
retention_replace_open(struct retention_replace_compressor *rc,
		       struct mailbox *box,
		       struct retention_compress_item *item,
		       struct retention_source *source_r)
{
	const char *error;
	int ret;

	ret = rc->driver->open(box, item->uid, source_r, &error);
	if (ret < 0) {
		retention_replace_failed(&rc->compressor, box, item, error);
		return FALSE;
	}
	if (ret == 0) {
		item->result = RETENTION_COMPRESS_GONE;
		return FALSE;
	}
	if (source_r->state == RETENTION_RECORD_UNKNOWN)
		source_r->state = retention_stored_state(source_r->input);
	if (source_r->state == RETENTION_RECORD_UNKNOWN)
		return TRUE;
	item->result = source_r->state == RETENTION_RECORD_COMPRESSED ?
		RETENTION_COMPRESS_ALREADY :
		RETENTION_COMPRESS_NOT_COMPRESSIBLE;
	rc->driver->close(source_r);
	return FALSE;
}

static void
retention_replace_compress_one(struct retention_replace_compressor *rc,
			       struct retention_batch *batch,
			       struct mailbox *box,
			       struct retention_compress_job *job,
			       struct retention_compress_item *item)
{
	struct retention_source source;

	if (!retention_replace_open(rc, box, item, &source))
		return;
	if (source.st.st_uid != geteuid() && geteuid() != 0) {
		/* the new file could not be given its owner */
		item->result = RETENTION_COMPRESS_NOT_COMPRESSIBLE;
	} else if (source.st.st_nlink > 1)
		retention_shared_add(rc->shared, &source.st, job, item);
	else
		(void)retention_batch_add(batch, box, item, &source);
	rc->driver->close(&source);
}

/* The save date to keep, 0 if the driver does not take it from the file. */
static uint32_t retention_replace_get_save_date(struct mail *mail)
{
	time_t save_date;

	if (mail_get_save_date(mail, &save_date) <= 0 || save_date < 0 ||
	    save_date > (time_t)UINT32_MAX)
		return 0;
	return save_date;
}

void retention_replace_compress(struct retention_compressor *compressor,
				struct mailbox_transaction_context *t,
				struct retention_compress_job *job)
{
	struct retention_replace_compressor *rc =
		container_of(compressor, struct retention_replace_compressor,
			     compressor);
	struct mailbox *box = mailbox_transaction_get_mailbox(t);
	struct retention_compress_item *item;
	struct retention_batch *batch;
	struct mail *mail;

	batch = retention_batch_init(compressor, rc->driver);
	mail = mail_alloc(t, MAIL_FETCH_SAVE_DATE, NULL);
	array_foreach_modifiable(&job->items, item) {
		if (retention_compressor_must_stop(compressor))
			break;
		T_BEGIN {
			if (!mail_set_uid(mail, item->uid))
				item->result = RETENTION_COMPRESS_GONE;
			else {
				item->save_date =
					retention_replace_get_save_date(mail);
				retention_replace_compress_one(rc, batch, box,
							       job, item);
			}
		} T_END;
		if (retention_batch_is_full(batch))
			retention_batch_flush(batch);
	}
	retention_batch_flush(batch);
	retention_batch_deinit(&batch);
	mail_free(&mail);
}

static struct mailbox *
retention_replace_get_box(ARRAY_TYPE(retention_open_box) *boxes,
			  const struct retention_compress_job *job,
			  struct event *event)
{
	const struct retention_open_box *open_box;
	struct retention_open_box new_box = { .job = job };

	array_foreach(boxes, open_box) {
		if (open_box->job == job)
			return open_box->box;
	}
	new_box.box = mailbox_alloc(job->ns->list, job->vname, 0);
	if (mailbox_open(new_box.box) < 0 ||
	    mailbox_sync(new_box.box, 0) < 0) {
		e_error(event, "Mailbox %s: Opening failed: %s",
			retention_name_sanitize(job->vname),
			mailbox_get_last_internal_error(new_box.box, NULL));
		mailbox_free(&new_box.box);
	}
	array_push_back(boxes, &new_box);
	return new_box.box;
}

static void
retention_shared_file_set_result(const struct retention_shared_file *file,
				 enum retention_compress_result result)
{
	const struct retention_shared_member *member;
	struct retention_compress_item *item;

	array_foreach(&file->members, member) {
		item = array_idx_modifiable(&member->job->items, member->idx);
		item->result = result;
	}
}

/* Open the file by one of its messages. Returns TRUE if it is still the file
   that was noted, FALSE with the item's result set otherwise. */
static bool
retention_replace_open_member(struct retention_replace_compressor *rc,
			      const struct retention_shared_file *file,
			      struct mailbox *box,
			      struct retention_compress_item *item,
			      struct retention_source *source_r)
{
	if (box == NULL || !retention_replace_open(rc, box, item, source_r))
		return FALSE;
	if (source_r->st.st_dev == file->dev &&
	    source_r->st.st_ino == file->ino)
		return TRUE;
	rc->driver->close(source_r);
	return FALSE;
}

/* Compress the file once and give every message that shares it a link of the
   new one. */
static void
retention_replace_finish_file(struct retention_replace_compressor *rc,
			      struct retention_batch *batch,
			      const struct retention_shared_file *file,
			      ARRAY_TYPE(retention_open_box) *boxes)
{
	const struct retention_shared_member *member;
	struct retention_compress_item *item;
	struct retention_source source;
	struct mailbox *box;
	bool first = TRUE, added;

	retention_shared_file_set_result(file, RETENTION_COMPRESS_LATER);
	array_foreach(&file->members, member) {
		item = array_idx_modifiable(&member->job->items, member->idx);
		box = retention_replace_get_box(boxes, member->job,
						rc->compressor.event);
		if (!retention_replace_open_member(rc, file, box, item,
						   &source))
			continue;
		item->result = RETENTION_COMPRESS_PENDING;
		added = first ?
			retention_batch_add(batch, box, item, &source) :
			retention_batch_add_link(batch, box, item, &source);
		rc->driver->close(&source);
		if (first && !added) {
			/* it holds for all of them */
			if (item->result == RETENTION_COMPRESS_NOT_COMPRESSIBLE)
				retention_shared_file_set_result(file,
								 item->result);
			return;
		}
		first = FALSE;
	}
	retention_batch_flush(batch);
}

void retention_replace_finish(struct retention_compressor *compressor)
{
	struct retention_replace_compressor *rc =
		container_of(compressor, struct retention_replace_compressor,
			     compressor);
	const ARRAY_TYPE(retention_shared_file) *files =
		retention_shared_get_files(rc->shared);
	ARRAY_TYPE(retention_open_box) boxes;
	struct retention_open_box *open_box;
	struct retention_shared_file *file;
	struct retention_batch *batch;

	i_array_init(&boxes, 16);
	batch = retention_batch_init(compressor, rc->driver);
	array_foreach_elem(files, file) {
		if (!retention_shared_file_is_complete(file)) {
			retention_shared_file_set_result(file,
				RETENTION_COMPRESS_LATER);
			continue;
		}
		if (retention_compressor_must_stop(compressor))
			break;
		T_BEGIN {
			retention_replace_finish_file(rc, batch, file, &boxes);
		} T_END;
	}
	retention_batch_deinit(&batch);
	array_foreach_modifiable(&boxes, open_box) {
		if (open_box->box != NULL)
			mailbox_free(&open_box->box);
	}
	array_free(&boxes);
}

int retention_replace_look(const struct retention_replace_driver *driver,
			   struct mail *mail,
			   struct retention_stored *stored_r,
			   const char **error_r)
{
	struct retention_source source;
	int ret;

	ret = driver->open(mail->box, mail->uid, &source, error_r);
	if (ret <= 0)
		return ret;
	stored_r->size = source.size;
	stored_r->state = source.state != RETENTION_RECORD_UNKNOWN ?
		source.state : retention_stored_state(source.input);
	driver->close(&source);
	return 1;
}
