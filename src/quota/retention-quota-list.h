#ifndef RETENTION_QUOTA_LIST_H
#define RETENTION_QUOTA_LIST_H

struct mail_index_view;
struct mailbox_list;

/* Deeper than mailboxes can be nested; a damaged index may have loops. */
#define RETENTION_QUOTA_LIST_MAX_DEPTH 64

/* A mailbox list index, read record by record. Dovecot itself first builds a
   tree of all names, which takes longer than everything else that a quota
   needs; here a name is made up only when it is asked for. */
struct retention_quota_list {
	pool_t pool;
	struct mailbox_list *list;
	struct mail_index_view *view;
	/* Records have the sequences 1 to count. */
	uint32_t count;
	uint32_t ext_id;
	char sep;
	/* Sorted by ID. */
	ARRAY(struct retention_quota_list_name) names;
};

struct retention_quota_list_name {
	uint32_t id;
	/* One level of the hierarchy, as stored. Points into the index. */
	const char *name;
};

struct retention_quota_list_record {
	uint32_t seq;
	/* Of the last part of the mailbox's name. */
	uint32_t name_id;
	/* 0 if it is at the root. */
	uint32_t parent_uid;
};

/* Open the index in its latest state. Returns 1 with list_r, 0 if the list has
   no index or it can't be used, so that mailboxes must be listed instead. */
int retention_quota_list_open(struct mailbox_list *list,
			      struct retention_quota_list **list_r);
void retention_quota_list_close(struct retention_quota_list **list);

/* Returns TRUE if the record is of a mailbox that messages can be in. */
bool retention_quota_list_is_mailbox(struct retention_quota_list *list,
				     uint32_t seq);
/* Returns the ID of the name of one level, as stored, 0 if no mailbox has it. */
uint32_t retention_quota_list_find_name(struct retention_quota_list *list,
					const char *name);
/* Returns FALSE if the index is damaged. */
bool retention_quota_list_get(struct retention_quota_list *list, uint32_t seq,
			      struct retention_quota_list_record *rec_r);
/* Get the sequence of the record's parent, 0 if it has none. Returns FALSE if
   the index is damaged. */
bool retention_quota_list_get_parent(struct retention_quota_list *list,
			const struct retention_quota_list_record *rec,
			uint32_t *parent_seq_r);
/* Returns the whole name as stored, or as clients see it, from the data
   stack; NULL if the index is damaged. */
const char *retention_quota_list_get_path(struct retention_quota_list *list,
					  uint32_t seq);
const char *retention_quota_list_get_vname(struct retention_quota_list *list,
					   uint32_t seq);

#endif
