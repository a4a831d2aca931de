/**
 * The configuration space of a VF, as the function itself has it: what SR-IOV makes read as ones or
 * zeros does so here, and virtualising that is the job of generic VFIO PCI.
 *
 * The places of the capabilities are those that Intel's GPUs show (PCIe at 0x70, MSI at 0xac, power
 * management at 0xd0). MSI, not MSI-X: with MSI-X Linux 7.3's xe overruns its interrupt page.
 *
 * Source: PCI Express Base 6.0, chapters 7.5 (registers), 9.3.4 (VFs); PCI PM 1.2.
 */
import type { Platform } from '../xe/platforms.ts';
import { PCI_VENDOR_ID_INTEL } from '../xe/platforms.ts';

/** Bytes of a VF's configuration space. */
export const CONFIG_SIZE = 4096;

/** Offsets of the capabilities. */
const VF_CAPABILITY = { PCIE: 0x70, MSI: 0xac, PM: 0xd0, EXTENDED: 0x100 } as const;

const PCI = { COMMAND: 0x04, STATUS: 0x06, REVISION: 0x08, SUBSYSTEM: 0x2c, CAP_POINTER: 0x34 };
const CAP_ID = { PM: 0x01, MSI: 0x05, PCIE: 0x10 };
const EXT_CAP_ID = { ARI: 0x000e, ATS: 0x000f };
const BUS_MASTER = 0x0004;
const STATUS_CAP_LIST = 0x0010;
/** Display controller, VGA compatible. */
const CLASS_CODE = 0x030000;

/** The byte of Device Control that holds the FLR bit, and the bit in it. */
const DEVCTL_HIGH_BYTE = VF_CAPABILITY.PCIE + 0x09;
const DEVCTL_HIGH_FLR = 0x80;

/** Configuration space of one VF. */
export class VfConfigSpace {
  readonly #bytes: Uint8Array;
  readonly #initial: Uint8Array;

  constructor(platform: Platform, deviceId: number, revisionId: number) {
    this.#initial = initialSpace(platform, deviceId, revisionId);
    this.#bytes = this.#initial.slice();
  }

  /** Copies `count` bytes at `offset`. */
  read(offset: number, bytes: Uint8Array, at: number, count: number): void {
    for (let i = 0; i < count; i++) bytes[at + i] = this.#bytes[offset + i] ?? 0;
  }

  /** Writes what is writable. @returns true when the write asks for a function-level reset */
  write(offset: number, bytes: Uint8Array, at: number, count: number): boolean {
    let reset = false;
    for (let i = 0; i < count && offset + i < CONFIG_SIZE; i++) {
      const place = offset + i;
      const value = bytes[at + i] as number;
      const mask = WRITABLE[place] as number;
      this.#bytes[place] = ((this.#bytes[place] as number) & ~mask) | (value & mask);
      if (place === DEVCTL_HIGH_BYTE && (value & DEVCTL_HIGH_FLR) !== 0) reset = true;
    }
    return reset;
  }

  /** Back to what it is after a reset. */
  reset(): void {
    this.#bytes.set(this.#initial);
  }
}

const WRITABLE = writableBits();

function writableBits(): Uint8Array {
  const bytes = new Uint8Array(CONFIG_SIZE);
  const view = new DataView(bytes.buffer);
  // A VF has bus mastering of its own; memory space, payload sizes, ordering and error reporting
  // are the PF's, and INTx does not exist.
  view.setUint16(PCI.COMMAND, BUS_MASTER, true);
  view.setUint16(VF_CAPABILITY.MSI + 2, 0x0001, true);
  view.setUint32(VF_CAPABILITY.MSI + 4, 0xffff_fffc, true);
  view.setUint32(VF_CAPABILITY.MSI + 8, 0xffff_ffff, true);
  view.setUint16(VF_CAPABILITY.MSI + 12, 0xffff, true);
  view.setUint16(VF_CAPABILITY.PM + 4, 0x0003, true);
  return bytes;
}

function initialSpace(platform: Platform, deviceId: number, revisionId: number): Uint8Array {
  const bytes = new Uint8Array(CONFIG_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xffff_ffff, true);
  view.setUint16(PCI.STATUS, STATUS_CAP_LIST, true);
  view.setUint32(PCI.REVISION, ((CLASS_CODE << 8) | revisionId) >>> 0, true);
  view.setUint16(PCI.SUBSYSTEM, PCI_VENDOR_ID_INTEL, true);
  view.setUint16(PCI.SUBSYSTEM + 2, deviceId, true);
  bytes[PCI.CAP_POINTER] = VF_CAPABILITY.PCIE;
  addPcie(view, platform);
  addMsi(view);
  addPowerManagement(view);
  addExtended(view, platform);
  return bytes;
}

function addPcie(view: DataView, platform: Platform): void {
  const at = VF_CAPABILITY.PCIE;
  view.setUint16(at, CAP_ID.PCIE | (VF_CAPABILITY.MSI << 8), true);
  // Version 2; an endpoint, or an endpoint integrated into the root complex.
  const type = platform.discrete ? 0x0 : 0x9;
  view.setUint16(at + 0x02, (type << 4) | 2, true);
  // Role-based error reporting, FLR, payloads of 128 bytes (256 on a card).
  view.setUint32(at + 0x04, 0x1000_8000 | (platform.discrete ? 1 : 0), true);
  if (platform.discrete) {
    // What Intel's cards show: 2.5 GT/s and one lane behind the card's own switch.
    view.setUint32(at + 0x0c, 0x0000_0011, true);
    view.setUint16(at + 0x12, 0x0011, true);
  }
  // Completion timeout disable supported.
  view.setUint32(at + 0x24, 0x0000_0010, true);
}

function addMsi(view: DataView): void {
  const at = VF_CAPABILITY.MSI;
  view.setUint16(at, CAP_ID.MSI | (VF_CAPABILITY.PM << 8), true);
  // 64-bit address, one vector, no masking.
  view.setUint16(at + 2, 0x0080, true);
}

function addPowerManagement(view: DataView): void {
  const at = VF_CAPABILITY.PM;
  view.setUint16(at, CAP_ID.PM, true);
  // Version 3, D0 and D3hot only.
  view.setUint16(at + 2, 0x0003, true);
  // No soft reset: D3hot keeps the context.
  view.setUint16(at + 4, 0x0008, true);
}

function addExtended(view: DataView, platform: Platform): void {
  const id = platform.discrete ? EXT_CAP_ID.ARI : EXT_CAP_ID.ATS;
  view.setUint32(VF_CAPABILITY.EXTENDED, id | (1 << 16), true);
}
