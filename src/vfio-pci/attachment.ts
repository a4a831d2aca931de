/**
 * Everything that a VMM's use of an open device consists of, apart from the device's own state: it can
 * be taken from one device and given to another one of the same kind, in this process or through a
 * socket (descriptors travel beside it).
 */
import type { DmaMapping } from '../vfio/vfio-device.ts';

/** Configuration space: what is the function's, and what is virtual. */
export interface ConfigState {
  /** The function's own registers, the first 256 bytes: beyond them nothing is writable. */
  readonly registers: Uint8Array;
  /** Values of the virtual bits, as long as configuration space. */
  readonly values: Uint8Array;
}

/** Which eventfds are assigned, and what of INTx is masked. */
export interface IrqState {
  /** INTx, MSI or MSI-X, the one that is enabled. */
  readonly enabled: number | undefined;
  /** Vectors that it was enabled with. */
  readonly allocated: number;
  /** Vector and eventfd of the enabled index. */
  readonly triggers: readonly (readonly [vector: number, fd: number])[];
  /** Index (ERR, REQ) and eventfd. */
  readonly singles: readonly (readonly [index: number, fd: number])[];
  readonly masked: boolean;
  readonly intxDisabled: boolean;
}

/** A VMM's use of a device. */
export interface Attachment {
  readonly config: ConfigState;
  readonly irqs: IrqState;
  /** Guest memory that the device may reach. */
  readonly mappings: readonly DmaMapping[];
}
