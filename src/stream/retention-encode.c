/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "istream.h"
#include "ostream.h"
#include "retention-lz4.h"
#include "istream-retention-lz4.h"
#include "retention-encode.h"

#include <lz4.h>
#include <lz4hc.h>
#include <openssl/err.h>
#include <openssl/evp.h>

/* From this level on LZ4HC is used, with the same number as its own level. */
#define RETENTION_ENCODE_LEVEL_HC 2

struct retention_encoder {
	struct istream *input;
	struct ostream *output;
	unsigned int level;

	EVP_MD_CTX *digest;
	/* LZ4HC's tables, set up anew for each chunk; NULL if the level is
	   without. */
	void *hc_state;
	/* A chunk of the message, and the same encoded after its length. */
	unsigned char *plain, *stored;
	size_t chunk_size, stored_max;

	/* The size that the caller announced. */
	uoff_t size;
	struct retention_encoding *encoding;
	const char *error;
};

static const char *retention_digest_error(void)
{
	unsigned long code = ERR_get_error();
	char text[256];

	if (code == 0)
		return "SHA-256 failed";
	ERR_error_string_n(code, text, sizeof(text));
	ERR_clear_error();
	return t_strdup_printf("SHA-256 failed: %s", text);
}

static int retention_digest_init(EVP_MD_CTX **digest_r, const char **error_r)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();

	if (digest == NULL ||
	    EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1) {
		*error_r = retention_digest_error();
		EVP_MD_CTX_free(digest);
		return -1;
	}
	*digest_r = digest;
	return 0;
}

static int
retention_digest_update(EVP_MD_CTX *digest, const void *data, size_t size,
			const char **error_r)
{
	if (EVP_DigestUpdate(digest, data, size) != 1) {
		*error_r = retention_digest_error();
		return -1;
	}
	return 0;
}

static int
retention_digest_final(EVP_MD_CTX *digest,
		       unsigned char digest_r[RETENTION_DIGEST_LEN],
		       const char **error_r)
{
	unsigned int len = 0;

	i_assert(EVP_MD_CTX_size(digest) == RETENTION_DIGEST_LEN);
	if (EVP_DigestFinal_ex(digest, digest_r, &len) != 1 ||
	    len != RETENTION_DIGEST_LEN) {
		*error_r = retention_digest_error();
		return -1;
	}
	return 0;
}

static const char *retention_read_error(struct istream *input)
{
	return t_strdup_printf("read(%s) failed: %s", i_stream_get_name(input),
			       i_stream_get_error(input));
}

static int
retention_encoder_send(struct retention_encoder *enc, const void *data,
		       size_t size)
{
	ssize_t ret = o_stream_send(enc->output, data, size);

	if (ret < 0 || (size_t)ret != size) {
		enc->error = t_strdup_printf("write(%s) failed: %s",
			o_stream_get_name(enc->output),
			ret < 0 ? o_stream_get_error(enc->output) :
			"Output buffer is full");
		return -1;
	}
	enc->encoding->stored_size += size;
	return 0;
}

static int retention_encoder_send_header(struct retention_encoder *enc)
{
	unsigned char header[RETENTION_LZ4_HEADER_LEN];

	memcpy(header, RETENTION_LZ4_MAGIC, RETENTION_LZ4_MAGIC_LEN);
	cpu32_to_be_unaligned(enc->chunk_size,
			      header + RETENTION_LZ4_MAGIC_LEN);
	return retention_encoder_send(enc, header, sizeof(header));
}

/* Encode the size bytes in plain, and send them. Returns 0, or -1 with error
   set. */
static int
retention_encoder_send_chunk(struct retention_encoder *enc, size_t size)
{
	const char *plain = (const char *)enc->plain;
	char *block = (char *)enc->stored + RETENTION_LZ4_CHUNK_HEADER_LEN;
	int ret;

	if (enc->hc_state != NULL) {
		ret = LZ4_compress_HC_extStateHC(enc->hc_state, plain, block,
						 size, enc->stored_max,
						 enc->level);
	} else {
		ret = LZ4_compress_default(plain, block, size,
					   enc->stored_max);
	}
	if (ret <= 0) {
		enc->error = t_strdup_printf(
			"LZ4 could not compress %zu bytes", size);
		return -1;
	}
	cpu32_to_be_unaligned(ret, enc->stored);
	return retention_encoder_send(enc, enc->stored,
				      RETENTION_LZ4_CHUNK_HEADER_LEN + ret);
}

/* Read size bytes into plain. Returns 0, or -1 with error set. */
static int
retention_encoder_read_chunk(struct retention_encoder *enc, size_t size)
{
	const unsigned char *data;
	size_t avail, used = 0;

	while (used < size) {
		if (i_stream_read_more(enc->input, &data, &avail) <= 0) {
			enc->error = enc->input->stream_errno != 0 ?
				retention_read_error(enc->input) :
				t_strdup_printf(
				"read(%s) failed: Message ended after "
				"%"PRIuUOFF_T" of %"PRIuUOFF_T" bytes",
				i_stream_get_name(enc->input),
				enc->encoding->plain_size + used, enc->size);
			return -1;
		}
		avail = I_MIN(avail, size - used);
		memcpy(enc->plain + used, data, avail);
		i_stream_skip(enc->input, avail);
		used += avail;
	}
	enc->encoding->plain_size += size;
	return retention_digest_update(enc->digest, enc->plain, size,
				       &enc->error);
}

/* The announced size was read: returns 0 if it is all there is, -1 with error
   set otherwise. */
static int retention_encoder_check_end(struct retention_encoder *enc)
{
	const unsigned char *data;
	size_t size;

	if (i_stream_read_more(enc->input, &data, &size) > 0) {
		enc->error = t_strdup_printf(
			"read(%s) failed: Message has more than %"PRIuUOFF_T
			" bytes", i_stream_get_name(enc->input), enc->size);
		return -1;
	}
	if (enc->input->stream_errno != 0) {
		enc->error = retention_read_error(enc->input);
		return -1;
	}
	return 0;
}

static enum retention_encode_result
retention_encoder_run(struct retention_encoder *enc)
{
	struct retention_encoding *encoding = enc->encoding;
	size_t size;

	if (retention_encoder_send_header(enc) < 0)
		return RETENTION_ENCODE_ERROR;
	while (encoding->plain_size < enc->size) {
		if (encoding->stored_size >= enc->size)
			return RETENTION_ENCODE_NO_GAIN;
		size = I_MIN(enc->chunk_size,
			     enc->size - encoding->plain_size);
		if (retention_encoder_read_chunk(enc, size) < 0 ||
		    retention_encoder_send_chunk(enc, size) < 0)
			return RETENTION_ENCODE_ERROR;
	}
	if (retention_encoder_check_end(enc) < 0)
		return RETENTION_ENCODE_ERROR;
	if (encoding->stored_size >= enc->size)
		return RETENTION_ENCODE_NO_GAIN;

	if (o_stream_flush(enc->output) <= 0) {
		enc->error = t_strdup_printf("write(%s) failed: %s",
			o_stream_get_name(enc->output),
			o_stream_get_error(enc->output));
		return RETENTION_ENCODE_ERROR;
	}
	return retention_digest_final(enc->digest, encoding->digest,
				      &enc->error) < 0 ?
		RETENTION_ENCODE_ERROR : RETENTION_ENCODE_DONE;
}

/* Returns RETENTION_ENCODE_DONE if the message is to be encoded. */
static enum retention_encode_result
retention_encoder_check_begin(struct retention_encoder *enc)
{
	const unsigned char *data;
	size_t size;

	(void)i_stream_read_bytes(enc->input, &data, &size,
				  RETENTION_CODEC_MAGIC_MAX_LEN);
	if (enc->input->stream_errno != 0) {
		enc->error = retention_read_error(enc->input);
		return RETENTION_ENCODE_ERROR;
	}
	if (retention_codec_detect(data, size) != NULL)
		return RETENTION_ENCODE_MAGIC;
	/* A chunk is never empty, so there is nothing to write either. */
	return enc->size == 0 ? RETENTION_ENCODE_NO_GAIN :
		RETENTION_ENCODE_DONE;
}

static void retention_encoder_alloc(struct retention_encoder *enc)
{
	enc->chunk_size = I_MIN(enc->size, RETENTION_LZ4_CHUNK_SIZE);
	enc->stored_max = LZ4_compressBound(enc->chunk_size);
	enc->plain = i_malloc(enc->chunk_size);
	enc->stored = i_malloc(RETENTION_LZ4_CHUNK_HEADER_LEN +
			       enc->stored_max);
	if (enc->level >= RETENTION_ENCODE_LEVEL_HC)
		enc->hc_state = i_malloc(LZ4_sizeofStateHC());
}

enum retention_encode_result
retention_encode(struct istream *input, uoff_t size, struct ostream *output,
		 unsigned int level, struct retention_encoding *encoding_r,
		 const char **error_r)
{
	struct retention_encoder enc;
	enum retention_encode_result result;

	i_assert(level >= RETENTION_LZ4_LEVEL_MIN &&
		 level <= RETENTION_LZ4_LEVEL_MAX);

	i_zero(encoding_r);
	i_zero(&enc);
	enc.input = input;
	enc.output = output;
	enc.level = level;
	enc.size = size;
	enc.encoding = encoding_r;

	result = retention_encoder_check_begin(&enc);
	if (result == RETENTION_ENCODE_DONE) {
		if (retention_digest_init(&enc.digest, &enc.error) < 0)
			result = RETENTION_ENCODE_ERROR;
		else {
			retention_encoder_alloc(&enc);
			result = retention_encoder_run(&enc);
			EVP_MD_CTX_free(enc.digest);
			i_free(enc.plain);
			i_free(enc.stored);
			i_free(enc.hc_state);
		}
	}
	if (result == RETENTION_ENCODE_ERROR)
		*error_r = enc.error;
	return result;
}

static int
retention_digest_read(struct istream *input, EVP_MD_CTX *digest,
		      uoff_t *size_r, const char **error_r)
{
	const unsigned char *data;
	size_t size;
	int ret;

	*size_r = 0;
	while ((ret = i_stream_read_more(input, &data, &size)) > 0) {
		if (retention_digest_update(digest, data, size, error_r) < 0)
			return -1;
		*size_r += size;
		i_stream_skip(input, size);
	}
	i_assert(ret < 0);
	if (input->stream_errno != 0) {
		*error_r = retention_read_error(input);
		return -1;
	}
	return 0;
}

int retention_digest_stream(struct istream *input,
			    unsigned char digest_r[RETENTION_DIGEST_LEN],
			    uoff_t *size_r, const char **error_r)
{
	EVP_MD_CTX *digest;
	int ret;

	if (retention_digest_init(&digest, error_r) < 0)
		return -1;
	ret = retention_digest_read(input, digest, size_r, error_r);
	if (ret == 0)
		ret = retention_digest_final(digest, digest_r, error_r);
	EVP_MD_CTX_free(digest);
	return ret;
}

int retention_encode_verify(struct istream *stored,
			    const struct retention_encoding *encoding,
			    const char **error_r)
{
	unsigned char digest[RETENTION_DIGEST_LEN];
	struct istream *input;
	uoff_t size;
	int ret;

	input = i_stream_create_retention_lz4(stored, NULL, NULL);
	ret = retention_digest_stream(input, digest, &size, error_r);
	if (ret == 0 && size != encoding->plain_size) {
		*error_r = t_strdup_printf("%s decodes to %"PRIuUOFF_T
			" bytes instead of %"PRIuUOFF_T,
			i_stream_get_name(stored), size, encoding->plain_size);
		ret = -1;
	} else if (ret == 0 && memcmp(digest, encoding->digest,
				      sizeof(digest)) != 0) {
		*error_r = t_strdup_printf(
			"%s decodes to other bytes than were encoded "
			"(SHA-256 differs)", i_stream_get_name(stored));
		ret = -1;
	}
	i_stream_unref(&input);
	return ret;
}
