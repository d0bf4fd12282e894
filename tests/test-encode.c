/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "buffer.h"
#include "istream.h"
#include "istream-failure-at.h"
#include "ostream.h"
#include "ostream-failure-at.h"
#include "compression.h"
#include "retention-lz4.h"
#include "retention-encode.h"
#include "test-common.h"
#include "test-stream-common.h"

static const size_t test_sizes[] = {
	1, 12, 13, 14, 100, 4095, 4096, 8191, 8193,
	RETENTION_LZ4_CHUNK_SIZE - 1, RETENTION_LZ4_CHUNK_SIZE,
	RETENTION_LZ4_CHUNK_SIZE + 1, 2 * RETENTION_LZ4_CHUNK_SIZE - 1,
	2 * RETENTION_LZ4_CHUNK_SIZE, 2 * RETENTION_LZ4_CHUNK_SIZE + 1,
	5 * RETENTION_LZ4_CHUNK_SIZE + 777,
};

/* Encode the message; output is what was stored. */
static enum retention_encode_result
test_encode(const buffer_t *message, unsigned int level, buffer_t *stored,
	    struct retention_encoding *encoding_r)
{
	struct istream *input;
	struct ostream *output;
	enum retention_encode_result result;
	const char *error = NULL;

	input = test_stream_pieces_create(message->data, message->used, 5000,
					  FALSE);
	output = test_ostream_create(stored);
	result = retention_encode(input, message->used, output, level,
				  encoding_r, &error);
	test_assert((result == RETENTION_ENCODE_ERROR) == (error != NULL));
	o_stream_destroy(&output);
	i_stream_unref(&input);
	return result;
}

static int
test_verify(const void *stored, size_t size,
	    const struct retention_encoding *encoding)
{
	struct istream *input = i_stream_create_from_data(stored, size);
	const char *error = NULL;
	int ret = retention_encode_verify(input, encoding, &error);

	test_assert((ret < 0) == (error != NULL));
	i_stream_unref(&input);
	return ret;
}

/* All chunks but the last must be full, none empty, and Dovecot 2.3 and 2.4
   must accept every length. */
static void
test_check_layout(const buffer_t *stored, uoff_t message_size)
{
	const unsigned char *data = stored->data;
	size_t pos = RETENTION_LZ4_HEADER_LEN;
	uoff_t left = message_size;

	test_assert(memcmp(data, RETENTION_LZ4_MAGIC,
			   RETENTION_LZ4_MAGIC_LEN) == 0);
	test_assert(be32_to_cpu_unaligned(data + RETENTION_LZ4_MAGIC_LEN) ==
		    I_MIN(message_size, RETENTION_LZ4_CHUNK_SIZE));
	while (pos < stored->used) {
		uint32_t length = be32_to_cpu_unaligned(data + pos);
		size_t full = I_MIN(left, RETENTION_LZ4_CHUNK_SIZE);
		buffer_t *chunk = buffer_create_dynamic(default_pool, 1024);

		test_stream_add_header(chunk, RETENTION_LZ4_CHUNK_SIZE);
		buffer_append(chunk, data + pos, 4 + length);
		buffer_t *plain = buffer_create_dynamic(default_pool, 1024);
		test_assert(test_stream_decode(chunk->data, chunk->used,
					       plain) == 0);
		test_assert(full > 0 && plain->used == full);
		left -= plain->used;
		pos += 4 + length;
		buffer_free(&plain);
		buffer_free(&chunk);
	}
	test_assert(left == 0);
}

static void
test_round_trip(enum test_stream_kind kind, size_t size, unsigned int level)
{
	buffer_t *message = buffer_create_dynamic(default_pool, size + 1);
	buffer_t *stored = buffer_create_dynamic(default_pool, 1024);
	buffer_t *plain = buffer_create_dynamic(default_pool, size + 1);
	struct retention_encoding encoding;
	enum retention_encode_result result;

	test_stream_fill(message, kind, size);
	result = test_encode(message, level, stored, &encoding);
	if (result == RETENTION_ENCODE_NO_GAIN) {
		/* 19 bytes of header, 4 of length, and 12 literal bytes at the
		   end of each block always cost this much. */
		test_assert_idx(kind == TEST_STREAM_RANDOM ||
				kind == TEST_STREAM_BASE64 || size < 120, size);
	} else {
		test_assert_idx(result == RETENTION_ENCODE_DONE, size);
		test_assert(encoding.plain_size == size);
		test_assert(encoding.stored_size == stored->used);
		test_assert(stored->used < size);
		test_check_layout(stored, size);
		test_assert(test_stream_decode(stored->data, stored->used,
					       plain) == 0);
		test_assert_idx(buffer_cmp(message, plain), size);
		test_assert_idx(test_verify(stored->data, stored->used,
					    &encoding) == 0, size);
	}
	buffer_free(&message);
	buffer_free(&stored);
	buffer_free(&plain);
}

static void test_encode_round_trip(void)
{
	static const unsigned int levels[] = { 1, 2, 9, 12 };
	unsigned int kind, i, j;

	test_begin("encode: every size, kind and level comes back the same");
	for (kind = 0; kind < TEST_STREAM_KINDS; kind++) {
		for (i = 0; i < N_ELEMENTS(test_sizes); i++) {
			for (j = 0; j < N_ELEMENTS(levels); j++) {
				/* Level 12 is slow where all is the same. */
				if (levels[j] == 12 && test_sizes[i] > 100000)
					continue;
				test_round_trip(kind, test_sizes[i],
						levels[j]);
			}
		}
	}
	test_end();
}

static void test_encode_levels(void)
{
	buffer_t *message = buffer_create_dynamic(default_pool, 1024);
	struct retention_encoding encoding;
	uoff_t last = UOFF_T_MAX;
	unsigned int level;

	test_begin("encode: all levels work, a higher one saves no less");
	test_stream_fill(message, TEST_STREAM_TEXT, 70000);
	for (level = RETENTION_LZ4_LEVEL_MIN; level <= RETENTION_LZ4_LEVEL_MAX;
	     level++) {
		buffer_t *stored = buffer_create_dynamic(default_pool, 1024);

		test_assert_idx(test_encode(message, level, stored,
			&encoding) == RETENTION_ENCODE_DONE, level);
		/* Not to the byte: allow a hundredth. */
		test_assert_idx(level == 1 || encoding.stored_size <=
				last + last / 100, level);
		last = encoding.stored_size;
		buffer_free(&stored);
	}
	buffer_free(&message);
	test_end();
}

static void test_encode_empty(void)
{
	buffer_t *message = buffer_create_dynamic(default_pool, 1);
	buffer_t *stored = buffer_create_dynamic(default_pool, 1);
	struct retention_encoding encoding;

	test_begin("encode: an empty message is no gain, nothing is written");
	test_assert(test_encode(message, 9, stored, &encoding) ==
		    RETENTION_ENCODE_NO_GAIN);
	test_assert(stored->used == 0);
	buffer_free(&message);
	buffer_free(&stored);
	test_end();
}

static void test_encode_no_gain(void)
{
	buffer_t *message = buffer_create_dynamic(default_pool, 1024);
	buffer_t *stored = buffer_create_dynamic(default_pool, 1024);
	struct retention_encoding encoding;

	test_begin("encode: stops once nothing can be saved any more");
	/* What comes last would make up for nothing. */
	test_stream_fill(message, TEST_STREAM_RANDOM, 1000000);
	test_assert(test_encode(message, 1, stored, &encoding) ==
		    RETENTION_ENCODE_NO_GAIN);
	test_assert(stored->used <= message->used + 70000);
	test_assert(encoding.plain_size <= message->used);

	/* Large enough a share that does shrink. */
	buffer_set_used_size(stored, 0);
	test_stream_fill(message, TEST_STREAM_SAME, 100000);
	test_assert(test_encode(message, 1, stored, &encoding) ==
		    RETENTION_ENCODE_DONE);
	test_assert(stored->used < message->used);
	buffer_free(&message);
	buffer_free(&stored);
	test_end();
}

static const struct {
	const char *data;
	unsigned int size;
	const char *codec;
} test_codecs[] = {
	{ RETENTION_LZ4_MAGIC, 15, "lz4" },
	{ RETENTION_LZ4_MAGIC, 14, NULL },
	{ "Dovecot-LZ4\x0d\x2a\x9b\xc4", 15, NULL },
	{ "\x1f\x8b\x08", 3, "gz" },
	{ "\x1f\x8b", 2, "gz" },
	{ "\x1f", 1, NULL },
	{ "BZh1", 4, "bz2" },
	{ "BZh9x", 5, "bz2" },
	{ "BZh0", 4, NULL },
	{ "BZh", 3, NULL },
	{ "BZhA", 4, NULL },
	{ "\xfd\x37\x7a\x58\x5a\x00", 6, "xz" },
	{ "\xfd\x37\x7a\x58\x5a", 5, NULL },
	{ "\x28\xb5\x2f\xfd", 4, "zstd" },
	{ "\x28\xb5\x2f", 3, NULL },
	{ "CRYPTED\x03\x07", 9, "mail_crypt" },
	{ "CRYPTED\x03\x08", 9, NULL },
	{ "CRYPTED", 7, NULL },
	{ "From: a@example.com\r\n", 21, NULL },
	{ "", 0, NULL },
};

static void test_encode_codec_detect(void)
{
	unsigned int i;

	test_begin("codec: each magic is recognised, whole and at the start");
	for (i = 0; i < N_ELEMENTS(test_codecs); i++) {
		unsigned char data[64];

		test_assert_idx(null_strcmp(retention_codec_detect(
			(const unsigned char *)test_codecs[i].data,
			test_codecs[i].size), test_codecs[i].codec) == 0, i);
		data[0] = ' ';
		memcpy(data + 1, test_codecs[i].data, test_codecs[i].size);
		test_assert_idx(retention_codec_detect(data,
			test_codecs[i].size + 1) == NULL, i);
	}
	test_end();
}

static void test_encode_magic(void)
{
	unsigned int i;

	test_begin("encode: a message that begins with a magic is left alone");
	for (i = 0; i < N_ELEMENTS(test_codecs); i++) {
		buffer_t *message = buffer_create_dynamic(default_pool, 1024);
		buffer_t *stored = buffer_create_dynamic(default_pool, 1024);
		struct retention_encoding encoding;

		buffer_append(message, test_codecs[i].data,
			      test_codecs[i].size);
		test_stream_fill(message, TEST_STREAM_TEXT, 10000);
		test_assert_idx(test_encode(message, 9, stored, &encoding) ==
			(test_codecs[i].codec != NULL ?
			 RETENTION_ENCODE_MAGIC : RETENTION_ENCODE_DONE), i);
		test_assert_idx(test_codecs[i].codec == NULL ||
				stored->used == 0, i);
		buffer_free(&message);
		buffer_free(&stored);
	}
	test_end();
}

static void
test_encode_error(struct istream *input, uoff_t size, struct ostream *output,
		  const char *expected_error)
{
	struct retention_encoding encoding;
	const char *error = NULL;

	test_assert(retention_encode(input, size, output, 9, &encoding,
				     &error) == RETENTION_ENCODE_ERROR);
	test_assert_strcmp(error, expected_error);
	i_stream_unref(&input);
	o_stream_destroy(&output);
}

static void test_encode_errors(void)
{
	buffer_t *message = buffer_create_dynamic(default_pool, 1024);
	buffer_t *stored = buffer_create_dynamic(default_pool, 1024);
	/* The last one is at the end, and at the flush. */
	static const uoff_t read_at[] = { 0, 16, 100000, UOFF_T_MAX };
	static const uoff_t write_at[] = { 0, 19, 30000, UOFF_T_MAX };
	struct istream *input, *failing;
	struct ostream *output, *full;
	unsigned int i;

	test_begin("encode: a size that is wrong and failures are errors");
	test_stream_fill(message, TEST_STREAM_TEXT, 200000);
#define TEST_INPUT() test_stream_pieces_create(message->data, message->used, \
					       4096, FALSE)
	test_encode_error(TEST_INPUT(), 200001, test_ostream_create(stored),
		"read((pieces)) failed: "
		"Message ended after 200000 of 200001 bytes");
	test_encode_error(TEST_INPUT(), 199999, test_ostream_create(stored),
		"read((pieces)) failed: Message has more than 199999 bytes");
	test_encode_error(TEST_INPUT(), 65536, test_ostream_create(stored),
		"read((pieces)) failed: Message has more than 65536 bytes");

	for (i = 0; i < N_ELEMENTS(read_at); i++) {
		input = TEST_INPUT();
		failing = i_stream_create_failure_at(input, read_at[i], EIO,
						     "bad sector");
		i_stream_set_name(failing, "cur/1");
		i_stream_unref(&input);
		test_encode_error(failing, 200000, test_ostream_create(stored),
				  "read(cur/1) failed: bad sector");
	}
	for (i = 0; i < N_ELEMENTS(write_at); i++) {
		output = test_ostream_create(stored);
		full = write_at[i] == UOFF_T_MAX ?
			o_stream_create_failure_at_flush(output, "disk full") :
			o_stream_create_failure_at(output, write_at[i],
						   "disk full");
		o_stream_set_name(full, "tmp/1");
		o_stream_unref(&output);
		test_encode_error(TEST_INPUT(), 200000, full,
				  "write(tmp/1) failed: disk full");
	}
	buffer_free(&message);
	buffer_free(&stored);
	test_end();
}

static void test_encode_verify(void)
{
	buffer_t *message = buffer_create_dynamic(default_pool, 1024);
	buffer_t *stored = buffer_create_dynamic(default_pool, 1024);
	struct retention_encoding encoding, other;
	unsigned char *bytes;
	unsigned int bit;
	size_t i;

	test_begin("verify: no cut and no flipped bit goes unnoticed");
	test_stream_fill(message, TEST_STREAM_TEXT, 3000);
	test_assert(test_encode(message, 9, stored, &encoding) ==
		    RETENTION_ENCODE_DONE);
	test_assert(test_verify(stored->data, stored->used, &encoding) == 0);

	for (i = 0; i < stored->used; i++) T_BEGIN {
		test_assert_idx(test_verify(stored->data, i, &encoding) < 0, i);
	} T_END;
	bytes = buffer_get_modifiable_data(stored, NULL);
	for (i = 0; i < stored->used; i++) T_BEGIN {
		for (bit = 0; bit < 8; bit++) {
			buffer_t *plain =
				buffer_create_dynamic(default_pool, 4096);
			bool same;

			bytes[i] ^= 1 << bit;
			/* Another maximum chunk size may still be enough, and
			   a match may as well come from elsewhere. */
			same = test_stream_decode(bytes, stored->used,
						  plain) == 0 &&
				buffer_cmp(plain, message);
			test_assert_idx(test_verify(bytes, stored->used,
				&encoding) == (same ? 0 : -1), i);
			bytes[i] ^= 1 << bit;
			buffer_free(&plain);
		}
	} T_END;

	other = encoding;
	other.plain_size++;
	test_assert(test_verify(bytes, stored->used, &other) < 0);
	other = encoding;
	other.digest[31] ^= 1;
	test_assert(test_verify(bytes, stored->used, &other) < 0);
	buffer_free(&message);
	buffer_free(&stored);
	test_end();
}

static void test_digest_stream(void)
{
	/* FIPS 180-4's examples, and no bytes at all. */
	static const struct {
		const char *data, *digest;
	} tests[] = {
		{ "", "\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8"
		  "\x99\x6f\xb9\x24\x27\xae\x41\xe4\x64\x9b\x93\x4c"
		  "\xa4\x95\x99\x1b\x78\x52\xb8\x55" },
		{ "abc", "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde"
		  "\x5d\xae\x22\x23\xb0\x03\x61\xa3\x96\x17\x7a\x9c"
		  "\xb4\x10\xff\x61\xf2\x00\x15\xad" },
	};
	unsigned char digest[RETENTION_DIGEST_LEN];
	struct istream *input, *failing;
	const char *error = NULL;
	unsigned int i;
	uoff_t size;

	test_begin("digest: SHA-256 and size of a stream");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		input = test_stream_pieces_create(tests[i].data,
			strlen(tests[i].data), 1, FALSE);
		test_assert_idx(retention_digest_stream(input, digest, &size,
							&error) == 0, i);
		test_assert_idx(size == strlen(tests[i].data), i);
		test_assert_idx(memcmp(digest, tests[i].digest,
				       sizeof(digest)) == 0, i);
		i_stream_unref(&input);
	}
	input = i_stream_create_from_data("abcdef", 6);
	failing = i_stream_create_failure_at(input, 3, EIO, "bad sector");
	i_stream_set_name(failing, "cur/1");
	test_assert(retention_digest_stream(failing, digest, &size,
					    &error) < 0);
	test_assert_strcmp(error, "read(cur/1) failed: bad sector");
	i_stream_unref(&failing);
	i_stream_unref(&input);
	test_end();
}

static void test_encode_stock_reads(void)
{
	const struct compression_handler *handler;
	unsigned int i;

	test_begin("encode: Dovecot's own reader reads what we write");
	test_assert(compression_lookup_handler("lz4", &handler) == 1);
	for (i = 0; i < N_ELEMENTS(test_sizes); i++) {
		buffer_t *message = buffer_create_dynamic(default_pool, 1024);
		buffer_t *stored = buffer_create_dynamic(default_pool, 1024);
		unsigned char digest[RETENTION_DIGEST_LEN];
		struct retention_encoding encoding;
		struct istream *parent, *input;
		const char *error;
		uoff_t size;

		/* Not only bytes that shrink. */
		test_stream_fill(message, TEST_STREAM_SAME, test_sizes[i]);
		test_stream_fill(message, TEST_STREAM_RANDOM,
				 test_sizes[i] / 2);
		if (test_encode(message, 9, stored, &encoding) ==
		    RETENTION_ENCODE_DONE) {
			parent = i_stream_create_from_data(stored->data,
							   stored->used);
			input = handler->create_istream(parent);
			test_assert_idx(retention_digest_stream(input, digest,
				&size, &error) == 0, i);
			test_assert_idx(size == message->used, i);
			test_assert_idx(memcmp(digest, encoding.digest,
					       sizeof(digest)) == 0, i);
			i_stream_unref(&input);
			i_stream_unref(&parent);
		} else {
			test_assert_idx(test_sizes[i] <= 100, i);
		}
		buffer_free(&message);
		buffer_free(&stored);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_encode_codec_detect,
		test_encode_round_trip,
		test_encode_levels,
		test_encode_empty,
		test_encode_no_gain,
		test_encode_magic,
		test_encode_errors,
		test_encode_verify,
		test_digest_stream,
		test_encode_stock_reads,
		NULL
	};
	return test_run(test_functions);
}
