#include "companions.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compressed.h"
#include "coredump.h"
#include "fixture.h"
#include "runner.h"

volatile int loop_ends;

/* One companion, as all processes see it. */
struct companion {
  pid_t pid;
  volatile unsigned long long jobs;
  volatile bool bad;
};

static void pause_between(unsigned int from_ms, unsigned int to_ms) {
  sleep_ms(from_ms + (unsigned int)random() % (to_ms - from_ms));
}

static const struct engine *nth_engine(const struct device *device, unsigned long long n) {
  return &device->engines[n % device->engine_count];
}

static void wait_well(const struct device *device, uint32_t done, const char *what) {
  int status;

  check_errno(what, syncobj_wait(device, done, WAIT_NS), 0);
  status = syncobj_status(device, done);
  check(status == 1, "%s ended with %s", what, status < 0 ? strerrorname_np(-status) : "no signal");
}

/* An endless job, of another engine each time, that counts in a register and in memory; the CPU ends
 * it after a while. */
static void spin(const struct device *device, struct companion *self) {
  struct vm vm;
  struct queue queue;
  struct spinner spinner;
  uint32_t done = syncobj_create(device);

  vm_create(&vm, device, 0);
  spinner_create(&spinner, &vm, true);
  for (; !loop_ends; self->jobs++) {
    uint64_t end = now_ns() + 50000000 + random() % 250000000;
    uint32_t laps = 0;

    queue_create(&queue, &vm, nth_engine(device, self->jobs));
    *spinner.started = *spinner.laps = 0;
    *spinner.end = 1;
    submit(&queue, spinner.batch.buffer.address, done);
    spinner_wait_started(&spinner);
    for (; now_ns() < end; sleep_ms(2)) {
      uint32_t now = *spinner.laps;

      check(now >= laps, "a spinner's count went from %u back to %u", laps, now);
      laps = now;
    }
    check_errno("a spinner before its end", syncobj_wait(device, done, 0), ETIME);
    spinner_stop(&spinner);
    wait_well(device, done, "a spinner");
    check(*spinner.laps >= laps, "a spinner's count went from %u back to %u", laps, *spinner.laps);
    queue_destroy(&queue);
  }
}

/* A job that waits for the CPU's signal, and ends with a user fence. */
static void wait_for_the_cpu(const struct device *device, struct companion *self) {
  struct fixture f;
  volatile uint32_t *data;
  volatile uint64_t *fence;

  fixture_create(&f, device, NULL, KIB(4));
  data = f.data.dwords;
  fence = f.data.qwords + 8;
  for (; !loop_ends; self->jobs++) {
    uint32_t n = self->jobs + 1;
    struct queue queue;
    struct drm_xe_sync sync = user_fence(f.data.address + 64, n);

    queue_create(&queue, &f.vm, nth_engine(device, self->jobs));
    store_dword(&f.batch, f.data.address + 8, n);
    semaphore_wait(&f.batch, f.data.address, EQUAL, n);
    store_dword(&f.batch, f.data.address + 16, n);
    batch_end(&f.batch);
    f.batch.count = 0;
    check_errno("EXEC", try_exec(&queue, f.batch.buffer.address, &sync, 1), 0);
    pause_between(20, 200);
    check_dword("stored behind a semaphore that was not signalled", data[4], n - 1);
    check_qword("fence of a job that waits", *fence, n - 1);
    data[0] = n;
    check_errno("wait for the fence", wait_user_fence(device, (uint64_t *)fence, n, queue.id, WAIT_NS), 0);
    check_dword("stored before the semaphore", data[2], n);
    check_dword("stored behind the semaphore", data[4], n);
    queue_destroy(&queue);
  }
}

/* One command copies tens of MiB, to and fro; of all that, the device changes a little each time. */
static void copy(const struct device *device, struct companion *self) {
  enum { SIZE = 32 << 20, CHANGE = 1 << 20 };
  const struct engine *engine = find_engine(device, DRM_XE_ENGINE_CLASS_COPY);
  struct fixture f;
  struct buffer buffers[2];
  uint8_t *want = malloc(SIZE);

  fixture_create(&f, device, engine, KIB(4));
  for (int i = 0; i < 2; i++) buffer_bound(&buffers[i], &f.vm, SIZE, vram_region(device));
  fill_random(want, SIZE, 17);
  memcpy(buffers[0].map, want, SIZE);
  for (; !loop_ends; self->jobs++) {
    struct buffer *from = &buffers[self->jobs % 2];
    struct buffer *to = &buffers[(self->jobs + 1) % 2];
    uint32_t at = self->jobs * 5 * CHANGE / 4 % (SIZE - CHANGE);
    uint8_t value = self->jobs * 11 + 3;

    mem_set(&f.batch, from->address + at, value, CHANGE);
    memset(want + at, value, CHANGE);
    mem_copy_pages(&f.batch, to->address, from->address, SIZE / 256);
    fixture_run(&f);
    check_bytes("a long copy", to->map, want, SIZE);
    pause_between(5, 20);
  }
}

/* Every page that a job touches faults: each is a mapping of its own, made anew for each job. Jobs of
 * such a VM and of others take turns on a group of engines (xe_hw_engine_group.c), so that those of
 * this one and of `hang` are kept apart. */
static void fault(const struct device *device, struct companion *self) {
  enum { PAGES = 32 };
  const struct engine *engine = find_engine(device, DRM_XE_ENGINE_CLASS_RENDER);
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op ops[PAGES], unmap;

  fixture_create_flags(&f, device, engine, KIB(4), FAULTING);
  buffer_create(&buffer, &f.vm, PAGES * KIB(64), vram_region(device));
  buffer.address = vm_reserve(&f.vm, buffer.size, KIB(64));
  unmap = bind_unmap(buffer.size, buffer.address);
  for (uint32_t page = 0; page < PAGES; page++)
    ops[page] = bind_map(&buffer, page * KIB(64), KIB(64), buffer.address + page * KIB(64));
  for (; !loop_ends; self->jobs++) {
    uint32_t n = self->jobs + 1;

    bind_and_wait(&f.vm, ops, PAGES);
    for (uint32_t page = 0; page < PAGES; page++)
      store_dword(&f.batch, buffer.address + page * KIB(64) + 4 * (n % 1024), n + page);
    check_errno("wait for a faulting job", fixture_run_to_fence(&f), 0);
    for (uint32_t page = 0; page < PAGES; page++)
      check_dword("stored after a fault", buffer.dwords[page * KIB(16) + n % 1024], n + page);
    bind_and_wait(&f.vm, &unmap, 1);
    pause_between(1, 20);
  }
}

/* A job that never ends by itself, of a queue of its own, until the driver has it reset. */
static void hang(const struct device *device, struct companion *self) {
  static const struct patience patience = {.job_timeout_ms = 2000, .preempt_timeout_us = 100000};
  const struct engine *engine = find_engine(device, DRM_XE_ENGINE_CLASS_VIDEO_DECODE);
  struct fixture f;
  uint32_t done = syncobj_create(device);

  fixture_create(&f, device, engine, KIB(4));
  semaphore_wait(&f.batch, f.data.address, EQUAL, 0xdead);
  batch_end(&f.batch);
  for (; !loop_ends; self->jobs++) {
    struct queue queue;
    int status;

    coredump_clear(device);
    queue_create_impatient(&queue, &f.vm, engine, patience);
    submit(&queue, f.batch.buffer.address, done);
    check_errno("wait for a hung job", syncobj_wait(device, done, WAIT_NS), 0);
    status = syncobj_status(device, done);
    check(status < 0, "a hung job ended well");
    check(queue_banned(&queue), "the queue of a hung job is not banned");
    queue_destroy(&queue);
  }
  coredump_clear(device);
}

/* A surface whose metadata, written long ago for the most part, are copied out and compared. */
static void compressed(const struct device *device, struct companion *self) {
  enum { PAGES = 512, PART = 16 };
  static uint8_t want[PAGES * CCS_BYTES_PER_PAGE];
  const struct engine *engine = find_engine(device, DRM_XE_ENGINE_CLASS_COPY);
  struct compressed c;

  compressed_create(&c, device, engine, vram_region(device), PAGES);
  fill_random(want, sizeof(want), 31);
  compressed_write(&c, 0, PAGES, want);
  for (; !loop_ends; self->jobs++) {
    uint32_t page = self->jobs * PART % PAGES;
    uint8_t *part = want + page * CCS_BYTES_PER_PAGE;

    compressed_check(&c, PAGES, want);
    fill_random(part, PART * CCS_BYTES_PER_PAGE, self->jobs);
    compressed_write(&c, page, PART, part);
    pause_between(20, 60);
  }
}

static const struct {
  const char *name;
  void (*run)(const struct device *device, struct companion *self);
} kinds[] = {
    {"spinner", spin}, {"semaphore", wait_for_the_cpu}, {"copy", copy},
    {"fault", fault},  {"hang", hang},                  {"ccs", compressed},
};

/* Of each kind; shared between the processes. */
static struct companion *companions;

static void start(unsigned int kind, const char *path) {
  struct companion *self = &companions[kind];
  struct device device;
  pid_t pid;

  if (self->pid) return;
  fflush(NULL);
  pid = fork();
  check(pid >= 0, "fork: %s", strerrorname_np(errno));
  if (pid) {
    self->pid = pid;
    return;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  srandom(kind + 1);
  device_open(&device, path);
  kinds[kind].run(&device, self);
  _exit(OK);
}

bool companions_start(const char *path, char *list) {
  size_t size = sizeof(*companions) * ARRAY_SIZE(kinds);
  char *word;

  companions = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(companions != MAP_FAILED, "mmap: %s", strerrorname_np(errno));
  while (list && (word = strsep(&list, ","))) {
    unsigned int kind = 0;

    while (kind < ARRAY_SIZE(kinds) && strcmp(kinds[kind].name, word) != 0) kind++;
    if (kind == ARRAY_SIZE(kinds)) {
      fprintf(stderr, "error: the loop knows no %s\n", word);
      return false;
    }
    start(kind, path);
  }
  return true;
}

/* Takes note of those that have ended. */
static void look(int options) {
  for (unsigned int kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
    struct companion *each = &companions[kind];
    int status;

    if (each->pid <= 0 || waitpid(each->pid, &status, options) != each->pid) continue;
    each->bad = !WIFEXITED(status) || WEXITSTATUS(status) == FAILED;
    each->pid = -1;
    if (WIFSIGNALED(status)) printf("# %s: %s\n", kinds[kind].name, strsignal(WTERMSIG(status)));
  }
}

unsigned long long companions_jobs(void) {
  unsigned long long jobs = 0;

  for (unsigned int kind = 0; kind < ARRAY_SIZE(kinds); kind++)
    jobs += companions[kind].jobs + companions[kind].bad;
  return jobs;
}

unsigned long long companions_bad(void) {
  unsigned long long bad = 0;

  look(WNOHANG);
  for (unsigned int kind = 0; kind < ARRAY_SIZE(kinds); kind++) bad += companions[kind].bad;
  return bad;
}

void companions_end(void) {
  for (unsigned int kind = 0; kind < ARRAY_SIZE(kinds); kind++)
    if (companions[kind].pid > 0) kill(companions[kind].pid, SIGTERM);
  look(0);
  for (unsigned int kind = 0; kind < ARRAY_SIZE(kinds); kind++)
    if (companions[kind].pid)
      printf("# with %s: %llu done%s\n", kinds[kind].name, companions[kind].jobs,
             companions[kind].bad ? ", then a bad one" : "");
}
