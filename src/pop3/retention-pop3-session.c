/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* The mailbox of a POP3 session. Dovecot hides by itself what has the keyword
   pop3_deleted_flag, but looks at each message for it; as what is kept grows
   and grows, the messages to list are found in the index beforehand. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "mail-search.h"
#include "mail-storage-private.h"
#include "module-context.h"
#include "pop3-common.h"
#include "retention-settings.h"
#include "retention-pop3-client.h"
#include "retention-pop3-log.h"
#include "retention-pop3-session.h"

struct retention_pop3_box {
	union mailbox_module_context module_ctx;
	struct retention_pop3_session *session;
};

static MODULE_CONTEXT_DEFINE_INIT(retention_pop3_storage_module,
				  &mail_storage_module_register);
#define RETENTION_POP3_BOX_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, retention_pop3_storage_module)

bool retention_pop3_session_is_box(const struct retention_pop3_session *session,
				   const struct mailbox *box)
{
	return session->client != NULL && session->client->mailbox == box;
}

/* Opening and syncing */

static int retention_pop3_box_open(struct mailbox *box)
{
	struct retention_pop3_box *pbox =
		RETENTION_POP3_BOX_CONTEXT_REQUIRE(box);

	if (!retention_pop3_session_is_box(pbox->session, box))
		return pbox->module_ctx.super.open(box);

	if (retention_pop3_session_lock(pbox->session) < 0) {
		mail_storage_set_error(box->storage, MAIL_ERROR_INUSE,
			"Messages are being archived, try again");
		return -1;
	}
	if (pbox->module_ctx.super.open(box) < 0)
		return -1;
	retention_pop3_state_register(box);
	retention_pop3_session_hide_keyword(pbox->session, box);
	return 0;
}

static int
retention_pop3_box_restore(struct retention_pop3_session *session,
			   struct mailbox *box)
{
	struct mailbox_transaction_context *t;
	const char *error;
	int ret;

	t = mailbox_transaction_begin(box, 0, "retention: restore pop3");
	ret = retention_pop3_state_restore(t, &error);
	if (ret < 0) {
		mailbox_transaction_rollback(&t);
		mailbox_set_critical(box, "retention: %s", error);
		return -1;
	}
	if (mailbox_transaction_commit(&t) < 0 ||
	    mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) < 0)
		return -1;
	if (ret > 0) {
		e_info(session->user->event, "retention: INBOX: What POP3 has "
		       "done with %d messages was lost with the index, and is "
		       "restored", ret);
	}
	return 0;
}

/* Is there something that can be brought back? A dbox mailbox without an index
   is empty for Dovecot until it is resynced, and has nothing to bring it back
   to. */
static bool retention_pop3_box_needs_restore(struct mailbox *box)
{
	return !mailbox_is_readonly(box) &&
		mail_index_view_get_messages_count(box->view) > 0 &&
		retention_pop3_state_is_lost(box);
}

/* Before the messages are listed for the first time, and not while they are
   being listed: messages that this hides must not be seen by the client. */
static int
retention_pop3_box_sync_deinit(struct mailbox_sync_context *ctx,
			       struct mailbox_sync_status *status_r)
{
	struct mailbox *box = ctx->box;
	struct retention_pop3_box *pbox =
		RETENTION_POP3_BOX_CONTEXT_REQUIRE(box);
	struct retention_pop3_session *session = pbox->session;
	int ret;

	ret = pbox->module_ctx.super.sync_deinit(ctx, status_r);
	if (ret < 0 || session->restored ||
	    !retention_pop3_session_is_box(session, box))
		return ret;
	session->restored = TRUE;
	return !retention_pop3_box_needs_restore(box) ? 0 :
		retention_pop3_box_restore(session, box);
}

/* Listing */

/* Dovecot lists the messages once, or again if one of them goes at that moment;
   all other searches are among those listed. */
static bool
retention_pop3_is_listing(const struct retention_pop3_session *session,
			  const struct mailbox_transaction_context *t)
{
	const struct client *client = session->client;

	return retention_pop3_session_is_box(session, t->box) &&
		client->deleted_kw != NULL && client->trans == NULL &&
		!client->quit_seen;
}

static void
retention_pop3_search_narrow(struct mailbox_transaction_context *t,
			     struct mail_search_args *args)
{
	uint32_t messages = mail_index_view_get_messages_count(t->view);
	struct retention_pop3_reader *reader;
	struct mail_search_arg *arg;
	ARRAY_TYPE(seq_range) visible;

	if (messages == 0)
		return;
	p_array_init(&visible, args->pool, 128);
	reader = retention_pop3_reader_init(t->box, t->view);
	retention_pop3_reader_get_visible(reader, 1, messages, &visible);
	retention_pop3_reader_deinit(&reader);
	if (seq_range_count(&visible) == messages)
		return;

	arg = p_new(args->pool, struct mail_search_arg, 1);
	if (!array_is_empty(&visible)) {
		arg->type = SEARCH_SEQSET;
		arg->value.seqset = visible;
	} else {
		arg->type = SEARCH_ALL;
		arg->match_not = TRUE;
	}
	arg->next = args->args;
	args->args = arg;
}

static struct mail_search_context *
retention_pop3_box_search_init(struct mailbox_transaction_context *t,
			       struct mail_search_args *args,
			       const enum mail_sort_type *sort_program,
			       enum mail_fetch_field wanted_fields,
			       struct mailbox_header_lookup_ctx *wanted_headers)
{
	struct retention_pop3_box *pbox =
		RETENTION_POP3_BOX_CONTEXT_REQUIRE(t->box);

	if (retention_pop3_is_listing(pbox->session, t))
		retention_pop3_search_narrow(t, args);
	return pbox->module_ctx.super.search_init(t, args, sort_program,
						  wanted_fields,
						  wanted_headers);
}

/* QUIT */

/* QUIT commits before it disconnects the client. A client that went without
   QUIT, one that Dovecot has already told of an error, and one that has been
   idle have their transactions committed as well. */
static bool
retention_pop3_is_quit(const struct retention_pop3_session *session,
		       const struct mailbox_transaction_context *t)
{
	const struct client *client = session->client;

	return retention_pop3_session_is_box(session, t->box) &&
		client->quit_seen && !client->disconnected &&
		client->trans == NULL && !session->finished &&
		retention_pop3_is_set(&session->set->pop3) &&
		!mailbox_is_readonly(t->box);
}

/* Are messages that were hidden just now to leave INBOX just now? */
static bool
retention_pop3_is_run_due(const struct retention_pop3_session *session,
			  const ARRAY_TYPE(retention_pop3_change) *changes)
{
	const struct retention_pop3_facts facts = {
		.hidden = TRUE,
		.hidden_time = ioloop_time,
	};
	const struct retention_pop3_change *change;
	struct retention_pop3_verdict verdict;

	retention_pop3_judge(&session->set->pop3, &facts, ioloop_time,
			     &verdict);
	if ((verdict.action != RETENTION_POP3_ARCHIVE &&
	     verdict.action != RETENTION_POP3_EXPUNGE) ||
	    verdict.due > ioloop_time)
		return FALSE;
	array_foreach(changes, change) {
		if (change->hidden_time != 0)
			return TRUE;
	}
	return FALSE;
}

/* From the commit on the index knows it. If the log can't be written, that is
   all that is lost: the client has done its part. */
static void
retention_pop3_quit_committed(struct retention_pop3_session *session,
			      struct mailbox *box,
			      const ARRAY_TYPE(retention_pop3_change) *changes)
{
	const char *error;

	if (array_is_empty(changes))
		return;
	session->run_due = retention_pop3_is_run_due(session, changes);
	if (retention_pop3_log_append(box, changes, &error) < 0)
		e_error(session->user->event, "retention: %s", error);
}

static int
retention_pop3_quit(struct retention_pop3_box *pbox,
		    struct mailbox_transaction_context *t,
		    struct mail_transaction_commit_changes *changes_r,
		    pool_t pool)
{
	struct retention_pop3_session *session = pbox->session;
	ARRAY_TYPE(retention_pop3_change) changes;
	struct mailbox *box = t->box;

	p_array_init(&changes, pool, 64);
	if (retention_pop3_session_apply(session, t, pool, &changes) < 0) {
		pbox->module_ctx.super.transaction_rollback(t);
		return -1;
	}
	if (pbox->module_ctx.super.transaction_commit(t, changes_r) < 0)
		return -1;
	retention_pop3_quit_committed(session, box, &changes);
	return 0;
}

static int
retention_pop3_box_transaction_commit(
	struct mailbox_transaction_context *t,
	struct mail_transaction_commit_changes *changes_r)
{
	struct retention_pop3_box *pbox =
		RETENTION_POP3_BOX_CONTEXT_REQUIRE(t->box);
	pool_t pool;
	int ret;

	if (!retention_pop3_is_quit(pbox->session, t))
		return pbox->module_ctx.super.transaction_commit(t, changes_r);

	pbox->session->finished = TRUE;
	pool = pool_alloconly_create("retention pop3 quit", 4096);
	ret = retention_pop3_quit(pbox, t, changes_r, pool);
	pool_unref(&pool);
	return ret;
}

void retention_pop3_mailbox_allocated(struct mailbox *box)
{
	struct retention_pop3_session *session =
		retention_pop3_session_get(box->storage->user);
	struct mailbox_vfuncs *v = box->vlast;
	struct retention_pop3_box *pbox;

	if (session == NULL || (box->flags & MAILBOX_FLAG_POP3_SESSION) == 0)
		return;

	pbox = p_new(box->pool, struct retention_pop3_box, 1);
	pbox->session = session;
	pbox->module_ctx.super = *v;
	box->vlast = &pbox->module_ctx.super;
	v->open = retention_pop3_box_open;
	v->sync_deinit = retention_pop3_box_sync_deinit;
	v->search_init = retention_pop3_box_search_init;
	v->transaction_commit = retention_pop3_box_transaction_commit;
	MODULE_CONTEXT_SET(box, retention_pop3_storage_module, pbox);
}
