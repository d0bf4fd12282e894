/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "retention-settings.h"
#include "retention-plan.h"

struct retention_plan_context {
	const struct retention_box *rbox;
	const struct retention_settings *set;
	const struct retention_driver *driver;
	time_t now;
	enum retention_plan_flags flags;
	/* NULL if all messages are to be judged. */
	bool (*stop)(void *context);
	void *context;
	/* NULL if POP3 has nothing to do in the mailbox. */
	struct retention_pop3_reader *pop3;
	struct retention_plan *plan;
};

static void
retention_plan_tally(struct retention_plan *plan,
		     const struct retention_rule *rule, const char *action,
		     uoff_t size)
{
	struct retention_plan_tally *tally, *found = NULL;

	array_foreach_modifiable(&plan->tallies, tally) {
		if (tally->rule == rule && strcmp(tally->action, action) == 0)
			found = tally;
	}
	if (found == NULL) {
		found = array_append_space(&plan->tallies);
		found->rule = rule;
		found->action = action;
	}
	found->messages++;
	found->bytes += size;
}

static struct retention_plan_target *
retention_plan_get_target(struct retention_plan *plan,
			  struct mail_namespace *ns, const char *vname)
{
	struct retention_plan_target *target;

	array_foreach_elem(&plan->targets, target) {
		if (strcmp(target->vname, vname) == 0)
			return target;
	}
	target = p_new(plan->pool, struct retention_plan_target, 1);
	target->ns = ns;
	target->vname = p_strdup(plan->pool, vname);
	p_array_init(&target->items, plan->pool, 64);
	array_push_back(&plan->targets, &target);
	return target;
}

static int retention_plan_mail_failed(struct mail *mail, const char **error_r)
{
	if (mail->expunged)
		return 0;
	*error_r = t_strdup_printf("UID=%u: %s", mail->uid,
		mailbox_get_last_internal_error(mail->box, NULL));
	return -1;
}

static int
retention_plan_add_move(struct retention_plan_context *ctx, struct mail *mail,
			const struct retention_judgement *judgement,
			const struct retention_mail_facts *facts,
			const char **error_r)
{
	const struct retention_rule *rule = judgement->verdict.rule;
	struct retention_move_item item = {
		.uid = mail->uid, .rule = rule, .date = judgement->verdict.base,
	};
	struct retention_plan_target *target;
	struct mail_namespace *ns;
	const char *vname;

	if (mail_get_virtual_size(mail, &item.size) < 0)
		return retention_plan_mail_failed(mail, error_r);
	if (rule != retention_pop3_rule(judgement->pop3.action))
		ctx->plan->ruled_count++;
	if (judgement->action == RETENTION_ACTION_EXPUNGE)
		array_push_back(&ctx->plan->expunge, &item);
	else {
		vname = retention_box_get_target(ctx->rbox, ctx->set, rule,
						 facts, &ns);
		target = retention_plan_get_target(ctx->plan, ns, vname);
		array_push_back(&target->items, &item);
	}
	retention_plan_tally(ctx->plan, rule,
			     retention_action_name(judgement->action),
			     item.size);
	return 1;
}

static int
retention_plan_add_compress(struct retention_plan_context *ctx,
			    struct mail *mail,
			    const struct retention_rule *rule,
			    const char **error_r)
{
	struct retention_compress_item item = {
		.uid = mail->uid, .rule = rule
	};
	struct retention_stored stored;
	struct retention_record rec;
	uoff_t size = 0;
	int ret;

	retention_record_get(mail, &rec);
	if (rec.state != RETENTION_RECORD_UNKNOWN)
		return 1;
	if ((ctx->flags & RETENTION_PLAN_FLAG_EXACT) != 0 &&
	    ctx->driver != NULL) {
		ret = ctx->driver->look(mail, &stored, error_r);
		if (ret <= 0)
			return ret;
		if (stored.state != RETENTION_RECORD_UNKNOWN)
			return 1;
		if (mail_get_virtual_size(mail, &size) < 0)
			return retention_plan_mail_failed(mail, error_r);
	}
	array_push_back(&ctx->plan->compress, &item);
	retention_plan_tally(ctx->plan, rule,
			     retention_action_name(RETENTION_ACTION_COMPRESS),
			     size);
	return 1;
}

/* POP3 hides the message, or its clock starts. */
static int
retention_plan_add_pop3(struct retention_plan_context *ctx, struct mail *mail,
			const struct retention_pop3_facts *facts,
			const struct retention_pop3_verdict *verdict,
			const char **error_r)
{
	struct retention_pop3_change change = { .uid = mail->uid };
	uoff_t size;

	if (verdict->action == RETENTION_POP3_HIDE && verdict->due <= ctx->now) {
		if (mail_get_virtual_size(mail, &size) < 0)
			return retention_plan_mail_failed(mail, error_r);
		change.hidden_time = verdict->due;
		array_push_back(&ctx->plan->hide, &change);
		retention_plan_tally(ctx->plan,
			retention_pop3_rule(verdict->action),
			retention_pop3_action_name(verdict->action), size);
	} else if (verdict->action == RETENTION_POP3_STAMP) {
		if (facts->hidden)
			change.hidden_time = ctx->now;
		else
			change.downloaded_time = ctx->now;
		array_push_back(&ctx->plan->stamp, &change);
	}
	return 1;
}

static void retention_plan_set_quiet(struct retention_plan *plan, time_t until)
{
	if (until < (time_t)plan->next.until)
		plan->next.until = until;
}

static int
retention_plan_add_judged(struct retention_plan_context *ctx,
			  struct mail *mail,
			  const struct retention_judgement *judgement,
			  const struct retention_mail_facts *facts,
			  const char **error_r)
{
	bool pop3_only = (ctx->flags & RETENTION_PLAN_FLAG_POP3_ONLY) != 0;

	switch (judgement->action) {
	case RETENTION_ACTION_KEEP:
		return 1;
	case RETENTION_ACTION_EXPUNGE:
	case RETENTION_ACTION_ARCHIVE:
		return retention_plan_add_move(ctx, mail, judgement, facts,
					       error_r);
	case RETENTION_ACTION_COMPRESS:
		if (pop3_only)
			return 1;
		return retention_plan_add_compress(ctx, mail,
			judgement->verdict.rule, error_r);
	case RETENTION_ACTION_NONE:
		if (pop3_only || !ctx->rbox->archive)
			return 1;
		return retention_plan_add_compress(ctx, mail, NULL, error_r);
	}
	i_unreached();
}

/* pop3 is NULL if POP3 has nothing to do with the message now. Returns 1 if the
   message was judged, 0 if it is gone, -1 on error. */
static int
retention_plan_add(struct retention_plan_context *ctx, struct mail *mail,
		   const struct retention_pop3_facts *pop3,
		   const char **error_r)
{
	const struct retention_rule *const *rules;
	struct retention_judgement judgement;
	struct retention_mail_facts facts;
	unsigned int count;
	int ret;

	ret = retention_box_judge(ctx->rbox, mail, pop3, ctx->now, &facts,
				  &judgement, error_r);
	if (ret <= 0)
		return ret;
	rules = array_get(&ctx->rbox->rules, &count);
	retention_plan_set_quiet(ctx->plan,
		retention_rules_quiet_until(rules, count, &facts, ctx->now));
	ret = retention_plan_add_judged(ctx, mail, &judgement, &facts,
					error_r);
	if (ret <= 0 || pop3 == NULL ||
	    judgement.action == RETENTION_ACTION_ARCHIVE ||
	    judgement.action == RETENTION_ACTION_EXPUNGE)
		return ret;
	return retention_plan_add_pop3(ctx, mail, pop3, &judgement.pop3,
				       error_r);
}

/* Whether POP3 may have something to do with the message now. It is asked for
   each message in each run, so no more is looked at than the index. */
static bool
retention_plan_ask_pop3(struct retention_plan_context *ctx, uint32_t seq,
			struct retention_pop3_facts *facts_r)
{
	struct retention_pop3_verdict verdict;

	if (ctx->pop3 == NULL ||
	    !retention_pop3_reader_get(ctx->pop3, seq, facts_r))
		return FALSE;
	/* without the saved date it may be due too soon, but never too late */
	retention_pop3_judge(ctx->rbox->pop3, facts_r, ctx->now, &verdict);
	return verdict.action != RETENTION_POP3_NOTHING &&
		verdict.due <= ctx->now;
}

/* Returns the first message that a former run has not found to have nothing to
   do, and sets what that run knew. */
static uint32_t
retention_plan_begin(struct retention_plan_context *ctx, struct mailbox *box,
		     const struct mailbox_status *status)
{
	const struct retention_rule *const *rules;
	struct retention_quiet *next = &ctx->plan->next, last;
	unsigned int count;
	uint32_t seq1, seq2;

	rules = array_get(&ctx->rbox->rules, &count);
	next->rules_hash = retention_rules_hash(rules, count) ^
		(ctx->rbox->archive ? 1 : 0);
	next->uidnext = status->uidnext;
	next->until = UINT32_MAX;

	retention_record_get_quiet(box, &last);
	if (last.rules_hash != next->rules_hash ||
	    (time_t)last.until <= ctx->now)
		return 1;
	next->until = last.until;
	mailbox_get_seq_range(box, last.uidnext, (uint32_t)-1, &seq1, &seq2);
	return seq1 == 0 ? status->messages + 1 : seq1;
}

static struct retention_plan *retention_plan_alloc(pool_t pool)
{
	struct retention_plan *plan = p_new(pool, struct retention_plan, 1);

	plan->pool = pool;
	p_array_init(&plan->expunge, pool, 16);
	p_array_init(&plan->targets, pool, 4);
	p_array_init(&plan->compress, pool, 16);
	p_array_init(&plan->hide, pool, 16);
	p_array_init(&plan->stamp, pool, 16);
	p_array_init(&plan->tallies, pool, 4);
	return plan;
}

/* Judge the messages from first_seq on, and before them those for which POP3 has
   something to do. */
static int
retention_plan_add_all(struct retention_plan_context *ctx,
		       struct mailbox_transaction_context *t,
		       uint32_t first_seq, const char **error_r)
{
	struct retention_pop3_facts facts;
	struct mail *mail;
	uint32_t seq = ctx->pop3 != NULL ? 1 : first_seq;
	bool pop3;
	int ret = 0;

	mail = mail_alloc(t, retention_box_wanted_fields(ctx->rbox), NULL);
	for (; seq <= ctx->plan->messages && ret >= 0; seq++) {
		if (ctx->stop != NULL && ctx->stop(ctx->context)) {
			ctx->plan->stopped = TRUE;
			break;
		}
		pop3 = retention_plan_ask_pop3(ctx, seq, &facts);
		if (!pop3 && seq < first_seq)
			continue;
		T_BEGIN {
			mail_set_seq(mail, seq);
			ret = retention_plan_add(ctx, mail,
						 pop3 ? &facts : NULL,
						 error_r);
		} T_END_PASS_STR_IF(ret < 0, error_r);
	}
	mail_free(&mail);
	return ret;
}

static int
retention_plan_make_all(struct retention_plan_context *ctx,
			struct mailbox *box, const char **error_r)
{
	struct retention_plan *plan = ctx->plan;
	struct mailbox_transaction_context *t;
	struct mailbox_status status;
	bool pop3 = ctx->rbox->pop3 != NULL &&
		retention_pop3_is_timed(ctx->rbox->pop3);
	uint32_t first_seq;
	int ret;

	mailbox_get_open_status(box, STATUS_MESSAGES | STATUS_UIDNEXT, &status);
	plan->messages = status.messages;
	first_seq = retention_plan_begin(ctx, box, &status);
	if ((ctx->flags & RETENTION_PLAN_FLAG_POP3_ONLY) != 0)
		first_seq = status.messages + 1;
	if (first_seq > status.messages && !pop3) {
		plan->quiet = TRUE;
		return 0;
	}

	t = mailbox_transaction_begin(box, 0, "retention: plan");
	if (pop3)
		ctx->pop3 = retention_pop3_reader_init(box, t->view);
	ret = retention_plan_add_all(ctx, t, first_seq, error_r);
	retention_pop3_reader_deinit(&ctx->pop3);
	if (mailbox_transaction_commit(&t) < 0 && ret >= 0) {
		*error_r = retention_box_error(box);
		ret = -1;
	}
	plan->quiet = array_is_empty(&plan->tallies) &&
		array_is_empty(&plan->stamp) && !plan->stopped;
	return ret < 0 ? -1 : 0;
}

int retention_plan_make(const struct retention_box *rbox, struct mailbox *box,
			const struct retention_settings *set, time_t now,
			enum retention_plan_flags flags, pool_t pool,
			struct retention_plan **plan_r, const char **error_r)
{
	struct retention_plan_context ctx = {
		.rbox = rbox, .set = set, .now = now, .flags = flags,
		.driver = retention_driver_find(box->storage),
		.plan = retention_plan_alloc(pool),
	};

	*plan_r = ctx.plan;
	return retention_plan_make_all(&ctx, box, error_r);
}

int retention_plan_make_quickly(const struct retention_box *rbox,
				struct mailbox *box,
				const struct retention_settings *set,
				time_t now, bool (*stop)(void *context),
				void *context, pool_t pool,
				struct retention_plan **plan_r,
				const char **error_r)
{
	struct retention_plan_context ctx = {
		.rbox = rbox, .set = set, .now = now,
		.stop = stop, .context = context,
		.driver = retention_driver_find(box->storage),
		.plan = retention_plan_alloc(pool),
	};

	*plan_r = ctx.plan;
	return retention_plan_make_all(&ctx, box, error_r);
}

int retention_plan_remember(struct mailbox *box,
			    const struct retention_plan *plan)
{
	struct mailbox_transaction_context *t;
	struct retention_quiet last;

	retention_record_get_quiet(box, &last);
	if (memcmp(&last, &plan->next, sizeof(last)) == 0)
		return 0;
	t = mailbox_transaction_begin(box, MAILBOX_TRANSACTION_FLAG_EXTERNAL,
				      "retention: nothing to do");
	retention_record_set_quiet(t, &plan->next);
	return mailbox_transaction_commit(&t);
}
