/** One emulated VF as a PCI function. */

import { signalEventFd } from '../sys/eventfd.ts';
import type { Bar, PciFunction } from '../vfio-pci/pci-function.ts';
import { VF_NOTIFY } from '../xe/guc/pf-actions.ts';
import { GTTMMADR, PCI_VENDOR_ID_INTEL, type Platform, XE_BAR } from '../xe/platforms.ts';
import { GGTT_PAGE_SIZE } from '../xe/pte.ts';
import { APERTURE_BLOCK, registerBlockOf, VfCounters } from './counters.ts';
import { DmaTable } from './dma.ts';
import type { EngineInstance, ExecutionHost } from './engine/contracts.ts';
import type { CcsStore } from './flat-ccs.ts';
import { type Ggtt, pteOffset } from './ggtt.ts';
import type { Guc } from './guc/guc.ts';
import type { GucVfHost } from './guc/guc-vf-host.ts';
import { PhysicalMemory } from './memory/physical-memory.ts';
import { PpgttSpaces } from './memory/ppgtt-spaces.ts';
import { VfAddressSpace } from './vf-address-space.ts';
import { VfBars } from './vf-bars.ts';
import { CONFIG_SIZE, VfConfigSpace } from './vf-config-space.ts';
import { executionHost } from './vf-execution.ts';
import { type RegisterTarget, VF_REGISTER_HANDLERS } from './vf-registers.ts';
import type { Vram } from './vram.ts';

type DmaMapping = Parameters<PciFunction['dmaMap']>[0];

/** VFIO_PCI_MSI_IRQ_INDEX. */
const MSI_INDEX = 1;

/** Bytes up to which copying one by one beats making views. */
const SMALL_ACCESS = 8;

/** What a VF is part of. */
export interface VfSurroundings {
  readonly platform: Platform;
  readonly deviceId: number;
  readonly revisionId: number;
  readonly ggtt: Ggtt;
  readonly vram: Vram | undefined;
  readonly mainGuc: Guc;
  readonly mediaGuc: Guc | undefined;
}

/** An emulated VF. */
export class VfFunction implements PciFunction, RegisterTarget, GucVfHost {
  readonly vfid: number;
  readonly configSize = CONFIG_SIZE;
  readonly isVirtfn = true;
  readonly vendorId = PCI_VENDOR_ID_INTEL;
  readonly deviceId: number;
  readonly vectors = { intx: 0, msi: 1, msix: 0 };
  readonly mainGuc: Guc;
  readonly mediaGuc: Guc | undefined;
  /** Memory by physical address, and who is told of the device's writes to it. */
  readonly physical: PhysicalMemory;
  /** Memory by the addresses of the VF's PPGTTs. */
  readonly ppgtts: PpgttSpaces;
  /** Memory by the VF's GGTT addresses. */
  readonly memory: VfAddressSpace;
  /** What the VF's driver made this function do. */
  readonly counters = new VfCounters();
  readonly #around: VfSurroundings;
  readonly #config: VfConfigSpace;
  readonly #dma = new DmaTable();
  readonly #executions = new Map<string, ExecutionHost>();
  readonly #bars = new VfBars();
  readonly #dword = new Uint8Array(4);
  readonly #dwordView = new DataView(this.#dword.buffer);
  /** The page that user space maps as a write barrier: plain memory. */
  #barrierPage: Uint8Array | undefined;
  #msi: number | null = null;

  constructor(vfid: number, around: VfSurroundings) {
    this.vfid = vfid;
    this.#around = around;
    this.deviceId = around.deviceId;
    this.mainGuc = around.mainGuc;
    this.mediaGuc = around.mediaGuc;
    this.#config = new VfConfigSpace(around.platform, around.deviceId, around.revisionId);
    this.physical = new PhysicalMemory({ vfid, vram: around.vram, dma: this.#dma });
    this.ppgtts = new PpgttSpaces(this.physical, around.platform.discrete);
    this.memory = new VfAddressSpace({
      ggtt: () => around.ggtt.window(vfid),
      physical: this.physical,
    });
  }

  /** Compression metadata of the VF's memory. */
  get flatCcs(): CcsStore {
    return this.physical.flatCcs;
  }

  get onDmaWrite(): ((iova: number, size: number) => void) | undefined {
    return this.physical.onDmaWrite;
  }

  set onDmaWrite(listener: ((iova: number, size: number) => void) | undefined) {
    this.physical.onDmaWrite = listener;
  }

  get bars(): readonly Bar[] {
    const { ggtt, vram } = this.#around;
    return this.#bars.of(ggtt.window(this.vfid), vram?.object(this.vfid));
  }

  configRead(offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#config.read(offset, bytes, at, count);
  }

  configWrite(offset: number, bytes: Uint8Array, at: number, count: number): void {
    if (this.#config.write(offset, bytes, at, count)) void this.functionLevelReset();
  }

  barRead(bar: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    if (bar === XE_BAR.GTTMMADR) this.#readGttmmadr(offset, bytes, at, count);
    else this.#readLmem(offset, bytes, at, count);
  }

  barWrite(bar: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    if (bar === XE_BAR.GTTMMADR) this.#writeGttmmadr(offset, bytes, at, count);
    else this.#writeLmem(offset, bytes, at, count);
  }

  setIrqTrigger(index: number, vector: number, eventfd: number | null): void {
    if (index === MSI_INDEX && vector === 0) this.#msi = eventfd;
  }

  raiseIrq(index: number, vector: number): void {
    if (index === MSI_INDEX && vector === 0 && this.#msi !== null) signalEventFd(this.#msi);
  }

  raiseMsi(source: string): void {
    this.counters.interrupt(source);
    if (this.#msi !== null) signalEventFd(this.#msi);
  }

  execution({ name }: EngineInstance): ExecutionHost {
    let host = this.#executions.get(name);
    if (host === undefined) {
      host = executionHost(name, {
        memory: this.memory,
        ppgtts: this.ppgtts,
        flatCcs: this.flatCcs,
        discrete: this.#around.platform.discrete,
        counters: this.counters,
        raiseMsi: (source) => this.raiseMsi(source),
      });
      this.#executions.set(name, host);
    }
    return host;
  }

  ggttAsked(): void {
    this.#around.ggtt.window(this.vfid)?.settle();
  }

  invalidateTlbs(): void {
    this.physical.invalidateTlbs();
  }

  dmaMap(mapping: DmaMapping): void {
    this.#dma.add(mapping);
  }

  dmaUnmap(mapping: DmaMapping): void {
    this.#dma.remove(mapping);
    this.flatCcs.forget(mapping.iova, mapping.size);
  }

  /**
   * Resets the function's own state and tells both GuCs, which tell the PF: the PF then resets
   * what it keeps for the VF, as on hardware. Until that is done the VF's GuCs do not answer.
   */
  functionLevelReset(): Promise<void> {
    this.#config.reset();
    this.#barrierPage = undefined;
    this.ppgtts.clear();
    this.flatCcs.clear();
    for (const guc of [this.mainGuc, this.mediaGuc]) {
      if (guc === undefined) continue;
      guc.scheduler.reset(this.vfid);
      guc.vf(this.vfid).execution = 'reset';
      guc.notifyPf(this.vfid, VF_NOTIFY.FLR);
    }
    return Promise.resolve();
  }

  close(): void {
    this.#msi = null;
    this.#dma.clear();
  }

  #readGttmmadr(offset: number, bytes: Uint8Array, at: number, count: number): void {
    if (offset >= GTTMMADR.ggttStart) {
      this.#ggttBytes(offset - GTTMMADR.ggttStart, bytes, at, count, false);
      return;
    }
    let done = 0;
    while (done < count) {
      const place = offset + done;
      if (place >= GTTMMADR.ggttStart) {
        this.#ggttBytes(place - GTTMMADR.ggttStart, bytes, at + done, count - done, false);
        return;
      }
      const skip = place & 3;
      const length = Math.min(4 - skip, count - done);
      const value = this.#readDword(place - skip);
      for (let i = 0; i < length; i++) bytes[at + done + i] = value >>> ((skip + i) * 8);
      done += length;
    }
  }

  #writeGttmmadr(offset: number, bytes: Uint8Array, at: number, count: number): void {
    let done = 0;
    while (done < count) {
      const place = offset + done;
      if (place >= GTTMMADR.ggttStart) {
        this.#ggttBytes(place - GTTMMADR.ggttStart, bytes, at + done, count - done, true);
        return;
      }
      const skip = place & 3;
      const length = Math.min(4 - skip, count - done);
      let value = length === 4 ? 0 : this.#readDword(place - skip);
      for (let i = 0; i < length; i++) {
        const shift = (skip + i) * 8;
        value = (value & ~(0xff << shift)) | ((bytes[at + done + i] as number) << shift);
      }
      this.#writeDword(place - skip, value);
      done += length;
    }
  }

  #readDword(offset: number): number {
    if (offset < GTTMMADR.mmioEnd) {
      this.counters.registerRead(registerBlockOf(offset));
      return VF_REGISTER_HANDLERS.get(offset)?.read(this) ?? 0;
    }
    if (offset < GTTMMADR.barrierPage) return 0;
    this.counters.registerRead(APERTURE_BLOCK.BARRIER);
    if (this.#barrierPage === undefined) return 0;
    this.#dword.set(this.#barrierPage.subarray(offset & 0xffc, (offset & 0xffc) + 4));
    return this.#dwordView.getInt32(0, true);
  }

  #writeDword(offset: number, value: number): void {
    if (offset < GTTMMADR.mmioEnd) {
      this.counters.registerWrite(registerBlockOf(offset));
      VF_REGISTER_HANDLERS.get(offset)?.write(this, value);
    } else if (offset >= GTTMMADR.barrierPage) {
      this.counters.registerWrite(APERTURE_BLOCK.BARRIER);
      this.#barrierPage ??= new Uint8Array(GGTT_PAGE_SIZE);
      this.#dwordView.setInt32(0, value, true);
      this.#barrierPage.set(this.#dword, offset & 0xffc);
    }
  }

  /** Bytes of PTEs, by offset in the GGTT half of BAR 0: outside of the window zeros, dropped. */
  #ggttBytes(offset: number, bytes: Uint8Array, at: number, count: number, write: boolean): void {
    if (write) this.counters.registerWrite(APERTURE_BLOCK.GGTT);
    else this.counters.registerRead(APERTURE_BLOCK.GGTT);
    if (!write) bytes.fill(0, at, at + count);
    const window = this.#around.ggtt.window(this.vfid);
    if (window === undefined || !(write || window.writtenWords !== undefined)) return;
    const start = pteOffset(window.start);
    const from = Math.max(offset, start);
    const to = Math.min(offset + count, start + pteOffset(window.size));
    if (from >= to) return;
    const ptes = window.bytes;
    const first = at + from - offset;
    if (to - from > SMALL_ACCESS) {
      const part = bytes.subarray(first, first + to - from);
      if (write) ptes.set(part, from - start);
      else part.set(ptes.subarray(from - start, to - start));
    } else if (write) {
      for (let i = 0; i < to - from; i++) ptes[from - start + i] = bytes[first + i] as number;
    } else {
      for (let i = 0; i < to - from; i++) bytes[first + i] = ptes[from - start + i] as number;
    }
  }

  #readLmem(offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.counters.registerRead(APERTURE_BLOCK.LMEM);
    const vram = this.#around.vram?.object(this.vfid);
    const inside = vram?.memory.exists === true ? Math.min(count, vram.size - offset) : 0;
    if (vram !== undefined && inside > 0) bytes.set(vram.view(offset, inside), at);
    bytes.fill(0, at + Math.max(inside, 0), at + count);
  }

  #writeLmem(offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.counters.registerWrite(APERTURE_BLOCK.LMEM);
    const vram = this.#around.vram?.object(this.vfid);
    const inside = vram === undefined ? 0 : Math.min(count, vram.size - offset);
    if (vram === undefined || inside <= 0) return;
    vram.view(offset, inside).set(bytes.subarray(at, at + inside));
    vram.wrote(offset, inside);
  }
}
