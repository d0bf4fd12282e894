/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* The lock file is empty, stays for good and says nothing by being there: what
   counts is the kernel's lock on it, which goes with the process that holds it.
   It is flock()'s, since each open file holds its own: the other kind belongs
   to the process, which would lose it for all of its sessions when one of them
   ends.

   Dovecot's own session lock is a file that is there as long as it is locked.
   It tells which process holds it, so that Dovecot removes one that was left
   behind by a process that died. */

#include "lib.h"
#include "file-dotlock.h"
#include "file-lock.h"
#include "mailbox-list-private.h"
#include "mail-namespace.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "retention-session.h"

#include <fcntl.h>
#include <unistd.h>

#define RETENTION_SESSION_LOCK_FNAME "dovecot.retention.pop3.lock"
/* A run holds the lock for one batch of messages. */
#define RETENTION_SESSION_LOCK_TIMEOUT_SECS 5

/* Both are Dovecot's, in its pop3 service. */
#define POP3_SESSION_DOTLOCK_FNAME "dovecot-pop3-session.lock"
#define POP3_SESSION_DOTLOCK_STALE_TIMEOUT_SECS (60 * 5)

struct retention_session_lock {
	int fd;
	struct file_lock *lock;
};

static int
retention_session_lock_open(struct mail_user *user, const char **path_r,
			    const char **error_r)
{
	const char *home;
	int fd, ret;

	ret = mail_user_get_home(user, &home);
	if (ret <= 0) {
		*error_r = ret < 0 ? "Home directory lookup failed" :
			"User has no home directory";
		return -1;
	}
	*path_r = t_strconcat(home, "/"RETENTION_SESSION_LOCK_FNAME, NULL);
	/* NFS wants the file to be open for what it is locked for. */
	fd = open(*path_r, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		*error_r = t_strdup_printf("open(%s) failed: %m", *path_r);
	return fd;
}

static int
retention_session_lock_init(struct mail_user *user, int lock_type,
			    unsigned int timeout_secs,
			    struct retention_session_lock **lock_r,
			    const char **error_r)
{
	const struct file_lock_settings set = {
		.lock_method = FILE_LOCK_METHOD_FLOCK,
	};
	struct retention_session_lock *lock;
	struct file_lock *file_lock;
	const char *path;
	int fd, ret;

	*lock_r = NULL;
	fd = retention_session_lock_open(user, &path, error_r);
	if (fd == -1)
		return -1;
	/* Most often nobody is there, and no alarm needs to be set. */
	ret = file_try_lock(fd, path, lock_type, &set, &file_lock, error_r);
	if (ret == 0 && timeout_secs > 0) {
		ret = file_wait_lock(fd, path, lock_type, &set, timeout_secs,
				     &file_lock, error_r);
	}
	if (ret <= 0) {
		i_close_fd(&fd);
		return ret;
	}
	lock = i_new(struct retention_session_lock, 1);
	lock->fd = fd;
	lock->lock = file_lock;
	*lock_r = lock;
	return 1;
}

int retention_session_lock_shared(struct mail_user *user,
				  struct retention_session_lock **lock_r,
				  const char **error_r)
{
	return retention_session_lock_init(user, F_RDLCK,
		RETENTION_SESSION_LOCK_TIMEOUT_SECS, lock_r, error_r);
}

/* Returns FALSE if Dovecot has no place for its lock, and therefore no session
   that holds it. */
static bool
retention_session_dotlock_get_path(struct mailbox_list *list,
				   const char **path_r)
{
	const char *dir;

	if (!mailbox_list_get_root_path(list, MAILBOX_LIST_PATH_TYPE_INDEX,
					&dir) &&
	    !mailbox_list_get_root_path(list, MAILBOX_LIST_PATH_TYPE_DIR, &dir))
		return FALSE;
	*path_r = t_strconcat(dir, "/"POP3_SESSION_DOTLOCK_FNAME, NULL);
	return TRUE;
}

/* Returns 1 if no session holds Dovecot's lock, 0 if one does, -1 with error_r.
   The lock is taken only to learn whether it is a dead one, and given up at
   once: a run that were killed would leave it behind, and keep clients and
   other runs waiting. What keeps sessions from beginning is our own lock. */
static int
retention_session_dotlock_check(struct mailbox_list *list, const char **error_r)
{
	const struct dotlock_settings set = {
		.stale_timeout = POP3_SESSION_DOTLOCK_STALE_TIMEOUT_SECS,
		.lock_suffix = "",
		.use_excl_lock = list->mail_set->dotlock_use_excl,
		.nfs_flush = list->mail_set->mail_nfs_storage,
	};
	struct dotlock *dotlock;
	const char *path;
	int ret;

	if (!retention_session_dotlock_get_path(list, &path) ||
	    (access(path, F_OK) < 0 && errno == ENOENT))
		return 1;
	ret = file_dotlock_create(&set, path, DOTLOCK_CREATE_FLAG_NONBLOCK,
				  &dotlock);
	if (ret > 0)
		file_dotlock_delete(&dotlock);
	else if (ret < 0) {
		*error_r = t_strdup_printf("file_dotlock_create(%s) failed: %m",
					   path);
	} else if (access(path, F_OK) < 0 && errno == ENOENT) {
		/* it was left behind by a process that died, and was removed
		   just now */
		ret = 1;
	}
	return ret;
}

int retention_session_lock_exclusive(struct mail_namespace *ns,
				     struct retention_session_lock **lock_r,
				     const char **error_r)
{
	int ret;

	ret = retention_session_lock_init(ns->user, F_WRLCK, 0, lock_r,
					  error_r);
	if (ret <= 0)
		return ret;
	ret = retention_session_dotlock_check(ns->list, error_r);
	if (ret <= 0)
		retention_session_unlock(lock_r);
	return ret;
}

void retention_session_unlock(struct retention_session_lock **_lock)
{
	struct retention_session_lock *lock = *_lock;

	if (lock == NULL)
		return;
	*_lock = NULL;

	file_unlock(&lock->lock);
	i_close_fd(&lock->fd);
	i_free(lock);
}
