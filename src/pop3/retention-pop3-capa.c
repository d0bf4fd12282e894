/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* CAPA. Dovecot's reply is a constant in a static function, but it goes out in
   one piece, in one call. So the client's output goes through a stream of ours
   that puts a line into just that reply, and passes everything else on. */

#include "lib.h"
#include "array.h"
#include "ostream-private.h"
#include "mail-namespace.h"
#include "pop3-common.h"
#include "retention-box.h"
#include "retention-settings.h"
#include "retention-pop3-session.h"

#define RETENTION_CAPA_BEGIN "+OK\r\nCAPA\r\n"
#define RETENTION_CAPA_END "\r\n.\r\n"
/* The terminating line, before which ours goes. */
#define RETENTION_CAPA_LAST_LINE ".\r\n"

struct retention_pop3_capa {
	struct ostream_private ostream;
	struct retention_pop3_session *session;
};

/* Rules and times do nothing in an INBOX that is somebody else's, or virtual.
   What the session itself does it does there too. */
static unsigned int
retention_pop3_capa_expire_days(const struct retention_pop3_session *session)
{
	const struct retention_settings *set = session->set;
	const struct mail_namespace *ns =
		mail_namespace_find_inbox(session->user->namespaces);
	const struct retention_rule *const *rules;
	const struct retention_box *rbox;
	unsigned int count, days;
	pool_t pool;

	if (!retention_namespace_is_own(ns, session->user)) {
		return set->pop3.leave_time == 0 ? 0 :
			RETENTION_POP3_EXPIRE_NEVER;
	}
	pool = pool_alloconly_create("retention capa", 1024);
	rbox = retention_box_inbox(session->user, set, pool);
	rules = array_get(&rbox->rules, &count);
	days = retention_pop3_expire_days(&set->pop3, rules, count);
	pool_unref(&pool);
	return days;
}

static const char *
retention_pop3_capa_line(const struct retention_pop3_session *session)
{
	unsigned int days = retention_pop3_capa_expire_days(session);

	if (days == RETENTION_POP3_EXPIRE_NEVER)
		return "EXPIRE NEVER\r\n";
	return t_strdup_printf("EXPIRE %u\r\n", days);
}

/* A message could have the same bytes, but it is sent by a command that is
   still running, and CAPA's reply is not. */
static bool
retention_pop3_is_capa(const struct client *client,
		       const struct const_iovec *iov, unsigned int iov_count)
{
	const size_t begin_len = strlen(RETENTION_CAPA_BEGIN);
	const size_t end_len = strlen(RETENTION_CAPA_END);
	const unsigned char *data;

	if (iov_count != 1 || client->cmd != NULL ||
	    iov[0].iov_len < begin_len + end_len)
		return FALSE;
	data = iov[0].iov_base;
	return memcmp(data, RETENTION_CAPA_BEGIN, begin_len) == 0 &&
		memcmp(data + iov[0].iov_len - end_len, RETENTION_CAPA_END,
		       end_len) == 0;
}

static ssize_t
retention_pop3_capa_send(struct retention_pop3_capa *capa,
			 const struct const_iovec *reply)
{
	const char *line = retention_pop3_capa_line(capa->session);
	const size_t last_len = strlen(RETENTION_CAPA_LAST_LINE);
	const struct const_iovec iov[] = {
		{ reply->iov_base, reply->iov_len - last_len },
		{ line, strlen(line) },
		{ RETENTION_CAPA_LAST_LINE, last_len },
	};

	return o_stream_sendv(capa->ostream.parent, iov, N_ELEMENTS(iov));
}

static ssize_t
retention_pop3_capa_sendv(struct ostream_private *stream,
			  const struct const_iovec *iov, unsigned int iov_count)
{
	struct retention_pop3_capa *capa =
		container_of(stream, struct retention_pop3_capa, ostream);
	bool is_capa = retention_pop3_is_capa(capa->session->client, iov,
					      iov_count);
	ssize_t ret;

	if (!is_capa)
		ret = o_stream_sendv(stream->parent, iov, iov_count);
	else T_BEGIN {
		ret = retention_pop3_capa_send(capa, iov);
	} T_END;
	if (ret < 0) {
		o_stream_copy_error_from_parent(stream);
		return -1;
	}
	stream->ostream.offset += ret;
	/* the caller knows of its own bytes only */
	return is_capa ? (ssize_t)iov[0].iov_len : ret;
}

void retention_pop3_capa_init(struct retention_pop3_session *session)
{
	struct client *client = session->client;
	struct ostream *parent = client->output;
	struct retention_pop3_capa *capa;

	capa = i_new(struct retention_pop3_capa, 1);
	capa->session = session;
	capa->ostream.sendv = retention_pop3_capa_sendv;
	client->output = o_stream_create(&capa->ostream, parent,
					 o_stream_get_fd(parent));
	o_stream_unref(&parent);
}
