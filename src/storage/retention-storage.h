#ifndef RETENTION_STORAGE_H
#define RETENTION_STORAGE_H

struct mail;
struct mailbox;

/* Hooks: archived mail is decoded as it is read, and save dates that outlive
   the rewriting of a message's file are answered from our record of them. */
void retention_mailbox_allocated(struct mailbox *box);
void retention_mailbox_opened(struct mailbox *box);
void retention_mail_allocated(struct mail *mail);

#endif
