/** The parts of a PF's and a VF's driver that tests of the emulated GPU need. */
import { EmulatedGpu, type EmulatedGpuOptions } from '../../src/gpu/emulated-gpu.ts';
import type { GtPort, TilePort } from '../../src/pf/ports.ts';
import { Mapping } from '../../src/sys/mapping.ts';
import type { PciFunction } from '../../src/vfio-pci/pci-function.ts';
import { CTB_DESC, ctbHeader, ctbLength } from '../../src/xe/guc/ctb.ts';
import { HXG_TYPE, hxgRequest } from '../../src/xe/guc/hxg.ts';
import { encodeKlvU32, encodeKlvU64 } from '../../src/xe/guc/klv.ts';
import { PF2GUC_ACTION, VF_CFG_KLV, VF_CONTROL_COMMAND } from '../../src/xe/guc/pf-actions.ts';
import { MAILBOX_ACTION, SELF_CFG_KLV } from '../../src/xe/guc/vf-actions.ts';
import { MEMIRQ_SOURCE_OFFSET } from '../../src/xe/memirq.ts';
import { GTTMMADR } from '../../src/xe/platforms.ts';
import { encodeGgttPte } from '../../src/xe/pte.ts';
import { VF_REGISTERS } from '../../src/xe/registers.ts';

export const MIB = 2 ** 20;

/** What a VF is given in tests. */
export interface TestQuota {
  readonly ggttStart: number;
  readonly ggttSize: number;
  readonly vram: number;
  readonly contexts: number;
  readonly doorbells: number;
}

export const QUOTA: TestQuota = {
  ggttStart: 64 * MIB,
  ggttSize: 16 * MIB,
  vram: 8 * MIB,
  contexts: 64,
  doorbells: 8,
};

export function tileOf(gpu: EmulatedGpu): TilePort {
  return gpu.device.tiles[0] as TilePort;
}

export function gtOf(gpu: EmulatedGpu, id: number): GtPort {
  return tileOf(gpu).gts[id] as GtPort;
}

/** Gives a VF what it needs, as the PF's driver would. */
export function provision(gpu: EmulatedGpu, vfid: number, quota: TestQuota = QUOTA): void {
  const { ggtt, vram, gts } = tileOf(gpu);
  ggtt.assign(vfid, quota.ggttStart, quota.ggttSize);
  if (vram !== undefined) vram.assign(vfid, quota.vram);
  for (const gt of gts) {
    const klvs = new Uint32Array(13);
    let at = encodeKlvU64(klvs, 0, VF_CFG_KLV.GGTT_START.key, quota.ggttStart);
    at = encodeKlvU64(klvs, at, VF_CFG_KLV.GGTT_SIZE.key, quota.ggttSize);
    at = encodeKlvU64(klvs, at, VF_CFG_KLV.LMEM_SIZE.key, quota.vram);
    at = encodeKlvU32(klvs, at, VF_CFG_KLV.NUM_CONTEXTS.key, quota.contexts);
    encodeKlvU32(klvs, at, VF_CFG_KLV.NUM_DOORBELLS.key, quota.doorbells);
    const buffer = gt.guc.buffer(klvs.byteLength);
    buffer.bytes.set(new Uint8Array(klvs.buffer));
    const header = hxgRequest(PF2GUC_ACTION.UPDATE_VF_CFG.action);
    const taken = gt.guc.send([header, vfid, buffer.ggttAddress, 0, klvs.length]);
    buffer.release();
    if (taken !== 5) throw new Error(`the GuC took ${taken} KLVs`);
  }
}

/** A GPU with one provisioned VF. */
export function makeGpu(options: Partial<EmulatedGpuOptions> = {}, quota = QUOTA): EmulatedGpu {
  const gpu = new EmulatedGpu({ platform: 'bmg', ...options });
  provision(gpu, 1, quota);
  return gpu;
}

export function control(
  gpu: EmulatedGpu,
  gt: number,
  command: keyof typeof VF_CONTROL_COMMAND,
  vfid = 1,
): number {
  const header = hxgRequest(PF2GUC_ACTION.VF_CONTROL.action);
  return gtOf(gpu, gt).guc.send([header, vfid, VF_CONTROL_COMMAND[command]]);
}

/** Dwords of a VF's GuC state, as the PF's driver asks for it. */
export function queryState(gpu: EmulatedGpu, gt: number, vfid = 1): number {
  const header = hxgRequest(PF2GUC_ACTION.SAVE_RESTORE_VF.action);
  return gtOf(gpu, gt).guc.send([header, vfid, 0, 0, 0]);
}

export function saveState(gpu: EmulatedGpu, gt: number, vfid = 1): Uint8Array {
  const { guc } = gtOf(gpu, gt);
  const buffer = guc.buffer(queryState(gpu, gt, vfid) * 4);
  const header = hxgRequest(PF2GUC_ACTION.SAVE_RESTORE_VF.action, 0);
  try {
    const used = guc.send([header, vfid, buffer.ggttAddress, 0, buffer.bytes.length / 4]);
    return buffer.bytes.slice(0, used * 4);
  } finally {
    buffer.release();
  }
}

export function restoreState(gpu: EmulatedGpu, gt: number, state: Uint8Array, vfid = 1): number {
  const { guc } = gtOf(gpu, gt);
  const buffer = guc.buffer(state.length);
  buffer.bytes.set(state);
  const header = hxgRequest(PF2GUC_ACTION.SAVE_RESTORE_VF.action, 1);
  try {
    return guc.send([header, vfid, buffer.ggttAddress, 0, state.length / 4]);
  } finally {
    buffer.release();
  }
}

export function readDword(vf: PciFunction, bar: number, offset: number): number {
  const bytes = new Uint8Array(4);
  vf.barRead(bar, offset, bytes, 0, 4);
  return new DataView(bytes.buffer).getUint32(0, true);
}

export function writeDword(vf: PciFunction, bar: number, offset: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  vf.barWrite(bar, offset, bytes, 0, 4);
}

/** Byte offset in BAR 0 of the PTE of a GGTT address. */
export function pteBarOffset(address: number): number {
  return GTTMMADR.ggttStart + (address / 4096) * 8;
}

export function writePte(
  vf: PciFunction,
  ggttAddress: number,
  address: number,
  deviceMemory: boolean,
): void {
  const [lo, hi] = encodeGgttPte({ present: true, deviceMemory, vfid: 0, address, pat: 0 });
  writeDword(vf, 0, pteBarOffset(ggttAddress) + 4, hi);
  writeDword(vf, 0, pteBarOffset(ggttAddress), lo);
}

/** Guest memory with a DMA mapping over it. */
export function guestMemory(iova: number, size: number) {
  const bytes = new Uint8Array(size);
  const memory = {
    windows: [bytes],
    read: (offset: number, target: Uint8Array) =>
      target.set(bytes.subarray(offset, offset + target.length)),
    write: (offset: number, source: Uint8Array) => bytes.set(source, offset),
  };
  return { bytes, mapping: { iova, size, flags: 3, memory } };
}

/** Bytes from the start of a GuC's memory; its memory is 12 pages. */
export const LAYOUT = { h2gDesc: 0, g2hDesc: 0x800, h2g: 0x1000, g2h: 0x2000, memirq: 0xa000 };
export const H2G_SIZE = 0x1000;
const G2H_SIZE = 0x8000;
export const GUC_MEMORY_SIZE = 0xb000;

/** A VF's driver talking to one GuC, whose memory is `memory` at GGTT address `ggtt`. */
export class VfDriver {
  readonly vf: PciFunction;
  readonly memory: DataView;
  readonly ggtt: number;
  readonly #flag: number;
  readonly #notify: number;
  #fence = 0;

  constructor(vf: PciFunction, gt: 'main' | 'media', memory: Uint8Array, ggtt: number) {
    this.vf = vf;
    this.memory = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    this.ggtt = ggtt;
    const main = gt === 'main';
    this.#flag = (main ? VF_REGISTERS.VF_SW_FLAG : VF_REGISTERS.MED_VF_SW_FLAG).offset;
    this.#notify = (
      main ? VF_REGISTERS.GUC_HOST_INTERRUPT : VF_REGISTERS.MED_GUC_HOST_INTERRUPT
    ).offset;
  }

  notify(): void {
    writeDword(this.vf, 0, this.#notify, 0);
  }

  /** Writes a mailbox message without ringing. */
  post(message: readonly number[]): void {
    for (let n = 3; n >= 0; n--) writeDword(this.vf, 0, this.#flag + n * 4, message[n] ?? 0);
  }

  flags(): number[] {
    return [0, 1, 2, 3].map((n) => readDword(this.vf, 0, this.#flag + n * 4));
  }

  /** One mailbox conversation: what the registers hold after it. */
  mailbox(action: number, data0 = 0, ...data: number[]): number[] {
    this.post([hxgRequest(action, data0), ...data]);
    this.notify();
    return this.flags();
  }

  selfCfg(name: keyof typeof SELF_CFG_KLV, value: number): number[] {
    const { key, length } = SELF_CFG_KLV[name];
    const header = ((key << 16) | length) >>> 0;
    return this.mailbox(MAILBOX_ACTION.HOST2GUC_SELF_CFG, 0, header, value, 0);
  }

  /** All that comes before the first CTB message. */
  boot(): void {
    const replies = [
      this.mailbox(MAILBOX_ACTION.VF2GUC_VF_RESET),
      this.mailbox(MAILBOX_ACTION.VF2GUC_MATCH_VERSION, 0, 0x0001_0200),
      this.selfCfg('MEMIRQ_STATUS_ADDR', this.ggtt + LAYOUT.memirq),
      this.selfCfg('MEMIRQ_SOURCE_ADDR', this.ggtt + LAYOUT.memirq + MEMIRQ_SOURCE_OFFSET),
      this.selfCfg('H2G_CTB_DESCRIPTOR_ADDR', this.ggtt + LAYOUT.h2gDesc),
      this.selfCfg('H2G_CTB_ADDR', this.ggtt + LAYOUT.h2g),
      this.selfCfg('H2G_CTB_SIZE', H2G_SIZE),
      this.selfCfg('G2H_CTB_DESCRIPTOR_ADDR', this.ggtt + LAYOUT.g2hDesc),
      this.selfCfg('G2H_CTB_ADDR', this.ggtt + LAYOUT.g2h),
      this.selfCfg('G2H_CTB_SIZE', G2H_SIZE),
      this.mailbox(MAILBOX_ACTION.HOST2GUC_CONTROL_CTB, 0, 1),
    ];
    for (const [header = 0] of replies)
      if (header >>> 28 !== 0xf) throw new Error(`refused: ${header.toString(16)}`);
  }

  desc(which: 'h2g' | 'g2h', field: keyof typeof CTB_DESC): number {
    const at = which === 'h2g' ? LAYOUT.h2gDesc : LAYOUT.g2hDesc;
    return this.memory.getUint32(at + CTB_DESC[field], true);
  }

  setDesc(which: 'h2g' | 'g2h', field: keyof typeof CTB_DESC, value: number): void {
    const at = which === 'h2g' ? LAYOUT.h2gDesc : LAYOUT.g2hDesc;
    this.memory.setUint32(at + CTB_DESC[field], value, true);
  }

  /** Puts a message into H2G, wrapping as Linux does (NOPs to the end); does not ring. */
  put(type: number, action: number, payload: readonly number[]): number {
    const dwords = [
      ctbHeader(++this.#fence, payload.length + 1),
      (type << 28) | action,
      ...payload,
    ];
    let tail = this.desc('h2g', 'TAIL');
    if (tail + dwords.length > H2G_SIZE / 4) {
      for (; tail < H2G_SIZE / 4; tail++) this.memory.setUint32(LAYOUT.h2g + tail * 4, 0, true);
      tail = 0;
    }
    for (const dword of dwords) {
      this.memory.setUint32(LAYOUT.h2g + tail * 4, dword >>> 0, true);
      tail++;
    }
    this.setDesc('h2g', 'TAIL', tail % (H2G_SIZE / 4));
    return this.#fence;
  }

  /** Puts a message and rings. @returns its fence */
  send(action: number, payload: readonly number[], type: number = HXG_TYPE.FAST_REQUEST): number {
    const fence = this.put(type, action, payload);
    this.notify();
    return fence;
  }

  /** Takes every G2H message: CTB header, then HXG. */
  take(): number[][] {
    const messages: number[][] = [];
    const size = G2H_SIZE / 4;
    let head = this.desc('g2h', 'HEAD');
    while (head !== this.desc('g2h', 'TAIL')) {
      const header = this.memory.getUint32(LAYOUT.g2h + head * 4, true);
      const message = [header];
      for (let n = 1; n <= ctbLength(header); n++)
        message.push(this.memory.getUint32(LAYOUT.g2h + ((head + n) % size) * 4, true));
      head = (head + message.length) % size;
      messages.push(message);
    }
    this.setDesc('g2h', 'HEAD', head);
    return messages;
  }
}

/** A driver whose memory is guest memory at `iova`, mapped at the start of its GGTT region. */
export function driverInGuestMemory(
  gpu: EmulatedGpu,
  gt: 'main' | 'media' = 'main',
  quota = QUOTA,
  vfid = 1,
): VfDriver {
  const vf = gpu.vf(vfid);
  const place = gt === 'main' ? 0 : GUC_MEMORY_SIZE;
  const iova = 0x1_2345_6000 + place;
  const { bytes, mapping } = guestMemory(iova, GUC_MEMORY_SIZE);
  vf.dmaMap(mapping);
  const ggtt = quota.ggttStart + place;
  for (let at = 0; at < GUC_MEMORY_SIZE; at += 4096) writePte(vf, ggtt + at, iova + at, false);
  return new VfDriver(vf, gt, bytes, ggtt);
}

/** A driver whose memory is the start of the VF's VRAM. */
export function driverInVram(
  gpu: EmulatedGpu,
  gt: 'main' | 'media' = 'main',
  quota = QUOTA,
): VfDriver {
  const vf = gpu.vf(1);
  const place = gt === 'main' ? 0 : GUC_MEMORY_SIZE;
  const ggtt = quota.ggttStart + place;
  for (let at = 0; at < GUC_MEMORY_SIZE; at += 4096) writePte(vf, ggtt + at, place + at, true);
  const bytes = mapBar(vf, 2).subarray(place, place + GUC_MEMORY_SIZE);
  return new VfDriver(vf, gt, bytes, ggtt);
}

/** The first mappable area of a BAR, mapped as a VMM would. */
export function mapBar(vf: PciFunction, bar: number): Uint8Array {
  const area = vf.bars[bar]?.areas[0];
  if (area === undefined) throw new Error(`BAR ${bar} has nothing to map`);
  return Mapping.ofFd(area.fd, area.size, { fdOffset: area.fdOffset }).view();
}
