/* Every query of DRM_IOCTL_XE_DEVICE_QUERY (xe_query.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exerciser.h"

static void *query(const struct device *device, uint32_t id, const char *what, uint32_t *size) {
  void *data;
  int error = device_query(device, id, &data, size);

  check_errno(what, error, 0);
  check(*size > 0, "%s: no bytes", what);
  return data;
}

static void engines(const struct device *device, const struct engine *unused) {
  char names[256] = "";
  bool copies = false;

  (void)unused;
  check(device->engine_count > 0, "no engines");
  for (unsigned int i = 0; i < device->engine_count; i++) {
    const struct drm_xe_engine_class_instance *one = &device->engines[i].instance;

    check(one->engine_class <= DRM_XE_ENGINE_CLASS_COMPUTE, "engine class %u", one->engine_class);
    copies |= one->engine_class == DRM_XE_ENGINE_CLASS_COPY;
    for (unsigned int j = 0; j < i; j++)
      check(memcmp(one, &device->engines[j].instance, sizeof(*one)) != 0, "%s is there twice",
            device->engines[i].name);
    snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s@gt%u", i ? " " : "",
             device->engines[i].name, one->gt_id);
  }
  check(copies, "no copy engine");
  detail("%s", names);
}

static void regions(const struct device *device, const struct engine *unused) {
  const struct drm_xe_mem_region *vram = vram_region(device);
  bool has_vram = device->config[DRM_XE_QUERY_CONFIG_FLAGS] & DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM;

  (void)unused;
  check(device->regions[0].mem_class == DRM_XE_MEM_REGION_CLASS_SYSMEM, "no system memory");
  check(device->regions[0].total_size > 0, "system memory of no size");
  check(has_vram == (vram != NULL), "the configuration and the regions disagree about VRAM");
  if (!vram) return;
  check(vram->total_size > 0, "VRAM of no size");
  check(vram->cpu_visible_size <= vram->total_size, "more VRAM visible than there is");
  check(vram->used <= vram->total_size, "more VRAM used than there is");
  detail("VRAM %llu MiB, %llu MiB visible", vram->total_size >> 20, vram->cpu_visible_size >> 20);
}

static void config(const struct device *device, const struct engine *unused) {
  uint64_t alignment = device->config[DRM_XE_QUERY_CONFIG_MIN_ALIGNMENT];
  uint64_t bits = device->config[DRM_XE_QUERY_CONFIG_VA_BITS];

  (void)unused;
  check(alignment == KIB(4) || alignment == KIB(64), "alignment %llu",
        (unsigned long long)alignment);
  check(bits == 48 || bits == 57, "%llu address bits", (unsigned long long)bits);
  check((device->config[DRM_XE_QUERY_CONFIG_REV_AND_DEVICE_ID] & 0xffff) != 0, "device id 0");
  detail("flags %#llx, %llu address bits, priority up to %llu",
         (unsigned long long)device->config[DRM_XE_QUERY_CONFIG_FLAGS], (unsigned long long)bits,
         (unsigned long long)device->config[DRM_XE_QUERY_CONFIG_MAX_EXEC_QUEUE_PRIORITY]);
}

static void gt_list(const struct device *device, const struct engine *unused) {
  uint32_t size;
  struct drm_xe_query_gt_list *list =
      query(device, DRM_XE_DEVICE_QUERY_GT_LIST, "GT list", &size);
  char text[128] = "";

  (void)unused;
  check(list->num_gt > 0, "no GTs");
  for (uint32_t i = 0; i < list->num_gt; i++) {
    const struct drm_xe_gt *gt = &list->gt_list[i];

    check(gt->reference_clock > 0, "GT %u has a clock of 0 Hz", gt->gt_id);
    check(gt->ip_ver_major >= 12, "GT %u has the version %u.%u", gt->gt_id, gt->ip_ver_major,
          gt->ip_ver_minor);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s %u.%02u", i ? ", " : "",
             gt->type == DRM_XE_QUERY_GT_TYPE_MEDIA ? "media" : "main", gt->ip_ver_major,
             gt->ip_ver_minor);
  }
  detail("%s, %u Hz", text, list->gt_list[0].reference_clock);
}

static void hwconfig(const struct device *device, const struct engine *unused) {
  uint32_t size;
  uint32_t *table = query(device, DRM_XE_DEVICE_QUERY_HWCONFIG, "hwconfig", &size);
  uint32_t words = size / 4;
  uint32_t at = 0;
  unsigned int attributes = 0;

  (void)unused;
  /* Key, number of dwords, the dwords (xe_guc_hwconfig.c xe_guc_hwconfig_lookup_u32). */
  while (at + 2 <= words && table[at] != 0) {
    check(table[at + 1] <= words - at - 2, "attribute %u runs over the end", table[at]);
    at += 2 + table[at + 1];
    attributes++;
  }
  check(attributes > 0, "no attributes");
  detail("%u attributes", attributes);
}

static void topology(const struct device *device, const struct engine *unused) {
  uint32_t size;
  uint8_t *data = query(device, DRM_XE_DEVICE_QUERY_GT_TOPOLOGY, "topology", &size);
  uint32_t at = 0;
  unsigned int dss = 0;

  (void)unused;
  while (at < size) {
    struct drm_xe_query_topology_mask *mask = (void *)(data + at);

    check(size - at >= sizeof(*mask) && mask->num_bytes <= size - at - sizeof(*mask),
          "a mask runs over the end");
    if (mask->type == DRM_XE_TOPO_DSS_COMPUTE || mask->type == DRM_XE_TOPO_DSS_GEOMETRY)
      for (uint32_t i = 0; i < mask->num_bytes; i++) dss += __builtin_popcount(mask->mask[i]);
    at += sizeof(*mask) + mask->num_bytes;
  }
  check(dss > 0, "no DSS");
}

static void engine_cycles(const struct device *device, const struct engine *unused) {
  struct drm_xe_query_engine_cycles cycles = {.eci = device->engines[0].instance, .clockid = 1};
  struct drm_xe_device_query ask = {.query = DRM_XE_DEVICE_QUERY_ENGINE_CYCLES,
                                    .size = sizeof(cycles),
                                    .data = (uintptr_t)&cycles};
  int error = try_ioctl(device, DRM_IOCTL_XE_DEVICE_QUERY, &ask);

  (void)unused;
  if (error == EOPNOTSUPP) {
    detail("EOPNOTSUPP: a VF");
    return;
  }
  check_errno("engine cycles", error, 0);
  check(cycles.width == 36 || cycles.width == 64, "%u bits", cycles.width);
}

static void firmware(const struct device *device, const struct engine *unused) {
  struct drm_xe_query_uc_fw_version version = {.uc_type = XE_QUERY_UC_TYPE_GUC_SUBMISSION};
  struct drm_xe_device_query ask = {.query = DRM_XE_DEVICE_QUERY_UC_FW_VERSION,
                                    .size = sizeof(version),
                                    .data = (uintptr_t)&version};

  (void)unused;
  check_errno("firmware version", try_ioctl(device, DRM_IOCTL_XE_DEVICE_QUERY, &ask), 0);
  check(version.major_ver >= 1, "GuC submission %u.%u", version.major_ver, version.minor_ver);
  detail("GuC submission %u.%u.%u", version.major_ver, version.minor_ver, version.patch_ver);
}

static void oa_units(const struct device *device, const struct engine *unused) {
  uint32_t size;
  struct drm_xe_query_oa_units *units =
      query(device, DRM_XE_DEVICE_QUERY_OA_UNITS, "OA units", &size);

  (void)unused;
  check(size >= sizeof(*units), "%u bytes", size);
  detail("%u units", units->num_oa_units);
}

/* Queries that a VF may answer with an error: only these are right. */
static void optional(const struct device *device, uint32_t id, const char *what) {
  void *data;
  uint32_t size;
  int error = device_query(device, id, &data, &size);

  check(error == 0 || error == ENODEV || error == EOPNOTSUPP, "%s: %s", what,
        strerrorname_np(error));
  detail("%s", error ? strerrorname_np(error) : "answered");
}

static void pxp_status(const struct device *device, const struct engine *unused) {
  (void)unused;
  optional(device, DRM_XE_DEVICE_QUERY_PXP_STATUS, "PXP status");
}

static void eu_stall(const struct device *device, const struct engine *unused) {
  (void)unused;
  optional(device, DRM_XE_DEVICE_QUERY_EU_STALL, "EU stall");
}

static void refusals(const struct device *device, const struct engine *unused) {
  struct drm_xe_device_query unknown = {.query = 1000};
  struct drm_xe_device_query wrong_size = {.query = DRM_XE_DEVICE_QUERY_CONFIG, .size = 1};
  struct drm_xe_device_query reserved = {.query = DRM_XE_DEVICE_QUERY_CONFIG, .reserved = {1}};

  (void)unused;
  check_errno("unknown query", try_ioctl(device, DRM_IOCTL_XE_DEVICE_QUERY, &unknown), EINVAL);
  check_errno("wrong size", try_ioctl(device, DRM_IOCTL_XE_DEVICE_QUERY, &wrong_size), EINVAL);
  check_errno("reserved field", try_ioctl(device, DRM_IOCTL_XE_DEVICE_QUERY, &reserved), EINVAL);
}

static const struct test_case cases[] = {
    {"query.engines", 0, engines},
    {"query.mem-regions", 0, regions},
    {"query.config", 0, config},
    {"query.gt-list", 0, gt_list},
    {"query.hwconfig", 0, hwconfig},
    {"query.topology", 0, topology},
    {"query.engine-cycles", 0, engine_cycles},
    {"query.uc-fw-version", 0, firmware},
    {"query.oa-units", 0, oa_units},
    {"query.pxp-status", 0, pxp_status},
    {"query.eu-stall", 0, eu_stall},
    {"query.refusals", 0, refusals},
};

const struct test_group query_group = GROUP(cases);
