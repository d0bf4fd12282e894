/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "retention-shared.h"

struct retention_shared {
	pool_t pool;
	ARRAY_TYPE(retention_shared_file) files;
	HASH_TABLE(struct retention_shared_file *,
		   struct retention_shared_file *) by_inode;
};

static unsigned int
retention_shared_file_hash(const struct retention_shared_file *file)
{
	return (unsigned int)file->ino ^ (unsigned int)file->dev;
}

static int retention_shared_file_cmp(const struct retention_shared_file *file1,
				     const struct retention_shared_file *file2)
{
	return file1->ino == file2->ino && file1->dev == file2->dev ? 0 : 1;
}

struct retention_shared *retention_shared_init(pool_t pool)
{
	struct retention_shared *shared;

	shared = p_new(pool, struct retention_shared, 1);
	shared->pool = pool;
	p_array_init(&shared->files, pool, 16);
	hash_table_create(&shared->by_inode, pool, 0,
			  retention_shared_file_hash,
			  retention_shared_file_cmp);
	return shared;
}

void retention_shared_deinit(struct retention_shared **_shared)
{
	struct retention_shared *shared = *_shared;

	if (shared == NULL)
		return;
	*_shared = NULL;
	hash_table_destroy(&shared->by_inode);
}

void retention_shared_add(struct retention_shared *shared,
			  const struct stat *st,
			  struct retention_compress_job *job,
			  struct retention_compress_item *item)
{
	struct retention_shared_file *file, key = {
		.dev = st->st_dev, .ino = st->st_ino
	};
	struct retention_shared_member member = { .job = job };

	file = hash_table_lookup(shared->by_inode, &key);
	if (file == NULL) {
		file = p_new(shared->pool, struct retention_shared_file, 1);
		file->dev = st->st_dev;
		file->ino = st->st_ino;
		p_array_init(&file->members, shared->pool, 2);
		hash_table_insert(shared->by_inode, file, file);
		array_push_back(&shared->files, &file);
	}
	file->links = st->st_nlink;
	member.idx = array_ptr_to_idx(&job->items, item);
	array_push_back(&file->members, &member);
}

const ARRAY_TYPE(retention_shared_file) *
retention_shared_get_files(struct retention_shared *shared)
{
	return &shared->files;
}

bool retention_shared_file_is_complete(const struct retention_shared_file *file)
{
	return array_count(&file->members) == file->links;
}
