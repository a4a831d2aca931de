// Memory of the guest's program as a VMM offers it to a device.

import { Memfd } from '../../../dist/sys/memfd.js';

/** Bits of VFIO_DMA_MAP_FLAG. */
export const READ_WRITE = 3;

/** A range of memory in a memfd of its own. */
export class Memory {
  constructor(size) {
    this.memfd = Memfd.create('guest-memory', size);
    this.mapping = this.memfd.map();
    this.bytes = this.mapping.view();
  }

  /** As a DmaMapping. */
  at(iova, flags = READ_WRITE) {
    const { mapping } = this;
    const memory = {
      windows: mapping.windows(),
      nativeAddress: () => mapping.address,
      read: (offset, target) => target.set(mapping.view(offset, target.length)),
      write: (offset, source) => mapping.view(offset, source.length).set(source),
    };
    return { iova, size: mapping.size, flags, memory };
  }

  close() {
    this.mapping.close();
    this.memfd.close();
  }
}
