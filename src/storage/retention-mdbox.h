#ifndef RETENTION_MDBOX_H
#define RETENTION_MDBOX_H

#include "retention-driver.h"

/* A message that is to be compressed, by its map UID. */
struct retention_mdbox_want {
	uint32_t map_uid;
	struct retention_compress_item *item;
};

/* All of a run, sorted by map UID. Copies share a map UID. */
struct retention_mdbox_wants {
	ARRAY(struct retention_mdbox_want) list;
};

/* Returns the first of the wants for the map UID and their number, which is 0
   if the message is not wanted. */
const struct retention_mdbox_want *
retention_mdbox_wants_find(struct retention_mdbox_wants *wants,
			   uint32_t map_uid, unsigned int *count_r);
/* Set the result of all wants for the map UID. encoding may be NULL. */
void retention_mdbox_wants_set_result(struct retention_mdbox_wants *wants,
				      uint32_t map_uid,
				      enum retention_compress_result result,
				      const struct retention_encoding *encoding);

/* Compress the wanted messages in the file m.<file_id>, and set their results
   where the file could be locked. Failures are logged. */
void retention_mdbox_rewrite_file(struct retention_compressor *compressor,
				  struct retention_mdbox_wants *wants,
				  uint32_t file_id);

/* See struct retention_driver. */
int retention_mdbox_hold(struct mailbox *box, const ARRAY_TYPE(uint32_t) *uids,
			 struct retention_hold **hold_r, const char **error_r);
int retention_mdbox_release(struct retention_hold **hold, const char **error_r);

#endif
