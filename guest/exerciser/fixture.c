#include "fixture.h"

void fixture_create(struct fixture *fixture, const struct device *device,
                    const struct engine *engine, uint64_t data_size) {
  vm_create(&fixture->vm, device, 0);
  queue_create(&fixture->queue, &fixture->vm, engine ? engine : &device->engines[0]);
  batch_create(&fixture->batch, &fixture->vm, KIB(16));
  buffer_bound(&fixture->data, &fixture->vm, data_size, NULL);
}

void fixture_run(struct fixture *fixture) { batch_run(&fixture->batch, &fixture->queue); }

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
