#ifndef RETENTION_REPLACE_H
#define RETENTION_REPLACE_H

#include "retention-driver.h"

#include <sys/stat.h>

struct retention_replace_driver;

/* A message's own file, opened for reading, as storage drivers with one file
   per message have it. */
struct retention_source {
	/* Valid until close(). */
	const char *path;
	struct stat st;
	/* The message as stored: its first byte's offset in the file and its
	   size. */
	uoff_t offset, size;
	struct istream *input;
	/* UNKNOWN if the file may be rewritten, judging by all but the
	   message's own bytes. */
	enum retention_record_state state;
	/* For the driver. */
	void *context;
};

/* What differs between the drivers that have one file per message. */
struct retention_replace_driver {
	/* Open the message's file. Returns 1 if ok, 0 if the message is gone,
	   -1 with error_r. */
	int (*open)(struct mailbox *box, uint32_t uid,
		    struct retention_source *source_r, const char **error_r);
	void (*close)(struct retention_source *source);
	/* Returns a new path for a temporary file in the file system of the
	   source, from the data stack. Dovecot removes what a crash leaves
	   there. */
	const char *(*get_temp_path)(struct mailbox *box,
				     const struct retention_source *source);
	/* Write what stands before the message, for a message of stored_size
	   bytes; it is called again when the size is known and must write
	   as many bytes as before. May be NULL. */
	int (*write_head)(const struct retention_source *source,
			  struct ostream *output, uoff_t stored_size);
	/* Write what stands after the message. May be NULL. */
	int (*write_tail)(const struct retention_source *source,
			  struct ostream *output, uoff_t plain_size);
	/* Call swap() with the path of the message's file until it does not
	   return 0, or the message is gone. Returns 1 if swap() did, 0 if the
	   message is gone, -1 if swap() did or something else failed; the
	   latter is logged. With lock, no other process of Dovecot can rename
	   or remove the file meanwhile. */
	int (*with_path)(struct mailbox *box, uint32_t uid, bool lock,
			 int (*swap)(const char *path, void *context),
			 void *context);
};

/* The functions of struct retention_driver, on top of these. */
struct retention_compressor *
retention_replace_alloc(pool_t pool,
			const struct retention_replace_driver *driver);
void retention_replace_deinit(struct retention_compressor *compressor);
void retention_replace_compress(struct retention_compressor *compressor,
				struct mailbox_transaction_context *t,
				struct retention_compress_job *job);
void retention_replace_finish(struct retention_compressor *compressor);
int retention_replace_look(const struct retention_replace_driver *driver,
			   struct mail *mail,
			   struct retention_stored *stored_r,
			   const char **error_r);

#endif
