#ifndef RETENTION_QUOTA_PAUSE_H
#define RETENTION_QUOTA_PAUSE_H

struct mail_user;
struct quota;

/* How long no room is made for a user for whom all has been done, and for whom
   it was not enough: whoever sends mail to a full mailbox would have all of its
   messages looked at each time. */
#define RETENTION_QUOTA_PAUSE_SECS 60

/* Returns TRUE if there is such a pause. It ends early when something suggests
   that the look would now come to something: if one of the settings that matter
   or a limit was changed, or if the quota counts less than it did. */
bool retention_quota_pause_is_on(struct quota *quota);
/* Let a pause begin. Returns 0, or -1 with error_r. */
int retention_quota_pause_begin(struct quota *quota, const char **error_r);

#endif
