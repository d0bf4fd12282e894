/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* A POP3 session's beginning and end. In the order in which things happen:

    1. the user is created: contradicting settings refuse it;
    2. the client is created: here we learn of it. Its INBOX is not open yet;
    3. INBOX is opened: the session lock is taken, which runs respect;
    4. it is synced and listed, without what is hidden;
    5. the client's commands. Until QUIT nothing of ours is written;
    6. QUIT: hidden and downloaded messages go into the same transaction as
       what Dovecot does itself, and then into our log;
    7. the mailbox and the connection are closed;
    8. the user is freed: the lock is released, and messages that are due at
       once are archived or expunged. The client does not wait for it.

   Without QUIT 6 is left out, and 8 has nothing to do. */

#include "lib.h"
#include "retention-compat.h"
#include "array.h"
#include "mail-storage-private.h"
#include "mail-storage-service.h"
#include "master-service.h"
#include "module-context.h"
#include "pop3-common.h"
#include "retention-run.h"
#include "retention-session.h"
#include "retention-user.h"
#include "retention-pop3-client.h"
#include "retention-pop3-session.h"

/* Only the pop3 executable has these. Everywhere else they are NULL. */
#pragma weak pop3_client_created_hook_set
#pragma weak pop3_setting_parser_info

static MODULE_CONTEXT_DEFINE_INIT(retention_pop3_user_module,
				  &mail_user_module_register);
#define RETENTION_POP3_USER_CONTEXT(obj) \
	MODULE_CONTEXT(obj, retention_pop3_user_module)
#define RETENTION_POP3_USER_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, retention_pop3_user_module)

static pop3_client_created_func_t *retention_pop3_next_hook;

struct retention_pop3_session *
retention_pop3_session_get(struct mail_user *user)
{
	return RETENTION_POP3_USER_CONTEXT(user);
}

bool retention_pop3_session_hides(const struct retention_pop3_session *session)
{
	return session->set->pop3.delete != RETENTION_POP3_DELETE_EXPUNGE;
}

/* Settings */

static const char *
retention_pop3_contradiction(const struct retention_pop3_session *session,
			     const struct pop3_settings *pop3_set)
{
	const struct retention_pop3_settings *set = &session->set->pop3;
	const char *delete = t_strdup_printf("retention_pop3_delete=%s",
		retention_pop3_delete_name(set->delete));
	bool hides = retention_pop3_session_hides(session);

	if (hides && strcmp(pop3_set->pop3_delete_type, "expunge") == 0) {
		return t_strdup_printf("%s contradicts "
			"pop3_delete_type=expunge, leave it at default",
			delete);
	}
	if (set->delete == RETENTION_POP3_DELETE_ARCHIVE &&
	    strcmp(pop3_set->pop3_delete_type, "flag") == 0) {
		return t_strdup_printf("%s contradicts pop3_delete_type=flag, "
			"leave it at default", delete);
	}
	if (!hides && set->leave_time != RETENTION_AGE_UNLIMITED &&
	    pop3_set->parsed_delete_type == POP3_DELETE_TYPE_FLAG) {
		return t_strdup_printf("retention_pop3_leave_time=%s with %s "
			"contradicts pop3_deleted_flag=%s with "
			"pop3_delete_type=%s: what is left on the server "
			"would be expunged, and what the client deletes would "
			"not", retention_age_text(set->leave_time), delete,
			pop3_set->pop3_deleted_flag,
			pop3_set->pop3_delete_type);
	}
	if (strcasecmp(pop3_set->pop3_deleted_flag,
		       RETENTION_POP3_DOWNLOADED_KEYWORD) == 0) {
		return t_strdup_printf("%s contradicts pop3_deleted_flag=%s: "
			"every message that was downloaded has this keyword",
			delete, pop3_set->pop3_deleted_flag);
	}
	return NULL;
}

static void
retention_pop3_session_check_settings(struct retention_pop3_session *session)
{
	struct mail_user *user = session->user;
	const struct pop3_settings *pop3_set;
	const char *error;

	if (!retention_pop3_is_set(&session->set->pop3))
		return;
	if (retention_pop3_settings_get(user, &pop3_set, &error) == 0) {
		error = retention_pop3_contradiction(session, pop3_set);
		retention_pop3_settings_free(pop3_set);
	}
	if (error != NULL) {
		user->error = p_strdup_printf(user->pool, "retention: %s",
					      error);
	}
}

/* Dovecot's own settings for this client are changed in a copy of them: what
   they came from is not known to belong to this client alone. */
static struct pop3_settings *
retention_pop3_client_get_settings(struct client *client)
{
	struct pop3_settings *set;

	set = p_memdup(client->pool, client->set, sizeof(*client->set));
	client->set = set;
	return set;
}

void retention_pop3_session_hide_keyword(struct retention_pop3_session *session,
					 struct mailbox *box)
{
	struct client *client = session->client;
	struct pop3_settings *set;
	const char *error;
	unsigned int idx;

	if (client->set->pop3_deleted_flag[0] != '\0')
		return;
	/* A mailbox in which POP3 never hid anything is left as it is, unless
	   its index is too new to tell. */
	if (!retention_pop3_is_set(&session->set->pop3) &&
	    !mail_index_keyword_lookup(box->index,
				       RETENTION_POP3_HIDDEN_KEYWORD, &idx) &&
	    mail_index_get_header(box->view)->next_uid > 1 &&
	    !retention_pop3_state_is_lost(box))
		return;
	/* Where there can't be such a keyword, nothing was ever hidden. */
	if (!mailbox_keyword_is_valid(box, RETENTION_POP3_HIDDEN_KEYWORD,
				      &error))
		return;

	set = retention_pop3_client_get_settings(client);
	set->pop3_deleted_flag = RETENTION_POP3_HIDDEN_KEYWORD;
}

/* Beginning */

int retention_pop3_session_lock(struct retention_pop3_session *session)
{
	const char *error;
	int ret;

	/* runs and notices about the quota take messages out of INBOX */
	if ((!session->configured && session->set->quota.levels_count == 0) ||
	    session->lock != NULL)
		return 0;
	ret = retention_session_lock_shared(session->user, &session->lock,
					    &error);
	if (ret < 0) {
		/* Runs will most likely fail in the same way, and leave INBOX
		   alone. If not, they may move messages away under this
		   session, which it survives. */
		e_error(session->user->event, "retention: "
			"%s - continuing without the session lock", error);
		session->lock = NULL;
	}
	return ret == 0 ? -1 : 0;
}

static void retention_pop3_client_created(struct client **_client)
{
	struct client *client = *_client;
	struct retention_pop3_session *session =
		RETENTION_POP3_USER_CONTEXT(client->user);
	struct pop3_settings *set;

	if (session != NULL) {
		session->client = client;
		if (session->configured)
			retention_pop3_capa_init(session);
		if (retention_pop3_session_hides(session)) {
			set = retention_pop3_client_get_settings(client);
			set->parsed_delete_type = POP3_DELETE_TYPE_FLAG;
			if (set->pop3_deleted_flag[0] == '\0') {
				set->pop3_deleted_flag =
					RETENTION_POP3_HIDDEN_KEYWORD;
			}
		}
	}
	if (retention_pop3_next_hook != NULL)
		retention_pop3_next_hook(_client);
}

/* End */

/* The connection is closed. When the server is being shut down there is no
   time for anything but the end; a later run does it. */
static void retention_pop3_user_deinit_pre(struct mail_user *user)
{
	struct retention_pop3_session *session =
		RETENTION_POP3_USER_CONTEXT_REQUIRE(user);

	if (session->lock != NULL)
		retention_session_unlock(&session->lock);
	if (session->run_due && !master_service_is_killed(master_service) &&
	    !master_service_is_master_stopped(master_service))
		retention_run_pop3(user);
	session->module_ctx.super.deinit_pre(user);
}

static void retention_pop3_user_deinit(struct mail_user *user)
{
	struct retention_pop3_session *session =
		RETENTION_POP3_USER_CONTEXT_REQUIRE(user);

	array_free(&session->downloads);
	session->module_ctx.super.deinit(user);
}

void retention_pop3_user_created(struct mail_user *user)
{
	struct retention_user *ruser = retention_user_get(user);
	struct mail_user_vfuncs *v = user->vlast;
	struct retention_pop3_session *session;

	if (pop3_client_created_hook_set == NULL || ruser == NULL ||
	    user->service == NULL || strcmp(user->service, "pop3") != 0)
		return;

	session = p_new(user->pool, struct retention_pop3_session, 1);
	session->user = user;
	session->set = ruser->set;
	session->configured = !array_is_empty(&ruser->set->rules) ||
		retention_pop3_is_set(&ruser->set->pop3);
	i_array_init(&session->downloads, 16);
	session->module_ctx.super = *v;
	user->vlast = &session->module_ctx.super;
	v->deinit_pre = retention_pop3_user_deinit_pre;
	v->deinit = retention_pop3_user_deinit;
	MODULE_CONTEXT_SET(user, retention_pop3_user_module, session);

	retention_pop3_session_check_settings(session);
}

void retention_pop3_client_init(void)
{
	if (pop3_client_created_hook_set != NULL) {
		retention_pop3_next_hook = pop3_client_created_hook_set(
			retention_pop3_client_created);
	}
}

void retention_pop3_client_deinit(void)
{
	if (pop3_client_created_hook_set != NULL)
		(void)pop3_client_created_hook_set(retention_pop3_next_hook);
}
