/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "array.h"
#include "str.h"
#include "strnum.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "doveadm-print.h"
#include "retention-box.h"
#include "retention-pop3-state.h"
#include "retention-user.h"
#include "doveadm-retention.h"

#include <time.h>

struct doveadm_retention_explain {
	struct doveadm_mail_cmd_context ctx;
	const char *mailbox;
	uint32_t uid;
};

static bool
doveadm_retention_explain_matches(const struct retention_box *rbox,
				  const struct retention_rule *rule)
{
	const struct retention_rule *box_rule;

	array_foreach_elem(&rbox->rules, box_rule) {
		if (box_rule == rule)
			return TRUE;
	}
	return FALSE;
}

static void
doveadm_retention_explain_rule(const struct retention_box *rbox,
			       const struct retention_rule *rule,
			       const struct retention_rule *decides,
			       const struct retention_mail_facts *facts,
			       time_t now)
{
	struct retention_rule_verdict verdict;
	const char *why;

	doveadm_print(rule->name);
	doveadm_print(retention_action_name(rule->action));
	if (!doveadm_retention_explain_matches(rbox, rule)) {
		doveadm_print("no");
		doveadm_print("-");
		doveadm_print("-");
		doveadm_print("-");
		doveadm_print(t_strdup_printf("is for mailbox %s",
					      rule->mailbox));
		return;
	}
	retention_rule_judge(rule, facts, now, &verdict);
	why = retention_reason_text(verdict.reason);
	if (rule == decides)
		why = t_strconcat(why, ", and decides", NULL);
	doveadm_print(verdict.reason == RETENTION_REASON_DUE ? "yes" : "no");
	doveadm_print(verdict.base == 0 ? "-" :
		      retention_age_from_name(verdict.base_from));
	doveadm_print(doveadm_retention_date(verdict.base));
	doveadm_print(doveadm_retention_date(verdict.due));
	doveadm_print(why);
}

/* From when the message counts: what POP3 has done with it, or its coming into
   INBOX if that was later. */
static const char *
doveadm_retention_explain_pop3_from(const struct retention_pop3_facts *facts,
				    time_t base)
{
	if (base == 0)
		return "-";
	if (base != (facts->hidden ? facts->hidden_time :
		     facts->downloaded_time))
		return retention_age_from_name(RETENTION_AGE_FROM_SAVED);
	return facts->hidden ? "deleted" : "downloaded";
}

/* Both dates, as the message counts from only one of them. */
static void
doveadm_retention_explain_pop3_dates(string_t *str,
				     const struct retention_pop3_facts *facts)
{
	const char *sep = " (";

	if (facts->downloaded && (facts->hidden || facts->downloaded_time > 0)) {
		str_printfa(str, "%sdownloaded", sep);
		if (facts->downloaded_time > 0) {
			str_printfa(str, " %s", doveadm_retention_date(
				facts->downloaded_time));
		}
		sep = ", ";
	}
	if (facts->hidden && facts->hidden_time > 0) {
		str_printfa(str, "%shidden since %s", sep,
			    doveadm_retention_date(facts->hidden_time));
		sep = ", ";
	}
	if (*sep == ',')
		str_append_c(str, ')');
}

static const char *
doveadm_retention_explain_pop3_why(const struct retention_pop3_facts *facts,
				   const struct retention_judgement *judgement,
				   bool due)
{
	string_t *str = t_str_new(128);

	str_append(str, judgement->pop3.why);
	doveadm_retention_explain_pop3_dates(str, facts);
	switch (judgement->pop3.action) {
	case RETENTION_POP3_NOTHING:
		break;
	case RETENTION_POP3_STAMP:
		str_append(str, ": its time starts with the next run");
		break;
	case RETENTION_POP3_HIDE:
		/* no rule stands in the way of hiding */
		str_append(str, due ? "; due, and decides" : "; not yet due");
		break;
	case RETENTION_POP3_ARCHIVE:
	case RETENTION_POP3_EXPUNGE:
		if (!due)
			str_append(str, "; not yet due");
		else if (judgement->verdict.rule ==
			 retention_pop3_rule(judgement->pop3.action))
			str_append(str, "; due, and decides");
		else
			str_append(str, "; due");
		break;
	}
	return str_c(str);
}

static void
doveadm_retention_explain_pop3(const struct retention_pop3_facts *facts,
			       const struct retention_judgement *judgement,
			       time_t now)
{
	const struct retention_pop3_verdict *verdict = &judgement->pop3;
	bool nothing = verdict->action == RETENTION_POP3_NOTHING;
	bool due = !nothing && verdict->due <= now;

	doveadm_print(retention_pop3_rule(verdict->action)->name);
	doveadm_print(nothing ? "-" :
		      retention_pop3_action_name(verdict->action));
	doveadm_print(due ? "yes" : "no");
	doveadm_print(doveadm_retention_explain_pop3_from(facts,
							  verdict->base));
	doveadm_print(doveadm_retention_date(verdict->base));
	doveadm_print(doveadm_retention_date(verdict->due));
	doveadm_print(doveadm_retention_explain_pop3_why(facts, judgement,
							 due));
}

/* Returns TRUE if POP3 has done something with the message, or could. */
static bool
doveadm_retention_explain_get_pop3(const struct retention_box *rbox,
				   struct mail *mail,
				   struct retention_pop3_facts *facts_r)
{
	struct retention_pop3_reader *reader;
	bool done;

	i_zero(facts_r);
	if (rbox->pop3 == NULL)
		return FALSE;
	reader = retention_pop3_reader_init(mail->box, mail->transaction->view);
	done = retention_pop3_reader_get(reader, mail->seq, facts_r);
	retention_pop3_reader_deinit(&reader);
	return done || retention_pop3_is_set(rbox->pop3);
}

static void
doveadm_retention_explain_archive(const struct retention_rule *decides)
{
	/* not a rule of the administrator's, but acts like one */
	doveadm_print("-");
	doveadm_print(retention_action_name(RETENTION_ACTION_COMPRESS));
	doveadm_print(decides == NULL ||
		      decides->action != RETENTION_ACTION_KEEP ? "yes" : "no");
	doveadm_print("-");
	doveadm_print("-");
	doveadm_print("-");
	doveadm_print("is in an archive mailbox");
}

static int
doveadm_retention_explain_mail(const struct retention_box *rbox,
			       const struct retention_settings *set,
			       struct mail *mail, const char **error_r)
{
	const struct retention_rule *rule, *decides;
	struct retention_judgement judgement;
	struct retention_mail_facts facts;
	struct retention_pop3_facts pop3;
	time_t now = time(NULL);
	bool have_pop3;
	int ret;

	have_pop3 = doveadm_retention_explain_get_pop3(rbox, mail, &pop3);
	ret = retention_box_judge(rbox, mail, have_pop3 ? &pop3 : NULL, now,
				  &facts, &judgement, error_r);
	if (ret <= 0)
		return ret;
	decides = judgement.action == RETENTION_ACTION_NONE ? NULL :
		judgement.verdict.rule;
	array_foreach(&set->rules, rule) {
		doveadm_retention_explain_rule(rbox, rule, decides, &facts,
					       now);
	}
	if (rbox->archive)
		doveadm_retention_explain_archive(decides);
	if (have_pop3) {
		pop3.saved = facts.saved;
		doveadm_retention_explain_pop3(&pop3, &judgement, now);
	}
	return 1;
}

static int
doveadm_retention_explain_box(const struct retention_box *rbox,
			      const struct retention_settings *set,
			      uint32_t uid, const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct mailbox *box;
	struct mail *mail;
	int ret;

	ret = retention_box_open(rbox, &box, error_r);
	if (ret <= 0)
		return -1;
	t = mailbox_transaction_begin(box, 0, "retention explain");
	mail = mail_alloc(t, retention_box_wanted_fields(rbox), NULL);
	ret = 0;
	if (mail_set_uid(mail, uid))
		ret = doveadm_retention_explain_mail(rbox, set, mail, error_r);
	if (ret == 0)
		*error_r = t_strdup_printf("There is no message UID=%u", uid);
	else if (ret < 0)
		*error_r = t_strdup(*error_r);
	mail_free(&mail);
	mailbox_transaction_rollback(&t);
	mailbox_free(&box);
	return ret > 0 ? 0 : -1;
}

static int
doveadm_retention_explain_run(struct doveadm_mail_cmd_context *_ctx,
			      struct mail_user *user)
{
	struct doveadm_retention_explain *explain =
		container_of(_ctx, struct doveadm_retention_explain, ctx);
	struct retention_user *ruser = doveadm_retention_user(_ctx, user);
	const struct retention_box *rbox;
	const char *error;
	pool_t pool;
	int ret = -1;

	if (ruser == NULL)
		return -1;
	pool = pool_alloconly_create("retention explain", 4096);
	rbox = retention_box_find(user, ruser->set, explain->mailbox, pool,
				  &error);
	if (rbox != NULL) {
		ret = doveadm_retention_explain_box(rbox, ruser->set,
						    explain->uid, &error);
	}
	if (ret < 0) {
		doveadm_retention_failed(_ctx, user, t_strdup_printf(
			"Mailbox %s: %s", explain->mailbox, error));
	}
	pool_unref(&pool);
	return ret;
}

static void doveadm_retention_explain_init(RETENTION_DOVEADM_INIT_PARAMS)
{
	struct doveadm_retention_explain *explain =
		container_of(_ctx, struct doveadm_retention_explain, ctx);
	const char *uid;

	if (!doveadm_cmd_param_str(_ctx->cctx, "mailbox", &explain->mailbox) ||
	    !doveadm_cmd_param_str(_ctx->cctx, "uid", &uid) ||
	    str_to_uint32(uid, &explain->uid) < 0 || explain->uid == 0)
		doveadm_mail_help_name("retention explain");
	doveadm_print_header_simple("rule");
	doveadm_print_header_simple("action");
	doveadm_print_header("due_now", "due now", 0);
	doveadm_print_header("from", "from", 0);
	doveadm_print_header("base", "base", 0);
	doveadm_print_header("due", "due", 0);
	doveadm_print_header("why", "why", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
}

static struct doveadm_mail_cmd_context *doveadm_retention_explain_alloc(void)
{
	struct doveadm_retention_explain *explain =
		doveadm_retention_cmd_alloc(struct doveadm_retention_explain,
					    "");

	explain->ctx.v.init = doveadm_retention_explain_init;
	explain->ctx.v.run = doveadm_retention_explain_run;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	return &explain->ctx;
}

struct doveadm_cmd_ver2 doveadm_cmd_retention_explain = {
	.name = "retention explain",
	.usage = DOVEADM_CMD_MAIL_USAGE_PREFIX "<mailbox> <uid>",
	.mail_cmd = doveadm_retention_explain_alloc,
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_MAIL_COMMON
DOVEADM_CMD_PARAM('\0', "mailbox", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAM('\0', "uid", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
};
