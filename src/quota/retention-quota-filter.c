/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "retention-box.h"
#include "retention-template.h"
#include "retention-quota-list.h"
#include "retention-quota-filter.h"

#include <ctype.h>

enum retention_quota_place {
	RETENTION_QUOTA_PLACE_UNKNOWN = 0,
	RETENTION_QUOTA_PLACE_LIVE,
	RETENTION_QUOTA_PLACE_ARCHIVE,
};

/* A name that matters, as stored. */
struct retention_quota_name {
	/* NULL if every name might be meant. */
	const char *last;
	/* For the archive's root: the whole name. */
	const char *path;
	/* The ID of the last part in the list index, 0 if it has none. */
	uint32_t id;
};
ARRAY_DEFINE_TYPE(retention_quota_name, struct retention_quota_name);

struct retention_quota_filter {
	pool_t pool;
	struct quota_root *root;
	struct mail_namespace *ns;
	struct retention_quota_scope scope;
	struct retention_quota_ignore ignore;
	ARRAY_TYPE(retention_quota_name) ignore_names, archive_names;

	struct retention_quota_list *list;
	/* enum retention_quota_place by sequence; NULL if nothing in the list
	   is archive. */
	uint8_t *places;
};

static const char *
retention_quota_last_part(const char *name, char sep)
{
	const char *p = strrchr(name, sep);

	return p == NULL ? name : p + 1;
}

/* Returns TRUE if the name is stored as clients see it. */
static bool retention_quota_name_is_simple(const char *name)
{
	for (; *name != '\0'; name++) {
		if (!i_isalnum(*name) && *name != ' ' && *name != '_' &&
		    *name != '-')
			return FALSE;
	}
	return TRUE;
}

static void
retention_quota_filter_add_ignored(struct retention_quota_filter *filter)
{
	struct retention_quota_name name = { .last = NULL };
	const char *mask, *last;

	p_array_init(&filter->ignore_names, filter->pool, 4);
	array_foreach_elem(&filter->ignore.masks, mask) {
		last = retention_quota_last_part(mask,
			mail_namespace_get_sep(filter->ns));
		name.last = retention_quota_name_is_simple(last) ? last : NULL;
		array_push_back(&filter->ignore_names, &name);
	}
}

static void
retention_quota_filter_add_archive(struct retention_quota_filter *filter)
{
	struct mail_user *user = filter->root->quota->user;
	struct mail_namespace *ns = filter->ns;
	struct retention_user *ruser = retention_user_get(user);
	ARRAY_TYPE(const_string) templates;
	struct retention_quota_name name = { .last = NULL };
	const char *template;
	char *root;

	p_array_init(&filter->archive_names, filter->pool, 4);
	if (ruser == NULL || !retention_namespace_is_own(ns, user) ||
	    (ns->flags & NAMESPACE_FLAG_INBOX_USER) == 0)
		return;
	t_array_init(&templates, 4);
	retention_archive_templates(ruser->set, &templates);
	array_foreach_elem(&templates, template) {
		root = t_strdup_noconst(retention_template_root(template));
		for (char *p = root; *p != '\0'; p++) {
			if (*p == '/')
				*p = mail_namespace_get_sep(ns);
		}
		name.path = p_strdup(filter->pool,
			mailbox_list_get_storage_name(ns->list,
				t_strconcat(ns->prefix, root, NULL)));
		name.last = retention_quota_last_part(name.path,
			mailbox_list_get_hierarchy_sep(ns->list));
		array_push_back(&filter->archive_names, &name);
	}
}

int retention_quota_filter_init(struct quota_root *root,
				struct mail_namespace *ns, pool_t pool,
				struct retention_quota_filter **filter_r,
				const char **error_r)
{
	struct retention_quota_filter *filter;

	filter = p_new(pool, struct retention_quota_filter, 1);
	filter->pool = pool;
	filter->root = root;
	filter->ns = ns;
	retention_quota_scope_get(root, &filter->scope);
	if (retention_quota_get_ignore(root, ns, pool, &filter->ignore,
				       error_r) < 0)
		return -1;
	retention_quota_filter_add_ignored(filter);
	retention_quota_filter_add_archive(filter);
	*filter_r = filter;
	return 0;
}

static void
retention_quota_filter_place(struct retention_quota_filter *filter,
			     bool archive, struct retention_quota_how *how_r)
{
	how_r->archive = archive;
	if (archive)
		how_r->counts = filter->scope.archive;
	else {
		how_r->counts = filter->scope.live ?
			RETENTION_QUOTA_COUNTS_SIZE :
			RETENTION_QUOTA_COUNTS_NOT;
	}
}

/* vname is NULL if it is none of those that are to be asked about. */
static int
retention_quota_filter_ignore(struct retention_quota_filter *filter,
			      const char *vname,
			      struct retention_quota_how *how,
			      const char **error_r)
{
	int ret = filter->ignore.others ? 1 : 0;

	if (how->counts == RETENTION_QUOTA_COUNTS_NOT)
		return 0;
	if (vname != NULL && !array_is_empty(&filter->ignore.masks)) {
		ret = retention_quota_ignores(filter->root, filter->ns, vname,
					      error_r);
	}
	if (ret > 0)
		how->counts = RETENTION_QUOTA_COUNTS_NOT;
	return ret < 0 ? -1 : 0;
}

int retention_quota_filter_name(struct retention_quota_filter *filter,
				const char *vname,
				struct retention_quota_how *how_r,
				const char **error_r)
{
	retention_quota_filter_place(filter,
		retention_quota_is_archive(filter->root->quota->user,
					   filter->ns, vname), how_r);
	return retention_quota_filter_ignore(filter, vname, how_r, error_r);
}

/* Returns TRUE if one of the names is in the list. */
static bool
retention_quota_filter_find_ids(struct retention_quota_list *list,
				ARRAY_TYPE(retention_quota_name) *names)
{
	struct retention_quota_name *name;
	bool found = FALSE;

	array_foreach_modifiable(names, name) {
		if (name->last == NULL)
			continue;
		name->id = retention_quota_list_find_name(list, name->last);
		if (name->id != 0)
			found = TRUE;
	}
	return found;
}

void retention_quota_filter_set_list(struct retention_quota_filter *filter,
				     struct retention_quota_list *list)
{
	filter->list = list;
	filter->places = NULL;
	(void)retention_quota_filter_find_ids(list, &filter->ignore_names);
	if (retention_quota_filter_find_ids(list, &filter->archive_names))
		filter->places = p_malloc(filter->pool, list->count + 1);
}

static bool
retention_quota_filter_is_root(struct retention_quota_filter *filter,
			       const struct retention_quota_list_record *rec)
{
	const struct retention_quota_name *name;
	const char *path;
	bool is_root = FALSE;

	array_foreach(&filter->archive_names, name) {
		if (name->id == rec->name_id && !is_root) T_BEGIN {
			path = retention_quota_list_get_path(filter->list,
							     rec->seq);
			is_root = path != NULL && strcmp(path, name->path) == 0;
		} T_END;
	}
	return is_root;
}

/* All that is below the archive's root is archive. Returns UNKNOWN if the index
   is damaged. */
static enum retention_quota_place
retention_quota_filter_find_place(struct retention_quota_filter *filter,
				  const struct retention_quota_list_record *rec,
				  unsigned int depth)
{
	enum retention_quota_place place = RETENTION_QUOTA_PLACE_LIVE;
	struct retention_quota_list_record parent;
	uint32_t seq;

	if (filter->places[rec->seq] != RETENTION_QUOTA_PLACE_UNKNOWN)
		return filter->places[rec->seq];
	if (depth == RETENTION_QUOTA_LIST_MAX_DEPTH ||
	    !retention_quota_list_get_parent(filter->list, rec, &seq))
		return RETENTION_QUOTA_PLACE_UNKNOWN;
	if (seq != 0) {
		place = !retention_quota_list_get(filter->list, seq, &parent) ?
			RETENTION_QUOTA_PLACE_UNKNOWN :
			retention_quota_filter_find_place(filter, &parent,
							  depth + 1);
	}
	if (place == RETENTION_QUOTA_PLACE_LIVE &&
	    retention_quota_filter_is_root(filter, rec))
		place = RETENTION_QUOTA_PLACE_ARCHIVE;
	filter->places[rec->seq] = place;
	return place;
}

/* Returns TRUE if the mailbox's name is to be asked about. */
static bool
retention_quota_filter_asks(struct retention_quota_filter *filter,
			    const struct retention_quota_list_record *rec)
{
	const struct retention_quota_name *name;

	array_foreach(&filter->ignore_names, name) {
		if (name->last == NULL || name->id == rec->name_id)
			return TRUE;
	}
	return FALSE;
}

int retention_quota_filter_record(struct retention_quota_filter *filter,
			const struct retention_quota_list_record *rec,
			struct retention_quota_how *how_r,
			const char **error_r)
{
	enum retention_quota_place place = RETENTION_QUOTA_PLACE_LIVE;
	const char *vname;
	int ret;

	if (filter->places != NULL)
		place = retention_quota_filter_find_place(filter, rec, 0);
	if (place == RETENTION_QUOTA_PLACE_UNKNOWN)
		return 0;
	retention_quota_filter_place(filter,
		place == RETENTION_QUOTA_PLACE_ARCHIVE, how_r);
	if (!retention_quota_filter_asks(filter, rec)) {
		return retention_quota_filter_ignore(filter, NULL, how_r,
						     error_r) < 0 ? -1 : 1;
	}
	T_BEGIN {
		vname = retention_quota_list_get_vname(filter->list, rec->seq);
		ret = vname == NULL ? 0 :
			retention_quota_filter_ignore(filter, vname, how_r,
						      error_r) < 0 ? -1 : 1;
	} T_END_PASS_STR_IF(ret < 0, error_r);
	return ret;
}
