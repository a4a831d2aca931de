/* Properties of engine classes and device coredumps, in sysfs. */
#ifndef COREDUMP_H
#define COREDUMP_H

#include "exerciser.h"

/* How soon a queue's jobs count as hung, and how soon one that is to give way is reset. */
struct patience {
  unsigned int job_timeout_ms;
  unsigned int preempt_timeout_us;
};

void queue_create_impatient(struct queue *queue, struct vm *vm, const struct engine *engine,
                            struct patience patience);
/* Removes the coredump, if there is one. */
void coredump_clear(const struct device *device);
/* Waits for a coredump, checks that it is whole, and that it has this text too (unless NULL), and
 * removes it. */
void coredump_take(const struct device *device, const char *text_too);

#endif
