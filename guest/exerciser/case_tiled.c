/* The blitter on tiled surfaces, against the layouts of tiling.c. */
#include <stdio.h>
#include <string.h>

#include "fixture.h"

#define MAX_SIZE KIB(640)
#define MAX_EDGE 1024

static const enum tiling tilings[] = {X_MAJOR, TILE4, TILE64};
static const char *const tiling_names[] = {"linear", "X-major", "Tile 4", "Tile 64"};

struct picture {
  struct surface surface;
  struct buffer buffer;
  /* Where a pixel lies is the sum of what its column and its row give: in every layout a bit of the
   * offset comes from one of the two. A pixel is at most 16 bytes, which lie together. */
  uint32_t columns[MAX_EDGE], rows[MAX_EDGE];
};

/* Two tiles wide and two high, but for some pixels, so that edges lie inside tiles. */
static void picture_create(struct picture *picture, struct vm *vm, enum tiling tiling,
                           uint32_t cpp, uint32_t width, uint32_t height) {
  uint32_t tile_width, tile_height;

  tile_size(tiling, cpp, &tile_width, &tile_height);
  uint32_t pitch = (width * cpp + tile_width - 1) / tile_width * tile_width;
  uint32_t rows = (height + tile_height - 1) / tile_height * tile_height;
  if (tiling == LINEAR) pitch = (pitch + 63) & ~63u;
  check((uint64_t)pitch * rows <= MAX_SIZE && width <= MAX_EDGE && height <= MAX_EDGE,
        "a picture of the exerciser is too large");
  for (uint32_t x = 0; x < width; x++)
    picture->columns[x] = tiled_offset(tiling, cpp, pitch, x * cpp, 0);
  for (uint32_t y = 0; y < height; y++) picture->rows[y] = tiled_offset(tiling, cpp, pitch, 0, y);
  buffer_bound(&picture->buffer, vm, (uint64_t)pitch * rows, NULL);
  picture->surface = (struct surface){.address = picture->buffer.address,
                                      .tiling = tiling,
                                      .pitch = pitch,
                                      .width = width,
                                      .height = height,
                                      .cpp = cpp};
}

static uint32_t pixel_at(const struct picture *picture, uint32_t x, uint32_t y) {
  return picture->columns[x] + picture->rows[y];
}

static void common_size(uint32_t cpp, uint32_t *width, uint32_t *height) {
  uint32_t tile_width, tile_height;

  /* Of the largest layout, so that all layouts can hold the same picture. */
  tile_size(TILE64, cpp, &tile_width, &tile_height);
  *width = tile_width / cpp + 37;
  *height = tile_height + 21;
}

/* What a copy of `area` of `from` to (x, y) makes of `to`, whose bytes are `want`. */
static void copy_pixels(uint8_t *want, const struct picture *to, uint32_t x, uint32_t y,
                        const struct picture *from, struct rectangle area) {
  for (uint32_t row = 0; row < area.height; row++)
    for (uint32_t column = 0; column < area.width; column++)
      memcpy(want + pixel_at(to, x + column, y + row),
             from->buffer.bytes + pixel_at(from, area.x + column, area.y + row),
             to->surface.cpp);
}

static void copy_between(struct fixture *f, enum tiling to_tiling, enum tiling from_tiling,
                         uint32_t cpp, bool fast) {
  static uint8_t want[MAX_SIZE];
  struct picture from, to;
  uint32_t width, height;
  char what[64];

  common_size(cpp, &width, &height);
  picture_create(&from, &f->vm, from_tiling, cpp, width, height);
  picture_create(&to, &f->vm, to_tiling, cpp, width, height);
  fill_random(from.buffer.map, from.buffer.size, cpp + from_tiling);
  memset(to.buffer.map, 0x77, to.buffer.size);
  memset(want, 0x77, to.buffer.size);

  struct rectangle whole = {.width = width, .height = height};
  struct rectangle part = {.x = 13, .y = 5, .width = width / 2, .height = height / 2};
  if (fast) {
    fast_copy(&f->batch, &to.surface, 0, 0, &from.surface, whole);
    fast_copy(&f->batch, &to.surface, 29, 17, &from.surface, part);
  } else {
    block_copy(&f->batch, &to.surface, 0, 0, &from.surface, whole);
    block_copy(&f->batch, &to.surface, 29, 17, &from.surface, part);
  }
  fixture_run(f);
  copy_pixels(want, &to, 0, 0, &from, whole);
  copy_pixels(want, &to, 29, 17, &from, part);
  snprintf(what, sizeof(what), "%s to %s, %u bytes a pixel", tiling_names[from_tiling],
                     tiling_names[to_tiling], cpp);
  check_bytes(what, to.buffer.map, want, to.buffer.size);
}

static void copies(const struct device *device, const struct engine *engine, enum tiling tiling,
                   bool fast) {
  for (uint32_t cpp = 1; cpp <= 16; cpp *= 2) {
    struct fixture f;

    fixture_create(&f, device, engine, KIB(4));
    copy_between(&f, tiling, LINEAR, cpp, fast);
    copy_between(&f, LINEAR, tiling, cpp, fast);
  }
  /* Between two layouts, and within one. */
  for (unsigned int i = 0; i < ARRAY_SIZE(tilings); i++) {
    struct fixture f;

    fixture_create(&f, device, engine, KIB(4));
    copy_between(&f, tiling, tilings[i], 4, fast);
  }
}

static void block_x(const struct device *device, const struct engine *engine) {
  copies(device, engine, X_MAJOR, false);
}

static void block_4(const struct device *device, const struct engine *engine) {
  copies(device, engine, TILE4, false);
}

static void block_64(const struct device *device, const struct engine *engine) {
  copies(device, engine, TILE64, false);
}

static void fast_x(const struct device *device, const struct engine *engine) {
  copies(device, engine, X_MAJOR, true);
}

static void fast_4(const struct device *device, const struct engine *engine) {
  copies(device, engine, TILE4, true);
}

static void fast_64(const struct device *device, const struct engine *engine) {
  copies(device, engine, TILE64, true);
}

static void colors(const struct device *device, const struct engine *engine) {
  static const uint32_t color[4] = {0x44332211, 0x88776655, 0xccbbaa99, 0x00ffeedd};
  static uint8_t want[MAX_SIZE];

  for (unsigned int i = 0; i < ARRAY_SIZE(tilings); i++) {
    for (uint32_t cpp = 1; cpp <= 16; cpp *= 4) {
      struct fixture f;
      struct picture to;
      uint32_t width, height;

      common_size(cpp, &width, &height);
      struct rectangle area = {
          .x = 3, .y = 7, .width = width - 20, .height = height - 11};
      fixture_create(&f, device, engine, KIB(4));
      picture_create(&to, &f.vm, tilings[i], cpp, width, height);
      memset(to.buffer.map, 0x77, to.buffer.size);
      memset(want, 0x77, to.buffer.size);
      fast_color(&f.batch, &to.surface, area, color);
      fixture_run(&f);
      for (uint32_t y = area.y; y < area.y + area.height; y++)
        for (uint32_t x = area.x; x < area.x + area.width; x++)
          memcpy(want + pixel_at(&to, x, y), color, cpp);
      check_bytes(tiling_names[tilings[i]], to.buffer.map, want, to.buffer.size);
    }
  }
}

static const struct test_case cases[] = {
    {"tiled.block-copy-x", ON_COPY, block_x},  {"tiled.block-copy-4", ON_COPY, block_4},
    {"tiled.block-copy-64", ON_COPY, block_64}, {"tiled.fast-copy-x", ON_COPY, fast_x},
    {"tiled.fast-copy-4", ON_COPY, fast_4},    {"tiled.fast-copy-64", ON_COPY, fast_64},
    {"tiled.fast-color", ON_COPY, colors},
};

const struct test_group tiled_group = GROUP(cases);
