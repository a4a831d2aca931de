#include "runner.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CASE_LIMIT_NS (60 * 1000 * 1000 * 1000LL)

int64_t wait_limit_ns = 10 * 1000 * 1000 * 1000LL;

/* Shared between the runner and the case's process. */
static char *detail_text;

static void say(const char *format, va_list arguments) {
  if (detail_text) {
    vsnprintf(detail_text, sizeof(((struct outcome *)0)->detail), format, arguments);
  } else {
    fprintf(stderr, "error: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
  }
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(format, arguments);
  va_end(arguments);
  _exit(FAILED);
}

void skip(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(format, arguments);
  va_end(arguments);
  _exit(SKIPPED);
}

void detail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(format, arguments);
  va_end(arguments);
}

void check_bytes(const char *what, const void *got, const void *want, size_t size) {
  const uint8_t *a = got;
  const uint8_t *b = want;
  size_t first = size;
  size_t wrong = 0;

  for (size_t i = 0; i < size; i++) {
    if (a[i] == b[i]) continue;
    if (wrong++ == 0) first = i;
  }
  if (wrong == 0) return;
  fail("%s: %zu of %zu bytes wrong, the first at %#zx: %#04x, want %#04x", what, wrong, size,
       first, a[first], b[first]);
}

void check_dword(const char *what, uint32_t got, uint32_t want) {
  check(got == want, "%s: %#x, want %#x", what, got, want);
}

void check_qword(const char *what, uint64_t got, uint64_t want) {
  check(got == want, "%s: %#llx, want %#llx", what, (unsigned long long)got,
        (unsigned long long)want);
}

void check_errno(const char *what, int got, int want) {
  check(got == want, "%s: %s, want %s", what, got ? strerrorname_np(got) : "success",
        want ? strerrorname_np(want) : "success");
}

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ull + now.tv_nsec;
}

void sleep_ms(unsigned int ms) {
  struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
  nanosleep(&time, NULL);
}

void fill_random(void *bytes, size_t size, uint32_t seed) {
  uint8_t *out = bytes;
  uint32_t state = seed * 2654435761u + 1;

  for (size_t i = 0; i < size; i++) {
    /* xorshift32 */
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    out[i] = state >> 24;
  }
}

static void child(const struct test_case *test, const char *path, unsigned int engine_index) {
  struct device device;

  device_open(&device, path);
  test->run(&device, test->classes ? &device.engines[engine_index] : NULL);
  _exit(OK);
}

/* Waits for the case's process; false when it had to be killed. */
static bool await(pid_t pid, uint64_t deadline, int *status) {
  unsigned int pause_us = 200;

  for (;;) {
    if (waitpid(pid, status, WNOHANG) == pid) return true;
    if (now_ns() >= deadline) break;
    usleep(pause_us);
    if (pause_us < 5000) pause_us += pause_us / 2;
  }
  kill(pid, SIGKILL);
  /* A process that waits inside the kernel without end would not go away: it is left behind. */
  for (int i = 0; i < 200 && waitpid(pid, status, WNOHANG) != pid; i++) sleep_ms(10);
  return false;
}

struct outcome run_case(const struct test_case *test, const char *path,
                        unsigned int engine_index) {
  struct outcome outcome = {.verdict = FAILED};
  uint64_t started = now_ns();
  int status = 0;
  pid_t pid;

  if (!detail_text)
    detail_text = mmap(NULL, sizeof(outcome.detail), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  detail_text[0] = '\0';
  fflush(NULL);
  pid = fork();
  if (pid == 0) child(test, path, engine_index);
  if (pid < 0) {
    snprintf(outcome.detail, sizeof(outcome.detail), "fork: %s", strerror(errno));
    return outcome;
  }
  bool in_time = await(pid, started + CASE_LIMIT_NS, &status);
  outcome.elapsed_ns = now_ns() - started;
  memcpy(outcome.detail, detail_text, sizeof(outcome.detail));
  if (!in_time) {
    snprintf(outcome.detail, sizeof(outcome.detail), "still running after %lld s, killed",
             CASE_LIMIT_NS / 1000000000);
  } else if (WIFSIGNALED(status)) {
    snprintf(outcome.detail, sizeof(outcome.detail), "ended by %s",
             strsignal(WTERMSIG(status)));
  } else if (WEXITSTATUS(status) <= SKIPPED) {
    outcome.verdict = WEXITSTATUS(status);
  }
  return outcome;
}
