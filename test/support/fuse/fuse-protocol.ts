/** The FUSE messages that a small file system needs. Source: include/uapi/linux/fuse.h. */

export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
} as const;

/** The greatest read or write that comes in one request, bytes. */
export const MAX_TRANSFER = 2 ** 20;
const MAX_PAGES = MAX_TRANSFER / 4096;
const FUSE_ATOMIC_O_TRUNC = 1 << 3;
const FUSE_BIG_WRITES = 1 << 5;
const FUSE_MAX_PAGES = 1 << 22;
const FOPEN_DIRECT_IO = 1;
const IN_HEADER = 40;

/** A request, decoded as far as its kind goes. */
export interface FuseRequest {
  readonly opcode: number;
  readonly unique: bigint;
  readonly node: number;
  readonly pid: number;
  readonly body: Buffer;
}

export function decodeRequest(bytes: Buffer): FuseRequest {
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    node: Number(bytes.readBigUInt64LE(16)),
    pid: bytes.readUInt32LE(32),
    body: bytes.subarray(IN_HEADER, bytes.readUInt32LE(0)),
  };
}

/** The header of an answer. @param errno positive, 0 for success */
export function encodeHeader(unique: bigint, errno: number, length: number): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + length, 0);
  header.writeInt32LE(-errno, 4);
  header.writeBigUInt64LE(unique, 8);
  return header;
}

export function encodeInit(): Buffer {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(7, 0);
  out.writeUInt32LE(31, 4);
  out.writeUInt32LE(FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_MAX_PAGES, 12);
  out.writeUInt16LE(16, 16);
  out.writeUInt16LE(12, 18);
  out.writeUInt32LE(MAX_TRANSFER, 20);
  out.writeUInt32LE(1, 24);
  out.writeUInt16LE(MAX_PAGES, 28);
  return out;
}

/** `fuse_attr`; nothing is cached and every file has size 0, as in debugfs. */
function encodeAttr(out: Buffer, at: number, inode: number, mode: number): void {
  out.writeBigUInt64LE(BigInt(inode), at);
  out.writeUInt32LE(mode, at + 60);
  out.writeUInt32LE(1, at + 64);
  out.writeUInt32LE(4096, at + 80);
}

export function encodeEntry(inode: number, mode: number): Buffer {
  const out = Buffer.alloc(128);
  out.writeBigUInt64LE(BigInt(inode), 0);
  encodeAttr(out, 40, inode, mode);
  return out;
}

export function encodeAttributes(inode: number, mode: number): Buffer {
  const out = Buffer.alloc(104);
  encodeAttr(out, 16, inode, mode);
  return out;
}

export function encodeOpen(handle: number): Buffer {
  const out = Buffer.alloc(16);
  out.writeBigUInt64LE(BigInt(handle), 0);
  out.writeUInt32LE(FOPEN_DIRECT_IO, 8);
  return out;
}

export function encodeWritten(count: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeUInt32LE(count, 0);
  return out;
}

/** One `fuse_dirent`. @param next where reading the directory goes on after it */
export function encodeDirent(inode: number, mode: number, name: string, next: number): Buffer {
  const bytes = Buffer.from(name);
  const out = Buffer.alloc(Math.ceil((24 + bytes.length) / 8) * 8);
  out.writeBigUInt64LE(BigInt(inode), 0);
  out.writeBigUInt64LE(BigInt(next), 8);
  out.writeUInt32LE(bytes.length, 16);
  out.writeUInt32LE(mode >> 12, 20);
  bytes.copy(out, 24);
  return out;
}

/** handle, offset and size of a read or a write. */
export function decodeTransfer(body: Buffer): { handle: number; offset: number; size: number } {
  return {
    handle: Number(body.readBigUInt64LE(0)),
    offset: Number(body.readBigUInt64LE(8)),
    size: body.readUInt32LE(16),
  };
}
/** Where the data of a write begins in its body. */
export const WRITE_DATA_AT = 40;
