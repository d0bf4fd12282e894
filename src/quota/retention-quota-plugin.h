#ifndef RETENTION_QUOTA_PLUGIN_H
#define RETENTION_QUOTA_PLUGIN_H

struct module;

extern const char *retention_quota_plugin_version;
extern const char *retention_quota_plugin_dependencies[];

void retention_quota_plugin_init(struct module *module);
void retention_quota_plugin_deinit(void);

#endif
