/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* A text file in the user's home directory: one line for each quota root, with
   the fields of struct retention_quota_state and a tab between each two. A new
   one is written beside it and takes its place, so that a crash leaves the old
   or the new one. Removing it does no harm but that a notice may come twice. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "mail-user.h"
#include "str.h"
#include "strescape.h"
#include "strnum.h"
#include "write-full.h"
#include "retention-quota-state.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define RETENTION_QUOTA_STATE_FNAME "dovecot.retention.quota"
#define RETENTION_QUOTA_STATE_MAX_LINE 4096

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

static void
retention_quota_state_parse(const char *line, pool_t pool,
			    ARRAY_TYPE(retention_quota_state) *states)
{
	const char *const *fields = t_strsplit_tabescaped(line);
	struct retention_quota_state state;

	i_zero(&state);
	if (str_array_length(fields) != 6 ||
	    str_to_uint(fields[1], &state.warning.level) < 0 ||
	    str_to_uint(fields[2], &state.warning.noticed_level) < 0 ||
	    str_to_time(fields[3], &state.warning.noticed) < 0 ||
	    str_to_uint32(fields[4], &state.uidvalidity) < 0 ||
	    str_to_uint32(fields[5], &state.uid) < 0)
		return;
	state.root = p_strdup(pool, fields[0]);
	array_push_back(states, &state);
}

int retention_quota_state_read(struct mail_user *user, pool_t pool,
			       ARRAY_TYPE(retention_quota_state) *states_r,
			       const char **error_r)
{
	const char *line, *path = retention_quota_state_path(user, error_r);
	struct istream *input;
	int ret = 0;

	p_array_init(states_r, pool, 2);
	if (path == NULL)
		return -1;
	input = i_stream_create_file(path, RETENTION_QUOTA_STATE_MAX_LINE);
	while ((line = i_stream_read_next_line(input)) != NULL) T_BEGIN {
		retention_quota_state_parse(line, pool, states_r);
	} T_END;
	if (input->stream_errno != 0 && input->stream_errno != ENOENT) {
		*error_r = t_strdup(i_stream_get_error(input));
		ret = -1;
	}
	i_stream_unref(&input);
	return ret;
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

int retention_quota_state_write(struct mail_user *user,
				const ARRAY_TYPE(retention_quota_state) *states,
				const char **error_r)
{
	const char *temp, *path = retention_quota_state_path(user, error_r);
	const struct retention_quota_state *state;
	string_t *str = t_str_new(128);
	int fd;

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
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", temp);
		return -1;
	}
	if (write_full(fd, str_data(str), str_len(str)) < 0 ||
	    close(fd) < 0 || rename(temp, path) < 0) {
		*error_r = t_strdup_printf("Writing %s failed: %m", path);
		return -1;
	}
	return 0;
}
