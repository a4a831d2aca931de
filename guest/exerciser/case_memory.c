/* Buffer objects and their CPU mappings (xe_bo.c). */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "fixture.h"

/* Writes through one mapping of a buffer and reads through another. */
static void write_and_read(struct vm *vm, const struct drm_xe_mem_region *region,
                           uint16_t caching) {
  struct buffer buffer;
  static uint8_t want[65536];
  void *again;

  buffer_create_caching(&buffer, vm, sizeof(want), region, caching);
  fill_random(want, sizeof(want), caching);
  memcpy(buffer.map, want, sizeof(want));
  again = gem_map(vm->device, buffer.handle, buffer.size);
  check_bytes(region_name(region), again, want, sizeof(want));
  munmap(again, buffer.size);
  munmap(buffer.map, buffer.size);
  gem_close(vm->device, buffer.handle);
}

static void map_system(const struct device *device, const struct engine *unused) {
  struct vm vm;

  (void)unused;
  vm_create(&vm, device, 0);
  write_and_read(&vm, &device->regions[0], DRM_XE_GEM_CPU_CACHING_WB);
  write_and_read(&vm, &device->regions[0], DRM_XE_GEM_CPU_CACHING_WC);
}

static const struct drm_xe_mem_region *need_vram(const struct device *device) {
  const struct drm_xe_mem_region *vram = vram_region(device);

  if (!vram) skip("an integrated GPU has no VRAM");
  return vram;
}

static void map_vram(const struct device *device, const struct engine *unused) {
  struct vm vm;

  (void)unused;
  vm_create(&vm, device, 0);
  write_and_read(&vm, need_vram(device), DRM_XE_GEM_CPU_CACHING_WC);
}

/* Nobody may see what was in a buffer before. */
static void zeroed(const struct vm *vm, const struct drm_xe_mem_region *region) {
  static const uint8_t zeros[65536];

  for (int round = 0; round < 4; round++) {
    struct buffer buffer;

    buffer_create(&buffer, (struct vm *)vm, sizeof(zeros), region);
    check_bytes("a new buffer", buffer.map, zeros, sizeof(zeros));
    memset(buffer.map, 0xa5 + round, sizeof(zeros));
    munmap(buffer.map, buffer.size);
    gem_close(vm->device, buffer.handle);
  }
}

static void zeroed_system(const struct device *device, const struct engine *unused) {
  struct vm vm;

  (void)unused;
  vm_create(&vm, device, 0);
  zeroed(&vm, &device->regions[0]);
}

static void zeroed_vram(const struct device *device, const struct engine *unused) {
  struct vm vm;

  (void)unused;
  vm_create(&vm, device, 0);
  zeroed(&vm, need_vram(device));
}

/* What the CPU wrote is what the GPU reads, and the other way round, in every region. */
static void shared(const struct device *device, const struct engine *unused) {
  struct fixture f;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  for (unsigned int i = 0; i < device->region_count; i++) {
    struct buffer buffer;

    buffer_bound(&buffer, &f.vm, KIB(64), &device->regions[i]);
    buffer.dwords[5] = 0x01234567;
    check_dword("read by the GPU", peek(&f, buffer.address + 20), 0x01234567);
    poke(&f, buffer.address + 0xfffc, 0x89abcdef);
    check_dword("read by the CPU", buffer.dwords[0x3fff], 0x89abcdef);
  }
}

static void uncached_pat(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op op;
  uint64_t address;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_create_caching(&buffer, &f.vm, KIB(4), NULL, DRM_XE_GEM_CPU_CACHING_WC);
  address = vm_reserve(&f.vm, buffer.size, KIB(64));
  op = bind_map(&buffer, 0, buffer.size, address);
  op.pat_index = PAT_UNCACHED;
  bind_and_wait(&f.vm, &op, 1);
  poke(&f, address, 0x5eed);
  check_dword("read by the CPU", buffer.dwords[0], 0x5eed);
}

static void deferred(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer = {.size = KIB(64)};
  struct drm_xe_gem_create create = {.size = KIB(64),
                                     .placement = 1,
                                     .flags = DRM_XE_GEM_CREATE_FLAG_DEFER_BACKING,
                                     .cpu_caching = DRM_XE_GEM_CPU_CACHING_WB};

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  check_errno("GEM_CREATE", try_gem_create(device, &create), 0);
  buffer.vm = &f.vm;
  buffer.handle = create.handle;
  buffer_bind(&buffer, vm_reserve(&f.vm, buffer.size, KIB(64)));
  poke(&f, buffer.address + 4, 77);
  buffer.map = gem_map(device, buffer.handle, buffer.size);
  check_dword("read by the CPU", buffer.dwords[1], 77);
}

static void of_one_vm(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct drm_xe_gem_create create = {
      .size = KIB(64), .placement = 1, .cpu_caching = DRM_XE_GEM_CPU_CACHING_WB};
  struct buffer buffer = {.size = KIB(64)};

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  create.vm_id = f.vm.id;
  check_errno("GEM_CREATE", try_gem_create(device, &create), 0);
  buffer.vm = &f.vm;
  buffer.handle = create.handle;
  buffer_bind(&buffer, vm_reserve(&f.vm, buffer.size, KIB(64)));
  buffer.map = gem_map(device, buffer.handle, buffer.size);
  poke(&f, buffer.address, 99);
  check_dword("read by the CPU", buffer.dwords[0], 99);
}

/* A buffer that is handed on as a dma-buf is the same memory for another open device. */
static void exported(const struct device *device, const struct engine *unused) {
  struct fixture f, g;
  struct device again;
  struct buffer buffer, imported;
  struct drm_prime_handle prime = {.flags = DRM_CLOEXEC | DRM_RDWR};

  (void)unused;
  device_open(&again, device->path);
  fixture_create(&f, device, NULL, KIB(4));
  fixture_create(&g, &again, NULL, KIB(4));
  buffer_bound(&buffer, &f.vm, KIB(64), NULL);
  prime.handle = buffer.handle;
  do_ioctl(device, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime, "PRIME_HANDLE_TO_FD");
  do_ioctl(&again, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime, "PRIME_FD_TO_HANDLE");
  imported = (struct buffer){.vm = &g.vm, .handle = prime.handle, .size = buffer.size};
  buffer_bind(&imported, vm_reserve(&g.vm, imported.size, KIB(64)));
  poke(&f, buffer.address + 8, 0xe49);
  check_dword("read by the other", peek(&g, imported.address + 8), 0xe49);
  poke(&g, imported.address + 12, 0x194);
  check_dword("read by the first", buffer.dwords[3], 0x194);
}

/* A buffer that moves between the memories takes its data along (a prefetch moves it). */
static void moved(const struct device *device, const struct engine *unused) {
  const struct drm_xe_mem_region *vram = need_vram(device);
  struct fixture f;
  struct buffer buffer;
  static uint8_t want[MIB(2)];

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_create_movable(&buffer, &f.vm, sizeof(want));
  buffer_bind(&buffer, vm_reserve(&f.vm, buffer.size, MIB(2)));
  fill_random(want, sizeof(want), 6);
  memcpy(buffer.map, want, sizeof(want));
  for (uint32_t i = 0; i < 4; i++) {
    const struct drm_xe_mem_region *region = i % 2 ? vram : &device->regions[0];

    buffer_prefetch(&buffer, region);
    check_bytes(region_name(region), buffer.map, want, sizeof(want));
    poke(&f, buffer.address + KIB(4) * i, i);
    memcpy(want + KIB(4) * i, &i, 4);
  }
  check_bytes("at the end", buffer.map, want, sizeof(want));
}

static void pci_barrier(const struct device *device, const struct engine *unused) {
  struct drm_xe_gem_mmap_offset offset = {.flags = DRM_XE_MMAP_OFFSET_FLAG_PCI_BARRIER};
  int error = try_ioctl(device, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &offset);
  volatile uint32_t *map;

  (void)unused;
  if (!vram_region(device)) {
    check_errno("PCI barrier of an integrated GPU", error, EINVAL);
    return;
  }
  check_errno("PCI barrier", error, 0);
  map = mmap(NULL, KIB(4), PROT_WRITE, MAP_SHARED, device->fd, offset.offset);
  check(map != MAP_FAILED, "mmap: %s", strerrorname_np(errno));
  map[0] = 0xdeadbeef;
}

static void refusals(const struct device *device, const struct engine *unused) {
  static const struct {
    const char *what;
    struct drm_xe_gem_create create;
  } wrong[] = {
      {"size 0", {.placement = 1, .cpu_caching = 1}},
      {"size 5000", {.size = 5000, .placement = 1, .cpu_caching = 1}},
      {"no placement", {.size = KIB(64), .cpu_caching = 1}},
      {"placement that is not there", {.size = KIB(64), .placement = 0x80, .cpu_caching = 1}},
      {"no caching", {.size = KIB(64), .placement = 1}},
      {"caching 3", {.size = KIB(64), .placement = 1, .cpu_caching = 3}},
      {"unknown flag", {.size = KIB(64), .placement = 1, .cpu_caching = 1, .flags = 0x100}},
      {"scanout with WB",
       {.size = KIB(64),
        .placement = 1,
        .cpu_caching = 1,
        .flags = DRM_XE_GEM_CREATE_FLAG_SCANOUT}},
      {"handle given", {.size = KIB(64), .placement = 1, .cpu_caching = 1, .handle = 7}},
  };
  struct drm_xe_gem_create of_no_vm = {
      .size = KIB(64), .placement = 1, .cpu_caching = 1, .vm_id = 12345};
  struct drm_xe_gem_mmap_offset nothing = {.handle = 12345};
  const struct drm_xe_mem_region *vram = vram_region(device);

  (void)unused;
  for (unsigned int i = 0; i < ARRAY_SIZE(wrong); i++) {
    struct drm_xe_gem_create create = wrong[i].create;
    check_errno(wrong[i].what, try_gem_create(device, &create), EINVAL);
  }
  if (vram) {
    struct drm_xe_gem_create create = {
        .size = KIB(64), .placement = 1u << vram->instance, .cpu_caching = 1};
    check_errno("VRAM with WB", try_gem_create(device, &create), EINVAL);
  }
  check_errno("unknown VM", try_gem_create(device, &of_no_vm), ENOENT);
  check_errno("mmap of no buffer", try_ioctl(device, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &nothing),
              ENOENT);
}

static const struct test_case cases[] = {
    {"memory.map-system", 0, map_system},
    {"memory.map-vram", 0, map_vram},
    {"memory.zeroed-system", 0, zeroed_system},
    {"memory.zeroed-vram", 0, zeroed_vram},
    {"memory.shared", 0, shared},
    {"memory.uncached-pat", 0, uncached_pat},
    {"memory.deferred", 0, deferred},
    {"memory.of-one-vm", 0, of_one_vm},
    {"memory.exported", 0, exported},
    {"memory.moved", 0, moved},
    {"memory.pci-barrier", 0, pci_barrier},
    {"memory.refusals", 0, refusals},
};

const struct test_group memory_group = GROUP(cases);
