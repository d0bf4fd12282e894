/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "array.h"
#include "ioloop.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "doveadm-print.h"
#include "retention-box.h"
#include "retention-driver.h"
#include "retention-pop3-state.h"
#include "retention-user.h"
#include "doveadm-retention.h"

#include <time.h>

/* What is told of a mailbox, or of all of a user's. */
struct doveadm_retention_counts {
	unsigned int mailboxes;
	unsigned int messages, compressed, plain, not_compressible;
	/* Message sizes in bytes, as clients see them. */
	uoff_t size;
	/* Bytes with the line feeds that are stored: before compressing, and
	   on disk. */
	uoff_t plain_size, stored_size;
	/* Bytes that the user's quota counts, if there is one of ours. */
	uoff_t quota_size;
	bool has_quota;
	/* POP3 shows a mailbox, and how much it has done with. */
	bool has_pop3;
	unsigned int downloaded, hidden;
	time_t oldest, next_due;
	const struct retention_rule *next_rule;
};

struct doveadm_retention_status {
	struct doveadm_mail_cmd_context ctx;
	const char *mask;
	/* Print the sum of a user's mailboxes instead of each of them. */
	bool total;
	struct doveadm_retention_counts sum;
};

static int
doveadm_retention_status_stored(const struct retention_driver *driver,
				struct mail *mail, uoff_t plain_size,
				struct doveadm_retention_counts *counts,
				const char **error_r)
{
	struct retention_stored stored = { .size = plain_size };
	struct retention_record rec;
	int ret;

	if (driver != NULL) {
		ret = driver->look(mail, &stored, error_r);
		if (ret <= 0)
			return ret;
	}
	retention_record_get(mail, &rec);
	if (stored.state == RETENTION_RECORD_COMPRESSED)
		counts->compressed++;
	else if (stored.state == RETENTION_RECORD_NOT_COMPRESSIBLE ||
		 rec.state == RETENTION_RECORD_NOT_COMPRESSIBLE)
		counts->not_compressible++;
	else
		counts->plain++;
	counts->stored_size += stored.size;
	return 1;
}

static void
doveadm_retention_status_next(const struct retention_rule *rule, time_t due,
			      struct doveadm_retention_counts *counts)
{
	if (counts->next_rule == NULL || due < counts->next_due) {
		counts->next_rule = rule;
		counts->next_due = due;
	}
}

static void
doveadm_retention_status_due(const struct retention_judgement *judgement,
			     struct doveadm_retention_counts *counts)
{
	const struct retention_rule_verdict *verdict = &judgement->verdict;
	const struct retention_pop3_verdict *pop3 = &judgement->pop3;
	bool keep = judgement->action == RETENTION_ACTION_KEEP;

	/* a compress rule that is due has nothing to do for what it did */
	if (verdict->rule != NULL && !keep &&
	    judgement->action != RETENTION_ACTION_COMPRESS) {
		doveadm_retention_status_next(verdict->rule, verdict->due,
					      counts);
	}
	/* what a rule keeps can be hidden all the same */
	if (pop3->action == RETENTION_POP3_HIDE ||
	    (!keep && (pop3->action == RETENTION_POP3_ARCHIVE ||
		       pop3->action == RETENTION_POP3_EXPUNGE))) {
		doveadm_retention_status_next(
			retention_pop3_rule(pop3->action), pop3->due, counts);
	}
}

/* Judge the message, and count what POP3 has done with it. Returns 1 if ok, 0
   if the message is gone, -1 on error. */
static int
doveadm_retention_status_judge(const struct retention_box *rbox,
			       struct retention_pop3_reader *reader,
			       struct mail *mail, time_t now,
			       struct doveadm_retention_counts *counts,
			       const char **error_r)
{
	struct retention_pop3_facts pop3;
	struct retention_mail_facts facts;
	struct retention_judgement judgement;
	bool have_pop3;
	int ret;

	have_pop3 = reader != NULL &&
		retention_pop3_reader_get(reader, mail->seq, &pop3);
	ret = retention_box_judge(rbox, mail, have_pop3 ? &pop3 : NULL, now,
				  &facts, &judgement, error_r);
	if (ret <= 0)
		return ret;
	doveadm_retention_status_due(&judgement, counts);
	if (have_pop3 && pop3.downloaded)
		counts->downloaded++;
	if (have_pop3 && pop3.hidden)
		counts->hidden++;
	return 1;
}

/* Returns 1 if the message was counted, 0 if it is gone, -1 on error. */
static int
doveadm_retention_status_mail(const struct retention_box *rbox,
			      const struct retention_driver *driver,
			      struct retention_pop3_reader *reader,
			      struct mail *mail, time_t now,
			      struct doveadm_retention_counts *counts,
			      const char **error_r)
{
	uoff_t size, plain_size;
	time_t received;
	int ret;

	if (mail_get_virtual_size(mail, &size) < 0 ||
	    mail_get_physical_size(mail, &plain_size) < 0 ||
	    mail_get_received_date(mail, &received) < 0) {
		if (mail->expunged)
			return 0;
		*error_r = retention_box_error(mail->box);
		return -1;
	}
	ret = doveadm_retention_status_stored(driver, mail, plain_size,
					      counts, error_r);
	if (ret > 0) {
		ret = doveadm_retention_status_judge(rbox, reader, mail, now,
						     counts, error_r);
	}
	if (ret <= 0)
		return ret;
	counts->messages++;
	counts->size += size;
	counts->plain_size += plain_size;
	if (counts->oldest == 0 || received < counts->oldest)
		counts->oldest = received;
	return 1;
}

static int
doveadm_retention_status_mails(const struct retention_box *rbox,
			       struct mailbox_transaction_context *t,
			       unsigned int messages,
			       struct doveadm_retention_counts *counts,
			       const char **error_r)
{
	const struct retention_driver *driver =
		retention_driver_find(t->box->storage);
	struct retention_pop3_reader *reader = NULL;
	struct mail *mail;
	time_t now = time(NULL);
	int ret = 0;

	if (rbox->pop3 != NULL)
		reader = retention_pop3_reader_init(t->box, t->view);
	mail = mail_alloc(t, MAIL_FETCH_VIRTUAL_SIZE |
			  MAIL_FETCH_PHYSICAL_SIZE | MAIL_FETCH_RECEIVED_DATE |
			  retention_box_wanted_fields(rbox), NULL);
	for (uint32_t seq = 1; seq <= messages && ret >= 0; seq++) {
		T_BEGIN {
			mail_set_seq(mail, seq);
			ret = doveadm_retention_status_mail(rbox, driver,
				reader, mail, now, counts, error_r);
			if (ret < 0) {
				*error_r = t_strdup_printf("UID=%u: %s",
							   mail->uid, *error_r);
			}
		} T_END_PASS_STR_IF(ret < 0, error_r);
	}
	mail_free(&mail);
	retention_pop3_reader_deinit(&reader);
	return ret < 0 ? -1 : 0;
}

static int
doveadm_retention_status_count(const struct retention_box *rbox,
			       struct mailbox *box,
			       struct doveadm_retention_counts *counts_r,
			       const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct mailbox_status status;
	int ret;

	i_zero(counts_r);
	mailbox_get_open_status(box, STATUS_MESSAGES, &status);
	t = mailbox_transaction_begin(box, 0, "retention status");
	ret = doveadm_retention_status_mails(rbox, t, status.messages,
					     counts_r, error_r);
	mailbox_transaction_rollback(&t);
	return ret;
}

/* What the user's quota counts of the mailbox. */
static void
doveadm_retention_status_quota(const struct retention_box *rbox,
			       struct doveadm_retention_counts *counts)
{
	struct mail_user *user = rbox->ns->user;
	const struct retention_user *ruser = retention_user_get(user);

	if (ruser->quota_counts == NULL)
		return;
	counts->has_quota = TRUE;
	switch (ruser->quota_counts(user, rbox->ns, rbox->vname)) {
	case RETENTION_QUOTA_COUNTS_STORED:
		counts->quota_size = counts->stored_size;
		break;
	case RETENTION_QUOTA_COUNTS_SIZE:
		counts->quota_size = counts->size;
		break;
	case RETENTION_QUOTA_COUNTS_NOT:
		break;
	}
}

static void
doveadm_retention_status_add(struct doveadm_retention_counts *sum,
			     const struct doveadm_retention_counts *counts)
{
	sum->mailboxes++;
	sum->messages += counts->messages;
	sum->compressed += counts->compressed;
	sum->plain += counts->plain;
	sum->not_compressible += counts->not_compressible;
	sum->size += counts->size;
	sum->plain_size += counts->plain_size;
	sum->stored_size += counts->stored_size;
	sum->quota_size += counts->quota_size;
	sum->has_pop3 = sum->has_pop3 || counts->has_pop3;
	sum->downloaded += counts->downloaded;
	sum->hidden += counts->hidden;
	if (counts->oldest != 0 &&
	    (sum->oldest == 0 || counts->oldest < sum->oldest))
		sum->oldest = counts->oldest;
	if (counts->next_rule != NULL) {
		doveadm_retention_status_next(counts->next_rule,
					      counts->next_due, sum);
	}
}

/* All columns but the first. */
static void
doveadm_retention_status_print(const struct doveadm_retention_counts *counts)
{
	uoff_t saved = counts->plain_size > counts->stored_size ?
		counts->plain_size - counts->stored_size : 0;

	doveadm_print_num(counts->messages);
	doveadm_print_num(counts->size);
	doveadm_print_num(counts->stored_size);
	if (counts->has_quota)
		doveadm_print_num(counts->quota_size);
	else
		doveadm_print("-");
	doveadm_print(doveadm_retention_percent(saved, counts->plain_size));
	doveadm_print_num(counts->compressed);
	doveadm_print_num(counts->plain);
	doveadm_print_num(counts->not_compressible);
	doveadm_print(doveadm_retention_date(counts->oldest));
	doveadm_print(doveadm_retention_date(counts->next_due));
	doveadm_print(counts->next_rule == NULL ? "-" :
		      counts->next_rule->name);
	if (!counts->has_pop3) {
		doveadm_print("-");
		doveadm_print("-");
	} else {
		doveadm_print_num(counts->downloaded);
		doveadm_print_num(counts->hidden);
	}
}

static int
doveadm_retention_status_box(struct doveadm_retention_status *status,
			     const struct retention_box *rbox,
			     const char **error_r)
{
	struct doveadm_retention_counts counts;
	struct mailbox *box;
	int ret;

	ret = retention_box_open(rbox, &box, error_r);
	if (ret <= 0)
		return ret;
	ret = doveadm_retention_status_count(rbox, box, &counts, error_r);
	mailbox_free(&box);
	if (ret < 0)
		return -1;
	counts.has_pop3 = rbox->pop3 != NULL;
	doveadm_retention_status_quota(rbox, &counts);
	if (status->total)
		doveadm_retention_status_add(&status->sum, &counts);
	else {
		doveadm_print(rbox->vname);
		doveadm_retention_status_print(&counts);
	}
	return 0;
}

static int
doveadm_retention_status_boxes(struct doveadm_retention_status *status,
			       struct mail_user *user,
			       const struct retention_settings *set,
			       pool_t pool)
{
	ARRAY_TYPE(retention_box) boxes;
	struct retention_box *rbox;
	const char *error;
	int ret = 0;

	if (retention_boxes_list(user, set, TRUE, pool, &boxes, &error) < 0) {
		doveadm_retention_failed(&status->ctx, user, error);
		return -1;
	}
	array_foreach_elem(&boxes, rbox) T_BEGIN {
		if (!doveadm_is_killed() &&
		    retention_box_matches(rbox, status->mask) &&
		    doveadm_retention_status_box(status, rbox, &error) < 0) {
			doveadm_retention_failed(&status->ctx, user,
				t_strdup_printf("Mailbox %s: %s",
						rbox->vname, error));
			ret = -1;
		}
	} T_END;
	return ret;
}

static int
doveadm_retention_status_run(struct doveadm_mail_cmd_context *_ctx,
			     struct mail_user *user)
{
	struct doveadm_retention_status *status =
		container_of(_ctx, struct doveadm_retention_status, ctx);
	struct retention_user *ruser = doveadm_retention_user(_ctx, user);
	pool_t pool;
	int ret;

	if (ruser == NULL)
		return -1;
	pool = pool_alloconly_create("retention status", 4096);
	i_zero(&status->sum);
	status->sum.has_quota = ruser->quota_counts != NULL;
	ret = doveadm_retention_status_boxes(status, user, ruser->set, pool);
	/* an error is told, and the rest is worth something all the same */
	if (status->total && !doveadm_is_killed()) {
		doveadm_print_num(status->sum.mailboxes);
		doveadm_retention_status_print(&status->sum);
	}
	pool_unref(&pool);
	return ret;
}

static void doveadm_retention_status_init(RETENTION_DOVEADM_INIT_PARAMS)
{
	struct doveadm_retention_status *status =
		container_of(_ctx, struct doveadm_retention_status, ctx);
	const enum doveadm_print_header_flags right =
		DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY;

	(void)doveadm_cmd_param_str(_ctx->cctx, "mailbox-mask", &status->mask);
	(void)doveadm_cmd_param_bool(_ctx->cctx, "total-sum", &status->total);
	if (status->total)
		doveadm_print_header("mailboxes", "mailboxes", right);
	else {
		doveadm_print_header("mailbox", "mailbox",
				     DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	}
	doveadm_print_header("messages", "messages", right);
	doveadm_print_header("size", "size", right);
	doveadm_print_header("stored", "stored", right);
	doveadm_print_header("quota", "quota", right);
	doveadm_print_header("saved_percent", "saved %", right);
	doveadm_print_header("compressed", "compressed", right);
	doveadm_print_header("plain", "plain", right);
	doveadm_print_header("not_compressible", "not compressible", right);
	doveadm_print_header("oldest", "oldest", 0);
	doveadm_print_header("next_due", "next due", 0);
	doveadm_print_header("rule", "rule", 0);
	doveadm_print_header("downloaded", "downloaded", right);
	doveadm_print_header("hidden", "hidden", right);
}

static struct doveadm_mail_cmd_context *doveadm_retention_status_alloc(void)
{
	struct doveadm_retention_status *status =
		doveadm_retention_cmd_alloc(struct doveadm_retention_status,
					    "m:t");

	status->ctx.v.init = doveadm_retention_status_init;
	status->ctx.v.run = doveadm_retention_status_run;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	return &status->ctx;
}

struct doveadm_cmd_ver2 doveadm_cmd_retention_status = {
	.name = "retention status",
	.usage = DOVEADM_CMD_MAIL_USAGE_PREFIX "[-t] [-m <mailbox mask>]",
	.mail_cmd = doveadm_retention_status_alloc,
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_MAIL_COMMON
DOVEADM_CMD_PARAM('t', "total-sum", CMD_PARAM_BOOL, 0)
DOVEADM_CMD_PARAM('m', "mailbox-mask", CMD_PARAM_STR, 0)
DOVEADM_CMD_PARAMS_END
};
