#ifndef RETENTION_QUOTA_H
#define RETENTION_QUOTA_H

#include "retention-quota-compat.h"
#include "retention-quota-count.h"

/* A quota root of the backend "retention". */
struct retention_quota_root {
	struct quota_root root;
	/* When it was counted last, in the I/O loop's time: what one command
	   asks for several times is counted once. Zero if not at all, or if
	   something has changed since. */
	struct timeval counted;
	struct retention_quota_usage usage;
};

extern const struct quota_backend quota_backend_retention;

/* Returns the root if it is one of ours, else NULL. */
struct retention_quota_root *
retention_quota_root_get(struct quota_root *root);

/* What the root counts; from memory if it was just counted. Returns as
   retention_quota_count(). */
enum quota_get_result
retention_quota_get_usage(struct quota_root *root,
			  struct retention_quota_usage *usage_r,
			  const char **error_r);
/* Something has changed that Dovecot does not tell its quota roots. */
void retention_quota_forget_usage(struct quota *quota);

#endif
