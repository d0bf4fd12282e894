#ifndef RETENTION_POP3_CLIENT_H
#define RETENTION_POP3_CLIENT_H

struct mail;
struct mail_user;
struct mailbox;

/* The POP3 server's side: what we change in the pop3 process. In all other
   processes these do nothing. */

void retention_pop3_client_init(void);
void retention_pop3_client_deinit(void);

/* Hooks, to be called after those of retention-user.h and
   retention-storage.h. The first refuses the user if settings of ours and of
   Dovecot's pop3 contradict each other. */
void retention_pop3_user_created(struct mail_user *user);
void retention_pop3_mailbox_allocated(struct mailbox *box);
void retention_pop3_mail_allocated(struct mail *mail);

#endif
