import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { VmmSlot } from '../../src/vfio-user/vmm-slot.ts';

describe('VmmSlot', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const first = { name: 'first' };
  const second = { name: 'second' };
  const third = { name: 'third' };

  /** How a promise ends, as soon as it does. */
  function outcome(promise: Promise<void>): { value: string } {
    const seen = { value: 'waits' };
    promise.then(
      () => {
        seen.value = 'served';
      },
      (error) => {
        seen.value = error.code;
      },
    );
    return seen;
  }

  test('the next one is served once the first is gone and its place is clean', async () => {
    const slot = new VmmSlot(1000);
    await slot.take(first);
    const next = outcome(slot.take(second));
    slot.leave(first);
    await vi.advanceTimersByTimeAsync(5000);
    expect(next.value).toBe('waits');
    slot.release(first);
    await vi.advanceTimersByTimeAsync(0);
    expect(next.value).toBe('served');
    expect(slot.heldBy(second)).toBe(true);
  });

  test('a client that keeps the place gets the next one refused after a while', async () => {
    const slot = new VmmSlot(1000);
    await slot.take(first);
    const next = outcome(slot.take(second));
    await vi.advanceTimersByTimeAsync(999);
    expect(next.value).toBe('waits');
    await vi.advanceTimersByTimeAsync(2);
    expect(next.value).toBe('EBUSY');
    expect(slot.heldBy(first)).toBe(true);
  });

  test('one that leaves while it waits is forgotten', async () => {
    const slot = new VmmSlot(1000);
    await slot.take(first);
    const next = outcome(slot.take(second));
    const last = outcome(slot.take(third));
    slot.leave(second);
    slot.release(second);
    slot.leave(first);
    slot.release(first);
    await vi.advanceTimersByTimeAsync(0);
    expect([next.value, last.value]).toEqual(['ECONNRESET', 'served']);
  });

  test('closing refuses everybody who waits', async () => {
    const slot = new VmmSlot(1000);
    await slot.take(first);
    const next = outcome(slot.take(second));
    slot.close();
    await vi.advanceTimersByTimeAsync(0);
    expect(next.value).toBe('ECONNRESET');
  });
});
