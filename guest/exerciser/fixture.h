/* What most cases begin with: a VM, a queue, a batch and a buffer for results. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "batch.h"

struct fixture {
  struct vm vm;
  struct queue queue;
  struct batch batch;
  struct buffer data;
};

/* `engine` may be NULL: then the first engine. */
void fixture_create(struct fixture *fixture, const struct device *device,
                    const struct engine *engine, uint64_t data_size);
void fixture_run(struct fixture *fixture);
/* Has the GPU store a value at an address, and waits. */
void poke(struct fixture *fixture, uint64_t address, uint32_t value);
/* Has the GPU read a dword at an address. */
uint32_t peek(struct fixture *fixture, uint64_t address);

#endif
