/*
 * The GPU exerciser drives the xe kernel driver's uAPI with raw ioctls and checks every result
 * byte by byte. Facts of the uAPI: include/uapi/drm/xe_drm.h of Linux 7.3 and drivers/gpu/drm/xe.
 *
 * Every case runs in a process of its own with its own open device, so that whatever it leaves
 * behind (queues that were banned, mappings, a hung process) ends with it.
 */
#ifndef EXERCISER_H
#define EXERCISER_H

#include <drm/drm.h>
#include <drm/xe_drm.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h> /* strerrorname_np */

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Long enough for a slow emulator: a device that needs it is broken. The loop, whose device is moved
 * meanwhile, sets it higher. */
extern int64_t wait_limit_ns;
#define WAIT_NS wait_limit_ns

/* A PAT index with write-back caching and two-way coherency on Xe2 and Xe3 (xe_pat.c
 * xe2_pat_table), and the first one with compression, which only WC buffers may use. */
#define PAT_UNCACHED 0
#define PAT_COHERENT 2
#define PAT_COMPRESSED 9

/* ---- results: runner.c ---- */

/* Ends the case as failed, or as skipped, with a one-line detail. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void skip(const char *format, ...);
/* Shown after the case's name when it is ok. */
__attribute__((format(printf, 1, 2))) void detail(const char *format, ...);

#define check(condition, ...) \
  do {                        \
    if (!(condition)) fail(__VA_ARGS__); \
  } while (0)

/* Fails unless both hold the same bytes, naming the first difference and how many there are. */
void check_bytes(const char *what, const void *got, const void *want, size_t size);
void check_dword(const char *what, uint32_t got, uint32_t want);
void check_qword(const char *what, uint64_t got, uint64_t want);
/* Fails unless an ioctl ended with this errno (0: it succeeded). */
void check_errno(const char *what, int got, int want);

uint64_t now_ns(void);
void sleep_ms(unsigned int ms);
/* The same bytes for the same seed, everywhere. */
void fill_random(void *bytes, size_t size, uint32_t seed);

/* ---- the device: device.c, query.c ---- */

#define MAX_ENGINES 32
#define MAX_REGIONS 4

struct engine {
  struct drm_xe_engine_class_instance instance;
  char name[20]; /* rcs0, bcs0, ... */
};

struct device {
  int fd;
  char path[64];
  char sysfs[160]; /* of the PCI function */
  struct engine engines[MAX_ENGINES];
  unsigned int engine_count;
  struct drm_xe_mem_region regions[MAX_REGIONS];
  unsigned int region_count;
  uint64_t config[8];
};

/* Opens the render node and asks what it has; fails the case when it is no xe device. */
void device_open(struct device *device, const char *path);
const char *engine_class_name(unsigned int engine_class);
const struct engine *find_engine(const struct device *device, unsigned int engine_class);
/* The region of VRAM, or NULL on an integrated GPU. */
const struct drm_xe_mem_region *vram_region(const struct device *device);
const char *region_name(const struct drm_xe_mem_region *region);
/* 0 or the errno. An ioctl that was interrupted is made again. */
int try_ioctl(const struct device *device, unsigned long request, void *argument);
/* Fails the case when the ioctl does. */
void do_ioctl(const struct device *device, unsigned long request, void *argument,
              const char *what);
/* Asks for the size, then the data, which the caller frees; returns an errno. */
int device_query(const struct device *device, uint32_t query, void **data, uint32_t *size);

/* ---- memory: memory.c, bind.c ---- */

struct vm {
  const struct device *device;
  uint32_t id;
  uint64_t next; /* the next free address */
};

struct buffer {
  struct vm *vm;
  const struct drm_xe_mem_region *region;
  uint32_t handle;
  uint64_t size;
  uint64_t address; /* in the VM; 0 when it is not bound */
  union {
    void *map;
    uint8_t *bytes;
    uint32_t *dwords;
    uint64_t *qwords;
  };
};

void vm_create(struct vm *vm, const struct device *device, uint32_t flags);
int try_vm_create(struct vm *vm, const struct device *device, uint32_t flags);
/* Reserves addresses; `alignment` is a power of two of at least 4 KiB. */
uint64_t vm_reserve(struct vm *vm, uint64_t size, uint64_t alignment);

int try_gem_create(const struct device *device, struct drm_xe_gem_create *create);
/* A buffer that is mapped for the CPU but not bound; of the first region when `region` is NULL. */
void buffer_create(struct buffer *buffer, struct vm *vm, uint64_t size,
                   const struct drm_xe_mem_region *region);
void buffer_create_caching(struct buffer *buffer, struct vm *vm, uint64_t size,
                           const struct drm_xe_mem_region *region, uint16_t cpu_caching);
/* A buffer of a discrete GPU that may lie in system memory and in VRAM, mapped but not bound. */
void buffer_create_movable(struct buffer *buffer, struct vm *vm, uint64_t size);
/* A buffer that is mapped for the CPU and bound at the next free address. */
void buffer_bound(struct buffer *buffer, struct vm *vm, uint64_t size,
                  const struct drm_xe_mem_region *region);
void *gem_map(const struct device *device, uint32_t handle, uint64_t size);
void gem_close(const struct device *device, uint32_t handle);

struct drm_xe_vm_bind_op bind_map(const struct buffer *buffer, uint64_t offset, uint64_t range,
                                  uint64_t address);
struct drm_xe_vm_bind_op bind_null(uint64_t range, uint64_t address);
struct drm_xe_vm_bind_op bind_unmap(uint64_t range, uint64_t address);
int try_bind(struct vm *vm, const struct drm_xe_vm_bind_op *ops, uint32_t count,
             struct drm_xe_sync *syncs, uint32_t sync_count, uint32_t queue);
/* Binds and waits until it is done. */
void bind_and_wait(struct vm *vm, const struct drm_xe_vm_bind_op *ops, uint32_t count);
void buffer_bind(struct buffer *buffer, uint64_t address);
/* Has the driver move what is bound to this memory. */
void buffer_prefetch(struct buffer *buffer, const struct drm_xe_mem_region *region);

/* ---- synchronisation: sync.c ---- */

uint32_t syncobj_create(const struct device *device);
void syncobj_destroy(const struct device *device, uint32_t handle);
/* 0 or the errno: ETIME when it is not signalled in time. */
int syncobj_wait(const struct device *device, uint32_t handle, int64_t timeout_ns);
int timeline_wait(const struct device *device, uint32_t handle, uint64_t point,
                  int64_t timeout_ns);
/* What its fence ended with: 1 signalled, 0 not yet, or a negative errno. */
int syncobj_status(const struct device *device, uint32_t handle);
struct drm_xe_sync sync_in(uint32_t handle);
struct drm_xe_sync sync_out(uint32_t handle);
struct drm_xe_sync user_fence(uint64_t address, uint64_t value);
/* 0 or the errno: ETIME, or EIO when the queue (0: none) was reset meanwhile. */
int wait_user_fence(const struct device *device, const void *address, uint64_t value,
                    uint32_t queue, int64_t timeout_ns);

/* ---- queues: queue.c ---- */

struct queue {
  struct vm *vm;
  uint32_t id;
};

void queue_create(struct queue *queue, struct vm *vm, const struct engine *engine);
/* One property more (DRM_XE_EXEC_QUEUE_SET_PROPERTY_*). */
int try_queue_property(struct queue *queue, struct vm *vm, const struct engine *engine,
                       uint32_t property, uint64_t value);
int try_queue_create(struct queue *queue, struct vm *vm, struct drm_xe_exec_queue_create *create);
void queue_destroy(struct queue *queue);
bool queue_banned(const struct queue *queue);
int try_exec(const struct queue *queue, uint64_t address, struct drm_xe_sync *syncs,
             uint32_t count);
void submit(const struct queue *queue, uint64_t address, uint32_t out_syncobj);
/* Runs what is at `address` and waits; fails the case when the job does not end well. */
void run_at(const struct queue *queue, uint64_t address);

/* ---- cases: the case_*.c files ---- */

#define ON_RENDER (1 << DRM_XE_ENGINE_CLASS_RENDER)
#define ON_COPY (1 << DRM_XE_ENGINE_CLASS_COPY)
#define ON_DECODE (1 << DRM_XE_ENGINE_CLASS_VIDEO_DECODE)
#define ON_ENHANCE (1 << DRM_XE_ENGINE_CLASS_VIDEO_ENHANCE)
#define ON_COMPUTE (1 << DRM_XE_ENGINE_CLASS_COMPUTE)
#define ON_EVERY (ON_RENDER | ON_COPY | ON_DECODE | ON_ENHANCE | ON_COMPUTE)

struct test_case {
  const char *name;
  /* Once for every engine of these classes, as NAME@ENGINE; 0: once, without one. */
  unsigned int classes;
  void (*run)(const struct device *device, const struct engine *engine);
};

struct test_group {
  const struct test_case *cases;
  unsigned int count;
};

#define GROUP(array) {array, ARRAY_SIZE(array)}

extern const struct test_group query_group, memory_group, bind_group, page_group, sync_group,
    exec_group, queue_group, store_group, register_group, flow_group, semaphore_group,
    atomic_group, linear_group, tiled_group, compression_group, preempt_group, parallel_group,
    fault_group, error_group, privilege_group;

/* ---- loop.c ---- */

/* The self-checking mix of `--loop` and the companions that are named in `with` (NULL: none), parted
 * by commas; returns the exit status. */
int run_loop(const char *path, unsigned int seconds, char *with);

/* ---- spin.c ---- */

/* `--spin`: an endless job on the first engine of each device, all at once, for so many seconds; prints
 * `laps PATH N` for each, how far it came. Returns the exit status. */
int run_spin(const char *const *paths, unsigned int count, unsigned int seconds);

#endif
