#include <stdio.h>

#include "batch.h"

#define MAX_SPINNERS 8

int run_spin(const char *const *paths, unsigned int count, unsigned int seconds) {
  static struct device devices[MAX_SPINNERS];
  static struct vm vms[MAX_SPINNERS];
  static struct queue queues[MAX_SPINNERS];
  static struct spinner spinners[MAX_SPINNERS];
  uint32_t done[MAX_SPINNERS], from[MAX_SPINNERS], laps[MAX_SPINNERS];

  check(count <= MAX_SPINNERS, "%u devices", count);
  for (unsigned int i = 0; i < count; i++) {
    device_open(&devices[i], paths[i]);
    vm_create(&vms[i], &devices[i], 0);
    queue_create(&queues[i], &vms[i], &devices[i].engines[0]);
    spinner_create(&spinners[i], &vms[i], true);
    done[i] = syncobj_create(&devices[i]);
  }
  for (unsigned int i = 0; i < count; i++)
    submit(&queues[i], spinners[i].batch.buffer.address, done[i]);
  for (unsigned int i = 0; i < count; i++) spinner_wait_started(&spinners[i]);
  for (unsigned int i = 0; i < count; i++) from[i] = *spinners[i].laps;
  sleep_ms(1000 * seconds);
  for (unsigned int i = 0; i < count; i++) laps[i] = *spinners[i].laps - from[i];
  for (unsigned int i = 0; i < count; i++) spinner_stop(&spinners[i]);
  for (unsigned int i = 0; i < count; i++) {
    check_errno("wait for a spinner", syncobj_wait(&devices[i], done[i], WAIT_NS), 0);
    check(syncobj_status(&devices[i], done[i]) == 1, "a spinner did not end well");
    printf("laps %s %u\n", paths[i], laps[i]);
  }
  return 0;
}
