import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { DeviceMemory } from '../../../src/gpu/device-memory.ts';
import type { PrecopyFind } from '../../../src/gpu/precopy/change-finder.ts';
import { VramTracker } from '../../../src/gpu/precopy/vram-tracker.ts';
import { Mapping } from '../../../src/sys/mapping.ts';

const BLOCK = 65_536;
const BLOCKS = 32;
const SIZE = BLOCKS * BLOCK;
const OPTIONS = { threads: 0, budgetPercent: 25 };
const closers: Array<() => void> = [];

afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

/** VRAM of a VF, how its processor reaches it, and what the other end of a migration holds. */
class Subject {
  readonly memory = new DeviceMemory('vram', SIZE);
  readonly replica = new Uint8Array(SIZE);
  readonly tracker: VramTracker;
  readonly #processor: Mapping | undefined;
  pieces = 0;

  /** @param mapped true when a processor has the VRAM mapped */
  constructor(
    mapped: boolean,
    fill: (subject: { bytes: Uint8Array }) => void = () => {},
    find: PrecopyFind = 'digests',
  ) {
    if (mapped) this.#processor = Mapping.ofFd(this.memory.fd, SIZE);
    fill({ bytes: this.memory.view(0, SIZE) });
    const tracker = VramTracker.create(this.memory, { ...OPTIONS, find }, 1, () => {});
    if (tracker === undefined) throw new TypeError('this machine has no digest');
    this.tracker = tracker;
    tracker.begin();
    closers.push(() => this.close());
  }

  /** A write that leaves no trace. */
  processorWrites(at: number, value: number, length = 1): void {
    this.#processor?.view(at, length).fill(value);
  }

  deviceWrites(at: number, value: number, length = 1): void {
    this.tracker.wrote(at, length);
    this.memory.view(at, length).fill(value);
  }

  /** Moves pieces to the other end. @returns how many */
  move(most = Number.POSITIVE_INFINITY): number {
    let moved = 0;
    for (; moved < most; moved++) {
      this.tracker.rewind();
      const piece = this.tracker.next(4 * BLOCK);
      if (piece === undefined) break;
      this.replica.set(piece.bytes, piece.offset);
    }
    return moved;
  }

  close(): void {
    this.tracker.close();
    this.#processor?.close();
    this.memory.close();
  }
}

const place = fc.integer({ min: 0, max: SIZE - 300 });
const step = fc.oneof(
  fc.record({
    op: fc.constant('processor' as const),
    at: place,
    value: fc.integer({ min: 0, max: 2 }),
  }),
  fc.record({
    op: fc.constant('device' as const),
    at: place,
    value: fc.integer({ min: 0, max: 2 }),
  }),
  fc.record({ op: fc.constant('move' as const), count: fc.integer({ min: 1, max: 5 }) }),
  fc.record({ op: fc.constant('wait' as const) }),
);

describe('changes of VRAM', () => {
  test.each([
    [true, 'digests'],
    [true, 'page-tables'],
    [false, 'digests'],
  ] as const)('whatever happens, both ends are equal (mapped: %s, by %s)', async (mapped, find) => {
    const run = async (
      steps: ReadonlyArray<typeof step extends fc.Arbitrary<infer T> ? T : never>,
    ) => {
      const subject = new Subject(mapped, ({ bytes }) => bytes.fill(1, BLOCK, 9 * BLOCK), find);
      for (const what of steps) {
        if (what.op === 'processor') subject.processorWrites(what.at, what.value, 300);
        else if (what.op === 'device') subject.deviceWrites(what.at, what.value, 300);
        else if (what.op === 'move') subject.move(what.count);
        else await new Promise((resolve) => setImmediate(resolve));
      }
      await subject.tracker.stop();
      const { bytes, pieces } = subject.tracker.left();
      let got = 0;
      let count = 0;
      for (let piece = subject.tracker.next(0); piece; piece = subject.tracker.next(0)) {
        subject.replica.set(piece.bytes, piece.offset);
        got += piece.bytes.length;
        count++;
      }
      expect([got, count]).toEqual([bytes, pieces]);
      expect(Buffer.compare(subject.replica, subject.memory.view(0, SIZE))).toBe(0);
      subject.close();
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 30 }), run), { numRuns: 60 });
  });

  test('what was never written does not travel and takes no memory', async () => {
    const subject = new Subject(true, ({ bytes }) => bytes.fill(9, 5 * BLOCK, 6 * BLOCK));
    expect(subject.tracker.changes()).toMatchObject({ initialBytes: BLOCK, dirtyBytes: 0 });
    expect(subject.move()).toBe(1);
    await subject.tracker.stop();
    expect(subject.tracker.left()).toEqual({ bytes: 0, pieces: 0 });
    expect([...subject.memory.extents()]).toEqual([{ start: 5 * BLOCK, end: 6 * BLOCK }]);
  });

  test('zeros that were written do not travel either', () => {
    const subject = new Subject(true, ({ bytes }) => bytes.fill(0, 0, 4 * BLOCK));
    expect(subject.tracker.changes().initialBytes).toBe(4 * BLOCK);
    expect(subject.move()).toBe(0);
    expect(subject.tracker.changes().initialBytes).toBe(0);
  });

  test('a block that is zero again travels as zeros', async () => {
    const subject = new Subject(true, ({ bytes }) => bytes.fill(9, 0, BLOCK));
    subject.move();
    subject.processorWrites(0, 0, BLOCK);
    await subject.tracker.stop();
    expect(subject.tracker.left()).toEqual({ bytes: BLOCK, pieces: 1 });
    subject.move();
    expect(subject.replica.every((byte) => byte === 0)).toBe(true);
  });

  test('what came back to what was sent does not travel again', async () => {
    const subject = new Subject(true, ({ bytes }) => bytes.fill(9, 0, BLOCK));
    subject.move();
    subject.deviceWrites(10, 1);
    expect(subject.tracker.changes().dirtyBytes).toBe(BLOCK);
    subject.deviceWrites(10, 9);
    await subject.tracker.stop();
    expect(subject.tracker.left()).toEqual({ bytes: 0, pieces: 0 });
  });

  test('passes find what the processor wrote while the VF runs', async () => {
    const subject = new Subject(true, ({ bytes }) => bytes.fill(9));
    subject.move();
    subject.processorWrites(3 * BLOCK + 7, 1);
    expect(subject.tracker.changes().dirtyBytes).toBe(0);
    await expect.poll(() => subject.tracker.changes().dirtyBytes).toBe(BLOCK);
    await expect.poll(() => subject.tracker.changes().passes).toBeGreaterThan(0);
    expect(subject.move()).toBe(1);
    expect(subject.replica[3 * BLOCK + 7]).toBe(1);
  });

  test('without a mapping nothing is looked for: the device’s own writes are known', async () => {
    const subject = new Subject(false, ({ bytes }) => bytes.fill(9));
    subject.move();
    subject.deviceWrites(BLOCK - 1, 5, 2);
    expect(subject.tracker.changes()).toMatchObject({
      dirtyBytes: 2 * BLOCK,
      stopMs: 0,
      passes: 0,
    });
  });
});
