#ifndef RETENTION_LZ4_H
#define RETENTION_LZ4_H

/* The bytes of Dovecot's own LZ4 stream, told in retention-lz4.c. */

#define RETENTION_LZ4_MAGIC "Dovecot-LZ4\x0d\x2a\x9b\xc5"
#define RETENTION_LZ4_MAGIC_LEN 15
/* Magic and the maximum chunk length. */
#define RETENTION_LZ4_HEADER_LEN (RETENTION_LZ4_MAGIC_LEN + 4)
/* The length before each chunk. */
#define RETENTION_LZ4_CHUNK_HEADER_LEN 4
/* Message bytes in a chunk as we write it. */
#define RETENTION_LZ4_CHUNK_SIZE (64 * 1024)
/* The most that a header may claim, for message bytes in a chunk and for
   stored bytes of a chunk, before it is taken for damage. */
#define RETENTION_LZ4_MAX_CHUNK_SIZE (1024 * 1024)

/* Levels of retention_compression_level. */
#define RETENTION_LZ4_LEVEL_MIN 1
#define RETENTION_LZ4_LEVEL_MAX 12

/* Enough bytes to recognise every codec below. */
#define RETENTION_CODEC_MAGIC_MAX_LEN 16

/* Returns the name of the codec ("lz4", "gz", "bz2", "xz", "zstd" or
   "mail_crypt") whose magic the data begins with, NULL if there is none. The
   first RETENTION_CODEC_MAGIC_MAX_LEN bytes decide; fewer mean that the stream
   is no longer than that. */
const char *retention_codec_detect(const unsigned char *data, size_t size);

#endif
