#ifndef DOVEADM_RETENTION_H
#define DOVEADM_RETENTION_H

#include "doveadm-mail.h"

extern struct doveadm_cmd_ver2 doveadm_cmd_retention_run;
extern struct doveadm_cmd_ver2 doveadm_cmd_retention_status;
extern struct doveadm_cmd_ver2 doveadm_cmd_retention_explain;
extern struct doveadm_cmd_ver2 doveadm_cmd_retention_pop3_reset;

/* Allocate a command's context. getopt_args are its own short options, as for
   getopt(): 2.3 refuses those that it is not told of. */
#define doveadm_retention_cmd_alloc(type, getopt_args) \
	(type *)doveadm_retention_cmd_alloc_size(sizeof(type), getopt_args)
struct doveadm_mail_cmd_context *
doveadm_retention_cmd_alloc_size(size_t size, const char *getopt_args);

/* Returns the plugin's context of the user. If the plugin is not loaded for
   this user, returns NULL and has doveadm exit with failure. */
struct retention_user *
doveadm_retention_user(struct doveadm_mail_cmd_context *ctx,
		       struct mail_user *user);

/* A date as doveadm prints it, "-" for 0. Allocated from the data stack. */
const char *doveadm_retention_date(time_t date);
/* "12.3", from the data stack; "0.0" if whole is 0. */
const char *doveadm_retention_percent(uoff_t part, uoff_t whole);
/* Log the error for the user and let doveadm exit with failure. */
void doveadm_retention_failed(struct doveadm_mail_cmd_context *ctx,
			      struct mail_user *user, const char *error);

#endif
