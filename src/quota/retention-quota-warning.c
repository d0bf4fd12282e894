/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Levels are looked at when a session ends, not when a message is saved: a
   notice can't be saved while another message is. So it does not matter either
   what has changed, the usage, the limit, or how things are counted. */

#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "retention-notice.h"
#include "retention-user.h"
#include "retention-quota.h"
#include "retention-quota-notice.h"
#include "retention-quota-scope.h"
#include "retention-quota-state.h"
#include "retention-quota-warning.h"

#include <time.h>

static unsigned int retention_quota_permille(uint64_t usage, uint64_t limit)
{
	if (limit == 0)
		return 0;
	return usage / 4 >= limit ? 4000 : (double)usage * 1000 / limit;
}

static struct mailbox *retention_quota_warning_box(struct mail_user *user)
{
	struct mail_namespace *ns =
		mail_namespace_find_inbox(user->namespaces);

	return mailbox_alloc(ns->list, "INBOX", MAILBOX_FLAG_READONLY);
}

/* Returns 1 with the permille of the limit that is closer, 0 if the root has no
   limit, -1 with error_r. */
static int
retention_quota_warning_look(struct quota_root *root,
			     struct retention_notice *notice_r,
			     unsigned int *permille_r, const char **error_r)
{
	struct retention_quota_scope scope;
	struct retention_quota_usage usage;
	struct mailbox *box = NULL;
	int ret;

	retention_quota_scope_get(root, &scope);
	if (scope.live) {
		/* limits may differ from mailbox to mailbox; this is where
		   mail comes in */
		box = retention_quota_warning_box(root->quota->user);
	}
	i_zero(notice_r);
	notice_r->user = root->quota->user->username;
	notice_r->root = retention_quota_root_name(root);
	ret = retention_quota_root_limits(root, box, &notice_r->limit,
					  &notice_r->messages_limit, error_r);
	if (box != NULL)
		mailbox_free(&box);
	if (ret < 0 || retention_quota_get_usage(root, &usage, error_r) !=
	    QUOTA_GET_RESULT_LIMITED)
		return -1;
	notice_r->usage = usage.bytes;
	notice_r->messages = usage.messages;
	notice_r->archive = usage.archive_bytes;
	*permille_r = I_MAX(
		retention_quota_permille(usage.bytes, notice_r->limit),
		retention_quota_permille(usage.messages,
					 notice_r->messages_limit));
	notice_r->percent = *permille_r / 10;
	return notice_r->limit == 0 && notice_r->messages_limit == 0 ? 0 : 1;
}

/* Send a notice if one is due, or only say so. Returns 1 if the state has
   changed, 0 if not, -1 with error_r. */
static int
retention_quota_warn_root(struct quota_root *root,
			  const struct retention_quota_settings *set,
			  struct retention_quota_state *state, bool send,
			  const char **error_r)
{
	struct mail_user *user = root->quota->user;
	struct retention_quota_state old = *state;
	struct retention_notice notice;
	unsigned int permille;
	int ret;

	ret = retention_quota_warning_look(root, &notice, &permille, error_r);
	if (ret < 0)
		return -1;
	notice.warning = retention_warning_judge(set, permille, time(NULL),
						 &state->warning);
	if (notice.warning != RETENTION_WARNING_NONE && send) {
		ret = retention_quota_notice_send(user, &notice, state,
						  error_r);
		if (ret <= 0) {
			*state = old;
			return ret;
		}
		e_info(retention_user_get(user)->event,
		       "quota notice: root=%s, percent=%u, level=%u",
		       notice.root, notice.percent, state->warning.level);
	}
	return memcmp(&old, state, sizeof(old)) != 0 ? 1 : 0;
}

/* Returns 1 if something is to be remembered, 0 if not, -1 with error_r. */
static int
retention_quota_warn_roots(struct mail_user *user, pool_t pool, bool send,
			   const char **error_r)
{
	const struct retention_quota_settings *set =
		&retention_user_get(user)->set->quota;
	struct quota *quota = quota_get_mail_user_quota(user);
	ARRAY_TYPE(retention_quota_state) states;
	struct quota_root *const *rootp;
	bool changed = FALSE;
	int ret = 0;

	if (retention_quota_state_read(user, pool, &states, error_r) < 0)
		return -1;
	array_foreach(retention_quota_get_roots(quota), rootp) {
		if (retention_quota_root_get(*rootp) == NULL || ret < 0)
			continue;
		ret = retention_quota_warn_root(*rootp, set,
			retention_quota_state_get(&states,
				retention_quota_root_name(*rootp)),
			send, error_r);
		if (ret > 0)
			changed = TRUE;
	}
	/* What was sent is remembered, also if another root has failed. */
	if (changed && send &&
	    retention_quota_state_write(user, &states, error_r) < 0)
		ret = -1;
	return ret < 0 ? -1 : changed ? 1 : 0;
}

/* Mostly there is nothing to tell, which is found out without a lock. Returns
   0, or -1 with error_r. */
static int retention_quota_warn_locked(struct mail_user *user, pool_t pool,
				       const char **error_r)
{
	struct quota *quota = quota_get_mail_user_quota(user);
	struct file_lock *lock;
	int ret;

	retention_quota_forget_usage(quota);
	ret = retention_quota_warn_roots(user, pool, FALSE, error_r);
	if (ret <= 0)
		return ret;
	ret = retention_quota_state_lock(user, &lock, error_r);
	if (ret <= 0)
		return ret;
	/* another session may just have told of it, or used more */
	retention_quota_forget_usage(quota);
	ret = retention_quota_warn_roots(user, pool, TRUE, error_r);
	file_lock_free(&lock);
	return ret < 0 ? -1 : 0;
}

void retention_quota_warn(struct mail_user *user)
{
	struct retention_user *ruser = retention_user_get(user);
	const char *error;
	pool_t pool;

	if (ruser->set->quota.levels_count == 0)
		return;
	pool = pool_alloconly_create("retention quota warning", 1024);
	if (retention_quota_warn_locked(user, pool, &error) < 0) {
		e_error(ruser->event, "Warning about the quota failed: %s",
			error);
	}
	pool_unref(&pool);
}
