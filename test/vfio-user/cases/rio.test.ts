/** REGION_READ, REGION_WRITE and REGION_WRITE_MULTI. */
import { expect, test } from 'vitest';
import { BAR0 } from '../../support/case-registers.ts';
import {
  CMD,
  E,
  join,
  message,
  regionRead,
  regionWrite,
  singleWrite,
  u64,
} from '../../support/wire.ts';
import {
  CASE_DEVICE,
  CONFIG,
  conformance,
  INTERRUPT_LINE,
  read,
  read32,
  seeDevice,
  seeRegions,
  write,
  write32,
} from './conformance.ts';
import { expectInvalid, expectRefusal, expectSuccess, expectUsable } from './expectations.ts';

const READ = CMD.REGION_READ;
const WRITE = CMD.REGION_WRITE;
const MULTI = CMD.REGION_WRITE_MULTI;

conformance('RIO', (subject) => {
  test('RIO-01 reads of configuration space echo 16 bytes and bring the data', () => {
    const client = subject.client();
    for (const [offset, count] of [
      [0, 1],
      [0, 2],
      [0, 4],
      [2, 2],
      [8, 4],
      [0, 64],
    ] as const) {
      const request = regionRead(CONFIG, offset, count);
      const reply = expectSuccess(client.call(READ, request), READ, 16 + count);
      expect(reply.payload.slice(0, 16)).toEqual(request);
    }
    const whole = read(client, CONFIG, 0, 64);
    expect(read(client, CONFIG, 2, 2)).toEqual(whole.slice(2, 4));
    expect(read(client, CONFIG, 8, 4)).toEqual(whole.slice(8, 12));
  });

  test('RIO-03 a write is answered by its 16 bytes', () => {
    const client = subject.client();
    const request = regionWrite(CONFIG, INTERRUPT_LINE, read(client, CONFIG, INTERRUPT_LINE, 1));
    const reply = expectSuccess(client.call(WRITE, request), WRITE, 16);
    expect(reply.payload).toEqual(request.slice(0, 16));
  });

  test('RIO-04 what is written is read back', () => {
    const client = subject.client();
    const before = read(client, CONFIG, INTERRUPT_LINE, 1);
    for (const value of [0x55, 0xaa]) {
      write(client, CONFIG, INTERRUPT_LINE, [value]);
      expect([...read(client, CONFIG, INTERRUPT_LINE, 1)]).toEqual([value]);
    }
    write(client, CONFIG, INTERRUPT_LINE, before);
    expect(read(client, CONFIG, INTERRUPT_LINE, 1)).toEqual(before);
  });

  test('RIO-06 beyond the end', () => {
    const client = subject.client();
    for (const { index, size } of seeRegions(client)) {
      if (size === 0) continue;
      for (const [offset, count] of [
        [size, 1],
        [size - 1, 2],
        [size, 4],
        [size + 4096, 4],
      ] as const) {
        expectInvalid(client.call(READ, regionRead(index, offset, count)), READ);
        const data = new Uint8Array(count);
        expectInvalid(client.call(WRITE, regionWrite(index, offset, data)), WRITE);
      }
    }
    expectUsable(client);
  });

  test('RIO-07 offsets that wrap', () => {
    const client = subject.client();
    for (const index of [0, CONFIG]) {
      for (const [offset, count] of [
        [2n ** 64n - 1n, 256],
        [2n ** 64n - 4n, 4],
        [2n ** 64n - 1n, 1],
        [2n ** 63n, 4],
        [2n ** 53n, 4],
        [2n ** 32n, 4],
      ] as const) {
        expectInvalid(client.call(READ, regionRead(index, offset, count)), READ);
        const data = new Uint8Array(count);
        expectInvalid(client.call(WRITE, regionWrite(index, offset, data)), WRITE);
      }
    }
    expectUsable(client);
  });

  test('RIO-09 a region that does not exist', () => {
    const client = subject.client();
    for (const index of [seeDevice(client).regions, 0xffff, 0xffff_ffff]) {
      expectInvalid(client.call(READ, regionRead(index, 0, 4)), READ);
      expectInvalid(client.call(WRITE, regionWrite(index, 0, [0, 0, 0, 0])), WRITE);
    }
    expectUsable(client);
  });

  test('RIO-10 a region of size 0', () => {
    const client = subject.client();
    for (const { index, size } of seeRegions(client)) {
      if (size !== 0) continue;
      expectInvalid(client.call(READ, regionRead(index, 0, 4)), READ);
      expectInvalid(client.call(WRITE, regionWrite(index, 0, [0, 0, 0, 0])), WRITE);
    }
    expectUsable(client);
  });

  test('RIO-12 a count that does not fit the data', () => {
    const client = subject.client();
    const before = read(client, CONFIG, INTERRUPT_LINE, 4);
    for (const [count, length] of [
      [4, 1],
      [1, 4],
      [1, 0],
    ] as const) {
      // What a server that reads on behind the message would find there.
      write(client, CONFIG, INTERRUPT_LINE, before);
      const request = regionWrite(CONFIG, INTERRUPT_LINE, new Uint8Array(length).fill(0x77), count);
      expectInvalid(client.call(WRITE, request), WRITE);
    }
    expect(read(client, CONFIG, INTERRUPT_LINE, 4)).toEqual(before);
  });

  test('RIO-12 a count above max_data_xfer_size', () => {
    const client = subject.client();
    for (const count of [2 ** 20 + 1, 2 ** 31, 0xffff_ffff])
      expectInvalid(client.call(READ, regionRead(CONFIG, 0, count)), READ);
    expectUsable(client);
  });

  test('RIO-13 count 0', () => {
    const client = subject.client();
    const request = regionRead(CONFIG, 0, 0);
    expect(expectSuccess(client.call(READ, request), READ, 16).payload).toEqual(request);
    expect(expectSuccess(client.call(WRITE, request), WRITE, 16).payload).toEqual(request);
  });

  test('RIO-15 a thousand reads, a thousand equal answers', () => {
    const client = subject.client();
    const first = read(client, CONFIG, 0, 64);
    const request = regionRead(CONFIG, 0, 64);
    const commands = Array.from({ length: 1000 }, (_, id) => message(READ, request, { id }));
    for (let at = 0; at < 1000; at += 250) client.send(join(...commands.slice(at, at + 250)));
    for (let id = 0; id < 1000; id++) {
      const reply = expectSuccess(client.receive(), READ, 80);
      expect(reply.id).toBe(id);
      expect(reply.payload.slice(16)).toEqual(first);
    }
  });

  test('RIO-16 BARs answer all ones with their size', () => {
    const client = subject.client();
    const sizes = seeRegions(client).map((region) => region.size);
    const command = read(client, CONFIG, 4, 2);
    write(client, CONFIG, 4, [(command[0] ?? 0) & ~3, command[1] ?? 0]);
    const seen: number[] = [];
    for (let bar = 0; bar < 6; bar++) {
      const at = 0x10 + 4 * bar;
      const before = read32(client, CONFIG, at);
      write32(client, CONFIG, at, 0xffff_ffff);
      const low = read32(client, CONFIG, at);
      write32(client, CONFIG, at, before);
      expect(read32(client, CONFIG, at)).toBe(before);
      if (low === 0) {
        expect(sizes[bar], `BAR${bar}`).toBe(0);
        continue;
      }
      let mask = BigInt(low & ~0xf) & 0xffff_ffffn;
      let bits = 32n;
      if ((low & 6) === 4) {
        const upper = read32(client, CONFIG, at + 4);
        write32(client, CONFIG, at + 4, 0xffff_ffff);
        mask |= BigInt(read32(client, CONFIG, at + 4)) << 32n;
        write32(client, CONFIG, at + 4, upper);
        bits = 64n;
      }
      seen.push(bar);
      expect(BigInt.asUintN(Number(bits), -mask), `BAR${bar}`).toBe(BigInt(sizes[bar] ?? -1));
      if (bits === 64n) {
        expect(sizes[bar + 1], `BAR${bar + 1}`).toBe(0);
        bar++;
      }
    }
    expect(seen.length).toBeGreaterThan(0);
    write(client, CONFIG, 4, command);
  });

  test('MULTI: several writes in one message, in order', () => {
    const client = subject.client({ write_multiple: true });
    const writes = [0x11, 0x22, 0x33].map((value) => singleWrite(CONFIG, INTERRUPT_LINE, [value]));
    const reply = expectSuccess(client.call(MULTI, join(u64(3), ...writes)), MULTI, 8);
    expect(reply.view.getBigUint64(0, true)).toBe(3n);
    expect([...read(client, CONFIG, INTERRUPT_LINE, 1)]).toEqual([0x33]);
  });

  test('MULTI: counts that do not fit the message or a write', () => {
    const client = subject.client({ write_multiple: true });
    const one = singleWrite(CONFIG, INTERRUPT_LINE, [0x44]);
    write(client, CONFIG, INTERRUPT_LINE, [0x01]);
    const wide = join(u64(INTERRUPT_LINE), [CONFIG, 0, 0, 0, 9, 0, 0, 0], new Uint8Array(8));
    for (const payload of [
      u64(1),
      join(u64(2), one),
      join(u64(0), one),
      join(u64(2n ** 61n), one),
      join(u64(2n ** 64n - 1n), one),
      join(u64(1), one.subarray(0, 23)),
      join(u64(1), wide),
      new Uint8Array(7),
    ])
      expectInvalid(client.call(MULTI, payload), MULTI);
    expect([...read(client, CONFIG, INTERRUPT_LINE, 1)]).toEqual([0x01]);
  });
});

conformance(
  'RIO of a device',
  (subject) => {
    test('D-04 the device fails in the middle: an error, never a short success', () => {
      const client = subject.client();
      for (const [offset, count] of [
        [BAR0.BROKEN, 4],
        [BAR0.BROKEN - 4, 16],
        [BAR0.BROKEN + 2, 4],
      ] as const) {
        expectRefusal(client.call(READ, regionRead(0, offset, count)), READ, E.IO);
        const request = regionWrite(0, offset, new Uint8Array(count));
        expectRefusal(client.call(WRITE, request), WRITE, E.IO);
      }
      expectUsable(client);
    });
  },
  [CASE_DEVICE],
);
