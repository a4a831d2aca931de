/** DMA logging: which pages the device wrote. */
import { expect, test } from 'vitest';
import { BUFFER, COMMAND } from '../../support/case-registers.ts';
import { closeFd, memFd } from '../../support/libc.ts';
import type { Message, RawClient } from '../../support/raw-client.ts';
import {
  CMD,
  dmaMap,
  dmaUnmap,
  FEATURE,
  FEATURE_OP,
  FLAG,
  feature,
  join,
  u32,
  u64,
} from '../../support/wire.ts';
import { CASE_DEVICE, callCutShort, conformance, steer, write } from './conformance.ts';
import { expectRefusal, expectSuccess, expectUsable } from './expectations.ts';

const FEA = CMD.DEVICE_FEATURE;
const { GET, SET, PROBE } = FEATURE_OP;
const START = FEATURE.DMA_LOGGING_START;
const STOP = FEATURE.DMA_LOGGING_STOP;
const REPORT = FEATURE.DMA_LOGGING_REPORT;
const PAGE = 4096;
const BASE = 0x100_0000;

interface Range {
  readonly iova: number;
  readonly length: number;
}

function start(client: RawClient, pageSize = PAGE, ranges: readonly Range[] = []): Message {
  const control = join(u64(pageSize), u32(ranges.length, 0));
  const all = ranges.map(({ iova, length }) => u64(iova, length));
  return client.call(FEA, feature(SET | START, join(control, ...all)));
}

function stop(client: RawClient): Message {
  return client.call(FEA, feature(SET | STOP));
}

function askReport(
  client: RawClient,
  iova: number,
  length: number,
  pageSize = PAGE,
  argsz = 32 + bitmapSize(length, pageSize),
): Message {
  return client.call(FEA, feature(GET | REPORT, u64(iova, length, pageSize), argsz));
}

function bitmapSize(length: number, pageSize: number): number {
  return Math.ceil(Math.ceil(length / pageSize) / 64) * 8;
}

/** The pages reported as written, by number within the range. */
function report(client: RawClient, iova: number, length: number, pageSize = PAGE): number[] {
  const size = bitmapSize(length, pageSize);
  const reply = expectSuccess(askReport(client, iova, length, pageSize), FEA, 32 + size);
  expect(reply.payload.slice(8, 32)).toEqual(u64(iova, length, pageSize));
  const bits: number[] = [];
  for (let bit = 0; bit < size * 8; bit++)
    if (((reply.payload[32 + (bit >> 3)] ?? 0) >> (bit & 7)) & 1) bits.push(bit);
  for (const bit of bits) expect(bit).toBeLessThan(Math.ceil(length / pageSize));
  return bits;
}

function map(client: RawClient, iova: number, pages: number): void {
  const fd = memFd(pages * PAGE);
  const reply = client.call(CMD.DMA_MAP, dmaMap(iova, pages * PAGE), { fds: [fd] });
  closeFd(fd);
  expectSuccess(reply, CMD.DMA_MAP, 0);
}

function deviceWrites(client: RawClient, iova: number, length: number): void {
  expect(steer(client, COMMAND.DMA_WRITE, iova, 0, length)).toBe(0);
}

conformance(
  'LOG',
  (subject) => {
    test('LOG-01 PROBE with the operation that exists, and with the other', () => {
      const client = subject.client();
      for (const [number, good, bad] of [
        [START, SET, GET],
        [STOP, SET, GET],
        [REPORT, GET, SET],
      ] as const) {
        const request = feature(PROBE | good | number, [], 8);
        expect(expectSuccess(client.call(FEA, request), FEA, 8).payload).toEqual(request);
        expectRefusal(client.call(FEA, feature(PROBE | bad | number, [], 8)), FEA);
        expectRefusal(client.call(FEA, feature(PROBE | GET | SET | number, [], 8)), FEA);
      }
    });

    test('LOG-02 REPORT before START', () => {
      const client = subject.client();
      map(client, BASE, 16);
      expectRefusal(askReport(client, BASE, 16 * PAGE), FEA);
    });

    test('LOG-04 START without ranges, STOP', () => {
      const client = subject.client();
      const reply = expectSuccess(start(client), FEA, 24);
      expect(reply.payload.slice(4, 8)).toEqual(u32(SET | START));
      const pageSize = Number(reply.view.getBigUint64(8, true));
      expect(Math.log2(pageSize) % 1).toBe(0);
      expect(reply.view.getUint32(16, true)).toBe(0);
      expectSuccess(stop(client), FEA, 8);
    });

    test.each([0, 3, 1, 2048, 3 * PAGE])('LOG-04 START with page size %i', (pageSize) => {
      const client = subject.client();
      const reply = start(client, pageSize);
      if (reply.error !== 0) expectRefusal(reply, FEA);
      else {
        const chosen = Number(expectSuccess(reply, FEA, 24).view.getBigUint64(8, true));
        expect(chosen > 0 && Math.log2(chosen) % 1 === 0).toBe(true);
      }
    });

    test('LOG-05 REPORT of 100 pages: 48 bytes, the bits above 100 are 0', () => {
      const client = subject.client();
      map(client, BASE, 128);
      expectSuccess(start(client), FEA);
      deviceWrites(client, BASE, 4);
      deviceWrites(client, BASE + 99 * PAGE, 2 * PAGE);
      const reply = expectSuccess(askReport(client, BASE, 100 * PAGE), FEA, 48);
      expect(reply.view.getUint32(0, true)).toBe(48);
      expect(reply.payload.slice(8, 32)).toEqual(u64(BASE, 100 * PAGE, PAGE));
      expect(reply.view.getBigUint64(32, true)).toBe(1n);
      expect(reply.view.getBigUint64(40, true)).toBe(1n << 35n);
    });

    test('LOG-07 REPORT with 0 and 23 of its 24 bytes', () => {
      const client = subject.client();
      expectSuccess(start(client), FEA);
      for (const length of [0, 23])
        for (const argsz of [8 + length, 48]) {
          const request = feature(GET | REPORT, u64(BASE, PAGE, PAGE), argsz);
          expectRefusal(callCutShort(client, FEA, request, 8 + length), FEA);
        }
      expectUsable(client);
    });

    test('LOG-08 REPORT without room for the bitmap', () => {
      const client = subject.client();
      map(client, BASE, 128);
      expectSuccess(start(client), FEA);
      deviceWrites(client, BASE, 4);
      const reply = askReport(client, BASE, 100 * PAGE, PAGE, 32);
      if (reply.error !== 0) expectRefusal(reply, FEA);
      else expect(expectSuccess(reply, FEA, 32).view.getUint32(0, true)).toBe(48);
      expect(report(client, BASE, 100 * PAGE), 'nothing was lost').toEqual([0]);
    });

    test('LOG-09 REPORT with a bad page size or a length beyond reason', () => {
      const client = subject.client();
      expectSuccess(start(client), FEA);
      const before = subject.serving.virtualMemory();
      for (const [length, pageSize] of [
        [PAGE, 0],
        [PAGE, 3],
        [PAGE, 1],
        [2 ** 52, PAGE],
        [2 ** 32, 1],
      ] as const)
        expectRefusal(askReport(client, BASE, length, pageSize, 2 ** 20), FEA);
      expect(subject.serving.virtualMemory() - before).toBeLessThan(2 ** 30);
      expectUsable(client);
    });

    test('LOG-10 a part of a map', () => {
      const client = subject.client();
      map(client, BASE, 64);
      expectSuccess(start(client), FEA);
      for (const page of [3, 20, 40]) deviceWrites(client, BASE + page * PAGE, 1);
      expect(report(client, BASE + 16 * PAGE, 16 * PAGE)).toEqual([4]);
      expect(report(client, BASE, 64 * PAGE)).toEqual([3, 40]);
    });

    test('LOG-11 two maps and a hole', () => {
      const client = subject.client();
      map(client, BASE, 4);
      map(client, BASE + 8 * PAGE, 4);
      expectSuccess(start(client), FEA);
      deviceWrites(client, BASE + 3 * PAGE, 1);
      deviceWrites(client, BASE + 8 * PAGE, PAGE + 1);
      expect(report(client, BASE, 12 * PAGE)).toEqual([3, 8, 9]);
    });

    test('LOG-13 a map made while logging', () => {
      const client = subject.client();
      expectSuccess(start(client), FEA);
      map(client, BASE, 4);
      deviceWrites(client, BASE + PAGE, 1);
      expect(report(client, BASE, 4 * PAGE)).toEqual([1]);
    });

    test('LOG-14 START twice, with another page size; STOP twice', () => {
      const client = subject.client();
      map(client, BASE, 4);
      expectSuccess(start(client), FEA);
      for (const reply of [start(client), start(client, 2 * PAGE)])
        if (reply.error !== 0) expectRefusal(reply, FEA);
      deviceWrites(client, BASE, 1);
      expect(report(client, BASE, 4 * PAGE)).toEqual([0]);
      expectSuccess(stop(client), FEA);
      const again = stop(client);
      if (again.error !== 0) expectRefusal(again, FEA);
      expectUsable(client);
    });

    test('LOG-16 fewer ranges than announced; START without its structure', () => {
      const client = subject.client();
      const four = Array.from({ length: 4 }, (_, i) => ({ iova: BASE + i * PAGE, length: PAGE }));
      const range = u64(BASE, 4 * PAGE);
      for (const data of [
        join(u64(PAGE), u32(4, 0), range),
        join(u64(PAGE), u32(0xffff_ffff, 0), range),
        new Uint8Array(0),
        new Uint8Array(15),
      ]) {
        expectSuccess(start(client, PAGE, four), FEA);
        expectSuccess(stop(client), FEA);
        expectRefusal(client.call(FEA, feature(SET | START, data)), FEA);
        expectRefusal(client.call(FEA, feature(SET | START, data, 24 + 16 * 4)), FEA);
      }
      expectRefusal(askReport(client, BASE, PAGE), FEA);
    });

    test('LOG-17 logging after a reconnect is off, or still on', () => {
      const first = subject.client();
      map(first, BASE, 4);
      expectSuccess(start(first), FEA);
      subject.leave();
      const client = subject.client();
      const reply = askReport(client, BASE, PAGE);
      if (reply.error !== 0) expectRefusal(reply, FEA);
      else expectSuccess(reply, FEA, 40);
      expectSuccess(start(client), FEA);
      expectSuccess(stop(client), FEA);
    });

    test('D-16 exactly the pages that were written, once', () => {
      const client = subject.client();
      map(client, BASE, 1024);
      expectSuccess(start(client, PAGE, [{ iova: BASE, length: 1024 * PAGE }]), FEA);
      deviceWrites(client, BASE + 5 * PAGE, PAGE);
      deviceWrites(client, BASE + 11 * PAGE - 1, 2);
      deviceWrites(client, BASE + 300 * PAGE + 17, 100);
      deviceWrites(client, BASE + 1024 * PAGE - 1, 1);
      expect(report(client, BASE, 1024 * PAGE)).toEqual([5, 10, 11, 300, 1023]);
      expect(report(client, BASE, 1024 * PAGE)).toEqual([]);
    });

    test('D-16 larger and smaller report pages', () => {
      const client = subject.client();
      map(client, BASE, 1024);
      expectSuccess(start(client), FEA);
      const writeSome = () => {
        deviceWrites(client, BASE + 5 * PAGE, 1);
        deviceWrites(client, BASE + 1000 * PAGE, 1);
      };
      writeSome();
      expect(report(client, BASE, 1024 * PAGE, 16 * PAGE)).toEqual([0, 62]);
      expect(report(client, BASE, 1024 * PAGE, 16 * PAGE)).toEqual([]);
      writeSome();
      const reply = askReport(client, BASE, 1024 * PAGE, PAGE / 2);
      if (reply.error !== 0) {
        expectRefusal(reply, FEA);
        expect(report(client, BASE, 1024 * PAGE)).toEqual([5, 1000]);
      } else {
        expectSuccess(reply, FEA, 32 + 256);
        expect(report(client, BASE, 1024 * PAGE)).toEqual([]);
      }
    });

    test('D-16 reads of the device are not logged, nor writes outside the ranges', () => {
      const client = subject.client();
      map(client, BASE, 16);
      expectSuccess(start(client, PAGE, [{ iova: BASE, length: 8 * PAGE }]), FEA);
      write(client, 0, BUFFER, [1, 2, 3, 4]);
      expect(steer(client, COMMAND.DMA_READ, BASE + PAGE, 0, 64)).toBe(0);
      deviceWrites(client, BASE + 2 * PAGE, 1);
      deviceWrites(client, BASE + 12 * PAGE, 1);
      expect(report(client, BASE, 8 * PAGE)).toEqual([2]);
    });

    test('D-17 UNMAP of a logged map, and leaving while logging', () => {
      const client = subject.client();
      map(client, BASE, 16);
      expectSuccess(start(client), FEA);
      deviceWrites(client, BASE, 1);
      expectSuccess(client.call(CMD.DMA_UNMAP, dmaUnmap(BASE, 16 * PAGE)), CMD.DMA_UNMAP, 24);
      const reply = askReport(client, BASE, 16 * PAGE);
      expect(reply.flags & FLAG.REPLY).toBe(FLAG.REPLY);
      map(client, BASE, 16);
      deviceWrites(client, BASE, 1);
      subject.leave();
    });
  },
  [CASE_DEVICE],
);

conformance(
  'LOG without logging',
  (subject) => {
    test('LOG-01 every logging feature is refused', () => {
      const client = subject.client();
      for (const [operation, number] of [
        [SET, START],
        [SET, STOP],
        [GET, REPORT],
      ] as const)
        expectRefusal(client.call(FEA, feature(PROBE | operation | number, [], 8)), FEA);
      expectRefusal(start(client), FEA);
      expectRefusal(stop(client), FEA);
      expectRefusal(askReport(client, BASE, PAGE), FEA);
      expectUsable(client);
    });
  },
  [CASE_DEVICE],
  [{ dmaLogging: false }],
);
