/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#if RETENTION_DOVECOT24
#  include "str-parse.h"
#else
#  include "settings-parser.h"
#endif

int retention_parse_time(const char *str, unsigned int *secs_r,
			 const char **error_r)
{
	/* What 2.4 takes in a setting, its parsing function leaves to its
	   callers. */
	if (strcmp(str, "unlimited") == 0 || strcmp(str, "infinite") == 0) {
		*secs_r = UINT_MAX;
		return 0;
	}
#if RETENTION_DOVECOT24
	return str_parse_get_interval(str, secs_r, error_r);
#else
	return settings_get_time(str, secs_r, error_r);
#endif
}

int retention_parse_size(const char *str, uoff_t *size_r,
			 const char **error_r)
{
#if RETENTION_DOVECOT24
	return str_parse_get_size(str, size_r, error_r);
#else
	return settings_get_size(str, size_r, error_r);
#endif
}
