/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-compat.h"
#include "mail-user.h"
#include "time-util.h"
#include "retention-user.h"
#include "doveadm-retention.h"

#include <time.h>

extern const char *doveadm_retention_plugin_version;
const char *doveadm_retention_plugin_version = DOVECOT_ABI_VERSION;

void doveadm_retention_plugin_init(struct module *module);
void doveadm_retention_plugin_deinit(void);

#if !RETENTION_DOVECOT24
/* 2.3 passes on its options only if the command says that it knows them. It
   finds the values by itself. */
static bool
doveadm_retention_parse_arg(struct doveadm_mail_cmd_context *ctx, int c)
{
	return strchr(ctx->getopt_args, c) != NULL;
}
#endif

struct doveadm_mail_cmd_context *
doveadm_retention_cmd_alloc_size(size_t size,
				 const char *getopt_args ATTR_UNUSED)
{
	struct doveadm_mail_cmd_context *ctx =
		doveadm_mail_cmd_alloc_size(size);

#if !RETENTION_DOVECOT24
	ctx->getopt_args = getopt_args;
	ctx->v.parse_arg = doveadm_retention_parse_arg;
#endif
	return ctx;
}

const char *doveadm_retention_date(time_t date)
{
	return date == 0 ? "-" : t_strflocaltime("%Y-%m-%d %H:%M:%S", date);
}

const char *doveadm_retention_percent(uoff_t part, uoff_t whole)
{
	return t_strdup_printf("%.1f", whole == 0 ? 0.0 :
			       (double)part * 100 / (double)whole);
}

void doveadm_retention_failed(struct doveadm_mail_cmd_context *ctx,
			      struct mail_user *user, const char *error)
{
	e_error(user->event, "retention: %s", error);
	doveadm_mail_failed_error(ctx, MAIL_ERROR_TEMP);
}

struct retention_user *
doveadm_retention_user(struct doveadm_mail_cmd_context *ctx,
		       struct mail_user *user)
{
	struct retention_user *ruser = retention_user_get(user);

	if (ruser == NULL) {
		doveadm_retention_failed(ctx, user,
			"The plugin is not loaded for this user: "
			"add retention to mail_plugins");
	}
	return ruser;
}

void doveadm_retention_plugin_init(struct module *module ATTR_UNUSED)
{
	doveadm_cmd_register_ver2(&doveadm_cmd_retention_run);
	doveadm_cmd_register_ver2(&doveadm_cmd_retention_status);
	doveadm_cmd_register_ver2(&doveadm_cmd_retention_explain);
	doveadm_cmd_register_ver2(&doveadm_cmd_retention_pop3_reset);
}

void doveadm_retention_plugin_deinit(void)
{
}
