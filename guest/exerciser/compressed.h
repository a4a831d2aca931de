/* A surface with compression metadata: 8 bytes for each 4 KiB page. */
#ifndef COMPRESSED_H
#define COMPRESSED_H

#include "fixture.h"

#define CCS_BYTES_PER_PAGE 8

struct compressed {
  struct fixture f;
  struct buffer surface;
  struct buffer metadata, result; /* plain memory to copy from and to */
};

/* The surface lies in this region; NULL is system memory. */
void compressed_create(struct compressed *c, const struct device *device,
                       const struct engine *engine, const struct drm_xe_mem_region *region,
                       uint32_t pages);
/* A surface that may lie in either memory of a discrete GPU. */
void compressed_create_movable(struct compressed *c, const struct device *device,
                               const struct engine *engine, uint32_t pages);
/* Gives the `pages` from page `first` on this metadata. */
void compressed_write(struct compressed *c, uint32_t first, uint32_t pages, const void *metadata);
/* Copies the metadata of the first `pages` out. */
void compressed_read(struct compressed *c, uint32_t pages, void *metadata);
/* Copies the metadata of the first `pages` out and fails the case unless it is this. */
void compressed_check(struct compressed *c, uint32_t pages, const void *want);

#endif
