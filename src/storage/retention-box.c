/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "imap-match.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list-iter.h"
#include "retention-pattern.h"
#include "retention-settings.h"
#include "retention-template.h"
#include "retention-box.h"

#define RETENTION_VIRTUAL_STORAGE_NAME "virtual"

bool retention_namespace_is_own(const struct mail_namespace *ns,
				const struct mail_user *user)
{
	const struct mail_storage *storage;

	if (ns->type != MAIL_NAMESPACE_TYPE_PRIVATE || ns->owner != user ||
	    ns->alias_for != NULL)
		return FALSE;
	storage = mail_namespace_get_default_storage(
		(struct mail_namespace *)ns);
	return strcmp(storage->name, RETENTION_VIRTUAL_STORAGE_NAME) != 0;
}

static bool retention_namespace_has_inbox(const struct mail_namespace *ns)
{
	return (ns->flags & NAMESPACE_FLAG_INBOX_USER) != 0;
}

bool retention_namespace_get_prefix_box(struct mail_namespace *ns,
					const char **vname_r)
{
	const char *vname, *path, *inbox_path;

	if (ns->prefix_len == 0)
		return FALSE;
	*vname_r = vname = t_strndup(ns->prefix, ns->prefix_len - 1);
	if (strcasecmp(vname, "INBOX") == 0)
		return FALSE;
	if ((ns->flags & NAMESPACE_FLAG_INBOX_ANY) == 0)
		return TRUE;
	/* Maildir has them both at the root */
	return mailbox_list_get_path(ns->list,
			mailbox_list_get_storage_name(ns->list, vname),
			MAILBOX_LIST_PATH_TYPE_MAILBOX, &path) > 0 &&
		mailbox_list_get_path(ns->list, "INBOX",
			MAILBOX_LIST_PATH_TYPE_MAILBOX, &inbox_path) > 0 &&
		strcmp(path, inbox_path) != 0;
}

/* The mailbox that POP3 opens. */
static bool
retention_box_is_pop3(const struct mail_namespace *ns, const char *vname)
{
	return retention_namespace_has_inbox(ns) && strcmp(vname, "INBOX") == 0;
}

static const char *
retention_box_get_name(const struct mail_namespace *ns, const char *vname)
{
	if (retention_namespace_has_inbox(ns) && ns->prefix_len > 0 &&
	    strncmp(vname, ns->prefix, ns->prefix_len) == 0)
		return vname + ns->prefix_len;
	return vname;
}

void retention_archive_templates(const struct retention_settings *set,
				 ARRAY_TYPE(const_string) *templates)
{
	const struct retention_rule *rule;
	bool has_rule = retention_pop3_archives(&set->pop3);

	array_foreach(&set->rules, rule) {
		if (rule->action != RETENTION_ACTION_ARCHIVE ||
		    rule->age == RETENTION_AGE_UNLIMITED)
			continue;
		has_rule = TRUE;
		if (rule->into != NULL)
			array_push_back(templates, &rule->into);
	}
	/* Nothing configured, nothing done: the default name alone does not
	   make a mailbox an archive. */
	if (has_rule)
		array_push_back(templates, &set->archive_mailbox);
}

bool retention_archive_contains(const struct retention_settings *set,
				const struct mail_namespace *ns,
				const char *vname)
{
	ARRAY_TYPE(const_string) templates;
	const char *template, *name = retention_box_get_name(ns, vname);
	char sep = mail_namespace_get_sep((struct mail_namespace *)ns);

	if (!retention_namespace_has_inbox(ns))
		return FALSE;
	t_array_init(&templates, 4);
	retention_archive_templates(set, &templates);
	array_foreach_elem(&templates, template) {
		if (retention_template_contains(template, name, sep))
			return TRUE;
	}
	return FALSE;
}

/* With a prefix before INBOX's mailboxes people write their names with it and
   without it. Both are understood. */
static bool
retention_box_has_rule(const struct retention_box *rbox,
		       const struct retention_rule *rule,
		       const char *special_use)
{
	return retention_pattern_match(rule->mailbox, rbox->name, rbox->sep,
				       special_use) ||
		(rbox->name != rbox->vname &&
		 retention_pattern_match(rule->mailbox, rbox->vname, rbox->sep,
					 special_use));
}

static struct retention_box *
retention_box_create(const struct retention_settings *set,
		     struct mail_namespace *ns, const char *vname,
		     const char *special_use, pool_t pool)
{
	struct retention_box *rbox = p_new(pool, struct retention_box, 1);
	const struct retention_rule *rule;

	rbox->ns = ns;
	rbox->sep = mail_namespace_get_sep(ns);
	rbox->vname = p_strdup(pool, vname);
	rbox->name = retention_box_get_name(ns, rbox->vname);
	rbox->archive = retention_archive_contains(set, ns, vname);
	if (retention_box_is_pop3(ns, vname))
		rbox->pop3 = &set->pop3;
	p_array_init(&rbox->rules, pool, 4);
	array_foreach(&set->rules, rule) {
		if (retention_box_has_rule(rbox, rule, special_use))
			array_push_back(&rbox->rules, &rule);
	}
	return rbox;
}

struct retention_boxes_context {
	const struct retention_settings *set;
	bool all_boxes;
	pool_t pool;
	ARRAY_TYPE(retention_box) *boxes;
};

static void
retention_boxes_add(struct retention_boxes_context *ctx,
		    struct mail_namespace *ns, const char *vname,
		    const char *special_use)
{
	struct retention_box *rbox;

	rbox = retention_box_create(ctx->set, ns, vname, special_use,
				    ctx->pool);
	if (ctx->all_boxes || rbox->archive || !array_is_empty(&rbox->rules) ||
	    (rbox->pop3 != NULL && retention_pop3_is_set(rbox->pop3)))
		array_push_back(ctx->boxes, &rbox);
}

static void
retention_boxes_add_prefix(struct retention_boxes_context *ctx,
			   struct mail_namespace *ns)
{
	enum mailbox_existence existence;
	struct mailbox *box;
	const char *vname;

	if (!retention_namespace_get_prefix_box(ns, &vname))
		return;
	box = mailbox_alloc(ns->list, vname, MAILBOX_FLAG_READONLY);
	if (mailbox_exists(box, FALSE, &existence) == 0 &&
	    existence == MAILBOX_EXISTENCE_SELECT)
		retention_boxes_add(ctx, ns, vname, NULL);
	mailbox_free(&box);
}

static int
retention_boxes_list_namespace(struct retention_boxes_context *ctx,
			       struct mail_namespace *ns, const char **error_r)
{
	struct mailbox_list_iterate_context *iter;
	const struct mailbox_info *info;

	iter = mailbox_list_iter_init(ns->list, "*",
		MAILBOX_LIST_ITER_NO_AUTO_BOXES |
		MAILBOX_LIST_ITER_SKIP_ALIASES |
		MAILBOX_LIST_ITER_RETURN_NO_FLAGS |
		MAILBOX_LIST_ITER_RETURN_SPECIALUSE);
	while ((info = mailbox_list_iter_next(iter)) != NULL) {
		if ((info->flags & (MAILBOX_NOSELECT |
				    MAILBOX_NONEXISTENT)) == 0) {
			retention_boxes_add(ctx, ns, info->vname,
					    info->special_use);
		}
	}
	if (mailbox_list_iter_deinit(&iter) < 0) {
		*error_r = t_strdup_printf("Listing mailboxes failed: %s",
			mailbox_list_get_last_internal_error(ns->list, NULL));
		return -1;
	}
	retention_boxes_add_prefix(ctx, ns);
	return 0;
}

static int retention_box_cmp(struct retention_box *const *rbox1,
			     struct retention_box *const *rbox2)
{
	return strcmp((*rbox1)->vname, (*rbox2)->vname);
}

int retention_boxes_list(struct mail_user *user,
			 const struct retention_settings *set, bool all_boxes,
			 pool_t pool, ARRAY_TYPE(retention_box) *boxes_r,
			 const char **error_r)
{
	struct retention_boxes_context ctx = {
		.set = set, .all_boxes = all_boxes,
		.pool = pool, .boxes = boxes_r,
	};
	struct mail_namespace *ns;
	int ret = 0;

	p_array_init(boxes_r, pool, 32);
	if (!all_boxes && array_is_empty(&set->rules) &&
	    !retention_pop3_is_set(&set->pop3))
		return 0;
	for (ns = user->namespaces; ns != NULL && ret == 0; ns = ns->next) {
		if (!retention_namespace_is_own(ns, user))
			continue;
		ret = retention_boxes_list_namespace(&ctx, ns, error_r);
	}
	array_sort(boxes_r, retention_box_cmp);
	return ret;
}

const struct retention_box *
retention_box_find(struct mail_user *user, const struct retention_settings *set,
		   const char *vname, pool_t pool, const char **error_r)
{
	ARRAY_TYPE(retention_box) boxes;
	struct retention_box *rbox;

	if (retention_boxes_list(user, set, TRUE, pool,
				 &boxes, error_r) < 0)
		return NULL;
	array_foreach_elem(&boxes, rbox) {
		if (strcmp(rbox->vname, vname) == 0 ||
		    (strcasecmp(vname, "INBOX") == 0 &&
		     strcmp(rbox->vname, "INBOX") == 0))
			return rbox;
	}
	*error_r = t_strdup_printf("Mailbox %s does not exist, or is not one "
		"of the user's own mailboxes", vname);
	return NULL;
}

struct retention_box *
retention_box_inbox(struct mail_user *user,
		    const struct retention_settings *set, pool_t pool)
{
	return retention_box_create(set,
		mail_namespace_find_inbox(user->namespaces), "INBOX", NULL,
		pool);
}

bool retention_box_matches(const struct retention_box *rbox, const char *mask)
{
	struct imap_match_glob *glob;
	bool match;

	if (mask == NULL)
		return TRUE;
	glob = imap_match_init(default_pool, mask, TRUE, rbox->sep);
	match = imap_match(glob, rbox->vname) == IMAP_MATCH_YES;
	imap_match_deinit(&glob);
	return match;
}

int retention_box_open(const struct retention_box *rbox, struct mailbox **box_r,
		       const char **error_r)
{
	struct mailbox *box;
	enum mail_error error;

	box = mailbox_alloc(rbox->ns->list, rbox->vname, 0);
	if (mailbox_open(box) == 0 &&
	    mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) == 0) {
		*box_r = box;
		return 1;
	}
	*error_r = t_strdup(mailbox_get_last_internal_error(box, &error));
	mailbox_free(&box);
	return error == MAIL_ERROR_NOTFOUND ? 0 : -1;
}

const char *retention_box_error(struct mailbox *box)
{
	return t_strdup(mailbox_get_last_internal_error(box, NULL));
}

static enum retention_fact retention_box_need(const struct retention_box *rbox)
{
	unsigned int count;
	const struct retention_rule *const *rules =
		array_get(&rbox->rules, &count);

	return retention_rules_need(rules, count);
}

unsigned int retention_box_wanted_fields(const struct retention_box *rbox)
{
	enum retention_fact need = retention_box_need(rbox);
	unsigned int fields = 0;

	if ((need & RETENTION_FACT_SAVED) != 0)
		fields |= MAIL_FETCH_SAVE_DATE;
	if ((need & RETENTION_FACT_RECEIVED) != 0)
		fields |= MAIL_FETCH_RECEIVED_DATE;
	if ((need & RETENTION_FACT_SENT) != 0)
		fields |= MAIL_FETCH_DATE;
	if ((need & RETENTION_FACT_SIZE) != 0)
		fields |= MAIL_FETCH_VIRTUAL_SIZE;
	return fields;
}

/* Gather the facts that are needed. Returns as retention_box_judge(). */
static int
retention_box_get_facts(const struct retention_box *rbox, struct mail *mail,
			enum retention_fact need,
			struct retention_mail_facts *facts_r,
			const char **error_r)
{
	enum mail_flags flags;
	int tz;

	i_zero(facts_r);
	facts_r->archived = rbox->archive;
	if ((need & RETENTION_FACT_FLAGS) != 0) {
		flags = mail_get_flags(mail);
		facts_r->flagged = (flags & MAIL_FLAGGED) != 0;
		facts_r->seen = (flags & MAIL_SEEN) != 0;
	}
	if (((need & RETENTION_FACT_SAVED) != 0 &&
	     mail_get_save_date(mail, &facts_r->saved) < 0) ||
	    ((need & RETENTION_FACT_RECEIVED) != 0 &&
	     mail_get_received_date(mail, &facts_r->received) < 0) ||
	    ((need & RETENTION_FACT_SENT) != 0 &&
	     mail_get_date(mail, &facts_r->sent, &tz) < 0) ||
	    ((need & RETENTION_FACT_SIZE) != 0 &&
	     mail_get_virtual_size(mail, &facts_r->size) < 0)) {
		if (mail->expunged)
			return 0;
		*error_r = retention_box_error(mail->box);
		return -1;
	}
	return 1;
}

const struct retention_rule *
retention_pop3_rule(enum retention_pop3_action action)
{
	static const struct retention_rule archive_rule = {
		.name = "pop3", .mailbox = "INBOX",
		.action = RETENTION_ACTION_ARCHIVE,
	};
	static const struct retention_rule expunge_rule = {
		.name = "pop3", .mailbox = "INBOX",
		.action = RETENTION_ACTION_EXPUNGE,
	};
	static const struct retention_rule hide_rule = {
		.name = "pop3", .mailbox = "INBOX",
		.action = RETENTION_ACTION_NONE,
	};

	switch (action) {
	case RETENTION_POP3_ARCHIVE:
		return &archive_rule;
	case RETENTION_POP3_EXPUNGE:
		return &expunge_rule;
	case RETENTION_POP3_HIDE:
	case RETENTION_POP3_STAMP:
	case RETENTION_POP3_NOTHING:
		break;
	}
	return &hide_rule;
}

static void
retention_box_judge_pop3(const struct retention_box *rbox,
			 const struct retention_pop3_facts *_pop3,
			 time_t saved, time_t now,
			 struct retention_judgement *judgement)
{
	struct retention_pop3_facts pop3 = *_pop3;
	const struct retention_rule *rule;

	pop3.saved = saved;
	retention_pop3_judge(rbox->pop3, &pop3, now, &judgement->pop3);
	rule = retention_pop3_rule(judgement->pop3.action);
	if (judgement->pop3.due > now || rule->action <= judgement->action)
		return;
	i_zero(&judgement->verdict);
	judgement->action = rule->action;
	judgement->verdict.rule = rule;
	judgement->verdict.reason = RETENTION_REASON_DUE;
	judgement->verdict.base = judgement->pop3.base;
	judgement->verdict.due = judgement->pop3.due;
}

int retention_box_judge(const struct retention_box *rbox, struct mail *mail,
			const struct retention_pop3_facts *pop3, time_t now,
			struct retention_mail_facts *facts_r,
			struct retention_judgement *judgement_r,
			const char **error_r)
{
	enum retention_fact need = retention_box_need(rbox);
	const struct retention_rule *const *rules;
	unsigned int count;
	int ret;

	i_zero(judgement_r);
	if (pop3 != NULL)
		need |= RETENTION_FACT_SAVED | RETENTION_FACT_RECEIVED;
	ret = retention_box_get_facts(rbox, mail, need, facts_r, error_r);
	if (ret <= 0)
		return ret;
	rules = array_get(&rbox->rules, &count);
	judgement_r->action = retention_rules_judge(rules, count, facts_r, now,
						    &judgement_r->verdict);
	if (pop3 != NULL && rbox->pop3 != NULL) {
		retention_box_judge_pop3(rbox, pop3, facts_r->saved, now,
					 judgement_r);
	}
	return 1;
}

const char *retention_box_get_target(const struct retention_box *rbox,
				     const struct retention_settings *set,
				     const struct retention_rule *rule,
				     const struct retention_mail_facts *facts,
				     struct mail_namespace **ns_r)
{
	struct mail_namespace *ns =
		mail_namespace_find_inbox(rbox->ns->user->namespaces);
	const char *template = rule->into != NULL ? rule->into :
		set->archive_mailbox;
	time_t received = facts->received > 0 ? facts->received : facts->saved;

	*ns_r = ns;
	return t_strconcat(ns->prefix,
		retention_template_expand(template, received, rbox->name,
					  mail_namespace_get_sep(ns)), NULL);
}
