/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "str.h"
#include "strfuncs.h"
#include "retention-pattern.h"
#include "retention-template.h"

#include <time.h>

enum retention_variable {
	RETENTION_VARIABLE_YEAR,
	RETENTION_VARIABLE_MONTH,
	RETENTION_VARIABLE_MAILBOX,
	RETENTION_VARIABLE_UNKNOWN,
};

#define RETENTION_VARIABLES "{year}, {month} and {mailbox}"

/* Find the next variable at or after *p. Returns FALSE if there is none, or if
   its brace is never closed. Else sets variable_r, begin_r to its '{', and *p
   to what follows its '}'. */
static bool
retention_template_next(const char **p, const char **begin_r,
			enum retention_variable *variable_r)
{
	static const char *const names[] = { "year", "month", "mailbox" };
	const char *begin, *end;
	size_t len;

	begin = strchr(*p, '{');
	if (begin == NULL)
		return FALSE;
	end = strchr(begin, '}');
	if (end == NULL)
		return FALSE;
	len = end - (begin + 1);
	for (*variable_r = 0; *variable_r < N_ELEMENTS(names);
	     *variable_r += 1) {
		if (strlen(names[*variable_r]) == len &&
		    memcmp(names[*variable_r], begin + 1, len) == 0)
			break;
	}
	*begin_r = begin;
	*p = end + 1;
	return TRUE;
}

static int
retention_template_check_variables(const char *template, const char **error_r)
{
	enum retention_variable variable;
	const char *begin, *p = template, *text = template;

	while (retention_template_next(&p, &begin, &variable)) {
		if (variable == RETENTION_VARIABLE_UNKNOWN) {
			*error_r = t_strdup_printf("has the unknown variable "
				"%s (allowed are "RETENTION_VARIABLES")",
				t_strdup_until(begin, p));
			return -1;
		}
		if (memchr(text, '}', begin - text) != NULL)
			break;
		text = p;
	}
	if (strpbrk(text, "{}") != NULL) {
		*error_r = "has a brace without its partner (allowed are "
			RETENTION_VARIABLES")";
		return -1;
	}
	return 0;
}

int retention_template_check(const char *template, const char **error_r)
{
	const char *root, *problem = retention_name_problem(template);

	if (problem == NULL && strpbrk(template, "*%") != NULL)
		problem = "has a wildcard";
	if (problem != NULL) {
		*error_r = t_strconcat(problem, " (allowed is a mailbox name "
			"with the variables "RETENTION_VARIABLES")", NULL);
		return -1;
	}
	if (retention_template_check_variables(template, error_r) < 0)
		return -1;

	root = retention_template_root(template);
	if (root[0] == '\0' || strcmp(root, "INBOX") == 0) {
		*error_r = "does not begin with a mailbox of its own (allowed "
			"is a fixed name other than INBOX and '/' before the "
			"first variable, such as Archive/{year})";
		return -1;
	}
	return 0;
}

/* Dovecot has INBOX in upper case, as a parent also. */
static const char *retention_template_fix_inbox(const char *name)
{
	if (strncasecmp(name, "INBOX", 5) != 0 ||
	    (name[5] != '/' && name[5] != '\0'))
		return name;
	return t_strconcat("INBOX", name + 5, NULL);
}

const char *retention_template_root(const char *template)
{
	const char *begin, *slash;

	begin = strchr(template, '{');
	if (begin != NULL) {
		template = t_strdup_until(template, begin);
		slash = strrchr(template, '/');
		template = slash == NULL ? "" :
			t_strdup_until(template, slash);
	}
	return retention_template_fix_inbox(template);
}

static const char *retention_template_use_sep(const char *name, char sep)
{
	char *dest, *p;

	dest = t_strdup_noconst(name);
	for (p = dest; *p != '\0'; p++) {
		if (*p == '/')
			*p = sep;
	}
	return dest;
}

bool retention_template_contains(const char *template, const char *vname,
				 char sep)
{
	const char *root;
	size_t len;
	bool contains;

	T_BEGIN {
		root = retention_template_use_sep(
			retention_template_root(template), sep);
		len = strlen(root);
		contains = strncmp(vname, root, len) == 0 &&
			(vname[len] == '\0' || vname[len] == sep);
	} T_END;
	return contains;
}

static void
retention_template_append(string_t *dest, enum retention_variable variable,
			  time_t received, const char *origin)
{
	const time_t epoch = 0;
	const struct tm *tm;

	tm = localtime(&received);
	if (tm == NULL)
		tm = localtime(&epoch);
	i_assert(tm != NULL);

	switch (variable) {
	case RETENTION_VARIABLE_YEAR:
		str_printfa(dest, "%04lld", tm->tm_year + 1900LL);
		break;
	case RETENTION_VARIABLE_MONTH:
		str_printfa(dest, "%02d", tm->tm_mon + 1);
		break;
	case RETENTION_VARIABLE_MAILBOX:
		str_append(dest, origin);
		break;
	case RETENTION_VARIABLE_UNKNOWN:
		i_unreached();
	}
}

const char *retention_template_expand(const char *template, time_t received,
				      const char *origin, char sep)
{
	string_t *dest = t_str_new(128);
	enum retention_variable variable;
	const char *p, *text, *begin;

	/* Only the template's own '/' become separators, not the origin's. */
	p = text = retention_template_use_sep(
		retention_template_fix_inbox(template), sep);
	while (retention_template_next(&p, &begin, &variable)) {
		str_append_data(dest, text, begin - text);
		retention_template_append(dest, variable, received, origin);
		text = p;
	}
	str_append(dest, text);
	return str_c(dest);
}
