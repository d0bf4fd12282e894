/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* QUIT: what DELE and RETR have meant for each message. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "ostream.h"
#include "mail-storage-private.h"
#include "pop3-common.h"
#include "retention-settings.h"
#include "retention-pop3-session.h"

struct retention_pop3_quit {
	struct retention_pop3_session *session;
	struct mailbox_transaction_context *t;
	/* Sorted by UID once it is complete, each UID once. */
	ARRAY_TYPE(retention_pop3_change) *changes;
	/* Of messages that go, and of those to be marked \Seen. */
	ARRAY_TYPE(seq_range) deleted_uids, expunge_uids, seen_uids;
};

static bool
retention_pop3_bit(const unsigned char *bitmask, unsigned int msgnum)
{
	return bitmask != NULL &&
		(bitmask[msgnum / CHAR_BIT] & (1 << (msgnum % CHAR_BIT))) != 0;
}

static uint32_t
retention_pop3_msgnum_to_uid(struct retention_pop3_quit *quit,
			     unsigned int msgnum)
{
	const struct client *client = quit->session->client;
	uint32_t uid, seq = msgnum + 1;

	if (msgnum < client->msgnum_to_seq_map_count)
		seq = client->msgnum_to_seq_map[msgnum];
	mail_index_lookup_uid(quit->t->view, seq, &uid);
	return uid;
}

static void
retention_pop3_quit_hide(struct retention_pop3_quit *quit, uint32_t uid)
{
	struct retention_pop3_change *change =
		array_append_space(quit->changes);

	change->uid = uid;
	change->hidden_time = ioloop_time;
}

/* Dovecot does not mark a message \Seen that was downloaded and deleted, as
   there is no use in it. For a message that stays there is. */
static void retention_pop3_quit_add_deleted(struct retention_pop3_quit *quit)
{
	const struct client *client = quit->session->client;
	bool hides = retention_pop3_session_hides(quit->session);
	unsigned int msgnum;
	uint32_t uid;

	if (client->deleted_bitmask == NULL)
		return;
	for (msgnum = 0; msgnum < client->messages_count; msgnum++) {
		if (!retention_pop3_bit(client->deleted_bitmask, msgnum))
			continue;
		uid = retention_pop3_msgnum_to_uid(quit, msgnum);
		seq_range_array_add(&quit->deleted_uids, uid);
		if (!hides)
			continue;
		retention_pop3_quit_hide(quit, uid);
		if (retention_pop3_bit(client->seen_bitmask, msgnum))
			seq_range_array_add(&quit->seen_uids, uid);
	}
}

static void
retention_pop3_quit_add_download(struct retention_pop3_quit *quit, uint32_t uid)
{
	const struct retention_pop3_settings *set = &quit->session->set->pop3;
	bool hides = retention_pop3_session_hides(quit->session);
	struct retention_pop3_change *change;

	if (!hides) {
		if (seq_range_exists(&quit->deleted_uids, uid))
			return;
		if (set->leave_time == 0) {
			seq_range_array_add(&quit->expunge_uids, uid);
			return;
		}
	}
	if (hides && set->leave_time == 0)
		retention_pop3_quit_hide(quit, uid);
	change = array_append_space(quit->changes);
	change->uid = uid;
	change->downloaded_time = ioloop_time;
}

/* Only what has left our buffer counts. Dovecot's own attempt to send the rest
   comes too late for us, after the commit, and gives up what does not go at
   once. */
static void retention_pop3_quit_add_downloads(struct retention_pop3_quit *quit)
{
	struct ostream *output = quit->session->client->output;
	const struct retention_pop3_download *download;
	uoff_t sent;

	if (array_is_empty(&quit->session->downloads))
		return;
	(void)o_stream_flush(output);
	sent = output->offset - o_stream_get_buffer_used_size(output);
	array_foreach(&quit->session->downloads, download) {
		if (download->end_offset <= sent)
			retention_pop3_quit_add_download(quit, download->uid);
	}
}

static int
retention_pop3_change_cmp(const struct retention_pop3_change *change1,
			  const struct retention_pop3_change *change2)
{
	if (change1->uid < change2->uid)
		return -1;
	return change1->uid > change2->uid ? 1 : 0;
}

static void
retention_pop3_changes_merge(ARRAY_TYPE(retention_pop3_change) *changes)
{
	struct retention_pop3_change *change;
	unsigned int i, count, used = 0;

	array_sort(changes, retention_pop3_change_cmp);
	change = array_get_modifiable(changes, &count);
	for (i = 0; i < count; i++) {
		if (used > 0 && change[used-1].uid == change[i].uid) {
			change[used-1].hidden_time |= change[i].hidden_time;
			change[used-1].downloaded_time |=
				change[i].downloaded_time;
		} else {
			change[used++] = change[i];
		}
	}
	array_delete(changes, used, count - used);
}

static void retention_pop3_quit_update_mails(struct retention_pop3_quit *quit)
{
	struct seq_range_iter iter;
	struct mail *mail;
	unsigned int n;
	uint32_t uid;

	if (array_is_empty(&quit->expunge_uids) &&
	    array_is_empty(&quit->seen_uids))
		return;
	mail = mail_alloc(quit->t, 0, NULL);
	seq_range_array_iter_init(&iter, &quit->expunge_uids);
	for (n = 0; seq_range_array_iter_nth(&iter, n, &uid); n++) {
		if (mail_set_uid(mail, uid))
			mail_expunge(mail);
	}
	seq_range_array_iter_init(&iter, &quit->seen_uids);
	for (n = 0; seq_range_array_iter_nth(&iter, n, &uid); n++) {
		if (mail_set_uid(mail, uid))
			mail_update_flags(mail, MODIFY_ADD, MAIL_SEEN);
	}
	mail_free(&mail);
}

int retention_pop3_session_apply(struct retention_pop3_session *session,
				 struct mailbox_transaction_context *t,
				 pool_t pool,
				 ARRAY_TYPE(retention_pop3_change) *changes)
{
	struct retention_pop3_quit quit = {
		.session = session,
		.t = t,
		.changes = changes,
	};

	p_array_init(&quit.deleted_uids, pool, 8);
	p_array_init(&quit.expunge_uids, pool, 8);
	p_array_init(&quit.seen_uids, pool, 8);
	retention_pop3_quit_add_deleted(&quit);
	retention_pop3_quit_add_downloads(&quit);
	retention_pop3_changes_merge(changes);
	retention_pop3_quit_update_mails(&quit);
	if (array_is_empty(changes))
		return 0;
	/* Sequences stay as the session has them, but what another session has
	   done with the messages since is to be known. */
	if (mail_index_refresh(t->box->index) < 0) {
		mailbox_set_index_error(t->box);
		return -1;
	}
	return retention_pop3_state_apply(t, changes, pool);
}
