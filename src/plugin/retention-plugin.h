#ifndef RETENTION_PLUGIN_H
#define RETENTION_PLUGIN_H

struct module;

extern const char *retention_plugin_version;

void retention_plugin_init(struct module *module);
void retention_plugin_deinit(void);

#endif
