/** What the device does with guest memory: in place, and by the DMA_READ and DMA_WRITE that the server sends. */
import { openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BAR0, BUFFER, COMMAND } from '../../support/case-registers.ts';
import { addSeals, closeFd, F_SEAL, readAt, writeAt } from '../../support/libc.ts';
import type { Message, RawClient } from '../../support/raw-client.ts';
import { eventually } from '../../support/serving.ts';
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
import { BASE, expectMapped, expectUnmapped, guestMemory, map, PAGE, unmap } from './dma-steps.ts';
import { expectSuccess } from './expectations.ts';

const MAP = CMD.DMA_MAP;
const UNMAP = CMD.DMA_UNMAP;

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
      const client = subject.client();
      expectMapped(map(client, BASE, PAGE));
      startDma(client, COMMAND.DMA_READ, BASE, 16);
      expectDma(client, CMD.DMA_READ);
      subject.leave();
      expectNextClientServed(subject);
      subject.expectNothingLeft();
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
    test.each(slow)(
      'D-10 a device busy with %s: the reply comes after it',
      (_n, command, payload) => {
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
        if (command === CMD.DEVICE_RESET)
          expect(read32(client, 0, BAR0.RESET_COUNT)).toBeGreaterThan(0);
      },
    );

    test.each(slow)(
      'D-10 the client leaves while the device is busy with %s',
      (_n, command, payload) => {
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
        subject.expectNothingLeft();
        const next = subject.client();
        // A server may also reset the device for each client that leaves: two have left.
        const asked = before + (command === CMD.DEVICE_RESET ? 1 : 0);
        expect([asked, asked + 2]).toContain(read32(next, 0, BAR0.RESET_COUNT));
      },
    );
  },
  [CASE_DEVICE],
);
