#ifndef RETENTION_STORED_H
#define RETENTION_STORED_H

struct mail;
struct mail_index_view;
struct mail_user;
struct mailbox;
struct mailbox_list;
struct mailbox_status;

/* The stored sizes of messages and of whole mailboxes, as caches that may
   vanish at any time.

   The size of a message is kept in an extension of its mailbox's index once it
   can't change any more: when a run has compressed the message, or found that
   it is to stay as it is. The sum over a mailbox is kept beside Dovecot's own
   counts in the mailbox list index, so that it is at hand without opening the
   mailbox. It stands for a number of messages, a UIDNEXT and a UIDVALIDITY,
   and is worth nothing when the mailbox has others now.

   Compression in place changes none of these. So the list index also has a
   generation, which a run raises before it changes how the first message is
   stored, and a sum of an older generation is worth nothing either. Sums are
   written under the lock that the run holds meanwhile, so none can come from
   the midst of a run, whenever it dies. */

struct retention_stored_sum {
	/* Bytes. */
	uint64_t bytes;
	uint64_t generation;
	uint32_t messages, uidnext, uidvalidity;
	uint32_t unused;
};

/* Raise the generation in all of the user's mailbox lists. The caller holds
   the user's lock. Returns 0 on success, -1 with error_r. */
int retention_stored_begin_changes(struct mail_user *user,
				   const char **error_r);

/* Keep the message's stored size, in the mail's transaction. */
void retention_stored_set(struct mail *mail, uint64_t size);
/* The same for a message that a run leaves as it is. */
void retention_stored_set_looked(struct mail *mail);

/* Sum up the messages of the mailbox, which is opened and synced, and keep
   what was learnt unless a run is in progress. Returns 0 on success, -1 with
   error_r. */
int retention_stored_get(struct mailbox *box, uint64_t *bytes_r,
			 const char **error_r);
/* Forget the sizes of the opened mailbox's messages. The sum stays; see
   retention_stored_begin_changes(). Returns as retention_stored_get(). */
int retention_stored_forget(struct mailbox *box, const char **error_r);

/* The generation of the list, as the view of its index has it. */
uint64_t retention_stored_list_generation(struct mailbox_list *list,
					  struct mail_index_view *view);
/* Look up the sum of the mailbox with the sequence in the view of the list's
   index. Returns TRUE if there is one that fits the status (messages, uidnext,
   uidvalidity) and the generation. */
bool retention_stored_list_lookup(struct mailbox_list *list,
				  struct mail_index_view *view, uint32_t seq,
				  const struct mailbox_status *status,
				  uint64_t generation, uint64_t *bytes_r);

#endif
