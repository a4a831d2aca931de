import { describe, expect, test } from 'vitest';
import type { TurnSource } from '../../src/gpu/engine/contracts.ts';
import { EngineTurns, eventLoopTurns } from '../../src/gpu/engine-turns.ts';

const elapse = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const immediate = () => new Promise((resolve) => setImmediate(resolve));

describe('turns from the event loop', () => {
  test('come after whoever woke them, and as often as they are asked for', async () => {
    let left = 3;
    let turns = 0;
    const source = eventLoopTurns.attach(() => {
      turns++;
      return --left > 0 ? 0 : Number.POSITIVE_INFINITY;
    });
    source.wake();
    source.wake();
    expect(turns).toBe(0);
    for (let n = 0; n < 10; n++) await immediate();
    expect(turns).toBe(3);
    source.wake();
    await immediate();
    await immediate();
    expect(turns).toBe(4);
    source.close();
  });

  test('come later when that is asked for, at once when they are woken', async () => {
    let turns = 0;
    const source = eventLoopTurns.attach(() => {
      turns++;
      return 10_000;
    });
    source.wake();
    await elapse(5);
    expect(turns).toBe(1);
    source.wake();
    await elapse(5);
    expect(turns).toBe(2);
    source.close();
    source.wake();
    await elapse(5);
    expect(turns).toBe(2);
  });

  test('may be asked for out of a turn', async () => {
    let turns = 0;
    const source = eventLoopTurns.attach(() => {
      if (++turns === 1) source.wake();
      return Number.POSITIVE_INFINITY;
    });
    source.wake();
    for (let n = 0; n < 10; n++) await immediate();
    expect(turns).toBe(2);
    source.close();
  });
});

describe('the workers of a device', () => {
  test('share a turn, and each goes first in its turn', () => {
    let turn: () => number = () => 0;
    const source: TurnSource = {
      attach: (given) => {
        turn = given;
        return { wake: () => undefined, close: () => undefined };
      },
    };
    const order: string[] = [];
    const worker = (name: string, delay: number) => ({
      run: (deadline: number) => {
        order.push(`${name} until ${deadline.toFixed(3)}`);
        return delay;
      },
    });
    const turns = new EngineTurns(
      source,
      () => [worker('a', 5), worker('b', 2)],
      () => 100,
    );
    expect([turn(), turn()]).toEqual([2, 2]);
    expect(order).toEqual([
      'a until 100.075',
      'b until 100.150',
      'b until 100.075',
      'a until 100.150',
    ]);
    turns.close();
  });
});
