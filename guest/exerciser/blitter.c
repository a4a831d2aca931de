/*
 * The blitter's commands as Xe2 and Xe3 take them. Fields: MEM_COPY, MEM_SET, XY_BLOCK_COPY_BLT and
 * XY_FAST_COLOR_BLT of intel/compute-runtime's hw_cmds_generated_xe2_hpg_core.inl and _xe3_core.inl
 * (both alike); XY_FAST_COPY_BLT and XY_CTRL_SURF_COPY_BLT of Intel's PRM volume 2a and
 * drivers/gpu/drm/xe/xe_migrate.c (emit_copy_ccs).
 */
#include "batch.h"

#define BLT(opcode, dwords) (2u << 29 | (uint32_t)(opcode) << 22 | ((dwords) - 2))

/* Uncached, on Xe2 and Xe3 (xe_mocs.c uc_index). */
#define MOCS 3u

/* Of a surface that is not an array of any, nor has mipmaps: the tail begins beyond them. */
#define NO_MIP_TAIL (15u << 8)
#define SURFTYPE_2D (1u << 29)

#define MATRIX (1u << 17)
#define MEM_COPY_PAGES (1u << 19)

static void emit_mem_copy(struct batch *batch, uint32_t mode, uint64_t to, uint32_t to_pitch,
                          uint64_t from, uint32_t from_pitch, uint32_t width, uint32_t height) {
  emit(batch, BLT(0x5a, 10) | mode);
  emit(batch, width - 1);
  emit(batch, height - 1);
  emit(batch, from_pitch - 1);
  emit(batch, to_pitch - 1);
  emit_address(batch, from);
  emit_address(batch, to);
  emit(batch, MOCS << 28 | MOCS << 3);
}

void mem_copy(struct batch *batch, uint64_t to, uint64_t from, uint32_t size) {
  emit_mem_copy(batch, 0, to, size, from, size, size, 1);
}

void mem_copy_matrix(struct batch *batch, uint64_t to, uint32_t to_pitch, uint64_t from,
                     uint32_t from_pitch, uint32_t width, uint32_t height) {
  emit_mem_copy(batch, MATRIX, to, to_pitch, from, from_pitch, width, height);
}

void mem_copy_pages(struct batch *batch, uint64_t to, uint64_t from, uint32_t pages_256) {
  emit_mem_copy(batch, MEM_COPY_PAGES, to, 256, from, 256, pages_256, 1);
}

static void emit_mem_set(struct batch *batch, uint32_t mode, uint64_t to, uint32_t pitch,
                         uint8_t value, uint32_t width, uint32_t height) {
  emit(batch, BLT(0x5b, 7) | mode);
  emit(batch, width - 1);
  emit(batch, height - 1);
  emit(batch, pitch - 1);
  emit_address(batch, to);
  emit(batch, (uint32_t)value << 24 | MOCS << 3);
}

void mem_set(struct batch *batch, uint64_t to, uint8_t value, uint32_t size) {
  emit_mem_set(batch, 0, to, size, value, size, 1);
}

void mem_set_matrix(struct batch *batch, uint64_t to, uint32_t pitch, uint8_t value,
                    uint32_t width, uint32_t height) {
  emit_mem_set(batch, MATRIX, to, pitch, value, width, height);
}

/* XY_BLOCK_COPY_BLT and XY_FAST_COLOR_BLT: 8, 16, 32, 64, 96 or 128 bits a pixel. */
static uint32_t color_depth(uint32_t cpp) {
  return cpp == 16 ? 5 : (uint32_t)__builtin_ctz(cpp);
}

/* Pitches of tiled surfaces are in dwords. */
static uint32_t pitch_of(const struct surface *surface) {
  return surface->tiling == LINEAR ? surface->pitch : surface->pitch / 4;
}

static uint32_t pitch_and_tiling(const struct surface *surface) {
  return (pitch_of(surface) - 1) | MOCS << 24 | (uint32_t)surface->tiling << 30;
}

static uint32_t coordinates(uint32_t x, uint32_t y) { return x | y << 16; }

static uint32_t target_memory(const struct surface *surface) {
  return surface->in_vram ? 0 : 1u << 31;
}

/* Two of the dwords that XY_BLOCK_COPY_BLT has for each of its surfaces, and the third. */
static void emit_layout(struct batch *batch, const struct surface *surface) {
  emit(batch, (surface->height - 1) | (surface->width - 1) << 14 | SURFTYPE_2D);
  emit(batch, 0);
  emit(batch, NO_MIP_TAIL);
}

void block_copy(struct batch *batch, const struct surface *to, uint32_t x, uint32_t y,
                const struct surface *from, struct rectangle area) {
  emit(batch, BLT(0x41, 22) | color_depth(to->cpp) << 19);
  emit(batch, pitch_and_tiling(to));
  emit(batch, coordinates(x, y));
  emit(batch, coordinates(x + area.width, y + area.height));
  emit_address(batch, to->address);
  emit(batch, target_memory(to));
  emit(batch, coordinates(area.x, area.y));
  emit(batch, pitch_and_tiling(from));
  emit_address(batch, from->address);
  emit(batch, target_memory(from));
  for (int i = 0; i < 4; i++) emit(batch, 0); /* neither is compressed */
  emit_layout(batch, to);
  emit_layout(batch, from);
}

void fast_copy(struct batch *batch, const struct surface *to, uint32_t x, uint32_t y,
               const struct surface *from, struct rectangle area) {
  /* Here 32 bits are 3 and 64 bits are 4. */
  uint32_t depth = color_depth(to->cpp) + (to->cpp == 4 || to->cpp == 8);

  emit(batch, BLT(0x42, 10) | (uint32_t)from->tiling << 20 | (uint32_t)to->tiling << 13);
  /* Bits 31 and 30: Tile 4, not the Y-major layout of older devices; must be set. */
  emit(batch, 3u << 30 | depth << 24 | MOCS << 20 | pitch_of(to));
  emit(batch, coordinates(x, y));
  emit(batch, coordinates(x + area.width, y + area.height));
  emit_address(batch, to->address);
  emit(batch, coordinates(area.x, area.y));
  emit(batch, MOCS << 20 | pitch_of(from));
  emit_address(batch, from->address);
}

void fast_color(struct batch *batch, const struct surface *to, struct rectangle area,
                const uint32_t color[4]) {
  emit(batch, BLT(0x44, 16) | color_depth(to->cpp) << 19);
  emit(batch, pitch_and_tiling(to));
  emit(batch, coordinates(area.x, area.y));
  emit(batch, coordinates(area.x + area.width, area.y + area.height));
  emit_address(batch, to->address);
  emit(batch, target_memory(to));
  for (int i = 0; i < 4; i++) emit(batch, color[i]);
  emit(batch, 0); /* not compressed */
  emit(batch, 0);
  emit_layout(batch, to);
}

#define CCS_OF_SOURCE (0u << 21) /* the source is a surface whose metadata is meant */
#define CCS_FROM_MEMORY (1u << 21)
#define CCS_OF_DESTINATION (0u << 20)
#define CCS_TO_MEMORY (1u << 20)

static void ctrl_surf_copy(struct batch *batch, uint32_t access, uint64_t to, uint64_t from,
                           uint32_t pages) {
  emit(batch, BLT(0x48, 5) | access | (pages - 1) << 9);
  emit(batch, (uint32_t)from);
  emit(batch, (uint32_t)(from >> 32) | MOCS << 28);
  emit(batch, (uint32_t)to);
  emit(batch, (uint32_t)(to >> 32) | MOCS << 28);
}

void ccs_read(struct batch *batch, uint64_t to, uint64_t of_surface, uint32_t pages) {
  ctrl_surf_copy(batch, CCS_OF_SOURCE | CCS_TO_MEMORY, to, of_surface, pages);
}

void ccs_write(struct batch *batch, uint64_t of_surface, uint64_t from, uint32_t pages) {
  ctrl_surf_copy(batch, CCS_FROM_MEMORY | CCS_OF_DESTINATION, of_surface, from, pages);
}
