/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "test-common.h"
#include "retention-warning.h"

#define HOUR (60 * 60)
#define N RETENTION_WARNING_NONE
#define R RETENTION_WARNING_REACHED
#define B RETENTION_WARNING_BELOW

struct test_step {
	/* Hours since the beginning, and usage in tenths of a percent. */
	unsigned int hour, permille;
	enum retention_warning warning;
	unsigned int level;
};

static const struct test_sequence {
	const char *name;
	struct test_step steps[12];
} sequences[] = {
	{ "up and staying: one notice each", {
		{ 1, 100, N, 0 }, { 2, 799, N, 0 }, { 3, 800, R, 80 },
		{ 4, 850, N, 80 }, { 50, 880, N, 80 }, { 51, 900, R, 90 },
		{ 90, 999, N, 90 }, { 91, 1100, N, 90 } } },
	{ "up over two levels at once: one notice", {
		{ 1, 100, N, 0 }, { 2, 950, R, 90 }, { 3, 960, N, 90 } } },
	{ "a higher level does not wait for the interval", {
		{ 1, 810, R, 80 }, { 1, 910, R, 90 } } },
	{ "hovering within the hysteresis", {
		{ 1, 900, R, 90 }, { 2, 899, N, 90 }, { 3, 901, N, 90 },
		{ 4, 850, N, 90 }, { 5, 905, N, 90 }, { 60, 851, N, 90 },
		{ 61, 910, N, 90 } } },
	{ "below one level, not below the other", {
		{ 1, 900, R, 90 }, { 2, 849, N, 80 }, { 3, 760, N, 80 },
		{ 4, 749, B, 0 } } },
	{ "up again within the interval: held back until it is over", {
		{ 1, 820, R, 80 }, { 2, 700, B, 0 }, { 3, 820, N, 0 },
		{ 4, 700, N, 0 }, { 20, 830, N, 0 }, { 25, 830, R, 80 },
		{ 26, 830, N, 80 } } },
	{ "up again within the interval, and then higher", {
		{ 1, 820, R, 80 }, { 2, 700, B, 0 }, { 3, 820, N, 0 },
		{ 4, 920, R, 90 } } },
	{ "below again is told once", {
		{ 1, 820, R, 80 }, { 2, 700, B, 0 }, { 3, 690, N, 0 },
		{ 40, 100, N, 0 } } },
	{ "never above: never below", {
		{ 1, 100, N, 0 }, { 2, 0, N, 0 } } },
	{ "a limit that was lowered", {
		{ 1, 500, N, 0 }, { 2, 1000, R, 90 }, { 3, 500, B, 0 } } },
};

static void test_warning_sequences(void)
{
	struct retention_quota_settings set;

	retention_quota_settings_init(&set);
	set.levels[0] = 80;
	set.levels[1] = 90;
	set.levels_count = 2;
	for (unsigned int i = 0; i < N_ELEMENTS(sequences); i++) {
		struct retention_warning_state state;

		test_begin(t_strdup_printf("warning: %s", sequences[i].name));
		i_zero(&state);
		for (unsigned int j = 0; j < N_ELEMENTS(sequences[i].steps) &&
		     sequences[i].steps[j].hour != 0; j++) {
			const struct test_step *step = &sequences[i].steps[j];

			test_assert_idx(retention_warning_judge(&set,
				step->permille, 1000000 + step->hour * HOUR,
				&state) == step->warning, j);
			test_assert_idx(state.level == step->level, j);
		}
		test_end();
	}
}

static void test_warning_clock(void)
{
	struct retention_quota_settings set;
	struct retention_warning_state state = {
		.noticed_level = 80, .noticed = 2000000,
	};

	test_begin("warning: a clock that was set back does not silence it");
	retention_quota_settings_init(&set);
	set.levels[set.levels_count++] = 80;
	test_assert(retention_warning_judge(&set, 850, 1000000,
					    &state) == R);
	test_end();
}

static const struct {
	const char *key, *value;
	bool valid;
} values[] = {
	{ "retention_quota_archive", "stored", TRUE },
	{ "retention_quota_archive", "none", TRUE },
	{ "retention_quota_archive", "", FALSE },
	{ "retention_quota_on_error", "tempfail", TRUE },
	{ "retention_quota_on_error", "yes", FALSE },
	{ "retention_quota_relief", "yes", TRUE },
	{ "retention_quota_relief", "maybe", FALSE },
	{ "retention_quota_relief_target", "1", TRUE },
	{ "retention_quota_relief_target", "100%", TRUE },
	{ "retention_quota_relief_target", "0", FALSE },
	{ "retention_quota_relief_target", "101", FALSE },
	{ "retention_quota_relief_target", "90x", FALSE },
	{ "retention_quota_relief_time", "30s", TRUE },
	{ "retention_quota_relief_time", "30", FALSE },
	{ "retention_quota_warning", "", TRUE },
	{ "retention_quota_warning", "80 90", TRUE },
	{ "retention_quota_warning", "80%, 90%", TRUE },
	{ "retention_quota_warning", "1 2 3 4 5 6 7 8", TRUE },
	{ "retention_quota_warning", "1 2 3 4 5 6 7 8 9", FALSE },
	{ "retention_quota_warning", "90 80", FALSE },
	{ "retention_quota_warning", "80 80", FALSE },
	{ "retention_quota_warning", "120", FALSE },
	{ "retention_quota_warning_hysteresis", "0", TRUE },
	{ "retention_quota_warning_hysteresis", "51", FALSE },
	{ "retention_quota_warning_interval", "12 hours", TRUE },
	{ "retention_quota_warning_template", "/etc/notice", TRUE },
	{ "retention_quota_warning_template", "notice", FALSE },
};

static void test_quota_values(void)
{
	struct retention_quota_settings set;
	const char *error;
	int ret;

	test_begin("quota settings: what is allowed, and what is refused");
	for (unsigned int i = 0; i < N_ELEMENTS(values); i++) {
		retention_quota_settings_init(&set);
		error = NULL;
		ret = retention_quota_settings_set(&set,
			pool_datastack_create(), values[i].key,
			values[i].value, &error);
		test_assert_idx(ret == (values[i].valid ? 1 : -1), i);
		test_assert_idx((error == NULL) == values[i].valid, i);
	}
	test_assert(retention_quota_settings_set(&set, pool_datastack_create(),
		"retention_quota_nothing", "", &error) == 0);
	retention_quota_settings_init(&set);
	set.archive_root = "Archive";
	test_assert(retention_quota_settings_check(&set, &error) == 0);
	set.archive = RETENTION_QUOTA_ARCHIVE_NONE;
	test_assert(retention_quota_settings_check(&set, &error) < 0);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_warning_sequences,
		test_warning_clock,
		test_quota_values,
		NULL
	};
	return test_run(test_functions);
}
