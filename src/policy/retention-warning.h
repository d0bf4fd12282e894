#ifndef RETENTION_WARNING_H
#define RETENTION_WARNING_H

#include "retention-quota-values.h"

/* Whether a user is to be told how full the mailbox is. */

/* What is remembered of a quota root from one time to the next. */
struct retention_warning_state {
	/* The level that the user knows to be at, in percent; 0 is below all
	   levels. */
	unsigned int level;
	/* The level of the last notice that told of one, and when it was, in
	   seconds since 1970; 0 if there was none. */
	unsigned int noticed_level;
	time_t noticed;
};

enum retention_warning {
	RETENTION_WARNING_NONE = 0,
	/* A level was reached: state->level. */
	RETENTION_WARNING_REACHED,
	/* The usage is below all levels again. */
	RETENTION_WARNING_BELOW,
};

/* Judge a usage in tenths of a percent of the limit, and update the state: as
   soon as a level is reached, but within the interval only if it is higher than
   that of the last notice; what is held back comes when the interval is over.
   A level is left, and can be reached anew, once the usage is below it by more
   than the hysteresis. */
enum retention_warning
retention_warning_judge(const struct retention_quota_settings *set,
			unsigned int permille, time_t now,
			struct retention_warning_state *state);

#endif
