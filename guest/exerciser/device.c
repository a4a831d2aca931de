#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "exerciser.h"

int try_ioctl(const struct device *device, unsigned long request, void *argument) {
  int result;

  /* EAGAIN too: the driver answers it where it wants the call again (xe_exec.c). */
  do {
    result = ioctl(device->fd, request, argument);
  } while (result == -1 && (errno == EINTR || errno == EAGAIN));
  return result == -1 ? errno : 0;
}

void do_ioctl(const struct device *device, unsigned long request, void *argument,
              const char *what) {
  int error = try_ioctl(device, request, argument);

  if (error) fail("%s: %s", what, strerrorname_np(error));
}

int device_query(const struct device *device, uint32_t query, void **data, uint32_t *size) {
  struct drm_xe_device_query ask = {.query = query};
  int error = try_ioctl(device, DRM_IOCTL_XE_DEVICE_QUERY, &ask);

  *data = NULL;
  *size = ask.size;
  if (error || ask.size == 0) return error;
  *data = calloc(1, ask.size);
  ask.data = (uintptr_t)*data;
  return try_ioctl(device, DRM_IOCTL_XE_DEVICE_QUERY, &ask);
}

const char *engine_class_name(unsigned int engine_class) {
  static const char *const names[] = {"rcs", "bcs", "vcs", "vecs", "ccs"};

  return engine_class < ARRAY_SIZE(names) ? names[engine_class] : "unknown";
}

static void read_engines(struct device *device) {
  struct drm_xe_query_engines *engines;
  uint32_t size;
  int error = device_query(device, DRM_XE_DEVICE_QUERY_ENGINES, (void **)&engines, &size);

  check(!error, "query of the engines: %s", strerrorname_np(error));
  check(engines->num_engines <= MAX_ENGINES, "%u engines", engines->num_engines);
  for (unsigned int i = 0; i < engines->num_engines; i++) {
    struct engine *engine = &device->engines[device->engine_count++];

    engine->instance = engines->engines[i].instance;
    snprintf(engine->name, sizeof(engine->name), "%s%u",
             engine_class_name(engine->instance.engine_class), engine->instance.engine_instance);
  }
  free(engines);
}

static void read_regions(struct device *device) {
  struct drm_xe_query_mem_regions *regions;
  uint32_t size;
  int error = device_query(device, DRM_XE_DEVICE_QUERY_MEM_REGIONS, (void **)&regions, &size);

  check(!error, "query of the memory regions: %s", strerrorname_np(error));
  check(regions->num_mem_regions >= 1 && regions->num_mem_regions <= MAX_REGIONS,
        "%u memory regions", regions->num_mem_regions);
  device->region_count = regions->num_mem_regions;
  memcpy(device->regions, regions->mem_regions, device->region_count * sizeof(*device->regions));
  free(regions);
}

static void read_config(struct device *device) {
  struct drm_xe_query_config *config;
  uint32_t size;
  int error = device_query(device, DRM_XE_DEVICE_QUERY_CONFIG, (void **)&config, &size);

  check(!error, "query of the configuration: %s", strerrorname_np(error));
  for (unsigned int i = 0; i < config->num_params && i < ARRAY_SIZE(device->config); i++)
    device->config[i] = config->info[i];
  free(config);
}

void device_open(struct device *device, const char *path) {
  struct drm_version version = {0};
  char driver[32] = "";
  struct stat node;

  *device = (struct device){0};
  snprintf(device->path, sizeof(device->path), "%s", path);
  device->fd = open(path, O_RDWR | O_CLOEXEC);
  check(device->fd >= 0, "%s: %s", path, strerror(errno));
  version.name = driver;
  version.name_len = sizeof(driver) - 1;
  do_ioctl(device, DRM_IOCTL_VERSION, &version, "DRM_IOCTL_VERSION");
  check(strcmp(driver, "xe") == 0, "%s is driven by %s, not xe", path, driver);
  check(fstat(device->fd, &node) == 0, "%s: %s", path, strerror(errno));
  snprintf(device->sysfs, sizeof(device->sysfs), "/sys/dev/char/%u:%u/device",
           major(node.st_rdev), minor(node.st_rdev));
  read_engines(device);
  read_regions(device);
  read_config(device);
}

const struct engine *find_engine(const struct device *device, unsigned int engine_class) {
  for (unsigned int i = 0; i < device->engine_count; i++)
    if (device->engines[i].instance.engine_class == engine_class) return &device->engines[i];
  skip("the device has no engine of class %s", engine_class_name(engine_class));
}

const struct drm_xe_mem_region *vram_region(const struct device *device) {
  for (unsigned int i = 0; i < device->region_count; i++)
    if (device->regions[i].mem_class == DRM_XE_MEM_REGION_CLASS_VRAM) return &device->regions[i];
  return NULL;
}

const char *region_name(const struct drm_xe_mem_region *region) {
  return region->mem_class == DRM_XE_MEM_REGION_CLASS_VRAM ? "VRAM" : "system memory";
}
