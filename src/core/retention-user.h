#ifndef RETENTION_USER_H
#define RETENTION_USER_H

#include "mail-user.h"
#include "retention-settings.h"

struct file_lock;
struct mail_namespace;

/* How a quota counts a mailbox. */
enum retention_quota_counts {
	/* No quota of ours counts it, or its rules ignore it. */
	RETENTION_QUOTA_COUNTS_NOT = 0,
	RETENTION_QUOTA_COUNTS_SIZE,
	RETENTION_QUOTA_COUNTS_STORED,
};

struct retention_user {
	union mail_user_module_context module_ctx;
	/* The user's settings. When they are broken and the service must go on
	   without them, they have no rules. */
	const struct retention_settings *set;
	/* Child of the user's event with our log prefix and category. */
	struct event *event;
	/* The lock that keeps runs of the user apart, NULL if this process
	   does not hold it. */
	struct file_lock *lock;
	/* Set by the quota module: how the user's quota counts the mailbox.
	   NULL if it is not loaded or there is no quota root of ours. */
	enum retention_quota_counts
		(*quota_counts)(struct mail_user *user,
				struct mail_namespace *ns, const char *vname);
};

/* Returns the plugin's context of the user, NULL if the plugin is not loaded
   for this user or the user is internal to Dovecot. */
struct retention_user *retention_user_get(struct mail_user *user);

/* Take the lock that keeps runs of the same user apart; whoever holds it may
   change how messages are stored. Returns 1 if it was taken, 0 if it is held,
   by another process or by this one, -1 with error_r on error. */
int retention_user_lock(struct mail_user *user, unsigned int timeout_secs,
			const char **error_r);
/* Release the lock, if it was taken. */
void retention_user_unlock(struct mail_user *user);

/* Refuse the user because of an error in the settings, or, if the service must
   go on nevertheless, log the error. Returns TRUE if the user was refused. */
bool retention_user_refuse(struct mail_user *user, const char *error);

/* The mail_user_created hook: reads the settings. If they are broken, the
   user is refused with an error; but a service that delivers mail, or that
   works behind the scenes for others, goes on without rules and logs the
   error, as mail that bounces would be the worse damage. */
void retention_user_created(struct mail_user *user);

#endif
