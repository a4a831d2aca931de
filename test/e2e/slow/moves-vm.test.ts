/** A guest with jobs in it goes from one stock QEMU to another (docs/whole-vm.md). */
import { afterAll, afterEach, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { MovedVm } from '../../../guest/moved-vm.mjs';
import { findRig } from '../../../guest/rig.mjs';

const { reason } = findRig();
const MEMORY = 640 * 2 ** 20;
/** Slots of the jobs that only the device writes are wrong when one page of them was forgotten. */
const MOVES_WITHOUT_LOG = 2;

type MovedVmOptions = Parameters<typeof MovedVm.start>[0];

let vm: MovedVm | undefined;

beforeAll(() => {
  if (reason !== undefined) process.stderr.write(`guests are not moved: ${reason}\n`);
});
afterEach(async () => {
  await vm?.stop();
  vm = undefined;
});
afterAll(() => vm?.stop());

/** A PTL guest whose jobs run. */
async function guest(context: TestContext, options: Partial<MovedVmOptions> = {}) {
  if (reason !== undefined) context.skip(reason);
  vm = await MovedVm.start({ platform: 'ptl', memory: MEMORY, ...options });
  await vm.probe();
  await vm.startJobs();
  return vm;
}

/** Ends the jobs: none was bad, xe says how often it recovered, and nothing worse. */
async function expectWell(moved: MovedVm, recoveries: number): Promise<void> {
  expect(await moved.jobsGoOn()).toBe(true);
  expect(await moved.endJobs()).toMatch(/^total jobs [1-9]\d* bad 0$/);
  expect(await moved.kernelLog()).toEqual({ unexpected: [], recoveries });
}

describe('a guest with jobs in flight', () => {
  it('goes there and back again, through a file, and finds its jobs as they were', async (context) => {
    const moved = await guest(context);
    for (let move = 0; move < 2; move++) {
      const { dirtyPages, sharedMemory } = await moved.move();
      expect(sharedMemory).toBe(false);
      expect(dirtyPages).toBeGreaterThan(0);
      expect(await moved.jobsGoOn()).toBe(true);
    }
    const { saved, restored } = await moved.throughFile(true);
    expect(restored.manifest).toEqual(saved.manifest);
    await expectWell(moved, 3);
  });

  it('goes while its memory stays where it is', async (context) => {
    const moved = await guest(context, { shared: true });
    const { sharedMemory, dirtyPages } = await moved.move();
    expect({ sharedMemory, dirtyPages }).toEqual({ sharedMemory: true, dirtyPages: 0 });
    await expectWell(moved, 1);
  });

  it('has bad jobs when QEMU is not told which pages the device wrote', async (context) => {
    const moved = await guest(context);
    for (let move = 0; move < MOVES_WITHOUT_LOG; move++)
      await moved.move({ without: new Set(['dirty-log']) });
    await moved.jobsGoOn();
    expect(await moved.endJobs()).toMatch(/^total jobs \d+ bad [1-9]\d*$/);
  });
});
