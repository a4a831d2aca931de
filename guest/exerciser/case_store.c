/* MI commands that write memory. */
#include <string.h>

#include "fixture.h"

/* The first dwords of the data, and that nothing behind them was touched. */
static void expect(const struct fixture *f, const uint32_t *want, unsigned int count) {
  static uint32_t all[KIB(4) / 4];

  memset(all, 0, sizeof(all));
  memcpy(all, want, count * 4);
  check_bytes("memory", f->data.map, all, sizeof(all));
}

static void dword(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint32_t want[16] = {0};

  fixture_create(&f, device, engine, KIB(4));
  for (uint32_t i = 0; i < 16; i += 3) {
    want[i] = 0x01010101 * (i + 1);
    store_dword(&f.batch, f.data.address + 4 * i, want[i]);
  }
  fixture_run(&f);
  expect(&f, want, 16);
}

static void qword(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint32_t want[8] = {0, 0, 0x89abcdef, 0x01234567, 0, 0, 0xffffffff, 0x80000000};

  fixture_create(&f, device, engine, KIB(4));
  store_qword(&f.batch, f.data.address + 8, 0x0123456789abcdefull);
  store_qword(&f.batch, f.data.address + 24, 0x80000000ffffffffull);
  fixture_run(&f);
  expect(&f, want, 8);
}

/* As the kernel writes page tables: many dwords, or qwords, with one command. */
static void several(const struct device *device, const struct engine *engine) {
  enum { COUNT = 100 };
  struct fixture f;
  uint32_t want[3 * COUNT];

  fixture_create(&f, device, engine, KIB(4));
  fill_random(want, sizeof(want), 5);
  emit(&f.batch, MI_STORE_DATA_IMM + (COUNT - 1));
  emit_address(&f.batch, f.data.address);
  for (int i = 0; i < COUNT; i++) emit(&f.batch, want[i]);
  emit(&f.batch, MI_STORE_DATA_IMM_QWORD + 2 * (COUNT - 1));
  emit_address(&f.batch, f.data.address + 4 * COUNT);
  for (int i = 0; i < 2 * COUNT; i++) emit(&f.batch, want[COUNT + i]);
  fixture_run(&f);
  expect(&f, want, 3 * COUNT);
}

static void copy(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint32_t want[64];

  fixture_create(&f, device, engine, KIB(4));
  fill_random(want, sizeof(want), 9);
  memcpy(f.data.map, want, 32 * 4);
  for (uint32_t i = 0; i < 32; i++) {
    want[32 + i] = want[31 - i];
    copy_dword(&f.batch, f.data.address + 4 * (32 + i), f.data.address + 4 * (31 - i));
  }
  fixture_run(&f);
  expect(&f, want, 64);
}

/* Copying a copy: each command sees what the one before wrote. */
static void copy_chain(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint32_t want[100];

  fixture_create(&f, device, engine, KIB(4));
  store_dword(&f.batch, f.data.address, 0xabcd);
  want[0] = 0xabcd;
  for (uint32_t i = 1; i < ARRAY_SIZE(want); i++) {
    want[i] = 0xabcd;
    copy_dword(&f.batch, f.data.address + 4 * i, f.data.address + 4 * (i - 1));
  }
  fixture_run(&f);
  expect(&f, want, ARRAY_SIZE(want));
}

static void flush_dw(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint32_t want[4] = {0, 0, 0x55667788, 0x11223344};

  fixture_create(&f, device, engine, KIB(4));
  emit(&f.batch, MI_FLUSH_DW_QWORD | 1u << 14); /* post-sync: write the qword */
  emit_address(&f.batch, f.data.address + 8);
  emit_address(&f.batch, 0x1122334455667788ull);
  emit(&f.batch, MI_FLUSH_DW_QWORD); /* none: nothing is written */
  emit_address(&f.batch, f.data.address + 16);
  emit_address(&f.batch, ~0ull);
  fixture_run(&f);
  expect(&f, want, 4);
}

static void flush_timestamp(const struct device *device, const struct engine *engine) {
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (int i = 0; i < 2; i++) {
    emit(&f.batch, MI_FLUSH_DW_QWORD | 3u << 14); /* post-sync: write the timestamp */
    emit_address(&f.batch, f.data.address + 8 * i);
    emit_address(&f.batch, 0);
    fixture_run(&f);
    sleep_ms(2);
  }
  check(f.data.qwords[0] != 0, "a timestamp of 0");
  check(f.data.qwords[1] > f.data.qwords[0], "time went from %#llx to %#llx",
        (unsigned long long)f.data.qwords[0], (unsigned long long)f.data.qwords[1]);
}

static void pipe_control(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint32_t want[4] = {0, 0, 0x55667788, 0x11223344};

  fixture_create(&f, device, engine, KIB(4));
  emit(&f.batch, PIPE_CONTROL);
  emit(&f.batch, 1u << 20 | 1u << 14); /* stall, write the qword */
  emit_address(&f.batch, f.data.address + 8);
  emit_address(&f.batch, 0x1122334455667788ull);
  emit(&f.batch, PIPE_CONTROL);
  emit(&f.batch, 1u << 20);
  emit_address(&f.batch, f.data.address + 16);
  emit_address(&f.batch, ~0ull);
  fixture_run(&f);
  expect(&f, want, 4);
}

/* Commands without an effect on memory, between two stores. */
static void between(const struct device *device, const struct engine *engine) {
  struct fixture f;
  uint32_t want[2] = {1, 2};

  fixture_create(&f, device, engine, KIB(4));
  store_dword(&f.batch, f.data.address, 1);
  for (int i = 0; i < 100; i++) emit(&f.batch, MI_NOOP);
  emit(&f.batch, MI_ARB_CHECK);
  for (uint32_t type = 0; type <= 3; type++)
    if (type != 2) emit(&f.batch, MI_MEM_FENCE(type));
  store_dword(&f.batch, f.data.address + 4, 2);
  fixture_run(&f);
  expect(&f, want, 2);
}

static const struct test_case cases[] = {
    {"store.dword", ON_EVERY, dword},
    {"store.qword", ON_EVERY, qword},
    {"store.several", ON_EVERY, several},
    {"store.copy", ON_EVERY, copy},
    {"store.copy-chain", ON_EVERY, copy_chain},
    {"store.flush-dw", ON_COPY | ON_DECODE | ON_ENHANCE, flush_dw},
    {"store.flush-timestamp", ON_COPY | ON_DECODE | ON_ENHANCE, flush_timestamp},
    {"store.pipe-control", ON_RENDER | ON_COMPUTE, pipe_control},
    {"store.no-effect", ON_EVERY, between},
};

const struct test_group store_group = GROUP(cases);
