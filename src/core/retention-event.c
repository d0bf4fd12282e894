/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "str-sanitize.h"
#include "retention-event.h"

/* As much of a text that users choose as is logged. */
#define RETENTION_LOG_TEXT_MAX_LEN 200

struct event_category event_category_retention = {
	.name = "retention",
};

const char *retention_name_sanitize(const char *vname)
{
	return str_sanitize(vname, RETENTION_LOG_TEXT_MAX_LEN);
}

static const char *retention_event_name(enum retention_action action)
{
	switch (action) {
	case RETENTION_ACTION_ARCHIVE:
		return "retention_mail_archived";
	case RETENTION_ACTION_COMPRESS:
		return "retention_mail_compressed";
	case RETENTION_ACTION_EXPUNGE:
		return "retention_mail_expunged";
	case RETENTION_ACTION_NONE:
		return "retention_mail_hidden";
	case RETENTION_ACTION_KEEP:
		break;
	}
	i_unreached();
}

void retention_event_mail_send(struct event *event,
			       enum retention_action action,
			       const struct retention_event_mail *mail)
{
	string_t *str = t_str_new(256);
	struct event_passthrough *e;

	e = event_create_passthrough(event)->
		set_name(retention_event_name(action))->
		add_str("mailbox", mail->mailbox)->
		add_int("uid", mail->uid)->
		add_int("message_size", mail->size);

	str_printfa(str, "%s: ", action == RETENTION_ACTION_NONE ? "hide" :
		    retention_action_name(action));
	if (mail->rule != NULL) {
		str_printfa(str, "rule=%s, ", mail->rule);
		e->add_str("rule", mail->rule);
	}
	str_printfa(str, "box=%s, uid=%u, msgid=",
		    retention_name_sanitize(mail->mailbox), mail->uid);
	if (mail->message_id != NULL) {
		str_sanitize_append(str, mail->message_id,
				    RETENTION_LOG_TEXT_MAX_LEN);
		e->add_str("message_id", mail->message_id);
	}
	str_printfa(str, ", size=%"PRIuUOFF_T, mail->size);
	if (action == RETENTION_ACTION_COMPRESS) {
		str_printfa(str, ", stored=%"PRIuUOFF_T, mail->stored_size);
		e->add_int("stored_size", mail->stored_size);
	}
	if (mail->target != NULL) {
		str_printfa(str, ", to=%s",
			    retention_name_sanitize(mail->target));
		e->add_str("target", mail->target);
	}
	e_info(e->event(), "%s", str_c(str));
}
