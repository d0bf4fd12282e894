/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "buffer.h"
#include "hex-binary.h"
#include "istream-private.h"
#include "ostream.h"
#include "compression.h"
#include "retention-lz4.h"
#include "retention-encode.h"
#include "istream-retention-lz4.h"
#include "test-common.h"
#include "test-stream-common.h"
#include "test-stream-mail.h"

static void test_stream_layouts(void)
{
	static const size_t sizes[] = { 1, 2, 999, 65536, 65537, 200000 };
	static const size_t pieces[] = { 1, 1000, SIZE_MAX };
	struct test_mail mail;
	struct istream *input;
	unsigned int layout, i, j;

	test_begin("stream: every layout is read, however the parent gives it");
	for (layout = 0; layout < TEST_LAYOUTS; layout++) {
		for (i = 0; i < N_ELEMENTS(sizes); i++) {
			if (layout == TEST_LAYOUT_TINY && sizes[i] > 999)
				continue;
			test_mail_create(&mail, layout, sizes[i]);
			for (j = 0; j < N_ELEMENTS(pieces) * 2; j++) {
				mail.told_size = j % 2 == 0 ? UOFF_T_MAX :
					sizes[i];
				input = test_mail_open_pieces(&mail,
					pieces[j / 2], j % 2 == 0, NULL);
				test_assert_idx(test_mail_read(&mail, input) ==
						sizes[i], layout);
				test_assert_idx(input->stream_errno == 0,
						layout);
				i_stream_unref(&input);
			}
			test_mail_free(&mail);
		}
	}
	test_end();
}

static void test_stream_empty(void)
{
	struct test_mail mail;
	struct istream *input;
	uoff_t size;

	test_begin("stream: no chunk at all is an empty message");
	test_mail_init(&mail);
	mail.told_size = 0;
	test_mail_store(&mail, TEST_LAYOUT_FULL);
	test_assert(mail.stored->used == RETENTION_LZ4_HEADER_LEN);
	input = test_mail_open(&mail);
	test_assert(i_stream_get_size(input, TRUE, &size) == 1 && size == 0);
	test_assert(test_mail_read(&mail, input) == 0);
	test_assert(input->stream_errno == 0);
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_tiny_buffer(void)
{
	struct test_mail mail;
	struct istream *input;
	const unsigned char *data;
	size_t size;
	uoff_t offset = 0;

	test_begin("stream: with a buffer of one byte nothing is lost");
	test_mail_create(&mail, TEST_LAYOUT_SHORT, 200000);
	input = test_mail_open(&mail);
	i_stream_set_max_buffer_size(input, 1);
	while (i_stream_read(input) > 0) {
		/* Nothing was consumed, so there is no room. */
		test_assert(i_stream_read(input) == -2);
		do {
			data = i_stream_get_data(input, &size);
			if (*data != ((const unsigned char *)
				      mail.message->data)[offset])
				break;
			i_stream_skip(input, 1);
			offset++;
		} while (size > 1);
	}
	test_assert(offset == mail.message->used);
	test_assert(input->eof && input->stream_errno == 0);
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_keep_data(void)
{
	struct test_mail mail;
	struct istream *input;
	const unsigned char *data, *message;
	unsigned int pass;
	size_t size, left;
	ssize_t ret;

	test_begin("stream: bytes not consumed stay, at the address they had "
		   "if nothing was read");
	test_mail_create(&mail, TEST_LAYOUT_SHORT, 300000);
	message = mail.message->data;
	for (pass = 0; pass < 3; pass++) {
		/* 0: a few bytes stay, 1: half a buffer, 2: more than it */
		left = pass == 0 ? 5 : (pass == 1 ? 4096 : 70000);
		input = test_mail_open(&mail);
		for (;;) {
			data = i_stream_get_data(input, &size);
			ret = i_stream_read(input);
			if (ret <= 0) {
				test_assert(size == 0 || memcmp(data,
					message + input->v_offset, size) == 0);
			}
			if (ret == -1)
				break;
			data = i_stream_get_data(input, &size);
			test_assert(memcmp(data, message + input->v_offset,
					   size) == 0);
			/* The limit is exceeded by no more than a chunk. */
			test_assert(size <= 8192 + 65536);
			if (size > left)
				i_stream_skip(input, size - left);
			else if (ret == -2)
				i_stream_skip(input, size / 2 + 1);
		}
		(void)i_stream_get_data(input, &size);
		test_assert(input->stream_errno == 0);
		test_assert(input->v_offset + size == mail.message->used);
		i_stream_unref(&input);
	}
	test_mail_free(&mail);
	test_end();
}

static void test_stream_nonpersistent(void)
{
	struct test_mail mail;
	struct istream *input;
	uoff_t offset;

	test_begin("stream: the buffer may be taken away once it is consumed");
	test_mail_create(&mail, TEST_LAYOUT_SHORT, 300000);
	input = test_mail_open(&mail);
	input->real_stream->nonpersistent_buffers = TRUE;
	test_assert(test_mail_read(&mail, input) == 300000);
	for (offset = 0; offset < 300000; offset += 9999) {
		test_mail_read_at(&mail, input, offset);
		test_mail_read_at(&mail, input, offset / 2);
		i_stream_skip(input, i_stream_get_data_size(input));
	}
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_sync(void)
{
	struct test_mail mail;
	struct istream *input;
	unsigned char *bytes;
	buffer_t *rotated = buffer_create_dynamic(default_pool, 1024);
	size_t first, size = 3 * 65536 + 322;

	test_begin("stream: after a sync nothing is left of what it was");
	test_mail_create(&mail, TEST_LAYOUT_SHORT, size);
	input = test_mail_open(&mail);
	test_assert(test_mail_read(&mail, input) == mail.message->used);
	test_mail_read_at(&mail, input, 60000);

	/* The same chunks, but the first one is now the last. */
	bytes = buffer_get_modifiable_data(mail.stored, NULL);
	bytes += RETENTION_LZ4_HEADER_LEN;
	first = 4 + be32_to_cpu_unaligned(bytes);
	buffer_append(rotated, bytes + first,
		      mail.stored->used - RETENTION_LZ4_HEADER_LEN - first);
	buffer_append(rotated, bytes, first);
	memcpy(bytes, rotated->data, rotated->used);
	buffer_set_used_size(rotated, 0);
	buffer_append(rotated, CONST_PTR_OFFSET(mail.message->data, 65536),
		      size - 65536);
	buffer_append(rotated, mail.message->data, 65536);
	buffer_free(&mail.message);
	mail.message = rotated;

	i_stream_sync(input);
	test_mail_read_at(&mail, input, 140000);
	test_mail_read_at(&mail, input, 300);
	test_mail_read_at(&mail, input, 65600);
	i_stream_seek(input, 0);
	test_assert(test_mail_read(&mail, input) == mail.message->used);
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_seek_edges(struct test_mail *mail)
{
	struct istream *input = test_mail_open(mail);
	uoff_t offset;
	int i;

	/* Backwards and forwards round each edge of 64 KiB and the end. */
	for (offset = mail->message->used + 10; offset >= 65536;
	     offset -= 65536) {
		for (i = 2; i >= -2; i--)
			test_mail_read_at(mail, input,
					  offset / 65536 * 65536 + i);
	}
	for (offset = 0; offset < mail->message->used + 65536;
	     offset += 65536) {
		for (i = 0; i <= 2; i++)
			test_mail_read_at(mail, input, offset + i);
	}
	test_mail_read_at(mail, input, mail->message->used - 1);
	test_mail_read_at(mail, input, mail->message->used);
	test_mail_read_at(mail, input, 0);
	test_mail_read_at(mail, input, UOFF_T_MAX);
	test_mail_read_at(mail, input, 1);
	i_stream_unref(&input);
}

static void test_stream_seek_random(struct test_mail *mail)
{
	uint32_t state = 88172645;
	struct istream *input;
	const unsigned char *data;
	unsigned int i, j;
	size_t size;

	for (i = 0; i < 5; i++) {
		/* The first seek is into the fresh stream. */
		input = test_mail_open(mail);
		for (j = 0; j < 100; j++) {
			test_mail_read_at(mail, input,
				test_stream_random(&state) %
				(mail->message->used + 100));
			data = i_stream_get_data(input, &size);
			(void)data;
			i_stream_skip(input, size / (1 + j % 3));
			if (j % 10 == 0)
				i_stream_sync(input);
		}
		i_stream_seek(input, 0);
		test_assert(test_mail_read(mail, input) ==
			    mail->message->used);
		i_stream_unref(&input);
	}
}

static void test_stream_seek(void)
{
	struct test_mail mail;
	unsigned int layout;

	test_begin("stream: seeks anywhere, with and without the message size");
	for (layout = 0; layout < TEST_LAYOUTS; layout++) {
		test_mail_create(&mail, layout, layout == TEST_LAYOUT_TINY ?
				 20000 : 700000);
		test_stream_seek_edges(&mail);
		test_stream_seek_random(&mail);
		mail.told_size = mail.message->used;
		test_stream_seek_edges(&mail);
		test_stream_seek_random(&mail);
		test_mail_free(&mail);
	}
	test_end();
}

static void test_stream_back_and_forth(void)
{
	struct test_mail mail;
	struct istream *parent, *input;
	uoff_t count;
	unsigned int i;

	test_begin("stream: a seek within the chunk does not read it again");
	test_mail_create(&mail, TEST_LAYOUT_FULL, 300000);
	input = test_mail_open_pieces(&mail, 4096, FALSE, &parent);
	test_mail_read_at(&mail, input, 70000);
	count = test_stream_pieces_get_count(parent);
	for (i = 0; i < 100; i++)
		test_mail_read_at(&mail, input, 65536 + i * 7919 % 65536);
	test_assert(test_stream_pieces_get_count(parent) == count);
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_unseekable(void)
{
	struct test_mail mail;
	struct istream *parent, *input;

	test_begin("stream: a parent that cannot seek is read in order");
	test_mail_create(&mail, TEST_LAYOUT_FULL, 300000);
	mail.told_size = mail.message->used;
	parent = test_stream_pieces_create(mail.stored->data,
					   mail.stored->used, 4096, FALSE);
	parent->seekable = FALSE;
	input = i_stream_create_retention_lz4(parent, test_mail_size, &mail);
	test_assert(!input->seekable);
	test_mail_read_at(&mail, input, 100);
	test_mail_read_at(&mail, input, 200000);
	test_assert(test_mail_read(&mail, input) == mail.message->used);
	i_stream_seek(input, 100);
	test_assert(i_stream_read(input) == -1);
	test_assert(input->stream_errno == ESPIPE);
	i_stream_unref(&input);
	i_stream_unref(&parent);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_header_only(void)
{
	struct test_mail mail;
	struct istream *parent, *input;
	uint32_t length;

	test_begin("stream: the first bytes cost the first chunk only");
	test_mail_create(&mail, TEST_LAYOUT_FULL, 3000000);
	mail.told_size = mail.message->used;
	length = be32_to_cpu_unaligned(
		CONST_PTR_OFFSET(mail.stored->data, RETENTION_LZ4_HEADER_LEN));
	input = test_mail_open_pieces(&mail, 4096, FALSE, &parent);
	test_mail_read_at(&mail, input, 0);
	test_mail_read_at(&mail, input, 65535);
	test_assert(test_stream_pieces_get_end(parent) <
		    RETENTION_LZ4_HEADER_LEN + 4 + length + 4096);
	test_assert(test_stream_pieces_get_count(parent) <
		    RETENTION_LZ4_HEADER_LEN + 4 + length + 4096);
	test_assert(mail.size_calls == 0);
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_get_size(void)
{
	struct test_mail mail;
	struct istream *input;
	const struct stat *st;
	unsigned int layout, i;
	uoff_t message_size, size;

	test_begin("stream: exact size, stored size when it need not be exact");
	for (layout = 0; layout < TEST_LAYOUTS; layout++) {
		message_size = layout == TEST_LAYOUT_TINY ? 20000 : 200000;
		test_mail_create(&mail, layout, message_size);
		for (i = 0; i < 4; i++) {
			/* Known or not, of a fresh stream or a used one. */
			mail.told_size = i % 2 == 0 ? UOFF_T_MAX : message_size;
			input = test_mail_open(&mail);
			if (i >= 2)
				test_mail_read_at(&mail, input,
						  message_size / 2);
			test_assert(i_stream_get_size(input, FALSE,
						      &size) == 1);
			test_assert(size == mail.stored->used);
			test_assert(i_stream_get_size(input, TRUE,
						      &size) == 1);
			test_assert_idx(size == message_size, layout);
			test_assert(i_stream_stat(input, TRUE, &st) == 0 &&
				    (uoff_t)st->st_size == message_size);
			test_assert(input->v_offset ==
				    (i >= 2 ? message_size / 2 : 0));
			i_stream_seek(input, 0);
			test_assert(test_mail_read(&mail, input) ==
				    message_size);
			i_stream_unref(&input);
		}
		test_mail_free(&mail);
	}
	test_end();
}

static void test_stream_shared_parent(void)
{
	struct test_mail mail[2];
	struct istream *file, *range, *input[2];
	buffer_t *both = buffer_create_dynamic(default_pool, 1024);
	const unsigned char *data;
	size_t size;
	unsigned int i, turn;

	test_begin("stream: two messages are read in turns out of one file");
	for (i = 0; i < 2; i++) {
		test_mail_create(&mail[i], TEST_LAYOUT_SHORT, 300000 + i * 999);
		mail[i].told_size = mail[i].message->used;
		buffer_append(both, "some header", 11);
		buffer_append_buf(both, mail[i].stored, 0, SIZE_MAX);
	}
	file = test_stream_pieces_create(both->data, both->used, 4096, FALSE);
	for (i = 0; i < 2; i++) {
		range = i_stream_create_range(file,
			11 + i * (11 + mail[0].stored->used),
			mail[i].stored->used);
		input[i] = i_stream_create_retention_lz4(range, test_mail_size,
							 &mail[i]);
		i_stream_unref(&range);
	}
	for (turn = 0; turn < 200; turn++) {
		i = turn % 2;
		if (turn % 20 > 15) {
			test_mail_read_at(&mail[i], input[i],
					  turn * 7919 % 300000);
			i_stream_seek(file, turn);
		}
		if (i_stream_read_more(input[i], &data, &size) <= 0)
			continue;
		test_assert(memcmp(data, CONST_PTR_OFFSET(
			mail[i].message->data, input[i]->v_offset), size) == 0);
		i_stream_skip(input[i], I_MIN(size, 5000));
	}
	for (i = 0; i < 2; i++) {
		test_assert(test_mail_read(&mail[i], input[i]) ==
			    mail[i].message->used);
		i_stream_unref(&input[i]);
		test_mail_free(&mail[i]);
	}
	i_stream_unref(&file);
	buffer_free(&both);
	test_end();
}

static void test_stream_lines(void)
{
	struct test_mail mail;
	struct istream *input;
	unsigned int lines = 0;

	test_begin("stream: bytes read as lines come again unchanged");
	test_mail_init(&mail);
	test_stream_fill(mail.message, TEST_STREAM_TEXT, 50000);
	test_mail_store(&mail, TEST_LAYOUT_FULL);
	input = test_mail_open(&mail);
	while (lines < 100 && i_stream_read_next_line(input) != NULL)
		lines++;
	test_assert(lines == 100);
	i_stream_seek(input, 0);
	test_assert(test_mail_read(&mail, input) == mail.message->used);
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static void test_stream_many_chunks(void)
{
	struct test_mail mail;
	struct istream *input;
	unsigned int i;

	test_begin("stream: many chunks of nothing but one byte");
	test_mail_init(&mail);
	test_stream_add_header(mail.stored, 1);
	for (i = 0; i < 20000; i++) {
		buffer_append_c(mail.message, i * 7);
		/* One literal byte. */
		test_stream_add_raw_chunk(mail.stored, 2,
			(const unsigned char []){ 0x10, i * 7 }, 2);
		test_stream_add_raw_chunk(mail.stored, 1, "\0", 1);
	}
	input = test_mail_open(&mail);
	test_mail_read_at(&mail, input, 19999);
	test_mail_read_at(&mail, input, 7000);
	i_stream_seek(input, 0);
	test_assert(test_mail_read(&mail, input) == 20000);
	i_stream_unref(&input);
	test_mail_free(&mail);
	test_end();
}

static struct ostream *test_stock_ostream(struct ostream *output)
{
	const struct compression_handler *handler;

	if (compression_lookup_handler("lz4", &handler) != 1)
		i_fatal("Dovecot was built without LZ4");
#if RETENTION_DOVECOT24
	return handler->create_ostream_auto(output, NULL);
#else
	return handler->create_ostream(output, 1);
#endif
}

static void test_stream_stock_writes(void)
{
	static const size_t sizes[] = { 1, 100, 65535, 65536, 65537, 300000 };
	struct test_mail mail;
	struct istream *input;
	struct ostream *parent, *output;
	unsigned int i, flushes;
	size_t pos, size;

	test_begin("stream: reads what Dovecot's own writer stores");
	for (i = 0; i < N_ELEMENTS(sizes) * 2; i++) {
		test_mail_init(&mail);
		test_stream_fill(mail.message, TEST_STREAM_TEXT, sizes[i / 2]);
		parent = test_ostream_create(mail.stored);
		output = test_stock_ostream(parent);
		flushes = i % 2;
		for (pos = 0; pos < mail.message->used; pos += size) {
			size = I_MIN(mail.message->used - pos, 8192);
			o_stream_nsend(output, CONST_PTR_OFFSET(
				mail.message->data, pos), size);
			/* Leaves a chunk that is not full. */
			if (flushes != 0 && pos % 3 == 0)
				test_assert(o_stream_flush(output) == 1);
		}
		test_assert(o_stream_finish(output) == 1);
		o_stream_destroy(&output);
		o_stream_destroy(&parent);

		mail.told_size = mail.message->used;
		input = test_mail_open(&mail);
		test_mail_read_at(&mail, input, mail.message->used / 10 * 9);
		test_mail_read_at(&mail, input, mail.message->used / 2);
		i_stream_seek(input, 0);
		test_assert_idx(test_mail_read(&mail, input) == sizes[i / 2],
				i);
		test_assert_idx(input->stream_errno == 0, i);
		i_stream_unref(&input);
		test_mail_free(&mail);
	}
	test_end();
}

/* The two of Dovecot were written by its 2.3.19 and, byte for byte the same, by
   2.4.1; the second with a flush after every 40000 bytes. */
static const struct {
	const char *name;
	uoff_t size;
	const char *digest;
} test_golden_files[] = {
	{ "dovecot.lz4", 141500,
	  "3cc6aa70324fe3389cdf5f073fce7af23be0aa67d24e1a197cd0e1db2c3c44ae" },
	{ "dovecot-flushed.lz4", 141500,
	  "3cc6aa70324fe3389cdf5f073fce7af23be0aa67d24e1a197cd0e1db2c3c44ae" },
	{ "retention-level9.lz4", 141500,
	  "3cc6aa70324fe3389cdf5f073fce7af23be0aa67d24e1a197cd0e1db2c3c44ae" },
	{ "retention-level9-small.lz4", 500,
	  "ec0b92635a81c1f36228d226f846577faeef51baf6369a99c174a43a96b52815" },
};

static void
test_golden_check(struct istream *input, unsigned int i)
{
	unsigned char digest[RETENTION_DIGEST_LEN];
	const char *error;
	uoff_t size;

	test_assert_idx(retention_digest_stream(input, digest, &size,
						&error) == 0, i);
	test_assert_idx(size == test_golden_files[i].size, i);
	test_assert_strcmp_idx(binary_to_hex(digest, sizeof(digest)),
			       test_golden_files[i].digest, i);
}

static void test_stream_golden(void)
{
	const struct compression_handler *handler;
	struct istream *parent, *input;
	const char *path;
	unsigned int i;

	test_begin("stream: golden files, for our reader and Dovecot's");
	test_assert(compression_lookup_handler("lz4", &handler) == 1);
	for (i = 0; i < N_ELEMENTS(test_golden_files); i++) {
		path = t_strconcat(TEST_DATA_DIR"/stream/",
				   test_golden_files[i].name, NULL);
		parent = i_stream_create_file(path, 4096);
		input = i_stream_create_retention_lz4(parent, NULL, NULL);
		test_golden_check(input, i);
		i_stream_unref(&input);
		i_stream_seek(parent, 0);
		input = handler->create_istream(parent);
		test_golden_check(input, i);
		i_stream_unref(&input);
		i_stream_unref(&parent);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_stream_layouts,
		test_stream_empty,
		test_stream_tiny_buffer,
		test_stream_keep_data,
		test_stream_nonpersistent,
		test_stream_sync,
		test_stream_seek,
		test_stream_back_and_forth,
		test_stream_unseekable,
		test_stream_header_only,
		test_stream_get_size,
		test_stream_shared_parent,
		test_stream_lines,
		test_stream_many_chunks,
		test_stream_stock_writes,
		test_stream_golden,
		NULL
	};
	return test_run(test_functions);
}
