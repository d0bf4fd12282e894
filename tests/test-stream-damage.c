/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "buffer.h"
#include "istream.h"
#include "istream-failure-at.h"
#include "retention-lz4.h"
#include "istream-retention-lz4.h"
#include "test-common.h"
#include "test-stream-common.h"
#include "test-stream-mail.h"
#include "fuzz-stream.h"

#include <dirent.h>

static void test_stream_seek_wrong_size(void)
{
	/* The second is that of all chunks but the last. */
	static const int wrong[] = { -65536, -16960, -1, 1, 65536, 1000000 };
	struct test_mail mail;
	struct istream *input;
	uoff_t size;
	unsigned int i;

	test_begin("stream: a wrong message size does not mislead a seek");
	test_mail_create(&mail, TEST_LAYOUT_FULL, 1000000);
	for (i = 0; i < N_ELEMENTS(wrong); i++) {
		mail.told_size = mail.message->used + wrong[i];
		input = test_mail_open(&mail);
		test_mail_read_at(&mail, input, 900000);
		test_mail_read_at(&mail, input, 10);
		test_mail_read_at(&mail, input, 500000);
		i_stream_unref(&input);

		/* Less than the message size is an error at its end, more is
		   for the caller to find. */
		input = test_mail_open(&mail);
		test_assert_idx(test_mail_read(&mail, input) == 1000000, i);
		test_assert_idx(input->stream_errno ==
				(wrong[i] > 0 ? EPIPE : 0), i);
		i_stream_unref(&input);

		input = test_mail_open(&mail);
		if (wrong[i] > 0) {
			test_assert_idx(i_stream_get_size(input, TRUE,
							  &size) == -1, i);
			test_assert_idx(input->stream_errno == EPIPE, i);
		} else {
			test_assert_idx(i_stream_get_size(input, TRUE,
							  &size) == 1, i);
			test_assert_idx(size == 1000000, i);
		}
		i_stream_unref(&input);
	}
	test_mail_free(&mail);
	test_end();
}

static void test_stream_lying_size(void)
{
	struct test_mail mail;
	struct istream *input;

	test_begin("stream: a chunk that is not full after all is an error");
	/* The size fits if all chunks were full, but the first one is not. */
	test_mail_init(&mail);
	test_stream_fill(mail.message, TEST_STREAM_TEXT, 9900);
	test_stream_add_header(mail.stored, 1000);
	test_stream_add_chunk(mail.stored, mail.message->data, 900);
	for (size_t pos = 900; pos < 9900; pos += 1000) {
		test_stream_add_chunk(mail.stored,
			CONST_PTR_OFFSET(mail.message->data, pos), 1000);
	}
	mail.told_size = 10000;
	input = test_mail_open(&mail);
	i_stream_seek(input, 9500);
	test_assert(i_stream_read(input) > 0);
	i_stream_seek(input, 0);
	test_assert(i_stream_read(input) == -1);
	test_assert(input->stream_errno == EINVAL);
	test_assert_strcmp(i_stream_get_error(input),
		"LZ4 chunk at stored offset 19 has 900 message bytes, "
		"not the 1000 that the message size 10000 asks for");
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_undamaged_part(void)
{
	struct test_mail mail;
	struct istream *input;
	unsigned char *bytes;
	uint32_t length;
	uoff_t size;

	test_begin("stream: a damaged chunk matters only to who reads it");
	test_mail_create(&mail, TEST_LAYOUT_FULL, 1000000);
	mail.told_size = mail.message->used;
	/* The block of the second chunk: an offset of 0 is never valid. */
	bytes = buffer_get_modifiable_data(mail.stored, NULL);
	bytes += RETENTION_LZ4_HEADER_LEN;
	length = be32_to_cpu_unaligned(bytes);
	memset(bytes + 4 + length + 4, 0, 100);

	input = test_mail_open(&mail);
	test_mail_read_at(&mail, input, 999000);
	test_mail_read_at(&mail, input, 140000);
	test_mail_read_at(&mail, input, 1000);
	test_assert(i_stream_get_size(input, TRUE, &size) == 1 &&
		    size == mail.message->used);
	i_stream_seek(input, 100000);
	test_assert(i_stream_read(input) == -1);
	test_assert(input->stream_errno == EINVAL);
	test_assert(strstr(i_stream_get_error(input), "does not decode") !=
		    NULL);
	i_stream_unref(&input);

	/* Read in order, everything before it comes. */
	input = test_mail_open(&mail);
	test_assert(test_mail_read(&mail, input) == 65536);
	test_assert(input->stream_errno == EINVAL);
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_cut(void)
{
	struct test_mail mail;
	struct istream *input;
	buffer_t *plain;
	size_t i, whole;
	int expected;

	test_begin("stream: cut anywhere it is an error, but for the edge of a "
		   "chunk when the size is not known");
	test_mail_create(&mail, TEST_LAYOUT_SMALL, 3500);
	whole = mail.stored->used;
	for (i = 0; i < whole; i++) T_BEGIN {
		plain = buffer_create_dynamic(default_pool, 4096);
		expected = test_stream_decode(mail.stored->data, i, plain);
		buffer_set_used_size(mail.stored, i);

		mail.told_size = UOFF_T_MAX;
		input = test_mail_open(&mail);
		test_assert_idx(test_mail_read(&mail, input) == plain->used, i);
		test_assert_idx(input->stream_errno == expected, i);
		i_stream_unref(&input);

		mail.told_size = mail.message->used;
		input = test_mail_open(&mail);
		test_assert_idx(test_mail_read(&mail, input) == plain->used, i);
		test_assert_idx(input->stream_errno == EPIPE, i);
		test_assert_idx(strstr(i_stream_get_error(input),
				       " cut off ") != NULL, i);
		i_stream_unref(&input);

		/* The bytes stay beyond "used". */
		buffer_set_used_size(mail.stored, whole);
		buffer_free(&plain);
	} T_END;
	test_mail_free(&mail);
	test_end();
}

static void test_stream_flip(void)
{
	struct test_mail mail;
	buffer_t *plain;
	struct test_mail damaged;
	struct istream *input;
	unsigned char *bytes;
	size_t i;
	int bit, expected;

	test_begin("stream: with any bit flipped it reads what is left of it");
	test_mail_create(&mail, TEST_LAYOUT_SMALL, 2500);
	bytes = buffer_get_modifiable_data(mail.stored, NULL);
	for (i = 0; i < mail.stored->used; i++) T_BEGIN {
		for (bit = 0; bit < 8; bit++) {
			bytes[i] ^= 1 << bit;
			plain = buffer_create_dynamic(default_pool, 4096);
			expected = test_stream_decode(bytes, mail.stored->used,
						      plain);
			damaged = mail;
			damaged.message = plain;
			input = test_mail_open(&damaged);
			test_assert_idx(test_mail_read(&damaged, input) ==
					plain->used, i);
			test_assert_idx(input->stream_errno == expected, i);
			i_stream_unref(&input);

			if (expected == 0 && plain->used < 2500)
				expected = EPIPE;
			damaged.told_size = 2500;
			input = test_mail_open(&damaged);
			test_assert_idx(test_mail_read(&damaged, input) ==
					plain->used, i);
			test_assert_idx(input->stream_errno == expected, i);
			i_stream_unref(&input);

			/* What was flipped before the offset may not matter. */
			input = test_mail_open(&damaged);
			i_stream_seek(input, 2400);
			while (i_stream_read(input) > 0)
				i_stream_skip(input, 1);
			test_assert_idx(input->eof, i);
			i_stream_unref(&input);
			buffer_free(&plain);
			bytes[i] ^= 1 << bit;
		}
	} T_END;
	test_mail_free(&mail);
	test_end();
}

static void test_stream_claims(void)
{
	static const struct {
		uint32_t max_chunk_size, length;
		const char *error;
	} tests[] = {
		{ 0, 100, "LZ4 header claims chunks of 0 bytes, "
			"not of 1 to 1048576" },
		{ 1048577, 100, "LZ4 header claims chunks of 1048577 bytes, "
			"not of 1 to 1048576" },
		{ 0xffffffff, 100, "LZ4 header claims chunks of 4294967295 "
			"bytes, not of 1 to 1048576" },
		{ 65536, 0, "LZ4 chunk at stored offset 19 claims 0 bytes, "
			"not 1 to 1048576" },
		{ 65536, 1048577, "LZ4 chunk at stored offset 19 claims "
			"1048577 bytes, not 1 to 1048576" },
		{ 65536, 0x80000000, "LZ4 chunk at stored offset 19 claims "
			"2147483648 bytes, not 1 to 1048576" },
		{ 65536, 0xffffffff, "LZ4 chunk at stored offset 19 claims "
			"4294967295 bytes, not 1 to 1048576" },
		{ 65536, 500, "LZ4 chunk at stored offset 19 (500 bytes) "
			"does not decode" },
	};
	struct test_mail mail;
	struct istream *input;
	unsigned char zeros[500];
	unsigned int i;

	test_begin("stream: claims out of bounds are errors that say where");
	memset(zeros, 0, sizeof(zeros));
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_mail_init(&mail);
		test_stream_add_header(mail.stored, tests[i].max_chunk_size);
		test_stream_add_raw_chunk(mail.stored, tests[i].length, zeros,
					  sizeof(zeros));
		input = test_mail_open(&mail);
		test_assert_idx(i_stream_read(input) == -1, i);
		test_assert_idx(input->stream_errno == EINVAL, i);
		test_assert_strcmp_idx(i_stream_get_error(input),
				       tests[i].error, i);
		/* The error is final. */
		i_stream_seek(input, 0);
		test_assert_idx(i_stream_read(input) == -1, i);
		i_stream_unref(&input);
		test_mail_free(&mail);
	}
	test_end();
}

static void test_stream_not_lz4(void)
{
	struct istream *parent, *input;

	test_begin("stream: something else is not taken for LZ4");
	parent = i_stream_create_from_data(
		"From: someone@example.com\r\n\r\nbody\r\n", 35);
	input = i_stream_create_retention_lz4(parent, NULL, NULL);
	test_assert(i_stream_read(input) == -1);
	test_assert(input->stream_errno == EINVAL);
	test_assert_strcmp(i_stream_get_error(input),
			   "LZ4 header does not begin with the magic");
	i_stream_unref(&input);
	i_stream_unref(&parent);
	test_end();
}

static void test_stream_parent_error(void)
{
	struct test_mail mail;
	struct istream *parent, *failing, *input;
	uoff_t at;

	test_begin("stream: the parent's error is passed on");
	test_mail_create(&mail, TEST_LAYOUT_FULL, 200000);
	mail.told_size = mail.message->used;
	for (at = 0; at < mail.stored->used; at += 5003) {
		parent = i_stream_create_from_data(mail.stored->data,
						   mail.stored->used);
		failing = i_stream_create_failure_at(parent, at, EIO,
						     "bad sector");
		input = i_stream_create_retention_lz4(failing, test_mail_size,
						      &mail);
		test_assert(test_mail_read(&mail, input) < 200000);
		test_assert(input->stream_errno == EIO);
		test_assert_strcmp(i_stream_get_error(input), "bad sector");
		i_stream_unref(&input);
		i_stream_unref(&failing);
		i_stream_unref(&parent);
	}
	test_mail_free(&mail);
	test_end();
}

static void test_stream_keep_data_error(void)
{
	struct test_mail mail;
	struct istream *input;
	unsigned char *block = i_malloc(65536);
	const unsigned char *data, *message;
	buffer_t *second = buffer_create_dynamic(default_pool, 1024);
	size_t size;

	test_begin("stream: bytes not consumed stay where they are when what "
		   "follows does not decode");
	test_mail_init(&mail);
	test_stream_fill(mail.message, TEST_STREAM_RANDOM, 65536);
	test_mail_store(&mail, TEST_LAYOUT_FULL);
	/* Gives most of a chunk, and only then turns out to be damaged. */
	memset(block, 'x', 65536);
	test_stream_add_chunk(second, block, 57900);
	buffer_append(second, "\0\0", 2);
	size = second->used - 4;
	test_assert(size * 255 + 4000 <= 65536);
	test_stream_add_raw_chunk(mail.stored, size,
				  CONST_PTR_OFFSET(second->data, 4), size);
	input = test_mail_open(&mail);
	message = mail.message->data;
	test_assert(i_stream_read(input) == 65536);
	i_stream_skip(input, 65536 - 4000);
	data = i_stream_get_data(input, &size);
	test_assert(size == 4000);
	test_assert(memcmp(data, message + 61536, 4000) == 0);
	i_stream_set_max_buffer_size(input, 65536);
	test_assert(i_stream_read(input) == -1);
	test_assert(input->stream_errno == EINVAL);
	test_assert(memcmp(data, message + 61536, 4000) == 0);
	data = i_stream_get_data(input, &size);
	test_assert(size == 4000);
	test_assert(memcmp(data, message + 61536, 4000) == 0);
	i_stream_unref(&input);
	buffer_free(&second);
	i_free(block);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_fuzz_file(const char *path)
{
	struct istream *input = i_stream_create_file(path, 4096);
	buffer_t *data = buffer_create_dynamic(default_pool, 4096);
	const unsigned char *piece;
	size_t size;

	while (i_stream_read_more(input, &piece, &size) > 0) {
		buffer_append(data, piece, size);
		i_stream_skip(input, size);
	}
	test_assert(input->stream_errno == 0);
	/* It panics by itself. */
	(void)LLVMFuzzerTestOneInput(data->data, data->used);
	buffer_free(&data);
	i_stream_unref(&input);
}

static void test_stream_fuzz_corpus(void)
{
	const char *dir_path = TEST_DATA_DIR"/fuzz-stream";
	struct dirent *entry;
	unsigned int count = 0;
	DIR *dir;

	test_begin("stream: what the fuzzer came upon is read as it must be");
	dir = opendir(dir_path);
	test_assert(dir != NULL);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		T_BEGIN {
			test_stream_fuzz_file(t_strconcat(dir_path, "/",
							  entry->d_name, NULL));
		} T_END;
		count++;
	}
	if (dir != NULL)
		(void)closedir(dir);
	test_assert(count > 0);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_stream_seek_wrong_size,
		test_stream_lying_size,
		test_stream_undamaged_part,
		test_stream_cut,
		test_stream_flip,
		test_stream_claims,
		test_stream_not_lz4,
		test_stream_parent_error,
		test_stream_keep_data_error,
		test_stream_fuzz_corpus,
		NULL
	};
	return test_run(test_functions);
}
