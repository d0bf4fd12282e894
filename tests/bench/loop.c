/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* loop LEVEL DIRECTORY: the least that compressing stored mail can cost. Every
   file in the directory is read, compressed with LZ4HC into the same chunks as
   the plugin writes, written beside the original, synced and renamed over it,
   one after the other; a file that would not get smaller is left alone. Nothing
   is verified and no mailbox knows of it. Prints the seconds that it took, the
   number of files, the bytes before and after. */

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <lz4hc.h>

#define MAGIC "Dovecot-LZ4\x0d\x2a\x9b\xc5"
#define MAGIC_LEN 15
#define CHUNK_SIZE (64 * 1024)

struct loop {
	int level;
	void *state;
	char *plain, *stored;
	size_t plain_alloc, stored_alloc;
	unsigned long files, bytes_before, bytes_after;
};

static void put_be32(char *dest, uint32_t num)
{
	dest[0] = num >> 24;
	dest[1] = num >> 16;
	dest[2] = num >> 8;
	dest[3] = num;
}

static void *grow(void *mem, size_t *alloc, size_t size)
{
	if (size <= *alloc)
		return mem;
	*alloc = size * 2;
	mem = realloc(mem, *alloc);
	if (mem == NULL)
		err(1, "realloc");
	return mem;
}

static size_t read_file(struct loop *loop, const char *name, struct stat *st)
{
	size_t pos = 0;
	ssize_t ret;
	int fd;

	fd = open(name, O_RDONLY);
	if (fd == -1 || fstat(fd, st) < 0)
		err(1, "%s", name);
	loop->plain = grow(loop->plain, &loop->plain_alloc, st->st_size + 1);
	while ((ret = read(fd, loop->plain + pos, st->st_size + 1 - pos)) > 0)
		pos += ret;
	if (ret < 0)
		err(1, "read(%s)", name);
	close(fd);
	return pos;
}

static size_t compress_file(struct loop *loop, size_t size)
{
	size_t pos, chunk, out = MAGIC_LEN + 4;
	size_t chunks = size / CHUNK_SIZE + 1;
	int len;

	loop->stored = grow(loop->stored, &loop->stored_alloc, out +
			    chunks * (LZ4_COMPRESSBOUND(CHUNK_SIZE) + 4));
	memcpy(loop->stored, MAGIC, MAGIC_LEN);
	put_be32(loop->stored + MAGIC_LEN,
		 size < CHUNK_SIZE ? size : CHUNK_SIZE);
	for (pos = 0; pos < size; pos += chunk) {
		chunk = size - pos < CHUNK_SIZE ? size - pos : CHUNK_SIZE;
		len = LZ4_compress_HC_extStateHC(loop->state, loop->plain + pos,
			loop->stored + out + 4, chunk,
			LZ4_COMPRESSBOUND(CHUNK_SIZE), loop->level);
		if (len <= 0)
			errx(1, "LZ4_compress_HC_extStateHC failed");
		put_be32(loop->stored + out, len);
		out += 4 + len;
	}
	return out;
}

static void write_file(struct loop *loop, const char *name,
		       const struct stat *st, size_t size)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int fd;

	fd = open(".loop.tmp", O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd == -1)
		err(1, "open");
	if (write(fd, loop->stored, size) != (ssize_t)size ||
	    futimens(fd, times) < 0 || fsync(fd) < 0)
		err(1, "write");
	close(fd);
	if (rename(".loop.tmp", name) < 0)
		err(1, "rename(%s)", name);
}

static void do_file(struct loop *loop, const char *name)
{
	struct stat st;
	size_t size, stored;

	size = read_file(loop, name, &st);
	stored = compress_file(loop, size);
	loop->files++;
	loop->bytes_before += size;
	if (stored < size)
		write_file(loop, name, &st, stored);
	loop->bytes_after += stored < size ? stored : size;
}

static int is_file(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

int main(int argc, char *argv[])
{
	struct loop loop = { .level = 0 };
	struct timespec start, end;
	struct dirent **list;
	int i, count;

	if (argc != 3)
		errx(2, "usage: loop LEVEL DIRECTORY");
	loop.level = atoi(argv[1]);
	loop.state = malloc(LZ4_sizeofStateHC());
	if (loop.state == NULL || chdir(argv[2]) < 0)
		err(1, "%s", argv[2]);
	clock_gettime(CLOCK_MONOTONIC, &start);
	count = scandir(".", &list, is_file, NULL);
	if (count < 0)
		err(1, "scandir");
	for (i = 0; i < count; i++)
		do_file(&loop, list[i]->d_name);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.6f %lu %lu %lu\n", (end.tv_sec - start.tv_sec) +
	       (end.tv_nsec - start.tv_nsec) / 1e9,
	       loop.files, loop.bytes_before, loop.bytes_after);
	return 0;
}
