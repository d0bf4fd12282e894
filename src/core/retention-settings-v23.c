/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Settings of Dovecot 2.3: keys of the plugin { } section, where fields that
   userdb returns end up as well, replacing what the configuration has under
   the same key.

   retention_rule_NAME holds a rule in one string, retention_rule_NAME.FIELD one
   field of it. The latter is for userdb: it changes one field, and it can build
   a whole rule where a value with spaces is impossible. So fields count over
   the string, in whatever order Dovecot lists the keys.

   Dovecot itself checks none of this. A key that is not known is refused,
   because a misspelt one would else mean that there is no rule. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "strfuncs.h"
#include "mail-user.h"
#include "mail-storage-settings.h"
#include "retention-compat.h"
#include "retention-template.h"
#include "retention-values.h"
#include "retention-settings-private.h"

#define RETENTION_PREFIX "retention_"
#define RETENTION_RULE_PREFIX "retention_rule_"
#define RETENTION_RULE_FIELD_SEP '.'
/* What Dovecot makes of a field that userdb returns without a value. */
#define RETENTION_NO_VALUE "yes"

/* Sets one member of the settings from the value. Returns 0, or -1 with error_r
   that continues "key=value". */
typedef int retention_key_set_t(struct retention_settings *set,
				const char *value, const char **error_r);

static int
retention_set_archive_mailbox(struct retention_settings *set,
			      const char *value, const char **error_r)
{
	set->archive_mailbox = p_strdup(set->pool, value);
	return retention_template_check(value, error_r);
}

static int
retention_set_archive_format(struct retention_settings *set ATTR_UNUSED,
			     const char *value, const char **error_r)
{
	return retention_format_check(value, error_r);
}

static int
retention_set_compression_level(struct retention_settings *set,
				const char *value, const char **error_r)
{
	return retention_level_parse(value, &set->compression_level, error_r);
}

static int
retention_set_minimum_age(struct retention_settings *set, const char *value,
			  const char **error_r)
{
	const char *error;

	if (retention_parse_time(value, &set->minimum_age, &error) < 0) {
		*error_r = t_strdup_printf("is not a time: %s; allowed is a "
			"time such as 1d, 12h or 0", error);
		return -1;
	}
	return 0;
}

static int
retention_set_run_limit(struct retention_settings *set, const char *value,
			const char **error_r)
{
	return retention_percent_parse(value, &set->run_limit, error_r);
}

static int
retention_set_pop3_delete(struct retention_settings *set, const char *value,
			  const char **error_r)
{
	return retention_pop3_delete_parse(value, &set->pop3.delete, error_r);
}

static int
retention_set_pop3_keep_time(struct retention_settings *set, const char *value,
			     const char **error_r)
{
	return retention_pop3_time_parse(value, &set->pop3.keep_time, error_r);
}

static int
retention_set_pop3_keep_action(struct retention_settings *set,
			       const char *value, const char **error_r)
{
	return retention_pop3_keep_action_parse(value, &set->pop3.keep_action,
						error_r);
}

static int
retention_set_pop3_leave_time(struct retention_settings *set,
			      const char *value, const char **error_r)
{
	return retention_pop3_time_parse(value, &set->pop3.leave_time, error_r);
}

/* The keys that do not belong to a rule. */
static const struct {
	const char *key;
	retention_key_set_t *set;
} retention_keys[] = {
	{ "retention_archive_format", retention_set_archive_format },
	{ "retention_archive_mailbox", retention_set_archive_mailbox },
	{ "retention_compression_level", retention_set_compression_level },
	{ "retention_minimum_age", retention_set_minimum_age },
	{ "retention_pop3_delete", retention_set_pop3_delete },
	{ "retention_pop3_keep_action", retention_set_pop3_keep_action },
	{ "retention_pop3_keep_time", retention_set_pop3_keep_time },
	{ "retention_pop3_leave_time", retention_set_pop3_leave_time },
	{ "retention_run_limit", retention_set_run_limit },
};

static const char *retention_keys_known(void)
{
	string_t *str = t_str_new(256);
	unsigned int i;

	str_append(str, RETENTION_RULE_PREFIX"NAME, "
		   RETENTION_RULE_PREFIX"NAME.FIELD");
	for (i = 0; i < N_ELEMENTS(retention_keys); i++)
		str_printfa(str, ", %s", retention_keys[i].key);
	str_printfa(str, ", %s", retention_quota_settings_known());
	return str_c(str);
}

static int
retention_settings_set_key(struct retention_settings *set, const char *key,
			   const char *value, const char **error_r)
{
	const char *error;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < N_ELEMENTS(retention_keys) && ret == 0; i++) {
		if (strcmp(retention_keys[i].key, key) == 0) {
			ret = retention_keys[i].set(set, value,
						    &error) < 0 ? -1 : 1;
		}
	}
	if (ret == 0) {
		ret = retention_quota_settings_set(&set->quota, set->pool,
						   key, value, &error);
	}
	if (ret > 0)
		return 0;
	if (ret < 0) {
		*error_r = t_strdup_printf("%s=%s %s", key, value, error);
		return -1;
	}
	*error_r = t_strdup_printf("unknown setting %s=%s (known are %s)",
				   key, value, retention_keys_known());
	return -1;
}

static struct retention_rule *
retention_settings_get_rule(struct retention_settings *set, const char *name)
{
	struct retention_rule *rule;

	array_foreach_modifiable(&set->rules, rule) {
		if (strcmp(rule->name, name) == 0)
			return rule;
	}
	rule = array_append_space(&set->rules);
	retention_rule_init(rule, set->pool, name);
	return rule;
}

/* Set a rule from its string (field == NULL) or one field of it. */
static int
retention_settings_set_rule(struct retention_settings *set, const char *key,
			    const char *field, const char *value,
			    const char **error_r)
{
	struct retention_rule *rule;
	const char *error, *name = key + strlen(RETENTION_RULE_PREFIX);
	int ret;

	if (field != NULL)
		name = t_strdup_until(name, field - 1);
	if (*name == '\0') {
		*error_r = t_strdup_printf("%s=%s has no rule name (allowed is "
			RETENTION_RULE_PREFIX"NAME)", key, value);
		return -1;
	}
	if (field == NULL && strcmp(value, RETENTION_NO_VALUE) == 0)
		value = "";
	rule = retention_settings_get_rule(set, name);
	ret = field == NULL ?
		retention_rule_parse(rule, set->pool, value, &error) :
		retention_rule_set(rule, set->pool, field, value, &error);
	if (ret < 0)
		*error_r = t_strdup_printf("%s: %s", key, error);
	return ret;
}

/* Set what the keys give, fields of rules or all the rest. */
static int
retention_settings_set_keys(struct retention_settings *set,
			    const char *const *envs, unsigned int count,
			    bool fields, const char **error_r)
{
	const char *key, *value, *field;
	unsigned int i;
	int ret;

	for (i = 0; i + 1 < count; i += 2) {
		key = envs[i];
		value = envs[i + 1];
		if (strncasecmp(key, RETENTION_PREFIX,
				strlen(RETENTION_PREFIX)) != 0)
			continue;
		field = strrchr(key, RETENTION_RULE_FIELD_SEP);
		if ((field != NULL) != fields)
			continue;
		if (str_begins(key, RETENTION_RULE_PREFIX)) {
			ret = retention_settings_set_rule(
				set, key, field == NULL ? NULL : field + 1,
				value, error_r);
		} else {
			ret = retention_settings_set_key(set, key, value,
							 error_r);
		}
		if (ret < 0)
			return -1;
	}
	return 0;
}

static int
retention_settings_fill(struct retention_settings *set,
			const struct mail_user_settings *user_set,
			const char **error_r)
{
	const char *const *envs, *name, *key, *value, *error;
	unsigned int count;

	if (!array_is_created(&user_set->plugin_envs))
		return 0;
	envs = array_get(&user_set->plugin_envs, &count);
	if (retention_settings_set_keys(set, envs, count, FALSE, error_r) < 0 ||
	    retention_settings_set_keys(set, envs, count, TRUE, error_r) < 0 ||
	    retention_quota_settings_check(&set->quota, error_r) < 0)
		return -1;
	if (retention_settings_finish(set, &name, &error) == 0)
		return 0;
	if (name == NULL) {
		*error_r = error;
		return -1;
	}

	key = t_strconcat(RETENTION_RULE_PREFIX, name, NULL);
	value = mail_user_set_plugin_getenv(user_set, key);
	if (value != NULL && (value[0] == '\0' ||
			      strcmp(value, RETENTION_NO_VALUE) == 0)) {
		error = t_strdup_printf("%s. An empty value does not switch a "
			"rule off, %s%cage=unlimited does", error, key,
			RETENTION_RULE_FIELD_SEP);
	}
	*error_r = t_strdup_printf("%s: %s", key, error);
	return -1;
}

int retention_settings_read(struct mail_user *user,
			    const struct retention_settings **set_r,
			    const char **error_r)
{
	struct retention_settings *set;
	int ret;

	set = retention_settings_alloc();
	ret = retention_settings_fill(set, user->set, error_r);
	*set_r = set;
	if (ret < 0)
		retention_settings_free(set_r);
	return ret;
}
