/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "retention-values.h"
#include "retention-settings-private.h"

struct retention_settings *retention_settings_alloc(void)
{
	struct retention_settings *set;
	pool_t pool;

	pool = pool_alloconly_create("retention settings", 1024);
	set = p_new(pool, struct retention_settings, 1);
	set->pool = pool;
	set->archive_mailbox = RETENTION_ARCHIVE_MAILBOX_DEFAULT;
	set->compression_level = RETENTION_COMPRESSION_LEVEL_DEFAULT;
	set->minimum_age = RETENTION_MINIMUM_AGE_DEFAULT;
	set->run_limit = RETENTION_RUN_LIMIT_DEFAULT;
	retention_pop3_settings_init(&set->pop3);
	retention_quota_settings_init(&set->quota);
	p_array_init(&set->rules, pool, 4);
	return set;
}

static int retention_rule_cmp(const struct retention_rule *rule1,
			      const struct retention_rule *rule2)
{
	return strcmp(rule1->name, rule2->name);
}

int retention_settings_finish(struct retention_settings *set,
			      const char **name_r, const char **error_r)
{
	const struct retention_rule *rule;

	array_sort(&set->rules, retention_rule_cmp);
	array_foreach(&set->rules, rule) {
		if (retention_rule_check(rule, set->minimum_age, error_r) < 0) {
			*name_r = t_strdup(rule->name);
			return -1;
		}
	}
	*name_r = NULL;
	return retention_pop3_settings_check(&set->pop3, set->minimum_age,
					     error_r);
}

void retention_settings_free(const struct retention_settings **_set)
{
	const struct retention_settings *set = *_set;
	pool_t pool;

	if (set == NULL)
		return;
	*_set = NULL;
	pool = set->pool;
	pool_unref(&pool);
}
