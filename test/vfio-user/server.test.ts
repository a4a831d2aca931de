/** Starting, sharing a thread, and leaving. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UnixSocket } from '../../src/sys/unix-socket.ts';
import { VfioUserServer, type VfioUserServerOptions } from '../../src/vfio-user/server.ts';
import type { ServerEvent } from '../../src/vfio-user/server-event.ts';
import { ServerLoop } from '../../src/vfio-user/server-loop.ts';
import { CaseDevice } from '../support/case-device.ts';
import { openDescriptors } from '../support/process-resources.ts';

/** VERSION 0.1 without capabilities. */
const VERSION = new Uint8Array([1, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
/** DEVICE_RESET. */
const RESET = new Uint8Array([2, 0, 13, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

describe('VfioUserServer', () => {
  let directory = '';
  let loop: ServerLoop;
  let running: Promise<void>;
  const devices: CaseDevice[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'xe-vfio-server-'));
    loop = new ServerLoop();
    running = loop.run();
  });
  afterEach(async () => {
    await loop.stop();
    await running;
    for (const device of devices.splice(0)) await device.close();
    rmSync(directory, { recursive: true, force: true });
  });

  function serve(options: Partial<VfioUserServerOptions> = {}): VfioUserServer {
    const device = new CaseDevice({ path: join(directory, `device-${devices.length}`) });
    devices.push(device);
    return new VfioUserServer({ device, loop, socketPath: join(directory, 'vf.sock'), ...options });
  }

  function eventsOf(server: VfioUserServer): ServerEvent[] {
    const events: ServerEvent[] = [];
    server.events.on((event) => events.push(event));
    return events;
  }

  /** Sends, and resolves with the reply's flags. */
  async function ask(client: UnixSocket, bytes: Uint8Array): Promise<number> {
    client.send(bytes);
    client.setReceiveTimeout(1);
    const reply = new Uint8Array(64);
    for (;;) {
      try {
        if (client.receive(reply).length === 0) return -1;
        return new DataView(reply.buffer).getUint32(8, true);
      } catch (error) {
        if ((error as { code?: string }).code !== 'EAGAIN') throw error;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  test('a path where a server answers is refused, and that server unharmed', async () => {
    const server = serve();
    expect(() => serve()).toThrow(
      expect.objectContaining({
        code: 'EADDRINUSE',
        message: expect.stringMatching(/is listening at/),
      }),
    );
    using client = UnixSocket.connect(server.socketPath ?? '');
    expect(await ask(client, VERSION)).toBe(1);
  });

  test('what a dead server left behind is replaced', async () => {
    const path = join(directory, 'vf.sock');
    UnixSocket.listen(path).close();
    expect(existsSync(path)).toBe(true);
    serve();
    using client = UnixSocket.connect(path);
    expect(await ask(client, VERSION)).toBe(1);
  });

  test('a file that is no socket is not touched', () => {
    const path = join(directory, 'vf.sock');
    writeFileSync(path, 'mine');
    expect(() => serve()).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    expect(existsSync(path)).toBe(true);
  });

  test('closing removes the socket, unless it is another server’s by now', async () => {
    const first = serve();
    const path = first.socketPath ?? '';
    rmSync(path);
    const second = serve();
    await first.close();
    expect(existsSync(path)).toBe(true);
    await second.close();
    expect(existsSync(path)).toBe(false);
  });

  test('a listening and a connected descriptor are served', async () => {
    const listener = UnixSocket.listen(join(directory, 'own.sock'));
    const [mine, theirs] = UnixSocket.pair();
    for (const { fd } of [listener, theirs]) {
      const device = new CaseDevice({ path: join(directory, `fd-${fd}`) });
      devices.push(device);
      new VfioUserServer({ device, loop, listenFd: fd });
    }
    using client = UnixSocket.connect(join(directory, 'own.sock'));
    expect(await ask(client, VERSION)).toBe(1);
    expect(await ask(mine, VERSION)).toBe(1);
    mine.close();
  });

  test('says whether it maps memory that a client can take away', async () => {
    const server = serve();
    const events = eventsOf(server);
    using client = UnixSocket.connect(server.socketPath ?? '');
    await ask(client, VERSION);
    expect(events.map((event) => event.type)).toEqual(['connected', 'negotiated', 'dma-trust']);
    expect(events[2]).toMatchObject({
      trusted: true,
      reason: expect.stringMatching(/user is \d+/),
    });
    client.close();
    await expect.poll(() => events.at(-1)).toMatchObject({ reason: 'the client has closed' });

    const careful = serve({ trustClient: false, socketPath: join(directory, 'careful.sock') });
    const told = eventsOf(careful);
    using other = UnixSocket.connect(careful.socketPath ?? '');
    await ask(other, VERSION);
    expect(told.at(-1)).toMatchObject({ type: 'dma-trust', trusted: false });
  });

  test('the thread keeps its own event loop while clients are served', async () => {
    const server = serve();
    using client = UnixSocket.connect(server.socketPath ?? '');
    await ask(client, VERSION);
    const ticks: number[] = [];
    const timer = setInterval(() => ticks.push(1), 1);
    for (let turn = 0; turn < 50; turn++) await ask(client, RESET);
    clearInterval(timer);
    expect(ticks.length).toBeGreaterThan(0);
  });

  test('nothing is left of clients that come and go', async () => {
    const server = serve();
    const visit = async () => {
      const client = UnixSocket.connect(server.socketPath ?? '');
      await ask(client, VERSION);
      client.close();
    };
    await visit();
    const before = openDescriptors(process.pid);
    for (let turn = 0; turn < 50; turn++) await visit();
    await expect.poll(() => openDescriptors(process.pid)).toEqual(before);
  });

  test('everything is closed with the loop', async () => {
    const device = new CaseDevice({ path: join(directory, 'closing') });
    const before = openDescriptors(process.pid);
    const own = new ServerLoop();
    const path = join(directory, 'closing.sock');
    new VfioUserServer({ device, loop: own, socketPath: path });
    const ended = own.run();
    using client = UnixSocket.connect(path);
    await ask(client, VERSION);
    await own.stop();
    await ended;
    await device.close();
    client.close();
    expect(existsSync(path)).toBe(false);
    await expect.poll(() => openDescriptors(process.pid)).toEqual(before);
  });
});
