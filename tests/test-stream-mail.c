/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "buffer.h"
#include "istream.h"
#include "istream-retention-lz4.h"
#include "test-common.h"
#include "test-stream-common.h"
#include "test-stream-mail.h"

static size_t test_layout_next(enum test_layout layout, unsigned int i)
{
	switch (layout) {
	case TEST_LAYOUT_FULL:
	case TEST_LAYOUT_HOLES:
		return 65536;
	case TEST_LAYOUT_SMALL:
		return 1000;
	case TEST_LAYOUT_SHORT:
		return i % 3 == 1 ? 1 + i * 321 : 65536;
	case TEST_LAYOUT_TINY:
		return 1 + i % 3;
	case TEST_LAYOUT_LARGE:
		return 1044464;
	case TEST_LAYOUTS:
		break;
	}
	i_unreached();
}

static uint32_t test_layout_max(enum test_layout layout)
{
	switch (layout) {
	case TEST_LAYOUT_SMALL:
		return 1000;
	case TEST_LAYOUT_TINY:
		return 3;
	case TEST_LAYOUT_LARGE:
		return 1044464;
	default:
		return 65536;
	}
}

void test_mail_store(struct test_mail *mail, enum test_layout layout)
{
	size_t pos = 0, size;
	unsigned int i;

	test_stream_add_header(mail->stored, test_layout_max(layout));
	for (i = 0; pos < mail->message->used; i++) {
		size = I_MIN(test_layout_next(layout, i),
			     mail->message->used - pos);
		test_stream_add_chunk(mail->stored,
			CONST_PTR_OFFSET(mail->message->data, pos), size);
		pos += size;
		if (layout == TEST_LAYOUT_HOLES)
			test_stream_add_raw_chunk(mail->stored, 1, "\0", 1);
	}
}

void test_mail_init(struct test_mail *mail)
{
	i_zero(mail);
	mail->message = buffer_create_dynamic(default_pool, 1024);
	mail->stored = buffer_create_dynamic(default_pool, 1024);
	mail->told_size = UOFF_T_MAX;
}

void test_mail_create(struct test_mail *mail, enum test_layout layout,
		      size_t size)
{
	test_mail_init(mail);
	test_stream_fill(mail->message, TEST_STREAM_TEXT, size - size / 3);
	test_stream_fill(mail->message, TEST_STREAM_RANDOM, size / 3);
	test_mail_store(mail, layout);
}

void test_mail_free(struct test_mail *mail)
{
	buffer_free(&mail->message);
	buffer_free(&mail->stored);
}

bool test_mail_size(void *context, uoff_t *size_r)
{
	struct test_mail *mail = context;

	mail->size_calls++;
	*size_r = mail->told_size;
	return mail->told_size != UOFF_T_MAX;
}

struct istream *
test_mail_open_pieces(struct test_mail *mail, size_t piece_size, bool pauses,
		      struct istream **parent_r)
{
	struct istream *parent, *input;

	parent = test_stream_pieces_create(mail->stored->data,
					   mail->stored->used, piece_size,
					   pauses);
	i_stream_set_max_buffer_size(parent, 8192);
	input = i_stream_create_retention_lz4(parent, test_mail_size, mail);
	if (parent_r != NULL)
		*parent_r = parent;
	i_stream_unref(&parent);
	return input;
}

struct istream *test_mail_open(struct test_mail *mail)
{
	return test_mail_open_pieces(mail, 8192, FALSE, NULL);
}

uoff_t test_mail_read(const struct test_mail *mail, struct istream *input)
{
	const unsigned char *data;
	size_t size;
	int ret;

	while ((ret = i_stream_read_more(input, &data, &size)) >= 0) {
		if (ret == 0) {
			test_assert(!input->blocking);
			continue;
		}
		if (input->v_offset + size > mail->message->used ||
		    memcmp(data, CONST_PTR_OFFSET(mail->message->data,
			   input->v_offset), size) != 0)
			return UOFF_T_MAX;
		i_stream_skip(input, size);
	}
	test_assert(input->eof);
	return input->v_offset;
}

void test_mail_read_at(const struct test_mail *mail, struct istream *input,
		       uoff_t offset)
{
	const unsigned char *data;
	size_t size;
	int ret;

	i_stream_seek(input, offset);
	test_assert_idx(input->v_offset == offset, offset);
	ret = i_stream_read_more(input, &data, &size);
	if (offset >= mail->message->used) {
		test_assert_idx(ret == -1, offset);
		test_assert_idx(input->eof && input->stream_errno == 0, offset);
		return;
	}
	test_assert_idx(ret == 1, offset);
	if (ret == 1) {
		test_assert_idx(offset + size <= mail->message->used &&
			memcmp(data, CONST_PTR_OFFSET(mail->message->data,
						      offset), size) == 0,
			offset);
	}
}
