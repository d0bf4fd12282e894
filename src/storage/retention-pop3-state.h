#ifndef RETENTION_POP3_STATE_H
#define RETENTION_POP3_STATE_H

#include "seq-range-array.h"

struct mail;
struct mailbox;
struct mailbox_transaction_context;
struct mail_index_view;
struct retention_pop3_facts;

/* What POP3 has done with the messages of INBOX, and where that is kept.

   That a message is hidden, or was downloaded, is told by keywords of the
   message: they go where the message goes, and every storage driver keeps them
   as it keeps flags. When it was is told by records in two extensions of the
   mailbox's index ("retention-pop3", "retention-pop3-retrieved"), which are a
   cache. Both are told a second
   time by a log file of our own (retention-pop3-log.h), for the day on which
   the index is lost: dbox has keywords nowhere else.

   The sources in the order in which they are asked: the keywords; the record;
   and if the index does not say that it knows of the log, the log, from which
   both are then restored. A time that none of them knows starts anew. */

/* Hides from POP3, set by DELE. */
#define RETENTION_POP3_HIDDEN_KEYWORD "$RetentionPOP3Deleted"
/* Downloaded, set by RETR with QUIT. */
#define RETENTION_POP3_DOWNLOADED_KEYWORD "$RetentionPOP3Retrieved"

/* What was done with a message in one go. */
struct retention_pop3_change {
	uint32_t uid;
	/* Seconds since 1970, 0 for what was not done. */
	uint32_t hidden_time, downloaded_time;
	/* Set by retention_pop3_state_apply(): lives as long as the pool. Empty
	   if the message has none or it can't be read; NULL if the message is
	   gone, or all of this was known already. */
	const char *guid;
};
ARRAY_DEFINE_TYPE(retention_pop3_change, struct retention_pop3_change);

/* Reads the state of an opened mailbox's messages, fast. */
struct retention_pop3_reader;

/* The view must outlive the reader: box->view or a transaction's view. */
struct retention_pop3_reader *
retention_pop3_reader_init(struct mailbox *box, struct mail_index_view *view);
void retention_pop3_reader_deinit(struct retention_pop3_reader **reader);
/* Returns TRUE if POP3 has done something with the message. facts_r->saved is
   left 0. */
bool retention_pop3_reader_get(struct retention_pop3_reader *reader,
			       uint32_t seq,
			       struct retention_pop3_facts *facts_r);
/* Add the sequences seq1..seq2 of all messages that are not hidden to seqs. */
void retention_pop3_reader_get_visible(struct retention_pop3_reader *reader,
				       uint32_t seq1, uint32_t seq2,
				       ARRAY_TYPE(seq_range) *seqs);

/* Register the index extension for the opened mailbox. */
void retention_pop3_state_register(struct mailbox *box);

/* Put keywords and times for the changes, sorted by UID, into the transaction.
   A time that is known already for a download stays. Messages that are gone are
   skipped. Returns 0 on success, -1 with the mailbox's error set. */
int retention_pop3_state_apply(struct mailbox_transaction_context *t,
			       ARRAY_TYPE(retention_pop3_change) *changes,
			       pool_t pool);
/* As above, but take away that the message is hidden, and was downloaded. */
int retention_pop3_state_reset(struct mailbox_transaction_context *t,
			       struct mail *mail);

/* Returns TRUE if the mailbox's index has been rebuilt or lost since POP3 last
   changed something, so that the log must be asked. Cheap: an index header,
   and a stat() if that does not know. */
bool retention_pop3_state_is_lost(struct mailbox *box);
/* Returns TRUE if the mailbox's index knows all that the log tells of its
   messages, and not only since the last few weeks. */
bool retention_pop3_state_is_settled(struct mailbox *box);
/* Restore the state from the log: keywords and times go into the transaction of
   the opened and synced mailbox. Returns the number of messages restored, -1
   with error_r set. */
int retention_pop3_state_restore(struct mailbox_transaction_context *t,
				 const char **error_r);

#endif
