/*
 * What a batch of user space may not do. Intel's PRM "Command Stream Programming" (Ice Lake volume 8
 * and others), "User Mode Privileged Commands": a command of a batch in the PPGTT that names the
 * GGTT, or that writes a register which is not open to users, does nothing.
 */
#include "fixture.h"

/* Runs what is in the batch between two stores, and checks that both took place. */
static void run_between(struct fixture *f, const char *what) {
  store_dword(&f->batch, f->data.address + 0x804, 2);
  fixture_run(f);
  check(f->data.dwords[0x201] == 2, "%s: what comes after it did not run", what);
  f->data.dwords[0x201] = 0;
}

/* All of these addresses are mapped in the VM, so that a command that took them for addresses of
 * the VM would be seen. */
static void ggtt_addresses(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct buffer low;
  uint64_t address;

  fixture_create(&f, device, engine, KIB(4));
  buffer_create(&low, &f.vm, KIB(64), NULL);
  /* In the 4 GiB that a GGTT has. */
  buffer_bind(&low, MIB(16));
  address = low.address;
  low.dwords[16] = 0x1234;

  emit(&f.batch, MI_STORE_DATA_IMM | MI_GLOBAL_GTT);
  emit_address(&f.batch, address);
  emit(&f.batch, 0xbad);
  run_between(&f, "MI_STORE_DATA_IMM");
  check_dword("MI_STORE_DATA_IMM", low.dwords[0], 0);

  load_register(&f.batch, CS_GPR(0), 0xbad);
  emit(&f.batch, MI_STORE_REGISTER_MEM | MI_CS_MMIO | MI_GLOBAL_GTT);
  emit(&f.batch, CS_GPR(0));
  emit_address(&f.batch, address + 4);
  run_between(&f, "MI_STORE_REGISTER_MEM");
  check_dword("MI_STORE_REGISTER_MEM", low.dwords[1], 0);

  for (int bit = 21; bit <= 22; bit++) {
    emit(&f.batch, MI_COPY_MEM_MEM | 1u << bit);
    emit_address(&f.batch, address + 8);
    emit_address(&f.batch, address + 64);
    run_between(&f, "MI_COPY_MEM_MEM");
    check_dword("MI_COPY_MEM_MEM", low.dwords[2], 0);
  }

  emit(&f.batch, MI_ATOMIC(false) | MI_GLOBAL_GTT | 5 << 8); /* increment */
  emit_address(&f.batch, address + 64);
  run_between(&f, "MI_ATOMIC");
  check_dword("MI_ATOMIC", low.dwords[16], 0x1234);

  load_register(&f.batch, CS_GPR(0), 0x600d);
  emit(&f.batch, MI_LOAD_REGISTER_MEM | MI_CS_MMIO | MI_GLOBAL_GTT);
  emit(&f.batch, CS_GPR(0));
  emit_address(&f.batch, address + 64);
  store_register(&f.batch, CS_GPR(0), f.data.address);
  run_between(&f, "MI_LOAD_REGISTER_MEM");
  check_dword("MI_LOAD_REGISTER_MEM", f.data.dwords[0], 0x600d);
}

/* A wait that does nothing does not wait, and a conditional end does not end. */
static void ggtt_comparisons(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct buffer low;

  fixture_create(&f, device, engine, KIB(4));
  buffer_create(&low, &f.vm, KIB(64), NULL);
  buffer_bind(&low, MIB(16));
  emit(&f.batch, MI_SEMAPHORE_WAIT | MI_GLOBAL_GTT | MI_SEMAPHORE_POLL | (uint32_t)EQUAL << 12);
  emit(&f.batch, 0x77);
  emit_address(&f.batch, low.address);
  emit(&f.batch, 0);
  run_between(&f, "MI_SEMAPHORE_WAIT");
  emit(&f.batch,
       MI_CONDITIONAL_BATCH_BUFFER_END | MI_GLOBAL_GTT | 1u << 21 | (uint32_t)EQUAL << 12);
  emit(&f.batch, 0x77);
  emit_address(&f.batch, low.address);
  run_between(&f, "MI_CONDITIONAL_BATCH_BUFFER_END");
}

static void post_sync(const struct device *device, const struct engine *engine) {
  unsigned int engine_class = engine->instance.engine_class;
  bool is_3d = engine_class == DRM_XE_ENGINE_CLASS_RENDER ||
               engine_class == DRM_XE_ENGINE_CLASS_COMPUTE;
  struct fixture f;
  struct buffer low;

  fixture_create(&f, device, engine, KIB(4));
  buffer_create(&low, &f.vm, KIB(64), NULL);
  buffer_bind(&low, MIB(16));
  if (is_3d) {
    emit(&f.batch, PIPE_CONTROL);
    emit(&f.batch, 1u << 20 | 1u << 14 | 1u << 24); /* in the GGTT */
    emit_address(&f.batch, low.address);
  } else {
    emit(&f.batch, MI_FLUSH_DW_QWORD | 1u << 14);
    emit_address(&f.batch, low.address | 1u << 2); /* in the GGTT */
  }
  emit_address(&f.batch, 0xbad0badull);
  run_between(&f, "post-sync write");
  check_qword("post-sync write", low.qwords[0], 0);
}

/* The address space of a jump is at most that of the batch it comes from. */
static void jump_to_ggtt(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct batch low = {0};

  fixture_create(&f, device, engine, KIB(4));
  buffer_create(&low.buffer, &f.vm, KIB(64), NULL);
  buffer_bind(&low.buffer, MIB(16));
  store_dword(&low, f.data.address, 0x99);
  batch_end(&low);
  emit(&f.batch, MI_BATCH_BUFFER_START); /* without the bit for the PPGTT */
  emit_address(&f.batch, low.buffer.address);
  fixture_run(&f);
  check_dword("the batch in the VM", f.data.dwords[0], 0x99);
}

/* Registers that belong to the driver: RING_HWS_PGA, RING_MI_MODE, RING_CONTEXT_CONTROL, the ring's
 * own, the watchdog's (regs/xe_engine_regs.h), as offsets from the engine's base. */
static void registers(const struct device *device, const struct engine *engine) {
  static const uint32_t closed[] = {0x30, 0x34, 0x38, 0x3c, 0x80, 0x9c, 0x178, 0x17c, 0x244};
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (unsigned int i = 0; i < ARRAY_SIZE(closed); i++) {
    store_register(&f.batch, closed[i], f.data.address + 8 * i);
    load_register(&f.batch, closed[i], 0xffff5a5a);
    store_register(&f.batch, closed[i], f.data.address + 8 * i + 4);
    run_between(&f, "MI_LOAD_REGISTER_IMM");
    /* The head moves on its own. */
    if (closed[i] != 0x34)
      check(f.data.dwords[2 * i] == f.data.dwords[2 * i + 1], "register %#x went from %#x to %#x",
            closed[i], f.data.dwords[2 * i], f.data.dwords[2 * i + 1]);
    check(f.data.dwords[2 * i + 1] != 0xffff5a5a, "register %#x was written", closed[i]);
  }
}

/* The VF's mailbox and doorbell to the GuC (regs/xe_guc_regs.h), as offsets from BAR 0. */
static void device_registers(const struct device *device, const struct engine *engine) {
  static const uint32_t closed[] = {0x190240, 0x190244, 0x1901f0, 0x190310, 0x190304};
  struct fixture f;

  fixture_create(&f, device, engine, KIB(4));
  for (unsigned int i = 0; i < ARRAY_SIZE(closed); i++) {
    emit(&f.batch, MI_LOAD_REGISTER_IMM(1));
    emit(&f.batch, closed[i]);
    emit(&f.batch, 0x00005507); /* VF_RESET, if it arrived */
    run_between(&f, "MI_LOAD_REGISTER_IMM");
  }
  /* Had the GuC heard of it, no further job would run. */
  for (uint32_t i = 1; i <= 3; i++) {
    struct queue queue;

    queue_create(&queue, &f.vm, engine);
    store_dword(&f.batch, f.data.address, i);
    batch_run(&f.batch, &queue);
    check_dword("stored", f.data.dwords[0], i);
    queue_destroy(&queue);
  }
}

/* Switching arbitration off is the driver's: the job of another queue still gets its turn. */
static void arbitration(const struct device *device, const struct engine *engine) {
  struct fixture f;
  struct queue spinning;
  struct spinner spinner;
  struct batch off;
  uint32_t spun = syncobj_create(device);

  fixture_create(&f, device, engine, KIB(4));
  queue_create(&spinning, &f.vm, engine);
  spinner_create(&spinner, &f.vm, true);
  batch_create(&off, &f.vm, KIB(4));
  emit(&off, MI_ARB_ON_OFF(0));
  jump(&off, spinner.batch.buffer.address);
  submit(&spinning, off.buffer.address, spun);
  spinner_wait_started(&spinner);
  poke(&f, f.data.address, 3);
  check_dword("stored", f.data.dwords[0], 3);
  check_errno("the spinner ended", syncobj_wait(device, spun, 0), ETIME);
  spinner_stop(&spinner);
  check_errno("wait", syncobj_wait(device, spun, WAIT_NS), 0);
}

static const struct test_case cases[] = {
    {"privilege.ggtt-addresses", ON_EVERY, ggtt_addresses},
    {"privilege.ggtt-comparisons", ON_EVERY, ggtt_comparisons},
    {"privilege.post-sync", ON_EVERY, post_sync},
    {"privilege.jump-to-ggtt", ON_EVERY, jump_to_ggtt},
    {"privilege.registers", ON_EVERY, registers},
    {"privilege.device-registers", ON_EVERY, device_registers},
    {"privilege.arbitration", ON_EVERY, arbitration},
};

const struct test_group privilege_group = GROUP(cases);
