#ifndef RETENTION_QUOTA_FILTER_H
#define RETENTION_QUOTA_FILTER_H

#include "retention-quota-compat.h"
#include "retention-quota-scope.h"

struct retention_quota_list;
struct retention_quota_list_record;
struct retention_quota_filter;

/* How one of a namespace's mailboxes is counted. */
struct retention_quota_how {
	/* NOT also if it is ignored. */
	enum retention_quota_counts counts;
	bool archive;
};

/* Tells which mailboxes of a namespace a quota root counts. Names matter only
   for what is ignored or in the archive; so of a list index's records only
   those are looked at more closely whose last part is one that matters. */

/* Returns 0 with filter_r, allocated from the pool, or -1 with error_r. */
int retention_quota_filter_init(struct quota_root *root,
				struct mail_namespace *ns, pool_t pool,
				struct retention_quota_filter **filter_r,
				const char **error_r);

/* Get how the mailbox is counted. Returns 0, or -1 with error_r. */
int retention_quota_filter_name(struct retention_quota_filter *filter,
				const char *vname,
				struct retention_quota_how *how_r,
				const char **error_r);

/* Records are of this list from now on. */
void retention_quota_filter_set_list(struct retention_quota_filter *filter,
				     struct retention_quota_list *list);
/* The same as retention_quota_filter_name() for a record. Returns 1, 0 if the
   index is damaged, -1 with error_r. */
int retention_quota_filter_record(struct retention_quota_filter *filter,
			const struct retention_quota_list_record *rec,
			struct retention_quota_how *how_r,
			const char **error_r);

#endif
