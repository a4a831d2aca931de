/** Bytes of a run of null pages. */
export const NULL_PAGE_SIZE = 256 * 1024;

/** Where an address led to; one object is used again and again. */
export class Place {
  where: 'system' | 'vram' | 'null' = 'null';
  /** I/O virtual address, or offset in VRAM. */
  physical = 0;
  /** Bytes that lie together from there on. */
  extent = 0;
  /** The PAT index of the page enables compression. */
  compressed = false;
  /** What the owner of the memory allows. */
  readable = false;
  writable = false;
  /** The memory from `at` on, twice; undefined for null pages and where only messages reach. */
  window: Uint8Array | undefined;
  view: DataView | undefined;
  at = 0;
}
