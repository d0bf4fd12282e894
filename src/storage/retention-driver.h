#ifndef RETENTION_DRIVER_H
#define RETENTION_DRIVER_H

#include "retention-encode.h"
#include "retention-record.h"

struct mail;
struct mailbox;
struct mail_namespace;
struct mail_storage;
struct mail_user;
struct mailbox_transaction_context;
struct retention_driver;
struct retention_hold;
struct retention_rule;

/* Compression in place, driver by driver. The order of writes is the same
   everywhere, and each step is done for a whole batch of messages before the
   next one:

   1. The message is encoded and written beside the original.
   2. The new bytes are synced to disk, as mail_fsync asks.
   3. They are read back, decoded and compared with the message by SHA-256.
   4. They take the original's place in one atomic step.
   5. That step is synced, and only now the original's bytes are given up.

   A process that dies before 4 leaves the original, one that dies later the
   new bytes, readable by every Dovecot that has lz4; what else it leaves is a
   temporary file or, in mdbox, space that a purge reclaims. */

enum retention_compress_result {
	/* Nothing decided yet. */
	RETENTION_COMPRESS_PENDING = 0,
	/* Stored compressed now. */
	RETENTION_COMPRESS_DONE,
	/* Stored compressed before, by us or by Dovecot. */
	RETENTION_COMPRESS_ALREADY,
	/* Left alone for good: would not get smaller, or must not be touched. */
	RETENTION_COMPRESS_NOT_COMPRESSIBLE,
	/* Left alone for now: shares its file with a copy that is to stay
	   plain, or another process is working on its file. */
	RETENTION_COMPRESS_LATER,
	/* Expunged meanwhile. */
	RETENTION_COMPRESS_GONE,
	/* Failed, with the reason logged; the original is untouched. */
	RETENTION_COMPRESS_FAILED,
};

/* One message to compress. */
struct retention_compress_item {
	/* The rule that asks for it, NULL in an archive mailbox. */
	const struct retention_rule *rule;
	/* Bytes, set with RETENTION_COMPRESS_DONE. */
	uoff_t plain_size, stored_size;
	uint32_t uid;
	/* The save date to keep, 0 if the driver keeps it by itself. */
	uint32_t save_date;
	enum retention_compress_result result;
	/* For the run: the result has been logged and counted. */
	bool settled;
};
ARRAY_DEFINE_TYPE(retention_compress_item, struct retention_compress_item);

/* The messages of one mailbox that are to be compressed. */
struct retention_compress_job {
	/* To open the mailbox again, for messages that wait until the end of
	   the run. */
	struct mail_namespace *ns;
	const char *vname;
	/* Sorted by UID. The array may not grow once it was handed over. */
	ARRAY_TYPE(retention_compress_item) items;
};

/* The compression of a user's messages in one storage. */
struct retention_compressor {
	const struct retention_driver *driver;
	struct mail_storage *storage;
	/* Parent of messages in the log. */
	struct event *event;
	/* Lives as long as the compressor. */
	pool_t pool;
	/* As retention_compression_level. */
	unsigned int level;
	/* Returns TRUE when the run is to end after the message in hand. */
	bool (*stop)(void *context);
	/* Called for each message done, with its size in bytes. */
	void (*progress)(void *context, uoff_t size);
	void *context;
	/* Set when the disk is full or read-only: what follows would fail the
	   same way, so the messages that remain stay pending. */
	bool no_space;
};

/* What a message's bytes on disk are. */
struct retention_stored {
	/* Bytes of the message as stored, without what the storage adds. */
	uoff_t size;
	/* UNKNOWN when they are plain and may be compressed. */
	enum retention_record_state state;
};

struct retention_driver {
	/* mail_storage.name */
	const char *name;
	/* enum mailbox_sync_flags with which a sync sees everything that other
	   processes have put into the mailbox, also just now. 0 if any sync
	   does. */
	unsigned int full_sync_flags;

	struct retention_compressor *(*alloc)(pool_t pool);
	/* Free what alloc() has taken from elsewhere than the pool. */
	void (*deinit)(struct retention_compressor *compressor);
	/* Compress the job's messages, or note them for finish(). The job
	   must live until then. */
	void (*compress)(struct retention_compressor *compressor,
			 struct mailbox_transaction_context *t,
			 struct retention_compress_job *job);
	/* Compress what was noted. No mailbox of the user is open. */
	void (*finish)(struct retention_compressor *compressor);

	/* Returns TRUE if there are no messages in the opened mailbox but those
	   that are in its index, of which there are so many; if FALSE, a sync
	   is needed to tell. NULL if messages can't be anywhere else. */
	bool (*index_is_complete)(struct mailbox *box, uint32_t messages);

	/* Set, in the mail's transaction, the date that the message that was
	   just copied here is to tell as its save date. */
	void (*set_save_date)(struct mail *mail, uint32_t save_date);

	/* Notice what a process that was killed has left half done in the
	   storage, so that the next mailbox sync repairs it before anything
	   else is done. NULL if the driver's storage needs no such look. */
	void (*recover)(struct mail_storage *storage);

	/* The messages of the mailbox with these UIDs are about to be copied
	   within their storage: keep them from being lost if only a part of
	   that commit gets to the disk. Returns 0 if ok, -1 with error_r if it
	   failed. NULL if the driver's storage needs no such care. */
	int (*hold)(struct mailbox *box, const ARRAY_TYPE(uint32_t) *uids,
		    struct retention_hold **hold_r, const char **error_r);
	/* After the commit, whether it failed or not. Returns as hold(); the
	   messages are safe anyway. */
	int (*release)(struct retention_hold **hold, const char **error_r);

	/* These keywords are about to be set for the first time in the mailbox:
	   see that a process which dies while it does so can't make others of
	   them. NULL if the driver's storage needs no such care. */
	void (*prepare_keywords)(struct mailbox *box, const char *const *names);

	/* Look at the message's stored bytes. Returns 1 if ok, 0 if the
	   message is gone, -1 with error_r if it failed. */
	int (*look)(struct mail *mail, struct retention_stored *stored_r,
		    const char **error_r);
};

extern const struct retention_driver retention_driver_maildir;
extern const struct retention_driver retention_driver_sdbox;
extern const struct retention_driver retention_driver_mdbox;

/* Returns the driver for the storage, NULL if its mail can't be compressed. */
const struct retention_driver *
retention_driver_find(const struct mail_storage *storage);

/* Judge stored bytes by how they begin: COMPRESSED if by a codec's magic,
   NOT_COMPRESSIBLE if they are encrypted, else UNKNOWN. Reads from input's
   current offset, but skips nothing. */
enum retention_record_state retention_stored_state(struct istream *input);

/* Returns TRUE if data must be synced before the next step, as mail_fsync
   asks. */
bool retention_driver_want_fsync(const struct mail_storage *storage);

/* Note in the compressor if errno tells that the disk is full or read-only. */
void retention_compressor_note_errno(struct retention_compressor *compressor);
/* Returns TRUE if the next message is not to be begun. */
bool retention_compressor_must_stop(struct retention_compressor *compressor);

#endif
