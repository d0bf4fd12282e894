#ifndef RETENTION_QUOTA_WARNING_H
#define RETENTION_QUOTA_WARNING_H

struct mail_user;

/* Tell the user by a notice in INBOX if a level of retention_quota_warning was
   reached, or left, since the last time. Failures are logged; the next session
   tries again. */
void retention_quota_warn(struct mail_user *user);

#endif
