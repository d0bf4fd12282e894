/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "retention-box.h"
#include "retention-event.h"
#include "retention-plan.h"
#include "retention-pop3-log.h"
#include "retention-session.h"
#include "retention-pop3-run.h"

int retention_pop3_run_restore(struct event *event, struct mailbox *box,
			       const char **error_r)
{
	struct mailbox_transaction_context *t;
	int ret;

	if (!retention_pop3_state_is_lost(box))
		return 0;
	t = mailbox_transaction_begin(box, 0, "retention: restore pop3");
	ret = retention_pop3_state_restore(t, error_r);
	if (ret < 0) {
		mailbox_transaction_rollback(&t);
		return -1;
	}
	if (mailbox_transaction_commit(&t) < 0 ||
	    mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	e_info(event, "INBOX: What POP3 has done with %d messages was lost "
	       "with the index, and is restored", ret);
	return 0;
}

static int
retention_pop3_run_apply(struct mailbox *box,
			 ARRAY_TYPE(retention_pop3_change) *changes,
			 pool_t pool, const char **error_r)
{
	struct mailbox_transaction_context *t;
	int ret;

	if (array_is_empty(changes))
		return 0;
	t = mailbox_transaction_begin(box, 0, "retention: pop3");
	ret = retention_pop3_state_apply(t, changes, pool);
	if (ret < 0) {
		*error_r = retention_box_error(box);
		mailbox_transaction_rollback(&t);
		return -1;
	}
	if (mailbox_transaction_commit(&t) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	return retention_pop3_log_append(box, changes, error_r);
}

static void
retention_pop3_run_log_hidden(struct event *event, struct mail *mail)
{
	struct retention_event_mail event_mail = {
		.rule = retention_pop3_rule(RETENTION_POP3_HIDE)->name,
		.mailbox = mailbox_get_vname(mail->box),
		.uid = mail->uid,
	};
	const char *message_id;

	(void)mail_get_virtual_size(mail, &event_mail.size);
	if (mail_get_first_header(mail, "Message-ID", &message_id) > 0) {
		event_mail.message_id = t_strndup(message_id,
			RETENTION_MESSAGE_ID_MAX_LEN);
	}
	retention_event_mail_send(event, RETENTION_ACTION_NONE, &event_mail);
}

int retention_pop3_run_changes(struct event *event, struct mailbox *box,
			       struct retention_plan *plan,
			       unsigned int *hidden, const char **error_r)
{
	struct mailbox_transaction_context *t;
	const struct retention_pop3_change *change;
	struct mail *mail;

	if (retention_pop3_run_apply(box, &plan->hide, plan->pool,
				     error_r) < 0 ||
	    retention_pop3_run_apply(box, &plan->stamp, plan->pool,
				     error_r) < 0)
		return -1;
	if (array_is_empty(&plan->hide))
		return 0;

	t = mailbox_transaction_begin(box, 0, "retention: hidden");
	mail = mail_alloc(t, MAIL_FETCH_VIRTUAL_SIZE, NULL);
	array_foreach(&plan->hide, change) T_BEGIN {
		if (change->guid != NULL && mail_set_uid(mail, change->uid)) {
			retention_pop3_run_log_hidden(event, mail);
			*hidden += 1;
		}
	} T_END;
	mail_free(&mail);
	(void)mailbox_transaction_commit(&t);
	return 0;
}

int retention_pop3_run_compact(const struct retention_box *rbox,
			       struct mailbox *box, const char **error_r)
{
	struct retention_session_lock *lock;
	int ret;

	if (retention_session_lock_exclusive(rbox->ns, &lock, error_r) <= 0) {
		/* there is no hurry */
		return 0;
	}
	ret = retention_pop3_log_compact(box, error_r);
	retention_session_unlock(&lock);
	return ret;
}
