/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* The mailbox list index has one record for each mailbox, with the ID of its
   name and the UID of its parent's record, and in its header all names:

     1 byte   set if the list must be read anew from the file system
     { 4 bytes  ID, in the host's byte order
       n bytes  name, ends with NUL }*       IDs ascend; an ID of 0 ends it */

#include "lib.h"
#include "array.h"
#include "bsearch-insert-pos.h"
#include "str.h"
#include "mail-index.h"
#include "mail-storage-private.h"
#include "mailbox-list-index.h"
#include "retention-quota-list.h"

static bool retention_quota_list_read_names(struct retention_quota_list *list)
{
	struct retention_quota_list_name *name;
	const unsigned char *data, *end, *p;
	const void *hdr;
	uint32_t id, prev_id = 0;
	size_t size;

	mail_index_get_header_ext(list->view, list->ext_id, &hdr, &size);
	if (size < sizeof(struct mailbox_list_index_header))
		return FALSE;
	data = CONST_PTR_OFFSET(hdr, sizeof(struct mailbox_list_index_header));
	end = CONST_PTR_OFFSET(hdr, size);
	p_array_init(&list->names, list->pool, list->count + 16);
	while (end - data >= (ptrdiff_t)sizeof(id)) {
		memcpy(&id, data, sizeof(id));
		data += sizeof(id);
		if (id <= prev_id)
			return id == 0;
		p = memchr(data, '\0', end - data);
		if (p == NULL)
			return FALSE;
		name = array_append_space(&list->names);
		name->id = prev_id = id;
		name->name = (const char *)data;
		data = p + 1;
	}
	return data == end;
}

static int
retention_quota_list_name_cmp(const uint32_t *id,
			      const struct retention_quota_list_name *name)
{
	if (*id < name->id)
		return -1;
	return *id > name->id ? 1 : 0;
}

/* Open a view, if need be after having had the list read anew. */
static bool retention_quota_list_view(struct mailbox_list *list,
				      struct mail_index_view **view_r)
{
	struct mailbox_list_index *ilist = INDEX_LIST_CONTEXT(list);
	struct mail_index_view *view;

	if (ilist == NULL || mailbox_list_index_index_open(list) < 0 ||
	    mail_index_refresh(ilist->index) < 0)
		return FALSE;
	view = mail_index_view_open(ilist->index);
	if (mailbox_list_index_need_refresh(ilist, view) ||
	    mail_index_view_get_messages_count(view) == 0) {
		mail_index_view_close(&view);
		if (mailbox_list_index_refresh(list) < 0)
			return FALSE;
		view = mail_index_view_open(ilist->index);
	}
	*view_r = view;
	return TRUE;
}

int retention_quota_list_open(struct mailbox_list *mailbox_list,
			      struct retention_quota_list **list_r)
{
	struct mailbox_list_index *ilist = INDEX_LIST_CONTEXT(mailbox_list);
	struct retention_quota_list *list;
	struct mail_index_view *view;
	pool_t pool;

	if (!retention_quota_list_view(mailbox_list, &view))
		return 0;
	pool = pool_alloconly_create("retention quota list", 4096);
	list = p_new(pool, struct retention_quota_list, 1);
	list->pool = pool;
	list->list = mailbox_list;
	list->view = view;
	list->count = mail_index_view_get_messages_count(view);
	list->ext_id = ilist->ext_id;
	list->sep = mailbox_list_get_hierarchy_sep(mailbox_list);
	if (list->count > 0 && !retention_quota_list_read_names(list)) {
		/* Dovecot mends it when it lists the mailboxes */
		retention_quota_list_close(&list);
		return 0;
	}
	*list_r = list;
	return 1;
}

void retention_quota_list_close(struct retention_quota_list **_list)
{
	struct retention_quota_list *list = *_list;
	pool_t pool;

	if (list == NULL)
		return;
	*_list = NULL;
	mail_index_view_close(&list->view);
	pool = list->pool;
	pool_unref(&pool);
}

bool retention_quota_list_is_mailbox(struct retention_quota_list *list,
				     uint32_t seq)
{
	const struct mail_index_record *rec =
		mail_index_lookup(list->view, seq);

	return (rec->flags & (MAILBOX_LIST_INDEX_FLAG_NONEXISTENT |
			      MAILBOX_LIST_INDEX_FLAG_NOSELECT)) == 0;
}

uint32_t retention_quota_list_find_name(struct retention_quota_list *list,
					const char *str)
{
	const struct retention_quota_list_name *name;

	array_foreach(&list->names, name) {
		if (strcmp(name->name, str) == 0)
			return name->id;
	}
	return 0;
}

bool retention_quota_list_get(struct retention_quota_list *list, uint32_t seq,
			      struct retention_quota_list_record *rec_r)
{
	struct mailbox_list_index_record rec;
	const void *data;

	mail_index_lookup_ext(list->view, seq, list->ext_id, &data, NULL);
	if (data == NULL)
		return FALSE;
	memcpy(&rec, data, sizeof(rec));
	rec_r->seq = seq;
	rec_r->name_id = rec.name_id;
	rec_r->parent_uid = rec.parent_uid;
	return TRUE;
}

bool retention_quota_list_get_parent(struct retention_quota_list *list,
			const struct retention_quota_list_record *rec,
			uint32_t *parent_seq_r)
{
	*parent_seq_r = 0;
	return rec->parent_uid == 0 ||
		mail_index_lookup_seq(list->view, rec->parent_uid,
				      parent_seq_r);
}

const char *retention_quota_list_get_path(struct retention_quota_list *list,
					  uint32_t seq)
{
	const struct retention_quota_list_name *name;
	struct retention_quota_list_record rec;
	string_t *path = t_str_new(128);
	unsigned int depth = 0;

	for (; seq != 0; depth++) {
		if (depth == RETENTION_QUOTA_LIST_MAX_DEPTH ||
		    !retention_quota_list_get(list, seq, &rec) ||
		    !retention_quota_list_get_parent(list, &rec, &seq))
			return NULL;
		name = array_bsearch(&list->names, &rec.name_id,
				     retention_quota_list_name_cmp);
		if (name == NULL)
			return NULL;
		if (depth > 0)
			str_insert(path, 0, t_strdup_printf("%c", list->sep));
		str_insert(path, 0, name->name);
	}
	return str_c(path);
}

const char *retention_quota_list_get_vname(struct retention_quota_list *list,
					   uint32_t seq)
{
	const char *path = retention_quota_list_get_path(list, seq);

	return path == NULL ? NULL : mailbox_list_get_vname(list->list, path);
}
