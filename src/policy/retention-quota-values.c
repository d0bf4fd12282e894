/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "str.h"
#include "strfuncs.h"
#include "strnum.h"
#include "retention-compat.h"
#include "retention-quota-values.h"

/* Sets one member from the value; returns as
   retention_quota_settings_set() does, but never 0. */
typedef int retention_quota_set_t(struct retention_quota_settings *set,
				  pool_t pool, const char *value,
				  const char **error_r);

static const char *const retention_quota_archive_names[] = {
	"stored", "full", "none", NULL
};
static const char *const retention_quota_on_error_names[] = {
	"accept", "tempfail", NULL
};
static const char *const retention_quota_bool_names[] = {
	"no", "yes", NULL
};

/* Returns 1 with idx_r, or -1 with the words that are allowed. */
static int
retention_quota_parse_word(const char *const *words, const char *value,
			   unsigned int *idx_r, const char **error_r)
{
	for (unsigned int i = 0; words[i] != NULL; i++) {
		if (strcmp(words[i], value) == 0) {
			*idx_r = i;
			return 1;
		}
	}
	*error_r = t_strdup_printf("is not known (allowed are %s)",
				   t_strarray_join(words, ", "));
	return -1;
}

static int
retention_quota_parse_percent(const char *value, unsigned int min,
			      unsigned int max, unsigned int *percent_r,
			      const char **error_r)
{
	const char *end;
	uintmax_t percent;

	if (str_parse_uintmax(value, &percent, &end) < 0 ||
	    percent < min || percent > max ||
	    (end[0] != '\0' && strcmp(end, "%") != 0)) {
		*error_r = t_strdup_printf("is not a percentage (allowed are "
			"%u%% to %u%%)", min, max);
		return -1;
	}
	*percent_r = percent;
	return 1;
}

static int
retention_quota_parse_time(const char *value, unsigned int *secs_r,
			   const char **error_r)
{
	const char *error;

	if (retention_parse_time(value, secs_r, &error) < 0) {
		*error_r = t_strdup_printf("is not a time: %s; allowed is a "
			"time such as 10s, 12h or 1d", error);
		return -1;
	}
	return 1;
}

static int
retention_quota_set_archive(struct retention_quota_settings *set,
			    pool_t pool ATTR_UNUSED, const char *value,
			    const char **error_r)
{
	unsigned int idx;

	if (retention_quota_parse_word(retention_quota_archive_names, value,
				       &idx, error_r) < 0)
		return -1;
	set->archive = idx;
	return 1;
}

static int
retention_quota_set_archive_root(struct retention_quota_settings *set,
				 pool_t pool, const char *value,
				 const char **error_r ATTR_UNUSED)
{
	set->archive_root = p_strdup(pool, value);
	return 1;
}

static int
retention_quota_set_on_error(struct retention_quota_settings *set,
			     pool_t pool ATTR_UNUSED, const char *value,
			     const char **error_r)
{
	unsigned int idx;

	if (retention_quota_parse_word(retention_quota_on_error_names, value,
				       &idx, error_r) < 0)
		return -1;
	set->tempfail = idx == 1;
	return 1;
}

static int
retention_quota_set_relief(struct retention_quota_settings *set,
			   pool_t pool ATTR_UNUSED, const char *value,
			   const char **error_r)
{
	unsigned int idx;

	if (retention_quota_parse_word(retention_quota_bool_names, value,
				       &idx, error_r) < 0)
		return -1;
	set->relief = idx == 1;
	return 1;
}

static int
retention_quota_set_relief_target(struct retention_quota_settings *set,
				  pool_t pool ATTR_UNUSED, const char *value,
				  const char **error_r)
{
	return retention_quota_parse_percent(value, 1, 100,
					     &set->relief_target, error_r);
}

static int
retention_quota_set_relief_time(struct retention_quota_settings *set,
				pool_t pool ATTR_UNUSED, const char *value,
				const char **error_r)
{
	return retention_quota_parse_time(value, &set->relief_time, error_r);
}

/* "80% 90%": one or more, ascending; separated by white space or commas. */
static int
retention_quota_set_warning(struct retention_quota_settings *set,
			    pool_t pool ATTR_UNUSED, const char *value,
			    const char **error_r)
{
	const char *const *words = t_strsplit_spaces(value, " \t,");
	unsigned int level, last = 0;
	const char *error;

	set->levels_count = 0;
	for (; *words != NULL; words++) {
		if (retention_quota_parse_percent(*words, 1, 100, &level,
						  &error) < 0 ||
		    level <= last ||
		    set->levels_count == RETENTION_QUOTA_WARNING_LEVELS_MAX) {
			*error_r = t_strdup_printf("is not a list of levels "
				"(allowed are up to %d percentages from 1%% to "
				"100%%, ascending, such as 80%% 90%%)",
				RETENTION_QUOTA_WARNING_LEVELS_MAX);
			return -1;
		}
		set->levels[set->levels_count++] = last = level;
	}
	return 1;
}

static int
retention_quota_set_warning_hysteresis(struct retention_quota_settings *set,
				       pool_t pool ATTR_UNUSED,
				       const char *value, const char **error_r)
{
	return retention_quota_parse_percent(value, 0, 50,
					     &set->warning_hysteresis,
					     error_r);
}

static int
retention_quota_set_warning_interval(struct retention_quota_settings *set,
				     pool_t pool ATTR_UNUSED,
				     const char *value, const char **error_r)
{
	return retention_quota_parse_time(value, &set->warning_interval,
					  error_r);
}

static int
retention_quota_set_warning_template(struct retention_quota_settings *set,
				     pool_t pool, const char *value,
				     const char **error_r)
{
	if (*value != '\0' && *value != '/') {
		*error_r = "is not a path (allowed is an absolute path, or "
			"nothing for the template that is built in)";
		return -1;
	}
	set->warning_template = p_strdup(pool, value);
	return 1;
}

static const struct {
	const char *key;
	retention_quota_set_t *set;
} retention_quota_keys[] = {
	{ "retention_quota_archive", retention_quota_set_archive },
	{ "retention_quota_archive_root", retention_quota_set_archive_root },
	{ "retention_quota_on_error", retention_quota_set_on_error },
	{ "retention_quota_relief", retention_quota_set_relief },
	{ "retention_quota_relief_target", retention_quota_set_relief_target },
	{ "retention_quota_relief_time", retention_quota_set_relief_time },
	{ "retention_quota_warning", retention_quota_set_warning },
	{ "retention_quota_warning_hysteresis",
	  retention_quota_set_warning_hysteresis },
	{ "retention_quota_warning_interval",
	  retention_quota_set_warning_interval },
	{ "retention_quota_warning_template",
	  retention_quota_set_warning_template },
};

void retention_quota_settings_init(struct retention_quota_settings *set)
{
	i_zero(set);
	set->archive_root = "";
	set->relief_target = RETENTION_QUOTA_RELIEF_TARGET_DEFAULT;
	set->relief_time = RETENTION_QUOTA_RELIEF_TIME_DEFAULT;
	set->warning_interval = RETENTION_QUOTA_WARNING_INTERVAL_DEFAULT;
	set->warning_hysteresis = RETENTION_QUOTA_WARNING_HYSTERESIS_DEFAULT;
	set->warning_template = "";
}

int retention_quota_settings_set(struct retention_quota_settings *set,
				 pool_t pool, const char *key,
				 const char *value, const char **error_r)
{
	for (unsigned int i = 0; i < N_ELEMENTS(retention_quota_keys); i++) {
		if (strcmp(retention_quota_keys[i].key, key) == 0) {
			return retention_quota_keys[i].set(set, pool, value,
							   error_r);
		}
	}
	return 0;
}

int retention_quota_settings_check(const struct retention_quota_settings *set,
				   const char **error_r)
{
	if (*set->archive_root != '\0' &&
	    set->archive == RETENTION_QUOTA_ARCHIVE_NONE) {
		*error_r = t_strdup_printf("retention_quota_archive_root=%s "
			"makes no sense with retention_quota_archive=none "
			"(allowed are stored and full)", set->archive_root);
		return -1;
	}
	return 0;
}

const char *retention_quota_settings_known(void)
{
	string_t *str = t_str_new(256);

	for (unsigned int i = 0; i < N_ELEMENTS(retention_quota_keys); i++) {
		if (i > 0)
			str_append(str, ", ");
		str_append(str, retention_quota_keys[i].key);
	}
	return str_c(str);
}
