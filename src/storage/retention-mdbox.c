/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "bsearch-insert-pos.h"
#include "istream.h"
#include "mdbox-storage.h"
#include "mdbox-file.h"
#include "mdbox-map.h"
#include "retention-box.h"
#include "retention-dbox.h"
#include "retention-event.h"
#include "retention-mdbox.h"

struct retention_mdbox_compressor {
	struct retention_compressor compressor;
	struct retention_mdbox_wants wants;
};

static struct retention_compressor *retention_mdbox_alloc(pool_t pool)
{
	struct retention_mdbox_compressor *mc;

	mc = p_new(pool, struct retention_mdbox_compressor, 1);
	i_array_init(&mc->wants.list, 128);
	return &mc->compressor;
}

static void retention_mdbox_deinit(struct retention_compressor *compressor)
{
	struct retention_mdbox_compressor *mc =
		container_of(compressor, struct retention_mdbox_compressor,
			     compressor);

	array_free(&mc->wants.list);
}

static void
retention_mdbox_compress(struct retention_compressor *compressor,
			 struct mailbox_transaction_context *t,
			 struct retention_compress_job *job)
{
	struct retention_mdbox_compressor *mc =
		container_of(compressor, struct retention_mdbox_compressor,
			     compressor);
	struct mdbox_mailbox *mbox = MDBOX_MAILBOX(t->box);
	struct retention_mdbox_want want;
	struct retention_compress_item *item;
	struct mail *mail;

	mail = mail_alloc(t, 0, NULL);
	array_foreach_modifiable(&job->items, item) {
		if (!mail_set_uid(mail, item->uid)) {
			item->result = RETENTION_COMPRESS_GONE;
			continue;
		}
		want.item = item;
		if (mdbox_mail_lookup(mbox, t->view, mail->seq,
				      &want.map_uid) == 0) {
			array_push_back(&mc->wants.list, &want);
			continue;
		}
		item->result = RETENTION_COMPRESS_FAILED;
		e_error(compressor->event, "Mailbox %s: UID=%u: %s",
			retention_name_sanitize(mailbox_get_vname(t->box)),
			item->uid,
			mailbox_get_last_internal_error(t->box, NULL));
	}
	mail_free(&mail);
}

static int retention_mdbox_want_cmp(const struct retention_mdbox_want *want1,
				    const struct retention_mdbox_want *want2)
{
	if (want1->map_uid < want2->map_uid)
		return -1;
	return want1->map_uid > want2->map_uid ? 1 : 0;
}

const struct retention_mdbox_want *
retention_mdbox_wants_find(struct retention_mdbox_wants *wants,
			   uint32_t map_uid, unsigned int *count_r)
{
	const struct retention_mdbox_want *list;
	unsigned int idx, end, count;
	struct retention_mdbox_want key = { .map_uid = map_uid };

	list = array_get(&wants->list, &count);
	if (!array_bsearch_insert_pos(&wants->list, &key,
				      retention_mdbox_want_cmp, &idx)) {
		*count_r = 0;
		return NULL;
	}
	while (idx > 0 && list[idx - 1].map_uid == map_uid)
		idx--;
	for (end = idx; end < count && list[end].map_uid == map_uid; end++) ;
	*count_r = end - idx;
	return &list[idx];
}

void retention_mdbox_wants_set_result(struct retention_mdbox_wants *wants,
				      uint32_t map_uid,
				      enum retention_compress_result result,
				      const struct retention_encoding *encoding)
{
	const struct retention_mdbox_want *list;
	unsigned int i, count;

	list = retention_mdbox_wants_find(wants, map_uid, &count);
	for (i = 0; i < count; i++) {
		list[i].item->result = result;
		if (encoding != NULL) {
			list[i].item->plain_size = encoding->plain_size;
			list[i].item->stored_size = encoding->stored_size;
		}
	}
}

static void
retention_mdbox_get_files(struct retention_mdbox_compressor *mc,
			  struct mdbox_storage *storage,
			  ARRAY_TYPE(seq_range) *file_ids)
{
	struct mdbox_map_mail_index_record rec;
	const struct retention_mdbox_want *want;
	uint16_t refcount;
	int ret;

	array_foreach(&mc->wants.list, want) {
		ret = mdbox_map_lookup_full(storage->map, want->map_uid,
					    &rec, &refcount);
		if (ret > 0)
			seq_range_array_add(file_ids, rec.file_id);
		else if (ret == 0)
			want->item->result = RETENTION_COMPRESS_GONE;
		else {
			want->item->result = RETENTION_COMPRESS_FAILED;
			e_error(mc->compressor.event, "UID=%u: %s",
				want->item->uid,
				mail_storage_get_last_internal_error(
					&storage->storage.storage, NULL));
		}
	}
}

/* Returns TRUE if this process is in the midst of saving a message to one of
   the storage's files: when room is made for that very message. It holds the
   file's lock then, and would get it a second time. */
static bool retention_mdbox_is_appending(struct mdbox_storage *storage)
{
	struct mdbox_file *const *files;
	unsigned int i, count;

	files = array_get(&storage->open_files, &count);
	for (i = 0; i < count; i++) {
		if (files[i]->file.appending || files[i]->file.lock != NULL)
			return TRUE;
	}
	return FALSE;
}

static void retention_mdbox_put_off(struct retention_mdbox_compressor *mc)
{
	const struct retention_mdbox_want *want;

	array_foreach(&mc->wants.list, want)
		want->item->result = RETENTION_COMPRESS_LATER;
}

static void retention_mdbox_finish(struct retention_compressor *compressor)
{
	struct retention_mdbox_compressor *mc =
		container_of(compressor, struct retention_mdbox_compressor,
			     compressor);
	struct mdbox_storage *storage = MDBOX_STORAGE(compressor->storage);
	const struct retention_mdbox_want *want;
	ARRAY_TYPE(seq_range) file_ids;
	struct seq_range_iter iter;
	unsigned int n = 0;
	uint32_t file_id;

	if (array_is_empty(&mc->wants.list))
		return;
	if (retention_mdbox_is_appending(storage)) {
		retention_mdbox_put_off(mc);
		return;
	}
	array_sort(&mc->wants.list, retention_mdbox_want_cmp);
	i_array_init(&file_ids, 64);
	retention_mdbox_get_files(mc, storage, &file_ids);
	seq_range_array_iter_init(&iter, &file_ids);
	while (seq_range_array_iter_nth(&iter, n++, &file_id)) {
		if (retention_compressor_must_stop(compressor))
			break;
		T_BEGIN {
			retention_mdbox_rewrite_file(compressor, &mc->wants,
						     file_id);
		} T_END;
	}
	array_free(&file_ids);

	/* files that were locked, or are gone since */
	array_foreach(&mc->wants.list, want) {
		if (want->item->result == RETENTION_COMPRESS_PENDING &&
		    !retention_compressor_must_stop(compressor))
			want->item->result = RETENTION_COMPRESS_LATER;
	}
}

/* mdbox keeps save dates in its own index records, where a copy gets a new
   one. */
static void retention_mdbox_set_save_date(struct mail *mail, uint32_t save_date)
{
	struct mdbox_mailbox *mbox = MDBOX_MAILBOX(mail->box);
	struct mdbox_mail_index_record rec;
	const void *data;

	mail_index_lookup_ext(mail->transaction->view, mail->seq,
			      mbox->ext_id, &data, NULL);
	if (data == NULL)
		return;
	memcpy(&rec, data, sizeof(rec));
	rec.save_date = save_date;
	mail_index_update_ext(mail->transaction->itrans, mail->seq,
			      mbox->ext_id, &rec, NULL);
}

/* Locking the map tells whether its last change was carried through to the
   mailboxes. Nothing is committed here: what was noticed must be noticed again
   if we die before the storage is repaired. */
static void retention_mdbox_recover(struct mail_storage *_storage)
{
	struct mdbox_storage *storage = MDBOX_STORAGE(_storage);
	struct mdbox_map_atomic_context *atomic;

	/* locking would create it */
	if (mdbox_map_open(storage->map) <= 0)
		return;
	atomic = mdbox_map_atomic_begin(storage->map);
	/* if it fails, the next one to lock it gets the same error */
	(void)mdbox_map_atomic_lock(atomic, "retention: before a run");
	(void)mdbox_map_atomic_finish(&atomic);
}

static int
retention_mdbox_look(struct mail *mail, struct retention_stored *stored_r,
		     const char **error_r)
{
	struct mdbox_mailbox *mbox = MDBOX_MAILBOX(mail->box);
	struct retention_dbox_message msg;
	struct dbox_file *file;
	struct istream *body;
	uint32_t map_uid, file_id;
	uoff_t offset;
	bool deleted;
	int ret;

	if (mdbox_mail_lookup(mbox, mail->transaction->view, mail->seq,
			      &map_uid) < 0 ||
	    (ret = mdbox_map_lookup(mbox->storage->map, map_uid,
				    &file_id, &offset)) < 0) {
		*error_r = retention_box_error(mail->box);
		return -1;
	}
	if (ret == 0)
		return 0;
	file = mdbox_file_init(mbox->storage, file_id);
	ret = dbox_file_open(file, &deleted);
	if (ret <= 0) {
		*error_r = retention_box_error(mail->box);
		ret = -1;
	} else if (deleted) {
		ret = 0;
	} else if (retention_dbox_read(file, offset, &msg, error_r) <= 0) {
		ret = -1;
	} else {
		stored_r->size = msg.body_size;
		stored_r->state = msg.state;
		if (stored_r->state == RETENTION_RECORD_UNKNOWN) {
			body = retention_dbox_open_body(file, &msg);
			stored_r->state = retention_stored_state(body);
			i_stream_unref(&body);
		}
	}
	dbox_file_unref(&file);
	return ret;
}

const struct retention_driver retention_driver_mdbox = {
	.name = MDBOX_STORAGE_NAME,
	.alloc = retention_mdbox_alloc,
	.deinit = retention_mdbox_deinit,
	.compress = retention_mdbox_compress,
	.finish = retention_mdbox_finish,
	.set_save_date = retention_mdbox_set_save_date,
	.recover = retention_mdbox_recover,
	.hold = retention_mdbox_hold,
	.release = retention_mdbox_release,
	.look = retention_mdbox_look,
};
