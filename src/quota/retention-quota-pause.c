/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* The pause must hold for all processes that may be asked to make room, so it is
   a file in the user's home directory, of one line: when the pause began, a
   checksum of settings and limits, and the bytes and messages that were counted
   in all roots, with a tab between each two. It is written when a pause begins
   and read when mail would be refused, and at no other time. Without it, or if
   it can't be understood, there is no pause; so it is written in place and not
   synced, and may be removed. */

#include "lib.h"
#include "array.h"
#include "crc32.h"
#include "mail-user.h"
#include "str.h"
#include "strnum.h"
#include "write-full.h"
#include "retention-quota.h"
#include "retention-user.h"
#include "retention-quota-pause.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define RETENTION_QUOTA_PAUSE_FNAME "dovecot.retention.relief"
#define RETENTION_QUOTA_PAUSE_MAX_LEN 128

struct retention_quota_pause {
	/* Seconds since 1970. */
	time_t begun;
	uint32_t checksum;
	uint64_t bytes, messages;
};

/* The settings by which messages are found, as text. */
static void
retention_quota_pause_add_settings(const struct retention_settings *set,
				   string_t *str)
{
	ARRAY(const struct retention_rule *) rules;
	const struct retention_rule *rule, *const *rulesp;
	unsigned int count;

	t_array_init(&rules, array_count(&set->rules) + 1);
	array_foreach(&set->rules, rule)
		array_push_back(&rules, &rule);
	rulesp = array_get(&rules, &count);
	str_printfa(str, "%u %u %u %u %d %u\n%s\n%s\n",
		    retention_rules_hash(rulesp, count),
		    retention_pop3_settings_hash(&set->pop3), set->minimum_age,
		    set->run_limit, set->quota.archive, set->quota.relief_target,
		    set->archive_mailbox, set->quota.archive_root);
}

/* What a pause that began now would be. Returns 0, or -1 with error_r. */
static int
retention_quota_pause_get(struct quota *quota,
			  struct retention_quota_pause *pause_r,
			  const char **error_r)
{
	struct retention_quota_usage usage;
	struct quota_root *const *rootp;
	uint64_t bytes_limit, messages_limit;
	string_t *str = t_str_new(256);

	i_zero(pause_r);
	/* not the I/O loop's time, which may be old after a long search */
	pause_r->begun = time(NULL);
	retention_quota_pause_add_settings(
		retention_user_get(quota->user)->set, str);
	array_foreach(retention_quota_get_roots(quota), rootp) {
		if (retention_quota_root_get(*rootp) == NULL)
			continue;
		if (retention_quota_root_limits(*rootp, NULL, &bytes_limit,
						&messages_limit, error_r) < 0 ||
		    retention_quota_get_usage(*rootp, &usage, error_r) !=
		    QUOTA_GET_RESULT_LIMITED)
			return -1;
		pause_r->bytes += usage.bytes;
		pause_r->messages += usage.messages;
		str_printfa(str, "%"PRIu64" %"PRIu64"\n", bytes_limit,
			    messages_limit);
	}
	pause_r->checksum = crc32_data(str_data(str), str_len(str));
	return 0;
}

static const char *retention_quota_pause_path(struct mail_user *user)
{
	const char *home;

	if (mail_user_get_home(user, &home) <= 0)
		return NULL;
	return t_strconcat(home, "/"RETENTION_QUOTA_PAUSE_FNAME, NULL);
}

/* Returns FALSE if there is none, or it is damaged. */
static bool
retention_quota_pause_read(struct mail_user *user,
			   struct retention_quota_pause *pause_r)
{
	const char *const *fields, *path = retention_quota_pause_path(user);
	char buf[RETENTION_QUOTA_PAUSE_MAX_LEN];
	ssize_t len;
	int fd;

	if (path == NULL)
		return FALSE;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return FALSE;
	len = read(fd, buf, sizeof(buf));
	i_close_fd(&fd);
	/* without its end it may be cut within a number */
	if (len <= 0 || buf[len - 1] != '\n')
		return FALSE;
	fields = t_strsplit(t_strndup(buf, len - 1), "\t");
	return str_array_length(fields) == 4 &&
		str_to_time(fields[0], &pause_r->begun) == 0 &&
		str_to_uint32(fields[1], &pause_r->checksum) == 0 &&
		str_to_uint64(fields[2], &pause_r->bytes) == 0 &&
		str_to_uint64(fields[3], &pause_r->messages) == 0;
}

bool retention_quota_pause_is_on(struct quota *quota)
{
	struct retention_quota_pause pause, now;
	const char *error;

	return retention_quota_pause_read(quota->user, &pause) &&
		retention_quota_pause_get(quota, &now, &error) == 0 &&
		/* and not in the future, the clock having been set back */
		pause.begun <= now.begun &&
		now.begun - pause.begun < RETENTION_QUOTA_PAUSE_SECS &&
		now.checksum == pause.checksum &&
		now.bytes >= pause.bytes && now.messages >= pause.messages;
}

int retention_quota_pause_begin(struct quota *quota, const char **error_r)
{
	const char *line, *path = retention_quota_pause_path(quota->user);
	struct retention_quota_pause pause;
	int fd, ret = 0;

	if (retention_quota_pause_get(quota, &pause, error_r) < 0)
		return -1;
	if (path == NULL) {
		*error_r = "The user has no home directory";
		return -1;
	}
	line = t_strdup_printf("%s\t%u\t%"PRIu64"\t%"PRIu64"\n",
			       dec2str(pause.begun), pause.checksum,
			       pause.bytes, pause.messages);
	/* opening a FIFO would wait for somebody to read from it */
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK |
		  O_CLOEXEC, 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	if (write_full(fd, line, strlen(line)) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %m", path);
		ret = -1;
	}
	i_close_fd(&fd);
	return ret;
}
