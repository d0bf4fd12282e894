/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* mdbox copies a message by adding to its mailboxes one more record that refers
   to the same map record, and one to the count of references there. The first
   is committed before the second. After a crash in between nothing tells that
   the count is too low; when the origin is expunged then, as we do with what a
   killed run has left in both mailboxes, it becomes 0, and purging removes the
   message although the copy refers to it.

   So we add one to the count before the copies are committed, and take it away
   afterwards. What a crash can leave is a count that is too high, so that the
   space of the message is not given back once all of it is expunged. Rebuilding
   the storage counts anew; if somebody has done so in the meantime then ours is
   gone already, and taking it away would take that of another. */

#include "lib.h"
#include "array.h"
#include "mdbox-storage.h"
#include "mdbox-map.h"
#include "retention-box.h"
#include "retention-mdbox.h"

struct retention_hold {
	struct mdbox_storage *storage;
	/* Once for each copy, as the references are counted. */
	ARRAY_TYPE(uint32_t) map_uids;
	/* How often the storage had been rebuilt. */
	uint32_t rebuild_count;
};

static int
retention_mdbox_hold_add(struct retention_hold *hold,
			 struct mdbox_mailbox *mbox, uint32_t uid)
{
	uint32_t seq, map_uid;

	if (!mail_index_lookup_seq(mbox->box.view, uid, &seq))
		return 0;
	if (mdbox_mail_lookup(mbox, mbox->box.view, seq, &map_uid) < 0)
		return -1;
	array_push_back(&hold->map_uids, &map_uid);
	return 0;
}

/* Change the counts in the locked map. */
static int
retention_mdbox_hold_update(struct retention_hold *hold,
			    struct mdbox_map_atomic_context *atomic, int diff,
			    const char *reason)
{
	struct mdbox_map_transaction_context *trans;
	uint32_t rebuild_count;
	int ret = 0;

	trans = mdbox_map_transaction_begin(atomic, FALSE);
	rebuild_count = mdbox_map_get_rebuild_count(hold->storage->map);
	if (diff > 0 || rebuild_count == hold->rebuild_count) {
		hold->rebuild_count = rebuild_count;
		ret = mdbox_map_update_refcounts(trans, &hold->map_uids, diff);
		if (ret == 0)
			ret = mdbox_map_transaction_commit(trans, reason);
	}
	mdbox_map_transaction_free(&trans);
	return ret;
}

static int
retention_mdbox_hold_change(struct retention_hold *hold, int diff,
			    const char *reason)
{
	struct mdbox_map_atomic_context *atomic;
	int ret;

	atomic = mdbox_map_atomic_begin(hold->storage->map);
	ret = mdbox_map_atomic_lock(atomic, reason);
	if (ret == 0)
		ret = retention_mdbox_hold_update(hold, atomic, diff, reason);
	if (mdbox_map_atomic_finish(&atomic) < 0)
		ret = -1;
	return ret;
}

static void retention_mdbox_hold_free(struct retention_hold **_hold)
{
	struct retention_hold *hold = *_hold;

	*_hold = NULL;
	array_free(&hold->map_uids);
	i_free(hold);
}

int retention_mdbox_hold(struct mailbox *box, const ARRAY_TYPE(uint32_t) *uids,
			 struct retention_hold **hold_r, const char **error_r)
{
	struct mdbox_mailbox *mbox = MDBOX_MAILBOX(box);
	struct retention_hold *hold = i_new(struct retention_hold, 1);
	uint32_t uid;
	int ret = 0;

	hold->storage = mbox->storage;
	i_array_init(&hold->map_uids, array_count(uids));
	array_foreach_elem(uids, uid) {
		ret = retention_mdbox_hold_add(hold, mbox, uid);
		if (ret < 0)
			break;
	}
	if (ret == 0) {
		ret = retention_mdbox_hold_change(hold, 1,
			"retention: before copying");
	}
	if (ret < 0) {
		*error_r = retention_box_error(box);
		retention_mdbox_hold_free(&hold);
	}
	*hold_r = hold;
	return ret;
}

int retention_mdbox_release(struct retention_hold **hold, const char **error_r)
{
	struct mail_storage *storage = &(*hold)->storage->storage.storage;
	int ret;

	ret = retention_mdbox_hold_change(*hold, -1,
					  "retention: after copying");
	if (ret < 0) {
		*error_r = t_strdup(
			mail_storage_get_last_internal_error(storage, NULL));
	}
	retention_mdbox_hold_free(hold);
	return ret;
}
