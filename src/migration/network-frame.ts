/**
 * The frames that carry a migration between two hosts, see docs/network.md.
 *
 * Every frame is a header of 32 bytes, little endian, and a payload. The header guards itself, so
 * that no length is believed that was altered on the way, and carries the CRC of what the payload
 * stands for, so that a fault of the compression is found too.
 */
import { crc32 } from 'node:zlib';
import { Fault } from '../base/fault.ts';
import { readU64, writeU64 } from '../base/int.ts';

/** Bytes of a frame's header. */
export const FRAME_HEADER_SIZE = 32;
/** `XVFN`, the first four bytes of every frame. */
const FRAME_MAGIC = 0x4e465658;
/** The only version there is. */
const FRAME_VERSION = 1;
/** The greatest number of bytes that a DATA or FILL frame stands for. */
export const BLOCK_MAX_SIZE = 2 ** 20;
/** The greatest payload of any other frame. */
const MESSAGE_MAX_SIZE = 2 ** 16;

/** What a frame is. */
export const FRAME_TYPE = {
  /** Source, first frame of the control connection: who it is and what it wants. JSON. */
  HELLO: 1,
  /** Target, answer to HELLO: what it is, and where the session stands. JSON. */
  WELCOME: 2,
  /** Target: the connection is refused, or the session has failed. JSON; nothing follows. */
  REFUSE: 3,
  /** Source, first frame of a data connection: the token of the session it belongs to. */
  ATTACH: 4,
  /** Source: do this to the VF. JSON; `offset` is the request's number, from 1 up. */
  REQUEST: 5,
  /** Target: what came of it. JSON; `offset` is the request's number. */
  REPLY: 6,
  /** Source: bytes of the stream from `offset` on, on a data connection. */
  DATA: 7,
  /** Target: all bytes of the stream below `offset` are applied. */
  ACK: 8,
  /** Target: the stream was not taken; the cause. JSON. */
  FAULT: 9,
  /** Source: what the session tells about its way. JSON. */
  EVENT: 10,
  /** Source: how it ended. JSON. */
  REPORT: 11,
  /** Either side: is anybody there? `offset` comes back in the PONG. */
  PING: 12,
  PONG: 13,
  /** Source: bytes that only measure the way, on a data connection. */
  FILL: 14,
  /** Target: the FILL frame of this `offset` is in. */
  FILL_ACK: 15,
} as const;

/** One of {@link FRAME_TYPE}. */
export type FrameType = (typeof FRAME_TYPE)[keyof typeof FRAME_TYPE];

/** How a payload stands for the bytes of the stream. */
export const ENCODING = {
  /** As they are. */
  RAW: 0,
  /** All bytes are zero; there is no payload, and `crc` is 0. */
  ZERO: 1,
  /** RFC 1951. */
  DEFLATE: 2,
  /** RFC 8878, one frame. */
  ZSTD: 3,
} as const;

/** Layout of the header, for documents and the property test. */
export const FRAME_HEADER_LAYOUT = [
  { name: 'magic', offset: 0, size: 4 },
  { name: 'version', offset: 4, size: 1 },
  { name: 'type', offset: 5, size: 1 },
  { name: 'encoding', offset: 6, size: 1 },
  { name: 'file', offset: 7, size: 1 },
  { name: 'length', offset: 8, size: 4 },
  { name: 'rawLength', offset: 12, size: 4 },
  { name: 'offset', offset: 16, size: 8 },
  { name: 'crc', offset: 24, size: 4 },
  { name: 'headerCrc', offset: 28, size: 4 },
] as const;

/** A decoded header; magic, version and its own CRC are right. */
export interface FrameHeader {
  readonly type: number;
  /** One of {@link ENCODING}; not RAW in DATA frames only. */
  readonly encoding: number;
  /** Number of the data file that DATA belongs to, modulo 256; 0 in other frames. */
  readonly file: number;
  /** Bytes of payload. */
  readonly length: number;
  /** Bytes that the payload stands for. */
  readonly rawLength: number;
  readonly offset: number;
  /** CRC32 of the bytes that the payload stands for; 0 for none and for ZERO. */
  readonly crc: number;
}

const TYPES: ReadonlySet<number> = new Set(Object.values(FRAME_TYPE));
const GUARDED = FRAME_HEADER_SIZE - 4;

/** Writes a header of 32 bytes to the beginning of `bytes`. */
export function encodeFrameHeader(header: FrameHeader, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, FRAME_HEADER_SIZE);
  view.setUint32(0, FRAME_MAGIC, true);
  view.setUint8(4, FRAME_VERSION);
  view.setUint8(5, header.type);
  view.setUint8(6, header.encoding);
  view.setUint8(7, header.file);
  view.setUint32(8, header.length, true);
  view.setUint32(12, header.rawLength, true);
  writeU64(view, 16, header.offset);
  view.setUint32(24, header.crc, true);
  view.setUint32(28, crc32(bytes.subarray(0, GUARDED)), true);
}

/**
 * Reads and judges a header.
 *
 * @throws {Fault} EPROTO for other magic, version or type, EBADMSG when it was altered on the way,
 * EMSGSIZE for a payload above the limit of its type
 */
export function decodeFrameHeader(bytes: Uint8Array): FrameHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, FRAME_HEADER_SIZE);
  if (view.getUint32(0, true) !== FRAME_MAGIC)
    throw new Fault('EPROTO', 'the peer does not speak the migration protocol of xe-vfio');
  const version = view.getUint8(4);
  if (version !== FRAME_VERSION)
    throw new Fault('EPROTO', `the peer speaks version ${version}, not ${FRAME_VERSION}`);
  if (view.getUint32(28, true) !== crc32(bytes.subarray(0, GUARDED)))
    throw new Fault('EBADMSG', 'the header of a frame was altered on the way');
  const header: FrameHeader = {
    type: view.getUint8(5),
    encoding: view.getUint8(6),
    file: view.getUint8(7),
    length: view.getUint32(8, true),
    rawLength: view.getUint32(12, true),
    offset: readU64(view, 16),
    crc: view.getUint32(24, true),
  };
  checkHeader(header);
  return header;
}

function checkHeader({ type, encoding, length, rawLength, offset }: FrameHeader): void {
  if (!TYPES.has(type)) throw new Fault('EPROTO', `there is no frame of type ${type}`);
  const bulk = type === FRAME_TYPE.DATA || type === FRAME_TYPE.FILL;
  const most = bulk ? BLOCK_MAX_SIZE : MESSAGE_MAX_SIZE;
  if (length > most || rawLength > most)
    throw new Fault('EMSGSIZE', `a frame of ${Math.max(length, rawLength)} bytes is above ${most}`);
  if (encoding > ENCODING.ZSTD || (encoding !== ENCODING.RAW && type !== FRAME_TYPE.DATA))
    throw new Fault('EPROTO', `encoding ${encoding} in a frame of type ${type}`);
  if (encoding === ENCODING.RAW && length !== rawLength)
    throw new Fault('EPROTO', `${length} raw bytes that stand for ${rawLength}`);
  if (encoding === ENCODING.ZERO && length !== 0)
    throw new Fault('EPROTO', 'a frame of zeros with a payload');
  if (!Number.isSafeInteger(offset + rawLength))
    throw new Fault('EOVERFLOW', 'an offset is above 2^53-1');
}

/** Hears of the frames of a connection, in order. What it throws ends the connection. */
export type FrameHandler = (header: FrameHeader, payload: Uint8Array) => void;

/** Cuts the bytes of a connection into frames as they come. */
export class FrameParser {
  readonly #onFrame: FrameHandler;
  readonly #allocate: (length: number) => Uint8Array;
  readonly #head = new Uint8Array(FRAME_HEADER_SIZE);
  #headBytes = 0;
  #header: FrameHeader | undefined;
  #payload: Uint8Array = new Uint8Array();
  #payloadBytes = 0;

  /**
   * @param allocate gives the memory that a payload of DATA is received into; the handler keeps it
   */
  constructor(onFrame: FrameHandler, allocate: (length: number) => Uint8Array) {
    this.#onFrame = onFrame;
    this.#allocate = allocate;
  }

  /**
   * Takes the next bytes.
   * @throws {Fault} see {@link decodeFrameHeader}; and what the handler throws
   */
  push(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; ) {
      if (this.#header === undefined) {
        const taken = Math.min(FRAME_HEADER_SIZE - this.#headBytes, bytes.length - from);
        this.#head.set(bytes.subarray(from, from + taken), this.#headBytes);
        this.#headBytes += taken;
        from += taken;
        if (this.#headBytes < FRAME_HEADER_SIZE) return;
        this.#header = decodeFrameHeader(this.#head);
        const { type, length } = this.#header;
        this.#payload = type === FRAME_TYPE.DATA ? this.#allocate(length) : new Uint8Array(length);
        this.#payloadBytes = 0;
      }
      const { length } = this.#header;
      const taken = Math.min(length - this.#payloadBytes, bytes.length - from);
      this.#payload.set(bytes.subarray(from, from + taken), this.#payloadBytes);
      this.#payloadBytes += taken;
      from += taken;
      if (this.#payloadBytes < length) return;
      const header = this.#header;
      this.#header = undefined;
      this.#headBytes = 0;
      this.#onFrame(header, this.#payload.subarray(0, length));
    }
  }
}

/** A frame without stream data, ready to be sent. */
export function encodeMessage(
  type: FrameType,
  offset = 0,
  payload: Uint8Array = new Uint8Array(),
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_SIZE + payload.length);
  const { length } = payload;
  const crc = length > 0 ? crc32(payload) : 0;
  encodeFrameHeader(
    { type, encoding: ENCODING.RAW, file: 0, length, rawLength: length, offset, crc },
    bytes,
  );
  bytes.set(payload, FRAME_HEADER_SIZE);
  return bytes;
}

/**
 * Checks the payload of a frame that is sent as it is.
 * @throws {Fault} EBADMSG when it was altered on the way
 */
export function checkPayload({ crc, length }: FrameHeader, payload: Uint8Array): void {
  if ((length > 0 ? crc32(payload) : 0) !== crc)
    throw new Fault('EBADMSG', 'a frame was altered on the way: its CRC does not match');
}
