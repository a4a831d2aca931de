/* Semaphores in memory: engines that wait for the CPU and for each other. */
#include "fixture.h"

/* Comparisons that hold already do not wait. */
static void satisfied(const struct device *device, const struct engine *engine) {
  static const uint32_t values[] = {11, 10, 9, 10, 10, 9}; /* one that fits each comparison */
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (enum compare how = GREATER; how <= NOT_EQUAL; how++) {
    f.data.dwords[how] = values[how];
    semaphore_wait(&f.batch, f.data.address + 4 * how, how, 10);
  }
  store_dword(&f.batch, f.data.address + 64, 1);
  fixture_run(&f);
  check_dword("after the waits", f.data.dwords[16], 1);
}

static void from_the_cpu(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint32_t done = syncobj_create(device);
  uint64_t deadline;

  fixture_create(&f, device, engine, KIB(4));
  store_dword(&f.batch, f.data.address + 8, 1);
  semaphore_wait(&f.batch, f.data.address, GREATER_OR_EQUAL, 5);
  store_dword(&f.batch, f.data.address + 8, 2);
  batch_end(&f.batch);
  f.data.dwords[0] = 4;
  submit(&f.queue, f.batch.buffer.address, done);
  deadline = now_ns() + WAIT_NS;
  while (*(volatile uint32_t *)&f.data.dwords[2] == 0) {
    check(now_ns() < deadline, "the batch does not begin");
    sleep_ms(1);
  }
  check_errno("wait before the signal", syncobj_wait(device, done, 20000000), ETIME);
  check_dword("before the signal", f.data.dwords[2], 1);
  *(volatile uint32_t *)&f.data.dwords[0] = 5;
  check_errno("wait", syncobj_wait(device, done, WAIT_NS), 0);
  check_dword("after the signal", f.data.dwords[2], 2);
}

/* Two queues take turns, on two engines or on one. */
static void turns(const struct device *device, const struct engine *one,
                  const struct engine *other) {
  enum { LAPS = 12 };
  struct vm vm;
  struct queue queues[2];
  struct batch batches[2];
  struct buffer data;
  uint32_t done[2];

  vm_create(&vm, device, 0);
  buffer_bound(&data, &vm, KIB(4), NULL);
  for (uint32_t i = 0; i < 2; i++) {
    queue_create(&queues[i], &vm, i ? other : one);
    batch_create(&batches[i], &vm, KIB(16));
    done[i] = syncobj_create(device);
    for (uint32_t lap = 0; lap < LAPS; lap++) {
      semaphore_wait(&batches[i], data.address, EQUAL, 2 * lap + i);
      store_dword(&batches[i], data.address + 64 + 4 * (2 * lap + i), 100 + 2 * lap + i);
      store_dword(&batches[i], data.address, 2 * lap + i + 1);
    }
    batch_end(&batches[i]);
  }
  /* The one that has to wait first is submitted first. */
  submit(&queues[1], batches[1].buffer.address, done[1]);
  submit(&queues[0], batches[0].buffer.address, done[0]);
  for (int i = 0; i < 2; i++) check_errno("wait", syncobj_wait(device, done[i], WAIT_NS), 0);
  check_dword("turns", data.dwords[0], 2 * LAPS);
  for (uint32_t i = 0; i < 2 * LAPS; i++) check_dword("turn", data.dwords[16 + i], 100 + i);
}

static void between_engines(const struct device *device, const struct engine *engine) {
  const struct engine *end = device->engines + device->engine_count;

  /* The last one has had its turns with all others. */
  if (engine + 1 == end) turns(device, engine, device->engines);
  for (const struct engine *other = engine + 1; other < end; other++) turns(device, engine, other);
}

/* On one engine the waiting context has to give way, or neither ever ends. */
static void on_one_engine(const struct device *device, const struct engine *engine) {
  turns(device, engine, engine);
}

/* A wait for a signal is over at once when the comparison holds already. */
static void signal_satisfied(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  f.data.dwords[0] = 10;
  semaphore_wait_signal(&f.batch, f.data.address, EQUAL, 10);
  store_dword(&f.batch, f.data.address + 4, 1);
  /* A signal that nobody waits for does nothing. */
  emit(&f.batch, MI_SEMAPHORE_SIGNAL);
  emit(&f.batch, 0);
  store_dword(&f.batch, f.data.address + 8, 2);
  fixture_run(&f);
  check_dword("behind the wait", f.data.dwords[1], 1);
  check_dword("behind the signal", f.data.dwords[2], 2);
}

/* A context that waits for a signal gives way, and looks again when it comes back: a user's batch
 * does not know the context that it would have to signal. */
static void signal_from(const struct device *device, const struct engine *engine,
                        const struct engine *other) {
  struct fixture f;
  struct queue waiting;
  struct batch wait;
  uint32_t done = syncobj_create(device);
  uint64_t deadline = now_ns() + WAIT_NS;

  fixture_create(&f, device, other, KIB(4));
  queue_create(&waiting, &f.vm, engine);
  batch_create(&wait, &f.vm, KIB(4));
  store_dword(&wait, f.data.address, 1);
  semaphore_wait_signal(&wait, f.data.address + 64, GREATER_OR_EQUAL, 5);
  copy_dword(&wait, f.data.address + 128, f.data.address + 64);
  batch_end(&wait);
  submit(&waiting, wait.buffer.address, done);
  while (*(volatile uint32_t *)f.data.dwords == 0) {
    check(now_ns() < deadline, "the batch does not begin");
    sleep_ms(1);
  }
  store_dword(&f.batch, f.data.address + 64, 4);
  emit(&f.batch, MI_SEMAPHORE_SIGNAL);
  emit(&f.batch, 0);
  fixture_run(&f);
  check_errno("wait for what is not to be", syncobj_wait(device, done, 20000000), ETIME);
  store_dword(&f.batch, f.data.address + 64, 5);
  emit(&f.batch, MI_SEMAPHORE_SIGNAL);
  emit(&f.batch, 0);
  fixture_run(&f);
  /* Jobs on the same engine make it come back. */
  queue_create(&f.queue, &f.vm, engine);
  while (syncobj_wait(device, done, 1000000) == ETIME) {
    check(now_ns() < deadline, "the signal is not taken note of");
    poke(&f, f.data.address + 256, 1);
  }
  check(syncobj_status(device, done) == 1, "the job did not end well");
  check_dword("behind the signal", f.data.dwords[32], 5);
}

static void signal(const struct device *device, const struct engine *engine) {
  for (unsigned int i = 0; i < device->engine_count; i++)
    signal_from(device, engine, &device->engines[i]);
}

static const struct test_case cases[] = {
    {"semaphore.satisfied", ON_EVERY, satisfied},
    {"semaphore.from-the-cpu", ON_EVERY, from_the_cpu},
    {"semaphore.between-engines", ON_EVERY, between_engines},
    {"semaphore.on-one-engine", ON_EVERY, on_one_engine},
    {"semaphore.signal-satisfied", ON_EVERY, signal_satisfied},
    {"semaphore.signal", ON_EVERY, signal},
};

const struct test_group semaphore_group = GROUP(cases);
