/** BAR0 of the conformance suite's device: 32-bit registers, little endian, by byte offset. */
export const BAR0 = {
  /** Reads "CASE". */
  ID: 0x00,
  /** Anything; part of the migrated state. */
  SCRATCH: 0x04,
  /** Writing one of {@link COMMAND} runs it; RESULT then holds 0 or an errno. */
  COMMAND: 0x08,
  RESULT: 0x0c,
  ARG0: 0x10,
  ARG1: 0x14,
  ARG2: 0x18,
  /** Resets done since the device was made. */
  RESET_COUNT: 0x20,
  /** DMA mappings known, and those of them that are mapped in place. */
  MAP_COUNT: 0x24,
  WINDOW_COUNT: 0x28,
  /** Arcs walked since the last reset; {@link BAR0.ARC_LOG} has one byte each: from << 4 | to. */
  ARC_COUNT: 0x2c,
  /** Milliseconds that a reset and an arc take; SLOW_BLOCKS: the thread is blocked meanwhile. */
  SLOW_MS: 0x30,
  SLOW_BLOCKS: 0x34,
  /** The errno that the next arc fails with; FAIL_KIND 1: the device breaks (ERROR). */
  FAIL_ARC: 0x38,
  FAIL_KIND: 0x3c,
  /** The errno that every write of migration data fails with. */
  FAIL_WRITE: 0x40,
  /** Bytes of the body of a saved stream. */
  STREAM_LENGTH: 0x44,
  ARC_LOG: 0x80,
  /** Any access that touches these four bytes fails with EIO. */
  BROKEN: 0x100,
} as const;

/** What {@link BAR0.COMMAND} takes. */
export const COMMAND = {
  /** ARG0 interrupt index, ARG1 vector. */
  RAISE_IRQ: 1,
  /** ARG0 and ARG1 low and high half of the address, ARG2 bytes, to the buffer. */
  DMA_READ: 2,
  /** The same, from the buffer. */
  DMA_WRITE: 3,
} as const;

/** Bytes of BAR0. */
export const BAR0_SIZE = 0x10000;
/** Where the DMA buffer begins; it goes to the end of BAR0. */
export const BUFFER = 0x8000;

/** How a conformance device is made. */
export interface CaseDeviceOptions {
  /** VFIO_MIGRATION flags; all of them when not given. */
  readonly migrationFlags?: number;
  /** Default true. */
  readonly canReset?: boolean;
  /** Default true. */
  readonly dmaLogging?: boolean;
  /** False: BAR0 is plain memory and nothing in it makes the device act. Default true. */
  readonly steerable?: boolean;
  /** Path, to which something is added, of the memory of mappable regions. */
  readonly path?: string;
}
