/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* sdbox: a file per message, u.<uid>. The new file is made beside the old one,
   in the directory that it is in, so what is in ALT storage stays there. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "ostream.h"
#include "sdbox-storage.h"
#include "sdbox-file.h"
#include "sdbox-sync.h"
#include "retention-box.h"
#include "retention-dbox.h"
#include "retention-replace.h"

static int
retention_sdbox_read(struct dbox_file *file, struct retention_source *source,
		     const char **error_r)
{
	struct retention_dbox_message msg;

	if (fstat(file->fd, &source->st) < 0) {
		*error_r = t_strdup_printf("fstat(%s) failed: %m",
					   file->cur_path);
		return -1;
	}
	if (retention_dbox_read(file, file->file_header_size,
				&msg, error_r) <= 0)
		return -1;
	source->path = file->cur_path;
	source->offset = msg.body_offset;
	source->size = msg.body_size;
	/* bytes that no one knows of would get lost */
	source->state = msg.end_offset == (uoff_t)source->st.st_size ?
		msg.state : RETENTION_RECORD_NOT_COMPRESSIBLE;
	source->input = retention_dbox_open_body(file, &msg);
	return 1;
}

static int
retention_sdbox_open(struct mailbox *box, uint32_t uid,
		     struct retention_source *source_r, const char **error_r)
{
	struct dbox_file *file;
	bool deleted;
	int ret;

	i_zero(source_r);
	file = sdbox_file_init(SDBOX_MAILBOX(box), uid);
	ret = dbox_file_open(file, &deleted);
	if (ret > 0 && !deleted)
		ret = retention_sdbox_read(file, source_r, error_r);
	else if (ret > 0)
		ret = 0;
	else {
		*error_r = ret < 0 ?
			retention_box_error(box) :
			t_strdup_printf("%s has a corrupted header",
					file->cur_path);
		ret = -1;
	}
	if (ret <= 0) {
		dbox_file_unref(&file);
		return ret;
	}
	source_r->context = file;
	return 1;
}

static void retention_sdbox_close(struct retention_source *source)
{
	struct dbox_file *file = source->context;

	i_stream_unref(&source->input);
	dbox_file_unref(&file);
}

static const char *
retention_sdbox_get_temp_path(struct mailbox *box ATTR_UNUSED,
			      const struct retention_source *source)
{
	const char *p = strrchr(source->path, '/');

	i_assert(p != NULL);
	return t_strdup_printf("%s/%s", t_strdup_until(source->path, p),
			       dbox_generate_tmp_filename());
}

/* The file header as it was, and the message header. */
static int
retention_sdbox_write_head(const struct retention_source *source,
			   struct ostream *output, uoff_t stored_size)
{
	struct dbox_file *file = source->context;
	struct istream *input;
	enum ostream_send_istream_result res;

	i_stream_seek(file->input, 0);
	input = i_stream_create_limit(file->input, file->file_header_size);
	res = o_stream_send_istream(output, input);
	i_stream_unref(&input);
	if (res != OSTREAM_SEND_ISTREAM_RESULT_FINISHED)
		return -1;
	return retention_dbox_write_header(output, stored_size);
}

static int
retention_sdbox_write_tail(const struct retention_source *source,
			   struct ostream *output, uoff_t plain_size)
{
	return retention_dbox_write_metadata(source->context, output,
					     plain_size);
}

/* Expunges are committed, and files moved to ALT storage and back, while the
   mailbox's index is locked for syncing. */
static int
retention_sdbox_with_locked_path(struct sdbox_mailbox *mbox, uint32_t uid,
				 const char *path,
				 int (*swap)(const char *path, void *context),
				 void *context)
{
	struct sdbox_sync_context *sync;
	uint32_t seq;
	int ret;

	if (sdbox_sync_begin(mbox, SDBOX_SYNC_FLAG_FORCE, &sync) < 0)
		return -1;
	if (sync == NULL)
		return -1;
	ret = mail_index_lookup_seq(sync->sync_view, uid, &seq) ?
		swap(path, context) : 0;
	if (sdbox_sync_finish(&sync, TRUE) < 0 && ret >= 0)
		ret = -1;
	return ret;
}

static int
retention_sdbox_with_path(struct mailbox *box, uint32_t uid, bool lock,
			  int (*swap)(const char *path, void *context),
			  void *context)
{
	struct sdbox_mailbox *mbox = SDBOX_MAILBOX(box);
	struct dbox_file *file;
	bool deleted;
	int ret;

	file = sdbox_file_init(mbox, uid);
	ret = dbox_file_open(file, &deleted);
	if (ret <= 0)
		ret = -1;
	else if (deleted)
		ret = 0;
	else if (lock) {
		ret = retention_sdbox_with_locked_path(mbox, uid,
			file->cur_path, swap, context);
	} else {
		ret = swap(file->cur_path, context);
	}
	dbox_file_unref(&file);
	return ret;
}

static const struct retention_replace_driver retention_sdbox_files = {
	.open = retention_sdbox_open,
	.close = retention_sdbox_close,
	.get_temp_path = retention_sdbox_get_temp_path,
	.write_head = retention_sdbox_write_head,
	.write_tail = retention_sdbox_write_tail,
	.with_path = retention_sdbox_with_path,
};

static struct retention_compressor *retention_sdbox_alloc(pool_t pool)
{
	return retention_replace_alloc(pool, &retention_sdbox_files);
}

static int
retention_sdbox_look(struct mail *mail, struct retention_stored *stored_r,
		     const char **error_r)
{
	return retention_replace_look(&retention_sdbox_files, mail,
				      stored_r, error_r);
}

const struct retention_driver retention_driver_sdbox = {
	.name = SDBOX_STORAGE_NAME,
	.alloc = retention_sdbox_alloc,
	.deinit = retention_replace_deinit,
	.compress = retention_replace_compress,
	.finish = retention_replace_finish,
	.set_save_date = retention_record_set_save_date,
	.look = retention_sdbox_look,
};
