import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dataView } from '../../src/base/int.ts';
import { VFIO_PCI_REGION } from '../../src/vfio/uapi.ts';
import { VfioPciCore } from '../../src/vfio-pci/vfio-pci-core.ts';
import {
  bar64,
  FakeEventFds,
  type Register,
  TestFunction,
  XE_VF,
  xeVf,
} from '../support/test-function.ts';

const { CONFIG } = VFIO_PCI_REGION;
const { EXP, MSI, PM, ATS } = XE_VF;

/** An open device and its function, with short ways to read and write registers. */
async function open(pciFunction: TestFunction) {
  const device = new VfioPciCore({ pciFunction, eventFds: new FakeEventFds() });
  await device.enable();
  pciFunction.configWrites.length = 0;
  const read = (offset: number, size: 1 | 2 | 4) => {
    const bytes = new Uint8Array(4);
    device.regionRead(CONFIG, offset, bytes, 0, size);
    return dataView(bytes).getUint32(0, true);
  };
  const start = (offset: number, size: 1 | 2 | 4, value: number) => {
    const bytes = new Uint8Array(4);
    dataView(bytes).setUint32(0, value, true);
    return device.regionWrite(CONFIG, offset, bytes, 0, size);
  };
  /** A write that starts nothing. */
  const write = (offset: number, size: 1 | 2 | 4, value: number): void => {
    expect(start(offset, size, value)).toBeUndefined();
  };
  return { device, pciFunction, read, write, start };
}

/** A physical function: own ids, INTx, memory decoding that can be switched. */
function physical(registers: readonly Register[] = [], size = 4096) {
  return new TestFunction({
    isVirtfn: false,
    configSize: size,
    bars: [
      { size: 4096, is64Bit: false, prefetchable: false, areas: [] },
      ...bar64(2 ** 20).slice(0, 1),
      { size: 0, is64Bit: false, prefetchable: false, areas: [] },
    ],
    vectors: { intx: 1, msi: 4, msix: 0 },
    registers: [
      [0x00, 4, 0xb080_8086],
      [0x04, 2, 0, 0x0407],
      [0x06, 2, 0x0010],
      [0x3d, 1, 1],
      ...registers,
    ],
  });
}

describe('the header of a VF', () => {
  it('shows ids that its own registers do not have', async () => {
    const { read, write, pciFunction } = await open(xeVf('ptl'));
    expect(pciFunction.register(0, 4)).toBe(0xffff_ffff);
    expect(read(0, 4)).toBe(0xb080_8086);
    write(0, 4, 0x1234_5678);
    expect(read(0, 4)).toBe(0xb080_8086);
    expect(read(1, 2)).toBe(0x8080);
  });

  it('keeps memory enable and INTx disable, drops I/O, passes bus master on', async () => {
    const { read, write, pciFunction } = await open(xeVf('ptl'));
    expect(read(4, 2)).toBe(0x0002);
    write(4, 2, 0x0407);
    expect(read(4, 2)).toBe(0x0406);
    expect(pciFunction.register(4, 2)).toBe(0x0004);
    write(4, 2, 0);
    expect(read(4, 2)).toBe(0);
  });

  it('hides an INTx pin that a VF cannot have', async () => {
    const vf = xeVf('ptl');
    vf.config[0x3d] = 1;
    const { read, device } = await open(vf);
    expect(read(0x3d, 1)).toBe(0);
    expect(device.irqInfo(0).count).toBe(0);
  });

  it('lets the interrupt line be written, and nothing else beside it', async () => {
    const { read, write, pciFunction } = await open(xeVf('ptl'));
    write(0x3c, 4, 0xffff_ffff);
    expect(read(0x3c, 4)).toBe(0xff);
    expect(pciFunction.configWrites).toEqual([]);
  });

  it('RIO-16: answers all ones with the size of each BAR', async () => {
    const { read, write, pciFunction } = await open(xeVf('bmg'));
    const initial = [0, 1, 2, 3, 4, 5].map((bar) => read(0x10 + 4 * bar, 4));
    expect(initial).toEqual([0x0c, 0, 0x0c, 0, 0, 0]);
    for (let at = 0x10; at <= 0x30; at += 4)
      if (at <= 0x24 || at === 0x30) write(at, 4, 0xffff_ffff);
    expect(read(0x10, 4)).toBe(0xff00_000c);
    expect(read(0x14, 4)).toBe(0xffff_ffff);
    expect(read(0x18, 4)).toBe(0x0000_000c);
    expect(read(0x1c, 4)).toBe(0xffff_fffe);
    expect(read(0x20, 4)).toBe(0);
    expect(read(0x30, 4)).toBe(0);
    write(0x10, 4, 0xe234_5678);
    write(0x14, 4, 0x1);
    expect([read(0x10, 4), read(0x14, 4)]).toEqual([0xe200_000c, 0x1]);
    // Byte by byte it is the same register.
    write(0x13, 1, 0xf1);
    expect(read(0x10, 4)).toBe(0xf100_000c);
    expect(pciFunction.configWrites).toEqual([]);
  });
});

describe('the header of a physical function', () => {
  it('switches memory decoding, which BAR access then needs', async () => {
    const { device, read, write, pciFunction } = await open(physical());
    const bytes = new Uint8Array(4);
    expect(() => device.regionRead(0, 0, bytes, 0, 4)).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    write(4, 2, 0x0002);
    expect(pciFunction.register(4, 2)).toBe(0x0002);
    expect(read(4, 2)).toBe(0x0002);
    device.regionWrite(0, 0, bytes, 0, 4);
    device.regionRead(0, 0, bytes, 0, 4);
    write(4, 1, 0);
    expect(() => device.regionWrite(0, 0, bytes, 0, 4)).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
  });

  it('sizes a 32-bit BAR', async () => {
    const { read, write } = await open(physical());
    write(0x10, 4, 0xffff_ffff);
    expect(read(0x10, 4)).toBe(0xffff_f000);
    expect(read(0, 4)).toBe(0xb080_8086);
    expect(read(0x3d, 1)).toBe(1);
  });
});

describe('capabilities of a VF', () => {
  it('lists what it has and nothing else', async () => {
    const { read } = await open(xeVf('ptl'));
    const chain: Array<[number, number]> = [];
    for (let at = read(0x34, 1); at !== 0; at = read(at + 1, 1)) chain.push([at, read(at, 1)]);
    expect(chain).toEqual([
      [EXP, 0x10],
      [MSI, 0x05],
      [PM, 0x01],
    ]);
  });

  it('filters DEVCTL: no phantom functions, payload and read request are ours', async () => {
    const { read, write, pciFunction } = await open(xeVf('ptl'));
    write(EXP + 8, 2, 0x7fff);
    expect(read(EXP + 8, 2)).toBe(0x7dff);
    // 128 << 7 was asked for, nothing forbids it; payload stays what the host set.
    expect(pciFunction.register(EXP + 8, 2)).toBe(0x7d1f);
    write(EXP + 0x28, 2, 0xffff);
    expect(pciFunction.register(EXP + 0x28, 2)).toBe(0x7fdf);
  });

  it('does not clear DEVSTA when DEVCTL is written as a dword', async () => {
    const vf = xeVf('ptl');
    const { write } = await open(vf);
    write(EXP + 8, 4, 0xffff_0010);
    expect(vf.configWrites.every((line) => !line.startsWith('4a/') && !line.includes('/4='))).toBe(
      true,
    );
  });

  it('resets the function by DEVCTL, and reads the bit as zero', async () => {
    const vf = xeVf('ptl');
    const { device, read, write, start } = await open(vf);
    const before = vf.resets;
    write(4, 2, 0x0406);
    const done = start(EXP + 8, 2, 0x8000);
    expect(done).toBeInstanceOf(Promise);
    await done;
    expect(vf.resets).toBe(before + 1);
    expect(read(EXP + 8, 2)).toBe(0);
    // The PCI core puts back what the function had, ours was never gone.
    expect(read(4, 2)).toBe(0x0406);
    await device.close();
  });

  it('goes on with the rest of a write behind the reset', async () => {
    const vf = xeVf('ptl');
    const { device, read } = await open(vf);
    const bytes = new Uint8Array(0x24);
    bytes[1] = 0x80;
    bytes[0x20] = 0x10;
    const done = device.regionWrite(CONFIG, EXP + 8, bytes, 0, bytes.length);
    bytes.fill(0xff);
    await done;
    expect(read(EXP + 0x28, 2)).toBe(0x10);
  });

  it('does not reset a function that has no FLR', async () => {
    const vf = physical([
      [0x34, 1, 0x40],
      [0x40, 4, 0x0092_0010],
      [0x44, 4, 0x0000_8000],
    ]);
    const { read, write } = await open(vf);
    const before = vf.resets;
    write(0x48, 2, 0x8000);
    expect(vf.resets).toBe(before);
    expect(read(0x48, 2)).toBe(0);
  });

  it('keeps MSI to itself: enabled by SET_IRQS alone, queue size within reach', async () => {
    const { read, write, pciFunction } = await open(xeVf('ptl'));
    write(MSI + 2, 2, 0xffff);
    expect(read(MSI + 2, 2)).toBe(0x0080);
    write(MSI + 4, 4, 0xfee0_1004);
    write(MSI + 8, 4, 0x1);
    write(MSI + 12, 2, 0x4021);
    expect([read(MSI + 4, 4), read(MSI + 8, 4), read(MSI + 12, 2)]).toEqual([
      0xfee0_1004, 1, 0x4021,
    ]);
    expect(pciFunction.register(MSI + 4, 4)).toBe(0);
  });

  it('allows up to the queue size that the function has', async () => {
    const { read, write } = await open(
      physical([
        [0x34, 1, 0x50],
        [0x50, 2, 0x0005],
        // 4 vectors, 64-bit, per-vector mask.
        [0x52, 2, 0x0184, 0x0071],
        [0x60, 4, 0, 0xffff_ffff],
      ]),
    );
    write(0x52, 2, 0x0050);
    expect(read(0x52, 2)).toBe(0x01a4);
    write(0x52, 2, 0x0010);
    expect(read(0x52, 2)).toBe(0x0194);
    write(0x60, 4, 0x5);
    expect(read(0x60, 4)).toBe(5);
  });

  it('hides PME, and changes the power state on the user’s behalf', async () => {
    const { device, read, write, pciFunction } = await open(xeVf('ptl'));
    const bytes = new Uint8Array(4);
    expect(read(PM + 2, 2)).toBe(0x0003);
    write(PM + 4, 2, 0x8103);
    expect(read(PM + 4, 2)).toBe(0x000b);
    expect(pciFunction.register(PM + 4, 2)).toBe(0x000b);
    expect(() => device.regionRead(0, 0, bytes, 0, 4)).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    write(PM + 4, 2, 1); // no D1
    expect(read(PM + 4, 2) & 3).toBe(3);
    write(PM + 4, 2, 0);
    device.regionRead(0, 0, bytes, 0, 4);
    write(PM + 4, 2, 3);
    await device.reset();
    device.regionRead(0, 0, bytes, 0, 4);
  });

  it('shows extended capabilities read-only', async () => {
    const { read, write } = await open(xeVf('ptl'));
    expect(read(0x100, 4)).toBe(0x1401_000e);
    expect(read(ATS, 4)).toBe(0x0001_000f);
    write(ATS + 6, 2, 0x8000);
    expect(read(ATS + 6, 2)).toBe(0);
  });
});

describe('capabilities that are hidden', () => {
  const list: readonly Register[] = [
    [0x34, 1, 0x40],
    [0x40, 4, 0x0000_480d], // bridge subsystem ids
    [0x48, 4, 0x0092_5010], // PCI Express
    [0x80, 4, 0x0000_0014], // enhanced allocation
  ];

  it('leave no trace in the list', async () => {
    const { read } = await open(physical([...list, [0x49, 1, 0x80]]));
    expect(read(0x34, 1)).toBe(0x48);
    expect(read(0x48, 2)).toBe(0x0010);
    expect(read(0x06, 2)).toBe(0x0010);
  });

  it('take the list away when nothing else is in it', async () => {
    const { read } = await open(
      physical([
        [0x34, 1, 0x40],
        [0x40, 4, 0x0000_000d],
      ]),
    );
    expect(read(0x34, 1)).toBe(0);
    expect(read(0x06, 2)).toBe(0);
  });

  it('are skipped in the extended list, and stand as id 0 at its head', async () => {
    const { read } = await open(
      physical([
        ...list,
        [0x100, 4, 0x1101_001b], // PASID
        [0x110, 4, 0x1201_0019], // secondary PCI Express
        [0x120, 4, 0x1301_0001], // AER
        [0x130, 4, 0x1601_001e], // L1 PM substates
        [0x160, 4, 0x0001_000e], // ARI
      ]),
    );
    expect(read(0x100, 4)).toBe(0x1200_0000);
    expect(read(0x120, 4)).toBe(0x1601_0001);
    expect(read(0x160, 4)).toBe(0x0001_000e);
  });

  it('leave an empty extended list as zeros', async () => {
    const { read } = await open(physical([...list, [0x100, 4, 0x0001_001b]]));
    expect(read(0x100, 4)).toBe(0);
  });

  it('do not exist without PCI Express, nor in 256 bytes', async () => {
    const { read } = await open(physical([[0x100, 4, 0x0001_000e]]));
    // Nothing is laid over what is there.
    expect(read(0x100, 4)).toBe(0x0001_000e);
    const { device } = await open(physical(list, 256));
    expect(device.regionInfo(CONFIG).size).toBe(256);
  });

  it('may loop without harm', async () => {
    const { read } = await open(
      physical([
        [0x34, 1, 0x40],
        [0x40, 4, 0x0092_4010],
        [0x100, 4, 0x1001_000e],
      ]),
    );
    expect(read(0x34, 1)).toBe(0x40);
  });
});

describe('registers between capabilities', () => {
  it('are raw, a vendor capability too', async () => {
    const { write, read, pciFunction } = await open(
      physical([
        [0x34, 1, 0x40],
        [0x40, 4, 0x0008_0009],
        [0x44, 4, 0, 0xffff_ffff],
        [0x70, 4, 0, 0xffff_ffff],
      ]),
    );
    write(0x44, 4, 0x1122_3344);
    write(0x71, 1, 0xaa);
    expect(pciFunction.register(0x44, 4)).toBe(0x1122_3344);
    expect(read(0x70, 4)).toBe(0xaa00);
    write(0x40, 2, 0xffff);
    expect(read(0x40, 2)).toBe(0x0009);
  });
});

describe('any access', () => {
  it('inside gives bytes, outside gives EINVAL', async () => {
    const { device } = await open(xeVf('bmg'));
    const bytes = new Uint8Array(8192);
    const inside = (offset: number, count: number) => offset >= 0 && offset + count <= 4096;
    const place = fc.oneof(fc.integer({ min: -4, max: 8192 }), fc.double());
    fc.assert(
      fc.property(
        place,
        fc.integer({ min: 0, max: 4200 }),
        fc.boolean(),
        (offset, count, isRead) => {
          const run = () =>
            isRead
              ? device.regionRead(CONFIG, offset, bytes, 0, count)
              : device.regionWrite(CONFIG, offset, bytes, 0, count);
          if (!Number.isInteger(offset) && inside(offset, count)) return;
          if (inside(offset, count)) run();
          else expect(run).toThrow(expect.objectContaining({ code: 'EINVAL' }));
        },
      ),
    );
  });

  it('reads the same bytes whatever its size and alignment', async () => {
    const { device } = await open(xeVf('bmg'));
    const whole = new Uint8Array(4096);
    device.regionRead(CONFIG, 0, whole, 0, 4096);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4095 }),
        fc.integer({ min: 1, max: 64 }),
        (at, wanted) => {
          const count = Math.min(wanted, 4096 - at);
          const bytes = new Uint8Array(count + 2).fill(0x5a);
          device.regionRead(CONFIG, at, bytes, 1, count);
          expect(bytes.subarray(1, 1 + count)).toEqual(whole.subarray(at, at + count));
          expect([bytes[0], bytes[count + 1]]).toEqual([0x5a, 0x5a]);
        },
      ),
    );
  });
});
