/*
 * MI_ATOMIC. Operations 1 to 15 are of dwords, 0x21 to 0x2f of qwords: Intel's PRM volume 2a; Mesa's
 * src/intel/genxml, Atomic_OPCODE; intel/compute-runtime, ATOMIC_OPCODES.
 */
#include "fixture.h"

enum operation {
  AND = 1,
  OR,
  XOR,
  MOVE,
  INCREMENT,
  DECREMENT,
  ADD,
  SUB,
  REVERSE_SUB,
  SIGNED_MAX,
  SIGNED_MIN,
  UNSIGNED_MAX,
  UNSIGNED_MIN,
  COMPARE_WRITE,
};

#define QWORD 0x20u

static uint64_t expected(enum operation operation, uint64_t old, uint64_t a, uint64_t b,
                         bool qword) {
  int64_t signed_old = qword ? (int64_t)old : (int32_t)old;
  int64_t signed_a = qword ? (int64_t)a : (int32_t)a;

  switch (operation) {
    case AND: return old & a;
    case OR: return old | a;
    case XOR: return old ^ a;
    case MOVE: return a;
    case INCREMENT: return old + 1;
    case DECREMENT: return old - 1;
    case ADD: return old + a;
    case SUB: return old - a;
    case REVERSE_SUB: return a - old;
    case SIGNED_MAX: return signed_old > signed_a ? old : a;
    case SIGNED_MIN: return signed_old < signed_a ? old : a;
    case UNSIGNED_MAX: return old > a ? old : a;
    case UNSIGNED_MIN: return old < a ? old : a;
    case COMPARE_WRITE: return old == a ? b : old;
  }
  return 0;
}

/* Bits 20:19: the size; bits 15:8: what is done. */
static uint32_t operation_bits(enum operation operation, bool qword) {
  return (uint32_t)qword << 19 | (operation | (qword ? QWORD : 0)) << 8;
}

#define INLINE_DATA (1u << 18)
#define RETURN_DATA (1u << 16 | 1u << 17) /* and the streamer waits for them */

/* Operands interleaved by dword: the low of both, then the high of both, up to 16 bytes each. */
static void atomic(struct batch *batch, uint32_t flags, enum operation operation, bool qword,
                   uint64_t address, uint64_t a, uint64_t b) {
  emit(batch, MI_ATOMIC(true) | INLINE_DATA | flags | operation_bits(operation, qword));
  emit_address(batch, address);
  emit(batch, (uint32_t)a);
  emit(batch, (uint32_t)b);
  emit(batch, (uint32_t)(a >> 32));
  emit(batch, (uint32_t)(b >> 32));
  for (int i = 0; i < 4; i++) emit(batch, 0);
}

/* Where atomics work: on a discrete GPU that is its own memory. */
static void atomic_buffer(struct buffer *buffer, struct vm *vm) {
  buffer_bound(buffer, vm, KIB(4), vram_region(vm->device));
}

static void check_all(const struct device *device, const struct engine *engine, bool qword) {
  static const uint64_t values[][3] = {
      /* in memory, operand 1, operand 2 */
      {0x00000000ffffffffull, 0x0000000000000001ull, 7},
      {0x8000000080000000ull, 0x7fffffff7fffffffull, 7},
      {0x1234567812345678ull, 0x1234567812345678ull, 0xabcdef01abcdef01ull},
      {0xf0f0f0f0f0f0f0f0ull, 0x0ff00ff00ff00ff0ull, 7},
  };
  uint64_t mask = qword ? ~0ull : 0xffffffff;
  struct fixture f;
  struct buffer data;

  fixture_create(&f, device, engine, KIB(4));
  atomic_buffer(&data, &f.vm);
  for (unsigned int v = 0; v < ARRAY_SIZE(values); v++) {
    uint64_t old = values[v][0], a = values[v][1], b = values[v][2];

    for (enum operation operation = AND; operation <= COMPARE_WRITE; operation++) {
      data.qwords[operation] = old;
      atomic(&f.batch, 0, operation, qword, data.address + 8 * operation, a, b);
    }
    fixture_run(&f);
    for (enum operation operation = AND; operation <= COMPARE_WRITE; operation++) {
      uint64_t want = expected(operation, old & mask, a & mask, b & mask, qword) & mask;
      uint64_t got = data.qwords[operation];

      /* A dword's neighbour stays as it was. */
      want |= old & ~mask;
      check(got == want, "operation %#x of %#llx and %#llx: %#llx, want %#llx",
            operation | (qword ? QWORD : 0), (unsigned long long)old, (unsigned long long)a,
            (unsigned long long)got, (unsigned long long)want);
    }
  }
}

static void dwords(const struct device *device, const struct engine *engine) {
  check_all(device, engine, false);
}

static void qwords(const struct device *device, const struct engine *engine) {
  check_all(device, engine, true);
}

static void without_operands(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct buffer data;

  fixture_create(&f, device, engine, KIB(4));
  atomic_buffer(&data, &f.vm);
  data.dwords[0] = 0x123456;
  data.dwords[2] = 0x123456;
  for (int i = 0; i < 3; i++) {
    emit(&f.batch, MI_ATOMIC(false) | INCREMENT << 8);
    emit_address(&f.batch, data.address);
    emit(&f.batch, MI_ATOMIC(false) | DECREMENT << 8);
    emit_address(&f.batch, data.address + 8);
  }
  fixture_run(&f);
  check_dword("incremented", data.dwords[0], 0x123459);
  check_dword("decremented", data.dwords[2], 0x123453);
}

/* What was in memory before is returned in GPR 4, and nothing is where nobody asked for it. */
static void returned(const struct device *device, const struct engine *engine) {
  static const uint64_t old = 0x1122334455667788ull, untouched = 0xdeaddeaddeaddeadull;
  struct fixture f;
  struct buffer data;

  fixture_create(&f, device, engine, KIB(4));
  atomic_buffer(&data, &f.vm);
  for (uint32_t i = 0; i < 3; i++) {
    uint64_t address = data.address + 64 * i;

    data.qwords[8 * i] = old;
    load_register_qword(&f.batch, CS_GPR(4), untouched);
    atomic(&f.batch, i == 2 ? 0 : RETURN_DATA, ADD, i == 1, address, 0x100, 0);
    store_register_qword(&f.batch, CS_GPR(4), address + 32);
  }
  fixture_run(&f);
  check_dword("sum of dwords", data.dwords[0], (uint32_t)old + 0x100);
  check_dword("dword returned", data.dwords[8], (uint32_t)old);
  check_qword("sum of qwords", data.qwords[8], old + 0x100);
  check_qword("qword returned", data.qwords[12], old);
  check_qword("returned although not asked for", data.qwords[20], untouched);
}

/* Operands in GPRs: the first in 0, the second in 2. */
static void operands_in_registers(const struct device *device, const struct engine *engine) {
  static const uint64_t old = 0x1122334455667788ull, new = 0x99aabbccddeeff00ull;
  struct fixture f;
  struct buffer data;

  fixture_create(&f, device, engine, KIB(4));
  atomic_buffer(&data, &f.vm);
  data.qwords[0] = data.qwords[1] = data.qwords[2] = old;
  load_register_qword(&f.batch, CS_GPR(0), old);
  load_register_qword(&f.batch, CS_GPR(2), new);
  emit(&f.batch, MI_ATOMIC(false) | operation_bits(COMPARE_WRITE, true));
  emit_address(&f.batch, data.address);
  load_register(&f.batch, CS_GPR(0), 5);
  emit(&f.batch, MI_ATOMIC(false) | RETURN_DATA | operation_bits(SUB, false));
  emit_address(&f.batch, data.address + 8);
  store_register(&f.batch, CS_GPR(4), data.address + 64);
  /* It is not what GPR 0 says now. */
  emit(&f.batch, MI_ATOMIC(false) | operation_bits(COMPARE_WRITE, true));
  emit_address(&f.batch, data.address + 16);
  fixture_run(&f);
  check_qword("compared and written", data.qwords[0], new);
  check_dword("subtracted", data.dwords[2], (uint32_t)old - 5);
  check_dword("beside it", data.dwords[3], (uint32_t)(old >> 32));
  check_dword("returned", data.dwords[16], (uint32_t)old);
  check_qword("compared and not written", data.qwords[2], old);
}

/* Every engine at once adds to the same dword: no addition is lost. */
static void contended(const struct device *device, const struct engine *unused) {
  enum { ADDITIONS = 200 };
  struct vm vm;
  struct buffer data;
  struct queue queues[MAX_ENGINES];
  struct batch batches[MAX_ENGINES];
  uint32_t done[MAX_ENGINES];

  (void)unused;
  vm_create(&vm, device, 0);
  atomic_buffer(&data, &vm);
  for (unsigned int i = 0; i < device->engine_count; i++) {
    queue_create(&queues[i], &vm, &device->engines[i]);
    batch_create(&batches[i], &vm, KIB(16));
    done[i] = syncobj_create(device);
    /* All start together. */
    semaphore_wait(&batches[i], data.address + 64, EQUAL, 1);
    for (int n = 0; n < ADDITIONS; n++) atomic(&batches[i], 0, ADD, false, data.address, i + 1, 0);
    batch_end(&batches[i]);
    submit(&queues[i], batches[i].buffer.address, done[i]);
  }
  *(volatile uint32_t *)&data.dwords[16] = 1;
  for (unsigned int i = 0; i < device->engine_count; i++)
    check_errno("wait", syncobj_wait(device, done[i], WAIT_NS), 0);
  check_dword("sum", data.dwords[0],
              ADDITIONS * device->engine_count * (device->engine_count + 1) / 2);
}

static const struct test_case cases[] = {
    {"atomic.dwords", ON_EVERY, dwords},
    {"atomic.qwords", ON_EVERY, qwords},
    {"atomic.without-operands", ON_EVERY, without_operands},
    {"atomic.returned", ON_EVERY, returned},
    {"atomic.operands-in-registers", ON_EVERY, operands_in_registers},
    {"atomic.contended", 0, contended},
};

const struct test_group atomic_group = GROUP(cases);
