#ifndef RETENTION_VALUES_H
#define RETENTION_VALUES_H

/* Defaults and limits of the settings outside rules. */

#define RETENTION_ARCHIVE_MAILBOX_DEFAULT "Archive/{year}"
#define RETENTION_ARCHIVE_FORMAT_DEFAULT "dovecot"
#define RETENTION_COMPRESSION_LEVEL_DEFAULT 9
#define RETENTION_COMPRESSION_LEVEL_MIN 1
#define RETENTION_COMPRESSION_LEVEL_MAX 12
#define RETENTION_MINIMUM_AGE_DEFAULT (60 * 60 * 24)
#define RETENTION_RUN_LIMIT_DEFAULT 0

/* All of these return 0 if the value can be used, -1 with error_r set. error_r
   continues a sentence that begins with the setting and its value, and tells
   what is allowed. */

/* retention_archive_format */
int retention_format_check(const char *value, const char **error_r);
/* retention_compression_level */
int retention_level_check(unsigned int level, const char **error_r);
int retention_level_parse(const char *value, unsigned int *level_r,
			  const char **error_r);
/* A number from 0 to 100, with or without a percent sign. */
int retention_percent_parse(const char *value, unsigned int *percent_r,
			    const char **error_r);

#endif
