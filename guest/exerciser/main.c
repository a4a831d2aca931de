/*
 * exerciser [--list] [--only LIST] [--loop SECONDS [--with LIST] | --spin SECONDS]
 *           [--device PATH]...
 *
 * Prints `ok|FAIL|skip NAME MS [DETAIL]` for every case and `total N ok N failed N skipped N` at
 * the end; `# ` begins what is only said. Exit status 0 when nothing failed, 1 when something did,
 * 2 when it was called wrongly.
 */
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

#define MAX_DEVICES 8
#define MAX_WORDS 64
#define DEFAULT_DEVICE "/dev/dri/renderD128"

static const struct test_group *const groups[] = {
    &query_group,   &memory_group,    &bind_group,      &page_group,   &sync_group,
    &exec_group,    &queue_group,     &store_group,     &register_group, &flow_group,
    &semaphore_group, &atomic_group,  &linear_group,    &tiled_group,  &compression_group,
    &preempt_group, &parallel_group,  &privilege_group, &fault_group,  &error_group,
};

struct totals {
  unsigned int verdicts[3];
};

/* The words of `--only`. */
static struct {
  char *names[MAX_WORDS];
  bool fits[MAX_WORDS]; /* it names at least one case */
  unsigned int count;
} only;

static void take_list(char *list) {
  char *word;

  while ((word = strsep(&list, ",")))
    if (*word && only.count < MAX_WORDS) only.names[only.count++] = word;
}

/* Whether a case is to be run: no list, or one of its words is the name, a group of it (`store` of
 * `store.qword`), a case of all engines (`store.qword` of `store.qword@bcs0`) or a pattern. */
static bool is_listed(const char *name) {
  bool listed = only.count == 0;

  for (unsigned int i = 0; i < only.count; i++) {
    size_t length = strlen(only.names[i]);

    if (fnmatch(only.names[i], name, 0) != 0 &&
        (strncmp(only.names[i], name, length) != 0 || !strchr(".@", name[length])))
      continue;
    only.fits[i] = true;
    listed = true;
  }
  return listed;
}

static void show(const char *name, const struct outcome *outcome, struct totals *totals) {
  static const char *const words[] = {"ok", "FAIL", "skip"};

  totals->verdicts[outcome->verdict]++;
  printf("%s %s %llu%s%s\n", words[outcome->verdict], name,
         (unsigned long long)(outcome->elapsed_ns / 1000000), outcome->detail[0] ? " " : "",
         outcome->detail);
  fflush(stdout);
}

/* So that the kernel's messages can be told apart by case. */
static void say_in_kernel_log(const char *name) {
  FILE *log = fopen("/dev/kmsg", "we");

  if (!log) return;
  fprintf(log, "<7>exerciser: %s\n", name);
  fclose(log);
}

static void run_on_engines(const struct test_case *test, const struct device *device,
                           struct totals *totals) {
  unsigned int found = 0;

  for (unsigned int i = 0; i < device->engine_count; i++) {
    const struct engine *engine = &device->engines[i];
    char name[96];

    if (!(test->classes & 1u << engine->instance.engine_class)) continue;
    found++;
    snprintf(name, sizeof(name), "%s@%s", test->name, engine->name);
    if (!is_listed(name)) continue;
    say_in_kernel_log(name);
    struct outcome outcome = run_case(test, device->path, i);
    show(name, &outcome, totals);
  }
  if (found == 0 && is_listed(test->name)) {
    struct outcome outcome = {.verdict = SKIPPED, .detail = "the device has no such engine"};
    show(test->name, &outcome, totals);
  }
}

static void run_on_device(const char *path, struct totals *totals) {
  struct device device;

  device_open(&device, path);
  printf("# %s: device %04llx revision %llu, %u engines, %u memory regions\n", path,
         (unsigned long long)(device.config[DRM_XE_QUERY_CONFIG_REV_AND_DEVICE_ID] & 0xffff),
         (unsigned long long)(device.config[DRM_XE_QUERY_CONFIG_REV_AND_DEVICE_ID] >> 16 & 0xff),
         device.engine_count, device.region_count);
  /* Not kept open: the cases that unbind or reset would find it in use. */
  close(device.fd);
  for (unsigned int g = 0; g < ARRAY_SIZE(groups); g++) {
    for (unsigned int c = 0; c < groups[g]->count; c++) {
      const struct test_case *test = &groups[g]->cases[c];

      if (test->classes) {
        run_on_engines(test, &device, totals);
      } else if (is_listed(test->name)) {
        say_in_kernel_log(test->name);
        struct outcome outcome = run_case(test, path, 0);
        show(test->name, &outcome, totals);
      }
    }
  }
}

static void print_list(void) {
  for (unsigned int g = 0; g < ARRAY_SIZE(groups); g++)
    for (unsigned int c = 0; c < groups[g]->count; c++)
      printf("%s%s\n", groups[g]->cases[c].name, groups[g]->cases[c].classes ? "@ENGINE" : "");
}

static int usage(const char *program) {
  fprintf(stderr,
          "usage: %s [--list] [--only LIST] [--loop SECONDS [--with LIST] | --spin SECONDS]\n"
          "       [--device PATH]...\n",
          program);
  return 2;
}

int main(int argc, char **argv) {
  static const struct option options[] = {{"list", no_argument, NULL, 'l'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"loop", required_argument, NULL, 's'},
                                          {"with", required_argument, NULL, 'w'},
                                          {"spin", required_argument, NULL, 'p'},
                                          {"device", required_argument, NULL, 'd'},
                                          {NULL, 0, NULL, 0}};
  const char *devices[MAX_DEVICES];
  unsigned int device_count = 0;
  const char *loop_seconds = NULL;
  const char *spin_seconds = NULL;
  char *with = NULL;
  struct totals totals = {{0}};
  int option;

  while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
    if (option == 'l') {
      print_list();
      return 0;
    } else if (option == 'o') {
      take_list(optarg);
    } else if (option == 's') {
      loop_seconds = optarg;
    } else if (option == 'p') {
      spin_seconds = optarg;
    } else if (option == 'w') {
      with = optarg;
    } else if (option == 'd' && device_count < MAX_DEVICES) {
      devices[device_count++] = optarg;
    } else {
      return usage(argv[0]);
    }
  }
  if (optind != argc || (with && !loop_seconds)) return usage(argv[0]);
  if (device_count == 0) devices[device_count++] = DEFAULT_DEVICE;
  if (spin_seconds) return run_spin(devices, device_count, strtoul(spin_seconds, NULL, 10));
  if (loop_seconds) return run_loop(devices[0], strtoul(loop_seconds, NULL, 10), with);

  for (unsigned int i = 0; i < device_count; i++) run_on_device(devices[i], &totals);
  unsigned int ran = totals.verdicts[OK] + totals.verdicts[FAILED] + totals.verdicts[SKIPPED];
  printf("total %u ok %u failed %u skipped %u\n", ran, totals.verdicts[OK],
         totals.verdicts[FAILED], totals.verdicts[SKIPPED]);
  for (unsigned int i = 0; i < only.count; i++) {
    if (only.fits[i]) continue;
    fprintf(stderr, "error: no case is called %s; see --list\n", only.names[i]);
    return 2;
  }
  return totals.verdicts[FAILED] ? 1 : 0;
}
