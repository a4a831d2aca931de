#include "exerciser.h"

struct drm_xe_vm_bind_op bind_map(const struct buffer *buffer, uint64_t offset, uint64_t range,
                                  uint64_t address) {
  return (struct drm_xe_vm_bind_op){
      .obj = buffer->handle,
      .pat_index = PAT_COHERENT,
      .obj_offset = offset,
      .range = range,
      .addr = address,
      .op = DRM_XE_VM_BIND_OP_MAP,
  };
}

struct drm_xe_vm_bind_op bind_null(uint64_t range, uint64_t address) {
  return (struct drm_xe_vm_bind_op){
      .range = range,
      .addr = address,
      .op = DRM_XE_VM_BIND_OP_MAP,
      .flags = DRM_XE_VM_BIND_FLAG_NULL,
  };
}

struct drm_xe_vm_bind_op bind_unmap(uint64_t range, uint64_t address) {
  return (struct drm_xe_vm_bind_op){
      .range = range, .addr = address, .op = DRM_XE_VM_BIND_OP_UNMAP};
}

int try_bind(struct vm *vm, const struct drm_xe_vm_bind_op *ops, uint32_t count,
             struct drm_xe_sync *syncs, uint32_t sync_count, uint32_t queue) {
  struct drm_xe_vm_bind bind = {
      .vm_id = vm->id,
      .exec_queue_id = queue,
      .num_binds = count,
      .num_syncs = sync_count,
      .syncs = (uintptr_t)syncs,
  };

  if (count == 1)
    bind.bind = ops[0];
  else
    bind.vector_of_binds = (uintptr_t)ops;
  return try_ioctl(vm->device, DRM_IOCTL_XE_VM_BIND, &bind);
}

void bind_and_wait(struct vm *vm, const struct drm_xe_vm_bind_op *ops, uint32_t count) {
  /* A user fence is what every kind of VM takes; the kernel writes it through the CPU. */
  static uint64_t fence __attribute__((aligned(8)));
  static uint64_t value;
  struct drm_xe_sync sync = user_fence((uintptr_t)&fence, ++value);

  check_errno("VM_BIND", try_bind(vm, ops, count, &sync, 1, 0), 0);
  check_errno("wait for VM_BIND", wait_user_fence(vm->device, &fence, value, 0, WAIT_NS), 0);
}

void buffer_prefetch(struct buffer *buffer, const struct drm_xe_mem_region *region) {
  struct drm_xe_vm_bind_op op = {.pat_index = PAT_COHERENT,
                                 .range = buffer->size,
                                 .addr = buffer->address,
                                 .op = DRM_XE_VM_BIND_OP_PREFETCH,
                                 .prefetch_mem_region_instance = region->instance};

  bind_and_wait(buffer->vm, &op, 1);
}
