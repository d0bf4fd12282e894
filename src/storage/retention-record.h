#ifndef RETENTION_RECORD_H
#define RETENTION_RECORD_H

struct mail;
struct mailbox;
struct mailbox_transaction_context;

/* What a run has found a message's stored bytes to be. */
enum retention_record_state {
	/* not looked at yet, or the index was rebuilt since */
	RETENTION_RECORD_UNKNOWN = 0,
	RETENTION_RECORD_COMPRESSED,
	/* plain, because it would not get smaller or must not be touched */
	RETENTION_RECORD_NOT_COMPRESSIBLE,
};

enum retention_record_flags {
	/* A run has copied the message here, and it is not known that its
	   origin was expunged. */
	RETENTION_RECORD_FLAG_IN_DOUBT = 0x01,
};

/* What is known of a mailbox about messages in doubt. */
enum retention_copies {
	/* Nothing: it is new to us, or its index was rebuilt. */
	RETENTION_COPIES_UNKNOWN = 0,
	/* There are none. */
	RETENTION_COPIES_SETTLED,
	/* There are some: they are marked, or have UIDs from a certain one
	   on. */
	RETENTION_COPIES_IN_DOUBT,
};

/* Kept for each message in an extension of the mailbox's index. It is a cache:
   an index rebuild forgets it, and nothing is lost but the time to look at the
   message again. */
struct retention_record {
	/* enum retention_record_state */
	uint16_t state;
	/* enum retention_record_flags */
	uint16_t flags;
	/* The message's save date (SAVEDATE, RFC 8514) for storage drivers
	   that take it from the file's ctime, which a rewrite changes. 0 if
	   the driver's answer is right. */
	uint32_t save_date;
};

/* Make the extension known to the opened mailbox's index. */
void retention_record_register(struct mailbox *box);
/* Returns TRUE if some message of the mailbox has, or had, a record. */
bool retention_records_exist(struct mailbox *box);
/* Look up the message's record; all zero if it has none. */
void retention_record_get(struct mail *mail, struct retention_record *rec_r);
/* Set what is known of the message's stored bytes, in the mail's
   transaction. */
void retention_record_set_state(struct mail *mail,
				enum retention_record_state state);
/* Keep the message's save date, in the mail's transaction, unless it is kept
   already: in the record, and in the cache file for a Dovecot without this
   plugin. */
void retention_record_set_save_date(struct mail *mail, uint32_t save_date);

/* Set whether the mailbox's save dates are put into its cache file, and stay
   there (enum mail_cache_decision_type). Returns what it was. */
unsigned int retention_record_cache_save_dates(struct mailbox *box,
					       unsigned int decision);

/* Mark the message with the sequence that the transaction saves as in doubt,
   and keep its save date unless that is 0. */
void retention_record_set_in_doubt(struct mailbox_transaction_context *t,
				   uint32_t seq, uint32_t save_date);
bool retention_record_is_in_doubt(struct mail *mail);
/* Take the mark away, in the mail's transaction. */
void retention_record_clear_in_doubt(struct mail *mail);
/* With IN_DOUBT, first_uid_r is the UID from which on all messages are in doubt,
   as Maildir may lose their marks when a process dies while it saves them. */
enum retention_copies
retention_record_get_copies(struct mailbox *box, uint32_t *first_uid_r);
/* first_uid matters with IN_DOUBT only. */
void retention_record_set_copies(struct mailbox_transaction_context *t,
				 enum retention_copies copies,
				 uint32_t first_uid);

/* What was known after a run that found nothing to do in the mailbox, so that
   the next one need not look at all messages again. */
struct retention_quiet {
	/* The rules that it judged by (retention_rules_hash()). */
	uint32_t rules_hash;
	/* It saw all messages with UIDs below. */
	uint32_t uidnext;
	/* No rule is due for these messages before this date. */
	uint32_t until;
};

/* All zero if there was no such run. */
void retention_record_get_quiet(struct mailbox *box,
				struct retention_quiet *quiet_r);
void retention_record_set_quiet(struct mailbox_transaction_context *t,
				const struct retention_quiet *quiet);

#endif
