// Registers of QEMU's device edu, which has DMA and MSI. Source: docs/specs/edu.rst of QEMU.

/** Ids of the device. */
export const EDU = { VENDOR: 0x1234, DEVICE: 0x11e8 };

/** Registers in BAR 0. */
export const EDU_REG = {
  ID: 0x00,
  LIVENESS: 0x04,
  FACTORIAL: 0x08,
  STATUS: 0x20,
  IRQ_STATUS: 0x24,
  IRQ_RAISE: 0x60,
  IRQ_ACK: 0x64,
  DMA_SOURCE: 0x80,
  DMA_DESTINATION: 0x88,
  DMA_COUNT: 0x90,
  DMA_COMMAND: 0x98,
};
/** What ID reads. */
export const EDU_ID = 0x010000ed;
/** The device's own buffer, and its bytes. */
export const EDU_BUFFER = 0x40000;
export const EDU_BUFFER_SIZE = 4096;
/** Bits of DMA_COMMAND: begin (set while busy), from the device to memory, interrupt at the end. */
export const EDU_DMA = { START: 1, TO_MEMORY: 2, IRQ: 4 };

/** Reads and writes the registers through `access`, which has read and write of a BAR. */
export class Edu {
  #access;
  #bytes = new Uint8Array(8);
  #view = new DataView(this.#bytes.buffer);

  /** @param access `{ read(offset, bytes, count), write(offset, bytes, count) }` */
  constructor(access) {
    this.#access = access;
  }

  read(register) {
    this.#access.read(register, this.#bytes, 4);
    return this.#view.getUint32(0, true);
  }

  write(register, value) {
    this.#view.setUint32(0, value, true);
    this.#access.write(register, this.#bytes, 4);
  }

  #write64(register, value) {
    this.#view.setBigUint64(0, BigInt(value), true);
    this.#access.write(register, this.#bytes, 8);
  }

  /** Begins a transfer between address `iova` and the device's buffer. */
  startDma(iova, count, flags) {
    const toMemory = (flags & EDU_DMA.TO_MEMORY) !== 0;
    this.#write64(EDU_REG.DMA_SOURCE, toMemory ? EDU_BUFFER : iova);
    this.#write64(EDU_REG.DMA_DESTINATION, toMemory ? iova : EDU_BUFFER);
    this.#write64(EDU_REG.DMA_COUNT, count);
    this.#write64(EDU_REG.DMA_COMMAND, flags | EDU_DMA.START);
  }

  /** True while a transfer is under way. */
  get dmaBusy() {
    return (this.read(EDU_REG.DMA_COMMAND) & EDU_DMA.START) !== 0;
  }
}
