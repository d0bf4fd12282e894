/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* The template has the notice about a level that was reached and, after a line
   that is "===", the one for when the usage is below all levels again. Each is
   a line "Subject: ...", an empty line and the text. {user}, {root}, {percent},
   {usage}, {limit}, {messages}, {messages_limit} and {archive} are replaced. */

#include "lib.h"
#include "str.h"
#include "unichar.h"
#include "retention-notice.h"

#include <ctype.h>

#define RETENTION_NOTICE_SEPARATOR "==="
#define RETENTION_NOTICE_SUBJECT "Subject: "
#define RETENTION_NOTICE_BOM "\xEF\xBB\xBF"

/* Returns the text with LF at the end of each line, NULL with error_r. */
static const char *
retention_notice_normalize(const char *text, size_t size, const char **error_r)
{
	string_t *str = t_str_new(size + 1);

	if (memchr(text, '\0', size) != NULL ||
	    !uni_utf8_data_is_valid((const unsigned char *)text, size)) {
		*error_r = "is not UTF-8";
		return NULL;
	}
	if (size >= strlen(RETENTION_NOTICE_BOM) &&
	    memcmp(text, RETENTION_NOTICE_BOM,
		   strlen(RETENTION_NOTICE_BOM)) == 0) {
		text += strlen(RETENTION_NOTICE_BOM);
		size -= strlen(RETENTION_NOTICE_BOM);
	}
	for (size_t i = 0; i < size; i++) {
		if (text[i] != '\r')
			str_append_c(str, text[i]);
	}
	return str_c(str);
}

/* Returns the line that separates the parts, NULL if there is none. */
static const char *retention_notice_separator(const char *text)
{
	const size_t len = strlen(RETENTION_NOTICE_SEPARATOR);

	while (text != NULL) {
		if (strncmp(text, RETENTION_NOTICE_SEPARATOR, len) == 0 &&
		    (text[len] == '\n' || text[len] == '\0'))
			return text;
		text = strchr(text, '\n');
		if (text != NULL)
			text++;
	}
	return NULL;
}

/* Returns the part for the warning, NULL if there is none. */
static const char *
retention_notice_part(const char *text, enum retention_warning warning)
{
	const char *sep = retention_notice_separator(text);

	if (warning == RETENTION_WARNING_REACHED)
		return sep == NULL ? text : t_strdup_until(text, sep);
	if (sep == NULL)
		return NULL;
	sep += strlen(RETENTION_NOTICE_SEPARATOR);
	return *sep == '\n' ? sep + 1 : sep;
}

int retention_notice_parse(const char *text, size_t size,
			   enum retention_warning warning,
			   const char **subject_r, const char **body_r,
			   const char **error_r)
{
	const size_t len = strlen(RETENTION_NOTICE_SUBJECT);
	const char *part, *eol;

	i_assert(warning != RETENTION_WARNING_NONE);

	text = retention_notice_normalize(text, size, error_r);
	if (text == NULL)
		return -1;
	part = retention_notice_part(text, warning);
	if (part == NULL) {
		*error_r = "has no second part after a line that is "
			RETENTION_NOTICE_SEPARATOR;
		return -1;
	}
	eol = strchr(part, '\n');
	if (strncmp(part, RETENTION_NOTICE_SUBJECT, len) != 0 ||
	    eol == NULL || eol[1] != '\n') {
		*error_r = t_strdup_printf("does not begin with a line "
			RETENTION_NOTICE_SUBJECT"and an empty line%s",
			warning == RETENTION_WARNING_REACHED ? "" :
			" after the line that is "RETENTION_NOTICE_SEPARATOR);
		return -1;
	}
	*subject_r = t_strdup_until(part + len, eol);
	*body_r = eol + 2;
	return 0;
}

static const char *retention_notice_size(uint64_t size)
{
	static const char *const units[] = { "B", "KB", "MB", "GB", "TB" };
	double value = size;
	unsigned int i = 0;

	for (; value >= 1024 && i + 1 < N_ELEMENTS(units); i++)
		value /= 1024;
	return t_strdup_printf(i == 0 ? "%.0f %s" : "%.1f %s", value, units[i]);
}

/* Returns what the variable stands for, NULL if it is none. */
static const char *
retention_notice_variable(const struct retention_notice *notice,
			  const char *name)
{
	if (strcmp(name, "user") == 0)
		return notice->user;
	if (strcmp(name, "root") == 0)
		return notice->root;
	if (strcmp(name, "percent") == 0)
		return t_strdup_printf("%u", notice->percent);
	if (strcmp(name, "usage") == 0)
		return retention_notice_size(notice->usage);
	if (strcmp(name, "limit") == 0)
		return notice->limit == 0 ? "unlimited" :
			retention_notice_size(notice->limit);
	if (strcmp(name, "messages") == 0)
		return t_strdup_printf("%"PRIu64, notice->messages);
	if (strcmp(name, "messages_limit") == 0)
		return notice->messages_limit == 0 ? "unlimited" :
			t_strdup_printf("%"PRIu64, notice->messages_limit);
	if (strcmp(name, "archive") == 0)
		return retention_notice_size(notice->archive);
	return NULL;
}

void retention_notice_expand(string_t *dest, const char *text,
			     const struct retention_notice *notice)
{
	const char *value;
	size_t len;

	for (; *text != '\0'; text++) {
		value = NULL;
		if (*text == '{') {
			len = strspn(text + 1, "abcdefghijklmnopqrstuvwxyz_");
			if (text[1 + len] == '}') {
				value = retention_notice_variable(notice,
					t_strndup(text + 1, len));
			}
		}
		if (value == NULL)
			str_append_c(dest, *text);
		else {
			str_append(dest, value);
			text += 1 + len;
		}
	}
}

bool retention_notice_is_address(const char *username)
{
	bool atom = FALSE, domain = FALSE;

	for (; *username != '\0'; username++) {
		if (*username == '@' && atom && !domain) {
			domain = TRUE;
			atom = FALSE;
		} else if (*username == '.' && atom) {
			atom = FALSE;
		} else if (i_isalnum(*username) ||
			   strchr("!#$%&'*+-/=?^_`{|}~", *username) != NULL) {
			atom = TRUE;
		} else {
			return FALSE;
		}
	}
	return atom;
}
