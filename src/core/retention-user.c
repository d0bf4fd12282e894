/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "file-lock.h"
#include "module-context.h"
#include "retention-event.h"
#include "retention-user.h"

static MODULE_CONTEXT_DEFINE_INIT(retention_user_module,
				  &mail_user_module_register);
#define RETENTION_LOCK_FNAME "dovecot.retention.lock"

#define RETENTION_USER_CONTEXT(obj) \
	MODULE_CONTEXT(obj, retention_user_module)
#define RETENTION_USER_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, retention_user_module)

struct retention_user *retention_user_get(struct mail_user *user)
{
	return RETENTION_USER_CONTEXT(user);
}

/* Only here does somebody sit who sees the error and can have it mended. */
static bool retention_service_refuses(const char *service)
{
	return service != NULL &&
		(strcmp(service, "imap") == 0 ||
		 strcmp(service, "pop3") == 0 ||
		 strcmp(service, "doveadm") == 0);
}

bool retention_user_refuse(struct mail_user *user, const char *error)
{
	if (retention_service_refuses(user->service)) {
		user->error = p_strdup_printf(user->pool, "retention: %s",
					      error);
		return TRUE;
	}
	e_error(user->event, "retention: %s - continuing without retention "
		"rules", error);
	return FALSE;
}

int retention_user_lock(struct mail_user *user, unsigned int timeout_secs,
			const char **error_r)
{
	struct retention_user *ruser = RETENTION_USER_CONTEXT_REQUIRE(user);

	/* Locking it once more would succeed, and unlocking it would then
	   release both. */
	if (ruser->lock != NULL)
		return 0;
	return mail_user_lock_file_create(user, RETENTION_LOCK_FNAME,
					  timeout_secs, &ruser->lock, error_r);
}

void retention_user_unlock(struct mail_user *user)
{
	struct retention_user *ruser = RETENTION_USER_CONTEXT_REQUIRE(user);

	file_lock_free(&ruser->lock);
}

static void retention_user_deinit(struct mail_user *user)
{
	struct retention_user *ruser = RETENTION_USER_CONTEXT_REQUIRE(user);

	retention_settings_free(&ruser->set);
	event_unref(&ruser->event);
	ruser->module_ctx.super.deinit(user);
}

static const struct retention_settings *retention_settings_none(void)
{
	pool_t pool = pool_alloconly_create("retention settings", 128);
	struct retention_settings *set;

	set = p_new(pool, struct retention_settings, 1);
	set->pool = pool;
	set->archive_mailbox = "";
	retention_pop3_settings_init(&set->pop3);
	retention_quota_settings_init(&set->quota);
	p_array_init(&set->rules, pool, 1);
	return set;
}

void retention_user_created(struct mail_user *user)
{
	struct mail_user_vfuncs *v = user->vlast;
	const struct retention_settings *set;
	struct retention_user *ruser;
	const char *error;

	/* Dovecot's own helper users (raw mails being delivered, owners of
	   shared mailboxes) have no rules that could apply here. */
	if (user->autocreated)
		return;

	if (retention_settings_read(user, &set, &error) < 0) {
		if (retention_user_refuse(user, error))
			return;
		set = retention_settings_none();
	}

	ruser = p_new(user->pool, struct retention_user, 1);
	ruser->set = set;
	ruser->event = event_create(user->event);
	event_add_category(ruser->event, &event_category_retention);
	event_set_append_log_prefix(ruser->event, "retention: ");
	ruser->module_ctx.super = *v;
	user->vlast = &ruser->module_ctx.super;
	v->deinit = retention_user_deinit;
	MODULE_CONTEXT_SET(user, retention_user_module, ruser);
}
