#include "compressed.h"

#include <string.h>

static void bind(struct compressed *c, uint32_t pages) {
  struct drm_xe_vm_bind_op op;

  c->surface.address = vm_reserve(&c->f.vm, c->surface.size, MIB(2));
  op = bind_map(&c->surface, 0, c->surface.size, c->surface.address);
  op.pat_index = PAT_COMPRESSED;
  bind_and_wait(&c->f.vm, &op, 1);
  buffer_bound(&c->metadata, &c->f.vm, pages * CCS_BYTES_PER_PAGE, NULL);
  buffer_bound(&c->result, &c->f.vm, pages * CCS_BYTES_PER_PAGE, NULL);
}

void compressed_create(struct compressed *c, const struct device *device,
                       const struct engine *engine, const struct drm_xe_mem_region *region,
                       uint32_t pages) {
  fixture_create(&c->f, device, engine, KIB(4));
  buffer_create_caching(&c->surface, &c->f.vm, pages * KIB(4), region,
                        DRM_XE_GEM_CPU_CACHING_WC);
  bind(c, pages);
}

void compressed_create_movable(struct compressed *c, const struct device *device,
                               const struct engine *engine, uint32_t pages) {
  fixture_create(&c->f, device, engine, KIB(4));
  buffer_create_movable(&c->surface, &c->f.vm, pages * KIB(4));
  bind(c, pages);
}

void compressed_write(struct compressed *c, uint32_t first, uint32_t pages,
                      const void *metadata) {
  memcpy(c->metadata.map, metadata, pages * CCS_BYTES_PER_PAGE);
  ccs_write(&c->f.batch, c->surface.address + first * KIB(4), c->metadata.address, pages);
  fixture_run(&c->f);
}

static void read_out(struct compressed *c, uint32_t pages) {
  memset(c->result.map, 0xee, pages * CCS_BYTES_PER_PAGE);
  ccs_read(&c->f.batch, c->result.address, c->surface.address, pages);
  fixture_run(&c->f);
}

void compressed_read(struct compressed *c, uint32_t pages, void *metadata) {
  read_out(c, pages);
  memcpy(metadata, c->result.map, pages * CCS_BYTES_PER_PAGE);
}

void compressed_check(struct compressed *c, uint32_t pages, const void *want) {
  read_out(c, pages);
  check_bytes("metadata", c->result.map, want, pages * CCS_BYTES_PER_PAGE);
}
