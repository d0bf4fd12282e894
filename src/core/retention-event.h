#ifndef RETENTION_EVENT_H
#define RETENTION_EVENT_H

#include "retention-rule.h"

/* Callers cut longer Message-IDs: a line of a message has at most so many
   characters (RFC 5322, 2.1.1). */
#define RETENTION_MESSAGE_ID_MAX_LEN 998

extern struct event_category event_category_retention;

/* A mailbox name as it can be shown and logged, from the data stack. Users
   choose it, and it may have control characters. */
const char *retention_name_sanitize(const char *vname);

/* One message that a run has changed, told in one log line in the manner of
   the mail_log plugin and in one named event (doc/events.md). */
struct retention_event_mail {
	/* Name of the rule; NULL for the compression of an archive mailbox. */
	const char *rule;
	/* The mailbox the message was in, as clients see its name. */
	const char *mailbox;
	uint32_t uid;
	/* Message-ID header field as in the message, NULL if there is none. */
	const char *message_id;
	/* Message size in bytes. */
	uoff_t size;
	/* Stored size in bytes, for compress only. */
	uoff_t stored_size;
	/* Archive mailbox, for archive only. */
	const char *target;
};

/* Log the message and send retention_mail_archived, retention_mail_compressed
   or retention_mail_expunged, or with RETENTION_ACTION_NONE, which stands for
   hiding from POP3, retention_mail_hidden. */
void retention_event_mail_send(struct event *event,
			       enum retention_action action,
			       const struct retention_event_mail *mail);

#endif
