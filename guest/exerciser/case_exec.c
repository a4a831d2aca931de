/* Jobs on every engine (xe_exec.c, xe_ring_ops.c). */
#include "fixture.h"

static void empty(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  fixture_run(&f);
}

static void store(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  poke(&f, f.data.address + 100, 0xdeadbeef);
  for (unsigned int i = 0; i < KIB(4) / 4; i++)
    check_dword("dword", f.data.dwords[i], i == 25 ? 0xdeadbeef : 0);
}

/* Jobs of one queue run one after the other: each adds 3 to what the last one left. */
static void in_order(const struct device *device, const struct engine *engine) {
  enum { JOBS = 60 };
  struct fixture f;
  uint32_t done = syncobj_create(device);

  fixture_create(&f, device, engine, KIB(4));
  load_register_qword(&f.batch, CS_GPR(0), 0);
  load_register_qword(&f.batch, CS_GPR(1), 3);
  load_register_from(&f.batch, CS_GPR(0), f.data.address);
  emit(&f.batch, MI_MATH(4));
  emit(&f.batch, ALU(ALU_LOAD, ALU_SRCA, 0));
  emit(&f.batch, ALU(ALU_LOAD, ALU_SRCB, 1));
  emit(&f.batch, ALU(ALU_ADD, 0, 0));
  emit(&f.batch, ALU(ALU_STORE, 0, ALU_ACCU));
  store_register(&f.batch, CS_GPR(0), f.data.address);
  batch_end(&f.batch);
  for (int i = 0; i < JOBS - 1; i++)
    check_errno("EXEC", try_exec(&f.queue, f.batch.buffer.address, NULL, 0), 0);
  submit(&f.queue, f.batch.buffer.address, done);
  check_errno("wait", syncobj_wait(device, done, WAIT_NS), 0);
  check_dword("sum", f.data.dwords[0], 3 * JOBS);
}

/* Far more jobs than the ring holds (xe_lrc_ring_size is 16 KiB, a job some 200 bytes). */
static void ring_wrap(const struct device *device, const struct engine *engine) {
  enum { JOBS = 300 };
  struct fixture f;
  struct drm_xe_sync sync;

  fixture_create(&f, device, engine, KIB(4));
  store_dword(&f.batch, f.data.address, 1);
  batch_end(&f.batch);
  for (uint64_t i = 1; i <= JOBS; i++) {
    sync = user_fence(f.data.address + 8, i);
    check_errno("EXEC", try_exec(&f.queue, f.batch.buffer.address, &sync, 1), 0);
  }
  check_errno("WAIT_USER_FENCE",
              wait_user_fence(device, f.data.bytes + 8, JOBS, f.queue.id, WAIT_NS), 0);
}

static void long_batch(const struct device *device, const struct engine *engine) {
  enum { STORES = 4000 };
  struct fixture f;
  struct batch batch;
  struct buffer data;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&batch, &f.vm, KIB(68));
  buffer_bound(&data, &f.vm, KIB(16), NULL);
  for (uint32_t i = 0; i < STORES; i++) store_dword(&batch, data.address + 4 * i, i * 7 + 1);
  batch_run(&batch, &f.queue);
  for (uint32_t i = 0; i < STORES; i++) check_dword("dword", data.dwords[i], i * 7 + 1);
}

static void from_vram(const struct device *device, const struct engine *engine) {
  const struct drm_xe_mem_region *vram = vram_region(device);
  struct fixture f;
  struct batch batch;
  struct buffer data;

  if (!vram) skip("an integrated GPU has no VRAM");
  fixture_create(&f, device, engine, KIB(4));
  batch_create_in(&batch, &f.vm, KIB(4), vram);
  buffer_bound(&data, &f.vm, KIB(4), vram);
  store_dword(&batch, data.address + 4, 0x1ea1);
  copy_dword(&batch, f.data.address, data.address + 4);
  batch_run(&batch, &f.queue);
  check_dword("in VRAM", data.dwords[1], 0x1ea1);
  check_dword("in system memory", f.data.dwords[0], 0x1ea1);
}

/* A job on every engine at once, each with its own place for its result. */
static void all_at_once(const struct device *device, const struct engine *unused) {
  struct vm vm;
  struct queue queues[MAX_ENGINES];
  struct batch batches[MAX_ENGINES];
  struct buffer data;
  uint32_t done[MAX_ENGINES];

  (void)unused;
  vm_create(&vm, device, 0);
  buffer_bound(&data, &vm, KIB(4), NULL);
  for (unsigned int i = 0; i < device->engine_count; i++) {
    queue_create(&queues[i], &vm, &device->engines[i]);
    batch_create(&batches[i], &vm, KIB(16));
    for (uint32_t lap = 1; lap <= 200; lap++)
      store_dword(&batches[i], data.address + 64 * i, lap * (i + 1));
    batch_end(&batches[i]);
    done[i] = syncobj_create(device);
  }
  for (unsigned int i = 0; i < device->engine_count; i++)
    submit(&queues[i], batches[i].buffer.address, done[i]);
  for (unsigned int i = 0; i < device->engine_count; i++) {
    check_errno(device->engines[i].name, syncobj_wait(device, done[i], WAIT_NS), 0);
    check_dword(device->engines[i].name, data.dwords[16 * i], 200 * (i + 1));
  }
}

static void refusals(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct queue none;
  struct drm_xe_exec exec = {.num_batch_buffer = 2};

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  batch_end(&f.batch);
  none = (struct queue){.vm = &f.vm, .id = 12345};
  check_errno("no such queue", try_exec(&none, f.batch.buffer.address, NULL, 0), ENOENT);
  exec.exec_queue_id = f.queue.id;
  exec.address = f.batch.buffer.address;
  check_errno("two batches", try_ioctl(device, DRM_IOCTL_XE_EXEC, &exec), EINVAL);
  exec.num_batch_buffer = 1;
  exec.reserved[1] = 1;
  check_errno("reserved field", try_ioctl(device, DRM_IOCTL_XE_EXEC, &exec), EINVAL);
}

static const struct test_case cases[] = {
    {"exec.empty", ON_EVERY, empty},
    {"exec.store", ON_EVERY, store},
    {"exec.in-order", ON_EVERY, in_order},
    {"exec.ring-wrap", ON_EVERY, ring_wrap},
    {"exec.long-batch", ON_EVERY, long_batch},
    {"exec.from-vram", ON_EVERY, from_vram},
    {"exec.all-at-once", 0, all_at_once},
    {"exec.refusals", 0, refusals},
};

const struct test_group exec_group = GROUP(cases);
