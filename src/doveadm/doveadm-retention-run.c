/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "array.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "syslog-util.h"
#include "str-sanitize.h"
#include "time-util.h"
#include "mail-user.h"
#include "doveadm-print.h"
#include "retention-plan.h"
#include "retention-run.h"
#include "retention-user.h"
#include "doveadm-retention.h"

#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

#define RETENTION_PROGRESS_INTERVAL_USECS (200 * 1000)
/* Characters of the mailbox name, so that the line fits. */
#define RETENTION_PROGRESS_NAME_LEN 40

struct doveadm_retention_run {
	struct doveadm_mail_cmd_context ctx;
	const char *mask;
	bool dry_run;

	/* stderr is a terminal and belongs to us. */
	bool show_progress;
	struct timeval start, last_shown;
	/* The mailbox that the progress is about, and when it began. */
	char *mailbox;
	struct timeval mailbox_start;
};

static bool doveadm_retention_run_stop(void *context ATTR_UNUSED)
{
	return doveadm_is_killed();
}

/* What a run does goes to Dovecot's own log, as mail_log's lines do when a
   client is at work, and not to the terminal of whoever runs doveadm. Called
   while doveadm still has the rights to open the log. */
static void doveadm_retention_log_to_dovecot(void)
{
	const struct master_service_settings *set =
		retention_master_service_settings(master_service);
	const char *path = *set->info_log_path != '\0' ?
		set->info_log_path : set->log_path;
	int facility;

	if (strcmp(path, "syslog") == 0) {
		if (!syslog_facility_find(set->syslog_facility, &facility))
			facility = LOG_MAIL;
		openlog("dovecot", LOG_NDELAY | LOG_PID, facility);
		i_set_info_handler(i_syslog_error_handler);
	} else if (*path == '/' && strcmp(path, "/dev/stderr") != 0 &&
		   access(path, W_OK) == 0) {
		i_set_info_file(path);
		/* which debug messages would follow otherwise */
		if (*set->debug_log_path == '\0')
			i_set_debug_file("/dev/stderr");
	}
}

static void
doveadm_retention_run_clear_progress(struct doveadm_retention_run *run)
{
	if (run->mailbox != NULL)
		fputs("\r\033[K", stderr);
	i_free(run->mailbox);
}

static void
doveadm_retention_run_progress(void *context,
			       const struct retention_run_progress *progress)
{
	struct doveadm_retention_run *run = context;
	struct timeval now;
	double secs;
	unsigned int left;

	i_gettimeofday(&now);
	if (run->mailbox == NULL ||
	    strcmp(run->mailbox, progress->mailbox) != 0) {
		i_free(run->mailbox);
		run->mailbox = i_strdup(progress->mailbox);
		run->mailbox_start = now;
	} else if (timeval_diff_usecs(&now, &run->last_shown) <
		   RETENTION_PROGRESS_INTERVAL_USECS) {
		return;
	}
	run->last_shown = now;
	secs = timeval_diff_usecs(&now, &run->mailbox_start) / 1e6;
	left = progress->done == 0 ? 0 :
		secs * (progress->total - progress->done) / progress->done;
	fprintf(stderr, "\r\033[K%s %u/%u, %.1f MB/s, %u:%02u left",
		str_sanitize(progress->mailbox, RETENTION_PROGRESS_NAME_LEN),
		progress->done, progress->total,
		secs <= 0 ? 0.0 : progress->bytes / secs / 1e6,
		left / 60, left % 60);
	fflush(stderr);
}

static void
doveadm_retention_run_plan(void *context ATTR_UNUSED,
			   const struct retention_box *rbox,
			   const struct retention_plan *plan)
{
	const struct retention_plan_tally *tally;

	array_foreach(&plan->tallies, tally) {
		doveadm_print(rbox->vname);
		doveadm_print(tally->rule == NULL ? "-" : tally->rule->name);
		doveadm_print(tally->action);
		doveadm_print_num(tally->messages);
		doveadm_print_num(tally->bytes);
	}
}

static void
doveadm_retention_run_summary(const struct doveadm_retention_run *run,
			      const struct retention_run_stats *stats)
{
	struct timeval now;

	i_gettimeofday(&now);
	doveadm_print_num(stats->archived);
	doveadm_print_num(stats->archived_bytes);
	doveadm_print_num(stats->compressed);
	doveadm_print_num(stats->compressed_bytes);
	doveadm_print_num(stats->expunged);
	doveadm_print_num(stats->expunged_bytes);
	doveadm_print_num(stats->compressed_bytes - stats->stored_bytes);
	doveadm_print_num(stats->errors);
	doveadm_print(t_strdup_printf("%.3f",
		timeval_diff_usecs(&now, &run->start) / 1e6));
	doveadm_print_num(stats->hidden);
}

static int
doveadm_retention_run_run(struct doveadm_mail_cmd_context *_ctx,
			  struct mail_user *user)
{
	struct doveadm_retention_run *run =
		container_of(_ctx, struct doveadm_retention_run, ctx);
	struct retention_run_options options = {
		.dry_run = run->dry_run,
		.mask = run->mask,
		.stop = doveadm_retention_run_stop,
		.plan = doveadm_retention_run_plan,
		.context = run,
	};
	struct retention_run_stats stats;
	const char *error;

	if (doveadm_retention_user(_ctx, user) == NULL)
		return -1;
	if (run->show_progress)
		options.progress = doveadm_retention_run_progress;
	i_gettimeofday(&run->start);
	if (retention_run(user, &options, &stats, &error) < 0) {
		doveadm_retention_run_clear_progress(run);
		doveadm_retention_failed(_ctx, user, error);
		return -1;
	}
	doveadm_retention_run_clear_progress(run);
	if (!run->dry_run)
		doveadm_retention_run_summary(run, &stats);
	if (doveadm_is_killed()) {
		doveadm_retention_failed(_ctx, user,
			"Interrupted; the next run goes on from here");
		return -1;
	}
	if (stats.errors > 0) {
		/* each of them has been logged */
		doveadm_mail_failed_error(_ctx, MAIL_ERROR_TEMP);
		return -1;
	}
	return 0;
}

static void
doveadm_retention_run_headers(const struct doveadm_retention_run *run)
{
	if (run->dry_run) {
		doveadm_print_header_simple("mailbox");
		doveadm_print_header_simple("rule");
		doveadm_print_header_simple("action");
		doveadm_print_header_simple("messages");
		doveadm_print_header_simple("bytes");
		return;
	}
	doveadm_print_header_simple("archived");
	doveadm_print_header_simple("archived_bytes");
	doveadm_print_header_simple("compressed");
	doveadm_print_header_simple("compressed_bytes");
	doveadm_print_header_simple("expunged");
	doveadm_print_header_simple("expunged_bytes");
	doveadm_print_header_simple("saved_bytes");
	doveadm_print_header_simple("errors");
	doveadm_print_header_simple("seconds");
	doveadm_print_header_simple("hidden");
}

static void doveadm_retention_run_init(RETENTION_DOVEADM_INIT_PARAMS)
{
	struct doveadm_retention_run *run =
		container_of(_ctx, struct doveadm_retention_run, ctx);
	struct doveadm_cmd_context *cctx = _ctx->cctx;
	bool cli = cctx->conn_type == DOVEADM_CONNECTION_TYPE_CLI;

	(void)doveadm_cmd_param_str(cctx, "mailbox-mask", &run->mask);
	(void)doveadm_cmd_param_bool(cctx, "dry-run", &run->dry_run);
	doveadm_retention_run_headers(run);
	if (cli && !run->dry_run) {
		run->show_progress = isatty(STDERR_FILENO) == 1;
		doveadm_retention_log_to_dovecot();
	}
}

static struct doveadm_mail_cmd_context *doveadm_retention_run_alloc(void)
{
	struct doveadm_retention_run *run =
		doveadm_retention_cmd_alloc(struct doveadm_retention_run,
					    "m:n");

	run->ctx.v.init = doveadm_retention_run_init;
	run->ctx.v.run = doveadm_retention_run_run;
	doveadm_print_init(DOVEADM_PRINT_TYPE_FLOW);
	return &run->ctx;
}

struct doveadm_cmd_ver2 doveadm_cmd_retention_run = {
	.name = "retention run",
	.usage = DOVEADM_CMD_MAIL_USAGE_PREFIX "[-n] [-m <mailbox mask>]",
	.mail_cmd = doveadm_retention_run_alloc,
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_MAIL_COMMON
DOVEADM_CMD_PARAM('n', "dry-run", CMD_PARAM_BOOL, 0)
DOVEADM_CMD_PARAM('m', "mailbox-mask", CMD_PARAM_STR, 0)
DOVEADM_CMD_PARAMS_END
};
