/* One case in a process of its own. */
#ifndef RUNNER_H
#define RUNNER_H

#include "exerciser.h"

enum verdict { OK, FAILED, SKIPPED };

struct outcome {
  enum verdict verdict;
  uint64_t elapsed_ns;
  char detail[512];
};

/* Runs the case on `path` in a child; a child that takes too long is killed and has failed. */
struct outcome run_case(const struct test_case *test, const char *path, unsigned int engine_index);

#endif
