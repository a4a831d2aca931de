/* Exec queues, their properties, and how VMs are kept apart (xe_exec_queue.c). */
#include <sys/types.h>
#include <unistd.h>

#include "fixture.h"

static void several(const struct device *device, const struct engine *engine) {
  enum { QUEUES = 8, JOBS = 5 };
  struct vm vm;
  struct buffer data;
  struct queue queues[QUEUES];
  struct batch batches[QUEUES];
  uint32_t done[QUEUES];

  vm_create(&vm, device, 0);
  buffer_bound(&data, &vm, KIB(4), NULL);
  for (unsigned int i = 0; i < QUEUES; i++) {
    queue_create(&queues[i], &vm, engine);
    batch_create(&batches[i], &vm, KIB(4));
    done[i] = syncobj_create(device);
    for (uint32_t step = 0; step < 50; step++)
      store_dword(&batches[i], data.address + 64 * i, 1000 * i + step);
    batch_end(&batches[i]);
  }
  for (int job = 0; job < JOBS; job++)
    for (unsigned int i = 0; i < QUEUES; i++)
      submit(&queues[i], batches[i].buffer.address, done[i]);
  for (unsigned int i = 0; i < QUEUES; i++) {
    check_errno("wait", syncobj_wait(device, done[i], WAIT_NS), 0);
    check_dword("stored", data.dwords[16 * i], 1000 * i + 49);
  }
}

static void priorities(const struct device *device, const struct engine *engine) {
  uint64_t highest = device->config[DRM_XE_QUERY_CONFIG_MAX_EXEC_QUEUE_PRIORITY];
  struct fixture f;
  struct queue queue;

  fixture_create(&f, device, engine, KIB(4));
  store_dword(&f.batch, f.data.address, 6);
  batch_end(&f.batch);
  for (uint64_t priority = 0; priority <= highest; priority++) {
    f.data.dwords[0] = 0;
    check_errno("EXEC_QUEUE_CREATE",
                try_queue_property(&queue, &f.vm, engine,
                                   DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY, priority),
                0);
    run_at(&queue, f.batch.buffer.address);
    check_dword("stored", f.data.dwords[0], 6);
    queue_destroy(&queue);
  }
  check_errno("priority that is not there",
              try_queue_property(&queue, &f.vm, engine, DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY,
                                 17),
              EINVAL);
}

static void unprivileged(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct queue queue;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  if (geteuid() != 0) skip("not run as root");
  check(seteuid(65534) == 0, "seteuid: %s", strerrorname_np(errno));
  /* HIGH (2) is for CAP_SYS_NICE. */
  check_errno("high priority without CAP_SYS_NICE",
              try_queue_property(&queue, &f.vm, &device->engines[0],
                                 DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY, 2),
              EPERM);
  check_errno("low priority",
              try_queue_property(&queue, &f.vm, &device->engines[0],
                                 DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY, 0),
              0);
}

static void timeslice(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct queue queue;

  fixture_create(&f, device, engine, KIB(4));
  store_dword(&f.batch, f.data.address, 6);
  batch_end(&f.batch);
  check_errno("EXEC_QUEUE_CREATE",
              try_queue_property(&queue, &f.vm, engine, DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE,
                                 500),
              0);
  run_at(&queue, f.batch.buffer.address);
  check_dword("stored", f.data.dwords[0], 6);
}

static void low_latency(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct queue queue;
  struct drm_xe_exec_queue_create create = {.width = 1,
                                            .num_placements = 1,
                                            .flags = DRM_XE_EXEC_QUEUE_LOW_LATENCY_HINT,
                                            .instances = (uintptr_t)&engine->instance};

  fixture_create(&f, device, engine, KIB(4));
  store_dword(&f.batch, f.data.address, 6);
  batch_end(&f.batch);
  check_errno("EXEC_QUEUE_CREATE", try_queue_create(&queue, &f.vm, &create), 0);
  run_at(&queue, f.batch.buffer.address);
  check_dword("stored", f.data.dwords[0], 6);
}

/* The same address in two VMs is two places. */
static void vms_apart(const struct device *device, const struct engine *engine) {
  enum { VMS = 4 };
  struct vm vms[VMS];
  struct queue queues[VMS];
  struct batch batches[VMS];
  struct buffer data[VMS];
  uint32_t done[VMS];

  for (unsigned int i = 0; i < VMS; i++) {
    vm_create(&vms[i], device, 0);
    queue_create(&queues[i], &vms[i], engine);
    batch_create(&batches[i], &vms[i], KIB(4));
    buffer_bound(&data[i], &vms[i], KIB(4), NULL);
    check(data[i].address == data[0].address, "the exerciser bound them elsewhere");
    done[i] = syncobj_create(device);
    store_dword(&batches[i], data[i].address, 0x700 + i);
    batch_end(&batches[i]);
  }
  for (int lap = 0; lap < 3; lap++)
    for (unsigned int i = 0; i < VMS; i++)
      submit(&queues[i], batches[i].buffer.address, done[i]);
  for (unsigned int i = 0; i < VMS; i++) {
    check_errno("wait", syncobj_wait(device, done[i], WAIT_NS), 0);
    check_dword("stored", data[i].dwords[0], 0x700 + i);
  }
}

/* A queue is destroyed while its job runs; what comes after on that engine runs all the same. */
static void destroyed(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct spinner spinner;
  struct queue queue;
  uint32_t done = syncobj_create(device);

  fixture_create(&f, device, engine, KIB(4));
  queue_create(&queue, &f.vm, engine);
  spinner_create(&spinner, &f.vm, true);
  submit(&queue, spinner.batch.buffer.address, done);
  spinner_wait_started(&spinner);
  queue_destroy(&queue);
  poke(&f, f.data.address, 12);
  check_dword("stored", f.data.dwords[0], 12);
  check_errno("wait for the destroyed queue's job", syncobj_wait(device, done, WAIT_NS), 0);
}

static void create_and_destroy(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  store_dword(&f.batch, f.data.address, 6);
  batch_end(&f.batch);
  for (int i = 0; i < 10; i++) {
    struct queue queue;

    queue_create(&queue, &f.vm, engine);
    if (i % 2) run_at(&queue, f.batch.buffer.address);
    queue_destroy(&queue);
  }
  check_dword("stored", f.data.dwords[0], 6);
}

static void refusals(const struct device *device, const struct engine *unused) {
  struct vm vm;
  struct vm no_vm = {.device = device, .id = 12345};
  struct queue queue;
  struct engine engine = device->engines[0];
  struct drm_xe_exec_queue_create create = {
      .width = 1, .num_placements = 1, .instances = (uintptr_t)&engine.instance};
  struct drm_xe_exec_queue_destroy destroy = {.exec_queue_id = 12345};

  (void)unused;
  vm_create(&vm, device, 0);
  check_errno("no such VM", try_queue_create(&queue, &no_vm, &create), ENOENT);
  create.width = 0;
  check_errno("width 0", try_queue_create(&queue, &vm, &create), EINVAL);
  create.width = 1;
  create.flags = 1u << 20;
  check_errno("unknown flag", try_queue_create(&queue, &vm, &create), EINVAL);
  create.flags = 0;
  engine.instance.engine_instance = 77;
  check_errno("no such engine", try_queue_create(&queue, &vm, &create), EINVAL);
  engine.instance.gt_id = 9;
  check_errno("no such GT", try_queue_create(&queue, &vm, &create), EINVAL);
  check_errno("destroying no queue", try_ioctl(device, DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &destroy),
              ENOENT);
}

static const struct test_case cases[] = {
    {"queue.several", ON_EVERY, several},
    {"queue.priorities", ON_EVERY, priorities},
    {"queue.unprivileged", 0, unprivileged},
    {"queue.timeslice", ON_EVERY, timeslice},
    {"queue.low-latency", ON_RENDER | ON_COMPUTE, low_latency},
    {"queue.vms-apart", ON_EVERY, vms_apart},
    {"queue.create-and-destroy", ON_EVERY, create_and_destroy},
    {"queue.destroyed", ON_EVERY, destroyed},
    {"queue.refusals", 0, refusals},
};

const struct test_group queue_group = GROUP(cases);
