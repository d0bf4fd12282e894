#ifndef RETENTION_COMPAT_H
#define RETENTION_COMPAT_H

/* What differs between Dovecot 2.3 and 2.4 and is met outside the two settings
   sources. Include it right after "lib.h". */

#ifndef HAVE_CONFIG_H
#  error "HAVE_CONFIG_H must be defined for Dovecot's lib.h"
#endif

#if DOVECOT_PREREQ(2, 4, 0)
#  define RETENTION_DOVECOT24 1
#else
#  define RETENTION_DOVECOT24 0
#endif

/* mail_cache_register_fields() for a field that is known already. */
#if RETENTION_DOVECOT24
#  define retention_mail_cache_update_field(cache, field) \
	mail_cache_register_fields(cache, field, 1, unsafe_data_stack_pool)
#else
#  define retention_mail_cache_update_field(cache, field) \
	mail_cache_register_fields(cache, field, 1)
#endif

/* i_stream_create() for a stream that reads from its parent alone. */
#if DOVECOT_PREREQ(2, 4, 5)
#  define retention_i_stream_create(stream, parent, fd, flags) \
	i_stream_create(stream, parent, fd, ISTREAM_HIDDEN_INPUTS_NONE, flags)
#else
#  define retention_i_stream_create(stream, parent, fd, flags) \
	i_stream_create(stream, parent, fd, flags)
#endif

/* The settings of the running doveadm or service. */
#if RETENTION_DOVECOT24
#  define retention_master_service_settings(service) \
	master_service_get_service_settings(service)
#else
#  define retention_master_service_settings(service) \
	master_service_settings_get(service)
#endif

/* The init() of a doveadm mail command. Parameters are in ctx->cctx in both. */
#if RETENTION_DOVECOT24
#  define RETENTION_DOVEADM_INIT_PARAMS \
	struct doveadm_mail_cmd_context *_ctx
#else
#  define RETENTION_DOVEADM_INIT_PARAMS \
	struct doveadm_mail_cmd_context *_ctx, \
	const char *const args[] ATTR_UNUSED
#endif

/* The user's settings of the pop3 service, in its process only. Returns 0 with
   set_r, which must be freed, or -1 with error_r. */
#if RETENTION_DOVECOT24
#  include "settings.h"
#  define retention_pop3_settings_get(user, set_r, error_r) \
	settings_get((user)->event, &pop3_setting_parser_info, 0, \
		     set_r, error_r)
#  define retention_pop3_settings_free(set) settings_free(set)
#else
#  define retention_pop3_settings_get(user, set_r, error_r) \
	(*(set_r) = mail_storage_service_user_get_set( \
		(user)->_service_user)[1], 0)
#  define retention_pop3_settings_free(set) ((set) = NULL)
#endif

/* Parse a time such as "90d" or "12 hours" into seconds. "unlimited" and
   "infinite" give UINT_MAX; 0 may be written without a unit. Returns 0 on
   success, -1 with error_r set otherwise. */
int retention_parse_time(const char *str, unsigned int *secs_r,
			 const char **error_r);
/* Parse a size such as "100k" into bytes. Returns 0 on success, -1 with
   error_r set otherwise. */
int retention_parse_size(const char *str, uoff_t *size_r,
			 const char **error_r);

#endif
