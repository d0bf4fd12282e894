#ifndef RETENTION_POP3_LOG_H
#define RETENTION_POP3_LOG_H

#include "retention-pop3-state.h"

/* The log file "dovecot-retention-pop3" in INBOX's control directory: what POP3
   has done, message by message, in the order in which it was done. Plain text,
   described in doc/formats.md. It is read only when the mailbox's index was
   lost, and appended to after the index was changed: what a crash loses in
   between is in the index. */

/* Append the changes that have a guid, in one write. Returns 0 on success, -1
   with error_r set; the file then ends where it did, or with a line that
   readers skip. */
int retention_pop3_log_append(struct mailbox *box,
			      const ARRAY_TYPE(retention_pop3_change) *changes,
			      const char **error_r);
/* Append that the message's state was reset. Returns as above. */
int retention_pop3_log_append_reset(struct mailbox *box,
				    const ARRAY_TYPE(const_string) *guids,
				    const char **error_r);

/* Append that the message was moved away: if it comes back, then with its
   keywords, and new clocks. Returns as above. */
int retention_pop3_log_append_moved(struct mailbox *box,
				    const ARRAY_TYPE(const_string) *guids,
				    const char **error_r);

/* What the log says of a message in the end. */
struct retention_pop3_log_entry {
	bool hidden, downloaded;
	uint32_t hidden_time, downloaded_time;
};
HASH_TABLE_DEFINE_TYPE(retention_pop3_log, const char *,
		       struct retention_pop3_log_entry *);

/* Read the log into a table GUID => entry, allocated from the pool; the caller
   destroys it. Lines that can't be understood are skipped, and counted in
   skipped_r. Returns 1 if ok, 0 if there is no log, -1 with error_r if it can't
   be read or is unreasonably large. */
int retention_pop3_log_read(struct mailbox *box, pool_t pool,
			    HASH_TABLE_TYPE(retention_pop3_log) *entries_r,
			    unsigned int *skipped_r, const char **error_r);
/* Returns TRUE if there is a log. */
bool retention_pop3_log_exists(struct mailbox *box);

/* Sync the mailbox and write the log anew from its state, if it has grown well
   beyond what that needs. Only with the session lock held exclusively
   (retention-session.h). Returns 0 on success, also if there was no need, -1
   with error_r set; the log is then the old or the new one. */
int retention_pop3_log_compact(struct mailbox *box, const char **error_r);

#endif
