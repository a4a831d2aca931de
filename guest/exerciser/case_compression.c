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

enum { DATA_PAGES = 64, DATA_SIZE = DATA_PAGES * 4096 };

/* A surface and plain memory with data that can be compressed, and the same on the CPU's side. */
struct data {
  struct compressed c;
  struct buffer plain;
  uint32_t want[DATA_SIZE / 4];
};

static void data_create(struct data *data, const struct device *device,
                        const struct engine *engine, const struct drm_xe_mem_region *region) {
  compressed_create(&data->c, device, engine, region, DATA_PAGES);
  buffer_bound(&data->plain, &data->c.f.vm, DATA_SIZE, NULL);
  for (uint32_t i = 0; i < ARRAY_SIZE(data->want); i++) data->want[i] = 0x01010101 * (i / 256);
}

/* Has the blitter write the data through a page that compresses. */
static void data_write(struct data *data) {
  memcpy(data->plain.map, data->want, DATA_SIZE);
  mem_copy(&data->c.f.batch, data->c.surface.address, data->plain.address, DATA_SIZE);
  fixture_run(&data->c.f);
}

/* Whether the blitter reads the data through such a page. */
static bool data_is_there(struct data *data) {
  memset(data->plain.map, 0xee, DATA_SIZE);
  mem_copy(&data->c.f.batch, data->plain.address, data->c.surface.address, DATA_SIZE);
  fixture_run(&data->c.f);
  return memcmp(data->plain.map, data->want, DATA_SIZE) == 0;
}

/* The surface's own bytes, through a page that does not compress. */
static uint64_t raw_address(struct data *data) {
  struct buffer *surface = &data->c.surface;
  uint64_t address = vm_reserve(surface->vm, surface->size, MIB(2));
  struct drm_xe_vm_bind_op op = bind_map(surface, 0, surface->size, address);

  op.pat_index = PAT_UNCACHED;
  bind_and_wait(surface->vm, &op, 1);
  return address;
}

/* Compressed data are what they were as long as their metadata are, and go elsewhere with them. */
static void with_data(const struct device *device, const struct engine *engine) {
  static uint8_t metadata[DATA_PAGES * CCS_BYTES_PER_PAGE], spoilt[sizeof(metadata)];
  static const uint8_t zeros[sizeof(metadata)];
  static struct data one, two;

  data_create(&one, device, engine, vram_region(device));
  data_write(&one);
  compressed_read(&one.c, DATA_PAGES, metadata);
  check(memcmp(metadata, zeros, sizeof(zeros)) != 0, "nothing was compressed");
  check(data_is_there(&one), "compressed data are not what was written");
  for (size_t i = 0; i < sizeof(metadata); i++) spoilt[i] = ~metadata[i];
  compressed_write(&one.c, 0, DATA_PAGES, spoilt);
  check(!data_is_there(&one), "compressed data are the same with other metadata");
  compressed_write(&one.c, 0, DATA_PAGES, metadata);
  check(data_is_there(&one), "compressed data do not come back with their metadata");

  /* To another surface, as a driver moves it: the bytes as they are, then the metadata. */
  data_create(&two, device, engine, vram_region(device));
  struct drm_xe_vm_bind_op op =
      bind_map(&two.c.surface, 0, DATA_SIZE, vm_reserve(&one.c.f.vm, DATA_SIZE, MIB(2)));
  op.pat_index = PAT_UNCACHED;
  bind_and_wait(&one.c.f.vm, &op, 1);
  mem_copy(&one.c.f.batch, op.addr, raw_address(&one), DATA_SIZE);
  fixture_run(&one.c.f);
  compressed_write(&two.c, 0, DATA_PAGES, metadata);
  check(data_is_there(&two), "compressed data that were copied are not what was written");
}

/* Compressed data that the driver moves to the other memory and back are the same in both. */
static void moved(const struct device *device, const struct engine *engine) {
  const struct drm_xe_mem_region *vram = vram_region(device);
  static const uint8_t zeros[DATA_PAGES * CCS_BYTES_PER_PAGE];
  static uint8_t metadata[sizeof(zeros)];
  static struct data data;
  struct fixture *f = &data.c.f;

  if (!vram) skip("an integrated GPU has no VRAM");
  compressed_create_movable(&data.c, device, engine, DATA_PAGES);
  buffer_bound(&data.plain, &f->vm, DATA_SIZE, NULL);
  for (uint32_t round = 0; round < 3; round++) {
    for (uint32_t i = 0; i < ARRAY_SIZE(data.want); i++)
      data.want[i] = 0x01010101 * (i / 256 + round);
    buffer_prefetch(&data.c.surface, vram);
    data_write(&data);
    compressed_read(&data.c, DATA_PAGES, metadata);
    check(memcmp(metadata, zeros, sizeof(zeros)) != 0, "nothing was compressed");
    buffer_prefetch(&data.c.surface, &device->regions[0]);
    check_bytes("in system memory", data.c.surface.map, data.want, DATA_SIZE);
    check(data_is_there(&data), "the GPU does not read it in system memory");
    buffer_prefetch(&data.c.surface, vram);
    check(data_is_there(&data), "the GPU does not read it back in VRAM");
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
    {"ccs.with-data", ON_COPY, with_data},
    {"ccs.moved", ON_COPY, moved},
    {"ccs.of-two-buffers", ON_COPY, of_two_buffers},
    {"ccs.refusals", 0, refusals},
};

const struct test_group compression_group = GROUP(cases);
