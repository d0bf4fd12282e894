/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-namespace.h"
#include "mailbox-list-private.h"
#include "mail-user.h"
#include "retention-quota-compat.h"
#if RETENTION_DOVECOT24
#  include "settings.h"
#endif

bool retention_quota_root_is_visible(struct quota_root *root,
				     struct mailbox *box)
{
#if RETENTION_DOVECOT24
	return quota_root_is_visible(root, box);
#else
	if (!quota_root_is_namespace_visible(root, box->list->ns))
		return FALSE;
	return array_count(&root->quota->roots) == 1 ||
		root->backend.v.match_box == NULL ||
		root->backend.v.match_box(root, box);
#endif
}

retention_quota_alloc_t *
retention_quota_replace_alloc(struct quota *quota,
			      retention_quota_alloc_t *alloc)
{
#if RETENTION_DOVECOT24
	retention_quota_alloc_t **allocp = &quota->test_alloc;
#else
	retention_quota_alloc_t **allocp = &quota->set->test_alloc;
#endif
	retention_quota_alloc_t *old = *allocp;

	*allocp = alloc;
	return old;
}

int retention_quota_root_limits(struct quota_root *root, struct mailbox *box,
				uint64_t *bytes_limit_r,
				uint64_t *messages_limit_r,
				const char **error_r)
{
	uint64_t value;
#if RETENTION_DOVECOT24
	struct mailbox *name = box;
#else
	const char *name = box == NULL ? "" : mailbox_get_vname(box);
#endif

	*bytes_limit_r = *messages_limit_r = 0;
	if (quota_get_resource(root, name, QUOTA_NAME_STORAGE_BYTES, &value,
			       bytes_limit_r, error_r) <=
	    QUOTA_GET_RESULT_INTERNAL_ERROR ||
	    quota_get_resource(root, name, QUOTA_NAME_MESSAGES, &value,
			       messages_limit_r, error_r) <=
	    QUOTA_GET_RESULT_INTERNAL_ERROR)
		return -1;
	return 0;
}

int retention_quota_transaction_again(struct quota_transaction_context *ctx,
				      const char **error_r)
{
	enum quota_get_result result;

	ctx->limits_set = FALSE;
	ctx->bytes_ceil = ctx->bytes_ceil2 = ctx->count_ceil = UINT64_MAX;
	ctx->bytes_over = ctx->count_over = 0;
#if RETENTION_DOVECOT24
	for (unsigned int i = 0; i < array_count(&ctx->quota->all_roots); i++) {
		struct quota_transaction_root_context *root = &ctx->roots[i];

		i_zero(root);
		root->bytes_ceil = root->bytes_ceil2 = UINT64_MAX;
		root->count_ceil = UINT64_MAX;
	}
	ctx->bytes_expunged = ctx->count_expunged = 0;
	settings_free(ctx->set);
#endif
	if (quota_transaction_set_limits(ctx, &result, error_r) < 0)
		return -1;
	/* the grace is for one message only */
	if (ctx->count_used > 0) {
		ctx->bytes_ceil = ctx->bytes_ceil2;
#if RETENTION_DOVECOT24
		for (unsigned int i = 0;
		     i < array_count(&ctx->quota->all_roots); i++)
			ctx->roots[i].bytes_ceil = ctx->roots[i].bytes_ceil2;
#endif
	}
	return 0;
}

#if RETENTION_DOVECOT24

void retention_quota_root_namespaces(struct quota_root *root,
				     ARRAY_TYPE(retention_quota_ns) *list)
{
	struct mail_namespace *ns;

	array_foreach_elem(&root->namespaces, ns)
		array_push_back(list, &ns);
}

static int
retention_quota_event_ignores(struct quota_root *root, struct event *event,
			      const char **error_r)
{
	const struct quota_root_settings *set;
	int ret;

	if (settings_get_filter(event, "quota", root->set_filter_name,
				&quota_root_setting_parser_info, 0,
				&set, error_r) < 0)
		return -1;
	ret = set->quota_ignore ? 1 : 0;
	settings_free(set);
	return ret;
}

/* Looking up the settings of each mailbox would take longer than all the rest.
   So only the mailboxes are asked about that have settings of their own which
   tell something else than those of the namespace. */
static int
retention_quota_add_masks(struct quota_root *root, struct mail_namespace *ns,
			  pool_t pool, struct retention_quota_ignore *ignore,
			  const char **error_r)
{
	const struct mailbox_settings *const *boxes;
	struct event *event;
	const char *mask;
	unsigned int i;
	int ret = 0;

	if (array_is_empty(&ns->set->mailboxes))
		return 0;
	boxes = array_front(&ns->set->parsed_mailboxes);
	for (i = 0; i < array_count(&ns->set->mailboxes) && ret >= 0; i++) {
		event = event_create(ns->list->event);
		event_add_str(event, SETTINGS_EVENT_NAMESPACE_NAME,
			      ns->set->name);
		settings_event_add_list_filter_name(event,
			SETTINGS_EVENT_NAMESPACE_NAME, ns->set->name);
		settings_event_add_list_filter_name(event, "mailbox",
			array_idx_elem(&ns->set->mailboxes, i));
		ret = retention_quota_event_ignores(root, event, error_r);
		event_unref(&event);
		if (ret >= 0 && (ret > 0) != ignore->others) {
			mask = p_strdup(pool, boxes[i]->name);
			array_push_back(&ignore->masks, &mask);
		}
	}
	return ret < 0 ? -1 : 0;
}

int retention_quota_get_ignore(struct quota_root *root,
			       struct mail_namespace *ns, pool_t pool,
			       struct retention_quota_ignore *ignore_r,
			       const char **error_r)
{
	int ret;

	ret = retention_quota_event_ignores(root, ns->list->event, error_r);
	if (ret < 0)
		return -1;
	ignore_r->others = ret > 0;
	p_array_init(&ignore_r->masks, pool, 4);
	return retention_quota_add_masks(root, ns, pool, ignore_r, error_r);
}

int retention_quota_ignores(struct quota_root *root, struct mail_namespace *ns,
			    const char *vname, const char **error_r)
{
	struct mailbox *box;
	int ret;

	box = mailbox_alloc(ns->list, vname, MAILBOX_FLAG_READONLY);
	ret = retention_quota_event_ignores(root, box->event, error_r);
	mailbox_free(&box);
	return ret;
}

#else

void retention_quota_root_namespaces(struct quota_root *root,
				     ARRAY_TYPE(retention_quota_ns) *list)
{
	struct mail_namespace *const *nsp;

	array_foreach(&root->quota->namespaces, nsp) {
		if (quota_root_is_namespace_visible(root, *nsp))
			array_push_back(list, nsp);
	}
}

int retention_quota_get_ignore(struct quota_root *root,
			       struct mail_namespace *ns ATTR_UNUSED,
			       pool_t pool,
			       struct retention_quota_ignore *ignore_r,
			       const char **error_r ATTR_UNUSED)
{
	const struct quota_rule *rule;

	ignore_r->others = FALSE;
	p_array_init(&ignore_r->masks, pool, 4);
	array_foreach(&root->set->rules, rule) {
		if (rule->ignore)
			array_push_back(&ignore_r->masks, &rule->mailbox_mask);
	}
	return 0;
}

int retention_quota_ignores(struct quota_root *root,
			    struct mail_namespace *ns ATTR_UNUSED,
			    const char *vname,
			    const char **error_r ATTR_UNUSED)
{
	const struct quota_rule *rule =
		quota_root_rule_find(root->set, vname);

	return rule != NULL && rule->ignore ? 1 : 0;
}

#endif
