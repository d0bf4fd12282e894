/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Maildir. The file's name never changes: it is the message's GUID and POP3
   UIDL, and its S= and W= are sizes of the message, not of the file. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "mailbox-list-private.h"
#include "index-storage.h"
#include "maildir-storage.h"
#include "maildir-filename.h"
#include "maildir-keywords.h"
#include "maildir-uidlist.h"
#include "maildir-sync.h"
#include "retention-box.h"
#include "retention-replace.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

struct retention_maildir_open {
	struct retention_source *source;
	int fd;
	/* Outlive the data stack frame that the callback is called in. */
	char *path, *error;
};

struct retention_maildir_path {
	int (*swap)(const char *path, void *context);
	void *context;
};

static int
retention_maildir_open_path(struct maildir_mailbox *mbox ATTR_UNUSED,
			    const char *path,
			    struct retention_maildir_open *ctx)
{
	ctx->fd = open(path, O_RDONLY);
	if (ctx->fd == -1) {
		if (errno == ENOENT)
			return 0;
		i_free(ctx->error);
		ctx->error = i_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	if (fstat(ctx->fd, &ctx->source->st) < 0) {
		i_free(ctx->error);
		ctx->error = i_strdup_printf("fstat(%s) failed: %m", path);
		i_close_fd(&ctx->fd);
		return -1;
	}
	ctx->path = i_strdup(path);
	return 1;
}

static int
retention_maildir_open(struct mailbox *box, uint32_t uid,
		       struct retention_source *source_r, const char **error_r)
{
	struct retention_maildir_open ctx = { .source = source_r, .fd = -1 };
	int ret;

	i_zero(source_r);
	ret = maildir_file_do(MAILDIR_MAILBOX(box), uid,
			      retention_maildir_open_path, &ctx);
	if (ret <= 0) {
		*error_r = ctx.error != NULL ? t_strdup(ctx.error) :
			retention_box_error(box);
		i_free(ctx.error);
		return ret;
	}
	source_r->context = ctx.path;
	source_r->path = ctx.path;
	source_r->size = source_r->st.st_size;
	source_r->input = i_stream_create_fd_autoclose(&ctx.fd, IO_BLOCK_SIZE);
	i_stream_set_name(source_r->input, source_r->path);
	source_r->state = RETENTION_RECORD_UNKNOWN;
	return 1;
}

static void retention_maildir_close(struct retention_source *source)
{
	char *path = source->context;

	i_stream_unref(&source->input);
	i_free(path);
}

static const char *
retention_maildir_get_temp_path(struct mailbox *box,
			const struct retention_source *source ATTR_UNUSED)
{
	return t_strdup_printf("%s/tmp/%s", mailbox_get_path(box),
			       maildir_filename_generate());
}

static int
retention_maildir_swap_path(struct maildir_mailbox *mbox ATTR_UNUSED,
			    const char *path,
			    struct retention_maildir_path *ctx)
{
	return ctx->swap(path, ctx->context);
}

static int
retention_maildir_with_path(struct mailbox *box, uint32_t uid, bool lock,
			    int (*swap)(const char *path, void *context),
			    void *context)
{
	struct maildir_mailbox *mbox = MAILDIR_MAILBOX(box);
	struct retention_maildir_path ctx = {
		.swap = swap, .context = context
	};
	int ret;

	/* Flag changes rename, and expunges remove, under this lock. */
	if (lock && maildir_uidlist_lock(mbox->uidlist) <= 0)
		return -1;
	ret = maildir_file_do(mbox, uid, retention_maildir_swap_path, &ctx);
	if (lock)
		maildir_uidlist_unlock(mbox->uidlist);
	return ret;
}

static const struct retention_replace_driver retention_maildir_files = {
	.open = retention_maildir_open,
	.close = retention_maildir_close,
	.get_temp_path = retention_maildir_get_temp_path,
	.with_path = retention_maildir_with_path,
};

static struct retention_compressor *retention_maildir_alloc(pool_t pool)
{
	return retention_replace_alloc(pool, &retention_maildir_files);
}

static int
retention_maildir_look(struct mail *mail, struct retention_stored *stored_r,
		       const char **error_r)
{
	return retention_replace_look(&retention_maildir_files, mail,
				      stored_r, error_r);
}

/* Returns the number of messages in the directory, -1 if it can't be read. */
static int64_t retention_maildir_count_files(const char *path)
{
	const struct dirent *d;
	int64_t count = 0;
	DIR *dir;

	dir = opendir(path);
	if (dir == NULL)
		return -1;
	errno = 0;
	while ((d = readdir(dir)) != NULL) {
		if (d->d_name[0] != '.')
			count++;
	}
	if (errno != 0)
		count = -1;
	(void)closedir(dir);
	return count;
}

/* A delivery by Dovecot adds the message to the index itself, unless another
   process has the mailbox locked just then, but leaves the directories changed.
   A sync would read them, lock the mailbox, and write down when they changed;
   to see that nothing is missing it is enough to count. */
static bool
retention_maildir_index_is_complete(struct mailbox *box, uint32_t messages)
{
	const char *path;
	int64_t new_count, cur_count;

	if (maildir_sync_is_synced(MAILDIR_MAILBOX(box)) > 0)
		return TRUE;
	if (mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_MAILBOX,
				&path) <= 0)
		return FALSE;
	new_count = retention_maildir_count_files(t_strconcat(path, "/new",
							      NULL));
	cur_count = retention_maildir_count_files(t_strconcat(path, "/cur",
							      NULL));
	return new_count >= 0 && cur_count >= 0 &&
		new_count + cur_count == messages;
}

/* Returns TRUE if all of the names have their letters. */
static bool
retention_maildir_add_keywords(struct maildir_keywords_sync_ctx *ctx,
			       struct mail_index *index,
			       const char *const *names)
{
	bool have_all = TRUE;
	unsigned int idx;

	for (; *names != NULL; names++) {
		mail_index_keyword_lookup_or_create(index, *names, &idx);
		if (maildir_keywords_idx_char(ctx, idx) == '\0')
			have_all = FALSE;
	}
	return have_all;
}

/* Dovecot renames the files to have a keyword's letter first, and writes to
   dovecot-keywords afterwards which letter that is. If it dies in between, the
   next process may give the letter to another keyword. So the letters are
   given out, and written down, before any file gets one. */
static void
retention_maildir_prepare_keywords(struct mailbox *box,
				   const char *const *names)
{
	struct maildir_mailbox *mbox = MAILDIR_MAILBOX(box);
	struct maildir_keywords_sync_ctx *ctx;
	bool have_all;

	ctx = maildir_keywords_sync_init_readonly(mbox->keywords, box->index);
	have_all = retention_maildir_add_keywords(ctx, box->index, names);
	maildir_keywords_sync_deinit(&ctx);
	/* the uidlist's lock is that of dovecot-keywords, too */
	if (have_all || maildir_uidlist_lock(mbox->uidlist) <= 0)
		return;
	ctx = maildir_keywords_sync_init(mbox->keywords, box->index);
	(void)retention_maildir_add_keywords(ctx, box->index, names);
	maildir_keywords_sync_deinit(&ctx);
	maildir_uidlist_unlock(mbox->uidlist);
}

const struct retention_driver retention_driver_maildir = {
	.name = MAILDIR_STORAGE_NAME,
	/* It does not look again at once into a directory that it has just
	   looked into. */
	.full_sync_flags = MAILBOX_SYNC_FLAG_FULL_READ,
	.alloc = retention_maildir_alloc,
	.deinit = retention_replace_deinit,
	.compress = retention_replace_compress,
	.finish = retention_replace_finish,
	.index_is_complete = retention_maildir_index_is_complete,
	.set_save_date = retention_record_set_save_date,
	.prepare_keywords = retention_maildir_prepare_keywords,
	.look = retention_maildir_look,
};
