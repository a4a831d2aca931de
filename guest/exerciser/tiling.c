/*
 * Layouts of tiled surfaces, from the bit patterns of Intel's PRM volume 5, "Memory Data Formats":
 * each bit of an offset within a tile is one bit of x (in bytes) or of y. intel/gmmlib states the
 * same patterns (Source/GmmLib/Utility/CpuSwizzleBlt/CpuSwizzleBlt.c).
 */
#include "batch.h"

/* From the highest bit of the offset to the lowest. */
static const char *pattern_of(enum tiling tiling, uint32_t cpp) {
  if (tiling == X_MAJOR) return "yyyxxxxxxxxx";
  if (tiling == TILE4) return "yyxyxxyyxxxx";
  if (cpp == 1) return "yyyxyyxyxxyyxxxx";
  if (cpp <= 4) return "yyxxyyxyxxyyxxxx";
  return "yxxxyyxyxxyyxxxx";
}

static uint32_t count_bits(const char *pattern, char axis) {
  uint32_t bits = 0;

  for (; *pattern; pattern++) bits += *pattern == axis;
  return bits;
}

void tile_size(enum tiling tiling, uint32_t cpp, uint32_t *width, uint32_t *height) {
  const char *pattern = pattern_of(tiling, cpp);

  *width = tiling == LINEAR ? 1 : 1u << count_bits(pattern, 'x');
  *height = tiling == LINEAR ? 1 : 1u << count_bits(pattern, 'y');
}

uint64_t tiled_offset(enum tiling tiling, uint32_t cpp, uint32_t pitch, uint32_t x, uint32_t y) {
  const char *pattern = pattern_of(tiling, cpp);
  uint32_t width, height;
  uint64_t offset = 0;
  uint32_t x_bit, y_bit;

  if (tiling == LINEAR) return (uint64_t)y * pitch + x;
  tile_size(tiling, cpp, &width, &height);
  uint64_t tile = (uint64_t)(y / height) * (pitch / width) + x / width;
  x %= width;
  y %= height;
  x_bit = width >> 1;
  y_bit = height >> 1;
  for (const char *axis = pattern; *axis; axis++) {
    offset <<= 1;
    if (*axis == 'x') {
      offset |= (x & x_bit) != 0;
      x_bit >>= 1;
    } else {
      offset |= (y & y_bit) != 0;
      y_bit >>= 1;
    }
  }
  return tile * width * height + offset;
}
