#ifndef RETENTION_QUOTA_COMPAT_H
#define RETENTION_QUOTA_COMPAT_H

/* What differs between the quota plugins of Dovecot 2.3 and 2.4. */

#include "retention-compat.h"
#include "array-decl.h"
#include "quota-private.h"

ARRAY_DEFINE_TYPE(retention_quota_ns, struct mail_namespace *);

/* The init() of a quota backend. */
#if RETENTION_DOVECOT24
#  define RETENTION_QUOTA_INIT_PARAMS \
	struct quota_root *root, const char **error_r ATTR_UNUSED
#else
#  define RETENTION_QUOTA_INIT_PARAMS \
	struct quota_root *root, const char *args, const char **error_r
#endif

/* The test_alloc() of a user's quota. */
#if RETENTION_DOVECOT24
#  define RETENTION_QUOTA_ALLOC_PARAMS \
	struct quota_transaction_context *ctx, uoff_t size, \
	struct mailbox *expunged_box, uoff_t expunged_size, \
	const struct quota_overrun **overruns_r, const char **error_r
#  define RETENTION_QUOTA_ALLOC_ARGS \
	ctx, size, expunged_box, expunged_size, overruns_r, error_r
#else
#  define RETENTION_QUOTA_ALLOC_PARAMS \
	struct quota_transaction_context *ctx, uoff_t size, \
	const char **error_r
#  define RETENTION_QUOTA_ALLOC_ARGS ctx, size, error_r
#endif

typedef enum quota_alloc_result
retention_quota_alloc_t(RETENTION_QUOTA_ALLOC_PARAMS);

/* Replace the test_alloc() of the user's quota; returns the former one. */
retention_quota_alloc_t *
retention_quota_replace_alloc(struct quota *quota,
			      retention_quota_alloc_t *alloc);

/* Have new messages measured with the line ends that clients see, as they are
   counted. In 2.3 the setting quota_vsizes is for this; without it the check
   of a message would differ from the count. */
#if RETENTION_DOVECOT24
#  define RETENTION_QUOTA_USE_VSIZE .use_vsize = TRUE,
#  define retention_quota_init_vsize(root)
#else
#  define RETENTION_QUOTA_USE_VSIZE
#  define retention_quota_init_vsize(root) ((root)->quota->set->vsizes = TRUE)
#endif

/* What is common to the init() of all backends. Returns 0, or -1 with
   error_r. */
#if RETENTION_DOVECOT24
#  define retention_quota_root_default_init(root) 0
#else
#  define retention_quota_root_default_init(root) \
	quota_root_default_init(root, args, error_r)
#endif

/* All quota roots of the user, struct quota_root *. */
#if RETENTION_DOVECOT24
#  define retention_quota_get_roots(quota) (&(quota)->all_roots)
#else
#  define retention_quota_get_roots(quota) (&(quota)->roots)
#endif

/* The name as users and administrators know it. */
#if RETENTION_DOVECOT24
#  define retention_quota_root_name(root) ((root)->set->quota_name)
#  define retention_quota_root_enforces(root) ((root)->set->quota_enforce)
#else
#  define retention_quota_root_name(root) ((root)->set->name)
#  define retention_quota_root_enforces(root) (!(root)->no_enforcing)
#endif

/* Add the namespaces that the root counts. */
void retention_quota_root_namespaces(struct quota_root *root,
				     ARRAY_TYPE(retention_quota_ns) *list);

/* Returns TRUE if the root applies to the mailbox; asks match_box(). */
bool retention_quota_root_is_visible(struct quota_root *root,
				     struct mailbox *box);

/* The usage and the limit in bytes and in messages for new messages in the
   mailbox; 0 if there is no limit. Returns 0, or -1 with error_r. */
int retention_quota_root_limits(struct quota_root *root, struct mailbox *box,
				uint64_t *bytes_limit_r,
				uint64_t *messages_limit_r,
				const char **error_r);

/* The mailbox that the message which is to be saved is moved from, NULL if it
   is not; 2.3 does not ask about moved messages. */
#if RETENTION_DOVECOT24
#  define retention_quota_alloc_source() \
	(expunged_box != NULL && expunged_size >= size ? expunged_box : NULL)
#else
#  define retention_quota_alloc_source() NULL
#endif

/* Forget what the transaction knows of the usage, and ask for it again: there
   is less than it thought. Returns 0, or -1 with error_r. */
int retention_quota_transaction_again(struct quota_transaction_context *ctx,
				      const char **error_r);

/* Which of a namespace's mailboxes a root ignores. */
struct retention_quota_ignore {
	/* Those whose names match none of the masks. */
	bool others;
	/* Masks with the wildcards * and ?; for mailboxes whose names match
	   one, retention_quota_ignores() must be asked. */
	ARRAY(const char *) masks;
};

/* Returns 0 with ignore_r, allocated from the pool, or -1 with error_r. */
int retention_quota_get_ignore(struct quota_root *root,
			       struct mail_namespace *ns, pool_t pool,
			       struct retention_quota_ignore *ignore_r,
			       const char **error_r);
/* Returns 1 if the root ignores the mailbox, 0 if not, -1 with error_r. */
int retention_quota_ignores(struct quota_root *root, struct mail_namespace *ns,
			    const char *vname, const char **error_r);

#endif
