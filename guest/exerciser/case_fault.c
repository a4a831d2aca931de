/* Long-running and page-faulting VMs, and scratch pages (xe_vm.c, xe_pagefault.c). */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fixture.h"

static void runs(const struct device *device, const struct engine *engine, uint32_t flags) {
  struct fixture f;
  struct buffer more;

  fixture_create_flags(&f, device, engine, KIB(4), flags);
  store_dword(&f.batch, f.data.address, 0x1a);
  check_errno("WAIT_USER_FENCE", fixture_run_to_fence(&f), 0);
  check_dword("stored", f.data.dwords[0], 0x1a);
  /* Memory that is bound while the queue is there. */
  buffer_bound(&more, &f.vm, KIB(64), vram_region(device));
  for (uint32_t page = 0; page < 16; page++)
    store_dword(&f.batch, more.address + KIB(4) * page, page + 1);
  check_errno("WAIT_USER_FENCE", fixture_run_to_fence(&f), 0);
  for (uint32_t page = 0; page < 16; page++)
    check_dword("page", more.dwords[1024 * page], page + 1);
}

static void lr(const struct device *device, const struct engine *engine) {
  runs(device, engine, LONG_RUNNING);
}

/* Nothing is mapped before it is touched: the batch, the data and the fence all fault. */
static void serviced(const struct device *device, const struct engine *engine) {
  runs(device, engine, FAULTING);
}

static void serviced_by_the_blitter(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct buffer from, to;

  fixture_create_flags(&f, device, engine, KIB(4), FAULTING);
  buffer_bound(&from, &f.vm, KIB(256), NULL);
  buffer_bound(&to, &f.vm, KIB(256), vram_region(device));
  fill_random(from.map, KIB(256), 3);
  mem_copy(&f.batch, to.address, from.address, KIB(200));
  check_errno("WAIT_USER_FENCE", fixture_run_to_fence(&f), 0);
  check_bytes("copied", to.map, from.map, KIB(200));
}

static void immediate(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op op;

  fixture_create_flags(&f, device, engine, KIB(4), FAULTING);
  buffer_create(&buffer, &f.vm, KIB(64), NULL);
  op = bind_map(&buffer, 0, buffer.size, vm_reserve(&f.vm, buffer.size, KIB(64)));
  op.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE;
  bind_and_wait(&f.vm, &op, 1);
  store_dword(&f.batch, op.addr, 9);
  check_errno("WAIT_USER_FENCE", fixture_run_to_fence(&f), 0);
  check_dword("stored", buffer.dwords[0], 9);
}

/* An address with nothing behind it ends the queue, and the VM knows the address. */
static void unmapped(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint64_t address;
  struct drm_xe_vm_get_property get = {.property = DRM_XE_VM_GET_PROPERTY_FAULTS};
  struct xe_vm_fault *faults;
  unsigned int count;

  fixture_create_flags(&f, device, engine, KIB(4), FAULTING);
  address = vm_reserve(&f.vm, KIB(64), KIB(64)) + KIB(8);
  store_dword(&f.batch, f.data.address, 1);
  check_errno("WAIT_USER_FENCE", fixture_run_to_fence(&f), 0);
  store_dword(&f.batch, address, 1);
  check_errno("WAIT_USER_FENCE after a fault", fixture_run_to_fence(&f), EIO);
  check(queue_banned(&f.queue), "the queue is not banned");
  check_errno("EXEC on a banned queue", try_exec(&f.queue, f.batch.buffer.address, NULL, 0),
              ECANCELED);
  get.vm_id = f.vm.id;
  do_ioctl(device, DRM_IOCTL_XE_VM_GET_PROPERTY, &get, "size of the faults");
  check(get.size >= sizeof(*faults), "the VM knows of no fault");
  faults = calloc(1, get.size);
  get.data = (uintptr_t)faults;
  do_ioctl(device, DRM_IOCTL_XE_VM_GET_PROPERTY, &get, "the faults");
  count = get.size / sizeof(*faults);
  for (unsigned int i = 0; i < count; i++) {
    if ((faults[i].address & ~(KIB(4) - 1)) != address) continue;
    check(faults[i].access_type == FAULT_ACCESS_TYPE_WRITE, "access type %u",
          faults[i].access_type);
    check(faults[i].fault_type == FAULT_TYPE_NOT_PRESENT, "fault type %u", faults[i].fault_type);
    detail("level %u", faults[i].fault_level);
    return;
  }
  fail("%u faults, none at %#llx, the first at %#llx", count, (unsigned long long)address,
       (unsigned long long)faults[0].address);
}

static void read_only(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op op;

  fixture_create_flags(&f, device, engine, KIB(4), FAULTING);
  buffer_create(&buffer, &f.vm, KIB(64), NULL);
  op = bind_map(&buffer, 0, buffer.size, vm_reserve(&f.vm, buffer.size, KIB(64)));
  op.flags = DRM_XE_VM_BIND_FLAG_READONLY;
  bind_and_wait(&f.vm, &op, 1);
  buffer.dwords[0] = 0x4ead;
  copy_dword(&f.batch, f.data.address, op.addr);
  check_errno("WAIT_USER_FENCE", fixture_run_to_fence(&f), 0);
  check_dword("read", f.data.dwords[0], 0x4ead);
  store_dword(&f.batch, op.addr, 0xbad);
  check_errno("WAIT_USER_FENCE after a write", fixture_run_to_fence(&f), EIO);
  check_dword("after a write", buffer.dwords[0], 0x4ead);
  check(queue_banned(&f.queue), "the queue is not banned");
}

/* Memory of the process at its own addresses, without any buffer. */
static void cpu_mirror(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct drm_xe_vm_bind_op op = {.op = DRM_XE_VM_BIND_OP_MAP,
                                 .pat_index = PAT_COHERENT,
                                 .flags = DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR};
  uint8_t *area;
  volatile uint32_t *memory;

  if (!(device->config[DRM_XE_QUERY_CONFIG_FLAGS] & DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR))
    skip("the kernel has no CPU address mirror");
  area = mmap(NULL, MIB(6), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(area != MAP_FAILED, "mmap: %s", strerrorname_np(errno));
  op.addr = ((uintptr_t)area + MIB(2) - 1) & ~(MIB(2) - 1);
  op.range = MIB(4);
  fixture_create_flags(&f, device, engine, KIB(4), FAULTING);
  bind_and_wait(&f.vm, &op, 1);
  memory = (uint32_t *)(uintptr_t)op.addr;
  memory[1] = 0x5e1f;
  copy_dword(&f.batch, f.data.address, op.addr + 4);
  store_dword(&f.batch, op.addr + MIB(3), 0xf00d);
  check_errno("WAIT_USER_FENCE", fixture_run_to_fence(&f), 0);
  check_dword("read by the GPU", f.data.dwords[0], 0x5e1f);
  check_dword("read by the CPU", memory[MIB(3) / 4], 0xf00d);
}

/* Every address is mapped: what is not bound reads as zero and takes writes. */
static void scratch(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint64_t nothing;

  fixture_create_flags(&f, device, engine, KIB(4), DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE);
  nothing = vm_reserve(&f.vm, MIB(2), MIB(2)) + KIB(16);
  poke(&f, nothing, 0x5c7a);
  check_dword("read", peek(&f, nothing), 0);
  check_dword("read far away", peek(&f, GIB(700)), 0);
  check(!queue_banned(&f.queue), "the queue is banned");
}

static void refusals(const struct device *device, const struct engine *unused) {
  struct vm vm;
  struct fixture f;
  struct drm_xe_sync sync = sync_out(syncobj_create(device));

  (void)unused;
  check_errno("fault mode that is not long-running",
              try_vm_create(&vm, device, DRM_XE_VM_CREATE_FLAG_FAULT_MODE), EINVAL);
  check_errno("no overcommit without fault mode",
              try_vm_create(&vm, device, DRM_XE_VM_CREATE_FLAG_NO_VM_OVERCOMMIT), EINVAL);
  check_errno("unknown flag", try_vm_create(&vm, device, 1u << 20), EINVAL);
  fixture_create_flags(&f, device, &device->engines[0], KIB(4), LONG_RUNNING);
  batch_end(&f.batch);
  check_errno("out-fence of a long-running job",
              try_exec(&f.queue, f.batch.buffer.address, &sync, 1), EOPNOTSUPP);
}

static const struct test_case cases[] = {
    {"fault.long-running", ON_EVERY, lr},
    {"fault.serviced", ON_EVERY, serviced},
    {"fault.serviced-blitter", ON_COPY, serviced_by_the_blitter},
    {"fault.immediate", ON_COPY, immediate},
    {"fault.unmapped", ON_EVERY, unmapped},
    {"fault.read-only", ON_COPY, read_only},
    {"fault.cpu-mirror", ON_COPY | ON_COMPUTE, cpu_mirror},
    {"fault.scratch", ON_EVERY, scratch},
    {"fault.refusals", 0, refusals},
};

const struct test_group fault_group = GROUP(cases);
