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
	bool exact;
	struct retention_plan *plan;
};

static void
retention_plan_tally(struct retention_plan *plan,
		     const struct retention_rule *rule,
		     enum retention_action action, uoff_t size)
{
	struct retention_plan_tally *tally, *found = NULL;

	array_foreach_modifiable(&plan->tallies, tally) {
		if (tally->rule == rule && tally->action == action)
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
			enum retention_action action,
			const struct retention_rule *rule,
			const struct retention_mail_facts *facts,
			const char **error_r)
{
	struct retention_move_item item = { .uid = mail->uid, .rule = rule };
	struct retention_plan_target *target;
	struct mail_namespace *ns;
	const char *vname;

	if (mail_get_virtual_size(mail, &item.size) < 0)
		return retention_plan_mail_failed(mail, error_r);
	if (action == RETENTION_ACTION_EXPUNGE)
		array_push_back(&ctx->plan->expunge, &item);
	else {
		vname = retention_box_get_target(ctx->rbox, ctx->set, rule,
						 facts, &ns);
		target = retention_plan_get_target(ctx->plan, ns, vname);
		array_push_back(&target->items, &item);
		ctx->plan->archive_count++;
	}
	retention_plan_tally(ctx->plan, rule, action, item.size);
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
	if (ctx->exact && ctx->driver != NULL) {
		ret = ctx->driver->look(mail, &stored, error_r);
		if (ret <= 0)
			return ret;
		if (stored.state != RETENTION_RECORD_UNKNOWN)
			return 1;
		if (mail_get_virtual_size(mail, &size) < 0)
			return retention_plan_mail_failed(mail, error_r);
	}
	array_push_back(&ctx->plan->compress, &item);
	retention_plan_tally(ctx->plan, rule, RETENTION_ACTION_COMPRESS, size);
	return 1;
}

static void retention_plan_set_quiet(struct retention_plan *plan, time_t until)
{
	if (until < (time_t)plan->next.until)
		plan->next.until = until;
}

/* Returns 1 if the message was judged, 0 if it is gone, -1 on error. */
static int
retention_plan_add(struct retention_plan_context *ctx, struct mail *mail,
		   const char **error_r)
{
	const struct retention_rule *const *rules;
	struct retention_rule_verdict verdict;
	struct retention_mail_facts facts;
	enum retention_action action;
	unsigned int count;
	int ret;

	ret = retention_box_get_facts(ctx->rbox, mail, &facts, error_r);
	if (ret <= 0)
		return ret;
	rules = array_get(&ctx->rbox->rules, &count);
	action = retention_rules_judge(rules, count, &facts, ctx->now,
				       &verdict);
	retention_plan_set_quiet(ctx->plan,
		retention_rules_quiet_until(rules, count, &facts, ctx->now));
	switch (action) {
	case RETENTION_ACTION_KEEP:
		return 1;
	case RETENTION_ACTION_EXPUNGE:
	case RETENTION_ACTION_ARCHIVE:
		return retention_plan_add_move(ctx, mail, action, verdict.rule,
					       &facts, error_r);
	case RETENTION_ACTION_COMPRESS:
		return retention_plan_add_compress(ctx, mail, verdict.rule,
						   error_r);
	case RETENTION_ACTION_NONE:
		if (!ctx->rbox->archive)
			return 1;
		return retention_plan_add_compress(ctx, mail, NULL, error_r);
	}
	i_unreached();
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
	p_array_init(&plan->tallies, pool, 4);
	return plan;
}

int retention_plan_make(const struct retention_box *rbox, struct mailbox *box,
			const struct retention_settings *set, time_t now,
			bool exact, pool_t pool, struct retention_plan **plan_r,
			const char **error_r)
{
	struct retention_plan *plan = retention_plan_alloc(pool);
	struct retention_plan_context ctx = {
		.rbox = rbox, .set = set, .now = now, .exact = exact,
		.driver = retention_driver_find(box->storage), .plan = plan,
	};
	struct mailbox_transaction_context *t;
	struct mailbox_status status;
	struct mail *mail;
	uint32_t seq;
	int ret = 0;

	mailbox_get_open_status(box, STATUS_MESSAGES | STATUS_UIDNEXT, &status);
	plan->messages = status.messages;
	*plan_r = plan;
	seq = retention_plan_begin(&ctx, box, &status);
	if (seq > status.messages) {
		plan->quiet = TRUE;
		return 0;
	}

	t = mailbox_transaction_begin(box, 0, "retention: plan");
	mail = mail_alloc(t, retention_box_wanted_fields(rbox), NULL);
	for (; seq <= status.messages && ret >= 0; seq++) T_BEGIN {
		mail_set_seq(mail, seq);
		ret = retention_plan_add(&ctx, mail, error_r);
	} T_END_PASS_STR_IF(ret < 0, error_r);
	mail_free(&mail);
	if (mailbox_transaction_commit(&t) < 0 && ret >= 0) {
		*error_r = retention_box_error(box);
		ret = -1;
	}
	plan->quiet = array_is_empty(&plan->tallies);
	return ret < 0 ? -1 : 0;
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
