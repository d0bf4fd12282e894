/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Messages of all mailboxes stand one after another in the files m.<id>,
   and the map tells for each map UID the file, offset and size. A file is
   rewritten as a whole, the way Dovecot purges: every message in it that the
   map knows is appended to new files, compressed or as it is, and the map is
   told the new places. Map UIDs stay, so mailboxes and copies in them do not
   notice. Messages that wait to be purged are carried over.

   Only new files are appended to, which have temporary names until the map is
   updated. So what a crash leaves is a temporary file, or the old file, which
   nothing refers to any more; "doveadm force-resync" and "doveadm purge" bring
   back its space. */

#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "fdatasync-path.h"
#include "ioloop.h"
#include "istream.h"
#include "ostream.h"
#include "mdbox-storage.h"
#include "mdbox-file.h"
#include "mdbox-map-private.h"
#include "retention-dbox.h"
#include "retention-mdbox.h"

#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>

/* Encoded messages up to this size wait for their header in memory, larger
   ones in an unlinked file. */
#define RETENTION_MDBOX_TEMP_MAX_MEMORY (1024 * 1024)

/* A message that has been appended. */
struct retention_mdbox_copy {
	uint32_t map_uid;
	bool encoded;
	/* If encoded. */
	struct retention_encoding encoding;
	/* If not: where the same bytes stand in the old file. */
	uoff_t offset, end_offset;
};
ARRAY_DEFINE_TYPE(retention_mdbox_copy, struct retention_mdbox_copy);

/* The rewriting of one file. */
struct retention_mdbox_rewrite {
	struct retention_compressor *compressor;
	struct retention_mdbox_wants *wants;
	struct mdbox_storage *storage;
	uint32_t file_id;
	struct dbox_file *file;
	/* Sorted by offset. */
	ARRAY_TYPE(mdbox_map_file_msg) msgs;
	struct mdbox_map_atomic_context *atomic;
	/* NULL until there is a message that gets smaller. */
	struct mdbox_map_append_context *append;
	/* In the order in which they were appended. */
	ARRAY_TYPE(retention_mdbox_copy) copies;
	/* Offset in the new file, to know when to begin the next. */
	uoff_t output_offset;
	/* The new files that have got their names. */
	ARRAY(uint32_t) new_file_ids;
};

/* Set the result of all messages in the file that have none yet. */
static void
retention_mdbox_rewrite_set_result(struct retention_mdbox_rewrite *rw,
				   enum retention_compress_result result)
{
	const struct mdbox_map_file_msg *msg;
	const struct retention_mdbox_want *wants;
	unsigned int count;

	array_foreach(&rw->msgs, msg) {
		wants = retention_mdbox_wants_find(rw->wants, msg->map_uid,
						   &count);
		if (count > 0 &&
		    wants->item->result == RETENTION_COMPRESS_PENDING)
			retention_mdbox_wants_set_result(rw->wants, msg->map_uid,
						   result, NULL);
	}
}

static void
retention_mdbox_rewrite_failed(struct retention_mdbox_rewrite *rw,
			       const char *error)
{
	e_error(rw->compressor->event,
		"Compressing messages in %s failed, the originals are kept: %s",
		rw->file->cur_path, error);
	retention_mdbox_rewrite_set_result(rw, RETENTION_COMPRESS_FAILED);
}

static const char *
retention_mdbox_storage_error(struct retention_mdbox_rewrite *rw)
{
	return t_strdup(mail_storage_get_last_internal_error(
		&rw->storage->storage.storage, NULL));
}

static const char *
retention_mdbox_output_error(struct retention_mdbox_rewrite *rw,
			     struct ostream *output)
{
	errno = output->stream_errno;
	retention_compressor_note_errno(rw->compressor);
	return t_strdup_printf("write(%s) failed: %s",
			       o_stream_get_name(output),
			       o_stream_get_error(output));
}

/* Get an output stream in a new file, or in the new file that was begun. */
static int
retention_mdbox_append_next(struct retention_mdbox_rewrite *rw, uoff_t size,
			    struct ostream **output_r, const char **error_r)
{
	enum mdbox_map_append_flags flags = dbox_file_is_in_alt(rw->file) ?
		DBOX_MAP_APPEND_FLAG_ALT : 0;
	uoff_t rotate_size = rw->storage->map->set->mdbox_rotate_size;
	struct dbox_file_append_context *file_append;

	/* A message that claims the whole size of a file gets a new one. */
	if (rw->output_offset == 0 || rw->output_offset + size > rotate_size)
		size = rotate_size;
	if (mdbox_map_append_next(rw->append, size, flags,
				  &file_append, output_r) < 0) {
		*error_r = retention_mdbox_storage_error(rw);
		return -1;
	}
	i_assert(file_append->file != rw->file);
	return 0;
}

static void
retention_mdbox_append_finish(struct retention_mdbox_rewrite *rw,
			      struct ostream *output,
			      const struct retention_mdbox_copy *copy)
{
	rw->output_offset = output->offset;
	mdbox_map_append_finish(rw->append);
	array_push_back(&rw->copies, copy);
}

/* Append the message as it is. */
static int
retention_mdbox_append_verbatim(struct retention_mdbox_rewrite *rw,
				uint32_t map_uid, uoff_t offset,
				uoff_t end_offset, const char **error_r)
{
	struct retention_mdbox_copy copy = {
		.map_uid = map_uid,
		.offset = offset, .end_offset = end_offset,
	};
	struct istream *input;
	struct ostream *output;
	enum ostream_send_istream_result res;

	if (retention_mdbox_append_next(rw, end_offset - offset,
					&output, error_r) < 0)
		return -1;
	i_stream_seek(rw->file->input, offset);
	input = i_stream_create_limit(rw->file->input, end_offset - offset);
	res = o_stream_send_istream(output, input);
	i_stream_unref(&input);
	if (res == OSTREAM_SEND_ISTREAM_RESULT_ERROR_INPUT) {
		*error_r = t_strdup_printf("read(%s) failed: %s",
			rw->file->cur_path,
			i_stream_get_error(rw->file->input));
		return -1;
	}
	if (res != OSTREAM_SEND_ISTREAM_RESULT_FINISHED) {
		*error_r = retention_mdbox_output_error(rw, output);
		return -1;
	}
	retention_mdbox_append_finish(rw, output, &copy);
	return 0;
}

/* The first message that gets smaller makes rewriting the file worth while:
   append those before it. */
static int
retention_mdbox_rewrite_begin(struct retention_mdbox_rewrite *rw,
			      unsigned int idx, const char **error_r)
{
	const struct mdbox_map_file_msg *msgs = array_front(&rw->msgs);

	if (rw->append != NULL)
		return 0;
	rw->append = mdbox_map_append_begin(rw->atomic);
	for (unsigned int i = 0; i < idx; i++) {
		if (retention_mdbox_append_verbatim(rw, msgs[i].map_uid,
				msgs[i].offset, msgs[i + 1].offset,
				error_r) < 0)
			return -1;
	}
	return 0;
}

static int
retention_mdbox_append_encoded(struct retention_mdbox_rewrite *rw,
			       uint32_t map_uid, struct istream *encoded,
			       const struct retention_encoding *encoding,
			       const char **error_r)
{
	struct retention_mdbox_copy copy = {
		.map_uid = map_uid, .encoded = TRUE, .encoding = *encoding,
	};
	struct ostream *output;

	if (retention_mdbox_append_next(rw, encoding->stored_size,
					&output, error_r) < 0)
		return -1;
	if (retention_dbox_write_header(output, encoding->stored_size) < 0 ||
	    o_stream_send_istream(output, encoded) !=
		OSTREAM_SEND_ISTREAM_RESULT_FINISHED ||
	    retention_dbox_write_metadata(rw->file, output,
					  encoding->plain_size) < 0) {
		*error_r = encoded->stream_errno != 0 ?
			t_strdup_printf("read(%s) failed: %s",
					i_stream_get_name(encoded),
					i_stream_get_error(encoded)) :
			retention_mdbox_output_error(rw, output);
		return -1;
	}
	retention_mdbox_append_finish(rw, output, &copy);
	return 0;
}

/* Where an encoded message waits until its size, which its header tells, is
   known: in memory, or if it may be large in a file that has no name. */
struct retention_mdbox_temp {
	buffer_t *buf;
	int fd;
};

static int
retention_mdbox_temp_open(struct retention_mdbox_rewrite *rw, uoff_t size,
			  struct retention_mdbox_temp *temp_r,
			  const char **error_r)
{
	const char *path;

	i_zero(temp_r);
	temp_r->fd = -1;
	if (size <= RETENTION_MDBOX_TEMP_MAX_MEMORY) {
		temp_r->buf = buffer_create_dynamic(default_pool, size + 1);
		return 0;
	}
	path = t_strdup_printf("%s/%s", rw->storage->storage_dir,
			       dbox_generate_tmp_filename());
	temp_r->fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (temp_r->fd == -1) {
		retention_compressor_note_errno(rw->compressor);
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	i_unlink(path);
	return 0;
}

static void retention_mdbox_temp_close(struct retention_mdbox_temp *temp)
{
	buffer_free(&temp->buf);
	i_close_fd(&temp->fd);
}

static struct ostream *
retention_mdbox_temp_write(struct retention_mdbox_temp *temp)
{
	return temp->buf != NULL ? o_stream_create_buffer(temp->buf) :
		o_stream_create_fd_file(temp->fd, 0, FALSE);
}

static struct istream *
retention_mdbox_temp_read(struct retention_mdbox_temp *temp)
{
	return temp->buf != NULL ?
		i_stream_create_from_data(temp->buf->data, temp->buf->used) :
		i_stream_create_fd(temp->fd, IO_BLOCK_SIZE);
}

/* Encode the message, which was just read. */
static enum retention_encode_result
retention_mdbox_encode(struct retention_mdbox_rewrite *rw,
		       const struct retention_dbox_message *msg,
		       struct retention_mdbox_temp *temp,
		       struct retention_encoding *encoding_r,
		       const char **error_r)
{
	enum retention_encode_result result;
	struct istream *input;
	struct ostream *output;

	output = retention_mdbox_temp_write(temp);
	o_stream_set_name(output, "(encoded message)");
	o_stream_set_no_error_handling(output, TRUE);
	input = retention_dbox_open_body(rw->file, msg);
	result = retention_encode(input, msg->body_size, output,
				  rw->compressor->level, encoding_r, error_r);
	i_stream_unref(&input);
	if (output->stream_errno != 0) {
		errno = output->stream_errno;
		retention_compressor_note_errno(rw->compressor);
	}
	o_stream_destroy(&output);
	return result;
}

/* Encode the message, and append it if it got smaller. Returns as
   retention_mdbox_rewrite_wanted(). */
static int
retention_mdbox_rewrite_plain(struct retention_mdbox_rewrite *rw,
			      unsigned int idx,
			      const struct retention_dbox_message *msg,
			      struct retention_mdbox_temp *temp,
			      const char **error_r)
{
	const struct mdbox_map_file_msg *map_msg = array_idx(&rw->msgs, idx);
	struct retention_encoding encoding;
	struct istream *encoded;
	int ret;

	switch (retention_mdbox_encode(rw, msg, temp, &encoding, error_r)) {
	case RETENTION_ENCODE_DONE:
		break;
	case RETENTION_ENCODE_NO_GAIN:
	case RETENTION_ENCODE_MAGIC:
		retention_mdbox_wants_set_result(rw->wants, map_msg->map_uid,
			RETENTION_COMPRESS_NOT_COMPRESSIBLE, NULL);
		return 0;
	case RETENTION_ENCODE_ERROR:
		return -1;
	}
	if (retention_mdbox_rewrite_begin(rw, idx, error_r) < 0)
		return -1;
	encoded = retention_mdbox_temp_read(temp);
	ret = retention_mdbox_append_encoded(rw, map_msg->map_uid, encoded,
					     &encoding, error_r);
	i_stream_unref(&encoded);
	return ret < 0 ? -1 : 1;
}

/* Decide about a message that is wanted. Returns 1 if it was appended, 0 if it
   is to stay as it is, -1 on error. */
static int
retention_mdbox_rewrite_wanted(struct retention_mdbox_rewrite *rw,
			       unsigned int idx,
			       const struct retention_dbox_message *msg,
			       const char **error_r)
{
	const struct mdbox_map_file_msg *map_msg = array_idx(&rw->msgs, idx);
	enum retention_record_state state = msg->state;
	struct retention_mdbox_temp temp;
	struct istream *body;
	int ret;

	if (state == RETENTION_RECORD_UNKNOWN) {
		body = retention_dbox_open_body(rw->file, msg);
		state = retention_stored_state(body);
		i_stream_unref(&body);
	}
	if (state != RETENTION_RECORD_UNKNOWN) {
		retention_mdbox_wants_set_result(rw->wants, map_msg->map_uid,
			state == RETENTION_RECORD_COMPRESSED ?
			RETENTION_COMPRESS_ALREADY :
			RETENTION_COMPRESS_NOT_COMPRESSIBLE, NULL);
		return 0;
	}
	if (retention_mdbox_temp_open(rw, msg->body_size, &temp, error_r) < 0)
		return -1;
	ret = retention_mdbox_rewrite_plain(rw, idx, msg, &temp, error_r);
	retention_mdbox_temp_close(&temp);
	return ret;
}

static int
retention_mdbox_rewrite_message(struct retention_mdbox_rewrite *rw,
				unsigned int idx, uoff_t *offset,
				const char **error_r)
{
	const struct mdbox_map_file_msg *map_msg = array_idx(&rw->msgs, idx);
	struct retention_dbox_message msg;
	unsigned int count;
	int ret = 0;

	if (map_msg->offset != *offset) {
		*error_r = t_strdup_printf(
			"it has a message at offset %"PRIuUOFF_T" that the map "
			"does not know; run doveadm force-resync and "
			"doveadm purge", *offset);
		return -1;
	}
	if (retention_dbox_read(rw->file, *offset, &msg, error_r) <= 0)
		return -1;
	/* The next message begins where this one ends, else it fails there. */
	*offset = msg.end_offset;

	(void)retention_mdbox_wants_find(rw->wants, map_msg->map_uid, &count);
	if (count > 0 && map_msg->refcount > 0 &&
	    !retention_compressor_must_stop(rw->compressor)) {
		ret = retention_mdbox_rewrite_wanted(rw, idx, &msg, error_r);
		rw->compressor->progress(rw->compressor->context,
					    msg.plain_size);
	}
	if (ret != 0 || rw->append == NULL)
		return ret;
	return retention_mdbox_append_verbatim(rw, map_msg->map_uid, msg.offset,
					       msg.end_offset, error_r);
}

static int
retention_mdbox_rewrite_messages(struct retention_mdbox_rewrite *rw,
				 const char **error_r)
{
	uoff_t offset = rw->file->file_header_size;
	struct stat st;
	int ret = 0;

	for (unsigned int i = 0; ret >= 0 && i < array_count(&rw->msgs); i++) {
		T_BEGIN {
			ret = retention_mdbox_rewrite_message(rw, i, &offset,
							      error_r);
		} T_END_PASS_STR_IF(ret < 0, error_r);
	}
	if (ret < 0)
		return -1;
	if (fstat(rw->file->fd, &st) < 0) {
		*error_r = t_strdup_printf("fstat(%s) failed: %m",
					   rw->file->cur_path);
		return -1;
	}
	if (offset != (uoff_t)st.st_size) {
		*error_r = t_strdup_printf(
			"it has bytes after offset %"PRIuUOFF_T" that the map "
			"does not know; run doveadm force-resync and "
			"doveadm purge", offset);
		return -1;
	}
	return 0;
}

/* Compare bytes that were copied as they are. */
static int
retention_mdbox_verify_verbatim(struct retention_mdbox_rewrite *rw,
				const struct retention_mdbox_copy *copy,
				struct istream *appended, const char **error_r)
{
	unsigned char digest[RETENTION_DIGEST_LEN];
	unsigned char appended_digest[RETENTION_DIGEST_LEN];
	struct istream *input;
	uoff_t size, appended_size;
	int ret;

	i_stream_seek(rw->file->input, copy->offset);
	input = i_stream_create_limit(rw->file->input,
				      copy->end_offset - copy->offset);
	ret = retention_digest_stream(input, digest, &size, error_r);
	i_stream_unref(&input);
	if (ret < 0 ||
	    retention_digest_stream(appended, appended_digest,
				    &appended_size, error_r) < 0)
		return -1;
	if (size != appended_size ||
	    memcmp(digest, appended_digest, sizeof(digest)) != 0) {
		*error_r = "the copy differs from the original";
		return -1;
	}
	return 0;
}

static int
retention_mdbox_verify_one(struct retention_mdbox_rewrite *rw,
			   const struct retention_mdbox_copy *copy,
			   const struct mdbox_map_append *append, int fd,
			   const char **error_r)
{
	struct istream *file, *stored;
	int ret;

	file = i_stream_create_fd(fd, IO_BLOCK_SIZE);
	i_stream_set_name(file, append->file_append->file->cur_path);
	if (copy->encoded) {
		i_stream_seek(file, append->offset +
			      sizeof(struct dbox_message_header));
		stored = i_stream_create_limit(file,
					       copy->encoding.stored_size);
		ret = retention_encode_verify(stored, &copy->encoding, error_r);
	} else {
		i_stream_seek(file, append->offset);
		stored = i_stream_create_limit(file, append->size);
		ret = retention_mdbox_verify_verbatim(rw, copy, stored,
						      error_r);
	}
	i_stream_unref(&stored);
	i_stream_unref(&file);
	return ret;
}

/* Read back everything that was appended. */
static int
retention_mdbox_verify(struct retention_mdbox_rewrite *rw,
		       const char **error_r)
{
	const struct mdbox_map_append *appends;
	const struct retention_mdbox_copy *copy;
	const char *path = NULL, *error;
	unsigned int i = 0, count;
	int fd = -1, ret = 0;

	appends = array_get(&rw->append->appends, &count);
	i_assert(count == array_count(&rw->copies));
	array_foreach(&rw->copies, copy) {
		const char *new_path = appends[i].file_append->file->cur_path;

		if (path != new_path) {
			i_close_fd(&fd);
			path = new_path;
			fd = open(path, O_RDONLY);
			if (fd == -1) {
				*error_r = t_strdup_printf(
					"open(%s) failed: %m", path);
				return -1;
			}
		}
		ret = retention_mdbox_verify_one(rw, copy, &appends[i++], fd,
						 &error);
		if (ret < 0) {
			*error_r = t_strdup_printf(
				"%s did not read back: %s", path, error);
			break;
		}
	}
	i_close_fd(&fd);
	return ret;
}

/* Tell the map where the messages are now. */
static int
retention_mdbox_move(struct retention_mdbox_rewrite *rw, const char **error_r)
{
	ARRAY_TYPE(uint32_t) map_uids;
	ARRAY_TYPE(seq_range) expunged;
	const struct retention_mdbox_copy *copy;
	int ret;

	t_array_init(&map_uids, array_count(&rw->copies));
	t_array_init(&expunged, 1);
	array_foreach(&rw->copies, copy)
		array_push_back(&map_uids, &copy->map_uid);
	ret = mdbox_map_append_move(rw->append, &map_uids, &expunged);
	if (ret == 0)
		ret = mdbox_map_append_commit(rw->append);
	if (ret < 0)
		*error_r = retention_mdbox_storage_error(rw);
	return ret;
}

static void retention_mdbox_note_new_files(struct retention_mdbox_rewrite *rw)
{
	struct dbox_file *file;

	array_foreach_elem(&rw->append->files, file) {
		struct mdbox_file *mfile =
			container_of(file, struct mdbox_file, file);

		if (mfile->file_id != 0)
			array_push_back(&rw->new_file_ids, &mfile->file_id);
	}
}

/* Returns TRUE if the map on disk is known to say that all messages are where
   they were. */
static bool retention_mdbox_map_is_as_before(struct retention_mdbox_rewrite *rw)
{
	struct mdbox_map_mail_index_record rec;
	const struct retention_mdbox_copy *copy;
	uint16_t refcount;

	if (mdbox_map_refresh(rw->storage->map) < 0)
		return FALSE;
	array_foreach(&rw->copies, copy) {
		if (mdbox_map_lookup_full(rw->storage->map, copy->map_uid,
					  &rec, &refcount) <= 0 ||
		    rec.file_id != rw->file_id)
			return FALSE;
	}
	return TRUE;
}

/* The map could not be updated. A new file that has got its name already would
   be in the way of the next one with that number. */
static void retention_mdbox_discard_new_files(struct retention_mdbox_rewrite *rw)
{
	struct dbox_file *file;
	uint32_t file_id;
	bool deleted;

	if (array_is_empty(&rw->new_file_ids) ||
	    !retention_mdbox_map_is_as_before(rw))
		return;
	array_foreach_elem(&rw->new_file_ids, file_id) {
		file = mdbox_file_init(rw->storage, file_id);
		if (dbox_file_open(file, &deleted) > 0 && !deleted)
			(void)dbox_file_unlink(file);
		dbox_file_unref(&file);
	}
}

/* The old file goes only when the map's word on the new one is on disk. */
static int
retention_mdbox_sync_map(struct retention_mdbox_rewrite *rw,
			 const char **error_r)
{
	const char *log_path =
		t_strconcat(rw->storage->map->index->filepath, ".log", NULL);

	if (!retention_driver_want_fsync(&rw->storage->storage.storage))
		return 0;
	if (fdatasync_path(log_path) < 0) {
		*error_r = t_strdup_printf("fdatasync(%s) failed: %m",
					   log_path);
		return -1;
	}
	return 0;
}

/* Carry out what was appended. Returns 1 if the old file can go, -1 if it must
   stay. */
static int
retention_mdbox_rewrite_commit(struct retention_mdbox_rewrite *rw,
			       const char **error_r)
{
	int ret;

	if (mdbox_map_append_flush(rw->append) < 0) {
		*error_r = retention_mdbox_storage_error(rw);
		ret = -1;
	} else {
		ret = retention_mdbox_verify(rw, error_r);
		if (ret == 0) {
			ret = retention_mdbox_move(rw, error_r);
			retention_mdbox_note_new_files(rw);
		}
	}
	mdbox_map_append_free(&rw->append);
	if (mdbox_map_atomic_finish(&rw->atomic) < 0 && ret == 0) {
		*error_r = retention_mdbox_storage_error(rw);
		ret = -1;
	}
	if (ret < 0)
		retention_mdbox_discard_new_files(rw);
	if (ret == 0)
		ret = retention_mdbox_sync_map(rw, error_r);
	return ret < 0 ? -1 : 1;
}

/* Returns 1 if the file was rewritten, 0 if there was no need to, -1 on
   error. */
static int
retention_mdbox_rewrite_run(struct retention_mdbox_rewrite *rw,
			    const char **error_r)
{
	int ret;

	/* A process that was killed after it had named its new file, but before
	   it had told the map, has left a file with the next number. */
	rw->storage->map->verify_existing_file_ids = TRUE;
	rw->atomic = mdbox_map_atomic_begin(rw->storage->map);
	ret = retention_mdbox_rewrite_messages(rw, error_r);
	if (ret == 0 && rw->append != NULL)
		ret = retention_mdbox_rewrite_commit(rw, error_r);
	if (rw->append != NULL)
		mdbox_map_append_free(&rw->append);
	if (rw->atomic != NULL)
		(void)mdbox_map_atomic_finish(&rw->atomic);
	return ret;
}

static int
retention_mdbox_file_msg_cmp(const struct mdbox_map_file_msg *msg1,
			     const struct mdbox_map_file_msg *msg2)
{
	if (msg1->offset < msg2->offset)
		return -1;
	return msg1->offset > msg2->offset ? 1 : 0;
}

static void
retention_mdbox_rewrite_succeeded(struct retention_mdbox_rewrite *rw)
{
	const struct retention_mdbox_copy *copy;

	array_foreach(&rw->copies, copy) {
		if (!copy->encoded)
			continue;
		retention_mdbox_wants_set_result(rw->wants, copy->map_uid,
					   RETENTION_COMPRESS_DONE,
					   &copy->encoding);
	}
	/* that it is still there wastes space, but harms nobody */
	if (dbox_file_unlink(rw->file) < 0 ||
	    mdbox_map_remove_file_id(rw->storage->map, rw->file_id) < 0) {
		e_error(rw->compressor->event,
			"Removing %s, which is no longer used, failed: %s",
			rw->file->primary_path,
			retention_mdbox_storage_error(rw));
	}
}

/* Rewrite the opened and locked file. */
static void
retention_mdbox_rewrite_locked(struct retention_mdbox_rewrite *rw)
{
	const char *error;
	int ret;

	if (mdbox_map_get_file_msgs(rw->storage->map, rw->file_id,
				    &rw->msgs) < 0) {
		retention_mdbox_rewrite_failed(rw,
			retention_mdbox_storage_error(rw));
		return;
	}
	array_sort(&rw->msgs, retention_mdbox_file_msg_cmp);
	ret = retention_mdbox_rewrite_run(rw, &error);
	if (ret < 0)
		retention_mdbox_rewrite_failed(rw, error);
	else if (ret > 0)
		retention_mdbox_rewrite_succeeded(rw);
}

void retention_mdbox_rewrite_file(struct retention_compressor *compressor,
				  struct retention_mdbox_wants *wants,
				  uint32_t file_id)
{
	struct mdbox_storage *storage = MDBOX_STORAGE(compressor->storage);
	struct retention_mdbox_rewrite rw = {
		.compressor = compressor, .wants = wants,
		.storage = storage, .file_id = file_id,
	};
	struct stat st;
	bool deleted;
	int ret;

	rw.file = mdbox_file_init(storage, file_id);
	i_array_init(&rw.msgs, 128);
	i_array_init(&rw.copies, 128);
	i_array_init(&rw.new_file_ids, 4);
	ret = dbox_file_open(rw.file, &deleted);
	if (ret > 0 && !deleted) {
		ret = dbox_file_try_lock(rw.file);
		/* another process may have rewritten it before we had the
		   lock, or be at it now */
		if (ret > 0 && stat(rw.file->cur_path, &st) == 0)
			retention_mdbox_rewrite_locked(&rw);
		if (ret > 0)
			dbox_file_unlock(rw.file);
	}
	if (ret < 0) {
		retention_mdbox_rewrite_failed(&rw,
			retention_mdbox_storage_error(&rw));
	}
	array_free(&rw.new_file_ids);
	array_free(&rw.copies);
	array_free(&rw.msgs);
	dbox_file_unref(&rw.file);
}
