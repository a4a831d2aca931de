import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { closeFd, fstat } from '../../src/sys/descriptor.ts';
import { EventFd, signalEventFd } from '../../src/sys/eventfd.ts';
import { Mapping } from '../../src/sys/mapping.ts';
import { POLL, pollOne } from '../../src/sys/poll.ts';
import { Readiness } from '../../src/sys/readiness.ts';
import { MSG, SocketIo } from '../../src/sys/socket-io.ts';
import { UnixSocket } from '../../src/sys/unix-socket.ts';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'xe-vfio-sys-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('UnixSocket', () => {
  test('listen, connect, accept, and who is there', () => {
    using listener = UnixSocket.listen(join(directory, 'a.sock'));
    expect(listener.isListening).toBe(true);
    expect(listener.accept()).toBeUndefined();
    using client = UnixSocket.connect(join(directory, 'a.sock'));
    using server = listener.accept();
    expect(server?.isListening).toBe(false);
    expect(server?.peerCredentials()).toMatchObject({ pid: process.pid, uid: process.getuid?.() });
    client.send(new Uint8Array([1, 2, 3]));
    const bytes = new Uint8Array(8);
    expect(server?.receive(bytes)).toEqual({ length: 3, fds: [] });
    expect([...bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
    client.close();
    expect(server?.receive(bytes).length).toBe(0);
  });

  test('what cannot be connected or listened to', () => {
    const path = join(directory, 'b.sock');
    expect(() => UnixSocket.connect(path)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    UnixSocket.listen(path).close();
    expect(existsSync(path)).toBe(true);
    expect(() => UnixSocket.connect(path)).toThrow(
      expect.objectContaining({ code: 'ECONNREFUSED' }),
    );
    expect(() => UnixSocket.listen(path)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    expect(() => UnixSocket.listen(join(directory, 'x'.repeat(200)))).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
  });

  test('descriptors cross and mean the same file', () => {
    const [one, two] = UnixSocket.pair();
    const events = [new EventFd(), new EventFd()];
    one.send(
      new Uint8Array(1),
      events.map((event) => event.fd),
    );
    const { fds } = two.receive(new Uint8Array(4));
    expect(fds.length).toBe(2);
    signalEventFd(fds[1] as number);
    expect(events.map((event) => event.take())).toEqual([0, 1]);
    for (const fd of fds) closeFd(fd);
    for (const end of [one, two, ...events]) end.close();
  });

  test('descriptors that nobody took are closed with the buffers', () => {
    const [one, two] = UnixSocket.pair();
    using event = new EventFd();
    const io = new SocketIo(two.fd);
    one.send(new Uint8Array(1), [event.fd]);
    expect(io.receive(0, 16, 0)).toBe(1);
    expect(io.hasFds).toBe(true);
    const before = fstat(event.fd);
    io.close();
    io.close();
    expect(fstat(event.fd)).toEqual(before);
    one.close();
    two.close();
  });

  test('timeouts end blocking calls', () => {
    const [one, two] = UnixSocket.pair();
    one.setReceiveTimeout(1);
    expect(() => one.receive(new Uint8Array(1))).toThrow(
      expect.objectContaining({ code: 'EAGAIN' }),
    );
    one.setSendTimeout(1);
    expect(() => one.send(new Uint8Array(16 * 2 ** 20))).toThrow(
      expect.objectContaining({ code: 'EAGAIN' }),
    );
    one.close();
    two.close();
  });
});

describe('SocketIo', () => {
  test('gathers from where the bytes lie, with any part left out', () => {
    const [one, two] = UnixSocket.pair();
    using io = new SocketIo(one.fd, 4096, 64);
    using mapping = Mapping.anonymous(4096);
    const native = mapping.view(10, 5);
    native.set([10, 11, 12, 13, 14]);
    io.tx.set([1, 2, 3]);
    const views = [native, new Uint8Array([20, 21]), new Uint8Array(0), native.subarray(4)];
    const whole = [1, 2, 3, 10, 11, 12, 13, 14, 20, 21, 14];
    for (let skip = 0; skip < whole.length; skip++) {
      expect(io.sendGather(3, views, skip, 0)).toBe(whole.length - skip);
      const bytes = new Uint8Array(32);
      const { length } = two.receive(bytes);
      expect([...bytes.subarray(0, length)]).toEqual(whole.slice(skip));
    }
    one.close();
    two.close();
  });

  test('bytes that are not native go through the buffer, as many as fit', () => {
    const [one, two] = UnixSocket.pair();
    using io = new SocketIo(one.fd, 4096, 64);
    expect(io.sendGather(4, [new Uint8Array(100)], 0, 0)).toBe(64);
    expect(io.sendGather(4, [new Uint8Array(100)], 64, 0)).toBe(40);
    one.close();
    two.close();
  });

  test('full, empty and closed sockets are results', () => {
    const [one, two] = UnixSocket.pair();
    using io = new SocketIo(one.fd);
    expect(io.receive(0, 10, MSG.DONTWAIT)).toBe(-11);
    let sent = 0;
    for (let result = 0; result >= 0; result = io.send(65536, MSG.DONTWAIT)) sent += result;
    expect(sent).toBeGreaterThan(0);
    two.close();
    expect(io.send(1, 0)).toBe(-32);
    one.close();
  });
});

describe('Readiness', () => {
  test('tells which descriptors are ready, and no others', () => {
    using readiness = new Readiness();
    const events = [new EventFd(), new EventFd(), new EventFd()];
    events.forEach((event, key) => {
      readiness.add(event.fd, POLL.IN, key);
    });
    expect(readiness.wait(0)).toBe(0);
    events[2]?.signal();
    expect(readiness.wait(-1)).toBe(1);
    expect(readiness.key(0)).toBe(2);
    expect(readiness.events(0)).toBe(POLL.IN);
    readiness.modify(events[2]?.fd as number, 0, 2);
    expect(readiness.wait(0)).toBe(0);
    readiness.remove(events[2]?.fd as number);
    for (const event of events) event.close();
  });

  test('notify calls back as a task, once for each time it is asked', async () => {
    using readiness = new Readiness();
    using event = new EventFd();
    readiness.add(event.fd, POLL.IN, 1);
    const told: string[] = [];
    const asked = new Promise<void>((resolve) => {
      readiness.notify(() => told.push('replaced'));
      readiness.notify(() => {
        told.push('first');
        // Still readable: nothing is told until it is asked for.
        setImmediate(() => {
          told.push('quiet');
          readiness.notify(() => {
            told.push('second');
            resolve();
          });
        });
      });
    });
    event.signal();
    await asked;
    expect(told).toEqual(['first', 'quiet', 'second']);
  });
});

test('a full counter that somebody made blocking holds nobody', () => {
  using event = new EventFd();
  signalEventFd(event.fd);
  expect(pollOne(event.fd, POLL.IN, 0)).toBe(POLL.IN);
  const [one, two] = UnixSocket.pair();
  one.setSendTimeout(1);
  expect(() => one.send(new Uint8Array(16 * 2 ** 20))).toThrow();
  one.setSendTimeout(0);
  // A full socket instead of an eventfd: the write would wait for ever.
  signalEventFd(one.fd);
  one.close();
  two.close();
});
