/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Reading. In the order in which Dovecot calls the plugins for a message that
   is opened, mail_crypt (lib10) comes before us and zlib (lib20, 2.3) and
   mail_compress (lib20, 2.4) after us: what we see is decrypted, and what we
   have decoded they see as plain mail. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "mail-cache.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "index-mail.h"
#include "index-storage.h"
#include "istream-retention-lz4.h"
#include "retention-lz4.h"
#include "retention-record.h"
#include "retention-user.h"
#include "retention-storage.h"

struct retention_mailbox {
	union mailbox_module_context module_ctx;
};

static MODULE_CONTEXT_DEFINE_INIT(retention_storage_module,
				  &mail_storage_module_register);
static MODULE_CONTEXT_DEFINE_INIT(retention_mail_module,
				  &mail_module_register);
#define RETENTION_BOX_CONTEXT(obj) \
	MODULE_CONTEXT(obj, retention_storage_module)
#define RETENTION_MAIL_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, retention_mail_module)

/* The message size as Dovecot has it at hand, without reading the message:
   from the file name, the metadata or the cache. As it is called in the middle
   of reading, it must leave an error that is being reported as it is. */
static bool retention_mail_known_size(void *context, uoff_t *size_r)
{
	struct mail *mail = context;
	enum mail_lookup_abort orig_abort = mail->lookup_abort;
	bool known;

	mail_storage_last_error_push(mail->box->storage);
	mail->lookup_abort = MAIL_LOOKUP_ABORT_NOT_IN_CACHE;
	known = mail_get_physical_size(mail, size_r) == 0;
	mail->lookup_abort = orig_abort;
	mail_storage_last_error_pop(mail->box->storage);
	return known;
}

/* Returns TRUE if the rest of the stream begins with a codec's magic. */
static bool
retention_stream_has_codec(struct istream *input, const char **codec_r)
{
	const unsigned char *data;
	size_t size;

	(void)i_stream_read_bytes(input, &data, &size,
				  RETENTION_CODEC_MAGIC_MAX_LEN);
	*codec_r = retention_codec_detect(data, size);
	return *codec_r != NULL;
}

static int
retention_mail_istream_opened(struct mail *_mail, struct istream **stream)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	union mail_module_context *mmail = RETENTION_MAIL_CONTEXT_REQUIRE(mail);
	struct istream *input = *stream;
	const char *codec;

	if (!retention_stream_has_codec(input, &codec) ||
	    strcmp(codec, "lz4") != 0)
		return mmail->super.istream_opened(_mail, stream);

	*stream = i_stream_create_retention_lz4(input,
			retention_mail_known_size, _mail);
	i_stream_unref(&input);

	/* The text of a message may itself begin with a codec's magic. zlib
	   and mail_compress would take it for compressed a second time, so
	   they do not get to see it. */
	if (retention_stream_has_codec(*stream, &codec))
		return index_mail_opened(_mail, stream);
	return mmail->super.istream_opened(_mail, stream);
}

static int retention_mail_get_save_date(struct mail *_mail, time_t *date_r)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	union mail_module_context *mmail = RETENTION_MAIL_CONTEXT_REQUIRE(mail);
	struct index_mail *imail = INDEX_MAIL(_mail);
	struct retention_record rec;

	if (!_mail->saving) {
		retention_record_get(_mail, &rec);
		if (rec.save_date != 0) {
			*date_r = rec.save_date;
			imail->data.save_date = *date_r;
			return 1;
		}
	}
	return mmail->super.get_save_date(_mail, date_r);
}

void retention_mail_allocated(struct mail *_mail)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	struct mail_vfuncs *v = mail->vlast;
	union mail_module_context *mmail;

	if (RETENTION_BOX_CONTEXT(_mail->box) == NULL)
		return;

	mmail = p_new(mail->pool, union mail_module_context, 1);
	mmail->super = *v;
	mail->vlast = &mmail->super;
	v->istream_opened = retention_mail_istream_opened;
	v->get_save_date = retention_mail_get_save_date;
	MODULE_CONTEXT_SET_SELF(mail, retention_mail_module, mmail);
}

void retention_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	struct retention_mailbox *rbox;

	/* Storages that can't hold binary data can't hold archived mail. */
	if (retention_user_get(box->storage->user) == NULL ||
	    (box->storage->class_flags &
	     MAIL_STORAGE_CLASS_FLAG_BINARY_DATA) == 0)
		return;

	rbox = p_new(box->pool, struct retention_mailbox, 1);
	rbox->module_ctx.super = *v;
	box->vlast = &rbox->module_ctx.super;
	MODULE_CONTEXT_SET(box, retention_storage_module, rbox);
}

/* Where mail is aged by its save date, or a file was rewritten, the save date
   must stay in the cache file. Dovecot by itself drops it from there when the
   message is about a week old, and what it then takes instead, the file's
   ctime, changes with every rewrite and rename. */
static void retention_mailbox_keep_save_dates(struct mailbox *box)
{
	const unsigned int keep =
		MAIL_CACHE_DECISION_YES | MAIL_CACHE_DECISION_FORCED;
	unsigned int old = retention_record_cache_save_dates(box, keep);

	/* the administrator's word counts more */
	if (old != keep && (old & MAIL_CACHE_DECISION_FORCED) != 0)
		(void)retention_record_cache_save_dates(box, old);
}

void retention_mailbox_opened(struct mailbox *box)
{
	struct retention_user *ruser = retention_user_get(box->storage->user);

	if (RETENTION_BOX_CONTEXT(box) == NULL)
		return;

	retention_record_register(box);
	if (!array_is_empty(&ruser->set->rules) ||
	    retention_pop3_is_timed(&ruser->set->pop3) ||
	    retention_records_exist(box))
		retention_mailbox_keep_save_dates(box);
}
