/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "buffer.h"
#include "istream-private.h"
#include "retention-lz4.h"
#include "test-stream-common.h"

#include <lz4.h>

struct test_pieces {
	struct istream_private istream;

	size_t size, piece_size;
	/* End and sum of what was read. */
	size_t end;
	uoff_t count;
	bool pauses:1;
	bool paused:1;
};

static ssize_t test_stream_pieces_read(struct istream_private *stream)
{
	struct test_pieces *pieces =
		container_of(stream, struct test_pieces, istream);
	size_t size;

	if (stream->pos >= pieces->size) {
		stream->istream.eof = TRUE;
		return -1;
	}
	if (pieces->pauses && !pieces->paused) {
		pieces->paused = TRUE;
		return 0;
	}
	pieces->paused = FALSE;
	size = I_MIN(pieces->piece_size, pieces->size - stream->pos);
	stream->pos += size;
	pieces->count += size;
	pieces->end = I_MAX(pieces->end, stream->pos);
	return size;
}

static void
test_stream_pieces_seek(struct istream_private *stream, uoff_t v_offset,
		   bool mark ATTR_UNUSED)
{
	struct test_pieces *pieces =
		container_of(stream, struct test_pieces, istream);

	stream->skip = stream->pos = I_MIN(v_offset, pieces->size);
	stream->istream.v_offset = v_offset;
}

struct istream *
test_stream_pieces_create(const void *data, size_t size, size_t piece_size,
		     bool pauses)
{
	struct test_pieces *pieces;
	struct istream *input;

	pieces = i_new(struct test_pieces, 1);
	pieces->size = size;
	pieces->piece_size = piece_size;
	pieces->pauses = pauses;

	pieces->istream.buffer = data;
	pieces->istream.max_buffer_size = SIZE_MAX;
	pieces->istream.read = test_stream_pieces_read;
	pieces->istream.seek = test_stream_pieces_seek;
	pieces->istream.istream.blocking = !pauses;
	pieces->istream.istream.seekable = TRUE;
	input = retention_i_stream_create(&pieces->istream, NULL, -1,
					  ISTREAM_CREATE_FLAG_NOOP_SNAPSHOT);
	i_stream_set_name(input, "(pieces)");
	pieces->istream.statbuf.st_size = size;
	return input;
}

size_t test_stream_pieces_get_end(struct istream *input)
{
	struct test_pieces *pieces =
		container_of(input->real_stream, struct test_pieces, istream);

	return pieces->end;
}

uoff_t test_stream_pieces_get_count(struct istream *input)
{
	struct test_pieces *pieces =
		container_of(input->real_stream, struct test_pieces, istream);

	return pieces->count;
}

/* A generator of our own: the same bytes everywhere, at every run. */
uint32_t test_stream_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

void test_stream_fill(buffer_t *message, enum test_stream_kind kind,
		      size_t size)
{
	static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789+/";
	static const char *const words[] = {
		"the ", "message ", "of ", "an ", "old ", "mailbox ", "is\r\n",
		"kept ", "\xc3\xa4nderung ", "=20", "--boundary\r\n", "0",
	};
	uint32_t state = 2463534242U + size;
	size_t start = message->used;

	while (message->used - start < size) {
		uint32_t random = test_stream_random(&state) >> 8;

		switch (kind) {
		case TEST_STREAM_TEXT:
			buffer_append(message,
				words[random % N_ELEMENTS(words)],
				strlen(words[random % N_ELEMENTS(words)]));
			break;
		case TEST_STREAM_BASE64:
			buffer_append_c(message, base64[random % 64]);
			break;
		case TEST_STREAM_SAME:
			buffer_append_c(message, 'x');
			break;
		case TEST_STREAM_RANDOM:
			buffer_append_c(message, random & 0xff);
			break;
		case TEST_STREAM_KINDS:
			i_unreached();
		}
	}
	buffer_set_used_size(message, start + size);
}

void test_stream_add_header(buffer_t *stored, uint32_t max_chunk_size)
{
	unsigned char be32[4];

	buffer_append(stored, RETENTION_LZ4_MAGIC, RETENTION_LZ4_MAGIC_LEN);
	cpu32_to_be_unaligned(max_chunk_size, be32);
	buffer_append(stored, be32, sizeof(be32));
}

void test_stream_add_raw_chunk(buffer_t *stored, uint32_t length,
			       const void *block, size_t size)
{
	unsigned char be32[4];

	cpu32_to_be_unaligned(length, be32);
	buffer_append(stored, be32, sizeof(be32));
	buffer_append(stored, block, size);
}

void test_stream_add_chunk(buffer_t *stored, const void *data, size_t size)
{
	char *block = i_malloc(LZ4_compressBound(size));
	int length = LZ4_compress_default(data, block, size,
					  LZ4_compressBound(size));

	i_assert(length > 0);
	test_stream_add_raw_chunk(stored, length, block, length);
	i_free(block);
}

static int
test_stream_decode_chunk(const unsigned char *data, size_t size,
			      uint32_t max_size, buffer_t *output)
{
	size_t used = output->used;
	int ret;

	/* No block gives more, and the fuzzer has no time to waste. */
	max_size = I_MIN(max_size, size * 255);
	ret = LZ4_decompress_safe((const char *)data,
		buffer_append_space_unsafe(output, max_size), size, max_size);
	buffer_set_used_size(output, used + I_MAX(ret, 0));
	return ret < 0 ? EINVAL : 0;
}

static bool test_stream_size_is_valid(uint32_t size)
{
	return size >= 1 && size <= 1048576;
}

int test_stream_decode(const unsigned char *data, size_t size,
			    buffer_t *output)
{
	uint32_t max_size, length;
	size_t pos = 19;
	int ret;

	if (size < 19)
		return EPIPE;
	if (memcmp(data, "Dovecot-LZ4\x0d\x2a\x9b\xc5", 15) != 0)
		return EINVAL;
	max_size = be32_to_cpu_unaligned(data + 15);
	if (!test_stream_size_is_valid(max_size))
		return EINVAL;
	while (pos < size) {
		if (size - pos < 4)
			return EPIPE;
		length = be32_to_cpu_unaligned(data + pos);
		if (!test_stream_size_is_valid(length))
			return EINVAL;
		if (size - pos - 4 < length)
			return EPIPE;
		ret = test_stream_decode_chunk(data + pos + 4, length,
						    max_size, output);
		if (ret != 0)
			return ret;
		pos += 4 + length;
	}
	return 0;
}
