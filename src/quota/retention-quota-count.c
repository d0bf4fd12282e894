/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Counting takes one pass over the mailbox list index, in which Dovecot keeps
   the number and the sizes of each mailbox's messages up to date whenever it
   opens the mailbox. A mailbox is opened only when its record does not fit:
   there are messages that no size was added up for yet, or the mailbox was
   never opened at all; that brings the record up to date. INBOX is not in the
   list index, unless mailbox_list_index_include_inbox is set, and always
   opened. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "index-storage.h"
#include "mail-index.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mailbox-list-index.h"
#include "mailbox-list-iter.h"
#include "retention-box.h"
#include "retention-stored.h"
#include "retention-quota-filter.h"
#include "retention-quota-inbox.h"
#include "retention-quota-list.h"
#include "retention-quota-count.h"

struct retention_quota_counter {
	struct quota_root *root;
	struct retention_quota_usage *usage;
	struct mail_namespace *ns;
	pool_t pool;
	struct retention_quota_filter *filter;

	/* NULL while mailboxes are listed instead. */
	struct retention_quota_list *list;
	/* Of the stored sums in the list. */
	uint64_t generation;
	/* INBOX is not in the list index and was counted before. */
	bool inbox_apart;
	/* The ID of its name there, 0 if there is none. */
	uint32_t inbox_id;

	/* Called for each mailbox before it is counted, which are all to be
	   opened then. NULL if not needed. */
	int (*forget)(struct mailbox *box,
		      const struct retention_quota_how *how,
		      const char **error_r);
	enum quota_get_result result;
};

/* A mailbox whose record does not fit. */
struct retention_quota_stale {
	const char *vname;
	struct retention_quota_how how;
};
ARRAY_DEFINE_TYPE(retention_quota_stale, struct retention_quota_stale);

static void
retention_quota_add(struct retention_quota_counter *counter, bool archive,
		    uint64_t messages, uint64_t bytes)
{
	counter->usage->messages += messages;
	counter->usage->bytes += bytes;
	if (archive)
		counter->usage->archive_bytes += bytes;
}

static bool
retention_quota_get_status(struct retention_quota_counter *counter,
			   uint32_t seq, struct mailbox_status *status_r,
			   struct mailbox_index_vsize *vsize_r)
{
	const char *reason;

	return mailbox_list_index_status(counter->list->list,
					 counter->list->view, seq,
					 STATUS_MESSAGES | STATUS_UIDNEXT |
					 STATUS_UIDVALIDITY, status_r, NULL,
					 vsize_r, &reason);
}

/* Returns TRUE if the record tells the number and the size of the messages in
   the mailbox. */
static bool
retention_quota_get_size(struct retention_quota_counter *counter, uint32_t seq,
			 uint32_t *messages_r, uint64_t *bytes_r)
{
	struct mailbox_index_vsize vsize;
	struct mailbox_status status;

	if (!retention_quota_get_status(counter, seq, &status, &vsize)) {
		/* as long as no mailbox of the list has a size, also empty
		   ones have none */
		i_zero(&vsize);
		if (!retention_quota_get_status(counter, seq, &status, NULL) ||
		    status.messages > 0)
			return FALSE;
	}
	*messages_r = status.messages;
	*bytes_r = vsize.vsize;
	return status.messages == 0 ||
		(vsize.highest_uid + 1 == status.uidnext &&
		 vsize.message_count == status.messages);
}

/* The same with the stored size. */
static bool
retention_quota_get_stored(struct retention_quota_counter *counter,
			   uint32_t seq, uint32_t *messages_r,
			   uint64_t *bytes_r)
{
	struct mailbox_status status;

	if (!retention_quota_get_status(counter, seq, &status, NULL))
		return FALSE;
	*messages_r = status.messages;
	*bytes_r = 0;
	return status.messages == 0 ||
		retention_stored_list_lookup(counter->list->list,
					     counter->list->view, seq, &status,
					     counter->generation, bytes_r);
}

/* Returns TRUE if the record tells what is in the mailbox, which is added. */
static bool
retention_quota_add_record(struct retention_quota_counter *counter,
			   uint32_t seq, const struct retention_quota_how *how)
{
	uint32_t messages;
	uint64_t bytes;
	bool known;

	known = how->counts == RETENTION_QUOTA_COUNTS_STORED ?
		retention_quota_get_stored(counter, seq, &messages, &bytes) :
		retention_quota_get_size(counter, seq, &messages, &bytes);
	if (known && messages > 0)
		retention_quota_add(counter, how->archive, messages, bytes);
	return known;
}

/* Returns TRUE if the namespace has an INBOX that is not in its list index. */
static bool
retention_quota_has_inbox_apart(struct retention_quota_counter *counter)
{
	/* the same for all of the namespace's mailboxes */
	const struct mail_storage *storage =
		mail_namespace_get_default_storage(counter->ns);

	return (counter->ns->flags & NAMESPACE_FLAG_INBOX_ANY) != 0 &&
		!storage->set->mailbox_list_index_include_inbox;
}

/* Returns 1 with stale_r if the mailbox must be opened, 0 if not, -1 on error;
   error_r is NULL if the index is damaged. */
static int
retention_quota_record(struct retention_quota_counter *counter, uint32_t seq,
		       struct retention_quota_stale *stale_r,
		       const char **error_r)
{
	struct retention_quota_list_record rec;
	int ret;

	*error_r = NULL;
	if (!retention_quota_list_is_mailbox(counter->list, seq))
		return 0;
	if (!retention_quota_list_get(counter->list, seq, &rec))
		return -1;
	if (rec.name_id == counter->inbox_id && rec.parent_uid == 0)
		return 0;
	ret = retention_quota_filter_record(counter->filter, &rec,
					    &stale_r->how, error_r);
	if (ret <= 0)
		return -1;
	if (stale_r->how.counts == RETENTION_QUOTA_COUNTS_NOT ||
	    (counter->forget == NULL &&
	     retention_quota_add_record(counter, seq, &stale_r->how)))
		return 0;
	T_BEGIN {
		stale_r->vname = p_strdup(counter->pool,
			retention_quota_list_get_vname(counter->list, seq));
	} T_END;
	return stale_r->vname == NULL ? -1 : 1;
}

/* Count the opened mailbox. */
static int
retention_quota_add_box(struct retention_quota_counter *counter,
			struct mailbox *box,
			const struct retention_quota_how *how,
			const char **error_r)
{
	struct mailbox_metadata metadata;
	struct mailbox_status status;
	uint64_t bytes = 0;

	if (how->counts == RETENTION_QUOTA_COUNTS_STORED) {
		if (retention_stored_get(box, &bytes, error_r) < 0)
			return -1;
	} else {
		if (mailbox_get_metadata(box, MAILBOX_METADATA_VIRTUAL_SIZE,
					 &metadata) < 0)
			return -1;
		bytes = metadata.virtual_size;
	}
	mailbox_get_open_status(box, STATUS_MESSAGES, &status);
	retention_quota_add(counter, how->archive, status.messages, bytes);
	return 0;
}

/* Returns 0, or -1 with error_r and the counter's result set if the mailbox's
   error is one that matters. */
static int
retention_quota_box_failed(struct retention_quota_counter *counter,
			   struct mailbox *box, const char *reason,
			   const char **error_r)
{
	enum mail_error error;
	const char *errstr = mailbox_get_last_internal_error(box, &error);

	if (reason == NULL && error != MAIL_ERROR_TEMP &&
	    error != MAIL_ERROR_INUSE) {
		/* is gone, or must not be seen */
		return 0;
	}
	*error_r = t_strdup_printf("Couldn't get size of mailbox %s: %s",
		mailbox_get_vname(box), reason != NULL ? reason : errstr);
	/* started in the background, which is not to be logged as an error */
	counter->result = reason == NULL && error == MAIL_ERROR_INUSE ?
		QUOTA_GET_RESULT_BACKGROUND_CALC :
		QUOTA_GET_RESULT_INTERNAL_ERROR;
	return -1;
}

/* INBOX as its index has it. Returns TRUE if it was added. */
static bool
retention_quota_add_inbox(struct retention_quota_counter *counter,
			  struct mailbox *box, bool synced,
			  const struct retention_quota_how *how)
{
	uint32_t messages;
	uint64_t bytes;

	if (!box->inbox_any || counter->forget != NULL ||
	    how->counts != RETENTION_QUOTA_COUNTS_SIZE ||
	    !retention_quota_inbox_get(box, synced, &messages, &bytes))
		return FALSE;
	retention_quota_add(counter, how->archive, messages, bytes);
	return TRUE;
}

/* Open the mailbox if it is there. Counting creates none: one with auto=create
   that Dovecot does not find may be about to be created by another process, and
   to create it as well is a deadlock for Dovecot, at which 2.3 panics. */
static int retention_quota_open(struct mailbox *box)
{
	const struct mailbox_settings *set = box->set;
	int ret;

	box->set = NULL;
	ret = mailbox_open(box);
	box->set = set;
	return ret;
}

/* Count the mailbox, which is not opened yet. */
static int
retention_quota_count_box(struct retention_quota_counter *counter,
			  struct mailbox *box,
			  const struct retention_quota_how *how,
			  const char **error_r)
{
	if (retention_quota_open(box) < 0)
		return -1;
	if (retention_quota_add_inbox(counter, box, FALSE, how))
		return 0;
	if (mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) < 0)
		return -1;
	if (retention_quota_add_inbox(counter, box, TRUE, how))
		return 0;
	if (counter->forget != NULL && counter->forget(box, how, error_r) < 0)
		return -1;
	return retention_quota_add_box(counter, box, how, error_r);
}

static int
retention_quota_open_box(struct retention_quota_counter *counter,
			 const struct retention_quota_stale *stale,
			 const char **error_r)
{
	const enum mailbox_flags flags =
		counter->forget == NULL ? MAILBOX_FLAG_READONLY : 0;
	const char *reason = NULL;
	struct mailbox *box;
	int ret;

	counter->usage->opened++;
	box = mailbox_alloc(counter->ns->list, stale->vname, flags);
	ret = retention_quota_count_box(counter, box, &stale->how, &reason);
	if (ret < 0)
		ret = retention_quota_box_failed(counter, box, reason, error_r);
	else if (!box->inbox_any) {
		/* have what was found out written to the list index */
		(void)mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST);
	}
	mailbox_free(&box);
	return ret;
}

static int
retention_quota_add_listed(struct retention_quota_counter *counter,
			   const char *vname,
			   ARRAY_TYPE(retention_quota_stale) *stale,
			   const char **error_r)
{
	struct retention_quota_stale box;

	if (retention_quota_filter_name(counter->filter, vname, &box.how,
					error_r) < 0)
		return -1;
	if (box.how.counts != RETENTION_QUOTA_COUNTS_NOT) {
		box.vname = p_strdup(counter->pool, vname);
		array_push_back(stale, &box);
	}
	return 0;
}

/* Once the list index is open, Dovecot reads all of it whenever it syncs a
   mailbox. So INBOX, which mostly is the only mailbox to be opened, comes
   first. */
static int
retention_quota_count_inbox(struct retention_quota_counter *counter,
			    const char **error_r)
{
	ARRAY_TYPE(retention_quota_stale) boxes;
	const struct retention_quota_stale *stale;

	t_array_init(&boxes, 1);
	if (retention_quota_add_listed(counter,
			mailbox_list_get_vname(counter->ns->list, "INBOX"),
			&boxes, error_r) < 0)
		return -1;
	array_foreach(&boxes, stale) {
		if (retention_quota_open_box(counter, stale, error_r) < 0)
			return -1;
	}
	return 0;
}

/* Returns 1 if the list index was read, 0 if it can't be used, -1 with
   error_r. */
static int
retention_quota_count_index(struct retention_quota_counter *counter,
			    ARRAY_TYPE(retention_quota_stale) *stale,
			    const char **error_r)
{
	struct retention_quota_stale box;
	uint32_t seq;
	int ret;

	if (retention_quota_list_open(counter->ns->list, &counter->list) == 0)
		return 0;
	counter->generation = retention_stored_list_generation(
		counter->ns->list, counter->list->view);
	counter->inbox_id = !counter->inbox_apart ? 0 :
		retention_quota_list_find_name(counter->list, "INBOX");
	retention_quota_filter_set_list(counter->filter, counter->list);
	/* Even a data stack frame for each record would take its time; those
	   that need one have it. */
	for (seq = 1, ret = 0; seq <= counter->list->count && ret >= 0;
	     seq++) {
		ret = retention_quota_record(counter, seq, &box, error_r);
		if (ret > 0)
			array_push_back(stale, &box);
	}
	retention_quota_list_close(&counter->list);
	if (ret < 0)
		return *error_r == NULL ? 0 : -1;
	return 1;
}

/* Without a list index all mailboxes are opened. */
static int
retention_quota_count_listed(struct retention_quota_counter *counter,
			     ARRAY_TYPE(retention_quota_stale) *stale,
			     const char **error_r)
{
	struct mailbox_list_iterate_context *iter;
	const struct mailbox_info *info;
	int ret = 0;

	iter = mailbox_list_iter_init(counter->ns->list, "*",
		MAILBOX_LIST_ITER_SKIP_ALIASES |
		MAILBOX_LIST_ITER_RETURN_NO_FLAGS |
		MAILBOX_LIST_ITER_NO_AUTO_BOXES);
	while (ret == 0 && (info = mailbox_list_iter_next(iter)) != NULL) {
		if ((info->flags & (MAILBOX_NONEXISTENT |
				    MAILBOX_NOSELECT)) == 0) {
			ret = retention_quota_add_listed(counter, info->vname,
							 stale, error_r);
		}
	}
	if (mailbox_list_iter_deinit(&iter) < 0 && ret == 0) {
		*error_r = t_strdup_printf("Listing mailboxes failed: %s",
			mailbox_list_get_last_internal_error(counter->ns->list,
							     NULL));
		ret = -1;
	}
	return ret;
}

static int
retention_quota_add_prefix(struct retention_quota_counter *counter,
			   ARRAY_TYPE(retention_quota_stale) *stale,
			   const char **error_r)
{
	const char *vname;

	return !retention_namespace_get_prefix_box(counter->ns, &vname) ? 0 :
		retention_quota_add_listed(counter, vname, stale, error_r);
}

static int
retention_quota_count_namespace(struct retention_quota_counter *counter,
				struct mail_namespace *ns, const char **error_r)
{
	const struct retention_quota_usage before = *counter->usage;
	ARRAY_TYPE(retention_quota_stale) boxes;
	struct retention_quota_stale *stale;
	int ret;

	p_array_init(&boxes, counter->pool, 8);
	counter->ns = ns;
	if (retention_quota_filter_init(counter->root, ns, counter->pool,
					&counter->filter, error_r) < 0)
		return -1;
	counter->inbox_apart = INDEX_LIST_CONTEXT(ns->list) != NULL &&
		retention_quota_has_inbox_apart(counter);
	if (counter->inbox_apart &&
	    retention_quota_count_inbox(counter, error_r) < 0)
		return -1;
	ret = retention_quota_count_index(counter, &boxes, error_r);
	if (ret == 0) {
		*counter->usage = before;
		array_clear(&boxes);
		ret = retention_quota_count_listed(counter, &boxes, error_r);
	}
	if (ret < 0 ||
	    retention_quota_add_prefix(counter, &boxes, error_r) < 0)
		return -1;
	ret = 0;
	array_foreach_modifiable(&boxes, stale) {
		if (ret == 0) T_BEGIN {
			ret = retention_quota_open_box(counter, stale,
						       error_r);
		} T_END_PASS_STR_IF(ret < 0, error_r);
	}
	return ret;
}

static int
retention_quota_count_namespaces(struct retention_quota_counter *counter,
				 const char **error_r)
{
	ARRAY_TYPE(retention_quota_ns) namespaces;
	const struct mail_storage *storage;
	struct mail_namespace *ns;

	t_array_init(&namespaces, 4);
	retention_quota_root_namespaces(counter->root, &namespaces);
	array_foreach_elem(&namespaces, ns) {
		storage = mail_namespace_get_default_storage(ns);
		if ((storage->class_flags &
		     MAIL_STORAGE_CLASS_FLAG_NOQUOTA) == 0 &&
		    retention_quota_count_namespace(counter, ns, error_r) < 0)
			return -1;
	}
	return 0;
}

static int
retention_quota_counter_run(struct retention_quota_counter *counter,
			    const char **error_r)
{
	int ret;

	counter->result = QUOTA_GET_RESULT_INTERNAL_ERROR;
	counter->pool = pool_alloconly_create("retention quota counter", 4096);
	counter->root->recounting = TRUE;
	T_BEGIN {
		ret = retention_quota_count_namespaces(counter, error_r);
	} T_END_PASS_STR_IF(ret < 0, error_r);
	counter->root->recounting = FALSE;
	pool_unref(&counter->pool);
	return ret;
}

enum quota_get_result
retention_quota_count(struct quota_root *root,
		      struct retention_quota_usage *usage_r,
		      const char **error_r)
{
	struct retention_quota_counter counter = {
		.root = root, .usage = usage_r,
	};

	i_zero(usage_r);
	if (root->recounting) {
		/* the count opens a mailbox, which asks for its quota */
		return QUOTA_GET_RESULT_LIMITED;
	}
	return retention_quota_counter_run(&counter, error_r) < 0 ?
		counter.result : QUOTA_GET_RESULT_LIMITED;
}

/* Forget what Dovecot and we have added up for the opened mailbox. */
static int
retention_quota_forget_box(struct mailbox *box,
			   const struct retention_quota_how *how,
			   const char **error_r)
{
	struct mail_index_transaction *trans;
	struct mailbox_index_vsize vsize;

	i_zero(&vsize);
	trans = mail_index_transaction_begin(box->view,
				MAIL_INDEX_TRANSACTION_FLAG_EXTERNAL);
	mail_index_update_header_ext(trans, box->vsize_hdr_ext_id, 0,
				     &vsize, sizeof(vsize));
	if (mail_index_transaction_commit(&trans) < 0) {
		mailbox_set_index_error(box);
		return -1;
	}
	if (how->counts != RETENTION_QUOTA_COUNTS_STORED)
		return 0;
	return retention_stored_forget(box, error_r);
}

int retention_quota_recount(struct quota_root *root, const char **error_r)
{
	struct retention_quota_usage usage;
	struct retention_quota_counter counter = {
		.root = root, .usage = &usage,
		.forget = retention_quota_forget_box,
	};

	i_zero(&usage);
	return retention_quota_counter_run(&counter, error_r);
}
