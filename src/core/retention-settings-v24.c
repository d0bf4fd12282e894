/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Settings of Dovecot 2.4: read with its settings API, by the definitions of
   retention-settings-defs.c. What settings_get() returns is freed on every
   path: a leak would crash the process at its exit, when Dovecot reports it by
   a file name that was unloaded with the plugin.

   Dovecot refuses unknown settings in its configuration, but silently ignores
   those that userdb returns. A misspelt one would leave a user without the rule
   that was meant for them, so they are looked for here. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "strfuncs.h"
#include "mail-user.h"
#include "settings.h"
#include "retention-settings-private.h"
#include "retention-settings-v24.h"

#define RETENTION_PREFIX "retention_"
#define RETENTION_RULE "retention_rule"

static const char *
retention_settings_known(const struct setting_parser_info *info)
{
	const struct setting_define *def;
	string_t *str = t_str_new(256);

	for (def = info->defines; def->key != NULL; def++)
		str_printfa(str, ", %s", def->key);
	return str_c(str) + 2;
}

static bool
retention_config_has_rule(const struct retention_config *config,
			  const char *name)
{
	return array_is_created(&config->retention_rule) &&
		array_lsearch(&config->retention_rule, &name,
			      i_strcmp_p) != NULL;
}

/* Check a userdb field "retention_rule/NAME/FIELD", where path is what follows
   the first '/'. */
static int
retention_userdb_check_rule(const struct retention_config *config,
			    const char *path, const char **error_r)
{
	const struct setting_parser_info *info =
		&retention_rule_setting_parser_info;
	const char *sep, *name, *field, *long_field;
	unsigned int idx;

	sep = strchr(path, SETTINGS_SEPARATOR);
	field = sep == NULL ? "" : sep + 1;
	long_field = t_strdup_printf(RETENTION_RULE"_%s", field);
	if (!setting_parser_info_find_key(info, field, &idx) &&
	    !setting_parser_info_find_key(info, long_field, &idx)) {
		*error_r = t_strdup_printf("is not a field of a rule (known "
			"are %s)", retention_settings_known(info));
		return -1;
	}
	name = settings_section_unescape(t_strdup_until(path, sep));
	if (!retention_config_has_rule(config, name)) {
		*error_r = t_strdup_printf("is of no rule: there is no "
			RETENTION_RULE" %s ("RETENTION_RULE"+=%s would add it)",
			name, name);
		return -1;
	}
	return 0;
}

static int
retention_userdb_check_field(const struct retention_config *config,
			     const char *key, const char **error_r)
{
	const struct setting_parser_info *info = &retention_setting_parser_info;
	const char *suffix;
	unsigned int idx;

	if (str_begins(key, RETENTION_RULE SETTINGS_SEPARATOR_S, &suffix))
		return retention_userdb_check_rule(config, suffix, error_r);
	if (setting_parser_info_find_key(info, key, &idx))
		return 0;
	*error_r = t_strdup_printf("is not a setting (known are %s, "
		RETENTION_RULE"/NAME/FIELD)", retention_settings_known(info));
	return -1;
}

static int
retention_userdb_check(const struct retention_config *config,
		       const char *const *fields, const char **error_r)
{
	const char *key, *error;
	size_t len;

	for (; fields != NULL && *fields != NULL; fields++) {
		if (!str_begins_icase_with(*fields, RETENTION_PREFIX))
			continue;
		/* "key=value", or "key+=value" to append to a value or list */
		len = strcspn(*fields, "=");
		if (len > 0 && (*fields)[len - 1] == '+')
			len--;
		key = t_strndup(*fields, len);
		if (strcasecmp(*fields, RETENTION_RULE"=") == 0) {
			*error_r = "userdb field "RETENTION_RULE" has no value "
				"(to switch a rule off for a user, set "
				RETENTION_RULE"/NAME/age=unlimited)";
			return -1;
		}
		if (retention_userdb_check_field(config, key, &error) < 0) {
			*error_r = t_strdup_printf("userdb field %s %s",
						   *fields, error);
			return -1;
		}
	}
	return 0;
}

/* Dovecot's own error for a word that is not in the list does not tell the
   list. */
static const char *retention_rule_error(const char *error)
{
	string_t *str;

	if (strstr(error, RETENTION_RULE"_action=") == NULL &&
	    strstr(error, RETENTION_RULE"_age_from=") == NULL)
		return error;
	str = t_str_new(128);
	str_printfa(str, "%s (allowed actions are", error);
	for (int i = RETENTION_ACTION_COMPRESS; i <= RETENTION_ACTION_KEEP; i++)
		str_printfa(str, " %s", retention_action_name(i));
	str_append(str, "; ages count from");
	for (int i = RETENTION_AGE_FROM_SAVED; i <= RETENTION_AGE_FROM_SENT; i++)
		str_printfa(str, " %s", retention_age_from_name(i));
	str_append_c(str, ')');
	return str_c(str);
}

static int
retention_settings_add_rule(struct retention_settings *set,
			    struct event *event, const char *name,
			    const char **error_r)
{
	const struct retention_rule_config *config;
	struct retention_rule *rule;
	const char *error;
	int ret;

	if (settings_get_filter(event, RETENTION_RULE, name,
				&retention_rule_setting_parser_info, 0,
				&config, &error) < 0) {
		*error_r = retention_rule_error(error);
		return -1;
	}
	rule = array_append_space(&set->rules);
	ret = retention_rule_config_parse(config, set->pool, rule, &error);
	if (ret < 0) {
		*error_r = t_strdup_printf(RETENTION_RULE" %s: %s", name,
					   error);
	}
	settings_free(config);
	return ret;
}

static int
retention_settings_add_rules(struct retention_settings *set,
			     struct event *event,
			     const struct retention_config *config,
			     const char **error_r)
{
	const char *name;

	if (!array_is_created(&config->retention_rule))
		return 0;
	array_foreach_elem(&config->retention_rule, name) {
		if (retention_settings_add_rule(set, event, name, error_r) < 0)
			return -1;
	}
	return 0;
}

static int
retention_settings_fill(struct retention_settings *set, struct mail_user *user,
			const struct retention_config *config,
			const char **error_r)
{
	const char *name, *error;

	set->archive_mailbox = p_strdup(set->pool,
					config->retention_archive_mailbox);
	set->compression_level = config->retention_compression_level;
	set->minimum_age = config->retention_minimum_age;
	set->run_limit = config->parsed_run_limit;

	if (retention_pop3_config_parse(config, &set->pop3, error_r) < 0 ||
	    retention_quota_config_parse(config, set->pool, &set->quota,
					 error_r) < 0 ||
	    retention_userdb_check(config, user->userdb_fields, error_r) < 0 ||
	    retention_settings_add_rules(set, user->event, config,
					 error_r) < 0)
		return -1;
	if (retention_settings_finish(set, &name, &error) < 0) {
		*error_r = name == NULL ? error :
			t_strdup_printf(RETENTION_RULE" %s: %s", name, error);
		return -1;
	}
	return 0;
}

int retention_settings_read(struct mail_user *user,
			    const struct retention_settings **set_r,
			    const char **error_r)
{
	const struct retention_config *config;
	struct retention_settings *set;
	int ret;

	if (settings_get(user->event, &retention_setting_parser_info, 0,
			 &config, error_r) < 0)
		return -1;
	set = retention_settings_alloc();
	ret = retention_settings_fill(set, user, config, error_r);
	settings_free(config);
	*set_r = set;
	if (ret < 0)
		retention_settings_free(set_r);
	return ret;
}
