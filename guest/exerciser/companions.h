/*
 * What `--loop SECONDS --with LIST` adds to the loop: jobs that are in the middle of something for
 * most of their time, so that a device that is moved elsewhere meanwhile is caught there.
 */
#ifndef COMPANIONS_H
#define COMPANIONS_H

#include "exerciser.h"

/* Set by SIGTERM and SIGINT. */
extern volatile int loop_ends;

/* Starts the named companions (NULL: none), each in a process of its own with its own open device.
 * False, and says so on stderr, when there is none of a name. */
bool companions_start(const char *path, char *list);
/* How many jobs they have had. */
unsigned long long companions_jobs(void);
/* How many of those were bad: a bad one is a companion's last. */
unsigned long long companions_bad(void);
/* Waits until all have done their last job, and says what each has done. */
void companions_end(void);

#endif
