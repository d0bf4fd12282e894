#ifndef RETENTION_RUN_PRIVATE_H
#define RETENTION_RUN_PRIVATE_H

#include "retention-box.h"
#include "retention-driver.h"
#include "retention-move.h"
#include "retention-run.h"

/* For retention-run.c and retention-relief.c only. */

struct retention_run {
	struct mail_user *user;
	const struct retention_settings *set;
	struct event *event;
	const struct retention_run_options *options;
	struct retention_run_stats *stats;
	time_t now;
	/* The user is locked, which waits until there is something to do. */
	bool locked;
	/* The sums of stored sizes are known to be outdated. */
	bool changing;
	/* Why there is no lock, NULL if it has not failed. */
	const char *lock_error;
	/* Lives as long as the run. */
	pool_t pool;
	struct retention_mover *mover;
	/* One for each storage. */
	ARRAY(struct retention_compressor *) compressors;
	/* Jobs with messages that wait for the end of the run. */
	ARRAY(struct retention_compress_job *) jobs;
	struct retention_run_progress progress;
};

/* Returns TRUE if nothing more is to be begun. */
bool retention_run_stop(void *context);
/* Log and count a failure. */
void retention_run_failed(struct retention_run *run, const char *vname,
			  const char *error);
/* Returns TRUE if the user is locked by the run. */
bool retention_run_lock(struct retention_run *run);
/* Have the storages repaired that a killed process, maybe the run before, has
   left half changed: in the middle of a run this would renumber messages. To be
   called before any mailbox is synced. mdbox would finish what was left and
   then repair it, and nothing would tell that it needs repair if we died in
   between. */
void retention_run_recover(struct retention_run *run);
/* Go through the mailboxes that are archive mailboxes, or are not. */
void retention_run_boxes(struct retention_run *run,
			 const ARRAY_TYPE(retention_box) *boxes, bool archive);
/* Compress what was put off until no mailbox is open. */
void retention_run_finish(struct retention_run *run);

/* The run that only makes room, see retention-run.h. Returns 0, or -1 with
   error_r if mailboxes can't be listed. */
int retention_run_relief(struct retention_run *run, const char **error_r);

#endif
