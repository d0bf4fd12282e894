#ifndef RETENTION_DBOX_H
#define RETENTION_DBOX_H

#include "retention-record.h"

struct dbox_file;

/* A message in a dbox file, as both drivers have it. */
struct retention_dbox_message {
	/* Offset of the message header in the file. */
	uoff_t offset;
	/* Offset and size of the message as stored. */
	uoff_t body_offset, body_size;
	/* Offset after the metadata: where the next message begins. */
	uoff_t end_offset;
	/* Message size. */
	uoff_t plain_size;
	/* COMPRESSED or NOT_COMPRESSIBLE if the metadata tell so. */
	enum retention_record_state state;
};

/* Read the message's header and metadata at offset of the opened file; the
   metadata stay in file->metadata until the next one is read. Returns 1 if ok,
   0 if the file is corrupted there, which is noted in it, -1 with error_r if
   reading failed. */
int retention_dbox_read(struct dbox_file *file, uoff_t offset,
			struct retention_dbox_message *msg_r,
			const char **error_r);
/* Returns a stream of the message's stored bytes. */
struct istream *
retention_dbox_open_body(struct dbox_file *file,
			 const struct retention_dbox_message *msg);

/* Write a message header for stored_size bytes. */
int retention_dbox_write_header(struct ostream *output, uoff_t stored_size);
/* Write the file's current metadata, with plain_size as the message size. */
int retention_dbox_write_metadata(struct dbox_file *file,
				  struct ostream *output, uoff_t plain_size);

#endif
