/* Branches in batches: conditional ends, jumps, calls, predication. */
#include "fixture.h"

static bool holds(enum compare how, uint32_t a, uint32_t b) {
  switch (how) {
    case GREATER: return a > b;
    case GREATER_OR_EQUAL: return a >= b;
    case LESS: return a < b;
    case LESS_OR_EQUAL: return a <= b;
    case EQUAL: return a == b;
    case NOT_EQUAL: return a != b;
  }
  return false;
}

static void conditional_end(const struct device *device, const struct engine *engine) {
  static const uint32_t values[] = {0, 9, 10, 11, 0x80000000, 0xffffffff};
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (enum compare how = GREATER; how <= NOT_EQUAL; how++) {
    for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
      f.data.dwords[0] = values[i];
      f.data.dwords[2] = 0;
      end_unless(&f.batch, f.data.address, how, 10);
      store_dword(&f.batch, f.data.address + 8, 1);
      fixture_run(&f);
      check(f.data.dwords[2] == holds(how, values[i], 10), "%#x against 10, operation %d: %s",
            values[i], how, f.data.dwords[2] ? "went on" : "ended");
    }
  }
}

static void masked_end(const struct device *device, const struct engine *engine) {
  static const uint32_t masks[] = {0, 0x70, 0x78, 0xff, 0xff87, 0xffffffff};
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  /* With the mask mode (bit 19) what is compared is the dword masked by the one behind it. */
  for (unsigned int i = 0; i < ARRAY_SIZE(masks); i++) {
    uint32_t mask = masks[i];

    f.data.dwords[0] = 0x12345678;
    f.data.dwords[1] = mask;
    f.data.dwords[2] = 0;
    emit(&f.batch, MI_CONDITIONAL_BATCH_BUFFER_END | 1u << 21 | 1u << 19 | (uint32_t)EQUAL << 12);
    emit(&f.batch, 0x78);
    emit_address(&f.batch, f.data.address);
    store_dword(&f.batch, f.data.address + 8, 1);
    fixture_run(&f);
    check(f.data.dwords[2] == ((0x12345678 & mask) == 0x78), "mask %#x: %s", mask,
          f.data.dwords[2] ? "went on" : "ended");
  }
}

static void jumps(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch second, third;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&second, &f.vm, KIB(4));
  batch_create(&third, &f.vm, KIB(4));
  store_dword(&f.batch, f.data.address, 1);
  jump(&f.batch, second.buffer.address + 64);
  store_dword(&f.batch, f.data.address, 99); /* never comes here */
  second.count = 16;
  store_dword(&second, f.data.address + 4, 2);
  jump(&second, third.buffer.address);
  store_dword(&third, f.data.address + 8, 3);
  batch_end(&third);
  fixture_run(&f);
  check_dword("first", f.data.dwords[0], 1);
  check_dword("second", f.data.dwords[1], 2);
  check_dword("third", f.data.dwords[2], 3);
}

/* A second-level batch ends where it was called from; one that it chains to ends there too. */
static void calls(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch routine, tail;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&routine, &f.vm, KIB(4));
  batch_create(&tail, &f.vm, KIB(4));
  for (int i = 0; i < 3; i++) {
    call(&f.batch, routine.buffer.address);
    copy_dword(&f.batch, f.data.address + 16 + 4 * i, f.data.address);
  }
  load_register_qword(&routine, CS_GPR(0), 0);
  load_register_qword(&routine, CS_GPR(1), 10);
  load_register_from(&routine, CS_GPR(0), f.data.address);
  emit(&routine, MI_MATH(4));
  emit(&routine, ALU(ALU_LOAD, ALU_SRCA, 0));
  emit(&routine, ALU(ALU_LOAD, ALU_SRCB, 1));
  emit(&routine, ALU(ALU_ADD, 0, 0));
  emit(&routine, ALU(ALU_STORE, 0, ALU_ACCU));
  store_register(&routine, CS_GPR(0), f.data.address);
  /* Chaining from the second level needs the bit again, else it would be a first-level batch. */
  call(&routine, tail.buffer.address);
  store_dword(&tail, f.data.address + 4, 0x7a11);
  batch_end(&tail);
  fixture_run(&f);
  check_dword("the last sum", f.data.dwords[0], 30);
  check_dword("the chained batch", f.data.dwords[1], 0x7a11);
  for (int i = 0; i < 3; i++) check_dword("sum", f.data.dwords[4 + i], 10 * (i + 1));
}

/* A comparison that fails ends this level of batches (bit 18), or all of them. */
static void level_end(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch routine;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&routine, &f.vm, KIB(4));
  for (uint32_t this_level_only = 0; this_level_only <= 1; this_level_only++) {
    f.data.dwords[1] = f.data.dwords[2] = 0;
    emit(&routine, MI_CONDITIONAL_BATCH_BUFFER_END | 1u << 21 | (uint32_t)EQUAL << 12 |
                       this_level_only << 18);
    emit(&routine, 1);
    emit_address(&routine, f.data.address); /* holds 0 */
    store_dword(&routine, f.data.address + 4, 1);
    batch_end(&routine);
    call(&f.batch, routine.buffer.address);
    store_dword(&f.batch, f.data.address + 8, 1);
    fixture_run(&f);
    routine.count = 0;
    check_dword("in the batch that ends", f.data.dwords[1], 0);
    check_dword("in the batch that called it", f.data.dwords[2], this_level_only);
  }
}

/* A loop of a batch of its own counts down to zero. */
static void loop(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  f.data.dwords[0] = 200;
  load_register_qword(&f.batch, CS_GPR(0), 200);
  load_register_qword(&f.batch, CS_GPR(1), 1);
  load_register_qword(&f.batch, CS_GPR(2), 0);
  uint64_t lap = batch_here(&f.batch);
  emit(&f.batch, MI_MATH(8));
  emit(&f.batch, ALU(ALU_LOAD, ALU_SRCA, 0));
  emit(&f.batch, ALU(ALU_LOAD, ALU_SRCB, 1));
  emit(&f.batch, ALU(ALU_SUB, 0, 0));
  emit(&f.batch, ALU(ALU_STORE, 0, ALU_ACCU));
  emit(&f.batch, ALU(ALU_LOAD, ALU_SRCA, 2));
  emit(&f.batch, ALU(ALU_LOAD, ALU_SRCB, 1));
  emit(&f.batch, ALU(ALU_ADD, 0, 0));
  emit(&f.batch, ALU(ALU_STORE, 2, ALU_ACCU));
  store_register(&f.batch, CS_GPR(0), f.data.address);
  store_register(&f.batch, CS_GPR(2), f.data.address + 4);
  end_unless(&f.batch, f.data.address, NOT_EQUAL, 0);
  jump(&f.batch, lap);
  fixture_run(&f);
  check_dword("counted down", f.data.dwords[0], 0);
  check_dword("laps", f.data.dwords[1], 200);
}

/* MI_SET_PREDICATE: what follows is skipped or not, by MI_PREDICATE_RESULT_2 (as
 * intel/compute-runtime uses it, EncodeMiPredicate). */
static void set_predicate(const struct device *device, const struct engine *engine) {
  enum { NEVER = 0, ON_CLEAR = 1, ON_SET = 2, ALWAYS = 15 };
  static const struct {
    uint32_t result, how;
    bool stores;
  } table[] = {
      {0, NEVER, true},   {1, NEVER, true},  {0, ON_CLEAR, false}, {1, ON_CLEAR, true},
      {0, ON_SET, true},  {1, ON_SET, false}, {0, ALWAYS, false},   {1, ALWAYS, false},
  };
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
    f.data.dwords[0] = 0;
    f.data.dwords[1] = 0;
    load_register(&f.batch, MI_PREDICATE_RESULT_2, table[i].result);
    emit(&f.batch, MI_SET_PREDICATE(table[i].how));
    store_dword(&f.batch, f.data.address, 1);
    emit(&f.batch, MI_SET_PREDICATE(NEVER));
    store_dword(&f.batch, f.data.address + 4, 1);
    fixture_run(&f);
    check(f.data.dwords[0] == table[i].stores, "result %u, predicate %u: %s", table[i].result,
          table[i].how, f.data.dwords[0] ? "stored" : "skipped");
    check_dword("after the predicate", f.data.dwords[1], 1);
  }
}

/* A branch that is taken or not, as Mesa's mi_builder.h makes it (mi_goto_if). */
static void predicated_jump(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch target;

  fixture_create(&f, device, engine, KIB(4));
  batch_create(&target, &f.vm, KIB(4));
  emit(&target, MI_SET_PREDICATE(0));
  store_dword(&target, f.data.address, 2);
  batch_end(&target);
  for (uint32_t taken = 0; taken <= 1; taken++) {
    load_register(&f.batch, MI_PREDICATE_RESULT, taken);
    emit(&f.batch, MI_SET_PREDICATE(3)); /* skip when the result is clear */
    emit(&f.batch, MI_BATCH_BUFFER_START | MI_PPGTT | MI_PREDICATION);
    emit_address(&f.batch, target.buffer.address);
    emit(&f.batch, MI_SET_PREDICATE(0));
    store_dword(&f.batch, f.data.address, 1);
    fixture_run(&f);
    check_dword("branch", f.data.dwords[0], 1 + taken);
  }
}

/* MI_PREDICATE computes MI_PREDICATE_RESULT; only the render engine has it. */
static void predicate(const struct device *device, const struct engine *engine) {
  enum { LOAD = 2 << 6, LOADINV = 3 << 6, SET = 0 << 3, AND = 1 << 3, OR = 2 << 3, XOR = 3 << 3 };
  enum { SRCS_EQUAL = 2 };
  static const struct {
    uint64_t a, b;
    uint32_t first; /* the result before: 0 or 1 */
    uint32_t operation;
    uint32_t result;
  } table[] = {
      {5, 5, 0, LOAD | SET, 1},    {5, 6, 1, LOAD | SET, 0},    {5, 5, 1, LOADINV | SET, 0},
      {5, 6, 0, LOADINV | SET, 1}, {5, 5, 0, LOAD | AND, 0},    {5, 5, 1, LOAD | AND, 1},
      {5, 6, 1, LOAD | OR, 1},     {5, 6, 0, LOAD | OR, 0},     {5, 5, 1, LOAD | XOR, 0},
      {5, 5, 0, LOAD | XOR, 1},    {1ull << 32, 0, 1, LOAD | SET, 0},
  };
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
    load_register_qword(&f.batch, MI_PREDICATE_SRC0, table[i].first);
    load_register_qword(&f.batch, MI_PREDICATE_SRC1, 1);
    emit(&f.batch, MI_PREDICATE | LOAD | SET | SRCS_EQUAL);
    load_register_qword(&f.batch, MI_PREDICATE_SRC0, table[i].a);
    load_register_qword(&f.batch, MI_PREDICATE_SRC1, table[i].b);
    emit(&f.batch, MI_PREDICATE | table[i].operation | SRCS_EQUAL);
    store_register(&f.batch, MI_PREDICATE_RESULT, f.data.address);
    fixture_run(&f);
    check((f.data.dwords[0] & 1) == table[i].result, "operation %u: result %u", i,
          f.data.dwords[0]);
  }
}

static const struct test_case cases[] = {
    {"flow.conditional-end", ON_EVERY, conditional_end},
    {"flow.masked-end", ON_EVERY, masked_end},
    {"flow.jumps", ON_EVERY, jumps},
    {"flow.calls", ON_EVERY, calls},
    {"flow.level-end", ON_EVERY, level_end},
    {"flow.loop", ON_EVERY, loop},
    {"flow.set-predicate", ON_RENDER | ON_COMPUTE | ON_COPY, set_predicate},
    {"flow.predicated-jump", ON_RENDER | ON_COMPUTE, predicated_jump},
    {"flow.predicate", ON_RENDER, predicate},
};

const struct test_group flow_group = GROUP(cases);
