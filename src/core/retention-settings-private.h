#ifndef RETENTION_SETTINGS_PRIVATE_H
#define RETENTION_SETTINGS_PRIVATE_H

#include "retention-settings.h"

/* For the two settings sources only. */

/* Returns settings with a pool, no rules and the defaults. */
struct retention_settings *retention_settings_alloc(void);
/* Check every rule and what POP3 does, in the light of minimum_age, and sort
   the rules by name. Returns 0, or -1 with name_r and error_r
   (retention_rule_check()) set for the first rule that cannot be used; name_r
   is NULL if error_r is about POP3, and then names the settings itself. */
int retention_settings_finish(struct retention_settings *set,
			      const char **name_r, const char **error_r);

#endif
