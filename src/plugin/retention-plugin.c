/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "module-dir.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"
#include "retention-pop3-client.h"
#include "retention-user.h"
#include "retention-storage.h"
#include "retention-plugin.h"

const char *retention_plugin_version = DOVECOT_ABI_VERSION;

static struct mail_storage_hooks retention_hooks = {
	.mail_user_created = retention_user_created,
	.mailbox_opened = retention_mailbox_opened,
	.mailbox_allocated = retention_mailbox_allocated,
	.mail_allocated = retention_mail_allocated,
};

/* A hook may put one layer of functions over those of the layers before it:
   after each hook Dovecot works out which functions were overridden. POP3's
   layer is a second one, so it has hooks of its own. */
static struct mail_storage_hooks retention_pop3_hooks = {
	.mail_user_created = retention_pop3_user_created,
	.mailbox_allocated = retention_pop3_mailbox_allocated,
	.mail_allocated = retention_pop3_mail_allocated,
};
/* Hooks are called in the order of their modules' paths: this one's is such
   that it comes right after the plugin itself. */
static struct module retention_pop3_module;

void retention_plugin_init(struct module *module)
{
	retention_pop3_module = *module;
	retention_pop3_module.path = i_strconcat(module->path, "-pop3", NULL);
	mail_storage_hooks_add(module, &retention_hooks);
	mail_storage_hooks_add(&retention_pop3_module, &retention_pop3_hooks);
	retention_pop3_client_init();
}

void retention_plugin_deinit(void)
{
	retention_pop3_client_deinit();
	mail_storage_hooks_remove(&retention_pop3_hooks);
	mail_storage_hooks_remove(&retention_hooks);
	i_free(retention_pop3_module.path);
}
