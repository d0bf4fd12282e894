#ifndef RETENTION_NOTICE_H
#define RETENTION_NOTICE_H

#include "retention-warning.h"

/* The text of a notice that tells a user how full the mailbox is. */

/* What a notice tells. */
struct retention_notice {
	enum retention_warning warning;
	const char *user, *root;
	/* Of the limit that is closer. */
	unsigned int percent;
	/* Bytes; no limit is 0. */
	uint64_t usage, limit, archive;
	uint64_t messages, messages_limit;
};

/* Find the part of the template that is for the warning, which must not be
   RETENTION_WARNING_NONE. Returns 0 with the subject and the body, which ends
   each line with a single LF, from the data stack; -1 with error_r, which
   continues a sentence that begins with the template's name, if the template
   can't be used. */
int retention_notice_parse(const char *text, size_t size,
			   enum retention_warning warning,
			   const char **subject_r, const char **body_r,
			   const char **error_r);
/* Append the text with its variables replaced. What is not a variable stays,
   and what a variable stands for is not looked at again. */
void retention_notice_expand(string_t *dest, const char *text,
			     const struct retention_notice *notice);

/* Returns TRUE if the user name can stand in the header To as it is: a
   dot-atom, or two with an @ between them (RFC 5322, 3.4.1). */
bool retention_notice_is_address(const char *username);

#endif
