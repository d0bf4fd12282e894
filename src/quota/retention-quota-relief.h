#ifndef RETENTION_QUOTA_RELIEF_H
#define RETENTION_QUOTA_RELIEF_H

#include "retention-quota-compat.h"

/* Make room for a message of that size, for which the transaction's check has
   found none, by archiving early; retention_quota_relief is on. Returns TRUE if
   the quota counts less than before, or there may be room meanwhile: the check
   is to be done again. */
bool retention_quota_relieve(struct quota_transaction_context *ctx,
			     uoff_t size);

#endif
