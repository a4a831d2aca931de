/* The blitter on linear memory: copies and fills, of bytes and of surfaces. */
#include <string.h>

#include "fixture.h"

#define SIZE KIB(320)

struct blit_pair {
  struct fixture f;
  struct buffer from, to;
  uint8_t *want; /* what `to` is to hold */
};

static void pair_create(struct blit_pair *pair, const struct device *device,
                        const struct engine *engine, const struct drm_xe_mem_region *from,
                        const struct drm_xe_mem_region *to) {
  static uint8_t want[SIZE];

  fixture_create(&pair->f, device, engine, KIB(4));
  buffer_bound(&pair->from, &pair->f.vm, SIZE, from);
  buffer_bound(&pair->to, &pair->f.vm, SIZE, to);
  fill_random(want, SIZE, 1);
  memcpy(pair->from.map, want, SIZE);
  memset(want, 0x5a, SIZE);
  memcpy(pair->to.map, want, SIZE);
  pair->want = want;
}

static void pair_check(struct blit_pair *pair, const char *what) {
  batch_run(&pair->f.batch, &pair->f.queue);
  check_bytes(what, pair->to.map, pair->want, SIZE);
}

struct span {
  uint32_t to, from, size;
};

/* Beginnings and ends at odd bytes, within a page and over several. */
static const struct span spans[] = {
    {0, 0, 1},        {3, 5, 63},          {4096, 8192, 4096},       {8191, 1, 4098},
    {20000, 333, 64}, {30001, 70000, 65537}, {100000, 100001, 200000},
};

static void copy_bytes(const struct device *device, const struct engine *engine) {
  /* From every memory to every memory. */
  for (unsigned int a = 0; a < device->region_count; a++) {
    for (unsigned int b = 0; b < device->region_count; b++) {
      struct blit_pair pair;

      pair_create(&pair, device, engine, &device->regions[a], &device->regions[b]);
      for (unsigned int i = 0; i < ARRAY_SIZE(spans); i++) {
        mem_copy(&pair.f.batch, pair.to.address + spans[i].to, pair.from.address + spans[i].from,
                 spans[i].size);
        memcpy(pair.want + spans[i].to, pair.from.bytes + spans[i].from, spans[i].size);
      }
      pair_check(&pair, region_name(&device->regions[b]));
    }
  }
}

static void copy_matrix(const struct device *device, const struct engine *engine) {
  struct blit_pair pair;

  pair_create(&pair, device, engine, NULL, NULL);
  mem_copy_matrix(&pair.f.batch, pair.to.address + 70, 1000, pair.from.address + 9, 777, 333, 50);
  for (uint32_t y = 0; y < 50; y++)
    memcpy(pair.want + 70 + 1000 * y, pair.from.bytes + 9 + 777 * y, 333);
  /* As the kernel copies 64 KiB: rows without a gap. */
  mem_copy_matrix(&pair.f.batch, pair.to.address + KIB(128), 4096, pair.from.address + KIB(64),
                  4096, 4096, 16);
  memcpy(pair.want + KIB(128), pair.from.bytes + KIB(64), KIB(64));
  pair_check(&pair, "matrix");
}

static void copy_pages(const struct device *device, const struct engine *engine) {
  struct blit_pair pair;

  pair_create(&pair, device, engine, NULL, NULL);
  mem_copy_pages(&pair.f.batch, pair.to.address + 256, pair.from.address + 512, 3);
  memcpy(pair.want + 256, pair.from.bytes + 512, 768);
  mem_copy_pages(&pair.f.batch, pair.to.address + KIB(64), pair.from.address, 1024);
  memcpy(pair.want + KIB(64), pair.from.bytes, KIB(256));
  pair_check(&pair, "pages");
}

static void fill_bytes(const struct device *device, const struct engine *engine) {
  for (unsigned int r = 0; r < device->region_count; r++) {
    struct blit_pair pair;

    pair_create(&pair, device, engine, NULL, &device->regions[r]);
    for (unsigned int i = 0; i < ARRAY_SIZE(spans); i++) {
      mem_set(&pair.f.batch, pair.to.address + spans[i].to, 0x10 + i, spans[i].size);
      memset(pair.want + spans[i].to, 0x10 + i, spans[i].size);
    }
    mem_set_matrix(&pair.f.batch, pair.to.address + KIB(304) + 3, 150, 0xee, 100, 20);
    for (uint32_t y = 0; y < 20; y++) memset(pair.want + KIB(304) + 3 + 150 * y, 0xee, 100);
    pair_check(&pair, region_name(&device->regions[r]));
  }
}

/* A rectangle of pixels of every size, with pitches that are no multiple of anything. */
static void surfaces(const struct device *device, const struct engine *engine, bool fast) {
  for (uint32_t cpp = 1; cpp <= 16; cpp *= 2) {
    struct blit_pair pair;
    const uint32_t width = 100, height = 60;
    struct rectangle area = {.x = 7, .y = 3, .width = 61, .height = 40};

    pair_create(&pair, device, engine, NULL, NULL);
    struct surface from = {.address = pair.from.address,
                           .pitch = width * cpp + 32,
                           .width = width,
                           .height = height,
                           .cpp = cpp};
    struct surface to = from;
    to.address = pair.to.address;
    to.pitch = width * cpp + 64;
    if (fast) {
      /* XY_FAST_COPY_BLT wants pitches of whole oct-words. */
      from.pitch = (from.pitch + 15) & ~15u;
      to.pitch = (to.pitch + 15) & ~15u;
      fast_copy(&pair.f.batch, &to, 19, 11, &from, area);
    } else {
      block_copy(&pair.f.batch, &to, 19, 11, &from, area);
    }
    for (uint32_t y = 0; y < area.height; y++)
      memcpy(pair.want + (11 + y) * to.pitch + 19 * cpp,
             pair.from.bytes + (area.y + y) * from.pitch + area.x * cpp, area.width * cpp);
    pair_check(&pair, "surface");
  }
}

static void block_copies(const struct device *device, const struct engine *engine) {
  surfaces(device, engine, false);
}

static void fast_copies(const struct device *device, const struct engine *engine) {
  surfaces(device, engine, true);
}

static void fast_colors(const struct device *device, const struct engine *engine) {
  static const uint32_t color[4] = {0x44332211, 0x88776655, 0xccbbaa99, 0x00ffeedd};

  for (uint32_t cpp = 1; cpp <= 16; cpp *= 2) {
    struct blit_pair pair;
    struct rectangle area = {.x = 5, .y = 9, .width = 70, .height = 33};

    pair_create(&pair, device, engine, NULL, NULL);
    struct surface to = {.address = pair.to.address,
                         .pitch = 100 * cpp + 48,
                         .width = 100,
                         .height = 60,
                         .cpp = cpp};
    fast_color(&pair.f.batch, &to, area, color);
    for (uint32_t y = area.y; y < area.y + area.height; y++)
      for (uint32_t x = area.x; x < area.x + area.width; x++)
        memcpy(pair.want + y * to.pitch + x * cpp, color, cpp);
    pair_check(&pair, "colour");
  }
}

/* Two mebibytes at once, and each byte of them. */
static void large(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct buffer from, to;

  fixture_create(&f, device, engine, KIB(4));
  buffer_bound(&from, &f.vm, MIB(2), NULL);
  buffer_bound(&to, &f.vm, MIB(2), vram_region(device));
  for (uint32_t i = 0; i < MIB(2) / 4; i++) from.dwords[i] = i * 2654435761u;
  mem_copy_pages(&f.batch, to.address, from.address, MIB(2) / 256);
  fixture_run(&f);
  check(memcmp(to.map, from.map, MIB(2)) == 0, "2 MiB are not what was copied");
}

static const struct test_case cases[] = {
    {"blit.copy-bytes", ON_COPY, copy_bytes},     {"blit.copy-matrix", ON_COPY, copy_matrix},
    {"blit.copy-pages", ON_COPY, copy_pages},     {"blit.fill-bytes", ON_COPY, fill_bytes},
    {"blit.block-copy", ON_COPY, block_copies},   {"blit.fast-copy", ON_COPY, fast_copies},
    {"blit.fast-color", ON_COPY, fast_colors},    {"blit.large", ON_COPY, large},
};

const struct test_group linear_group = GROUP(cases);
