#ifndef RETENTION_ENCODE_H
#define RETENTION_ENCODE_H

struct istream;
struct ostream;

#define RETENTION_DIGEST_LEN 32

enum retention_encode_result {
	/* Encoded, and smaller than before. */
	RETENTION_ENCODE_DONE,
	/* Would not be smaller; what was written to output is of no use. */
	RETENTION_ENCODE_NO_GAIN,
	/* Begins with a codec's magic; nothing was written. */
	RETENTION_ENCODE_MAGIC,
	/* Reading or writing failed. */
	RETENTION_ENCODE_ERROR,
};

struct retention_encoding {
	/* Bytes of the message and of what is stored. */
	uoff_t plain_size, stored_size;
	/* SHA-256 of the message. */
	unsigned char digest[RETENTION_DIGEST_LEN];
};

/* Encode input, from its current offset to its end, as an LZ4 stream to
   output. size is the number of bytes in input; if it turns out otherwise,
   that is an error. Takes less than half a MiB of memory, whatever the size.
   Stops early, with NO_GAIN, once the stored bytes reach size. level is that of
   retention_compression_level. output is flushed on DONE. error_r is set on
   ERROR. */
enum retention_encode_result
retention_encode(struct istream *input, uoff_t size, struct ostream *output,
		 unsigned int level, struct retention_encoding *encoding_r,
		 const char **error_r);

/* Read stored, from its current offset to its end, decode it with
   istream-retention-lz4 and compare with the encoding. Returns 0 if length and
   digest are the same, -1 with error_r otherwise. */
int retention_encode_verify(struct istream *stored,
			    const struct retention_encoding *encoding,
			    const char **error_r);

/* SHA-256 and number of the bytes in input, from its current offset to its
   end. Returns 0 on success, -1 with error_r if reading failed. */
int retention_digest_stream(struct istream *input,
			    unsigned char digest_r[RETENTION_DIGEST_LEN],
			    uoff_t *size_r, const char **error_r);

#endif
