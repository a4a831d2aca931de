/**
 * What the PF driver needs of the device: its GuCs, its GGTT, its VRAM and the VF flag registers.
 *
 * The emulated GPU (src/gpu) implements these; tests implement them to cause faults.
 */

/** A GuC firmware version. */
export interface GucVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/** Memory that firmware reaches at a GGTT address; for H2G messages with indirect data. */
export interface GucBuffer {
  /** GGTT address, bytes. */
  readonly ggttAddress: number;
  readonly bytes: Uint8Array;
  /** Gives the memory back. Idempotent. */
  release(): void;
}

/** One GuC as its host driver talks to it. */
export interface GucPort {
  readonly version: GucVersion;
  /**
   * Sends an H2G REQUEST and waits for the answer (`xe_guc_ct_send_block`).
   *
   * @param message dwords, HXG header first
   * @returns DATA0 of the success response (28 bits)
   * @throws {Fault} EIO when firmware refuses, EBUSY when it asks to try again, ETIME without an
   * answer in 1 s, ECANCELED while the CT is disabled
   */
  send(message: readonly number[]): number;
  /** Installs the receiver of G2H events (dwords, HXG header first); one at a time. */
  onEvent(handler: (message: readonly number[]) => void): void;
  /**
   * Reserves memory for indirect data.
   * @param size bytes, more than 0, at most 8 MiB
   * @throws {Fault} ENOBUFS for any other size or when none is left
   */
  buffer(size: number): GucBuffer;
}

/** One GT. */
export interface GtPort {
  readonly id: number;
  readonly tileId: number;
  readonly type: 'main' | 'media';
  readonly guc: GucPort;
  /** VF_SW_FLAG(n) or MED_VF_SW_FLAG(n) of a VF, through the VF view of the PF's BAR. */
  readVfFlag(vfid: number, n: number): number;
  writeVfFlag(vfid: number, n: number, value: number): void;
  /**
   * Reads a register of the PF's view, for the runtime registers that VFs ask the PF for.
   * @param offset bytes in BAR0, the media GT's already moved by 0x380000; without this method every
   * runtime register reads 0
   */
  readRegister?(offset: number): number;
}

/** The GGTT of a tile, by global GGTT address in bytes (4 KiB a PTE). */
export interface GgttPort {
  /** First address that may be given to VFs, and one past the last. */
  readonly start: number;
  readonly end: number;
  /** Gives `[start, start+size)` to a VF: its PTEs are cleared and carry its VFID. */
  assign(vfid: number, start: number, size: number): void;
  /** Takes a VF's region back. */
  release(vfid: number): void;
  /** Clears the PTEs of a VF's region; the VFID stays (`xe_ggtt_assign` after FLR). */
  clear(vfid: number): void;
  /** Reads PTEs from `start` as hardware holds them, VFID field included; two dwords a PTE. */
  readPtes(start: number, into: Uint32Array): void;
  /** Writes PTEs, VFID field included, and invalidates the GGTT TLB. */
  writePtes(start: number, from: Uint32Array): void;
}

/** A run of VRAM that differs from what was sent of it. */
export interface VramPiece {
  /** Bytes from the start of the VRAM. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** How far a pre-copy has come. */
export interface VramChanges {
  /** Bytes of the first pass that were not sent yet; some may turn out to be zero. */
  readonly initialBytes: number;
  /** Bytes that are known to have changed after they were sent. */
  readonly dirtyBytes: number;
  /** Times that all of the memory was compared since the first pass. */
  readonly passes: number;
  /** Milliseconds that {@link VramTracking.stop} is likely to take; undefined when not known yet. */
  readonly stopMs: number | undefined;
  /** Milliseconds for which a change may go unnoticed; undefined when not known yet. */
  readonly staleMs: number | undefined;
}

/** How the last pass over VRAM that others have mapped found what changed. */
export interface VramLastPass {
  /** By comparing only what is in page tables of others, or all that was ever written. */
  readonly find: 'page-tables' | 'digests';
  /** Why not by page tables. */
  readonly because?: string;
  readonly ms: number;
  /** Bytes that were read. */
  readonly comparedBytes: number;
}

/**
 * The changes of a VRAM object while its VF is saved running. What was not sent is zero: the other
 * end begins with cleared VRAM.
 */
export interface VramTracking {
  /** Makes ready what needs time; called once, while the VF runs. */
  begin(): void;
  changes(): VramChanges;
  /** What is dirty counts as initial from now on. */
  reinit(): void;
  /** All bytes that {@link next} gave are used: their room may be taken again. */
  rewind(): void;
  /**
   * The next run that differs, at most `max` bytes (but not less than a block), which counts as sent
   * then; undefined when nothing is known to differ or no room is left for copies until
   * {@link rewind}.
   * @throws {Fault} EIO when looking for changes failed
   */
  next(max: number): VramPiece | undefined;
  /**
   * The VF stands still: finds all that differs.
   * @returns how; undefined when no pass was needed
   * @throws {Fault} EIO
   */
  stop(): Promise<VramLastPass | undefined>;
  /** The VF runs on after {@link stop}. */
  resume(): void;
  /** After {@link stop}: what {@link next} is still to give. */
  left(): { readonly bytes: number; readonly pieces: number };
  /** Idempotent. */
  close(): void;
}

/** The VRAM object of a VF on one tile. */
export interface VramObject {
  /** Bytes, a multiple of 2 MiB. */
  readonly size: number;
  /** The bytes themselves; `length` at most 512 MiB. */
  view(offset: number, length: number): Uint8Array;
  /** Makes all of it zero. */
  clear(): void;
  /** Makes a part of it zero, in whole pages; without this method it is written with zeros. */
  clearRange?(offset: number, length: number): void;
  /** True when changes can be tracked. */
  readonly trackable?: boolean;
  /**
   * Begins to track changes, for saving a VF that runs; ends earlier tracking. Undefined when that
   * is not possible.
   */
  track?(): VramTracking | undefined;
}

/** The VRAM of a tile. */
export interface VramPort {
  /** Usable bytes in all. */
  readonly usable: number;
  /** Makes the VRAM object of a VF. @throws {Fault} ENOSPC */
  assign(vfid: number, size: number): VramObject;
  /** Frees it. */
  release(vfid: number): void;
}

/** One tile: a GGTT, VRAM on discrete parts, and one or two GTs. */
export interface TilePort {
  readonly id: number;
  readonly ggtt: GgttPort;
  readonly vram: VramPort | undefined;
  readonly gts: readonly GtPort[];
}

/** The PF device. */
export interface PfDevicePort {
  /** PCI device id of the PF (and of its VFs). */
  readonly deviceId: number;
  /** PCI revision. */
  readonly revisionId: number;
  /** Graphics IP version times 100, such as 3000 for 30.00. */
  readonly graphicsVerx100: number;
  readonly hasMemirq: boolean;
  /** VFs that the device can have (SR-IOV TotalVFs). */
  readonly totalVfs: number;
  readonly tiles: readonly TilePort[];
}
