/**
 * Compression of the blocks of a stream: zstd at level 1 where Node has it (22.15 and newer), else
 * deflate at level 1. Both run on Node's thread pool.
 */
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { Fault } from '../base/fault.ts';
import { ENCODING } from './network-frame.ts';

type Transform = (bytes: Uint8Array, options: object) => Promise<Buffer>;

/** What newer versions of node:zlib have beside what this project's types know. */
const newer = zlib as unknown as Readonly<Record<string, unknown>> & {
  readonly constants: Readonly<Record<string, number>>;
};

function transformOf(name: string): Transform | undefined {
  const call = newer[name];
  return typeof call === 'function'
    ? (promisify(call as typeof zlib.deflateRaw) as Transform)
    : undefined;
}

const zstdCompress = transformOf('zstdCompress');
const zstdDecompress = transformOf('zstdDecompress');
const deflateRaw = transformOf('deflateRaw');

/** The encodings that this Node unpacks, bits of `1 << ENCODING`. */
export const SUPPORTED_ENCODINGS =
  (1 << ENCODING.RAW) |
  (1 << ENCODING.ZERO) |
  (1 << ENCODING.DEFLATE) |
  (zstdDecompress === undefined ? 0 : 1 << ENCODING.ZSTD);

/** One way to make blocks smaller. */
export interface Compressor {
  /** One of ENCODING. */
  readonly encoding: number;
  readonly compress: (bytes: Uint8Array) => Promise<Uint8Array>;
}

/** The fastest compressor that both ends have; undefined when there is none. */
export function chooseCompressor(encodings: number): Compressor | undefined {
  const both = encodings & SUPPORTED_ENCODINGS;
  if (zstdCompress !== undefined && both & (1 << ENCODING.ZSTD)) {
    const level = newer.constants['ZSTD_c_compressionLevel'] ?? 100;
    return {
      encoding: ENCODING.ZSTD,
      compress: (bytes) => zstdCompress(bytes, { params: { [level]: 1 } }),
    };
  }
  if (deflateRaw !== undefined && both & (1 << ENCODING.DEFLATE))
    return { encoding: ENCODING.DEFLATE, compress: (bytes) => deflateRaw(bytes, { level: 1 }) };
  return undefined;
}

/**
 * Unpacks a zstd block into at most `size` bytes.
 * @throws {Fault} EPROTO when this Node has no zstd; whatever zlib throws for bytes that are no zstd
 */
export async function decompressZstd(bytes: Uint8Array, size: number): Promise<Uint8Array> {
  if (zstdDecompress === undefined) throw new Fault('EPROTO', 'zstd was not agreed upon');
  return await zstdDecompress(bytes, { maxOutputLength: size });
}

/** Bytes that are looked at to judge a block. */
const SAMPLES = 1024;
/** Sampled bytes that lie side by side. */
const RUN = 16;
/** Below this many bits a byte, compression is expected to pay. */
const COMPRESSIBLE_BITS = 7.2;

const counts = new Uint32Array(256);

/**
 * Guesses from a sample whether a block gets smaller: the entropy of 1024 of its bytes, which for
 * random bytes is 7.8 bits. Costs a few microseconds.
 */
export function looksCompressible(bytes: Uint8Array): boolean {
  if (bytes.length < SAMPLES) return false;
  counts.fill(0);
  const stride = Math.floor((bytes.length - RUN) / (SAMPLES / RUN - 1));
  for (let run = 0; run < SAMPLES / RUN; run++)
    for (let at = run * stride, end = at + RUN; at < end; at++) {
      const value = bytes[at] as number;
      counts[value] = (counts[value] as number) + 1;
    }
  let bits = 0;
  for (const count of counts) if (count > 0) bits -= (count / SAMPLES) * Math.log2(count / SAMPLES);
  return bits < COMPRESSIBLE_BITS;
}
