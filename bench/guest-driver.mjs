/**
 * The least of a guest's driver that gets work to an engine: memory, GGTT, PPGTT, one GuC, and one
 * context with its ring. On a discrete device the PPGTT's tables are in VRAM, as it wants them; all
 * else is in the guest's memory.
 *
 * What is where in the guest's memory is in LAYOUT; the GGTT maps the part below `data`, the PPGTT
 * maps all of it at address 0 in pages of 2 MiB.
 */
import { GuestBars } from '../dist/app/guest-bars.js';
import { GUEST_GUCS, GuestGuc } from '../dist/app/guest-guc.js';
import { Memfd } from '../dist/sys/memfd.js';
import { VfioUserClient } from '../dist/vfio-user/client.js';
import { BLT_CLIENT, BLT_HEADER, MEM_COPY, MEM_SET } from '../dist/xe/commands/blt.js';
import { putField } from '../dist/xe/commands/blt-fields.js';
import { miHeader } from '../dist/xe/commands/mi.js';
import { VF_CFG_KLV } from '../dist/xe/guc/pf-actions.js';
import { GUC_CLASS, H2G_ACTION, REGISTER_CONTEXT } from '../dist/xe/guc/vf-actions.js';
import { LRC_DESC, LRC_FIRST_COMMAND, LRC_PPHWSP_SIZE, LRC_REG, RING } from '../dist/xe/lrc.js';
import { encodePpgttEntry, PPGTT_LO } from '../dist/xe/ppgtt.js';
import { encodeGgttPte } from '../dist/xe/pte.js';

const MIB = 2 ** 20;
const PAGE = 4096;
/** Where the device reaches the guest's memory. */
const IOVA = 2 ** 32;
const LAYOUT = {
  guc: 0,
  /** Page tables: root, then level 3, 2 and 1. */
  tables: 0x1_0000,
  lrc: 0x2_0000,
  ring: 0x3_0000,
  /** Where the driver's sequence numbers go. */
  seqno: 0x4_0000,
  batch: 0x5_0000,
  /** The first byte that benchmarks may use. */
  data: 2 * MIB,
};
const RING_SIZE = 4 * PAGE;
const CONTEXT = 1;
/** LRC descriptor: 64-bit addressing in the legacy field. Source: xe_lrc.c (LRC_LEGACY_64B_CONTEXT) */
const LEGACY_64B = 3 << 3;
/** CTX_CONTROL: the engine's own state is not in the image yet. */
const RESTORE_INHIBIT = 0x0001_0001;
/** MI_BATCH_BUFFER_START: the address is one of the PPGTT. */
const BB_PPGTT = 1 << 8;
/** MI_FLUSH_DW: stores a dword at a GGTT address. */
const FLUSH_STORE_DWORD = 1 << 14;
const FLUSH_GGTT = 1 << 2;
/** Source bits of the interrupt page, see GuestGuc. */
const MEMIRQ = { page: 0x6000, source: 0x400 };
const SPIN_LIMIT_MS = 30_000;

/** A VF with a copy engine that takes work. */
export class BenchGuest {
  #ringTail = 0;
  #seqno = 0;

  /**
   * @param {string} path of the VF's socket
   * @param {number} size bytes of guest memory, a multiple of 2 MiB and at most 1 GiB
   * @param {(client: VfioUserClient) => Uint8Array} [mapVram] the VRAM of a discrete VF, at least
   * its first MiB
   */
  static async boot(path, size, mapVram) {
    const client = await VfioUserClient.connect(path, { pollUs: 50 });
    const memory = Memfd.create('bench-guest', size);
    const bytes = memory.map().view();
    const mapping = { iova: IOVA, size, flags: 3, memory: { windows: [bytes] } };
    client.dmaMapFd(mapping, memory.fd, 0);
    // Memory decoding on, as a VMM leaves it.
    client.regionWrite(7, 4, new Uint8Array([0x06, 0x00]), 0, 2);
    const guest = new BenchGuest(client, new GuestBars(client), bytes, mapVram?.(client));
    await guest.#boot();
    return guest;
  }

  constructor(client, bars, bytes, vram) {
    this.client = client;
    /** Where the page tables are, and the address of that place for the device. */
    this.tables = vram === undefined ? { bytes, base: IOVA } : { bytes: vram, base: 0 };
    this.bars = bars;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.guc = new GuestGuc(bars, GUEST_GUCS[0], bytes.subarray(LAYOUT.guc, LAYOUT.tables));
  }

  /** Offset of the first byte for the benchmark, in memory and in the PPGTT. */
  get data() {
    return LAYOUT.data;
  }

  async #boot() {
    await this.guc.handshake();
    this.ggtt = await this.guc.query(VF_CFG_KLV.GGTT_START.key);
    const ptes = this.bars.ptes(this.ggtt, LAYOUT.data);
    for (let at = 0; at < LAYOUT.data; at += PAGE) {
      const address = IOVA + at;
      const pte = { present: true, deviceMemory: false, vfid: 0, address, pat: 0 };
      ptes.set(encodeGgttPte(pte), (at / PAGE) * 2);
    }
    await this.guc.enableCtb(this.ggtt + LAYOUT.guc);
    this.#writePageTables();
    this.#writeContext();
    const payload = new Array(REGISTER_CONTEXT.LENGTH - 1).fill(0);
    payload[REGISTER_CONTEXT.CONTEXT_INDEX - 1] = CONTEXT;
    payload[REGISTER_CONTEXT.ENGINE_CLASS - 1] = GUC_CLASS.BLITTER;
    payload[REGISTER_CONTEXT.ENGINE_SUBMIT_MASK - 1] = 1;
    payload[REGISTER_CONTEXT.HW_LRC_ADDR - 1] =
      this.ggtt + LAYOUT.lrc + (LRC_DESC.VALID | LEGACY_64B | LRC_DESC.PRIVILEGE);
    await this.guc.send(H2G_ACTION.REGISTER_CONTEXT, payload);
    await this.guc.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [CONTEXT, 1]);
  }

  #writePageTables() {
    const table = (level) => LAYOUT.tables + (4 - level) * PAGE;
    const flags = PPGTT_LO.PRESENT | PPGTT_LO.RW;
    const { base } = this.tables;
    for (const level of [4, 3, 2]) this.#entry(table(level), 0, base + table(level - 1), flags);
    for (let page = 0; page < this.bytes.length / (2 * MIB); page++)
      this.#entry(table(1), page, IOVA + page * 2 * MIB, flags | PPGTT_LO.PS);
  }

  #entry(table, index, address, flags) {
    const { bytes } = this.tables;
    const entry = new DataView(bytes.buffer, bytes.byteOffset + table + index * 8, 8);
    const [lo, hi] = encodePpgttEntry(address, flags);
    entry.setUint32(0, lo, true);
    entry.setUint32(4, hi, true);
  }

  #writeContext() {
    const state = LAYOUT.lrc + LRC_PPHWSP_SIZE;
    this.view.setUint32(state + LRC_FIRST_COMMAND * 4, miHeader('MI_LOAD_REGISTER_IMM'), true);
    const root = this.tables.base + LAYOUT.tables;
    const memirq = this.ggtt + MEMIRQ.page;
    const values = {
      CTX_CONTEXT_CONTROL: RESTORE_INHIBIT,
      CTX_RING_START: this.ggtt + LAYOUT.ring,
      CTX_RING_CTL: (RING_SIZE - PAGE) | RING.CTL_VALID,
      CTX_PDP0_UDW: Math.floor(root / 2 ** 32),
      CTX_PDP0_LDW: root % 2 ** 32,
      CTX_INT_MASK_ENABLE_PTR: memirq + 0x800,
      CTX_INT_STATUS_REPORT_PTR: memirq,
      CTX_INT_SRC_REPORT_PTR: memirq + MEMIRQ.source,
    };
    for (const [name, value] of Object.entries(values)) this.#setRegister(name, value);
  }

  #setRegister(name, value) {
    this.view.setUint32(LAYOUT.lrc + LRC_PPHWSP_SIZE + LRC_REG[name] * 4, value, true);
  }

  /** The dwords of a linear MEM_COPY of at most 16 MiB between PPGTT addresses. */
  copyCommand(from, to, size) {
    const dwords = bltCommand(MEM_COPY);
    putField(dwords, MEM_COPY.WIDTH, size - 1);
    dwords[MEM_COPY.SRC_ADDRESS] = from;
    dwords[MEM_COPY.DST_ADDRESS] = to;
    return dwords;
  }

  /** The dwords of a linear MEM_SET of at most 16 MiB. */
  fillCommand(to, size, value) {
    const dwords = bltCommand(MEM_SET);
    putField(dwords, MEM_SET.WIDTH, size - 1);
    putField(dwords, MEM_SET.DATA, value);
    dwords[MEM_SET.DST_ADDRESS] = to;
    return dwords;
  }

  /** Writes the batch; {@link submit} runs it. */
  setBatch(commands) {
    let at = LAYOUT.batch;
    for (const dword of [
      ...commands.flatMap((each) => [...each]),
      miHeader('MI_BATCH_BUFFER_END'),
    ]) {
      this.view.setUint32(at, dword, true);
      at += 4;
    }
    if (at > LAYOUT.data) throw new RangeError('the batch is too long');
  }

  /** Has the engine run the batch. */
  async submit() {
    this.#seqno++;
    const job = [
      miHeader('MI_BATCH_BUFFER_START') | BB_PPGTT | 1,
      LAYOUT.batch,
      0,
      miHeader('MI_FLUSH_DW') | FLUSH_STORE_DWORD | 2,
      (this.ggtt + LAYOUT.seqno) | FLUSH_GGTT,
      0,
      this.#seqno,
      miHeader('MI_USER_INTERRUPT'),
    ];
    for (const dword of job) {
      this.view.setUint32(LAYOUT.ring + this.#ringTail, dword >>> 0, true);
      this.#ringTail = (this.#ringTail + 4) % RING_SIZE;
    }
    this.#setRegister('CTX_RING_TAIL', this.#ringTail);
    await this.guc.send(H2G_ACTION.SCHED_CONTEXT, [CONTEXT]);
  }

  /** True when the engine has run all that was submitted. */
  get isDone() {
    return this.view.getUint32(LAYOUT.seqno, true) === this.#seqno;
  }

  /** Looks until the engine has run all that was submitted. */
  wait() {
    const deadline = performance.now() + SPIN_LIMIT_MS;
    for (let n = 0; !this.isDone; n++)
      if ((n & 0xffff) === 0 && performance.now() > deadline)
        throw new Error('the engine does not come to the end of the batch');
  }

  async close() {
    this.bars.close();
    await this.client.close();
  }
}

function bltCommand({ opcode, dwords: [length] }) {
  const dwords = new Uint32Array(length);
  putField(dwords, BLT_HEADER.CLIENT, BLT_CLIENT);
  putField(dwords, BLT_HEADER.OPCODE, opcode);
  putField(dwords, BLT_HEADER.LENGTH, length - 2);
  return dwords;
}
