/* Jobs that go wrong: the ban, the error in the fence, the coredump, and that others live on. */
#include <stdio.h>

#include "coredump.h"
#include "fixture.h"

/* The bad job's fence has an error, its queue is banned, its coredump is there, and a job on the
 * same engine, of another queue, runs. */
static void aftermath(struct fixture *f, const struct queue *bad, uint32_t done, int want_error,
                      const char *in_coredump) {
  const struct device *device = f->vm.device;
  int status;

  check_errno("wait for the bad job", syncobj_wait(device, done, WAIT_NS), 0);
  status = syncobj_status(device, done);
  check(status < 0, "the bad job ended well");
  if (want_error) check_errno("the bad job", -status, want_error);
  check(queue_banned(bad), "the queue is not banned");
  check_errno("EXEC on a banned queue", try_exec(bad, f->batch.buffer.address, NULL, 0),
              ECANCELED);
  coredump_take(device, in_coredump);
  f->batch.count = 0;
  poke(f, f->data.address + 16, 0x11fe);
  check_dword("stored afterwards", f->data.dwords[4], 0x11fe);
  check(!queue_banned(&f->queue), "a queue that did nothing is banned");
  detail("%s", strerrorname_np(-status));
}

/* A queue with a bad job and a good one behind it. */
static void run_bad(struct fixture *f, const struct engine *engine, uint64_t address) {
  const struct device *device = f->vm.device;
  struct queue bad;
  struct batch good;
  uint32_t done = syncobj_create(device);
  uint32_t after = syncobj_create(device);
  struct drm_xe_sync sync = sync_out(after);
  int error;

  coredump_clear(device);
  queue_create(&bad, &f->vm, engine);
  batch_create(&good, &f->vm, KIB(4));
  store_dword(&good, f->data.address + 32, 0xbad);
  batch_end(&good);
  submit(&bad, address, done);
  error = try_exec(&bad, good.buffer.address, &sync, 1);
  check(error == 0 || error == ECANCELED, "EXEC behind a bad job: %s", strerrorname_np(error));
  aftermath(f, &bad, done, 0, NULL);
  if (error) return;
  check_errno("wait for the job behind it", syncobj_wait(device, after, WAIT_NS), 0);
  check(syncobj_status(device, after) < 0, "the job behind the bad one ended well");
  check_dword("what the job behind the bad one stores", f->data.dwords[8], 0);
}

static void batch_address(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  run_bad(&f, engine, vm_reserve(&f.vm, MIB(2), MIB(2)) + MIB(1));
}

static void data_address(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch batch;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&batch, &f.vm, KIB(4));
  store_dword(&batch, f.data.address, 1);
  store_dword(&batch, vm_reserve(&f.vm, KIB(64), KIB(64)), 2);
  store_dword(&batch, f.data.address + 4, 3);
  batch_end(&batch);
  run_bad(&f, engine, batch.buffer.address);
  check_dword("before the bad store", f.data.dwords[0], 1);
}

/* A mapping that is gone is gone. */
static void unbound_address(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch batch;
  struct buffer gone;
  struct drm_xe_vm_bind_op op;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&batch, &f.vm, KIB(4));
  buffer_bound(&gone, &f.vm, KIB(64), NULL);
  poke(&f, gone.address, 5);
  op = bind_unmap(gone.size, gone.address);
  bind_and_wait(&f.vm, &op, 1);
  store_dword(&batch, gone.address, 6);
  batch_end(&batch);
  run_bad(&f, engine, batch.buffer.address);
  check_dword("the buffer that was unbound", gone.dwords[0], 5);
}

static void read_only(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch batch;
  struct buffer buffer;
  struct drm_xe_vm_bind_op op;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&batch, &f.vm, KIB(4));
  buffer_create(&buffer, &f.vm, KIB(64), NULL);
  op = bind_map(&buffer, 0, buffer.size, vm_reserve(&f.vm, buffer.size, KIB(64)));
  op.flags = DRM_XE_VM_BIND_FLAG_READONLY;
  bind_and_wait(&f.vm, &op, 1);
  buffer.dwords[0] = 0x4ead;
  check_dword("read", peek(&f, op.addr), 0x4ead);
  store_dword(&batch, op.addr, 0xbad);
  batch_end(&batch);
  run_bad(&f, engine, batch.buffer.address);
  check_dword("after a write", buffer.dwords[0], 0x4ead);
}

static void blit_address(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch batch;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&batch, &f.vm, KIB(4));
  mem_copy(&batch, vm_reserve(&f.vm, KIB(64), KIB(64)), f.data.address, 256);
  batch_end(&batch);
  run_bad(&f, engine, batch.buffer.address);
}

static const struct patience impatient = {.job_timeout_ms = 200, .preempt_timeout_us = 100000};

/* Longer than a job may run: the driver ends it. Its batch is bound so that the coredump holds
 * it. */
static void hang(const struct device *device, const struct engine *engine, bool preemptible) {
  struct fixture f;
  struct queue bad;
  struct spinner spinner;
  struct drm_xe_vm_bind_op op;
  uint32_t done = syncobj_create(device);
  char dumped[64];

  fixture_create(&f, device, engine, KIB(4));
  coredump_clear(device);
  queue_create_impatient(&bad, &f.vm, engine, impatient);
  spinner_create(&spinner, &f.vm, preemptible);
  op = bind_map(&spinner.batch.buffer, 0, spinner.batch.buffer.size, spinner.batch.buffer.address);
  op.flags = DRM_XE_VM_BIND_FLAG_DUMPABLE;
  bind_and_wait(&f.vm, &op, 1);
  snprintf(dumped, sizeof(dumped), "[%llx].data: ", (unsigned long long)op.addr);
  submit(&bad, op.addr, done);
  spinner_wait_started(&spinner);
  aftermath(&f, &bad, done, ETIME, dumped);
}

static void hang_spinning(const struct device *device, const struct engine *engine) {
  hang(device, engine, true);
}

/* It does not let itself be preempted either: the engine is reset. */
static void hang_stubborn(const struct device *device, const struct engine *engine) {
  hang(device, engine, false);
}

static void hang_waiting(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct queue bad;
  struct batch batch;
  uint32_t done = syncobj_create(device);

  fixture_create(&f, device, engine, KIB(4));
  coredump_clear(device);
  queue_create_impatient(&bad, &f.vm, engine, impatient);
  batch_create(&batch, &f.vm, KIB(4));
  semaphore_wait(&batch, f.data.address, EQUAL, 0xdead);
  batch_end(&batch);
  submit(&bad, batch.buffer.address, done);
  aftermath(&f, &bad, done, ETIME, NULL);
}

/* A job that gives way to nobody keeps an engine from others until it is reset. */
static void unpreemptible(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct queue bad;
  struct spinner spinner;
  uint32_t done = syncobj_create(device);
  uint64_t started;
  struct patience patience = {.job_timeout_ms = 5000, .preempt_timeout_us = 100000};

  fixture_create(&f, device, engine, KIB(4));
  coredump_clear(device);
  queue_create_impatient(&bad, &f.vm, engine, patience);
  spinner_create(&spinner, &f.vm, false);
  submit(&bad, spinner.batch.buffer.address, done);
  spinner_wait_started(&spinner);
  started = now_ns();
  poke(&f, f.data.address, 0x600d);
  check_dword("stored beside it", f.data.dwords[0], 0x600d);
  aftermath(&f, &bad, done, 0, NULL);
  detail("the other job ran after %llu ms", (unsigned long long)(now_ns() - started) / 1000000);
}

/* Error after error: nothing is used up. */
static void many(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (int i = 0; i < 5; i++)
    run_bad(&f, engine, vm_reserve(&f.vm, MIB(2), MIB(2)) + MIB(1));
}

static const struct test_case cases[] = {
    {"error.batch-address", ON_EVERY, batch_address},
    {"error.data-address", ON_EVERY, data_address},
    {"error.unbound-address", ON_EVERY, unbound_address},
    {"error.read-only", ON_EVERY, read_only},
    {"error.blit-address", ON_COPY, blit_address},
    {"error.hang-spinning", ON_EVERY, hang_spinning},
    {"error.hang-stubborn", ON_EVERY, hang_stubborn},
    {"error.hang-waiting", ON_EVERY, hang_waiting},
    {"error.unpreemptible", ON_EVERY, unpreemptible},
    {"error.many", ON_COPY, many},
};

const struct test_group error_group = GROUP(cases);
