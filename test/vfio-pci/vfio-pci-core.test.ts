import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import {
  VFIO_DEVICE_FLAGS,
  VFIO_IRQ_SET,
  VFIO_PCI_IRQ,
  VFIO_PCI_REGION,
  VFIO_REGION_INFO_FLAG,
} from '../../src/vfio/uapi.ts';
import type { DmaMapping } from '../../src/vfio/vfio-device.ts';
import { DirtyLog } from '../../src/vfio-pci/dma-logger.ts';
import { VfioPciCore, type VfioPciEvent } from '../../src/vfio-pci/vfio-pci-core.ts';
import { bar64, FakeEventFds, type TestFunction, xeVf } from '../support/test-function.ts';

const { CONFIG, ROM, VGA } = VFIO_PCI_REGION;
const { READ, WRITE, MMAP } = VFIO_REGION_INFO_FLAG;

async function open(pciFunction: TestFunction, options: { dmaLogger?: DirtyLog } = {}) {
  const eventFds = new FakeEventFds();
  const device = new VfioPciCore({ pciFunction, eventFds, ...options });
  const events: VfioPciEvent[] = [];
  device.events.on((event) => events.push(event));
  await device.enable();
  return { device, pciFunction, eventFds, events };
}

function mapping(iova: number, size: number): DmaMapping {
  const refuse = () => {
    throw new RangeError('no memory behind it');
  };
  return { iova, size, flags: 3, memory: { windows: undefined, read: refuse, write: refuse } };
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

const fault = (name: string) => expect.objectContaining({ code: name });

describe('information', () => {
  it('is that of a PCI device with reset', async () => {
    const { device } = await open(xeVf('ptl'));
    const flags = VFIO_DEVICE_FLAGS.PCI | VFIO_DEVICE_FLAGS.RESET;
    expect(device.info).toEqual({ flags, numRegions: 9, numIrqs: 5 });
  });

  it('D-02: has no reset where the function cannot be reset', async () => {
    const vf = xeVf('ptl');
    vf.onReset = () => {
      throw new Fault('EIO', 'no answer');
    };
    const { device, events } = await open(vf);
    expect(device.info.flags).toBe(VFIO_DEVICE_FLAGS.PCI);
    await expect(device.reset()).rejects.toEqual(fault('EINVAL'));
    expect(events).toEqual([{ during: 'function reset', fault: fault('EIO') }]);
    const resets = vf.resets;
    await device.close();
    expect(vf.resets).toBe(resets);
  });
});

describe('regions', () => {
  it('REG-01, REG-07, REG-11: are answered for every index', async () => {
    const areas = [{ offset: 4096, size: 8192, fd: 5, fdOffset: 0 }];
    const bars = [...bar64(2 ** 24), { ...bar64(2 ** 28)[0]!, areas }];
    const { device } = await open(xeVf('bmg', { bars }));
    const infos = Array.from({ length: 9 }, (_, index) => device.regionInfo(index));
    expect(infos.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(infos[0]).toMatchObject({ size: 2 ** 24, flags: READ | WRITE, areas: [] });
    expect(infos[2]).toMatchObject({ size: 2 ** 28, flags: READ | WRITE | MMAP, areas });
    expect(infos[CONFIG]).toMatchObject({ size: 4096, flags: READ | WRITE, areas: [] });
    for (const index of [1, 3, 4, 5, ROM, VGA])
      expect(infos[index]).toMatchObject({ size: 0, flags: 0, areas: [] });
  });

  it('REG-04: are not there for other indices', async () => {
    const { device } = await open(xeVf('ptl'));
    for (const index of [9, 10, 512, 0xffff_ffff, -1, 0.5, Number.NaN])
      expect(code(() => device.regionInfo(index))).toBe('EINVAL');
  });

  it('RIO-06, RIO-07, RIO-09, RIO-10: cannot be accessed outside', async () => {
    const { device } = await open(xeVf('ptl'));
    const bytes = new Uint8Array(256);
    const size = 16 * 2 ** 20;
    for (const [index, offset, count] of [
      [0, size, 1],
      [0, size - 1, 2],
      [0, size + 4096, 4],
      [0, 2 ** 63, 4],
      [0, Number.POSITIVE_INFINITY, 1],
      [0, -1, 1],
      [1, 0, 4],
      [ROM, 0, 4],
      [VGA, 0, 4],
      [9, 0, 4],
      [0xffff_ffff, 0, 4],
      [CONFIG, 4096, 1],
      [CONFIG, 4093, 4],
    ] as const) {
      expect(code(() => device.regionRead(index, offset, bytes, 0, count))).toBe('EINVAL');
      expect(code(() => device.regionWrite(index, offset, bytes, 0, count))).toBe('EINVAL');
    }
  });

  it('RIO-13: can be read and written with count 0', async () => {
    const { device } = await open(xeVf('ptl'));
    for (const index of [0, CONFIG]) {
      device.regionRead(index, 0, new Uint8Array(0), 0, 0);
      device.regionWrite(index, 0, new Uint8Array(0), 0, 0);
    }
  });

  it('hold what was written', async () => {
    const { device, pciFunction } = await open(xeVf('ptl'));
    device.regionWrite(0, 10, new Uint8Array([0, 1, 2, 3, 4]), 1, 4);
    const bytes = new Uint8Array(6);
    device.regionRead(0, 9, bytes, 1, 5);
    expect([...bytes]).toEqual([0, 0, 1, 2, 3, 4]);
    expect([...pciFunction.memory[0]!.subarray(9, 15)]).toEqual([0, 1, 2, 3, 4, 0]);
  });

  it('leave the MSI-X table to the host', async () => {
    // 4 entries at 0x100 of BAR 0.
    const { device, pciFunction } = await open(
      xeVf('ptl', {
        vectors: { intx: 0, msi: 0, msix: 4 },
        registers: [
          [0x06, 2, 0x0010],
          [0x34, 1, 0x40],
          [0x40, 4, 0x0003_0011],
          [0x44, 4, 0x0000_0100],
        ],
      }),
    );
    const memory = pciFunction.memory[0]!;
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0x200 }),
        fc.integer({ min: 0, max: 0x200 }),
        (offset, count) => {
          memory.fill(7);
          const inside = (at: number) => at >= 0x100 && at < 0x140;
          const bytes = new Uint8Array(count).fill(9);
          device.regionWrite(0, offset, bytes, 0, count);
          device.regionRead(0, offset, bytes, 0, count);
          for (let i = 0; i < count; i++) {
            const at = offset + i;
            expect(memory[at]).toBe(inside(at) ? 7 : 9);
            expect(bytes[i]).toBe(inside(at) ? 0xff : 9);
          }
        },
      ),
    );
  });
});

describe('reset', () => {
  class Hooked extends VfioPciCore {
    readonly steps: string[] = [];
    protected override async resetPrepare() {
      this.steps.push('prepare');
    }
    protected override async resetDone() {
      this.steps.push('done');
    }
  }

  async function hooked(pciFunction: TestFunction) {
    const device = new Hooked({ pciFunction, eventFds: new FakeEventFds() });
    pciFunction.onReset = () => void device.steps.push('reset');
    await device.enable();
    return device;
  }

  it('calls the handlers on open, on reset and on FLR, not on close', async () => {
    const device = await hooked(xeVf('ptl'));
    const once = ['prepare', 'reset', 'done'];
    expect(device.steps).toEqual(once);
    await device.reset();
    expect(device.steps).toEqual([...once, ...once]);
    await device.regionWrite(CONFIG, 0x49, new Uint8Array([0x80]), 0, 1);
    expect(device.steps).toEqual([...once, ...once, ...once]);
    await device.close();
    expect(device.steps.slice(9)).toEqual(['reset']);
  });

  it('finishes with resetDone also when it fails', async () => {
    const vf = xeVf('ptl');
    const device = await hooked(vf);
    const events: VfioPciEvent[] = [];
    device.events.on((event) => events.push(event));
    vf.onReset = () => {
      throw new Fault('EIO', 'no answer');
    };
    await expect(device.reset()).rejects.toEqual(fault('EIO'));
    expect(device.steps.slice(3)).toEqual(['prepare', 'done']);
    // Who wrote a register is not told.
    await device.regionWrite(CONFIG, 0x49, new Uint8Array([0x80]), 0, 1);
    expect(events).toEqual([{ during: 'function reset', fault: fault('EIO') }]);
    vf.onReset = () => undefined;
    await device.reset();
  });

  it('runs one at a time', async () => {
    const vf = xeVf('ptl');
    const device = await hooked(vf);
    const finish: Array<() => void> = [];
    vf.onReset = () => new Promise((resolve) => finish.push(resolve));
    const both = [device.reset(), device.reset()];
    await new Promise(setImmediate);
    expect(finish).toHaveLength(1);
    finish[0]?.();
    await both[0];
    await new Promise(setImmediate);
    expect(finish).toHaveLength(2);
    finish[1]?.();
    await both[1];
  });

  it('keeps bus master, DEVCTL, BARs and interrupts', async () => {
    const { device, eventFds, pciFunction } = await open(xeVf('ptl'));
    const bytes = new Uint8Array(4);
    device.regionWrite(CONFIG, 4, new Uint8Array([6, 0]), 0, 2);
    device.regionWrite(CONFIG, 0x48, new Uint8Array([0x10, 0x29]), 0, 2);
    device.regionWrite(CONFIG, 0x10, new Uint8Array([0, 0, 0, 0xe0]), 0, 4);
    const fd = eventFds.open();
    const flags = VFIO_IRQ_SET.ACTION_TRIGGER | VFIO_IRQ_SET.DATA_EVENTFD;
    device.setIrqs({ flags, index: VFIO_PCI_IRQ.MSI, start: 0, count: 1, fds: [fd] });
    await device.reset();
    device.regionRead(CONFIG, 4, bytes, 0, 2);
    expect(bytes[0]).toBe(6);
    expect(pciFunction.register(4, 2)).toBe(4);
    device.regionRead(CONFIG, 0x48, bytes, 0, 2);
    expect([...bytes.subarray(0, 2)]).toEqual([0x10, 0x29]);
    device.regionRead(CONFIG, 0x10, bytes, 0, 4);
    expect([...bytes]).toEqual([0x0c, 0, 0, 0xe0]);
    expect(pciFunction.triggers.get('1:0')).toBe(fd);
    expect(pciFunction.register(0x92, 2) & 1).toBe(1);
  });

  it('begins with bus mastering off', async () => {
    const vf = xeVf('ptl');
    vf.config[4] = 4;
    await open(vf);
    expect(vf.register(4, 2)).toBe(0);
  });
});

describe('DMA', () => {
  it('tells the function of every mapping, and only of good ones', async () => {
    const { device, pciFunction } = await open(xeVf('ptl'));
    device.dmaMap(mapping(0, 8192));
    expect(code(() => device.dmaMap(mapping(4096, 4096)))).toBe('EEXIST');
    expect(code(() => device.dmaMap(mapping(0, 0)))).toBe('EINVAL');
    device.dmaMap(mapping(8192, 4096));
    expect(pciFunction.mappings.size).toBe(2);
    expect(code(() => device.dmaUnmap(0, 4096))).toBe('ENOENT');
    device.dmaUnmap(0, 8192);
    expect([...pciFunction.mappings].map(({ iova }) => iova)).toEqual([8192]);
    device.dmaUnmapAll();
    device.dmaUnmapAll();
    expect(pciFunction.mappings.size).toBe(0);
  });

  it('is not logged without a logger', async () => {
    const { device } = await open(xeVf('ptl'));
    expect(device.dmaLogging).toBe(false);
    expect(code(() => device.dmaLoggingStart(4096, []))).toBe('ENOTTY');
    expect(code(() => device.dmaLoggingStop())).toBe('ENOTTY');
    expect(code(() => device.dmaLoggingReport(0, 4096, 4096, new Uint8Array(8)))).toBe('ENOTTY');
  });

  it('D-16, D-17: is logged where the function reports its writes, until the end', async () => {
    const { device, pciFunction } = await open(xeVf('ptl'), { dmaLogger: new DirtyLog() });
    expect(device.dmaLogging).toBe(true);
    pciFunction.dmaWrite(0, 1);
    device.dmaMap(mapping(0, 65536));
    device.dmaLoggingStart(4096, [{ iova: 0, length: 65536 }]);
    pciFunction.dmaWrite(8192, 4);
    const bitmap = new Uint8Array(8);
    device.dmaLoggingReport(0, 65536, 4096, bitmap);
    expect([...bitmap]).toEqual([4, 0, 0, 0, 0, 0, 0, 0]);
    device.dmaUnmap(0, 65536);
    device.dmaLoggingReport(0, 65536, 4096, bitmap.fill(0));
    expect([...bitmap]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    await device.close();
    expect(pciFunction.onDmaWrite).toBeUndefined();
  });
});

describe('a device without a variant driver', () => {
  it('cannot be migrated', async () => {
    const { device } = await open(xeVf('ptl'));
    expect(device.migrationFlags).toBe(0);
    await expect(device.migrationState()).rejects.toEqual(fault('ENOTTY'));
    await expect(device.setMigrationState(1)).rejects.toEqual(fault('ENOTTY'));
    await expect(device.migrationDataSize()).rejects.toEqual(fault('ENOTTY'));
    await expect(device.precopyInfo()).rejects.toEqual(fault('ENOTTY'));
    expect(code(() => device.enablePrecopyInfoV2())).toBe('EINVAL');
  });
});

describe('close', () => {
  it('lets go of everything, once, and leaves the function to the next', async () => {
    const vf = xeVf('ptl');
    const { device, eventFds } = await open(vf);
    device.dmaMap(mapping(0, 4096));
    const flags = VFIO_IRQ_SET.ACTION_TRIGGER | VFIO_IRQ_SET.DATA_EVENTFD;
    const set = { flags, index: VFIO_PCI_IRQ.MSI, start: 0, count: 1 };
    device.setIrqs({ ...set, fds: [eventFds.open()] });
    let mapped = -1;
    vf.onReset = () => {
      mapped = vf.mappings.size;
    };
    const resets = vf.resets;
    await Promise.all([device.close(), device.close()]);
    expect(vf.resets).toBe(resets + 1);
    // A device that could still write must not do so into memory that is somebody else's.
    expect(mapped).toBe(1);
    expect(vf.mappings.size).toBe(0);
    expect(eventFds.counters.size).toBe(0);
    for (const run of [
      () => device.regionInfo(0),
      () => device.irqInfo(0),
      () => device.regionRead(0, 0, new Uint8Array(4), 0, 4),
      () => device.regionWrite(0, 0, new Uint8Array(4), 0, 4),
      () => device.dmaMap(mapping(0, 4096)),
      () => device.dmaUnmap(0, 4096),
      () => device.setIrqs({ ...set, fds: [eventFds.open()] }),
    ])
      expect(code(run)).toBe('ENODEV');
    expect(eventFds.counters.size).toBe(0);
    await expect(device.reset()).rejects.toEqual(fault('ENODEV'));
    const next = await open(vf);
    next.device.dmaMap(mapping(0, 4096));
  });

  it('waits for a reset that runs', async () => {
    const vf = xeVf('ptl');
    const { device } = await open(vf);
    const steps: string[] = [];
    vf.onReset = async () => {
      steps.push('begin');
      await new Promise(setImmediate);
      steps.push('end');
    };
    await Promise.all([device.reset(), device.close()]);
    expect(steps).toEqual(['begin', 'end', 'begin', 'end']);
  });
});

it('forgets a mapping that the function refuses', async () => {
  const pciFunction = xeVf('ptl');
  pciFunction.dmaMap = () => {
    throw new Fault('ENOMEM', 'no memory can be locked');
  };
  const { device } = await open(pciFunction);
  expect(code(() => device.dmaMap(mapping(0, 4096)))).toBe('ENOMEM');
  expect(code(() => device.dmaMap(mapping(0, 4096)))).toBe('ENOMEM');
  expect(code(() => device.dmaUnmap(0, 4096))).toBe('ENOENT');
});
