/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-namespace.h"
#include "mail-user.h"
#include "retention-box.h"
#include "retention-quota-scope.h"

void retention_quota_scope_get(struct quota_root *root,
			       struct retention_quota_scope *scope_r)
{
	const struct retention_user *ruser =
		retention_user_get(root->quota->user);
	const struct retention_quota_settings *set;
	enum retention_quota_counts archive;

	scope_r->live = TRUE;
	scope_r->archive = RETENTION_QUOTA_COUNTS_SIZE;
	/* the owner of somebody's shared mailboxes has no rules here */
	if (ruser == NULL)
		return;

	set = &ruser->set->quota;
	switch (set->archive) {
	case RETENTION_QUOTA_ARCHIVE_STORED:
		archive = RETENTION_QUOTA_COUNTS_STORED;
		break;
	case RETENTION_QUOTA_ARCHIVE_FULL:
		archive = RETENTION_QUOTA_COUNTS_SIZE;
		break;
	default:
		archive = RETENTION_QUOTA_COUNTS_NOT;
		break;
	}
	if (*set->archive_root != '\0') {
		scope_r->live = strcmp(retention_quota_root_name(root),
				       set->archive_root) != 0;
	}
	scope_r->archive = *set->archive_root != '\0' && scope_r->live ?
		RETENTION_QUOTA_COUNTS_NOT : archive;
}

bool retention_quota_is_archive(struct mail_user *user,
				struct mail_namespace *ns, const char *vname)
{
	const struct retention_user *ruser = retention_user_get(user);
	bool archive;

	if (ruser == NULL || !retention_namespace_is_own(ns, user))
		return FALSE;
	T_BEGIN {
		archive = retention_archive_contains(ruser->set, ns, vname);
	} T_END;
	return archive;
}

enum retention_quota_counts
retention_quota_scope_counts(struct quota_root *root,
			     struct mail_namespace *ns, const char *vname)
{
	struct retention_quota_scope scope;

	retention_quota_scope_get(root, &scope);
	if (retention_quota_is_archive(root->quota->user, ns, vname))
		return scope.archive;
	return scope.live ? RETENTION_QUOTA_COUNTS_SIZE :
		RETENTION_QUOTA_COUNTS_NOT;
}
