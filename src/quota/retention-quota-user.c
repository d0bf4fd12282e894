/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list-private.h"
#include "module-context.h"
#include "retention-quota.h"
#include "retention-quota-relief.h"
#include "retention-quota-scope.h"
#include "retention-quota-warning.h"
#include "retention-quota-user.h"

struct retention_quota_user {
	union mail_user_module_context module_ctx;
	/* The test_alloc() that was there before ours. */
	retention_quota_alloc_t *next_alloc;
	/* That the usage can't be told was logged. */
	bool error_logged;
	/* Room is being made. */
	bool relieving;
	/* A notice about the quota is being saved. */
	bool warning;
};

struct retention_quota_mailbox {
	union mailbox_module_context module_ctx;
};

static MODULE_CONTEXT_DEFINE_INIT(retention_quota_user_module,
				  &mail_user_module_register);
static MODULE_CONTEXT_DEFINE_INIT(retention_quota_storage_module,
				  &mail_storage_module_register);
#define RETENTION_QUOTA_USER_CONTEXT(obj) \
	MODULE_CONTEXT(obj, retention_quota_user_module)
#define RETENTION_QUOTA_BOX_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, retention_quota_storage_module)

/* Returns TRUE if the root counts mailboxes of the namespace at all. */
static bool
retention_quota_root_has_namespace(struct quota_root *root,
				   struct mail_namespace *ns)
{
	ARRAY_TYPE(retention_quota_ns) namespaces;
	struct mail_namespace *other;

	t_array_init(&namespaces, 4);
	retention_quota_root_namespaces(root, &namespaces);
	array_foreach_elem(&namespaces, other) {
		if (other == ns)
			return TRUE;
	}
	return FALSE;
}

static enum retention_quota_counts
retention_quota_counts(struct mail_user *user, struct mail_namespace *ns,
		       const char *vname)
{
	struct quota *quota = quota_get_mail_user_quota(user);
	enum retention_quota_counts counts;
	struct quota_root *const *rootp;
	const char *error;

	array_foreach(retention_quota_get_roots(quota), rootp) {
		if (retention_quota_root_get(*rootp) == NULL ||
		    !retention_quota_root_has_namespace(*rootp, ns))
			continue;
		counts = retention_quota_scope_counts(*rootp, ns, vname);
		if (counts != RETENTION_QUOTA_COUNTS_NOT &&
		    retention_quota_ignores(*rootp, ns, vname, &error) == 0)
			return counts;
	}
	return RETENTION_QUOTA_COUNTS_NOT;
}

/* Nobody waits for a service that works behind the scenes, and it has no
   business in INBOX. doveadm may have changed what is counted. */
static bool retention_quota_service_warns(const char *service)
{
	static const char *const services[] = {
		"imap", "pop3", "lmtp", "lda", "doveadm", NULL
	};

	return service != NULL && str_array_find(services, service);
}

static void retention_quota_user_deinit_pre(struct mail_user *user)
{
	struct retention_quota_user *quser =
		RETENTION_QUOTA_USER_CONTEXT(user);

	if (retention_quota_service_warns(user->service) && !user->dsyncing &&
	    user->namespaces != NULL && quser->next_alloc != NULL) {
		quser->warning = TRUE;
		T_BEGIN {
			retention_quota_warn(user);
		} T_END;
		quser->warning = FALSE;
	}
	quser->module_ctx.super.deinit_pre(user);
}

/* Returns TRUE if the user has a root of ours. With a name, it must have it;
   names_r are those that there are. */
static bool
retention_quota_has_root(struct quota *quota, const char *name,
			 const char **names_r)
{
	struct quota_root *const *rootp;
	bool found = FALSE;

	*names_r = "";
	array_foreach(retention_quota_get_roots(quota), rootp) {
		if (retention_quota_root_get(*rootp) == NULL)
			continue;
		*names_r = t_strconcat(*names_r,
			**names_r == '\0' ? "" : ", ",
			retention_quota_root_name(*rootp), NULL);
		if (name == NULL ||
		    strcmp(name, retention_quota_root_name(*rootp)) == 0)
			found = TRUE;
	}
	return found;
}

void retention_quota_user_created(struct mail_user *user)
{
	struct mail_user_vfuncs *v = user->vlast;
	struct retention_quota_user *quser;

	if (retention_user_get(user) == NULL || user->error != NULL ||
	    quota_get_mail_user_quota(user) == NULL)
		return;
	quser = p_new(user->pool, struct retention_quota_user, 1);
	quser->module_ctx.super = *v;
	user->vlast = &quser->module_ctx.super;
	v->deinit_pre = retention_quota_user_deinit_pre;
	MODULE_CONTEXT_SET(user, retention_quota_user_module, quser);
}

/* Returns TRUE if the root counts messages in the mailbox. */
static bool
retention_quota_root_counts(struct quota_root *root, struct mailbox *box)
{
	const char *error, *vname = mailbox_get_vname(box);

	return retention_quota_root_is_visible(root, box) &&
		retention_quota_scope_counts(root, box->list->ns, vname) !=
		RETENTION_QUOTA_COUNTS_NOT &&
		retention_quota_ignores(root, box->list->ns, vname,
					&error) == 0;
}

/* Returns TRUE if the message only moves, within what all of the roots count:
   even in a mailbox that is over its limit this is to be possible. 2.4 allows
   it as long as the limit is exceeded by less than the message. */
static bool
retention_quota_is_move(struct quota_transaction_context *ctx,
			struct mailbox *source)
{
	struct quota_root *const *rootp;

	if (source == NULL)
		return FALSE;
	array_foreach(retention_quota_get_roots(ctx->quota), rootp) {
		if (!retention_quota_root_enforces(*rootp) ||
		    !retention_quota_root_is_visible(*rootp, ctx->box))
			continue;
		if (retention_quota_root_get(*rootp) == NULL ||
		    !retention_quota_root_counts(*rootp, source))
			return FALSE;
	}
	return TRUE;
}

/* With a single quota root Dovecot does not ask whether it is for the
   mailbox. */
static bool
retention_quota_is_unlimited(struct quota_transaction_context *ctx)
{
	ARRAY(struct quota_root *) *roots = (void *)
		retention_quota_get_roots(ctx->quota);
	struct quota_root *root;

	if (array_count(roots) != 1)
		return FALSE;
	root = array_idx_elem(roots, 0);
	return retention_quota_root_get(root) != NULL &&
		retention_quota_scope_counts(root, ctx->box->list->ns,
					     mailbox_get_vname(ctx->box)) ==
		RETENTION_QUOTA_COUNTS_NOT;
}

/* Returns TRUE if there is more room now, and the transaction knows it. */
static bool
retention_quota_make_room(struct retention_quota_user *quser,
			  struct quota_transaction_context *ctx, uoff_t size)
{
	struct mail_user *user = ctx->quota->user;
	const char *error;
	bool relieved;

	/* Archiving saves messages as well, and so comes here again. */
	if (quser->relieving || user->dsyncing || ctx->box->storage->user !=
	    user || !retention_user_get(user)->set->quota.relief)
		return FALSE;
	quser->relieving = TRUE;
	relieved = retention_quota_relieve(ctx, size);
	quser->relieving = FALSE;
	if (!relieved)
		return FALSE;
	if (retention_quota_transaction_again(ctx, &error) < 0) {
		e_error(ctx->quota->event, "%s", error);
		return FALSE;
	}
	return TRUE;
}

static enum quota_alloc_result
retention_quota_test_alloc(RETENTION_QUOTA_ALLOC_PARAMS)
{
	struct retention_quota_user *quser =
		RETENTION_QUOTA_USER_CONTEXT(ctx->quota->user);
	enum quota_alloc_result ret;

	/* the notice that the mailbox is full must fit */
	if (quser->warning)
		return QUOTA_ALLOC_RESULT_OK;
	ret = quser->next_alloc(RETENTION_QUOTA_ALLOC_ARGS);
	if (ret != QUOTA_ALLOC_RESULT_OVER_QUOTA &&
	    ret != QUOTA_ALLOC_RESULT_OVER_QUOTA_LIMIT)
		return ret;
	if (retention_quota_is_unlimited(ctx) ||
	    retention_quota_is_move(ctx, retention_quota_alloc_source()))
		return QUOTA_ALLOC_RESULT_OK;
	/* a message that is larger than the whole limit never fits */
	if (ret != QUOTA_ALLOC_RESULT_OVER_QUOTA ||
	    !retention_quota_make_room(quser, ctx, size))
		return ret;
	return quser->next_alloc(RETENTION_QUOTA_ALLOC_ARGS);
}

/* 2.4 knows all roots only now: namespaces can have roots of their own. */
void retention_quota_namespaces_created(struct mail_namespace *namespaces)
{
	struct mail_user *user = namespaces->user;
	struct retention_quota_user *quser = RETENTION_QUOTA_USER_CONTEXT(user);
	struct quota *quota = quota_get_mail_user_quota(user);
	struct retention_user *ruser = retention_user_get(user);
	const char *names, *archive_root;

	if (quser == NULL || quser->next_alloc != NULL ||
	    !retention_quota_has_root(quota, NULL, &names))
		return;
	archive_root = ruser->set->quota.archive_root;
	if (*archive_root != '\0' &&
	    !retention_quota_has_root(quota, archive_root, &names) &&
	    retention_user_refuse(user, t_strdup_printf(
			"retention_quota_archive_root=%s is not the name of a "
			"quota root with the backend retention (there are: "
			"%s)", archive_root, names)))
		return;
	ruser->quota_counts = retention_quota_counts;
	quser->next_alloc = retention_quota_replace_alloc(quota,
						retention_quota_test_alloc);
}

/* Returns FALSE with the mailbox's error set if the usage can't be told. */
static bool retention_quota_can_tell(struct mailbox *box)
{
	struct mail_user *user = box->storage->user;
	struct retention_quota_user *quser = RETENTION_QUOTA_USER_CONTEXT(user);
	struct quota *quota = quota_get_mail_user_quota(user);
	struct retention_quota_usage usage;
	struct quota_root *const *rootp;
	const char *error;

	if (quser->warning)
		return TRUE;
	array_foreach(retention_quota_get_roots(quota), rootp) {
		if (retention_quota_root_get(*rootp) == NULL ||
		    !retention_quota_root_enforces(*rootp) ||
		    !retention_quota_root_is_visible(*rootp, box) ||
		    retention_quota_get_usage(*rootp, &usage, &error) ==
		    QUOTA_GET_RESULT_LIMITED)
			continue;
		if (!quser->error_logged) {
			e_error(quota->event, "%s - refusing mail for now "
				"(retention_quota_on_error = tempfail)", error);
			quser->error_logged = TRUE;
		}
		mail_storage_set_error(box->storage, MAIL_ERROR_TEMP,
			"The quota usage can't be told at present");
		return FALSE;
	}
	return TRUE;
}

static int retention_quota_save_begin(struct mail_save_context *ctx,
				      struct istream *input)
{
	struct mailbox *box = ctx->transaction->box;
	struct retention_quota_mailbox *qbox =
		RETENTION_QUOTA_BOX_CONTEXT_REQUIRE(box);

	if (!ctx->moving && !retention_quota_can_tell(box))
		return -1;
	return qbox->module_ctx.super.save_begin(ctx, input);
}

static int
retention_quota_copy(struct mail_save_context *ctx, struct mail *mail)
{
	struct mailbox *box = ctx->transaction->box;
	struct retention_quota_mailbox *qbox =
		RETENTION_QUOTA_BOX_CONTEXT_REQUIRE(box);

	if (!ctx->moving && !retention_quota_can_tell(box)) {
		mailbox_save_cancel(&ctx);
		return -1;
	}
	return qbox->module_ctx.super.copy(ctx, mail);
}

void retention_quota_mailbox_allocated(struct mailbox *box)
{
	struct mail_user *user = box->storage->user;
	struct retention_user *ruser = retention_user_get(user);
	struct mailbox_vfuncs *v = box->vlast;
	struct retention_quota_mailbox *qbox;

	if (ruser == NULL || !ruser->set->quota.tempfail || user->dsyncing ||
	    RETENTION_QUOTA_USER_CONTEXT(user) == NULL)
		return;
	qbox = p_new(box->pool, struct retention_quota_mailbox, 1);
	qbox->module_ctx.super = *v;
	box->vlast = &qbox->module_ctx.super;
	v->save_begin = retention_quota_save_begin;
	v->copy = retention_quota_copy;
	MODULE_CONTEXT_SET(box, retention_quota_storage_module, qbox);
}
