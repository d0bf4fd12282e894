/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "str.h"
#include "test-common.h"
#include "retention-notice.h"

#define R RETENTION_WARNING_REACHED
#define B RETENTION_WARNING_BELOW

static const struct retention_notice notice = {
	.warning = R,
	.user = "{root}", .root = "a {user} b",
	.percent = 91,
	.usage = 1023, .limit = 1024 * 1024 * 3 / 2, .archive = 0,
	.messages = 12, .messages_limit = 0,
};

#define TEXT(text) text, sizeof(text) - 1
static void test_notice_parse(void)
{
	static const struct {
		const char *text;
		size_t size;
		enum retention_warning warning;
		const char *subject, *body;
	} tests[] = {
		{ TEXT("Subject: a\n\nb\n"), R, "a", "b\n" },
		{ TEXT("Subject: a\n\nb\n===\nSubject: c\n\nd\n"), R,
		  "a", "b\n" },
		{ TEXT("Subject: a\n\nb\n===\nSubject: c\n\nd\n"), B,
		  "c", "d\n" },
		/* as other systems and editors write files */
		{ TEXT("\xEF\xBB\xBFSubject: a\r\n\r\nb\r\nc\r\n===\r\n"
		       "Subject: d\r\n\r\n"), R, "a", "b\nc\n" },
		{ TEXT("Subject: a\r\n\r\nb\r\n===\r\nSubject: d\r\n\r\ne"), B,
		  "d", "e" },
		/* only a whole line separates, and only the first one */
		{ TEXT("Subject: a\n\n====\n ===\n===\nx"), R,
		  "a", "====\n ===\n" },
		{ TEXT("x\n===\nSubject: a\n\nb\n===\nc"), B,
		  "a", "b\n===\nc" },
		{ TEXT("Subject: a\n\nb\n==="), R, "a", "b\n" },
		{ TEXT("Subject: \n\n"), R, "", "" },
		{ TEXT("===\nSubject: a\n\nb"), B, "a", "b" },
		{ TEXT("Subject: Gr\xC3\xBC\xC3\x9F\x65\n\n"), R,
		  "Gr\xC3\xBC\xC3\x9F\x65", "" },
	};
	const char *subject, *body, *error;

	test_begin("notice: the parts of templates");
	for (unsigned int i = 0; i < N_ELEMENTS(tests); i++) {
		subject = body = "?";
		test_assert_idx(retention_notice_parse(tests[i].text,
			tests[i].size, tests[i].warning, &subject, &body,
			&error) == 0, i);
		test_assert_strcmp_idx(subject, tests[i].subject, i);
		test_assert_strcmp_idx(body, tests[i].body, i);
	}
	test_end();
}

static void test_notice_bad(void)
{
	static const struct {
		const char *text;
		size_t size;
		enum retention_warning warning;
		const char *error;
	} tests[] = {
		{ TEXT(""), R, "does not begin with" },
		{ TEXT("Subject: a"), R, "does not begin with" },
		{ TEXT("Subject: a\n"), R, "does not begin with" },
		{ TEXT("Subject: a\nX: y\n\nb"), R, "does not begin with" },
		{ TEXT("Subject:a\n\nb"), R, "does not begin with" },
		{ TEXT("\nSubject: a\n\nb"), R, "does not begin with" },
		{ TEXT("Subject: a\n\nb"), B, "has no second part" },
		{ TEXT("Subject: a\n\nb\n===x\n"), B, "has no second part" },
		{ TEXT("Subject: a\n\nb\n==="), B, "after the line that is" },
		{ TEXT("Subject: a\n\nb\n===\nc"), B, "after the line that" },
		{ TEXT("Subject: a\n===\n\n"), R, "does not begin with" },
		{ TEXT("Subject: a\n\n\xFF"), R, "is not UTF-8" },
		{ TEXT("Subject: a\n\nb\0c"), R, "is not UTF-8" },
		{ TEXT("\xEF\xBB"), R, "is not UTF-8" },
		{ TEXT("\xEF\xBB\xBF"), R, "does not begin with" },
	};
	const char *subject, *body, *error;

	test_begin("notice: templates that can't be used");
	for (unsigned int i = 0; i < N_ELEMENTS(tests); i++) {
		error = "";
		test_assert_idx(retention_notice_parse(tests[i].text,
			tests[i].size, tests[i].warning, &subject, &body,
			&error) == -1, i);
		test_assert_idx(strstr(error, tests[i].error) != NULL, i);
	}
	test_end();
}

static void test_notice_expand(void)
{
	static const struct {
		const char *text, *expanded;
	} tests[] = {
		{ "", "" }, { "a", "a" }, { "{", "{" }, { "{}", "{}" },
		{ "}{", "}{" }, { "{user", "{user" }, { "user}", "user}" },
		{ "{Percent}", "{Percent}" }, { "{ percent}", "{ percent}" },
		{ "{percents}", "{percents}" }, { "{{percent}}", "{91}" },
		{ "{a{percent}", "{a91" },
		{ "{percent}{percent}%", "9191%" },
		/* what a value looks like does not matter */
		{ "{user}", "{root}" }, { "{root}", "a {user} b" },
		{ "{usage} of {limit}, {archive}", "1023 B of 1.5 MB, 0 B" },
		{ "{messages}/{messages_limit}", "12/unlimited" },
		{ "%s{percent}%n", "%s91%n" },
	};
	string_t *str = t_str_new(64);

	test_begin("notice: variables");
	for (unsigned int i = 0; i < N_ELEMENTS(tests); i++) {
		str_truncate(str, 0);
		retention_notice_expand(str, tests[i].text, &notice);
		test_assert_strcmp_idx(str_c(str), tests[i].expanded, i);
	}
	test_end();
}

static void test_notice_sizes(void)
{
	static const struct {
		uint64_t size;
		const char *text;
	} tests[] = {
		{ 1, "1 B" }, { 1023, "1023 B" }, { 1024, "1.0 KB" },
		{ 1024 * 1024, "1.0 MB" },
		{ 10ULL * 1024 * 1024 * 1024, "10.0 GB" },
		{ 3ULL << 40, "3.0 TB" }, { 3ULL << 50, "3072.0 TB" },
		{ UINT64_MAX, "16777216.0 TB" },
	};
	struct retention_notice sized = notice;
	string_t *str = t_str_new(64);

	test_begin("notice: sizes for people");
	for (unsigned int i = 0; i < N_ELEMENTS(tests); i++) {
		sized.usage = tests[i].size;
		str_truncate(str, 0);
		retention_notice_expand(str, "{usage}", &sized);
		test_assert_strcmp_idx(str_c(str), tests[i].text, i);
	}
	sized.limit = 0;
	sized.messages_limit = 7;
	str_truncate(str, 0);
	retention_notice_expand(str, "{limit} {messages_limit}", &sized);
	test_assert_strcmp(str_c(str), "unlimited 7");
	test_end();
}

static void test_notice_address(void)
{
	static const char *const good[] = {
		"anna", "anna@example.org", "a.b@c", "a+b=c@d-e.f", "{x}~",
		"!#$%&'*+-/=?^_`|",
	};
	static const char *const bad[] = {
		"", "@", "a@", "@b", "a@b@c", ".a", "a.", "a..b", "a@.b",
		"a b", "a\nb", "a\r\nBcc: x", "a>", "\"a\"", "a,b", "a;b",
		"gr\xC3\xBC\xC3\x9F", "a\\b", "a(b)", "a:b", "a\tb", "a@b.",
	};

	test_begin("notice: user names that can stand in a header");
	for (unsigned int i = 0; i < N_ELEMENTS(good); i++)
		test_assert_idx(retention_notice_is_address(good[i]), i);
	for (unsigned int i = 0; i < N_ELEMENTS(bad); i++)
		test_assert_idx(!retention_notice_is_address(bad[i]), i);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_notice_parse,
		test_notice_bad,
		test_notice_expand,
		test_notice_sizes,
		test_notice_address,
		NULL
	};
	return test_run(test_functions);
}
