/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Making room for a message that would be refused. Somebody is waiting, so not
   everything that could be archived is: what is plain in the archive is
   compressed, then the oldest messages of all mailboxes that have an archive
   rule are archived in rounds, each about as large as what is still missing,
   until nothing is. What compression will gain is not known beforehand: the
   first round takes for granted that it gains everything, each further one that
   it goes on as before.

   Looking for messages may take longer than there is time. Messages are looked
   at in the order in which they came, so those found by then are mostly the
   oldest ones, and it goes on with them.

   It works by rules of its own, made of the user's. Nothing is to be archived
   that would not be some day: an archive rule is due at retention_minimum_age
   instead of its own age, and so is what POP3 has hidden and would archive; a
   keep rule stays as it is, and so does every message that would be expunged
   before it is archived. Everything else is that of a normal run. */

#include "lib.h"
#include "array.h"
#include "mail-index.h"
#include "mail-storage-private.h"
#include "retention-plan.h"
#include "retention-pop3-run.h"
#include "retention-session.h"
#include "retention-settings.h"
#include "retention-run-private.h"

/* A round is at most so large, to be able to end in time. */
#define RETENTION_RELIEF_ROUND_MESSAGES 500
#define RETENTION_RELIEF_ROUND_BYTES (32 * 1024 * 1024)
/* Of a message's size, what archiving it gains at least, in percent. */
#define RETENTION_RELIEF_GAIN_MIN 5

struct retention_relief_item {
	struct retention_move_item item;
	const struct retention_box *rbox;
	const struct retention_plan_target *target;
};
ARRAY_DEFINE_TYPE(retention_relief_item, struct retention_relief_item);

struct retention_relief_run {
	struct retention_run *run;
	/* What POP3 may archive now. */
	struct retention_pop3_settings pop3;
	ARRAY_TYPE(retention_box) boxes;
	/* Oldest first. */
	ARRAY_TYPE(retention_relief_item) items;
	/* The next one to be archived. */
	unsigned int next;
	/* Bytes that the rounds so far have archived and gained. */
	uint64_t archived, gained;
	/* Not all messages were looked at. */
	bool cut;
	/* A POP3 session is in the way. */
	bool blocked;
};

/* Hidden messages are archived if they would be some day. Nothing is done with
   others, which POP3 would only hide or expunge. */
static void retention_relief_init_pop3(struct retention_relief_run *relief)
{
	const struct retention_settings *set = relief->run->set;
	struct retention_pop3_settings *pop3 = &relief->pop3;

	*pop3 = set->pop3;
	pop3->leave_time = RETENTION_AGE_UNLIMITED;
	if (pop3->delete == RETENTION_POP3_DELETE_ARCHIVE) {
		pop3->delete = RETENTION_POP3_DELETE_KEEP;
		pop3->keep_action = RETENTION_ACTION_ARCHIVE;
		pop3->keep_time = set->minimum_age;
	} else if (pop3->keep_action != RETENTION_ACTION_ARCHIVE)
		pop3->keep_time = RETENTION_AGE_UNLIMITED;
	else if (pop3->keep_time != RETENTION_AGE_UNLIMITED)
		pop3->keep_time = set->minimum_age;
}

static bool retention_rule_archives(const struct retention_rule *rule)
{
	return rule->action == RETENTION_ACTION_ARCHIVE &&
		rule->age != RETENTION_AGE_UNLIMITED;
}

/* Returns the smallest age at which a rule archives. */
static unsigned int
retention_relief_archive_age(const struct retention_box *rbox)
{
	const struct retention_rule *rule;
	unsigned int age = RETENTION_AGE_UNLIMITED;

	array_foreach_elem(&rbox->rules, rule) {
		if (retention_rule_archives(rule))
			age = I_MIN(age, rule->age);
	}
	return age;
}

/* Returns what the rule is now, from the pool; NULL if it does not matter. */
static const struct retention_rule *
retention_relief_get_rule(const struct retention_relief_run *relief,
			  const struct retention_rule *rule,
			  unsigned int archive_age)
{
	struct retention_rule *own;

	if (rule->action == RETENTION_ACTION_KEEP)
		return rule;
	own = p_new(relief->run->pool, struct retention_rule, 1);
	*own = *rule;
	if (retention_rule_archives(rule))
		own->age = relief->run->set->minimum_age;
	else if (rule->action == RETENTION_ACTION_EXPUNGE &&
		 archive_age != RETENTION_AGE_UNLIMITED &&
		 rule->age <= archive_age) {
		/* what it is for is not to be archived */
		own->action = RETENTION_ACTION_KEEP;
		own->age = 0;
	} else
		return NULL;
	return own;
}

static void
retention_relief_set_rules(struct retention_relief_run *relief,
			   struct retention_box *rbox)
{
	const struct retention_rule *rule, *own;
	ARRAY(const struct retention_rule *) rules;
	unsigned int archive_age = retention_relief_archive_age(rbox);

	t_array_init(&rules, array_count(&rbox->rules) + 1);
	array_foreach_elem(&rbox->rules, rule) {
		/* in the archive there is only something to compress */
		own = rbox->archive && rule->action != RETENTION_ACTION_KEEP ?
			NULL : retention_relief_get_rule(relief, rule,
							 archive_age);
		if (own != NULL)
			array_push_back(&rules, &own);
	}
	array_clear(&rbox->rules);
	array_append_array(&rbox->rules, &rules);
	if (rbox->archive)
		rbox->pop3 = NULL;
	else if (rbox->pop3 != NULL)
		rbox->pop3 = &relief->pop3;
}

static int retention_relief_list(struct retention_relief_run *relief,
				 ARRAY_TYPE(retention_box) *boxes_r,
				 const char **error_r)
{
	struct retention_run *run = relief->run;
	struct retention_box *rbox;

	if (retention_boxes_list(run->user, run->set, FALSE, run->pool,
				 boxes_r, error_r) < 0)
		return -1;
	array_foreach_elem(boxes_r, rbox) T_BEGIN {
		retention_relief_set_rules(relief, rbox);
	} T_END;
	return 0;
}

/* Returns TRUE if there may be messages to archive in the mailbox. */
static bool retention_relief_wants(const struct retention_box *rbox)
{
	return !rbox->archive &&
		(retention_relief_archive_age(rbox) !=
		 RETENTION_AGE_UNLIMITED ||
		 (rbox->pop3 != NULL && retention_pop3_archives(rbox->pop3)));
}

/* Returns TRUE if no POP3 session is open in the mailbox. The mover finds that
   out as well; here it saves the look. */
static bool retention_relief_is_free(struct retention_relief_run *relief,
				     const struct retention_box *rbox)
{
	struct retention_session_lock *lock;
	const char *error;
	int ret;

	if (rbox->pop3 == NULL)
		return TRUE;
	ret = retention_session_lock_exclusive(rbox->ns, &lock, &error);
	if (ret > 0) {
		retention_session_unlock(&lock);
		return TRUE;
	}
	if (ret < 0) {
		retention_run_failed(relief->run, rbox->vname, t_strconcat(
			"Locking out POP3 sessions failed: ", error, NULL));
	} else {
		e_info(relief->run->event, "No room is made in INBOX: "
		       "a POP3 session is open");
	}
	relief->blocked = TRUE;
	return FALSE;
}

/* Returns when the user's own rule archives the message, which relief does
   already. */
static time_t
retention_relief_due_date(const struct retention_relief_run *relief,
			  const struct retention_move_item *item)
{
	const struct retention_rule *rule;

	array_foreach(&relief->run->set->rules, rule) {
		if (strcmp(rule->name, item->rule->name) == 0)
			return retention_due_date(item->date, rule->age);
	}
	i_unreached();
}

/* Returns TRUE if POP3 would expunge the message before its rule archives it,
   or if that can't be told. */
static bool
retention_relief_pop3_expunges(const struct retention_relief_run *relief,
			       const struct retention_move_item *item,
			       const struct retention_pop3_facts *facts)
{
	struct retention_pop3_verdict verdict;

	if (item->rule == retention_pop3_rule(RETENTION_POP3_ARCHIVE))
		return FALSE;
	/* what it comes to in the end */
	retention_pop3_judge(&relief->run->set->pop3, facts,
			     RETENTION_TIME_MAX, &verdict);
	switch (verdict.action) {
	case RETENTION_POP3_STAMP:
		return TRUE;
	case RETENTION_POP3_EXPUNGE:
		return verdict.due <= retention_relief_due_date(relief, item);
	case RETENTION_POP3_NOTHING:
	case RETENTION_POP3_HIDE:
	case RETENTION_POP3_ARCHIVE:
		break;
	}
	return FALSE;
}

static int
retention_relief_item_cmp(const struct retention_relief_item *item1,
			  const struct retention_relief_item *item2)
{
	if (item1->item.date != item2->item.date)
		return item1->item.date < item2->item.date ? -1 : 1;
	if (item1->item.uid != item2->item.uid)
		return item1->item.uid < item2->item.uid ? -1 : 1;
	return 0;
}

/* Take out what is POP3's. */
static void
retention_relief_leave_to_pop3(const struct retention_relief_run *relief,
			       struct mailbox *box,
			       ARRAY_TYPE(retention_relief_item) *items)
{
	ARRAY_TYPE(retention_relief_item) left;
	struct retention_pop3_reader *reader;
	struct retention_pop3_facts facts;
	const struct retention_relief_item *item;
	uint32_t seq;

	t_array_init(&left, array_count(items) + 1);
	reader = retention_pop3_reader_init(box, box->view);
	array_foreach(items, item) {
		if (!mail_index_lookup_seq(box->view, item->item.uid, &seq) ||
		    !retention_pop3_reader_get(reader, seq, &facts) ||
		    !retention_relief_pop3_expunges(relief, &item->item,
						    &facts))
			array_push_back(&left, item);
	}
	retention_pop3_reader_deinit(&reader);
	*items = left;
}

/* Add the messages of one mailbox, oldest first, as far as retention_run_limit
   allows, which does not count what is POP3's. */
static void
retention_relief_add(struct retention_relief_run *relief,
		     const ARRAY_TYPE(retention_relief_item) *items,
		     unsigned int messages)
{
	const struct retention_rule *pop3_rule =
		retention_pop3_rule(RETENTION_POP3_ARCHIVE);
	const struct retention_relief_item *item;
	unsigned int allowed, limit = relief->run->set->run_limit;

	allowed = limit == 0 ? UINT_MAX : (uint64_t)messages * limit / 100;
	array_foreach(items, item) {
		if (item->item.rule != pop3_rule && allowed-- == 0)
			break;
		array_push_back(&relief->items, item);
	}
}

static void
retention_relief_add_plan(struct retention_relief_run *relief,
			  const struct retention_box *rbox,
			  struct mailbox *box,
			  const struct retention_plan *plan)
{
	ARRAY_TYPE(retention_relief_item) items;
	struct retention_relief_item item = { .rbox = rbox };
	const struct retention_move_item *move;
	struct retention_plan_target *target;

	t_array_init(&items, 128);
	array_foreach_elem(&plan->targets, target) {
		item.target = target;
		array_foreach(&target->items, move) {
			item.item = *move;
			array_push_back(&items, &item);
		}
	}
	if (rbox->pop3 != NULL &&
	    retention_pop3_is_timed(&relief->run->set->pop3))
		retention_relief_leave_to_pop3(relief, box, &items);
	array_sort(&items, retention_relief_item_cmp);
	retention_relief_add(relief, &items, plan->messages);
}

static bool retention_relief_stop_look(void *context)
{
	struct retention_relief_run *relief = context;
	struct retention_run *run = relief->run;

	if (retention_run_stop(run) ||
	    run->options->relief->stop_look(run->options->context))
		relief->cut = TRUE;
	return relief->cut;
}

static int
retention_relief_look_box(struct retention_relief_run *relief,
			  const struct retention_box *rbox,
			  struct mailbox *box, const char **error_r)
{
	struct retention_run *run = relief->run;
	struct retention_plan *plan;

	if (rbox->pop3 != NULL &&
	    retention_pop3_run_restore(run->event, box, error_r) < 0)
		return -1;
	if (retention_plan_make_quickly(rbox, box, run->set, run->now,
					retention_relief_stop_look, relief,
					run->pool, &plan, error_r) < 0)
		return -1;
	retention_relief_add_plan(relief, rbox, box, plan);
	return 0;
}

static void
retention_relief_look(struct retention_relief_run *relief,
		      const struct retention_box *rbox)
{
	struct mailbox *box;
	const char *error;
	int ret;

	if (!retention_relief_is_free(relief, rbox))
		return;
	if ((ret = retention_box_open(rbox, &box, &error)) > 0) {
		ret = retention_relief_look_box(relief, rbox, box, &error);
		mailbox_free(&box);
	}
	if (ret < 0)
		retention_run_failed(relief->run, rbox->vname, error);
}

/* Find the messages that may be archived. */
static void retention_relief_look_at_all(struct retention_relief_run *relief)
{
	struct retention_box *rbox;

	array_foreach_elem(&relief->boxes, rbox) {
		if (!retention_relief_wants(rbox) ||
		    retention_relief_stop_look(relief))
			continue;
		T_BEGIN {
			retention_relief_look(relief, rbox);
		} T_END;
	}
	array_sort(&relief->items, retention_relief_item_cmp);
}

static bool
retention_relief_same_move(const struct retention_relief_item *item1,
			   const struct retention_relief_item *item2)
{
	return item1->rbox == item2->rbox && item1->target == item2->target;
}

static int retention_relief_uid_cmp(const struct retention_move_item *item1,
				    const struct retention_move_item *item2)
{
	if (item1->uid < item2->uid)
		return -1;
	return item1->uid > item2->uid ? 1 : 0;
}

/* Archive those of the round that come from the same mailbox and go to the same
   one as its first that is left, and take them out of the round. */
static void
retention_relief_move(struct retention_relief_run *relief,
		      ARRAY_TYPE(retention_relief_item) *round)
{
	struct retention_run *run = relief->run;
	const struct retention_relief_item first = *array_front(round);
	struct retention_move_stats stats;
	ARRAY_TYPE(retention_move_item) items;
	const struct retention_relief_item *item;
	struct mailbox *box;
	const char *error;
	unsigned int i;
	int ret;

	t_array_init(&items, array_count(round));
	for (i = 0; i < array_count(round); ) {
		item = array_idx(round, i);
		if (retention_relief_same_move(&first, item)) {
			array_push_back(&items, &item->item);
			array_delete(round, i, 1);
		} else {
			i++;
		}
	}
	array_sort(&items, retention_relief_uid_cmp);
	if ((ret = retention_box_open(first.rbox, &box, &error)) <= 0) {
		if (ret < 0)
			retention_run_failed(run, first.rbox->vname, error);
		return;
	}
	i_zero(&stats);
	(void)retention_mover_archive(run->mover, first.rbox, box,
				      first.target->ns, first.target->vname,
				      &items, &stats);
	mailbox_free(&box);
	if (first.rbox->pop3 != NULL && stats.archived == 0 &&
	    stats.failed == 0) {
		/* most likely a POP3 session was opened just now */
		relief->blocked = TRUE;
	}
	run->stats->archived += stats.archived;
	run->stats->archived_bytes += stats.archived_bytes;
	run->stats->errors += stats.failed;
	relief->archived += stats.archived_bytes;
}

/* How many bytes of messages a round takes. */
static uint64_t
retention_relief_round_size(struct retention_relief_run *relief,
			    const struct retention_relief_need *need)
{
	uint64_t percent = 100;

	if (relief->archived > 0) {
		percent = relief->gained * 100 / relief->archived;
		percent = I_MAX(percent, RETENTION_RELIEF_GAIN_MIN);
		percent = I_MIN(percent, 100);
	}
	return I_MIN(need->bytes * 100 / percent, RETENTION_RELIEF_ROUND_BYTES);
}

static void
retention_relief_round(struct retention_relief_run *relief,
		       const struct retention_relief_need *need)
{
	ARRAY_TYPE(retention_relief_item) round;
	const struct retention_relief_item *item;
	uint64_t want = retention_relief_round_size(relief, need), bytes = 0;

	t_array_init(&round, 64);
	while (relief->next < array_count(&relief->items) &&
	       array_count(&round) < RETENTION_RELIEF_ROUND_MESSAGES &&
	       (bytes < want || array_count(&round) < need->messages)) {
		item = array_idx(&relief->items, relief->next++);
		array_push_back(&round, item);
		bytes += item->item.size;
	}
	while (!array_is_empty(&round) && !retention_run_stop(relief->run))
		retention_relief_move(relief, &round);
}

/* Compress what is plain in those of the mailboxes that are archive
   mailboxes. */
static void retention_relief_compress(struct retention_relief_run *relief,
				      const ARRAY_TYPE(retention_box) *boxes)
{
	if (relief->run->options->relief->compress) {
		retention_run_boxes(relief->run, boxes, TRUE);
		retention_run_finish(relief->run);
	}
}

/* The same where the rounds so far have archived something. */
static int
retention_relief_compress_targets(struct retention_relief_run *relief,
				  const char **error_r)
{
	struct retention_run *run = relief->run;
	ARRAY_TYPE(retention_box) boxes, targets;
	struct retention_box *rbox;

	/* some may have been created just now */
	if (retention_relief_list(relief, &boxes, error_r) < 0)
		return -1;
	t_array_init(&targets, 16);
	array_foreach_elem(&boxes, rbox) {
		if (retention_mover_has_target(run->mover, rbox->vname))
			array_push_back(&targets, &rbox);
	}
	retention_relief_compress(relief, &targets);
	return 0;
}

/* Returns 1 if something is missing still, 0 if not, -1 with error_r. */
static int retention_relief_go_on(struct retention_relief_run *relief,
				  struct retention_relief_need *need,
				  const char **error_r)
{
	const struct retention_run_options *options = relief->run->options;
	const struct retention_relief_need before = *need;
	bool more;

	retention_relief_round(relief, need);
	if (options->relief->compress &&
	    retention_relief_compress_targets(relief, error_r) < 0)
		return -1;
	more = options->relief->need(options->context, need);
	if (before.bytes > need->bytes)
		relief->gained += before.bytes - need->bytes;
	return more ? 1 : 0;
}

/* Returns as retention_relief_go_on(). */
static int retention_relief_rounds(struct retention_relief_run *relief,
				   const char **error_r)
{
	struct retention_run *run = relief->run;
	struct retention_relief_need need;
	int ret = 1;

	retention_relief_compress(relief, &relief->boxes);
	if (!run->options->relief->need(run->options->context, &need))
		return 0;
	retention_relief_look_at_all(relief);
	while (ret > 0 && relief->next < array_count(&relief->items) &&
	       !retention_run_stop(run)) T_BEGIN {
		ret = retention_relief_go_on(relief, &need, error_r);
	} T_END_PASS_STR_IF(ret < 0, error_r);
	return ret;
}

static int retention_relief_run_locked(struct retention_relief_run *relief,
				       const char **error_r)
{
	struct retention_run *run = relief->run;
	const struct retention_run_stats *stats = run->stats;
	int ret;

	retention_run_recover(run);
	if (retention_relief_list(relief, &relief->boxes, error_r) < 0)
		return -1;
	ret = retention_relief_rounds(relief, error_r);
	if (ret <= 0)
		return ret;
	/* Otherwise it goes on where it stopped. */
	if (!relief->blocked &&
	    ((!relief->cut && !retention_run_stop(run)) ||
	     (stats->archived == 0 && stats->compressed == 0)))
		run->options->relief->give_up(run->options->context);
	return 0;
}

int retention_run_relief(struct retention_run *run, const char **error_r)
{
	struct retention_relief_run relief = { .run = run };
	struct retention_relief_need need;
	ARRAY_TYPE(const_string) templates;
	int ret;

	t_array_init(&templates, 4);
	retention_archive_templates(run->set, &templates);
	if (array_is_empty(&templates)) {
		/* nothing is ever archived */
		return 0;
	}
	/* another process may have made room while we waited for it */
	if (!retention_run_lock(run) ||
	    !run->options->relief->need(run->options->context, &need))
		return 0;
	retention_relief_init_pop3(&relief);
	i_array_init(&relief.items, 256);
	ret = retention_relief_run_locked(&relief, error_r);
	array_free(&relief.items);
	return ret;
}
