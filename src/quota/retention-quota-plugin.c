/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"
#include "module-dir.h"
#include "retention-quota.h"
#include "retention-quota-user.h"
#include "retention-quota-plugin.h"

const char *retention_quota_plugin_version = DOVECOT_ABI_VERSION;
const char *retention_quota_plugin_dependencies[] = {
	"quota", "retention", NULL
};

static struct mail_storage_hooks retention_quota_hooks = {
	.mail_user_created = retention_quota_user_created,
	.mail_namespaces_created = retention_quota_namespaces_created,
};

/* Dovecot orders hooks by the modules' file names. These must come before those
   of lib10_quota_plugin. */
static struct module retention_quota_outer_module = {
	.path = "lib05_retention_quota_plugin.so",
	.name = "retention_quota_plugin",
};
static struct mail_storage_hooks retention_quota_outer_hooks = {
	.mailbox_allocated = retention_quota_mailbox_allocated,
};

void retention_quota_plugin_init(struct module *module)
{
	quota_backend_register(&quota_backend_retention);
	mail_storage_hooks_add(module, &retention_quota_hooks);
	mail_storage_hooks_add(&retention_quota_outer_module,
			       &retention_quota_outer_hooks);
}

void retention_quota_plugin_deinit(void)
{
	mail_storage_hooks_remove(&retention_quota_outer_hooks);
	mail_storage_hooks_remove(&retention_quota_hooks);
	quota_backend_unregister(&quota_backend_retention);
}
