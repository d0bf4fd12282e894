/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "test-common.h"
#include "retention-template.h"
#include "retention-values.h"

static void test_values_format(void)
{
	static const char *const bad[] = { "", "dense", "Dovecot", "lz4" };
	const char *error;
	unsigned int i;

	test_begin("values: only the formats that exist");
	test_assert(retention_format_check("dovecot", &error) == 0);
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		error = "";
		test_assert_idx(retention_format_check(bad[i], &error) < 0, i);
		test_assert_idx(strstr(error, "allowed is dovecot") != NULL, i);
	}
	test_end();
}

static void test_values_level(void)
{
	static const char *const bad[] = {
		"", "0", "13", "-1", "x", "9x", " 9", "4294967305",
	};
	const char *error;
	unsigned int i, level;

	test_begin("values: compression levels");
	for (i = 1; i <= 12; i++) {
		test_assert_idx(retention_level_parse(dec2str(i), &level,
						      &error) == 0 &&
				level == i, i);
	}
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		error = "";
		test_assert_idx(retention_level_parse(bad[i], &level,
						      &error) < 0, i);
		test_assert_idx(strstr(error, "allowed are 1 to 12") != NULL,
				i);
	}
	test_end();
}

static void test_values_percent(void)
{
	static const struct {
		const char *value;
		unsigned int percent;
	} tests[] = {
		{ "0", 0 }, { "0%", 0 }, { "1", 1 }, { "50%", 50 },
		{ "100", 100 }, { "100%", 100 },
	};
	static const char *const bad[] = {
		"", "%", "101", "101%", "-1", "50 %", "50%%", "half", "0x10",
		"18446744073709551617",
	};
	const char *error;
	unsigned int i, percent;

	test_begin("values: percentages, with and without the sign");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(retention_percent_parse(tests[i].value,
							&percent,
							&error) == 0 &&
				percent == tests[i].percent, i);
	}
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		error = "";
		test_assert_idx(retention_percent_parse(bad[i], &percent,
							&error) < 0, i);
		test_assert_idx(strstr(error, "allowed are 0 to 100") != NULL,
				i);
	}
	test_end();
}

static void test_values_defaults(void)
{
	const char *error;

	test_begin("values: the defaults are allowed");
	test_assert(retention_template_check(RETENTION_ARCHIVE_MAILBOX_DEFAULT,
					     &error) == 0);
	test_assert(retention_format_check(RETENTION_ARCHIVE_FORMAT_DEFAULT,
					   &error) == 0);
	test_assert(retention_level_check(RETENTION_COMPRESSION_LEVEL_DEFAULT,
					  &error) == 0);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_values_format,
		test_values_level,
		test_values_percent,
		test_values_defaults,
		NULL
	};
	return test_run(test_functions);
}
