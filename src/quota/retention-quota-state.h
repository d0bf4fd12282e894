#ifndef RETENTION_QUOTA_STATE_H
#define RETENTION_QUOTA_STATE_H

#include "retention-warning.h"

struct mail_user;

/* What is remembered of one quota root's warnings. */
struct retention_quota_state {
	const char *root;
	struct retention_warning_state warning;
	/* The last notice in INBOX, 0 if there is none. */
	uint32_t uidvalidity, uid;
};
ARRAY_DEFINE_TYPE(retention_quota_state, struct retention_quota_state);

/* Read what is remembered of the user's roots. The caller holds the user's
   lock, also while writing. A file that is missing or damaged is an empty one.
   Returns 0, or -1 with error_r. */
int retention_quota_state_read(struct mail_user *user, pool_t pool,
			       ARRAY_TYPE(retention_quota_state) *states_r,
			       const char **error_r);
/* Returns the root's state, a new one if there is none. */
struct retention_quota_state *
retention_quota_state_get(ARRAY_TYPE(retention_quota_state) *states,
			  const char *root);
int retention_quota_state_write(struct mail_user *user,
				const ARRAY_TYPE(retention_quota_state) *states,
				const char **error_r);

#endif
