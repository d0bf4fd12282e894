#ifndef RETENTION_BOX_H
#define RETENTION_BOX_H

#include "retention-pop3.h"
#include "retention-verdict.h"

struct mail;
struct mail_namespace;
struct mail_user;
struct mailbox;
struct retention_settings;

/* A mailbox that the user's rules may touch. */
struct retention_box {
	struct mail_namespace *ns;
	/* The name as clients see it. */
	const char *vname;
	/* The name that templates mean, and rules may mean: within the
	   namespace of the user's INBOX without its prefix, elsewhere as
	   clients see it. */
	const char *name;
	/* Its hierarchy separator. */
	char sep;
	/* It is an archive mailbox: everything in it is to be compressed. */
	bool archive;
	/* The rules whose pattern matches, sorted by name; switched-off ones
	   included. */
	ARRAY(const struct retention_rule *) rules;
	/* What POP3 has in store for its messages; NULL unless it is INBOX. */
	const struct retention_pop3_settings *pop3;
};
ARRAY_DEFINE_TYPE(retention_box, struct retention_box *);

/* Returns TRUE if the namespace's mailboxes are the user's own: neither those of
   others nor shared, virtual or alias ones. */
bool retention_namespace_is_own(const struct mail_namespace *ns,
				const struct mail_user *user);

/* Get the name of the mailbox that is called like the namespace's prefix, and
   that is in no list. Returns FALSE if there can't be one: there is no prefix,
   or INBOX is what has its name. */
bool retention_namespace_get_prefix_box(struct mail_namespace *ns,
					const char **vname_r);

/* Add the templates of the user's archive mailboxes; there are none without a
   rule that archives. They live as long as the settings. */
void retention_archive_templates(const struct retention_settings *set,
				 ARRAY_TYPE(const_string) *templates);
/* Returns TRUE if the mailbox of that name is an archive mailbox. */
bool retention_archive_contains(const struct retention_settings *set,
				const struct mail_namespace *ns,
				const char *vname);

/* List the user's own mailboxes that have a rule or are archive mailboxes,
   sorted by name. With all_boxes, mailboxes without rules are listed as well.
   Mailboxes of other users, shared and virtual ones, and ones that can't be
   opened are left out. The boxes are allocated from the pool. Returns 0 on
   success, -1 with error_r if the listing failed. */
int retention_boxes_list(struct mail_user *user,
			 const struct retention_settings *set, bool all_boxes,
			 pool_t pool, ARRAY_TYPE(retention_box) *boxes_r,
			 const char **error_r);
/* Find one mailbox, whatever its rules, by the name that clients see. Returns
   NULL with error_r if it is not one that rules may touch. The special uses
   are taken from the mailbox list. */
const struct retention_box *
retention_box_find(struct mail_user *user, const struct retention_settings *set,
		   const char *vname, pool_t pool, const char **error_r);

/* The user's INBOX, whatever its rules, without a look at the mailbox list. */
struct retention_box *
retention_box_inbox(struct mail_user *user,
		    const struct retention_settings *set, pool_t pool);

/* Returns TRUE if the mask, an IMAP LIST pattern, matches the name that clients
   see. A mask that is NULL matches all. */
bool retention_box_matches(const struct retention_box *rbox, const char *mask);

/* Open and sync the box. Returns 1 with box_r if ok, 0 if it is gone, -1 with
   error_r if it failed. */
int retention_box_open(const struct retention_box *rbox, struct mailbox **box_r,
		       const char **error_r);

/* The mailbox's last error, with details for the log, from the data stack:
   Dovecot's own text lives only until the next error. */
const char *retention_box_error(struct mailbox *box);

/* The mail_fetch_field bits that retention_box_judge() will ask for. */
unsigned int retention_box_wanted_fields(const struct retention_box *rbox);
/* What is to be done with a message, all in all. */
struct retention_judgement {
	/* By the rules, or if that weighs more by POP3. */
	enum retention_action action;
	/* As retention_rules_judge() sets it; if POP3 decides, its rule is
	   retention_pop3_rule() and its reason RETENTION_REASON_DUE. */
	struct retention_rule_verdict verdict;
	/* What POP3 has in store, due or not. */
	struct retention_pop3_verdict pop3;
};

/* The rule by whose name POP3's actions are known. */
const struct retention_rule *
retention_pop3_rule(enum retention_pop3_action action);
/* Judge a message of the box. pop3 is what POP3 has done with it, NULL if
   nothing, or nothing that matters. Returns 1 if ok, 0 if the message is gone,
   -1 with error_r if it failed. */
int retention_box_judge(const struct retention_box *rbox, struct mail *mail,
			const struct retention_pop3_facts *pop3, time_t now,
			struct retention_mail_facts *facts_r,
			struct retention_judgement *judgement_r,
			const char **error_r);

/* The name as clients see it of the archive mailbox that the rule moves the
   message to, from the data stack. */
const char *retention_box_get_target(const struct retention_box *rbox,
				     const struct retention_settings *set,
				     const struct retention_rule *rule,
				     const struct retention_mail_facts *facts,
				     struct mail_namespace **ns_r);

#endif
