#ifndef TEST_STREAM_MAIL_H
#define TEST_STREAM_MAIL_H

struct istream;

/* A message and its stored bytes in one of several layouts. */
struct test_mail {
	buffer_t *message, *stored;
	/* What the size callback says, UOFF_T_MAX for "not known". */
	uoff_t told_size;
	unsigned int size_calls;
};

enum test_layout {
	/* Full chunks of 64 KiB, as we write. */
	TEST_LAYOUT_FULL,
	/* Full chunks of 1000 bytes. */
	TEST_LAYOUT_SMALL,
	/* 64 KiB, but every third chunk is shorter, as after a flush. */
	TEST_LAYOUT_SHORT,
	/* Chunks of 1 to 3 bytes. */
	TEST_LAYOUT_TINY,
	/* One of the largest chunks there may be, then a small one. */
	TEST_LAYOUT_LARGE,
	/* Chunks that decode to nothing between the others. */
	TEST_LAYOUT_HOLES,
	TEST_LAYOUTS
};

/* An empty mail without stored bytes, its size not told. */
void test_mail_init(struct test_mail *mail);
void test_mail_free(struct test_mail *mail);
/* Append the message to the stored bytes in that layout. */
void test_mail_store(struct test_mail *mail, enum test_layout layout);
/* A mail of mixed text in that layout, its size not told. */
void test_mail_create(struct test_mail *mail, enum test_layout layout,
		      size_t size);

/* The size callback; its context is the mail. */
bool test_mail_size(void *context, uoff_t *size_r);
/* Open the stored bytes. The parent gives pieces as in
   test_stream_pieces_create(); the stream holds its only reference. */
struct istream *
test_mail_open_pieces(struct test_mail *mail, size_t piece_size, bool pauses,
		      struct istream **parent_r);
struct istream *test_mail_open(struct test_mail *mail);

/* Read to the end. Returns the number of bytes that came, all of them those of
   the message, or UOFF_T_MAX if not. */
uoff_t test_mail_read(const struct test_mail *mail, struct istream *input);
/* Seek and read once: the byte there must be that of the message. */
void test_mail_read_at(const struct test_mail *mail, struct istream *input,
		       uoff_t offset);

#endif
