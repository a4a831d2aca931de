/** DMA_MAP and DMA_UNMAP, and the DMA_READ and DMA_WRITE that the server sends. */
import { openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BAR0, BUFFER, COMMAND } from '../../support/case-registers.ts';
import { addSeals, closeFd, F_SEAL, memFd, readAt, writeAt } from '../../support/libc.ts';
import type { Message, RawClient } from '../../support/raw-client.ts';
import { eventually, Footprint } from '../../support/serving.ts';
import {
  CMD,
  dmaMap,
  dmaUnmap,
  E,
  FLAG,
  getInfo,
  join,
  message,
  regionRead,
  regionWrite,
  setState,
  u32,
  u64,
  version,
} from '../../support/wire.ts';
import {
  CASE_DEVICE,
  conformance,
  expectNextClientServed,
  read,
  read32,
  steer,
  write,
  write32,
} from './conformance.ts';
import { expectInvalid, expectRefusal, expectSuccess, expectUsable } from './expectations.ts';

const MAP = CMD.DMA_MAP;
const UNMAP = CMD.DMA_UNMAP;
const PAGE = 4096;
const TIB = 2 ** 40;
const BASE = 0x10_0000;

/** Guest memory as a careful VMM offers it: it cannot shrink under the server. */
function guestMemory(size: number): number {
  const fd = memFd(size);
  expect(addSeals(fd, F_SEAL.SHRINK | F_SEAL.GROW)).toBe(true);
  return fd;
}

function map(client: RawClient, iova: number, size: number, fd?: number, flags = 3): Message {
  return client.call(MAP, dmaMap(iova, size, { flags }), { fds: fd === undefined ? [] : [fd] });
}

function unmap(client: RawClient, iova: number, size: number): Message {
  return client.call(UNMAP, dmaUnmap(iova, size));
}

function expectMapped(reply: Message): void {
  expectSuccess(reply, MAP, 0);
}

function expectUnmapped(reply: Message, iova: number, size: number): void {
  expectSuccess(reply, UNMAP, 24);
  expect(reply.payload.slice(8)).toEqual(u64(iova, size));
}

/** What the server announces as the number of maps that it takes. */
function announcedMaps(client: RawClient): number {
  const reply = expectSuccess(client.call(CMD.VERSION, version(0, 1, {})), CMD.VERSION);
  const text = new TextDecoder().decode(reply.payload.slice(4, -1));
  const capabilities = text === '' ? {} : JSON.parse(text).capabilities;
  return capabilities?.max_dma_maps ?? 65535;
}

conformance('DMA', (subject) => {
  test('DMA-02 after UNMAP nobody maps the memory', () => {
    const client = subject.client();
    const footprint = new Footprint(subject.serving);
    const fd = guestMemory(4 * PAGE);
    expectMapped(map(client, BASE, 4 * PAGE, fd));
    expectUnmapped(unmap(client, BASE, 4 * PAGE), BASE, 4 * PAGE);
    expect(addSeals(fd, F_SEAL.WRITE), 'F_SEAL_WRITE needs that no writable map is left').toBe(true);
    closeFd(fd);
    expect(footprint.growth()).toBeUndefined();
  });

  test('DMA-03 short payloads; argsz 31 and 0', () => {
    const client = subject.client();
    const whole = dmaMap(BASE, PAGE);
    for (const payload of [
      whole.subarray(0, 31),
      whole.subarray(0, 8),
      dmaMap(BASE, PAGE, { argsz: 31 }),
      dmaMap(BASE, PAGE, { argsz: 0 }),
    ])
      expectInvalid(client.call(MAP, payload), MAP);
    expectRefusal(unmap(client, BASE, PAGE), UNMAP, E.NOENT, E.INVAL);
  });

  test('DMA-05 the same range again is EEXIST', () => {
    const client = subject.client();
    const fd = guestMemory(PAGE);
    expectMapped(map(client, BASE, PAGE, fd));
    expectRefusal(map(client, BASE, PAGE, fd), MAP, E.EXIST);
    expectRefusal(map(client, BASE, PAGE), MAP, E.EXIST);
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    closeFd(fd);
  });

  const overlaps: ReadonlyArray<readonly [string, number, number]> = [
    ['inside', 1, 1],
    ['the head', -1, 2],
    ['the tail', 3, 2],
    ['around', -1, 6],
    ['the same start', 0, 1],
    ['the same end', 3, 1],
  ];
  test('DMA-06 an overlap is EEXIST', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, 4 * PAGE));
    for (const [, first, pages] of overlaps)
      expectRefusal(map(client, BASE + first * PAGE, pages * PAGE), MAP, E.EXIST);
    expectMapped(map(client, BASE - PAGE, PAGE));
    expectMapped(map(client, BASE + 4 * PAGE, PAGE));
  });

  test('DMA-08 a refused overlap leaves nothing behind', () => {
    const client = subject.client();
    const fd = guestMemory(8 * PAGE);
    const footprint = new Footprint(subject.serving);
    expectMapped(map(client, BASE, 4 * PAGE, fd));
    expectRefusal(map(client, BASE + 2 * PAGE, 4 * PAGE, fd), MAP, E.EXIST);
    expectUnmapped(unmap(client, BASE, 4 * PAGE), BASE, 4 * PAGE);
    expect(footprint.growth()).toBeUndefined();
    expectMapped(map(client, BASE, 8 * PAGE, fd));
    closeFd(fd);
  });

  test('DMA-09 size 0', () => {
    expectInvalid(map(subject.client(), BASE, 0), MAP);
  });

  test('DMA-11 an unaligned address; an unaligned size; an unaligned offset', () => {
    const client = subject.client();
    const fd = guestMemory(2 * PAGE);
    for (const payload of [
      dmaMap(BASE + 0x800, PAGE),
      dmaMap(BASE + 1, PAGE),
      dmaMap(BASE, PAGE + 1),
      dmaMap(BASE, 0x800),
    ])
      expectInvalid(client.call(MAP, payload), MAP);
    expectInvalid(client.call(MAP, dmaMap(BASE, PAGE, { offset: 1 }), { fds: [fd] }), MAP);
    closeFd(fd);
  });

  test('DMA-11 ranges that wrap or end beyond 2^64', () => {
    const client = subject.client();
    for (const [iova, size] of [
      [2n ** 64n - 4096n, 8192n],
      [4096n, 2n ** 64n - 4096n],
      [2n ** 63n, 2n ** 63n],
      [2n ** 64n - 4096n, 4096n],
    ] as const)
      expect(client.call(MAP, dmaMap(iova, size)).flags & FLAG.REPLY).toBe(FLAG.REPLY);
    expectUsable(client);
  });

  test('DMA-12 8 TiB + 4 KiB is taken or refused', () => {
    const client = subject.client();
    const reply = map(client, 0, 8 * TIB + PAGE);
    if (reply.error === 0) expectUnmapped(unmap(client, 0, 8 * TIB + PAGE), 0, 8 * TIB + PAGE);
    else expectRefusal(reply, MAP);
    expectUsable(client);
  });

  test('DMA-12 a descriptor that is shorter than the range, or is no memory', () => {
    const client = subject.client();
    const footprint = new Footprint(subject.serving);
    const fd = guestMemory(PAGE);
    const reply = map(client, BASE, 4 * PAGE, fd);
    if (reply.error === 0) expectUnmapped(unmap(client, BASE, 4 * PAGE), BASE, 4 * PAGE);
    const directory = openSync('/', 'r');
    expectRefusal(map(client, BASE, PAGE, directory), MAP);
    closeFd(directory);
    closeFd(fd);
    expect(footprint.growth()).toBeUndefined();
    expectUsable(client);
  });

  test('DMA-14 one map more than announced', () => {
    const client = subject.connect();
    const limit = announcedMaps(client);
    const iova = (i: number) => 2 ** 32 + i * PAGE;
    const batch = 4096;
    for (let from = 0; from < limit; from += batch) {
      const count = Math.min(batch, limit - from);
      const flags = FLAG.NO_REPLY;
      const maps = Array.from({ length: count }, (_, i) =>
        message(MAP, dmaMap(iova(from + i), PAGE), { flags }),
      );
      client.send(join(...maps));
    }
    expectRefusal(map(client, iova(limit - 1), PAGE), MAP, E.EXIST);
    expectRefusal(map(client, iova(limit), PAGE), MAP);
    expectUnmapped(unmap(client, iova(7), PAGE), iova(7), PAGE);
    expectMapped(map(client, iova(limit), PAGE));
  });

  test('DMA-15 UNMAP of nothing', () => {
    const client = subject.client();
    expectRefusal(unmap(client, BASE, PAGE), UNMAP, E.NOENT, E.INVAL);
    expectMapped(map(client, BASE, 4 * PAGE));
    for (const [iova, size] of [
      [BASE, PAGE],
      [BASE + PAGE, 3 * PAGE],
      [BASE, 8 * PAGE],
    ] as const)
      expectRefusal(unmap(client, iova, size), UNMAP, E.NOENT, E.INVAL);
    expectUnmapped(unmap(client, BASE, 4 * PAGE), BASE, 4 * PAGE);
  });

  test('DMA-17 UNMAP twice', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, PAGE));
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    expectRefusal(unmap(client, BASE, PAGE), UNMAP, E.NOENT, E.INVAL);
  });

  test('DMA-18 UNMAP with 8 and 23 bytes of payload', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, PAGE));
    const whole = dmaUnmap(BASE, PAGE);
    for (const length of [8, 23])
      expectInvalid(client.call(UNMAP, whole.subarray(0, length)), UNMAP);
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
  });

  test('DMA-19 UNMAP with argsz 8; with 2^32-1', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, PAGE));
    expectInvalid(client.call(UNMAP, dmaUnmap(BASE, PAGE, { argsz: 8 })), UNMAP);
    const reply = client.call(UNMAP, dmaUnmap(BASE, PAGE, { argsz: 0xffff_ffff }));
    if (reply.error !== 0) expectInvalid(reply, UNMAP);
    else expectUnmapped(reply, BASE, PAGE);
    expectUsable(client);
  });

  test('DMA-21 UNMAP ALL: refused, or every map is gone and a range is refused', () => {
    const client = subject.client();
    const iovas = [BASE, BASE + PAGE, 2 ** 33];
    for (const iova of iovas) expectMapped(map(client, iova, PAGE));
    expectRefusal(client.call(UNMAP, dmaUnmap(BASE, PAGE, { flags: 2 })), UNMAP);
    const reply = client.call(UNMAP, dmaUnmap(0, 0, { flags: 2 }));
    for (const iova of iovas) {
      const after = unmap(client, iova, PAGE);
      if (reply.error === 0) expectRefusal(after, UNMAP, E.NOENT, E.INVAL);
      else expectUnmapped(after, iova, PAGE);
    }
  });

  test('DMA-22 a read-only descriptor with flags R', () => {
    const client = subject.client();
    const fd = guestMemory(PAGE);
    const readOnly = openSync(`/proc/self/fd/${fd}`, 'r');
    expectMapped(map(client, BASE, PAGE, readOnly, 1));
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    closeFd(readOnly);
    closeFd(fd);
  });

  test('DMA-24 of two descriptors the second is closed', () => {
    const client = subject.client();
    const footprint = new Footprint(subject.serving);
    const fds = [guestMemory(PAGE), guestMemory(PAGE)];
    const reply = client.call(MAP, dmaMap(BASE, PAGE), { fds });
    if (reply.error === 0) expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
    for (const fd of fds) {
      expect(addSeals(fd, F_SEAL.WRITE)).toBe(true);
      closeFd(fd);
    }
    expect(footprint.growth()).toBeUndefined();
    expectUsable(client);
  });

  test('DMA-25 leaving unmaps everything', () => {
    expectNextClientServed(subject);
    const footprint = new Footprint(subject.serving);
    const client = subject.client();
    const fds = Array.from({ length: 4 }, () => guestMemory(4 * PAGE));
    for (const [i, fd] of fds.entries())
      expectMapped(map(client, BASE + 0x10000 * i, 4 * PAGE, fd));
    subject.leave();
    for (const fd of fds) {
      expect(eventually(() => addSeals(fd, F_SEAL.WRITE), 2000)).toBe(true);
      closeFd(fd);
    }
    expect(footprint.growth()).toBeUndefined();
  });

  test('DMA-27 200 rounds of map and unmap leave no descriptor and no mapping', () => {
    const client = subject.client();
    const fd = guestMemory(16 * PAGE);
    const footprint = new Footprint(subject.serving);
    const mappings = subject.serving.mappings();
    for (let round = 0; round < 200; round++) {
      expectMapped(map(client, BASE, 16 * PAGE, fd));
      expectUnmapped(unmap(client, BASE, 16 * PAGE), BASE, 16 * PAGE);
    }
    expect(footprint.growth()).toBeUndefined();
    expect(subject.serving.mappings() - mappings).toBeLessThan(100);
    closeFd(fd);
  });

  test('DMA-28 UNMAP with a dirty bitmap while not logging', () => {
    const client = subject.client();
    expectMapped(map(client, BASE, PAGE));
    const request = join(dmaUnmap(BASE, PAGE, { flags: 1, argsz: 24 + 16 + 8 }), u64(PAGE, 8));
    expectRefusal(client.call(UNMAP, request), UNMAP);
    expectRefusal(client.call(UNMAP, dmaUnmap(BASE, PAGE, { flags: 1 })), UNMAP);
    expectUnmapped(unmap(client, BASE, PAGE), BASE, PAGE);
  });

  test('DMA-30 flags that the specification does not have, without a descriptor', () => {
    const client = subject.client();
    for (const flags of [4, 8, 0x8000_0000])
      expectInvalid(client.call(MAP, dmaMap(BASE, PAGE, { flags: flags | 3 })), MAP);
    for (const flags of [4, 8]) expectInvalid(client.call(MAP, dmaMap(BASE, PAGE, { flags })), MAP);
  });
});

/** Tells the device to move `length` bytes between its buffer and `iova`, and does not wait. */
function startDma(client: RawClient, command: number, iova: number, length: number): void {
  write(client, 0, BAR0.ARG0, u32(iova % 2 ** 32, Math.floor(iova / 2 ** 32), length));
  client.send(message(CMD.REGION_WRITE, regionWrite(0, BAR0.COMMAND, u32(command)), { id: 77 }));
}

/** The DMA command that the server sends next: its range, and its data when it writes. */
function expectDma(client: RawClient, command: number): { request: Message; count: number } {
  const request = client.receive();
  expect({ command: request.command, flags: request.flags & ~FLAG.NO_REPLY }).toEqual({
    command,
    flags: 0,
  });
  const count = Number(request.view.getBigUint64(8, true));
  expect(request.payload.length).toBe(command === CMD.DMA_WRITE ? 16 + count : 16);
  return { request, count };
}

/** Answers a DMA command of the server. */
function answer(client: RawClient, request: Message, data: Uint8Array | readonly number[]): void {
  const { id, command } = request;
  const head = request.payload.slice(0, 16);
  client.send(message(command, join(head, data), { id, flags: FLAG.REPLY }));
}

conformance(
  'DMA of a device',
  (subject) => {
    const pattern = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 13 + 5) & 0xff);

    test('DMA-02 the device reads and writes memory that it maps', () => {
      const client = subject.client();
      const fd = guestMemory(4 * PAGE);
      writeAt(fd, PAGE + 100, pattern(3000));
      expectMapped(client.call(MAP, dmaMap(BASE, 3 * PAGE, { offset: PAGE }), { fds: [fd] }));
      expect(read32(client, 0, BAR0.WINDOW_COUNT)).toBe(1);
      expect(steer(client, COMMAND.DMA_READ, BASE + 100, 0, 3000)).toBe(0);
      expect(read(client, 0, BUFFER, 3000)).toEqual(pattern(3000));
      expect(steer(client, COMMAND.DMA_WRITE, BASE + 2 * PAGE + 1, 0, 3000)).toBe(0);
      expect(readAt(fd, 3 * PAGE + 1, 3000)).toEqual(pattern(3000));
      expectUnmapped(unmap(client, BASE, 3 * PAGE), BASE, 3 * PAGE);
      expect(steer(client, COMMAND.DMA_READ, BASE, 0, 8)).not.toBe(0);
      closeFd(fd);
    });

    test('DMA-25 the device forgets the maps of a client that left', () => {
      expectMapped(map(subject.client(), BASE, PAGE));
      subject.leave();
      const client = subject.client();
      expect(read32(client, 0, BAR0.MAP_COUNT)).toBe(0);
      expectMapped(map(client, BASE, PAGE));
    });

    test('D-07 DMA by messages, in pieces of the client’s max_data_xfer_size', () => {
      const client = subject.client({ max_data_xfer_size: 1024 });
      expectMapped(map(client, BASE, 4 * PAGE));
      const memory = pattern(2500);
      startDma(client, COMMAND.DMA_READ, BASE + 8, 2500);
      for (let done = 0; done < 2500; ) {
        const { request, count } = expectDma(client, CMD.DMA_READ);
        expect(Number(request.view.getBigUint64(0, true))).toBe(BASE + 8 + done);
        expect(count).toBe(Math.min(1024, 2500 - done));
        answer(client, request, memory.subarray(done, done + count));
        done += count;
      }
      expectSuccess(client.receive(), CMD.REGION_WRITE, 16);
      expect(read32(client, 0, BAR0.RESULT)).toBe(0);
      expect(read(client, 0, BUFFER, 1000)).toEqual(memory.slice(0, 1000));
      expect(read(client, 0, BUFFER + 1500, 1000)).toEqual(memory.slice(1500));

      const written = new Uint8Array(2500);
      startDma(client, COMMAND.DMA_WRITE, BASE, 2500);
      for (let done = 0; done < 2500; ) {
        const { request, count } = expectDma(client, CMD.DMA_WRITE);
        expect(count).toBe(Math.min(1024, 2500 - done));
        written.set(request.payload.subarray(16), done);
        if ((request.flags & FLAG.NO_REPLY) === 0) answer(client, request, []);
        done += count;
      }
      expectSuccess(client.receive(), CMD.REGION_WRITE, 16);
      expect(written).toEqual(memory);
    });

    test('D-07 the client’s error reaches the device', () => {
      const client = subject.client();
      expectMapped(map(client, BASE, PAGE));
      startDma(client, COMMAND.DMA_READ, BASE, 16);
      const { request } = expectDma(client, CMD.DMA_READ);
      const flags = FLAG.REPLY | FLAG.ERROR;
      client.send(message(CMD.DMA_READ, [], { id: request.id, flags, error: E.IO }));
      expectSuccess(client.receive(), CMD.REGION_WRITE, 16);
      expect(read32(client, 0, BAR0.RESULT)).toBe(E.IO);
    });

    test('D-07 a client that answers nonsense is no harm', () => {
      for (const data of [[], new Uint8Array(8), new Uint8Array(64)]) {
        const client = subject.client();
        expectMapped(map(client, BASE, PAGE));
        startDma(client, COMMAND.DMA_READ, BASE, 16);
        answer(client, expectDma(client, CMD.DMA_READ).request, data);
        expectNextClientServed(subject);
      }
    });

    test('D-07 a client that leaves instead of answering', () => {
      const footprint = new Footprint(subject.serving);
      const client = subject.client();
      expectMapped(map(client, BASE, PAGE));
      startDma(client, COMMAND.DMA_READ, BASE, 16);
      expectDma(client, CMD.DMA_READ);
      subject.leave();
      expectNextClientServed(subject);
      expect(footprint.growth()).toBeUndefined();
    });

    test('D-08 a DMA write to a read-only map is refused in the server', () => {
      const client = subject.client();
      const fd = guestMemory(PAGE);
      const readOnly = openSync(`/proc/self/fd/${fd}`, 'r');
      expectMapped(map(client, BASE, PAGE, readOnly, 1));
      expectMapped(map(client, BASE + PAGE, PAGE, undefined, 1));
      for (const iova of [BASE, BASE + PAGE])
        expect([E.PERM, E.ACCES]).toContain(steer(client, COMMAND.DMA_WRITE, iova, 0, 16));
      expect(readAt(fd, 0, 16)).toEqual(new Uint8Array(16));
      closeFd(readOnly);
      closeFd(fd);
    });

    test('D-09 commands that come while the server waits for a DMA reply', () => {
      const client = subject.client();
      expectMapped(map(client, BASE, PAGE));
      startDma(client, COMMAND.DMA_READ, BASE, 16);
      const { request } = expectDma(client, CMD.DMA_READ);
      client.send(message(CMD.DEVICE_GET_INFO, getInfo(), { id: 501 }));
      client.send(message(CMD.REGION_READ, regionRead(0, BAR0.ID, 4), { id: 502 }));
      answer(client, request, pattern(16));
      const replies = [client.receive(), client.receive(), client.receive()];
      expect(replies.map((reply) => reply.id).sort()).toEqual([501, 502, 77].sort());
      for (const reply of replies) expect(reply.flags).toBe(FLAG.REPLY);
      expect(read(client, 0, BUFFER, 16)).toEqual(pattern(16));
    });

    test('D-07 twin socket: the server’s commands come on their own socket', () => {
      const client = subject.connect();
      const data = { capabilities: { max_msg_fds: 4, twin_socket: { supported: true } } };
      const reply = expectSuccess(client.call(CMD.VERSION, version(0, 1, data)), CMD.VERSION);
      const { twin_socket } = JSON.parse(
        new TextDecoder().decode(reply.payload.slice(4, -1)),
      ).capabilities;
      expect(twin_socket?.supported).toBe(true);
      const fd = reply.fds[twin_socket.fd_index];
      expect(fd).toBeDefined();
      const twin = subject.adopt(fd ?? -1);
      expectMapped(map(client, BASE, PAGE));
      startDma(client, COMMAND.DMA_READ, BASE, 16);
      answer(twin, expectDma(twin, CMD.DMA_READ).request, pattern(16));
      expectSuccess(client.receive(), CMD.REGION_WRITE, 16);
      expect(read(client, 0, BUFFER, 16)).toEqual(pattern(16));
    });

    const slow: ReadonlyArray<readonly [string, number, Uint8Array]> = [
      ['a reset', CMD.DEVICE_RESET, new Uint8Array(0)],
      ['a state change', CMD.DEVICE_FEATURE, setState(3)],
    ];
    test.each(slow)('D-10 a device busy with %s: the reply comes after it', (_n, command, payload) => {
      const client = subject.client();
      const fd = guestMemory(PAGE);
      write32(client, 0, BAR0.SLOW_MS, 60);
      client.send(message(command, payload, { id: 1 }));
      client.send(message(MAP, dmaMap(BASE, PAGE), { id: 2 }), [fd]);
      client.send(message(UNMAP, dmaUnmap(BASE, PAGE), { id: 3 }));
      client.send(message(CMD.REGION_READ, regionRead(0, BAR0.RESET_COUNT, 16), { id: 4 }));
      for (const [id, of] of [command, MAP, UNMAP, CMD.REGION_READ].entries())
        expect(expectSuccess(client.receive(), of).id).toBe(id + 1);
      expect(addSeals(fd, F_SEAL.WRITE)).toBe(true);
      closeFd(fd);
      if (command === CMD.DEVICE_RESET) expect(read32(client, 0, BAR0.RESET_COUNT)).toBeGreaterThan(0);
    });

    test.each(slow)('D-10 the client leaves while the device is busy with %s', (_n, command, payload) => {
      const footprint = new Footprint(subject.serving);
      const client = subject.client();
      const fd = guestMemory(PAGE);
      const before = read32(client, 0, BAR0.RESET_COUNT);
      expectMapped(map(client, BASE, PAGE, fd));
      write32(client, 0, BAR0.SLOW_MS, 60);
      client.send(message(command, payload, { id: 1 }));
      subject.leave();
      expectNextClientServed(subject);
      expect(eventually(() => addSeals(fd, F_SEAL.WRITE), 2000)).toBe(true);
      closeFd(fd);
      expect(footprint.growth()).toBeUndefined();
      const next = subject.client();
      const resets = command === CMD.DEVICE_RESET ? before + 1 : before;
      expect(read32(next, 0, BAR0.RESET_COUNT)).toBe(resets);
    });
  },
  [CASE_DEVICE],
);
