#ifndef RETENTION_QUOTA_INBOX_H
#define RETENTION_QUOTA_INBOX_H

struct mailbox;

/* Get the number of the messages in the opened mailbox and the sum of their
   sizes in bytes as its index tells them, without having Dovecot bring up to
   date what it keeps: for each delivery that would be work that the one before
   leaves undone. Returns FALSE if the index does not tell, or, before a sync,
   if there may be messages that it does not know. */
bool retention_quota_inbox_get(struct mailbox *box, bool synced,
			       uint32_t *messages_r, uint64_t *bytes_r);

#endif
