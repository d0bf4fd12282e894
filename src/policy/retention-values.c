/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "strfuncs.h"
#include "strnum.h"
#include "retention-values.h"

int retention_format_check(const char *value, const char **error_r)
{
	if (strcmp(value, RETENTION_ARCHIVE_FORMAT_DEFAULT) == 0)
		return 0;
	*error_r = "is not a format (allowed is "
		RETENTION_ARCHIVE_FORMAT_DEFAULT")";
	return -1;
}

int retention_level_check(unsigned int level, const char **error_r)
{
	if (level >= RETENTION_COMPRESSION_LEVEL_MIN &&
	    level <= RETENTION_COMPRESSION_LEVEL_MAX)
		return 0;
	*error_r = t_strdup_printf("is not a level (allowed are %d to %d)",
				   RETENTION_COMPRESSION_LEVEL_MIN,
				   RETENTION_COMPRESSION_LEVEL_MAX);
	return -1;
}

int retention_level_parse(const char *value, unsigned int *level_r,
			  const char **error_r)
{
	if (str_to_uint(value, level_r) < 0)
		*level_r = 0;
	return retention_level_check(*level_r, error_r);
}

int retention_percent_parse(const char *value, unsigned int *percent_r,
			    const char **error_r)
{
	const char *end;
	uintmax_t percent;

	if (str_parse_uintmax(value, &percent, &end) < 0 || percent > 100 ||
	    (end[0] != '\0' && strcmp(end, "%") != 0)) {
		*error_r = "is not a percentage (allowed are 0 to 100, with "
			"or without a percent sign; 0 is no limit)";
		return -1;
	}
	*percent_r = percent;
	return 0;
}
