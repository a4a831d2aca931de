/**
 * vfio-user messages as bytes, written apart from src/vfio-user so that the two can disagree.
 *
 * Source: QEMU docs/interop/vfio-user.rst; include/uapi/linux/vfio.h.
 */

/** Message commands. */
export const CMD = {
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  DEVICE_GET_INFO: 4,
  DEVICE_GET_REGION_INFO: 5,
  DEVICE_GET_REGION_IO_FDS: 6,
  DEVICE_GET_IRQ_INFO: 7,
  DEVICE_SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  DMA_READ: 11,
  DMA_WRITE: 12,
  DEVICE_RESET: 13,
  REGION_WRITE_MULTI: 15,
  DEVICE_FEATURE: 16,
  MIG_DATA_READ: 17,
  MIG_DATA_WRITE: 18,
} as const;

/** Header flags. */
export const FLAG = { REPLY: 1, NO_REPLY: 0x10, ERROR: 0x20 } as const;
/** Bytes of a message header. */
export const HEADER_SIZE = 16;

/** Errno values that the specification or Linux name. */
export const E = {
  PERM: 1,
  NOENT: 2,
  IO: 5,
  ACCES: 13,
  BUSY: 16,
  EXIST: 17,
  INVAL: 22,
  NOSPC: 28,
  NOTTY: 25,
} as const;

/** Device feature operations and numbers. */
export const FEATURE_OP = { GET: 1 << 16, SET: 1 << 17, PROBE: 1 << 18 } as const;
export const FEATURE = {
  MIGRATION: 1,
  MIG_DEVICE_STATE: 2,
  DMA_LOGGING_START: 6,
  DMA_LOGGING_STOP: 7,
  DMA_LOGGING_REPORT: 8,
  MIG_DATA_SIZE: 9,
} as const;

/** Migration states by name. */
export const STATE = {
  ERROR: 0,
  STOP: 1,
  RUNNING: 2,
  STOP_COPY: 3,
  RESUMING: 4,
  RUNNING_P2P: 5,
  PRE_COPY: 6,
  PRE_COPY_P2P: 7,
} as const;
/** The name of a migration state. */
export type StateName = keyof typeof STATE;

/** SET_IRQS data types and actions. */
export const IRQ = {
  NONE: 1,
  BOOL: 2,
  EVENTFD: 4,
  MASK: 8,
  UNMASK: 16,
  TRIGGER: 32,
} as const;

/** A piece of a payload. */
export type Piece = Uint8Array | readonly number[];

/** The pieces one after the other. */
export function join(...pieces: readonly Piece[]): Uint8Array {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Little-endian u16 values. */
export function u16(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint16Array.from(values).buffer);
}

/** Little-endian u32 values. */
export function u32(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

/** Little-endian u64 values. */
export function u64(...values: ReadonlyArray<number | bigint>): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values, BigInt).buffer);
}

/** `text` as UTF-8, with a closing NUL unless told otherwise. */
export function text(value: string, nul = true): Uint8Array {
  return new TextEncoder().encode(nul ? `${value}\0` : value);
}

/** Header fields that a case wants otherwise than usual. */
export interface HeaderChange {
  readonly id?: number;
  readonly flags?: number;
  readonly error?: number;
  /** The size field; the real size when not given. */
  readonly size?: number;
}

/** One message. */
export function message(
  command: number,
  payload: Piece = [],
  change: HeaderChange = {},
): Uint8Array {
  return join(
    u16(change.id ?? 1, command),
    u32(change.size ?? HEADER_SIZE + payload.length, change.flags ?? 0, change.error ?? 0),
    payload,
  );
}

/** VERSION payload; `data` is the JSON value, or text to be sent as it is. */
export function version(major: number, minor: number, data?: unknown): Uint8Array {
  if (data === undefined) return u16(major, minor);
  return join(u16(major, minor), text(typeof data === 'string' ? data : JSON.stringify(data)));
}

/** DEVICE_GET_INFO payload. */
export function getInfo(argsz = 16): Uint8Array {
  return u32(argsz, 0, 0, 0);
}

/** DEVICE_GET_REGION_INFO payload. */
export function getRegionInfo(index: number, argsz = 4096): Uint8Array {
  return join(u32(argsz, 0, index, 0), u64(0, 0));
}

/** DEVICE_GET_IRQ_INFO payload. */
export function getIrqInfo(index: number, argsz = 16): Uint8Array {
  return u32(argsz, 0, index, 0);
}

/** DEVICE_SET_IRQS payload; `argsz` is right unless given. */
export function setIrqs(
  flags: number,
  index: number,
  start: number,
  count: number,
  data: Piece = [],
  argsz = 20 + data.length,
): Uint8Array {
  return join(u32(argsz, flags, index, start, count), data);
}

/** REGION_READ payload. */
export function regionRead(region: number, offset: number | bigint, count: number): Uint8Array {
  return join(u64(offset), u32(region, count));
}

/** REGION_WRITE payload; `count` is right unless given. */
export function regionWrite(
  region: number,
  offset: number | bigint,
  data: Piece,
  count = data.length,
): Uint8Array {
  return join(u64(offset), u32(region, count), data);
}

/** One write of a REGION_WRITE_MULTI payload: 24 bytes. */
export function singleWrite(region: number, offset: number, data: Piece): Uint8Array {
  const padded = new Uint8Array(8);
  padded.set(data.slice(0, 8));
  return join(u64(offset), u32(region, data.length), padded);
}

/** DMA_MAP payload. */
export function dmaMap(
  iova: number | bigint,
  size: number | bigint,
  change: { argsz?: number; flags?: number; offset?: number | bigint } = {},
): Uint8Array {
  return join(u32(change.argsz ?? 32, change.flags ?? 3), u64(change.offset ?? 0, iova, size));
}

/** DMA_UNMAP payload. */
export function dmaUnmap(
  iova: number | bigint,
  size: number | bigint,
  change: { argsz?: number; flags?: number } = {},
): Uint8Array {
  return join(u32(change.argsz ?? 24, change.flags ?? 0), u64(iova, size));
}

/** DEVICE_FEATURE payload; `argsz` is that of the request unless given. */
export function feature(flags: number, data: Piece = [], argsz = 8 + data.length): Uint8Array {
  return join(u32(argsz, flags), data);
}

/** DEVICE_FEATURE payload that sets the migration state. */
export function setState(state: number): Uint8Array {
  return feature(FEATURE_OP.SET | FEATURE.MIG_DEVICE_STATE, u32(state, 0xffff_ffff));
}

/** DEVICE_FEATURE payload that gets the migration state. */
export function getState(): Uint8Array {
  return feature(FEATURE_OP.GET | FEATURE.MIG_DEVICE_STATE, [], 16);
}

/** MIG_DATA_READ payload. */
export function migRead(size: number, argsz = 8 + size): Uint8Array {
  return u32(argsz, size);
}

/** MIG_DATA_WRITE payload. */
export function migWrite(data: Piece, size = data.length, argsz = 8 + data.length): Uint8Array {
  return join(u32(argsz, size), data);
}
