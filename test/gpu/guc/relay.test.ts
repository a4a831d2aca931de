import { afterEach, describe, expect, it } from 'vitest';
import { EmulatedGpu } from '../../../src/gpu/emulated-gpu.ts';
import { XePf } from '../../../src/pf/xe-pf.ts';
import { HXG_TYPE } from '../../../src/xe/guc/hxg.ts';
import { control, driverInGuestMemory, gtOf, makeGpu, QUOTA } from '../vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

describe('the relay', () => {
  it('carries a message to the PF and one back, unread', async () => {
    const gpu = makeGpu();
    open.push(gpu);
    const driver = driverInGuestMemory(gpu);
    driver.boot();
    const { guc } = gtOf(gpu, 0);
    const events: Array<readonly number[]> = [];
    guc.onEvent((message) => events.push(message));
    const fence = driver.send(0x5103, [0xabcd, 0x1111_1111, 0x2222_2222], HXG_TYPE.REQUEST);
    expect(driver.take()).toEqual([[((fence << 16) | 1) >>> 0, 0xf0000000]]);
    expect(events).toEqual([]);
    await Promise.resolve();
    expect(events).toEqual([[0x90005100, 1, 0xabcd, 0x1111_1111, 0x2222_2222]]);
    guc.send([0x20005101, 1, 0xabcd, 0x7000_0000, 5]);
    expect(driver.take()).toEqual([[4, 0x90005102, 0xabcd, 0x7000_0000, 5]]);
  });

  it('refuses what is empty, too long, or cannot arrive', () => {
    const gpu = makeGpu();
    open.push(gpu);
    const driver = driverInGuestMemory(gpu);
    const { guc } = gtOf(gpu, 0);
    expect(() => guc.send([0x20005101, 1, 1, 0x7000_0000])).toThrow(/CANNOT_COMPLETE_ACTION/);
    driver.boot();
    expect(() => guc.send([0x20005101, 1, 1])).toThrow(/INVALID_SIZE/);
    expect(() => guc.send([0x20005101, 1, 1, ...Array<number>(253).fill(0)])).toThrow(
      /INVALID_SIZE/,
    );
    expect(() => guc.send([0x20005101, 99, 1, 0])).toThrow(/INVALID_VFID/);
    driver.send(0x5103, [1], HXG_TYPE.REQUEST);
    expect(driver.take()[0]?.[1]).toBe(0xe0000102);
    control(gpu, 0, 'PAUSE');
    expect(() => guc.send([0x20005101, 1, 1, 0])).toThrow(/CANNOT_COMPLETE_ACTION/);
    expect(driver.take()).toEqual([]);
  });

  it("lets a VF's driver ask the PF's driver for the fuse registers", async () => {
    const gpu = new EmulatedGpu({ platform: 'ptl' });
    open.push(gpu);
    const pf = new XePf({ device: gpu.device });
    await pf.enableVfs(1);
    const { ggttStart } = pf.vfConfig(1);
    const driver = driverInGuestMemory(gpu, 'main', { ...QUOTA, ggttStart });
    driver.boot();
    const ask = async (id: number, ...message: number[]) => {
      driver.send(0x5103, [id, ...message], HXG_TYPE.REQUEST);
      driver.take();
      // The PF's driver answers from a task of its own.
      for (let turn = 0; turn < 20; turn++) {
        const [answer] = driver.take();
        if (answer !== undefined) return answer.slice(1);
        await new Promise((resolve) => setImmediate(resolve));
      }
      throw new Error('no answer');
    };
    expect(await ask(7, 0x0001, 0x0001_0000)).toEqual([0x90005102, 7, 0x7000_0000, 0x0001_0000]);
    const [, id, header, remaining, ...registers] = await ask(8, 0x0010_0101, 0);
    expect([id, header, remaining]).toEqual([8, 0x7000_000e, 0]);
    const values = new Map(
      Array.from({ length: 14 }, (_, n) => [registers[n * 2], registers[n * 2 + 1]]),
    );
    expect(values.get(0xd00)).toBe(0x16);
    expect(values.get(0x9118)).toBe(0x1_0001);
    expect(values.get(0xc1dc)).toBe(0);
  });
});
