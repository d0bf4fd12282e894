/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* Making room for a message that would be refused. Somebody is waiting, so not
   everything that could be archived is: what is plain in the archive is
   compressed, then the oldest messages of all mailboxes that have an archive
   rule are archived in rounds, each about as large as what is still missing,
   until nothing is. What compression will gain is not known beforehand: the
   first round takes for granted that it gains everything, each further one that
   it goes on as before.

   It works by rules of its own, made of the user's: archive rules are due at
   retention_minimum_age, keep rules stay as they are, and there are no others.
   Everything else is that of a normal run. */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "retention-plan.h"
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
	struct retention_settings set;
	ARRAY_TYPE(retention_box) boxes;
	/* Oldest first. */
	ARRAY_TYPE(retention_relief_item) items;
	/* The next one to be archived. */
	unsigned int next;
	/* Bytes that the rounds so far have archived and gained. */
	uint64_t archived, gained;
};

static void retention_relief_init_settings(struct retention_relief_run *relief)
{
	const struct retention_settings *set = relief->run->set;
	const struct retention_rule *rule;
	struct retention_rule *own;

	relief->set = *set;
	p_array_init(&relief->set.rules, relief->run->pool,
		     array_count(&set->rules) + 1);
	array_foreach(&set->rules, rule) {
		if (rule->action != RETENTION_ACTION_KEEP &&
		    rule->action != RETENTION_ACTION_ARCHIVE)
			continue;
		own = array_append_space(&relief->set.rules);
		*own = *rule;
		if (rule->action == RETENTION_ACTION_ARCHIVE &&
		    rule->age != RETENTION_AGE_UNLIMITED)
			own->age = set->minimum_age;
	}
	relief->run->set = &relief->set;
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

/* Add the mailbox's messages, as far as retention_run_limit allows. */
static void
retention_relief_add_plan(struct retention_relief_run *relief,
			  const struct retention_box *rbox,
			  const struct retention_plan *plan)
{
	ARRAY_TYPE(retention_relief_item) items;
	struct retention_relief_item item = { .rbox = rbox };
	const struct retention_move_item *move;
	struct retention_plan_target *target;
	unsigned int allowed, limit = relief->run->set->run_limit;

	t_array_init(&items, 128);
	array_foreach_elem(&plan->targets, target) {
		item.target = target;
		array_foreach(&target->items, move) {
			item.item = *move;
			array_push_back(&items, &item);
		}
	}
	array_sort(&items, retention_relief_item_cmp);
	allowed = limit == 0 ? array_count(&items) :
		(uint64_t)plan->messages * limit / 100;
	if (!array_is_empty(&items)) {
		array_append(&relief->items, array_front(&items),
			     I_MIN(allowed, array_count(&items)));
	}
}

static void
retention_relief_look(struct retention_relief_run *relief,
		      const struct retention_box *rbox)
{
	struct retention_run *run = relief->run;
	struct retention_plan *plan;
	struct mailbox *box;
	const char *error;
	int ret;

	if ((ret = retention_box_open(rbox, &box, &error)) <= 0) {
		if (ret < 0)
			retention_run_failed(run, rbox->vname, error);
		return;
	}
	if (retention_plan_make(rbox, box, run->set, run->now, 0,
				run->pool, &plan, &error) < 0)
		retention_run_failed(run, rbox->vname, error);
	else if (!array_is_empty(&plan->targets))
		retention_relief_add_plan(relief, rbox, plan);
	mailbox_free(&box);
}

/* Find the messages that may be archived. */
static void retention_relief_look_at_all(struct retention_relief_run *relief)
{
	struct retention_box *rbox;

	array_foreach_elem(&relief->boxes, rbox) {
		if (rbox->archive || retention_run_stop(relief->run))
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

/* Compress what is plain in the archive, with the mailboxes that the rounds so
   far have created. */
static int retention_relief_compress(struct retention_relief_run *relief,
				     const char **error_r)
{
	struct retention_run *run = relief->run;
	ARRAY_TYPE(retention_box) boxes;

	if (!run->options->relief->compress)
		return 0;
	if (retention_boxes_list(run->user, run->set, FALSE, run->pool,
				 &boxes, error_r) < 0)
		return -1;
	retention_run_boxes(run, &boxes, TRUE);
	retention_run_finish(run);
	return 0;
}

static int retention_relief_rounds(struct retention_relief_run *relief,
				   const char **error_r)
{
	struct retention_run *run = relief->run;
	struct retention_relief_need need, before;
	int ret;

	ret = retention_relief_compress(relief, error_r);
	if (ret < 0 || !run->options->relief->need(run->options->context,
						   &need))
		return ret;
	retention_relief_look_at_all(relief);
	while (ret == 0 && relief->next < array_count(&relief->items) &&
	       !retention_run_stop(run)) T_BEGIN {
		before = need;
		retention_relief_round(relief, &need);
		ret = retention_relief_compress(relief, error_r);
		if (!run->options->relief->need(run->options->context, &need))
			relief->next = array_count(&relief->items);
		else if (before.bytes > need.bytes)
			relief->gained += before.bytes - need.bytes;
	} T_END_PASS_STR_IF(ret < 0, error_r);
	return ret;
}

int retention_run_relief(struct retention_run *run, const char **error_r)
{
	struct retention_relief_run relief = { .run = run };
	struct retention_relief_need need;
	int ret;

	/* another process may have made room while we waited for it */
	if (!retention_run_lock(run) ||
	    !run->options->relief->need(run->options->context, &need))
		return 0;
	retention_relief_init_settings(&relief);
	i_array_init(&relief.items, 256);
	retention_run_recover(run);
	ret = retention_boxes_list(run->user, run->set, FALSE, run->pool,
				   &relief.boxes, error_r);
	if (ret == 0)
		ret = retention_relief_rounds(&relief, error_r);
	array_free(&relief.items);
	return ret;
}
