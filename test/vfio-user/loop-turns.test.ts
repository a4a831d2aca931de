/** Work between messages. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UnixSocket } from '../../src/sys/unix-socket.ts';
import { LoopTurns } from '../../src/vfio-user/loop-turns.ts';
import { VfioUserServer } from '../../src/vfio-user/server.ts';
import { ServerLoop } from '../../src/vfio-user/server-loop.ts';
import { CaseDevice } from '../support/case-device.ts';

const NEVER = Number.POSITIVE_INFINITY;
/** VERSION 0.1 without capabilities. */
const VERSION = new Uint8Array([1, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
/** DEVICE_RESET. */
const RESET = new Uint8Array([2, 0, 13, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

describe('LoopTurns', () => {
  test('gives turns to those who want one, and only to them', () => {
    const turns = new LoopTurns(() => {});
    const taken: string[] = [];
    const a = turns.attach(() => {
      taken.push('a');
      return NEVER;
    });
    turns.attach(() => {
      taken.push('b');
      return 1e6;
    });
    expect(taken).toEqual([]);
    expect(turns.isDue).toBe(true);
    const waitMs = turns.run();
    expect(taken).toEqual(['a', 'b']);
    expect(waitMs).toBeGreaterThan(1e5);
    expect(turns.isDue).toBe(false);
    expect(turns.run()).toBeGreaterThan(1e5);
    expect(taken).toEqual(['a', 'b']);
    a.wake();
    expect(turns.isDue).toBe(true);
    turns.run();
    expect(taken).toEqual(['a', 'b', 'a']);
  });

  test('one that wants more at once is due at once', () => {
    const turns = new LoopTurns(() => {});
    turns.attach(() => 0);
    expect(turns.run()).toBe(0);
    expect(turns.isDue).toBe(true);
  });

  test('a wake out of a turn is not lost', () => {
    let wakes = 0;
    const turns = new LoopTurns(() => wakes++);
    const ticket = turns.attach(() => {
      if (wakes < 3) ticket.wake();
      return NEVER;
    });
    expect(turns.run()).toBe(0);
    expect(wakes).toBe(2);
  });

  test('none after the last', () => {
    const turns = new LoopTurns(() => {});
    let taken = 0;
    const ticket = turns.attach(() => {
      taken++;
      ticket.close();
      return 0;
    });
    turns.run();
    ticket.wake();
    expect(turns.run()).toBe(NEVER);
    expect(taken).toBe(1);
  });
});

describe('ServerLoop', () => {
  let loop: ServerLoop;
  beforeEach(() => {
    loop = new ServerLoop();
  });
  afterEach(() => loop.stop());

  test('wakes up for work while nobody is connected', async () => {
    void loop.run();
    const asked = [0, 1, 2, NEVER];
    await new Promise<void>((resolve) => {
      loop.attach(() => {
        const next = asked.shift() ?? NEVER;
        if (next === NEVER) resolve();
        return next;
      });
    });
    let taken = 0;
    await new Promise<void>((resolve) => {
      const ticket = loop.attach(() => {
        taken++;
        if (taken === 2) resolve();
        return NEVER;
      });
      setTimeout(() => ticket.wake(), 5);
    });
    expect(taken).toBe(2);
  });

  test.each([0, 0.01, 1])('serves messages while work wants a turn every %d ms', async (restMs) => {
    const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-turns-'));
    const device = new CaseDevice({ path: join(directory, 'device') });
    const socketPath = join(directory, 'vf.sock');
    new VfioUserServer({ device, loop, socketPath });
    void loop.run();
    const client = UnixSocket.connect(socketPath);
    try {
      await ask(client, VERSION);
      let taken = 0;
      loop.attach(() => {
        taken++;
        return restMs;
      });
      for (let round = 0; round < 20; round++) {
        const before = taken;
        await ask(client, RESET);
        while (taken === before) await new Promise((resolve) => setImmediate(resolve));
      }
      expect(taken).toBeGreaterThanOrEqual(20);
    } finally {
      client.close();
      await loop.stop();
      await device.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

/** Sends, and waits for a reply that is no error. */
async function ask(client: UnixSocket, bytes: Uint8Array): Promise<void> {
  client.send(bytes);
  client.setReceiveTimeout(1);
  const reply = new Uint8Array(256);
  for (;;) {
    try {
      expect(client.receive(reply).length).toBeGreaterThan(0);
      expect(new DataView(reply.buffer).getUint32(8, true)).toBe(1);
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== 'EAGAIN') throw error;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}
