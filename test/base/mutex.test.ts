import { describe, expect, it } from 'vitest';
import { Mutex } from '../../src/base/mutex.ts';

describe('Mutex', () => {
  it('is handed on in the order of asking, never held by two', async () => {
    const mutex = new Mutex();
    const order: number[] = [];
    let inside = 0;
    const section = (n: number) => async () => {
      inside++;
      expect(inside).toBe(1);
      await Promise.resolve();
      order.push(n);
      inside--;
    };
    await Promise.all([1, 2, 3].map((n) => mutex.run(section(n))));
    expect(order).toEqual([1, 2, 3]);
    expect(mutex.held).toBe(false);
  });

  it('is given back when the section fails', async () => {
    const mutex = new Mutex();
    await expect(mutex.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(mutex.tryLock()).toBe(true);
    expect(mutex.tryLock()).toBe(false);
    mutex.unlock();
    expect(mutex.held).toBe(false);
  });
});
