/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* A line tells one thing that was done with one message:

     what TAB guid TAB time LF

   "what" is "deleted" (hidden from POP3), "retrieved" (downloaded) or "reset"
   (show it again, and forget that it was downloaded). The guid is Dovecot's,
   escaped as Dovecot escapes fields that are separated by tabs. The time, in
   seconds since 1970, always has 10 digits, all zeros if it is not known. Later
   lines go before earlier ones, except that the first download of a message
   counts.

   A session appends all its lines in one write, beginning with an empty line:
   if a write before it was cut off, as by a full disk, that one's last line
   ends there, and does not swallow ours. A line that was cut off is never taken
   for another one, as its time is the last field and has a fixed length.

   The file belongs to the user, who may be able to write to it. So its size is
   limited, and a line that is not as above is skipped. */

#include "lib.h"
#include "array.h"
#include "eacces-error.h"
#include "fdatasync-path.h"
#include "hash.h"
#include "istream.h"
#include "ostream.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "mail-storage-private.h"
#include "retention-box.h"
#include "retention-pop3-log.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <sys/stat.h>

#define RETENTION_POP3_LOG_FNAME "dovecot-retention-pop3"
#define RETENTION_POP3_LOG_TEMP_SUFFIX ".tmp"

#define RETENTION_POP3_LOG_DELETED "deleted"
#define RETENTION_POP3_LOG_RETRIEVED "retrieved"
#define RETENTION_POP3_LOG_RESET "reset"
#define RETENTION_POP3_LOG_MOVED "moved"

/* Room for more than half a million lines. */
#define RETENTION_POP3_LOG_MAX_SIZE (1024U * 1024 * 64)
/* Maildir's GUIDs are file names. */
#define RETENTION_POP3_GUID_MAX_LEN 255
#define RETENTION_POP3_TIME_LEN 10
/* Every character of the GUID may be escaped. */
#define RETENTION_POP3_LINE_MAX_LEN \
	(sizeof(RETENTION_POP3_LOG_RETRIEVED"\t\t\n") - 1 + \
	 RETENTION_POP3_GUID_MAX_LEN * 2 + RETENTION_POP3_TIME_LEN)
/* Smaller logs are left alone. */
#define RETENTION_POP3_LOG_COMPACT_MIN_SIZE (1024 * 64)
/* Lines are much shorter than this, so that a log which was just written anew
   is not again too large. */
#define RETENTION_POP3_LOG_COMPACT_LINE_SIZE 320

/* Returns 1 with path_r, 0 if the mailbox has no control directory, -1 with
   error_r. */
static int
retention_pop3_log_get_path(struct mailbox *box, const char **path_r,
			    const char **error_r)
{
	const char *dir;
	int ret;

	ret = mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_CONTROL, &dir);
	if (ret < 0)
		*error_r = retention_box_error(box);
	else if (ret > 0)
		*path_r = t_strconcat(dir, "/"RETENTION_POP3_LOG_FNAME, NULL);
	return ret;
}

static void retention_pop3_log_set_group(struct mailbox *box, int fd,
					 const char *path)
{
	const struct mailbox_permissions *perm = mailbox_get_permissions(box);

	if (perm->file_create_gid == (gid_t)-1 ||
	    fchown(fd, (uid_t)-1, perm->file_create_gid) == 0)
		return;
	/* The file is as good without it, but for who else may read it. */
	if (errno == EPERM) {
		e_error(box->event, "retention: %s", eperm_error_get_chgrp(
			"fchown", path, perm->file_create_gid,
			perm->file_create_gid_origin));
	} else {
		e_error(box->event, "retention: fchown(%s) failed: %m", path);
	}
}

/* Create the file as Dovecot creates files in the mailbox. Returns the fd, or
   -1 with errno. */
static int retention_pop3_log_create(struct mailbox *box, const char *path,
				     int flags)
{
	const struct mailbox_permissions *perm = mailbox_get_permissions(box);
	mode_t old_mask;
	int fd;

	old_mask = umask(0);
	fd = open(path, flags | O_CREAT | O_EXCL | O_CLOEXEC,
		  perm->file_create_mode);
	umask(old_mask);
	if (fd != -1)
		retention_pop3_log_set_group(box, fd, path);
	return fd;
}

/* Open the file, which must not be one that makes us wait. Returns the fd, or
   -1 with errno and error_r. */
static int retention_pop3_log_open(const char *path, int flags,
				   struct stat *st_r, const char **error_r)
{
	int fd;

	fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	if (fstat(fd, st_r) < 0)
		*error_r = t_strdup_printf("fstat(%s) failed: %m", path);
	else if (!S_ISREG(st_r->st_mode)) {
		*error_r = t_strdup_printf("%s is not a regular file", path);
		errno = EINVAL;
	} else {
		return fd;
	}
	i_close_fd(&fd);
	return -1;
}

static int retention_pop3_log_open_append(struct mailbox *box, const char *path,
					  const char **error_r)
{
	const int flags = O_WRONLY | O_APPEND;
	struct stat st;
	int fd;

	fd = retention_pop3_log_open(path, flags, &st, error_r);
	if (fd != -1 || errno != ENOENT)
		return fd;
	if (mailbox_create_missing_dir(box,
				       MAILBOX_LIST_PATH_TYPE_CONTROL) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	fd = retention_pop3_log_create(box, path, flags);
	if (fd == -1 && errno == EEXIST) {
		/* another session was faster */
		return retention_pop3_log_open(path, flags, &st, error_r);
	}
	if (fd == -1)
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
	return fd;
}

static int retention_pop3_log_write(struct mailbox *box, const string_t *lines,
				    const char **error_r)
{
	const char *path;
	ssize_t size;
	int fd, ret;

	ret = retention_pop3_log_get_path(box, &path, error_r);
	if (ret <= 0)
		return ret;
	fd = retention_pop3_log_open_append(box, path, error_r);
	if (fd == -1)
		return -1;
	ret = -1;
	size = write(fd, str_data(lines), str_len(lines));
	if (size < 0)
		*error_r = t_strdup_printf("write(%s) failed: %m", path);
	else if ((size_t)size != str_len(lines)) {
		*error_r = t_strdup_printf(
			"write(%s) wrote %zd of %zu bytes", path, size,
			str_len(lines));
	} else {
		ret = 0;
	}
	/* NFS may tell only now */
	if (close(fd) < 0 && ret == 0) {
		*error_r = t_strdup_printf("close(%s) failed: %m", path);
		ret = -1;
	}
	return ret;
}

static void retention_pop3_log_line(string_t *str, const char *what,
				    const char *guid, uint32_t timestamp)
{
	str_append(str, what);
	str_append_c(str, '\t');
	str_append_tabescaped(str, guid);
	str_printfa(str, "\t%010u\n", timestamp);
}

static bool retention_pop3_guid_is_usable(const char *guid)
{
	return guid != NULL && *guid != '\0' &&
		strlen(guid) <= RETENTION_POP3_GUID_MAX_LEN;
}

int retention_pop3_log_append(struct mailbox *box,
			      const ARRAY_TYPE(retention_pop3_change) *changes,
			      const char **error_r)
{
	const struct retention_pop3_change *change;
	string_t *lines = str_new(default_pool, 1024);
	int ret = 0;

	str_append_c(lines, '\n');
	array_foreach(changes, change) {
		if (!retention_pop3_guid_is_usable(change->guid))
			continue;
		if (change->downloaded_time != 0) {
			retention_pop3_log_line(lines,
				RETENTION_POP3_LOG_RETRIEVED, change->guid,
				change->downloaded_time);
		}
		if (change->hidden_time != 0) {
			retention_pop3_log_line(lines,
				RETENTION_POP3_LOG_DELETED, change->guid,
				change->hidden_time);
		}
	}
	if (str_len(lines) > 1)
		ret = retention_pop3_log_write(box, lines, error_r);
	str_free(&lines);
	return ret;
}

static int
retention_pop3_log_append_guids(struct mailbox *box, const char *what,
				uint32_t timestamp,
				const ARRAY_TYPE(const_string) *guids,
				const char **error_r)
{
	string_t *lines = str_new(default_pool, 1024);
	const char *guid;
	int ret = 0;

	str_append_c(lines, '\n');
	array_foreach_elem(guids, guid) {
		if (retention_pop3_guid_is_usable(guid))
			retention_pop3_log_line(lines, what, guid, timestamp);
	}
	if (str_len(lines) > 1)
		ret = retention_pop3_log_write(box, lines, error_r);
	str_free(&lines);
	return ret;
}

int retention_pop3_log_append_reset(struct mailbox *box,
				    const ARRAY_TYPE(const_string) *guids,
				    const char **error_r)
{
	return retention_pop3_log_append_guids(box, RETENTION_POP3_LOG_RESET,
					       time(NULL), guids, error_r);
}

int retention_pop3_log_append_moved(struct mailbox *box,
				    const ARRAY_TYPE(const_string) *guids,
				    const char **error_r)
{
	return retention_pop3_log_append_guids(box, RETENTION_POP3_LOG_MOVED,
					       time(NULL), guids, error_r);
}

bool retention_pop3_log_exists(struct mailbox *box)
{
	const char *path, *error;
	struct stat st;

	if (retention_pop3_log_get_path(box, &path, &error) <= 0)
		return FALSE;
	/* If it can't be told, reading it will tell why. */
	return lstat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

struct retention_pop3_log_reader {
	pool_t pool;
	HASH_TABLE_TYPE(retention_pop3_log) entries;
	unsigned int skipped;
};

static bool retention_pop3_log_parse_time(const char *str, uint32_t *time_r)
{
	/* the digits must be all there */
	return strlen(str) == RETENTION_POP3_TIME_LEN &&
		str_to_uint32(str, time_r) == 0;
}

static struct retention_pop3_log_entry *
retention_pop3_log_get_entry(struct retention_pop3_log_reader *reader,
			     const char *guid)
{
	struct retention_pop3_log_entry *entry;
	const char *key;

	entry = hash_table_lookup(reader->entries, guid);
	if (entry == NULL) {
		entry = p_new(reader->pool, struct retention_pop3_log_entry, 1);
		key = p_strdup(reader->pool, guid);
		hash_table_insert(reader->entries, key, entry);
	}
	return entry;
}

static bool
retention_pop3_log_apply(struct retention_pop3_log_reader *reader,
			 const char *what, const char *guid, uint32_t timestamp)
{
	struct retention_pop3_log_entry *entry;

	if (strcmp(what, RETENTION_POP3_LOG_DELETED) == 0) {
		entry = retention_pop3_log_get_entry(reader, guid);
		entry->hidden = TRUE;
		entry->hidden_time = timestamp;
	} else if (strcmp(what, RETENTION_POP3_LOG_RETRIEVED) == 0) {
		entry = retention_pop3_log_get_entry(reader, guid);
		entry->downloaded = TRUE;
		if (entry->downloaded_time == 0)
			entry->downloaded_time = timestamp;
	} else if (strcmp(what, RETENTION_POP3_LOG_RESET) == 0) {
		entry = hash_table_lookup(reader->entries, guid);
		if (entry != NULL)
			i_zero(entry);
	} else if (strcmp(what, RETENTION_POP3_LOG_MOVED) == 0) {
		entry = hash_table_lookup(reader->entries, guid);
		if (entry != NULL)
			entry->hidden_time = entry->downloaded_time = 0;
	} else {
		return FALSE;
	}
	return TRUE;
}

/* Returns FALSE if the line, without its LF, can't be understood. */
static bool
retention_pop3_log_parse(struct retention_pop3_log_reader *reader,
			 const unsigned char *data, size_t size)
{
	const char *const *fields;
	uint32_t timestamp;

	if (size == 0)
		return TRUE;
	if (size >= RETENTION_POP3_LINE_MAX_LEN ||
	    memchr(data, '\0', size) != NULL)
		return FALSE;
	fields = t_strsplit_tabescaped(t_strndup(data, size));
	return str_array_length(fields) == 3 &&
		retention_pop3_guid_is_usable(fields[1]) &&
		retention_pop3_log_parse_time(fields[2], &timestamp) &&
		retention_pop3_log_apply(reader, fields[0], fields[1],
					 timestamp);
}

/* Parse the input's lines, of which it has as many bytes in memory as the
   longest one needs. */
static void
retention_pop3_log_read_lines(struct retention_pop3_log_reader *reader,
			      struct istream *input)
{
	const unsigned char *data, *end;
	bool overlong = FALSE;
	size_t size;
	ssize_t ret;

	while ((ret = i_stream_read(input)) > 0 || ret == -2) {
		data = i_stream_get_data(input, &size);
		while ((end = memchr(data, '\n', size)) != NULL) T_BEGIN {
			if (overlong ||
			    !retention_pop3_log_parse(reader, data, end - data))
				reader->skipped++;
			overlong = FALSE;
			i_stream_skip(input, end + 1 - data);
			data = i_stream_get_data(input, &size);
		} T_END;
		if (size >= RETENTION_POP3_LINE_MAX_LEN) {
			overlong = TRUE;
			i_stream_skip(input, size);
		}
	}
	/* the last line was cut off */
	if (overlong || i_stream_get_data_size(input) > 0)
		reader->skipped++;
}

/* Returns 0 on success, -1 with error_r. */
static int
retention_pop3_log_read_fd(struct retention_pop3_log_reader *reader, int fd,
			   const char *path, const char **error_r)
{
	struct istream *file_input, *input;
	int ret = 0;

	file_input = i_stream_create_fd(fd, IO_BLOCK_SIZE);
	/* it may grow meanwhile */
	input = i_stream_create_limit(file_input, RETENTION_POP3_LOG_MAX_SIZE);
	i_stream_unref(&file_input);
	retention_pop3_log_read_lines(reader, input);
	if (input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s", path,
					   i_stream_get_error(input));
		ret = -1;
	}
	i_stream_unref(&input);
	return ret;
}

int retention_pop3_log_read(struct mailbox *box, pool_t pool,
			    HASH_TABLE_TYPE(retention_pop3_log) *entries_r,
			    unsigned int *skipped_r, const char **error_r)
{
	struct retention_pop3_log_reader reader = { .pool = pool };
	const char *path;
	struct stat st;
	int fd, ret;

	ret = retention_pop3_log_get_path(box, &path, error_r);
	if (ret <= 0)
		return ret;
	fd = retention_pop3_log_open(path, O_RDONLY, &st, error_r);
	if (fd == -1)
		return errno == ENOENT ? 0 : -1;
	if (st.st_size > RETENTION_POP3_LOG_MAX_SIZE) {
		*error_r = t_strdup_printf("%s is too large (%"PRIuUOFF_T
			" bytes; at most %u are read)", path,
			(uoff_t)st.st_size, RETENTION_POP3_LOG_MAX_SIZE);
		i_close_fd(&fd);
		return -1;
	}
	hash_table_create(&reader.entries, pool, 0, str_hash, strcmp);
	ret = retention_pop3_log_read_fd(&reader, fd, path, error_r);
	i_close_fd(&fd);
	if (ret < 0) {
		hash_table_destroy(&reader.entries);
		return -1;
	}
	*entries_r = reader.entries;
	*skipped_r = reader.skipped;
	return 1;
}

/* Returns how many lines the mailbox's state needs. */
static unsigned int retention_pop3_log_count_lines(struct mailbox *box)
{
	struct retention_pop3_reader *reader;
	struct retention_pop3_facts facts;
	uint32_t seq, count = mail_index_view_get_messages_count(box->view);
	unsigned int lines = 0;

	reader = retention_pop3_reader_init(box, box->view);
	for (seq = 1; seq <= count; seq++) {
		if (retention_pop3_reader_get(reader, seq, &facts)) {
			lines += (facts.hidden ? 1 : 0) +
				(facts.downloaded ? 1 : 0);
		}
	}
	retention_pop3_reader_deinit(&reader);
	return lines;
}

/* Returns 0 on success, or if the message is gone, -1 with error_r. */
static int
retention_pop3_log_write_mail(struct ostream *output, struct mail *mail,
			      const struct retention_pop3_facts *facts,
			      const char **error_r)
{
	string_t *str = t_str_new(256);
	const char *guid;

	if (mail_get_special(mail, MAIL_FETCH_GUID, &guid) < 0) {
		if (mail->expunged)
			return 0;
		*error_r = t_strdup_printf("UID=%u: %s", mail->uid,
					   retention_box_error(mail->box));
		return -1;
	}
	if (!retention_pop3_guid_is_usable(guid))
		return 0;
	if (facts->downloaded) {
		retention_pop3_log_line(str, RETENTION_POP3_LOG_RETRIEVED, guid,
					facts->downloaded_time);
	}
	if (facts->hidden) {
		retention_pop3_log_line(str, RETENTION_POP3_LOG_DELETED, guid,
					facts->hidden_time);
	}
	o_stream_nsend(output, str_data(str), str_len(str));
	return 0;
}

static int
retention_pop3_log_write_mails(struct mailbox *box, struct ostream *output,
			       const char **error_r)
{
	struct mailbox_transaction_context *t;
	struct retention_pop3_reader *reader;
	struct retention_pop3_facts facts;
	struct mail *mail;
	uint32_t seq, count;
	int ret = 0;

	t = mailbox_transaction_begin(box, 0, "retention: pop3 log");
	mail = mail_alloc(t, MAIL_FETCH_GUID, NULL);
	reader = retention_pop3_reader_init(box, t->view);
	count = mail_index_view_get_messages_count(t->view);
	for (seq = 1; seq <= count && ret == 0; seq++) T_BEGIN {
		if (retention_pop3_reader_get(reader, seq, &facts)) {
			mail_set_seq(mail, seq);
			ret = retention_pop3_log_write_mail(output, mail,
							    &facts, error_r);
		}
	} T_END_PASS_STR_IF(ret < 0, error_r);
	retention_pop3_reader_deinit(&reader);
	mail_free(&mail);
	mailbox_transaction_rollback(&t);
	return ret;
}

static int
retention_pop3_log_write_fd(struct mailbox *box, int fd, const char *path,
			    const char **error_r)
{
	struct ostream *output;
	int ret;

	output = o_stream_create_fd_file(fd, 0, FALSE);
	o_stream_set_name(output, path);
	ret = retention_pop3_log_write_mails(box, output, error_r);
	if (ret < 0)
		o_stream_abort(output);
	else if (o_stream_finish(output) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %s", path,
					   o_stream_get_error(output));
		ret = -1;
	} else if (fsync(fd) < 0) {
		*error_r = t_strdup_printf("fsync(%s) failed: %m", path);
		ret = -1;
	}
	o_stream_unref(&output);
	return ret;
}

static int
retention_pop3_log_replace(struct mailbox *box, const char *path,
			   const char **error_r)
{
	const char *temp_path, *dir;
	int fd, ret;

	temp_path = t_strconcat(path, RETENTION_POP3_LOG_TEMP_SUFFIX, NULL);
	/* a crash may have left it */
	i_unlink_if_exists(temp_path);
	fd = retention_pop3_log_create(box, temp_path, O_WRONLY);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", temp_path);
		return -1;
	}
	ret = retention_pop3_log_write_fd(box, fd, temp_path, error_r);
	i_close_fd(&fd);
	if (ret == 0 && rename(temp_path, path) < 0) {
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m",
					   temp_path, path);
		ret = -1;
	}
	if (ret < 0) {
		i_unlink_if_exists(temp_path);
		return -1;
	}
	dir = t_strdup_until(path, strrchr(path, '/'));
	if (fdatasync_path(dir) < 0) {
		*error_r = t_strdup_printf("fdatasync(%s) failed: %m", dir);
		return -1;
	}
	return 0;
}

int retention_pop3_log_compact(struct mailbox *box, const char **error_r)
{
	const char *path;
	struct stat st;
	int ret;

	ret = retention_pop3_log_get_path(box, &path, error_r);
	if (ret <= 0)
		return ret;
	if (stat(path, &st) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		*error_r = t_strdup_printf("stat(%s) failed: %m", path);
		return -1;
	}
	if (st.st_size < RETENTION_POP3_LOG_COMPACT_MIN_SIZE)
		return 0;
	/* Sessions may have changed something since the mailbox was opened. */
	if (mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) < 0) {
		*error_r = retention_box_error(box);
		return -1;
	}
	/* Does the log know more than the index? */
	if (!retention_pop3_state_is_settled(box))
		return 0;
	if (st.st_size / RETENTION_POP3_LOG_COMPACT_LINE_SIZE <=
	    retention_pop3_log_count_lines(box))
		return 0;
	return retention_pop3_log_replace(box, path, error_r);
}
