#include "coredump.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_text(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);

  if (fd >= 0) close(fd);
  if (length < 0) return errno;
  text[length] = '\0';
  return 0;
}

static int write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : write(fd, text, strlen(text));
  int error = length < 0 ? errno : 0;

  if (fd >= 0) close(fd);
  return error;
}

/* A property of an engine class that is set for a while. */
struct property {
  char path[256];
  char before[32];
};

static void property_set(struct property *property, const struct device *device,
                         const struct engine *engine, const char *name, unsigned int value) {
  char text[32];
  int error;

  snprintf(property->path, sizeof(property->path), "%s/tile0/gt%u/engines/%s/%s", device->sysfs,
           engine->instance.gt_id, engine_class_name(engine->instance.engine_class), name);
  snprintf(text, sizeof(text), "%u", value);
  error = read_text(property->path, property->before, sizeof(property->before));
  if (!error) error = write_text(property->path, text);
  check(!error, "%s: %s", property->path, strerrorname_np(error));
}

static void property_restore(const struct property *property) {
  int error = write_text(property->path, property->before);

  check(!error, "%s: %s", property->path, strerrorname_np(error));
}

void queue_create_impatient(struct queue *queue, struct vm *vm, const struct engine *engine,
                            struct patience patience) {
  struct property job, preempt;

  property_set(&job, vm->device, engine, "job_timeout_ms", patience.job_timeout_ms);
  property_set(&preempt, vm->device, engine, "preempt_timeout_us", patience.preempt_timeout_us);
  queue_create(queue, vm, engine);
  /* The queue keeps what it was created with; nobody else is to. */
  property_restore(&job);
  property_restore(&preempt);
}

static void data_path(const struct device *device, char *path, size_t size) {
  snprintf(path, size, "%s/devcoredump/data", device->sysfs);
}

static bool wait_for(const char *path, bool there) {
  uint64_t deadline = now_ns() + 5000000000ull;

  while ((access(path, F_OK) == 0) != there) {
    if (now_ns() >= deadline) return false;
    sleep_ms(5);
  }
  return true;
}

void coredump_clear(const struct device *device) {
  char path[256];

  data_path(device, path, sizeof(path));
  if (access(path, F_OK) != 0) return;
  write_text(path, "0");
  check(wait_for(path, false), "the coredump does not go away");
}

void coredump_take(const struct device *device, const char *text_too) {
  static const char *const sections[] = {
      "**** Xe Device Coredump ****",
      "Reason: ",
      "**** GuC CT ****",
      "**** Contexts ****",
      "GuC ID: ",
      "HW Context Desc: ",
      "[HWCTX].data: ",
      "**** Job ****",
      "**** HW Engines ****",
      "**** VM state ****",
  };
  char path[256];
  size_t length = 0, capacity = MIB(4);
  char *text = malloc(capacity);
  char *at;
  int fd;

  if (access("/sys/class/devcoredump", F_OK) != 0) {
    detail("no coredump: the kernel has none");
    return;
  }
  data_path(device, path, sizeof(path));
  check(wait_for(path, true), "no coredump");
  fd = open(path, O_RDONLY | O_CLOEXEC);
  check(fd >= 0, "%s: %s", path, strerrorname_np(errno));
  for (;;) {
    ssize_t part = read(fd, text + length, capacity - length - 1);

    check(part >= 0, "%s: %s", path, strerrorname_np(errno));
    if (part == 0) break;
    length += part;
    if (length + 1 == capacity) text = realloc(text, capacity *= 2);
  }
  close(fd);
  text[length] = '\0';
  at = text;
  for (unsigned int i = 0; i < ARRAY_SIZE(sections); i++) {
    at = strstr(at, sections[i]);
    check(at, "the coredump of %zu bytes lacks \"%s\"", length, sections[i]);
  }
  check(!text_too || strstr(text, text_too), "the coredump lacks \"%s\"", text_too);
  free(text);
  coredump_clear(device);
}
