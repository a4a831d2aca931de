/** How the codecs of the structures are made: by hand on a DataView, little endian. */
import type { Fields, LayoutName } from './layouts.ts';

/** How one structure is read and written. */
export interface Codec<Name extends LayoutName> {
  /** Bytes. */
  readonly size: number;
  /** Reads the structure at `at`. */
  read(view: DataView, at: number): Fields<Name>;
  /** Writes the structure at `at`. */
  write(view: DataView, at: number, value: Fields<Name>): void;
}

/** Reads a u16. */
export const u16 = (view: DataView, at: number) => view.getUint16(at, true);
/** Reads a u32. */
export const u32 = (view: DataView, at: number) => view.getUint32(at, true);
/** Writes a u16. */
export const put16 = (view: DataView, at: number, value: number) => view.setUint16(at, value, true);
/** Writes a u32. */
export const put32 = (view: DataView, at: number, value: number) => view.setUint32(at, value, true);

/** Four u32 fields, as many structures have. */
export function writeFour(
  view: DataView,
  at: number,
  a: number,
  b: number,
  c: number,
  d: number,
): void {
  put32(view, at, a);
  put32(view, at + 4, b);
  put32(view, at + 8, c);
  put32(view, at + 12, d);
}

/** A codec for each structure of `Name`. */
export type Codecs<Name extends LayoutName> = { readonly [Each in Name]: Codec<Each> };
