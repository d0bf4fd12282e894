/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* fetch PORT USER MAILBOX COMMAND...: an IMAP client that is no bottleneck: it
   only counts what it is sent. Logs in on 127.0.0.1, opens the mailbox, sends
   the commands one after the other, and prints for each the bytes that came and
   the seconds until its tagged answer. */

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (1024 * 1024)
/* More than the longest tagged answer. */
#define TAIL_SIZE 512

struct fetch {
	int fd;
	unsigned int tag;
	char tail[TAIL_SIZE + 1];
	size_t tail_len;
};

static char buffer[BUFFER_SIZE];

static void fetch_connect(struct fetch *fetch, int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int one = 1;

	addr.sin_port = htons(port);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fetch->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fetch->fd == -1 ||
	    connect(fetch->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		err(1, "connect");
	setsockopt(fetch->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Keep the end of what was read. */
static void fetch_keep_tail(struct fetch *fetch, const char *data, size_t size)
{
	size_t keep;

	if (size >= TAIL_SIZE) {
		memcpy(fetch->tail, data + size - TAIL_SIZE, TAIL_SIZE);
		fetch->tail_len = TAIL_SIZE;
	} else {
		keep = fetch->tail_len + size > TAIL_SIZE ?
			TAIL_SIZE - size : fetch->tail_len;
		memmove(fetch->tail, fetch->tail + fetch->tail_len - keep,
			keep);
		memcpy(fetch->tail + keep, data, size);
		fetch->tail_len = keep + size;
	}
	fetch->tail[fetch->tail_len] = '\0';
}

/* Returns the last line if it is complete, else NULL. */
static const char *fetch_last_line(struct fetch *fetch)
{
	char *end = fetch->tail + fetch->tail_len, *p;

	if (fetch->tail_len < 2 || memcmp(end - 2, "\r\n", 2) != 0)
		return NULL;
	for (p = end - 2; p > fetch->tail && p[-1] != '\n'; p--)
		;
	return p;
}

/* Read until the last line begins with the prefix. Returns the bytes read. */
static unsigned long fetch_read(struct fetch *fetch, const char *prefix)
{
	const char *line = NULL;
	unsigned long bytes = 0;
	ssize_t ret;

	fetch->tail_len = 0;
	do {
		ret = read(fetch->fd, buffer, sizeof(buffer));
		if (ret <= 0)
			errx(1, "connection closed after: %s", fetch->tail);
		bytes += ret;
		fetch_keep_tail(fetch, buffer, ret);
		line = fetch_last_line(fetch);
	} while (line == NULL || strncmp(line, prefix, strlen(prefix)) != 0);
	return bytes;
}

static unsigned long fetch_command(struct fetch *fetch, const char *command)
{
	char line[1024], prefix[32];
	unsigned long bytes;
	const char *answer;
	int len;

	fetch->tag++;
	len = snprintf(line, sizeof(line), "tag%u %s\r\n", fetch->tag, command);
	if (len >= (int)sizeof(line) || write(fetch->fd, line, len) != len)
		err(1, "write");
	snprintf(prefix, sizeof(prefix), "tag%u ", fetch->tag);
	bytes = fetch_read(fetch, prefix);
	answer = fetch_last_line(fetch) + strlen(prefix);
	if (strncmp(answer, "OK", 2) != 0)
		errx(1, "%s: %s", command, answer);
	return bytes;
}

int main(int argc, char *argv[])
{
	struct fetch fetch = { .tag = 0 };
	struct timespec start, end;
	unsigned long bytes;
	char line[512];
	int i;

	if (argc < 5)
		errx(2, "usage: fetch PORT USER MAILBOX COMMAND...");
	fetch_connect(&fetch, atoi(argv[1]));
	(void)fetch_read(&fetch, "* OK");
	snprintf(line, sizeof(line), "LOGIN %s test", argv[2]);
	(void)fetch_command(&fetch, line);
	snprintf(line, sizeof(line), "EXAMINE \"%s\"", argv[3]);
	(void)fetch_command(&fetch, line);
	for (i = 4; i < argc; i++) {
		clock_gettime(CLOCK_MONOTONIC, &start);
		bytes = fetch_command(&fetch, argv[i]);
		clock_gettime(CLOCK_MONOTONIC, &end);
		printf("%lu %.6f\n", bytes, (end.tv_sec - start.tv_sec) +
		       (end.tv_nsec - start.tv_nsec) / 1e9);
	}
	close(fetch.fd);
	return 0;
}
