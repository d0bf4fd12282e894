/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "fdatasync-path.h"
#include "ioloop.h"
#include "istream.h"
#include "ostream.h"
#include "mail-storage-private.h"
#include "index-storage.h"
#include "retention-box.h"
#include "retention-event.h"
#include "retention-batch.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#  define RENAME_EXCHANGE (1 << 1)
#endif

/* A batch is large enough to share the waiting for the disk, and small enough
   that its open files and the disk space it takes for a moment do not matter.
   */
#define RETENTION_BATCH_MAX_FILES 100
#define RETENTION_BATCH_MAX_BYTES (32 * 1024 * 1024)

enum retention_swap_state {
	/* The original is in place. */
	RETENTION_SWAP_NONE = 0,
	/* The new file is in place, the original has the temporary name. */
	RETENTION_SWAP_EXCHANGED,
	/* The new file is in place, the original is gone. */
	RETENTION_SWAP_RENAMED,
};

struct retention_replacement {
	struct mailbox *box;
	struct retention_compress_item *item;
	char *temp_path;
	/* The new file; -1 for a link of the one before it in the batch. */
	int fd;
	/* The original. */
	dev_t dev;
	ino_t ino;
	/* Where the message begins in the new file, and what it is there. */
	uoff_t offset;
	struct retention_encoding encoding;
	enum retention_swap_state swap;
	/* The directory that has been changed. */
	char *dir;
	/* Not to be carried any further; the item has its result. */
	bool failed;
};

struct retention_batch {
	struct retention_compressor *compressor;
	const struct retention_replace_driver *driver;
	ARRAY(struct retention_replacement) list;
	/* Stored bytes in the list. */
	uoff_t bytes;
	/* RENAME_EXCHANGE does not work in this file system. */
	bool no_exchange;
};

struct retention_batch *
retention_batch_init(struct retention_compressor *compressor,
		     const struct retention_replace_driver *driver)
{
	struct retention_batch *batch;

	batch = i_new(struct retention_batch, 1);
	batch->compressor = compressor;
	batch->driver = driver;
	i_array_init(&batch->list, RETENTION_BATCH_MAX_FILES);
	return batch;
}

void retention_batch_deinit(struct retention_batch **_batch)
{
	struct retention_batch *batch = *_batch;

	if (batch == NULL)
		return;
	*_batch = NULL;
	i_assert(array_is_empty(&batch->list));
	array_free(&batch->list);
	i_free(batch);
}

bool retention_batch_is_full(const struct retention_batch *batch)
{
	return array_count(&batch->list) >= RETENTION_BATCH_MAX_FILES ||
		batch->bytes >= RETENTION_BATCH_MAX_BYTES;
}

/* Report the failure, which left the original in place. */
static void
retention_batch_fail(struct retention_batch *batch, struct mailbox *box,
		     struct retention_compress_item *item, const char *error)
{
	item->result = RETENTION_COMPRESS_FAILED;
	e_error(batch->compressor->event,
		"Mailbox %s: UID=%u: Compressing failed, "
		"the original is kept: %s",
		retention_name_sanitize(mailbox_get_vname(box)), item->uid,
		error);
}

static void
retention_batch_fail_errno(struct retention_batch *batch, struct mailbox *box,
			   struct retention_compress_item *item,
			   const char *function, const char *path)
{
	retention_compressor_note_errno(batch->compressor);
	retention_batch_fail(batch, box, item, t_strdup_printf(
		"%s(%s) failed: %m", function, path));
}

/* Give the new file what clients or other programs could see of the old one's
   inode: mode, group and times. Another owner than ourselves can't be given. */
static int
retention_batch_copy_attributes(const struct retention_source *source, int fd)
{
	struct timespec times[2] = {
		source->st.st_atim, source->st.st_mtim
	};
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	if (st.st_uid != source->st.st_uid || st.st_gid != source->st.st_gid) {
		if (fchown(fd, st.st_uid == source->st.st_uid ? (uid_t)-1 :
			   source->st.st_uid, source->st.st_gid) < 0)
			return -1;
	}
	if (fchmod(fd, source->st.st_mode & 07777) < 0)
		return -1;
	return futimens(fd, times);
}

static enum retention_encode_result
retention_batch_encode(struct retention_batch *batch,
		       struct retention_source *source,
		       struct ostream *output,
		       struct retention_replacement *repl,
		       const char **error_r)
{
	const struct retention_replace_driver *driver = batch->driver;
	enum retention_encode_result result;

	if (driver->write_head != NULL &&
	    driver->write_head(source, output, 0) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %s",
			repl->temp_path, o_stream_get_error(output));
		return RETENTION_ENCODE_ERROR;
	}
	repl->offset = output->offset;
	result = retention_encode(source->input, source->size, output,
				  batch->compressor->level, &repl->encoding,
				  error_r);
	if (result != RETENTION_ENCODE_DONE || driver->write_head == NULL)
		return result;
	if (driver->write_tail(source, output, repl->encoding.plain_size) < 0 ||
	    o_stream_seek(output, 0) < 0 ||
	    driver->write_head(source, output,
			       repl->encoding.stored_size) < 0 ||
	    o_stream_flush(output) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %s",
			repl->temp_path, o_stream_get_error(output));
		return RETENTION_ENCODE_ERROR;
	}
	return RETENTION_ENCODE_DONE;
}

/* Returns TRUE if the new file has got the old one's attributes. */
static bool
retention_batch_set_attributes(struct retention_batch *batch,
			       struct mailbox *box,
			       struct retention_compress_item *item,
			       const struct retention_source *source,
			       const struct retention_replacement *repl)
{
	if (retention_batch_copy_attributes(source, repl->fd) == 0)
		return TRUE;
	if (errno != EPERM) {
		retention_batch_fail_errno(batch, box, item,
			"copying owner, mode and times to ", repl->temp_path);
		return FALSE;
	}
	/* Somebody else's file, or of a group that we are not in: its owner
	   must not change. */
	item->result = RETENTION_COMPRESS_NOT_COMPRESSIBLE;
	e_debug(batch->compressor->event,
		"Mailbox %s: UID=%u: Left plain because of its owner or group",
		retention_name_sanitize(mailbox_get_vname(box)), item->uid);
	return FALSE;
}

/* Write the new file. Returns TRUE if it is complete. */
static bool
retention_batch_write(struct retention_batch *batch, struct mailbox *box,
		      struct retention_compress_item *item,
		      struct retention_source *source,
		      struct retention_replacement *repl)
{
	enum retention_encode_result result;
	struct ostream *output;
	const char *error = NULL;

	output = o_stream_create_fd_file(repl->fd, 0, FALSE);
	o_stream_set_no_error_handling(output, TRUE);
	o_stream_cork(output);
	result = retention_batch_encode(batch, source, output, repl, &error);
	if (output->stream_errno != 0) {
		errno = output->stream_errno;
		retention_compressor_note_errno(batch->compressor);
	}
	o_stream_abort(output);
	o_stream_unref(&output);

	switch (result) {
	case RETENTION_ENCODE_DONE:
		break;
	case RETENTION_ENCODE_MAGIC:
	case RETENTION_ENCODE_NO_GAIN:
		item->result = RETENTION_COMPRESS_NOT_COMPRESSIBLE;
		return FALSE;
	case RETENTION_ENCODE_ERROR:
		retention_batch_fail(batch, box, item, error);
		return FALSE;
	}
	return retention_batch_set_attributes(batch, box, item, source, repl);
}

static void
retention_batch_push(struct retention_batch *batch, struct mailbox *box,
		     struct retention_compress_item *item,
		     const struct retention_source *source,
		     struct retention_replacement *repl)
{
	repl->box = box;
	repl->item = item;
	repl->dev = source->st.st_dev;
	repl->ino = source->st.st_ino;
	item->plain_size = repl->encoding.plain_size;
	item->stored_size = repl->encoding.stored_size;
	array_push_back(&batch->list, repl);
}

bool retention_batch_add(struct retention_batch *batch, struct mailbox *box,
			 struct retention_compress_item *item,
			 struct retention_source *source)
{
	struct retention_replacement repl;

	i_zero(&repl);
	repl.temp_path = i_strdup(batch->driver->get_temp_path(box, source));
	repl.fd = open(repl.temp_path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (repl.fd == -1) {
		retention_batch_fail_errno(batch, box, item, "open",
					   repl.temp_path);
		i_free(repl.temp_path);
		return FALSE;
	}
	if (!retention_batch_write(batch, box, item, source, &repl)) {
		i_close_fd_path(&repl.fd, repl.temp_path);
		i_unlink(repl.temp_path);
		i_free(repl.temp_path);
		return FALSE;
	}
	retention_batch_push(batch, box, item, source, &repl);
	batch->bytes += repl.encoding.stored_size;
	return TRUE;
}

bool retention_batch_add_link(struct retention_batch *batch,
			      struct mailbox *box,
			      struct retention_compress_item *item,
			      struct retention_source *source)
{
	const struct retention_replacement *last =
		array_back(&batch->list);
	struct retention_replacement repl = *last;

	repl.fd = -1;
	repl.temp_path = i_strdup(batch->driver->get_temp_path(box, source));
	if (link(last->temp_path, repl.temp_path) < 0) {
		retention_batch_fail_errno(batch, box, item, "link",
					   repl.temp_path);
		i_free(repl.temp_path);
		return FALSE;
	}
	retention_batch_push(batch, box, item, source, &repl);
	return TRUE;
}

static void
retention_replacement_fail(struct retention_batch *batch,
			   struct retention_replacement *repl,
			   const char *error)
{
	repl->failed = TRUE;
	retention_batch_fail(batch, repl->box, repl->item, error);
}

static void
retention_replacement_fail_errno(struct retention_batch *batch,
				 struct retention_replacement *repl,
				 const char *function, const char *path)
{
	repl->failed = TRUE;
	retention_batch_fail_errno(batch, repl->box, repl->item,
				   function, path);
}

/* The rewritten file's ctime will be later than the save date, which some
   drivers take from there. Note the save dates where they stay known before
   any file is swapped, so that no crash can lose them. */
static int
retention_batch_note_save_dates(struct retention_batch *batch,
				struct mailbox *box)
{
	struct mailbox_transaction_context *t;
	struct retention_replacement *repl;
	struct mail *mail;

	t = mailbox_transaction_begin(box, MAILBOX_TRANSACTION_FLAG_EXTERNAL,
				      "retention: note save dates");
	mail = mail_alloc(t, 0, NULL);
	array_foreach_modifiable(&batch->list, repl) {
		if (repl->box != box || repl->item->save_date == 0 ||
		    !mail_set_uid(mail, repl->item->uid))
			continue;
		retention_record_set_save_date(mail, repl->item->save_date);
	}
	mail_free(&mail);
	return mailbox_transaction_commit(&t);
}

static void retention_batch_note_all_save_dates(struct retention_batch *batch)
{
	struct retention_replacement *repl, *other;
	struct mailbox *prev_box = NULL;

	array_foreach_modifiable(&batch->list, repl) {
		if (repl->box == prev_box)
			continue;
		prev_box = repl->box;
		if (retention_batch_note_save_dates(batch, prev_box) == 0)
			continue;
		const char *error =
			retention_box_error(prev_box);
		array_foreach_modifiable(&batch->list, other) {
			if (other->box == prev_box)
				retention_replacement_fail(batch, other, error);
		}
	}
}

static void retention_batch_sync(struct retention_batch *batch)
{
	struct retention_replacement *repl;

	if (!retention_driver_want_fsync(batch->compressor->storage))
		return;
	array_foreach_modifiable(&batch->list, repl) {
		if (repl->fd == -1 || repl->failed)
			continue;
		if (fsync(repl->fd) < 0) {
			retention_replacement_fail_errno(batch, repl, "fsync",
							 repl->temp_path);
		}
	}
}

static void
retention_batch_verify_one(struct retention_batch *batch,
			   struct retention_replacement *repl)
{
	struct istream *file, *stored;
	const char *error;

	file = i_stream_create_fd(repl->fd, IO_BLOCK_SIZE);
	i_stream_set_name(file, repl->temp_path);
	i_stream_seek(file, repl->offset);
	stored = i_stream_create_limit(file, repl->encoding.stored_size);
	if (retention_encode_verify(stored, &repl->encoding, &error) < 0) {
		retention_replacement_fail(batch, repl, t_strdup_printf(
			"%s did not read back: %s", repl->temp_path, error));
	}
	i_stream_unref(&stored);
	i_stream_unref(&file);
}

static void retention_batch_verify(struct retention_batch *batch)
{
	struct retention_replacement *repl, *file = NULL;

	array_foreach_modifiable(&batch->list, repl) {
		if (repl->fd != -1) {
			file = repl;
			if (!file->failed)
				retention_batch_verify_one(batch, file);
		} else if (file->failed) {
			/* a link stands and falls with its file */
			repl->failed = TRUE;
			repl->item->result = RETENTION_COMPRESS_LATER;
		}
	}
}

struct retention_swap_context {
	struct retention_batch *batch;
	struct retention_replacement *repl;
};

static int retention_swap_failed(struct retention_swap_context *ctx,
				 const char *function, const char *path)
{
	if (errno == ENOENT) {
		/* renamed or expunged since its path was looked up */
		return 0;
	}
	retention_replacement_fail_errno(ctx->batch, ctx->repl, function, path);
	return -1;
}

static void retention_swap_set(struct retention_replacement *repl,
			       const char *path,
			       enum retention_swap_state state)
{
	const char *p = strrchr(path, '/');

	i_assert(p != NULL);
	repl->swap = state;
	i_free(repl->dir);
	repl->dir = i_strdup_until(path, p);
}

/* Exchange the new file with the original in one step: when the name is gone,
   because a flag was changed or the message expunged, nothing happens, and
   nothing needs to be locked. */
static int retention_swap_exchange(const char *path, void *context)
{
	struct retention_swap_context *ctx = context;
	struct retention_replacement *repl = ctx->repl;
	struct stat st;

	if (renameat2(AT_FDCWD, repl->temp_path, AT_FDCWD, path,
		      RENAME_EXCHANGE) < 0) {
		if (errno == EINVAL || errno == ENOSYS) {
			ctx->batch->no_exchange = TRUE;
			return -1;
		}
		return retention_swap_failed(ctx, "rename", path);
	}
	if (stat(repl->temp_path, &st) == 0 && st.st_dev == repl->dev &&
	    st.st_ino == repl->ino) {
		retention_swap_set(repl, path, RETENTION_SWAP_EXCHANGED);
		return 1;
	}
	/* Somebody has put another file there since we read it. */
	if (renameat2(AT_FDCWD, repl->temp_path, AT_FDCWD, path,
		      RENAME_EXCHANGE) < 0)
		return retention_swap_failed(ctx, "rename", path);
	repl->item->result = RETENTION_COMPRESS_LATER;
	return 1;
}

/* The same where RENAME_EXCHANGE does not work: the caller holds the lock
   without which Dovecot renames or removes no file. */
static int retention_swap_rename(const char *path, void *context)
{
	struct retention_swap_context *ctx = context;
	struct retention_replacement *repl = ctx->repl;
	struct stat st;

	if (stat(path, &st) < 0)
		return retention_swap_failed(ctx, "stat", path);
	if (st.st_dev != repl->dev || st.st_ino != repl->ino) {
		repl->item->result = RETENTION_COMPRESS_LATER;
		return 1;
	}
	if (rename(repl->temp_path, path) < 0)
		return retention_swap_failed(ctx, "rename", path);
	retention_swap_set(repl, path, RETENTION_SWAP_RENAMED);
	return 1;
}

static void
retention_batch_swap_one(struct retention_batch *batch,
			 struct retention_replacement *repl)
{
	struct retention_swap_context ctx = { .batch = batch, .repl = repl };
	struct retention_compress_item *item = repl->item;
	int ret = -1;

	if (!batch->no_exchange) {
		ret = batch->driver->with_path(repl->box, item->uid, FALSE,
					       retention_swap_exchange, &ctx);
	}
	if (ret < 0 && batch->no_exchange) {
		ret = batch->driver->with_path(repl->box, item->uid, TRUE,
					       retention_swap_rename, &ctx);
	}
	if (ret == 0)
		item->result = RETENTION_COMPRESS_GONE;
	else if (ret < 0 && !repl->failed) {
		retention_replacement_fail(batch, repl,
			mailbox_get_last_internal_error(repl->box, NULL));
	}
}

static void retention_batch_swap(struct retention_batch *batch)
{
	struct retention_replacement *repl;

	array_foreach_modifiable(&batch->list, repl) {
		if (!repl->failed) T_BEGIN {
			retention_batch_swap_one(batch, repl);
		} T_END;
	}
}

static void
retention_batch_sync_dir(struct retention_batch *batch, const char *dir)
{
	struct retention_replacement *repl;
	const char *error;

	if (fdatasync_path(dir) == 0)
		return;
	retention_compressor_note_errno(batch->compressor);
	error = t_strdup_printf("fdatasync(%s) failed: %m", dir);
	/* Which of the two files has the message's name after a power loss is
	   not known, so neither is removed. */
	array_foreach_modifiable(&batch->list, repl) {
		if (repl->swap == RETENTION_SWAP_EXCHANGED &&
		    strcmp(repl->dir, dir) == 0)
			retention_replacement_fail(batch, repl, error);
	}
}

static void retention_batch_sync_dirs(struct retention_batch *batch)
{
	const struct retention_replacement *repl;
	const char *dir = NULL;

	if (!retention_driver_want_fsync(batch->compressor->storage))
		return;
	/* mostly they are all in the same directory */
	array_foreach(&batch->list, repl) {
		if (repl->swap == RETENTION_SWAP_NONE ||
		    (dir != NULL && strcmp(dir, repl->dir) == 0))
			continue;
		dir = repl->dir;
		retention_batch_sync_dir(batch, dir);
	}
}

static void
retention_batch_finish_one(struct retention_batch *batch,
			   struct retention_replacement *repl)
{
	bool keep_both = repl->failed && repl->swap != RETENTION_SWAP_NONE;

	if (repl->fd != -1)
		i_close_fd_path(&repl->fd, repl->temp_path);
	/* the original after an exchange, the new file if there was none */
	if (repl->swap != RETENTION_SWAP_RENAMED && !keep_both)
		i_unlink_if_exists(repl->temp_path);
	if (repl->swap != RETENTION_SWAP_NONE && !repl->failed)
		repl->item->result = RETENTION_COMPRESS_DONE;
	batch->compressor->progress(batch->compressor->context,
				    repl->item->plain_size);
	i_free(repl->dir);
	i_free(repl->temp_path);
}

void retention_batch_flush(struct retention_batch *batch)
{
	struct retention_replacement *repl;

	if (array_is_empty(&batch->list))
		return;

	retention_batch_note_all_save_dates(batch);
	retention_batch_sync(batch);
	retention_batch_verify(batch);
	retention_batch_swap(batch);
	retention_batch_sync_dirs(batch);
	array_foreach_modifiable(&batch->list, repl)
		retention_batch_finish_one(batch, repl);
	array_clear(&batch->list);
	batch->bytes = 0;
}
