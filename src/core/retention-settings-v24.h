#ifndef RETENTION_SETTINGS_V24_H
#define RETENTION_SETTINGS_V24_H

/* The settings as Dovecot 2.4 parses them, for retention-settings-defs.c and
   retention-settings-v24.c only. */

#include "retention-pop3.h"
#include "retention-quota-values.h"
#include "retention-rule.h"

/* retention_rule_age of a rule whose age was not given. */
#define RETENTION_AGE_MISSING (UINT_MAX - 1)

struct retention_config {
	pool_t pool;
	ARRAY_TYPE(const_string) retention_rule;
	const char *retention_archive_mailbox;
	const char *retention_archive_format;
	unsigned int retention_compression_level;
	unsigned int retention_minimum_age;
	const char *retention_run_limit;
	/* Strings, so that the error for a bad value tells what is allowed. */
	const char *retention_pop3_delete;
	const char *retention_pop3_keep_time;
	const char *retention_pop3_keep_action;
	const char *retention_pop3_leave_time;
	const char *retention_quota_archive;
	const char *retention_quota_archive_root;
	const char *retention_quota_on_error;
	bool retention_quota_relief;
	const char *retention_quota_relief_target;
	unsigned int retention_quota_relief_time;
	const char *retention_quota_warning;
	const char *retention_quota_warning_hysteresis;
	unsigned int retention_quota_warning_interval;
	const char *retention_quota_warning_template;

	/* Percent, from retention_run_limit. */
	unsigned int parsed_run_limit;
};

struct retention_rule_config {
	pool_t pool;
	const char *retention_rule_name;
	const char *retention_rule_mailbox;
	const char *retention_rule_action;
	unsigned int retention_rule_age;
	const char *retention_rule_age_from;
	bool retention_rule_keep_flagged;
	bool retention_rule_keep_unseen;
	uoff_t retention_rule_min_size;
	const char *retention_rule_into;
};

extern const struct setting_parser_info retention_setting_parser_info;
extern const struct setting_parser_info retention_rule_setting_parser_info;

/* Parse what the configuration says about POP3; retention_pop3_settings_check()
   is left to the caller. Returns 1, 0 if a value has variables that are not
   known yet and was taken as its default, -1 with error_r naming the setting,
   its value and what is allowed. */
int retention_pop3_config_parse(const struct retention_config *set,
				struct retention_pop3_settings *pop3_r,
				const char **error_r);
/* Take over the settings retention_quota_*, with strings copied to the pool.
   Values that config does not know yet are left out. Returns 0, or -1 with
   error_r, which names the setting and its value. */
int retention_quota_config_parse(const struct retention_config *config,
				 pool_t pool,
				 struct retention_quota_settings *set_r,
				 const char **error_r);
/* Make a rule of what the configuration says, with strings copied to the pool;
   retention_rule_check() is left to the caller. Returns 0, or -1 with
   error_r set, which does not name the rule. */
int retention_rule_config_parse(const struct retention_rule_config *set,
				pool_t pool, struct retention_rule *rule_r,
				const char **error_r);

#endif
