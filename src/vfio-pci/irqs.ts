/**
 * The interrupts of a VFIO PCI device: which eventfd each vector signals, INTx masking, and the
 * loop-back that lets a user raise them.
 *
 * Source: drivers/vfio/pci/vfio_pci_intrs.c, vfio_pci_core.c:vfio_pci_ioctl_get_irq_info,
 * vfio_main.c:vfio_set_irqs_validate_and_prepare.
 */
import { Fault } from '../base/fault.ts';
import {
  VFIO_IRQ_INFO,
  VFIO_IRQ_SET,
  VFIO_IRQ_SET_ACTION_TYPE_MASK,
  VFIO_IRQ_SET_DATA_TYPE_MASK,
  VFIO_PCI_IRQ,
  VFIO_PCI_NUM_IRQS,
} from '../vfio/uapi.ts';
import type { IrqInfo, IrqSet } from '../vfio/vfio-device.ts';
import type { IrqState } from './attachment.ts';
import type { EventFds } from './event-fd.ts';
import type { PciFunction } from './pci-function.ts';

const { INTX, MSI, MSIX, ERR, REQ } = VFIO_PCI_IRQ;
const { DATA_NONE, DATA_BOOL, DATA_EVENTFD } = VFIO_IRQ_SET;
const { ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER } = VFIO_IRQ_SET;

/** Refuses a request that no device could take. */
function refuse(reason: string): never {
  throw new Fault('EINVAL', reason);
}

/** What the interrupts need of the device they belong to. */
export interface IrqHost {
  readonly pciFunction: PciFunction;
  readonly eventFds: EventFds;
  /** True when the device shows an INTx line. */
  readonly hasIntx: boolean;
  /** Switches the function's own message interrupts on or off. */
  enableMessages(index: typeof MSI | typeof MSIX, on: boolean): void;
}

/** The interrupts of one open device. */
export class PciIrqs {
  readonly #host: IrqHost;
  /** Of INTx, MSI and MSI-X at most one is enabled. */
  #enabled: number | undefined;
  /** Vectors that MSI or MSI-X was enabled with; NORESIZE, so no later one can be assigned. */
  #allocated = 0;
  /** Descriptor of each assigned vector of the enabled index. */
  readonly #triggers = new Map<number, number>();
  /** Descriptors of ERR and REQ. */
  readonly #singles = new Map<number, number>();
  #masked = false;
  /** COMMAND.INTX_DISABLE. */
  #intxDisabled = false;
  #line = false;

  constructor(host: IrqHost) {
    this.#host = host;
  }

  /** The index that is enabled, undefined when none is. */
  get enabled(): number | undefined {
    return this.#enabled;
  }

  /**
   * As in Linux, INTx has its flags also where there is no line (count 0).
   * @throws {Fault} EINVAL when there is no such index
   */
  info(index: number): IrqInfo {
    const count = this.#count(index);
    let flags: number = VFIO_IRQ_INFO.EVENTFD;
    if (index === INTX) flags |= VFIO_IRQ_INFO.MASKABLE | VFIO_IRQ_INFO.AUTOMASKED;
    else flags |= VFIO_IRQ_INFO.NORESIZE;
    return { index, flags, count };
  }

  /**
   * `VFIO_DEVICE_SET_IRQS`. Descriptors that are not kept are closed, whatever happens.
   *
   * @throws {Fault} EINVAL for what Linux refuses, and for no action, several actions, an action
   * that the index lacks (Linux: ENOTTY) and an empty range that does not disable; ENOTTY for
   * masking INTx by eventfd
   */
  set(set: IrqSet): void {
    const kept = new Set<number>();
    try {
      this.#check(set);
      const action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
      if (action === ACTION_TRIGGER) this.#trigger(set, kept);
      else this.#mask(set, action === ACTION_MASK);
    } finally {
      for (const fd of set.fds ?? []) if (fd >= 0 && !kept.has(fd)) this.#host.eventFds.close(fd);
    }
  }

  /**
   * Raises a vector as the device would.
   * @throws {Fault} EINVAL when there is no such vector, ENOENT when nothing is assigned to it
   */
  raise(index: number, vector: number): void {
    if (!(vector >= 0 && vector < this.#count(index)))
      refuse(`interrupt ${index} has no vector ${vector}`);
    const fd = this.#assigned(index, vector);
    if (fd === undefined)
      throw new Fault('ENOENT', `nothing is assigned to vector ${vector} of interrupt ${index}`);
    if (index === INTX) this.#signalIntx();
    else if (index === ERR || index === REQ) this.#host.eventFds.signal(fd);
    else this.#host.pciFunction.raiseIrq(index, vector);
  }

  /** COMMAND.INTX_DISABLE was written. Source: vfio_basic_config_write */
  setIntxDisabled(disabled: boolean): void {
    if (disabled === this.#intxDisabled) return;
    this.#intxDisabled = disabled;
    if (this.#enabled !== INTX) return;
    if (disabled) this.#masked = true;
    else this.#unmask();
  }

  /** Lets go of every descriptor. */
  release(): void {
    this.#disable();
    for (const [index, fd] of this.#singles) {
      this.#host.pciFunction.setIrqTrigger(index, 0, null);
      this.#host.eventFds.close(fd);
    }
    this.#singles.clear();
    this.#intxDisabled = false;
  }

  /** What {@link detach} would give; the eventfds stay. */
  get state(): IrqState {
    return {
      enabled: this.#enabled,
      allocated: this.#allocated,
      triggers: [...this.#triggers],
      singles: [...this.#singles],
      masked: this.#masked,
      intxDisabled: this.#intxDisabled,
    };
  }

  /** Takes every eventfd away from the function, to give it to another one; it is the caller's. */
  detach(): IrqState {
    const { pciFunction } = this.#host;
    const { state } = this;
    if (this.#enabled === INTX) pciFunction.connectIntx?.(null);
    for (const [vector] of state.triggers)
      if (state.enabled !== INTX) pciFunction.setIrqTrigger(state.enabled as number, vector, null);
    for (const [index] of state.singles) pciFunction.setIrqTrigger(index, 0, null);
    this.#triggers.clear();
    this.#singles.clear();
    this.#disable();
    this.#intxDisabled = false;
    return state;
  }

  /**
   * Takes over what another device's {@link detach} gave; nothing is assigned here.
   * @throws {Fault} EINVAL when this function has not these vectors, ENOSPC; nothing is taken then
   */
  attach({ enabled, allocated, triggers, singles, masked, intxDisabled }: IrqState): void {
    if (enabled !== undefined) {
      if (allocated > this.#count(enabled))
        refuse(`interrupt ${enabled} has no ${allocated} vectors`);
      this.#enable(enabled, allocated);
    }
    this.#intxDisabled = intxDisabled;
    this.#masked = masked;
    for (const [vector, fd] of triggers) this.#assign(enabled as number, vector, fd);
    for (const [index, fd] of singles) {
      this.#host.pciFunction.setIrqTrigger(index, 0, fd);
      this.#singles.set(index, fd);
    }
    if (enabled === INTX)
      this.#host.pciFunction.connectIntx?.((asserted) => this.#lineChanged(asserted));
  }

  #count(index: number): number {
    const { vectors } = this.#host.pciFunction;
    switch (index) {
      case INTX:
        return this.#host.hasIntx ? 1 : 0;
      case MSI:
        return vectors.msi;
      case MSIX:
        return vectors.msix;
      case ERR:
      case REQ:
        return 1;
      default:
        return refuse(`there is no interrupt ${index} of ${VFIO_PCI_NUM_IRQS}`);
    }
  }

  #assigned(index: number, vector: number): number | undefined {
    if (index === ERR || index === REQ) return this.#singles.get(index);
    return this.#enabled === index ? this.#triggers.get(vector) : undefined;
  }

  #check({ flags, index, start, count, bools, fds }: IrqSet): void {
    const total = this.#count(index);
    const type = flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    const action = flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
    if ((flags & ~(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK)) !== 0)
      refuse(`interrupt flags 0x${(flags >>> 0).toString(16)} have unknown bits`);
    if (type !== DATA_NONE && type !== DATA_BOOL && type !== DATA_EVENTFD)
      refuse('not exactly one interrupt data type');
    if (action !== ACTION_MASK && action !== ACTION_UNMASK && action !== ACTION_TRIGGER)
      refuse('not exactly one interrupt action');
    if (!(start >= 0 && count >= 0 && start < total && start + count <= total))
      refuse(`vectors ${start} to ${start + count} are not inside ${total}`);
    if (count === 0 && (start !== 0 || type !== DATA_NONE || action !== ACTION_TRIGGER))
      refuse('an empty range of vectors only disables');
    if (type === DATA_BOOL && bools?.length !== count)
      refuse(`${bools?.length ?? 0} bytes for ${count} vectors`);
    const given = fds?.length ?? 0;
    if (given !== 0 && (type !== DATA_EVENTFD || given !== count))
      refuse(`${given} descriptors for ${count} vectors`);
    for (const fd of fds ?? [])
      if (fd >= 0 && !this.#host.eventFds.isEventFd(fd)) refuse('a descriptor is no eventfd');
    if (action !== ACTION_TRIGGER && index !== INTX) refuse(`interrupt ${index} cannot be masked`);
  }

  #mask({ flags, bools }: IrqSet, on: boolean): void {
    if (this.#enabled !== INTX) refuse('INTx is not enabled');
    // To unmask by eventfd (resampling), someone would have to wait on it here.
    if ((flags & DATA_EVENTFD) !== 0)
      throw new Fault('ENOTTY', 'INTx is masked and unmasked by messages only');
    if ((flags & DATA_BOOL) !== 0 && bools?.[0] === 0) return;
    if (on) this.#masked = true;
    else this.#unmask();
  }

  #trigger(set: IrqSet, kept: Set<number>): void {
    const { index, start, count, flags } = set;
    if (index === ERR || index === REQ) {
      this.#triggerSingle(set, kept);
      return;
    }
    if (count === 0) {
      if (this.#enabled !== index) refuse(`interrupt ${index} is not enabled`);
      this.#disable();
      return;
    }
    if (this.#enabled !== undefined && this.#enabled !== index)
      refuse(`interrupt ${this.#enabled} is enabled`);
    if ((flags & DATA_EVENTFD) !== 0) {
      const enabling = this.#enabled === undefined;
      if (enabling) this.#enable(index, start + count);
      else if (start + count > this.#allocated) refuse(`only ${this.#allocated} are enabled`);
      for (let i = 0; i < count; i++) this.#assign(index, start + i, set.fds?.[i] ?? -1, kept);
      // Last, because a line that is asserted already interrupts at once.
      if (enabling && index === INTX)
        this.#host.pciFunction.connectIntx?.((asserted) => this.#lineChanged(asserted));
      return;
    }
    if (this.#enabled !== index) refuse(`interrupt ${index} is not enabled`);
    for (let i = 0; i < count; i++) {
      // As in Linux, vectors without a descriptor are passed over.
      if ((flags & DATA_NONE) !== 0 || set.bools?.[i] !== 0)
        if (this.#triggers.has(start + i)) this.raise(index, start + i);
    }
  }

  #triggerSingle({ index, count, flags, fds, bools }: IrqSet, kept: Set<number>): void {
    const { eventFds } = this.#host;
    const old = this.#singles.get(index);
    if ((flags & DATA_EVENTFD) !== 0 || count === 0) {
      if (count === 0 && old === undefined) refuse(`interrupt ${index} is not enabled`);
      const fd = fds?.[0] ?? -1;
      this.#host.pciFunction.setIrqTrigger(index, 0, fd >= 0 ? fd : null);
      if (old !== undefined) eventFds.close(old);
      this.#singles.delete(index);
      if (fd >= 0) {
        this.#singles.set(index, fd);
        kept.add(fd);
      }
    } else if ((flags & DATA_NONE) !== 0 && old === undefined) {
      refuse(`interrupt ${index} is not enabled`);
    } else if (old !== undefined && ((flags & DATA_NONE) !== 0 || bools?.[0] !== 0)) {
      eventFds.signal(old);
    }
  }

  #enable(index: number, vectors: number): void {
    const { pciFunction } = this.#host;
    if (index !== INTX) pciFunction.allocateVectors?.(index, vectors);
    this.#enabled = index;
    this.#allocated = vectors;
    if (index === INTX) this.#masked = this.#intxDisabled;
    else if (pciFunction.allocateVectors === undefined)
      this.#host.enableMessages(index as typeof MSI | typeof MSIX, true);
  }

  #disable(): void {
    const index = this.#enabled;
    if (index === undefined) return;
    for (const vector of [...this.#triggers.keys()]) this.#assign(index, vector, -1);
    const { pciFunction } = this.#host;
    if (index === INTX) pciFunction.connectIntx?.(null);
    else if (pciFunction.allocateVectors !== undefined) pciFunction.allocateVectors(index, 0);
    else this.#host.enableMessages(index as typeof MSI | typeof MSIX, false);
    this.#enabled = undefined;
    this.#allocated = 0;
    this.#line = false;
  }

  #assign(index: number, vector: number, fd: number, kept?: Set<number>): void {
    const old = this.#triggers.get(vector);
    // The function lets go of the old descriptor before it is closed.
    if (index !== INTX) this.#host.pciFunction.setIrqTrigger(index, vector, fd >= 0 ? fd : null);
    if (old !== undefined) this.#host.eventFds.close(old);
    this.#triggers.delete(vector);
    if (fd < 0) return;
    this.#triggers.set(vector, fd);
    kept?.add(fd);
  }

  /** The level of the function's INTx line. Source: vfio_intx_handler */
  #lineChanged(asserted: boolean): void {
    this.#line = asserted;
    if (!asserted || this.#masked) return;
    this.#masked = true;
    this.#signalIntx();
  }

  /** Source: vfio_pci_intx_unmask_handler */
  #unmask(): void {
    if (!this.#masked || this.#intxDisabled) return;
    // A line that is still asserted interrupts again at once, and stays masked for it.
    if (this.#line) this.#signalIntx();
    else this.#masked = false;
  }

  #signalIntx(): void {
    const fd = this.#triggers.get(0);
    if (fd !== undefined && !this.#intxDisabled) this.#host.eventFds.signal(fd);
  }
}
