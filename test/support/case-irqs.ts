/**
 * Interrupts of the conformance suite's device, as vfio-pci has them.
 *
 * Source: drivers/vfio/vfio_main.c:vfio_set_irqs_validate_and_prepare,
 * drivers/vfio/pci/vfio_pci_intrs.c.
 */
import { closeSync, writeSync } from 'node:fs';
import { Fault } from '../../src/base/fault.ts';
import {
  VFIO_IRQ_SET,
  VFIO_IRQ_SET_ACTION_TYPE_MASK,
  VFIO_IRQ_SET_DATA_TYPE_MASK,
  VFIO_PCI_IRQ,
} from '../../src/vfio/uapi.ts';
import type { IrqSet } from '../../src/vfio/vfio-device.ts';

const { DATA_NONE, DATA_BOOL, DATA_EVENTFD } = VFIO_IRQ_SET;
const { ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER } = VFIO_IRQ_SET;

/** Adds 1 to an eventfd's counter. */
function signalEventFd(fd: number): void {
  const one = new Uint8Array(8);
  one[0] = 1;
  writeSync(fd, one);
}

/** Eventfds by interrupt and vector, and the mask of INTx. */
export class CaseIrqs {
  /** Vectors of INTx, MSI, MSI-X, ERR and REQ. */
  static readonly counts: readonly number[] = [1, 4, 8, 1, 1];
  readonly #fds = CaseIrqs.counts.map((count) => new Array<number>(count).fill(-1));
  #masked = false;
  #pending = false;

  /** `VFIO_DEVICE_SET_IRQS`. Takes `set.fds` over. @throws {Fault} EINVAL */
  set(set: IrqSet): void {
    const fds = [...(set.fds ?? [])];
    try {
      this.#apply(set, fds);
    } finally {
      for (const fd of fds) if (fd >= 0) closeSync(fd);
    }
  }

  #apply(set: IrqSet, fds: number[]): void {
    const type = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    const action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
    const vectors = this.#fds[set.index];
    if (vectors === undefined || set.start + set.count > vectors.length)
      throw new Fault('EINVAL', 'no such vector');
    if (action !== ACTION_TRIGGER) {
      if (set.index !== VFIO_PCI_IRQ.INTX || (action !== ACTION_MASK && action !== ACTION_UNMASK))
        throw new Fault('EINVAL', 'cannot be masked');
      if (type === DATA_EVENTFD) throw new Fault('EINVAL', 'no eventfd for masking');
      if (type === DATA_BOOL && set.bools?.[0] === 0) return;
      if (action === ACTION_MASK) this.#masked = true;
      else this.#unmask();
      return;
    }
    if (type === DATA_NONE && set.count === 0) {
      for (let i = 0; i < vectors.length; i++) this.#assign(vectors, i, -1);
      return;
    }
    for (let i = 0; i < set.count; i++) {
      const vector = set.start + i;
      if (type === DATA_EVENTFD) {
        this.#assign(vectors, vector, fds[i] ?? -1);
        if (i < fds.length) fds[i] = -1;
      } else if (type !== DATA_BOOL || set.bools?.[i] !== 0) {
        const fd = vectors[vector] ?? -1;
        if (fd >= 0) signalEventFd(fd);
      }
    }
  }

  #assign(vectors: number[], vector: number, fd: number): void {
    const old = vectors[vector] ?? -1;
    if (old >= 0) closeSync(old);
    vectors[vector] = fd;
  }

  #unmask(): void {
    this.#masked = false;
    if (!this.#pending) return;
    this.#pending = false;
    this.raise(VFIO_PCI_IRQ.INTX, 0);
  }

  /** The device raises a vector. @throws {Fault} EINVAL no such vector, ENOENT not assigned */
  raise(index: number, vector: number): void {
    const fd = this.#fds[index]?.[vector];
    if (fd === undefined) throw new Fault('EINVAL', 'no such vector');
    if (fd < 0) throw new Fault('ENOENT', 'not assigned');
    if (index === VFIO_PCI_IRQ.INTX && this.#masked) {
      this.#pending = true;
      return;
    }
    signalEventFd(fd);
    if (index === VFIO_PCI_IRQ.INTX) this.#masked = true;
  }

  /** Closes every eventfd. */
  releaseAll(): void {
    for (const vectors of this.#fds)
      for (let i = 0; i < vectors.length; i++) this.#assign(vectors, i, -1);
  }
}
