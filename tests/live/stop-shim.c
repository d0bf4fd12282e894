/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Preloaded into doveadm by test_interrupted.py: sends the process a signal
   just before it writes to a certain file or makes a certain directory, once.
   What to do is told by the environment, the paths as POSIX extended regular
   expressions:

   RETENTION_STOP_AFTER   counts from the first such call on such a path on; any
                          path if it is not set. If there are several, one a
                          line, each counts from the one before it on.
   RETENTION_STOP_AT      path of the call that is stopped at
   RETENTION_STOP_SIGNAL  number of the signal */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static bool stop_done;
/* The part of RETENTION_STOP_AFTER that is still to be met; NULL before the
   first call. */
static const char *stop_after;

static bool stop_matches(const char *pattern, size_t len, const char *path)
{
	char copy[PATH_MAX];
	regex_t regex;
	bool found;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, pattern, len);
	copy[len] = '\0';
	if (regcomp(&regex, copy, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	found = regexec(&regex, path, 0, NULL, 0) == 0;
	regfree(&regex);
	return found;
}

static void stop_at(const char *path)
{
	const char *at = getenv("RETENTION_STOP_AT");
	size_t len;

	if (stop_done || at == NULL)
		return;
	if (stop_after == NULL) {
		stop_after = getenv("RETENTION_STOP_AFTER");
		if (stop_after == NULL)
			stop_after = "";
	}
	if (*stop_after != '\0') {
		len = strcspn(stop_after, "\n");
		if (!stop_matches(stop_after, len, path))
			return;
		stop_after += len;
		if (*stop_after == '\n')
			stop_after++;
		/* the same call may be the one to stop at */
		if (*stop_after != '\0')
			return;
	}
	if (!stop_matches(at, strlen(at), path))
		return;
	stop_done = true;
	(void)kill(getpid(), atoi(getenv("RETENTION_STOP_SIGNAL")));
}

static void stop_at_fd(int fd)
{
	char link[64], path[PATH_MAX];
	int old_errno = errno;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len > 0) {
		path[len] = '\0';
		stop_at(path);
	}
	errno = old_errno;
}

ssize_t write(int fd, const void *data, size_t size)
{
	stop_at_fd(fd);
	return syscall(SYS_write, fd, data, size);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	stop_at_fd(fd);
	return syscall(SYS_writev, fd, iov, count);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	stop_at_fd(fd);
	return syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	return pwrite(fd, data, size, offset);
}

int mkdir(const char *name, mode_t mode)
{
	int old_errno = errno;

	stop_at(name);
	errno = old_errno;
	return (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
}
