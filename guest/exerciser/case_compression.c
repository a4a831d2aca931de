/* CCS metadata: 8 bytes for each 4 KiB page of a surface (XY_CTRL_SURF_COPY_BLT). */
#include <string.h>

#include "fixture.h"

#define CCS_BYTES_PER_PAGE 8

struct compressed {
  struct fixture f;
  struct buffer surface, metadata, result;
};

static void create(struct compressed *c, const struct device *device, const struct engine *engine,
                   const struct drm_xe_mem_region *region, uint32_t pages) {
  struct drm_xe_vm_bind_op op;

  fixture_create(&c->f, device, engine, KIB(4));
  buffer_create_caching(&c->surface, &c->f.vm, pages * KIB(4), region,
                        DRM_XE_GEM_CPU_CACHING_WC);
  c->surface.address = vm_reserve(&c->f.vm, c->surface.size, MIB(2));
  op = bind_map(&c->surface, 0, c->surface.size, c->surface.address);
  op.pat_index = PAT_COMPRESSED;
  bind_and_wait(&c->f.vm, &op, 1);
  buffer_bound(&c->metadata, &c->f.vm, pages * CCS_BYTES_PER_PAGE, NULL);
  buffer_bound(&c->result, &c->f.vm, pages * CCS_BYTES_PER_PAGE, NULL);
}

static void read_back(struct compressed *c, uint32_t pages, const void *want) {
  memset(c->result.map, 0xee, pages * CCS_BYTES_PER_PAGE);
  ccs_read(&c->f.batch, c->result.address, c->surface.address, pages);
  fixture_run(&c->f);
  check_bytes("metadata", c->result.map, want, pages * CCS_BYTES_PER_PAGE);
}

/* In every memory: what was written is read back, the whole and a part, and pages are apart. */
static void round_trip(const struct device *device, const struct engine *engine) {
  enum { PAGES = 512 };
  static uint8_t want[PAGES * CCS_BYTES_PER_PAGE];

  for (unsigned int i = 0; i < device->region_count; i++) {
    struct compressed c;

    create(&c, device, engine, &device->regions[i], PAGES);
    fill_random(want, sizeof(want), 11 + i);
    memcpy(c.metadata.map, want, sizeof(want));
    ccs_write(&c.f.batch, c.surface.address, c.metadata.address, PAGES);
    fixture_run(&c.f);
    read_back(&c, PAGES, want);
    /* Sixteen pages in the middle are overwritten with what belongs to the first sixteen. */
    ccs_write(&c.f.batch, c.surface.address + 100 * KIB(4), c.metadata.address, 16);
    fixture_run(&c.f);
    memmove(want + 100 * CCS_BYTES_PER_PAGE, want, 16 * CCS_BYTES_PER_PAGE);
    read_back(&c, PAGES, want);
  }
}

/* Metadata is not data: neither shows up in the other. */
static void beside_data(const struct device *device, const struct engine *engine) {
  enum { PAGES = 16 };
  static uint8_t want[PAGES * CCS_BYTES_PER_PAGE];

  for (unsigned int i = 0; i < device->region_count; i++) {
    struct compressed c;

    create(&c, device, engine, &device->regions[i], PAGES);
    for (uint32_t word = 0; word < PAGES * 1024; word++) c.surface.dwords[word] = word * 3;
    fill_random(want, sizeof(want), 21);
    memcpy(c.metadata.map, want, sizeof(want));
    ccs_write(&c.f.batch, c.surface.address, c.metadata.address, PAGES);
    fixture_run(&c.f);
    for (uint32_t word = 0; word < PAGES * 1024; word++)
      check_dword("data after the metadata was written", c.surface.dwords[word], word * 3);
    read_back(&c, PAGES, want);
  }
}

static void of_two_buffers(const struct device *device, const struct engine *engine) {
  enum { PAGES = 64 };
  static uint8_t ones[PAGES * CCS_BYTES_PER_PAGE], twos[PAGES * CCS_BYTES_PER_PAGE];
  struct compressed one, two;

  memset(ones, 0x11, sizeof(ones));
  memset(twos, 0x22, sizeof(twos));
  create(&one, device, engine, &device->regions[0], PAGES);
  create(&two, device, engine, &device->regions[0], PAGES);
  memcpy(one.metadata.map, ones, sizeof(ones));
  memcpy(two.metadata.map, twos, sizeof(twos));
  ccs_write(&one.f.batch, one.surface.address, one.metadata.address, PAGES);
  ccs_write(&two.f.batch, two.surface.address, two.metadata.address, PAGES);
  fixture_run(&one.f);
  fixture_run(&two.f);
  read_back(&one, PAGES, ones);
  read_back(&two, PAGES, twos);
}

/* A buffer that is not to be compressed cannot be bound so. */
static void refusals(const struct device *device, const struct engine *unused) {
  struct vm vm;
  struct buffer buffer = {.size = KIB(64)};
  struct drm_xe_vm_bind_op op;
  struct drm_xe_gem_create create = {.size = KIB(64),
                                     .placement = 1,
                                     .flags = DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION,
                                     .cpu_caching = DRM_XE_GEM_CPU_CACHING_WC};

  (void)unused;
  vm_create(&vm, device, 0);
  check_errno("GEM_CREATE", try_gem_create(device, &create), 0);
  buffer.handle = create.handle;
  op = bind_map(&buffer, 0, buffer.size, MIB(16));
  op.pat_index = PAT_COMPRESSED;
  check_errno("compressed although it may not be", try_bind(&vm, &op, 1, NULL, 0, 0), EINVAL);
}

static const struct test_case cases[] = {
    {"ccs.round-trip", ON_COPY, round_trip},
    {"ccs.beside-data", ON_COPY, beside_data},
    {"ccs.of-two-buffers", ON_COPY, of_two_buffers},
    {"ccs.refusals", 0, refusals},
};

const struct test_group compression_group = GROUP(cases);
