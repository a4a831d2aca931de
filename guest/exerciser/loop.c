/*
 * `--loop`: a fixed mix of jobs whose results are known, on every engine at once, for as long as it
 * is told. What the jobs work on is written by the device alone and carries over from job to job,
 * so that a device that is moved elsewhere meanwhile must bring along its memory, the registers of
 * its contexts and the places of its jobs. Prints `jobs N bad N` every second and, at the end or on
 * SIGTERM, `total jobs N bad N`.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "companions.h"
#include "fixture.h"

/* Moving a device takes long. */
#define PATIENCE_NS (60 * 1000 * 1000 * 1000LL)
#define LAPS 400
#define SLOTS 4
#define SLOT_SIZE KIB(64)
#define FILL_SIZE 512
#define STEP 0x9e3779b97f4a7c15ull

/* What one engine works on: `data` for its arithmetic, and for a copy engine also a ring of
 * buffers, in VRAM where there is any. */
struct worker {
  const struct engine *engine;
  struct queue queue;
  struct batch batch;
  struct buffer data;
  struct buffer slots;
  bool copies;
  bool lost; /* its queue was banned */
  uint32_t done;
  uint64_t job;
  uint64_t sum; /* what the data are to hold */
  uint64_t hash;
  uint8_t want[SLOTS][SLOT_SIZE];
};

static void ask_stop(int number) {
  (void)number;
  loop_ends = 1;
}

/* sum += STEP; then LAPS times hash = (hash + sum) ^ sum, each of which is stored. The last lap
 * ends the batch. */
static void emit_arithmetic(struct worker *worker) {
  struct batch *batch = &worker->batch;
  uint64_t data = worker->data.address;

  load_register_from(batch, CS_GPR(0), data);
  load_register_from(batch, CS_GPR(0) + 4, data + 4);
  load_register_from(batch, CS_GPR(3), data + 16);
  load_register_from(batch, CS_GPR(3) + 4, data + 20);
  load_register_qword(batch, CS_GPR(1), STEP);
  load_register_qword(batch, CS_GPR(2), LAPS);
  load_register_qword(batch, CS_GPR(4), 1);
  emit(batch, MI_MATH(4));
  emit(batch, ALU(ALU_LOAD, ALU_SRCA, 0));
  emit(batch, ALU(ALU_LOAD, ALU_SRCB, 1));
  emit(batch, ALU(ALU_ADD, 0, 0));
  emit(batch, ALU(ALU_STORE, 0, ALU_ACCU));
  store_register_qword(batch, CS_GPR(0), data);
  uint64_t lap = batch_here(batch);
  emit(batch, MI_ARB_CHECK);
  emit(batch, MI_MATH(12));
  emit(batch, ALU(ALU_LOAD, ALU_SRCA, 3));
  emit(batch, ALU(ALU_LOAD, ALU_SRCB, 0));
  emit(batch, ALU(ALU_ADD, 0, 0));
  emit(batch, ALU(ALU_STORE, 3, ALU_ACCU));
  emit(batch, ALU(ALU_LOAD, ALU_SRCA, 3));
  emit(batch, ALU(ALU_LOAD, ALU_SRCB, 0));
  emit(batch, ALU(ALU_XOR, 0, 0));
  emit(batch, ALU(ALU_STORE, 3, ALU_ACCU));
  emit(batch, ALU(ALU_LOAD, ALU_SRCA, 2));
  emit(batch, ALU(ALU_LOAD, ALU_SRCB, 4));
  emit(batch, ALU(ALU_SUB, 0, 0));
  emit(batch, ALU(ALU_STORE, 2, ALU_ACCU));
  store_register_qword(batch, CS_GPR(3), data + 16);
  store_register(batch, CS_GPR(2), data + 32);
  end_unless(batch, data + 32, NOT_EQUAL, 0);
  jump(batch, lap);
}

/* A slot is filled in one place and copied to the next slot. */
static void emit_copies(struct worker *worker) {
  uint32_t from = worker->job % SLOTS;
  uint32_t to = (worker->job + 1) % SLOTS;
  uint32_t at = worker->job * FILL_SIZE % SLOT_SIZE;
  uint8_t value = worker->job * 7 + 1;
  uint64_t base = worker->slots.address;

  mem_set(&worker->batch, base + from * SLOT_SIZE + at, value, FILL_SIZE);
  memset(worker->want[from] + at, value, FILL_SIZE);
  mem_copy(&worker->batch, base + to * SLOT_SIZE, base + from * SLOT_SIZE, SLOT_SIZE);
  memcpy(worker->want[to], worker->want[from], SLOT_SIZE);
}

static void start_job(struct worker *worker) {
  struct drm_xe_sync sync = sync_out(worker->done);
  int error;

  worker->batch.count = 0;
  worker->job++;
  if (worker->copies) emit_copies(worker);
  emit_arithmetic(worker);
  worker->sum += STEP;
  for (int lap = 0; lap < LAPS; lap++)
    worker->hash = (worker->hash + worker->sum) ^ worker->sum;
  error = try_exec(&worker->queue, worker->batch.buffer.address, &sync, 1);
  if (error) {
    printf("# %s job %llu: EXEC: %s\n", worker->engine->name, (unsigned long long)worker->job,
           strerrorname_np(error));
    worker->lost = true;
  }
}

/* Whether the job ended well and the data are as they must be. */
static bool finish_job(struct worker *worker) {
  const struct device *device = worker->queue.vm->device;
  const char *name = worker->engine->name;
  unsigned long long job = worker->job;
  bool good = true;
  int error, status;

  if (worker->lost) return false;
  error = syncobj_wait(device, worker->done, WAIT_NS);
  status = error ? -error : syncobj_status(device, worker->done);
  if (status != 1) {
    printf("# %s job %llu: ended with %s\n", name, job, strerrorname_np(-status));
    worker->lost = true;
    return false;
  }
  if (worker->data.qwords[0] != worker->sum || worker->data.qwords[2] != worker->hash) {
    printf("# %s job %llu: sum %#llx, want %#llx; hash %#llx, want %#llx\n", name, job,
           (unsigned long long)worker->data.qwords[0], (unsigned long long)worker->sum,
           (unsigned long long)worker->data.qwords[2], (unsigned long long)worker->hash);
    good = false;
  }
  /* All of the ring, so that what was not touched for a while is looked at too. */
  if (worker->copies && memcmp(worker->slots.map, worker->want, sizeof(worker->want)) != 0) {
    printf("# %s job %llu: the copied memory is not what it must be\n", name, job);
    good = false;
  }
  if (!good) {
    /* Counted once: from here on it is to go on from what is there. */
    worker->sum = worker->data.qwords[0];
    worker->hash = worker->data.qwords[2];
    if (worker->copies) memcpy(worker->want, worker->slots.map, sizeof(worker->want));
  }
  return good;
}

static void worker_create(struct worker *worker, struct vm *vm, const struct engine *engine) {
  worker->engine = engine;
  worker->copies = engine->instance.engine_class == DRM_XE_ENGINE_CLASS_COPY;
  worker->done = syncobj_create(vm->device);
  queue_create(&worker->queue, vm, engine);
  batch_create(&worker->batch, vm, KIB(4));
  buffer_bound(&worker->data, vm, KIB(4), vram_region(vm->device));
  if (worker->copies)
    buffer_bound(&worker->slots, vm, SLOTS * SLOT_SIZE, vram_region(vm->device));
}

int run_loop(const char *path, unsigned int seconds, char *with) {
  static struct worker workers[MAX_ENGINES];
  struct device device;
  struct vm vm;
  unsigned long long jobs = 0, bad = 0;
  uint64_t end, next_line;
  struct sigaction action = {.sa_handler = ask_stop};

  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  wait_limit_ns = PATIENCE_NS;
  if (!companions_start(path, with)) return 2;
  device_open(&device, path);
  vm_create(&vm, &device, 0);
  for (unsigned int i = 0; i < device.engine_count; i++)
    worker_create(&workers[i], &vm, &device.engines[i]);
  end = now_ns() + seconds * 1000000000ull;
  next_line = now_ns() + 1000000000ull;
  while (!loop_ends && now_ns() < end) {
    unsigned int running = 0;

    for (unsigned int i = 0; i < device.engine_count; i++)
      if (!workers[i].lost) start_job(&workers[i]);
    for (unsigned int i = 0; i < device.engine_count; i++) {
      bool was_lost = workers[i].lost && workers[i].job == 0;

      if (was_lost) continue;
      jobs++;
      if (!finish_job(&workers[i])) bad++;
      if (workers[i].lost)
        workers[i].job = 0;
      else
        running++;
    }
    if (now_ns() >= next_line) {
      printf("jobs %llu bad %llu\n", jobs + companions_jobs(), bad + companions_bad());
      fflush(stdout);
      next_line = now_ns() + 1000000000ull;
    }
    if (running == 0) break;
  }
  companions_end();
  jobs += companions_jobs();
  bad += companions_bad();
  printf("total jobs %llu bad %llu\n", jobs, bad);
  fflush(stdout);
  return bad || jobs == 0 ? 1 : 0;
}
