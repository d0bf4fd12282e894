#ifndef RETENTION_TEMPLATE_H
#define RETENTION_TEMPLATE_H

/* Template of an archive mailbox's name: text with {year}, {month} (of the
   received date, in the time zone of the process) and {mailbox} (the name of
   the mailbox that the message is in). '/' stands for the hierarchy separator.
   The text before the first '{', up to the last '/' in it, is the fixed part:
   the archive's root. A template without variables is its own fixed part.

   Templates know nothing of namespace prefixes: a template names a mailbox
   within the namespace of the user's INBOX. Callers put that namespace's
   prefix in front of what expand and root return, and leave the namespace's
   prefix out of every vname and origin that they pass. */

/* Returns 0 if the template can be used, -1 with error_r set if no mailbox
   could have such a name (retention_name_problem()), if it has wildcards, an
   unknown variable or an unpaired brace, or if its fixed part is empty or INBOX
   itself. error_r continues a sentence that begins with the setting. */
int retention_template_check(const char *template, const char **error_r);

/* Returns the fixed part, allocated from the data stack, with '/' as
   separator, and a leading INBOX in upper case as Dovecot has it. The template
   must have passed retention_template_check(), here and below. */
const char *retention_template_root(const char *template);

/* Returns TRUE if the mailbox is the template's root or below it. sep is the
   separator in vname. */
bool retention_template_contains(const char *template, const char *vname,
				 char sep);

/* Returns the mailbox name for a message, allocated from the data stack, with
   sep as separator. origin is the name of the mailbox that it is in, with sep
   as separator. A received date that has no year is taken as 0. */
const char *retention_template_expand(const char *template, time_t received,
				      const char *origin, char sep);

#endif
