/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "str.h"
#include "test-common.h"
#include "retention-quota-values.h"

static int set_one(struct retention_quota_settings *set, const char *key,
		   const char *value, const char **error_r)
{
	retention_quota_settings_init(set);
	*error_r = NULL;
	return retention_quota_settings_set(set, pool_datastack_create(),
					    key, value, error_r);
}

static void test_quota_values_default(void)
{
	struct retention_quota_settings set;

	test_begin("quota settings: what nobody has set");
	memset(&set, 0xaa, sizeof(set));
	retention_quota_settings_init(&set);
	test_assert(set.archive == RETENTION_QUOTA_ARCHIVE_STORED);
	test_assert_strcmp(set.archive_root, "");
	test_assert(!set.tempfail && !set.relief);
	test_assert(set.relief_target == 90 && set.relief_time == 10);
	test_assert(set.levels_count == 0);
	test_assert(set.warning_interval == 24 * 60 * 60);
	test_assert(set.warning_hysteresis == 5);
	test_assert_strcmp(set.warning_template, "");
	test_end();
}

static void test_quota_values_words(void)
{
	static const struct {
		const char *value;
		enum retention_quota_archive archive;
	} archives[] = {
		{ "stored", RETENTION_QUOTA_ARCHIVE_STORED },
		{ "full", RETENTION_QUOTA_ARCHIVE_FULL },
		{ "none", RETENTION_QUOTA_ARCHIVE_NONE },
	};
	struct retention_quota_settings set;
	const char *error;

	test_begin("quota settings: each word sets what it says");
	for (unsigned int i = 0; i < N_ELEMENTS(archives); i++) {
		test_assert_idx(set_one(&set, "retention_quota_archive",
					archives[i].value, &error) == 1, i);
		test_assert_idx(set.archive == archives[i].archive, i);
	}
	test_assert(set_one(&set, "retention_quota_on_error", "tempfail",
			    &error) == 1 && set.tempfail);
	test_assert(set_one(&set, "retention_quota_on_error", "accept",
			    &error) == 1 && !set.tempfail);
	test_assert(set_one(&set, "retention_quota_relief", "yes",
			    &error) == 1 && set.relief);
	test_assert(set_one(&set, "retention_quota_relief", "no",
			    &error) == 1 && !set.relief);
	test_assert(set_one(&set, "retention_quota_archive_root", "A b",
			    &error) == 1);
	test_assert_strcmp(set.archive_root, "A b");
	test_assert(set_one(&set, "retention_quota_warning_template",
			    "/etc/notice", &error) == 1);
	test_assert_strcmp(set.warning_template, "/etc/notice");
	test_assert(set_one(&set, "retention_quota_warning_template", "",
			    &error) == 1);
	test_end();
}

static void test_quota_values_numbers(void)
{
	struct retention_quota_settings set;
	const char *error;

	test_begin("quota settings: percentages and times, also the extremes");
	test_assert(set_one(&set, "retention_quota_relief_target", "1",
			    &error) == 1 && set.relief_target == 1);
	test_assert(set_one(&set, "retention_quota_relief_target", "100%",
			    &error) == 1 && set.relief_target == 100);
	test_assert(set_one(&set, "retention_quota_warning_hysteresis", "0",
			    &error) == 1 && set.warning_hysteresis == 0);
	test_assert(set_one(&set, "retention_quota_warning_hysteresis", "50%",
			    &error) == 1 && set.warning_hysteresis == 50);
	test_assert(set_one(&set, "retention_quota_relief_time", "30s",
			    &error) == 1 && set.relief_time == 30);
	test_assert(set_one(&set, "retention_quota_warning_interval",
			    "12 hours", &error) == 1 &&
		    set.warning_interval == 12 * 60 * 60);
	test_assert(set_one(&set, "retention_quota_warning_interval",
			    "unlimited", &error) == 1 &&
		    set.warning_interval == UINT_MAX);
	test_end();
}

static void test_quota_values_levels(void)
{
	static const struct {
		const char *value;
		unsigned int levels[RETENTION_QUOTA_WARNING_LEVELS_MAX];
	} tests[] = {
		{ "", { 0 } }, { " ", { 0 } },
		{ "80", { 80 } }, { "100", { 100 } }, { " 80% ", { 80 } },
		{ "80 90", { 80, 90 } }, { "80%,90%", { 80, 90 } },
		{ "80,\t90 , 95%", { 80, 90, 95 } },
		{ "1 2 3 4 5 6 7 8", { 1, 2, 3, 4, 5, 6, 7, 8 } },
	};
	struct retention_quota_settings set;
	unsigned int i, count;
	const char *error;

	test_begin("quota settings: levels");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(set_one(&set, "retention_quota_warning",
					tests[i].value, &error) == 1, i);
		for (count = 0; count < N_ELEMENTS(tests[i].levels) &&
		     tests[i].levels[count] != 0; count++) ;
		test_assert_idx(set.levels_count == count, i);
		test_assert_idx(memcmp(set.levels, tests[i].levels,
				       sizeof(set.levels)) == 0, i);
	}
	/* they take the place of the former ones */
	test_assert(retention_quota_settings_set(&set, pool_datastack_create(),
		"retention_quota_warning", "70", &error) == 1);
	test_assert(set.levels_count == 1 && set.levels[0] == 70);
	test_end();
}

static void test_quota_values_bad(void)
{
	static const struct {
		const char *key, *values[12], *allowed;
	} tests[] = {
		{ "retention_quota_archive",
		  { "", "Stored", "all", "stored ", NULL },
		  "is not known (allowed are stored, full, none)" },
		{ "retention_quota_on_error", { "", "yes", "accept,", NULL },
		  "is not known (allowed are accept, tempfail)" },
		{ "retention_quota_relief", { "", "maybe", "1", NULL },
		  "is not known (allowed are no, yes)" },
		{ "retention_quota_relief_target",
		  { "", "%", "0", "101", "90x", "90%%", "-1", "9 0", "0x10",
		    "18446744073709551706", NULL },
		  "is not a percentage (allowed are 1% to 100%)" },
		{ "retention_quota_relief_time", { "", "30", "soon", NULL },
		  "allowed is a time such as 10s, 12h or 1d" },
		{ "retention_quota_warning",
		  { "0", "101", "90 80", "80 80", "80 x", "80;90", "-5",
		    "1 2 3 4 5 6 7 8 9", NULL },
		  "is not a list of levels (allowed are up to 8 percentages "
		  "from 1% to 100%, ascending, such as 80% 90%)" },
		{ "retention_quota_warning_hysteresis",
		  { "", "51", "-1", NULL },
		  "is not a percentage (allowed are 0% to 50%)" },
		{ "retention_quota_warning_interval", { "", "1", NULL },
		  "allowed is a time such as 10s, 12h or 1d" },
		{ "retention_quota_warning_template",
		  { "notice", "./notice", " /notice", NULL },
		  "is not a path (allowed is an absolute path, or nothing for "
		  "the template that is built in)" },
	};
	struct retention_quota_settings set;
	const char *error, *const *value;

	test_begin("quota settings: refused with what is allowed");
	for (unsigned int i = 0; i < N_ELEMENTS(tests); i++) {
		for (value = tests[i].values; *value != NULL; value++) {
			test_assert_idx(set_one(&set, tests[i].key, *value,
						&error) == -1, i);
			test_assert_idx(error != NULL && strstr(error,
						tests[i].allowed) != NULL, i);
			/* it continues a sentence, and does not end it */
			test_assert_idx(error != NULL &&
					strncmp(error, "is not ", 7) == 0 &&
					error[strlen(error) - 1] != '.', i);
		}
	}
	test_end();
}

static void test_quota_values_known(void)
{
	struct retention_quota_settings set;
	const char *const *keys, *error;
	unsigned int count = 0;

	test_begin("quota settings: all are told of, and no others are known");
	keys = t_strsplit_spaces(retention_quota_settings_known(), ", ");
	for (; *keys != NULL; keys++, count++) {
		test_assert(strncmp(*keys, "retention_quota_", 16) == 0);
		test_assert(set_one(&set, *keys, "\001", &error) != 0);
	}
	test_assert(count == 10);
	test_assert(set_one(&set, "retention_quota_nothing", "", &error) == 0);
	test_assert(set_one(&set, "retention_quota_archiv", "full",
			    &error) == 0);
	test_assert(set_one(&set, "", "", &error) == 0);
	test_end();
}

static void test_quota_values_check(void)
{
	struct retention_quota_settings set;
	const char *error;

	test_begin("quota settings: a root for an archive that does not count");
	retention_quota_settings_init(&set);
	set.archive = RETENTION_QUOTA_ARCHIVE_NONE;
	test_assert(retention_quota_settings_check(&set, &error) == 0);
	set.archive_root = "Old mail";
	test_assert(retention_quota_settings_check(&set, &error) == -1);
	test_assert_strcmp(error,
		"retention_quota_archive_root=Old mail makes no sense with "
		"retention_quota_archive=none (allowed are stored and full)");
	set.archive = RETENTION_QUOTA_ARCHIVE_FULL;
	test_assert(retention_quota_settings_check(&set, &error) == 0);
	set.archive = RETENTION_QUOTA_ARCHIVE_STORED;
	test_assert(retention_quota_settings_check(&set, &error) == 0);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_quota_values_default,
		test_quota_values_words,
		test_quota_values_numbers,
		test_quota_values_levels,
		test_quota_values_bad,
		test_quota_values_known,
		test_quota_values_check,
		NULL
	};
	return test_run(test_functions);
}
