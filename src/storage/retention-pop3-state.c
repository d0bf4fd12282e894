/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Two index extensions hold a time for each message, each its own, so that of
   two sessions that do different things at once neither overwrites what the
   other has done. The header of the first tells whether the index knows of the
   log (retention-pop3-log.h). Dovecot never carries any of it over to an index that it builds anew, not even
   when it saves the keywords: so an index without the mark in the header, but
   with a log beside it, is one that has lost something. Whoever changes
   something in such an index leaves the mark away, as long as what the log
   tells is not restored.

   Where the index is lost, messages may be missing as well until the mailbox is
   repaired: an sdbox without its index can be an empty mailbox that takes new
   mail. So the log may know more than was found a use for when it was restored,
   and is not to be written anew from the mailbox for a while. A repair builds
   the index anew, so that the log is then asked once more. */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "mail-index.h"
#include "mail-storage-private.h"
#include "retention-box.h"
#include "retention-driver.h"
#include "retention-pop3-log.h"

#include <time.h>

#define RETENTION_POP3_HIDDEN_EXT_NAME "retention-pop3"
#define RETENTION_POP3_DOWNLOADED_EXT_NAME "retention-pop3-retrieved"
/* Time enough to see that messages are missing. */
#define RETENTION_POP3_SETTLE_SECS (3600 * 24 * 30)

struct retention_pop3_header {
	/* 1 if the index knows what the log tells. */
	uint32_t log_known;
	/* When it was told from the log, in seconds since 1970; 0 if never. */
	uint32_t restored_time;
};

struct retention_pop3_reader {
	struct mail_index_view *view;
	/* Their records are in seconds since 1970, 0 if not known. Void without
	   the keyword. */
	uint32_t hidden_ext_id, downloaded_ext_id;
	/* UINT_MAX if no message has the keyword. */
	unsigned int hidden_idx, downloaded_idx;
	/* Of one message; kept to save allocations. */
	ARRAY_TYPE(keyword_indexes) keywords;
};

/* What is needed to change messages in a transaction. */
struct retention_pop3_writer {
	struct mailbox_transaction_context *t;
	struct retention_pop3_reader *reader;
	struct mail_keywords *hidden, *downloaded;
};

/* Index extensions live in the host's byte order, as all of Dovecot's index
   files do. */
static uint32_t retention_pop3_hidden_ext_id(struct mailbox *box)
{
	return mail_index_ext_register(box->index,
				       RETENTION_POP3_HIDDEN_EXT_NAME,
				       sizeof(struct retention_pop3_header),
				       sizeof(uint32_t), sizeof(uint32_t));
}

static uint32_t retention_pop3_downloaded_ext_id(struct mailbox *box)
{
	return mail_index_ext_register(box->index,
				       RETENTION_POP3_DOWNLOADED_EXT_NAME, 0,
				       sizeof(uint32_t), sizeof(uint32_t));
}

void retention_pop3_state_register(struct mailbox *box)
{
	(void)retention_pop3_hidden_ext_id(box);
	(void)retention_pop3_downloaded_ext_id(box);
}

static unsigned int
retention_pop3_keyword_idx(struct mailbox *box, const char *keyword)
{
	unsigned int idx;

	return mail_index_keyword_lookup(box->index, keyword, &idx) ?
		idx : UINT_MAX;
}

struct retention_pop3_reader *
retention_pop3_reader_init(struct mailbox *box, struct mail_index_view *view)
{
	struct retention_pop3_reader *reader;

	reader = i_new(struct retention_pop3_reader, 1);
	reader->view = view;
	reader->hidden_ext_id = retention_pop3_hidden_ext_id(box);
	reader->downloaded_ext_id = retention_pop3_downloaded_ext_id(box);
	reader->hidden_idx =
		retention_pop3_keyword_idx(box, RETENTION_POP3_HIDDEN_KEYWORD);
	reader->downloaded_idx = retention_pop3_keyword_idx(box,
		RETENTION_POP3_DOWNLOADED_KEYWORD);
	i_array_init(&reader->keywords, 32);
	return reader;
}

void retention_pop3_reader_deinit(struct retention_pop3_reader **_reader)
{
	struct retention_pop3_reader *reader = *_reader;

	if (reader == NULL)
		return;
	*_reader = NULL;
	array_free(&reader->keywords);
	i_free(reader);
}

static bool
retention_pop3_reader_has_keyword(const struct retention_pop3_reader *reader,
				  unsigned int wanted_idx)
{
	unsigned int idx;

	array_foreach_elem(&reader->keywords, idx) {
		if (idx == wanted_idx)
			return TRUE;
	}
	return FALSE;
}

static uint32_t
retention_pop3_reader_get_time(struct retention_pop3_reader *reader,
			       uint32_t seq, uint32_t ext_id)
{
	const void *data;
	uint32_t t = 0;

	mail_index_lookup_ext(reader->view, seq, ext_id, &data, NULL);
	if (data != NULL)
		memcpy(&t, data, sizeof(t));
	return t;
}

bool retention_pop3_reader_get(struct retention_pop3_reader *reader,
			       uint32_t seq,
			       struct retention_pop3_facts *facts_r)
{
	i_zero(facts_r);
	if (reader->hidden_idx == UINT_MAX &&
	    reader->downloaded_idx == UINT_MAX)
		return FALSE;
	mail_index_lookup_keywords(reader->view, seq, &reader->keywords);
	facts_r->hidden = retention_pop3_reader_has_keyword(reader,
		reader->hidden_idx);
	facts_r->downloaded = retention_pop3_reader_has_keyword(reader,
		reader->downloaded_idx);
	if (!facts_r->hidden && !facts_r->downloaded)
		return FALSE;

	if (facts_r->hidden) {
		facts_r->hidden_time = retention_pop3_reader_get_time(reader,
			seq, reader->hidden_ext_id);
	}
	if (facts_r->downloaded) {
		facts_r->downloaded_time = retention_pop3_reader_get_time(
			reader, seq, reader->downloaded_ext_id);
	}
	return TRUE;
}

void retention_pop3_reader_get_visible(struct retention_pop3_reader *reader,
				       uint32_t seq1, uint32_t seq2,
				       ARRAY_TYPE(seq_range) *seqs)
{
	/* of the visible ones that are not added yet; 0 if there are none */
	uint32_t first = 0;
	uint32_t seq;

	i_assert(seq1 > 0);

	if (reader->hidden_idx == UINT_MAX) {
		if (seq1 <= seq2)
			seq_range_array_add_range(seqs, seq1, seq2);
		return;
	}
	for (seq = seq1; seq <= seq2; seq++) {
		mail_index_lookup_keywords(reader->view, seq,
					   &reader->keywords);
		if (!retention_pop3_reader_has_keyword(reader,
						       reader->hidden_idx)) {
			if (first == 0)
				first = seq;
		} else if (first != 0) {
			seq_range_array_add_range(seqs, first, seq - 1);
			first = 0;
		}
	}
	if (first != 0)
		seq_range_array_add_range(seqs, first, seq2);
}

static int
retention_pop3_keywords_create(struct mailbox *box, const char *keyword,
			       struct mail_keywords **keywords_r)
{
	const char *const keywords[] = { keyword, NULL };

	return mailbox_keywords_create(box, keywords, keywords_r);
}

static void retention_pop3_prepare_keywords(struct mailbox *box)
{
	static const char *const names[] = {
		RETENTION_POP3_HIDDEN_KEYWORD,
		RETENTION_POP3_DOWNLOADED_KEYWORD,
		NULL
	};
	const struct retention_driver *driver =
		retention_driver_find(box->storage);

	if (driver != NULL && driver->prepare_keywords != NULL)
		driver->prepare_keywords(box, names);
}

static int
retention_pop3_writer_init(struct retention_pop3_writer *writer,
			   struct mailbox_transaction_context *t)
{
	i_zero(writer);
	writer->t = t;
	retention_pop3_prepare_keywords(t->box);
	if (retention_pop3_keywords_create(t->box,
			RETENTION_POP3_HIDDEN_KEYWORD, &writer->hidden) < 0)
		return -1;
	if (retention_pop3_keywords_create(t->box,
			RETENTION_POP3_DOWNLOADED_KEYWORD,
			&writer->downloaded) < 0) {
		mailbox_keywords_unref(&writer->hidden);
		return -1;
	}
	/* only now, when the index knows the keywords */
	writer->reader = retention_pop3_reader_init(t->box, t->view);
	return 0;
}

static void retention_pop3_writer_deinit(struct retention_pop3_writer *writer)
{
	retention_pop3_reader_deinit(&writer->reader);
	mailbox_keywords_unref(&writer->downloaded);
	mailbox_keywords_unref(&writer->hidden);
}

static void
retention_pop3_writer_set_time(struct retention_pop3_writer *writer,
			       struct mail *mail, uint32_t ext_id, uint32_t t)
{
	if (retention_pop3_reader_get_time(writer->reader, mail->seq,
					   ext_id) != t) {
		mail_index_update_ext(writer->t->itrans, mail->seq, ext_id,
				      &t, NULL);
	}
}

/* Make the message's state what facts say. Returns FALSE if it was so
   already. */
static bool
retention_pop3_writer_set(struct retention_pop3_writer *writer,
			  struct mail *mail,
			  const struct retention_pop3_facts *facts)
{
	struct retention_pop3_facts old;

	(void)retention_pop3_reader_get(writer->reader, mail->seq, &old);
	if (old.hidden != facts->hidden) {
		mail_update_keywords(mail, facts->hidden ? MODIFY_ADD :
				     MODIFY_REMOVE, writer->hidden);
	}
	if (old.downloaded != facts->downloaded) {
		mail_update_keywords(mail, facts->downloaded ? MODIFY_ADD :
				     MODIFY_REMOVE, writer->downloaded);
	}
	retention_pop3_writer_set_time(writer, mail,
		writer->reader->hidden_ext_id, facts->hidden_time);
	retention_pop3_writer_set_time(writer, mail,
		writer->reader->downloaded_ext_id, facts->downloaded_time);
	return old.hidden != facts->hidden ||
		old.downloaded != facts->downloaded ||
		old.hidden_time != facts->hidden_time ||
		old.downloaded_time != facts->downloaded_time;
}

static void
retention_pop3_get_header(struct mailbox *box,
			  struct retention_pop3_header *hdr_r)
{
	const void *data;
	size_t size;

	i_zero(hdr_r);
	mail_index_get_header_ext(box->view, retention_pop3_hidden_ext_id(box),
				  &data, &size);
	if (size > 0)
		memcpy(hdr_r, data, I_MIN(size, sizeof(*hdr_r)));
}

/* Set the first size bytes of the header. */
static void retention_pop3_set_header(struct mailbox_transaction_context *t,
				      const struct retention_pop3_header *hdr,
				      size_t size)
{
	mail_index_update_header_ext(t->itrans,
				     retention_pop3_hidden_ext_id(t->box),
				     0, hdr, size);
}

/* The message's GUID, or "" if it has none or it can't be read: then the log
   does without it, and Dovecot has logged why. */
static const char *retention_pop3_get_guid(struct mail *mail)
{
	const char *guid;

	return mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0 ? "" : guid;
}

static void
retention_pop3_writer_change(struct retention_pop3_writer *writer,
			     struct mail *mail,
			     struct retention_pop3_change *change, pool_t pool)
{
	struct retention_pop3_facts facts;

	(void)retention_pop3_reader_get(writer->reader, mail->seq, &facts);
	if (change->hidden_time != 0) {
		facts.hidden = TRUE;
		facts.hidden_time = change->hidden_time;
	}
	if (change->downloaded_time != 0) {
		facts.downloaded = TRUE;
		if (facts.downloaded_time == 0)
			facts.downloaded_time = change->downloaded_time;
	}
	if (retention_pop3_writer_set(writer, mail, &facts))
		change->guid = p_strdup(pool, retention_pop3_get_guid(mail));
}

int retention_pop3_state_apply(struct mailbox_transaction_context *t,
			       ARRAY_TYPE(retention_pop3_change) *changes,
			       pool_t pool)
{
	const struct retention_pop3_header hdr = { .log_known = 1 };
	struct retention_pop3_writer writer;
	struct retention_pop3_change *change;
	struct mail *mail;

	if (retention_pop3_writer_init(&writer, t) < 0)
		return -1;
	if (!retention_pop3_state_is_lost(t->box))
		retention_pop3_set_header(t, &hdr, sizeof(hdr.log_known));
	mail = mail_alloc(t, 0, NULL);
	array_foreach_modifiable(changes, change) T_BEGIN {
		change->guid = NULL;
		if (mail_set_uid(mail, change->uid) && !mail->expunged)
			retention_pop3_writer_change(&writer, mail, change,
						     pool);
	} T_END;
	mail_free(&mail);
	retention_pop3_writer_deinit(&writer);
	return 0;
}

int retention_pop3_state_reset(struct mailbox_transaction_context *t,
			       struct mail *mail)
{
	const struct retention_pop3_facts nothing = { .hidden = FALSE };
	struct retention_pop3_writer writer;

	if (retention_pop3_writer_init(&writer, t) < 0)
		return -1;
	(void)retention_pop3_writer_set(&writer, mail, &nothing);
	retention_pop3_writer_deinit(&writer);
	return 0;
}

bool retention_pop3_state_is_lost(struct mailbox *box)
{
	struct retention_pop3_header hdr;

	retention_pop3_get_header(box, &hdr);
	return hdr.log_known == 0 && retention_pop3_log_exists(box);
}

bool retention_pop3_state_is_settled(struct mailbox *box)
{
	struct retention_pop3_header hdr;

	retention_pop3_get_header(box, &hdr);
	return hdr.log_known != 0 &&
		(hdr.restored_time == 0 ||
		 time(NULL) - (time_t)hdr.restored_time >
			RETENTION_POP3_SETTLE_SECS);
}

/* Add what the log tells of the message to what its keywords and record tell,
   which go before. Returns FALSE if it tells nothing new. */
static bool
retention_pop3_writer_restore(struct retention_pop3_writer *writer,
			      struct mail *mail,
			      const struct retention_pop3_log_entry *entry)
{
	struct retention_pop3_facts facts;

	(void)retention_pop3_reader_get(writer->reader, mail->seq, &facts);
	facts.hidden = facts.hidden || entry->hidden;
	if (facts.hidden_time == 0)
		facts.hidden_time = entry->hidden_time;
	facts.downloaded = facts.downloaded || entry->downloaded;
	if (facts.downloaded_time == 0)
		facts.downloaded_time = entry->downloaded_time;
	return retention_pop3_writer_set(writer, mail, &facts);
}

static int
retention_pop3_state_restore_mails(struct mailbox_transaction_context *t,
	HASH_TABLE_TYPE(retention_pop3_log) entries, const char **error_r)
{
	const struct retention_pop3_header hdr = {
		.log_known = 1,
		.restored_time = time(NULL),
	};
	const struct retention_pop3_log_entry *entry;
	struct retention_pop3_writer writer;
	struct mail *mail;
	uint32_t seq, count = mail_index_view_get_messages_count(t->view);
	int restored = 0;

	if (retention_pop3_writer_init(&writer, t) < 0) {
		*error_r = retention_box_error(t->box);
		return -1;
	}
	mail = mail_alloc(t, MAIL_FETCH_GUID, NULL);
	for (seq = 1; seq <= count; seq++) T_BEGIN {
		mail_set_seq(mail, seq);
		entry = hash_table_lookup(entries,
					  retention_pop3_get_guid(mail));
		if (entry != NULL &&
		    retention_pop3_writer_restore(&writer, mail, entry))
			restored++;
	} T_END;
	mail_free(&mail);
	retention_pop3_writer_deinit(&writer);
	retention_pop3_set_header(t, &hdr, sizeof(hdr));
	return restored;
}

int retention_pop3_state_restore(struct mailbox_transaction_context *t,
				 const char **error_r)
{
	HASH_TABLE_TYPE(retention_pop3_log) entries;
	pool_t pool;
	unsigned int skipped;
	int ret;

	pool = pool_alloconly_create(MEMPOOL_GROWING"retention pop3 log",
				     1024 * 16);
	ret = retention_pop3_log_read(t->box, pool, &entries, &skipped,
				      error_r);
	if (ret > 0) {
		if (skipped > 0) {
			e_warning(t->box->event, "retention: %u lines of the "
				  "POP3 log can't be understood, and are "
				  "skipped", skipped);
		}
		ret = retention_pop3_state_restore_mails(t, entries, error_r);
		hash_table_destroy(&entries);
	}
	pool_unref(&pool);
	return ret;
}
