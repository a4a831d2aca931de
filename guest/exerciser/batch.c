#include "batch.h"

void batch_create_in(struct batch *batch, struct vm *vm, uint64_t size,
                     const struct drm_xe_mem_region *region) {
  batch->count = 0;
  buffer_bound(&batch->buffer, vm, size, region);
}

void batch_create(struct batch *batch, struct vm *vm, uint64_t size) {
  batch_create_in(batch, vm, size, NULL);
}

void emit(struct batch *batch, uint32_t dword) {
  check(batch->count < batch->buffer.size / 4, "a batch of the exerciser is too long");
  batch->buffer.dwords[batch->count++] = dword;
}

void emit_address(struct batch *batch, uint64_t address) {
  emit(batch, (uint32_t)address);
  emit(batch, (uint32_t)(address >> 32));
}

uint64_t batch_here(const struct batch *batch) {
  return batch->buffer.address + 4ull * batch->count;
}

void batch_end(struct batch *batch) {
  emit(batch, MI_BATCH_BUFFER_END);
  /* The command streamer reads ahead: let it find no stale commands behind the end. */
  emit(batch, MI_NOOP);
}

void batch_run(struct batch *batch, const struct queue *queue) {
  batch_end(batch);
  run_at(queue, batch->buffer.address);
  batch->count = 0;
}

void store_dword(struct batch *batch, uint64_t address, uint32_t value) {
  emit(batch, MI_STORE_DATA_IMM);
  emit_address(batch, address);
  emit(batch, value);
}

void store_qword(struct batch *batch, uint64_t address, uint64_t value) {
  emit(batch, MI_STORE_DATA_IMM_QWORD);
  emit_address(batch, address);
  emit_address(batch, value);
}

void copy_dword(struct batch *batch, uint64_t to, uint64_t from) {
  emit(batch, MI_COPY_MEM_MEM);
  emit_address(batch, to);
  emit_address(batch, from);
}

void load_register(struct batch *batch, uint32_t reg, uint32_t value) {
  emit(batch, MI_LOAD_REGISTER_IMM(1) | MI_CS_MMIO);
  emit(batch, reg);
  emit(batch, value);
}

void load_register_qword(struct batch *batch, uint32_t reg, uint64_t value) {
  emit(batch, MI_LOAD_REGISTER_IMM(2) | MI_CS_MMIO);
  emit(batch, reg);
  emit(batch, (uint32_t)value);
  emit(batch, reg + 4);
  emit(batch, (uint32_t)(value >> 32));
}

void load_register_from(struct batch *batch, uint32_t reg, uint64_t address) {
  emit(batch, MI_LOAD_REGISTER_MEM | MI_CS_MMIO);
  emit(batch, reg);
  emit_address(batch, address);
}

void load_register_register(struct batch *batch, uint32_t reg, uint32_t from) {
  emit(batch, MI_LOAD_REGISTER_REG | MI_LRR_CS_MMIO);
  emit(batch, from);
  emit(batch, reg);
}

void store_register(struct batch *batch, uint32_t reg, uint64_t address) {
  emit(batch, MI_STORE_REGISTER_MEM | MI_CS_MMIO);
  emit(batch, reg);
  emit_address(batch, address);
}

void store_register_qword(struct batch *batch, uint32_t reg, uint64_t address) {
  store_register(batch, reg, address);
  store_register(batch, reg + 4, address + 4);
}

void jump(struct batch *batch, uint64_t address) {
  emit(batch, MI_BATCH_BUFFER_START | MI_PPGTT);
  emit_address(batch, address);
}

void call(struct batch *batch, uint64_t address) {
  emit(batch, MI_BATCH_BUFFER_START | MI_PPGTT | MI_SECOND_LEVEL);
  emit_address(batch, address);
}

static void emit_semaphore_wait(struct batch *batch, uint32_t mode, uint64_t address,
                                enum compare how, uint32_t value) {
  emit(batch, MI_SEMAPHORE_WAIT | mode | (uint32_t)how << 12);
  emit(batch, value);
  emit_address(batch, address);
  emit(batch, 0);
}

void semaphore_wait(struct batch *batch, uint64_t address, enum compare how, uint32_t value) {
  emit_semaphore_wait(batch, MI_SEMAPHORE_POLL, address, how, value);
}

void semaphore_wait_signal(struct batch *batch, uint64_t address, enum compare how,
                           uint32_t value) {
  emit_semaphore_wait(batch, 0, address, how, value);
}

void end_unless(struct batch *batch, uint64_t address, enum compare how, uint32_t value) {
  /* Bit 21: compare, as against ending unconditionally. */
  emit(batch, MI_CONDITIONAL_BATCH_BUFFER_END | 1u << 21 | (uint32_t)how << 12);
  emit(batch, value);
  emit_address(batch, address);
}

void spinner_create(struct spinner *spinner, struct vm *vm, bool preemptible) {
  struct batch *batch = &spinner->batch;
  uint64_t words = KIB(3); /* of the batch's own buffer */

  batch_create(batch, vm, KIB(4));
  uint64_t base = batch->buffer.address + words;
  spinner->started = (uint32_t *)(batch->buffer.bytes + words);
  spinner->end = spinner->started + 2;
  spinner->laps = spinner->started + 4;
  *spinner->end = 1;

  /* GPR 0 counts the laps, GPR 1 is what it is counted up by. */
  load_register_qword(batch, CS_GPR(0), 0);
  load_register_qword(batch, CS_GPR(1), 1);
  store_dword(batch, base, 1);
  uint64_t lap = batch_here(batch);
  if (preemptible) emit(batch, MI_ARB_CHECK);
  emit(batch, MI_MATH(4));
  emit(batch, ALU(ALU_LOAD, ALU_SRCA, 0));
  emit(batch, ALU(ALU_LOAD, ALU_SRCB, 1));
  emit(batch, ALU(ALU_ADD, 0, 0));
  emit(batch, ALU(ALU_STORE, 0, ALU_ACCU));
  store_register(batch, CS_GPR(0), base + 16);
  end_unless(batch, base + 8, EQUAL, 1);
  jump(batch, lap);
}

void spinner_wait_started(const struct spinner *spinner) {
  uint64_t deadline = now_ns() + WAIT_NS;

  while (*spinner->started == 0) {
    check(now_ns() < deadline, "a batch did not start");
    sleep_ms(1);
  }
}

void spinner_stop(const struct spinner *spinner) { *spinner->end = 0; }
