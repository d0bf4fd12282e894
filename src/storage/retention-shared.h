#ifndef RETENTION_SHARED_H
#define RETENTION_SHARED_H

#include "retention-driver.h"

#include <sys/stat.h>

/* Messages that share one file by hard links, as copies in Maildir and sdbox
   do. Rewriting one of them alone would end the sharing and take more space
   than before, so they wait until the run has met all of them. */

struct retention_shared_member {
	struct retention_compress_job *job;
	/* Index in job->items. */
	unsigned int idx;
};

struct retention_shared_file {
	dev_t dev;
	ino_t ino;
	nlink_t links;
	ARRAY(struct retention_shared_member) members;
};
ARRAY_DEFINE_TYPE(retention_shared_file, struct retention_shared_file *);

struct retention_shared;

struct retention_shared *retention_shared_init(pool_t pool);
void retention_shared_deinit(struct retention_shared **shared);

/* Note that the item's message is in the file that st tells of. */
void retention_shared_add(struct retention_shared *shared,
			  const struct stat *st,
			  struct retention_compress_job *job,
			  struct retention_compress_item *item);
/* The files of all noted messages. Those of which not every link is among the
   messages are to stay as they are. */
const ARRAY_TYPE(retention_shared_file) *
retention_shared_get_files(struct retention_shared *shared);
bool retention_shared_file_is_complete(const struct retention_shared_file *file);

#endif
