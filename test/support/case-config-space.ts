/** Configuration space of the conformance suite's device: three BARs, nothing else that acts. */

const BAR_MASKS: Readonly<Record<number, number>> = {
  // BAR0: 32-bit, 64 KiB. BAR2: 64-bit prefetchable, 32 KiB. BAR4: 64-bit, 64 KiB.
  0x10: 0xffff_0000,
  0x18: 0xffff_8000,
  0x1c: 0xffff_ffff,
  0x20: 0xffff_0000,
  0x24: 0xffff_ffff,
};
const BAR_FLAGS: Readonly<Record<number, number>> = { 0x10: 0, 0x18: 0xc, 0x20: 0x4 };

/** 256 bytes with a write mask. */
export class CaseConfigSpace {
  readonly #bytes = new Uint8Array(256);
  readonly #mask = new Uint8Array(256);

  constructor() {
    const mask = new DataView(this.#mask.buffer);
    for (const [offset, value] of Object.entries(BAR_MASKS))
      mask.setUint32(Number(offset), value, true);
    mask.setUint16(0x04, 0x0406, true);
    mask.setUint8(0x0c, 0xff);
    mask.setUint8(0x3c, 0xff);
    this.reset();
  }

  /** Back to the values after power on. */
  reset(): void {
    const view = new DataView(this.#bytes.buffer);
    this.#bytes.fill(0);
    view.setUint32(0, 0xcafe_1af4, true);
    view.setUint32(8, 0xff00_0000, true);
    for (const [offset, value] of Object.entries(BAR_FLAGS))
      view.setUint32(Number(offset), value, true);
    view.setUint8(0x3d, 1);
  }

  read(offset: number, bytes: Uint8Array, at: number, count: number): void {
    bytes.set(this.#bytes.subarray(offset, offset + count), at);
  }

  write(offset: number, source: Uint8Array): void {
    for (const [i, value] of source.entries()) {
      const mask = this.#mask[offset + i] ?? 0;
      const old = this.#bytes[offset + i] ?? 0;
      this.#bytes[offset + i] = (old & ~mask) | (value & mask);
    }
  }
}
