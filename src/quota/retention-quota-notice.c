/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* The template has the notice about a level that was reached and, after a line
   that is "===", the one for when the usage is below all levels again. Each is
   a line "Subject: ...", an empty line and the text. {user}, {root}, {percent},
   {usage}, {limit}, {messages}, {messages_limit} and {archive} are replaced. */

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
#include "unichar.h"
#include "retention-box.h"
#include "retention-user.h"
#include "retention-quota-notice.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RETENTION_NOTICE_HEADER "X-Retention-Quota-Notice"
#define RETENTION_NOTICE_SEPARATOR "\n===\n"
#define RETENTION_NOTICE_SUBJECT "Subject: "
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
	RETENTION_NOTICE_SEPARATOR
	"Subject: Your mailbox has room again\n"
	"\n"
	"Hello {user},\n"
	"\n"
	"your mailbox is now {percent}% full: it holds {usage} of the {limit}\n"
	"that it may hold. Nothing more needs to be done.\n";

/* Returns the template file's text, NULL with error_r. */
static const char *
retention_notice_read(const char *path, const char **error_r)
{
	struct stat st;
	const char *text = NULL;
	char *data;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd == -1) {
		*error_r = t_strdup_printf("open() failed: %m");
		return NULL;
	}
	if (fstat(fd, &st) < 0)
		*error_r = t_strdup_printf("fstat() failed: %m");
	else if (st.st_size > RETENTION_NOTICE_MAX_SIZE)
		*error_r = "is too large";
	else {
		data = t_malloc0(st.st_size + 1);
		if (read_full(fd, data, st.st_size) <= 0)
			*error_r = t_strdup_printf("read() failed: %m");
		else if (!uni_utf8_str_is_valid(data))
			*error_r = "is not UTF-8";
		else
			text = data;
	}
	i_close_fd(&fd);
	return text;
}

/* The part of the template that is for the notice. Returns NULL with error_r if
   there is none that can be used. */
static const char *
retention_notice_part(const char *text, enum retention_warning warning,
		      const char **error_r)
{
	const char *sep = strstr(text, RETENTION_NOTICE_SEPARATOR);
	const char *part;

	if (warning == RETENTION_WARNING_REACHED)
		part = sep == NULL ? text : t_strdup_until(text, sep + 1);
	else if (sep == NULL) {
		*error_r = "has no second part after a line that is ===";
		return NULL;
	} else
		part = sep + strlen(RETENTION_NOTICE_SEPARATOR);
	if (strncmp(part, RETENTION_NOTICE_SUBJECT,
		    strlen(RETENTION_NOTICE_SUBJECT)) != 0 ||
	    strstr(part, "\n\n") == NULL) {
		*error_r = "does not begin with a line Subject: and an empty "
			"line";
		return NULL;
	}
	return part;
}

static const char *
retention_notice_template(struct mail_user *user,
			  enum retention_warning warning)
{
	const struct retention_user *ruser = retention_user_get(user);
	const char *path = ruser->set->quota.warning_template;
	const char *text, *part = NULL, *error;

	if (*path != '\0') {
		text = retention_notice_read(path, &error);
		if (text != NULL)
			part = retention_notice_part(text, warning, &error);
		if (part == NULL) {
			e_error(ruser->event, "retention_quota_warning_template"
				"=%s %s - using the text that is built in",
				path, error);
		}
	}
	if (part == NULL) {
		part = retention_notice_part(retention_notice_built_in,
					     warning, &error);
	}
	i_assert(part != NULL);
	return part;
}

static const char *retention_notice_size(uint64_t size)
{
	static const char *const units[] = { "B", "KB", "MB", "GB", "TB" };
	double value = size;
	unsigned int i = 0;

	if (size == 0)
		return "0 B";
	for (; value >= 1024 && i + 1 < N_ELEMENTS(units); i++)
		value /= 1024;
	return t_strdup_printf(i == 0 ? "%.0f %s" : "%.1f %s", value, units[i]);
}

static const char *
retention_notice_variable(struct mail_user *user,
			  const struct retention_quota_notice *notice,
			  const char *name)
{
	if (strcmp(name, "user") == 0)
		return user->username;
	if (strcmp(name, "root") == 0)
		return notice->root;
	if (strcmp(name, "percent") == 0)
		return t_strdup_printf("%u", notice->percent);
	if (strcmp(name, "usage") == 0)
		return retention_notice_size(notice->usage);
	if (strcmp(name, "limit") == 0)
		return notice->limit == 0 ? "unlimited" :
			retention_notice_size(notice->limit);
	if (strcmp(name, "messages") == 0)
		return t_strdup_printf("%"PRIu64, notice->messages);
	if (strcmp(name, "messages_limit") == 0)
		return notice->messages_limit == 0 ? "unlimited" :
			t_strdup_printf("%"PRIu64, notice->messages_limit);
	if (strcmp(name, "archive") == 0)
		return retention_notice_size(notice->archive);
	return NULL;
}

/* Replace the variables; what is not one stays. Lines end with CRLF. */
static void
retention_notice_expand(struct mail_user *user,
			const struct retention_quota_notice *notice,
			const char *text, string_t *dest)
{
	const char *end, *value;

	for (; *text != '\0'; text++) {
		value = NULL;
		if (*text == '{' && (end = strchr(text, '}')) != NULL) {
			value = retention_notice_variable(user, notice,
				t_strdup_until(text + 1, end));
		}
		if (value != NULL) {
			str_append(dest, value);
			text = end;
		} else if (*text == '\n') {
			str_append(dest, "\r\n");
		} else if (*text != '\r') {
			str_append_c(dest, *text);
		}
	}
}

static string_t *
retention_notice_compose(struct mail_user *user,
			 const struct retention_quota_notice *notice)
{
	const char *part = retention_notice_template(user, notice->warning);
	const char *body = strstr(part, "\n\n");
	string_t *subject = t_str_new(128), *str = t_str_new(1024);

	retention_notice_expand(user, notice,
		t_strdup_until(part + strlen(RETENTION_NOTICE_SUBJECT), body),
		subject);
	str_printfa(str, "From: Mail system <postmaster@%s>\r\n"
		    "To: <%s>\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\n"
		    "Auto-Submitted: auto-generated\r\n"
		    RETENTION_NOTICE_HEADER": ",
		    my_hostdomain(), str_sanitize(user->username, 256),
		    message_date_create(time(NULL)), guid_generate(),
		    my_hostdomain());
	message_header_encode(str_sanitize(notice->root, 256), str);
	str_append(str, "\r\nSubject: ");
	message_header_encode(str_sanitize(str_c(subject), 512), str);
	str_append(str, "\r\nMIME-Version: 1.0\r\n"
		   "Content-Type: text/plain; charset=utf-8\r\n"
		   "Content-Transfer-Encoding: 8bit\r\n\r\n");
	retention_notice_expand(user, notice, body + 2, str);
	return str;
}

/* Expunge the former notice, if it is still where it was. That comes last, so
   that a crash leaves one too many and not none. */
static int
retention_notice_remove_former(struct mailbox *box,
			       const struct retention_quota_state *state)
{
	struct mailbox_transaction_context *t;
	struct mailbox_status status;
	const char *value;
	struct mail *mail;

	mailbox_get_open_status(box, STATUS_UIDVALIDITY, &status);
	if (state->uid == 0 || status.uidvalidity != state->uidvalidity)
		return 0;
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

/* Returns 0, or -1 with the mailbox's error set. */
static int retention_notice_save(struct mailbox *box, const string_t *text,
				 struct retention_quota_state *state)
{
	struct retention_quota_state former = *state;
	struct mail_transaction_commit_changes changes;
	struct mailbox_transaction_context *t;
	const struct seq_range *range;

	if (mailbox_open(box) < 0 || mailbox_sync(box, 0) < 0)
		return -1;
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
	if (mailbox_sync(box, 0) < 0)
		return -1;
	return retention_notice_remove_former(box, &former);
}

int retention_quota_notice_send(struct mail_user *user,
				const struct retention_quota_notice *notice,
				struct retention_quota_state *state,
				const char **error_r)
{
	struct mail_namespace *ns =
		mail_namespace_find_inbox(user->namespaces);
	struct mailbox *box;
	int ret;

	box = mailbox_alloc(ns->list, "INBOX", 0);
	ret = retention_notice_save(box, retention_notice_compose(user, notice),
				    state);
	if (ret < 0)
		*error_r = retention_box_error(box);
	mailbox_free(&box);
	return ret;
}
