#ifndef RETENTION_QUOTA_SCOPE_H
#define RETENTION_QUOTA_SCOPE_H

#include "retention-quota-compat.h"
#include "retention-user.h"

/* Which of the user's mailboxes a quota root counts, and how. */
struct retention_quota_scope {
	/* Mailboxes outside the archive are counted, and how those in it
	   are. */
	bool live;
	enum retention_quota_counts archive;
};

/* What the settings say about the root. */
void retention_quota_scope_get(struct quota_root *root,
			       struct retention_quota_scope *scope_r);

/* Returns TRUE if the mailbox is in the user's archive. */
bool retention_quota_is_archive(struct mail_user *user,
				struct mail_namespace *ns, const char *vname);
/* How the root counts the mailbox, whatever its rules ignore. */
enum retention_quota_counts
retention_quota_scope_counts(struct quota_root *root,
			     struct mail_namespace *ns, const char *vname);

#endif
