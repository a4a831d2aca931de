/**
 * Keyed 64-bit digests of native memory, for finding out whether a block changed.
 *
 * XXH3 of the system's libxxhash where there is one (0.8 of the memory's read bandwidth on one
 * core), else Poly1305 of the libcrypto that Node brings along (0.5 of it). Both take a random key,
 * so that two contents of a block that share a digest are met with probability 2^-64, whatever the
 * contents are; nothing but the owner of the memory is harmed by a collision.
 *
 * Source: xxhash.h (XXH3_64bits_withSeed), EVP_MAC(3), EVP_MAC-POLY1305(7).
 */
import { randomBytes } from 'node:crypto';
import { Fault } from '../base/fault.ts';
import { libc, type NativeLibrary, openLibrary } from './libc.ts';
import { Mapping, PAGE_SIZE } from './mapping.ts';

/** The kinds of digest, the fastest first. */
const KINDS = ['xxh3', 'poly1305'] as const;
/** How a digest is computed. */
export type DigestKind = (typeof KINDS)[number];

/** What every thread needs in order to compute the same digests. */
export interface DigestKey {
  readonly kind: DigestKind;
  /** 32 random bytes. */
  readonly key: Uint8Array;
}

/** The digest of `length` bytes at native address `address`; never 0. */
export type BlockDigest = (address: number, length: number) => bigint;

const ADDRESS = 'uintptr_t';
/** Bytes of a key and of a Poly1305 tag. */
const KEY_SIZE = 32;
const TAG_SIZE = 16;

type Xxh3 = (address: number, length: number, seed: number) => number | bigint;

/** XXH3 for this processor's vectors where the library chooses at run time, else the plain one. */
function xxh3Of(library: NativeLibrary): Xxh3 | undefined {
  for (const name of ['XXH3_64bits_withSeed_dispatch', 'XXH3_64bits_withSeed']) {
    try {
      return library.func<Xxh3>(name, 'uint64_t', [ADDRESS, ADDRESS, 'uint64_t']);
    } catch {
      // The next one; libxxhash before 0.8 has neither.
    }
  }
  return undefined;
}

function openXxh3(key: Uint8Array): BlockDigest | undefined {
  const library = openLibrary('libxxhash.so.0');
  const xxh3 = library === undefined ? undefined : xxh3Of(library);
  if (xxh3 === undefined) return undefined;
  // 53 bits of the key are what a number holds.
  const seed = Number(Buffer.from(key).readBigUInt64LE(0) >> 11n);
  return (address, length) => BigInt(xxh3(address, length, seed)) || 1n;
}

type Numbers = (...values: number[]) => number;

/** The calls of EVP_MAC; undefined where the process has no OpenSSL 3. */
function openPoly1305(key: Uint8Array): BlockDigest | undefined {
  const library = openLibrary(null);
  if (library === undefined) return undefined;
  try {
    const bind = (name: string, result: string, count: number) =>
      library.func<Numbers>(name, result, Array<string>(count).fill(ADDRESS));
    const fetch = library.func<(context: number, name: string, properties: number) => number>(
      'EVP_MAC_fetch',
      ADDRESS,
      [ADDRESS, 'str', ADDRESS],
    );
    const newContext = bind('EVP_MAC_CTX_new', ADDRESS, 1);
    const init = bind('EVP_MAC_init', 'int', 4);
    const update = bind('EVP_MAC_update', 'int', 3);
    const final = bind('EVP_MAC_final', 'int', 4);
    const mac = fetch(0, 'POLY1305', 0);
    if (mac === 0) return undefined;
    const context = newContext(mac);
    const page = Mapping.anonymous(PAGE_SIZE);
    const view = new DataView(page.view().buffer);
    page.view(0, KEY_SIZE).set(key);
    const tag = page.address + KEY_SIZE;
    const tagLength = tag + TAG_SIZE;
    return (address, length) => {
      init(context, page.address, KEY_SIZE, 0);
      update(context, address, length);
      if (final(context, tag, tagLength, TAG_SIZE) !== 1)
        throw new Fault('EIO', 'libcrypto computed no POLY1305');
      return view.getBigUint64(KEY_SIZE, true) || 1n;
    };
  } catch {
    return undefined;
  }
}

const OPEN: Readonly<Record<DigestKind, (key: Uint8Array) => BlockDigest | undefined>> = {
  xxh3: openXxh3,
  poly1305: openPoly1305,
};

/**
 * A fresh random key for the fastest digest of this machine.
 * @returns undefined where there is none
 */
export function newDigestKey(kinds: readonly DigestKind[] = KINDS): DigestKey | undefined {
  const key = new Uint8Array(randomBytes(KEY_SIZE));
  const kind = kinds.find((candidate) => OPEN[candidate](key) !== undefined);
  return kind === undefined ? undefined : { kind, key };
}

/** The digest of a key, for this thread. @throws {Fault} ENOSYS where the machine lacks it */
export function openDigest({ kind, key }: DigestKey): BlockDigest {
  const digest = OPEN[kind](key);
  if (digest === undefined) throw new Fault('ENOSYS', `this machine has no ${kind}`);
  return digest;
}

/** Copies `length` bytes of native memory; the two places do not overlap. */
export function copyMemory(target: number, source: number, length: number): void {
  libc.memcpy(target, source, length);
}

let known: boolean | undefined;

/** True when this machine has any digest. */
export function hasDigest(): boolean {
  known ??= newDigestKey() !== undefined;
  return known;
}
