/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "mail-cache.h"
#include "mail-index.h"
#include "mail-storage-private.h"
#include "index-mail.h"
#include "retention-record.h"

#define RETENTION_RECORD_EXT_NAME "retention"

struct retention_record_header {
	/* enum retention_copies */
	uint32_t copies;
	/* With RETENTION_COPIES_IN_DOUBT. */
	uint32_t first_doubtful_uid;
	struct retention_quiet quiet;
};

/* Index extensions live in the host's byte order, as all of Dovecot's index
   files do. */
static uint32_t retention_record_ext_id(struct mailbox *box)
{
	return mail_index_ext_register(box->index, RETENTION_RECORD_EXT_NAME,
				       sizeof(struct retention_record_header),
				       sizeof(struct retention_record),
				       sizeof(uint32_t));
}

void retention_record_register(struct mailbox *box)
{
	(void)retention_record_ext_id(box);
}

bool retention_records_exist(struct mailbox *box)
{
	uint32_t ext_id = retention_record_ext_id(box);
	const void *data;
	size_t size;

	mail_index_get_header_ext(box->view, ext_id, &data, &size);
	return size > 0;
}

void retention_record_get(struct mail *mail, struct retention_record *rec_r)
{
	const void *data;

	i_zero(rec_r);
	mail_index_lookup_ext(mail->transaction->view, mail->seq,
			      retention_record_ext_id(mail->box), &data, NULL);
	if (data != NULL)
		memcpy(rec_r, data, sizeof(*rec_r));
}

static void retention_record_set(struct mail *mail,
				 const struct retention_record *rec)
{
	mail_index_update_ext(mail->transaction->itrans, mail->seq,
			      retention_record_ext_id(mail->box), rec, NULL);
}

void retention_record_set_state(struct mail *mail,
				enum retention_record_state state)
{
	struct retention_record rec;

	retention_record_get(mail, &rec);
	rec.state = state;
	retention_record_set(mail, &rec);
}

void retention_record_set_save_date(struct mail *mail, uint32_t save_date)
{
	struct retention_record rec;

	retention_record_get(mail, &rec);
	if (rec.save_date == 0) {
		rec.save_date = save_date;
		retention_record_set(mail, &rec);
	}
	index_mail_cache_add(INDEX_MAIL(mail), MAIL_CACHE_SAVE_DATE,
			     &save_date, sizeof(save_date));
}

static void
retention_record_get_header(struct mailbox *box,
			    struct retention_record_header *hdr_r)
{
	const void *data;
	size_t size;

	i_zero(hdr_r);
	mail_index_get_header_ext(box->view, retention_record_ext_id(box),
				  &data, &size);
	if (size > 0)
		memcpy(hdr_r, data, I_MIN(size, sizeof(*hdr_r)));
}

unsigned int retention_record_cache_save_dates(struct mailbox *box,
					       unsigned int decision)
{
	struct mail_cache_field field;
	unsigned int idx = mail_cache_register_lookup(box->cache, "date.save");
	unsigned int old_decision;

	if (idx == UINT_MAX)
		return 0;
	field = *mail_cache_register_get_field(box->cache, idx);
	old_decision = field.decision;
	field.decision = decision;
	retention_mail_cache_update_field(box->cache, &field);
	return old_decision;
}

void retention_record_set_in_doubt(struct mailbox_transaction_context *t,
				   uint32_t seq, uint32_t save_date)
{
	struct retention_record rec = {
		.state = RETENTION_RECORD_UNKNOWN,
		.flags = RETENTION_RECORD_FLAG_IN_DOUBT,
		.save_date = save_date,
	};

	mail_index_update_ext(t->itrans, seq, retention_record_ext_id(t->box),
			      &rec, NULL);
}

bool retention_record_is_in_doubt(struct mail *mail)
{
	struct retention_record rec;

	retention_record_get(mail, &rec);
	return (rec.flags & RETENTION_RECORD_FLAG_IN_DOUBT) != 0;
}

void retention_record_clear_in_doubt(struct mail *mail)
{
	struct retention_record rec;

	retention_record_get(mail, &rec);
	if ((rec.flags & RETENTION_RECORD_FLAG_IN_DOUBT) == 0)
		return;
	rec.flags &= (uint16_t)~RETENTION_RECORD_FLAG_IN_DOUBT;
	retention_record_set(mail, &rec);
}

enum retention_copies
retention_record_get_copies(struct mailbox *box, uint32_t *first_uid_r)
{
	struct retention_record_header hdr;

	retention_record_get_header(box, &hdr);
	*first_uid_r = hdr.first_doubtful_uid;
	switch (hdr.copies) {
	case RETENTION_COPIES_SETTLED:
	case RETENTION_COPIES_IN_DOUBT:
		return hdr.copies;
	default:
		return RETENTION_COPIES_UNKNOWN;
	}
}

void retention_record_set_copies(struct mailbox_transaction_context *t,
				 enum retention_copies copies,
				 uint32_t first_uid)
{
	const struct retention_record_header hdr = {
		.copies = copies,
		.first_doubtful_uid = first_uid,
	};

	mail_index_update_header_ext(t->itrans, retention_record_ext_id(t->box),
		0, &hdr, offsetof(struct retention_record_header, quiet));
}

void retention_record_get_quiet(struct mailbox *box,
				struct retention_quiet *quiet_r)
{
	struct retention_record_header hdr;

	retention_record_get_header(box, &hdr);
	*quiet_r = hdr.quiet;
}

void retention_record_set_quiet(struct mailbox_transaction_context *t,
				const struct retention_quiet *quiet)
{
	mail_index_update_header_ext(t->itrans, retention_record_ext_id(t->box),
		offsetof(struct retention_record_header, quiet),
		quiet, sizeof(*quiet));
}
