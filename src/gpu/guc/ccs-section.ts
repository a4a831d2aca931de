/**
 * Compression metadata of a VF's VRAM as a section of the GuC state: Linux's stream has no place for it.
 *
 * Runs of bytes by where they describe VRAM, ascending, zeros left out. Drivers give whole buffers one
 * value, so that a run of one value takes three dwords.
 */
import { CCS_RATIO, type CcsStore } from '../flat-ccs.ts';
import { refuse } from './state-format.ts';

/** Metadata that lies together. */
export interface CcsRun {
  /** Of the first byte: byte n describes VRAM from n * CCS_RATIO on. */
  readonly index: number;
  readonly length: number;
  /** The value of all bytes, or each of them. */
  readonly content: number | Uint8Array;
}

/** In a run's length dword: one dword follows, with the value of all bytes. Else the bytes do. */
const UNIFORM = 0x8000_0000;
/** Equal bytes from which on they are a run of their own. */
const UNIFORM_LENGTH = 16;
/** Greatest length of a run. */
const MAX_LENGTH = 0x7fff_ffff;

/** All metadata of VRAM that is not zero. Bytes of runs are views of the store. */
export function ccsRuns(store: CcsStore): CcsRun[] {
  const pieces = [...store.pieces()].filter(({ where }) => where === 'vram');
  pieces.sort((a, b) => a.physical - b.physical);
  const runs: CcsRun[] = [];
  for (const { physical, bytes } of pieces) addPiece(runs, physical / CCS_RATIO, bytes);
  return runs;
}

function addPiece(runs: CcsRun[], first: number, bytes: Uint8Array): void {
  let mixedFrom = 0;
  const mixed = (end: number) => {
    if (end > mixedFrom) addMixed(runs, first, bytes, mixedFrom, end);
  };
  for (let at = 0; at < bytes.length; ) {
    const value = bytes[at] as number;
    let end = at + 1;
    while (end < bytes.length && bytes[end] === value) end++;
    if (end - at >= UNIFORM_LENGTH) {
      mixed(at);
      addUniform(runs, first + at, end - at, value);
      mixedFrom = end;
    }
    at = end;
  }
  mixed(bytes.length);
}

/** Zeros at both ends are left out. */
function addMixed(
  runs: CcsRun[],
  first: number,
  bytes: Uint8Array,
  from: number,
  to: number,
): void {
  let start = from;
  let end = to;
  while (start < end && bytes[start] === 0) start++;
  while (end > start && bytes[end - 1] === 0) end--;
  if (start === end) return;
  runs.push({ index: first + start, length: end - start, content: bytes.subarray(start, end) });
}

function addUniform(runs: CcsRun[], index: number, length: number, value: number): void {
  if (value === 0) return;
  const last = runs.at(-1);
  const continues = last?.content === value && last.index + last.length === index;
  if (last === undefined || !continues) runs.push({ index, length, content: value });
  else runs[runs.length - 1] = { ...last, length: last.length + length };
}

/** The dwords of a section. */
export function ccsDwords(runs: readonly CcsRun[]): number[] {
  const dwords: number[] = [];
  for (const { index, length, content } of runs) {
    if (typeof content === 'number') {
      dwords.push(index, (length | UNIFORM) >>> 0, content);
      continue;
    }
    dwords.push(index, length);
    for (let at = 0; at < length; at += 4)
      dwords.push(
        ((content[at] ?? 0) |
          ((content[at + 1] ?? 0) << 8) |
          ((content[at + 2] ?? 0) << 16) |
          ((content[at + 3] ?? 0) << 24)) >>>
          0,
      );
  }
  return dwords;
}

/**
 * Reads the runs of a section.
 *
 * @param next takes the next dword
 * @param vramSize bytes of VRAM of the VF
 * @throws {Fault} EIO for a run that is outside of it, out of order or empty
 */
export function readCcsRuns(
  more: () => boolean,
  next: () => number,
  vramSize: number,
): readonly CcsRun[] {
  const runs: CcsRun[] = [];
  const limit = vramSize / CCS_RATIO;
  for (let behind = 0; more(); ) {
    const index = next();
    const header = next();
    const length = header & MAX_LENGTH;
    if (length === 0) refuse('compression metadata without length');
    if (index < behind) refuse('compression metadata out of order');
    if (index + length > limit) refuse("compression metadata is outside of the VF's VRAM");
    runs.push({ index, length, content: readContent(header, length, next) });
    behind = index + length;
  }
  return runs;
}

function readContent(header: number, length: number, next: () => number): number | Uint8Array {
  if (header >= UNIFORM) {
    const value = next();
    if (value === 0 || value > 0xff) refuse(`compression metadata of value ${value}`);
    return value;
  }
  const bytes = new Uint8Array(Math.ceil(length / 4) * 4);
  const words = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += 4) words.setUint32(at, next(), true);
  return bytes.subarray(0, length);
}

/** Puts metadata of VRAM in place of all that was there. */
export function applyCcsRuns(store: CcsStore, runs: readonly CcsRun[]): void {
  store.clear('vram');
  for (const { index, length, content } of runs) {
    if (typeof content === 'number') store.fill('vram', index * CCS_RATIO, length, content);
    else store.write('vram', index * CCS_RATIO, content);
  }
}
