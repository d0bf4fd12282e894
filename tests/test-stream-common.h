#ifndef TEST_STREAM_COMMON_H
#define TEST_STREAM_COMMON_H

struct istream;

enum test_stream_kind {
	/* Compresses well, base64 hardly, bytes all the same, not at all. */
	TEST_STREAM_TEXT,
	TEST_STREAM_BASE64,
	TEST_STREAM_SAME,
	TEST_STREAM_RANDOM,
	TEST_STREAM_KINDS
};

/* A seekable stream over data that gives at most piece_size bytes a read. With
   pauses, every other read returns 0 as a slow peer would; without, the stream
   is a blocking one. The caller keeps data. */
struct istream *
test_stream_pieces_create(const void *data, size_t size, size_t piece_size,
		     bool pauses);
/* Returns the end of what was read so far, and counts bytes. */
size_t test_stream_pieces_get_end(struct istream *input);
uoff_t test_stream_pieces_get_count(struct istream *input);

/* Next number of a generator; state must not be 0. */
uint32_t test_stream_random(uint32_t *state);
/* Append size bytes, always the same for a kind and size. */
void test_stream_fill(buffer_t *message, enum test_stream_kind kind,
		      size_t size);

/* Append the header, a chunk with the data, and a chunk as given. */
void test_stream_add_header(buffer_t *stored, uint32_t max_chunk_size);
void test_stream_add_chunk(buffer_t *stored, const void *data, size_t size);
void test_stream_add_raw_chunk(buffer_t *stored, uint32_t length,
			       const void *block, size_t size);

/* Decode a stored stream by the letter of the format, without Dovecot's
   streams. Returns 0 if it is whole, otherwise EPIPE or EINVAL; output then has
   the chunks before the fault. */
int test_stream_decode(const unsigned char *data, size_t size,
			    buffer_t *output);

#endif
