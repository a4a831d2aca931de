/**
 * A guest driver's side of one GuC: the mailbox, and after it the command transport buffers.
 *
 * Only what it takes to keep a GuC's state moving: requests that want no answer beyond an event.
 *
 * Source: drivers/gpu/drm/xe/xe_guc.c:xe_guc_mmio_send_recv, xe_guc_ct.c,
 * xe_gt_sriov_vf.c:vf_query_config.
 */
import { Fault } from '../base/fault.ts';
import { dataView, TWO_32 } from '../base/int.ts';
import { CTB_DESC, ctbHeader, ctbLength } from '../xe/guc/ctb.ts';
import {
  gucResponseName,
  HXG_ORIGIN,
  HXG_TYPE,
  hxgEvent,
  hxgFromGuc,
  hxgRequest,
  hxgType,
  hxgValue,
} from '../xe/guc/hxg.ts';
import { MAILBOX_ACTION, SELF_CFG_KLV } from '../xe/guc/vf-actions.ts';
import { LRC_FIRST_COMMAND, LRC_PPHWSP_SIZE, LRC_REG, RING } from '../xe/lrc.ts';
import { VF_REGISTERS, VF_SW_FLAG_COUNT } from '../xe/registers.ts';
import type { GuestBars } from './guest-bars.ts';

/** The registers of a GuC. */
export const GUEST_GUCS = [
  { flag: VF_REGISTERS.VF_SW_FLAG, notify: VF_REGISTERS.GUC_HOST_INTERRUPT },
  { flag: VF_REGISTERS.MED_VF_SW_FLAG, notify: VF_REGISTERS.MED_GUC_HOST_INTERRUPT },
] as const;

/** Layout of the memory that a GuC is given, bytes from its start. */
const LAYOUT = {
  h2gDesc: 0,
  g2hDesc: 0x800,
  h2g: 0x1000,
  g2h: 0x2000,
  memirq: 0x6000,
  idleLrc: 0x8000,
} as const;
const H2G_SIZE = LAYOUT.g2h - LAYOUT.h2g;
const G2H_SIZE = LAYOUT.memirq - LAYOUT.g2h;
/** Bytes of memory that one GuC is given. */
export const GUEST_GUC_MEMORY = 0xa000;
/** Where in it a context image with an empty ring is, which any context may use. */
export const GUEST_IDLE_LRC = LAYOUT.idleLrc;
/** The image's registers: the load of them, and an empty ring of a page. */
const IDLE_REGISTERS: ReadonlyArray<readonly [index: number, value: number]> = [
  [LRC_FIRST_COMMAND, 0x1108_1019],
  [LRC_REG.CTX_RING_CTL, RING.CTL_VALID],
];
/** Where the source bytes of the interrupt page begin. */
const MEMIRQ_SOURCE = 0x400;
/** How often the mailbox is looked at before the GuC counts as dead. */
const MAILBOX_READS = 1000;
/** How often a full buffer is looked at again. */
const ROOM_READS = 1000;

/** One GuC as its guest driver sees it. */
export class GuestGuc {
  readonly #bars: GuestBars;
  readonly #registers: (typeof GUEST_GUCS)[number];
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  #fence = 0;
  #sent = 0;
  #received = 0;

  /** @param memory {@link GUEST_GUC_MEMORY} bytes that the GuC reaches through the GGTT */
  constructor(bars: GuestBars, registers: (typeof GUEST_GUCS)[number], memory: Uint8Array) {
    this.#bars = bars;
    this.#registers = registers;
    this.#memory = memory;
    this.#view = dataView(memory);
  }

  /** Messages that went to the GuC and that came from it, through the buffers. */
  get messages(): { readonly sent: number; readonly received: number } {
    return { sent: this.#sent, received: this.#received };
  }

  /**
   * Sends a mailbox message of up to four dwords and waits for the answer.
   * @returns DATA0 and the three dwords after it
   * @throws {Fault} EIO when the GuC refuses, ETIMEDOUT when it does not answer
   */
  async mailbox(message: readonly number[]): Promise<[value: number, ...data: number[]]> {
    const { flag, notify } = this.#registers;
    for (let n = VF_SW_FLAG_COUNT - 1; n >= 0; n--)
      await this.#bars.write(flag.offset + 4 * n, message[n] ?? 0);
    await this.#bars.write(notify.offset, 0);
    for (let n = 0; n < MAILBOX_READS; n++) {
      const header = this.#bars.read(flag.offset);
      if (!hxgFromGuc(header) || hxgType(header) === HXG_TYPE.NO_RESPONSE_BUSY) continue;
      if (hxgType(header) !== HXG_TYPE.RESPONSE_SUCCESS)
        throw new Fault('EIO', `the GuC refuses: ${gucResponseName(header & 0xffff)}`);
      const data = [1, 2, 3].map((at) => this.#bars.read(flag.offset + 4 * at));
      return [hxgValue(header), ...data];
    }
    throw new Fault('ETIMEDOUT', 'the GuC does not answer the mailbox');
  }

  /** Begins: resets the VF's state in the GuC and agrees on a version. */
  async handshake(): Promise<void> {
    await this.mailbox([hxgRequest(MAILBOX_ACTION.VF2GUC_VF_RESET)]);
    await this.mailbox([hxgRequest(MAILBOX_ACTION.VF2GUC_MATCH_VERSION), 0]);
  }

  /** Asks for a value of the VF's configuration, of at most 53 bits. */
  async query(key: number): Promise<number> {
    const [, low = 0, high = 0] = await this.mailbox([
      hxgRequest(MAILBOX_ACTION.VF2GUC_QUERY_SINGLE_KLV),
      key,
    ]);
    return low + high * TWO_32;
  }

  /** Tells the GuC where its buffers are and begins to use them. */
  async enableCtb(ggttAddress: number): Promise<void> {
    this.#memory.fill(0);
    for (const [index, value] of IDLE_REGISTERS)
      this.#view.setUint32(LAYOUT.idleLrc + LRC_PPHWSP_SIZE + index * 4, value, true);
    await this.#selfCfg(SELF_CFG_KLV.MEMIRQ_STATUS_ADDR, ggttAddress + LAYOUT.memirq);
    await this.#selfCfg(
      SELF_CFG_KLV.MEMIRQ_SOURCE_ADDR,
      ggttAddress + LAYOUT.memirq + MEMIRQ_SOURCE,
    );
    await this.#selfCfg(SELF_CFG_KLV.H2G_CTB_DESCRIPTOR_ADDR, ggttAddress + LAYOUT.h2gDesc);
    await this.#selfCfg(SELF_CFG_KLV.H2G_CTB_ADDR, ggttAddress + LAYOUT.h2g);
    await this.#selfCfg(SELF_CFG_KLV.H2G_CTB_SIZE, H2G_SIZE);
    await this.#selfCfg(SELF_CFG_KLV.G2H_CTB_DESCRIPTOR_ADDR, ggttAddress + LAYOUT.g2hDesc);
    await this.#selfCfg(SELF_CFG_KLV.G2H_CTB_ADDR, ggttAddress + LAYOUT.g2h);
    await this.#selfCfg(SELF_CFG_KLV.G2H_CTB_SIZE, G2H_SIZE);
    await this.mailbox([hxgRequest(MAILBOX_ACTION.HOST2GUC_CONTROL_CTB), 1]);
  }

  /**
   * Tells a GuC that restored this VF that its driver has recovered.
   * @param marker 1 to 256
   */
  async recover(marker: number): Promise<void> {
    await this.mailbox([hxgRequest(MAILBOX_ACTION.VF2GUC_RESFIX_START, marker)]);
    await this.mailbox([hxgRequest(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, marker)]);
  }

  /**
   * Sends a message that asks for no reply and takes the events that came meanwhile.
   *
   * @param action the message's action
   * @param payload dwords after the header
   * @throws {Fault} ETIMEDOUT when the GuC takes nothing out of a full buffer
   */
  async send(action: number, payload: readonly number[]): Promise<void> {
    const length = payload.length + 1;
    const tail = await this.#room(1 + length);
    this.#fence = (this.#fence + 1) & 0x7fff;
    const at = LAYOUT.h2g + tail * 4;
    this.#view.setUint32(at, ctbHeader(this.#fence, length), true);
    this.#view.setUint32(at + 4, hxgEvent(action, HXG_ORIGIN.HOST), true);
    for (const [n, dword] of payload.entries()) this.#view.setUint32(at + 8 + 4 * n, dword, true);
    const next = (tail + 1 + length) % (H2G_SIZE / 4);
    this.#view.setUint32(LAYOUT.h2gDesc + CTB_DESC.TAIL, next, true);
    await this.#bars.write(this.#registers.notify.offset, 0);
    this.#sent++;
    this.#drain();
  }

  /** Where `dwords` dwords fit without a wrap; pads the end of the buffer with NOPs if need be. */
  async #room(dwords: number): Promise<number> {
    const size = H2G_SIZE / 4;
    for (let n = 0; n < ROOM_READS; n++) {
      const head = this.#view.getUint32(LAYOUT.h2gDesc + CTB_DESC.HEAD, true);
      let tail = this.#view.getUint32(LAYOUT.h2gDesc + CTB_DESC.TAIL, true);
      if (tail + dwords > size && head <= tail && head > 0) {
        this.#memory.fill(0, LAYOUT.h2g + tail * 4, LAYOUT.h2g + H2G_SIZE);
        tail = 0;
        this.#view.setUint32(LAYOUT.h2gDesc + CTB_DESC.TAIL, tail, true);
      }
      const free = head > tail ? head - tail - 1 : size - tail - (head === 0 ? 1 : 0);
      if (free >= dwords) return tail;
      await this.#bars.write(this.#registers.notify.offset, 0);
      this.#drain();
    }
    throw new Fault('ETIMEDOUT', 'the GuC takes nothing out of its buffer');
  }

  /** Takes every event that is there. */
  #drain(): void {
    const size = G2H_SIZE / 4;
    let head = this.#view.getUint32(LAYOUT.g2hDesc + CTB_DESC.HEAD, true);
    const tail = this.#view.getUint32(LAYOUT.g2hDesc + CTB_DESC.TAIL, true);
    while (head !== tail) {
      head = (head + 1 + ctbLength(this.#view.getUint32(LAYOUT.g2h + head * 4, true))) % size;
      this.#received++;
    }
    this.#view.setUint32(LAYOUT.g2hDesc + CTB_DESC.HEAD, head, true);
  }

  async #selfCfg(klv: { readonly key: number; readonly length: number }, value: number) {
    const [taken] = await this.mailbox([
      hxgRequest(MAILBOX_ACTION.HOST2GUC_SELF_CFG),
      ((klv.key << 16) | klv.length) >>> 0,
      value % TWO_32,
      Math.floor(value / TWO_32),
    ]);
    if (taken !== 1) throw new Fault('EIO', `the GuC does not know key 0x${klv.key.toString(16)}`);
  }
}
