/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* doveadm retention pop3 reset: show hidden messages to POP3 again, and forget
   that they were downloaded.

   First the log is told (retention-pop3-log.h), then the mailbox. If something
   fails or dies in between, the mailbox is as it was, and the same command does
   all of it once more; the other way round it would find nothing left to do,
   and the log would hide the messages again on the day that the index is
   lost. Meanwhile we hold the lock that POP3 sessions hold, so that no run
   writes the log anew from a mailbox that does not know of the reset yet. */

#include "lib.h"
#include "retention-compat.h"
#include "array.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "doveadm-mail-iter.h"
#include "doveadm-print.h"
#include "retention-box.h"
#include "retention-event.h"
#include "retention-pop3-log.h"
#include "retention-pop3-run.h"
#include "retention-session.h"
#include "retention-user.h"
#include "doveadm-retention.h"

struct doveadm_retention_pop3_reset {
	struct doveadm_mail_cmd_context ctx;
	const char *mailbox;
};

/* What is done with the messages of one mailbox. */
struct doveadm_retention_pop3_job {
	pool_t pool;
	/* Messages that the query matches, those of them that POP3 has done
	   something with, and those of them that were hidden. */
	unsigned int matched, reset, shown;
	/* GUIDs of those that are reset. */
	ARRAY_TYPE(const_string) guids;
};

/* Reset one message. Returns 0 if it was done, or if the message is gone, -1
   with error_r on error. */
static int
doveadm_retention_pop3_reset_mail(struct doveadm_retention_pop3_job *job,
				  struct retention_pop3_reader *reader,
				  struct mail *mail, const char **error_r)
{
	struct retention_pop3_facts facts;
	const char *guid;

	job->matched++;
	if (!retention_pop3_reader_get(reader, mail->seq, &facts))
		return 0;
	if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0 ||
	    retention_pop3_state_reset(mail->transaction, mail) < 0) {
		if (mail->expunged)
			return 0;
		*error_r = t_strdup_printf("UID=%u: %s", mail->uid,
					   retention_box_error(mail->box));
		return -1;
	}
	guid = p_strdup(job->pool, guid);
	array_push_back(&job->guids, &guid);
	job->reset++;
	if (facts.hidden)
		job->shown++;
	return 0;
}

static int
doveadm_retention_pop3_reset_mails(struct doveadm_retention_pop3_job *job,
				   struct doveadm_mail_iter *iter,
				   const char **error_r)
{
	struct mailbox *box = doveadm_mail_iter_get_mailbox(iter);
	struct retention_pop3_reader *reader;
	struct mail *mail;
	int ret = 0;

	reader = retention_pop3_reader_init(box, box->view);
	while (ret == 0 && doveadm_mail_iter_next(iter, &mail)) T_BEGIN {
		ret = doveadm_retention_pop3_reset_mail(job, reader, mail,
							error_r);
	} T_END_PASS_STR_IF(ret < 0, error_r);
	retention_pop3_reader_deinit(&reader);
	return ret;
}

/* Returns 0 on success, -1 with error_r, which is NULL if doveadm has told of
   the error itself. */
static int
doveadm_retention_pop3_reset_query(struct doveadm_mail_cmd_context *ctx,
				   struct doveadm_retention_pop3_job *job,
				   struct mailbox_info *info,
				   struct mailbox *inbox, const char **error_r)
{
	struct doveadm_mail_iter *iter = NULL;
	int ret;

	*error_r = NULL;
	ret = doveadm_mail_iter_init(ctx, info, ctx->search_args, 0, NULL, 0,
				     &iter);
	if (iter == NULL) {
		if (ret == 0)
			*error_r = "Mailbox does not exist";
		return -1;
	}
	ret = doveadm_retention_pop3_reset_mails(job, iter, error_r);
	if (ret == 0 && !array_is_empty(&job->guids)) {
		ret = retention_pop3_log_append_reset(inbox, &job->guids,
						      error_r);
	}
	if (ret < 0) {
		doveadm_mail_iter_deinit_rollback(&iter);
		return -1;
	}
	return doveadm_mail_iter_deinit_sync(&iter);
}

/* Open INBOX, with what POP3 has done if its index was lost. */
static int
doveadm_retention_pop3_open_inbox(struct retention_user *ruser,
				  const struct retention_box *rbox,
				  struct mailbox **box_r, const char **error_r)
{
	int ret;

	ret = retention_box_open(rbox, box_r, error_r);
	if (ret > 0 && retention_pop3_run_restore(ruser->event, *box_r,
						  error_r) < 0) {
		*error_r = t_strdup(*error_r);
		mailbox_free(box_r);
		ret = -1;
	}
	return ret > 0 ? 0 : -1;
}

static void
doveadm_retention_pop3_reset_print(struct mail_user *user, const char *vname,
	const struct doveadm_retention_pop3_job *job)
{
	doveadm_print(vname);
	doveadm_print_num(job->matched);
	doveadm_print_num(job->reset);
	doveadm_print_num(job->shown);
	if (job->matched == 0) {
		e_info(user->event, "retention: Mailbox %s: "
		       "No message matches the search query",
		       retention_name_sanitize(vname));
	}
}

static int
doveadm_retention_pop3_reset_box(struct doveadm_retention_pop3_reset *reset,
				 struct mail_user *user,
				 const struct retention_box *rbox,
				 struct mailbox *inbox, pool_t pool)
{
	struct doveadm_retention_pop3_job job = { .pool = pool };
	struct mailbox_info info = { .ns = rbox->ns, .vname = rbox->vname };
	const char *error;

	p_array_init(&job.guids, pool, 64);
	if (doveadm_retention_pop3_reset_query(&reset->ctx, &job, &info,
					       inbox, &error) < 0) {
		if (error != NULL) {
			doveadm_retention_failed(&reset->ctx, user,
				t_strdup_printf("Mailbox %s: %s",
						rbox->vname, error));
		}
		return -1;
	}
	doveadm_retention_pop3_reset_print(user, rbox->vname, &job);
	return 0;
}

static int
doveadm_retention_pop3_reset_user(struct doveadm_retention_pop3_reset *reset,
				  struct mail_user *user,
				  struct retention_user *ruser, pool_t pool)
{
	const struct retention_box *rbox;
	struct mailbox *inbox;
	const char *error;
	int ret;

	rbox = retention_box_inbox(user, ruser->set, pool);
	if (doveadm_retention_pop3_open_inbox(ruser, rbox, &inbox,
					      &error) < 0) {
		doveadm_retention_failed(&reset->ctx, user,
			t_strdup_printf("Mailbox %s: %s", rbox->vname, error));
		return -1;
	}
	rbox = retention_box_find(user, ruser->set, reset->mailbox, pool,
				  &error);
	if (rbox != NULL) {
		ret = doveadm_retention_pop3_reset_box(reset, user, rbox,
						       inbox, pool);
	} else {
		doveadm_retention_failed(&reset->ctx, user, error);
		ret = -1;
	}
	mailbox_free(&inbox);
	return ret;
}

static int
doveadm_retention_pop3_reset_run(struct doveadm_mail_cmd_context *_ctx,
				 struct mail_user *user)
{
	struct doveadm_retention_pop3_reset *reset =
		container_of(_ctx, struct doveadm_retention_pop3_reset, ctx);
	struct retention_user *ruser = doveadm_retention_user(_ctx, user);
	struct retention_session_lock *lock;
	const char *error;
	pool_t pool;
	int ret;

	if (ruser == NULL)
		return -1;
	ret = retention_session_lock_shared(user, &lock, &error);
	if (ret <= 0) {
		doveadm_retention_failed(_ctx, user, ret < 0 ? error :
			"A run is in progress for this user");
		return -1;
	}
	pool = pool_alloconly_create("retention pop3 reset", 4096);
	ret = doveadm_retention_pop3_reset_user(reset, user, ruser, pool);
	pool_unref(&pool);
	retention_session_unlock(&lock);
	return ret;
}

static void doveadm_retention_pop3_reset_init(RETENTION_DOVEADM_INIT_PARAMS)
{
	struct doveadm_retention_pop3_reset *reset =
		container_of(_ctx, struct doveadm_retention_pop3_reset, ctx);
	const enum doveadm_print_header_flags right =
		DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY;
	const char *const *query;

	if (!doveadm_cmd_param_array(_ctx->cctx, "query", &query))
		doveadm_mail_help_name("retention pop3 reset");
	if (!doveadm_cmd_param_str(_ctx->cctx, "mailbox", &reset->mailbox))
		reset->mailbox = "INBOX";
	_ctx->search_args = doveadm_mail_build_search_args(query);
	doveadm_print_header("mailbox", "mailbox",
			     DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	doveadm_print_header("matched", "matched", right);
	doveadm_print_header("reset", "reset", right);
	doveadm_print_header("shown", "shown", right);
}

static struct doveadm_mail_cmd_context *
doveadm_retention_pop3_reset_alloc(void)
{
	struct doveadm_retention_pop3_reset *reset =
		doveadm_retention_cmd_alloc(
			struct doveadm_retention_pop3_reset, "m:");

	reset->ctx.v.init = doveadm_retention_pop3_reset_init;
	reset->ctx.v.run = doveadm_retention_pop3_reset_run;
	doveadm_print_init(DOVEADM_PRINT_TYPE_FLOW);
	return &reset->ctx;
}

struct doveadm_cmd_ver2 doveadm_cmd_retention_pop3_reset = {
	.name = "retention pop3 reset",
	.usage = DOVEADM_CMD_MAIL_USAGE_PREFIX "[-m <mailbox>] <search query>",
	.mail_cmd = doveadm_retention_pop3_reset_alloc,
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_MAIL_COMMON
DOVEADM_CMD_PARAM('m', "mailbox", CMD_PARAM_STR, 0)
DOVEADM_CMD_PARAM('\0', "query", CMD_PARAM_ARRAY, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
};
