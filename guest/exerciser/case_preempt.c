/* Contexts that share an engine: time slices, priorities and preemption. */
#include "fixture.h"

static void wait_for_laps(const struct spinner *spinner, uint32_t more, const char *which) {
  uint32_t from = *spinner->laps;
  uint64_t deadline = now_ns() + WAIT_NS;

  while (*spinner->laps - from < more) {
    check(now_ns() < deadline, "%s spinner stands still at lap %u", which, *spinner->laps);
    sleep_ms(1);
  }
}

/* Two endless jobs on one engine both make progress, again and again. */
static void both_spin(const struct device *device, const struct engine *engine) {
  struct vm vm;
  struct queue queues[2];
  struct spinner spinners[2];
  uint32_t done[2];

  vm_create(&vm, device, 0);
  for (int i = 0; i < 2; i++) {
    queue_create(&queues[i], &vm, engine);
    spinner_create(&spinners[i], &vm, true);
    done[i] = syncobj_create(device);
    submit(&queues[i], spinners[i].batch.buffer.address, done[i]);
  }
  for (int lap = 0; lap < 3; lap++) {
    wait_for_laps(&spinners[0], 2, "the first");
    wait_for_laps(&spinners[1], 2, "the second");
  }
  for (int i = 0; i < 2; i++) {
    spinner_stop(&spinners[i]);
    check_errno("wait", syncobj_wait(device, done[i], WAIT_NS), 0);
    check(syncobj_status(device, done[i]) == 1, "a spinner did not end well");
  }
  detail("%u and %u laps", *spinners[0].laps, *spinners[1].laps);
}

static void job_beside(const struct device *device, const struct engine *engine,
                       uint64_t spinner_priority, uint64_t job_priority) {
  struct fixture f;
  struct queue spinning, quick;
  struct spinner spinner;
  uint32_t spun = syncobj_create(device);
  uint64_t started;

  fixture_create(&f, device, engine, KIB(4));
  check_errno("EXEC_QUEUE_CREATE",
              try_queue_property(&spinning, &f.vm, engine,
                                 DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY, spinner_priority),
              0);
  check_errno("EXEC_QUEUE_CREATE",
              try_queue_property(&quick, &f.vm, engine, DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY,
                                 job_priority),
              0);
  spinner_create(&spinner, &f.vm, true);
  submit(&spinning, spinner.batch.buffer.address, spun);
  spinner_wait_started(&spinner);
  started = now_ns();
  for (uint32_t i = 1; i <= 5; i++) {
    store_dword(&f.batch, f.data.address, i);
    batch_run(&f.batch, &quick);
    check_dword("stored", f.data.dwords[0], i);
  }
  detail("5 jobs in %llu ms", (unsigned long long)(now_ns() - started) / 1000000);
  check_errno("the spinner ended", syncobj_wait(device, spun, 0), ETIME);
  wait_for_laps(&spinner, 2, "the");
  spinner_stop(&spinner);
  check_errno("wait", syncobj_wait(device, spun, WAIT_NS), 0);
  check(!queue_banned(&spinning), "the spinner's queue was banned");
}

static void equals(const struct device *device, const struct engine *engine) {
  job_beside(device, engine, 1, 1);
}

static void urgent(const struct device *device, const struct engine *engine) {
  uint64_t highest = device->config[DRM_XE_QUERY_CONFIG_MAX_EXEC_QUEUE_PRIORITY];

  job_beside(device, engine, 0, highest);
}

/* Registers and the place in the batch are as they were after each preemption: the spinner counts
 * in a register and the count never goes back. */
static void state_kept(const struct device *device, const struct engine *engine) {
  struct vm vm;
  struct queue queues[2];
  struct spinner spinners[2];
  uint32_t done[2];
  uint32_t last[2] = {0, 0};
  uint64_t until;

  vm_create(&vm, device, 0);
  for (int i = 0; i < 2; i++) {
    queue_create(&queues[i], &vm, engine);
    spinner_create(&spinners[i], &vm, true);
    done[i] = syncobj_create(device);
    submit(&queues[i], spinners[i].batch.buffer.address, done[i]);
    spinner_wait_started(&spinners[i]);
  }
  for (until = now_ns() + 150000000; now_ns() < until; sleep_ms(1)) {
    for (int i = 0; i < 2; i++) {
      uint32_t laps = *spinners[i].laps;

      check(laps >= last[i], "a counter went from %u back to %u", last[i], laps);
      last[i] = laps;
    }
  }
  for (int i = 0; i < 2; i++) {
    spinner_stop(&spinners[i]);
    check_errno("wait", syncobj_wait(device, done[i], WAIT_NS), 0);
  }
}

/* An endless job on each engine does not hold up the jobs of the other engines. */
static void other_engines(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct queue spinning;
  struct spinner spinner;
  uint32_t spun = syncobj_create(device);

  fixture_create(&f, device, engine, KIB(4));
  queue_create(&spinning, &f.vm, engine);
  spinner_create(&spinner, &f.vm, true);
  submit(&spinning, spinner.batch.buffer.address, spun);
  spinner_wait_started(&spinner);
  for (unsigned int i = 0; i < device->engine_count; i++) {
    struct queue queue;

    if (&device->engines[i] == engine) continue;
    queue_create(&queue, &f.vm, &device->engines[i]);
    store_dword(&f.batch, f.data.address, i + 1);
    batch_run(&f.batch, &queue);
    check_dword(device->engines[i].name, f.data.dwords[0], i + 1);
  }
  spinner_stop(&spinner);
  check_errno("wait", syncobj_wait(device, spun, WAIT_NS), 0);
}

static const struct test_case cases[] = {
    {"preempt.both-spin", ON_EVERY, both_spin},
    {"preempt.job-beside", ON_EVERY, equals},
    {"preempt.urgent", ON_EVERY, urgent},
    {"preempt.state-kept", ON_EVERY, state_kept},
    {"preempt.other-engines", ON_EVERY, other_engines},
};

const struct test_group preempt_group = GROUP(cases);
