/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

#include "lib.h"
#include "retention-warning.h"

/* The highest level that the usage has reached. */
static unsigned int
retention_warning_level(const struct retention_quota_settings *set,
			unsigned int permille)
{
	unsigned int level = 0;

	for (unsigned int i = 0; i < set->levels_count; i++) {
		if (permille >= set->levels[i] * 10)
			level = set->levels[i];
	}
	return level;
}

static bool
retention_warning_is_held_back(const struct retention_quota_settings *set,
			       const struct retention_warning_state *state,
			       unsigned int level, time_t now)
{
	/* a clock that was set back must not silence it for long */
	return state->noticed != 0 && level <= state->noticed_level &&
		now >= state->noticed &&
		now - state->noticed < (time_t)set->warning_interval;
}

enum retention_warning
retention_warning_judge(const struct retention_quota_settings *set,
			unsigned int permille, time_t now,
			struct retention_warning_state *state)
{
	unsigned int level = retention_warning_level(set, permille);

	if (level > state->level) {
		if (retention_warning_is_held_back(set, state, level, now))
			return RETENTION_WARNING_NONE;
		state->level = state->noticed_level = level;
		state->noticed = now;
		return RETENTION_WARNING_REACHED;
	}
	if (level == state->level ||
	    permille + set->warning_hysteresis * 10 >= state->level * 10)
		return RETENTION_WARNING_NONE;
	state->level = level;
	return level == 0 ? RETENTION_WARNING_BELOW : RETENTION_WARNING_NONE;
}
