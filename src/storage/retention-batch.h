#ifndef RETENTION_BATCH_H
#define RETENTION_BATCH_H

#include "retention-replace.h"

struct retention_batch;

/* A batch of messages whose files are being replaced; it carries out the order
   of writes told in retention-driver.h. */
struct retention_batch *
retention_batch_init(struct retention_compressor *compressor,
		     const struct retention_replace_driver *driver);
/* Free the batch, which must be empty. */
void retention_batch_deinit(struct retention_batch **batch);

/* Encode the message of the opened source and write it beside. Returns TRUE if
   it was added to the batch; its result follows with flush(). Returns FALSE if
   it was not, with item->result set. */
bool retention_batch_add(struct retention_batch *batch, struct mailbox *box,
			 struct retention_compress_item *item,
			 struct retention_source *source);
/* Add another message whose file is a hard link of the one added last; it gets
   a hard link of the new file. Returns as retention_batch_add(). */
bool retention_batch_add_link(struct retention_batch *batch,
			      struct mailbox *box,
			      struct retention_compress_item *item,
			      struct retention_source *source);
/* Returns TRUE if the batch should be flushed before more is added. */
bool retention_batch_is_full(const struct retention_batch *batch);
/* Sync, verify and swap what was added, set the items' results and empty the
   batch. */
void retention_batch_flush(struct retention_batch *batch);

#endif
