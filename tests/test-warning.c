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
	{ "a usage that was recalculated, to more and to less", {
		{ 1, 790, N, 0 }, { 2, 2500, R, 90 }, { 3, 890, N, 90 },
		{ 4, 830, N, 80 }, { 5, 0, B, 0 } } },
	{ "down to the lower level and up again within the interval", {
		{ 1, 920, R, 90 }, { 2, 840, N, 80 }, { 3, 920, N, 80 },
		{ 26, 920, R, 90 } } },
	{ "held back, and then below: nothing to tell", {
		{ 1, 820, R, 80 }, { 2, 700, B, 0 }, { 3, 820, N, 0 },
		{ 4, 700, N, 0 }, { 30, 700, N, 0 } } },
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

static void test_warning_edges(void)
{
	struct retention_quota_settings set;
	struct retention_warning_state state;

	test_begin("warning: the edges of level, hysteresis and interval");
	retention_quota_settings_init(&set);
	set.levels[set.levels_count++] = 80;
	set.warning_hysteresis = 5;
	set.warning_interval = HOUR;
	i_zero(&state);
	test_assert(retention_warning_judge(&set, 799, 5000, &state) == N);
	test_assert(retention_warning_judge(&set, 800, 5000, &state) == R);
	test_assert(state.noticed == 5000 && state.noticed_level == 80);
	/* exactly the hysteresis below is not below by more */
	test_assert(retention_warning_judge(&set, 750, 5000, &state) == N);
	test_assert(retention_warning_judge(&set, 749, 5000, &state) == B);
	test_assert(state.noticed == 5000 && state.noticed_level == 80);
	test_assert(retention_warning_judge(&set, 800, 5000, &state) == N);
	test_assert(retention_warning_judge(&set, 800, 5000 + HOUR - 1,
					    &state) == N);
	test_assert(retention_warning_judge(&set, 800, 5000 + HOUR,
					    &state) == R);
	test_assert(state.noticed == 5000 + HOUR);
	test_end();

	test_begin("warning: without hysteresis and interval each crossing");
	set.warning_hysteresis = set.warning_interval = 0;
	i_zero(&state);
	test_assert(retention_warning_judge(&set, 800, 5000, &state) == R);
	test_assert(retention_warning_judge(&set, 800, 5000, &state) == N);
	test_assert(retention_warning_judge(&set, 799, 5000, &state) == B);
	test_assert(retention_warning_judge(&set, 800, 5000, &state) == R);
	test_end();
}

static void test_warning_other_levels(void)
{
	struct retention_quota_settings set;
	struct retention_warning_state state = {
		.level = 80, .noticed_level = 80, .noticed = 5000,
	};

	test_begin("warning: levels that are set otherwise than before");
	retention_quota_settings_init(&set);
	set.levels[set.levels_count++] = 90;
	/* within the hysteresis of the level that there was */
	test_assert(retention_warning_judge(&set, 820, 5001, &state) == N);
	test_assert(state.level == 80);
	test_assert(retention_warning_judge(&set, 900, 5001, &state) == R);
	test_assert(state.level == 90);
	set.levels[0] = 50;
	test_assert(retention_warning_judge(&set, 849, 5002, &state) == N);
	test_assert(state.level == 50);
	set.levels_count = 0;
	test_assert(retention_warning_judge(&set, 400, 5003, &state) == B);
	test_assert(state.level == 0);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_warning_sequences,
		test_warning_clock,
		test_warning_edges,
		test_warning_other_levels,
		NULL
	};
	return test_run(test_functions);
}
