/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "mail-storage-private.h"
#include "retention-lz4.h"
#include "retention-driver.h"

static const struct retention_driver *const retention_drivers[] = {
	&retention_driver_maildir,
	&retention_driver_sdbox,
	&retention_driver_mdbox,
};

const struct retention_driver *
retention_driver_find(const struct mail_storage *storage)
{
	for (unsigned int i = 0; i < N_ELEMENTS(retention_drivers); i++) {
		if (strcmp(retention_drivers[i]->name, storage->name) == 0)
			return retention_drivers[i];
	}
	return NULL;
}

enum retention_record_state retention_stored_state(struct istream *input)
{
	const unsigned char *data;
	const char *codec;
	size_t size;

	(void)i_stream_read_bytes(input, &data, &size,
				  RETENTION_CODEC_MAGIC_MAX_LEN);
	codec = retention_codec_detect(data, size);
	if (codec == NULL)
		return RETENTION_RECORD_UNKNOWN;
	return strcmp(codec, "mail_crypt") == 0 ?
		RETENTION_RECORD_NOT_COMPRESSIBLE :
		RETENTION_RECORD_COMPRESSED;
}

bool retention_driver_want_fsync(const struct mail_storage *storage)
{
	return storage->set->parsed_fsync_mode != FSYNC_MODE_NEVER;
}

void retention_compressor_note_errno(struct retention_compressor *compressor)
{
	if (ENOSPACE(errno) || errno == EROFS)
		compressor->no_space = TRUE;
}

bool retention_compressor_must_stop(struct retention_compressor *compressor)
{
	return compressor->no_space ||
		compressor->stop(compressor->context);
}
