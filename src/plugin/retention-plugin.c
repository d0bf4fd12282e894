/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "array.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"
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

void retention_plugin_init(struct module *module)
{
	mail_storage_hooks_add(module, &retention_hooks);
}

void retention_plugin_deinit(void)
{
	mail_storage_hooks_remove(&retention_hooks);
}
