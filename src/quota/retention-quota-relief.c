/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-user.h"
#include "time-util.h"
#include "retention-run.h"
#include "retention-user.h"
#include "retention-quota.h"
#include "retention-quota-pause.h"
#include "retention-quota-scope.h"
#include "retention-quota-relief.h"

struct retention_quota_relief {
	struct quota_transaction_context *ctx;
	const struct retention_quota_settings *set;
	uoff_t size;
	/* When it ends, and when looking for messages does: after half of the
	   time that there was when it began. */
	struct timeval deadline, look_deadline;
	bool timed_out;
	/* The root that was missing most at first, and its limit and usage in
	   bytes. */
	struct quota_root *root;
	uint64_t limit, usage;
	uint64_t message_limit, message_usage;
	/* Some root that misses bytes counts archived mail by its stored
	   size. */
	bool compress;
	/* root is chosen. */
	bool begun;
};

static uint64_t
retention_quota_missing(uint64_t usage, uint64_t more, uint64_t limit,
			unsigned int target)
{
	uint64_t wanted = limit / 100 * target + limit % 100 * target / 100;

	if (limit == 0 || usage + more <= wanted)
		return 0;
	return usage + more - wanted;
}

/* What the transaction adds to what is counted. */
static uint64_t retention_quota_added(int64_t used)
{
	return used < 0 ? 0 : used;
}

/* What is missing in the root, as far as archiving can help. */
static void
retention_quota_root_need(struct retention_quota_relief *relief,
			  struct quota_root *root,
			  struct retention_relief_need *need)
{
	struct quota_transaction_context *ctx = relief->ctx;
	struct retention_quota_scope scope;
	struct retention_quota_usage usage;
	uint64_t bytes_limit, messages_limit, bytes;
	unsigned int target = relief->set->relief_target;
	const char *error;

	retention_quota_scope_get(root, &scope);
	if (!scope.live || scope.archive == RETENTION_QUOTA_COUNTS_SIZE ||
	    retention_quota_root_limits(root, ctx->box, &bytes_limit,
					&messages_limit, &error) < 0 ||
	    retention_quota_get_usage(root, &usage, &error) !=
	    QUOTA_GET_RESULT_LIMITED)
		return;
	bytes = retention_quota_missing(usage.bytes, relief->size +
		retention_quota_added(ctx->bytes_used), bytes_limit, target);
	if (relief->begun ? root == relief->root :
	    relief->root == NULL || bytes > need->bytes) {
		relief->root = root;
		relief->limit = bytes_limit;
		relief->usage = usage.bytes;
		relief->message_limit = messages_limit;
		relief->message_usage = usage.messages;
	}
	need->bytes = I_MAX(need->bytes, bytes);
	if (scope.archive == RETENTION_QUOTA_COUNTS_STORED) {
		/* messages count there as before */
		if (bytes > 0)
			relief->compress = TRUE;
		return;
	}
	need->messages = I_MAX(need->messages,
		retention_quota_missing(usage.messages, 1 +
			retention_quota_added(ctx->count_used),
			messages_limit, target));
}

static bool
retention_quota_relief_need(void *context, struct retention_relief_need *need_r)
{
	struct retention_quota_relief *relief = context;
	struct quota_root *const *rootp;

	i_zero(need_r);
	retention_quota_forget_usage(relief->ctx->quota);
	array_foreach(retention_quota_get_roots(relief->ctx->quota), rootp) {
		if (retention_quota_root_get(*rootp) != NULL &&
		    retention_quota_root_enforces(*rootp) &&
		    retention_quota_root_is_visible(*rootp, relief->ctx->box))
			retention_quota_root_need(relief, *rootp, need_r);
	}
	return need_r->bytes > 0 || need_r->messages > 0;
}

/* The same in the midst of it. Another process may have found out meanwhile, while
   we waited for it, that nothing can be done. */
static bool
retention_quota_relief_ask(void *context, struct retention_relief_need *need_r)
{
	struct retention_quota_relief *relief = context;

	return retention_quota_relief_need(relief, need_r) &&
		!retention_quota_pause_is_on(relief->ctx->quota);
}

static bool retention_quota_relief_stop(void *context)
{
	struct retention_quota_relief *relief = context;
	struct timeval now;

	i_gettimeofday(&now);
	if (timeval_cmp(&now, &relief->deadline) < 0)
		return FALSE;
	relief->timed_out = TRUE;
	return TRUE;
}

static bool retention_quota_relief_stop_look(void *context)
{
	struct retention_quota_relief *relief = context;
	struct timeval now;
	int left;

	i_gettimeofday(&now);
	if (relief->look_deadline.tv_sec == 0) {
		left = timeval_diff_msecs(&relief->deadline, &now);
		relief->look_deadline = now;
		timeval_add_msecs(&relief->look_deadline, I_MAX(left, 0) / 2);
	}
	if (timeval_cmp(&now, &relief->look_deadline) < 0)
		return FALSE;
	relief->timed_out = TRUE;
	return TRUE;
}

static void retention_quota_relief_give_up(void *context)
{
	struct retention_quota_relief *relief = context;
	struct quota *quota = relief->ctx->quota;
	const char *error;

	if (retention_quota_pause_begin(quota, &error) < 0) {
		e_error(retention_user_get(quota->user)->event,
			"Remembering that no room can be made failed: %s",
			error);
	}
}

/* One line for the administrator, and one event. */
static void
retention_quota_relief_log(struct retention_quota_relief *relief,
			   const struct retention_run_stats *stats,
			   uint64_t usage_before, uint64_t messages_before)
{
	const struct retention_user *ruser =
		retention_user_get(relief->ctx->quota->user);
	uint64_t freed = usage_before > relief->usage ?
		usage_before - relief->usage : 0;
	struct event_passthrough *e;

	e = event_create_passthrough(ruser->event)->
		set_name("retention_quota_relieved")->
		add_str("quota", retention_quota_root_name(relief->root))->
		add_int("archived", stats->archived)->
		add_int("compressed", stats->compressed)->
		add_int("freed", freed)->
		add_int("usage", relief->usage)->
		add_int("limit", relief->limit);
	e_info(e->event(), "relief: root=%s, freed=%"PRIu64", "
	       "usage=%"PRIu64", limit=%"PRIu64", messages=%"PRIu64" of %"
	       PRIu64" (before %"PRIu64"), archived=%u, compressed=%u, "
	       "errors=%u%s", retention_quota_root_name(relief->root), freed,
	       relief->usage, relief->limit, relief->message_usage,
	       relief->message_limit, messages_before, stats->archived,
	       stats->compressed, stats->errors,
	       relief->timed_out ? ", stopped by retention_quota_relief_time" :
	       "");
}

static int
retention_quota_relief_run(struct retention_quota_relief *relief,
			   struct retention_run_stats *stats_r)
{
	struct mail_user *user = relief->ctx->quota->user;
	struct retention_relief run_relief = {
		.need = retention_quota_relief_ask,
		.stop_look = retention_quota_relief_stop_look,
		.give_up = retention_quota_relief_give_up,
		.compress = relief->compress,
	};
	struct retention_run_options options = {
		.stop = retention_quota_relief_stop,
		.relief = &run_relief,
		.context = relief,
	};
	unsigned int msecs = I_MIN(relief->set->relief_time, 60 * 60) * 1000;
	const char *error;
	int ret;

	i_gettimeofday(&relief->deadline);
	timeval_add_msecs(&relief->deadline, msecs);
	relief->begun = TRUE;
	ret = retention_run(user, &options, stats_r, &error);
	if (ret < 0) {
		e_error(retention_user_get(user)->event,
			"Making room failed: %s", error);
	}
	return ret;
}

bool retention_quota_relieve(struct quota_transaction_context *ctx,
			     uoff_t size)
{
	struct retention_quota_relief relief = { .ctx = ctx, .size = size };
	struct retention_relief_need before, after;
	struct retention_run_stats stats;
	uint64_t usage, messages;

	relief.set = &retention_user_get(ctx->quota->user)->set->quota;
	/* If nothing is missing any more, another process makes room just
	   now. */
	if (!retention_quota_relief_need(&relief, &before))
		return relief.root != NULL;
	if (retention_quota_pause_is_on(ctx->quota)) {
		e_debug(retention_user_get(ctx->quota->user)->event,
			"No room is made: it was of no use a while ago");
		return FALSE;
	}
	usage = relief.usage;
	messages = relief.message_usage;
	if (retention_quota_relief_run(&relief, &stats) < 0)
		return FALSE;
	(void)retention_quota_relief_need(&relief, &after);
	if (stats.archived > 0 || stats.compressed > 0 || stats.errors > 0)
		retention_quota_relief_log(&relief, &stats, usage, messages);
	return after.bytes < before.bytes || after.messages < before.messages;
}
