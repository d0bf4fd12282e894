#ifndef RETENTION_QUOTA_NOTICE_H
#define RETENTION_QUOTA_NOTICE_H

#include "retention-quota-state.h"

struct mail_user;
struct retention_notice;

/* Put the notice into the user's INBOX, in place of the former one that the
   state names, and note it there. Returns 1 if it was sent, 0 if not now: there
   is a POP3 session that may show the former one; -1 with error_r. */
int retention_quota_notice_send(struct mail_user *user,
				const struct retention_notice *notice,
				struct retention_quota_state *state,
				const char **error_r);

#endif
