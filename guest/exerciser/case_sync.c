/* How jobs wait for each other and are waited for (xe_sync.c, xe_wait_user_fence.c). */
#include "fixture.h"

static void chain(const struct device *device, const struct engine *unused) {
  enum { LINKS = 8 };
  struct fixture f;
  struct queue queues[LINKS];
  struct batch batches[LINKS];
  uint32_t done[LINKS];

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  /* Each job, on an engine of its own where there are enough, copies what the one before wrote.
   * They are submitted in the order in which they must run: a job cannot wait for a fence that is
   * not there yet. */
  for (int i = 0; i < LINKS; i++) {
    struct drm_xe_sync syncs[2];

    queue_create(&queues[i], &f.vm, &device->engines[i % device->engine_count]);
    batch_create(&batches[i], &f.vm, KIB(4));
    done[i] = syncobj_create(device);
    if (i == 0)
      store_dword(&batches[i], f.data.address, 0xcafe);
    else
      copy_dword(&batches[i], f.data.address + 4 * i, f.data.address + 4 * (i - 1));
    batch_end(&batches[i]);
    syncs[0] = sync_out(done[i]);
    if (i > 0) syncs[1] = sync_in(done[i - 1]);
    check_errno("EXEC", try_exec(&queues[i], batches[i].buffer.address, syncs, i > 0 ? 2 : 1), 0);
  }
  check_errno("wait", syncobj_wait(device, done[LINKS - 1], WAIT_NS), 0);
  for (int i = 0; i < LINKS; i++) check_dword("link", f.data.dwords[i], 0xcafe);
}

static void timeline(const struct device *device, const struct engine *unused) {
  struct fixture f;
  uint32_t line = syncobj_create(device);
  struct drm_xe_sync sync = {.type = DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ,
                             .flags = DRM_XE_SYNC_FLAG_SIGNAL,
                             .handle = line};

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  store_dword(&f.batch, f.data.address, 1);
  batch_end(&f.batch);
  check_errno("point 0", try_exec(&f.queue, f.batch.buffer.address, &sync, 1), EINVAL);
  for (uint64_t point = 1; point <= 5; point++) {
    sync.timeline_value = point * 10;
    check_errno("EXEC", try_exec(&f.queue, f.batch.buffer.address, &sync, 1), 0);
  }
  check_errno("wait for point 30", timeline_wait(device, line, 30, WAIT_NS), 0);
  check_errno("wait for point 50", timeline_wait(device, line, 50, WAIT_NS), 0);
  check_errno("wait for point 51", timeline_wait(device, line, 51, 10000000), ETIME);
}

/* A user fence of a job is a qword in the VM that the engine writes when the job is done. */
static void user_fences(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct drm_xe_sync sync;

  fixture_create(&f, device, engine, KIB(4));
  for (uint64_t i = 1; i <= 5; i++) {
    uint64_t value = 0x1234567800000000ull + i;

    store_dword(&f.batch, f.data.address, i);
    batch_end(&f.batch);
    sync = user_fence(f.data.address + 64, value);
    check_errno("EXEC", try_exec(&f.queue, f.batch.buffer.address, &sync, 1), 0);
    check_errno("WAIT_USER_FENCE",
                wait_user_fence(device, f.data.bytes + 64, value, f.queue.id, WAIT_NS), 0);
    check_dword("stored", f.data.dwords[0], i);
    f.batch.count = 0;
  }
}

static void fence_comparisons(const struct device *device, const struct engine *unused) {
  static uint64_t word __attribute__((aligned(8))) = 0x55aa;
  struct {
    uint16_t op;
    uint64_t value;
    bool holds;
  } table[] = {
      {DRM_XE_UFENCE_WAIT_OP_EQ, 0x55aa, true},    {DRM_XE_UFENCE_WAIT_OP_EQ, 0x55ab, false},
      {DRM_XE_UFENCE_WAIT_OP_NEQ, 0x55ab, true},   {DRM_XE_UFENCE_WAIT_OP_NEQ, 0x55aa, false},
      {DRM_XE_UFENCE_WAIT_OP_GT, 0x55a9, true},    {DRM_XE_UFENCE_WAIT_OP_GT, 0x55aa, false},
      {DRM_XE_UFENCE_WAIT_OP_GTE, 0x55aa, true},   {DRM_XE_UFENCE_WAIT_OP_GTE, 0x55ab, false},
      {DRM_XE_UFENCE_WAIT_OP_LT, 0x55ab, true},    {DRM_XE_UFENCE_WAIT_OP_LT, 0x55aa, false},
      {DRM_XE_UFENCE_WAIT_OP_LTE, 0x55aa, true},   {DRM_XE_UFENCE_WAIT_OP_LTE, 0x55a9, false},
  };

  (void)unused;
  for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
    struct drm_xe_wait_user_fence wait = {.addr = (uintptr_t)&word,
                                          .op = table[i].op,
                                          .value = table[i].value,
                                          .mask = 0xffff,
                                          .timeout = 1000000};

    check_errno("WAIT_USER_FENCE", try_ioctl(device, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait),
                table[i].holds ? 0 : ETIME);
  }
  struct drm_xe_wait_user_fence unaligned = {.addr = (uintptr_t)&word + 4};
  check_errno("unaligned", try_ioctl(device, DRM_IOCTL_XE_WAIT_USER_FENCE, &unaligned), EINVAL);
}

/* No batch: only the syncs, after all that the queue was given before. */
static void no_batch(const struct device *device, const struct engine *unused) {
  struct fixture f;
  uint32_t done = syncobj_create(device);
  struct drm_xe_sync sync = sync_out(done);
  struct drm_xe_exec exec = {.num_syncs = 1, .syncs = (uintptr_t)&sync};

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  store_dword(&f.batch, f.data.address, 8);
  batch_end(&f.batch);
  check_errno("EXEC", try_exec(&f.queue, f.batch.buffer.address, NULL, 0), 0);
  exec.exec_queue_id = f.queue.id;
  check_errno("EXEC of no batch", try_ioctl(device, DRM_IOCTL_XE_EXEC, &exec), 0);
  check_errno("wait", syncobj_wait(device, done, WAIT_NS), 0);
  check_dword("stored", f.data.dwords[0], 8);
}

/* A fence that nobody signals yet holds the job back. */
static void held_back(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct spinner spinner;
  struct queue spinning;
  uint32_t spun = syncobj_create(device);
  uint32_t done = syncobj_create(device);
  struct drm_xe_sync syncs[2] = {sync_in(spun), sync_out(done)};

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  queue_create(&spinning, &f.vm, find_engine(device, DRM_XE_ENGINE_CLASS_COPY));
  spinner_create(&spinner, &f.vm, true);
  store_dword(&f.batch, f.data.address, 4);
  batch_end(&f.batch);
  submit(&spinning, spinner.batch.buffer.address, spun);
  spinner_wait_started(&spinner);
  check_errno("EXEC", try_exec(&f.queue, f.batch.buffer.address, syncs, 2), 0);
  check_errno("wait while it spins", syncobj_wait(device, done, 30000000), ETIME);
  check_dword("while it spins", f.data.dwords[0], 0);
  spinner_stop(&spinner);
  check_errno("wait", syncobj_wait(device, done, WAIT_NS), 0);
  check_dword("stored", f.data.dwords[0], 4);
}

static void refusals(const struct device *device, const struct engine *unused) {
  struct fixture f;
  uint32_t empty = syncobj_create(device);
  struct drm_xe_sync sync = sync_in(empty);

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  batch_end(&f.batch);
  check_errno("in-fence that is not there",
              try_exec(&f.queue, f.batch.buffer.address, &sync, 1), EINVAL);
  sync.handle = 12345;
  check_errno("no such syncobj", try_exec(&f.queue, f.batch.buffer.address, &sync, 1), ENOENT);
  sync = user_fence(f.data.address + 4, 1);
  check_errno("unaligned fence", try_exec(&f.queue, f.batch.buffer.address, &sync, 1), EINVAL);
  sync.type = 9;
  check_errno("unknown type", try_exec(&f.queue, f.batch.buffer.address, &sync, 1), EINVAL);
}

static const struct test_case cases[] = {
    {"sync.chain", 0, chain},
    {"sync.timeline", 0, timeline},
    {"sync.user-fence", ON_EVERY, user_fences},
    {"sync.fence-comparisons", 0, fence_comparisons},
    {"sync.no-batch", 0, no_batch},
    {"sync.held-back", 0, held_back},
    {"sync.refusals", 0, refusals},
};

const struct test_group sync_group = GROUP(cases);
