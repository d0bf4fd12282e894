/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* A text file in the user's home directory: one line for each quota root, with
   the fields of struct retention_quota_state and a tab between each two. A new
   one is written beside it and takes its place, so that a crash leaves the old
   or the new one. Removing it does no harm but that a notice may come twice. */

#include "lib.h"
#include "array.h"
#include "mail-user.h"
#include "read-full.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "write-full.h"
#include "retention-quota-state.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETENTION_QUOTA_STATE_FNAME "dovecot.retention.quota"
#define RETENTION_QUOTA_STATE_LOCK_FNAME "dovecot.retention.quota.lock"
#define RETENTION_QUOTA_STATE_LOCK_TIMEOUT_SECS 2
#define RETENTION_QUOTA_STATE_MAX_SIZE (64 * 1024)

static const char *
retention_quota_state_path(struct mail_user *user, const char **error_r)
{
	const char *home;

	if (mail_user_get_home(user, &home) <= 0) {
		*error_r = "The user has no home directory";
		return NULL;
	}
	return t_strconcat(home, "/"RETENTION_QUOTA_STATE_FNAME, NULL);
}

int retention_quota_state_lock(struct mail_user *user,
			       struct file_lock **lock_r, const char **error_r)
{
	return mail_user_lock_file_create(user,
		RETENTION_QUOTA_STATE_LOCK_FNAME,
		RETENTION_QUOTA_STATE_LOCK_TIMEOUT_SECS, lock_r, error_r);
}

static void
retention_quota_state_parse(const char *line, pool_t pool,
			    ARRAY_TYPE(retention_quota_state) *states)
{
	const char *const *fields = t_strsplit_tabescaped(line);
	struct retention_quota_state state;

	i_zero(&state);
	if (str_array_length(fields) != 6 ||
	    str_to_uint(fields[1], &state.warning.level) < 0 ||
	    state.warning.level > 100 ||
	    str_to_uint(fields[2], &state.warning.noticed_level) < 0 ||
	    str_to_time(fields[3], &state.warning.noticed) < 0 ||
	    str_to_uint32(fields[4], &state.uidvalidity) < 0 ||
	    str_to_uint32(fields[5], &state.uid) < 0)
		return;
	state.root = p_strdup(pool, fields[0]);
	array_push_back(states, &state);
}

/* Returns the file's text, NULL with error_r. Users may have put anything into
   their home directories. */
static const char *
retention_quota_state_read_fd(int fd, const char *path, const char **error_r)
{
	struct stat st;
	char *data;

	if (fstat(fd, &st) < 0) {
		*error_r = t_strdup_printf("fstat(%s) failed: %m", path);
		return NULL;
	}
	if (!S_ISREG(st.st_mode) ||
	    st.st_size > RETENTION_QUOTA_STATE_MAX_SIZE) {
		*error_r = t_strdup_printf("%s is not a file of at most %d "
			"bytes", path, RETENTION_QUOTA_STATE_MAX_SIZE);
		return NULL;
	}
	data = t_malloc0(st.st_size + 1);
	if (read_full(fd, data, st.st_size) < 0) {
		*error_r = t_strdup_printf("read(%s) failed: %m", path);
		return NULL;
	}
	return data;
}

int retention_quota_state_read(struct mail_user *user, pool_t pool,
			       ARRAY_TYPE(retention_quota_state) *states_r,
			       const char **error_r)
{
	const char *path = retention_quota_state_path(user, error_r);
	const char *text, *const *lines;
	int fd;

	p_array_init(states_r, pool, 2);
	if (path == NULL)
		return -1;
	/* opening a FIFO would wait for somebody to write to it */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ENOENT)
			return 0;
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	text = retention_quota_state_read_fd(fd, path, error_r);
	i_close_fd(&fd);
	if (text == NULL)
		return -1;
	for (lines = t_strsplit(text, "\n"); *lines != NULL; lines++)
		retention_quota_state_parse(*lines, pool, states_r);
	return 0;
}

struct retention_quota_state *
retention_quota_state_get(ARRAY_TYPE(retention_quota_state) *states,
			  const char *root)
{
	struct retention_quota_state *state;

	array_foreach_modifiable(states, state) {
		if (strcmp(state->root, root) == 0)
			return state;
	}
	state = array_append_space(states);
	state->root = root;
	return state;
}

static int
retention_quota_state_write_to(const char *path, const string_t *str,
			       const char **error_r)
{
	int fd, ret = 0;

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK |
		  O_CLOEXEC, 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	/* not to have an empty file in its place after a power failure */
	if (write_full(fd, str_data(str), str_len(str)) < 0 ||
	    fdatasync(fd) < 0) {
		*error_r = t_strdup_printf("Writing %s failed: %m", path);
		ret = -1;
	}
	if (close(fd) < 0 && ret == 0) {
		*error_r = t_strdup_printf("close(%s) failed: %m", path);
		ret = -1;
	}
	return ret;
}

int retention_quota_state_write(struct mail_user *user,
				const ARRAY_TYPE(retention_quota_state) *states,
				const char **error_r)
{
	const char *temp, *path = retention_quota_state_path(user, error_r);
	const struct retention_quota_state *state;
	string_t *str = t_str_new(128);

	if (path == NULL)
		return -1;
	array_foreach(states, state) {
		str_append_tabescaped(str, state->root);
		str_printfa(str, "\t%u\t%u\t%s\t%u\t%u\n", state->warning.level,
			    state->warning.noticed_level,
			    dec2str(state->warning.noticed),
			    state->uidvalidity, state->uid);
	}
	temp = t_strconcat(path, ".tmp", NULL);
	if (retention_quota_state_write_to(temp, str, error_r) < 0)
		return -1;
	if (rename(temp, path) < 0) {
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m", temp,
					   path);
		return -1;
	}
	return 0;
}
