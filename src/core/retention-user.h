#ifndef RETENTION_USER_H
#define RETENTION_USER_H

#include "mail-user.h"
#include "retention-settings.h"

struct retention_user {
	union mail_user_module_context module_ctx;
	/* The user's settings. When they are broken and the service must go on
	   without them, they have no rules. */
	const struct retention_settings *set;
	/* Child of the user's event with our log prefix and category. */
	struct event *event;
};

/* Returns the plugin's context of the user, NULL if the plugin is not loaded
   for this user or the user is internal to Dovecot. */
struct retention_user *retention_user_get(struct mail_user *user);

/* The mail_user_created hook: reads the settings. If they are broken, the
   user is refused with an error; but a service that delivers mail, or that
   works behind the scenes for others, goes on without rules and logs the
   error, as mail that bounces would be the worse damage. */
void retention_user_created(struct mail_user *user);

#endif
