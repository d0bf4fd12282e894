/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "guid.h"
#include "hostpid.h"
#include "istream.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "message-date.h"
#include "message-header-encode.h"
#include "read-full.h"
#include "str.h"
#include "str-sanitize.h"
#include "retention-box.h"
#include "retention-notice.h"
#include "retention-session.h"
#include "retention-user.h"
#include "retention-quota-notice.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RETENTION_NOTICE_HEADER "X-Retention-Quota-Notice"
#define RETENTION_NOTICE_MAX_SIZE (64 * 1024)

static const char retention_notice_built_in[] =
	"Subject: Your mailbox is {percent}% full\n"
	"\n"
	"Hello {user},\n"
	"\n"
	"your mailbox holds {usage} of the {limit} that it may hold, in\n"
	"{messages} messages. {archive} of this are in your archive.\n"
	"\n"
	"When it is full, new mail will be refused. Please delete what you no\n"
	"longer need, and empty the trash.\n"
	"===\n"
	"Subject: Your mailbox has room again\n"
	"\n"
	"Hello {user},\n"
	"\n"
	"your mailbox is now {percent}% full: it holds {usage} of the {limit}\n"
	"that it may hold. Nothing more needs to be done.\n";

/* Returns the template file's text, NULL with error_r. */
static const char *
retention_notice_read(const char *path, size_t *size_r, const char **error_r)
{
	const char *text = NULL;
	struct stat st;
	char *data;
	int fd, ret;

	/* opening a FIFO would wait for somebody to write to it */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		*error_r = t_strdup_printf("can't be used: open() failed: %m");
		return NULL;
	}
	if (fstat(fd, &st) < 0)
		*error_r = t_strdup_printf("can't be used: fstat() failed: %m");
	else if (!S_ISREG(st.st_mode))
		*error_r = "is not a file";
	else if (st.st_size > RETENTION_NOTICE_MAX_SIZE)
		*error_r = "is too large (at most 64 KB are allowed)";
	else {
		data = t_malloc_no0(st.st_size + 1);
		ret = read_full(fd, data, st.st_size);
		if (ret < 0) {
			*error_r = t_strdup_printf(
				"can't be used: read() failed: %m");
		} else if (ret == 0)
			*error_r = "was changed while it was read";
		else
			text = data;
	}
	i_close_fd(&fd);
	*size_r = st.st_size;
	return text;
}

/* Returns 0 with the template's parts, -1 with error_r. */
static int
retention_notice_read_template(const char *path, enum retention_warning warning,
			       const char **subject_r, const char **body_r,
			       const char **error_r)
{
	const char *text;
	size_t size;

	text = retention_notice_read(path, &size, error_r);
	if (text == NULL)
		return -1;
	return retention_notice_parse(text, size, warning, subject_r, body_r,
				      error_r);
}

static void
retention_notice_get_template(struct mail_user *user,
			      enum retention_warning warning,
			      const char **subject_r, const char **body_r)
{
	const struct retention_user *ruser = retention_user_get(user);
	const char *error, *path = ruser->set->quota.warning_template;

	if (*path != '\0') {
		if (retention_notice_read_template(path, warning, subject_r,
						   body_r, &error) == 0)
			return;
		e_error(ruser->event, "retention_quota_warning_template=%s %s "
			"- using the text that is built in", path, error);
	}
	if (retention_notice_parse(retention_notice_built_in,
				   sizeof(retention_notice_built_in) - 1,
				   warning, subject_r, body_r, &error) < 0)
		i_unreached();
}

/* Lines end with LF; the storage makes of them what it wants. */
static string_t *
retention_notice_compose(struct mail_user *user,
			 const struct retention_notice *notice)
{
	string_t *expanded = t_str_new(128), *str = t_str_new(1024);
	const char *subject, *body;

	retention_notice_get_template(user, notice->warning, &subject, &body);
	retention_notice_expand(expanded, subject, notice);
	str_printfa(str, "From: Mail system <postmaster@%s>\n",
		    my_hostdomain());
	if (retention_notice_is_address(user->username))
		str_printfa(str, "To: <%s>\n", user->username);
	str_printfa(str, "Date: %s\nMessage-ID: <%s@%s>\n"
		    "Auto-Submitted: auto-generated\n"
		    RETENTION_NOTICE_HEADER": ",
		    message_date_create(time(NULL)), guid_generate(),
		    my_hostdomain());
	message_header_encode(str_sanitize(notice->root, 256), str);
	str_append(str, "\nSubject: ");
	message_header_encode(str_sanitize(str_c(expanded), 512), str);
	str_append(str, "\nMIME-Version: 1.0\n"
		   "Content-Type: text/plain; charset=utf-8\n"
		   "Content-Transfer-Encoding: 8bit\n\n");
	retention_notice_expand(str, body, notice);
	return str;
}

/* Expunge the former notice, if it is still where it was. That comes last, so
   that a crash leaves one too many and not none. */
static int
retention_notice_remove_former(struct mailbox *box,
			       const struct retention_quota_state *state)
{
	struct mailbox_transaction_context *t;
	const char *value;
	struct mail *mail;

	t = mailbox_transaction_begin(box, 0,
				      "retention: former quota notice");
	mail = mail_alloc(t, 0, NULL);
	if (mail_set_uid(mail, state->uid) &&
	    mail_get_first_header(mail, RETENTION_NOTICE_HEADER, &value) > 0)
		mail_expunge(mail);
	mail_free(&mail);
	if (mailbox_transaction_commit(&t) < 0)
		return -1;
	return mailbox_sync(box, 0);
}

static int
retention_notice_save_to(struct mailbox_transaction_context *t,
			 const string_t *text)
{
	struct mail_save_context *save_ctx = mailbox_save_alloc(t);
	struct istream *input;
	int ret;

	input = i_stream_create_from_data(str_data(text), str_len(text));
	ret = mailbox_save_begin(&save_ctx, input);
	while (ret == 0 && i_stream_read(input) > 0)
		ret = mailbox_save_continue(save_ctx);
	if (ret == 0)
		ret = mailbox_save_continue(save_ctx);
	if (ret == 0)
		ret = mailbox_save_finish(&save_ctx);
	else if (save_ctx != NULL)
		mailbox_save_cancel(&save_ctx);
	i_stream_unref(&input);
	return ret;
}

/* Returns 0 with the message noted in the state, or -1 with the mailbox's error
   set. */
static int retention_notice_save(struct mailbox *box, const string_t *text,
				 struct retention_quota_state *state)
{
	struct mail_transaction_commit_changes changes;
	struct mailbox_transaction_context *t;
	const struct seq_range *range;

	t = mailbox_transaction_begin(box, MAILBOX_TRANSACTION_FLAG_EXTERNAL |
				      MAILBOX_TRANSACTION_FLAG_ASSIGN_UIDS,
				      "retention: quota notice");
	if (retention_notice_save_to(t, text) < 0) {
		mailbox_transaction_rollback(&t);
		return -1;
	}
	if (mailbox_transaction_commit_get_changes(&t, &changes) < 0)
		return -1;
	state->uidvalidity = changes.uid_validity;
	state->uid = 0;
	if (!array_is_empty(&changes.saved_uids)) {
		range = array_front(&changes.saved_uids);
		state->uid = range->seq1;
	}
	pool_unref(&changes.pool);
	return 0;
}

/* Returns as retention_quota_notice_send(). */
static int
retention_notice_replace(struct mailbox *box, struct mail_user *user,
			 const struct retention_notice *notice,
			 struct retention_quota_state *state,
			 const char **error_r)
{
	struct retention_quota_state former = *state;
	struct mailbox_status status;

	if (retention_notice_save(box, retention_notice_compose(user, notice),
				  state) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	/* This notice is sent, whatever becomes of the former one: sending it
	   anew each time would be worse than one too many. */
	mailbox_get_open_status(box, STATUS_UIDVALIDITY, &status);
	if (former.uid != 0 && former.uidvalidity == status.uidvalidity &&
	    (mailbox_sync(box, 0) < 0 ||
	     retention_notice_remove_former(box, &former) < 0)) {
		e_error(retention_user_get(user)->event,
			"Couldn't remove the former quota notice: %s",
			retention_box_error(box));
	}
	return 1;
}

static int
retention_notice_open_and_replace(struct mail_user *user,
				  struct mail_namespace *ns,
				  const struct retention_notice *notice,
				  struct retention_quota_state *state,
				  const char **error_r)
{
	struct mailbox *box;
	int ret;

	box = mailbox_alloc(ns->list, "INBOX", 0);
	if (mailbox_open(box) < 0 || mailbox_sync(box, 0) < 0) {
		*error_r = retention_box_error(box);
		ret = -1;
	} else {
		ret = retention_notice_replace(box, user, notice, state,
					       error_r);
	}
	mailbox_free(&box);
	return ret;
}

int retention_quota_notice_send(struct mail_user *user,
				const struct retention_notice *notice,
				struct retention_quota_state *state,
				const char **error_r)
{
	struct mail_namespace *ns =
		mail_namespace_find_inbox(user->namespaces);
	struct retention_session_lock *lock = NULL;
	int ret;

	/* a POP3 session must not lose a message that it has listed; when it
	   ends it sends the notice itself */
	if (state->uid != 0) {
		ret = retention_session_lock_exclusive(ns, &lock, error_r);
		if (ret <= 0)
			return ret;
	}
	ret = retention_notice_open_and_replace(user, ns, notice, state,
						error_r);
	retention_session_unlock(&lock);
	return ret;
}
