#include "exerciser.h"

int try_queue_create(struct queue *queue, struct vm *vm, struct drm_xe_exec_queue_create *create) {
  int error;

  create->vm_id = vm->id;
  error = try_ioctl(vm->device, DRM_IOCTL_XE_EXEC_QUEUE_CREATE, create);
  *queue = (struct queue){.vm = vm, .id = create->exec_queue_id};
  return error;
}

void queue_create(struct queue *queue, struct vm *vm, const struct engine *engine) {
  struct drm_xe_exec_queue_create create = {
      .width = 1, .num_placements = 1, .instances = (uintptr_t)&engine->instance};

  check_errno("EXEC_QUEUE_CREATE", try_queue_create(queue, vm, &create), 0);
}

int try_queue_property(struct queue *queue, struct vm *vm, const struct engine *engine,
                       uint32_t property, uint64_t value) {
  struct drm_xe_ext_set_property extension = {
      .base = {.name = DRM_XE_EXEC_QUEUE_EXTENSION_SET_PROPERTY},
      .property = property,
      .value = value,
  };
  struct drm_xe_exec_queue_create create = {.extensions = (uintptr_t)&extension,
                                            .width = 1,
                                            .num_placements = 1,
                                            .instances = (uintptr_t)&engine->instance};

  return try_queue_create(queue, vm, &create);
}

void queue_destroy(struct queue *queue) {
  struct drm_xe_exec_queue_destroy destroy = {.exec_queue_id = queue->id};

  do_ioctl(queue->vm->device, DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &destroy, "EXEC_QUEUE_DESTROY");
}

bool queue_banned(const struct queue *queue) {
  struct drm_xe_exec_queue_get_property get = {
      .exec_queue_id = queue->id, .property = DRM_XE_EXEC_QUEUE_GET_PROPERTY_BAN};

  do_ioctl(queue->vm->device, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &get, "get BAN");
  return get.value;
}

int try_exec(const struct queue *queue, uint64_t address, struct drm_xe_sync *syncs,
             uint32_t count) {
  struct drm_xe_exec exec = {
      .exec_queue_id = queue->id,
      .num_syncs = count,
      .syncs = (uintptr_t)syncs,
      .address = address,
      .num_batch_buffer = 1,
  };

  return try_ioctl(queue->vm->device, DRM_IOCTL_XE_EXEC, &exec);
}

void submit(const struct queue *queue, uint64_t address, uint32_t out_syncobj) {
  struct drm_xe_sync sync = sync_out(out_syncobj);

  check_errno("EXEC", try_exec(queue, address, &sync, 1), 0);
}

void run_at(const struct queue *queue, uint64_t address) {
  const struct device *device = queue->vm->device;
  uint32_t done = syncobj_create(device);
  int status;

  submit(queue, address, done);
  check_errno("wait for a job", syncobj_wait(device, done, WAIT_NS), 0);
  status = syncobj_status(device, done);
  check(status == 1, "a job ended with %s", status < 0 ? strerrorname_np(-status) : "no signal");
  syncobj_destroy(device, done);
}
