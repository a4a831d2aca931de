/**
 * What the kernel has to tell of a device: an error on the bus, and that somebody wants the device back.
 *
 * A VMM that asks for these gets them itself, straight from the kernel; while none does they come here.
 *
 * Source: drivers/vfio/pci/vfio_pci_core.c:vfio_pci_core_request, vfio_pci_core_aer_err_detected.
 */
import { Fault } from '../base/fault.ts';
import { EventFd } from '../sys/eventfd.ts';
import { POLL } from '../sys/poll.ts';
import { Readiness } from '../sys/readiness.ts';
import { VFIO_IRQ_SET, VFIO_PCI_IRQ } from '../vfio/uapi.ts';
import type { VfioDeviceFile } from './vfio-device-file.ts';

/** A notice. */
export type VfioNotice = 'error' | 'request';

const INDICES: Readonly<Record<VfioNotice, number>> = {
  error: VFIO_PCI_IRQ.ERR,
  request: VFIO_PCI_IRQ.REQ,
};

interface Wire {
  readonly notice: VfioNotice;
  readonly index: number;
  readonly own: EventFd;
}

/** Only PCI Express has errors to tell; vfio-pci then knows no such interrupt. */
function has(file: VfioDeviceFile, index: number): boolean {
  try {
    return file.irq(index).count > 0;
  } catch (error) {
    if (error instanceof Fault && error.code === 'EINVAL') return false;
    throw error;
  }
}

/** The notices of one device. */
export class VfioNotices {
  readonly #file: VfioDeviceFile;
  readonly #tell: (notice: VfioNotice) => void;
  readonly #wires: Wire[] = [];
  readonly #readiness = new Readiness();
  #closed = false;

  constructor(file: VfioDeviceFile, tell: (notice: VfioNotice) => void) {
    this.#file = file;
    this.#tell = tell;
    for (const [notice, index] of Object.entries(INDICES) as [VfioNotice, number][]) {
      if (!has(file, index)) continue;
      const wire = { notice, index, own: new EventFd() };
      this.#wires.push(wire);
      this.#readiness.add(wire.own.fd, POLL.IN, index);
      this.#connect(wire, wire.own.fd);
    }
    this.#readiness.keepAlive(false);
    this.#listen();
  }

  /** Sends a notice to a VMM's eventfd instead, or with null here again. */
  redirect(index: number, eventfd: number | null): void {
    const wire = this.#wires.find((each) => each.index === index);
    if (wire !== undefined) this.#connect(wire, eventfd ?? wire.own.fd);
  }

  #connect({ index }: Wire, fd: number): void {
    const flags = VFIO_IRQ_SET.DATA_EVENTFD | VFIO_IRQ_SET.ACTION_TRIGGER;
    this.#file.setIrqs({ flags, index, start: 0, count: 1, fds: [fd] });
  }

  #listen(): void {
    this.#readiness.notify(() => {
      if (this.#closed) return;
      const told = this.#wires.filter(({ own }) => own.take() > 0);
      this.#listen();
      for (const { notice } of told) this.#tell(notice);
    });
  }

  /** Idempotent; the kernel lets go of the eventfds when the device closes. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readiness.close();
    for (const { own } of this.#wires) own.close();
  }
}
