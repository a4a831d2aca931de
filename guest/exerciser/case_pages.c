/* Mappings whose page-table entries are of every size (xe_pt.c xe_pt_stage_bind_entry). */
#include <string.h>

#include "fixture.h"

/* Stores at the first and last dword of every `step` bytes and reads them through the CPU. */
static void walk(struct fixture *f, const struct buffer *buffer, uint64_t address,
                 uint64_t step) {
  uint32_t value = 1;

  for (uint64_t at = 0; at < buffer->size; at += step) {
    store_dword(&f->batch, address + at, value++);
    store_dword(&f->batch, address + at + step - 4, value++);
  }
  fixture_run(f);
  value = 1;
  for (uint64_t at = 0; at < buffer->size; at += step) {
    check_dword("first dword", buffer->dwords[at / 4], value++);
    check_dword("last dword", buffer->dwords[(at + step - 4) / 4], value++);
  }
}

static void of_size(const struct device *device, uint64_t size, uint64_t alignment,
                    uint64_t step) {
  struct fixture f;

  fixture_create(&f, device, NULL, KIB(4));
  for (unsigned int i = 0; i < device->region_count; i++) {
    struct buffer buffer;

    buffer_create(&buffer, &f.vm, size, &device->regions[i]);
    buffer_bind(&buffer, vm_reserve(&f.vm, buffer.size, alignment));
    walk(&f, &buffer, buffer.address, step);
  }
}

static void pages_4k(const struct device *device, const struct engine *unused) {
  (void)unused;
  of_size(device, KIB(4), KIB(4), KIB(4));
  /* Sixty of them, at an address that is no larger page's. */
  struct fixture f;
  struct buffer buffer;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_create(&buffer, &f.vm, KIB(240), NULL);
  buffer_bind(&buffer, vm_reserve(&f.vm, KIB(256), KIB(64)) + KIB(4));
  walk(&f, &buffer, buffer.address, KIB(4));
}

static void pages_64k(const struct device *device, const struct engine *unused) {
  (void)unused;
  of_size(device, KIB(64), KIB(64), KIB(4));
  of_size(device, KIB(512), KIB(64), KIB(16));
}

static void pages_2m(const struct device *device, const struct engine *unused) {
  (void)unused;
  of_size(device, MIB(2), MIB(2), KIB(64));
  of_size(device, MIB(8), MIB(2), KIB(128));
}

/* A gibibyte is in one piece in VRAM only, and there when little else of it is used. */
static void pages_1g(const struct device *device, const struct engine *unused) {
  const struct drm_xe_mem_region *vram = vram_region(device);
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op op;
  uint64_t page = MIB(300) + KIB(64);

  (void)unused;
  if (!vram) skip("an integrated GPU has no VRAM");
  if (vram->total_size < GIB(2) + MIB(64))
    skip("the VF has %llu MiB of VRAM", (unsigned long long)vram->total_size >> 20);
  fixture_create(&f, device, NULL, KIB(4));
  buffer_create(&buffer, &f.vm, GIB(1), vram);
  buffer_bind(&buffer, vm_reserve(&f.vm, GIB(1), GIB(1)));
  walk(&f, &buffer, buffer.address, MIB(4));
  /* A hole in it splits the entry. */
  op = bind_unmap(KIB(64), buffer.address + page);
  bind_and_wait(&f.vm, &op, 1);
  op = bind_map(&buffer, 0, KIB(64), buffer.address + page);
  bind_and_wait(&f.vm, &op, 1);
  poke(&f, buffer.address + page + 64, 0x1234);
  check_dword("through the hole", buffer.dwords[16], 0x1234);
  check_dword("beside the hole", peek(&f, buffer.address + MIB(304)),
              buffer.dwords[MIB(304) / 4]);
}

/* An entry of a gibibyte that is NULL, and what becomes of it when a page is bound in it. */
static void null_1g(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op op;
  uint64_t address;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  address = vm_reserve(&f.vm, GIB(3), GIB(1));
  op = bind_null(GIB(3), address);
  bind_and_wait(&f.vm, &op, 1);
  poke(&f, address + GIB(1) - 4, 0x77);
  check_dword("end of the first gibibyte", peek(&f, address + GIB(1) - 4), 0);
  check_dword("the third gibibyte", peek(&f, address + GIB(2) + MIB(513)), 0);
  /* A page in the middle splits the entry. */
  buffer_create(&buffer, &f.vm, KIB(4), NULL);
  buffer_bind(&buffer, address + GIB(1) + MIB(100) + KIB(8));
  poke(&f, buffer.address + 16, 0x99);
  check_dword("the page", buffer.dwords[4], 0x99);
  check_dword("beside the page", peek(&f, buffer.address + KIB(4)), 0);
  check_dword("another gibibyte", peek(&f, address + 64), 0);
}

static void split_2m(const struct device *device, const struct engine *unused) {
  struct fixture f;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  for (unsigned int i = 0; i < device->region_count; i++) {
    struct buffer buffer, page;
    struct drm_xe_vm_bind_op op;
    uint64_t hole = MIB(1) + KIB(12);

    buffer_create(&buffer, &f.vm, MIB(2), &device->regions[i]);
    buffer_bind(&buffer, vm_reserve(&f.vm, MIB(2), MIB(2)));
    poke(&f, buffer.address + hole, 1);
    op = bind_unmap(KIB(4), buffer.address + hole);
    bind_and_wait(&f.vm, &op, 1);
    buffer_create(&page, &f.vm, KIB(4), NULL);
    buffer_bind(&page, buffer.address + hole);
    store_dword(&f.batch, buffer.address + hole - 4, 2);
    store_dword(&f.batch, buffer.address + hole, 3);
    store_dword(&f.batch, buffer.address + hole + KIB(4), 4);
    fixture_run(&f);
    check_dword("before the hole", buffer.dwords[hole / 4 - 1], 2);
    check_dword("under the hole", buffer.dwords[hole / 4], 1);
    check_dword("in the hole", page.dwords[0], 3);
    check_dword("after the hole", buffer.dwords[(hole + KIB(4)) / 4], 4);
  }
}

/* The highest addresses: commands name them sign-extended (xe_device_canonicalize_addr). */
static void high(const struct device *device, const struct engine *unused) {
  uint64_t bits = device->config[DRM_XE_QUERY_CONFIG_VA_BITS];
  struct fixture f;
  struct buffer buffer;
  static const uint64_t below_end[] = {KIB(4), MIB(2), GIB(1), GIB(512)};

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  for (unsigned int i = 0; i < ARRAY_SIZE(below_end); i++) {
    uint64_t address = (1ull << bits) - below_end[i];

    buffer_create(&buffer, &f.vm, KIB(4), NULL);
    buffer_bind(&buffer, address);
    poke(&f, (uint64_t)((int64_t)(address << (64 - bits)) >> (64 - bits)) + 40, 0x40 + i);
    check_dword("stored", buffer.dwords[10], 0x40 + i);
  }
  buffer_create(&buffer, &f.vm, KIB(4), NULL);
  buffer_bind(&buffer, 1ull << (bits - 1));
  poke(&f, ~0ull << (bits - 1), 0x55);
  check_dword("stored in the middle", buffer.dwords[0], 0x55);
}

/* Neighbouring addresses in two pages of a buffer that are not neighbours. */
static void across(const struct device *device, const struct engine *unused) {
  struct fixture f;
  struct buffer buffer;
  struct drm_xe_vm_bind_op ops[2];
  uint64_t address;

  (void)unused;
  fixture_create(&f, device, NULL, KIB(4));
  buffer_create(&buffer, &f.vm, KIB(16), NULL);
  address = vm_reserve(&f.vm, KIB(8), KIB(64));
  ops[0] = bind_map(&buffer, KIB(12), KIB(4), address);
  ops[1] = bind_map(&buffer, 0, KIB(4), address + KIB(4));
  bind_and_wait(&f.vm, ops, 2);
  store_dword(&f.batch, address + KIB(4) - 4, 0x11111111);
  store_dword(&f.batch, address + KIB(4), 0x22222222);
  fixture_run(&f);
  check_dword("end of the first page", buffer.dwords[KIB(16) / 4 - 1], 0x11111111);
  check_dword("start of the second page", buffer.dwords[0], 0x22222222);
  check_dword("the buffer's second page", buffer.dwords[KIB(4) / 4], 0);
}

static const struct test_case cases[] = {
    {"pages.4k", 0, pages_4k},   {"pages.64k", 0, pages_64k},   {"pages.2m", 0, pages_2m},
    {"pages.1g", 0, pages_1g},     {"pages.null-1g", 0, null_1g},   {"pages.split-2m", 0, split_2m}, {"pages.high", 0, high},
    {"pages.across", 0, across},
};

const struct test_group page_group = GROUP(cases);
