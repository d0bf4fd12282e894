/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "mail-index.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list-index.h"
#include "retention-box.h"
#include "retention-driver.h"
#include "retention-user.h"
#include "retention-stored.h"

#define RETENTION_STORED_EXT_NAME "retention-stored"

static uint32_t retention_stored_ext_id(struct mailbox *box)
{
	return mail_index_ext_register(box->index, RETENTION_STORED_EXT_NAME,
				       0, sizeof(uint32_t), sizeof(uint32_t));
}

static uint32_t retention_stored_list_ext_id(struct mailbox_list *list)
{
	struct mailbox_list_index *ilist = INDEX_LIST_CONTEXT(list);

	return mail_index_ext_register(ilist->index, RETENTION_STORED_EXT_NAME,
				       sizeof(uint64_t),
				       sizeof(struct retention_stored_sum),
				       sizeof(uint64_t));
}

/* Returns the record's data, NULL if there is none, or of another size as
   records of a damaged index may be. */
static const void *
retention_stored_lookup_ext(struct mail_index_view *view, uint32_t seq,
			    uint32_t ext_id, size_t size)
{
	struct mail_index_map *map;
	const void *data;
	uint32_t hdr_size;
	uint16_t record_size, record_align;

	mail_index_lookup_ext_full(view, seq, ext_id, &map, &data, NULL);
	if (data == NULL)
		return NULL;
	mail_index_ext_get_size(map, ext_id, &hdr_size, &record_size,
				&record_align);
	return record_size == size ? data : NULL;
}

/* Open a view of the latest state of the list's index. Returns 1 if ok, 0 if
   the list has no index, -1 on error. */
static int retention_stored_list_view(struct mailbox_list *list,
				      struct mail_index_view **view_r)
{
	struct mailbox_list_index *ilist = INDEX_LIST_CONTEXT(list);

	if (ilist == NULL)
		return 0;
	if (mailbox_list_index_index_open(list) < 0 ||
	    mail_index_refresh(ilist->index) < 0)
		return -1;
	*view_r = mail_index_view_open(ilist->index);
	return 1;
}

uint64_t retention_stored_list_generation(struct mailbox_list *list,
					  struct mail_index_view *view)
{
	uint64_t generation = 0;
	const void *data;
	size_t size;

	mail_index_get_header_ext(view, retention_stored_list_ext_id(list),
				  &data, &size);
	if (size >= sizeof(generation))
		memcpy(&generation, data, sizeof(generation));
	return generation;
}

bool retention_stored_list_lookup(struct mailbox_list *list,
				  struct mail_index_view *view, uint32_t seq,
				  const struct mailbox_status *status,
				  uint64_t generation, uint64_t *bytes_r)
{
	struct retention_stored_sum sum;
	const void *data;

	data = retention_stored_lookup_ext(view, seq,
		retention_stored_list_ext_id(list), sizeof(sum));
	if (data == NULL)
		return FALSE;
	memcpy(&sum, data, sizeof(sum));
	if (sum.uidnext == 0 || sum.messages != status->messages ||
	    sum.uidnext != status->uidnext ||
	    sum.uidvalidity != status->uidvalidity ||
	    sum.generation != generation)
		return FALSE;
	*bytes_r = sum.bytes;
	return TRUE;
}

static int
retention_stored_list_raise(struct mailbox_list *list, const char **error_r)
{
	struct mail_index_transaction *trans;
	struct mail_index_view *view;
	uint64_t generation;
	int ret;

	ret = retention_stored_list_view(list, &view);
	if (ret > 0) {
		generation = retention_stored_list_generation(list, view) + 1;
		trans = mail_index_transaction_begin(view,
				MAIL_INDEX_TRANSACTION_FLAG_EXTERNAL);
		mail_index_update_header_ext(trans,
			retention_stored_list_ext_id(list), 0,
			&generation, sizeof(generation));
		ret = mail_index_transaction_commit(&trans);
		mail_index_view_close(&view);
	}
	if (ret < 0)
		*error_r = "Updating the mailbox list index failed";
	return ret < 0 ? -1 : 0;
}

int retention_stored_begin_changes(struct mail_user *user,
				   const char **error_r)
{
	struct mail_namespace *ns;

	for (ns = user->namespaces; ns != NULL; ns = ns->next) {
		if (retention_namespace_is_own(ns, user) &&
		    retention_stored_list_raise(ns->list, error_r) < 0)
			return -1;
	}
	return 0;
}

void retention_stored_set(struct mail *mail, uint64_t size)
{
	/* larger ones are looked up each time */
	uint32_t value = size < UINT32_MAX ? size : 0;

	mail_index_update_ext(mail->transaction->itrans, mail->seq,
			      retention_stored_ext_id(mail->box), &value, NULL);
}

void retention_stored_set_looked(struct mail *mail)
{
	const struct retention_driver *driver =
		retention_driver_find(mail->box->storage);
	struct retention_stored stored;
	const char *error;

	/* what fails here will be tried again, and logged, where it matters */
	if (driver != NULL && driver->look(mail, &stored, &error) > 0)
		retention_stored_set(mail, stored.size);
}

struct retention_stored_context {
	const struct retention_driver *driver;
	uint32_t ext_id;
	/* No run was in progress when the sum was begun, and the generation was
	   this: what is learnt can be kept if it is so at the end, too. */
	bool keep;
	uint64_t generation;
};

/* Returns 1 if ok, 0 if the message is gone, -1 on error. */
static int
retention_stored_get_mail(struct retention_stored_context *ctx,
			  struct mail *mail, uint64_t *size_r,
			  const char **error_r)
{
	struct retention_stored stored;
	struct retention_record rec;
	uoff_t size;
	int ret = 1;

	if (ctx->driver != NULL) {
		ret = ctx->driver->look(mail, &stored, error_r);
		*size_r = stored.size;
	} else if (mail_get_physical_size(mail, &size) == 0) {
		*size_r = size;
	} else if (mail->expunged) {
		ret = 0;
	} else {
		*error_r = retention_box_error(mail->box);
		ret = -1;
	}
	if (ret > 0 && ctx->keep) {
		/* A run may still compress those that none has seen, and
		   those that it put off. */
		retention_record_get(mail, &rec);
		if (rec.state != RETENTION_RECORD_UNKNOWN)
			retention_stored_set(mail, *size_r);
	}
	return ret;
}

static int
retention_stored_sum_up(struct retention_stored_context *ctx,
			struct mailbox_transaction_context *t,
			uint32_t messages, uint64_t *bytes_r,
			const char **error_r)
{
	struct mail *mail = NULL;
	const void *data;
	uint64_t size;
	uint32_t seq, kept;
	int ret = 1;

	*bytes_r = 0;
	for (seq = 1; seq <= messages && ret >= 0; seq++) T_BEGIN {
		data = retention_stored_lookup_ext(t->view, seq, ctx->ext_id,
						   sizeof(kept));
		kept = 0;
		if (data != NULL)
			memcpy(&kept, data, sizeof(kept));
		if (kept != 0)
			*bytes_r += kept;
		else {
			if (mail == NULL)
				mail = mail_alloc(t, 0, NULL);
			mail_set_seq(mail, seq);
			ret = retention_stored_get_mail(ctx, mail, &size,
							error_r);
			if (ret > 0)
				*bytes_r += size;
		}
	} T_END_PASS_STR_IF(ret < 0, error_r);
	if (mail != NULL)
		mail_free(&mail);
	return ret < 0 ? -1 : 0;
}

/* Keep the sum in the view of the list index. */
static void
retention_stored_list_set(struct mailbox *box, struct mail_index_view *view,
			  const struct retention_stored_sum *sum)
{
	struct mailbox_list_index_node *node;
	struct mail_index_transaction *trans;
	uint32_t seq;

	node = mailbox_list_index_lookup(box->list, box->name);
	if (node == NULL || !mail_index_lookup_seq(view, node->uid, &seq))
		return;
	trans = mail_index_transaction_begin(view,
				MAIL_INDEX_TRANSACTION_FLAG_EXTERNAL);
	mail_index_update_ext(trans, seq,
			      retention_stored_list_ext_id(box->list), sum,
			      NULL);
	(void)mail_index_transaction_commit(&trans);
}

/* Returns TRUE if no run is in progress. */
static bool retention_stored_begin(struct mailbox *box, uint64_t *generation_r)
{
	struct mail_user *user = box->storage->user;
	struct mail_index_view *view;
	const char *error;
	bool ok = FALSE;

	if (INDEX_LIST_CONTEXT(box->list) == NULL ||
	    retention_user_lock(user, 0, &error) <= 0)
		return FALSE;
	if (retention_stored_list_view(box->list, &view) > 0) {
		*generation_r =
			retention_stored_list_generation(box->list, view);
		mail_index_view_close(&view);
		ok = TRUE;
	}
	retention_user_unlock(user);
	return ok;
}

/* Keep what was learnt, unless a run has begun meanwhile. The lock is not held
   while the messages are looked at: with many of them a run would give up
   waiting. Nothing is lost if this fails. */
static void
retention_stored_keep(struct retention_stored_context *ctx, struct mailbox *box,
		      struct mailbox_transaction_context **t,
		      struct retention_stored_sum *sum)
{
	struct mail_user *user = box->storage->user;
	struct mail_index_view *view;
	const char *error;

	if (retention_user_lock(user, 0, &error) <= 0)
		return;
	if (mailbox_list_index_refresh(box->list) == 0 &&
	    retention_stored_list_view(box->list, &view) > 0) {
		sum->generation =
			retention_stored_list_generation(box->list, view);
		if (sum->generation == ctx->generation &&
		    mailbox_transaction_commit(t) == 0)
			retention_stored_list_set(box, view, sum);
		mail_index_view_close(&view);
	}
	retention_user_unlock(user);
}

int retention_stored_get(struct mailbox *box, uint64_t *bytes_r,
			 const char **error_r)
{
	struct retention_stored_context ctx = {
		.driver = retention_driver_find(box->storage),
		.ext_id = retention_stored_ext_id(box),
	};
	struct retention_stored_sum sum;
	struct mailbox_transaction_context *t;
	struct mailbox_status status;
	int ret;

	ctx.keep = retention_stored_begin(box, &ctx.generation);
	mailbox_get_open_status(box, STATUS_MESSAGES | STATUS_UIDNEXT |
				STATUS_UIDVALIDITY, &status);
	i_zero(&sum);
	sum.messages = status.messages;
	sum.uidnext = status.uidnext;
	sum.uidvalidity = status.uidvalidity;
	t = mailbox_transaction_begin(box, MAILBOX_TRANSACTION_FLAG_EXTERNAL,
				      "retention: stored sizes");
	ret = retention_stored_sum_up(&ctx, t, status.messages, &sum.bytes,
				      error_r);
	if (ret == 0 && ctx.keep)
		retention_stored_keep(&ctx, box, &t, &sum);
	if (t != NULL)
		mailbox_transaction_rollback(&t);
	*bytes_r = sum.bytes;
	return ret;
}

int retention_stored_forget(struct mailbox *box, const char **error_r)
{
	uint32_t seq, count, ext_id = retention_stored_ext_id(box);
	struct mailbox_transaction_context *t;
	const uint32_t none = 0;

	t = mailbox_transaction_begin(box, MAILBOX_TRANSACTION_FLAG_EXTERNAL,
				      "retention: forget stored sizes");
	count = mail_index_view_get_messages_count(t->view);
	for (seq = 1; seq <= count; seq++)
		mail_index_update_ext(t->itrans, seq, ext_id, &none, NULL);
	if (mailbox_transaction_commit(&t) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	return 0;
}
