#ifndef RETENTION_QUOTA_STATE_H
#define RETENTION_QUOTA_STATE_H

#include "retention-warning.h"

struct file_lock;
struct mail_user;

/* What is remembered of one quota root's warnings. */
struct retention_quota_state {
	const char *root;
	struct retention_warning_state warning;
	/* The last notice in INBOX, 0 if there is none. */
	uint32_t uidvalidity, uid;
};
ARRAY_DEFINE_TYPE(retention_quota_state, struct retention_quota_state);

/* Keep others from writing the state, waiting a moment for them to be done.
   Runs are not kept away, nor do they keep us. Returns 1 with lock_r, which is
   to be given back with file_lock_free(), 0 if somebody else holds it for long,
   -1 with error_r. */
int retention_quota_state_lock(struct mail_user *user,
			       struct file_lock **lock_r, const char **error_r);

/* Read what is remembered of the user's roots, allocated from the pool. A file
   that is missing is an empty one; of a damaged file the lines are left out
   that make no sense. Returns 0, or -1 with error_r. */
int retention_quota_state_read(struct mail_user *user, pool_t pool,
			       ARRAY_TYPE(retention_quota_state) *states_r,
			       const char **error_r);
/* Returns the root's state, a new one if there is none. */
struct retention_quota_state *
retention_quota_state_get(ARRAY_TYPE(retention_quota_state) *states,
			  const char *root);
/* The caller holds the lock since before the state was read. Returns 0, or -1
   with error_r. */
int retention_quota_state_write(struct mail_user *user,
				const ARRAY_TYPE(retention_quota_state) *states,
				const char **error_r);

#endif
