/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* The messages of a POP3 session: which of them RETR sends to the end, and what
   DELE does at QUIT instead of setting a keyword. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "ostream.h"
#include "mail-storage-private.h"
#include "module-context.h"
#include "pop3-common.h"
#include "retention-settings.h"
#include "retention-pop3-client.h"
#include "retention-pop3-session.h"

struct retention_pop3_mail {
	union mail_module_context module_ctx;
	struct retention_pop3_session *session;
	/* A reference to what RETR is sending, NULL if it is not. */
	struct istream *stream;
};

static MODULE_CONTEXT_DEFINE_INIT(retention_pop3_mail_module,
				  &mail_module_register);
#define RETENTION_POP3_MAIL_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, retention_pop3_mail_module)

static int
retention_pop3_mail_get_stream(struct mail *_mail, bool get_body,
			       struct message_size *hdr_size,
			       struct message_size *body_size,
			       struct istream **stream_r)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	struct retention_pop3_mail *pmail =
		RETENTION_POP3_MAIL_CONTEXT_REQUIRE(mail);
	/* TOP can get everything as well, but is no download. */
	bool retr = null_strcmp(mail->get_stream_reason, "RETR") == 0;

	/* which may open the message for another reason, and forget this one */
	if (pmail->module_ctx.super.get_stream(_mail, get_body, hdr_size,
					       body_size, stream_r) < 0)
		return -1;
	if (retr) {
		i_stream_unref(&pmail->stream);
		pmail->stream = *stream_r;
		i_stream_ref(pmail->stream);
	}
	return 0;
}

/* RETR is over. It was sent to its end if the stream was read to its end: a
   client that is gone stops it before, and a read error shows in the stream. */
static void retention_pop3_mail_retr_end(struct retention_pop3_mail *pmail,
					 uint32_t uid)
{
	struct retention_pop3_session *session = pmail->session;
	struct retention_pop3_download *download;

	if (pmail->stream->stream_errno == 0 && pmail->stream->eof &&
	    i_stream_get_data_size(pmail->stream) == 0) {
		download = array_append_space(&session->downloads);
		download->uid = uid;
		download->end_offset = session->client->output->offset;
	}
	i_stream_unref(&pmail->stream);
}

static void retention_pop3_mail_close(struct mail *_mail)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	struct retention_pop3_mail *pmail =
		RETENTION_POP3_MAIL_CONTEXT_REQUIRE(mail);

	if (pmail->stream != NULL)
		retention_pop3_mail_retr_end(pmail, _mail->uid);
	pmail->module_ctx.super.close(_mail);
}

/* For DELE Dovecot would set the administrator's pop3_deleted_flag, or ours and
   no time. The commit sets ours, with the time. */
static void
retention_pop3_mail_update_keywords(struct mail *_mail,
				    enum modify_type modify_type,
				    struct mail_keywords *keywords)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	struct retention_pop3_mail *pmail =
		RETENTION_POP3_MAIL_CONTEXT_REQUIRE(mail);

	if (keywords == pmail->session->client->deleted_kw &&
	    retention_pop3_session_hides(pmail->session))
		return;
	pmail->module_ctx.super.update_keywords(_mail, modify_type, keywords);
}

void retention_pop3_mail_allocated(struct mail *_mail)
{
	struct retention_pop3_session *session =
		retention_pop3_session_get(_mail->box->storage->user);
	struct mail_private *mail = (struct mail_private *)_mail;
	struct mail_vfuncs *v = mail->vlast;
	struct retention_pop3_mail *pmail;

	if (session == NULL ||
	    !retention_pop3_session_is_box(session, _mail->box) ||
	    !retention_pop3_is_set(&session->set->pop3))
		return;

	pmail = p_new(mail->pool, struct retention_pop3_mail, 1);
	pmail->session = session;
	pmail->module_ctx.super = *v;
	mail->vlast = &pmail->module_ctx.super;
	v->get_stream = retention_pop3_mail_get_stream;
	v->close = retention_pop3_mail_close;
	v->update_keywords = retention_pop3_mail_update_keywords;
	MODULE_CONTEXT_SET(mail, retention_pop3_mail_module, pmail);
}
