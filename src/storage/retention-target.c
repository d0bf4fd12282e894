/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* A batch of messages is committed in the archive mailbox first and then
   expunged from its origin. The transaction that saves them marks them, and
   the mailbox, as in doubt; after the origin's commit another one takes the
   marks away. So what an interrupted run has left in both mailboxes is marked,
   and is a batch at most. The next run that finds such a message due takes its
   copy for what it is. Marks of messages whose origins do not become due stay,
   and cost nothing. */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "istream.h"
#include "mail-index.h"
#include "mail-namespace.h"
#include "sleep.h"
#include "sort.h"
#include "mail-storage-private.h"
#include "retention-box.h"
#include "retention-driver.h"
#include "retention-record.h"
#include "retention-target.h"

/* How often and how long it is waited for a mailbox that another process is
   creating. */
#define RETENTION_TARGET_CREATE_TRIES 20
#define RETENTION_TARGET_CREATE_WAIT_MSECS 100

/* A message in doubt. */
struct retention_target_copy {
	/* The next one with the same GUID: a copy within one mailbox keeps
	   it. */
	struct retention_target_copy *next;
	uint32_t uid;
};

struct retention_target *
retention_target_init(struct mail_namespace *ns, const char *vname)
{
	struct retention_target *target;
	pool_t pool;

	pool = pool_alloconly_create("retention target", 512);
	target = p_new(pool, struct retention_target, 1);
	target->pool = pool;
	target->ns = ns;
	target->vname = p_strdup(pool, vname);
	hash_table_create(&target->in_doubt, pool, 0, str_hash, strcmp);
	return target;
}

void retention_target_deinit(struct retention_target **_target)
{
	struct retention_target *target = *_target;

	if (target == NULL)
		return;
	*_target = NULL;
	hash_table_destroy(&target->in_doubt);
	pool_unref(&target->pool);
}

/* Create the mailbox. That another process does so at the same time is no
   error. Neither is that one which lists mailboxes takes a new directory, empty
   yet, for a remnant and removes it, as mailbox_list_drop_noselect asks: that
   the mailbox does not exist is found when it is opened. */
static int retention_target_create(struct mailbox *box)
{
	enum mail_error error;

	if (mailbox_create(box, NULL, FALSE) < 0) {
		error = mailbox_get_last_mail_error(box);
		if (error == MAIL_ERROR_NOTFOUND)
			return 0;
		if (error != MAIL_ERROR_EXISTS)
			return -1;
	}
	/* many clients show subscribed mailboxes only */
	return mailbox_set_subscribed(box, TRUE);
}

static int
retention_target_try_open(struct retention_target *target,
			  struct mailbox **box_r, const char **error_r,
			  bool *notfound_r)
{
	struct mailbox *box;

	box = mailbox_alloc(target->ns->list, target->vname, 0);
	if (mailbox_open(box) == 0 && mailbox_sync(box, 0) == 0) {
		*box_r = box;
		return 0;
	}
	*error_r = retention_box_error(box);
	*notfound_r = mailbox_get_last_mail_error(box) == MAIL_ERROR_NOTFOUND;
	mailbox_free(&box);
	return -1;
}

int retention_target_open(struct retention_target *target, bool create,
			  struct mailbox **box_r, const char **error_r)
{
	struct mailbox *box;
	bool notfound;
	int ret;

	ret = retention_target_try_open(target, box_r, error_r, &notfound);
	/* What another process is about to create may be there in part. */
	for (unsigned int i = 0; ret < 0 && create && notfound &&
	     i < RETENTION_TARGET_CREATE_TRIES; i++) {
		if (i > 0)
			i_sleep_msecs(RETENTION_TARGET_CREATE_WAIT_MSECS);
		box = mailbox_alloc(target->ns->list, target->vname, 0);
		ret = retention_target_create(box);
		if (ret < 0)
			*error_r = retention_box_error(box);
		mailbox_free(&box);
		if (ret < 0)
			break;
		ret = retention_target_try_open(target, box_r, error_r,
						&notfound);
	}
	return ret;
}

static void
retention_target_add_copy(struct retention_target *target, const char *guid,
			  uint32_t uid)
{
	struct retention_target_copy *copy =
		p_new(target->pool, struct retention_target_copy, 1);

	copy->uid = uid;
	copy->next = hash_table_lookup(target->in_doubt, guid);
	hash_table_update(target->in_doubt, p_strdup(target->pool, guid), copy);
}

static void
retention_target_remove_copy(struct retention_target *target, const char *guid,
			     uint32_t uid)
{
	struct retention_target_copy *copy;

	copy = hash_table_lookup(target->in_doubt, guid);
	for (; copy != NULL; copy = copy->next) {
		if (copy->uid == uid)
			copy->uid = 0;
	}
}

/* Returns 0 if ok, or if the message is gone, -1 on error. */
static int
retention_target_scan_mail(struct retention_target *target, struct mail *mail,
			   uint32_t first_doubtful_uid, const char **error_r)
{
	const char *guid;

	if (retention_record_is_in_doubt(mail))
		target->marked++;
	else if (mail->uid >= first_doubtful_uid)
		target->doubtful++;
	else if (!target->unknown)
		return 0;
	if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0) {
		if (mail->expunged)
			return 0;
		*error_r = retention_box_error(mail->box);
		return -1;
	}
	if (*guid != '\0')
		retention_target_add_copy(target, guid, mail->uid);
	return 0;
}

/* Note the messages in doubt among those from first_uid on, those that are
   marked, or all if the target is unknown. */
static int
retention_target_scan_mails(struct retention_target *target,
			    struct mailbox *box, uint32_t first_uid,
			    const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct mailbox_status status;
	struct mail *mail;
	int ret = 0;

	mailbox_get_open_status(box, STATUS_MESSAGES, &status);
	t = mailbox_transaction_begin(box, 0, "retention: look for copies");
	mail = mail_alloc(t, target->unknown ? MAIL_FETCH_GUID : 0, NULL);
	for (uint32_t seq = 1; seq <= status.messages && ret == 0; seq++) {
		T_BEGIN {
			mail_set_seq(mail, seq);
			ret = retention_target_scan_mail(target, mail,
							 first_uid, error_r);
		} T_END_PASS_STR_IF(ret < 0, error_r);
	}
	mail_free(&mail);
	mailbox_transaction_rollback(&t);
	return ret;
}

int retention_target_scan(struct retention_target *target, struct mailbox *box,
			  const char **error_r)
{
	const struct retention_driver *driver =
		retention_driver_find(box->storage);
	struct mailbox_status status;
	enum retention_copies copies;
	uint32_t first_uid;
	int ret;

	if (target->scanned)
		return 0;
	target->marked = target->doubtful = 0;
	copies = retention_record_get_copies(box, &first_uid);
	if (copies == RETENTION_COPIES_SETTLED) {
		target->unknown = target->begun = FALSE;
		target->scanned = TRUE;
		return 0;
	}
	/* what a run that was killed just now has put there */
	if (driver != NULL && driver->full_sync_flags != 0 &&
	    mailbox_sync(box, driver->full_sync_flags) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	mailbox_get_open_status(box, STATUS_MESSAGES, &status);
	target->begun = copies == RETENTION_COPIES_IN_DOUBT;
	target->unknown = !target->begun && status.messages > 0;
	ret = retention_target_scan_mails(target, box,
		target->begun && first_uid > 0 ? first_uid : UINT32_MAX,
		error_r);
	target->scanned = ret == 0;
	return ret;
}

int retention_target_rescan(struct retention_target *target,
			    struct mailbox *box, const char **error_r)
{
	hash_table_clear(target->in_doubt, FALSE);
	target->scanned = FALSE;
	/* a storage that found itself damaged mends itself here */
	if (mailbox_sync(box, 0) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	return retention_target_scan(target, box, error_r);
}

/* Returns TRUE if the message is there, by what the index on disk says now. */
static bool retention_target_is_there(struct mailbox *box, uint32_t uid)
{
	const struct mail_index_record *rec;
	struct mail_index_view *view;
	bool there = FALSE;
	uint32_t seq;

	if (mail_index_refresh(box->index) < 0)
		return FALSE;
	view = mail_index_view_open(box->index);
	if (mail_index_lookup_seq(view, uid, &seq)) {
		rec = mail_index_lookup(view, seq);
		there = (rec->flags & MAIL_DELETED) == 0;
	}
	mail_index_view_close(&view);
	return there;
}

static int
retention_target_digest(struct mail *mail,
			unsigned char digest_r[RETENTION_DIGEST_LEN],
			uoff_t *size_r, const char **error_r)
{
	struct istream *input;

	if (mail_get_stream(mail, NULL, NULL, &input) < 0) {
		*error_r = retention_box_error(mail->box);
		return -1;
	}
	return retention_digest_stream(input, digest_r, size_r, error_r);
}

/* Returns 1 if both have the same text, 0 if not, -1 on error. */
static int
retention_target_compare(struct mail *mail, struct mail *copy,
			 const char **error_r)
{
	unsigned char digest[RETENTION_DIGEST_LEN];
	unsigned char copy_digest[RETENTION_DIGEST_LEN];
	uoff_t size, copy_size;

	if (retention_target_digest(mail, digest, &size, error_r) < 0 ||
	    retention_target_digest(copy, copy_digest, &copy_size,
				    error_r) < 0)
		return -1;
	return size == copy_size &&
		memcmp(digest, copy_digest, sizeof(digest)) == 0 ? 1 : 0;
}

/* Returns as retention_target_compare(), for the message with the UID. */
static int
retention_target_compare_uid(struct mailbox *box, struct mail *mail,
			     uint32_t uid, const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct mail *copy;
	int ret = 0;

	if (!retention_target_is_there(box, uid))
		return 0;
	t = mailbox_transaction_begin(box, 0, "retention: compare");
	copy = mail_alloc(t, 0, NULL);
	if (mail_set_uid(copy, uid))
		ret = retention_target_compare(mail, copy, error_r);
	mail_free(&copy);
	mailbox_transaction_rollback(&t);
	return ret;
}

int retention_target_find_copy(struct retention_target *target,
			       struct mailbox *box, struct mail *mail,
			       const ARRAY_TYPE(uint32_t) *taken,
			       uint32_t *uid_r, const char **error_r)
{
	const struct retention_target_copy *copy;
	const char *guid;
	int ret;

	if (hash_table_count(target->in_doubt) == 0)
		return 0;
	if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0) {
		*error_r = retention_box_error(mail->box);
		return -1;
	}
	copy = hash_table_lookup(target->in_doubt, guid);
	for (; copy != NULL; copy = copy->next) {
		if (copy->uid == 0 ||
		    array_lsearch(taken, &copy->uid, uint32_cmp) != NULL)
			continue;
		ret = retention_target_compare_uid(box, mail, copy->uid,
						   error_r);
		if (ret != 0) {
			*uid_r = copy->uid;
			return ret;
		}
	}
	return 0;
}

int retention_target_update_copy(struct mailbox *box, uint32_t uid,
				 struct mail *mail, const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct mail_keywords *keywords;
	struct mail *copy;
	int ret;

	t = mailbox_transaction_begin(box, 0, "retention: update copy");
	copy = mail_alloc(t, 0, NULL);
	if (mail_set_uid(copy, uid)) {
		mail_update_flags(copy, MODIFY_REPLACE,
				  mail_get_flags(mail) & MAIL_FLAGS_NONRECENT);
		if (mailbox_keywords_create(box, mail_get_keywords(mail),
					    &keywords) == 0) {
			mail_update_keywords(copy, MODIFY_REPLACE, keywords);
			mailbox_keywords_unref(&keywords);
		}
	}
	mail_free(&copy);
	ret = mailbox_transaction_commit(&t);
	if (ret < 0)
		*error_r = retention_box_error(box);
	return ret;
}

int retention_target_begin_batch(struct retention_target *target,
				 struct mailbox *box, const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct mailbox_status status;

	/* When nothing is known of the mailbox, all of it is in doubt. */
	if (target->unknown || target->begun ||
	    retention_driver_find(box->storage) == NULL)
		return 0;
	mailbox_get_open_status(box, STATUS_UIDNEXT, &status);
	t = mailbox_transaction_begin(box, MAILBOX_TRANSACTION_FLAG_EXTERNAL,
				      "retention: begin");
	retention_record_set_copies(t, RETENTION_COPIES_IN_DOUBT,
				    I_MAX(status.uidnext, 1));
	if (mailbox_transaction_commit(&t) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	target->begun = TRUE;
	return 0;
}

void retention_target_mark(struct mailbox_transaction_context *t,
			   time_t save_date)
{
	/* Only of these drivers it is known that they append to the index at
	   once. Of other mailboxes nothing is ever known. */
	if (retention_driver_find(t->box->storage) == NULL)
		return;
	retention_record_set_in_doubt(t,
		mail_index_view_get_messages_count(t->view),
		save_date > 0 ? save_date : 0);
}

void retention_target_unmark(struct retention_target *target,
			     struct mail *mail, const char *guid)
{
	if (guid != NULL) {
		if (retention_record_is_in_doubt(mail))
			target->marked--;
		else if (target->doubtful > 0)
			target->doubtful--;
		retention_target_remove_copy(target, guid, mail->uid);
	}
	retention_record_clear_in_doubt(mail);
}

void retention_target_set_settled(struct retention_target *target,
				  struct mailbox_transaction_context *t)
{
	uint32_t first_uid;

	if (target->unknown || target->failed || target->marked > 0 ||
	    target->doubtful > 0)
		return;
	/* If the note that the batch was begun is gone then the index was
	   rebuilt, which may have brought back expunged messages: the next run
	   is to look at all. */
	if (retention_record_get_copies(t->box, &first_uid) ==
	    RETENTION_COPIES_IN_DOUBT) {
		retention_record_set_copies(t, RETENTION_COPIES_SETTLED, 0);
		target->begun = FALSE;
	}
}

int retention_target_complete(struct retention_target *target,
			      const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct mailbox_status status;
	struct mailbox *box;
	int ret = 0;

	if (!target->scanned || target->failed ||
	    (!target->unknown && target->doubtful == 0))
		return 0;
	if (retention_target_open(target, FALSE, &box, error_r) < 0)
		return -1;
	if (retention_driver_find(box->storage) != NULL) {
		mailbox_get_open_status(box, STATUS_UIDNEXT, &status);
		t = mailbox_transaction_begin(box,
			MAILBOX_TRANSACTION_FLAG_EXTERNAL,
			"retention: complete");
		retention_record_set_copies(t, target->marked > 0 ?
			RETENTION_COPIES_IN_DOUBT : RETENTION_COPIES_SETTLED,
			status.uidnext);
		ret = mailbox_transaction_commit(&t);
	}
	if (ret < 0) {
		*error_r = retention_box_error(box);
	}
	mailbox_free(&box);
	return ret;
}
