/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "strfuncs.h"
#include "unichar.h"
#include "imap-match.h"
#include "retention-pattern.h"

/* RFC 6154, 2 and RFC 8457, 3 */
static const char *const retention_special_uses[] = {
	"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk",
	"\\Sent", "\\Trash", NULL
};

bool retention_pattern_is_special_use(const char *pattern)
{
	return pattern[0] == '\\';
}

const char *retention_name_problem(const char *name)
{
	const unsigned char *p;

	if (name[0] == '\0')
		return "is empty";
	if (!uni_utf8_str_is_valid(name))
		return "is not valid UTF-8";
	for (p = (const unsigned char *)name; *p != '\0'; p++) {
		if (*p < 0x20 || *p == 0x7f)
			return "has a control character";
	}
	if (name[0] == '/' || strstr(name, "//") != NULL || p[-1] == '/')
		return "has an empty part before, between or after '/'";
	return NULL;
}

int retention_pattern_check(const char *pattern, const char **error_r)
{
	const char *problem = retention_name_problem(pattern);

	if (problem != NULL) {
		*error_r = t_strdup_printf("%s (allowed is a mailbox name, "
			"with * and %% as wildcards, or a special use such as "
			"\\Trash)", problem);
		return -1;
	}
	if (retention_pattern_is_special_use(pattern) &&
	    !str_array_icase_find(retention_special_uses, pattern)) {
		*error_r = t_strdup_printf(
			"is not a special use (allowed are %s)",
			t_strarray_join(retention_special_uses, ", "));
		return -1;
	}
	return 0;
}

static bool
retention_pattern_match_name(const char *pattern, const char *vname, char sep)
{
	struct imap_match_glob *glob;
	char *sep_pattern, *p;

	sep_pattern = t_strdup_noconst(pattern);
	for (p = sep_pattern; *p != '\0'; p++) {
		if (*p == '/')
			*p = sep;
	}
	glob = imap_match_init(pool_datastack_create(), sep_pattern, TRUE, sep);
	return imap_match(glob, vname) == IMAP_MATCH_YES;
}

bool retention_pattern_match(const char *pattern, const char *vname, char sep,
			     const char *special_use)
{
	bool match;

	T_BEGIN {
		if (!retention_pattern_is_special_use(pattern))
			match = retention_pattern_match_name(pattern, vname,
							     sep);
		else {
			match = special_use != NULL &&
				str_array_icase_find(
					t_strsplit_spaces(special_use, " "),
					pattern);
		}
	} T_END;
	return match;
}
