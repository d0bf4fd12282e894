#ifndef RETENTION_QUOTA_USER_H
#define RETENTION_QUOTA_USER_H

struct mail_namespace;
struct mail_user;
struct mailbox;

/* The mail_user_created hook: checks the settings against the quota roots. */
void retention_quota_user_created(struct mail_user *user);
/* The mail_namespaces_created hook: gets between the quota plugin and its
   checks. */
void retention_quota_namespaces_created(struct mail_namespace *namespaces);
/* The mailbox_allocated hook, called before that of the quota plugin: refuses
   mail when the usage can't be told, if the settings want this. */
void retention_quota_mailbox_allocated(struct mailbox *box);

#endif
