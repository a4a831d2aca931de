/* MI commands that move registers, and the command streamer's arithmetic. */
#include "fixture.h"

#define SHORT_OF_A_PAGE 500

static void immediate(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  /* All sixteen at once: none shares anything with another. */
  for (uint32_t n = 0; n < 16; n++)
    load_register_qword(&f.batch, CS_GPR(n), 0x1111111100000000ull * n + 0x0f0f0f0f + n);
  for (uint32_t n = 0; n < 16; n++)
    store_register_qword(&f.batch, CS_GPR(n), f.data.address + 8 * n);
  fixture_run(&f);
  for (uint32_t n = 0; n < 16; n++)
    check_qword("register", f.data.qwords[n], 0x1111111100000000ull * n + 0x0f0f0f0f + n);
}

static void moves(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  f.data.dwords[0] = 0x13579bdf;
  load_register_qword(&f.batch, CS_GPR(3), ~0ull);
  load_register_from(&f.batch, CS_GPR(3), f.data.address);
  store_register_qword(&f.batch, CS_GPR(3), f.data.address + 8);
  load_register_register(&f.batch, CS_GPR(7) + 4, CS_GPR(3));
  store_register(&f.batch, CS_GPR(7) + 4, f.data.address + 16);
  fixture_run(&f);
  check_qword("register from memory", f.data.qwords[1], 0xffffffff13579bdfull);
  check_dword("register from register", f.data.dwords[4], 0x13579bdf);
}

struct sum {
  uint32_t opcode;
  uint64_t a, b, result;
  bool carry;
};

static void arithmetic(const struct device *device, const struct engine *engine) {
  static const struct sum sums[] = {
      {ALU_ADD, 2, 3, 5, false},
      {ALU_ADD, ~0ull, 1, 0, true},
      {ALU_ADD, 0xffffffff, 1, 0x100000000ull, false},
      {ALU_ADD, 0x8000000000000000ull, 0x8000000000000001ull, 1, true},
      {ALU_SUB, 5, 3, 2, false},
      {ALU_SUB, 7, 7, 0, false},
      {ALU_SUB, 3, 5, ~0ull - 1, true},
      {ALU_SUB, 0x100000000ull, 1, 0xffffffff, false},
      {ALU_AND, 0xff00ff00ff00ff00ull, 0x0ff00ff00ff00ff0ull, 0x0f000f000f000f00ull, false},
      {ALU_OR, 0xff00000000000000ull, 0x00000000000000ffull, 0xff000000000000ffull, false},
      {ALU_XOR, 0xffff0000ffff0000ull, 0xff00ff00ff00ff00ull, 0x00ffff0000ffff00ull, false},
  };
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (unsigned int i = 0; i < ARRAY_SIZE(sums); i++) {
    const struct sum *sum = &sums[i];
    bool has_carry = sum->opcode == ALU_ADD || sum->opcode == ALU_SUB;

    load_register_qword(&f.batch, CS_GPR(0), sum->a);
    load_register_qword(&f.batch, CS_GPR(1), sum->b);
    emit(&f.batch, MI_MATH(7));
    emit(&f.batch, ALU(ALU_LOAD, ALU_SRCA, 0));
    emit(&f.batch, ALU(ALU_LOAD, ALU_SRCB, 1));
    emit(&f.batch, ALU(sum->opcode, 0, 0));
    emit(&f.batch, ALU(ALU_STORE, 2, ALU_ACCU));
    emit(&f.batch, ALU(ALU_STORE, 3, ALU_ZF));
    emit(&f.batch, ALU(ALU_STORE, 4, ALU_CF));
    emit(&f.batch, ALU(ALU_STOREINV, 5, ALU_ACCU));
    for (uint32_t n = 2; n <= 5; n++)
      store_register_qword(&f.batch, CS_GPR(n), f.data.address + 8 * n);
    fixture_run(&f);
    check_qword("result", f.data.qwords[2], sum->result);
    check((f.data.qwords[3] != 0) == (sum->result == 0), "sum %u: zero flag %#llx", i,
          (unsigned long long)f.data.qwords[3]);
    if (has_carry)
      check((f.data.qwords[4] != 0) == sum->carry, "sum %u: carry flag %#llx", i,
            (unsigned long long)f.data.qwords[4]);
    check_qword("inverted result", f.data.qwords[5], ~sum->result);
  }
}

static void arithmetic_loads(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  load_register_qword(&f.batch, CS_GPR(0), 0x00ff00ff00ff00ffull);
  emit(&f.batch, MI_MATH(8));
  emit(&f.batch, ALU(ALU_LOADINV, ALU_SRCA, 0));
  emit(&f.batch, ALU(ALU_LOAD0, ALU_SRCB, 0));
  emit(&f.batch, ALU(ALU_OR, 0, 0));
  emit(&f.batch, ALU(ALU_STORE, 1, ALU_ACCU));
  emit(&f.batch, ALU(ALU_LOAD, ALU_SRCA, 0));
  emit(&f.batch, ALU(ALU_LOAD1, ALU_SRCB, 0));
  emit(&f.batch, ALU(ALU_AND, 0, 0));
  emit(&f.batch, ALU(ALU_STORE, 2, ALU_ACCU));
  store_register_qword(&f.batch, CS_GPR(1), f.data.address);
  store_register_qword(&f.batch, CS_GPR(2), f.data.address + 8);
  fixture_run(&f);
  check_qword("LOADINV", f.data.qwords[0], 0xff00ff00ff00ff00ull);
  /* LOAD1 loads all ones (mi_builder.h of Mesa: -1). */
  check_qword("LOAD1", f.data.qwords[1], 0x00ff00ff00ff00ffull);
}

/* By a power of two of at most 32, as Mesa's mi_builder.h uses them. */
static void shifts(const struct device *device, const struct engine *engine) {
  struct {
    uint32_t opcode;
    uint64_t value, by, result;
  } table[] = {
      {ALU_SHL, 0x0123456789abcdefull, 4, 0x123456789abcdef0ull},
      {ALU_SHL, 0x0123456789abcdefull, 32, 0x89abcdef00000000ull},
      {ALU_SHR, 0x8123456789abcdefull, 8, 0x008123456789abcdull},
      {ALU_SHR, 0x8123456789abcdefull, 1, 0x4091a2b3c4d5e6f7ull},
      {ALU_SAR, 0x8123456789abcdefull, 16, 0xffff8123456789abull},
      {ALU_SAR, 0x4123456789abcdefull, 16, 0x00004123456789abull},
  };
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (unsigned int i = 0; i < ARRAY_SIZE(table); i++) {
    load_register_qword(&f.batch, CS_GPR(0), table[i].value);
    load_register_qword(&f.batch, CS_GPR(1), table[i].by);
    emit(&f.batch, MI_MATH(4));
    emit(&f.batch, ALU(ALU_LOAD, ALU_SRCA, 0));
    emit(&f.batch, ALU(ALU_LOAD, ALU_SRCB, 1));
    emit(&f.batch, ALU(table[i].opcode, 0, 0));
    emit(&f.batch, ALU(ALU_STORE, 2, ALU_ACCU));
    store_register_qword(&f.batch, CS_GPR(2), f.data.address);
    fixture_run(&f);
    check_qword("shifted", f.data.qwords[0], table[i].result);
  }
}

static void context_timestamp(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  store_register(&f.batch, CTX_TIMESTAMP, f.data.address);
  for (int i = 0; i < SHORT_OF_A_PAGE; i++) store_dword(&f.batch, f.data.address + 64, i);
  store_register(&f.batch, CTX_TIMESTAMP, f.data.address + 4);
  fixture_run(&f);
  store_register(&f.batch, CTX_TIMESTAMP, f.data.address + 8);
  fixture_run(&f);
  check(f.data.dwords[1] != f.data.dwords[0], "the context's time stands still");
  /* It wraps after minutes, which a case does not last. */
  check((int32_t)(f.data.dwords[1] - f.data.dwords[0]) > 0, "it went from %#x to %#x",
        f.data.dwords[0], f.data.dwords[1]);
  check((int32_t)(f.data.dwords[2] - f.data.dwords[1]) >= 0, "it went back from %#x to %#x",
        f.data.dwords[1], f.data.dwords[2]);
}

/* Registers belong to the context: another queue's job does not see or change them. */
static void of_the_context(const struct device *device, const struct engine *engine) {
  struct fixture a, b;

  fixture_create(&a, device, engine, KIB(4));
  fixture_create(&b, device, engine, KIB(4));
  load_register_qword(&a.batch, CS_GPR(4), 0xaaaaaaaaaaaaaaaaull);
  fixture_run(&a);
  load_register_qword(&b.batch, CS_GPR(4), 0xbbbbbbbbbbbbbbbbull);
  fixture_run(&b);
  store_register_qword(&a.batch, CS_GPR(4), a.data.address);
  fixture_run(&a);
  store_register_qword(&b.batch, CS_GPR(4), b.data.address);
  fixture_run(&b);
  check_qword("the first context's", a.data.qwords[0], 0xaaaaaaaaaaaaaaaaull);
  check_qword("the second context's", b.data.qwords[0], 0xbbbbbbbbbbbbbbbbull);
}

static const struct test_case cases[] = {
    {"register.immediate", ON_EVERY, immediate},
    {"register.moves", ON_EVERY, moves},
    {"register.arithmetic", ON_EVERY, arithmetic},
    {"register.arithmetic-loads", ON_EVERY, arithmetic_loads},
    {"register.shifts", ON_EVERY, shifts},
    {"register.context-timestamp", ON_EVERY, context_timestamp},
    {"register.of-the-context", ON_EVERY, of_the_context},
};

const struct test_group register_group = GROUP(cases);
