/**
 * A PCI function for tests: registers that behave like hardware (write masks, reset values), BARs
 * in memory, and a record of what was asked of it.
 */
import { Fault } from '../../src/base/fault.ts';
import { dataView } from '../../src/base/int.ts';
import type { DmaMapping } from '../../src/vfio/vfio-device.ts';
import type { EventFds } from '../../src/vfio-pci/event-fd.ts';
import type { Bar, PciFunction } from '../../src/vfio-pci/pci-function.ts';

/** One register: offset, bytes, reset value and the bits that may be written. */
export type Register = readonly [offset: number, size: 1 | 2 | 4, value: number, writable?: number];

/** What a test function is made of. */
export interface TestFunctionOptions {
  readonly deviceId?: number;
  readonly isVirtfn?: boolean;
  readonly configSize?: number;
  readonly registers: readonly Register[];
  readonly bars?: readonly Bar[];
  readonly vectors?: { intx: number; msi: number; msix: number };
}

const NO_BAR: Bar = { size: 0, is64Bit: false, prefetchable: false, areas: [] };

/** A 64-bit prefetchable BAR and the empty slot of its upper half. */
export function bar64(size: number): readonly Bar[] {
  return [{ size, is64Bit: true, prefetchable: true, areas: [] }, NO_BAR];
}

/** A PCI function in memory. */
export class TestFunction implements PciFunction {
  readonly configSize: number;
  readonly isVirtfn: boolean;
  readonly vendorId = 0x8086;
  readonly deviceId: number;
  readonly bars: readonly Bar[];
  readonly vectors: { readonly intx: number; readonly msi: number; readonly msix: number };
  onDmaWrite: ((iova: number, size: number) => void) | undefined = undefined;

  /** The registers as they are now. */
  readonly config: Uint8Array;
  /** Contents of each BAR's first 64 KiB. */
  readonly memory: readonly Uint8Array[];
  /** Eventfd of each vector, by `index:vector`. */
  readonly triggers = new Map<string, number>();
  /** Vectors that were raised by loop-back, as `index:vector`. */
  readonly raised: string[] = [];
  readonly mappings = new Set<DmaMapping>();
  /** Configuration writes as `offset/size=value`. */
  readonly configWrites: string[] = [];
  resets = 0;
  /** What a reset does beside resetting the registers; may throw or wait. */
  onReset: () => void | Promise<void> = () => undefined;

  readonly #reset: Uint8Array;
  readonly #writable: Uint8Array;
  #intx: ((asserted: boolean) => void) | null = null;
  #line = false;

  constructor(options: TestFunctionOptions) {
    this.configSize = options.configSize ?? 4096;
    this.isVirtfn = options.isVirtfn ?? true;
    this.deviceId = options.deviceId ?? 0xb080;
    this.bars = options.bars ?? [];
    this.vectors = options.vectors ?? { intx: 0, msi: 1, msix: 0 };
    this.config = new Uint8Array(this.configSize);
    this.#writable = new Uint8Array(this.configSize);
    this.memory = this.bars.map(({ size }) => new Uint8Array(Math.min(size, 65536)));
    for (const [offset, size, value, writable = 0] of options.registers)
      for (let i = 0; i < size; i++) {
        this.config[offset + i] = (value >>> (8 * i)) & 0xff;
        this.#writable[offset + i] = (writable >>> (8 * i)) & 0xff;
      }
    this.#reset = this.config.slice();
  }

  /** A register of the function itself. */
  register(offset: number, size: 1 | 2 | 4): number {
    const view = dataView(this.config);
    if (size === 1) return view.getUint8(offset);
    return size === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
  }

  /** Sets the level of the INTx line. */
  setIntx(asserted: boolean): void {
    this.#line = asserted;
    this.#intx?.(asserted);
  }

  /** The device writes `size` bytes at `iova`. */
  dmaWrite(iova: number, size: number): void {
    this.onDmaWrite?.(iova, size);
  }

  configRead(offset: number, bytes: Uint8Array, at: number, count: number): void {
    bytes.set(this.config.subarray(offset, offset + count), at);
  }

  configWrite(offset: number, bytes: Uint8Array, at: number, count: number): void {
    if (![1, 2, 4].includes(count) || offset % count !== 0)
      throw new RangeError(`${count} bytes at ${offset} are no access of configuration space`);
    let value = 0;
    for (let i = 0; i < count; i++) {
      const mask = this.#writable[offset + i] ?? 0;
      const byte = bytes[at + i] ?? 0;
      value += byte * 2 ** (8 * i);
      this.config[offset + i] = ((this.config[offset + i] ?? 0) & ~mask) | (byte & mask);
    }
    this.configWrites.push(`${offset.toString(16)}/${count}=${value.toString(16)}`);
  }

  barRead(bar: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    bytes.set(this.memory[bar]!.subarray(offset, offset + count), at);
  }

  barWrite(bar: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.memory[bar]!.set(bytes.subarray(at, at + count), offset);
  }

  setIrqTrigger(index: number, vector: number, eventfd: number | null): void {
    if (eventfd === null) this.triggers.delete(`${index}:${vector}`);
    else this.triggers.set(`${index}:${vector}`, eventfd);
  }

  raiseIrq(index: number, vector: number): void {
    this.raised.push(`${index}:${vector}`);
  }

  connectIntx(listener: ((asserted: boolean) => void) | null): void {
    this.#intx = listener;
    if (this.#line) listener?.(true);
  }

  dmaMap(mapping: DmaMapping): void {
    this.mappings.add(mapping);
  }

  dmaUnmap(mapping: DmaMapping): void {
    if (!this.mappings.delete(mapping)) throw new Fault('ENOENT', 'not mapped');
  }

  async functionLevelReset(): Promise<void> {
    this.resets++;
    await this.onReset();
    this.config.set(this.#reset);
  }

  close(): void {
    this.mappings.clear();
  }
}

/** Eventfds that are only numbers from 100 up, with counters to look at. */
export class FakeEventFds implements EventFds {
  readonly counters = new Map<number, number>();
  #next = 100;

  /** A new one with counter 0. */
  open(): number {
    const fd = this.#next++;
    this.counters.set(fd, 0);
    return fd;
  }

  /** The counter, undefined once closed. */
  counter(fd: number): number | undefined {
    return this.counters.get(fd);
  }

  isEventFd(fd: number): boolean {
    return this.counters.has(fd);
  }

  signal(fd: number): void {
    const counter = this.counters.get(fd);
    if (counter === undefined) throw new RangeError(`descriptor ${fd} is closed`);
    this.counters.set(fd, counter + 1);
  }

  close(fd: number): void {
    if (!this.counters.delete(fd)) throw new RangeError(`descriptor ${fd} is closed twice`);
  }
}

/** Offsets of the capabilities of {@link xeVf}. */
export const XE_VF = { EXP: 0x40, MSI: 0x90, PM: 0xd0, ARI: 0x100, ATS: 0x140 } as const;

/**
 * A VF of an Xe GPU as the kernel's driver meets it: one MSI vector, FLR, power management.
 * @param platform Panther Lake (integrated, no link) or Battlemage (an endpoint with VRAM)
 */
export function xeVf(platform: 'ptl' | 'bmg', overrides: Partial<TestFunctionOptions> = {}) {
  const integrated = platform === 'ptl';
  const { EXP, MSI, PM, ARI, ATS } = XE_VF;
  const link: readonly Register[] = integrated
    ? []
    : [
        [EXP + 0x0c, 4, 0x0043_dd05],
        [EXP + 0x12, 2, 0x1085],
      ];
  return new TestFunction({
    deviceId: integrated ? 0xb080 : 0xe20b,
    bars: [...bar64(16 * 2 ** 20), ...(integrated ? [] : bar64(2 ** 33))],
    registers: [
      // PCIe 9.3.4.1: the id registers of a VF read as ones.
      [0x00, 4, 0xffff_ffff],
      [0x04, 2, 0, 0x0004],
      [0x06, 2, 0x0010],
      [0x08, 4, 0x0300_0004],
      [0x2c, 4, 0x2212_8086],
      [0x34, 1, EXP],
      [EXP, 2, (MSI << 8) | 0x10],
      [EXP + 2, 2, integrated ? 0x0092 : 0x0002],
      [EXP + 4, 4, 0x1000_8000],
      [EXP + 8, 2, 0, 0x7fff],
      [EXP + 0x0a, 2, 0x0009],
      ...link,
      [EXP + 0x28, 2, 0, 0x7fff],
      [MSI, 2, (PM << 8) | 0x05],
      [MSI + 2, 2, 0x0080, 0x0071],
      [PM, 2, 0x0001],
      [PM + 2, 2, 0xc803],
      [PM + 4, 2, 0x0008, 0x0103],
      [ARI, 4, ((ATS << 20) | 0x1_000e) >>> 0],
      [ATS, 4, 0x0001_000f],
      [ATS + 6, 2, 0, 0x801f],
    ],
    ...overrides,
  });
}
