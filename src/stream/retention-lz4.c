/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-lz4.h"

/* The stored format is Dovecot's own LZ4 stream, which its zlib (2.3) and
   mail_compress (2.4) plugins write and read as well. All integers are
   unsigned and big-endian.

     offset  bytes  field
     0       15     magic: "Dovecot-LZ4" 0d 2a 9b c5 (hex)
     15      4      the most message bytes that a chunk holds: 1 to 1048576
     19             chunks, one after the other, to the end of the stream

   A chunk:

     offset  bytes  field
     0       4      n, the stored bytes that follow: 1 to 1048576
     4       n      one LZ4 block, as of LZ4's block format description

   Each block decodes by itself, without a dictionary; the message is what the
   blocks give, joined in their order. Nothing tells how many chunks there are
   or how large the message is: the stream ends after a chunk, nothing may
   follow the last one, and no chunk need be full. So a stream that was cut
   between two chunks can be told from a whole one by the message size alone,
   and a reader may compute in which chunk an offset lies only once it has
   proof that all chunks but the last are full.

   We write chunks of 64 KiB of message, all full but the last and none empty,
   and as maximum the smaller of 64 KiB and the message size, because Dovecot's
   reader takes that much memory for every chunk. Dovecot writes 64 KiB as the
   maximum always, and a chunk that is not full wherever its output was flushed.
   A reader refuses a maximum or a length out of the ranges above; it takes a
   chunk that decodes to nothing as such and goes on. */

struct retention_codec {
	const char *name;
	const char *magic;
	unsigned int magic_len;
	/* The byte after the magic is a digit from 1 to 9. */
	bool digit_follows;
};

static const struct retention_codec retention_codecs[] = {
	{ "lz4", RETENTION_LZ4_MAGIC, RETENTION_LZ4_MAGIC_LEN, FALSE },
	{ "gz", "\x1f\x8b", 2, FALSE },
	{ "bz2", "BZh", 3, TRUE },
	{ "xz", "\xfd\x37\x7a\x58\x5a\x00", 6, FALSE },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, FALSE },
	{ "mail_crypt", "CRYPTED\x03\x07", 9, FALSE },
};

static bool
retention_codec_match(const struct retention_codec *codec,
		      const unsigned char *data, size_t size)
{
	if (size < codec->magic_len ||
	    memcmp(data, codec->magic, codec->magic_len) != 0)
		return FALSE;
	if (!codec->digit_follows)
		return TRUE;
	return size > codec->magic_len && data[codec->magic_len] >= '1' &&
		data[codec->magic_len] <= '9';
}

const char *retention_codec_detect(const unsigned char *data, size_t size)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(retention_codecs); i++) {
		if (retention_codec_match(&retention_codecs[i], data, size))
			return retention_codecs[i].name;
	}
	return NULL;
}
