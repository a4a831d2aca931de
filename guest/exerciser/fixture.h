/* What most cases begin with: a VM, a queue, a batch and a buffer for results. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "batch.h"

/* Flags of a VM whose jobs end with a user fence only, and of one that maps what is touched. */
#define LONG_RUNNING DRM_XE_VM_CREATE_FLAG_LR_MODE
#define FAULTING (DRM_XE_VM_CREATE_FLAG_LR_MODE | DRM_XE_VM_CREATE_FLAG_FAULT_MODE)

struct fixture {
  struct vm vm;
  struct queue queue;
  struct batch batch;
  struct buffer data;
};

/* `engine` may be NULL: then the first engine. */
void fixture_create(struct fixture *fixture, const struct device *device,
                    const struct engine *engine, uint64_t data_size);
/* The same, in a VM with these flags. */
void fixture_create_flags(struct fixture *fixture, const struct device *device,
                          const struct engine *engine, uint64_t data_size, uint32_t vm_flags);
void fixture_run(struct fixture *fixture);
/* Ends the batch, runs it with a user fence in the last qword of the data's first page, and says what
 * waiting for it ended with: 0 or the errno. */
int fixture_run_to_fence(struct fixture *fixture);
/* Has the GPU store a value at an address, and waits. */
void poke(struct fixture *fixture, uint64_t address, uint32_t value);
/* Has the GPU read a dword at an address. */
uint32_t peek(struct fixture *fixture, uint64_t address);

#endif
