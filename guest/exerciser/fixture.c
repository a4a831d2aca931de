#include "fixture.h"

void fixture_create(struct fixture *fixture, const struct device *device,
                    const struct engine *engine, uint64_t data_size) {
  fixture_create_flags(fixture, device, engine, data_size, 0);
}

void fixture_create_flags(struct fixture *fixture, const struct device *device,
                          const struct engine *engine, uint64_t data_size, uint32_t vm_flags) {
  vm_create(&fixture->vm, device, vm_flags);
  queue_create(&fixture->queue, &fixture->vm, engine ? engine : &device->engines[0]);
  batch_create(&fixture->batch, &fixture->vm, KIB(16));
  buffer_bound(&fixture->data, &fixture->vm, data_size, NULL);
}

void fixture_run(struct fixture *fixture) { batch_run(&fixture->batch, &fixture->queue); }

int fixture_run_to_fence(struct fixture *fixture) {
  static uint64_t value;
  uint64_t offset = KIB(4) - 8;
  struct drm_xe_sync sync = user_fence(fixture->data.address + offset, ++value);
  uint64_t address = fixture->batch.buffer.address;

  batch_end(&fixture->batch);
  fixture->batch.count = 0;
  check_errno("EXEC", try_exec(&fixture->queue, address, &sync, 1), 0);
  return wait_user_fence(fixture->vm.device, fixture->data.bytes + offset, value,
                         fixture->queue.id, WAIT_NS);
}

void poke(struct fixture *fixture, uint64_t address, uint32_t value) {
  store_dword(&fixture->batch, address, value);
  fixture_run(fixture);
}

uint32_t peek(struct fixture *fixture, uint64_t address) {
  /* Not 0, so that a copy that did not happen is not taken for one of a zero. */
  fixture->data.dwords[0] = 0xdeadbeef;
  copy_dword(&fixture->batch, fixture->data.address, address);
  fixture_run(fixture);
  return fixture->data.dwords[0];
}
