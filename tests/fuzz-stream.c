/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "buffer.h"
#include "istream.h"
#include "retention-lz4.h"
#include "istream-retention-lz4.h"
#include "test-stream-common.h"
#include "fuzz-stream.h"

/* Target for libFuzzer: read a stream in every way there is and compare with
   what a plain decoder gives. An input has

     1 byte   bits 0-1: the size callback (none, right, wrong, "not known"),
              bits 2-4: how much the parent gives a read, bit 5: with pauses,
              bit 6: the reader's buffer limit is small
     1 byte   number n of operations, modulo 32
     n times  1 byte what to do, 2 bytes big-endian offset (in 1/65536 of the
              message, a little more than its end included) or count
     ...      the stored bytes

   The rules: read in order, the stream gives what the plain decoder gives, and
   ends with the same error. Read anywhere, every byte is the one at its offset.
   With a size that is wrong only the bytes in order must be right, as far as
   they are given. */

enum fuzz_size {
	FUZZ_SIZE_NONE,
	FUZZ_SIZE_RIGHT,
	FUZZ_SIZE_WRONG,
	FUZZ_SIZE_UNKNOWN,
};

enum fuzz_op {
	FUZZ_OP_SEEK,
	FUZZ_OP_SEEK_READ,
	FUZZ_OP_READ,
	FUZZ_OP_READ_KEEP,
	FUZZ_OP_SKIP,
	FUZZ_OP_SIZE,
	FUZZ_OP_NEXT_LINE,
	FUZZ_OP_SYNC,
	FUZZ_OP_COUNT
};

struct fuzz_case {
	enum fuzz_size size_mode;
	size_t piece_size, max_buffer_size;
	bool pauses;
	const uint8_t *ops;
	unsigned int ops_count;
	const uint8_t *stored;
	size_t stored_size;

	/* What the plain decoder gives. */
	buffer_t *message;
	int message_errno;
	/* What the callback says. */
	uoff_t told_size;
};

static bool fuzz_size_callback(void *context, uoff_t *size_r)
{
	struct fuzz_case *fuzz = context;

	*size_r = fuzz->told_size;
	return fuzz->size_mode != FUZZ_SIZE_UNKNOWN;
}

static bool fuzz_parse(struct fuzz_case *fuzz, const uint8_t *data, size_t size)
{
	static const size_t piece_sizes[] = {
		SIZE_MAX, 1, 3, 7, 64, 1000, 4096, 8192
	};

	if (size < 2)
		return FALSE;
	fuzz->size_mode = data[0] & 3;
	fuzz->piece_size = piece_sizes[(data[0] >> 2) & 7];
	fuzz->pauses = (data[0] & 0x20) != 0;
	fuzz->max_buffer_size = (data[0] & 0x40) != 0 ? 1 : 8192;
	fuzz->ops_count = data[1] % 32;
	fuzz->ops = data + 2;
	if (size < 2 + fuzz->ops_count * 3)
		return FALSE;
	fuzz->stored = fuzz->ops + fuzz->ops_count * 3;
	fuzz->stored_size = size - 2 - fuzz->ops_count * 3;
	return TRUE;
}

static struct istream *fuzz_open(struct fuzz_case *fuzz)
{
	struct istream *parent, *input;

	parent = test_stream_pieces_create(fuzz->stored, fuzz->stored_size,
				      fuzz->piece_size, fuzz->pauses);
	/* Its own limit is not what is to be tested. */
	i_stream_set_max_buffer_size(parent, fuzz->max_buffer_size);
	input = i_stream_create_retention_lz4(parent,
		fuzz->size_mode == FUZZ_SIZE_NONE ? NULL : fuzz_size_callback,
		fuzz);
	i_stream_unref(&parent);
	return input;
}

/* Read once more, pauses left out. */
static int fuzz_read(struct istream *input)
{
	int ret;

	while ((ret = i_stream_read(input)) == 0)
		i_assert(!input->blocking);
	return ret;
}

/* The bytes in the buffer must be those at the stream's offset. */
static void fuzz_check_data(struct fuzz_case *fuzz, struct istream *input)
{
	const unsigned char *data;
	size_t size;

	data = i_stream_get_data(input, &size);
	if (size == 0 || fuzz->size_mode == FUZZ_SIZE_WRONG)
		return;
	i_assert(input->v_offset + size <= fuzz->message->used);
	i_assert(memcmp(data, CONST_PTR_OFFSET(fuzz->message->data,
					       input->v_offset), size) == 0);
}

/* The stream ended: was that right? */
static void fuzz_check_end(struct fuzz_case *fuzz, struct istream *input)
{
	if (fuzz->size_mode == FUZZ_SIZE_WRONG) {
		i_assert(input->stream_errno == 0 ||
			 input->stream_errno == EPIPE ||
			 input->stream_errno == EINVAL);
		return;
	}
	i_assert(input->eof);
	i_assert(input->stream_errno == fuzz->message_errno);
	if (input->stream_errno == 0) {
		i_assert(input->v_offset + i_stream_get_data_size(input) >=
			 fuzz->message->used);
	}
}

static void fuzz_sequential(struct fuzz_case *fuzz)
{
	struct istream *input = fuzz_open(fuzz);
	uoff_t reads = 0;
	size_t size;
	int ret;

	while ((ret = fuzz_read(input)) > 0) {
		fuzz_check_data(fuzz, input);
		(void)i_stream_get_data(input, &size);
		i_assert(size > 0);
		i_stream_skip(input, size);
		/* Each read gives a byte at least. */
		i_assert(++reads <= fuzz->message->used);
	}
	i_assert(ret == -1);
	fuzz_check_end(fuzz, input);
	if (fuzz->size_mode != FUZZ_SIZE_WRONG || input->stream_errno == 0)
		i_assert(input->v_offset == fuzz->message->used);
	i_stream_unref(&input);
}

static void fuzz_size(struct fuzz_case *fuzz, struct istream *input)
{
	uoff_t size;
	int ret;

	ret = i_stream_get_size(input, TRUE, &size);
	if (ret > 0 && fuzz->size_mode != FUZZ_SIZE_WRONG) {
		i_assert(fuzz->message_errno == 0);
		i_assert(size == fuzz->message->used);
	}
	if (ret < 0)
		fuzz_check_end(fuzz, input);
	if (ret == 0)
		i_assert(!input->blocking);
}

static void
fuzz_run_op(struct fuzz_case *fuzz, struct istream *input, const uint8_t *op)
{
	unsigned int arg = (op[1] << 8) | op[2];
	uoff_t offset = (fuzz->message->used + 16) * (uoff_t)arg / 65536;
	unsigned char kept[4];
	const unsigned char *data;
	size_t size;
	int ret;

	switch ((enum fuzz_op)(op[0] % FUZZ_OP_COUNT)) {
	case FUZZ_OP_SEEK:
		i_stream_seek(input, offset);
		break;
	case FUZZ_OP_SEEK_READ:
		i_stream_seek(input, offset);
		if (fuzz_read(input) == -1)
			fuzz_check_end(fuzz, input);
		break;
	case FUZZ_OP_READ:
		ret = fuzz_read(input);
		(void)i_stream_get_data(input, &size);
		if (ret == -1)
			fuzz_check_end(fuzz, input);
		i_stream_skip(input, I_MIN(size, arg));
		break;
	case FUZZ_OP_READ_KEEP:
		/* Old pointers stay when nothing new is read. */
		data = i_stream_get_data(input, &size);
		size = I_MIN(size, sizeof(kept));
		if (size > 0)
			memcpy(kept, data, size);
		ret = i_stream_read(input);
		if (ret <= 0 && size > 0)
			i_assert(memcmp(kept, data, size) == 0);
		break;
	case FUZZ_OP_SKIP:
		i_stream_skip(input, arg);
		break;
	case FUZZ_OP_SIZE:
		fuzz_size(fuzz, input);
		break;
	case FUZZ_OP_NEXT_LINE:
		(void)i_stream_next_line(input);
		break;
	case FUZZ_OP_SYNC:
		i_stream_sync(input);
		break;
	case FUZZ_OP_COUNT:
		i_unreached();
	}
}

static void fuzz_anywhere(struct fuzz_case *fuzz)
{
	struct istream *input = fuzz_open(fuzz);
	unsigned int i;

	for (i = 0; i < fuzz->ops_count; i++) {
		fuzz_run_op(fuzz, input, fuzz->ops + i * 3);
		fuzz_check_data(fuzz, input);
		if (input->stream_errno != 0) {
			/* An error is final. */
			i_stream_unref(&input);
			input = fuzz_open(fuzz);
		}
	}
	i_stream_unref(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_case fuzz;

	i_zero(&fuzz);
	if (!fuzz_parse(&fuzz, data, size))
		return 0;
	fuzz.message = buffer_create_dynamic(default_pool, 1024);
	fuzz.message_errno = test_stream_decode(fuzz.stored,
		fuzz.stored_size, fuzz.message);
	fuzz.told_size = fuzz.message->used;
	if (fuzz.size_mode == FUZZ_SIZE_WRONG && fuzz.ops_count > 0) {
		/* One more, or a number out of the input. */
		fuzz.told_size = (fuzz.ops[0] & 0x80) == 0 ?
			fuzz.told_size + 1 :
			(uoff_t)fuzz.ops[1] << (fuzz.ops[2] % 40);
	}
	T_BEGIN {
		fuzz_sequential(&fuzz);
	} T_END;
	T_BEGIN {
		fuzz_anywhere(&fuzz);
	} T_END;
	buffer_free(&fuzz.message);
	return 0;
}
