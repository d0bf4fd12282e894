/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Preloaded into doveadm by test_faults.py: makes the N-th call that changes a
   file below a directory fail. What to do is told by the environment:

   RETENTION_FAULT_BELOW  only calls on files below this directory count
   RETENTION_FAULT_AT     number of the call that fails, from 1; 0 for none
   RETENTION_FAULT_ERRNO  the errno that it sets
   RETENTION_FAULT_LASTS  1: all later calls that need disk space fail too
   RETENTION_FAULT_LOG    each call that counts is written there, a line each,
                          those that were made to fail marked with "!"
   RETENTION_NO_EXCHANGE  1: RENAME_EXCHANGE is refused with EINVAL, as by file
                          systems that do not have it */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned int fault_count;

static long fault_number(const char *name)
{
	const char *value = getenv(name);

	return value == NULL ? 0 : strtol(value, NULL, 10);
}

static void fault_log(const char *call, const char *path, bool failed)
{
	const char *log = getenv("RETENTION_FAULT_LOG");
	char line[PATH_MAX + 64];
	int fd, len;

	if (log == NULL)
		return;
	fd = (int)syscall(SYS_openat, AT_FDCWD, log,
			  O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	len = snprintf(line, sizeof(line), "%s%u %s %s\n", failed ? "!" : "",
		       fault_count, call, path);
	(void)!syscall(SYS_write, fd, line, (size_t)len);
	(void)syscall(SYS_close, fd);
}

/* Returns true if this call is to fail; errno is set then. */
static bool fault_at(const char *call, const char *path, bool needs_space)
{
	const char *below = getenv("RETENTION_FAULT_BELOW");
	long at = fault_number("RETENTION_FAULT_AT");
	int old_errno = errno;
	bool fail;

	if (below == NULL || strncmp(path, below, strlen(below)) != 0)
		return false;
	fault_count++;
	fail = (long)fault_count == at ||
		(at > 0 && (long)fault_count > at && needs_space &&
		 fault_number("RETENTION_FAULT_LASTS") == 1);
	fault_log(call, path, fail);
	errno = fail ? (int)fault_number("RETENTION_FAULT_ERRNO") : old_errno;
	return fail;
}

static bool fault_at_fd(const char *call, int fd, bool needs_space)
{
	char link[64], path[PATH_MAX];
	int old_errno = errno;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	errno = old_errno;
	if (len <= 0)
		return false;
	path[len] = '\0';
	return fault_at(call, path, needs_space);
}

static bool fault_at_name(const char *call, int dir, const char *name,
			  bool needs_space)
{
	char link[64], path[2 * PATH_MAX];
	ssize_t len;

	if (name[0] == '/' || dir == AT_FDCWD)
		return fault_at(call, name, needs_space);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	len = readlink(link, path, PATH_MAX);
	if (len <= 0)
		return false;
	snprintf(path + len, sizeof(path) - (size_t)len, "/%s", name);
	return fault_at(call, path, needs_space);
}

ssize_t write(int fd, const void *data, size_t size)
{
	if (fault_at_fd("write", fd, true))
		return -1;
	return syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	if (fault_at_fd("pwrite", fd, true))
		return -1;
	return syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	return pwrite(fd, data, size, offset);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	if (fault_at_fd("writev", fd, true))
		return -1;
	return syscall(SYS_writev, fd, iov, count);
}

int fsync(int fd)
{
	if (fault_at_fd("fsync", fd, false))
		return -1;
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	if (fault_at_fd("fdatasync", fd, false))
		return -1;
	return (int)syscall(SYS_fdatasync, fd);
}

int syncfs(int fd)
{
	if (fault_at_fd("syncfs", fd, false))
		return -1;
	return (int)syscall(SYS_syncfs, fd);
}

int ftruncate(int fd, off_t size)
{
	if (fault_at_fd("ftruncate", fd, false))
		return -1;
	return (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
	if (fault_at_fd("fallocate", fd, true))
		return -1;
	return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
	return fallocate(fd, mode, offset, size);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to,
	      unsigned int flags)
{
	if ((flags & RENAME_EXCHANGE) != 0 &&
	    fault_number("RETENTION_NO_EXCHANGE") == 1) {
		errno = EINVAL;
		return -1;
	}
	if (fault_at_name("rename", to_dir, to, false))
		return -1;
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return renameat2(from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to,
	   int flags)
{
	if (fault_at_name("link", to_dir, to, true))
		return -1;
	return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int dir, const char *name, int flags)
{
	if (fault_at_name("unlink", dir, name, false))
		return -1;
	return (int)syscall(SYS_unlinkat, dir, name, flags);
}

int unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int mkdir(const char *name, mode_t mode)
{
	if (fault_at("mkdir", name, true))
		return -1;
	return (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
}

/* Opening a file that may have to be made counts. */
static int fault_open(int dir, const char *name, int flags, mode_t mode)
{
	if ((flags & O_CREAT) != 0 &&
	    fault_at_name("create", dir, name, true))
		return -1;
	return (int)syscall(SYS_openat, dir, name, flags, mode);
}

static mode_t fault_mode(int flags, va_list args)
{
	if ((flags & (O_CREAT | O_TMPFILE)) == 0)
		return 0;
	return va_arg(args, mode_t);
}

#define FAULT_OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		va_list args; \
		mode_t mode; \
		va_start(args, flags); \
		mode = fault_mode(flags, args); \
		va_end(args); \
		return fault_open(AT_FDCWD, path, flags, mode); \
	}
FAULT_OPEN(open)
FAULT_OPEN(open64)

#define FAULT_OPENAT(name) \
	int name(int dir, const char *path, int flags, ...) \
	{ \
		va_list args; \
		mode_t mode; \
		va_start(args, flags); \
		mode = fault_mode(flags, args); \
		va_end(args); \
		return fault_open(dir, path, flags, mode); \
	}
FAULT_OPENAT(openat)
FAULT_OPENAT(openat64)
