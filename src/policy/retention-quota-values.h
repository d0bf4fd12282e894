#ifndef RETENTION_QUOTA_VALUES_H
#define RETENTION_QUOTA_VALUES_H

#define RETENTION_QUOTA_RELIEF_TARGET_DEFAULT 90
#define RETENTION_QUOTA_RELIEF_TIME_DEFAULT 10
#define RETENTION_QUOTA_WARNING_INTERVAL_DEFAULT (60 * 60 * 24)
#define RETENTION_QUOTA_WARNING_HYSTERESIS_DEFAULT 5
#define RETENTION_QUOTA_WARNING_LEVELS_MAX 8

/* How archived mail counts. */
enum retention_quota_archive {
	/* by the bytes that it takes on disk */
	RETENTION_QUOTA_ARCHIVE_STORED = 0,
	/* by its message size, as all other mail */
	RETENTION_QUOTA_ARCHIVE_FULL,
	/* not at all, neither its bytes nor its messages */
	RETENTION_QUOTA_ARCHIVE_NONE,
};

/* The settings retention_quota_*. */
struct retention_quota_settings {
	enum retention_quota_archive archive;
	/* Name of the quota root that holds the archive alone, "" if none
	   does. */
	const char *archive_root;
	/* Refuse mail for now when the usage can't be told. */
	bool tempfail;
	bool relief;
	/* Percent of the limit. */
	unsigned int relief_target;
	/* Seconds. */
	unsigned int relief_time;
	/* Percents of the limit, ascending. */
	unsigned int levels[RETENTION_QUOTA_WARNING_LEVELS_MAX];
	unsigned int levels_count;
	/* Seconds. */
	unsigned int warning_interval;
	/* Percentage points. */
	unsigned int warning_hysteresis;
	/* Path of the notice's template, "" for the one that is built in. */
	const char *warning_template;
};

/* Fill in the defaults. */
void retention_quota_settings_init(struct retention_quota_settings *set);
/* Set one member by the name of its setting. Strings are copied to the pool.
   Returns 1 if it was set, 0 if there is no such setting, -1 with error_r that
   continues a sentence which begins with the setting and its value. */
int retention_quota_settings_set(struct retention_quota_settings *set,
				 pool_t pool, const char *key,
				 const char *value, const char **error_r);
/* Check what only the settings together tell. Returns 0, or -1 with error_r,
   which names settings and values. */
int retention_quota_settings_check(const struct retention_quota_settings *set,
				   const char **error_r);
/* The names of all settings, "retention_quota_archive, ..." */
const char *retention_quota_settings_known(void);

#endif
