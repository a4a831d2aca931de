/* Jobs of several batches that run side by side (multi-LRC), and queues with a choice of
 * engines. */
#include "fixture.h"

/* Two engines of the class that are neighbours, or the case is skipped. */
static void need_two(const struct device *device, unsigned int engine_class,
                     struct drm_xe_engine_class_instance pair[2]) {
  unsigned int found = 0;

  for (unsigned int i = 0; i < device->engine_count && found < 2; i++)
    if (device->engines[i].instance.engine_class == engine_class)
      pair[found++] = device->engines[i].instance;
  if (found < 2) skip("the device has %u %s", found, engine_class_name(engine_class));
}

static void side_by_side(const struct device *device, unsigned int engine_class) {
  struct drm_xe_engine_class_instance pair[2];
  struct drm_xe_exec_queue_create create = {
      .width = 2, .num_placements = 1, .instances = (uintptr_t)pair};
  struct vm vm;
  struct queue queue;
  struct batch batches[2];
  struct buffer data;
  uint64_t addresses[2];
  uint32_t done = syncobj_create(device);
  struct drm_xe_sync sync = sync_out(done);
  int error;

  need_two(device, engine_class, pair);
  vm_create(&vm, device, 0);
  error = try_queue_create(&queue, &vm, &create);
  /* A VF whose engines are in scheduler groups cannot (xe_exec_queue.c has_sched_groups). */
  if (error == EINVAL) skip("the driver refuses it: scheduler groups");
  check_errno("EXEC_QUEUE_CREATE", error, 0);
  buffer_bound(&data, &vm, KIB(4), NULL);
  for (int i = 0; i < 2; i++) batch_create(&batches[i], &vm, KIB(4));
  for (uint32_t lap = 1; lap <= 5; lap++) {
    for (uint32_t i = 0; i < 2; i++) {
      /* Each waits for the other: neither ends unless both run at the same time. */
      store_dword(&batches[i], data.address + 64 * i, lap);
      semaphore_wait(&batches[i], data.address + 64 * (1 - i), EQUAL, lap);
      store_dword(&batches[i], data.address + 64 * i + 4, 10 * lap + i);
      batch_end(&batches[i]);
      addresses[i] = batches[i].buffer.address;
    }
    struct drm_xe_exec exec = {.exec_queue_id = queue.id,
                               .num_syncs = 1,
                               .syncs = (uintptr_t)&sync,
                               .address = (uintptr_t)addresses,
                               .num_batch_buffer = 2};
    check_errno("EXEC", try_ioctl(device, DRM_IOCTL_XE_EXEC, &exec), 0);
    check_errno("wait", syncobj_wait(device, done, WAIT_NS), 0);
    check(syncobj_status(device, done) == 1, "the job did not end well");
    for (uint32_t i = 0; i < 2; i++) {
      check_dword("batch", data.dwords[16 * i + 1], 10 * lap + i);
      batches[i].count = 0;
    }
  }
}

static void decode(const struct device *device, const struct engine *unused) {
  (void)unused;
  side_by_side(device, DRM_XE_ENGINE_CLASS_VIDEO_DECODE);
}

static void enhance(const struct device *device, const struct engine *unused) {
  (void)unused;
  side_by_side(device, DRM_XE_ENGINE_CLASS_VIDEO_ENHANCE);
}

/* A queue that may run on either of two engines. */
static void either(const struct device *device, unsigned int engine_class) {
  struct drm_xe_engine_class_instance pair[2];
  struct drm_xe_exec_queue_create create = {
      .width = 1, .num_placements = 2, .instances = (uintptr_t)pair};
  struct fixture f;
  struct queue queue;

  need_two(device, engine_class, pair);
  fixture_create(&f, device, NULL, KIB(4));
  check_errno("EXEC_QUEUE_CREATE", try_queue_create(&queue, &f.vm, &create), 0);
  for (uint32_t i = 1; i <= 10; i++) {
    store_dword(&f.batch, f.data.address, i);
    batch_run(&f.batch, &queue);
    check_dword("stored", f.data.dwords[0], i);
  }
}

static void either_decode(const struct device *device, const struct engine *unused) {
  (void)unused;
  either(device, DRM_XE_ENGINE_CLASS_VIDEO_DECODE);
}

static void either_enhance(const struct device *device, const struct engine *unused) {
  (void)unused;
  either(device, DRM_XE_ENGINE_CLASS_VIDEO_ENHANCE);
}

/* Only media engines run in parallel (xe_pci.c MULTI_LRC_MASK). */
static void refusals(const struct device *device, const struct engine *unused) {
  struct drm_xe_engine_class_instance pair[2];
  struct drm_xe_exec_queue_create create = {
      .width = 2, .num_placements = 1, .instances = (uintptr_t)pair};
  struct vm vm;
  struct queue queue;

  (void)unused;
  pair[0] = pair[1] = find_engine(device, DRM_XE_ENGINE_CLASS_COPY)->instance;
  vm_create(&vm, device, 0);
  check_errno("the same engine twice", try_queue_create(&queue, &vm, &create), EINVAL);
}

static const struct test_case cases[] = {
    {"parallel.decode", 0, decode},
    {"parallel.enhance", 0, enhance},
    {"parallel.either-decode", 0, either_decode},
    {"parallel.either-enhance", 0, either_enhance},
    {"parallel.refusals", 0, refusals},
};

const struct test_group parallel_group = GROUP(cases);
