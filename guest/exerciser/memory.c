#include <string.h>
#include <sys/mman.h>

#include "exerciser.h"

/* Not 0, so that a stray null address faults; above 4 GiB, so that both halves of an address
 * matter. */
#define FIRST_ADDRESS (GIB(4) + MIB(16))

int try_vm_create(struct vm *vm, const struct device *device, uint32_t flags) {
  struct drm_xe_vm_create create = {.flags = flags};
  int error = try_ioctl(device, DRM_IOCTL_XE_VM_CREATE, &create);

  *vm = (struct vm){.device = device, .id = create.vm_id, .next = FIRST_ADDRESS};
  return error;
}

void vm_create(struct vm *vm, const struct device *device, uint32_t flags) {
  check_errno("VM_CREATE", try_vm_create(vm, device, flags), 0);
}

uint64_t vm_reserve(struct vm *vm, uint64_t size, uint64_t alignment) {
  uint64_t address = (vm->next + alignment - 1) & ~(alignment - 1);

  /* A page between, so that running over the end of one buffer is not writing into the next. */
  vm->next = address + size + KIB(64);
  return address;
}

int try_gem_create(const struct device *device, struct drm_xe_gem_create *create) {
  return try_ioctl(device, DRM_IOCTL_XE_GEM_CREATE, create);
}

void *gem_map(const struct device *device, uint32_t handle, uint64_t size) {
  struct drm_xe_gem_mmap_offset offset = {.handle = handle};
  void *map;

  do_ioctl(device, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &offset, "GEM_MMAP_OFFSET");
  map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd, offset.offset);
  check(map != MAP_FAILED, "mmap of a buffer: %s", strerrorname_np(errno));
  return map;
}

void gem_close(const struct device *device, uint32_t handle) {
  struct drm_gem_close close = {.handle = handle};

  do_ioctl(device, DRM_IOCTL_GEM_CLOSE, &close, "GEM_CLOSE");
}

void buffer_create_caching(struct buffer *buffer, struct vm *vm, uint64_t size,
                           const struct drm_xe_mem_region *region, uint16_t cpu_caching) {
  const struct drm_xe_mem_region *place = region ? region : &vm->device->regions[0];
  bool in_vram = place->mem_class == DRM_XE_MEM_REGION_CLASS_VRAM;
  struct drm_xe_gem_create create = {
      .size = (size + place->min_page_size - 1) & ~((uint64_t)place->min_page_size - 1),
      .placement = 1u << place->instance,
      .flags = in_vram ? DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM : 0,
      .cpu_caching = cpu_caching,
  };

  check_errno("GEM_CREATE", try_gem_create(vm->device, &create), 0);
  *buffer = (struct buffer){
      .vm = vm, .region = place, .handle = create.handle, .size = create.size};
  buffer->map = gem_map(vm->device, create.handle, create.size);
}

void buffer_create(struct buffer *buffer, struct vm *vm, uint64_t size,
                   const struct drm_xe_mem_region *region) {
  bool in_vram = region && region->mem_class == DRM_XE_MEM_REGION_CLASS_VRAM;

  /* What can lie in VRAM must be write-combined (xe_bo.c xe_gem_create_ioctl). */
  buffer_create_caching(buffer, vm, size, region,
                        in_vram ? DRM_XE_GEM_CPU_CACHING_WC : DRM_XE_GEM_CPU_CACHING_WB);
}

void buffer_create_movable(struct buffer *buffer, struct vm *vm, uint64_t size) {
  const struct drm_xe_mem_region *vram = vram_region(vm->device);
  struct drm_xe_gem_create create = {
      .size = (size + vram->min_page_size - 1) & ~((uint64_t)vram->min_page_size - 1),
      .placement = 1u << vram->instance | 1u << vm->device->regions[0].instance,
      .flags = DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM,
      .cpu_caching = DRM_XE_GEM_CPU_CACHING_WC,
  };

  check_errno("GEM_CREATE", try_gem_create(vm->device, &create), 0);
  *buffer = (struct buffer){.vm = vm, .handle = create.handle, .size = create.size};
  buffer->map = gem_map(vm->device, create.handle, create.size);
}

void buffer_bind(struct buffer *buffer, uint64_t address) {
  struct drm_xe_vm_bind_op op = bind_map(buffer, 0, buffer->size, address);

  bind_and_wait(buffer->vm, &op, 1);
  buffer->address = address;
}

void buffer_bound(struct buffer *buffer, struct vm *vm, uint64_t size,
                  const struct drm_xe_mem_region *region) {
  buffer_create(buffer, vm, size, region);
  buffer_bind(buffer, vm_reserve(vm, buffer->size, KIB(64)));
}
