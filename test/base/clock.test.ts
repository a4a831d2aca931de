import { describe, expect, it } from 'vitest';
import { type Clock, Completion } from '../../src/base/clock.ts';
import { EventChannel } from '../../src/base/event-channel.ts';

/** A clock whose time the test moves. */
function testClock(): Clock & { pending: Set<() => void>; expire(): void } {
  const pending = new Set<() => void>();
  return {
    pending,
    now: () => 0,
    after(_delayMs, callback) {
      pending.add(callback);
      return () => pending.delete(callback);
    },
    expire() {
      for (const callback of [...pending]) {
        pending.delete(callback);
        callback();
      }
    },
  };
}

describe('Completion', () => {
  it('wakes every waiter, and those who come later at once, leaving no timer', async () => {
    const clock = testClock();
    const completion = new Completion();
    const first = completion.wait(clock, 1000);
    const second = completion.wait(clock, 1000);
    completion.complete();
    expect(await Promise.all([first, second, completion.wait(clock, 1000)])).toEqual([
      true,
      true,
      true,
    ]);
    expect(clock.pending.size).toBe(0);
  });

  it('lets a waiter go when its time is over, without touching the others', async () => {
    const clock = testClock();
    const completion = new Completion();
    const late = completion.wait(clock, 1);
    clock.expire();
    const other = completion.wait(clock, 1);
    completion.complete();
    expect(await late).toBe(false);
    expect(await other).toBe(true);
    expect(completion.done).toBe(true);
  });
});

describe('EventChannel', () => {
  it('calls listeners in order until they leave', () => {
    const channel = new EventChannel<number>();
    const seen: string[] = [];
    const leave = channel.on((n) => seen.push(`a${n}`));
    channel.on((n) => seen.push(`b${n}`));
    channel.emit(1);
    leave();
    channel.emit(2);
    expect(seen).toEqual(['a1', 'b1', 'b2']);
  });
});
