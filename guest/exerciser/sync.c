#include <linux/sync_file.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "exerciser.h"

uint32_t syncobj_create(const struct device *device) {
  struct drm_syncobj_create create = {0};

  do_ioctl(device, DRM_IOCTL_SYNCOBJ_CREATE, &create, "SYNCOBJ_CREATE");
  return create.handle;
}

void syncobj_destroy(const struct device *device, uint32_t handle) {
  struct drm_syncobj_destroy destroy = {.handle = handle};

  do_ioctl(device, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy, "SYNCOBJ_DESTROY");
}

/* Syncobj waits take the time of the monotonic clock at which they end. */
static int64_t deadline(int64_t timeout_ns) {
  return timeout_ns == 0 ? 0 : (int64_t)now_ns() + timeout_ns;
}

int syncobj_wait(const struct device *device, uint32_t handle, int64_t timeout_ns) {
  struct drm_syncobj_wait wait = {
      .handles = (uintptr_t)&handle,
      .count_handles = 1,
      .timeout_nsec = deadline(timeout_ns),
      .flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
  };

  return try_ioctl(device, DRM_IOCTL_SYNCOBJ_WAIT, &wait);
}

int timeline_wait(const struct device *device, uint32_t handle, uint64_t point,
                  int64_t timeout_ns) {
  struct drm_syncobj_timeline_wait wait = {
      .handles = (uintptr_t)&handle,
      .points = (uintptr_t)&point,
      .count_handles = 1,
      .timeout_nsec = deadline(timeout_ns),
      .flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
  };

  return try_ioctl(device, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &wait);
}

int syncobj_status(const struct device *device, uint32_t handle) {
  struct drm_syncobj_handle export = {
      .handle = handle, .flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE};
  struct sync_file_info info = {0};
  int result;

  do_ioctl(device, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &export, "SYNCOBJ_HANDLE_TO_FD");
  result = ioctl(export.fd, SYNC_IOC_FILE_INFO, &info);
  check(result == 0, "SYNC_IOC_FILE_INFO: %s", strerrorname_np(errno));
  close(export.fd);
  return info.status;
}

struct drm_xe_sync sync_in(uint32_t handle) {
  return (struct drm_xe_sync){.type = DRM_XE_SYNC_TYPE_SYNCOBJ, .handle = handle};
}

struct drm_xe_sync sync_out(uint32_t handle) {
  return (struct drm_xe_sync){.type = DRM_XE_SYNC_TYPE_SYNCOBJ,
                              .flags = DRM_XE_SYNC_FLAG_SIGNAL,
                              .handle = handle};
}

struct drm_xe_sync user_fence(uint64_t address, uint64_t value) {
  return (struct drm_xe_sync){.type = DRM_XE_SYNC_TYPE_USER_FENCE,
                              .flags = DRM_XE_SYNC_FLAG_SIGNAL,
                              .addr = address,
                              .timeline_value = value};
}

int wait_user_fence(const struct device *device, const void *address, uint64_t value,
                    uint32_t queue, int64_t timeout_ns) {
  struct drm_xe_wait_user_fence wait = {
      .addr = (uintptr_t)address,
      .op = DRM_XE_UFENCE_WAIT_OP_EQ,
      .value = value,
      .mask = ~0ull,
      .timeout = timeout_ns,
      .exec_queue_id = queue,
  };

  return try_ioctl(device, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait);
}
