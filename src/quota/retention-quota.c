/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "mail-user.h"
#include "mailbox-list-private.h"
#include "retention-quota-scope.h"
#include "retention-quota.h"

static struct quota_root *retention_quota_alloc(void)
{
	struct retention_quota_root *root =
		i_new(struct retention_quota_root, 1);

	return &root->root;
}

static int retention_quota_init(RETENTION_QUOTA_INIT_PARAMS)
{
	root->auto_updating = TRUE;
	retention_quota_init_vsize(root);
	return retention_quota_root_default_init(root);
}

static void retention_quota_deinit(struct quota_root *_root)
{
	struct retention_quota_root *root =
		container_of(_root, struct retention_quota_root, root);

	i_free(root);
}

static const char *const *
retention_quota_get_resources(struct quota_root *root ATTR_UNUSED)
{
	static const char *const resources[] = {
		QUOTA_NAME_STORAGE_KILOBYTES, QUOTA_NAME_MESSAGES, NULL
	};
	return resources;
}

struct retention_quota_root *
retention_quota_root_get(struct quota_root *root)
{
	if (strcmp(root->backend.name, quota_backend_retention.name) != 0)
		return NULL;
	return container_of(root, struct retention_quota_root, root);
}

enum quota_get_result
retention_quota_get_usage(struct quota_root *_root,
			  struct retention_quota_usage *usage_r,
			  const char **error_r)
{
	struct retention_quota_root *root =
		container_of(_root, struct retention_quota_root, root);
	enum quota_get_result ret;

	if (root->counted.tv_sec != 0 &&
	    root->counted.tv_sec == ioloop_timeval.tv_sec &&
	    root->counted.tv_usec == ioloop_timeval.tv_usec) {
		*usage_r = root->usage;
		return QUOTA_GET_RESULT_LIMITED;
	}
	ret = retention_quota_count(_root, usage_r, error_r);
	if (ret == QUOTA_GET_RESULT_LIMITED && !_root->recounting) {
		root->usage = *usage_r;
		root->counted = ioloop_timeval;
		e_debug(_root->backend.event, "Counted %"PRIu64" bytes in "
			"%"PRIu64" messages, %u mailboxes opened",
			usage_r->bytes, usage_r->messages, usage_r->opened);
	}
	return ret;
}

static enum quota_get_result
retention_quota_get_resource(struct quota_root *root, const char *name,
			     uint64_t *value_r, const char **error_r)
{
	struct retention_quota_usage usage;
	enum quota_get_result ret;

	ret = retention_quota_get_usage(root, &usage, error_r);
	if (ret != QUOTA_GET_RESULT_LIMITED)
		return ret;
	if (strcmp(name, QUOTA_NAME_STORAGE_BYTES) == 0)
		*value_r = usage.bytes;
	else if (strcmp(name, QUOTA_NAME_MESSAGES) == 0)
		*value_r = usage.messages;
	else {
		*error_r = QUOTA_UNKNOWN_RESOURCE_ERROR_STRING;
		return QUOTA_GET_RESULT_UNKNOWN_RESOURCE;
	}
	return QUOTA_GET_RESULT_LIMITED;
}

static int
retention_quota_update(struct quota_root *_root,
		       struct quota_transaction_context *ctx,
		       const char **error_r)
{
	struct retention_quota_root *root =
		container_of(_root, struct retention_quota_root, root);

	root->counted.tv_sec = 0;
	if (ctx->recalculate != QUOTA_RECALCULATE_FORCED)
		return 0;
	return retention_quota_recount(_root, error_r);
}

static bool
retention_quota_match_box(struct quota_root *root, struct mailbox *box)
{
	return retention_quota_scope_counts(root, box->list->ns,
					    mailbox_get_vname(box)) !=
		RETENTION_QUOTA_COUNTS_NOT;
}

void retention_quota_forget_usage(struct quota *quota)
{
	struct retention_quota_root *root;
	struct quota_root *const *rootp;

	array_foreach(retention_quota_get_roots(quota), rootp) {
		root = retention_quota_root_get(*rootp);
		if (root != NULL)
			root->counted.tv_sec = 0;
	}
}

const struct quota_backend quota_backend_retention = {
	.name = "retention",
	RETENTION_QUOTA_USE_VSIZE
	.v = {
		.alloc = retention_quota_alloc,
		.init = retention_quota_init,
		.deinit = retention_quota_deinit,
		.get_resources = retention_quota_get_resources,
		.get_resource = retention_quota_get_resource,
		.update = retention_quota_update,
		.match_box = retention_quota_match_box,
	}
};
