/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "index-storage.h"
#include "mail-index.h"
#include "mail-storage-private.h"
#include "retention-driver.h"
#include "retention-quota-inbox.h"

/* Messages whose sizes were not added up yet: with more of them it is worth
   while to have Dovecot do this, and keep the result. */
#define RETENTION_QUOTA_MAX_NEWER 50

/* Add the sizes of the messages from first_seq on, if they are few and Dovecot
   has them at hand. Nothing is committed: that would be followed by reading the
   whole mailbox list. */
static bool
retention_quota_inbox_add_newer(struct mailbox *box,
				struct mail_index_view *view,
				uint32_t first_seq, uint32_t last_seq,
				uint64_t *bytes)
{
	struct mail_index_view *box_view = box->view;
	struct mailbox_transaction_context *t;
	struct mail *mail;
	uoff_t size;
	bool ok = TRUE;

	if (last_seq - first_seq >= RETENTION_QUOTA_MAX_NEWER)
		return FALSE;
	/* a transaction sees what the mailbox's view sees */
	box->view = view;
	t = mailbox_transaction_begin(box, 0, "retention: sizes");
	box->view = box_view;
	mail = mail_alloc(t, MAIL_FETCH_VIRTUAL_SIZE, NULL);
	for (uint32_t seq = first_seq; seq <= last_seq && ok; seq++) {
		mail_set_seq(mail, seq);
		mail->lookup_abort = MAIL_LOOKUP_ABORT_NOT_IN_CACHE;
		ok = mail_get_virtual_size(mail, &size) == 0;
		if (ok)
			*bytes += size;
	}
	mail_free(&mail);
	mailbox_transaction_rollback(&t);
	return ok;
}

/* Returns TRUE if the view tells the size of all messages. */
static bool
retention_quota_inbox_get_view(struct mailbox *box,
			       struct mail_index_view *view,
			       uint64_t *bytes_r, uint32_t *messages_r)
{
	const struct mail_index_header *hdr = mail_index_get_header(view);
	struct mailbox_index_vsize vsize;
	uint32_t seq1, seq2;
	const void *data;
	size_t size;

	mail_index_get_header_ext(view, box->vsize_hdr_ext_id, &data, &size);
	if (size != sizeof(vsize))
		return FALSE;
	memcpy(&vsize, data, sizeof(vsize));
	if (vsize.highest_uid == 0)
		return FALSE;
	if (!mail_index_lookup_seq_range(view, 1, vsize.highest_uid,
					 &seq1, &seq2))
		seq2 = 0;
	*bytes_r = vsize.vsize;
	*messages_r = hdr->messages_count;
	return seq2 == vsize.message_count &&
		(seq2 == hdr->messages_count ||
		 retention_quota_inbox_add_newer(box, view, seq2 + 1,
						 hdr->messages_count,
						 bytes_r));
}

bool retention_quota_inbox_get(struct mailbox *box, bool synced,
			       uint32_t *messages_r, uint64_t *bytes_r)
{
	const struct retention_driver *driver =
		retention_driver_find(box->storage);
	struct mail_index_view *view;
	bool known;

	if (driver == NULL || mail_index_refresh(box->index) < 0)
		return FALSE;
	view = mail_index_view_open(box->index);
	known = retention_quota_inbox_get_view(box, view, bytes_r,
					       messages_r) &&
		(synced || driver->index_is_complete == NULL ||
		 driver->index_is_complete(box, *messages_r));
	mail_index_view_close(&view);
	return known;
}
