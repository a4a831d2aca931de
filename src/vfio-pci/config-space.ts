/**
 * Configuration space as a VMM sees it: the function's own registers where that is safe, ours
 * where it is not. See config-permissions.ts for which bit is whose.
 *
 * Source: drivers/vfio/pci/vfio_pci_config.c.
 */
import { Fault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import type { ConfigState } from './attachment.ts';
import { showCapabilities, showExtendedCapabilities } from './config-capabilities.ts';
import { fixBars, showHeader } from './config-header.ts';
import type { ConfigImage } from './config-image.ts';
import type { ConfigReader } from './config-permissions.ts';
import type { PciFunction } from './pci-function.ts';
import {
  PCI,
  PCI_AF,
  PCI_CAP_ID,
  PCI_CFG_SPACE_SIZE,
  PCI_COMMAND,
  PCI_EXP,
  PCI_MSI,
  PCI_MSIX,
  PCI_PM,
  PCI_STD_HEADER_SIZE,
  PCI_STD_NUM_BARS,
} from './pci-regs.ts';

/** Power state D3hot; from there on memory is not decoded. */
const PCI_D3HOT = 3;

/** What writes to configuration space start elsewhere. */
export interface ConfigEffects {
  /** DEVCTL or AF asked for a function-level reset, and the function has one. */
  functionReset(): Promise<void>;
  /** COMMAND.INTX_DISABLE is now set or clear. */
  intxDisable(disabled: boolean): void;
  /** True while MSI is enabled through SET_IRQS, which alone can enable it. */
  msiEnabled(): boolean;
}

/** Virtualised configuration space of one open device. */
export class ConfigSpace {
  readonly #function: PciFunction;
  readonly #effects: ConfigEffects;
  readonly #image: ConfigImage;
  readonly #values: DataView;
  readonly #capabilities: ReadonlyMap<number, number>;
  readonly #dword = new Uint8Array(4);
  readonly #dwordView = dataView(this.#dword);
  readonly #reader: ConfigReader;
  #memory = true;

  /** Reads the function's registers as they are now and lays the virtual ones over them. */
  constructor(pciFunction: PciFunction, effects: ConfigEffects) {
    this.#function = pciFunction;
    this.#effects = effects;
    const size = pciFunction.configSize;
    this.#image = {
      values: new Uint8Array(size),
      virt: new Uint8Array(size),
      // Between capabilities devices hide registers of their own: those are raw.
      write: new Uint8Array(size).fill(0xff, PCI_STD_HEADER_SIZE),
    };
    this.#values = dataView(this.#image.values);
    this.#reader = {
      u8: (at) => this.#hardware(at, 1),
      u16: (at) => this.#hardware(at, 2),
      u32: (at) => this.#hardware(at, 4),
    };
    showHeader(this.#image, pciFunction, this.#reader);
    this.#capabilities = showCapabilities(this.#image, this.#reader);
    const pm = this.#capabilities.get(PCI_CAP_ID.PM);
    if (pm !== undefined) this.#hidePme(pm);
    showExtendedCapabilities(this.#image, this.#reader, this.#capabilities);
    this.#updateMemory();
  }

  /** Bytes: 256 or 4096. */
  get size(): number {
    return this.#image.values.length;
  }

  /** True when BARs are decoded: D0 to D2, and COMMAND.MEMORY set (a VF has no such switch). */
  get memoryEnabled(): boolean {
    return this.#memory;
  }

  /** True when the function has an INTx line to show. */
  get hasIntx(): boolean {
    return this.#image.values[PCI.INTERRUPT_PIN] !== 0;
  }

  /** Where capability `id` is, undefined when it is absent or hidden. */
  capability(id: number): number | undefined {
    return this.#capabilities.get(id);
  }

  /** The part of a BAR that holds the MSI-X table: its writes are dropped, it reads as ones. */
  msixTable():
    | { readonly bar: number; readonly offset: number; readonly size: number }
    | undefined {
    const at = this.#capabilities.get(PCI_CAP_ID.MSIX);
    if (at === undefined) return undefined;
    const table = this.#hardware(at + PCI_MSIX.TABLE, 4);
    const entries = (this.#hardware(at + PCI_MSIX.FLAGS, 2) & PCI_MSIX.FLAGS_QSIZE) + 1;
    return {
      bar: table & PCI_MSIX.TABLE_BIR,
      offset: (table & ~PCI_MSIX.TABLE_BIR) >>> 0,
      size: entries * PCI_MSIX.ENTRY_SIZE,
    };
  }

  /** Reads `count` bytes at `offset`; both were checked to lie inside. */
  read(offset: number, bytes: Uint8Array, at: number, count: number): void {
    const { virt, values } = this.#image;
    this.#function.configRead(offset, bytes, at, count);
    for (let i = 0; i < count; i++) {
      const mask = virt[offset + i]!;
      if (mask !== 0) bytes[at + i] = (bytes[at + i]! & ~mask) | (values[offset + i]! & mask);
    }
  }

  /**
   * Writes `count` bytes at `offset`; both were checked to lie inside.
   * @returns a promise when a function-level reset has to be waited for
   */
  write(offset: number, bytes: Uint8Array, at: number, count: number): void | Promise<void> {
    let done = 0;
    while (done < count) {
      const pos = offset + done;
      const left = count - done;
      const size = pos % 4 === 0 && left >= 4 ? 4 : pos % 2 === 0 && left >= 2 ? 2 : 1;
      let value = 0;
      for (let i = size - 1; i >= 0; i--) value = value * 256 + bytes[at + done + i]!;
      const reset = this.#writeField(pos, size, value);
      done += size;
      if (reset !== undefined) {
        if (done === count) return reset;
        // The caller's buffer is only borrowed for the call.
        const rest = bytes.slice(at + done, at + count);
        return reset.then(() => this.write(offset + done, rest, 0, rest.length));
      }
    }
  }

  /**
   * Sets or clears the enable bit of MSI or MSI-X in the function itself.
   * Source: pci_alloc_irq_vectors, pci_free_irq_vectors (vfio_msi_enable, vfio_msi_disable)
   */
  enableMessages(id: typeof PCI_CAP_ID.MSI | typeof PCI_CAP_ID.MSIX, on: boolean): void {
    const at = this.#capabilities.get(id);
    if (at === undefined) return;
    const bit = id === PCI_CAP_ID.MSI ? PCI_MSI.FLAGS_ENABLE : PCI_MSIX.FLAGS_ENABLE;
    const flags = this.#hardware(at + PCI_MSI.FLAGS, 2);
    this.#writeHardware(at + PCI_MSI.FLAGS, 2, on ? flags | bit : flags & ~bit);
  }

  /** What a driver made of configuration space, for another device of the same kind. */
  state(): ConfigState {
    const registers = new Uint8Array(PCI_CFG_SPACE_SIZE);
    this.#function.configRead(0, registers, 0, registers.length);
    return { registers, values: this.#image.values.slice() };
  }

  /**
   * Makes configuration space what {@link state} of another device of the same kind gave.
   * @throws {Fault} EINVAL when that one's has another size
   */
  restore({ registers, values }: ConfigState): void {
    if (values.length !== this.size || registers.length !== PCI_CFG_SPACE_SIZE)
      throw new Fault('EINVAL', `configuration space of ${values.length} bytes`);
    this.#image.values.set(values);
    const saved = dataView(registers);
    for (let at = 0; at < registers.length; at += 2) {
      const value = saved.getUint16(at, true);
      // COMMAND comes when all is set.
      if (at !== PCI.COMMAND && this.#hardware(at, 2) !== value) this.#writeHardware(at, 2, value);
    }
    this.#writeHardware(PCI.COMMAND, 2, saved.getUint16(PCI.COMMAND, true));
    this.#updateMemory();
  }

  /** Puts the function into power state 0 to 3 when it has that state. */
  setPowerState(state: number): void {
    const at = this.#capabilities.get(PCI_CAP_ID.PM);
    if (at === undefined) return;
    const pmc = this.#hardware(at + PCI_PM.PMC, 2);
    const absent =
      (state === 1 && (pmc & PCI_PM.CAP_D1) === 0) || (state === 2 && (pmc & PCI_PM.CAP_D2) === 0);
    const control = this.#hardware(at + PCI_PM.CTRL, 2);
    if (!absent && (control & PCI_PM.CTRL_STATE_MASK) !== state)
      this.#writeHardware(at + PCI_PM.CTRL, 2, (control & ~PCI_PM.CTRL_STATE_MASK) | state);
    this.#updateMemory();
  }

  #hidePme(at: number): void {
    const pmc = this.#values.getUint16(at + PCI_PM.PMC, true);
    this.#values.setUint16(at + PCI_PM.PMC, pmc & ~PCI_PM.CAP_PME_MASK, true);
    const control = this.#values.getUint16(at + PCI_PM.CTRL, true);
    const pme = PCI_PM.CTRL_PME_ENABLE | PCI_PM.CTRL_PME_STATUS;
    this.#values.setUint16(at + PCI_PM.CTRL, control & ~pme, true);
  }

  #updateMemory(): void {
    const pm = this.#capabilities.get(PCI_CAP_ID.PM);
    const state =
      pm === undefined ? 0 : this.#hardware(pm + PCI_PM.CTRL, 2) & PCI_PM.CTRL_STATE_MASK;
    const decode =
      this.#function.isVirtfn || (this.#hardware(PCI.COMMAND, 2) & PCI_COMMAND.MEMORY) !== 0;
    this.#memory = decode && state < PCI_D3HOT;
  }

  /** Writes one aligned field of 1, 2 or 4 bytes. */
  #writeField(pos: number, size: number, value: number): Promise<void> | undefined {
    const { virt, write, values } = this.#image;
    let through = 0;
    for (let i = 0; i < size; i++) {
      const writable = write[pos + i]!;
      const ours = writable & virt[pos + i]!;
      if (ours !== 0) values[pos + i] = (values[pos + i]! & ~ours) | ((value >>> (8 * i)) & ours);
      through = (through | ((writable & ~virt[pos + i]!) << (8 * i))) >>> 0;
    }
    this.#writeThrough(pos, size, value, through);
    return this.#react(pos, size, value);
  }

  /**
   * Writes the bits of `mask` to the function. Halves without such bits are left out, so that
   * writing DEVCTL does not clear the write-one-to-clear bits of DEVSTA beside it.
   */
  #writeThrough(pos: number, size: number, value: number, mask: number): void {
    if (mask === 0) return;
    if (size > 1) {
      const half = size * 4;
      const lowMask = mask & (2 ** half - 1);
      const highMask = mask >>> half;
      if (lowMask === 0 || highMask === 0) {
        this.#writeThrough(pos, size / 2, value & (2 ** half - 1), lowMask);
        this.#writeThrough(pos + size / 2, size / 2, value >>> half, highMask);
        return;
      }
    }
    const all = 2 ** (8 * size) - 1;
    const kept = mask === all ? 0 : this.#hardware(pos, size) & ~mask;
    this.#writeHardware(pos, size, (kept | (value & mask)) >>> 0);
  }

  /** Does what a write to some registers means beyond their value. */
  #react(pos: number, size: number, value: number): Promise<void> | undefined {
    const end = pos + size;
    const touches = (at: number, length: number) => pos < at + length && end > at;
    if (end <= PCI_STD_HEADER_SIZE) {
      if (touches(PCI.COMMAND, 2)) {
        const command = this.#values.getUint16(PCI.COMMAND, true);
        this.#updateMemory();
        this.#effects.intxDisable((command & PCI_COMMAND.INTX_DISABLE) !== 0);
      } else if (touches(PCI.BASE_ADDRESS_0, 4 * PCI_STD_NUM_BARS) || touches(PCI.ROM_ADDRESS, 4)) {
        fixBars(this.#values, this.#function.bars);
      }
      return undefined;
    }
    const pm = this.#capabilities.get(PCI_CAP_ID.PM);
    if (pm !== undefined && pos === pm + PCI_PM.CTRL)
      this.setPowerState(value & PCI_PM.CTRL_STATE_MASK);
    const msi = this.#capabilities.get(PCI_CAP_ID.MSI);
    if (msi !== undefined && touches(msi + PCI_MSI.FLAGS, 2)) this.#setMsiFlags(msi);
    const exp = this.#capabilities.get(PCI_CAP_ID.EXP);
    if (exp !== undefined && touches(exp + PCI_EXP.DEVCTL, 2)) return this.#deviceControl(exp);
    const af = this.#capabilities.get(PCI_CAP_ID.AF);
    if (af !== undefined && touches(af + PCI_AF.CTRL, 1)) return this.#advancedFeatures(af);
    return undefined;
  }

  /** Source: vfio_msi_config_write */
  #setMsiFlags(at: number): void {
    let flags = this.#values.getUint16(at + PCI_MSI.FLAGS, true);
    if (!this.#effects.msiEnabled()) flags &= ~PCI_MSI.FLAGS_ENABLE;
    const most = (flags & PCI_MSI.FLAGS_QMASK) >> 1;
    if ((flags & PCI_MSI.FLAGS_QSIZE) >> 4 > most)
      flags = (flags & ~PCI_MSI.FLAGS_QSIZE) | (most << 4);
    this.#values.setUint16(at + PCI_MSI.FLAGS, flags, true);
    this.#writeHardware(at + PCI_MSI.FLAGS, 2, flags);
  }

  /** Source: vfio_exp_config_write */
  #deviceControl(at: number): Promise<void> | undefined {
    const control = this.#values.getUint16(at + PCI_EXP.DEVCTL, true);
    // The bit always reads as zero.
    this.#values.setUint16(at + PCI_EXP.DEVCTL, control & ~PCI_EXP.DEVCTL_BCR_FLR, true);
    this.#setReadRequest(at, control);
    const asked = (control & PCI_EXP.DEVCTL_BCR_FLR) !== 0;
    const able = (this.#hardware(at + PCI_EXP.DEVCAP, 4) & PCI_EXP.DEVCAP_FLR) !== 0;
    return asked && able ? this.#effects.functionReset() : undefined;
  }

  /** Read requests may be as long as the user likes, but not below the payload size in use. */
  #setReadRequest(at: number, control: number): void {
    const own = this.#hardware(at + PCI_EXP.DEVCTL, 2);
    const payload = (own & PCI_EXP.DEVCTL_PAYLOAD) >> 5;
    const wanted = Math.max((control & PCI_EXP.DEVCTL_READRQ) >> 12, payload) << 12;
    if ((own & PCI_EXP.DEVCTL_READRQ) !== wanted)
      this.#writeHardware(at + PCI_EXP.DEVCTL, 2, (own & ~PCI_EXP.DEVCTL_READRQ) | wanted);
  }

  /** Source: vfio_af_config_write */
  #advancedFeatures(at: number): Promise<void> | undefined {
    const control = this.#values.getUint8(at + PCI_AF.CTRL);
    this.#values.setUint8(at + PCI_AF.CTRL, control & ~PCI_AF.CTRL_FLR);
    const both = PCI_AF.CAP_FLR | PCI_AF.CAP_TP;
    const able = (this.#hardware(at + PCI_AF.CAP, 1) & both) === both;
    return (control & PCI_AF.CTRL_FLR) !== 0 && able ? this.#effects.functionReset() : undefined;
  }

  #hardware(at: number, size: 1 | 2 | 4 | number): number {
    this.#dwordView.setUint32(0, 0, true);
    this.#function.configRead(at, this.#dword, 0, size);
    return this.#dwordView.getUint32(0, true);
  }

  #writeHardware(at: number, size: number, value: number): void {
    this.#dwordView.setUint32(0, value, true);
    this.#function.configWrite(at, this.#dword, 0, size);
  }
}
