/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "array.h"
#include "buffer.h"
#include "memarea.h"
#include "istream-private.h"
#include "retention-lz4.h"
#include "istream-retention-lz4.h"

#include <lz4.h>

/* The bytes are told in retention-lz4.c.

   A read decodes one chunk, into the stream's own buffer. Where chunks begin is
   learned as they are decoded, and kept in "marks", so that a seek back goes to
   its chunk at once. A seek far ahead would have to decode all that lies
   between, because a chunk's length tells nothing about its message bytes. But
   where the message size is known, hopping from length to length to the end of
   the stream can prove that every chunk there but the last is full: if, with
   full chunks, the last one would have to give n bytes, decodes to n bytes and
   is indeed the last, then no chunk before it can have less, as none can have
   more. Then every offset's chunk is known by hopping alone. If the proof fails
   chunks are decoded in order.

   The parent is brought to an absolute offset before every read: dbox reads
   several messages from one file stream. */

/* A mark is kept only this many message bytes after the one before it, so that
   tiny chunks do not take more memory than the message itself. */
#define RETENTION_LZ4_MARK_DISTANCE RETENTION_LZ4_CHUNK_SIZE
/* No LZ4 block decodes to more than this many times its length. */
#define RETENTION_LZ4_MAX_RATIO 255
/* The proof is worth its hops when a seek would decode at least one in this
   many of the chunks that are left. */
#define RETENTION_LZ4_HOPS_PER_DECODE 4
/* Dovecot writes the end of a line into a buffer that is w_buffer, where the
   line is only to be read. A seek back returns the bytes again, so keep the
   two apart. */
#define RETENTION_LZ4_BUFFER_OFFSET 1

/* Where a chunk begins. */
struct retention_lz4_mark {
	/* Offset of its length in the stored bytes, from the magic on. */
	uoff_t stored;
	/* Offset of its first byte in the message. */
	uoff_t decoded;
};

struct retention_lz4_istream {
	struct istream_private istream;

	retention_lz4_size_callback_t *size_callback;
	void *context;
	/* What the callback said, UOFF_T_MAX if nothing. */
	uoff_t message_size;

	/* Stored bytes from offset piece_stored on, for where the parent does
	   not give as many at once as are needed. */
	buffer_t *piece;
	uoff_t piece_stored;

	/* In rising order; the first is that of the first chunk. */
	ARRAY(struct retention_lz4_mark) marks;
	/* The chunk after the last one decoded. */
	struct retention_lz4_mark next;
	/* All chunks that begin at this message offset or later are full, but
	   for the last. Valid when full_proven. */
	uoff_t full_from;

	/* The most message bytes in a chunk, 0 until the header was read. */
	uint32_t max_chunk_size;
	/* The buffer holds decoded bytes up to here. More than istream.pos
	   after a seek back into the buffer. */
	size_t filled;

	bool size_asked:1;
	bool proof_tried:1;
	bool full_proven:1;
};

static void ATTR_FORMAT(3, 4)
retention_lz4_set_error(struct retention_lz4_istream *zs, int stream_errno,
			const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	io_stream_set_verror(&zs->istream.iostream, fmt, args);
	va_end(args);
	zs->istream.istream.stream_errno = stream_errno;
}

static uoff_t retention_lz4_message_size(struct retention_lz4_istream *zs)
{
	uoff_t size;

	if (!zs->size_asked) {
		zs->size_asked = TRUE;
		zs->message_size = UOFF_T_MAX;
		if (zs->size_callback != NULL &&
		    zs->size_callback(zs->context, &size))
			zs->message_size = size;
	}
	return zs->message_size;
}

/* Get stored bytes in one piece, without consuming them. Returns 1 with data_r
   valid until the next call, 0 if the parent has no more for now, -1 if it
   ended or failed; then the piece has what there was before its end. */
static int
retention_lz4_peek(struct retention_lz4_istream *zs, uoff_t stored,
		   size_t want, const unsigned char **data_r)
{
	struct istream *parent = zs->istream.parent;
	const unsigned char *data;
	size_t size;
	int ret;

	if (zs->piece_stored != stored) {
		buffer_set_used_size(zs->piece, 0);
		zs->piece_stored = stored;
	}
	while (zs->piece->used < want) {
		i_stream_seek(parent, zs->istream.parent_start_offset +
			      stored + zs->piece->used);
		ret = i_stream_read_more_memarea(parent, &data, &size);
		if (ret <= 0)
			return ret;
		if (zs->piece->used == 0 && size >= want) {
			*data_r = data;
			return 1;
		}
		buffer_append(zs->piece, data,
			      I_MIN(size, want - zs->piece->used));
	}
	*data_r = zs->piece->data;
	return 1;
}

/* As retention_lz4_peek(), for the length that a chunk begins with. */
static int
retention_lz4_peek_length(struct retention_lz4_istream *zs, uoff_t stored,
			  uint32_t *length_r)
{
	const unsigned char *data;
	int ret;

	ret = retention_lz4_peek(zs, stored, RETENTION_LZ4_CHUNK_HEADER_LEN,
				 &data);
	if (ret > 0)
		*length_r = be32_to_cpu_unaligned(data);
	return ret;
}

static bool retention_lz4_claim_is_valid(uint32_t size)
{
	return size > 0 && size <= RETENTION_LZ4_MAX_CHUNK_SIZE;
}

/* Returns TRUE if so many stored bytes can give so many message bytes. */
static bool retention_lz4_can_decode_to(uint32_t length, size_t size)
{
	return retention_lz4_claim_is_valid(length) &&
		size <= (size_t)length * RETENTION_LZ4_MAX_RATIO;
}

/* Go from the start of a chunk that is full to that of the next. Returns FALSE
   if there is no chunk, or none that could be full. */
static bool
retention_lz4_hop(struct retention_lz4_istream *zs,
		  struct retention_lz4_mark *mark)
{
	uint32_t length;

	if (retention_lz4_peek_length(zs, mark->stored, &length) <= 0 ||
	    !retention_lz4_can_decode_to(length, zs->max_chunk_size))
		return FALSE;
	mark->stored += RETENTION_LZ4_CHUNK_HEADER_LEN + length;
	mark->decoded += zs->max_chunk_size;
	return TRUE;
}

/* Returns TRUE if the chunk decodes to so many bytes and is the last one. */
static bool
retention_lz4_is_last(struct retention_lz4_istream *zs,
		      const struct retention_lz4_mark *mark, size_t size)
{
	const unsigned char *data;
	unsigned char *decoded;
	uint32_t length;
	int ret;

	if (retention_lz4_peek_length(zs, mark->stored, &length) <= 0 ||
	    !retention_lz4_can_decode_to(length, size) ||
	    retention_lz4_peek(zs, mark->stored,
			       RETENTION_LZ4_CHUNK_HEADER_LEN + length,
			       &data) <= 0)
		return FALSE;
	decoded = i_malloc(size);
	ret = LZ4_decompress_safe(
		(const char *)data + RETENTION_LZ4_CHUNK_HEADER_LEN,
		(char *)decoded, length, size);
	i_free(decoded);
	if (ret < 0 || (size_t)ret != size)
		return FALSE;
	return retention_lz4_peek(zs, mark->stored +
				  RETENTION_LZ4_CHUNK_HEADER_LEN + length,
				  1, &data) < 0 &&
		zs->istream.parent->stream_errno == 0;
}

static void
retention_lz4_add_mark(struct retention_lz4_istream *zs,
		       const struct retention_lz4_mark *mark)
{
	const struct retention_lz4_mark *last = array_back(&zs->marks);

	if (mark->decoded >= last->decoded + RETENTION_LZ4_MARK_DISTANCE)
		array_push_back(&zs->marks, mark);
}

/* Returns TRUE if all chunks from the last mark on are known to be full but for
   the last one; then all have their marks, and the size is known. */
static bool retention_lz4_prove_full(struct retention_lz4_istream *zs)
{
	struct retention_lz4_mark mark = *array_back(&zs->marks);
	unsigned int count = array_count(&zs->marks);
	uoff_t from = mark.decoded, size = retention_lz4_message_size(zs);

	if (zs->proof_tried)
		return zs->full_proven;
	if (!zs->istream.istream.seekable || !zs->istream.istream.blocking)
		return FALSE;
	zs->proof_tried = TRUE;
	if (size == UOFF_T_MAX || size <= from)
		return FALSE;

	while (size - mark.decoded > zs->max_chunk_size) {
		if (!retention_lz4_hop(zs, &mark))
			break;
		retention_lz4_add_mark(zs, &mark);
	}
	if (size - mark.decoded > zs->max_chunk_size ||
	    !retention_lz4_is_last(zs, &mark, size - mark.decoded)) {
		array_delete(&zs->marks, count,
			     array_count(&zs->marks) - count);
		return FALSE;
	}
	zs->full_from = from;
	zs->full_proven = TRUE;
	zs->istream.cached_stream_size = size;
	return TRUE;
}

/* Returns the last mark that is not after the offset. */
static const struct retention_lz4_mark *
retention_lz4_find_mark(struct retention_lz4_istream *zs, uoff_t offset)
{
	const struct retention_lz4_mark *marks;
	unsigned int left = 0, right, middle;

	marks = array_get(&zs->marks, &right);
	while (right - left > 1) {
		middle = left + (right - left) / 2;
		if (marks[middle].decoded <= offset)
			left = middle;
		else
			right = middle;
	}
	return &marks[left];
}

static bool
retention_lz4_want_proof(struct retention_lz4_istream *zs, uoff_t offset)
{
	uoff_t ahead, left, size;

	if (zs->proof_tried || offset - zs->next.decoded < zs->max_chunk_size)
		return FALSE;
	size = retention_lz4_message_size(zs);
	if (size == UOFF_T_MAX || size <= zs->next.decoded)
		return FALSE;
	ahead = I_MIN(offset, size) - zs->next.decoded;
	left = size - zs->next.decoded;
	return ahead >= left / RETENTION_LZ4_HOPS_PER_DECODE;
}

/* Set the next chunk to the one with the offset, or as near before it as can
   be told without decoding. */
static void
retention_lz4_locate(struct retention_lz4_istream *zs, uoff_t offset)
{
	const struct retention_lz4_mark *mark;

	if (zs->next.decoded <= offset &&
	    offset - zs->next.decoded < zs->max_chunk_size)
		return;

	mark = retention_lz4_find_mark(zs, offset);
	if (zs->next.decoded > offset || mark->decoded > zs->next.decoded)
		zs->next = *mark;
	if (retention_lz4_want_proof(zs, offset) &&
	    retention_lz4_prove_full(zs))
		zs->next = *retention_lz4_find_mark(zs, offset);
	if (!zs->full_proven || zs->next.decoded < zs->full_from)
		return;
	while (offset - zs->next.decoded >= zs->max_chunk_size &&
	       zs->message_size - zs->next.decoded > zs->max_chunk_size) {
		if (!retention_lz4_hop(zs, &zs->next))
			return;
	}
}

/* Returns 1 if the header is known, 0 and -1 as read() does. */
static int retention_lz4_read_header(struct retention_lz4_istream *zs)
{
	struct retention_lz4_mark first = { RETENTION_LZ4_HEADER_LEN, 0 };
	struct istream *parent = zs->istream.parent;
	const unsigned char *data;
	uint32_t max_size;
	int ret;

	if (zs->max_chunk_size != 0)
		return 1;
	ret = retention_lz4_peek(zs, 0, RETENTION_LZ4_HEADER_LEN, &data);
	if (ret < 0 && parent->stream_errno != 0)
		zs->istream.istream.stream_errno = parent->stream_errno;
	else if (ret < 0) {
		retention_lz4_set_error(zs, EPIPE,
			"LZ4 header is cut off after %zu bytes",
			zs->piece->used);
	}
	if (ret <= 0)
		return ret;

	if (memcmp(data, RETENTION_LZ4_MAGIC, RETENTION_LZ4_MAGIC_LEN) != 0) {
		retention_lz4_set_error(zs, EINVAL,
			"LZ4 header does not begin with the magic");
		return -1;
	}
	max_size = be32_to_cpu_unaligned(data + RETENTION_LZ4_MAGIC_LEN);
	if (!retention_lz4_claim_is_valid(max_size)) {
		retention_lz4_set_error(zs, EINVAL,
			"LZ4 header claims chunks of %u bytes, "
			"not of 1 to %u", max_size,
			RETENTION_LZ4_MAX_CHUNK_SIZE);
		return -1;
	}
	zs->max_chunk_size = max_size;
	zs->next = first;
	array_push_back(&zs->marks, &first);
	return 1;
}

/* The parent has no (whole) chunk at the next mark: set eof or the error. */
static void retention_lz4_set_ended(struct retention_lz4_istream *zs)
{
	struct istream *parent = zs->istream.parent;
	uoff_t size;

	if (parent->stream_errno != 0) {
		zs->istream.istream.stream_errno = parent->stream_errno;
		return;
	}
	if (zs->piece->used > 0) {
		retention_lz4_set_error(zs, EPIPE,
			"LZ4 chunk at stored offset %"PRIuUOFF_T
			" is cut off after %zu bytes",
			zs->next.stored, zs->piece->used);
		return;
	}
	size = retention_lz4_message_size(zs);
	if (size != UOFF_T_MAX && size > zs->next.decoded) {
		retention_lz4_set_error(zs, EPIPE,
			"LZ4 stream is cut off at stored offset %"PRIuUOFF_T
			", after %"PRIuUOFF_T" of %"PRIuUOFF_T" message bytes",
			zs->next.stored, zs->next.decoded, size);
		return;
	}
	zs->istream.cached_stream_size = zs->next.decoded;
	zs->istream.istream.eof = TRUE;
}

static void retention_lz4_buffer_free(unsigned char *buffer)
{
	i_free(buffer);
}

/* Make room for so many bytes at pos. What was not consumed yet stays; bytes
   that a snapshot refers to are not overwritten. */
static void
retention_lz4_make_room(struct retention_lz4_istream *zs, size_t size)
{
	struct istream_private *stream = &zs->istream;
	size_t kept = stream->pos - stream->skip;
	unsigned char *buffer;

	if (stream->memarea != NULL &&
	    memarea_get_refcount(stream->memarea) == 1 &&
	    stream->buffer_size >= kept + size) {
		buffer = stream->w_buffer + RETENTION_LZ4_BUFFER_OFFSET;
		memmove(buffer, buffer + stream->skip, kept);
	} else {
		buffer = i_malloc(RETENTION_LZ4_BUFFER_OFFSET + kept + size);
		if (kept > 0) {
			memcpy(buffer + RETENTION_LZ4_BUFFER_OFFSET,
			       stream->buffer + stream->skip, kept);
		}
		if (stream->memarea != NULL)
			memarea_unref(&stream->memarea);
		stream->w_buffer = buffer;
		stream->buffer = buffer + RETENTION_LZ4_BUFFER_OFFSET;
		stream->buffer_size = kept + size;
		stream->memarea = memarea_init(buffer,
			RETENTION_LZ4_BUFFER_OFFSET + stream->buffer_size,
			retention_lz4_buffer_free, buffer);
	}
	stream->skip = 0;
	stream->pos = zs->filled = kept;
}

/* The next chunk was decoded to pos. Returns 1, or -1 if its size contradicts
   what was told of it. */
static int
retention_lz4_chunk_decoded(struct retention_lz4_istream *zs,
			    uint32_t length, size_t size)
{
	uoff_t offset = zs->next.decoded;
	size_t full;

	if (zs->full_proven && offset >= zs->full_from) {
		full = I_MIN(zs->max_chunk_size, zs->message_size - offset);
		if (size != full) {
			retention_lz4_set_error(zs, EINVAL,
				"LZ4 chunk at stored offset %"PRIuUOFF_T
				" has %zu message bytes, not the %zu that the "
				"message size %"PRIuUOFF_T" asks for",
				zs->next.stored, size, full, zs->message_size);
			return -1;
		}
	}
	zs->filled = zs->istream.pos + size;
	zs->next.stored += RETENTION_LZ4_CHUNK_HEADER_LEN + length;
	zs->next.decoded += size;
	retention_lz4_add_mark(zs, &zs->next);
	return 1;
}

/* Decode the next chunk to pos. Returns 1 if it was, 0 and -1 as read(). */
static int retention_lz4_decode_next(struct retention_lz4_istream *zs)
{
	const unsigned char *data;
	uint32_t length;
	size_t room;
	int ret;

	ret = retention_lz4_peek_length(zs, zs->next.stored, &length);
	if (ret > 0) {
		if (!retention_lz4_claim_is_valid(length)) {
			retention_lz4_set_error(zs, EINVAL,
				"LZ4 chunk at stored offset %"PRIuUOFF_T
				" claims %u bytes, not 1 to %u",
				zs->next.stored, length,
				RETENTION_LZ4_MAX_CHUNK_SIZE);
			return -1;
		}
		ret = retention_lz4_peek(zs, zs->next.stored,
			RETENTION_LZ4_CHUNK_HEADER_LEN + length, &data);
	}
	if (ret < 0)
		retention_lz4_set_ended(zs);
	if (ret <= 0)
		return ret;

	room = I_MIN(zs->max_chunk_size,
		     (size_t)length * RETENTION_LZ4_MAX_RATIO);
	retention_lz4_make_room(zs, room);
	ret = LZ4_decompress_safe(
		(const char *)data + RETENTION_LZ4_CHUNK_HEADER_LEN,
		(char *)zs->istream.w_buffer + RETENTION_LZ4_BUFFER_OFFSET +
		zs->istream.pos, length, room);
	if (ret < 0) {
		retention_lz4_set_error(zs, EINVAL,
			"LZ4 chunk at stored offset %"PRIuUOFF_T
			" (%u bytes) does not decode",
			zs->next.stored, length);
		return -1;
	}
	return retention_lz4_chunk_decoded(zs, length, ret);
}

/* Fill the buffer with the message bytes after pos. Returns 1 if there are any,
   0 and -1 as read() does. */
static int retention_lz4_fill(struct retention_lz4_istream *zs)
{
	struct istream_private *stream = &zs->istream;
	uoff_t offset = stream->istream.v_offset + (stream->pos - stream->skip);
	uoff_t start;
	int ret;

	if ((ret = retention_lz4_read_header(zs)) <= 0)
		return ret;
	if (offset < zs->next.decoded && !stream->istream.seekable) {
		retention_lz4_set_error(zs, ESPIPE,
			"LZ4 stream cannot seek back to offset %"PRIuUOFF_T,
			offset);
		return -1;
	}
	retention_lz4_locate(zs, offset);
	if (offset >= stream->cached_stream_size) {
		stream->istream.eof = TRUE;
		return -1;
	}
	do {
		start = zs->next.decoded;
		i_assert(start == offset || stream->skip == stream->pos);
		ret = retention_lz4_decode_next(zs);
		if (ret <= 0) {
			/* A chunk before the offset may be in the buffer. */
			zs->filled = stream->pos;
			return ret;
		}
	} while (zs->next.decoded <= offset);

	if (start < offset) {
		/* The read begins within the chunk. */
		stream->skip = stream->pos = offset - start;
	}
	return 1;
}

static ssize_t i_stream_retention_lz4_read(struct istream_private *stream)
{
	struct retention_lz4_istream *zs =
		container_of(stream, struct retention_lz4_istream, istream);
	size_t old_pos;
	int ret;

	if (stream->w_buffer == NULL)
		zs->filled = stream->pos;
	/* The limit is for what waits to be consumed. A chunk takes its memory
	   whether it is shown in one piece or not. */
	if (stream->pos - stream->skip >=
	    i_stream_get_max_buffer_size(&stream->istream))
		return -2;
	if (zs->filled == stream->pos &&
	    (ret = retention_lz4_fill(zs)) <= 0)
		return ret;
	old_pos = stream->pos;
	stream->pos = zs->filled;
	return stream->pos - old_pos;
}

static void
i_stream_retention_lz4_seek(struct istream_private *stream, uoff_t v_offset,
			    bool mark ATTR_UNUSED)
{
	struct retention_lz4_istream *zs =
		container_of(stream, struct retention_lz4_istream, istream);
	uoff_t start = stream->istream.v_offset - stream->skip;

	if (stream->w_buffer != NULL && v_offset >= start &&
	    v_offset - start <= zs->filled)
		stream->skip = stream->pos = v_offset - start;
	else
		stream->skip = stream->pos = zs->filled = 0;
	stream->istream.v_offset = v_offset;
}

static void i_stream_retention_lz4_sync(struct istream_private *stream)
{
	struct retention_lz4_istream *zs =
		container_of(stream, struct retention_lz4_istream, istream);

	i_stream_sync(stream->parent);
	stream->skip = stream->pos = zs->filled = 0;
	stream->cached_stream_size = UOFF_T_MAX;
	buffer_set_used_size(zs->piece, 0);
	array_clear(&zs->marks);
	zs->max_chunk_size = 0;
	zs->size_asked = FALSE;
	zs->proof_tried = FALSE;
	zs->full_proven = FALSE;
}

/* Returns 1 if the size is known, 0 if the parent has no more for now, -1 on
   error. */
static int retention_lz4_find_size(struct retention_lz4_istream *zs)
{
	struct istream *input = &zs->istream.istream;
	uoff_t old_offset = input->v_offset;
	int ret;

	if (zs->istream.cached_stream_size != UOFF_T_MAX)
		return 1;
	if ((ret = retention_lz4_read_header(zs)) <= 0)
		return ret;
	if (retention_lz4_prove_full(zs))
		return 1;

	do {
		i_stream_skip(input, i_stream_get_data_size(input));
	} while ((ret = i_stream_read(input)) > 0);
	if (input->stream_errno != 0)
		return -1;
	i_stream_seek(input, old_offset);
	return ret < 0 ? 1 : 0;
}

static int
i_stream_retention_lz4_stat(struct istream_private *stream, bool exact)
{
	struct retention_lz4_istream *zs =
		container_of(stream, struct retention_lz4_istream, istream);
	const struct stat *st;
	int ret;

	if (i_stream_stat(stream->parent, FALSE, &st) < 0) {
		stream->istream.stream_errno = stream->parent->stream_errno;
		return -1;
	}
	stream->statbuf = *st;
	if (!exact)
		return 0;
	if ((ret = retention_lz4_find_size(zs)) < 0)
		return -1;
	stream->statbuf.st_size = ret == 0 ? -1 :
		(off_t)stream->cached_stream_size;
	return 0;
}

static void
i_stream_retention_lz4_close(struct iostream_private *stream,
			     bool close_parent)
{
	struct retention_lz4_istream *zs =
		container_of(stream, struct retention_lz4_istream,
			     istream.iostream);

	buffer_free(&zs->piece);
	if (array_is_created(&zs->marks))
		array_free(&zs->marks);
	if (close_parent)
		i_stream_close(zs->istream.parent);
}

struct istream *
i_stream_create_retention_lz4(struct istream *input,
			      retention_lz4_size_callback_t *size_callback,
			      void *context)
{
	struct retention_lz4_istream *zs;

	zs = i_new(struct retention_lz4_istream, 1);
	zs->size_callback = size_callback;
	zs->context = context;
	zs->piece = buffer_create_dynamic(default_pool, 256);
	i_array_init(&zs->marks, 8);

	zs->istream.iostream.close = i_stream_retention_lz4_close;
	zs->istream.max_buffer_size = input->real_stream->max_buffer_size;
	zs->istream.read = i_stream_retention_lz4_read;
	zs->istream.seek = i_stream_retention_lz4_seek;
	zs->istream.sync = i_stream_retention_lz4_sync;
	zs->istream.stat = i_stream_retention_lz4_stat;

	zs->istream.istream.readable_fd = FALSE;
	zs->istream.istream.blocking = input->blocking;
	zs->istream.istream.seekable = input->seekable;
	return retention_i_stream_create(&zs->istream, input,
					 i_stream_get_fd(input), 0);
}
