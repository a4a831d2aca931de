import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { VFIO_IRQ_INFO, VFIO_IRQ_SET, VFIO_PCI_IRQ } from '../../src/vfio/uapi.ts';
import { VfioPciCore } from '../../src/vfio-pci/vfio-pci-core.ts';
import { FakeEventFds, type Register, TestFunction, xeVf } from '../support/test-function.ts';

const { INTX, MSI, MSIX, ERR, REQ } = VFIO_PCI_IRQ;
const { DATA_NONE, DATA_BOOL, DATA_EVENTFD } = VFIO_IRQ_SET;
const { ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER } = VFIO_IRQ_SET;
const TN = ACTION_TRIGGER | DATA_NONE;
const TB = ACTION_TRIGGER | DATA_BOOL;
const TE = ACTION_TRIGGER | DATA_EVENTFD;

const MSI_FLAGS = 0x52;
const MSIX_FLAGS = 0x72;
const registers: readonly Register[] = [
  [0x04, 2, 0, 0x0407],
  [0x06, 2, 0x0010],
  [0x34, 1, 0x50],
  [0x3d, 1, 1],
  [0x50, 2, 0x7005],
  [MSI_FLAGS, 2, 0x0084, 0x0071],
  [0x70, 2, 0x0011],
  [MSIX_FLAGS, 2, 0x0007, 0xc000],
];

/** A function with INTx, 4 MSI and 8 MSI-X vectors, whose vectors signal eventfds. */
async function open() {
  const eventFds = new FakeEventFds();
  class Signalling extends TestFunction {
    override raiseIrq(index: number, vector: number): void {
      eventFds.signal(this.triggers.get(`${index}:${vector}`) ?? -1);
    }
  }
  const pciFunction = new Signalling({
    isVirtfn: false,
    vectors: { intx: 1, msi: 4, msix: 8 },
    registers,
  });
  const device = new VfioPciCore({ pciFunction, eventFds });
  await device.enable();
  const set = (flags: number, index: number, start: number, count: number, data?: object) =>
    device.setIrqs({ flags, index, start, count, ...data });
  const assign = (index: number, start: number, count: number) => {
    const fds = Array.from({ length: count }, () => eventFds.open());
    set(TE, index, start, count, { fds });
    return fds;
  };
  const counters = (fds: readonly number[]) => fds.map((fd) => eventFds.counter(fd));
  return { device, pciFunction, eventFds, set, assign, counters };
}

function code(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
}

describe('information', () => {
  it('IRQ-01: is that of vfio-pci', async () => {
    const { device } = await open();
    const { EVENTFD, MASKABLE, AUTOMASKED, NORESIZE } = VFIO_IRQ_INFO;
    expect([INTX, MSI, MSIX, ERR, REQ].map((index) => device.irqInfo(index))).toEqual([
      { index: INTX, flags: EVENTFD | MASKABLE | AUTOMASKED, count: 1 },
      { index: MSI, flags: EVENTFD | NORESIZE, count: 4 },
      { index: MSIX, flags: EVENTFD | NORESIZE, count: 8 },
      { index: ERR, flags: EVENTFD | NORESIZE, count: 1 },
      { index: REQ, flags: EVENTFD | NORESIZE, count: 1 },
    ]);
  });

  it('counts no INTx of a VF, whose flags stay as in Linux', async () => {
    const device = new VfioPciCore({ pciFunction: xeVf('ptl'), eventFds: new FakeEventFds() });
    await device.enable();
    const { EVENTFD, MASKABLE, AUTOMASKED } = VFIO_IRQ_INFO;
    const flags = EVENTFD | MASKABLE | AUTOMASKED;
    expect(device.irqInfo(INTX)).toEqual({ index: INTX, flags, count: 0 });
    expect(device.irqInfo(MSI).count).toBe(1);
    expect(device.irqInfo(MSIX).count).toBe(0);
  });

  it('IRQ-02: does not exist for other indices', async () => {
    const { device } = await open();
    for (const index of [5, 6, -1, 0xffff_ffff, Number.NaN])
      expect(code(() => device.irqInfo(index))).toBe('EINVAL');
  });
});

describe('a request that is refused', () => {
  const refused: ReadonlyArray<readonly [string, number, number, number, number, number]> = [
    ['IRQ-05: no such index', TN, 5, 0, 1, 0],
    ['IRQ-05: the greatest index', TN, 0xffff_ffff, 0, 1, 0],
    ['IRQ-07: no action', DATA_NONE, MSI, 0, 1, 0],
    ['two actions', ACTION_TRIGGER | ACTION_MASK | DATA_NONE, INTX, 0, 1, 0],
    ['IRQ-08: two data types', TN | DATA_BOOL, MSI, 0, 1, 1],
    ['IRQ-08: no data type', ACTION_TRIGGER, MSI, 0, 1, 0],
    ['unknown flags', TN | 0x40, MSI, 0, 1, 0],
    ['IRQ-10: masking ERR', ACTION_MASK | DATA_NONE, ERR, 0, 1, 0],
    ['IRQ-10: masking REQ', ACTION_MASK | DATA_NONE, REQ, 0, 1, 0],
    ['masking MSI', ACTION_MASK | DATA_NONE, MSI, 0, 1, 0],
    ['IRQ-10: two vectors of ERR', TN, ERR, 0, 2, 0],
    ['IRQ-11: an empty range behind the first vector', TN, MSI, 1, 0, 0],
    ['an empty range of eventfds', TE, MSI, 0, 0, 0],
    ['IRQ-13: too few bytes', TB, MSI, 0, 2, 1],
    ['IRQ-13: too many bytes', TB, MSI, 0, 2, 3],
    ['a vector behind the last', TN, MSI, 3, 2, 0],
    ['a count that wraps', TN, MSI, 0, 0xffff_ffff, 0],
    ['raising what is not enabled', TN, MSI, 0, 1, 0],
    ['raising ERR without an eventfd', TN, ERR, 0, 1, 0],
    ['disabling what is not enabled', TN, MSI, 0, 0, 0],
    ['unmasking INTx that is not enabled', ACTION_UNMASK | DATA_NONE, INTX, 0, 1, 0],
  ];
  for (const [name, flags, index, start, count, bytes] of refused)
    it(name, async () => {
      const { set } = await open();
      const data = bytes > 0 ? { bools: new Uint8Array(bytes) } : {};
      expect(code(() => set(flags, index, start, count, data))).toBe('EINVAL');
    });

  it('IRQ-14: closes the descriptors that came with it', async () => {
    const { set, eventFds } = await open();
    const bools = new Uint8Array(2);
    for (const flags of [TB, TN]) {
      const fds = [eventFds.open(), eventFds.open()];
      expect(code(() => set(flags, MSI, 0, 2, { fds, bools }))).toBe('EINVAL');
    }
    expect(code(() => set(TE, MSI, 0, 2, { fds: [eventFds.open()] }))).toBe('EINVAL');
    expect(code(() => set(TE, 9, 0, 1, { fds: [eventFds.open()] }))).toBe('EINVAL');
    expect(eventFds.counters.size).toBe(0);
  });

  it('is one with a descriptor that is no eventfd, and changes nothing', async () => {
    const { set, pciFunction } = await open();
    const closed: number[] = [];
    const device = new VfioPciCore({
      pciFunction,
      eventFds: { isEventFd: () => false, signal: () => undefined, close: (fd) => closed.push(fd) },
    });
    await device.enable();
    expect(
      code(() => device.setIrqs({ flags: TE, index: MSI, start: 0, count: 1, fds: [7] })),
    ).toBe('EINVAL');
    expect(closed).toEqual([7]);
    expect(pciFunction.triggers.size).toBe(0);
    expect(code(() => set(TN, MSI, 0, 1))).toBe('EINVAL');
  });
});

describe('MSI', () => {
  it('IRQ-16: loops back to a range of vectors', async () => {
    const { assign, set, counters } = await open();
    const fds = assign(MSI, 0, 4);
    set(TN, MSI, 1, 2);
    expect(counters(fds)).toEqual([0, 1, 1, 0]);
  });

  it('IRQ-17: loops back where a byte is not zero', async () => {
    const { assign, set, counters } = await open();
    const fds = assign(MSI, 0, 4);
    set(TB, MSI, 0, 4, { bools: new Uint8Array([1, 0, 2, 0]) });
    expect(counters(fds)).toEqual([1, 0, 1, 0]);
  });

  it('IRQ-19: takes some eventfds away without descriptors', async () => {
    const { assign, set, counters } = await open();
    const fds = assign(MSI, 0, 4);
    set(TE, MSI, 2, 2);
    set(TN, MSI, 0, 4);
    expect(counters(fds)).toEqual([1, 1, undefined, undefined]);
    set(TE, MSI, 0, 2, { fds: [-1, -1] });
    expect(counters(fds)).toEqual([undefined, undefined, undefined, undefined]);
  });

  it('IRQ-20: replaces an eventfd, closing the old one', async () => {
    const { assign, set, counters, pciFunction } = await open();
    const old = assign(MSI, 0, 1);
    const fresh = assign(MSI, 0, 1);
    set(TN, MSI, 0, 1);
    expect(counters([...old, ...fresh])).toEqual([undefined, 1]);
    expect(pciFunction.triggers.get('1:0')).toBe(fresh[0]);
  });

  it('IRQ-23: closes every descriptor with the device', async () => {
    const { device, assign, eventFds, pciFunction } = await open();
    assign(MSI, 0, 4);
    assign(ERR, 0, 1);
    assign(REQ, 0, 1);
    await device.close();
    expect(eventFds.counters.size).toBe(0);
    expect(pciFunction.triggers.size).toBe(0);
  });

  it('is switched on and off in the function', async () => {
    const { assign, set, pciFunction, eventFds } = await open();
    assign(MSI, 0, 2);
    expect(pciFunction.register(MSI_FLAGS, 2) & 1).toBe(1);
    set(TN, MSI, 0, 0);
    expect(pciFunction.register(MSI_FLAGS, 2) & 1).toBe(0);
    expect(eventFds.counters.size).toBe(0);
    assign(MSIX, 0, 8);
    expect(pciFunction.register(MSIX_FLAGS, 2)).toBe(0x8007);
  });

  it('excludes MSI-X and INTx while it is enabled', async () => {
    const { assign, set, eventFds } = await open();
    assign(MSI, 0, 1);
    for (const index of [MSIX, INTX])
      expect(code(() => set(TE, index, 0, 1, { fds: [eventFds.open()] }))).toBe('EINVAL');
    expect(eventFds.counters.size).toBe(1);
  });

  it('has no more vectors than it was enabled with (NORESIZE)', async () => {
    const { assign, set, eventFds } = await open();
    assign(MSI, 0, 2);
    expect(code(() => set(TE, MSI, 2, 1, { fds: [eventFds.open()] }))).toBe('EINVAL');
    set(TN, MSI, 0, 0);
    assign(MSI, 2, 1);
  });

  it('takes an enable without any descriptor, as QEMU begins MSI-X', async () => {
    const { set, assign, counters } = await open();
    set(TE, MSIX, 0, 8);
    const fds = assign(MSIX, 7, 1);
    set(TN, MSIX, 0, 8);
    expect(counters(fds)).toEqual([1]);
  });

  it('D-05: is raised by the device: ENOENT unassigned, EINVAL out of range', async () => {
    const { device, assign, counters } = await open();
    expect(code(() => device.raiseIrq(MSI, 0))).toBe('ENOENT');
    const fds = assign(MSI, 1, 1);
    expect(code(() => device.raiseIrq(MSI, 0))).toBe('ENOENT');
    for (const vector of [4, -1, Number.NaN])
      expect(code(() => device.raiseIrq(MSI, vector))).toBe('EINVAL');
    expect(code(() => device.raiseIrq(77, 0))).toBe('EINVAL');
    device.raiseIrq(MSI, 1);
    expect(counters(fds)).toEqual([1]);
  });
});

describe('ERR and REQ', () => {
  it('are assigned, looped back, replaced and taken away', async () => {
    const { device, set, assign, counters } = await open();
    for (const index of [ERR, REQ]) {
      const first = assign(index, 0, 1);
      set(TN, index, 0, 1);
      set(TB, index, 0, 1, { bools: new Uint8Array([0]) });
      set(TB, index, 0, 1, { bools: new Uint8Array([1]) });
      device.raiseIrq(index, 0);
      expect(counters(first)).toEqual([3]);
      const second = assign(index, 0, 1);
      expect(counters(first)).toEqual([undefined]);
      set(TN, index, 0, 0);
      expect(counters(second)).toEqual([undefined]);
      expect(code(() => set(TN, index, 0, 0))).toBe('EINVAL');
      set(TE, index, 0, 1, { fds: [-1] });
    }
  });
});

describe('INTx', () => {
  it('D-06: masks itself; a second edge comes only after UNMASK', async () => {
    const { set, assign, counters, pciFunction } = await open();
    const fds = assign(INTX, 0, 1);
    pciFunction.setIntx(true);
    expect(counters(fds)).toEqual([1]);
    pciFunction.setIntx(false);
    pciFunction.setIntx(true);
    expect(counters(fds)).toEqual([1]);
    set(ACTION_UNMASK | DATA_NONE, INTX, 0, 1);
    expect(counters(fds)).toEqual([2]);
    pciFunction.setIntx(false);
    set(ACTION_UNMASK | DATA_NONE, INTX, 0, 1);
    expect(counters(fds)).toEqual([2]);
    pciFunction.setIntx(true);
    expect(counters(fds)).toEqual([3]);
  });

  it('IRQ-22: is masked and unmasked with NONE and BOOL', async () => {
    const { set, assign, counters, pciFunction } = await open();
    const fds = assign(INTX, 0, 1);
    set(ACTION_MASK | DATA_NONE, INTX, 0, 1);
    pciFunction.setIntx(true);
    expect(counters(fds)).toEqual([0]);
    set(ACTION_UNMASK | DATA_BOOL, INTX, 0, 1, { bools: new Uint8Array([0]) });
    expect(counters(fds)).toEqual([0]);
    set(ACTION_UNMASK | DATA_BOOL, INTX, 0, 1, { bools: new Uint8Array([1]) });
    expect(counters(fds)).toEqual([1]);
  });

  it('cannot be masked by eventfd', async () => {
    const { set, assign, eventFds } = await open();
    assign(INTX, 0, 1);
    const fds = [eventFds.open()];
    expect(code(() => set(ACTION_MASK | DATA_EVENTFD, INTX, 0, 1, { fds }))).toBe('ENOTTY');
    expect(eventFds.counters.size).toBe(1);
  });

  it('is silent while COMMAND disables it', async () => {
    const { device, assign, counters, pciFunction } = await open();
    const fds = assign(INTX, 0, 1);
    device.regionWrite(7, 4, new Uint8Array([0, 4]), 0, 2);
    pciFunction.setIntx(true);
    expect(counters(fds)).toEqual([0]);
    device.regionWrite(7, 4, new Uint8Array([0, 0]), 0, 2);
    expect(counters(fds)).toEqual([1]);
  });

  it('tells at once what was pending when it is enabled, and nothing once disabled', async () => {
    const { set, assign, counters, pciFunction } = await open();
    pciFunction.setIntx(true);
    const fds = assign(INTX, 0, 1);
    expect(counters(fds)).toEqual([1]);
    set(TN, INTX, 0, 0);
    pciFunction.setIntx(true);
    expect(counters(fds)).toEqual([undefined]);
  });
});

describe('a function whose vectors are not always there', () => {
  /** A function that notes what is asked of it and has so many vectors to give. */
  class Scarce extends TestFunction {
    readonly asked: string[] = [];
    room = 8;

    allocateVectors(index: number, vectors: number): void {
      if (vectors > this.room) throw new Fault('ENOSPC', `there are ${this.room} vectors`);
      this.asked.push(`${index}: ${vectors}`);
    }

    override setIrqTrigger(index: number, vector: number, eventfd: number | null): void {
      this.asked.push(`${index}.${vector} = ${eventfd === null ? 'none' : 'fd'}`);
      super.setIrqTrigger(index, vector, eventfd);
    }
  }

  async function openScarce() {
    const eventFds = new FakeEventFds();
    const pciFunction = new Scarce({
      isVirtfn: true,
      vectors: { intx: 0, msi: 4, msix: 8 },
      registers,
    });
    const device = new VfioPciCore({ pciFunction, eventFds });
    await device.enable();
    const assign = (index: number, start: number, count: number) => {
      const fds = Array.from({ length: count }, () => eventFds.open());
      device.setIrqs({ flags: TE, index, start, count, fds });
    };
    return { device, pciFunction, eventFds, assign };
  }

  it('gives all of them before the first is connected and takes them back at the end', async () => {
    const { device, pciFunction, assign } = await openScarce();
    assign(MSIX, 0, 2);
    assign(MSIX, 1, 1);
    device.setIrqs({ flags: TN, index: MSIX, start: 0, count: 0 });
    expect(pciFunction.asked).toEqual([
      ...[`${MSIX}: 2`, `${MSIX}.0 = fd`, `${MSIX}.1 = fd`, `${MSIX}.1 = fd`],
      ...[`${MSIX}.0 = none`, `${MSIX}.1 = none`, `${MSIX}: 0`],
    ]);
    // It is not switched on through its registers beside that.
    expect(pciFunction.register(MSIX_FLAGS, 2) & 0x8000).toBe(0);
  });

  it('stays as it was when there are not enough', async () => {
    const { device, pciFunction, eventFds, assign } = await openScarce();
    pciFunction.room = 1;
    expect(code(() => assign(MSIX, 0, 2))).toBe('ENOSPC');
    expect(eventFds.counters.size).toBe(0);
    assign(MSI, 0, 1);
    expect(code(() => device.raiseIrq(MSIX, 0))).toBe('ENOENT');
  });

  it('is told of the eventfds for errors and requests', async () => {
    const { device, pciFunction, assign } = await openScarce();
    assign(ERR, 0, 1);
    assign(REQ, 0, 1);
    device.setIrqs({ flags: TN, index: ERR, start: 0, count: 0 });
    await device.close();
    expect(pciFunction.asked).toEqual([
      ...[`${ERR}.0 = fd`, `${REQ}.0 = fd`, `${ERR}.0 = none`, `${REQ}.0 = none`],
    ]);
  });
});
