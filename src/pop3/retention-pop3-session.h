#ifndef RETENTION_POP3_SESSION_H
#define RETENTION_POP3_SESSION_H

#include "mail-user.h"
#include "retention-pop3-state.h"

struct client;
struct retention_settings;
struct retention_session_lock;

/* A message that RETR has sent to its end. */
struct retention_pop3_download {
	uint32_t uid;
	/* client->output's offset after it: once so many bytes have left the
	   output's buffer, the client was sent the whole message. */
	uoff_t end_offset;
};

/* A user's POP3 session: what we add to Dovecot's struct client. It lives as
   long as the user, which Dovecot creates before the client and frees after the
   client's connection and mailbox. */
struct retention_pop3_session {
	union mail_user_module_context module_ctx;
	struct mail_user *user;
	const struct retention_settings *set;
	/* NULL until the client is created. */
	struct client *client;
	/* NULL if nothing is configured. */
	struct retention_session_lock *lock;
	ARRAY(struct retention_pop3_download) downloads;

	/* The user has a rule or a POP3 setting. */
	bool configured;
	/* The log was asked, if there was need to, for what POP3 did. */
	bool restored;
	/* QUIT was carried out. */
	bool finished;
	/* It hid messages that the settings want to have out of INBOX now. */
	bool run_due;
};

/* The session of the mailbox's user, NULL if it is not for us. */
struct retention_pop3_session *
retention_pop3_session_get(struct mail_user *user);

/* Take the session's lock, if there is need of one. Returns 0 on success, -1 if
   somebody holds it who should not be disturbed. */
int retention_pop3_session_lock(struct retention_pop3_session *session);

/* Returns TRUE if DELE hides messages instead of expunging them. */
bool retention_pop3_session_hides(const struct retention_pop3_session *session);
/* Returns TRUE if the box is the one whose messages the client sees. A virtual
   INBOX opens others with the same flags. */
bool retention_pop3_session_is_box(const struct retention_pop3_session *session,
				   const struct mailbox *box);

/* Let messages with our keyword be hidden from the client. Called once the
   mailbox is open, before Dovecot looks at the setting. */
void retention_pop3_session_hide_keyword(struct retention_pop3_session *session,
					 struct mailbox *box);

/* What QUIT does in the mailbox's transaction, before it is committed: hide
   messages with DELE, note downloads. Returns 0 with the changes, -1 with the
   mailbox's error set. */
int retention_pop3_session_apply(struct retention_pop3_session *session,
				 struct mailbox_transaction_context *t,
				 pool_t pool,
				 ARRAY_TYPE(retention_pop3_change) *changes);

/* Announce EXPIRE (RFC 2449, 6.7) in the reply to CAPA. */
void retention_pop3_capa_init(struct retention_pop3_session *session);

#endif
