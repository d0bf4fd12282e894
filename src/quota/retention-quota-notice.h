#ifndef RETENTION_QUOTA_NOTICE_H
#define RETENTION_QUOTA_NOTICE_H

#include "retention-warning.h"
#include "retention-quota-state.h"

/* What a notice tells. */
struct retention_quota_notice {
	enum retention_warning warning;
	const char *root;
	/* Of the limit that is closer. */
	unsigned int percent;
	/* Bytes; no limit is 0. */
	uint64_t usage, limit, archive;
	uint64_t messages, messages_limit;
};

/* Put the notice into the user's INBOX, in place of the former one that the
   state names, and note it there. Returns 0, or -1 with error_r. */
int retention_quota_notice_send(struct mail_user *user,
				const struct retention_quota_notice *notice,
				struct retention_quota_state *state,
				const char **error_r);

#endif
