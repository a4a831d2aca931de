/* VM_BIND: how mappings come and go (xe_vm.c xe_vm_bind_ioctl). */
#include <string.h>
#include <sys/mman.h>

#include "fixture.h"

static void async(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op op;
  uint32_t bound = syncobj_create(device);
  uint32_t done = syncobj_create(device);
  struct drm_xe_sync out = sync_out(bound);
  struct drm_xe_sync syncs[2];

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_create(&buffer, &f.vm, KIB(64), NULL);
  buffer.address = vm_reserve(&f.vm, buffer.size, KIB(64));
  store_dword(&f.batch, buffer.address, 0x600d);
  batch_end(&f.batch);
  op = bind_map(&buffer, 0, buffer.size, buffer.address);
  check_errno("VM_BIND", try_bind(&f.vm, &op, 1, &out, 1, 0), 0);
  /* The job waits for the mapping. */
  syncs[0] = sync_in(bound);
  syncs[1] = sync_out(done);
  check_errno("EXEC", try_exec(&f.queue, f.batch.buffer.address, syncs, 2), 0);
  check_errno("wait", syncobj_wait(device, done, WAIT_NS), 0);
  check_dword("stored", buffer.dwords[0], 0x600d);
}

static void bind_queue(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer;
  struct queue queue;
  struct engine binder = {.instance = {.engine_class = DRM_XE_ENGINE_CLASS_VM_BIND}};
  struct drm_xe_vm_bind_op op;
  uint32_t bound = syncobj_create(device);
  struct drm_xe_sync out = sync_out(bound);

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  queue_create(&queue, &f.vm, &binder);
  buffer_create(&buffer, &f.vm, KIB(64), NULL);
  buffer.address = vm_reserve(&f.vm, buffer.size, KIB(64));
  op = bind_map(&buffer, 0, buffer.size, buffer.address);
  check_errno("VM_BIND", try_bind(&f.vm, &op, 1, &out, 1, queue.id), 0);
  check_errno("wait", syncobj_wait(device, bound, WAIT_NS), 0);
  poke(&f, buffer.address, 0xb1);
  check_dword("stored", buffer.dwords[0], 0xb1);
  check_errno("EXEC on a bind queue", try_exec(&queue, buffer.address, NULL, 0), EINVAL);
  queue_destroy(&queue);
}

static void array(const struct device *device, const struct engine *unused) {
  enum { COUNT = 16 };
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op ops[COUNT + 1];
  uint64_t base;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_create(&buffer, &f.vm, COUNT * KIB(4), NULL);
  base = vm_reserve(&f.vm, 2 * COUNT * KIB(4), MIB(2));
  /* Every second page of addresses, and the buffer's pages backwards. */
  for (int i = 0; i < COUNT; i++)
    ops[i] = bind_map(&buffer, (COUNT - 1 - i) * KIB(4), KIB(4), base + 2 * i * KIB(4));
  ops[COUNT] = bind_unmap(KIB(4), base + 2 * 3 * KIB(4));
  bind_and_wait(&f.vm, ops, COUNT + 1);
  ops[0] = bind_map(&buffer, (COUNT - 1 - 3) * KIB(4), KIB(4), base + 2 * 3 * KIB(4));
  bind_and_wait(&f.vm, ops, 1);
  for (int i = 0; i < COUNT; i++)
    store_dword(&f.batch, base + 2 * i * KIB(4) + 8, 0xa0 + i);
  fixture_run(&f);
  for (int i = 0; i < COUNT; i++)
    check_dword("page", buffer.dwords[(COUNT - 1 - i) * 1024 + 2], 0xa0 + i);
}

static void null(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct drm_xe_vm_bind_op op;
  uint64_t address;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  address = vm_reserve(&f.vm, MIB(4), MIB(2));
  op = bind_null(MIB(4) - KIB(4), address);
  bind_and_wait(&f.vm, &op, 1);
  check_dword("read", peek(&f, address), 0);
  poke(&f, address, 0x1234);
  check_dword("read after a write", peek(&f, address), 0);
  check_dword("read in the second 2 MiB", peek(&f, address + MIB(2) + 12), 0);
}

static void unmap_middle(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer, other;
  struct drm_xe_vm_bind_op op;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_bound(&buffer, &f.vm, KIB(64), NULL);
  op = bind_unmap(KIB(16), buffer.address + KIB(16));
  bind_and_wait(&f.vm, &op, 1);
  poke(&f, buffer.address + KIB(16) - 4, 1);
  poke(&f, buffer.address + KIB(32), 2);
  check_dword("before the hole", buffer.dwords[KIB(16) / 4 - 1], 1);
  check_dword("after the hole", buffer.dwords[KIB(32) / 4], 2);
  /* Another buffer in the hole. */
  buffer_create(&other, &f.vm, KIB(16), NULL);
  buffer_bind(&other, buffer.address + KIB(16));
  poke(&f, buffer.address + KIB(16), 3);
  check_dword("in the hole", other.dwords[0], 3);
  check_dword("under the hole", buffer.dwords[KIB(16) / 4], 0);
}

static void over(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer first, second;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_bound(&first, &f.vm, KIB(64), NULL);
  buffer_create(&second, &f.vm, KIB(64), NULL);
  for (int round = 0; round < 8; round++) {
    struct buffer *now = round % 2 ? &first : &second;
    struct buffer *before = round % 2 ? &second : &first;
    uint32_t was = before->dwords[1];

    /* A stale translation would send the store to the buffer that was there before. */
    buffer_bind(now, first.address);
    poke(&f, first.address + 4, 100 + round);
    check_dword("the new buffer", now->dwords[1], 100 + round);
    check_dword("the old buffer", before->dwords[1], was);
  }
}

static void aliases(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op op;
  uint64_t alias;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_bound(&buffer, &f.vm, KIB(64), NULL);
  alias = vm_reserve(&f.vm, KIB(8), KIB(64));
  op = bind_map(&buffer, KIB(24), KIB(8), alias);
  bind_and_wait(&f.vm, &op, 1);
  poke(&f, alias + 4, 0xa11a5);
  check_dword("read at the other address", peek(&f, buffer.address + KIB(24) + 4), 0xa11a5);
}

static void unmap_all(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer, other;
  struct drm_xe_vm_bind_op op;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_bound(&buffer, &f.vm, KIB(64), NULL);
  /* The driver checks the PAT index of this too. */
  op = (struct drm_xe_vm_bind_op){
      .obj = buffer.handle, .pat_index = PAT_COHERENT, .op = DRM_XE_VM_BIND_OP_UNMAP_ALL};
  bind_and_wait(&f.vm, &op, 1);
  buffer_create(&other, &f.vm, KIB(64), NULL);
  buffer_bind(&other, buffer.address);
  poke(&f, buffer.address, 5);
  check_dword("the buffer that is bound", other.dwords[0], 5);
  check_dword("the buffer that is not", buffer.dwords[0], 0);
}

static void userptr(const struct device *device, const struct engine *unused) {
  struct fixture f;
  uint32_t *memory =
      mmap(NULL, KIB(64), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct drm_xe_vm_bind_op op = {.pat_index = PAT_COHERENT,
                                 .userptr = (uintptr_t)memory,
                                 .range = KIB(64),
                                 .op = DRM_XE_VM_BIND_OP_MAP_USERPTR};

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  op.addr = vm_reserve(&f.vm, KIB(64), KIB(64));
  memory[3] = 0xc0de;
  bind_and_wait(&f.vm, &op, 1);
  check_dword("read by the GPU", peek(&f, op.addr + 12), 0xc0de);
  poke(&f, op.addr + KIB(64) - 4, 0xfeed);
  check_dword("read by the CPU", memory[KIB(16) - 1], 0xfeed);
}

static void many(const struct device *device, const struct engine *unused) {
  enum { COUNT = 128 };
  struct fixture f;
  struct buffer buffer;
  uint64_t base;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_create(&buffer, &f.vm, COUNT * KIB(4), NULL);
  base = vm_reserve(&f.vm, GIB(COUNT), GIB(1));
  /* A page in every gibibyte: as many page tables of three levels. */
  for (int i = 0; i < COUNT; i++) {
    struct drm_xe_vm_bind_op op = bind_map(&buffer, i * KIB(4), KIB(4), base + GIB(i));

    check_errno("VM_BIND", try_bind(&f.vm, &op, 1, NULL, 0, 0), 0);
  }
  for (int i = 0; i < COUNT; i++) store_dword(&f.batch, base + GIB(i), i + 1);
  struct drm_xe_vm_bind_op last = bind_map(&buffer, 0, KIB(4), vm_reserve(&f.vm, KIB(4), KIB(4)));
  bind_and_wait(&f.vm, &last, 1);
  fixture_run(&f);
  for (int i = 0; i < COUNT; i++) check_dword("page", buffer.dwords[i * 1024], i + 1);
}

static void refusals(const struct device *device, const struct engine *unused) {
  struct vm vm;
  struct buffer buffer;
  struct drm_xe_vm_bind_op good, op;
  struct vm no_vm = {.device = device, .id = 12345};
  uint64_t end = 1ull << device->config[DRM_XE_QUERY_CONFIG_VA_BITS];
  static uint64_t fences[2];
  struct drm_xe_sync syncs[2] = {user_fence((uintptr_t)&fences[0], 1),
                                 user_fence((uintptr_t)&fences[1], 1)};

  (void)unused;
  vm_create(&vm, device, 0);
  buffer_create(&buffer, &vm, KIB(64), NULL);
  good = bind_map(&buffer, 0, KIB(64), MIB(16));
  check_errno("two user fences", try_bind(&vm, &good, 1, syncs, 2, 0), EINVAL);
#define REFUSED(what, change, want)                                \
  do {                                                             \
    op = good;                                                     \
    change;                                                        \
    check_errno(what, try_bind(&vm, &op, 1, NULL, 0, 0), want); \
  } while (0)
  REFUSED("address that is not a page's", op.addr += 8, EINVAL);
  REFUSED("range that is not pages", op.range -= 8, EINVAL);
  REFUSED("range of 0", op.range = 0, EINVAL);
  REFUSED("offset behind the buffer", op.obj_offset = KIB(4), EINVAL);
  REFUSED("PAT index that is not there", op.pat_index = 32, EINVAL);
  REFUSED("PAT index that is reserved", op.pat_index = 17, EINVAL);
  REFUSED("PAT index that is not coherent with WB", op.pat_index = PAT_UNCACHED, EINVAL);
  REFUSED("buffer that is not there", op.obj = 12345, ENOENT);
  REFUSED("no buffer", op.obj = 0, EINVAL);
  REFUSED("address beyond the VM", op.addr = end, EINVAL);
  REFUSED("unknown operation", op.op = 9, EINVAL);
  REFUSED("unknown flag", op.flags = 1u << 30, EINVAL);
  good.obj = 0;
  REFUSED("CPU address mirror without page faults",
          op.flags = DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR, EINVAL);
  REFUSED("NULL with an offset", (op.flags = DRM_XE_VM_BIND_FLAG_NULL, op.obj_offset = KIB(4)),
          EINVAL);
#undef REFUSED
  good.obj = buffer.handle;
  check_errno("unknown VM", try_bind(&no_vm, &good, 1, NULL, 0, 0), EINVAL);
}

static const struct test_case cases[] = {
    {"bind.async", 0, async},
    {"bind.queue", 0, bind_queue},
    {"bind.array", 0, array},
    {"bind.null", 0, null},
    {"bind.unmap-middle", 0, unmap_middle},
    {"bind.over", 0, over},
    {"bind.aliases", 0, aliases},
    {"bind.unmap-all", 0, unmap_all},
    {"bind.userptr", 0, userptr},
    {"bind.many", 0, many},
    {"bind.refusals", 0, refusals},
};

const struct test_group bind_group = GROUP(cases);
