#ifndef RETENTION_QUOTA_COUNT_H
#define RETENTION_QUOTA_COUNT_H

#include "retention-quota-compat.h"

/* What a quota root counts. */
struct retention_quota_usage {
	uint64_t bytes, messages;
	/* Bytes thereof that are in the archive. */
	uint64_t archive_bytes;
	/* Mailboxes that had to be opened. */
	unsigned int opened;
};

/* Count what is in the root. Returns QUOTA_GET_RESULT_LIMITED on success, an
   error with error_r otherwise. */
enum quota_get_result
retention_quota_count(struct quota_root *root,
		      struct retention_quota_usage *usage_r,
		      const char **error_r);
/* Forget all that is known of the sizes of the root's mailboxes, and count
   them anew from the messages. Returns 0 on success, -1 with error_r. */
int retention_quota_recount(struct quota_root *root, const char **error_r);

#endif
