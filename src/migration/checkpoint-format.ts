/**
 * The checkpoint file: the raw Linux stream between a header and an index, little endian.
 *
 * ```
 * 0          header, 4096 bytes
 * 4096       the stream, byte for byte as Linux's xe-vfio-pci gives it
 *            index, 24 bytes a packet
 * end - 72   footer
 * ```
 *
 * Everything in front of the stream is known before its first byte, everything behind it only after
 * its last: so a checkpoint is written in one go, and one that was cut has no footer.
 */
import { crc32 } from 'node:zlib';
import { Fault } from '../base/fault.ts';
import { dataView, readU64, writeU64 } from '../base/int.ts';
import { INDEX_ENTRY_SIZE, INDEX_MAX_PACKETS } from './checkpoint-index.ts';
import type { VfProfile } from './vf-profile.ts';

/** First bytes of a checkpoint; no stream begins with 0x89, and text conversions break it. */
const CHECKPOINT_MAGIC = Uint8Array.of(0x89, 0x58, 0x45, 0x56, 0x46, 0x0d, 0x0a, 0x1a);
/** First bytes of the footer: `XEVFEND` and a zero. */
const FOOTER_MAGIC = Uint8Array.of(0x58, 0x45, 0x56, 0x46, 0x45, 0x4e, 0x44, 0x00);
/** The only format version there is. */
const CHECKPOINT_VERSION = 1;
/** Bytes of the header: the stream begins at a page. */
export const CHECKPOINT_HEADER_SIZE = 4096;
/** Bytes of the footer. */
export const CHECKPOINT_FOOTER_SIZE = 72;
/** Layout of the header, for documents and the test that holds the codec to it. */
export const CHECKPOINT_HEADER_LAYOUT = [
  { name: 'magic', offset: 0, size: 8 },
  { name: 'version', offset: 8, size: 4 },
  { name: 'headerSize', offset: 12, size: 4 },
  /** A bit for each profile field that follows, in their order; the others are zero. */
  { name: 'known', offset: 16, size: 4 },
  { name: 'deviceId', offset: 20, size: 4 },
  { name: 'revisionId', offset: 24, size: 4 },
  { name: 'contexts', offset: 28, size: 4 },
  { name: 'doorbells', offset: 32, size: 4 },
  { name: 'capabilities', offset: 36, size: 4 },
  { name: 'ggttSize', offset: 40, size: 8 },
  { name: 'vramSize', offset: 48, size: 8 },
  { name: 'gucVersion', offset: 56, size: 12 },
  { name: 'platform', offset: 68, size: 16 },
  /** Zero: keeps `createdAt` aligned. */
  { name: 'reserved', offset: 84, size: 4 },
  /** Milliseconds since 1970, 0 when not told. */
  { name: 'createdAt', offset: 88, size: 8 },
  /** CRC32 of all that is in front of it. */
  { name: 'crc', offset: 4092, size: 4 },
] as const;

/** Layout of the footer. */
export const CHECKPOINT_FOOTER_LAYOUT = [
  { name: 'magic', offset: 0, size: 8 },
  { name: 'streamBytes', offset: 8, size: 8 },
  { name: 'packets', offset: 16, size: 8 },
  { name: 'indexCrc', offset: 24, size: 4 },
  { name: 'footerSize', offset: 28, size: 4 },
  /** SHA-256 of the whole file in front of this field. */
  { name: 'sha256', offset: 32, size: 32 },
  { name: 'reserved', offset: 64, size: 4 },
  /** CRC32 of the footer in front of this field. */
  { name: 'crc', offset: 68, size: 4 },
] as const;

/** Where the SHA-256 of the footer lies, and with it the end of what it covers. */
const FOOTER_SHA256_OFFSET = 32;
const FOOTER_CRC_OFFSET = 68;

/** What a checkpoint's header says. */
export interface CheckpointHeader {
  readonly profile: VfProfile;
  /** Milliseconds since 1970. */
  readonly createdAt?: number | undefined;
}

/** What a checkpoint's footer says. */
export interface CheckpointFooter {
  readonly streamBytes: number;
  readonly packets: number;
  readonly indexCrc: number;
  readonly sha256: Uint8Array;
}

const U32_FIELDS = ['deviceId', 'revisionId', 'contexts', 'doorbells', 'capabilities'] as const;
const U64_FIELDS = ['ggttSize', 'vramSize'] as const;
const KNOWN = [...U32_FIELDS, ...U64_FIELDS, 'gucVersion', 'platform'] as const;
const AT = Object.fromEntries(
  CHECKPOINT_HEADER_LAYOUT.map(({ name, offset }) => [name, offset]),
) as Record<(typeof CHECKPOINT_HEADER_LAYOUT)[number]['name'], number>;
const PLATFORM_SIZE = 16;
/** The last millisecond that a Date can hold. */
const TIME_MAX = 8_640_000_000_000_000;
/** Names go to terminals. */
const PRINTABLE = /^[ -~]*$/;

/** True when `bytes` begin as a checkpoint does. */
export function isCheckpoint(bytes: Uint8Array): boolean {
  return CHECKPOINT_MAGIC.every((byte, at) => bytes[at] === byte);
}

/** The header's 4096 bytes. @throws {RangeError} when the platform's name is above 16 bytes */
export function encodeCheckpointHeader({ profile, createdAt }: CheckpointHeader): Uint8Array {
  const bytes = new Uint8Array(CHECKPOINT_HEADER_SIZE);
  const view = dataView(bytes);
  bytes.set(CHECKPOINT_MAGIC);
  view.setUint32(AT.version, CHECKPOINT_VERSION, true);
  view.setUint32(AT.headerSize, CHECKPOINT_HEADER_SIZE, true);
  const known = KNOWN.reduce(
    (bits, name, at) => bits | (profile[name] === undefined ? 0 : 1 << at),
    0,
  );
  view.setUint32(AT.known, known, true);
  for (const name of U32_FIELDS) view.setUint32(AT[name], profile[name] ?? 0, true);
  for (const name of U64_FIELDS) writeU64(view, AT[name], profile[name] ?? 0);
  const { major, minor, patch } = profile.gucVersion ?? { major: 0, minor: 0, patch: 0 };
  for (const [at, part] of [major, minor, patch].entries())
    view.setUint32(AT.gucVersion + 4 * at, part, true);
  const platform = new TextEncoder().encode(profile.platform ?? '');
  if (platform.length > PLATFORM_SIZE) throw new RangeError('the platform name is above 16 bytes');
  bytes.set(platform, AT.platform);
  writeU64(view, AT.createdAt, createdAt ?? 0);
  view.setUint32(AT.crc, crc32(bytes.subarray(0, AT.crc)), true);
  return bytes;
}

/**
 * Reads a header.
 * @param bytes the file's first 4096 bytes, or what there is of them
 * @throws {Fault} EUCLEAN when it is cut or is no header, EBADMSG when it was altered, EOPNOTSUPP for
 * another format version
 */
export function decodeCheckpointHeader(bytes: Uint8Array): CheckpointHeader {
  if (!isCheckpoint(bytes)) throw new Fault('EUCLEAN', 'this is no checkpoint: its magic is wrong');
  if (bytes.length < CHECKPOINT_HEADER_SIZE)
    throw new Fault('EUCLEAN', `the checkpoint is cut at byte ${bytes.length}, inside its header`);
  const view = dataView(bytes);
  const version = view.getUint32(AT.version, true);
  if (view.getUint32(AT.crc, true) !== crc32(bytes.subarray(0, AT.crc)))
    throw new Fault('EBADMSG', 'the header of the checkpoint was altered: its CRC does not match');
  if (version !== CHECKPOINT_VERSION)
    throw new Fault('EOPNOTSUPP', `checkpoint format ${version} is not ${CHECKPOINT_VERSION}`, {
      hint: 'use the version of xe-vfio that wrote it, or a newer one',
    });
  const createdAt = readU64(view, AT.createdAt);
  const profile = decodeProfile(view);
  const sizes = [profile.ggttSize ?? 0, profile.vramSize ?? 0];
  // The CRC keeps accidents out, this keeps out what no one writes but somebody may forge.
  if (
    createdAt > TIME_MAX ||
    !sizes.every(Number.isFinite) ||
    !PRINTABLE.test(profile.platform ?? '')
  )
    throw new Fault('EUCLEAN', 'the header of the checkpoint has values that cannot be');
  return { profile, createdAt: createdAt === 0 ? undefined : createdAt };
}

function decodeProfile(view: DataView): VfProfile {
  const known = view.getUint32(AT.known, true);
  const value = <T>(name: (typeof KNOWN)[number], read: () => T): T | undefined =>
    known & (1 << KNOWN.indexOf(name)) ? read() : undefined;
  const u32 = (at: number) => view.getUint32(at, true);
  const fields: Record<string, unknown> = {};
  for (const name of U32_FIELDS) fields[name] = value(name, () => u32(AT[name]));
  for (const name of U64_FIELDS) fields[name] = value(name, () => readU64(view, AT[name]));
  const at = AT.gucVersion;
  return {
    ...fields,
    gucVersion: value('gucVersion', () => ({
      major: u32(at),
      minor: u32(at + 4),
      patch: u32(at + 8),
    })),
    platform: value('platform', () => decodeName(view)),
  };
}

function decodeName(view: DataView): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + AT.platform, PLATFORM_SIZE);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/**
 * The footer up to its SHA-256, which covers these bytes too.
 * @returns 32 bytes
 */
export function encodeFooterHead(footer: Omit<CheckpointFooter, 'sha256'>): Uint8Array {
  const bytes = new Uint8Array(FOOTER_SHA256_OFFSET);
  const view = dataView(bytes);
  bytes.set(FOOTER_MAGIC);
  writeU64(view, 8, footer.streamBytes);
  writeU64(view, 16, footer.packets);
  view.setUint32(24, footer.indexCrc, true);
  view.setUint32(28, CHECKPOINT_FOOTER_SIZE, true);
  return bytes;
}

/** The footer's 72 bytes. */
export function encodeCheckpointFooter(footer: CheckpointFooter): Uint8Array {
  const bytes = new Uint8Array(CHECKPOINT_FOOTER_SIZE);
  bytes.set(encodeFooterHead(footer));
  bytes.set(footer.sha256, FOOTER_SHA256_OFFSET);
  const crc = crc32(bytes.subarray(0, FOOTER_CRC_OFFSET));
  dataView(bytes).setUint32(FOOTER_CRC_OFFSET, crc, true);
  return bytes;
}

/**
 * Reads a footer.
 * @param bytes the file's last 72 bytes
 * @param fileSize bytes of the whole file
 * @throws {Fault} EUCLEAN when there is none or it is not of a file of this size, EBADMSG when it was
 * altered
 */
export function decodeCheckpointFooter(bytes: Uint8Array, fileSize: number): CheckpointFooter {
  const view = dataView(bytes);
  const has =
    bytes.length === CHECKPOINT_FOOTER_SIZE && FOOTER_MAGIC.every((b, at) => bytes[at] === b);
  if (!has)
    throw new Fault('EUCLEAN', `the checkpoint has no footer: it was cut at byte ${fileSize}`);
  if (view.getUint32(FOOTER_CRC_OFFSET, true) !== crc32(bytes.subarray(0, FOOTER_CRC_OFFSET)))
    throw new Fault('EBADMSG', 'the footer of the checkpoint was altered: its CRC does not match');
  const footer: CheckpointFooter = {
    streamBytes: readU64(view, 8),
    packets: readU64(view, 16),
    indexCrc: view.getUint32(24, true),
    sha256: bytes.slice(FOOTER_SHA256_OFFSET, FOOTER_SHA256_OFFSET + 32),
  };
  const { streamBytes, packets } = footer;
  const size =
    CHECKPOINT_HEADER_SIZE + streamBytes + packets * INDEX_ENTRY_SIZE + CHECKPOINT_FOOTER_SIZE;
  if (packets > INDEX_MAX_PACKETS || size !== fileSize)
    throw new Fault('EUCLEAN', `the checkpoint has ${fileSize} bytes, its footer says ${size}`);
  return footer;
}
