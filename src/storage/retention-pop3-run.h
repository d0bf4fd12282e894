#ifndef RETENTION_POP3_RUN_H
#define RETENTION_POP3_RUN_H

struct event;
struct mailbox;
struct retention_box;
struct retention_plan;

/* What a run does in INBOX because of POP3, besides archiving and expunging,
   which it does together with the rules. All of these return 0 on success, -1
   with error_r. */

/* If the index was lost, bring back what POP3 has done, before the messages of
   the opened mailbox are judged by it. */
int retention_pop3_run_restore(struct event *event, struct mailbox *box,
			       const char **error_r);
/* Hide the plan's messages from POP3, and start the clocks of others. Adds the
   number of hidden messages, which are logged one by one, to *hidden. */
int retention_pop3_run_changes(struct event *event, struct mailbox *box,
			       struct retention_plan *plan,
			       unsigned int *hidden, const char **error_r);
/* Keep the log of POP3 from growing for ever, unless a session is open. */
int retention_pop3_run_compact(const struct retention_box *rbox,
			       struct mailbox *box, const char **error_r);

#endif
