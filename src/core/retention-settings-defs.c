/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Definitions of the settings for Dovecot 2.4. They are compiled into two
   modules: lib15_retention_settings, from which doveconf and the config process
   learn them, and the plugin, which reads them with settings_get(). The former
   is loaded without the plugin, so nothing here may call into it. */

#include "lib.h"
#include "array.h"
#include "strfuncs.h"
#include "settings.h"
#include "retention-pop3.h"
#include "retention-template.h"
#include "retention-values.h"
#include "retention-settings-v24.h"

/* What config looks up in the module: its file's name and these endings. */
extern const struct setting_parser_info *retention_settings_set_infos[];
extern const char *retention_settings_version;

/* The settings retention_quota_* that are text. */
#define TEXT(name) { #name, offsetof(struct retention_config, name) }
static const struct {
	const char *key;
	size_t offset;
} retention_quota_texts[] = {
	TEXT(retention_quota_archive),
	TEXT(retention_quota_archive_root),
	TEXT(retention_quota_on_error),
	TEXT(retention_quota_relief_target),
	TEXT(retention_quota_warning),
	TEXT(retention_quota_warning_hysteresis),
	TEXT(retention_quota_warning_template),
};
#undef TEXT

int retention_quota_config_parse(const struct retention_config *config,
				 pool_t pool,
				 struct retention_quota_settings *set_r,
				 const char **error_r)
{
	const char *const *value, *error;
	unsigned int i;

	retention_quota_settings_init(set_r);
	set_r->relief = config->retention_quota_relief;
	set_r->relief_time = config->retention_quota_relief_time;
	set_r->warning_interval = config->retention_quota_warning_interval;
	for (i = 0; i < N_ELEMENTS(retention_quota_texts); i++) {
		value = CONST_PTR_OFFSET(config,
					 retention_quota_texts[i].offset);
		if (*value != set_value_unknown &&
		    retention_quota_settings_set(set_r, pool,
				retention_quota_texts[i].key, *value,
				&error) < 0) {
			*error_r = t_strdup_printf("%s=%s %s",
				retention_quota_texts[i].key, *value, error);
			return -1;
		}
	}
	return retention_quota_settings_check(set_r, error_r);
}

static bool
retention_pop3_config_is_known(const struct retention_config *set)
{
	return set->retention_pop3_delete != set_value_unknown &&
		set->retention_pop3_keep_time != set_value_unknown &&
		set->retention_pop3_keep_action != set_value_unknown &&
		set->retention_pop3_leave_time != set_value_unknown;
}

int retention_pop3_config_parse(const struct retention_config *set,
				struct retention_pop3_settings *pop3_r,
				const char **error_r)
{
	const char *name, *value, *error;

	retention_pop3_settings_init(pop3_r);
	if (set->retention_pop3_delete != set_value_unknown &&
	    retention_pop3_delete_parse(set->retention_pop3_delete,
					&pop3_r->delete, &error) < 0) {
		name = "retention_pop3_delete";
		value = set->retention_pop3_delete;
	} else if (set->retention_pop3_keep_time != set_value_unknown &&
		   retention_pop3_time_parse(set->retention_pop3_keep_time,
					     &pop3_r->keep_time, &error) < 0) {
		name = "retention_pop3_keep_time";
		value = set->retention_pop3_keep_time;
	} else if (set->retention_pop3_keep_action != set_value_unknown &&
		   retention_pop3_keep_action_parse(
				set->retention_pop3_keep_action,
				&pop3_r->keep_action, &error) < 0) {
		name = "retention_pop3_keep_action";
		value = set->retention_pop3_keep_action;
	} else if (set->retention_pop3_leave_time != set_value_unknown &&
		   retention_pop3_time_parse(set->retention_pop3_leave_time,
					     &pop3_r->leave_time, &error) < 0) {
		name = "retention_pop3_leave_time";
		value = set->retention_pop3_leave_time;
	} else
		return retention_pop3_config_is_known(set) ? 1 : 0;
	*error_r = t_strdup_printf("%s=%s %s", name, value, error);
	return -1;
}

static bool
retention_config_check(void *_set, pool_t pool,
		       const char **error_r)
{
	struct retention_config *set = _set;
	struct retention_pop3_settings pop3;
	struct retention_quota_settings quota_set;
	const char *name, *value, *error;

	if (set->retention_archive_mailbox != set_value_unknown &&
	    retention_template_check(set->retention_archive_mailbox,
				     &error) < 0) {
		name = "retention_archive_mailbox";
		value = set->retention_archive_mailbox;
	} else if (set->retention_archive_format != set_value_unknown &&
		   retention_format_check(set->retention_archive_format,
					  &error) < 0) {
		name = "retention_archive_format";
		value = set->retention_archive_format;
	} else if (set->retention_run_limit != set_value_unknown &&
		   retention_percent_parse(set->retention_run_limit,
					   &set->parsed_run_limit,
					   &error) < 0) {
		name = "retention_run_limit";
		value = set->retention_run_limit;
	} else if (retention_level_check(set->retention_compression_level,
					 &error) < 0) {
		name = "retention_compression_level";
		value = dec2str(set->retention_compression_level);
	} else {
		return retention_pop3_config_parse(set, &pop3, error_r) >= 0 &&
			retention_quota_config_parse(set, pool, &quota_set,
						     error_r) == 0;
	}
	*error_r = t_strdup_printf("%s=%s %s", name, value, error);
	return FALSE;
}

/* Settings that are checked against each other are read once more: config
   checks each of its blocks without what stands around it. */
static bool
retention_config_ext_check(struct event *event, void *_set ATTR_UNUSED,
			   pool_t pool ATTR_UNUSED, const char **error_r)
{
	const struct retention_config *config;
	struct retention_pop3_settings pop3;
	const char *error;
	bool ok = TRUE;

	if (settings_get(event, &retention_setting_parser_info,
			 SETTINGS_GET_FLAG_NO_CHECK, &config, &error) < 0)
		return TRUE;
	/* What can't be parsed has been refused already, or has variables. */
	if (retention_pop3_config_parse(config, &pop3, &error) > 0) {
		ok = retention_pop3_settings_check(
			&pop3, config->retention_minimum_age, error_r) == 0;
	}
	settings_free(config);
	return ok;
}

int retention_rule_config_parse(const struct retention_rule_config *set,
				pool_t pool, struct retention_rule *rule_r,
				const char **error_r)
{
	retention_rule_init(rule_r, pool, set->retention_rule_name);
	rule_r->mailbox = p_strdup(pool, set->retention_rule_mailbox);
	rule_r->have_mailbox = *set->retention_rule_mailbox != '\0';
	rule_r->age = set->retention_rule_age;
	rule_r->have_age = set->retention_rule_age != RETENTION_AGE_MISSING;
	rule_r->keep_flagged = set->retention_rule_keep_flagged;
	rule_r->keep_unseen = set->retention_rule_keep_unseen;
	rule_r->min_size = set->retention_rule_min_size;
	rule_r->into = p_strdup_empty(pool, set->retention_rule_into);
	if (*set->retention_rule_action != '\0' &&
	    retention_rule_set(rule_r, pool, "action",
			       set->retention_rule_action, error_r) < 0)
		return -1;
	return retention_rule_set(rule_r, pool, "age_from",
				  set->retention_rule_age_from, error_r);
}

/* While config checks, a value with variables is not known. */
static void retention_rule_assume_unknown(struct retention_rule_config *set)
{
	if (set->retention_rule_mailbox == set_value_unknown)
		set->retention_rule_mailbox = "INBOX";
	if (set->retention_rule_into == set_value_unknown)
		set->retention_rule_into = "";
	if (set->retention_rule_age == RETENTION_AGE_MISSING)
		set->retention_rule_age = RETENTION_AGE_UNLIMITED;
}

/* What config checks of a rule, is checked once more when a user's settings are
   read: userdb may have changed it. */
static bool
retention_rule_config_check(struct event *event, void *_set, pool_t pool,
			    const char **error_r)
{
	struct retention_rule_config set =
		*(const struct retention_rule_config *)_set;
	const struct retention_config *config;
	struct retention_rule rule;
	unsigned int minimum_age = 0;
	const char *error;

	if (*set.retention_rule_name == '\0') {
		/* not in a rule's block */
		return TRUE;
	}
	retention_rule_assume_unknown(&set);
	if (settings_get(event, &retention_setting_parser_info,
			 SETTINGS_GET_FLAG_NO_CHECK, &config, &error) == 0) {
		minimum_age = config->retention_minimum_age;
		settings_free(config);
	}
	if (retention_rule_config_parse(&set, pool, &rule, &error) < 0 ||
	    retention_rule_check(&rule, minimum_age, &error) < 0) {
		*error_r = t_strdup_printf("retention_rule %s: %s",
					   set.retention_rule_name, error);
		return FALSE;
	}
	return TRUE;
}

#undef DEF
#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct retention_config)

static const struct setting_define retention_setting_defines[] = {
	{ .type = SET_FILTER_ARRAY, .key = "retention_rule",
	  .offset = offsetof(struct retention_config, retention_rule),
	  .filter_array_field_name = "retention_rule_name",
	  .required_setting = "retention_rule_age" },
	DEF(STR, retention_archive_mailbox),
	DEF(STR, retention_archive_format),
	DEF(UINT, retention_compression_level),
	DEF(TIME, retention_minimum_age),
	DEF(STR, retention_run_limit),
	DEF(STR, retention_pop3_delete),
	DEF(STR, retention_pop3_keep_time),
	DEF(STR, retention_pop3_keep_action),
	DEF(STR, retention_pop3_leave_time),
	DEF(STR, retention_quota_archive),
	DEF(STR, retention_quota_archive_root),
	DEF(STR, retention_quota_on_error),
	DEF(BOOL, retention_quota_relief),
	DEF(STR, retention_quota_relief_target),
	DEF(TIME, retention_quota_relief_time),
	DEF(STR, retention_quota_warning),
	DEF(STR, retention_quota_warning_hysteresis),
	DEF(TIME, retention_quota_warning_interval),
	DEF(STR, retention_quota_warning_template),

	SETTING_DEFINE_LIST_END
};

static const struct retention_config retention_default_settings = {
	.retention_rule = ARRAY_INIT,
	.retention_archive_mailbox = RETENTION_ARCHIVE_MAILBOX_DEFAULT,
	.retention_archive_format = RETENTION_ARCHIVE_FORMAT_DEFAULT,
	.retention_compression_level = RETENTION_COMPRESSION_LEVEL_DEFAULT,
	.retention_minimum_age = RETENTION_MINIMUM_AGE_DEFAULT,
	.retention_run_limit = "0",
	.retention_pop3_delete = "expunge",
	.retention_pop3_keep_time = "unlimited",
	.retention_pop3_keep_action = "archive",
	.retention_pop3_leave_time = "unlimited",
	.retention_quota_archive = "stored",
	.retention_quota_archive_root = "",
	.retention_quota_on_error = "accept",
	.retention_quota_relief = FALSE,
	.retention_quota_relief_target = "90%",
	.retention_quota_relief_time = RETENTION_QUOTA_RELIEF_TIME_DEFAULT,
	.retention_quota_warning = "",
	.retention_quota_warning_hysteresis = "5%",
	.retention_quota_warning_interval =
		RETENTION_QUOTA_WARNING_INTERVAL_DEFAULT,
	.retention_quota_warning_template = "",
};

const struct setting_parser_info retention_setting_parser_info = {
	.name = "retention",
	.defines = retention_setting_defines,
	.defaults = &retention_default_settings,
	.struct_size = sizeof(struct retention_config),
	.pool_offset1 = 1 + offsetof(struct retention_config, pool),
	.check_func = retention_config_check,
	.ext_check_func = retention_config_ext_check,
};

#undef DEF
#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct retention_rule_config)

static const struct setting_define retention_rule_setting_defines[] = {
	DEF(STR, retention_rule_name),
	DEF(STR, retention_rule_mailbox),
	DEF(ENUM, retention_rule_action),
	DEF(TIME, retention_rule_age),
	DEF(ENUM, retention_rule_age_from),
	DEF(BOOL, retention_rule_keep_flagged),
	DEF(BOOL, retention_rule_keep_unseen),
	DEF(SIZE, retention_rule_min_size),
	DEF(STR, retention_rule_into),

	SETTING_DEFINE_LIST_END
};

/* The first word of an enum is its default: no action is none. */
static const struct retention_rule_config retention_rule_default_settings = {
	.retention_rule_name = "",
	.retention_rule_mailbox = "",
	.retention_rule_action = ":archive:compress:expunge:keep",
	.retention_rule_age = RETENTION_AGE_MISSING,
	.retention_rule_age_from = "saved:received:sent",
	.retention_rule_keep_flagged = FALSE,
	.retention_rule_keep_unseen = FALSE,
	.retention_rule_min_size = 0,
	.retention_rule_into = "",
};

const struct setting_parser_info retention_rule_setting_parser_info = {
	.name = "retention_rule",
	.defines = retention_rule_setting_defines,
	.defaults = &retention_rule_default_settings,
	.struct_size = sizeof(struct retention_rule_config),
	.pool_offset1 = 1 + offsetof(struct retention_rule_config, pool),
	.ext_check_func = retention_rule_config_check,
};

const struct setting_parser_info *retention_settings_set_infos[] = {
	&retention_setting_parser_info,
	&retention_rule_setting_parser_info,
	NULL
};
const char *retention_settings_version = DOVECOT_ABI_VERSION;
