/** Changes that another process makes, found by the page tables: docs/precopy.md. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DeviceMemory } from '../../../src/gpu/device-memory.ts';
import type { PrecopyFind } from '../../../src/gpu/precopy/change-finder.ts';
import { VramTracker } from '../../../src/gpu/precopy/vram-tracker.ts';
import { tellsWhoMaps } from '../../../src/sys/page-map.ts';
import { MappingProcess } from '../../support/mapping-process.ts';

const BLOCK = 65_536;
const BLOCKS = 48;
const SIZE = BLOCKS * BLOCK;
const FILL = 9;

const memory = new DeviceMemory('vram', SIZE);
let processor: MappingProcess;
let tracker: VramTracker | undefined;

beforeAll(async () => {
  processor = new MappingProcess(memory.fd);
  await processor.tell({ op: 'map', size: SIZE });
});

afterEach(() => tracker?.close());

afterAll(async () => {
  await processor.stop();
  memory.close();
});

/** What the other end of a migration holds. */
const replica = new Uint8Array(SIZE);

function begin(find: PrecopyFind, vmmPid: number | undefined = processor.pid): VramTracker {
  memory.view(0, SIZE).fill(FILL);
  replica.fill(0);
  const options = { threads: 0, budgetPercent: 25, find, vmmPid: () => vmmPid };
  const made = VramTracker.create(memory, options, 1, () => {});
  if (made === undefined) throw new TypeError('this machine has no digest');
  tracker = made;
  made.begin();
  return made;
}

function move(from: VramTracker, most = Number.POSITIVE_INFINITY): void {
  for (let moved = 0; moved < most; moved++) {
    from.rewind();
    const piece = from.next(4 * BLOCK);
    if (piece === undefined) return;
    replica.set(piece.bytes, piece.offset);
  }
}

const equal = () => Buffer.compare(replica, memory.view(0, SIZE)) === 0;

/** Waits for a look that begins after this. */
async function nextPass(subject: VramTracker): Promise<void> {
  const { passes } = subject.changes();
  await expect.poll(() => subject.changes().passes, { interval: 2 }).toBeGreaterThan(passes + 1);
}

const write = (at: number, value: number, length = 1) =>
  processor.tell({ op: 'write', at, value, length });

const place = fc.integer({ min: 0, max: SIZE - 300 });
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('processor' as const),
      at: place,
      value: fc.integer({ min: 0, max: 2 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('device' as const),
      at: place,
      value: fc.integer({ min: 0, max: 2 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('move' as const),
      count: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('remap' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('forget' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function take(what: Step, subject: VramTracker): Promise<void> {
  switch (what.op) {
    case 'processor':
      return await write(what.at, what.value, 300);
    case 'device':
      subject.wrote(what.at, 300);
      memory.view(what.at, 300).fill(what.value);
      return;
    case 'move':
      return move(subject, what.count);
    case 'remap':
      return await processor.tell({ op: 'remap' });
    case 'forget':
      // What it wrote was seen before: it does not take pages back at once.
      move(subject);
      await nextPass(subject);
      return await processor.tell({ op: 'forget' });
  }
}

beforeEach((context) => {
  if (!tellsWhoMaps()) context.skip('this kernel does not tell who maps a page');
});

describe('by page tables', () => {
  test('whatever the processor, the device and the VMM do, both ends are equal', async () => {
    const run = async (steps: readonly Step[]) => {
      const subject = begin('auto');
      for (const what of steps) await take(what, subject);
      await subject.stop();
      move(subject);
      expect(equal()).toBe(true);
      subject.close();
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 20 }), run), { numRuns: 40 });
  }, 60_000);

  test('only what is in a page table of another process is read', async () => {
    await processor.tell({ op: 'remap' });
    const subject = begin('auto');
    move(subject);
    await write(7 * BLOCK, 1);
    await write(30 * BLOCK + 5, 2);
    await nextPass(subject);
    const pass = await subject.stop();
    expect(pass).toMatchObject({ find: 'page-tables', comparedBytes: 2 * BLOCK });
    expect(subject.left()).toEqual({ bytes: 2 * BLOCK, pieces: 2 });
    move(subject);
    expect(equal()).toBe(true);
  });

  test('a write is found even when the page is not mapped any more', async () => {
    const subject = begin('page-tables');
    await write(3 * BLOCK, 1);
    move(subject);
    await write(3 * BLOCK, 2);
    await processor.tell({ op: 'forget' });
    const pass = await subject.stop();
    expect(pass).toMatchObject({ find: 'digests', because: 'the VMM unmapped memory' });
    move(subject);
    expect(equal()).toBe(true);
  });

  test.each([
    ['a VMM that cannot be seen', 2 ** 22 - 1],
    ['a VMM that does not have all of it mapped', process.ppid],
  ] as const)('%s: all is compared', async (_, pid) => {
    const subject = begin('auto', pid);
    move(subject);
    const pass = await subject.stop();
    const because = 'no VMM is known to have all of the memory mapped';
    expect(pass).toMatchObject({ find: 'digests', because, comparedBytes: SIZE });
  });

  test('a VMM that maps the memory anew: all is compared once', async () => {
    const subject = begin('auto');
    // Not to the end, where looks begin that nobody hears of.
    move(subject, 2);
    await processor.tell({ op: 'remap' });
    const because = 'the VMM mapped the memory anew';
    expect(await subject.stop()).toMatchObject({ find: 'digests', because });
    subject.resume();
    move(subject);
    await nextPass(subject);
    expect(await subject.stop()).toMatchObject({ find: 'page-tables' });
    move(subject);
    expect(equal()).toBe(true);
  });

  test('digests alone, when asked for', async () => {
    const subject = begin('digests');
    move(subject);
    await write(5, 1);
    const pass = await subject.stop();
    expect(pass).toMatchObject({
      find: 'digests',
      because: 'it was asked for',
      comparedBytes: SIZE,
    });
    move(subject);
    expect(equal()).toBe(true);
  });
});
