#ifndef RETENTION_TARGET_H
#define RETENTION_TARGET_H

struct mail;
struct mail_namespace;
struct mailbox;
struct mailbox_transaction_context;
struct retention_target_copy;

/* An archive mailbox that a run moves messages to. It knows the messages that
   an interrupted run may have left there while they are still in their origin:
   those that are marked as in doubt, those that came since a batch was begun
   that did not end, or all when the mailbox's index does not tell. */
struct retention_target {
	pool_t pool;
	struct mail_namespace *ns;
	const char *vname;
	/* GUID => the messages in doubt that have it */
	HASH_TABLE(char *, struct retention_target_copy *) in_doubt;
	bool scanned;
	/* Nothing was known of the mailbox when it was scanned. */
	bool unknown;
	/* Messages that were marked when it was scanned, and still are. */
	unsigned int marked;
	/* Others that have come since a batch that did not end, and are not
	   known to be copies. */
	unsigned int doubtful;
	/* The mailbox says that messages are in doubt. */
	bool begun;
	/* Something failed that the next run has to look after. */
	bool failed;
};

struct retention_target *
retention_target_init(struct mail_namespace *ns, const char *vname);
void retention_target_deinit(struct retention_target **target);

/* Open and sync the mailbox. With create, it is created and subscribed if it
   does not exist. Returns 0 on success, -1 with error_r. */
int retention_target_open(struct retention_target *target, bool create,
			  struct mailbox **box_r, const char **error_r);
/* Note the messages that are in doubt, unless that was done already. Returns 0
   on success, -1 with error_r. */
int retention_target_scan(struct retention_target *target, struct mailbox *box,
			  const char **error_r);
/* Forget what was noted, and scan again: copies may have come into it. */
int retention_target_rescan(struct retention_target *target,
			    struct mailbox *box, const char **error_r);

/* Find a copy of the mail among the messages in doubt: it has the same GUID,
   size and digest, is neither expunged nor about to be, and is not among the
   UIDs that are taken. Returns 1 with uid_r if there is one, 0 if not, -1 with
   error_r on error. */
int retention_target_find_copy(struct retention_target *target,
			       struct mailbox *box, struct mail *mail,
			       const ARRAY_TYPE(uint32_t) *taken,
			       uint32_t *uid_r, const char **error_r);
/* Give the copy the mail's flags and keywords: people have gone on using the
   mail since. Returns 0 on success, -1 with error_r. */
int retention_target_update_copy(struct mailbox *box, uint32_t uid,
				 struct mail *mail, const char **error_r);

/* Note in the mailbox, on disk, that what comes now is in doubt, until
   retention_target_set_settled(). Returns 0 on success, -1 with error_r. */
int retention_target_begin_batch(struct retention_target *target,
				 struct mailbox *box, const char **error_r);
/* Mark the message that was just added to the transaction as in doubt. */
void retention_target_mark(struct mailbox_transaction_context *t,
			   time_t save_date);
/* The message's origin is gone: it is no longer in doubt. guid may be NULL if
   it was not noted. */
void retention_target_unmark(struct retention_target *target,
			     struct mail *mail, const char *guid);
/* Note in the mailbox that no message is in doubt, if that is so. */
void retention_target_set_settled(struct retention_target *target,
				  struct mailbox_transaction_context *t);
/* Note what is known of the mailbox after a run that has gone through all of
   the user's mailboxes. Returns 0 on success, -1 with error_r. */
int retention_target_complete(struct retention_target *target,
			      const char **error_r);

#endif
