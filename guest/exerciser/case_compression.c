/* CCS metadata: 8 bytes for each 4 KiB page of a surface (XY_CTRL_SURF_COPY_BLT). */
#include <string.h>

#include "compressed.h"

/* In every memory: what was written is read back, the whole and a part, and pages are apart. */
static void round_trip(const struct device *device, const struct engine *engine) {
  enum { PAGES = 512 };
  static uint8_t want[PAGES * CCS_BYTES_PER_PAGE];

  for (unsigned int i = 0; i < device->region_count; i++) {
    struct compressed c;

    compressed_create(&c, device, engine, &device->regions[i], PAGES);
    fill_random(want, sizeof(want), 11 + i);
    compressed_write(&c, 0, PAGES, want);
    compressed_check(&c, PAGES, want);
    /* Sixteen pages in the middle are overwritten with what belongs to the first sixteen. */
    compressed_write(&c, 100, 16, want);
    memmove(want + 100 * CCS_BYTES_PER_PAGE, want, 16 * CCS_BYTES_PER_PAGE);
    compressed_check(&c, PAGES, want);
  }
}

/* Metadata is not data: neither shows up in the other. */
static void beside_data(const struct device *device, const struct engine *engine) {
  enum { PAGES = 16 };
  static uint8_t want[PAGES * CCS_BYTES_PER_PAGE];

  for (unsigned int i = 0; i < device->region_count; i++) {
    struct compressed c;

    compressed_create(&c, device, engine, &device->regions[i], PAGES);
    for (uint32_t word = 0; word < PAGES * 1024; word++) c.surface.dwords[word] = word * 3;
    fill_random(want, sizeof(want), 21);
    compressed_write(&c, 0, PAGES, want);
    for (uint32_t word = 0; word < PAGES * 1024; word++)
      check_dword("data after the metadata was written", c.surface.dwords[word], word * 3);
    compressed_check(&c, PAGES, want);
  }
}

static void of_two_buffers(const struct device *device, const struct engine *engine) {
  enum { PAGES = 64 };
  static uint8_t ones[PAGES * CCS_BYTES_PER_PAGE], twos[PAGES * CCS_BYTES_PER_PAGE];
  struct compressed one, two;

  memset(ones, 0x11, sizeof(ones));
  memset(twos, 0x22, sizeof(twos));
  compressed_create(&one, device, engine, &device->regions[0], PAGES);
  compressed_create(&two, device, engine, &device->regions[0], PAGES);
  compressed_write(&one, 0, PAGES, ones);
  compressed_write(&two, 0, PAGES, twos);
  compressed_check(&one, PAGES, ones);
  compressed_check(&two, PAGES, twos);
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
