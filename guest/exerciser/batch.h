/*
 * Batch buffers, MI commands and the blitter's commands.
 *
 * MI: drivers/gpu/drm/xe/instructions/xe_mi_commands.h, xe_alu_commands.h; Intel's PRM for Xe2,
 * volume 2a, as the MIT-licensed command definitions of intel/compute-runtime restate it
 * (shared/source/generated/xe2_hpg_core and xe3_core, hw_cmds_generated_*.inl).
 */
#ifndef BATCH_H
#define BATCH_H

#include "exerciser.h"

struct batch {
  struct buffer buffer;
  unsigned int count; /* dwords written */
};

void batch_create(struct batch *batch, struct vm *vm, uint64_t size);
/* The same, in this region. */
void batch_create_in(struct batch *batch, struct vm *vm, uint64_t size,
                     const struct drm_xe_mem_region *region);
void emit(struct batch *batch, uint32_t dword);
void emit_address(struct batch *batch, uint64_t address);
/* The address of the next dword. */
uint64_t batch_here(const struct batch *batch);
/* Ends the batch. */
void batch_end(struct batch *batch);
/* Ends the batch, runs it and waits; then it can be written anew. */
void batch_run(struct batch *batch, const struct queue *queue);

#define MI_COMMAND(opcode, dwords) ((uint32_t)(opcode) << 23 | ((dwords) - 2))
#define MI_NOOP 0
#define MI_SET_PREDICATE(how) (0x01u << 23 | (how))
#define MI_ARB_CHECK (0x05u << 23)
#define MI_ARB_ON_OFF(on) (0x08u << 23 | (on))
#define MI_BATCH_BUFFER_END (0x0au << 23)
#define MI_PREDICATE (0x0cu << 23)
#define MI_SEMAPHORE_SIGNAL MI_COMMAND(0x1b, 2)
#define MI_MATH(instructions) MI_COMMAND(0x1a, (instructions) + 1)
#define MI_SEMAPHORE_WAIT MI_COMMAND(0x1c, 5)
#define MI_STORE_DATA_IMM MI_COMMAND(0x20, 4)
#define MI_STORE_DATA_IMM_QWORD (MI_COMMAND(0x20, 5) | 1 << 21)
#define MI_LOAD_REGISTER_IMM(n) MI_COMMAND(0x22, 2 * (n) + 1)
#define MI_STORE_REGISTER_MEM MI_COMMAND(0x24, 4)
#define MI_FLUSH_DW_QWORD MI_COMMAND(0x26, 5)
#define MI_LOAD_REGISTER_MEM MI_COMMAND(0x29, 4)
#define MI_LOAD_REGISTER_REG MI_COMMAND(0x2a, 3)
#define MI_COPY_MEM_MEM MI_COMMAND(0x2e, 5)
#define MI_ATOMIC(inline_data) MI_COMMAND(0x2f, (inline_data) ? 11 : 3)
#define MI_BATCH_BUFFER_START MI_COMMAND(0x31, 3)
#define MI_CONDITIONAL_BATCH_BUFFER_END MI_COMMAND(0x36, 4)
#define MI_MEM_FENCE(type) (0x09u << 23 | (type))
#define PIPE_CONTROL (0x7a000000u | 4)

#define MI_GLOBAL_GTT (1u << 22)
#define MI_PPGTT (1u << 8)        /* MI_BATCH_BUFFER_START */
#define MI_SECOND_LEVEL (1u << 22) /* MI_BATCH_BUFFER_START */
#define MI_PREDICATION (1u << 15) /* MI_BATCH_BUFFER_START */
#define MI_CS_MMIO (1u << 19)     /* the register's offset is relative to the engine's base */
#define MI_LRR_CS_MMIO (3u << 18)
#define MI_SEMAPHORE_POLL (1u << 15) /* else it waits for a signal */

/* A register as a batch names it: relative to the engine's base. */
#define CS_GPR(n) (0x600 + 8 * (n))
#define CTX_TIMESTAMP 0x3a8
#define MI_PREDICATE_RESULT_2 0x3bc
#define MI_PREDICATE_SRC0 0x400
#define MI_PREDICATE_SRC1 0x408
#define MI_PREDICATE_RESULT 0x418

/* How a value in memory (SAD, MAD) compares with one in the command. */
enum compare { GREATER, GREATER_OR_EQUAL, LESS, LESS_OR_EQUAL, EQUAL, NOT_EQUAL };

void store_dword(struct batch *batch, uint64_t address, uint32_t value);
void store_qword(struct batch *batch, uint64_t address, uint64_t value);
void copy_dword(struct batch *batch, uint64_t to, uint64_t from);
void load_register(struct batch *batch, uint32_t reg, uint32_t value);
void load_register_qword(struct batch *batch, uint32_t reg, uint64_t value);
void load_register_from(struct batch *batch, uint32_t reg, uint64_t address);
void load_register_register(struct batch *batch, uint32_t reg, uint32_t from);
void store_register(struct batch *batch, uint32_t reg, uint64_t address);
void store_register_qword(struct batch *batch, uint32_t reg, uint64_t address);
void jump(struct batch *batch, uint64_t address);
void call(struct batch *batch, uint64_t address);
void semaphore_wait(struct batch *batch, uint64_t address, enum compare how, uint32_t value);
/* The same, without looking until there is a signal for its context. */
void semaphore_wait_signal(struct batch *batch, uint64_t address, enum compare how,
                           uint32_t value);
/* The batch goes on while the comparison holds. */
void end_unless(struct batch *batch, uint64_t address, enum compare how, uint32_t value);

#define ALU(opcode, a, b) ((uint32_t)(opcode) << 20 | (uint32_t)(a) << 10 | (uint32_t)(b))
enum alu_opcode {
  ALU_LOAD = 0x080,
  ALU_LOADINV = 0x480,
  ALU_LOAD0 = 0x081,
  ALU_LOAD1 = 0x481,
  ALU_ADD = 0x100,
  ALU_SUB = 0x101,
  ALU_AND = 0x102,
  ALU_OR = 0x103,
  ALU_XOR = 0x104,
  ALU_SHL = 0x105,
  ALU_SHR = 0x106,
  ALU_SAR = 0x107,
  ALU_STORE = 0x180,
  ALU_STOREINV = 0x580,
};
enum alu_operand { ALU_SRCA = 0x20, ALU_SRCB, ALU_ACCU = 0x31, ALU_ZF, ALU_CF };

/* A batch that goes on while `*end` is 1; it sets `*started` to 1 and counts in `*laps`. */
struct spinner {
  struct batch batch;
  volatile uint32_t *started;
  volatile uint32_t *end;
  volatile uint32_t *laps;
};
void spinner_create(struct spinner *spinner, struct vm *vm, bool preemptible);
void spinner_wait_started(const struct spinner *spinner);
void spinner_stop(const struct spinner *spinner);

/* ---- the blitter: blitter.c ---- */

enum tiling { LINEAR, X_MAJOR, TILE4, TILE64 };

struct surface {
  uint64_t address;
  enum tiling tiling;
  uint32_t pitch; /* bytes */
  uint32_t width, height; /* pixels */
  uint32_t cpp; /* bytes a pixel: 1, 2, 4, 8 or 16 */
  bool in_vram;
};

struct rectangle {
  uint32_t x, y, width, height; /* pixels */
};

void mem_copy(struct batch *batch, uint64_t to, uint64_t from, uint32_t size);
void mem_copy_matrix(struct batch *batch, uint64_t to, uint32_t to_pitch, uint64_t from,
                     uint32_t from_pitch, uint32_t width, uint32_t height);
void mem_copy_pages(struct batch *batch, uint64_t to, uint64_t from, uint32_t pages_256);
void mem_set(struct batch *batch, uint64_t to, uint8_t value, uint32_t size);
void mem_set_matrix(struct batch *batch, uint64_t to, uint32_t pitch, uint8_t value,
                    uint32_t width, uint32_t height);
/* Copies `from`'s rectangle to (x, y) of `to`. */
void block_copy(struct batch *batch, const struct surface *to, uint32_t x, uint32_t y,
                const struct surface *from, struct rectangle area);
void fast_copy(struct batch *batch, const struct surface *to, uint32_t x, uint32_t y,
               const struct surface *from, struct rectangle area);
void fast_color(struct batch *batch, const struct surface *to, struct rectangle area,
                const uint32_t color[4]);
/* Copies the CCS metadata of `pages` 4 KiB pages: 8 bytes a page. */
void ccs_read(struct batch *batch, uint64_t to, uint64_t of_surface, uint32_t pages);
void ccs_write(struct batch *batch, uint64_t of_surface, uint64_t from, uint32_t pages);

/* ---- where a byte of a tiled surface lies: tiling.c ---- */

/* Bytes and rows that a tile of this layout is wide and high. */
void tile_size(enum tiling tiling, uint32_t cpp, uint32_t *width, uint32_t *height);
/* Offset of the byte `x` bytes from the left in row `y`. */
uint64_t tiled_offset(enum tiling tiling, uint32_t cpp, uint32_t pitch, uint32_t x, uint32_t y);

#endif
