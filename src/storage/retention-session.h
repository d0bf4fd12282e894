#ifndef RETENTION_SESSION_H
#define RETENTION_SESSION_H

struct mail_user;
struct mail_namespace;
struct retention_session_lock;

/* Keeps runs out of the INBOX of a running POP3 session: a session holds a
   shared lock on "dovecot.retention.pop3.lock" in the user's home as long as it
   runs, and a run takes it exclusively for each batch of messages that it takes
   out of INBOX. A run also stays out while the lock of Dovecot's
   pop3_lock_session is there, which may be held by a session on another
   host. */

/* Take the lock for a POP3 session, waiting a few seconds for a run's batch to
   end. Returns 1 with lock_r if locked, 0 if somebody still holds it, -1 with
   error_r if it can't be locked. */
int retention_session_lock_shared(struct mail_user *user,
				  struct retention_session_lock **lock_r,
				  const char **error_r);
/* Try to take the lock for a run's batch in the INBOX of the namespace.
   Returns as above, 0 if there is a POP3 session. Never waits. */
int retention_session_lock_exclusive(struct mail_namespace *ns,
				     struct retention_session_lock **lock_r,
				     const char **error_r);
void retention_session_unlock(struct retention_session_lock **lock);

#endif
