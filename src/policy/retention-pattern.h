#ifndef RETENTION_PATTERN_H
#define RETENTION_PATTERN_H

/* Returns TRUE if the pattern names a special use ("\Trash"). */
bool retention_pattern_is_special_use(const char *pattern);

/* Returns what is wrong with a setting that is, or makes, a mailbox name with
   '/' as separator, or NULL: that it "is empty", "is not valid UTF-8", has
   control characters or an empty part between two separators. */
const char *retention_name_problem(const char *name);

/* Returns 0 if the pattern can be used, -1 with error_r set if no mailbox could
   have such a name (retention_name_problem()), or if it begins with a backslash
   but is not one of the special uses of RFC 6154 and RFC 8457. error_r
   continues a sentence that begins with the setting: "is empty (allowed is
   ...)". */
int retention_pattern_check(const char *pattern, const char **error_r);

/* Returns TRUE if the pattern matches the mailbox. vname is the mailbox's name
   in UTF-8 as clients see it, with the namespace's prefix, and sep the
   namespace's hierarchy separator; '/' in the pattern stands for sep, which
   may be written as itself as well. '*' matches anything, '%' anything but the
   separator. INBOX, also as the parent of other mailboxes, matches without
   regard to case (RFC 3501, 5.1), other names byte for byte, and special uses
   without regard to case. special_use is the mailbox's special-use attributes
   separated by spaces, or NULL. */
bool retention_pattern_match(const char *pattern, const char *vname, char sep,
			     const char *special_use);

#endif
