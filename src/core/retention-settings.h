#ifndef RETENTION_SETTINGS_H
#define RETENTION_SETTINGS_H

#include "retention-pop3.h"
#include "retention-quota-values.h"
#include "retention-rule.h"

struct mail_user;

/* The settings as the rest of the plugin sees them, the same for 2.3 (plugin
   section, retention-settings-v23.c) and 2.4 (settings API,
   retention-settings-v24.c). */
struct retention_settings {
	pool_t pool;
	/* Checked rules, sorted by name; switched-off ones included. */
	ARRAY_TYPE(retention_rule) rules;
	/* Checked template (retention-template.h). */
	const char *archive_mailbox;
	/* 1 = LZ4, 2..12 = LZ4HC with that level. */
	unsigned int compression_level;
	/* Seconds. */
	unsigned int minimum_age;
	/* Percent of a mailbox's messages, 0 = no limit. */
	unsigned int run_limit;
	/* Checked; the defaults if POP3 is to be as without us. */
	struct retention_pop3_settings pop3;
	struct retention_quota_settings quota;
};

/* Read and check the user's settings. Returns 0 with set_r, which lives until
   its pool is unreferenced, or -1 with error_r, which names the setting, its
   value and what is allowed. */
int retention_settings_read(struct mail_user *user,
			    const struct retention_settings **set_r,
			    const char **error_r);
/* Free the settings and set *set to NULL. */
void retention_settings_free(const struct retention_settings **set);

#endif
